"""Motion energy: how much the picture of one camera changes from frame to frame, within a region of interest."""

from __future__ import annotations

from typing import Any

import numpy as np
from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile, TimeSeries
from pynwb.core import DynamicTable, VectorData

from ..errors import DatasetInconsistentError
from ..session import load_array
from .base import STUB_LENGTH, ALFDataset, load_metadata_file, series_timing, substitute
from .camera_times import BEHAVIOR_DESCRIPTION, CAMERA_COLLECTIONS, CAMERA_TIMES, CameraInterface

#: What the four numbers of ``{camera}ROIMotionEnergy.position`` are, in pixels.
_REGION_COLUMNS = ("width", "height", "x", "y")


class MotionEnergyInterface(CameraInterface):
    """The motion energy in one camera's video and the region of the frame it was computed in.

    A value is the mean absolute difference of grey levels between a frame and the next. There is one per frame: the
    last frame, which has no next, repeats the value before. Times by the rule in :class:`CameraTimes`.
    """

    display_name = "IBL motion energy"
    keywords = ("behavior", "motion energy", "video")
    associated_suffixes = (".npy",)
    info = "Interface for the motion energy in the video of one camera of an IBL session."

    family = "MotionEnergy"
    datasets = (
        ALFDataset("motion_energy", ("{camera_name}Camera.ROIMotionEnergy.npy",), CAMERA_COLLECTIONS, required=True),
        ALFDataset("region", ("{camera_name}ROIMotionEnergy.position.npy",), CAMERA_COLLECTIONS),
        CAMERA_TIMES,
    )
    frames_key = "motion_energy"

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the motion energy and its region to an NWB file, in the processing module "behavior".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "MotionEnergy". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 frames only.

        Raises
        ------
        DatasetInconsistentError
            If there are fewer times than frames, or a file is not of the shape it must have.
        """
        entry = self._get_entry(metadata, "MotionEnergy")
        timestamps = self.get_timestamps()
        self.notes = self._surplus_notes()
        if not self.sources["region"]:
            self.notes.append("The region of the motion energy is not in the session.")
        stop = STUB_LENGTH if stub_test else None
        series = TimeSeries(
            **entry["MotionEnergy"],
            data=self._load_motion_energy()[:stop],
            **series_timing(timestamps[:stop]),
            comments=" ".join([self._source_comment("motion_energy", "times") + ".", *self.notes]),
        )
        module = get_module(nwbfile, name="behavior", description=BEHAVIOR_DESCRIPTION)
        module.add(series)
        if self.sources["region"]:
            module.add(self._make_region_table(entry["Region"]))

    def _count_frames(self) -> int:
        return len(self._load_motion_energy())

    def _load_motion_energy(self) -> np.ndarray:
        """One value per frame, ``(n,)``, as stored."""
        (dataset,) = self.sources["motion_energy"]
        motion_energy = load_array(dataset)
        if motion_energy.shape[1:] not in ((), (1,)):
            raise DatasetInconsistentError(
                f"'{dataset.path}' has shape {motion_energy.shape}; it must be one value per frame."
            )
        return motion_energy.reshape(-1)

    def _make_region_table(self, entry: dict[str, Any]) -> DynamicTable:
        """Table of one row: width, height, x and y of the region, as stored."""
        (dataset,) = self.sources["region"]
        region = load_array(dataset)
        if region.shape not in ((4,), (1, 4)):
            raise DatasetInconsistentError(
                f"'{dataset.path}' has shape {region.shape}; it must hold width, height, x and y. Get the file again, "
                f"or leave the camera out with --exclude {self.family}{self.label}."
            )
        columns = [
            VectorData(name=name, description=entry["columns"][name], data=region.reshape(-1)[index : index + 1])
            for index, name in enumerate(_REGION_COLUMNS)
        ]
        description = f"{entry['description']} {self._source_comment('region')}."
        return DynamicTable(**{**entry, "description": description, "columns": columns})

    def _default_metadata(self) -> dict[str, Any]:
        words = load_metadata_file(self.family)
        region = words["regions"].get(self.instance["camera_name"], words["regions"]["other"])
        substitutions = {"label": self.label, "metadata_key": self.metadata_key, "region": region, **self.instance}
        return substitute(words["metadata"], substitutions)
