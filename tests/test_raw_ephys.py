"""RawEphysInterface: every sample as stored, in volts and on the session clock, whatever the files are called."""

import json
import shutil
from datetime import UTC, datetime

import h5py
import mtscomp
import numpy as np
import pytest
from hdmf_zarr import NWBZarrIO
from neuroconv import NWBConverter
from neuroconv.tools.testing import MockRecordingInterface
from neuroconv.tools.testing.data_interface_mixins import RecordingExtractorInterfaceTestMixin
from numpy.testing import assert_allclose, assert_array_equal
from nwbinspector import Importance, inspect_nwbfile, load_config
from pynwb import read_nwb, validate
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, needs_real_data
from spikeinterface import load as load_recording

from ibl_nwb.errors import (
    DatasetInconsistentError,
    DatasetMissingError,
    DatasetUnreadableError,
    OutputExistsError,
    UsageError,
)
from ibl_nwb.interfaces.raw_ephys import RawEphysInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.writing import filling

N_SITES = 16
DURATION_S = 0.5
START_TIME = datetime(2023, 5, 18, 10, tzinfo=UTC)


def make_session(folder, **options):
    settings = {
        "n_channels": N_SITES,
        "raw_duration_s": DURATION_S,
        "cameras": (),
        "audio": False,
        "n_trials": 3,
        "n_clusters": 4,
        "spikes_per_probe": 100,
        "revisions": False,
    }
    return make_example_session(folder, **{**settings, **options})


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return make_session(tmp_path_factory.mktemp("example"))


@pytest.fixture
def session_path(example, tmp_path):
    return shutil.copytree(example, tmp_path / "session", ignore=shutil.ignore_patterns("spikes.*"))


def raw_file(session_path, suffix, probe_name="probe00"):
    (path,) = (session_path / "raw_ephys_data" / probe_name).glob(f"*.{suffix}")
    return path


def knots_of(session_path, probe_name="probe00"):
    return np.load(raw_file(session_path, "timestamps.npy", probe_name))


def decompress(session_path, band="ap", probe_name="probe00"):
    """The samples as mtscomp itself gives them, without the sync word."""
    cbin, ch = (raw_file(session_path, f"{band}.{extension}", probe_name) for extension in ("cbin", "ch"))
    return mtscomp.decompress(cbin, ch)[:][:, :-1]


def bend_knots(session_path, probe_name="probe00"):
    """A clock that no single rate describes."""
    knots = np.array([[-500.5, 10.0], [3000.25, 10.2], [8000, 10.3], [9000, 10.4]])
    np.save(raw_file(session_path, "timestamps.npy", probe_name), knots)
    return knots


def convert(interface, path, **options):
    metadata = interface.get_metadata()
    metadata["NWBFile"]["session_start_time"] = START_TIME
    interface.run_conversion(path, metadata=metadata, overwrite=True, **options)
    return path


def add(session_path, band="ap", probe_name="probe00", metadata=None, **options):
    """The series of a new NWB file in memory."""
    nwbfile = mock_NWBFile()
    interface = RawEphysInterface(session_path, probe_name=probe_name, band=band)
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile.acquisition[next(iter(nwbfile.acquisition))]


class MixinTests(RecordingExtractorInterfaceTestMixin):
    data_interface_cls = RawEphysInterface
    band: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, example):
        cls.interface_kwargs = {"session_path": str(example), "probe_name": "probe01", "band": cls.band}
        cls.folder = example

    def check_extracted_metadata(self, metadata):
        key = f"raw_ephys_{self.band}_probe01"
        name = metadata["Ecephys"]["ElectricalSeries"][key]["name"]
        assert name == f"ElectricalSeries{self.band.upper()}Probe01"
        assert set(metadata["Ecephys"]["ElectrodeGroups"]) == {"probe01"}

    def check_read_nwb(self, nwbfile_path):
        super().check_read_nwb(nwbfile_path)
        nwbfile = read_nwb(nwbfile_path)
        series = nwbfile.acquisition[f"ElectricalSeries{self.band.upper()}Probe01"]
        assert series.data.dtype == "int16"
        assert_array_equal(series.data[:], decompress(self.folder, self.band, "probe01"))


