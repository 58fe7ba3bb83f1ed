"""What becomes of every file of a session: converted by which interface, read as support, or not converted and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .interfaces import interface_list
from .interfaces.base import ALFInterface
from .not_converted import reason_left_out
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
    for dataset in session.task_settings_datasets()[:1]:
        readers[dataset.relative_path] = {"session metadata": True}
    for interface in interface_list:
        if not interface.by_default:
            continue
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
    for other in session.find(dataset.name, collections=dataset.collection):
        if other.revision != dataset.revision:
            yield f"another revision is used: {other.revision or 'the file without a revision'}"
        elif other.path != dataset.path:
            yield f"another copy is used: {other.relative_path}"
    for interface in interface_list:
        yield from _reasons_of_family(session, dataset, interface)
    left_out = reason_left_out(dataset)
    if left_out:
        yield left_out
    yield "no interface reads this kind of dataset yet"


def _reasons_of_family(session: ALFSession, dataset: Dataset, interface: type[ALFInterface]) -> Iterator[str]:
    """Why an interface that knows this kind of dataset does not read it."""
    for instance in interface.get_instances(session):
        selected = interface.select_datasets(session, instance)
        for declared in interface.datasets:
            if declared.fits(dataset, instance) and selected[declared.key]:
                used = ", ".join(other.relative_path for other in selected[declared.key])
                yield f"{interface.get_instance_name(session, instance)} uses {used} instead"
            elif declared.fits(dataset, instance):
                yield f"of another revision than what {interface.get_instance_name(session, instance)} uses"
    for name, (instance, missing) in interface.get_incomplete_instances(session).items():
        if any(declared.fits(dataset, instance) for declared in interface.datasets):
            yield f"{name} lacks {', '.join(missing)}"
    companions = interface.get_companions(dataset)
    if companions:
        yield f"{interface.family} reads it only beside {', '.join(companions)}"
