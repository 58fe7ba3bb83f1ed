"""Snippets: the samples between two seconds of the session, and their times, as an independent reading has them."""

import shutil

import h5py
import mtscomp
import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from family_checks import SUBJECT, check_valid
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pynwb.testing.mock.file import mock_NWBFile

from ibl_nwb.cli import main
from ibl_nwb.conversion import convert_document, make_document
from ibl_nwb.converter import IBLConverter
from ibl_nwb.errors import UsageError
from ibl_nwb.interfaces.nidq import NIDQInterface
from ibl_nwb.interfaces.probe_sync import ProbeSyncInterface
from ibl_nwb.interfaces.raw_ephys import RawEphysInterface
from ibl_nwb.snippets import find_snippet
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify
from ibl_nwb.writing import write_nwbfile

N_SITES = 6
NIDQ_RATE_HZ = 30_003.0003
BLOCK = 30_000  # about, of the AP band and the sync board

#: None: the probe's own clock.
KNOTS = {
    "regular": np.array([[0, 3.0], [40_000, 3.0 + 40_000 / 30_000.1]]),
    "irregular": np.array([[-500.5, 10.0], [3000.25, 10.2], [8000, 10.3], [29_995.5, 11.1], [33_000, 11.2]]),
    "none": None,
}


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("snippets"), n_channels=N_SITES, raw_duration_s=1.2, cameras=(), audio=False,
        n_trials=3, n_clusters=4, spikes_per_probe=100, revisions=False, probes=("probe00",), passive=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def irregular(example, tmp_path_factory):
    """A session whose probe has irregular knots."""
    parts = example.relative_to(example.parents[4])
    session_path = shutil.copytree(example, tmp_path_factory.mktemp("irregular") / parts)
    set_knots(session_path, KNOTS["irregular"])
    return session_path


@pytest.fixture
def session_path(example, tmp_path):
    return shutil.copytree(example, tmp_path / example.relative_to(example.parents[4]))


def raw_file(session_path, suffix):
    (path,) = (session_path / "raw_ephys_data").rglob(f"*{suffix}")
    return path


def set_knots(session_path, knots):
    path = raw_file(session_path, ".timestamps.npy")
    if knots is not None:
        np.save(path, knots)
        return
    path.unlink()
    for other in path.parent.glob("*.sync.npy"):
        other.unlink()


def decompress(session_path, kind):
    """All columns, by mtscomp."""
    reader = mtscomp.decompress(raw_file(session_path, f"{kind}.cbin"), raw_file(session_path, f"{kind}.ch"))
    samples = reader[:]
    reader.close()
    return samples


def field(session_path, kind, name):
    lines = raw_file(session_path, f"{kind}.meta").read_text().splitlines()
    (value,) = (line.split("=")[1] for line in lines if line.startswith(f"{name}="))
    return float(value)


def interpolate(session_path, knots, n_samples, step):
    """Times of samples: lines through neighbouring knots, the outer ones going on."""
    ap_samples = np.arange(n_samples) * step
    if knots is None:
        return ap_samples / field(session_path, "ap", "imSampRate")
    times = np.interp(ap_samples, *knots.T)
    for outside, (x0, y0), (x1, y1) in (
        (ap_samples < knots[0, 0], knots[0], knots[1]),
        (ap_samples > knots[-1, 0], knots[-1], knots[-2]),
    ):
        times[outside] = y0 + (ap_samples[outside] - x0) * (y1 - y0) / (x1 - x0)
    return times


def times_in(series):
    """Times of the samples of a series in an open file."""
    if "timestamps" in series:
        return series["timestamps"][:]
    start = series["starting_time"]
    return start[()] + np.arange(len(series["data"])) / start.attrs["rate"]


def between(times, first, stop):
    """Seconds that have samples ``first`` to ``stop`` between them, half a sample off; None for the ends."""
    edges = np.concatenate([times[:1] - 1, (times[1:] + times[:-1]) / 2, times[-1:] + 1])
    return tuple(None if sample is None else float(edges[sample]) for sample in (first, stop))


