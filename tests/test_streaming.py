"""The streaming writer: every sample as mtscomp gives it, in files any HDF5 reader opens, whatever goes wrong."""

import errno
import json
import os
import random  # noqa: F401  (these are used in processes of their own)
import re
import resource  # noqa: F401
import signal  # noqa: F401
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (filters of the files that are read)
import mtscomp
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neuroconv.tools.nwb_helpers import configure_and_write_nwbfile
from numpy.testing import assert_array_equal
from pynwb import NWBFile, TimeSeries, read_nwb, validate
from pynwb.ecephys import ElectricalSeries
from pynwb.testing.mock.file import mock_NWBFile
from spikeinterface.core import NumpyRecording, generate_recording
from spikeinterface.extractors import read_nwb_recording

from ibl_nwb.converter import IBLConverter
from ibl_nwb.errors import (
    DatasetInconsistentError,
    DatasetUnreadableError,
    NetworkError,
    OutputExistsError,
    OutputNotWritableError,  # noqa: F401
    UsageError,
)
from ibl_nwb.interfaces.raw_ephys import RawEphysInterface
from ibl_nwb.probe_clock import ProbeClock
from ibl_nwb.recording_iterators import ClockIterator
from ibl_nwb.spikeglx_recording import SpikeGLXRecording
from ibl_nwb.testing import make_example_session
from ibl_nwb.testing._spikeglx_meta import spikeglx_meta
from ibl_nwb.writing import StreamedTraces, codec, huffman, mtscomp_blocks, streaming, transform, write_nwbfile
from ibl_nwb.writing.columns import StreamedColumns
from ibl_nwb.writing.filling import Settings
from ibl_nwb.writing.pipeline import Resources, plan_resources, run_in_order
from ibl_nwb.writing.remote import RemoteSamples
from ibl_nwb.writing.transform import Tiling

RATE_HZ = 30_000
LOCATION = "acquisition/ElectricalSeries/data"


def make_samples(n_samples, n_channels, seed=0):
    """Correlated noise in steps of a converter of ten bits, and a last column like a sync word."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, 12, (n_samples, n_channels))
    noise[1:] += 0.5 * noise[:-1]
    samples = np.clip(np.rint(noise), -512, 511).astype(np.int16)
    samples[:, -1] = np.arange(n_samples) // 1000 % 2 * 64
    return samples


def write_source(folder, samples, block_length=1000, band="ap", compressed=True):
    """A SpikeGLX recording of some samples, the last column being the sync word."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = folder / f"x.{band}.bin"
    samples.tofile(flat)
    meta = spikeglx_meta(
        band, probe_index=0, n_channels=samples.shape[1] - 1, n_samples=len(samples), sampling_rate_hz=float(RATE_HZ),
        sha1="", binary_name=flat.name, created="2023-05-18T10:00:00",
    )  # fmt: skip
    flat.with_suffix(".meta").write_text(meta)
    if compressed:
        mtscomp.compress(
            flat, flat.with_suffix(".cbin"), flat.with_suffix(".ch"), sample_rate=float(RATE_HZ),
            n_channels=samples.shape[1], dtype=np.int16, chunk_duration=block_length / RATE_HZ, n_threads=1,
            check_after_compress=False, quiet=True,
        )  # fmt: skip
        flat.unlink()
    return flat.with_suffix(".cbin" if compressed else ".bin")


def open_source(path):
    return SpikeGLXRecording(path, path.with_suffix(".meta"))


def make_nwbfile(data, description="x", **timing):
    """A file with one series."""
    nwbfile = NWBFile(
        session_description=description,
        identifier=str(time.time_ns()),
        session_start_time=datetime(2023, 5, 18, tzinfo=UTC),
    )
    group = nwbfile.create_electrode_group("g", "d", "l", nwbfile.create_device(name="probe"))
    for _ in range(data.shape[1]):
        nwbfile.add_electrode(group=group, location="unknown")
    electrodes = nwbfile.create_electrode_table_region(list(range(data.shape[1])), "all")
    timing = timing or {"starting_time": 1.5, "rate": float(RATE_HZ)}
    nwbfile.add_acquisition(ElectricalSeries(name="ElectricalSeries", data=data, electrodes=electrodes, **timing))
    return nwbfile


def write(path, data, **options):
    write_nwbfile(make_nwbfile(data), path, **options)
    return path


def read(path):
    with h5py.File(path) as file:
        return file[LOCATION][:]


def leftovers(folder, path):
    """What lies about that is not the file."""
    return sorted(found.name for found in folder.iterdir() if found != path and ".part" in found.name)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """12,345 samples of 40 channels and the sync word, in blocks of 1000."""
    return write_source(tmp_path_factory.mktemp("source"), make_samples(12_345, 41))


@pytest.fixture(scope="module")
def expected(source):
    return mtscomp.decompress(source, source.with_suffix(".ch"))[:][:, :-1]