class TestAPWithNeuroConvsMixins(MixinTests):
    band = "ap"


class TestLFWithNeuroConvsMixins(MixinTests):
    band = "lf"


class TestInstances:
    def test_are_both_bands_of_every_probe(self, session_path):
        raw_file(session_path, "lf.cbin", "probe01").unlink()
        assert RawEphysInterface.get_instances(ALFSession(session_path)) == [
            {"band": "ap", "probe_name": "probe00"},
            {"band": "ap", "probe_name": "probe01"},
            {"band": "lf", "probe_name": "probe00"},
        ]

    def test_are_labelled_by_band_and_probe(self, session_path):
        session = ALFSession(session_path)
        instance = {"band": "lf", "probe_name": "probe01"}
        assert RawEphysInterface.get_instance_name(session, instance) == "RawEphysLFProbe01"
        assert RawEphysInterface(session_path, probe_name="probe01", band="lf").metadata_key == "raw_ephys_lf_probe01"

    @pytest.mark.parametrize("suffix", ["ap.meta", "ap.ch"])
    def test_need_metadata_and_header_of_the_compression(self, session_path, suffix):
        raw_file(session_path, suffix).unlink()
        with pytest.raises(DatasetMissingError, match=suffix.replace(".", r"\.")):
            RawEphysInterface(session_path, probe_name="probe00")
        assert list(RawEphysInterface.get_incomplete_instances(ALFSession(session_path))) == ["RawEphysAPProbe00"]

    def test_that_are_not_there_are_named_with_those_that_are(self, session_path):
        with pytest.raises(UsageError, match=r"'probe07'.*'probe01'"):
            RawEphysInterface(session_path, probe_name="probe07")

    def test_may_be_in_a_folder_further_down(self, session_path):
        folder = session_path / "raw_ephys_data/probe00"
        deeper = folder / "_spikeglx_ephysData_probe00_g0"
        deeper.mkdir()
        for path in folder.glob("*.*"):
            path.rename(deeper / path.name.replace("ephysData_g0", "ephysData_probe00g0"))
        assert_array_equal(add(session_path).data[:, :].shape, (15_000, N_SITES))

    def test_of_two_recordings_in_one_folder_are_refused(self, session_path):
        path = raw_file(session_path, "ap.cbin")
        shutil.copy(path, path.with_name(path.name.replace("_g0_", "_g1_")))
        with pytest.raises(DatasetInconsistentError, match=r"_g0_.*_g1_"):
            RawEphysInterface(session_path, probe_name="probe00")


