"""SortedSpikesInterface: every spike, attribute and metric with its own unit, checked with NumPy and pandas."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neuroconv import NWBConverter
from neuroconv.tools.nwb_helpers import get_default_backend_configuration
from neuroconv.tools.testing import MockRecordingInterface, MockSortingInterface, MockTimeSeriesInterface
from neuroconv.tools.testing.data_interface_mixins import SortingExtractorInterfaceTestMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb, validate
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.sorted_spikes import SortedSpikesInterface
from ibl_nwb.interfaces.spike_column import SpikeColumn
from ibl_nwb.interfaces.spike_trains import Spikes
from ibl_nwb.session import ALFSession, Dataset
from ibl_nwb.testing import make_example_session

PYKILOSORT = "alf/probe00/pykilosort"
N_CHANNELS, N_RAW = 24, 32

#: Columns by the ALF attribute they hold, spelled out so that the naming rule is checked too.
CLUSTER_COLUMNS = {"amps": "amps", "depths": "depths", "peakToTrough": "peak_to_trough"}
SPIKE_COLUMNS = {"amps": "spike_amplitudes", "depths": "spike_depths"}
METRICS_COLUMNS = {
    "amp_std_dB": "amp_std_db",
    "slidingRP_viol": "sliding_rp_viol",
    "slidingRP_viol_forced": "sliding_rp_viol_forced",
}


def make_sorting(
    session_path,
    collection=PYKILOSORT,
    *,
    n_clusters=8,
    silent=(3, 7),
    n_spikes=400,
    cluster_type="uint16",
    float_type="float64",
    seed=0,
):
    """A sorting whose channels skip some columns of the raw file and whose metrics are shuffled."""
    rng = np.random.default_rng(seed)
    folder = session_path / collection
    folder.mkdir(parents=True, exist_ok=True)
    clusters = rng.choice(np.setdiff1d(np.arange(n_clusters), silent), n_spikes).astype(cluster_type)
    samples = np.sort(rng.integers(0, 60_000, n_spikes))
    raw_channels = np.sort(rng.choice(N_RAW, N_CHANNELS, replace=False))
    save(
        folder,
        {
            "spikes.times": samples / 30_000 * (1 + 1e-6) + 0.01,  # session clock, not samples / rate
            "spikes.samples": samples.astype("uint64"),
            "spikes.clusters": clusters,
            "spikes.templates": clusters,
            "spikes.amps": rng.uniform(1e-5, 1e-4, n_spikes).astype(float_type),
            "spikes.depths": rng.uniform(0, 3840, n_spikes).astype(float_type),
            "clusters.channels": rng.integers(0, N_CHANNELS, n_clusters),
            "clusters.depths": rng.uniform(0, 3840, n_clusters).astype("float32"),
            "clusters.amps": rng.uniform(1e-5, 1e-4, n_clusters),
            "clusters.peakToTrough": rng.uniform(-1, 1, n_clusters),
            "clusters.waveforms": rng.normal(size=(n_clusters, 20, 6)).astype("float32"),
            "clusters.waveformsChannels": rng.permuted(np.tile(np.arange(N_CHANNELS), (n_clusters, 1)), axis=1)[
                :, :6
            ].astype("int32"),
            "channels.rawInd": raw_channels,
            "channels.localCoordinates": np.column_stack((raw_channels % 4 * 16.0, raw_channels // 2 * 20.0)),
        },
    )
    (folder / "clusters.uuids.csv").write_text("\n".join(["uuids", *(f"{seed}-uuid-{i}" for i in range(n_clusters))]))
    metrics = pd.DataFrame(
        {
            "cluster_id": np.arange(n_clusters),
            "firing_rate": rng.uniform(0, 20, n_clusters),
            "slidingRP_viol": rng.integers(0, 2, n_clusters).astype(float),
            "amp_std_dB": rng.uniform(0, 3, n_clusters),
            "bitwise_fail": rng.integers(0, 8, n_clusters).astype("uint8"),
            "ks2_label": rng.choice(["good", "mua"], n_clusters),
        }
    )
    metrics.sample(frac=1, random_state=seed).to_parquet(folder / "clusters.metrics.pqt", index=False)
    return session_path


def save(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)


def edit(folder, name, change):
    np.save(folder / f"{name}.npy", change(np.load(folder / f"{name}.npy")))


def edit_metrics(folder, change):
    change(pd.read_parquet(folder / "clusters.metrics.pqt")).to_parquet(folder / "clusters.metrics.pqt", index=False)


def add(session_path, nwbfile=None, metadata=None, probe_name="probe00", source=None, **options):
    """The units table after a sorting was added."""
    nwbfile = nwbfile or mock_NWBFile()
    interface = SortedSpikesInterface(session_path, probe_name=probe_name, **(source or {}))
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile.units


def with_start_time(metadata):
    metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18).astimezone()
    return metadata


def cells(units, column, rows):
    """Values of a column in some rows, whether they are in memory or on disk, regions as row numbers."""
    ragged = f"{column}_index" in {c.name for c in units.columns}
    if not ragged:
        return np.asarray(units[column].data[:])[rows]
    stops = np.asarray(units[column].data[:]).astype(int)
    starts = np.concatenate(([0], stops[:-1]))
    return [units[column].target.data[starts[row] : stops[row]] for row in rows]


def check_units(units, folder, probe_name="probe00", dropped=()):
    """Compare all units of a probe with the files in a folder, value by value and type by type."""
    rows = np.flatnonzero(np.asarray(units["probe_name"].data[:]) == probe_name)
    ids = cells(units, "cluster_id", rows)
    times, clusters = np.load(folder / "spikes.times.npy"), np.load(folder / "spikes.clusters.npy")
    attributes = {path.name.split(".")[1]: np.load(path) for path in folder.glob("clusters.*.npy")}
    n_clusters = len(next(iter(attributes.values()))) if attributes else 0
    assert sorted(ids) == sorted({*range(n_clusters), *clusters.tolist()} - set(dropped))
    assert cells(units, "unit_name", rows).tolist() == [f"{probe_name}_{i}" for i in ids]
    assert len(set(units.id[:])) == len(units)
    for written, cluster in zip(cells(units, "spike_times", rows), ids, strict=True):
        assert_array_equal(written, times[clusters == cluster], strict=True)
    for attribute, column in SPIKE_COLUMNS.items():
        if (folder / f"spikes.{attribute}.npy").is_file():
            stored = np.load(folder / f"spikes.{attribute}.npy")
            for written, cluster in zip(cells(units, column, rows), ids, strict=True):
                assert_array_equal(written, stored[clusters == cluster], strict=True)
    for attribute, column in CLUSTER_COLUMNS.items():
        if attribute in attributes:
            assert_array_equal(cells(units, column, rows), attributes[attribute][ids], strict=True)
    if (folder / "clusters.metrics.pqt").is_file():
        metrics = pd.read_parquet(folder / "clusters.metrics.pqt").set_index("cluster_id")
        for name in metrics:
            written = cells(units, METRICS_COLUMNS.get(name, name), rows)
            known = np.isin(ids, metrics.index)
            assert_array_equal(written[known], metrics[name].loc[ids[known]].to_numpy(), err_msg=name)
            if metrics[name].dtype.kind in "iuf":
                assert written.dtype == metrics[name].dtype
    if (folder / "clusters.uuids.csv").is_file():
        uuids = np.array((folder / "clusters.uuids.csv").read_text().split()[1:])
        assert cells(units, "cluster_uuid", rows).tolist() == uuids[ids].tolist()
    if "waveforms" in attributes:
        n_samples, n_kept = attributes["waveforms"].shape[1:]
        written = cells(units, "waveform_mean", rows)
        assert_array_equal(written[:, :n_samples, :n_kept], attributes["waveforms"][ids], strict=True)
        assert np.isnan(written[:, n_samples:]).all() and np.isnan(written[:, :, n_kept:]).all()
    if (folder / "channels.rawInd.npy").is_file():
        check_electrodes(units, rows, ids, attributes, np.load(folder / "channels.rawInd.npy"), probe_name)


def check_electrodes(units, rows, ids, attributes, raw_channels, probe_name):
    electrodes = units["electrodes"].target.table
    column_of_row = np.asarray(electrodes["channel"].data[:])
    group_of_row = np.asarray(electrodes["group_name"].data[:])
    channels = {
        "electrodes": attributes["channels"][:, np.newaxis],
        "waveform_channels": attributes["waveformsChannels"],
    }
    for name, of_clusters in channels.items():
        for written, cluster in zip(cells(units, name, rows), ids, strict=True):
            assert column_of_row[written].tolist() == raw_channels[of_clusters[cluster]].tolist()
            assert set(group_of_row[written]) == {probe_name}


@pytest.fixture(scope="class")
def sorting(tmp_path_factory):
    return make_sorting(tmp_path_factory.mktemp("sorting"))


@pytest.fixture(scope="module")
def example_session(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("example"), n_channels=48, raw_bands=(), cameras=(), audio=False, spikes_per_probe=3000
    )


class TestWithNeuroConvsMixin(SortingExtractorInterfaceTestMixin):
    data_interface_cls = SortedSpikesInterface
    associated_recording_cls = MockRecordingInterface
    associated_recording_kwargs = {"durations": (2.5,), "sampling_frequency": 30_000.0, "num_channels": 2}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, sorting):
        cls.interface_kwargs = {"session_path": str(sorting), "probe_name": "probe00"}
        cls.folder = sorting / PYKILOSORT

    def check_read_nwb(self, nwbfile_path):
        """Seconds instead of the mixin's frames, which are samples of the probe and not of the session clock."""
        nwbfile = read_nwb(nwbfile_path)
        check_units(nwbfile.units, self.folder)
        extractor = self.interface.sorting_extractor
        for row, cluster in enumerate(extractor.unit_ids):
            assert_array_equal(nwbfile.units["spike_times"][row], extractor.get_unit_spike_train_in_seconds(cluster))
        nwbfile.read_io.close()

    def run_custom_checks(self):
        from spikeinterface.extractors.extractor_classes import NwbSortingExtractor

        read = NwbSortingExtractor(self.nwbfile_path, sampling_frequency=30_000.0, t_start=0.0)
        assert read.unit_ids.tolist() == [f"probe00_{cluster}" for cluster in range(8)]
        assert validate(path=self.nwbfile_path) == []


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_probes_beside_foreign_interfaces_and_twice_in_a_row(tmp_path, backend):
    class Converter(NWBConverter):
        data_interface_classes = {
            "Foreign": MockTimeSeriesInterface,
            "ForeignSorting": MockSortingInterface,
            "Probe00": SortedSpikesInterface,
            "Probe01": SortedSpikesInterface,
        }

    session_path = make_sorting(tmp_path / "session")
    make_sorting(session_path, "alf/probe01/pykilosort", cluster_type="int32", n_clusters=12, silent=(0,), seed=1)
    source = {"session_path": str(session_path)}
    converter = Converter(
        {
            "Foreign": {},
            "ForeignSorting": {"num_units": 3},
            "Probe00": {**source, "probe_name": "probe00"},
            "Probe01": {**source, "probe_name": "probe01"},
        }
    )
    metadata = with_start_time(converter.get_metadata())
    metadata["Units"]["columns"]["amps"] = "Mine."
    for run in range(2):
        converter.run_conversion(tmp_path / f"{run}.nwb", metadata=metadata, backend=backend)
        nwbfile = read_nwb(tmp_path / f"{run}.nwb")
        assert len(nwbfile.units) == 3 + 8 + 12
        check_units(nwbfile.units, session_path / PYKILOSORT, "probe00")
        check_units(nwbfile.units, session_path / "alf/probe01/pykilosort", "probe01")
        foreign = MockSortingInterface(num_units=3).sorting_extractor
        for row, unit_id in enumerate(foreign.unit_ids):
            spike_times = foreign.get_unit_spike_train_in_seconds(unit_id)
            assert_array_equal(nwbfile.units["spike_times"][row], spike_times)
            assert len(nwbfile.units["spike_amplitudes"][row]) == 0
            assert np.isnan(nwbfile.units["firing_rate"][row])
            assert nwbfile.units["cluster_id"][row] == -1
        assert nwbfile.units["amps"].description == "Mine."
        assert len(nwbfile.acquisition) == 1
        nwbfile.read_io.close()
    if backend == "hdf5":
        assert validate(path=str(tmp_path / "0.nwb")) == []


