"""The queue of conversions of the GUI: real conversions in processes of their own, and what happens to them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hdf5_content import read_all

from ibl_nwb.alyx import AlyxRecord
from ibl_nwb.cli import main
from ibl_nwb.conversion import make_document
from ibl_nwb.errors import UsageError
from ibl_nwb.gui.conversion_queue import ConversionQueue
from ibl_nwb.gui.leftovers import BeforeConversion
from ibl_nwb.testing import example_alyx_answers, make_example_session

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

#: How long a process on a busy machine may take.
PATIENCE_S = 100.0


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A small session with a raw recording and a video."""
    return make_example_session(
        tmp_path_factory.mktemp("session"),
        probes=("probe00",),
        n_channels=64,
        raw_bands=("ap",),
        raw_duration_s=20,
        cameras=("left",),
        video=True,
        audio=False,
        passive=False,
        n_trials=8,
        spikes_per_probe=500,
    )


@pytest.fixture(scope="module")
def document(session):
    alyx = AlyxRecord.from_rest(**example_alyx_answers(session))
    return make_document(session, alyx=alyx, include=["RawEphys", "Wheel", "Trials", "Video"])


@pytest.fixture(scope="module")
def long_document(document, session, tmp_path_factory):
    """The same session with a recording that takes seconds to convert and, all zeros, no space on the disk."""
    folder = tmp_path_factory.mktemp("long")
    path = folder / session.relative_to(session.parents[4])
    shutil.copytree(session, path)
    (compressed,) = path.glob("raw_ephys_data/probe00/*.ap.cbin")
    n_bytes = 200 * 30_000 * 65 * 2
    with compressed.with_suffix(".bin").open("wb") as file:
        file.truncate(n_bytes)
    compressed.unlink()
    compressed.with_suffix(".ch").unlink()
    meta = compressed.with_suffix(".meta")
    text = re.sub("fileSizeBytes=.*", f"fileSizeBytes={n_bytes}", meta.read_text())
    meta.write_text(re.sub("fileTimeSecs=.*", "fileTimeSecs=200", text))
    return make_document(path, alyx=document.alyx, include=list(document.source_data))


@pytest.fixture(scope="module")
def wheel_only(document):
    return document.model_copy(update={"source_data": {"Wheel": document.source_data["Wheel"]}})


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def queue(tmp_path):
    queue = ConversionQueue(tmp_path / "state")
    yield queue
    queue.shutdown()


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.002)


