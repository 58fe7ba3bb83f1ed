"""Work in a process of its own, which a page watches and can cancel."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from ..batch.processes import ProcessExecutor
from ..errors import IBLNWBError, UsageError, WorkerLostError
from .progress import Progress, ProgressWriter, Step, read_progress

_logger = logging.getLogger(__name__)

TaskState = Literal["queued", "running", "done", "failed", "cancelled"]

#: Most of a log that is shown, in bytes, from its end.
_LOG_SHOWN = 64_000


class Task:
    """A function that runs in a process of its own.

    The process is ended when the task is cancelled and when the process of the page ends, in whatever way.

    Parameters
    ----------
    function : callable
        Importable by its name; it gets a :class:`~ibl_nwb.gui.progress.ProgressWriter` as the keyword argument
        ``progress``. Its arguments and its result are pickled.
    *args, **kwargs
        Further arguments.
    name : str
        Name of the files of log and progress.
    folder : pathlib.Path
        Where these files go.
    on_end : callable, optional
        Called with the task when it has ended, in another thread than that which started it.

    Attributes
    ----------
    result : object
        What the function returned, None until it has.
    error : str or None
        Why it failed, as a sentence.
    log_path : pathlib.Path
        What the process printed and logged, with the traceback of a defect.
    is_lost : bool
        Whether the process was killed or crashed.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        name: str,
        folder: Path,
        on_end: Callable[[Task], None] | None = None,
        **kwargs: Any,
    ):
        self.result: Any = None
        self.error: str | None = None
        self.is_lost = False
        self.log_path, self.progress_path = folder / f"{name}.log", folder / f"{name}.progress.json"
        self.started: float | None = None
        self._ended: float | None = None
        self._call, self._on_end = (function, args, kwargs), on_end
        self._state: TaskState = "queued"
        self._executor: ProcessExecutor | None = None
        self._is_cancelled = False
        self._has_ended = threading.Event()

    @property
    def state(self) -> TaskState:
        """What has become of it; a task that was cancelled is "running" until its process has ended."""
        return self._state

    @property
    def is_settled(self) -> bool:
        """Whether nothing will change any more."""
        return self._state in ("done", "failed", "cancelled")

    @property
    def is_cancelling(self) -> bool:
        """Whether it was cancelled and its process has not ended yet."""
        return self._is_cancelled and not self.is_settled

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return 0.0 if self.started is None else (self._ended or time.time()) - self.started

    @property
    def progress(self) -> Progress | None:
        """How far it is, None before its process has begun."""
        return read_progress(self.progress_path)

    @property
    def steps(self) -> list[Step]:
        """How far each of its steps is."""
        progress = self.progress
        return [] if progress is None else progress.steps

    def start(self) -> Task:
        """Start the process, and return at once."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.progress_path, self.log_path):
            path.unlink(missing_ok=True)
        self._state, self.started = "running", time.time()
        self._executor = ProcessExecutor(1, output=self.log_path)
        environment = dict(os.environ)  # the server that processes are forked from has that of its own start
        future = self._executor.submit(_run, *self._call, self.progress_path, environment)
        future.add_done_callback(self._end)
        return self

    def cancel(self) -> None:
        """End the process, which may take it a few seconds; does nothing to a task that is settled."""
        self._is_cancelled = True
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        elif not self.is_settled:
            self._settle("cancelled")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the task is settled and ``on_end`` was called; False if that takes longer than ``timeout_s``."""
        return self._has_ended.wait(timeout_s)

    def read_log(self) -> str:
        """The end of the log, empty where there is none."""
        return read_end(self.log_path)

    def _end(self, future: Future) -> None:
        assert self._executor is not None
        self._executor.shutdown(wait=False)
        try:
            self.result, self.error = future.result()
        except CancelledError:
            self._settle("cancelled")
            return
        except WorkerLostError as error:
            self.error, self.is_lost = str(error), True
        except Exception as error:  # noqa: BLE001 - such as a result that cannot be sent; the page goes on
            self.error = _describe_defect(error)
        self._settle("done" if self.error is None else "failed")

    def _settle(self, state: TaskState) -> None:
        self._ended = time.time()
        self._state = state
        try:
            if self._on_end is not None:
                self._on_end(self)
        finally:
            self._has_ended.set()


def read_end(path: Path) -> str:
    """The last lines of a text file, empty where there is none."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _LOG_SHOWN, 0))
        return file.read().decode("utf-8", errors="replace")
    return ""


def end_left_over(progress_path: Path) -> int | None:
    """End the process that a file of progress names, if it still runs, because nobody waits for it any more.

    Returns
    -------
    int or None
        The process, None where there is no such file.

    Raises
    ------
    UsageError
        If it runs on another machine.
    """
    import socket

    import psutil

    from ..batch.processes import GRACE_S

    progress = read_progress(progress_path)
    if progress is None:
        return None
    if progress.host != socket.gethostname():
        raise UsageError(
            f"Process {progress.pid} on '{progress.host}' may still be converting to this folder. If no page is open "
            f"there any more, delete '{progress_path}'."
        )
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(progress.pid)
        if abs(process.create_time() - progress.created) < 1:  # else the number is another process's by now
            process.terminate()
            for left in psutil.wait_procs([process], timeout=GRACE_S)[1]:
                left.kill()
            psutil.wait_procs([process], timeout=GRACE_S)
    return progress.pid


def _run(
    function: Callable[..., Any],
    args: tuple,
    kwargs: Mapping[str, Any],
    progress_path: Path,
    environment: Mapping[str, str],
) -> tuple[Any, str | None]:
    """Call the function in this process; what it returns, and why it failed."""
    os.environ.update(environment)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.captureWarnings(True)
    try:
        return function(*args, progress=ProgressWriter(progress_path), **kwargs), None
    except MemoryError:
        _logger.exception("out of memory")
        return None, "There was not enough memory. Allow less memory for raw recordings, or close other programs."
    except IBLNWBError as error:
        _logger.error("%s", error)
        return None, str(error)
    except Exception as error:  # noqa: BLE001 - a defect costs this task; the log has the traceback
        _logger.exception("defect")
        return None, _describe_defect(error)


def _describe_defect(error: Exception) -> str:
    return f"{type(error).__name__}: {error}. This is a defect of the program; the log has what its authors need."
