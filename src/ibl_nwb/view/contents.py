"""Finding and reading parts of a file: nothing but what a figure shows is read from the disk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pynwb import NWBFile, TimeSeries

TRIAL_COLUMNS = (
    "start_time",
    "stop_time",
    "choice",
    "contrast_left",
    "contrast_right",
    "probability_left",
    "feedback_type",
    "feedback_time",
    "response_time",
    "go_cue_time",
    "stim_on_time",
    "stim_on_trigger_time",
    "first_movement_time",
)


class Rows(NamedTuple):
    """Consecutive rows of a series, in physical units, and their times in seconds."""

    data: np.ndarray
    times: np.ndarray


def read_columns(table: Any, names: Sequence[str]) -> pd.DataFrame:
    """Columns of a table with one value for each row; NaN for those that it lacks.

    Parameters
    ----------
    table : hdmf.common.DynamicTable
        The table.
    names : sequence of str
        Names of its columns.
    """
    found = {name: np.asarray(table[name].data[:]) for name in names if name in table.colnames}
    return pd.DataFrame(found, index=range(len(table))).reindex(columns=list(names))


def read_trials(nwbfile: NWBFile, name: str | None = None) -> pd.DataFrame | None:
    """The columns of the trials that figures show; None without trials.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile
        An open file.
    name : str, optional
        Name of the table; default that of the first task.
    """
    names = sorted(table for table in nwbfile.intervals or () if table.startswith("trials"))
    if nwbfile.trials is not None:
        names.insert(0, "trials")
    name = name or (names[0] if names else None)
    if name is None:
        return None
    table = nwbfile.trials if name == "trials" else nwbfile.intervals[name]
    return read_columns(table, TRIAL_COLUMNS) if len(table) else None


def find_in_processing(nwbfile: NWBFile, prefix: str) -> dict[str, Any]:
    """What the processing modules hold under names that begin so, by name."""
    found = (
        (name, value)
        for module in nwbfile.processing.values()
        for name, value in module.data_interfaces.items()
        if name.startswith(prefix)
    )
    return dict(sorted(found, key=lambda pair: pair[0]))


def find_raw(nwbfile: NWBFile, band: str) -> dict[str, TimeSeries]:
    """The raw recordings of a band, ``AP`` or ``LF``, that have samples, by the name of their probe."""
    prefix = f"ElectricalSeries{band}"
    found = {
        name.removeprefix(prefix): series for name, series in nwbfile.acquisition.items() if name.startswith(prefix)
    }
    return {name: found[name] for name in sorted(found) if found[name].data.shape[0]}


def row_at(series: TimeSeries, time_s: float) -> int:
    """First row of a series that is not before a time; of stored times only a few are read."""
    if series.timestamps is not None:
        return bisect_left(series.timestamps, time_s)
    row = np.ceil(round((time_s - series.starting_time) * series.rate, 6))
    return int(np.clip(row, 0, series.data.shape[0]))


def first_and_last_s(series: TimeSeries) -> tuple[float, float]:
    """Times of the first and the last row of a series that has any."""
    if series.timestamps is not None:
        return float(series.timestamps[0]), float(series.timestamps[-1])
    return series.starting_time, series.starting_time + (series.data.shape[0] - 1) / series.rate


def read_rows(series: TimeSeries, start_s: float, stop_s: float) -> Rows:
    """Rows of a series from one second to before another, and no others.

    Parameters
    ----------
    series : pynwb.TimeSeries
        With times or a rate.
    start_s, stop_s : float
        Seconds of the session.
    """
    first, stop = row_at(series, start_s), row_at(series, stop_s)
    channel_conversion = getattr(series, "channel_conversion", None)
    factor = series.conversion * (1.0 if channel_conversion is None else np.asarray(channel_conversion[:]))
    data = np.asarray(series.data[first:stop], dtype=float) * factor + series.offset
    if series.timestamps is not None:
        return Rows(data, np.asarray(series.timestamps[first:stop]))
    return Rows(data, series.starting_time + np.arange(first, stop) / series.rate)


def choose_window(series: TimeSeries, start_s: float | None, duration_s: float) -> tuple[float, float]:
    """A window in a recording: from a second that is given, else in its middle; moved inwards at its ends."""
    first, last = first_and_last_s(series)
    start = (first + last - duration_s) / 2 if start_s is None else start_s
    start = max(first, min(start, last - duration_s))
    return start, start + duration_s
