"""Mesoscope: activity, masks and attributes of the ROIs, frames, scan lines and images of every field of view."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .columns import find_surplus
from .comparing import compare, compare_arrays
from .masks import compare_masks
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, camel_case, load_array, load_table
from .timing import compare_times
from .value_rows import compare_document
from .verification import Verification, left_out, metadata_key

_MODULE = "processing/ophys"
_SEGMENTATION = f"{_MODULE}/ImageSegmentation"
_FOV = re.compile(r"alf/(FOV_\d+)")
_RAW_META, _RAW = "rawImagingData.meta.json", ("raw_imaging_data_*", "raw_imaging_data")

#: Key in the metadata and series of each dataset of activity.
_ACTIVITY = {
    "mpci.ROIActivityF.npy": ("raw", "RoiResponseSeries"),
    "mpci.ROINeuropilActivityF.npy": ("neuropil", "Neuropil"),
    "mpci.ROIActivityDeconvolved.npy": ("deconvolved", "Deconvolved"),
}

#: Further key and segmentation of each dataset of masks.
_MASKS = {"masks": ("", "PlaneSegmentation"), "neuropilMasks": ("_neuropil", "NeuropilSegmentation")}

#: Columns that are not attributes of the ROIs.
_OTHER_COLUMNS = ("pixel_mask", "pixel_mask_weight", "roi_timeshift")


@dataclass(frozen=True)
class _FieldOfView:
    """One field of view: its files, and how its objects are called in the file."""

    verification: Verification
    folder: SourceFolder
    collection: str
    label: str
    key: str

    @property
    def nwb(self) -> NWBReader:
        return self.verification.nwb

    def find(self, pattern: str) -> list[SourceFile]:
        return self.folder.find(pattern, self.collection)

    def activity(self) -> Iterator[tuple[SourceFile, str]]:
        """Each file of activity and its series."""
        for name, (kind, series) in _ACTIVITY.items():
            for file in self.find(name):
                yield file, f"{_MODULE}/Fluorescence/{self.name(series, 'Ophys', 'RoiResponses', self.key, kind)}"

    def segmentation(self, attribute: str) -> str:
        """Table that the masks are in."""
        suffix, name = _MASKS[attribute]
        return f"{_SEGMENTATION}/{self.name(name, 'Ophys', 'PlaneSegmentations', f'{self.key}{suffix}')}"

    def own(self, name: str, kind: str) -> str:
        """An object in the module, by its entry in the family's own metadata."""
        return f"{_MODULE}/{self.name(name, 'Mesoscope', self.key, kind)}"

    def name(self, default: str, *place: str) -> str:
        return self.verification.stated(f"{default}{self.label}", *place, "name")


def check_mesoscope(verification: Verification) -> Iterator[Comparison]:
    """Compare every field of view, and what the microscope says of each bout."""
    names = sorted({match[1] for file in verification.folder.files if (match := _FOV.fullmatch(file.collection))})
    converted = []
    for name in names:
        instance = f"Mesoscope{camel_case(name)}"
        folder = verification.folder_of(instance)
        fov = _FieldOfView(verification, folder, f"alf/{name}", camel_case(name), metadata_key(instance))
        activity = list(fov.activity())
        if not activity or not fov.find("mpci.times.npy"):
            continue
        if verification.was_left_out(instance, [file for file, _ in activity]):
            yield from (left_out(file, series) for file, series in activity)
            continue
        converted.append(fov)
        yield from _check_activity(fov, activity)
        yield from _check_rois(fov)
        yield from _check_frames(fov)
        yield from _check_images(fov)
    for fov in converted[:1]:  # all of them have the same
        for file in fov.folder.find(_RAW_META, _RAW):
            bout = camel_case(file.collection.removeprefix("raw_imaging_data"))
            name = verification.stated("RawImagingMeta", "Mesoscope", fov.key, "RawImagingMeta", "name")
            yield from compare_document(verification.nwb, file, f"analysis/{name}{bout}")


def _check_activity(fov: _FieldOfView, activity: list[tuple[SourceFile, str]]) -> Iterator[Comparison]:
    """Values and times of every series, and which ROI its columns are."""
    (times,) = fov.find("mpci.times.npy")
    for file, series in activity:
        values = load_array(file, memory_map=True)
        yield compare(fov.nwb, file.relative_path, f"{series}/data", values)
        yield compare_times(fov.nwb, times.relative_path, series, load_array(times).ravel())
        if f"{series}/rois" in fov.nwb:
            rois = fov.nwb.read(f"{series}/rois").astype(np.int64)
            yield compare_arrays(file.relative_path, f"{series}/rois", rois, np.arange(values.shape[1]))


