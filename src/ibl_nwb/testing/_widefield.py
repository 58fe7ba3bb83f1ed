"""Widefield imaging of an invented cortex."""

import json

import numpy as np

from ._files import Datasets

#: Frames per second of the camera, half of them of either light source, and seconds of imaging.
FRAME_RATE_HZ = 30.0
DURATION_S = 20.0

#: Size of an image (540 x 640 on a rig) and number of components (200).
N_ROWS, N_COLUMNS, N_COMPONENTS = 27, 32, 10

VIOLET, BLUE = 1, 2


def widefield_datasets(generator: np.random.Generator) -> Datasets:
    """
    Invent the widefield imaging of a session: two light sources in turn, violet first.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    dict
        Datasets in ``alf/widefield``. The camera sent one pulse more than there are frames, as it may.
    """
    n_frames = int(FRAME_RATE_HZ * DURATION_S)
    times = 12.5 + np.arange(n_frames + 1) / FRAME_RATE_HZ + generator.normal(0, 2e-5, n_frames + 1)
    strength = np.geomspace(4.0, 0.1, N_COMPONENTS)[:, np.newaxis]
    shape = (N_ROWS, N_COLUMNS, N_COMPONENTS)
    landmarks = {
        "resolution": 0.0194,
        "landmarks": {"name": ["OB_left", "OB_center", "OB_right", "RSP_base"], "x": [-1.9, 0.0, 1.9, 0.0]},
        "landmarks_im": {"name": ["OB_left", "OB_center", "OB_right", "RSP_base"], "x": [11.2, 15.9, 20.4, 16.3]},
        "bregma_offset": [16, 13],
        "transform_type": "similarity",
        "transform": [[0.98, -0.02, 1.4], [0.02, 0.98, -3.1], [0.0, 0.0, 1.0]],
    }
    datasets: Datasets = {
        "imaging.times.npy": times,
        "imaging.imagingLightSource.npy": np.resize([VIOLET, BLUE], n_frames + 1).astype(np.int64),
        "imagingLightSource.properties.htsv": "channel_id,color,wavelength\n0,None,0\n1,Violet,405\n2,Blue,470\n",
        "widefieldU.images.npy": generator.normal(0, 0.05, shape).astype(np.float32),
        "widefieldSVT.uncorrected.npy": (strength * generator.normal(size=(N_COMPONENTS, n_frames))).astype(np.float32),
        "widefieldSVT.haemoCorrected.npy": (strength * generator.normal(size=(N_COMPONENTS, n_frames // 2))).astype(
            np.float32
        ),
        "widefieldChannels.frameAverage.npy": generator.gamma(9.0, 900.0, (2, N_ROWS, N_COLUMNS)).astype(np.float32),
        "widefieldLandmarks.dorsalCortex.json": json.dumps(landmarks, indent=1),
    }
    return {f"alf/widefield/{name}": content for name, content in datasets.items()}
