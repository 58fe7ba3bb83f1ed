"""Templates, waveforms, snippets and drift of a sorting, and the rig's descriptions of probes: every value."""

import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from family_checks import check_valid, convert
from neuroconv.tools.nwb_helpers import get_default_backend_configuration
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb import convert_document, inspect_session, make_document
from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError
from ibl_nwb.interfaces import row_column
from ibl_nwb.interfaces.drift import DriftInterface
from ibl_nwb.interfaces.probe_descriptions import ProbeDescriptionsInterface
from ibl_nwb.interfaces.row_column import RowColumn
from ibl_nwb.interfaces.sorted_spikes import SortedSpikesInterface
from ibl_nwb.interfaces.sorting_templates import SortingTemplatesInterface
from ibl_nwb.interfaces.spike_waveform_traces import SpikeWaveformTracesInterface
from ibl_nwb.interfaces.spike_waveforms import SpikeWaveformsInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify

FAMILIES = (SortingTemplatesInterface, SpikeWaveformsInterface, SpikeWaveformTracesInterface, DriftInterface)
FOLDERS = {"probe00": "alf/probe00/pykilosort/#2024-05-06#", "probe01": "alf/probe01/pykilosort"}
PLANNED = [
    {"label": "probe00", "x": -2243, "y": -2000.5, "z": 0, "phi": 180, "theta": 15, "depth": 4000, "beta": 0},
    {"label": "probe01", "x": 2243, "y": None, "z": 0, "phi": 0, "theta": 15, "depth": 4000},
]
DESCRIBED = [{"label": name, "model": "3B2", "serial": 1905 + i} for i, name in enumerate(FOLDERS)]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    path = make_example_session(
        tmp_path_factory.mktemp("extras"),
        n_channels=48,
        raw_bands=(),
        cameras=(),
        audio=False,
        passive=False,
        n_trials=4,
        n_clusters=12,
        spikes_per_probe=600,
        waveforms=True,
    )
    # A channel list that skips columns of the raw file, so that rows of ALF channels are not columns.
    columns = path / FOLDERS["probe01"] / "channels.rawInd.npy"
    assert not np.array_equal(np.load(columns), np.arange(len(np.load(columns))))
    (path / "alf/probes.trajectory.json").write_text(json.dumps(PLANNED))
    (path / "alf/probes.description.json").write_text(json.dumps(DESCRIBED))
    return path


@pytest.fixture
def session_path(example, tmp_path):
    return shutil.copytree(example, tmp_path / "session")


def instances_of(session_path, families=FAMILIES):
    session = ALFSession(session_path)
    return {
        family.get_instance_name(session, instance): (family, {"session_path": str(session_path), **instance})
        for family in families
        for instance in family.get_instances(session)
    }


def add(session_path, family, probe="probe00", **options):
    nwbfile = mock_NWBFile()
    family(session_path, probe_name=probe).add_to_nwbfile(nwbfile, **options)
    return nwbfile.processing["ecephys"].data_interfaces


def same(column, expected):
    assert_array_equal(column.data[:], expected)
    assert column.data.dtype == expected.dtype


def check_electrodes(table, channels, raw_channels, probe):
    """The electrodes of every row are those of its channels, in their order."""
    region = table["electrodes"].target
    electrodes, stops = region.table, np.asarray(table["electrodes"].data[:]).astype(int)
    rows = np.split(np.asarray(region.data[:]), stops[:-1])
    columns, groups = np.asarray(electrodes["channel"].data[:]), np.asarray(electrodes["group_name"].data[:])
    assert len(rows) == len(channels)
    for row, listed in zip(rows, channels, strict=True):
        listed = [channel for channel in listed if 0 <= channel < len(raw_channels)]
        assert columns[row].tolist() == raw_channels[listed].tolist()
        assert set(groups[row]) <= {probe}


