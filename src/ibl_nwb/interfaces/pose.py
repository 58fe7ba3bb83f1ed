"""Pose: the points that Lightning Pose or DeepLabCut tracked in the video of one camera."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from neuroconv.datainterfaces.behavior.baseposeestimationinterface import BasePoseEstimationInterface
from neuroconv.tools.pose_estimation import _add_pose_estimation_to_nwbfile
from neuroconv.utils import dict_deep_update
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile
from pynwb.core import DynamicTable, VectorData

from ..errors import DatasetInconsistentError, DatasetMissingError
from ..session import load_array, load_json, load_table
from .base import STUB_LENGTH, ALFDataset, camel_case, load_metadata_file, snake_case, substitute
from .camera_times import CAMERA_COLLECTIONS, CAMERA_TIMES, CameraTimes, describe_camera

if TYPE_CHECKING:
    import pandas


#: Fields of NeuroConv's pose metadata that a user may add, since no IBL file says them.
_OPTIONAL_FIELDS = ("scorer", "source_software_version", "source_video_metadata_key", "labeled_video_metadata_key")


class PoseInterface(CameraTimes, BasePoseEstimationInterface):
    """The points tracked in one camera's video, as parquet or, in older sessions, as npy with a list of columns.

    Positions are stored as they are: pixels of that camera's own frames, of the file's type, nothing masked, the
    likelihood as confidence beside them. Every further column of the file (Lightning Pose writes what its ensemble of
    networks says of pupil and paws) goes into a table beside, one row per frame.

    Times by the rule in :class:`CameraTimes`; what was left out by it is said in the container's description.

    In the names of points ``_r`` and ``_l`` mean near to and far from the camera, not sides of the body.
    """

    display_name = "IBL pose"
    keywords = ("behavior", "pose estimation", "video", "Lightning Pose", "DeepLabCut")
    associated_suffixes = (".pqt", ".npy", ".json")
    info = "Interface for the points tracked in the video of one camera of an IBL session."

    family = "Pose"
    datasets = (
        ALFDataset(
            "pose",
            (
                "{camera_name}Camera.lightningPose.pqt",
                "{camera_name}Camera.dlc.pqt",
                "{camera_name}Camera.dlc.npy",
            ),
            CAMERA_COLLECTIONS,
            required=True,
        ),
        CAMERA_TIMES,
        ALFDataset("columns", ("{camera_name}Camera.dlc.metadata.json",), CAMERA_COLLECTIONS, support=True),
    )
    frames_key = "pose"

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        camera_name: str,
        tracker: Literal["lightningPose", "dlc"] | None = None,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open the pose of one camera.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        camera_name : str
            The camera, e.g. "left", "right" or "body".
        tracker : {"lightningPose", "dlc"}, optional
            Which tracker's points. Default: Lightning Pose, the newer one, where there are both. The other one then
            gets names of its own, so that both can be in one file.
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, camera_name=camera_name)
        if tracker is not None:
            self._choose_tracker(tracker)
        super().__init__(
            verbose=verbose, session_path=session_path, camera_name=camera_name, tracker=tracker, revision=revision
        )

    def get_metadata_schema(self) -> dict:
        """JSON schema of the metadata; the registries in "Pose" stay open to the entries of other interfaces."""
        schema = super().get_metadata_schema()
        pose = schema["properties"]["Pose"]
        for registry in (pose, *pose["properties"].values()):
            registry["additionalProperties"] = True
        entry = pose["properties"]["PoseEstimations"]["properties"][self.metadata_key]["properties"]
        entry |= {field: {"type": "string"} for field in _OPTIONAL_FIELDS}
        entry |= {field: {"type": ["string", "null"]} for field in ("device_metadata_key", "skeleton_metadata_key")}
        skeleton = pose["properties"]["Skeletons"]["properties"][self.metadata_key]["properties"]
        skeleton |= {"edges": {"type": "array"}, "subject": {"type": "string"}}
        return schema

    def add_to_nwbfile(
        self,
        nwbfile: NWBFile,
        metadata: dict | None = None,
        *,
        stub_test: bool = False,
        write_ensemble: bool = True,
    ) -> None:
        """
        Add the pose to an NWB file, in the processing module "behavior".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names, descriptions and links in the blocks "Pose" and "Devices", on top of those of :meth:`get_metadata`.
            None in place of ``device_metadata_key`` or ``skeleton_metadata_key`` leaves that object out.
        stub_test : bool, default: False
            Write the first 100 frames only.
        write_ensemble : bool, default: True
            Also write, as a table, the columns of the tracker's file other than position and likelihood.
        """
        merged = dict_deep_update(self._default_metadata(), metadata or {}, append_list=False, remove_repeats=False)
        entry = merged["Pose"]["PoseEstimations"][self.metadata_key]
        timestamps = self.get_timestamps()
        self.notes = self._surplus_notes()
        entry["description"] = " ".join([entry["description"], *self.notes])
        stop = STUB_LENGTH if stub_test else None
        with warnings.catch_warnings():
            # NeuroConv hands the camera to ndx-pose under the argument's former name.
            warnings.filterwarnings("ignore", message="The 'devices' constructor", category=DeprecationWarning)
            _add_pose_estimation_to_nwbfile(
                nwbfile,
                keypoint_data=_keypoint_data(self._table.iloc[:stop]),
                timestamps=timestamps[:stop],
                metadata=merged,
                metadata_key=self.metadata_key,
            )
        if write_ensemble and _further_columns(self._table.columns):
            table = _make_table(merged["Pose"]["PoseEnsembles"][self.metadata_key], self._table.iloc[:stop])
            nwbfile.processing["behavior"].add(table)

    def _choose_tracker(self, tracker: str) -> None:
        """Select the files of one tracker; one that is not the camera's default is told apart by its label."""
        (default,) = self.sources["pose"]
        if default.attribute == tracker:
            return
        names = [name.format_map(self.instance) for name in self.datasets[0].names if f".{tracker}." in name]
        found = self.session.find(names, collections=default.collection)
        if not found:
            raise DatasetMissingError(
                f"'{self.session.path}' holds no {' or '.join(names)}, only '{default.relative_path}'. Leave out the "
                "tracker to use that."
            )
        self.sources["pose"] = found
        self.label += camel_case(tracker)
        self.metadata_key = snake_case(self.family + self.label)

    def _get_keypoint_names(self) -> list[str]:
        return _point_names(self._table.columns)

    def _get_keypoint_data(self) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        return _keypoint_data(self._table)

    @cached_property
    def _table(self) -> pandas.DataFrame:
        """The tracker's file, one row per frame."""
        (dataset,) = self.sources["pose"]
        table = load_table(dataset) if dataset.extension == "pqt" else self._load_legacy_table()
        if not _point_names(table.columns):
            raise DatasetInconsistentError(
                f"'{dataset.path}' holds no point: it needs columns such as 'nose_tip_x' and 'nose_tip_y' but has "
                f"{', '.join(map(str, table.columns)) or 'none'}. Is it the pose of a camera?"
            )
        return table

    def _load_legacy_table(self) -> pandas.DataFrame:
        """The npy file of older sessions, whose columns are named by a JSON file beside it."""
        import pandas

        (dataset,) = self.sources["pose"]
        if not self.sources["columns"]:
            raise DatasetMissingError(
                f"'{dataset.path}' has no names of columns: '{dataset.object}.{dataset.attribute}.metadata.json' is "
                f"missing. Add it, or leave the camera out with --exclude {self.family}{self.label}."
            )
        values, companion = load_array(dataset), load_json(self.sources["columns"][0])
        names = [str(name) for name in companion.get("columns", [])] if isinstance(companion, dict) else []
        if values.ndim != 2 or len(names) != values.shape[1] or len(set(names)) != len(names):
            raise DatasetInconsistentError(
                f"'{dataset.path}' has shape {values.shape}, but '{self.sources['columns'][0].path}' names "
                f"{len(names)} columns, {len(set(names))} of them different. Get both files again."
            )
        return pandas.DataFrame(values, columns=names)

    def _count_frames(self) -> int:
        return len(self._table)

    def _default_metadata(self) -> dict[str, Any]:
        words = load_metadata_file(self.family)
        camera_name, key = self.instance["camera_name"], self.metadata_key
        devices = describe_camera(camera_name)
        (device_metadata_key,) = devices
        (dataset,) = self.sources["pose"]
        tracker = words["trackers"][dataset.attribute]
        read = ("pose", "columns", "times") if dataset.extension == "npy" else ("pose", "times")
        substitutions = {
            "metadata_key": key,
            "label": self.label,
            "camera_name": camera_name,
            "device_metadata_key": device_metadata_key,
            "source_software": tracker["source_software"],
            "tracker_description": tracker["description"],
            "source": self._source_comment(*read) + ".",
        }
        metadata = {"Devices": devices, **substitute(words["metadata"], substitutions)}
        pose = metadata["Pose"]
        points = self._get_keypoint_names()
        pose["Skeletons"][key]["nodes"] = points
        pose["PoseEstimations"][key]["PoseEstimationSeries"] = {
            point: _describe_series(point, camera_name, words) for point in points
        }
        further_columns = _further_columns(self._table.columns)
        if further_columns:
            pose["PoseEnsembles"][key]["columns"] = {
                column: _describe_column(column, points, words) for column in further_columns
            }
        else:
            del pose["PoseEnsembles"]
        return metadata


