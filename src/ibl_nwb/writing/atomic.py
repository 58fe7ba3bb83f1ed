"""A file or folder that appears under its final name only when it is complete."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputExistsError, OutputNotWritableError

_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check, before any work is done, that an output may and can be written.

    Parameters
    ----------
    path : pathlib.Path
        The final name. Its folder is made when it is not there.
    overwrite : bool
        Whether something that is there already may be replaced.

    Raises
    ------
    OutputExistsError
        If it exists and may not be replaced.
    OutputNotWritableError
        If its folder cannot be made or written to.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError(f"'{path}' exists already. Give another name, or --overwrite (overwrite=True).")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = _part_path(path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputNotWritableError(
            f"Cannot write to the folder '{path.parent}': {error.strerror}. Choose another output with -o."
        ) from error


@contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Say in a sentence that the disk is full, in whichever library it is noticed."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        codes = {code for code in _DISK_FULL if f"errno = {code}," in str(error)}
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            codes.add(error.errno)
        if not codes:
            raise
        raise OutputNotWritableError(
            f"Cannot write to the folder '{folder}': {os.strerror(codes.pop())}. Make room, or choose another output "
            "with -o."
        ) from error


@contextmanager
def atomic_output(path: Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """Give a temporary sibling to write to, which takes the final name only if the block ends without an exception.

    The sibling is hidden, keeps the suffix, and names its host and process. What an earlier process of this host that
    was killed left behind for the same output is removed first, or handed out to be completed. Its journal, if it has
    one (:func:`journal_path`), goes where it goes.

    Parameters
    ----------
    path : pathlib.Path
        The final name of the file, or of the folder for Zarr.
    overwrite : bool, default: False
        Whether something that is there already is replaced, at the end and at once.
    resume : bool, default: False
        Give a sibling of a name that stays the same, be it there already or not, and keep it if the block fails.

    Yields
    ------
    pathlib.Path
        Where to write.

    Raises
    ------
    OutputExistsError, OutputNotWritableError
        As in :func:`check_output`.
    """
    check_output(path, overwrite=overwrite)
    part = _unfinished_path(path) if resume else _part_path(path)
    if resume:
        _adopt_abandoned_part(path, part)
    else:
        _remove_with_journal(_unfinished_path(path))
    for abandoned in _abandoned_parts(path):
        _remove_with_journal(abandoned)
    is_complete = False
    try:
        yield part
        _flush_to_disk(part)
        _move_into_place(part, path, overwrite=overwrite)
        is_complete = True
    finally:
        if is_complete or not resume:
            _remove_with_journal(part)


def journal_path(part: Path) -> Path:
    """Where the journal of an unfinished output is."""
    return part.with_name(f"{part.name}.journal")


def _part_path(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{socket.gethostname()}-{os.getpid()}.part{path.suffix}")


def _unfinished_path(path: Path) -> Path:
    """Name of a part that is to be resumed, whoever does so."""
    return path.with_name(f".{path.stem}.unfinished.part{path.suffix}")


def _abandoned_parts(path: Path) -> list[Path]:
    """Parts of processes of this host that are gone, in the order in which they were last written to."""
    prefix = f".{path.stem}.{socket.gethostname()}-"
    parts = set()
    for found in path.parent.glob(f"{glob.escape(prefix)}*.part{path.suffix}*"):
        process = found.name.removeprefix(prefix).split(".")[0]
        if process.isdigit() and not _is_running(int(process)):
            parts.add(found.with_name(found.name.removesuffix(".journal")))
    return sorted(parts, key=lambda part: part.stat().st_mtime if part.exists() else 0)


def _adopt_abandoned_part(path: Path, unfinished: Path) -> None:
    """Have the last part that a killed process left be the one to resume, unless there is one already."""
    abandoned = [part for part in _abandoned_parts(path) if part.exists() and journal_path(part).exists()]
    if abandoned and not unfinished.exists():
        journal_path(abandoned[-1]).replace(journal_path(unfinished))
        abandoned[-1].rename(unfinished)


def _remove_with_journal(part: Path) -> None:
    _remove(part)
    _remove(journal_path(part))


def _is_running(process: int) -> bool:
    import psutil

    return psutil.pid_exists(process)


def _flush_to_disk(part: Path) -> None:
    """Have the disk hold the content before the name does, so that a power cut cannot leave an empty file."""
    for file in [part] if part.is_file() else [file for file in part.rglob("*") if file.is_file()]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _move_into_place(part: Path, path: Path, *, overwrite: bool) -> None:
    if path.exists() and not overwrite:  # another process was faster
        raise OutputExistsError(f"'{path}' appeared while it was being written; what is there now is kept.")
    if not path.is_dir():
        part.replace(path)
        return
    replaced = path.with_name(f".{path.stem}.{socket.gethostname()}-{os.getpid()}.replaced{path.suffix}")
    path.rename(replaced)  # a folder cannot be replaced in one step
    part.rename(path)
    _remove(replaced)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