def check_probe(tables, session_path, probe):
    """Every dataset of a probe, read by plain NumPy and pandas."""
    folder, label = session_path / FOLDERS[probe], probe.capitalize()
    raw_channels = np.load(folder / "channels.rawInd.npy")
    templates = tables[f"SortingTemplates{label}"]
    same(templates["waveform"], np.load(folder / "templates.waveforms.npy"))
    same(templates["channels"], np.load(folder / "templates.waveformsChannels.npy"))
    same(templates["amplitude"], np.load(folder / "templates.amps.npy"))
    check_electrodes(templates, np.load(folder / "templates.waveformsChannels.npy"), raw_channels, probe)

    listed = pd.read_parquet(folder / "waveforms.table.pqt")
    channels = np.load(folder / "waveforms.channels.npz")["channels"]
    medians, ids = tables[f"SpikeWaveforms{label}"], sorted(listed["cluster"].unique())
    assert medians["cluster_id"].data[:].tolist() == ids
    assert list(medians["unit_name"].data[:]) == [f"{probe}_{i}" for i in ids]
    same(medians["waveform_median"], np.load(folder / "waveforms.templates.npy"))
    first = [np.flatnonzero((listed["cluster"] == i) & (listed["sample"] >= 0))[0] for i in ids]
    same(medians["channels"], channels[first])
    check_electrodes(medians, channels[first], raw_channels, probe)

    traces = np.load(folder / "waveforms.traces.npy")
    snippets = tables[f"SpikeWaveformTraces{label}"]
    same(snippets["waveform"], traces.reshape(-1, *traces.shape[-2:]))
    same(snippets["channels"], channels)
    for name in listed:
        same(snippets[{"cluster": "cluster_id", "index": "snippet_index"}.get(name, name)], listed[name].to_numpy())
    check_electrodes(snippets, channels, raw_channels, probe)

    drift = tables[f"Drift{label}"]
    same(drift["drift"], np.load(folder / "drift.um.npy"))
    same(drift["time_probe"], np.load(folder / "drift.times.npy"))
    same(tables[f"DriftDepths{label}"]["depth"], np.load(folder / "drift_depths.um.npy")[0])


class _Mixin(DataInterfaceTestMixin):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, example):
        cls.interface_kwargs = {"session_path": str(example), "probe_name": "probe01"}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        names = [name for name in nwbfile.processing["ecephys"].data_interfaces if name.endswith("Probe01")]
        assert f"{self.data_interface_cls.family}Probe01" in names
        nwbfile.read_io.close()


class TestTemplatesWithNeuroConvsMixin(_Mixin):
    data_interface_cls = SortingTemplatesInterface


class TestWaveformsWithNeuroConvsMixin(_Mixin):
    data_interface_cls = SpikeWaveformsInterface


class TestTracesWithNeuroConvsMixin(_Mixin):
    data_interface_cls = SpikeWaveformTracesInterface


class TestDriftWithNeuroConvsMixin(_Mixin):
    data_interface_cls = DriftInterface


