"""OptogeneticsInterface: every interval as stored, and the light switched on and off by them."""

import h5py
import numpy as np
import pytest
from family_checks import check_valid, convert
from hypothesis import given
from hypothesis import strategies as st
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile

from ibl_nwb import IBLConverter, convert_document, inspect_session, make_document
from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.optogenetics import OptogeneticsInterface, switch_on_and_off
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify

#: One row per trial, as IBL's extraction writes them: NaN where the laser stayed off.
INTERVALS = np.array([[np.nan, np.nan], [2.0, 2.5], [np.nan, np.nan], [7.25, 9.0], [11.0, 11.5]])


def make_laser(folder, collection="alf", name="_ibl_laserStimulation", intervals=INTERVALS, **others):
    (folder / collection).mkdir(parents=True, exist_ok=True)
    for attribute, values in {"intervals": intervals, **others}.items():
        np.save(folder / collection / f"{name}.{attribute}.npy", values)
    return folder


def add(folder, metadata=None, **options):
    interface, nwbfile = OptogeneticsInterface(folder), mock_NWBFile()
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return interface, nwbfile


def check_laser(nwbfile, path, name="LaserStimulation"):
    stored, table = np.load(path), nwbfile.intervals[name]
    assert_array_equal(table["start_time"][:], stored[:, 0])
    assert_array_equal(table["stop_time"][:], stored[:, 1])
    series = nwbfile.stimulus[name.replace("Stimulation", "StimulationPower")]
    assert_array_equal(series.timestamps[:], stored[np.isfinite(stored)])  # these do not overlap and are in order
    assert np.isnan(series.data[::2]).all()
    assert_array_equal(series.data[1::2], 0)
    assert path.name in table.description
    assert path.name in series.comments


