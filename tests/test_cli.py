"""The command ibl-nwb: what it prints, its exit codes, and that a mistake never shows a traceback."""

import json
import re
import shutil
import subprocess
import sys
import time

import h5py
import mtscomp
import numpy as np
import pytest
from click.testing import CliRunner
from pynwb import read_nwb

from ibl_nwb import AlyxRecord
from ibl_nwb.cli import format_size, main
from ibl_nwb.testing import example_alyx_answers, make_example_session
from ibl_nwb.writing import mtscomp_blocks


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("session"), n_channels=16, raw_duration_s=0.2, spikes_per_probe=2000, n_trials=12
    )


@pytest.fixture(scope="module")
def alyx_path(session_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("alyx") / "record.json"
    AlyxRecord.from_rest(**example_alyx_answers(session_path)).write_json(path)
    return path


@pytest.fixture
def broken_session(session_path, tmp_path):
    """A copy to damage, behaviour only."""
    folder = tmp_path / "broken" / session_path.relative_to(session_path.parents[4])
    shutil.copytree(session_path, folder, ignore=shutil.ignore_patterns("raw_ephys_data", "probe0*", "*Camera*"))
    return folder


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def convert(session, output, *arguments):
    return run("convert", session, "-o", output, "--timezone", "Europe/Lisbon", *arguments)


class TestInspect:
    def test_accounts_for_every_file(self, session_path):
        rows = json.loads(run("inspect", session_path, "--json").stdout)
        files = sorted(p.relative_to(session_path).as_posix() for p in session_path.rglob("*") if p.is_file())
        assert [row["relative_path"] for row in rows] == files
        assert all(row["interfaces"] if row["status"] != "not converted" else row["reason"] for row in rows)

    def test_says_by_which_interface_and_why_not(self, session_path):
        rows = {row["relative_path"]: row for row in json.loads(run("inspect", session_path, "--json").stdout)}
        position = rows["alf/#2025-03-03#/_ibl_wheel.position.npy"]
        assert (position["status"], position["interfaces"]) == ("converted", ["Wheel"])
        assert rows["alf/_ibl_wheel.position.npy"]["reason"] == "another revision is used: 2025-03-03"
        assert rows["alf/_ibl_leftCamera.times.npy"]["status"] == "support"
        old_sorting = rows["alf/probe00/pykilosort/spikes.times.npy"]
        assert old_sorting["reason"] == "another revision is used: 2024-05-06"

    def test_older_revision(self, session_path):
        rows = {
            row["relative_path"]: row
            for row in json.loads(run("inspect", session_path, "--json", "--revision", "none").stdout)
        }
        assert rows["alf/probe00/pykilosort/spikes.times.npy"]["interfaces"][0] == "SortedSpikesProbe00"

    def test_incomplete_family(self, broken_session):
        next((broken_session / "alf").glob("_ibl_wheel.timestamps.npy")).unlink()
        rows = {r["relative_path"]: r for r in json.loads(run("inspect", broken_session, "--json").stdout)}
        assert "Wheel lacks wheel.timestamps.npy" in rows["alf/#2025-03-03#/_ibl_wheel.position.npy"]["reason"]

    def test_support_without_what_it_supports(self, broken_session):
        np.save(broken_session / "alf/_ibl_leftCamera.times.npy", np.arange(3.0))
        rows = {r["relative_path"]: r for r in json.loads(run("inspect", broken_session, "--json").stdout)}
        reason = rows["alf/_ibl_leftCamera.times.npy"]["reason"]
        assert reason == "Video reads it only beside *Camera.raw.mp4 or *Camera.raw.avi"

    def test_settings_of_the_task_are_session_metadata(self, session_path):
        rows = {r["relative_path"]: r for r in json.loads(run("inspect", session_path, "--json").stdout)}
        settings = rows["raw_behavior_data/_iblrig_taskSettings.raw.json"]
        assert (settings["status"], settings["interfaces"]) == ("converted", ["session metadata", "TaskSettings"])

    def test_what_is_left_out_on_purpose_has_its_reason(self, broken_session):
        (broken_session / "raw_behavior_data/_iblrig_codeFiles.raw.zip").write_bytes(b"PK")
        rows = {r["relative_path"]: r for r in json.loads(run("inspect", broken_session, "--json").stdout)}
        assert "program code" in rows["raw_behavior_data/_iblrig_codeFiles.raw.zip"]["reason"]

    def test_table(self, session_path):
        output = run("inspect", session_path).stdout
        assert "alf/licks.times.npy" in output
        assert "SortedSpikesProbe01" in output


class TestConvert:
    def test_folder_to_file_in_a_folder(self, session_path, alyx_path, tmp_path):
        result = run("convert", session_path, "-o", tmp_path, "--alyx", alyx_path)
        assert result.exit_code == 0, result.output
        (path,) = tmp_path.glob("*.nwb")
        assert path.name.startswith("sub-EX-001_ses-")
        assert f"Wrote {path}" in result.stdout.replace("\n", "")
        assert "DANDI" not in result.output
        nwbfile = read_nwb(path)
        assert len(nwbfile.trials) == 12
        nwbfile.read_io.close()

    def test_document_to_file(self, session_path, alyx_path, tmp_path):
        result = run("metadata", session_path, "-o", tmp_path / "a.json", "--alyx", alyx_path, "--include", "Wheel")
        assert (result.exit_code, "Wheel" in result.stdout) == (0, True)
        assert run("convert", tmp_path / "a.json", "-o", tmp_path / "a.nwb").exit_code == 0
        assert h5py.is_hdf5(tmp_path / "a.nwb")

    def test_zarr(self, session_path, tmp_path):
        result = convert(session_path, tmp_path / "a.nwb.zarr", "--backend", "zarr", "--include", "Trials")
        assert result.exit_code == 0
        nwbfile = read_nwb(tmp_path / "a.nwb.zarr")
        assert len(nwbfile.trials) == 12
        nwbfile.read_io.close()

    def test_what_dandi_will_ask_for_is_listed_at_the_end(self, broken_session, tmp_path):
        result = convert(broken_session, tmp_path)
        assert result.exit_code == 0
        assert result.stdout.rstrip().endswith(
            "DANDI will ask for: Subject.species, Subject.sex, Subject.age. Add them with --metadata or --alyx."
        )

    def test_stub(self, session_path, tmp_path):
        convert(session_path, tmp_path / "stub.nwb", "--stub", "--include", "Wheel")
        nwbfile = read_nwb(tmp_path / "stub.nwb")
        assert len(nwbfile.processing["wheel"]["WheelPosition"].data) == 100
        nwbfile.read_io.close()

    @pytest.mark.parametrize("placement", ["copy", "link", "leave"])
    def test_videos(self, tmp_path, placement):
        pytest.importorskip("av", reason="PyAV, which makes the videos, is not installed")
        session = make_example_session(
            tmp_path / "session", probes=(), raw_bands=(), audio=False, cameras=("left",), n_trials=5, video=True
        )
        result = convert(session, tmp_path / "out" / "a.nwb", "--videos", placement, "--include", "Video")
        assert result.exit_code == 0, result.output
        nwbfile = read_nwb(tmp_path / "out" / "a.nwb")
        (reference,) = nwbfile.acquisition["VideoLeftCamera"].external_file[:]
        nwbfile.read_io.close()
        video = tmp_path / "out" / reference
        source = session / "raw_video_data" / "_iblrig_leftCamera.raw.mp4"
        assert video.read_bytes() == source.read_bytes()
        assert (video.is_symlink(), video.resolve() == source) == (placement == "link", placement != "copy")

    def test_metadata_of_the_user(self, broken_session, tmp_path):
        (tmp_path / "m.yaml").write_text("Subject: {sex: F, species: Mus musculus, age: P90D}\n")
        result = convert(broken_session, tmp_path / "a.nwb", "--metadata", tmp_path / "m.yaml")
        assert (result.exit_code, "DANDI" in result.stdout) == (0, False)


def truncate(name):
    def damage(session):
        path = next(session.rglob(name))
        path.write_bytes(path.read_bytes()[:-9])

    return damage


def replace(name, values):
    def damage(session):
        np.save(next(session.rglob(name)), values)

    return damage


def delete(name):
    def damage(session):
        for path in session.rglob(name):
            path.unlink()

    return damage


def edit(name, change):
    def damage(session):
        path = next(session.rglob(name))
        path.write_text(change(path.read_text()))

    return damage


class TestBadInput:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (truncate("_ibl_wheelMoves.intervals.npy"), "_ibl_wheelMoves.intervals.npy' cannot be read"),
            (truncate("_ibl_trials.table.pqt"), "_ibl_trials.table.pqt' cannot be read"),
            (replace("_ibl_trials.quiescencePeriod.npy", np.zeros(3)), r"\[quiescencePeriod\]: 3"),
            (delete("_ibl_wheel.timestamps.npy"), "Wheel cannot be converted.*--exclude Wheel"),
        ],
    )
    def test_damaged_data(self, broken_session, tmp_path, damage, message):
        for folder in sorted(broken_session.rglob("#*#")):  # leave one revision of each dataset
            for path in folder.iterdir():
                path.replace(folder.parent / path.name)
        damage(broken_session)
        result = convert(broken_session, tmp_path / "out" / "a.nwb")
        assert result.exit_code == 1
        assert "Error: " in result.stderr
        assert "Traceback" not in result.output
        assert re.search(message, result.stderr)
        assert not list(tmp_path.glob("out/*"))

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (edit("*.ap.ch", lambda text: text.replace('"chunk_bounds"', '"bounds"')), "ap.ch.*no chunk_bounds"),
            (edit("*.ap.ch", lambda text: text[:100]), "ap.ch' cannot be read as JSON"),
            (truncate("*.ap.cbin"), "ap.cbin.*truncated"),
            (delete("*.ap.ch"), "RawEphysAPProbe00 cannot be converted.*ap.ch"),
            (replace("*.timestamps.npy", np.array([[0, 0.0], [9, 2.0], [5, 3.0]])), "timestamps.npy.*do not rise"),
            (replace("spikes.clusters.npy", np.zeros(3, dtype="uint16")), "spikes.clusters.npy: 3"),
            (replace("clusters.depths.npy", np.zeros(3)), "clusters.*: 3"),
            (replace("_ibl_leftCamera.times.npy", np.arange(3.0)), "3 times for the .* frames"),
        ],
    )
    def test_damaged_ephys_and_pose(self, session_path, tmp_path, damage, message):
        session = tmp_path / "EX_001/2023-05-18/001"
        ignored = shutil.ignore_patterns("*probe01*", "#*#", "*wheel*", "*trials*", "*lf.*", "*rightCamera*", "*body*")
        shutil.copytree(session_path, session, ignore=ignored)
        damage(session)
        result = convert(session, tmp_path / "out" / "a.nwb")
        assert (result.exit_code, "Traceback" in result.output) == (1, False)
        assert re.search(message, result.stderr), result.stderr
        assert not list(tmp_path.glob("out/*"))

    @pytest.mark.parametrize(
        ("interface", "arguments", "message"),
        [
            ("SortedSpikesProbe07", {"probe_name": "probe07"}, "no probe_name 'probe07'.*probe00"),
            ("PoseTopCamera", {"camera_name": "top"}, "no camera_name 'top'.*left"),
            ("RawEphysXX", {"probe_name": "probe00", "band": "xx"}, "source_data.*band"),
        ],
    )
    def test_unknown_probe_or_camera_in_a_document(self, session_path, tmp_path, interface, arguments, message):
        run("metadata", session_path, "-o", tmp_path / "a.json", "--timezone", "UTC")
        content = json.loads((tmp_path / "a.json").read_text())
        content["source_data"][interface] = arguments
        (tmp_path / "a.json").write_text(json.dumps(content))
        result = run("convert", tmp_path / "a.json", "-o", tmp_path / "a.nwb")
        assert result.exit_code in (1, 2)
        assert re.search(message, result.stderr), result.stderr
        assert not (tmp_path / "a.nwb").exists()

    def test_output_folder_that_cannot_be_written_to(self, broken_session, tmp_path):
        (tmp_path / "file").touch()
        result = convert(broken_session, tmp_path / "file" / "a.nwb")
        assert (result.exit_code, "Cannot write to the folder" in result.stderr) == (1, True)

    @pytest.mark.parametrize(
        ("arguments", "exit_code", "message"),
        [
            (["--include", "Weel"], 2, "no interface 'Weel'. Did you mean 'Wheel'?"),
            (["--exclude", "SortedSpikesProbe07"], 2, "no interface 'SortedSpikesProbe07'"),
            (["--timezone", "Lisbon"], 2, "no time zone 'Lisbon'"),
            (["--session-start-time", "noon"], 2, "'noon' is not a time"),
            (["--revision", "1999-01-01", "--include", "Wheel"], 0, ""),
            (["--nonsense"], 2, "No such option"),
            (["--backend", "hdf6"], 2, "hdf6"),
        ],
    )
    def test_arguments(self, session_path, tmp_path, arguments, exit_code, message):
        result = convert(session_path, tmp_path / "a.nwb", *arguments)
        assert (result.exit_code, message in result.stderr) == (exit_code, True)
        assert (tmp_path / "a.nwb").exists() == (exit_code == 0)

    def test_no_zone(self, session_path, tmp_path):
        result = run("convert", session_path, "-o", tmp_path / "a.nwb")
        assert (result.exit_code, "--timezone" in result.stderr) == (1, True)
        assert list(tmp_path.iterdir()) == []

    def test_wrong_folder(self, session_path, tmp_path):
        for folder, message in [
            (tmp_path / "nowhere", "No session folder"),
            (tmp_path, "holds no ALF dataset"),
            (session_path / "alf", "lies inside a session"),
            (session_path.parents[2], "it holds 1 of them"),
        ]:
            result = convert(folder, tmp_path / "a.nwb")
            assert (result.exit_code, message in result.stderr) == (1, True)

    def test_existing_output(self, session_path, tmp_path):
        (tmp_path / "a.nwb").write_text("mine")
        result = convert(session_path, tmp_path / "a.nwb")
        assert (result.exit_code, "--overwrite" in result.stderr) == (2, True)
        assert (tmp_path / "a.nwb").read_text() == "mine"

    def test_misspelt_metadata(self, session_path, tmp_path):
        (tmp_path / "m.json").write_text('{"Subject": {"specie": "Mus musculus"}}')
        result = convert(session_path, tmp_path / "a.nwb", "--metadata", tmp_path / "m.json")
        assert (result.exit_code, "specie" in result.stderr) == (1, True)
        assert not (tmp_path / "a.nwb").exists()

    def test_options_that_a_document_fixes(self, session_path, tmp_path):
        run("metadata", session_path, "-o", tmp_path / "a.json")
        result = run("convert", tmp_path / "a.json", "-o", tmp_path / "a.nwb", "--revision", "none")
        assert (result.exit_code, "Edit it there" in result.stderr) == (2, True)

    def test_debug_shows_the_traceback(self, tmp_path):
        from ibl_nwb.errors import SessionNotFoundError

        with pytest.raises(SessionNotFoundError):
            run("--debug", "inspect", tmp_path)


