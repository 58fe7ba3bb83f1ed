"""Trials: every attribute of the ALF object ``trials``, one row per trial."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from neuroconv import BaseDataInterface
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile
from pynwb.core import VectorData
from pynwb.epoch import TimeIntervals

from ..errors import DatasetInconsistentError, UsageError
from .base import STUB_LENGTH, ALFDataset, ALFInterface, load_metadata_file, snake_case
from .meanings import make_meanings


class TrialsInterface(ALFInterface, BaseDataInterface):
    """The trials of one task: the parquet table, the per-attribute files of older sessions, or a mixture.

    Every attribute becomes a column with the values and the type it is stored with, NaN included. ``intervals`` gives
    the columns ``start_time`` and ``stop_time``. Attributes nobody described become columns all the same. Times are
    ALF's own seconds on the session clock. A session with several tasks gives one table each: the main one is
    ``intervals/trials``, another one is called after its collection, e.g. ``intervals/trials_task_01``.

    ALF does not record the trial number of the rig: trials that could not be aligned are absent from the table.
    """

    display_name = "IBL trials"
    keywords = ("behavior", "trials", "decision making")
    associated_suffixes = (".pqt", ".npy")
    info = "Interface for the trials of an IBL session."

    family = "Trials"
    datasets = (
        ALFDataset("table", ("trials.table.pqt", "trials.intervals.npy"), required=True),
        ALFDataset("attributes", ("trials.*.npy",)),
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
        Open the trials of one task.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        collection : str, optional
            Collection of the trials, e.g. "alf/task_00". Default: the first that has them.
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, collection=collection)
        super().__init__(verbose=verbose, session_path=session_path, collection=collection, revision=revision)
        self._trials = self.session.load_object("trials", collection=self.instance["collection"])
        if "intervals" not in self._trials:
            raise DatasetInconsistentError(
                f"'{self.sources['table'][0].path}' lacks the columns intervals_0 and intervals_1 (start and end "
                f"of each trial); it has {', '.join(self._trials)}. Get the file again, or leave it out with --exclude."
            )

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the trials to an NWB file, as ``intervals/trials`` or, for a further task, as a table of its own.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names, descriptions and meanings in the block "Trials". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 trials only.

        Raises
        ------
        UsageError
            If the file has a table of that name already.
        """
        entry = self._get_entry(metadata, "Trials")
        stop = STUB_LENGTH if stub_test else None
        texts = entry["columns"]
        columns = {
            attribute: VectorData(
                name=texts[attribute]["name"], description=texts[attribute]["description"], data=values[:stop]
            )
            for attribute, values in self._columns().items()
        }
        table = TimeIntervals(name=entry["name"], description=entry["description"], columns=list(columns.values()))
        for attribute, column in columns.items():
            if "meanings" in texts[attribute]:
                table.add_meanings_table(make_meanings(column, texts[attribute]["meanings"]))
        self._add_table(nwbfile, table)

    def _columns(self) -> dict[str, np.ndarray]:
        """Values by ALF attribute, in the order of the YAML file; attributes that are not in it come last."""
        intervals = self._trials["intervals"]
        values = {"intervals_0": intervals[:, 0], "intervals_1": intervals[:, 1], **self._trials}
        del values["intervals"]
        order = list(load_metadata_file(self.family)["columns"])
        return dict(sorted(values.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))

    def _default_metadata(self) -> dict[str, Any]:
        described = load_metadata_file(self.family)["columns"]
        columns = {attribute: _describe_column(attribute, described) for attribute in self._columns()}
        task = self.instance["collection"].removeprefix("alf/").replace("/", "_")
        name = f"trials_{task}" if self.label else "trials"
        text = load_metadata_file(self.family)["description"].format(
            collection=self.instance["collection"] or "the root"
        )
        return {"Trials": {self.metadata_key: {"name": name, "description": text, "columns": columns}}}

    @staticmethod
    def _add_table(nwbfile: NWBFile, table: TimeIntervals) -> None:
        existing = nwbfile.trials if table.name == "trials" else (nwbfile.intervals or {}).get(table.name)
        if existing is not None:
            raise UsageError(
                f"The NWB file already holds a table '{table.name}'. Give this one another name in the metadata "
                "(block 'Trials'), or leave out the interface that wrote the other."
            )
        if table.name == "trials":
            nwbfile.trials = table
        else:
            nwbfile.add_time_intervals(table)


def column_name(attribute: str) -> str:
    """Name of the column for an ALF trials attribute: snake case, ``*_times`` in the singular.

    Parameters
    ----------
    attribute : str
        ALF attribute, e.g. "goCue_times".

    Returns
    -------
    str
        Column name, e.g. "go_cue_time".
    """
    return re.sub(r"_times$", "_time", snake_case(attribute))


def _describe_column(attribute: str, described: dict[str, Any]) -> dict[str, Any]:
    column = dict(described.get(attribute, {"description": "Not described by IBL's documentation."}))
    alf_name = re.sub(r"^intervals_[01]$", "intervals", attribute)
    return {"name": column_name(attribute), **column, "description": f"{column['description']} ALF: trials.{alf_name}."}
