"""Whole sessions through the calls behind the command line: each value against the ALF files, ``verify``, validity."""

import re
from importlib.metadata import version

import h5py
import numpy as np
import pytest
from independent_camera_reading import check_licks, check_motion_energy, check_paw_states, check_pupil, check_video
from independent_reading import check_audio, check_pose, check_raw_ephys, check_spikes, check_trials, check_wheel
from nwbinspector import Importance, inspect_nwbfile, load_config
from pynwb import validate
from real_data import CONVERTIBLE, REAL, needs_real_data
from test_trials import COLUMNS

from ibl_nwb import AlyxRecord, convert_document, make_document
from ibl_nwb.testing import example_alyx_answers, make_example_session
from ibl_nwb.verify import verify

TRIAL_COLUMNS = COLUMNS | {"intervals_bpod": "intervals_bpod"}

#: Families whose values are compared with their files in tests of their own.
TESTED_ELSEWHERE = (
    "Sync",
    "NIDQ",
    "Passive",
    "EphysQC",
    "SortingTemplates",
    "SpikeWaveforms",
    "Drift",
    "ProbeDescriptions",
    "AmbientSensors",
    "RawTaskData",
    "TaskSettings",
    "ExperimentDescription",
)

VARIANTS = {
    "default": {},
    "legacy": dict(
        trials_layout="legacy", wheel_layout="legacy", pose_tracker="dlc", revisions=False, cameras=("left", "body")
    ),
    "one probe, no histology, mixed trials": dict(
        **dict(probes=("probe00",), histology=False, sorter="iblsorter", revisions=False),
        **dict(trials_layout="mixed", audio_session_times=False, extra_camera_times=3, cameras=("right",)),
    ),
    "numbered task": dict(task_collection="alf/task_00", probes=(), raw_bands=(), cameras=("left",)),
}


def check_families(path, session_path, names):
    alf = session_path / "alf" if (session_path / "alf").is_dir() else session_path
    task = next((folder for folder in (alf / "task_00", alf) if list(folder.rglob("*trials.*"))), alf)
    with h5py.File(path) as file:
        for name in names:
            probe = name[-7:].lower()
            if name.startswith("RawEphys"):
                check_raw_ephys(file, session_path / "raw_ephys_data" / probe, probe, name[8:10].lower())
            elif name.startswith("SortedSpikes"):
                folder = next(p.parent for p in sorted((alf / probe).rglob("spikes.times.npy")) if "#" not in str(p))
                check_spikes(file, folder, probe)
            elif name == "Trials":
                check_trials(file, task, TRIAL_COLUMNS)
            elif name == "Wheel":
                folder = task if list(task.rglob("*wheel.position.npy")) else alf
                legacy = list(folder.glob("_ibl_wheel.velocity.npy")) or "wheel_test" in str(session_path)
                check_wheel(file, folder, unit="meters" if legacy else "radians")
            elif name.startswith("Pose"):
                camera = name.removeprefix("Pose").removesuffix("Camera").lower()
                tracker = "lightningPose" if list(alf.glob(f"*{camera}Camera.lightningPose.pqt")) else "dlc"
                check_pose(file, alf, camera, tracker)
            elif name == "AudioSpectrogram":
                check_audio(file, next(session_path.glob("raw_*/_iblmic_audioSpectrogram.power.npy")).parent)
            elif name == "Licks":
                check_licks(file, alf)
            elif name.endswith("Camera"):
                family, camera = re.fullmatch("(.+)([A-Z][a-z]+)Camera", name).groups()
                check_camera(file, alf, family, camera.lower(), path)
            else:
                assert name.startswith(TESTED_ELSEWHERE), name


