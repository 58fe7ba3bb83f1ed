"""What all panes of one window share: the folders, the chosen sessions, and which of them is looked at."""

from __future__ import annotations

from typing import Any

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
    raw : {"leave out", "download", "stream"}
        What becomes of raw recordings and videos that are on a server.
    """

    source = param.String(constant=True, doc="Folder, eid or document.")
    label = param.String(constant=True, doc="subject/date/number.")
    editor = param.Parameter(None, doc="DocumentEditor of its document, once collected.")
    coverage = param.List(None, allow_None=True, doc="DatasetCoverage of each of its files.")
    nwbfile_path = param.Parameter(None, doc="Path of the file that was written last.")
    error = param.String(None, allow_None=True, doc="Why it cannot be opened.")
    raw: Any = param.Selector(default="leave out", objects=["leave out", "download", "stream"])
    timezone = param.String(None, allow_None=True, doc="Zone of the rig's clock, where it was asked for.")
    needs_timezone = param.Boolean(False, doc="Whether nothing but the zone of the rig's clock is missing.")
    doing = param.String(None, allow_None=True, doc="What is being done to open it, None if nothing is.")
    fraction = param.Number(None, allow_None=True, doc="How much of that is done, None if that is not known.")


class GuiState(param.Parameterized):
    """What the panes of a window share; each pane watches what concerns it."""

    workspace: Workspace = param.ClassSelector(class_=Workspace, constant=True)  # type: ignore[assignment]
    one = param.Parameter(None, doc="ONE, for what is looked for in Alyx; None for folders only.")
    chosen = param.List([], item_type=ChosenSession, doc="Sessions to convert, in order.")
    current = param.ClassSelector(
        class_=ChosenSession, allow_None=True, default=None, doc="The session that the panes show."
    )
