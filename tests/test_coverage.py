"""Coverage: every dataset that sessions are known to hold is converted, read as support, or left out for a reason."""

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd
import pytest
from real_data import REAL, needs_real_data

from ibl_nwb.acquire.references import SessionKey
from ibl_nwb.acquire.selection import RegisteredSession
from ibl_nwb.coverage import account_for, describe_dataset, inspect_session
from ibl_nwb.dataset_types import DATASET_TYPES
from ibl_nwb.interfaces import interface_list
from ibl_nwb.session import ALFSession

ALYX = REAL / "alyx"
UNDECIDED = ("no interface reads this kind of dataset yet", "not a name of an ALF dataset")


def read_listings():
    """Relative paths of the datasets of each session, by a name of the session."""
    if not REAL.is_dir():
        return {}
    released = pd.read_parquet(ALYX / "released_dataset_listing.pqt")
    cache = pd.read_parquet(ALYX / "one_test_datasets.pqt")
    listings = {
        f"released {eid[:8]}": [f"{c}/{f}" if c else f for c, f in zip(rows["collection"], rows["file"], strict=True)]
        for eid, rows in released.groupby("eid")
    }
    listings |= {str(path): list(rows["rel_path"]) for path, rows in cache.groupby("session_path")}
    for path in [*ALYX.glob("insertions/*.json"), *ALYX.glob("datasets/*.json")]:
        content = json.loads(path.read_text())
        records = content["datasets"] if isinstance(content, dict) else content
        listings[path.stem[:8]] = [f"{r['collection']}/{r['name']}" for r in records if r.get("collection")]
    return listings


LISTINGS = read_listings()
VOCABULARY = (
    {record["fields"]["name"]: record["fields"]["filename_pattern"] for record in json.loads(path.read_text())}
    if (path := ALYX / "fixtures/data.datasettype.json").is_file()
    else {}
)


@needs_real_data
@pytest.mark.parametrize("listing", LISTINGS)
def test_every_dataset_of_a_registered_session_is_accounted_for(listing):
    paths = LISTINGS[listing]
    key = SessionKey("lab", "subject", "2020-01-01", 1)
    accounts = account_for(RegisteredSession(Path("subject/2020-01-01/001"), key, paths, None))
    assert set(accounts) == set(paths)
    assert {path: reason for path, (_, _, reason) in accounts.items() if reason in UNDECIDED} == {}
    for status, interfaces, reason in accounts.values():
        assert bool(interfaces) == (status != "not converted") == (not reason)


@needs_real_data
@pytest.mark.parametrize("name", VOCABULARY)
def test_dataset_type_of_alyx_is_in_the_table_with_names_that_fit_it(name):
    pattern = VOCABULARY[name].replace("camera.", "Camera.") or f"*{name}*"
    assert any(fnmatchcase(path.rpartition("/")[2], pattern) for path in DATASET_TYPES[name])


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in DATASET_TYPES.items() for path in paths])
def test_dataset_of_every_type_is_accounted_for_by_its_name(name, path):
    readers, reason = describe_dataset(path)
    assert readers or reason, f"{name}: nothing is said of '{path}'"
    known = {interface.__name__ for interface in interface_list}
    assert {reader.interface for reader in readers} <= known


def test_table_is_in_alphabetical_order():
    names = [name.strip("_").lower() for name in DATASET_TYPES]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("path", "interface", "support", "beside"),
    [
        ("alf/_ibl_trials.table.pqt", "TrialsInterface", False, ()),
        ("alf/task_00/_ibl_trials.included.npy", "TrialsInterface", False, ("trials.table.pqt",)),
        ("alf/_ibl_leftCamera.lightningPose.pqt", "PoseInterface", False, ("*Camera.times.npy",)),
        ("alf/_ibl_leftCamera.times.npy", "PoseInterface", True, ("*Camera.lightningPose.pqt",)),
        ("alf/_ibl_wheel.position.npy", "WheelInterface", False, ("wheel.timestamps.npy",)),
        ("alf/_ibl_passiveRFM.times.npy", "PassiveInterface", False, ()),
        ("raw_behavior_data/_iblrig_encoderEvents.raw.ssv", "RawTaskDataInterface", False, ()),
    ],
)
def test_what_reads_a_dataset_follows_from_the_declarations(path, interface, support, beside):
    (reader,) = (reader for reader in describe_dataset(path)[0] if reader.interface == interface)
    assert reader.support == support
    assert len(reader.beside) == len(beside)
    assert all(name in stated for name, stated in zip(beside, reader.beside, strict=True))


def test_a_name_that_nobody_knows_is_not_accounted_for():
    assert describe_dataset("alf/nonsense.values.npy") == ([], None)
    assert describe_dataset("alf/probe00/pykilosort/_ibl_wheel.position.npy") == ([], None)


def test_names_alone_say_what_files_say(tmp_path):
    paths = [path for paths in DATASET_TYPES.values() for path in paths]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    accounts = account_for(ALFSession(tmp_path))
    rows = inspect_session(ALFSession(tmp_path))
    assert {row.relative_path: (row.status, row.interfaces, row.reason) for row in rows} == accounts
    assert set(accounts) == set(paths)
    assert {path: reason for path, (_, _, reason) in accounts.items() if reason in UNDECIDED} == {}
