"""Rows of the units table of a file beside the clusters that they should be, and what stands for no value there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from .comparing import compare_arrays
from .report import Comparison, Difference
from .sorting import ClusterValues, Sorting
from .source_folder import camel_case
from .verification import Verification

#: What stands for a value that is not known, by kind of type; of unsigned integers it is the largest number.
_NO_VALUE: dict[str, Any] = {"f": np.nan, "i": -1, "b": False, "O": ""}

#: Columns that are called otherwise than the naming rule says.
_COLUMN_NAMES = {"uuids": "cluster_uuid"}

#: How the description of a column names what it is in ALF.
_METRIC = re.compile(r"ALF clusters\.metrics, column (.+?)\.?$")
_METRIC_OF_THAT_NAME = re.compile(r"ALF clusters\.metrics\.$")
_ATTRIBUTE = re.compile(r"ALF clusters\.(\w+)\.$")


@dataclass(frozen=True)
class UnitsTable:
    """The units table of a file and the sortings that it should hold.

    Attributes
    ----------
    verification : Verification
        The file and its source.
    sortings : dict of str to Sorting
        By probe.
    rows_of : dict of str to numpy.ndarray
        Rows of the table by probe.
    """

    verification: Verification
    sortings: dict[str, Sorting]
    rows_of: dict[str, np.ndarray]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the table."""
        return [str(name) for name in self.verification.nwb.attributes("units").get("colnames", ())]

    def option(self, probe_name: str, name: str, default: Any) -> Any:
        """Conversion option of a probe's sorting."""
        return self.verification.option(instance_name(probe_name), name, default)

    def expected_ids(self, probe_name: str) -> np.ndarray:
        """Clusters that should be units, ascending."""
        sorting = self.sortings[probe_name]
        if self.option(probe_name, "silent_clusters", "keep") == "drop":
            return sorting.cluster_ids[sorting.counts(sorting.cluster_ids) > 0]
        return sorting.cluster_ids

    def matched(self, probe_name: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a probe and the cluster each should be: by position, or by its id where units are missing."""
        rows, ids = self.rows_of[probe_name], self.expected_ids(probe_name)
        if len(rows) == len(ids):
            return rows, ids
        written = self.verification.nwb.read_column("units", "cluster_id")
        row_of = {} if written is None else {int(written[row]): int(row) for row in rows}
        common = [i for i in ids.tolist() if i in row_of]
        return np.array([row_of[i] for i in common], dtype=np.int64), np.array(common, dtype=np.int64)

    def compare_column(
        self, column: str, found: np.ndarray, values: ClusterValues, probe_name: str, dtype: np.dtype
    ) -> Comparison:
        """Compare the units of a probe in a column that is not ragged."""
        rows, ids = self.matched(probe_name)
        expected = values_by_id(values, ids, dtype, found.shape[1:])
        row = compare_arrays(values.dataset, f"units/{column}", found[rows], expected)
        return with_rows(row, rows)


def with_rows(row: Comparison, rows: np.ndarray) -> Comparison:
    """The same comparison with the first index counted in the whole table."""
    first = row.first_difference
    if first is None or not first.index:
        return row
    moved = Difference((int(rows[first.index[0]]), *first.index[1:]), first.expected, first.found)
    return Comparison(row.dataset, row.object, row.status, row.reason, moved)


def instance_name(probe_name: str) -> str:
    """Name of the interface of a probe's sorting."""
    return f"SortedSpikes{camel_case(probe_name)}"


def common_type(*types: np.dtype) -> np.dtype:
    """Type of a column that holds several probes: NumPy's, but int64 for integers that only a float would hold."""
    if any(dtype.kind == "O" for dtype in types):
        return np.dtype(object)
    common = np.result_type(*types)
    return np.dtype(np.int64) if common.kind == "f" and all(t.kind in "iub" for t in types) else common


def values_by_id(
    values: ClusterValues, cluster_ids: np.ndarray, dtype: np.dtype, further_axes: tuple[int, ...]
) -> np.ndarray:
    """Values of given clusters as a column should have them.

    Parameters
    ----------
    values : ClusterValues
        Values of some clusters.
    cluster_ids : numpy.ndarray
        The clusters; one that has no row gets no value.
    dtype : numpy.dtype
        Type of the column.
    further_axes : tuple of int
        Shape of a cell; where another probe's is larger, the rest has no value.
    """
    source = values.values
    if len(further_axes) != source.ndim - 1 or any(n < m for n, m in zip(further_axes, source.shape[1:], strict=True)):
        further_axes = source.shape[1:]  # which the comparison will tell
    expected = np.full((len(cluster_ids), *further_axes), no_value(dtype), dtype=dtype)
    row_of = {cluster: row for row, cluster in enumerate(values.cluster_ids.tolist())}
    has_row = np.array([cluster in row_of for cluster in cluster_ids.tolist()], dtype=bool)
    taken = source[[row_of[cluster] for cluster in cluster_ids[has_row].tolist()]] if has_row.any() else source[:0]
    cells: Any = (has_row, *(slice(n) for n in source.shape[1:]))
    if source.dtype.kind == "u" and dtype != source.dtype:  # the largest number is no value, of whatever type
        expected[cells] = np.where(taken == np.iinfo(source.dtype).max, no_value(dtype), taken.astype(dtype))
    else:
        expected[cells] = taken
    return expected


def no_value(dtype: np.dtype) -> Any:
    """What stands for a value that is not known."""
    return np.iinfo(dtype).max if dtype.kind == "u" else _NO_VALUE[dtype.kind]


def columns_by_source(table: UnitsTable) -> dict[tuple[str, str], str]:
    """Column of each attribute ("clusters", name) and metric ("metrics", name) by descriptions, for renamed ones."""
    columns = {}
    for column in table.columns:
        text = str(table.verification.nwb.attributes(f"units/{column}").get("description", ""))
        if metric := _METRIC.search(text):
            columns["metrics", metric[1]] = column
        elif _METRIC_OF_THAT_NAME.search(text):
            columns["metrics", column.removeprefix("metrics_")] = column
        elif attribute := _ATTRIBUTE.search(text):
            columns["clusters", attribute[1]] = column
    return columns


def column_name(table: UnitsTable, kind: str, alf_name: str) -> str:
    """Column of an attribute or metric by the naming rule: words in lower case, with its object if need be."""
    if alf_name in _COLUMN_NAMES:
        return _COLUMN_NAMES[alf_name]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", alf_name.replace("dB", "db")).lower()
    return next((name for name in (f"{kind}_{words}", words) if name in table.columns), words)
