"""Downloading: just the files that are meant, each one as registered, whatever the server and other processes do."""

import hashlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from acquire_example import SESSION, SHORT, WHEEL_FILES, files_below
from alyx_server import PASSWORD, USERNAME
from one.api import ONE

from ibl_nwb import ALFSession, WheelInterface
from ibl_nwb.acquire import connect, download
from ibl_nwb.acquire.lock import LOCK_NAME, cache_lock
from ibl_nwb.errors import (
    ChecksumError,
    DatasetMissingError,
    NetworkError,
    OutputNotWritableError,
    SessionNotFoundError,
    UsageError,
)

pytest_plugins = ["acquire_fixtures"]

TIMESTAMPS = "alf/_ibl_wheel.timestamps.npy"

DOWNLOAD_SCRIPT = """
import sys
from ibl_nwb.acquire import connect, download
from ibl_nwb.errors import IBLNWBError
one = connect(base_url=sys.argv[1], cache_dir=sys.argv[2])
try:
    print(download(one, sys.argv[3], interfaces=["Wheel"], lock_wait_s=float(sys.argv[4])))
except IBLNWBError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def md5s(folder):
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in files_below(folder)}


def registered(server):
    """MD5 of every registered file by relative path below the session folder."""
    return {row["file_records"][0]["relative_path"].split("/", 3)[3]: row["hash"] for row in server.rows["datasets"]}


def row_of(server, relative_path):
    """The rows of a dataset in the dataset list and inside the session."""
    (row,) = (r for r in server.rows["datasets"] if r["file_records"][0]["relative_path"].endswith(relative_path))
    nested = next(r for r in server.rows["sessions"][0]["data_dataset_session_related"] if r["url"] == row["url"])
    return row, nested


def with_uuid(server, relative_path):
    row, _ = row_of(server, relative_path)
    path = Path(relative_path)
    return str(path.with_name(f"{path.stem}.{row['url'][-36:]}{path.suffix}"))


def start_download(server, cache, eid, *, wait_s=0.0):
    arguments = [sys.executable, "-c", DOWNLOAD_SCRIPT, server.url, str(cache), eid, str(wait_s)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, *, at_most_s=30):
    deadline = time.monotonic() + at_most_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


class Bar:
    """A progress bar that remembers."""

    made: list = []

    def __init__(self, total, desc, unit, unit_scale, **_):
        self.total, self.desc, self.unit, self.done = total, desc, unit, 0
        Bar.made.append(self)

    def update(self, n):
        self.done += n

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class TestWhatIsDownloaded:
    def test_just_what_the_interface_declares(self, one, eid, server, tmp_path):
        path = download(one, eid, interfaces=["Wheel"])
        assert path == tmp_path / "cache" / SESSION
        assert files_below(path) == WHEEL_FILES
        assert md5s(path).items() <= registered(server).items()

    def test_interface_class(self, one, eid):
        assert files_below(download(one, eid, interfaces=[WheelInterface])) == WHEEL_FILES

    def test_instance_name(self, one, eid):
        files = files_below(download(one, eid, interfaces=["PoseLeftCamera"]))
        assert "alf/_ibl_leftCamera.times.npy" in files
        assert not any("rightCamera" in name or "wheel" in name for name in files)

    def test_everything_that_can_be_converted_and_nothing_else(self, one, eid, bare_session):
        from ibl_nwb import inspect_session

        expected = {row.relative_path for row in inspect_session(ALFSession(bare_session)) if row.interfaces}
        assert files_below(download(one, eid)) == expected

    def test_all_but_one(self, one, eid):
        everything = files_below(download(one, eid, exclude=["Wheel", "RawEphys"]))
        assert not everything & (WHEEL_FILES - {"raw_behavior_data/_iblrig_taskSettings.raw.json"})
        assert "alf/#2024-02-20#/_ibl_trials.table.pqt" in everything

    def test_older_revision(self, one, eid):
        files = files_below(download(one, eid, interfaces=["Wheel"], revision="2025-01-01"))
        assert "alf/_ibl_wheel.position.npy" in files
        assert not any("#" in name for name in files)

    def test_nothing_outside_the_session_but_the_lock(self, one, eid, tmp_path):
        download(one, eid, interfaces=["Wheel"])
        assert files_below(tmp_path / "cache") == {f"{SESSION}/{name}" for name in WHEEL_FILES} | {LOCK_NAME}

    def test_one_finds_the_files_where_it_expects_them(self, one, eid, server):
        download(one, eid, interfaces=["Wheel"])
        before = len(server.requested("/public/"))
        files, _ = one.load_datasets(eid, [TIMESTAMPS], download_only=True)
        assert files[0].is_file()
        assert len(server.requested("/public/")) == before

    def test_names_with_uuids_where_one_is_set_so(self, one, eid, server):
        one.uuid_filenames = True
        path = download(one, eid, interfaces=["Wheel"])
        assert files_below(path) == {with_uuid(server, name) for name in WHEEL_FILES}
        assert {dataset.name for dataset in ALFSession(path).find("wheel.*.npy")} == {
            "wheel.position.npy",
            "wheel.timestamps.npy",
        }

    def test_interfaces_that_can_be_gone_through_once_only(self, one, eid):
        assert files_below(download(one, eid, interfaces=iter(["Wheel"]))) == WHEEL_FILES

    def test_unknown_interface(self, one, eid):
        with pytest.raises(UsageError, match="Did you mean 'Wheel'"):
            download(one, eid, interfaces=["Wheels"])

    def test_interface_that_the_session_has_nothing_for(self, one, eid):
        with pytest.raises(DatasetMissingError, match="holds nothing"):
            download(one, eid, interfaces=["Wheel"], exclude=["Wheel"])

    def test_something_that_is_no_eid(self, one):
        with pytest.raises(UsageError, match="is no eid"):
            download(one, "EX_001/2023-05-18/001")

    def test_session_that_does_not_exist(self, one):
        with pytest.raises(SessionNotFoundError, match="has no session"):
            download(one, "00000000-0000-0000-0000-000000000000")

    def test_where_the_newest_is_not_the_default_that_is_said(self, one, eid, server, caplog):
        row_of(server, "#2025-03-03#/_ibl_wheel.position.npy")[0]["default_dataset"] = False
        download(one, eid, interfaces=["Wheel"])
        assert "'alf/#2025-03-03#/_ibl_wheel.position.npy' is used, though" in caplog.text

    def test_names_that_lead_elsewhere_are_refused(self, one, eid, server):
        row, nested = row_of(server, TIMESTAMPS)
        row["collection"] = nested["collection"] = "../../../../../outside"
        with pytest.raises(Exception, match="leads elsewhere"):
            download(one, eid, interfaces=["Wheel"])


class TestVerification:
    def test_a_second_call_fetches_nothing_but_checks_everything(self, one, eid, server):
        download(one, eid, interfaces=["Wheel"])
        before = len(server.requested("/public/"))
        Bar.made.clear()
        download(one, eid, interfaces=["Wheel"], progress_bar_class=Bar)
        assert len(server.requested("/public/")) == before
        assert [(bar.desc, bar.done == bar.total > 0) for bar in Bar.made] == [("Checking", True)]

    @pytest.mark.parametrize("kind", ["corrupt", "truncated", "broken"])
    def test_a_bad_file_is_fetched_again(self, one, eid, server, kind, caplog):
        server.play(kind, "_ibl_wheel.timestamps", times=1)
        path = download(one, eid, interfaces=["Wheel"])
        assert md5s(path).items() <= registered(server).items()
        assert len(server.requested("_ibl_wheel.timestamps")) == 2
        assert "did not arrive as it should" in caplog.text

    @pytest.mark.parametrize(
        ("kind", "said"),
        [("corrupt", "its MD5 is"), ("truncated", "bytes in place of"), ("broken", "connection broke")],
    )
    def test_a_file_that_stays_bad_is_an_error_that_names_it(self, one, eid, server, kind, said, tmp_path):
        server.play(kind, "_ibl_wheel.timestamps")
        with pytest.raises(ChecksumError, match=f"'{TIMESTAMPS}'.*{said}"):
            download(one, eid, interfaces=["Wheel"])
        assert len(server.requested("_ibl_wheel.timestamps")) == 2
        left = files_below(tmp_path / "cache" / SESSION)
        assert left <= WHEEL_FILES - {TIMESTAMPS}

    @pytest.mark.parametrize("content", [b"", b"other bytes", None])
    def test_a_bad_file_on_disk_is_replaced(self, one, eid, server, content):
        path = download(one, eid, interfaces=["Wheel"])
        original = (path / TIMESTAMPS).read_bytes()
        (path / TIMESTAMPS).write_bytes(original[::-1] if content is None else content)
        download(one, eid, interfaces=["Wheel"])
        assert (path / TIMESTAMPS).read_bytes() == original

    def test_a_file_that_cannot_be_replaced_stays_as_it_was(self, one, eid, server):
        path = download(one, eid, interfaces=["Wheel"])
        (path / TIMESTAMPS).write_bytes(b"mine")
        server.play("corrupt", "_ibl_wheel.timestamps")
        with pytest.raises(ChecksumError):
            download(one, eid, interfaces=["Wheel"])
        assert (path / TIMESTAMPS).read_bytes() == b"mine"

    def test_what_one_left_half_way_is_removed(self, one, eid, server):
        path = download(one, eid, interfaces=["Trials"])
        stray = path / with_uuid(server, "#2025-03-03#/_ibl_wheel.position.npy").replace("#2025", "alf/#2025")
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_bytes(b"half")
        download(one, eid, interfaces=["Trials"])
        assert not stray.exists()

    def test_complete_files_with_uuids_in_their_names_are_taken_as_they_are(self, one, eid, server, store):
        path = Path(one.cache_dir) / SESSION
        for name in WHEEL_FILES:
            target = path / with_uuid(server, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((store / SESSION / with_uuid(server, name)).read_bytes())
        download(one, eid, interfaces=["Wheel"])
        assert server.requested("/public/") == []
        assert files_below(path) == {with_uuid(server, name) for name in WHEEL_FILES}

    def test_progress_counts_bytes_and_takes_back_what_was_bad(self, one, eid, server):
        server.play("corrupt", "_ibl_wheel.timestamps", times=1)
        Bar.made.clear()
        path = download(one, eid, interfaces=["Wheel"], progress_bar_class=Bar)
        (bar,) = Bar.made
        size = sum((path / name).stat().st_size for name in WHEEL_FILES)
        assert (bar.desc, bar.unit, bar.total, bar.done) == ("Downloading", "B", size, size)

    def test_tqdm_will_do(self, one, eid, capsys):
        from tqdm import tqdm

        download(one, eid, interfaces=["Wheel"], progress_bar_class=tqdm)
        assert "Downloading: 100%" in capsys.readouterr().err


class TestIncompleteRegistration:
    def test_without_md5_the_size_is_checked(self, one, eid, server):
        for row in row_of(server, TIMESTAMPS):
            row["hash"] = None
        server.play("truncated", "_ibl_wheel.timestamps", times=1)
        path = download(one, eid, interfaces=["Wheel"])
        assert files_below(path) == WHEEL_FILES
        assert len(server.requested("_ibl_wheel.timestamps")) == 2

    def test_without_size_the_md5_is_checked(self, one, eid, server):
        for row in row_of(server, TIMESTAMPS):
            row["file_size"] = None
        server.play("truncated", "_ibl_wheel.timestamps")
        with pytest.raises(ChecksumError, match="its MD5 is"):
            download(one, eid, interfaces=["Wheel"])

    def test_without_both_a_broken_transfer_is_still_noticed_and_the_file_never_trusted(self, one, eid, server, caplog):
        for row in row_of(server, TIMESTAMPS):
            row.update(file_size=None, hash="")
        server.play("broken", "_ibl_wheel.timestamps", times=1)
        for _ in range(2):
            path = download(one, eid, interfaces=["Wheel"])
        assert len(server.requested("_ibl_wheel.timestamps")) == 3
        assert "neither size nor MD5" in caplog.text
        assert hashlib.md5((path / TIMESTAMPS).read_bytes()).hexdigest()

    def test_without_addresses_the_file_server_of_one_is_asked(self, one, eid, server):
        for row in server.rows["sessions"][0]["data_dataset_session_related"]:
            row["data_url"] = None
        for row in server.rows["datasets"]:
            for copy in row["file_records"]:
                copy["data_url"] = None
        one.alyx._par = one.alyx._par.set("HTTP_DATA_SERVER", f"{server.url}/public")
        assert files_below(download(one, eid, interfaces=["Wheel"])) == WHEEL_FILES

    def test_a_file_server_set_in_one_wins_over_addresses_elsewhere(self, one, eid, server):
        for row in [*server.rows["sessions"][0]["data_dataset_session_related"]]:
            row["data_url"] = row["data_url"].replace(server.url, "http://127.0.0.1:9")
        for row in server.rows["datasets"]:
            for copy in row["file_records"]:
                copy["data_url"] = copy["data_url"] and copy["data_url"].replace(server.url, "http://127.0.0.1:9")
        one.alyx._par = one.alyx._par.set("HTTP_DATA_SERVER", f"{server.url}/public")
        assert files_below(download(one, eid, interfaces=["Wheel"])) == WHEEL_FILES

    def test_file_server_login_goes_to_no_other_server(self, one, eid, server):
        from ibl_nwb.acquire.credentials import file_server_login

        par = one.alyx._par.set("HTTP_DATA_SERVER", "https://data.example.org/public")
        one.alyx._par = par.set("HTTP_DATA_SERVER_LOGIN", "me").set("HTTP_DATA_SERVER_PWD", "secret")
        assert file_server_login(one.alyx._par, "https://data.example.org/public/x.npy") == ("me", "secret")
        assert file_server_login(one.alyx._par, f"{server.url}/public/x.npy") is None
        assert file_server_login(one.alyx._par, "http://data.example.org/public/x.npy") is None

    def test_a_newer_revision_that_is_on_no_server_is_an_error(self, one, eid, server):
        row, nested = row_of(server, "#2025-03-03#/_ibl_wheel.position.npy")
        server.rows["sessions"][0]["data_dataset_session_related"].remove(nested)
        for copy in row["file_records"]:
            copy["exists"] = False
        with pytest.raises(DatasetMissingError, match="no server has the file.*--revision none"):
            download(one, eid, interfaces=["Wheel"])
        assert "alf/_ibl_wheel.position.npy" in files_below(download(one, eid, interfaces=["Wheel"], revision=""))

    def test_an_untransferred_required_dataset_is_an_error(self, one, eid, server):
        row, nested = row_of(server, TIMESTAMPS)
        server.rows["sessions"][0]["data_dataset_session_related"].remove(nested)
        for copy in row["file_records"]:
            copy["exists"] = False
        with pytest.raises(DatasetMissingError, match=r"Wheel cannot be converted.*wheel\.timestamps"):
            download(one, eid, interfaces=["Wheel"])

    def test_of_two_registrations_of_one_file_the_default_counts(self, one, eid, server):
        row, nested = row_of(server, TIMESTAMPS)
        identifier = "00000000-0000-4000-8000-000000000000"
        for rows, original in (
            (server.rows["datasets"], row),
            (server.rows["sessions"][0]["data_dataset_session_related"], nested),
        ):
            url = original["url"][:-36] + identifier
            rows.insert(0, {**original, "url": url, "hash": "0" * 32, "default_dataset": False})
            if "id" in original:
                rows[0].update(id=identifier, default_revision="False")
        assert md5s(download(one, eid, interfaces=["Wheel"])).items() <= registered(server).items() | {
            (TIMESTAMPS, row["hash"])
        }


class TestServerTrouble:
    def test_missing_file_is_named(self, one, eid, server):
        server.play("missing", "_ibl_wheel.timestamps")
        with pytest.raises(DatasetMissingError, match=f"'{TIMESTAMPS}'.*is registered in Alyx.*answers 404"):
            download(one, eid, interfaces=["Wheel"])

    @pytest.mark.parametrize(("kind", "said"), [("mute", "did not answer within 1 s"), ("slow", "sent only")])
    def test_silent_and_dripping_servers(self, one, eid, server, kind, said, tmp_path):
        server.play(kind, "_ibl_wheel.timestamps")
        started = time.monotonic()
        with pytest.raises(NetworkError, match=said):
            download(one, eid, interfaces=["Wheel"], limits=SHORT)
        assert time.monotonic() - started < 10
        assert files_below(tmp_path / "cache" / SESSION) <= WHEEL_FILES - {TIMESTAMPS}

    def test_busy_file_server(self, one, eid, server):
        server.play("busy", "_ibl_wheel.timestamps", times=1, wait_s=0.2)
        assert files_below(download(one, eid, interfaces=["Wheel"], limits=SHORT)) == WHEEL_FILES

    @pytest.mark.parametrize(("status", "said"), [(401, "HTTP_DATA_SERVER_LOGIN"), (500, "Try again later")])
    def test_refusing_file_server(self, one, eid, server, status, said):
        server.play("status", "_ibl_wheel.timestamps", status=status)
        with pytest.raises(NetworkError, match=f"answers {status}.*{said}"):
            download(one, eid, interfaces=["Wheel"])

    def test_token_that_expires_meanwhile(self, one, eid, server):
        server.tokens.clear()
        assert files_below(download(one, eid, interfaces=["Wheel"])) == WHEEL_FILES

    def test_an_interrupted_download_goes_on_file_by_file(self, one, eid, server):
        server.play("missing", "_ibl_wheel.timestamps", times=1)
        with pytest.raises(DatasetMissingError):
            download(one, eid, interfaces=["Wheel"])
        before = server.requested("/public/")
        path = download(one, eid, interfaces=["Wheel"])
        after = server.requested("/public/")[len(before) :]
        assert files_below(path) == WHEEL_FILES
        assert not set(after) & set(before[:-1])

    def test_full_disk_is_told_beforehand(self, one, eid, server, tmp_path):
        for row in row_of(server, TIMESTAMPS):
            row["file_size"] = 10**18
        with pytest.raises(OutputNotWritableError, match=r"needs 1000000000\.00 GB"):
            download(one, eid, interfaces=["Wheel"])
        assert server.requested("/public/") == []


class TestOthersInTheSameCache:
    def test_a_second_process_is_refused(self, one, eid, server, tmp_path):
        with cache_lock(tmp_path / "cache"):
            process = start_download(server, tmp_path / "cache", eid)
            _, complaint = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "OutputNotWritableError: Another process is downloading into the cache" in complaint
        assert server.requested("/public/") == []

    def test_two_processes_of_which_one_waits(self, one, eid, server, tmp_path):
        server.play("delayed", "/public/", pause_s=0.1)
        processes = [start_download(server, tmp_path / "cache", eid, wait_s=50) for _ in range(2)]
        for process in processes:
            _, complaint = process.communicate(timeout=60)
            assert process.returncode == 0, complaint
        path = tmp_path / "cache" / SESSION
        assert files_below(path) == WHEEL_FILES
        assert md5s(path).items() <= registered(server).items()
        assert len(server.requested("/public/")) == len(WHEEL_FILES)

    def test_a_second_thread_is_refused(self, one, eid, server, tmp_path):
        errors = []

        def second():
            try:
                download(one, eid, interfaces=["Wheel"])
            except OutputNotWritableError as error:
                errors.append(error)

        with cache_lock(tmp_path / "cache"):
            thread = threading.Thread(target=second)
            thread.start()
            thread.join(30)
        assert len(errors) == 1

    def test_a_killed_download_leaves_no_lock_and_no_partial_file_for_long(self, one, eid, server, tmp_path):
        path = tmp_path / "cache" / SESSION
        server.play("slow", "_ibl_wheel.timestamps", times=1)
        process = start_download(server, tmp_path / "cache", eid)
        wait_for(lambda: server.requested("_ibl_wheel.timestamps"))
        wait_for(lambda: any(".ibl_nwb_part" in name for name in files_below(path)))
        process.kill()
        process.communicate(timeout=30)
        assert any(".ibl_nwb_part" in name for name in files_below(path))
        assert {d.relative_path for d in ALFSession(path).datasets} <= WHEEL_FILES - {TIMESTAMPS}
        download(one, eid, interfaces=["Wheel"])
        assert files_below(path) == WHEEL_FILES

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot interrupt another process in this way")
    def test_an_interrupted_download_leaves_no_partial_file(self, one, eid, server, tmp_path):
        server.play("slow", "_ibl_wheel.timestamps", times=1)
        process = start_download(server, tmp_path / "cache", eid)
        wait_for(lambda: any(".ibl_nwb_part" in name for name in files_below(tmp_path / "cache")))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode != 0
        assert not any(".ibl_nwb_part" in name for name in files_below(tmp_path / "cache"))

    def test_ones_own_files_are_left_alone(self, one, eid, tmp_path):
        cache = tmp_path / "cache"
        others = {"sessions.pqt": b"table", f"{SESSION}/alf/mine.txt": b"note", ".rest/abc": b"answer"}
        for name, content in others.items():
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            (cache / name).write_bytes(content)
        download(one, eid, interfaces=["Wheel"])
        assert {name: (cache / name).read_bytes() for name in others} == others

    def test_unregistered_files_that_a_conversion_would_read_are_told(self, one, eid, tmp_path, caplog):
        path = tmp_path / "cache" / SESSION / "alf/#2030-01-01#/_ibl_wheel.position.npy"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"from elsewhere")
        download(one, eid, interfaces=["Wheel"])
        assert "though Alyx does not register them: alf/#2030-01-01#/_ibl_wheel.position.npy" in caplog.text


def test_files_that_ones_own_client_spoilt_are_repaired(private_server, tmp_path):
    """ONE takes a first download as it comes; the same cache is put right by ours."""
    server = private_server
    eid = server.rows["sessions"][0]["id"]
    connect(base_url=server.url, cache_dir=tmp_path / "cache")
    ONE.cache_clear()
    client = ONE(base_url=server.url, cache_dir=tmp_path / "cache", username=USERNAME, password=PASSWORD, silent=True)
    client.alyx._par = client.alyx._par.set("HTTP_DATA_SERVER", f"{server.url}/public")
    server.play("corrupt", "_ibl_wheel.timestamps", times=1)
    (file,), _ = client.load_datasets(eid, [TIMESTAMPS], download_only=True)
    assert hashlib.md5(file.read_bytes()).hexdigest() != row_of(server, TIMESTAMPS)[0]["hash"]
    path = download(client, eid, interfaces=["Wheel"])
    assert md5s(path).items() <= registered(server).items()
