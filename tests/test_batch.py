"""Many sessions: what is written, what is remembered, and what the next run of the same batch does."""

import hashlib
import json
import os
import shutil
import time
from io import StringIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from acquire_example import SESSION
from batch_sessions import (
    TINY,
    WHEEL_ONLY,
    HereExecutor,
    check_wheel_file,
    find_strays,
    make_sessions,
    read_states,
    written_files,
)
from click.testing import CliRunner

from ibl_nwb import make_document
from ibl_nwb.acquire import find_sessions
from ibl_nwb.batch import BatchDisplay, BatchFolder, LineDisplay, convert_one, convert_sessions, read_session_list
from ibl_nwb.batch.options import ConversionTask
from ibl_nwb.batch.table import describe_rate, draw_bar
from ibl_nwb.cli import main
from ibl_nwb.errors import DocumentError, UsageError
from ibl_nwb.testing import make_example_session

pytest_plugins = ["acquire_fixtures"]

NAME = "examplelab_EX_{:03d}_2023-05-18_001.whole"
FILE = "sub-EX-{0:03d}/sub-EX-{0:03d}_ses-EX-{0:03d}-2023-05-18-001_behavior.nwb"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_sessions(tmp_path_factory.mktemp("sessions"), 3)


@pytest.fixture
def sessions(made, tmp_path):
    """Copies that a test may change."""
    root = tmp_path / "in"
    shutil.copytree(made[0].parents[4], root)
    return sorted(root.glob("*/Subjects/*/*/*"))


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def run(sessions, output, **options):
    return convert_sessions(sessions, output, executor=HereExecutor(), **{**WHEEL_ONLY, **options})


def read_record(output, i=0):
    return json.loads((output / ".ibl_nwb_batch" / "records" / f"{NAME.format(i)}.json").read_text())