class TestSamples:
    @pytest.mark.parametrize(
        ("n_samples", "n_columns", "block_length", "band"),
        [
            (9_001, 385, 9_000, "ap"),  # Neuropixels 1.0 (3B) and 2.0
            (7_000, 277, 3_000, "ap"),  # 276 sites of Phase 3A option 4, the last block short
            (7_499, 385, 2_500, "lf"),
            (999, 5, 1000, "ap"),  # less than a block
            (1, 2, 1000, "ap"),
        ],
    )
    def test_are_those_of_mtscomp(self, tmp_path, n_samples, n_columns, block_length, band):
        source = write_source(tmp_path / "in", make_samples(n_samples, n_columns), block_length, band)
        path = write(tmp_path / "x.nwb", StreamedTraces(open_source(source)))
        decompressed = mtscomp.decompress(source, source.with_suffix(".ch"))[:]
        assert_array_equal(read(path), decompressed[:, :-1])
        with h5py.File(path) as file:
            data = file[LOCATION]
            assert data.dtype == "int16"
            assert (data.compression, data.shuffle) == ("gzip", True)
            properties = data.id.get_create_plist()
            assert [properties.get_filter(place)[0] for place in range(properties.get_nfilters())] == [2, 1]
        assert not leftovers(tmp_path, path)

    @pytest.mark.parametrize(
        "options",
        [
            {"chunk_shape": (500, 7), "buffer_shape": (1000, 40)},  # several chunks to a block
            {"chunk_shape": (3000, 40), "buffer_shape": (3000, 40)},  # several blocks to a chunk
            {"chunk_shape": (777, 16), "buffer_shape": (1554, 40)},  # neither
            {"chunk_mb": 0.01},
        ],
    )
    def test_in_chunks_of_any_shape_are_the_same(self, tmp_path, source, expected, options):
        assert_array_equal(read(write(tmp_path / "x.nwb", StreamedTraces(open_source(source), **options))), expected)

    def test_of_a_flat_file_are_those_in_it(self, tmp_path):
        samples = make_samples(5_001, 34)
        source = write_source(tmp_path / "in", samples, compressed=False)
        traces = StreamedTraces(open_source(source), chunk_shape=(1000, 32), buffer_shape=(2000, 33))
        assert_array_equal(read(write(tmp_path / "x.nwb", traces)), samples[:, :-1])

    @pytest.mark.parametrize("settings", [{"chunk_order": "C"}, {"do_time_diff": False}, {"do_spatial_diff": True}])
    def test_compressed_in_other_ways_are_the_same(self, tmp_path, settings):
        samples = make_samples(2_500, 9)
        flat = write_source(tmp_path / "in", samples, compressed=False)
        mtscomp.compress(
            flat, flat.with_suffix(".cbin"), flat.with_suffix(".ch"), sample_rate=3e4, n_channels=9, dtype=np.int16,
            chunk_duration=1 / 30, n_threads=1, check_after_compress=False, quiet=True, **settings,
        )  # fmt: skip
        path = write(tmp_path / "x.nwb", StreamedTraces(open_source(flat.with_suffix(".cbin"))))
        assert_array_equal(read(path), samples[:, :-1])

    def test_of_some_channels_and_a_part_in_time(self, tmp_path, source, expected):
        recording = open_source(source)
        some = recording.select_channels(["AP7", "AP3", "AP39"]).frame_slice(100, 11_000)
        traces = StreamedTraces(some, start_sample=1_950, stop_sample=7_003, chunk_shape=(999, 2), buffer_gb=0.1)
        assert "Mtscomp" in type(traces.blocks).__name__
        assert_array_equal(read(write(tmp_path / "x.nwb", traces)), expected[2_050:7_103, [7, 3, 39]])

    def test_of_a_part_that_is_not_there_are_refused(self, source):
        with pytest.raises(UsageError, match="12345"):
            StreamedTraces(open_source(source), start_sample=5, stop_sample=12_346)

    def test_and_times_are_read_by_spikeinterface(self, tmp_path, source, expected):
        path = write(tmp_path / "x.nwb", StreamedTraces(open_source(source)))
        recording = read_nwb_recording(path, electrical_series_path="acquisition/ElectricalSeries")
        assert_array_equal(recording.get_traces(), expected)
        assert_array_equal(recording.get_times()[[0, -1]], [1.5, 1.5 + 12_344 / RATE_HZ])

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_of_any_shape_are_the_same(self, tmp_path, data):
        draw = data.draw
        shape = (draw(st.integers(1, 3000)), draw(st.integers(2, 20)))
        folder = tmp_path / str(time.time_ns())
        source = write_source(folder, make_samples(*shape), draw(st.integers(1, 1500)))
        chunk = (draw(st.integers(1, shape[0])), draw(st.integers(1, shape[1] - 1)))
        traces = StreamedTraces(open_source(source), chunk_shape=chunk, buffer_shape=(shape[0], shape[1] - 1))
        path = write(folder / "x.nwb", traces, jobs=draw(st.integers(1, 4)))
        assert_array_equal(read(path), make_samples(*shape)[:, :-1])


class TestFile:
    def test_is_valid_nwb(self, tmp_path, source):
        path = write(tmp_path / "x.nwb", StreamedTraces(open_source(source)))
        assert not validate(path=path)

    def test_is_no_larger_than_neuroconvs(self, tmp_path):
        source = write_source(tmp_path / "in", make_samples(30_000, 65), 30_000)
        sizes = {}
        for name, filters in (("ours", "gzip"), ("plain", "none")):
            path = write(tmp_path / f"{name}.nwb", StreamedTraces(open_source(source)), compression=filters)
            with h5py.File(path) as file:
                sizes[name] = file[LOCATION].id.get_storage_size()
        theirs = len(zlib.compress(make_samples(30_000, 65)[:, :-1].tobytes(), 4))
        assert sizes["ours"] < theirs < sizes["plain"]

    @pytest.mark.parametrize("compression", ["gzip", "blosc", "zstd", "none"])
    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_holds_the_samples_whatever_the_compression(self, tmp_path, source, expected, backend, compression):
        path = tmp_path / ("x.nwb" if backend == "hdf5" else "x.nwb.zarr")
        write(path, StreamedTraces(open_source(source)), backend=backend, compression=compression)
        data = read(path) if backend == "hdf5" else zarr.open(str(path), mode="r")[LOCATION][:]
        assert_array_equal(data, expected)

    def test_follows_a_backend_configuration(self, tmp_path, source, expected):
        from neuroconv.tools.nwb_helpers import get_default_backend_configuration

        nwbfile = make_nwbfile(StreamedTraces(open_source(source)))
        configuration = get_default_backend_configuration(nwbfile, "hdf5")
        dataset = configuration.dataset_configurations[LOCATION]
        dataset.compressors, dataset.chunk_shape = ["gzip", "fletcher32"], (600, 11)
        path = tmp_path / "x.nwb"
        write_nwbfile(nwbfile, path, backend_configuration=configuration)
        with h5py.File(path) as file:
            assert file[LOCATION].fletcher32
            assert file[LOCATION].chunks == (600, 11)
        assert_array_equal(read(path), expected)

    def test_without_streamed_data_is_written_as_ever(self, tmp_path):
        nwbfile = mock_NWBFile()
        nwbfile.add_acquisition(TimeSeries(name="x", data=np.arange(5), unit="V", rate=1.0))
        write_nwbfile(nwbfile, tmp_path / "x.nwb")
        assert_array_equal(read_nwb(tmp_path / "x.nwb").acquisition["x"].data[:], np.arange(5))

    def test_that_exists_is_kept_unless_it_may_be_replaced(self, tmp_path, source, expected):
        path = write(tmp_path / "x.nwb", StreamedTraces(open_source(source)))
        with pytest.raises(OutputExistsError):
            write(path, StreamedTraces(open_source(source)))
        write(path, StreamedTraces(open_source(source)), overwrite=True)
        assert_array_equal(read(path), expected)

    def test_of_an_interface_has_bands_and_irregular_times(self, tmp_path):
        session_path = make_example_session(
            tmp_path, n_channels=16, raw_duration_s=0.5, cameras=(), audio=False, n_trials=3, n_clusters=4,
            spikes_per_probe=100, probes=("probe00",), revisions=False,
        )  # fmt: skip
        folder = session_path / "raw_ephys_data/probe00"
        (knots_path,) = folder.glob("*.timestamps.npy")
        knots = np.array([[-500.5, 10.0], [3000.25, 10.2], [8000, 10.3], [90_000, 14.4]])
        np.save(knots_path, knots)
        nwbfile = mock_NWBFile()
        for band in ("ap", "lf"):
            RawEphysInterface(session_path, probe_name="probe00", band=band).add_to_nwbfile(nwbfile)
        path = tmp_path / "x.nwb"
        write_nwbfile(nwbfile, path)
        for band, step in (("ap", 1), ("lf", 12)):
            (cbin,), (ch,) = (list(folder.glob(f"*.{band}.{suffix}")) for suffix in ("cbin", "ch"))
            with h5py.File(path) as file:
                series = file[f"acquisition/ElectricalSeries{band.upper()}Probe00"]
                assert_array_equal(series["data"][:], mtscomp.decompress(cbin, ch)[:][:, :-1])
                times = np.interp(np.arange(len(series["data"])) * step, *knots.T)
                assert np.abs(series["timestamps"][:] - times).max() < 1e-9
                assert series["timestamps"].shuffle


