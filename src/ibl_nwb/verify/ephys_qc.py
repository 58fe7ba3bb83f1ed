"""Quality of the raw electrophysiology: noise, spectra, channels and saturated stretches of every probe."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from .columns import compare_columns
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, camel_case, load_array, load_table
from .verification import Verification, left_out, metadata_key

_MODULE = "processing/ecephys_qc"
_PROBE_FOLDER = re.compile(r"raw_ephys_data/(probe[^/.]*)")
_FILE = re.compile(r"ephys(?:TimeRms|SpectralDensity|Channels|Saturation)\w*\.\w+\.(?:npy|pqt)")
_SATURATION = ("ephysSaturationAP.samples.pqt", "ephysSaturation.samples.pqt", "ephysSaturation.samples.npy")

#: Columns by name of the file that they are from.
_Columns = dict[str, tuple[str, np.ndarray]]


def check_ephys_qc(verification: Verification) -> Iterator[Comparison]:
    """Compare the tables of every probe."""
    files = [file for file in verification.folder.files if _FILE.fullmatch(file.name)]
    probes = {found[1] for file in files if (found := _PROBE_FOLDER.fullmatch(file.collection))}
    for probe_name in sorted(probes):
        instance = f"EphysQC{camel_case(probe_name)}"
        yield from _check_probe(verification, instance, probe_name)


def _check_probe(verification: Verification, instance: str, probe_name: str) -> Iterator[Comparison]:
    nwb, folder, collection = verification.nwb, verification.folder_of(instance), f"raw_ephys_data/{probe_name}"
    files = [file for file in folder.find("ephys*", collection) if _FILE.fullmatch(file.name)]
    # Electrodes take the labels of channels too, so that a label that was converted does not tell.
    is_listed = verification.listed is None or verification.took_part(instance)
    if not is_listed or verification.was_left_out(instance, files):
        yield from (left_out(file, _MODULE) for file in files)
        return
    for kind, columns in _read_tables(folder, collection):
        default = f"Ephys{kind}{camel_case(probe_name)}"
        table = f"{_MODULE}/{verification.stated(default, 'EphysQC', metadata_key(instance), kind, 'name')}"
        if table not in nwb and kind == "Saturation" and not any(len(values) for _, values in columns.values()):
            for dataset in {dataset.partition(":")[0] for dataset, _ in columns.values()}:
                yield Comparison(dataset, table, "not verified", "it is empty: no stretch was saturated")
        else:
            yield from compare_columns(nwb, table, columns)


def _read_tables(folder: SourceFolder, collection: str) -> Iterator[tuple[str, _Columns]]:
    """What each table is called, without the probe, and its columns."""
    for band in ("AP", "LF"):
        rms, times = (f"ephysTimeRms{band}.{attribute}.npy" for attribute in ("rms", "timestamps"))
        yield from _read_pair(folder, collection, f"TimeRms{band}", {"time_probe": (times,), "rms": (rms,)})
        spectrum = f"ephysSpectralDensity{band}"
        names = {"frequency": (f"{spectrum}.freqs.npy",), "power": (f"{spectrum}.power.npy", f"{spectrum}.amps.npy")}
        yield from _read_pair(folder, collection, f"SpectralDensity{band}", names)
    channels: _Columns = {}
    if file := folder.first("ephysChannels.apRMS.npy", collection):
        raw, destriped = load_array(file)
        channels["ap_rms_raw"] = (f"{file.relative_path}:row 0", raw)
        channels["ap_rms_destriped"] = (f"{file.relative_path}:row 1", destriped)
    for attribute, name in (("rawSpikeRates", "raw_spike_rate"), ("labels", "label")):
        if file := folder.first(f"ephysChannels.{attribute}.npy", collection):
            channels[name] = (file.relative_path, load_array(file).reshape(-1))
    if channels:
        yield "Channels", channels
    if file := folder.first(_SATURATION, collection):
        yield "Saturation", dict(_read_saturation(file))


def _read_pair(
    folder: SourceFolder, collection: str, kind: str, names: dict[str, tuple[str, ...]]
) -> Iterator[tuple[str, _Columns]]:
    """Values and what their rows are, which may be missing."""
    (row_name, row_files), (values_name, values_files) = names.items()
    rows, values = folder.first(row_files, collection), folder.first(values_files, collection)
    if values is None:
        return
    columns = {values_name: (values.relative_path, load_array(values))}
    if rows is not None:
        columns[row_name] = (rows.relative_path, load_array(rows).reshape(-1))
    yield kind, columns


def _read_saturation(file: SourceFile) -> Iterator[tuple[str, tuple[str, np.ndarray]]]:
    if file.name.endswith(".npy"):
        for place, name in enumerate(("start_sample", "stop_sample")):
            yield name, (f"{file.relative_path}:{place}", load_array(file)[:, place])
        return
    table = load_table(file)
    for column in map(str, table.columns):
        yield metadata_key(column), (f"{file.relative_path}:{column}", table[column].to_numpy())
