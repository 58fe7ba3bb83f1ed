"""Raw recordings straight from a server: blocks of a ``.cbin`` file by HTTP range requests, never the whole file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, BaseRecordingSegment

from ..errors import DatasetInconsistentError, DatasetUnreadableError
from ..probe_clock import ProbeClock
from ..spikeglx import SpikeGLXMeta
from .mtscomp_blocks import MtscompBlocks
from .transform import Tiling


class RangeReader:
    """Bytes of a file on a server, for several threads.

    Parameters
    ----------
    url : str
        Any address that fsspec knows, such as ``https://...``.
    attempts : int, default: 5
        How often a range is asked for before giving up.
    wait_s : float, default: 0.5
        Seconds before the second attempt; doubled each time.
    **storage_options
        Passed on to fsspec.

    Raises
    ------
    DatasetUnreadableError
        If the server does not answer or does not say how large the file is.
    """

    def __init__(self, url: str, *, attempts: int = 5, wait_s: float = 0.5, **storage_options: Any):
        import fsspec

        self.url, self._attempts, self._wait_s = url, attempts, wait_s
        self._filesystem, self._path = fsspec.core.url_to_fs(url, **storage_options)
        self._info = self._persistently(lambda: self._filesystem.info(self._path))
        if not self._info.get("size"):
            raise DatasetUnreadableError(f"The server does not say how large '{url}' is. Download the file instead.")

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return int(self._info["size"])

    def read(self, offset: int, n_bytes: int) -> bytes:
        """As in :class:`~ibl_nwb.writing.mtscomp_blocks.ByteReader`."""

        def read_range() -> bytes:
            data = self._filesystem.cat_file(self._path, start=offset, end=offset + n_bytes)
            if len(data) != n_bytes:  # cut off, or the whole file from a server that ignores ranges
                raise OSError(f"the server sent {len(data)} bytes instead of the {n_bytes} from byte {offset} on")
            return data

        return self._persistently(read_range)

    def identity(self) -> dict[str, Any]:
        """Address, size, and what the server says about the version."""
        return {"url": self.url, **{key: self._info.get(key) for key in ("size", "ETag", "LastModified", "mtime")}}

    def _persistently(self, action: Any) -> Any:
        from aiohttp import ClientError

        for attempt in range(self._attempts):
            try:
                return action()
            except (OSError, ClientError) as error:
                if attempt == self._attempts - 1:
                    raise DatasetUnreadableError(
                        f"'{self.url}' cannot be read: {str(error) or type(error).__name__} (asked {self._attempts} "
                        "times). Try again later with --resume, or download the file."
                    ) from error
            time.sleep(self._wait_s * 2**attempt)
        raise AssertionError("unreachable")


class RemoteSpikeGLXRecording(BaseRecording):
    """The voltages of one band of one probe, read from a server block by block.

    Parameters
    ----------
    url : str
        The ``.cbin`` file.
    meta_path : pathlib.Path or str
        Its ``.meta`` file, on disk.
    compression_path : pathlib.Path or str
        Its ``.ch`` file, on disk.
    clock : ProbeClock, optional
        Session times of the samples. Default: the probe's own clock, from 0.
    **reader_options
        Passed on to :class:`RangeReader`.

    Raises
    ------
    DatasetUnreadableError
        If the server does not answer, or the compression is not that of IBL.
    DatasetInconsistentError
        If the files do not belong together.
    """

    def __init__(
        self,
        url: str,
        meta_path: Path | str,
        compression_path: Path | str,
        clock: ProbeClock | None = None,
        **reader_options: Any,
    ):
        meta = SpikeGLXMeta(meta_path)
        compression = json.loads(Path(compression_path).read_text(encoding="utf-8"))
        if not MtscompBlocks.can_read(compression):
            raise DatasetUnreadableError(
                f"'{url}' is not compressed the way IBL does, by '{compression_path}'. Download it instead."
            )
        reader = RangeReader(url, **reader_options)
        stated = (compression["n_channels"], compression["chunk_offsets"][-1])
        if stated != (meta.n_saved_channels, reader.size):
            raise DatasetInconsistentError(
                f"'{compression_path}' describes {stated[0]} channels in {stated[1]} bytes, but there are "
                f"{meta.n_saved_channels} by the metadata and '{url}' has {reader.size} bytes. They do not belong "
                "together."
            )
        clock = clock or ProbeClock(meta.sampling_rate_hz)
        n_samples = int(compression["chunk_bounds"][-1])
        start, rate = clock.start_and_rate(n_samples)
        names = [f"{meta.band.upper()}{number}" for number in meta.site_numbers]
        super().__init__(sampling_frequency=rate, channel_ids=names, dtype="int16")
        #: Where :class:`~ibl_nwb.writing.traces.StreamedTraces` has the samples from.
        self.blocks = MtscompBlocks(reader, compression, np.arange(meta.n_neural_channels), name=url)
        self.add_recording_segment(_RemoteSegment(self.blocks, n_samples, len(names), start, rate))
        self.set_channel_gains(meta.volts_per_count * 1e6)
        self.set_channel_offsets(0.0)
        self._serializability = {"json": False, "memory": False, "pickle": False}


class _RemoteSegment(BaseRecordingSegment):
    """The only segment; what is asked for is inflated each time."""

    def __init__(self, blocks: MtscompBlocks, n_samples: int, n_channels: int, start: float, rate: float):
        super().__init__(sampling_frequency=rate, t_start=start)
        self._blocks, self._shape = blocks, (n_samples, n_channels)

    def get_num_samples(self) -> int:
        return self._shape[0]

    def get_traces(
        self, start_frame: int | None = None, end_frame: int | None = None, channel_indices: Any = None
    ) -> np.ndarray:
        start = max(start_frame or 0, 0)
        stop = self._shape[0] if end_frame is None else min(end_frame, self._shape[0])
        shape = (max(stop - start, 0), self._shape[1])
        tiles = np.zeros((1, 1, shape[0] * shape[1] * 2), np.uint8)
        if shape[0]:
            tiling = Tiling(shape, shape, shape[0], np.dtype("int16"), is_shuffled=False)
            for _ in self._blocks.columns(start, stop, tiles, tiling):
                pass
        return tiles.view("<i2").reshape(shape)[:, slice(None) if channel_indices is None else channel_indices]
