"""WidefieldInterface: components, frames and light sources as stored, each against its file."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from family_checks import check_valid, convert, differences_after
from hypothesis import given, settings
from hypothesis import strategies as st
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile

from ibl_nwb import ALFSession, IBLConverter, inspect_session
from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.widefield import WidefieldInterface
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify


def make_widefield(folder):
    return make_example_session(folder, probes=(), cameras=(), audio=False, n_trials=12, widefield=True)


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_widefield(tmp_path_factory.mktemp("widefield"))


def add(path, metadata=None, **options):
    nwbfile, interface = mock_NWBFile(), WidefieldInterface(path)
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile, interface


def functional_times(folder):
    """Times of the frames lit with 470 nm, the way IBL's users select them."""
    properties = pd.read_csv(folder / "imagingLightSource.properties.htsv")
    channel = properties.loc[properties["wavelength"] == 470, "channel_id"].item()
    return np.load(folder / "imaging.times.npy")[np.load(folder / "imaging.imagingLightSource.npy") == channel]


def check_widefield(nwbfile, folder):
    """Every array against its file."""
    ophys = nwbfile.processing["ophys"]
    components = ophys["ImageSegmentation"]["PlaneSegmentationWidefield"]
    stored = np.load(folder / "widefieldU.images.npy")
    masks = components["image_mask"].data
    assert masks.dtype == stored.dtype == np.float32
    for index in range(stored.shape[2]):
        assert_array_equal(masks[index].T, stored[:, :, index])
    times = np.load(folder / "imaging.times.npy")
    for container, name, attribute, own in (
        ("Fluorescence", "WidefieldSVTUncorrected", "uncorrected", times),
        ("DfOverF", "WidefieldSVTHaemoCorrected", "haemoCorrected", functional_times(folder)),
    ):
        series, values = ophys[container][name], np.load(folder / f"widefieldSVT.{attribute}.npy")
        assert series.data.dtype == values.dtype
        assert_array_equal(series.data[:], values.T)
        assert_array_equal(series.timestamps[:], own[: values.shape[1]])
        assert series.rois.table is components
        assert_array_equal(series.rois.data[:], np.arange(values.shape[0]))
    frames = ophys["WidefieldFrames"]
    assert_array_equal(frames["timestamp"].data[:], times)
    assert_array_equal(frames["light_source"].data[:], np.load(folder / "imaging.imagingLightSource.npy"))
    lights = ophys["WidefieldLightSources"]
    assert list(lights["color"].data[:]) == ["None", "Violet", "Blue"]
    assert_array_equal(lights["wavelength"].data[:], [0, 405, 470])
    averages = np.load(folder / "widefieldChannels.frameAverage.npy")
    for index, average in enumerate(averages):
        assert_array_equal(ophys["SegmentationImages"][f"WidefieldFrameAverage{index}"].data[:].T, average)


class TestWidefieldWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = WidefieldInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, session_path):
        cls.interface_kwargs = {"session_path": str(session_path)}
        cls.folder = session_path / "alf/widefield"

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        check_widefield(nwbfile, self.folder)
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_beside_a_foreign_interface_and_twice_in_a_row(session_path, tmp_path, backend):
    path = tmp_path / "file.nwb"
    nwbfile = convert(
        {"Widefield": (WidefieldInterface, {"session_path": str(session_path)})}, path, backend=backend, runs=2
    )
    check_widefield(nwbfile, session_path / "alf/widefield")
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


def test_whole_session_is_equal_to_its_source(tmp_path):
    session_path = make_widefield(tmp_path)
    folder = session_path / "alf/widefield"
    rng = np.random.default_rng(0)
    np.save(folder / "widefieldU.images_atlasTransformed.npy", rng.normal(size=(30, 20, 10)).astype(np.float32))
    np.save(folder / "widefieldU.brainLocationIds_ccf_2017.npy", rng.integers(0, 1000, (27, 32)))
    np.save(folder / "widefieldU.mask.npy", rng.random((27, 32)) < 0.5)
    np.save(folder / "subjectWidefieldU.mask_atlasTransformed.npy", rng.random((30, 20)) < 0.5)
    (session_path / "raw_widefield_data").mkdir()
    (session_path / "raw_widefield_data/imaging.frames.mov").write_bytes(b"a film")
    converter = IBLConverter.from_session(session_path, timezone="Europe/Lisbon")
    metadata = converter.get_metadata()
    metadata["Subject"].update(sex="F", species="Mus musculus", age="P100D")
    path = tmp_path / "file.nwb"
    converter.run_conversion(path, metadata=metadata, videos="copy")
    report = verify(path, session_path)
    assert report.differences == ()
    compared = {row.dataset.partition(":")[0] for row in report if row.status == "equal" and row.object}
    files = {d.relative_path for d in ALFSession(session_path).datasets if "widefield" in d.collection}
    assert len(files) == 13
    assert files <= compared
    assert (tmp_path / "file/OnePhotonSeriesWidefield.mov").read_bytes() == b"a film"
    check_valid(path)


