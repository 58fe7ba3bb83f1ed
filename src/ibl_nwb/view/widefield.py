"""Widefield imaging: mean images, and the first components in space, in time and around the stimulus."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from pynwb import NWBFile, TimeSeries

from .contents import (
    Rows,
    choose_window,
    find_in_container,
    find_in_processing,
    read_columns,
    read_spans,
    read_trials,
    row_at,
    sample_trials,
    spans_around,
)
from .drawing import Drawing, Theme, drawing, say_empty
from .measures import mean_and_error, values_around
from .session import choose_onset

_COMPONENTS, _AVERAGE = "PlaneSegmentationWidefield", "WidefieldFrameAverage"
_CORRECTED, _UNCORRECTED = "WidefieldSVTHaemoCorrected", "WidefieldSVTUncorrected"

#: Light that excites the indicator, whose frames are shown where all are in one series.
_FUNCTIONAL_NM = 470

_MAX_COMPONENTS = 4
_MAX_AVERAGES = 3

_WINDOW_S = (-0.5, 1.5)
_OFFSETS_S = np.linspace(*_WINDOW_S, 81)


class _Temporal(NamedTuple):
    """The temporal components that are shown."""

    series: TimeSeries
    light_sources: Any | None  # column with the light of each row, if rows are to be left out
    functional: list[int]  # the lights whose rows are shown
    description: str

    def read(self, spans: list[tuple[int, int]], n_components: int) -> Rows:
        """Rows in spans, those of other lights left out."""
        rows = read_spans(self.series, spans, slice(0, n_components))
        if self.light_sources is None:
            return rows
        lights = np.concatenate([np.asarray(self.light_sources[first:stop]) for first, stop in spans])
        kept = np.isin(lights, self.functional)
        return Rows(rows.data[kept], rows.times[kept])


def plot_widefield(
    nwbfile: NWBFile | str | Path,
    *,
    start_s: float | None = None,
    duration_s: float = 20.0,
    theme: Theme = "light",
) -> Figure:
    """Mean images of the light sources, and maps, time courses and responses of the first four components.

    Components are those after haemodynamic correction, without these the uncorrected ones in the frames of 470 nm.
    Around the stimulus there is the change from the mean of the half second before, averaged over trials. Of the time
    courses only these seconds and those around the stimulus are read, of more than 300 trials every n-th.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    start_s, duration_s : float
        The seconds of the time courses; default twenty in the middle.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without widefield imaging it says so.
    """
    with drawing(nwbfile, theme) as page:
        components, averages = _find_components(page.nwbfile), _find_averages(page.nwbfile)
        if components is None and not averages:
            return page.empty("Widefield imaging", "This file has no widefield imaging.")
        n_shown = min(_MAX_COMPONENTS, len(components)) if components is not None else 0
        figure = page.figure("Widefield imaging", 11, 3.2 + 1.75 * n_shown)
        grid = figure.add_gridspec(1 + n_shown, 3, height_ratios=[1.35] + [1] * n_shown, width_ratios=[0.7, 2, 1])
        _draw_averages(figure, grid[0, :], averages)
        if components is not None:
            axes = np.array(
                [[figure.add_subplot(grid[1 + row, column]) for column in range(3)] for row in range(n_shown)]
            )
            _draw_maps(axes[:, 0], components)
            _draw_temporal(axes[:, 1:], page, _find_temporal(page.nwbfile), start_s, duration_s)
        return figure


def has_widefield(nwbfile: NWBFile) -> bool:
    """Whether there are components or mean images of widefield imaging."""
    return _find_components(nwbfile) is not None or bool(_find_averages(nwbfile))


def _find_components(nwbfile: NWBFile) -> Any | None:
    return find_in_container(nwbfile, "ImageSegmentation", "plane_segmentations").get(_COMPONENTS)


def _find_averages(nwbfile: NWBFile) -> dict[str, Any]:
    images = find_in_container(nwbfile, "SegmentationImages", "images")
    return {name: images[name] for name in sorted(images) if name.startswith(_AVERAGE)}


def _draw_averages(figure: Figure, place: Any, averages: dict[str, Any]) -> None:
    """Mean image of each channel."""
    shown = list(averages.items())[:_MAX_AVERAGES]
    if not shown:
        say_empty(figure.add_subplot(place), "This file has no mean images.")
        return
    for (name, average), cell in zip(shown, place.subgridspec(1, _MAX_AVERAGES), strict=False):
        axes = figure.add_subplot(cell)
        image = np.asarray(average.data[:], dtype=float).T
        low, high = np.nanpercentile(image, [1, 99.5])
        mesh = axes.imshow(image, cmap="gray", vmin=low, vmax=high)
        axes.figure.colorbar(mesh, ax=axes, pad=0.02, aspect=15)
        axes.set(xlabel="x (pixels)", ylabel="y (pixels)")
        axes.set_title(f"Mean of the frames of channel {name.removeprefix(_AVERAGE)}")


def _draw_maps(axes: np.ndarray, components: Any) -> None:
    """The image of each component, one colour scale for each, symmetrical about zero."""
    has_images = "image_mask" in components.colnames
    images = np.asarray(components["image_mask"].data[: len(axes)], dtype=float) if has_images else np.empty(0)
    for number, panel in enumerate(axes):
        panel.set_title(f"Component {number}")
        if not has_images:
            say_empty(panel, "Its image is not\nin this file.")
            continue
        top = float(np.nanpercentile(np.abs(images[number]), 99.5)) or 1.0
        mesh = panel.imshow(images[number].T, cmap="RdBu_r", vmin=-top, vmax=top)
        panel.figure.colorbar(mesh, ax=panel, pad=0.02, aspect=15)
        panel.set(xticks=[], yticks=[])


def _draw_temporal(
    axes: np.ndarray, page: Drawing, temporal: _Temporal | None, start_s: float | None, duration_s: float
) -> None:
    if temporal is None or not all(temporal.series.data.shape):
        for panel in axes.flat:
            say_empty(panel, "This file has no temporal components.")
        return
    series, n_shown = temporal.series, len(axes)
    first, stop = (row_at(series, second) for second in choose_window(series, start_s, duration_s))
    rows = temporal.read([(first, max(stop, first + 1))], n_shown)
    color = page.palette.ink
    for panel, values in zip(axes[:, 0], rows.data.T, strict=True):
        panel.plot(rows.times, values, color=color, lw=0.8)
        panel.margins(x=0.01)
        panel.sharex(axes[-1, 0])
    axes[0, 0].set_title(f"Time courses, {temporal.description}")
    axes[-1, 0].set_xlabel("Time of the session (s)")
    _draw_around_stimulus(axes[:, 1], page, temporal)
    for panel in axes[:-1].flat:
        panel.tick_params(labelbottom=False)


def _draw_around_stimulus(axes: np.ndarray, page: Drawing, temporal: _Temporal) -> None:
    trials = read_trials(page.nwbfile)
    column, onset = choose_onset(trials) if trials is not None else ("", "")
    events = sample_trials(trials, column)[column].to_numpy(float) if trials is not None else np.empty(0)
    spans = spans_around(temporal.series, events, _WINDOW_S)
    if not spans:
        for panel in axes:
            say_empty(panel, "No trial of this file\nis in the recording.")
        return
    rows = temporal.read(spans, len(axes))
    values = values_around(rows.times, rows.data, events, _OFFSETS_S)
    changes = values - values[:, _OFFSETS_S < 0].mean(axis=1, keepdims=True)
    changes = changes[~np.isnan(changes).any(axis=(1, 2))]
    mean, error = mean_and_error(changes)
    for panel, middle, spread in zip(axes, mean.T, error.T, strict=True):
        panel.plot(_OFFSETS_S, middle, color=page.palette.clockwise, lw=1.5)
        panel.fill_between(
            _OFFSETS_S, middle - spread, middle + spread, color=page.palette.clockwise, alpha=0.25, linewidth=0
        )
        panel.axvline(0, color=page.palette.faint, lw=0.8, ls="--")
        panel.set_xlim(*_WINDOW_S)
    axes[0].set_title(f"Mean of {len(changes)} trials ± s.e.m.")
    axes[-1].set_xlabel(f"Time from {onset} (s)")


def _find_temporal(nwbfile: NWBFile) -> _Temporal | None:
    corrected = find_in_container(nwbfile, "DfOverF", "roi_response_series").get(_CORRECTED)
    if corrected is not None:
        return _Temporal(corrected, None, [], "haemodynamics corrected")
    uncorrected = find_in_container(nwbfile, "Fluorescence", "roi_response_series").get(_UNCORRECTED)
    if uncorrected is None:
        return None
    tables = find_in_processing(nwbfile, "Widefield")
    frames, lights = tables.get("WidefieldFrames"), tables.get("WidefieldLightSources")
    if frames is None or lights is None or "light_source" not in frames.colnames:
        return _Temporal(uncorrected, None, [], "uncorrected, frames of all lights")
    known = read_columns(lights, ["channel_id", "wavelength"])
    functional = known.loc[known["wavelength"] == _FUNCTIONAL_NM, "channel_id"].tolist()
    if not functional:
        return _Temporal(uncorrected, None, [], "uncorrected, frames of all lights")
    description = f"uncorrected, frames of {_FUNCTIONAL_NM} nm"
    return _Temporal(uncorrected, frames["light_source"].data, functional, description)
