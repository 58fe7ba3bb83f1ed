"""Acquire: connecting, searching, resolving and fetching records, with a real ONE client and a server of our own."""

import json
import logging
import re
import time

import numpy as np
import pytest
from acquire_example import SESSION, SHORT
from alyx_server import PASSWORD, USERNAME, AlyxServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one.api import ONE, OneAlyx
from real_data import SHARED

from ibl_nwb import AlyxRecord
from ibl_nwb.acquire import connect, fetch_record, find_sessions, parse_reference, resolve
from ibl_nwb.acquire.http import Limits
from ibl_nwb.acquire.records import DATA_FOLDER_VARIABLE, RecordStore
from ibl_nwb.acquire.references import SessionKey
from ibl_nwb.acquire.rest import AlyxReader, RefusedError
from ibl_nwb.errors import NetworkError, SessionNotFoundError, UsageError
from ibl_nwb.testing import example_alyx_answers

pytest_plugins = ["acquire_fixtures"]

RESPONSES = SHARED / "data" / "alyx_responses"
needs_responses = pytest.mark.skipif(not RESPONSES.is_dir(), reason="the recorded answers of Alyx are not here")


def stored_parameters(home, server):
    """What ONE keeps about the server, as JSON."""
    return json.loads((home / ".one" / f".{server.url.removeprefix('http://').replace(':', '_')}").read_text())


def all_text_below(folder):
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def add_session(server, **changes):
    """Another session of the server, which differs from the first in some fields; returns its id."""
    first = server.rows["sessions"][0]
    eid = first["id"][:-4] + f"{len(server.rows['sessions']):04d}"
    server.rows["sessions"].append({**first, "id": eid, **changes})
    return eid


class TestConnecting:
    def test_gives_a_logged_in_one_object(self, one, server, tmp_path):
        assert isinstance(one, OneAlyx)
        assert one.mode == "remote"
        assert one.alyx.user == USERNAME
        assert one.cache_dir == tmp_path / "cache"

    def test_one_itself_can_work_with_it(self, one, eid):
        assert [str(found) for found in one.search(subject="EX_001")] == [eid]

    def test_token_is_kept_and_used_without_a_password(self, server, home, monkeypatch, tmp_path):
        connect(base_url=server.url, cache_dir=tmp_path)
        monkeypatch.delenv("ALYX_PWD")
        monkeypatch.delenv("ALYX_LOGIN")
        assert connect(base_url=server.url).alyx.is_logged_in
        assert len(server.requested("/auth-token")) == 1

    def test_password_in_the_environment_is_not_sent_when_there_is_a_token(self, server, tmp_path):
        for _ in range(2):
            connect(base_url=server.url, cache_dir=tmp_path)
        assert len(server.requested("/auth-token")) == 1

    def test_password_is_kept_nowhere(self, one, server, eid, home, tmp_path, caplog):
        with caplog.at_level(logging.DEBUG):
            fetch_record(one, eid)
        assert PASSWORD not in all_text_below(home) + all_text_below(tmp_path / "cache") + caplog.text

    def test_token_is_only_in_ones_own_store(self, one, server, eid, home, tmp_path, caplog):
        with caplog.at_level(logging.INFO):
            fetch_record(one, eid)
        token = stored_parameters(home, server)["TOKEN"][USERNAME]["token"]
        elsewhere = all_text_below(home / "ibl_nwb_data") + all_text_below(tmp_path / "cache") + caplog.text
        assert token not in elsewhere

    def test_wrong_password_is_refused_without_naming_it_and_without_losing_the_token(
        self, server, home, monkeypatch, tmp_path
    ):
        one = connect(base_url=server.url, cache_dir=tmp_path)
        before = stored_parameters(home, server)["TOKEN"]
        server.tokens.clear()
        monkeypatch.setenv("ALYX_PWD", "not-the-password")
        with pytest.raises(NetworkError, match=f"refuses user '{USERNAME}'") as caught:
            find_sessions(one)
        assert "not-the-password" not in str(caught.value)
        assert stored_parameters(home, server)["TOKEN"] == before

    def test_no_credentials_at_all(self, server, monkeypatch, tmp_path):
        monkeypatch.delenv("ALYX_PWD")
        with pytest.raises(UsageError, match="ALYX_LOGIN and ALYX_PWD"):
            connect(base_url=server.url, cache_dir=tmp_path)

    def test_token_in_the_environment(self, server, monkeypatch, tmp_path):
        monkeypatch.delenv("ALYX_PWD")
        monkeypatch.setenv("ALYX_TOKEN", "first-token")
        assert len(find_sessions(connect(base_url=server.url, cache_dir=tmp_path))) == 1

    def test_address_in_the_environment(self, server, monkeypatch, tmp_path):
        monkeypatch.setenv("ALYX_URL", server.url + "/")
        assert connect(cache_dir=tmp_path).alyx.base_url == server.url

    @pytest.mark.parametrize("address", ["openalyx", "ftp://openalyx.org", "http://"])
    def test_address_that_is_none(self, home, address):
        with pytest.raises(UsageError, match="no address of a database"):
            connect(base_url=address)

    def test_credentials_in_the_address_are_refused_and_not_repeated(self, home):
        with pytest.raises(UsageError) as caught:
            connect(base_url="http://user:topsecret@127.0.0.1:1")
        assert "topsecret" not in str(caught.value)

    def test_mute_server_at_log_in(self, server, tmp_path):
        server.play("mute", "/auth-token")
        started = time.monotonic()
        with pytest.raises(NetworkError, match="did not answer within 1 s"):
            connect(base_url=server.url, cache_dir=tmp_path, limits=SHORT)
        assert time.monotonic() - started < 10

    def test_no_server(self, home, tmp_path):
        with pytest.raises(NetworkError, match=r"cannot be reached: .*refused"):
            connect(base_url="http://127.0.0.1:9", cache_dir=tmp_path, limits=SHORT)

    def test_offline_sends_nothing_and_leaves_ones_parameters_alone(self, home, tmp_path):
        one = connect(base_url="http://127.0.0.1:9", cache_dir=tmp_path, offline=True)
        assert one.offline
        assert not (home / ".one").exists()

    def test_offline_without_a_cache_folder(self, home, tmp_path):
        with pytest.raises(UsageError, match="no cache folder 'nowhere'|There is no cache folder"):
            connect(cache_dir=tmp_path / "nowhere", offline=True)
        with pytest.raises(UsageError, match="Give --cache-dir"):
            connect(base_url="http://127.0.0.1:9", offline=True)

    def test_offline_remembers_the_cache_folder_of_an_address(self, server, tmp_path):
        connect(base_url=server.url, cache_dir=tmp_path / "cache")
        assert connect(base_url=server.url, offline=True).cache_dir == tmp_path / "cache"


