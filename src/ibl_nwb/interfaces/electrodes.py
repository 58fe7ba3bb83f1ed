"""Probe and electrodes in NWB: what the interfaces of raw recordings and of sorted spikes share.

Whichever interface comes first adds device, electrode groups and one row per recorded site; the others find them there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hdmf.common import DynamicTable, VectorIndex
from pynwb import NWBFile
from pynwb.device import Device, DeviceModel
from pynwb.ecephys import ElectrodeGroup, ElectrodesTable

from ..allen_ccf import UNKNOWN
from ..errors import DocumentError, UsageError
from ..probe_sites import ProbeSites, read_probe_sites
from ..session import ALFSession
from .base import ALFDataset, camel_case, load_metadata_file, substitute
from .localization import add_localization

__all__ = ["SITE_DATASETS", "ProbeSites", "add_probe_electrodes", "probe_metadata", "read_probe_sites"]

_SITE_COLLECTIONS = (
    "alf/{probe_name}",
    "alf/{probe_name}/iblsorter",
    "alf/{probe_name}/pykilosort",
    "alf/{probe_name}/kilosort*",
)

#: Where ``channels`` is taken from: the sorting that is preferred, the one without a folder last.
_CHANNEL_COLLECTIONS = (*_SITE_COLLECTIONS[1:], _SITE_COLLECTIONS[0])

#: What the electrodes of a probe are made from, beside the SpikeGLX metadata: part of the declaration of every
#: interface that adds them.
SITE_DATASETS = (
    ALFDataset(
        "site_coordinates", ("electrodeSites.localCoordinates.npy", "channels.localCoordinates.npy"), _SITE_COLLECTIONS
    ),
    ALFDataset("site_mlapdv", ("electrodeSites.mlapdv.npy", "channels.mlapdv.npy"), _SITE_COLLECTIONS),
    ALFDataset(
        "site_regions",
        ("electrodeSites.brainLocationIds_ccf_2017.npy", "channels.brainLocationIds_ccf_2017.npy"),
        _SITE_COLLECTIONS,
    ),
    ALFDataset("site_labels", ("channels.labels.npy",), _CHANNEL_COLLECTIONS),
    ALFDataset("site_columns", ("channels.rawInd.npy",), _CHANNEL_COLLECTIONS, support=True),
    ALFDataset("raw_site_labels", ("ephysChannels.labels.npy",), ("raw_ephys_data/{probe_name}",)),
)

#: What a cell holds that nothing is known about, by kind of NumPy type. NeuroConv knows no such value for integers, and
#: could not add rows of its own after ours if there were integer columns: hence ours are stored as floats.
_NO_VALUE: dict[str, Any] = {"U": "", "S": "", "O": "", "f": np.nan, "i": -1, "u": 0, "b": False}


def probe_metadata(session: ALFSession, probe_name: str) -> dict[str, Any]:
    """NeuroConv metadata of a probe: device, model, electrode groups and what the columns of the electrodes mean.

    Parameters
    ----------
    session : ALFSession
        The session.
    probe_name : str
        ALF name of the probe, e.g. "probe00".

    Returns
    -------
    dict
        ``Devices``, ``DeviceModels`` (if the kind of probe is known), and ``Ecephys`` with ``ElectrodeGroups`` and
        ``Electrodes``. One group per probe, called like it, or one per shank where several were recorded in one file
        ("probe00_shank0"). The folders of a split four-shank probe ("probe00a", ...) share one device.
    """
    sites = read_probe_sites(session, probe_name)
    texts = load_metadata_file("electrodes")
    device_name = re.sub(r"(?<=\d)[a-d]$", "", probe_name)
    device_key, model_key = f"neuropixels_{device_name}", f"imec_{_model_name(sites)}"
    metadata: dict[str, Any] = {}
    device = substitute(texts["Device"], {"label": camel_case(device_name), "probe_name": device_name})
    if sites.serial_number:
        device["serial_number"] = sites.serial_number
    if sites.probe_family:
        device["device_model_metadata_key"] = model_key
        description = texts["DeviceModels"].get(sites.probe_family, texts["DeviceModels"]["other"])
        model = {"name": _model_name(sites), "manufacturer": "imec", "description": description}
        metadata["DeviceModels"] = {
            model_key: model | ({"model_number": sites.part_number} if sites.part_number else {})
        }
    metadata["Devices"] = {device_key: device}
    groups = {}
    for shank, group_key in _group_keys(sites).items():
        on_shank = sites.shank == shank
        filled_in = {"probe_name": probe_name, "shank": str(shank), "sources": ", ".join(sites.sources)}
        kind = "ElectrodeGroup" if group_key == probe_name else "ElectrodeGroupOfShank"
        group = substitute(texts[kind], filled_in)
        groups[group_key] = group | {"location": _regions(sites, on_shank), "device_metadata_key": device_key}
    columns = [{"name": name, "description": description} for name, description in texts["Electrodes"].items()]
    metadata["Ecephys"] = {"ElectrodeGroups": groups, "Electrodes": columns}
    return metadata


def add_probe_electrodes(
    nwbfile: NWBFile, metadata: Mapping[str, Any] | None, session: ALFSession, probe_name: str
) -> np.ndarray:
    """Add a probe to an NWB file: device, model, electrode groups and one electrode per recorded site.

    Sites with a place in the brain also get rows in the tables of anatomical coordinates, see :mod:`.localization`.

    What is there already stays as it is and is used: rows of the same group and channel, groups and devices of the same
    name, and the rows and columns of other interfaces, whose rows get no value (NaN, "") in the columns of ours.

    Parameters
    ----------
    nwbfile : NWBFile
        The file to add to.
    metadata : dict or None
        Names and descriptions in ``Devices``, ``DeviceModels``, ``Ecephys.ElectrodeGroups`` and ``Ecephys.Electrodes``.
        Default for everything that is absent: :func:`probe_metadata`.
    session : ALFSession
        The session.
    probe_name : str
        ALF name of the probe, e.g. "probe00".

    Returns
    -------
    numpy.ndarray
        ``(n_sites,)`` int64 rows of the electrodes table, in the order of the raw file's columns.

    Raises
    ------
    DatasetMissingError, DatasetInconsistentError, DatasetUnreadableError
        As :func:`read_probe_sites`.
    DocumentError
        If the metadata give two electrode groups one name, or name a device that they do not have.
    UsageError
        If the file is one on disk that has electrodes, but not those of this probe.
    """
    sites = read_probe_sites(session, probe_name)
    texts = _merge_registries(probe_metadata(session, probe_name), metadata or {})
    groups = _add_groups(nwbfile, texts, sites)
    values = _column_values(sites, groups)
    rows = _find_rows(nwbfile.electrodes, values)
    if (rows < 0).any():
        _check_can_be_extended(nwbfile.electrodes, groups)
        descriptions = {column["name"]: column["description"] for column in texts["Ecephys"]["Electrodes"]}
        _add_columns(nwbfile, values, descriptions)
        _add_rows(nwbfile, values, np.flatnonzero(rows < 0))
        rows = _find_rows(nwbfile.electrodes, values)
    _add_localization(nwbfile, sites, rows)
    return rows


def group_names(sites: ProbeSites) -> np.ndarray:
    """Name of the electrode group of every site, ``(n_sites,)`` str, unless the metadata call it otherwise."""
    name_of = _group_keys(sites)
    return np.array([name_of[shank] for shank in sites.shank.tolist()])


def _model_name(sites: ProbeSites) -> str:
    return sites.part_number or f"Neuropixels{sites.probe_family}"


def _group_keys(sites: ProbeSites) -> dict[int, str]:
    """Key of the electrode group of every shank, and its name by default."""
    shanks = np.unique(sites.shank).tolist()
    if len(shanks) == 1:
        return {shanks[0]: sites.probe_name}
    return {shank: f"{sites.probe_name}_shank{shank}" for shank in shanks}


def _regions(sites: ProbeSites, selected: np.ndarray) -> str:
    """Beryl acronyms of the regions that sites are in, from the tip upwards."""
    upwards = np.argsort(sites.rel_y[selected], kind="stable")
    regions = dict.fromkeys(sites.beryl[selected][upwards].tolist())
    return ", ".join(region for region in regions if region not in (UNKNOWN, "void")) or UNKNOWN


def _add_localization(nwbfile: NWBFile, sites: ProbeSites, rows: np.ndarray) -> None:
    """Add the coordinates in the brain, with the object that they are from as the method."""
    source = next((path for path in sites.sources if ".mlapdv." in path), "")
    texts = load_metadata_file("electrodes")["LocalizationMethods"]
    text = texts["electrodeSites" if "electrodeSites." in source else "channels"]
    positions = {name: getattr(sites, name) for name in ("ml", "ap", "dv", "location")}
    add_localization(nwbfile, sites.probe_name, rows, positions, text.format(source=source))


def _merge_registries(defaults: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with what a caller gave on top, entry by entry, and the caller's other devices beside them."""
    given_ecephys = given.get("Ecephys", {})
    described = {column["name"]: column for column in defaults["Ecephys"]["Electrodes"]}
    described |= {column["name"]: column for column in given_ecephys.get("Electrodes", []) if "description" in column}
    return {
        "Devices": _merge_entries(defaults["Devices"], given.get("Devices", {})),
        "DeviceModels": _merge_entries(defaults.get("DeviceModels", {}), given.get("DeviceModels", {})),
        "Ecephys": {
            "ElectrodeGroups": _merge_entries(
                defaults["Ecephys"]["ElectrodeGroups"], given_ecephys.get("ElectrodeGroups", {})
            ),
            "Electrodes": list(described.values()),
        },
    }