def test_the_example_session_with_two_probes_and_a_revision(tmp_path, example_session):
    nwbfile = mock_NWBFile()
    for instance in SortedSpikesInterface.get_instances(ALFSession(example_session)):
        SortedSpikesInterface(example_session, **instance).add_to_nwbfile(nwbfile)
    check_units(nwbfile.units, example_session / PYKILOSORT / "#2024-05-06#", "probe00")
    check_units(nwbfile.units, example_session / "alf/probe01/pykilosort", "probe01")
    assert set(nwbfile.units["sorting_path"].data) == {f"{PYKILOSORT}/#2024-05-06#", "alf/probe01/pykilosort"}


def test_no_complaint_of_the_inspector(tmp_path, example_session):
    from nwbinspector import inspect_nwbfile, load_config

    interface = SortedSpikesInterface(example_session, probe_name="probe00")
    path = tmp_path / "units.nwb"
    interface.run_conversion(path, metadata=with_start_time(interface.get_metadata()))
    found = [
        message
        for message in inspect_nwbfile(path, config=load_config("dandi"))
        if message.importance.name in ("CRITICAL", "BEST_PRACTICE_VIOLATION", "ERROR", "PYNWB_VALIDATION")
        and message.object_type not in ("NWBFile", "Subject")
    ]
    assert found == []


