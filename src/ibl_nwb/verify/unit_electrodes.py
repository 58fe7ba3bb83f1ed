"""Channels of units: the electrode of each, its waveform, and the electrodes of that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .comparing import compare_arrays
from .report import Comparison
from .sorting import ClusterValues, Sorting
from .source_folder import SourceFile, load_array
from .unit_values import UnitsTable, common_type, with_rows

_ELECTRODES = "general/extracellular_ephys/electrodes"


def waveform_file(sorting: Sorting) -> SourceFile | None:
    """The waveforms of the clusters; those of templates only where nobody has merged or split clusters."""
    of_clusters = sorting.file("clusters.waveforms.npy")
    return of_clusters or (None if sorting.is_curated else sorting.file("templates.waveforms.npy"))


def check_unit_electrodes(table: UnitsTable) -> Iterator[Comparison]:
    """Compare the electrode of the largest channel of every unit."""
    for probe_name, sorting in table.sortings.items():
        channels, raw_channels = sorting.attributes.get("channels"), sorting.raw_channels
        if channels is None or raw_channels is None:
            continue
        yield _compare_region(table, probe_name, "electrodes", channels.dataset, channels.values[:, None], raw_channels)


def check_waveforms(table: UnitsTable) -> Iterator[Comparison]:
    """Compare the waveform of every unit, and the electrodes that it was taken from."""
    files = {probe: file for probe, s in table.sortings.items() if (file := waveform_file(s)) is not None}
    dtype = common_type(*(load_array(f, memory_map=True).dtype for f in files.values())) if files else np.dtype(float)
    found = table.verification.nwb.read_column("units", "waveform_mean")
    for probe_name, sorting in table.sortings.items():
        file = files.get(probe_name)
        if file is None:
            unused = sorting.file("templates.waveforms.npy")
            if unused is not None:
                reason = "not converted: clusters were curated, or may have been, and templates are not theirs"
                yield Comparison(unused.relative_path, "units/waveform_mean", "not verified", reason)
        elif found is None:
            yield _absent(table, probe_name, file)
        else:
            waveforms = load_array(file)
            values = ClusterValues(file.relative_path, np.arange(len(waveforms)), waveforms)
            yield table.compare_column("waveform_mean", found, values, probe_name, dtype)
            yield from _check_waveform_channels(table, probe_name, sorting, file)


def _check_waveform_channels(
    table: UnitsTable, probe_name: str, sorting: Sorting, waveforms: SourceFile
) -> Iterator[Comparison]:
    kept = sorting.file(waveforms.name.replace("waveforms.npy", "waveformsChannels.npy"))
    if kept is not None and sorting.raw_channels is not None:
        channels = load_array(kept)
        yield _compare_region(
            table, probe_name, "waveform_channels", kept.relative_path, channels, sorting.raw_channels
        )


def _absent(table: UnitsTable, probe_name: str, file: SourceFile) -> Comparison:
    path = "units/waveform_mean"
    if not table.option(probe_name, "write_waveforms", True):
        return Comparison(file.relative_path, path, "not verified", "left out by the option write_waveforms")
    return Comparison(file.relative_path, path, "missing", "the table has no such column")


def _compare_region(
    table: UnitsTable,
    probe_name: str,
    column: str,
    dataset: str,
    channels: np.ndarray,
    raw_channels: np.ndarray,
) -> Comparison:
    """Compare electrodes that units refer to, by probe and column of the raw file.

    Parameters
    ----------
    table, probe_name, column, dataset
        What is compared.
    channels : numpy.ndarray
        ``(n_clusters, k)`` rows of ALF ``channels``.
    raw_channels : numpy.ndarray
        Column of the raw file of each of those rows.
    """
    nwb, path = table.verification.nwb, f"units/{column}"
    groups, columns = nwb.read_column(_ELECTRODES, "group_name"), nwb.read_column(_ELECTRODES, "channel")
    if not nwb.is_array(path) or not nwb.is_array(f"{path}_index"):
        return Comparison(dataset, path, "missing", "the table has no such column, or not its index")
    if groups is None or columns is None:
        return Comparison(dataset, path, "different", "the electrodes that it refers to are incomplete")
    rows, ids = table.matched(probe_name)
    stops = nwb.read(f"{path}_index").astype(np.int64)
    starts, regions = np.concatenate(([0], stops[:-1])), nwb.read(path)
    has_channels = ids < len(channels)
    expected_counts = np.where(has_channels, channels.shape[1], 0)
    counted = compare_arrays(dataset, f"{path}_index", (stops - starts)[rows], expected_counts)
    if counted.status != "equal":
        return with_rows(counted, rows)
    chosen = rows[has_channels]
    referred = np.array([regions[starts[row] : stops[row]] for row in chosen], dtype=np.int64)
    referred = referred.reshape(len(chosen), channels.shape[1])
    if referred.size and not 0 <= referred.min() <= referred.max() < len(groups):
        return Comparison(
            dataset, path, "different", f"it refers to rows that the {len(groups)} electrodes do not have"
        )
    probes = {str(name): str(name).split("_shank")[0] for name in np.unique(groups.astype(str))}
    found = np.array([f"{probes[str(groups[e])]}:{int(columns[e])}" for e in referred.ravel()], dtype=object)
    wanted = raw_channels[channels[ids[has_channels]]]
    expected = np.array([f"{probe_name}:{int(channel)}" for channel in wanted.ravel()], dtype=object)
    shape = referred.shape
    return with_rows(compare_arrays(dataset, path, found.reshape(shape), expected.reshape(shape)), chosen)
