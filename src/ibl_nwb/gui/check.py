"""Step five: a written file is compared with its source, and looked at as DANDI will."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import panel as pn

from ..errors import IBLNWBError
from ..publish import ValidationReport
from ..verify.report import STATUSES, Comparison
from .bars import TaskView, look_after
from .conversion_queue import ConversionJob, ConversionQueue
from .look import find_files
from .notices import in_thread, notify
from .state import ChosenSession, GuiState
from .tasks import Task
from .text import Text
from .work import CheckedSource, run_validation, run_verification

_NOTHING = "There is no NWB file yet. Convert a session, then check it here."

_EXTENTS = {"All of them": 1.0, "A hundredth, chosen at random": 0.01}

_OF_CONVERSION = "The session it was converted from"
_NEAR_FILE = "The session it names, in the file's folder or one above"

#: What to do about comparisons, by status.
_ADVICE = {
    "different": "Convert the session again; if it stays so, tell the authors of ibl-nwb.",
    "missing": "Convert the session again, with the family ticked in Contents.",
    "not verified": "",
}


class CheckPane:
    """Verification and validation of a file.

    Parameters
    ----------
    state : GuiState
        What the window shows.
    queue : ConversionQueue
        Knows what files were converted from, and keeps checks that outlive the window.
    """

    def __init__(self, state: GuiState, queue: ConversionQueue):
        self.state, self.queue = state, queue
        self._watched: tuple[ChosenSession, Any] | None = None
        self._shown: tuple[Any, ...] = ()
        self._is_listed = False
        self._wanted: Path | None = None
        self.lead = Text(_NOTHING, css_classes=["lead"])
        self.file = pn.widgets.Select(name="NWB file", options={}, width=460)
        self.list_again = pn.widgets.Button(name="List again")
        self.list_again.on_click(lambda _: self.list_files())
        self.source = pn.widgets.Select(name="Compare with", options={}, width=360)
        self.sample = pn.widgets.Select(name="Raw recordings", options=_EXTENTS, width=240)
        self.check = pn.widgets.Button(name="Check the file", button_type="primary", disabled=True)
        self.check.on_click(lambda _: self.start())
        self.save = pn.widgets.FileDownload(
            callback=self.report, filename="report.json", label="Save the report as JSON", button_type="default"
        )
        self.note = Text("", css_classes=["message"])
        self.verifying, self.validating = TaskView("Comparing with the source"), TaskView("Validating")
        self.results = pn.Column(sizing_mode="stretch_width")
        self.view = pn.Column(
            self.lead,
            pn.Row(self.file, self.list_again, css_classes=["bar"]),
            pn.Row(self.source, self.sample, css_classes=["bar"]),
            self.note,
            pn.Row(self.check, self.save, css_classes=["bar"]),
            self.verifying.view,
            self.validating.view,
            self.results,
            sizing_mode="stretch_width",
        )
        state.param.watch(lambda _: self._follow(), ["current", "chosen"])
        self.file.param.watch(lambda _: self._file_changed(), "value")
        self.source.param.watch(lambda _: self._show_note(), "value")
        self._follow()
        self.refresh()
        look_after(self.refresh)

    def show(self) -> None:
        """Called when somebody looks at this step: nothing is read before."""
        if not self._is_listed:
            self.list_files()

    def select(self, path: Path) -> None:
        """Have a file be the one to check."""
        self._wanted = path
        self.list_files()

    def list_files(self) -> None:
        """List the NWB files of the output folder, and select the one that was wanted, or the current session's."""
        current = self.state.current
        wanted = self._wanted or (current.nwbfile_path if current is not None else None)
        workspace = self.state.workspace
        self._is_listed, self._wanted = True, None
        in_thread(
            lambda: find_files(workspace.output_folder, workspace.state_folder),
            lambda paths: self._show_files(paths, None if wanted is None else str(wanted)),
        )

    def start(self) -> None:
        """Begin both checks of the file."""
        if self.file.value is None:
            return
        try:
            path = self.state.workspace.readable(self.file.value)
            session = self._source_path()
        except IBLNWBError as error:
            notify(str(error), "error")
            return
        folder = self.state.workspace.state_folder / "checks"
        name = _key(path)
        if not self._is_stub():
            self._start(
                "verify",
                Task(run_verification, path, session, self.sample.value, name=f"verify-{name}", folder=folder),
            )
        self._start("validate", Task(run_validation, path, name=f"validate-{name}", folder=folder))
        self.refresh()

    def report(self) -> io.BytesIO:
        """What was found, as JSON."""
        verify, validate = self._done("verify"), self._done("validate")
        content = {
            "nwbfile_path": self.file.value,
            "verification": None if verify is None else verify.result.report.to_dict(),
            "validation": None if validate is None else validate.result.to_dict(),
        }
        return io.BytesIO(json.dumps(content, indent=2).encode())

    def refresh(self) -> None:
        """Show the checks as they are now."""
        self.verifying.task, self.validating.task = self._task("verify"), self._task("validate")
        self.verifying.refresh()
        self.validating.refresh()
        self.check.disabled = self.file.value is None or self.verifying.is_running or self.validating.is_running
        verify, validate = self._done("verify"), self._done("validate")
        self.save.disabled = verify is None and validate is None
        if (verify, validate) == self._shown:
            return
        self._shown = (verify, validate)
        found = [] if verify is None else _show_verification(verify.result)
        found += [] if validate is None else _show_validation(validate.result)
        self.results.objects = found

    def _follow(self) -> None:
        """Watch the current session, and no other."""
        if self._watched is not None:
            self._watched[0].param.unwatch(self._watched[1])
        current = self.state.current
        self._watched = None
        if current is not None:
            self._watched = (current, current.param.watch(lambda _: self.list_files(), "nwbfile_path"))
        self._show_sources()
        if self._is_listed or (current is not None and current.nwbfile_path is not None):
            self.list_files()

    def _show_files(self, paths: list[Path], wanted: str | None) -> None:
        folder = self.state.workspace.output_folder
        options = {str(path.relative_to(folder)): str(path) for path in paths}
        value = wanted if wanted in options.values() else self.file.value
        if value not in options.values():
            value = next(iter(options.values()), None)
        self.lead.object = "Compare the file with its source, and see what DANDI will say." if options else _NOTHING
        self.file.param.update(options=options, value=value)

    def _file_changed(self) -> None:
        self._show_sources()
        if self.file.value is not None:
            self.save.filename = f"{Path(self.file.value).name}.check.json"
        self.refresh()

    def _show_sources(self) -> None:
        options: dict[str, Any] = {} if self._job() is None else {_OF_CONVERSION: _OF_CONVERSION}
        options |= {one.label: one for one in self.state.chosen if one.editor is not None}
        options[_NEAR_FILE] = _NEAR_FILE
        of_file = next((one for one in options.values() if self._is_of(one)), _NEAR_FILE)
        self.source.param.update(options=options, value=_OF_CONVERSION if self._job() else of_file)
        self._show_note()

    def _show_note(self) -> None:
        told = "This file is a small part of the session, to try it: it is validated, but not compared."
        self.note.object = told if self._is_stub() else ""
        self.note.visible = self._is_stub()

    def _is_of(self, chosen: Any) -> bool:
        written = getattr(chosen, "nwbfile_path", None)
        return written is not None and str(written) == self.file.value

    def _job(self) -> ConversionJob | None:
        """The last job that wrote the file."""
        written = [job for job in self.queue.jobs if job.state == "done" and str(job.nwbfile_path) == self.file.value]
        return written[-1] if written else None

    def _is_stub(self) -> bool:
        job = self._job()
        return job is not None and bool(job.options["stub_test"])

    def _source_path(self) -> Path | None:
        """The document to compare with, None for the session near the file."""
        chosen, job = self.source.value, self._job()
        if chosen == _OF_CONVERSION and job is not None:
            return self.queue.document_path(job)
        if not isinstance(chosen, ChosenSession) or chosen.editor is None:
            return None
        path = self.state.workspace.state_folder / "checks" / f"{_key(Path(str(self.file.value)))}.document.json"
        chosen.editor.document.write_json(path)
        return path

    def _start(self, kind: str, task: Task) -> None:
        self.queue.tasks[f"{kind} {self.file.value}"] = task
        task.start()

    def _task(self, kind: str) -> Task | None:
        """The last check of the file, if the file is still as it was then."""
        task = self.queue.tasks.get(f"{kind} {self.file.value}")
        path = Path(self.file.value) if self.file.value else None
        if task is None or path is None or not path.exists() or path.stat().st_mtime > (task.started or 0):
            return None
        return task

    def _done(self, kind: str) -> Task | None:
        task = self._task(kind)
        return task if task is not None and task.state == "done" else None


