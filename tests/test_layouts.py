"""Every layout that IBL has given sessions: a whole conversion, each value of which is that of the source."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from real_data import REAL, needs_real_data

from ibl_nwb import convert_document, inspect_session, make_document
from ibl_nwb.errors import UsageError
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify

TINY = dict(
    n_channels=8, raw_duration_s=0.1, spikes_per_probe=400, n_clusters=6, n_trials=6, cameras=("left",), revisions=False
)
BEHAVIOR = TINY | dict(probes=(), raw_bands=(), cameras=(), audio=False)
SORTING = TINY | dict(raw_bands=(), cameras=(), audio=False, passive=False, probes=("probe00",))

METAS = REAL / "spikeglx_meta"
N_SAMPLES = 600


def make(folder, **arguments):
    return make_example_session(folder, **arguments)


def convert_and_verify(session_path, folder, **arguments):
    """Names of the interfaces and the path of the file, in which nothing differs from the source."""
    document = make_document(session_path, timezone="UTC", **arguments)
    document.write_json(folder / "document.json")
    path = convert_document(document, folder / "file.nwb").nwbfile_path
    report = verify(path, folder / "document.json")
    assert report.ok, [(row.status, row.dataset, row.object, row.reason) for row in report.differences]
    return set(document.source_data), path


def objects_of(path):
    with h5py.File(path) as file:
        found = []
        file.visit(found.append)
    return set(found)


def at_the_root(folder):
    """Files of 2018, beside the folders of the raw data."""
    path = make(folder, **BEHAVIOR | dict(trials_layout="legacy", wheel_layout="legacy"))
    for file in (path / "alf").iterdir():
        file.rename(path / file.name)
    (path / "alf").rmdir()
    return path


def names_of_2018(folder):
    """The namespace and the attribute names that were given up."""
    path = make(folder, **BEHAVIOR | dict(trials_layout="legacy", wheel_layout="legacy", raw_task_data=True))
    (path / "alf/_ibl_trials.itiDuration.npy").rename(path / "alf/_ibl_trials.iti_duration.npy")
    for file in (path / "raw_behavior_data").iterdir():
        file.rename(file.with_name(file.name.replace("_iblrig_", "_ibl_")))
    return path


def copies_at_the_root(folder):
    """Files of 2018 left at the root of a session that was extracted again; what they say differs."""
    path = make(folder, **BEHAVIOR)
    old = make(folder / "old", **BEHAVIOR | dict(trials_layout="legacy", wheel_layout="legacy", seed=1))
    for file in (old / "alf").iterdir():
        shutil.copy(file, path)
    return path


def two_protocols(folder):
    """Two tasks and a passive protocol, numbered in the order in which they ran."""
    path = make(folder / "a", **BEHAVIOR | dict(task_collection="alf/task_00", raw_task_data=True))
    second = make(folder / "b", **BEHAVIOR | dict(task_collection="alf/task_01", raw_task_data=True, seed=1))
    passive = make(folder / "c", **TINY | dict(probes=("probe00",), raw_bands=(), cameras=(), audio=False))
    for source, name in ((second, "alf/task_01"), (second, "raw_task_data_01")):
        shutil.copytree(source / name, path / name)
    (path / "alf/task_02").mkdir()
    for file in (passive / "alf").glob("_ibl_passive*"):
        shutil.copy(file, path / "alf/task_02")
    shutil.copytree(passive / "raw_passive_data", path / "raw_task_data_02")
    return path


def three_probes(folder):
    return make(folder, **TINY | dict(probes=("probe00", "probe01", "probe02"), cameras=(), audio=False, passive=False))


def everything_in_a_revision(folder):
    path = make(folder, **TINY | dict(probes=("probe00",), ephys_qc=True, raw_task_data=True, trials_layout="legacy"))
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.parent != path:
            (file.parent / "#2024-05-06#").mkdir(exist_ok=True)
            file.rename(file.parent / "#2024-05-06#" / file.name)
    return path


def no_folder_of_a_sorter(folder):
    path = make(folder, **SORTING)
    for file in (path / "alf/probe00/pykilosort").iterdir():
        file.rename(path / "alf/probe00" / file.name)
    (path / "alf/probe00/pykilosort").rmdir()
    return path


FOLDERS = {
    "2018, at the root": (at_the_root, {"Trials", "Wheel", "TaskSettings"}),
    "2018, names given up": (names_of_2018, {"Trials", "Wheel", "AmbientSensors", "RawTaskData"}),
    "2018, copies left at the root": (copies_at_the_root, {"Trials", "Wheel"}),
    "several protocols": (
        two_protocols,
        {"Trials", "TrialsTask01", "Wheel", "WheelTask01", "RawTaskData", "RawTaskDataRawTaskData01", "Passive"},
    ),
    "three probes": (three_probes, {"RawEphysAPProbe02", "RawEphysLFProbe02", "SortedSpikesProbe02", "NIDQ"}),
    "all in revisions": (
        everything_in_a_revision,
        {"Trials", "Wheel", "RawEphysAPProbe00", "SortedSpikesProbe00", "PoseLeftCamera", "EphysQCProbe00", "Sync"},
    ),
    "no folder of a sorter": (no_folder_of_a_sorter, {"SortedSpikesProbe00"}),
}

ARGUMENTS = {
    "training, left camera only": BEHAVIOR | dict(cameras=("left",), task_collection="alf/task_00"),
    "one file per attribute": BEHAVIOR | dict(trials_layout="legacy"),
    "table beside older files": BEHAVIOR | dict(trials_layout="mixed"),
    "revisions beside bare files": SORTING | dict(revisions=True),
    "dataset UUIDs in names": TINY | dict(probes=("probe00",), uuids_in_names=True, revisions=True),
    "iblsorter": SORTING | dict(sorter="iblsorter"),
    "Kilosort 2": SORTING | dict(sorter="kilosort2"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_of_layout(tmp_path, name):
    make_folder, families = FOLDERS[name]
    converted, _ = convert_and_verify(make_folder(tmp_path / "in"), tmp_path)
    assert families <= converted


@pytest.mark.parametrize("name", ARGUMENTS)
def test_layout_of_the_example_session(tmp_path, name):
    convert_and_verify(make(tmp_path / "in", **ARGUMENTS[name]), tmp_path)


def test_copies_at_the_root_are_not_converted(tmp_path):
    session_path = copies_at_the_root(tmp_path / "in")
    _, path = convert_and_verify(session_path, tmp_path)
    with h5py.File(path) as file:
        position = file["processing/wheel/WheelPosition/data"][:]
    np.testing.assert_array_equal(position, np.load(session_path / "alf/_ibl_wheel.position.npy"))
    rows = {row.relative_path: row for row in inspect_session(ALFSession(session_path))}
    assert rows["_ibl_wheel.position.npy"].reason == "Wheel uses what is in a folder instead of the session's root"


def test_tasks_have_tables_of_their_own(tmp_path):
    _, path = convert_and_verify(two_protocols(tmp_path / "in"), tmp_path)
    found = objects_of(path)
    assert {"intervals/trials", "intervals/trials_task_01", "processing/wheel/WheelPositionTask01"} <= found


@pytest.mark.parametrize("asked", [None, "iblsorter", "pykilosort", ""])
def test_of_several_sortings_the_one_that_ibl_prefers_or_that_is_asked_for(tmp_path, asked):
    session_path = make(tmp_path / "in", **SORTING)
    for seed, sorter in enumerate(("iblsorter", "kilosort2"), start=1):
        other = make(tmp_path / sorter, **SORTING | dict(sorter=sorter, seed=seed))
        shutil.copytree(other / "alf/probe00" / sorter, session_path / "alf/probe00" / sorter)
    bare = no_folder_of_a_sorter(tmp_path / "bare")
    for file in (bare / "alf/probe00").glob("[sct]*.*"):
        shutil.copy(file, session_path / "alf/probe00")
    document = make_document(session_path, timezone="UTC")
    if asked is not None:
        for source in document.source_data.values():
            if source.get("collection", "").startswith("alf/probe00"):
                source["collection"] = f"alf/probe00/{asked}".rstrip("/")
    document.write_json(tmp_path / "document.json")
    path = convert_document(document, tmp_path / "file.nwb").nwbfile_path
    folder = session_path / "alf/probe00" / ("iblsorter" if asked is None else asked)
    with h5py.File(path) as file:
        found = np.sort(file["units/spike_times"][:])
    np.testing.assert_array_equal(found, np.load(folder / "spikes.times.npy"))
    report = verify(path, tmp_path / "document.json")
    assert report.ok, [(row.status, row.dataset, row.object, row.reason) for row in report.differences]


def test_a_sorter_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    document = make_document(make(tmp_path / "in", **SORTING), timezone="UTC", include=["SortedSpikes"])
    document.source_data["SortedSpikesProbe00"]["collection"] = "alf/probe00/kilosort4"
    with pytest.raises(UsageError, match="alf/probe00/pykilosort"):
        convert_document(document, tmp_path / "file.nwb")


# Probes, by the metadata of real recordings


def write_recording(folder: Path, stem: str, meta: Path, *, channels=None, band="ap", seed=0):
    """A flat recording of noise beside the metadata of a real one, of the same number of channels."""
    text = meta.read_text(encoding="utf-8", errors="replace")
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    n_saved = int(values["nSavedChans"])
    data = np.random.default_rng(seed).integers(-200, 200, (N_SAMPLES, n_saved)).astype(np.int16)
    size, seconds = data.nbytes, N_SAMPLES / float(values["imSampRate"])
    lines = [
        f"fileSizeBytes={size}" if line.startswith("fileSizeBytes=") else line
        for line in text.splitlines()
        if not line.startswith("fileTimeSecs=")
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.{band}.meta").write_text("\n".join([*lines, f"fileTimeSecs={seconds}"]) + "\n")
    data.tofile(folder / f"{stem}.{band}.bin")


PROBES = {
    "3A": ({"probe00": "imec", "probe01": "imec"}, "sample3A_g0_t0.imec.ap.meta", "sample3A_g0_t0.imec.lf.meta"),
    "3B": ({"probe00": "imec1"}, "sample3B_g0_t0.imec1.ap.meta", "sample3B_g0_t0.imec1.lf.meta"),
    "NP2.1": ({"probe00": "imec0"}, "sampleNP2.1_g0_t0.imec.ap.meta", None),
    "NP2.4 on one shank": ({"probe00": "imec0"}, "sampleNP2.4_1shank_g0_t0.imec.ap.meta", None),
    "NP2.4 on four shanks": ({"probe00": "imec0"}, "sampleNP2.4_4shanks_g0_t0.imec.ap.meta", None),
}


@needs_real_data
@pytest.mark.parametrize("kind", PROBES)
def test_probe_of_a_kind(tmp_path, kind):
    imecs, ap, lf = PROBES[kind]
    session_path = make(tmp_path / "in", **BEHAVIOR)
    for seed, (probe_name, imec) in enumerate(imecs.items()):
        folder, stem = session_path / "raw_ephys_data" / probe_name, f"_spikeglx_ephysData_g0_t0.{imec}"
        write_recording(folder, stem, METAS / ap, seed=seed)
        np.save(folder / f"{stem}.timestamps.npy", np.array([[0.0, 1.5 + seed], [30_000.0, 2.5001 + seed]]))
        if lf is not None:
            write_recording(folder, stem, METAS / lf, band="lf", seed=seed + 10)
    converted, path = convert_and_verify(session_path, tmp_path)
    labels = [probe_name.capitalize() for probe_name in imecs]
    assert {f"RawEphysAP{label}" for label in labels} <= converted
    assert {f"RawEphysLF{label}" in converted for label in labels} == {lf is not None}
    with h5py.File(path) as file:
        for seed, label in enumerate(labels):
            series = file[f"acquisition/ElectricalSeriesAP{label}"]
            assert series["starting_time"][()] == pytest.approx(1.5 + seed)


@needs_real_data
def test_shanks_that_were_split_are_probes_of_their_own(tmp_path):
    """``probe00a`` to ``probe00d``: the metadata of the whole probe with the changes that the splitter makes."""
    session_path = make(tmp_path / "in", **BEHAVIOR)
    meta = METAS / "sampleNP2.4_4shanks_g0_t0.imec.ap.meta"
    lines = meta.read_text().splitlines()
    table = next(line for line in lines if line.lstrip("~").startswith("imroTbl="))
    shanks = [int(entry.split(" ")[1]) for entry in table.split(")(")[1:]]
    used = sorted(set(shanks))
    for shank in used:
        original = [channel for channel, other in enumerate(shanks) if other == shank]
        changed = {
            "nSavedChans": len(original) + 1,
            "snsApLfSy": f"{len(original)},0,1",
            "snsSaveChanSubset": f"0:{len(original)}",
            "snsSaveChanSubset_orig": ",".join(map(str, [*original, 384])),
            "NP2.4_shank": shank,
            "original_meta": "False",
        }
        kept = [line.lstrip("~") for line in lines if line.lstrip("~").split("=")[0] not in changed]
        split = tmp_path / f"{shank}.meta"
        split.write_text("\n".join([*kept, *(f"{key}={value}" for key, value in changed.items())]) + "\n")
        folder = session_path / "raw_ephys_data" / f"probe00{'abcd'[shank]}"
        write_recording(folder, "_spikeglx_ephysData_g0_t0.imec0", split, seed=shank)
    converted, path = convert_and_verify(session_path, tmp_path)
    assert {f"RawEphysAPProbe00{'abcd'[shank]}" for shank in used} <= converted
    with h5py.File(path) as file:
        for shank in used:
            n_columns = file[f"acquisition/ElectricalSeriesAPProbe00{'abcd'[shank]}/data"].shape[1]
            assert n_columns == shanks.count(shank)
