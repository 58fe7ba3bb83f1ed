"""Passive period: what was shown and played after the task while the subject could not answer."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from neuroconv import BaseDataInterface
from pynwb import NWBFile
from pynwb.core import VectorData
from pynwb.epoch import TimeIntervals
from pynwb.event import EventsTable, TimestampVectorData
from pynwb.image import ImageSeries

from ..errors import DatasetInconsistentError, UsageError
from ..session import ALFSession, Dataset, load_array, load_table
from .base import (
    STUB_LENGTH,
    ALFDataset,
    CollectionInterface,
    check_times,
    load_metadata_file,
    series_timing,
    snake_case,
    substitute,
)
from .meanings import make_meanings
from .task_collections import find_of_same_task

#: Squares of a frame of the receptive field mapping, along x and y (ibllib, passive_stim_meta.json).
FRAME_SHAPE = (15, 15)

_TABLES = ("passivePeriods.intervalsTable.csv", "passiveStims.table.*", "passiveGabor.table.*", "passiveRFM.times.npy")


class PassiveInterface(CollectionInterface, BaseDataInterface):
    """The passive period: its parts, the replayed stimuli of the task and the receptive field mapping.

    Any of the datasets may be missing; each is written if it is there, in seconds on the session clock.

    ``passivePeriods`` becomes ``intervals/epochs``, one row per period, by start; a skipped one keeps its NaN.
    ``passiveStims`` holds independent columns that are padded with NaN to the length of the longest: each kind of
    stimulus becomes a table of its own and the padding at the end is left out, NaN in between are kept.
    ``passiveGabor`` becomes a table with one row per patch. The frames of the receptive field mapping, in the raw data,
    become an ImageSeries with ``passiveRFM.times``; without them the times become events.
    """

    display_name = "IBL passive period"
    keywords = ("stimulus", "passive", "receptive field", "epochs")
    associated_suffixes = (".csv", ".pqt", ".npy", ".bin")
    info = "Interface for the passive period of an IBL session."

    family = "Passive"
    datasets = (
        # Any one of them will do.
        ALFDataset("any", (*_TABLES, "spontaneous.intervals.npy"), required=True),
        ALFDataset("periods", ("passivePeriods.intervalsTable.csv",)),
        ALFDataset("replay", ("passiveStims.table.pqt", "passiveStims.table.csv")),
        ALFDataset("gabor", ("passiveGabor.table.pqt", "passiveGabor.table.csv")),
        ALFDataset("frame_times", ("passiveRFM.times.npy",)),
        ALFDataset("spontaneous", ("spontaneous.intervals.npy",)),
        ALFDataset("frames", ("RFMapStim.raw.bin",), ("raw_passive_data", "raw_task_data_*", "raw_behavior_data")),
    )

    @classmethod
    def select_datasets(cls, session: ALFSession, instance: dict[str, str]) -> dict[str, list[Dataset]]:
        """As in the base class; the raw frames are those of the same task, and only beside their times."""
        selected = super().select_datasets(session, instance)
        # The base class takes the first raw folder that has frames, which may be that of another task.
        (declared,) = (declared for declared in cls.datasets if declared.key == "frames")
        frames = find_of_same_task(session, declared.names, declared.collections, instance["collection"])
        selected["frames"] = frames if selected["frame_times"] else []
        return selected

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the passive period to an NWB file: tables in ``/intervals``, frames in ``/stimulus/presentation``.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "Passive". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 rows and frames only.

        Raises
        ------
        DatasetInconsistentError
            If a table lacks a column it cannot do without, or there are not as many frames as times.
        """
        entry = self._get_entry(metadata, "Passive")
        stop = STUB_LENGTH if stub_test else None
        makers = {
            "periods": self._make_periods,
            "replay": self._make_replay,
            "gabor": self._make_gabor,
            "spontaneous": self._make_spontaneous,
        }
        tables = [table for key, make in makers.items() if self.sources[key] for table in make(entry, stop)]
        frames = self._make_frames(entry, stop) if self.sources["frame_times"] else None
        for table in tables:
            self._add_intervals(nwbfile, table)
        if isinstance(frames, ImageSeries):
            nwbfile.add_stimulus(frames)
        elif frames is not None:
            nwbfile.add_events_table(frames)

    def _make_periods(self, entry: dict[str, Any], stop: int | None) -> list[TimeIntervals]:
        """The periods by start; the skipped ones, which have none, come last."""
        table = load_table(self.sources["periods"][0])
        texts = entry["Periods"]
        names = table.columns[0]
        rows = table.set_index(names)
        self._check_columns("periods", rows.index, ("start", "stop"))
        rows = rows.loc[["start", "stop"]]
        order = np.argsort(rows.loc["start"].to_numpy(dtype=np.float64), kind="stable")
        values = rows.to_numpy(dtype=np.float64)[:, order]
        periods = [str(rows.columns[column]) for column in order]
        data = {"start_time": values[0], "stop_time": values[1], "period": periods}
        intervals = self._make_intervals(texts, data, "periods")
        column = intervals["period"]
        known = {period: meaning for period, meaning in texts["meanings"].items() if period in periods}
        if known:
            intervals.add_meanings_table(make_meanings(column, known))
        return [intervals]

    def _make_replay(self, entry: dict[str, Any], stop: int | None) -> list[TimeIntervals]:
        """One table per kind of stimulus that was given."""
        table = load_table(self.sources["replay"][0])
        tables = []
        for kind in self._replayed_kinds(table.columns):
            columns = table[[f"{kind}On", f"{kind}Off"]].to_numpy(dtype=np.float64)
            given = np.flatnonzero(~np.isnan(columns).all(axis=1))
            if not len(given):
                path = self.sources["replay"][0].relative_path
                self.notes.append(f"'{path}' holds no replayed stimulus '{kind}': its {len(columns)} rows are padding.")
                continue
            columns = columns[: given[-1] + 1][:stop]
            data = {"start_time": columns[:, 0], "stop_time": columns[:, 1]}
            tables.append(self._make_intervals(entry["Replay"][kind], data, "replay"))
        return tables

    def _make_gabor(self, entry: dict[str, Any], stop: int | None) -> list[TimeIntervals]:
        table = load_table(self.sources["gabor"][0])
        self._check_columns("gabor", table.columns, ("start", "stop"))
        texts = entry["Gabor"]
        described = dict(texts["columns"])
        names = {"start": "start_time", "stop": "stop_time"}
        data, columns = {}, {}
        for column in table.columns:
            if _is_row_number(column, table[column].to_numpy()):
                continue
            name = names.get(column, snake_case(column))
            data[name] = table[column].to_numpy()[:stop]
            columns[name] = described.get(
                column, f"Not described by IBL's documentation. ALF: passiveGabor.table, column {column}."
            )
        return [self._make_intervals({**texts, "columns": columns}, data, "gabor")]

    def _make_spontaneous(self, entry: dict[str, Any], stop: int | None) -> list[TimeIntervals]:
        intervals = load_array(self.sources["spontaneous"][0])
        if intervals.ndim != 2 or intervals.shape[1] != 2:
            raise DatasetInconsistentError(
                f"'{self.sources['spontaneous'][0].path}' has shape {intervals.shape} instead of (n, 2): start and end "
                "of each interval. Get the file again, or leave the passive period out with --exclude."
            )
        data = {"start_time": intervals[:stop, 0], "stop_time": intervals[:stop, 1]}
        return [self._make_intervals(entry["SpontaneousActivity"], data, "spontaneous")]

    def _make_frames(self, entry: dict[str, Any], stop: int | None) -> ImageSeries | EventsTable:
        """The frames with their times, or the times alone."""
        (dataset,) = self.sources["frame_times"]
        times = load_array(dataset).reshape(-1).astype(np.float64)
        check_times(times, dataset)
        if not self.sources["frames"]:
            texts = entry["ReceptiveFieldFrameTimes"]
            column = TimestampVectorData(name="timestamp", description=texts["columns"]["timestamp"], data=times[:stop])
            description = f"{texts['description']} {self._source_comment('frame_times')}."
            return EventsTable(**{**texts, "description": description, "columns": [column]})
        frames = self._load_frames(len(times))
        return ImageSeries(
            **entry["ReceptiveFieldFrames"],
            data=frames[:stop],
            unit="n.a.",
            format="raw",
            comments=self._source_comment("frames", "frame_times"),
            **series_timing(times[:stop]),
        )

    def _load_frames(self, n_times: int) -> np.ndarray:
        """``(f, 15, 15)`` uint8, as IBL's loader shapes them."""
        (dataset,) = self.sources["frames"]
        values = np.fromfile(dataset.path, dtype=np.uint8)
        pixels = int(np.prod(FRAME_SHAPE))
        if len(values) != n_times * pixels:
            raise DatasetInconsistentError(
                f"'{dataset.path}' has {len(values)} bytes, which is not {n_times} frames of {pixels}: as many as "
                f"'{self.sources['frame_times'][0].path}' has times. One of them is truncated or of another session; "
                "get it again, or leave the passive period out with --exclude."
            )
        return values.reshape(-1, *FRAME_SHAPE)

    def _make_intervals(self, texts: dict[str, Any], data: dict[str, Any], *keys: str) -> TimeIntervals:
        columns = [
            VectorData(name=name, description=texts["columns"][name], data=values) for name, values in data.items()
        ]
        description = f"{texts['description']} {self._source_comment(*keys)}."
        return TimeIntervals(name=texts["name"], description=description, columns=columns)

    def _check_columns(self, key: str, found: Any, wanted: tuple[str, ...]) -> None:
        missing = [name for name in wanted if name not in set(found)]
        if missing:
            raise DatasetInconsistentError(
                f"'{self.sources[key][0].path}' lacks {', '.join(missing)}; it has {', '.join(map(str, found))}. Get "
                "the file again, or leave the passive period out with --exclude."
            )

    def _replayed_kinds(self, columns: Any) -> list[str]:
        """Kinds of stimulus that have a column of onsets and one of offsets, e.g. "valve"."""
        kinds = [match[1] for column in columns if (match := re.fullmatch(r"(\w+)On", str(column)))]
        self._check_columns("replay", columns, tuple(f"{kind}Off" for kind in kinds))
        return kinds

    def _default_metadata(self) -> dict[str, Any]:
        block = load_metadata_file(self.family)["Passive"]["{metadata_key}"]
        replay = block["Replay"]
        names = {"label": self.label}
        entry = {name: substitute(texts, names) for name, texts in block.items() if name != "Replay"}
        if self.label:
            entry["Periods"]["name"] = f"passive_periods_{snake_case(self.label)}"
        entry["Replay"] = {}
        if self.sources["replay"]:
            for kind in self._replayed_kinds(load_table(self.sources["replay"][0]).columns):
                entry["Replay"][kind] = substitute(replay, {**names, "kind": kind, "Kind": kind[:1].upper() + kind[1:]})
        return {"Passive": {self.metadata_key: entry}}

    @staticmethod
    def _add_intervals(nwbfile: NWBFile, table: TimeIntervals) -> None:
        existing = nwbfile.epochs if table.name == "epochs" else (nwbfile.intervals or {}).get(table.name)
        if existing is not None:
            raise UsageError(
                f"The NWB file already holds a table '{table.name}'. Give this one another name in the metadata (block "
                "'Passive'), or leave out the interface that wrote the other."
            )
        if table.name == "epochs":
            nwbfile.epochs = table
        else:
            nwbfile.add_time_intervals(table)


def _is_row_number(column: str, values: np.ndarray) -> bool:
    """Whether it is the unnamed first column of a CSV file, which counts the rows."""
    return str(column).startswith("Unnamed:") and np.array_equal(values, np.arange(len(values)))