class TestSamples:
    @pytest.mark.parametrize("band", ["ap", "lf"])
    def test_are_those_that_mtscomp_decompresses(self, session_path, tmp_path, band):
        interface = RawEphysInterface(session_path, probe_name="probe00", band=band)
        path = convert(interface, tmp_path / "x.nwb")
        with h5py.File(path) as file:
            data = file[f"acquisition/ElectricalSeries{band.upper()}Probe00/data"]
            assert data.dtype == "int16"
            assert_array_equal(data[:], decompress(session_path, band))

    def test_of_a_flat_file_are_those_in_it(self, tmp_path):
        folder = make_session(tmp_path, raw_format="bin", probes=("probe00",))
        expected = np.fromfile(raw_file(folder, "ap.bin"), dtype="int16").reshape(-1, N_SITES + 1)[:, :-1]
        series = add(folder)
        assert_array_equal(series.data[:], expected)
        assert ".bin" in series.comments

    def test_are_found_under_names_with_dataset_uuids(self, tmp_path):
        folder = make_session(tmp_path, uuids_in_names=True, probes=("probe00",))
        (cbin,), (ch,) = (
            (folder / "raw_ephys_data/probe00").glob(f"*.ap.*.{extension}") for extension in ("cbin", "ch")
        )
        assert_array_equal(add(folder).data[:], mtscomp.decompress(cbin, ch)[:][:, :-1])

    def test_of_any_piece_are_the_same_as_in_one(self, session_path, monkeypatch):
        cut_into_blocks(session_path, 1000)
        recording = RawEphysInterface(session_path, probe_name="probe00").recording_extractor
        expected = decompress(session_path)
        for start, stop in ((0, 1000), (999, 1001), (1000, 3000), (2500, 2501), (14_999, 15_000), (0, 15_000), (7, 7)):
            assert_array_equal(recording.get_traces(start_frame=start, end_frame=stop), expected[start:stop])
        some = recording.get_traces(start_frame=990, end_frame=1010, channel_ids=["AP3", "AP1"])
        assert_array_equal(some, expected[990:1010, [3, 1]])

    @pytest.mark.parametrize(
        "options", [{}, {"buffer_gb": 1e-4}, {"chunk_shape": (999, 5), "buffer_shape": (1998, 16)}]
    )
    def test_are_inflated_once_per_block(self, session_path, monkeypatch, options):
        cut_into_blocks(session_path, 1000)
        inflate, inflated = mtscomp.zlib.decompress, []
        monkeypatch.setattr(mtscomp.zlib, "decompress", lambda block: inflated.append(block) or inflate(block))
        series = add(session_path, iterator_options=options)
        written = np.zeros((15_000, N_SITES), dtype="int16")
        for piece in series.data:
            written[piece.selection] = piece.data
        assert len(inflated) == 15
        assert_array_equal(written, decompress(session_path))

    def test_are_written_in_chunks_and_buffers_of_whole_blocks(self, session_path):
        cut_into_blocks(session_path, 1000)
        data = add(session_path, iterator_options={"buffer_gb": 1e-4}).data
        assert data.chunk_shape == (15_000, N_SITES)
        recording = RawEphysInterface(session_path, probe_name="probe00").recording_extractor
        assert recording.samples.block_length == 1000

    def test_can_be_read_in_another_process(self, session_path):
        recording = RawEphysInterface(session_path, probe_name="probe00").recording_extractor
        again = load_recording(recording.to_dict())
        assert_array_equal(again.get_traces(end_frame=50), recording.get_traces(end_frame=50))
        assert_array_equal(again.get_times(), recording.get_times())

    def test_report_progress_the_way_neuroconv_does(self, session_path):
        class Progress:
            def __init__(self, total, **options):
                seen.update(total=total, n=0, **options)

            def update(self, n):
                seen["n"] += n

            def write(self, text):
                pass

        seen = {}
        options = {"display_progress": True, "progress_bar_class": Progress, "progress_bar_options": {"desc": "AP"}}
        options |= {"chunk_shape": (1500, 16), "buffer_shape": (3000, 16)}
        list(add(session_path, iterator_options=options).data)
        assert seen == {"total": 5, "n": 5, "desc": "AP"}

    def test_of_a_stub_are_the_first_hundred(self, session_path):
        bend_knots(session_path)
        series = add(session_path, stub_test=True)
        assert_array_equal(series.data[:], decompress(session_path)[:100])
        assert series.rate is None or series.timestamps is None
        assert_allclose(series.starting_time, np.interp(0, *bend_knots(session_path)[:2].T))

    def test_of_removed_channels_are_left_out(self, session_path):
        interface = RawEphysInterface(session_path, probe_name="probe00").remove_channels(["AP0", "AP2"])
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        series = nwbfile.acquisition["ElectricalSeriesAPProbe00"]
        kept = [1, *range(3, N_SITES)]
        assert_array_equal(series.data[:], decompress(session_path)[:, kept])
        assert_array_equal(series.electrodes.data, kept)
        assert len(nwbfile.electrodes) == N_SITES

    @pytest.mark.parametrize(("band", "microvolts"), [("ap", 2.34375), ("lf", 4.6875)])
    def test_are_worth_what_the_amplifier_and_converter_say(self, session_path, band, microvolts):
        series = add(session_path, band)
        assert_allclose(series.conversion * 1e6, microvolts, rtol=1e-12)
        assert series.channel_conversion is None
        assert series.offset == 0
        gains = RawEphysInterface(session_path, probe_name="probe00", band=band).recording_extractor.get_channel_gains()
        assert_allclose(gains, microvolts, rtol=1e-12)

    def test_of_channels_with_different_gains_have_a_conversion_each(self, session_path):
        meta = raw_file(session_path, "ap.meta")
        meta.write_text(meta.read_text().replace("(3 0 0 500 250 1)", "(3 0 0 250 250 1)"))
        series = add(session_path)
        assert series.conversion == 1
        expected = np.full(N_SITES, 2.34375)
        expected[3] = 4.6875
        assert_allclose(series.channel_conversion[:] * 1e6, expected, rtol=1e-12)


