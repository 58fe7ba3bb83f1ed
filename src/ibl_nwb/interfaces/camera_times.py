"""Times of a camera's frames: what pose, pupil, motion energy, paw states and video share.

Whatever IBL computes from a video has one row per frame, and its times are those of the camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from pydantic import DirectoryPath, validate_call
from pynwb import TimeSeries

from ..errors import DatasetInconsistentError
from ..session import ALFSession, load_array
from .base import ALFDataset, ALFInterface, AlignableTimes, camel_case, check_times, load_metadata_file, series_timing

#: Cameras stay in ``alf`` when tasks are numbered; the oldest sessions have everything at the root.
CAMERA_COLLECTIONS = ("alf", "")

#: Declaration of the times, part of that of every interface of a camera.
CAMERA_TIMES = ALFDataset("times", ("{camera_name}Camera.times.npy",), CAMERA_COLLECTIONS, required=True, support=True)

#: Description of the processing module, the one that NeuroConv gives it.
BEHAVIOR_DESCRIPTION = "processed behavioral data"


class CameraTimes(AlignableTimes, ALFInterface):
    """Mixin that gives the frames of one camera their times.

    Times are ALF's own seconds on the session clock. Where there are more times than frames the last ones are used:
    the camera had started before the first frame was saved (IBL's own rule, brainbox.io.one.SessionLoader). Subclasses
    put a note of it into the file. Fewer times than frames cannot be repaired and are an error.
    """

    handles = ("camera_name",)
    #: Key of the dataset that has one row, or one image, per frame.
    frames_key: ClassVar[str]

    def get_original_timestamps(self) -> np.ndarray:
        """Times of the frames, ``(n,)`` seconds on the session clock; where there are more than frames, the last n.

        Raises
        ------
        DatasetInconsistentError
            If there are fewer times than frames or no frames, or the times do not rise.
        """
        times, n_frames = self._load_times(), self._count_frames()
        if n_frames is None:
            n_frames = len(times)
        if n_frames == 0 or len(times) < n_frames:
            frames_path, times_path = self.sources[self.frames_key][0].path, self.sources["times"][0].path
            raise DatasetInconsistentError(
                f"'{times_path}' holds {len(times)} times for the {n_frames} frames of '{frames_path}'. Which frame is "
                f"whose cannot be told; get both files again or leave the camera out with --exclude "
                f"{self.family}{self.label}."
            )
        return times[len(times) - n_frames :]

    def _count_frames(self) -> int | None:
        """Number of frames, None where it cannot be known."""
        raise NotImplementedError

    def _surplus_notes(self) -> list[str]:
        """A sentence about times that were left out, if there were any."""
        n_times, n_frames = len(self._load_times()), self._count_frames()
        if n_frames is None or n_times <= n_frames:
            return []
        return [
            f"The camera has {n_times} times for {n_frames} frames; the first {n_times - n_frames} were left out, "
            "since it is the first frames that were not saved (IBL's rule)."
        ]

    def _load_times(self) -> np.ndarray:
        """All times of the camera, ``(m,)`` seconds, as stored."""
        (dataset,) = self.sources["times"]
        times = load_array(dataset)
        if times.shape[1:] not in ((), (1,)):
            raise DatasetInconsistentError(f"'{dataset.path}' has shape {times.shape}; it must be one time per frame.")
        times = times.reshape(-1)
        check_times(times, dataset)
        return times

    @classmethod
    def _label(cls, session: ALFSession, instance: dict[str, str]) -> str:
        return camel_case(instance["camera_name"]) + "Camera"


class CameraInterface(CameraTimes, BaseTemporalAlignmentInterface):
    """Base of the interfaces that need no more than a session and a camera."""

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        camera_name: str,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open what there is of one camera.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        camera_name : str
            The camera, e.g. "left", "right" or "body".
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, camera_name=camera_name)
        super().__init__(verbose=verbose, session_path=session_path, camera_name=camera_name, revision=revision)


def describe_camera(camera_name: str) -> dict[str, dict[str, str]]:
    """Entry of NeuroConv's registry "Devices" for a camera, by its key, the same for all that the camera saw."""
    words = load_metadata_file("Cameras")
    description = words.get(camera_name, words["other"]).format(camera_name=camera_name)
    return {f"{camera_name}_camera": {"name": camel_case(camera_name) + "Camera", "description": description}}


def make_frame_series(
    entries: Mapping[str, Mapping[str, str]], columns: Mapping[str, np.ndarray], timestamps: np.ndarray, **shared: Any
) -> list[TimeSeries]:
    """Make one series per column; the first holds the times, the others link to it.

    Parameters
    ----------
    entries : mapping of str to mapping
        Name, description and unit of each column's series.
    columns : mapping of str to numpy.ndarray
        ``(n, ...)`` each.
    timestamps : numpy.ndarray
        ``(n,)`` seconds on the session clock.
    **shared
        Further arguments of every series.
    """
    timing = series_timing(timestamps)
    all_series: list[TimeSeries] = []
    for column, values in columns.items():
        all_series.append(TimeSeries(**entries[column], data=values, **timing, **shared))
        if "timestamps" in timing:
            timing = {"timestamps": all_series[0]}
    return all_series
