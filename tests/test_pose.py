"""PoseInterface: every column of the tracker's file in the NWB file, times by IBL's rule, one container per camera."""

import json
import warnings
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pynwb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from neuroconv import NWBConverter
from neuroconv.tools.testing import MockPoseEstimationInterface, MockTimeSeriesInterface
from neuroconv.tools.testing.data_interface_mixins import PoseEstimationInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from nwbinspector import Importance, inspect_nwbfile, load_config
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.pose import PoseInterface
from ibl_nwb.session import ALFSession

#: Series that each point must end up in: written out, not computed.
SERIES = {
    "nose_tip": "NoseTip",
    "paw_l": "PawL",
    "paw_r": "PawR",
    "tongue_end_l": "TongueEndL",
    "tongue_end_r": "TongueEndR",
    "pupil_top_r": "PupilTopR",
    "pupil_bottom_r": "PupilBottomR",
    "pupil_left_r": "PupilLeftR",
    "pupil_right_r": "PupilRightR",
    "tube_top": "TubeTop",
    "tube_bottom": "TubeBottom",
    "tail_start": "TailStart",
}
STATISTICS = [f"{axis}_{name}" for name in ("ens_median", "ens_var", "posterior_var") for axis in "xy"]


def make_table(points=("nose_tip", "paw_r"), ensemble=("paw_r",), n_frames=150, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    names = []
    for point in points:
        names += [f"{point}_{part}" for part in ("x", "y", "likelihood", *(STATISTICS if point in ensemble else ()))]
    table = pd.DataFrame({name: rng.uniform(0, 600, n_frames) for name in names}).astype(dtype)
    for name in (name for name in names if name.endswith("likelihood")):
        table[name] = rng.random(n_frames).astype(dtype)
    return table


def make_times(n_times, seed=0):
    return 12.0 + np.cumsum(np.random.default_rng(seed).uniform(0.01, 0.02, n_times))


def write_camera(folder, table, *, camera="left", tracker="lightningPose", n_times=None, times=None):
    alf = folder / "alf"
    alf.mkdir(parents=True, exist_ok=True)
    table.to_parquet(alf / f"_ibl_{camera}Camera.{tracker}.pqt")
    times = make_times(len(table) if n_times is None else n_times) if times is None else times
    np.save(alf / f"_ibl_{camera}Camera.times.npy", times)
    return folder


def write_legacy_camera(folder, table, *, names=None):
    """The npy file and the JSON file with its columns that sessions before parquet have."""
    alf = folder / "alf"
    alf.mkdir(parents=True, exist_ok=True)
    np.save(alf / "_ibl_leftCamera.dlc.npy", table.to_numpy())
    companion = {"columns": list(table.columns) if names is None else names}
    (alf / "_ibl_leftCamera.dlc.metadata.json").write_text(json.dumps(companion))
    np.save(alf / "_ibl_leftCamera.times.npy", make_times(len(table)))
    return folder


def add(folder, metadata=None, *, camera="left", tracker=None, **options):
    nwbfile = mock_NWBFile()
    PoseInterface(folder, camera_name=camera, tracker=tracker).add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile.processing["behavior"]


def assert_holds(behavior, table, label="LeftCamera"):
    """Every column of a table is in the file, bit for bit and of the same type."""
    container = behavior[f"PoseEstimation{label}"]
    points = [name.removesuffix("_likelihood") for name in table.columns if name.endswith("_likelihood")]
    assert set(container.pose_estimation_series) == {SERIES[point] for point in points}
    rest = list(table.columns)
    for point in points:
        series = container[SERIES[point]]
        names = [f"{point}_x", f"{point}_y", f"{point}_likelihood"]
        assert_array_equal(series.data[:, 0], table[names[0]].to_numpy())
        assert_array_equal(series.data[:, 1], table[names[1]].to_numpy())
        assert_array_equal(series.confidence[:], table[names[2]].to_numpy())
        assert series.data.dtype == series.confidence.dtype == table[names[0]].dtype
        rest = [name for name in rest if name not in names]
    assert list(container.skeleton.nodes[:]) == points
    if not rest:
        assert f"PoseEnsemble{label}" not in behavior.data_interfaces
        return
    ensemble = behavior[f"PoseEnsemble{label}"]
    assert list(ensemble.colnames) == rest
    for name in rest:
        assert_array_equal(ensemble[name][:], table[name].to_numpy())
        assert ensemble[name].data.dtype == table[name].dtype


def shared_times(container):
    """Times of a container whose series must all hold the same dataset."""
    first, *others = container.pose_estimation_series.values()
    for series in others:
        assert_array_equal(series.timestamps[:], first.timestamps[:])
    return first.timestamps[:]


@pytest.fixture(scope="class")
def camera_session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pose")
    return write_camera(folder, make_table(tuple(SERIES)[:-1], ("paw_l", "paw_r", "pupil_top_r")))


class TestPoseWithNeuroConvsMixins(PoseEstimationInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = PoseInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, camera_session):
        cls.interface_kwargs = {"session_path": str(camera_session), "camera_name": "left"}
        cls.alf = camera_session / "alf"

    def check_read_nwb(self, nwbfile_path):
        super().check_read_nwb(nwbfile_path)
        nwbfile = read_nwb(nwbfile_path)
        behavior = nwbfile.processing["behavior"]
        assert_holds(behavior, pd.read_parquet(self.alf / "_ibl_leftCamera.lightningPose.pqt"))
        times = shared_times(behavior["PoseEstimationLeftCamera"])
        assert_array_equal(times, np.load(self.alf / "_ibl_leftCamera.times.npy"))
        assert behavior["PoseEstimationLeftCamera"].device is nwbfile.devices["LeftCamera"]
        nwbfile.read_io.close()


class TestInConverters:
    CAMERAS = ("left", "right", "body")

    def make_session(self, folder):
        for camera in ("left", "right"):
            write_camera(folder, make_table(seed=len(camera)), camera=camera)
        return write_camera(folder, make_table(("tail_start",), ()), camera="body")

    def make_converter(self, folder):
        class Converter(NWBConverter):
            data_interface_classes = {
                "Foreign": MockTimeSeriesInterface,
                "ForeignPose": MockPoseEstimationInterface,
                **{f"Pose{camera}": PoseInterface for camera in self.CAMERAS},
            }

        sources = {f"Pose{camera}": {"session_path": str(folder), "camera_name": camera} for camera in self.CAMERAS}
        return Converter({"Foreign": {}, "ForeignPose": {}, **sources})

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_three_cameras_beside_foreign_interfaces_and_twice_in_a_row(self, tmp_path, backend):
        folder = self.make_session(tmp_path / "session")
        converter = self.make_converter(folder)
        metadata = converter.get_metadata()
        metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18, tzinfo=UTC)
        for run in range(2):
            converter.run_conversion(tmp_path / f"{run}.nwb", metadata=metadata, backend=backend)
            nwbfile = read_nwb(tmp_path / f"{run}.nwb")
            behavior = nwbfile.processing["behavior"]
            for camera, label in zip(self.CAMERAS, ("LeftCamera", "RightCamera", "BodyCamera"), strict=True):
                table = pd.read_parquet(folder / f"alf/_ibl_{camera}Camera.lightningPose.pqt")
                assert_holds(behavior, table, label)
                assert behavior[f"PoseEstimation{label}"].device.name == label
            assert len(nwbfile.acquisition) == 1
            nwbfile.read_io.close()

    def test_schema_of_the_converter_accepts_its_metadata(self, tmp_path):
        converter = self.make_converter(self.make_session(tmp_path))
        schema = converter.get_metadata_schema()
        Draft7Validator.check_schema(schema)
        metadata = converter.get_metadata()
        metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18, tzinfo=UTC)
        converter.validate_metadata(metadata)
        for camera in self.CAMERAS:
            entry = schema["properties"]["Pose"]["properties"]["PoseEstimations"]["properties"][f"pose_{camera}_camera"]
            assert entry["properties"]["scorer"] == {"type": "string"}

    def test_names_of_the_instances(self, tmp_path):
        session = ALFSession(self.make_session(tmp_path))
        instances = PoseInterface.get_instances(session)
        names = {PoseInterface.get_instance_name(session, instance) for instance in instances}
        assert names == {"PoseLeftCamera", "PoseRightCamera", "PoseBodyCamera"}

    def test_nothing_for_the_inspector_and_the_validator_to_find(self, tmp_path):
        converter = self.make_converter(self.make_session(tmp_path / "session"))
        del converter.data_interface_objects["Foreign"], converter.data_interface_objects["ForeignPose"]
        metadata = converter.get_metadata()
        metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18, tzinfo=UTC)
        metadata["Subject"] = {"subject_id": "M1", "sex": "F", "species": "Mus musculus", "age": "P90D"}
        nwbfile_path = tmp_path / "pose.nwb"
        converter.run_conversion(nwbfile_path, metadata=metadata)
        assert pynwb.validate(path=nwbfile_path) == []
        found = inspect_nwbfile(
            nwbfile_path=nwbfile_path,
            skip_validate=True,
            config=load_config("dandi"),
            importance_threshold=Importance.BEST_PRACTICE_VIOLATION,
        )
        assert [message.message for message in found] == []


