"""Raw recordings straight from a server: blocks of a ``.cbin`` file by HTTP range requests, never the whole file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DatasetUnreadableError
from ..spikeglx_recording import read_compression
from .mtscomp_blocks import MtscompBlocks
from .transform import Tiling


class RemoteSamples:
    """Samples of a ``.cbin`` file on a server; see :class:`~ibl_nwb.spikeglx_recording.RawSamples`.

    Nothing is asked of the server before samples are read. Then the file must be as long as the ``.ch`` file says.

    Parameters
    ----------
    url : str
        Address of the ``.cbin`` file.
    compression_path : pathlib.Path
        Its ``.ch`` file, on disk.
    n_columns : int
        Columns per sample, sync words included.

    Raises
    ------
    DatasetUnreadableError, DatasetInconsistentError
        If the ``.ch`` file is not that of mtscomp or of another recording, or the compression is not that of IBL.
    UsageError
        If what is needed to read from a server is not installed.
    """

    def __init__(self, url: str, compression_path: Path, n_columns: int):
        # The one place outside of `acquire` that uses it, for recordings that have an address only.
        from ..acquire.ranges import RangeReader

        self._compression = read_compression(compression_path, n_columns)
        self._reader = RangeReader(url, int(self._compression["chunk_offsets"][-1]))
        if not MtscompBlocks.can_read(self._compression):
            raise DatasetUnreadableError(
                f"'{self._reader.url}' is not compressed the way IBL does, by '{compression_path}'. Download it: "
                "convert without --stream-raw."
            )
        self._n_columns = n_columns
        self.n_samples = int(self._compression["chunk_bounds"][-1])
        self.block_length = int(self._compression["chunk_bounds"][1])

    def blocks(self, columns: np.ndarray, first_sample: int = 0, *, checks_rest: bool = True) -> RemoteBlocks:
        """Some columns from some sample on, to be written by several threads; see :class:`MtscompBlocks`."""
        compression = {**self._compression, "n_channels": self._n_columns}
        name = self._reader.url
        return RemoteBlocks(self._reader, compression, columns, first_sample, name=name, checks_rest=checks_rest)

    def read(self, start: int, stop: int, columns: Any) -> np.ndarray:
        """As in :class:`~ibl_nwb.spikeglx_recording.RawSamples`; blocks are fetched each time.

        Raises
        ------
        NetworkError, DatasetMissingError, DatasetInconsistentError
            As in :meth:`ibl_nwb.acquire.ranges.RangeReader.read`.
        DatasetUnreadableError
            If a block cannot be inflated.
        """
        selected = np.arange(self._n_columns)[columns]
        shape = (max(stop - start, 0), len(selected))
        tiles = np.zeros((1, 1, shape[0] * shape[1] * 2), np.uint8)
        if tiles.size:
            tiling = Tiling(shape, shape, shape[0], np.dtype("int16"), is_shuffled=False)
            for _ in self.blocks(selected).columns(start, stop, tiles, tiling):
                pass
        return tiles.view("<i2").reshape(shape)


class RemoteBlocks(MtscompBlocks):
    """Blocks on a server, which can be fetched ahead."""

    def announce(self, start: int, stop: int) -> None:
        """Begin to fetch samples of the dataset that will be read soon."""
        for number in self._numbers(start + self._first_sample, stop + self._first_sample):
            self._reader.announce(*self._place(number))  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Give up what was announced and not read."""
        self._reader.forget()  # type: ignore[attr-defined]
