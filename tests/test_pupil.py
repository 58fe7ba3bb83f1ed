"""PupilInterface: every column of the features as stored, NaN included, one timestamps dataset per camera."""

import h5py
import numpy as np
import pandas as pd
import pytest
from camera_session import LABELS, assert_valid, convert, make_times, write_times
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import REAL, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.pupil import PupilInterface
from ibl_nwb.session import ALFSession

COLUMNS = {"pupilDiameter_raw": "PupilDiameterRaw", "pupilDiameter_smooth": "PupilDiameterSmooth"}


def make_table(n_frames=150, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({name: rng.uniform(20, 60, n_frames) for name in COLUMNS}).astype(dtype)
    table.loc[[0, 7], "pupilDiameter_raw"] = np.nan
    table.loc[40:60] = np.nan
    return table


def write_features(folder, table, *, camera="left", n_times=None):
    write_times(folder, camera, len(table) if n_times is None else n_times)
    table.to_parquet(folder / f"alf/_ibl_{camera}Camera.features.pqt")
    return folder


def add(folder, metadata=None, *, camera="left", **options):
    interface, nwbfile = PupilInterface(folder, camera_name=camera), mock_NWBFile()
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return interface, nwbfile.processing["behavior"]


def assert_holds(behavior, table, times, label="LeftCamera"):
    container = behavior[f"PupilTracking{label}"]
    assert set(container.time_series) == set(COLUMNS.values())
    for column, name in COLUMNS.items():
        assert_array_equal(container[name].data[:], table[column].to_numpy())
        assert container[name].data.dtype == table[column].dtype
        assert container[name].unit == "pixels"
        assert_array_equal(container[name].timestamps[:], times)


@pytest.fixture(scope="class")
def pupil_session(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("pupil"), make_table())


class TestPupilWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = PupilInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, pupil_session):
        cls.interface_kwargs = {"session_path": str(pupil_session), "camera_name": "left"}
        cls.alf = pupil_session / "alf"

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        times = np.load(self.alf / "_ibl_leftCamera.times.npy")
        table = pd.read_parquet(self.alf / "_ibl_leftCamera.features.pqt")
        assert_holds(nwbfile.processing["behavior"], table, times)
        nwbfile.read_io.close()


class TestInConverters:
    SOURCES = [{"camera_name": camera} for camera in LABELS]

    def make_session(self, folder):
        for seed, camera in enumerate(LABELS):
            write_features(folder, make_table(150 + seed, seed), camera=camera)
        return folder

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_three_cameras_beside_a_foreign_interface(self, tmp_path, backend):
        folder = self.make_session(tmp_path / "session")
        path = convert(PupilInterface, folder, tmp_path / "a.nwb", sources=self.SOURCES, backend=backend)
        nwbfile = read_nwb(path)
        for seed, (camera, label) in enumerate(LABELS.items()):
            table = pd.read_parquet(folder / f"alf/_ibl_{camera}Camera.features.pqt")
            assert_holds(nwbfile.processing["behavior"], table, make_times(150 + seed), label)
        assert len(nwbfile.acquisition) == 1
        nwbfile.read_io.close()

    def test_nothing_for_the_inspector_and_the_validator_to_find(self, tmp_path):
        folder = self.make_session(tmp_path / "session")
        assert_valid(convert(PupilInterface, folder, tmp_path / "a.nwb", sources=self.SOURCES, foreign=False))

    def test_names_of_the_instances(self, tmp_path):
        session = ALFSession(self.make_session(tmp_path))
        names = {PupilInterface.get_instance_name(session, i) for i in PupilInterface.get_instances(session)}
        assert names == {"PupilLeftCamera", "PupilRightCamera", "PupilBodyCamera"}


