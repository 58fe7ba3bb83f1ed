"""Step one: which sessions, from a folder, from ONE, or from a document that was made before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import panel as pn

from ..acquire.references import SessionKey, parse_reference
from ..acquire.summary import SessionSummary
from ..errors import IBLNWBError, UsageError
from .collecting import is_document, is_on_server
from .notices import deliverer, describe, in_thread, notify
from .services import GuiServices
from .state import ChosenSession, GuiState
from .text import Text

_COLUMNS = ("Lab", "Subject", "Date", "No.", "Task protocol", "Projects")

_FOLDER, _ONE, _DOCUMENT = "In the sessions folder", "In Alyx, with ONE", "A saved document"

#: What the state of a chosen session depends on and changes last.
_TELLING = ("doing", "needs_timezone")

#: How people name it, and what the command line calls it.
_TERMS = {
    "subject": ("Subject", "KS014"),
    "lab": ("Lab", "cortexlab"),
    "first_day": ("From", "2019-12-03"),
    "last_day": ("To", "2019-12-31"),
    "number": ("Number", "1"),
    "projects": ("Project", "part of its name"),
    "task_protocol": ("Task protocol", "part of its name"),
    "datasets": ("Datasets it must have", "spikes.times.npy, ..."),
}

_RAW_CHOICES = {
    "Leave them out": "leave out",
    "Download them": "download",
    "Read them from the server while converting": "stream",
}


class FindPane:
    """Sessions to choose from, and those that are chosen.

    Parameters
    ----------
    state : GuiState
        What the window shows.
    services : GuiServices
        What all windows share.
    """

    def __init__(self, state: GuiState, services: GuiServices):
        self.state, self.services = state, services
        self.found: list[SessionSummary] = []
        self._watched: list[tuple[ChosenSession, Any]] = []
        self._make_widgets()
        self.view = pn.Column(
            Text("Find the sessions to convert, tick them, and add them to the chosen ones.", css_classes=["lead"]),
            self.place,
            self._folder_row,
            self._search_row,
            self._document_row,
            self.message,
            self.table,
            pn.Row(self.add, self.raw, css_classes=["bar"]),
            self.chosen_title,
            self.chosen_table,
            pn.Row(self.open, self.remove, css_classes=["bar"]),
            sizing_mode="stretch_width",
        )
        self.place.param.watch(lambda _: self._show_place(), "value")
        state.param.watch(lambda *_: self.show_chosen(), ["chosen", "current"])
        self._show_place()
        self.show_chosen()

    def _make_widgets(self) -> None:
        self.place = pn.widgets.RadioButtonGroup(options=[_FOLDER, _ONE, _DOCUMENT], value=_FOLDER, width=560)
        self.look = pn.widgets.Button(name="Look for sessions", button_type="primary")
        self.look.on_click(lambda _: self.search_folder())
        folder = Text(str(self.state.workspace.sessions_folder), css_classes=["path"])
        self._folder_row = pn.Row(self.look, folder, css_classes=["bar"])
        self.terms = {
            name: pn.widgets.TextInput(name=label, placeholder=example, width=170)
            for name, (label, example) in _TERMS.items()
        }
        self.search = pn.widgets.Button(name="Search", button_type="primary")
        self.search.on_click(lambda _: self.search_one())
        self._search_row = pn.Column(pn.FlexBox(*self.terms.values()), pn.Row(self.search, css_classes=["bar"]))
        self.document = pn.widgets.AutocompleteInput(
            name="JSON document in the output or sessions folder", restrict=False, min_characters=0, width=560
        )
        self.open_document = pn.widgets.Button(name="Open the document", button_type="primary")
        self.open_document.on_click(lambda _: self.open_typed())
        self._document_row = pn.Column(self.document, pn.Row(self.open_document, css_classes=["bar"]))
        self.message = Text("", css_classes=["message"])
        self.table = _make_table(_rows([]), page_size=15, header_filters=True, visible=False)
        self.add = pn.widgets.Button(name="Add to the chosen", button_type="success", visible=False)
        self.add.on_click(lambda _: self.choose_selected())
        self.raw = pn.widgets.Select(
            name="Raw recordings and videos that are not downloaded yet", options=_RAW_CHOICES, width=340, visible=False
        )
        self.chosen_title = Text("", css_classes=["heading"])
        widths = {"": 36, "Session": 280, "State": 220, "From": 90}  # the last column takes the rest
        self.chosen_table = _make_table(_chosen_rows([], None), page_size=10, widths=widths)
        self.open = pn.widgets.Button(name="Show the ticked session")
        self.open.on_click(lambda _: self.show_selected())
        self.remove = pn.widgets.Button(name="Remove the ticked ones")
        self.remove.on_click(lambda _: self.remove_selected())

    def search_folder(self) -> None:
        """List the sessions below the sessions folder."""
        folder = self.state.workspace.sessions_folder
        self._search(lambda: find_in_folder(folder), f"There is no session below '{folder}'.")

    def search_one(self) -> None:
        """Search with ONE by the terms that are filled in."""
        try:
            terms = read_terms({name: widget.value_input or widget.value or "" for name, widget in self.terms.items()})
        except IBLNWBError as error:
            self._say(describe(error))
            return
        if not terms:
            self._say("Fill in one of the fields above: all sessions of all laboratories are too many for a table.")
            return

        def work() -> list[SessionSummary]:
            from ..acquire import find_sessions

            return find_sessions(self.services.connect(), **terms)

        self._search(work, "There is no such session. Leave out a term, or shorten it.")

    def _search(self, work: Callable[[], list[SessionSummary]], nothing: str) -> None:
        self._say("Looking for sessions ...")
        self.table.visible = self.add.visible = self.raw.visible = False
        for button in (self.look, self.search):
            button.loading = True

        def done(found: list[SessionSummary]) -> None:
            self._end_search()
            self.show_found(found)
            self._say(_count(len(found), "session") + " found." if found else nothing)

        def failed(sentence: str) -> None:
            self._end_search()
            self._say(sentence)

        in_thread(work, done, failed)

    def _end_search(self) -> None:
        for button in (self.look, self.search):
            button.loading = False

    def show_found(self, found: list[SessionSummary]) -> None:
        """Show what a search found."""
        self.found = found
        self.table.param.update(value=_rows(found), selection=[])
        self.table.visible = self.add.visible = bool(found)
        self.raw.visible = any(summary.path is None for summary in found) and not self.services.is_offline

    def choose_selected(self) -> None:
        """Add the sessions that are ticked to the chosen ones."""
        selected = [self.found[int(self.table.value.index[row])] for row in self.table.selection]
        if not selected:
            self._say("Tick the sessions to add at the left of the table.")
            return
        self._choose([_choose(summary, self.raw.value) for summary in selected])
        self.table.selection = []

    def open_typed(self) -> None:
        """Open the document whose path was typed or selected."""
        self.choose_document(self.document.value or self.document.value_input or "")

    def choose_document(self, path: str) -> None:
        """Open a conversion document below the output or sessions folder."""
        try:
            if not path.strip():
                raise UsageError("Give the path of a JSON document, in full or below the output folder.")
            resolved = self.state.workspace.readable(path.strip())
            if resolved.suffix != ".json" or not resolved.is_file():
                raise UsageError(f"'{path}' is no JSON file in the output folder or the sessions folder.")
        except IBLNWBError as error:
            self._say(describe(error))
            return
        self._choose([ChosenSession(source=str(resolved), label=resolved.name)])

    def _choose(self, sessions: list[ChosenSession]) -> None:
        added = self.services.add(sessions)
        self._say(f"{_count(len(added), 'session')} added. Go on with Contents.")
        if len(added) == 1 or self.state.current is None:
            self.state.current = added[0]
        self.services.collect_at_hand(deliver=deliverer())

    def show_chosen(self) -> None:
        """Show which sessions are chosen."""
        chosen = self.state.chosen
        self.chosen_title.object = f"Chosen: {_count(len(chosen), 'session')}" if chosen else "Nothing is chosen yet."
        for session, watcher in self._watched:
            session.param.unwatch(watcher)
        self._watched = [(one, one.param.watch(self._show_state, name)) for one in chosen for name in _TELLING]
        self.chosen_table.param.update(value=_chosen_rows(chosen, self.state.current), selection=[])
        self.chosen_table.visible = self.open.visible = self.remove.visible = bool(chosen)

    def _show_state(self, event: Any) -> None:
        if event.obj in self.state.chosen:
            row = self.state.chosen.index(event.obj)
            self.chosen_table.patch({"State": [(row, _describe_state(event.obj))]})

    def show_selected(self) -> None:
        """Make the first session that is ticked among the chosen ones the current one."""
        if self._ticked():
            self.state.current = self._ticked()[0]
        else:
            notify("Tick one of the chosen sessions.")

    def remove_selected(self) -> None:
        """Take the sessions that are ticked from the chosen ones."""
        if not self._ticked():
            notify("Tick the sessions to remove.")
            return
        self.services.remove(self._ticked())

    def _ticked(self) -> list[ChosenSession]:
        return [self.state.chosen[int(row)] for row in self.chosen_table.selection]

    def _show_place(self) -> None:
        place = self.place.value
        self._folder_row.visible = place == _FOLDER
        self._search_row.visible = place == _ONE
        self._document_row.visible = place == _DOCUMENT
        self._say("")
        self.show_found([])
        if place == _DOCUMENT:
            in_thread(self._list_documents, lambda paths: self.document.param.update(options=paths))

    def _list_documents(self) -> list[str]:
        output, state_folder = self.state.workspace.output_folder, self.state.workspace.state_folder
        paths = sorted(output.glob("*.json")) + sorted(output.glob("*/*.json"))
        return [str(path.relative_to(output)) for path in paths if not path.is_relative_to(state_folder)]

    def _say(self, sentence: str) -> None:
        self.message.object = sentence


def find_in_folder(folder: Path) -> list[SessionSummary]:
    """The sessions in a folder, or the one that it is, sorted as ONE sorts what it finds."""
    from one.alf.io import iter_sessions

    found = []
    for path in iter_sessions(folder):
        key = parse_reference(path)
        if isinstance(key, SessionKey):
            found.append(SessionSummary(None, key.lab or "", key.subject, key.date, key.number, path=Path(path)))
    return sorted(found, key=lambda summary: (summary.subject, summary.date, summary.number, summary.lab))


def read_terms(given: dict[str, str]) -> dict[str, Any]:
    """Terms for :func:`ibl_nwb.acquire.find_sessions` from what was typed, those left empty left out.

    Parameters
    ----------
    given : dict of str to str
        ``subject``, ``lab``, ``number``, ``projects``, ``task_protocol``; ``first_day`` and ``last_day``, YYYY-MM-DD;
        ``datasets``, separated by commas.

    Raises
    ------
    UsageError
        If the number is none.
    """
    typed = {name: text.strip() for name, text in given.items() if text and text.strip()}
    terms: dict[str, Any] = {
        name: typed[name] for name in ("subject", "lab", "projects", "task_protocol") if name in typed
    }
    if "number" in typed:
        if not typed["number"].isdecimal():
            raise UsageError(f"'{typed['number']}' is no number of a session, such as 1.")
        terms["number"] = int(typed["number"])
    if "first_day" in typed or "last_day" in typed:
        terms["date_range"] = [typed.get("first_day"), typed.get("last_day")]
    if "datasets" in typed:
        terms["datasets"] = [name.strip() for name in typed["datasets"].split(",") if name.strip()]
    return terms


def _choose(summary: SessionSummary, raw: str) -> ChosenSession:
    source = summary.eid or str(summary.path)
    label = f"{summary.subject}/{summary.date}/{summary.number:03d}"
    return ChosenSession(source=source, label=label, raw=raw)


def _rows(found: list[SessionSummary]) -> pd.DataFrame:
    rows = [(s.lab, s.subject, s.date, s.number, s.task_protocol, ", ".join(s.projects)) for s in found]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _chosen_rows(chosen: list[ChosenSession], current: ChosenSession | None) -> pd.DataFrame:
    rows = [("▸" if one is current else "", one.label, _describe_state(one), _kind(one), one.source) for one in chosen]
    return pd.DataFrame(rows, columns=["", "Session", "State", "From", "Which"])


def _describe_state(chosen: ChosenSession) -> str:
    if chosen.doing is not None:
        return "being opened"
    if chosen.error is not None:
        return "cannot be opened, see Contents"
    if chosen.editor is None:
        return "not opened yet"
    return "time zone needed" if chosen.needs_timezone else "ready"


def _kind(chosen: ChosenSession) -> str:
    if is_on_server(chosen):
        return "ONE"
    return "document" if is_document(chosen) else "folder"


def _make_table(rows: pd.DataFrame, **options: Any) -> pn.widgets.Tabulator:
    return pn.widgets.Tabulator(
        rows,
        selectable="checkbox",
        pagination="local",
        show_index=False,
        disabled=True,
        layout="fit_columns",
        sizing_mode="stretch_width",
        **options,
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
