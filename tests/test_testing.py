"""What the example session promises to the tests, documentation and demonstrations that use it."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from one.alf import io as alf_io
from one.alf.path import ALFPath

from ibl_nwb.errors import OutputExistsError, UsageError
from ibl_nwb.testing import example_alyx_answers, make_example_session

AP_VOLTS_PER_BIT = 0.6 / 512 / 500
SMALL: dict[str, Any] = {"n_channels": 16, "raw_duration_s": 0.2, "n_trials": 12, "spikes_per_probe": 2000}


@pytest.fixture(scope="module")
def timed_session(tmp_path_factory) -> tuple[Path, float]:
    start = time.perf_counter()
    session_path = make_example_session(tmp_path_factory.mktemp("default"))
    return session_path, time.perf_counter() - start


@pytest.fixture(scope="module")
def session(timed_session) -> Path:
    return timed_session[0]


@pytest.fixture(scope="module")
def uuid_session(tmp_path_factory) -> Path:
    return make_example_session(tmp_path_factory.mktemp("uuids"), uuids_in_names=True, **SMALL)


def load(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def relative_files(session_path: Path) -> set[str]:
    return {path.relative_to(session_path).as_posix() for path in session_path.rglob("*") if path.is_file()}


def digests(session_path: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((session_path / name).read_bytes()).hexdigest() for name in relative_files(session_path)
    }


def raw_file(session_path: Path, probe: int, ending: str) -> Path:
    return session_path / f"raw_ephys_data/probe0{probe}/_spikeglx_ephysData_g0_t0.imec{probe}.{ending}"


def newest_sorting(session_path: Path, probe: int) -> Path:
    folder = session_path / f"alf/probe0{probe}/pykilosort"
    return folder / "#2024-05-06#" if probe == 0 else folder


# The session as a whole ----------------------------------------------------------------------------------------------


def test_session_folder_is_in_the_layout_of_a_lab(session):
    assert session.as_posix().endswith("examplelab/Subjects/EX_001/2023-05-18/001")


def test_default_session_is_small_and_quick(timed_session):
    session_path, seconds = timed_session
    assert sum(path.stat().st_size for path in session_path.rglob("*") if path.is_file()) < 50e6
    assert seconds < 60  # A few seconds; the limit leaves room for a busy machine.


def test_same_seed_gives_same_bytes_and_another_seed_does_not(tmp_path):
    first, again, other = (
        digests(make_example_session(tmp_path / name, seed=seed, **SMALL))
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert first == again
    assert first.keys() == other.keys()
    measured = (
        "table.pqt",
        "Pose.pqt",
        "cbin",
        "spikes.times.npy",
        "position.npy",
        "uuids.csv",
        "sync.npy",
        "power.npy",
    )
    assert not [name for name in first if name.endswith(measured) and first[name] == other[name]]


def test_leaving_a_part_out_does_not_change_the_others(tmp_path):
    whole = digests(make_example_session(tmp_path / "whole", **SMALL))
    part = digests(make_example_session(tmp_path / "part", cameras=("right",), audio=False, raw_bands=(), **SMALL))
    changed = {name for name in part if part[name] != whole[name]}
    assert changed == {
        "_ibl_experiment.description.yaml",
        *(f"raw_ephys_data/_spikeglx_sync.{attribute}.npy" for attribute in ("times", "channels", "polarities")),
    }
    assert not any("audio" in name or "leftCamera" in name or name.endswith("cbin") for name in part)


def test_every_file_has_a_valid_alf_name(session, uuid_session):
    for session_path in (session, uuid_session):
        invalid = [name for name in relative_files(session_path) if not ALFPath(session_path / name).is_valid_alf()]
        assert invalid == []


def test_uuids_in_names_leave_everything_else_as_it_is(uuid_session, tmp_path):
    bare = digests(make_example_session(tmp_path, **SMALL))
    named = digests(uuid_session)
    without = {ALFPath(uuid_session / name).without_uuid().relative_to(uuid_session).as_posix() for name in named}
    assert without == bare.keys()
    assert sorted(named.values()) == sorted(bare.values())


def test_a_folder_with_content_is_not_overwritten(session):
    with pytest.raises(OutputExistsError, match="not empty"):
        make_example_session(session.parents[4])


@pytest.mark.parametrize("argument", [{"trials_layout": "tabel"}, {"cameras": ("top",)}, {"n_channels": 385}])
def test_an_unknown_value_is_refused_by_name(argument, tmp_path):
    with pytest.raises(UsageError, match=next(iter(argument))):
        make_example_session(tmp_path, **argument)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_is_light():
    program = (
        "import sys, ibl_nwb; before = set(sys.modules); import ibl_nwb.testing;"
        "print(*sorted({'pandas', 'mtscomp', 'yaml', 'one'} & (set(sys.modules) - before)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


@pytest.mark.filterwarnings("ignore::one.alf.exceptions.ALFWarning")
def test_one_finds_the_session_and_the_newest_revisions(session):
    from one.alf.cache import make_parquet_db
    from one.api import One

    make_parquet_db(session.parents[4])
    one = One(cache_dir=session.parents[4], mode="local")
    [eid] = one.search(subject="EX_001")
    wheel = one.load_object(eid, "wheel", collection="alf")
    np.testing.assert_array_equal(wheel["position"], load(session / "alf/#2025-03-03#/_ibl_wheel.position.npy"))
    spikes = one.load_object(eid, "spikes", collection="alf/probe00/pykilosort")
    np.testing.assert_array_equal(spikes["times"], load(newest_sorting(session, 0) / "spikes.times.npy"))


def test_behaviour_only_session_has_no_trace_of_a_probe(tmp_path):
    session_path = make_example_session(tmp_path, probes=(), n_trials=12)
    assert not any("probe" in name or "raw_ephys_data" in name for name in relative_files(session_path))


# Task ----------------------------------------------------------------------------------------------------------------


def test_task_settings_and_sensors_are_those_of_the_session(session):
    settings = json.loads((session / "raw_behavior_data/_iblrig_taskSettings.raw.json").read_text())
    assert settings["SUBJECT_NAME"] == "EX_001"
    assert settings["SESSION_DATETIME"].startswith("2023-05-18T")
    assert 15 < settings["SUBJECT_WEIGHT"] < 35
    readings = (session / "raw_behavior_data/_iblrig_ambientSensorData.raw.jsonable").read_text().splitlines()
    assert len(readings) == 60
    assert all(len(json.loads(line)["Temperature_C"]) == 1 for line in readings)


def test_a_numbered_task_has_its_own_collections_and_keys(tmp_path):
    files = relative_files(session_path := make_example_session(tmp_path, probes=(), task_collection="alf/task_00"))
    assert {"alf/task_00/_ibl_trials.table.pqt", "alf/task_00/_ibl_wheel.timestamps.npy"} < files
    assert {"alf/licks.times.npy", "raw_task_data_00/_iblmic_audioSpectrogram.power.npy"} < files
    settings = json.loads((session_path / "raw_task_data_00/_iblrig_taskSettings.raw.json").read_text())
    assert settings["SESSION_START_TIME"].startswith("2023-05-18T")
    assert "SESSION_DATETIME" not in settings


# Trials and wheel ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(session) -> pd.DataFrame:
    return pd.read_parquet(session / "alf/#2024-02-20#/_ibl_trials.table.pqt")


def test_trials_table_has_the_columns_of_ibl_in_order(table):
    assert " ".join(table.columns) == (
        "intervals_0 intervals_1 goCue_times response_times choice stimOn_times contrastLeft contrastRight "
        "feedback_times feedbackType rewardVolume probabilityLeft firstMovement_times"
    )
    assert set(table.dtypes.astype(str)) == {"float64"}


def test_choice_and_feedback_agree_with_the_side_of_the_stimulus(table):
    assert (table.contrastLeft.isna() != table.contrastRight.isna()).all()
    correct_choice = np.where(table.contrastRight.isna(), 1, -1)
    np.testing.assert_array_equal(table.feedbackType, np.where(table.choice == correct_choice, 1, -1))
    np.testing.assert_array_equal(table.rewardVolume > 0, table.feedbackType == 1)


def test_one_trial_has_no_response_and_two_have_no_stimulus_onset(table):
    no_go = table[table.choice == 0]
    assert len(no_go) == 1
    assert no_go.firstMovement_times.isna().all()
    assert (no_go.response_times - no_go.goCue_times).item() == pytest.approx(60)
    assert table.stimOn_times.isna().sum() == 2


def test_events_of_a_trial_follow_one_another(table):
    order = ["intervals_0", "stimOn_times", "goCue_times", "response_times", "feedback_times", "intervals_1"]
    times = table[order].dropna().to_numpy()
    assert (np.diff(times, axis=1) > 0).all()
    assert (table.intervals_0.to_numpy()[1:] > table.intervals_1.to_numpy()[:-1]).all()


def test_bare_table_differs_from_its_revision_in_stimulus_onset_only(session, table):
    bare = pd.read_parquet(session / "alf/_ibl_trials.table.pqt")
    assert (bare.stimOn_times - table.stimOn_times).dropna().to_numpy() == pytest.approx(1 / 60)
    pd.testing.assert_frame_equal(bare.drop(columns="stimOn_times"), table.drop(columns="stimOn_times"))


def test_one_loads_trials_and_their_companions_with_equal_length(session):
    trials = alf_io.load_object(session / "alf", "trials")
    assert {"goCueTrigger_times", "stimOff_times", "quiescencePeriod", "included", "intervals_bpod"} < trials.keys()
    assert {len(values) for values in trials.values()} == {60}


@pytest.mark.parametrize("layout", ["legacy", "mixed"])
def test_older_trials_layouts_hold_integer_outcomes_beside_or_instead_of_the_table(layout, tmp_path):
    session_path = make_example_session(
        tmp_path, probes=(), cameras=(), n_trials=12, trials_layout=layout, revisions=False
    )
    alf = session_path / "alf"
    assert load(alf / "_ibl_trials.choice.npy").dtype == np.int64
    assert load(alf / "_ibl_trials.intervals.npy").shape == (12, 2)
    assert (alf / "_ibl_trials.table.pqt").exists() == (layout == "mixed")
    assert (alf / "_ibl_trials.itiDuration.npy").exists() == (layout == "legacy")
    trials = alf_io.load_object(alf, "trials")
    assert trials["stimOn_times"].shape == (12,)
    if layout == "mixed":
        late_by = load(alf / "_ibl_trials.stimOn_times.npy") - trials["stimOn_times"]
        assert late_by[np.isfinite(late_by)] == pytest.approx(1 / 60)


def test_wheel_turns_the_way_the_animal_chose(session, table):
    timestamps = load(session / "alf/_ibl_wheel.timestamps.npy")
    position = load(session / "alf/#2025-03-03#/_ibl_wheel.position.npy")
    responded = table[table.choice != 0]
    turn = np.interp(responded.response_times, timestamps, position) - np.interp(
        responded.firstMovement_times, timestamps, position
    )
    np.testing.assert_array_equal(np.sign(turn), -responded.choice)
    assert (np.abs(turn) > 0.2).all()


def test_wheel_is_sampled_at_every_encoder_step(session):
    assert (np.diff(load(session / "alf/_ibl_wheel.timestamps.npy")) > 0).all()
    steps = np.diff(load(session / "alf/#2025-03-03#/_ibl_wheel.position.npy"))
    assert np.abs(steps) == pytest.approx(2 * np.pi / 4096)


def test_peak_amplitude_is_the_largest_excursion_within_each_movement(session):
    timestamps = load(session / "alf/_ibl_wheel.timestamps.npy")
    position = load(session / "alf/#2025-03-03#/_ibl_wheel.position.npy")
    intervals = load(session / "alf/_ibl_wheelMoves.intervals.npy")
    amplitudes = load(session / "alf/#2025-03-03#/_ibl_wheelMoves.peakAmplitude.npy")
    rest = np.concatenate([[0.0], position])[np.searchsorted(timestamps, intervals[:, 0])]
    for (start, stop), amplitude, before in zip(intervals, amplitudes, rest, strict=True):
        excursion = position[(timestamps >= start) & (timestamps <= stop)] - before
        assert excursion[np.abs(excursion).argmax()] == pytest.approx(amplitude)


def test_bare_wheel_position_and_amplitude_have_the_wrong_sign(session):
    for attribute in ("_ibl_wheel.position.npy", "_ibl_wheelMoves.peakAmplitude.npy"):
        np.testing.assert_array_equal(
            load(session / "alf" / attribute), -load(session / "alf/#2025-03-03#" / attribute)
        )


def test_legacy_wheel_is_in_centimetres_with_times_and_velocity(tmp_path):
    alf = make_example_session(tmp_path, probes=(), cameras=(), n_trials=12, wheel_layout="legacy") / "alf"
    wheel = alf_io.load_object(alf, "wheel")
    assert wheel.keys() == {"position", "times", "velocity"}
    assert np.median(np.abs(np.diff(wheel["position"]))) == pytest.approx(2 * np.pi * 3.1 / 1024)
    assert not list(alf.glob("*wheelMoves*"))


# Video and audio -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("camera", "rate", "n_columns"), [("left", 60, 69), ("right", 150, 69), ("body", 30, 3)])
def test_pose_has_one_row_per_camera_time(session, camera, rate, n_columns):
    times = load(session / f"alf/_ibl_{camera}Camera.times.npy")
    pose = pd.read_parquet(session / f"alf/_ibl_{camera}Camera.lightningPose.pqt")
    assert pose.shape == (len(times), n_columns)
    assert 1 / np.median(np.diff(times)) == pytest.approx(rate, rel=1e-2)
    likelihood = pose.filter(regex="_likelihood$").to_numpy()
    assert likelihood.min() < 0.9 < likelihood.max() <= 1
    assert np.isfinite(pose.to_numpy()).all()


def test_camera_times_can_be_longer_and_dlc_has_no_ensemble_columns(tmp_path):
    alf = make_example_session(tmp_path, probes=(), n_trials=4, pose_tracker="dlc", extra_camera_times=3) / "alf"
    pose = pd.read_parquet(alf / "_ibl_leftCamera.dlc.pqt")
    assert len(load(alf / "_ibl_leftCamera.times.npy")) == len(pose) + 3
    assert all(name.endswith(("_x", "_y", "_likelihood")) for name in pose.columns)


def test_audio_has_the_shapes_of_ibl_and_its_own_clock(session, table):
    audio = session / "raw_behavior_data"
    spectrogram = {
        name: load(audio / f"_iblmic_audioSpectrogram.{name}.npy")
        for name in ("power", "frequencies", "times_mic", "times")
    }
    n_windows = len(spectrogram["power"])
    assert {name: values.shape for name, values in spectrogram.items()} == {
        "power": (n_windows, 257),
        "frequencies": (1, 257),
        "times_mic": (n_windows, 1),
        "times": (n_windows, 1),
    }
    assert {values.dtype for values in spectrogram.values()} == {np.dtype(np.float32)}
    lead = spectrogram["times_mic"][0, 0] - spectrogram["times"][0, 0]
    onsets = load(audio / "_iblmic_audioOnsetGoCue.times_mic.npy")
    distance = np.abs((onsets - lead)[:, None] - table.goCue_times.to_numpy()[None, :]).min(axis=1)
    assert len(onsets) == len(table) - 1
    assert distance.max() < 0.02


def test_audio_without_alignment_has_no_session_times(tmp_path):
    session_path = make_example_session(tmp_path, probes=(), n_trials=4, audio_session_times=False)
    assert not (session_path / "raw_behavior_data/_iblmic_audioSpectrogram.times.npy").exists()
    assert (session_path / "raw_behavior_data/_iblmic_audioSpectrogram.times_mic.npy").exists()


# Sorting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", [0, 1])
def test_spike_times_are_the_samples_on_the_session_clock(session, probe):
    spikes = alf_io.load_object(newest_sorting(session, probe), "spikes")
    knots = load(raw_file(session, probe, "timestamps.npy"))
    np.testing.assert_allclose(spikes["times"], np.interp(spikes["samples"], *knots.T), rtol=0, atol=1e-9)
    assert (np.diff(spikes["times"]) >= 0).all()
    assert knots[0, 0] <= spikes["samples"].min()
    assert spikes["samples"].max() <= knots[-1, 0]


@pytest.mark.parametrize(("probe", "samples", "clusters"), [(0, np.uint64, np.uint16), (1, np.int64, np.int32)])
def test_spikes_have_the_types_of_their_sorter(session, probe, samples, clusters):
    spikes = alf_io.load_object(newest_sorting(session, probe), "spikes")
    assert {name: values.dtype.type for name, values in spikes.items()} == {
        "times": np.float64,
        "samples": samples,
        "clusters": clusters,
        "templates": clusters,
        "amps": np.float64,
        "depths": np.float64,
    }


def test_knots_are_not_the_identity_and_differ_between_probes(session):
    sync = [load(raw_file(session, probe, "sync.npy")) for probe in (0, 1)]
    drift = [np.polyfit(knots[:, 0], knots[:, 1], 1) for knots in sync]
    assert all(abs(slope - 1) > 1e-6 and offset > 0.01 for slope, offset in drift)
    assert abs(drift[0][1] - drift[1][1]) > 0.1
    assert all(np.ptp(np.diff(knots[:, 1]) / np.diff(knots[:, 0])) > 1e-8 for knots in sync)


@pytest.mark.parametrize("probe", [0, 1])
def test_silent_clusters_are_nan_and_have_no_metrics(session, probe):
    folder = newest_sorting(session, probe)
    spikes, clusters = alf_io.load_object(folder, "spikes"), alf_io.load_object(folder, "clusters")
    n_clusters = len(clusters["channels"])
    silent = sorted(set(range(n_clusters)) - set(spikes["clusters"].tolist()))
    assert silent == [4, 14, 24]
    for attribute in ("depths", "peakToTrough"):
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(clusters[attribute])), silent)
    metrics = pd.read_parquet(folder / "clusters.metrics.pqt")
    assert sorted(metrics["cluster_id"]) == sorted(set(range(n_clusters)) - set(silent))
    assert metrics["cluster_id"].is_monotonic_increasing == (probe == 0)
    counts = metrics.set_index("cluster_id")["spike_count"]
    np.testing.assert_array_equal(counts.sort_index(), np.bincount(spikes["clusters"])[counts.sort_index().index])


def test_clusters_have_uuids_and_templates(session):
    folder = newest_sorting(session, 0)
    assert (folder / "clusters.uuids.csv").read_text().splitlines()[0] == "uuids"
    assert pd.read_csv(folder / "clusters.uuids.csv")["uuids"].nunique() == 30
    assert load(folder / "clusters.waveforms.npy").shape == (30, 82, 32)
    assert load(folder / "templates.waveformsChannels.npy").dtype == np.int32
    first_channels = load(folder / "clusters.waveformsChannels.npy")[:, 0]
    np.testing.assert_array_equal(first_channels, load(folder / "clusters.channels.npy"))


def test_second_probe_is_sorted_on_fewer_channels_than_it_has_sites(session):
    channels = alf_io.load_object(newest_sorting(session, 1), "channels")
    sites = alf_io.load_object(session / "alf/probe01", "electrodeSites")
    assert len(channels["rawInd"]) == 374
    assert len(sites["mlapdv"]) == 384
    for attribute in ("localCoordinates", "mlapdv", "brainLocationIds_ccf_2017"):
        np.testing.assert_array_equal(channels[attribute], sites[attribute][channels["rawInd"]])


def test_site_grid_and_brain_coordinates_are_those_of_ibl(session):
    sites = alf_io.load_object(session / "alf/probe00", "electrodeSites")
    np.testing.assert_array_equal(sites["localCoordinates"][:5], [[43, 20], [11, 20], [59, 40], [27, 40], [43, 60]])
    assert sites["mlapdv"].dtype == np.int32
    assert (sites["mlapdv"][:, 0] < 0).all()
    assert (sites["brainLocationIds_ccf_2017"] >= 0).all()
    assert (np.diff(sites["mlapdv"][::2, 2]) > 0).all()


def test_without_histology_nothing_is_located(tmp_path):
    files = relative_files(make_example_session(tmp_path, histology=False, raw_bands=(), **SMALL))
    assert not any("mlapdv" in name or "brainLocation" in name or "electrodeSites" in name for name in files)


def test_bare_sorting_is_another_one_than_its_revision(session):
    bare = alf_io.load_object(session / "alf/probe00/pykilosort", "spikes")
    revised = alf_io.load_object(newest_sorting(session, 0), "spikes")
    assert len(bare["times"]) < len(revised["times"])
    assert bare["clusters"].max() + 1 == 20
    assert set(bare["samples"]) < set(revised["samples"])


def test_without_revisions_there_is_one_version_of_everything(tmp_path):
    session_path = make_example_session(tmp_path, raw_bands=(), revisions=False, **SMALL)
    assert not any("#" in name for name in relative_files(session_path))
    assert len(load(session_path / "alf/probe00/pykilosort/clusters.channels.npy")) == 30


# Raw ephys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", [0, 1])
@pytest.mark.parametrize("band", ["ap", "lf"])
def test_mtscomp_gives_what_header_and_metadata_say(session, probe, band):
    import mtscomp

    cbin = raw_file(session, probe, f"{band}.cbin")
    header = json.loads(cbin.with_suffix(".ch").read_text())
    meta = dict(line.split("=", 1) for line in cbin.with_suffix(".meta").read_text().splitlines())
    traces = mtscomp.decompress(cbin, cbin.with_suffix(".ch"), check_after_decompress=False)
    data = traces[:]
    assert list(data.shape) == header["shape"]
    assert data.shape[1] == int(meta["nSavedChans"]) == 385
    assert hashlib.sha1(data.tobytes()).hexdigest() == header["sha1_uncompressed"] == meta["fileSHA1"].lower()
    assert data.nbytes == int(meta["fileSizeBytes"])
    chunks = np.diff(header["chunk_bounds"])
    assert chunks[0] == round(header["sample_rate"])
    assert 0 < chunks[-1] < chunks[0]
    assert header["do_time_diff"]
    assert not header["do_spatial_diff"]
    traces.close()


def test_lf_rate_is_a_twelfth_of_the_ap_rate(session):
    rates = [json.loads(raw_file(session, 0, f"{band}.ch").read_text())["sample_rate"] for band in ("ap", "lf")]
    assert rates[0] == pytest.approx(30000.39, abs=0.01)
    assert rates[1] == pytest.approx(rates[0] / 12, rel=1e-12)


@pytest.mark.parametrize("probe", [0, 1])
def test_spikeinterface_reads_both_bands_and_the_probe(session, probe):
    import probeinterface
    from spikeinterface.extractors.cbin_ibl import CompressedBinaryIblExtractor

    ap = CompressedBinaryIblExtractor(cbin_file_path=raw_file(session, probe, "ap.cbin"))
    # Without the sync channel SpikeInterface cannot place the LF channels of any SpikeGLX file.
    lf = CompressedBinaryIblExtractor(cbin_file_path=raw_file(session, probe, "lf.cbin"), load_sync_channel=True)
    assert ap.get_channel_gains() == pytest.approx(2.34375)
    assert lf.get_channel_gains()[:-1] == pytest.approx(4.6875)
    assert ap.get_num_samples() // 12 == lf.get_num_samples()
    ap_probe = probeinterface.read_spikeglx(raw_file(session, probe, "ap.meta"))
    sites = load(session / f"alf/probe0{probe}/electrodeSites.localCoordinates.npy")
    # SpikeGLX and IBL mirror each other's lateral axis and start 20 um apart.
    np.testing.assert_array_equal(ap_probe.contact_positions, np.column_stack([59 - sites[:, 0], sites[:, 1] - 20]))


def test_probes_have_serial_numbers_of_their_own(session):
    from neo.rawio.spikeglxrawio import extract_stream_info, read_meta_file

    metas = [read_meta_file(raw_file(session, probe, "ap.meta")) for probe in (0, 1)]
    assert metas[0]["imDatPrb_sn"] != metas[1]["imDatPrb_sn"]
    assert all(meta["imDatPrb_type"] == "0" and meta["typeThis"] == "imec" for meta in metas)
    assert extract_stream_info(raw_file(session, 1, "ap.meta"), metas[1])["stream_name"] == "imec1.ap"


@pytest.mark.parametrize("probe", [0, 1])
def test_sync_word_is_the_square_wave_of_the_sync_board(session, probe):
    import mtscomp

    reader = mtscomp.Reader()
    reader.open(raw_file(session, probe, "ap.cbin"))
    word = reader[:][:, -1]
    knots = load(raw_file(session, probe, "timestamps.npy"))
    fronts = alf_io.load_object(session / "raw_ephys_data", "sync", namespace="spikeglx")
    board = fronts["times"][fronts["channels"] == 3]
    own = np.interp(np.flatnonzero(np.diff(word)) + 1, *knots.T)
    assert set(np.unique(word)) == {0, 1 << 6}
    assert len(own) >= 2
    assert np.abs(own[:, None] - board[None, :]).min(axis=1) == pytest.approx(0, abs=1 / 30000)
    reader.close()


@pytest.mark.parametrize("probe", [0, 1])
def test_ap_traces_hold_the_spikes_of_the_sorting(session, probe):
    import mtscomp

    reader = mtscomp.Reader()
    reader.open(raw_file(session, probe, "ap.cbin"))
    volts = reader[:][:, :-1] * AP_VOLTS_PER_BIT
    reader.close()
    folder = newest_sorting(session, probe)
    spikes, clusters = alf_io.load_object(folder, "spikes"), alf_io.load_object(folder, "clusters")
    columns = load(folder / "channels.rawInd.npy")[clusters["channels"]]
    inside = np.flatnonzero(spikes["samples"] < len(volts))
    assert len(inside) > 20
    troughs = volts[spikes["samples"][inside].astype(int), columns[spikes["clusters"][inside]]]
    templates = clusters["waveforms"][spikes["clusters"][inside], 41, 0]
    assert np.corrcoef(troughs, templates)[0, 1] > 0.9
    assert np.median(troughs / templates) == pytest.approx(1, abs=0.15)


def test_fewer_channels_are_declared_as_a_saved_subset(tmp_path):
    import probeinterface
    from spikeinterface.extractors.cbin_ibl import CompressedBinaryIblExtractor

    session_path = make_example_session(tmp_path, probes=("probe00",), **SMALL)
    recording = CompressedBinaryIblExtractor(cbin_file_path=raw_file(session_path, 0, "ap.cbin"))
    assert recording.get_num_channels() == 16
    assert probeinterface.read_spikeglx(raw_file(session_path, 0, "ap.meta")).get_contact_count() == 16
    assert "\nsnsSaveChanSubset=384:399,768\n" in raw_file(session_path, 0, "lf.meta").read_text()


def test_flat_binaries_hold_the_same_samples_as_compressed_ones(tmp_path):
    import mtscomp

    flat = make_example_session(tmp_path / "flat", raw_format="bin", **SMALL)
    compressed = make_example_session(tmp_path / "compressed", **SMALL)
    reader = mtscomp.Reader()
    reader.open(raw_file(compressed, 1, "ap.cbin"))
    assert raw_file(flat, 1, "ap.bin").read_bytes() == reader[:].tobytes()
    assert not raw_file(flat, 1, "ap.ch").exists()
    reader.close()


# Alyx ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answers(session) -> dict[str, Any]:
    return example_alyx_answers(session)


def test_alyx_answers_are_json_and_the_same_every_time(session, answers):
    assert json.dumps(answers) == json.dumps(example_alyx_answers(session))


def test_alyx_knows_size_and_md5_of_every_file(session, answers):
    known = {
        record["file_records"][0]["relative_path"].removeprefix("EX_001/2023-05-18/001/"): record
        for record in answers["datasets"]
    }
    assert known.keys() == relative_files(session)
    for name, record in known.items():
        data = (session / name).read_bytes()
        assert (record["file_size"], record["hash"]) == (len(data), hashlib.md5(data).hexdigest())


def test_alyx_holds_the_newest_revision_for_default(answers):
    positions = {
        record["revision"]: record["default_dataset"]
        for record in answers["datasets"]
        if record["name"] == "_ibl_wheel.position.npy"
    }
    assert positions == {"": False, "2025-03-03": True}
    related = {
        record["id"]: record["default_revision"] for record in answers["session"]["data_dataset_session_related"]
    }
    ids = {record["url"].rsplit("/", 1)[1]: str(record["default_dataset"]) for record in answers["datasets"]}
    assert related == ids


def test_alyx_start_time_and_protocol_are_those_of_the_task_settings(session, answers):
    settings = json.loads((session / "raw_behavior_data/_iblrig_taskSettings.raw.json").read_text())
    assert answers["session"]["start_time"] == settings["SESSION_DATETIME"]
    assert answers["session"]["task_protocol"] == settings["PYBPOD_PROTOCOL"] + settings["IBLRIG_VERSION_TAG"]


def test_alyx_weighings_lie_on_both_sides_of_the_session(answers):
    dates = [weighing["date_time"] for weighing in answers["subject"]["weighings"]]
    assert min(dates) < answers["session"]["start_time"] < max(dates)
    assert answers["subject"]["birth_date"] < min(dates)


def test_alyx_insertions_agree_with_files_and_trajectories(session, answers):
    assert [insertion["name"] for insertion in answers["insertions"]] == ["probe00", "probe01"]
    for probe, insertion in enumerate(answers["insertions"]):
        assert f"imDatPrb_sn={insertion['serial']}\n" in raw_file(session, probe, "ap.meta").read_text()
        listed = answers["session"]["probe_insertion"][probe]
        assert listed["datasets"] == [dataset["id"] for dataset in insertion["datasets"]]
        trajectories = [t for t in answers["trajectories"] if t["probe_insertion"] == insertion["id"]]
        assert [trajectory["provenance"] for trajectory in trajectories] == [
            "Planned",
            "Micro-manipulator",
            "Histology track",
            "Ephys aligned histology track",
        ]
        tip_ml = trajectories[-1]["x"] - trajectories[-1]["depth"] * np.sin(np.deg2rad(15)) * (-1) ** (probe + 1)
        lowest_ml = load(session / f"alf/probe0{probe}/electrodeSites.mlapdv.npy")[0, 0]
        assert abs(tip_ml - lowest_ml) == pytest.approx(220 * np.sin(np.deg2rad(15)), abs=1)


def test_alyx_ids_are_the_uuids_in_the_names(uuid_session):
    answers = example_alyx_answers(uuid_session)
    ids = {record["url"].rsplit("/", 1)[1] for record in answers["datasets"]}
    assert ids == {path.stem.rsplit(".", 1)[1] for path in uuid_session.rglob("*") if path.is_file()}
    assert all(record["name"].count("-") == 0 for record in answers["datasets"])


def test_alyx_answers_follow_layouts_without_table_and_histology(tmp_path):
    session_path = make_example_session(
        tmp_path, histology=False, trials_layout="legacy", task_collection="alf/task_00", raw_bands=(), **SMALL
    )
    answers = example_alyx_answers(session_path)
    assert answers["session"]["n_trials"] == 12
    assert "xyz_picks" not in answers["insertions"][0]["json"]
    assert {trajectory["provenance"] for trajectory in answers["trajectories"]} == {"Planned", "Micro-manipulator"}
