"""MesoscopeInterface: activity, masks, attributes and images of a field of view, each against its file."""

import csv
import json

import numpy as np
import pytest
import sparse
from family_checks import check_valid, convert, differences_after
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_allclose, assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile

from ibl_nwb import ALFSession, IBLConverter, inspect_session
from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.mesoscope import MesoscopeInterface
from ibl_nwb.interfaces.roi_masks import load_masks
from ibl_nwb.session import Dataset
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify

N_ROIS = 12
ACTIVITY = {
    "RoiResponseSeries": "mpci.ROIActivityF",
    "Neuropil": "mpci.ROINeuropilActivityF",
    "Deconvolved": "mpci.ROIActivityDeconvolved",
}


def make_fovs(folder, n_fovs=1, **arguments):
    return make_example_session(folder, probes=(), cameras=(), audio=False, n_trials=12, n_fovs=n_fovs, **arguments)


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_fovs(tmp_path_factory.mktemp("mesoscope"), 2)


def dense_masks(path):
    """Masks as IBL's users read them: by the package sparse, made dense."""
    return sparse.load_npz(path).todense()


def check_fov(nwbfile, session_path, name):
    """Every array of a field of view against its file."""
    alf, label = session_path / "alf" / name, name.replace("_", "")
    ophys = nwbfile.processing["ophys"]
    fluorescence, segmentation = ophys["Fluorescence"], ophys["ImageSegmentation"]
    rois, neuropil = segmentation[f"PlaneSegmentation{label}"], segmentation[f"NeuropilSegmentation{label}"]
    for series_name, dataset in ACTIVITY.items():
        series, stored = fluorescence[f"{series_name}{label}"], np.load(alf / f"{dataset}.npy")
        assert series.data.dtype == stored.dtype == np.float32
        assert_array_equal(series.data[:], stored)
        assert_array_equal(series.timestamps[:], np.load(alf / "mpci.times.npy"))
        assert series.rois.table is (neuropil if series_name == "Neuropil" else rois)
        assert_array_equal(series.rois.data[:], np.arange(N_ROIS))
    for table, attribute in ((rois, "masks"), (neuropil, "neuropilMasks")):
        stored = dense_masks(alf / f"mpciROIs.{attribute}.sparse_npz")
        for roi in range(N_ROIS):
            image = np.zeros(stored.shape[1:], dtype=stored.dtype)
            for x, y, weight in table["pixel_mask"][roi]:
                image[y, x] = weight
            assert_array_equal(image, stored[roi])
    for column, attribute in (
        ("stack_pos", "stackPos"),
        ("cell_classifier", "cellClassifier"),
        ("mpci_roi_types", "mpciROITypes"),
        ("mlapdv_estimate", "mlapdv_estimate"),
        ("brain_location_ids_ccf_2017_estimate", "brainLocationIds_ccf_2017_estimate"),
    ):
        stored = np.load(alf / f"mpciROIs.{attribute}.npy")
        assert rois[column].data.dtype == stored.dtype
        assert_array_equal(rois[column].data[:], stored)
    with (alf / "mpciROIs.uuids.csv").open(newline="") as file:
        assert list(rois["uuids"].data[:]) == [row["uuids"] for row in csv.DictReader(file)]
    mean = ophys["SegmentationImages"][f"MeanImage{label}"]
    assert_array_equal(mean.data[:].T, np.load(alf / "mpciMeanImage.images.npy"))
    anatomy = ophys[f"AnatomicalCoordinates{label}"]
    stored = np.load(alf / "mpciMeanImage.mlapdv_estimate.npy")
    for index, axis in enumerate(("ml", "ap", "dv")):
        assert_array_equal(anatomy[f"{axis}_estimate"].data[:].T, stored[:, :, index])
    frames = ophys[f"ImagingFrames{label}"]
    assert_array_equal(frames["bad_frames"].data[:], np.load(alf / "mpci.badFrames.npy"))


class TestMesoscopeWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = MesoscopeInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, session_path):
        cls.interface_kwargs = {"session_path": str(session_path), "fov_name": "FOV_00"}
        cls.folder = session_path

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        check_fov(nwbfile, self.folder, "FOV_00")
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_fields_of_view_beside_a_foreign_interface(session_path, tmp_path, backend):
    instances = {
        name: (MesoscopeInterface, {"session_path": str(session_path), "fov_name": name})
        for name in ("FOV_00", "FOV_01")
    }
    path = tmp_path / "file.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    for name in instances:
        check_fov(nwbfile, session_path, name)
    assert sorted(nwbfile.imaging_planes) == ["ImagingPlaneFOV00", "ImagingPlaneFOV01"]
    assert {plane.device.name for plane in nwbfile.imaging_planes.values()} == {"Mesoscope"}
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


def test_whole_session_is_equal_to_its_source(session_path, tmp_path):
    converter = IBLConverter.from_session(session_path, timezone="Europe/Lisbon")
    assert {"MesoscopeFOV00", "MesoscopeFOV01"} <= set(converter.data_interface_objects)
    metadata = converter.get_metadata()
    metadata["Subject"].update(sex="F", species="Mus musculus", age="P100D")
    converter.run_conversion(tmp_path / "file.nwb", metadata=metadata)
    report = verify(tmp_path / "file.nwb", session_path)
    assert report.differences == ()
    compared = {row.dataset.partition(":")[0] for row in report if row.status == "equal" and row.object}
    files = {d.relative_path for d in ALFSession(session_path).datasets if d.collection.startswith("alf/FOV")}
    assert files <= compared


def test_no_file_is_unaccounted_for(session_path):
    rows = [r for r in inspect_session(ALFSession(session_path)) if r.relative_path.startswith(("alf/FOV", "raw_imag"))]
    assert len(rows) > 40
    assert [r.relative_path for r in rows if r.status == "not converted"] == [
        "raw_imaging_data_00/rawImagingData.times_scanImage.npy"
    ]
    assert all("yet" not in r.reason for r in rows)


