"""Which registered datasets a conversion needs: chosen by the interfaces themselves, as if the files were there."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..alyx import DatasetRecord
from ..errors import DatasetMissingError, DocumentError
from ..session import UNREVISED, ALFSession, Dataset
from .records import KeptRecord
from .references import SessionKey

if TYPE_CHECKING:
    from ..interfaces.base import ALFDataset

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegisteredFile:
    """The file of a registered dataset.

    Attributes
    ----------
    id : str
        The dataset's UUID.
    relative_path : str
        POSIX path below the session folder, without UUID.
    size : int or None
        Bytes, None where the database does not say.
    md5 : str or None
        None where the database does not say.
    is_streamable : bool
        Whether it may stay on the server, to be read from there during the conversion.
    """

    id: str
    relative_path: str
    size: int | None
    md5: str | None
    is_streamable: bool = False

    @property
    def path_with_uuid(self) -> str:
        """The relative path with the dataset's UUID in the name, as storage copies have it."""
        path = PurePosixPath(self.relative_path)
        return str(path.with_name(f"{path.stem}.{self.id}{path.suffix}"))


@dataclass(frozen=True)
class Selection:
    """What of a session is wanted.

    Attributes
    ----------
    include, exclude : tuple of str, or None
        Interfaces (families or instances) to convert only, or to leave out.
    revision : str or None
        As in :class:`ALFSession`.
    stream_raw : bool
        Whether compressed raw recordings may stay on the server.
    """

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    revision: str | None = None
    stream_raw: bool = False

    @classmethod
    def of(
        cls,
        include: Iterable[Any] | None,
        exclude: Iterable[Any] | None,
        revision: str | None,
        *,
        stream_raw: bool = False,
    ) -> Selection:
        """A selection of interfaces that may be given as classes, or as one name."""
        return cls(_names(include), _names(exclude), revision, stream_raw)


class RegisteredSession(ALFSession):
    """A session as a database lists it: its datasets can be chosen from, not read.

    Parameters
    ----------
    session_path : pathlib.Path
        The folder that the files will be in.
    key : SessionKey
        Lab, subject, date and number.
    relative_paths : iterable of str
        Paths of the registered datasets.
    revision : str, optional
        As in :class:`ALFSession`.
    """

    def __init__(self, session_path: Path, key: SessionKey, relative_paths: Iterable[str], revision: str | None):
        self.path = session_path
        self.revision = revision
        self.lab, self.subject, self.date, self.number = key.lab, key.subject, key.date, f"{key.number:03d}"
        self._listed = tuple(sorted(relative_paths))

    @cached_property
    def _relative_paths(self) -> tuple[str, ...]:
        return self._listed


def choose_files(kept: KeptRecord, session_path: Path, selection: Selection) -> list[RegisteredFile]:
    """The files that a conversion with some interfaces reads.

    Parameters
    ----------
    kept : KeptRecord
        What Alyx says about the session.
    session_path : pathlib.Path
        The folder that the files will be in.
    selection : Selection
        What of it is wanted.

    Returns
    -------
    list of RegisteredFile
        Sorted by path: what the interfaces declare, and the settings of the task, which tell of the whole session.

    Raises
    ------
    DatasetMissingError, UsageError
        As in :meth:`ibl_nwb.IBLConverter.from_session`; or if a file that is meant is registered but on no server.
    """
    unavailable = set(kept.unavailable_datasets)
    files = registered_files(kept.record.datasets, unavailable)
    session = RegisteredSession(
        session_path,
        SessionKey.of_record(kept.record),
        [path for path, file in files.items() if file.id not in unavailable],
        selection.revision,
    )
    chosen = {dataset.relative_path: dataset for dataset in chosen_datasets(session, selection)}
    absent = [path for path, file in files.items() if file.id in unavailable]
    _check_not_superseded(session, list(chosen.values()), absent)
    _tell_of_defaults(kept.record.datasets, chosen)
    streamable = _streamable_paths(session, selection) if selection.stream_raw else set()
    return [replace(files[path], is_streamable=path in streamable) for path in sorted(chosen)]


