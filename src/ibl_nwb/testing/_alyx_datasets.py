"""Alyx's records of the datasets of an example session: real sizes and MD5 sums of the files on disk."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ._random import dataset_uuid, random_generator, random_uuid

ALYX_URL = "https://alyx.example.org"
STORAGE_URL = "https://data.example.org"

#: Alyx's name of a file's format, where it is not the extension.
DATA_FORMATS = {"pqt": "parquet"}

#: End of the name of a SpikeGLX file to its dataset type.
EPHYS_TYPES = {
    "ap.cbin": "ephysData.raw.ap",
    "ap.bin": "ephysData.raw.ap",
    "lf.cbin": "ephysData.raw.lf",
    "lf.bin": "ephysData.raw.lf",
    "nidq.cbin": "ephysData.raw.nidq",
    "nidq.bin": "ephysData.raw.nidq",
    "wiring.json": "ephysData.raw.wiring",
    "ch": "ephysData.raw.ch",
    "meta": "ephysData.raw.meta",
    "sync.npy": "ephysData.raw.sync",
    "timestamps.npy": "ephysData.raw.timestamps",
}

#: Objects whose dataset types hold the namespace `_ibl_`; for others it is left out.
IBL_NAMESPACE_OBJECTS = ("experiment",)


class DatasetRecord(NamedTuple):
    """
    What Alyx knows of one dataset.

    Attributes
    ----------
    identifier : str
        UUID.
    name : str
        File name without UUID.
    dataset_type : str
        Such as ``"camera.times"``.
    data_format : str
        Such as ``"npy"``.
    collection, revision : str
        Empty strings when there is none.
    relative_path : str
        Path below the session folder, without UUID, with forward slashes.
    size : int
        Bytes.
    md5 : str
        Hexadecimal.
    is_default : bool
        Whether this is the newest version of the dataset.
    """

    identifier: str
    name: str
    dataset_type: str
    data_format: str
    collection: str
    revision: str
    relative_path: str
    size: int
    md5: str
    is_default: bool


class SessionAddress(NamedTuple):
    """Where a session is in Alyx and in the storage."""

    identifier: str
    lab: str
    subject: str
    date: str
    number: int
    start_time: str

    @property
    def relative_path(self) -> str:
        """Path below the lab's `Subjects` folder."""
        return f"{self.subject}/{self.date}/{self.number:03d}"


def dataset_records(session_path: Path, seed: int) -> list[DatasetRecord]:
    """Register every file of a session, sorted by path."""
    records = [_record(session_path, path, seed) for path in sorted(session_path.rglob("*")) if path.is_file()]
    newest: dict[tuple[str, str], str] = {}
    for record in records:
        key = (record.collection, record.name)
        newest[key] = max(newest.get(key, ""), record.revision)
    return [record._replace(is_default=record.revision == newest[record.collection, record.name]) for record in records]


def session_dataset_answer(record: DatasetRecord, address: SessionAddress) -> dict[str, Any]:
    """Give a dataset as it appears inside a `sessions/read` answer."""
    return {
        **_common_fields(record, address),
        "revision": record.revision,
        # Alyx writes this one as text.
        "default_revision": str(record.is_default),
        "qc": "NOT_SET",
    }


def insertion_dataset_answer(record: DatasetRecord, address: SessionAddress) -> dict[str, Any]:
    """Give a dataset as it appears inside an `insertions/read` answer: the revision is in the URL only."""
    return {**_common_fields(record, address), "qc": 0}


def datasets_list_answer(records: Iterable[DatasetRecord], address: SessionAddress, seed: int) -> list[dict[str, Any]]:
    """Give the results of `datasets/list` for a session."""
    return [
        {
            "url": f"{ALYX_URL}/datasets/{record.identifier}",
            "name": record.name,
            "created_by": "ada.example",
            "created_datetime": f"{address.date}T20:00:00.250000",
            "dataset_type": record.dataset_type,
            "data_format": record.data_format,
            "collection": record.collection,
            "session": f"{ALYX_URL}/sessions/{address.identifier}",
            "file_size": record.size,
            "hash": record.md5,
            "version": "example-1.0",
            "experiment_number": address.number,
            "file_records": _file_records(record, address, seed),
            "auto_datetime": f"{address.date}T21:00:00.500000",
            "revision": record.revision,
            "default_dataset": record.is_default,
            "protected": 0,
            "public": 1,
            "tags": [],
            "qc": "NOT_SET",
            "json": None,
        }
        for record in records
    ]


def _common_fields(record: DatasetRecord, address: SessionAddress) -> dict[str, Any]:
    return {
        "id": record.identifier,
        "name": record.name,
        "dataset_type": record.dataset_type,
        "data_url": _data_url(record, address),
        "url": f"{ALYX_URL}/datasets/{record.identifier}",
        "file_size": record.size,
        "hash": record.md5,
        "version": "example-1.0",
        "collection": record.collection,
    }


def _record(session_path: Path, path: Path, seed: int) -> DatasetRecord:
    from one.alf.path import ALFPath

    bare = ALFPath(path).without_uuid()
    relative_path = Path(bare).relative_to(session_path).as_posix()
    data = path.read_bytes()
    extension = bare.suffix.removeprefix(".")
    return DatasetRecord(
        identifier=dataset_uuid(seed, relative_path),
        name=bare.name,
        dataset_type=_dataset_type(bare.name),
        data_format=DATA_FORMATS.get(extension, extension),
        collection=bare.collection,
        revision=bare.revision,
        relative_path=relative_path,
        size=len(data),
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        is_default=True,
    )


def _dataset_type(name: str) -> str:
    """Name the type of a dataset: object and attribute, with the namespace of the device that made it."""
    from one.alf.path import filename_parts

    namespace, alf_object, attribute, timescale, _, _ = filename_parts(name)
    if alf_object.startswith("ephysData"):
        return next(kind for ending, kind in EPHYS_TYPES.items() if name.endswith(f".{ending}"))
    if alf_object.endswith("Camera"):
        alf_object = "camera"
    # Times on the Bpod clock are of the same type as those on the session clock, times of the microphone are not.
    suffix = f"_{timescale}" if timescale and timescale != "bpod" else ""
    keeps_namespace = namespace and (namespace != "ibl" or alf_object in IBL_NAMESPACE_OBJECTS)
    prefix = f"_{namespace}_" if keeps_namespace else ""
    return f"{prefix}{alf_object}.{attribute}{suffix}"


def _data_url(record: DatasetRecord, address: SessionAddress) -> str:
    stem, _, extension = record.relative_path.rpartition(".")
    folder = f"{STORAGE_URL}/public/{address.lab}/Subjects/{address.relative_path}"
    return f"{folder}/{stem}.{record.identifier}.{extension}"


def _file_records(record: DatasetRecord, address: SessionAddress, seed: int) -> list[dict[str, Any]]:
    """Give the two copies: one in the public storage, one on the lab's server, which has no URL."""
    generator = random_generator(seed, "file records", record.relative_path)
    copies = {
        f"flatiron_{address.lab}": (f"/public/{address.lab}/Subjects/", _data_url(record, address)),
        f"{address.lab}_SR": ("/mnt/s0/Data/Subjects/", None),
    }
    return [
        {
            "id": random_uuid(generator),
            "data_repository": repository,
            "data_repository_path": folder,
            "relative_path": f"{address.relative_path}/{record.relative_path}",
            "data_url": url,
            "exists": True,
        }
        for repository, (folder, url) in copies.items()
    ]
