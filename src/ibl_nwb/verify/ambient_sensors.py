"""Ambient sensors: every reading against its series, whose times are the ends of the trials, or against the table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import numpy as np

from .columns import compare_columns, compare_series
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, camel_case, load_array, load_table
from .timing import compare_times
from .verification import Verification, instance_label, left_out, metadata_key

_COLLECTIONS = ("raw_behavior_data", "raw_task_data_*")
_READINGS = "ambientSensorData.raw.jsonable"
_TRIALS_COLLECTIONS = ("alf", "alf/task_*", "")

#: Series, unit, factor to the unit, and column of a table, by key of the file.
_SENSORS = {
    "Temperature_C": ("AmbientTemperature", "degrees Celsius", 1.0, "temperature"),
    "AirPressure_mb": ("AmbientAirPressure", "pascals", 100.0, "air_pressure"),
    "RelativeHumidity": ("AmbientRelativeHumidity", "percent", 1.0, "relative_humidity"),
}


def check_ambient_sensors(verification: Verification) -> Iterator[Comparison]:
    """Compare the readings of every task."""
    collections = verification.folder.collections(_READINGS, _COLLECTIONS)
    for collection in collections:
        label = instance_label(collections, collection)
        folder = verification.folder_of(f"AmbientSensors{label}")
        file = folder.first(_READINGS, collection)
        if file is not None:
            yield from _check_file(verification, folder, file, label)


def _check_file(verification: Verification, folder: SourceFolder, file: SourceFile, label: str) -> Iterator[Comparison]:
    nwb, module, instance = verification.nwb, "processing/behavior", f"AmbientSensors{label}"
    place = ("AmbientSensors", metadata_key(instance))
    readings = _read(file)
    trials, ends = _trial_ends(folder, file.collection)
    n_readings = len(next(iter(readings.values()), ()))
    names = {key: verification.stated(f"{_sensor(key)[0]}{label}", *place, "series", key, "name") for key in readings}
    table = f"{module}/{verification.stated(f'AmbientSensors{label}', *place, 'table', 'name')}"
    written = [path for path in (table, *(f"{module}/{name}" for name in names.values())) if path in nwb]
    if not written and verification.was_left_out(instance, [file]):
        yield left_out(file, table)
        return
    if trials is None or not _are_times_of(ends, n_readings):
        columns = {
            verification.stated(_sensor(key)[3], *place, "series", key, "column"): (
                f"{file.relative_path}:{key}",
                values,
            )
            for key, values in readings.items()
        }
        yield from compare_columns(nwb, table, columns)
        return
    for key, values in readings.items():
        _, unit, conversion, _ = _sensor(key)
        unit = verification.stated(unit, *place, "series", key, "unit")
        conversion = verification.stated(conversion, *place, "series", key, "conversion")
        series = f"{module}/{names[key]}"
        yield from compare_series(nwb, f"{file.relative_path}:{key}", series, values, unit, conversion)
        yield compare_times(nwb, trials.relative_path, series, ends)


def _read(file: SourceFile) -> dict[str, np.ndarray]:
    """Readings by key, NaN where a line is no JSON object of one number for each key."""
    rows = []
    for line in file.path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip():
            try:
                rows.append({key: float(np.asarray(value).reshape(())) for key, value in json.loads(line).items()})
            except (ValueError, TypeError, AttributeError):
                rows.append({})
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return {key: np.array([row.get(key, np.nan) for row in rows]) for key in keys}


def _sensor(key: str) -> tuple[str, str, float, str]:
    return _SENSORS.get(key, (f"Ambient{camel_case(key)}", "unknown", 1.0, metadata_key(key)))


def _trial_ends(folder: SourceFolder, collection: str) -> tuple[SourceFile | None, np.ndarray]:
    """Ends of the trials of the same task, and the file they are from."""
    number = _task_number(collection)
    for name in ("trials.table.pqt", "trials.intervals.npy"):
        for file in folder.find(name, _TRIALS_COLLECTIONS):
            if _task_number(file.collection) == number:
                is_table = name.endswith(".pqt")
                return file, load_table(file)["intervals_1"].to_numpy() if is_table else load_array(file)[:, 1]
    return None, np.empty(0)


def _task_number(collection: str) -> str:
    """Number of the task at the end of a folder's name, empty where it has none."""
    return collection.rpartition("_")[2] if re.search(r"task(_data)?_\d+$", collection) else ""


def _are_times_of(ends: np.ndarray, n_readings: int) -> bool:
    """Whether there is one time for each reading, and they rise."""
    return len(ends) == n_readings and bool(np.isfinite(ends).all() and (np.diff(ends) >= 0).all())
