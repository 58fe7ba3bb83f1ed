"""Which parts of an unfinished file are complete, and of which inputs it is, so that a killed conversion can go on."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .containers import StoredChunk

_FORMAT = 1


class Journal:
    """One line of JSON for what the file is made of, then one for each unit that is complete in it.

    A line that was cut off by the end of a process is as good as none.

    Parameters
    ----------
    path : pathlib.Path
        The journal; it lies beside the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._units: dict[tuple[str, int], list[StoredChunk]] = {}
        self._made_of: dict[str, str] = {}
        #: Paths of the large datasets in the file.
        self.locations: list[str] = []
        self._is_trusted = False
        self._file: Any = None
        if path.exists():
            self._read()

    @property
    def is_usable(self) -> bool:
        """Whether the file it describes was complete but for its large datasets, and has not been closed halfway."""
        return bool(self._made_of) and self._is_trusted

    def check(self, made_of: dict[str, Any]) -> None:
        """Check that the unfinished file is of the inputs, versions and options given.

        Raises
        ------
        UsageError
            If it is not, or another process is at it; the message says which input differs.
        """
        digests = _digests(made_of)
        different = [key for key in sorted({*digests, *self._made_of}) if digests.get(key) != self._made_of.get(key)]
        if different:
            raise UsageError(
                f"The unfinished file beside '{self.path.name}' in '{self.path.parent}' cannot be resumed: it was made "
                f"with other {', '.join(different)}. Convert without --resume to start anew."
            )

    def begin(self, made_of: dict[str, Any], locations: list[str]) -> None:
        """Start a journal of a file in which everything but the datasets at some locations is complete."""
        self._units, self._made_of, self._is_trusted = {}, _digests(made_of), True
        self.locations = locations
        self._file = self.path.open("w", encoding="utf-8")
        process = {"host": socket.gethostname(), "process": os.getpid()}
        self._add({"format": _FORMAT, **process, "made_of": self._made_of, "locations": locations})

    def go_on(self) -> None:
        """Add to what is there."""
        self._file = self.path.open("a", encoding="utf-8")
        self._file.write("\n")  # in case the last line was cut off
        self._add({"host": socket.gethostname(), "process": os.getpid()})

    def add_unit(self, location: str, unit: int, chunks: Iterable[StoredChunk]) -> None:
        """A unit of a dataset is in the file."""
        self._add({"location": location, "unit": unit, "chunks": list(chunks)})

    def units(self, location: str) -> dict[int, list[StoredChunk]]:
        """Chunks of the units of a dataset that are said to be complete, by unit."""
        return {unit: chunks for (place, unit), chunks in sorted(self._units.items()) if place == location}

    def closing(self) -> None:
        """From here the index of the file is written: until :meth:`closed`, it must not be relied upon."""
        self._add({"state": "closing"})

    def closed(self) -> None:
        """The index of the file is complete."""
        self._add({"state": "closed"})

    def close(self) -> None:
        """Close the journal."""
        if self._file is not None:
            self._file.close()

    def _add(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def _read(self) -> None:
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if "process" in entry:
                self._refuse_running(entry)
            if entry.get("format") == _FORMAT:
                self._made_of, self.locations, self._is_trusted = entry["made_of"], entry["locations"], True
            elif "unit" in entry:
                chunks = [StoredChunk(*chunk) for chunk in entry["chunks"]]
                self._units[entry["location"], entry["unit"]] = chunks
            elif "state" in entry:
                self._is_trusted = entry["state"] == "closed"

    def _refuse_running(self, entry: dict[str, Any]) -> None:
        import psutil

        own = entry["process"] == os.getpid()
        if entry["host"] == socket.gethostname() and not own and psutil.pid_exists(entry["process"]):
            raise UsageError(
                f"Process {entry['process']} is writing the file that is to be resumed in '{self.path.parent}'. Wait "
                "for it, or end it."
            )


def _digests(made_of: dict[str, Any]) -> dict[str, str]:
    return {
        key: hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
        for key, value in made_of.items()
    }
