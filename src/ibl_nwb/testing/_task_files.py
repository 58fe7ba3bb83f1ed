"""Files that the rig leaves beside the data: experiment description, task settings and ambient sensors."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._files import Datasets

PROTOCOL = "_iblrig_tasks_ephysChoiceWorld"
PROCEDURES = ("Behavior training/tasks", "Ephys recording with acute probe(s)")
PROJECT = "example_brainwide_map"
EXPERIMENTER = "ada.example"

#: Keys that version 8 of the rig software renamed.
IBLRIG_8_KEYS = {
    "SESSION_DATETIME": "SESSION_START_TIME",
    "PYBPOD_BOARD": "RIG_NAME",
    "PYBPOD_CREATOR": "ALYX_USER",
    "IBLRIG_VERSION_TAG": "IBLRIG_VERSION",
}

CAMERA_SYNC_LABELS = {"left": "left_camera", "right": "right_camera", "body": "body_camera"}


def raw_task_collection(task_collection: str) -> str:
    """Give the raw folder of a task collection: ``alf`` has ``raw_behavior_data``, ``alf/task_00`` its own number."""
    number = task_collection.partition("task_")[2]
    return f"raw_task_data_{number}" if number else "raw_behavior_data"


def session_start_time(date: str, generator: np.random.Generator) -> str:
    """Draw the wall clock of the rig's computer at task start: ISO 8601, naive local time with microseconds."""
    hour, minute, second = generator.integers([9, 0, 0], [17, 60, 60])
    return f"{date}T{hour:02d}:{minute:02d}:{second:02d}.{generator.integers(1, 1_000_000):06d}"


def task_settings_file(
    *,
    lab: str,
    subject: str,
    start_time: str,
    number: int,
    task_collection: str,
    generator: np.random.Generator,
) -> Datasets:
    """
    Invent the settings of the task.

    Parameters
    ----------
    lab, subject : str
        Names as in the session path.
    start_time : str
        ISO 8601, naive local time.
    number : int
        Number of the session on its day.
    task_collection : str
        ``"alf"`` gives the keys of iblrig 6, a numbered collection the keys of iblrig 8.
    generator : numpy.random.Generator
        Source of random numbers.
    """
    is_numbered = raw_task_collection(task_collection) != "raw_behavior_data"
    version = "8.12.5" if is_numbered else "6.6.1"
    settings: dict[str, Any] = {
        "SUBJECT_NAME": subject,
        "SUBJECT_WEIGHT": round(float(generator.uniform(19.0, 26.0)), 1),
        "SESSION_DATETIME": start_time,
        "SESSION_DATE": start_time[:10],
        "SESSION_NUMBER": f"{number:03d}",
        "PYBPOD_PROTOCOL": PROTOCOL,
        "PYBPOD_BOARD": f"_iblrig_{lab}_ephys_0",
        "PYBPOD_CREATOR": EXPERIMENTER if is_numbered else [EXPERIMENTER, "local"],
        "IBLRIG_VERSION_TAG": version,
        "IS_MOCK": False,
        "NTRIALS": 2000,
        "CONTRAST_SET": [1.0, 0.25, 0.125, 0.0625, 0.0],
        "STIM_POSITIONS": [-35, 35],
        "STIM_PROBABILITY_LEFT": 0.5,
        "BLOCK_PROBABILITY_SET": [0.2, 0.8],
        "STIM_FREQ": 0.1,
        "STIM_ANGLE": 0.0,
        "STIM_SIGMA": 7.0,
        "STIM_GAIN": 4.0,
        "GO_TONE_FREQUENCY": 5000,
        "GO_TONE_DURATION": 0.1,
        "WHITE_NOISE_DURATION": 0.5,
        "INTERACTIVE_DELAY": 0.0,
        "QUIESCENT_PERIOD": 0.2,
        "QUIESCENCE_THRESHOLDS": [-2, 2],
        "RESPONSE_WINDOW": 60,
        "ITI_CORRECT": 1,
        "ITI_ERROR": 2,
        "REWARD_AMOUNT": 1.5,
        "REWARD_TYPE": "Water 10% Sucrose",
        "POOP_COUNT": int(generator.integers(0, 8)),
        "SUBJECT_DISENGAGED_TRIGGERED": False,
    }
    if is_numbered:
        settings = {IBLRIG_8_KEYS.get(key, key): value for key, value in settings.items()}
    path = f"{raw_task_collection(task_collection)}/_iblrig_taskSettings.raw.json"
    return {path: json.dumps(settings, indent=1) + "\n"}


def ambient_sensor_file(n_trials: int, task_collection: str, generator: np.random.Generator) -> Datasets:
    """Invent one reading per trial: degrees Celsius, millibar and per cent, each in a list of one."""
    drift = np.cumsum(generator.normal(0.0, 0.01, (n_trials, 3)), axis=0)
    readings = np.round(np.array([23.4, 1008.2, 41.5]) + drift, 4)
    keys = ("Temperature_C", "AirPressure_mb", "RelativeHumidity")
    lines = [json.dumps({key: [value] for key, value in zip(keys, row, strict=True)}) for row in readings.tolist()]
    path = f"{raw_task_collection(task_collection)}/_iblrig_ambientSensorData.raw.jsonable"
    return {path: "\n".join(lines) + "\n"}


def experiment_description_file(probes: Sequence[str], cameras: Sequence[str], task_collection: str) -> Datasets:
    """Describe the devices and the task of the session, in the layout of today (tasks as a list)."""
    import yaml

    raw_collection = raw_task_collection(task_collection)
    devices: dict[str, Any] = {"microphone": {"microphone": {"collection": raw_collection, "sync_label": "audio"}}}
    if cameras:
        devices["cameras"] = {
            camera: {"collection": "raw_video_data", "sync_label": CAMERA_SYNC_LABELS[camera]} for camera in cameras
        }
    if probes:
        devices["neuropixel"] = {
            probe: {"collection": f"raw_ephys_data/{probe}", "sync_label": "imec_sync"} for probe in probes
        }
    description = {
        "version": "1.0.0",
        "devices": devices,
        "sync": {"nidq": {"collection": "raw_ephys_data", "extension": "bin", "acquisition_software": "spikeglx"}},
        "tasks": [{"ephysChoiceWorld": {"collection": raw_collection, "sync_label": "bpod"}}],
        "procedures": list(PROCEDURES),
        "projects": [PROJECT],
    }
    return {"_ibl_experiment.description.yaml": yaml.safe_dump(description, sort_keys=False)}
