"""One writer for each cache: a lock that other processes and other threads respect, and that a crash releases."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputNotWritableError

#: Name of the lock file in a cache. It stays there: to delete it would let two in.
LOCK_NAME = ".ibl_nwb.lock"

_held: dict[str, threading.Lock] = {}
_held_guard = threading.Lock()


@contextmanager
def cache_lock(cache_dir: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a cache.

    Parameters
    ----------
    cache_dir : pathlib.Path
        The cache.
    wait_s : float, default: 0
        How long to wait for another to finish.

    Raises
    ------
    OutputNotWritableError
        If another holds it, or the folder cannot be written to.
    """
    from fasteners import InterProcessLock

    path = Path(os.path.realpath(cache_dir)) / LOCK_NAME
    with _held_guard:
        # The lock of the operating system belongs to the process: it does not keep threads apart.
        thread_lock = _held.setdefault(str(path), threading.Lock())
    if not thread_lock.acquire(timeout=wait_s) if wait_s > 0 else not thread_lock.acquire(blocking=False):
        raise _is_held(cache_dir, wait_s)
    try:
        process_lock = InterProcessLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            acquired = process_lock.acquire(blocking=wait_s > 0, timeout=wait_s or None)
        except OSError as error:
            raise OutputNotWritableError(
                f"The cache '{cache_dir}' cannot be written to: {error.strerror}. Give another with --cache-dir."
            ) from error
        if not acquired:
            raise _is_held(cache_dir, wait_s)
        try:
            yield
        finally:
            process_lock.release()
    finally:
        thread_lock.release()


def _is_held(cache_dir: Path, wait_s: float) -> OutputNotWritableError:
    waited = f" after {wait_s:g} s" if wait_s else ""
    return OutputNotWritableError(
        f"Another process is downloading into the cache '{cache_dir}'{waited}, and two at once would damage files. "
        "Wait until it is done, or give another --cache-dir."
    )
