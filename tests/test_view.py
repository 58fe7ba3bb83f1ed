"""Figures of a written file: they show what the ALF files hold, and no more of the file is read than they show."""

import io
import re
import shutil
import time
from datetime import UTC, datetime

import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from pynwb import NWBHDF5IO, read_nwb
from pynwb.file import Subject
from pynwb.testing.mock.ecephys import mock_ElectricalSeries, mock_ElectrodeGroup
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, needs_real_data

from ibl_nwb import convert_document, make_document
from ibl_nwb.cli import main
from ibl_nwb.errors import DatasetUnreadableError, OutputExistsError, UsageError
from ibl_nwb.testing import make_example_session

pytest.importorskip("matplotlib", reason="matplotlib is not installed (ibl-nwb[view])")

from ibl_nwb import view
from ibl_nwb.view.contents import read_trials
from ibl_nwb.view.drawing import SessionFigure
from ibl_nwb.view.measures import chronometric_points, counts_around, positions_around, psychometric_points
from ibl_nwb.view.regions import region_colors

SORTING = "alf/probe00/pykilosort/#2024-05-06#"
PLOTS = [getattr(view, name) for name in view.__all__ if name.startswith("plot_")]


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("view"),
        probes=("probe00",),
        n_channels=32,
        raw_duration_s=0.6,
        raw_format="bin",
        cameras=("left",),
        video=True,
        photometry=True,
        n_fovs=1,
        widefield=True,
        n_trials=50,
        n_clusters=12,
        spikes_per_probe=2000,
    )


@pytest.fixture(scope="module")
def nwbfile_path(session_path, tmp_path_factory):
    document = make_document(session_path, timezone="UTC")
    return convert_document(document, tmp_path_factory.mktemp("written") / "x.nwb").nwbfile_path


@pytest.fixture(scope="module")
def nwbfile(nwbfile_path):
    opened = read_nwb(nwbfile_path)
    yield opened
    opened.get_read_io().close()


@pytest.fixture(scope="module")
def behaviour_path(session_path, tmp_path_factory):
    """A file of which a report is made quickly."""
    document = make_document(session_path, timezone="UTC", include=["Trials", "Wheel", "Pose", "SortedSpikes"])
    return convert_document(document, tmp_path_factory.mktemp("behaviour") / "x.nwb").nwbfile_path


@pytest.fixture(scope="module")
def alf_trials(session_path):
    return pd.read_parquet(session_path / "alf/#2024-02-20#/_ibl_trials.table.pqt")  # the newest revision


def signed_percent(alf_trials):
    return 100 * (alf_trials["contrastRight"].fillna(0) - alf_trials["contrastLeft"].fillna(0))