def check_camera(file, alf, family, camera, nwbfile_path):
    if family == "Pupil":
        check_pupil(file, alf, camera)
    elif family == "MotionEnergy":
        check_motion_energy(file, alf, camera)
    elif family == "PawStates":
        check_paw_states(file, alf, camera)
    elif family == "Video":
        n_frames = len(np.load(next(alf.rglob(f"*{camera}Camera.times*.npy"))))
        check_video(file, alf, camera, n_frames, nwbfile_path)
    else:
        raise AssertionError(family)


def check_valid(path, *, histology=True):
    """No error of pynwb's validator; no CRITICAL and no BEST_PRACTICE_VIOLATION of the Inspector as DANDI sets it.

    Without histology the location of an electrode is "unknown", for which the Inspector wants an Allen term as well.
    """
    ignored = [] if histology else ["check_electrodes_location_allen_ccf"]
    assert validate(path=path) == []
    messages = inspect_nwbfile(
        nwbfile_path=path,
        skip_validate=True,
        config=load_config("dandi"),
        importance_threshold=Importance.BEST_PRACTICE_VIOLATION,
        ignore=ignored,
    )
    assert [f"{m.check_function_name}: {m.object_name}: {m.message}" for m in messages] == []


def check_verified(path, source):
    """``verify`` finds no difference, and leaves out only what was not to be converted."""
    report = verify(path, source)
    assert report.ok, [(row.status, row.dataset, row.object, row.reason) for row in report.differences]
    reasons = {row.reason.split(":")[0] for row in report if row.status == "not verified"}
    assert reasons <= {"left out", "not converted"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_example_session(tmp_path, variant):
    session_path = make_example_session(
        tmp_path, n_channels=24, raw_duration_s=0.3, spikes_per_probe=3000, n_trials=30, **VARIANTS[variant]
    )
    record = AlyxRecord.from_rest(**example_alyx_answers(session_path))
    document = make_document(session_path, alyx=record)
    summary = convert_document(document, tmp_path / "out")
    check_families(summary.nwbfile_path, session_path, document.source_data)
    document.write_json(tmp_path / "document.json")
    check_verified(summary.nwbfile_path, tmp_path / "document.json")
    check_valid(summary.nwbfile_path, histology=VARIANTS[variant].get("histology", True))


def test_uuids_in_names_change_nothing(tmp_path):
    arguments = dict(n_channels=8, raw_duration_s=0.1, spikes_per_probe=500, n_trials=5, cameras=("left",))
    plain = make_example_session(tmp_path / "plain", **arguments)
    with_uuids = make_example_session(tmp_path / "uuids", uuids_in_names=True, **arguments)
    document = make_document(with_uuids, timezone="UTC")
    assert list(document.source_data) == list(make_document(plain, timezone="UTC").source_data)
    summary = convert_document(document, tmp_path / "out")
    check_families(summary.nwbfile_path, plain, document.source_data)


@needs_real_data
@pytest.mark.parametrize("folder", CONVERTIBLE)
def test_real_session(tmp_path, folder):
    subject = {"species": "Mus musculus", "sex": "U", "age": "P90D/", "subject_id": "mouse"}
    document = make_document(
        REAL / folder, timezone="UTC", session_start_time="2019-07-01T12:00:00", metadata={"Subject": subject}
    )
    assert set(document.source_data) == CONVERTIBLE[folder]
    summary = convert_document(document, tmp_path / "a.nwb")
    check_families(summary.nwbfile_path, REAL / folder, document.source_data)
    check_verified(summary.nwbfile_path, REAL / folder)
    check_valid(summary.nwbfile_path, histology=folder.startswith("chimera"))


def test_packages_that_made_the_file_are_named_in_it(tmp_path):
    session_path = make_example_session(tmp_path, probes=(), raw_bands=(), cameras=(), audio=False, n_trials=5)
    summary = convert_document(make_document(session_path, timezone="UTC"), tmp_path)
    with h5py.File(summary.nwbfile_path) as file:
        makers = dict(file["general/was_generated_by"].asstr()[:])
    assert makers["neuroconv"] == version("neuroconv")
