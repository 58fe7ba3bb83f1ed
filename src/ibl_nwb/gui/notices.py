"""What panes do alike: work in a thread, sentences for people, text of others that is shown as text."""

from __future__ import annotations

import html
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import panel as pn

from ..errors import IBLNWBError

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")


def notify(sentence: str, kind: str = "info") -> None:
    """Show a sentence at the corner of the page: "info", "success", "warning" or "error"."""
    notifications = pn.state.notifications
    if notifications is not None:
        # The notification area takes its text as HTML.
        getattr(notifications, kind)(html.escape(sentence), duration=0 if kind == "error" else 5000)


def describe(error: BaseException) -> str:
    """An error in a sentence; a defect is also written to the log of the server."""
    if isinstance(error, IBLNWBError):
        return str(error)
    _logger.error("A fault of ibl-nwb", exc_info=error)
    return f"A fault of ibl-nwb, see the terminal: {type(error).__name__}: {error}"


def deliverer() -> Callable[[Callable[[], None]], None]:
    """What runs changes made by a thread where this window is; without a window, at once."""
    document = pn.state.curdoc
    if document is None or document.session_context is None:
        return lambda change: change()

    def deliver(change: Callable[[], None]) -> None:
        context = document.session_context
        if pn.state.curdoc is document or context is None or context.destroyed:
            change()  # of a window that is closed, too: other windows share what changes
        else:
            document.add_next_tick_callback(change)

    return deliver


def in_thread(
    work: Callable[[], _T],
    done: Callable[[_T], Any],
    failed: Callable[[str], Any] | None = None,
    *,
    is_cut_off: bool = True,
) -> threading.Thread:
    """Run ``work`` in a thread, then ``done`` with its result, or ``failed`` with a sentence, in the window.

    With ``is_cut_off`` the end of the program does not wait for it. Who reads HDF5 files must not be cut off: the
    program would wait for a lock that nobody gives back.
    """
    deliver = deliverer()
    failed = failed or (lambda sentence: notify(sentence, "error"))

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # told, every one of them
            sentence = describe(error)
            deliver(lambda: failed(sentence))
            return
        deliver(lambda: done(result))

    thread = threading.Thread(target=run, name="ibl_nwb.gui.work", daemon=is_cut_off)
    thread.start()
    return thread