def _merge_entries(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: {**defaults.get(key, {}), **given.get(key, {})} for key in {**defaults, **given}}


def _add_groups(nwbfile: NWBFile, metadata: dict[str, Any], sites: ProbeSites) -> list[ElectrodeGroup]:
    """Add the electrode groups that are not there; return that of every site."""
    names = [entry.get("name") for entry in metadata["Ecephys"]["ElectrodeGroups"].values()]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise _ambiguous_group(repeated)
    group_of_shank = {}
    for shank, group_key in _group_keys(sites).items():
        entry = dict(metadata["Ecephys"]["ElectrodeGroups"][group_key])
        device = _add_device(nwbfile, metadata, entry.pop("device_metadata_key"))
        if entry["name"] not in nwbfile.electrode_groups:
            nwbfile.create_electrode_group(**entry, device=device, position=_lowest_site(sites, sites.shank == shank))
        group_of_shank[shank] = nwbfile.electrode_groups[entry["name"]]
        if group_of_shank[shank].device is not device:
            raise _ambiguous_group(entry["name"])
    return [group_of_shank[shank] for shank in sites.shank.tolist()]


def _ambiguous_group(name: str) -> DocumentError:
    return DocumentError(
        f"There are two electrode groups called '{name}', so that their electrodes could not be told apart. Give each "
        "a name of its own in Ecephys.ElectrodeGroups of the metadata."
    )


