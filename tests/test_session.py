"""ALFSession: which folder is a session, which files it holds, which revision is meant, and loading them."""

import shutil
import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_data import CHIMERA, needs_real_data

from ibl_nwb import ALFSession
from ibl_nwb.errors import (
    DatasetInconsistentError,
    DatasetMissingError,
    DatasetUnreadableError,
    SessionNotFoundError,
)
from ibl_nwb.session import load_array, load_table

SESSION = "examplelab/Subjects/EX_001/2023-05-18/001"


def write(folder, relative_path, values=(1.0, 2.0)):
    path = folder / relative_path
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(values))
    return path


def relative_paths(datasets):
    return [dataset.relative_path for dataset in datasets]


class TestOpening:
    def test_path_gives_lab_subject_date_and_number(self, tmp_path):
        write(tmp_path / SESSION, "alf/_ibl_wheel.position.npy")
        session = ALFSession(tmp_path / SESSION)
        assert (session.lab, session.subject, session.date, session.number) == (
            "examplelab",
            "EX_001",
            "2023-05-18",
            "001",
        )

    def test_lab_folders_may_be_absent(self, tmp_path):
        write(tmp_path / "EX_001/2023-05-18/001", "alf/_ibl_wheel.position.npy")
        session = ALFSession(tmp_path / "EX_001/2023-05-18/001")
        assert (session.lab, session.subject) == (None, "EX_001")

    def test_any_folder_with_alf_datasets_is_taken(self, tmp_path):
        write(tmp_path / "somewhere", "alf/_ibl_wheel.position.npy")
        session = ALFSession(tmp_path / "somewhere")
        assert session.subject is None
        assert session.name == "somewhere"

    def test_missing_folder(self, tmp_path):
        with pytest.raises(SessionNotFoundError, match="nothing is there"):
            ALFSession(tmp_path / "nowhere")

    def test_file_instead_of_folder(self, tmp_path):
        path = write(tmp_path, "wheel.position.npy")
        with pytest.raises(SessionNotFoundError, match="it is a file"):
            ALFSession(path)

    def test_folder_within_a_session_names_the_session(self, tmp_path):
        write(tmp_path / SESSION, "alf/_ibl_wheel.position.npy")
        with pytest.raises(SessionNotFoundError, match="lies inside a session.*001'"):
            ALFSession(tmp_path / SESSION / "alf")

    @pytest.mark.parametrize("level", ["", "examplelab", "examplelab/Subjects/EX_001"])
    def test_folder_above_sessions_names_one(self, tmp_path, level):
        write(tmp_path / SESSION, "alf/_ibl_wheel.position.npy")
        with pytest.raises(SessionNotFoundError, match="holds 1 of them.*2023-05-18"):
            ALFSession(tmp_path / level)

    def test_folder_without_alf_datasets(self, tmp_path):
        (tmp_path / "notes.txt").write_text("nothing")
        with pytest.raises(SessionNotFoundError, match="holds no ALF dataset"):
            ALFSession(tmp_path)


class TestListing:
    def test_names_are_parsed(self, tmp_path):
        write(tmp_path / SESSION, "alf/task_00/#2024-02-20#/_ibl_trials.goCue_times.npy")
        (dataset,) = ALFSession(tmp_path / SESSION).datasets
        assert (dataset.collection, dataset.revision, dataset.namespace) == ("alf/task_00", "2024-02-20", "ibl")
        assert dataset.name == "trials.goCue_times.npy"

    def test_timescale_is_part_of_the_name(self, tmp_path):
        write(tmp_path / SESSION, "raw_behavior_data/_iblmic_audioSpectrogram.times_mic.npy")
        assert ALFSession(tmp_path / SESSION).datasets[0].name == "audioSpectrogram.times_mic.npy"

    @given(identifier=st.uuids(version=4))
    def test_uuid_in_a_name_is_not_part_of_it(self, tmp_path_factory, identifier):
        folder = tmp_path_factory.mktemp("uuid")
        write(folder, f"alf/probe00/spikes.times.{identifier}.npy")
        (dataset,) = ALFSession(folder).datasets
        assert (dataset.name, dataset.uuid) == ("spikes.times.npy", str(identifier))
        assert dataset.alf_path == "alf/probe00/spikes.times.npy"

    def test_uuid_in_raw_ephys_name(self, tmp_path):
        identifier = uuid.uuid4()
        write(tmp_path, f"raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.{identifier}.npy")
        assert ALFSession(tmp_path).datasets[0].name == "ephysData_g0_t0.imec0.ap.npy"

    def test_other_files_are_listed_apart(self, tmp_path):
        write(tmp_path / SESSION, "alf/_ibl_wheel.position.npy")
        (tmp_path / SESSION / "notes.txt").write_text("fine")
        (tmp_path / SESSION / ".hidden.file.npy").write_text("")
        session = ALFSession(tmp_path / SESSION)
        assert session.unrecognised == ("notes.txt",)
        assert len(session.datasets) == 1

    def test_linked_folders_are_followed(self, tmp_path):
        write(tmp_path / "disk", "probe00/_spikeglx_ephysData_g0_t0.imec0.timestamps.npy")
        (tmp_path / SESSION).mkdir(parents=True)
        (tmp_path / SESSION / "raw_ephys_data").symlink_to(tmp_path / "disk")
        assert ALFSession(tmp_path / SESSION).datasets[0].collection == "raw_ephys_data/probe00"


