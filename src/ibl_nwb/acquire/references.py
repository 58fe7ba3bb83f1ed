"""The ways to name a session, and the one thing they all stand for: subject, date and number, in a lab."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import PurePath
from typing import TYPE_CHECKING
from uuid import UUID

from ..errors import SessionNotFoundError, UsageError

if TYPE_CHECKING:
    from ..alyx import AlyxRecord

_FORMS = (
    "an eid, subject/date/number such as KS014/2019-12-03/001, a reference such as 2019-12-03_1_KS014, "
    "or the path of a session folder"
)


@dataclass(frozen=True)
class SessionKey:
    """What tells a session apart without its id.

    Attributes
    ----------
    lab : str or None
        Name of the lab, None where it is not known.
    subject : str
        Nickname.
    date : str
        ``YYYY-MM-DD``.
    number : int
        Which session of that day.
    """

    lab: str | None
    subject: str
    date: str
    number: int

    def __str__(self) -> str:
        return f"{f'{self.lab}/Subjects/' if self.lab else ''}{self.subject}/{self.date}/{self.number:03d}"

    @classmethod
    def of_record(cls, record: AlyxRecord) -> SessionKey:
        """The key of the session that a record is about.

        Raises
        ------
        SessionNotFoundError
            If the record does not say.
        """
        session = record.session
        if not (session.subject and session.start_time and session.number is not None):
            raise SessionNotFoundError(
                f"Alyx does not say where session {session.id} is: its subject is {session.subject!r}, its start "
                f"{session.start_time!r}, its number {session.number!r}. Correct it in Alyx."
            )
        return cls(session.lab, session.subject, str(session.start_time)[:10], session.number)

    def fits(self, other: SessionKey) -> bool:
        """Whether both may be one session; a lab that is not known fits any."""
        same_lab = self.lab is None or other.lab is None or self.lab.casefold() == other.lab.casefold()
        return same_lab and (self.subject.casefold(), self.date, self.number) == (
            other.subject.casefold(),
            other.date,
            other.number,
        )


def parse_reference(reference: str | PurePath | UUID) -> str | SessionKey:
    """Read one of the ways to name a session.

    Parameters
    ----------
    reference : str, pathlib.PurePath or uuid.UUID
        An eid, ``[lab/Subjects/]subject/date/number``, ``date_number_subject``, or the path of a session folder or of
        something inside it.

    Returns
    -------
    str or SessionKey
        The eid, or the key.

    Raises
    ------
    SessionNotFoundError
        If it is none of these.
    """
    from one.alf.path import ALFPath
    from one.converters import ConversionMixin

    text = str(reference).strip().replace("\\", "/").rstrip("/")
    try:
        return str(UUID(text))
    except ValueError:
        pass  # not an eid; the other forms follow
    if "/" not in text and ConversionMixin.is_exp_ref(text):
        parts = ConversionMixin.ref2dict(text)
        return SessionKey(None, parts["subject"], _checked_date(parts["date"].isoformat(), text), parts["sequence"])
    session_path = ALFPath(text).session_path()
    if session_path is None:
        raise SessionNotFoundError(f"'{text}' does not name a session. Give {_FORMS}.")
    lab, subject, day, number = session_path.session_parts
    return SessionKey(lab or None, subject, _checked_date(day, text), int(number))


def check_eid(eid: str | UUID) -> str:
    """The id in its canonical spelling.

    Raises
    ------
    UsageError
        If it is no UUID.
    """
    try:
        return str(UUID(str(eid)))
    except ValueError as error:
        raise UsageError(f"'{eid}' is no eid. Get it from resolve(one, {str(eid)!r}).") from error


def _checked_date(text: str, reference: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise SessionNotFoundError(f"'{reference}' names the date {text}, which does not exist.") from error
