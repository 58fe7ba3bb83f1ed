"""Validation and upload for DANDI: what a real dandi client and a server that computes its own checksums make of it."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from hashlib import sha256

import h5py
import pytest
from click.testing import CliRunner
from hdmf.common import DynamicTable, VectorData
from pynwb import NWBHDF5IO
from pynwb.file import Subject
from pynwb.testing.mock.file import mock_NWBFile

pytest.importorskip("dandi", reason='dandi is not installed: pip install "ibl-nwb[dandi]"')

from dandi_server import API_KEY, SIGNATURE, DandiServer, dandi_etag

from ibl_nwb import publish
from ibl_nwb.alyx import AlyxRecord
from ibl_nwb.cli import main
from ibl_nwb.conversion import convert_document, make_document
from ibl_nwb.errors import OutputExistsError, UsageError
from ibl_nwb.products import dandi_path
from ibl_nwb.publish import archive, upload, upload_folder, validate_files
from ibl_nwb.publish.advice import ADVICE
from ibl_nwb.publish.archive import RefusedError, UnreachableError, hide_queries
from ibl_nwb.testing import example_alyx_answers, make_example_session

UPLOADS = ".ibl_nwb_batch/uploads"


@pytest.fixture(scope="module", autouse=True)
def dandi_alone():
    """No telemetry, no keyring and no cache of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DANDI_NO_ET", "1")
        patch.setenv("DANDI_CACHE", "ignore")
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        for name in ("DANDI_API_KEY", "DANDI_SANDBOX_API_KEY", "DANDI_INSTANCE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A small session with a video as HDF5 and as Zarr, each in a Dandiset of its own."""
    folder = tmp_path_factory.mktemp("converted")
    session = make_example_session(
        folder, probes=(), cameras=("left",), n_trials=8, video=True, audio=False, passive=False
    )
    alyx = AlyxRecord.from_rest(**example_alyx_answers(session))
    document = make_document(session, alyx=alyx, include=["Wheel", "Trials", "Video"])
    place = dandi_path(document.metadata, "whole", ["behavior"], "hdf5")
    convert_document(document, folder / "hdf5" / place, videos="copy")
    # The film of the Zarr would be outside its Dandiset.
    no_film = document.model_copy(update={"source_data": {"Wheel": document.source_data["Wheel"]}})
    place = dandi_path(document.metadata, "whole", (), "zarr")
    convert_document(no_film, folder / "zarr" / place, backend="zarr")
    return folder


@pytest.fixture
def hdf5(converted, tmp_path):
    """A Dandiset with one HDF5 file and its video; the file."""
    shutil.copytree(converted / "hdf5", tmp_path / "nwb")
    return next((tmp_path / "nwb").glob("*/*.nwb"))


@pytest.fixture
def zarr_folder(converted, tmp_path):
    shutil.copytree(converted / "zarr", tmp_path / "nwb")
    return next((tmp_path / "nwb").glob("*/*.zarr"))


@pytest.fixture
def server(monkeypatch):
    with DandiServer() as server:
        monkeypatch.setenv(server.key_variable, API_KEY)
        yield server


@pytest.fixture
def impatient(monkeypatch):
    """No wait between one try and the next, dandi's or ours; the waits of ours."""
    waits = []
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    monkeypatch.setattr(archive, "time", type("Clock", (), {"sleep": waits.append}))
    return waits


@pytest.fixture
def valid(monkeypatch):
    """Files are taken for valid, where a test is about what comes after; which ones were looked at."""
    seen = []
    monkeypatch.setattr(upload, "validate_file", lambda path, root: seen.append(path) or [])
    return seen


def add_session(nwbfile, session):
    """Add another session to the Dandiset of a file, with another identifier and another video."""
    path = nwbfile.with_name(f"sub-EX-001_ses-{session}_behavior.nwb")
    shutil.copy(nwbfile, path)
    video = next(nwbfile.with_suffix("").iterdir())
    copy = path.with_suffix("") / video.name
    copy.parent.mkdir()
    copy.write_bytes(video.read_bytes() + session.encode())
    with h5py.File(path, "r+") as file:
        file["identifier"][()] = session
        file["acquisition/VideoLeftCamera/external_file"][0] = f"{path.stem}/{video.name}"
    return path


def root_of(nwbfile):
    return nwbfile.parents[1]


def relative(path):
    return path.relative_to(path.parents[1]).as_posix()


def video_of(nwbfile):
    return next(nwbfile.with_suffix("").iterdir())


def send(nwbfile, server, **options):
    return upload_folder(root_of(nwbfile), server.identifier, instance=server.url, **options)


def record_of(nwbfile, server):
    (path,) = (root_of(nwbfile) / UPLOADS).glob(f"*/{relative(nwbfile)}.json")
    return json.loads(path.read_text())


def checks(report, level="error"):
    return Counter(finding.check for finding in report.findings if finding.level == level)


# Validation


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_what_we_write_is_valid_without_network(converted, kind, monkeypatch):
    import ndx_fiber_photometry  # noqa: F401  (its namespace, loaded beside, is not that of these files)

    asked = []

    def refuse(_, address):
        asked.append(address)
        raise OSError("there is no network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    report = validate_files([converted / kind])
    assert asked == []
    assert report.errors == []
    assert len(report.files) == 1 and report.notes == []
    assert {finding.check for finding in report.findings} == {"check_processing_module_name"}
    assert report.counts == {"error": 0, "violation": 0, "suggestion": 1}


def spoil(path):
    with h5py.File(path, "r+") as file:
        subject = file["general/subject"]
        del subject["subject_id"], subject["sex"], subject["species"]
        subject["sex"], subject["species"] = "female", "mouse"
        del file["intervals/trials"].attrs["colnames"]


def test_errors_are_those_of_dandi_validate_and_say_what_to_do(hdf5):
    spoil(hdf5)
    (root_of(hdf5) / "dandiset.yaml").write_text("identifier: DANDI:000777\n")
    dandi = "from dandi.cli.command import main; main()"
    command = [sys.executable, "-c", dandi, "validate", "-f", "json_lines", hdf5]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    theirs = Counter()
    for result in map(json.loads, found.splitlines()):
        if result["severity"] in ("ERROR", "CRITICAL"):
            name = result["id"].removeprefix("NWBI.")
            theirs["pynwb.validate" if name.startswith("pynwb.") else name] += 1
    assert theirs["check_subject_sex"] == 1
    assert theirs["pynwb.validate"] >= 1  # once for each namespace in the file
    report = validate_files([hdf5])
    ours = checks(report)
    assert Counter({name: count for name, count in ours.items() if not name.startswith("dandischema")}) == theirs
    assert not report.ok
    (sex,) = (finding for finding in report.errors if finding.check == "check_subject_sex")
    assert '"sex": "M"' in sex.advice and "subject" in sex.location


def test_zarr_is_checked_against_the_schema_too(zarr_folder):
    attributes = zarr_folder / "processing/wheel/.zattrs"
    content = json.loads(attributes.read_text())
    del content["description"]
    attributes.write_text(json.dumps(content))
    if (zarr_folder / ".zmetadata").exists():
        (zarr_folder / ".zmetadata").unlink()
    report = validate_files([zarr_folder])
    assert "pynwb.validate" in checks(report)
    for finding in report.errors:
        if finding.check == "pynwb.validate":  # once for each namespace in the file
            assert "description" in finding.message + finding.location or "missing" in finding.message


def test_check_that_breaks_is_called_so_and_not_the_file(tmp_path):
    nwbfile = mock_NWBFile(subject=Subject(subject_id="a", sex="F", species="Mus musculus", age="P9D"))
    column = VectorData(name="pc_time", description="Not numbers.", data=["12:00", "13:00"])
    nwbfile.add_acquisition(DynamicTable(name="Texts", description="Times as text.", columns=[column]))
    with NWBHDF5IO(tmp_path / "a.nwb", "w") as io:
        io.write(nwbfile)
    report = validate_files([tmp_path / "a.nwb"])
    (finding,) = (found for found in report.findings if "check itself failed" in found.message)
    assert (finding.check, finding.level) == ("check_table_time_columns_are_not_negative", "suggestion")
    assert report.ok


def test_truncated_file_is_one_finding(hdf5):
    hdf5.write_bytes(hdf5.read_bytes()[:50_000])
    report = validate_files([hdf5])
    assert checks(report) == {"IBL.UNREADABLE": 1}
    assert str(hdf5) in report.errors[0].message and "convert the session again" in report.errors[0].advice


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_name_and_folder_are_checked_inside_a_dandiset(converted, tmp_path, kind):
    shutil.copytree(converted / kind, tmp_path / "nwb")
    path = next(path for path in (tmp_path / "nwb").glob("*/*") if ".nwb" in path.name)
    assert checks(validate_files([path])) == {}
    strange = path.rename(path.with_name("my session" + "".join(path.suffixes[-2:])))
    assert checks(validate_files([strange]))["DANDI.NON_DANDI_FILENAME"] == 1
    moved = path.with_name("deeper") / path.name
    moved.parent.mkdir()
    strange.rename(moved)
    assert checks(validate_files([moved]))["DANDI.NON_DANDI_FOLDERNAME"] == 1


def test_outside_a_dandiset_a_note_says_what_was_not_checked(zarr_folder, tmp_path):
    moved = zarr_folder.rename(tmp_path / "session.nwb.zarr")
    report = validate_files([moved])
    assert report.ok
    assert len(report.notes) == 1 and "NO_DANDISET_FOUND" in report.notes[0]


def test_zarr_needs_the_suffix_that_dandi_knows(zarr_folder):
    moved = zarr_folder.rename(zarr_folder.with_suffix(""))
    assert moved.suffix == ".nwb"
    assert checks(validate_files([moved])) == {"IBL.NOT_A_ZARR_NAME": 1}


@pytest.mark.parametrize(
    ("where", "check"),
    [
        ("../../elsewhere.mp4", "IBL.VIDEO_ELSEWHERE"),
        ("/nowhere/at/all.mp4", "IBL.VIDEO_MISSING"),
        ("gone.mp4", "check_image_series_external_file_valid"),
    ],
)
def test_video_that_cannot_go_along_is_an_error(hdf5, where, check):
    (hdf5.parents[2] / "elsewhere.mp4").write_bytes(b"film")
    with h5py.File(hdf5, "r+") as file:
        file["acquisition/VideoLeftCamera/external_file"][0] = where
    assert checks(validate_files([hdf5])) == {check: 1}


def test_folders_are_searched_and_hidden_ones_are_not(hdf5):
    from ibl_nwb.publish.files import find_nwb_files

    second = add_session(hdf5, "2")
    hidden = root_of(hdf5) / ".work" / "sub-X.nwb"
    hidden.parent.mkdir()
    shutil.copy(hdf5, hidden)
    assert find_nwb_files([root_of(hdf5), second]) == sorted([hdf5, second])
    with pytest.raises(UsageError, match="no NWB file"):
        find_nwb_files([hdf5.with_suffix("")])
    with pytest.raises(UsageError, match="is not there"):
        find_nwb_files([root_of(hdf5) / "nothing"])


def test_every_advice_is_about_a_check_that_exists():
    import inspect

    import dandi.files.zarr
    import dandi.organize
    import dandi.pynwb_utils
    from nwbinspector import available_checks

    from ibl_nwb.publish import validation

    known = {check.__name__ for check in available_checks}
    modules = (dandi.organize, dandi.pynwb_utils, dandi.files.zarr, validation)
    source = "".join(map(inspect.getsource, modules))
    assert [name for name in ADVICE if name not in known and f'"{name}"' not in source] == []


def test_command_validate_groups_findings_and_exits_with_one(hdf5):
    second = add_session(hdf5, "2")
    spoil(second)
    result = CliRunner().invoke(main, ["validate", str(root_of(hdf5)), "--json"])
    told = json.loads(result.stdout)
    assert result.exit_code == 1 and told["ok"] is False
    assert {finding["path"] for finding in told["findings"] if finding["level"] == "error"} == {str(second)}
    table = CliRunner().invoke(main, ["validate", str(root_of(hdf5))]).stdout
    rows = [line.split("│") for line in table.splitlines() if "check_processing_module_name" in line]
    assert [row[5].strip() for row in rows] == ["2"]
    assert "DANDI would refuse 1 of them" in table
    assert CliRunner().invoke(main, ["validate", str(hdf5)]).exit_code == 0


# Upload


def test_upload_brings_files_and_videos_and_checks_them(hdf5, server, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    server.has_sha256 = True
    report = send(hdf5, server)
    video = video_of(hdf5)
    assert report.ok and report.n_sent == 2
    assert server.content(relative(hdf5)) == hdf5.read_bytes()
    assert server.content(video.relative_to(root_of(hdf5)).as_posix()) == video.read_bytes()
    assert [row["metadata"]["path"].split(".")[-1] for row in server.assets.values()] == ["mp4", "nwb"]
    (nwb,) = (row["metadata"] for row in server.assets.values() if row["metadata"]["path"].endswith(".nwb"))
    assert nwb["wasAttributedTo"][0]["identifier"] == "EX_001"  # dandi has read the subject for the server

    record = record_of(hdf5, server)
    assert record["state"] == "uploaded" and record["dandiset"] == server.identifier and record["begun"] == []
    assert [asset["digest"] for asset in record["assets"]] == [dandi_etag(p.read_bytes()) for p in (video, hdf5)]
    assert [asset["file"]["sha256"] for asset in record["assets"]] == [
        sha256(path.read_bytes()).hexdigest() for path in (video, hdf5)
    ]
    assert {asset["asset_id"] for asset in record["assets"]} == set(server.assets)

    kept = "".join(path.read_text() for path in (root_of(hdf5) / UPLOADS).rglob("*.json"))
    said = kept + "".join(capsys.readouterr())
    assert API_KEY not in said + caplog.text
    assert SIGNATURE not in said + "".join(r.getMessage() for r in caplog.records if r.name.startswith("dandi"))
    assert any(r.name == "dandi" for r in caplog.records)


def test_second_run_sends_and_validates_nothing(hdf5, server, valid):
    send(hdf5, server)
    server.requests.clear()
    valid.clear()
    report = send(hdf5, server)
    assert report.ok and report.n_sent == 0
    assert server.writes() == [] and valid == []


def test_without_records_the_server_is_asked_what_it_has(hdf5, server, valid):
    send(hdf5, server)
    shutil.rmtree(root_of(hdf5) / ".ibl_nwb_batch")
    server.requests.clear()
    report = send(hdf5, server)
    assert report.ok and report.n_sent == 0 and server.writes() == []
    assert record_of(hdf5, server)["state"] == "uploaded"


def test_what_has_gone_from_the_server_is_sent_again(hdf5, server, valid):
    send(hdf5, server)
    server.assets.clear()
    server.blobs.clear()
    assert send(hdf5, server).n_sent == 2
    assert server.content(relative(hdf5)) == hdf5.read_bytes()


def test_large_video_goes_in_parts(hdf5, server, valid):
    video = video_of(hdf5)
    with video.open("r+b") as file:
        file.truncate(65 * 2**20)
    assert send(hdf5, server).ok
    assert server.count(r"PUT /storage/[\w-]+/2$") == 1
    assert (
        sha256(server.content(video.relative_to(root_of(hdf5)).as_posix())).digest()
        == sha256(video.read_bytes()).digest()
    )


def test_killed_upload_begun_again_is_complete(hdf5, server):
    second = add_session(hdf5, "2")
    server.play("hold", r"PUT /storage/")
    command = [sys.executable, "-m", "ibl_nwb", "upload", root_of(hdf5), "--dandiset", "777", "-i", server.url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert server.held.wait(60), "the upload did not begin"
        process.send_signal(signal.SIGKILL)
    server.released.set()
    assert server.assets == {}
    assert {json.loads(p.read_text())["state"] for p in (root_of(hdf5) / UPLOADS).rglob("*.json")} == {"uploading"}

    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert server.paths() == Counter(
        p.relative_to(root_of(hdf5)).as_posix() for n in (hdf5, second) for p in (n, video_of(n))
    )
    for path in (hdf5, second):
        assert server.content(relative(path)) == path.read_bytes()
        assert record_of(path, server)["state"] == "uploaded"


def test_wrong_checksum_on_the_server_is_found_and_mended_by_the_next_run(hdf5, server, valid):
    server.corrupt.add(relative(hdf5))
    report = send(hdf5, server)
    assert not report.ok
    record = record_of(hdf5, server)
    assert record["state"] == "failed"
    assert "has not what was sent" in record["error"] and dandi_etag(hdf5.read_bytes()) in record["error"]
    server.corrupt.clear()
    (asset,) = (row for row in server.assets.values() if row["metadata"]["path"] == relative(hdf5))
    server.blobs[asset["blob"]] = bytes(len(server.blobs[asset["blob"]]))  # it was wrong indeed
    assert send(hdf5, server).ok
    assert server.paths()[relative(hdf5)] == 1 and server.content(relative(hdf5)) == hdf5.read_bytes()


def test_checksum_that_goes_wrong_later_is_found_by_the_next_run(hdf5, server, valid):
    send(hdf5, server)
    server.corrupt.add(relative(hdf5))
    report = send(hdf5, server)
    assert report.records[0].state == "failed" and "not older than the one here" in report.records[0].error


def test_bit_that_flips_on_the_way_is_sent_again(hdf5, server, valid, impatient):
    server.play("garble", r"PUT /storage/")
    assert send(hdf5, server).ok
    assert server.content(relative(hdf5)) == hdf5.read_bytes()
    assert impatient == [archive.FIRST_WAIT_S]


def test_server_in_trouble_is_tried_again(hdf5, server, valid, impatient):
    server.play(503, r"POST /api/uploads/initialize/", 2)
    server.play(500, r"PUT /storage/", 1)
    server.play(502, r"POST /api/uploads/[\w-]+/validate/", 1)
    assert send(hdf5, server).ok
    assert server.content(relative(hdf5)) == hdf5.read_bytes()
    assert impatient == [], "dandi tries single requests again by itself"


def test_server_that_stays_in_trouble_costs_that_file_only(hdf5, server, valid, impatient):
    second = add_session(hdf5, "2")
    server.play(503, r"POST /api/uploads/initialize/", 36)  # dandi's 12 tries of the first file, three times
    report = send(hdf5, server)
    assert {record.path: record.state for record in report.records} == {
        relative(second): "failed",
        relative(hdf5): "uploaded",
    }
    assert not report.ok and impatient == [archive.FIRST_WAIT_S, 4 * archive.FIRST_WAIT_S]


def test_silent_server_does_not_hold_the_upload_for_ever(hdf5, server, valid, impatient, monkeypatch):
    monkeypatch.setattr(archive, "_TIMEOUT_S", 0.5)
    server.play("hold", r"POST /api/uploads/initialize/")
    assert send(hdf5, server).ok
    assert len(impatient) == 1


def test_server_that_goes_away_ends_the_run_and_the_next_goes_on(hdf5, server, valid, impatient, monkeypatch):
    second, third = add_session(hdf5, "2"), add_session(hdf5, "3")
    settled = []

    def go_away(record):
        settled.append(record.path)
        server.stop()

    with pytest.raises(UnreachableError, match="give the same command"):
        send(hdf5, server, on_record=go_away)
    assert settled == [relative(second)]
    assert record_of(second, server)["state"] == "uploaded" and record_of(third, server)["state"] == "failed"
    assert not list((root_of(hdf5) / UPLOADS).glob(f"*/{relative(hdf5)}.json"))


def test_refused_key_is_named_and_not_shown(hdf5, server, monkeypatch):
    monkeypatch.setenv(server.key_variable, "an-old-key")
    with pytest.raises(RefusedError, match="refuses the API key") as raised:
        send(hdf5, server)
    assert server.key_variable in str(raised.value) and "an-old-key" not in str(raised.value)
    assert server.url in str(raised.value)
    monkeypatch.setenv(server.key_variable, "broken\nkey")
    with pytest.raises(UsageError, match="characters that no key has") as raised:
        send(hdf5, server)
    assert "broken" not in str(raised.value)


def test_without_a_key_it_says_where_to_put_one(hdf5, server, monkeypatch):
    monkeypatch.delenv(server.key_variable)
    with pytest.raises(UsageError, match="no API key") as raised:
        send(hdf5, server)
    assert server.key_variable in str(raised.value)


def test_key_of_the_keyring_is_used(hdf5, server, valid, monkeypatch):
    from keyring.backends.null import Keyring

    asked = []
    monkeypatch.delenv(server.key_variable)
    monkeypatch.setattr(Keyring, "get_password", lambda self, service, user: asked.append((service, user)) or API_KEY)
    assert send(hdf5, server).ok
    assert asked == [(f"dandi-api-{server.url.removeprefix('http://')}", "key")]  # where dandi itself keeps it


def test_address_of_the_storage_that_has_expired_is_asked_for_again(hdf5, server, valid, impatient):
    server.play(403, r"PUT /storage/")
    assert send(hdf5, server).ok and len(impatient) == 1


def test_user_who_is_no_owner_is_told_so_at_once(hdf5, server, valid):
    add_session(hdf5, "A")
    server.owners.clear()
    with pytest.raises(RefusedError, match="owner of the Dandiset"):
        send(hdf5, server)
    assert server.count("POST /api/uploads/initialize/") == 1


def test_wrong_names_are_told_before_anything_is_done(hdf5, server, valid):
    with pytest.raises(UsageError, match="no Dandiset 000123"):
        upload_folder(root_of(hdf5), "123", instance=server.url)
    with pytest.raises(UsageError, match="dandi-sandbox"):
        upload_folder(root_of(hdf5), "123", instance="dandy")
    with pytest.raises(UsageError, match="no number of a Dandiset"):
        upload_folder(root_of(hdf5), "IBL", instance=server.url)
    (root_of(hdf5) / "dandiset.yaml").write_text("identifier: DANDI:000409\n")
    with pytest.raises(UsageError, match="says that this is Dandiset 000409"):
        send(hdf5, server)
    assert valid == [] and server.writes() == []


def test_file_that_does_not_validate_is_refused_and_others_go_on(hdf5, server):
    bad = add_session(hdf5, "2")
    spoil(bad)
    command = ["upload", str(root_of(hdf5)), "--dandiset", server.identifier, "-i", server.url]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert f"refused: {relative(bad)}" in result.stdout and "check_subject_sex" in result.stdout
    assert f"uploaded: {relative(hdf5)}" in result.stdout
    assert set(server.paths()) == {relative(hdf5), video_of(hdf5).relative_to(root_of(hdf5)).as_posix()}
    record = record_of(bad, server)
    assert record["state"] == "refused" and any("check_subject_sex" in finding for finding in record["findings"])

    shutil.copy(hdf5, bad)
    with h5py.File(bad, "r+") as file:
        file["acquisition/VideoLeftCamera/external_file"][0] = f"{bad.stem}/{video_of(bad).name}"
    assert CliRunner().invoke(main, command).exit_code == 0


def test_dry_run_sends_and_writes_nothing(hdf5, server):
    result = CliRunner().invoke(
        main, ["upload", str(root_of(hdf5)), "--dandiset", server.identifier, "-i", server.url, "--dry-run", "--json"]
    )
    told = json.loads(result.stdout)
    assert result.exit_code == 0 and told["counts"]["planned"] == 1 and told["n_sent"] == 2
    assert server.writes() == [] and not (root_of(hdf5) / ".ibl_nwb_batch").exists()


def test_newer_file_replaces_an_older_one_and_no_other(hdf5, server, valid):
    send(hdf5, server)
    modified = hdf5.stat().st_mtime
    with h5py.File(hdf5, "r+") as file:
        file["identifier"][()] = "changed"
    os.utime(hdf5, (modified - 60, modified - 60))
    (record,) = send(hdf5, server).records
    assert record.state == "failed" and "--overwrite" in record.error
    assert server.content(relative(hdf5)) != hdf5.read_bytes()

    assert send(hdf5, server, overwrite=True).ok
    assert server.content(relative(hdf5)) == hdf5.read_bytes()

    with h5py.File(hdf5, "r+") as file:
        file["identifier"][()] = "changed again"
    assert send(hdf5, server).ok
    assert server.content(relative(hdf5)) == hdf5.read_bytes()
    assert set(server.paths().values()) == {1}


def test_zarr_is_uploaded_and_not_again(zarr_folder, server, valid):
    report = send(zarr_folder, server)
    assert report.ok, report.records
    (zarr,) = server.zarrs.values()
    assert zarr.files == {
        p.relative_to(zarr_folder).as_posix(): p.read_bytes() for p in zarr_folder.rglob("*") if p.is_file()
    }
    assert record_of(zarr_folder, server)["assets"][0]["digest"] == zarr.checksum
    server.requests.clear()
    assert send(zarr_folder, server).n_sent == 0
    assert server.writes() == []


def test_zarr_that_was_never_finished_is_finished(zarr_folder, server, valid, impatient):
    """dandi takes files that are all there for a complete Zarr, though no checksum was asked for after the last."""
    server.play(400, r"POST /api/zarr/[\w-]+/finalize/")
    assert not send(zarr_folder, server).ok
    (zarr,) = server.zarrs.values()
    assert zarr.checksum is None
    assert send(zarr_folder, server).ok
    assert record_of(zarr_folder, server)["assets"][0]["digest"] == zarr.checksum


def test_two_uploads_of_one_folder_do_not_meet(hdf5, server, valid):
    server.play("hold", r"PUT /storage/")
    command = [sys.executable, "-m", "ibl_nwb", "upload", root_of(hdf5), "--dandiset", "777", "-i", server.url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert server.held.wait(60), "the upload did not begin"
        with pytest.raises(OutputExistsError, match="Another process"):
            send(hdf5, server)
        process.kill()


def test_file_that_a_batch_has_not_finished_is_refused(hdf5, server, valid):
    from ibl_nwb.batch.files import WrittenFile
    from ibl_nwb.batch.records import BatchFolder, BatchRecord

    folder = BatchFolder(root_of(hdf5))
    written = WrittenFile.of(hdf5, relative(hdf5))
    known = {"key": "one", "product": "whole", "source": "a/session", "files": [written]}
    folder.write(BatchRecord.model_validate(known | {"state": "running"}))
    (record,) = send(hdf5, server).records
    assert record.state == "refused" and "has not finished" in record.error
    folder.write(BatchRecord.model_validate(known | {"state": "done"}))
    content = bytearray(hdf5.read_bytes())
    content[-1] ^= 1
    hdf5.write_bytes(content)
    (record,) = send(hdf5, server).records
    assert record.state == "refused" and "not as the batch wrote it" in record.error
    content[-1] ^= 1
    hdf5.write_bytes(content)
    assert send(hdf5, server).ok


def test_batch_can_upload_what_it_has_converted(tmp_path, server):
    session = make_example_session(tmp_path, probes=(), cameras=(), n_trials=8, audio=False, passive=False)
    alyx = AlyxRecord.from_rest(**example_alyx_answers(session))
    document = tmp_path / "session.json"
    make_document(session, alyx=alyx, include=["Wheel", "Trials"]).write_json(document)
    result = CliRunner().invoke(
        main, ["batch", str(document), "-o", str(tmp_path / "nwb"), "--upload", server.identifier, "-i", server.url]
    )
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "nwb").glob("*/*.nwb")
    assert server.content(relative(path)) == path.read_bytes()
    (batch_record,) = (tmp_path / "nwb/.ibl_nwb_batch/records").glob("*.json")
    (asset,) = record_of(path, server)["assets"]
    assert asset["file"] == json.loads(batch_record.read_text())["files"][0]


def test_batch_asks_for_access_before_it_converts(tmp_path, server, monkeypatch):
    monkeypatch.setenv(server.key_variable, "an-old-key")
    folder = tmp_path / "nwb"
    command = ["batch", str(tmp_path), "-o", str(folder), "--upload", server.identifier, "-i", server.url]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1 and "refuses the API key" in result.stderr and not folder.exists()


def test_ctrl_c_leaves_the_record_of_what_was_begun(hdf5, server, valid, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dandi.files.bases.LocalFileAsset.iter_upload", interrupt)
    command = ["upload", str(root_of(hdf5)), "--dandiset", server.identifier, "-i", server.url]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 130 and "go on" in result.stderr
    assert record_of(hdf5, server)["state"] == "uploading"
    monkeypatch.undo()


def test_signatures_are_cut_from_addresses():
    text = "Error 500 while sending PUT request to https://s3.example.org/a/b?X-Amz-Signature=1&x=2: no"
    assert hide_queries(text) == "Error 500 while sending PUT request to https://s3.example.org/a/b no"


def test_names_are_found_without_importing_dandi():
    code = "import sys, ibl_nwb.publish, ibl_nwb.cli; assert not {'dandi', 'nwbinspector'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(publish.__all__) <= {name for name in publish.__all__ if getattr(publish, name)}
