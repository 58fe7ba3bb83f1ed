"""Samples of files that mtscomp compressed, inflated column after column on their way into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import DatasetUnreadableError
from .codec import Inflater
from .transform import Tiling, place_differences


class ByteReader(Protocol):
    """Bytes of a file that may be anywhere."""

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Bytes from an offset on; fewer if the file ends before."""

    def identity(self) -> dict[str, Any]:
        """What tells this file from others, as JSON values."""


class FileReader:
    """Bytes of a file on disk, for several threads; it is open only while it is read.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    """

    def __init__(self, path: Path):
        self._path = path

    def read(self, offset: int, n_bytes: int) -> bytes:
        """As in :class:`ByteReader`."""
        with self._path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(n_bytes)

    def identity(self) -> dict[str, Any]:
        """Path, size, and time of the last change."""
        return file_identity(self._path)


class MtscompBlocks:
    """Blocks of a file that mtscomp compressed the way IBL does: time differences, column after column.

    Parameters
    ----------
    reader : ByteReader
        The ``.cbin`` file.
    compression : dict
        What its ``.ch`` file says.
    columns : numpy.ndarray
        ``(n_channels,)`` int64: the column of the file for each channel of the dataset.
    first_sample : int, default: 0
        Sample of the file at which the dataset begins.
    name : str
        What to call the file in messages.
    """

    def __init__(
        self, reader: ByteReader, compression: dict[str, Any], columns: np.ndarray, first_sample: int = 0, *, name: str
    ):
        self._reader = reader
        self._bounds = np.asarray(compression["chunk_bounds"], dtype=np.int64)
        self._offsets = compression["chunk_offsets"]
        self._n_columns = int(compression["n_channels"])
        self._columns = np.ascontiguousarray(columns, dtype=np.int64)
        self._is_rising = bool((np.diff(self._columns) > 0).all())
        self._first_sample = first_sample
        self._checksum = compression.get("sha1_compressed")
        self._name = name
        self.block_length: int | None = int(self._bounds[1])

    @staticmethod
    def can_read(compression: dict[str, Any]) -> bool:
        """Whether a file is compressed that way."""
        return (
            compression["chunk_order"] == "F"
            and bool(compression["do_time_diff"])
            and not compression["do_spatial_diff"]
            and compression["dtype"] == "int16"
        )

    def part(self, columns: np.ndarray, first_sample: int) -> MtscompBlocks:
        """Some of the channels from some sample on."""
        compression = {
            "chunk_bounds": self._bounds,
            "chunk_offsets": self._offsets,
            "n_channels": self._n_columns,
            "sha1_compressed": self._checksum,
        }
        first_sample += self._first_sample
        return MtscompBlocks(self._reader, compression, self._columns[columns], first_sample, name=self._name)

    def columns(self, start: int, stop: int, tiles: np.ndarray, tiling: Tiling) -> Iterator[None]:
        """As in :class:`~ibl_nwb.writing.blocks.Blocks`.

        Raises
        ------
        DatasetUnreadableError
            If a block is damaged or not there.
        """
        start, stop = start + self._first_sample, stop + self._first_sample
        first = int(np.searchsorted(self._bounds, start, side="right")) - 1
        last = int(np.searchsorted(self._bounds, stop, side="left"))
        blocks = [self._open(block) for block in range(first, last)]
        for channels in tiling.channel_ranges():
            columns = self._columns[channels]
            for block in blocks:
                keep = slice(max(start, block.start) - block.start, min(stop, block.stop) - block.start)
                with self._naming(block):
                    differences, left = block.take(int(columns.min()), int(columns.max()) + 1)
                place_differences(differences, columns - left, keep, tiles, block.start + keep.start - start, tiling)
            yield
        for block in blocks:
            with self._naming(block):
                block.finish()

    def _open(self, number: int) -> _Block:
        start, stop = self._bounds[number : number + 2].tolist()
        block = _Block(number, start, stop, self._n_columns, self._is_rising)
        offset, n_bytes = self._offsets[number], self._offsets[number + 1] - self._offsets[number]
        with self._naming(block):
            block.open(self._reader.read(offset, n_bytes))
        return block

    @contextmanager
    def _naming(self, block: _Block) -> Iterator[None]:
        """Say which block of which file cannot be read."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise DatasetUnreadableError(
                f"Block {block.number} of '{self._name}', from sample {block.start} on, cannot be decompressed: "
                f"{error}. The file is damaged; get it again, or leave the raw recording out with --exclude."
            ) from error

    def identity(self) -> dict[str, Any]:
        """File, checksum of its header, and the part of it."""
        return {
            **self._reader.identity(),
            "sha1": self._checksum,
            "first_sample": self._first_sample,
            "columns": self._columns.tolist(),
        }


class _Block:
    """A block that is being inflated, column after column; all at once if columns are not asked for in their order."""

    def __init__(self, number: int, start: int, stop: int, n_columns: int, is_sequential: bool):
        self.number, self.start, self.stop = number, start, stop
        self._n_columns = n_columns
        self._is_sequential = is_sequential
        self._n_taken = 0
        self._all: np.ndarray | None = None

    def open(self, data: bytes) -> None:
        self._inflater = Inflater(data)
        if not self._is_sequential:
            self._all = self._next(self._n_columns)

    def take(self, first: int, last: int) -> tuple[np.ndarray, int]:
        """``(n_columns, n_samples)`` int16 with columns ``first`` to ``last``, perhaps others, and which is first."""
        if self._all is not None:
            return self._all, 0
        if first > self._n_taken:
            self._next(first - self._n_taken)
        return self._next(last - first), first

    def finish(self) -> None:
        """Inflate what is left, and see that it was as much as it should be."""
        self._next(self._n_columns - self._n_taken)
        self._inflater.finish()

    def _next(self, n_columns: int) -> np.ndarray:
        self._n_taken += n_columns
        content = self._inflater.take(n_columns * (self.stop - self.start) * 2)
        return np.frombuffer(content, dtype="<i2").reshape(n_columns, self.stop - self.start)


def file_identity(path: Path) -> dict[str, Any]:
    """Path, size and time of the last change of a file."""
    status = path.stat()
    return {"path": str(path.resolve()), "size": status.st_size, "changed_ns": status.st_mtime_ns}