class NeuroConvsWriter(IBLConverter):
    """Our converter with NeuroConv's own writer."""

    def run_conversion(self, nwbfile_path, backend):
        nwbfile = self.create_nwbfile(self.get_metadata())
        configure_and_write_nwbfile(nwbfile, nwbfile_path, backend=backend)


class TestConverter:
    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_of_a_whole_session_writes_what_neuroconv_writes(self, tmp_path, backend):
        session_path = make_example_session(
            tmp_path / "in", n_channels=16, raw_duration_s=0.3, n_trials=3, n_clusters=4, spikes_per_probe=100,
            probes=("probe00",), cameras=("left",),
        )  # fmt: skip
        seen, closed = [], []

        class Bar:
            def __init__(self, total=None, **options):
                seen.append(options["desc"])

            def __enter__(self):
                return self

            def __exit__(self, *error):
                pass

            def update(self, n):
                pass

            write = update

            def close(self):
                closed.append(self)

        trees = []
        for converter_class in (IBLConverter, NeuroConvsWriter):
            converter = converter_class.from_session(session_path, timezone="Europe/Lisbon")
            if converter_class is IBLConverter:
                converter.progress_bar_class = Bar
            path = tmp_path / converter_class.__name__ / "x.nwb"
            path.parent.mkdir()
            converter.run_conversion(path, backend=backend)
            trees.append(tree(path, backend))
        assert trees[0].keys() == trees[1].keys()
        for name, values in trees[0].items():
            if not name.endswith(("identifier", "file_create_date")):
                assert_array_equal(values, trees[1][name], err_msg=name)
        assert {"RawEphysAPProbe00", "RawEphysLFProbe00"} <= set(seen)
        assert closed


def tree(path, backend):
    """Values of all datasets by name, but for references and compound ones."""
    found = {}

    def add(name, item):
        if hasattr(item, "shape") and item.dtype.kind in "biufcSU":
            found[name] = item[()]

    if backend == "hdf5":
        with h5py.File(path) as file:
            file.visititems(add)
    else:
        zarr.open(str(path), mode="r").visititems(add)
    return found


