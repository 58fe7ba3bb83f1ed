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

#: How long a Dask worker whose driver is gone may take to notice it and to end its processes.
_OTHER_MACHINE_WAIT_S = 60.0

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
    end_processes(folder)
    for path in folder.work_folders():
        remove(path)
    for part in folder.state.glob("*/.*.part"):
        part.unlink(missing_ok=True)
    for record in folder:
        if record.state == "running":
            record.settle(folder.folder)
            folder.write(record)


def end_processes(folder: BatchFolder) -> None:
    """End what a batch has left at work on this machine, and wait for what is on others; mostly it has ended by itself.

    Parameters
    ----------
    folder : BatchFolder
        The output folder.

    Raises
    ------
    UsageError
        If a process on another machine goes on.
    """
    import psutil

    left: list[Any] = []
    for path in sorted(folder.progress_path("any").parent.glob("*.json")):
        said = read_progress(path)
        if said is not None and said["host"] != socket.gethostname():
            _wait_for_process(path, said)
        path.unlink(missing_ok=True)
        if said is None or said["host"] != socket.gethostname() or not said["is_for_one_call"]:
            continue
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(said["pid"])
            is_it = abs(process.create_time() - said["created"]) < 1  # else the number is another process's by now
            if is_it and process.status() != psutil.STATUS_ZOMBIE:
                process.terminate()
                left.append(process)
    for process in psutil.wait_procs(left, timeout=GRACE_S)[1]:
        process.kill()
    psutil.wait_procs(left, timeout=GRACE_S)  # in a container perhaps nobody collects the dead, and they stay listed


def _wait_for_process(path: Path, said: dict[str, Any]) -> None:
    """Wait until a process on another machine has let go of its session; it does when its Dask worker has."""
    from fasteners import InterProcessLock

    lock = InterProcessLock(path.with_suffix(".lock"))
    if not lock.acquire(timeout=_OTHER_MACHINE_WAIT_S):
        raise UsageError(
            f"Process {said['pid']} on '{said['host']}' is still converting '{path.stem}' for an earlier batch on this "
            "folder. End it there, or wait until it is done."
        )
    lock.release()
