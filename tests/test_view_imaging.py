"""Figures of photometry, two-photon and widefield imaging and the passive period show what the ALF files hold."""

import shutil
import time

import h5py
import numpy as np
import pandas as pd
import pytest
from hdmf.common import DynamicTable, VectorData
from hypothesis import given
from hypothesis import strategies as st
from ndx_fiber_photometry import FiberPhotometryResponseSeries
from numpy.testing import assert_allclose, assert_array_equal
from pynwb import NWBHDF5IO, TimeSeries, read_nwb
from pynwb.ophys import Fluorescence, ImageSegmentation, RoiResponseSeries
from pynwb.testing.mock.file import mock_NWBFile
from pynwb.testing.mock.ophys import mock_ImagingPlane

from ibl_nwb import convert_document, make_document
from ibl_nwb.errors import UsageError
from ibl_nwb.testing import make_example_session

pytest.importorskip("matplotlib", reason="matplotlib is not installed (ibl-nwb[view])")

from ibl_nwb import view
from ibl_nwb.view.contents import read_spans, spans_around
from ibl_nwb.view.measures import mean_and_error, values_around
from ibl_nwb.view.photometry import tables_of_photometry

FAMILIES = ["Trials", "Photometry", "Mesoscope", "Widefield", "Passive"]
PLOTS = [view.plot_photometry, view.plot_mesoscope, view.plot_widefield, view.plot_passive]
ROIS = ("Region0G", "Region1G", "Region2G")


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("imaging"),
        probes=("probe00",),
        n_channels=8,
        raw_bands=(),
        cameras=(),
        audio=False,
        n_trials=30,
        n_clusters=3,
        spikes_per_probe=100,
        photometry=True,
        n_fovs=2,
        widefield=True,
    )


def write(session_path, folder, include=FAMILIES, **options):
    document = make_document(session_path, timezone="UTC", include=include)
    return convert_document(document, folder, **options).nwbfile_path


@pytest.fixture(scope="module")
def nwbfile(session_path, tmp_path_factory):
    opened = read_nwb(write(session_path, tmp_path_factory.mktemp("written") / "x.nwb"))
    yield opened
    opened.get_read_io().close()


@pytest.fixture(scope="module")
def alf_trials(session_path):
    return pd.read_parquet(session_path / "alf/#2024-02-20#/_ibl_trials.table.pqt")  # the newest revision


@pytest.fixture(scope="module")
def frames(session_path):
    return pd.read_parquet(session_path / "alf/photometry/photometry.signal.pqt")


