"""What the cameras of an invented session saw: frame times, tracked points and licks, without the videos."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._files import Datasets
from ._trials import Trials

#: The cameras run for this long only, to keep the session small.
VIDEO_START_S = 9.5
VIDEO_DURATION_S = 4.0


class Camera(NamedTuple):
    """Nominal frame rate and frame size of one of the rig's cameras."""

    rate_hz: float
    width_px: int
    height_px: int


CAMERAS = {"left": Camera(60.0, 1280, 1024), "right": Camera(150.0, 640, 512), "body": Camera(30.0, 640, 512)}

#: Tracked point to its place in the frame, fractions of width and height.
SIDE_POINTS = {
    "nose_tip": (0.21, 0.52),
    "paw_l": (0.39, 0.83),
    "paw_r": (0.46, 0.88),
    "tongue_end_l": (0.24, 0.68),
    "tongue_end_r": (0.26, 0.69),
    "pupil_top_r": (0.55, 0.27),
    "pupil_bottom_r": (0.55, 0.33),
    "pupil_left_r": (0.53, 0.30),
    "pupil_right_r": (0.57, 0.30),
    "tube_top": (0.17, 0.71),
    "tube_bottom": (0.16, 0.78),
}
POSE_POINTS = {"left": SIDE_POINTS, "right": SIDE_POINTS, "body": {"tail_start": (0.5, 0.62)}}

#: Points that Lightning Pose tracks with an ensemble of networks and smooths.
ENSEMBLE_PREFIXES = ("pupil_", "paw_")

#: Points that are out of sight most of the time: the network is unsure of them and places them anywhere.
HIDDEN_PREFIXES = ("tongue_",)


def frame_times(camera: str, extra_times: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """
    Invent the frame times of one camera: nearly regular, seconds on the session clock.

    Parameters
    ----------
    camera : {"left", "right", "body"}
    extra_times : int
        How many more times than saved frames there are. The additional ones come first.
    generator : numpy.random.Generator
        Source of random numbers.
    """
    n_times = _frame_count(camera) + extra_times
    period_s = 1 / CAMERAS[camera].rate_hz
    steps = period_s * (1 + generator.normal(0.0, 1e-3, n_times))
    # The second frame takes longer to arrive than the others.
    steps[1:2] = 3 * period_s
    return VIDEO_START_S + generator.uniform(0.0, 0.2) + np.cumsum(steps)


def frame_time_files(times: Mapping[str, NDArray[np.float64]]) -> Datasets:
    """Name the frame times of each camera."""
    return {f"alf/_ibl_{camera}Camera.times.npy": values for camera, values in times.items()}


def pose_file(camera: str, pose_tracker: str, generator: np.random.Generator) -> Datasets:
    """
    Invent the pose of one camera.

    Parameters
    ----------
    camera : {"left", "right", "body"}
    pose_tracker : {"lightningPose", "dlc"}
    generator : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    dict
        A table of one row per saved frame: pixels of the camera's own frame, and likelihoods. Rows of low likelihood,
        which are anywhere in the frame, are kept.
    """
    pose = _pose(camera, pose_tracker, _frame_count(camera), generator)
    return {f"alf/_ibl_{camera}Camera.{pose_tracker}.pqt": pose}


def licks_file(trials: Trials, generator: np.random.Generator) -> Datasets:
    """Invent frame times (s, session clock) at which either camera saw the tongue move; a lick gives several."""
    rewards = trials["feedback_times"][trials["feedbackType"] > 0]
    licks = rewards[:, None] + 0.05 + np.arange(6) / 8 + generator.normal(0.0, 0.01, (len(rewards), 6))
    frames = licks[:, :, None] + np.array([0.0, 1 / 150, 1 / 60])
    return {"alf/licks.times.npy": np.sort(frames.ravel())}


def _frame_count(camera: str) -> int:
    return round(VIDEO_DURATION_S * CAMERAS[camera].rate_hz)


def _pose(camera: str, pose_tracker: str, n_frames: int, generator: np.random.Generator) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    for point, (horizontal, vertical) in POSE_POINTS[camera].items():
        size = np.array([CAMERAS[camera].width_px, CAMERAS[camera].height_px])
        track = size * (horizontal, vertical) + np.cumsum(generator.normal(0.0, 0.3, (n_frames, 2)), axis=0)
        likelihood = 1 - generator.beta(1.0, 300.0, n_frames)
        is_unsure = generator.random(n_frames) < (0.8 if point.startswith(HIDDEN_PREFIXES) else 0.05)
        likelihood[is_unsure] = generator.uniform(0.0, 0.85, is_unsure.sum())
        track[is_unsure] = size * generator.random((is_unsure.sum(), 2))
        columns |= {f"{point}_x": track[:, 0], f"{point}_y": track[:, 1], f"{point}_likelihood": likelihood}
        if pose_tracker == "lightningPose" and point.startswith(ENSEMBLE_PREFIXES):
            columns |= _ensemble_columns(point, track, generator)
    return columns


def _ensemble_columns(
    point: str, track: NDArray[np.float64], generator: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Give what the ensemble says of one point: medians in pixels, variances in squared pixels."""
    statistics = {
        "ens_median": track + generator.normal(0.0, 0.4, track.shape),
        "ens_var": generator.gamma(2.0, 0.2, track.shape),
        "posterior_var": generator.gamma(2.0, 0.05, track.shape),
    }
    return {
        f"{point}_{axis}_{name}": values[:, column]
        for name, values in statistics.items()
        for column, axis in enumerate("xy")
    }
