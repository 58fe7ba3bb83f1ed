"""Ambient sensors: temperature, air pressure and humidity at the rig, read once per trial."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import numpy as np
from hdmf.common import DynamicTable
from neuroconv import BaseDataInterface
from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile, TimeSeries
from pynwb.core import VectorData

from ..errors import DatasetUnreadableError
from ..session import ALFSession, Dataset
from .base import (
    STUB_LENGTH,
    ALFDataset,
    CollectionInterface,
    camel_case,
    load_metadata_file,
    snake_case,
    substitute,
)
from .task_collections import find_of_same_task


class AmbientSensorsInterface(CollectionInterface, BaseDataInterface):
    """Readings of the ambient sensors: ``_iblrig_ambientSensorData.raw.jsonable``, one JSON object per trial.

    The readings have no times. The rig takes one after each trial, so where there are as many as trials in the
    session's table of the same task, they become series in ``processing/behavior`` with the ends of the trials for
    times. Where the numbers differ, because trials are missing from the table, nothing tells which trial a reading
    belongs to: they become one table in the order of the rig's trials. Lines of the file that are damaged become NaN.
    """

    display_name = "IBL ambient sensors"
    keywords = ("environment", "temperature", "air pressure", "humidity")
    associated_suffixes = (".jsonable",)
    info = "Interface for the ambient sensors of the rig of an IBL session."

    family = "AmbientSensors"
    datasets = (
        ALFDataset("readings", ("ambientSensorData.raw.jsonable",), required=True),
        ALFDataset("trials", ("trials.table.pqt", "trials.intervals.npy"), ("alf", "alf/task_*", ""), support=True),
    )
    collections = ("raw_behavior_data", "raw_task_data_*")

    @classmethod
    def select_datasets(cls, session: ALFSession, instance: dict[str, str]) -> dict[str, list[Dataset]]:
        """As in the base class; the trials are those of the same task."""
        selected = super().select_datasets(session, instance)
        # The base class takes the first folder that has trials, which may be that of another task.
        (declared,) = (declared for declared in cls.datasets if declared.key == "trials")
        selected["trials"] = find_of_same_task(session, declared.names, declared.collections, instance["collection"])
        return selected

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the readings to an NWB file, in the processing module "behavior".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "AmbientSensors". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 readings only.
        """
        entry = self._get_entry(metadata, "AmbientSensors")
        stop = STUB_LENGTH if stub_test else None
        timestamps = self._trial_ends()
        objects = self._make_table(entry, stop) if timestamps is None else self._make_series(entry, timestamps, stop)
        get_module(nwbfile, name="behavior", description="processed behavioral data").add(objects)

    @cached_property
    def _readings(self) -> dict[str, np.ndarray]:
        """Readings by key of the file, ``(n,)`` float64 each, NaN where a line is damaged or lacks the key."""
        (dataset,) = self.sources["readings"]
        lines = dataset.path.read_text(encoding="utf-8", errors="replace").splitlines()
        rows = [_read_line(line) for line in lines if line.strip()]
        keys = list(dict.fromkeys(key for row in rows if row is not None for key in row))
        if not keys:
            raise DatasetUnreadableError(
                f"'{dataset.path}' cannot be read as readings of sensors: none of its {len(rows)} lines is a JSON "
                "object of numbers. The file is damaged or incomplete; get it again."
            )
        damaged = sum(row is None for row in rows)
        if damaged:
            self.notes.append(
                f"{damaged} of {len(rows)} lines of '{dataset.relative_path}' are damaged and became NaN."
            )
        return {key: np.array([(row or {}).get(key, np.nan) for row in rows], dtype=np.float64) for key in keys}

    @property
    def _n_readings(self) -> int:
        return len(next(iter(self._readings.values())))

    def _trial_ends(self) -> np.ndarray | None:
        """Ends of the trials, ``(n,)`` seconds on the session clock, if there are as many as readings."""
        for dataset in self.sources["trials"]:
            intervals = self.session.load_object("trials", collection=dataset.collection, attributes=("intervals",))[
                "intervals"
            ]
            ends = intervals[:, 1]
            if len(ends) == self._n_readings and np.isfinite(ends).all() and (np.diff(ends) >= 0).all():
                return ends
            self.notes.append(
                f"'{self.sources['readings'][0].relative_path}' holds {self._n_readings} readings and "
                f"'{dataset.relative_path}' {len(ends)} trials: the times of the readings are not known."
            )
        return None

    def _make_series(self, entry: dict[str, Any], timestamps: np.ndarray, stop: int | None) -> list[TimeSeries]:
        """One series per sensor, which share their times."""
        comments = f"Times are the ends of the trials. {self._source_comment('readings', 'trials')}"
        series: list[TimeSeries] = []
        for key, values in self._readings.items():
            texts = {name: text for name, text in entry["series"][key].items() if name != "column"}
            times = series[0] if series else timestamps[:stop]
            series.append(TimeSeries(**texts, data=values[:stop], timestamps=times, comments=comments))
        return series

    def _make_table(self, entry: dict[str, Any], stop: int | None) -> list[DynamicTable]:
        """One table of all sensors, in the order of the rig's trials."""
        columns = [
            VectorData(
                name=entry["series"][key]["column"],
                description=f"{entry['series'][key]['description']} {entry['table']['units'].get(key, '')}".strip(),
                data=values[:stop],
            )
            for key, values in self._readings.items()
        ]
        texts = entry["table"]
        description = f"{texts['description']} {self._source_comment('readings')}."
        return [DynamicTable(name=texts["name"], description=description, columns=columns)]

    def _default_metadata(self) -> dict[str, Any]:
        texts = load_metadata_file(self.family)
        series = {}
        for key in self._readings:
            names = {"label": self.label, "key": key, "Key": camel_case(key)}
            series[key] = {"column": snake_case(key), **substitute(texts["series"].get(key, texts["other"]), names)}
        table = substitute(texts["table"], {"label": self.label})
        return {"AmbientSensors": {self.metadata_key: {"series": series, "table": table}}}


def _read_line(line: str) -> dict[str, float] | None:
    """Readings by key, each of which the rig wrote as a list of one; None where the line is damaged."""
    try:
        content = json.loads(line)
        return {str(key): float(np.squeeze(value)) for key, value in content.items()}
    except (ValueError, TypeError, AttributeError):  # not JSON, not an object, or not of one number each
        return None