class TestExpiredToken:
    def test_is_renewed_from_the_environment(self, one, server):
        server.tokens.clear()
        assert len(find_sessions(one)) == 1

    def test_without_a_password_is_a_clear_error_and_stays_in_the_store(self, one, server, home, monkeypatch):
        before = stored_parameters(home, server)["TOKEN"]
        monkeypatch.delenv("ALYX_PWD")
        server.tokens.clear()
        with pytest.raises(NetworkError, match="no longer takes the token.*Log in again"):
            find_sessions(one)
        assert stored_parameters(home, server)["TOKEN"] == before


class TestPatience:
    def test_mute_server(self, one, server):
        server.play("mute", "/sessions")
        started = time.monotonic()
        with pytest.raises(NetworkError, match="sessions did not answer within 1 s"):
            find_sessions(one, limits=SHORT)
        assert time.monotonic() - started < 10

    def test_server_that_sends_single_bytes_for_ever(self, one, server):
        server.play("slow", "/sessions")
        started = time.monotonic()
        with pytest.raises(NetworkError, match="sent only"):
            find_sessions(one, limits=SHORT)
        assert time.monotonic() - started < 10

    def test_busy_server_is_waited_for_and_that_is_said(self, one, server, caplog):
        server.play("busy", "/sessions", times=2, wait_s=0.2)
        assert len(find_sessions(one, limits=SHORT)) == 1
        assert caplog.text.count("waiting 0.2 s") == 2

    def test_server_that_stays_busy(self, one, server):
        server.play("busy", "/sessions", wait_s=0.7)
        with pytest.raises(NetworkError, match="429 .* asks to wait 1 s more"):
            find_sessions(one, limits=SHORT)

    def test_server_that_asks_for_a_long_wait(self, one, server):
        server.play("busy", "/sessions", wait_s=600)
        started = time.monotonic()
        with pytest.raises(NetworkError, match="asks to wait 600 s.*at most 2 s"):
            find_sessions(one, limits=SHORT)
        assert time.monotonic() - started < 2

    def test_server_error_tells_what_the_server_said(self, one, server):
        detail = "Cannot resolve keyword 'nofield' into field. Choices are: auto_datetime"
        server.play("status", "/sessions", status=500, detail=detail)
        with pytest.raises(NetworkError, match="answers 500: Cannot resolve keyword 'nofield'"):
            find_sessions(one)

    def test_server_that_restarts(self, one, server):
        server.play("status", "/sessions", times=1, status=503, detail="Service Unavailable")
        assert len(find_sessions(one, limits=SHORT)) == 1

    def test_answer_that_is_no_json(self, one, server):
        server.play("web_page", "/sessions")
        with pytest.raises(NetworkError, match="did not answer with JSON.*Is it an Alyx database"):
            find_sessions(one)