class TestWritten:
    def add(self, path, fov_name="FOV_00", metadata=None, **options):
        nwbfile = mock_NWBFile()
        interface = MesoscopeInterface(path, fov_name=fov_name)
        interface.add_to_nwbfile(nwbfile, metadata, **options)
        return nwbfile, interface

    def rois(self, nwbfile, label="FOV00"):
        return nwbfile.processing["ophys"]["ImageSegmentation"][f"PlaneSegmentation{label}"]

    def test_time_shift_is_that_of_the_row_of_the_centre(self, session_path):
        nwbfile, _ = self.add(session_path)
        shifts = np.load(session_path / "alf/FOV_00/mpciStack.timeshift.npy")
        rows = np.load(session_path / "alf/FOV_00/mpciROIs.stackPos.npy")[:, 0]
        assert_array_equal(self.rois(nwbfile)["roi_timeshift"].data, [shifts[row] for row in rows])
        assert_array_equal(nwbfile.processing["ophys"]["ScanLinesFOV00"]["timeshift"].data, shifts)
        assert "roi_timeshift" not in self.rois(self.add(session_path, write_roi_timeshift=False)[0]).colnames

    def test_histology_and_estimate_are_kept_apart(self, session_path):
        nwbfile, _ = self.add(session_path, "FOV_01")
        rois, alf = self.rois(nwbfile, "FOV01"), session_path / "alf/FOV_01"
        assert_array_equal(rois["mlapdv"].data, np.load(alf / "mpciROIs.mlapdv.npy"))
        assert_allclose(rois["mlapdv"].data - rois["mlapdv_estimate"].data, 40.0)
        anatomy = nwbfile.processing["ophys"]["AnatomicalCoordinatesFOV01"]
        stored = np.load(alf / "mpciMeanImage.brainLocationIds_ccf_2017.npy")
        assert_array_equal(anatomy["brain_location_id"].data.T, stored)
        assert anatomy["brain_location_id"].data.dtype == stored.dtype

    def test_plane_is_in_the_area_of_most_rois(self, session_path):
        assert self.add(session_path)[0].imaging_planes["ImagingPlaneFOV00"].location == "VISp"

    def test_codes_have_meanings(self, session_path):
        nwbfile, _ = self.add(session_path, "FOV_01")
        table = self.rois(nwbfile, "FOV01").meanings_tables["mpci_roi_types_meanings"]
        assert dict(zip(table["value"].data, table["meaning"].data, strict=True)) == {0: "no cell", 1: "cell"}
        frames = nwbfile.processing["ophys"]["ImagingFramesFOV01"]
        assert frames.meanings_tables["frame_qc_meanings"]["meaning"].data == ["ok", "PMT off", "galvos fault"]

    def test_what_the_microscope_says_is_kept_once(self, session_path):
        nwbfile, _ = self.add(session_path)
        MesoscopeInterface(session_path, fov_name="FOV_01").add_to_nwbfile(nwbfile)
        table = nwbfile.analysis["RawImagingMeta00"]
        values = dict(zip(table["field"].data, map(json.loads, table["value"].data), strict=True))
        meta = json.loads((session_path / "raw_imaging_data_00/_ibl_rawImagingData.meta.json").read_text())
        assert values["/FOV/1/nXnYnZ/1"] == meta["FOV"][1]["nXnYnZ"][1]
        assert values["/scanImageParams/scannerFrequency"] == 12018.5

    def test_stub(self, session_path):
        nwbfile, _ = self.add(session_path, stub_test=True)
        series = nwbfile.processing["ophys"]["Fluorescence"]["RoiResponseSeriesFOV00"]
        assert series.data.maxshape == (100, N_ROIS)
        assert len(nwbfile.processing["ophys"]["ImagingFramesFOV00"]) == 100

    def test_users_metadata_are_written(self, session_path):
        interface = MesoscopeInterface(session_path, fov_name="FOV_00")
        metadata = interface.get_metadata()
        ophys = metadata["Ophys"]
        ophys["ImagingPlanes"]["mesoscope_fov00"].update(
            indicator="GCaMP6s", excitation_lambda=920.0, imaging_rate=5.08
        )
        ophys["ImagingPlanes"]["mesoscope_fov00"]["optical_channel"] = [{"name": "Green", "emission_lambda": 525.0}]
        ophys["RoiResponses"]["mesoscope_fov00"]["raw"]["name"] = "Mine"
        metadata["Devices"]["mesoscope"]["name"] = "Bay3"
        interface.validate_metadata({**metadata, "NWBFile": {"session_start_time": "2023-05-18T10:00:00+00:00"}})
        nwbfile, _ = self.add(session_path, metadata=metadata)
        plane = nwbfile.imaging_planes["ImagingPlaneFOV00"]
        assert (plane.indicator, plane.excitation_lambda, plane.device.name) == ("GCaMP6s", 920.0, "Bay3")
        assert (plane.optical_channel[0].name, plane.optical_channel[0].emission_lambda) == ("Green", 525.0)
        assert "Mine" in nwbfile.processing["ophys"]["Fluorescence"].roi_response_series

    def test_what_is_not_known_is_said_to_be(self, session_path):
        plane = self.add(session_path)[0].imaging_planes["ImagingPlaneFOV00"]
        assert plane.indicator == "unknown"
        assert np.isnan(plane.excitation_lambda)

    def test_only_the_required_datasets(self, tmp_path):
        (tmp_path / "alf/FOV_03").mkdir(parents=True)
        np.save(tmp_path / "alf/FOV_03/mpci.times.npy", np.array([0.0, 0.2, 0.5]))
        np.save(tmp_path / "alf/FOV_03/mpci.ROIActivityDeconvolved.npy", np.ones((3, 2), dtype=np.float32))
        nwbfile, interface = self.add(tmp_path, "FOV_03")
        assert list(nwbfile.processing["ophys"]["Fluorescence"].roi_response_series) == ["DeconvolvedFOV03"]
        assert interface.notes == ["The masks of the ROIs of FOV_03 are not in the session."]
        assert nwbfile.imaging_planes["ImagingPlaneFOV03"].location == "unknown"

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_roi_without_a_pixel_is_written(self, tmp_path, backend):
        (tmp_path / "alf/FOV_00").mkdir(parents=True)
        np.save(tmp_path / "alf/FOV_00/mpci.times.npy", np.array([0.0, 0.2, 0.5]))
        np.save(tmp_path / "alf/FOV_00/mpci.ROIActivityF.npy", np.ones((3, 2), dtype=np.float32))
        instances = {"FOV": (MesoscopeInterface, {"session_path": str(tmp_path), "fov_name": "FOV_00"})}
        nwbfile = convert(instances, tmp_path / "file.nwb", backend=backend)
        rois = nwbfile.processing["ophys"]["ImageSegmentation"]["PlaneSegmentationFOV00"]
        assert [len(rois["pixel_mask"][roi]) for roi in range(2)] == [0, 0]
        nwbfile.read_io.close()

    def test_no_roi_at_all(self, tmp_path):
        (tmp_path / "alf/FOV_00").mkdir(parents=True)
        np.save(tmp_path / "alf/FOV_00/mpci.times.npy", np.array([0.0, 0.2, 0.5]))
        np.save(tmp_path / "alf/FOV_00/mpci.ROIActivityF.npy", np.ones((3, 0), dtype=np.float32))
        instances = {"FOV": (MesoscopeInterface, {"session_path": str(tmp_path), "fov_name": "FOV_00"})}
        nwbfile = convert(instances, tmp_path / "file.nwb")
        assert nwbfile.processing["ophys"]["Fluorescence"]["RoiResponseSeriesFOV00"].data.shape == (3, 0)
        nwbfile.read_io.close()

    def test_attribute_that_nobody_described_and_dense_masks(self, tmp_path):
        path = make_fovs(tmp_path)
        alf = path / "alf/FOV_00"
        dense = dense_masks(alf / "mpciROIs.masks.sparse_npz").astype(np.float64) / 3
        (alf / "mpciROIs.masks.sparse_npz").unlink()
        np.save(alf / "mpciROIs.masks.npy", dense)
        np.save(alf / "mpciROIs.redCellIdx.npy", np.arange(N_ROIS) % 2 == 0)
        rois = self.rois(self.add(path)[0])
        assert_array_equal(rois["red_cell_idx"].data, np.arange(N_ROIS) % 2 == 0)
        assert "redCellIdx" in rois["red_cell_idx"].description
        # NWB's weights have four bytes; those that these do not hold are kept beside.
        assert_array_equal(rois["pixel_mask_weight"].target.data, dense[np.nonzero(dense)])