def titled(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def mesh_of(axes):
    return axes.collections[0].get_array()


class TestNumbers:
    def test_psychometric_points_are_those_of_the_alf_trials(self, nwbfile, alf_trials):
        points = psychometric_points(read_trials(nwbfile))
        answered = alf_trials[alf_trials["choice"] != 0]
        expected = (answered["choice"] == -1).groupby([answered["probabilityLeft"], signed_percent(answered)]).mean()
        found = points.set_index(["block", "signed_contrast"])["fraction"]
        assert len(found) > 10
        assert dict(found) == pytest.approx(dict(expected))
        assert points["n_trials"].sum() == len(answered)
        assert ((points["low"] <= points["fraction"]) & (points["fraction"] <= points["high"])).all()

    def test_interval_of_a_fraction_is_wilsons(self):
        trials = pd.DataFrame(
            {"choice": [-1] * 8 + [1] * 2, "contrast_left": np.nan, "contrast_right": 0.25, "probability_left": 0.5}
        )
        points = psychometric_points(trials)
        assert points[["low", "high"]].to_numpy()[0] == pytest.approx([0.4902, 0.9433], abs=1e-4)

    def test_probabilities_that_vary_from_trial_to_trial_are_no_blocks(self):
        trials = pd.DataFrame(
            {
                "choice": 1.0,
                "contrast_left": 0.5,
                "contrast_right": np.nan,
                "probability_left": np.linspace(0.3, 0.7, 9),
            }
        )
        assert psychometric_points(trials)["n_trials"].tolist() == [9]

    def test_chronometric_points_are_those_of_the_alf_trials(self, nwbfile, alf_trials):
        points = chronometric_points(read_trials(nwbfile)).set_index("signed_contrast")
        answered = alf_trials[(alf_trials["choice"] != 0) & alf_trials["stimOn_times"].notna()]
        seconds = (answered["response_times"] - answered["stimOn_times"]).groupby(signed_percent(answered))
        assert dict(points["median"]) == pytest.approx(dict(seconds.median()))
        assert dict(points["high"]) == pytest.approx(dict(seconds.quantile(0.75)))

    @given(st.lists(st.integers(0, 1000), max_size=40), st.lists(st.integers(0, 1000), min_size=1, max_size=5))
    def test_counts_are_those_of_counting_one_by_one(self, times, events):
        times, events = np.sort(np.array(times, dtype=float)), np.array(events, dtype=float)
        counts = counts_around(times, events, (-2.0, 4.0), 2.0)
        expected = [
            [sum(event + low <= spike < event + low + 2 for spike in times) for low in (-2, 0, 2)] for event in events
        ]
        assert_array_equal(counts, expected)

    def test_positions_outside_the_recording_are_nan(self):
        moved = positions_around(
            np.array([0.0, 2.0]), np.array([1.0, 5.0]), np.array([1.0]), np.array([-2.0, 0.0, 0.5])
        )
        assert_array_equal(moved, [[np.nan, 0.0, 1.0]])

    def test_colours_are_those_of_iblatlas(self):
        from iblatlas.regions import BrainRegions

        regions = BrainRegions()
        for acronym in ("VISp2/3", "CA1", "PO", "fiber tracts"):
            red, green, blue = regions.rgb[np.flatnonzero(regions.acronym == acronym)[0]]
            assert region_colors([acronym]) == [f"#{red:02x}{green:02x}{blue:02x}"]
        assert len(set(region_colors(["unknown", "void", "no such region"]))) == 1


class TestFigures:
    def test_session_shows_the_psychometric_curve_of_the_alf_trials(self, nwbfile, alf_trials):
        axes = view.plot_session(nwbfile).axes[1]
        answered = alf_trials[(alf_trials["choice"] != 0) & (alf_trials["probabilityLeft"] == 0.8)]
        expected = (answered["choice"] == -1).groupby(signed_percent(answered)).mean()
        line = next(bar.lines[0] for bar in axes.containers if "0.8" in bar.get_label())
        assert_allclose(np.asarray(line.get_xdata(), float), expected.index)
        assert_allclose(np.asarray(line.get_ydata(), float), expected)
        assert "left negative" in axes.get_xlabel()
        assert "choice −1" in axes.get_ylabel()

    def test_licks_are_those_of_the_alf_file(self, nwbfile, session_path, alf_trials):
        axes = view.plot_session(nwbfile).axes[4]
        licks = np.load(session_path / "alf/licks.times.npy")
        rewarded = alf_trials["feedback_times"][alf_trials["feedbackType"] == 1].to_numpy()
        expected = [licks[(licks >= t - 0.5) & (licks < t + 2)] - t for t in rewarded]
        for shown, of_trial in zip(axes.collections, expected, strict=False):
            assert_allclose(shown.get_positions(), of_trial, atol=1e-9)

    def test_units_show_every_spike_of_a_unit_with_a_depth(self, nwbfile, session_path):
        folder = session_path / SORTING
        depths = np.load(folder / "clusters.depths.npy")
        clusters = np.load(folder / "spikes.clusters.npy")
        figure = view.plot_units(nwbfile)
        mesh = figure.axes[0].collections[0]
        width_s = 60 * np.diff(mesh.get_coordinates()[0, :2, 0])[0]
        assert mesh.get_array().sum() * width_s == pytest.approx(np.isfinite(depths[clusters]).sum())
        amplitudes = titled(figure, "Amplitude and depth")
        shown = amplitudes.collections[0].get_offsets()
        assert_allclose(shown[:, 1].filled(np.nan), depths, rtol=1e-6)
        assert_allclose(shown[:, 0].filled(np.nan), 1e6 * np.load(folder / "clusters.amps.npy"), rtol=1e-6)

    def test_raster_shows_the_spikes_of_the_seconds_that_are_asked_for(self, nwbfile, session_path):
        times = np.load(session_path / SORTING / "spikes.times.npy")
        raster = titled(view.plot_units(nwbfile, start_s=20, duration_s=30), "Spikes of some seconds")
        shown = raster.collections[0].get_offsets()[:, 0]
        assert_allclose(np.sort(shown), np.sort(times[(times >= 20) & (times < 50)]))

    def test_psth_counts_are_those_of_the_alf_spikes(self, nwbfile, session_path, alf_trials):
        folder = session_path / SORTING
        spikes, clusters = np.load(folder / "spikes.times.npy"), np.load(folder / "spikes.clusters.npy")
        cluster = int(np.bincount(clusters).argmax())
        figure = view.plot_psth(nwbfile, unit=f"probe00_{cluster}", window_s=(-0.4, 0.8), bin_s=0.1)
        of_unit = spikes[clusters == cluster]
        onsets = alf_trials["stimOn_times"][(alf_trials["choice"] == 1) & alf_trials["stimOn_times"].notna()]
        edges = -0.4 + 0.1 * np.arange(13)
        expected = np.mean([np.histogram(of_unit - onset, edges)[0] for onset in onsets], axis=0) / 0.1
        clockwise = figure.axes[2].patches[0]
        assert_allclose(clockwise.get_data().values, expected)
        assert clockwise.get_label().startswith("clockwise")

    def test_snippet_shows_the_counts_of_the_recording_in_microvolts(self, nwbfile, session_path):
        raw = np.fromfile(next(session_path.rglob("*.ap*.bin")), dtype=np.int16).reshape(-1, 33)[:, :32]
        series = nwbfile.acquisition["ElectricalSeriesAPProbe00"]
        shown = mesh_of(view.plot_raw_ephys(nwbfile, start_s=series.starting_time, duration_s=0.02).axes[1])
        depths = np.asarray(nwbfile.electrodes["rel_y"][:])
        counts = raw[: shown.shape[1]][:, np.argsort(depths, kind="stable")]
        microvolts = 1e6 * series.conversion * (counts - np.median(counts, axis=0))
        assert shown.shape[1] == pytest.approx(600, abs=1)
        assert_allclose(shown, microvolts.T, atol=1e-6)

    def test_spectrum_peaks_where_the_recording_does(self, nwbfile, session_path):
        raw = np.fromfile(next(session_path.rglob("*.lf*.bin")), dtype=np.int16).reshape(-1, 33)[:, :32]
        power = np.abs(np.fft.rfft(raw - raw.mean(axis=0), axis=0)) ** 2
        peak = np.fft.rfftfreq(len(raw), 1 / 2500)[power.sum(axis=1).argmax()]
        axes = view.plot_lfp_spectrum(nwbfile).axes[1]
        frequencies = axes.collections[0].get_coordinates()[0, :, 0]
        shown = mesh_of(axes).sum(axis=0)
        assert frequencies[shown.argmax()] <= peak <= frequencies[shown.argmax() + 1]

    def test_points_lie_on_the_frame_of_the_film(self, nwbfile, session_path):
        import av

        figure = view.plot_pose(nwbfile, start_s=0, duration_s=2)
        table = pd.read_parquet(next((session_path / "alf").glob("*leftCamera.lightningPose*.pqt")))
        over = titled(figure, "Frame 0")
        with av.open(str(next(session_path.rglob("*leftCamera.raw*.mp4")))) as film:
            first = next(film.decode(video=0)).to_ndarray(format="gray")
        assert_array_equal(over.images[0].get_array(), first)
        shown = {(line.get_xdata()[0], line.get_ydata()[0]) for line in over.lines}
        assert (table["nose_tip_x"][0], table["nose_tip_y"][0]) in shown
        likelihood = np.asarray(mesh_of(titled(figure, "Likelihood")))
        assert_array_equal(likelihood[0], table["nose_tip_likelihood"][: likelihood.shape[1]])

    def test_a_later_frame_is_that_of_its_number(self, nwbfile, session_path):
        import av

        times = nwbfile.processing["behavior"]["PoseEstimationLeftCamera"]["NoseTip"].timestamps[:]
        figure = view.plot_pose(nwbfile, start_s=times[40], duration_s=1)
        with av.open(str(next(session_path.rglob("*leftCamera.raw*.mp4")))) as film:
            frames = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
        assert_array_equal(titled(figure, "Frame 40").images[0].get_array(), frames[40])

    def test_spectrogram_is_that_of_the_alf_file(self, nwbfile, session_path):
        power = np.load(next(session_path.rglob("*audioSpectrogram.power*.npy")))
        shown = mesh_of(view.plot_audio_spectrogram(nwbfile).axes[0])
        assert_allclose(shown, 10 * np.log10(power.astype(float)).T)

    def test_sites_are_where_histology_put_them(self, nwbfile):
        from iblatlas.atlas import AllenAtlas

        ml, dv = (np.asarray(nwbfile.electrodes[name][:]) for name in ("ml", "dv"))
        figure = view.plot_probe_track(nwbfile, atlas=AllenAtlas(25, mock=True))
        assert_array_equal(figure.axes[0].collections[0].get_offsets(), np.c_[ml, dv])
        left, right, bottom, top = figure.axes[0].images[0].get_extent()
        assert left < ml.min() <= ml.max() < right
        assert bottom < dv.min() <= dv.max() < top

    def test_zarr_files_are_shown_too(self, session_path, tmp_path):
        document = make_document(session_path, timezone="UTC", include=["Trials", "Wheel", "SortedSpikes"])
        path = convert_document(document, tmp_path / "x.nwb.zarr", backend="zarr").nwbfile_path
        assert view.plot_session(path).message is None
        assert view.plot_units(path).message is None
        assert view.plot_psth(path).message is None


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.__name__)
class TestEveryFigure:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_is_drawn_in_its_theme(self, plot, theme, nwbfile):
        image = Image.open(io.BytesIO(plot(nwbfile, theme=theme)._repr_png_()))
        assert image.width > 500
        assert (sum(image.convert("RGB").getpixel((0, 0))) > 600) == (theme == "light")

    def test_says_what_an_empty_file_lacks(self, plot):
        figure = plot(mock_NWBFile())
        assert re.fullmatch(r"This file has no [\w ]+\.", figure.message)
        assert figure.message in [text.get_text() for text in figure.axes[0].texts]
        assert isinstance(figure, SessionFigure)

    def test_leaves_the_settings_of_matplotlib_alone(self, plot, nwbfile):
        import matplotlib

        before = dict(matplotlib.rcParams)
        plot(nwbfile, theme="dark")
        assert dict(matplotlib.rcParams) == before

    def test_of_a_path_closes_the_file(self, plot, nwbfile_path, tmp_path):
        copied = shutil.copy(nwbfile_path, tmp_path)
        plot(copied)
        with h5py.File(copied, "r+"):
            pass

    def test_refuses_a_theme_that_there_is_not(self, plot, nwbfile):
        with pytest.raises(UsageError, match="no theme 'blue'"):
            plot(nwbfile, theme="blue")


