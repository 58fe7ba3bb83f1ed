"""Fiber photometry: the frames of every light, the table of all frames, and which fiber each column is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .comparing import compare, compare_arrays
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, camel_case, load_table
from .timing import compare_times
from .verification import Verification, instance_label, left_out

if TYPE_CHECKING:
    import pandas

_COLLECTIONS = ("alf/photometry", "alf")
_SIGNAL, _LOCATIONS = "photometry.signal.pqt", "photometryROI.locations.pqt"
_ROI = re.compile(r"(Region[0-9]+[GR]?|[GR][0-9]+)")

#: Columns of the file that are called otherwise in the table of frames.
_RENAMED = {"times": "timestamp", "name": "light_name", "color": "light_color"}

_TABLE = "general/fiber_photometry/fiber_photometry_table"


def check_photometry(verification: Verification) -> Iterator[Comparison]:
    """Compare the fiber photometry of every collection."""
    collections = verification.folder.collections(_SIGNAL, _COLLECTIONS)
    for collection in collections:
        label = instance_label(collections, collection)
        folder = verification.folder_of(f"Photometry{label}")
        signal, locations = folder.first(_SIGNAL, collection), folder.first(_LOCATIONS, collection)
        if signal is None:
            continue
        frames = f"acquisition/FiberPhotometryFrames{label}"
        if frames not in verification.nwb and verification.was_left_out(f"Photometry{label}", [signal]):
            yield left_out(signal, frames)
        else:
            yield from _check_collection(verification.nwb, signal, locations, label)


def _check_collection(
    nwb: NWBReader, signal: SourceFile, locations: SourceFile | None, label: str
) -> Iterator[Comparison]:
    table = load_table(signal)
    places = None if locations is None else load_table(locations)
    if places is not None and "ROI" in places:
        places = places.set_index("ROI")
    named = set() if places is None else set(places.index)
    rois = [column for column in table if column in named or _ROI.fullmatch(str(column))]
    for column in table:
        if column not in rois:
            path = f"acquisition/FiberPhotometryFrames{label}/{_RENAMED.get(column, _words(column))}"
            forced = "times" if column == "times" else None
            yield compare(nwb, f"{signal.relative_path}:{column}", path, _values(table[column]), forced=forced)
    others: list[int] = []
    for light, rows in _rows_of_lights(table).items():
        series = f"acquisition/FiberPhotometry{light}{label}"
        dataset = f"{signal.relative_path}:{light or 'light'}"
        if len(rows) < len(rois):
            others += rows
            continue
        yield compare(nwb, dataset, f"{series}/data", table[rois].to_numpy()[rows])
        yield compare_times(nwb, f"{signal.relative_path}:times", series, table["times"].to_numpy()[rows])
        wavelength = table["wavelength"].iloc[rows[0]] if "wavelength" in table else np.nan
        if wavelength > 0:
            yield from _check_links(nwb, signal, locations, places, series, rois, float(wavelength))
    yield from _check_other_frames(nwb, signal, table, rois, sorted(others), label)
    yield from _check_rois(nwb, locations, places, rois, f"acquisition/FiberPhotometryROIs{label}")


def _check_other_frames(
    nwb: NWBReader, signal: SourceFile, table: pandas.DataFrame, rois: list[str], rows: list[int], label: str
) -> Iterator[Comparison]:
    """Frames of lights that have fewer of them than there are regions of interest."""
    if not rows:
        return
    path = f"acquisition/FiberPhotometryOtherFrames{label}"
    yield compare(nwb, f"{signal.relative_path}:other frames", f"{path}/frame", np.array(rows))
    times = table["times"].to_numpy()[rows]
    yield compare(nwb, f"{signal.relative_path}:times", f"{path}/timestamp", times, forced="times")
    for roi in rois:
        yield compare(nwb, f"{signal.relative_path}:{roi}", f"{path}/{roi}", table[roi].to_numpy()[rows])


def _rows_of_lights(table: pandas.DataFrame) -> dict[str, list[int]]:
    """Rows of each light by the name of its series: the light's name, and its wavelength where a name has several."""
    columns = [column for column in ("name", "wavelength") if column in table]
    rows: dict[tuple[str, str], list[int]] = {}
    for row, values in enumerate(zip(*(table[column].tolist() for column in columns), strict=True)):
        of_row = dict(zip(columns, values, strict=True))
        wavelength, name = of_row.get("wavelength", np.nan), of_row.get("name", "")
        nanometers = "" if wavelength != wavelength else f"{wavelength:g}nm"
        name = camel_case(name) if isinstance(name, str) else ""
        rows.setdefault((name or nanometers, nanometers), []).append(row)
    if not columns:
        return {"": list(range(len(table)))}
    names = [name for name, _ in rows]
    return {
        name if names.count(name) == 1 else name + (nanometers or "NoWavelength"): of_light
        for (name, nanometers), of_light in rows.items()
    }