def _check_rois(fov: _FieldOfView) -> Iterator[Comparison]:
    nwb, table = fov.nwb, fov.segmentation("masks")
    columns: dict[str, Any] = dict.fromkeys(_OTHER_COLUMNS)
    for file in [*fov.find("mpciROIs.*.npy"), *fov.find("mpciROIs.*.sparse_npz")]:
        attribute = file.name.split(".")[1]
        if attribute in _MASKS:
            yield from compare_masks(nwb, file, fov.segmentation(attribute))
        else:
            columns[metadata_key(attribute)] = file
            yield compare(nwb, file.relative_path, f"{table}/{metadata_key(attribute)}", load_array(file))
    for file in fov.find("mpciROIs.*.csv"):
        values = load_table(file)
        for column in values:
            name = metadata_key(file.name.split(".")[1]) + (
                f"_{metadata_key(str(column))}" if values.shape[1] > 1 else ""
            )
            columns[name] = file
            expected = values[column].to_numpy()
            expected = expected if expected.dtype.kind in "biuf" else values[column].fillna("").to_numpy(dtype=object)
            yield compare(nwb, f"{file.relative_path}:{column}", f"{table}/{name}", expected)
    yield from find_surplus(nwb, table, columns)
    for file in fov.find("mpciROITypes.names.tsv"):
        yield from _check_meanings(nwb, file, table, "mpci_roi_types")
    for file in fov.find("mpciStack.timeshift.npy"):
        shifts = load_array(file)
        yield compare(nwb, file.relative_path, f"{fov.own('ScanLines', 'ScanLines')}/timeshift", shifts)
        for positions in fov.find("mpciROIs.stackPos.npy"):
            if f"{table}/roi_timeshift" in nwb:
                expected = np.array([shifts[row] for row, *_ in load_array(positions)])
                yield compare(nwb, f"{file.relative_path}:of each ROI", f"{table}/roi_timeshift", expected)


def _check_frames(fov: _FieldOfView) -> Iterator[Comparison]:
    table = fov.own("ImagingFrames", "Frames")
    for name, column in (("mpci.badFrames.npy", "bad_frames"), ("mpci.mpciFrameQC.npy", "frame_qc")):
        for file in fov.find(name):
            yield compare(fov.nwb, file.relative_path, f"{table}/{column}", load_array(file).ravel())
    for file in fov.find("mpciFrameQC.names.tsv"):
        yield from _check_meanings(fov.nwb, file, table, "frame_qc")


def _check_meanings(nwb: NWBReader, file: SourceFile, table: str, column: str) -> Iterator[Comparison]:
    """Codes and labels of a file of two columns, against the meanings of a column that is there."""
    if f"{table}/{column}" not in nwb:
        return
    _, *lines = file.path.read_text(encoding="utf-8").splitlines()
    codes, labels = zip(*(line.split("\t") for line in lines if line), strict=True)
    meanings = f"{table}/meanings_tables/{column}_meanings"
    yield compare(nwb, f"{file.relative_path}:labels", f"{meanings}/meaning", np.array(labels, dtype=object))
    if f"{meanings}/value" in nwb:
        values = nwb.read(f"{meanings}/value").astype(np.int64)
        expected = np.array([int(float(code)) for code in codes])
        yield compare_arrays(f"{file.relative_path}:codes", f"{meanings}/value", values, expected)


def _check_images(fov: _FieldOfView) -> Iterator[Comparison]:
    """Images of the file are transposed: x, the column, comes first."""
    for file in fov.find("mpciMeanImage.images.npy"):
        image = load_array(file)
        channels: list[Any] = [image] if image.ndim == 2 else [image[:, :, index] for index in range(image.shape[2])]
        name = fov.name("MeanImage", "Ophys", "SegmentationImages", fov.key, "mean")
        for index, channel in enumerate(channels):
            path = f"{_MODULE}/SegmentationImages/{name}" + (f"Channel{index}" if index else "")
            yield compare(fov.nwb, file.relative_path, path, np.swapaxes(channel, 0, 1))
    anatomy = fov.own("AnatomicalCoordinates", "Anatomy")
    for suffix in ("", "_estimate"):
        for file in fov.find(f"mpciMeanImage.mlapdv{suffix}.npy"):
            for index, axis in enumerate(("ml", "ap", "dv")):
                expected = np.swapaxes(load_array(file)[:, :, index], 0, 1)
                yield compare(fov.nwb, f"{file.relative_path}:{axis}", f"{anatomy}/{axis}{suffix}", expected)
        for file in fov.find(f"mpciMeanImage.brainLocationIds_ccf_2017{suffix}.npy"):
            expected = np.swapaxes(load_array(file), 0, 1)
            yield compare(fov.nwb, file.relative_path, f"{anatomy}/brain_location_id{suffix}", expected)
