"""Conversions one after the other, each in a process of its own; the queue outlives page and server."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..batch.files import remove
from ..batch.records import now, write_whole
from ..errors import IBLNWBError, UsageError
from .leftovers import BeforeConversion
from .progress import Progress, Step
from .tasks import Task, TaskState, end_left_over, read_end
from .work import run_conversion

if TYPE_CHECKING:
    from ..conversion import Backend, ConversionSummary
    from ..document import ConversionDocument
    from ..writing.videos import VideoPlacement

_INTERRUPTED = "It was interrupted: the program ended while it ran. Nothing of it is left; try it again."
_TOO_LATE = "It was cancelled when the new file, which is complete, had just replaced the one before."


class InterfaceRecord(BaseModel):
    """What one interface of a conversion did; as :class:`ibl_nwb.conversion.InterfaceSummary`."""

    model_config = ConfigDict(extra="forbid")

    name: str
    n_datasets: int
    n_bytes: int
    notes: list[str] = Field(default_factory=list)


class ConversionJob(BaseModel):
    """One conversion of the queue.

    A job that was cancelled is "running" until its process has ended.
    """

    model_config = ConfigDict(extra="forbid", title="ibl_nwb conversion job")

    id: str
    name: str = Field(description="How people name the session.")
    output: Path = Field(description="File or folder to write.")
    options: dict[str, Any] = Field(description="Further arguments of convert_document.")
    state: TaskState = "queued"
    error: str | None = Field(default=None, description="Why it failed, as a sentence.")
    attempts: int = 0
    started: str | None = Field(default=None, description="When, ISO 8601.")
    finished: str | None = None
    before: BeforeConversion | None = Field(default=None, description="What was there, while it runs.")
    nwbfile_path: Path | None = Field(default=None, description="The file that was written.")
    size: int | None = Field(default=None, description="Its size in bytes.")
    seconds: float | None = Field(default=None, description="Wall time.")
    interfaces: list[InterfaceRecord] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list, description="What a user should know about the session.")
    missing_for_dandi: list[str] = Field(default_factory=list, description="Metadata that DANDI will ask for.")

    @property
    def is_settled(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state in ("done", "failed", "cancelled")

    def take(self, summary: ConversionSummary) -> None:
        """Note what a conversion did."""
        self.nwbfile_path, self.size, self.seconds = summary.nwbfile_path, summary.size, summary.seconds
        self.interfaces = [InterfaceRecord(**vars(row)) for row in summary.interfaces]
        self.notes, self.missing_for_dandi = summary.notes, summary.missing_for_dandi

    def forget(self) -> None:
        """Be as one that has not been begun."""
        fields = type(self).model_fields
        for name in set(fields) - {"id", "name", "output", "options", "attempts"}:
            setattr(self, name, fields[name].get_default(call_default_factory=True))


class ConversionQueue:
    """Conversions in order, so many at a time.

    A file that is written is the one that ``ibl-nwb convert`` writes of the same document: each job is one call of
    :func:`ibl_nwb.conversion.convert_document`. One that fails or is cancelled leaves nothing behind.

    Parameters
    ----------
    state_folder : path-like
        Where the queue keeps itself; jobs that are there already are taken over. Those that were running when an
        earlier queue was killed have failed.
    workers : int, default: 1
        Conversions at a time; each takes all processors for raw recordings unless told otherwise.

    Attributes
    ----------
    tasks : dict of str to Task
        Other work of the server that outlives a page, by name.
    warning : str or None
        What was wrong with the queue that was there.

    Raises
    ------
    UsageError
        If another process has the queue.
    """

    def __init__(self, state_folder: str | Path, workers: int = 1):
        from fasteners import InterProcessLock

        self.folder, self.workers = Path(state_folder) / "queue", workers
        self.tasks: dict[str, Task] = {}
        self.warning: str | None = None
        self._running: dict[str, Task] = {}
        self._is_closed, self._lock = False, threading.RLock()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._only = InterProcessLock(self.folder / "lock")
        if not self._only.acquire(blocking=False):
            raise UsageError(
                f"Another page is open on the folder '{self.folder.parent.parent}'. Close its program, or choose "
                "another output folder."
            )
        try:
            self._jobs = self._restore()
            self._save()
        except BaseException:
            self._only.release()
            raise
        self._start_next()

    @property
    def jobs(self) -> list[ConversionJob]:
        """All jobs, in order."""
        with self._lock:
            return list(self._jobs)

    def add(
        self,
        name: str,
        document: ConversionDocument,
        output: str | Path,
        *,
        stub_test: bool = False,
        overwrite: bool = False,
        backend: Backend = "hdf5",
        videos: VideoPlacement = "leave",
        start_s: float | None = None,
        stop_s: float | None = None,
        jobs: int | None = None,
        memory_mb: float | None = None,
    ) -> ConversionJob:
        """Put a conversion at the end of the queue; it starts when it is its turn.

        Parameters
        ----------
        name : str
            How people name the session.
        document : ConversionDocument
            What to convert, as it is now.
        output, stub_test, overwrite, backend, videos, start_s, stop_s, jobs, memory_mb
            As of :func:`ibl_nwb.conversion.convert_document`.

        Raises
        ------
        UsageError
            If ``start_s`` and ``stop_s`` are no interval.
        """
        from ..snippets import check_bounds

        check_bounds(start_s, stop_s)
        options = {
            **{"stub_test": stub_test, "overwrite": overwrite, "backend": backend, "videos": videos},
            **{"start_s": start_s, "stop_s": stop_s, "jobs": jobs, "memory_mb": memory_mb},
        }
        job = ConversionJob(id=uuid.uuid4().hex[:12], name=name, output=Path(output).absolute(), options=options)
        with self._lock:
            document.write_json(self.document_path(job))
            self._jobs.append(job)
            self._save()
        self._start_next()
        return job

    def cancel(self, job: ConversionJob) -> None:
        """Take a job off, or end its process, which may take a few seconds; nothing happens to one that is settled."""
        with self._lock:
            if job.state == "queued":
                job.state, job.finished = "cancelled", now()
                self._save()
            task = self._running.get(job.id)
        if task is not None:
            task.cancel()

    def cancel_all(self) -> None:
        """Take all jobs off that are not settled."""
        with self._lock:
            for job in self._jobs:
                if job.state == "queued":
                    job.state, job.finished = "cancelled", now()
            self._save()
            running = list(self._running.values())
        for task in running:
            task.cancel()

    def is_ending(self, job: ConversionJob) -> bool:
        """Whether a job was cancelled and its process has not ended yet."""
        task = self._running.get(job.id)
        return task is not None and task.is_cancelling

    def retry(self, job: ConversionJob, document: ConversionDocument | None = None) -> None:
        """Put a job that failed or was cancelled at the end of the queue.

        Parameters
        ----------
        job : ConversionJob
            The job; nothing happens to one that is queued, running or done.
        document : ConversionDocument, optional
            What to convert now. Default: what was to be converted before.
        """
        self._retry([(job, document)])

    def retry_failed(self, document_of: Callable[[ConversionJob], ConversionDocument | None] | None = None) -> None:
        """Put all jobs that failed at the end of the queue.

        Parameters
        ----------
        document_of : callable, optional
            Says what to convert now for a job, None for what was to be converted before.
        """
        failed = [job for job in self.jobs if job.state == "failed"]
        self._retry([(job, None if document_of is None else document_of(job)) for job in failed])

    def move(self, job: ConversionJob, direction: Literal["up", "down"]) -> None:
        """Let a job that is queued change places with the next one that is, above or below it."""
        with self._lock:
            queued = [index for index, one in enumerate(self._jobs) if one.state == "queued"]
            if job.state != "queued":
                return
            here = self._jobs.index(job)
            others = [i for i in queued if i < here][-1:] if direction == "up" else [i for i in queued if i > here][:1]
            for there in others:
                self._jobs[here], self._jobs[there] = self._jobs[there], self._jobs[here]
            self._save()

    def clear(self) -> None:
        """Forget all jobs that are settled; what they wrote stays."""
        with self._lock:
            settled = [job for job in self._jobs if job.is_settled]
            self._jobs = [job for job in self._jobs if not job.is_settled]
            self._save()
            for job in settled:
                for path in self.folder.glob(f"{job.id}.*"):
                    remove(path)

    def document_path(self, job: ConversionJob) -> Path:
        """The document of a job."""
        return self.folder / f"{job.id}.document.json"

    def progress(self, job: ConversionJob) -> Progress | None:
        """How far a running job is; None before its process has begun, and of other jobs."""
        task = self._running.get(job.id)
        return None if task is None else task.progress

    def steps(self, job: ConversionJob) -> list[Step]:
        """How far each interface of a running job is."""
        progress = self.progress(job)
        return [] if progress is None else progress.steps

    def log_path(self, job: ConversionJob) -> Path:
        """What the process of a job printed and logged."""
        return self.folder / f"{job.id}.log"

    def read_log(self, job: ConversionJob) -> str:
        """The end of that."""
        return read_end(self.log_path(job))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until every job is settled; False if that takes longer than ``timeout_s``."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not all(job.is_settled for job in self.jobs):
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def shutdown(self) -> None:
        """End what runs, and leave the folder to the next queue, which goes on with the jobs that are queued."""
        with self._lock:
            self._is_closed = True
            at_work = [*self._running.values(), *self.tasks.values()]
        for task in at_work:
            task.cancel()
        for task in at_work:
            task.wait()
        self._only.release()

    def _retry(self, jobs: list[tuple[ConversionJob, ConversionDocument | None]]) -> None:
        with self._lock:
            for job, document in jobs:
                if job.state not in ("failed", "cancelled"):
                    continue
                if document is not None:
                    document.write_json(self.document_path(job))
                job.forget()
                self._jobs.remove(job)
                self._jobs.append(job)
            self._save()
        self._start_next()

    def _start_next(self) -> None:
        with self._lock:
            for job in self._jobs:
                if self._is_closed or len(self._running) >= self.workers:
                    return
                if job.state == "queued":
                    self._start(job)

    def _start(self, job: ConversionJob) -> None:
        from ..conversion import resolve_output
        from ..document import ConversionDocument

        job.started, job.attempts = now(), job.attempts + 1
        try:
            document = ConversionDocument.read_json(self.document_path(job))
            job.before = BeforeConversion.of(resolve_output(job.output, document.metadata, job.options["backend"]))
        except IBLNWBError as error:
            job.state, job.error, job.finished = "failed", str(error), now()
            self._save()
            return
        job.state = "running"
        self._save()
        task = Task(
            run_conversion,
            self.document_path(job),
            job.output,
            job.options,
            name=job.id,
            folder=self.folder,
            on_end=lambda task: self._settle(job, task),
        )
        self._running[job.id] = task.start()

    def _settle(self, job: ConversionJob, task: Task) -> None:
        with self._lock:
            if task.state == "done":
                job.take(task.result)
            elif job.before is not None:
                progress = task.progress
                has_answered = task.state == "failed" and not task.is_lost
                job.before.remove_left_over(None if progress is None else progress.pid, has_answered=has_answered)
            was_too_late = task.state == "cancelled" and job.before is not None and job.before.is_replaced
            job.state, job.error, job.finished, job.before = task.state, task.error, now(), None
            if was_too_late:
                job.error = _TOO_LATE
            if self._is_closed and task.state == "cancelled":
                job.state, job.error = "failed", _INTERRUPTED
            self._running.pop(job.id, None)
            self._save()
        self._start_next()

    def _save(self) -> None:
        write_whole(
            self.folder / "queue.json", json.dumps([job.model_dump(mode="json") for job in self._jobs], indent=1) + "\n"
        )

    def _restore(self) -> list[ConversionJob]:
        jobs = self._read()
        for job in jobs:
            if job.state != "running":
                continue
            process = end_left_over(self.folder / f"{job.id}.progress.json")
            if job.before is not None:
                job.before.remove_left_over(process)
            job.state, job.error, job.finished, job.before = "failed", _INTERRUPTED, now(), None
        return jobs

    def _read(self) -> list[ConversionJob]:
        path = self.folder / "queue.json"
        if not path.exists():
            return []
        try:
            return [ConversionJob.model_validate(job) for job in json.loads(path.read_bytes())]
        except (ValidationError, ValueError, TypeError):
            aside = path.with_name(f"unreadable-{uuid.uuid4().hex[:8]}.json")
            path.rename(aside)
            self.warning = f"The list of earlier conversions could not be read and was put aside as '{aside}'."
            return []
