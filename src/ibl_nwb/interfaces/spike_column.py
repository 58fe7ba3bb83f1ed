"""Columns of the units table with one value per spike, read from the ALF files when they are written.

Nothing but the order of the spikes is kept in memory. Every reading maps a file anew, takes the rows it needs and lets
the mapping go, so that its pages do not pile up either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from hdmf.data_utils import DataChunk, GenericDataChunkIterator

from ..errors import DatasetInconsistentError
from ..session import Dataset, load_array

#: Spikes that are read, checked or written at a time: 32 MB of float64.
BLOCK_LENGTH = 2**22

#: Spikes per chunk in the file: 1 MB of float64, so that reading one unit fetches little besides.
CHUNK_LENGTH = 2**17


def load_vector(dataset: Dataset) -> np.ndarray:
    """Map a dataset with one value per row into memory, ``(n,)``; columns ``(n, 1)`` are flattened as ONE does.

    Raises
    ------
    DatasetInconsistentError
        If it has several values per row.
    """
    values = load_array(dataset, memory_map=True)
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim != 1:
        raise DatasetInconsistentError(
            f"'{dataset.path}' has the shape {values.shape}; one value per row was expected."
        )
    return values


def common_type(*types: np.dtype) -> np.dtype:
    """Type that holds the values of several types: NumPy's, but int64 for int64 with uint64 instead of float64."""
    common = np.result_type(*types)
    if common.kind == "f" and all(given.kind in "iub" for given in types):
        return np.dtype(np.int64)  # samples and ids are nowhere near the 64th bit
    return common


class _Part(Protocol):
    """What a column is put together from: an array, another column, or an attribute in the order of an index."""

    @property
    def dtype(self) -> np.dtype: ...
    def __len__(self) -> int: ...
    def __getitem__(self, selection: slice, /) -> np.ndarray: ...


class OrderedAttribute:
    """An attribute of the spikes in the order of an index.

    Parameters
    ----------
    dataset : Dataset
        One value per spike, in the order of the file.
    order : numpy.ndarray
        Integer rows to take.
    dtype : numpy.dtype, optional
        Type to give the values. Default: as stored.
    offset : float, default: 0.0
        What is added to the values.
    """

    def __init__(self, dataset: Dataset, order: np.ndarray, dtype: Any = None, offset: float = 0.0):
        self._dataset, self._order, self._offset = dataset, order, offset
        self.dtype = np.dtype(dtype or load_vector(dataset).dtype)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, selection: slice) -> np.ndarray:
        values = load_vector(self._dataset)[self._order[selection]].astype(self.dtype, copy=False)
        return values + self._offset if self._offset else values


class SpikeColumn(GenericDataChunkIterator):
    """One value per spike for the units table, the units one after the other, read when it is written.

    A data chunk iterator is what both backends write piece by piece and what NeuroConv lets pass with its chunks, so a
    column costs one block of memory however long it is. It can be indexed like an array, hence
    ``units["spike_times"][3]`` works before anything is written.

    NeuroConv looks for links by iterating over every column (``get_default_backend_configuration``). For an array of
    all spikes that is one Python object per spike; for iterators of HDMF's own kind it would load all data and use the
    iterator up. Iterating over this one gives chunks that load their data when they are asked for, and does not use it
    up; ``next`` does what the writers expect.

    Parameters
    ----------
    parts : sequence
        Arrays, attributes or columns, of at least one value together, that follow one another.
    """

    def __init__(self, parts: Sequence[_Part]):
        self._parts = tuple(part for part in parts if len(part))
        self._starts = np.cumsum([0, *map(len, self._parts)]).tolist()
        length = self._starts[-1]
        super().__init__(chunk_shape=(min(CHUNK_LENGTH, length),), buffer_shape=(min(BLOCK_LENGTH, length),))

    @classmethod
    def of(cls, values: OrderedAttribute) -> SpikeColumn | np.ndarray:
        """A column of one attribute, or an empty array where there are no spikes: an iterator cannot be empty."""
        return cls([values]) if len(values) else np.empty(0, dtype=values.dtype)

    @property
    def shape(self) -> tuple[int]:
        """Number of values."""
        return (self._starts[-1],)

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[DataChunk]:
        for start in range(0, len(self), BLOCK_LENGTH):
            yield _PendingChunk(self, (slice(start, min(start + BLOCK_LENGTH, len(self))),))

    def __getitem__(self, selection: Any) -> Any:
        if isinstance(selection, slice):
            start, stop, step = selection.indices(len(self))
            return self._read(start, stop) if step == 1 else self._read(0, len(self))[selection]
        if isinstance(selection, (int, np.integer)):
            row = range(len(self))[selection]
            return self._read(row, row + 1)[0]
        return self._read(0, len(self))[selection]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._read(0, len(self)).astype(dtype or self.dtype, copy=False)

    def _read(self, start: int, stop: int) -> np.ndarray:
        bounds = zip(self._parts, self._starts[:-1], self._starts[1:], strict=True)
        pieces = [
            part[max(start - first, 0) : stop - first] for part, first, last in bounds if first < stop and start < last
        ]
        if len(pieces) > 1:
            return np.concatenate(pieces, dtype=self.dtype)
        return pieces[0].astype(self.dtype, copy=False) if pieces else np.empty(0, dtype=self.dtype)

    def _get_data(self, selection: tuple[slice, ...]) -> np.ndarray:
        return self._read(selection[0].start, selection[0].stop)

    def _get_maxshape(self) -> tuple[int]:
        return self.shape

    def _get_dtype(self) -> np.dtype:
        return common_type(*(part.dtype for part in self._parts))


class _PendingChunk(DataChunk):
    """A chunk of a column that is loaded when its data are asked for."""

    def __init__(self, column: SpikeColumn, selection: tuple[slice]):
        self._column, self.selection = column, selection

    @property
    def data(self) -> np.ndarray:
        """The values of the chunk."""
        return self._column._get_data(self.selection)
