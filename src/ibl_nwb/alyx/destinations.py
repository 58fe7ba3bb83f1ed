"""Where every field of Alyx's REST answers ends up: for the documentation, and to prove that none is forgotten."""

from __future__ import annotations

from pydantic import BaseModel

from . import rows
from .nwb import NWB_FIELD_RULES
from .rest import LEFT_OUT, MOVED

_KINDS: dict[str, type[BaseModel]] = {
    "session": rows.Session,
    "subject": rows.Subject,
    "lab": rows.Lab,
    "user": rows.User,
    "project": rows.Project,
    "insertion": rows.Insertion,
    "trajectory": rows.Trajectory,
    "channel": rows.Channel,
    "dataset": rows.DatasetRecord,
    "weighing": rows.Weighing,
    "water_administration": rows.WaterAdministration,
    "surgery": rows.Surgery,
    "note": rows.Note,
}


#: Fields that go to tables of the file, beside the fields of NWBFile and Subject.
_TABLES: dict[str, tuple[str, ...]] = {
    **{f"insertion.{field}": ("analysis/ProbeInsertions",) for field in ("id", "name", "model")},
    "insertion.serial": ("Device.serial_number", "analysis/ProbeInsertions"),
    **{
        f"trajectory.{field}": ("analysis/ProbeTrajectories",)
        for field in ("probe_name", "provenance", "coordinate_system", "x", "y", "z", "depth", "theta", "phi", "roll")
    },
    **{
        f"channel.{field}": ("electrodes, where the session folder has no histology",)
        for field in ("x", "y", "z", "brain_region")
    },
}


def alyx_field_destinations() -> dict[str, str]:
    """Tell the destination of each REST field.

    Returns
    -------
    dict of str to str
        By kind of row and field (``"session.lab"``): the NWB fields it takes part in (``"NWBFile.lab"``),
        ``"kept in the record JSON"``, ``"moved to ... in the record JSON"``, or ``"left out: ..."`` with the reason.
        What goes into an NWB field is in the record JSON as well, and so is every field that Alyx sends and this table
        does not list.
    """
    destinations = {}
    for kind, model in _KINDS.items():
        for name, field in model.model_fields.items():
            key = f"{kind}.{field.alias or name}"
            nwb_fields = [rule.nwb_field for rule in NWB_FIELD_RULES if key in rule.alyx_fields]
            destinations[key] = ", ".join([*nwb_fields, *_TABLES.get(key, ())]) or "kept in the record JSON"
        for name, reason in LEFT_OUT.get(kind, {}).items():
            destinations[f"{kind}.{name}"] = f"left out: {reason}"
    for key, place in MOVED.items():
        destinations[key] = f"moved to {place} in the record JSON"
    return destinations
