"""Passive period: its parts, the replayed stimuli, the Gabor patches and the frames of the receptive field mapping."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import numpy as np

from ..errors import DatasetUnreadableError
from .columns import compare_columns, compare_series
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, load_array, load_table
from .timing import compare_times
from .verification import Verification, instance_label, left_out, metadata_key

_COLLECTIONS = ("alf", "alf/task_*", "")
_PERIODS, _SPONTANEOUS = "passivePeriods.intervalsTable.csv", "spontaneous.intervals.npy"
_REPLAY = ("passiveStims.table.pqt", "passiveStims.table.csv")
_GABOR = ("passiveGabor.table.pqt", "passiveGabor.table.csv")
_FRAME_TIMES, _FRAMES = "passiveRFM.times.npy", "RFMapStim.raw.bin"
_FRAME_COLLECTIONS = ("raw_passive_data", "raw_task_data_*", "raw_behavior_data")

#: Squares of a frame along x and y.
_SQUARES = (15, 15)


def check_passive(verification: Verification) -> Iterator[Comparison]:
    """Compare everything of the passive period of every collection."""
    names = (_PERIODS, *_REPLAY, *_GABOR, _FRAME_TIMES, _SPONTANEOUS)
    collections = verification.folder.collections(names, _COLLECTIONS)
    for collection in collections:
        label = instance_label(collections, collection)
        folder = verification.folder_of(f"Passive{label}")
        files = [file for name in names if (file := folder.first(name, collection))]
        if verification.was_left_out(f"Passive{label}", files):
            yield from (left_out(file, "intervals") for file in files)
            continue
        passive = _Passive(verification, folder, collection, label)
        yield from passive.check_periods()
        yield from passive.check_replay()
        yield from passive.check_gabor()
        yield from passive.check_spontaneous()
        yield from passive.check_frames()


class _Passive:
    """One passive period and its objects in the file."""

    def __init__(self, verification: Verification, folder: SourceFolder, collection: str, label: str):
        self._verification, self._nwb = verification, verification.nwb
        self._folder, self._collection, self._label = folder, collection, label

    def _named(self, default: str, *place: str) -> str:
        key = metadata_key(f"Passive{self._label}")
        return str(self._verification.stated(default, "Passive", key, *place, "name"))

    def check_periods(self) -> Iterator[Comparison]:
        """Rows of the epochs, by start; those that were skipped, which have none, are last."""
        file = self._folder.first(_PERIODS, self._collection)
        if file is None:
            return
        default = f"passive_periods_{metadata_key(self._label)}" if self._label else "epochs"
        table = f"intervals/{self._named(default, 'Periods')}"
        header, *lines = _read_csv(file)
        bounds = {line[0]: np.array([_number(text) for text in line[1:]]) for line in lines}
        order = np.argsort(bounds["start"], kind="stable")
        columns = {
            f"{bound}_time": (f"{file.relative_path}:{bound}", bounds[bound][order]) for bound in ("start", "stop")
        }
        periods = np.array(header[1:], dtype=object)[order]
        yield from compare_columns(self._nwb, table, columns | {"period": (f"{file.relative_path}:names", periods)})

    def check_replay(self) -> Iterator[Comparison]:
        """One table per kind of stimulus, without the padding at the end."""
        file = self._folder.first(_REPLAY, self._collection)
        if file is None:
            return
        source = _read_columns(file)
        kinds = [name[:-2] for name in source if name.endswith("On") and f"{name[:-2]}Off" in source]
        for kind in kinds:
            name = self._named(f"PassiveReplay{kind[0].upper()}{kind[1:]}{self._label}", "Replay", kind)
            table, dataset = f"intervals/{name}", f"{file.relative_path}:{kind}On, {kind}Off"
            on, off = (source[f"{kind}{bound}"].astype(np.float64) for bound in ("On", "Off"))
            given = np.flatnonzero(np.isfinite(on) | np.isfinite(off))
            if not len(given) and table not in self._nwb:
                yield Comparison(dataset, table, "not verified", "it is empty: all of its rows are padding")
                continue
            n_rows = int(given[-1]) + 1 if len(given) else 0
            columns = {"start_time": (dataset, on[:n_rows]), "stop_time": (dataset, off[:n_rows])}
            yield from compare_columns(self._nwb, table, columns)
        written = {f"{kind}{bound}" for kind in kinds for bound in ("On", "Off")}
        for name in source:
            if name not in written:
                reason = "not converted: it is no onset or offset of a stimulus"
                yield Comparison(f"{file.relative_path}:{name}", "intervals", "not verified", reason)

    def check_gabor(self) -> Iterator[Comparison]:
        """One row per patch."""
        file = self._folder.first(_GABOR, self._collection)
        if file is None:
            return
        columns = {
            {"start": "start_time", "stop": "stop_time"}.get(name, metadata_key(name)): (
                f"{file.relative_path}:{name}",
                values,
            )
            for name, values in _read_columns(file).items()
        }
        table = f"intervals/{self._named(f'PassiveGabor{self._label}', 'Gabor')}"
        yield from compare_columns(self._nwb, table, columns)

    def check_spontaneous(self) -> Iterator[Comparison]:
        """Intervals under the name of 2018."""
        file = self._folder.first(_SPONTANEOUS, self._collection)
        if file is None:
            return
        table = f"intervals/{self._named(f'SpontaneousActivity{self._label}', 'SpontaneousActivity')}"
        starts, stops = load_array(file).T
        columns = {"start_time": (f"{file.relative_path}:0", starts), "stop_time": (f"{file.relative_path}:1", stops)}
        yield from compare_columns(self._nwb, table, columns)

    def check_frames(self) -> Iterator[Comparison]:
        """Frames of the receptive field mapping with their times, or the times alone."""
        times = self._folder.first(_FRAME_TIMES, self._collection)
        if times is None:
            return
        seconds = load_array(times).reshape(-1)
        frames = self._find_frames()
        if frames is None:
            name = self._named(f"PassiveReceptiveFieldFrames{self._label}", "ReceptiveFieldFrameTimes")
            yield from compare_columns(self._nwb, f"events/{name}", {"timestamp": (times.relative_path, seconds)})
            return
        name = self._named(f"PassiveReceptiveFieldStimulus{self._label}", "ReceptiveFieldFrames")
        series = f"stimulus/presentation/{name}"
        pixels = np.memmap(frames.path, dtype=np.uint8, mode="r").reshape(-1, *_SQUARES)
        yield from compare_series(self._nwb, frames.relative_path, series, pixels, "n.a.")
        yield compare_times(self._nwb, times.relative_path, series, seconds)

    def _find_frames(self) -> SourceFile | None:
        """The frames in the raw folder of the same task."""
        number = _task_number(self._collection)
        for file in self._folder.find(_FRAMES, _FRAME_COLLECTIONS):
            if _task_number(file.collection) == number:
                return file
        return None


def _task_number(collection: str) -> str:
    """Number of the task at the end of a folder's name, empty where it has none."""
    return collection.rpartition("_")[2] if re.search(r"task(_data)?_\d+$", collection) else ""


