"""The batch: every session fetched, one after another, and converted, several at a time, until all are settled."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from ..acquire.references import SessionKey
from ..acquire.summary import SessionSummary
from ..errors import IBLNWBError, SchedulerLostError, UsageError
from ..products import Product, products_of
from .dask_executor import DaskAccess, DaskExecutor
from .downloads import FetchedSession, StoppedError, drop_downloads, fetch_session
from .options import BatchOptions, ConversionTask
from .processes import ProcessExecutor
from .records import BatchFolder, BatchRecord
from .recovery import end_processes, only_driver, recover
from .sessions import BatchSession, name_sessions
from .summary import BatchSummary
from .table import BatchDisplay
from .work import convert_one

#: How often the display is brought up to date while nothing ends.
_LOOK_EVERY_S = 0.5

#: How long a download may take to notice that it is to stop.
_STOP_WAIT_S = 5.0


@dataclass
class BatchSettings:
    """How a batch is run, which does not change what is in the files."""

    workers: int = 1
    jobs: int | None = None
    memory_mb: float | None = None
    time_limit_s: float | None = None
    retry_failed: bool = False
    overwrite: bool = False
    keep_cache: bool = False
    stream_raw: bool = False
    verify: bool = True
    sample: float | None = None

    def check(self) -> None:
        """Refuse what cannot be meant."""
        if self.workers < 1:
            raise UsageError(f"{self.workers} workers cannot convert anything; give --workers 1 or more.")
        if self.time_limit_s is not None and not self.time_limit_s > 0:
            raise UsageError(f"A time limit of {self.time_limit_s:g} s leaves no time; give more than 0.")
        if self.sample is not None and not 0 < self.sample <= 1:
            raise UsageError(f"The fraction to sample was {self.sample}; it must be more than 0 and at most 1.")


def convert_sessions(
    sessions: Iterable[str | Path | UUID | SessionSummary],
    output_folder: str | Path,
    *,
    one: Any | None = None,
    split: bool = False,
    metadata: dict | str | Path | None = None,
    include: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    revision: str | None = None,
    timezone: str | None = None,
    backend: Any = "hdf5",
    videos: Any = "copy",
    workers: int = 1,
    jobs: int | None = None,
    memory_mb: float | None = None,
    time_limit_s: float | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    keep_cache: bool = False,
    stream_raw: bool = False,
    verify: bool = True,
    sample: float | None = None,
    dry_run: bool = False,
    executor: Executor | None = None,
    scheduler: str | None = None,
    cluster: str | Path | None = None,
    client: Any | None = None,
    display: BatchDisplay | None = None,
) -> BatchSummary:
    """Convert many sessions, so that it can be stopped, killed and begun again without loss.

    Each session is fetched, converted in a process of its own, compared with its source, and only then put where DANDI
    wants it: ``sub-X/sub-X_ses-Y_behavior+ecephys.nwb``. What became of it is in ``.ibl_nwb_batch/records`` in the
    output folder. The next call with the same folder takes what is done and unchanged as done, and goes on with the
    rest; a session that was asked for with other options before is converted again. A script calls this function below
    ``if __name__ == "__main__":``, since the processes import the script, too.

    Parameters
    ----------
    sessions : iterable of str, pathlib.Path, uuid.UUID or SessionSummary
        Session folders, conversion documents (``.json``), eids, references such as ``KS014/2019-12-03/001``, or what
        :func:`ibl_nwb.acquire.find_sessions` found.
    output_folder : path-like
        Where the files go.
    one : one.api.OneAlyx or one.api.One, optional
        From :func:`ibl_nwb.acquire.connect`, for sessions that are named by eid or reference. Default: ONE's default
        database. Session folders are taken as they are, with the Alyx record that was kept of them.
    split : bool, default: False
        Two files for each session, ``desc-raw`` and ``desc-processed``, see :mod:`ibl_nwb.products`.
    metadata, include, exclude, revision, timezone
        For every session, as in :func:`ibl_nwb.make_document`.
    backend, videos
        As in :func:`ibl_nwb.convert_document`; videos are copied beside the files unless told otherwise.
    workers : int, default: 1
        Sessions at a time; with a ``cluster``, jobs at a time. The workers of a ``scheduler`` or ``client`` convert as
        many sessions at a time as they have threads.
    jobs : int, optional
        Threads of each of them. Default: the processors, shared.
    memory_mb : float, optional
        Memory in MB for raw recordings on their way, shared by the workers. Default: a quarter of what is free.
    time_limit_s : float, optional
        Most seconds that a session may take after it was fetched. Not for an ``executor`` of your own.
    retry_failed : bool, default: False
        Try those again that failed before.
    overwrite : bool, default: False
        Convert all again, and replace files that are not from this batch.
    keep_cache : bool, default: False
        Keep what was downloaded. Otherwise the files that the batch has downloaded for a session are removed when its
        products are done and verified; what was there before is never touched.
    stream_raw : bool, default: False
        Do not download raw recordings, but read them from the server while they are converted.
    verify : bool, default: True
        Compare each file with its source, see :func:`ibl_nwb.verify.verify`; one that differs is not kept.
    sample : float, optional
        Compare only this fraction of the raw recordings.
    dry_run : bool, default: False
        Only tell what would be done: the summary has the records as they would be queued, and nothing is written,
        fetched or looked up.
    executor : concurrent.futures.Executor, optional
        What runs :func:`ibl_nwb.batch.convert_one` for each session, e.g. on other machines that see the same folders.
        Its processes are its own affair. Default: a :class:`ibl_nwb.batch.ProcessExecutor`.
    scheduler : str, optional
        Address of a Dask scheduler such as ``tcp://node1:8786``, the workers of which convert the sessions, see
        :class:`ibl_nwb.batch.DaskExecutor`. Sessions, cache and output folder are on a file system that all of them
        see under the same paths.
    cluster : path-like, optional
        Cluster file of ``dask_jobqueue``: a scheduler, and jobs for its workers in a queueing system, for this batch.
    client : distributed.Client, optional
        A client of a Dask scheduler that you have.
    display : BatchDisplay, optional
        Shows how far it is.

    Returns
    -------
    BatchSummary
        Written to ``batch_summary.json`` and ``batch_summary.html`` in the output folder, too.

    Raises
    ------
    UsageError
        If the request makes no sense, or another batch is running on the folder, or workers of Dask do not fit. A
        session that fails raises nothing.
    NetworkError
        If there is no Dask scheduler; SchedulerLostError, if it is lost. What is not done is queued again.
    """
    options = BatchOptions(
        include=sorted(include or ()),
        exclude=sorted(exclude or ()),
        revision=revision,
        metadata=_read_metadata(metadata),
        timezone=timezone,
        backend=backend,
        videos=videos,
    )
    settings = BatchSettings(
        workers=workers,
        jobs=jobs,
        memory_mb=memory_mb,
        time_limit_s=time_limit_s,
        retry_failed=retry_failed,
        overwrite=overwrite,
        keep_cache=keep_cache,
        stream_raw=stream_raw,
        verify=verify,
        sample=sample,
    )
    settings.check()
    dask = DaskAccess.of(scheduler=scheduler, cluster=cluster, client=client, n_jobs=workers)
    if dask is not None:
        if executor is not None:
            raise UsageError("An executor, and Dask: give one of them.")
        settings.workers = 1  # each worker of Dask shares out what it has
    named = name_sessions(sessions)
    has_to_fetch = any(session.kind == "reference" for session in named)
    if has_to_fetch and videos != "copy" and not keep_cache:
        raise UsageError(
            f"With videos='{videos}' the files refer to the downloaded videos, which would be removed. Give keep_cache "
            "(--keep-cache), or have them copied."
        )
    batch = _Batch(BatchFolder(output_folder), products_of(split), options, settings, display or BatchDisplay())
    if dry_run:
        batch.plan(named)
        return batch.summarise()
    return batch.run(named, one, executor, dask)


def _read_metadata(metadata: dict | str | Path | None) -> dict[str, Any]:
    if metadata is None:
        return {}
    from ..conversion import read_metadata

    return read_metadata(metadata)


@dataclass
class _Job:
    """A session that has products to make."""

    session: BatchSession
    key: str
    products: list[Product]


class _Batch:
    """One run over a folder: the records of its sessions, and what is going on."""

    def __init__(
        self,
        folder: BatchFolder,
        products: tuple[Product, ...],
        options: BatchOptions,
        settings: BatchSettings,
        display: BatchDisplay,
    ):
        self.folder, self.products, self.options, self.settings = folder, products, options, settings
        self.display = display
        self.records: dict[str, BatchRecord] = {}
        self.notes: list[str] = []
        self.started = time.time()
        self._events: queue.Queue[tuple[_Job, FetchedSession | Exception | Future]] = queue.Queue()
        self._stopping = threading.Event()
        self._n_slots = settings.workers + 1
        self._slots = threading.Semaphore(self._n_slots)

    def run(
        self, named: list[BatchSession], one: Any | None, executor: Executor | None, dask: DaskAccess | None
    ) -> BatchSummary:
        """Convert what is to be converted, and tell what became of all."""
        with only_driver(self.folder):
            recover(self.folder)
            jobs = self.plan(named)
            for job in jobs:
                for record in self._records_of(job):
                    self.folder.write(record)
            try:
                self._drop_downloads_of_done()
                self._convert(jobs, one, executor, dask)
            finally:
                summary = self.summarise()
                summary.write(self.folder.folder)
        return summary

    def plan(self, named: list[BatchSession]) -> list[_Job]:
        """The sessions that have something to be made, and the records of all."""
        existing = list(self.folder)
        jobs = []
        for session in named:
            known = [record for record in existing if _is_of(record, session)]
            key = known[0].key if known else session.name
            document = Path(session.source) if session.kind == "document" else None
            request = self.options.digest(document)
            to_do: list[Product] = []
            for product in self.products:
                record = next((record for record in known if record.product == product), None)
                record, is_to_do = self._plan_product(session, key, product, record, request)
                self.records[record.name] = record
                to_do += [product] if is_to_do else []
            if to_do:
                jobs.append(_Job(session, key, to_do))
        return jobs

    def summarise(self) -> BatchSummary:
        """The records as they are."""
        return BatchSummary(self.folder.folder, list(self.records.values()), self.notes, time.time() - self.started)

    def _plan_product(
        self, session: BatchSession, key: str, product: Product, record: BatchRecord | None, request: str
    ) -> tuple[BatchRecord, bool]:
        """The record of a product, queued if it has to be made, and whether it has."""
        if record is None:
            record = BatchRecord.new(key, product, session)
        elif self.settings.overwrite:
            record.put_in_queue("It was asked for again.")
        elif record.request != request:
            record.put_in_queue("It was asked for with other options.")
        elif record.state == "done" and not record.is_complete(self.folder.folder):
            record.put_in_queue("What was written is not there any more, or has changed.")
        elif record.state == "failed" and self.settings.retry_failed:
            record.put_in_queue(f"It failed before: {record.error}")
        record.request, record.source = request, session.source
        return record, record.state in ("queued", "running")

    def _records_of(self, job: _Job) -> list[BatchRecord]:
        return [self.records[f"{job.key}.{product}"] for product in job.products]

    def _convert(self, jobs: list[_Job], one: Any | None, executor: Executor | None, dask: DaskAccess | None) -> None:
        if not jobs:
            return
        if one is None and any(job.session.kind == "reference" for job in jobs):
            from ..acquire import connect

            one = connect()
        fetcher = threading.Thread(target=self._fetch_all, args=(jobs, one), daemon=True)
        with ExitStack() as stack:
            if dask is not None:
                executor = stack.enter_context(dask.executor(self.folder, self.settings.time_limit_s))
            elif executor is None:
                executor = ProcessExecutor(
                    self.settings.workers,
                    time_limit_s=self.settings.time_limit_s,
                    output=self.folder.log_path("processes"),
                )
                stack.callback(executor.shutdown)
            stack.enter_context(self.display.show(self.folder, self.records, self.started))
            futures: list[Future] = []
            fetcher.start()
            try:
                self._serve(len(jobs), executor, futures)
            except BaseException:
                self._stop(fetcher, executor, futures)
                raise

    def _serve(self, n_jobs: int, executor: Executor, futures: list[Future]) -> None:
        """Hand out sessions as they are fetched, and note what became of them, until there are no more."""
        n_settled = 0
        while n_settled < n_jobs:
            if isinstance(executor, DaskExecutor):
                self._keep_ahead_of(executor.capacity)
            try:
                job, event = self._events.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                self.display.refresh()
                continue
            if isinstance(event, FetchedSession) and (same := self._find_same(job, event)) is None:
                future = executor.submit(convert_one, self._task(job, event))
                futures.append(future)
                future.add_done_callback(partial(self._note_end, job))
                continue
            if isinstance(event, FetchedSession):
                self._forget(job, f"'{job.session.source}' is the same session as '{same}' and has no file of its own.")
            elif isinstance(event, Future):
                if isinstance(event.exception(), SchedulerLostError):
                    raise cast(SchedulerLostError, event.exception())
                self._finish(job, event.exception())
            else:
                self._finish(job, event)
            n_settled += 1
            self._slots.release()
            self.display.refresh()

    def _keep_ahead_of(self, n_sessions: int) -> None:
        """Let so many sessions be fetched that workers that have joined have something to do."""
        for _ in range(n_sessions + 1 - self._n_slots):
            self._slots.release()
            self._n_slots += 1

    def _note_end(self, job: _Job, future: Future) -> None:
        self._events.put((job, future))

    def _fetch_all(self, jobs: list[_Job], one: Any | None) -> None:
        """Fetch the sessions one by one, never more than a few ahead of their conversion."""
        for job in jobs:
            while not self._slots.acquire(timeout=_LOOK_EVERY_S):
                if self._stopping.is_set():
                    return
            if self._stopping.is_set():
                return
            try:
                event: Any = fetch_session(
                    job.session,
                    job.key,
                    self.folder,
                    self.options,
                    one=one,
                    stream_raw=self.settings.stream_raw,
                    stopping=self._stopping,
                )
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - it is told in the record of the session
                event = error
            self._events.put((job, event))

    def _task(self, job: _Job, fetched: FetchedSession) -> dict[str, Any]:
        settings = self.settings
        is_document = job.session.kind == "document"
        task = ConversionTask(
            folder=str(self.folder.folder),
            key=job.key,
            products=job.products,
            document=str(fetched.path) if is_document else None,
            session_path=None if is_document else str(fetched.path),
            alyx=fetched.alyx,
            data_urls=fetched.data_urls,
            options=self.options,
            overwrite=settings.overwrite,
            verify=settings.verify,
            sample=settings.sample,
            jobs=settings.jobs,
            memory_mb=None if settings.memory_mb is None else settings.memory_mb / settings.workers,
            workers=settings.workers,
        )
        return task.model_dump(mode="json")

    def _find_same(self, job: _Job, fetched: FetchedSession) -> str | None:
        """Note which session it turned out to be; the source of another one of the batch that is the same."""
        if fetched.alyx is None:
            return None
        eid, key = fetched.alyx.session.id, SessionKey.of_record(fetched.alyx)
        for record in self.records.values():
            if record.key != job.key and _is_of(record, BatchSession("", "reference", eid, key)):
                return record.source
        for record in self._records_of(job):
            record.eid, record.session = eid, str(key)
            self.folder.write(record)
        return None

    def _forget(self, job: _Job, reason: str) -> None:
        for record in self._records_of(job):
            self.folder.record_path(record.name).unlink(missing_ok=True)
            del self.records[record.name]
        if not self.settings.keep_cache:  # of the other one they are gone, if they had to be fetched again
            drop_downloads(self.folder, job.key)
        self.notes.append(reason)

    def _finish(self, job: _Job, error: BaseException | None) -> None:
        """Note what became of a session, and leave nothing of its making behind."""
        self.folder.remove_unfinished(job.key)
        for product in job.products:
            record = self._reread(f"{job.key}.{product}")
            if error is not None and record.state == "queued":
                record.fail(str(error) if isinstance(error, IBLNWBError) else f"{type(error).__name__}: {error}")
            self.folder.write(record)
        if not self.settings.keep_cache:
            self._drop_downloads(job.key)

    def _reread(self, name: str) -> BatchRecord:
        """A record as the process that was at work on it left it."""
        self.records[name] = record = self.folder.read(name) or self.records[name]
        record.settle(self.folder.folder)
        return record

    def _drop_downloads(self, key: str) -> None:
        """Remove the downloads of a session all products of which are done and verified."""
        records = [record for record in self.records.values() if record.key == key]
        if all(record.state == "empty" or (record.state == "done" and record.verification) for record in records):
            drop_downloads(self.folder, key)

    def _drop_downloads_of_done(self) -> None:
        """Do for sessions what a driver that was killed has not come to do."""
        if not self.settings.keep_cache:
            for key in {record.key for record in self.records.values()}:
                self._drop_downloads(key)

    def _stop(self, fetcher: threading.Thread, executor: Executor, futures: list[Future]) -> None:
        """End everything that is going on; what is not done is queued again."""
        self._stopping.set()
        for future in futures:
            future.cancel()
        if isinstance(executor, (ProcessExecutor, DaskExecutor)):
            executor.shutdown(cancel_futures=True)
            end_processes(self.folder)  # Dask's may not have heard of it
        else:  # what runs in an executor of somebody else cannot be ended
            wait([future for future in futures if not future.cancelled()])
        fetcher.join(timeout=_STOP_WAIT_S)
        for name in list(self.records):
            record = self._reread(name)
            if record.state == "queued" and record.started is None and record.error is None:
                record.error = "The batch was interrupted."
            self.folder.write(record)
        recover(self.folder)


def _is_of(record: BatchRecord, session: BatchSession) -> bool:
    if record.key == session.name or record.source == session.source:
        return True
    return session.is_same(record.eid, record.session_key)
