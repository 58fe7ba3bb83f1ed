"""Every call in a process of its own: a crash, a kill or want of memory costs that call and no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ..errors import TimeLimitError, WorkerLostError

#: How long a process that is asked to end may take to clean up after itself.
GRACE_S = 10.0

#: How often a running process is looked after.
_LOOK_EVERY_S = 0.2

#: Whether this process is there for one call of a :class:`ProcessExecutor`, and may be ended when nobody waits for it.
is_for_one_call = False

#: What every process needs, imported once.
_PRELOADED = "ibl_nwb.batch.preload"


class ProcessExecutor(Executor):
    """An executor that runs each call in a fresh process.

    Unlike a process pool, it goes on when a process dies. The processes are forked from a server that has imported
    what they need, so that a process costs little; where the system cannot fork they are started from nothing. They end
    when the process that holds the executor ends, however that comes about.

    Parameters
    ----------
    workers : int
        Processes at a time.
    time_limit_s : float, optional
        Most seconds that a call may take. Default: no limit.
    output : path-like, optional
        File that gets what the processes print, at its end. Default: they print where this process does.
    """

    def __init__(self, workers: int, *, time_limit_s: float | None = None, output: str | Path | None = None):
        self.time_limit_s, self.output = time_limit_s, None if output is None else str(output)
        if output is not None:
            Path(output).parent.mkdir(parents=True, exist_ok=True)
        self._context = _context()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="ibl_nwb.batch")
        self._stopping = threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run a function, which is pickled by reference, as are its arguments and its result.

        The future fails with :class:`WorkerLostError` if the process ends without an answer, and with
        :class:`TimeLimitError` if it is ended because it took too long.
        """
        return self._threads.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with ``cancel_futures`` also end those that run, which fail with CancelledError."""
        if cancel_futures:
            self._stopping.set()
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _run(self, fn: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        if self._stopping.is_set():
            raise CancelledError
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_serve, args=(sender, self.output, fn, args, kwargs))
        has_answered = False
        try:
            process.start()
            sender.close()
            is_error, answer = self._wait_for(process, receiver)
            has_answered = True
        finally:
            _end(process, has_answered=has_answered)
            receiver.close()
        if is_error:
            raise answer
        return answer

    def _wait_for(self, process: Any, receiver: Connection) -> tuple[bool, Any]:
        started = time.monotonic()
        while not wait([receiver, process.sentinel], timeout=_LOOK_EVERY_S):
            if self._stopping.is_set():
                raise CancelledError
            if self.time_limit_s is not None and time.monotonic() - started > self.time_limit_s:
                raise TimeLimitError(describe_time_limit(self.time_limit_s))
        try:
            return receiver.recv()
        except EOFError:
            process.join()
            raise WorkerLostError(describe_end(process.exitcode)) from None


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    return context


def _serve(sender: Connection, output: str | None, fn: Callable[..., Any], args: tuple, kwargs: dict) -> None:
    """Run a call in this process, which is there for nothing else, and send what comes of it."""
    parent = multiprocessing.parent_process()
    begin_call(output, None if parent is None else parent.join)
    try:
        answer: tuple[bool, Any] = (False, fn(*args, **kwargs))
    except Exception as error:  # it is raised again on the other side
        answer = (True, error)
    sender.send(answer)
    sender.close()


def begin_call(output: str | None, wait_for_parent: Callable[[], Any] | None) -> None:
    """Make this process one that is there for a single call, and ends when nobody waits for it any more.

    Parameters
    ----------
    output : str or None
        File that gets what is printed, at its end.
    wait_for_parent : callable or None
        Returns when the process that waits for the answer is gone.
    """
    global is_for_one_call
    is_for_one_call = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that holds the executor
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if wait_for_parent is not None:
        threading.Thread(target=_end_after, args=(wait_for_parent,), daemon=True).start()
    if output is not None:
        _print_to(output)


def _end_after(wait_for_parent: Callable[[], Any]) -> None:
    wait_for_parent()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


def _print_to(output: str) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a stream without a file, as in a notebook
            stream.flush()
            os.dup2(file, stream.fileno())
    os.close(file)


def _end(process: Any, *, has_answered: bool) -> None:
    if process.pid is None:  # it was not started
        return
    if has_answered:
        process.join(timeout=GRACE_S)
    if process.is_alive():
        process.terminate()
        process.join(timeout=GRACE_S)
    if process.is_alive():
        process.kill()
    process.join()
    process.close()


def describe_time_limit(time_limit_s: float) -> str:
    """What to do about a call that took too long."""
    return (
        f"It was ended after {time_limit_s:g} s, the time limit of a session. Give more with --time-limit, or leave "
        "something out."
    )


def describe_end(exit_code: int | None) -> str:
    """Why there is no answer of a process, from its exit code; of one that a signal ended, the negative number."""
    if exit_code is None or exit_code >= 0:
        return f"The process that converted it ended with exit code {exit_code} and without an answer; see the log."
    if exit_code == -signal.SIGKILL:
        return (
            "The process that converted it was killed (SIGKILL). The system does that when memory runs out: try fewer "
            "--workers or less --memory."
        )
    known = {-one.value: one.name for one in signal.Signals}
    return f"The process that converted it was ended by {known.get(exit_code, f'signal {-exit_code}')}; see the log."