class TestRevisions:
    @pytest.fixture
    def session_path(self, tmp_path):
        for revision in ("", "#2023-01-01#/", "#2024-05-06#/"):
            write(tmp_path / SESSION, f"alf/{revision}_ibl_wheel.position.npy")
        write(tmp_path / SESSION, "alf/_ibl_wheel.timestamps.npy")
        return tmp_path / SESSION

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            (None, "2024-05-06"),
            ("2024-05-06", "2024-05-06"),
            ("2024-05-05", "2023-01-01"),
            ("2030-01-01", "2024-05-06"),
            ("2020-01-01", ""),
            ("", ""),
        ],
    )
    def test_last_revision_not_after_the_one_asked_for(self, session_path, asked, expected):
        session = ALFSession(session_path, revision=asked)
        assert session.find_one("wheel.position.npy").revision == expected

    @given(
        revisions=st.sets(st.dates().map(str), min_size=1, max_size=5), asked=st.dates().map(str), bare=st.booleans()
    )
    def test_rule_of_one(self, tmp_path_factory, revisions, asked, bare):
        folder = tmp_path_factory.mktemp("revisions")
        for revision in revisions:
            write(folder, f"alf/#{revision}#/_ibl_wheel.position.npy")
        if bare:
            write(folder, "alf/_ibl_wheel.position.npy")
        not_after = sorted(revision for revision in revisions if revision <= asked)
        expected = not_after[-1] if not_after else "" if bare else None
        found = ALFSession(folder, revision=asked).find("wheel.position.npy")
        assert [dataset.revision for dataset in found] == ([] if expected is None else [expected])

    def test_unrevised_file_serves_where_there_is_no_revision(self, session_path):
        assert ALFSession(session_path).find_one("wheel.timestamps.npy").revision == ""

    def test_only_unrevised_files(self, tmp_path):
        write(tmp_path, "alf/#2024-05-06#/_ibl_wheel.position.npy")
        assert ALFSession(tmp_path, revision="").find("wheel.position.npy") == []

    def test_nan_revision_of_broken_cache_tables_is_no_revision(self, tmp_path):
        write(tmp_path, "alf/#nan#/_ibl_wheel.position.npy")
        assert ALFSession(tmp_path, revision="").find_one("wheel.position.npy").revision == ""


class TestFinding:
    def test_first_name_that_exists_wins(self, tmp_path):
        write(tmp_path, "alf/_ibl_wheel.times.npy")
        names = ("wheel.timestamps.npy", "wheel.times.npy")
        assert ALFSession(tmp_path).find_one(names).attribute == "times"
        write(tmp_path, "alf/_ibl_wheel.timestamps.npy")
        assert ALFSession(tmp_path).find_one(names).attribute == "timestamps"

    def test_ibl_namespace_wins_over_a_curators(self, tmp_path):
        write(tmp_path, "alf/probe00/_av_spikes.clusters.npy")
        write(tmp_path, "alf/probe00/spikes.clusters.npy")
        assert ALFSession(tmp_path).find_one("spikes.clusters.npy").namespace == ""

    def test_none_found_says_where_it_looked(self, tmp_path):
        write(tmp_path, "alf/_ibl_wheel.position.npy")
        with pytest.raises(DatasetMissingError, match="no dataset wheel.velocity.npy in alf"):
            ALFSession(tmp_path).find_one("wheel.velocity.npy", collections="alf")

    def test_several_found_lists_them(self, tmp_path):
        write(tmp_path, "alf/task_00/_ibl_wheel.position.npy")
        write(tmp_path, "alf/task_01/_ibl_wheel.position.npy")
        with pytest.raises(DatasetInconsistentError, match="task_00.*task_01"):
            ALFSession(tmp_path).find_one("wheel.position.npy")


