"""What became of each session and product: one JSON file for each, always whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from glob import escape
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..acquire.references import SessionKey, parse_reference
from ..errors import DocumentError, OutputNotWritableError
from ..products import Product
from .files import WrittenFile, remove, remove_empty_folders
from .sessions import BatchSession

#: What can be said of a product. "empty": the session has nothing for it, such as raw recordings.
State = Literal["queued", "running", "done", "empty", "failed"]

#: Folder of a batch's own files in the output folder; hidden, so that DANDI passes over it.
STATE_FOLDER = ".ibl_nwb_batch"

#: Suffix of the hidden folders in which files are made.
WORK_SUFFIX = ".ibl_nwb_work"


class SourceFile(BaseModel):
    """A file that was read, as the table of sources in the NWB file has it."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(description="Path below the session folder.")
    revision: str = Field(description="Its revision; empty for a file outside any revision folder.")
    size: int
    md5: str = Field(description="Empty where it is not known.")


class BatchRecord(BaseModel):
    """What became of one product of one session.

    ``state`` is "done" only once the files are in place, verified, and hashed; whether they still are what was written
    is what :meth:`is_complete` tells.
    """

    model_config = ConfigDict(extra="forbid", title="ibl_nwb batch record")

    schema_version: Literal["1"] = "1"
    key: str = Field(description="What the files of the batch call the session.")
    product: Product
    state: State = "queued"
    source: str = Field(description="How the session was named: eid, reference, folder or document.")
    eid: str | None = Field(None, description="The session's id in Alyx, once it is known.")
    session: str | None = Field(None, description="[lab/Subjects/]subject/date/number, once it is known.")
    request: str = Field("", description="SHA-256 of what was asked for: options and metadata.")
    attempts: int = Field(0, description="How often it was begun.")
    error: str | None = Field(None, description="Why it failed, or why it is queued again.")
    notes: list[str] = Field(default_factory=list, description="What a user should know.")
    queued: str | None = Field(None, description="When, ISO 8601.")
    started: str | None = None
    finished: str | None = None
    seconds: float | None = Field(None, description="Wall time of the conversion, verification and hashing.")
    versions: dict[str, str] = Field(default_factory=dict, description="Packages that decide what is in a file.")
    sources: list[SourceFile] = Field(default_factory=list, description="Files that were read.")
    verification: dict[str, int] | None = Field(None, description="Number of comparisons by outcome; null: not made.")
    files: list[WrittenFile] = Field(default_factory=list, description="The NWB file, then the videos beside it.")
    replaced: list[WrittenFile] = Field(default_factory=list, description="Files of before, until there are new ones.")

    @classmethod
    def new(cls, key: str, product: Product, session: BatchSession) -> BatchRecord:
        """The record of a product that nothing is known of yet, queued."""
        place = None if session.key is None else str(session.key)
        named = {"source": session.source, "eid": session.eid, "session": place}
        return cls.model_validate({"key": key, "product": product, "queued": now(), **named})

    @property
    def name(self) -> str:
        """Key and product, as the files of the batch are called."""
        return f"{self.key}.{self.product}"

    @property
    def session_key(self) -> SessionKey | None:
        """Lab, subject, date and number, once they are known."""
        return None if self.session is None else _parse_key(self.session)

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return sum(file.size for file in self.files)

    def is_complete(self, folder: Path) -> bool:
        """Whether it is done, and the files below a folder are as they were written."""
        return self.state == "done" and bool(self.files) and all(file.agrees(folder) for file in self.files)

    def put_in_queue(self, reason: str | None = None) -> None:
        """Begin anew; what was written stays until it is replaced."""
        self.replaced = [*self.replaced, *(file for file in self.files if file not in self.replaced)]
        self.files, self.sources, self.verification, self.notes = [], [], None, []
        self.state, self.error, self.queued = "queued", reason, now()
        self.started = self.finished = self.seconds = None

    def fail(self, reason: str) -> None:
        """Note why it is not there."""
        self.state, self.error, self.finished = "failed", reason, now()

    def settle(self, folder: Path) -> None:
        """Say what a process that is gone had got to: everything, if its files are in place, else nothing.

        Files are named in the record before they are moved into place, and the state follows after that.
        """
        if self.state != "running":
            return
        if self.files and all(file.agrees(folder) for file in self.files):
            self.state, self.finished, self.error = "done", now(), None
            self.remove_replaced(folder)
            return
        known = {file.path for file in self.replaced}
        for file in self.files:
            if file.path not in known and file.agrees(folder):
                _remove_written(file, folder)
        self.files = []
        self.put_in_queue("The process that converted it was ended.")

    def remove_replaced(self, folder: Path) -> None:
        """Remove files of before that have no successor of the same name, unless somebody has changed them."""
        present = {file.path for file in self.files}
        for file in self.replaced:
            if file.path in present or not os.path.lexists(folder / file.path):
                continue
            if file.agrees(folder):
                _remove_written(file, folder)
            else:
                self.notes.append(f"'{file.path}' of an earlier conversion has been changed since, and was kept.")
        self.replaced = []