def check_written(path, location, samples, times, snippet):
    with h5py.File(path) as file:
        series = file[f"acquisition/{location}"]
        assert_array_equal(series["data"][:], samples[snippet])
        assert_allclose(times_in(series), times[snippet], rtol=0, atol=1e-6)
        assert_allclose(times_in(series)[0], times[snippet][0], rtol=0, atol=1e-9)
        return series.attrs["comments"], "timestamps" in series


class TestSamplesAndTimes:
    @pytest.mark.parametrize("knots", KNOTS)
    @pytest.mark.parametrize("band", ["ap", "lf"])
    def test_are_those_between_the_two_seconds(self, session_path, tmp_path, band, knots):
        set_knots(session_path, KNOTS[knots])
        samples = decompress(session_path, band)[:, :-1]
        step = 1 if band == "ap" else 12
        n_samples, block = len(samples), BLOCK // step
        times = interpolate(session_path, KNOTS[knots], n_samples, step)
        interface = RawEphysInterface(session_path, probe_name="probe00", band=band)
        cases = [(block - 7, block + 9), (None, 50), (n_samples - 50, None), (0, 1), (n_samples - 1, n_samples)]
        for first, stop in [*cases, (10, n_samples - 10)]:
            nwbfile = mock_NWBFile()
            start_s, stop_s = between(times, first, stop)
            interface.add_to_nwbfile(nwbfile, start_s=start_s, stop_s=stop_s)
            path = tmp_path / "x.nwb"
            write_nwbfile(nwbfile, path, overwrite=True)
            name, snippet = f"ElectricalSeries{band.upper()}Probe00", slice(first, stop)
            comments, has_timestamps = check_written(path, name, samples, times, snippet)
            first, stop, _ = snippet.indices(n_samples)
            assert f"Snippet: samples {first} to {stop - 1}, counted from 0, of the {n_samples} of" in comments
            assert comments.endswith(f"; {times[first]:.6f} s to {times[stop - 1]:.6f} s.")
            assert ".." not in comments
            line = np.linspace(times[first], times[stop - 1], stop - first)
            assert has_timestamps == (np.abs(times[first:stop] - line).max() > 1e-6)

    def test_begin_with_a_sample_at_the_very_second(self, session_path, tmp_path):
        interface = NIDQInterface(session_path)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, start_s=29_990 / NIDQ_RATE_HZ, stop_s=30_020 / NIDQ_RATE_HZ)
        series = nwbfile.acquisition["NIDQDigitalWord"]
        assert_array_equal(series.data[:], decompress(session_path, "nidq")[29_990:30_020, -1])
        assert (series.starting_time, series.rate) == (29_990 / NIDQ_RATE_HZ, NIDQ_RATE_HZ)

    @pytest.mark.parametrize("knots", KNOTS)
    def test_of_the_sync_word_are_those_of_its_probe(self, session_path, tmp_path, knots):
        set_knots(session_path, KNOTS[knots])
        word = decompress(session_path, "ap")[:, -1]
        times = interpolate(session_path, KNOTS[knots], len(word), 1)
        start_s, stop_s = between(times, 5000, 31_000)
        nwbfile = mock_NWBFile()
        ProbeSyncInterface(session_path, probe_name="probe00").add_to_nwbfile(nwbfile, start_s=start_s, stop_s=stop_s)
        write_nwbfile(nwbfile, tmp_path / "x.nwb")
        comments, _ = check_written(tmp_path / "x.nwb", "TimeSeriesSyncProbe00", word, times, slice(5000, 31_000))
        assert ("not aligned to the session. Snippet: samples 5000 to 30999" in comments) == (knots == "none")

    def test_of_a_stub_are_the_first_hundred_of_the_snippet(self, irregular):
        interface = RawEphysInterface(irregular, probe_name="probe00")
        times = interpolate(irregular, KNOTS["irregular"], 36_000, 1)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, stub_test=True, start_s=between(times, 8_000, None)[0])
        (series,) = nwbfile.acquisition.values()
        assert_array_equal(series.data[:], decompress(irregular, "ap")[8_000:8_100, :-1])
        assert_allclose(series.starting_time, times[8_000], rtol=0, atol=1e-9)
        assert "samples 8000 to 8099" in series.comments

    @pytest.mark.parametrize(
        ("interface_class", "kind"), [(RawEphysInterface, "ap"), (ProbeSyncInterface, "ap"), (NIDQInterface, "nidq")]
    )
    def test_go_by_the_times_that_were_set(self, session_path, interface_class, kind):
        handles = {} if interface_class is NIDQInterface else {"probe_name": "probe00"}
        interface = interface_class(session_path, **handles)
        samples = decompress(session_path, kind)
        aligned = 100 + np.linspace(0, 1, len(samples)) ** 2
        interface.set_aligned_timestamps(aligned)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, start_s=100.25, stop_s=100.49)
        wanted = (aligned >= 100.25) & (aligned < 100.49)
        series = list(nwbfile.acquisition.values())[-1]
        assert_array_equal(series.timestamps[:], aligned[wanted])
        columns = slice(0, -1) if interface_class is RawEphysInterface else -1
        assert_array_equal(series.data[:], samples[wanted][:, columns])

    def test_of_the_whole_recording_are_no_snippet(self, session_path):
        interface = NIDQInterface(session_path)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, start_s=-5.0, stop_s=1000.0)
        assert not interface.notes
        assert "Snippet" not in nwbfile.acquisition["NIDQDigitalWord"].comments

    @given(
        st.lists(st.floats(-10, 10, allow_nan=False), min_size=1, max_size=40, unique=True).map(sorted),
        st.floats(-11, 11),
        st.floats(-11, 11),
    )
    def test_are_found_as_a_comparison_of_all_times_finds_them(self, times, start_s, stop_s):
        wanted = [sample for sample, time in enumerate(times) if start_s <= time < stop_s]
        if not wanted:
            with pytest.raises(UsageError):
                find_snippet(times.__getitem__, len(times), start_s, stop_s, path="x")
            return
        snippet = find_snippet(times.__getitem__, len(times), start_s, stop_s, path="x")
        assert list(range(snippet.first_sample, snippet.stop_sample)) == wanted
        assert (snippet.first_s, snippet.last_s) == (times[wanted[0]], times[wanted[-1]])


