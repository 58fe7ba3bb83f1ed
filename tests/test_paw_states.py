"""PawStatesInterface: every probability and variance as stored, with the times of the camera, which are in ``alf``."""

import numpy as np
import pandas as pd
import pytest
from camera_session import LABELS, assert_valid, convert, make_times, write_times
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError
from ibl_nwb.interfaces.paw_states import PawStatesInterface
from ibl_nwb.session import ALFSession

#: Series that each column must end up in: written out, not computed.
SERIES = {
    "paw_r_background": "PawRBackground",
    "paw_r_still": "PawRStill",
    "paw_r_move": "PawRMove",
    "paw_r_wheel_turn": "PawRWheelTurn",
    "paw_r_groom": "PawRGroom",
    "paw_l_background": "PawLBackground",
    "paw_l_still": "PawLStill",
    "paw_l_move": "PawLMove",
    "paw_l_wheel_turn": "PawLWheelTurn",
    "paw_l_groom": "PawLGroom",
}
SERIES |= {f"{column}_ens_var": f"{name}EnsVar" for column, name in SERIES.items()}


def make_table(n_frames=120, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({column: rng.random(n_frames) for column in SERIES})
    table.iloc[-5:] = np.nan
    return table


def write_states(folder, table, *, camera="left", n_times=None):
    write_times(folder, camera, len(table) if n_times is None else n_times)
    (folder / "alf/lightningaction").mkdir(exist_ok=True)
    table.to_parquet(folder / f"alf/lightningaction/_ibl_{camera}Camera.pawstates.pqt")
    return folder


def add(folder, metadata=None, *, camera="left", **options):
    interface, nwbfile = PawStatesInterface(folder, camera_name=camera), mock_NWBFile()
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return interface, nwbfile.processing["behavior"]


def assert_holds(behavior, table, times, label="LeftCamera"):
    container = behavior[f"PawStates{label}"]
    assert set(container.time_series) == set(SERIES.values())
    for column, name in SERIES.items():
        assert_array_equal(container[name].data[:], table[column].to_numpy())
        assert container[name].data.dtype == table[column].dtype
        assert container[name].unit == ("probability^2" if name.endswith("EnsVar") else "probability")
        assert_array_equal(container[name].timestamps[:], times)


@pytest.fixture(scope="class")
def paw_session(tmp_path_factory):
    return write_states(tmp_path_factory.mktemp("paws"), make_table())


class TestPawStatesWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = PawStatesInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, paw_session):
        cls.interface_kwargs = {"session_path": str(paw_session), "camera_name": "left"}
        cls.alf = paw_session / "alf"

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        table = pd.read_parquet(self.alf / "lightningaction/_ibl_leftCamera.pawstates.pqt")
        assert_holds(nwbfile.processing["behavior"], table, np.load(self.alf / "_ibl_leftCamera.times.npy"))
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_three_cameras_beside_a_foreign_interface(tmp_path, backend):
    folder = tmp_path / "session"
    for seed, camera in enumerate(LABELS):
        write_states(folder, make_table(120 + seed, seed), camera=camera)
    sources = [{"camera_name": camera} for camera in LABELS]
    nwbfile = read_nwb(convert(PawStatesInterface, folder, tmp_path / "a.nwb", sources=sources, backend=backend))
    for seed, (camera, label) in enumerate(LABELS.items()):
        table = pd.read_parquet(folder / f"alf/lightningaction/_ibl_{camera}Camera.pawstates.pqt")
        assert_holds(nwbfile.processing["behavior"], table, make_times(120 + seed), label)
    nwbfile.read_io.close()


def test_nothing_for_the_inspector_and_the_validator_to_find(tmp_path):
    folder = write_states(tmp_path / "session", make_table())
    sources = [{"camera_name": "left"}]
    assert_valid(convert(PawStatesInterface, folder, tmp_path / "a.nwb", sources=sources, foreign=False))


class TestWritten:
    def test_series_of_a_camera_share_their_timestamps(self, tmp_path):
        container = add(write_states(tmp_path, make_table()))[1]["PawStatesLeftCamera"]
        assert len({id(series.timestamps) for series in container.time_series.values()}) == 1

    def test_near_and_far_state_and_quantity_are_said(self, tmp_path):
        container = add(write_states(tmp_path, make_table()))[1]["PawStatesLeftCamera"]
        description = container["PawRWheelTurn"].description
        assert "Probability, 0 to 1, that the forepaw nearer to this camera turns the wheel" in description
        assert "frame of the left camera" in description
        assert "Variance" in container["PawLGroomEnsVar"].description
        assert "farther from this camera grooms" in container["PawLGroomEnsVar"].description
        assert "alf/lightningaction/_ibl_leftCamera.pawstates.pqt" in container["PawLGroom"].comments

    def test_column_nobody_described_is_kept(self, tmp_path):
        table = make_table().assign(paw_r_dance=np.arange(120, dtype="float32"))
        series = add(write_states(tmp_path, table))[1]["PawStatesLeftCamera"]["PawRDance"]
        assert_array_equal(series.data, table["paw_r_dance"])
        assert "does not describe it" in series.description

    def test_stub_of_too_many_times_begins_with_the_first_frame(self, tmp_path):
        interface, behavior = add(write_states(tmp_path, make_table(), n_times=123), stub_test=True)
        assert_holds(behavior, make_table().iloc[:100], make_times(123)[3:103])
        assert "has 123 times for 120 frames" in interface.notes[0]


class TestBadInput:
    def test_too_few_times(self, tmp_path):
        write_states(tmp_path, make_table(), n_times=119)
        with pytest.raises(
            DatasetInconsistentError, match="119 times for the 120 frames.*--exclude PawStatesLeftCamera"
        ):
            add(tmp_path)

    def test_states_without_times(self, tmp_path):
        (write_states(tmp_path, make_table()) / "alf/_ibl_leftCamera.times.npy").unlink()
        with pytest.raises(DatasetMissingError, match=r"leftCamera\.times\.npy is missing"):
            PawStatesInterface(tmp_path, camera_name="left")

    def test_times_without_states_are_no_instance(self, tmp_path):
        write_states(tmp_path, make_table())
        write_times(tmp_path, "right", 10)
        assert PawStatesInterface.get_instances(ALFSession(tmp_path)) == [{"camera_name": "left"}]
        assert PawStatesInterface.get_incomplete_instances(ALFSession(tmp_path)) == {}
