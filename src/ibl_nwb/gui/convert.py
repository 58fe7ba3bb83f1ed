"""Step four: conversions are asked for, and watched in their queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import panel as pn

from ..cli import format_size
from ..document import ConversionDocument
from ..snippets import check_bounds
from .bars import LogView, describe_seconds, draw_steps, look_after
from .conversion_queue import ConversionJob, ConversionQueue
from .notices import in_thread, notify
from .problems import MetadataPath, Problem
from .state import ChosenSession, GuiState
from .text import Html, Text

_EXTENTS = {"The whole session": False, "A small part of everything, to try it": True}

_VIDEOS = {
    "Leave them where they are": "leave",
    "Copy them beside the NWB file": "copy",
    "Link to them from beside the NWB file": "link",
}

_BACKENDS = {"HDF5 (.nwb)": "hdf5", "Zarr (.nwb.zarr)": "zarr"}

_COLUMNS = ["Session", "State", "%", "Result"]

_EMPTY = "Nothing is being converted. Choose sessions in Find, then press Convert."

#: Problems that are listed before a conversion.
_MOST_LISTED = 8


class ConvertPane:
    """Options of a conversion, and the queue that all windows share.

    Parameters
    ----------
    state : GuiState
        What the window shows.
    queue : ConversionQueue
        The queue.
    on_show_problem : callable, optional
        Called with the path of a field to show.
    on_check, on_view : callable, optional
        Called with the path of a written file to go on with.
    """

    def __init__(
        self,
        state: GuiState,
        queue: ConversionQueue,
        *,
        on_show_problem: Callable[[MetadataPath], Any] | None = None,
        on_check: Callable[[Path], Any] | None = None,
        on_view: Callable[[Path], Any] | None = None,
    ):
        self.state, self.queue = state, queue
        self._on_show_problem, self._on_check, self._on_view = on_show_problem, on_check, on_view
        self._watched: list[tuple[Any, Any]] = []
        self._shown: list[ConversionJob] = []
        self._selected: str | None = None
        self._make_options()
        self._make_queue()
        self.view = pn.Column(
            self.lead,
            pn.Row(self.output, self.extent, self.videos, css_classes=["bar"]),
            pn.Row(self.start_s, self.stop_s, self.backend, self.overwrite, css_classes=["bar"]),
            pn.Card(
                pn.Row(self.threads, self.memory, css_classes=["bar"]),
                title="More",
                collapsed=True,
                margin=10,
                sizing_mode="stretch_width",
            ),
            self.problems,
            pn.Row(self.convert, self.convert_all, css_classes=["bar"]),
            Text("Conversions", css_classes=["heading"]),
            self.empty,
            self.queue_view,
            sizing_mode="stretch_width",
        )
        state.param.watch(lambda _: self._follow(), ["current", "chosen"])
        self._follow()
        self.refresh()
        look_after(self.refresh)

    def _make_options(self) -> None:
        self.lead = Text("", css_classes=["lead"])
        self.output = pn.widgets.TextInput(
            name="Output folder", value=str(self.state.workspace.output_folder), width=460
        )
        self.extent = pn.widgets.Select(name="How much", options=_EXTENTS, width=300)
        self.videos = pn.widgets.Select(name="Videos", options=_VIDEOS, width=300)
        self.start_s = pn.widgets.FloatInput(name="Raw recordings from second", value=None, width=180)
        self.stop_s = pn.widgets.FloatInput(name="to second", value=None, width=180)
        self.backend = pn.widgets.Select(name="Format", options=_BACKENDS, width=180)
        self.overwrite = pn.widgets.Checkbox(name="Replace a file that is there", align="end")
        self.threads = pn.widgets.IntInput(name="Threads for raw recordings", value=None, start=1, width=220)
        self.memory = pn.widgets.IntInput(name="Memory for raw recordings, MB", value=None, start=1, width=220)
        self.problems = pn.Column(sizing_mode="stretch_width", visible=False)
        self.convert = _button("Convert this session", self._add_current, button_type="primary")
        self.convert_all = _button("", lambda: self.add(list(self.state.chosen)))

    def _make_queue(self) -> None:
        self.empty = Text(_EMPTY, css_classes=["message"])
        self.table = pn.widgets.Tabulator(
            pd.DataFrame(columns=_COLUMNS),
            selectable=1,
            pagination="local",
            page_size=10,
            show_index=False,
            disabled=True,
            layout="fit_columns",
            sizing_mode="stretch_width",
            widths={"Session": "30%", "State": 110, "%": 130},
            formatters={"%": {"type": "progress", "max": 100, "legend": True, "color": "#6aa5d8"}},
        )
        self.table.param.watch(lambda _: self._select(), "selection")
        self.cancel = _button("Cancel", lambda: self._with_selected(self.queue.cancel))
        self.retry = _button("Try again", lambda: self._with_selected(self._retry))
        self.up = _button("Earlier", lambda: self._with_selected(lambda job: self.queue.move(job, "up")))
        self.down = _button("Later", lambda: self._with_selected(lambda job: self.queue.move(job, "down")))
        self.cancel_all = _button("Cancel all", self.queue.cancel_all)
        self.retry_failed = _button("Try all failed again", lambda: self.queue.retry_failed(self._document_of))
        self.clear = _button("Clear the list of finished ones", self.queue.clear)
        self.check = _button("Check it", lambda: self._go_on(self._on_check), visible=False)
        self.look = _button("View it", lambda: self._go_on(self._on_view), visible=False)
        self.title = Text("", css_classes=["heading"])
        self.told = Text("", css_classes=["message"])
        self.bars = Html("", sizing_mode="stretch_width", css_classes=["work"])
        self.log = LogView()
        self.details = pn.Column(
            self.title,
            self.told,
            pn.Row(self.check, self.look, self.cancel, self.retry, self.up, self.down, css_classes=["bar"]),
            self.bars,
            self.log.view,
            sizing_mode="stretch_width",
        )
        self.queue_view = pn.Column(
            self.table,
            pn.Row(self.cancel_all, self.retry_failed, self.clear, css_classes=["bar"]),
            self.details,
            sizing_mode="stretch_width",
        )

    # Asking for conversions

    def options(self) -> dict[str, Any]:
        """What was chosen, as arguments of :meth:`ConversionQueue.add`; the output as it was typed."""
        return {
            "output": self.output.value or "",
            "stub_test": self.extent.value,
            "overwrite": self.overwrite.value,
            "backend": self.backend.value,
            "videos": self.videos.value,
            "start_s": self.start_s.value,
            "stop_s": self.stop_s.value,
            "jobs": self.threads.value,
            "memory_mb": self.memory.value,
        }

    def add(self, sessions: list[ChosenSession]) -> Thread:
        """Put sessions into the queue, in a thread, but for those that cannot be converted yet, which are told."""

        def work() -> tuple[list[ConversionJob], list[str]]:
            check_bounds(options["start_s"], options["stop_s"])
            options["output"] = self.state.workspace.writable(options["output"])
            whys = [(chosen, _why_not(chosen)) for chosen in sessions]
            ready = [chosen for chosen, why in whys if why is None]
            jobs = [self.queue.add(chosen.label, chosen.editor.document, **options) for chosen in ready]
            return jobs, [f"{chosen.label}: {why}" for chosen, why in whys if why is not None]

        def done(answer: tuple[list[ConversionJob], list[str]]) -> None:
            jobs, refused = answer
            self._selected = jobs[0].id if jobs else self._selected
            if refused:
                more = f" And {len(refused) - 3} more." if len(refused) > 3 else ""
                count = f"{len(refused)} of {len(sessions)} sessions" if len(sessions) > 1 else "The session"
                notify(f"{count} cannot be converted yet. {' '.join(refused[:3])}{more}", "error")
            self.refresh()

        options = self.options()
        return in_thread(work, done, lambda sentence: notify(sentence, "error"))

    def _add_current(self) -> None:
        if self.state.current is not None:
            self.add([self.state.current])

    def _follow(self) -> None:
        """Watch the current session and its editor, and no others."""
        for watched, watcher in self._watched:
            watched.param.unwatch(watcher)
        self._watched = []
        current = self.state.current
        if current is not None:
            self._watched.append((current, current.param.watch(lambda _: self._follow(), ["editor", "error"])))
            if current.editor is not None:
                watcher = current.editor.param.watch(lambda _: self._show_problems(), "version")
                self._watched.append((current.editor, watcher))
        self.lead.object = _sentence(current, len(self.state.chosen))
        n_open = sum(one.editor is not None for one in self.state.chosen)
        self.convert.disabled = current is None or current.editor is None
        self.convert_all.name = f"Convert all {len(self.state.chosen)} chosen sessions"
        self.convert_all.visible, self.convert_all.disabled = len(self.state.chosen) > 1, not n_open
        self._show_problems()

    def _show_problems(self) -> None:
        """Name what forbids a conversion; the first time it takes a second to find out."""
        current = self.state.current
        editor = None if current is None else current.editor
        if editor is None:
            self._list_problems([])
        elif editor.is_ready:
            self._list_problems(_stopping(editor.problems))
        else:
            in_thread(lambda: editor.problems, lambda found: self._found_problems(editor, found))

    def _found_problems(self, editor: Any, found: list[Problem]) -> None:
        if self.state.current is not None and self.state.current.editor is editor:
            self._list_problems(_stopping(found))

    def _list_problems(self, found: list[Problem]) -> None:
        self.problems.visible = bool(found)
        self.convert.disabled = bool(found) or self.state.current is None or self.state.current.editor is None
        rows: list[Any] = [Text("Before this session can be converted:", css_classes=["heading"])]
        for problem in found[:_MOST_LISTED]:
            text = Text(f"{_place(problem.path)}{problem.message} {problem.advice}".strip())
            rows.append(pn.Row(text, *self._link(problem), css_classes=["bar"]))
        if len(found) > _MOST_LISTED:
            rows.append(Text(f"And {len(found) - _MOST_LISTED} more."))
        self.problems.objects = rows if found else []

    def _link(self, problem: Problem) -> list[pn.widgets.Button]:
        show = self._on_show_problem
        if show is None or not problem.path:
            return []
        return [_button("Show the field", lambda: show(problem.path), button_type="light")]

    # The queue

    def refresh(self) -> None:
        """Show the queue as it is now."""
        jobs = self.queue.jobs
        self._note_written(jobs)
        self.empty.object = " ".join(filter(None, (self.queue.warning, None if jobs else _EMPTY)))
        self.empty.visible = bool(self.empty.object)
        self.queue_view.visible = bool(jobs)
        self._show_table(jobs)
        self.cancel_all.disabled = all(job.is_settled for job in jobs)
        self.retry_failed.disabled = not any(job.state == "failed" for job in jobs)
        self.clear.disabled = not any(job.is_settled for job in jobs)
        self._show_job(next((job for job in jobs if job.id == self._selected), None))

    def _note_written(self, jobs: list[ConversionJob]) -> None:
        written = {job.name: job.nwbfile_path for job in jobs if job.state == "done"}
        for chosen in self.state.chosen:
            path = written.get(chosen.label)
            if path is not None and chosen.nwbfile_path != path:
                chosen.nwbfile_path = path

    def _show_table(self, jobs: list[ConversionJob]) -> None:
        rows = [self._row(job) for job in jobs]
        is_same = [job.id for job in jobs] == [job.id for job in self._shown]
        self._shown = jobs
        if not is_same:
            self.table.value = pd.DataFrame(rows, columns=_COLUMNS)
            self._mark_selected()
            return
        shown = self.table.value
        changed = {
            column: [(i, row[k]) for i, row in enumerate(rows) if shown[column].iloc[i] != row[k]]
            for k, column in enumerate(_COLUMNS)
        }
        if any(changed.values()):
            self.table.patch({column: cells for column, cells in changed.items() if cells})

    def _mark_selected(self) -> None:
        ids = [job.id for job in self._shown]
        if self._selected not in ids:
            self._selected = next((job.id for job in self._shown if job.state == "running"), ids[-1] if ids else None)
        selection = [ids.index(self._selected)] if self._selected is not None else []
        if self.table.selection != selection:
            self.table.selection = selection

    def _row(self, job: ConversionJob) -> tuple[str, str, int, str]:
        state = "cancelling" if self.queue.is_ending(job) else job.state
        progress = self.queue.progress(job) if job.state == "running" else None
        fraction = 1.0 if job.state == "done" else progress.fraction if progress is not None else 0.0
        return job.name, state, round(100 * fraction), _result(job)

    def _select(self) -> None:
        chosen = [self._shown[index] for index in self.table.selection if index < len(self._shown)]
        if chosen and chosen[0].id != self._selected:
            self._selected = chosen[0].id
            self._show_job(chosen[0])

    def _show_job(self, job: ConversionJob | None) -> None:
        self.details.visible = job is not None
        if job is None:
            return
        steps = self.queue.steps(job) if job.state == "running" else []
        is_ending = self.queue.is_ending(job)
        self.title.object = job.name
        self.told.object = "Being cancelled." if is_ending else _tell(job, bool(steps))
        self.bars.object = draw_steps(steps)
        self.bars.visible = bool(steps)
        self.cancel.visible, self.cancel.disabled = not job.is_settled, is_ending
        self.retry.visible = job.state in ("failed", "cancelled")
        self.up.visible = self.down.visible = job.state == "queued"
        self.check.visible = job.state == "done" and self._on_check is not None
        self.look.visible = job.state == "done" and self._on_view is not None
        self.log.show(self.queue.read_log(job))

    def _with_selected(self, action: Callable[[ConversionJob], Any]) -> None:
        job = next((job for job in self.queue.jobs if job.id == self._selected), None)
        if job is not None:
            action(job)
            self.refresh()

    def _retry(self, job: ConversionJob) -> None:
        self.queue.retry(job, self._document_of(job))

    def _document_of(self, job: ConversionJob) -> ConversionDocument | None:
        """The session's document as it is edited now, which may have been what was wrong."""
        chosen = next((one for one in self.state.chosen if one.label == job.name and one.editor is not None), None)
        return None if chosen is None else chosen.editor.document

    def _go_on(self, follow: Callable[[Path], Any] | None) -> None:
        job = next((job for job in self.queue.jobs if job.id == self._selected), None)
        if job is not None and job.nwbfile_path is not None and follow is not None:
            follow(job.nwbfile_path)


