"""Fiber photometry: the fluorescence at the tip of each fiber, frame by frame."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from hdmf.common import DynamicTable
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from neuroconv.tools.fiber_photometry import (
    add_fiber_photometry_devices,
    add_fiber_photometry_lab_metadata,
    get_fiber_photometry_table_region,
)
from neuroconv.utils import dict_deep_update
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile
from pynwb.core import VectorData
from pynwb.event import TimestampVectorData

from ..errors import DatasetInconsistentError, UsageError
from ..session import load_table
from .base import (
    STUB_LENGTH,
    ALFDataset,
    ALFInterface,
    AlignableTimes,
    camel_case,
    check_times,
    load_metadata_file,
    series_timing,
    snake_case,
    substitute,
)

if TYPE_CHECKING:
    import pandas

_UNKNOWN = "unknown"

#: Names that the acquisition software gives to regions of interest: with the half of the sensor, G(reen) or R(ed).
_ROI_NAME = re.compile(r"Region\d+[GR]?|[GR]\d+")
_HALVES = {"G": "green", "R": "red"}


@dataclass(frozen=True)
class Light:
    """The frames that were lit alike.

    Attributes
    ----------
    label : str
        CamelCase name, different for every light of a session.
    name, color : str
        What IBL calls it, empty where the file does not say.
    wavelength_nm : float
        0 if no light was on, NaN if several were or the file does not say.
    rows : numpy.ndarray
        ``(n,)`` rows of the signal table.
    """

    label: str
    name: str
    color: str
    wavelength_nm: float
    rows: np.ndarray

    @property
    def is_single(self) -> bool:
        """Whether exactly one light was on."""
        return self.wavelength_nm > 0

    @property
    def description(self) -> str:
        """Name and wavelength."""
        return f"{self.name}, {self.wavelength_nm:g} nm" if self.is_single else self.name or _UNKNOWN


class PhotometryInterface(ALFInterface, AlignableTimes, BaseTemporalAlignmentInterface):
    """Fiber photometry: ``photometry.signal``, whose camera frames are lit by one light after the other.

    The frames of each light become a FiberPhotometryResponseSeries (ndx-fiber-photometry) in ``acquisition``, one
    column for each region of interest; those with no light or several ones too. Where there are fewer such frames than
    regions of interest, as with the first frame, they are in a table: the NWB Inspector takes so short a series for a
    transposed one. Every frame is written, whether or not it is valid or included; a table of all frames in their order
    says so, and another says which fiber and brain region each region of interest is (``photometryROI.locations``).
    Values are raw fluorescence as stored, NaN included.

    Devices, indicators and the FiberPhotometryTable are in the metadata structure of NeuroConv's own fiber photometry
    interfaces. What IBL's files do not say, indicator and hardware, is "unknown" there, and the emission wavelength is
    NaN, until the metadata say more.
    """

    display_name = "IBL fiber photometry"
    keywords = ("fiber photometry", "fluorescence", "neurophotometrics")
    associated_suffixes = (".pqt",)
    info = "Interface for the fiber photometry of an IBL session."

    family = "Photometry"
    datasets = (
        ALFDataset("signal", ("photometry.signal.pqt",), required=True),
        ALFDataset("locations", ("photometryROI.locations.pqt",)),
    )
    collections = ("alf/photometry", "alf")

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        collection: str | None = None,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open the fiber photometry of a session.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        collection : str, optional
            Collection of the datasets, e.g. "alf/photometry". Default: the first that has them.
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        import ndx_fiber_photometry  # noqa: F401  (its types must be known before a file is written or read)

        self._open_session(session_path, revision, collection=collection)
        super().__init__(verbose=verbose, session_path=session_path, collection=collection, revision=revision)

    def get_original_timestamps(self) -> np.ndarray:
        """Times of all frames, whatever the light, ``(n,)`` float64 seconds on the session clock.

        Raises
        ------
        DatasetInconsistentError
            If the times are not finite and rising.
        """
        times = self._signal["times"].to_numpy(dtype=np.float64)
        check_times(times, self.sources["signal"][0])
        return times

    def get_metadata_schema(self) -> dict:
        """JSON schema of the metadata; the block "FiberPhotometry" is as open as NeuroConv leaves it."""
        schema = super().get_metadata_schema()
        schema["properties"]["FiberPhotometry"] = {"type": "object", "additionalProperties": True}
        return schema

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the series and both tables to the acquisition of an NWB file, and the devices that they refer to.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names, descriptions and links in the blocks "Photometry", "FiberPhotometry" and "Devices", on top of those
            of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 frames of each light, and the first 100 rows of the table of frames, only.

        Raises
        ------
        DatasetInconsistentError
            If the times are not finite and rising.
        UsageError
            If the file has a FiberPhotometryTable that was made of other metadata.
        """
        from ndx_fiber_photometry import FiberPhotometryResponseSeries

        merged = dict_deep_update(self._default_metadata(), metadata or {}, append_list=False, remove_repeats=False)
        timestamps, stop = self.get_timestamps(), STUB_LENGTH if stub_test else None
        tables = merged["Photometry"][self.metadata_key]
        table = _add_fiber_photometry_table(nwbfile, merged)
        values = self._signal[self._rois].to_numpy()
        for light in self._lights_of_series:
            entry = dict(merged["FiberPhotometry"][self._series_key(light)])
            row_keys = entry.pop("fiber_photometry_table_region", None)
            if row_keys:
                entry["fiber_photometry_table_region"] = get_fiber_photometry_table_region(
                    fiber_photometry_table=table,
                    table_rows_metadata=merged["FiberPhotometry"]["FiberPhotometryTable"]["rows"],
                    row_metadata_keys=row_keys,
                    description="Fiber, light and detector of each column of the data.",
                )
            rows = light.rows[:stop]
            nwbfile.add_acquisition(
                FiberPhotometryResponseSeries(
                    **{"comments": self._source_comment("signal", "locations"), **entry},
                    data=values[rows],
                    unit="a.u.",
                    **series_timing(timestamps[rows]),
                )
            )
        frames = self._signal.assign(times=timestamps)
        source = self._source_comment("signal")
        nwbfile.add_acquisition(_make_table(tables["Frames"], frames[self._frame_columns][:stop], source))
        if len(self._other_rows):
            others = frames[["times", *self._rois]].iloc[self._other_rows]
            others.insert(0, "frame", self._other_rows)
            nwbfile.add_acquisition(_make_table(tables["OtherFrames"], others, source))
        source = self._source_comment(*(key for key in ("locations", "signal") if self.sources[key]))
        nwbfile.add_acquisition(_make_table(tables["ROIs"], self._locations, source))

    @cached_property
    def _signal(self) -> pandas.DataFrame:
        """The file, one row per frame."""
        (dataset,) = self.sources["signal"]
        table = load_table(dataset)
        table.columns = table.columns.map(str)
        problem = None
        if "times" not in table:
            problem = "lacks the column times"
        elif not len(table):
            problem = "has no rows"
        elif not _find_rois(table, self._stored_locations):
            problem = "has no column of a region of interest, such as Region0G or G0"
        if problem is not None:
            raise DatasetInconsistentError(
                f"'{dataset.path}' {problem}; its columns are {', '.join(table.columns)}. Get the file again, or leave "
                f"the family out with --exclude {self.family}{self.label}."
            )
        return table

    @cached_property
    def _rois(self) -> list[str]:
        """Columns of the signal that are regions of interest, in the order of the file."""
        return _find_rois(self._signal, self._stored_locations)

    @property
    def _frame_columns(self) -> list[str]:
        """Columns of the signal that are not."""
        return [column for column in self._signal.columns if column not in self._rois]

    @property
    def _other_columns(self) -> list[str]:
        """Columns of the table of frames that are in no series."""
        return ["frame", "times", *self._rois]

    @cached_property
    def _stored_locations(self) -> pandas.DataFrame:
        """The file of locations with the names of the regions of interest as first column; no rows without a file."""
        import pandas

        for dataset in self.sources["locations"]:
            table = load_table(dataset)
            if "ROI" not in table:
                table = table.rename_axis("ROI").reset_index()
            table = table.assign(ROI=table["ROI"].map(str)).rename(columns=str)
            if table["ROI"].duplicated().any():
                raise DatasetInconsistentError(
                    f"'{dataset.path}' names a region of interest more than once: {', '.join(table['ROI'])}. Get the "
                    f"file again, or leave the family out with --exclude {self.family}{self.label}."
                )
            return table
        return pandas.DataFrame({"ROI": []}, dtype=str)

    @cached_property
    def _locations(self) -> pandas.DataFrame:
        """What is known of every region of interest: those of the file of locations, then those it does not name."""
        import pandas

        stored = self._stored_locations
        others = pandas.DataFrame({"ROI": [roi for roi in self._rois if roi not in set(stored["ROI"])]}, dtype=str)
        table = pandas.concat([stored, others], ignore_index=True)
        for column in ("fiber", "brain_region"):
            known = table[column] if column in table else pandas.Series(index=table.index, dtype=object)
            table[column] = known.astype(object).where(known.notna(), _UNKNOWN)
        table["series_column"] = [self._rois.index(roi) if roi in self._rois else -1 for roi in table["ROI"]]
        return table

    @cached_property
    def _lights(self) -> list[Light]:
        """The lights by first appearance; frames of one name and wavelength are of one light."""
        keys = [column for column in ("name", "wavelength") if column in self._signal]
        described = self._signal.reset_index(drop=True)
        groups = described.groupby(keys, dropna=False, sort=False).indices.values() if keys else [described.index]
        lights = [self._describe_light(np.sort(np.asarray(rows))) for rows in groups]
        lights.sort(key=lambda light: light.rows[0])
        labels = [light.label for light in lights]
        return [light if labels.count(light.label) == 1 else _with_wavelength_in_label(light) for light in lights]

    @property
    def _lights_of_series(self) -> list[Light]:
        """The lights that have frames enough for a series."""
        return [light for light in self._lights if len(light.rows) >= len(self._rois)]

    @property
    def _other_rows(self) -> np.ndarray:
        """Rows of the frames that are in no series, ``(n,)``, rising."""
        others = [light.rows for light in self._lights if len(light.rows) < len(self._rois)]
        return np.sort(np.concatenate([np.empty(0, dtype=int), *others]))

    def _describe_light(self, rows: np.ndarray) -> Light:
        first = self._signal.iloc[rows[0]]
        name, color = (_text(first.get(column, "")) for column in ("name", "color"))
        wavelength_nm = float(first.get("wavelength", np.nan))
        label = camel_case(name) or (f"{wavelength_nm:g}nm" if np.isfinite(wavelength_nm) else "")
        return Light(label, name, color, wavelength_nm, rows)

    def _series_key(self, light: Light) -> str:
        return "_".join(filter(None, (self.metadata_key, light.label.lower())))

    def _row_key(self, light: Light, roi: str) -> str:
        return f"{self._series_key(light)}_{roi.lower()}"

    def _default_metadata(self) -> dict[str, Any]:
        words = load_metadata_file(self.family)
        entry = words["Photometry"]["{metadata_key}"]
        tables = {
            "Frames": _describe_table(entry["Frames"], self._frame_columns, self.label),
            "ROIs": _describe_table(entry["ROIs"], self._locations.columns, self.label),
        }
        fiber_photometry: dict[str, Any] = {
            self._series_key(light): self._describe_series(light, words["series"]) for light in self._lights_of_series
        }
        if len(self._other_rows):
            tables["OtherFrames"] = _describe_table(entry["OtherFrames"], self._other_columns, self.label)
        lit = [light for light in self._lights_of_series if light.is_single]
        metadata = {"Photometry": {self.metadata_key: tables}, "FiberPhotometry": fiber_photometry}
        if lit:
            fiber_photometry["FiberPhotometryIndicators"] = self._describe_indicators(words["indicator"])
            fiber_photometry["FiberPhotometryTable"] = {
                **words["table"],
                "rows": self._describe_rows(lit, words["row"]),
            }
            metadata["Devices"] = self._describe_devices(lit, words)
        return metadata

    def _describe_series(self, light: Light, words: dict[str, str]) -> dict[str, Any]:
        substitutions = {
            "Light": light.label,
            "light": light.description,
            "label": self.label,
            "rois": ", ".join(self._rois),
        }
        region = [self._row_key(light, roi) for roi in self._rois] if light.is_single else []
        return substitute(words, substitutions) | ({"fiber_photometry_table_region": region} if region else {})

    def _describe_rows(self, lights: list[Light], words: dict[str, str]) -> dict[str, dict[str, Any]]:
        """Rows of the FiberPhotometryTable: one for every light and region of interest."""
        return {
            self._row_key(light, roi): {
                "location": self._where(roi)["brain_region"],
                "excitation_wavelength_in_nm": light.wavelength_nm,
                "indicator_metadata_key": _indicator_key(roi),
                "optical_fiber_metadata_key": _fiber_key(self._where(roi)["fiber"], roi),
                "excitation_source_metadata_key": _led_key(light),
                "photodetector_metadata_key": "photometry_camera",
                **substitute(words, {"roi": roi, "light": light.description}),
            }
            for light in lights
            for roi in self._rois
        }

    def _describe_indicators(self, words: dict[str, str]) -> dict[str, dict[str, str]]:
        return {
            _indicator_key(roi): substitute(words, {"half": _half(roi) or "whole", "Half": _half(roi).capitalize()})
            for roi in self._rois
        }

    def _describe_devices(self, lights: list[Light], words: dict[str, Any]) -> dict[str, dict[str, Any]]:
        devices: dict[str, dict[str, Any]] = {"photometry_camera": dict(words["camera"])}
        for light in lights:
            substitutions = {"wavelength": f"{light.wavelength_nm:g}", "color": light.color or "color unknown"}
            devices[_led_key(light)] = substitute(words["led"], substitutions)
        for roi in self._rois:
            fiber = _fiber_name(self._where(roi)["fiber"], roi)
            texts = substitute(words["fiber"], {"fiber": fiber})
            devices[_fiber_key(self._where(roi)["fiber"], roi)] = {"name": fiber, **texts, "fiber_insertion": {}}
        return devices

    def _where(self, roi: str) -> dict[str, str]:
        """Fiber and brain region of a region of interest."""
        row = self._locations.set_index("ROI").loc[roi]
        return {column: str(row[column]) for column in ("fiber", "brain_region")}


