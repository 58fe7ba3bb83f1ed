"""VideoInterface and place_videos: the film stays a file of its own, where the NWB file says, one time per frame."""

import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
from camera_session import LABELS, assert_valid, convert, make_times, write_times
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, needs_real_data

from ibl_nwb.errors import (
    DatasetInconsistentError,
    DatasetMissingError,
    DatasetUnreadableError,
    OutputExistsError,
    OutputNotWritableError,
)
from ibl_nwb.interfaces.pose import PoseInterface
from ibl_nwb.interfaces.video import VideoInterface, read_video_header
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.writing.videos import place_videos

needs_av = pytest.mark.skipif(find_spec("av") is None, reason="PyAV is not installed: pip install ibl-nwb[video]")

N_FRAMES = 12


def write_film(path, n_frames=N_FRAMES, width=64, height=48):
    """A film where PyAV is there to make one, else a file that nothing will open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if find_spec("av") is None:
        path.write_bytes(b"film")
        return
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(n_frames):
            picture = np.full((height, width), index, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())


def write_camera(folder, *, camera="left", n_times=N_FRAMES, collection="raw_video_data", suffix="mp4"):
    write_film(folder / collection / f"_iblrig_{camera}Camera.raw.{suffix}")
    write_times(folder, camera, n_times)
    return folder


def add(folder, metadata=None, *, camera="left", **options):
    interface, nwbfile = VideoInterface(folder, camera_name=camera), mock_NWBFile()
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return interface, nwbfile.acquisition[f"Video{LABELS[camera]}"]


@pytest.fixture(scope="class")
def video_session(tmp_path_factory):
    return write_camera(tmp_path_factory.mktemp("video"))


class TestVideoWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = VideoInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, video_session):
        cls.interface_kwargs = {"session_path": str(video_session), "camera_name": "left"}
        cls.folder = video_session

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        series = nwbfile.acquisition["VideoLeftCamera"]
        assert_array_equal(series.timestamps[:], np.load(self.folder / "alf/_ibl_leftCamera.times.npy"))
        assert list(series.external_file[:]) == [str(self.folder / "raw_video_data/_iblrig_leftCamera.raw.mp4")]
        assert (series.format, list(series.starting_frame[:])) == ("external", [0])
        assert series.device is nwbfile.devices["LeftCamera"]
        nwbfile.read_io.close()


class TestWritten:
    @needs_av
    def test_size_of_the_frames_is_written(self, tmp_path):
        assert list(add(write_camera(tmp_path))[1].dimension) == [64, 48]

    def test_irregular_times(self, tmp_path):
        _, series = add(write_camera(tmp_path))
        assert_array_equal(series.timestamps, make_times(N_FRAMES))
        assert "alf/_ibl_leftCamera.times.npy" in series.comments

    def test_regular_times_become_start_and_rate_and_the_number_of_frames_is_kept(self, tmp_path):
        write_camera(tmp_path)
        np.save(tmp_path / "alf/_ibl_leftCamera.times.npy", 20 + np.arange(N_FRAMES) / 30)
        _, series = add(tmp_path)
        assert (series.starting_time, series.num_samples, series.timestamps) == (20.0, N_FRAMES, None)
        assert series.rate == pytest.approx(30, rel=1e-9)

    @needs_av
    def test_of_too_many_times_the_last_are_used_and_file_and_summary_say_so(self, tmp_path):
        interface, series = add(write_camera(tmp_path, n_times=N_FRAMES + 3))
        assert_array_equal(series.timestamps, make_times(N_FRAMES + 3)[3:])
        note = "has 15 times for 12 frames; the first 3 were left out"
        assert note in series.comments
        assert note in interface.notes[0]

    def test_without_pyav_all_times_are_used_and_file_and_summary_say_so(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        interface, series = add(write_camera(tmp_path, n_times=15))
        assert_array_equal(series.timestamps, make_times(15))
        assert series.dimension is None
        assert 'pip install "ibl-nwb[video]"' in interface.notes[0]
        assert interface.notes[0] in series.comments

    def test_stub_leaves_every_frame_its_time(self, tmp_path):
        assert len(add(write_camera(tmp_path), stub_test=True)[1].timestamps) == N_FRAMES

    def test_aligned_times_are_written(self, tmp_path):
        interface, nwbfile = VideoInterface(write_camera(tmp_path), camera_name="left"), mock_NWBFile()
        interface.set_aligned_starting_time(100.0)
        interface.add_to_nwbfile(nwbfile)
        assert_array_equal(nwbfile.acquisition["VideoLeftCamera"].timestamps, make_times(N_FRAMES) + 100.0)

    def test_users_names_are_written_and_null_leaves_the_camera_out(self, tmp_path):
        changes = {"name": "Film", "description": "Mine.", "comments": "Dark.", "device_metadata_key": None}
        metadata = {"Behavior": {"ExternalVideos": {"video_left_camera": changes}}}
        interface, nwbfile = VideoInterface(write_camera(tmp_path), camera_name="left"), mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, metadata)
        series = nwbfile.acquisition["Film"]
        assert (series.description, series.comments, series.device) == ("Mine.", "Dark.", None)

    @pytest.mark.parametrize("collection", ["raw_video_data_00", "raw_task_data_00", ""])
    def test_other_collections_and_avi(self, tmp_path, collection):
        _, series = add(write_camera(tmp_path, collection=collection, suffix="avi"))
        assert list(series.external_file) == [str(tmp_path / collection / "_iblrig_leftCamera.raw.avi")]

    def test_pose_can_link_to_the_video(self, tmp_path):
        session = make_example_session(tmp_path, probes=(), n_trials=4, cameras=("left",), audio=False)
        write_camera(session, n_times=240)
        (session / "raw_video_data/_iblrig_leftCamera.raw.mp4").unlink()
        write_film(session / "raw_video_data/_iblrig_leftCamera.raw.mp4", 240)
        video, pose = (cls(session, camera_name="left") for cls in (VideoInterface, PoseInterface))
        nwbfile, metadata = mock_NWBFile(), video.get_metadata()
        metadata["Pose"]["PoseEstimations"]["pose_left_camera"]["source_video_metadata_key"] = video.metadata_key
        video.add_to_nwbfile(nwbfile, metadata)
        pose.add_to_nwbfile(nwbfile, metadata)
        estimation = nwbfile.processing["behavior"]["PoseEstimationLeftCamera"]
        assert estimation.source_video is nwbfile.acquisition["VideoLeftCamera"]
        assert estimation.device is nwbfile.acquisition["VideoLeftCamera"].device


class TestBadInput:
    @needs_av
    def test_too_few_times(self, tmp_path):
        write_camera(tmp_path, n_times=N_FRAMES - 1)
        with pytest.raises(DatasetInconsistentError, match="11 times for the 12 frames.*--exclude VideoLeftCamera"):
            add(tmp_path)

    def test_no_times_at_all(self, tmp_path):
        write_camera(tmp_path, n_times=0)
        with pytest.raises(DatasetInconsistentError, match="0 times"):
            add(tmp_path)

    @needs_av
    @pytest.mark.parametrize("content", [b"", b"no film", "truncated"])
    def test_file_that_is_no_complete_video(self, tmp_path, content):
        path = write_camera(tmp_path) / "raw_video_data/_iblrig_leftCamera.raw.mp4"
        path.write_bytes(path.read_bytes()[:-300] if content == "truncated" else content)
        with pytest.raises(DatasetUnreadableError, match=r"leftCamera\.raw\.mp4' cannot be read as a video: \w"):
            add(tmp_path)

    @needs_av
    def test_sound_without_pictures(self, tmp_path):
        import av

        with av.open(str(tmp_path / "sound.wav"), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
        with pytest.raises(DatasetUnreadableError, match="it holds no pictures"):
            read_video_header(tmp_path / "sound.wav")

    def test_two_videos_of_one_camera(self, tmp_path):
        write_camera(tmp_path, collection="raw_task_data_00")
        write_camera(tmp_path, collection="raw_task_data_01")
        with pytest.raises(DatasetInconsistentError, match="holds 2 videos of one camera.*raw_task_data_01"):
            add(tmp_path)

    def test_video_without_times(self, tmp_path):
        (write_camera(tmp_path) / "alf/_ibl_leftCamera.times.npy").unlink()
        with pytest.raises(DatasetMissingError, match=r"leftCamera\.times\.npy is missing"):
            VideoInterface(tmp_path, camera_name="left")

    def test_times_without_video_are_no_instance(self, tmp_path):
        write_camera(tmp_path)
        write_times(tmp_path, "right", 10)
        assert VideoInterface.get_instances(ALFSession(tmp_path)) == [{"camera_name": "left"}]
        assert VideoInterface.get_incomplete_instances(ALFSession(tmp_path)) == {}


def external_files(nwbfile_path):
    nwbfile = read_nwb(nwbfile_path)
    paths = {name: list(series.external_file[:]) for name, series in nwbfile.acquisition.items()}
    nwbfile.read_io.close()
    return paths


class TestPlaceVideos:
    SOURCES = [{"camera_name": camera} for camera in LABELS]

    @pytest.fixture
    def folder(self, tmp_path):
        for camera in LABELS:
            write_camera(tmp_path / "lab/session", camera=camera)
        return tmp_path / "lab/session"

    def convert(self, folder, nwbfile_path, **options):
        nwbfile_path.parent.mkdir(exist_ok=True)
        return convert(VideoInterface, folder, nwbfile_path, sources=self.SOURCES, foreign=False, **options)

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    @pytest.mark.parametrize("placement", ["copy", "link"])
    def test_three_cameras_beside_the_file(self, tmp_path, folder, placement, backend):
        suffix = {"hdf5": ".nwb", "zarr": ".nwb.zarr"}[backend]
        path = self.convert(folder, tmp_path / f"out/sub-A_ses-1{suffix}", backend=backend)
        placed = place_videos(path, placement)
        assert external_files(path) == {f"Video{label}": [f"sub-A_ses-1/Video{label}.mp4"] for label in LABELS.values()}
        originals = [folder / f"raw_video_data/_iblrig_{camera}Camera.raw.mp4" for camera in sorted(LABELS)]
        assert [video.read_bytes() for video in placed] == [video.read_bytes() for video in originals]
        assert [video.is_symlink() for video in placed] == [placement == "link"] * 3
        assert sorted(tmp_path.glob("out/sub-A_ses-1/*")) == sorted(placed)

    def test_left_where_they_are(self, tmp_path, folder):
        path = self.convert(folder, tmp_path / "out/a.nwb")
        place_videos(path, "leave")
        assert external_files(path)["VideoLeftCamera"] == ["../lab/session/raw_video_data/_iblrig_leftCamera.raw.mp4"]
        assert list((tmp_path / "out").iterdir()) == [path]

    @pytest.mark.parametrize("placement", ["copy", "link", "leave"])
    def test_nothing_for_the_inspector_and_the_validator_to_find(self, tmp_path, folder, placement):
        path = self.convert(folder, tmp_path / "out/a.nwb")
        place_videos(path, placement)
        assert_valid(path)

    @pytest.mark.parametrize("placement", ["copy", "link", "leave"])
    def test_twice_changes_nothing(self, tmp_path, folder, placement):
        path = self.convert(folder, tmp_path / "out/a.nwb")
        first = (place_videos(path, placement), external_files(path))
        assert (place_videos(path, placement), external_files(path)) == first

    def test_relative_paths_hold_from_a_linked_folder(self, tmp_path, folder):
        (tmp_path / "disk/deep").mkdir(parents=True)
        (tmp_path / "out").symlink_to(tmp_path / "disk/deep")
        path = self.convert(folder, tmp_path / "out/a.nwb")
        place_videos(path, "leave")
        (reference,) = external_files(path)["VideoLeftCamera"]
        assert not Path(reference).is_absolute()
        assert (path.parent / reference).is_file()

    def test_file_that_does_not_have_its_final_name_yet(self, tmp_path, folder):
        path = self.convert(folder, tmp_path / "out/.part.nwb")
        place_videos(tmp_path / "out/a.nwb", "copy", written_path=path)
        assert external_files(path)["VideoBodyCamera"] == ["a/VideoBodyCamera.mp4"]

    def test_what_is_there_is_kept_unless_it_may_be_replaced(self, tmp_path, folder):
        path = self.convert(folder, tmp_path / "out/a.nwb")
        existing = tmp_path / "out/a/VideoRightCamera.mp4"
        existing.parent.mkdir()
        existing.write_text("mine")
        before = external_files(path)
        with pytest.raises(OutputExistsError, match="VideoRightCamera.mp4"):
            place_videos(path, "copy")
        assert existing.read_text() == "mine"
        assert list(existing.parent.iterdir()) == [existing]
        assert external_files(path) == before
        place_videos(path, "copy", overwrite=True)
        assert existing.read_bytes() == (folder / "raw_video_data/_iblrig_rightCamera.raw.mp4").read_bytes()

    def test_video_that_is_gone(self, tmp_path, folder):
        path = self.convert(folder, tmp_path / "out/a.nwb")
        (folder / "raw_video_data/_iblrig_leftCamera.raw.mp4").unlink()
        with pytest.raises(DatasetMissingError, match="VideoLeftCamera in .* is not there"):
            place_videos(path, "copy")

    def test_links_that_cannot_be_made(self, tmp_path, folder, monkeypatch):
        path = self.convert(folder, tmp_path / "out/a.nwb")

        def refuse(*_):
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "symlink_to", refuse)
        with pytest.raises(OutputNotWritableError, match="Cannot link .* Operation not permitted.*copy, link or leave"):
            place_videos(path, "link")

    def test_addresses_on_the_web_and_other_series_are_left_alone(self, tmp_path, folder):
        path = self.convert(folder, tmp_path / "out/a.nwb")
        with h5py.File(path, "r+") as file:
            file["acquisition/VideoLeftCamera/external_file"][0] = "https://example.org/left.mp4"
        assert len(place_videos(path, "copy")) == 2
        assert external_files(path)["VideoLeftCamera"] == ["https://example.org/left.mp4"]

    def test_file_without_videos(self, tmp_path, folder):
        path = convert(VideoInterface, folder, tmp_path / "a.nwb")
        assert place_videos(path, "copy") == []
        assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_beside_a_foreign_interface_and_twice_in_a_row(tmp_path, backend):
    folder = write_camera(tmp_path / "session")
    for run in range(2):
        path = convert(
            VideoInterface, folder, tmp_path / f"{run}.nwb", sources=[{"camera_name": "left"}], backend=backend
        )
        nwbfile = read_nwb(path)
        assert len(nwbfile.acquisition) == 2
        nwbfile.read_io.close()


@needs_av
def test_videos_of_the_example_session_have_the_frames_of_its_cameras(tmp_path):
    arguments = dict(probes=(), n_trials=4, audio=False, extra_camera_times=2, video=True)
    session, again = (make_example_session(tmp_path / name, **arguments) for name in ("first", "again"))
    sizes = {"left": (240, 1280, 1024), "right": (600, 640, 512), "body": (120, 640, 512)}
    for camera, expected in sizes.items():
        name = f"raw_video_data/_iblrig_{camera}Camera.raw.mp4"
        assert read_video_header(session / name) == expected
        assert (session / name).read_bytes() == (again / name).read_bytes()
        times = np.load(session / f"alf/_ibl_{camera}Camera.times.npy")
        assert_array_equal(add(session, camera=camera)[1].timestamps, times[2:])


@needs_real_data
class TestRealVideo:
    @needs_av
    def test_frames_and_times_of_the_body_camera(self):
        interface, series = add(CHIMERA, camera="body")
        times = np.load(CHIMERA / "alf/_ibl_bodyCamera.times.npy")
        assert interface.notes == []
        assert (series.num_samples, list(series.dimension)) == (len(times), [640, 512])
        written = series.starting_time + np.arange(series.num_samples) / series.rate
        np.testing.assert_allclose(written, times, rtol=0, atol=1e-6)

    def test_only_the_body_camera_has_a_video(self):
        assert VideoInterface.get_instances(ALFSession(CHIMERA)) == [{"camera_name": "body"}]
