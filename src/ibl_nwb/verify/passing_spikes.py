"""The table of the spikes of good units: which units are marked as such, and whether they have its spikes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .comparing import compare_arrays, differs, first_difference
from .nwb_reading import DamagedObjectError
from .report import Comparison, Difference
from .source_folder import SourceFile, load_table
from .unit_spikes import SPIKE_COLUMNS
from .unit_values import UnitsTable, with_rows

if TYPE_CHECKING:
    import pandas

_COLUMN = "in_passing_spikes"
_OPTION = f"write_{_COLUMN}"


def check_passing_spikes(table: UnitsTable) -> Iterator[Comparison]:
    """Compare the units of every probe, and their spikes in the file, with its table of the spikes of good units."""
    for probe_name, sorting in table.sortings.items():
        file = sorting.file("passingSpikes.table.pqt")
        if file is None:
            yield from _check_none_is_marked(table, probe_name)
        elif _COLUMN in table.columns:
            passing = load_table(file)
            yield _compare_marks(table, probe_name, file, passing)
            yield from _check_spikes(table, probe_name, file, passing)
        elif table.option(probe_name, _OPTION, True):
            yield Comparison(file.relative_path, f"units/{_COLUMN}", "missing", "the table has no such column")
        else:
            reason = f"left out: the option {_OPTION} is off"
            yield Comparison(file.relative_path, f"units/{_COLUMN}", "not verified", reason)


def _check_none_is_marked(table: UnitsTable, probe_name: str) -> Iterator[Comparison]:
    """A probe without the table has no unit in it, which is worth a row only if the file says otherwise."""
    found = table.verification.nwb.read_column("units", _COLUMN)
    if found is not None:
        rows = table.rows_of[probe_name]
        compared = compare_arrays("", f"units/{_COLUMN}", found[rows], np.zeros(len(rows), dtype=bool))
        if compared.status != "equal":
            yield with_rows(compared, rows)


def _compare_marks(table: UnitsTable, probe_name: str, file: SourceFile, passing: pandas.DataFrame) -> Comparison:
    path = f"units/{_COLUMN}"
    found = table.verification.nwb.read_column("units", _COLUMN)
    if found is None:
        return Comparison(file.relative_path, path, "missing", "it is not in the file")
    rows, ids = table.matched(probe_name)
    in_table = set(passing["clusters"].tolist())
    if not in_table <= set(ids.tolist()):
        other = sorted(in_table - set(ids.tolist()))
        return Comparison(file.relative_path, path, "different", f"cluster {other[0]} of the source is no unit")
    expected = np.array([cluster in in_table for cluster in ids.tolist()], dtype=bool)
    return with_rows(compare_arrays(file.relative_path, path, found[rows], expected), rows)


def _check_spikes(
    table: UnitsTable, probe_name: str, file: SourceFile, passing: pandas.DataFrame
) -> Iterator[Comparison]:
    """Compare every column that became one of the units table, whatever files it was written from."""
    clusters = passing["clusters"].to_numpy()
    order = np.argsort(clusters, kind="stable")
    for attribute, (column, _) in SPIKE_COLUMNS.items():
        has_attribute = table.sortings[probe_name].file(f"spikes.{attribute}.npy") is not None
        if attribute in passing and has_attribute and column in table.columns:
            dataset, path = f"{file.relative_path}:{attribute}", f"units/{column}"
            values = passing[attribute].to_numpy()[order]
            try:
                yield _compare_spikes(table, probe_name, dataset, path, clusters[order], values)
            except DamagedObjectError as error:
                yield Comparison(dataset, path, "different", str(error))


def _compare_spikes(
    table: UnitsTable, probe_name: str, dataset: str, path: str, clusters: np.ndarray, values: np.ndarray
) -> Comparison:
    """Compare the spikes of units with rows that are sorted by cluster, in the type of the source."""
    nwb = table.verification.nwb
    stops = nwb.read(f"{path}_index").astype(np.int64)
    starts = np.concatenate(([0], stops[:-1]))
    for row, cluster in zip(*table.matched(probe_name), strict=True):
        expected = values[np.searchsorted(clusters, cluster) : np.searchsorted(clusters, cluster, side="right")]
        if not len(expected):
            continue
        found = nwb.read(path, int(starts[row]), int(stops[row]))
        if found.shape != expected.shape:
            reason = f"{probe_name}_{cluster} has {len(found)} spikes instead of {len(expected)}"
            return Comparison(dataset, path, "different", reason, Difference((int(row),), len(expected), len(found)))
        if expected.dtype.kind == "f":
            found = found.astype(expected.dtype)  # IBL's table has amplitudes and depths rounded to float32
        differing = differs(found, expected)
        if differing.any():
            flat = first_difference(found, expected, differing)
            difference = Difference((int(row), *flat.index), flat.expected, flat.found)
            return Comparison(dataset, path, "different", "index: row of the unit, spike of the unit", difference)
    return Comparison(dataset, path, "equal")
