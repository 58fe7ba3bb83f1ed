"""What validators say about files: one scale, one list, and the same told in groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from .advice import ADVICE

#: "error" keeps a file from DANDI; the others are best practice, as the NWB Inspector grades it.
Level = Literal["error", "violation", "suggestion"]


@dataclass(frozen=True)
class Finding:
    """One thing that a validator found.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    level : {"error", "violation", "suggestion"}
        How bad it is.
    check : str
        Name of the check, as the validator calls it.
    validator : str
        "nwbinspector", "pynwb", "dandi", another of those that dandi calls, or "ibl_nwb".
    message : str
        What the validator says.
    location : str
        Where in the file; empty for the file as a whole.
    """

    path: Path
    level: Level
    check: str
    validator: str
    message: str
    location: str = ""

    @property
    def advice(self) -> str:
        """What to do, empty where we do not know."""
        return ADVICE.get(self.check, "")

    def to_dict(self) -> dict[str, str]:
        """The finding as JSON values."""
        fields = {name: getattr(self, name) for name in ("level", "check", "validator", "message", "location")}
        return {"path": str(self.path), **fields, "advice": self.advice}


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one check.

    Attributes
    ----------
    findings : list of Finding
        At least one.
    """

    findings: list[Finding]

    @property
    def first(self) -> Finding:
        """One that stands for all."""
        return self.findings[0]

    @property
    def n_files(self) -> int:
        """Number of files that have it."""
        return len({finding.path for finding in self.findings})


@dataclass
class ValidationReport:
    """What was found in some files.

    Attributes
    ----------
    files : list of pathlib.Path
        The NWB files that were looked at.
    findings : list of Finding
        All that was found.
    notes : list of str
        What was not checked, and why.
    """

    files: list[Path]
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether DANDI would take all of the files."""
        return not self.errors

    @property
    def errors(self) -> list[Finding]:
        """The findings that keep a file from DANDI."""
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def counts(self) -> dict[Level, int]:
        """Number of findings by level."""
        counted = Counter(finding.level for finding in self.findings)
        return {level: counted[level] for level in get_args(Level)}

    def groups(self) -> Iterator[FindingGroup]:
        """Findings by check, the worst first, then the most frequent."""
        groups: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault((finding.level, finding.check), []).append(finding)
        levels = get_args(Level)
        ordered = sorted(groups.values(), key=lambda group: (levels.index(group[0].level), -len(group)))
        return map(FindingGroup, ordered)

    def summary(self) -> str:
        """One line: how many files, and how much of each level."""
        counted = ", ".join(f"{count} {level}{'s' * (count > 1)}" for level, count in self.counts.items() if count)
        bad = len({finding.path for finding in self.errors})
        refused = f"; DANDI would refuse {bad} of them" if bad else ""
        return f"{len(self.files)} NWB file{'s' * (len(self.files) != 1)}: {counted or 'nothing found'}{refused}"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "ok": self.ok,
            "counts": dict(self.counts),
            "files": [str(path) for path in self.files],
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": self.notes,
        }