def _find_rois(signal: pandas.DataFrame, locations: pandas.DataFrame) -> list[str]:
    named = set(locations["ROI"])
    return [column for column in signal.columns if column in named or _ROI_NAME.fullmatch(column)]


def _add_fiber_photometry_table(nwbfile: NWBFile, metadata: dict[str, Any]) -> DynamicTable | None:
    """Add the FiberPhotometryTable and all it refers to, once in a file; None if no frame was lit by a single light."""
    described = metadata["FiberPhotometry"]
    if "FiberPhotometryTable" not in described:
        return None
    rows = {
        # A value is required; IBL's files do not give it.
        key: {"emission_wavelength_in_nm": np.nan, **row}
        for key, row in described["FiberPhotometryTable"]["rows"].items()
    }
    described = {**described, "FiberPhotometryTable": {**described["FiberPhotometryTable"], "rows": rows}}
    add_fiber_photometry_devices(nwbfile=nwbfile, metadata={**metadata, "FiberPhotometry": described})
    table = add_fiber_photometry_lab_metadata(
        nwbfile=nwbfile, fiber_photometry_metadata=described, devices_metadata=metadata["Devices"]
    )
    if len(table) != len(rows):
        raise UsageError(
            f"The NWB file already holds a FiberPhotometryTable with {len(table)} rows, made of other metadata than "
            f"these, which describe {len(rows)}. Convert all fiber photometry of a file with one NWBConverter, whose "
            "metadata describe all of it."
        )
    return table