@needs_real_data
@pytest.mark.parametrize(
    ("session_path", "collection", "n_units"),
    [
        (CHIMERA, PYKILOSORT, 15),
        (REAL / "bombcell_ks2", PYKILOSORT, 15),
        (REAL / "ibllib/ephys_test", "alf/probe00", 289),
    ],
    ids=["chimera", "bombcell_ks2", "ephys_test"],
)
def test_real_sortings(tmp_path, session_path, collection, n_units):
    interface = SortedSpikesInterface(session_path, probe_name="probe00")
    path = tmp_path / "units.nwb"
    interface.run_conversion(path, metadata=with_start_time(interface.get_metadata()))
    nwbfile = read_nwb(path)
    assert len(nwbfile.units) == n_units
    check_units(nwbfile.units, session_path / collection)
    assert nwbfile.units["cluster_id"].data.dtype == np.load(session_path / collection / "spikes.clusters.npy").dtype
    nwbfile.read_io.close()
    assert validate(path=str(path)) == []


class TestTypes:
    @pytest.mark.parametrize("cluster_type", ["uint8", "uint16", "int32", "uint32", "int64", "uint64"])
    def test_cluster_ids_keep_their_type(self, tmp_path, cluster_type):
        units = add(make_sorting(tmp_path, cluster_type=cluster_type))
        check_units(units, tmp_path / PYKILOSORT)
        assert units["cluster_id"].data.dtype == cluster_type

    def test_single_precision_stays_single(self, tmp_path):
        units = add(make_sorting(tmp_path, float_type="float32"))
        assert units["spike_amplitudes"].target.data.dtype == units["spike_depths"].target.data.dtype == "float32"

    def test_columns_of_matlab_shape(self, tmp_path):
        expected = add(make_sorting(tmp_path / "a"))["spike_times"].target.data[:]
        make_sorting(tmp_path / "b")
        for name in ("spikes.times", "spikes.clusters", "clusters.amps"):
            edit(tmp_path / "b" / PYKILOSORT, name, lambda values: values[:, np.newaxis])
        units = add(tmp_path / "b")
        assert_array_equal(units["spike_times"].target.data[:], expected)
        assert units["amps"].data.shape == (8,)

    def test_ids_beyond_16_bits(self, tmp_path):
        make_sorting(tmp_path, cluster_type="int32")
        for path in (tmp_path / PYKILOSORT).glob("clusters.*"):
            path.unlink()
        edit(tmp_path / PYKILOSORT, "spikes.clusters", lambda ids: np.where(ids % 2, ids + 2**16, ids))
        units = add(tmp_path)
        clusters = np.load(tmp_path / PYKILOSORT / "spikes.clusters.npy")
        times = np.load(tmp_path / PYKILOSORT / "spikes.times.npy")
        assert units["cluster_id"].data.tolist() == np.unique(clusters).tolist()
        for row, cluster in enumerate(units["cluster_id"].data):
            assert_array_equal(units["spike_times"][row], times[clusters == cluster])


class TestWhichUnits:
    def test_silent_clusters_are_kept(self, tmp_path):
        units = add(make_sorting(tmp_path, silent=(0, 3, 7)))
        assert units["cluster_id"].data.tolist() == list(range(8))
        assert [len(units["spike_times"][row]) > 0 for row in range(8)] == [i not in (0, 3, 7) for i in range(8)]

    def test_silent_clusters_can_be_dropped_and_nothing_is_shifted(self, tmp_path):
        units = add(make_sorting(tmp_path, silent=(0, 3, 7)), silent_clusters="drop")
        assert units["cluster_id"].data.tolist() == [1, 2, 4, 5, 6]
        check_units(units, tmp_path / PYKILOSORT, dropped=(0, 3, 7))

    def test_ids_that_only_occur_in_the_spikes_are_units_without_attributes(self, tmp_path):
        make_sorting(tmp_path)
        edit(tmp_path / PYKILOSORT, "spikes.clusters", lambda clusters: np.where(clusters == 2, 40, clusters))
        units = add(tmp_path)
        assert units["cluster_id"].data.tolist() == [*range(8), 40]
        assert len(units["spike_times"][2]) == 0 < len(units["spike_times"][8])
        assert np.isnan(units["amps"].data[8]) and np.isnan(units["waveform_mean"].data[8]).all()
        assert units["cluster_uuid"].data[8] == "" and units["bitwise_fail"].data[8] == 255
        assert len(units["electrodes"].get(8, index=True)) == len(units["waveform_channels"].get(8, index=True)) == 0

    def test_no_spikes_at_all(self, tmp_path):
        make_sorting(tmp_path)
        for path in (tmp_path / PYKILOSORT).glob("spikes.*.npy"):
            edit(tmp_path / PYKILOSORT, path.stem, lambda values: values[:0])
        interface = SortedSpikesInterface(tmp_path, probe_name="probe00")
        interface.run_conversion(tmp_path / "o.nwb", metadata=with_start_time(interface.get_metadata()))
        nwbfile = read_nwb(tmp_path / "o.nwb")
        assert [len(nwbfile.units["spike_times"][row]) for row in range(8)] == [0] * 8
        nwbfile.read_io.close()
        with pytest.raises(DatasetInconsistentError, match="has no unit to convert"):
            add(tmp_path, silent_clusters="drop")

    def test_stub(self, tmp_path):
        units = add(make_sorting(tmp_path, n_clusters=150, silent=(2,), n_spikes=30_000), stub_test=True)
        times = np.load(tmp_path / PYKILOSORT / "spikes.times.npy")
        clusters = np.load(tmp_path / PYKILOSORT / "spikes.clusters.npy")
        assert units["cluster_id"].data.tolist() == list(range(15))
        for row in range(15):
            assert_array_equal(units["spike_times"][row], times[clusters == row][:100])
            assert len(units["spike_amplitudes"][row]) == len(units["spike_times"][row])


