"""From samples to the bytes of HDF5 or Zarr chunks before compression: undo mtscomp's difference, cut, shuffle.

Where numba is there, one pass over the samples does all of it without holding the interpreter lock; the same in numpy
steps gives the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    from numba import njit
except ImportError:  # numpy does the same, slower
    njit = None  # type: ignore[assignment]

#: Samples that the kernels hold in the processor's first cache while they turn them over.
_STRIP = 256


@dataclass(frozen=True)
class Tiling:
    """How a recording is cut into the chunks of a dataset.

    Attributes
    ----------
    shape : tuple of int
        Samples and channels of the dataset.
    chunk_shape : tuple of int
        Samples and channels of a chunk.
    unit_length : int
        Samples that are worked on at a time, a multiple of those of a chunk.
    dtype : numpy.dtype
        Type of the dataset.
    is_shuffled : bool
        Whether a chunk holds the first bytes of all its values, then the second bytes, and so on, as after the shuffle
        filter.
    """

    shape: tuple[int, int]
    chunk_shape: tuple[int, int]
    unit_length: int
    dtype: np.dtype
    is_shuffled: bool = True

    @property
    def n_units(self) -> int:
        """How often a unit goes into the dataset."""
        return -(-self.shape[0] // self.unit_length)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk before compression; those at the edges are as large as all others."""
        return self.chunk_shape[0] * self.chunk_shape[1] * self.dtype.itemsize

    @property
    def unit_bytes(self) -> int:
        """Bytes of all chunks of a unit before compression."""
        return int(np.prod(self.tiles_shape))

    @property
    def tiles_shape(self) -> tuple[int, int, int]:
        """Chunks along time, chunks across channels, and bytes per chunk of a unit."""
        rows = self.unit_length // self.chunk_shape[0]
        return rows, -(-self.shape[1] // self.chunk_shape[1]), self.chunk_bytes

    def channel_ranges(self) -> Iterator[slice]:
        """Channels of each column of chunks."""
        for left in range(0, self.shape[1], self.chunk_shape[1]):
            yield slice(left, min(left + self.chunk_shape[1], self.shape[1]))

    def bounds(self, unit: int) -> tuple[int, int]:
        """First sample of a unit and the one after its last."""
        return unit * self.unit_length, min((unit + 1) * self.unit_length, self.shape[0])

    def offsets(self, unit: int) -> list[tuple[int, int]]:
        """Sample and channel at which each chunk of a unit begins, row by row; only chunks that hold samples."""
        start, stop = self.bounds(unit)
        return [
            (sample, channel)
            for sample in range(start, stop, self.chunk_shape[0])
            for channel in range(0, self.shape[1], self.chunk_shape[1])
        ]


def has_kernels() -> bool:
    """Whether samples are transformed by compiled code."""
    return njit is not None and sys.byteorder == "little"


def place_samples(samples: np.ndarray, columns: np.ndarray, tiles: np.ndarray, first_row: int, tiling: Tiling) -> None:
    """Put samples into the chunks of a unit.

    Parameters
    ----------
    samples : numpy.ndarray
        ``(n_samples, n_columns)``.
    columns : numpy.ndarray
        ``(n_channels,)`` int64: the column of each channel of the dataset.
    tiles : numpy.ndarray
        uint8 of ``tiling.tiles_shape``, written to.
    first_row : int
        Where in the unit the first sample goes.
    tiling : Tiling
        The cut.
    """
    if has_kernels() and samples.dtype == tiling.dtype == np.int16 and samples.flags.c_contiguous:
        _place_rows(samples, columns, tiles, first_row, *tiling.chunk_shape, tiling.is_shuffled)
    else:
        place_with_numpy(samples, columns, tiles, first_row, tiling)


def place_differences(
    differences: np.ndarray,
    columns: np.ndarray,
    keep: slice,
    tiles: np.ndarray,
    first_row: int,
    tiling: Tiling,
) -> None:
    """Put the samples of a block of mtscomp into the chunks of a unit.

    Parameters
    ----------
    differences : numpy.ndarray
        ``(n_columns, n_samples)`` int16: a block as inflated, of each column the first sample and then the differences
        of successive samples, modulo 2 ** 16.
    columns : numpy.ndarray
        ``(n_channels,)`` int64: the column of each channel of the dataset.
    keep : slice
        Which samples of the block to put.
    tiles, first_row, tiling
        As in :func:`place_samples`; the type is int16.
    """
    if has_kernels():
        place = (keep.start, keep.stop, tiles, first_row, *tiling.chunk_shape, tiling.is_shuffled)
        _place_sums(differences, columns, *place)
        return
    samples = np.cumsum(differences, axis=1, dtype=np.int16)[:, keep].T
    place_with_numpy(samples, columns, tiles, first_row, tiling)


def place_with_numpy(
    samples: np.ndarray, columns: np.ndarray, tiles: np.ndarray, first_row: int, tiling: Tiling
) -> None:
    """:func:`place_samples` for samples of any type and order, without compiled code."""
    length, width = tiling.chunk_shape
    itemsize = tiling.dtype.itemsize
    planes = (itemsize, length, width) if tiling.is_shuffled else (length, width, itemsize)
    axes = (2, 0, 1) if tiling.is_shuffled else (0, 1, 2)
    boxes = tiles.reshape(*tiles.shape[:2], *planes)
    values = np.ascontiguousarray(samples[:, columns], dtype=tiling.dtype)
    octets = values.view(np.uint8).reshape(*values.shape, itemsize)
    for begin, end, row, within in _pieces(len(values), first_row, length):
        for column in range(tiles.shape[1]):
            piece = octets[begin:end, column * width : (column + 1) * width].transpose(axes)
            place: tuple[Any, ...] = (slice(within, within + end - begin), slice(0, piece.shape[2 - (axes[0] == 0)]))
            box = boxes[row, column]
            box[(slice(None), *place) if tiling.is_shuffled else place] = piece


def _pieces(n_samples: int, first_row: int, length: int) -> list[tuple[int, int, int, int]]:
    """Cut samples where chunks end: begin and end in the samples, row of chunks, row in the chunk."""
    cuts = [0, *range(length - first_row % length, n_samples, length), n_samples]
    return [
        (begin, end, (first_row + begin) // length, (first_row + begin) % length)
        for begin, end in zip(cuts, cuts[1:], strict=False)
        if end > begin
    ]


def compile_kernel(function: Any) -> Any:
    """Function compiled by numba, kept for the next process where there is a folder to keep it in."""
    if njit is None:
        return function
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package nor the user has a folder that can be written to
        return njit(nogil=True)(function)


@compile_kernel
def _store(strip, n_samples, n_channels, tile, within, length, width, is_shuffled):
    """Write a strip of samples to a chunk, low and high bytes apart or together."""
    if not is_shuffled:
        for step in range(n_samples):
            for channel in range(n_channels):
                place = ((within + step) * width + channel) * 2
                value = strip[step, channel]
                tile[place] = np.uint8(value & 255)
                tile[place + 1] = np.uint8((value >> 8) & 255)
        return
    if n_channels == width:  # without gaps, which is faster
        values = strip.reshape(-1)
        low = tile[within * width : (within + n_samples) * width]
        high = tile[(length + within) * width : (length + within + n_samples) * width]
        for place in range(n_samples * width):
            low[place] = np.uint8(values[place] & 255)
            high[place] = np.uint8((values[place] >> 8) & 255)
        return
    for step in range(n_samples):
        for channel in range(n_channels):
            place = (within + step) * width + channel
            value = strip[step, channel]
            tile[place] = np.uint8(value & 255)
            tile[length * width + place] = np.uint8((value >> 8) & 255)


@compile_kernel
def _place_sums(differences, columns, begin, end, tiles, first_row, length, width, is_shuffled):
    strip = np.empty((_STRIP, width), np.int16)
    sums = np.zeros(width, np.int16)
    for column in range(tiles.shape[1]):
        left = column * width
        n_channels = min(width, columns.size - left)
        for channel in range(n_channels):
            total = np.int16(0)
            for sample in range(begin):
                total = np.int16(total + differences[columns[left + channel], sample])
            sums[channel] = total
        sample = begin
        while sample < end:
            row = first_row + sample - begin
            within = row % length
            n_samples = min(_STRIP, end - sample, length - within)
            for channel in range(n_channels):
                source = differences[columns[left + channel]]
                total = sums[channel]
                for step in range(n_samples):
                    total = np.int16(total + source[sample + step])
                    strip[step, channel] = total
                sums[channel] = total
            _store(strip, n_samples, n_channels, tiles[row // length, column], within, length, width, is_shuffled)
            sample += n_samples


@compile_kernel
def _place_rows(samples, columns, tiles, first_row, length, width, is_shuffled):
    strip = np.empty((_STRIP, width), np.int16)
    for column in range(tiles.shape[1]):
        left = column * width
        n_channels = min(width, columns.size - left)
        sample = 0
        while sample < samples.shape[0]:
            row = first_row + sample
            within = row % length
            n_samples = min(_STRIP, samples.shape[0] - sample, length - within)
            for step in range(n_samples):
                for channel in range(n_channels):
                    strip[step, channel] = samples[sample + step, columns[left + channel]]
            _store(strip, n_samples, n_channels, tiles[row // length, column], within, length, width, is_shuffled)
            sample += n_samples