def _key(path: Path) -> str:
    """Name for the files of a check."""
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


def _show_verification(checked: CheckedSource) -> list[Any]:
    """Verdict, counts by interface, and whatever is not equal."""
    report = checked.report
    counts = report.counts
    if report.ok:
        rest = f" {counts['not verified']} could not be compared; see below." if counts["not verified"] else ""
        verdict = _verdict(f"All {counts['equal']} datasets that were compared equal their source.{rest}", is_good=True)
    else:
        verdict = _verdict(f"The file differs from its source: {report.summary()}.", is_good=False)
    order = {"different": 0, "missing": 1, "not verified": 2}
    told = sorted((row for row in report if row.status != "equal"), key=lambda row: order[row.status])
    rows = [(row.status, row.dataset, row.object, _why(row), _ADVICE[row.status]) for row in told]
    tables = [_table(_count_by_interface(checked), page_size=10)]
    if rows:
        tables.append(
            _table(pd.DataFrame(rows, columns=["Status", "Dataset", "Object in the file", "Why", "What to do"]))
        )
    return [Text("Compared with the source", css_classes=["heading"]), verdict, *tables]


def _count_by_interface(checked: CheckedSource) -> pd.DataFrame:
    counts: dict[str, Counter] = {}
    for row in checked.report:
        readers = checked.interfaces.get(row.dataset.split(":")[0], "") or "the file as a whole"
        for reader in readers.split(","):
            counts.setdefault(reader, Counter())[row.status] += 1
    worst_first = sorted(counts.items(), key=lambda item: -(item[1]["different"] + item[1]["missing"]))
    rows = [(name, *(count[status] for status in STATUSES)) for name, count in worst_first]
    return pd.DataFrame(rows, columns=["Interface", *STATUSES])


