"""Probes as the rig of 2019 and 2020 described them: model, serial number and planned trajectory of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from hdmf.common import DynamicTable, VectorData
from neuroconv import BaseDataInterface
from pynwb import NWBFile

from ..errors import DatasetUnreadableError
from ..session import Dataset, load_json
from .base import ALFDataset, CollectionInterface, snake_case


class ProbeDescriptionsInterface(CollectionInterface, BaseDataInterface):
    """The ALF object ``probes``: JSON lists with one object per probe.

    Each list becomes a table in ``/analysis``, one row per probe and one column per key; what an object lacks is NaN or
    an empty text. Alyx replaced these files: where there is an Alyx record, its tables of insertions and trajectories
    are the better source.
    """

    display_name = "IBL probe descriptions"
    keywords = ("extracellular electrophysiology", "Neuropixels", "probe trajectory")
    associated_suffixes = (".json",)
    info = "Interface for model, serial number and trajectory of the probes of an IBL session."

    family = "ProbeDescriptions"
    collections = ("alf", "")
    datasets = (
        # Either of them will do.
        ALFDataset("any", ("probes.trajectory.json", "probes.description.json"), required=True),
        ALFDataset("trajectory", ("probes.trajectory.json",)),
        ALFDataset("description", ("probes.description.json",)),
    )

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None) -> None:
        """
        Add the tables to the analysis of an NWB file.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "ProbeDescriptions". Default: those of :meth:`get_metadata`.

        Raises
        ------
        DatasetUnreadableError
            If a file is no list of JSON objects.
        """
        entry = self._get_entry(metadata, "ProbeDescriptions")
        for key, block in (("trajectory", "Trajectories"), ("description", "Descriptions")):
            for dataset in self.sources[key]:
                texts = entry[block]
                columns = [
                    VectorData(name=name, description=texts["columns"].get(name, entry["undescribed"]), data=data)
                    for name, data in _read_columns(dataset).items()
                ]
                description = f"{texts['description']} {self._source_comment(key)}."
                nwbfile.add_analysis(DynamicTable(name=texts["name"], description=description, columns=columns))


def _read_columns(dataset: Dataset) -> dict[str, np.ndarray | list[str]]:
    """Columns of a list of JSON objects: numbers as float64, anything else as text."""
    rows = load_json(dataset)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DatasetUnreadableError(
            f"'{dataset.path}' cannot be read as descriptions of probes: it is no list of JSON objects, one per probe. "
            "The file is damaged or not of this kind; get it again, or leave it out with --exclude ProbeDescriptions."
        )
    keys = dict.fromkeys(key for row in rows for key in row)
    return {snake_case(key): _column([row.get(key) for row in rows]) for key in keys}


def _column(values: list[Any]) -> np.ndarray | list[str]:
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return ["" if value is None else str(value) for value in values]