class TestBadInput:
    @pytest.fixture
    def folder(self, tmp_path):
        return make_fovs(tmp_path) / "alf/FOV_00"

    def add(self, folder):
        MesoscopeInterface(folder.parents[1], fov_name="FOV_00").add_to_nwbfile(mock_NWBFile())

    def test_fewer_times_than_frames(self, folder):
        np.save(folder / "mpci.times.npy", np.arange(5.0))
        with pytest.raises(DatasetInconsistentError, match="mpci.times.npy: 5"):
            self.add(folder)

    @pytest.mark.parametrize("name", ["mpciROIs.cellClassifier.npy", "mpci.ROIActivityDeconvolved.npy"])
    def test_another_number_of_rois(self, folder, name):
        values = np.load(folder / name)
        np.save(folder / name, values[..., :-1])
        with pytest.raises(DatasetInconsistentError, match=f"{name}' is of 11 ROIs.*of 12.*--exclude MesoscopeFOV00"):
            self.add(folder)

    def test_masks_of_other_rois(self, folder):
        with (folder / "mpciROIs.masks.sparse_npz").open("wb") as file:
            sparse.save_npz(file, sparse.random((3, 48, 40), density=0.01))
        with pytest.raises(DatasetInconsistentError, match="masks.sparse_npz' is of 3 ROIs"):
            self.add(folder)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", None])
    def test_damaged_masks(self, folder, content):
        path = folder / "mpciROIs.masks.sparse_npz"
        path.write_bytes(path.read_bytes()[:-100] if content is None else content)
        with pytest.raises(DatasetUnreadableError, match="masks.sparse_npz' cannot be read"):
            self.add(folder)

    def test_masks_of_several_planes(self, folder):
        with (folder / "mpciROIs.masks.sparse_npz").open("wb") as file:
            sparse.save_npz(file, sparse.random((12, 4, 4, 2), density=0.1))
        with pytest.raises(DatasetInconsistentError, match="several planes"):
            self.add(folder)

    def test_roi_beyond_the_scan_lines(self, folder):
        np.save(folder / "mpciStack.timeshift.npy", np.arange(2.0))
        with pytest.raises(DatasetInconsistentError, match="has the times of 2 lines"):
            self.add(folder)

    def test_names_without_their_columns(self, folder):
        (folder / "mpciROITypes.names.tsv").write_text("a\tb\n1\t2\n")
        with pytest.raises(DatasetInconsistentError, match="roi_labels, roi_values; it has a, b"):
            self.add(folder)

    def test_missing_times(self, folder):
        (folder / "mpci.times.npy").unlink()
        with pytest.raises(DatasetMissingError, match="mpci.times.npy is missing"):
            self.add(folder)

    def test_unknown_field_of_view_lists_those_there_are(self, folder):
        with pytest.raises(UsageError, match="FOV_00"):
            MesoscopeInterface(folder.parents[1], fov_name="FOV_07")