class TestLoading:
    def test_object_with_equal_lengths(self, tmp_path):
        write(tmp_path, "alf/_ibl_wheel.position.npy", np.arange(3, dtype="float32"))
        write(tmp_path, "alf/_ibl_wheel.timestamps.npy", np.arange(3, dtype="float64"))
        loaded = ALFSession(tmp_path).load_object("wheel", collection="alf")
        assert {name: values.dtype.name for name, values in loaded.items()} == {
            "position": "float32",
            "timestamps": "float64",
        }

    def test_unequal_lengths_name_files_and_lengths(self, tmp_path):
        write(tmp_path, "alf/_ibl_wheel.position.npy", np.arange(3))
        write(tmp_path, "alf/_ibl_wheel.timestamps.npy", np.arange(4))
        with pytest.raises(DatasetInconsistentError, match=r"wheel.position.npy \[position\]: 3.*4"):
            ALFSession(tmp_path).load_object("wheel", collection="alf")

    def test_table_keeps_the_types_of_its_columns(self, tmp_path):
        (tmp_path / "alf").mkdir()
        table = pd.DataFrame(
            {"intervals_0": [0.0, 1.0], "intervals_1": [0.5, 1.5], "choice": np.array([1, -1], dtype="int64")}
        )
        table.to_parquet(tmp_path / "alf/_ibl_trials.table.pqt")
        loaded = ALFSession(tmp_path).load_object("trials", collection="alf")
        assert loaded["choice"].dtype == "int64"
        np.testing.assert_array_equal(loaded["intervals"], [[0.0, 0.5], [1.0, 1.5]])

    def test_column_of_a_table_wins_over_a_file(self, tmp_path):
        write(tmp_path, "alf/_ibl_trials.choice.npy", [9, 9])
        pd.DataFrame({"choice": [1, -1]}).to_parquet(tmp_path / "alf/_ibl_trials.table.pqt")
        loaded = ALFSession(tmp_path).load_object("trials", collection="alf")
        assert loaded["choice"].tolist() == [1, -1]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [(b"", "it is empty"), (b"\x93NUMPY", "cannot be read as a NumPy array"), (b"text", "cannot be read")],
    )
    def test_damaged_array(self, tmp_path, content, reason):
        path = write(tmp_path, "alf/_ibl_wheel.position.npy")
        path.write_bytes(content)
        with pytest.raises(DatasetUnreadableError, match=reason):
            load_array(ALFSession(tmp_path).datasets[0])

    @pytest.mark.parametrize("memory_map", [False, True])
    def test_truncated_array(self, tmp_path, memory_map):
        path = write(tmp_path, "alf/_ibl_wheel.position.npy", np.arange(100.0))
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(DatasetUnreadableError, match="position.npy.*get it again"):
            load_array(ALFSession(tmp_path).datasets[0], memory_map=memory_map)

    def test_pickled_array_is_refused(self, tmp_path):
        (tmp_path / "alf").mkdir()
        np.save(tmp_path / "alf/_ibl_wheel.position.npy", np.array([{}], dtype=object), allow_pickle=True)
        with pytest.raises(DatasetUnreadableError, match="allow_pickle=False"):
            load_array(ALFSession(tmp_path).datasets[0])

    def test_corrupt_parquet(self, tmp_path):
        (tmp_path / "alf").mkdir()
        (tmp_path / "alf/_ibl_trials.table.pqt").write_bytes(b"PAR1 is not enough")
        with pytest.raises(DatasetUnreadableError, match="cannot be read as a table"):
            load_table(ALFSession(tmp_path).datasets[0])


@needs_real_data
class TestRealSession:
    def test_every_file_of_the_chimera_is_a_dataset(self):
        session = ALFSession(CHIMERA)
        assert session.unrecognised == ()
        assert len(session.datasets) == sum(path.is_file() for path in CHIMERA.rglob("*"))

    def test_task_start_time(self):
        assert ALFSession(CHIMERA).task_start_time().isoformat() == "2019-07-01T12:15:18.145140"

    def test_settings_of_another_day_are_not_believed(self, tmp_path):
        shutil.copytree(CHIMERA / "raw_behavior_data", tmp_path / "EX_001/2023-05-18/001/raw_behavior_data")
        assert ALFSession(tmp_path / "EX_001/2023-05-18/001").task_start_time() is None
