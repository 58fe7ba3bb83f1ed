"""Data that are known to be broken: mended in memory where IBL has a rule, refused with the reason, and always told."""

import hashlib
import re

import h5py
import numpy as np
import pandas as pd
import pytest
from family_checks import check_valid
from real_data import REAL, needs_real_data

from ibl_nwb import convert_document, make_document
from ibl_nwb.errors import DatasetInconsistentError, DatasetUnreadableError
from ibl_nwb.known_faults import KNOWN_FAULTS, find_known_faults
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify

TINY = dict(
    n_channels=8, raw_duration_s=0.1, spikes_per_probe=300, n_clusters=5, n_trials=6, audio=False, revisions=False
)
BEHAVIOR = TINY | dict(probes=(), raw_bands=(), cameras=())
RECORDING = TINY | dict(cameras=(), passive=False, raw_bands=("ap",))
CAMERA = TINY | dict(probes=(), raw_bands=(), cameras=("right",))
SUBJECT = {"species": "Mus musculus", "sex": "U", "age": "P90D/", "subject_id": "mouse"}


def hash_files(folder):
    return {path: hashlib.md5(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


def convert(session_path, folder, **arguments):
    """Convert and verify; the source must be left as it was."""
    before = hash_files(session_path)
    document = make_document(session_path, timezone="UTC", metadata={"Subject": SUBJECT}, **arguments)
    summary = convert_document(document, folder / "file.nwb")
    report = verify(summary.nwbfile_path, session_path)
    assert report.ok, [(row.status, row.dataset, row.object, row.reason) for row in report.differences]
    assert hash_files(session_path) == before
    return summary


def told(summary):
    return [*summary.notes, *(note for interface in summary.interfaces for note in interface.notes)]


def read(summary, path):
    with h5py.File(summary.nwbfile_path) as file:
        return file[path][()]


class TestCameras:
    def test_more_times_than_frames_are_cut_at_the_start_and_told(self, tmp_path):
        session_path = make_example_session(tmp_path / "in", **CAMERA | dict(extra_camera_times=3))
        summary = convert(session_path, tmp_path)
        n_interfaces = sum(interface.name.endswith("RightCamera") for interface in summary.interfaces)
        assert sum("the first 3 were left out" in note for note in told(summary)) == n_interfaces > 1
        times = np.load(session_path / "alf/_ibl_rightCamera.times.npy")
        with h5py.File(summary.nwbfile_path) as file:
            series = file["processing/behavior/PoseEstimationRightCamera"]
            nose = series["NoseTip"]
            np.testing.assert_array_equal(nose["timestamps"][:], times[3:])
            assert "the first 3 were left out" in str(dict(series.attrs)) + str(dict(nose.attrs)) + str(
                {name: series[name][()] for name in series if isinstance(series[name], h5py.Dataset)}
            )

    def test_fewer_times_than_frames_are_refused(self, tmp_path):
        session_path = make_example_session(tmp_path / "in", **CAMERA)
        path = session_path / "alf/_ibl_rightCamera.times.npy"
        np.save(path, np.load(path)[:-1])
        with pytest.raises(DatasetInconsistentError, match=r"times"):
            convert(session_path, tmp_path)
        assert not list(tmp_path.glob("*.nwb"))


class TestTrials:
    @pytest.mark.parametrize("layout", ["table", "legacy"])
    def test_go_cues_that_are_all_nan_stay_nan(self, tmp_path, layout):
        session_path = make_example_session(tmp_path / "in", **BEHAVIOR | dict(trials_layout=layout))
        if layout == "table":
            path = session_path / "alf/_ibl_trials.table.pqt"
            pd.read_parquet(path).assign(goCue_times=np.nan).to_parquet(path)
        else:
            np.save(session_path / "alf/_ibl_trials.goCue_times.npy", np.full(6, np.nan))
        summary = convert(session_path, tmp_path)
        assert np.isnan(read(summary, "intervals/trials/go_cue_time")).tolist() == [True] * 6
        check_valid(summary.nwbfile_path)


class TestWheel:
    def test_samples_before_time_zero_are_kept(self, tmp_path):
        session_path = make_example_session(tmp_path / "in", **BEHAVIOR)
        path = session_path / "alf/_ibl_wheel.timestamps.npy"
        np.save(path, np.load(path) - 100.0)
        summary = convert(session_path, tmp_path)
        times = read(summary, "processing/wheel/WheelPosition/timestamps")
        assert times[0] < 0
        np.testing.assert_array_equal(times, np.load(path))
        check_valid(summary.nwbfile_path)

    @pytest.mark.parametrize("dtype", [np.int64, np.float64])
    def test_counts_of_the_encoder_are_refused(self, tmp_path, dtype):
        session_path = make_example_session(tmp_path / "in", **BEHAVIOR)
        path = session_path / "alf/_ibl_wheel.position.npy"
        counts = np.round(np.load(path) / (2 * np.pi / 4096)).astype(dtype)
        np.save(path, counts)
        expected = rf"_ibl_wheel.position.npy' holds whole numbers from {counts.min():g} to {counts.max():g}: counts"
        with pytest.raises(DatasetInconsistentError, match=expected):
            convert(session_path, tmp_path)
        assert not list(tmp_path.glob("*.nwb"))

    def test_a_wheel_that_never_turned_is_none(self, tmp_path):
        session_path = make_example_session(tmp_path / "in", **BEHAVIOR)
        path = session_path / "alf/_ibl_wheel.position.npy"
        np.save(path, np.zeros(len(np.load(path))))
        position = read(convert(session_path, tmp_path), "processing/wheel/WheelPosition/data")
        np.testing.assert_array_equal(position, np.load(path))


# Metadata of recordings


def without(*fields):
    pattern = re.compile(rf"^~?({'|'.join(fields)})=.*\n", re.MULTILINE)
    return lambda text: pattern.sub("", text)


def without_tildes(text):
    return text.replace("~", "")


def saved_channels_by_number(text):
    """The list of saved channels spelled out, as splitting and hand-made subsets have it."""
    n_saved = int(re.search(r"nSavedChans=(\d+)", text)[1])
    return re.sub(r"snsSaveChanSubset=.*", "snsSaveChanSubset=" + ",".join(map(str, range(n_saved))), text)


METAS = {
    "tildes missing": without_tildes,
    "channels listed one by one": saved_channels_by_number,
    "firstSample missing": without("firstSample"),
    "size and length missing, as while acquiring": without("fileSizeBytes", "fileTimeSecs", "fileSHA1"),
    "length of another file": lambda text: re.sub("fileTimeSecs=.*", "fileTimeSecs=12.5", text),
    "no end of the last line": lambda text: text.rstrip("\n"),
    "end of lines of Windows": lambda text: text.replace("\n", "\r\n"),
}


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intact")
    return convert(make_example_session(folder / "in", **RECORDING | dict(probes=("probe00",))), folder)


@pytest.mark.parametrize("name", METAS)
def test_metadata_of_a_recording_that_were_changed_say_the_same(tmp_path, intact, name):
    session_path = make_example_session(tmp_path / "in", **RECORDING | dict(probes=("probe00",)))
    (path,) = session_path.glob("raw_ephys_data/probe00/*.ap.meta")
    text = path.read_text()
    changed = METAS[name](text)
    path.write_bytes(changed.encode())
    assert path.read_bytes() != text.encode() or name in ("firstSample missing",)
    summary = convert(session_path, tmp_path)
    series = "acquisition/ElectricalSeriesAPProbe00/"
    for data in (f"{series}data", f"{series}starting_time", "general/extracellular_ephys/electrodes/rel_y"):
        np.testing.assert_array_equal(read(summary, data), read(intact, data))
    with h5py.File(summary.nwbfile_path) as file, h5py.File(intact.nwbfile_path) as expected:
        for attribute, of in (("conversion", "data"), ("rate", "starting_time")):
            assert file[series + of].attrs[attribute] == expected[series + of].attrs[attribute]


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.05, 0.2])
def test_metadata_that_stop_in_the_middle_are_refused_or_still_say_the_same(tmp_path, intact, fraction):
    session_path = make_example_session(tmp_path / "in", **RECORDING | dict(probes=("probe00",)))
    (path,) = session_path.glob("raw_ephys_data/probe00/*.ap.meta")
    path.write_text(path.read_text()[: int(fraction * path.stat().st_size)])
    try:
        summary = convert(session_path, tmp_path)
    except (DatasetUnreadableError, DatasetInconsistentError) as error:
        assert ".ap.meta" in str(error)
        assert not list(tmp_path.glob("*.nwb"))
        return
    assert fraction > 0.1
    for data in ("acquisition/ElectricalSeriesAPProbe00/data", "general/extracellular_ephys/electrodes/rel_y"):
        np.testing.assert_array_equal(read(summary, data), read(intact, data))


