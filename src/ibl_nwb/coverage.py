"""What becomes of every file of a session: converted by which interface, read as support, or not converted and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .interfaces import interface_list
from .interfaces.base import ALFInterface
from .not_converted import reason_left_out
from .session import ALFSession, Dataset, parse_dataset

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


@dataclass(frozen=True)
class Reader:
    """An interface that knows a kind of file.

    Attributes
    ----------
    interface : str
        Name of its class.
    support : bool
        Whether it only reads the file to interpret others.
    beside : tuple of str
        Names of the other datasets without which it does not read the file.
    """

    interface: str
    support: bool
    beside: tuple[str, ...]


def find_readers(dataset: Dataset) -> list[Reader]:
    """Interfaces whose declarations speak of a file, whatever else is in its session.

    Parameters
    ----------
    dataset : Dataset
        The file; it need not exist.

    Returns
    -------
    list of Reader
        In the order in which a converter runs them.
    """
    return [
        Reader(interface.__name__, all(d.support for d in declared), interface.get_companions(dataset))
        for interface in interface_list
        if (declared := interface.get_declarations(dataset))
    ]


def describe_dataset(relative_path: str) -> tuple[list[Reader], str | None]:
    """What becomes of a file by its name alone.

    Parameters
    ----------
    relative_path : str
        POSIX path below the session folder.

    Returns
    -------
    readers : list of Reader
        See :func:`find_readers`.
    reason : str or None
        Why it is not converted where no interface reads it, or None where that was not decided.
    """
    dataset = parse_dataset(Path(), relative_path) or _unrecognised(relative_path)
    return find_readers(dataset), reason_left_out(dataset)


def account_for(session: ALFSession) -> dict[str, tuple[Status, tuple[str, ...], str]]:
    """Status, interfaces and reason (see :class:`DatasetCoverage`) of every file by relative path, from names alone."""
    families = [_Family.of(interface, session) for interface in interface_list]
    uses = _find_uses(session, families)
    return {
        **{d.relative_path: _cover(session, d, uses.get(d.relative_path, {}), families) for d in session.datasets},
        **{path: ("not converted", (), _reason_unrecognised(path)) for path in session.unrecognised},
    }


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
    sizes = {dataset.relative_path: dataset.size for dataset in session.datasets}
    sizes |= {path: (session.path / path).stat().st_size for path in session.unrecognised}
    return [
        DatasetCoverage(path, sizes[path], status, interfaces, reason)
        for path, (status, interfaces, reason) in sorted(account_for(session).items())
    ]


@dataclass(frozen=True)
class _Family:
    """What one interface makes of a session.

    ``instances`` holds handles and selected files of each instance by name, ``incomplete`` handles and what is missing.
    """

    interface: type[ALFInterface]
    instances: dict[str, tuple[dict[str, str], dict[str, list[Dataset]]]]
    incomplete: dict[str, tuple[dict[str, str], tuple[str, ...]]]

    @classmethod
    def of(cls, interface: type[ALFInterface], session: ALFSession) -> _Family:
        instances = {
            interface.get_instance_name(session, instance): (instance, interface.select_datasets(session, instance))
            for instance in interface.get_instances(session)
        }
        return cls(interface, instances, interface.get_incomplete_instances(session))


def _find_uses(session: ALFSession, families: list[_Family]) -> dict[str, dict[str, bool]]:
    """Instances that read each file, by relative path, and whether they only use it as support."""
    uses: dict[str, dict[str, bool]] = {}
    for dataset in session.task_settings_datasets()[:1]:
        uses[dataset.relative_path] = {"session metadata": True}
    for family in families:
        if not family.interface.by_default:
            continue
        support = {declared.key: declared.support for declared in family.interface.datasets}
        for name, (_, selected) in family.instances.items():
            for key, datasets in selected.items():
                for dataset in datasets:
                    of_dataset = uses.setdefault(dataset.relative_path, {})
                    of_dataset[name] = of_dataset.get(name, True) and support[key]
    return uses


def _cover(
    session: ALFSession, dataset: Dataset, uses: dict[str, bool], families: list[_Family]
) -> tuple[Status, tuple[str, ...], str]:
    if not uses:
        return "not converted", (), next(_reasons(session, dataset, families))
    return "support" if all(uses.values()) else "converted", tuple(uses), ""


def _unrecognised(relative_path: str) -> Dataset:
    """A file whose name is not ALF's, all of which counts as the name."""
    collection, _, name = relative_path.rpartition("/")
    return Dataset(Path(relative_path), relative_path, collection, "", "", name, "", "", "", "", None)


def _reason_unrecognised(relative_path: str) -> str:
    return reason_left_out(_unrecognised(relative_path)) or "not a name of an ALF dataset"


def _reasons(session: ALFSession, dataset: Dataset, families: list[_Family]) -> Iterator[str]:
    """Why no interface reads a dataset, the most telling reason first."""
    for other in session.find(dataset.name, collections=dataset.collection):
        if other.revision != dataset.revision:
            yield f"another revision is used: {other.revision or 'the file without a revision'}"
        elif other.path != dataset.path:
            yield f"another copy is used: {other.relative_path}"
    for family in families:
        yield from _reasons_of_family(dataset, family)
    left_out = reason_left_out(dataset)
    if left_out:
        yield left_out
    yield "no interface reads this kind of dataset yet"


def _reasons_of_family(dataset: Dataset, family: _Family) -> Iterator[str]:
    """Why an interface that knows this kind of dataset does not read it."""
    if not family.interface.get_declarations(dataset):
        return
    for name, (instance, selected) in family.instances.items():
        if any(dataset in datasets for datasets in selected.values()):
            yield f"{name} converts it, but only where it is asked for"
        for declared in family.interface.datasets:
            if declared.fits(dataset, instance) and selected[declared.key]:
                used = ", ".join(other.relative_path for other in selected[declared.key])
                yield f"{name} uses {used} instead"
            elif declared.fits(dataset, instance):
                yield f"of another revision than what {name} uses"
    for name, (instance, missing) in family.incomplete.items():
        if any(declared.fits(dataset, instance) for declared in family.interface.datasets):
            yield f"{name} lacks {', '.join(missing)}"
    if family.instances and not dataset.collection:
        yield f"{next(iter(family.instances))} uses what is in a folder instead of the session's root"
    companions = family.interface.get_companions(dataset)
    if companions:
        yield f"{family.interface.family} reads it only beside {', '.join(companions)}"
