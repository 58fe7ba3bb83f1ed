"""The same session gives the same, with a server, with a cache with or without tables, and from a bare folder."""

import json
import re
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from acquire_example import SESSION, SHORT, WHEEL_FILES, files_below
from alyx_server import USERNAME
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one.api import One

from ibl_nwb import ALFSession, IBLNWBError, convert_document, make_document
from ibl_nwb.acquire import connect, download, fetch_record, find_sessions, open_source, resolve
from ibl_nwb.acquire.records import RecordStore
from ibl_nwb.acquire.references import SessionKey
from ibl_nwb.acquire.selection import RegisteredSession, Selection, chosen_datasets
from ibl_nwb.errors import (
    ChecksumError,
    DatasetMissingError,
    DocumentError,
    NetworkError,
    SessionNotFoundError,
    UsageError,
)

pytest_plugins = ["acquire_fixtures"]

#: The names of the files that an object was made from are in the comments of the file.
UUID_IN_NAME = r"\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\."

TIMESTAMPS = "alf/_ibl_wheel.timestamps.npy"
KEY = SessionKey("examplelab", "EX_001", "2023-05-18", 1)


@pytest.fixture(scope="session")
def tables(bare_session, tmp_path_factory):
    """Tables as a user makes them of a folder tree; the ids in them are made up. To make them takes seconds."""
    tree = tmp_path_factory.mktemp("tables")
    shutil.copytree(bare_session.parents[4], tree, dirs_exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        One.setup(tree, silent=True)  # without hashes: ONE takes half a second for each
    return [tree / "sessions.pqt", tree / "datasets.pqt"]


def add_tables(tables, cache):
    for path in tables:
        shutil.copy(path, cache)


def chosen_paths(session, include=None, exclude=None):
    return {dataset.relative_path for dataset in chosen_datasets(session, Selection.of(include, exclude, None))}


def document_of(source, **options):
    """The conversion document of what ``open_source`` gives, without the place of the folder."""
    session_path, record = source
    document = make_document(session_path, alyx=record, **options).model_dump(mode="json")
    text = json.dumps(document).replace(str(session_path), "HERE")
    return json.loads(re.sub(UUID_IN_NAME, ".", text))


@pytest.fixture
def downloaded(one, eid, server, tmp_path):
    """The cache after a download of everything, and with the server gone."""
    download(one, eid)
    return tmp_path / "cache"


@pytest.fixture
def gone(downloaded, server):
    server.play("mute", "")
    return downloaded


@pytest.fixture(params=["without tables", "with tables"])
def offline(request, gone, tables):
    """A local ONE of the cache."""
    if request.param == "with tables":
        add_tables(tables, gone)
    return connect(cache_dir=gone, offline=True)


class TestSameInAllModes:
    def test_cache(self, one, eid, offline, server):
        server.faults.clear()
        remote = open_source(eid, one=one)
        local = open_source(eid, one=offline)
        assert local == remote
        assert document_of(local) == document_of(remote)

    def test_bare_folder_with_all_files(self, one, eid, downloaded, bare_session):
        bare = open_source(bare_session)
        remote = open_source(eid, one=one)
        assert bare[1] == remote[1]
        assert chosen_paths(ALFSession(bare[0])) == chosen_paths(ALFSession(remote[0]))
        assert document_of(bare) == document_of(remote)

    def test_folder_of_a_file_server_with_uuids_in_its_names(self, one, eid, downloaded, store):
        storage, remote = open_source(store / SESSION), open_source(eid, one=one)
        assert storage[1] == remote[1]
        assert document_of(storage) == document_of(remote)

    def test_files_converted_offline_and_from_a_bare_folder(self, gone, bare_session, eid, tmp_path):
        options = dict(include=["Wheel", "Trials"])
        cache = connect(cache_dir=gone, offline=True)
        contents = []
        for name, (path, record) in {
            "cache": open_source(eid, one=cache),
            "bare": open_source(bare_session),
        }.items():
            document = make_document(path, alyx=record, **options)
            document.write_json(tmp_path / f"{name}.json")
            nwbfile_path = convert_document(document, tmp_path / f"{name}.nwb").nwbfile_path
            contents.append(values_in(nwbfile_path))
        assert contents[0].keys() == contents[1].keys()
        assert len(contents[0]) > 50
        for place, value in contents[0].items():
            np.testing.assert_array_equal(value, contents[1][place], err_msg=place)

    @pytest.mark.parametrize("reference", ["EX_001/2023-05-18/001", "2023-05-18_1_EX_001", "eid", SESSION])
    def test_every_reference_offline(self, offline, eid, reference):
        reference = eid if reference == "eid" else reference
        assert resolve(offline, reference) == eid
        path, record = open_source(reference, one=offline)
        assert path == offline.cache_dir / SESSION
        assert record.session.id == eid

    def test_id_of_tables_that_were_made_from_the_folders(self, gone, eid, tables):
        add_tables(tables, gone)
        cache = connect(cache_dir=gone, offline=True)
        (made_up,) = cache.search()
        assert str(made_up) != eid
        assert resolve(cache, str(made_up)) == eid
        assert open_source(str(made_up), one=cache)[1].session.id == eid

    @pytest.mark.parametrize(
        "terms",
        [
            {},
            {"subject": "ex_001"},
            {"subject": "EX"},
            {"lab": "examplelab", "number": 1},
            {"lab": "example"},
            {"date_range": ["2023-05-01", None]},
            {"date_range": "2023-05-19"},
            {"task_protocol": "EPHYS"},
            {"projects": "brainwide"},
            {"projects": "other"},
            {"datasets": ["_ibl_wheel.timestamps.npy", "spikes.times.npy"]},
            {"datasets": "_ibl_wheel"},
            {"dataset_types": ["camera.times", "spikes.times"]},
            {"dataset_types": "spikes.nothing"},
        ],
    )
    def test_search(self, one, server, offline, terms):
        server.faults.clear()
        assert find_sessions(offline, **terms) == find_sessions(one, **terms)

    def test_search_for_what_only_a_server_knows(self, offline):
        with pytest.raises(UsageError, match="'users' can only be looked up by a server"):
            find_sessions(offline, users="ada.example")


def values_in(nwbfile_path):
    """Every value of a file but those that tell of its making."""
    made = ("file_create_date", "identifier", "object_id", "general/source_script", ".specloc", "specifications")
    values = {}

    def visit(name, item):
        for attribute, value in item.attrs.items():
            if attribute not in made and not isinstance(value, h5py.Reference):
                values[f"{name}@{attribute}"] = value
        if isinstance(item, h5py.Dataset) and item.dtype.kind != "O" and not name.startswith(made):
            values[name] = item[()]
        elif isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype) and not name.startswith(made):
            values[name] = item.asstr()[()]

    with h5py.File(nwbfile_path) as file:
        file.visititems(visit)
    return values