class TestRefusals:
    @pytest.mark.parametrize(
        ("bounds", "named"),
        [
            ((5, 5), "from 5 s to 5 s"),
            ((6, 5), "from 6 s to 5 s"),
            ((float("nan"), 5), "nan"),
            ((0, float("nan")), "nan"),
            ((1e5, None), "no sample from 100000 s"),
            ((None, -1e5), "no sample before -100000 s"),
            ((1e5, 2e5), "from 100000 s and before 200000 s"),
        ],
    )
    @pytest.mark.parametrize("interface_class", [RawEphysInterface, ProbeSyncInterface, NIDQInterface])
    def test_of_what_holds_nothing(self, irregular, interface_class, bounds, named):
        handles = {} if interface_class is NIDQInterface else {"probe_name": "probe00"}
        interface = interface_class(irregular, **handles)
        with pytest.raises(UsageError, match=named) as raised:
            interface.add_to_nwbfile(mock_NWBFile(), start_s=bounds[0], stop_s=bounds[1])
        if "has no sample " in str(raised.value):
            assert str(interface.sources["data"][0].path) in str(raised.value)
            first, last = interface.get_original_timestamps()[[0, -1]]
            assert f"{first:.6f} s to {last:.6f} s" in str(raised.value)
            assert "--exclude" in str(raised.value)

    def test_of_a_session_without_raw_recordings(self, irregular, tmp_path):
        result = convert(irregular, tmp_path / "x.nwb", "--include", "Wheel", "--start", "3")
        assert (result.exit_code, "no raw recording to cut" in result.stderr) == (2, True)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("arguments", [["--start", "nan"], ["--start", "3", "--stop", "2"], ["--stop", "nan"]])
    def test_of_the_command_come_before_anything_is_done(self, tmp_path, arguments):
        result = convert(tmp_path / "no session", tmp_path / "x.nwb", *arguments)
        assert (result.exit_code, "A snippet from" in result.stderr) == (2, True)

    def test_of_options_of_another_type(self, irregular):
        converter = IBLConverter.from_session(irregular, include=["NIDQ"])
        schema = converter.get_conversion_options_schema()["properties"]["NIDQ"]["properties"]
        for name in ("start_s", "stop_s"):
            assert {"type": "number"} in schema[name]["anyOf"]
        with pytest.raises(Exception, match="start_s"):
            converter.validate_conversion_options({"NIDQ": {"start_s": "three"}})


