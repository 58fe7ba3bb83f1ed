"""PassiveInterface: periods, replayed stimuli and frames of the passive period, each if it is there, as stored."""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest
from family_checks import check_valid, convert
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin
from numpy.testing import assert_allclose, assert_array_equal
from pynwb import TimeSeries, read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.passive import PassiveInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing._files import write_datasets
from ibl_nwb.testing._passive import passive_datasets, write_passive_frames

KINDS = {"Valve": 14, "Tone": 14, "Noise": 11}


def make_passive(path, task_collection="alf", *, frames=True, seed=0):
    write_datasets(path, passive_datasets(300.0, task_collection, np.random.default_rng(seed)))
    if frames:
        write_passive_frames(path, task_collection, np.random.default_rng(seed))
    return path


def read_csv(path):
    """Columns of a CSV file by Python's own reader, every number by float()."""
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    return {name: [row[i] if i == 0 else float(row[i] or "nan") for row in rows] for i, name in enumerate(names)}


def add(path, metadata=None, **options):
    nwbfile = mock_NWBFile()
    PassiveInterface(path).add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile


def check_tables(nwbfile, alf, *, label=""):
    """Every value against the CSV files."""
    periods = read_csv(alf / "_ibl_passivePeriods.intervalsTable.csv")
    rows = periods.pop("")
    epochs = nwbfile.epochs if not label else nwbfile.intervals[f"passive_periods_{label}"]
    assert sorted(epochs["period"].data[:]) == sorted(periods)
    for period, start, stop in zip(*(epochs[c].data[:] for c in ("period", "start_time", "stop_time")), strict=True):
        assert_array_equal([start, stop], [periods[period][rows.index(row)] for row in ("start", "stop")])
    suffix = "".join(part.capitalize() for part in label.split("_"))
    stims = read_csv(alf / "_ibl_passiveStims.table.csv")
    for kind in KINDS:
        table = nwbfile.intervals[f"PassiveReplay{kind}{suffix}"]
        for column, part in (("start_time", "On"), ("stop_time", "Off")):
            expected = np.array(stims[f"{kind.lower()}{part}"])
            assert_array_equal(table[column].data[:], expected[~np.isnan(expected)])
    gabor = read_csv(alf / "_ibl_passiveGabor.table.csv")
    table = nwbfile.intervals[f"PassiveGabor{suffix}"]
    assert table.colnames == ("start_time", "stop_time", "position", "contrast", "phase")
    for column, name in zip(table.colnames, ("start", "stop", *table.colnames[2:]), strict=True):
        assert_array_equal(table[column].data[:], gabor[name])


def check_frames(nwbfile, path, raw="raw_passive_data", alf="alf", label=""):
    series = nwbfile.stimulus[f"PassiveReceptiveFieldStimulus{label}"]
    frames = np.frombuffer((path / raw / "_iblrig_RFMapStim.raw.bin").read_bytes(), dtype="uint8")
    assert series.data.dtype == "uint8"
    assert_array_equal(series.data[:], frames.reshape(-1, 15, 15))
    assert_array_equal(series.timestamps[:], np.load(path / alf / "_ibl_passiveRFM.times.npy"))


