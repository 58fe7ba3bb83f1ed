"""Two-photon imaging of invented fields of view."""

import json
from pathlib import Path

import numpy as np

from ._files import Datasets
from ._random import random_uuid

#: Frames per second when six to eight fields of view are scanned in turn, and size of the image (512 x 512 on a rig).
FRAME_RATE_HZ = 5.08
N_ROWS, N_COLUMNS = 48, 40

N_ROIS = 12

#: Time from one line to the next: a resonant scanner of 12 kHz, which scans in both directions.
LINE_PERIOD_S = 1 / 12018.5 / 2

#: Pause between two bouts of imaging.
PAUSE_S = 7.5

#: Layers 2/3 and 4 of the primary visual area, and the area as a whole (Allen CCF 2017).
REGIONS = (821, 721, 385)


def mesoscope_datasets(index: int, session_end_s: float, generator: np.random.Generator) -> Datasets:
    """
    Invent one field of view, but for its masks.

    Parameters
    ----------
    index : int
        Number of the field of view; it is called ``FOV_00``, .... Those with an odd number were marked by the
        experimenter frame by frame, and were found in the brain by histology.
    session_end_s : float
        End of the session; imaging has a pause in its middle, as between two bouts.
    generator : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    dict
        Datasets of ``mpci``, ``mpciROIs``, ``mpciMeanImage`` and ``mpciStack``.
    """
    folder = f"alf/FOV_{index:02d}"
    times = 1.1 + index * N_ROWS * LINE_PERIOD_S + np.arange(0, session_end_s - PAUSE_S, 1 / FRAME_RATE_HZ)
    times[len(times) // 2 :] += PAUSE_S
    shape = (len(times), N_ROIS)
    neuropil = generator.gamma(50.0, 4.0, shape)
    spikes = generator.gamma(2.0, 30.0, shape) * (generator.random(shape) < 0.05)
    centres = np.column_stack((generator.integers(0, N_ROWS, N_ROIS), generator.integers(0, N_COLUMNS, N_ROIS)))
    mlapdv = _pixel_coordinates(index)
    regions = generator.choice(REGIONS, (N_ROWS, N_COLUMNS)).astype(np.int64)
    rows, columns = centres.T
    datasets: Datasets = {
        "mpci.times.npy": times,
        "mpci.ROIActivityF.npy": (300 + 0.7 * neuropil + spikes).astype(np.float32),
        "mpci.ROINeuropilActivityF.npy": neuropil.astype(np.float32),
        "mpci.ROIActivityDeconvolved.npy": spikes.astype(np.float32),
        "mpci.badFrames.npy": generator.random(len(times)) < 0.02,
        "mpciMeanImage.images.npy": generator.gamma(3.0, 200.0, (N_ROWS, N_COLUMNS)),
        "mpciMeanImage.mlapdv_estimate.npy": mlapdv,
        "mpciMeanImage.brainLocationIds_ccf_2017_estimate.npy": regions,
        "mpciROIs.stackPos.npy": np.column_stack((centres, np.zeros(N_ROIS, dtype=np.int64))),
        "mpciROIs.mlapdv_estimate.npy": mlapdv[rows, columns],
        "mpciROIs.brainLocationIds_ccf_2017_estimate.npy": regions[rows, columns],
        "mpciROIs.cellClassifier.npy": (classifier := generator.random(N_ROIS)),
        "mpciROIs.mpciROITypes.npy": (classifier > 0.5).astype(np.int16),
        "mpciROIs.uuids.csv": "\n".join(["uuids", *(random_uuid(generator) for _ in range(N_ROIS))]),
        "mpciROITypes.names.tsv": "roi_values\troi_labels\n0\tno cell\n1\tcell\n",
        "mpciStack.timeshift.npy": np.arange(N_ROWS) * LINE_PERIOD_S,
    }
    if index % 2:
        quality = generator.choice([0, 1, 2], len(times), p=[0.96, 0.02, 0.02])
        datasets |= {
            "mpci.mpciFrameQC.npy": quality.astype(np.uint32),
            "mpciFrameQC.names.tsv": "qc_values\tqc_labels\n0\tok\n1\tPMT off\n2\tgalvos fault\n",
            "mpciMeanImage.mlapdv.npy": mlapdv + 40.0,
            "mpciMeanImage.brainLocationIds_ccf_2017.npy": regions,
            "mpciROIs.mlapdv.npy": mlapdv[rows, columns] + 40.0,
            "mpciROIs.brainLocationIds_ccf_2017.npy": regions[rows, columns],
        }
    return {f"{folder}/{name}": content for name, content in datasets.items()}


def raw_imaging_files(n_fovs: int, session_end_s: float) -> Datasets:
    """
    Invent what the microscope says of a bout, and its times.

    Parameters
    ----------
    n_fovs : int
        Number of fields of view.
    session_end_s : float
        End of the session.
    """
    fovs = [
        {
            "slice_id": 0,
            "nXnYnZ": [N_COLUMNS, N_ROWS, 1],
            "Zs": 245.0,
            "lineIdx": list(range(1 + fov * N_ROWS, 1 + (fov + 1) * N_ROWS)),
            "Deg": {"topLeft": [-2.3 + fov, 2.3], "topRight": [2.3 + fov, 2.3], "bottomLeft": [-2.3 + fov, -2.3]},
        }
        for fov in range(n_fovs)
    ]
    meta = {
        "version": "0.1.2",
        "acquisitionStartTime": [2023, 5, 18, 10, 2, 3.5],
        "channelSaved": 2,
        "nFrames": round(session_end_s * FRAME_RATE_HZ),
        "scanImageParams": {"scannerFrequency": 12018.5, "hRoiManager": {"scanFrameRate": FRAME_RATE_HZ}},
        "centerMM": {"ML": 2.4, "AP": -2.2},
        "FOV": fovs,
    }
    folder = "raw_imaging_data_00"
    return {
        f"{folder}/_ibl_rawImagingData.meta.json": json.dumps(meta, indent=1),
        f"{folder}/rawImagingData.times_scanImage.npy": np.arange(0, session_end_s, 1 / FRAME_RATE_HZ),
    }


def write_masks(session_path: Path, index: int, generator: np.random.Generator) -> None:
    """
    Write the masks of the ROIs of a field of view and of their neuropil, sparse as the package sparse writes them.

    Parameters
    ----------
    session_path : pathlib.Path
        The session folder.
    index : int
        Number of the field of view.
    generator : numpy.random.Generator
        Source of random numbers.
    """
    import sparse

    shape = (N_ROIS, N_ROWS, N_COLUMNS)
    weights = generator.random(shape, dtype=np.float32) * (generator.random(shape) < 0.01)
    around = (generator.random(shape) < 0.05) & (weights == 0)
    for attribute, dense in (("masks", weights), ("neuropilMasks", around)):
        path = session_path / f"alf/FOV_{index:02d}" / f"mpciROIs.{attribute}.sparse_npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            sparse.save_npz(file, sparse.GCXS.from_coo(sparse.COO.from_numpy(dense)))


def _pixel_coordinates(index: int) -> np.ndarray:
    """Mediolateral, anteroposterior and dorsoventral coordinates of every pixel in µm, ``(rows, columns, 3)``."""
    row, column = np.mgrid[:N_ROWS, :N_COLUMNS] * 9.0
    ml, ap = 1800.0 + 400 * index + column, -1900.0 - row
    return np.stack((ml, ap, -500.0 - 0.1 * ml), axis=-1)