class TestConversionWithoutConverter:
    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_streams_the_samples(self, session_path, tmp_path, backend, monkeypatch):
        units, encode = [], filling._UnitEncoder.__call__
        monkeypatch.setattr(
            filling._UnitEncoder, "__call__", lambda self, unit: units.append(unit) or encode(self, unit)
        )
        interface = RawEphysInterface(session_path, probe_name="probe00")
        path = convert(interface, tmp_path / ("x.nwb" if backend == "hdf5" else "x.nwb.zarr"), backend=backend)
        assert units == [0]
        assert_array_equal(read_nwb(path).acquisition["ElectricalSeriesAPProbe00"].data[:], decompress(session_path))

    def test_takes_options_and_a_file_in_memory(self, session_path, tmp_path):
        nwbfile = mock_NWBFile(identifier="mine")
        interface = RawEphysInterface(session_path, probe_name="probe00")
        metadata = with_start_time(interface)
        interface.run_conversion(tmp_path / "x.nwb", nwbfile=nwbfile, metadata=metadata, stub_test=True)
        written = read_nwb(tmp_path / "x.nwb")
        assert (written.identifier, len(written.acquisition["ElectricalSeriesAPProbe00"].data)) == ("mine", 100)

    def test_follows_a_backend_configuration(self, session_path, tmp_path):
        interface = RawEphysInterface(session_path, probe_name="probe00")
        metadata = with_start_time(interface)
        configuration = interface.get_default_backend_configuration(interface.create_nwbfile(metadata), "hdf5")
        location = "acquisition/ElectricalSeriesAPProbe00/data"
        configuration.dataset_configurations[location].chunk_shape = (777, 5)
        interface.run_conversion(tmp_path / "x.nwb", metadata=metadata, backend_configuration=configuration)
        with h5py.File(tmp_path / "x.nwb") as file:
            assert file[location].chunks == (777, 5)
            assert_array_equal(file[location][:], decompress(session_path))
        with pytest.raises(UsageError, match="backend_configuration"):
            interface.run_conversion(
                tmp_path / "y.nwb", nwbfile=mock_NWBFile(), backend_configuration=configuration, metadata=metadata
            )

    def test_keeps_what_is_there_unless_it_may_be_replaced(self, session_path, tmp_path):
        path = convert(RawEphysInterface(session_path, probe_name="probe00", band="lf"), tmp_path / "x.nwb")
        content = path.read_bytes()
        interface = RawEphysInterface(session_path, probe_name="probe00")
        with pytest.raises(OutputExistsError, match="overwrite"):
            interface.run_conversion(path, metadata=with_start_time(interface))
        damaged = raw_file(session_path, "ap.cbin")
        damaged.write_bytes(damaged.read_bytes()[:1000] + bytes(damaged.stat().st_size - 1000))
        with pytest.raises(DatasetUnreadableError):
            convert(interface, path)
        assert path.read_bytes() == content
        assert sorted(found.name for found in tmp_path.iterdir()) == ["session", "x.nwb"]


