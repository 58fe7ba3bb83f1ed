"""A column of arrays that is read from its file while it is written, such as one snippet of voltage in every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hdmf.data_utils import DataChunk, GenericDataChunkIterator

#: Bytes that are read, and that a chunk of the file holds.
BUFFER_BYTES = 64 * 2**20
CHUNK_BYTES = 2**20


class RowColumn(GenericDataChunkIterator):
    """Rows of an array that is mapped into memory, for a column of a table.

    Like :class:`~ibl_nwb.interfaces.spike_column.SpikeColumn`, it may be iterated over without being used up: NeuroConv
    does so in its search for links. Every reading maps the file anew and lets the mapping go, so that its pages do not
    pile up.

    Parameters
    ----------
    open_values : callable
        Gives the array ``(n, ...)``, mapped into memory, with at least one value.
    stop : int, optional
        Row to stop at. Default: all rows.
    """

    def __init__(self, open_values: Callable[[], np.ndarray], stop: int | None = None):
        self._open_values, self._stop = open_values, stop
        values = self._map()
        self._shape, self._dtype = values.shape, values.dtype
        row_bytes = max(values[0].nbytes, 1)
        chunk_length = min(max(CHUNK_BYTES // row_bytes, 1), len(values))
        buffer_length = min(max(BUFFER_BYTES // row_bytes // chunk_length, 1) * chunk_length, len(values))
        further = values.shape[1:]
        super().__init__(chunk_shape=(chunk_length, *further), buffer_shape=(buffer_length, *further))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the column."""
        return self._shape

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, selection: Any) -> Any:
        return np.array(self._map()[selection])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._map(), dtype=dtype)

    def __iter__(self) -> Iterator[DataChunk]:
        length = self.buffer_shape[0]
        for start in range(0, len(self), length):
            yield _PendingRows(self, start, min(start + length, len(self)))

    def _get_data(self, selection: tuple[slice, ...]) -> np.ndarray:
        return np.array(self._map()[selection])

    def _get_maxshape(self) -> tuple[int, ...]:
        return self.shape

    def _get_dtype(self) -> np.dtype:
        return self._dtype

    def _map(self) -> np.ndarray:
        return self._open_values()[: self._stop]


class _PendingRows(DataChunk):
    """Rows of a column that are loaded when their data are asked for."""

    def __init__(self, column: RowColumn, start: int, stop: int):
        self._column = column
        self.selection = (slice(start, stop), *(slice(0, length) for length in column.shape[1:]))

    @property
    def data(self) -> np.ndarray:
        """The values."""
        return self._column._get_data(self.selection)
