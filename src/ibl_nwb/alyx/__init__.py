"""What Alyx says about one session: a record on disk, and its translation to NWB metadata. No network anywhere."""

from .destinations import alyx_field_destinations
from .nwb import NWB_FIELD_RULES, FieldRule, to_nwb_metadata
from .record import SCHEMA_VERSION, AlyxRecord
from .rest import LEFT_OUT, MOVED
from .rows import (
    Channel,
    DatasetRecord,
    Insertion,
    Lab,
    Note,
    Project,
    Session,
    Subject,
    Surgery,
    Trajectory,
    User,
    WaterAdministration,
    Weighing,
    Zygosity,
)

__all__ = [
    "LEFT_OUT",
    "MOVED",
    "NWB_FIELD_RULES",
    "SCHEMA_VERSION",
    "AlyxRecord",
    "Channel",
    "DatasetRecord",
    "FieldRule",
    "Insertion",
    "Lab",
    "Note",
    "Project",
    "Session",
    "Subject",
    "Surgery",
    "Trajectory",
    "User",
    "WaterAdministration",
    "Weighing",
    "Zygosity",
    "alyx_field_destinations",
    "to_nwb_metadata",
]