class TestPages:
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(n_rows=st.integers(0, 12), page_size=st.integers(1, 5))
    def test_all_rows_of_all_pages(self, one, server, n_rows, page_size):
        server.rows["revisions"] = [{"id": str(number), "name": f"r{number}"} for number in range(n_rows)]
        server.page_size = page_size
        with AlyxReader(one, Limits()) as reader:
            rows = reader.list_rows("revisions")
        assert [row["id"] for row in rows] == [str(number) for number in range(n_rows)]

    def test_list_whose_order_changes_between_pages_is_read_again(self, one, server):
        server.rows["revisions"] = [{"id": str(number)} for number in range(9)]
        server.page_size = 4
        server.play("shuffled", "revisions", times=2)
        with AlyxReader(one, Limits()) as reader:
            rows = reader.list_rows("revisions")
        assert {row["id"] for row in rows} == {str(number) for number in range(9)}

    def test_list_that_never_stays_the_same_is_an_error(self, one, server):
        server.rows["revisions"] = [{"id": str(number)} for number in range(200)]
        server.page_size = 20
        server.play("shuffled", "revisions")
        with AlyxReader(one, Limits()) as reader, pytest.raises(NetworkError, match="says that it has 200 rows"):
            reader.list_rows("revisions")


class TestSearching:
    def test_summary(self, one, eid):
        (found,) = find_sessions(one, subject="EX_001")
        assert found.to_dict() == {
            "eid": eid,
            "lab": "examplelab",
            "subject": "EX_001",
            "date": "2023-05-18",
            "number": 1,
            "task_protocol": "_iblrig_tasks_ephysChoiceWorld6.6.1",
            "projects": ["example_brainwide_map"],
        }

    @pytest.mark.parametrize(
        "terms",
        [
            {"subject": "ex_001"},
            {"subject": ["nobody", "EX_001"]},
            {"lab": "examplelab", "number": 1},
            {"laboratory": "ExampleLab"},
            {"date_range": "2023-05-18"},
            {"date_range": ["2023-05-01", None]},
            {"date": ["2023-01-01", "2023-12-31"]},
            {"task_protocol": "ephyschoice"},
            {"project": "BRAINWIDE"},
            {"datasets": ["_ibl_wheel.timestamps.npy", "spikes.times.npy"]},
            {"dataset": "_ibl_wheel.timestamps.npy"},
            {"dataset_types": ["spikes.times", "wheel.position"]},
            {"dataset_types": "spikes.times.npy"},
            {"dataset_types": "camera.times"},
            {"subject": None},
        ],
    )
    def test_terms_that_match(self, one, eid, terms):
        assert [found.eid for found in find_sessions(one, **terms)] == [eid]

    @pytest.mark.parametrize(
        "terms",
        [
            {"subject": "EX"},
            {"lab": "example"},
            {"number": 2},
            {"date_range": ["2023-05-19", None]},
            {"task_protocol": "training"},
            {"projects": "other"},
            {"datasets": ["_ibl_wheel.timestamps.npy", "wheel.nothing.npy"]},
            {"datasets": "_ibl_wheel.timestamps"},
            {"dataset_types": "spikes.nothing"},
        ],
    )
    def test_terms_that_do_not_match(self, one, terms):
        assert find_sessions(one, **terms) == []

    def test_hits_are_sorted_whatever_the_order_of_the_server(self, one, server):
        for number in (3, 2):
            add_session(server, number=number, start_time="2023-05-18T09:00:00")
        add_session(server, subject="AA_001")
        server.play("shuffled", "sessions", times=3)
        found = find_sessions(one)
        assert [(s.subject, s.number) for s in found] == [("AA_001", 1), ("EX_001", 1), ("EX_001", 2), ("EX_001", 3)]

    def test_unknown_term_names_the_known_ones(self, one):
        with pytest.raises(UsageError, match="no search term 'subjct'. Did you mean 'subject'.*date_range"):
            find_sessions(one, subjct="EX_001")

    @pytest.mark.parametrize("terms", [{"date_range": "May"}, {"date_range": [None]}, {"number": "one"}])
    def test_values_that_make_no_sense(self, one, terms):
        with pytest.raises(UsageError):
            find_sessions(one, **terms)


