"""Batches that something happens to: each fault costs the session that it strikes and no other, and leaves no trace."""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from batch_sessions import WHEEL_ONLY, check_wheel_file, find_strays, make_sessions, read_states, written_files

from ibl_nwb.batch import BatchDisplay, BatchFolder, ProcessExecutor, convert_sessions
from ibl_nwb.batch.recovery import only_driver
from ibl_nwb.errors import OutputNotWritableError, TimeLimitError, UsageError, WorkerLostError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")

#: How long a driver on a busy machine may take to begin, or to end.
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_sessions(tmp_path_factory.mktemp("sessions"), 8)


@pytest.fixture
def sessions(made, tmp_path):
    """Copies that a test may change."""
    root = tmp_path / "in"
    shutil.copytree(made[0].parents[4], root)
    return sorted(root.glob("*/Subjects/*/*/*"))


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for some of four sessions, which only root may mount."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", folder]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of limited size can only be mounted by root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def run(sessions, output, **options):
    return convert_sessions(sessions, output, **{**WHEEL_ONLY, "workers": 2, **options})


def begin_driver(sessions, output, *arguments):
    """A driver in a process of its own."""
    listed = output.parent / "sessions.txt"
    listed.write_text("\n".join(map(str, sessions)))
    command = [sys.executable, "-m", "ibl_nwb", "batch", listed, "-o", output, "--include", "Wheel", "--timezone"]
    command += ["Europe/Lisbon", "--workers", "2", *arguments]
    log = (output.parent / "driver.log").open("a")
    with log:
        return subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True)


def read_running(output):
    """What the processes that are at work say of themselves."""
    rows = []
    for path in (output / ".ibl_nwb_batch" / "running").glob("[!.]*.json"):
        try:
            row = json.loads(path.read_text())
        except FileNotFoundError:
            continue
        rows += [row] if row["is_for_one_call"] else []
    return rows


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)
    return found


def count(output, state):
    return list(read_states(output).values()).count(state)


def check_all_done(sessions, output):
    assert set(read_states(output).values()) == {"done"}
    assert len(written_files(output)) == len(sessions)
    assert find_strays(output) == []
    records = {record.source: record for record in BatchFolder(output)}
    for session in sessions:
        record = records[str(session)]
        assert record.is_complete(output)
        assert record.verification["equal"] > 0
        check_wheel_file(output / record.files[0].path, session)


# Functions that take the place of convert_one; a process imports them by name.


def convert_with_little_memory(task):
    from ibl_nwb.batch import convert_one

    if "EX_002" in task["key"]:
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + 1_000_000, used + 1_000_000))
    return convert_one(task)