class TestWritten:
    def test_nan_rows_are_kept(self, tmp_path):
        table = make_table()
        table.loc[[0, 7, 149]] = np.nan
        assert_holds(add(write_camera(tmp_path, table)), table)

    def test_type_of_the_file_is_kept(self, tmp_path):
        table = make_table(dtype="float32")
        assert_holds(add(write_camera(tmp_path, table)), table)

    def test_deeplabcut_has_no_ensemble(self, tmp_path):
        table = make_table(ensemble=())
        behavior = add(write_camera(tmp_path, table, tracker="dlc"))
        assert_holds(behavior, table)
        assert behavior["PoseEstimationLeftCamera"].source_software == "DeepLabCut"

    def test_legacy_npy_with_names_of_columns_beside(self, tmp_path):
        table = make_table(ensemble=())
        behavior = add(write_legacy_camera(tmp_path, table))
        assert_holds(behavior, table)
        assert behavior["PoseEstimationLeftCamera"].source_software == "DeepLabCut"

    def test_names_of_columns_are_a_source_only_where_they_are_read(self, tmp_path):
        write_legacy_camera(tmp_path, make_table(ensemble=()))
        assert "dlc.metadata.json" in add(tmp_path)["PoseEstimationLeftCamera"].description
        write_camera(tmp_path, make_table(ensemble=()), tracker="dlc")
        assert "dlc.metadata.json" not in add(tmp_path)["PoseEstimationLeftCamera"].description

    def test_columns_nobody_described_are_kept(self, tmp_path):
        table = make_table(ensemble=())
        table["paw_r_zoom"] = np.arange(len(table), dtype="int16")
        table["is_dark"] = np.arange(len(table)) % 3 == 0
        table["remark"] = [f"frame {row}" for row in range(len(table))]
        behavior = add(write_camera(tmp_path, table))
        ensemble = behavior["PoseEnsembleLeftCamera"]
        assert list(ensemble.colnames) == ["paw_r_zoom", "is_dark", "remark"]
        assert "does not describe it" in ensemble["paw_r_zoom"].description
        assert_array_equal(ensemble["paw_r_zoom"].data, table["paw_r_zoom"])
        assert ensemble["paw_r_zoom"].data.dtype == "int16"
        assert list(ensemble["remark"].data) == list(table["remark"])

    def test_point_nobody_described_and_without_likelihood(self, tmp_path):
        table = make_table(ensemble=())[["nose_tip_x", "nose_tip_y"]].set_axis(["whisker_x", "whisker_y"], axis=1)
        series = add(write_camera(tmp_path, table))["PoseEstimationLeftCamera"]["Whisker"]
        assert_array_equal(series.data, table)
        assert series.confidence is None

    def test_ensemble_is_described_and_can_be_left_out(self, tmp_path):
        write_camera(tmp_path, make_table())
        column = add(tmp_path)["PoseEnsembleLeftCamera"]["paw_r_x_ens_var"]
        assert "Variance over the ensemble of networks of the x position of paw_r" in column.description
        assert "PoseEnsembleLeftCamera" not in add(tmp_path, write_ensemble=False).data_interfaces

    def test_stub(self, tmp_path):
        table = make_table()
        behavior = add(write_camera(tmp_path, table), stub_test=True)
        assert_holds(behavior, table.iloc[:100])
        assert_array_equal(shared_times(behavior["PoseEstimationLeftCamera"]), make_times(150)[:100])

    def test_near_and_far_unit_and_frame_are_said(self, tmp_path):
        container = add(write_camera(tmp_path, make_table()))["PoseEstimationLeftCamera"]
        assert "mean near to and far from this camera" in container.description
        assert "alf/_ibl_leftCamera.lightningPose.pqt" in container.description
        series = container["PawR"]
        assert "nearer to this camera" in series.description
        assert series.unit == "pixels"
        assert "(0, 0) is the top left corner" in series.reference_frame
        assert "paw_r_likelihood" in series.confidence_definition

    def test_users_names_are_written_and_null_leaves_the_camera_out(self, tmp_path):
        changes = {"name": "MyPose", "scorer": "me", "device_metadata_key": None}
        behavior = add(
            write_camera(tmp_path, make_table()), {"Pose": {"PoseEstimations": {"pose_left_camera": changes}}}
        )
        assert (behavior["MyPose"].scorer, behavior["MyPose"].device) == ("me", None)
        assert behavior["MyPose"].skeleton.name == "SkeletonLeftCamera"

    def test_template_can_be_filled_in(self, tmp_path):
        template = PoseInterface(write_camera(tmp_path, make_table()), camera_name="left").get_metadata_template()
        entry = template["Pose"]["PoseEstimations"]["pose_left_camera"]
        assert (entry["name"], entry["scorer"]) == ("PoseEstimationLeftCamera", None)

    def test_no_deprecation_reaches_the_user(self, tmp_path):
        write_camera(tmp_path, make_table())
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            add(tmp_path)

    @settings(max_examples=20, deadline=None)
    @given(
        points=st.lists(st.sampled_from(tuple(SERIES)), min_size=1, max_size=5, unique=True),
        ensemble=st.sets(st.sampled_from(tuple(SERIES))),
        n_frames=st.integers(1, 30),
    )
    def test_no_column_is_lost(self, tmp_path_factory, points, ensemble, n_frames):
        table = make_table(points, ensemble, n_frames)
        assert_holds(add(write_camera(tmp_path_factory.mktemp("columns"), table)), table)


