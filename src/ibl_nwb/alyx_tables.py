"""Tables that an Alyx record becomes in an NWB file: the record itself, the probe insertions and their trajectories."""

from __future__ import annotations

import numpy as np
from hdmf.common import DynamicTable, VectorData
from pynwb import NWBFile

from .alyx import AlyxRecord
from .json_values import json_values

#: Columns of the table of trajectories that hold numbers: field of Alyx, column, description.
_TRAJECTORY_NUMBERS = (
    ("x", "entry_ml", "Medio-lateral position of the entry into the brain, in um from bregma, right positive."),
    ("y", "entry_ap", "Antero-posterior position of the entry into the brain, in um from bregma, front positive."),
    ("z", "entry_dv", "Dorso-ventral position of the entry into the brain, in um from bregma, up positive."),
    ("depth", "depth", "Depth of the tip along the probe, in um from the entry."),
    ("theta", "theta", "Polar angle of the probe, in degrees; 0 is vertical."),
    ("phi", "phi", "Azimuth of the probe, in degrees."),
    ("roll", "roll", "Roll of the probe around its axis, in degrees."),
)

#: Columns of the table of insertions: field of Alyx, column, description.
_INSERTION_TEXTS = (
    ("name", "probe_name", "ALF name of the probe."),
    ("id", "pid", "Alyx id of the insertion."),
    ("model", "probe_model", "Model of the probe as Alyx calls it, e.g. 3B2; empty where Alyx does not tell."),
    ("serial", "serial_number", "Serial number of the probe; empty where Alyx does not tell."),
)


def add_alyx_tables(nwbfile: NWBFile, record: AlyxRecord) -> None:
    """Add what Alyx says to ``/analysis`` of a file.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile
        The file to add to.
    record : AlyxRecord
        What Alyx says. ``AlyxRecord`` keeps all of it, one row for each value; ``ProbeInsertions`` and
        ``ProbeTrajectories`` repeat what most readers look for, and are there only if there are insertions and
        trajectories. A file that has the record already, from an earlier conversion that it was appended to, keeps it.
    """
    if "AlyxRecord" in nwbfile.analysis:
        return
    nwbfile.add_analysis(_make_record_table(record))
    if record.insertions:
        nwbfile.add_analysis(_make_insertion_table(record))
    if record.trajectories:
        nwbfile.add_analysis(_make_trajectory_table(record))


def _make_record_table(record: AlyxRecord) -> DynamicTable:
    values = dict(json_values(record.model_dump(mode="json")))
    pointer = "Where the value is in the record, as a JSON Pointer (RFC 6901), e.g. /subject/nickname."
    return DynamicTable(
        name="AlyxRecord",
        description=(
            "What the Alyx database said about this session, one row for each value. Values that change from day to "
            "day, such as the subject's age today, are left out."
        ),
        columns=[
            VectorData(name="field", description=pointer, data=list(values)),
            VectorData(name="value", description="The value, as JSON.", data=list(values.values())),
        ],
    )


def _make_insertion_table(record: AlyxRecord) -> DynamicTable:
    return DynamicTable(
        name="ProbeInsertions",
        description="Probe insertions of the session in the Alyx database.",
        columns=[
            VectorData(name=column, description=text, data=[getattr(row, field) or "" for row in record.insertions])
            for field, column, text in _INSERTION_TEXTS
        ],
    )


def _make_trajectory_table(record: AlyxRecord) -> DynamicTable:
    name_of: dict[str | None, str | None] = {insertion.id: insertion.name for insertion in record.insertions}
    rows = record.trajectories
    texts = {
        "probe_name": (
            "ALF name of the probe.",
            [row.probe_name or name_of.get(row.probe_insertion) or "" for row in rows],
        ),
        "provenance": (
            "How the trajectory is known, from worst to best: Planned, Micro-manipulator, Histology track, Ephys "
            "aligned histology track.",
            [row.provenance or "" for row in rows],
        ),
        "coordinate_system": (
            "Coordinate system that Alyx names; empty where it does not.",
            [row.coordinate_system or "" for row in rows],
        ),
    }
    columns = [VectorData(name=name, description=text, data=data) for name, (text, data) in texts.items()]
    for field, column, text in _TRAJECTORY_NUMBERS:
        numbers = np.array([getattr(row, field) for row in rows], dtype=np.float64)  # None becomes NaN
        columns.append(VectorData(name=column, description=f"{text} NaN where Alyx does not tell.", data=numbers))
    return DynamicTable(
        name="ProbeTrajectories",
        description="Estimates of where each probe went, one row for each, from the Alyx database.",
        columns=columns,
    )
