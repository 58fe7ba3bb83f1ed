"""What an NWB file was made from: one table with every source dataset that was read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
from hdmf.common import DynamicTable, VectorData
from pynwb import NWBFile

from .alyx import AlyxRecord
from .interfaces.base import ALFInterface
from .session import ALFSession, Dataset

#: Name of the table in ``/analysis``.
TABLE_NAME = "SourceDatasets"

#: Files up to this size are hashed by default: a few seconds for all of a session. Raw recordings and videos are
#: larger; an MD5 of 100 GB costs minutes and a reading of the whole disk, as much as the conversion itself.
SMALL_FILE_BYTES = 1_000_000_000

#: What reads and writes the values, whose versions the table names.
_PACKAGES = (
    *("ibl-nwb", "neuroconv", "pynwb", "hdmf", "h5py", "hdmf-zarr", "ndx-pose"),
    *("ONE-api", "spikeinterface", "mtscomp", "numpy", "pandas", "pyarrow", "iblatlas"),
)

#: Who reads the settings of the first task, which are no interface's.
_METADATA_READER = "session metadata"

_COLUMN_TEXTS = {
    "relative_path": "Path below the session folder, with the revision folder (#...#) and the dataset UUID if any.",
    "revision": "Revision of the file; empty for a file outside any revision folder.",
    "size": "Size of the file in bytes.",
    "md5": "MD5 of the file as hexadecimal digits; empty where it is not known.",
    "md5_origin": (
        "Where the MD5 is from: 'computed' from the file during conversion, or 'Alyx', which registered it for a file "
        "of just this path and size; empty where there is none."
    ),
    "read_from": (
        "'disk'; or 'server': the file was never on the disk of this conversion, its parts were fetched as they were "
        "converted. Its size is what its .ch file and the server say, its MD5 was not computed."
    ),
    "role": "'converted': its values are in this file. 'support': it was read to interpret other datasets.",
    "interfaces": "Names of the interfaces that read it, separated by commas.",
    "package": "Package that read it, with its version.",
}


@dataclass
class _Source:
    """One file and who reads it: names of instances, each with whether it only helps."""

    dataset: Dataset
    readers: dict[str, bool] = field(default_factory=dict)
    packages: list[str] = field(default_factory=list)


def add_source_datasets(
    nwbfile: NWBFile,
    interfaces: Mapping[str, Any],
    *,
    md5: Literal["small", "all", "none"] = "small",
    record: AlyxRecord | None = None,
) -> None:
    """Add the table ``SourceDatasets`` to ``/analysis``: one row for every file that was read.

    Two conversions of the same files by the same packages give equal tables; nothing depends on the machine.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile
        The file to add to.
    interfaces : mapping of str to interface
        Interfaces by instance name, as in ``NWBConverter.data_interface_objects``. Those of other packages are passed
        over. Without any of ours there is no table.
    md5 : {"small", "all", "none"}, default: "small"
        Which files to hash: those up to 1 GB, since a hash of a raw recording would double the reading; all; or none.
        A file that is not hashed, or is on a server, has the MD5 that Alyx registered, if the record has one for that
        path and size.
    record : AlyxRecord, optional
        What Alyx says, for the MD5 of files that are not hashed.
    """
    sources = _collect(interfaces)
    if not sources:
        return
    session = next(i.session for i in interfaces.values() if isinstance(i, ALFInterface))
    registered = _registered_hashes(record)
    hashes = [_hash(source.dataset, md5, registered) for source in sources]
    columns: dict[str, Any] = {
        "relative_path": [source.dataset.relative_path for source in sources],
        "revision": [source.dataset.revision for source in sources],
        "size": np.array([source.dataset.size for source in sources], dtype=np.int64),
        "md5": [digest for digest, _ in hashes],
        "md5_origin": [origin for _, origin in hashes],
        "read_from": ["disk" if source.dataset.url is None else "server" for source in sources],
        "role": ["support" if all(source.readers.values()) else "converted" for source in sources],
        "interfaces": [",".join(source.readers) for source in sources],
        "package": [", ".join(source.packages) for source in sources],
    }
    if TABLE_NAME in nwbfile.analysis:  # the file is one that is appended to
        _extend(nwbfile.analysis[TABLE_NAME], columns)
        return
    nwbfile.add_analysis(
        DynamicTable(
            name=TABLE_NAME,
            description=_describe(session),
            columns=[
                VectorData(name=name, description=_COLUMN_TEXTS[name], data=data) for name, data in columns.items()
            ],
        )
    )


def _extend(table: DynamicTable, columns: dict[str, Any]) -> None:
    """Add the files that a table does not list yet."""
    listed = set(table["relative_path"].data[:])
    for row, path in enumerate(columns["relative_path"]):
        if path not in listed:
            table.add_row(**{name: data[row] for name, data in columns.items()})


def _collect(interfaces: Mapping[str, Any]) -> list[_Source]:
    """Every file that some interface reads, sorted by relative path."""
    sources: dict[str, _Source] = {}
    for name, interface in interfaces.items():
        if not isinstance(interface, ALFInterface):
            continue
        for dataset, is_support in _read_by(interface):
            source = sources.setdefault(dataset.relative_path, _Source(dataset))
            source.readers[name] = source.readers.get(name, True) and is_support
            _note_package(source, interface)
        for dataset in interface.session.task_settings_datasets()[:1]:
            source = sources.setdefault(dataset.relative_path, _Source(dataset))
            source.readers.setdefault(_METADATA_READER, True)
            _note_package(source, interface)
    return [sources[path] for path in sorted(sources)]


def _read_by(interface: ALFInterface) -> Iterator[tuple[Dataset, bool]]:
    support = {declared.key: declared.support for declared in interface.datasets}
    for key, datasets in interface.sources.items():
        yield from ((dataset, support.get(key, False)) for dataset in datasets)


def _note_package(source: _Source, interface: ALFInterface) -> None:
    package = _name_with_version(type(interface).__module__.partition(".")[0].replace("_", "-"))
    if package not in source.packages:
        source.packages.append(package)


def _hash(dataset: Dataset, which: str, registered: dict[str, tuple[int | None, str | None]]) -> tuple[str, str]:
    """MD5 of a file and where it is from."""
    is_wanted = which == "all" or (which == "small" and dataset.size <= SMALL_FILE_BYTES)
    if is_wanted and dataset.url is None:
        with dataset.path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest(), "computed"
    registered_size, registered_hash = registered.get(_path_without_uuid(dataset), (None, None))
    if registered_hash and registered_size == dataset.size:
        return registered_hash.replace("-", "").lower(), "Alyx"
    return "", ""


def _registered_hashes(record: AlyxRecord | None) -> dict[str, tuple[int | None, str | None]]:
    """Size and MD5 that Alyx registered, by relative path."""
    registered = {}
    for row in record.datasets if record is not None else ():
        revision = f"#{row.revision}#" if row.revision else ""
        registered["/".join(filter(None, (row.collection, revision, row.name)))] = (row.file_size, row.hash)
    return registered


def _path_without_uuid(dataset: Dataset) -> str:
    return dataset.relative_path.replace(f".{dataset.uuid}", "") if dataset.uuid else dataset.relative_path


def _describe(session: ALFSession) -> str:
    packages = ", ".join(_name_with_version(package) for package in _PACKAGES)
    folder = "/".join(filter(None, (session.subject, session.date, session.number)))
    which = f"session {folder}" if folder else "the session"
    return f"Files of {which} that were read to make this file, one row for each. Read and written with: {packages}."


def _name_with_version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # an interface in a script, or a package that is optional here
        return package
