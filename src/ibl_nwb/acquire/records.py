"""What Alyx says about a session, asked once and kept, so that a conversion needs no network afterwards."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from glob import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from ..alyx import AlyxRecord
from ..alyx.vocabulary import HISTOLOGY_PROVENANCES
from ..errors import DocumentError, OutputNotWritableError, SessionNotFoundError
from .connection import is_remote
from .http import Limits
from .references import SessionKey, check_eid
from .rest import AlyxReader, RefusedError, Row

_logger = logging.getLogger(__name__)

#: Environment variable that moves the folder in which records are kept.
DATA_FOLDER_VARIABLE = "IBL_NWB_DATA"


class KeptRecord(BaseModel):
    """A record and what an offline conversion has to know besides.

    Attributes
    ----------
    base_url : str
        Address of the database that was asked.
    unavailable_datasets : list of str
        Ids of the datasets that are registered but lie on no server to download from.
    record : AlyxRecord
        The record.
    """

    model_config = ConfigDict(extra="forbid")

    base_url: str
    unavailable_datasets: list[str]
    record: AlyxRecord


class RecordStore:
    """The folder in which records are kept, one JSON file for each database and session.

    Parameters
    ----------
    folder : path-like, optional
        Default: ``records`` in the folder that ``IBL_NWB_DATA`` names, or in the user's data folder.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder) if folder is not None else _data_folder() / "records"

    def keep(self, kept: KeptRecord) -> Path:
        """Write a record, whole or not at all, over an older one of the same database and session."""
        key, eid = SessionKey.of_record(kept.record), kept.record.session.id
        path = self.folder / _folder_name(kept.base_url) / f"{key.date}_{key.number}_{key.subject}_{eid}.json"
        part_path = path.with_name(f".{path.name}.{uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part_path.write_text(kept.model_dump_json(indent=1) + "\n", encoding="utf-8")
            part_path.replace(path)
        except OSError as error:
            part_path.unlink(missing_ok=True)
            raise OutputNotWritableError(
                f"The record of session {eid} cannot be kept in '{self.folder}': {error.strerror}. Name another folder "
                f"in the environment variable {DATA_FOLDER_VARIABLE}."
            ) from error
        return path

    def by_eid(self, eid: str) -> KeptRecord | None:
        """The record of a session by its id in Alyx, None when there is none."""
        return self._newest(f"*_{check_eid(eid)}.json")

    def by_key(self, key: SessionKey) -> KeptRecord | None:
        """The record of a session by lab (where known), subject, date and number, None when there is none."""
        return self._newest(f"{key.date}_{key.number}_{escape(key.subject)}_*.json", key)

    def __iter__(self) -> Iterator[KeptRecord]:
        for path in self._paths("*.json"):
            yield _read(path)

    def _newest(self, pattern: str, key: SessionKey | None = None) -> KeptRecord | None:
        found = [(path, _read(path)) for path in self._paths(pattern)]
        found = [(path, kept) for path, kept in found if key is None or key.fits(SessionKey.of_record(kept.record))]
        if not found:
            return None
        path, kept = max(found, key=lambda item: item[0].stat().st_mtime)
        others = sorted({other.base_url for _, other in found} - {kept.base_url})
        if others:
            _logger.warning(
                "Session %s is kept from several databases (%s); the last one that was asked is used: %s.",
                kept.record.session.id,
                ", ".join(others),
                kept.base_url,
            )
        return kept

    def _paths(self, pattern: str) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"*/{pattern}") if not path.name.startswith("."))


def fetch_record(
    one: Any, eid: str, *, records_dir: str | Path | None = None, limits: Limits | None = None
) -> AlyxRecord:
    """Everything Alyx says about a session; kept, so that it is there without network too.

    Parameters
    ----------
    one : one.api.OneAlyx or one.api.One
        From :func:`ibl_nwb.acquire.connect`, or any other. In local mode the record that was kept is read.
    eid : str
        The session's id in Alyx; see :func:`ibl_nwb.acquire.resolve`.
    records_dir : path-like, optional
        Folder to keep records in. Default: see :class:`RecordStore`.
    limits : Limits, optional
        How long to wait for the server.

    Returns
    -------
    AlyxRecord
        The same for the same state of the database, in whatever order it answers.

    Raises
    ------
    SessionNotFoundError
        If there is no such session, or, offline, no record of it was kept.
    NetworkError
        If the server does not answer, or refuses what the record cannot do without.
    """
    store = RecordStore(records_dir)
    if is_remote(one):
        return fetch_and_keep(one, eid, store, limits or Limits())[0].record
    kept = store.by_eid(eid)
    if kept is None:
        raise SessionNotFoundError(
            f"No record of session {eid} is kept in '{store.folder}'. Fetch it once with network, e.g. with: "
            f"ibl-nwb download {eid}"
        )
    return kept.record


