"""Compare an NWB file with ALF files read by plain NumPy, pandas and mtscomp: shape, type and every value.

Nothing of ``ibl_nwb`` is used here, and the names of files are spelled out, so that a mistake in how the package reads
them cannot hide in how they are checked.
"""

import json

import h5py
import mtscomp
import numpy as np
import pandas as pd
from numpy.testing import assert_array_equal


def newest(folder, name):
    """The newest revision of a file, by the order of folder names; the file itself counts as oldest."""
    candidates = sorted(folder.glob(f"#*#/{name}")) or sorted(folder.glob(name))
    assert candidates, f"{folder} holds no {name}"
    return candidates[-1]


def equal(written, expected, name=""):
    written, expected = np.asarray(written[:]), np.asarray(expected)
    assert written.dtype == expected.dtype, f"{name}: {written.dtype} for {expected.dtype}"
    assert_array_equal(written, expected, err_msg=name)


def check_wheel(file, alf, unit="radians"):
    wheel = file["processing/wheel"]
    equal(wheel["WheelPosition/data"], np.load(newest(alf, "*wheel.position.npy")))
    equal(wheel["WheelPosition/timestamps"], np.load(newest(alf, "*wheel.time*.npy")))
    assert wheel["WheelPosition/data"].attrs["unit"] == unit
    if list(alf.rglob("*wheelMoves.intervals.npy")):
        intervals = np.load(newest(alf, "*wheelMoves.intervals.npy"))
        equal(wheel["WheelMovementIntervals/start_time"], intervals[:, 0])
        equal(wheel["WheelMovementIntervals/stop_time"], intervals[:, 1])
        equal(wheel["WheelMovementIntervals/peak_amplitude"], np.load(newest(alf, "*wheelMoves.peakAmplitude.npy")))


def check_trials(file, alf, columns):
    """``columns`` maps ALF attributes to names of columns."""
    values = {}
    for path in sorted(alf.glob("*trials.*.npy")):
        attribute = path.name.split(".")[1]
        if attribute == "intervals":
            values["intervals_0"], values["intervals_1"] = np.load(path).T
        else:
            values[attribute] = np.load(path)
    if list(alf.rglob("*trials.table.pqt")):
        table = pd.read_parquet(newest(alf, "*trials.table.pqt"))
        values.update({name: table[name].to_numpy() for name in table})
    trials = file["intervals/trials"]
    for attribute, expected in values.items():
        written = trials[columns[attribute]][:]
        if expected.dtype == bool:
            written = written.astype(bool)
        equal(written, expected, attribute)
    assert len(trials.attrs["colnames"]) == len(values)


def check_pose(file, alf, camera, tracker="lightningPose"):
    container = file[f"processing/behavior/PoseEstimation{camera.capitalize()}Camera"]
    table = pd.read_parquet(newest(alf, f"*{camera}Camera.{tracker}.pqt"))
    times = np.load(newest(alf, f"*{camera}Camera.times.npy"))[-len(table) :]
    points = [name.removesuffix("_x") for name in table if name.endswith("_x")]
    assert len(points) == sum(
        key != "Skeleton" and isinstance(container[key], h5py.Group) and "data" in container[key] for key in container
    )
    for point in points:
        series = container["".join(part.capitalize() for part in point.split("_"))]
        equal(series["data"], table[[f"{point}_x", f"{point}_y"]].to_numpy(), point)
        equal(series["confidence"], table[f"{point}_likelihood"].to_numpy(), point)
        if "timestamps" in series:
            equal(series["timestamps"], times, point)
        else:
            start = series["starting_time"]
            np.testing.assert_allclose(
                start[()] + np.arange(len(times)) / start.attrs["rate"], times, rtol=0, atol=1e-6
            )
    rest = [c for c in table if c not in {f"{p}_{part}" for p in points for part in ("x", "y", "likelihood")}]
    for column in rest:
        equal(file[f"processing/behavior/PoseEnsemble{camera.capitalize()}Camera"][column], table[column], column)


