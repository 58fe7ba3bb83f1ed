"""SyncInterface: every front of every line as stored, called after its wiring, on the clock that it is on."""

import json

import numpy as np
import pytest
from family_checks import check_valid, convert
from hdmf.common import DynamicTable
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.event import EventsTable
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError
from ibl_nwb.interfaces.sync import SyncInterface
from ibl_nwb.interfaces.sync_wiring import read_lines
from ibl_nwb.session import ALFSession

CHANNELS = {"LeftCamera": 0, "ImecSync": 3, "Audio": 7, "Bpod": 16}


def make_fronts(channels, n_fronts, dtypes=("float64", "float64", "float64"), seed=0):
    rng = np.random.default_rng(seed)
    columns = (
        np.sort(rng.uniform(0, 100, n_fronts)),
        rng.choice(list(channels), n_fronts),
        rng.choice([-1, 1], n_fronts),
    )
    return [values.astype(dtype) for values, dtype in zip(columns, dtypes, strict=True)]


def save_fronts(folder, fronts, suffix="", namespace="spikeglx"):
    folder.mkdir(parents=True, exist_ok=True)
    for attribute, values in zip(("times", "channels", "polarities"), fronts, strict=True):
        np.save(folder / f"_{namespace}_sync.{attribute}{suffix}.npy", values)


def load_fronts(folder, suffix="", namespace="spikeglx"):
    return [np.load(folder / f"_{namespace}_sync.{a}{suffix}.npy") for a in ("times", "channels", "polarities")]


def make_session(path, **options):
    save_fronts(path / "raw_ephys_data", make_fronts(CHANNELS.values(), 400, **options))
    for number in (0, 1):
        folder = path / f"raw_ephys_data/probe0{number}"
        save_fronts(folder, make_fronts([6], 150, seed=number + 1), f".probe0{number}")
    return path


def add(path, metadata=None, collection=None, **options):
    nwbfile = mock_NWBFile()
    SyncInterface(path, collection=collection).add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile


def assert_holds(table, fronts, channel, time_column="timestamp"):
    times, channels, polarities = (values[fronts[1] == channel] for values in fronts)
    assert_array_equal(table[time_column][:], times)
    for column, expected in (("channel", channels), ("polarity", polarities)):
        assert_array_equal(table[column][:], expected)
        assert table[column].data.dtype == expected.dtype
    assert dict(zip(*(c.data[:] for c in table.meanings_tables["polarity_meanings"].columns), strict=True)) == {
        1: "rising front",
        -1: "falling front",
    }


