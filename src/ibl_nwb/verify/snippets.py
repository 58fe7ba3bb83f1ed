"""Snippets of raw recordings: which samples a file says it holds, to compare them with those of the source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from .nwb_reading import NWBReader
from .report import Comparison

_STATEMENT = re.compile(r"Snippet: samples (\d+) to (\d+), counted from 0, of the (\d+) of the recording")

ReadBlock = Callable[[int], np.ndarray]


def stated_part(nwb: NWBReader, series_path: str, n_recorded: int) -> range:
    """The samples of the recording that a series holds by its own comments; all of them if they say nothing.

    A statement about a recording of another length is not believed. Whether the samples and times are those that are
    stated is for others to compare.

    Parameters
    ----------
    nwb : NWBReader
        The file.
    series_path : str
        The series.
    n_recorded : int
        Samples of the recording.
    """
    found = _STATEMENT.search(str(nwb.attributes(series_path).get("comments", "")))
    if found is None:
        return range(n_recorded)
    first, last, of = map(int, found.groups())
    return range(first, last + 1) if first <= last < of == n_recorded else range(n_recorded)


def cut_blocks(bounds: np.ndarray, read: ReadBlock, part: range) -> tuple[np.ndarray, ReadBlock]:
    """Bounds of the blocks of a part of a recording, counted from its first sample, and a function that reads one.

    Parameters
    ----------
    bounds : numpy.ndarray
        ``(n_blocks + 1,)`` bounds of the blocks of the whole recording.
    read : callable
        Reads all columns of one of them.
    part : range
        Samples of the recording.
    """
    first_block = int(np.searchsorted(bounds, part.start, side="right")) - 1
    stop_block = int(np.searchsorted(bounds, part.stop, side="left"))
    edges = np.clip(bounds[first_block : stop_block + 1], part.start, part.stop)

    def read_cut(block: int) -> np.ndarray:
        offset = int(bounds[first_block + block])
        return read(first_block + block)[int(edges[block]) - offset : int(edges[block + 1]) - offset]

    return edges - part.start, read_cut


def report_rest(dataset: str, series_path: str, part: range, n_recorded: int) -> Iterator[Comparison]:
    """The row that says that the file holds but a part of a recording, if so."""
    if len(part) < n_recorded:
        reason = f"a snippet was converted: samples {part.start} to {part.stop - 1} of {n_recorded}, none of the others"
        yield Comparison(dataset, f"{series_path}@comments", "not verified", reason)
