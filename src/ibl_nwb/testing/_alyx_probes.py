"""Alyx's records of the probes of an example session: insertions and trajectories."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._alyx_datasets import DatasetRecord, SessionAddress, insertion_dataset_answer
from ._probe import N_SITES, Track, probe_track, serial_number, site_coordinates, site_locations
from ._random import random_generator, random_uuid
from ._task_files import EXPERIMENTER, PROJECT

PROBE_MODEL = "3B2"
ALIGNMENT_TIMES = ("2023-11-07T10:12:41", "2023-11-21T16:03:09")

#: Provenance of a trajectory to its coordinate system, in the order in which they come about.
PLANNED_PROVENANCES = {"Planned": "Needles-Allen", "Micro-manipulator": "Needles-Allen"}
HISTOLOGY_PROVENANCES = {"Histology track": "IBL-Allen", "Ephys aligned histology track": "IBL-Allen"}

#: How far (um) the needle is from where histology finds the track.
PLANNING_ERROR_UM = 60.0


def session_info(address: SessionAddress, task_protocol: str) -> dict[str, Any]:
    """Give the short form of a session that other records hold."""
    return {
        "subject": address.subject,
        "start_time": address.start_time,
        "number": address.number,
        "lab": address.lab,
        "id": address.identifier,
        "projects": [PROJECT],
        "task_protocol": task_protocol,
    }


def insertion_answers(
    probes: Sequence[str],
    records: Sequence[DatasetRecord],
    address: SessionAddress,
    task_protocol: str,
    *,
    histology: bool,
    seed: int,
) -> list[dict[str, Any]]:
    """
    Give the `insertions/read` answer of every probe.

    Parameters
    ----------
    probes : sequence of str
        Probe names in order.
    records : sequence of DatasetRecord
        Datasets of the session.
    address : SessionAddress
    task_protocol : str
    histology : bool
        Whether the probes were traced and their alignment was resolved.
    seed : int
        Seed of the whole session.
    """
    return [
        {
            "id": _insertion_id(name, address, seed),
            "session": address.identifier,
            "model": PROBE_MODEL,
            "session_info": session_info(address, task_protocol),
            "datasets": [
                insertion_dataset_answer(record, address) for record in records if name in record.collection.split("/")
            ],
            "name": name,
            "json": _insertion_json(index, histology=histology),
            "serial": serial_number(index),
            "auto_datetime": f"{address.date}T22:00:00.750000",
            "chronic_insertion": None,
        }
        for index, name in enumerate(probes)
    ]


def trajectory_answers(
    probes: Sequence[str], address: SessionAddress, task_protocol: str, *, histology: bool, seed: int
) -> list[dict[str, Any]]:
    """Give the results of `trajectories/list` for the session: two per probe, four with histology."""
    provenances = PLANNED_PROVENANCES | (HISTOLOGY_PROVENANCES if histology else {})
    answers = []
    for index, name in enumerate(probes):
        generator = random_generator(seed, name, "trajectories")
        for provenance, coordinate_system in provenances.items():
            is_planned = provenance in PLANNED_PROVENANCES
            track = _planned_track(index, generator) if is_planned else probe_track(index)
            answers.append(
                {
                    "id": random_uuid(generator),
                    "probe_insertion": _insertion_id(name, address, seed),
                    **track._asdict(),
                    "provenance": provenance,
                    "session": session_info(address, task_protocol),
                    "probe_name": name,
                    "coordinate_system": coordinate_system,
                    "datetime": f"{address.date}T22:30:00.125000",
                    "json": _alignments() if provenance == "Ephys aligned histology track" else None,
                    "chronic_insertion": None,
                }
            )
    return answers


def channel_answers(
    probes: Sequence[str], trajectories: Sequence[dict[str, Any]], *, seed: int, n_sites: int = N_SITES
) -> list[dict[str, Any]]:
    """Give the results of `channels/list` for every trajectory that histology found, mixed as Alyx gives them.

    The aligned trajectory puts the sites where the session's files have them, the other one 100 um deeper.
    """
    answers = []
    for index, name in enumerate(probes):
        generator = random_generator(seed, name, "channels")
        coordinates = site_coordinates(n_sites)
        for trajectory in trajectories:
            if trajectory["probe_name"] != name or trajectory["provenance"] not in HISTOLOGY_PROVENANCES:
                continue
            deeper_um = 100.0 if trajectory["provenance"] == "Histology track" else 0.0
            places = site_locations(coordinates - np.array([0.0, deeper_um], dtype=np.float32), probe_track(index))
            for site in generator.permutation(n_sites).tolist():
                x, y, z = places["mlapdv"][site].tolist()
                answers.append(
                    {
                        "id": random_uuid(generator),
                        "axial": float(coordinates[site, 1]),
                        "lateral": float(coordinates[site, 0]),
                        "x": float(x),
                        "y": float(y),
                        "z": float(z),
                        "brain_region": int(places["brainLocationIds_ccf_2017"][site]),
                        "trajectory_estimate": trajectory["id"],
                        "name": "",
                        "json": None,
                    }
                )
    return answers


def _insertion_id(name: str, address: SessionAddress, seed: int) -> str:
    return random_uuid(random_generator(seed, "insertion", address.identifier, name))


def _planned_track(probe_index: int, generator: np.random.Generator) -> Track:
    """Give whole micrometres not far from the track that was found."""
    track = probe_track(probe_index)
    x, y = np.rint([track.x, track.y] + generator.normal(0.0, PLANNING_ERROR_UM, 2)).tolist()
    return track._replace(x=x, y=y)


def _insertion_json(probe_index: int, *, histology: bool) -> dict[str, Any]:
    if not histology:
        return {"qc": "NOT_SET", "extended_qc": {"experimenter": "PASS"}}
    track = probe_track(probe_index)
    picks = np.rint(track.point(np.linspace(350.0, track.depth, 12))).astype(int)
    return {
        "qc": "PASS",
        "xyz_picks": picks.tolist(),
        "extended_qc": {
            "experimenter": "PASS",
            "tracing_exists": True,
            "alignment_count": len(ALIGNMENT_TIMES),
            "alignment_stored": f"{ALIGNMENT_TIMES[-1]}_{EXPERIMENTER}",
            "alignment_resolved": True,
            "alignment_resolved_by": "qc",
        },
        "todo_alignment": "",
    }


def _alignments() -> dict[str, Any]:
    """Give, per alignment, positions of features on the probe and of the same features on the track, in metres."""
    return {
        f"{time}_{EXPERIMENTER}": [[-0.001, 0.0, 0.003], [-0.00105 - 0.00002 * count, 0.0, 0.00308], "None"]
        for count, time in enumerate(ALIGNMENT_TIMES)
    }
