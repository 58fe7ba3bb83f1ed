"""The passive period: where it is in the session, what was replayed, and frames of the receptive field mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pynwb import NWBFile
from pynwb.image import ImageSeries

from .contents import first_and_last_s, read_columns, read_trials, row_at
from .drawing import Drawing, Palette, Theme, drawing, say_empty, shorten

_GABOR, _REPLAY = "PassiveGabor", "PassiveReplay"
_FRAMES, _FRAME_TIMES = "PassiveReceptiveFieldStimulus", "PassiveReceptiveFieldFrames"
_SPONTANEOUS = "SpontaneousActivity"

#: Names of tables of periods begin so; that of the first passive protocol is the epochs of the file.
_PERIODS = ("epochs", "passive_periods")

_N_FRAMES = 8


def plot_passive(nwbfile: NWBFile | str | Path, *, start_s: float | None = None, theme: Theme = "light") -> Figure:
    """The passive period on the time line of the session, the replayed stimuli, and eight frames of the mapping.

    Of the frames of the receptive field mapping only these eight are read.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    start_s : float, optional
        Second of the session from which on frames are shown; default the middle of the mapping.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without a passive period it says so.
    """
    with drawing(nwbfile, theme) as page:
        if not has_passive_period(page.nwbfile):
            return page.empty("Passive period", "This file has no passive period.")
        gabors, replays = _find_intervals(page.nwbfile, _GABOR), _find_intervals(page.nwbfile, _REPLAY)
        periods, mappings = _read_periods(page.nwbfile), _find_mappings(page.nwbfile)
        figure = page.figure("Passive period", 11, 9)
        grid = figure.add_gridspec(4, _N_FRAMES, height_ratios=[1.5, 1.1, 0.8, 0.9])
        _draw_time_line(figure.add_subplot(grid[0, :]), page, periods, {**replays, **gabors}, mappings)
        patches = figure.add_subplot(grid[1, :])
        given = figure.add_subplot(grid[2, :])
        _draw_gabors(patches, gabors, page.palette)
        _draw_replay(given, replays, page.palette)
        if gabors and replays:
            patches.sharex(given)
            patches.tick_params(labelbottom=False)
            patches.set_xlabel("")
        series = next((series for series in mappings.values() if isinstance(series, ImageSeries)), None)
        if series is None:
            say_empty(figure.add_subplot(grid[3, :]), "This file has no frames of the receptive field mapping.")
        else:
            _draw_frames([figure.add_subplot(grid[3, place]) for place in range(_N_FRAMES)], series, start_s)
        return figure


def has_passive_period(nwbfile: NWBFile) -> bool:
    """Whether there are periods, stimuli or a receptive field mapping of a passive protocol."""
    stimuli = [name for name in nwbfile.intervals or () if name.startswith((_GABOR, _REPLAY))]
    return bool(stimuli or len(_read_periods(nwbfile)) or _find_mappings(nwbfile))


def _find_intervals(nwbfile: NWBFile, prefix: str) -> dict[str, pd.DataFrame]:
    """Times of the stimuli of each table whose name begins so, without the prefix "Passive", and the Gabor patches'."""
    columns = ["start_time", "stop_time", "position", "contrast"]
    found = sorted(name for name in nwbfile.intervals or () if name.startswith(prefix))
    return {name.removeprefix("Passive"): read_columns(nwbfile.intervals[name], columns) for name in found}


def _read_periods(nwbfile: NWBFile) -> pd.DataFrame:
    """The periods that were not skipped."""
    columns = ["period", "start_time", "stop_time"]
    found = [pd.DataFrame(columns=columns, dtype=object)]
    for name in sorted(nwbfile.intervals or ()):
        table = nwbfile.intervals[name]
        if name.startswith(_PERIODS) and "period" in table.colnames:
            found.append(read_columns(table, columns))
        elif name.startswith(_SPONTANEOUS):
            found.append(read_columns(table, columns).assign(period="spontaneousActivity"))
    return pd.concat(found[1:] or found, ignore_index=True).dropna()


def _find_mappings(nwbfile: NWBFile) -> dict[str, Any]:
    """Frames of the receptive field mapping as images, or their times as events, by name; those that there are."""
    images = {name: series for name, series in nwbfile.stimulus.items() if name.startswith(_FRAMES)}
    events = {name: table for name, table in (nwbfile.events or {}).items() if name.startswith(_FRAME_TIMES)}
    found = {name: images[name] for name in sorted(images) if images[name].data.shape[0]}
    return {**found, **{name: events[name] for name in sorted(events) if len(events[name])}}