class TestProbeDescriptionsWithNeuroConvsMixin(DataInterfaceTestMixin):
    data_interface_cls = ProbeDescriptionsInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, example):
        cls.interface_kwargs = {"session_path": str(example)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        planned = nwbfile.analysis["ProbesTrajectory"].to_dataframe()
        assert planned["label"].tolist() == ["probe00", "probe01"]
        assert planned["x"].tolist() == [-2243, 2243]
        assert planned["y"].iloc[0] == -2000.5 and planned[["y", "beta"]].iloc[1].isna().all()
        assert nwbfile.analysis["ProbesDescription"]["serial"].data[:].tolist() == [1905, 1906]
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_probes_beside_sorted_spikes_and_a_foreign_interface(example, tmp_path, backend):
    instances = instances_of(example, (*FAMILIES, SortedSpikesInterface))
    assert len(instances) == 10
    path = tmp_path / f"x.{backend}.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    for probe in FOLDERS:
        check_probe(nwbfile.processing["ecephys"].data_interfaces, example, probe)
    names = set(nwbfile.units["unit_name"].data[:])
    assert set(nwbfile.processing["ecephys"]["SpikeWaveformsProbe00"]["unit_name"].data[:]) <= names
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


@needs_real_data
@pytest.mark.parametrize("session_path", [CHIMERA, REAL / "bombcell_ks2"], ids=["chimera", "bombcell_ks2"])
def test_real_templates_are_on_the_electrodes_of_their_channels(session_path):
    """The sorting has 356 channels of a probe of 384."""
    folder = session_path / "alf/probe00/pykilosort"
    table = add(session_path, SortingTemplatesInterface)["SortingTemplatesProbe00"]
    raw_channels, channels = (
        np.load(folder / "channels.rawInd.npy"),
        np.load(folder / "templates.waveformsChannels.npy"),
    )
    assert len(raw_channels) == 356
    same(table["waveform"], np.load(folder / "templates.waveforms.npy"))
    check_electrodes(table, channels, raw_channels, "probe00")


class TestWhichSorting:
    def test_of_another_revision_than_the_spikes_are_not_taken(self, session_path):
        folder = session_path / FOLDERS["probe00"]
        for path in folder.glob("templates.*"):
            path.unlink()
        assert list((folder.parent).glob("templates.*"))  # those of the older sorting are there
        session = ALFSession(session_path)
        assert [i["probe_name"] for i in SortingTemplatesInterface.get_instances(session)] == ["probe01"]
        assert SortingTemplatesInterface.get_incomplete_instances(session) == {}

    def test_of_another_sorter_than_the_spikes_are_not_taken(self, session_path):
        other = session_path / "alf/probe01/iblsorter"
        other.mkdir()
        for name in ("spikes.times.npy", "spikes.clusters.npy"):
            shutil.copy(session_path / FOLDERS["probe01"] / name, other)
        session = ALFSession(session_path)
        assert [i["probe_name"] for i in SortingTemplatesInterface.get_instances(session)] == ["probe00"]
        chosen = SortingTemplatesInterface(session_path, probe_name="probe01", collection="alf/probe01/pykilosort")
        assert chosen.sources["waveforms"][0].collection == "alf/probe01/pykilosort"

    def test_an_incomplete_set_of_the_sorting_is_told(self, session_path):
        (session_path / FOLDERS["probe00"] / "waveforms.table.pqt").unlink()
        found = SpikeWaveformsInterface.get_incomplete_instances(ALFSession(session_path))
        assert {name: missing for name, (_, missing) in found.items()} == {
            "SpikeWaveformsProbe00": ("waveforms.table.pqt",)
        }
        with pytest.raises(DatasetMissingError, match="waveforms.table.pqt"):
            SpikeWaveformsInterface(session_path, probe_name="probe00")

    def test_snippets_are_not_converted_unless_asked_for(self, example):
        document = make_document(example, timezone="UTC")
        assert "SpikeWaveformsProbe00" in document.source_data
        assert not any(name.startswith("SpikeWaveformTraces") for name in document.source_data)
        (row,) = (r for r in inspect_session(ALFSession(example)) if "#/waveforms.traces" in r.relative_path)
        assert row.status == "not converted" and "asked for" in row.reason


class TestWaveforms:
    def test_rate_and_spike_are_told(self, example):
        description = add(example, SpikeWaveformsInterface)["SpikeWaveformsProbe00"].description
        assert "Sampled at 30000 Hz, the spike at sample 42" in description
        assert "waveforms.templates.npy" in description

    def test_channel_beyond_the_probe_is_no_electrode(self, example):
        table = add(example, SpikeWaveformsInterface, "probe01")["SpikeWaveformsProbe01"]
        channels = table["channels"].data
        n_channels = len(np.load(example / FOLDERS["probe01"] / "channels.rawInd.npy"))
        assert (channels == n_channels).any()
        assert np.isnan(table["waveform_median"].data[channels == n_channels]).all()
        assert len(table["electrodes"].target.data) == (channels < n_channels).sum()

    def test_snippets_keep_their_precision_and_their_padding(self, example):
        table = add(example, SpikeWaveformTracesInterface, "probe01")["SpikeWaveformTracesProbe01"]
        assert table["waveform"].data[:].dtype == np.float16
        is_padding = np.isnan(table["sample"].data)
        assert is_padding.any()
        assert np.isnan(table["waveform"].data[:][is_padding]).all()
        assert (table["channels"].data[is_padding] == -1).all()

    def test_samples_are_those_of_spikes_of_the_unit(self, example):
        folder = example / FOLDERS["probe00"]
        table = add(example, SpikeWaveformTracesInterface)["SpikeWaveformTracesProbe00"]
        spikes = set(zip(np.load(folder / "spikes.clusters.npy"), np.load(folder / "spikes.samples.npy"), strict=True))
        assert set(zip(table["cluster_id"].data, table["sample"].data, strict=True)) <= spikes

    def test_stub(self, example, session_path):
        assert len(add(example, SpikeWaveformsInterface, stub_test=True)["SpikeWaveformsProbe00"]) == 11
        table = add(example, SpikeWaveformTracesInterface, stub_test=True)["SpikeWaveformTracesProbe00"]
        assert len(table) == min(100, len(pd.read_parquet(example / FOLDERS["probe00"] / "waveforms.table.pqt")))


class TestRowColumn:
    @pytest.fixture
    def column(self, tmp_path, monkeypatch):
        monkeypatch.setattr(row_column, "BUFFER_BYTES", 4096)
        monkeypatch.setattr(row_column, "CHUNK_BYTES", 1024)
        values = np.random.default_rng(0).normal(size=(100, 4, 8)).astype(np.float32)
        np.save(tmp_path / "values.npy", values)
        return RowColumn(lambda: np.load(tmp_path / "values.npy", mmap_mode="r")), values

    def test_comes_in_pieces_and_is_not_used_up_by_iterating(self, column):
        rows, values = column
        for _ in range(2):
            pieces = list(rows)
            assert len(pieces) > 3
            assert_array_equal(np.concatenate([piece.data for piece in pieces]), values)
            assert_array_equal(values[pieces[1].selection], pieces[1].data)
        assert_array_equal(next(rows).data, values[: rows.buffer_shape[0]])

    def test_is_read_in_blocks_that_neuroconv_leaves_alone(self, example, monkeypatch):
        read = []
        original = RowColumn._get_data
        monkeypatch.setattr(RowColumn, "_get_data", lambda self, s: read.append(s) or original(self, s))
        nwbfile = mock_NWBFile()
        SpikeWaveformTracesInterface(example, probe_name="probe01").add_to_nwbfile(nwbfile)
        get_default_backend_configuration(nwbfile, "hdf5")
        assert read == []


# Bad input


def edit(path, change):
    np.save(path, change(np.load(path)))


@pytest.mark.parametrize(
    ("family", "name", "change", "message"),
    [
        (SortingTemplatesInterface, "templates.amps", lambda a: a[:-1], "different numbers of rows"),
        (SortingTemplatesInterface, "templates.waveformsChannels", lambda a: a[:, :-1], "do not fit"),
        (SortingTemplatesInterface, "templates.waveformsChannels", lambda a: a + 1000, "channels of channels.rawInd"),
        (SpikeWaveformsInterface, "waveforms.templates", lambda a: a[:-1], "nothing tells whose its waveforms are"),
        (SpikeWaveformTracesInterface, "waveforms.traces", lambda a: a[:-1], "is not that of"),
        (SpikeWaveformTracesInterface, "waveforms.traces", lambda a: a[..., 0], "is not that of"),
        (DriftInterface, "drift.times", lambda a: a[:-1], "different numbers of rows"),
        (DriftInterface, "drift_depths.um", lambda a: a[:, :-1], "8 depths for the 9 blocks"),
    ],
)
def test_files_that_do_not_fit_together(session_path, family, name, change, message):
    edit(session_path / FOLDERS["probe01"] / f"{name}.npy", change)
    with pytest.raises(DatasetInconsistentError, match=message):
        add(session_path, family, "probe01")


def test_channels_that_do_not_exist(session_path):
    path = session_path / FOLDERS["probe01"] / "waveforms.channels.npz"
    np.savez(path, channels=np.load(path)["channels"] + 3)
    with pytest.raises(DatasetInconsistentError, match="refers to channels 3 to 50"):
        add(session_path, SpikeWaveformsInterface, "probe01")


def test_table_without_clusters(session_path):
    path = session_path / FOLDERS["probe01"] / "waveforms.table.pqt"
    pd.read_parquet(path).drop(columns="cluster").to_parquet(path)
    with pytest.raises(DatasetInconsistentError, match="has no column cluster"):
        add(session_path, SpikeWaveformsInterface, "probe01")


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"no archive"])
def test_damaged_archive_of_channels(session_path, damage):
    path = session_path / FOLDERS["probe01"] / "waveforms.channels.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetUnreadableError, match=r"waveforms\.channels\.npz"):
        add(session_path, SpikeWaveformsInterface, "probe01")


