"""AmbientSensorsInterface: every reading as stored, at the ends of the trials where these are known."""

import json

import numpy as np
import pandas as pd
import pytest
from family_checks import check_valid, convert
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb.errors import DatasetMissingError, DatasetUnreadableError
from ibl_nwb.interfaces.ambient_sensors import AmbientSensorsInterface
from ibl_nwb.session import ALFSession

N_TRIALS = 130
KEYS = {"Temperature": "Temperature_C", "AirPressure": "AirPressure_mb", "RelativeHumidity": "RelativeHumidity"}


def readings_file(path, collection="raw_behavior_data"):
    return path / collection / "_iblrig_ambientSensorData.raw.jsonable"


def make_sensors(path, collection="raw_behavior_data", alf="alf", *, n_readings=N_TRIALS, n_trials=N_TRIALS, seed=0):
    rng = np.random.default_rng(seed)
    readings_file(path, collection).parent.mkdir(parents=True, exist_ok=True)
    (path / alf).mkdir(parents=True, exist_ok=True)
    rows = [
        {key: [value] for key, value in zip(KEYS.values(), row, strict=True)} for row in rng.random((n_readings, 3))
    ]
    readings_file(path, collection).write_text("".join(json.dumps(row) + "\n" for row in rows))
    starts = np.arange(n_trials) * 5 + rng.random(n_trials)
    pd.DataFrame({"intervals_0": starts, "intervals_1": starts + 4}).to_parquet(path / alf / "_ibl_trials.table.pqt")
    return path


def stored(path, key, collection="raw_behavior_data"):
    lines = readings_file(path, collection).read_text().splitlines()
    return np.array([json.loads(line)[key][0] for line in lines])


def trial_ends(path, alf="alf"):
    return pd.read_parquet(path / alf / "_ibl_trials.table.pqt")["intervals_1"].to_numpy()


def open_and_add(path, metadata=None, **options):
    nwbfile = mock_NWBFile()
    interface = AmbientSensorsInterface(path)
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return interface, nwbfile.processing["behavior"].data_interfaces


def check_series(behavior, path, collection="raw_behavior_data", alf="alf", label=""):
    for name, key in KEYS.items():
        series = behavior[f"Ambient{name}{label}"]
        assert_array_equal(series.data[:], stored(path, key, collection))
        assert_array_equal(series.timestamps[:], trial_ends(path, alf))


