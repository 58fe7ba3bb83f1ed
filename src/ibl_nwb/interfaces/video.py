"""Video: the film of one camera, which stays a file of its own that the NWB file refers to."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from neuroconv.tools.nwb_helpers import _add_device_to_nwbfile
from neuroconv.utils import dict_deep_update
from pynwb import NWBFile
from pynwb.image import ImageSeries

from ..errors import DatasetInconsistentError, DatasetUnreadableError
from ..session import Dataset
from .base import ALFDataset, load_metadata_file, series_timing, substitute
from .camera_times import CAMERA_TIMES, CameraInterface, describe_camera

#: Raw videos stay in one folder when tasks are numbered; the others are for rigs that number this one too.
_COLLECTIONS = ("raw_video_data", "raw_video_data_*", "raw_task_data_*", "")

#: Fields of NeuroConv's metadata of a video that a user may add, since no IBL file says them.
_OPTIONAL_FIELDS = ("comments",)


class VideoHeader(NamedTuple):
    """What the header of a video file says; the number of frames is None where it does not say."""

    n_frames: int | None
    width_px: int
    height_px: int


class VideoInterface(CameraInterface):
    """The film of one camera, as an external ``ImageSeries`` with the times of its frames.

    Times by the rule in :class:`CameraTimes`, applied to the number of frames that the header of the file states;
    nothing is decoded. The header is read with PyAV (``pip install "ibl-nwb[video]"``). Without PyAV the frames are not
    counted, all times are used, and the file and the notes of the conversion say so.

    An interface does not know where the NWB file will be. It refers to the video by its absolute path, and
    :func:`ibl_nwb.writing.videos.place_videos` makes that a relative one, after copying or linking the video if asked.
    """

    display_name = "IBL video"
    keywords = ("behavior", "video")
    associated_suffixes = (".mp4", ".avi", ".npy")
    info = "Interface for the raw video of one camera of an IBL session."

    family = "Video"
    datasets = (
        ALFDataset(
            "video", ("{camera_name}Camera.raw.mp4", "{camera_name}Camera.raw.avi"), _COLLECTIONS, required=True
        ),
        CAMERA_TIMES,
    )
    frames_key = "video"

    def get_metadata_schema(self) -> dict:
        """JSON schema of the metadata; the registry of videos stays open to the entries of other interfaces."""
        schema = super().get_metadata_schema()
        behavior = schema["properties"]["Behavior"]
        videos = behavior["properties"]["ExternalVideos"]
        for registry in (behavior, videos):
            registry["additionalProperties"] = True
        entry = videos["properties"][self.metadata_key]["properties"]
        entry |= {field: {"type": "string"} for field in _OPTIONAL_FIELDS}
        entry["device_metadata_key"] = {"type": ["string", "null"]}
        return schema

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the video to the acquisition of an NWB file, by reference.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names, descriptions and links in the blocks "Behavior" and "Devices", on top of those of
            :meth:`get_metadata`. None in place of ``device_metadata_key`` leaves the camera out.
        stub_test : bool, default: False
            Changes nothing: the video is not in the NWB file, and all of its frames have a time.

        Raises
        ------
        DatasetInconsistentError
            If there are fewer times than frames, or several videos of the camera.
        DatasetUnreadableError
            If the header of the video cannot be read.
        """
        merged = dict_deep_update(self._default_metadata(), metadata or {}, append_list=False, remove_repeats=False)
        entry = dict(merged["Behavior"]["ExternalVideos"][self.metadata_key])
        device_key = entry.pop("device_metadata_key")
        device = (
            None if device_key is None else _add_device_to_nwbfile(nwbfile, metadata=merged, metadata_key=device_key)
        )
        timestamps = self.get_timestamps()
        self.notes = [*self._surplus_notes(), *self._header_notes()]
        comments = " ".join([self._source_comment("video", "times") + ".", *self.notes])
        timing = series_timing(timestamps)
        series = ImageSeries(
            **{"comments": comments, **entry},
            external_file=[str(self._video.path)],
            format="external",
            dimension=None if self._header is None else [self._header.width_px, self._header.height_px],
            num_samples=len(timestamps) if "rate" in timing else None,
            device=device,
            **timing,
        )
        nwbfile.add_acquisition(series)

    def _count_frames(self) -> int | None:
        return None if self._header is None else self._header.n_frames

    @property
    def _video(self) -> Dataset:
        """The only video of the camera."""
        first, *others = self.sources["video"]
        if others:
            listed = ", ".join(dataset.relative_path for dataset in self.sources["video"])
            raise DatasetInconsistentError(
                f"'{self.session.path}' holds {len(others) + 1} videos of one camera ({listed}) and times for one. "
                f"Leave one in the session, or leave the camera out with --exclude {self.family}{self.label}."
            )
        return first

    @cached_property
    def _header(self) -> VideoHeader | None:
        """Header of the video, None without PyAV."""
        return read_video_header(self._video.path)

    def _header_notes(self) -> list[str]:
        if self._header is None:
            return ['The frames of the video were not counted, which takes PyAV: pip install "ibl-nwb[video]".']
        if self._header.n_frames is None:
            return ["The header of the video does not state the number of frames; it was not compared with the times."]
        return []

    def _default_metadata(self) -> dict[str, Any]:
        devices = describe_camera(self.instance["camera_name"])
        (device_metadata_key,) = devices
        substitutions = {
            "label": self.label,
            "metadata_key": self.metadata_key,
            "device_metadata_key": device_metadata_key,
            **self.instance,
        }
        return {"Devices": devices, **substitute(load_metadata_file(self.family), substitutions)}


def read_video_header(path: Path) -> VideoHeader | None:
    """Read what the header of a video file says, without decoding it.

    Parameters
    ----------
    path : pathlib.Path
        The video, of any format that FFmpeg knows.

    Returns
    -------
    VideoHeader or None
        None if PyAV is not installed.

    Raises
    ------
    DatasetUnreadableError
        If the file is no video, or is incomplete.
    """
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(str(path)) as container:
            streams = container.streams.video
            if streams:
                return VideoHeader(streams[0].frames or None, streams[0].width, streams[0].height)
            reason = "it holds no pictures"
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
    raise DatasetUnreadableError(
        f"'{path}' cannot be read as a video: {reason}. The file is damaged or incomplete; get it again."
    )
