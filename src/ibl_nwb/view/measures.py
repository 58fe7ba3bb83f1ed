"""The numbers behind the figures: psychometric and chronometric points, spikes and positions around events."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: More values of probabilityLeft than this are no blocks (training sessions with debiasing).
_MAX_BLOCKS = 3

#: Standard score of a 95 % interval.
_Z_95 = 1.959963984540054


def signed_contrasts(trials: pd.DataFrame) -> np.ndarray:
    """Contrast of each trial in percent, negative on the left.

    Parameters
    ----------
    trials : pandas.DataFrame
        With ``contrast_left`` and ``contrast_right`` as fractions, NaN on the side without a stimulus.

    Returns
    -------
    numpy.ndarray
        ``(n_trials,)`` float64, NaN where neither side is known.
    """
    sides = trials[["contrast_left", "contrast_right"]].to_numpy(float)
    signed = np.nan_to_num(sides[:, 1]) - np.nan_to_num(sides[:, 0])
    return np.where(np.isnan(sides).all(axis=1), np.nan, 100 * signed)


def block_of_trials(trials: pd.DataFrame) -> np.ndarray:
    """Probability of the left side in each trial; NaN in all if it varies too much to define blocks.

    Returns
    -------
    numpy.ndarray
        ``(n_trials,)`` float64.
    """
    probability = trials["probability_left"].to_numpy(float)
    return probability if len(np.unique(probability)) <= _MAX_BLOCKS else np.full(len(probability), np.nan)


def psychometric_points(trials: pd.DataFrame) -> pd.DataFrame:
    """How often the wheel was turned counter-clockwise (the answer to a stimulus on the right), by block and contrast.

    Trials without a response (choice 0) do not count.

    Parameters
    ----------
    trials : pandas.DataFrame
        With ``choice``, ``contrast_left``, ``contrast_right`` and ``probability_left``.

    Returns
    -------
    pandas.DataFrame
        ``block``, ``signed_contrast`` (percent), ``n_trials``, ``fraction`` and the ends ``low`` and ``high`` of its
        95 % interval after Wilson (1927, J. Am. Stat. Assoc. 22:209).
    """
    answered = trials["choice"].isin([-1, 1]).to_numpy()
    data = pd.DataFrame(
        {
            "block": block_of_trials(trials),
            "signed_contrast": signed_contrasts(trials),
            "counter_clockwise": (trials["choice"] == -1).to_numpy(float),
        }
    )[answered]
    grouped = data.dropna(subset="signed_contrast").groupby(["block", "signed_contrast"], dropna=False)
    points = grouped["counter_clockwise"].agg(n_trials="count", fraction="mean").reset_index()
    n, fraction = points["n_trials"], points["fraction"]
    centre = (fraction + _Z_95**2 / (2 * n)) / (1 + _Z_95**2 / n)
    half = _Z_95 / (1 + _Z_95**2 / n) * np.sqrt(fraction * (1 - fraction) / n + _Z_95**2 / (4 * n**2))
    return points.assign(low=centre - half, high=centre + half)


def chronometric_points(trials: pd.DataFrame, onset: str = "stim_on_time") -> pd.DataFrame:
    """Time from an event to the response, by contrast.

    Trials without a response (choice 0) do not count.

    Parameters
    ----------
    trials : pandas.DataFrame
        With ``choice``, ``response_time``, the contrasts and the event, in seconds.
    onset : str, default: "stim_on_time"
        Column of the event.

    Returns
    -------
    pandas.DataFrame
        ``signed_contrast`` (percent), ``n_trials``, ``median`` and the quartiles ``low`` and ``high``, in seconds.
    """
    seconds = (trials["response_time"] - trials[onset]).to_numpy(float)
    data = pd.DataFrame({"signed_contrast": signed_contrasts(trials), "seconds": seconds})
    grouped = data[trials["choice"].isin([-1, 1]).to_numpy()].dropna().groupby("signed_contrast")["seconds"]
    points = grouped.agg(
        n_trials="count",
        median="median",
        low=lambda values: values.quantile(0.25),
        high=lambda values: values.quantile(0.75),
    )
    return points.reset_index()


def times_around(times: np.ndarray, events: np.ndarray, window: tuple[float, float]) -> list[np.ndarray]:
    """Times relative to each event that lie in a window around it.

    Parameters
    ----------
    times : numpy.ndarray
        ``(n,)`` seconds, in ascending order.
    events : numpy.ndarray
        ``(n_events,)`` seconds; NaN has no times around it.
    window : tuple of float
        First and last second from the event; the first is in the window, the last is not.

    Returns
    -------
    list of numpy.ndarray
        For each event.
    """
    first = np.searchsorted(times, events + window[0])
    stop = np.searchsorted(times, events + window[1])
    return [times[a:b] - event for a, b, event in zip(first, stop, events, strict=True)]


def counts_around(times: np.ndarray, events: np.ndarray, window: tuple[float, float], bin_s: float) -> np.ndarray:
    """Number of times in bins around each event.

    Parameters
    ----------
    times, events, window
        As in :func:`times_around`.
    bin_s : float
        Width of the bins, in seconds; the window holds whole bins.

    Returns
    -------
    numpy.ndarray
        ``(n_events, n_bins)`` int64.
    """
    edges = bin_edges(window, bin_s)
    absolute = np.asarray(events, dtype=float)[:, np.newaxis] + edges
    return np.diff(np.searchsorted(times, absolute), axis=1)


def bin_edges(window: tuple[float, float], bin_s: float) -> np.ndarray:
    """Edges of the bins of :func:`counts_around`, in seconds from the event."""
    n_bins = max(1, round((window[1] - window[0]) / bin_s))
    return window[0] + bin_s * np.arange(n_bins + 1)


def positions_around(
    timestamps: np.ndarray, positions: np.ndarray, events: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Position at seconds around each event, less that at the event, interpolated linearly as IBL does.

    Parameters
    ----------
    timestamps, positions : numpy.ndarray
        ``(n,)`` seconds in ascending order, and what was there.
    events, offsets : numpy.ndarray
        ``(n_events,)`` seconds, and ``(n_offsets,)`` seconds from each.

    Returns
    -------
    numpy.ndarray
        ``(n_events, n_offsets)`` float64, NaN outside the recording.
    """
    wanted = np.asarray(events, dtype=float)[:, np.newaxis] + offsets
    moved = np.interp(wanted, timestamps, positions, left=np.nan, right=np.nan)
    return moved - np.interp(events, timestamps, positions)[:, np.newaxis]


