"""The data of an ElectricalSeries that are written by several threads, or by any NWB writer."""

from __future__ import annotations

import math
from typing import Any

from neuroconv.tools.spikeinterface.spikeinterfacerecordingdatachunkiterator import (
    SpikeInterfaceRecordingDataChunkIterator,
)
from spikeinterface.core import BaseRecording

from ..errors import UsageError
from .blocks import find_blocks
from .streamed import SHAPES, StreamedData

#: Samples and channels of a chunk, if the recording has as many: of the shapes that were measured
#: (benchmarks/README.md), the best for size, speed and memory and for both ways of reading.
CHUNK_SAMPLES = 60_000
CHUNK_CHANNELS = 32

#: How much a writer that does not know of this class reads at a time, in GB.
BUFFER_GB = 0.2


class StreamedTraces(StreamedData, SpikeInterfaceRecordingDataChunkIterator):
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
        about two seconds of 32 channels, in time a multiple of the blocks in which the file is compressed.

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
        **options: Any,
    ):
        n_samples = recording.get_num_samples(segment_index=segment_index)
        start, stop = start_sample or 0, n_samples if stop_sample is None else stop_sample
        if not 0 <= start < stop <= n_samples:
            raise UsageError(f"Samples {start} to {stop} are not a part of the {n_samples} samples of the recording.")
        if (start, stop) != (0, n_samples):
            recording = recording.frame_slice(start, stop)
        self.blocks = find_blocks(recording, segment_index, return_in_uV)
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
        if SHAPES & options.keys():
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