class TestOptogeneticsWithNeuroConvsMixins(DataInterfaceTestMixin):
    data_interface_cls = OptogeneticsInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = make_laser(tmp_path_factory.mktemp("laser"))
        cls.interface_kwargs = {"session_path": str(cls.folder)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        check_laser(nwbfile, self.folder / "alf/_ibl_laserStimulation.intervals.npy")
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_tasks_beside_a_foreign_interface(tmp_path, backend):
    session_path = tmp_path / "session"
    make_laser(session_path, "alf/task_00")
    make_laser(session_path, "alf/task_01", intervals=INTERVALS + 100)
    session = ALFSession(session_path)
    instances = {
        OptogeneticsInterface.get_instance_name(session, instance): (
            OptogeneticsInterface,
            {"session_path": str(session_path), **instance},
        )
        for instance in OptogeneticsInterface.get_instances(session)
    }
    assert list(instances) == ["Optogenetics", "OptogeneticsTask01"]
    path = tmp_path / "x.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    for number, label in (("00", ""), ("01", "Task01")):
        source = session_path / f"alf/task_{number}/_ibl_laserStimulation.intervals.npy"
        stored = np.load(source)
        assert_array_equal(nwbfile.intervals[f"LaserStimulation{label}"]["start_time"][:], stored[:, 0])
        series = nwbfile.stimulus[f"LaserStimulationPower{label}"]
        assert_array_equal(series.timestamps[:], stored[np.isfinite(stored)])
        assert series.site.name == f"LaserStimulationSite{label}"
    assert len(nwbfile.devices) == 1  # one laser for both tasks
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


class TestWritten:
    def test_both_objects(self, tmp_path):
        make_laser(tmp_path)
        make_laser(tmp_path, name="_ibl_optoStimulation", intervals=INTERVALS + 1)
        _, nwbfile = add(tmp_path)
        check_laser(nwbfile, tmp_path / "alf/_ibl_laserStimulation.intervals.npy")
        check_laser(nwbfile, tmp_path / "alf/_ibl_optoStimulation.intervals.npy", "OptoStimulation")
        assert set(nwbfile.devices) == {"OptogeneticLaser", "OptogeneticLightSource"}

    def test_attribute_that_nobody_described(self, tmp_path):
        codes = np.arange(5, dtype=np.int16)
        _, nwbfile = add(make_laser(tmp_path, pulseCode=codes))
        column = nwbfile.intervals["LaserStimulation"]["pulse_code"]
        assert_array_equal(column.data, codes)
        assert column.data.dtype == np.int16
        assert "laserStimulation.pulseCode" in column.description

    def test_what_is_not_known_is_not_invented(self, tmp_path):
        _, nwbfile = add(make_laser(tmp_path))
        site = nwbfile.ogen_sites["LaserStimulationSite"]
        assert np.isnan(site.excitation_lambda)
        assert site.location == "unknown"

    def test_what_the_user_knows(self, tmp_path):
        known = {
            "Site": {"excitation_lambda": 473.0, "location": "VISp"},
            "Series": {"power_in_watts": 0.002},
        }
        metadata = {
            "Optogenetics": {"optogenetics": {"laserStimulation": known}},
            "Devices": {"optogenetic_laser": {"name": "Obis", "serial_number": "12"}},
        }
        _, nwbfile = add(make_laser(tmp_path), metadata)
        site = nwbfile.ogen_sites["LaserStimulationSite"]
        assert (site.excitation_lambda, site.location) == (473.0, "VISp")
        assert (site.device.name, site.device.serial_number) == ("Obis", "12")
        assert_array_equal(nwbfile.stimulus["LaserStimulationPower"].data, [0.002, 0] * 3)
        interface = OptogeneticsInterface(tmp_path)
        converter = IBLConverter(source_data={"Optogenetics": {"session_path": str(tmp_path)}})
        merged = converter.merge_metadata({**metadata, "NWBFile": {"session_start_time": "2023-05-18T10:00:00+01:00"}})
        converter.validate_metadata(merged)  # the schema knows what can be given
        assert "power_in_watts" not in str(interface.get_metadata())

    def test_light_that_was_never_on(self, tmp_path):
        interface, nwbfile = add(make_laser(tmp_path, intervals=np.full((4, 2), np.nan)))
        assert len(nwbfile.intervals["LaserStimulation"]) == 4
        assert not nwbfile.stimulus
        assert not nwbfile.ogen_sites
        assert "never on" in interface.notes[0]

    def test_stub(self, tmp_path):
        starts = np.arange(150.0)
        _, nwbfile = add(make_laser(tmp_path, intervals=np.column_stack([starts, starts + 0.5])), stub_test=True)
        assert len(nwbfile.intervals["LaserStimulation"]) == 100
        assert len(nwbfile.stimulus["LaserStimulationPower"].data) == 200

    def test_columns_of_the_trials_are_left_to_the_trials(self, tmp_path):
        session_path = make_example_session(
            tmp_path, probes=(), raw_bands=(), cameras=(), audio=False, n_trials=8, optogenetics=True
        )
        summary = convert_document(make_document(session_path, timezone="UTC"), tmp_path / "a.nwb")
        with h5py.File(summary.nwbfile_path) as file:
            trials = file["intervals/trials"]
            columns = {"laser_stimulation": "laserStimulation", "laser_probability": "laserProbability"}
            for column, attribute in columns.items():
                stored = np.load(session_path / f"alf/_ibl_trials.{attribute}.npy")
                assert_array_equal(trials[column][:], stored)
            assert set(file["intervals/LaserStimulation"]) == {"id", "start_time", "stop_time"}
        rows = {row.relative_path: row.interfaces for row in inspect_session(ALFSession(session_path))}
        assert rows["alf/_ibl_laserStimulation.intervals.npy"] == ("Optogenetics",)
        assert rows["alf/_ibl_trials.laserStimulation.npy"] == ("Trials",)

    def test_laser_columns_of_other_namespaces_are_columns_of_the_trials(self, tmp_path):
        session_path = make_example_session(tmp_path, probes=(), raw_bands=(), cameras=(), audio=False, n_trials=8)
        onsets = np.arange(8.0)
        np.save(session_path / "alf/_av_trials.laserOnset_times.npy", onsets)
        summary = convert_document(make_document(session_path, timezone="UTC"), tmp_path / "a.nwb")
        with h5py.File(summary.nwbfile_path) as file:
            assert_array_equal(file["intervals/trials/laser_onset_time"][:], onsets)


# The light as a step function

NUMBERS = st.one_of(st.floats(0, 50), st.integers(0, 20).map(float), st.just(np.nan))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12))
def test_light_is_on_just_within_the_intervals(rows):
    intervals = np.sort(np.array(rows).reshape(-1, 2), axis=1)
    timestamps, power = switch_on_and_off(intervals, 3.0)
    finite = [tuple(row) for row in intervals if np.isfinite(row).all()]
    assert (np.diff(timestamps) >= 0).all()
    for time in {*np.linspace(0, 51, 103), *timestamps, *(edge for row in finite for edge in row)}:
        is_within = any(start <= time < stop for start, stop in finite)
        last = np.searchsorted(timestamps, time, side="right") - 1
        assert (last >= 0 and power[last] == 3.0) == is_within


