"""RawTaskDataInterface: every readable line of the rig's files as stored, on the rig's own clocks."""

import json

import numpy as np
import pandas as pd
import pytest
from family_checks import check_valid, convert
from hypothesis import given
from hypothesis import strategies as st
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin
from numpy.testing import assert_array_equal
from pynwb import NWBHDF5IO, read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb import convert_document, inspect_session, make_document
from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError
from ibl_nwb.interfaces.raw_task_data import RawTaskDataInterface
from ibl_nwb.interfaces.raw_task_lines import trial_columns
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify

QUIET = dict(probes=(), raw_bands=(), cameras=(), audio=False, revisions=False, raw_task_data=True, n_trials=9)
RAW = "raw_behavior_data"
POSITIONS = "_iblrig_encoderPositions.raw.ssv"
TABLES = {
    "TaskData",
    "TaskStates",
    "TaskEvents",
    "EncoderPositions",
    "EncoderEvents",
    "EncoderTrialInfo",
    "StimulusScreenPositions",
    "SyncSquareUpdates",
}

REAL_SESSIONS = {
    "chimera": CHIMERA,
    "today's": REAL / "ibllib/sessions/mainenlab/Subjects/_iblrig_test_mouse/2019-07-01/001",
    "five columns, milliseconds": REAL / "iblrig_history/test_mouse/2018-10-02/001",
    "five columns, damaged": REAL / "ibllib/sessions/wittenlab/Subjects/ibl_witten_01/2018-12-17/003",
    "three columns, damaged": REAL / "ibllib_history/sessions/mainenlab/Subjects/_iblrig_test_mouse/2019-06-24/002",
}


def open_and_add(path, metadata=None, collection=None, **options):
    nwbfile = mock_NWBFile()
    interface = RawTaskDataInterface(path, collection=collection)
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return interface, nwbfile.acquisition


def write(path, text, name=POSITIONS):
    (path / RAW).mkdir(parents=True, exist_ok=True)
    (path / RAW / name).write_text(text)
    return path


def read_trials(folder):
    (path,) = folder.glob("*taskData*")
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def check_tables(tables, folder, label=""):
    """Against another reading: pandas for files with columns, json for the trials."""
    trials = read_trials(folder)
    data = tables[f"TaskData{label}"]
    assert_array_equal(data["trial_num"].data[:], [trial["trial_num"] for trial in trials])
    starts = [trial["behavior_data"]["Trial start timestamp"] for trial in trials]
    assert_array_equal(data["behavior_data.trial_start_timestamp"].data[:], starts)
    assert_array_equal(data["position"].data[:], [trial["position"] for trial in trials])
    buffers = [json.loads(text) for text in data["ac.buffer"].data[:]]
    assert buffers == [trial["ac"]["buffer"] for trial in trials]
    for table, key, columns in (
        ("TaskStates", "States timestamps", ["start_in_trial", "stop_in_trial"]),
        ("TaskEvents", "Events timestamps", ["time_in_trial"]),
    ):
        frame = tables[table + label].to_dataframe()
        for line, trial in enumerate(trials):
            of_trial = frame[frame["line"] == line]
            for name, times in trial["behavior_data"][key].items():
                found = of_trial.loc[of_trial.iloc[:, 1] == name, columns].to_numpy()
                assert_array_equal(found, np.reshape(times, (-1, len(columns))))
            assert len(of_trial) == sum(len(times) for times in trial["behavior_data"][key].values())
    check_encoder(tables[f"EncoderPositions{label}"], next(folder.glob("*encoderPositions*")), "position", (0, 1))
    for path in folder.glob("*encoderEvents*"):
        check_encoder(tables[f"EncoderEvents{label}"], path, "event", (0, 2))
    for path in folder.glob("*encoderTrialInfo*"):
        info = pd.read_csv(path, sep=" ", header=None).dropna(axis=1, how="all")
        table = tables[f"EncoderTrialInfo{label}"].to_dataframe()
        for column in range(info.shape[1]):
            assert_array_equal(table.iloc[:, column], info.iloc[:, column])


def check_encoder(table, path, column, old_places):
    """The first word tells the layout; a line with too few values is damaged."""
    text = path.read_text()
    is_old = text[0].isalpha()
    rows = [line.split(" ") for line in text.splitlines() if len(line.split(" ")) >= (4 if is_old else 3)]
    time, value = (place + 1 if is_old else new for place, new in zip(old_places, (0, 1), strict=True))
    assert_array_equal(table["encoder_time"].data[:], [int(row[time]) for row in rows])
    assert_array_equal(table[column].data[:], [int(row[value]) for row in rows])
    if "pc_clock" in table.colnames:
        assert list(table["pc_clock"].data[:]) == [row[-2] for row in rows]
    else:
        assert ":" not in text