class TestMetrics:
    def test_fewer_rows_in_another_order_are_joined_by_id(self, tmp_path):
        make_sorting(tmp_path)
        edit_metrics(tmp_path / PYKILOSORT, lambda table: table[~table.cluster_id.isin([1, 4])].iloc[::-1])
        units = add(tmp_path)
        check_units(units, tmp_path / PYKILOSORT)
        missing = units["firing_rate"].data[[1, 4]], units["bitwise_fail"].data[[1, 4]], units["ks2_label"].data[[1, 4]]
        assert np.isnan(missing[0]).all() and missing[1].tolist() == [255, 255] and missing[2].tolist() == ["", ""]

    def test_joined_by_row_when_there_are_no_ids(self, tmp_path):
        make_sorting(tmp_path)
        edit_metrics(tmp_path / PYKILOSORT, lambda table: table.sort_values("cluster_id").drop(columns="cluster_id"))
        expected = pd.read_parquet(tmp_path / PYKILOSORT / "clusters.metrics.pqt")
        assert_array_equal(add(tmp_path)["firing_rate"].data, expected["firing_rate"])

    def test_ids_as_index(self, tmp_path):
        make_sorting(tmp_path)
        path = tmp_path / PYKILOSORT / "clusters.metrics.pqt"
        expected = pd.read_parquet(path).set_index("cluster_id")
        expected.to_parquet(path)
        assert_array_equal(add(tmp_path)["firing_rate"].data, expected["firing_rate"].sort_index())

    def test_csv_of_older_pipelines(self, tmp_path):
        make_sorting(tmp_path)
        path = tmp_path / PYKILOSORT / "clusters.metrics.pqt"
        table = pd.read_parquet(path).reset_index(drop=True)
        table.to_csv(path.with_suffix(".csv"))
        path.unlink()
        units = add(tmp_path)
        assert_array_equal(units["firing_rate"].data, table.sort_values("cluster_id")["firing_rate"])
        assert not any("unnamed" in name for name in units.colnames)

    def test_nullable_types_keep_the_type_behind(self, tmp_path):
        make_sorting(tmp_path)
        n_bursts = pd.array([5, None, 7, 8, 9, 10, 11, 12], dtype="Int16")
        edit_metrics(tmp_path / PYKILOSORT, lambda table: table.sort_values("cluster_id").assign(n_bursts=n_bursts))
        column = add(tmp_path)["n_bursts"]
        assert column.data.dtype == "int16" and column.data.tolist() == [5, -1, 7, 8, 9, 10, 11, 12]

    def test_a_name_that_is_taken_gets_a_prefix(self, tmp_path):
        make_sorting(tmp_path)
        edit_metrics(tmp_path / PYKILOSORT, lambda table: table.assign(amps=1.5, name="a", spike_amplitudes=2.5))
        units = add(tmp_path)
        assert set(units["metrics_amps"].data) == {1.5} and set(units["metrics_name"].data) == {"a"}
        assert set(units["metrics_spike_amplitudes"].data) == {2.5}
        assert_array_equal(units["amps"].data, np.load(tmp_path / PYKILOSORT / "clusters.amps.npy"))


class TestAttributes:
    def test_unknown_attributes_become_columns(self, tmp_path):
        make_sorting(tmp_path)
        save(tmp_path / PYKILOSORT, {"clusters.newThing": np.arange(16, dtype="int16").reshape(8, 2)})
        column = add(tmp_path)["new_thing"]
        assert_array_equal(column.data, np.arange(16, dtype="int16").reshape(8, 2), strict=True)
        assert column.description == "Not described by IBL's documentation. ALF clusters.newThing."

    def test_pickled_attributes_are_left_out_and_noted(self, tmp_path):
        make_sorting(tmp_path)
        path = tmp_path / PYKILOSORT / "clusters.brainLocationAcronyms_ccf_2017.npy"
        np.save(path, np.array(["VISp"] * 8, dtype=object), allow_pickle=True)
        interface = SortedSpikesInterface(tmp_path, probe_name="probe00")
        assert interface.notes == [f"{PYKILOSORT}/{path.name} left out: reading pickled objects could run any code."]
        assert not any("acronyms" in name for name in add(tmp_path).colnames)

    def test_samples_and_templates_on_request(self, tmp_path):
        make_sorting(tmp_path)
        interface = SortedSpikesInterface(tmp_path, probe_name="probe00")
        for _ in range(2):
            nwbfile = mock_NWBFile()
            interface.add_to_nwbfile(nwbfile)
        assert {"spike_samples", "spike_templates"}.isdisjoint(nwbfile.units.colnames)
        assert interface.notes == [
            "spikes.samples left out: the option write_spike_samples is off.",
            "spikes.templates left out: the option write_spike_templates is off.",
        ]
        units = add(tmp_path, write_spike_samples=True, write_spike_templates=True)
        clusters = np.load(tmp_path / PYKILOSORT / "spikes.clusters.npy")
        for attribute in ("samples", "templates"):
            stored = np.load(tmp_path / PYKILOSORT / f"spikes.{attribute}.npy")
            for row in range(8):
                assert_array_equal(units[f"spike_{attribute}"][row], stored[clusters == row], strict=True)

    def test_without_channel_map_channels_stay_numbers(self, tmp_path):
        make_sorting(tmp_path)
        (tmp_path / PYKILOSORT / "channels.rawInd.npy").unlink()
        nwbfile = mock_NWBFile()
        units = add(tmp_path, nwbfile)
        stored = {
            name: np.load(tmp_path / PYKILOSORT / f"clusters.{name}.npy") for name in ("channels", "waveformsChannels")
        }
        assert_array_equal(units["channels"].data, stored["channels"], strict=True)
        assert_array_equal(units["waveforms_channels"].data, stored["waveformsChannels"], strict=True)
        assert "electrodes" not in units.colnames and nwbfile.electrodes is None

    def test_waveforms_can_be_left_out(self, tmp_path):
        colnames = add(make_sorting(tmp_path), write_waveforms=False).colnames
        assert {"waveform_mean", "waveform_channels"}.isdisjoint(colnames)

    def test_sampling_rate_of_the_metadata(self, example_session, tmp_path):
        session = make_example_session(
            tmp_path,
            n_channels=8,
            raw_bands=("ap",),
            raw_format="bin",
            raw_duration_s=0.1,
            cameras=(),
            audio=False,
            probes=("probe00",),
            spikes_per_probe=100,
        )
        (meta,) = session.rglob("*.ap.meta")
        rate_hz = float(dict(line.split("=", 1) for line in meta.read_text().splitlines())["imSampRate"])
        units = add(session)
        assert units.waveform_rate == rate_hz and units.resolution == 1 / rate_hz
        assert add(example_session).waveform_rate == 30_000