def chosen_datasets(session: ALFSession, selection: Selection) -> list[Dataset]:
    """The datasets of a session that a conversion with some interfaces reads."""
    chosen = list(session.task_settings_datasets()[:1])
    for _, datasets in _declared_datasets(session, selection):
        chosen += datasets
    return chosen


def _streamable_paths(session: ALFSession, selection: Selection) -> set[str]:
    """Compressed recordings that every interface which reads them can read from a server."""
    paths: dict[bool, set[str]] = {True: set(), False: set()}
    for declared, datasets in _declared_datasets(session, selection):
        for dataset in datasets:
            paths[declared.streamable and dataset.extension == "cbin"].add(dataset.relative_path)
    return paths[True] - paths[False]


def _declared_datasets(session: ALFSession, selection: Selection) -> Iterator[tuple[ALFDataset, list[Dataset]]]:
    """Every declaration of the interfaces that are wanted, with the datasets that it stands for."""
    from ..instances import find_source_data
    from ..interfaces import interface_list

    wanted = find_source_data(session, include=selection.include, exclude=selection.exclude)
    for interface in interface_list:
        for instance in interface.get_instances(session):
            if interface.get_instance_name(session, instance) in wanted:
                selected = interface.select_datasets(session, instance)
                yield from ((declared, selected[declared.key]) for declared in interface.datasets)


def registered_files(datasets: Iterable[DatasetRecord], unavailable: Collection[str] = ()) -> dict[str, RegisteredFile]:
    """Files of dataset records by relative path; of several for one path, one that is available, default and late."""

    def preference(dataset: DatasetRecord) -> tuple[bool, bool, str, str]:
        is_available = dataset.id not in unavailable
        return is_available, bool(dataset.default_revision), str(dataset.created_datetime or ""), dataset.id

    files = {}
    for dataset in sorted(datasets, key=preference):
        path = relative_path_of(dataset)
        files[path] = RegisteredFile(dataset.id, path, dataset.file_size, dataset.hash or None)
    return dict(sorted(files.items()))


def relative_path_of(dataset: DatasetRecord) -> str:
    """Path of a dataset below its session folder, without UUID.

    Raises
    ------
    DocumentError
        If it leads out of the folder.
    """
    revision = f"#{dataset.revision}#" if dataset.revision else None
    path = "/".join(part.strip("/") for part in (dataset.collection, revision, dataset.name) if part)
    if ".." in PurePosixPath(path).parts or "\\" in path:
        raise DocumentError(f"Alyx gives '{path}' as the path of dataset {dataset.id}, which leads elsewhere.")
    return path


def _check_not_superseded(session: ALFSession, chosen: list[Dataset], absent: list[str]) -> None:
    """Refuse to convert an old version where a newer one is registered that no server has."""
    if session.revision == UNREVISED:
        return
    all_absent = RegisteredSession(session.path, _key_of(session), absent, session.revision).datasets
    for dataset in chosen:
        for other in all_absent:
            same = (other.collection, other.namespace, other.name) == (
                dataset.collection,
                dataset.namespace,
                dataset.name,
            )
            if same and dataset.revision < other.revision <= (session.revision or other.revision):
                raise DatasetMissingError(
                    f"Alyx registers '{other.relative_path}' for {session.name}, but no server has the file. To use "
                    f"'{dataset.relative_path}' in its place, give --revision {dataset.revision or 'none'}."
                )


def _tell_of_defaults(records: Iterable[DatasetRecord], chosen: dict[str, Dataset]) -> None:
    """Say where the newest revision, which is used, is not the one that Alyx flags as default."""
    for record in records:
        path = relative_path_of(record)
        if path in chosen and record.default_revision is False:
            _logger.warning(
                "'%s' is used, though Alyx has another revision of it as the default. Give a revision to choose.", path
            )


def _key_of(session: ALFSession) -> SessionKey:
    return SessionKey(session.lab, str(session.subject), str(session.date), int(session.number or 0))


def _names(interfaces: Iterable[Any] | None) -> tuple[str, ...] | None:
    """Families or instance names, of classes too."""
    if interfaces is None:
        return None
    given = [interfaces] if isinstance(interfaces, str) else interfaces
    return tuple(interface if isinstance(interface, str) else interface.family for interface in given)
