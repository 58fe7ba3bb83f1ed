"""Sorted spikes: which units there are, and what is known of each, by cluster id."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from .comparing import compare_arrays
from .passing_spikes import check_passing_spikes
from .report import Comparison
from .sorting import ClusterValues, Sorting, find_sortings
from .unit_electrodes import check_unit_electrodes, check_waveforms, waveform_file
from .unit_spikes import check_spikes
from .unit_values import UnitsTable, column_name, columns_by_source, common_type, instance_name, with_rows
from .verification import Verification, left_out


def check_units(verification: Verification) -> Iterator[Comparison]:
    """Compare the units of every probe."""
    names = verification.nwb.read_column("units", "probe_name")
    found = [] if names is None else sorted(set(names.tolist()))
    rows_of = {name: np.flatnonzero(names == name) for name in found}
    sortings: dict[str, Sorting] = {}
    for sorting in _find_sortings(verification, rows_of):
        times = sorting.file("spikes.times.npy")
        assert times is not None  # it is what makes a sorting
        if sorting.probe_name in rows_of:
            sortings[sorting.probe_name] = sorting
        elif verification.was_left_out(instance_name(sorting.probe_name), [times]):
            yield left_out(times, f"units ({sorting.probe_name})")
        else:
            yield Comparison(times.relative_path, "units", "missing", f"no unit is of {sorting.probe_name}")
    for probe_name in found:
        if probe_name not in sortings:
            reason = f"{len(rows_of[probe_name])} units of {probe_name!r}, of which the session has no sorting"
            yield Comparison("", "units/probe_name", "different", reason)
    if sortings:
        yield from _check_table(UnitsTable(verification, sortings, rows_of))


def _find_sortings(verification: Verification, rows_of: dict[str, np.ndarray]) -> Iterator[Sorting]:
    """Sorting of each probe: in the collection of document or file, in the revision of document or request."""
    paths = verification.nwb.read_column("units", "sorting_path")
    collections = {file.collection for file in verification.folder.files}
    for sorting in find_sortings(verification.folder.at(None), {}):
        probe_name, instance = sorting.probe_name, instance_name(sorting.probe_name)
        rows = rows_of.get(probe_name, np.zeros(0, int))
        written = "" if paths is None or not len(rows) else re.sub(r"/#[^/]*#$", "", str(paths[rows[0]]))
        of_this_probe = written in collections and f"{written}/".startswith(f"alf/{probe_name}/")
        chosen = verification.argument(instance, "collection", written if of_this_probe else None)
        candidates = find_sortings(verification.folder_of(instance), {probe_name: chosen} if chosen else {})
        yield from (candidate for candidate in candidates if candidate.probe_name == probe_name)


def _check_table(table: UnitsTable) -> Iterator[Comparison]:
    yield from _check_identity(table)
    yield from check_spikes(table)
    yield from _check_attributes(table)
    yield from check_unit_electrodes(table)
    yield from check_waveforms(table)
    yield from check_passing_spikes(table)
    for sorting in table.sortings.values():
        for file in sorting.pickled:
            yield Comparison(file.relative_path, "units", "not verified", "not converted: it holds pickled objects")


def _check_identity(table: UnitsTable) -> Iterator[Comparison]:
    """Compare what tells a unit from all others."""
    id_type = common_type(*(_id_type(sorting) for sorting in table.sortings.values()))
    for probe_name, sorting in table.sortings.items():
        ids, rows = table.expected_ids(probe_name), table.rows_of[probe_name]
        clusters = sorting.file("spikes.clusters.npy")
        assert clusters is not None  # it is what makes a sorting
        expected = {
            "cluster_id": ids.astype(id_type),
            "unit_name": np.array([f"{probe_name}_{i}" for i in ids.tolist()], dtype=object),
            "sorting_path": np.full(len(ids), sorting.path, dtype=object),
        }
        for column, values in expected.items():
            found = table.verification.nwb.read_column("units", column)
            path = f"units/{column}"
            if found is None:
                yield Comparison(clusters.relative_path, path, "missing", "the table has no such column")
            else:
                yield with_rows(compare_arrays(clusters.relative_path, path, found[rows], values), rows)


def _id_type(sorting: Sorting) -> np.dtype:
    """Type of ``spikes.clusters``, or int64 where that cannot hold every cluster."""
    dtype, ids = sorting.clusters.dtype, sorting.cluster_ids
    return dtype if ids[-1] <= np.iinfo(dtype).max else np.dtype(np.int64)


def _check_attributes(table: UnitsTable) -> Iterator[Comparison]:
    """Compare attributes and metrics of clusters, each in its column."""
    for column, values_by_probe in _values_by_column(table).items():
        found = table.verification.nwb.read_column("units", column)
        dtype = common_type(*(values.values.dtype for values in values_by_probe.values()))
        for probe_name in table.sortings:
            values = values_by_probe.get(probe_name)
            if found is None:
                if values is not None:
                    yield Comparison(values.dataset, f"units/{column}", "missing", "the table has no such column")
            elif values is not None:
                yield table.compare_column(column, found, values, probe_name, dtype)
            else:  # what a sorting does not have should have no value, and is worth a row only if it has one
                nothing = np.zeros((0, *found.shape[1:]), dtype=dtype)
                empty = ClusterValues("", np.zeros(0, dtype=np.int64), nothing)
                row = table.compare_column(column, found, empty, probe_name, dtype)
                if row.status != "equal":
                    yield row


def _values_by_column(table: UnitsTable) -> dict[str, dict[str, ClusterValues]]:
    """Attributes and metrics by column and probe, without those that become electrodes or waveforms."""
    described = columns_by_source(table)
    by_column: dict[str, dict[str, ClusterValues]] = {}
    for probe_name, sorting in table.sortings.items():
        own = {"waveforms"}
        if sorting.raw_channels is not None:
            own |= {"channels"} | ({"waveformsChannels"} if waveform_file(sorting) is not None else set())
        for kind, values_of in (("clusters", sorting.attributes), ("metrics", sorting.metrics)):
            for name, values in values_of.items():
                if kind == "metrics" or name not in own:
                    column = column_name(table, kind, name)
                    column = column if column in table.columns else described.get((kind, name), column)
                    by_column.setdefault(column, {})[probe_name] = values
    return by_column
