"""Step two: what a session holds, which of it is converted, and what becomes of every file."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

import pandas as pd
import panel as pn

from ..cli import format_size
from ..coverage import DatasetCoverage
from .collecting import is_on_server
from .editor import DocumentEditor
from .notices import deliverer, notify
from .services import GuiServices
from .state import ChosenSession, GuiState
from .text import Html, Text

_STATUSES = ("converted", "support", "not converted")

_ALL = "All files"

#: Sizes are text for people, which would be sorted as text.
_SORTABLE = {"Size": False}

#: Changes of a chosen session upon which this pane looks different.
_WATCHED = ["editor", "coverage", "error", "doing", "fraction", "needs_timezone"]

_RAW_QUESTION = {
    "Leave them out": "leave out",
    "Download them, which may be tens of GB": "download",
    "Read them from the server while converting": "stream",
}


class ContentsPane:
    """What the current session holds.

    Parameters
    ----------
    state : GuiState
        What the window shows.
    services : GuiServices
        What all windows share.
    """

    def __init__(self, state: GuiState, services: GuiServices):
        self.state, self.services = state, services
        self._watched: tuple[ChosenSession, Any] | None = None
        self._editor: DocumentEditor | None = None
        self._editor_watcher: Any = None
        self._names: list[str] = []
        self._is_showing = False
        self._make_widgets()
        self.view = pn.Column(
            self.lead, self.again, self._question, self._work, self._zone_row, self._body, sizing_mode="stretch_width"
        )
        state.param.watch(lambda _: self._follow(), "current")
        self._follow()

    def _make_widgets(self) -> None:
        self.lead = Text("", css_classes=["lead"])
        self.raw = pn.widgets.Select(name="Raw recordings and videos", options=_RAW_QUESTION, width=360)
        self.fetch = pn.widgets.Button(name="Download this session", button_type="primary")
        self.fetch.on_click(lambda _: self._fetch([self.state.current] if self.state.current is not None else []))
        self.fetch_all = pn.widgets.Button(name="Download all chosen sessions")
        self.fetch_all.on_click(lambda _: self._fetch(self.state.chosen))
        self._question = pn.Column(self.raw, pn.Row(self.fetch, self.fetch_all, css_classes=["bar"]))
        self.progress = pn.indicators.Progress(value=-1, width=420, active=True)
        self.doing = Text("")
        self.cancel = pn.widgets.Button(name="Cancel")
        self.cancel.on_click(lambda _: self._cancel())
        self._work = pn.Column(self.doing, pn.Row(self.progress, self.cancel, css_classes=["bar"]))
        self.zone = pn.widgets.AutocompleteInput(
            name="Time zone of the rig's clock",
            options=sorted(available_timezones()),
            placeholder="Europe/Lisbon",
            case_sensitive=False,
            restrict=False,
            min_characters=1,
            width=360,
        )
        self.use_zone = pn.widgets.Button(name="Use this time zone", button_type="primary")
        self.use_zone.on_click(lambda _: self._use_zone())
        self._zone_row = pn.Row(self.zone, self.use_zone, css_classes=["bar"])
        self.afresh = pn.widgets.Button(name="Collect again, without the edits")
        self.afresh.on_click(lambda _: self._collect(afresh=True))
        self.again = pn.widgets.Button(name="Try again")
        self.again.on_click(lambda _: self._collect())
        self.bar = Html("", sizing_mode="stretch_width")
        self.totals = Text("")
        self.families = pn.widgets.Tabulator(
            _family_rows([], []),
            selectable="checkbox",
            show_index=False,
            disabled=True,
            pagination=None,
            widths={"Interface": 320, "Files": 90, "Size": 110},
            text_align={"Files": "right", "Size": "right"},
            sortable=_SORTABLE,
            width=570,
        )
        self.families.param.watch(self._tick, "selection")
        self.status = pn.widgets.RadioButtonGroup(options=[_ALL, *(status.capitalize() for status in _STATUSES)])
        self.status.param.watch(lambda _: self._show_files(), "value")
        self.files = pn.widgets.Tabulator(
            _file_rows([]),
            show_index=False,
            disabled=True,
            pagination="local",
            page_size=20,
            header_filters=True,
            layout="fit_columns",
            sizing_mode="stretch_width",
            widths={"Dataset": 420, "Size": 100, "Status": 130},
            text_align={"Size": "right"},
            sortable=_SORTABLE,
            formatters={"By, or why not": {"type": "textarea"}},  # text that is wrapped, not markup
        )
        self._body = pn.Column(
            self.totals,
            self.bar,
            Text("What is converted", css_classes=["heading"]),
            Text("Take out the tick of what is to be left out of the NWB file."),
            self.families,
            Text("Every file of the session", css_classes=["heading"]),
            self.status,
            self.files,
            pn.Row(self.afresh, css_classes=["bar"]),
            sizing_mode="stretch_width",
        )

    def _follow(self) -> None:
        """Watch the current session, and no other."""
        if self._watched is not None:
            self._watched[0].param.unwatch(self._watched[1])
        current = self.state.current
        self._watched = None
        if current is not None:
            self._watched = (current, current.param.watch(lambda *_: self.show(), _WATCHED))
        self.show()

    def show(self) -> None:
        """Show the current session as it is now."""
        current = self.state.current
        self._follow_editor(None if current is None else current.editor)
        self.lead.object = _describe(current)
        self._body.visible = self._editor is not None
        self._work.visible = is_busy = current is not None and current.doing is not None
        self.again.visible = current is not None and current.error is not None and not is_busy
        self._zone_row.visible = current is not None and current.needs_timezone and not is_busy
        self._question.visible = current is not None and self._asks(current)
        if current is None:
            return
        self.doing.object = current.doing
        self.progress.value = -1 if current.fraction is None else round(100 * current.fraction)
        if self._editor is not None:
            self._show_families()
            self._show_files()

    def _asks(self, current: ChosenSession) -> bool:
        """Whether a session has to be downloaded, and nobody has said yet that it may."""
        is_settled = current.editor is not None or current.doing is not None or current.error is not None
        return not is_settled and is_on_server(current) and not self.services.is_offline

    def _follow_editor(self, editor: DocumentEditor | None) -> None:
        if editor is self._editor:
            return
        if self._editor is not None:
            self._editor.param.unwatch(self._editor_watcher)
        self._editor = editor
        if editor is not None:
            self._editor_watcher = editor.param.watch(lambda _: self._show_families(), "version")

    def _show_families(self) -> None:
        current, editor = self.state.current, self._editor
        if current is None or editor is None:
            return
        coverage, interfaces = current.coverage or [], editor.interfaces
        self._names = list(interfaces)
        self._is_showing = True
        try:
            self.families.value = _family_rows(self._names, coverage)
            self.families.selection = [row for row, included in enumerate(interfaces.values()) if included]
        finally:
            self._is_showing = False
        self._show_totals(coverage)

    def _tick(self, event: object) -> None:
        """Leave out, or take in, what was ticked off or on."""
        if self._is_showing or self._editor is None:
            return
        wanted = {self._names[int(row)] for row in self.families.selection}
        if not wanted:
            notify("Something has to be converted: at least one tick has to stay.", "warning")
            self._show_families()
            return
        for name, included in self._editor.interfaces.items():
            if included != (name in wanted):
                self._editor.set_included(name, name in wanted)

    def _show_totals(self, coverage: list[DatasetCoverage]) -> None:
        sizes = {status: sum(row.size for row in coverage if row.status == status) for status in _STATUSES}
        counts = {status: sum(row.status == status for row in coverage) for status in _STATUSES}
        parts = [f"{counts[status]} {status} ({format_size(sizes[status])})" for status in _STATUSES]
        self.totals.object = f"{len(coverage)} files, {format_size(sum(sizes.values()))}: {', '.join(parts)}."
        self.bar.object = _coverage_bar(counts)

    def _show_files(self) -> None:
        current = self.state.current
        if current is None or current.coverage is None:
            return
        wanted = self.status.value.lower()
        rows = [row for row in current.coverage if self.status.value == _ALL or row.status == wanted]
        self.files.value = _file_rows(rows)

    def _fetch(self, sessions: list[ChosenSession]) -> None:
        absent = [
            chosen for chosen in sessions if chosen is not None and chosen.editor is None and is_on_server(chosen)
        ]
        for chosen in absent:
            chosen.raw = self.raw.value
        self.services.collect(absent, deliver=deliverer())

    def _collect(self, *, afresh: bool = False) -> None:
        if self.state.current is not None:
            self.services.collector.collect(self.state.current, afresh=afresh, deliver=deliverer())

    def _cancel(self) -> None:
        if self.state.current is not None:
            self.services.collector.cancel(self.state.current)

    def _use_zone(self) -> None:
        zone = (self.zone.value or self.zone.value_input or "").strip()
        if zone not in self.zone.options:
            notify("Choose a time zone from the list, such as Europe/Lisbon.", "warning")
            return
        for chosen in self.state.chosen:
            if chosen.needs_timezone:
                chosen.timezone = zone
                self.services.collector.collect(chosen, deliver=deliverer())


def _describe(current: ChosenSession | None) -> str:
    if current is None:
        return "No session is chosen yet. Choose one in Find."
    if current.error is not None:
        return current.error
    if current.doing is not None:
        return f"{current.label} is being opened."
    if current.editor is None:
        return f"{current.label} is not on this machine yet, or has not been looked at: it is downloaded with ONE."
    if current.needs_timezone:
        return "When the session started is not known until the time zone of the rig's clock is. Which is it?"
    return f"{current.label}: {current.editor.document.session.session_path}"


def _family_rows(names: list[str], coverage: list[DatasetCoverage]) -> pd.DataFrame:
    rows = []
    for name in names:
        read = [row.size for row in coverage if name in row.interfaces]
        rows.append((name, len(read), format_size(sum(read))))
    return pd.DataFrame(rows, columns=["Interface", "Files", "Size"])


def _file_rows(coverage: list[DatasetCoverage]) -> pd.DataFrame:
    rows = [
        (row.relative_path, format_size(row.size), row.status, ", ".join(row.interfaces) or row.reason)
        for row in coverage
    ]
    return pd.DataFrame(rows, columns=["Dataset", "Size", "Status", "By, or why not"])


def _coverage_bar(counts: dict[str, int]) -> str:
    """Files by status as a bar; of numbers and our own words only, so that there is nothing to escape."""
    total = sum(counts.values()) or 1
    parts = "".join(
        f'<span class="{status.replace(" ", "-")}" style="width:{100 * count / total:.2f}%" title="{count} {status}">'
        "</span>"
        for status, count in counts.items()
    )
    return f'<div class="coverage" role="img" aria-label="Files by what becomes of them">{parts}</div>'
