"""A session's behaviour on one page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pynwb import NWBFile

from .contents import find_in_processing, read_trials
from .drawing import Drawing, Palette, Theme, drawing, say_empty
from .measures import (
    block_of_trials,
    chronometric_points,
    positions_around,
    psychometric_points,
    signed_contrasts,
    times_around,
)

CONTRAST_LABEL = "Signed contrast (%; left negative, right positive)"

_CLOCKWISE = "clockwise (choice 1, answers left)"
_COUNTER_CLOCKWISE = "counter-clockwise (choice −1, answers right)"

_WHEEL_WINDOW_S = (-0.5, 1.5)
_LICK_WINDOW_S = (-0.5, 2.0)
_MAX_WHEEL_LINES = 150


def plot_session(nwbfile: NWBFile | str | Path, *, theme: Theme = "light") -> Figure:
    """Overview of a session: trials, psychometric and chronometric curve, wheel and licks.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without trials it says so.
    """
    with drawing(nwbfile, theme) as page:
        trials = read_trials(page.nwbfile)
        if trials is None:
            return page.empty("Session", "This file has no trials.")
        figure = page.figure("Session", 11, 10)
        grid = figure.add_gridspec(3, 2, height_ratios=[1.15, 1, 1.1])
        _draw_trials(figure.add_subplot(grid[0, :]), trials, page.palette)
        draw_psychometric(figure.add_subplot(grid[1, 0]), trials, page.palette)
        _draw_chronometric(figure.add_subplot(grid[1, 1]), trials, page.palette)
        _draw_wheel(figure.add_subplot(grid[2, 0]), page, trials)
        _draw_licks(figure.add_subplot(grid[2, 1]), page, trials)
        return figure


def plot_psychometric(nwbfile: NWBFile | str | Path, *, table: str | None = None, theme: Theme = "light") -> Figure:
    """Psychometric curve of each block.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    table : str, optional
        Name of the trials, e.g. ``trials_task_01``; default those of the first task.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without trials it says so.
    """
    with drawing(nwbfile, theme) as page:
        trials = read_trials(page.nwbfile, table)
        if trials is None:
            return page.empty("Psychometric curve", "This file has no trials.")
        figure = page.figure("Psychometric curve", 7, 5)
        draw_psychometric(figure.add_subplot(), trials, page.palette)
        return figure


def choose_onset(trials: pd.DataFrame) -> tuple[str, str]:
    """Column of the stimulus onset, or what comes nearest to it in this file, and its name in words."""
    names = {
        "stim_on_time": "stimulus onset",
        "stim_on_trigger_time": "stimulus command",
        "go_cue_time": "go cue",
        "start_time": "trial start",
    }
    column = next(name for name in names if name == "start_time" or trials[name].notna().any())
    return column, names[column]


def _draw_trials(axes: Axes, trials: pd.DataFrame, palette: Palette) -> None:
    contrasts, minutes = signed_contrasts(trials), trials["start_time"].to_numpy(float) / 60
    levels = np.unique(contrasts[np.isfinite(contrasts)])
    if not len(levels):
        say_empty(axes, "The trials of this file have no contrasts.")
        return
    heights = np.where(np.isnan(contrasts), np.nan, np.searchsorted(levels, contrasts))
    jitter = 0.22 * np.sin(2.4 * np.arange(len(trials)))  # trials that follow one another do not hide one another
    _shade_blocks(axes, trials, len(levels), palette)
    for choice, color in ((1, palette.clockwise), (-1, palette.counter_clockwise), (0, palette.neutral)):
        for outcome, marker in (("reward", "o"), ("error", "x")):
            rewarded = (trials["feedback_type"] == 1).to_numpy()
            chosen = (trials["choice"] == choice).to_numpy() & (rewarded if outcome == "reward" else ~rewarded)
            axes.scatter(minutes[chosen], (heights + jitter)[chosen], s=14, marker=marker, color=color, linewidths=1.1)
    axes.set_yticks(range(len(levels)), [f"{level:g}".replace("-", "−") for level in levels])
    axes.set(xlabel="Start of the trial (min of the session)", ylabel="Signed contrast (%)\nleft −, right +")
    axes.set_ylim(-0.6, len(levels))
    axes.margins(x=0.01)
    rewards = (trials["feedback_type"] == 1).sum()
    axes.set_title(f"{len(trials)} trials, {rewards} rewarded, {(trials['choice'] == 0).sum()} without a response")
    handles = [
        Line2D([], [], marker="s", ls="", color=palette.clockwise, label=_CLOCKWISE),
        Line2D([], [], marker="s", ls="", color=palette.counter_clockwise, label=_COUNTER_CLOCKWISE),
        Line2D([], [], marker="s", ls="", color=palette.neutral, label="no response (0)"),
        Line2D([], [], marker="o", ls="", color=palette.ink, label="rewarded"),
        Line2D([], [], marker="x", ls="", color=palette.ink, label="not rewarded"),
    ]
    axes.legend(
        handles=handles, ncols=5, loc="upper left", bbox_to_anchor=(0, -0.17), handletextpad=0.1, columnspacing=1
    )


def _shade_blocks(axes: Axes, trials: pd.DataFrame, n_levels: int, palette: Palette) -> None:
    """The probability of the left side as a band under the trials of each block."""
    blocks = block_of_trials(trials)
    if np.isnan(blocks).all():
        return
    starts = np.flatnonzero(np.r_[True, blocks[1:] != blocks[:-1]])
    edges = np.r_[trials["start_time"].to_numpy(float)[starts], trials["stop_time"].max()] / 60
    span = edges[-1] - edges[0]
    for first, last, block in zip(edges[:-1], edges[1:], blocks[starts], strict=True):
        axes.axvspan(first, last, color=_block_color(block, palette), alpha=0.13, linewidth=0)
        if last - first > 0.05 * span:
            text = f"P(left) {block:g}" if last - first > 0.09 * span else f"{block:g}"
            axes.text((first + last) / 2, n_levels - 0.05, text, ha="center", va="top", fontsize=7.5)


def _block_color(block: float, palette: Palette) -> str:
    if np.isnan(block) or block == 0.5:
        return palette.blocks[1]
    return palette.blocks[0] if block > 0.5 else palette.blocks[2]


def draw_psychometric(axes: Axes, trials: pd.DataFrame, palette: Palette) -> None:
    """Points of the psychometric curve of each block, with their 95 % intervals."""
    points = psychometric_points(trials)
    if points.empty:
        say_empty(axes, "No trial of this file has a response and a contrast.")
        return
    markers = {True: "o", False: "s"}
    for block, of_block in points.groupby("block", dropna=False):
        color = _block_color(float(block), palette)
        label = "all trials" if np.isnan(block) else f"P(left) = {block:g}"
        error = (of_block["fraction"] - of_block["low"], of_block["high"] - of_block["fraction"])
        label = f"{label}, n = {of_block['n_trials'].sum()}"
        axes.errorbar(
            of_block["signed_contrast"],
            of_block["fraction"],
            yerr=np.clip(error, 0, None),
            color=color,
            marker=markers[color == palette.blocks[1]],
            ms=4.5,
            lw=1.2,
            elinewidth=0.8,
            label=label,
        )
    axes.axhline(0.5, color=palette.faint, lw=0.6, ls=":")
    axes.axvline(0, color=palette.faint, lw=0.6, ls=":")
    axes.set(ylim=(-0.03, 1.03), xlabel=CONTRAST_LABEL, ylabel="Fraction of counter-clockwise\nturns (choice −1)")
    axes.set_title("Psychometric curve (bars: 95 % interval)")
    axes.legend(loc="upper left")


def _draw_chronometric(axes: Axes, trials: pd.DataFrame, palette: Palette) -> None:
    onset, name = choose_onset(trials)
    points = chronometric_points(trials, onset)
    if points.empty:
        say_empty(axes, "No trial of this file has a response time and a contrast.")
        return
    error = (points["median"] - points["low"], points["high"] - points["median"])
    axes.errorbar(
        points["signed_contrast"], points["median"], yerr=error, color=palette.ink, marker="o", ms=4.5, lw=1.2
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", labelsize=6.5)
    axes.set(xlabel=CONTRAST_LABEL, ylabel=f"Response, s from {name}")
    axes.set_title("Chronometric curve (median and quartiles)")


def _draw_wheel(axes: Axes, page: Drawing, trials: pd.DataFrame) -> None:
    series = next(iter(find_in_processing(page.nwbfile, "WheelPosition").values()), None)
    if series is None or len(series.data) < 2:
        say_empty(axes, "This file has no wheel position.")
        return
    onset, name = choose_onset(trials)
    offsets = np.linspace(*_WHEEL_WINDOW_S, 201)
    positions = np.asarray(series.data[:], dtype=float) * series.conversion + series.offset
    moved = positions_around(np.asarray(series.timestamps[:]), positions, trials[onset].to_numpy(float), offsets)
    palette = page.palette
    for choice, color, label in (
        (1, palette.clockwise, "clockwise"),
        (-1, palette.counter_clockwise, "counter-clockwise"),
    ):
        chosen = moved[(trials["choice"] == choice).to_numpy()]
        chosen = chosen[~np.isnan(chosen).any(axis=1)]
        if not len(chosen):
            continue
        shown = chosen[:: -(-len(chosen) // _MAX_WHEEL_LINES)]
        axes.plot(offsets, shown.T, color=color, lw=0.5, alpha=0.25)
        axes.plot(
            offsets, np.median(chosen, axis=0), color=color, lw=2, label=f"{label}, n = {len(chosen)} (bold: median)"
        )
    axes.axvline(0, color=palette.faint, lw=0.8, ls="--")
    axes.set(xlabel=f"Time from {name} (s)", ylabel=f"Turn of the wheel ({series.unit};\ncounter-clockwise positive)")
    axes.set_title(f"Wheel around the {name}")
    if axes.lines[1:]:
        axes.legend(loc="upper left")


def _draw_licks(axes: Axes, page: Drawing, trials: pd.DataFrame) -> None:
    events = page.nwbfile.events or {}
    if "Licks" not in events:
        say_empty(axes, "This file has no licks.")
        return
    licks = np.sort(np.asarray(events["Licks"]["timestamp"].data[:]))
    palette = page.palette
    around = times_around(licks, trials["feedback_time"].to_numpy(float), _LICK_WINDOW_S)
    rewarded = (trials["feedback_type"] == 1).to_numpy()
    order = np.argsort(~rewarded, kind="stable")
    colors = [palette.clockwise if rewarded[trial] else palette.counter_clockwise for trial in order]
    axes.eventplot([around[trial] for trial in order], colors=colors, linelengths=0.9, linewidths=0.9)
    n_rewarded = int(rewarded.sum())
    for first, stop, label, color in (
        (0, n_rewarded, "rewarded", palette.clockwise),
        (n_rewarded, len(order), "not rewarded", palette.counter_clockwise),
    ):
        if stop > first:
            middle, where = (first + stop - 1) / 2, axes.get_yaxis_transform()
            axes.text(0.99, middle, label, color=color, ha="right", va="center", transform=where)
    axes.axvline(0, color=palette.faint, lw=0.8, ls="--")
    axes.set(xlim=_LICK_WINDOW_S, ylim=(-1, len(order)), xlabel="Time from feedback (s)", ylabel="Trials, by outcome")
    axes.set_title(f"Licks around the feedback ({len(licks)} in the session)")
