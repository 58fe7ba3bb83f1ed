"""Many pieces of work by several threads, results in order, only so many at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ..errors import UsageError
from .transform import Tiling

Result = TypeVar("Result")

#: Units beyond those that are worked on: finished ones that wait for the disk, so that no thread waits for it.
_UNITS_AHEAD = 2

#: Share of the free memory that is used where nothing was asked for.
_SHARE_OF_FREE_MEMORY = 0.25


@dataclass(frozen=True)
class Resources:
    """What a conversion may use.

    Attributes
    ----------
    n_threads : int
        Threads that compress.
    n_units : int
        Units in memory at a time, those that are worked on among them.
    """

    n_threads: int
    n_units: int


def plan_resources(
    tiling: Tiling, jobs: int | None = None, memory_mb: float | None = None, held_bytes: int = 0
) -> Resources:
    """Threads and units in memory for a recording.

    Parameters
    ----------
    tiling : Tiling
        The cut of the recording.
    jobs : int, optional
        Threads. Default: as many as there are processors for this process.
    memory_mb : float, optional
        Most memory in MB for samples on their way, besides what Python and its packages take. Default: a quarter of the
        memory that is free.
    held_bytes : int, default: 0
        What a thread holds of the source while it reads a unit (``Blocks.held_bytes``).

    Raises
    ------
    UsageError
        If there is not memory for one unit, or ``jobs`` is not positive.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"{jobs} threads cannot write anything; give --jobs 1 or more.")
    working_bytes = _working_bytes(tiling, held_bytes)
    if memory_mb is None:
        memory_bytes = max(_free_memory() * _SHARE_OF_FREE_MEMORY, working_bytes)
    else:
        memory_bytes = memory_mb * 1e6
        if not memory_bytes >= working_bytes:  # NaN, too
            raise UsageError(
                f"{memory_mb:g} MB are too little: a chunk row of {tiling.unit_length} samples of {tiling.shape[1]} "
                f"channels takes {working_bytes / 1e6:.0f} MB. Give more with --memory, or shorter chunks."
            )
    wanted = jobs or usable_processors()
    n_threads = max(1, min(wanted, tiling.n_units, int(memory_bytes // working_bytes)))
    spare = int((memory_bytes - n_threads * working_bytes) // tiling.unit_bytes)
    return Resources(n_threads, n_threads + max(0, min(_UNITS_AHEAD, spare)))


def usable_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _working_bytes(tiling: Tiling, held_bytes: int) -> int:
    """What a thread holds at most: blocks as read, a copy where they are inflated, and the chunks made of them.

    Blocks of a file of which few columns are taken are larger than these.
    """
    return max(3 * tiling.unit_bytes, 2 * tiling.unit_bytes + held_bytes)


def _free_memory() -> int:
    import psutil

    return psutil.virtual_memory().available


def run_in_order(
    work: Callable[[int], Result], units: Iterable[int], resources: Resources
) -> Generator[tuple[int, Result], None, None]:
    """Work on units in threads and give the results in the order of the units.

    A unit is begun only when fewer than ``resources.n_units`` are under way or waiting to be taken, so that somebody
    who takes them slowly holds up the threads instead of filling the memory. After an error no other unit is begun.

    Parameters
    ----------
    work : callable
        Called with a unit, in a thread.
    units : iterable of int
        The units.
    resources : Resources
        Threads and units at a time.

    Yields
    ------
    unit : int
    result
        What ``work`` returned for it.
    """
    waiting: deque[tuple[int, Future[Result]]] = deque()
    remaining = iter(units)
    pool = ThreadPoolExecutor(resources.n_threads, thread_name_prefix="ibl_nwb")
    try:
        while True:
            while len(waiting) < resources.n_units:
                unit = next(remaining, None)
                if unit is None:
                    break
                waiting.append((unit, pool.submit(work, unit)))
            if not waiting:
                return
            unit, future = waiting.popleft()
            yield unit, future.result()
            del future
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
