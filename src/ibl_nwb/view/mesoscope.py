"""Two-photon imaging: the mean image of each field of view with its ROIs, and the fluorescence of some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pynwb import NWBFile, TimeSeries

from ..errors import UsageError
from .contents import choose_window, find_in_container, read_rows
from .drawing import Palette, Theme, drawing, say_empty, shorten

_SEGMENTATION, _WIDEFIELD = "PlaneSegmentation", "PlaneSegmentationWidefield"

#: Series of a field of view, the first of which is shown, and what their values are.
_ACTIVITY = {
    "RoiResponseSeries": "fluorescence",
    "Deconvolved": "deconvolved activity",
    "Neuropil": "fluorescence of the neuropil",
}

#: ROIs whose activity is read and drawn of a field of view at most.
_MAX_ROIS = 50

#: Colours end here, in standard deviations from the mean.
_MAX_Z = 4.0


class _FieldOfView(NamedTuple):
    rois: Any  # PlaneSegmentation
    mean_image: Any | None  # GrayscaleImage
    activity: TimeSeries | None
    kind: str  # what the values of the activity are


def plot_mesoscope(
    nwbfile: NWBFile | str | Path,
    *,
    fov: str | None = None,
    start_s: float | None = None,
    duration_s: float = 60.0,
    theme: Theme = "light",
) -> Figure:
    """Mean image of each field of view (FOV) with the masks of its ROIs, and the fluorescence of some of the ROIs.

    Of the activity only these seconds are read, of at most 50 ROIs spread evenly over the table, which are cells where
    the file says which are.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    fov : str, optional
        What follows ``PlaneSegmentation`` in the name of the table of ROIs, e.g. ``FOV00``; default all, one below
        the other.
    start_s, duration_s : float
        The seconds to show; default sixty in the middle.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without such imaging it says so.

    Raises
    ------
    UsageError
        If the file has no such field of view.
    """
    with drawing(nwbfile, theme) as page:
        fields = _find_fields(page.nwbfile)
        if not fields:
            return page.empty("Two-photon imaging", "This file has no two photon imaging.")
        if fov is not None and fov not in fields:
            raise UsageError(f"The file has no field of view '{fov}'. Choose one of {', '.join(fields)}.")
        chosen = fields if fov is None else {fov: fields[fov]}
        figure = page.figure("Two-photon imaging", 11, 0.6 + 3.3 * len(chosen))
        axes = figure.subplots(len(chosen), 2, squeeze=False, width_ratios=[1, 1.9])
        for (name, field), (image, raster) in zip(chosen.items(), axes, strict=True):
            _draw_field(image, shorten(name), field, page.palette)
            _draw_activity(raster, field, start_s, duration_s)
        return figure


def fields_of_view(nwbfile: NWBFile) -> list[str]:
    """Names of the fields of view of two-photon imaging."""
    return list(_find_fields(nwbfile))


def _find_fields(nwbfile: NWBFile) -> dict[str, _FieldOfView]:
    """Fields of view by name."""
    segmentations = find_in_container(nwbfile, "ImageSegmentation", "plane_segmentations")
    series = find_in_container(nwbfile, "Fluorescence", "roi_response_series")
    images = find_in_container(nwbfile, "SegmentationImages", "images")
    fields = {}
    for name in sorted(segmentations):
        if not name.startswith(_SEGMENTATION) or name.startswith(_WIDEFIELD):
            continue
        fov = name.removeprefix(_SEGMENTATION)
        prefix = next((prefix for prefix in _ACTIVITY if f"{prefix}{fov}" in series), "")
        activity = series.get(f"{prefix}{fov}") if prefix else None
        fields[fov] = _FieldOfView(
            segmentations[name], images.get(f"MeanImage{fov}"), activity, _ACTIVITY.get(prefix, "")
        )
    return fields


def _draw_field(axes: Axes, name: str, field: _FieldOfView, palette: Palette) -> None:
    """The mean image, over it the pixels of the ROIs in the colour of their type."""
    types, names = _read_types(field.rois)
    colors = dict(zip(names, _type_colors(len(names), palette), strict=True))
    pixels, roi = _read_pixels(field.rois)
    axes.set_title(f"{name}: {len(field.rois)} ROIs")
    if field.mean_image is None and not len(pixels):
        say_empty(axes, "Neither mean image nor masks are in this file.")
        axes.set_title(f"{name}: {len(field.rois)} ROIs")
        return
    if field.mean_image is not None:
        image = np.asarray(field.mean_image.data[:], dtype=float).T
        low, high = np.nanpercentile(image, [1, 99.5])
        axes.imshow(image, cmap="gray", vmin=low, vmax=high)
        shape = image.shape
    else:
        shape = (int(pixels["y"].max()) + 1, int(pixels["x"].max()) + 1)
        axes.set_title(f"{name}: {len(field.rois)} ROIs; no mean image")
    overlay = np.zeros((*shape, 4))
    by_roi = np.array([to_rgba(colors[kind], 0.6) for kind in types]).reshape(-1, 4)
    overlay[pixels["y"], pixels["x"]] = by_roi[roi]
    axes.imshow(overlay)
    axes.set(xlabel="x (pixels)", ylabel="y (pixels)")
    if not len(pixels):
        axes.set_title(f"{name}: {len(field.rois)} ROIs, whose masks are not in this file")
        return
    handles = [
        Line2D([], [], marker="s", ls="", color=colors[kind], label=f"{shorten(label)} ({(types == kind).sum()})")
        for kind, label in names.items()
    ]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.1, borderpad=0)


def _draw_activity(axes: Axes, field: _FieldOfView, start_s: float | None, duration_s: float) -> None:
    series = field.activity
    if series is None or not all(series.data.shape):
        say_empty(axes, "The activity of these ROIs is not in this file.")
        return
    chosen, what = _choose_rois(field.rois, series.data.shape[1])
    rows = read_rows(series, *choose_window(series, start_s, duration_s), chosen)
    if not len(rows.times):
        say_empty(axes, "No frame is in these seconds.")
        return
    deviation = rows.data.std(axis=0)
    scores = (rows.data - rows.data.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    edges, shown = _leave_pauses_empty(rows.times, scores)
    rois = np.arange(len(chosen) + 1) - 0.5
    mesh = axes.pcolormesh(edges, rois, shown.T, cmap="viridis", vmin=-1, vmax=_MAX_Z, rasterized=True)
    axes.figure.colorbar(mesh, ax=axes, pad=0.01, aspect=25).set_label("s.d. from the mean")
    ticks = np.unique(np.linspace(0, len(chosen) - 1, min(6, len(chosen))).astype(int))
    axes.set_yticks(ticks, chosen[ticks])
    axes.set(xlabel="Time of the session (s), start of the frame", ylabel="Row of the ROI in the table")
    axes.set_title(f"{field.kind.capitalize()} of {len(chosen)} of {what}, each less its mean")


def _leave_pauses_empty(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the frames and their values, with a frame of NaN in each pause of the imaging."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    pauses = np.flatnonzero(np.diff(times) > 1.5 * step)
    starts = np.insert(times, pauses + 1, times[pauses] + step)
    return np.r_[starts, times[-1] + step], np.insert(values, pauses + 1, np.nan, axis=0)


def _choose_rois(rois: Any, n_rois: int) -> tuple[np.ndarray, str]:
    """Rows of at most so many ROIs, spread evenly over the table, and in words what they are chosen from."""
    types, names = _read_types(rois)
    cells = [kind for kind, label in names.items() if label == "cell"]
    rows = np.flatnonzero(np.isin(types, cells))
    rows, what = (rows, "cells") if len(rows) and len(types) == n_rois else (np.arange(n_rois), "ROIs")
    places = np.linspace(0, len(rows) - 1, min(_MAX_ROIS, len(rows))).round().astype(int)
    return rows[places], f"{len(rows)} {what}"


def _read_types(rois: Any) -> tuple[np.ndarray, dict[Any, str]]:
    """Type of each ROI, and the names of the types that there are; one type, ROI, where the file says none."""
    if "mpci_roi_types" not in rois.colnames:
        return np.zeros(len(rois), dtype=int), {0: "ROI"}
    types = np.asarray(rois["mpci_roi_types"].data[:])
    meanings = rois.meanings_tables.get("mpci_roi_types_meanings") if rois.meanings_tables else None
    known = {}
    if meanings is not None:
        known = dict(zip(map(str, meanings["value"].data[:]), map(str, meanings["meaning"].data[:]), strict=True))
    return types, {kind: known.get(str(kind), f"type {kind}") for kind in np.unique(types).tolist()}


def _type_colors(n_types: int, palette: Palette) -> list[str]:
    """The last type, which is cells in IBL's files, is the most visible."""
    colors = [palette.counter_clockwise, palette.clockwise, *["#cc79a7"] * n_types]
    return colors[:n_types][::-1]


def _read_pixels(rois: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the masks, with the fields ``x`` and ``y``, and the row of the ROI that each belongs to."""
    if "pixel_mask" not in rois.colnames:
        return np.empty(0, dtype=[("x", int), ("y", int)]), np.empty(0, dtype=int)
    ends = np.asarray(rois["pixel_mask"].data[:], dtype=np.int64)
    pixels = np.asarray(rois["pixel_mask"].target.data[:])
    return pixels, np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