@pytest.mark.parametrize(
    ("plot", "options", "way_out"),
    [
        (view.plot_units, {"probe_name": "probe07"}, "probe00"),
        (view.plot_psth, {"unit": "probe07_1"}, "probe00_0"),
        (view.plot_psth, {"unit": 99}, "0 to 11"),
        (view.plot_raw_ephys, {"probe": "Probe07"}, "Probe00"),
        (view.plot_lfp_spectrum, {"probe": "Probe07"}, "Probe00"),
        (view.plot_pose, {"camera": "RearCamera"}, "LeftCamera"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_not_there_is_refused_with_what_is(plot, options, way_out, nwbfile):
    with pytest.raises(UsageError, match=way_out):
        plot(nwbfile, **options)


def test_a_path_without_an_nwb_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        view.plot_session(tmp_path / "none.nwb")
    (tmp_path / "text.nwb").write_text("no NWB file")
    with pytest.raises(DatasetUnreadableError, match="cannot be read"):
        view.plot_session(tmp_path / "text.nwb")


@pytest.fixture(scope="module")
def many_units_path(tmp_path_factory):
    """2,000 units of a probe with a long name, 200 spikes each."""
    nwbfile = mock_NWBFile()
    for name in ("unit_name", "probe_name", "depths", "amps", "firing_rate", "label"):
        nwbfile.add_unit_column(name, name)
    generator = np.random.default_rng(0)
    for unit in range(2000):
        nwbfile.add_unit(
            spike_times=np.sort(generator.uniform(0, 4000, 200)),
            unit_name=f"unit_{unit}",
            probe_name="a_probe_with_a_name_that_goes_on_and_on_and_on",
            depths=float(generator.uniform(0, 3840)),
            amps=1e-4,
            firing_rate=0.05,
            label=1.0,
        )
    path = tmp_path_factory.mktemp("many") / "x.nwb"
    with NWBHDF5IO(path, "w") as io:
        io.write(nwbfile)
    return path


def test_two_thousand_units_are_shown_within_seconds(many_units_path):
    began = time.perf_counter()
    figure = view.plot_units(many_units_path, start_s=0, duration_s=4001)
    assert len(titled(figure, "Spikes").collections[0].get_offsets()) == 400_000
    assert len(figure.to_png()) > 10_000
    assert time.perf_counter() - began < 30


@pytest.fixture(scope="module")
def huge_path(tmp_path_factory):
    """A file whose raw recording has 100 GB of samples, none of which takes room on the disk."""
    path = tmp_path_factory.mktemp("huge") / "x.nwb"
    nwbfile = mock_NWBFile()
    probe = mock_ElectrodeGroup(nwbfile=nwbfile)
    for _ in range(5):
        nwbfile.add_electrode(location="CA1", group=probe)
    for band in ("AP", "LF"):
        sites = nwbfile.create_electrode_table_region(list(range(5)), "all sites")
        mock_ElectricalSeries(
            name=f"ElectricalSeries{band}Probe00", data=np.zeros((4, 5), "int16"), electrodes=sites, nwbfile=nwbfile
        )
    nwbfile.add_electrode_column("rel_y", "depth", data=[20.0 * row for row in range(len(nwbfile.electrodes))])
    with NWBHDF5IO(path, "w") as io:
        io.write(nwbfile)
    with h5py.File(path, "r+") as file:
        for band in ("AP", "LF"):
            series = file[f"acquisition/ElectricalSeries{band}Probe00"]
            attributes = dict(series["data"].attrs)
            del series["data"]
            shape = (10_000_000_000, 5)
            data = series.create_dataset("data", shape, "int16", chunks=(30_000, 5), compression="gzip")
            data.attrs.update(attributes)
    return path


def test_of_a_huge_file_only_the_samples_that_are_shown_are_read(huge_path, monkeypatch):
    read = []
    original = h5py.Dataset.__getitem__

    def counting(dataset, *args, **kwargs):
        values = original(dataset, *args, **kwargs)
        read.append(np.asarray(values).nbytes)
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    began = time.perf_counter()
    assert view.plot_raw_ephys(huge_path).message is None
    assert view.plot_lfp_spectrum(huge_path).message is None
    assert time.perf_counter() - began < 30
    assert 0 < sum(read) < 5_000_000


@needs_real_data
def test_real_files_are_shown(tmp_path):
    document = make_document(CHIMERA, timezone="Europe/Lisbon", exclude=["Video"])
    path = convert_document(document, tmp_path / "x.nwb").nwbfile_path
    report = view.save_report(path, tmp_path / "report.html")
    expected = {"Session", "Units probe00", "Raw AP band Probe00", "Pose LeftCamera", "Sound", "Passive period"}
    assert expected <= set(report.figures)


class TestReport:
    def test_page_holds_every_figure_and_asks_for_nothing(self, nwbfile, tmp_path):
        report = view.save_report(nwbfile, tmp_path / "report.html")
        page = report.path.read_text(encoding="utf-8")
        assert page.count("<img ") == len(report.figures) >= 7
        assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []
        assert "url(" not in page
        assert "default-src 'none'" in page
        assert report.missing == []

    def test_what_is_missing_is_said(self, tmp_path):
        report = view.save_report(mock_NWBFile(), tmp_path / "report.html")
        assert report.figures == []
        assert "This file has no trials." in report.missing
        assert "This file has no trials." in report.path.read_text(encoding="utf-8")

    def test_names_are_text_and_not_markup(self, tmp_path):
        subject = Subject(subject_id="<script>alert(1)</script>", species="Mus musculus")
        nwbfile = mock_NWBFile(subject=subject, lab="a $lab_{x}", session_start_time=datetime(2024, 1, 2, tzinfo=UTC))
        page = view.save_report(nwbfile, tmp_path / "report.html").path.read_text(encoding="utf-8")
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; · 2024-01-02" in page
        assert len(view.plot_session(nwbfile).to_png()) > 1000

    def test_pdf_has_a_page_for_each_figure(self, behaviour_path, tmp_path):
        report = view.save_report(behaviour_path, tmp_path / "report.pdf")
        written = report.path.read_bytes()
        assert written.startswith(b"%PDF")
        assert len(re.findall(rb"/Type /Page\b", written)) == len(report.figures)

    def test_image_has_all_figures_below_one_another(self, behaviour_path, tmp_path):
        report = view.save_report(behaviour_path, tmp_path / "report.png")
        first = Image.open(io.BytesIO(view.plot_session(behaviour_path).to_png()))
        assert len(report.figures) > 3
        assert Image.open(report.path).height > first.height * 2

    def test_nothing_is_replaced_unasked(self, tmp_path):
        (tmp_path / "report.html").write_text("mine")
        with pytest.raises(OutputExistsError):
            view.save_report(mock_NWBFile(), tmp_path / "report.html")
        assert (tmp_path / "report.html").read_text() == "mine"

    def test_command_saves_a_report(self, behaviour_path, tmp_path):
        done = CliRunner().invoke(main, ["view", str(behaviour_path), "--save", str(tmp_path / "r.html")])
        assert done.exit_code == 0, done.output
        assert "figures" in done.output
        assert (tmp_path / "r.html").is_file()

    def test_command_opens_a_page_in_the_browser(self, many_units_path, monkeypatch):
        opened = []
        monkeypatch.setattr("click.launch", opened.append)
        done = CliRunner().invoke(main, ["view", str(many_units_path)])
        assert done.exit_code == 0, done.output
        assert opened and opened[0].startswith("file://") and opened[0].endswith(".html")

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [(["none.nwb", "--save", "r.html"], "does not exist"), (["none.nwb", "--save", "r.docx"], "ends in .html")],
    )
    def test_command_refuses_in_a_sentence(self, arguments, sentence):
        done = CliRunner().invoke(main, ["view", *arguments])
        assert done.exit_code == 2
        assert sentence in done.output