def check_audio(file, folder):
    audio = file["processing/audio"]
    aligned = (folder / "_iblmic_audioSpectrogram.times.npy").is_file()
    spectrogram = audio["AudioSpectrogram" if aligned else "AudioSpectrogramMicrophoneClock"]
    equal(spectrogram["power"], np.load(folder / "_iblmic_audioSpectrogram.power.npy"))
    equal(
        audio["AudioSpectrogramFrequencies/frequency"],
        np.load(folder / "_iblmic_audioSpectrogram.frequencies.npy").ravel(),
    )
    for name, column in (("times", "timestamp"), ("times_mic", "time_mic")):
        if (folder / f"_iblmic_audioSpectrogram.{name}.npy").is_file():
            stored = np.load(folder / f"_iblmic_audioSpectrogram.{name}.npy").ravel()
            equal(spectrogram[column], stored.astype("float64"), name)


def check_spikes(file, folder, probe):
    """Spike times, amplitudes and depths of every unit of one probe, and the metrics of each by its id."""
    folder = next(iter(sorted(folder.glob("#*#"), reverse=True)), folder)
    units = file["units"]
    rows = np.flatnonzero(units["probe_name"].asstr()[:] == probe)
    ids = units["cluster_id"][:][rows]
    times, clusters = np.load(folder / "spikes.times.npy"), np.load(folder / "spikes.clusters.npy")
    n_clusters = len(np.load(folder / "clusters.depths.npy")) if (folder / "clusters.depths.npy").is_file() else 0
    assert sorted(ids) == sorted({*range(n_clusters), *np.unique(clusters).tolist()})
    ragged = {"spike_times": times}
    for attribute, column in (("amps", "spike_amplitudes"), ("depths", "spike_depths")):
        if (folder / f"spikes.{attribute}.npy").is_file():
            ragged[column] = np.load(folder / f"spikes.{attribute}.npy")
    for column, values in ragged.items():
        ends = units[f"{column}_index"][:].astype(int)
        starts = np.concatenate(([0], ends[:-1]))
        for row, cluster in zip(rows, ids, strict=True):
            equal(units[column][starts[row] : ends[row]], values[clusters == cluster], f"{column} of {cluster}")
    if (folder / "clusters.metrics.pqt").is_file():
        metrics = pd.read_parquet(folder / "clusters.metrics.pqt").set_index("cluster_id")
        for name in ("firing_rate", "presence_ratio", "label"):
            expected = metrics[name].reindex(ids).to_numpy()
            assert_array_equal(units[name][:][rows], expected, err_msg=name)
    if (folder / "clusters.uuids.csv").is_file():
        uuids = pd.read_csv(folder / "clusters.uuids.csv").squeeze("columns")
        assert units["cluster_uuid"].asstr()[:][rows].tolist() == uuids.reindex(ids).tolist()
    for attribute, column in (("depths", "depths"), ("amps", "amps"), ("peakToTrough", "peak_to_trough")):
        if (folder / f"clusters.{attribute}.npy").is_file():
            expected = np.load(folder / f"clusters.{attribute}.npy")
            assert_array_equal(units[column][:][rows], expected[ids], err_msg=attribute)
            assert units[column].dtype == expected.dtype


def check_raw_ephys(file, folder, probe, band):
    """Every sample against mtscomp's own decompression, the gain, and the times against the knots."""
    (cbin,) = folder.glob(f"*.{band}.cbin")
    series = file[f"acquisition/ElectricalSeries{band.upper()}{probe.capitalize()}"]
    reader = mtscomp.decompress(cbin, cbin.with_suffix(".ch"))
    expected = reader[:][:, :-1]
    reader.close()
    equal(series["data"], expected)
    meta = dict(line.split("=", 1) for line in cbin.with_suffix(".meta").read_text().splitlines() if "=" in line)
    gain = float(meta["~imroTbl"].split(")(")[1].split(" ")[3 if band == "ap" else 4])
    assert np.isclose(series["data"].attrs["conversion"], float(meta["imAiRangeMax"]) / 512 / gain, rtol=1e-12)
    ap_rate = float(meta["imSampRate"]) * (12 if band == "lf" else 1)
    (knots_path,) = folder.glob("*.timestamps.npy")
    knots = np.load(knots_path)
    samples = np.arange(len(expected)) * (ap_rate / float(meta["imSampRate"]))
    inside = samples <= knots[-1, 0]
    reference = np.interp(samples[inside], knots[:, 0], knots[:, 1])
    if "timestamps" in series:
        times = series["timestamps"][:]
    else:
        times = series["starting_time"][()] + np.arange(len(expected)) / series["starting_time"].attrs["rate"]
    np.testing.assert_allclose(times[inside], reference, rtol=0, atol=1e-6)
    return json.loads(cbin.with_suffix(".ch").read_text())["n_channels"] - 1
