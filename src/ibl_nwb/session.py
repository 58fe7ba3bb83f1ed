"""One IBL session on disk: a folder of ALF datasets, which of their revisions are meant, and their contents.

Names are parsed by :mod:`one.alf`; this module adds no pattern of its own. Nothing here needs a network, a database or
a ONE object, and nothing here writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from .errors import (
    DatasetInconsistentError,
    DatasetMissingError,
    DatasetUnreadableError,
    SessionNotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    import pandas

#: Revision that means "only files outside any revision folder". In ALF an empty part matches "not there".
UNREVISED = ""

#: Rows of a table that are read at a time: 2 MB of float64 for each column.
TABLE_BATCH_LENGTH = 2**18

#: Namespaces of IBL's own pipelines. Where two files differ in namespace only, these win over, say, a curator's.
_OWN_NAMESPACES = ("ibl", "", "iblrig", "spikeglx", "iblmic")


@dataclass(frozen=True)
class Dataset:
    """One file of a session, with the parts of its ALF name.

    Attributes
    ----------
    path : pathlib.Path
        The file on disk.
    relative_path : str
        POSIX path below the session folder, as it is on disk (with revision folder and dataset UUID).
    collection, revision, namespace, object, attribute, timescale, extra, extension : str
        The ALF parts, an empty string where the name lacks the part. ``extra`` is without the dataset UUID.
    uuid : str or None
        Dataset UUID when the file name holds one, as copies in IBL's data centres do.
    url : str or None
        Address of a file that is on a server and not at ``path``.
    """

    path: Path
    relative_path: str
    collection: str
    revision: str
    namespace: str
    object: str
    attribute: str
    timescale: str
    extra: str
    extension: str
    uuid: str | None
    url: str | None = None

    @property
    def name(self) -> str:
        """Name without namespace and UUID, e.g. ``wheel.position.npy``: what dataset declarations are matched on."""
        attribute = "_".join(filter(None, (self.attribute, self.timescale)))
        return ".".join(filter(None, (self.object, attribute, self.extra, self.extension)))

    @property
    def alf_path(self) -> str:
        """``relative_path`` without the dataset UUID: the same wherever the file is stored."""
        return self.relative_path.replace(f".{self.uuid}.", ".") if self.uuid else self.relative_path

    @property
    def size(self) -> int:
        """Size of the file in bytes; of a recording on a server, what the ``.ch`` file beside its place says."""
        return self.path.stat().st_size if self.url is None else _size_by_compression(self.path)


#: Listings of folders by folder and addresses, within a block of :func:`shared_listings`.
_listings: ContextVar[dict[tuple, dict[str, Any]] | None] = ContextVar("listings", default=None)


@contextmanager
def shared_listings() -> Iterator[None]:
    """Within this block each session folder is listed once, however many objects of it are made.

    A converter makes one for each of its interfaces, and a folder on a server takes long to list.
    """
    if _listings.get() is not None:
        yield
        return
    token = _listings.set({})
    try:
        yield
    finally:
        _listings.reset(token)


class ALFSession:
    """A session folder and the revision of it that is meant.

    Parameters
    ----------
    session_path : str or pathlib.Path
        The session folder: ``[lab/Subjects/]subject/YYYY-MM-DD/NNN``. Any other folder is taken too when it holds ALF
        datasets; lab, subject, date and number are then None.
    revision : str, optional
        Which revision of each dataset to use. Default: the newest. A label such as ``"2024-05-06"``: the last one that
        is not after it, a file without a revision counting as the oldest (the rule of ONE). ``""``: only files without
        a revision.
    data_urls : iterable of str, optional
        Addresses of files of this session on a server, which count as datasets where the folder does not hold them.

    Raises
    ------
    SessionNotFoundError
        If the folder does not exist, lies inside a session, holds several sessions, or holds no ALF dataset.
    UsageError
        If an address is not that of a file of this session, or holds credentials.
    """

    #: Addresses of files on a server by relative path, without UUID.
    data_urls: Mapping[str, str] = MappingProxyType({})

    def __init__(self, session_path: str | Path, *, revision: str | None = None, data_urls: Iterable[str] = ()):
        from one.alf.path import ALFPath

        path = Path(session_path).expanduser()
        if not path.is_dir():
            found = "it is a file" if path.exists() else "nothing is there"
            raise SessionNotFoundError(
                f"No session folder at '{path}': {found}. Give the folder that holds 'alf', "
                "e.g. 'lab/Subjects/subject/2023-05-18/001'."
            )
        self.path = Path(os.path.abspath(path))
        self.revision = revision
        enclosing_session = ALFPath(self.path).session_path()
        if enclosing_session is not None and Path(enclosing_session) != self.path:
            raise SessionNotFoundError(
                f"'{path}' lies inside a session. Give the session folder '{enclosing_session}'."
            )
        parts = ALFPath(self.path).session_parts if enclosing_session is not None else ("", "", "", "")
        self.lab, self.subject, self.date, self.number = (part or None for part in parts)
        self.data_urls = {self._path_of_url(url): url for url in data_urls}
        self._share_listing()
        self._check_holds_one_session()

    def __repr__(self) -> str:
        return f"ALFSession({str(self.path)!r}, revision={self.revision!r})"

    @property
    def name(self) -> str:
        """``subject/YYYY-MM-DD/NNN``, or the folder's name when the path is not a session path."""
        return f"{self.subject}/{self.date}/{self.number}" if self.subject else self.path.name

    @cached_property
    def datasets(self) -> tuple[Dataset, ...]:
        """Every file with a valid ALF name, all revisions, those on a server too, sorted by relative path."""
        parsed = (parse_dataset(self.path, relative_path) for relative_path in self._relative_paths)
        here = [dataset for dataset in parsed if dataset is not None]
        paths_here = {dataset.alf_path for dataset in here}
        there = (
            replace(dataset, url=url)
            for path, url in self.data_urls.items()
            if path not in paths_here and (dataset := parse_dataset(self.path, path)) is not None
        )
        return tuple(sorted((*here, *there), key=lambda dataset: dataset.relative_path))

    @cached_property
    def by_collection(self) -> dict[str, list[Dataset]]:
        """The datasets of each collection."""
        collections: dict[str, list[Dataset]] = {}
        for dataset in self.datasets:
            collections.setdefault(dataset.collection, []).append(dataset)
        return collections

    @cached_property
    def unrecognised(self) -> tuple[str, ...]:
        """Relative paths of the files whose names are not ALF names, sorted."""
        recognised = {dataset.relative_path for dataset in self.datasets}
        return tuple(path for path in self._relative_paths if path not in recognised)

    @cached_property
    def _relative_paths(self) -> tuple[str, ...]:
        return tuple(sorted(path.relative_to(self.path).as_posix() for path in _iter_files(self.path)))

    def find(
        self,
        names: str | Sequence[str],
        *,
        collections: str | Sequence[str] = "*",
        exact_revision: str | None = None,
    ) -> list[Dataset]:
        """Find the datasets with the first of several names that exists, in the session's revision.

        Parameters
        ----------
        names : str or sequence of str
            Dataset names without namespace and UUID, Unix-style patterns allowed (``trials.*.npy``), in order of
            preference: the datasets that match the first name for which there are any are returned.
        collections : str or sequence of str, default: "*"
            Collections to look in, patterns allowed. ``""`` is the session's root.
        exact_revision : str, optional
            Use only datasets of just this revision, whatever the session's.

        Returns
        -------
        list of Dataset
            One per collection and name, sorted by relative path. Empty when there are none.
        """
        names = [names] if isinstance(names, str) else names
        collections = [collections] if isinstance(collections, str) else collections
        inside = [
            dataset
            for collection, datasets in self.by_collection.items()
            if any(fnmatchcase(collection, pattern) for pattern in collections)
            for dataset in datasets
        ]
        for name in names:
            matches = [d for d in inside if fnmatchcase(d.name, name)]
            chosen = list(self._choose_revisions(matches, exact_revision))
            if chosen:
                return chosen
        return []

    def find_one(self, names: str | Sequence[str], **where: Any) -> Dataset:
        """Like :meth:`find`, for names of which there must be exactly one.

        Raises
        ------
        DatasetMissingError
            If there is none.
        DatasetInconsistentError
            If there are several, e.g. in two collections.
        """
        found = self.find(names, **where)
        if len(found) == 1:
            return found[0]
        wanted = names if isinstance(names, str) else " or ".join(names)
        if not found:
            raise DatasetMissingError(
                f"'{self.path}' holds no dataset {wanted}{_describe_where(where, self.revision)}."
            )
        listed = ", ".join(d.relative_path for d in found)
        raise DatasetInconsistentError(
            f"'{self.path}' holds {len(found)} datasets {wanted} ({listed}). Name the collection that is meant."
        )

    def load_object(self, object: str, *, collection: str, attributes: Iterable[str] | None = None) -> dict[str, Any]:
        """Load one ALF object as arrays of equal length.

        A ``table`` is unpacked into its columns with the types it was stored with, ``x_0`` and ``x_1`` becoming one
        ``(n, 2)`` array; a column of the table wins over a file of the same attribute, as it does in ONE.

        Parameters
        ----------
        object : str
            The object's name, e.g. ``"wheel"``.
        collection : str
            The collection it is in, e.g. ``"alf"``.
        attributes : iterable of str, optional
            Load only these attributes (with timescale: ``"times_mic"``). Default: all that are npy or parquet files.

        Returns
        -------
        dict of str to numpy.ndarray
            The attributes in alphabetical order, ``(n, ...)`` each.

        Raises
        ------
        DatasetMissingError, DatasetUnreadableError, DatasetInconsistentError
            If the object is not there, a file cannot be read, or the lengths differ.
        """
        wanted = None if attributes is None else set(attributes)
        datasets = [*self.find(f"{object}.*.npy", collections=collection)]
        tables = self.find(f"{object}.table.pqt", collections=collection)
        values: dict[str, Any] = {}
        sources: dict[str, Dataset] = {}
        for dataset in datasets:
            attribute = "_".join(filter(None, (dataset.attribute, dataset.timescale)))
            if wanted is None or attribute in wanted:
                values[attribute], sources[attribute] = load_array(dataset), dataset
        for dataset in tables:
            columns = unpack_table(load_table(dataset))
            for attribute in columns if wanted is None else wanted & columns.keys():
                values[attribute], sources[attribute] = columns[attribute], dataset
        if not values:
            raise DatasetMissingError(f"'{self.path}' holds no object '{object}' in collection '{collection}'.")
        check_equal_lengths(object, {sources[name].relative_path + f" [{name}]": len(values[name]) for name in values})
        return {name: values[name] for name in sorted(values)}

    def task_settings_datasets(self) -> list[Dataset]:
        """Files with the rig's settings of each task, the first task's first."""
        return self.find("taskSettings.raw.json", collections=("raw_behavior_data", "raw_task_data_*"))

    def task_settings(self) -> dict[str, Any] | None:
        """The rig's settings of the session's first task, or None when the folder has none.

        Raises
        ------
        DatasetUnreadableError
            If the file is not JSON.
        """
        found = self.task_settings_datasets()
        return load_json(found[0]) if found else None

    def task_start_time(self) -> datetime | None:
        """When the session's first task started by the rig's clock, or None when its settings do not say.

        Returns
        -------
        datetime.datetime or None
            Naive local time, as the rig wrote it. None too where the settings are of another day than the folder: they
            were copied from another session then.
        """
        settings = self.task_settings() or {}
        written = settings.get("SESSION_START_TIME") or settings.get("SESSION_DATETIME")  # iblrig 8, iblrig before 8
        if not isinstance(written, str):
            return None
        try:
            start_time = datetime.fromisoformat(written)
        except ValueError:
            return None  # not a time: as good as absent, and the start time is asked for where it is needed
        return start_time if self.date in (None, start_time.date().isoformat()) else None

    def _choose_revisions(self, datasets: list[Dataset], exact_revision: str | None) -> Iterator[Dataset]:
        from one.util import index_last_before

        versions: dict[tuple[str, str], list[Dataset]] = {}
        for dataset in sorted(datasets, key=_preference):
            versions.setdefault((dataset.collection, dataset.name), []).append(dataset)
        exact = UNREVISED if self.revision == UNREVISED else exact_revision
        for _, candidates in sorted(versions.items()):
            if exact is not None:
                candidates = [dataset for dataset in candidates if dataset.revision == exact]
            if not candidates:
                continue
            best_namespace = [d for d in candidates if d.namespace == candidates[0].namespace]
            index = index_last_before([dataset.revision for dataset in best_namespace], self.revision or None)
            if index is not None:
                yield best_namespace[index]

    def _path_of_url(self, url: str) -> str:
        """Path below the session folder, without UUID, of a file by its address, which ends as it does on any disk."""
        from one.alf.path import ALFPath

        parts = urlsplit(url, allow_fragments=False)
        url = parts._replace(query="").geturl()  # a query may be a signature, which is for nobody to read
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"'{url}' is no address of a file on a server, such as https://...")
        if parts.username or parts.password:
            raise UsageError(
                f"The address of a file on {parts.hostname} holds credentials. They belong in ONE's parameters: "
                "HTTP_DATA_SERVER_LOGIN and HTTP_DATA_SERVER_PWD."
            )
        path = ALFPath(unquote(parts.path))
        if path.session_path() is None:
            raise UsageError(f"'{url}' does not end with .../subject/date/number and the path of a file below it.")
        if self.subject is not None and path.session_parts[1:] != (self.subject, self.date, self.number):
            raise UsageError(f"'{url}' is of session {'/'.join(path.session_parts[1:])} and not of {self.name}.")
        return _without_uuid(path.relative_to_session().as_posix())

    def _share_listing(self) -> None:
        """Take the listing of another object for the same folder, see :func:`shared_listings`."""
        listings = _listings.get()
        if listings is not None:
            key = (self.path, *sorted(self.data_urls.items()))
            if key not in listings:
                listings[key] = {"_relative_paths": self._relative_paths, "datasets": self.datasets}
            self.__dict__.update(listings[key])

    def _check_holds_one_session(self) -> None:
        from one.alf.path import ALFPath

        if self.datasets and self.subject:
            return
        if self.datasets and not any(ALFPath(dataset.path).session_path() for dataset in self.datasets):
            return
        sessions = sorted(
            {str(found) for path in _iter_files(self.path) if (found := ALFPath(path).session_path()) is not None}
        )
        if sessions:
            raise SessionNotFoundError(
                f"'{self.path}' is not a session: it holds {len(sessions)} of them. Give one, e.g. '{sessions[0]}'."
            )
        raise SessionNotFoundError(
            f"'{self.path}' holds no ALF dataset (such as 'alf/_ibl_wheel.position.npy'). Is it the session folder?"
        )


