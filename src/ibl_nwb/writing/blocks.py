"""Where the samples of a streamed dataset come from: blocks of mtscomp, flat files, or any SpikeInterface recording."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from spikeinterface.core import BaseRecording, ChannelSliceRecording, FrameSliceRecording

from ..spikeglx_recording import CompressedSamples, FlatSamples, RawSamples, SpikeGLXRecording
from .mtscomp_blocks import FileReader, MtscompBlocks, file_identity
from .remote import RemoteSamples
from .transform import Tiling, place_samples


class Blocks(Protocol):
    """Samples that can be put into the chunks of a dataset, from several threads at once."""

    #: Samples that are cheapest to read together, None if it does not matter.
    block_length: int | None

    def columns(self, start: int, stop: int, tiles: np.ndarray, tiling: Tiling) -> Iterator[None]:
        """Put samples ``start`` to ``stop`` into chunks, one column of chunks after the other.

        Parameters
        ----------
        start, stop : int
            Samples of the dataset, a unit.
        tiles : numpy.ndarray
            uint8 of ``(tiling.tiles_shape[0], 1, tiling.chunk_bytes)``, written to for each column. Where there are
            fewer samples or channels than fit, the caller has to have written zeros before.
        tiling : Tiling
            The cut.

        Yields
        ------
        None
            Each time a column is complete.
        """

    def held_bytes(self, tiling: Tiling) -> int:
        """Most bytes that a thread holds of the file, as read and where they are inflated, while it reads a unit."""

    def identity(self) -> dict[str, Any]:
        """What tells these samples from others, as JSON values."""


class FlatBlocks:
    """Samples of a flat file by memory map.

    Parameters
    ----------
    samples : FlatSamples
        The file.
    columns : numpy.ndarray
        ``(n_channels,)`` int64: the column of the file for each channel of the dataset.
    first_sample : int, default: 0
        Sample of the file at which the dataset begins.
    """

    block_length: int | None = None

    def __init__(self, samples: FlatSamples, columns: np.ndarray, first_sample: int = 0):
        self._samples = samples
        self._columns = np.ascontiguousarray(columns, dtype=np.int64)
        self._first_sample = first_sample

    def columns(self, start: int, stop: int, tiles: np.ndarray, tiling: Tiling) -> Iterator[None]:
        """As in :class:`Blocks`."""
        left, right = int(self._columns.min()), int(self._columns.max()) + 1
        samples = self._samples.read(start + self._first_sample, stop + self._first_sample, slice(left, right))
        for channels in tiling.channel_ranges():
            place_samples(samples, self._columns[channels] - left, tiles, 0, tiling)
            yield

    def held_bytes(self, tiling: Tiling) -> int:
        """The columns from the first to the last that is wanted."""
        return tiling.unit_length * int(np.ptp(self._columns) + 1) * tiling.dtype.itemsize

    def identity(self) -> dict[str, Any]:
        """File and the part of it."""
        part = {"first_sample": self._first_sample, "columns": self._columns.tolist()}
        return {**file_identity(self._samples.path), **part}


class SampleBlocks:
    """Columns of a raw file that is compressed in an unusual way, read by one thread at a time.

    Parameters
    ----------
    samples : CompressedSamples
        The file.
    columns : numpy.ndarray
        ``(n_channels,)`` int64: the column of the file for each channel of the dataset.
    first_sample : int, default: 0
        Sample of the file at which the dataset begins.
    """

    block_length: int | None = None

    def __init__(self, samples: CompressedSamples, columns: np.ndarray, first_sample: int = 0):
        self._samples, self._columns, self._first_sample = samples, columns, first_sample
        self._lock = threading.Lock()

    def columns(self, start: int, stop: int, tiles: np.ndarray, tiling: Tiling) -> Iterator[None]:
        """As in :class:`Blocks`."""
        with self._lock:
            samples = self._samples.read(start + self._first_sample, stop + self._first_sample, self._columns)
        for channels in tiling.channel_ranges():
            place_samples(samples, np.arange(channels.start, channels.stop), tiles, 0, tiling)
            yield

    def held_bytes(self, tiling: Tiling) -> int:
        """A copy of the unit."""
        return tiling.unit_bytes

    def identity(self) -> dict[str, Any]:
        """File and the part of it."""
        part = {"first_sample": self._first_sample, "columns": self._columns.tolist()}
        return {**file_identity(self._samples.path), **part}


class RecordingBlocks:
    """Samples of any SpikeInterface recording, read by one thread at a time: not every reader allows for several.

    Parameters
    ----------
    recording : BaseRecording
        The recording.
    segment_index : int, default: 0
        Which of its segments.
    return_in_uV : bool, default: False
        Microvolts instead of counts.
    """

    block_length: int | None = None

    def __init__(self, recording: BaseRecording, segment_index: int = 0, return_in_uV: bool = False):
        self._recording = recording
        self._segment_index = segment_index
        self._return_in_uV = return_in_uV
        self._lock = threading.Lock()

    def columns(self, start: int, stop: int, tiles: np.ndarray, tiling: Tiling) -> Iterator[None]:
        """As in :class:`Blocks`."""
        with self._lock:
            samples = self._recording.get_traces(
                segment_index=self._segment_index,
                start_frame=start,
                end_frame=stop,
                return_in_uV=self._return_in_uV,
            )
        samples = np.ascontiguousarray(samples)
        for channels in tiling.channel_ranges():
            place_samples(samples, np.arange(channels.start, channels.stop), tiles, 0, tiling)
            yield

    def held_bytes(self, tiling: Tiling) -> int:
        """A copy of the unit."""
        return tiling.unit_bytes

    def identity(self) -> dict[str, Any]:
        """What SpikeInterface would write down to open the recording again."""
        recording = self._recording
        return {
            "recording": recording.to_dict(recursive=True) if recording.check_serializability("json") else None,
            "class": type(recording).__name__,
            "channels": [str(channel) for channel in recording.get_channel_ids()],
            "segment": self._segment_index,
            "in_uV": self._return_in_uV,
        }


def find_blocks(recording: BaseRecording, segment_index: int = 0, return_in_uV: bool = False) -> Blocks:
    """The fastest way to the samples of a recording.

    Parameters
    ----------
    recording : BaseRecording
        Any recording. Of a :class:`~ibl_nwb.spikeglx_recording.SpikeGLXRecording`, also when frames or channels were
        cut from it, the file is read directly.
    segment_index : int, default: 0
        Which of its segments.
    return_in_uV : bool, default: False
        Microvolts instead of counts.
    """
    source, first_sample = recording, 0
    columns = np.arange(recording.get_num_channels())
    while isinstance(source, (FrameSliceRecording, ChannelSliceRecording)) and not return_in_uV:
        parent = source.get_parent()
        if parent is None:
            break
        if isinstance(source, FrameSliceRecording):
            first_sample += int(source._kwargs["start_frame"] or 0)
        else:
            columns = parent.ids_to_indices(source._kwargs["channel_ids"])[columns]
        source = parent
    if not isinstance(source, SpikeGLXRecording) or return_in_uV:
        return RecordingBlocks(recording, segment_index, return_in_uV)
    return _file_blocks(source.samples, columns, first_sample) or RecordingBlocks(recording, segment_index)


def find_column_blocks(samples: RawSamples, columns: np.ndarray, first_sample: int = 0) -> Blocks:
    """The fastest way to single columns of a raw file.

    Parameters
    ----------
    samples : RawSamples
        The file.
    columns : numpy.ndarray
        ``(n_channels,)`` int64: the column of the file for each channel of the dataset.
    first_sample : int, default: 0
        Sample of the file at which the dataset begins.
    """
    found = _file_blocks(samples, columns, first_sample, checks_rest=False)
    if found is None:
        assert isinstance(samples, CompressedSamples)
        return SampleBlocks(samples, columns, first_sample)
    return found


def _file_blocks(
    samples: RawSamples, columns: np.ndarray, first_sample: int, *, checks_rest: bool = True
) -> FlatBlocks | MtscompBlocks | None:
    """Samples straight from their file, None if it is compressed in a way that only mtscomp knows."""
    if isinstance(samples, FlatSamples):
        return FlatBlocks(samples, columns, first_sample)
    if isinstance(samples, RemoteSamples):
        return samples.blocks(columns, first_sample, checks_rest=checks_rest)
    if not isinstance(samples, CompressedSamples) or not MtscompBlocks.can_read(samples.compression):
        return None
    compression = {**samples.compression, "n_channels": samples.n_columns}
    reader = FileReader(samples.path)
    name = str(samples.path)
    return MtscompBlocks(reader, compression, columns, first_sample, name=name, checks_rest=checks_rest)