def values_around(timestamps: np.ndarray, values: np.ndarray, events: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Values at seconds around each event, interpolated linearly.

    Parameters
    ----------
    timestamps, values : numpy.ndarray
        ``(n,)`` seconds in ascending order, and ``(n, n_columns)`` what was measured.
    events, offsets : numpy.ndarray
        ``(n_events,)`` seconds, and ``(n_offsets,)`` seconds from each.

    Returns
    -------
    numpy.ndarray
        ``(n_events, n_offsets, n_columns)`` float64, NaN outside the recording and beside a NaN.
    """
    wanted = np.asarray(events, dtype=float)[:, np.newaxis] + offsets
    if not len(timestamps):
        return np.full((*wanted.shape, values.shape[1]), np.nan)
    columns = [np.interp(wanted, timestamps, column, left=np.nan, right=np.nan) for column in values.T]
    return np.stack(columns, axis=-1)


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows and its standard error, without NaN; NaN where there are too few.

    Parameters
    ----------
    values : numpy.ndarray
        ``(n, ...)``.

    Returns
    -------
    tuple of numpy.ndarray
        Both of the shape of a row.
    """
    n = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=0) / n
        variance = np.nansum((values - mean) ** 2, axis=0) / (n - 1)
        return mean, np.where(n > 1, np.sqrt(variance / n), np.nan)
