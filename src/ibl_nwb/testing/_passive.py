"""Passive period of an invented session: grey screen, receptive field mapping and a replay of the task's stimuli."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._files import Datasets
from ._task_files import IBLRIG_8_KEYS, raw_task_collection

PASSIVE_PROTOCOL = "_iblrig_tasks_passiveChoiceWorld"

#: Lengths in seconds: pause before and between the periods, grey screen (600 in real sessions), one frame.
PAUSE_S = 4.0
SPONTANEOUS_S = 60.0
FRAME_S = 1 / 60

#: Frames of the receptive field mapping (9000 in real sessions), squares along either axis, grey levels.
N_FRAMES = 900
N_SQUARES = 15
GREY_LEVELS = (0, 128, 255)

#: How often each stimulus is replayed (40 and 179 in real sessions), and how long it lasts.
REPLAYED = {"valve": (14, 0.06), "tone": (14, 0.1), "noise": (11, 0.5)}
N_GABORS = 59
GABOR_S = 0.3
REPLAY_STEP_S = 1.3


def passive_collection(task_collection: str) -> str:
    """Give the collection of the passive tables: that of the task, or that of the next numbered task."""
    number = task_collection.partition("task_")[2]
    return f"alf/task_{int(number) + 1:02d}" if number else task_collection


def raw_passive_collection(task_collection: str) -> str:
    """Give the raw folder of the passive protocol."""
    collection = passive_collection(task_collection)
    return raw_task_collection(collection) if "task_" in collection else "raw_passive_data"


def passive_datasets(start_s: float, task_collection: str, generator: np.random.Generator) -> Datasets:
    """
    Invent the passive period.

    Parameters
    ----------
    start_s : float
        End of the task on the session clock.
    task_collection : str
        Collection of the task, such as ``"alf"``.
    generator : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    dict
        Three tables as CSV with the unnamed column of row numbers that pandas writes, the times of the frames, and the
        settings of the protocol. The stimuli of the replay are not equally many: the shorter columns end with NaN.
    """
    collection, raw_collection = passive_collection(task_collection), raw_passive_collection(task_collection)
    spontaneous = start_s + 2 * PAUSE_S + np.array([0.0, SPONTANEOUS_S])
    frames = spontaneous[1] + PAUSE_S + FRAME_S * np.arange(N_FRAMES) + generator.uniform(0, 1e-4, N_FRAMES)
    replay_start = frames[-1] + PAUSE_S
    n_slots = N_GABORS + sum(n_times for n_times, _ in REPLAYED.values())
    onsets = replay_start + REPLAY_STEP_S * np.arange(1, n_slots + 1) + generator.uniform(0, 0.5, n_slots)
    end = float(onsets[-1] + REPLAY_STEP_S)
    slots = np.split(generator.permutation(n_slots), np.cumsum([n_times for n_times, _ in REPLAYED.values()]))
    periods = {
        "passiveProtocol": [start_s + PAUSE_S, end],
        "spontaneousActivity": spontaneous.tolist(),
        "RFM": [float(frames[0]), float(frames[-1])],
        "taskReplay": [float(replay_start), end],
    }
    replay = {}
    for (kind, (_, length_s)), slot in zip(REPLAYED.items(), slots, strict=False):
        replay[f"{kind}On"] = np.sort(onsets[slot])
        replay[f"{kind}Off"] = replay[f"{kind}On"] + length_s
    gabor_onsets = np.sort(onsets[slots[-1]])
    gabor = {
        "start": gabor_onsets,
        "stop": gabor_onsets + GABOR_S,
        "position": generator.choice([-35.0, 35.0], N_GABORS),
        "contrast": generator.choice([0.0, 0.0625, 0.125, 0.25, 1.0], N_GABORS),
        "phase": generator.uniform(0, 2 * np.pi, N_GABORS),
    }
    settings: dict[str, Any] = {
        "PYBPOD_PROTOCOL": PASSIVE_PROTOCOL,
        "IBLRIG_VERSION_TAG": "6.6.1",
        "PREGENERATED_SESSION_NUM": "0",
    }
    if "task_" in collection:
        settings = {IBLRIG_8_KEYS.get(key, key): value for key, value in settings.items()}
    return {
        f"{collection}/_ibl_passivePeriods.intervalsTable.csv": _csv(periods, ["start", "stop"]),
        f"{collection}/_ibl_passiveStims.table.csv": _csv(_pad(replay)),
        f"{collection}/_ibl_passiveGabor.table.csv": _csv(gabor),
        f"{collection}/_ibl_passiveRFM.times.npy": frames,
        f"{raw_collection}/_iblrig_taskSettings.raw.json": json.dumps(settings, indent=1) + "\n",
    }


def write_passive_frames(session_path: Path, task_collection: str, generator: np.random.Generator) -> None:
    """Write the frames of the receptive field mapping: flat uint8, frames x 15 x 15 squares, most of them grey."""
    shape = (N_FRAMES, N_SQUARES, N_SQUARES)
    frames = generator.choice(np.array(GREY_LEVELS, dtype=np.uint8), shape, p=(0.05, 0.9, 0.05))
    path = session_path / raw_passive_collection(task_collection) / "_iblrig_RFMapStim.raw.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(frames.tobytes())


def _pad(columns: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    n_rows = max(len(values) for values in columns.values())
    return {name: np.concatenate([values, np.full(n_rows - len(values), np.nan)]) for name, values in columns.items()}


def _csv(columns: dict[str, Any], row_names: list[str] | None = None) -> str:
    import pandas as pd

    return pd.DataFrame(columns, index=row_names).to_csv(lineterminator="\n")
