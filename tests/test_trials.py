"""TrialsInterface: every attribute a column, values and types as stored, old layouts and new."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neuroconv import NWBConverter
from neuroconv.tools.testing import MockTimeSeriesInterface
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb import TrialsInterface
from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.trials import column_name

#: Column that each attribute must end up in: written out, not computed.
COLUMNS = {
    "intervals_0": "start_time",
    "intervals_1": "stop_time",
    "goCue_times": "go_cue_time",
    "goCueTrigger_times": "go_cue_trigger_time",
    "response_times": "response_time",
    "choice": "choice",
    "stimOn_times": "stim_on_time",
    "stimOnTrigger_times": "stim_on_trigger_time",
    "stimOff_times": "stim_off_time",
    "stimOffTrigger_times": "stim_off_trigger_time",
    "contrastLeft": "contrast_left",
    "contrastRight": "contrast_right",
    "feedback_times": "feedback_time",
    "feedbackType": "feedback_type",
    "rewardVolume": "reward_volume",
    "probabilityLeft": "probability_left",
    "firstMovement_times": "first_movement_time",
    "quiescencePeriod": "quiescence_period",
    "repNum": "rep_num",
    "included": "included",
    "itiDuration": "iti_duration",
    "iti_duration": "iti_duration",
}


def make_table(n_trials=20, choice_dtype="int64"):
    rng = np.random.default_rng(0)
    start = np.arange(n_trials) * 3.0
    left = rng.random(n_trials) < 0.5
    contrast = rng.choice([0, 0.0625, 0.125, 0.25, 1.0], n_trials)
    return pd.DataFrame(
        {
            "intervals_0": start,
            "intervals_1": start + 2.5,
            "goCue_times": np.where(np.arange(n_trials) == 3, np.nan, start + 0.5),
            "choice": rng.choice([-1, 0, 1], n_trials).astype(choice_dtype),
            "contrastLeft": np.where(left, contrast, np.nan),
            "contrastRight": np.where(left, np.nan, contrast),
            "feedbackType": rng.choice([-1, 1], n_trials).astype(choice_dtype),
        }
    )


def write_table(folder, table, collection="alf"):
    (folder / collection).mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / collection / "_ibl_trials.table.pqt")
    return folder


def write_arrays(folder, collection="alf", **attributes):
    (folder / collection).mkdir(parents=True, exist_ok=True)
    for attribute, values in attributes.items():
        np.save(folder / collection / f"_ibl_trials.{attribute}.npy", values)
    return folder


def read_sources(folder, collection="alf"):
    """Independent reading: every npy and every column of the table, by ALF attribute."""
    values = {}
    for path in sorted((folder / collection).glob("_ibl_trials.*.npy")):
        attribute = path.name.split(".")[1]
        array = np.load(path)
        values.update(
            {"intervals_0": array[:, 0], "intervals_1": array[:, 1]} if attribute == "intervals" else {attribute: array}
        )
    for path in (folder / collection).glob("_ibl_trials.table.pqt"):
        table = pd.read_parquet(path)
        values.update({column: table[column].to_numpy() for column in table})
    return values


def check_equal(trials, sources):
    for attribute, expected in sources.items():
        written = trials[COLUMNS[attribute]].data[:]
        assert_array_equal(written, expected, err_msg=attribute)
        assert written.dtype == expected.dtype, attribute
    assert len(trials.colnames) == len(sources)


class TestTrialsWithNeuroConvsMixin(DataInterfaceTestMixin):
    data_interface_cls = TrialsInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = write_table(tmp_path_factory.mktemp("trials"), make_table())
        write_arrays(cls.folder, repNum=np.arange(20), included=np.arange(20) < 15)
        cls.interface_kwargs = {"session_path": str(cls.folder)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        check_equal(nwbfile.trials, read_sources(self.folder))
        meanings = nwbfile.trials.get_meanings_for_column("choice").to_dataframe()
        assert dict(zip(meanings["value"], meanings["meaning"], strict=True)) == {
            -1: "counter-clockwise turn of the wheel",
            1: "clockwise turn of the wheel",
            0: "no response in time",
        }
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_beside_a_foreign_interface_and_twice_in_a_row(tmp_path, backend):
    class Converter(NWBConverter):
        data_interface_classes = {"Foreign": MockTimeSeriesInterface, "Trials": TrialsInterface}

    folder = write_table(tmp_path / "session", make_table())
    converter = Converter({"Foreign": {}, "Trials": {"session_path": str(folder)}})
    metadata = converter.get_metadata()
    metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18).astimezone()
    for run in range(2):
        converter.run_conversion(tmp_path / f"{run}.nwb", metadata=metadata, backend=backend)
        nwbfile = read_nwb(tmp_path / f"{run}.nwb")
        check_equal(nwbfile.trials, read_sources(folder))
        nwbfile.read_io.close()


def add(folder, metadata=None, **arguments):
    options = {name: arguments.pop(name) for name in ("stub_test",) if name in arguments}
    nwbfile = mock_NWBFile()
    TrialsInterface(folder, **arguments).add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile


class TestLayouts:
    @pytest.mark.parametrize("choice_dtype", ["int64", "float64", "int8"])
    def test_types_of_the_table_are_kept(self, tmp_path, choice_dtype):
        write_table(tmp_path, make_table(choice_dtype=choice_dtype))
        check_equal(add(tmp_path).trials, read_sources(tmp_path))

    def test_one_file_per_attribute(self, tmp_path):
        intervals = np.arange(10.0).reshape(5, 2)
        write_arrays(tmp_path, intervals=intervals, choice=np.array([1, -1, 0, 1, 1]), iti_duration=np.ones(5))
        check_equal(add(tmp_path).trials, read_sources(tmp_path))

    def test_column_of_the_table_wins_over_the_file(self, tmp_path):
        write_table(tmp_path, make_table())
        write_arrays(tmp_path, choice=np.full(20, 7), repNum=np.arange(20))
        trials = add(tmp_path).trials
        assert_array_equal(trials["choice"].data, make_table()["choice"])
        assert_array_equal(trials["rep_num"].data, np.arange(20))

    def test_two_tasks_two_tables(self, tmp_path):
        write_table(tmp_path, make_table(5), "alf/task_00")
        write_table(tmp_path, make_table(7), "alf/task_01")
        nwbfile = mock_NWBFile()
        for collection in ("alf/task_00", "alf/task_01"):
            TrialsInterface(tmp_path, collection=collection).add_to_nwbfile(nwbfile)
        assert (len(nwbfile.trials), len(nwbfile.intervals["trials_task_01"])) == (5, 7)

    def test_times_at_the_session_root(self, tmp_path):
        assert len(add(write_table(tmp_path, make_table(4), ".")).trials) == 4

    def test_two_column_attribute_stays_two_columns(self, tmp_path):
        write_table(tmp_path, make_table(5))
        write_arrays(tmp_path, intervals_bpod=np.arange(10.0).reshape(5, 2))
        assert_array_equal(add(tmp_path).trials["intervals_bpod"].data, np.arange(10.0).reshape(5, 2))

    def test_attribute_nobody_described(self, tmp_path):
        write_table(tmp_path, make_table(5))
        write_arrays(tmp_path, moonPhase=np.arange(5))
        column = add(tmp_path).trials["moon_phase"]
        assert column.description == "Not described by IBL's documentation. ALF: trials.moonPhase."

    def test_stub(self, tmp_path):
        assert len(add(write_table(tmp_path, make_table(300)), stub_test=True).trials) == 100

    def test_users_column_name_and_description(self, tmp_path):
        interface = TrialsInterface(write_table(tmp_path, make_table()))
        metadata = interface.get_metadata()
        metadata["Trials"]["trials"]["columns"]["choice"].update(name="turn", description="Mine.")
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile, metadata)
        assert nwbfile.trials["turn"].description == "Mine."


class TestBadInput:
    def test_attribute_of_another_length(self, tmp_path):
        write_arrays(write_table(tmp_path, make_table(5)), repNum=np.arange(6))
        with pytest.raises(DatasetInconsistentError, match=r"\[repNum\]: 6"):
            TrialsInterface(tmp_path)

    def test_no_intervals(self, tmp_path):
        with pytest.raises(DatasetMissingError, match="needs trials.table.pqt or trials.intervals.npy"):
            TrialsInterface(write_arrays(tmp_path, choice=np.ones(3)))

    def test_corrupt_table(self, tmp_path):
        path = write_table(tmp_path, make_table()) / "alf/_ibl_trials.table.pqt"
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(DatasetUnreadableError, match="trials.table.pqt"):
            TrialsInterface(tmp_path)

    def test_table_without_intervals(self, tmp_path):
        write_table(tmp_path, make_table().drop(columns="intervals_1"))
        with pytest.raises(DatasetInconsistentError, match="intervals"):
            TrialsInterface(tmp_path)

    def test_file_that_has_trials_already(self, tmp_path):
        nwbfile = mock_NWBFile()
        nwbfile.add_trial(start_time=0.0, stop_time=1.0)
        with pytest.raises(UsageError, match="already holds a table 'trials'"):
            TrialsInterface(write_table(tmp_path, make_table())).add_to_nwbfile(nwbfile)


@given(st.from_regex(r"[a-z]+([A-Z][a-z]+){0,3}(_times)?", fullmatch=True))
def test_column_names_are_snake_case(attribute):
    name = column_name(attribute)
    assert name == name.lower()
    assert not name.endswith("_times")
    assert name.replace("_", "").removesuffix("time") == attribute.lower().replace("_", "").removesuffix("times")


@needs_real_data
@pytest.mark.parametrize(
    ("folder", "collection"),
    [
        (CHIMERA, "alf"),
        (REAL / "iblrig_history/test_mouse/2018-10-02/001", "alf"),
        (REAL / "ibllib_history/sessions/mainenlab/Subjects/_iblrig_test_mouse/2019-06-24/002", "alf"),
        (REAL / "ibllib/sessions/wittenlab/Subjects/ibl_witten_01/2018-12-17/003", "alf"),
        (REAL / "ibl-photometry/wittenlab/Subjects/fip_40/2023-05-18/001", "alf"),
        (REAL / "ibl-photometry/version_5", "."),
    ],
)
def test_real_trials(folder, collection):
    check_equal(add(folder).trials, read_sources(folder, collection))