class TestTimes:
    @pytest.mark.parametrize(("band", "step"), [("ap", 1.0), ("lf", 12.0)])
    def test_are_interpolated_between_the_knots(self, session_path, tmp_path, band, step):
        knots = bend_knots(session_path)
        interface = RawEphysInterface(session_path, probe_name="probe00", band=band)
        path = convert(interface, tmp_path / "x.nwb")
        indices = np.arange(15_000 // step) * step
        expected = np.interp(indices, *knots.T)
        last_slope = (knots[-1, 1] - knots[-2, 1]) / (knots[-1, 0] - knots[-2, 0])
        after = indices > knots[-1, 0]
        expected[after] = knots[-1, 1] + (indices[after] - knots[-1, 0]) * last_slope
        with h5py.File(path) as file:
            series = file[f"acquisition/ElectricalSeries{band.upper()}Probe00"]
            assert series["timestamps"].dtype == "float64"
            assert_allclose(series["timestamps"][:], expected, rtol=0, atol=1e-12)
            assert "starting_time" not in series
        assert_allclose(interface.get_timestamps(), expected, rtol=0, atol=1e-12)
        assert_array_equal(interface.recording_extractor.get_times(), interface.get_original_timestamps())

    def test_are_computed_while_they_are_written_to_zarr_too(self, session_path, tmp_path):
        bend_knots(session_path)
        interface = RawEphysInterface(session_path, probe_name="probe00", band="lf")
        path = convert(interface, tmp_path / "x.nwb.zarr", backend="zarr")
        with NWBZarrIO(path, "r") as io:
            series = io.read().acquisition["ElectricalSeriesLFProbe00"]
            assert_array_equal(series.timestamps[:], interface.get_timestamps())
            assert_array_equal(series.data[:], decompress(session_path, "lf"))

    def test_are_a_start_and_a_rate_where_these_fit_every_sample(self, session_path):
        knots = np.array([[0, 3.0], [9000, 3.3], [15_000, 3.5000009]])
        np.save(raw_file(session_path, "timestamps.npy"), knots)
        series = add(session_path)
        assert series.timestamps is None
        times = series.starting_time + np.arange(15_000) / series.rate
        assert np.abs(times - np.interp(np.arange(15_000), *knots.T)).max() <= 1e-6
        always = add(session_path, always_write_timestamps=True)
        assert_array_equal(always.timestamps[:], np.interp(np.arange(15_000), *knots.T))

    def test_are_never_computed_all_at_once(self, session_path, monkeypatch):
        from ibl_nwb import recording_iterators
        from ibl_nwb.probe_clock import ProbeClock

        bend_knots(session_path)
        monkeypatch.setattr(recording_iterators.ClockIterator, "CHUNK_LENGTH", 2000)
        times, asked = ProbeClock.times, []
        monkeypatch.setattr(ProbeClock, "times", lambda self, i: asked.append(np.size(i)) or times(self, i))
        written = np.concatenate([piece.data for piece in add(session_path).timestamps])
        assert max(asked) == 2000
        assert len(written) == 15_000

    def test_come_from_probe_seconds_if_there_are_no_sample_knots(self, session_path):
        knots = bend_knots(session_path)
        raw_file(session_path, "timestamps.npy").unlink()
        np.save(raw_file(session_path, "sync.npy"), knots / [float(rate(session_path, "ap")), 1])
        for band, step in (("ap", 1), ("lf", 12)):
            series = add(session_path, band)
            inside = np.arange(0, 9000, step)
            assert_allclose(series.timestamps[: len(inside)], np.interp(inside, *knots.T), rtol=0, atol=1e-9)
            assert "sync.npy" in series.comments

    def test_of_a_single_knot_are_shifted_by_it(self, session_path):
        raw_file(session_path, "timestamps.npy").unlink()
        np.save(raw_file(session_path, "sync.npy"), np.array([[0.1, 5.0]]))
        series = add(session_path)
        assert_allclose(series.starting_time, 4.9, rtol=1e-12)
        assert series.rate == float(rate(session_path, "ap"))

    @pytest.mark.parametrize("band", ["ap", "lf"])
    def test_without_knots_are_the_probes_own_and_the_series_says_so(self, session_path, band):
        for suffix in ("timestamps.npy", "sync.npy"):
            raw_file(session_path, suffix).unlink()
        series = add(session_path, band)
        assert series.starting_time == 0
        assert_allclose(series.rate, float(rate(session_path, band)), rtol=1e-12)
        for text in (series.description, series.comments):
            assert "not aligned to the session" in text
        interface = RawEphysInterface(session_path, probe_name="probe00", band=band)
        interface.set_aligned_starting_time(3.0)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        (aligned,) = nwbfile.acquisition.values()
        assert_allclose(aligned.starting_time, 3)
        assert "not aligned" not in aligned.description + aligned.comments
        assert "not aligned" not in add(session_path, band, "probe01").description

    def test_of_a_computed_lf_band_go_by_the_ap_rate(self, session_path):
        knots = bend_knots(session_path)
        meta = raw_file(session_path, "lf.meta")
        meta.write_text(meta.read_text().replace(f"imSampRate={rate(session_path, 'lf')}", "imSampRate=2500"))
        series = add(session_path, "lf")
        assert_allclose(series.timestamps[:750], np.interp(np.arange(0, 9000, 12), *knots.T), rtol=0, atol=1e-12)

    def test_of_lf_need_no_ap_files(self, session_path):
        knots = bend_knots(session_path)
        for suffix in ("ap.cbin", "ap.ch", "ap.meta"):
            raw_file(session_path, suffix).unlink()
        series = add(session_path, "lf")
        assert_allclose(series.timestamps[:750], np.interp(np.arange(0, 9000, 12), *knots.T), rtol=0, atol=1e-9)

    def test_that_were_aligned_are_written_as_they_are(self, session_path):
        interface = RawEphysInterface(session_path, probe_name="probe00")
        original = interface.get_original_timestamps()
        aligned = original + np.linspace(0, 1, len(original)) ** 2
        interface.set_aligned_timestamps(aligned)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        assert_array_equal(nwbfile.acquisition["ElectricalSeriesAPProbe00"].timestamps, aligned)
        assert_array_equal(interface.get_original_timestamps(), original)

    def test_are_those_of_the_recording_too(self, session_path):
        recording = RawEphysInterface(session_path, probe_name="probe00").recording_extractor
        knots = knots_of(session_path)
        assert recording.get_start_time() == np.interp(0, *knots.T)
        assert recording.sample_index_to_time(100) == np.interp(100, *knots.T)
        assert recording.time_to_sample_index(np.interp(100, *knots.T)) == 100
        assert_allclose(recording.get_end_time(), recording.get_times()[-1])


class TestElectrodes:
    def test_are_shared_by_the_bands_and_not_by_the_probes(self, session_path, tmp_path):
        sources = {
            f"{band}{probe}": {"session_path": str(session_path), "probe_name": probe, "band": band}
            for probe in ("probe01", "probe00")
            for band in ("lf", "ap")
        }
        converter = make_converter(dict.fromkeys(sources, RawEphysInterface), sources)
        path = tmp_path / "x.nwb"
        converter.run_conversion(path, metadata=with_start_time(converter), overwrite=True)
        nwbfile = read_nwb(path)
        assert len(nwbfile.electrodes) == 2 * N_SITES
        regions = {name: series.electrodes for name, series in nwbfile.acquisition.items()}
        for probe in ("Probe00", "Probe01"):
            assert_array_equal(
                regions[f"ElectricalSeriesAP{probe}"].data[:], regions[f"ElectricalSeriesLF{probe}"].data[:]
            )
            group_names = nwbfile.electrodes["group_name"].data[regions[f"ElectricalSeriesAP{probe}"].data[:]]
            assert set(group_names) == {probe.lower()}
        assert sorted(nwbfile.devices) == ["NeuropixelsProbe00", "NeuropixelsProbe01"]
        assert not validate(path=path)
        problems = inspect_nwbfile(nwbfile_path=path, skip_validate=True, config=load_config("dandi"))
        severe = [str(p) for p in problems if p.importance.value >= Importance.BEST_PRACTICE_VIOLATION.value]
        assert not [problem for problem in severe if "ubject" not in problem and "xperiment" not in problem]

    @pytest.mark.parametrize("ours_first", [True, False])
    def test_stand_beside_those_of_a_foreign_interface(self, session_path, tmp_path, ours_first):
        classes = {"Ours": RawEphysInterface, "Foreign": MockRecordingInterface}
        if not ours_first:
            classes = dict(reversed(classes.items()))
        ours = {"session_path": str(session_path), "probe_name": "probe00", "band": "lf"}
        converter = make_converter(classes, {"Ours": ours, "Foreign": {"durations": [0.1]}})
        metadata = with_start_time(converter)
        converter.get_metadata_schema()
        path = tmp_path / "x.nwb"
        converter.run_conversion(path, metadata=metadata, overwrite=True)
        nwbfile = read_nwb(path)
        region = nwbfile.acquisition["ElectricalSeriesLFProbe00"].electrodes
        assert_array_equal(nwbfile.electrodes["channel"].data[:][region.data[:]], np.arange(N_SITES))
        (foreign,) = (series for name, series in nwbfile.acquisition.items() if "Probe00" not in name)
        assert not set(foreign.electrodes.data[:]) & set(region.data[:])

    def test_are_found_again_when_the_other_band_is_appended(self, session_path, tmp_path):
        path = convert(RawEphysInterface(session_path, probe_name="probe00", band="lf"), tmp_path / "x.nwb")
        ap = RawEphysInterface(session_path, probe_name="probe00")
        metadata = ap.get_metadata()
        ap.run_conversion(path, metadata=metadata, append_on_disk_nwbfile=True)
        nwbfile = read_nwb(path)
        assert len(nwbfile.electrodes) == N_SITES
        assert sorted(nwbfile.acquisition) == ["ElectricalSeriesAPProbe00", "ElectricalSeriesLFProbe00"]

    def test_of_a_band_with_fewer_channels_are_those_of_its_channels(self, session_path):
        meta = raw_file(session_path, "ap.meta")
        text = meta.read_text().replace("snsSaveChanSubset=0:15,768", "snsSaveChanSubset=0:3,8:19,768")
        meta.write_text(text)
        lf_meta = raw_file(session_path, "lf.meta")
        text = lf_meta.read_text().replace("snsSaveChanSubset=384:399,768", "snsSaveChanSubset=384:387,392:403,768")
        lf_meta.write_text(text)
        assert_array_equal(add(session_path, "lf").electrodes.data, np.arange(N_SITES))
        lf_meta.write_text(text.replace("392:403", "388:399"))
        with pytest.raises(DatasetInconsistentError, match="AP4"):
            RawEphysInterface(session_path, probe_name="probe00", band="lf")

    def test_are_properties_of_the_recording(self, session_path):
        recording = RawEphysInterface(session_path, probe_name="probe00", band="lf").recording_extractor
        assert recording.get_channel_ids()[0] == "LF0"
        assert recording.get_property("channel_name")[0] == "AP0"
        assert set(recording.get_property("group_name")) == {"probe00"}
        assert_array_equal(recording.get_channel_locations()[:3], [[43, 20], [11, 20], [59, 40]])
        assert "location" not in recording.get_property_keys()

    def test_and_series_take_their_names_from_the_metadata(self, session_path):
        metadata = RawEphysInterface(session_path, probe_name="probe00").get_metadata()
        metadata["Ecephys"]["ElectricalSeries"]["raw_ephys_ap_probe00"]["name"] = "Mine"
        metadata["Ecephys"]["ElectrodeGroups"]["probe00"]["name"] = "tetrode"
        series = add(session_path, metadata=metadata)
        assert series.name == "Mine"
        assert series.electrodes.table["group_name"].data[0] == "tetrode"


class TestBadInput:
    """Each is one clear error when the interface is opened, so before anything is written."""

    def refuse(self, session_path, error, *named):
        with pytest.raises(error) as raised:
            RawEphysInterface(session_path, probe_name="probe00")
        for text in named:
            assert text in str(raised.value)

    @pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"chunk_bounds": [0, 1]}'])
    def test_a_header_that_is_none(self, session_path, content):
        path = raw_file(session_path, "ap.ch")
        path.write_text(content)
        self.refuse(session_path, DatasetUnreadableError, str(path))

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"n_channels": 99}, "n_channels 99"),
            ({"shape": [10, N_SITES + 1]}, "shape [10, 17]"),
            ({"dtype": "uint8"}, "dtype uint8"),
            ({"chunk_bounds": [0]}, "1 chunk_bounds"),
            ({"chunk_bounds": [0, 0]}, "chunk_bounds"),
            ({"chunk_bounds": [0, "x"]}, "chunk_bounds"),
            ({"chunk_bounds": 3}, "chunk_bounds"),
            ({"chunk_offsets": [5, 4]}, "chunk_offsets"),
        ],
    )
    def test_a_header_of_another_recording(self, session_path, changes, named):
        path = raw_file(session_path, "ap.ch")
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        self.refuse(session_path, DatasetInconsistentError, str(path), named)

    @pytest.mark.parametrize(("change", "named"), [(-1, "truncated"), (1, "another recording")])
    def test_compressed_data_of_another_length(self, session_path, change, named):
        path = raw_file(session_path, "ap.cbin")
        content = path.read_bytes()
        path.write_bytes(content[:-1] if change < 0 else content + b"x")
        self.refuse(session_path, DatasetInconsistentError, str(path), str(len(content)), named)

    def test_flat_data_that_stop_within_a_sample(self, tmp_path):
        folder = make_session(tmp_path, raw_format="bin", probes=("probe00",), raw_duration_s=0.02)
        path = raw_file(folder, "ap.bin")
        path.write_bytes(path.read_bytes()[:-2])
        self.refuse(folder, DatasetInconsistentError, str(path), "17 channels")

    def test_empty_metadata(self, session_path):
        path = raw_file(session_path, "ap.meta")
        path.write_text("")
        self.refuse(session_path, DatasetUnreadableError, str(path))

    @pytest.mark.parametrize("knots", [[[0, 1], [10, 0.5]], [[0, np.nan], [1, 1]], [1, 2], []])
    def test_knots_that_are_none(self, session_path, knots):
        path = raw_file(session_path, "timestamps.npy")
        np.save(path, np.array(knots, dtype=float))
        self.refuse(session_path, DatasetInconsistentError, str(path))

    def test_a_damaged_block_stops_the_conversion(self, session_path):
        path = raw_file(session_path, "ap.cbin")
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 1000] = bytes(1000)
        path.write_bytes(content)
        with pytest.raises(DatasetUnreadableError, match="Block 0"):
            add(session_path).data[:]