def test_every_file_of_the_family_is_accounted_for(tmp_path):
    session_path = make_widefield(tmp_path)
    (session_path / "raw_widefield_data").mkdir()
    for name in (
        "imaging.frames.mov",
        "imaging.frames.dat",
        "widefieldEvents.raw.camlog",
        "widefieldChannels.wiring.htsv",
    ):
        (session_path / "raw_widefield_data" / name).touch()
    rows = {row.relative_path.rpartition("/")[2]: row for row in inspect_session(ALFSession(session_path))}
    assert rows["imaging.frames.mov"].status == "converted"
    assert "without a header" in rows["imaging.frames.dat"].reason
    assert "own clock" in rows["widefieldEvents.raw.camlog"].reason
    assert "line drives which light" in rows["widefieldChannels.wiring.htsv"].reason


class TestWritten:
    def test_film_is_the_product_of_the_components(self, session_path):
        """U · SVT made of the source and made of the NWB file."""
        folder = session_path / "alf/widefield"
        nwbfile, _ = add(session_path)
        ophys = nwbfile.processing["ophys"]
        masks = ophys["ImageSegmentation"]["PlaneSegmentationWidefield"]["image_mask"].data.data
        weights = ophys["Fluorescence"]["WidefieldSVTUncorrected"].data.data
        expected = np.load(folder / "widefieldU.images.npy") @ np.load(folder / "widefieldSVT.uncorrected.npy")[:, 17]
        np.testing.assert_allclose(np.tensordot(weights[17], masks, axes=1).T, expected, rtol=1e-4, atol=1e-5)

    def test_surplus_time_is_left_out_and_told(self, session_path):
        nwbfile, interface = add(session_path)
        (note,) = interface.notes
        assert "is of 600 frames and there are 601 times; the first 600 were used" in note
        assert note in nwbfile.processing["ophys"]["Fluorescence"]["WidefieldSVTUncorrected"].comments

    def test_light_sources_have_meanings(self, session_path):
        frames = add(session_path)[0].processing["ophys"]["WidefieldFrames"]
        table = frames.meanings_tables["light_source_meanings"]
        assert table["meaning"].data[2] == "color Blue, wavelength 470"

    def test_properties_separated_by_tabs(self, tmp_path):
        session_path = make_widefield(tmp_path)
        path = session_path / "alf/widefield/imagingLightSource.properties.htsv"
        path.write_text(path.read_text().replace(",", "\t"))
        lights = add(session_path)[0].processing["ophys"]["WidefieldLightSources"]
        assert_array_equal(lights["channel_id"].data, [0, 1, 2])
        assert lights["color"].data == ["None", "Violet", "Blue"]

    def test_one_light_source_has_no_corrected_components(self, tmp_path):
        session_path = make_widefield(tmp_path)
        folder = session_path / "alf/widefield"
        for name in ("widefieldSVT.haemoCorrected.npy", "imagingLightSource.properties.htsv"):
            (folder / name).unlink()
        ophys = add(session_path)[0].processing["ophys"]
        assert "DfOverF" not in ophys.data_interfaces
        assert_array_equal(
            ophys["Fluorescence"]["WidefieldSVTUncorrected"].timestamps, np.load(folder / "imaging.times.npy")[:-1]
        )
        assert not ophys["WidefieldFrames"].meanings_tables

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_temporal_components_alone(self, tmp_path, backend):
        session_path = make_widefield(tmp_path)
        (session_path / "alf/widefield/widefieldU.images.npy").unlink()
        instances = {"Widefield": (WidefieldInterface, {"session_path": str(session_path)})}
        nwbfile = convert(instances, tmp_path / "file.nwb", backend=backend)
        assert_array_equal(
            nwbfile.processing["ophys"]["DfOverF"]["WidefieldSVTHaemoCorrected"].data[:],
            np.load(session_path / "alf/widefield/widefieldSVT.haemoCorrected.npy").T,
        )
        nwbfile.read_io.close()

    def test_landmarks_are_kept(self, session_path):
        table = add(session_path)[0].processing["ophys"]["WidefieldLandmarks"]
        values = dict(zip(table["field"].data, map(json.loads, table["value"].data), strict=True))
        stored = json.loads((session_path / "alf/widefield/widefieldLandmarks.dorsalCortex.json").read_text())
        assert values["/transform/0/2"] == stored["transform"][0][2]
        assert values["/landmarks/name/3"] == stored["landmarks"]["name"][3]

    def test_plane_has_the_wavelength_of_the_functional_light(self, session_path):
        plane = add(session_path)[0].imaging_planes["ImagingPlaneWidefield"]
        assert plane.excitation_lambda == 470.0
        assert plane.indicator == "unknown"

    def test_users_metadata_are_written(self, session_path):
        metadata = WidefieldInterface(session_path).get_metadata()
        metadata["Ophys"]["ImagingPlanes"]["widefield"].update(indicator="GCaMP6f")
        metadata["Ophys"]["RoiResponses"]["widefield"]["dff"]["name"] = "Mine"
        nwbfile, _ = add(session_path, metadata)
        assert nwbfile.imaging_planes["ImagingPlaneWidefield"].indicator == "GCaMP6f"
        assert "Mine" in nwbfile.processing["ophys"]["DfOverF"].roi_response_series

    def test_stub(self, session_path):
        ophys = add(session_path, stub_test=True)[0].processing["ophys"]
        assert ophys["Fluorescence"]["WidefieldSVTUncorrected"].data.maxshape == (100, 10)
        assert len(ophys["WidefieldFrames"]) == 100

    @settings(max_examples=20, deadline=None)
    @given(lights=st.lists(st.sampled_from([0, 1, 2]), min_size=8, max_size=40), surplus=st.integers(0, 2))
    def test_corrected_frames_have_the_times_of_the_blue_ones(self, tmp_path_factory, lights, surplus):
        """In whatever order the light sources took turns."""
        folder = tmp_path_factory.mktemp("lights")
        (folder / "alf/widefield").mkdir(parents=True)
        n_frames = lights.count(2) - surplus
        if n_frames < 1:
            return
        files = {
            "imaging.times": np.cumsum(np.linspace(0.03, 0.04, len(lights))),
            "imaging.imagingLightSource": np.array(lights),
            "widefieldU.images": np.ones((2, 3, 4), dtype=np.float32),
            "widefieldSVT.haemoCorrected": np.ones((4, n_frames), dtype=np.float32),
        }
        for name, values in files.items():
            np.save(folder / f"alf/widefield/{name}.npy", values)
        properties = folder / "alf/widefield/imagingLightSource.properties.htsv"
        properties.write_text("channel_id,color,wavelength\n0,None,0\n1,Violet,405\n2,Blue,470\n")
        series = add(folder)[0].processing["ophys"]["DfOverF"]["WidefieldSVTHaemoCorrected"]
        expected = [time for time, light in zip(files["imaging.times"], lights, strict=True) if light == 2][:n_frames]
        if series.rate is None:
            assert_array_equal(series.timestamps, expected)
        else:
            np.testing.assert_allclose(series.starting_time + np.arange(n_frames) / series.rate, expected, atol=1e-6)


