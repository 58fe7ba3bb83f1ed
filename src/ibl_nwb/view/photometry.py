"""Fiber photometry: fluorescence of each region of interest over the session, and around stimulus and feedback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pynwb import NWBFile, TimeSeries

from ..errors import UsageError
from .contents import every_nth_row, read_columns, read_spans, read_trials, sample_trials, spans_around
from .drawing import Drawing, Palette, Theme, drawing, say_empty, shorten
from .measures import mean_and_error, values_around
from .session import choose_onset

_SERIES, _TABLE = "FiberPhotometry", "FiberPhotometryROIs"

#: Frames of a light that are read of the whole session at most; more than the page has pixels would not be seen.
_MAX_FRAMES = 3000

_WINDOW_S = (-1.0, 3.0)
_OFFSETS_S = np.linspace(*_WINDOW_S, 121)


def plot_photometry(nwbfile: NWBFile | str | Path, *, table: str | None = None, theme: Theme = "light") -> Figure:
    """Fluorescence of each region of interest in the frames of each light: over the session, and around events.

    Of a long session every n-th frame is read, and the frames around the trials; of more than 300 trials every n-th.
    Around events there is the change from the mean of the second before, in percent of it, averaged over trials.
    Frames with several lights or none are shown only where there are no others.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    table : str, optional
        Name of the table of the regions of interest, e.g. ``FiberPhotometryROIs``, where there are several
        recordings; default the first.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without photometry it says so.

    Raises
    ------
    UsageError
        If the file has no such recording.
    """
    with drawing(nwbfile, theme) as page:
        recordings = tables_of_photometry(page.nwbfile)
        if not recordings:
            return page.empty("Fiber photometry", "This file has no fiber photometry.")
        chosen = table or recordings[0]
        if chosen not in recordings:
            raise UsageError(f"The file has no photometry of '{chosen}'. Choose one of {', '.join(recordings)}.")
        return _draw_photometry(page, chosen)


def tables_of_photometry(nwbfile: NWBFile) -> list[str]:
    """Names of the tables of regions of interest of all recordings; the usual one for series that have no table."""
    return [table for table in _tables(nwbfile) if _find_lights(nwbfile, table)]


def _tables(nwbfile: NWBFile) -> list[str]:
    return sorted(name for name in nwbfile.acquisition if name.startswith(_TABLE)) or [_TABLE]


def _draw_photometry(page: Drawing, table: str) -> Figure:
    lights = _find_lights(page.nwbfile, table)
    names = _name_columns(page.nwbfile, table, next(iter(lights.values())))
    colors = dict(zip(lights, _light_colors(len(lights), page.palette), strict=True))
    figure = page.figure("Fiber photometry", 11, 1.4 + 1.7 * len(names))
    axes = figure.subplots(len(names), 3, squeeze=False, sharex="col", width_ratios=[2, 1, 1])
    for row, name in enumerate(names):
        axes[row, 0].set_title(name)
        axes[row, 0].set_ylabel("Fluorescence\n(a.u., raw)")
    _draw_session(axes[:, 0], lights, colors)
    trials = read_trials(page.nwbfile)
    for column, (event, around, outcomes) in enumerate(_events(trials), 1):
        _draw_around(axes[:, column], page, lights, colors, event, around, outcomes)
    if trials is None:
        for empty in axes[:, 1:].flat:
            say_empty(empty, "This file has no trials.")
    handles = [Line2D([], [], color=colors[light], label=light) for light in lights]
    if trials is not None:
        styles = {"-": "mean ± s.e.m.; at feedback: rewarded", "--": "not rewarded"}
        handles += [Line2D([], [], color=page.palette.ink, ls=style, label=label) for style, label in styles.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))
    return figure


def _draw_session(axes: np.ndarray, lights: dict[str, TimeSeries], colors: dict[str, str]) -> None:
    for light, series in lights.items():
        rows = every_nth_row(series, _MAX_FRAMES)
        for panel, values in zip(axes, _as_columns(rows.data).T, strict=True):
            panel.plot(rows.times / 60, values, color=colors[light], lw=0.6)
    n_frames = max(series.data.shape[0] for series in lights.values())
    step = max(1, -(-n_frames // _MAX_FRAMES))
    axes[-1].set_xlabel("Time of the session (min)" + (f"; one frame in {step} of each light" if step > 1 else ""))
    axes[-1].margins(x=0.01)


def _events(trials: pd.DataFrame | None) -> list[tuple[str, pd.DataFrame, bool]]:
    """Name of each event, its trials with a column ``time``, and whether they are told apart by their outcome."""
    if trials is None:
        return []
    column, onset = choose_onset(trials)
    found = []
    for name, of_column, by_outcome in ((onset, column, False), ("feedback", "feedback_time", True)):
        sampled = sample_trials(trials, of_column)
        found.append((name, sampled.assign(time=sampled[of_column]), by_outcome))
    return found


def _draw_around(
    axes: np.ndarray,
    page: Drawing,
    lights: dict[str, TimeSeries],
    colors: dict[str, str],
    event: str,
    trials: pd.DataFrame,
    by_outcome: bool,
) -> None:
    rewarded = (trials["feedback_type"] == 1).to_numpy()
    groups = {"-": rewarded, "--": ~rewarded} if by_outcome else {"-": np.ones(len(trials), dtype=bool)}
    for light, series in lights.items():
        changes = _relative_changes(series, trials["time"].to_numpy(float))
        for style, chosen in groups.items():
            mean, error = mean_and_error(changes[chosen])
            for place, panel in enumerate(axes):
                panel.plot(_OFFSETS_S, mean[:, place], color=colors[light], lw=1.3, ls=style)
                low, high = mean[:, place] - error[:, place], mean[:, place] + error[:, place]
                panel.fill_between(_OFFSETS_S, low, high, color=colors[light], alpha=0.2, linewidth=0)
    for panel in axes:
        panel.axvline(0, color=page.palette.faint, lw=0.8, ls="--")
        panel.set_xlim(*_WINDOW_S)
        panel.set_ylabel("Change (%)")
    axes[0].set_title(f"{event.capitalize()}, {len(trials)} trials")
    axes[-1].set_xlabel(f"Time from {event} (s)")


def _relative_changes(series: TimeSeries, events: np.ndarray) -> np.ndarray:
    """Change from the mean before each event in percent of it, NaN if that is 0; (n_events, n_offsets, n_columns)."""
    spans = spans_around(series, events, _WINDOW_S)
    if not spans:
        n_columns = series.data.shape[1] if len(series.data.shape) > 1 else 1
        return np.full((len(events), len(_OFFSETS_S), n_columns), np.nan)
    rows = read_spans(series, spans)
    values = values_around(rows.times, _as_columns(rows.data), events, _OFFSETS_S)
    before = values[:, _OFFSETS_S < 0].mean(axis=1, keepdims=True)
    return 100 * (values / np.where(before == 0, np.nan, before) - 1)


def _find_lights(nwbfile: NWBFile, table: str) -> dict[str, TimeSeries]:
    """Series of a recording by the name of their light, shorter waves first."""
    labels = [name.removeprefix(_TABLE) for name in _tables(nwbfile)]
    label = table.removeprefix(_TABLE)
    found = []
    for name, series in nwbfile.acquisition.items():
        if _is_photometry(series) and label == max((end for end in labels if name.endswith(end)), key=len, default=""):
            light, wavelength_nm = name.removeprefix(_SERIES).removesuffix(label), _wavelength_nm(series)
            found.append((wavelength_nm, shorten(light), series))
    alone = [light for light in found if np.isfinite(light[0])] or found
    alone.sort(key=lambda light: light[:2])
    return {f"{name}, {nm:g} nm" if np.isfinite(nm) else name: series for nm, name, series in alone}


def _is_photometry(series: Any) -> bool:
    return type(series).__name__ == "FiberPhotometryResponseSeries" and series.data.shape[0] > 0


def _wavelength_nm(series: Any) -> float:
    region = series.fiber_photometry_table_region
    if region is None or "excitation_wavelength_in_nm" not in region.table.colnames:
        return np.nan
    return float(region.table["excitation_wavelength_in_nm"].data[int(region.data[0])])


def _name_columns(nwbfile: NWBFile, table: str, series: TimeSeries) -> list[str]:
    """Region of interest, fiber and brain region of each column of the data."""
    n_columns = series.data.shape[1] if len(series.data.shape) > 1 else 1
    names = [f"Column {column}" for column in range(n_columns)]
    if table in nwbfile.acquisition:
        rois = read_columns(nwbfile.acquisition[table], ["roi", "fiber", "brain_region", "series_column"])
        for roi, fiber, region, column in rois.itertuples(index=False):
            if 0 <= column < n_columns:
                names[int(column)] = f"{shorten(str(roi))}: {shorten(str(fiber))}, {shorten(str(region))}"
    return names


def _light_colors(n_lights: int, palette: Palette) -> list[str]:
    """Grey for the shortest wave of several, which is the isosbestic one as a rule."""
    colors = [palette.neutral] * (n_lights > 1) + [palette.clockwise, palette.counter_clockwise]
    return [*colors, *[palette.ink] * n_lights][:n_lights]


def _as_columns(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)