class TestAmbientSensorsWithNeuroConvsMixins(DataInterfaceTestMixin):
    data_interface_cls = AmbientSensorsInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = make_sensors(tmp_path_factory.mktemp("sensors"))
        cls.interface_kwargs = {"session_path": str(cls.folder)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        check_series(nwbfile.processing["behavior"], self.folder)
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_tasks_beside_a_foreign_interface(tmp_path, backend):
    session_path = tmp_path / "session"
    tasks = (("raw_task_data_00", "alf/task_00", ""), ("raw_task_data_01", "alf/task_01", "RawTaskData01"))
    for seed, (collection, alf, _) in enumerate(tasks):
        make_sensors(session_path, collection, alf, seed=seed, n_readings=90 + seed, n_trials=90 + seed)
    session = ALFSession(session_path)
    instances = {
        AmbientSensorsInterface.get_instance_name(session, instance): (
            AmbientSensorsInterface,
            {"session_path": str(session_path), **instance},
        )
        for instance in AmbientSensorsInterface.get_instances(session)
    }
    path = tmp_path / "x.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    for collection, alf, label in tasks:
        check_series(nwbfile.processing["behavior"], session_path, collection, alf, label)
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


class TestWritten:
    def test_units(self, tmp_path):
        _, behavior = open_and_add(make_sensors(tmp_path))
        pressure = behavior["AmbientAirPressure"]
        assert (pressure.unit, pressure.conversion) == ("pascals", 100.0)
        assert behavior["AmbientTemperature"].unit == "degrees Celsius"

    @pytest.mark.parametrize("n_trials", [N_TRIALS - 1, N_TRIALS + 1])
    def test_without_a_trial_for_each_there_are_no_times(self, tmp_path, n_trials):
        interface, behavior = open_and_add(make_sensors(tmp_path, n_trials=n_trials))
        table = behavior["AmbientSensors"]
        for column, key in (("temperature", "Temperature_C"), ("air_pressure", "AirPressure_mb")):
            assert_array_equal(table[column].data, stored(tmp_path, key))
        assert f"{N_TRIALS} readings" in interface.notes[0]

    def test_without_trials_there_are_no_times(self, tmp_path):
        (make_sensors(tmp_path) / "alf/_ibl_trials.table.pqt").unlink()
        assert set(open_and_add(tmp_path)[1]) == {"AmbientSensors"}

    def test_trials_of_another_task_are_not_taken(self, tmp_path):
        make_sensors(tmp_path, "raw_task_data_00", "alf/task_01")
        assert set(open_and_add(tmp_path)[1]) == {"AmbientSensors"}

    def test_trials_of_legacy_files(self, tmp_path):
        make_sensors(tmp_path)
        table = pd.read_parquet(tmp_path / "alf/_ibl_trials.table.pqt")
        (tmp_path / "alf/_ibl_trials.table.pqt").unlink()
        np.save(tmp_path / "alf/_ibl_trials.intervals.npy", table.to_numpy())
        _, behavior = open_and_add(tmp_path)
        assert_array_equal(behavior["AmbientTemperature"].timestamps, table["intervals_1"])

    def test_trials_of_legacy_files_beside_a_task_with_a_table(self, tmp_path):
        make_sensors(tmp_path, "raw_task_data_00", "alf/task_00")
        make_sensors(tmp_path, "raw_task_data_01", "alf/task_01", seed=1)
        table = pd.read_parquet(tmp_path / "alf/task_00/_ibl_trials.table.pqt")
        (tmp_path / "alf/task_00/_ibl_trials.table.pqt").unlink()
        np.save(tmp_path / "alf/task_00/_ibl_trials.intervals.npy", table.to_numpy())
        _, behavior = open_and_add(tmp_path)
        assert_array_equal(behavior["AmbientTemperature"].timestamps, table["intervals_1"])

    def test_damaged_lines_become_nan_and_are_noted(self, tmp_path):
        path = readings_file(make_sensors(tmp_path))
        lines = path.read_text().splitlines()
        lines[3], lines[5] = '{"Temperature_C": [24.3', '{"Temperature_C": [1.5], "Light": [NaN]}'
        path.write_text("\n".join(lines))
        interface, behavior = open_and_add(tmp_path)
        temperature, humidity = behavior["AmbientTemperature"].data, behavior["AmbientRelativeHumidity"].data
        assert np.flatnonzero(np.isnan(temperature)).tolist() == [3]
        assert temperature[5] == 1.5
        assert np.flatnonzero(np.isnan(humidity)).tolist() == [3, 5]
        assert "1 of 130 lines" in interface.notes[0]
        assert np.isnan(behavior["AmbientLight"].data).all()  # a sensor that nobody described

    def test_stub(self, tmp_path):
        _, behavior = open_and_add(make_sensors(tmp_path), stub_test=True)
        assert len(behavior["AmbientTemperature"].data) == len(behavior["AmbientTemperature"].timestamps) == 100

    def test_users_names_are_written(self, tmp_path):
        names = {"series": {"Temperature_C": {"name": "Warmth"}}}
        assert "Warmth" in open_and_add(make_sensors(tmp_path), {"AmbientSensors": {"ambient_sensors": names}})[1]


class TestBadInput:
    @pytest.mark.parametrize("text", ["", "[1, 2]\n", "nonsense\n"])
    def test_no_reading_at_all(self, tmp_path, text):
        readings_file(make_sensors(tmp_path)).write_text(text)
        with pytest.raises(DatasetUnreadableError, match="none of its"):
            open_and_add(tmp_path)

    def test_nothing_there(self, tmp_path):
        readings_file(make_sensors(tmp_path)).unlink()
        with pytest.raises(DatasetMissingError, match="nothing for AmbientSensorsInterface"):
            AmbientSensorsInterface(tmp_path)


@needs_real_data
@pytest.mark.parametrize("folder", [CHIMERA, REAL / "iblrig_history/test_mouse/2018-10-02/001"])
def test_real_sensors(folder):
    _, behavior = open_and_add(folder)
    (path,) = folder.glob("raw_behavior_data/*ambientSensorData*")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for name, key in KEYS.items():
        assert_array_equal(behavior[f"Ambient{name}"].data, [row[key][0] for row in rows])
    tables = list(folder.glob("alf/*trials.table.pqt"))
    ends = trial_ends(folder) if tables else np.load(folder / "alf/_ibl_trials.intervals.npy")[:, 1]
    assert_array_equal(behavior["AmbientTemperature"].timestamps, ends)
