"""A session folder read by names alone: another reading of ALF than the one the conversion uses.

Nothing of :mod:`ibl_nwb.session` or :mod:`one.alf` is used, so that a mistake in how files are chosen for conversion
cannot hide in how they are chosen for comparison.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from ..errors import DatasetUnreadableError

if TYPE_CHECKING:
    import pandas

_UUID = re.compile(r"\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?=\.[^.]+$)", re.IGNORECASE)
_NAMESPACE = re.compile(r"^_([A-Za-z0-9]+)_")
_REVISION = re.compile(r"(?:^|/)#([^/#]*)#$")

#: Namespaces of IBL's pipelines; where two files differ in namespace only, these win.
_IBL_NAMESPACES = ("ibl", "", "iblrig", "spikeglx", "iblmic")


@dataclass(frozen=True)
class SourceFile:
    """One file of a session.

    Attributes
    ----------
    path : pathlib.Path
        On disk.
    relative_path : str
        Below the session folder.
    collection, revision, namespace : str
        Its folder without the revision, the revision without ``#``, and the part between the leading underscores.
    name : str
        File name without namespace and UUID, e.g. ``wheel.position.npy``.
    url : str or None
        Address of a file that is not on disk, where it is known.
    """

    path: Path
    relative_path: str
    collection: str
    revision: str
    namespace: str
    name: str
    url: str | None = None

    @property
    def key(self) -> str:
        """What the file is, whatever its revision."""
        return f"{self.collection}/{self.name}"


class SourceFolder:
    """The files of a session, in a revision.

    Parameters
    ----------
    path : pathlib.Path
        The session folder.
    revision : str, optional
        The last revision not after this one; "" for files without a revision only. Default: the newest.
    """

    def __init__(self, path: Path, revision: str | None = None, *, files: tuple[SourceFile, ...] | None = None):
        self.path, self.revision = path, revision
        self.files = files if files is not None else tuple(_list_files(path))

    def at(self, revision: str | None) -> SourceFolder:
        """The same folder in another revision."""
        return SourceFolder(self.path, revision, files=self.files)

    def with_absent(self, urls: dict[str, str | None]) -> SourceFolder:
        """The folder with files that are on a server: addresses, as far as they are known, by relative path."""
        here = {file.relative_path for file in self.files}
        absent = (replace(_parse(self.path, path), url=url) for path, url in urls.items() if path not in here)
        return SourceFolder(self.path, self.revision, files=(*self.files, *absent))

    def find(self, pattern: str, collections: str | Iterable[str], *, exactly: str | None = None) -> list[SourceFile]:
        """Files of a name, one per collection and name, by preference of collections.

        Parameters
        ----------
        pattern : str
            Name without namespace and UUID, with Unix-style wildcards.
        collections : str or iterable of str
            Patterns of collections, the preferred ones first.
        exactly : str, optional
            Take only files of just this revision.
        """
        found: list[SourceFile] = []
        for collection in [collections] if isinstance(collections, str) else collections:
            versions: dict[str, list[SourceFile]] = {}
            for file in self.files:
                if fnmatchcase(file.collection, collection) and fnmatchcase(file.name, pattern):
                    versions.setdefault(file.key, []).append(file)
            newest = (self._newest(candidates, exactly) for _, candidates in sorted(versions.items()))
            found += [file for file in newest if file is not None and file not in found]
        return found

    def first(
        self, names: str | Iterable[str], collections: str | Iterable[str], *, exactly: str | None = None
    ) -> SourceFile | None:
        """The file of the first collection, and there of the first name, that exists."""
        names = [names] if isinstance(names, str) else list(names)
        for collection in [collections] if isinstance(collections, str) else collections:
            for name in names:
                found = self.find(name, collection, exactly=exactly)
                if found:
                    return found[0]
        return None

    def collections(self, names: str | Iterable[str], patterns: Iterable[str]) -> list[str]:
        """Collections that hold a file of one of some names, whatever the revision, by preference of patterns."""
        names = [names] if isinstance(names, str) else list(names)
        holding = sorted({f.collection for f in self.files if any(fnmatchcase(f.name, name) for name in names)})
        ordered = [collection for pattern in patterns for collection in holding if fnmatchcase(collection, pattern)]
        # The session's root counts only where no folder holds the same.
        return [collection for collection in dict.fromkeys(ordered) if collection or not any(ordered)]

    def revisions(self, collection: str) -> list[str]:
        """Revisions that may be used of a collection, the newest first; "" for files without one."""
        known = {file.revision for file in self.files if file.collection == collection}
        return sorted((r for r in known if self.revision is None or r <= self.revision), reverse=True)

    def _newest(self, candidates: list[SourceFile], exactly: str | None) -> SourceFile | None:
        usable = [
            file
            for file in candidates
            if (exactly is None or file.revision == exactly)
            and (self.revision is None or file.revision <= self.revision)
        ]
        if not usable:
            return None
        namespace = min((file.namespace for file in usable), key=_rank)
        return max((file for file in usable if file.namespace == namespace), key=lambda file: file.revision)


def load_array(file: SourceFile, *, memory_map: bool = False) -> np.ndarray:
    """An npy file as stored.

    Raises
    ------
    DatasetUnreadableError
        If it is damaged or holds pickled objects.
    """
    try:
        return np.load(file.path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _unreadable(file, error) from error


def load_rows(file: SourceFile) -> np.ndarray:
    """An npy file mapped into memory; ``(n, 1)`` as ``(n,)``, the way ALF means it."""
    values = load_array(file, memory_map=True)
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def load_table(file: SourceFile) -> pandas.DataFrame:
    """A parquet or csv file.

    Raises
    ------
    DatasetUnreadableError
        If it is damaged.
    """
    import pandas

    try:
        return pandas.read_parquet(file.path) if file.name.endswith(".pqt") else pandas.read_csv(file.path)
    except (ValueError, EOFError, OSError) as error:
        raise _unreadable(file, error) from error


def load_json(file: SourceFile) -> Any:
    """A JSON file.

    Raises
    ------
    DatasetUnreadableError
        If it is damaged.
    """
    try:
        return json.loads(file.path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise _unreadable(file, error) from error


def is_pickled(file: SourceFile) -> bool:
    """Whether an npy file holds Python objects, which are not converted."""
    with file.path.open("rb") as stream:
        return b"'descr': '|O'" in stream.read(256)


def camel_case(name: str) -> str:
    """``task_01`` to ``Task01``: how instances and objects are called in the file."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


