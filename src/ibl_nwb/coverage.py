"""What becomes of every file of a session: converted by which interface, read as support, or not converted and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .interfaces import interface_list
from .session import ALFSession, Dataset

Status = Literal["converted", "support", "not converted"]


@dataclass(frozen=True)
class DatasetCoverage:
    """What becomes of one file.

    Attributes
    ----------
    relative_path : str
        POSIX path below the session folder.
    size : int
        Size in bytes.
    status : {"converted", "support", "not converted"}
        "support": read to interpret other datasets.
    interfaces : tuple of str
        Names of the interface instances that read it.
    reason : str
        Why it is not converted, else empty.
    """

    relative_path: str
    size: int
    status: Status
    interfaces: tuple[str, ...]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        return asdict(self) | {"interfaces": list(self.interfaces)}


def inspect_session(session: ALFSession) -> list[DatasetCoverage]:
    """Account for every file of a session.

    Parameters
    ----------
    session : ALFSession
        The session, with the revision that is meant.

    Returns
    -------
    list of DatasetCoverage
        One per file below the session folder, hidden files left out, sorted by relative path.
    """
    readers = _find_readers(session)
    rows = [
        *(_cover(session, dataset, readers.get(dataset.relative_path, {})) for dataset in session.datasets),
        *(
            DatasetCoverage(
                path, (session.path / path).stat().st_size, "not converted", (), "not a name of an ALF dataset"
            )
            for path in session.unrecognised
        ),
    ]
    return sorted(rows, key=lambda row: row.relative_path)


def _find_readers(session: ALFSession) -> dict[str, dict[str, bool]]:
    """Instances that read each file, by relative path, and whether they only use it as support."""
    readers: dict[str, dict[str, bool]] = {}
    for interface in interface_list:
        support = {declared.key: declared.support for declared in interface.datasets}
        for instance in interface.get_instances(session):
            name = interface.get_instance_name(session, instance)
            for key, datasets in interface.select_datasets(session, instance).items():
                for dataset in datasets:
                    uses = readers.setdefault(dataset.relative_path, {})
                    uses[name] = uses.get(name, True) and support[key]
    return readers


def _cover(session: ALFSession, dataset: Dataset, uses: dict[str, bool]) -> DatasetCoverage:
    if not uses:
        reason = next(_reasons(session, dataset))
        return DatasetCoverage(dataset.relative_path, dataset.size, "not converted", (), reason)
    status: Status = "support" if all(uses.values()) else "converted"
    return DatasetCoverage(dataset.relative_path, dataset.size, status, tuple(uses), "")


def _reasons(session: ALFSession, dataset: Dataset) -> Iterator[str]:
    """Why no interface reads a dataset, the most telling reason first."""
    chosen = session.find(dataset.name, collections=dataset.collection)
    if chosen and chosen[0].revision != dataset.revision:
        yield f"another revision is used: {chosen[0].revision or 'the file without a revision'}"
    if chosen and chosen[0].path != dataset.path:
        yield f"another copy is used: {chosen[0].relative_path}"
    for interface in interface_list:
        for name, missing in interface.get_incomplete_instances(session).items():
            if any(_is_of_family(session, dataset, interface)):
                yield f"{name} lacks {', '.join(missing)}"
        if any(_is_of_family(session, dataset, interface)):
            yield f"{interface.family} uses others of its kind (another collection, revision or tracker)"
    yield "no interface reads this kind of dataset yet"


def _is_of_family(session: ALFSession, dataset: Dataset, interface: Any) -> Iterator[bool]:
    """Whether a dataset fits a declaration of an interface, for each instance that the interface could have."""
    from fnmatch import fnmatchcase

    for instance in interface._candidates(session):
        for declared in interface.datasets:
            for name in declared.names:
                yield fnmatchcase(dataset.name, name.format_map(instance))
