"""The batch on the workers of Dask: every session in a process of its own inside a worker.

Dask is asked for one thing only, to run a call on a worker that is named. Which session goes where, and what to do when
a worker is lost, is decided here: Dask's own scheduler would also try again, but by a limit that belongs to the
scheduler, and it would count the sessions that merely waited on a worker that died.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import IBLNWBError, NetworkError, SchedulerLostError, UsageError, WorkerLostError
from .processes import GRACE_S
from .records import BatchFolder

_logger = logging.getLogger(__name__)

#: How many workers may be lost during a session before it counts as the cause.
MAX_LOST_WORKERS = 3

#: How often the scheduler is asked which workers it has.
_LOOK_EVERY_S = 0.3

#: How long a worker may take to hand over an answer that it says it has.
_ANSWER_WAIT_S = 10.0

#: How long to look for a scheduler.
_CONNECT_WAIT_S = 30.0

#: Systems of ``dask_jobqueue``, as its configuration calls them, and their classes.
_CLUSTERS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
    "moab": "MoabCluster",
    "local": "local.LocalCluster",
}


@dataclass(frozen=True)
class DaskAccess:
    """How to come by the workers of Dask; just one of the first three is given.

    Attributes
    ----------
    scheduler : str or None
        Address of a scheduler.
    cluster : dict or None
        What a cluster file of ``dask_jobqueue`` says: ``{"slurm": {...}}``.
    client : distributed.Client or None
        A client that is connected.
    n_jobs : int
        Jobs of a cluster at a time.
    """

    scheduler: str | None = None
    cluster: dict[str, dict[str, Any]] | None = None
    client: Any | None = None
    n_jobs: int = 1

    @classmethod
    def of(
        cls, *, scheduler: str | None, cluster: str | Path | None, client: Any | None, n_jobs: int
    ) -> DaskAccess | None:
        """Check what was given; None if nothing was.

        Raises
        ------
        UsageError
            If several were given, Dask is not installed, or the cluster file is not one.
        """
        given = [given for given in (scheduler, cluster, client) if given is not None]
        if not given:
            return None
        if len(given) > 1:
            raise UsageError("A scheduler, a cluster, a client of Dask: give one of them.")
        if client is not None and client.asynchronous:
            raise UsageError("The client of Dask is asynchronous. Give one that was made with asynchronous=False.")
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise UsageError('Dask is not installed. Install it: pip install "ibl-nwb[cluster]".') from error
        read = None if cluster is None else read_cluster_file(cluster)
        return cls(scheduler, read, client, n_jobs)

    @contextmanager
    def executor(self, folder: BatchFolder, time_limit_s: float | None) -> Iterator[DaskExecutor]:
        """An executor for a batch, and whatever it needs, until it is left."""
        with self._connect() as client:
            executor = DaskExecutor(client, folder, time_limit_s=time_limit_s)
            try:
                yield executor
            finally:
                executor.shutdown()

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        from distributed import Client

        if self.client is not None:
            yield self.client
        elif self.cluster is not None:
            with start_cluster(self.cluster, self.n_jobs) as cluster, Client(cluster, set_as_default=False) as client:
                yield client
        else:
            try:
                client = Client(self.scheduler, set_as_default=False, timeout=_CONNECT_WAIT_S)
            except (OSError, ValueError) as error:
                raise NetworkError(
                    f"No Dask scheduler answers at '{self.scheduler}': {error}. Start one with 'dask scheduler', and "
                    "give the address that it prints."
                ) from error
            with client:
                yield client


class DaskExecutor(Executor):
    """An executor that runs each call in a process of its own inside a worker of Dask.

    A worker has as many calls at a time as it has threads. A call the worker of which is lost goes to another one, at
    most three times. Workers may join at any time; one that has other versions of what decides the files, or does not
    see the output folder, gets no call.

    Parameters
    ----------
    client : distributed.Client
        A client that is connected.
    folder : BatchFolder
        The output folder of the batch.
    time_limit_s : float, optional
        Most seconds that a call may take. Default: no limit.

    Raises
    ------
    UsageError
        If a worker that is there does not fit.
    SchedulerLostError
        If the scheduler does not answer.
    """

    def __init__(self, client: Any, folder: BatchFolder, *, time_limit_s: float | None = None):
        self._client, self._folder, self._time_limit_s = client, folder, time_limit_s
        self._address = client.scheduler.address if client.scheduler is not None else "?"
        self._usable: dict[str, int] = {}
        self._unusable: dict[str, str] = {}
        self._waiting: deque[_Call] = deque()
        self._running: list[_Call] = []
        self._changed = threading.Condition()
        self._closing = self._stopping = False
        self._error: Exception | None = None
        self._look_at_workers()
        if self._unusable:
            raise UsageError(" ".join(self._unusable.values()))
        if not self._usable:
            _logger.warning("The Dask scheduler at %s has no workers yet; the batch waits for them.", self._address)
        self._thread = threading.Thread(target=self._run, name="ibl_nwb.batch.dask", daemon=True)
        self._thread.start()

    @property
    def capacity(self) -> int:
        """How many calls the workers that are there can have at a time."""
        return sum(self._usable.values())

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run a function of one conversion task, which the workers can import, as :func:`convert_one`.

        The future fails as that of a :class:`ibl_nwb.batch.ProcessExecutor` does, and with
        :class:`~ibl_nwb.errors.SchedulerLostError`.
        """
        (task,) = args
        if kwargs:
            raise TypeError("A call on Dask has a task and nothing else.")
        call = _Call(f"{fn.__module__}:{fn.__qualname__}", task)
        with self._changed:
            if self._closing:
                raise RuntimeError("The executor takes no more calls.")
            if self._error is not None:
                call.future.set_exception(self._error)
            else:
                self._waiting.append(call)
                self._changed.notify()
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with ``cancel_futures`` also end those that run, which fail with CancelledError."""
        with self._changed:
            self._closing = True
            self._stopping |= cancel_futures
            self._changed.notify()
        if wait:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping:
                with self._changed:
                    if self._closing and not self._waiting and not self._running:
                        return
                if self._waiting or self._running:
                    self._look_at_workers()
                    self._settle_ended()
                    self._hand_out()
                with self._changed:
                    self._changed.wait(_LOOK_EVERY_S)
            self._end_all()
        except Exception as error:  # noqa: BLE001 - whoever waits for a call has to hear of it
            is_lost = not isinstance(error, IBLNWBError) and self._client.status != "running"
            self._fail_all(self._scheduler_lost(str(error)) if is_lost else error)

    def _look_at_workers(self) -> None:
        """Learn which workers there are, and whether new ones fit."""
        if self._client.status != "running":
            raise self._scheduler_lost(f"the connection is {self._client.status}")
        try:
            n_threads: dict[str, int] = self._client.nthreads()
            new = [address for address in n_threads if address not in {*self._usable, *self._unusable}]
            found = self._find_misfits(new) if new else {}
        except OSError as error:
            raise self._scheduler_lost(str(error) or type(error).__name__) from error
        silent = {address for address, reason in found.items() if reason is None}  # they are asked again
        told = {address: reason for address, reason in found.items() if reason is not None}
        for reason in told.values():
            _logger.warning("%s It gets no session.", reason)
        known = {**self._unusable, **told}
        self._unusable = {address: reason for address, reason in known.items() if address in n_threads}
        without = {*self._unusable, *silent}
        self._usable = {address: n for address, n in n_threads.items() if address not in without}

    def _find_misfits(self, addresses: list[str]) -> dict[str, str | None]:
        """Why workers cannot take part, by address; None where one does not answer.

        Nothing of this package is needed on a worker to ask it.
        """
        from ..writing.fingerprint import versions

        found: dict[str, str | None] = {}
        for package, own in versions().items():
            theirs = self._client.run(version, package, workers=addresses, on_error="return")
            for address, their in theirs.items():
                if isinstance(their, OSError):
                    found.setdefault(address, None)
                elif their != own:
                    has = f"has {package} {their}" if isinstance(their, str) else f"has no {package}"
                    found.setdefault(
                        address,
                        f"The Dask worker {address} {has}, and the driver has {own}. Install the same versions on both "
                        "(pip install -c constraints.txt), and start the worker again.",
                    )
        sees = self._client.run(os.path.exists, str(self._folder.lock_path), workers=addresses, on_error="return")
        for address, answer in sees.items():
            if isinstance(answer, OSError):
                found.setdefault(address, None)
            elif not answer:
                found.setdefault(
                    address,
                    f"The Dask worker {address} does not see the output folder '{self._folder.folder}'. It has to be "
                    "on a file system that the driver and all workers share, under the same path.",
                )
        return found

    def _hand_out(self) -> None:
        while self._waiting:
            busy = Counter(call.address for call in self._running)
            free = {address: n - busy[address] for address, n in self._usable.items() if n > busy[address]}
            if not free:
                return
            call = self._waiting.popleft()
            if call.future.running() or call.future.set_running_or_notify_cancel():
                self._send(call, max(free, key=lambda address: free[address]))

    def _send(self, call: _Call, address: str) -> None:
        from .dask_worker import run_call

        host = _host_of(address)
        request = {
            "id": call.id,
            "function": call.function,
            "task": call.task,
            "sessions_on_host": sum(n for other, n in self._usable.items() if _host_of(other) == host),
            "time_limit_s": self._time_limit_s,
        }
        call.address = address
        call.dask = self._client.submit(
            run_call,
            request,
            key=f"ibl_nwb-{uuid4().hex}",
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        self._running.append(call)

    def _settle_ended(self) -> None:
        from distributed import KilledWorker

        for call in list(self._running):
            status = call.dask.status
            if status == "finished":
                with self._ending(call):
                    call.future.set_result(call.dask.result(timeout=_ANSWER_WAIT_S))
            elif status == "error":
                with self._ending(call):
                    error = call.dask.exception(timeout=_ANSWER_WAIT_S)
                    if isinstance(error, (KilledWorker, CancelledError)):  # its worker was closed or killed
                        raise CancelledError
                    call.future.set_exception(error)
            elif status != "pending" or call.address not in self._usable:
                self._lose(call)

    @contextmanager
    def _ending(self, call: _Call) -> Iterator[None]:
        """Take a call from those that run; if its worker is lost while it hands over the answer, the call is, too."""
        try:
            yield
        except (OSError, CancelledError):
            self._lose(call)
        else:
            self._running.remove(call)
            call.dask = None  # Dask forgets it

    def _lose(self, call: _Call) -> None:
        self._running.remove(call)
        call.n_lost += 1
        with suppress(OSError):
            call.dask.cancel()
        if call.n_lost < MAX_LOST_WORKERS:
            _logger.warning("The Dask worker %s was lost; '%s' goes to another one.", call.address, call.task["key"])
            self._waiting.appendleft(call)
            return
        call.future.set_exception(
            WorkerLostError(
                f"{call.n_lost} Dask workers were lost while they converted it, the last at {call.address}. When "
                "memory runs out the system ends them: give jobs more memory, workers fewer threads, or less --memory."
            )
        )

    def _end_all(self) -> None:
        """End what runs, and wait until it has cleaned up."""
        from .dask_worker import end_calls

        for call in self._waiting:
            call.cancel()
        self._waiting.clear()
        with suppress(OSError):
            if self._running and self._client.status == "running":
                addresses = [address for address in {call.address for call in self._running} if address in self._usable]
                self._client.run(end_calls, [call.id for call in self._running], workers=addresses, on_error="ignore")
        deadline = time.monotonic() + 2 * GRACE_S
        while any(call.dask.status == "pending" for call in self._running) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        for call in self._running:
            with suppress(OSError):
                call.dask.cancel()
            call.cancel()
        self._running.clear()

    def _fail_all(self, error: Exception) -> None:
        if not isinstance(error, IBLNWBError):
            _logger.error("The calls on Dask cannot be looked after any more.", exc_info=error)
        with self._changed:
            self._error = error
            calls = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for call in calls:
            if call.future.running() or call.future.set_running_or_notify_cancel():
                call.future.set_exception(error)

    def _scheduler_lost(self, reason: str) -> SchedulerLostError:
        return SchedulerLostError(
            f"The Dask scheduler at {self._address} is lost: {reason}. What is done is done, the rest is queued: start "
            "the scheduler and its workers, and give the same command to go on."
        )


@dataclass(eq=False)
class _Call:
    """A call, and where it is."""

    function: str
    task: dict[str, Any]
    id: str = field(default_factory=lambda: uuid4().hex)
    future: Future = field(default_factory=Future)
    address: str = ""
    dask: Any = None
    n_lost: int = 0

    def cancel(self) -> None:
        """Tell whoever waits for it that it will not be."""
        if not self.future.cancel() and not self.future.done():
            self.future.set_exception(CancelledError())


def read_cluster_file(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read a cluster file: a configuration of ``dask_jobqueue``, as in ``~/.config/dask/jobqueue.yaml``, of one system.

    Parameters
    ----------
    path : path-like
        YAML such as ``jobqueue: {slurm: {cores: 1, memory: 16GB, walltime: "04:00:00"}}``.

    Returns
    -------
    dict
        Settings by the name of the system.

    Raises
    ------
    UsageError
        If it is not one, or ``dask_jobqueue`` is not installed.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"The cluster file '{path}' cannot be read: {error}.") from error
    systems = content.get("jobqueue") if isinstance(content, dict) else None
    if not isinstance(systems, dict) or len(systems) != 1 or not isinstance(next(iter(systems.values())), dict):
        raise UsageError(
            f"The cluster file '{path}' has to hold the settings of one system for dask_jobqueue: 'jobqueue:', below "
            f"it one of {', '.join(_CLUSTERS)}, and below that cores, memory, and so on."
        )
    ((system, settings),) = systems.items()
    if system not in _CLUSTERS:
        raise UsageError(f"The cluster file '{path}' names '{system}'; known are {', '.join(_CLUSTERS)}.")
    known = {_canonical(name) for name in _default_settings(system)}
    unknown = [name for name in settings if _canonical(name) not in known]
    if unknown:
        raise UsageError(
            f"The cluster file '{path}' has settings that dask_jobqueue does not know for '{system}': "
            f"{', '.join(map(str, unknown))}. Known are {', '.join(sorted(known))}."
        )
    if settings.get("cores") is None or settings.get("memory") is None:
        raise UsageError(
            f"The cluster file '{path}' has to say cores and memory of a job, e.g. cores: 1, memory: 16GB."
        )
    return {system: settings}


@contextmanager
def start_cluster(cluster: dict[str, dict[str, Any]], n_jobs: int) -> Iterator[Any]:
    """Start a scheduler in this process, and have jobs queued for its workers; at the end all are ended.

    Parameters
    ----------
    cluster : dict
        From :func:`read_cluster_file`.
    n_jobs : int
        Jobs at a time.
    """
    import dask
    import dask_jobqueue.local

    ((system, settings),) = cluster.items()
    make: Any = dask_jobqueue
    for name in _CLUSTERS[system].split("."):
        make = getattr(make, name)
    # Jobs that replace lost ones are made later, and read the configuration again.
    with dask.config.set({f"jobqueue.{system}.{name}": value for name, value in settings.items()}), make() as started:
        started.scale(jobs=n_jobs)
        yield started


def _default_settings(system: str) -> dict[str, Any]:
    try:
        import dask
        import dask_jobqueue  # noqa: F401 - it adds its defaults to Dask's configuration
    except ImportError as error:
        raise UsageError('dask_jobqueue is not installed. Install it: pip install "ibl-nwb[cluster]".') from error
    return dict(dask.config.get(f"jobqueue.{system}"))


def _canonical(name: Any) -> str:
    return str(name).replace("_", "-")


def _host_of(address: str) -> str:
    return address.rpartition("://")[2].rpartition(":")[0]