def convert_to_a_full_disk(task):
    from ibl_nwb.batch import convert_one

    if "EX_002" in task["key"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    return convert_one(task)


def convert_after_a_long_time(task):
    from ibl_nwb.batch import convert_one

    if "EX_002" in task["key"]:
        time.sleep(600)
    return convert_one(task)


def convert_and_crash(task):
    if "EX_002" in task["key"]:
        os.abort()
    from ibl_nwb.batch import convert_one

    return convert_one(task)


class Faulty(ProcessExecutor):
    """Runs another function in place of the one that it is given."""

    def __init__(self, function, **options):
        super().__init__(2, **options)
        self.function = function

    def submit(self, fn, /, *args, **kwargs):
        return super().submit(self.function, *args, **kwargs)


class TestOneSessionIsStruck:
    @pytest.mark.parametrize(
        ("function", "options", "message"),
        [
            # Some libraries fail to say what they failed of, and there may be too little to answer with.
            (convert_with_little_memory, {}, "memory|SystemError|ended with exit code 1 and without an answer"),
            (convert_to_a_full_disk, {}, "File too large. Make room"),
            (convert_after_a_long_time, {"time_limit_s": 12.0}, "time limit"),
            (convert_and_crash, {}, "SIGABRT"),
        ],
    )
    def test_the_others_are_converted_and_it_can_be_tried_again(self, sessions, output, function, options, message):
        with Faulty(function, output=output / ".ibl_nwb_batch" / "logs" / "processes.log", **options) as executor:
            summary = run(sessions[:4], output, executor=executor)
        assert [record.state for record in summary.records] == ["done", "done", "failed", "done"]
        assert re.search(message, summary.failed[0].error)
        assert (find_strays(output), len(written_files(output))) == ([], 3)
        assert run(sessions[:4], output, retry_failed=True).ok
        check_all_done(sessions[:4], output)

    def test_disk_full(self, sessions, small_disk):
        output = small_disk / "out"
        try:
            summary = run(sessions[:4], output)
        except OutputNotWritableError as error:  # there was no room for the records, either
            assert "No space left on device. Make room" in str(error)
        else:
            assert 1 <= summary.counts["failed"] < 4
            assert all("No space left on device. Make room" in record.error for record in summary.failed)
            assert (find_strays(output), len(written_files(output))) == ([], summary.counts["done"])
        subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
        assert run(sessions[:4], output, retry_failed=True).ok
        check_all_done(sessions[:4], output)

    def test_worker_killed(self, sessions, output):
        class Killer(BatchDisplay):
            killed = 0

            def refresh(self):
                for row in read_running(output) if not self.killed else ():
                    os.kill(row["pid"], signal.SIGKILL)
                    self.killed = row["pid"]
                    return

        killer = Killer()
        watching = threading.Event()

        def watch():
            while not killer.killed and not watching.wait(0.01):
                killer.refresh()

        thread = threading.Thread(target=watch)
        thread.start()
        summary = run(sessions[:4], output)
        watching.set()
        thread.join()
        assert killer.killed
        assert [record.state for record in summary.records].count("failed") == 1
        assert "SIGKILL" in summary.failed[0].error
        assert find_strays(output) == []
        assert run(sessions[:4], output, retry_failed=True).ok
        check_all_done(sessions[:4], output)

    def test_source_missing_and_corrupt_in_session_7(self, sessions, output):
        wheel = sessions[6] / "alf" / "_ibl_wheel.timestamps.npy"
        content = wheel.read_bytes()
        wheel.unlink()
        summary = run(sessions, output)
        assert [record.state for record in summary.records] == ["done"] * 6 + ["failed", "done"]
        assert "wheel.timestamps.npy" in summary.failed[0].error
        wheel.write_bytes(content[:200])
        summary = run(sessions, output, retry_failed=True)
        assert summary.counts["failed"] == 1
        assert str(wheel) in summary.failed[0].error
        wheel.write_bytes(content)
        assert run(sessions, output, retry_failed=True).ok
        check_all_done(sessions, output)
        assert [record.attempts for record in BatchFolder(output)] == [1] * 6 + [3, 1]


class TestTheDriverIsStruck:
    def test_two_drivers_on_one_folder(self, sessions, output):
        with only_driver(BatchFolder(output)):
            with pytest.raises(UsageError, match="Another batch is running"):
                run(sessions, output)
            other = begin_driver(sessions, output)
            assert other.wait(PATIENCE_S) == 2
        assert "Another batch is running" in (output.parent / "driver.log").read_text()
        assert written_files(output) == {}

    def test_interrupted(self, sessions, output):
        driver = begin_driver(sessions, output)
        wait_until(lambda: count(output, "done") >= 1 and count(output, "running"), "a session is done")
        workers = [psutil.Process(row["pid"]) for row in read_running(output)]
        driver.send_signal(signal.SIGINT)
        assert driver.wait(PATIENCE_S) == 130
        assert not any(worker.is_running() for worker in workers)
        assert set(read_states(output).values()) <= {"done", "queued"}
        assert count(output, "queued") > 0
        assert find_strays(output) == []
        assert len(written_files(output)) == count(output, "done")
        assert json.loads((output / "batch_summary.json").read_text())["counts"]["queued"] == count(output, "queued")
        assert begin_driver(sessions, output).wait(PATIENCE_S) == 0
        check_all_done(sessions, output)

    def test_killed(self, sessions, output):
        driver = begin_driver(sessions, output)
        rows = wait_until(lambda: read_running(output), "a session is at work")
        driver.kill()
        driver.wait()
        wait_until(lambda: not any(psutil.pid_exists(row["pid"]) for row in rows), "its processes have ended, too")
        assert begin_driver(sessions, output).wait(PATIENCE_S) == 0
        check_all_done(sessions, output)

    def test_process_that_outlives_its_driver_is_ended(self, sessions, output):
        code = (
            "import sys, time; from pathlib import Path; from ibl_nwb.batch import processes\n"
            "from ibl_nwb.batch.progress import ProgressFile\n"
            "processes.is_for_one_call = True\n"
            "with ProgressFile(Path(sys.argv[1])): time.sleep(600)"
        )
        path = BatchFolder(output).progress_path("left")
        left = subprocess.Popen([sys.executable, "-c", code, str(path)])
        wait_until(path.exists, "the process says what it does")
        run(sessions[:1], output, workers=1)
        wait_until(lambda: left.poll() is not None or not psutil.pid_exists(left.pid), "it has ended")
        assert find_strays(output) == []

    @pytest.mark.parametrize("n_moved", [0, 1])
    def test_killed_between_the_record_and_the_move(self, sessions, output, n_moved):
        """The file is named in the record first: whether it had got to its place decides."""
        run(sessions[:1], output)
        folder = BatchFolder(output)
        (record,) = folder
        path = output / record.files[0].path
        record.state = "running"
        folder.write(record)
        if not n_moved:
            work = folder.work_path(record.name)
            work.mkdir()
            path.rename(work / path.name)
        run(sessions[:1], output)
        (again,) = folder
        assert (again.state, again.attempts) == ("done", 1 if n_moved else 2)
        check_all_done(sessions[:1], output)


class TestProcesses:
    def test_errors_of_the_call_come_back(self):
        with ProcessExecutor(1) as executor, pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()

    def test_a_call_that_ends_its_process(self):
        with ProcessExecutor(1) as executor:
            with pytest.raises(WorkerLostError, match="exit code 3"):
                executor.submit(os._exit, 3).result()
            assert executor.submit(divmod, 7, 2).result() == (3, 1)

    def test_time_limit(self):
        with ProcessExecutor(1, time_limit_s=0.5) as executor, pytest.raises(TimeLimitError, match="0.5 s"):
            executor.submit(time.sleep, 60).result()

    def test_shutdown_ends_what_runs(self):
        executor = ProcessExecutor(1)
        futures = [executor.submit(time.sleep, 60) for _ in range(2)]
        wait_until(futures[0].running, "it runs")
        started = time.monotonic()
        executor.shutdown(cancel_futures=True)
        assert time.monotonic() - started < 30
        assert all(future.done() for future in futures)


def test_forty_sessions_while_drivers_and_workers_are_killed(tmp_path):
    """Two workers, and now and then a SIGKILL or SIGINT at a moment that a seed chooses, until all is done."""
    sessions, output = make_sessions(tmp_path / "in", 40), tmp_path / "out"
    rng = random.Random(20230518)
    done_at: dict[str, tuple[str, int]] = {}
    struck = {"driver": 0, "worker": 0}
    strikes = iter(["worker", "worker", "driver", "worker", "driver"])
    strike = next(strikes)
    driver = begin_driver(sessions, output, "--retry-failed")
    for _ in range(30):
        moment = time.monotonic() + rng.uniform(0.2, 2.0)
        while driver.poll() is None and strike is not None:
            if time.monotonic() >= moment and (running := read_running(output)):
                if strike == "worker":
                    with_pid = rng.choice(running)["pid"]
                    try:
                        os.kill(with_pid, signal.SIGKILL)
                        struck["worker"] += 1
                    except ProcessLookupError:
                        continue
                else:
                    driver.kill()
                    struck["driver"] += 1
                strike = next(strikes, None)
                moment = time.monotonic() + rng.uniform(0.2, 2.0)
            time.sleep(0.005)
        driver.wait(PATIENCE_S)
        for record in BatchFolder(output):  # what is done stays done, and is not touched again
            if record.state == "done":
                was = done_at.setdefault(record.name, (record.files[0].sha256, record.attempts))
                assert was == (record.files[0].sha256, record.attempts)
        if driver.returncode == 0:
            break
        driver = begin_driver(sessions, output, "--retry-failed")
    assert struck == {"driver": 2, "worker": 3}
    assert (driver.returncode, count(output, "done")) == (0, 40)
    check_all_done(sessions, output)