def _make_table(texts: dict[str, Any], table: pandas.DataFrame, source: str) -> DynamicTable:
    columns = []
    for column in table.columns:
        words, values = texts["columns"][column], table[column]
        vector = TimestampVectorData if words["name"] == "timestamp" else VectorData
        data = values.to_numpy() if values.dtype.kind in "bifu" else [_text(value) for value in values]
        columns.append(vector(name=words["name"], description=words["description"], data=data))
    return DynamicTable(name=texts["name"], description=f"{texts['description']} {source}.", columns=columns)


def _describe_table(texts: dict[str, Any], columns: Iterable[str], label: str) -> dict[str, Any]:
    """Name and description of a table, and of the columns that it has."""
    described = texts["columns"]
    return {
        "name": texts["name"].format(label=label),
        "description": texts["description"],
        "columns": {
            column: {
                "name": snake_case(column),
                **substitute(described.get(column, described["other"]), {"column": column}),
            }
            for column in columns
        },
    }


def _with_wavelength_in_label(light: Light) -> Light:
    wavelength = f"{light.wavelength_nm:g}nm" if np.isfinite(light.wavelength_nm) else "NoWavelength"
    return Light(light.label + wavelength, light.name, light.color, light.wavelength_nm, light.rows)


def _half(roi: str) -> str:
    """Half of the sensor that a region of interest is in, as its name says; else empty."""
    letters = re.findall(r"[GR]$|^[GR](?=\d)", roi)
    return _HALVES[letters[0]] if letters else ""


def _indicator_key(roi: str) -> str:
    return "_".join(filter(None, ("photometry_indicator", _half(roi))))


def _led_key(light: Light) -> str:
    return f"photometry_light_{light.wavelength_nm:g}nm"


def _fiber_name(fiber: str, roi: str) -> str:
    """Name of a fiber in ALF, without what NWB does not allow in names."""
    return f"fiber_of_{roi}" if fiber == _UNKNOWN else re.sub(r"[/:]", "_", fiber)


def _fiber_key(fiber: str, roi: str) -> str:
    return f"photometry_{_fiber_name(fiber, roi).lower()}"


def _text(value: Any) -> str:
    """Text of a cell; empty where there is none."""
    return "" if value is None or value != value else str(value)
