"""Units of several sources in the one ``units`` table of an NWB file, column by column and without loading spikes.

A table that is there already is extended in place. Nothing of it is lost: rows of either side have no value in columns
that only the other one has (see :data:`NO_VALUE`).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hdmf.common import VectorData, VectorIndex
from hdmf.container import Container, Data
from hdmf.data_utils import AbstractDataChunkIterator, DataIO
from pynwb import NWBFile
from pynwb.core import DynamicTableRegion
from pynwb.misc import Units

from ..errors import UsageError
from .spike_column import SpikeColumn, common_type

#: What stands for a value that is not known, by kind of NumPy type; "u" is the largest number of the type.
NO_VALUE: dict[str, Any] = {"f": np.nan, "c": np.nan, "i": -1, "b": False, "O": "", "U": "", "S": b"", "M": "NaT"}

#: Waveforms of one table have one sampling rate; probes differ by less than this (ratio), as their headstages do.
RATE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class UnitColumn:
    """Values of some units for one column of the table.

    Attributes
    ----------
    name : str
        Name of the column.
    data : numpy.ndarray or SpikeColumn
        ``(n_units, ...)``; for a ragged column the values of all units, one unit after the other.
    stops : numpy.ndarray or None
        ``(n_units,)`` integers: where in a ragged column's data the values of each unit end.
    is_region : bool
        Whether the values are rows of the electrodes table.
    """

    name: str
    data: np.ndarray | SpikeColumn
    stops: np.ndarray | None = None
    is_region: bool = False


def add_units(
    nwbfile: NWBFile,
    columns: Sequence[UnitColumn],
    *,
    description: str,
    column_descriptions: Mapping[str, str],
    resolution_s: float,
    waveform_rate_hz: float,
) -> None:
    """Add units to the ``units`` table of an NWB file, which is made if there is none.

    Parameters
    ----------
    nwbfile : NWBFile
        The file.
    columns : sequence of UnitColumn
        Columns of equally many units, ``unit_name`` among them.
    description : str
        Description of the table, if it has to be made.
    column_descriptions : mapping of str to str
        Descriptions of the columns, by name, if they have to be made.
    resolution_s, waveform_rate_hz : float
        Smallest difference between spike times, and samples per second of the column ``waveform_mean``. What the table
        says already stays.

    Raises
    ------
    UsageError
        If the table is in a file on disk, has units of the same name, waveforms at another rate, or a column of another
        kind than ours.
    """
    if nwbfile.units is None:
        nwbfile.units = _make_table(nwbfile, columns, description, column_descriptions)
    else:
        _check_can_be_extended(nwbfile.units, {column.name: column for column in columns}, waveform_rate_hz)
        _extend_table(nwbfile, {column.name: column for column in columns}, column_descriptions)
    table = nwbfile.units
    if table.resolution is None:
        table.resolution = resolution_s
    if table.waveform_rate is None and any(column.name == "waveform_mean" for column in columns):
        table.waveform_rate = waveform_rate_hz


def take_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of an array, without a value (:data:`NO_VALUE`) where the row is -1.

    Parameters
    ----------
    values : numpy.ndarray
        ``(n, ...)`` of any type.
    rows : numpy.ndarray
        ``(m,)`` integers from -1 to n - 1.

    Returns
    -------
    numpy.ndarray
        ``(m, ...)`` of the same type; text as objects.
    """
    taken = _without_values((len(rows), *values.shape[1:]), values.dtype)
    taken[rows >= 0] = values[rows[rows >= 0]]
    return taken