# Sessions that only people know to be faulty


def change_metas(change):
    def apply(session_path):
        for path in session_path.rglob("*.meta"):
            path.write_text(change(path.read_text()))

    return apply


def short_features(session_path):
    """The bare file too short, the right one in the revision."""
    path = session_path / "alf/_ibl_rightCamera.features.pqt"
    revision = path.parent / "#2025-06-04#"
    revision.mkdir()
    table = pd.read_parquet(path)
    table.to_parquet(revision / path.name)
    table.iloc[:-7].to_parquet(path)


FAULTS = {
    "NR_0029": change_metas(without_tildes),
    "ibl_witten_13": change_metas(without("firstSample")),
    "ibl_witten_26": short_features,
}


@pytest.mark.parametrize("fault", KNOWN_FAULTS, ids=lambda fault: fault.eid[:8])
def test_known_fault_is_told_in_summary_and_file(tmp_path, fault):
    subject, date, number = fault.session.split("/")
    concerned = fault.instances[0]
    probe_number = re.search("Probe(0.*)", concerned)
    probe_name = f"probe{probe_number[1]}" if probe_number else "probe00"
    arguments = CAMERA if concerned.startswith(("Pupil", "Pose")) else RECORDING | dict(probes=(probe_name,))
    session_path = make_example_session(tmp_path / "in", **arguments, subject=subject, date=date, number=int(number))
    FAULTS.get(subject, lambda path: None)(session_path)
    summary = convert(session_path, tmp_path)
    sentence = f"Known fault of this session: {fault.sentence}"
    assert sentence in summary.notes
    assert sentence in read(summary, "general/data_collection").decode()


def test_a_fault_is_told_only_of_what_is_converted():
    fault = KNOWN_FAULTS[0]
    assert find_known_faults(fault.session, ["Trials", "Wheel"]) == []
    assert find_known_faults("NR_0029/2023-08-30/001", ["RawEphysAPProbe00a"]) == []
    assert len(find_known_faults(fault.session, ["RawEphysAPProbe00a", "RawEphysLFProbe00a"])) == 1


@needs_real_data
def test_sessions_of_known_faults_are_those_of_their_eids():
    sessions = pd.read_parquet(REAL / "alyx/one_cache_sessions.pqt")
    for fault in KNOWN_FAULTS:
        row = sessions.loc[fault.eid]
        assert fault.session == f"{row['subject']}/{row['date']}/{row['number']:03d}"
