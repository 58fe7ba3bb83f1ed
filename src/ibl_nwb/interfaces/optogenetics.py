"""Optogenetics: when the light was on."""

from __future__ import annotations

from typing import Any

import numpy as np
from neuroconv import BaseDataInterface
from neuroconv.tools.nwb_helpers import _add_device_to_nwbfile
from neuroconv.utils import dict_deep_update
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile
from pynwb.core import VectorData
from pynwb.epoch import TimeIntervals
from pynwb.ogen import OptogeneticSeries, OptogeneticStimulusSite

from ..errors import DatasetInconsistentError, UsageError
from .base import STUB_LENGTH, ALFDataset, ALFInterface, load_metadata_file, snake_case, substitute

#: ALF objects of the projects with optogenetics.
_OBJECTS = ("laserStimulation", "optoStimulation")


class OptogeneticsInterface(ALFInterface, BaseDataInterface):
    """The stimulation intervals of projects with optogenetics: ``laserStimulation`` and ``optoStimulation``.

    Each object becomes a table of intervals with the values as stored, NaN included: IBL's extraction gives one row per
    trial, NaN where the light stayed off. What the trials themselves say of the laser (``trials.laserStimulation``,
    ``laserProbability``, ``laserIntervals``) are columns of the trials and not repeated here.

    Beside it, the light switched on and off is an OptogeneticSeries with a stimulus site, where readers of NWB look for
    optogenetics. IBL's files give neither power nor wavelength nor location: power is NaN while the light is on,
    wavelength NaN and location "unknown", until the metadata give them.
    """

    display_name = "IBL optogenetics"
    keywords = ("optogenetics", "stimulation", "laser")
    associated_suffixes = (".npy",)
    info = "Interface for the optogenetic stimulation of an IBL session."

    family = "Optogenetics"
    datasets = (
        # Any one of them will do.
        ALFDataset("any", tuple(f"{name}.intervals.npy" for name in _OBJECTS), required=True),
        *(ALFDataset(name, (f"{name}.*.npy",)) for name in _OBJECTS),
    )

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
        Open the optogenetic stimulation of one task.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        collection : str, optional
            Collection of the datasets, e.g. "alf/task_00". Default: the first that has them.
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, collection=collection)
        super().__init__(verbose=verbose, session_path=session_path, collection=collection, revision=revision)
        self._objects = {name: self._load_object(name) for name in _OBJECTS if self.sources[name]}

    def get_metadata_schema(self) -> dict:
        """JSON schema of the metadata, what IBL's files do not give included."""
        schema = super().get_metadata_schema()
        objects = schema["properties"]["Optogenetics"]["properties"][self.metadata_key]["properties"]
        for entry in objects.values():
            entry["properties"]["Site"]["properties"]["excitation_lambda"] = {"type": "number"}
            entry["properties"]["Series"]["properties"]["power_in_watts"] = {"type": "number"}
        return schema

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the stimulation: a table in ``/intervals``, a site, and a series in ``/stimulus/presentation``.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the blocks "Optogenetics" and "Devices", on top of those of :meth:`get_metadata`;
            also ``Site.excitation_lambda`` (nm) and ``Series.power_in_watts``.
        stub_test : bool, default: False
            Write the first 100 rows only.

        Raises
        ------
        UsageError
            If the file has a table of that name already.
        """
        merged = dict_deep_update(self._default_metadata(), metadata or {}, append_list=False, remove_repeats=False)
        self.notes = []
        for name, values in self._objects.items():
            entry = merged["Optogenetics"][self.metadata_key][name]
            values = {attribute: data[: STUB_LENGTH if stub_test else None] for attribute, data in values.items()}
            self._add_intervals(nwbfile, entry["Intervals"], name, values)
            if np.isfinite(values["intervals"]).all(axis=1).any():
                self._add_series(nwbfile, merged, entry, name, values["intervals"])
            else:  # an empty series, and a site without one, are against NWB's practice
                self.notes.append(f"The light was never on by {name}.intervals; there is no series of its power.")

    def _load_object(self, name: str) -> dict[str, np.ndarray]:
        """Attributes of an ALF object, one row per interval each."""
        if not any(dataset.attribute == "intervals" for dataset in self.sources[name]):
            raise DatasetInconsistentError(
                f"'{self.sources[name][0].path}' belongs to intervals ({name}.intervals.npy) that are not there. Get "
                f"them, or leave the family out with --exclude {self.family}{self.label}."
            )
        values = self.session.load_object(name, collection=self.instance["collection"])
        (dataset,) = (dataset for dataset in self.sources[name] if dataset.attribute == "intervals")
        intervals = values["intervals"]
        if intervals.ndim != 2 or intervals.shape[1] != 2:
            raise DatasetInconsistentError(
                f"'{dataset.path}' has shape {intervals.shape}; it must be an onset and an offset per row."
            )
        backwards = np.flatnonzero(intervals[:, 1] < intervals[:, 0])
        if len(backwards):
            row = int(backwards[0])
            raise DatasetInconsistentError(
                f"'{dataset.path}' holds an interval that ends before it starts: {intervals[row, 0]} s to "
                f"{intervals[row, 1]} s in row {row}. Get the file again, or leave the family out with --exclude "
                f"{self.family}{self.label}."
            )
        return values

    def _add_intervals(self, nwbfile: NWBFile, texts: dict[str, Any], name: str, values: dict[str, np.ndarray]) -> None:
        if texts["name"] in (nwbfile.intervals or {}):
            raise UsageError(
                f"The NWB file already holds a table '{texts['name']}'. Give this one another name in the metadata "
                "(block 'Optogenetics'), or leave out the interface that wrote the other."
            )
        intervals = values["intervals"]
        data = {"start_time": intervals[:, 0], "stop_time": intervals[:, 1]}
        data |= {snake_case(attribute): column for attribute, column in values.items() if attribute != "intervals"}
        columns = [
            VectorData(name=column, description=texts["columns"][column], data=column_values)
            for column, column_values in data.items()
        ]
        description = f"{texts['description']} {self._source_comment(name)}."
        nwbfile.add_time_intervals(TimeIntervals(name=texts["name"], description=description, columns=columns))

    def _add_series(
        self, nwbfile: NWBFile, metadata: dict[str, Any], entry: dict[str, Any], name: str, intervals: np.ndarray
    ) -> None:
        """Add the site and the power of the light there, as far as it is known."""
        site_texts, series_texts = dict(entry["Site"]), dict(entry["Series"])
        device = _add_device_to_nwbfile(nwbfile, metadata=metadata, metadata_key=site_texts.pop("device_metadata_key"))
        wavelength_nm = float(site_texts.pop("excitation_lambda", np.nan))
        site = OptogeneticStimulusSite(**site_texts, device=device, excitation_lambda=wavelength_nm)
        nwbfile.add_ogen_site(site)
        timestamps, power = switch_on_and_off(intervals, float(series_texts.pop("power_in_watts", np.nan)))
        comments = self._source_comment(name)
        nwbfile.add_stimulus(
            OptogeneticSeries(**series_texts, data=power, timestamps=timestamps, site=site, comments=comments)
        )

    def _default_metadata(self) -> dict[str, Any]:
        words = load_metadata_file(self.family)
        devices, entries = {}, {}
        for name, values in self._objects.items():
            known = words["objects"][name]
            device_key = snake_case(known["device"]["name"])
            devices[device_key] = dict(known["device"])
            substitutions = {
                "object": name,
                "Object": name[:1].upper() + name[1:],
                "light": known["light"],
                "label": self.label,
                "device_metadata_key": device_key,
                "attribute": "{attribute}",
            }
            entry = substitute(words["entry"], substitutions)
            other = entry["Intervals"]["columns"].pop("other")
            for attribute in values:
                if attribute != "intervals":
                    entry["Intervals"]["columns"][snake_case(attribute)] = other.format(attribute=attribute)
            entries[name] = entry
        return {"Devices": devices, "Optogenetics": {self.metadata_key: entries}}


def switch_on_and_off(intervals: np.ndarray, power_w: float) -> tuple[np.ndarray, np.ndarray]:
    """Intervals as a step function.

    Parameters
    ----------
    intervals : numpy.ndarray
        ``(n, 2)`` onsets and offsets in seconds, in any order. Rows with NaN are left out.
    power_w : float
        Value while any interval lasts.

    Returns
    -------
    timestamps : numpy.ndarray
        ``(m,)`` seconds, rising.
    power : numpy.ndarray
        ``(m,)`` float64, alternately ``power_w`` and 0: the value from each timestamp on.
    """
    finite = intervals[np.isfinite(intervals).all(axis=1)].astype(np.float64)
    edges = finite.T.ravel()
    changes = np.repeat([1, -1], len(finite))
    order = np.lexsort((-changes, edges))  # at the same time onsets come first, so that no gap appears in between
    is_on = np.cumsum(changes[order]) > 0
    switches = np.flatnonzero(np.diff(is_on, prepend=False))
    return edges[order][switches], np.where(is_on[switches], power_w, 0.0)