class TestWithNeuroConvsMixins(DataInterfaceTestMixin):
    data_interface_cls = RawTaskDataInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = make_example_session(tmp_path_factory.mktemp("raw task data"), **QUIET)
        cls.interface_kwargs = {"session_path": str(cls.folder)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        check_tables(nwbfile.acquisition, self.folder / RAW)
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_tasks_beside_a_foreign_interface(tmp_path, backend):
    tasks = {"raw_task_data_00": "", "raw_task_data_01": "RawTaskData01"}
    for seed, collection in enumerate(tasks):
        made = make_example_session(tmp_path / f"{seed}", task_collection=f"alf/task_0{seed}", seed=seed, **QUIET)
        (made / collection).rename((tmp_path / "session").joinpath(collection)) if seed else made.rename(
            tmp_path / "session"
        )
    session = ALFSession(tmp_path / "session")
    instances = {
        RawTaskDataInterface.get_instance_name(session, instance): (
            RawTaskDataInterface,
            {"session_path": str(session.path), **instance},
        )
        for instance in RawTaskDataInterface.get_instances(session)
    }
    path = tmp_path / "x.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    for collection, label in tasks.items():
        check_tables(nwbfile.acquisition, session.path / collection, label)
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


@needs_real_data
@pytest.mark.parametrize("name", REAL_SESSIONS)
def test_real_files(name):
    interface, tables = open_and_add(REAL_SESSIONS[name])
    check_tables(tables, REAL_SESSIONS[name] / RAW)
    assert any("cannot be read" in note for note in interface.notes) == ("damaged" in name)


class TestWritten:
    def test_every_table_says_that_it_is_not_on_the_session_clock(self, tmp_path):
        _, tables = open_and_add(make_example_session(tmp_path, **QUIET))
        assert set(tables) == TABLES
        for table in tables.values():
            assert "NOT on the session clock" in table.description
            assert "Source: raw_behavior_data/_iblrig_" in table.description
            assert all(column.description for column in table.columns)

    def test_types_are_those_of_the_file(self, tmp_path):
        _, tables = open_and_add(make_example_session(tmp_path, **QUIET))
        data = tables["TaskData"]
        kinds = {name: np.asarray(data[name].data).dtype.kind for name in data.colnames}
        assert (kinds["position"], kinds["stim_phase"], kinds["trial_correct"], kinds["elapsed_time_text"]) == tuple(
            "ifbU"
        )
        assert data["response_buffer"].data[:3].tolist() == ["", "[0.5]", "[0.5, 0.5]"]
        assert data["contrast"].data[3] == ""  # an object in this trial, whose keys have columns of their own
        assert data["contrast.type"].data[2:4].tolist() == ["", '"RepeatContrast"']

    def test_a_key_that_is_called_like_a_column_of_ours_is_kept(self, tmp_path):
        write(tmp_path, '{"line": 7}\n', "_iblrig_taskData.raw.jsonable")
        _, tables = open_and_add(tmp_path)
        assert tables["TaskData"]["line_"].data[:].tolist() == [7]

    def test_stub(self, tmp_path):
        _, tables = open_and_add(make_example_session(tmp_path, **QUIET), stub_test=True)
        assert len(tables["EncoderPositions"]) == 100
        assert len(tables["TaskData"]) == 9

    def test_users_names_are_written(self, tmp_path):
        write(tmp_path, "1 2 \n")
        names = {"RawTaskData": {"raw_task_data": {"EncoderPositions": {"name": "Encoder"}}}}
        assert set(open_and_add(tmp_path, names)[1]) == {"Encoder"}


class TestDamagedFiles:
    @pytest.mark.parametrize("name", ["_iblrig_taskData.raw.jsonable", POSITIONS, "_iblrig_syncSquareUpdate.raw.csv"])
    def test_an_empty_file_is_noted_and_the_others_are_written(self, tmp_path, name):
        session_path = make_example_session(tmp_path, **QUIET)
        (session_path / RAW / name).write_bytes(b"")
        interface, tables = open_and_add(session_path)
        assert len(tables) == len(TABLES) - (3 if "taskData" in name else 1)
        assert interface.notes == [f"'{RAW}/{name}' has no line that can be read and is not converted."]

    def test_damaged_lines_are_left_out_and_told(self, tmp_path):
        write(tmp_path, "1 2 \n3 \n5 x \n\n7 8 9 10 \n11 -12 \n")
        interface, tables = open_and_add(tmp_path)
        assert tables["EncoderPositions"]["encoder_time"].data.tolist() == [1, 11]
        assert "2, 3, 5 (3 in all)" in interface.notes[0]
        assert interface.notes[0] in tables["EncoderPositions"].description

    def test_a_line_of_the_other_layout_is_damaged(self, tmp_path):
        write(tmp_path, "Position 1 2 2018-10-02T12:35:49.5+01:00 \nPosition 3 4\nPosition \n")
        interface, tables = open_and_add(tmp_path)
        assert tables["EncoderPositions"]["position"].data.tolist() == [2]
        assert "2, 3 (2 in all)" in interface.notes[0]

    def test_damaged_trials_keep_the_numbers_of_the_others(self, tmp_path):
        write(tmp_path, '{"a": 1}\n{"a": \n[1]\n{"a": 2}', "_iblrig_taskData.raw.jsonable")
        interface, tables = open_and_add(tmp_path)
        assert tables["TaskData"]["line"].data.tolist() == [0, 3]
        assert "2, 3 (2 in all)" in interface.notes[0]

    def test_times_that_are_no_numbers(self, tmp_path):
        trial = {"behavior_data": {"States timestamps": {"reward": [["soon", 1]]}}}
        write(tmp_path, json.dumps(trial), "_iblrig_taskData.raw.jsonable")
        with pytest.raises(DatasetInconsistentError, match=r"line 1: the times of 'reward' are not numbers"):
            open_and_add(tmp_path)

    def test_nothing_there(self, tmp_path):
        make_example_session(tmp_path, **{**QUIET, "raw_task_data": False})
        with pytest.raises(DatasetMissingError, match="nothing for RawTaskDataInterface"):
            RawTaskDataInterface(next(tmp_path.glob("*/*/*/*/*")))


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=3)
keys = st.text("abAB_ ", min_size=1, max_size=4)
objects = st.recursive(values, lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=8)


