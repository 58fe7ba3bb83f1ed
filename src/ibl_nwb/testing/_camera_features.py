"""What IBL computes from the videos of an invented session: pupil, motion energy and paw states; and tiny videos."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ._files import Datasets
from ._video import CAMERAS

#: Rectangle of each camera's frames in which its motion energy is computed: width, height, x, y in pixels. It is
#: somewhat elsewhere in every session.
MOTION_ENERGY_REGIONS = {"left": (410, 290, 380, 390), "right": (205, 145, 190, 195), "body": (360, 256, 140, 200)}

#: Mean diameter of the pupil in pixels, by side camera.
PUPIL_DIAMETERS_PX = {"left": 62.0, "right": 31.0}

PAWS = ("paw_r", "paw_l")
PAW_STATES = ("background", "still", "move", "wheel_turn", "groom")

#: Frames at the end that fill no batch of the networks and so have no paw states.
N_FRAMES_WITHOUT_STATES = 7


def camera_feature_files(camera: str, n_frames: int, generator: np.random.Generator) -> Datasets:
    """
    Invent what is computed from the frames of one camera.

    Parameters
    ----------
    camera : {"left", "right", "body"}
    n_frames : int
        Number of saved frames.
    generator : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    dict
        Motion energy (grey levels) and its region; of the side cameras also the pupil's diameters (pixels, NaN in
        blinks) and the states of the paws (probabilities and their variances, NaN at the end).
    """
    motion_energy = generator.gamma(4.0, 1.5, n_frames)
    motion_energy[-1:] = motion_energy[-2:-1]  # the last frame has no next: IBL repeats the value before
    region = np.array(MOTION_ENERGY_REGIONS[camera]) + [0, 0, *generator.integers(-50, 51, 2)]
    datasets: Datasets = {
        f"alf/{camera}Camera.ROIMotionEnergy.npy": motion_energy,
        f"alf/{camera}ROIMotionEnergy.position.npy": region,
    }
    if camera in PUPIL_DIAMETERS_PX:
        datasets[f"alf/_ibl_{camera}Camera.features.pqt"] = _pupil(PUPIL_DIAMETERS_PX[camera], n_frames, generator)
        datasets[f"alf/lightningaction/_ibl_{camera}Camera.pawstates.pqt"] = _paw_states(n_frames, generator)
    return datasets


def write_video(session_path: Path, camera: str, n_frames: int) -> None:
    """
    Write the film of one camera: a bright square that moves over a grey ground, in frames of the camera's nominal size.

    Parameters
    ----------
    session_path : Path
        The session folder.
    camera : {"left", "right", "body"}
    n_frames : int
        Number of frames.

    Raises
    ------
    UsageError
        If PyAV, which encodes it, is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UsageError('video=True takes PyAV, which encodes the videos: pip install "ibl-nwb[video]".') from error
    rate_hz, width, height = CAMERAS[camera]
    path = session_path / f"raw_video_data/_iblrig_{camera}Camera.raw.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(rate_hz), options={"crf": "29", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1  # with more of them the bytes are not always the same
        for index in range(n_frames):
            picture = np.full((height, width), 90, dtype=np.uint8)
            left = (8 * index) % (width - 64)
            picture[height // 2 : height // 2 + 64, left : left + 64] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())


def _pupil(diameter_px: float, n_frames: int, generator: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    smooth = diameter_px + np.cumsum(generator.normal(0.0, 0.1, n_frames))
    raw = smooth + generator.normal(0.0, 1.0, n_frames)
    raw[generator.random(n_frames) < 0.05] = np.nan
    raw[n_frames // 3 : n_frames // 3 + 10] = smooth[n_frames // 3 : n_frames // 3 + 10] = np.nan
    return {"pupilDiameter_raw": raw, "pupilDiameter_smooth": smooth}


def _paw_states(n_frames: int, generator: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    columns: dict[str, NDArray[np.float64]] = {}
    for paw in PAWS:
        evidence = np.exp(3 * generator.normal(0.0, 1.0, (n_frames // 30 + 1, len(PAW_STATES)))).repeat(30, axis=0)
        probabilities = evidence[:n_frames] / evidence[:n_frames].sum(axis=1, keepdims=True)
        columns |= {f"{paw}_{state}": probabilities[:, index] for index, state in enumerate(PAW_STATES)}
    columns |= {f"{name}_ens_var": generator.gamma(1.0, 1e-3, n_frames) for name in list(columns)}
    for values in columns.values():
        values[-N_FRAMES_WITHOUT_STATES:] = np.nan
    return columns