class TestColumns:
    """Single columns of a file, such as lines of the sync board or the sync word of a probe."""

    LOCATION = "acquisition/TimeSeries/data"

    def make_nwbfile(self, data, beside=None):
        nwbfile = mock_NWBFile() if beside is None else make_nwbfile(beside)
        nwbfile.add_acquisition(TimeSeries(name="TimeSeries", data=data, unit="n.a.", rate=1.0))
        return nwbfile

    def write(self, path, data, beside=None, **options):
        write_nwbfile(self.make_nwbfile(data, beside), path, **options)
        file = zarr.open(str(path), mode="r") if path.is_dir() else h5py.File(path)
        return file[self.LOCATION]

    @pytest.mark.parametrize("compression", ["gzip", "blosc", "none"])
    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    @pytest.mark.parametrize("columns", [[0], [17], [40], [38, 39], [40, 3]])
    def test_are_those_of_mtscomp(self, tmp_path, source, backend, columns, compression):
        decompressed = mtscomp.decompress(source, source.with_suffix(".ch"))[:, columns]
        data = StreamedColumns(open_source(source).samples, columns, chunk_shape=(3000, 1)[: len(columns)])
        path = tmp_path / ("x.nwb" if backend == "hdf5" else "x.nwb.zarr")
        written = self.write(path, data, backend=backend, compression=compression)
        assert_array_equal(written[:], decompressed[:, 0] if len(columns) == 1 else decompressed)
        assert written.dtype == "int16"
        assert written.chunks == (3000, 1)[: len(columns)]

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_of_any_part_are_the_same(self, tmp_path, data):
        draw = data.draw
        n_samples, n_columns = draw(st.integers(1, 3000)), draw(st.integers(2, 9))
        folder = tmp_path / str(time.time_ns())
        samples = make_samples(n_samples, n_columns)
        source = write_source(folder, samples, draw(st.integers(1, 1500)), compressed=draw(st.booleans()))
        columns = draw(st.lists(st.integers(0, n_columns - 1), min_size=1, max_size=3, unique=True))
        start = draw(st.integers(0, n_samples - 1))
        stop = draw(st.integers(start + 1, n_samples))
        chunk_length = draw(st.integers(1, stop - start))
        chunk_shape, buffer_shape = ((n, len(columns))[: min(2, len(columns))] for n in (chunk_length, stop - start))
        streamed = StreamedColumns(
            open_source(source).samples, columns, start, stop, chunk_shape=chunk_shape, buffer_shape=buffer_shape
        )
        expected = samples[start:stop, columns[0] if len(columns) == 1 else columns]
        assert_array_equal(streamed[:], expected)
        assert_array_equal(self.write(folder / "x.nwb", streamed, jobs=draw(st.integers(1, 4)))[:], expected)

    @pytest.mark.parametrize("settings", [{"chunk_order": "C"}, {"do_time_diff": False}])
    def test_compressed_in_other_ways_are_the_same(self, tmp_path, settings):
        samples = make_samples(2_500, 9)
        flat = write_source(tmp_path / "in", samples, compressed=False)
        mtscomp.compress(
            flat, flat.with_suffix(".cbin"), flat.with_suffix(".ch"), sample_rate=3e4, n_channels=9, dtype=np.int16,
            chunk_duration=1 / 30, n_threads=1, check_after_compress=False, quiet=True, **settings,
        )  # fmt: skip
        data = StreamedColumns(open_source(flat.with_suffix(".cbin")).samples, [8], 100, 2_400, chunk_shape=(700,))
        assert_array_equal(self.write(tmp_path / "x.nwb", data)[:], samples[100:2_400, 8])

    def count_bytes_inflated(self, monkeypatch):
        inflate, counts = codec.Inflater._inflate, []

        def counted(self, n_bytes):
            piece = inflate(self, n_bytes)
            counts.append(len(piece))
            return piece

        monkeypatch.setattr(codec.Inflater, "_inflate", counted)
        return counts

    @pytest.mark.parametrize("column", [0, 20, 40])
    def test_are_inflated_as_far_as_they_reach(self, tmp_path, source, monkeypatch, column):
        counts = self.count_bytes_inflated(monkeypatch)
        self.write(tmp_path / "x.nwb", StreamedColumns(open_source(source).samples, [column]))
        assert sum(counts) == 12_345 * 2 * (column + 1)

    @pytest.mark.parametrize("is_first", [True, False])
    def test_beside_their_traces_are_not_inflated_again(self, tmp_path, source, expected, monkeypatch, is_first):
        counts = self.count_bytes_inflated(monkeypatch)
        recording = open_source(source)
        word = StreamedColumns(recording.samples, [40], chunk_shape=(5000,))
        nwbfile = self.make_nwbfile(word, StreamedTraces(recording))
        if is_first:  # by the order in which the file's objects are found
            children = nwbfile.all_children()
            monkeypatch.setattr(nwbfile, "all_children", lambda: children[::-1])
        write_nwbfile(nwbfile, tmp_path / "x.nwb")
        assert sum(counts) == 12_345 * 2 * 41
        with h5py.File(tmp_path / "x.nwb") as file:
            assert_array_equal(file[LOCATION][:], expected)
            assert_array_equal(file[self.LOCATION][:], make_samples(12_345, 41)[:, 40])

    def test_beside_other_parts_of_their_traces_are_the_same(self, tmp_path, source, expected):
        recording = open_source(source)
        word = StreamedColumns(recording.samples, [40], 900, 9_100, chunk_shape=(5000,))
        some = StreamedTraces(recording.select_channels(["AP7", "AP3"]), start_sample=3_500, stop_sample=11_111)
        assert_array_equal(self.write(tmp_path / "x.nwb", word, some)[:], make_samples(12_345, 41)[900:9_100, 40])
        assert_array_equal(read(tmp_path / "x.nwb"), expected[3_500:11_111, [7, 3]])

    def test_that_do_not_shrink_are_not_kept(self, tmp_path, monkeypatch):
        samples = np.random.default_rng(0).integers(-32768, 32767, (5000, 4)).astype(np.int16)
        source = write_source(tmp_path / "in", samples)
        counts = self.count_bytes_inflated(monkeypatch)
        recording = open_source(source)
        written = self.write(tmp_path / "x.nwb", StreamedColumns(recording.samples, [3]), StreamedTraces(recording))
        assert sum(counts) == 2 * samples.nbytes
        assert_array_equal(written[:], samples[:, 3])

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    @pytest.mark.parametrize("n_before", [5, 15])
    def test_go_on_after_a_failure(self, tmp_path, source, expected, monkeypatch, backend, n_before):
        """While the traces (13 blocks) or the word are written."""
        path = tmp_path / ("x.nwb" if backend == "hdf5" else "x.nwb.zarr")

        def data():
            samples = open_source(source).samples
            return StreamedColumns(samples, [40], chunk_shape=(1000,)), TestResume().traces(source)

        with monkeypatch.context() as patch:
            TestResume().fail_at(n_before, patch)
            with pytest.raises(OSError, match="cable"):
                self.write(path, *data(), resume=True, jobs=1, backend=backend)
        with monkeypatch.context() as patch:
            seen = TestResume().fail_at(100, patch)
            written = self.write(path, *data(), resume=True, jobs=1, backend=backend)
        assert len(seen) == 2 * 13 - n_before
        assert_array_equal(written[:], make_samples(12_345, 41)[:, 40])
        file = zarr.open(str(path), mode="r") if path.is_dir() else h5py.File(path)
        assert_array_equal(file[LOCATION][:], expected)
        assert not leftovers(tmp_path, path)

    def test_of_another_part_are_not_resumed(self, tmp_path, source, monkeypatch):
        samples = open_source(source).samples
        with monkeypatch.context() as patch:
            TestResume().fail_at(3, patch)
            with pytest.raises(OSError, match="cable"):
                self.write(tmp_path / "x.nwb", StreamedColumns(samples, [40], 0, 9_000), resume=True)
        for columns, start in (([40], 1), ([39], 0)):
            with pytest.raises(UsageError, match="raw recordings"):
                data = StreamedColumns(samples, columns, start, start + 9_000)
                self.write(tmp_path / "x.nwb", data, resume=True)

    def test_report_progress_in_bytes(self, tmp_path, source):
        seen = []

        class Bar:
            def __init__(self, total, **options):
                seen.append(total)

            def __enter__(self):
                return self

            def __exit__(self, *error):
                pass

            def update(self, n):
                seen.append(n)

        data = StreamedColumns(open_source(source).samples, [3], chunk_shape=(5000,))
        self.write(tmp_path / "x.nwb", data, progress_bar_class=Bar)
        assert seen[0] == sum(seen[1:]) == 12_345 * 2
        assert len(seen) == 1 + 1 + 3  # what was done before, and the units

    def test_need_the_memory_of_whole_blocks(self, tmp_path, source):
        data = StreamedColumns(open_source(source).samples, [3], chunk_shape=(1000,))
        tiling = data.tiling((1000,), is_shuffled=True)
        largest = int(np.diff(json.loads(source.with_suffix(".ch").read_text())["chunk_offsets"]).max())
        assert data.blocks.held_bytes(tiling) == 2 * largest > tiling.unit_bytes
        needed = 2 * tiling.unit_bytes + 2 * largest
        assert plan_resources(tiling, 4, 2.5 * needed / 1e6, 2 * largest).n_threads == 2
        with pytest.raises(UsageError, match="--memory"):
            self.write(tmp_path / "x.nwb", data, memory_mb=0.9 * needed / 1e6)
        assert not list(tmp_path.iterdir())

    def test_of_a_long_unit_are_inflated_one_block_after_the_other(self, tmp_path, source, monkeypatch):
        block, opened, finished = mtscomp_blocks._Block, [], []
        begin, end = block.open, block.finish
        monkeypatch.setattr(block, "open", lambda self, data: opened.append(1) or begin(self, data))
        monkeypatch.setattr(block, "finish", lambda self: finished.append(len(opened)) or end(self))
        self.write(tmp_path / "x.nwb", StreamedColumns(open_source(source).samples, [40]), jobs=1)
        assert finished == list(range(1, 14))

    def test_of_a_damaged_file_are_refused(self, tmp_path):
        source = write_source(tmp_path / "in", make_samples(5000, 9))
        content = bytearray(source.read_bytes())
        begin = len(content) // 2
        content[begin : begin + 20] = bytes(20)
        source.write_bytes(content)
        with pytest.raises(DatasetUnreadableError, match="Block 2"):
            self.write(tmp_path / "x.nwb", StreamedColumns(open_source(source).samples, [8]))
        assert not (tmp_path / "x.nwb").exists()