class TestWithoutNetwork:
    def test_record_that_was_kept(self, gone, eid):
        assert fetch_record(connect(cache_dir=gone, offline=True), eid).session.id == eid

    def test_a_client_that_expects_a_server_uses_what_is_there_and_says_so(self, one, eid, gone, caplog):
        path, record = open_source(eid, one=one, limits=SHORT)
        assert (path, record.session.id) == (gone / SESSION, eid)
        assert "did not answer within 1 s" in caplog.text
        assert "taken from the cache as it was downloaded before" in caplog.text

    def test_nothing_is_made_up_for_a_session_that_was_not_downloaded(self, one, eid, server, home):
        fetch_record(one, eid)
        server.play("mute", "")
        with pytest.raises(NetworkError, match="did not answer"):
            open_source(eid, one=one, limits=SHORT)

    def test_a_refusal_is_no_reason_to_use_the_cache(self, one, eid, downloaded, server):
        server.play("status", "/subjects", status=403, detail="You do not have permission to perform this action.")
        with pytest.raises(NetworkError, match="answers 403"):
            open_source(eid, one=one)

    def test_damaged_file(self, offline, eid):
        (offline.cache_dir / SESSION / TIMESTAMPS).write_bytes(b"damaged")
        with pytest.raises(ChecksumError, match=f"{TIMESTAMPS}' is not what Alyx registered: it has 7 bytes"):
            open_source(eid, one=offline)
        with pytest.raises(ChecksumError):
            download(offline, eid)

    def test_missing_file(self, offline, eid):
        (offline.cache_dir / SESSION / TIMESTAMPS).unlink()
        with pytest.raises(DatasetMissingError, match=f"lacks 1 of .*: {TIMESTAMPS}"):
            open_source(eid, one=offline)

    def test_what_is_not_wanted_need_not_be_there(self, offline, eid):
        (offline.cache_dir / SESSION / TIMESTAMPS).unlink()
        path, _ = open_source(eid, one=offline, exclude=["Wheel"])
        assert path == offline.cache_dir / SESSION

    def test_download_is_a_check(self, offline, eid):
        before = files_below(offline.cache_dir)
        assert download(offline, eid, interfaces=["Wheel"]) == offline.cache_dir / SESSION
        assert files_below(offline.cache_dir) == before

    def test_cache_elsewhere(self, gone, eid, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(SessionNotFoundError, match="has no folder of session examplelab"):
            open_source(eid, one=connect(cache_dir=tmp_path / "empty", offline=True))

    def test_unknown_session(self, offline):
        unknown = "00000000-0000-0000-0000-000000000000"
        with pytest.raises(SessionNotFoundError, match="Download it once with network"):
            resolve(offline, unknown)
        with pytest.raises(SessionNotFoundError, match="not in the cache"):
            open_source(unknown, one=offline)
        with pytest.raises(SessionNotFoundError, match="no session EX_001/2023-05-18/009"):
            resolve(offline, "EX_001/2023-05-18/009")
        with pytest.raises(SessionNotFoundError, match="cannot be fetched"):
            download(offline, unknown)


class TestWithoutARecord:
    @pytest.fixture
    def tree(self, home, bare_session, tmp_path):
        """A cache that Alyx never told anything about."""
        shutil.copytree(bare_session.parents[4], tmp_path / "tree")
        return tmp_path / "tree"

    def test_folder(self, tree):
        assert open_source(tree / SESSION) == (tree / SESSION, None)

    def test_folder_that_is_no_session_path(self, home, tree, tmp_path):
        shutil.copytree(tree / SESSION / "alf", tmp_path / "somewhere" / "alf")
        assert open_source(tmp_path / "somewhere") == (tmp_path / "somewhere", None)

    def test_reference(self, tree, caplog):
        cache = connect(cache_dir=tree, offline=True)
        assert open_source("EX_001/2023-05-18/001", one=cache) == (tree / SESSION, None)
        assert "taken as they are, unchecked" in caplog.text

    def test_search_finds_the_folder(self, tree):
        (found,) = find_sessions(connect(cache_dir=tree, offline=True), subject="EX_001")
        assert (found.eid, found.lab, found.path) == (None, "examplelab", tree / SESSION)

    def test_there_is_no_eid(self, tree):
        with pytest.raises(SessionNotFoundError, match="has no eid.*Use the path itself"):
            resolve(connect(cache_dir=tree, offline=True), "EX_001/2023-05-18/001")

    def test_tables_give_one_of_their_own(self, tree, tables):
        add_tables(tables, tree)
        cache = connect(cache_dir=tree, offline=True)
        eid = resolve(cache, "EX_001/2023-05-18/001")
        assert eid == str(cache.search()[0])
        assert resolve(cache, eid) == eid
        assert open_source(eid, one=cache) == (tree / SESSION, None)

    def test_same_session_name_in_two_labs(self, tree):
        other = tree / "otherlab/Subjects/EX_001/2023-05-18/001"
        shutil.copytree(tree / SESSION, other)
        cache = connect(cache_dir=tree, offline=True)
        with pytest.raises(SessionNotFoundError, match="is not one session.*examplelab.*otherlab"):
            open_source("EX_001/2023-05-18/001", one=cache)
        assert open_source("otherlab/Subjects/EX_001/2023-05-18/001", one=cache)[0] == other

    def test_a_document_is_not_a_session(self, tree, tmp_path):
        (tmp_path / "session.json").write_text("{}")
        with pytest.raises(UsageError, match="is a file. Give a session folder or an eid"):
            open_source(tmp_path / "session.json")

    def test_a_folder_and_a_server(self, one, eid, tree, server):
        path, record = open_source(tree / SESSION, one=one)
        assert (path, record.session.id) == (tree / SESSION, eid)
        assert server.requested("/public/") == []

    def test_a_folder_and_a_server_that_is_gone(self, one, eid, tree, server, caplog):
        server.play("mute", "")
        with pytest.raises(NetworkError, match="did not answer"):
            open_source(tree / SESSION, one=one, limits=SHORT)
        server.faults.clear()
        fetch_record(one, eid)
        server.play("mute", "")
        assert open_source(tree / SESSION, one=one, limits=SHORT)[1].session.id == eid
        assert "is the one that was kept" in caplog.text


class TestOpeningWithAServer:
    def test_default_client(self, server, eid, monkeypatch, tmp_path):
        monkeypatch.setenv("ALYX_URL", server.url)
        connect(cache_dir=tmp_path / "cache")
        path, record = open_source(eid, interfaces=["Wheel"])
        assert files_below(path) == WHEEL_FILES
        assert record.session.users[0] == USERNAME

    def test_record_is_asked_for_once(self, one, eid, server):
        open_source(eid, one=one, interfaces=["Wheel"])
        assert len(server.requested("/datasets?")) == len(set(server.requested("/datasets?")))


class TestKeptRecords:
    def test_damaged_record(self, one, eid, downloaded):
        (path,) = RecordStore().folder.rglob("*.json")
        path.write_text('{"base_url": "http')
        with pytest.raises(DocumentError, match="cannot be read.*Delete it and fetch it again"):
            fetch_record(connect(cache_dir=downloaded, offline=True), eid)

    def test_of_two_databases_the_last_one_asked_counts_and_that_is_said(self, one, eid, downloaded, caplog):
        store = RecordStore()
        kept = store.by_eid(eid)
        store.keep(kept.model_copy(update={"base_url": "https://other.example.org"}))
        assert store.by_eid(eid).base_url == "https://other.example.org"
        assert f"the last one that was asked is used: {'https://other.example.org'}" in caplog.text

    def test_is_found_by_key_with_and_without_lab(self, one, eid, downloaded):
        store = RecordStore()
        assert store.by_key(KEY).record.session.id == eid
        assert store.by_key(SessionKey(None, "EX_001", "2023-05-18", 1)).record.session.id == eid
        assert store.by_key(SessionKey("otherlab", "EX_001", "2023-05-18", 1)) is None

    def test_unavailable_datasets_are_remembered(self, one, eid, server, downloaded):
        row = next(row for row in server.rows["datasets"] if row["name"] == "_iblrig_ambientSensorData.raw.jsonable")
        nested = server.rows["sessions"][0]["data_dataset_session_related"]
        nested[:] = [other for other in nested if other["url"] != row["url"]]
        for copy in row["file_records"]:
            copy["exists"] = False
        fetch_record(one, eid)
        assert RecordStore().by_eid(eid).unavailable_datasets == [row["url"][-36:]]


@pytest.fixture(scope="session")
def example_paths(bare_session):
    return sorted(files_below(bare_session))


class TestListedSession:
    """Interfaces choose from a list of paths as they choose from the files."""

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_chooses_as_from_the_files(self, data, example_paths, tmp_path_factory):
        kept = data.draw(st.sets(st.sampled_from(example_paths), min_size=len(example_paths) // 2))
        revision = data.draw(st.sampled_from([None, "", "2024-03-01", "2025-03-03"]))
        folder = tmp_path_factory.mktemp("listed") / SESSION
        for name in kept:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        outcomes = []
        for session in (RegisteredSession(folder, KEY, kept, revision), ALFSession(folder, revision=revision)):
            try:
                outcomes.append(chosen_paths(session))
            except IBLNWBError as error:
                outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1]

    def test_has_the_name_and_parts_of_the_session(self, tmp_path):
        listed = RegisteredSession(tmp_path / SESSION, KEY, [TIMESTAMPS], None)
        assert (listed.name, listed.lab, listed.number) == ("EX_001/2023-05-18/001", "examplelab", "001")
        assert [dataset.path for dataset in listed.datasets] == [Path(tmp_path / SESSION / TIMESTAMPS)]
