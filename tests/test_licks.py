"""LicksInterface: every entry as stored, in the events of the file."""

import numpy as np
import pytest
from camera_session import assert_valid, convert
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError
from ibl_nwb.interfaces.licks import LicksInterface
from ibl_nwb.session import ALFSession


def make_licks(folder, times=None, collection="alf"):
    (folder / collection).mkdir(parents=True, exist_ok=True)
    if times is None:
        frames = np.repeat(np.cumsum(np.random.default_rng(0).uniform(0.05, 3, 100)), 3) + np.tile([0, 0, 0.0067], 100)
        times = np.sort(frames)
    np.save(folder / collection / "licks.times.npy", times)
    return folder


def add(folder, metadata=None, **options):
    interface, nwbfile = LicksInterface(folder), mock_NWBFile()
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return interface, nwbfile


@pytest.fixture(scope="class")
def licks_session(tmp_path_factory):
    return make_licks(tmp_path_factory.mktemp("licks"))


class TestLicksWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = LicksInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, licks_session):
        cls.interface_kwargs = {"session_path": str(licks_session)}
        cls.folder = licks_session / "alf"

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        times = nwbfile.events["Licks"]["timestamp"]
        assert_array_equal(times[:], np.load(self.folder / "licks.times.npy"))
        assert times.data.dtype == "float64"
        assert list(nwbfile.events["Licks"].colnames) == ["timestamp"]
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_beside_a_foreign_interface_and_twice_in_a_row(tmp_path, backend):
    folder = make_licks(tmp_path / "session")
    for run in range(2):
        nwbfile = read_nwb(convert(LicksInterface, folder, tmp_path / f"{run}.nwb", sources=[{}], backend=backend))
        assert len(nwbfile.events["Licks"]) == 300
        assert len(nwbfile.acquisition) == 1
        nwbfile.read_io.close()


def test_nothing_for_the_inspector_and_the_validator_to_find(tmp_path):
    folder = make_licks(tmp_path / "session")
    assert_valid(convert(LicksInterface, folder, tmp_path / "licks.nwb", sources=[{}], foreign=False))


class TestWritten:
    def test_entries_are_not_deduplicated_and_the_file_says_so(self, tmp_path):
        _, nwbfile = add(make_licks(tmp_path, [1.0, 1.0, 1.0067, 2.0]))
        table = nwbfile.events["Licks"]
        assert_array_equal(table["timestamp"].data, [1.0, 1.0, 1.0067, 2.0])
        assert "not de-duplicated" in table.description
        assert "alf/licks.times.npy" in table.description

    @pytest.mark.parametrize("collection", ["", "alf/task_00"])
    def test_other_collections(self, tmp_path, collection):
        _, nwbfile = add(make_licks(tmp_path, [1.0, 2.0], collection))
        assert_array_equal(nwbfile.events["Licks"]["timestamp"].data, [1.0, 2.0])

    def test_column_of_single_precision_is_widened_exactly(self, tmp_path):
        times = np.array([[0.1], [0.2]], dtype="float32")
        _, nwbfile = add(make_licks(tmp_path, times))
        assert_array_equal(nwbfile.events["Licks"]["timestamp"].data, times[:, 0])
        assert nwbfile.events["Licks"]["timestamp"].data.dtype == "float64"

    def test_no_licks_no_table_but_a_note(self, tmp_path):
        interface, nwbfile = add(make_licks(tmp_path, np.empty(0)))
        assert not nwbfile.events
        assert interface.notes == ["No licks were found: 'alf/licks.times.npy' is empty."]

    def test_stub(self, tmp_path):
        assert len(add(make_licks(tmp_path), stub_test=True)[1].events["Licks"]) == 100

    def test_users_names_and_aligned_times_are_written(self, tmp_path):
        interface, nwbfile = LicksInterface(make_licks(tmp_path, [1.0, 2.0])), mock_NWBFile()
        metadata = interface.get_metadata()
        metadata["Licks"]["licks"].update(name="Tongue", description="Mine.")
        interface.set_aligned_starting_time(10.0)
        interface.add_to_nwbfile(nwbfile, metadata)
        assert nwbfile.events["Tongue"].description.startswith("Mine.")
        assert_array_equal(nwbfile.events["Tongue"]["timestamp"].data, [11.0, 12.0])


class TestBadInput:
    @pytest.mark.parametrize(
        ("times", "message"),
        [
            ([1.0, np.nan], "nan as the time of row 1"),
            ([2.0, 1.0], "go backwards.*at row 1"),
            (np.zeros((3, 2)), r"shape \(3, 2\)"),
        ],
    )
    def test_times_that_cannot_be(self, tmp_path, times, message):
        with pytest.raises(DatasetInconsistentError, match=message):
            add(make_licks(tmp_path, times))

    def test_truncated_file(self, tmp_path):
        path = make_licks(tmp_path) / "alf/licks.times.npy"
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(DatasetUnreadableError, match="licks.times.npy"):
            add(tmp_path)

    def test_session_without_licks(self, tmp_path):
        (tmp_path / "alf").mkdir()
        np.save(tmp_path / "alf/_ibl_wheel.position.npy", [1.0])
        assert not LicksInterface.is_available(ALFSession(tmp_path))
        with pytest.raises(DatasetMissingError, match="nothing for LicksInterface.*licks.times.npy"):
            LicksInterface(tmp_path)


@needs_real_data
def test_real_licks():
    _, nwbfile = add(CHIMERA)
    times = np.load(CHIMERA / "alf/licks.times.npy")
    assert_array_equal(nwbfile.events["Licks"]["timestamp"].data, times)