def test_large_components_are_never_in_memory_as_a_whole(tmp_path):
    """800 MB of spatial components, sparse on disk, are written by the buffer."""
    session_path = make_widefield(tmp_path)
    path = session_path / "alf/widefield/widefieldU.images.npy"
    large = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(2000, 10000, 10))
    del large
    converter = IBLConverter.from_session(session_path, include=["Widefield"], timezone="Europe/Lisbon")
    tracemalloc.start()
    converter.run_conversion(tmp_path / "file.nwb")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 600e6


class TestBadInput:
    @pytest.fixture
    def folder(self, tmp_path):
        return make_widefield(tmp_path) / "alf/widefield"

    def add(self, folder):
        add(folder.parents[1])

    @pytest.mark.parametrize("name", ["widefieldSVT.uncorrected.npy", "widefieldSVT.haemoCorrected.npy"])
    @pytest.mark.parametrize("n_frames", [7, 900])
    def test_times_of_other_frames(self, folder, name, n_frames):
        np.save(folder / name, np.zeros((10, n_frames), dtype=np.float32))
        with pytest.raises(DatasetInconsistentError, match=f"{name}' is of {n_frames} frames.*--exclude Widefield"):
            self.add(folder)

    def test_another_number_of_components(self, folder):
        np.save(folder / "widefieldU.images.npy", np.zeros((27, 32, 9), dtype=np.float32))
        with pytest.raises(
            DatasetInconsistentError, match="widefieldSVT.uncorrected.npy: 10.*widefieldU.images.npy: 9"
        ):
            self.add(folder)

    def test_light_sources_of_other_frames(self, folder):
        np.save(folder / "imaging.imagingLightSource.npy", np.ones(5, dtype=int))
        with pytest.raises(DatasetInconsistentError, match="imagingLightSource.npy: 5"):
            self.add(folder)

    @pytest.mark.parametrize("name", ["imaging.imagingLightSource.npy", "imagingLightSource.properties.htsv"])
    def test_corrected_components_without_what_tells_their_frames(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(DatasetMissingError, match="haemoCorrected.npy' is of the frames lit with 470 nm"):
            self.add(folder)

    def test_properties_without_wavelength(self, folder):
        (folder / "imagingLightSource.properties.htsv").write_text("channel_id,color\n1,Blue\n")
        with pytest.raises(DatasetInconsistentError, match="lacks the columns wavelength; it has channel_id, color"):
            self.add(folder)

    def test_components_of_another_shape(self, folder):
        np.save(folder / "widefieldU.images.npy", np.zeros((27, 32), dtype=np.float32))
        with pytest.raises(
            DatasetInconsistentError, match=r"shape \(27, 32\) instead of \(rows, columns, components\)"
        ):
            self.add(folder)

    def test_truncated_components(self, folder):
        path = folder / "widefieldU.images.npy"
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(DatasetUnreadableError, match="widefieldU.images"):
            self.add(folder)

    def test_times_that_go_backwards(self, folder):
        times = np.load(folder / "imaging.times.npy")
        times[3] = 0
        np.save(folder / "imaging.times.npy", times)
        with pytest.raises(DatasetInconsistentError, match="go backwards"):
            self.add(folder)

    def test_no_times(self, folder):
        (folder / "imaging.times.npy").unlink()
        with pytest.raises(DatasetMissingError, match="imaging.times.npy"):
            self.add(folder)

    def test_another_collection(self, folder):
        with pytest.raises(UsageError, match="alf/widefield"):
            WidefieldInterface(folder.parents[1], collection="alf/other")


class TestVerify:
    """Every planted damage is found."""

    @pytest.fixture(scope="class")
    @classmethod
    def converted(cls, tmp_path_factory):
        path = make_widefield(tmp_path_factory.mktemp("verify"))
        converter = IBLConverter.from_session(path, include=["Widefield"], timezone="Europe/Lisbon")
        nwbfile_path = path.parent / "file.nwb"
        converter.run_conversion(nwbfile_path)
        return nwbfile_path, path

    @staticmethod
    def transpose_a_component(ophys):
        masks = ophys["ImageSegmentation/PlaneSegmentationWidefield/image_mask"]
        masks[4] = masks[4][::-1]

    @staticmethod
    def swap_components(ophys):
        data = ophys["Fluorescence/WidefieldSVTUncorrected/data"]
        data[:, :2] = data[:, :2][:, ::-1]

    @staticmethod
    def flip_a_value(ophys):
        ophys["DfOverF/WidefieldSVTHaemoCorrected/data"][100, 3] *= -1

    @staticmethod
    def give_times_of_violet(ophys):
        times = ophys["WidefieldFrames/timestamp"][:]
        ophys["DfOverF/WidefieldSVTHaemoCorrected/timestamps"][:] = times[0:600:2]

    @staticmethod
    def swap_lights(ophys):
        column = ophys["WidefieldFrames/light_source"]
        column[:] = 3 - column[:]

    @staticmethod
    def change_a_wavelength(ophys):
        ophys["WidefieldLightSources/wavelength"][1] = 410

    @staticmethod
    def swap_averages(ophys):
        images = ophys["SegmentationImages"]
        images.move("WidefieldFrameAverage0", "x")
        images.move("WidefieldFrameAverage1", "WidefieldFrameAverage0")
        images.move("x", "WidefieldFrameAverage1")

    @staticmethod
    def change_a_landmark(ophys):
        ophys["WidefieldLandmarks/value"][5] = "1.25"

    @pytest.mark.parametrize(
        ("damage", "where"),
        {
            "transpose_a_component": "PlaneSegmentationWidefield/image_mask",
            "swap_components": "WidefieldSVTUncorrected/data",
            "flip_a_value": "WidefieldSVTHaemoCorrected/data",
            "give_times_of_violet": "WidefieldSVTHaemoCorrected/timestamps",
            "swap_lights": "WidefieldFrames/light_source",
            "change_a_wavelength": "WidefieldLightSources/wavelength",
            "swap_averages": "SegmentationImages/WidefieldFrameAverage0",
            "change_a_landmark": "WidefieldLandmarks/value",
        }.items(),
    )
    def test_damage_is_found(self, converted, tmp_path, damage, where):
        differences = differences_after(
            lambda file: getattr(self, damage)(file["processing/ophys"]), *converted, tmp_path
        )
        assert any(row.object.endswith(where) for row in differences)

    def test_nothing_is_found_where_nothing_is_damaged(self, converted):
        assert verify(*converted).differences == ()
