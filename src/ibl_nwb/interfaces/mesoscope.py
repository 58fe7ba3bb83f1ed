"""Mesoscope and two-photon imaging: the ROIs of one field of view, their activity, and where in the brain they are."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np
from hdmf.common import DynamicTable, ElementIdentifiers
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile
from pynwb.base import Images
from pynwb.core import VectorData
from pynwb.image import GrayscaleImage
from pynwb.ophys import Fluorescence, ImageSegmentation, ImagingPlane, PlaneSegmentation, RoiResponseSeries

from ..allen_ccf import UNKNOWN, region_acronyms
from ..errors import DatasetInconsistentError
from ..session import Dataset, check_equal_lengths, load_array, load_json, load_table
from .base import (
    STUB_LENGTH,
    ALFDataset,
    ALFInterface,
    AlignableTimes,
    camel_case,
    check_times,
    series_timing,
    snake_case,
)
from .meanings import make_meanings
from .ophys import (
    add_imaging_plane,
    add_summary_images,
    check_dimensions,
    get_container,
    get_ophys_module,
    make_image,
    merge_metadata,
    open_ophys_registries,
    read_while_written,
)
from .roi_masks import load_masks, make_no_masks
from .value_rows import make_value_table

_FOV = ("alf/{fov_name}",)
_RAW = ("raw_imaging_data_*", "raw_imaging_data")

#: Dataset of each kind of activity, by the keys that NeuroConv has for them.
_ACTIVITY = {
    "raw": "mpci.ROIActivityF.npy",
    "neuropil": "mpci.ROINeuropilActivityF.npy",
    "deconvolved": "mpci.ROIActivityDeconvolved.npy",
}

#: Attributes of ``mpciROIs`` that are masks, not columns.
_MASKS = ("masks", "neuropilMasks")

#: How an attribute ends that was estimated from the window and not found by histology.
_ESTIMATE = "_estimate"


class MesoscopeInterface(ALFInterface, AlignableTimes, BaseTemporalAlignmentInterface):
    """One field of view (FOV) of two-photon imaging: ``mpci``, ``mpciROIs``, ``mpciMeanImage`` and ``mpciStack``.

    All ROIs are written, those that the classifier took for no cell and all frames that were found bad included, with
    columns and a table that say so. Times are ALF's own seconds on the session clock, the start of the FOV in each
    frame. A ROI is scanned a little later: its ``roi_timeshift`` is to be added. That column is derived, the time shift
    of the scan line (``mpciStack.timeshift``) that the ROI's centre (``mpciROIs.stackPos``, row) lies on.

    Images and masks are in NWB's order: x is the column, y the row.
    """

    display_name = "IBL mesoscope"
    keywords = ("calcium imaging", "two-photon", "mesoscope", "segmentation", "roi", "fluorescence")
    associated_suffixes = (".npy", ".sparse_npz", ".csv", ".tsv", ".json")
    info = "Interface for one field of view of two-photon calcium imaging of an IBL session."

    family = "Mesoscope"
    handles = ("fov_name",)
    datasets = (
        ALFDataset("times", ("mpci.times.npy",), _FOV, required=True),
        # Any one of them will do.
        ALFDataset("any_activity", tuple(_ACTIVITY.values()), _FOV, required=True),
        *(ALFDataset(key, (name,), _FOV) for key, name in _ACTIVITY.items()),
        ALFDataset("bad_frames", ("mpci.badFrames.npy",), _FOV),
        ALFDataset("frame_qc", ("mpci.mpciFrameQC.npy",), _FOV),
        ALFDataset("frame_qc_names", ("mpciFrameQC.names.tsv",), _FOV),
        ALFDataset("masks", ("mpciROIs.masks.sparse_npz", "mpciROIs.masks.npy"), _FOV),
        ALFDataset("neuropil_masks", ("mpciROIs.neuropilMasks.sparse_npz", "mpciROIs.neuropilMasks.npy"), _FOV),
        ALFDataset("roi_arrays", ("mpciROIs.*.npy",), _FOV),
        ALFDataset("roi_texts", ("mpciROIs.*.csv",), _FOV),
        ALFDataset("roi_type_names", ("mpciROITypes.names.tsv",), _FOV),
        ALFDataset("timeshift", ("mpciStack.timeshift.npy",), _FOV),
        ALFDataset("mean_image", ("mpciMeanImage.images.npy",), _FOV),
        ALFDataset("pixel_mlapdv", ("mpciMeanImage.mlapdv.npy",), _FOV),
        ALFDataset("pixel_mlapdv_estimate", ("mpciMeanImage.mlapdv_estimate.npy",), _FOV),
        ALFDataset("pixel_regions", ("mpciMeanImage.brainLocationIds_ccf_2017.npy",), _FOV),
        ALFDataset("pixel_regions_estimate", ("mpciMeanImage.brainLocationIds_ccf_2017_estimate.npy",), _FOV),
        ALFDataset("raw_imaging_meta", ("rawImagingData.meta.json",), _RAW),
    )

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        fov_name: str,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open one field of view of a session.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        fov_name : str
            ALF name of the field of view, e.g. "FOV_00".
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, fov_name=fov_name)
        super().__init__(verbose=verbose, session_path=session_path, fov_name=fov_name, revision=revision)

    def get_metadata_schema(self) -> dict:
        """JSON schema of the metadata; NeuroConv's registries stay open to the entries of other interfaces."""
        return open_ophys_registries(super().get_metadata_schema(), self.metadata_key)

    def get_original_timestamps(self) -> np.ndarray:
        """Start of the FOV in each frame as stored, ``(n_frames,)`` seconds on the session clock."""
        (dataset,) = self.sources["times"]
        times = load_array(dataset).reshape(-1)
        check_times(times, dataset)
        return times

    def add_to_nwbfile(
        self,
        nwbfile: NWBFile,
        metadata: dict | None = None,
        *,
        stub_test: bool = False,
        write_roi_timeshift: bool = True,
    ) -> None:
        """
        Add the field of view to an NWB file, in the processing module "ophys".

        Activity is read from disk while the file is written.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the blocks "Ophys", "Devices" and "Mesoscope". Default: those of
            :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 frames only, of all ROIs.
        write_roi_timeshift : bool, default: True
            Write how much later than the frame each ROI was scanned, which is derived.

        Raises
        ------
        DatasetInconsistentError
            If there are not as many times as frames, datasets differ in the number of ROIs, or one is not of the shape
            it must have.
        """
        merged = merge_metadata(self._default_metadata(), metadata)
        ophys, entry = merged["Ophys"], merged["Mesoscope"][self.metadata_key]
        self.notes = []
        self._check_frames()
        stop = STUB_LENGTH if stub_test else None
        plane = add_imaging_plane(nwbfile, merged, self.metadata_key)
        rois = self._make_segmentation(ophys["PlaneSegmentations"][self.metadata_key], plane)
        self._add_attributes(rois, entry, write_roi_timeshift=write_roi_timeshift)
        segmentations = get_container(nwbfile, ImageSegmentation)
        segmentations.add_plane_segmentation(rois)
        neuropil = rois
        if self.sources["neuropil_masks"]:
            neuropil = self._make_segmentation(
                ophys["PlaneSegmentations"][f"{self.metadata_key}_neuropil"], plane, "neuropil_masks"
            )
            segmentations.add_plane_segmentation(neuropil)
        responses = ophys["RoiResponses"][self.metadata_key]
        self._add_activity(nwbfile, responses, {"raw": rois, "neuropil": neuropil, "deconvolved": rois}, stop)
        add_summary_images(nwbfile, self._make_mean_images(ophys["SegmentationImages"][self.metadata_key]["mean"]))
        made = (
            *self._make_frames(entry["Frames"], stop),
            *self._make_scan_lines(entry["ScanLines"]),
            *self._make_anatomy(entry["Anatomy"]),
        )
        for container in made:
            get_ophys_module(nwbfile).add(container)
        self._add_imaging_meta(nwbfile, entry["RawImagingMeta"])

    @cached_property
    def _n_rois(self) -> int:
        """Number of ROIs, by their activity."""
        (dataset,) = self.sources["any_activity"]
        values = load_array(dataset, memory_map=True)
        check_dimensions(dataset, values, "frames", "ROIs")
        return values.shape[1]

    def _check_frames(self) -> None:
        """Check that everything that is per frame has as many rows as there are times."""
        per_frame = (
            dataset for key in ("times", *_ACTIVITY, "bad_frames", "frame_qc") for dataset in self.sources[key]
        )
        check_equal_lengths("mpci", {d.relative_path: len(load_array(d, memory_map=True)) for d in per_frame})

    def _check_rois(self, dataset: Dataset, n_rois: int) -> None:
        if n_rois != self._n_rois:
            raise DatasetInconsistentError(
                f"'{dataset.path}' is of {n_rois} ROIs, '{self.sources['any_activity'][0].path}' of {self._n_rois}. "
                "They are of different segmentations; get them again, or leave the field of view out with --exclude "
                f"{self.family}{self.label}."
            )

    def _make_segmentation(
        self, texts: dict[str, Any], plane: ImagingPlane, masks_key: str = "masks"
    ) -> PlaneSegmentation:
        columns = make_no_masks(self._n_rois)
        for dataset in self.sources[masks_key]:
            masks = load_masks(dataset)
            self._check_rois(dataset, masks.n_rois)
            columns = masks.make_columns(texts["columns"])
        if not self.sources[masks_key]:
            self.notes.append(f"The masks of the ROIs of {self.instance['fov_name']} are not in the session.")
        keys = (masks_key,) if masks_key == "neuropil_masks" else ("masks", "roi_arrays", "roi_texts", "roi_type_names")
        return PlaneSegmentation(
            name=texts["name"],
            description=f"{texts['description']} {self._source_comment(*keys)}.",
            imaging_plane=plane,
            id=ElementIdentifiers(name="id", data=np.arange(self._n_rois)),
            columns=columns,
            colnames=[column.name for column in columns if not column.name.endswith("_index")],
        )

    def _add_attributes(self, table: PlaneSegmentation, entry: dict[str, Any], *, write_roi_timeshift: bool) -> None:
        """Add a column for each attribute of the ROIs, and what the types of ROIs mean."""
        texts = entry["columns"]
        for name, (dataset, values) in self._load_attributes().items():
            self._check_rois(dataset, len(values))
            default = f"Not described by IBL's documentation. ALF: {dataset.name.rpartition('.')[0]}."
            table.add_column(name=name, description=texts.get(name, default), data=values)
        if write_roi_timeshift and self.sources["timeshift"] and "stack_pos" in table.colnames:
            table.add_column(
                name="roi_timeshift",
                description=texts["roi_timeshift"],
                data=self._derive_timeshift(table["stack_pos"].data),
            )
        if "mpci_roi_types" in table.colnames:
            for dataset in self.sources["roi_type_names"]:
                meanings = _load_meanings(dataset, "roi_values", "roi_labels")
                table.add_meanings_table(make_meanings(table["mpci_roi_types"], meanings))

    def _load_attributes(self) -> dict[str, tuple[Dataset, Any]]:
        """Every attribute of ``mpciROIs`` that is no mask, by the name of its column."""
        attributes: dict[str, tuple[Dataset, Any]] = {}
        for dataset in self.sources["roi_arrays"]:
            if dataset.attribute not in _MASKS:
                attributes[_column_name(dataset)] = dataset, load_array(dataset)
        for dataset in self.sources["roi_texts"]:
            table = load_table(dataset)
            for column in table.columns:
                name = _column_name(dataset) + (f"_{snake_case(str(column))}" if table.shape[1] > 1 else "")
                is_number = table[column].dtype.kind in "biuf"
                attributes[name] = (
                    dataset,
                    table[column].to_numpy() if is_number else table[column].fillna("").astype(str).tolist(),
                )
        return attributes

    def _derive_timeshift(self, stack_pos: np.ndarray) -> np.ndarray:
        """Time shift of the scan line that each ROI's centre lies on, ``(n_rois,)`` seconds."""
        (dataset,) = self.sources["timeshift"]
        timeshift = load_array(dataset)
        check_dimensions(dataset, timeshift, "lines")
        row = stack_pos[:, 0]
        if len(row) and not (row.min() >= 0 and row.max() < len(timeshift)):
            raise DatasetInconsistentError(
                f"The ROIs of {self.instance['fov_name']} lie on lines {row.min()} to {row.max()}, but "
                f"'{dataset.path}' has the times of {len(timeshift)} lines. They are of different recordings; get them "
                "again, or leave the column out with the option write_roi_timeshift."
            )
        return timeshift[row]

    def _add_activity(
        self,
        nwbfile: NWBFile,
        entries: dict[str, Any],
        segmentations: dict[str, PlaneSegmentation],
        stop: int | None,
    ) -> None:
        """Add the activity that there is; the first series holds the times, the others link to it."""
        timing = series_timing(self.get_timestamps()[:stop])
        fluorescence = get_container(nwbfile, Fluorescence)
        every_roi = list(range(self._n_rois))
        for key, segmentation in segmentations.items():
            for dataset in self.sources[key]:
                values = load_array(dataset, memory_map=True)
                check_dimensions(dataset, values, "frames", "ROIs")
                self._check_rois(dataset, values.shape[1])
                rois = segmentation.create_roi_table_region(description="All ROIs, in order.", region=every_roi)
                series = RoiResponseSeries(
                    **entries[key],
                    data=read_while_written(values[:stop]),
                    rois=rois,
                    comments=self._source_comment(key, "times"),
                    **timing,
                )
                fluorescence.add_roi_response_series(series)
                if "timestamps" in timing:
                    timing = {"timestamps": series}

    def _make_frames(self, texts: dict[str, Any], stop: int | None) -> list[DynamicTable]:
        """Table of what is wrong with each frame."""
        columns = [
            VectorData(name=key, description=texts["columns"][key], data=load_array(dataset).reshape(-1)[:stop])
            for key in ("bad_frames", "frame_qc")
            for dataset in self.sources[key]
        ]
        if not columns:
            return []
        comment = self._source_comment("bad_frames", "frame_qc", "frame_qc_names")
        table = DynamicTable(name=texts["name"], description=f"{texts['description']} {comment}.", columns=columns)
        if self.sources["frame_qc"]:
            for dataset in self.sources["frame_qc_names"]:
                meanings = _load_meanings(dataset, "qc_values", "qc_labels")
                table.add_meanings_table(make_meanings(table["frame_qc"], meanings))
        return [table]

    def _make_scan_lines(self, texts: dict[str, Any]) -> list[DynamicTable]:
        return [
            DynamicTable(
                name=texts["name"],
                description=f"{texts['description']} {self._source_comment('timeshift')}.",
                columns=[
                    VectorData(name="timeshift", description=texts["columns"]["timeshift"], data=load_array(dataset))
                ],
            )
            for dataset in self.sources["timeshift"]
        ]

    def _make_mean_images(self, entry: dict[str, str]) -> list[GrayscaleImage]:
        """The mean image, one for each channel where there are several."""
        images: list[GrayscaleImage] = []
        for dataset in self.sources["mean_image"]:
            values = load_array(dataset)
            channels = values[..., np.newaxis] if values.ndim == 2 else values
            check_dimensions(dataset, channels, "rows", "columns", "channels")
            for index, image in enumerate(np.moveaxis(channels, -1, 0)):
                name = entry["name"] + (f"Channel{index}" if index else "")
                images.append(make_image({**entry, "name": name}, image, self._source_comment("mean_image")))
        return images

    def _make_anatomy(self, texts: dict[str, Any]) -> list[Images]:
        """Images of where in the brain each pixel is."""
        images = []
        for suffix in ("", _ESTIMATE):
            for dataset in self.sources[f"pixel_mlapdv{suffix}"]:
                values = load_array(dataset)
                check_dimensions(dataset, values, "rows", "columns", "3")
                for index, axis in enumerate(("ml", "ap", "dv")):
                    images.append(self._make_anatomical_image(texts, axis, suffix, values[..., index], "pixel_mlapdv"))
            for dataset in self.sources[f"pixel_regions{suffix}"]:
                values = load_array(dataset)
                check_dimensions(dataset, values, "rows", "columns")
                images.append(self._make_anatomical_image(texts, "brain_location_id", suffix, values, "pixel_regions"))
        if not images:
            return []
        return [Images(name=texts["name"], description=texts["description"], images=images)]

    def _make_anatomical_image(
        self, texts: dict[str, Any], name: str, suffix: str, values: np.ndarray, key: str
    ) -> GrayscaleImage:
        description = f"{texts['images'][name]} {texts['origin' + suffix]}"
        source = self._source_comment(f"{key}{suffix}")
        return make_image({"name": f"{name}{suffix}", "description": description}, values, source)

    def _add_imaging_meta(self, nwbfile: NWBFile, texts: dict[str, Any]) -> None:
        """Add what the microscope says of each bout of imaging, unless another field of view has done so."""
        for dataset in self.sources["raw_imaging_meta"]:
            name = texts["name"] + camel_case(dataset.collection.removeprefix("raw_imaging_data"))
            if name not in nwbfile.analysis:
                source = f"Source: {dataset.alf_path}"
                nwbfile.add_analysis(make_value_table({**texts, "name": name}, load_json(dataset), source))

    def _default_metadata(self) -> dict[str, Any]:
        metadata = super()._default_metadata()
        metadata["Ophys"]["ImagingPlanes"][self.metadata_key]["location"] = self._region()
        return metadata

    def _region(self) -> str:
        """Acronym of the area (Beryl) that most ROIs are in; histology goes before the estimate."""
        found = {_column_name(dataset): dataset for dataset in self.sources["roi_arrays"]}
        for suffix in ("", _ESTIMATE):
            dataset = found.get(f"brain_location_ids_ccf_2017{suffix}")
            if dataset is not None:
                areas = Counter(region_acronyms(load_array(dataset).reshape(-1), "Beryl").tolist()).most_common()
                return next((area for area, _ in areas if area not in (UNKNOWN, "void", "root")), UNKNOWN)
        return UNKNOWN


def _column_name(dataset: Dataset) -> str:
    """``mpciROIs.mlapdv_estimate.npy`` to ``mlapdv_estimate``."""
    return snake_case("_".join(filter(None, (dataset.attribute, dataset.timescale, dataset.extra))))


def _load_meanings(dataset: Dataset, codes: str, labels: str) -> dict[str, str]:
    """Labels by code, of a table with one row for each code."""
    table = load_table(dataset)
    missing = {codes, labels} - set(table.columns)
    if missing:
        raise DatasetInconsistentError(
            f"'{dataset.path}' lacks the columns {', '.join(sorted(missing))}; it has {', '.join(table.columns)}. Get "
            "the file again, or leave the imaging out with --exclude."
        )
    return dict(zip(map(str, table[codes]), map(str, table[labels]), strict=True))