class TestAnyRecording:
    """The writer as a part of somebody else's conversion."""

    def test_of_spikeinterface_can_be_streamed(self, tmp_path):
        recording = generate_recording(num_channels=5, durations=[0.2], sampling_frequency=RATE_HZ)  # float32
        path = write(tmp_path / "x.nwb", StreamedTraces(recording, chunk_shape=(1000, 2), buffer_gb=0.1))
        assert_array_equal(read(path), recording.get_traces())

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", ">i2", "int32", "float64"])
    def test_of_any_type_keeps_its_values(self, tmp_path, dtype):
        values = np.random.default_rng(0).integers(0, 200, (2345, 7)).astype(dtype)
        recording = NumpyRecording([values], sampling_frequency=RATE_HZ)
        assert_array_equal(read(write(tmp_path / "x.nwb", StreamedTraces(recording))), values)

    def test_in_microvolts_is_float(self, tmp_path, source, expected):
        path = write(tmp_path / "x.nwb", StreamedTraces(open_source(source), return_in_uV=True))
        np.testing.assert_allclose(read(path), expected * np.float32(2.34375), rtol=1e-6)

    def test_of_another_neuroconv_converter_takes_two_lines(self, tmp_path):
        """The example to follow: make the file in memory as ever, then write it with our writer."""
        from neuroconv.tools.testing import MockRecordingInterface

        interface = MockRecordingInterface(num_channels=6, durations=[0.3])
        metadata = interface.get_metadata()
        metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18, tzinfo=UTC)

        nwbfile = interface.create_nwbfile(metadata)
        write_nwbfile(nwbfile, tmp_path / "x.nwb")

        (name,) = nwbfile.acquisition
        with h5py.File(tmp_path / "x.nwb") as file:
            data = file[f"acquisition/{name}/data"]
            assert_array_equal(data[:], interface.recording_extractor.get_traces())
            assert data.shuffle  # which NeuroConv does not do


class TestOptions:
    def test_progress_counts_bytes(self, tmp_path, source):
        seen = []

        class Bar:
            def __init__(self, total, **options):
                seen.append((total, options))

            def __enter__(self):
                return self

            def __exit__(self, *error):
                pass

            def update(self, n):
                seen.append(n)

        write(tmp_path / "x.nwb", StreamedTraces(open_source(source)), progress_bar_class=Bar)
        (total, options), *steps = seen
        assert total == sum(steps) == 12_345 * 40 * 2
        assert options["unit"] == "B"
        assert "rate" in options["bar_format"]
        assert "remaining" in options["bar_format"]

    def test_memory_decides_over_threads_and_units(self):
        tiling = Tiling((1_000_000, 384), (30_000, 32), 30_000, np.dtype("int16"))
        unit_mb = 30_000 * 384 * 2 / 1e6
        assert plan_resources(tiling, jobs=4, memory_mb=1e6) == Resources(4, 6)
        assert plan_resources(tiling, jobs=4, memory_mb=7 * unit_mb) == Resources(2, 3)
        assert plan_resources(tiling, jobs=4, memory_mb=3.1 * unit_mb) == Resources(1, 1)
        with pytest.raises(UsageError, match="--memory"):
            plan_resources(tiling, jobs=4, memory_mb=unit_mb)
        with pytest.raises(UsageError, match="nan MB are too little"):
            plan_resources(tiling, memory_mb=float("nan"))
        with pytest.raises(UsageError, match="--jobs"):
            plan_resources(tiling, jobs=0)

    def test_too_little_memory_is_said_before_anything_is_written(self, tmp_path, source):
        with pytest.raises(UsageError):
            write(tmp_path / "x.nwb", StreamedTraces(open_source(source)), memory_mb=0.1)
        assert not list(tmp_path.iterdir())

    def test_default_is_a_thread_for_each_processor(self):
        tiling = Tiling((1_000_000, 4), (30_000, 4), 30_000, np.dtype("int16"))
        assert Settings().resources(tiling).n_threads == len(os.sched_getaffinity(0))

    def test_a_slow_taker_holds_up_the_threads(self):
        begun = []
        results = run_in_order(lambda unit: begun.append(unit) or unit, range(50), Resources(2, 4))
        next(results)
        time.sleep(0.05)
        assert len(begun) == 4
        assert [unit for unit, _ in results] == list(range(1, 50))


