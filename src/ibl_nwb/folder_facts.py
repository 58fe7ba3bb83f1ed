"""What a session folder says about the session as a whole: its path and the settings of the task."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import UsageError
from .session import ALFSession


def read_folder_facts(session: ALFSession, *, timezone: str | None = None) -> dict[str, Any]:
    """NWB metadata that follow from the folder alone.

    Parameters
    ----------
    session : ALFSession
        The session.
    timezone : str, optional
        IANA name of the zone of the rig's clock. Without it the start time, which the rig wrote without a zone, is left
        out.

    Returns
    -------
    dict
        Blocks "NWBFile" and "Subject" with what is known, nothing else.
    """
    settings = session.task_settings() or {}
    protocol = settings.get("PYBPOD_PROTOCOL") or settings.get("_PROTOCOL")
    task = re.sub(r"^_?iblrig_tasks_", "", protocol) if protocol else None
    session_id = session.name.replace("/", "_")
    facts: dict[str, Any] = {
        "identifier": session_id,
        "session_id": session_id,
        "session_description": f"{task} session {session.name}." if task else f"IBL session {session.name}.",
        "protocol": protocol,
        "lab": session.lab,
        "session_start_time": in_zone(session.task_start_time(), timezone),
    }
    subject = {"subject_id": session.subject, "weight": _weight_kg(settings.get("SUBJECT_WEIGHT"))}
    blocks = {"NWBFile": facts, "Subject": subject if session.subject else {}}
    known = {name: {k: v for k, v in block.items() if v is not None} for name, block in blocks.items()}
    return {name: block for name, block in known.items() if block}


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time, with or without an offset.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"'{text}' is not a time. Write it as 2023-05-18T14:30:00 or 2023-05-18T14:30:00+01:00."
        ) from error


def in_zone(local_time: datetime | None, timezone: str | None) -> str | None:
    """A naive local time with the offset of a zone, as ISO 8601 text.

    Parameters
    ----------
    local_time : datetime.datetime or None
        Wall clock time; one that has an offset already keeps it.
    timezone : str or None
        IANA name of the zone.

    Returns
    -------
    str or None
        None where the time, or the zone of a naive time, is not known.

    Raises
    ------
    UsageError
        If there is no zone of that name.
    """
    if local_time is None:
        return None
    if local_time.tzinfo is not None:
        return local_time.isoformat()
    if timezone is None:
        return None
    try:
        return local_time.replace(tzinfo=ZoneInfo(timezone)).isoformat()
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise UsageError(
            f"There is no time zone '{timezone}'. Give an IANA name such as Europe/Lisbon or America/New_York."
        ) from error


def _weight_kg(weight_g: Any) -> str | None:
    """The rig's weight in g as NWB's text in kg; a rig that was not told the weight wrote 0 or nothing."""
    return f"{round(float(weight_g) / 1000, 6)} kg" if isinstance(weight_g, (int, float)) and weight_g > 0 else None
