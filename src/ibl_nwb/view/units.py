"""Sorted units of a probe: spikes by depth, amplitudes, metrics, and responses to the task."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pynwb import NWBFile
from pynwb.misc import Units

from ..errors import UsageError
from .contents import read_columns, read_trials
from .drawing import Drawing, Palette, Theme, drawing, say_empty, shorten
from .measures import bin_edges, counts_around, signed_contrasts, times_around
from .regions import region_colors
from .session import choose_onset

_COLUMNS = ("unit_name", "probe_name", "depths", "amps", "firing_rate", "presence_ratio", "contamination", "label")

_DEPTH_LABEL = "Depth along the shank\n(µm, upwards, IBL's site grid)"

#: Bins of the picture of all spikes.
_N_TIME_BINS, _DEPTH_BIN_UM = 600, 20.0

#: Spikes read at a time.
_BLOCK = 4_000_000

_MAX_REGION_NAMES = 24


class _Units(NamedTuple):
    table: pd.DataFrame  # one row per unit of the probe, "row" is its row in the file
    ends: np.ndarray  # of all units of the file, where their spikes end in spike_times


class _Spikes(NamedTuple):
    image: np.ndarray  # depth bins x time bins, counts
    time_edges: np.ndarray
    depth_edges: np.ndarray
    window_times: np.ndarray  # spikes of a short window, and the unit of each
    window_units: np.ndarray


def plot_units(
    nwbfile: NWBFile | str | Path,
    *,
    probe_name: str | None = None,
    start_s: float | None = None,
    duration_s: float = 5.0,
    theme: Theme = "light",
) -> Figure:
    """Units of a probe: all spikes by depth, a raster of some seconds, amplitudes and metrics.

    Spike times are read in blocks; all else of the file stays on the disk.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    probe_name : str, optional
        ALF name of the probe, as in the column ``probe_name``; default the first.
    start_s, duration_s : float
        The seconds of the raster; default five from the middle of the session.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without units it says so.

    Raises
    ------
    UsageError
        If the file has no units of such a probe.
    """
    with drawing(nwbfile, theme) as page:
        probes = probes_with_units(page.nwbfile)
        if not probes:
            return page.empty("Units", "This file has no units.")
        chosen = probe_name or probes[0]
        if chosen not in probes:
            raise UsageError(f"The file has no units of '{chosen}'. Choose one of {', '.join(probes)}.")
        return _draw_units(page, chosen, start_s, duration_s)


def plot_psth(
    nwbfile: NWBFile | str | Path,
    *,
    unit: str | int | None = None,
    window_s: tuple[float, float] = (-0.5, 1.0),
    bin_s: float = 0.05,
    theme: Theme = "light",
) -> Figure:
    """Spikes of one unit around the stimulus: raster, and rates by contrast and by choice.

    Only the spikes of this unit are read.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    unit : str or int, optional
        Its ``unit_name`` or its row; default the one with most spikes among those with the best ``label``.
    window_s : tuple of float
        First and last second from the stimulus.
    bin_s : float, default: 0.05
        Width of the bins, in seconds.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without units or trials it says so.

    Raises
    ------
    UsageError
        If the file has no such unit.
    """
    with drawing(nwbfile, theme) as page:
        units, trials = page.nwbfile.units, read_trials(page.nwbfile)
        if units is None or not len(units) or "spike_times" not in units.colnames:
            return page.empty("Responses of a unit", "This file has no units.")
        if trials is None:
            return page.empty("Responses of a unit", "This file has no trials to align spikes to.")
        return _draw_psth(page, _find_unit(page.nwbfile, unit), trials, window_s, bin_s)


def probes_with_units(nwbfile: NWBFile) -> list[str]:
    """ALF names of the probes that have units, in the order of the table; one nameless probe if they have no names."""
    if nwbfile.units is None or not len(nwbfile.units) or "spike_times" not in nwbfile.units.colnames:
        return []
    names = read_columns(nwbfile.units, ["probe_name"])["probe_name"]
    return ["all probes"] if names.isna().all() else names.drop_duplicates().tolist()


def first_and_last_spike_s(units: Units, rows: np.ndarray | None = None) -> tuple[float, float] | None:
    """Seconds of the first and the last spike of some units, default all; None if they have none. Others are not read.

    Parameters
    ----------
    units : pynwb.misc.Units
        The table.
    rows : numpy.ndarray, optional
        Rows of the units.
    """
    index = units["spike_times"]
    ends = np.asarray(index.data[:], dtype=np.int64)
    starts = np.r_[0, ends[:-1]]
    chosen = np.arange(len(ends)) if rows is None else rows
    chosen = chosen[ends[chosen] > starts[chosen]]
    if not len(chosen):
        return None
    places = np.unique(np.r_[starts[chosen], ends[chosen] - 1])
    times = index.target.data
    found = np.asarray(times)[places] if isinstance(times, list) else times[places]
    return float(np.min(found)), float(np.max(found))


def best_unit(nwbfile: NWBFile, probe_name: str) -> int:
    """Row of the unit with most spikes among those of a probe with the best ``label``."""
    table, ends = _read_units(nwbfile, probe_name)
    n_spikes = np.diff(ends, prepend=0)[table["row"]]
    label = pd.to_numeric(table["label"]).fillna(-1).to_numpy()
    return int(table["row"].to_numpy()[np.lexsort((n_spikes, label))[-1]])


def _read_units(nwbfile: NWBFile, probe_name: str) -> _Units:
    units = nwbfile.units
    table = read_columns(units, _COLUMNS).assign(row=np.arange(len(units)))
    table["region"] = _regions_of_units(nwbfile)
    if table["probe_name"].notna().any():
        table = table[table["probe_name"] == probe_name]
    return _Units(table.reset_index(drop=True), np.asarray(units["spike_times"].data[:], dtype=np.int64))


def _regions_of_units(nwbfile: NWBFile) -> np.ndarray:
    """Allen acronym of the first electrode of each unit, "unknown" where it has none."""
    units = nwbfile.units
    regions = np.full(len(units), "unknown", dtype=object)
    if "electrodes" not in units.colnames or nwbfile.electrodes is None:
        return regions
    ends = np.asarray(units["electrodes"].data[:], dtype=np.int64)
    starts = np.r_[0, ends[:-1]]
    rows = np.asarray(units["electrodes"].target.data[:])
    has_one = ends > starts
    regions[has_one] = np.asarray(nwbfile.electrodes["location"].data[:])[rows[starts[has_one]]]
    return regions


def _find_unit(nwbfile: NWBFile, unit: str | int | None) -> int:
    n_units = len(nwbfile.units)
    if unit is None:
        return best_unit(nwbfile, probes_with_units(nwbfile)[0])
    if isinstance(unit, str):
        names = read_columns(nwbfile.units, ["unit_name"])["unit_name"].tolist()
        if unit not in names:
            raise UsageError(f"The file has no unit '{unit}'. Units are called {names[0]} to {names[-1]}.")
        return names.index(unit)
    if not 0 <= unit < n_units:
        raise UsageError(f"The file has no unit in row {unit}. Rows are 0 to {n_units - 1}.")
    return unit


def _read_spikes(nwbfile: NWBFile, units: _Units, start_s: float | None, duration_s: float) -> _Spikes | None:
    """One pass over the spikes of a probe, in blocks."""
    column = nwbfile.units["spike_times"].target.data
    starts, rows = np.r_[0, units.ends[:-1]], units.table["row"].to_numpy()
    filled = rows[units.ends[rows] > starts[rows]]
    span = first_and_last_spike_s(nwbfile.units, filled)
    if span is None:
        return None
    first_s, last_s = span
    depths = np.full(len(units.ends), np.nan)
    depths[rows] = pd.to_numeric(units.table["depths"]).to_numpy(float)
    lowest, highest = (np.nanmin(depths), np.nanmax(depths)) if np.isfinite(depths).any() else (0.0, 0.0)
    depth_edges = np.arange(lowest // _DEPTH_BIN_UM * _DEPTH_BIN_UM, highest + 1.01 * _DEPTH_BIN_UM, _DEPTH_BIN_UM)
    time_edges = np.linspace(first_s, max(last_s, first_s + 1e-3), _N_TIME_BINS + 1)
    start = (first_s + last_s - duration_s) / 2 if start_s is None else start_s
    image = np.zeros((len(depth_edges) - 1, _N_TIME_BINS), dtype=np.int64)
    in_window: list[tuple[np.ndarray, np.ndarray]] = []
    for block_start in range(int(starts[filled].min()), int(units.ends[filled].max()), _BLOCK):
        times = np.asarray(column[block_start : min(block_start + _BLOCK, units.ends[filled].max())])
        unit_rows = np.searchsorted(units.ends, block_start + np.arange(len(times)), side="right")
        of_probe = np.isin(unit_rows, rows)
        times, unit_rows = times[of_probe], unit_rows[of_probe]
        image += np.histogram2d(depths[unit_rows], times, bins=(depth_edges, time_edges))[0].astype(np.int64)
        shown = (times >= start) & (times < start + duration_s)
        in_window.append((times[shown], unit_rows[shown]))
    window_times, window_units = (np.concatenate(parts) for parts in zip(*in_window, strict=True))
    return _Spikes(image, time_edges, depth_edges, window_times, window_units)


def _draw_units(page: Drawing, probe_name: str, start_s: float | None, duration_s: float) -> Figure:
    units = _read_units(page.nwbfile, probe_name)
    spikes = _read_spikes(page.nwbfile, units, start_s, duration_s)
    table, palette = units.table, page.palette
    good = int((pd.to_numeric(table["label"]) == 1).sum())
    figure = page.figure(f"Units of {shorten(probe_name)}: {len(table)}, of which {good} with label 1 (good)", 11, 9)
    if spikes is None:
        say_empty(figure.add_subplot(), f"The {len(table)} units of {probe_name} have no spikes.")
        return figure
    grid = figure.add_gridspec(3, 4, height_ratios=[1.2, 1.2, 0.75], width_ratios=[1, 1, 1, 1])
    whole = figure.add_subplot(grid[0, :3])
    _draw_all_spikes(whole, spikes, palette)
    raster = figure.add_subplot(grid[1, :3], sharey=whole)
    _draw_raster(raster, table, spikes)
    _draw_amplitudes(figure.add_subplot(grid[0, 3], sharey=whole), table)
    _draw_region_names(figure.add_subplot(grid[1, 3]), table)
    for place, (column, label, factor) in enumerate(
        (
            ("firing_rate", "Firing rate (Hz)", 1.0),
            ("amps", "Mean amplitude (µV)", 1e6),
            ("presence_ratio", "Presence ratio", 1.0),
            ("label", "Label", 1.0),
        )
    ):
        _draw_metric(figure.add_subplot(grid[2, place]), table, column, label, factor, palette)
    return figure


def _draw_all_spikes(axes: Axes, spikes: _Spikes, palette: Palette) -> None:
    rate = spikes.image / np.diff(spikes.time_edges)[0]
    top = np.percentile(rate[rate > 0], 98) if (rate > 0).any() else 1.0
    colors = "Greys" if palette.paper == "#ffffff" else "gray"
    mesh = axes.pcolormesh(
        spikes.time_edges / 60, spikes.depth_edges, rate, cmap=colors, vmin=0, vmax=top, rasterized=True
    )
    axes.set(xlabel="Time of the session (min)", ylabel=_DEPTH_LABEL)
    axes.set_ylim(spikes.depth_edges[0] - 2 * _DEPTH_BIN_UM, spikes.depth_edges[-1] + 2 * _DEPTH_BIN_UM)
    axes.set_title("All spikes")
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.01, aspect=30)
    bar.set_label(f"Spikes per s in {_DEPTH_BIN_UM:g} µm")


def _draw_raster(axes: Axes, table: pd.DataFrame, spikes: _Spikes) -> None:
    by_row = table.set_index("row")
    of_spike = by_row.loc[spikes.window_units]
    depths = pd.to_numeric(of_spike["depths"]).to_numpy(float)
    size = 9 if len(table) < 300 else 2
    axes.scatter(
        spikes.window_times, depths, s=size, marker="|", c=region_colors(of_spike["region"]), lw=0.8, rasterized=True
    )
    axes.set(xlabel="Time of the session (s)", ylabel=_DEPTH_LABEL)
    unplaced = int(pd.to_numeric(table["depths"]).isna().sum())
    without = f"; {unplaced} units without a depth are not shown" if unplaced else ""
    axes.set_title(f"Spikes of some seconds, in the colour of the region{without}")


def _draw_amplitudes(axes: Axes, table: pd.DataFrame) -> None:
    amplitudes = pd.to_numeric(table["amps"]).to_numpy(float) * 1e6
    if np.isnan(amplitudes).all():
        say_empty(axes, "The units have no amplitudes.")
        return
    size = 16 if len(table) < 300 else 5
    depths = pd.to_numeric(table["depths"]).to_numpy(float)
    axes.scatter(amplitudes, depths, s=size, c=region_colors(table["region"]), edgecolors="#808080", linewidths=0.3)
    axes.set(xlabel="Mean amplitude (µV)")
    axes.tick_params(labelleft=False)
    axes.set_title("Amplitude and depth")


def _draw_region_names(axes: Axes, table: pd.DataFrame) -> None:
    """Names of the regions from the top down, each in its colour."""
    axes.axis("off")
    axes.set_title("Regions; units")
    depths = pd.to_numeric(table["depths"])
    order = depths.groupby(table["region"]).median().sort_values(ascending=False).index
    counts = table["region"].value_counts()
    shown = list(order[:_MAX_REGION_NAMES])
    for place, (region, color) in enumerate(zip(shown, region_colors(shown), strict=True)):
        column, row = divmod(place, _MAX_REGION_NAMES // 2)
        x, y = 0.02 + 0.52 * column, 0.95 - row / (_MAX_REGION_NAMES / 2 + 1)
        axes.scatter(
            x, y, s=42, marker="s", color=color, edgecolors="#808080", linewidths=0.4, transform=axes.transAxes
        )
        axes.text(
            x + 0.06, y, f"{shorten(region, 16)}  {counts[region]}", va="center", transform=axes.transAxes, fontsize=8
        )
    if len(order) > len(shown):
        axes.text(0.02, 0, f"and {len(order) - len(shown)} more", transform=axes.transAxes, fontsize=8)


def _draw_metric(axes: Axes, table: pd.DataFrame, column: str, label: str, factor: float, palette: Palette) -> None:
    values = pd.to_numeric(table[column]).to_numpy(float) * factor
    values = values[np.isfinite(values)]
    if not len(values):
        say_empty(axes, f"No {label.split(' (')[0].lower()} in this file.")
        return
    axes.hist(values, bins=25, color=palette.neutral)
    axes.axvline(float(np.median(values)), color=palette.counter_clockwise, lw=1.5)
    axes.set(xlabel=f"{label}; median {np.median(values):.3g}")
    if column == "firing_rate":
        axes.set_ylabel("Units")


def _draw_psth(page: Drawing, row: int, trials: pd.DataFrame, window_s: tuple[float, float], bin_s: float) -> Figure:
    units, palette = page.nwbfile.units, page.palette
    column, onset = choose_onset(trials)
    trials = trials[trials[column].notna()]
    events = trials[column].to_numpy(float)
    spikes = np.asarray(units["spike_times"][row])
    facts = read_columns(units, ["unit_name"]).iloc[row]
    name = facts["unit_name"] if isinstance(facts["unit_name"], str) else f"in row {row}"
    region = _regions_of_units(page.nwbfile)[row]
    figure = page.figure(f"Unit {shorten(str(name), 60)} ({region}), {len(spikes)} spikes, around the {onset}", 11, 5.6)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.1, 1])
    raster = figure.add_subplot(grid[:, 0])
    contrasts = signed_contrasts(trials)
    order = np.argsort(contrasts, kind="stable")
    levels = np.unique(contrasts[np.isfinite(contrasts)])
    color_of = dict(zip(levels, _contrast_colors(levels, palette), strict=True))
    around = times_around(spikes, events, window_s)
    raster.eventplot(
        [around[trial] for trial in order],
        colors=[color_of.get(contrasts[trial], palette.neutral) for trial in order],
        linewidths=0.9,
    )
    raster.set(xlim=window_s, ylim=(-1, len(order)), xlabel=f"Time from {onset} (s)")
    raster.set_ylabel("Trials, by signed contrast (bottom: left 100 %)")
    raster.set_title(f"{len(order)} trials")
    rates = counts_around(spikes, events, window_s, bin_s) / bin_s
    edges = bin_edges(window_s, bin_s)
    top = figure.add_subplot(grid[0, 1])
    for level in levels:
        chosen = rates[contrasts == level]
        percent = f"{level:+g} %".replace("-", "−") if level else "0 %"
        label = f"{percent} ({len(chosen)})"
        top.stairs(chosen.mean(axis=0), edges, color=color_of[level], label=label, lw=1.3, baseline=None)
    top.set(title=f"By signed contrast (left −, right +; trials), bins of {1000 * bin_s:g} ms")
    top.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    bottom = figure.add_subplot(grid[1, 1], sharex=top)
    for choice, color, label in (
        (1, palette.clockwise, "clockwise"),
        (-1, palette.counter_clockwise, "counter-\nclockwise"),
    ):
        chosen = rates[(trials["choice"] == choice).to_numpy()]
        if len(chosen):
            bottom.stairs(
                chosen.mean(axis=0), edges, color=color, label=f"{label} ({len(chosen)})", lw=1.3, baseline=None
            )
    bottom.set(title="By choice (trials)", xlabel=f"Time from {onset} (s)")
    if len(bottom.patches):
        bottom.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in (raster, top, bottom):
        axes.axvline(0, color=palette.faint, lw=0.8, ls="--")
    for axes in (top, bottom):
        axes.set(ylabel="Spikes per s", xlim=window_s)
    return figure


def _contrast_colors(levels: np.ndarray, palette: Palette) -> list[tuple[float, float, float, float]]:
    """From blue (left) over grey to orange (right), all of them visible on the background."""
    left, right = (levels < 0).sum(), (levels > 0).sum()
    strengths = {"left": np.linspace(0.95, 0.5, left), "right": np.linspace(0.5, 0.95, right)}
    if palette.paper != "#ffffff":
        strengths = {side: 1.25 - values for side, values in strengths.items()}
    zero = [(0.5, 0.5, 0.5, 1.0)] * int((levels == 0).sum())
    blues = [colormaps["Blues"](strength) for strength in strengths["left"]]
    oranges = [colormaps["Oranges"](strength) for strength in strengths["right"]]
    return [*blues, *zero, *oranges]
