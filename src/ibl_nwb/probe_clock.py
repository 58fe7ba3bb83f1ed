"""The clock of a probe: at what time of the session each sample of a raw recording was taken.

IBL stores a few matching points ("knots") per probe; between them the clock is linear. Nothing here needs the times of
all samples at once, of which a probe has 108 million per hour.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import DatasetInconsistentError

#: The LF band of a Neuropixels probe is sampled once every so many samples of its AP band.
AP_SAMPLES_PER_LF_SAMPLE = 12

#: How far the quotient of two stated rates may be from a whole number and still stand for it: rates are calibrated per
#: headstage by some 10 ppm, and a computed LF band states its nominal rate.
_RATIO_TOLERANCE = 1e-2


@dataclass(frozen=True)
class ProbeClock:
    """Map from the samples of one recording (one band of one probe) to seconds on the session clock.

    Piecewise linear between knots, and on along the first and last piece outside them. A single knot shifts the probe's
    own clock, which runs at the stated rate. Without knots it is the probe's own clock.

    Attributes
    ----------
    ap_rate_hz : float
        Rate of the probe's AP band.
    ap_samples_per_sample : float
        How many AP samples there are per sample of the recording: 1 for the AP band, 12 for the LF band.
    knot_samples : numpy.ndarray
        ``(k,)`` float64, AP samples, rising. They may be fractional.
    knot_seconds : numpy.ndarray
        ``(k,)`` float64, the same moments in seconds on the session clock, rising.
    """

    ap_rate_hz: float
    ap_samples_per_sample: float = 1.0
    knot_samples: np.ndarray = field(default_factory=lambda: np.empty(0))
    knot_seconds: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def rate_hz(self) -> float:
        """Rate of the recording by the probe's own clock."""
        return self.ap_rate_hz / self.ap_samples_per_sample

    @property
    def is_aligned(self) -> bool:
        """Whether the times are those of the session and not the probe's own, from 0 at its first sample."""
        return len(self.knot_samples) > 0

    def times(self, sample_indices: np.ndarray) -> np.ndarray:
        """Session times of samples.

        Parameters
        ----------
        sample_indices : numpy.ndarray
            Samples of the recording, of any shape; need not be whole.

        Returns
        -------
        numpy.ndarray
            float64 of the same shape, seconds.
        """
        return _map_linearly(
            np.asarray(sample_indices, dtype=np.float64) * self.ap_samples_per_sample,
            self.knot_samples,
            self.knot_seconds,
            1 / self.ap_rate_hz,
        )

    def samples(self, times: np.ndarray) -> np.ndarray:
        """Samples of the recording at session times (s): the inverse of :meth:`times`, float64, not rounded."""
        seconds = np.asarray(times, dtype=np.float64)
        ap_samples = _map_linearly(seconds, self.knot_seconds, self.knot_samples, self.ap_rate_hz)
        return ap_samples / self.ap_samples_per_sample

    def start_and_rate(self, n_samples: int, first_sample: int = 0) -> tuple[float, float]:
        """The straight line through the first and the last of some samples.

        Parameters
        ----------
        n_samples : int
            How many samples.
        first_sample : int, default: 0
            The first of them.

        Returns
        -------
        starting_time, rate : float
            Seconds and Hz.
        """
        first, last = self.times(np.array([first_sample, first_sample + n_samples - 1])).tolist()
        if len(self.knot_samples) < 2 or n_samples < 2:
            return first, self.rate_hz
        return first, (n_samples - 1) / (last - first)

    def fits_rate(self, n_samples: int, tolerance: float = 1e-6, first_sample: int = 0) -> bool:
        """Whether a starting time and a rate give the time of every one of some samples.

        Times are linear between knots, so the largest deviation from :meth:`start_and_rate` is at a sample next to a
        knot; no other sample has to be looked at.

        Parameters
        ----------
        n_samples : int
            How many samples.
        tolerance : float, default: 1e-6
            How far any sample's time may be off, in seconds.
        first_sample : int, default: 0
            The first of the samples.

        Returns
        -------
        bool
            True if none is further off.
        """
        if n_samples < 3 or len(self.knot_samples) < 3:
            return True
        knots = self.knot_samples / self.ap_samples_per_sample - first_sample
        suspects = np.clip(np.concatenate([np.floor(knots), np.ceil(knots)]), 0, n_samples - 1)
        start, rate = self.start_and_rate(n_samples, first_sample)
        return bool(np.abs(self.times(first_sample + suspects) - (start + suspects / rate)).max() <= tolerance)


def aligned_clock(
    knots: np.ndarray, ap_rate_hz: float, ap_samples_per_sample: float = 1.0, *, path: Path | str = "knots"
) -> ProbeClock:
    """Clock of a recording from the knots of its probe.

    Parameters
    ----------
    knots : numpy.ndarray
        ``(k, 2)``, AP samples and session seconds, as in ``*.timestamps.npy``. Those of ``*.sync.npy`` are in probe
        seconds instead of samples: multiply them by the AP rate.
    ap_rate_hz, ap_samples_per_sample : float
        As in :class:`ProbeClock`.
    path : pathlib.Path or str
        Where the knots are from, for messages.

    Returns
    -------
    ProbeClock
        The clock.

    Raises
    ------
    DatasetInconsistentError
        If there are no knots, or they are not finite, or one of the columns does not rise.
    """
    if knots.ndim != 2 or knots.shape[1] != 2 or not len(knots):
        raise _unusable(path, f"their shape is {knots.shape} instead of (k, 2) with k at least 1")
    if not np.isfinite(knots).all():
        row = int(np.flatnonzero(~np.isfinite(knots).all(axis=1))[0])
        raise _unusable(path, f"row {row} is {knots[row].tolist()}")
    not_rising = np.flatnonzero((np.diff(knots, axis=0) <= 0).any(axis=1))
    if len(not_rising):
        row = int(not_rising[0])
        raise _unusable(path, f"they do not rise from row {row}, {knots[row].tolist()}, to {knots[row + 1].tolist()}")
    samples, seconds = np.ascontiguousarray(knots.T, dtype=np.float64)
    return ProbeClock(ap_rate_hz, ap_samples_per_sample, samples, seconds)


def ap_samples_per_sample(ap_rate_hz: float, rate_hz: float) -> float:
    """How many AP samples there are per sample of a band: the quotient of the rates, whole if it is nearly so."""
    ratio = ap_rate_hz / rate_hz
    return float(round(ratio)) if abs(ratio - round(ratio)) < _RATIO_TOLERANCE else ratio


def _map_linearly(x: np.ndarray, knots_x: np.ndarray, knots_y: np.ndarray, nominal_slope: float) -> np.ndarray:
    """Interpolate between knots and extrapolate beyond them; with fewer than two, the slope is the nominal one."""
    if not len(knots_x):
        return x * nominal_slope
    if len(knots_x) == 1:
        return knots_y[0] + (x - knots_x[0]) * nominal_slope
    y = np.interp(x, knots_x, knots_y)
    for outside, end, inner in ((x < knots_x[0], 0, 1), (x > knots_x[-1], -1, -2)):
        slope = (knots_y[end] - knots_y[inner]) / (knots_x[end] - knots_x[inner])
        y = np.where(outside, knots_y[end] + (x - knots_x[end]) * slope, y)
    return y


def _unusable(path: Path | str, what: str) -> DatasetInconsistentError:
    return DatasetInconsistentError(
        f"The knots of the probe's clock in '{path}' cannot be used: {what}. Get the file again, or remove it to have "
        "the recording written on the probe's own clock."
    )
