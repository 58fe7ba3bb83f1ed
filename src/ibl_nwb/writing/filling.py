"""Fill the declared datasets of a file chunk by chunk, in threads, from the first or from where it was left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .containers import CONTAINERS, Container, Destination
from .encoders import Encoder
from .flushing import BackgroundFlush
from .journal import Journal
from .mtscomp_blocks import MtscompBlocks
from .pipeline import Resources, plan_resources, run_in_order
from .remote import RemoteBlocks
from .streamed import StreamedData
from .transform import Tiling

#: A progress bar of bytes, in tqdm's terms.
_BAR_OPTIONS = {
    "unit": "B",
    "unit_scale": True,
    "bar_format": "{desc:<28} {bar:30} {percentage:3.0f}% {n_fmt}/{total_fmt} {rate_fmt} {elapsed}<{remaining}",
}


class Settings(NamedTuple):
    """How streamed data are written; see :func:`ibl_nwb.writing.streaming.write_nwbfile`."""

    jobs: int | None = None
    memory_mb: float | None = None
    progress_bar_class: Callable[..., Any] | None = None

    def resources(self, tiling: Tiling, held_bytes: int = 0) -> Resources:
        """Threads and units in memory for one of the streamed data."""
        return plan_resources(tiling, self.jobs, self.memory_mb, held_bytes)


def fill_datasets(
    part: Path, backend: str, streams: list[tuple[str, StreamedData]], journal: Journal, settings: Settings
) -> None:
    """Fill the declared datasets of a file, one after the other.

    Parameters
    ----------
    part : pathlib.Path
        The file, or the folder for Zarr.
    backend : {"hdf5", "zarr"}
        Its format.
    streams : list of tuple of str and StreamedData
        Where in the file which samples go.
    journal : Journal
        What is in the file already; what is added is noted there.
    settings : Settings
        Threads, memory and progress bar.
    """
    _hand_on_columns([data for _, data in streams])
    container = CONTAINERS[backend](part)
    try:
        with BackgroundFlush(part) as flush:
            for location, data in streams:
                _fill_dataset(container.destination(location), data, journal, flush, settings)
    except BaseException:
        # What is in the file so far can be resumed if its index gets to the disk; what went wrong is known already.
        with suppress(OSError, RuntimeError):
            _close(container, journal)
        raise
    _close(container, journal)


def _hand_on_columns(streams: list[StreamedData]) -> None:
    """Have a file that traces and its sync word are taken from be inflated only once."""
    blocks = [data.blocks for data in streams if isinstance(data.blocks, MtscompBlocks)]
    for one, other in permutations(blocks, 2):
        one.hand_on(other)


def _close(container: Container, journal: Journal) -> None:
    journal.closing()
    container.close()
    journal.closed()


def _fill_dataset(
    destination: Destination, data: StreamedData, journal: Journal, flush: BackgroundFlush, settings: Settings
) -> None:
    encoder = destination.encoder
    if encoder is None:
        for piece in data:
            destination.dataset[piece.selection] = piece.data
        return
    tiling = data.tiling(destination.chunk_shape, encoder.is_shuffled, destination.dataset.dtype)
    done = _restore(destination, tiling, journal)
    remaining = [unit for unit in range(tiling.n_units) if unit not in done]
    resources = settings.resources(tiling, data.blocks.held_bytes(tiling))
    results = run_in_order(_UnitEncoder(data, tiling, encoder), _announced(remaining, data, tiling), resources)
    with _giving_up(data), closing(results), _progress(data, tiling, done, settings) as progress:
        for unit, chunks in results:
            offsets = _offsets(destination, tiling, unit)
            stored = [destination.write(*chunk) for chunk in zip(offsets, chunks, strict=True)]
            journal.add_unit(destination.location, unit, stored)
            flush.wrote(sum(chunk.size for chunk in stored))
            progress(unit)


def _announced(units: list[int], data: StreamedData, tiling: Tiling) -> Iterator[int]:
    """The units; what is on a server is fetched from the moment that one is taken, before its turn comes."""
    for unit in units:
        if isinstance(data.blocks, RemoteBlocks):
            data.blocks.announce(*tiling.bounds(unit))
        yield unit


@contextmanager
def _giving_up(data: StreamedData) -> Iterator[None]:
    """Have nothing fetched any more after the block, however it ends."""
    try:
        yield
    finally:
        if isinstance(data.blocks, RemoteBlocks):
            data.blocks.forget()


class _UnitEncoder:
    """From a unit to its compressed chunks; called in threads, each of which keeps its memory for the next unit."""

    def __init__(self, data: StreamedData, tiling: Tiling, encoder: Encoder):
        self._columns, self._tiling, self._encode = data.blocks.columns, tiling, encoder.encode
        self._own = threading.local()

    def __call__(self, unit: int) -> list[bytes]:
        tiling = self._tiling
        n_rows, n_columns, chunk_bytes = tiling.tiles_shape
        tiles = getattr(self._own, "tiles", None)
        if tiles is None:
            tiles = self._own.tiles = np.zeros((n_rows, 1, chunk_bytes), np.uint8)
        start, stop = tiling.bounds(unit)
        n_rows = -(-(stop - start) // tiling.chunk_shape[0])
        chunks: list[list[bytes]] = [[] for _ in range(n_rows)]
        is_whole = stop - start == tiling.unit_length
        columns = self._columns(start, stop, tiles, tiling)
        for column in range(n_columns):
            if not is_whole or (column + 1) * tiling.chunk_shape[1] > tiling.shape[1]:
                tiles[:] = 0  # what is beyond the last sample or channel
            next(columns)
            for row, tile in zip(chunks, tiles[:, 0], strict=False):
                row.append(self._encode(tile))
        next(columns, None)  # to the end, where blocks are checked
        return [chunk for row in chunks for chunk in row]


def _offsets(destination: Destination, tiling: Tiling, unit: int) -> list[tuple[int, ...]]:
    """Where the chunks of a unit begin, in as many dimensions as the dataset has."""
    return [offset[: len(destination.chunk_shape)] for offset in tiling.offsets(unit)]


def _restore(destination: Destination, tiling: Tiling, journal: Journal) -> set[int]:
    """Units that another process completed and that are still what they were."""
    return {
        unit
        for unit, stored in journal.units(destination.location).items()
        if all(destination.restore(*chunk) for chunk in zip(_offsets(destination, tiling, unit), stored, strict=True))
    }


@contextmanager
def _progress(
    data: StreamedData, tiling: Tiling, done: set[int], settings: Settings
) -> Iterator[Callable[[int], None]]:
    """A function to call with each finished unit, that moves a bar of bytes if one was asked for."""

    def size(unit: int) -> int:
        start, stop = tiling.bounds(unit)
        return (stop - start) * tiling.shape[1] * tiling.dtype.itemsize

    total = sum(map(size, range(tiling.n_units)))
    bar = data.make_progress_bar(settings.progress_bar_class, total=total, **_BAR_OPTIONS)
    if bar is None:
        yield lambda unit: None
        return
    with bar:
        bar.update(sum(map(size, done)))
        yield lambda unit: bar.update(size(unit))
