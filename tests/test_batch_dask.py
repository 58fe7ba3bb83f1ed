"""The batch on a real Dask scheduler with two workers, in processes of their own, some of which are killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml
from batch_sessions import WHEEL_ONLY, check_wheel_file, find_strays, make_sessions, read_states, written_files
from click.testing import CliRunner
from fasteners import InterProcessLock

from ibl_nwb.batch import BatchFolder, DaskExecutor, convert_one, convert_sessions
from ibl_nwb.batch.dask_executor import read_cluster_file, start_cluster
from ibl_nwb.batch.dask_worker import share_worker
from ibl_nwb.cli import main
from ibl_nwb.errors import NetworkError, SchedulerLostError, UsageError

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'ibl-nwb[cluster]'")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

PATIENCE_S = 90.0


# Functions that take the place of convert_one; a worker imports them by name.


def convert_or_crash(task):
    if "EX_001" in task["key"]:
        os.abort()
    return convert_one(task)


def take_a_long_time(task):
    time.sleep(600)


def kill_the_worker(task):
    Path(task["folder"], f"begun-{time.time_ns()}").touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)
    return found


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def run_dask(folder, n_workers=2):
    """A scheduler and workers; the first process is the scheduler's."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    at = folder / "scheduler.json"
    common = ["--scheduler-file", str(at), "--no-dashboard"]
    worker = [*common, "--nthreads", "1", "--local-directory", str(folder)]
    commands = [["scheduler", *common, "--port", "0", "--host", "127.0.0.1"]] + [["worker", *worker]] * n_workers
    processes = []
    with (folder / "dask.log").open("a") as log:
        for kind, *arguments in commands:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
    try:
        wait_until(at.exists, "the scheduler is there")
        address = json.loads(at.read_text())["address"]
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=PATIENCE_S)
        yield address, processes
    finally:
        every = [child for process in processes for child in psutil.Process(process.pid).children(recursive=True)]
        for process in [*processes, *every]:
            process.kill()
        for process in processes:
            process.wait()


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    return make_sessions(tmp_path_factory.mktemp("sessions"), 2)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    with run_dask(tmp_path_factory.mktemp("dask")) as (address, _):
        yield address


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def read_running(output, product="whole"):
    """What the processes that are at work on a product say of themselves."""
    rows = []
    for path in (output / ".ibl_nwb_batch" / "running").glob("[!.]*.json"):
        try:
            row = json.loads(path.read_text())
        except FileNotFoundError:
            continue
        rows += [{**row, "key": path.stem}] if row["product"] == product else []
    return rows


def check_all_done(sessions, output):
    assert set(read_states(output).values()) == {"done"}
    assert (len(written_files(output)), find_strays(output)) == (len(sessions), [])
    for record in BatchFolder(output):
        assert record.is_complete(output)
        assert record.verification["equal"] > 0
        check_wheel_file(output / record.files[0].path, Path(record.source))


class InBackground(threading.Thread):
    """A batch in a thread; ``finish`` gives its summary, or raises what it has raised."""

    def __init__(self, *arguments, **options):
        super().__init__(daemon=True)
        self.arguments, self.options, self.error = arguments, options, None
        self.start()

    def run(self):
        try:
            self.summary = convert_sessions(*self.arguments, **{**WHEEL_ONLY, **self.options})
        except Exception as error:
            self.error = error

    def finish(self):
        self.join(PATIENCE_S)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.summary