def _sentence(current: ChosenSession | None, n_chosen: int) -> str:
    if current is None:
        return "Choose a session in Find first; then it can be converted here."
    if current.error is not None:
        return f"{current.label} cannot be converted: {current.error}"
    if current.editor is None:
        return f"{current.label} has not been opened yet; see Contents."
    others = f" {n_chosen} sessions are chosen." if n_chosen > 1 else ""
    return f"Write {current.label} to an NWB file.{others}"


def _why_not(chosen: ChosenSession) -> str | None:
    """Why a session cannot be converted, as far as that is known without opening it."""
    if chosen.editor is None:
        return chosen.error or "it has not been opened yet; see Contents."
    if not chosen.editor.is_ready:
        return None
    found = _stopping(chosen.editor.problems)
    return f"{_place(found[0].path)}{found[0].message}" if found else None


def _stopping(problems: list[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.stops_conversion]


def _place(path: MetadataPath) -> str:
    return f"{' › '.join(map(str, path))}: " if path else ""


def _result(job: ConversionJob) -> str:
    if job.state == "done" and job.nwbfile_path is not None:
        return f"{job.nwbfile_path.name}, {format_size(job.size or 0)}"
    return job.error or ""


def _tell(job: ConversionJob, has_begun: bool) -> str:
    """What can be said of a job in a few lines."""
    if job.state == "running":
        return f"Converting to '{job.output}'." if has_begun else "Starting, which takes a few seconds."
    if job.state == "queued":
        return "Waiting for its turn."
    if job.state == "cancelled":
        return job.error or "Cancelled. No file was left."
    if job.state == "failed":
        return job.error or "It failed."
    lines = [f"Wrote {job.nwbfile_path} ({format_size(job.size or 0)}) in {describe_seconds(job.seconds or 0)}."]
    lines += job.notes + [f"{row.name}: {note}" for row in job.interfaces for note in row.notes]
    if job.missing_for_dandi:
        lines.append(f"DANDI will ask for {', '.join(job.missing_for_dandi)}.")
    return "\n".join(lines)


def _button(name: str, react: Callable[[], Any], **options: Any) -> pn.widgets.Button:
    button = pn.widgets.Button(name=name, **options)
    button.on_click(lambda _: react())
    return button