def _why(row: Comparison) -> str:
    first = row.first_difference
    where = "" if first is None else f"first at {list(first.index)}: {first.found} instead of {first.expected}"
    return "; ".join(filter(None, (row.reason, where)))


def _show_validation(report: ValidationReport) -> list[Any]:
    """Verdict, and findings by check, the worst first."""
    if not report.ok:
        verdict = _verdict(f"DANDI would refuse the file: {report.summary()}.", is_good=False)
    elif report.findings:
        verdict = _verdict(f"DANDI would take the file. Best practice: {report.summary()}.", is_good=True)
    else:
        verdict = _verdict("DANDI would take the file; nothing was found.", is_good=True)
    rows = []
    for group in report.groups():
        first = group.first
        rows.append((first.level, first.check, first.message, first.location, len(group.findings), first.advice))
    columns = ["Level", "Check", "What", "Where", "How often", "What to do"]
    notes = [Text(note, css_classes=["message"]) for note in report.notes]
    tables = [_table(pd.DataFrame(rows, columns=columns))] if rows else []
    return [Text("As DANDI will see it", css_classes=["heading"]), verdict, *tables, *notes]


def _verdict(sentence: str, *, is_good: bool) -> Text:
    return Text(sentence, css_classes=["verdict", "good" if is_good else "bad"])


def _table(rows: pd.DataFrame, page_size: int = 15) -> pn.widgets.Tabulator:
    texts = {"type": "textarea"}  # escapes, and breaks lines
    return pn.widgets.Tabulator(
        rows,
        pagination="local" if len(rows) > page_size else None,
        page_size=page_size,
        show_index=False,
        disabled=True,
        layout="fit_columns",
        sizing_mode="stretch_width",
        formatters={name: texts for name in ("Why", "What", "What to do") if name in rows},
    )
