"""One session in a list of search results."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .references import SessionKey


@dataclass(frozen=True)
class SessionSummary:
    """What a search tells of a session.

    Attributes
    ----------
    eid : str or None
        The session's id in Alyx; None for a folder of which no record was kept.
    lab, subject : str
        Names; the lab is empty where it is not known.
    date : str
        ``YYYY-MM-DD``.
    number : int
        Which session of that day.
    task_protocol : str
        Name and version of the task, empty where it is not known.
    projects : tuple of str
        Names, sorted.
    path : pathlib.Path or None
        The session folder, where the search looked at folders.
    """

    eid: str | None
    lab: str
    subject: str
    date: str
    number: int
    task_protocol: str = ""
    projects: tuple[str, ...] = ()
    path: Path | None = field(default=None, compare=False)

    @property
    def key(self) -> SessionKey:
        """Lab, subject, date and number."""
        return SessionKey(self.lab or None, self.subject, self.date, self.number)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values."""
        values = asdict(self) | {"projects": list(self.projects)}
        del values["path"]
        return values