class TestTemplates:
    def make(self, folder):
        make_sorting(folder)
        for name in ("waveforms", "waveformsChannels"):
            (folder / PYKILOSORT / f"clusters.{name}.npy").rename(folder / PYKILOSORT / f"templates.{name}.npy")
        return folder

    def test_stand_for_waveforms_without_curation(self, tmp_path):
        units = add(self.make(tmp_path))
        expected = np.load(tmp_path / PYKILOSORT / "templates.waveforms.npy")
        assert_array_equal(units["waveform_mean"].data, expected, strict=True)
        assert "waveform_channels" in units.colnames

    def test_do_not_after_curation(self, tmp_path):
        edit(self.make(tmp_path) / PYKILOSORT, "spikes.templates", lambda templates: templates[::-1])
        interface = SortedSpikesInterface(tmp_path, probe_name="probe00")
        assert "waveform_mean" not in interface.get_metadata()["Units"]["columns"]
        assert "clusters were curated" in interface.notes[0]
        assert "waveform_mean" not in add(tmp_path).colnames

    def test_their_channels_do_not_stand_for_those_of_clusters(self, tmp_path):
        make_sorting(tmp_path)
        folder = tmp_path / PYKILOSORT
        (folder / "clusters.waveformsChannels.npy").rename(folder / "templates.waveformsChannels.npy")
        colnames = add(tmp_path).colnames
        assert "waveform_mean" in colnames and "waveform_channels" not in colnames


class TestWhichSorting:
    def instances(self, session_path, **kwargs):
        return SortedSpikesInterface.get_instances(ALFSession(session_path, **kwargs))

    def test_one_instance_per_probe_with_the_preferred_sorter(self, tmp_path):
        for collection in (
            "alf/probe00",
            PYKILOSORT,
            "alf/probe01/iblsorter",
            "alf/probe01/kilosort2",
            "alf/probe02/mine",
        ):
            make_sorting(tmp_path, collection)
        assert self.instances(tmp_path) == [
            {"probe_name": "probe00", "collection": PYKILOSORT},
            {"probe_name": "probe01", "collection": "alf/probe01/iblsorter"},
            {"probe_name": "probe02", "collection": "alf/probe02/mine"},
        ]
        chosen = SortedSpikesInterface(tmp_path, probe_name="probe01", collection="alf/probe01/kilosort2")
        assert chosen.instance["collection"] == "alf/probe01/kilosort2"

    def test_an_incomplete_sorting_does_not_hide_a_complete_one(self, tmp_path):
        make_sorting(tmp_path)
        save(tmp_path / "alf/probe00/iblsorter", {"spikes.times": np.arange(3.0)})
        assert self.instances(tmp_path) == [{"probe_name": "probe00", "collection": PYKILOSORT}]
        assert SortedSpikesInterface.get_incomplete_instances(ALFSession(tmp_path)) == {}

    def test_unknown_probe(self, tmp_path):
        with pytest.raises(UsageError, match="no probe_name 'probe07'.*It has: .*probe00"):
            SortedSpikesInterface(make_sorting(tmp_path), probe_name="probe07")

    def test_all_files_are_of_the_newest_revision_that_is_complete(self, tmp_path):
        make_sorting(tmp_path, n_clusters=5, silent=())
        make_sorting(tmp_path, f"{PYKILOSORT}/#2024-05-06#", n_clusters=9, silent=(), seed=1)
        (tmp_path / PYKILOSORT / "#2024-05-06#/clusters.metrics.pqt").unlink()
        save(tmp_path / PYKILOSORT / "#2025-01-01#", {"clusters.amps": np.arange(7.0)})
        units = add(tmp_path)
        check_units(units, tmp_path / PYKILOSORT / "#2024-05-06#")
        assert "firing_rate" not in units.colnames
        units = add(tmp_path, source={"revision": ""})
        check_units(units, tmp_path / PYKILOSORT)
        assert len(units) == 5 and set(units["sorting_path"].data) == {PYKILOSORT}

    def test_required_files_of_two_revisions_are_never_combined(self, tmp_path):
        make_sorting(tmp_path)
        folder = tmp_path / PYKILOSORT
        (folder / "#2024-05-06#").mkdir()
        (folder / "spikes.clusters.npy").rename(folder / "#2024-05-06#/spikes.clusters.npy")
        assert self.instances(tmp_path) == []
        with pytest.raises(DatasetMissingError, match="spikes.times.npy is missing"):
            SortedSpikesInterface(tmp_path, probe_name="probe00")


