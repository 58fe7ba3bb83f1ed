"""Raw SpikeGLX recordings, flat (``.bin``) or compressed with mtscomp (``.cbin``), as SpikeInterface recordings.

Files are opened by explicit paths, so that names with dataset UUIDs do, and checked against one another on opening.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from spikeinterface.core import BaseRecording, BaseRecordingSegment

from .errors import DatasetInconsistentError, DatasetUnreadableError
from .probe_clock import ProbeClock
from .spikeglx import SpikeGLXMeta

_DTYPE = np.dtype("int16")

#: What mtscomp needs to know to undo its compression.
_COMPRESSION_FIELDS = ("chunk_bounds", "chunk_offsets", "chunk_order", "do_spatial_diff", "do_time_diff", "dtype")

_WAY_OUT = "Get the file again, or leave the raw recording out with --exclude."


class RawSamples(Protocol):
    """Samples of all columns of a raw file, in blocks that are cheapest to read whole."""

    n_samples: int
    #: Samples per block.
    block_length: int

    def read(self, start: int, stop: int, columns: Any) -> np.ndarray:
        """Samples ``start`` to ``stop`` of selected columns, ``(stop - start, n_columns)`` int16."""


class FlatSamples:
    """Samples of a ``.bin`` file: int16, all columns of a sample after one another.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    n_columns : int
        Columns per sample, sync words included.
    block_length : int
        Samples to read at a time, about a second.

    Raises
    ------
    DatasetInconsistentError
        If the size of the file is not that of a whole number of samples, or nothing.
    """

    def __init__(self, path: Path, n_columns: int, block_length: int):
        size, bytes_per_sample = path.stat().st_size, n_columns * _DTYPE.itemsize
        if size == 0 or size % bytes_per_sample:
            raise DatasetInconsistentError(
                f"'{path}' has {size} bytes, which is not a whole number of samples of {n_columns} channels "
                f"({bytes_per_sample} bytes each). It is truncated, or its metadata are of another file. {_WAY_OUT}"
            )
        self.path = path
        self.n_samples = size // bytes_per_sample
        self.block_length = block_length
        self._data = np.memmap(path, dtype=_DTYPE, mode="r", shape=(self.n_samples, n_columns))

    def read(self, start: int, stop: int, columns: Any) -> np.ndarray:
        """As in :class:`RawSamples`."""
        return np.array(self._data[start:stop, columns])


class CompressedSamples:
    """Samples of a ``.cbin`` file, inflated block by block.

    Parameters
    ----------
    path : pathlib.Path
        The ``.cbin`` file.
    compression_path : pathlib.Path
        The ``.ch`` file that belongs to it.
    n_columns : int
        Columns per sample, sync words included.

    Raises
    ------
    DatasetUnreadableError
        If the ``.ch`` file is not that of mtscomp.
    DatasetInconsistentError
        If the ``.ch`` file is of a recording of another shape, or the ``.cbin`` file is not as long as it says.
    """

    def __init__(self, path: Path, compression_path: Path, n_columns: int):
        from mtscomp import Reader

        self.path = path
        #: What the ``.ch`` file says.
        self.compression = read_compression(compression_path, n_columns)
        _check_size(path, compression_path, self.compression["chunk_offsets"][-1])
        # Two blocks are kept: readers whose buffers straddle a border need no block twice.
        self._reader = Reader(cache_size=2, n_threads=1, check_after_decompress=False, quiet=True)
        self._reader.open(path, self.compression)
        self.block_bounds = np.array(self.compression["chunk_bounds"], dtype=np.int64)
        self.n_samples = int(self.block_bounds[-1])
        self.block_length = int(self.block_bounds[1])
        self.n_columns = n_columns

    def read(self, start: int, stop: int, columns: Any) -> np.ndarray:
        """As in :class:`RawSamples`.

        Raises
        ------
        DatasetUnreadableError
            If a block cannot be inflated.
        """
        traces = np.empty((max(stop - start, 0), len(np.arange(self.n_columns)[columns])), dtype=_DTYPE)
        first = int(np.searchsorted(self.block_bounds, start, side="right")) - 1
        for block in range(first, len(self.block_bounds) - 1) if stop > start else ():
            block_start, block_stop = self.block_bounds[block : block + 2].tolist()
            if block_start >= stop:
                break
            begin, end = max(start, block_start), min(stop, block_stop)
            inflated = self._inflate(block)
            traces[begin - start : end - start] = inflated[begin - block_start : end - block_start, columns]
        return traces

    def _inflate(self, block: int) -> np.ndarray:
        # Not reader[start:stop], which inflates the next block too when it is asked for a whole one.
        offsets = self._reader.chunk_offsets
        try:
            return self._reader.read_chunk(block, offsets[block], offsets[block + 1] - offsets[block])
        except (OSError, AssertionError) as error:  # how mtscomp says that a block is not what it should be
            raise DatasetUnreadableError(
                f"Block {block} of '{self.path}', from sample {self.block_bounds[block]} on, cannot be decompressed: "
                f"the file is damaged. {_WAY_OUT}"
            ) from error


class SpikeGLXRecording(BaseRecording):
    """The voltages of one band of one probe, in counts as stored; the sync words are left out.

    Times are the clock's. So is the sampling frequency: samples per second of the session, some 10 ppm from the rate by
    the probe's own clock.

    Parameters
    ----------
    data_path : pathlib.Path or str
        The ``.cbin`` or ``.bin`` file.
    meta_path : pathlib.Path or str
        The ``.meta`` file.
    compression_path : pathlib.Path or str, optional
        The ``.ch`` file of a ``.cbin`` file. Default: the one beside it.
    clock : ProbeClock, optional
        Session times of the samples. Default: the probe's own clock, from 0.
    samples : RawSamples, optional
        Where to read the samples if there is no file at ``data_path``.

    Raises
    ------
    DatasetUnreadableError, DatasetInconsistentError
        If a file cannot be read or the files do not belong together.
    """

    def __init__(
        self,
        data_path: Path | str,
        meta_path: Path | str,
        compression_path: Path | str | None = None,
        clock: ProbeClock | None = None,
        *,
        samples: RawSamples | None = None,
    ):
        meta = SpikeGLXMeta(meta_path)
        clock = clock or ProbeClock(meta.sampling_rate_hz)
        data_path = Path(data_path)
        #: The samples of all columns of the file.
        self.samples: RawSamples = samples or (
            CompressedSamples(data_path, Path(compression_path or data_path.with_suffix(".ch")), meta.n_saved_channels)
            if data_path.suffix == ".cbin"
            else FlatSamples(data_path, meta.n_saved_channels, round(clock.rate_hz))
        )
        start, rate = clock.start_and_rate(self.samples.n_samples)
        names = [f"{meta.band.upper()}{number}" for number in meta.site_numbers]
        super().__init__(sampling_frequency=rate, channel_ids=names, dtype=_DTYPE)
        self.add_recording_segment(_SpikeGLXSegment(self.samples, meta.n_neural_channels, clock, start, rate))
        self.set_channel_gains(meta.volts_per_count * 1e6)  # SpikeInterface counts in microvolts
        self.set_channel_offsets(0.0)
        self._serializability["json"] = False
        if samples is not None:
            self._serializability.update(memory=False, pickle=False)
        self._kwargs = {
            "data_path": str(data_path),
            "meta_path": str(meta_path),
            "compression_path": None if compression_path is None else str(compression_path),
            "clock": clock,
        }


class _SpikeGLXSegment(BaseRecordingSegment):
    """The only segment of a recording. Its times are the clock's until somebody sets other ones."""

    def __init__(self, samples: RawSamples, n_neural_channels: int, clock: ProbeClock, start: float, rate: float):
        super().__init__(sampling_frequency=rate, t_start=start)
        self._samples = samples
        self._columns = np.arange(n_neural_channels)
        self._clock = clock

    def get_num_samples(self) -> int:
        return self._samples.n_samples

    def get_traces(
        self, start_frame: int | None = None, end_frame: int | None = None, channel_indices: Any = None
    ) -> np.ndarray:
        start = 0 if start_frame is None else max(start_frame, 0)
        stop = self._samples.n_samples if end_frame is None else min(end_frame, self._samples.n_samples)
        if channel_indices is None or (isinstance(channel_indices, slice) and channel_indices == slice(None)):
            return self._samples.read(start, stop, slice(0, len(self._columns)))  # a slice is read faster
        return self._samples.read(start, stop, self._columns[channel_indices])

    def get_times(self, start_frame: int | None = None, end_frame: int | None = None) -> np.ndarray:
        if self.has_time_vector():
            return super().get_times(start_frame, end_frame)
        frames = range(self._samples.n_samples)[start_frame:end_frame]
        return self._clock.times(np.arange(frames.start, frames.stop))

    def get_start_time(self) -> float:
        return super().get_start_time() if self.has_time_vector() else float(self.sample_index_to_time(0))

    def get_end_time(self) -> float:
        if self.has_time_vector():
            return super().get_end_time()
        return float(self.sample_index_to_time(self._samples.n_samples - 1))

    def sample_index_to_time(self, sample_ind: Any) -> Any:
        return super().sample_index_to_time(sample_ind) if self.has_time_vector() else self._clock.times(sample_ind)

    def time_to_sample_index(self, time_s: Any) -> Any:
        if self.has_time_vector():
            return super().time_to_sample_index(time_s)
        return np.round(self._clock.samples(time_s)).astype(np.int64)