def convert(session, output, *arguments):
    command = ["convert", str(session), "-o", str(output), "--timezone", "Europe/Lisbon", *map(str, arguments)]
    result = CliRunner().invoke(main, command)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


RAW = ("RawEphys", "NIDQ", "ProbeSync")
SERIES = {
    "ElectricalSeriesAPProbe00": ("ap", slice(0, -1)),
    "ElectricalSeriesLFProbe00": ("lf", slice(0, -1)),
    "TimeSeriesSyncProbe00": ("ap", -1),
    "NIDQBpod": ("nidq", 0),
    "NIDQDigitalWord": ("nidq", 1),
}

#: Within the times of the probe by its irregular knots. The recording of the sync board ends before, at 1.2 s.
PROBE_START_S, PROBE_STOP_S = 10.95, 11.15


@pytest.fixture(scope="module")
def converted(irregular, tmp_path_factory):
    """A file with the probe's snippet, and one with the board's."""
    folder = tmp_path_factory.mktemp("converted")
    document = make_document(
        irregular, timezone="Europe/Lisbon", include=[*RAW, "Wheel"], metadata={"Subject": SUBJECT}
    )
    options = {"NIDQ": {"start_s": 0.99, "stop_s": 1.01}}
    options |= {
        name: {"start_s": PROBE_START_S, "stop_s": PROBE_STOP_S} for name in document.source_data if "Probe" in name
    }
    document = document.model_copy(update={"conversion_options": options})
    return convert_document(document, folder / "x.nwb")


def wanted_samples(session_path, name):
    """Samples and times of a series of the converted file, read independently."""
    kind, columns = SERIES[name]
    samples = decompress(session_path, kind)[:, columns]
    if kind == "nidq":
        times, bounds = np.arange(len(samples)) / NIDQ_RATE_HZ, (0.99, 1.01)
    else:
        times = interpolate(session_path, KNOTS["irregular"], len(samples), 12 if kind == "lf" else 1)
        bounds = (PROBE_START_S, PROBE_STOP_S)
    return samples, times, np.flatnonzero((times >= bounds[0]) & (times < bounds[1]))


class TestOfAConverter:
    def test_are_in_the_file_and_all_else_is_whole(self, irregular, converted):
        for name in SERIES:
            samples, times, wanted = wanted_samples(irregular, name)
            assert 0 < len(wanted) < len(samples)
            check_written(converted.nwbfile_path, name, samples, times, wanted)
        with h5py.File(converted.nwbfile_path) as file:
            position = file["processing/wheel/WheelPosition/data"]
            assert len(position) == len(np.load(next(irregular.rglob("_ibl_wheel.position.npy"))))
        check_valid(converted.nwbfile_path)

    def test_are_told_of_in_the_summary(self, converted):
        notes = {row.name: " ".join(row.notes) for row in converted.interfaces}
        for name in ("RawEphysAPProbe00", "RawEphysLFProbe00", "ProbeSyncProbe00", "NIDQ"):
            assert notes[name].startswith("Snippet: samples ")
        assert notes["Wheel"] == ""

    def test_pass_verification_which_says_what_was_left_out(self, irregular, converted):
        report = verify(converted.nwbfile_path, irregular)
        assert report.ok, report.differences
        equal = {row.object for row in report if row.status == "equal"}
        assert {f"acquisition/{name}/data" for name in SERIES} <= equal
        rest = {row.object: row.reason for row in report if "snippet" in row.reason}
        wanted = wanted_samples(irregular, "ElectricalSeriesAPProbe00")[2]
        reason = rest["acquisition/ElectricalSeriesAPProbe00@comments"]
        assert f"samples {wanted[0]} to {wanted[-1]} of 36000" in reason

    def test_pass_verification_of_a_sample(self, irregular, converted):
        assert verify(converted.nwbfile_path, irregular, sample=0.5).ok

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_of_the_command_are_the_same(self, irregular, tmp_path, backend):
        path = tmp_path / ("x.nwb" if backend == "hdf5" else "x.nwb.zarr")
        bounds = ("--start", PROBE_START_S, "--stop", PROBE_STOP_S)
        result = convert(irregular, path, "--include", "RawEphysAPProbe00", "--backend", backend, *bounds)
        assert (result.exit_code, "Snippet: samples" in result.stdout) == (0, True), result.output
        samples, times, wanted = wanted_samples(irregular, "ElectricalSeriesAPProbe00")
        file = h5py.File(path) if backend == "hdf5" else zarr.open(str(path), mode="r")
        series = file["acquisition/ElectricalSeriesAPProbe00"]
        assert_array_equal(series["data"][:], samples[wanted])
        assert_allclose(times_in(series), times[wanted], rtol=0, atol=1e-6)
        assert verify(path, irregular).ok

    def test_that_is_resumed_is_of_the_same_seconds(self, irregular, tmp_path, monkeypatch):
        def fail(*arguments):
            raise OSError("the cable was pulled")

        path = tmp_path / "out" / "x.nwb"
        arguments = ("--include", "RawEphysLFProbe00", "--resume", "--start")
        with monkeypatch.context() as patch:
            patch.setattr("ibl_nwb.writing.mtscomp_blocks.place_differences", fail)
            with pytest.raises(OSError, match="cable"):
                convert(irregular, path, *arguments, "10.9")
        for other in ("10.91", "-3"):
            refused = convert(irregular, path, *arguments, other)
            assert (refused.exit_code, "cannot be resumed" in refused.stderr) == (2, True)
        assert convert(irregular, path, *arguments, "10.9").exit_code == 0
        assert verify(path, irregular).ok