class TestOneTable:
    def test_what_only_one_probe_has_is_filled_for_the_other(self, tmp_path):
        make_sorting(tmp_path)
        make_sorting(tmp_path, "alf/probe01/pykilosort", n_clusters=4, silent=(), seed=1)
        second = tmp_path / "alf/probe01/pykilosort"
        for name in ("spikes.depths.npy", "clusters.depths.npy", "clusters.metrics.pqt", "clusters.uuids.csv"):
            (second / name).unlink()
        for name, kept in (("clusters.waveforms", 4), ("clusters.waveformsChannels", 4)):
            edit(second, name, lambda values, kept=kept: values[..., :kept])
        save(second, {"clusters.shanks": np.arange(4, dtype="int8"), "clusters.names": np.array(list("abcd"))})
        nwbfile = mock_NWBFile()
        units = add(tmp_path, nwbfile)
        units = add(tmp_path, nwbfile, probe_name="probe01")
        check_units(units, tmp_path / PYKILOSORT, "probe00")
        check_units(units, second, "probe01")
        assert np.isnan(units["depths"].data[8:]).all() and np.isnan(units["firing_rate"].data[8:]).all()
        assert set(units["cluster_uuid"].data[8:]) == {""} and set(units["bitwise_fail"].data[8:]) == {255}
        assert units["shanks"].data.tolist() == [-1] * 8 + [0, 1, 2, 3]
        assert units["names"].data.tolist() == [""] * 8 + list("abcd")
        assert [len(units["spike_depths"][row]) for row in range(8, 12)] == [0] * 4
        assert np.isnan(units["waveform_mean"].data[8:, :, 4:]).all()

    def test_integers_of_different_types_stay_integers(self, tmp_path):
        make_sorting(tmp_path)
        make_sorting(tmp_path, "alf/probe01/pykilosort", cluster_type="int64", seed=1)
        edit(tmp_path / "alf/probe01/pykilosort", "spikes.samples", lambda samples: samples.astype("int64"))
        nwbfile = mock_NWBFile()
        for probe_name in ("probe00", "probe01"):
            units = add(tmp_path, nwbfile, probe_name=probe_name, write_spike_samples=True)
        assert units["spike_samples"].target.data.dtype == units["cluster_id"].data.dtype == "int64"
        stored = np.concatenate(
            [np.load(tmp_path / f"alf/{probe}/pykilosort/spikes.samples.npy") for probe in ("probe00", "probe01")]
        )
        assert sorted(units["spike_samples"].target.data[:]) == sorted(stored)

    def test_after_a_sorting_with_electrodes_and_columns_of_its_own(self, tmp_path):
        nwbfile = mock_NWBFile()
        nwbfile.add_unit_column("quality", "A word.")
        nwbfile.add_unit_column("is_good", "A flag.")
        for row in range(2):
            nwbfile.add_unit(spike_times=[0.5, 1.5 + row], quality="fine", is_good=True, id=10 + row)
        units = add(make_sorting(tmp_path), nwbfile)
        assert units.id[:].tolist() == [10, 11, *range(12, 20)]
        assert units["quality"].data.tolist() == ["fine"] * 2 + [""] * 8
        assert units["is_good"].data.dtype == bool
        assert_array_equal(units["spike_times"][1], [0.5, 2.5])

    def test_a_foreign_sorting_afterwards_is_refused_by_neuroconv_and_not_lost(self, tmp_path):
        nwbfile = mock_NWBFile()
        add(make_sorting(tmp_path), nwbfile)
        with pytest.raises(ValueError, match="sensible default value for property .* of type <class 'int'>"):
            MockSortingInterface().add_to_nwbfile(nwbfile)

    def test_the_same_probe_twice_is_refused(self, tmp_path):
        nwbfile = mock_NWBFile()
        add(make_sorting(tmp_path), nwbfile)
        with pytest.raises(UsageError, match="holds probe00_0, probe00_1, probe00_2 already \\(8 units in all\\)"):
            add(tmp_path, nwbfile)

    def test_a_column_of_another_kind_is_refused_before_anything_changes(self, tmp_path):
        nwbfile = mock_NWBFile()
        nwbfile.add_unit_column("depths", "Words.")
        nwbfile.add_unit(spike_times=[0.5], depths="deep")
        with pytest.raises(UsageError, match="column 'depths' already, of another kind"):
            add(make_sorting(tmp_path), nwbfile)
        assert len(nwbfile.units) == 1 and set(nwbfile.units.colnames) == {"spike_times", "depths"}

    def test_references_to_other_objects_are_refused(self, tmp_path):
        nwbfile = mock_NWBFile()
        device = nwbfile.create_device("d")
        group = nwbfile.create_electrode_group("g", description="g", location="g", device=device)
        nwbfile.add_unit(spike_times=[0.5], electrode_group=group)
        with pytest.raises(UsageError, match="'electrode_group' that refers to other objects"):
            add(make_sorting(tmp_path), nwbfile)

    def test_a_table_on_disk_is_refused(self, tmp_path):
        make_sorting(tmp_path)
        make_sorting(tmp_path, "alf/probe01/pykilosort", seed=1)
        (tmp_path / "alf/probe01/pykilosort/channels.rawInd.npy").unlink()
        interface = SortedSpikesInterface(tmp_path, probe_name="probe00")
        interface.run_conversion(tmp_path / "o.nwb", metadata=with_start_time(interface.get_metadata()))
        with pytest.raises(UsageError, match="on disk and cannot be extended"):
            SortedSpikesInterface(tmp_path, probe_name="probe01").run_conversion(
                tmp_path / "o.nwb", append_on_disk_nwbfile=True
            )

    def test_waveforms_at_another_rate_are_refused(self, tmp_path):
        nwbfile = mock_NWBFile()
        add(make_sorting(tmp_path), nwbfile)
        make_sorting(tmp_path, "alf/probe01/pykilosort", seed=1)
        other = SortedSpikesInterface(tmp_path, probe_name="probe01")
        other.sampling_rate_hz = 25_000.0
        with pytest.raises(UsageError, match="30000 Hz and these at 25000 Hz"):
            other.add_to_nwbfile(nwbfile)


class TestMetadata:
    def test_columns_are_those_of_the_session(self, tmp_path):
        make_sorting(tmp_path)
        columns = SortedSpikesInterface(tmp_path, probe_name="probe00").get_metadata()["Units"]["columns"]
        assert set(columns) == {*add(tmp_path).colnames, "spike_samples", "spike_templates"}
        assert "origin of IBL's site grid" in columns["spike_depths"]

    def test_users_texts_are_written(self, tmp_path):
        interface = SortedSpikesInterface(make_sorting(tmp_path), probe_name="probe00")
        metadata = interface.get_metadata()
        metadata["Units"]["description"] = "My units."
        metadata["Units"]["columns"]["spike_times"] = "My times."
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, json.loads(json.dumps(metadata)))
        assert nwbfile.units.description == "My units."
        assert nwbfile.units["spike_times"].target.description == "My times."

    def test_every_schema_has_a_type(self, tmp_path):
        def check(schema):
            assert "type" in schema
            for nested in schema.get("properties", {}).values():
                check(nested)

        check(
            SortedSpikesInterface(make_sorting(tmp_path), probe_name="probe00").get_metadata_schema()["properties"][
                "Units"
            ]
        )

    def test_every_column_of_the_example_is_described(self, example_session):
        for probe_name in ("probe00", "probe01"):
            interface = SortedSpikesInterface(example_session, probe_name=probe_name)
            columns = interface.get_metadata()["Units"]["columns"]
            assert not [name for name, text in columns.items() if text.startswith("Not described")]