def _draw_time_line(
    axes: Axes, page: Drawing, periods: pd.DataFrame, stimuli: dict[str, pd.DataFrame], mappings: dict[str, Any]
) -> None:
    """One row for each kind of period and of stimulus, over the whole session."""
    palette = page.palette
    bars: dict[str, list[tuple[float, float]]] = {}
    trials = read_trials(page.nwbfile)
    if trials is not None:
        bars["trials of the task"] = [(float(trials["start_time"].min()), float(trials["stop_time"].max()))]
    for name, start, stop in periods.sort_values("start_time", kind="stable").itertuples(index=False):
        bars.setdefault(str(name), []).append((float(start), float(stop)))
    n_periods = len(bars)
    for name, mapping in mappings.items():
        bars[name.removeprefix("Passive")] = [_first_and_last_frame_s(mapping)]
    for row, (name, spans) in enumerate(bars.items()):
        color = palette.neutral if name.startswith("trials") else palette.blocks[0 if row < n_periods else 2]
        minutes = [(start / 60, (stop - start) / 60) for start, stop in spans]
        axes.broken_barh(minutes, (row - 0.35, 0.7), color=color)
    for row, table in enumerate(stimuli.values(), len(bars)):
        onsets = table["start_time"].dropna().to_numpy(float) / 60
        axes.eventplot(onsets, lineoffsets=row, linelengths=0.7, linewidths=0.6, color=palette.ink)
    names = [*bars, *(f"{name} ({len(table)})" for name, table in stimuli.items())]
    axes.set_yticks(range(len(names)), [shorten(name, 36) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set(xlabel="Time of the session (min)")
    axes.margins(x=0.01)
    axes.set_title("On the time line of the session")


def _first_and_last_frame_s(mapping: Any) -> tuple[float, float]:
    if isinstance(mapping, ImageSeries):
        return first_and_last_s(mapping)
    times = mapping["timestamp"].data
    return float(times[0]), float(times[-1])


def _draw_gabors(axes: Axes, tables: dict[str, pd.DataFrame], palette: Palette) -> None:
    """Each patch at its onset, at its contrast, which is negative on the left."""
    found = pd.concat(tables.values(), ignore_index=True) if tables else pd.DataFrame()
    if found.empty or found[["position", "contrast"]].isna().all(axis=None):
        say_empty(axes, "This file has no Gabor patches with a position and a contrast.")
        return
    signed = 100 * (found["contrast"] * np.sign(found["position"])).to_numpy(float) + 0.0
    levels = np.unique(signed[np.isfinite(signed)])
    heights = np.where(np.isnan(signed), np.nan, np.searchsorted(levels, signed))
    for side, color, label in ((-1, palette.clockwise, "left"), (1, palette.counter_clockwise, "right")):
        chosen = (np.sign(found["position"]) == side).to_numpy()
        onsets = found["start_time"].to_numpy(float)[chosen]
        axes.scatter(onsets, heights[chosen], s=14, color=color, label=f"{label} ({chosen.sum()})")
    axes.set_yticks(range(len(levels)), [f"{level:g}".replace("-", "−") for level in levels])
    axes.set(ylabel="Signed contrast (%)\nleft −, right +", xlabel="Time of the session (s)")
    axes.set_title(f"{len(found)} Gabor patches")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.1, borderpad=0)


def _draw_replay(axes: Axes, tables: dict[str, pd.DataFrame], palette: Palette) -> None:
    """A bar from onset to offset for each time a stimulus was given, one row for each kind."""
    if not tables:
        say_empty(axes, "This file has no replayed valve, tones or noise.")
        return
    for row, table in enumerate(tables.values()):
        times = table[["start_time", "stop_time"]].dropna().to_numpy(float)
        axes.hlines(np.full(len(times), row), times[:, 0], times[:, 1], color=palette.ink, lw=9)
        axes.plot(times[:, 0], np.full(len(times), row), ls="", marker="|", ms=9, color=palette.ink, mew=0.8)
    names = [f"{name.removeprefix('Replay').lower()} ({len(table)})" for name, table in tables.items()]
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel="Time of the session (s)")
    axes.set_title("Replayed stimuli of the task, from onset to offset")


def _draw_frames(axes: list[Axes], series: ImageSeries, start_s: float | None) -> None:
    """Consecutive frames, each with its time."""
    first_s, last_s = first_and_last_s(series)
    n_frames = series.data.shape[0]
    row = row_at(series, (first_s + last_s) / 2 if start_s is None else start_s)
    first = max(0, min(row, n_frames - len(axes)))
    stop = min(first + len(axes), n_frames)
    frames = np.asarray(series.data[first:stop])
    if series.timestamps is not None:
        times = np.asarray(series.timestamps[first:stop])
    else:
        times = series.starting_time + np.arange(first, stop) / series.rate
    for panel in axes[len(frames) :]:
        panel.axis("off")
    for panel, frame, time_s in zip(axes, frames, times, strict=False):
        panel.imshow(frame.T, cmap="gray", vmin=0, vmax=255)
        panel.set(xticks=[], yticks=[])
        panel.set_title(f"{time_s:.3f} s")
    axes[0].set(xlabel="x →", ylabel=f"← y\nframes {first} to {stop - 1}\nof {n_frames}")