def is_address_of(url: str, relative_path: str) -> bool:
    """Whether an address is that of a file below a session, with or without a UUID in its name."""
    return _UUID.sub("", unquote(urlsplit(url, allow_fragments=False).path)).endswith(f"/{relative_path}")


def without_revision(relative_path: str) -> str:
    """Key of a file (:attr:`SourceFile.key`) from its relative path."""
    return _parse(Path(), relative_path).key


def revision_of(relative_path: str) -> str:
    """Revision of a file from its relative path, empty for one outside any revision folder."""
    return _parse(Path(), relative_path).revision


def _list_files(path: Path) -> Iterable[SourceFile]:
    seen: set[str] = set()
    for root, folders, names in os.walk(path, followlinks=True):
        if (real_root := os.path.realpath(root)) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real_root)
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield _parse(path, Path(root, name).relative_to(path).as_posix())


def _parse(session_path: Path, relative_path: str) -> SourceFile:
    folder, _, file_name = relative_path.rpartition("/")
    in_revision = _REVISION.search(folder)
    namespace = _NAMESPACE.match(file_name)
    return SourceFile(
        path=session_path / relative_path,
        relative_path=relative_path,
        collection=folder[: in_revision.start()] if in_revision else folder,
        revision=in_revision[1] if in_revision else "",
        namespace=namespace[1] if namespace else "",
        name=_UUID.sub("", _NAMESPACE.sub("", file_name)),
    )


def _rank(namespace: str) -> tuple[int, str]:
    known = namespace in _IBL_NAMESPACES
    return _IBL_NAMESPACES.index(namespace) if known else len(_IBL_NAMESPACES), namespace


def _unreadable(file: SourceFile, error: Exception) -> DatasetUnreadableError:
    reason = str(error).strip().split("\n")[0]
    return DatasetUnreadableError(
        f"The source '{file.path}' cannot be read: {reason}. Nothing can be compared with it; get it again."
    )
