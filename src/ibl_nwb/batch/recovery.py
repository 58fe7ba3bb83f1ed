"""Putting in order what a batch left behind that was killed: processes, records, unfinished files."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .files import remove
from .processes import GRACE_S
from .progress import read_progress
from .records import BatchFolder

#: Locks that this process holds.
_held: set[Path] = set()


@contextmanager
def only_driver(folder: BatchFolder) -> Iterator[None]:
    """Hold an output folder for one batch; the system lets go of it however the process ends.

    Raises
    ------
    UsageError
        If another batch holds it.
    """
    from fasteners import InterProcessLock

    from ..writing import check_output

    check_output(folder.state, overwrite=True)
    folder.state.mkdir(exist_ok=True)
    path = folder.lock_path.resolve()
    refusal = UsageError(
        f"Another batch is running on the folder '{folder.folder}'. Wait until it is done, or give another folder."
    )
    if path in _held:  # the system's lock belongs to the process: it does not keep threads apart
        raise refusal
    lock = InterProcessLock(path)
    if not lock.acquire(blocking=False):
        raise refusal
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        lock.release()


def recover(folder: BatchFolder) -> None:
    """Leave nothing but finished files and true records; to be called by the one driver, before it begins.

    Parameters
    ----------
    folder : BatchFolder
        The output folder.
    """
    _end_processes(folder)
    for path in folder.work_folders():
        remove(path)
    for part in folder.state.glob("*/.*.part"):
        part.unlink(missing_ok=True)
    for record in folder:
        if record.state == "running":
            record.settle(folder.folder)
            folder.write(record)


def _end_processes(folder: BatchFolder) -> None:
    """End processes of this machine that a batch has left at work; mostly they have ended by themselves."""
    import psutil

    left: list[Any] = []
    for path in folder.progress_path("any").parent.glob("*.json"):
        said = read_progress(path)
        path.unlink(missing_ok=True)
        if said is None or said["host"] != socket.gethostname() or not said["is_for_one_call"]:
            continue
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(said["pid"])
            if abs(process.create_time() - said["created"]) < 1:  # else the number is another process's by now
                process.terminate()
                left.append(process)
    for process in psutil.wait_procs(left, timeout=GRACE_S)[1]:
        process.kill()
    psutil.wait_procs(left)