def list_tree(folder):
    """Every file, folder and link below a folder, with the size and time of change of files."""
    return {
        path.relative_to(folder).as_posix(): (path.lstat().st_size, path.lstat().st_mtime_ns)
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


def is_part_written(folder):
    """Whether there is an unfinished file with something in it."""
    with suppress(FileNotFoundError):  # its name is tried before anything is written
        return any(path.stat().st_size > 0 for path in folder.glob(".*.part.nwb"))
    return False


@contextmanager
def stopped_while_it_writes(queue, job, folder):
    """Within this block the process of a job stands still in the middle of its file, on however busy a machine."""
    wait_until(lambda: (folder.exists() and is_part_written(folder)) or job.is_settled, "a part of the file is written")
    process = queue.progress(job).pid
    os.kill(process, signal.SIGSTOP)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def test_file_is_that_of_the_command_line_and_progress_grows(queue, document, output, tmp_path):
    document.write_json(tmp_path / "session.json")
    job = queue.add("one", document, output, videos="copy", jobs=1)
    fractions, rates = [], []
    while not job.is_settled:
        for step in queue.steps(job):
            if step.name.startswith("RawEphys"):
                fractions.append(step.fraction)
                rates.append((step.unit, step.rate))
        time.sleep(0.02)
    assert job.state == "done", job.error
    assert fractions == sorted(fractions)
    assert len({fraction for fraction in fractions if 0 < fraction < 1}) >= 2
    assert any(unit == "B" and rate for unit, rate in rates)
    assert [row.name for row in job.interfaces] == list(document.source_data)

    run = CliRunner().invoke(main, ["convert", str(tmp_path / "session.json"), "-o", str(tmp_path), "--videos", "copy"])
    assert run.exit_code == 0, run.output
    (by_command,) = tmp_path.glob("*.nwb")
    (by_queue,) = output.glob("*.nwb")
    assert by_queue.name == by_command.name
    assert by_queue == job.nwbfile_path
    expected, found = read_all(by_command), read_all(by_queue)
    assert len(expected) > 100
    assert found == expected
    assert job.size == by_queue.stat().st_size


def test_what_is_cancelled_while_it_runs_leaves_nothing(queue, long_document, tmp_path):
    output = tmp_path / "new" / "deeper"  # made by the conversion
    kept = tmp_path / "kept.txt"
    kept.write_text("here before")
    before = {name for name in list_tree(tmp_path) if not name.startswith("state")}
    job = queue.add("one", long_document, output, videos="copy", jobs=1)
    with stopped_while_it_writes(queue, job, output):
        queue.cancel(job)
        assert queue.is_ending(job)
    wait_until(lambda: job.is_settled, "the job is cancelled")
    assert job.state == "cancelled"
    assert job.error is None
    assert {name for name in list_tree(tmp_path) if not name.startswith("state")} == before


def test_a_file_that_was_to_be_replaced_is_kept_if_that_is_cancelled(queue, document, long_document, output):
    job = queue.add("one", document, output, stub_test=True, videos="copy")
    wait_until(lambda: job.is_settled, "the first is done")
    assert job.state == "done", job.error
    before = list_tree(output)
    again = queue.add("one", long_document, output, overwrite=True, videos="copy", jobs=1)
    with stopped_while_it_writes(queue, again, output):
        queue.cancel(again)
    wait_until(lambda: again.is_settled, "it is cancelled")
    assert again.state == "cancelled"
    assert list_tree(output) == before


def test_what_is_cancelled_before_its_turn_never_begins(queue, document, wheel_only, output):
    first = queue.add("first", document, output / "first")
    second = queue.add("second", wheel_only, output / "second")
    queue.cancel(second)
    assert second.state == "cancelled"
    queue.cancel(first)
    assert queue.wait(PATIENCE_S)
    assert (second.started, second.attempts) == (None, 0)
    assert list_tree(output) == {}


def test_a_killed_process_is_told_leaves_nothing_and_is_tried_again(queue, long_document, output):
    job = queue.add("one", long_document, output, jobs=1)
    with stopped_while_it_writes(queue, job, output) as process:
        os.kill(process, signal.SIGKILL)
    wait_until(lambda: job.is_settled, "the end is noticed")
    assert job.state == "failed"
    assert "SIGKILL" in job.error
    assert list_tree(output) == {}

    queue.retry_failed()
    assert queue.wait(PATIENCE_S)
    assert (job.state, job.error) == ("done", None)
    assert job.attempts == 2
    assert [path.name for path in output.iterdir()] == [job.nwbfile_path.name]


def test_an_error_of_the_session_is_the_sentence_of_the_command_line(queue, document, output, tmp_path):
    metadata = {**document.metadata, "NWBFile": {**document.metadata["NWBFile"], "session_start_time": None}}
    broken = document.model_copy(update={"metadata": metadata, "alyx": None})
    broken.write_json(tmp_path / "broken.json")
    job = queue.add("one", broken, output)
    run = CliRunner().invoke(main, ["convert", str(tmp_path / "broken.json"), "-o", str(tmp_path)])
    assert queue.wait(PATIENCE_S)
    assert job.state == "failed"
    assert run.output.strip() == f"Error: {job.error}"
    assert job.error in queue.read_log(job)
    assert list_tree(output) == {}

    queue.retry(job, document.model_copy(update={"source_data": {"Wheel": {}}}))
    assert queue.wait(PATIENCE_S)
    assert job.state == "done", job.error


def test_a_file_of_another_program_is_neither_replaced_nor_removed(queue, wheel_only, output):
    done = queue.add("one", wheel_only, output)
    assert queue.wait(PATIENCE_S)
    before = list_tree(output)
    again = queue.add("one", wheel_only, output)
    assert queue.wait(PATIENCE_S)
    assert again.state == "failed"
    assert f"'{done.nwbfile_path}' exists already" in again.error
    assert list_tree(output) == before


def test_a_defect_is_told_as_one_and_the_log_has_its_traceback(queue, wheel_only, output):
    job = queue.add("one", wheel_only, output)
    queue.cancel(job)
    assert queue.wait(PATIENCE_S)
    job.options["no_such_option"] = 1
    queue.retry(job)
    assert queue.wait(PATIENCE_S)
    assert job.state == "failed"
    assert job.error.startswith("TypeError: ")
    assert "no_such_option" in job.error
    assert "Traceback" not in job.error
    assert "Traceback" in queue.read_log(job)


KILLED_SERVER = """
import sys, time
from pathlib import Path
from ibl_nwb.document import ConversionDocument
from ibl_nwb.errors import UsageError
from ibl_nwb.gui.conversion_queue import ConversionQueue

if __name__ == "__main__":
    state, output, *documents = sys.argv[1:]
    queue = ConversionQueue(state)
    for number, path in enumerate(documents):
        document = ConversionDocument.read_json(path)
        queue.add(f"session {number}", document, Path(output) / str(number), videos="copy", jobs=1)
    time.sleep(600)
"""


def test_a_killed_server_is_taken_over(long_document, wheel_only, output, tmp_path):
    long_document.write_json(tmp_path / "0.json")
    wheel_only.write_json(tmp_path / "1.json")
    script = tmp_path / "server.py"
    script.write_text(KILLED_SERVER)
    names = [str(tmp_path / "0.json"), str(tmp_path / "1.json")]
    server = subprocess.Popen([sys.executable, script, tmp_path / "state", output, *names])
    try:
        folder = output / "0"
        wait_until(lambda: server.poll() is None and folder.exists() and is_part_written(folder), "it is at work")
    finally:
        server.kill()
        server.wait()

    queue = ConversionQueue(tmp_path / "state")
    try:
        interrupted, waiting = queue.jobs
        assert (interrupted.name, interrupted.state) == ("session 0", "failed")
        assert interrupted.error.startswith("It was interrupted")
        assert not folder.exists()
        assert queue.wait(PATIENCE_S)
        assert waiting.state == "done", waiting.error
        queue.retry(interrupted)
        assert queue.wait(PATIENCE_S)
        assert interrupted.state == "done", interrupted.error
        names = {path.parent.name + "/" + path.suffix for path in output.glob("*/*")}
        assert names == {"0/.nwb", "0/", "1/.nwb"}
    finally:
        queue.shutdown()


def test_order_can_be_changed_and_is_kept(wheel_only, tmp_path):
    queue = ConversionQueue(tmp_path, workers=0)  # nothing begins
    a, b, c = (queue.add(name, wheel_only, tmp_path / name) for name in "abc")
    queue.move(c, "up")
    queue.move(a, "up")
    queue.move(b, "down")
    assert [job.name for job in queue.jobs] == ["a", "c", "b"]
    queue.cancel(c)
    queue.move(b, "up")
    assert [job.name for job in queue.jobs] == ["b", "c", "a"]
    queue.shutdown()

    again = ConversionQueue(tmp_path, workers=0)
    assert [(job.name, job.state) for job in again.jobs] == [("b", "queued"), ("c", "cancelled"), ("a", "queued")]
    again.clear()
    assert [job.name for job in again.jobs] == ["b", "a"]
    assert not list(again.folder.glob(f"{c.id}.*"))
    again.shutdown()


def test_an_unreadable_queue_is_put_aside_with_a_sentence(wheel_only, tmp_path):
    queue = ConversionQueue(tmp_path, workers=0)
    queue.add("a", wheel_only, tmp_path)
    queue.shutdown()
    whole = (queue.folder / "queue.json").read_bytes()
    (queue.folder / "queue.json").write_bytes(whole[: len(whole) // 2])
    again = ConversionQueue(tmp_path, workers=0)
    assert again.jobs == []
    (aside,) = queue.folder.glob("unreadable-*.json")
    assert str(aside) in again.warning
    assert aside.read_bytes() == whole[: len(whole) // 2]
    again.shutdown()


def test_options_reach_the_conversion(queue, document, output):
    job = queue.add("one", document, output / "cut.nwb", start_s=None, stop_s=2.0, jobs=1, memory_mb=100)
    assert queue.wait(PATIENCE_S)
    assert job.state == "done", job.error
    assert job.nwbfile_path == output / "cut.nwb"
    with h5py.File(job.nwbfile_path) as file:
        (series,) = (node for name, node in file["acquisition"].items() if "ElectricalSeries" in name)
        assert np.max(series["timestamps"][:] if "timestamps" in series else len(series["data"]) / 30_000) <= 2.0


def test_left_over_zarr_that_was_moved_aside_comes_back(tmp_path):
    path = tmp_path / "a.nwb.zarr"
    path.mkdir()
    (path / "old").write_text("old")
    before = BeforeConversion.of(path)
    path.rename(tmp_path / f".a.nwb.{socket.gethostname()}-4242.replaced.zarr")
    part = tmp_path / f".a.nwb.{socket.gethostname()}-4242.part.zarr"
    part.mkdir()
    other = tmp_path / f".b.nwb.{socket.gethostname()}-4243.part.zarr"
    other.mkdir()
    before.remove_left_over(4242)
    assert sorted(found.name for found in tmp_path.iterdir()) == [other.name, path.name]
    assert (path / "old").read_text() == "old"


HOLD_LOCK = """
import sys, fasteners
lock = fasteners.InterProcessLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_only_one_program_has_the_queue(tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLD_LOCK,
            _lock_of(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        holder.stdout.readline()
        with pytest.raises(UsageError, match="Another page is open"):
            ConversionQueue(tmp_path / "state")
    finally:
        holder.communicate()
    ConversionQueue(tmp_path / "state").shutdown()


def _lock_of(folder: Path) -> str:
    (folder / "state" / "queue").mkdir(parents=True)
    return str(folder / "state" / "queue" / "lock")


def test_document_of_a_job_is_that_of_the_command_line(wheel_only, tmp_path):
    queue = ConversionQueue(tmp_path, workers=0)
    job = queue.add("a", wheel_only, tmp_path)
    wheel_only.write_json(tmp_path / "by_command.json")
    assert queue.document_path(job).read_bytes() == (tmp_path / "by_command.json").read_bytes()
    assert json.loads((queue.folder / "queue.json").read_text())[0]["state"] == "queued"
    queue.shutdown()
    shutil.rmtree(queue.folder)


def test_a_file_that_was_replaced_after_all_is_told_from_one_that_was_not(tmp_path):
    path = tmp_path / "a.nwb"
    assert not BeforeConversion.of(path).is_replaced
    path.write_text("before")
    before = BeforeConversion.of(path)
    assert not before.is_replaced
    part = tmp_path / "part"
    part.write_text("after")
    os.utime(part, ns=(0, 10**18))
    part.replace(path)
    assert before.is_replaced
