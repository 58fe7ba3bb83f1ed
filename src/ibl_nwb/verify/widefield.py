"""Widefield: frames and light sources, spatial and temporal components, images, landmarks and the raw film."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .comparing import compare, compare_arrays, compare_value
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, load_array
from .timing import compare_times
from .value_rows import compare_document
from .verification import Verification, left_out, metadata_key
from .video import compare_film

_INSTANCE, _COLLECTION, _MODULE = "Widefield", "alf/widefield", "processing/ophys"
_TIMES = ("imaging.times.npy", "widefield.times.npy")
_LIGHT_SOURCE, _PROPERTIES = "imaging.imagingLightSource.npy", "imagingLightSource.properties.htsv"
_FILMS = ("imaging.frames.mov", "widefield.raw.mov")
_FUNCTIONAL_NM = 470

#: Most bytes of spatial components to read at a time.
_BLOCK_BYTES = 100_000_000

#: Table of each dataset of spatial components, and its key in the metadata.
_SPATIAL = {
    "widefieldU.images.npy": ("PlaneSegmentationWidefield", "widefield"),
    "widefieldU.images_atlasTransformed.npy": ("PlaneSegmentationWidefieldAtlas", "widefield_atlas"),
}

#: Container, series and key of each dataset of temporal components.
_TEMPORAL = {
    "widefieldSVT.uncorrected.npy": ("Fluorescence", "WidefieldSVTUncorrected", "raw"),
    "widefieldSVT.haemoCorrected.npy": ("DfOverF", "WidefieldSVTHaemoCorrected", "dff"),
}

#: Image of each dataset of one value for each pixel, and its key.
_IMAGES = {
    "widefieldU.brainLocationIds_ccf_2017.npy": ("WidefieldBrainLocationIds", "regions"),
    "widefieldU.mask.npy": ("WidefieldMask", "mask"),
    "subjectWidefieldU.mask_atlasTransformed.npy": ("WidefieldMaskAtlas", "mask_atlas"),
}


def check_widefield(verification: Verification) -> Iterator[Comparison]:
    """Compare the widefield imaging of a session."""
    folder = verification.folder_of(_INSTANCE)
    times = folder.first(_TIMES, _COLLECTION)
    if times is None:
        return
    if verification.was_left_out(_INSTANCE, [times]):
        yield left_out(times, f"{_MODULE}/WidefieldFrames")
        return
    source, properties = folder.first(_LIGHT_SOURCE, _COLLECTION), folder.first(_PROPERTIES, _COLLECTION)
    table = f"{_MODULE}/{_name(verification, 'WidefieldFrames', 'Frames')}"
    yield compare(
        verification.nwb, times.relative_path, f"{table}/timestamp", load_array(times).ravel(), forced="times"
    )
    if source is not None:
        yield compare(verification.nwb, source.relative_path, f"{table}/light_source", load_array(source).ravel())
    if properties is not None:
        yield from _check_light_sources(verification, properties)
    yield from _check_spatial(verification, folder)
    yield from _check_temporal(verification, folder, times, source, properties)
    yield from _check_images(verification, folder)
    for file in folder.find("widefieldLandmarks.dorsalCortex.json", _COLLECTION):
        yield from compare_document(
            verification.nwb, file, f"{_MODULE}/{_name(verification, 'WidefieldLandmarks', 'Landmarks')}"
        )
    film = folder.first(_FILMS, "raw_widefield_data")
    if film is not None:
        yield from _check_film(verification, film, times)


def _name(verification: Verification, default: str, kind: str) -> str:
    return verification.stated(default, _INSTANCE, metadata_key(_INSTANCE), kind, "name")


def _ophys_name(verification: Verification, default: str, *place: str) -> str:
    return verification.stated(default, "Ophys", *place, "name")


def _read_properties(file: SourceFile) -> list[dict[str, str]]:
    """Rows of the table of light sources, separated by commas or tabs, every value as text."""
    names, *rows = (
        line.replace("\t", ",").split(",") for line in file.path.read_text(encoding="utf-8").splitlines() if line
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def _check_light_sources(verification: Verification, file: SourceFile) -> Iterator[Comparison]:
    nwb, table = verification.nwb, f"{_MODULE}/{_name(verification, 'WidefieldLightSources', 'LightSources')}"
    rows = _read_properties(file)
    for name in rows[0]:
        path, dataset = f"{table}/{metadata_key(name)}", f"{file.relative_path}:{name}"
        if not nwb.is_array(path):
            yield Comparison(dataset, path, "missing", "it is not in the file")
            continue
        yield compare_value(
            dataset, path, [_number(value) for value in nwb.read(path)], [_number(r[name]) for r in rows]
        )


def _number(value: Any) -> Any:
    """A number where a text is one, no matter how it is written; what is not there is an empty text."""
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return "" if np.isnan(number) else number


def _check_spatial(verification: Verification, folder: SourceFolder) -> Iterator[Comparison]:
    """Image masks are the components, each transposed: x, the column, comes first."""
    nwb = verification.nwb
    for name, (default, key) in _SPATIAL.items():
        for file in folder.find(name, _COLLECTION):
            table = _ophys_name(verification, default, "PlaneSegmentations", key)
            path = f"{_MODULE}/ImageSegmentation/{table}/image_mask"
            images = load_array(file, memory_map=True)
            shape = (images.shape[2], images.shape[1], images.shape[0])
            if nwb.is_array(path) and nwb.shape(path) == shape and nwb.dtype(path) == images.dtype:
                yield _compare_in_blocks(nwb, file, path, images)
            else:
                yield compare(nwb, file.relative_path, path, np.transpose(images, (2, 1, 0)))


def _compare_in_blocks(nwb: NWBReader, file: SourceFile, path: str, images: np.ndarray) -> Comparison:
    """One row for all components; they are read some at a time, since all together may be large."""
    length = max(1, _BLOCK_BYTES // images[:, :, :1].nbytes)
    for start in range(0, images.shape[2], length):
        expected = np.transpose(images[:, :, start : start + length], (2, 1, 0))
        row = compare_arrays(file.relative_path, path, nwb.read(path, start, start + length), expected)
        if row.status != "equal":
            reason = f"components from {start} on: {row.reason}"
            return Comparison(row.dataset, row.object, row.status, reason, row.first_difference)
    return Comparison(file.relative_path, path, "equal")


def _check_temporal(
    verification: Verification,
    folder: SourceFolder,
    times: SourceFile,
    source: SourceFile | None,
    properties: SourceFile | None,
) -> Iterator[Comparison]:
    nwb, seconds = verification.nwb, load_array(times).ravel()
    for name, (container, default, key) in _TEMPORAL.items():
        for file in folder.find(name, _COLLECTION):
            values = load_array(file, memory_map=True)
            own = seconds
            if name == "widefieldSVT.haemoCorrected.npy":
                if source is None or properties is None:
                    continue
                functional = [
                    r["channel_id"] for r in _read_properties(properties) if float(r["wavelength"]) == _FUNCTIONAL_NM
                ]
                lit = [str(channel) in functional for channel in load_array(source).ravel().tolist()]
                own = seconds[np.array(lit, dtype=bool)]
            series = _ophys_name(verification, default, "RoiResponses", metadata_key(_INSTANCE), key)
            path = f"{_MODULE}/{container}/{series}"
            yield compare(nwb, file.relative_path, f"{path}/data", np.swapaxes(values, 0, 1))
            yield compare_times(nwb, times.relative_path, path, own[: values.shape[1]])  # surplus times are the last
            if f"{path}/rois" in nwb:
                rois = nwb.read(f"{path}/rois").astype(np.int64)
                yield compare_arrays(file.relative_path, f"{path}/rois", rois, np.arange(values.shape[0]))


def _check_images(verification: Verification, folder: SourceFolder) -> Iterator[Comparison]:
    nwb, key, images = verification.nwb, metadata_key(_INSTANCE), f"{_MODULE}/SegmentationImages"
    for file in folder.find("widefieldChannels.frameAverage.npy", _COLLECTION):
        name = _ophys_name(verification, "WidefieldFrameAverage", "SegmentationImages", key, "mean")
        for index, average in enumerate(load_array(file)):
            yield compare(nwb, f"{file.relative_path}:{index}", f"{images}/{name}{index}", np.swapaxes(average, 0, 1))
    for dataset, (default, kind) in _IMAGES.items():
        for file in folder.find(dataset, _COLLECTION):
            name = _ophys_name(verification, default, "SegmentationImages", key, kind)
            image = np.swapaxes(load_array(file), 0, 1)
            expected = image.astype(np.uint8) if image.dtype == bool else image  # NWB has no image of booleans
            yield compare(nwb, file.relative_path, f"{images}/{name}", expected)


def _check_film(verification: Verification, film: SourceFile, times: SourceFile) -> Iterator[Comparison]:
    """Whether the reference leads to the film, and its times."""
    nwb, series = verification.nwb, f"acquisition/{_name(verification, 'OnePhotonSeriesWidefield', 'RawFrames')}"
    yield compare_film(verification, f"{series}/external_file", film)
    yield compare_times(nwb, times.relative_path, series, load_array(times).ravel())
