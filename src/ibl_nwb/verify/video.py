"""Video: the film that the file refers to, against the camera's own, and the times of its frames."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .camera_features import frame_times_file, last_times
from .comparing import compare_value
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, load_array
from .sources import SMALL_FILE_BYTES
from .timing import compare_times
from .verification import Verification, left_out, metadata_key
from .video_header import read_video_facts

_COLLECTIONS = ("raw_video_data", "raw_video_data_*", "raw_task_data_*", "")
_CAMERA = re.compile(r"([a-z]+)Camera\.raw\.(?:mp4|avi)")


def check_video(verification: Verification) -> Iterator[Comparison]:
    """Compare the film of every camera, and its times."""
    nwb = verification.nwb
    named = (_CAMERA.fullmatch(file.name) for file in verification.folder.files)
    for camera in sorted({found[1] for found in named if found}):
        instance = f"Video{camera.capitalize()}Camera"
        folder = verification.folder_of(instance)
        video = folder.first((f"{camera}Camera.raw.mp4", f"{camera}Camera.raw.avi"), _COLLECTIONS)
        times = frame_times_file(folder, camera)
        if video is None or times is None:
            continue
        place = ("Behavior", "ExternalVideos", metadata_key(instance))
        series = f"acquisition/{verification.stated(instance, *place, 'name')}"
        if series not in nwb and verification.was_left_out(instance, [video]):
            yield left_out(video, series)
        elif not nwb.is_array(f"{series}/external_file"):
            yield Comparison(video.relative_path, f"{series}/external_file", "missing", "it is not in the file")
        else:
            yield from _check_series(verification, series, video, times)


def _check_series(
    verification: Verification, series: str, video: SourceFile, times: SourceFile
) -> Iterator[Comparison]:
    nwb, dataset = verification.nwb, video.relative_path
    yield compare_film(verification, f"{series}/external_file", video)
    starting_frame = nwb.attributes(f"{series}/external_file").get("starting_frame", (0,))
    yield compare_value(dataset, f"{series}/external_file@starting_frame", np.asarray(starting_frame).tolist(), [0])
    yield compare_value(dataset, f"{series}/format", _read_single(nwb, f"{series}/format"), "external")
    facts = read_video_facts(video)
    if f"{series}/dimension" in nwb:  # left out where the header could not be read
        size = [facts.width_px, facts.height_px]
        yield compare_value(dataset, f"{series}/dimension", nwb.read(f"{series}/dimension").tolist(), size)
    n_times = len(load_array(times).reshape(-1))
    n_frames = n_times if facts.n_frames is None else facts.n_frames
    yield compare_times(nwb, times.relative_path, series, last_times(times, n_frames))
    if f"{series}/starting_time" in nwb:
        found = _read_single(nwb, f"{series}/num_samples")
        yield compare_value(dataset, f"{series}/num_samples", found, n_frames)


def _read_single(nwb: NWBReader, path: str) -> Any:
    """The only value of an array, which Zarr has in one dimension; None if it is not there."""
    return nwb.read(path).ravel()[0] if nwb.is_array(path) else None


def compare_film(verification: Verification, path: str, video: SourceFile) -> Comparison:
    """Whether the reference at a path in the file leads to a film, byte for byte."""
    nwb, dataset = verification.nwb, video.relative_path
    references = [str(reference) for reference in nwb.read(path)]
    if len(references) != 1:
        return Comparison(dataset, path, "different", f"it refers to {len(references)} files instead of 1")
    (reference,) = references
    if "://" in reference:
        return Comparison(dataset, path, "not verified", f"it refers to an address on the web, {reference}")
    target = nwb.path.absolute().parent / reference
    if not target.is_file():
        return Comparison(dataset, path, "missing", f"it refers to '{reference}', and there is no such file")
    if target.samefile(video.path):
        return Comparison(dataset, path, "equal", "it refers to the source itself")
    size = video.path.stat().st_size
    if target.stat().st_size != size:
        return compare_value(dataset, f"{path} (size)", target.stat().st_size, size)
    if verification.sample is not None and size > SMALL_FILE_BYTES:
        reason = "equal in size; a file of this size is not hashed when only a sample is compared"
        return Comparison(dataset, path, "not verified", reason)
    return compare_value(dataset, path, _md5(target), _md5(video.path))


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
