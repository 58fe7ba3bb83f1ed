"""Raw task data: the trials, states and events of the Bpod, and what encoder and stimulus computer wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from .comparing import compare, compare_arrays
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile
from .verification import Verification, instance_label, left_out

_COLLECTIONS = ("raw_behavior_data", "raw_task_data_*", "raw_passive_data")
_TASK_DATA = "taskData.raw.jsonable"

_INTEGER, _NUMBER = r"(-?\d+)", r"([-+.\dEeNna]+)"
_PC_TIME = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*)"

#: Table of each file, and its layouts: the line as a regular expression and the columns of its groups.
_LAYOUTS: dict[str, tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "encoderPositions.raw.ssv": (
        "EncoderPositions",
        (
            (rf"(?:Position )?{_INTEGER} {_INTEGER}", ("encoder_time", "position")),
            (rf"(?:Position )?{_INTEGER} {_INTEGER} {_PC_TIME}", ("encoder_time", "position", "pc_clock")),
        ),
    ),
    "encoderEvents.raw.ssv": (
        "EncoderEvents",
        (
            (rf"(?:Event )?{_INTEGER} (?:StateMachine )?{_INTEGER}", ("encoder_time", "event")),
            (rf"(?:Event )?{_INTEGER} (?:StateMachine )?{_INTEGER} {_PC_TIME}", ("encoder_time", "event", "pc_clock")),
        ),
    ),
    "encoderTrialInfo.raw.ssv": (
        "EncoderTrialInfo",
        tuple(
            (
                " ".join([_INTEGER, *[_NUMBER] * (6 + len(phase)), _PC_TIME]),
                (
                    *("trial", "initial_position", "contrast", "spatial_frequency", "angle", "gain", "sigma"),
                    *phase,
                    "pc_clock",
                ),
            )
            for phase in ((), ("phase",))
        ),
    ),
    "stimPositionScreen.raw.csv": (
        "StimulusScreenPositions",
        ((rf"{_NUMBER},{_NUMBER},{_PC_TIME}", ("contrast", "position", "pc_clock")),),
    ),
    "syncSquareUpdate.raw.csv": ("SyncSquareUpdates", ((rf"{_NUMBER},{_PC_TIME}", ("value", "pc_clock")),)),
}


def check_raw_task_data(verification: Verification) -> Iterator[Comparison]:
    """Compare the raw data of every task."""
    collections = verification.folder.collections((_TASK_DATA, *_LAYOUTS), _COLLECTIONS)
    for collection in collections:
        label = instance_label(collections, collection)
        folder = verification.folder_of(f"RawTaskData{label}")
        found = {name: folder.first(name, collection) for name in (_TASK_DATA, *_LAYOUTS)}
        files = {name: file for name, file in found.items() if file is not None}
        if verification.was_left_out(f"RawTaskData{label}", files.values()):
            for file in files.values():
                yield left_out(file, f"acquisition/*{label}")
            continue
        for name, file in files.items():
            if name == _TASK_DATA:
                yield from _check_trials(verification.nwb, file, label)
            else:
                table, layouts = _LAYOUTS[name]
                yield from _check_lines(verification.nwb, file, f"acquisition/{table}{label}", layouts)


def _check_lines(
    nwb: NWBReader, file: SourceFile, table: str, layouts: tuple[tuple[str, tuple[str, ...]], ...]
) -> Iterator[Comparison]:
    text = [line.strip() for line in file.path.read_text(encoding="utf-8", errors="replace").splitlines()]
    matches = [
        (columns, match) for line in text for pattern, columns in layouts if (match := re.fullmatch(pattern, line))
    ]
    if not matches:
        yield Comparison(file.relative_path, table, "not verified", "not converted: no line of it can be read")
        return
    names = matches[0][0]
    rows = [match.groups() for columns, match in matches if columns == names]
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        whole = name in ("encoder_time", "event", "trial") or (name == "position" and "encoder_time" in names)
        kind = object if name == "pc_clock" else np.int64 if whole else np.float64
        yield compare(nwb, f"{file.relative_path}:{name}", f"{table}/{name}", np.array(values).astype(kind))


def _check_trials(nwb: NWBReader, file: SourceFile, label: str) -> Iterator[Comparison]:
    """Each key of each line against its column; nested keys are joined by dots."""
    trials = list(_read_objects(file))
    table = f"acquisition/TaskData{label}"
    if not trials:
        yield Comparison(file.relative_path, table, "not verified", "not converted: no line of it can be read")
        return
    yield compare(nwb, f"{file.relative_path}:line", f"{table}/line", np.array([line for line, _ in trials]))
    values: dict[str, dict[int, Any]] = {}
    for row, (_, trial) in enumerate(trials):
        for key, value in _flatten(trial, ""):
            values.setdefault(key, {})[row] = value
    for key, by_row in values.items():
        if key not in (".behavior_data.states_timestamps", ".behavior_data.events_timestamps"):
            yield _check_key(nwb, f"{file.relative_path}:{key[1:]}", f"{table}/{key[1:]}", by_row, len(trials))
    states = [
        (line, state, float("nan" if start is None else start), float("nan" if stop is None else stop))
        for line, trial in trials
        for state, intervals in _timestamps(trial, "States timestamps")
        for start, stop in ([intervals] if np.ndim(intervals) == 1 else intervals)
    ]
    events = [
        (line, event, float("nan" if time is None else time))
        for line, trial in trials
        for event, times in _timestamps(trial, "Events timestamps")
        for time in ([times] if np.ndim(times) == 0 else times)
    ]
    for name, rows, columns in (
        (f"TaskStates{label}", states, ("line", "state", "start_in_trial", "stop_in_trial")),
        (f"TaskEvents{label}", events, ("line", "event", "time_in_trial")),
    ):
        for column, content in zip(columns, zip(*rows, strict=True), strict=False):
            yield compare(nwb, f"{file.relative_path}:{name}", f"acquisition/{name}/{column}", _array(content))


def _check_key(nwb: NWBReader, dataset: str, path: str, by_row: dict[int, Any], n_rows: int) -> Comparison:
    """Numbers as numbers, texts as texts, and everything else as what its JSON means."""
    content = [by_row[row] for row in sorted(by_row)]
    types = {type(value) for value in content}
    is_plain = len(by_row) == n_rows and (types <= {int, float} or types in ({bool}, {str}))
    if path.endswith("_time") and (types == {str} or not is_plain):
        path += "_text"
    if is_plain:
        return compare(nwb, dataset, path, _array(content))
    if not nwb.is_array(path):
        return Comparison(dataset, path, "missing", "it is not in the file")
    expected = [json.dumps(by_row[row], sort_keys=True) if row in by_row else "" for row in range(n_rows)]
    found = [_normal_json(str(text)) for text in nwb.read(path)]
    return compare_arrays(dataset, path, np.array(found, dtype=object), np.array(expected, dtype=object))


def _normal_json(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        return text


def _read_objects(file: SourceFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of each line that is a JSON object."""
    for number, line in enumerate(file.path.read_bytes().split(b"\n")):
        try:
            content = json.loads(line.decode(errors="replace"))
        except ValueError:
            continue
        if isinstance(content, dict):
            yield number, content


def _flatten(content: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(content, dict) or not content or name.endswith("s_timestamps"):
        yield name, content
        return
    for key, value in content.items():
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key).lower()
        yield from _flatten(value, f"{name}.{re.sub('[ /:]+', '_', words)}")


def _timestamps(trial: dict[str, Any], kind: str) -> Iterator[tuple[str, Any]]:
    behavior_data = trial.get("behavior_data")
    if isinstance(behavior_data, dict):
        yield from (behavior_data.get(kind) or {}).items()


def _array(values: Any) -> np.ndarray:
    """Texts as objects; whole numbers as int64 unless there are others among them."""
    return np.array(values, dtype=object) if isinstance(values[0], str) else np.array(values)
