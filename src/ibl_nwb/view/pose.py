"""Points that a network found in the film of a camera: where they are, how they move, how sure the network is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pynwb import NWBFile

from ..errors import UsageError
from .contents import choose_window, find_in_processing, row_at
from .drawing import Drawing, Theme, drawing, shorten

_PREFIX = "PoseEstimation"

#: From here on a point counts as found, as in IBL's own analyses.
_LIKELY = 0.9


def plot_pose(
    nwbfile: NWBFile | str | Path,
    *,
    camera: str | None = None,
    start_s: float | None = None,
    duration_s: float = 10.0,
    theme: Theme = "light",
) -> Figure:
    """Points over a video frame, their traces and the likelihood. Only these seconds are read.

    The frame is shown if the film is where the file refers to and PyAV is installed (``pip install "ibl-nwb[video]"``).

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    camera : str, optional
        What follows ``PoseEstimation`` in the name, e.g. ``LeftCamera``; default the one with most points.
    start_s, duration_s : float
        The seconds to show; default ten in the middle.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without pose it says so.

    Raises
    ------
    UsageError
        If the file has no pose of such a camera.
    """
    with drawing(nwbfile, theme) as page:
        cameras = cameras_with_pose(page.nwbfile)
        if not cameras:
            return page.empty("Pose", "This file has no pose estimation.")
        chosen = camera or cameras[0]
        if chosen not in cameras:
            raise UsageError(f"The file has no pose of '{chosen}'. Choose one of {', '.join(cameras)}.")
        return _draw_pose(page, chosen, start_s, duration_s)


def cameras_with_pose(nwbfile: NWBFile) -> list[str]:
    """Names of the cameras that points were found for, the one with most points first."""
    n_points = {}
    for name, pose in find_in_processing(nwbfile, _PREFIX).items():
        points = getattr(pose, "pose_estimation_series", {}).values()
        n_points[name.removeprefix(_PREFIX)] = sum(len(point.data) > 0 for point in points)
    return sorted((name for name, n in n_points.items() if n), key=lambda name: (-n_points[name], name))


def _draw_pose(page: Drawing, camera: str, start_s: float | None, duration_s: float) -> Figure:
    pose = find_in_processing(page.nwbfile, f"{_PREFIX}{camera}")[f"{_PREFIX}{camera}"]
    points = dict(sorted(pose.pose_estimation_series.items()))
    series = next(iter(points.values()))
    window = choose_window(series, start_s, duration_s)
    first, stop = row_at(series, window[0]), row_at(series, window[1])
    stop = max(stop, first + 1)
    timestamps = series.timestamps
    if timestamps is None:
        times = series.starting_time + np.arange(first, stop) / series.rate
    else:
        times = np.asarray(timestamps[first:stop])
    positions = {name: np.asarray(point.data[first:stop]) for name, point in points.items()}
    likelihoods = np.array([np.asarray(point.confidence[first:stop]) for point in points.values()])
    figure = page.figure(f"Pose, {shorten(camera)}", 11, 3.2 + 0.42 * max(len(points), 6))
    grid = figure.add_gridspec(2, 2, width_ratios=[1, 1.35], height_ratios=[1.5, 1])
    traces, image = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    _draw_traces(traces, times, positions, likelihoods, page)
    _draw_likelihood(image, times, list(points), likelihoods)
    image.sharex(traces)
    over = figure.add_subplot(grid[:, 0])
    frame = _read_frame(page.nwbfile, camera, first)
    _draw_points(over, {name: xy[0] for name, xy in positions.items()}, likelihoods[:, 0], frame, page)
    over.set_title(f"Frame {first} at {times[0]:.2f} s" + ("" if frame is not None else "; its film is not at hand"))
    return figure


def _draw_points(
    axes: Axes, points: dict[str, np.ndarray], likelihood: np.ndarray, frame: np.ndarray | None, page: Drawing
) -> None:
    color = page.palette.counter_clockwise
    if frame is not None:
        axes.imshow(frame, cmap="gray")
        color = "#ffd23f"
    for number, ((x, y), sure) in enumerate(zip(points.values(), likelihood, strict=True), 1):
        axes.plot(x, y, marker="o", ms=5, ls="", mec=color, mfc=color if sure >= _LIKELY else "none")
        axes.annotate(str(number), (x, y), (4, 4), textcoords="offset points", color=color, fontsize=8)
    axes.set_aspect("equal", adjustable="box" if frame is not None else "datalim")
    axes.margins(0.15)
    if frame is None:
        axes.invert_yaxis()
    axes.set(xlabel=f"x (pixels, rightwards); filled: likelihood ≥ {_LIKELY}", ylabel="y (pixels, downwards)")


def _draw_traces(
    axes: Axes, times: np.ndarray, positions: dict[str, np.ndarray], likelihoods: np.ndarray, page: Drawing
) -> None:
    """x and y of each point, less their medians, one row below the other on one scale that fits what is likely."""
    colors = (page.palette.clockwise, page.palette.counter_clockwise)
    sure = {name: xy[likely >= _LIKELY] for (name, xy), likely in zip(positions.items(), likelihoods, strict=True)}
    centres = {name: np.median(sure[name] if len(sure[name]) else xy, axis=0) for name, xy in positions.items()}
    spreads = [np.percentile(np.abs(xy - centres[name]), 98) for name, xy in sure.items() if len(xy)]
    scale = max([2.2 * float(np.max(spreads)) if spreads else 0.0, 1.0])
    for row, (name, xy) in enumerate(positions.items()):
        rows = -row + np.clip((xy - centres[name]) / scale, -0.55, 0.55)
        for axis, color in enumerate(colors):
            axes.plot(times, rows[:, axis], color=color, lw=0.8, label="" if row else "xy"[axis])
    _name_rows(axes, list(positions), sign=-1)
    axes.tick_params(labelbottom=False)
    axes.set_title(f"Position less its median; rows of {scale:.0f} pixels, cut")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)


def _draw_likelihood(axes: Axes, times: np.ndarray, names: list[str], likelihoods: np.ndarray) -> None:
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    edges = np.r_[times - step / 2, times[-1] + step / 2]
    rows = np.arange(len(names) + 1) - 0.5
    mesh = axes.pcolormesh(edges, rows, likelihoods, cmap="viridis", vmin=0, vmax=1, rasterized=True)
    axes.figure.colorbar(mesh, ax=axes, pad=0.01, aspect=15).set_label("Likelihood")
    _name_rows(axes, names, sign=1)
    axes.invert_yaxis()
    axes.set(xlabel="Time of the session (s)")
    axes.set_title("Likelihood of each point")


def _name_rows(axes: Axes, names: list[str], sign: int) -> None:
    labels = [f"{shorten(name, 18)}  {number}" for number, name in enumerate(names, 1)]
    axes.set_yticks(sign * np.arange(len(names)), labels, fontsize=7)


def _read_frame(nwbfile: NWBFile, camera: str, index: int) -> np.ndarray | None:
    """A frame of the film of a camera, as grey levels; None if the film is not at hand or PyAV is not installed."""
    path = _film_path(nwbfile, camera)
    if path is None:
        return None
    try:
        import av
    except ImportError:
        return None
    with av.open(str(path)) as film:
        return _decode(film, index)


def _decode(film: Any, index: int) -> np.ndarray | None:
    """The frame of a number, from the last key frame before it on."""
    stream = film.streams.video[0]
    if stream.average_rate and stream.time_base:
        start = stream.start_time or 0
        target = start + round(index / stream.average_rate / stream.time_base)
        film.seek(target, stream=stream)
        for frame in film.decode(stream):
            if frame.pts is not None and frame.pts >= target:
                return frame.to_ndarray(format="gray")
        return None
    return next(
        (frame.to_ndarray(format="gray") for number, frame in enumerate(film.decode(stream)) if number == index), None
    )


def _film_path(nwbfile: NWBFile, camera: str) -> Path | None:
    film = nwbfile.acquisition.get(f"Video{camera}")
    source = nwbfile.container_source
    if film is None or source is None or getattr(film, "external_file", None) is None:
        return None
    path = Path(source).parent / str(film.external_file[0])
    return path if path.is_file() else None
