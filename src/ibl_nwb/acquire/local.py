"""The sessions of a folder tree without a server: from ONE's tables where there are some, else from the folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import Any
from uuid import UUID

from ..errors import SessionNotFoundError
from .connection import cache_dir_of
from .records import KeptRecord, RecordStore
from .references import SessionKey, parse_reference
from .summary import SessionSummary


def local_sessions(one: Any, store: RecordStore) -> Iterator[SessionSummary]:
    """Every session that a cache knows of.

    Tables that were made from the folders, and folders themselves, know neither eid nor project nor protocol: these
    come from the record that was kept of the session, if there is one.
    """
    kept = {SessionKey.of_record(one_kept.record): one_kept for one_kept in store}
    for summary in _table_sessions(one) if has_tables(one) else _folder_sessions(one):
        yield _with_record(summary, kept)


def has_tables(one: Any) -> bool:
    """Whether ONE has found tables of sessions in its cache."""
    return len(one._cache["sessions"]) > 0


def find_folder(one: Any, key: SessionKey) -> Path | None:
    """The folder of a session in a cache, None where it is not there.

    Raises
    ------
    SessionNotFoundError
        If several labs have such a session.
    """
    below = f"{key.subject}/{key.date}/{key.number:03d}"
    root = cache_dir_of(one)
    found = (
        [root / key.lab / "Subjects" / below] if key.lab else [*root.glob(f"*/Subjects/{escape(below)}"), root / below]
    )
    found = [path for path in found if path.is_dir()]
    if len(found) > 1:
        raise SessionNotFoundError(
            f"'{key}' is not one session: {', '.join(map(str, sorted(found)))}. Give the path of the one that is meant."
        )
    return found[0] if found else None


def find_kept(one: Any, reference: str | SessionKey, store: RecordStore) -> KeptRecord | None:
    """The record that was kept of a session, by its eid (of Alyx, or of tables made from the folders) or key."""
    if isinstance(reference, SessionKey):
        return store.by_key(reference)
    kept = store.by_eid(reference)
    if kept is None and (key := key_in_tables(one, reference)) is not None:
        return store.by_key(key)
    return kept


def key_in_tables(one: Any, eid: str) -> SessionKey | None:
    """Lab, subject, date and number of a session by its id in ONE's tables."""
    sessions = one._cache["sessions"]  # not one.eid2path: it takes only ids of some kinds, and may ask a server
    if UUID(eid) not in sessions.index:
        return None
    return _summary_of_row(UUID(eid), sessions.loc[UUID(eid)]).key


def _with_record(summary: SessionSummary, kept: dict[SessionKey, KeptRecord]) -> SessionSummary:
    key = summary.key
    # Records are many and mostly found by their very key; only a folder without a lab needs a look at all of them.
    found = kept.get(key) or next((k for other, k in kept.items() if key.lab is None and key.fits(other)), None)
    if found is None:
        return summary
    session = found.record.session
    return replace(
        summary,
        eid=session.id,
        lab=session.lab or summary.lab,
        task_protocol=session.task_protocol or "",
        projects=tuple(sorted(session.projects)),
    )


def _table_sessions(one: Any) -> Iterator[SessionSummary]:
    for eid, row in one._cache["sessions"].iterrows():
        yield _summary_of_row(eid, row)


def _summary_of_row(eid: UUID, row: Any) -> SessionSummary:
    projects = row.get("projects")
    names = projects.split(",") if isinstance(projects, str) else ()
    return SessionSummary(
        eid=str(eid),
        lab=_text(row.get("lab")),
        subject=str(row["subject"]),
        date=str(row["date"])[:10],
        number=int(row["number"]),
        task_protocol=_text(row.get("task_protocol")),
        projects=tuple(sorted(name.strip() for name in names if name.strip())),
    )


def _folder_sessions(one: Any) -> Iterator[SessionSummary]:
    from one.alf.io import iter_sessions

    for path in sorted(iter_sessions(cache_dir_of(one))):
        key = parse_reference(path)
        if isinstance(key, SessionKey):
            yield SessionSummary(
                eid=None, lab=key.lab or "", subject=key.subject, date=key.date, number=key.number, path=Path(path)
            )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