class TestWhatIsWritten:
    def test_one_file_for_each_session_where_dandi_wants_it(self, sessions, output):
        summary = run(sessions, output)
        assert summary.ok
        assert sorted(written_files(output)) == [FILE.format(i) for i in range(3)]
        for i, session_path in enumerate(sessions):
            check_wheel_file(output / FILE.format(i), session_path)
        assert find_strays(output) == []

    def test_record_agrees_with_the_file(self, sessions, output):
        run(sessions[:1], output)
        record, path = read_record(output), output / FILE.format(0)
        assert record["state"] == "done"
        (described,) = record["files"]
        assert described["size"] == path.stat().st_size
        assert described["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert record["verification"]["equal"] > 0
        assert record["verification"]["different"] == record["verification"]["missing"] == 0
        assert record["versions"]["pynwb"]
        assert (record["attempts"], record["error"]) == (1, None)
        position = next(row for row in record["sources"] if row["path"].endswith("wheel.position.npy"))
        source = sessions[0] / position["path"]
        assert position["md5"] == hashlib.md5(source.read_bytes()).hexdigest()

    def test_document_and_verification_are_kept(self, sessions, output):
        run(sessions[:1], output)
        state = BatchFolder(output)
        document = json.loads(state.document_path(NAME.format(0)).read_text())
        assert list(document["source_data"]) == ["Wheel"]
        report = json.loads(state.report_path(NAME.format(0)).read_text())
        assert report["ok"]

    def test_zarr(self, sessions, output):
        assert run(sessions[:1], output, backend="zarr").ok
        (path,) = output.glob("sub-EX-000/*.nwb.zarr")
        executor = HereExecutor()
        convert_sessions(sessions[:1], output, backend="zarr", executor=executor, **WHEEL_ONLY)
        assert executor.tasks == []
        next(file for file in sorted(path.rglob("0")) if file.is_file()).unlink()
        run(sessions[:1], output, backend="zarr")
        assert (read_record(output)["attempts"], find_strays(output)) == (2, [])

    def test_split_with_a_video(self, tmp_path, output):
        session = make_example_session(tmp_path / "in", **{**TINY, "cameras": ("left",)}, video=True)
        summary = convert_sessions([session], output, split=True, timezone="UTC", executor=HereExecutor())
        assert summary.ok, summary.failed
        stem = "sub-EX-001/sub-EX-001_ses-EX-001-2023-05-18-001_desc-"
        files = set(written_files(output))
        video = f"{stem}raw_image/VideoLeftCamera.mp4"
        assert {f"{stem}raw_image.nwb", video} <= files
        assert len(files) == 3
        assert len([name for name in files if name.startswith(f"{stem}processed_")]) == 1
        with h5py.File(output / f"{stem}raw_image.nwb") as file:
            (reference,) = file["acquisition/VideoLeftCamera/external_file"][:]
        opened = (output / "sub-EX-001" / reference.decode()).read_bytes()
        (source,) = session.rglob("*leftCamera.raw*.mp4")
        assert opened == source.read_bytes()
        assert not Path(reference.decode()).is_absolute()

    def test_videos_that_are_left_are_referred_to(self, tmp_path, output):
        session = make_example_session(tmp_path / "in", **{**TINY, "cameras": ("left",)}, video=True)
        run([session], output, include=["Video"], videos="leave")
        (path,) = output.glob("sub-*/*.nwb")
        with h5py.File(path) as file:
            (reference,) = file["acquisition/VideoLeftCamera/external_file"][:]
        assert (path.parent / reference.decode()).resolve() == next(session.rglob("*leftCamera.raw*.mp4")).resolve()

    def test_nothing_for_a_product(self, sessions, output):
        summary = run(sessions[:1], output, split=True)
        assert [(record.product, record.state) for record in summary.records] == [
            ("raw", "empty"),
            ("processed", "done"),
        ]
        assert summary.ok
        assert run(sessions[:1], output, split=True).records[0].attempts == 1

    def test_unverified(self, sessions, output):
        run(sessions[:1], output, verify=False)
        assert read_record(output)["verification"] is None

    def test_file_that_differs_from_its_source_is_not_kept(self, sessions, output, monkeypatch):
        import ibl_nwb.conversion

        convert = ibl_nwb.conversion.convert_document

        def convert_wrongly(document, written, **options):
            summary = convert(document, written, **options)
            with h5py.File(written, "r+") as file:
                file["processing/wheel/WheelPosition/data"][3] += 1e-9
            return summary

        monkeypatch.setattr(ibl_nwb.conversion, "convert_document", convert_wrongly)
        summary = run(sessions[:1], output)
        assert [record.state for record in summary.records] == ["failed"]
        assert "differs from its source" in summary.failed[0].error
        assert "wheel.position" in summary.failed[0].error
        assert (written_files(output), find_strays(output)) == ({}, [])


class TestTheNextRun:
    def test_done_is_not_done_again(self, sessions, output):
        run(sessions, output)
        before = written_files(output)
        executor = HereExecutor()
        assert convert_sessions(sessions, output, executor=executor, **WHEEL_ONLY).ok
        assert executor.tasks == []
        assert written_files(output) == before

    def test_file_that_is_gone_is_made_again(self, sessions, output):
        run(sessions[:2], output)
        (output / FILE.format(1)).unlink()
        run(sessions[:2], output)
        assert [read_record(output, i)["attempts"] for i in range(2)] == [1, 2]
        check_wheel_file(output / FILE.format(1), sessions[1])

    def test_file_that_has_changed_is_made_again(self, sessions, output):
        run(sessions[:1], output)
        path = output / FILE.format(0)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1  # same size
        path.write_bytes(content)
        run(sessions[:1], output)
        assert read_record(output)["attempts"] == 2
        check_wheel_file(path, sessions[0])

    def test_file_that_exists_without_a_record_is_not_done(self, sessions, output):
        run(sessions[:1], output)
        shutil.rmtree(output / ".ibl_nwb_batch")
        summary = run(sessions[:1], output)
        assert "is there already" in summary.failed[0].error
        assert run(sessions[:1], output, overwrite=True).ok

    def test_file_that_was_only_touched_or_copied_is_done(self, sessions, output, tmp_path):
        run(sessions[:1], output)
        os.utime(output / FILE.format(0), (1, 1))
        shutil.copytree(output, tmp_path / "moved", copy_function=shutil.copyfile)
        for folder in (output, tmp_path / "moved"):
            run(sessions[:1], folder)
            assert read_record(folder)["attempts"] == 1

    def test_other_options_make_it_anew_and_leave_no_file_of_before(self, sessions, output):
        run(sessions[:1], output)
        run(sessions[:1], output, include=["TaskSettings"])
        assert FILE.format(0) not in written_files(output)
        assert (len(written_files(output)), find_strays(output)) == (1, [])

    @pytest.mark.parametrize("videos", ["copy", "link", "leave"])
    def test_videos_of_before_go_with_their_file(self, tmp_path, output, videos):
        session = make_example_session(tmp_path / "in", **{**TINY, "cameras": ("left",)}, video=True)
        for include in (["Video", "Wheel"], ["Video"], ["Video", "Trials"]):
            summary = run([session], output, include=include, videos=videos)
            assert summary.ok, summary.failed
            assert len(written_files(output)) == (1 if videos == "leave" else 2)
            assert find_strays(output) == []
        (path,) = output.glob("sub-*/*.nwb")
        with h5py.File(path) as file:
            (reference,) = file["acquisition/VideoLeftCamera/external_file"][:]
        assert (path.parent / reference.decode()).is_symlink() == (videos == "link")
        assert (path.parent / reference.decode()).is_file()

    def test_file_of_before_that_somebody_changed_is_kept(self, sessions, output):
        run(sessions[:1], output)
        (output / FILE.format(0)).write_bytes(b"my notes")
        run(sessions[:1], output, include=["TaskSettings"])
        assert (output / FILE.format(0)).read_bytes() == b"my notes"
        assert any("was kept" in note for note in read_record(output)["notes"])

    def test_failed_is_tried_again_when_asked_for(self, sessions, output):
        broken = sessions[1] / "alf" / "_ibl_wheel.position.npy"
        content = broken.read_bytes()
        broken.write_bytes(content[:100])
        summary = run(sessions, output)
        assert [record.state for record in summary.records] == ["done", "failed", "done"]
        assert "wheel.position" in summary.failed[0].error
        broken.write_bytes(content)
        assert not run(sessions, output).ok
        assert run(sessions, output, retry_failed=True).ok
        assert [read_record(output, i)["attempts"] for i in range(3)] == [1, 2, 1]

    def test_more_sessions_join(self, sessions, output):
        run(sessions[:1], output)
        assert run(sessions, output).ok
        assert [read_record(output, i)["attempts"] for i in range(3)] == [1, 1, 1]

    def test_dry_run_changes_nothing(self, sessions, output):
        assert [record.state for record in run(sessions, output, dry_run=True).records] == ["queued"] * 3
        assert not output.exists()
        run(sessions[:1], output)
        before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
        states = [record.state for record in run(sessions, output, dry_run=True).records]
        assert states == ["done", "queued", "queued"]
        assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


class TestSessions:
    def test_list(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("# mine\nKS014/2019-12-03/001  # good\n\n  /data/a#b/001\n", encoding="utf-8")
        assert read_session_list(path) == ["KS014/2019-12-03/001", "/data/a#b/001"]
        path.write_text("# nothing\n")
        with pytest.raises(UsageError, match="names no session"):
            read_session_list(path)

    def test_document_and_its_edition(self, sessions, output, tmp_path):
        path = tmp_path / "a.json"
        make_document(sessions[0], **WHEEL_ONLY).write_json(path)
        options = dict(include=(), timezone=None)
        run([path], output, **options)
        check_wheel_file(output / FILE.format(0), sessions[0])
        content = json.loads(path.read_text())
        content["metadata"]["NWBFile"]["notes"] = "edited"
        path.write_text(json.dumps(content))
        run([path], output, **options)
        with h5py.File(output / FILE.format(0)) as file:
            assert file["general/notes"][()] == b"edited"

    def test_named_twice_is_one(self, sessions, output):
        summary = run([sessions[0], f"{sessions[0]}/", str(sessions[0])], output)
        assert len(summary.records) == 1

    def test_two_documents_of_one_session(self, sessions, output, tmp_path):
        for name in "ab":
            make_document(sessions[0], **WHEEL_ONLY).write_json(tmp_path / f"{name}.json")
        with pytest.raises(UsageError, match="same session"):
            run([tmp_path / "a.json", tmp_path / "b.json"], output)

    def test_two_sessions_that_would_have_one_name(self, sessions, output, tmp_path):
        other = tmp_path / "other" / "otherlab" / sessions[0].relative_to(sessions[0].parents[3])
        shutil.copytree(sessions[0], other)
        summary = run([sessions[0], other], output)
        assert [record.state for record in summary.records] == ["done", "failed"]
        assert "is there already" in summary.failed[0].error
        check_wheel_file(output / FILE.format(0), sessions[0])

    @pytest.mark.parametrize(
        ("sessions", "options", "error", "message"),
        [
            ([], {}, UsageError, "no sessions"),
            (["what is this"], {}, UsageError, "does not name a session"),
            (["nowhere.json"], {}, DocumentError, "Cannot read"),
            (["/a/b"], {"workers": 0}, UsageError, "--workers"),
            (["/a/b"], {"time_limit_s": float("nan")}, UsageError, "time limit"),
            (["/a/b"], {"sample": 2.0}, UsageError, "fraction"),
            (["KS014/2019-12-03/001"], {"videos": "leave"}, UsageError, "keep_cache"),
        ],
    )
    def test_bad_requests(self, output, sessions, options, error, message):
        with pytest.raises(error, match=message):
            run(sessions, output, **options)
        assert not output.exists()

    def test_folder_that_is_not_there_fails_alone(self, sessions, output, tmp_path):
        summary = run([tmp_path / "lab/Subjects/X/2020-01-01/001", sessions[0]], output)
        assert [record.state for record in summary.records] == ["failed", "done"]


class TestFromAlyx:
    OPTIONS = dict(include=["Wheel"], timezone=None)

    def downloaded(self, one):
        return sorted(p.relative_to(one.cache_dir).as_posix() for p in Path(one.cache_dir).rglob("*.*") if p.is_file())

    def test_downloads_are_removed_and_what_was_there_stays(self, one, eid, store, output):
        mine = Path(one.cache_dir) / SESSION / "alf" / "_ibl_wheel.timestamps.npy"
        mine.parent.mkdir(parents=True)
        (source,) = (store / SESSION / "alf").glob("_ibl_wheel.timestamps.*.npy")
        shutil.copyfile(source, mine)
        summary = run([eid], output, one=one, **self.OPTIONS)
        assert summary.ok, summary.failed
        assert [name for name in self.downloaded(one) if "Subjects" in name] == [f"{SESSION}/alf/{mine.name}"]
        (record,) = summary.records
        assert record.files[0].path.startswith(f"sub-EX-001/sub-EX-001_ses-{eid}_")
        assert (record.eid, record.session) == (eid, SESSION)

    def test_downloads_are_kept_when_asked_for_or_when_it_failed(self, one, eid, output, tmp_path):
        failing = run([eid], tmp_path / "failing", one=one, include=["Wheel"], timezone="Nowhere/Atlantis")
        assert [record.state for record in failing.records] == ["failed"]
        n_files = len([name for name in self.downloaded(one) if "Subjects" in name])
        assert n_files >= 4
        run([eid], output, one=one, keep_cache=True, **self.OPTIONS)
        assert len([name for name in self.downloaded(one) if "Subjects" in name]) == n_files

    def test_downloads_of_a_killed_driver_are_removed_by_the_next(self, one, eid, output, monkeypatch):
        from ibl_nwb.batch import driver

        with monkeypatch.context() as patch:
            patch.setattr(driver, "drop_downloads", lambda *_: 0)  # it did not come to that
            run([eid], output, one=one, **self.OPTIONS)
        assert [name for name in self.downloaded(one) if "Subjects" in name]
        run([eid], output, one=one, **self.OPTIONS)
        assert [name for name in self.downloaded(one) if "Subjects" in name] == []

    def test_downloads_are_removed_by_whichever_name_it_is_called(self, one, eid, output):
        run([eid], output, one=one, **self.OPTIONS)
        run(["EX_001/2023-05-18/001"], output, one=one, include=["TaskSettings"], timezone=None)
        assert [name for name in self.downloaded(one) if "Subjects" in name] == []
        (record,) = BatchFolder(output)
        assert (record.eid, record.attempts, record.state) == (eid, 2, "done")
        assert find_strays(output) == []

    def test_one_session_by_three_names_is_converted_once(self, one, eid, server, output):
        names = [eid, "EX_001/2023-05-18/001", "2023-05-18_1_EX_001", *find_sessions(one, subject="EX_001")]
        summary = run(names, output, one=one, **self.OPTIONS)
        assert (len(summary.records), summary.ok) == (1, True)
        assert len(summary.notes) == 1
        assert [name for name in self.downloaded(one) if "Subjects" in name] == []
        assert len(written_files(output)) == 1
        executor = HereExecutor()
        later = convert_sessions(names[1:2], output, one=one, executor=executor, include=["Wheel"])
        assert (later.ok, executor.tasks) == (True, [])

    def test_alyx_is_down(self, one, eid, server, sessions, output):
        server.__exit__(None, None, None)
        summary = run([sessions[0], eid, sessions[1]], output, one=one, **WHEEL_ONLY)
        assert [record.state for record in summary.records] == ["done", "failed", "done"]
        assert server.url in summary.failed[0].error

    def test_raw_recordings_stay_on_the_server(self, one, eid, output):
        summary = run(
            [eid], output, one=one, include=["RawEphysAPProbe00"], timezone=None, stream_raw=True, keep_cache=True
        )
        assert summary.ok, summary.failed
        names = [name for name in self.downloaded(one) if "raw_ephys_data" in name]
        assert any(name.endswith(".ch") for name in names)
        assert not any(name.endswith(".cbin") for name in names)
        assert summary.records[0].files[0].path.endswith("_ecephys.nwb")

    def test_command_line_with_search(self, server, eid, output, tmp_path):
        arguments = ["batch", "--subject", "EX_001", "-o", output, "--include", "Wheel", "--json"]
        connection = ["--one-url", server.url, "--cache-dir", tmp_path / "cache"]
        result = CliRunner().invoke(main, [str(argument) for argument in arguments + connection])
        assert result.exit_code == 0, result.output
        (record,) = json.loads(result.stdout)["records"]
        assert (record["eid"], record["state"]) == (eid, "done")


class TestCommandLine:
    def invoke(self, *arguments):
        result = CliRunner().invoke(main, ["batch", *map(str, arguments), "--timezone", "UTC", "--include", "Wheel"])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def test_exit_codes_and_lines(self, sessions, output, tmp_path):
        listed = tmp_path / "sessions.txt"
        listed.write_text("\n".join(map(str, sessions[:2])))
        would = self.invoke(listed, "-o", output, "--dry-run")
        assert (would.exit_code, would.stdout.count("to convert"), output.exists()) == (0, 2, False)
        (sessions[1] / "alf" / "_ibl_wheel.timestamps.npy").unlink()
        result = self.invoke(listed, "-o", output)
        assert result.exit_code == 1
        assert "[2/2]" in result.stdout
        assert "1 done, 1 failed" in result.stdout
        assert self.invoke(sessions[0], "-o", output).exit_code == 0

    def test_folder_that_is_not_there(self, sessions, output):
        missing = sessions[0].parent / "002"
        result = self.invoke(sessions[0], missing, "-o", output)
        assert result.exit_code == 1
        assert f"The folder '{missing}' is not there" in result.stdout
        assert "1 done, 1 failed" in result.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "Which sessions?"),
            (["nowhere.txt"], "cannot be read"),
            (["what is this", "--offline"], "--cache-dir"),
            (["/a", "--time-limit", "0"], "no time"),
            (
                ["lab/no_such_folder/2023-05-18/001", "--offline"],
                "'lab/no_such_folder/2023-05-18/001' is no folder here",
            ),
        ],
    )
    def test_wrong_usage(self, home, output, arguments, message):
        result = self.invoke(*arguments, "-o", output)
        assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
        assert not output.exists()


