"""From a name of a session to its id in Alyx."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from ..errors import SessionNotFoundError
from .connection import is_remote
from .http import Limits
from .local import find_folder, find_kept, key_in_tables, local_sessions
from .records import RecordStore, read_session
from .references import SessionKey, parse_reference
from .rest import AlyxReader
from .search import find_sessions
from .summary import SessionSummary


def resolve(
    one: Any, reference: str | Path | UUID, *, records_dir: str | Path | None = None, limits: Limits | None = None
) -> str:
    """The eid of the session that is meant.

    Parameters
    ----------
    one : one.api.OneAlyx or one.api.One
        From :func:`ibl_nwb.acquire.connect`, or any other.
    reference : str, pathlib.Path or uuid.UUID
        An eid, ``[lab/Subjects/]subject/date/number``, ``date_number_subject``, or a path.
    records_dir, limits
        As in :func:`find_sessions`.

    Raises
    ------
    SessionNotFoundError
        If it names no session, one that does not exist, or several.
    NetworkError
        If the server does not answer.
    """
    parsed = parse_reference(reference)
    if not is_remote(one):
        return _resolve_in_cache(one, parsed, RecordStore(records_dir))
    if isinstance(parsed, str):
        with AlyxReader(one, limits or Limits()) as reader:
            return str(read_session(reader, parsed)["id"])
    found = find_sessions(
        one, limits=limits, subject=parsed.subject, date_range=parsed.date, number=parsed.number, lab=parsed.lab
    )
    if len(found) != 1:
        raise _not_one(parsed, found, one.alyx.base_url)
    return str(found[0].eid)


def _resolve_in_cache(one: Any, reference: str | SessionKey, store: RecordStore) -> str:
    kept = find_kept(one, reference, store)
    if kept is not None:
        return kept.record.session.id
    if isinstance(reference, str):
        if key_in_tables(one, reference) is not None:
            return reference
        raise SessionNotFoundError(
            f"Session {reference} is neither in the tables of the cache '{one.cache_dir}' nor among the records in "
            f"'{store.folder}'. Download it once with network: ibl-nwb download {reference}"
        )
    known = [summary for summary in local_sessions(one, store) if reference.fits(summary.key)]
    found = [summary for summary in known if summary.eid is not None]
    if len(found) == 1:
        return str(found[0].eid)
    folder = find_folder(one, reference)
    if not found and folder is not None:
        raise SessionNotFoundError(
            f"The session in '{folder}' has no eid: neither tables nor a record of Alyx tell it. Use the path itself."
        )
    raise _not_one(reference, found, f"the cache '{one.cache_dir}'")


def _not_one(key: SessionKey, found: list[SessionSummary], where: str) -> SessionNotFoundError:
    if not found:
        return SessionNotFoundError(
            f"There is no session {key} in {where}. Look for it with: ibl-nwb search --subject {key.subject}"
        )
    listed = ", ".join(f"{summary.key} ({summary.eid})" for summary in found)
    return SessionNotFoundError(f"{key} is not one session in {where} but {len(found)}: {listed}. Give an eid.")
