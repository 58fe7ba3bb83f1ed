"""Pose: position and likelihood of every point, the tracker's further columns, and the times of the frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .comparing import compare
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, camel_case, load_array, load_json, load_table
from .timing import compare_times
from .verification import Verification, left_out

if TYPE_CHECKING:
    import pandas

#: File names of each tracker, the preferred one first.
_TRACKERS = {
    "lightningPose": ("{camera}Camera.lightningPose.pqt",),
    "dlc": ("{camera}Camera.dlc.pqt", "{camera}Camera.dlc.npy"),
}
_CAMERA_IN_NAME = re.compile(r"([a-z]+)Camera\.(?:lightningPose|dlc)\.(?:pqt|npy)")

#: How the description of a series names its point.
_POINT_IN_DESCRIPTION = re.compile(r"ALF columns (\w+)_x and \w+_y\.$")


def check_pose(verification: Verification) -> Iterator[Comparison]:
    """Compare the pose of every camera; that of a second tracker where the file has it."""
    names = (_CAMERA_IN_NAME.fullmatch(file.name) for file in verification.folder.files)
    for camera in sorted({name[1] for name in names if name}):
        instance = f"Pose{camera.capitalize()}Camera"
        folder = verification.folder_of(instance)
        times = folder.first(f"{camera}Camera.times.npy", ("alf", ""))
        found = {tracker: _find(folder, camera, tracker) for tracker in _TRACKERS}
        files = {tracker: file for tracker, file in found.items() if file is not None}
        if times is None or not files:
            continue
        for rank, (tracker, file) in enumerate(files.items()):
            label = f"{camera.capitalize()}Camera{camel_case(tracker) if rank else ''}"
            container = f"processing/behavior/PoseEstimation{label}"
            if container in verification.nwb or not (rank or verification.was_left_out(instance, [file])):
                yield from _check_camera(verification, instance, folder, file, times, label)
            else:
                yield left_out(file, container)


def _find(folder: SourceFolder, camera: str, tracker: str) -> SourceFile | None:
    return folder.first([name.format(camera=camera) for name in _TRACKERS[tracker]], ("alf", ""))


def _check_camera(
    verification: Verification,
    instance: str,
    folder: SourceFolder,
    file: SourceFile,
    times: SourceFile,
    label: str,
) -> Iterator[Comparison]:
    nwb, container = verification.nwb, f"processing/behavior/PoseEstimation{label}"
    table = _load(folder, file)
    columns = list(map(str, table.columns))
    points = [c.removesuffix("_x") for c in columns if c.endswith("_x") and f"{c[:-2]}_y" in columns]
    seconds = load_array(times).ravel()
    seconds = seconds[len(seconds) - len(table) :]  # the first frames were not saved: IBL's rule
    described = _series_by_point(nwb, container)
    for point in points:
        name = camel_case(point)
        series = f"{container}/{name if f'{container}/{name}' in nwb else described.get(point, name)}"
        position = np.stack([table[f"{point}_x"].to_numpy(), table[f"{point}_y"].to_numpy()], axis=1)
        yield compare(nwb, f"{file.relative_path}:{point}_x, {point}_y", f"{series}/data", position)
        if f"{point}_likelihood" in columns:
            likelihood = table[f"{point}_likelihood"].to_numpy()
            yield compare(nwb, f"{file.relative_path}:{point}_likelihood", f"{series}/confidence", likelihood)
        yield compare_times(nwb, times.relative_path, series, seconds)
    taken = {f"{point}_{part}" for point in points for part in ("x", "y", "likelihood")}
    for column in (name for name in columns if name not in taken):
        path, dataset = f"processing/behavior/PoseEnsemble{label}/{column}", f"{file.relative_path}:{column}"
        if path not in nwb and not verification.option(instance, "write_ensemble", True):
            yield Comparison(dataset, path, "not verified", "left out by the option write_ensemble")
        else:
            yield compare(nwb, dataset, path, table[column].to_numpy())


def _load(folder: SourceFolder, file: SourceFile) -> pandas.DataFrame:
    """The tracker's table; in older sessions an npy file, whose columns a JSON file names."""
    import pandas

    if file.name.endswith(".pqt"):
        return load_table(file)
    names_file = folder.first(f"{file.name.removesuffix('.npy')}.metadata.json", ("alf", ""))
    names = None if names_file is None else load_json(names_file)["columns"]
    return pandas.DataFrame(load_array(file), columns=names)


def _series_by_point(nwb: NWBReader, container: str) -> dict[str, str]:
    """Series of each point as the descriptions of the series say, for those that were renamed."""
    series = {}
    for name in nwb.names(container):
        named = _POINT_IN_DESCRIPTION.search(str(nwb.attributes(f"{container}/{name}").get("description", "")))
        if named:
            series[named[1]] = name
    return series
