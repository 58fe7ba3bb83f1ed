"""MotionEnergyInterface: values and region as stored, one instance per camera."""

import numpy as np
import pytest
from camera_session import LABELS, assert_valid, convert, make_times, write_times
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError
from ibl_nwb.interfaces.motion_energy import MotionEnergyInterface
from ibl_nwb.session import ALFSession

REGION = [410, 290, 540, 390]


def make_values(n_frames=150, seed=0):
    values = np.random.default_rng(seed).gamma(3, 2, n_frames)
    values[-1:] = values[-2:-1]
    return values


def write_motion_energy(folder, values, *, camera="left", region=REGION, n_times=None):
    write_times(folder, camera, len(values) if n_times is None else n_times)
    np.save(folder / f"alf/{camera}Camera.ROIMotionEnergy.npy", values)
    if region is not None:
        np.save(folder / f"alf/{camera}ROIMotionEnergy.position.npy", region)
    return folder


def add(folder, metadata=None, *, camera="left", **options):
    interface, nwbfile = MotionEnergyInterface(folder, camera_name=camera), mock_NWBFile()
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return interface, nwbfile.processing["behavior"]


def assert_holds(behavior, values, region, times, label="LeftCamera"):
    series = behavior[f"MotionEnergy{label}"]
    assert_array_equal(series.data[:], values)
    assert series.data.dtype == values.dtype
    assert_array_equal(series.timestamps[:], times)
    table = behavior[f"MotionEnergyRegion{label}"]
    assert list(table.colnames) == ["width", "height", "x", "y"]
    for name, value in zip(table.colnames, np.ravel(region), strict=True):
        assert_array_equal(table[name].data[:], [value])
        assert table[name].data.dtype == np.asarray(region).dtype


@pytest.fixture(scope="class")
def motion_session(tmp_path_factory):
    return write_motion_energy(tmp_path_factory.mktemp("motion"), make_values())


class TestMotionEnergyWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = MotionEnergyInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, motion_session):
        cls.interface_kwargs = {"session_path": str(motion_session), "camera_name": "left"}
        cls.alf = motion_session / "alf"

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        assert_holds(
            nwbfile.processing["behavior"],
            np.load(self.alf / "leftCamera.ROIMotionEnergy.npy"),
            np.load(self.alf / "leftROIMotionEnergy.position.npy"),
            np.load(self.alf / "_ibl_leftCamera.times.npy"),
        )
        nwbfile.read_io.close()


class TestInConverters:
    SOURCES = [{"camera_name": camera} for camera in LABELS]

    def make_session(self, folder):
        for seed, camera in enumerate(LABELS):
            region = np.array(REGION, dtype="int32") + seed
            write_motion_energy(folder, make_values(150 + seed, seed), camera=camera, region=region)
        return folder

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_three_cameras_beside_a_foreign_interface(self, tmp_path, backend):
        folder = self.make_session(tmp_path / "session")
        path = convert(MotionEnergyInterface, folder, tmp_path / "a.nwb", sources=self.SOURCES, backend=backend)
        nwbfile = read_nwb(path)
        for seed, label in enumerate(LABELS.values()):
            region = np.array(REGION, dtype="int32") + seed
            values = make_values(150 + seed, seed)
            assert_holds(nwbfile.processing["behavior"], values, region, make_times(150 + seed), label)
        nwbfile.read_io.close()

    def test_nothing_for_the_inspector_and_the_validator_to_find(self, tmp_path):
        folder = self.make_session(tmp_path / "session")
        assert_valid(convert(MotionEnergyInterface, folder, tmp_path / "a.nwb", sources=self.SOURCES, foreign=False))


class TestWritten:
    def test_one_row_and_one_column_are_flattened(self, tmp_path):
        write_motion_energy(tmp_path, make_values().astype("float32")[:, None], region=[REGION])
        assert_holds(add(tmp_path)[1], make_values().astype("float32"), REGION, make_times(150))

    def test_nan_is_kept(self, tmp_path):
        values = make_values()
        values[3] = np.nan
        assert_holds(add(write_motion_energy(tmp_path, values))[1], values, REGION, make_times(150))

    def test_without_region_the_file_and_the_summary_say_so(self, tmp_path):
        interface, behavior = add(write_motion_energy(tmp_path, make_values(), region=None))
        assert set(behavior.data_interfaces) == {"MotionEnergyLeftCamera"}
        assert interface.notes == ["The region of the motion energy is not in the session."]
        assert interface.notes[0] in behavior["MotionEnergyLeftCamera"].comments

    @pytest.mark.parametrize(("camera", "part"), [("left", "whisker pad"), ("right", "whisker pad"), ("body", "back")])
    def test_meaning_of_the_last_value_and_of_the_region_is_said(self, tmp_path, camera, part):
        _, behavior = add(write_motion_energy(tmp_path, make_values(), camera=camera), camera=camera)
        description = behavior[f"MotionEnergy{LABELS[camera]}"].description
        assert "its value repeats the one before" in description
        assert part in description
        assert part in behavior[f"MotionEnergyRegion{LABELS[camera]}"].description

    def test_of_too_many_times_the_last_are_used_and_file_and_summary_say_so(self, tmp_path):
        interface, behavior = add(write_motion_energy(tmp_path, make_values(), n_times=152), stub_test=True)
        assert_holds(behavior, make_values()[:100], REGION, make_times(152)[2:102])
        assert "has 152 times for 150 frames" in interface.notes[0]
        assert interface.notes[0] in behavior["MotionEnergyLeftCamera"].comments


class TestBadInput:
    def test_too_few_times(self, tmp_path):
        write_motion_energy(tmp_path, make_values(), n_times=149)
        with pytest.raises(DatasetInconsistentError, match="149 times for the 150 frames.*--exclude MotionEnergyLeft"):
            add(tmp_path)

    @pytest.mark.parametrize("region", [[1, 2, 3], [[1, 2], [3, 4]]])
    def test_region_of_another_shape(self, tmp_path, region):
        with pytest.raises(DatasetInconsistentError, match="leftROIMotionEnergy.position.npy' has shape"):
            add(write_motion_energy(tmp_path, make_values(), region=region))

    def test_values_of_two_columns(self, tmp_path):
        with pytest.raises(DatasetInconsistentError, match=r"shape \(20, 2\)"):
            add(write_motion_energy(tmp_path, np.zeros((20, 2))))

    def test_truncated_file(self, tmp_path):
        path = write_motion_energy(tmp_path, make_values()) / "alf/leftCamera.ROIMotionEnergy.npy"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DatasetUnreadableError, match="ROIMotionEnergy"):
            add(tmp_path)

    def test_region_without_values_is_no_instance(self, tmp_path):
        (write_motion_energy(tmp_path, make_values()) / "alf/leftCamera.ROIMotionEnergy.npy").unlink()
        assert MotionEnergyInterface.get_instances(ALFSession(tmp_path)) == []
        with pytest.raises(DatasetMissingError, match="nothing for MotionEnergyInterface"):
            add(tmp_path)


@needs_real_data
@pytest.mark.parametrize("camera", ["left", "right"])
def test_real_motion_energy(camera):
    _, behavior = add(CHIMERA, camera=camera)
    values, region, times = (
        np.load(CHIMERA / f"alf/{name}.npy")
        for name in (
            f"{camera}Camera.ROIMotionEnergy",
            f"{camera}ROIMotionEnergy.position",
            f"_ibl_{camera}Camera.times",
        )
    )
    assert_holds(behavior, values, region, times, LABELS[camera])
