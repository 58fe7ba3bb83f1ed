"""A file or folder that appears under its final name only when it is complete."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputExistsError, OutputNotWritableError


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
def atomic_output(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary sibling to write to, which takes the final name only if the block ends without an exception.

    The sibling is hidden, keeps the suffix, and names its host and process. What an earlier process of this host that
    was killed left behind for the same output is removed first.

    Parameters
    ----------
    path : pathlib.Path
        The final name of the file, or of the folder for Zarr.
    overwrite : bool, default: False
        Whether something that is there already is replaced, at the end and at once.

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
    _remove_abandoned_parts(path)
    part = _part_path(path)
    try:
        yield part
        _flush_to_disk(part)
        _move_into_place(part, path, overwrite=overwrite)
    finally:
        _remove(part)


def _part_path(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{socket.gethostname()}-{os.getpid()}.part{path.suffix}")


def _remove_abandoned_parts(path: Path) -> None:
    prefix = f".{path.stem}.{socket.gethostname()}-"
    for part in path.parent.glob(f"{prefix}*.part{path.suffix}"):
        process = part.name.removeprefix(prefix).split(".")[0]
        if process.isdigit() and not _is_running(int(process)):
            _remove(part)


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