class TestBytes:
    @pytest.mark.skipif(not transform.has_kernels(), reason="numba is not installed")
    @pytest.mark.parametrize("is_shuffled", [True, False])
    @pytest.mark.parametrize("chunk_shape", [(1000, 32), (77, 5), (1234, 40)])
    def test_are_the_same_without_numba(self, monkeypatch, chunk_shape, is_shuffled):
        samples = make_samples(1234, 40)
        differences = np.ascontiguousarray(np.diff(samples, axis=0, prepend=np.zeros((1, 40), np.int16)).T)
        columns = np.array([3, 1, *range(5, 40)])
        length = -(-1234 // chunk_shape[0]) * chunk_shape[0]
        tiling = Tiling((1234, len(columns)), chunk_shape, length, np.dtype("int16"), is_shuffled)
        made = []
        for with_numba in (True, False):
            monkeypatch.setattr(transform, "has_kernels", lambda with_numba=with_numba: with_numba)
            tiles = [np.zeros(tiling.tiles_shape, np.uint8) for _ in range(2)]
            transform.place_samples(samples[100:], columns, tiles[0], 7, tiling)
            transform.place_differences(differences, columns, slice(100, 1234), tiles[1], 7, tiling)
            made += tiles
        for other in made[1:]:
            assert_array_equal(made[0], other)
        assert made[0].any()

    @pytest.mark.parametrize("missing", ["isal", "numba", "both"])
    def test_hold_the_samples_without_isal_or_numba(self, tmp_path, source, expected, monkeypatch, missing):
        if missing != "numba":
            monkeypatch.setattr(codec, "isal_zlib", None)
            monkeypatch.setattr(codec, "igzip_lib", None)
        if missing != "isal":
            monkeypatch.setattr(transform, "has_kernels", lambda: False)
            monkeypatch.setattr(codec, "has_kernels", lambda: False)
        assert_array_equal(read(write(tmp_path / "x.nwb", StreamedTraces(open_source(source)))), expected)

    @pytest.mark.parametrize("level", [0, 1, 3, 6])
    @pytest.mark.parametrize("kind", ["noise", "constant", "counter", "empty"])
    def test_of_a_chunk_are_a_zlib_and_a_gzip_stream(self, kind, level):
        import gzip

        tile = {
            "noise": make_samples(5000, 8).view(np.uint8).reshape(-1, 2).T.copy().reshape(-1),
            "constant": np.full(30_000, 7, np.uint8),
            "counter": np.arange(60_000).astype(np.uint8),
            "empty": np.zeros(0, np.uint8),
        }[kind]
        assert zlib.decompress(codec.zlib_stream(tile, level, 2)) == tile.tobytes()
        assert gzip.decompress(codec.gzip_stream(tile, level, 2)) == tile.tobytes()

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        n_bytes=st.integers(0, 40_000),
        spread=st.sampled_from([0.3, 1, 5, 20, 80, 1000]),
    )
    def test_of_literals_are_a_deflate_stream(self, seed, n_bytes, spread):
        values = np.random.default_rng(seed).normal(0, spread, n_bytes).astype(np.int64).astype(np.uint8)
        words = np.zeros(huffman.words_needed(n_bytes), np.uint64)
        stream = words.view(np.uint8)[: huffman.encode_literals(values, words)].tobytes()
        assert zlib.decompressobj(-15).decompress(stream) == values.tobytes()

    def test_of_very_uneven_frequencies_have_codes_that_fit(self):
        fibonacci = [1, 1]
        while sum(fibonacci) < huffman.BLOCK_BYTES:
            fibonacci.append(fibonacci[-1] + fibonacci[-2])
        values = np.repeat(np.arange(len(fibonacci)), fibonacci)[: huffman.BLOCK_BYTES].astype(np.uint8)
        words = np.zeros(huffman.words_needed(values.size), np.uint64)
        stream = words.view(np.uint8)[: huffman.encode_literals(values, words)].tobytes()
        assert zlib.decompressobj(-15).decompress(stream) == values.tobytes()


class TestFaults:
    """Each ends in one clear error, and nothing is under the final name nor beside it."""

    def refuse(self, tmp_path, source, error, *named, **options):
        path = tmp_path / "out" / "x.nwb"
        with pytest.raises(error) as raised:
            write(path, StreamedTraces(open_source(source)), **options)
        for text in named:
            assert text in str(raised.value)
        assert not list(path.parent.iterdir())

    @pytest.mark.parametrize("place", [0.02, 0.5, 0.999])
    def test_a_damaged_block(self, tmp_path, place):
        source = write_source(tmp_path / "in", make_samples(5000, 9))
        content = bytearray(source.read_bytes())
        begin = int(len(content) * place)
        content[begin : begin + 20] = bytes(20)
        source.write_bytes(content)
        self.refuse(tmp_path, source, DatasetUnreadableError, f"Block {int(place * 5)}", str(source), "from sample")

    def test_a_file_that_becomes_shorter_while_it_is_read(self, tmp_path):
        source = write_source(tmp_path / "in", make_samples(5000, 9))
        traces = StreamedTraces(open_source(source))
        source.write_bytes(source.read_bytes()[:-100])
        with pytest.raises(DatasetUnreadableError, match="Block 4"):
            write(tmp_path / "x.nwb", traces)
        assert not list(tmp_path.glob("*x*"))

    def test_blocks_of_another_length_than_said(self, tmp_path):
        source = write_source(tmp_path / "in", make_samples(5000, 9))
        header = source.with_suffix(".ch")
        content = json.loads(header.read_text())
        content["chunk_bounds"][1:3] = [999, 1999]
        header.write_text(json.dumps(content))
        self.refuse(tmp_path, source, DatasetUnreadableError, "Block 0", "more bytes")

    def test_a_full_disk(self, tmp_path, source):
        """A limit on the size of files is met as a full disk is: while the rest is written, or the samples."""
        path = tmp_path / "out" / "x.nwb"
        code = f"""
            for limit in (20_000, 400_000, 700_000):
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                try:
                    write({str(path)!r}, StreamedTraces(open_source(Path({str(source)!r}))))
                except OutputNotWritableError as error:
                    print("refused:", error)
        """
        result = run_python(code)
        refused = [line for line in result.stdout.splitlines() if line.startswith("refused")]
        assert len(refused) == 3, result.stdout + result.stderr
        for message in refused:
            assert str(path.parent) in message
            assert os.strerror(errno.EFBIG) in message
        assert not list(path.parent.iterdir())

    def test_an_interruption(self, tmp_path, source, monkeypatch):
        def interrupt(self, unit):
            raise KeyboardInterrupt

        monkeypatch.setattr("ibl_nwb.writing.filling._UnitEncoder.__call__", interrupt)
        self.refuse(tmp_path, source, KeyboardInterrupt)


