"""What an Alyx server would answer about an example session."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import DatasetMissingError
from ._alyx_datasets import (
    ALYX_URL,
    SessionAddress,
    dataset_records,
    datasets_list_answer,
    session_dataset_answer,
)
from ._alyx_probes import channel_answers, insertion_answers, trajectory_answers
from ._random import random_generator, random_uuid
from ._task_files import EXPERIMENTER, IBLRIG_8_KEYS, PROCEDURES, PROJECT, PROTOCOL

USERS = (EXPERIMENTER, "nico.example")
WATER = "Water 10% Sucrose"
SURGICAL_PROCEDURE = "Headplate implant"
REFERENCE_WEIGHT_FRACTION = 0.85

#: Days from the session to each weighing, and the weight (g) relative to that of the session.
WEIGHINGS = {-21: 2.4, -14: 0.9, -7: 0.3, -1: -0.2, 0: 0.0, 1: 0.2, 2: 0.4}


class SessionFacts(NamedTuple):
    """What the files of the session say and Alyx repeats."""

    start: datetime
    end: datetime
    task_protocol: str
    rig: str
    weight_g: float
    n_trials: int
    n_correct: int


def example_alyx_answers(session_path: str | Path, *, seed: int = 0, channels: bool = False) -> dict[str, Any]:
    """
    Give the REST answers of an Alyx server that knows an example session.

    Parameters
    ----------
    session_path : str or Path
        What `make_example_session` returned.
    seed : int
        The seed that the session was made with, so that dataset ids are those in its file names.
    channels : bool
        Whether Alyx knows where the sites of the probes are, by two trajectories each; then there is histology too.

    Returns
    -------
    dict
        ``session`` (`sessions/read`), ``subject`` (`subjects/read`), ``lab`` (`labs/read`), and lists of ``users``
        (`users/read`), ``insertions`` (`insertions/read`), ``trajectories``, ``channels``, ``surgeries``,
        ``procedures`` and ``datasets`` (the results of `list`, without pagination). Probes are those with files in the
        session; histology is there when electrode sites are, or channels are asked for.

    Raises
    ------
    DatasetMissingError
        If the folder lacks task settings or trials.
    """
    session_path = Path(session_path).absolute()
    facts = _session_facts(session_path)
    lab, _, subject, date, number = session_path.parts[-5:]
    address = SessionAddress(
        identifier=random_uuid(random_generator(seed, "session", lab, subject, date, number)),
        lab=lab,
        subject=subject,
        date=date,
        number=int(number),
        start_time=facts.start.isoformat(),
    )
    records = dataset_records(session_path, seed)
    probes = sorted({part for record in records for part in record.collection.split("/") if part.startswith("probe")})
    histology = channels or any(record.name.startswith("electrodeSites.") for record in records)
    trajectories = trajectory_answers(probes, address, facts.task_protocol, histology=histology, seed=seed)
    insertions = insertion_answers(probes, records, address, facts.task_protocol, histology=histology, seed=seed)
    session = _session_answer(address, facts, seed) | {
        "data_dataset_session_related": [session_dataset_answer(record, address) for record in records],
        # The session lists its probes' datasets by id only.
        "probe_insertion": [
            insertion | {"datasets": [dataset["id"] for dataset in insertion["datasets"]]} for insertion in insertions
        ],
    }
    return {
        "session": session,
        "subject": _subject_answer(address, facts, seed),
        "lab": _lab_answer(lab),
        "users": [_user_answer(name, address, seed) for name in USERS],
        "insertions": insertions,
        "trajectories": trajectories,
        "channels": channel_answers(probes, trajectories, seed=seed) if channels else [],
        "surgeries": [_surgery_answer(address, facts, seed)],
        "procedures": [_procedure_answer(seed)],
        "datasets": datasets_list_answer(records, address, seed),
    }


def _session_facts(session_path: Path) -> SessionFacts:
    settings = json.loads(_find(session_path, "_iblrig_taskSettings.raw.*json").read_text(encoding="utf-8"))
    settings |= {old: settings[new] for old, new in IBLRIG_8_KEYS.items() if new in settings}
    feedback, ends = _trial_outcomes(session_path)
    start = datetime.fromisoformat(settings["SESSION_DATETIME"])
    return SessionFacts(
        start=start,
        end=(start + timedelta(seconds=float(ends[-1]))).replace(microsecond=0),
        task_protocol=f"{PROTOCOL}{settings['IBLRIG_VERSION_TAG']}",
        rig=settings["PYBPOD_BOARD"],
        weight_g=settings["SUBJECT_WEIGHT"],
        n_trials=len(feedback),
        n_correct=int((feedback > 0).sum()),
    )


def _trial_outcomes(session_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read feedback types and trial ends (s), from the table or from the npy files of the legacy layout."""
    import pandas as pd

    table_path = next(session_path.rglob("_ibl_trials.table.*pqt"), None)
    if table_path is not None:
        table = pd.read_parquet(table_path, columns=["feedbackType", "intervals_1"])
        return table["feedbackType"].to_numpy(), table["intervals_1"].to_numpy()
    feedback = np.load(_find(session_path, "_ibl_trials.feedbackType.*npy"), allow_pickle=False)
    intervals = np.load(_find(session_path, "_ibl_trials.intervals.*npy"), allow_pickle=False)
    return feedback, intervals[:, 1]


