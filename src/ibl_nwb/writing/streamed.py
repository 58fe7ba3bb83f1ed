"""What all data that are written by several threads have in common, be they traces or single columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from hdmf.data_utils import DataChunk
from neuroconv.tools.hdmf import GenericDataChunkIterator

from .blocks import Blocks
from .transform import Tiling

#: Options of the iterator that decide the shape of its chunks or buffers.
SHAPES = {"chunk_shape", "chunk_mb", "buffer_shape"}


class StreamedData(GenericDataChunkIterator):
    """Data of a series that :func:`ibl_nwb.writing.write_nwbfile` writes with several threads.

    To any other writer they are an iterator as NeuroConv has them. A subclass sets ``blocks`` before it calls the
    constructor.

    Parameters
    ----------
    display_progress : bool, default: False
        Show a progress bar.
    progress_bar_class : callable, optional
        ``tqdm.tqdm`` or something with its arguments and methods.
    progress_bar_options : dict, optional
        Its further arguments, such as ``desc``.
    **options
        What the next class takes.
    """

    #: Where the samples come from.
    blocks: Blocks

    def __init__(
        self,
        *arguments: Any,
        display_progress: bool = False,
        progress_bar_class: Callable[..., Any] | None = None,
        progress_bar_options: dict[str, Any] | None = None,
        **options: Any,
    ):
        self._bar_class = progress_bar_class
        self._bar_options = dict(progress_bar_options or {})
        self._shows_progress = display_progress
        self._is_declared_only = False
        super().__init__(*arguments, **options)

    def tiling(self, chunk_shape: tuple[int, ...], is_shuffled: bool, dtype: np.dtype | None = None) -> Tiling:
        """How the samples are cut into chunks of a dataset; no block is inflated twice if that can be avoided.

        Parameters
        ----------
        chunk_shape : tuple of int
            Samples and channels of a chunk of the dataset; samples alone if it has one dimension.
        is_shuffled : bool
            Whether the dataset has a shuffle filter.
        dtype : numpy.dtype, optional
            Type of the dataset. Default: that of the samples.
        """
        n_samples, n_channels = (*(int(size) for size in self.shape), 1)[:2]
        length, width = (*(int(size) for size in chunk_shape), 1)[:2]
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