class TestReferences:
    @pytest.mark.parametrize(
        "reference",
        [
            "EX_001/2023-05-18/001",
            "EX_001/2023-05-18/1",
            "2023-05-18_1_EX_001",
            SESSION,
            f"/somewhere/{SESSION}/alf",
            f"C:\\data\\{SESSION}".replace("/", "\\"),
        ],
    )
    def test_forms(self, one, eid, reference):
        assert resolve(one, reference) == eid

    def test_eid(self, one, eid):
        assert resolve(one, eid.upper()) == eid

    @given(
        subject=st.from_regex(r"[A-Za-z]\w{0,8}(-\w{1,4})?", fullmatch=True).filter(str.isascii),
        date=st.dates(),
        number=st.integers(1, 999),
    )
    def test_every_form_gives_the_same_key(self, subject, date, number):
        key = SessionKey(None, subject, date.isoformat(), number)
        assert parse_reference(str(key)) == key
        assert parse_reference(f"{date.isoformat()}_{number}_{subject}") == key
        assert parse_reference(f"/data/lab/Subjects/{key}") == SessionKey("lab", subject, date.isoformat(), number)

    @pytest.mark.parametrize("reference", ["EX_001", "EX_001/2023-05-18", "", "2023-05-18", "EX_001/2023-13-45/001"])
    def test_names_that_are_none(self, one, reference):
        with pytest.raises(SessionNotFoundError, match="does not name a session|does not exist"):
            resolve(one, reference)

    def test_session_that_does_not_exist(self, one, server):
        with pytest.raises(SessionNotFoundError, match=f"no session EX_001/2023-05-18/007 in {server.url}"):
            resolve(one, "EX_001/2023-05-18/007")
        unknown = "00000000-0000-0000-0000-000000000000"
        with pytest.raises(SessionNotFoundError, match=f"has no session {unknown}"):
            resolve(one, unknown)

    def test_ambiguous_name_lists_what_it_may_be(self, one, server, eid):
        other = add_session(server, lab="otherlab")
        with pytest.raises(SessionNotFoundError, match=f"2: .*{eid}.*{other}"):
            resolve(one, "EX_001/2023-05-18/001")
        assert resolve(one, "otherlab/Subjects/EX_001/2023-05-18/001") == other


