"""Pupil: its diameter in every frame of one camera, computed from the tracked points."""

from __future__ import annotations

from pynwb.behavior import PupilTracking

from .base import ALFDataset
from .camera_table import CameraTableInterface
from .camera_times import CAMERA_COLLECTIONS, CAMERA_TIMES


class PupilInterface(CameraTableInterface):
    """The pupil of the eye that one camera sees: ``features`` with the raw and the smoothed diameter.

    Diameters are in pixels of that camera's own frames, as stored; frames without an estimate are NaN. The file does
    not say which tracker's points they were computed from, and the two make different smoothed values. Times by the
    rule in :class:`CameraTimes`.
    """

    display_name = "IBL pupil"
    keywords = ("behavior", "pupil", "video")
    associated_suffixes = (".pqt", ".npy")
    info = "Interface for the pupil diameter in the video of one camera of an IBL session."

    family = "Pupil"
    datasets = (
        ALFDataset("features", ("{camera_name}Camera.features.pqt",), CAMERA_COLLECTIONS, required=True),
        CAMERA_TIMES,
    )
    frames_key = "features"
    container_class = PupilTracking
