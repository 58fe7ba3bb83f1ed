"""WheelInterface: values as stored, units told from the encoder's step, IBL's recipe for the velocity."""

from datetime import datetime

import numpy as np
import pytest
from neuroconv import NWBConverter
from neuroconv.tools.testing import MockTimeSeriesInterface
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_allclose, assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data
from scipy import interpolate, signal

from ibl_nwb import WheelInterface
from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.wheel import derive_velocity, position_unit


def make_wheel(folder, *, collection="alf", times_name="timestamps", n_samples=500, moves=True, seed=0):
    rng = np.random.default_rng(seed)
    (folder / collection).mkdir(parents=True, exist_ok=True)
    arrays = {
        "_ibl_wheel.position": np.cumsum(rng.choice([-1, 1], n_samples)) * 2 * np.pi / 4096,
        f"_ibl_wheel.{times_name}": np.cumsum(rng.uniform(0.001, 0.2, n_samples)),
    }
    if moves:
        arrays["_ibl_wheelMoves.intervals"] = np.arange(12.0).reshape(6, 2)
        arrays["_ibl_wheelMoves.peakAmplitude"] = rng.normal(size=6)
    for name, values in arrays.items():
        np.save(folder / collection / f"{name}.npy", values)
    return folder


@pytest.fixture(scope="class")
def wheel_session(tmp_path_factory):
    return make_wheel(tmp_path_factory.mktemp("wheel"))


class TestWheelWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = WheelInterface
    conversion_options = {"write_velocity": True, "write_acceleration": True}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, wheel_session):
        cls.interface_kwargs = {"session_path": str(wheel_session)}
        cls.folder = wheel_session / "alf"

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        wheel = nwbfile.processing["wheel"]
        position = wheel["WheelPosition"]
        assert_array_equal(position.data[:], np.load(self.folder / "_ibl_wheel.position.npy"))
        assert position.data.dtype == "float64"
        assert_array_equal(position.timestamps[:], np.load(self.folder / "_ibl_wheel.timestamps.npy"))
        moves = wheel["WheelMovementIntervals"]
        intervals = np.column_stack((moves["start_time"][:], moves["stop_time"][:]))
        assert_array_equal(intervals, np.load(self.folder / "_ibl_wheelMoves.intervals.npy"))
        assert_array_equal(moves["peak_amplitude"][:], np.load(self.folder / "_ibl_wheelMoves.peakAmplitude.npy"))
        assert wheel["WheelVelocity"].rate == wheel["WheelAcceleration"].rate == 1000
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_beside_a_foreign_interface_and_twice_in_a_row(tmp_path, backend):
    class Converter(NWBConverter):
        data_interface_classes = {"Foreign": MockTimeSeriesInterface, "Wheel": WheelInterface}

    session_path = make_wheel(tmp_path / "session")
    converter = Converter({"Foreign": {}, "Wheel": {"session_path": str(session_path)}})
    metadata = converter.get_metadata()
    metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18).astimezone()
    for run in range(2):
        converter.run_conversion(tmp_path / f"{run}.nwb", metadata=metadata, backend=backend)
        nwbfile = read_nwb(tmp_path / f"{run}.nwb")
        assert len(nwbfile.processing["wheel"]["WheelPosition"].data) == 500
        assert len(nwbfile.acquisition) == 1
        nwbfile.read_io.close()


class TestWritten:
    def add(self, folder, metadata=None, **options):
        nwbfile = mock_NWBFile()
        WheelInterface(folder).add_to_nwbfile(nwbfile, metadata, **options)
        return nwbfile.processing["wheel"]

    def test_legacy_name_of_the_times(self, tmp_path):
        wheel = self.add(make_wheel(tmp_path, times_name="times"))
        assert_array_equal(wheel["WheelPosition"].timestamps, np.load(tmp_path / "alf/_ibl_wheel.times.npy"))

    def test_no_movements_no_table(self, tmp_path):
        assert set(self.add(make_wheel(tmp_path, moves=False)).data_interfaces) == {"WheelPosition"}

    def test_derived_series_are_off_by_default(self, tmp_path):
        assert "WheelVelocity" not in self.add(make_wheel(tmp_path)).data_interfaces

    def test_times_as_knots_are_expanded(self, tmp_path):
        make_wheel(tmp_path, n_samples=11)
        np.save(tmp_path / "alf/_ibl_wheel.timestamps.npy", np.array([[0.0, 5.0], [10.0, 25.0]]))
        assert_allclose(self.add(tmp_path)["WheelPosition"].timestamps, np.linspace(5, 25, 11))

    def test_stub(self, tmp_path):
        assert len(self.add(make_wheel(tmp_path), stub_test=True)["WheelPosition"].data) == 100

    def test_users_names_and_descriptions_are_written(self, tmp_path):
        interface = WheelInterface(make_wheel(tmp_path))
        metadata = interface.get_metadata()
        metadata["Wheel"]["wheel"]["WheelPosition"].update(name="Angle", description="Mine.")
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, metadata)
        assert nwbfile.processing["wheel"]["Angle"].description == "Mine."

    def test_second_task_has_names_of_its_own(self, tmp_path):
        make_wheel(tmp_path, collection="alf/task_00")
        make_wheel(tmp_path, collection="alf/task_01", seed=1)
        nwbfile = mock_NWBFile()
        for collection in ("alf/task_00", "alf/task_01"):
            WheelInterface(tmp_path, collection=collection).add_to_nwbfile(nwbfile)
        assert {"WheelPosition", "WheelPositionTask01"} <= set(nwbfile.processing["wheel"].data_interfaces)

    def test_movements_follow_aligned_timestamps(self, tmp_path):
        interface = WheelInterface(make_wheel(tmp_path))
        interface.set_aligned_starting_time(10.0)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        moves = nwbfile.processing["wheel"]["WheelMovementIntervals"]
        assert_allclose(moves["start_time"].data[1:], np.arange(2.0, 12.0, 2) + 10)


