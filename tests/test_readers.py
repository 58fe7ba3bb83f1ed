"""Written files as analysts open them: pynapple and SpikeInterface find the same spikes, trials and traces."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ibl_nwb import convert_document, make_document
from ibl_nwb.testing import make_example_session

FOLDERS = {"probe00": "alf/probe00/pykilosort/#2024-05-06#", "probe01": "alf/probe01/pykilosort"}
AP = "raw_ephys_data/probe01/_spikeglx_ephysData_g0_t0.imec1.ap"


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("readers"),
        n_channels=16,
        raw_duration_s=0.2,
        raw_format="bin",
        cameras=(),
        audio=False,
        passive=False,
        n_trials=8,
        n_clusters=6,
        spikes_per_probe=400,
    )


@pytest.fixture(scope="module")
def nwbfile_path(session_path, tmp_path_factory):
    document = make_document(session_path, timezone="UTC")
    return convert_document(document, tmp_path_factory.mktemp("written") / "x.nwb").nwbfile_path


def spikes_of(session_path, probe):
    """Spike times of every cluster, by plain NumPy."""
    folder = session_path / FOLDERS[probe]
    times, clusters = np.load(folder / "spikes.times.npy"), np.load(folder / "spikes.clusters.npy")
    return {cluster: times[clusters == cluster] for cluster in np.unique(clusters).tolist()}


def test_pynapple_finds_units_and_trials(session_path, nwbfile_path):
    nap = pytest.importorskip("pynapple")
    data = nap.load_file(str(nwbfile_path))
    units = data["units"]
    names = units["unit_name"]
    found = {names[unit]: units[unit].times() for unit in units.index}
    for probe in FOLDERS:
        for cluster, times in spikes_of(session_path, probe).items():
            assert_array_equal(found[f"{probe}_{cluster}"], nap.Ts(times).times())  # rounded as pynapple does
    trials, expected = (
        data["trials"],
        pd.read_parquet(session_path / "alf/#2024-02-20#/_ibl_trials.table.pqt"),
    )
    assert_allclose(trials.start, expected["intervals_0"], atol=1e-9)
    assert_allclose(trials.end, expected["intervals_1"], atol=1e-9)
    assert_array_equal(trials["contrast_left"], expected["contrastLeft"])


def test_spikeinterface_finds_the_spikes(session_path, nwbfile_path):
    from spikeinterface.extractors.extractor_classes import NwbSortingExtractor

    rate_hz = 30_000.0
    sorting = NwbSortingExtractor(str(nwbfile_path), sampling_frequency=rate_hz, t_start=0.0)
    found = {name: sorting.get_unit_spike_train(name) for name in sorting.unit_ids}
    for probe in FOLDERS:
        for cluster, times in spikes_of(session_path, probe).items():
            assert np.abs(found[f"{probe}_{cluster}"] - times * rate_hz).max() <= 1  # whole frames


def test_spikeinterface_finds_the_traces_and_where_they_are(session_path, nwbfile_path):
    from spikeinterface.extractors.extractor_classes import NwbRecordingExtractor

    path = "acquisition/ElectricalSeriesAPProbe01"
    recording = NwbRecordingExtractor(str(nwbfile_path), electrical_series_path=path)
    stored = np.fromfile(session_path / f"{AP}.bin", dtype=np.int16).reshape(-1, 17)[:, :16]
    assert_array_equal(recording.get_traces(), stored)
    coordinates = np.load(session_path / "alf/probe01/electrodeSites.localCoordinates.npy")
    assert_array_equal(recording.get_channel_locations()[:, :2], coordinates)
    meta = dict(line.split("=", 1) for line in (session_path / f"{AP}.meta").read_text().splitlines())
    gain = 500.0
    microvolts = float(meta["imAiRangeMax"]) / 512 / gain * 1e6
    assert_allclose(recording.get_channel_gains(), microvolts, rtol=1e-6)
    assert_allclose(recording.sampling_frequency, float(meta["imSampRate"]), rtol=1e-4)