class TestSyncWithNeuroConvsMixins(DataInterfaceTestMixin):
    data_interface_cls = SyncInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = make_session(tmp_path_factory.mktemp("sync"))
        cls.interface_kwargs = {"session_path": str(cls.folder)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        fronts = load_fronts(self.folder / "raw_ephys_data")
        assert set(nwbfile.events) == {f"Sync{line}" for line in CHANNELS}
        for line, channel in CHANNELS.items():
            assert_holds(nwbfile.events[f"Sync{line}"], fronts, channel)
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_board_and_two_probes_beside_a_foreign_interface(tmp_path, backend):
    session_path = make_session(tmp_path / "session")
    session = ALFSession(session_path)
    instances = {
        SyncInterface.get_instance_name(session, instance): (
            SyncInterface,
            {"session_path": str(session_path), **instance},
        )
        for instance in SyncInterface.get_instances(session)
    }
    assert list(instances) == ["Sync", "SyncProbe00", "SyncProbe01"]
    path = tmp_path / "x.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    assert_holds(nwbfile.events["SyncAudio"], load_fronts(session_path / "raw_ephys_data"), 7)
    for probe in ("probe00", "probe01"):
        table = nwbfile.processing["ecephys"][f"SyncImecSync{probe.capitalize()}Clock"]
        fronts = load_fronts(session_path / "raw_ephys_data" / probe, f".{probe}")
        assert_holds(table, fronts, 6, "time_probe")
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


class TestWritten:
    @pytest.mark.parametrize("dtypes", [("float64", "int64", "int64"), ("float32", "int16", "int8")])
    def test_types_are_those_of_the_files(self, tmp_path, dtypes):
        events = add(make_session(tmp_path, dtypes=dtypes)).events
        assert_holds(events["SyncBpod"], load_fronts(tmp_path / "raw_ephys_data"), 16)

    def test_all_rows_are_in_one_table_or_another(self, tmp_path):
        events = add(make_session(tmp_path)).events
        assert sum(len(table) for table in events.values()) == 400

    def test_probe_clocks_have_no_session_times(self, tmp_path):
        table = add(make_session(tmp_path), collection="raw_ephys_data/probe01").processing["ecephys"]
        (table,) = table.data_interfaces.values()
        assert type(table) is DynamicTable
        assert "clock of the probe" in table.description

    def test_fronts_of_a_probe_alone_are_still_called_after_it(self, tmp_path):
        save_fronts(tmp_path / "raw_ephys_data/probe01", make_fronts([6], 9), ".probe01")
        assert set(add(tmp_path).processing["ecephys"].data_interfaces) == {"SyncImecSyncProbe01Clock"}

    def test_stub_is_the_first_hundred_of_each_line(self, tmp_path):
        save_fronts(tmp_path / "raw_ephys_data", make_fronts([0, 4], 900))
        assert {len(table) for table in add(tmp_path, stub_test=True).events.values()} == {100}

    def test_users_names_are_written(self, tmp_path):
        interface = SyncInterface(make_session(tmp_path))
        metadata = interface.get_metadata()
        metadata["Sync"]["sync"]["lines"]["audio"].update(name="Sounds", description="Mine.")
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, metadata)
        assert isinstance(nwbfile.events["Sounds"], EventsTable)
        assert nwbfile.events["Sounds"].description.startswith("Mine.")

    def test_times_that_go_backwards_are_kept_and_noted(self, tmp_path):
        save_fronts(tmp_path / "raw_ephys_data", [np.array([3.0, 1.0, 2.0]), np.zeros(3), np.ones(3)])
        interface = SyncInterface(tmp_path)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        assert_array_equal(nwbfile.events["SyncLeftCamera"]["timestamp"].data, [3, 1, 2])
        assert "go backwards" in interface.notes[0]


class TestWiring:
    def names(self, path):
        return sorted(table.removeprefix("Sync") for table in add(path).events)

    def wire(self, path, content, name="_spikeglx_ephysData_g0_t0.nidq.wiring.json"):
        (path / "raw_ephys_data" / name).write_text(json.dumps(content))

    def test_of_the_session_wins(self, tmp_path):
        make_session(tmp_path)
        wiring = {"SYNC_WIRING_DIGITAL": {"P0.0": "lick_port", "P0.7": ""}, "SYNC_WIRING_ANALOG": {"AI0": "laser"}}
        self.wire(tmp_path, {"SYSTEM": "3B", **wiring})
        assert self.names(tmp_path) == ["DigitalLine3", "DigitalLine7", "Laser", "LickPort"]

    def test_two_lines_of_one_name_are_told_apart(self, tmp_path):
        make_session(tmp_path)
        self.wire(tmp_path, {"SYNC_WIRING_DIGITAL": {"P0.0": "camera", "P0.3": "Camera"}})
        assert self.names(tmp_path)[1:] == ["CameraChannel0", "CameraChannel3", "DigitalLine7"]

    @pytest.mark.parametrize(
        ("folder", "name"), [("raw_ephys_data", "ImecSync"), ("raw_widefield_data", "FrameTrigger")]
    )
    def test_default_depends_on_the_rig(self, tmp_path, folder, name):
        make_session(tmp_path)
        (tmp_path / folder).mkdir(exist_ok=True)
        np.save(tmp_path / folder / "imaging.times.npy", np.arange(3))
        assert name in self.names(tmp_path)

    def test_of_a_3a_probe(self, tmp_path):
        folder = tmp_path / "raw_ephys_data/probe00"
        save_fronts(folder, make_fronts([2, 7, 15], 60), ".probe00")
        (folder / "_spikeglx_ephysData_g0_t0.imec.ap.meta").write_text("")
        tables = add(tmp_path).processing["ecephys"].data_interfaces
        assert set(tables) == {f"Sync{line}Probe00Clock" for line in ("LeftCamera", "Bpod", "Audio")}

    def test_of_timeline_counts_columns_from_one(self, tmp_path):
        folder = tmp_path / "raw_sync_data"
        save_fronts(folder, make_fronts([1, 2, 5], 60), namespace="timeline")
        inputs = [{"name": "bpod", "arrayColumn": 1}, {"name": "neuralFrames", "arrayColumn": 2}]
        assert self.names(tmp_path) == ["BellyCamera", "Bpod", "RightCamera"]  # the default map
        wiring = {"SYSTEM": "timeline", "SYNC_WIRING_ANALOG": {"ai0": "bpod"}}
        (folder / "_timeline_DAQdata.wiring.json").write_text(json.dumps(wiring))
        assert self.names(tmp_path) == ["BellyCamera", "Bpod", "RightCamera"]
        (folder / "_timeline_DAQdata.meta.json").write_text(json.dumps({"inputs": inputs}))
        assert self.names(tmp_path) == ["Bpod", "Channel5", "NeuralFrames"]

    @pytest.mark.parametrize("content", ["{", '["P0.0"]'])
    def test_that_is_none_is_refused(self, tmp_path, content):
        make_session(tmp_path)
        (tmp_path / "raw_ephys_data/_spikeglx_ephysData_g0_t0.nidq.wiring.json").write_text(content)
        with pytest.raises((DatasetUnreadableError, DatasetInconsistentError), match="nidq.wiring.json"):
            add(tmp_path)