@settings(max_examples=40, deadline=None)
@given(
    dense=arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
        elements=st.sampled_from([0.0, 0.0, 0.25, -1.5, float(np.float32(0.1))]),
    ),
    axis=st.sampled_from([None, (0,), (1,), (2,), (0, 2)]),
)
def test_sparse_masks_of_any_layout_are_read_as_they_are(tmp_path_factory, dense, axis):
    """However an array was compressed (axis None: coordinates), its pixels come by ROI, row and column."""
    path = tmp_path_factory.mktemp("masks") / "mpciROIs.masks.sparse_npz"
    array = sparse.COO.from_numpy(dense)
    with path.open("wb") as file:
        sparse.save_npz(file, array if axis is None else sparse.GCXS.from_coo(array, compressed_axes=axis))
    masks = load_masks(Dataset(path, path.name, "", "", "", "mpciROIs", "masks", "", "", "sparse_npz", None))
    expected = np.nonzero(dense)
    for found, index in zip((masks.roi, masks.row, masks.column), expected, strict=True):
        assert_array_equal(found, index)
    assert_array_equal(masks.weight, dense[expected])
    column, index = masks.make_columns({"pixel_mask": "p", "pixel_mask_weight": "w"})
    assert_array_equal(index.data, np.cumsum([np.count_nonzero(roi) for roi in dense]))
    assert_array_equal(column.data["x"], expected[2])


