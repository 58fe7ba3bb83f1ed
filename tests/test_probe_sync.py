"""ProbeSyncInterface: the sync word of every probe as recorded, at the times of the probe's samples."""

import json
import shutil

import mtscomp
import numpy as np
import pytest
from family_checks import check_valid, convert
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_allclose, assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, needs_real_data

from ibl_nwb.converter import IBLConverter
from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, UsageError
from ibl_nwb.interfaces.probe_sync import ProbeSyncInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.writing import mtscomp_blocks

BENT_KNOTS = np.array([[-500.5, 10.0], [3000.25, 10.2], [8000, 10.3], [20_000, 10.9]])


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe_sync")
    settings = dict(n_channels=8, raw_duration_s=0.6, cameras=(), audio=False, n_trials=3, passive=False)
    return make_example_session(folder, n_clusters=3, spikes_per_probe=60, revisions=False, **settings)


@pytest.fixture
def session_path(example, tmp_path):
    return shutil.copytree(example / "raw_ephys_data", tmp_path / "session/raw_ephys_data").parent


def raw_file(session_path, suffix, probe_name="probe00"):
    (path,) = (session_path / "raw_ephys_data" / probe_name).glob(f"*imec*.{suffix}")
    return path


def sync_word(session_path, probe_name="probe00", band="ap"):
    paths = (raw_file(session_path, f"{band}.{extension}", probe_name) for extension in ("cbin", "ch"))
    reader = mtscomp.decompress(*paths)
    word = reader[:][:, -1]
    reader.close()
    return word


def expected_times(session_path, n_samples, probe_name="probe00", step=1):
    """By plain interpolation; the knots of the example session reach beyond its samples."""
    knots = np.load(raw_file(session_path, "timestamps.npy", probe_name))
    return np.interp(np.arange(n_samples) * step, *knots.T)


def times_of(series):
    if series.timestamps is not None:
        return series.timestamps[:]
    return series.starting_time + np.arange(len(series.data)) / series.rate


def add(session_path, metadata=None, probe_name="probe00", band=None, **options):
    nwbfile = mock_NWBFile()
    interface = ProbeSyncInterface(session_path, probe_name=probe_name, band=band)
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return next(iter(nwbfile.acquisition.values()))


class TestProbeSyncWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = ProbeSyncInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, example):
        cls.folder = example
        cls.interface_kwargs = {"session_path": str(example), "probe_name": "probe01"}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        series = nwbfile.acquisition["TimeSeriesSyncProbe01"]
        word = sync_word(self.folder, "probe01")
        assert series.data.dtype == "int16"
        assert_array_equal(series.data[:], word)
        assert_allclose(times_of(series), expected_times(self.folder, len(word), "probe01"), rtol=0, atol=1e-6)
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_probes_beside_a_foreign_interface(tmp_path, session_path, backend):
    np.save(raw_file(session_path, "timestamps.npy", "probe01"), BENT_KNOTS)
    path = tmp_path / "x.nwb"
    instances = {
        f"ProbeSyncProbe0{n}": (ProbeSyncInterface, {"session_path": str(session_path), "probe_name": f"probe0{n}"})
        for n in (0, 1)
    }
    nwbfile = convert(instances, path, backend=backend, runs=2)
    for probe in ("probe00", "probe01"):
        series = nwbfile.acquisition[f"TimeSeriesSync{probe.capitalize()}"]
        word = sync_word(session_path, probe)
        assert_array_equal(series.data[:], word)
        assert_allclose(times_of(series), expected_times(session_path, len(word), probe), rtol=0, atol=1e-6)
    assert nwbfile.acquisition["TimeSeriesSyncProbe01"].timestamps is not None
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
@pytest.mark.parametrize("with_traces", [True, False])
def test_is_streamed_and_inflated_only_once(tmp_path, session_path, backend, with_traces, monkeypatch):
    opened, begin = [], mtscomp_blocks._Block.open
    monkeypatch.setattr(mtscomp_blocks._Block, "open", lambda self, data: opened.append(1) or begin(self, data))
    session = shutil.copytree(session_path, tmp_path / "lab/Subjects/EX_001/2023-05-18/001")
    path = tmp_path / ("x.nwb" if backend == "hdf5" else "x.nwb.zarr")
    include = ["ProbeSyncProbe00", *["RawEphysAPProbe00"][:with_traces]]
    converter = IBLConverter.from_session(session, include=include)
    metadata = converter.get_metadata()
    metadata["NWBFile"]["session_start_time"] = "2023-05-18T10:00:00+01:00"
    converter.run_conversion(path, metadata=metadata, backend=backend)
    assert len(opened) == 1  # the recording is one block
    assert_array_equal(read_nwb(path).acquisition["TimeSeriesSyncProbe00"].data[:], sync_word(session))