def _check_links(
    nwb: NWBReader,
    signal: SourceFile,
    locations: SourceFile | None,
    places: pandas.DataFrame | None,
    series: str,
    rois: list[str],
    wavelength_nm: float,
) -> Iterator[Comparison]:
    """The rows of the FiberPhotometryTable that a series points to: wavelength, and region of the fiber."""
    region = f"{series}/fiber_photometry_table_region"
    if not nwb.is_array(region):
        yield Comparison(f"{signal.relative_path}:wavelength", region, "missing", "it is not in the file")
        return
    rows = nwb.read(region).astype(int)
    expected = {"excitation_wavelength_in_nm": (signal, np.full(len(rois), wavelength_nm))}
    if locations is not None and places is not None and "brain_region" in places:
        known = [places["brain_region"].get(roi, "unknown") for roi in rois]
        regions = np.array([name if isinstance(name, str) else "unknown" for name in known], dtype=object)
        expected["location"] = (locations, regions)
    for column, (file, values) in expected.items():
        stored = nwb.read_column(_TABLE, column)
        if stored is None:
            yield Comparison(file.relative_path, f"{_TABLE}/{column}", "missing", "it is not in the file")
            continue
        found = stored[rows] if len(rows) and rows.max() < len(stored) else stored[:0]
        yield compare_arrays(f"{file.relative_path}:{series}", f"{_TABLE}/{column}", found, values)


def _check_rois(
    nwb: NWBReader, locations: SourceFile | None, places: pandas.DataFrame | None, rois: list[str], path: str
) -> Iterator[Comparison]:
    """The table of regions of interest: those of the file of locations, then those that it does not name."""
    if locations is None or places is None:
        return
    others = [roi for roi in rois if roi not in places.index]
    names = [*map(str, places.index), *others]
    yield compare(nwb, f"{locations.relative_path}:ROI", f"{path}/roi", np.array(names, dtype=object))
    numbers = np.array([rois.index(name) if name in rois else -1 for name in names])
    yield compare(nwb, f"{locations.relative_path}:ROI", f"{path}/series_column", numbers)
    for column in places:
        values = _values(places[column])
        if column in ("fiber", "brain_region"):
            values = np.array([value or "unknown" for value in values] + ["unknown"] * len(others), dtype=object)
        elif others:
            continue  # filled up with blanks, and maybe of another type then
        yield compare(nwb, f"{locations.relative_path}:{column}", f"{path}/{_words(column)}", values)


def _values(column: pandas.Series) -> np.ndarray:
    """Numbers as stored; texts with blanks for what is missing."""
    if column.dtype.kind in "bifu":
        return column.to_numpy()
    return np.array([value if isinstance(value, str) else "" for value in column.tolist()], dtype=object)


def _words(column: str) -> str:
    """``trialNumber`` to ``trial_number``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", str(column)).lower()