class TestWhatIsStruck:
    def test_worker_killed_in_the_middle_of_a_session(self, sessions, output, scheduler):
        batch = InBackground(sessions, output, scheduler=scheduler)
        row = wait_until(lambda: read_running(output), "a session is at work")[0]
        psutil.Process(row["pid"]).parent().kill()
        summary = batch.finish()
        wait_until(lambda: not is_alive(row["pid"]), "the process of the session has ended with its worker")
        assert summary.ok, summary.failed
        check_all_done(sessions, output)
        attempts = {record.key: record.attempts for record in summary.records}
        assert attempts.pop(row["key"]) == 2
        assert set(attempts.values()) == {1}
        before = written_files(output)
        assert convert_sessions(sessions, output, scheduler=scheduler, **WHEEL_ONLY).ok
        assert written_files(output) == before
        assert convert_sessions(sessions, output, **WHEEL_ONLY).ok  # the records are those of a batch without Dask
        assert written_files(output) == before

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
    def test_driver_struck_and_begun_again(self, sessions, output, scheduler, how):
        listed = output.parent / "sessions.txt"
        listed.write_text("\n".join(map(str, sessions)))
        command = ["batch", listed, "-o", output, "--scheduler", scheduler, "--include", "Wheel", "--timezone"]
        command = list(map(str, [*command, "Europe/Lisbon"]))
        driver = subprocess.Popen([sys.executable, "-m", "ibl_nwb", *command])
        rows = wait_until(lambda: read_running(output), "a session is at work")
        driver.send_signal(how)
        assert driver.wait(PATIENCE_S) == (130 if how == signal.SIGINT else -how)
        if how == signal.SIGINT:
            assert set(read_states(output).values()) <= {"queued", "done"}
            assert find_strays(output) == []
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        wait_until(lambda: not any(is_alive(row["pid"]) for row in rows), "the processes of before have ended")
        check_all_done(sessions, output)
        assert {record.attempts for record in BatchFolder(output)} <= {1, 2}

    def test_crash_costs_one_session(self, sessions, output, scheduler, monkeypatch):
        monkeypatch.setattr("ibl_nwb.batch.driver.convert_one", convert_or_crash)
        with distributed.Client(scheduler, set_as_default=False) as client:
            summary = convert_sessions(sessions, output, client=client, **WHEEL_ONLY)
            assert client.status == "running"  # it is left to whom it belongs
        assert [record.state for record in summary.records] == ["done", "failed"]
        assert "SIGABRT" in summary.failed[0].error
        assert (len(written_files(output)), find_strays(output)) == (1, [])

    def test_time_limit(self, sessions, output, scheduler, monkeypatch):
        monkeypatch.setattr("ibl_nwb.batch.driver.convert_one", take_a_long_time)
        summary = convert_sessions(sessions[:1], output, scheduler=scheduler, time_limit_s=0.5, **WHEEL_ONLY)
        assert "time limit" in summary.failed[0].error

    def test_scheduler_lost(self, sessions, output, tmp_path):
        with run_dask(tmp_path, n_workers=1) as (address, processes):
            batch = InBackground(sessions, output, scheduler=address)
            rows = wait_until(lambda: read_running(output), "a session is at work")
            processes[0].kill()
            with pytest.raises(SchedulerLostError, match=f"{address} is lost"):
                batch.finish()
            wait_until(lambda: not any(is_alive(row["pid"]) for row in rows), "the processes have ended")
        assert set(read_states(output).values()) <= {"queued", "done"}
        assert find_strays(output) == []

    def test_session_that_ends_its_workers_is_given_up(self, sessions, output, scheduler, monkeypatch):
        monkeypatch.setattr("ibl_nwb.batch.driver.convert_one", kill_the_worker)
        monkeypatch.setattr("ibl_nwb.batch.dask_executor.MAX_LOST_WORKERS", 2)
        summary = convert_sessions(sessions[:1], output, scheduler=scheduler, **WHEEL_ONLY)
        assert "2 Dask workers were lost" in summary.failed[0].error
        assert len(list(output.glob("begun-*"))) == 2


class TestWorkersThatDoNotFit:
    def test_other_versions(self, sessions, output, scheduler, monkeypatch):
        own = {"ibl-nwb": "99.0", "pynwb": "0.0"}
        monkeypatch.setattr("ibl_nwb.writing.fingerprint.versions", lambda: own)
        with pytest.raises(UsageError, match=r"has ibl-nwb .*, and the driver has 99\.0"):
            convert_sessions(sessions, output, scheduler=scheduler, **WHEEL_ONLY)
        assert set(read_states(output).values()) == {"queued"}

    def test_package_that_is_not_there(self, sessions, output, scheduler, monkeypatch):
        monkeypatch.setattr("ibl_nwb.writing.fingerprint.versions", lambda: {"ibl-nwb-of-tomorrow": "1"})
        with pytest.raises(UsageError, match="has no ibl-nwb-of-tomorrow"):
            convert_sessions(sessions, output, scheduler=scheduler, **WHEEL_ONLY)

    def test_folder_that_is_not_shared(self, output, scheduler):
        with (
            distributed.Client(scheduler, set_as_default=False) as client,
            pytest.raises(UsageError, match="does not see the output folder"),
        ):
            DaskExecutor(client, BatchFolder(output))

    def test_one_that_joins_later_gets_no_session(self, output, monkeypatch, caplog):
        has = {"tcp://a:1": "1", "tcp://b:1": "2", "tcp://c:1": OSError("it has just been killed")}

        class Client:
            status, scheduler, there = "running", SimpleNamespace(address="tcp://s:1"), ["tcp://a:1"]

            def nthreads(self):
                return dict.fromkeys(self.there, 3)

            def run(self, function, *_, workers, on_error):
                return {name: True if function is os.path.exists else has[name] for name in workers}

        monkeypatch.setattr("ibl_nwb.writing.fingerprint.versions", lambda: {"ibl-nwb": "1"})
        client = Client()
        with DaskExecutor(client, BatchFolder(output)) as executor:
            client.there = list(has)
            executor._look_at_workers()
            assert executor.capacity == 3
            assert "tcp://b:1 has ibl-nwb 2" in caplog.text
            has["tcp://c:1"] = "1"  # it answers now
            executor._look_at_workers()
            assert executor.capacity == 6

    def test_dask_is_not_installed(self, sessions, output, monkeypatch):
        monkeypatch.setitem(sys.modules, "distributed", None)
        with pytest.raises(UsageError, match=r"ibl-nwb\[cluster\]"):
            convert_sessions(sessions, output, scheduler="tcp://a:1", **WHEEL_ONLY)
        assert not output.exists()

    def test_no_scheduler(self, sessions, output, monkeypatch):
        monkeypatch.setattr("ibl_nwb.batch.dask_executor._CONNECT_WAIT_S", 0.5)
        with ExitStack() as stack:
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(NetworkError, match="No Dask scheduler answers"):
            convert_sessions(sessions, output, scheduler=address, **WHEEL_ONLY)
        assert set(read_states(output).values()) == {"queued"}