class TestWritten:
    def test_series_of_a_camera_share_one_timestamps_dataset(self, tmp_path):
        folder = write_features(tmp_path / "session", make_table())
        path = convert(PupilInterface, folder, tmp_path / "a.nwb", sources=[{"camera_name": "left"}])
        with h5py.File(path) as file:
            container = file["processing/behavior/PupilTrackingLeftCamera"]
            assert container["PupilDiameterRaw/timestamps"] == container["PupilDiameterSmooth/timestamps"]

    def test_regular_times_become_start_and_rate(self, tmp_path):
        write_features(tmp_path, make_table())
        times = 3.0 + np.arange(150) / 60
        np.save(tmp_path / "alf/_ibl_leftCamera.times.npy", times)
        for series in add(tmp_path)[1]["PupilTrackingLeftCamera"].time_series.values():
            assert (series.starting_time, series.timestamps) == (3.0, None)
            assert np.abs(series.get_timestamps() - times).max() <= 1e-6

    def test_type_of_the_file_is_kept(self, tmp_path):
        table = make_table(dtype="float32")
        assert_holds(add(write_features(tmp_path, table))[1], table, make_times(150))

    def test_column_nobody_described_is_kept(self, tmp_path):
        table = make_table().assign(eyelid_gap=np.arange(150, dtype="int16"))
        series = add(write_features(tmp_path, table))[1]["PupilTrackingLeftCamera"]["EyelidGap"]
        assert_array_equal(series.data, table["eyelid_gap"])
        assert series.data.dtype == "int16"
        assert "does not describe it" in series.description

    def test_of_too_many_times_the_last_are_used_and_file_and_summary_say_so(self, tmp_path):
        interface, behavior = add(write_features(tmp_path, make_table(), n_times=157))
        assert_holds(behavior, make_table(), make_times(157)[7:])
        note = "has 157 times for 150 frames; the first 7 were left out"
        assert note in interface.notes[0]
        assert note in behavior["PupilTrackingLeftCamera"]["PupilDiameterSmooth"].comments

    def test_stub_of_too_many_times_begins_with_the_first_frame(self, tmp_path):
        _, behavior = add(write_features(tmp_path, make_table(), n_times=157), stub_test=True)
        assert_holds(behavior, make_table().iloc[:100], make_times(157)[7:107])

    def test_users_names_and_aligned_times_are_written(self, tmp_path):
        interface = PupilInterface(write_features(tmp_path, make_table()), camera_name="left")
        metadata = interface.get_metadata()
        metadata["Pupil"]["pupil_left_camera"]["name"] = "Eye"
        metadata["Pupil"]["pupil_left_camera"]["series"]["pupilDiameter_raw"].update(name="Raw", description="Mine.")
        interface.set_aligned_starting_time(100.0)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, metadata)
        series = nwbfile.processing["behavior"]["Eye"]["Raw"]
        assert series.description == "Mine."
        assert_array_equal(series.timestamps, make_times(150) + 100.0)


class TestBadInput:
    @pytest.mark.parametrize("n_times", [149, 0])
    def test_too_few_times(self, tmp_path, n_times):
        write_features(tmp_path, make_table(), n_times=n_times)
        with pytest.raises(DatasetInconsistentError, match=rf"{n_times} times for the 150 frames.*--exclude PupilLeft"):
            add(tmp_path)

    def test_file_without_columns(self, tmp_path):
        write_features(tmp_path, pd.DataFrame(index=range(5)))
        with pytest.raises(DatasetInconsistentError, match="leftCamera.features.pqt' has no columns"):
            add(tmp_path)

    def test_corrupt_parquet(self, tmp_path):
        path = write_features(tmp_path, make_table()) / "alf/_ibl_leftCamera.features.pqt"
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(DatasetUnreadableError, match="features"):
            add(tmp_path)

    def test_features_without_times(self, tmp_path):
        (write_features(tmp_path, make_table()) / "alf/_ibl_leftCamera.times.npy").unlink()
        with pytest.raises(DatasetMissingError, match=r"leftCamera\.times\.npy is missing"):
            PupilInterface(tmp_path, camera_name="left")

    def test_unknown_camera_lists_those_there_are(self, tmp_path):
        with pytest.raises(UsageError, match="no camera_name 'top'.*camera_name 'left'"):
            PupilInterface(write_features(tmp_path, make_table()), camera_name="top")


@needs_real_data
def test_real_diameters_and_camera_times(tmp_path):
    """Diameters and camera times of ibllib's QC tests, put in the files that sessions have."""
    diameters = np.load(REAL / "ibllib/qc/pupil_diameter.npy")
    times = np.load(REAL / "ibllib/qc/camera_times.npy")
    write_features(tmp_path, pd.DataFrame(diameters, columns=list(COLUMNS)))
    np.save(tmp_path / "alf/_ibl_leftCamera.times.npy", times)
    _, behavior = add(tmp_path)
    assert_holds(behavior, pd.DataFrame(diameters, columns=list(COLUMNS)), times[-len(diameters) :].astype("float64"))
