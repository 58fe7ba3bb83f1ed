"""Lazy samples and times of a recording: read or computed piece by piece while they are written."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from neuroconv.tools.hdmf import GenericDataChunkIterator
from neuroconv.tools.spikeinterface.spikeinterfacerecordingdatachunkiterator import (
    SpikeInterfaceRecordingDataChunkIterator,
)
from spikeinterface.core import BaseRecording

from .probe_clock import ProbeClock

#: Samples and channels of a chunk in the file, if the recording has as many: the best of size, speed and memory.
CHUNK_SAMPLES = 30_000
CHUNK_CHANNELS = 32

#: How much is read and written at a time, in GB.
BUFFER_GB = 0.2


def iterate_traces(
    recording: BaseRecording, block_length: int, options: dict[str, Any] | None = None
) -> SpikeInterfaceRecordingDataChunkIterator:
    """NeuroConv's iterator over the integers of a recording, in chunks and buffers of whole blocks.

    Parameters
    ----------
    recording : BaseRecording
        The recording.
    block_length : int
        Samples of a block of the compressed file. Buffers end where blocks end, so that none is inflated twice.
    options : dict, optional
        Options of the iterator: buffer_gb, buffer_shape, chunk_mb, chunk_shape, display_progress, progress_bar_class,
        progress_bar_options. If one of the shapes or chunk_mb is given, shapes are left to the caller and NeuroConv.

    Returns
    -------
    SpikeInterfaceRecordingDataChunkIterator
        Yields ``(n_samples, n_channels)`` int16.
    """
    options = dict(options or {})
    if not {"chunk_shape", "chunk_mb", "buffer_shape"} & options.keys():
        n_samples, n_channels = recording.get_num_samples(), recording.get_num_channels()
        chunk_length = min(n_samples, block_length * max(1, round(CHUNK_SAMPLES / block_length)))
        chunk_bytes = chunk_length * n_channels * recording.get_dtype().itemsize
        n_chunks = max(1, math.floor(options.pop("buffer_gb", BUFFER_GB) * 1e9 / chunk_bytes))
        options["chunk_shape"] = (chunk_length, min(n_channels, CHUNK_CHANNELS))
        options["buffer_shape"] = (min(n_samples, chunk_length * n_chunks), n_channels)
    return SpikeInterfaceRecordingDataChunkIterator(recording, **options)


class ClockIterator(GenericDataChunkIterator):
    """Session times of all samples of a recording.

    Parameters
    ----------
    clock : ProbeClock
        Clock of the recording.
    n_samples : int
        Samples to give the times of.
    """

    #: Times per chunk of the file: 10 MB before compression.
    CHUNK_LENGTH = 1_250_000

    def __init__(self, clock: ProbeClock, n_samples: int):
        self._clock, self._n_samples = clock, n_samples
        chunk_shape = (min(self.CHUNK_LENGTH, n_samples),)
        super().__init__(chunk_shape=chunk_shape, buffer_shape=chunk_shape)

    @property
    def shape(self) -> tuple[int]:
        """``(n_samples,)``."""
        return (self._n_samples,)

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, selection: Any) -> np.ndarray:
        return self._get_data(self._convert_index_to_slices(selection))

    def _get_data(self, selection: tuple[slice, ...]) -> np.ndarray:
        return self._clock.times(np.arange(selection[0].start, selection[0].stop))

    def _get_maxshape(self) -> tuple[int]:
        return self.shape

    def _get_dtype(self) -> np.dtype:
        return np.dtype("float64")
