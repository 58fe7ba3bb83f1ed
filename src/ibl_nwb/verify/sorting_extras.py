"""What a sorting has beside its spikes: templates, waveforms in the raw voltage, and drift."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DatasetUnreadableError
from .comparing import compare, compare_arrays, differs, first_difference, type_name
from .report import Comparison
from .sorting import Sorting, find_sortings
from .source_folder import SourceFile, camel_case, load_array, load_rows, load_table
from .verification import Verification, left_out

if TYPE_CHECKING:
    import pandas

_MODULE = "processing/ecephys"
_ELECTRODES = "general/extracellular_ephys/electrodes"

#: Snippets that are compared at a time.
_BLOCK_LENGTH = 1024

#: Columns of ``waveforms.table`` that the file calls otherwise.
_TRACE_COLUMNS = {"cluster": "cluster_id", "index": "snippet_index"}

#: Compares the table of one sorting, given the file that it is from and its path in the NWB file.
_CheckTable = Callable[[Verification, Sorting, SourceFile, str], Iterator[Comparison]]


def check_sorting_templates(verification: Verification) -> Iterator[Comparison]:
    """Compare the templates of every sorting, and the electrodes that they are on."""
    yield from _check_family(verification, "SortingTemplates", "templates.waveforms.npy", _check_templates)


def check_spike_waveforms(verification: Verification) -> Iterator[Comparison]:
    """Compare the median waveforms of every sorting: whose they are, their values and their electrodes."""
    yield from _check_family(verification, "SpikeWaveforms", "waveforms.templates.npy", _check_medians)


def check_spike_waveform_traces(verification: Verification) -> Iterator[Comparison]:
    """Compare every snippet of every sorting, what is known of it, and its electrodes."""
    yield from _check_family(verification, "SpikeWaveformTraces", "waveforms.traces.npy", _check_traces)


def check_drift(verification: Verification) -> Iterator[Comparison]:
    """Compare the drift of every sorting, on the clock of the probe, and the depths of its blocks."""
    yield from _check_family(verification, "Drift", "drift.um.npy", _check_drift, "Batches")


def _check_family(
    verification: Verification, family: str, file_name: str, check_table: _CheckTable, *place: str
) -> Iterator[Comparison]:
    for sorting in _sortings(verification, family):
        file = sorting.file(file_name)
        if file is None:
            continue
        path = _table_path(verification, family, sorting.probe_name, *place)
        if path in verification.nwb:
            yield from check_table(verification, sorting, file, path)
        elif verification.took_part(family + camel_case(sorting.probe_name)):
            yield Comparison(file.relative_path, path, "missing", "it is not in the file")
        elif family == "SpikeWaveformTraces":
            reason = "left out: the snippets of spikes are converted only when they are asked for"
            yield Comparison(file.relative_path, path, "not verified", reason)
        else:
            yield left_out(file, path)


def _sortings(verification: Verification, family: str) -> Iterator[Sorting]:
    """The sorting of each probe: in the collection of the document or of the file's own sources, else the preferred."""
    for preferred in find_sortings(verification.folder.at(None), {}):
        instance = family + camel_case(preferred.probe_name)
        collection = verification.argument(instance, "collection", _listed_collection(verification, instance))
        chosen = {preferred.probe_name: collection} if collection else {}
        candidates = find_sortings(verification.folder_of(instance), chosen)
        yield from (candidate for candidate in candidates if candidate.probe_name == preferred.probe_name)


def _listed_collection(verification: Verification, instance: str) -> str | None:
    """Collection, without revision, of the spikes that the file names as a source of an interface."""
    for row in verification.listed or ():
        folder, _, name = row.relative_path.rpartition("/")
        if instance in row.interfaces and "spikes.clusters." in name:
            return re.sub(r"/#[^/]*#$", "", folder)
    return None


def _table_path(verification: Verification, family: str, probe_name: str, *place: str) -> str:
    instance = family + camel_case(probe_name)
    default = {"Batches": "Drift", "Blocks": "DriftDepths"}.get(place[0], "") if place else family
    key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", instance).lower()
    name = verification.stated(default + camel_case(probe_name), family, key, *place, "name")
    return f"{_MODULE}/{name}"


def _check_templates(verification: Verification, sorting: Sorting, file: SourceFile, path: str) -> Iterator[Comparison]:
    nwb = verification.nwb
    yield compare(nwb, file.relative_path, f"{path}/waveform", load_array(file))
    amplitudes = sorting.file("templates.amps.npy")
    if amplitudes is not None:
        yield compare(nwb, amplitudes.relative_path, f"{path}/amplitude", load_rows(amplitudes))
    kept = sorting.file("templates.waveformsChannels.npy")
    if kept is not None:
        channels = load_array(kept)
        yield compare(nwb, kept.relative_path, f"{path}/channels", channels)
        yield from _check_electrodes(verification, sorting, kept.relative_path, path, channels)