class TestInstances:
    def test_are_one_per_probe_from_the_ap_file_or_else_the_lf_file(self, session_path):
        raw_file(session_path, "ap.cbin", "probe01").unlink()
        session = ALFSession(session_path)
        instances = ProbeSyncInterface.get_instances(session)
        assert instances == [{"band": "ap", "probe_name": "probe00"}, {"band": "lf", "probe_name": "probe01"}]
        names = [ProbeSyncInterface.get_instance_name(session, instance) for instance in instances]
        assert names == ["ProbeSyncProbe00", "ProbeSyncLFProbe01"]

    def test_of_a_band_that_is_not_needed_may_be_incomplete(self, session_path):
        raw_file(session_path, "lf.ch").unlink()
        assert ProbeSyncInterface.get_incomplete_instances(ALFSession(session_path)) == {}
        raw_file(session_path, "ap.ch").unlink()
        assert set(ProbeSyncInterface.get_incomplete_instances(ALFSession(session_path))) == {
            "ProbeSyncProbe00",
            "ProbeSyncLFProbe00",
        }

    def test_that_are_not_there(self, session_path):
        with pytest.raises(UsageError, match="probe07"):
            ProbeSyncInterface(session_path, probe_name="probe07")


class TestWritten:
    def test_lf_word_is_at_every_twelfth_sample(self, session_path):
        series = add(session_path, band="lf")
        word = sync_word(session_path, band="lf")
        assert series.name == "TimeSeriesSyncLFProbe00"
        assert_array_equal(series.data[:], word)
        assert_allclose(times_of(series), expected_times(session_path, len(word), step=12), rtol=0, atol=1e-6)

    def test_every_time_is_interpolated_between_the_knots(self, session_path):
        np.save(raw_file(session_path, "timestamps.npy"), BENT_KNOTS)
        series = add(session_path)
        assert_allclose(series.timestamps[:], expected_times(session_path, len(series.data)), rtol=0, atol=1e-12)

    def test_without_knots_it_says_that_it_is_not_aligned(self, session_path):
        for suffix in ("timestamps.npy", "sync.npy"):
            raw_file(session_path, suffix).unlink()
        series = add(session_path)
        assert "not aligned to the session" in series.description
        assert series.starting_time == 0

    def test_bits_are_named_from_the_wiring(self, session_path):
        assert "counted from 0: 6 imec_sync." in add(session_path).description
        wiring = {"SYSTEM": "3A", "SYNC_WIRING_DIGITAL": {"pin03": "left_camera", "pin05": "ground", "pin19": "audio"}}
        path = raw_file(session_path, "ap.meta")
        path.with_name(path.name.replace("ap.meta", "wiring.json")).write_text(json.dumps(wiring))
        assert "counted from 0: 2 left_camera, 15 audio." in add(session_path).description

    def test_of_a_flat_file(self, session_path):
        word = sync_word(session_path)
        samples = np.column_stack([np.zeros((len(word), 8)), word]).astype("int16")
        cbin = raw_file(session_path, "ap.cbin")
        samples.tofile(cbin.with_suffix(".bin"))
        cbin.unlink()
        assert_array_equal(add(session_path).data[:], word)

    def test_stub_is_the_first_hundred_samples(self, session_path):
        assert_array_equal(add(session_path, stub_test=True).data[:], sync_word(session_path)[:100])

    def test_file_saved_without_the_word_is_noted(self, session_path):
        meta = raw_file(session_path, "ap.meta")
        text = meta.read_text().replace("nSavedChans=9", "nSavedChans=8").replace("snsApLfSy=8,0,1", "snsApLfSy=8,0,0")
        meta.write_text(text)
        for extension in ("cbin", "ch"):
            raw_file(session_path, f"ap.{extension}").unlink()
        np.zeros((500, 8), dtype="int16").tofile(meta.with_suffix(".bin"))
        interface = ProbeSyncInterface(session_path, probe_name="probe00")
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        assert not nwbfile.acquisition
        assert "without its sync word" in interface.notes[0]

    def test_users_name_is_written(self, session_path):
        metadata = {"ProbeSync": {"probe_sync_probe00": {"name": "Word"}}}
        assert add(session_path, metadata).name == "Word"


class TestBadInput:
    @pytest.mark.parametrize("suffix", ["ap.meta", "ap.ch"])
    def test_missing_companion(self, session_path, suffix):
        raw_file(session_path, suffix).unlink()
        with pytest.raises(DatasetMissingError, match=suffix):
            ProbeSyncInterface(session_path, probe_name="probe00", band="ap")

    def test_two_recordings_in_one_folder(self, session_path):
        path = raw_file(session_path, "ap.meta")
        shutil.copy(path, path.with_name(path.name.replace("_g0_", "_g1_")))
        with pytest.raises(DatasetInconsistentError, match=r"_g0_.*_g1_"):
            ProbeSyncInterface(session_path, probe_name="probe00")


@needs_real_data
def test_real_sync_word():
    folder = CHIMERA / "raw_ephys_data/probe00"
    series = add(CHIMERA)
    word = sync_word(CHIMERA)
    assert_array_equal(series.data[:], word)
    (knots,) = folder.glob("*.timestamps.npy")
    times = np.interp(np.arange(len(word)), *np.load(knots).T)
    assert_allclose(times_of(series), times, rtol=0, atol=1e-6)