class TestTimes:
    def test_irregular_times_are_stored_once(self, tmp_path):
        container = add(write_camera(tmp_path, make_table()))["PoseEstimationLeftCamera"]
        assert_array_equal(shared_times(container), make_times(150))
        assert len({id(series.timestamps) for series in container.pose_estimation_series.values()}) == 1

    def test_regular_times_become_start_and_rate(self, tmp_path):
        times = 3.0 + np.arange(150) / 60 + np.random.default_rng(0).uniform(-4e-7, 4e-7, 150)
        series = add(write_camera(tmp_path, make_table(), times=times))["PoseEstimationLeftCamera"]["PawR"]
        assert (series.starting_time, series.timestamps) == (times[0], None)
        assert np.abs(series.get_timestamps() - times).max() <= 1e-6

    def test_single_precision_times_are_widened_exactly(self, tmp_path):
        times = make_times(150).astype("float32")
        container = add(write_camera(tmp_path, make_table(), times=times))["PoseEstimationLeftCamera"]
        assert shared_times(container).dtype == "float64"
        assert_array_equal(shared_times(container), times)

    def test_of_too_many_times_the_last_are_used_and_file_and_summary_say_so(self, tmp_path):
        write_camera(tmp_path, make_table(), n_times=157)
        interface, nwbfile = PoseInterface(tmp_path, camera_name="left"), mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        container = nwbfile.processing["behavior"]["PoseEstimationLeftCamera"]
        assert_array_equal(shared_times(container), make_times(157)[7:])
        note = "has 157 times for 150 frames; the first 7 were left out"
        assert note in container.description
        assert [note in sentence for sentence in interface.notes] == [True]

    def test_stub_of_too_many_times_begins_with_the_first_frame(self, tmp_path):
        container = add(write_camera(tmp_path, make_table(), n_times=157), stub_test=True)["PoseEstimationLeftCamera"]
        assert_array_equal(shared_times(container), make_times(157)[7:107])

    @pytest.mark.parametrize("n_times", [149, 1, 0])
    def test_too_few_times(self, tmp_path, n_times):
        write_camera(tmp_path, make_table(), n_times=n_times)
        with pytest.raises(DatasetInconsistentError, match=rf"{n_times} times for the 150 frames.*--exclude PoseLeft"):
            add(tmp_path)

    def test_no_frames(self, tmp_path):
        write_camera(tmp_path, make_table().iloc[:0], n_times=20)
        with pytest.raises(DatasetInconsistentError, match="20 times for the 0 frames"):
            add(tmp_path)

    def test_times_that_go_backwards(self, tmp_path):
        times = make_times(150)
        times[30] = 0.0
        with pytest.raises(DatasetInconsistentError, match="go backwards.*at row 30"):
            add(write_camera(tmp_path, make_table(), times=times))

    def test_times_of_two_columns(self, tmp_path):
        with pytest.raises(DatasetInconsistentError, match=r"shape \(150, 2\)"):
            add(write_camera(tmp_path, make_table(), times=np.zeros((150, 2))))

    def test_aligned_times_are_written(self, tmp_path):
        interface = PoseInterface(write_camera(tmp_path, make_table()), camera_name="left")
        interface.set_aligned_starting_time(100.0)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        container = nwbfile.processing["behavior"]["PoseEstimationLeftCamera"]
        assert_array_equal(shared_times(container), make_times(150) + 100.0)


