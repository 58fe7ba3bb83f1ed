"""Wheel: position, times, the velocity of old sessions, movements, and the derived velocity and acceleration."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .columns import compare_series, compare_unit, find_surplus
from .comparing import compare
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, load_array
from .timing import compare_times
from .verification import Verification, instance_label, left_out

_COLLECTIONS = ("alf", "alf/task_*", "")
_POSITION, _TIMES = "wheel.position.npy", ("wheel.timestamps.npy", "wheel.times.npy")

#: What IBL derives the velocity with (brainbox.behavior.wheel): rate, corner frequency and order of the filter.
_RATE_HZ, _CORNER_HZ, _ORDER = 1000.0, 20.0, 8

#: How far a derived value may be off, as a fraction of the largest: rounding, which differentiation magnifies.
_DERIVED_TOLERANCE = 1e-7

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
    unit, factor = _find_unit(values)
    yield from compare_series(nwb, position.relative_path, series, values, unit, factor)
    seconds = load_array(times)
    if seconds.ndim == 2:  # knots of sample number and seconds
        seconds = np.interp(np.arange(len(values)), seconds[:, 0], seconds[:, 1])
    yield compare_times(nwb, times.relative_path, series, seconds)
    velocity = folder.first("wheel.velocity.npy", collection)
    if velocity is not None:
        stored = f"{module}/WheelVelocityStored{label}"
        yield from compare_series(nwb, velocity.relative_path, stored, load_array(velocity), f"{unit}/s", factor)
        yield compare_times(nwb, times.relative_path, stored, seconds)
    yield from _check_derived(verification, position, seconds, label)
    yield from _check_movements(verification, folder, collection, f"{module}/WheelMovementIntervals{label}")


def _find_unit(position: np.ndarray) -> tuple[str, float]:
    """The unit and its factor, told from the step of the encoder; radians if the wheel never moved."""
    steps = np.abs(np.diff(position))
    if not steps.any():
        return "radians", 1.0
    step = np.median(steps[steps > 0])
    return min(_STEPS, key=lambda unit: min(abs(step - known) for known in _STEPS[unit]))


def _check_derived(
    verification: Verification, position: SourceFile, seconds: np.ndarray, label: str
) -> Iterator[Comparison]:
    """Compare velocity and acceleration where the file has them, or the document asks for them."""
    nwb, dataset = verification.nwb, f"{position.relative_path}:derived"
    paths = {name: f"processing/wheel/Wheel{name.capitalize()}{label}" for name in ("velocity", "acceleration")}
    wanted = {
        name: path
        for name, path in paths.items()
        if path in nwb or verification.option(f"Wheel{label}", f"write_{name}", False)
    }
    if not wanted:
        return
    values = load_array(position)
    unit, factor = _find_unit(values)
    derived = _derive(seconds, values)
    times = seconds[0] + np.arange(len(derived["velocity"])) / _RATE_HZ
    for name, path in wanted.items():
        tolerance = _DERIVED_TOLERANCE * float(np.abs(derived[name]).max())
        yield compare(nwb, dataset, f"{path}/data", derived[name], tolerance=tolerance)
        if path in nwb:
            per = {"velocity": "/s", "acceleration": "/s^2"}[name]
            yield from compare_unit(nwb, dataset, f"{path}/data", unit + per, factor)
            yield compare_times(nwb, dataset, path, times)


def _derive(seconds: np.ndarray, position: np.ndarray) -> dict[str, np.ndarray]:
    """Velocity and acceleration: interpolation, a Butterworth filter both ways, and differences."""
    from scipy.signal import butter, sosfiltfilt, zpk2sos

    times = np.arange(seconds[0], seconds[-1], 1 / _RATE_HZ)
    sections = zpk2sos(*butter(_ORDER, _CORNER_HZ, fs=_RATE_HZ, output="zpk"))
    smooth = sosfiltfilt(sections, np.interp(times, seconds, position))
    velocity = np.zeros(len(smooth))
    velocity[1:] = (smooth[1:] - smooth[:-1]) * _RATE_HZ
    acceleration = np.zeros(len(smooth))
    acceleration[1:] = (velocity[1:] - velocity[:-1]) * _RATE_HZ
    return {"velocity": velocity, "acceleration": acceleration}


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
    known = {"start_time": intervals, "stop_time": intervals} | ({"peak_amplitude": amplitude} if amplitude else {})
    yield from find_surplus(verification.nwb, table, known)