class TestBadInput:
    def test_unequal_lengths(self, tmp_path):
        make_session(tmp_path)
        np.save(tmp_path / "raw_ephys_data/_spikeglx_sync.polarities.npy", np.ones(7))
        with pytest.raises(DatasetInconsistentError, match="times.npy: 400.*polarities.npy: 7"):
            add(tmp_path)

    def test_time_that_is_none(self, tmp_path):
        save_fronts(tmp_path / "raw_ephys_data", [np.array([0, np.nan]), np.zeros(2), np.ones(2)])
        with pytest.raises(DatasetInconsistentError, match="nan as the time of row 1"):
            add(tmp_path)

    @pytest.mark.parametrize("channel", [0.5, np.nan])
    def test_channel_that_is_none(self, tmp_path, channel):
        save_fronts(tmp_path / "raw_ephys_data", [np.arange(2.0), np.array([0, channel]), np.ones(2)])
        with pytest.raises(DatasetInconsistentError, match="not whole"):
            add(tmp_path)

    def test_no_channels(self, tmp_path):
        make_session(tmp_path)
        (tmp_path / "raw_ephys_data/_spikeglx_sync.channels.npy").unlink()
        with pytest.raises(DatasetMissingError, match="sync.channels.npy"):
            SyncInterface(tmp_path, collection="raw_ephys_data")


@needs_real_data
def test_real_fronts():
    events = add(CHIMERA).events
    fronts = load_fronts(CHIMERA / "raw_ephys_data")
    for name, channel in (("SyncDigitalLine12", 12), ("SyncDigitalLine15", 15), ("SyncBpod", 16)):
        assert_holds(events[name], fronts, channel)
    assert sum(len(table) for table in events.values()) == len(fronts[0])


@needs_real_data
def test_real_wiring_of_a_3a_probe(tmp_path):
    source = REAL / "spikeglx_meta/sample3A_g0_t0.imec.wiring.json"
    (tmp_path / "raw_ephys_data/probe00").mkdir(parents=True)
    (tmp_path / "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec.wiring.json").write_text(source.read_text())
    lines = read_lines(list(ALFSession(tmp_path).datasets), "3B probe")
    expected = {2: "left_camera", 3: "right_camera", 4: "body_camera", 7: "bpod", 12: "frame2ttl"}
    assert lines == {**expected, 13: "rotary_encoder_0", 14: "rotary_encoder_1", 15: "audio"}