class TestTimes:
    def test_a_registered_recording_changes_nothing_that_is_written(self, tmp_path):
        interface = SortedSpikesInterface(make_sorting(tmp_path), probe_name="probe00")
        recording = MockRecordingInterface(durations=(2.5,), sampling_frequency=30_000.0, num_channels=2)
        recording.set_aligned_starting_time(100.0)
        interface.register_recording(recording)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        check_units(nwbfile.units, tmp_path / PYKILOSORT)

    def test_an_aligned_starting_time_shifts_them(self, tmp_path):
        interface = SortedSpikesInterface(make_sorting(tmp_path), probe_name="probe00")
        interface.set_aligned_starting_time(1.25)
        interface.set_aligned_starting_time(0.25)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        clusters = np.load(tmp_path / PYKILOSORT / "spikes.clusters.npy")
        expected = np.load(tmp_path / PYKILOSORT / "spikes.times.npy")[clusters == 4] + 1.5
        assert_array_equal(nwbfile.units["spike_times"][4], expected)
        assert_array_equal(interface.sorting_extractor.get_unit_spike_train_in_seconds(4), expected)


class TestExtractor:
    def test_frames_are_the_stored_samples(self, tmp_path):
        extractor = SortedSpikesInterface(make_sorting(tmp_path), probe_name="probe00").sorting_extractor
        samples = np.load(tmp_path / PYKILOSORT / "spikes.samples.npy")
        clusters = np.load(tmp_path / PYKILOSORT / "spikes.clusters.npy")
        assert extractor.unit_ids.tolist() == list(range(8))
        assert extractor.get_property("unit_name").tolist() == [f"probe00_{i}" for i in range(8)]
        for unit_id in extractor.unit_ids:
            expected = samples[clusters == unit_id].astype("int64")
            assert_array_equal(extractor.get_unit_spike_train(unit_id), expected)
            middle = [frame for frame in expected if 20_000 <= frame < 40_000]
            train = extractor.get_unit_spike_train(unit_id, start_frame=20_000, end_frame=40_000, use_cache=False)
            assert train.tolist() == middle

    def test_frames_without_samples(self, tmp_path):
        make_sorting(tmp_path)
        (tmp_path / PYKILOSORT / "spikes.samples.npy").unlink()
        extractor = SortedSpikesInterface(tmp_path, probe_name="probe00").sorting_extractor
        times = extractor.get_unit_spike_train_in_seconds(1)
        assert_array_equal(extractor.get_unit_spike_train(1), np.rint(times * 30_000))

    def test_survives_pickling(self, tmp_path):
        import pickle

        extractor = SortedSpikesInterface(make_sorting(tmp_path), probe_name="probe00").sorting_extractor
        copy = pickle.loads(pickle.dumps(extractor))
        assert_array_equal(copy.get_unit_spike_train(5), extractor.get_unit_spike_train(5))


class TestSpikeColumn:
    first, second = np.arange(10, dtype="float32"), np.arange(10, 15, dtype="float64")

    @pytest.mark.parametrize(
        "selection",
        [
            slice(None),
            slice(0, 0),
            slice(3, 5),
            slice(8, 12),
            slice(-4, None),
            slice(None, None, 3),
            0,
            11,
            -1,
            [1, 12],
        ],
        ids=str,
    )
    def test_is_indexed_like_an_array(self, selection):
        array = np.concatenate((self.first, self.second))
        assert_array_equal(SpikeColumn([self.first, self.second])[selection], array[selection], strict=True)

    def test_becomes_an_array(self):
        column = SpikeColumn([self.first, np.empty(0), self.second])
        assert_array_equal(np.asarray(column), np.arange(15.0))
        assert len(column) == 15 and column.shape == column.maxshape == (15,)

    def test_iterating_loads_late_and_does_not_use_it_up(self):
        column = SpikeColumn([self.first, self.second])
        (pending,) = list(column)
        assert_array_equal(pending.data, np.arange(15.0))
        assert_array_equal(next(column).data, np.arange(15.0))
        with pytest.raises(StopIteration):
            next(column)

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_neuroconvs_search_for_links_reads_no_spike(self, tmp_path, backend, monkeypatch):
        nwbfile = mock_NWBFile()
        add(make_sorting(tmp_path), nwbfile)
        monkeypatch.setattr(SpikeColumn, "_read", lambda *_: pytest.fail("spikes were read"))
        configuration = get_default_backend_configuration(nwbfile, backend)
        assert "units/spike_times/data" in configuration.dataset_configurations

    def test_columns_of_several_blocks(self, tmp_path, monkeypatch):
        monkeypatch.setattr("ibl_nwb.interfaces.spike_column.BLOCK_LENGTH", 64)
        monkeypatch.setattr("ibl_nwb.interfaces.spike_column.CHUNK_LENGTH", 32)
        monkeypatch.setattr("ibl_nwb.interfaces.spike_trains.BLOCK_LENGTH", 50)
        interface = SortedSpikesInterface(make_sorting(tmp_path), probe_name="probe00")
        for backend in ("hdf5", "zarr"):
            path = tmp_path / f"{backend}.nwb"
            interface.run_conversion(path, metadata=with_start_time(interface.get_metadata()), backend=backend)
            nwbfile = read_nwb(path)
            check_units(nwbfile.units, tmp_path / PYKILOSORT)
            assert nwbfile.units["spike_times"].target.data.chunks == (32,)
            nwbfile.read_io.close()


