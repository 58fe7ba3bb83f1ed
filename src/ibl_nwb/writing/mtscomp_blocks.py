"""Samples of files that mtscomp compressed, inflated column after column on their way into chunks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import DatasetUnreadableError
from .codec import Inflater
from .transform import Tiling, place_differences

#: How many times smaller the last columns of a block must become to be kept: sync words, which hardly ever change, do.
_KEPT_RATIO = 10


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
    checks_rest : bool, default: True
        Inflate blocks to their end, where their checksum is, even if no column is wanted from there.
    """

    def __init__(
        self,
        reader: ByteReader,
        compression: dict[str, Any],
        columns: np.ndarray,
        first_sample: int = 0,
        *,
        name: str,
        checks_rest: bool = True,
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
        self._checks_rest = checks_rest
        #: Columns of blocks that another dataset wants, and those that another one has kept for this one.
        self._kept: dict[int, _KeptColumns] | None = None
        self._received: dict[int, _KeptColumns] = {}
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

    def hand_on(self, other: MtscompBlocks) -> None:
        """Keep the columns after the last one for another dataset that wants some of them, if it is of the same file.

        They are inflated here in any case, for the sake of the checksum after them. The other dataset reads from the
        file what it does not find, so that it may also be filled before, or in another process.
        """
        is_after = int(other._columns.min()) > int(self._columns.max())
        if self._checks_rest and is_after and self._reader.identity() == other._reader.identity():
            self._kept = other._received = {} if self._kept is None else self._kept

    def columns(self, start: int, stop: int, tiles: np.ndarray, tiling: Tiling) -> Iterator[None]:
        """As in :class:`~ibl_nwb.writing.blocks.Blocks`.

        Raises
        ------
        DatasetUnreadableError
            If a block is damaged or not there.
        """
        start, stop = start + self._first_sample, stop + self._first_sample
        numbers = self._numbers(start, stop)

        def place(block: _Block | _KeptColumns, columns: np.ndarray) -> None:
            keep = slice(max(start, block.start) - block.start, min(stop, block.stop) - block.start)
            with self._naming(block):
                differences, left = block.take(int(columns.min()), int(columns.max()) + 1)
            place_differences(differences, columns - left, keep, tiles, block.start + keep.start - start, tiling)

        if tiling.tiles_shape[1] == 1:  # one block after the other, of which there may be many
            for number in numbers:
                if number in self._received:
                    place(self._received[number], self._columns)
                    continue
                block = self._open(number)
                place(block, self._columns)
                self._finish(block)
            yield
            return
        blocks = [self._open(number) for number in numbers]
        for channels in tiling.channel_ranges():
            for block in blocks:
                place(block, self._columns[channels])
            yield
        for block in blocks:
            self._finish(block)

    def held_bytes(self, tiling: Tiling) -> int:
        """Compressed blocks, and the copies that are inflated."""
        one_by_one = tiling.tiles_shape[1] == 1
        n_blocks = 1 if one_by_one else -(-tiling.unit_length // int(self._bounds[1]))
        return 2 * n_blocks * int(np.diff(self._offsets).max())

    def _numbers(self, start: int, stop: int) -> range:
        """Blocks that hold samples ``start`` to ``stop`` of the file."""
        first = int(np.searchsorted(self._bounds, start, side="right")) - 1
        return range(first, int(np.searchsorted(self._bounds, stop, side="left")))

    def _place(self, number: int) -> tuple[int, int]:
        """Where a block is in the file: offset and number of bytes."""
        return self._offsets[number], self._offsets[number + 1] - self._offsets[number]

    def _open(self, number: int) -> _Block:
        start, stop = self._bounds[number : number + 2].tolist()
        block = _Block(number, start, stop, self._n_columns, self._is_rising)
        with self._naming(block):
            block.open(self._reader.read(*self._place(number)))
        return block

    def _finish(self, block: _Block) -> None:
        with self._naming(block):
            if self._kept is not None:
                self._keep_rest(block, self._kept)
            if self._checks_rest or block.is_complete:
                block.finish()

    def _keep_rest(self, block: _Block, kept: dict[int, _KeptColumns]) -> None:
        first = int(self._columns.max()) + 1
        columns, left = block.take(first, self._n_columns)
        rest = columns[first - left :]
        packed = zlib.compress(rest.tobytes(), 1)
        if len(packed) * _KEPT_RATIO <= rest.nbytes:
            kept[block.number] = _KeptColumns(block.number, block.start, block.stop, first, packed)

    @contextmanager
    def _naming(self, block: _Block | _KeptColumns) -> Iterator[None]:
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
            self._skip(first - self._n_taken)
        return self._next(last - first), first

    @property
    def is_complete(self) -> bool:
        """Whether all columns were inflated."""
        return self._n_taken == self._n_columns

    def finish(self) -> None:
        """Inflate what is left, and see that it was as much as it should be."""
        self._skip(self._n_columns - self._n_taken)
        self._inflater.finish()

    def _skip(self, n_columns: int) -> None:
        self._n_taken += n_columns
        self._inflater.skip(n_columns * (self.stop - self.start) * 2)

    def _next(self, n_columns: int) -> np.ndarray:
        self._n_taken += n_columns
        content = self._inflater.take(n_columns * (self.stop - self.start) * 2)
        return np.frombuffer(content, dtype="<i2").reshape(n_columns, self.stop - self.start)


@dataclass(frozen=True)
class _KeptColumns:
    """The last columns of a block, packed."""

    number: int
    start: int
    stop: int
    first_column: int
    packed: bytes

    def take(self, first: int, last: int) -> tuple[np.ndarray, int]:
        """As that of a block."""
        columns = np.frombuffer(zlib.decompress(self.packed), dtype="<i2").reshape(-1, self.stop - self.start)
        return columns, self.first_column


def file_identity(path: Path) -> dict[str, Any]:
    """Path, size and time of the last change of a file."""
    status = path.stat()
    return {"path": str(path.resolve()), "size": status.st_size, "changed_ns": status.st_mtime_ns}
