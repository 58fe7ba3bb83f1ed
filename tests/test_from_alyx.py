"""From Alyx to an NWB file: the command line, the classes of the first converter, every mode to the same content."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from acquire_example import SESSION
from click.testing import CliRunner
from pynwb import read_nwb

from ibl_nwb import Alyx2NWBConverter, Alyx2NWBMetadata, convert_document, make_document
from ibl_nwb.acquire import connect, fetch_record
from ibl_nwb.cli import main
from ibl_nwb.errors import SessionNotFoundError, UsageError

pytest_plugins = ["acquire_fixtures"]

SCRIPTS = Path(__file__).resolve().parents[1] / "conversion_scripts"


def run(server, cache, *arguments):
    with_server = ["--one-url", server.url, "--cache-dir", str(cache)]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments] + with_server)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def content(path):
    """Every dataset of a file that is not about its making, and is not a table of references within the file."""
    values = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and h5py.check_ref_dtype(item.dtype) is None:
            values[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return {
        name: value for name, value in values.items() if not name.startswith(("specifications", "file_create_date"))
    }


class TestCommandLine:
    def test_search(self, server, eid, tmp_path):
        result = run(server, tmp_path / "cache", "search", "--subject", "EX_001", "--json")
        assert [row["eid"] for row in json.loads(result.stdout)] == [eid]
        assert eid in run(server, tmp_path / "cache", "search", "--lab", "examplelab").stdout
        assert run(server, tmp_path / "cache", "search", "--subject", "nobody").stdout == "0 sessions.\n"

    def test_search_by_dataset_and_date(self, server, eid, tmp_path):
        terms = ["--date-range", "2023-05-18", "2023-05-18", "--dataset", "spikes.times.npy"]
        assert eid in run(server, tmp_path / "cache", "search", *terms).stdout
        assert run(server, tmp_path / "cache", "search", "--dataset", "nothing.here.npy").stdout == "0 sessions.\n"

    def test_two_commands_from_search_to_file(self, server, eid, tmp_path):
        without_raw = ["--exclude", "RawEphys", "--exclude", "NIDQ"]
        result = run(server, tmp_path / "cache", "convert", eid, "-o", tmp_path / "a.nwb", *without_raw)
        assert result.exit_code == 0, result.output
        nwbfile = read_nwb(tmp_path / "a.nwb")
        assert (nwbfile.identifier, nwbfile.subject.species) == (eid, "Mus musculus")
        nwbfile.read_io.close()
        assert not list((tmp_path / "cache").rglob("*.cbin")), "raw recordings were downloaded though excluded"

    def test_metadata_then_convert_without_network(self, server, eid, tmp_path):
        arguments = ("metadata", eid, "-o", tmp_path / "a.json", "--include", "Wheel", "--include", "Trials")
        assert run(server, tmp_path / "cache", *arguments).exit_code == 0
        server.__exit__(None, None, None)
        result = CliRunner().invoke(main, ["convert", str(tmp_path / "a.json"), "-o", str(tmp_path / "a.nwb")])
        assert result.exit_code == 0, result.output
        assert h5py.is_hdf5(tmp_path / "a.nwb")

    def test_download_then_offline(self, server, eid, tmp_path):
        result = run(server, tmp_path / "cache", "download", eid, "--include", "Trials")
        assert result.exit_code == 0, result.output
        path = Path(result.stdout.removeprefix("Complete: ").strip())
        assert path == tmp_path / "cache" / SESSION
        server.__exit__(None, None, None)
        output = tmp_path / "a.nwb"
        result = run(server, tmp_path / "cache", "convert", eid, "-o", output, "--include", "Trials", "--offline")
        assert result.exit_code == 0, result.output
        inspected = CliRunner().invoke(main, ["inspect", str(path), "--json"])
        assert inspected.exit_code == 0
        nwbfile = read_nwb(output)
        assert nwbfile.subject.subject_id == "EX_001"
        nwbfile.read_io.close()

    @pytest.mark.parametrize(
        ("session", "exit_code", "message"),
        [
            ("00000000-0000-4000-8000-000000000000", 1, "00000000"),
            ("EX_001/2023-05-18/009", 1, "EX_001/2023-05-18/009"),
            ("no-session-at-all", 1, "does not name a session"),
        ],
    )
    def test_unknown_session(self, server, tmp_path, session, exit_code, message):
        result = run(server, tmp_path / "cache", "convert", session, "-o", tmp_path / "a.nwb")
        assert (result.exit_code, message in result.stderr, "Traceback" in result.output) == (exit_code, True, False)
        assert not (tmp_path / "a.nwb").exists()

    def test_wrong_checksum_stops_before_a_file_is_written(self, private_server, tmp_path):
        eid = private_server.rows["sessions"][0]["id"]
        private_server.play("corrupt", "wheel.position")
        arguments = ("convert", eid, "-o", tmp_path / "a.nwb", "--include", "Wheel")
        result = run(private_server, tmp_path / "cache", *arguments)
        assert (result.exit_code, "wheel.position" in result.stderr) == (1, True)
        assert not (tmp_path / "a.nwb").exists()
        assert not list((tmp_path / "cache").rglob("*wheel.position*"))

    def test_credentials_are_nowhere_in_what_is_written_or_printed(self, server, eid, tmp_path):
        from alyx_server import PASSWORD

        result = run(server, tmp_path / "cache", "metadata", eid, "-o", tmp_path / "a.json", "--include", "Wheel")
        token = next(iter(server.tokens)) if getattr(server, "tokens", None) else PASSWORD
        for secret in (PASSWORD, token):
            assert secret not in result.output
            assert secret not in (tmp_path / "a.json").read_text()


class TestEveryMode:
    def test_same_session_same_content(self, server, one, eid, bare_session, tmp_path):
        choice = dict(include=["Wheel", "Trials", "SortedSpikes", "Pose"])
        cache = tmp_path / "cache"
        remote = make_document(eid, one=one, **choice)
        remote.write_json(tmp_path / "document.json")
        record = fetch_record(one, eid)
        server.__exit__(None, None, None)
        documents = {
            "remote": remote,
            "cache": make_document(eid, one=connect(cache_dir=cache, offline=True), **choice),
            "by reference": make_document(
                "EX_001/2023-05-18/001", one=connect(cache_dir=cache, offline=True), **choice
            ),
            "folder": make_document(cache / SESSION, **choice),
            "folder with record": make_document(bare_session, alyx=record, **choice),
            "document": type(remote).read_json(tmp_path / "document.json"),
        }
        contents = {}
        for mode, document in documents.items():
            convert_document(document, tmp_path / f"{mode}.nwb")
            contents[mode] = content(tmp_path / f"{mode}.nwb")
        reference = contents.pop("remote")
        assert len(reference) > 150
        for mode, found in contents.items():
            assert found.keys() == reference.keys(), mode
            for name, value in reference.items():
                np.testing.assert_array_equal(found[name], value, err_msg=f"{mode}: {name}")


class TestClassesOfTheFirstConverter:
    def test_code_of_the_original_readme(self, server, home, tmp_path, monkeypatch):
        """Just that code, but for the names it is imported from and the paths and terms that are any user's own."""
        from one.api import ONE

        ONE.setup(base_url=server.url, silent=True, cache_dir=str(tmp_path / "cache"), make_default=True)
        connect(base_url=server.url, cache_dir=tmp_path / "cache")
        monkeypatch.chdir(tmp_path)

        from one.api import ONE

        one = ONE()
        # use the ONE doc to use correct search terms to retrieve the eid
        eid = one.search(date_range=["2023-05-18", "2023-05-19"], subject="EX_001")[0]

        from ibl_nwb import Alyx2NWBMetadata

        metadata_object = Alyx2NWBMetadata(eid=eid, one_obj=one)
        # alternatively, you can also provide one search **kwargs directly:
        metadata_obj = Alyx2NWBMetadata(date_range=["2023-05-18", "2023-05-19"], subject="EX_001")
        json_save_loc = r"path-to-save-json-file.json"
        metadata_obj.write_metadata(json_save_loc)

        from ibl_nwb import Alyx2NWBConverter

        nwb_saveloc = r"nwb-save-path.nwb"
        save_raw = False
        converter = Alyx2NWBConverter(nwb_metadata_file=json_save_loc, saveloc=nwb_saveloc, save_raw=save_raw)
        # create nwb file:
        converter.run_conversion()
        converter.write_nwb()

        # alternatively you can also provide the metadata object:
        converter = Alyx2NWBConverter(metadata_obj=metadata_object, saveloc=r"nwb-save-path-2.nwb")
        converter.run_conversion()

        for name in ("nwb-save-path.nwb", "nwb-save-path-2.nwb"):
            nwbfile = read_nwb(tmp_path / name)
            assert nwbfile.identifier == str(eid)
            assert nwbfile.units is not None
            assert not nwbfile.acquisition
            nwbfile.read_io.close()

    def test_old_spelling_of_dataset_types(self, one, eid, tmp_path):
        metadata = Alyx2NWBMetadata(one_obj=one, dataset_types=["spikes.times"], subject="EX_001", include=["Wheel"])
        assert metadata.complete_metadata["session"]["eid"] == eid

    def test_several_sessions_one_document_each(self, one, eid, server, tmp_path):
        metadata = Alyx2NWBMetadata(eid=[eid, "EX_001/2023-05-18/001"], one_obj=one, include=["Wheel"])
        paths = metadata.write_metadata(tmp_path / "metadata.json")
        assert len(paths) == 2
        with pytest.raises(UsageError, match="give a folder"):
            Alyx2NWBConverter(metadata_obj=metadata, saveloc=tmp_path / "a.nwb")

    def test_raw_recordings_when_asked_for(self, one, eid, tmp_path):
        metadata = Alyx2NWBMetadata(eid=eid, one_obj=one, save_raw=True)
        assert "RawEphysAPProbe00" in metadata.complete_metadata["source_data"]
        without = Alyx2NWBConverter(metadata_obj=metadata, saveloc=tmp_path / "a.nwb", save_raw=False)
        nwbfile = read_nwb(without.run_conversion())
        assert not nwbfile.acquisition
        nwbfile.read_io.close()

    def test_raw_recordings_that_were_not_collected(self, one, eid, tmp_path):
        metadata = Alyx2NWBMetadata(eid=eid, one_obj=one, include=["Wheel"])
        with pytest.raises(UsageError, match="save_raw=True"):
            Alyx2NWBConverter(metadata_obj=metadata, saveloc=tmp_path / "a.nwb", save_raw=True)

    def test_nothing_found(self, one):
        with pytest.raises(SessionNotFoundError, match="no session with subject 'nobody'"):
            Alyx2NWBMetadata(one_obj=one, subject="nobody")

    def test_nothing_named(self):
        with pytest.raises(UsageError, match="by eid or session_path"):
            Alyx2NWBMetadata()


def test_script_convert_eid(server, eid, tmp_path):
    command = [sys.executable, SCRIPTS / "convert_eid.py", eid, tmp_path / "out"]
    where = ["--one-url", server.url, "--cache-dir", tmp_path / "cache"]
    subprocess.run([str(part) for part in (*command, *where)], check=True, capture_output=True, text=True)
    (path,) = (tmp_path / "out").glob("*.nwb")
    nwbfile = read_nwb(path)
    assert nwbfile.identifier == eid
    nwbfile.read_io.close()
