"""Series and tables of the file, each compared as a whole: the values, and what else a reader makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from .comparing import compare, compare_value
from .nwb_reading import NWBReader
from .report import Comparison

#: How far a factor may be off, as a fraction: rounding of float64.
_ROUNDING = 1e-12

#: Columns of tables that NWB wants as float64.
_TIME_COLUMNS = ("timestamp",)


def compare_series(
    nwb: NWBReader, dataset: str, series_path: str, values: np.ndarray, unit: str, conversion: float = 1.0
) -> Iterator[Comparison]:
    """Compare the data of a series, and what turns them into numbers of a unit.

    Parameters
    ----------
    nwb, dataset
        As for :func:`~.comparing.compare`.
    series_path : str
        The series in the file.
    values : numpy.ndarray
        Values and type of the source.
    unit : str
        Unit of the values times ``conversion``.
    conversion : float, default: 1.0
        Factor to that unit.
    """
    path = f"{series_path}/data"
    yield compare(nwb, dataset, path, values)
    if nwb.is_array(path):
        yield from compare_unit(nwb, dataset, path, unit, conversion)


def compare_unit(nwb: NWBReader, dataset: str, path: str, unit: str, conversion: float = 1.0) -> Iterator[Comparison]:
    """Compare unit, factor and offset of an array that is there; parameters as in :func:`compare_series`."""
    attributes = nwb.attributes(path)
    yield compare_value(dataset, f"{path}@unit", attributes.get("unit"), unit)
    found = float(attributes.get("conversion", 1.0))
    yield compare_value(dataset, f"{path}@conversion", found, conversion, tolerance=_ROUNDING)
    yield compare_value(dataset, f"{path}@offset", float(attributes.get("offset", 0.0)), 0.0)


def compare_columns(nwb: NWBReader, table: str, columns: Mapping[str, tuple[str, np.ndarray]]) -> Iterator[Comparison]:
    """Compare every column of a table; one that no source is named for is different.

    Parameters
    ----------
    nwb : NWBReader
        The file.
    table : str
        The table in the file.
    columns : mapping of str to tuple of str and numpy.ndarray
        Source and values of each column.
    """
    for name, (dataset, values) in columns.items():
        yield compare(nwb, dataset, f"{table}/{name}", values, forced="times" if name in _TIME_COLUMNS else None)
    yield from find_surplus(nwb, table, columns)


def find_surplus(nwb: NWBReader, table: str, known: Mapping[str, object]) -> Iterator[Comparison]:
    """Columns of a table that no source is known of."""
    for name in nwb.attributes(table).get("colnames", ()):
        if str(name) not in known:
            yield Comparison("", f"{table}/{name}", "different", "no dataset is the source of it")