class TestPassiveWithNeuroConvsMixins(DataInterfaceTestMixin):
    data_interface_cls = PassiveInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = make_passive(tmp_path_factory.mktemp("passive"))
        cls.interface_kwargs = {"session_path": str(cls.folder)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        check_tables(nwbfile, self.folder / "alf")
        check_frames(nwbfile, self.folder)
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_protocols_beside_a_foreign_interface(tmp_path, backend):
    session_path = tmp_path / "session"
    for seed, task in enumerate(("alf/task_00", "alf/task_02")):  # the passive tables are in task_01 and task_03
        make_passive(session_path, task, seed=seed)
    session = ALFSession(session_path)
    instances = {
        PassiveInterface.get_instance_name(session, instance): (
            PassiveInterface,
            {"session_path": str(session_path), **instance},
        )
        for instance in PassiveInterface.get_instances(session)
    }
    assert list(instances) == ["Passive", "PassiveTask03"]
    path = tmp_path / "x.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    for number, label in (("01", ""), ("03", "Task03")):
        check_tables(nwbfile, session_path / f"alf/task_{number}", label=label and "task03")
        check_frames(nwbfile, session_path, f"raw_task_data_{number}", f"alf/task_{number}", label)
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


class TestWritten:
    @pytest.mark.parametrize(
        ("kept", "tables", "others"),
        [
            ("passivePeriods", {"epochs"}, set()),
            ("passiveStims", {f"PassiveReplay{kind}" for kind in KINDS}, set()),
            ("passiveGabor", {"PassiveGabor"}, set()),
            ("passiveRFM", set(), {"PassiveReceptiveFieldStimulus"}),
        ],
    )
    def test_any_dataset_may_be_the_only_one(self, tmp_path, kept, tables, others):
        make_passive(tmp_path)
        for path in (tmp_path / "alf").iterdir():
            if kept not in path.name:
                path.unlink()
        nwbfile = add(tmp_path)
        assert set(nwbfile.intervals or {}) | ({"epochs"} if nwbfile.epochs else set()) == tables
        assert set(nwbfile.stimulus) == others

    def test_skipped_period_keeps_its_nan_and_comes_last(self, tmp_path):
        make_passive(tmp_path)
        text = ",passiveProtocol,taskReplay,RFM\nstart,10.0,,20.0\nstop,30.0,,25.0\n"
        (tmp_path / "alf/_ibl_passivePeriods.intervalsTable.csv").write_text(text)
        epochs = add(tmp_path).epochs
        assert epochs["period"].data == ["passiveProtocol", "RFM", "taskReplay"]
        assert_array_equal(epochs["start_time"].data, [10, 20, np.nan])
        assert_array_equal(epochs["stop_time"].data, [30, 25, np.nan])

    def test_nan_of_the_replay_are_left_out_only_at_the_end(self, tmp_path):
        make_passive(tmp_path)
        text = ",toneOn,toneOff,noiseOn,noiseOff\n0,1.0,1.1,,\n1,,,,\n2,3.0,,,\n3,,,,\n"
        (tmp_path / "alf/_ibl_passiveStims.table.csv").write_text(text)
        interface = PassiveInterface(tmp_path)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        assert_array_equal(nwbfile.intervals["PassiveReplayTone"]["start_time"].data, [1.0, np.nan, 3.0])
        assert_array_equal(nwbfile.intervals["PassiveReplayTone"]["stop_time"].data, [1.1, np.nan, np.nan])
        assert "PassiveReplayNoise" not in nwbfile.intervals
        assert "no replayed stimulus 'noise'" in interface.notes[0]

    def test_parquet_tables(self, tmp_path):
        make_passive(tmp_path)
        for name in ("passiveStims", "passiveGabor"):
            path = tmp_path / f"alf/_ibl_{name}.table.csv"
            pd.read_csv(path, index_col=0).to_parquet(path.with_suffix(".pqt"))
        check_tables(add(tmp_path), tmp_path / "alf")

    def test_column_that_nobody_described_is_kept(self, tmp_path):
        make_passive(tmp_path)
        path = tmp_path / "alf/_ibl_passiveGabor.table.csv"
        pd.read_csv(path, index_col=0).assign(spatialFrequency=np.arange(59) / 7).to_csv(path)
        table = add(tmp_path).intervals["PassiveGabor"]
        assert_array_equal(table["spatial_frequency"].data, np.arange(59) / 7)

    def test_times_without_frames_become_events(self, tmp_path):
        nwbfile = add(make_passive(tmp_path, frames=False))
        times = np.load(tmp_path / "alf/_ibl_passiveRFM.times.npy")
        assert_array_equal(nwbfile.events["PassiveReceptiveFieldFrames"]["timestamp"].data, times)

    def test_frames_of_another_task_are_not_taken(self, tmp_path):
        make_passive(tmp_path, "alf/task_00")
        shutil.move(tmp_path / "raw_task_data_01", tmp_path / "raw_task_data_02")
        assert not add(tmp_path).stimulus

    def test_regular_times_become_a_rate(self, tmp_path):
        make_passive(tmp_path)
        times = 400 + np.arange(900) / 60
        np.save(tmp_path / "alf/_ibl_passiveRFM.times.npy", times)
        series = add(tmp_path).stimulus["PassiveReceptiveFieldStimulus"]
        assert_allclose(series.starting_time + np.arange(900) / series.rate, times, rtol=0, atol=1e-6)

    def test_spontaneous_intervals_of_2018(self, tmp_path):
        np.save(tmp_path / "spontaneous.intervals.npy", [[1.0, 2.0], [5.0, 9.0]])
        table = add(tmp_path).intervals["SpontaneousActivity"]
        assert_array_equal(table["stop_time"].data, [2, 9])

    def test_stub(self, tmp_path):
        nwbfile = add(make_passive(tmp_path), stub_test=True)
        assert len(nwbfile.stimulus["PassiveReceptiveFieldStimulus"].data) == 100

    def test_users_names_are_written(self, tmp_path):
        names = {"Gabor": {"name": "Patches"}, "Replay": {"valve": {"name": "Valve"}}}
        nwbfile = add(make_passive(tmp_path), {"Passive": {"passive": names}})
        assert {"Patches", "Valve", "PassiveReplayTone"} <= set(nwbfile.intervals)


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("passivePeriods.intervalsTable", ",RFM\nstart,1.0\n", "lacks stop"),
            ("passiveStims.table", ",toneOn\n0,1.0\n", "lacks toneOff"),
            ("passiveGabor.table", ",start,phase\n0,1.0,2.0\n", "lacks stop"),
        ],
    )
    def test_missing_column(self, tmp_path, name, text, message):
        make_passive(tmp_path)
        (tmp_path / f"alf/_ibl_{name}.csv").write_text(text)
        with pytest.raises(DatasetInconsistentError, match=message):
            add(tmp_path)

    @pytest.mark.parametrize("name", ["passivePeriods.intervalsTable", "passiveStims.table", "passiveGabor.table"])
    def test_empty_file(self, tmp_path, name):
        make_passive(tmp_path)
        (tmp_path / f"alf/_ibl_{name}.csv").write_text("")
        with pytest.raises(DatasetUnreadableError, match="it is empty"):
            add(tmp_path)

    def test_other_number_of_frames(self, tmp_path):
        make_passive(tmp_path)
        np.save(tmp_path / "alf/_ibl_passiveRFM.times.npy", np.arange(7.0))
        with pytest.raises(DatasetInconsistentError, match=f"{900 * 225} bytes.*7 frames"):
            add(tmp_path)

    def test_failure_leaves_nothing_behind(self, tmp_path):
        make_passive(tmp_path)
        np.save(tmp_path / "alf/_ibl_passiveRFM.times.npy", np.arange(7.0))
        nwbfile = mock_NWBFile()
        with pytest.raises(DatasetInconsistentError):
            PassiveInterface(tmp_path).add_to_nwbfile(nwbfile)
        assert nwbfile.epochs is None
        assert not nwbfile.intervals

    def test_epochs_that_are_there_already(self, tmp_path):
        nwbfile = mock_NWBFile()
        nwbfile.add_epoch(0.0, 1.0)
        with pytest.raises(UsageError, match="already holds a table 'epochs'"):
            PassiveInterface(make_passive(tmp_path)).add_to_nwbfile(nwbfile)

    def test_no_passive_period(self, tmp_path):
        (tmp_path / "alf").mkdir()
        np.save(tmp_path / "alf/licks.times.npy", [1.0])
        with pytest.raises(DatasetMissingError, match="nothing for PassiveInterface"):
            PassiveInterface(tmp_path)


@needs_real_data
@pytest.mark.parametrize("folder", [CHIMERA, REAL / "passive/session"])
def test_real_passive_periods(folder):
    nwbfile = add(folder)
    check_tables(nwbfile, folder / "alf")
    times = np.load(folder / "alf/_ibl_passiveRFM.times.npy")
    assert_array_equal(nwbfile.events["PassiveReceptiveFieldFrames"]["timestamp"].data, times)
    assert not any(isinstance(value, TimeSeries) for value in nwbfile.stimulus.values())
