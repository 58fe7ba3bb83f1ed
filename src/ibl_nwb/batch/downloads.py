"""Bringing the sessions' files to disk, one session after another, and removing them after they were converted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..alyx import AlyxRecord
from ..errors import DocumentError
from .files import remove_empty_folders
from .options import BatchOptions
from .progress import ProgressFile
from .records import BatchFolder, write_whole
from .sessions import BatchSession

#: How long to wait for somebody else who downloads into the same cache.
_LOCK_WAIT_S = 3600.0


class StoppedError(Exception):
    """A download was asked to stop."""


@dataclass(frozen=True)
class FetchedSession:
    """A session whose files are on disk.

    Attributes
    ----------
    session : BatchSession
        The session as it was named.
    path : pathlib.Path
        Its folder; of a document, the document.
    alyx : AlyxRecord or None
        What Alyx says.
    data_urls : list of str
        Addresses of raw recordings that stay on the server.
    """

    session: BatchSession
    path: Path
    alyx: AlyxRecord | None = None
    data_urls: list[str] = field(default_factory=list)


def fetch_session(
    session: BatchSession,
    key: str,
    folder: BatchFolder,
    options: BatchOptions,
    *,
    one: Any | None,
    stream_raw: bool,
    stopping: threading.Event,
) -> FetchedSession:
    """Have the files of a session on disk, and what Alyx says in hand.

    Which files are fetched is written down before they are, so that they can be told from those that were there before
    whatever happens.

    Parameters
    ----------
    session : BatchSession
        The session.
    key : str
        What the batch calls it.
    folder : BatchFolder
        Where to note what is fetched.
    options : BatchOptions
        Which interfaces and revision the files are for.
    one : one.api.One or None
        For eids and references; a folder is taken as it is, with the record that was kept of it.
    stream_raw : bool
        Whether raw recordings of eids and references that are not on disk yet stay on the server.
    stopping : threading.Event
        When it is set, a download ends with :class:`StoppedError` and leaves no partial file.

    Raises
    ------
    IBLNWBError
        As in :func:`ibl_nwb.acquire.open_source`.
    """
    from ..acquire import open_source, stream_source

    if session.kind == "document":
        return FetchedSession(session, Path(session.source))

    def note(session_path: Path, files: list[Path]) -> None:
        _note_downloads(folder.downloads_path(key), session_path, files)

    with ProgressFile(folder.progress_path(key)) as progress:
        how: dict[str, Any] = dict(
            one=one if session.kind == "reference" else None,
            interfaces=options.include or None,
            exclude=options.exclude or None,
            revision=options.revision,
            progress_bar_class=_stoppable(progress.bar, stopping),
            lock_wait_s=_LOCK_WAIT_S,
            before_download=note,
        )
        if stream_raw and session.kind == "reference":
            return FetchedSession(session, *stream_source(session.source, **how))
        return FetchedSession(session, *open_source(session.source, **how))


def drop_downloads(folder: BatchFolder, key: str) -> int:
    """Remove the files that the batch has downloaded for a session, and no others; the number of bytes.

    Parameters
    ----------
    folder : BatchFolder
        Where it is noted what was downloaded.
    key : str
        What the batch calls the session.
    """
    noted = folder.downloads_path(key)
    session_path, files = _noted_downloads(noted)
    n_bytes = 0
    for file in files:
        path = session_path / file
        if path.is_file():
            n_bytes += path.stat().st_size
            path.unlink()
        remove_empty_folders(path.parent, up_to=session_path.parents[min(4, len(session_path.parents) - 1)])
    noted.unlink(missing_ok=True)
    return n_bytes


def _note_downloads(noted: Path, session_path: Path, files: list[Path]) -> None:
    before = _noted_downloads(noted)[1] if noted.exists() else []
    names = [path.relative_to(session_path).as_posix() for path in files]
    if names or before:
        content = {"session_path": str(session_path), "files": sorted({*before, *names})}
        write_whole(noted, json.dumps(content, indent=1) + "\n")


def _noted_downloads(noted: Path) -> tuple[Path, list[str]]:
    try:
        content = json.loads(noted.read_text(encoding="utf-8"))
        return Path(content["session_path"]), list(content["files"])
    except FileNotFoundError:
        return noted.parent, []
    except (ValueError, KeyError, TypeError) as error:
        raise DocumentError(f"'{noted}', the list of what was downloaded, cannot be read: {error}.") from error


def _stoppable(make_bar: Callable[..., tqdm], stopping: threading.Event) -> Callable[..., Any]:
    """Bars that end the work that they show when it is to stop."""

    def make(*args: Any, **kwargs: Any) -> Any:
        bar = make_bar(*args, **kwargs)
        update = bar.update

        def update_or_stop(n: float = 1) -> Any:
            if stopping.is_set():
                raise StoppedError
            return update(n)

        bar.update = update_or_stop
        return bar

    return make
