"""Text files of the rig, read line by line: damaged lines are found and left out, the others are kept as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..errors import DatasetInconsistentError
from ..session import Dataset

_Line = TypeVar("_Line")

#: Words that rigs before version 5.0.0 wrote between the numbers.
_WORDS = frozenset({"Position", "Event", "StateMachine"})

_PC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")

#: Columns of each kind of file by the number of values in a line. Rigs before 5.0.0 added the computer's time to what
#: the encoder sends; the phase of the grating came later.
COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "encoder_positions": (("encoder_time", "position"), ("encoder_time", "position", "pc_clock")),
    "encoder_events": (("encoder_time", "event"), ("encoder_time", "event", "pc_clock")),
    "trial_info": tuple(
        ("trial", "initial_position", "contrast", "spatial_frequency", "angle", "gain", "sigma", *phase, "pc_clock")
        for phase in ((), ("phase",))
    ),
    "screen_positions": (("contrast", "position", "pc_clock"),),
    "sync_square": (("value", "pc_clock"),),
}

#: Columns of whole numbers. ``pc_clock`` is text, which keeps all its digits; the others are float.
_WHOLE_NUMBERS = {
    "encoder_positions": ("encoder_time", "position"),
    "encoder_events": ("encoder_time", "event"),
    "trial_info": ("trial",),
}


class Lines(NamedTuple):
    """What could be read of a file.

    Attributes
    ----------
    rows : list
        Contents of the readable lines.
    numbers : numpy.ndarray
        ``(n,)`` int64: line of each row, from 0.
    damaged : list of int
        Lines that could not be read, from 0. Empty lines are not counted among them.
    """

    rows: list[Any]
    numbers: np.ndarray
    damaged: list[int]


def read_columns(dataset: Dataset, kind: str) -> tuple[dict[str, list[Any]], list[int]]:
    """Read a file of numbers, separated by spaces or commas and without header.

    Parameters
    ----------
    dataset : Dataset
        The file.
    kind : str
        Key of :data:`COLUMNS`. The first readable line tells which of the layouts it is.

    Returns
    -------
    columns : dict of str to list
        int, float or str values by column; empty if no line can be read.
    damaged : list of int
        Lines of another layout or with something that is no number, from 0.
    """
    layouts = {len(columns): columns for columns in COLUMNS[kind]}
    whole = _WHOLE_NUMBERS.get(kind, ())

    def read(line: str) -> dict[str, Any]:
        values = [value for value in line.replace(",", " ").split() if value not in _WORDS]
        columns = layouts.get(len(values))
        if columns is None:
            raise ValueError(line)
        return {name: _read_value(name, value, whole) for name, value in zip(columns, values, strict=True)}

    lines = _read_lines(dataset, read)
    if not lines.rows:
        return {}, lines.damaged
    names = list(lines.rows[0])
    # A line that was cut may look like one of the other layout.
    other = [int(n) for n, row in zip(lines.numbers, lines.rows, strict=True) if list(row) != names]
    rows = [row for row in lines.rows if list(row) == names]
    return {name: [row[name] for row in rows] for name in names}, sorted(lines.damaged + other)


def read_trials(dataset: Dataset) -> Lines:
    """Read a file with one JSON object per line, as dicts."""

    def read(line: str) -> dict[str, Any]:
        content = json.loads(line)
        if not isinstance(content, dict):
            raise ValueError(line)
        return content

    return _read_lines(dataset, read)


def trial_columns(rows: list[dict[str, Any]]) -> dict[tuple[str, ...], list[Any] | np.ndarray]:
    """Values of each key over the trials, in the narrowest type that holds them all.

    Parameters
    ----------
    rows : list of dict
        Trials; states and events of the Bpod are left out.

    Returns
    -------
    dict of tuple of str to list or numpy.ndarray
        By path of keys: bool, int64 or float64 arrays; else texts. Unless all values are texts, these are JSON, empty
        where a trial lacks the key.
    """
    trials = [dict(_leaves(row)) for row in rows]
    paths = dict.fromkeys(path for trial in trials for path in trial)
    return {path: _typed([trial.get(path, _ABSENT) for trial in trials]) for path in paths}


def trial_states(lines: Lines, dataset: Dataset) -> dict[str, list[Any]]:
    """Every state of every trial, by column; seconds from the start of the trial."""
    columns: dict[str, list[Any]] = {"line": [], "state": [], "start_in_trial": [], "stop_in_trial": []}
    for number, name, values in _timestamps(lines, "States timestamps"):
        try:
            intervals = np.asarray(values, dtype=np.float64).reshape(-1, 2)
        except (ValueError, TypeError) as error:
            raise _no_times(dataset, number, name) from error
        for start, stop in intervals:
            for column, value in zip(columns.values(), (number, name, start, stop), strict=True):
                column.append(value)
    return columns


def trial_events(lines: Lines, dataset: Dataset) -> dict[str, list[Any]]:
    """Every event of every trial, by column; seconds from the start of the trial."""
    columns: dict[str, list[Any]] = {"line": [], "event": [], "time_in_trial": []}
    for number, name, values in _timestamps(lines, "Events timestamps"):
        try:
            times = np.asarray(values, dtype=np.float64).ravel()
        except (ValueError, TypeError) as error:
            raise _no_times(dataset, number, name) from error
        columns["line"] += [number] * len(times)
        columns["event"] += [name] * len(times)
        columns["time_in_trial"] += times.tolist()
    return columns


_ABSENT = object()
_TIMESTAMPS = ("States timestamps", "Events timestamps")


def _read_lines(dataset: Dataset, read: Callable[[str], _Line]) -> Lines:
    rows, numbers, damaged = [], [], []
    with dataset.path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream):
            if not line.strip():
                continue
            try:
                rows.append(read(line))
                numbers.append(number)
            except ValueError:
                damaged.append(number)
    return Lines(rows, np.array(numbers, dtype=np.int64), damaged)


def _read_value(name: str, value: str, whole: tuple[str, ...]) -> int | float | str:
    if name == "pc_clock":
        if not _PC_TIME.match(value):
            raise ValueError(value)
        return value
    return int(value) if name in whole else float(value)


def _leaves(content: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is not itself a filled object, with the path of keys that leads to it."""
    for key, value in content.items():
        if path == ("behavior_data",) and key in _TIMESTAMPS:
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _typed(values: list[Any]) -> list[Any] | np.ndarray:
    types = {type(value) for value in values}
    if types == {str}:
        return values
    if types == {bool}:
        return np.array(values)
    if types <= {int, float}:
        try:
            return np.array(values, dtype=np.int64 if types == {int} else np.float64)
        except OverflowError:
            pass  # a whole number that is longer than 64 bits
    return ["" if value is _ABSENT else json.dumps(value, ensure_ascii=False) for value in values]


def _timestamps(lines: Lines, kind: str) -> Iterator[tuple[int, str, Any]]:
    for number, row in zip(lines.numbers.tolist(), lines.rows, strict=True):
        behavior_data = row.get("behavior_data")
        named = behavior_data.get(kind) if isinstance(behavior_data, dict) else None
        for name, values in (named or {}).items():
            yield number, name, values


def _no_times(dataset: Dataset, number: int, name: str) -> DatasetInconsistentError:
    return DatasetInconsistentError(
        f"'{dataset.path}', line {number + 1}: the times of '{name}' are not numbers of seconds. Mend or remove the "
        "line, or leave the family out with --exclude RawTaskData."
    )