@pytest.mark.parametrize("content", ["[]", "{}", "[1]", "no json"])
def test_descriptions_that_are_none(session_path, content):
    (session_path / "alf/probes.trajectory.json").write_text(content)
    with pytest.raises(DatasetUnreadableError, match=r"probes\.trajectory\.json"):
        ProbeDescriptionsInterface(session_path).add_to_nwbfile(mock_NWBFile())


# Verification


@pytest.fixture(scope="module")
def written(example, tmp_path_factory):
    families = [*(family.family for family in FAMILIES), "ProbeDescriptions", "SortedSpikes"]
    document = make_document(example, timezone="UTC", include=families)
    return convert_document(document, tmp_path_factory.mktemp("written") / "x.nwb").nwbfile_path


def test_written_file_is_equal_to_its_sources(written, example):
    report = verify(written, example)
    assert report.ok
    equal = {row.object for row in report if row.status == "equal"}
    assert "processing/ecephys/SpikeWaveformTracesProbe01/waveform" in equal
    assert "analysis/ProbesTrajectory/x" in equal
    for row in report:
        assert row.status == "equal" or row.reason.startswith(("left out", "it was not converted"))


def flip(path):
    def change(file):
        data = file[path]
        index = tuple(length // 2 for length in data.shape)
        data[index] = data[index] - 1 if data.dtype.kind in "iuf" and np.isfinite(data[index]) else b"other"

    return change


def swap_probes(name):
    def change(file):
        first, second = (f"processing/ecephys/{name}Probe0{number}" for number in (0, 1))
        file.move(first, "processing/ecephys/kept")
        file.move(second, first)
        file.move("processing/ecephys/kept", second)

    return change


def drop_row(table, column):
    def change(file):
        path = f"processing/ecephys/{table}/{column}"
        values, attributes = file[path][:-1], dict(file[path].attrs)
        del file[path]
        file.create_dataset(path, data=values).attrs.update(attributes)

    return change


def turn_around(path):
    """Another order of the channels in every row."""

    def change(file):
        file[path][...] = file[path][...][::-1]

    return change


DAMAGES = {
    **{
        f"one value of {path}": flip(path if path.startswith("analysis") else f"processing/ecephys/{path}")
        for path in (
            "SortingTemplatesProbe00/waveform",
            "SortingTemplatesProbe01/amplitude",
            "SortingTemplatesProbe01/channels",
            "SortingTemplatesProbe01/electrodes",
            "SpikeWaveformsProbe00/cluster_id",
            "SpikeWaveformsProbe01/waveform_median",
            "SpikeWaveformsProbe00/electrodes",
            "SpikeWaveformTracesProbe00/sample",
            "SpikeWaveformTracesProbe00/waveform",
            "SpikeWaveformTracesProbe01/electrodes",
            "DriftProbe00/drift",
            "DriftProbe01/time_probe",
            "DriftDepthsProbe00/depth",
            "analysis/ProbesTrajectory/x",
            "analysis/ProbesDescription/serial",
        )
    },
    **{f"{name} of two probes swapped": swap_probes(name) for name in ("SortingTemplates", "SpikeWaveforms", "Drift")},
    "one row of drift dropped": drop_row("DriftProbe00", "drift"),
    "one template dropped": drop_row("SortingTemplatesProbe01", "waveform"),
    "one snippet dropped": drop_row("SpikeWaveformTracesProbe00", "waveform"),
    "order of channels changed": turn_around("processing/ecephys/SortingTemplatesProbe00/electrodes"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(written, example, tmp_path, damage):
    shutil.copy(written, tmp_path / "x.nwb")
    with h5py.File(tmp_path / "x.nwb", "r+") as file:
        DAMAGES[damage](file)
    assert not verify(tmp_path / "x.nwb", example).ok
