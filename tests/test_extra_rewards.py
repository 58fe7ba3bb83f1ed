"""ExtraRewardsInterface: the worked example of CONTRIBUTING.md."""

import h5py
import numpy as np
import pytest
from family_checks import check_valid, convert
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError
from ibl_nwb.interfaces import ExtraRewardsInterface
from ibl_nwb.verify import verify


def make_rewards(folder, times=None, collection="alf"):
    (folder / collection).mkdir(parents=True, exist_ok=True)
    times = np.cumsum(np.random.default_rng(0).uniform(1, 9, 150)) if times is None else times
    np.save(folder / collection / "_ibl_extraRewards.times.npy", times)
    return folder


class TestExtraRewardsWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = ExtraRewardsInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = make_rewards(tmp_path_factory.mktemp("rewards"))
        cls.interface_kwargs = {"session_path": str(cls.folder)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        stored = np.load(self.folder / "alf" / "_ibl_extraRewards.times.npy")
        assert_array_equal(nwbfile.events["ExtraRewards"]["timestamp"][:], stored)
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_tasks_beside_a_foreign_interface(tmp_path, backend):
    session = tmp_path / "session"
    for number in range(2):
        make_rewards(session, [1.0 + number, 2.5], f"alf/task_0{number}")
    instances = {
        f"Task{number}": (
            ExtraRewardsInterface,
            {"session_path": str(session), "collection": f"alf/task_0{number}"},
        )
        for number in range(2)
    }
    events = convert(instances, tmp_path / "x.nwb", backend=backend).events
    assert_array_equal(events["ExtraRewards"]["timestamp"][:], [1.0, 2.5])
    assert_array_equal(events["ExtraRewardsTask01"]["timestamp"][:], [2.0, 2.5])
    if backend == "hdf5":
        check_valid(tmp_path / "x.nwb")


def test_verify_passes_and_finds_a_shifted_reward(tmp_path):
    session = make_rewards(tmp_path / "lab/Subjects/EX_001/2023-05-18/001")
    path = tmp_path / "x.nwb"
    convert({"ExtraRewards": (ExtraRewardsInterface, {"session_path": str(session)})}, path).read_io.close()
    rewards = [row for row in verify(path, session).rows if "extraRewards" in row.dataset]
    assert [row.status for row in rewards] == ["equal"]
    with h5py.File(path, "a") as file:
        file["events/ExtraRewards/timestamp"][7] += 1e-6
    rewards = [row for row in verify(path, session).rows if "extraRewards" in row.dataset]
    assert [row.status for row in rewards] == ["different"]


def test_no_rewards_no_table_but_a_note(tmp_path):
    interface, nwbfile = ExtraRewardsInterface(make_rewards(tmp_path, np.empty(0))), mock_NWBFile()
    interface.add_to_nwbfile(nwbfile)
    assert not nwbfile.events
    assert interface.notes == ["'alf/_ibl_extraRewards.times.npy' is empty: there were no extra rewards."]


@pytest.mark.parametrize(
    ("times", "message"), [([1.0, np.nan], "nan as the time of row 1"), ([2.0, 1.0], "go backwards")]
)
def test_bad_times(tmp_path, times, message):
    with pytest.raises(DatasetInconsistentError, match=message):
        ExtraRewardsInterface(make_rewards(tmp_path, times)).add_to_nwbfile(mock_NWBFile())


def test_nothing_there(tmp_path):
    (tmp_path / "alf").mkdir()
    np.save(tmp_path / "alf" / "licks.times.npy", [1.0])
    with pytest.raises(DatasetMissingError, match=r"extraRewards\.times\.npy"):
        ExtraRewardsInterface(tmp_path)