class TestSummary:
    def test_json_and_page(self, sessions, output):
        (sessions[1] / "alf" / "_ibl_wheel.timestamps.npy").unlink()
        summary = run(sessions, output)
        written = json.loads((output / "batch_summary.json").read_text())
        assert written["counts"] == {"queued": 0, "running": 0, "done": 2, "empty": 0, "failed": 1}
        assert [record["state"] for record in written["records"]] == ["done", "failed", "done"]
        page = (output / "batch_summary.html").read_text()
        assert page.count("<tr class=") == 3
        assert f'href="{FILE.format(0)}"' in page
        assert summary.failed[0].error.split("'")[0] in page

    def test_page_shows_texts_as_they_are(self, sessions, output):
        summary = run(sessions[:1], output)
        summary.records[0].notes = ["<script>alert(1)</script> & more"]
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in summary.to_html()

    def test_lines(self, sessions, output, capsys):
        run(sessions[:2], output, display=LineDisplay())
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["[1/2]", "[2/2]"]
        assert FILE.format(0) in lines[0]
        assert "; 2 done" in lines[1]

    def test_rate_and_time_to_go(self, sessions, output):
        records = {record.name: record for record in run(sessions, output, dry_run=True).records}
        first, second, _ = records.values()
        first.state = second.state = "done"
        assert describe_rate(records, 1, 600.0) == "2 done, 1 queued; 6 per hour, 0:10:00 to go"
        assert describe_rate(records, 2, 600.0) == "2 done, 1 queued"

    @pytest.mark.parametrize(("fraction", "n_full"), [(0, 0), (0.5, 10), (1, 20), (1.7, 20), (-1, 0)])
    def test_bar(self, fraction, n_full):
        assert draw_bar(fraction).count("█") == n_full

    def test_live_table(self, sessions, output):
        from rich.console import Console

        from ibl_nwb.batch import TableDisplay

        console = Console(width=200, record=True, force_terminal=True, file=StringIO())
        run(sessions, output, display=TableDisplay(console))
        text = console.export_text()
        assert FILE.format(2) in text
        assert "3 done" in text