def _without_values(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    value = np.iinfo(dtype).max if dtype.kind == "u" else NO_VALUE[dtype.kind]
    return np.full(shape, value, dtype=object if dtype.kind == "U" else dtype)


def _make_table(
    nwbfile: NWBFile, columns: Sequence[UnitColumn], description: str, column_descriptions: Mapping[str, str]
) -> Units:
    vectors: list[VectorData] = []
    for column in columns:
        kwargs = {"name": column.name, "description": column_descriptions[column.name], "data": column.data}
        vector = DynamicTableRegion(**kwargs, table=nwbfile.electrodes) if column.is_region else VectorData(**kwargs)
        if column.stops is not None:
            vectors.append(VectorIndex(name=f"{column.name}_index", data=_smallest(column.stops), target=vector))
        vectors.append(vector)
    return Units(
        name="units",
        description=description,
        id=np.arange(_count(columns)),
        columns=vectors,
        colnames=[column.name for column in columns],
    )


def _extend_table(nwbfile: NWBFile, columns: dict[str, UnitColumn], column_descriptions: Mapping[str, str]) -> None:
    table = nwbfile.units
    n_present, n_added = len(table.id), _count(list(columns.values()))
    ids = _as_array(table.id)
    for name in table.colnames:
        vector = table[name]
        if isinstance(vector, VectorIndex):
            _extend_ragged(vector, columns.get(name), n_added)
        else:
            present = _as_array(vector)
            added = (
                columns[name].data if name in columns else _without_values((n_added, *present.shape[1:]), present.dtype)
            )
            _replace_data(vector, _stack(present, np.asarray(added)))
    _replace_data(table.id, np.concatenate([ids, np.arange(n_added) + ids.max(initial=-1) + 1]))
    for column in columns.values():
        if column.name not in table.colnames and len(column.data):
            _add_column(nwbfile, column, column_descriptions[column.name], n_present)


def _check_can_be_extended(table: Units, columns: dict[str, UnitColumn], waveform_rate_hz: float) -> None:
    names = columns["unit_name"].data
    if table.container_source is not None:
        raise UsageError(
            f"The units table of '{table.container_source}' is on disk and cannot be extended. Convert all probes in "
            "one go, or leave the units out of what is appended."
        )
    present = set(_as_array(table["unit_name"]).tolist()) if "unit_name" in table.colnames else set()
    repeated = sorted(present & set(np.asarray(names).tolist()))
    if repeated:
        raise UsageError(
            f"The units table holds {', '.join(repeated[:3])} already ({len(repeated)} units in all). A probe can be "
            "added once, with one sorting."
        )
    rate_hz = table.waveform_rate
    if "waveform_mean" in columns and rate_hz and abs(rate_hz / waveform_rate_hz - 1) > RATE_TOLERANCE:
        raise UsageError(
            f"The waveforms in the units table are sampled at {rate_hz:g} Hz and these at {waveform_rate_hz:g} Hz, but "
            "a table has one rate. Leave these out with write_waveforms=False."
        )
    for name in table.colnames:
        _check_same_kind(table[name], columns.get(name))


def _check_same_kind(vector: Data, column: UnitColumn | None) -> None:
    """Check that a column can take our values, or no values if we have no such column."""
    is_ragged = isinstance(vector, VectorIndex)
    target = vector.target if is_ragged else vector
    if not is_ragged and _holds_objects(vector):
        raise UsageError(
            f"The units table has a column '{vector.name}' that refers to other objects, for which these units have no "
            "value. Add the IBL sortings before the interface that wrote it, or leave the column out there."
        )
    if column is None:
        return
    same = is_ragged == (column.stops is not None) and column.is_region == isinstance(target, DynamicTableRegion)
    if not same or isinstance(target, VectorIndex) or not _fit(_as_array(target), column.data):
        raise UsageError(
            f"The units table has a column '{column.name}' already, of another kind than the IBL attribute of that "
            "name. Rename it in the interface that wrote it."
        )


def _fit(present: Any, added: Any) -> bool:
    """Whether values can stand in one column: as many axes, and text with text."""
    if not len(present) or not len(added):
        return True
    is_text = [values.dtype.kind in "OUS" for values in (present, added)]
    return len(present.shape) == len(added.shape) and is_text[0] == is_text[1]


def _extend_ragged(index: VectorIndex, column: UnitColumn | None, n_added: int) -> None:
    stops, length = _as_array(index), len(index.target)
    if column is None:
        _replace_data(index, _smallest(np.concatenate([stops, np.full(n_added, length)])))
        return
    assert column.stops is not None  # checked before
    _replace_data(index, _smallest(np.concatenate([stops, length + column.stops])))
    present = _as_array(index.target)
    if not len(column.data):
        return
    if isinstance(present, SpikeColumn) or isinstance(column.data, SpikeColumn):
        _replace_data(index.target, SpikeColumn([present, column.data]))
    else:
        _replace_data(index.target, _stack(present, column.data))


def _add_column(nwbfile: NWBFile, column: UnitColumn, description: str, n_present: int) -> None:
    """Add a column of which the units that are there already have no value."""
    kwargs: dict[str, Any] = {"name": column.name, "description": description}
    if column.is_region:
        kwargs["table"] = nwbfile.electrodes
    if column.stops is None:
        data = np.asarray(column.data)
        data = np.concatenate([_without_values((n_present, *data.shape[1:]), data.dtype), data])
        nwbfile.units.add_column(**kwargs, data=data)
        return
    stops = _smallest(np.concatenate([np.zeros(n_present, dtype=np.int64), column.stops]))
    with warnings.catch_warnings():
        # HDMF compares table and index of columns that it knows with True and warns when they are better than that.
        warnings.filterwarnings("ignore", message="Column '.*' is predefined in Units")
        nwbfile.units.add_column(**kwargs, data=column.data, index=stops.tolist())


def _stack(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rows of one array after those of another; where their further axes differ, the shorter ones get no value."""
    if not len(first) or not len(second):
        return second if len(second) else first
    dtype = np.dtype(object) if "O" in (first.dtype.kind, second.dtype.kind) else common_type(first.dtype, second.dtype)
    further = np.maximum(first.shape[1:], second.shape[1:]).astype(int)
    stacked = _without_values((len(first) + len(second), *further), dtype)
    for start, values in ((0, first), (len(first), second)):
        stacked[(slice(start, start + len(values)), *map(slice, values.shape[1:]))] = _converted(values, dtype)
    return stacked


def _converted(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in another type; the largest number of an unsigned type, no value, becomes that of the other type."""
    if values.dtype.kind != "u" or values.dtype == dtype:
        return values
    rows = np.where(values == np.iinfo(values.dtype).max, -1, np.arange(values.size).reshape(values.shape))
    return take_rows(values.astype(dtype).ravel(), rows.ravel()).reshape(values.shape)


def _as_array(vector: Data) -> Any:
    """The data of a column as an array, or as the SpikeColumn that they are."""
    data = vector.data.data if isinstance(vector.data, DataIO) else vector.data
    if isinstance(data, SpikeColumn):
        return data
    if isinstance(data, AbstractDataChunkIterator):
        raise UsageError(
            f"The column '{vector.name}' of the units table is written piece by piece and cannot be extended. Add the "
            "IBL sortings before the interface that wrote it."
        )
    array = np.asarray(data)
    return array.astype(object) if array.dtype.kind == "U" else array


def _holds_objects(vector: Data) -> bool:
    values = _as_array(vector)
    return values.dtype.kind == "O" and any(isinstance(value, Container) for value in values)


def _replace_data(vector: Data, data: Any) -> None:
    """Give a column other data; HDMF cannot exchange a column of a table."""
    vector.transform(lambda _: data)


def _smallest(stops: np.ndarray) -> np.ndarray:
    """The same in the smallest unsigned type, which is how NWB stores the ends of ragged rows."""
    return stops.astype(np.min_scalar_type(int(stops.max(initial=0))))


def _count(columns: Sequence[UnitColumn]) -> int:
    first = columns[0]
    return len(first.data) if first.stops is None else len(first.stops)
