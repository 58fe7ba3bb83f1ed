"""What runs in a worker of Dask: a process for each session, looked after until it ends or is not wanted any more."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from ..errors import TimeLimitError, WorkerLostError
from .child import read_answer
from .processes import GRACE_S, describe_end, describe_time_limit
from .records import BatchFolder

#: How often a running process is looked after.
_LOOK_EVERY_S = 0.2

#: Part of a worker's memory that raw recordings on their way may take, as elsewhere.
_MEMORY_PART = 0.25

#: Calls that the driver has asked to be ended.
_unwanted: set[str] = set()


def run_call(call: dict[str, Any]) -> Any:
    """Run a function in a process of its own, from a thread of a Dask worker.

    Parameters
    ----------
    call : dict
        ``id``; ``function``, as ``module:name``; ``task``, a :class:`~ibl_nwb.batch.options.ConversionTask` as JSON
        values; ``sessions_on_host``, how many sessions the machine may have at a time; ``time_limit_s``.

    Raises
    ------
    TimeLimitError, WorkerLostError
        As :class:`ibl_nwb.batch.ProcessExecutor` does.
    concurrent.futures.CancelledError
        If the driver is gone, or has asked to end it.
    """
    from distributed import get_worker

    worker = get_worker()
    task = share_worker(call["task"], worker, call["sessions_on_host"])
    output = BatchFolder(task["folder"]).log_path(f"processes-{socket.gethostname()}")
    output.parent.mkdir(parents=True, exist_ok=True)
    request = {"function": call["function"], "argument": task, "output": str(output)}
    with ThreadPoolExecutor(1) as reader:
        process = subprocess.Popen(
            [sys.executable, "-m", "ibl_nwb.batch.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        try:
            answer = reader.submit(_talk, process, json.dumps(request))
            _wait_for(answer, call, worker, worker.get_current_task())
        finally:
            _end(process, has_answered=answer.done())
            _unwanted.discard(call["id"])
    if not answer.result().endswith("\n"):
        raise WorkerLostError(describe_end(process.returncode))
    return read_answer(answer.result())


def end_calls(ids: list[str]) -> None:
    """End calls that are running on this worker; it does not wait for them."""
    _unwanted.update(ids)


def share_worker(task: dict[str, Any], worker: Any, sessions_on_host: int) -> dict[str, Any]:
    """Give a task its share of the machine: processors and memory that the worker may use, for each of its sessions.

    Parameters
    ----------
    task : dict
        A ConversionTask as JSON values; its ``memory_mb`` is that of the worker.
    worker : distributed.Worker
        The worker; it converts as many sessions at a time as it has threads.
    sessions_on_host : int
        How many all workers of its machine convert at a time.
    """
    from ..writing.pipeline import usable_processors

    n_own = worker.state.nthreads
    limit = worker.memory_manager.memory_limit
    memory_mb = task["memory_mb"] or (limit and limit / 1e6 * _MEMORY_PART)
    # A queueing system gives a worker processors of its own; elsewhere all workers of a machine share all of them.
    has_own_processors = usable_processors() < (os.cpu_count() or 1)
    n_sharing = n_own if has_own_processors else max(n_own, sessions_on_host)
    return {**task, "workers": n_sharing, "memory_mb": memory_mb / n_own if memory_mb else None}


def _talk(process: subprocess.Popen, request: str) -> str:
    """Send the request, leave the pipe open, since its end means that nobody waits any more, and read the answer."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(f"{request}\n")
        process.stdin.flush()
    except BrokenPipeError:  # it has ended; its exit code says why
        return ""
    return process.stdout.read()


def _wait_for(answer: Future, call: dict[str, Any], worker: Any, key: Any) -> None:
    started = time.monotonic()
    limit = call["time_limit_s"]
    while not wait([answer], timeout=_LOOK_EVERY_S).done:
        if call["id"] in _unwanted or _is_forgotten(worker, key):
            raise CancelledError
        if limit is not None and time.monotonic() - started > limit:
            raise TimeLimitError(describe_time_limit(limit))


def _is_forgotten(worker: Any, key: Any) -> bool:
    """Whether the driver or the scheduler is gone: Dask cannot end a thread, but marks its task as cancelled."""
    state = worker.state.tasks.get(key)
    return state is None or state.state == "cancelled" or worker.status.name in ("closing", "closed", "failed")


def _end(process: subprocess.Popen, *, has_answered: bool) -> None:
    with suppress(subprocess.TimeoutExpired):
        if has_answered:
            process.wait(timeout=GRACE_S)
    if process.poll() is None:
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE_S)
    if process.poll() is None:
        process.kill()
    process.wait()
    with suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()
