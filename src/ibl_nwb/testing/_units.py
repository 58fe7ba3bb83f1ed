"""The neurons near an invented probe: where they are, what their spikes look like and when they fire."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._clocks import ProbeClock
from ._probe import site_coordinates

WAVEFORM_SAMPLES = 82
TROUGH_SAMPLE = 41
MAX_WAVEFORM_CHANNELS = 32
AMPLITUDE_DECAY_UM = 40.0


class Units(NamedTuple):
    """
    Units of one probe and their spikes, the truth that sortings and traces are made from.

    Attributes
    ----------
    raw_channels : numpy.ndarray
        (N,) int64: columns of the raw file that were sorted.
    coordinates : numpy.ndarray
        (N, 2) float32: their lateral position and position along the shank, micrometres.
    peak_channels : numpy.ndarray
        (U,) int64: row of `raw_channels` with the largest amplitude.
    waveforms : numpy.ndarray
        (U, 82, K) float32: mean spike in volts, trough (or peak) at sample 41.
    waveform_channels : numpy.ndarray
        (U, K) int32: rows of `raw_channels`, nearest first.
    spike_samples : numpy.ndarray
        (S,) int64: AP sample of each spike, ascending.
    spike_units : numpy.ndarray
        (S,) int64: unit of each spike. Every tenth unit has no spike.
    spike_scales : numpy.ndarray
        (S,) float64: amplitude of each spike relative to the mean spike of its unit.
    spike_depths : numpy.ndarray
        (S,) float64: micrometres along the shank.
    """

    raw_channels: NDArray[np.int64]
    coordinates: NDArray[np.float32]
    peak_channels: NDArray[np.int64]
    waveforms: NDArray[np.float32]
    waveform_channels: NDArray[np.int32]
    spike_samples: NDArray[np.int64]
    spike_units: NDArray[np.int64]
    spike_scales: NDArray[np.float64]
    spike_depths: NDArray[np.float64]


def make_units(
    n_units: int,
    n_spikes: int,
    raw_channels: NDArray[np.int64],
    clock: ProbeClock,
    session_end_s: float,
    generator: np.random.Generator,
) -> Units:
    """
    Invent the units of one probe.

    Parameters
    ----------
    n_units : int
        Number of units, silent ones included.
    n_spikes : int
        Number of spikes of all units together.
    raw_channels : numpy.ndarray
        Columns of the raw file that are sorted, ascending.
    clock : ProbeClock
        Clock of the probe.
    session_end_s : float
        End of the recording on the session clock.
    generator : numpy.random.Generator
        Source of random numbers.
    """
    coordinates = site_coordinates(int(raw_channels[-1]) + 1)[raw_channels]
    peak_channels = np.sort(generator.integers(0, len(raw_channels), n_units))
    amplitudes_v = generator.lognormal(np.log(90e-6), 0.5, n_units)
    waveform_channels = _nearest_channels(coordinates, peak_channels)
    waveforms = _waveforms(coordinates, peak_channels, waveform_channels, amplitudes_v, generator)

    firing_rates = generator.lognormal(0.0, 1.0, n_units)
    firing_rates[4::10] = 0.0
    spike_units = generator.choice(n_units, n_spikes, p=firing_rates / firing_rates.sum())
    last_sample = (session_end_s - clock.sync[0, 1]) * clock.ap_rate_hz * 0.999
    spike_samples = np.sort(generator.integers(WAVEFORM_SAMPLES, int(last_sample), n_spikes))
    depths = coordinates[peak_channels[spike_units], 1] + generator.normal(0.0, 6.0, n_spikes)
    return Units(
        raw_channels=raw_channels,
        coordinates=coordinates,
        peak_channels=peak_channels,
        waveforms=waveforms,
        waveform_channels=waveform_channels,
        spike_samples=spike_samples,
        spike_units=spike_units,
        spike_scales=generator.lognormal(0.0, 0.12, n_spikes),
        spike_depths=depths,
    )


def peak_to_peak(waveforms: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the peak-to-peak amplitude (V) on each unit's largest channel, the first one."""
    return np.ptp(waveforms[:, :, 0], axis=1).astype(np.float64)


def _nearest_channels(coordinates: NDArray[np.float32], peak_channels: NDArray[np.int64]) -> NDArray[np.int32]:
    n_channels = min(MAX_WAVEFORM_CHANNELS, len(coordinates))
    distances = np.linalg.norm(coordinates[peak_channels][:, None, :] - coordinates[None, :, :], axis=2)
    return np.argsort(distances, axis=1, kind="stable")[:, :n_channels].astype(np.int32)


def _waveforms(
    coordinates: NDArray[np.float32],
    peak_channels: NDArray[np.int64],
    waveform_channels: NDArray[np.int32],
    amplitudes_v: NDArray[np.float64],
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Give a deep trough and a shallow peak, after it for most units and before it for every seventh."""
    n_units = len(peak_channels)
    sample = np.arange(WAVEFORM_SAMPLES)
    delay = generator.integers(8, 22, n_units)
    delay[6::7] *= -1
    shape = 0.4 * np.exp(-0.5 * ((sample - TROUGH_SAMPLE - delay[:, None]) / 6.0) ** 2)
    shape -= np.exp(-0.5 * ((sample - TROUGH_SAMPLE) / 2.5) ** 2)
    shape *= (amplitudes_v / np.ptp(shape, axis=1))[:, None]
    offsets = coordinates[waveform_channels] - coordinates[peak_channels][:, None, :]
    decay = np.exp(-np.linalg.norm(offsets, axis=2) / AMPLITUDE_DECAY_UM)
    return (shape[:, :, None] * decay[:, None, :]).astype(np.float32)
