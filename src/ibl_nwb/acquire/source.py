"""From whatever names a session to its folder and its record: the one call of the command line and the old classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from ..alyx import AlyxRecord
from ..errors import SessionNotFoundError, UsageError
from ..session import ALFSession
from .connection import connect, is_remote
from .download import check_in_cache, download_and_keep
from .http import Limits, UnreachableError
from .local import find_folder, find_kept, key_in_tables
from .ranges import check_can_stream
from .records import KeptRecord, RecordStore, fetch_and_keep
from .references import SessionKey, parse_reference
from .resolution import resolve
from .selection import Selection

_logger = logging.getLogger(__name__)


def open_source(
    reference: str | Path | UUID,
    *,
    one: Any | None = None,
    interfaces: Iterable[Any] | None = None,
    exclude: Iterable[Any] | None = None,
    revision: str | None = None,
    progress_bar_class: Callable[..., Any] | None = None,
    records_dir: str | Path | None = None,
    limits: Limits | None = None,
    lock_wait_s: float = 0.0,
    before_download: Callable[[Path, list[Path]], None] | None = None,
) -> tuple[Path, AlyxRecord | None]:
    """The folder of a session, with the files that a conversion reads, and what Alyx says about it.

    The same session gives the same in every mode: with a server; with a cache whose tables ONE knows or made; with a
    cache without tables; with a bare folder. In the last three the record is the one that was kept when the session was
    downloaded or its record fetched, None if that never happened. When the server cannot be reached and the session was
    downloaded before, the cache is used and a warning says so.

    Parameters
    ----------
    reference : str, pathlib.Path or uuid.UUID
        An eid, ``subject/date/number``, ``date_number_subject``, or a session folder.
    one : one.api.OneAlyx or one.api.One, optional
        From :func:`ibl_nwb.acquire.connect`, or any other. Default: none for a folder, else ``connect()``.
    interfaces, exclude, revision, progress_bar_class, records_dir, limits, lock_wait_s
        As in :func:`ibl_nwb.acquire.download`.
    before_download : callable, optional
        Called with the session folder and the list of files that are not in it yet and are fetched next.

    Returns
    -------
    session_path : pathlib.Path
        The session folder.
    record : AlyxRecord or None
        What Alyx says.

    Raises
    ------
    IBLNWBError
        As in :func:`ibl_nwb.acquire.resolve` and :func:`ibl_nwb.acquire.download`.
    """
    store = RecordStore(records_dir)
    folder = Path(str(reference)).expanduser()
    if folder.is_file():
        raise UsageError(
            f"'{folder}' is a file. Give a session folder or an eid; a JSON document is converted as it is."
        )
    if folder.is_dir():
        return _open_folder(folder, one, store, limits or Limits())
    if folder.is_absolute() and one is None:
        raise SessionNotFoundError(f"The folder '{folder}' is not there. Give a session folder, an eid or a reference.")
    selection = Selection.of(interfaces, exclude, revision)
    limits = limits or Limits()
    one = connect(limits=limits) if one is None else one
    if not is_remote(one):
        return _open_cache(one, parse_reference(reference), store, selection, progress_bar_class)
    try:
        eid = resolve(one, reference, limits=limits)
        path, kept, _ = download_and_keep(
            one,
            eid,
            store,
            selection,
            progress_bar_class,
            limits=limits,
            lock_wait_s=lock_wait_s,
            before_download=before_download,
        )
    except UnreachableError as error:
        kept = _find_downloaded(one, parse_reference(reference), store, error)
        path = check_in_cache(one, kept, selection, progress_bar_class)
        _logger.warning("%s Session %s is taken from the cache as it was downloaded before.", error, reference)
    return path, kept.record


def stream_source(
    reference: str | UUID,
    *,
    one: Any | None = None,
    interfaces: Iterable[Any] | None = None,
    exclude: Iterable[Any] | None = None,
    revision: str | None = None,
    progress_bar_class: Callable[..., Any] | None = None,
    records_dir: str | Path | None = None,
    limits: Limits | None = None,
    lock_wait_s: float = 0.0,
    before_download: Callable[[Path, list[Path]], None] | None = None,
) -> tuple[Path, AlyxRecord, list[str]]:
    """As :func:`open_source`, but compressed raw recordings that are not in the cache yet stay on the server.

    Parameters
    ----------
    reference : str or uuid.UUID
        An eid, ``subject/date/number`` or ``date_number_subject``.
    one, interfaces, exclude, revision, progress_bar_class, records_dir, limits, lock_wait_s, before_download
        As in :func:`open_source`.

    Returns
    -------
    session_path : pathlib.Path
        The session folder.
    record : AlyxRecord
        What Alyx says.
    data_urls : list of str
        Addresses of the recordings that stay on the server, without credentials: ``data_urls`` of
        :meth:`ibl_nwb.IBLConverter.from_session`.

    Raises
    ------
    UsageError
        If ONE is offline, a session folder is given, or what is needed to read from a server is not installed.
    IBLNWBError
        As in :func:`open_source`.
    """
    check_can_stream()
    if Path(str(reference)).expanduser().exists():
        raise UsageError(
            f"'{reference}' is on disk. To have its raw recordings read from the server, name the session by its eid "
            "or subject/date/number, and the cache that the folder is in with --cache-dir."
        )
    limits = limits or Limits()
    one = connect(limits=limits) if one is None else one
    if not is_remote(one):
        raise UsageError("Raw recordings cannot be read from a server offline. Leave out --stream-raw, or --offline.")
    path, kept, data_urls = download_and_keep(
        one,
        resolve(one, reference, limits=limits),
        RecordStore(records_dir),
        Selection.of(interfaces, exclude, revision, stream_raw=True),
        progress_bar_class,
        limits=limits,
        lock_wait_s=lock_wait_s,
        before_download=before_download,
    )
    return path, kept.record, data_urls


def _open_folder(folder: Path, one: Any | None, store: RecordStore, limits: Limits) -> tuple[Path, AlyxRecord | None]:
    """A folder is taken as it is; its record comes from the server, if there is one, or is the one that was kept."""
    session = ALFSession(folder)
    if session.subject is None or session.date is None or session.number is None:
        return session.path, None
    key = SessionKey(session.lab, session.subject, session.date, int(session.number))
    kept = store.by_key(key)
    if one is not None and is_remote(one):
        try:
            kept = fetch_and_keep(one, resolve(one, str(key), limits=limits), store, limits)[0]
        except UnreachableError as error:
            if kept is None:
                raise
            _logger.warning("%s The record of %s is the one that was kept.", error, key)
    return session.path, kept.record if kept is not None else None


def _open_cache(
    one: Any,
    reference: str | SessionKey,
    store: RecordStore,
    selection: Selection,
    progress_bar_class: Callable[..., Any] | None,
) -> tuple[Path, AlyxRecord | None]:
    kept = find_kept(one, reference, store)
    if kept is not None:
        return check_in_cache(one, kept, selection, progress_bar_class), kept.record
    key = key_in_tables(one, reference) if isinstance(reference, str) else reference
    path = find_folder(one, key) if key is not None else None
    if path is None:
        raise SessionNotFoundError(
            f"Session {reference} is not in the cache '{one.cache_dir}', and no record of it is kept in "
            f"'{store.folder}'. Download it with network, or give the path of its folder."
        )
    _logger.warning("No record of the session in '%s' is kept: its files are taken as they are, unchecked.", path)
    return path, None


def _find_downloaded(one: Any, reference: str | SessionKey, store: RecordStore, error: UnreachableError) -> KeptRecord:
    """The kept record of a session that was downloaded before; the network's error where there is none."""
    kept = find_kept(one, reference, store)
    if kept is None or find_folder(one, SessionKey.of_record(kept.record)) is None:
        raise error
    return kept
