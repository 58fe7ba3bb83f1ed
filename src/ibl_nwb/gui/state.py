"""What all panes of one window share: the folders, the chosen sessions, and which of them is looked at."""

from __future__ import annotations

import param

from .workspace import Workspace


class ChosenSession(param.Parameterized):
    """A session that was chosen to be converted.

    Parameters
    ----------
    source : str
        How it is named: its folder, its eid, or a conversion document.
    label : str
        How people name it: ``subject/date/number``.
    """

    source = param.String(constant=True, doc="Folder, eid or document.")
    label = param.String(constant=True, doc="subject/date/number.")
    editor = param.Parameter(None, doc="DocumentEditor of its document, once collected.")
    coverage = param.List(None, allow_None=True, doc="DatasetCoverage of each of its files.")
    nwbfile_path = param.Parameter(None, doc="Path of the file that was written last.")
    error = param.String(None, allow_None=True, doc="Why it cannot be opened.")


class GuiState(param.Parameterized):
    """What the panes of a window share; each pane watches what concerns it."""

    workspace = param.ClassSelector(class_=Workspace, constant=True)
    one = param.Parameter(None, doc="ONE, for what is looked for in Alyx; None for folders only.")
    chosen = param.List([], item_type=ChosenSession, doc="Sessions to convert, in order.")
    current = param.ClassSelector(
        class_=ChosenSession, allow_None=True, default=None, doc="The session that the panes show."
    )