class TestTwoTrackers:
    @pytest.fixture
    def folder(self, tmp_path):
        write_camera(tmp_path, make_table(seed=1, ensemble=()), tracker="dlc")
        return write_camera(tmp_path, make_table(seed=2), tracker="lightningPose")

    def test_lightning_pose_is_preferred(self, folder):
        behavior = add(folder)
        assert_holds(behavior, make_table(seed=2))
        assert behavior["PoseEstimationLeftCamera"].source_software == "Lightning Pose"

    def test_both_fit_in_one_file(self, folder):
        nwbfile = mock_NWBFile()
        for tracker in ("lightningPose", "dlc"):
            PoseInterface(folder, camera_name="left", tracker=tracker).add_to_nwbfile(nwbfile)
        assert_holds(nwbfile.processing["behavior"], make_table(seed=2))
        assert_holds(nwbfile.processing["behavior"], make_table(seed=1, ensemble=()), "LeftCameraDlc")
        assert set(nwbfile.devices) == {"LeftCamera"}

    def test_tracker_that_is_not_there(self, tmp_path):
        write_camera(tmp_path, make_table(), tracker="dlc")
        with pytest.raises(DatasetMissingError, match=r"leftCamera\.lightningPose\.pqt, only.*leftCamera\.dlc\.pqt"):
            PoseInterface(tmp_path, camera_name="left", tracker="lightningPose")