def _point_names(columns: Iterable[str]) -> list[str]:
    """Names of the points that have an x and a y column, in the order of the file."""
    names = list(columns)
    with_x = [name.removesuffix("_x") for name in names if name.endswith("_x")]
    return [point for point in with_x if f"{point}_y" in names]


def _further_columns(columns: Iterable[str]) -> list[str]:
    """Columns that are neither position nor likelihood of a point, in the order of the file."""
    names = list(columns)
    taken = {f"{point}_{part}" for point in _point_names(names) for part in ("x", "y", "likelihood")}
    return [name for name in names if name not in taken]


def _keypoint_data(table: pandas.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Position ``(n, 2)`` in pixels and likelihood ``(n,)`` of every point, the latter None where there is none."""
    return {
        point: (
            np.column_stack((table[f"{point}_x"].to_numpy(), table[f"{point}_y"].to_numpy())),
            table[f"{point}_likelihood"].to_numpy() if f"{point}_likelihood" in table else None,
        )
        for point in _point_names(table.columns)
    }


def _make_table(entry: dict[str, Any], table: pandas.DataFrame) -> DynamicTable:
    columns = [
        VectorData(name=name, description=entry["columns"][name], data=table[name].to_numpy())
        for name in _further_columns(table.columns)
    ]
    return DynamicTable(name=entry["name"], description=entry["description"], columns=columns)


def _describe_series(point: str, camera_name: str, words: dict[str, Any]) -> dict[str, str]:
    substitutions = {
        "point": point,
        "point_label": camel_case(point),
        "point_description": _word(words["points"], point, point=point),
        "camera_name": camera_name,
    }
    return substitute(words["series"], substitutions)


def _describe_column(column: str, points: list[str], words: dict[str, Any]) -> str:
    for point in points:
        statistic = column.removeprefix(f"{point}_")
        if statistic != column and statistic in words["point_columns"]:
            return words["point_columns"][statistic].format(point=point)
    return words["point_columns"]["other"]


def _word(words: dict[str, str], name: str, **substitutions: str) -> str:
    """What a section of the YAML file says of a name, or of those it does not know."""
    return words.get(name, words["other"]).format_map(substitutions)