class BatchFolder:
    """An output folder and the batch's own files in it.

    Parameters
    ----------
    folder : path-like
        The output folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).expanduser().absolute()
        self.state = self.folder / STATE_FOLDER

    @property
    def lock_path(self) -> Path:
        """The file that the driver of a batch has locked."""
        return self.state / "lock"

    def record_path(self, name: str) -> Path:
        """The record of a product."""
        return self.state / "records" / f"{name}.json"

    def document_path(self, name: str) -> Path:
        """The document that a product was converted from."""
        return self.state / "documents" / f"{name}.json"

    def report_path(self, name: str) -> Path:
        """The verification of a product, row by row."""
        return self.state / "verification" / f"{name}.json"

    def log_path(self, key: str) -> Path:
        """What happened during the conversions of a session."""
        return self.state / "logs" / f"{key}.log"

    def progress_path(self, key: str) -> Path:
        """How far a session is that is being converted, and by which process."""
        return self.state / "running" / f"{key}.json"

    def downloads_path(self, key: str) -> Path:
        """The files that the batch has downloaded for a session."""
        return self.state / "downloads" / f"{key}.json"

    def work_path(self, name: str) -> Path:
        """Where a product is made: as deep as the place it will have, so that relative paths stay what they are."""
        return self.folder / f".{name}{WORK_SUFFIX}"

    def remove_unfinished(self, key: str) -> None:
        """Remove whatever a process that is gone has left of a session: nothing that is finished."""
        self.progress_path(key).unlink(missing_ok=True)
        for work in self.folder.glob(f".{escape(key)}.*{WORK_SUFFIX}"):
            remove(work)
        for part in self.state.glob(f"*/.{escape(key)}.*part"):
            part.unlink(missing_ok=True)

    def work_folders(self) -> list[Path]:
        """Every such folder that is there."""
        return sorted(self.folder.glob(f".*{WORK_SUFFIX}"))

    def write(self, record: BatchRecord) -> None:
        """Write a record, over an older one at once."""
        write_whole(self.record_path(record.name), record.model_dump_json(indent=1) + "\n")

    def read(self, name: str) -> BatchRecord | None:
        """The record of a product, None where there is none.

        Raises
        ------
        DocumentError
            If it is not one.
        """
        path = self.record_path(name)
        try:
            return BatchRecord.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
            raise DocumentError(
                f"The batch record '{path}' cannot be read: {reason}. Delete it; the session is then converted again."
            ) from error

    def __iter__(self) -> Iterator[BatchRecord]:
        for path in sorted((self.state / "records").glob("*.json")):
            record = self.read(path.name.removesuffix(".json"))
            if record is not None:
                yield record


def write_whole(path: Path, text: str) -> None:
    """Write a small text file so that it is whole whenever it is read, after a power cut too.

    Raises
    ------
    OutputNotWritableError
        If it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")  # one process at a time is at work on a session
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputNotWritableError(
            f"Cannot write '{path}': {error.strerror}. Make room, or choose another output folder with -o."
        ) from error


def now() -> str:
    """The time, ISO 8601 with an offset."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@cache
def _parse_key(session: str) -> SessionKey | None:
    key = parse_reference(session)
    return key if isinstance(key, SessionKey) else None


def _remove_written(file: WrittenFile, folder: Path) -> None:
    remove(folder / file.path)
    remove_empty_folders((folder / file.path).parent, up_to=folder)
