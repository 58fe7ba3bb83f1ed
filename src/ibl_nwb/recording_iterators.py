"""Times of a recording, computed piece by piece while they are written. Its samples: :mod:`ibl_nwb.writing.traces`."""

from __future__ import annotations

from typing import Any

import numpy as np
from neuroconv.tools.hdmf import GenericDataChunkIterator

from .probe_clock import ProbeClock


class ClockIterator(GenericDataChunkIterator):
    """Session times of all samples of a recording.

    Parameters
    ----------
    clock : ProbeClock
        Clock of the recording.
    n_samples : int
        Samples to give the times of.
    first_sample : int, default: 0
        Sample of the recording with which to begin.
    """

    #: Times per chunk of the file: 10 MB before compression.
    CHUNK_LENGTH = 1_250_000

    def __init__(self, clock: ProbeClock, n_samples: int, first_sample: int = 0):
        self._clock, self._n_samples, self._first_sample = clock, n_samples, first_sample
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
        return self._clock.times(self._first_sample + np.arange(selection[0].start, selection[0].stop))

    def _get_maxshape(self) -> tuple[int]:
        return self.shape

    def _get_dtype(self) -> np.dtype:
        return np.dtype("float64")
