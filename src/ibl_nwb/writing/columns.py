"""Single columns of a raw SpikeGLX file as data of a TimeSeries, written by several threads or by any NWB writer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..spikeglx_recording import RawSamples
from .blocks import find_column_blocks
from .streamed import SHAPES, StreamedData

#: Samples per chunk of the file, 2 MB per column, and chunks that a writer that does not know of this class reads at a
#: time.
CHUNK_LENGTH = 1_000_000
CHUNKS_PER_BUFFER = 4


class StreamedColumns(StreamedData):
    """Some columns of a raw file.

    A compressed file is inflated once for each object, but only as far as its columns reach: mtscomp puts the columns
    of a block one after the other. The checksum of a block comes after the last column, so that a file is checked as a
    whole only where some object has that. The sync word of a probe whose traces go to the same file is an exception: it
    is kept while these are read.

    Parameters
    ----------
    samples : RawSamples
        The file.
    columns : list of int
        Which columns. One gives ``(n_samples,)``, several give ``(n_samples, n_columns)``, int16 as stored.
    start_sample : int, default: 0
        The first sample to give.
    stop_sample : int, optional
        The one after the last. Default: that of the file.
    **options
        Options of NeuroConv's iterators, e.g. display_progress or buffer_shape. Default: chunks and buffers of about a
        million samples, a multiple of the blocks in which the file is compressed.
    """

    def __init__(
        self,
        samples: RawSamples,
        columns: list[int],
        start_sample: int = 0,
        stop_sample: int | None = None,
        **options: Any,
    ):
        self._samples, self._columns, self._start = samples, columns, start_sample
        self._n_samples = (samples.n_samples if stop_sample is None else stop_sample) - start_sample
        self.blocks = find_column_blocks(samples, np.array(columns), start_sample)
        if not {*SHAPES, "buffer_gb"} & options.keys():
            block = samples.block_length
            chunk_length = min(self._n_samples, block * max(1, round(CHUNK_LENGTH / block)))
            buffer_length = min(self._n_samples, chunk_length * CHUNKS_PER_BUFFER)
            options["chunk_shape"] = (chunk_length, *self.shape[1:])
            options["buffer_shape"] = (buffer_length, *self.shape[1:])
        super().__init__(**options)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n_samples,)`` or ``(n_samples, n_columns)``."""
        return (self._n_samples,) if len(self._columns) == 1 else (self._n_samples, len(self._columns))

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, selection: Any) -> np.ndarray:
        return self._get_data(self._convert_index_to_slices(selection))

    def _get_data(self, selection: tuple[slice, ...]) -> np.ndarray:
        columns = self._columns if len(selection) == 1 else self._columns[selection[1]]
        stop = min(selection[0].stop, self._n_samples)
        data = self._samples.read(self._start + selection[0].start, self._start + stop, columns)
        return data[:, 0] if len(selection) == 1 else data

    def _get_maxshape(self) -> tuple[int, ...]:
        return self.shape

    def _get_dtype(self) -> np.dtype:
        return np.dtype("int16")