def fetch_and_keep(one: Any, eid: str, store: RecordStore, limits: Limits) -> tuple[KeptRecord, dict[str, str | None]]:
    """Ask Alyx, keep the record, and give it with the address of each dataset's file (None where Alyx has none)."""
    with AlyxReader(one, limits) as reader:
        answers = _fetch_answers(reader, check_eid(eid))
        record = AlyxRecord.from_rest(**answers)
    urls = _file_urls(answers)
    unavailable = sorted(dataset.id for dataset in record.datasets if dataset.id not in urls)
    kept = KeptRecord(base_url=reader.base_url, unavailable_datasets=unavailable, record=record)
    store.keep(kept)
    return kept, urls


def _fetch_answers(reader: AlyxReader, eid: str) -> dict[str, Any]:
    """Arguments of :meth:`AlyxRecord.from_rest`."""
    session = read_session(reader, eid)
    nickname, lab = session.get("subject"), session.get("lab")
    surgeries = reader.list_rows("surgeries", subject=nickname) if nickname else []
    insertions = reader.list_rows("insertions", session=eid)
    # By insertion and not by provenance: Alyx answers 500 to a provenance that it does not know.
    trajectories = [row for i in insertions for row in reader.list_rows("trajectories", probe_insertion=i["id"])]
    return {
        "session": session,
        "subject": reader.read_row("subjects", nickname) if nickname else None,
        "lab": reader.read_row("labs", lab) if lab else None,
        "users": _users(reader, session, surgeries),
        "projects": _each(reader, "projects", session.get("projects") or []),
        "procedures": _or_nothing(reader, "procedures") if surgeries else [],
        "insertions": insertions,
        "trajectories": trajectories,
        # By trajectory and not by insertion, which mixes the estimates of all.
        "channels": [
            row
            for trajectory in trajectories
            if trajectory.get("provenance") in HISTOLOGY_PROVENANCES
            for row in reader.list_rows("channels", trajectory_estimate=trajectory["id"])
        ],
        "datasets": reader.list_rows("datasets", session=eid),
        "surgeries": surgeries,
    }


def read_session(reader: AlyxReader, eid: str) -> Row:
    """The session's row.

    Raises
    ------
    SessionNotFoundError
        If the database has no such session.
    """
    try:
        return reader.read_row("sessions", eid)
    except RefusedError as error:
        if error.status != 404:
            raise
        raise SessionNotFoundError(
            f"{reader.base_url} has no session {eid}, or none that you may see. Look for it with: ibl-nwb search"
        ) from error


def _users(reader: AlyxReader, session: Row, surgeries: list[Row]) -> list[Row]:
    """The users whom the session names, and those of surgeries, of whom only the ids are known."""
    try:
        return reader.list_rows("users") if surgeries else _each(reader, "users", session.get("users") or [])
    except RefusedError as error:
        _do_without(error, "users")
        return _each(reader, "users", session.get("users") or [])


def _each(reader: AlyxReader, endpoint: str, names: Iterable[str]) -> list[Row]:
    """The row of each name, those left out that the server does not show."""
    rows = []
    for name in names:
        try:
            rows.append(reader.read_row(endpoint, name))
        except RefusedError as error:
            _do_without(error, f"{endpoint} '{name}'")
    return rows


def _or_nothing(reader: AlyxReader, endpoint: str) -> list[Row]:
    try:
        return reader.list_rows(endpoint)
    except RefusedError as error:
        _do_without(error, endpoint)
        return []


def _do_without(error: RefusedError, what: str) -> None:
    """Say that a record goes without details that the session's own row names; anything but "may not" is an error."""
    if error.status not in (403, 404):
        raise error
    _logger.warning("The record goes without the details of %s, only the name is known: %s", what, error)


def _file_urls(answers: dict[str, Any]) -> dict[str, str | None]:
    """Address of the file of each dataset that can be downloaded, by dataset id.

    A dataset inside ``sessions/read`` has a file on a public server, though its address may be null. A file record
    has an address even where the file is not there.
    """
    urls: dict[str, str | None] = {
        row["id"]: row.get("data_url") for row in answers["session"].get("data_dataset_session_related") or []
    }
    for row in answers["datasets"]:
        identifier = row.get("id") or row["url"].rstrip("/")[-36:]
        there = [
            str(copy["data_url"])
            for copy in row.get("file_records") or []
            if copy.get("exists") and urlsplit(str(copy.get("data_url"))).scheme in ("http", "https")
        ]
        if there and urls.get(identifier) not in there:
            urls[identifier] = sorted(there)[0]
    return urls


def _read(path: Path) -> KeptRecord:
    try:
        return KeptRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error.errors()[0]["msg"])
        raise DocumentError(
            f"The kept record '{path}' cannot be read: {reason}. Delete it and fetch it again."
        ) from error


def _data_folder() -> Path:
    from platformdirs import user_data_path

    named = os.environ.get(DATA_FOLDER_VARIABLE)
    return Path(named).expanduser() if named else user_data_path("ibl_nwb", appauthor=False)


def _folder_name(base_url: str) -> str:
    return re.sub(r"[^\w.-]+", "_", urlsplit(base_url).netloc + urlsplit(base_url).path.rstrip("/"))
