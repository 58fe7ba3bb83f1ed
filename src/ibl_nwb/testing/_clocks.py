"""How the clocks of an invented session relate: probe to session, and the pulses that tell."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._files import Datasets
from ._trials import Trials

KNOT_INTERVAL_S = 20.0

#: Bit of the probe's sync word that carries the square wave.
IMEC_SYNC_BIT = 6

#: Lines of the sync board, IBL's default wiring.
SYNC_CHANNELS = {
    "left_camera": 0,
    "right_camera": 1,
    "body_camera": 2,
    "imec_sync": 3,
    "frame2ttl": 4,
    "audio": 7,
}

GO_TONE_S = 0.1


class ProbeClock(NamedTuple):
    """
    A probe's clock and its relation to the session clock.

    Attributes
    ----------
    ap_rate_hz : float
        Calibrated rate of the AP band. The LF band has a twelfth of it.
    sync : numpy.ndarray
        (k, 2) float64: seconds of the probe (sample / rate), seconds on the session clock.
    """

    ap_rate_hz: float
    sync: NDArray[np.float64]

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """The same knots with AP sample indices in the first column; most of them fall between two samples."""
        return np.column_stack([self.sync[:, 0] * self.ap_rate_hz, self.sync[:, 1]])

    def session_times(self, ap_samples: NDArray[np.integer | np.floating]) -> NDArray[np.float64]:
        """Map AP sample indices to seconds on the session clock."""
        knots = self.timestamps
        return np.interp(ap_samples, knots[:, 0], knots[:, 1])


def make_probe_clock(probe_index: int, duration_s: float, generator: np.random.Generator) -> ProbeClock:
    """
    Invent the clock of a probe: its own rate, start and drift, and a slow wobble.

    Parameters
    ----------
    probe_index : int
        Position of the probe among those of the session.
    duration_s : float
        Length of the recording in seconds; the knots cover it.
    generator : numpy.random.Generator
        Source of random numbers.
    """
    probe_seconds = np.arange(0.0, duration_s + 2 * KNOT_INTERVAL_S, KNOT_INTERVAL_S)
    offset_s = 0.0213 + 0.2914 * probe_index
    drift = (9 - 23 * probe_index) * 1e-6
    wobble_s = 1e-4 * np.sin(2 * np.pi * (probe_seconds / 700 + generator.random()))
    session_seconds = offset_s + (1 + drift) * probe_seconds + wobble_s
    return ProbeClock(30_000.390417 - 0.516 * probe_index, np.column_stack([probe_seconds, session_seconds]))


def sync_word(session_times: NDArray[np.float64]) -> NDArray[np.int16]:
    """Give the sync column of a raw file: a square wave of one hertz, high in the first half of every second."""
    is_high = np.mod(session_times, 1.0) < 0.5
    return np.where(is_high, 1 << IMEC_SYNC_BIT, 0).astype(np.int16)


def sync_front_files(trials: Trials, camera_times: Mapping[str, NDArray[np.float64]], session_end_s: float) -> Datasets:
    """
    Give the edges that the sync board saw, sorted by time.

    Parameters
    ----------
    trials : dict of str to numpy.ndarray
        Trials whose stimulus onsets and go cues gave edges.
    camera_times : dict of str to numpy.ndarray
        Camera name to frame times in seconds.
    session_end_s : float
        End of the recording on the session clock.

    Returns
    -------
    dict
        ``times`` (s), ``channels`` and ``polarities`` (+1 rising, -1 falling), all (e,) float64.
    """
    seconds = np.arange(np.floor(session_end_s))
    stimulus_onsets = trials["stimOn_times"][np.isfinite(trials["stimOn_times"])]
    pulses: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "imec_sync": (seconds, seconds + 0.5),
        "frame2ttl": (stimulus_onsets, stimulus_onsets + 1 / 60),
        "audio": (trials["goCue_times"], trials["goCue_times"] + GO_TONE_S),
    }
    for camera, times in camera_times.items():
        pulses[f"{camera}_camera"] = (times, times + 0.002)
    edges = np.concatenate([_edges(SYNC_CHANNELS[line], *pulse) for line, pulse in pulses.items()])
    edges = edges[np.argsort(edges[:, 0], kind="stable")]
    attributes = ("times", "channels", "polarities")
    return {f"raw_ephys_data/_spikeglx_sync.{name}.npy": edges[:, i].copy() for i, name in enumerate(attributes)}


def _edges(channel: int, rising: NDArray[Any], falling: NDArray[Any]) -> NDArray[np.float64]:
    """Give rows of time, channel and polarity."""
    n_pulses = len(rising)
    times = np.concatenate([rising, falling])
    polarities = np.repeat([1.0, -1.0], n_pulses)
    return np.column_stack([times, np.full(2 * n_pulses, float(channel)), polarities])
