"""Spikes of every unit: number, order and values against the files in the order of the recording."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .comparing import FORCED_TYPES, differs, first_difference, type_name
from .nwb_reading import DamagedObjectError
from .report import Comparison, Difference
from .sorting import Sorting
from .source_folder import SourceFile, load_rows
from .unit_values import UnitsTable, common_type

#: Attributes of spikes with the column of each, and the option without which it is not written.
SPIKE_COLUMNS = {
    "times": ("spike_times", ""),
    "amps": ("spike_amplitudes", ""),
    "depths": ("spike_depths", ""),
    "samples": ("spike_samples", "write_spike_samples"),
    "templates": ("spike_templates", "write_spike_templates"),
}

#: Spikes that are compared at a time.
_BLOCK_LENGTH = 2**22


def check_spikes(table: UnitsTable) -> Iterator[Comparison]:
    """Compare every attribute of the spikes of every probe."""
    for attribute, (column, option) in SPIKE_COLUMNS.items():
        files = {p: f for p, s in table.sortings.items() if (f := s.file(f"spikes.{attribute}.npy")) is not None}
        if not files:
            continue
        if column not in table.columns:
            yield from (_absent(table, probe, file, column, option) for probe, file in files.items())
            continue
        dtype = FORCED_TYPES["times"]
        if attribute != "times":
            dtype = common_type(*(load_rows(file).dtype for file in files.values()))
        for probe_name, sorting in table.sortings.items():
            if probe_name in files:
                yield _compare_or_tell(table, probe_name, sorting, files[probe_name], column, dtype)


def _absent(table: UnitsTable, probe_name: str, file: SourceFile, column: str, option: str) -> Comparison:
    path = f"units/{column}"
    if option and not table.option(probe_name, option, False):
        return Comparison(file.relative_path, path, "not verified", f"left out: the option {option} is off")
    return Comparison(file.relative_path, path, "missing", "the table has no such column")


def _compare_or_tell(
    table: UnitsTable, probe_name: str, sorting: Sorting, file: SourceFile, column: str, dtype: np.dtype
) -> Comparison:
    """Compare one attribute of the spikes of a probe, if column and index are there and can be read."""
    path, nwb = f"units/{column}", table.verification.nwb
    for needed in (path, f"{path}_index"):
        if not nwb.is_array(needed):
            return Comparison(file.relative_path, needed, "missing", "it is not in the file")
    try:
        return _compare(table, probe_name, sorting, file, column, dtype)
    except DamagedObjectError as error:
        return Comparison(file.relative_path, error.object_path, "different", str(error))


def _compare(
    table: UnitsTable, probe_name: str, sorting: Sorting, file: SourceFile, column: str, dtype: np.dtype
) -> Comparison:
    """Compare one attribute of the spikes of a probe."""
    nwb, path, dataset = table.verification.nwb, f"units/{column}", file.relative_path
    if type_name(nwb.dtype(path)) != type_name(dtype):
        reason = f"type {type_name(nwb.dtype(path))} instead of {type_name(dtype)}"
        return Comparison(dataset, path, "different", reason)
    rows, ids = table.matched(probe_name)
    stops = nwb.read(f"{path}_index").astype(np.int64)
    starts = np.concatenate(([0], stops[:-1]))
    wrong_count = _find_wrong_count(stops - starts, rows, sorting.counts(ids))
    if wrong_count is not None:
        unit = f"{probe_name}_{ids[list(rows).index(wrong_count.index[0])]}"
        reason = f"{unit} has {wrong_count.found} spikes instead of {wrong_count.expected}"
        return Comparison(dataset, f"{path}_index", "different", reason, wrong_count)
    values, order = load_rows(file), _order_of(sorting, ids)
    difference = _find_difference(table, path, dtype, rows, starts, stops, values, order)
    if difference is None:
        return Comparison(dataset, path, "equal")
    return Comparison(dataset, path, "different", "index: row of the unit, spike of the unit", difference)


def _find_wrong_count(counts: np.ndarray, rows: np.ndarray, expected: np.ndarray) -> Difference | None:
    """The first unit that has another number of spikes."""
    wrong = np.flatnonzero(counts[rows] != expected)
    if not len(wrong):
        return None
    return Difference((int(rows[wrong[0]]),), int(expected[wrong[0]]), int(counts[rows[wrong[0]]]))


def _order_of(sorting: Sorting, cluster_ids: np.ndarray) -> np.ndarray:
    """Spikes of given clusters, cluster by cluster."""
    if np.array_equal(cluster_ids, sorting.cluster_ids):
        return sorting.order
    return sorting.order[np.isin(sorting.clusters[sorting.order], cluster_ids)]


def _find_difference(
    table: UnitsTable,
    path: str,
    dtype: np.dtype,
    rows: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    values: np.ndarray,
    order: np.ndarray,
) -> Difference | None:
    """The first spike that differs, in blocks of units that follow one another in the file."""
    done = 0
    for first, last in _runs(starts[rows], stops[rows]):
        begin, end = int(starts[rows[first]]), int(stops[rows[last - 1]])
        for start in range(begin, end, _BLOCK_LENGTH):
            stop = min(start + _BLOCK_LENGTH, end)
            found = table.verification.nwb.read(path, start, stop)
            expected = np.asarray(values[order[done : done + stop - start]]).astype(dtype)
            done += stop - start
            differing = differs(found, expected)
            if differing.any():
                flat = first_difference(found, expected, differing, (start,))
                row = int(np.searchsorted(stops, flat.index[0], side="right"))
                return Difference((row, flat.index[0] - int(starts[row])), flat.expected, flat.found)
    return None


def _runs(starts: np.ndarray, stops: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) of each run of units whose spikes follow one another."""
    breaks = np.flatnonzero(starts[1:] != stops[:-1]) + 1
    bounds = [0, *breaks.tolist(), len(starts)] if len(starts) else [0]
    yield from zip(bounds[:-1], bounds[1:], strict=True)
