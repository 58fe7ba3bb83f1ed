"""What a verification found: one row for every dataset that was compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Status = Literal["equal", "different", "missing", "not verified"]

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Difference:
    """The first value that is not what it should be.

    Attributes
    ----------
    index : tuple of int
        Where it is in the object of the NWB file.
    expected, found : bool, int, float, str or None
        What the source says and what the file says.
    """

    index: tuple[int, ...]
    expected: Any
    found: Any

    def to_dict(self) -> dict[str, Any]:
        """The difference as JSON values; numbers that JSON does not know are texts ("nan")."""
        return {"index": list(self.index), "expected": _json_value(self.expected), "found": _json_value(self.found)}


@dataclass(frozen=True)
class Comparison:
    """What became of one dataset.

    Attributes
    ----------
    dataset : str
        The source: a path below the session folder, with ``:column`` for a column of a table.
    object : str
        Path in the NWB file.
    status : {"equal", "different", "missing", "not verified"}
        "missing": it should be in the file and is not.
    reason : str
        How it differs, why it was not verified, or what the comparison was restricted to.
    first_difference : Difference or None
        Only where values differ.
    """

    dataset: str
    object: str
    status: Status
    reason: str = ""
    first_difference: Difference | None = None

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        difference = self.first_difference
        return {
            "dataset": self.dataset,
            "object": self.object,
            "status": self.status,
            "reason": self.reason,
            "first_difference": None if difference is None else difference.to_dict(),
        }


class VerificationReport:
    """Every comparison of a written file with its source.

    Attributes
    ----------
    nwbfile_path, session_path : pathlib.Path
        What was compared.
    rows : tuple of Comparison
        In the order in which they were made.
    """

    def __init__(self, nwbfile_path: Path, session_path: Path, rows: Iterable[Comparison]):
        self.nwbfile_path, self.session_path = nwbfile_path, session_path
        self.rows = tuple(rows)

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"VerificationReport({str(self.nwbfile_path)!r}: {self.summary()})"

    @property
    def ok(self) -> bool:
        """Whether something was compared and nothing is different or missing."""
        counts = self.counts
        return counts["equal"] > 0 and not counts["different"] and not counts["missing"]

    @property
    def counts(self) -> dict[Status, int]:
        """Number of rows by status."""
        return {status: sum(row.status == status for row in self.rows) for status in STATUSES}

    @property
    def differences(self) -> tuple[Comparison, ...]:
        """The rows that say that something is different or missing."""
        return tuple(row for row in self.rows if row.status in ("different", "missing"))

    def summary(self) -> str:
        """One line: how many rows of each status."""
        return ", ".join(f"{count} {status}" for status, count in self.counts.items())

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "nwbfile_path": str(self.nwbfile_path),
            "session_path": str(self.session_path),
            "ok": self.ok,
            "counts": dict(self.counts),
            "rows": [row.to_dict() for row in self.rows],
        }


def _json_value(value: Any) -> Any:
    """A value that any JSON reader takes."""
    return str(value) if isinstance(value, float) and not abs(value) < float("inf") else value