class TestBadInput:
    def test_unequal_lengths(self, tmp_path):
        make_wheel(tmp_path)
        np.save(tmp_path / "alf/_ibl_wheel.position.npy", np.zeros(7))
        with pytest.raises(DatasetInconsistentError, match="position.npy: 7.*timestamps.npy: 500"):
            WheelInterface(tmp_path).add_to_nwbfile(mock_NWBFile())

    def test_times_that_go_backwards(self, tmp_path):
        make_wheel(tmp_path, n_samples=3)
        np.save(tmp_path / "alf/_ibl_wheel.timestamps.npy", [0.0, 2.0, 1.0])
        with pytest.raises(DatasetInconsistentError, match=r"from 2\.0 s to 1\.0 s at row 2"):
            WheelInterface(tmp_path).add_to_nwbfile(mock_NWBFile())

    def test_nan_in_the_times(self, tmp_path):
        make_wheel(tmp_path, n_samples=3)
        np.save(tmp_path / "alf/_ibl_wheel.timestamps.npy", [0.0, np.nan, 1.0])
        with pytest.raises(DatasetInconsistentError, match="nan as the time of row 1"):
            WheelInterface(tmp_path).add_to_nwbfile(mock_NWBFile())

    def test_truncated_file(self, tmp_path):
        make_wheel(tmp_path)
        path = tmp_path / "alf/_ibl_wheelMoves.intervals.npy"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DatasetUnreadableError, match="wheelMoves.intervals"):
            WheelInterface(tmp_path).add_to_nwbfile(mock_NWBFile())

    def test_missing_times(self, tmp_path):
        make_wheel(tmp_path)
        (tmp_path / "alf/_ibl_wheel.timestamps.npy").unlink()
        with pytest.raises(DatasetMissingError, match="wheel.timestamps.npy or wheel.times.npy is missing"):
            WheelInterface(tmp_path)

    def test_no_wheel(self, tmp_path):
        (tmp_path / "alf").mkdir()
        np.save(tmp_path / "alf/licks.times.npy", [1.0])
        with pytest.raises(DatasetMissingError, match="nothing for WheelInterface"):
            WheelInterface(tmp_path)

    def test_unknown_collection_lists_those_there_are(self, tmp_path):
        with pytest.raises(UsageError, match="no collection 'alf/task_03'.*collection 'alf'"):
            WheelInterface(make_wheel(tmp_path), collection="alf/task_03")


@pytest.mark.parametrize(
    ("step", "unit"),
    [
        (2 * np.pi / 4096, "radians"),
        (2 * np.pi / 1024, "radians"),
        (3.1 * 2 * np.pi / 1024, "centimeters"),
        (3.1 * 2 * np.pi / 2048, "centimeters"),
    ],
)
def test_unit_from_the_size_of_a_step(step, unit):
    assert position_unit(np.array([0, 1, 2, 1, 2, 3]) * step) == unit


def test_velocity_is_that_of_ibls_recipe():
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.001, 0.1, 400))
    position = np.cumsum(rng.normal(size=400)) * 0.01
    grid = np.arange(times[0], times[-1], 1 / 1000)
    filtered = signal.sosfiltfilt(
        signal.butter(8, 20, fs=1000, output="sos"), interpolate.interp1d(times, position)(grid)
    )
    velocity = np.concatenate(([0], np.diff(filtered))) * 1000
    acceleration = np.concatenate(([0], np.diff(velocity))) * 1000
    for ours, expected in zip(derive_velocity(times, position), (grid, velocity, acceleration), strict=True):
        assert_allclose(ours, expected, rtol=0, atol=1e-9)


@needs_real_data
class TestRealWheels:
    @pytest.mark.parametrize(
        ("folder", "times_name", "unit"),
        [
            (CHIMERA, "timestamps", "radians"),
            (REAL / "iblrig_history/test_mouse/2018-10-02/001", "times", "meters"),
            (REAL / "ibllib/wheel_test_1", "timestamps", "meters"),
        ],
    )
    def test_values_and_unit(self, folder, times_name, unit):
        nwbfile = mock_NWBFile()
        WheelInterface(folder).add_to_nwbfile(nwbfile)
        position = nwbfile.processing["wheel"]["WheelPosition"]
        assert_array_equal(position.data, np.load(folder / "alf/_ibl_wheel.position.npy"))
        assert_array_equal(position.timestamps, np.load(folder / f"alf/_ibl_wheel.{times_name}.npy"))
        assert position.unit == unit

    def test_velocity_of_2018_is_kept_as_stored(self):
        folder = REAL / "iblrig_history/test_mouse/2018-10-02/001"
        nwbfile = mock_NWBFile()
        WheelInterface(folder).add_to_nwbfile(nwbfile)
        series = nwbfile.processing["wheel"]["WheelVelocityStored"]
        assert_array_equal(series.data, np.load(folder / "alf/_ibl_wheel.velocity.npy"))
        assert (series.unit, series.conversion) == ("meters/s", 0.01)
