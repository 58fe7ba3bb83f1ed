"""Downloading just the files that a conversion reads, each of them checked, every time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from ..errors import ChecksumError, DatasetMissingError, OutputNotWritableError, SessionNotFoundError
from ..session import ALFSession
from .connection import cache_dir_of, is_remote
from .credentials import file_server_login
from .files import PART_SUFFIX, Report, fetch_file, find_fault, is_verifiable, quoted
from .http import Limits
from .local import find_folder, find_kept
from .lock import cache_lock
from .records import KeptRecord, RecordStore, fetch_and_keep
from .references import SessionKey, check_eid
from .selection import RegisteredFile, Selection, choose_files, chosen_datasets, registered_files

_logger = logging.getLogger(__name__)


def download(
    one: Any,
    eid: str,
    *,
    interfaces: Iterable[Any] | None = None,
    exclude: Iterable[Any] | None = None,
    revision: str | None = None,
    progress_bar_class: Callable[..., Any] | None = None,
    records_dir: str | Path | None = None,
    limits: Limits | None = None,
    lock_wait_s: float = 0.0,
) -> Path:
    """Bring the files that a conversion reads into ONE's cache, under the names that ONE gives them.

    A file that is there with the registered size and MD5 is not fetched again. Every other one is fetched to a hidden
    file, checked, and then renamed; a bad one is fetched once more. Whatever happens, no partial file is left, and
    what is complete stays: the next call goes on from there. In local mode the files are only checked.

    Parameters
    ----------
    one : one.api.OneAlyx or one.api.One
        From :func:`ibl_nwb.acquire.connect`, or any other.
    eid : str
        The session's id in Alyx; see :func:`ibl_nwb.acquire.resolve`.
    interfaces, exclude : iterable of str or type, optional
        Interfaces (classes, families such as "Wheel", or instances such as "PoseLeftCamera") to download for only, or
        to leave out. Default: all that the session has datasets for.
    revision : str, optional
        As in :class:`ibl_nwb.ALFSession`.
    progress_bar_class : callable, optional
        Makes progress bars, in bytes: ``tqdm.tqdm`` or something with its arguments and methods.
    records_dir : path-like, optional
        Folder to keep the session's record in.
    limits : Limits, optional
        How long to wait for the servers.
    lock_wait_s : float, default: 0
        How long to wait while another process downloads into the same cache.

    Returns
    -------
    pathlib.Path
        The session folder.

    Raises
    ------
    SessionNotFoundError, DatasetMissingError
        If the database has no such session, or a file is on no server (offline: not in the cache).
    ChecksumError
        If a file is not what was registered, even when fetched again.
    NetworkError
        If a server does not answer, or refuses.
    OutputNotWritableError
        If the cache cannot be written to, is full, or is being written to by another process.
    """
    selection = Selection.of(interfaces, exclude, revision)
    store = RecordStore(records_dir)
    if is_remote(one):
        return download_and_keep(
            one, eid, store, selection, progress_bar_class, limits=limits or Limits(), lock_wait_s=lock_wait_s
        )[0]
    kept = find_kept(one, check_eid(eid), store)
    if kept is None:
        raise SessionNotFoundError(
            f"Without network the files of session {eid} cannot be fetched, and no record of it is kept in "
            f"'{store.folder}' to check them against. Connect, or give the path of the session folder."
        )
    return check_in_cache(one, kept, selection, progress_bar_class)


def download_and_keep(
    one: Any,
    eid: str,
    store: RecordStore,
    selection: Selection,
    progress_bar_class: Callable[..., Any] | None,
    *,
    limits: Limits,
    lock_wait_s: float,
    before_download: Callable[[Path, list[Path]], None] | None = None,
) -> tuple[Path, KeptRecord, list[str]]:
    """As :func:`download` from a server, giving the session's record too, and the addresses of what stays there.

    ``before_download`` is called with the session folder and the files that are not there yet and are fetched next.
    """
    kept, urls = fetch_and_keep(one, eid, store, limits)
    session_path = cache_dir_of(one) / str(SessionKey.of_record(kept.record))
    files = choose_files(kept, session_path, selection)
    with cache_lock(cache_dir_of(one), wait_s=lock_wait_s):
        _remove_strays(session_path, kept, keep_uuid_names=one.uuid_filenames)
        staying = [file for file in files if file.is_streamable and _on_disk(session_path, file) is None]
        files = [file for file in files if file not in staying]
        faults = _find_faults(session_path, files, progress_bar_class, fetch_unverifiable=True)
        _check_recordings_on_disk(session_path, faults)
        # A recording on disk of which nothing is registered is left to the checks of its .ch file.
        wanting = [file for file, _ in faults if not file.is_streamable]
        _check_space(cache_dir_of(one), wanting)
        if before_download is not None:
            absent = [file for file in wanting if _on_disk(session_path, file) is None]
            before_download(session_path, [_target(one, session_path, file) for file in absent])
        with requests.Session() as connection, _progress(progress_bar_class, wanting, "Downloading") as report:
            for file in wanting:
                url = _url_of(one, urls.get(file.id), kept, file)
                target = _on_disk(session_path, file) or _target(one, session_path, file)
                login = file_server_login(one.alyx._par, url)
                fetch_file(connection, url, file, target, limits=limits, report=report, auth=login)
    data_urls = [quoted(_url_of(one, urls.get(file.id), kept, file)) for file in staying]
    _tell_of_others(session_path, [*files, *staying], selection, data_urls)
    return session_path, kept, data_urls


def check_in_cache(
    one: Any, kept: KeptRecord, selection: Selection, progress_bar_class: Callable[..., Any] | None
) -> Path:
    """The session folder in a cache, with all files that a conversion reads checked; parameters as in `download`."""
    key = SessionKey.of_record(kept.record)
    session_path = find_folder(one, key)
    if session_path is None:
        raise SessionNotFoundError(
            f"The cache '{one.cache_dir}' has no folder of session {key}. Download it with network, or give another "
            "--cache-dir."
        )
    files = choose_files(kept, session_path, selection)
    faults = _find_faults(session_path, files, progress_bar_class)
    absent = [file.relative_path for file, fault in faults if fault is None]
    if absent:
        raise DatasetMissingError(
            f"'{session_path}' lacks {len(absent)} of {len(files)} files that the conversion reads: {_listed(absent)}. "
            "Download them with network, or leave out the interfaces that need them."
        )
    if faults:
        file, fault = faults[0]
        raise ChecksumError(
            f"'{session_path / file.relative_path}' is not what Alyx registered: {fault}. Download it again with "
            "network."
        )
    _tell_of_others(session_path, files, selection)
    return session_path


def _find_faults(
    session_path: Path,
    files: list[RegisteredFile],
    progress_bar_class: Callable[..., Any] | None,
    *,
    fetch_unverifiable: bool = False,
) -> list[tuple[RegisteredFile, str | None]]:
    """Files that are absent (None) or not as registered (in words)."""
    faults: list[tuple[RegisteredFile, str | None]] = []
    present = [file for file in files if _on_disk(session_path, file) is not None]
    with _progress(progress_bar_class, present, "Checking") as report:
        for file in files:
            path = _on_disk(session_path, file)
            if path is None:
                faults.append((file, None))
            elif fetch_unverifiable and not is_verifiable(file):
                _logger.warning("Alyx has neither size nor MD5 of '%s': it is fetched each time.", file.relative_path)
                faults.append((file, "nothing tells whether it is complete"))
            elif (fault := find_fault(path, file, report)) is not None:
                _logger.warning("'%s' is not what Alyx registered: %s.", path, fault)
                faults.append((file, fault))
    return faults


def _check_recordings_on_disk(session_path: Path, faults: list[tuple[RegisteredFile, str | None]]) -> None:
    """Refuse a bad copy of a recording that is to be streamed: it would be read, and must not be fetched whole."""
    for file, fault in faults:
        if file.is_streamable and is_verifiable(file):
            raise ChecksumError(
                f"'{_on_disk(session_path, file)}' is not what Alyx registered: {fault}. Remove it to have it read "
                "from the server, or convert without --stream-raw to have it downloaded again."
            )


def _on_disk(session_path: Path, file: RegisteredFile) -> Path | None:
    """The file in the folder, under its ALF name or with the UUID in it; the former is what ALFSession prefers."""
    candidates = (session_path / file.relative_path, session_path / file.path_with_uuid)
    return next((path for path in candidates if path.is_file()), None)


def _target(one: Any, session_path: Path, file: RegisteredFile) -> Path:
    """Where a file that is not there yet will be."""
    return session_path / (file.path_with_uuid if one.uuid_filenames else file.relative_path)


def _remove_strays(session_path: Path, kept: KeptRecord, *, keep_uuid_names: bool) -> None:
    """Remove what interrupted downloads left: our hidden files, and ONE's, which have the UUID in the name.

    ONE downloads under the name with UUID and then renames; of a file that it did not finish only a part is there,
    which it would take for complete the next time.
    """
    for path in session_path.rglob(f".*{PART_SUFFIX}"):
        path.unlink()
    for file in registered_files(kept.record.datasets).values():
        path = session_path / file.path_with_uuid
        if not keep_uuid_names and file.size is not None and path.is_file() and path.stat().st_size < file.size:
            _logger.warning("'%s' is part of a download that was interrupted; it is removed.", path)
            path.unlink()


def _check_space(cache_dir: Path, files: list[RegisteredFile]) -> None:
    needed, free = sum(file.size or 0 for file in files), shutil.disk_usage(cache_dir).free
    if needed > free:
        raise OutputNotWritableError(
            f"The download needs {needed / 1e9:.2f} GB, and the disk of '{cache_dir}' has {free / 1e9:.2f} GB left. "
            "Free some, or give another --cache-dir."
        )


def _url_of(one: Any, url: str | None, kept: KeptRecord, file: RegisteredFile) -> str:
    """Address of a file: on the server that the user set in ONE, else where Alyx says."""
    from one import params

    root = str(one.alyx._par.HTTP_DATA_SERVER).rstrip("/")
    is_default = root == str(params.default().HTTP_DATA_SERVER).rstrip("/")
    if url is not None and (is_default or url.startswith(root)):
        return url
    return f"{root}/{SessionKey.of_record(kept.record)}/{file.path_with_uuid}"


def _tell_of_others(
    session_path: Path, files: list[RegisteredFile], selection: Selection, data_urls: Iterable[str] = ()
) -> None:
    """Say when a conversion of the folder would read other files than the registered ones that were checked."""
    checked = {path for file in files for path in (file.relative_path, file.path_with_uuid)}
    session = ALFSession(session_path, revision=selection.revision, data_urls=data_urls)
    others = {dataset.relative_path for dataset in chosen_datasets(session, selection)} - checked
    if others:
        _logger.warning(
            "'%s' also holds files that the conversion reads though Alyx does not register them: %s.",
            session_path,
            _listed(sorted(others)),
        )


@contextmanager
def _progress(
    progress_bar_class: Callable[..., Any] | None, files: list[RegisteredFile], what: str
) -> Iterator[Report]:
    total = sum(file.size or 0 for file in files)
    if progress_bar_class is None or not files:
        yield lambda n_bytes: None
        return
    with progress_bar_class(total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1000) as bar:
        yield bar.update


def _listed(paths: list[str], *, most: int = 5) -> str:
    return ", ".join(paths[:most]) + (f" and {len(paths) - most} more" if len(paths) > most else "")
