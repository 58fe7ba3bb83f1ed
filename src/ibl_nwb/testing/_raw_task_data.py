"""Raw task data as the rig leaves them: state machine, rotary encoder and stimuli, each on a clock of its own."""

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ._files import Datasets
from ._task_files import PROTOCOL, raw_task_collection
from ._trials import Trials

#: Encoder time of the first trial, close to where its 32 bits wrap.
_ENCODER_START_US = 2**32 - 20_000_000
_BPOD_START_S = 1.76791


def raw_task_files(trials: Trials, task_collection: str, start_time: str, generator: np.random.Generator) -> Datasets:
    """
    Invent what the rig wrote during the trials.

    Parameters
    ----------
    trials : dict of str to numpy.ndarray
        What `make_trials` gave.
    task_collection : str
        ``"alf"`` gives the five columns of rigs before 5.0.0 in the encoder's files, a numbered collection today's two.
    start_time : str
        ISO 8601, naive local time of the first trial.
    generator : numpy.random.Generator
        Source of random numbers.
    """
    folder = raw_task_collection(task_collection)
    is_old = folder == "raw_behavior_data"
    rig = _Rig(datetime.fromisoformat(start_time), is_old)
    bpod = trials["intervals_bpod"]
    lines: dict[str, list[str]] = {name: [] for name in ("trials", "positions", "events", "info", "screen", "square")}
    for row in range(len(bpod)):
        lines["trials"].append(json.dumps(_trial(trials, row, generator)))
        start, stop = bpod[row]
        ticks = np.cumsum(generator.integers(-3, 4, 12))
        times = np.sort(generator.uniform(start, stop, 12))
        lines["positions"] += [rig.position(time, tick) for time, tick in zip(times, ticks, strict=True)]
        lines["events"] += [rig.event(start + 0.5 + event, event) for event in (2, 3, 1)]
        contrast, side = _contrast(trials, row)
        lines["info"].append(
            f"{row} {35 * side} {contrast} 0.1 0 4 49 {generator.uniform(0, 6.2):.6f} {rig.pc(start)} "
        )
        lines["screen"] += [
            f"{contrast},{35 * side + tick / 4},{rig.pc(time)}" for time, tick in zip(times, ticks, strict=True)
        ]
        lines["square"] += [f"{flip % 2},{rig.pc(start + flip / 60)}" for flip in range(6)]
    names = {
        "trials": "taskData.raw.jsonable",
        "positions": "encoderPositions.raw.ssv",
        "events": "encoderEvents.raw.ssv",
        "info": "encoderTrialInfo.raw.ssv",
        "screen": "stimPositionScreen.raw.csv",
        "square": "syncSquareUpdate.raw.csv",
    }
    return {f"{folder}/_iblrig_{name}": "\n".join(lines[key]) + "\n" for key, name in names.items()}


class _Rig:
    """How the rig writes times and what the encoder sends."""

    def __init__(self, start: datetime, is_old: bool):
        self.start, self.is_old = start, is_old

    def pc(self, seconds: float) -> str:
        """Wall clock of the computer with seven digits after the second."""
        time = self.start + timedelta(seconds=float(seconds))
        return f"{time:%Y-%m-%dT%H:%M:%S.%f}0+01:00"

    def position(self, seconds: float, ticks: int) -> str:
        """One line of positions."""
        line = f"{_encoder_us(seconds)} {ticks} "
        return f"Position {line}{self.pc(seconds)} " if self.is_old else line

    def event(self, seconds: float, number: int) -> str:
        """One line of events."""
        if self.is_old:
            return f"Event {_encoder_us(seconds)} StateMachine {number} {self.pc(seconds)} "
        return f"{_encoder_us(seconds)} {number} "


def _encoder_us(seconds: float) -> int:
    return (_ENCODER_START_US + int(seconds * 1e6)) % 2**32


def _contrast(trials: Trials, row: int) -> tuple[float, int]:
    """Contrast and side, -1 for left."""
    left, right = trials["contrastLeft"][row], trials["contrastRight"][row]
    return (float(right), 1) if np.isnan(left) else (float(left), -1)


def _trial(trials: Trials, row: int, generator: np.random.Generator) -> dict[str, Any]:
    contrast, side = _contrast(trials, row)
    start, stop = (float(time) for time in trials["intervals_bpod"][row])
    length = stop - start
    correct = bool(trials["feedbackType"][row] == 1)
    nan = [[float("nan"), float("nan")]]
    pulses = np.round(np.sort(generator.uniform(0, length, 8)), 4).tolist()
    trial = {
        "init_datetime": "2023-05-18T10:00:00",
        "task_protocol": PROTOCOL,
        "position_set": [-35, 35],
        "threshold_events_dict": {"-35": "RotaryEncoder1_1", "35": "RotaryEncoder1_2"},
        "quiescent_period": float(trials["quiescencePeriod"][row]),
        "trial_num": row + 1,
        "position": 35 * side,
        "contrast": {"type": "RepeatContrast", "value": contrast} if row % 4 == 3 else contrast,
        "signed_contrast": side * contrast,
        "stim_phase": float(generator.uniform(0, 2 * np.pi)),
        "reward_amount": 1.5,
        "elapsed_time": f"0:00:{row % 60:02d}",
        "ac": {"type": "AdaptiveContrast", "buffer": [[0.0] * 3, [1.0] * 3], "last_trial_data": None},
        "behavior_data": {
            "Bpod start timestamp": _BPOD_START_S,
            "Trial start timestamp": _BPOD_START_S + start,
            "Trial end timestamp": _BPOD_START_S + stop,
            "States timestamps": {
                "trial_start": [[0, 0.0001]],
                "quiescent_period": [[0.0001, 0.2], [0.2, 0.5]],
                "closed_loop": [[0.5, length - 1.0]],
                "reward": [[length - 1.0, length - 0.9]] if correct else nan,
                "error": nan if correct else [[length - 1.0, length]],
            },
            "Events timestamps": {"Tup": [0.0001, 0.2, 0.5], "BNC1High": pulses[::2], "BNC1Low": pulses[1::2]},
        },
        "trial_correct": correct,
    }
    if row:
        trial["response_buffer"] = [0.5] * row
    return trial