class TestBadInput:
    def test_corrupt_parquet(self, tmp_path):
        write_camera(tmp_path, make_table())
        path = tmp_path / "alf/_ibl_leftCamera.lightningPose.pqt"
        path.write_bytes(path.read_bytes()[:-50])
        interface = PoseInterface(tmp_path, camera_name="left")
        for use in (interface.get_metadata, lambda: interface.add_to_nwbfile(mock_NWBFile())):
            with pytest.raises(DatasetUnreadableError, match=r"leftCamera\.lightningPose\.pqt' cannot be read"):
                use()

    def test_no_points_in_the_file(self, tmp_path):
        write_camera(tmp_path, pd.DataFrame({"nose_tip_x": [1.0], "likelihood": [0.5]}))
        with pytest.raises(DatasetInconsistentError, match="holds no point.*has nose_tip_x, likelihood"):
            add(tmp_path)

    def test_pose_without_times(self, tmp_path):
        write_camera(tmp_path, make_table())
        (tmp_path / "alf/_ibl_leftCamera.times.npy").unlink()
        with pytest.raises(DatasetMissingError, match=r"camera_name 'left'.*leftCamera\.times\.npy is missing"):
            PoseInterface(tmp_path, camera_name="left")

    def test_times_without_pose_are_no_instance(self, tmp_path):
        write_camera(tmp_path, make_table())
        np.save(tmp_path / "alf/_ibl_bodyCamera.times.npy", make_times(10))
        assert PoseInterface.get_instances(ALFSession(tmp_path)) == [{"camera_name": "left"}]
        assert PoseInterface.get_incomplete_instances(ALFSession(tmp_path)) == {}

    def test_unknown_camera_lists_those_there_are(self, tmp_path):
        with pytest.raises(UsageError, match="no camera_name 'top'.*camera_name 'left'"):
            PoseInterface(write_camera(tmp_path, make_table()), camera_name="top")

    def test_legacy_npy_without_names_of_columns(self, tmp_path):
        write_legacy_camera(tmp_path, make_table())
        (tmp_path / "alf/_ibl_leftCamera.dlc.metadata.json").unlink()
        with pytest.raises(DatasetMissingError, match=r"leftCamera\.dlc\.metadata\.json' is missing"):
            add(tmp_path)

    @pytest.mark.parametrize("names", [["nose_tip_x", "nose_tip_y"], ["nose_tip_x"] * 12])
    def test_legacy_npy_with_other_names_of_columns(self, tmp_path, names):
        write_legacy_camera(tmp_path, make_table(), names=names)
        with pytest.raises(DatasetInconsistentError, match=rf"shape \(150, 12\).*names {len(names)} columns"):
            add(tmp_path)


@needs_real_data
class TestRealPose:
    @pytest.mark.parametrize("camera", ["left", "right"])
    @pytest.mark.parametrize("folder", [REAL / "eks/3f859b5c-e73a-4044-b49e-34bb81e96715", CHIMERA])
    def test_values_types_and_times(self, folder, camera):
        behavior = add(folder, camera=camera)
        label = f"{camera.capitalize()}Camera"
        assert_holds(behavior, pd.read_parquet(folder / f"alf/_ibl_{camera}Camera.lightningPose.pqt"), label)
        times = np.load(folder / f"alf/_ibl_{camera}Camera.times.npy")
        assert_array_equal(shared_times(behavior[f"PoseEstimation{label}"]), times)

    def test_body_camera_without_pose_is_left_out(self):
        assert PoseInterface.get_instances(ALFSession(CHIMERA)) == [{"camera_name": "left"}, {"camera_name": "right"}]
