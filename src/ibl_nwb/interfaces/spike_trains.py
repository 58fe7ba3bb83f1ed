"""The spikes of one sorting grouped by cluster: an index over the ALF files, and SpikeInterface's view of them.

The files stay on disk. What is kept in memory is one row number per spike (4 bytes), in the order of the clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from spikeinterface.core import BaseSorting, BaseSortingSegment

from ..errors import DatasetInconsistentError
from ..session import Dataset, check_equal_lengths
from .base import check_times
from .spike_column import BLOCK_LENGTH, load_vector

#: Cluster ids from here on are taken for damage, such as -1 stored without a sign: sorters number from 0.
MAX_CLUSTER_IDS = 2**24


@dataclass(frozen=True)
class SpikeIndex:
    """Which spikes belong to which cluster.

    Attributes
    ----------
    cluster_ids : numpy.ndarray
        ``(n_clusters,)`` int64, ascending, silent clusters included.
    stops : numpy.ndarray
        ``(n_clusters,)`` int64: where in ``order`` the spikes of each cluster end; they begin where the last one's end.
    order : numpy.ndarray
        ``(n_spikes,)`` uint32 or int64: rows of ``spikes.*``, cluster by cluster, ascending within each.
    """

    cluster_ids: np.ndarray
    stops: np.ndarray
    order: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of spikes of every cluster, ``(n_clusters,)`` int64."""
        return np.diff(self.stops, prepend=0)

    def rows(self, cluster_id: int) -> np.ndarray:
        """Rows of ``spikes.*`` that belong to a cluster, ascending."""
        position = int(np.searchsorted(self.cluster_ids, cluster_id))
        start = self.stops[position - 1] if position else 0
        return self.order[start : self.stops[position]]

    def without_silent(self) -> SpikeIndex:
        """The same without the clusters that have no spike."""
        kept = self.counts > 0
        return SpikeIndex(self.cluster_ids[kept], self.stops[kept], self.order)

    def head(self, n_clusters: int, n_spikes: int) -> SpikeIndex:
        """The first clusters with the first spikes of each."""
        counts = self.counts[:n_clusters]
        stop = int(counts.sum())
        rank = np.arange(stop) - np.repeat(self.stops[:n_clusters] - counts, counts)
        stops = np.cumsum(np.minimum(counts, n_spikes))
        return SpikeIndex(self.cluster_ids[:n_clusters], stops, self.order[:stop][rank < n_spikes])


