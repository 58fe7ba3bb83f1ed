"""From a chosen session to its document and to what becomes of its files, in a thread, with a way to stop it."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..conversion import make_document
from ..coverage import DatasetCoverage, inspect_session
from ..document import ConversionDocument
from ..errors import IBLNWBError, MetadataIncompleteError
from ..session import ALFSession
from .editor import DocumentEditor
from .state import ChosenSession

_logger = logging.getLogger(__name__)

#: Families whose files are so large that they are downloaded only when asked for, as Alyx2NWBMetadata does.
_LARGE_FAMILIES = ("NIDQ", "ProbeSync", "RawEphys", "Video")

_START_TIME = ("NWBFile", "session_start_time")

#: Runs a change of what windows watch where it may be made; default at once.
Deliver = Callable[[Callable[[], None]], None]


class CollectingStopped(IBLNWBError):
    """Somebody asked for the end of it."""


@dataclass(frozen=True)
class _Collected:
    editor: DocumentEditor
    coverage: list[DatasetCoverage]


class Collector:
    """Opens chosen sessions, some at a time.

    Parameters
    ----------
    folder : pathlib.Path
        Where edits are kept, one file for each session.
    connect : callable
        Gives ONE, for sessions that are named by eid or reference.
    workers : int, default: 2
        Sessions at a time: a download and another one.
    """

    def __init__(self, folder: Path, connect: Callable[[], Any], *, workers: int = 2):
        self.folder, self._connect = folder, connect
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="ibl_nwb.gui.collecting")
        self._running: dict[str, tuple[Future, threading.Event]] = {}

    def collect(self, chosen: ChosenSession, *, afresh: bool = False, deliver: Deliver | None = None) -> Future:
        """Begin to open a session: its ``editor`` and ``coverage``, or ``error``, are there once the future is done.

        Parameters
        ----------
        chosen : ChosenSession
            The session.
        afresh : bool, default: False
            Leave out edits that were made before.
        deliver : callable, optional
            Runs each change of ``chosen``. Default: in the thread that opens it.
        """
        running = self._running.get(chosen.source)
        if running is not None and not running[0].done():
            return running[0]
        stopped = threading.Event()
        deliver = deliver or _at_once
        _change(chosen, error=None, needs_timezone=False, fraction=None, doing="Waiting")
        future = self._threads.submit(self._run, chosen, afresh, stopped, deliver)
        self._running[chosen.source] = (future, stopped)
        return future

    def cancel(self, chosen: ChosenSession) -> None:
        """Stop opening a session; what has been downloaded in full stays, and is not fetched again."""
        running = self._running.get(chosen.source)
        if running is None:
            return
        future, stopped = running
        stopped.set()
        if future.cancel():
            _change(chosen, fraction=None, doing=None)

    def shutdown(self) -> None:
        """Stop all."""
        for _, stopped in self._running.values():
            stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def autosave_path(self, chosen: ChosenSession) -> Path:
        """Where the edits of a session are kept."""
        return self.folder / f"{hashlib.sha256(chosen.source.encode()).hexdigest()[:16]}.json"

    def _run(self, chosen: ChosenSession, afresh: bool, stopped: threading.Event, deliver: Deliver) -> None:
        def report(doing: str, fraction: float | None) -> None:
            deliver(lambda: _change(chosen, fraction=fraction, doing=doing))

        outcome: dict[str, Any]
        try:
            report("Collecting metadata", None)
            collected = self._collect(chosen, afresh, _bar_class(report, stopped))
            missing = collected.editor.document.metadata.get("NWBFile", {}).get("session_start_time") is None
            outcome = {"coverage": collected.coverage, "needs_timezone": missing, "editor": collected.editor}
        except CollectingStopped:
            outcome = {}
        except MetadataIncompleteError as error:
            outcome = {"error": str(error), "needs_timezone": True}
        except IBLNWBError as error:
            outcome = {"error": str(error)}
        except Exception as error:  # a defect must not look like a session that is still being opened
            _logger.exception("Session %s cannot be opened.", chosen.source)
            outcome = {
                "error": f"{type(error).__name__}: {error}. This is a fault of ibl-nwb; the terminal shows more."
            }
        deliver(lambda: _change(chosen, fraction=None, **outcome, doing=None))

    def _collect(self, chosen: ChosenSession, afresh: bool, bar_class: type[tqdm]) -> _Collected:
        autosave_path = self.autosave_path(chosen)
        editor = chosen.editor
        if editor is None and not afresh and autosave_path.exists():
            editor = DocumentEditor.restore(autosave_path)
        if editor is None or afresh:
            editor = DocumentEditor(self._make_document(chosen, bar_class), autosave_path)
        elif chosen.timezone is not None and editor.get(_START_TIME) is None:
            start_time = self._make_document(chosen, bar_class).metadata["NWBFile"]["session_start_time"]
            if start_time is not None:
                editor.set(_START_TIME, start_time)
        return _Collected(editor, inspect_session(open_session(editor.document)))

    def _make_document(self, chosen: ChosenSession, bar_class: type[tqdm]) -> ConversionDocument:
        """What ``ibl-nwb metadata`` would write."""
        if is_document(chosen):
            return ConversionDocument.read_json(chosen.source)
        if is_folder(chosen):
            return make_document(chosen.source, timezone=chosen.timezone)
        return make_document(
            chosen.source,
            one=self._connect(),
            exclude=_LARGE_FAMILIES if chosen.raw == "leave out" else None,
            stream_raw=chosen.raw == "stream",
            timezone=chosen.timezone,
            progress_bar_class=bar_class,
        )


def is_document(chosen: ChosenSession) -> bool:
    """Whether a session is chosen by a conversion document."""
    return chosen.source.endswith(".json")


def is_folder(chosen: ChosenSession) -> bool:
    """Whether a session is chosen by its folder."""
    return Path(chosen.source).is_absolute() and not is_document(chosen)


def is_on_server(chosen: ChosenSession) -> bool:
    """Whether a session is named by eid or reference, so that opening it may download its files."""
    return not is_document(chosen) and not is_folder(chosen)


def open_session(document: ConversionDocument) -> ALFSession:
    """The session that a document is about, as its interfaces see it."""
    revisions = (arguments.get("revision") for arguments in document.source_data.values())
    revision = next((revision for revision in revisions if revision is not None), None)
    return ALFSession(document.session.session_path, revision=revision, data_urls=document.data_urls)


def _change(chosen: ChosenSession, **values: Any) -> None:
    """Change a session, one thing after the other: whoever watches several is told of each."""
    for name, value in values.items():
        setattr(chosen, name, value)


def _at_once(change: Callable[[], None]) -> None:
    change()


def _bar_class(report: Callable[[str, float | None], None], stopped: threading.Event) -> type[tqdm]:
    """A progress bar that reports, and that ends the work it counts when that is asked for."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "mininterval": 0.5})
            _end_if(stopped)

        def update(self, n: float | None = 1) -> bool | None:
            _end_if(stopped)
            return super().update(n)

        def display(self, msg: str | None = None, pos: int | None = None) -> bool:
            done = f"{self.format_sizeof(self.n)}B of {self.format_sizeof(self.total)}B" if self.total else ""
            report(f"{self.desc.removesuffix(': ')} {done}".strip(), self.n / self.total if self.total else None)
            return True

    return Bar


def _end_if(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise CollectingStopped("It was cancelled.")