def load_array(dataset: Dataset, *, memory_map: bool = False) -> np.ndarray:
    """Read an npy dataset; pickled objects are refused.

    Parameters
    ----------
    dataset : Dataset
        The dataset to read.
    memory_map : bool, default: False
        Map the file into memory instead of reading it.

    Returns
    -------
    numpy.ndarray
        Shape and dtype as stored.

    Raises
    ------
    DatasetUnreadableError
        If the file is truncated, empty, corrupt or holds pickled objects.
    """
    try:
        return np.load(dataset.path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _unreadable(dataset, "a NumPy array", error) from error


def load_table(dataset: Dataset) -> pandas.DataFrame:
    """Read a parquet, csv, tsv or htsv dataset as a data frame, columns with their stored types.

    Raises
    ------
    DatasetUnreadableError
        If the file is truncated or not of its extension's format.
    """
    import pandas

    readers = {
        "pqt": pandas.read_parquet,
        "csv": pandas.read_csv,
        "tsv": lambda path: pandas.read_csv(path, sep="\t"),
        # Whatever the extension says, IBL's pipelines write these with commas too; in them "None" is a word.
        "htsv": lambda path: pandas.read_csv(path, sep="\t|,", engine="python", keep_default_na=False, na_values=[""]),
    }
    try:
        return readers[dataset.extension](dataset.path)
    except (ValueError, EOFError, OSError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise _unreadable(dataset, "a table", error) from error


def table_columns(dataset: Dataset) -> list[str]:
    """Names of the columns of a parquet dataset, without reading it.

    Raises
    ------
    DatasetUnreadableError
        If the file is truncated or not parquet.
    """
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_schema(dataset.path).names
    except (ValueError, OSError) as error:
        raise _unreadable(dataset, "a table", error) from error


def iter_table(dataset: Dataset, columns: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """Read columns of a parquet dataset, :data:`TABLE_BATCH_LENGTH` rows at a time at most.

    Parameters
    ----------
    dataset : Dataset
        The dataset to read.
    columns : sequence of str
        Columns that it has.

    Yields
    ------
    dict of str to numpy.ndarray
        Values of some rows, ``(n,)`` in their stored types; integers among which some are missing as float64.

    Raises
    ------
    DatasetUnreadableError
        If the file is truncated, damaged or not parquet.
    """
    import pyarrow.parquet

    try:
        # A buffered file would be kept in memory as a whole, as it is compressed.
        with pyarrow.parquet.ParquetFile(dataset.path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=TABLE_BATCH_LENGTH, columns=columns):
                yield {name: batch.column(name).to_numpy(zero_copy_only=False) for name in columns}
    except (ValueError, OSError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise _unreadable(dataset, "a table", error) from error


def load_json(dataset: Dataset) -> Any:
    """Read a JSON dataset.

    Raises
    ------
    DatasetUnreadableError
        If the file is not JSON.
    """
    try:
        return json.loads(dataset.path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise _unreadable(dataset, "JSON", error) from error


def unpack_table(table: pandas.DataFrame) -> dict[str, np.ndarray]:
    """Columns of an ALF table as arrays, each pair ``x_0``, ``x_1`` as one ``(n, 2)`` array ``x``."""
    columns = {str(name): table[name].to_numpy() for name in table.columns}
    for name in [name for name in columns if name.endswith("_0") and f"{name[:-2]}_1" in columns]:
        columns[name[:-2]] = np.column_stack((columns.pop(name), columns.pop(f"{name[:-2]}_1")))
    return columns


def check_equal_lengths(object: str, lengths: dict[str, int]) -> None:
    """Check ALF's rule that all attributes of one object have the same number of rows.

    Raises
    ------
    DatasetInconsistentError
        If they have not; the message lists every file with its length.
    """
    if len(set(lengths.values())) <= 1:
        return
    listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
    raise DatasetInconsistentError(
        f"The datasets of '{object}' have different numbers of rows ({listed}). One of them is truncated or of another "
        "version of the data; download it again, or leave the family out with --exclude."
    )


def _unreadable(dataset: Dataset, expected: str, error: Exception) -> DatasetUnreadableError:
    reason = "it is empty" if dataset.path.is_file() and dataset.size == 0 else str(error).strip().split("\n")[0]
    return DatasetUnreadableError(
        f"'{dataset.path}' cannot be read as {expected}: {reason}. The file is damaged or incomplete; get it again."
    )


def parse_dataset(session_path: Path, relative_path: str) -> Dataset | None:
    """The parts of a name, of a file that need not exist; None if it is not a name of an ALF dataset."""
    from one.alf.path import rel_path_parts

    uuid = _uuid_in_name(relative_path)
    parts = rel_path_parts(_without_uuid(relative_path), as_dict=True, assert_valid=False)
    if not parts or parts["object"] is None:
        return None
    revision = parts.pop("revision")
    return Dataset(
        path=session_path / relative_path,
        relative_path=relative_path,
        # Cache tables written by some servers name the absent revision "nan".
        revision="" if revision in (None, "nan") else revision,
        uuid=uuid,
        **{name: value or "" for name, value in parts.items()},
    )


def _without_uuid(relative_path: str) -> str:
    from one.alf.path import ALFPath

    return ALFPath(relative_path).without_uuid().as_posix() if _uuid_in_name(relative_path) else relative_path


def _uuid_in_name(relative_path: str) -> str | None:
    from one.alf.spec import is_uuid_string

    last_part = Path(relative_path).stem.rsplit(".", 1)[-1]
    return last_part if is_uuid_string(last_part) else None


def _size_by_compression(path: Path) -> int:
    """Bytes of a compressed recording by its ``.ch`` file, 0 where there is none to tell."""
    from one.alf.path import ALFPath

    found = [other for other in path.parent.glob("*.ch") if ALFPath(other).without_uuid().stem == path.stem]
    try:
        return int(json.loads(found[0].read_text(encoding="utf-8"))["chunk_offsets"][-1])
    except (IndexError, KeyError, TypeError, ValueError, OSError):
        return 0  # whoever reads the recording says what is wrong with the file


def _preference(dataset: Dataset) -> tuple[int, str, bool, str]:
    own = _OWN_NAMESPACES.index(dataset.namespace) if dataset.namespace in _OWN_NAMESPACES else len(_OWN_NAMESPACES)
    return own, dataset.namespace, dataset.uuid is not None, dataset.relative_path


def _iter_files(folder: Path) -> Iterator[Path]:
    """Every visible file below a folder; linked folders are followed, since raw data often live on another disk."""
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real_root = os.path.realpath(root)
        if real_root in seen:
            folders.clear()
            continue
        seen.add(real_root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))


def _describe_where(where: dict[str, Any], revision: str | None) -> str:
    collections = where.get("collections")
    text = f" in {collections}" if collections else ""
    if revision is not None:
        text += f" (revision {revision!r})"
    return text