def read_compression(path: Path, n_columns: int) -> dict[str, Any]:
    """Read a ``.ch`` file and check that it is one.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    n_columns : int
        Columns per sample that the recording has, sync words included.

    Raises
    ------
    DatasetUnreadableError
        If the file is not that of mtscomp.
    DatasetInconsistentError
        If it contradicts itself, or is of a recording of another shape.
    """
    try:
        compression = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = "it is empty" if not path.stat().st_size else str(error)
        raise DatasetUnreadableError(f"'{path}' cannot be read as JSON: {reason}. {_WAY_OUT}") from error
    missing = [name for name in _COMPRESSION_FIELDS if name not in compression]
    if missing:
        raise DatasetUnreadableError(
            f"'{path}' is not the header of an mtscomp file: it has no {missing[0]}. {_WAY_OUT}"
        )
    # Only mtscomp's own description of the data; the rate is that of the metadata.
    compression = {"sample_rate": 0.0, **compression}
    _check_compression(compression, path, n_columns)
    return compression


def _check_compression(compression: dict[str, Any], compression_path: Path, n_columns: int) -> None:
    bounds, offsets = (np.array(compression[name]) for name in ("chunk_bounds", "chunk_offsets"))
    if (
        bounds.dtype.kind not in "iu"
        or offsets.dtype.kind not in "iu"
        or bounds.shape != offsets.shape
        or len(bounds) < 2
        or bounds[0] != 0
        or offsets[0] != 0
        or (np.diff(bounds) <= 0).any()
        or (np.diff(offsets) <= 0).any()
    ):
        raise DatasetInconsistentError(
            f"'{compression_path}' does not describe blocks of data: {bounds.size} chunk_bounds and {offsets.size} "
            f"chunk_offsets that should be as many and rise from 0. {_WAY_OUT}"
        )
    stated = {"n_channels": compression.get("n_channels"), "dtype": compression["dtype"]}
    stated["shape"] = compression.get("shape", [int(bounds[-1]), n_columns])
    expected = {"n_channels": n_columns, "dtype": _DTYPE.name, "shape": [int(bounds[-1]), n_columns]}
    for name, value in expected.items():
        if stated[name] != value:
            raise DatasetInconsistentError(
                f"'{compression_path}' says {name} {stated[name]} instead of {value}, which follows from its "
                f"chunk_bounds and the recording's metadata. The files do not belong together. {_WAY_OUT}"
            )


def _check_size(path: Path, compression_path: Path, stated: int) -> None:
    size = path.stat().st_size
    if size != stated:
        what = "truncated" if size < stated else "of another recording"
        raise DatasetInconsistentError(
            f"'{path}' has {size} bytes, but '{compression_path}' describes {stated}: it is {what}. {_WAY_OUT}"
        )