def _lowest_site(sites: ProbeSites, selected: np.ndarray) -> np.ndarray | None:
    """CCF position (µm, NWB's axes) of the site nearest to the tip, or None without histology."""
    lowest = np.flatnonzero(selected)[np.argmin(sites.rel_y[selected])]
    position = tuple(float(values[lowest]) for values in (sites.x, sites.y, sites.z))
    if not np.isfinite(position).all():
        return None
    # One element rather than a scalar, which hdmf-zarr cannot write.
    return np.array([position], dtype=[(axis, np.float64) for axis in "xyz"])


def _add_device(nwbfile: NWBFile, metadata: dict[str, Any], key: str) -> Device:
    if key not in metadata["Devices"]:
        raise DocumentError(f"The metadata name a device '{key}' that is not in their 'Devices'. Add it there.")
    entry = dict(metadata["Devices"][key])
    if entry["name"] in nwbfile.devices:
        return nwbfile.devices[entry["name"]]
    model_key = entry.pop("device_model_metadata_key", None)
    if model_key is not None:
        entry["model"] = _add_device_model(nwbfile, metadata["DeviceModels"][model_key])
    return nwbfile.create_device(**entry)


def _add_device_model(nwbfile: NWBFile, entry: dict[str, Any]) -> DeviceModel:
    if entry["name"] in nwbfile.device_models:
        return nwbfile.device_models[entry["name"]]
    model = DeviceModel(**entry)
    nwbfile.add_device_model(model)
    return model


