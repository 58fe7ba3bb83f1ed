"""The browser GUI: find sessions, edit their metadata, convert, check and look at them.

Modules without Panel, tested without a browser: ``workspace`` (which folders), ``form`` and ``problems`` (what can be
edited, and what is wrong with it), ``editor`` (edits, undo, autosave), ``tasks`` and ``conversion_queue`` (work in
processes of their own). Panes of Panel over them: ``find``, ``contents``, ``metadata``, ``convert``, ``check``,
``look`` and ``upload``, put together by ``app`` and served by ``server``.
"""