class TestOneTask:
    def test_is_json_in_and_json_out(self, sessions, output):
        executor = HereExecutor()
        convert_sessions(sessions[:1], output, executor=executor, **WHEEL_ONLY)
        (task,) = executor.tasks
        (record,) = json.loads(json.dumps(convert_one(task)))
        assert (record["state"], record["attempts"]) == ("done", 1), "what is done was done again"

    def test_task_of_a_process_that_was_killed_is_done_by_the_next(self, sessions, output):
        executor = HereExecutor()
        convert_sessions(sessions[:1], output, executor=executor, **WHEEL_ONLY)
        folder = BatchFolder(output)
        record = folder.read(NAME.format(0))
        record.put_in_queue()
        record.state = "running"
        folder.write(record)
        (again,) = convert_one(executor.tasks[0])
        assert (again["state"], again["attempts"]) == ("done", 2)

    def test_progress_is_told_while_it_is_made(self, sessions, output, monkeypatch):
        from ibl_nwb.batch.progress import ProgressFile

        told = []
        write = ProgressFile._write

        def note(self, step, fraction):
            write(self, step, fraction)
            told.append(json.loads(self.path.read_text()))

        monkeypatch.setattr(ProgressFile, "_write", note)
        monkeypatch.setattr("ibl_nwb.batch.progress._WRITE_EVERY_S", 0.0)
        run(sessions[:1], output)
        steps = [row["step"] for row in told if row["product"]]
        assert list(dict.fromkeys(steps)) == ["reading metadata", "Wheel", "placing videos", "verifying", "hashing"]
        assert {row["pid"] for row in told} == {os.getpid()}
        assert [row["fraction"] for row in told if row["step"] == "Wheel"][-1] == 1.0

    def test_memory_and_threads_are_shared(self, sessions, output):
        executor = HereExecutor()
        convert_sessions(sessions[:1], output, executor=executor, workers=4, memory_mb=800, **WHEEL_ONLY)
        task = ConversionTask.model_validate(executor.tasks[0])
        assert task.resources() == (max(1, len(os.sched_getaffinity(0)) // 4), 200)
        assert task.model_copy(update={"jobs": 3}).resources()[0] == 3
        alone, shared = (task.model_copy(update={"memory_mb": None, "workers": n}).resources()[1] for n in (1, 4))
        assert alone / shared == pytest.approx(4, rel=0.2)

    def test_any_executor(self, sessions, output):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as executor:
            assert convert_sessions(sessions, output, executor=executor, **WHEEL_ONLY).ok

    def test_any_executor_is_waited_for_when_the_batch_is_interrupted(self, sessions, output):
        from concurrent.futures import ThreadPoolExecutor

        class Interrupting(BatchDisplay):
            def refresh(self):
                if "done" in read_states(output).values():
                    raise KeyboardInterrupt

        with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
            convert_sessions(sessions, output, executor=executor, workers=2, display=Interrupting(), **WHEEL_ONLY)
        states = read_states(output)
        assert "queued" in states.values()
        assert set(states.values()) <= {"done", "queued"}
        assert find_strays(output) == []
        assert run(sessions, output).ok


def test_prefetch_is_only_a_few_sessions_ahead(sessions, output, monkeypatch):
    from ibl_nwb.batch import driver

    fetched, ahead = [], []
    fetch = driver.fetch_session

    def note(session, *args, **kwargs):
        fetched.append(session)
        return fetch(session, *args, **kwargs)

    class Slow(HereExecutor):
        def submit(self, fn, /, *args, **kwargs):
            time.sleep(0.3)
            ahead.append(len(fetched) - len(self.tasks))
            return super().submit(fn, *args, **kwargs)

    monkeypatch.setattr(driver, "fetch_session", note)
    many = [*sessions, *(sessions[0].parent / f"{number:03d}" for number in range(2, 6))]
    convert_sessions(many, output, executor=Slow(), workers=1, **WHEEL_ONLY)
    assert len(fetched) == 7
    assert max(ahead) == 2


def test_states_are_read_back(sessions, output):
    run(sessions[:2], output)
    assert read_states(output) == {NAME.format(i): "done" for i in range(2)}
    assert np.unique([record.request for record in BatchFolder(output)]).size == 1