PREAMBLE = (
    "import resource, sys; sys.path.insert(0, {folder!r}); from pathlib import Path; from test_streaming import *\n"
)


def run_python(code, **options):
    text = PREAMBLE.format(folder=str(Path(__file__).parent)) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, **options)


class TestResume:
    SMALL_CHUNKS = {"chunk_shape": (1000, 40), "buffer_shape": (1000, 40)}

    def traces(self, source):
        return StreamedTraces(open_source(source), **self.SMALL_CHUNKS)

    def fail_at(self, unit, monkeypatch):
        """Have the writer fail when it comes to a unit."""
        place = transform.place_differences
        seen = []

        def fail(*arguments):
            seen.append(1)
            if len(seen) > unit:
                raise OSError("the cable was pulled")
            place(*arguments)

        monkeypatch.setattr("ibl_nwb.writing.mtscomp_blocks.place_differences", fail)
        return seen

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_goes_on_after_a_failure(self, tmp_path, source, expected, monkeypatch, backend):
        path = tmp_path / ("x.nwb" if backend == "hdf5" else "x.nwb.zarr")
        with monkeypatch.context() as patch:
            self.fail_at(6, patch)
            with pytest.raises(OSError, match="cable"):
                write(path, self.traces(source), resume=True, jobs=1, backend=backend)
        assert not path.exists()
        assert leftovers(tmp_path, path)
        with monkeypatch.context() as patch:
            seen = self.fail_at(100, patch)
            write(path, self.traces(source), resume=True, jobs=1, backend=backend)
        assert len(seen) == 13 - 6
        data = read(path) if backend == "hdf5" else zarr.open(str(path), mode="r")[LOCATION][:]
        assert_array_equal(data, expected)
        assert not leftovers(tmp_path, path)

    def test_is_refused_of_other_inputs(self, tmp_path, source, monkeypatch):
        path = tmp_path / "x.nwb"
        with monkeypatch.context() as patch:
            self.fail_at(6, patch)
            with pytest.raises(OSError, match="cable"):
                write(path, self.traces(source), resume=True, inputs={"a": 1})
        changed = make_nwbfile(self.traces(source), description="another")
        other = write_source(tmp_path / "other", make_samples(12_345, 41, seed=1))
        for nwbfile, options, named in (
            (make_nwbfile(self.traces(source)), {"inputs": {"a": 2}}, "inputs"),
            (changed, {"inputs": {"a": 1}}, "data or metadata"),
            (make_nwbfile(self.traces(other)), {"inputs": {"a": 1}}, "raw recordings"),
            (make_nwbfile(self.traces(source)), {"inputs": {"a": 1}, "compression": "none"}, "options"),
        ):
            with pytest.raises(UsageError, match=named):
                write_nwbfile(nwbfile, path, resume=True, **options)
        with monkeypatch.context() as patch:
            patch.setattr(streaming, "versions", lambda: {"ibl-nwb": "0"})
            with pytest.raises(UsageError, match="versions"):
                write(path, self.traces(source), resume=True, inputs={"a": 1})
        write(path, self.traces(source))  # starts anew
        assert not leftovers(tmp_path, path)

    def test_does_again_what_is_damaged(self, tmp_path, source, expected, monkeypatch):
        path = tmp_path / "x.nwb"
        with monkeypatch.context() as patch:
            self.fail_at(6, patch)
            with pytest.raises(OSError, match="cable"):
                write(path, self.traces(source), resume=True, jobs=1)
        (part,) = (found for found in tmp_path.iterdir() if found.suffix == ".nwb")
        journal = part.with_name(part.name + ".journal")
        units = [json.loads(line) for line in journal.read_text().splitlines() if '"unit"' in line]
        position, size, _ = units[2]["chunks"][0]
        with part.open("r+b") as file:
            file.seek(position + size // 2)
            file.write(b"damage")
        with journal.open("a") as file:
            file.write('{"unit": 7, "loc')  # a line that was cut off
        with monkeypatch.context() as patch:
            seen = self.fail_at(100, patch)
            write(path, self.traces(source), resume=True)
        assert len(seen) == 13 - 6 + 1
        assert_array_equal(read(path), expected)

    def test_starts_anew_when_the_index_was_being_written(self, tmp_path, source, expected, monkeypatch):
        path = tmp_path / "x.nwb"
        with monkeypatch.context() as patch:
            self.fail_at(6, patch)
            with pytest.raises(OSError, match="cable"):
                write(path, self.traces(source), resume=True, jobs=1)
        (journal,) = tmp_path.glob(".*.journal")
        lines = journal.read_text().splitlines()
        assert json.loads(lines[-1]) == {"state": "closed"}
        journal.write_text("\n".join(lines[:-1]) + "\n")
        with monkeypatch.context() as patch:
            seen = self.fail_at(100, patch)
            write(path, self.traces(source), resume=True)
        assert len(seen) == 13
        assert_array_equal(read(path), expected)

    def test_of_processes_killed_at_twenty_random_moments(self, tmp_path):
        """Killed while it writes, resumed and killed again, then resumed to the end or begun anew."""
        samples = make_samples(60_000, 9)
        source = write_source(tmp_path / "in", samples, 500)
        path = tmp_path / "out" / "x.nwb"
        code = f"""
            import ibl_nwb.writing.filling as filling
            encode = filling._UnitEncoder.__call__
            def slowly(self, unit):
                time.sleep(0.003)
                return encode(self, unit)
            filling._UnitEncoder.__call__ = slowly

            path, source, generator = Path({str(path)!r}), Path({str(source)!r}), random.Random(4)
            expected = make_samples(60_000, 9)[:, :-1]

            def convert(resume):
                traces = StreamedTraces(open_source(source), chunk_shape=(500, 8), buffer_shape=(500, 8))
                write(path, traces, resume=resume, jobs=2)

            def start(resume):
                process = os.fork()
                if not process:
                    try:
                        convert(resume)
                    finally:
                        os._exit(0)
                return process

            def wait_for_journal():
                until = time.monotonic() + 2
                while time.monotonic() < until and not any(path.parent.glob(".*.journal")):
                    time.sleep(0.005)

            path.parent.mkdir()
            n_killed = n_resumed = 0
            while n_killed < 20:
                process = start(resume=generator.random() < 0.7)
                if generator.random() < 0.8:  # most are killed while they write samples
                    wait_for_journal()
                time.sleep(generator.uniform(0, 0.25))
                os.kill(process, signal.SIGKILL)
                was_killed = os.WIFSIGNALED(os.waitpid(process, 0)[1])
                n_killed += was_killed
                is_complete = path.exists()  # it may be killed just after
                finishes = is_complete or generator.random() < 0.3
                if finishes and not is_complete:
                    n_resumed += any(part.suffix == ".journal" for part in path.parent.iterdir())
                    convert(resume=generator.random() < 0.8)
                if finishes:
                    assert (read(path) == expected).all()
                    assert is_complete or not leftovers(path.parent, path)
                    path.unlink()
            assert n_resumed > 1
            print("survived")
        """
        result = run_python(code)
        assert "survived" in result.stdout, result.stderr

    def test_of_a_file_that_another_process_writes_is_refused(self, tmp_path, source, monkeypatch):
        path = tmp_path / "x.nwb"
        with monkeypatch.context() as patch:
            self.fail_at(6, patch)
            with pytest.raises(OSError, match="cable"):
                write(path, self.traces(source), resume=True)
        own = os.getpid()
        monkeypatch.setattr("ibl_nwb.writing.journal.os.getpid", lambda: own + 1)
        with pytest.raises(UsageError, match=f"Process {own} is writing"):
            write(path, self.traces(source), resume=True)


class RangeServer(ThreadingHTTPServer):
    """A server of one folder that knows ranges; ``faults`` are answers to give instead, one after the other."""

    def __init__(self, folder):
        self.folder, self.faults, self.n_requests, self.ignores_ranges = folder, [], 0, False
        super().__init__(("127.0.0.1", 0), RangeHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}/{path.name}"


class RangeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        content = (self.server.folder / self.path.lstrip("/")).read_bytes()
        bounds = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.server.n_requests += bool(bounds)
        fault = self.server.faults.pop(0) if bounds and self.server.faults else None
        body = content[int(bounds[1]) : int(bounds[2]) + 1] if bounds and not self.server.ignores_ranges else content
        self.send_response(fault if isinstance(fault, int) else 206 if len(body) < len(content) else 200)
        self.send_header("Accept-Ranges", "bytes")
        if len(body) < len(content):
            self.send_header("Content-Range", f"bytes {bounds[1]}-{bounds[2]}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        if fault == "cut":
            self.close_connection = True

    def log_message(self, *arguments):
        pass


class TestServer:
    @pytest.fixture
    def server(self, source, monkeypatch):
        monkeypatch.setattr("ibl_nwb.acquire.ranges.ATTEMPTS", 3)
        monkeypatch.setattr("ibl_nwb.acquire.ranges.FIRST_WAIT_S", 0.01)
        server = RangeServer(source.parent)
        yield server
        server.shutdown()
        server.server_close()

    def open(self, server, source):
        samples = RemoteSamples(server.url(source), source.with_suffix(".ch"), 41)
        return SpikeGLXRecording("elsewhere.cbin", source.with_suffix(".meta"), samples=samples)

    def test_samples_are_those_of_the_file(self, tmp_path, server, source, expected):
        recording = self.open(server, source)
        assert_array_equal(recording.get_traces(start_frame=990, end_frame=2010), expected[990:2010])
        server.n_requests = 0
        assert_array_equal(read(write(tmp_path / "x.nwb", StreamedTraces(recording))), expected)
        assert server.n_requests == 13  # a block each
        part = StreamedTraces(recording.select_channels(["AP5", "AP2"]), start_sample=500, stop_sample=1700)
        assert_array_equal(read(write(tmp_path / "part.nwb", part)), expected[500:1700, [5, 2]])

    def test_faults_that_pass_do_no_harm(self, tmp_path, server, source, expected):
        traces = StreamedTraces(self.open(server, source))
        server.faults = [500, "cut", None, 503, 429, None, "cut"]
        assert_array_equal(read(write(tmp_path / "x.nwb", traces, jobs=1)), expected)

    @pytest.mark.parametrize(("ignores_ranges", "said"), [(True, "does not know ranges"), (False, "asked 3 times")])
    def test_faults_that_stay_end_in_a_clear_error(self, tmp_path, server, source, ignores_ranges, said):
        traces = StreamedTraces(self.open(server, source))
        server.ignores_ranges = ignores_ranges
        server.faults = [] if ignores_ranges else [500] * 1000
        with pytest.raises(NetworkError, match=said):
            write(tmp_path / "x.nwb", traces)
        assert not list(tmp_path.iterdir())

    def test_a_file_of_another_size_is_refused(self, tmp_path, server, source):
        other = write_source(tmp_path / "other", make_samples(500, 41))
        samples = RemoteSamples(server.url(source), other.with_suffix(".ch"), 41)
        with pytest.raises(DatasetInconsistentError, match=f"has {source.stat().st_size} bytes, but"):
            samples.read(0, 10, slice(None))


def test_memory_does_not_grow_with_the_length(tmp_path):
    sources = []
    for n_samples in (30_000, 150_000):
        samples = np.tile(make_samples(10_000, 65), (n_samples // 10_000, 1))
        sources.append(str(write_source(tmp_path / str(n_samples), samples, 10_000)))
    code = f"""
        def convert(source):
            traces = StreamedTraces(
                open_source(Path(source)), chunk_shape=(10_000, 32), buffer_shape=(10_000, 64)
            )
            write({str(tmp_path / "x.nwb")!r}, traces, jobs=2, overwrite=True)
            return int(re.search("VmHWM:(.*)kB", Path("/proc/self/status").read_text())[1])
        print(*map(convert, {sources[:1] + sources!r}))
    """
    _, shorter, longer = map(int, run_python(code).stdout.split())
    assert longer < 1.03 * shorter


def test_times_of_a_part_are_those_of_its_samples():
    clock = ProbeClock(30_000.0, 1.0, np.array([0.0, 500.0, 9000.0]), np.array([5.0, 5.02, 5.5]))
    times = np.concatenate([piece.data for piece in ClockIterator(clock, 300, first_sample=400)])
    assert_array_equal(times, clock.times(np.arange(400, 700)))
