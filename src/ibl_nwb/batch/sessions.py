"""The sessions of a batch: however each is named, once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

from ..acquire.references import SessionKey, parse_reference
from ..acquire.summary import SessionSummary
from ..errors import SessionNotFoundError, UsageError


@dataclass(frozen=True)
class BatchSession:
    """One session as it was named.

    Attributes
    ----------
    source : str
        Absolute path of a folder or document, or an eid or reference as it was given.
    kind : {"folder", "document", "reference"}
        Which of these.
    eid : str or None
        The session's id in Alyx, where the name tells it.
    key : SessionKey or None
        Lab, subject, date and number, where the name tells them.
    """

    source: str
    kind: Literal["folder", "document", "reference"]
    eid: str | None = None
    key: SessionKey | None = None

    @property
    def name(self) -> str:
        """What the batch calls the session, in names of files too."""
        if self.kind == "reference" and self.eid is not None:
            return self.eid
        if self.key is not None:
            parts = (self.key.lab, self.key.subject, self.key.date, f"{self.key.number:03d}")
            return re.sub(r"[^\w.+-]+", "-", "_".join(filter(None, parts)))
        digest = hashlib.sha256(self.source.encode()).hexdigest()[:8]
        return re.sub(r"[^\w.+-]+", "-", f"{Path(self.source).name}_{digest}")

    def is_same(self, eid: str | None, key: SessionKey | None) -> bool:
        """Whether the session is the one of an id or key, as far as both are known."""
        if self.eid is not None and eid is not None:
            return self.eid == eid
        return self.key is not None and key is not None and self.key.fits(key)


def read_session_list(path: str | Path) -> list[str]:
    """Sessions that a text file names, one on each line; what follows a ``#`` that begins a word is a comment.

    Raises
    ------
    UsageError
        If the file cannot be read, or names none.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The list of sessions '{path}' cannot be read: {reason}.") from error
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    if not any(lines):
        raise UsageError(f"The list '{path}' names no session. Write one eid, reference or folder on each line.")
    return [line for line in lines if line]


def name_sessions(sessions: Iterable[str | Path | UUID | SessionSummary]) -> list[BatchSession]:
    """Tell what each session of a batch is, without looking anything up; one that is named twice is there once.

    Parameters
    ----------
    sessions : iterable of str, pathlib.Path, uuid.UUID or SessionSummary
        Folders, conversion documents (``.json``), eids, references, or what a search found.

    Raises
    ------
    UsageError
        If something names no session, or two documents are of the same session.
    """
    named: list[BatchSession] = []
    for session in map(_name, sessions):
        same = next((other for other in named if other.is_same(session.eid, session.key)), None)
        same = same or next((other for other in named if other.source == session.source), None)
        if same is None:
            named.append(session)
        elif "document" in (same.kind, session.kind) and same.source != session.source:
            raise UsageError(
                f"'{same.source}' and '{session.source}' are the same session, which can have one file only. Leave one "
                "out, or convert it to another folder."
            )
    if not named:
        raise UsageError("There are no sessions to convert: the list or the search is empty.")
    return named


def _name(session: str | Path | UUID | SessionSummary) -> BatchSession:
    if isinstance(session, SessionSummary):
        if session.path is not None:
            return BatchSession(str(session.path), "folder", session.eid, session.key)
        return BatchSession(session.eid or str(session.key), "reference", session.eid, session.key)
    path = Path(str(session)).expanduser()
    if path.suffix == ".json":
        return _name_document(path.absolute())
    if path.is_dir() or path.is_absolute():
        return BatchSession(str(path.absolute()), "folder", key=_key_of_path(path.absolute()))
    try:
        reference = parse_reference(str(session))
    except SessionNotFoundError as error:
        raise UsageError(str(error)) from error
    if isinstance(reference, str):
        return BatchSession(reference, "reference", eid=reference)
    return BatchSession(str(session), "reference", key=reference)


def _name_document(path: Path) -> BatchSession:
    from ..document import ConversionDocument

    session = ConversionDocument.read_json(path).session
    return BatchSession(str(path), "document", session.eid, _key_of_path(Path(session.session_path)))


def _key_of_path(path: Path) -> SessionKey | None:
    try:
        key = parse_reference(path)
    except SessionNotFoundError:  # a folder of any name will do
        return None
    return key if isinstance(key, SessionKey) else None
