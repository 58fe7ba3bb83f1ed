"""What IBL computes from the frames of a camera: pupil, paw states and motion energy, with the times of the frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from .columns import compare_columns, compare_series
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, camel_case, load_array, load_table
from .timing import compare_times
from .verification import Verification, left_out, metadata_key

_MODULE = "processing/behavior"
_TIMES_COLLECTIONS = ("alf", "")
_PAW_COLUMN = re.compile(r"paw_[rl]_(?:background|still|move|wheel_turn|groom)(_ens_var)?")


def check_pupil(verification: Verification) -> Iterator[Comparison]:
    """Compare the diameters of the pupil of every camera."""
    yield from _check_tables(verification, "Pupil", "PupilTracking", "features", ("alf", ""), _pupil_unit)


def check_paw_states(verification: Verification) -> Iterator[Comparison]:
    """Compare the states of the paws of every camera."""
    collections = ("alf/lightningaction", "alf")
    yield from _check_tables(verification, "PawStates", "PawStates", "pawstates", collections, _paw_unit)


def check_motion_energy(verification: Verification) -> Iterator[Comparison]:
    """Compare the motion energy of every camera, and its region."""
    nwb = verification.nwb
    for camera, instance, folder in _cameras(verification, "MotionEnergy", "ROIMotionEnergy.npy"):
        key = ("MotionEnergy", metadata_key(instance))
        label = f"{camera.capitalize()}Camera"
        energy = folder.first(f"{camera}Camera.ROIMotionEnergy.npy", ("alf", ""))
        times = frame_times_file(folder, camera)
        if energy is None or times is None:
            continue
        series = f"{_MODULE}/{verification.stated(f'MotionEnergy{label}', *key, 'MotionEnergy', 'name')}"
        if series not in nwb and verification.was_left_out(instance, [energy]):
            yield left_out(energy, series)
            continue
        values = load_array(energy).reshape(-1)
        unit = verification.stated("grey levels", *key, "MotionEnergy", "unit")
        yield from compare_series(nwb, energy.relative_path, series, values, unit)
        yield compare_times(nwb, times.relative_path, series, last_times(times, len(values)))
        region = folder.first(f"{camera}ROIMotionEnergy.position.npy", ("alf", ""))
        if region is not None:
            table = f"{_MODULE}/{verification.stated(f'MotionEnergyRegion{label}', *key, 'Region', 'name')}"
            numbers = zip(("width", "height", "x", "y"), load_array(region).reshape(4, 1), strict=True)
            columns = {name: (f"{region.relative_path}:{name}", number) for name, number in numbers}
            yield from compare_columns(nwb, table, columns)


def frame_times_file(folder: SourceFolder, camera: str) -> SourceFile | None:
    """The file with the times of a camera's frames."""
    return folder.first(f"{camera}Camera.times.npy", _TIMES_COLLECTIONS)


def last_times(times: SourceFile, n_frames: int) -> np.ndarray:
    """The last times, as many as there are frames: the first frames were not saved (IBL's rule)."""
    seconds = load_array(times).reshape(-1)
    return seconds[max(len(seconds) - n_frames, 0) :]


def _cameras(verification: Verification, family: str, name: str) -> Iterator[tuple[str, str, SourceFolder]]:
    """Every camera that has a file: its name, the instance in the converter and the session in its revision."""
    pattern = re.compile(rf"([a-z]+)Camera\.{re.escape(name)}")
    for camera in sorted({found[1] for file in verification.folder.files if (found := pattern.fullmatch(file.name))}):
        instance = f"{family}{camera.capitalize()}Camera"
        yield camera, instance, verification.folder_of(instance)


def _check_tables(
    verification: Verification,
    family: str,
    container_name: str,
    attribute: str,
    collections: tuple[str, ...],
    unit_of: Callable[[str], str],
) -> Iterator[Comparison]:
    """Compare a parquet file with one row per frame, for every camera: each column is a series."""
    nwb = verification.nwb
    for camera, instance, folder in _cameras(verification, family, f"{attribute}.pqt"):
        key = (family, metadata_key(instance))
        file = folder.first(f"{camera}Camera.{attribute}.pqt", collections)
        times = frame_times_file(folder, camera)
        if file is None or times is None:
            continue
        name = verification.stated(f"{container_name}{camera.capitalize()}Camera", *key, "name")
        container = f"{_MODULE}/{name}"
        if container not in nwb and verification.was_left_out(instance, [file]):
            yield left_out(file, container)
            continue
        table = load_table(file)
        seconds = last_times(times, len(table))
        known = set()
        for column in map(str, table.columns):
            name = verification.stated(camel_case(column), *key, "series", column, "name")
            unit = verification.stated(unit_of(column), *key, "series", column, "unit")
            series = f"{container}/{name}"
            known.add(name)
            dataset = f"{file.relative_path}:{column}"
            yield from compare_series(nwb, dataset, series, table[column].to_numpy(), unit)
            yield compare_times(nwb, times.relative_path, series, seconds)
        for name in nwb.names(container):
            if name not in known:
                yield Comparison("", f"{container}/{name}", "different", "no column of the file is the source of it")


def _pupil_unit(column: str) -> str:
    return "pixels" if column in ("pupilDiameter_raw", "pupilDiameter_smooth") else "unknown"


def _paw_unit(column: str) -> str:
    known = _PAW_COLUMN.fullmatch(column)
    if known is None:
        return "unknown"
    return "probability^2" if known[1] else "probability"