@given(st.lists(st.dictionaries(keys, objects, max_size=4), min_size=1, max_size=4))
def test_trials_can_be_rebuilt_from_their_columns(trials):
    columns = trial_columns(trials)
    for row, trial in enumerate(trials):
        rebuilt = {}
        for path, column in columns.items():
            value = column[row]
            if isinstance(column, list):
                is_text = all(isinstance(_value_at(t, path), str) for t in trials)
                if not is_text and value == "":
                    continue
                value = value if is_text else json.loads(value)
            inner = rebuilt
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = value.item() if isinstance(value, np.generic) else value
        np.testing.assert_equal(rebuilt, trial)


def _value_at(content, path):
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    return content


class TestVerify:
    @pytest.fixture(scope="class")
    @classmethod
    def converted(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("converted")
        session_path = make_example_session(folder, **QUIET, passive=False)
        document = make_document(session_path, timezone="UTC", include=["RawTaskData"])
        return session_path, convert_document(document, folder / "file.nwb").nwbfile_path

    def test_everything_is_equal(self, converted):
        session_path, path = converted
        report = verify(path, session_path)
        assert report.ok, report.differences
        objects = {row.object for row in report if row.status == "equal"}
        with NWBHDF5IO(path) as io:
            tables = io.read().acquisition
            written = {f"acquisition/{name}/{column}" for name, table in tables.items() for column in table.colnames}
        assert written <= objects

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            (POSITIONS, lambda text: text.replace(" 0 ", " 1 ", 1)),
            (POSITIONS, lambda text: text.split("\n", 1)[1]),
            ("_iblrig_encoderEvents.raw.ssv", lambda text: text.replace("StateMachine 2", "StateMachine 4", 1)),
            ("_iblrig_encoderTrialInfo.raw.ssv", lambda text: text.replace(" 49 ", " 48 ", 1)),
            ("_iblrig_stimPositionScreen.raw.csv", lambda text: text.replace("+01:00", "+02:00", 1)),
            ("_iblrig_syncSquareUpdate.raw.csv", lambda text: text.replace("1,", "0,", 1)),
            ("_iblrig_taskData.raw.jsonable", lambda text: text.replace("[0, 0.0001]", "[0, 0.0002]", 1)),
            ("_iblrig_taskData.raw.jsonable", lambda text: text.replace('"Tup": [0.0001', '"Tup": [0.0003', 1)),
            ("_iblrig_taskData.raw.jsonable", lambda text: text.replace("[1.0, 1.0, 1.0]", "[1.0, 1.0, 0.0]", 1)),
            ("_iblrig_taskData.raw.jsonable", lambda text: text.replace('"trial_num": 3', '"trial_num": 5', 1)),
        ],
    )
    def test_a_difference_is_found(self, converted, name, change):
        session_path, path = converted
        source = session_path / RAW / name
        text = source.read_text()
        assert change(text) != text
        try:
            source.write_text(change(text))
            report = verify(path, session_path)
        finally:
            source.write_text(text)
        tables = [row for row in report.differences if row.object.startswith("acquisition/")]
        assert tables and all(row.dataset.startswith(f"{RAW}/{name}") for row in tables)

    def test_files_are_covered(self, converted):
        rows = {row.relative_path: row for row in inspect_session(ALFSession(converted[0]))}
        for name in ("taskData.raw.jsonable", "encoderPositions.raw.ssv", "stimPositionScreen.raw.csv"):
            assert rows[f"{RAW}/_iblrig_{name}"].interfaces == ("RawTaskData",)


@needs_real_data
@pytest.mark.parametrize("name", REAL_SESSIONS)
def test_real_files_are_equal_in_the_file(tmp_path, name):
    document = make_document(
        REAL_SESSIONS[name], timezone="UTC", session_start_time="2019-07-01T12:00:00", include=["RawTaskData"]
    )
    report = verify(convert_document(document, tmp_path / "a.nwb").nwbfile_path, REAL_SESSIONS[name])
    assert report.ok, report.differences
    assert sum(row.object.startswith("acquisition/") and row.status == "equal" for row in report) > 90