def is_being_written(part):
    return part.is_dir() or (part.exists() and part.stat().st_size > 0)


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_killed_conversion_leaves_nothing_under_the_final_name(session_path, tmp_path, backend):
    name = "a.nwb" if backend == "hdf5" else "a.nwb.zarr"
    command = [sys.executable, "-m", "ibl_nwb", "convert", session_path, "-o", tmp_path / name]
    process = subprocess.Popen(
        [*command, "--timezone", "UTC", "--backend", backend], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not any(map(is_being_written, tmp_path.glob(".*.part*"))) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (tmp_path / name).exists()
    assert len(list(tmp_path.glob(".*.part*"))) == 1, "the conversion was not killed while it was writing"


def test_conversion_that_failed_is_resumed(tmp_path, monkeypatch):
    session = make_example_session(
        tmp_path / "in", n_channels=16, raw_duration_s=4, spikes_per_probe=100, n_trials=3, n_clusters=3
    )
    output, folder = tmp_path / "out" / "x.nwb", tmp_path / "out"
    arguments = ["--include", "RawEphysAPProbe00", "--resume", "--jobs", "1", "--memory", "100"]
    place, seen = mtscomp_blocks.place_differences, []

    def fail_at_the_fourth_block(*its_arguments):
        seen.append(1)
        if len(seen) == 4:
            raise OSError("the cable was pulled")
        place(*its_arguments)

    with monkeypatch.context() as patch:
        patch.setattr(mtscomp_blocks, "place_differences", fail_at_the_fourth_block)
        with pytest.raises(OSError, match="the cable was pulled"):
            convert(session, output, *arguments)
    unfinished, journal = sorted(folder.iterdir())
    assert unfinished.name == ".x.unfinished.part.nwb"
    assert sum('"unit"' in line for line in journal.read_text().splitlines()) == 1  # of two blocks
    begun = unfinished.stat().st_ino

    refused = convert(session, output, *arguments, "--stub")
    assert refused.exit_code == 2
    assert "cannot be resumed" in refused.output

    assert convert(session, output, *arguments).exit_code == 0
    assert output.stat().st_ino == begun
    assert [path.name for path in folder.iterdir()] == ["x.nwb"]
    (cbin,) = session.rglob("*imec0.ap.cbin")
    expected = mtscomp.decompress(cbin, cbin.with_suffix(".ch"))[:]
    with h5py.File(output) as file:
        np.testing.assert_array_equal(file["acquisition/ElectricalSeriesAPProbe00/data"][:], expected[:, :-1])


def test_demo(tmp_path):
    result = run("demo", "-o", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "demo").glob("*.nwb")
    nwbfile = read_nwb(path)
    assert len(nwbfile.units) > 40
    nwbfile.read_io.close()
    again = run("demo", "-o", tmp_path / "demo")
    assert (again.exit_code, "Error" in again.stderr) == (2, True)


def test_import_is_light():
    script = (
        "import sys, time; started = time.perf_counter(); import ibl_nwb; seconds = time.perf_counter() - started\n"
        "heavy = {'neuroconv', 'spikeinterface', 'pynwb', 'pandas', 'one'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert seconds < 0.3, seconds"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e15, "3000.0 TB")]
)
def test_sizes_as_people_read_them(n_bytes, text):
    assert format_size(n_bytes) == text


@pytest.mark.parametrize("memory", ["nan", "0", "-5", "half"])
def test_memory_must_be_a_number_of_megabytes(tmp_path, memory):
    result = CliRunner().invoke(main, ["convert", str(tmp_path), "--memory", memory])
    assert result.exit_code == 2
    assert "--memory" in result.output
