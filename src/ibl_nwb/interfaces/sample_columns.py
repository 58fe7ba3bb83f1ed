"""Single columns of a raw SpikeGLX file, read while they are written, and the clock of the probe they are from."""

from __future__ import annotations

from typing import Any

import numpy as np
from neuroconv.tools.hdmf import GenericDataChunkIterator

from ..errors import DatasetInconsistentError
from ..probe_clock import AP_SAMPLES_PER_LF_SAMPLE, ProbeClock, aligned_clock, ap_samples_per_sample
from ..session import ALFSession, Dataset, load_array
from ..spikeglx import SpikeGLXMeta
from ..spikeglx_recording import CompressedSamples, FlatSamples, RawSamples

#: Samples per chunk of the file, 2 MB per column, and chunks that are read at a time.
CHUNK_LENGTH = 1_000_000
CHUNKS_PER_BUFFER = 4


class ColumnIterator(GenericDataChunkIterator):
    """Samples of some columns of a raw file.

    Parameters
    ----------
    samples : RawSamples
        The file.
    columns : list of int
        Which columns. One gives ``(n_samples,)``, several give ``(n_samples, n_columns)``, int16 as stored.
    n_samples : int
        Samples to give, from the first on.
    **options
        Options of NeuroConv's iterators, e.g. display_progress or buffer_shape.
    """

    def __init__(self, samples: RawSamples, columns: list[int], n_samples: int, **options: Any):
        self._samples, self._columns, self._n_samples = samples, columns, n_samples
        if not {"chunk_shape", "chunk_mb", "buffer_shape", "buffer_gb"} & options.keys():
            # Buffers end where the blocks of a compressed file do, so that none is inflated twice.
            block = samples.block_length
            chunk_length = min(n_samples, block * max(1, round(CHUNK_LENGTH / block)))
            buffer_length = min(n_samples, chunk_length * CHUNKS_PER_BUFFER)
            options["chunk_shape"] = (chunk_length, *self.shape[1:])
            options["buffer_shape"] = (buffer_length, *self.shape[1:])
        super().__init__(**options)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n_samples,)`` or ``(n_samples, n_columns)``."""
        return (self._n_samples,) if len(self._columns) == 1 else (self._n_samples, len(self._columns))

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, selection: Any) -> np.ndarray:
        return self._get_data(self._convert_index_to_slices(selection))

    def _get_data(self, selection: tuple[slice, ...]) -> np.ndarray:
        columns = self._columns if len(selection) == 1 else self._columns[selection[1]]
        data = self._samples.read(selection[0].start, selection[0].stop, columns)
        return data[:, 0] if len(selection) == 1 else data

    def _get_maxshape(self) -> tuple[int, ...]:
        return self.shape

    def _get_dtype(self) -> np.dtype:
        return np.dtype("int16")


def open_samples(data: Dataset, compression: list[Dataset], n_columns: int, rate_hz: float) -> RawSamples:
    """Open a raw file, flat (``.bin``) or compressed (``.cbin`` with its ``.ch``).

    Parameters
    ----------
    data : Dataset
        The ``.bin`` or ``.cbin`` file.
    compression : list of Dataset
        The ``.ch`` file of a compressed one.
    n_columns : int
        Columns per sample.
    rate_hz : float
        Samples per second: a flat file is read by the second.
    """
    if data.extension == "cbin":
        return CompressedSamples(data.path, compression[0].path, n_columns)
    return FlatSamples(data.path, n_columns, round(rate_hz))


def only_one(session: ALFSession, datasets: list[Dataset]) -> Dataset:
    """The file of a kind of which a recording has exactly one.

    Raises
    ------
    DatasetInconsistentError
        If there are several.
    """
    if len(datasets) > 1:
        listed = ", ".join(dataset.relative_path for dataset in datasets)
        raise DatasetInconsistentError(
            f"'{session.path}' holds {len(datasets)} files where one recording is expected: {listed}. Keep those of "
            "one recording, or leave it out with --exclude."
        )
    return datasets[0]


def read_probe_clock(meta: SpikeGLXMeta, ap_meta: SpikeGLXMeta | None, knots: dict[str, list[Dataset]]) -> ProbeClock:
    """Clock of one band of a probe, by the best of its knots.

    Parameters
    ----------
    meta : SpikeGLXMeta
        Metadata of the band.
    ap_meta : SpikeGLXMeta, optional
        Metadata of the AP band, in whose samples the knots are. Default: its rate follows from that of the band.
    knots : dict of str to list of Dataset
        Under "timestamps" ``*.timestamps.npy`` (AP samples, seconds), under "sync" ``*.sync.npy`` (probe seconds,
        seconds), each as far as there is one; the former is taken first. Without any the clock is the probe's own.
    """
    rate_hz = meta.sampling_rate_hz
    if meta.band == "ap":
        ap_rate_hz, ratio = rate_hz, 1.0
    elif ap_meta is not None:
        ap_rate_hz = ap_meta.sampling_rate_hz
        ratio = ap_samples_per_sample(ap_rate_hz, rate_hz)
    else:
        ap_rate_hz, ratio = rate_hz * AP_SAMPLES_PER_LF_SAMPLE, float(AP_SAMPLES_PER_LF_SAMPLE)
    for key, ap_samples_per_unit in (("timestamps", 1.0), ("sync", ap_rate_hz)):
        for dataset in knots.get(key, [])[:1]:
            values = load_array(dataset)
            scale = np.array([ap_samples_per_unit, 1.0]) if values.ndim == 2 and values.shape[1] == 2 else 1.0
            return aligned_clock(values * scale, ap_rate_hz, ratio, path=dataset.path)
    return ProbeClock(ap_rate_hz, ratio)
