"""Wheel: position, times, the velocity of old sessions, and movements."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .comparing import compare, compare_value
from .report import Comparison
from .source_folder import SourceFolder, load_array
from .timing import compare_times
from .verification import Verification, instance_label, left_out

_COLLECTIONS = ("alf", "alf/task_*", "")
_POSITION, _TIMES = "wheel.position.npy", ("wheel.timestamps.npy", "wheel.times.npy")

#: Step of the encoder at quadrature x4, x2 and x1, by what NWB declares: radians, or centimetres as meters * 0.01.
_STEPS = {("radians", 1.0): (0.001534, 0.003068, 0.006136), ("meters", 0.01): (0.004756, 0.009511, 0.019022)}


def check_wheel(verification: Verification) -> Iterator[Comparison]:
    """Compare the wheel of every task."""
    folder = verification.folder
    collections = folder.collections((_POSITION, *_TIMES), _COLLECTIONS)
    for collection in collections:
        label = instance_label(collections, collection)
        yield from _check_collection(verification, verification.folder_of(f"Wheel{label}"), collection, label)


def _check_collection(
    verification: Verification, folder: SourceFolder, collection: str, label: str
) -> Iterator[Comparison]:
    nwb, module = verification.nwb, "processing/wheel"
    position, times = folder.first(_POSITION, collection), folder.first(_TIMES, collection)
    if position is None or times is None:
        return
    series = f"{module}/WheelPosition{label}"
    if series not in nwb and verification.was_left_out(f"Wheel{label}", [position, times]):
        yield left_out(position, series)
        return
    values = load_array(position)
    yield compare(nwb, position.relative_path, f"{series}/data", values)
    yield from _check_unit(verification, position.relative_path, f"{series}/data", values)
    seconds = load_array(times)
    if seconds.ndim == 2:  # knots of sample number and seconds
        seconds = np.interp(np.arange(len(values)), seconds[:, 0], seconds[:, 1])
    yield compare_times(nwb, times.relative_path, series, seconds)
    velocity = folder.first("wheel.velocity.npy", collection)
    if velocity is not None:
        stored = f"{module}/WheelVelocityStored{label}"
        yield compare(nwb, velocity.relative_path, f"{stored}/data", load_array(velocity))
        yield compare_times(nwb, times.relative_path, stored, seconds)
    yield from _check_movements(verification, folder, collection, f"{module}/WheelMovementIntervals{label}")


def _check_unit(verification: Verification, dataset: str, path: str, position: np.ndarray) -> Iterator[Comparison]:
    """The unit and its factor, told from the step of the encoder."""
    attributes = verification.nwb.attributes(path)
    steps = np.abs(np.diff(position))
    if path not in verification.nwb or not steps.any():
        return
    step = np.median(steps[steps > 0])
    unit, factor = min(_STEPS, key=lambda unit: min(abs(step - known) for known in _STEPS[unit]))
    yield compare_value(dataset, f"{path}@unit", attributes.get("unit"), unit)
    yield compare_value(dataset, f"{path}@conversion", attributes.get("conversion", 1.0), factor)


def _check_movements(
    verification: Verification, folder: SourceFolder, collection: str, table: str
) -> Iterator[Comparison]:
    intervals = folder.first("wheelMoves.intervals.npy", collection)
    amplitude = folder.first("wheelMoves.peakAmplitude.npy", collection)
    if intervals is None:
        return
    values = load_array(intervals)
    for column, name in enumerate(("start_time", "stop_time")):
        yield compare(verification.nwb, f"{intervals.relative_path}:{column}", f"{table}/{name}", values[:, column])
    if amplitude is not None:
        yield compare(verification.nwb, amplitude.relative_path, f"{table}/peak_amplitude", load_array(amplitude))