class TestRecord:
    def test_is_what_the_answers_say(self, one, eid, store):
        expected = AlyxRecord.from_rest(**example_alyx_answers(store / SESSION))
        record = fetch_record(one, eid)
        assert [project.name for project in record.projects] == ["example_brainwide_map"]
        assert record.model_copy(update={"projects": []}) == expected

    def test_does_not_depend_on_order_or_pages(self, one, server, eid):
        first = fetch_record(one, eid)
        server.page_size = 250
        server.play("shuffled", "")
        assert fetch_record(one, eid).to_json() == first.to_json()

    def test_is_asked_for_in_full_each_time(self, one, server, eid):
        fetch_record(one, eid)
        server.rows["sessions"][0]["narrative"] = "Corrected."
        assert fetch_record(one, eid).session.narrative == "Corrected."

    def test_databases_that_share_a_cache_are_kept_apart(self, one, server, store, eid, tmp_path):
        with AlyxServer(store) as other_server:
            other_server.add_example(store / SESSION)["narrative"] = "Of the other database."
            other = connect(base_url=other_server.url, cache_dir=tmp_path / "cache")
            assert fetch_record(one, eid).session.narrative != fetch_record(other, eid).session.narrative

    def test_does_without_people_it_may_not_see_and_says_so(self, one, server, eid, caplog):
        complete = fetch_record(one, eid)
        server.play("status", "/users", status=403, detail="You do not have permission to perform this action.")
        record = fetch_record(one, eid)
        assert record.users == []
        assert record.session.users == complete.session.users
        assert "goes without the details of users 'ada.example'" in caplog.text

    def test_does_not_do_without_what_it_is_about(self, one, server, eid):
        server.play("status", "/subjects", status=403, detail="You do not have permission to perform this action.")
        with pytest.raises(RefusedError, match="subjects/EX_001 answers 403: You do not have permission"):
            fetch_record(one, eid)

    def test_does_not_do_without_what_a_failing_server_would_tell(self, one, server, eid):
        server.play("status", "/users", status=500, detail="Out of order.")
        with pytest.raises(RefusedError, match="Out of order"):
            fetch_record(one, eid)

    def test_session_without_probes_surgery_and_lab(self, one, server, eid):
        session = server.rows["sessions"][0]
        session.update(probe_insertion=[], lab=None, notes=[], users=[], projects=[])
        for endpoint in ("insertions", "trajectories", "surgeries"):
            server.rows[endpoint] = []
        server.rows["subjects"][0].update(lab=None, weighings=[])
        for dataset in server.rows["datasets"]:
            dataset.update(file_size=None, hash=None)
        session["data_dataset_session_related"] = []
        record = fetch_record(one, eid)
        assert (record.lab, record.insertions, record.surgeries) == (None, [], [])

    def test_is_kept_for_later(self, one, server, eid):
        record = fetch_record(one, eid)
        kept = RecordStore().by_eid(eid)
        assert kept.record == record
        assert kept.base_url == server.url

    def test_folder_of_kept_records_can_be_named(self, one, eid, tmp_path, monkeypatch):
        monkeypatch.setenv(DATA_FOLDER_VARIABLE, str(tmp_path / "elsewhere"))
        fetch_record(one, eid)
        fetch_record(one, eid, records_dir=tmp_path / "named")
        assert len(list((tmp_path / "elsewhere/records").rglob("*.json"))) == 1
        assert len(list((tmp_path / "named").rglob("*.json"))) == 1

    def test_offline_without_a_kept_record(self, home, tmp_path, eid):
        with pytest.raises(SessionNotFoundError, match=f"No record of session {eid} is kept"):
            fetch_record(connect(cache_dir=tmp_path, offline=True), eid)

    def test_any_one_object_will_do(self, server, eid, tmp_path):
        one = ONE(base_url=server.url, cache_dir=tmp_path, username=USERNAME, password=PASSWORD, silent=True)
        assert fetch_record(one, eid).session.id == eid


@needs_responses
class TestRecordedAnswers:
    """Rows that a real Alyx sent."""

    @pytest.fixture
    def recorded(self, home, tmp_path):
        def rows(name):
            answer = json.loads((RESPONSES / f"{name}.json").read_text())
            return answer["results"] if isinstance(answer, dict) and "results" in answer else answer

        with AlyxServer(page_size=2) as server:
            session = rows("sessions_read")
            server.add_answers(
                {
                    "session": session,
                    "subject": rows("subjects_read"),
                    "lab": rows("labs_read"),
                    "insertions": [row for row in rows("insertions_list") if row["session"] == session["id"]],
                    **{
                        name: rows(f"{name}_list")
                        for name in ("users", "trajectories", "surgeries", "procedures", "datasets")
                    },
                }
            )
            server.rows["projects"] = rows("projects_list")
            yield server

    def test_record(self, recorded, tmp_path):
        one = connect(base_url=recorded.url, cache_dir=tmp_path)
        eid = resolve(one, "RIG_0021/2022-06-30/003")
        record = fetch_record(one, eid)
        assert record.subject.nickname == "RIG_0021"
        assert record.lab.timezone == "America/Los_Angeles"
        assert record.session.start_time == "2022-06-30T13:05:43.125678"
        assert [user.username for user in record.users] == ["admin", "karo.rig", "noel.rig"]
        assert record.surgeries[0].users == ["noel.rig"]
        assert len(record.datasets) == len(recorded.rows["sessions"][0]["data_dataset_session_related"])
        assert {dataset.revision for dataset in record.datasets} == {"", "2024-05-06", "2025-03-03"}
        assert record.trajectories
        assert not re.search(r"127\.0\.0\.1", record.to_json())

    def test_numbers_are_untouched(self, recorded, tmp_path):
        one = connect(base_url=recorded.url, cache_dir=tmp_path)
        record = fetch_record(one, recorded.rows["sessions"][0]["id"])
        sent = sorted(row["weight"] for row in recorded.rows["subjects"][0]["weighings"])
        np.testing.assert_array_equal(sorted(weighing.weight for weighing in record.weighings), sent)
