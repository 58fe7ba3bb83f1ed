"""Widefield imaging of the dorsal cortex: frames and light sources, and the components that frames were reduced to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hdmf.common import DynamicTable, ElementIdentifiers
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from pynwb import NWBFile
from pynwb.core import VectorData
from pynwb.image import GrayscaleImage
from pynwb.ophys import (
    DfOverF,
    Fluorescence,
    ImageSegmentation,
    ImagingPlane,
    OnePhotonSeries,
    PlaneSegmentation,
    RoiResponseSeries,
)

from ..errors import DatasetInconsistentError, DatasetMissingError
from ..session import check_equal_lengths, load_array, load_json, load_table
from .base import (
    STUB_LENGTH,
    ALFDataset,
    AlignableTimes,
    CollectionInterface,
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
from .roi_masks import make_no_masks
from .value_rows import make_value_table

#: Wavelength of the light that excites the indicator; the haemodynamic correction leaves the frames of this light
#: (ibllib.io.extractors.widefield).
FUNCTIONAL_WAVELENGTH_NM = 470

#: How many times more than frames there may be, of which the first are used then (IBL's rule).
SURPLUS_TIMES = 2

_RAW = ("raw_widefield_data",)

#: Images of one value for each pixel.
_PIXEL_IMAGES = ("regions", "mask", "mask_atlas")


class WidefieldInterface(CollectionInterface, AlignableTimes, BaseTemporalAlignmentInterface):
    """Widefield imaging: ALF objects ``imaging``, ``widefieldU``, ``widefieldSVT``, ``widefieldChannels``.

    The film is the product of spatial and temporal components: frame = U · SVT. The spatial components are the image
    masks of a PlaneSegmentation, the temporal ones the responses of its "ROIs". ``widefieldSVT.uncorrected`` has every
    frame of all light sources, ``widefieldSVT.haemoCorrected`` the frames of the functional one (470 nm) only, with
    their times. Which light was on is in a table of the frames. The raw film stays a file of its own, to which an
    external ``OnePhotonSeries`` refers.

    Times are ALF's own seconds on the session clock. Where there are one or two more than frames the first are used,
    IBL's rule; more, or fewer times than frames, is an error. Images are in NWB's order: x is the column, y the row.
    """

    display_name = "IBL widefield imaging"
    keywords = ("calcium imaging", "widefield", "one-photon", "dorsal cortex", "singular value decomposition")
    associated_suffixes = (".npy", ".htsv", ".json", ".mov")
    info = "Interface for the widefield calcium imaging of an IBL session."

    family = "Widefield"
    collections = ("alf/widefield",)
    datasets = (
        ALFDataset("times", ("imaging.times.npy", "widefield.times.npy"), required=True),
        ALFDataset("light_source", ("imaging.imagingLightSource.npy",)),
        ALFDataset("light_source_properties", ("imagingLightSource.properties.htsv",)),
        ALFDataset("spatial", ("widefieldU.images.npy",)),
        ALFDataset("spatial_atlas", ("widefieldU.images_atlasTransformed.npy",)),
        ALFDataset("uncorrected", ("widefieldSVT.uncorrected.npy",)),
        ALFDataset("haemo_corrected", ("widefieldSVT.haemoCorrected.npy",)),
        ALFDataset("frame_average", ("widefieldChannels.frameAverage.npy",)),
        ALFDataset("regions", ("widefieldU.brainLocationIds_ccf_2017.npy",)),
        ALFDataset("mask", ("widefieldU.mask.npy",)),
        ALFDataset("mask_atlas", ("subjectWidefieldU.mask_atlasTransformed.npy",)),
        ALFDataset("landmarks", ("widefieldLandmarks.dorsalCortex.json",)),
        ALFDataset("raw_frames", ("imaging.frames.mov", "widefield.raw.mov"), _RAW),
    )

    def get_metadata_schema(self) -> dict:
        """JSON schema of the metadata; NeuroConv's registries stay open to the entries of other interfaces."""
        return open_ophys_registries(super().get_metadata_schema(), self.metadata_key)

    def get_original_timestamps(self) -> np.ndarray:
        """Times of the camera's frames, of all lights, as stored, ``(n_frames,)`` seconds on the session clock."""
        (dataset,) = self.sources["times"]
        times = load_array(dataset).reshape(-1)
        check_times(times, dataset)
        return times

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the imaging to an NWB file: in the processing module "ophys", the raw film in the acquisition.

        Components are read from disk while the file is written.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the blocks "Ophys", "Devices" and "Widefield". Default: those of
            :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 frames only, of all components. All frames of the raw film, which is not in the file,
            have a time.

        Raises
        ------
        DatasetInconsistentError
            If times and frames, or spatial and temporal components, do not go together.
        DatasetMissingError
            If there are corrected components, but not what tells which frames they are of.
        """
        merged = merge_metadata(self._default_metadata(), metadata)
        ophys, entry = merged["Ophys"], merged["Widefield"][self.metadata_key]
        self.notes = []
        stop = STUB_LENGTH if stub_test else None
        plane = add_imaging_plane(nwbfile, merged, self.metadata_key)
        get_ophys_module(nwbfile).add(self._make_frames(entry["Frames"], stop))
        if self.sources["light_source_properties"]:
            get_ophys_module(nwbfile).add(self._make_light_sources(entry["LightSources"]))
        self._add_components(nwbfile, ophys, plane, stop)
        for dataset in self.sources["landmarks"]:
            texts = entry["Landmarks"]
            table = make_value_table(texts, load_json(dataset), self._source_comment("landmarks"))
            get_ophys_module(nwbfile).add(table)
        add_summary_images(nwbfile, self._make_images(ophys["SegmentationImages"][self.metadata_key]))
        for dataset in self.sources["raw_frames"]:
            series = OnePhotonSeries(
                **entry["RawFrames"],
                imaging_plane=plane,
                external_file=[str(dataset.path)],
                format="external",
                timestamps=self.get_timestamps(),
                comments=self._source_comment("raw_frames", "times"),
            )
            nwbfile.add_acquisition(series)

    def _make_frames(self, texts: dict[str, Any], stop: int | None) -> DynamicTable:
        """Table of the camera's frames: their times, and which light was on."""
        keys = {"timestamp": "times", "light_source": "light_source"}
        values = {"timestamp": self.get_timestamps()}
        for dataset in self.sources["light_source"]:
            values["light_source"] = load_array(dataset).reshape(-1)
        lengths = {self.sources[keys[name]][0].relative_path: len(column) for name, column in values.items()}
        check_equal_lengths("imaging", lengths)
        columns = [
            VectorData(name=name, description=texts["columns"][name], data=column[:stop])
            for name, column in values.items()
        ]
        comment = self._source_comment("times", "light_source")
        table = DynamicTable(name=texts["name"], description=f"{texts['description']} {comment}.", columns=columns)
        properties = self._load_light_sources()
        if "light_source" in values and properties is not None:
            meanings = {
                str(channel): ", ".join(f"{name} {value}" for name, value in row.items())
                for channel, row in properties.set_index("channel_id").astype(str).iterrows()
            }
            table.add_meanings_table(make_meanings(table["light_source"], meanings))
        return table

    def _make_light_sources(self, texts: dict[str, Any]) -> DynamicTable:
        properties = self._load_light_sources()
        assert properties is not None
        columns = [
            VectorData(
                name=snake_case(column),
                description=texts["columns"].get(snake_case(column), "Not described by IBL's documentation."),
                data=properties[column].to_numpy()
                if properties[column].dtype.kind in "biuf"
                else properties[column].fillna("").astype(str).tolist(),
            )
            for column in map(str, properties.columns)
        ]
        comment = self._source_comment("light_source_properties")
        return DynamicTable(name=texts["name"], description=f"{texts['description']} {comment}.", columns=columns)

    def _load_light_sources(self) -> pd.DataFrame | None:
        """Properties of the light sources, one row each."""
        for dataset in self.sources["light_source_properties"]:
            table = load_table(dataset)
            missing = {"channel_id", "wavelength"} - set(table.columns)
            if missing:
                raise DatasetInconsistentError(
                    f"'{dataset.path}' lacks the columns {', '.join(sorted(missing))}; it has "
                    f"{', '.join(map(str, table.columns))}. Get the file again, or leave the imaging out with "
                    f"--exclude {self.family}."
                )
            return table
        return None

    def _functional_channels(self) -> list[Any]:
        """Ids of the light source that excites the indicator, none where the session does not say."""
        properties = self._load_light_sources()
        if properties is None:
            return []
        return properties.loc[properties["wavelength"] == FUNCTIONAL_WAVELENGTH_NM, "channel_id"].tolist()

    def _functional_timestamps(self) -> np.ndarray:
        """Times of the frames of the functional light source, ``(m,)`` seconds."""
        channels = self._functional_channels()
        if not channels or not self.sources["light_source"]:
            raise DatasetMissingError(
                f"'{self.sources['haemo_corrected'][0].path}' is of the frames lit with {FUNCTIONAL_WAVELENGTH_NM} nm, "
                f"but which these are is not in '{self.session.path}': it takes imaging.imagingLightSource.npy, and "
                "imagingLightSource.properties.htsv with a source of that wavelength. Add them, or leave the imaging "
                f"out with --exclude {self.family}."
            )
        return self.get_timestamps()[np.isin(load_array(self.sources["light_source"][0]).reshape(-1), channels)]

    def _add_components(self, nwbfile: NWBFile, ophys: dict[str, Any], plane: ImagingPlane, stop: int | None) -> None:
        """Add spatial and temporal components."""
        temporal = {
            key: load_array(dataset, memory_map=True)
            for key in ("uncorrected", "haemo_corrected")
            for dataset in self.sources[key]
        }
        n_components = self._count_components(temporal)
        if n_components is None:
            return
        segmentations = get_container(nwbfile, ImageSegmentation)
        components = self._make_segmentation(
            ophys["PlaneSegmentations"][self.metadata_key], plane, n_components, "spatial"
        )
        segmentations.add_plane_segmentation(components)
        if self.sources["spatial_atlas"]:
            texts = ophys["PlaneSegmentations"][f"{self.metadata_key}_atlas"]
            segmentations.add_plane_segmentation(self._make_segmentation(texts, plane, n_components, "spatial_atlas"))
        responses = ophys["RoiResponses"][self.metadata_key]
        for key, kind, name in (("uncorrected", Fluorescence, "raw"), ("haemo_corrected", DfOverF, "dff")):
            if key in temporal:
                series = self._make_response(responses[name], key, temporal[key], components, stop)
                get_container(nwbfile, kind).add_roi_response_series(series)

    def _count_components(self, temporal: dict[str, np.ndarray]) -> int | None:
        """Number of components, which all datasets must have, None without any."""
        counts = {}
        for key, values in temporal.items():
            check_dimensions(self.sources[key][0], values, "components", "frames")
            counts[self.sources[key][0].relative_path] = values.shape[0]
        for key in ("spatial", "spatial_atlas"):
            for dataset in self.sources[key]:
                images = load_array(dataset, memory_map=True)
                check_dimensions(dataset, images, "rows", "columns", "components")
                counts[dataset.relative_path] = images.shape[2]
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{path}: {count}" for path, count in counts.items())
            raise DatasetInconsistentError(
                f"The widefield datasets have different numbers of components ({listed}). They are of different "
                f"decompositions; get them again, or leave the imaging out with --exclude {self.family}."
            )
        return next(iter(counts.values()), None)

    def _make_segmentation(
        self, texts: dict[str, Any], plane: ImagingPlane, n_components: int, key: str
    ) -> PlaneSegmentation:
        """One row for each component, with its image where the session has it."""
        columns: list[VectorData] = [
            VectorData(
                name="image_mask",
                description=texts["columns"]["image_mask"],
                data=read_while_written(load_array(dataset, memory_map=True).T),
            )
            for dataset in self.sources[key]
        ]
        if not columns:
            columns = make_no_masks(n_components)
            self.notes.append("The spatial components of the widefield imaging are not in the session.")
        return PlaneSegmentation(
            name=texts["name"],
            description=f"{texts['description']} {self._source_comment(key)}.",
            imaging_plane=plane,
            id=ElementIdentifiers(name="id", data=np.arange(n_components)),
            columns=columns,
            colnames=[columns[0].name],
        )

    def _make_response(
        self,
        entry: dict[str, str],
        key: str,
        values: np.ndarray,
        components: PlaneSegmentation,
        stop: int | None,
    ) -> RoiResponseSeries:
        timestamps = self.get_timestamps() if key == "uncorrected" else self._functional_timestamps()
        n_frames = values.shape[1]
        surplus = len(timestamps) - n_frames
        (dataset,) = self.sources[key]
        if not 0 <= surplus <= SURPLUS_TIMES:
            raise DatasetInconsistentError(
                f"'{dataset.path}' is of {n_frames} frames, for which there are {len(timestamps)} times in "
                f"'{self.sources['times'][0].path}'. Which frame is whose cannot be told; get both files again, or "
                f"leave the imaging out with --exclude {self.family}."
            )
        comments = self._source_comment(key, "times", *(("light_source",) if key == "haemo_corrected" else ())) + "."
        if surplus:
            note = (
                f"{dataset.relative_path} is of {n_frames} frames and there are {len(timestamps)} times; the first "
                f"{n_frames} were used (IBL's rule)."
            )
            self.notes.append(note)
            comments += f" {note}"
        rois = components.create_roi_table_region(
            description="All components, in order.", region=list(range(values.shape[0]))
        )
        return RoiResponseSeries(
            **entry,
            data=read_while_written(values.T[:stop]),
            rois=rois,
            comments=comments,
            **series_timing(timestamps[:n_frames][:stop]),
        )

    def _make_images(self, entries: dict[str, dict[str, str]]) -> list[GrayscaleImage]:
        """Averages of the frames of each channel, and images of one value for each pixel."""
        images = []
        for dataset in self.sources["frame_average"]:
            averages = load_array(dataset)
            check_dimensions(dataset, averages, "channels", "rows", "columns")
            entry = entries["mean"]
            for index, average in enumerate(averages):
                named = {**entry, "name": f"{entry['name']}{index}"}
                images.append(make_image(named, average, self._source_comment("frame_average")))
        for key in _PIXEL_IMAGES:
            for dataset in self.sources[key]:
                image = load_array(dataset)
                check_dimensions(dataset, image, "rows", "columns")
                images.append(make_image(entries[key], image, self._source_comment(key)))
        return images

    def _default_metadata(self) -> dict[str, Any]:
        metadata = super()._default_metadata()
        if self._functional_channels():
            plane = metadata["Ophys"]["ImagingPlanes"][self.metadata_key]
            plane["excitation_lambda"] = float(FUNCTIONAL_WAVELENGTH_NM)
        return metadata
