"""Raw recordings of a probe: a snippet of the AP band, and the spectrum of the LFP by depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pynwb import NWBFile, TimeSeries
from scipy.signal import welch

from ..errors import UsageError
from .contents import choose_window, find_raw, read_rows
from .drawing import Drawing, Theme, drawing, shorten
from .regions import region_colors

_DEPTH_LABEL = "Depth along the shank\n(µm, upwards, IBL's site grid)"

_MAX_FREQUENCY_HZ = 150.0


def plot_raw_ephys(
    nwbfile: NWBFile | str | Path,
    *,
    probe: str | None = None,
    start_s: float | None = None,
    duration_s: float = 0.1,
    theme: Theme = "light",
) -> Figure:
    """A snippet of the AP band of a probe, sites by depth. Only these samples are read.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    probe : str, optional
        What follows ``ElectricalSeriesAP`` in the name of the series, e.g. ``Probe00``; default the first.
    start_s, duration_s : float
        The seconds to show; default a tenth in the middle of the recording.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without raw recordings it says so.

    Raises
    ------
    UsageError
        If the file has no recording of such a probe.
    """
    with drawing(nwbfile, theme) as page:
        recordings = find_raw(page.nwbfile, "AP")
        if not recordings:
            return page.empty("Raw AP band", "This file has no raw AP band.")
        name, series = _choose(recordings, probe)
        return _draw_snippet(page, name, series, choose_window(series, start_s, duration_s))


def plot_lfp_spectrum(
    nwbfile: NWBFile | str | Path,
    *,
    probe: str | None = None,
    start_s: float | None = None,
    duration_s: float = 4.0,
    theme: Theme = "light",
) -> Figure:
    """Power spectral density of the LFP of a probe by depth (Welch, windows of a second). Only these samples are read.

    Parameters
    ----------
    nwbfile, probe, start_s, theme
        As in :func:`plot_raw_ephys`, for ``ElectricalSeriesLF``.
    duration_s : float, default: 4
        Seconds to take the spectrum of.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without an LFP it says so.

    Raises
    ------
    UsageError
        If the file has no recording of such a probe.
    """
    with drawing(nwbfile, theme) as page:
        recordings = find_raw(page.nwbfile, "LF")
        if not recordings:
            return page.empty("LFP spectrum", "This file has no raw LF band.")
        name, series = _choose(recordings, probe)
        return _draw_spectrum(page, name, series, choose_window(series, start_s, duration_s))


def _choose(recordings: dict[str, TimeSeries], probe: str | None) -> tuple[str, TimeSeries]:
    name = probe or next(iter(recordings))
    if name not in recordings:
        raise UsageError(f"The file has no raw recording of '{name}'. Choose one of {', '.join(recordings)}.")
    return name, recordings[name]


def _sites(series: Any) -> tuple[np.ndarray, np.ndarray]:
    """Depth in µm and region of each column of a recording."""
    rows, electrodes = np.asarray(series.electrodes.data[:]), series.electrodes.table
    depths = np.asarray(electrodes["rel_y"].data[:], dtype=float)[rows]
    return depths, np.asarray(electrodes["location"].data[:])[rows]


def _draw_snippet(page: Drawing, name: str, series: TimeSeries, window: tuple[float, float]) -> Figure:
    rows = read_rows(series, *window)
    depths, regions = _sites(series)
    order = np.argsort(depths, kind="stable")
    microvolts = 1e6 * (rows.data - np.median(rows.data, axis=0))[:, order]
    top = max(float(np.percentile(np.abs(microvolts), 99.5)), 1e-9)
    title = f"Raw AP band of {shorten(name)}, {1000 * (window[1] - window[0]):.0f} ms"
    figure = page.figure(title, 11, 6)
    strip, axes = _with_region_strip(figure)
    edges = np.arange(len(order) + 1)
    milliseconds = 1000 * (rows.times - rows.times[0])
    mesh = axes.pcolormesh(
        milliseconds, edges[:-1], microvolts.T, cmap="RdBu_r", vmin=-top, vmax=top, shading="nearest", rasterized=True
    )
    ticks = np.linspace(0, len(order) - 1, min(9, len(order))).astype(int)
    strip.set_yticks(ticks, [f"{depth:g}" for depth in depths[order][ticks]])
    _draw_strip(strip, edges - 0.5, regions[order])
    axes.set(xlabel=f"Time from {rows.times[0]:.4f} s of the session (ms)")
    axes.set_title(f"{len(order)} sites in the order of depth; the median of each is subtracted")
    figure.colorbar(mesh, ax=axes, pad=0.01, aspect=35).set_label("Voltage (µV)")
    return figure


def _draw_spectrum(page: Drawing, name: str, series: TimeSeries, window: tuple[float, float]) -> Figure:
    rows = read_rows(series, *window)
    rate = series.rate or 1 / float(np.median(np.diff(rows.times)))
    frequencies, power = welch(rows.data, fs=rate, nperseg=min(len(rows.data), round(rate)), axis=0)
    shown = (frequencies > 0) & (frequencies <= _MAX_FREQUENCY_HZ)
    depths, regions = _sites(series)
    levels, row_of_site = np.unique(depths, return_inverse=True)
    mean = np.array([power[:, row_of_site == row].mean(axis=1) for row in range(len(levels))])[:, shown]
    decibels = 10 * np.log10(np.maximum(mean * 1e12, 1e-12))
    seconds = rows.times[-1] - rows.times[0]
    figure = page.figure(f"LFP spectrum of {shorten(name)}, {seconds:.1f} s", 8, 6)
    strip, axes = _with_region_strip(figure)
    mesh = axes.pcolormesh(frequencies[shown], levels, decibels, cmap="viridis", shading="nearest", rasterized=True)
    step = np.median(np.diff(levels)) if len(levels) > 1 else 20.0
    edges = np.r_[levels - step / 2, levels[-1] + step / 2]
    first_site = [np.flatnonzero(row_of_site == row)[0] for row in range(len(levels))]
    _draw_strip(strip, edges, regions[first_site])
    axes.set(xlabel="Frequency (Hz)")
    axes.set_title(f"From {rows.times[0]:.1f} s of the session; mean of the sites at each depth")
    figure.colorbar(mesh, ax=axes, pad=0.01, aspect=35).set_label("Power (dB re 1 µV²/Hz)")
    return figure


def _with_region_strip(figure: Figure) -> tuple[Axes, Axes]:
    strip, axes = figure.subplots(1, 2, sharey=True, width_ratios=[0.09, 1])
    strip.set(ylabel=_DEPTH_LABEL, xticks=[], xlim=(0, 1))
    strip.set_title("Region")
    strip.spines["bottom"].set_visible(False)
    axes.tick_params(labelleft=False)
    return strip, axes


def _draw_strip(axes: Axes, edges: np.ndarray, regions: np.ndarray) -> None:
    """Regions from the bottom up, each in its colour; names where there is room."""
    starts = np.flatnonzero(np.r_[True, regions[1:] != regions[:-1]])
    stops = np.r_[starts[1:], len(regions)]
    height = edges[-1] - edges[0]
    for start, stop, color in zip(starts, stops, region_colors(regions[starts]), strict=True):
        axes.axhspan(edges[start], edges[stop], color=color, linewidth=0)
        if edges[stop] - edges[start] > 0.028 * height:
            middle = (edges[start] + edges[stop]) / 2
            axes.text(
                0.5, middle, shorten(str(regions[start]), 12), ha="center", va="center", fontsize=7, color="black"
            )