def _read_columns(file: SourceFile) -> dict[str, np.ndarray]:
    """Columns of a table but for an unnamed one that counts the rows."""
    if file.name.endswith(".pqt"):
        table = load_table(file)
        return {str(name): table[name].to_numpy() for name in table.columns}
    header, *lines = _read_csv(file)
    columns = {name: _values([line[place] for line in lines]) for place, name in enumerate(header)}
    if "" in columns and np.array_equal(columns[""], np.arange(len(lines))):
        del columns[""]
    return columns


def _read_csv(file: SourceFile) -> list[list[str]]:
    """Cells of a CSV file as texts, without empty lines."""
    try:
        with file.path.open(newline="", encoding="utf-8") as stream:
            return [line for line in csv.reader(stream) if line]
    except (ValueError, OSError, csv.Error) as error:
        raise DatasetUnreadableError(
            f"The source '{file.path}' cannot be read: {error}. Nothing can be compared with it; get it again."
        ) from error


def _values(texts: list[str]) -> np.ndarray:
    """A column of texts as integers, else numbers, else as it is; an empty cell is not a number."""
    if texts and all(re.fullmatch(r"[+-]?\d+", text) for text in texts):
        return np.array([int(text) for text in texts])
    try:
        return np.array([_number(text) for text in texts])
    except ValueError:
        return np.array(texts, dtype=object)


def _number(text: str) -> float:
    return float(text) if text.strip() else np.nan
