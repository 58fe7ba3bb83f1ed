"""The data of an ElectricalSeries that are written by several threads, or by any NWB writer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from hdmf.data_utils import DataChunk
from neuroconv.tools.spikeinterface.spikeinterfacerecordingdatachunkiterator import (
    SpikeInterfaceRecordingDataChunkIterator,
)
from spikeinterface.core import BaseRecording

from ..errors import UsageError
from .blocks import Blocks, find_blocks
from .transform import Tiling

#: Samples and channels of a chunk, if the recording has as many: of the shapes that were measured
#: (benchmarks/README.md), the best for size, speed and memory and for both ways of reading.
CHUNK_SAMPLES = 30_000
CHUNK_CHANNELS = 32

#: How much a writer that does not know of this class reads at a time, in GB.
BUFFER_GB = 0.2

#: Options of the iterator that decide the shape of its chunks or buffers.
_SHAPES = {"chunk_shape", "chunk_mb", "buffer_shape"}


class StreamedTraces(SpikeInterfaceRecordingDataChunkIterator):
    """Samples of a recording as ``data`` of an ElectricalSeries.

    :func:`ibl_nwb.writing.write_nwbfile` writes them with several threads. To any other writer, in HDF5, Zarr or
    memory, they are NeuroConv's iterator over a recording.

    Parameters
    ----------
    recording : BaseRecording
        Any SpikeInterface recording. The files of a :class:`~ibl_nwb.spikeglx_recording.SpikeGLXRecording` are read
        directly.
    segment_index : int, default: 0
        Which of its segments.
    return_in_uV : bool, default: False
        Microvolts (float32) instead of counts.
    start_sample, stop_sample : int, optional
        The part to write. Default: all of it. The times of the part are not this object's: shift the starting time of
        the series, or cut its timestamps, alike.
    progress_bar_class : callable, optional
        ``tqdm.tqdm`` or something with its arguments and methods, with which progress is shown.
    progress_bar_options : dict, optional
        Its further arguments, such as ``desc``.
    **options
        buffer_gb, buffer_shape, chunk_mb, chunk_shape and display_progress, as NeuroConv has them. Default: chunks of
        about a second of 32 channels, in time a multiple of the blocks in which the file is compressed.

    Raises
    ------
    UsageError
        If the part holds no samples of the recording.

    Examples
    --------
    >>> series = ElectricalSeries(name="ElectricalSeries", data=StreamedTraces(recording), electrodes=region, rate=3e4)
    ... # doctest: +SKIP
    >>> nwbfile.add_acquisition(series)  # doctest: +SKIP
    >>> write_nwbfile(nwbfile, "recording.nwb")  # doctest: +SKIP
    """

    def __init__(
        self,
        recording: BaseRecording,
        segment_index: int = 0,
        return_in_uV: bool = False,
        *,
        start_sample: int | None = None,
        stop_sample: int | None = None,
        display_progress: bool = False,
        progress_bar_class: Callable[..., Any] | None = None,
        progress_bar_options: dict[str, Any] | None = None,
        **options: Any,
    ):
        n_samples = recording.get_num_samples(segment_index=segment_index)
        start, stop = start_sample or 0, n_samples if stop_sample is None else stop_sample
        if not 0 <= start < stop <= n_samples:
            raise UsageError(f"Samples {start} to {stop} are not a part of the {n_samples} samples of the recording.")
        if (start, stop) != (0, n_samples):
            recording = recording.frame_slice(start, stop)
        self.blocks: Blocks = find_blocks(recording, segment_index, return_in_uV)
        self._bar_class = progress_bar_class
        self._bar_options = dict(progress_bar_options or {})
        self._shows_progress = display_progress
        self._is_declared_only = False
        item_bytes = 4 if return_in_uV else recording.get_dtype().itemsize
        shape = (stop - start, recording.get_num_channels())
        options = self._with_shapes(dict(options), shape, item_bytes)
        super().__init__(recording, segment_index=segment_index, return_in_uV=return_in_uV, **options)

    @classmethod
    def from_iterator(cls, iterator: SpikeInterfaceRecordingDataChunkIterator) -> StreamedTraces:
        """Stream what NeuroConv's iterator would give; its chunks are kept where they are not NeuroConv's default."""
        recording, segment_index = iterator.recording, iterator.segment_index
        options: dict[str, Any] = {}
        if tuple(iterator.chunk_shape) != tuple(int(size) for size in iterator._get_default_chunk_shape()):
            options = {"chunk_shape": iterator.chunk_shape, "buffer_shape": iterator.buffer_shape}
        return cls(recording, segment_index, iterator.return_in_uV, **options)

    def _with_shapes(self, options: dict[str, Any], shape: tuple[int, int], item_bytes: int) -> dict[str, Any]:
        """Options with our chunks and with buffers of whole blocks, unless the caller decides."""
        if _SHAPES & options.keys():
            return options
        block_length = self.blocks.block_length or CHUNK_SAMPLES
        chunk_length = min(shape[0], block_length * max(1, round(CHUNK_SAMPLES / block_length)))
        if chunk_length > 4 * CHUNK_SAMPLES:  # a block of many seconds is cut
            chunk_length = CHUNK_SAMPLES
        n_bytes = chunk_length * shape[1] * item_bytes
        n_chunks = max(1, math.floor(options.pop("buffer_gb", BUFFER_GB) * 1e9 / n_bytes))
        options["chunk_shape"] = (chunk_length, min(shape[1], CHUNK_CHANNELS))
        options["buffer_shape"] = (min(shape[0], chunk_length * n_chunks), shape[1])
        return options

    def tiling(self, chunk_shape: tuple[int, ...], is_shuffled: bool, dtype: np.dtype | None = None) -> Tiling:
        """How the samples are cut into chunks of a dataset; no block is inflated twice if that can be avoided.

        Parameters
        ----------
        chunk_shape : tuple of int
            Samples and channels of a chunk of the dataset.
        is_shuffled : bool
            Whether the dataset has a shuffle filter.
        dtype : numpy.dtype, optional
            Type of the dataset. Default: that of the samples.
        """
        n_samples, n_channels = (int(size) for size in self.shape)
        length, width = (int(size) for size in chunk_shape)
        block_length = self.blocks.block_length or length
        unit_length = block_length if block_length % length == 0 else length
        return Tiling((n_samples, n_channels), (length, width), unit_length, np.dtype(dtype or self.dtype), is_shuffled)

    @contextmanager
    def declared_only(self) -> Iterator[None]:
        """While the block runs, writers make the dataset but get no samples for it."""
        self._is_declared_only = True
        try:
            yield
        finally:
            self._is_declared_only = False

    @cached_property
    def _buffer_bar(self) -> Any:
        return self.make_progress_bar(total=self.num_buffers)

    def make_progress_bar(self, default_class: Callable[..., Any] | None = None, **options: Any) -> Any | None:
        """The progress bar that was asked for, here or by the writer, or None.

        Parameters
        ----------
        default_class : callable, optional
            What to use if no bar was asked for here.
        **options
            Arguments that win over those given here.
        """
        bar_class = self._bar_class if self._shows_progress else default_class
        if self._shows_progress and bar_class is None:
            from tqdm import tqdm

            bar_class = tqdm
        return None if bar_class is None else bar_class(**{**self._bar_options, **options})

    def __next__(self) -> DataChunk:
        """The next buffer."""
        if self._is_declared_only:
            raise StopIteration
        chunk = super().__next__()
        if self._buffer_bar is not None:
            self._buffer_bar.update(1)
        return chunk

    def _to_dict(self) -> dict[str, Any]:
        """Arguments to make the iterator again in another process."""
        return {
            "recording": self.recording,
            "segment_index": self.segment_index,
            "return_in_uV": self.return_in_uV,
            "chunk_shape": self.chunk_shape,
            "buffer_shape": self.buffer_shape,
        }

    @staticmethod
    def _from_dict(arguments: dict[str, Any]) -> StreamedTraces:
        return StreamedTraces(**arguments)