def _find(session_path: Path, pattern: str) -> Path:
    # In order: the settings of the task come before those of the passive protocol.
    path = next(iter(sorted(session_path.rglob(pattern))), None)
    if path is None:
        raise DatasetMissingError(
            f"{session_path} has no file {pattern}. Give a session that make_example_session wrote."
        )
    return path


def _session_answer(address: SessionAddress, facts: SessionFacts, seed: int) -> dict[str, Any]:
    generator = random_generator(seed, "session answer", address.identifier)
    return {
        "subject": address.subject,
        "users": list(USERS),
        "location": facts.rig,
        "procedures": list(PROCEDURES),
        "lab": address.lab,
        "projects": [PROJECT],
        "type": "Experiment",
        "task_protocol": facts.task_protocol,
        "number": address.number,
        "start_time": address.start_time,
        "end_time": facts.end.isoformat(),
        "narrative": "Invented session.\nThe animal was calm.",
        "parent_session": None,
        "n_correct_trials": facts.n_correct,
        "n_trials": facts.n_trials,
        "url": f"{ALYX_URL}/sessions/{address.identifier}",
        "extended_qc": {
            "task": "PASS",
            "behavior": 1,
            "videoLeft": "WARNING",
            "_task_stimOn_goCue_delays": 0.99,
            "_videoLeft_framerate": ["PASS", 59.98],
        },
        "qc": "PASS",
        "wateradmin_session_related": [
            {
                "id": random_uuid(generator),
                "name": "",
                "water_type": WATER,
                "water_administered": round(facts.n_correct * 0.0015, 4),
            }
        ],
        "data_dataset_session_related": [],
        "auto_datetime": f"{address.date}T23:00:00.099201",
        "id": address.identifier,
        "json": {"IS_MOCK": False, "SUBJECT_WEIGHT": facts.weight_g, "REWARD_TYPE": WATER},
        "probe_insertion": [],
        "field_of_view": [],
        "notes": [
            {
                "id": random_uuid(generator),
                "user": EXPERIMENTER,
                "date_time": (facts.end + timedelta(minutes=20)).isoformat(),
                "content_type": "actions.session",
                "object_id": address.identifier,
                "text": "The left paw is hidden by the wheel now and then.",
                "image": None,
                "json": None,
            }
        ],
    }