class TestBadInput:
    def test_interval_that_ends_before_it_starts(self, tmp_path):
        with pytest.raises(DatasetInconsistentError, match=r"3.0 s to 2.0 s in row 1"):
            OptogeneticsInterface(make_laser(tmp_path, intervals=np.array([[0, 1], [3.0, 2.0]])))

    @pytest.mark.parametrize("intervals", [np.arange(4.0), np.ones((2, 3))])
    def test_wrong_shape(self, tmp_path, intervals):
        with pytest.raises(DatasetInconsistentError, match="an onset and an offset per row"):
            OptogeneticsInterface(make_laser(tmp_path, intervals=intervals))

    def test_attributes_of_other_length(self, tmp_path):
        with pytest.raises(DatasetInconsistentError, match="pulseCode"):
            OptogeneticsInterface(make_laser(tmp_path, pulseCode=np.arange(4)))

    def test_attribute_without_intervals(self, tmp_path):
        make_laser(tmp_path, name="_ibl_optoStimulation")
        np.save(tmp_path / "alf/_ibl_laserStimulation.pulseCode.npy", np.arange(5))
        with pytest.raises(DatasetInconsistentError, match="laserStimulation.intervals.npy"):
            OptogeneticsInterface(tmp_path)

    def test_damaged_file(self, tmp_path):
        path = make_laser(tmp_path) / "alf/_ibl_laserStimulation.intervals.npy"
        path.write_bytes(path.read_bytes()[:150])
        with pytest.raises(DatasetUnreadableError, match="laserStimulation.intervals"):
            OptogeneticsInterface(tmp_path)

    def test_nothing_there(self, tmp_path):
        (tmp_path / "alf").mkdir()
        np.save(tmp_path / "alf/_ibl_trials.laserStimulation.npy", np.ones(3))
        with pytest.raises(DatasetMissingError, match="nothing for OptogeneticsInterface"):
            OptogeneticsInterface(tmp_path)

    def test_table_of_that_name_is_there(self, tmp_path):
        interface, nwbfile = add(make_laser(tmp_path))
        with pytest.raises(UsageError, match="already holds a table 'LaserStimulation'"):
            interface.add_to_nwbfile(nwbfile)


# Verification

TABLE, SERIES = "intervals/LaserStimulation", "stimulus/presentation/LaserStimulationPower"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    make_laser(folder / "session", pulseCode=np.arange(5))
    document = make_document(folder / "session", timezone="UTC", session_start_time="2023-05-18T10:00:00")
    return convert_document(document, folder / "a.nwb").nwbfile_path, folder / "session"


@pytest.mark.parametrize(
    ("array", "change"),
    [
        (f"{TABLE}/start_time", lambda values: np.roll(values, 1)),
        (f"{TABLE}/start_time", np.nan_to_num),
        (f"{TABLE}/stop_time", lambda values: values + 1e-9),
        (f"{TABLE}/pulse_code", lambda values: values[::-1]),
        (f"{SERIES}/timestamps", lambda values: values + 1e-9),
        (f"{SERIES}/data", lambda values: np.roll(values, 1)),
        (f"{SERIES}/data", lambda values: np.where(np.arange(6) == 2, 1.0, values)),
    ],
)
def test_verification_finds_damage(written, tmp_path, array, change):
    path, session_path = written
    assert verify(path, session_path).ok
    copy = tmp_path / "copy.nwb"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        file[array][:] = change(file[array][:])
    report = verify(copy, session_path)
    assert array in {row.object for row in report if row.status == "different"}


@pytest.mark.parametrize("array", [f"{TABLE}/start_time", f"{SERIES}/timestamps", f"{SERIES}/data"])
def test_verification_finds_what_is_gone(written, tmp_path, array):
    path, session_path = written
    copy = tmp_path / "copy.nwb"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        del file[array]
    assert array in {row.object for row in verify(copy, session_path) if row.status == "missing"}