class TestVerify:
    """Every planted damage is found."""

    @pytest.fixture(scope="class")
    @classmethod
    def converted(cls, tmp_path_factory):
        path = make_fovs(tmp_path_factory.mktemp("verify"), 2)
        converter = IBLConverter.from_session(path, include=["Mesoscope"], timezone="Europe/Lisbon")
        nwbfile_path = path.parent / "file.nwb"
        converter.run_conversion(nwbfile_path)
        return nwbfile_path, path

    @staticmethod
    def swap_fields_of_view(ophys):
        fluorescence = ophys["Fluorescence"]
        fluorescence.move("RoiResponseSeriesFOV00", "x")
        fluorescence.move("RoiResponseSeriesFOV01", "RoiResponseSeriesFOV00")
        fluorescence.move("x", "RoiResponseSeriesFOV01")

    @staticmethod
    def swap_rois(ophys):
        data = ophys["Fluorescence/DeconvolvedFOV01/data"]
        data[:, :2] = data[:, :2][:, ::-1]

    @staticmethod
    def flip_a_value(ophys):
        ophys["Fluorescence/NeuropilFOV00/data"][7, 3] += 1e-4

    @staticmethod
    def transpose_masks(ophys):
        mask = ophys["ImageSegmentation/PlaneSegmentationFOV00/pixel_mask"]
        pixels = mask[:]
        pixels["x"], pixels["y"] = pixels["y"].copy(), pixels["x"].copy()
        mask[:] = pixels

    @staticmethod
    def move_a_pixel_to_the_next_roi(ophys):
        ophys["ImageSegmentation/NeuropilSegmentationFOV00/pixel_mask_index"][4] -= 1

    @staticmethod
    def round_weights(ophys):
        mask = ophys["ImageSegmentation/PlaneSegmentationFOV01/pixel_mask"]
        pixels = mask[:]
        pixels["weight"] = np.round(pixels["weight"], 3)
        mask[:] = pixels

    @staticmethod
    def turn_mean_image(ophys):
        image = ophys["SegmentationImages/MeanImageFOV00"]
        image[:] = image[:][::-1]

    @staticmethod
    def turn_coordinates(ophys):
        image = ophys["AnatomicalCoordinatesFOV00/ml_estimate"]
        image[:] = -image[:]

    @staticmethod
    def shift_times(ophys):
        ophys["Fluorescence/RoiResponseSeriesFOV00/timestamps"][10] += 1e-6

    @staticmethod
    def shift_lines(ophys):
        column = ophys["ImageSegmentation/PlaneSegmentationFOV00/roi_timeshift"]
        column[:] = np.roll(column[:], 1)

    @staticmethod
    def change_a_uuid(ophys):
        ophys["ImageSegmentation/PlaneSegmentationFOV00/uuids"][2] = "0"

    @staticmethod
    def swap_meanings(ophys):
        labels = ophys["ImageSegmentation/PlaneSegmentationFOV00/meanings_tables/mpci_roi_types_meanings/meaning"]
        labels[:] = labels[:][::-1]

    @staticmethod
    def forget_a_bad_frame(ophys):
        column = ophys["ImagingFramesFOV01/bad_frames"]
        column[int(np.flatnonzero(column[:])[0])] = False

    @staticmethod
    def lose_a_table(ophys):
        del ophys["ScanLinesFOV01"]

    @pytest.mark.parametrize(
        ("damage", "where"),
        {
            "swap_fields_of_view": "Fluorescence/RoiResponseSeriesFOV00/data",
            "swap_rois": "Fluorescence/DeconvolvedFOV01/data",
            "flip_a_value": "Fluorescence/NeuropilFOV00/data",
            "transpose_masks": "ImageSegmentation/PlaneSegmentationFOV00/pixel_mask.x",
            "move_a_pixel_to_the_next_roi": "ImageSegmentation/NeuropilSegmentationFOV00/pixel_mask_index",
            "round_weights": "ImageSegmentation/PlaneSegmentationFOV01/pixel_mask.weight",
            "turn_mean_image": "SegmentationImages/MeanImageFOV00",
            "turn_coordinates": "AnatomicalCoordinatesFOV00/ml_estimate",
            "shift_times": "Fluorescence/RoiResponseSeriesFOV00/timestamps",
            "shift_lines": "ImageSegmentation/PlaneSegmentationFOV00/roi_timeshift",
            "change_a_uuid": "ImageSegmentation/PlaneSegmentationFOV00/uuids",
            "swap_meanings": "PlaneSegmentationFOV00/meanings_tables/mpci_roi_types_meanings/meaning",
            "forget_a_bad_frame": "ImagingFramesFOV01/bad_frames",
            "lose_a_table": "ScanLinesFOV01/timeshift",
        }.items(),
    )
    def test_damage_is_found(self, converted, tmp_path, damage, where):
        differences = differences_after(
            lambda file: getattr(self, damage)(file["processing/ophys"]), *converted, tmp_path
        )
        assert any(row.object.endswith(where) for row in differences)

    def test_nothing_is_found_where_nothing_is_damaged(self, converted):
        assert verify(*converted).differences == ()
