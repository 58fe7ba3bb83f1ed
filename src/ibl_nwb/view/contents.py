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


#: Columns of a series to read.
Columns = slice | np.ndarray

#: Trials that values are averaged over at most; of more every n-th is read.
_MAX_TRIALS = 300


class Rows(NamedTuple):
    """Rows of a series in physical units, and their times in seconds."""

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


def sample_trials(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """The trials that have a time in a column; of many every n-th."""
    timed = trials[trials[column].notna()]
    return timed.iloc[:: max(1, -(-len(timed) // _MAX_TRIALS))]


def find_in_processing(nwbfile: NWBFile, prefix: str) -> dict[str, Any]:
    """What the processing modules hold under names that begin so, by name."""
    found = (
        (name, value)
        for module in nwbfile.processing.values()
        for name, value in module.data_interfaces.items()
        if name.startswith(prefix)
    )
    return dict(sorted(found, key=lambda pair: pair[0]))


def find_in_container(nwbfile: NWBFile, name: str, attribute: str) -> dict[str, Any]:
    """What a container of the processing modules, such as ``Fluorescence``, holds in one of its attributes, by name."""
    container = find_in_processing(nwbfile, name).get(name)
    return dict(getattr(container, attribute, {}))


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


def read_rows(series: TimeSeries, start_s: float, stop_s: float, columns: Columns = slice(None)) -> Rows:
    """Rows of a series from one second to before another, and no others.

    Parameters
    ----------
    series : pynwb.TimeSeries
        With times or a rate.
    start_s, stop_s : float
        Seconds of the session.
    columns : slice or numpy.ndarray, optional
        Columns to read, by default all; an array is of rising numbers.
    """
    return read_spans(series, [(row_at(series, start_s), row_at(series, stop_s))], columns)


def read_spans(series: TimeSeries, spans: Sequence[tuple[int, int]], columns: Columns = slice(None)) -> Rows:
    """Rows of a series in spans, each from a row to before another, one span after the other.

    Parameters
    ----------
    series, columns
        As in :func:`read_rows`.
    spans : sequence of tuple of int
        First row of each, and the one after its last.
    """
    values = series.data
    parts = [values[first:stop] if len(values.shape) == 1 else values[first:stop, columns] for first, stop in spans]
    channel_conversion = getattr(series, "channel_conversion", None)
    factor = series.conversion * (1.0 if channel_conversion is None else np.asarray(channel_conversion[:])[columns])
    data = np.concatenate([np.asarray(part, dtype=float) for part in parts]) * factor + series.offset
    if series.timestamps is not None:
        return Rows(data, np.concatenate([np.asarray(series.timestamps[first:stop]) for first, stop in spans]))
    return Rows(data, series.starting_time + np.concatenate([np.arange(*span) for span in spans]) / series.rate)


def spans_around(series: TimeSeries, events: np.ndarray, window_s: tuple[float, float]) -> list[tuple[int, int]]:
    """Rows of a series around events, with one more at both ends, as :func:`read_spans` takes them; none for none.

    Spans less than a chunk apart are one: to decompress a chunk twice takes longer than to read what is between them.
    Stored times are read as a whole.

    Parameters
    ----------
    series : pynwb.TimeSeries
        With times or a rate.
    events : numpy.ndarray
        ``(n_events,)`` seconds, none of them NaN.
    window_s : tuple of float
        First and last second from each event.
    """
    n_rows = series.data.shape[0]
    bounds = np.sort(events)[:, np.newaxis] + window_s
    if series.timestamps is not None:
        rows = np.searchsorted(np.asarray(series.timestamps[:]), bounds)
    else:
        rows = np.ceil((bounds - series.starting_time) * series.rate).astype(np.int64)
    spans: list[tuple[int, int]] = []
    chunk_shape = getattr(series.data, "chunks", None) or (1,)
    for first, stop in np.clip(rows + [-1, 1], 0, n_rows).tolist():
        if spans and first - spans[-1][1] < chunk_shape[0]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], stop))
        elif first < stop:
            spans.append((first, stop))
    return spans


def every_nth_row(series: TimeSeries, max_rows: int) -> Rows:
    """Every n-th row of a series, so many that there are no more than asked for, as in :func:`read_rows`."""
    step = max(1, -(-series.data.shape[0] // max_rows))
    data = np.asarray(series.data[::step], dtype=float) * series.conversion + series.offset
    if series.timestamps is not None:
        return Rows(data, np.asarray(series.timestamps[::step]))
    return Rows(data, series.starting_time + step * np.arange(len(data)) / series.rate)


def choose_window(series: TimeSeries, start_s: float | None, duration_s: float) -> tuple[float, float]:
    """A window in a recording: from a second that is given, else in its middle; moved inwards at its ends."""
    first, last = first_and_last_s(series)
    start = (first + last - duration_s) / 2 if start_s is None else start_s
    start = max(first, min(start, last - duration_s))
    return start, start + duration_s