@settings(max_examples=150, deadline=None)
@given(
    ids=st.lists(st.integers(0, 30) | st.integers(0, 70_000), max_size=60),
    n_listed=st.integers(0, 40),
    integer_type=st.sampled_from(["int32", "uint32", "int64", "uint64"]),
    n_units=st.integers(0, 5),
    n_spikes=st.integers(0, 3),
)
def test_grouping_is_that_of_one_mask_per_cluster(tmp_path_factory, ids, n_listed, integer_type, n_units, n_spikes):
    folder = tmp_path_factory.getbasetemp()
    clusters, times = np.array(ids, dtype=integer_type), np.arange(len(ids)) / 7
    datasets = {}
    for name, values in (("clusters", clusters), ("times", times)):
        path = folder / f"hypothesis.{name}.npy"
        np.save(path, values)
        datasets[name] = Dataset(path, path.name, "", "", "", "spikes", name, "", "", "npy", None)
    spikes = Spikes(datasets, np.arange(n_listed))
    spikes.check()
    index = spikes.index
    assert index.cluster_ids.tolist() == sorted({*range(n_listed), *ids})
    for cluster in index.cluster_ids:
        assert index.rows(cluster).tolist() == np.flatnonzero(clusters == cluster).tolist()
    assert index.without_silent().cluster_ids.tolist() == sorted(set(ids))
    head = index.head(n_units, n_spikes)
    assert head.cluster_ids.tolist() == index.cluster_ids[:n_units].tolist()
    for cluster in head.cluster_ids:
        assert head.rows(cluster).tolist() == index.rows(cluster)[:n_spikes].tolist()


def drop_last(values):
    return values[:-1]


def set_value(row, value):
    def change(values):
        values = values.copy()
        values[row] = value
        return values

    return change


BAD_ARRAYS = {
    "spikes of unequal length": ("spikes.amps", drop_last, "'spikes' have different numbers of rows.*amps.npy: 399"),
    "samples that are not written": ("spikes.samples", drop_last, "'spikes' have different numbers of rows"),
    "clusters of unequal length": ("clusters.amps", drop_last, "'clusters' have different numbers of rows"),
    "waveforms of unequal length": ("clusters.waveforms", drop_last, "'clusters' have different numbers of rows"),
    "NaN among the times": ("spikes.times", set_value(20, np.nan), "holds nan as the time of row 20"),
    "times that descend": ("spikes.times", set_value(20, 0.0), "go backwards .* at row 20"),
    "a negative cluster": ("spikes.clusters", lambda c: set_value(5, -1)(c.astype("int32")), "cluster id -1 in row 5"),
    "a cluster stored without its sign": (
        "spikes.clusters",
        lambda c: set_value(5, 2**32 - 1)(c.astype("uint32")),
        "cluster id 4294967295 in row 5",
    ),
    "clusters that are not integers": ("spikes.clusters", lambda c: c + 0.5, "holds float64 values; cluster ids are"),
    "times with two columns": ("spikes.times", lambda t: np.column_stack((t, t)), "has the shape \\(400, 2\\)"),
    "a channel that does not exist": (
        "clusters.channels",
        set_value(2, 24),
        "refers to channels .* to 24, but there are",
    ),
    "a channel below zero": ("clusters.waveformsChannels", set_value((0, 0), -1), "refers to channels -1 to"),
    "channels that are not integers": (
        "clusters.channels",
        lambda c: c + 0.5,
        "clusters.channels holds float64 values",
    ),
    "waveforms of one axis less": ("clusters.waveforms", lambda w: w[..., 0], "do not fit: \\(clusters, samples"),
    "channels of fewer waveforms": (
        "clusters.waveformsChannels",
        lambda c: c[:, 1:],
        "do not fit: \\(clusters, samples",
    ),
}


@pytest.mark.parametrize(("name", "change", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays(tmp_path, name, change, message):
    edit(make_sorting(tmp_path) / PYKILOSORT, name, change)
    with pytest.raises(DatasetInconsistentError, match=message):
        add(tmp_path)


BAD_METRICS = {
    "a cluster twice": (lambda table: pd.concat([table, table[table.cluster_id == 3]]), "2 rows for cluster 3"),
    "a cluster that does not exist": (
        lambda table: table.assign(cluster_id=table.cluster_id + 1),
        "1 clusters that do not exist, such as 8: there are 8",
    ),
    "ids that are not integers": (lambda table: table.assign(cluster_id="x"), "something else than integers"),
    "an id that is missing": (
        lambda table: table.assign(cluster_id=table.cluster_id.where(table.cluster_id > 0)),
        "something else than integers",
    ),
    "fewer rows without ids": (
        lambda table: table.iloc[1:].drop(columns="cluster_id"),
        "7 rows of .* cannot be joined to the 8 clusters",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD_METRICS.values(), ids=BAD_METRICS)
def test_bad_metrics(tmp_path, change, message):
    edit_metrics(make_sorting(tmp_path) / PYKILOSORT, change)
    with pytest.raises(DatasetInconsistentError, match=message):
        add(tmp_path)


def test_times_that_descend_from_one_block_to_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("ibl_nwb.interfaces.spike_trains.BLOCK_LENGTH", 50)
    edit(
        make_sorting(tmp_path) / PYKILOSORT, "spikes.times", lambda times: np.concatenate((times[:50] + 9, times[50:]))
    )
    with pytest.raises(DatasetInconsistentError, match="go backwards .* at row 50"):
        add(tmp_path)


def test_uuids_of_unequal_length(tmp_path):
    (make_sorting(tmp_path) / PYKILOSORT / "clusters.uuids.csv").write_text("uuids\na\nb\n")
    with pytest.raises(DatasetInconsistentError, match="'clusters' have different numbers of rows.*uuids.csv: 2"):
        add(tmp_path)


@pytest.mark.parametrize("name", ["spikes.times.npy", "clusters.metrics.pqt", "spikes.amps.npy", "clusters.amps.npy"])
def test_damaged_files(tmp_path, name):
    path = Path(make_sorting(tmp_path) / PYKILOSORT / name)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DatasetUnreadableError, match=f"{name}' cannot be read"):
        add(tmp_path)


def test_missing_required_file(tmp_path):
    (make_sorting(tmp_path) / PYKILOSORT / "spikes.clusters.npy").unlink()
    with pytest.raises(DatasetMissingError, match="spikes.clusters.npy is missing"):
        SortedSpikesInterface(tmp_path, probe_name="probe00")
