"""What an NWB file in memory consists of, in few numbers: to know whether an unfinished file is of the same inputs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np
from hdmf.container import AbstractContainer
from hdmf.data_utils import AbstractDataChunkIterator, DataIO
from pynwb import NWBFile

from .streamed import StreamedData

#: Packages that decide what is in a file.
_MAKERS = ("ibl-nwb", "neuroconv", "pynwb", "hdmf", "hdmf-zarr", "h5py", "spikeinterface")

#: Fields that differ each time a file is made.
_RANDOM_FIELDS = {"identifier", "file_create_date", "source_script", "source_script_file_name"}


def describe_nwbfile(nwbfile: NWBFile) -> dict[str, str]:
    """Checksums of the fields of all objects, by path. What is computed while it is written counts by shape only.

    Parameters
    ----------
    nwbfile : NWBFile
        The file; nothing of it is changed.

    Returns
    -------
    dict of str to str
    """
    described: dict[str, str] = {}
    for container in nwbfile.all_children():
        path = _path(container)
        fields = {**container.fields, **({"data": container.data} if hasattr(container, "data") else {})}
        for name, value in sorted(fields.items()):
            if name not in _RANDOM_FIELDS:
                described[f"{path}.{name}"] = _describe(value)
    return described


def versions() -> dict[str, str]:
    """Versions of the packages that decide what is in a file."""
    return {package: version(package) for package in _MAKERS}


def _path(container: AbstractContainer) -> str:
    names: list[str] = []
    node: AbstractContainer | None = container
    while node is not None:
        names.append(str(node.name))
        node = node.parent
    return "/".join(reversed(names))


def _describe(value: Any) -> str:
    value = value.data if isinstance(value, DataIO) else value
    if isinstance(value, StreamedData):
        return f"{value.dtype} {value.shape}"  # their source is compared on its own
    if isinstance(value, AbstractDataChunkIterator):
        return f"{type(value).__name__} {value.dtype} {value.maxshape}"
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        octets = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        return f"{value.dtype} {value.shape} {zlib.crc32(octets.data)}"
    if isinstance(value, AbstractContainer):
        return str(value.name)
    if isinstance(value, (list, tuple, np.ndarray)):
        return str(_checksum(value))
    if isinstance(value, (str, int, float, bool, bytes, date, np.generic)) or value is None:
        return repr(value)
    if isinstance(value, dict):  # LabelledDict of containers, which are described themselves
        return str(sorted(map(str, value)))
    return type(value).__name__


def _checksum(values: Any) -> int:
    checksum = 0
    for text in _flatten(values):
        checksum = zlib.crc32(text.encode("utf-8", errors="replace"), checksum)
    return checksum


def _flatten(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield "["
            yield from _flatten(value)
        else:
            yield f"{_describe(value)},"
