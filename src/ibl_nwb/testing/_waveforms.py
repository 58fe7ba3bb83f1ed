"""What IBL's pipeline adds to a sorting: snippets of raw voltage around spikes, their medians, and the drift."""

import numpy as np

from ._clocks import ProbeClock
from ._files import Datasets
from ._units import Units

#: Channels farther than this (um) from the largest one are not in a snippet.
RADIUS_UM = 200.0

SNIPPET_SAMPLES = 128
TROUGH_SAMPLE = 42
NOISE_V = 8e-6

#: Drift is estimated for batches of this length, in this many blocks of depth.
BATCH_S = 2.2
N_BLOCKS = 9


def waveform_datasets(
    units: Units,
    collection: str,
    generator: np.random.Generator,
    *,
    most_snippets: int,
    is_padded: bool,
) -> Datasets:
    """
    Cut snippets out of a recording that is not made: noise around the mean spike of each unit.

    Parameters
    ----------
    units : Units
        What the sorter found.
    collection : str
        Such as ``"alf/probe00/pykilosort"``.
    generator : numpy.random.Generator
        Source of random numbers.
    most_snippets : int
        Snippets of a unit at most; IBL takes 256.
    is_padded : bool
        Whether the files are those in production, where a unit has ``most_snippets`` of float16, some only to fill up,
        or those of today's software, one float32 for each snippet that there is.
    """
    neighbours = _neighbours(units)
    rows: list[tuple[int, int, int, int]] = []  # cluster, number within it, spike or -1, peak channel
    for cluster in np.unique(units.spike_units).tolist():
        spikes = np.flatnonzero(units.spike_units == cluster)
        chosen = np.sort(generator.permutation(spikes)[:most_snippets]).tolist()
        chosen += [-1] * (most_snippets - len(chosen) if is_padded else 0)
        rows += [(cluster, i, spike, int(units.peak_channels[cluster])) for i, spike in enumerate(chosen)]
    clusters, number, spikes, peaks = np.array(rows).T
    has_spike = spikes >= 0
    channels = np.where(has_spike[:, None], neighbours[peaks], -1).astype(np.int16)
    traces = np.stack([_snippet(units, *row, generator) for row in zip(clusters, channels, spikes, strict=True)])
    ids = np.unique(clusters)
    templates = np.stack([np.median(traces[(clusters == i) & has_spike], axis=0) for i in ids.tolist()])
    samples = np.where(has_spike, units.spike_samples[spikes], -1)
    table = {"index": np.cumsum(has_spike) - 1, "sample": samples, "cluster": clusters, "peak_channel": peaks}
    if is_padded:
        missing = {name: table[name].astype(np.float64) for name in ("index", "sample", "peak_channel")}
        table |= {name: np.where(has_spike, values, np.nan) for name, values in missing.items()}
        traces = traces.reshape(len(ids), most_snippets, *traces.shape[1:]).astype(np.float16)
    else:
        table["waveform_index"] = number
    return {
        f"{collection}/waveforms.templates.npy": templates.astype(np.float32),
        f"{collection}/waveforms.traces.npy": traces if is_padded else traces.astype(np.float32),
        f"{collection}/waveforms.table.pqt": table,
        f"{collection}/waveforms.channels.npz": {"channels": channels},
    }


def drift_datasets(
    collection: str, clock: ProbeClock, session_end_s: float, generator: np.random.Generator
) -> Datasets:
    """Let the brain move a little along the probe; times are seconds of the probe."""
    times = np.arange(BATCH_S / 2, session_end_s - clock.sync[0, 1], BATCH_S)
    drift = np.cumsum(generator.normal(0.0, 0.3, (len(times), N_BLOCKS)), axis=0)
    return {
        f"{collection}/drift.times.npy": times,
        f"{collection}/drift.um.npy": drift,
        f"{collection}/drift_depths.um.npy": np.linspace(0.0, 3840.0, N_BLOCKS)[None, :],
    }


def _neighbours(units: Units) -> np.ndarray:
    """Channels near each channel, ascending; the number of channels where there are fewer than near the middle."""
    n_channels = len(units.coordinates)
    along = np.abs(units.coordinates[:, None, 1] - units.coordinates[None, :, 1])
    is_near = along <= RADIUS_UM
    neighbours = np.full((n_channels, int(is_near.sum(axis=1).max())), n_channels)
    for channel, near in enumerate(is_near):
        found = np.flatnonzero(near)
        neighbours[channel, : len(found)] = found
    return neighbours


def _snippet(
    units: Units, cluster: int, channels: np.ndarray, spike: int, generator: np.random.Generator
) -> np.ndarray:
    """Voltage on the channels, NaN where there is none, (channels, samples)."""
    snippet = generator.normal(0.0, NOISE_V, (len(channels), SNIPPET_SAMPLES))
    waveform, at = units.waveforms[cluster], units.waveform_channels[cluster]
    place = {int(channel): column for column, channel in enumerate(at)}
    start = TROUGH_SAMPLE - waveform.shape[0] // 2
    stop = start + waveform.shape[0]
    for row, channel in enumerate(channels.tolist()):
        if channel in place and spike >= 0:
            snippet[row, start:stop] += units.spike_scales[spike] * waveform[:, place[channel]]
    is_outside = (channels < 0) | (channels >= len(units.coordinates))
    snippet[is_outside] = np.nan
    return snippet
