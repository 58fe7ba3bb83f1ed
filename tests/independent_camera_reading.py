"""Compare what a camera saw in an NWB file with ALF files, as independent_reading does and with as little of ours."""

import numpy as np
import pandas as pd
from independent_reading import equal, newest


def check_times(series, alf, camera, n_frames):
    """The last times of the camera, one per frame, float64 as NWB wants them."""
    times = np.load(newest(alf, f"*{camera}Camera.times.npy"))
    times = times[len(times) - n_frames :].astype("float64")
    if "timestamps" in series:
        equal(series["timestamps"], times)
        return
    start = series["starting_time"]
    np.testing.assert_allclose(start[()] + np.arange(n_frames) / start.attrs["rate"], times, rtol=0, atol=1e-6)


def check_licks(file, alf):
    equal(file["events/Licks/timestamp"], np.load(newest(alf, "*licks.times.npy")).ravel().astype("float64"))


def check_frame_table(container, alf, camera, path):
    """Every column of a table with one row per frame, each a series called after it in camel case."""
    table = pd.read_parquet(path)
    names = {name: "".join(part[:1].upper() + part[1:] for part in name.split("_")) for name in table}
    assert set(container) == set(names.values())
    for column, name in names.items():
        equal(container[name]["data"], table[column], column)
        check_times(container[name], alf, camera, len(table))


def check_pupil(file, alf, camera):
    container = file[f"processing/behavior/PupilTracking{camera.capitalize()}Camera"]
    check_frame_table(container, alf, camera, newest(alf, f"*{camera}Camera.features.pqt"))


def check_paw_states(file, alf, camera):
    container = file[f"processing/behavior/PawStates{camera.capitalize()}Camera"]
    check_frame_table(container, alf, camera, newest(alf / "lightningaction", f"*{camera}Camera.pawstates.pqt"))


def check_motion_energy(file, alf, camera):
    behavior, label = file["processing/behavior"], f"{camera.capitalize()}Camera"
    values = np.load(newest(alf, f"{camera}Camera.ROIMotionEnergy.npy"))
    equal(behavior[f"MotionEnergy{label}/data"], values)
    check_times(behavior[f"MotionEnergy{label}"], alf, camera, len(values))
    region = np.load(newest(alf, f"{camera}ROIMotionEnergy.position.npy")).ravel()
    for index, name in enumerate(("width", "height", "x", "y")):
        equal(behavior[f"MotionEnergyRegion{label}/{name}"], region[index : index + 1], name)


def check_video(file, alf, camera, n_frames, nwbfile_path):
    """The film that the file refers to is that of the camera, with a time for each of its frames."""
    series = file[f"acquisition/Video{camera.capitalize()}Camera"]
    (reference,) = series["external_file"].asstr()[:]
    (film,) = (alf.parent / "raw_video_data").glob(f"_iblrig_{camera}Camera.raw*.mp4")
    assert (nwbfile_path.parent / reference).read_bytes() == film.read_bytes()
    check_times(series, alf, camera, n_frames)