def _check_medians(verification: Verification, sorting: Sorting, file: SourceFile, path: str) -> Iterator[Comparison]:
    nwb = verification.nwb
    table_file, table, channels_file, channels = _read_snippet_sources(sorting, file)
    clusters = table["cluster"].to_numpy()
    ids = np.array(sorted(set(clusters.tolist())), dtype=clusters.dtype)
    of_units = np.full((len(ids), channels.shape[1]), -1, dtype=channels.dtype)
    for row, cluster in enumerate(ids.tolist()):
        listed = channels[clusters == cluster]
        listed = listed[(listed >= 0).any(axis=1)]
        if len(listed):
            of_units[row] = listed[0]
    names = np.array([f"{sorting.probe_name}_{i}" for i in ids.tolist()], dtype=object)
    yield compare(nwb, table_file.relative_path, f"{path}/cluster_id", ids)
    yield compare(nwb, table_file.relative_path, f"{path}/unit_name", names)
    yield compare(nwb, file.relative_path, f"{path}/waveform_median", load_array(file))
    yield compare(nwb, channels_file.relative_path, f"{path}/channels", of_units)
    yield from _check_electrodes(verification, sorting, channels_file.relative_path, path, of_units)


def _check_traces(verification: Verification, sorting: Sorting, file: SourceFile, path: str) -> Iterator[Comparison]:
    nwb = verification.nwb
    table_file, table, channels_file, channels = _read_snippet_sources(sorting, file)
    for name in table.columns:
        column = _TRACE_COLUMNS.get(name, name)
        yield compare(nwb, table_file.relative_path, f"{path}/{column}", table[name].to_numpy())
    yield compare(nwb, channels_file.relative_path, f"{path}/channels", channels)
    yield from _check_electrodes(verification, sorting, channels_file.relative_path, path, channels)
    traces = load_array(file, memory_map=True)
    snippets = traces.reshape(-1, *traces.shape[-2:])
    yield _compare_in_blocks(verification, file, f"{path}/waveform", snippets)


def _check_drift(verification: Verification, sorting: Sorting, file: SourceFile, path: str) -> Iterator[Comparison]:
    nwb = verification.nwb
    yield compare(nwb, file.relative_path, f"{path}/drift", load_array(file))
    times = sorting.file("drift.times.npy")
    if times is not None:
        yield compare(nwb, times.relative_path, f"{path}/time_probe", load_array(times).ravel())
    depths = sorting.file("drift_depths.um.npy")
    if depths is not None:
        blocks = _table_path(verification, "Drift", sorting.probe_name, "Blocks")
        yield compare(nwb, depths.relative_path, f"{blocks}/depth", load_array(depths).ravel())


def _read_snippet_sources(
    sorting: Sorting, file: SourceFile
) -> tuple[SourceFile, pandas.DataFrame, SourceFile, np.ndarray]:
    """What is known of each snippet, and its channels."""
    table, channels = sorting.file("waveforms.table.pqt"), sorting.file("waveforms.channels.npz")
    if table is None or channels is None:
        raise DatasetUnreadableError(
            f"'{file.path}' cannot be compared without waveforms.table.pqt and waveforms.channels.npz. Get them."
        )
    try:
        with np.load(channels.path) as archive:
            listed = archive["channels"]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetUnreadableError(f"The source '{channels.path}' cannot be read: {error}. Get it again.") from error
    return table, load_table(table), channels, listed


def _check_electrodes(
    verification: Verification, sorting: Sorting, dataset: str, path: str, channels: np.ndarray
) -> Iterator[Comparison]:
    """Compare the electrodes of each row, by probe and column of the raw file, with its channels."""
    nwb, raw_channels, path = verification.nwb, sorting.raw_channels, f"{path}/electrodes"
    if raw_channels is None:
        return
    groups, columns = nwb.read_column(_ELECTRODES, "group_name"), nwb.read_column(_ELECTRODES, "channel")
    if not nwb.is_array(path) or not nwb.is_array(f"{path}_index") or groups is None or columns is None:
        yield Comparison(dataset, path, "missing", "the table has no such column, or the file not its electrodes")
        return
    is_channel = (channels >= 0) & (channels < len(raw_channels))
    stops = nwb.read(f"{path}_index").astype(np.int64)
    yield compare_arrays(dataset, f"{path}_index", stops, np.cumsum(is_channel.sum(axis=1)))
    rows = nwb.read(path).astype(np.int64)
    if rows.size and not 0 <= rows.min() <= rows.max() < len(groups):
        yield Comparison(dataset, path, "different", f"it refers to rows that the {len(groups)} electrodes do not have")
        return
    is_own = np.array([str(name).split("_shank")[0] == sorting.probe_name for name in groups.tolist()], dtype=bool)
    found = np.where(is_own[rows], columns[rows].astype(np.int64), -1)  # -1: of another probe
    yield compare_arrays(dataset, path, found, raw_channels[channels[is_channel]].astype(np.int64))


def _compare_in_blocks(verification: Verification, file: SourceFile, path: str, expected: np.ndarray) -> Comparison:
    nwb, dataset = verification.nwb, file.relative_path
    if not nwb.is_array(path):
        return Comparison(dataset, path, "missing", "it is not in the file")
    if type_name(nwb.dtype(path)) != type_name(expected.dtype) or nwb.shape(path) != expected.shape:
        found = f"{nwb.dtype(path).name} {nwb.shape(path)}"
        return Comparison(dataset, path, "different", f"{found} instead of {expected.dtype.name} {expected.shape}")
    n_differing, first = 0, None
    for start in range(0, len(expected), _BLOCK_LENGTH):
        block = np.array(expected[start : start + _BLOCK_LENGTH])
        found_block = nwb.read(path, start, start + len(block))
        differing = differs(found_block, block)
        if differing.any():
            first = first or first_difference(found_block, block, differing, offset=(start,))
            n_differing += int(differing.sum())
    if not n_differing:
        return Comparison(dataset, path, "equal")
    return Comparison(dataset, path, "different", f"{n_differing} of {expected.size} values differ", first)
