"""Raw task data: what the rig wrote about each trial, the rotary encoder and the stimuli, on the rig's own clocks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hdmf.common import DynamicTable
from neuroconv import BaseDataInterface
from pynwb import NWBFile
from pynwb.core import VectorData

from ..session import Dataset
from .base import STUB_LENGTH, ALFDataset, CollectionInterface, snake_case
from .raw_task_lines import read_columns, read_trials, trial_columns, trial_events, trial_states

#: Entry of the metadata for each kind of file.
_TABLES = {
    "encoder_positions": "EncoderPositions",
    "encoder_events": "EncoderEvents",
    "trial_info": "EncoderTrialInfo",
    "screen_positions": "StimulusScreenPositions",
    "sync_square": "SyncSquareUpdates",
}

_NAMES = {
    "trials": "taskData.raw.jsonable",
    "encoder_positions": "encoderPositions.raw.ssv",
    "encoder_events": "encoderEvents.raw.ssv",
    "trial_info": "encoderTrialInfo.raw.ssv",
    "screen_positions": "stimPositionScreen.raw.csv",
    "sync_square": "syncSquareUpdate.raw.csv",
}


class RawTaskDataInterface(CollectionInterface, BaseDataInterface):
    """What the rig wrote down during one task: state machine, rotary encoder and stimuli.

    Each file becomes one table in ``/acquisition``, ``taskData`` three: trials, states and events. Any of the files may
    be missing or empty. Nothing is moved to the session clock, which the tables say: times are seconds of the Bpod,
    microseconds of the encoder or the wall clock of the computer that shows the stimuli. What was measured is in the
    trials and the wheel, on the session clock; here are also the states of the task, the position and the phase of the
    stimulus.

    Both layouts of the encoder's files are known. Lines that cannot be read, as when the rig was switched off while it
    wrote, are left out; table and notes say which.
    """

    display_name = "IBL raw task data"
    keywords = ("task", "Bpod", "rotary encoder", "Bonsai")
    associated_suffixes = (".jsonable", ".ssv", ".csv")
    info = "Interface for the raw task data of an IBL session."

    family = "RawTaskData"
    datasets = (
        # Any one of them will do.
        ALFDataset("any", tuple(_NAMES.values()), required=True),
        *(ALFDataset(key, (name,)) for key, name in _NAMES.items()),
    )
    collections = ("raw_behavior_data", "raw_task_data_*", "raw_passive_data")

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the tables to an NWB file, in ``/acquisition``.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "RawTaskData". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 rows of each table only.

        Raises
        ------
        DatasetInconsistentError
            If the states or events of a trial have something else than numbers for times.
        """
        entry = self._get_entry(metadata, "RawTaskData")
        stop = STUB_LENGTH if stub_test else None
        tables = [table for key in self.sources if key != "any" for table in self._make_tables(entry, key, stop)]
        for table in tables:
            nwbfile.add_acquisition(table)

    def _make_tables(self, entry: dict[str, Any], key: str, stop: int | None) -> list[DynamicTable]:
        if not self.sources[key]:
            return []
        (dataset,) = self.sources[key]
        if key == "trials":
            return self._make_trial_tables(entry, dataset, stop)
        columns, damaged = read_columns(dataset, key)
        remark = self._remark(dataset, damaged, is_empty=not columns)
        texts = entry[_TABLES[key]]
        return [_make_table(texts, columns, self._describe(texts, key, remark), stop)] if columns else []

    def _make_trial_tables(self, entry: dict[str, Any], dataset: Dataset, stop: int | None) -> list[DynamicTable]:
        lines = read_trials(dataset)
        remark = self._remark(dataset, lines.damaged, is_empty=not lines.rows)
        if not lines.rows:
            return []
        texts = entry["TaskData"]
        columns: dict[str, Any] = {"line": lines.numbers}
        descriptions = dict(texts["columns"])
        for path, values in trial_columns(lines.rows).items():
            name = _column_name(path)
            if name.endswith("_time") and isinstance(values[0], str):
                name += "_text"  # readers, the Inspector among them, take a column called so for numbers
            while name in columns:
                name += "_"
            columns[name] = values
            meaning = texts["columns"].get(name, texts["undescribed"])
            descriptions[name] = f"{meaning} ALF: taskData.raw, {'/'.join(path)}."
        described = {**texts, "columns": descriptions}
        tables = [_make_table(described, columns, self._describe(texts, "trials", remark), stop)]
        for name, rows in (("TaskStates", trial_states(lines, dataset)), ("TaskEvents", trial_events(lines, dataset))):
            if rows["line"]:
                tables.append(_make_table(entry[name], rows, self._describe(entry[name], "trials", remark), stop))
        return tables

    def _describe(self, texts: dict[str, Any], key: str, remark: str) -> str:
        return " ".join(filter(None, (texts["description"], remark, f"{self._source_comment(key)}.")))

    def _remark(self, dataset: Dataset, damaged: list[int], *, is_empty: bool) -> str:
        """Sentence about what could not be read of a file; it is noted too."""
        if not damaged and not is_empty:
            return ""
        if is_empty:
            remark = f"'{dataset.relative_path}' has no line that can be read and is not converted."
        else:
            listed = ", ".join(str(line + 1) for line in damaged[:10]) + (", ..." if len(damaged) > 10 else "")
            listed += f" ({len(damaged)} in all)"
            remark = f"Lines of '{dataset.relative_path}' that cannot be read are left out: {listed}."
        if remark not in self.notes:
            self.notes.append(remark)
        return remark


def _make_table(
    texts: dict[str, Any], columns: Mapping[str, Sequence], description: str, stop: int | None
) -> DynamicTable:
    return DynamicTable(
        name=texts["name"],
        description=description,
        columns=[
            VectorData(name=name, description=texts["columns"][name], data=np.asarray(values[:stop]))
            for name, values in columns.items()
        ],
    )


def _column_name(path: tuple[str, ...]) -> str:
    """``("behavior_data", "Trial start timestamp")`` to ``behavior_data.trial_start_timestamp``."""
    return ".".join(re.sub(r"[\s/:]+", "_", snake_case(key)) for key in path)
