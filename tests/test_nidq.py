"""NIDQInterface: every sample of every column as recorded, in volts and on the clock that defines the session."""

import json
import shutil

import mtscomp
import numpy as np
import pytest
from family_checks import check_valid, convert
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.nidq import NIDQInterface
from ibl_nwb.interfaces.sync import SyncInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.writing import filling

STEM = "raw_ephys_data/_spikeglx_ephysData_g0_t0.nidq"
RATE_HZ = 30_003.0003
VOLTS_PER_COUNT = 5 / 32768


def make_session(folder, **options):
    settings = dict(n_channels=16, raw_duration_s=0.7, cameras=("left",), audio=False, n_trials=3, passive=False)
    settings |= dict(n_clusters=4, spikes_per_probe=100, revisions=False, raw_bands=("lf",), probes=("probe00",))
    return make_example_session(folder, **{**settings, **options})


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return make_session(tmp_path_factory.mktemp("nidq"))


@pytest.fixture
def session_path(example, tmp_path):
    kept = shutil.ignore_patterns("alf", "probe0*", "raw_behavior_data")
    return shutil.copytree(example, tmp_path / "session", ignore=kept)


def decompress(session_path):
    reader = mtscomp.decompress(session_path / f"{STEM}.cbin", session_path / f"{STEM}.ch")
    samples = reader[:]
    reader.close()
    return samples


def change_meta(session_path, **fields):
    path = session_path / f"{STEM}.meta"
    lines = dict(line.split("=", 1) for line in path.read_text().splitlines()) | fields
    path.write_text("".join(f"{key}={value}\n" for key, value in lines.items() if value is not None))


def write_flat(session_path, samples, **fields):
    """Another recording: flat, with other columns."""
    for extension in ("cbin", "ch"):
        (session_path / f"{STEM}.{extension}").unlink(missing_ok=True)
    samples.astype("int16").tofile(session_path / f"{STEM}.bin")
    change_meta(session_path, nSavedChans=samples.shape[1], **fields)


def add(session_path, metadata=None, **options):
    nwbfile = mock_NWBFile()
    NIDQInterface(session_path).add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile.acquisition


class TestNIDQWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = NIDQInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, example):
        cls.folder = example
        cls.interface_kwargs = {"session_path": str(example)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        bpod, word = (nwbfile.acquisition[name] for name in ("NIDQBpod", "NIDQDigitalWord"))
        assert bpod.data.dtype == word.data.dtype == "int16"
        assert_array_equal(np.column_stack([bpod.data[:], word.data[:]]), decompress(self.folder))
        assert (bpod.starting_time, bpod.rate) == (word.starting_time, word.rate) == (0, RATE_HZ)
        assert (bpod.unit, bpod.conversion) == ("volts", VOLTS_PER_COUNT)
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_beside_a_foreign_interface_and_the_fronts(tmp_path, session_path, backend):
    source = {"session_path": str(session_path)}
    path = tmp_path / "x.nwb"
    instances = {"NIDQ": (NIDQInterface, source), "Sync": (SyncInterface, source)}
    nwbfile = convert(instances, path, backend=backend, runs=2)
    word, rate = nwbfile.acquisition["NIDQDigitalWord"].data[:], nwbfile.acquisition["NIDQDigitalWord"].rate
    changes = np.flatnonzero(np.diff(word >> 3 & 1)) + 1  # the fronts are where the bit of the word changes
    times = nwbfile.events["SyncImecSync"]["timestamp"][:]
    inside = times[(times > 0) & (times <= (len(word) - 1) / rate)]
    assert len(changes)
    np.testing.assert_allclose(changes / rate, inside, rtol=0, atol=1 / rate)
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


class TestSamples:
    def test_of_a_flat_file_are_those_in_it(self, tmp_path):
        folder = make_session(tmp_path, raw_format="bin")
        expected = np.fromfile(folder / f"{STEM}.bin", dtype="int16").reshape(-1, 2)
        written = add(folder)
        assert_array_equal(np.column_stack([series.data[:] for series in written.values()]), expected)

    def test_of_every_kind_of_input(self, session_path):
        samples = np.arange(7 * 400).reshape(-1, 7)
        fields = dict(snsMnMaXaDw="1,1,3,2", niMNGain=200, niMAGain=4, niMaxInt=2048, niAiRangeMax=2)
        write_flat(session_path, samples, **fields)
        series = add(session_path)
        at_gain_1 = 2 / 2048
        expected = {"Mn0": at_gain_1 / 200, "Ma0": at_gain_1 / 4, "Bpod": at_gain_1, "Laser": at_gain_1}
        for column, (line, volts) in enumerate((expected | {"LaserTtl": at_gain_1}).items()):
            assert_array_equal(series[f"NIDQ{line}"].data[:], samples[:, column])
            assert series[f"NIDQ{line}"].conversion == volts
        assert_array_equal(series["NIDQDigitalWord"].data[:], samples[:, 5:])

    def test_of_inputs_in_the_wiring_that_were_not_acquired_are_not_written(self, session_path):
        assert set(add(session_path)) == {"NIDQBpod", "NIDQDigitalWord"}

    def test_of_lines_that_nobody_named(self, session_path):
        (session_path / f"{STEM}.wiring.json").write_text(json.dumps({"SYNC_WIRING_DIGITAL": {"P0.1": "x"}}))
        series = add(session_path)
        assert set(series) == {"NIDQAnalogInput0", "NIDQDigitalWord"}
        assert "counted from 0: 1 x." in series["NIDQDigitalWord"].description

    def test_without_wiring_file_have_the_default_names(self, session_path):
        (session_path / f"{STEM}.wiring.json").unlink()
        word = add(session_path)["NIDQDigitalWord"]
        assert "7 audio" in word.description
        assert "bpod" not in word.description  # an analog line

    def test_of_a_stub_are_the_first_hundred(self, session_path):
        series = add(session_path, stub_test=True)
        assert_array_equal(series["NIDQDigitalWord"].data[:], decompress(session_path)[:100, 1])

    def test_are_read_in_the_pieces_asked_for(self, session_path):
        options = {"chunk_shape": (1000,), "buffer_shape": (3000,)}
        data = add(session_path, iterator_options=options)["NIDQBpod"].data
        pieces = [piece.data for piece in data]
        assert [len(piece) for piece in pieces] == [3000] * 7 + [2]
        assert_array_equal(np.concatenate(pieces), decompress(session_path)[:, 0])

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_are_streamed_into_a_file_of_their_own(self, session_path, tmp_path, backend, monkeypatch):
        units, encode = [], filling._UnitEncoder.__call__
        monkeypatch.setattr(
            filling._UnitEncoder, "__call__", lambda self, unit: units.append(unit) or encode(self, unit)
        )
        interface = NIDQInterface(session_path)
        metadata = interface.get_metadata()
        metadata["NWBFile"]["session_start_time"] = "2023-05-18T10:00:00+01:00"
        path = tmp_path / ("x.nwb" if backend == "hdf5" else "x.nwb.zarr")
        interface.run_conversion(path, metadata=metadata, backend=backend)
        assert units == [0, 0]  # one for each series
        written = read_nwb(path).acquisition
        columns = np.column_stack([written[name].data[:] for name in ("NIDQBpod", "NIDQDigitalWord")])
        assert_array_equal(columns, decompress(session_path))

    def test_that_were_aligned_have_the_times_that_were_set(self, session_path):
        interface = NIDQInterface(session_path)
        interface.set_aligned_timestamps(np.sqrt(interface.get_original_timestamps()))
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        assert_array_equal(nwbfile.acquisition["NIDQBpod"].timestamps[:], np.sqrt(np.arange(21_002) / RATE_HZ))

    def test_have_the_names_of_the_user(self, session_path):
        metadata = {"NIDQ": {"nidq": {"bpod": {"name": "Bpod", "description": "Mine."}}}}
        assert add(session_path, metadata)["Bpod"].description == "Mine."


class TestBadInput:
    @pytest.mark.parametrize(
        ("field", "value"),
        [("snsMnMaXaDw", "0,0,2,1"), ("snsMnMaXaDw", None), ("niAiRangeMax", "0"), ("niAiRangeMax", "five")],
    )
    def test_metadata_that_contradict(self, session_path, field, value):
        change_meta(session_path, **{field: value})
        with pytest.raises(DatasetInconsistentError, match=field):
            add(session_path)

    def test_truncated_recording(self, session_path):
        path = session_path / f"{STEM}.cbin"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DatasetInconsistentError, match="truncated"):
            NIDQInterface(session_path)

    def test_empty_metadata(self, session_path):
        (session_path / f"{STEM}.meta").write_text("")
        with pytest.raises(DatasetUnreadableError, match="it is empty"):
            NIDQInterface(session_path)

    @pytest.mark.parametrize("extension", ["meta", "ch"])
    def test_missing_companion(self, session_path, extension):
        (session_path / f"{STEM}.{extension}").unlink()
        with pytest.raises(DatasetMissingError, match=rf"nidq\.{extension}"):
            NIDQInterface(session_path, collection="raw_ephys_data")

    def test_unknown_collection(self, session_path):
        with pytest.raises(UsageError, match="raw_sync_data"):
            NIDQInterface(session_path, collection="raw_sync_data")


@needs_real_data
def test_real_metadata_and_wiring(tmp_path):
    """There is no real binary: one of the size that the metadata describe is made up."""
    folder = tmp_path / "raw_ephys_data"
    folder.mkdir()
    for extension in ("meta", "wiring.json"):
        shutil.copy(REAL / f"spikeglx_meta/sample3B_g0_t0.nidq.{extension}", tmp_path / f"{STEM}.{extension}")
    samples = np.random.default_rng(0).integers(-32768, 32768, (5000, 2)).astype("int16")
    samples.tofile(tmp_path / f"{STEM}.bin")
    series = add(tmp_path)
    assert_array_equal(series["NIDQBpod"].data[:], samples[:, 0])
    assert_array_equal(series["NIDQDigitalWord"].data[:], samples[:, 1])
    assert (series["NIDQBpod"].rate, series["NIDQBpod"].conversion) == (30003.0003, 5 / 32768)


@needs_real_data
def test_metadata_without_a_recording_are_no_instance():
    assert NIDQInterface.get_instances(ALFSession(CHIMERA)) == []
