"""The ALF object ``waveforms``: snippets of voltage that IBL cuts out around spikes, and where each is from."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass

import numpy as np

from ..errors import DatasetInconsistentError, DatasetUnreadableError
from ..session import Dataset, load_array, load_table

#: Sample of every snippet at which the spike is (default of ``extract_wfs_cbin`` of ibl-neuropixel).
TROUGH_SAMPLE = 42


@dataclass(frozen=True)
class WaveformTable:
    """What is known of each snippet.

    Attributes
    ----------
    columns : dict of str to numpy.ndarray
        ``(n,)`` each, the columns of ``waveforms.table`` as stored, ``cluster`` and ``sample`` among them.
    channels : numpy.ndarray
        ``(n, n_channels)`` integers: rows of ALF ``channels``. The number of channels stands for a place outside the
        probe, and -1 fills the rows without a snippet.
    """

    columns: dict[str, np.ndarray]
    channels: np.ndarray

    @property
    def cluster_ids(self) -> np.ndarray:
        """Clusters that have snippets, ``(n_units,)`` ascending: those of the rows of ``waveforms.templates``."""
        return np.unique(self.columns["cluster"])

    @property
    def unit_channels(self) -> np.ndarray:
        """Channels of every cluster's snippets, ``(n_units, n_channels)``; -1 where it has none."""
        clusters, has_snippet = self.columns["cluster"], (self.channels >= 0).any(axis=1)
        found, first = np.unique(clusters[has_snippet], return_index=True)
        channels = np.full((len(self.cluster_ids), self.channels.shape[1]), -1, dtype=self.channels.dtype)
        channels[np.searchsorted(self.cluster_ids, found)] = self.channels[has_snippet][first]
        return channels


def read_waveform_table(table: Dataset, channels: Dataset) -> WaveformTable:
    """Read where every snippet is from.

    Raises
    ------
    DatasetUnreadableError
        If a file is damaged.
    DatasetInconsistentError
        If the files have different numbers of rows, or a column is missing.
    """
    frame = load_table(table)
    missing = {"cluster", "sample"} - set(frame.columns)
    if missing:
        raise DatasetInconsistentError(
            f"'{table.path}' has no column {', '.join(sorted(missing))}, without which nothing tells whose the "
            "snippets are. Get the file again, or leave the waveforms out with --exclude."
        )
    columns = {str(name): frame[name].to_numpy() for name in frame.columns}
    listed = _load_channels(channels)
    if listed.ndim != 2 or len(listed) != len(frame):
        raise DatasetInconsistentError(
            f"'{channels.path}' has the shape {listed.shape} for the {len(frame)} rows of '{table.path}'; one list of "
            "channels for each was expected. Get files of one sorting."
        )
    return WaveformTable(columns, listed)


def map_snippets(dataset: Dataset, n_rows: int, n_channels: int) -> np.ndarray:
    """Map snippets into memory, one in each row.

    Parameters
    ----------
    dataset : Dataset
        ``(n_units, most_snippets, n_channels, n_samples)``, or ``(n, n_channels, n_samples)``.
    n_rows, n_channels : int
        Snippets and channels that there should be.

    Returns
    -------
    numpy.ndarray
        ``(n_rows, n_channels, n_samples)``, the type as stored.

    Raises
    ------
    DatasetInconsistentError
        If the shape does not fit.
    """
    values = load_array(dataset, memory_map=True)
    snippets = values.reshape(-1, *values.shape[-2:]) if values.ndim == 4 else values
    if snippets.ndim != 3 or snippets.shape[:2] != (n_rows, n_channels):
        raise DatasetInconsistentError(
            f"'{dataset.path}' has the shape {values.shape}, which is not that of {n_rows} snippets of {n_channels} "
            "channels. Get files of one sorting, or leave the waveforms out with --exclude."
        )
    return snippets


def electrodes_of(channels: np.ndarray, electrode_rows: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Rows of the electrodes table for channels.

    Parameters
    ----------
    channels : numpy.ndarray
        ``(n, k)`` rows of ALF ``channels``; -1 and the number of channels are none.
    electrode_rows : numpy.ndarray
        ``(n_channels,)`` row of the electrodes table of each.
    dataset : Dataset
        Where the channels are from, for the message.

    Returns
    -------
    numpy.ndarray
        ``(n, k)`` integers, -1 for none.

    Raises
    ------
    DatasetInconsistentError
        If a number is no channel.
    """
    if channels.size and not -1 <= channels.min() <= channels.max() <= len(electrode_rows):
        raise DatasetInconsistentError(
            f"'{dataset.path}' refers to channels {channels.min()} to {channels.max()}, but there are the "
            f"{len(electrode_rows)} channels of channels.rawInd, counted from 0. Get files of one sorting."
        )
    # A last entry stands for both ways to say that there is none: -1 and the number of channels.
    row_of = np.append(electrode_rows, -1).astype(np.int32)
    return row_of[channels]


def _load_channels(dataset: Dataset) -> np.ndarray:
    try:
        with np.load(dataset.path, allow_pickle=False) as archive:
            return archive["channels"]
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = "it is empty" if not dataset.size else str(error).strip().split("\n")[0]
        raise DatasetUnreadableError(
            f"'{dataset.path}' cannot be read as an archive with 'channels': {reason}. The file is damaged or "
            "incomplete; get it again."
        ) from error
