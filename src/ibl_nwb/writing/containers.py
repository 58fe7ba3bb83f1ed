"""Files whose large datasets are declared and then filled with finished chunks: HDF5 and Zarr."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py

from .codec import checksum
from .encoders import Encoder, hdf5_encoder, zarr_encoder


class StoredChunk(NamedTuple):
    """Where a chunk is in a file and how to know it again.

    Attributes
    ----------
    position : int
        Byte of the file at which it begins; 0 in Zarr, where each has a file.
    size : int
        Bytes as compressed.
    checksum : int
        CRC-32 of them.
    """

    position: int
    size: int
    checksum: int


class Destination(Protocol):
    """A declared dataset of a file."""

    location: str
    chunk_shape: tuple[int, ...]
    #: None if only the library can write to it.
    encoder: Encoder | None
    #: The dataset itself.
    dataset: Any

    def write(self, offset: tuple[int, ...], data: bytes) -> StoredChunk:
        """Store the compressed chunk that begins at a sample and channel."""

    def restore(self, offset: tuple[int, ...], stored: StoredChunk) -> bool:
        """Have a chunk belong to the dataset that another process stored; False if it is not what it was."""


class HDF5File:
    """An HDF5 file that is being filled.

    What HDF5 knows about its chunks it keeps in memory until the file is closed. So the file of a process that was
    killed is the one in which the datasets were declared, followed by chunks that nothing refers to yet, and not one
    whose index was half written.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = h5py.File(path, "r+")
        _keep_index_in_memory(self._file)
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def destination(self, location: str) -> HDF5Destination:
        """The dataset at a location."""
        return HDF5Destination(self._file[location], location, self._descriptor)

    def close(self) -> None:
        """Write the index of the chunks and close."""
        os.close(self._descriptor)
        self._file.close()


class HDF5Destination:
    """A dataset of an :class:`HDF5File`.

    Parameters
    ----------
    dataset : h5py.Dataset
        The dataset.
    location : str
        Its path in the file.
    descriptor : int
        The file, to read bytes of it.
    """

    def __init__(self, dataset: h5py.Dataset, location: str, descriptor: int):
        self.dataset = dataset
        self.location = location
        self.chunk_shape: tuple[int, ...] = dataset.chunks
        self.encoder = hdf5_encoder(dataset)
        self._descriptor = descriptor
        self._file_size = os.fstat(descriptor).st_size
        #: Position and size of the chunks that the file knows of, by offset.
        self._indexed: dict[tuple[int, ...], tuple[int, int]] = {}
        if dataset.id.get_num_chunks():
            dataset.id.chunk_iter(self._remember)

    def _remember(self, chunk: Any) -> None:
        self._indexed[tuple(chunk.chunk_offset)] = (chunk.byte_offset, chunk.size)

    def write(self, offset: tuple[int, ...], data: bytes) -> StoredChunk:
        """As in :class:`Destination`."""
        self.dataset.id.write_direct_chunk(offset, data)
        size_before, size = self._file_size, os.fstat(self._descriptor).st_size
        self._file_size = size
        # Asking HDF5 takes longer the more chunks there are; a new one is the last thing in the file.
        is_new = size >= size_before + len(data)
        position = size - len(data) if is_new else self.dataset.id.get_chunk_info_by_coord(offset).byte_offset
        return StoredChunk(position, len(data), checksum(data))

    def restore(self, offset: tuple[int, ...], stored: StoredChunk) -> bool:
        """As in :class:`Destination`.

        A chunk that the file does not know of is written to where it is already, since HDF5 allocates alike in every
        process. Were it to go elsewhere, and over others, their checksums would tell.
        """
        os.lseek(self._descriptor, stored.position, os.SEEK_SET)
        data = os.read(self._descriptor, stored.size)
        if len(data) != stored.size or checksum(data) != stored.checksum:
            return False
        if self._indexed.get(offset) != (stored.position, stored.size):
            self.dataset.id.write_direct_chunk(offset, data)
            self._file_size = os.fstat(self._descriptor).st_size
        return True


class ZarrFolder:
    """A Zarr folder that is being filled.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    """

    def __init__(self, path: Path):
        import zarr

        self.path = path
        self._root = zarr.open(str(path), mode="r+")

    def destination(self, location: str) -> ZarrDestination:
        """The array at a location."""
        return ZarrDestination(self._root[location], location)

    def close(self) -> None:
        """Every chunk is in its file already."""


class ZarrDestination:
    """An array of a :class:`ZarrFolder`.

    Parameters
    ----------
    array : zarr.Array
        The array.
    location : str
        Its path in the folder.
    """

    def __init__(self, array: Any, location: str):
        self.dataset = array
        self.location = location
        self.chunk_shape: tuple[int, ...] = array.chunks
        self.encoder = zarr_encoder(array)
        description = json.loads(array.store[f"{location}/.zarray"])
        self._separator = description.get("dimension_separator", ".")

    def write(self, offset: tuple[int, ...], data: bytes) -> StoredChunk:
        """As in :class:`Destination`; the file of a chunk appears when it is complete."""
        self.dataset.store[self._key(offset)] = data
        return StoredChunk(0, len(data), checksum(data))

    def restore(self, offset: tuple[int, ...], stored: StoredChunk) -> bool:
        """As in :class:`Destination`."""
        data = self.dataset.store.get(self._key(offset))
        return data is not None and checksum(data) == stored.checksum

    def _key(self, offset: tuple[int, ...]) -> str:
        numbers = (str(begin // size) for begin, size in zip(offset, self.chunk_shape, strict=True))
        return f"{self.location}/{self._separator.join(numbers)}"


Container = HDF5File | ZarrFolder

CONTAINERS: dict[str, type[HDF5File] | type[ZarrFolder]] = {"hdf5": HDF5File, "zarr": ZarrFolder}


def _keep_index_in_memory(file: h5py.File) -> None:
    """Have HDF5 write no metadata before it is told to (H5Pset_mdc_config)."""
    config = file.id.get_mdc_config()
    config.incr_mode = config.flash_incr_mode = config.decr_mode = 0  # required where nothing may be evicted
    config.evictions_enabled = False
    file.id.set_mdc_config(config)