def shift_samples(file, name, wanted, samples):
    file[f"acquisition/{name}/data"][:] = samples[wanted + 1]


def flip_last_value(file, name, wanted, samples):
    data = file[f"acquisition/{name}/data"]
    data[(-1,) * data.ndim] += 1


def shift_times(file, name, wanted, samples):
    """By one sample."""
    series = file[f"acquisition/{name}"]
    if "timestamps" in series:
        series["timestamps"][:] += np.diff(series["timestamps"][:2])
    else:
        series["starting_time"][()] += 1 / series["starting_time"].attrs["rate"]


def say_another_sample(file, name, wanted, samples):
    attributes = file[f"acquisition/{name}"].attrs
    first, last = wanted[0], wanted[-1]
    old, new = f"samples {first} to {last}", f"samples {first + 1} to {last + 1}"
    assert old in attributes["comments"]
    attributes["comments"] = attributes["comments"].replace(old, new)


def say_nothing(file, name, wanted, samples):
    file[f"acquisition/{name}"].attrs["comments"] = "Source: x"


@pytest.mark.parametrize("name", ["ElectricalSeriesAPProbe00", "ElectricalSeriesLFProbe00", "TimeSeriesSyncProbe00"])
@pytest.mark.parametrize("damage", [shift_samples, flip_last_value, shift_times, say_another_sample, say_nothing])
def test_damage_of_a_snippet_is_found(irregular, converted, tmp_path, damage, name):
    path = shutil.copy(converted.nwbfile_path, tmp_path / "x.nwb")
    samples, _, wanted = wanted_samples(irregular, name)
    with h5py.File(path, "r+") as file:
        damage(file, name, wanted, samples)
    different = {row.object for row in verify(path, irregular).differences}
    assert different
    assert all(row.startswith(f"acquisition/{name}/") for row in different)


@pytest.mark.parametrize("damage", [shift_samples, flip_last_value, shift_times])
def test_damage_of_a_snippet_of_the_sync_board_is_found(irregular, converted, tmp_path, damage):
    path = shutil.copy(converted.nwbfile_path, tmp_path / "x.nwb")
    samples, _, wanted = wanted_samples(irregular, "NIDQDigitalWord")
    with h5py.File(path, "r+") as file:
        damage(file, "NIDQDigitalWord", wanted, samples)
    different = {row.object for row in verify(path, irregular).differences}
    assert different in ({"acquisition/NIDQDigitalWord/data"}, {"acquisition/NIDQDigitalWord/starting_time"})
