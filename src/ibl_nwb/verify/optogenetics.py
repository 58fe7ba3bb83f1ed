"""Optogenetics: the intervals of stimulation, and the series of the light made from them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from .comparing import compare
from .nwb_reading import DamagedObjectError, NWBReader
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, load_array
from .verification import Verification, instance_label, left_out

_COLLECTIONS = ("alf", "alf/task_*", "")
_OBJECTS = ("laserStimulation", "optoStimulation")


def check_optogenetics(verification: Verification) -> Iterator[Comparison]:
    """Compare the stimulation of every task."""
    names = [f"{name}.intervals.npy" for name in _OBJECTS]
    collections = verification.folder.collections(names, _COLLECTIONS)
    for collection in collections:
        label = instance_label(collections, collection)
        folder = verification.folder_of(f"Optogenetics{label}")
        for name in _OBJECTS:
            yield from _check_object(verification, folder, collection, name, label)


def _check_object(
    verification: Verification, folder: SourceFolder, collection: str, name: str, label: str
) -> Iterator[Comparison]:
    nwb = verification.nwb
    file = folder.first(f"{name}.intervals.npy", collection)
    if file is None:
        return
    object_name = name[0].upper() + name[1:]
    table = f"intervals/{object_name}{label}"
    if table not in nwb and verification.was_left_out(f"Optogenetics{label}", [file]):
        yield left_out(file, table)
        return
    intervals = load_array(file)
    for column, column_name in enumerate(("start_time", "stop_time")):
        yield compare(nwb, f"{file.relative_path}:{column}", f"{table}/{column_name}", intervals[:, column])
    for other in folder.find(f"{name}.*.npy", collection):
        if other != file:
            attribute = other.name.removeprefix(f"{name}.").removesuffix(".npy")
            column_name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", attribute).lower()
            yield compare(nwb, other.relative_path, f"{table}/{column_name}", load_array(other))
    yield from _check_series(nwb, file, f"stimulus/presentation/{object_name}Power{label}", intervals)


def _check_series(nwb: NWBReader, file: SourceFile, series: str, intervals: np.ndarray) -> Iterator[Comparison]:
    """The light goes on and off as the intervals say, always with the same power."""
    switches = _switches(intervals)
    if not switches:
        return
    yield compare(nwb, file.relative_path, f"{series}/timestamps", np.array(switches), forced="times")
    try:
        power = float(nwb.read(f"{series}/data")[0])
    except DamagedObjectError:
        power = np.nan
    expected = np.tile([power, 0.0], len(switches) // 2)
    yield compare(nwb, f"{file.relative_path}:on and off", f"{series}/data", expected)


def _switches(intervals: np.ndarray) -> list[float]:
    """Times at which the light goes on and off in turn, overlapping intervals joined."""
    joined: list[list[float]] = []
    for start, stop in sorted(row for row in intervals.tolist() if np.isfinite(row).all()):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(stop, joined[-1][1])
        else:
            joined.append([start, stop])
    return [time for interval in joined for time in interval]