class Spikes:
    """The ALF object ``spikes`` of one sorting.

    Parameters
    ----------
    datasets : mapping of str to Dataset
        The files by attribute; ``times`` and ``clusters`` must be among them.
    listed_ids : numpy.ndarray
        Integer ids of the clusters that exist whether or not they have spikes.

    Raises
    ------
    DatasetInconsistentError
        If the cluster ids are not integers from 0 on.
    """

    def __init__(self, datasets: Mapping[str, Dataset], listed_ids: np.ndarray):
        self.datasets = dict(datasets)
        self.listed_ids = listed_ids

    def __len__(self) -> int:
        return len(self.load("times"))

    def load(self, attribute: str) -> np.ndarray:
        """Map an attribute into memory, ``(n_spikes,)`` as stored."""
        return load_vector(self.datasets[attribute])

    @cached_property
    def cluster_ids(self) -> np.ndarray:
        """Ids of all clusters, listed or found, ``(n_clusters,)`` int64, ascending."""
        return np.union1d(self.listed_ids, np.flatnonzero(self._counts)).astype(np.int64)

    @cached_property
    def index(self) -> SpikeIndex:
        """Which spikes belong to which cluster, by one stable sort of the cluster ids.

        Ids below 65,536, which is to say all that occur, are sorted as 16-bit integers: NumPy's stable sort is then a
        radix sort, several times as fast.
        """
        clusters = self.load("clusters")
        keys = clusters.astype(np.uint16) if len(self._counts) <= 2**16 else clusters
        order = np.argsort(keys, kind="stable")
        counts = np.zeros(len(self.cluster_ids), dtype=np.int64)
        found = self.cluster_ids < len(self._counts)
        counts[found] = self._counts[self.cluster_ids[found]]
        return SpikeIndex(self.cluster_ids, np.cumsum(counts), order.astype(np.min_scalar_type(len(order)), copy=False))

    def check(self) -> None:
        """Check that the attributes fit together and the times ascend.

        Raises
        ------
        DatasetInconsistentError
            If attributes have different lengths, or a time is not finite or smaller than the one before.
        """
        check_equal_lengths("spikes", {d.relative_path: len(load_vector(d)) for d in self.datasets.values()})
        times = self.load("times")
        for start in range(0, len(times), BLOCK_LENGTH):
            block = times[max(start - 1, 0) : start + BLOCK_LENGTH]
            if not np.isfinite(block).all() or (np.diff(block) < 0).any():
                check_times(times, self.datasets["times"])  # finds the row and raises

    def is_uncurated(self) -> bool:
        """Whether clusters and templates are the same thing, as they are unless somebody merged or split clusters."""
        if "templates" not in self.datasets:
            return False
        clusters, templates = self.load("clusters"), self.load("templates")
        blocks = (slice(start, start + BLOCK_LENGTH) for start in range(0, len(clusters), BLOCK_LENGTH))
        return all(np.array_equal(clusters[block], templates[block]) for block in blocks)

    @cached_property
    def _counts(self) -> np.ndarray:
        """Number of spikes by cluster id, ``(highest id + 1,)`` int64."""
        dataset = self.datasets["clusters"]
        clusters = self.load("clusters")
        if clusters.dtype.kind not in "iu":
            raise DatasetInconsistentError(f"'{dataset.path}' holds {clusters.dtype} values; cluster ids are integers.")
        counts = np.zeros(0, dtype=np.int64)
        for start in range(0, len(clusters), BLOCK_LENGTH):
            block = clusters[start : start + BLOCK_LENGTH]
            lowest, highest = int(block.min()), int(block.max())
            if lowest < 0 or highest >= MAX_CLUSTER_IDS:
                row = start + int(np.flatnonzero((block < 0) | (block >= MAX_CLUSTER_IDS))[0])
                raise DatasetInconsistentError(
                    f"'{dataset.path}' holds the cluster id {clusters[row]} in row {row}; ids are counted from 0. The "
                    "file is damaged or not a sorting; get it again."
                )
            in_block = np.bincount(block.astype(np.intp), minlength=len(counts))
            in_block[: len(counts)] += counts
            counts = in_block
        return counts


class ALFSorting(BaseSorting):
    """An IBL sorting for SpikeInterface, read as it is asked for. Unit ids are IBL's cluster ids.

    Times in seconds are ALF's own, unless a recording is registered; frames are ``spikes.samples`` or, without them,
    the times times the sampling rate.

    Parameters
    ----------
    spikes : Spikes
        The spikes.
    sampling_frequency : float
        Samples per second of the AP band.
    """

    def __init__(self, spikes: Spikes, sampling_frequency: float):
        super().__init__(sampling_frequency, spikes.cluster_ids)
        self.add_sorting_segment(_ALFSortingSegment(spikes, sampling_frequency))
        self._serializability["json"] = False
        self._kwargs = {"spikes": spikes, "sampling_frequency": sampling_frequency}


class _ALFSortingSegment(BaseSortingSegment):
    def __init__(self, spikes: Spikes, sampling_frequency: float):
        super().__init__()
        self._spikes = spikes
        self._rate_hz = sampling_frequency

    def get_unit_spike_train(
        self, unit_id: int, start_frame: int | None = None, end_frame: int | None = None
    ) -> np.ndarray:
        """Frames of the spikes of a cluster, ``(n,)`` int64."""
        rows = self._spikes.index.rows(unit_id)
        if "samples" in self._spikes.datasets:
            frames = self._spikes.load("samples")[rows].astype(np.int64)
        else:
            frames = np.rint(self._spikes.load("times")[rows] * self._rate_hz).astype(np.int64)
        return _between(frames, start_frame, end_frame, side_of_end="left")

    def get_unit_spike_train_in_seconds(
        self, unit_id: int, start_time: float | None = None, end_time: float | None = None
    ) -> np.ndarray:
        """Times of the spikes of a cluster, ``(n,)`` seconds on the session clock as stored."""
        times = self._spikes.load("times")[self._spikes.index.rows(unit_id)]
        return _between(times, start_time, end_time, side_of_end="right")


def _between(values: np.ndarray, start: float | None, end: float | None, *, side_of_end: Any) -> np.ndarray:
    """The part of ascending values from ``start`` to ``end``, which is left out with the side "left"."""
    first = 0 if start is None else int(np.searchsorted(values, start))
    last = len(values) if end is None else int(np.searchsorted(values, end, side=side_of_end))
    return values[first:last]