def _subject_answer(address: SessionAddress, facts: SessionFacts, seed: int) -> dict[str, Any]:
    generator = random_generator(seed, "subject answer", address.subject)
    birth = facts.start.date() - timedelta(days=int(generator.integers(90, 180)))
    death = facts.start.date() + timedelta(days=5)
    heaviest_g = facts.weight_g + max(WEIGHINGS.values())
    return {
        "nickname": address.subject,
        "url": f"{ALYX_URL}/subjects/{address.subject}",
        "id": random_uuid(generator),
        "responsible_user": EXPERIMENTER,
        "birth_date": birth.isoformat(),
        "age_weeks": (death - birth).days // 7,
        "death_date": death.isoformat(),
        "species": "Laboratory mouse",
        "sex": "F" if generator.random() < 0.5 else "M",
        "litter": "",
        "strain": "C57BL/6J",
        "source": "Example breeder",
        "line": "C57BL/6J",
        "projects": [PROJECT],
        "session_projects": [PROJECT],
        "lab": address.lab,
        "genotype": [],
        "description": "Invented subject",
        "alive": False,
        "reference_weight": round(heaviest_g, 2),
        "last_water_restriction": None,
        "expected_water": round(0.04 * REFERENCE_WEIGHT_FRACTION * heaviest_g, 2),
        "remaining_water": 0.0,
        "json": None,
        "weighings": [_weighing(address, facts, days, generator) for days in WEIGHINGS],
        "water_administrations": [],
    }


def _weighing(
    address: SessionAddress, facts: SessionFacts, days: int, generator: np.random.Generator
) -> dict[str, Any]:
    """Weigh the animal 25 minutes before the time of day at which the session began."""
    time = (facts.start + timedelta(days=days) - timedelta(minutes=25)).replace(microsecond=0)
    return {
        "subject": address.subject,
        "date_time": time.isoformat(),
        "weight": round(facts.weight_g + WEIGHINGS[days], 2),
        "user": EXPERIMENTER,
        "url": f"{ALYX_URL}/weighings/{random_uuid(generator)}",
    }


def _lab_answer(lab: str) -> dict[str, Any]:
    return {
        "name": lab,
        "institution": "Example Institute",
        "address": "1 Example Street, Lisbon",
        "timezone": "Europe/Lisbon",
        "repositories": [f"flatiron_{lab}", f"{lab}_SR"],
        "reference_weight_pct": REFERENCE_WEIGHT_FRACTION,
        "zscore_weight_pct": 0.0,
        "json": None,
    }


def _user_answer(name: str, address: SessionAddress, seed: int) -> dict[str, Any]:
    return {
        "id": random_uuid(random_generator(seed, "user", name)),
        "username": name,
        "email": f"{name}@example.org",
        "subjects_responsible": [address.subject] if name == EXPERIMENTER else [],
        "lab": [address.lab],
        "allowed_users": [],
        "is_stock_manager": False,
    }


def _surgery_answer(address: SessionAddress, facts: SessionFacts, seed: int) -> dict[str, Any]:
    """Give the implant of the head plate; Alyx names lab, users and procedures of a surgery by id."""
    generator = random_generator(seed, "surgery", address.subject)
    start = (facts.start - timedelta(days=40)).replace(hour=10, minute=5, second=0, microsecond=0)
    return {
        "id": random_uuid(generator),
        "subject": address.subject,
        "name": "",
        "json": None,
        "narrative": "Head plate implant.",
        "start_time": start.isoformat(),
        "end_time": (start + timedelta(minutes=75)).isoformat(),
        "outcome_type": "r",
        "implant_weight": 1.3,
        "lab": random_uuid(random_generator(seed, "lab", address.lab)),
        "location": None,
        "users": [random_uuid(random_generator(seed, "user", EXPERIMENTER))],
        "procedures": [_procedure_answer(seed)["id"]],
    }


def _procedure_answer(seed: int) -> dict[str, Any]:
    return {
        "id": random_uuid(random_generator(seed, "procedure", SURGICAL_PROCEDURE)),
        "name": SURGICAL_PROCEDURE,
        "json": None,
        "description": "",
    }
