"""Where the electrodes are in the brain, from Alyx, for probes whose session folder has no histology."""

from __future__ import annotations

from typing import Any

import numpy as np
from pynwb import NWBFile

from .allen_ccf import UNKNOWN, bregma_to_ccf, region_acronyms
from .alyx import AlyxRecord
from .alyx.rows import Channel
from .interfaces.base import load_metadata_file
from .interfaces.localization import add_localization


def alyx_group_locations(record: AlyxRecord, groups: dict[str, Any]) -> dict[str, Any]:
    """Metadata with the regions of electrode groups that the folder knows none of.

    Parameters
    ----------
    record : AlyxRecord
        What Alyx says.
    groups : dict
        The electrode groups of the metadata, by key.

    Returns
    -------
    dict
        Block "Ecephys", empty if there is nothing to add.
    """
    found = {}
    for probe_name, channels in _channels_by_probe(record).items():
        regions = region_acronyms(np.array([_number(c.brain_region) for c in channels]), "Beryl").tolist()
        listed = ", ".join(dict.fromkeys(region for region in regions if region not in (UNKNOWN, "void")))
        for key, group in groups.items():
            if _is_of_probe(key, probe_name) and group.get("location") == UNKNOWN and listed:
                found[key] = {"location": listed}
    return {"Ecephys": {"ElectrodeGroups": found}} if found else {}


def add_alyx_anatomy(nwbfile: NWBFile, record: AlyxRecord, groups: dict[str, Any]) -> list[str]:
    """Fill in position and region of electrodes by the channels in Alyx, in the tables of anatomical coordinates too.

    Only probes are filled in of which no electrode has a position: histology in the session folder is what the data
    were released with. Sites are matched by their position on the probe, which is the same grid.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile
        A file in memory, its electrodes added.
    record : AlyxRecord
        What Alyx says.
    groups : dict
        The electrode groups of the metadata, by key, which begins with the probe's name.

    Returns
    -------
    list of str
        A sentence for each probe that was filled in.
    """
    table = nwbfile.electrodes
    if table is None or "ml" not in table.colnames or not isinstance(table["ml"].data, list):
        return []
    notes = []
    for probe_name, channels in _channels_by_probe(record).items():
        names = {group["name"] for key, group in groups.items() if _is_of_probe(key, probe_name)}
        rows = [row for row, name in enumerate(table["group_name"].data) if name in names]
        if not rows or not all(np.isnan(table["ml"].data[row]) for row in rows):
            continue
        channel_at = {(c.lateral, c.axial): c for c in channels}
        filled = []
        for row in rows:
            channel = channel_at.get((table["rel_x"].data[row], table["rel_y"].data[row]))
            if channel is not None:
                _fill_in(table, row, channel)
                filled.append(row)
        provenance = _provenance(record, channels)
        positions = {name: [table[name].data[row] for row in filled] for name in ("ml", "ap", "dv", "location")}
        method = load_metadata_file("electrodes")["LocalizationMethods"]["Alyx"]
        method = method.format(provenance=provenance, trajectory=channels[0].trajectory_estimate)
        add_localization(nwbfile, probe_name, filled, positions, method)
        notes.append(f"{len(filled)} of {len(rows)} electrodes of {probe_name} placed by Alyx ({provenance}).")
    return notes


def _fill_in(table: Any, row: int, channel: Channel) -> None:
    ml, ap, dv = (np.array([_number(value)]) for value in (channel.x, channel.y, channel.z))
    x, y, z = bregma_to_ccf(ml, ap, dv)
    allen_id = np.array([_number(channel.brain_region)])
    values = {"ml": ml, "ap": ap, "dv": dv, "x": x, "y": y, "z": z, "allen_id": allen_id}
    values |= {"location": region_acronyms(allen_id, "Allen")}
    values |= {name: region_acronyms(allen_id, name.capitalize()) for name in ("beryl", "cosmos")}
    for name, value in values.items():
        table[name].data[row] = value[0].item()


def _channels_by_probe(record: AlyxRecord) -> dict[str, list[Channel]]:
    probe_of = {insertion.id: insertion.name for insertion in record.insertions}
    trajectory_probe = {t.id: t.probe_name or probe_of.get(t.probe_insertion or "") for t in record.trajectories}
    channels: dict[str, list[Channel]] = {}
    for channel in record.channels:
        name = trajectory_probe.get(channel.trajectory_estimate or "")
        if name:
            channels.setdefault(name, []).append(channel)
    return channels


def _provenance(record: AlyxRecord, channels: list[Channel]) -> str:
    trajectory = channels[0].trajectory_estimate
    return next((t.provenance or "" for t in record.trajectories if t.id == trajectory), "")


def _is_of_probe(group_key: str, probe_name: str) -> bool:
    return group_key == probe_name or group_key.startswith(f"{probe_name}_shank")


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