class TestClusterFile:
    def write(self, tmp_path, content):
        path = tmp_path / "cluster.yml"
        path.write_text(yaml.safe_dump(content))
        return path

    def test_jobs_of_a_cluster(self, sessions, output, tmp_path):
        """dask_jobqueue's own stand-in for a queueing system starts the jobs on this machine."""
        settings = {"cores": 1, "processes": 1, "memory": "2GB", "local_directory": str(tmp_path)}
        path = self.write(tmp_path, {"jobqueue": {"local": settings}})
        arguments = ["batch", sessions[0], "-o", output, "--cluster", path, "--include", "Wheel", "--timezone", "UTC"]
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        check_all_done(sessions[:1], output)

    def test_cluster_file_of_the_docs(self, tmp_path):
        page = Path(__file__).resolve().parents[1] / "docs/batch.md"
        (content,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        path = tmp_path / "cluster.yml"
        path.write_text(content)
        with start_cluster(read_cluster_file(path), n_jobs=0) as cluster:
            script = cluster.job_script()
        for part in ("-p main", "--cpus-per-task=8", "-t 08:00:00", "--nthreads 1", "--memory-limit"):
            assert part in script

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("text", "has to hold the settings of one system"),
            ({"jobqueue": {"slurm": {}, "pbs": {}}}, "has to hold the settings of one system"),
            ({"jobqueue": {"cloud": {"cores": 1}}}, "names 'cloud'"),
            ({"jobqueue": {"slurm": {"cores": 1, "memory": "8GB", "walltme": "1"}}}, "walltme"),
            ({"jobqueue": {"slurm": {"cores": 1}}}, "cores and memory"),
        ],
    )
    def test_what_is_no_cluster_file(self, sessions, output, tmp_path, content, message):
        with pytest.raises(UsageError, match=message):
            convert_sessions(sessions, output, cluster=self.write(tmp_path, content), **WHEEL_ONLY)
        assert not output.exists()

    def test_two_ways_at_once(self, sessions, output, tmp_path):
        with pytest.raises(UsageError, match="give one of them"):
            convert_sessions(sessions, output, scheduler="tcp://a:1", cluster=tmp_path / "a.yml", **WHEEL_ONLY)

    def test_workers_of_a_scheduler(self, sessions, output):
        arguments = ["batch", sessions[0], "-o", output, "--scheduler", "tcp://a:1", "--workers", "2"]
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 2
        assert "dask worker" in result.output


class TestShares:
    def share(self, monkeypatch, usable, sessions_on_host, memory_mb=None, memory_limit=8_000_000_000):
        monkeypatch.setattr("ibl_nwb.writing.pipeline.usable_processors", lambda: usable)
        monkeypatch.setattr(os, "cpu_count", lambda: 16)
        worker = SimpleNamespace(
            state=SimpleNamespace(nthreads=2), memory_manager=SimpleNamespace(memory_limit=memory_limit)
        )
        task = share_worker({"key": "a", "workers": 1, "memory_mb": memory_mb}, worker, sessions_on_host)
        return task["workers"], task["memory_mb"]

    def test_processors_and_memory_of_a_worker_are_shared_by_its_sessions(self, monkeypatch):
        assert self.share(monkeypatch, 16, sessions_on_host=6) == (6, 1000.0)
        assert self.share(monkeypatch, 4, sessions_on_host=6) == (2, 1000.0)  # a job with processors of its own
        assert self.share(monkeypatch, 16, 2, memory_mb=500.0) == (2, 250.0)
        assert self.share(monkeypatch, 16, 2, memory_limit=None) == (2, None)


def test_process_on_another_machine_is_waited_for(tmp_path, monkeypatch):
    """A driver that begins while a worker elsewhere has not heard yet that the last one was killed."""
    from ibl_nwb.batch import recovery

    folder = BatchFolder(tmp_path)
    path = folder.progress_path("session")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "is_for_one_call": True}))
    code = "import sys, time, fasteners\nwith fasteners.InterProcessLock(sys.argv[1]): time.sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", code, str(path.with_suffix(".lock"))])
    try:
        wait_until(lambda: not InterProcessLock(path.with_suffix(".lock")).acquire(blocking=False), "it has the lock")
        monkeypatch.setattr(recovery, "_OTHER_MACHINE_WAIT_S", 0.2)
        with pytest.raises(UsageError, match="on 'elsewhere' is still converting 'session'"):
            recovery.end_processes(folder)
        assert path.exists()
    finally:
        other.kill()
        other.wait()
    recovery.end_processes(folder)
    assert not path.exists()