def titled(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def colored(axes, color, style="-"):
    """The first line of a colour and style."""
    return next(line for line in axes.lines if line.get_color() == color and line.get_linestyle() == style)


def legend_color(figure, label):
    (legend,) = figure.legends
    return next(line.get_color() for line in legend.get_lines() if line.get_label().startswith(label))


def around(times, values, events, offsets):
    """Rows of interpolated values, one for each event that is all in the recording."""
    found = [np.interp(event + offsets, times, values) for event in events]
    inside = [times[0] <= event + offsets[0] and event + offsets[-1] <= times[-1] for event in events]
    return np.array(found)[inside]


class TestPhotometry:
    @pytest.mark.parametrize("light", ["Isosbestic", "GCaMP"])
    @pytest.mark.parametrize("column", range(3))
    def test_traces_are_those_of_the_alf_table(self, nwbfile, frames, light, column):
        figure = view.plot_photometry(nwbfile)
        line = colored(figure.axes[3 * column], legend_color(figure, light))
        expected = frames[frames["name"] == light]
        assert 0 < len(line.get_xdata()) <= 3000
        step = -(-len(expected) // 3000)
        assert_allclose(line.get_xdata(), expected["times"][::step] / 60)
        assert_array_equal(line.get_ydata(), expected[ROIS[column]][::step])

    @pytest.mark.parametrize(("place", "style"), [(1, "-"), (2, "-"), (2, "--")])
    def test_means_around_events_are_those_of_the_alf_trials(self, nwbfile, frames, alf_trials, place, style):
        figure = view.plot_photometry(nwbfile)
        line = colored(figure.axes[3 + place], legend_color(figure, "GCaMP"), style)
        if place == 1:
            events = alf_trials["stimOn_times"].dropna()
        else:
            events = alf_trials["feedback_times"][(alf_trials["feedbackType"] == 1) == (style == "-")]
        of_light = frames[frames["name"] == "GCaMP"]
        offsets = np.linspace(-1, 3, 121)
        rows = around(of_light["times"].to_numpy(), of_light["Region1G"].to_numpy(), events, offsets)
        before = rows[:, offsets < 0].mean(axis=1)
        assert len(rows) == len(events) > 2
        assert_allclose(line.get_xdata(), offsets)
        assert_allclose(line.get_ydata(), (100 * (rows.T / before - 1)).mean(axis=1), rtol=1e-6, atol=1e-9)

    def test_rows_are_named_by_fiber_and_region(self, nwbfile, session_path):
        locations = pd.read_parquet(session_path / "alf/photometry/photometryROI.locations.pqt")
        figure = view.plot_photometry(nwbfile)
        titles = [axes.get_title(loc="left") for axes in figure.axes[::3]]
        assert titles == [f"{roi}: {row.fiber}, {row.brain_region}" for roi, row in locations.iterrows()]
        assert legend_color(figure, "GCaMP, 470 nm") != legend_color(figure, "Isosbestic, 415 nm")

    def test_each_recording_is_shown_with_its_own_series(self):
        nwbfile = mock_NWBFile()
        for label in ("", "Alf", "Other"):  # the last one has too few frames for a series
            row = {"roi": f"G0{label}", "fiber": "f", "brain_region": "DMS", "series_column": 0}
            columns = [VectorData(name=name, description=name, data=[value]) for name, value in row.items()]
            table = DynamicTable(name=f"FiberPhotometryROIs{label}", description="x", columns=columns)
            nwbfile.add_acquisition(table)
        for label in ("", "Alf"):
            series = FiberPhotometryResponseSeries(
                name=f"FiberPhotometryGCaMP{label}", description="x", data=np.ones((9, 1)), unit="a.u.", rate=1.0
            )
            nwbfile.add_acquisition(series)
        assert tables_of_photometry(nwbfile) == ["FiberPhotometryROIs", "FiberPhotometryROIsAlf"]
        for label in ("", "Alf"):
            figure = view.plot_photometry(nwbfile, table=f"FiberPhotometryROIs{label}")
            assert figure.axes[0].get_title(loc="left") == f"G0{label}: f, DMS"
            assert [text.get_text() for text in figure.legends[0].get_texts()] == ["GCaMP"]
            assert [text.get_text() for text in figure.axes[1].texts] == ["This file has no trials."]


class TestMesoscope:
    @pytest.mark.parametrize("fov", ["FOV_00", "FOV_01"])
    def test_masks_lie_on_the_mean_image_in_the_colour_of_their_type(self, nwbfile, session_path, fov):
        import sparse

        folder = session_path / "alf" / fov
        axes = titled(view.plot_mesoscope(nwbfile), fov.replace("_", ""))
        image, overlay = (np.asarray(shown.get_array()) for shown in axes.images)
        assert_array_equal(image, np.load(folder / "mpciMeanImage.images.npy"))
        masks = sparse.load_npz(folder / "mpciROIs.masks.sparse_npz").todense() != 0
        assert_array_equal(overlay[..., 3] > 0, masks.any(axis=0))
        cells = np.load(folder / "mpciROIs.mpciROITypes.npy") == 1
        only_cells = masks[cells].any(axis=0) & ~masks[~cells].any(axis=0)
        only_others = masks[~cells].any(axis=0) & ~masks[cells].any(axis=0)
        (of_cells,), (of_others,) = (np.unique(overlay[chosen], axis=0) for chosen in (only_cells, only_others))
        assert not np.array_equal(of_cells, of_others)
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == [f"no cell ({(~cells).sum()})", f"cell ({cells.sum()})"]

    def test_fluorescence_is_that_of_the_seconds_that_are_asked_for(self, nwbfile, session_path):
        folder = session_path / "alf/FOV_01"
        times = np.load(folder / "mpci.times.npy")
        fluorescence = np.load(folder / "mpci.ROIActivityF.npy").astype(float)
        cells = np.load(folder / "mpciROIs.mpciROITypes.npy") == 1
        shown_rows = (times >= 20) & (times < 40)
        expected = fluorescence[shown_rows][:, cells]
        axes = view.plot_mesoscope(nwbfile, fov="FOV01", start_s=20, duration_s=20).axes[1]
        mesh = axes.collections[0]
        assert_allclose(mesh.get_array(), ((expected - expected.mean(axis=0)) / expected.std(axis=0)).T)
        assert_allclose(mesh.get_coordinates()[0, :-1, 0], times[shown_rows])

    def test_a_pause_stays_empty(self, nwbfile, session_path):
        times = np.load(session_path / "alf/FOV_00/mpci.times.npy")
        start = int(np.argmax(np.diff(times)))
        axes = view.plot_mesoscope(nwbfile, fov="FOV00", start_s=times[start] - 10, duration_s=30).axes[1]
        shown = np.ma.masked_invalid(axes.collections[0].get_array())
        edges = axes.collections[0].get_coordinates()[0, :, 0]
        (empty,) = np.flatnonzero(shown.mask.all(axis=0))
        assert times[start] < edges[empty] < times[start] + 0.5
        assert edges[empty + 1] == pytest.approx(times[start + 1])

    def test_every_field_of_view_is_shown(self, nwbfile):
        titles = [axes.get_title(loc="left") for axes in view.plot_mesoscope(nwbfile).axes]
        assert [title for title in titles if title.startswith("FOV")] == ["FOV00: 12 ROIs", "FOV01: 12 ROIs"]


def functional_rows(folder, n_frames):
    """Frames lit with 470 nm among the first so many."""
    properties = pd.read_csv(folder / "imagingLightSource.properties.htsv")
    channel = properties.loc[properties["wavelength"] == 470, "channel_id"].item()
    return np.flatnonzero(np.load(folder / "imaging.imagingLightSource.npy")[:n_frames] == channel)


class TestWidefield:
    def test_images_are_those_of_the_alf_files(self, nwbfile, session_path):
        folder = session_path / "alf/widefield"
        figure = view.plot_widefield(nwbfile)
        for channel, average in enumerate(np.load(folder / "widefieldChannels.frameAverage.npy")):
            shown = titled(figure, f"Mean of the frames of channel {channel}").images[0].get_array()
            assert_array_equal(shown, average)
        components = np.load(folder / "widefieldU.images.npy")
        for number in range(4):
            shown = titled(figure, f"Component {number}").images[0].get_array()
            assert_array_equal(shown, components[..., number])

    def test_time_courses_are_the_corrected_ones(self, nwbfile, session_path):
        folder = session_path / "alf/widefield"
        corrected = np.load(folder / "widefieldSVT.haemoCorrected.npy")
        times = np.load(folder / "imaging.times.npy")[functional_rows(folder, 600)]
        line = titled(view.plot_widefield(nwbfile, start_s=15, duration_s=6), "Time courses").lines[0]
        chosen = (times >= 15) & (times < 21)
        assert chosen.sum() > 80
        assert_allclose(line.get_xdata(), times[chosen])
        assert_allclose(line.get_ydata(), corrected[0][chosen])

    def test_means_around_the_stimulus_are_those_of_the_alf_trials(self, nwbfile, session_path, alf_trials):
        folder = session_path / "alf/widefield"
        times = np.load(folder / "imaging.times.npy")[functional_rows(folder, 600)]
        values = np.load(folder / "widefieldSVT.haemoCorrected.npy")[0].astype(float)
        offsets = np.linspace(-0.5, 1.5, 81)
        rows = around(times, values, alf_trials["stimOn_times"].dropna(), offsets)
        expected = (rows.T - rows[:, offsets < 0].mean(axis=1)).mean(axis=1)
        axes = titled(view.plot_widefield(nwbfile), f"Mean of {len(rows)} trials")
        assert len(rows) > 2
        assert_allclose(axes.lines[0].get_ydata(), expected, atol=1e-6)

    def test_without_a_correction_only_functional_frames_are_shown(self, session_path, tmp_path):
        copied = tmp_path / session_path.relative_to(session_path.parents[4])
        shutil.copytree(session_path, copied)
        folder = copied / "alf/widefield"
        (folder / "widefieldSVT.haemoCorrected.npy").unlink()
        uncorrected = np.load(folder / "widefieldSVT.uncorrected.npy")
        rows = functional_rows(folder, uncorrected.shape[1])
        path = write(copied, tmp_path / "x.nwb", ["Widefield"])
        figure = view.plot_widefield(path, start_s=0, duration_s=100)
        line = titled(figure, "Time courses, uncorrected, frames of 470 nm").lines[0]
        assert_allclose(line.get_xdata(), np.load(folder / "imaging.times.npy")[rows])
        assert_allclose(line.get_ydata(), uncorrected[0][rows])


class TestPassive:
    def test_periods_are_on_the_time_line(self, nwbfile, session_path):
        periods = pd.read_csv(session_path / "alf/_ibl_passivePeriods.intervalsTable.csv", index_col=0)
        axes = titled(view.plot_passive(nwbfile), "On the time line")
        names = [label.get_text() for label in axes.get_yticklabels()]
        for period in periods.columns:
            (path,) = axes.collections[names.index(period)].get_paths()
            assert_allclose([path.vertices[:, 0].min(), path.vertices[:, 0].max()], periods[period] / 60)

    def test_patches_are_those_of_the_alf_table(self, nwbfile, session_path):
        gabor = pd.read_csv(session_path / "alf/_ibl_passiveGabor.table.csv", index_col=0)
        axes = titled(view.plot_passive(nwbfile), f"{len(gabor)} Gabor patches")
        labels = [float(label.get_text().replace("−", "-")) for label in axes.get_yticklabels()]
        for side, shown in zip((-1, 1), axes.collections, strict=True):
            expected = gabor[np.sign(gabor["position"]) == side]
            onsets, levels = shown.get_offsets().T
            assert_allclose(onsets, expected["start"])
            assert_allclose([labels[int(level)] for level in levels], 100 * side * expected["contrast"])

    @pytest.mark.parametrize(("row", "kind"), [(0, "noise"), (1, "tone"), (2, "valve")])
    def test_replay_is_that_of_the_alf_table(self, nwbfile, session_path, row, kind):
        stims = pd.read_csv(session_path / "alf/_ibl_passiveStims.table.csv", index_col=0)
        axes = titled(view.plot_passive(nwbfile), "Replayed stimuli")
        segments = np.array(axes.collections[row].get_segments())
        assert axes.get_yticklabels()[row].get_text().startswith(kind)
        assert_allclose(segments[:, :, 0], stims[[f"{kind}On", f"{kind}Off"]].dropna())

    def test_frames_are_those_of_the_rig_at_their_times(self, nwbfile, session_path):
        stored = np.fromfile(session_path / "raw_passive_data/_iblrig_RFMapStim.raw.bin", "uint8").reshape(-1, 15, 15)
        times = np.load(session_path / "alf/_ibl_passiveRFM.times.npy")
        figure = view.plot_passive(nwbfile, start_s=times[100])
        for number, axes in enumerate(figure.axes[-8:], 100):
            assert axes.get_title(loc="left") == f"{times[number]:.3f} s"
            assert_array_equal(axes.images[0].get_array(), stored[number].T)

    def test_times_without_frames_are_on_the_time_line(self, session_path, tmp_path):
        copied = tmp_path / session_path.relative_to(session_path.parents[4])
        shutil.copytree(session_path, copied)
        (copied / "raw_passive_data/_iblrig_RFMapStim.raw.bin").unlink()
        figure = view.plot_passive(write(copied, tmp_path / "x.nwb", ["Passive"]))
        times = np.load(copied / "alf/_ibl_passiveRFM.times.npy")
        axes = titled(figure, "On the time line")
        names = [label.get_text() for label in axes.get_yticklabels()]
        (path,) = axes.collections[names.index("ReceptiveFieldFrames")].get_paths()
        assert_allclose([path.vertices[:, 0].min(), path.vertices[:, 0].max()], times[[0, -1]] / 60)
        assert any("no frames of the receptive field" in text.get_text() for text in figure.axes[-1].texts)


def test_zarr_files_are_shown_too(session_path, tmp_path):
    path = write(session_path, tmp_path / "x.nwb.zarr", backend="zarr")
    for plot in PLOTS:
        assert plot(path).message is None


@pytest.mark.parametrize(
    ("plot", "options", "way_out"),
    [
        (view.plot_photometry, {"table": "FiberPhotometryROIsAlf"}, "FiberPhotometryROIs"),
        (view.plot_mesoscope, {"fov": "FOV07"}, "FOV00, FOV01"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(plot, options, way_out, nwbfile):
    with pytest.raises(UsageError, match=f"Choose one of {way_out}"):
        plot(nwbfile, **options)


class TestNumbers:
    @given(
        st.lists(st.floats(-5, 25), max_size=6),
        st.booleans(),
        st.integers(1, 40),
    )
    def test_spans_hold_every_row_around_an_event_once(self, events, is_regular, chunk):
        events, window = np.array(events), (-0.5, 1.0)
        times = np.arange(100) / 5.0
        timing = {"starting_time": 0.0, "rate": 5.0} if is_regular else {"timestamps": times}
        series = TimeSeries(name="x", data=np.arange(100.0), unit="V", **timing)
        spans = spans_around(series, events, window)
        rows = read_spans(series, spans) if spans else None
        found = np.empty(0) if rows is None else rows.times
        assert (np.diff(found) > 0).all()
        wanted = [t for t in times if any(event - 0.5 <= t <= event + 1 for event in events)]
        assert set(np.round(wanted, 6)) <= set(np.round(found, 6))
        if rows is not None:
            assert_allclose(rows.data, 5 * rows.times)

    def test_values_outside_the_recording_are_nan(self):
        times, values = np.array([0.0, 2.0]), np.array([[1.0], [5.0]])
        values = values_around(times, values, np.array([1.0]), np.array([-2.0, 0.0, 0.5]))
        assert_array_equal(values[0, :, 0], [np.nan, 3.0, 4.0])

    def test_mean_and_error_leave_nan_out(self):
        values = np.array([[1.0, np.nan], [2.0, np.nan], [6.0, 4.0]])
        mean, error = mean_and_error(values)
        assert_allclose(mean, [3.0, 4.0])
        assert_allclose(error, [np.std([1, 2, 6], ddof=1) / np.sqrt(3), np.nan])


@pytest.fixture(scope="module")
def huge_path(tmp_path_factory):
    """A file with 1,000 trials and a terabyte of imaging, none of which takes room on the disk."""
    path = tmp_path_factory.mktemp("huge") / "x.nwb"
    nwbfile = mock_NWBFile()
    for name in ("stim_on_time", "feedback_time", "feedback_type"):
        nwbfile.add_trial_column(name, name)
    for trial in range(1000):
        start = 100.0 + 5 * trial
        outcome = 1 if trial % 2 else -1
        nwbfile.add_trial(start, start + 4, stim_on_time=start, feedback_time=start + 1, feedback_type=outcome)
    module = nwbfile.create_processing_module("ophys", "imaging")
    plane = mock_ImagingPlane(nwbfile=nwbfile)
    segmentation, fluorescence = ImageSegmentation(), Fluorescence()
    module.add(segmentation)
    module.add(fluorescence)
    responses = (("FOV00", "RoiResponseSeriesFOV00", 3000), ("Widefield", "WidefieldSVTUncorrected", 200))
    for fov, series, n_rois in responses:
        table = segmentation.create_plane_segmentation("ROIs", plane, f"PlaneSegmentation{fov}")
        for _ in range(n_rois):
            if fov == "FOV00":
                table.add_roi(pixel_mask=[(1, 2, 1.0)])
            else:
                table.add_roi(image_mask=np.ones((6, 5), "float32"))
        region = table.create_roi_table_region("all", region=list(range(n_rois)))
        data = np.zeros((4, n_rois), "float32")
        fluorescence.add_roi_response_series(
            RoiResponseSeries(name=series, data=data, unit="n.a.", rois=region, starting_time=0.0, rate=5.0)
        )
    nwbfile.add_acquisition(
        FiberPhotometryResponseSeries(
            name="FiberPhotometryGCaMP",
            description="x",
            data=np.zeros((4, 3)),
            unit="a.u.",
            starting_time=0.0,
            rate=30.0,
        )
    )
    with NWBHDF5IO(path, "w") as io:
        io.write(nwbfile)
    with h5py.File(path, "r+") as file:
        for series in (
            file["processing/ophys/Fluorescence/RoiResponseSeriesFOV00"],
            file["processing/ophys/Fluorescence/WidefieldSVTUncorrected"],
            file["acquisition/FiberPhotometryGCaMP"],
        ):
            attributes, old = dict(series["data"].attrs), series["data"]
            shape, dtype = (100_000_000, old.shape[1]), old.dtype
            del series["data"]
            data = series.create_dataset("data", shape, dtype, chunks=(5000, old.shape[1]), compression="gzip")
            data.attrs.update(attributes)
    return path


def test_of_a_huge_file_only_what_is_shown_is_read(huge_path, monkeypatch):
    read = []
    original = h5py.Dataset.__getitem__

    def counting(dataset, *args, **kwargs):
        values = original(dataset, *args, **kwargs)
        read.append(np.asarray(values).nbytes)
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    began = time.perf_counter()
    assert len(view.plot_mesoscope(huge_path).axes[1].get_yticks()) == 6
    assert view.plot_widefield(huge_path).message is None
    figure = view.plot_photometry(huge_path)
    assert figure.axes[1].get_title(loc="left") == "Stimulus onset, 250 trials"
    assert time.perf_counter() - began < 30
    assert 0 < sum(read) < 10_000_000


def test_a_field_of_view_without_activity_or_masks_says_so():
    nwbfile = mock_NWBFile()
    module = nwbfile.create_processing_module("ophys", "imaging")
    segmentation = ImageSegmentation()
    module.add(segmentation)
    table = segmentation.create_plane_segmentation("ROIs", mock_ImagingPlane(nwbfile=nwbfile), "PlaneSegmentationFOV00")
    table.add_roi(image_mask=np.ones((3, 3)))
    figure = view.plot_mesoscope(nwbfile)
    sentences = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sentences == [
        "Neither mean image nor masks are in this file.",
        "The activity of these ROIs is not in this file.",
    ]