@needs_real_data
@pytest.mark.parametrize(("band", "n_samples"), [("ap", 15_000), ("lf", 1250)])
def test_the_chimera_comes_through_whole(tmp_path, band, n_samples):
    interface = RawEphysInterface(CHIMERA, probe_name="probe00", band=band)
    path = convert(interface, tmp_path / "x.nwb")
    with h5py.File(path) as file:
        series = file[f"acquisition/ElectricalSeries{band.upper()}Probe00"]
        assert series["data"].shape == (n_samples, 384)
        assert_array_equal(series["data"][:], decompress(CHIMERA, band))
        assert_array_equal(series["electrodes"][:], np.arange(384))
        assert_allclose(series["starting_time"].attrs["rate"], n_samples / 0.500001, rtol=1e-9)
        electrodes = file["general/extracellular_ephys/electrodes"]
        coordinates = np.load(CHIMERA / "alf/probe00/electrodeSites.localCoordinates.npy")
        assert_array_equal(np.column_stack((electrodes["rel_x"][:], electrodes["rel_y"][:])), coordinates)


def rate(session_path, band):
    lines = raw_file(session_path, f"{band}.meta").read_text().splitlines()
    (value,) = (line.split("=")[1] for line in lines if line.startswith("imSampRate="))
    return value


def cut_into_blocks(session_path, block_length):
    """Compress the AP band again, in blocks shorter than a second."""
    cbin, ch = raw_file(session_path, "ap.cbin"), raw_file(session_path, "ap.ch")
    flat = cbin.with_name("flat.bin")
    mtscomp.decompress(cbin, ch)[:].tofile(flat)
    cbin.unlink()
    ch.unlink()
    mtscomp.compress(
        flat, cbin, ch, sample_rate=30_000.0, n_channels=N_SITES + 1, dtype=np.int16,
        chunk_duration=block_length / 30_000, n_threads=1, check_after_compress=False, quiet=True,
    )  # fmt: skip
    flat.unlink()


def make_converter(classes, sources):
    class Converter(NWBConverter):
        data_interface_classes = classes

    return Converter({name: sources[name] for name in classes})


def with_start_time(converter):
    metadata = converter.get_metadata()
    metadata["NWBFile"]["session_start_time"] = START_TIME
    return metadata