def _column_values(sites: ProbeSites, groups: list[ElectrodeGroup]) -> dict[str, Sequence[Any]]:
    """Values of every column, one per site; integers as floats."""
    values: dict[str, Sequence[Any]] = {"group": groups, "group_name": [group.name for group in groups]}
    for name, array in sites.array_columns().items():
        values[name] = (array.astype(np.float64) if array.dtype.kind in "iu" else array).tolist()
    return values


def _find_rows(table: DynamicTable | None, values: dict[str, Sequence[Any]]) -> np.ndarray:
    """Rows of the sites, told by group and channel; -1 where there is none."""
    if table is None or not {"group_name", "channel"} <= set(table.colnames):
        return np.full(len(values["channel"]), -1)
    present = zip(table["group_name"].data[:], table["channel"].data[:], strict=True)
    row_of = {(str(group_name), channel): row for row, (group_name, channel) in enumerate(present)}
    wanted = zip(values["group_name"], values["channel"], strict=True)
    return np.array([row_of.get(key, -1) for key in wanted], dtype=np.int64)


def _check_can_be_extended(table: DynamicTable | None, groups: list[ElectrodeGroup]) -> None:
    """Refuse early what HDMF refuses halfway: new rows of a table on disk that refer to a group not yet on disk."""
    if table is not None and table.container_source and any(not group.container_source for group in groups):
        raise UsageError(
            f"'{table.container_source}' has electrodes, but not those of the group '{groups[0].name}', and they "
            "cannot be added to a file on disk. Convert all probes of the session at once, into a new file."
        )


def _add_columns(nwbfile: NWBFile, values: dict[str, Sequence[Any]], descriptions: dict[str, str]) -> None:
    """Add the columns that the table lacks, without values for the rows it has."""
    if nwbfile.electrodes is None:
        nwbfile.electrodes = ElectrodesTable()
    table = nwbfile.electrodes
    for name in [name for name in values if name not in table.colnames]:
        no_value = _NO_VALUE[np.asarray(values[name][0]).dtype.kind]
        table.add_column(name=name, description=descriptions[name], data=[no_value] * len(table))


def _add_rows(nwbfile: NWBFile, values: dict[str, Sequence[Any]], sites: np.ndarray) -> None:
    table = nwbfile.electrodes
    foreign = {name: _no_value(table, name) for name in table.colnames if name not in values}
    for site in sites:
        nwbfile.add_electrode(**foreign, **{name: of_sites[site] for name, of_sites in values.items()})


def _no_value(table: DynamicTable, name: str) -> Any:
    """What our rows hold in a column of another interface."""
    if isinstance(table[name], VectorIndex):
        return []
    sample = np.asarray(table[name].data[0] if len(table) else np.nan)
    empty = _NO_VALUE[sample.dtype.kind]
    return np.full(sample.shape, empty, dtype=sample.dtype) if sample.ndim else empty
