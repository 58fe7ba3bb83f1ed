"""Raw recordings straight from a server: every sample as in its file, no copy on disk, and faults end in a sentence."""

import json
import logging
import re
import shutil
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import h5py
import mtscomp
import pytest
from acquire_example import SESSION, SMALL, files_below
from alyx_server import AlyxServer
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from one import params as one_params
from pynwb import read_nwb

from ibl_nwb import ALFSession, ConversionDocument, IBLConverter, RawEphysInterface, convert_document, make_document
from ibl_nwb.acquire import Limits, connect, download, stream_source
from ibl_nwb.acquire.ranges import RangeReader
from ibl_nwb.cli import main
from ibl_nwb.coverage import inspect_session
from ibl_nwb.errors import (
    ChecksumError,
    DatasetInconsistentError,
    DatasetMissingError,
    DatasetUnreadableError,
    NetworkError,
    UsageError,
)
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify

pytest_plugins = ["acquire_fixtures"]

FOLDER = "raw_ephys_data/probe00"
STEM = "_spikeglx_ephysData_g0_t0.imec0"
AP_SERIES = "acquisition/ElectricalSeriesAPProbe00"
START_TIME = datetime(2023, 5, 18, 10, tzinfo=UTC)
LOGIN = ("me", "only-for-tests-secret")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A file server's folder: AP of 7 blocks, two to a row of chunks; UUIDs in the names."""
    folder = tmp_path_factory.mktemp("store")
    make_example_session(folder, uuids_in_names=True, **{**SMALL, "raw_duration_s": 6.5, "raw_bands": ("ap", "lf")})
    return folder


@pytest.fixture(scope="module")
def complete_session(tmp_path_factory):
    """The same session with all its files on disk, tidy names."""
    options = {**SMALL, "raw_duration_s": 6.5, "raw_bands": ("ap", "lf")}
    return make_example_session(tmp_path_factory.mktemp("complete"), **options)


@pytest.fixture
def session_path(complete_session, tmp_path):
    """The session without its compressed recordings."""
    folder = tmp_path / "session" / SESSION
    shutil.copytree(complete_session, folder, ignore=shutil.ignore_patterns("*.cbin"))
    return folder


@pytest.fixture
def quick(monkeypatch):
    """No test waits for seconds."""
    monkeypatch.setattr("ibl_nwb.acquire.ranges.ATTEMPTS", 3)
    monkeypatch.setattr("ibl_nwb.acquire.ranges.FIRST_WAIT_S", 0.01)


@pytest.fixture
def file_server(store, home, quick):
    """A server of the files, without a database."""
    with AlyxServer(store) as server:
        yield server


@pytest.fixture
def one(server, tmp_path, quick):
    return connect(base_url=server.url, cache_dir=tmp_path / "cache")


def stored(folder, band="ap"):
    """The compressed recording in a store."""
    (path,) = (Path(folder) / SESSION / FOLDER).glob(f"*.{band}.*.cbin")
    return path


def url_of(server, band="ap"):
    return f"{server.url}/public/{stored(server.files, band).relative_to(server.files)}"


def samples_of(session_path, band="ap"):
    path = session_path / FOLDER / f"{STEM}.{band}.cbin"
    return mtscomp.decompress(path, path.with_suffix(".ch"))[:]


def source_data(session_path, server, **others):
    given = {"session_path": str(session_path), "probe_name": "probe00", "band": "ap", "data_url": url_of(server)}
    return {"RawEphysAPProbe00": given, **others}


def convert(session_path, server, nwbfile_path, **options):
    """Convert the AP band from the server."""
    converter = IBLConverter(source_data(session_path, server))
    metadata = converter.get_metadata()
    metadata["NWBFile"]["session_start_time"] = START_TIME
    converter.run_conversion(nwbfile_path, metadata=metadata, **options)
    return nwbfile_path


def read_samples(path, series=AP_SERIES):
    with h5py.File(path) as file:
        return file[f"{series}/data"][:]


def compression_of(session_path, band="ap"):
    return json.loads((session_path / FOLDER / f"{STEM}.{band}.ch").read_text())


def starts(ranges):
    return [int(re.match(r"bytes=(\d+)-", text)[1]) for text in ranges]


class TestFromAlyx:
    """The way of a user: an eid, a document, a file."""

    @pytest.fixture
    def document(self, one, eid, tmp_path):
        document = make_document(eid, one=one, stream_raw=True, include=["RawEphys", "NIDQ", "ProbeSync", "Wheel"])
        document.write_json(tmp_path / "session.json")
        return document

    def test_small_files_are_downloaded_and_recordings_are_not(self, document, server, tmp_path):
        files = files_below(tmp_path / "cache")
        assert {Path(name).suffix for name in files if f"{FOLDER}/" in name} == {".ch", ".meta", ".npy"}
        assert not [name for name in files if name.endswith(".cbin")]
        assert not [path for path in server.requests if path.endswith(".cbin")]
        assert document.source_data["RawEphysAPProbe00"]["data_url"] == url_of(server)
        assert document.source_data["RawEphysLFProbe00"]["data_url"] == url_of(server, "lf")
        assert ".nidq." in document.source_data["NIDQ"]["data_url"]
        assert "data_url" not in document.source_data["Wheel"]

    def test_the_file_equals_that_of_a_session_on_disk_and_no_copy_is_made(
        self, document, server, complete_session, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        (tmp_path / "temporary").mkdir()
        largest_file = []
        fetch = RangeReader._fetch

        def fetch_and_look(reader, offset, n_bytes):
            others = [path for path in tmp_path.rglob("*") if path.is_file() and "out" not in path.parts]
            largest_file.append(max(path.stat().st_size for path in others if path.is_file()))
            return fetch(reader, offset, n_bytes)

        monkeypatch.setattr(RangeReader, "_fetch", fetch_and_look)
        document = ConversionDocument.read_json(tmp_path / "session.json")
        summary = convert_document(document, tmp_path / "out" / "x.nwb")
        on_disk = make_document(complete_session, alyx=document.alyx, include=list(document.source_data))
        expected_path = convert_document(on_disk, tmp_path / "out" / "expected.nwb").nwbfile_path
        with h5py.File(summary.nwbfile_path) as file, h5py.File(expected_path) as expected:
            names = set(expected["acquisition"])
            assert set(file["acquisition"]) == names
            assert {"ElectricalSeriesAPProbe00", "ElectricalSeriesLFProbe00", "NIDQDigitalWord"} < names
            for name in names:
                series, other = file["acquisition"][name], expected["acquisition"][name]
                assert series.keys() == other.keys()
                for field in other.keys() - {"electrodes"}:
                    assert_array_equal(series[field][()], other[field][()])
                    assert series[field].attrs.keys() == other[field].attrs.keys()
                    assert [
                        series[field].attrs[key] for key in ("rate", "conversion") if key in series[field].attrs
                    ] == [other[field].attrs[key] for key in ("rate", "conversion") if key in other[field].attrs]
        for band, series in (("ap", AP_SERIES), ("lf", AP_SERIES.replace("AP", "LF"))):
            assert_array_equal(read_samples(summary.nwbfile_path, series), samples_of(complete_session, band)[:, :-1])
        assert not list(tmp_path.rglob("cache/**/*.cbin"))
        assert max(largest_file) < stored(server.files).stat().st_size / 2
        read = {row.name: row.n_bytes for row in summary.interfaces}
        assert read["RawEphysAPProbe00"] > stored(server.files).stat().st_size

    def test_the_table_of_sources_tells_what_alyx_registered(self, document, server, tmp_path):
        path = convert_document(document, tmp_path / "x.nwb").nwbfile_path
        table = read_nwb(path).analysis["SourceDatasets"].to_dataframe().set_index("relative_path")
        row = table.loc[f"{FOLDER}/{STEM}.ap.cbin"]
        registered = next(r for r in server.rows["datasets"] if r["name"] == f"{STEM}.ap.cbin")
        assert (row["size"], row["md5"], row["md5_origin"]) == (registered["file_size"], registered["hash"], "Alyx")
        assert (row["read_from"], row["role"]) == ("server", "converted")
        assert set(table.drop([name for name in table.index if name.endswith(".cbin")])["read_from"]) == {"disk"}
        assert server.url.encode() not in path.read_bytes()

    def test_a_recording_that_is_on_disk_is_read_from_there(self, one, eid, server, tmp_path):
        download(one, eid, interfaces=["RawEphysAPProbe00"])
        document = make_document(eid, one=one, stream_raw=True, include=["RawEphys"])
        assert "data_url" not in document.source_data["RawEphysAPProbe00"]
        assert "data_url" in document.source_data["RawEphysLFProbe00"]

    def test_a_bad_copy_on_disk_is_refused_and_not_fetched(self, one, eid, server):
        path = download(one, eid, interfaces=["RawEphysAPProbe00"]) / FOLDER / f"{STEM}.ap.cbin"
        path.write_bytes(path.read_bytes()[:-1])
        server.requests.clear()
        with pytest.raises(ChecksumError, match="Remove it to have it read from the server"):
            make_document(eid, one=one, stream_raw=True, include=["RawEphys"])
        assert not [request for request in server.requests if request.endswith(".cbin")]

    def test_an_interface_that_is_taken_out_of_the_document_stays_out(self, document, server, tmp_path):
        kept = {name: document.source_data[name] for name in ("RawEphysAPProbe00", "Wheel")}
        edited = document.model_copy(update={"source_data": kept})
        path = convert_document(edited, tmp_path / "x.nwb", stub_test=True).nwbfile_path
        assert "ElectricalSeriesLFProbe00" not in read_nwb(path).acquisition
        assert not [request for request in server.requests if ".lf." in request and request.endswith(".cbin")]

    def test_no_credentials_in_document_log_or_file(self, one, eid, server, tmp_path, caplog):
        server.file_login = LOGIN
        parameters = one.alyx._par.set("HTTP_DATA_SERVER", f"{server.url}/public")
        one.alyx._par = parameters.set("HTTP_DATA_SERVER_LOGIN", LOGIN[0]).set("HTTP_DATA_SERVER_PWD", LOGIN[1])
        caplog.set_level(logging.DEBUG)
        document = make_document(eid, one=one, stream_raw=True, include=["RawEphysAPProbe00"])
        document.write_json(tmp_path / "session.json")
        with pytest.raises(NetworkError, match="401.*HTTP_DATA_SERVER_LOGIN"):
            convert_document(document, tmp_path / "x.nwb")
        one_params.save(one.alyx._par, server.url)
        path = convert_document(document, tmp_path / "x.nwb").nwbfile_path
        written = (tmp_path / "session.json").read_bytes() + path.read_bytes() + caplog.text.encode()
        encoded = b"bWU6b25seS1mb3ItdGVzdHMtc2VjcmV0"
        assert LOGIN[1].encode() not in written and encoded not in written

    def test_verification_never_says_equal_of_what_it_has_not_read(self, document, tmp_path):
        path = convert_document(document, tmp_path / "x.nwb").nwbfile_path
        for source in (document.session.session_path, tmp_path / "session.json"):
            report = verify(path, source)
            rows = {row.object: row for row in report}
            for series in (AP_SERIES, AP_SERIES.replace("AP", "LF"), "acquisition/NIDQDigitalWord"):
                assert rows[f"{series}/data"].status == "not verified"
                assert "not on this disk" in rows[f"{series}/data"].reason
            assert rows[f"{AP_SERIES}/data@conversion"].status == "equal"
            assert report.ok

    def test_verification_streams_a_sample(self, document, server, tmp_path):
        path = convert_document(document, tmp_path / "x.nwb").nwbfile_path
        server.ranges.clear()
        report = verify(path, tmp_path / "session.json", sample=0.3)
        (row,) = (row for row in report if row.object == f"{AP_SERIES}/data")
        assert (row.status, row.reason) == ("equal", "3 of 7 blocks compared (random choice)")
        assert report.ok and server.ranges
        with h5py.File(path, "a") as file:
            file[f"{AP_SERIES}/data"][150_000, 3] += 1
        report = verify(path, tmp_path / "session.json", sample=1.0)
        (row,) = (row for row in report if row.object == f"{AP_SERIES}/data")
        assert (row.status, row.first_difference.index) == ("different", (150_000, 3))

    def test_the_coverage_of_the_session_knows_the_recordings(self, document, server):
        urls = [source["data_url"] for source in document.source_data.values() if "data_url" in source]
        rows = {r.relative_path: r for r in inspect_session(ALFSession(document.session.session_path, data_urls=urls))}
        row = rows[f"{FOLDER}/{STEM}.ap.cbin"]
        assert (row.status, row.size) == ("converted", stored(server.files).stat().st_size)


class TestCommandLine:
    def run(self, *arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    def test_convert_and_metadata(self, server, eid, quick, complete_session, tmp_path):
        where = ("--one-url", server.url, "--cache-dir", tmp_path / "cache", "--include", "RawEphysAPProbe00")
        result = self.run("convert", eid, "--stream-raw", "-o", tmp_path / "x.nwb", *where)
        assert result.exit_code == 0, result.output
        assert_array_equal(read_samples(tmp_path / "x.nwb"), samples_of(complete_session)[:, :-1])
        result = self.run("metadata", eid, "--stream-raw", "-o", tmp_path / "session.json", *where)
        assert result.exit_code == 0, result.output
        result = self.run("convert", tmp_path / "session.json", "-o", tmp_path / "y.nwb")
        assert result.exit_code == 0, result.output
        assert_array_equal(read_samples(tmp_path / "y.nwb"), read_samples(tmp_path / "x.nwb"))
        assert not list(tmp_path.rglob("*.cbin"))
        result = self.run("convert", tmp_path / "session.json", "--stream-raw")
        assert (result.exit_code, "--stream-raw cannot be given with a document" in result.output) == (2, True)
        result = self.run("inspect", tmp_path / "session.json", "--json")
        rows = {row["relative_path"]: row for row in json.loads(result.stdout)}
        assert rows[f"{FOLDER}/{STEM}.ap.cbin"]["interfaces"] == ["RawEphysAPProbe00"]

    def test_what_cannot_be_streamed_is_refused(self, complete_session, server, tmp_path, eid):
        result = self.run("convert", complete_session, "--stream-raw", "-o", tmp_path / "x.nwb")
        assert (result.exit_code, "is on disk" in result.output) == (2, True)
        (tmp_path / "cache").mkdir()
        result = self.run("convert", eid, "--stream-raw", "--offline", "--cache-dir", tmp_path / "cache")
        assert (result.exit_code, "offline" in result.output) == (2, True)

    def test_without_the_packages_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr("ibl_nwb.acquire.ranges.importlib.util.find_spec", lambda package: None)
        with pytest.raises(UsageError, match=r"pip install 'ibl-nwb\[remote\]'"):
            stream_source("EX_001/2023-05-18/001")


class TestInterface:
    def test_is_rebuilt_from_its_source_data(self, file_server, session_path, complete_session):
        interface = RawEphysInterface(**source_data(session_path, file_server)["RawEphysAPProbe00"])
        assert not file_server.requests  # a constructor asks nobody
        again = RawEphysInterface(**json.loads(json.dumps(interface.source_data, default=str)))
        on_disk = RawEphysInterface(complete_session, probe_name="probe00", band="ap")
        assert_array_equal(again.get_timestamps(), on_disk.get_timestamps())
        assert again.get_metadata()["Ecephys"] == on_disk.get_metadata()["Ecephys"]
        traces = again.recording_extractor.get_traces(start_frame=29_990, end_frame=30_010, channel_ids=["AP3", "AP1"])
        assert_array_equal(traces, samples_of(complete_session)[29_990:30_010, [3, 1]])
        assert "data_url" in RawEphysInterface.get_source_schema()["properties"]

    def test_written_by_itself_to_hdf5_and_zarr(self, file_server, session_path, complete_session, tmp_path):
        interface = RawEphysInterface(**source_data(session_path, file_server)["RawEphysAPProbe00"])
        metadata = interface.get_metadata()
        metadata["NWBFile"]["session_start_time"] = START_TIME
        expected = samples_of(complete_session)[:, :-1]
        interface.run_conversion(tmp_path / "x.nwb", metadata=metadata)
        assert_array_equal(read_samples(tmp_path / "x.nwb"), expected)
        interface.run_conversion(tmp_path / "x.zarr", metadata=metadata, backend="zarr")
        assert_array_equal(read_nwb(tmp_path / "x.zarr").acquisition["ElectricalSeriesAPProbe00"].data[:], expected)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda url: url.replace("http://", "http://me:secret@"), "holds credentials"),
            (lambda url: url.replace("http://", "ftp://"), "is no address of a file on a server"),
            (lambda url: url.replace("2023-05-18", "2023-05-19"), "is of session EX_001/2023-05-19/001 and not of"),
            (lambda url: "http://127.0.0.1/x.ap.cbin?signature=secret", "does not end with"),
            (lambda url: url.replace(".ap.", ".lf."), "has no probe_name 'probe00', band 'ap'"),
        ],
    )
    def test_addresses_that_are_none_of_this_recording(self, file_server, session_path, change, said):
        given = source_data(session_path, file_server)["RawEphysAPProbe00"]
        given["data_url"] = change(given["data_url"])
        with pytest.raises((UsageError, DatasetMissingError), match=said) as raised:
            RawEphysInterface(**given)
        assert "secret" not in str(raised.value)

    def test_an_address_of_another_recording_than_that_on_disk(self, file_server, complete_session):
        with pytest.raises(UsageError, match=r"is that of .*\.lf\.cbin in place of .*\.ap\.cbin"):
            RawEphysInterface(complete_session, probe_name="probe00", band="ap", data_url=url_of(file_server, "lf"))


class TestFaults:
    """What goes wrong on the way: it passes without harm, or ends in a sentence and with nothing under the name."""

    @pytest.mark.parametrize("kind", ["broken", "truncated", "status"])
    def test_what_passes_does_no_harm(self, file_server, session_path, complete_session, tmp_path, kind):
        options = {"status": 503, "headers": {"Retry-After": "0.05"}} if kind == "status" else {}
        file_server.play(kind, ".cbin", 2, after=3, **options)
        path = convert(session_path, file_server, tmp_path / "x.nwb", jobs=2)
        assert_array_equal(read_samples(path), samples_of(complete_session)[:, :-1])

    @pytest.mark.parametrize(
        ("kind", "options", "error", "said"),
        [
            ("broken", {}, NetworkError, r"asked 3 times.*--resume"),
            ("truncated", {}, NetworkError, r"it sent \d+ bytes in place of the \d+.*asked 3 times"),
            ("status", {"status": 503}, NetworkError, "503 Service Unavailable.*asked 3 times"),
            ("status", {"status": 401}, NetworkError, "401 Unauthorized.*HTTP_DATA_SERVER_LOGIN"),
            ("status", {"status": 403}, NetworkError, "403 Forbidden.*HTTP_DATA_SERVER_LOGIN"),
            ("status", {"status": 400}, NetworkError, "400 Bad Request.*without --stream-raw"),
            ("missing", {}, DatasetMissingError, "404 Not Found.*--exclude"),
            ("no_ranges", {}, NetworkError, "does not know ranges.*without --stream-raw"),
            ("web_page", {}, NetworkError, "this is not the file"),
            ("corrupt", {}, DatasetUnreadableError, r"Block \d of .*cannot be decompressed.*--exclude"),
        ],
    )
    def test_what_stays_is_a_clear_error(self, file_server, session_path, tmp_path, kind, options, error, said):
        file_server.play(kind, ".cbin", after=3, **options)  # one byte, then two blocks, arrive
        with pytest.raises(error, match=said) as raised:
            convert(session_path, file_server, tmp_path / "out" / "x.nwb", jobs=1)
        assert file_server.url in str(raised.value)
        assert not files_below(tmp_path / "out")

    def test_blocks_are_fetched_while_others_are_compressed(self, file_server, session_path, tmp_path, monkeypatch):
        active, most = set(), []
        fetch = RangeReader._fetch

        def fetch_and_count(reader, offset, n_bytes):
            active.add(offset)
            most.append(len(active))
            try:
                return fetch(reader, offset, n_bytes)
            finally:
                active.discard(offset)

        monkeypatch.setattr(RangeReader, "_fetch", fetch_and_count)
        file_server.play("delayed", ".cbin", pause_s=0.1)
        convert(session_path, file_server, tmp_path / "x.nwb", jobs=1)
        assert max(most) > 1  # the one thread by itself would ask for one after the other

    def test_no_server_at_all(self, session_path, store, home, quick, tmp_path):
        with AlyxServer(store) as server:
            pass
        with pytest.raises(NetworkError, match="Check the network"):
            convert(session_path, server, tmp_path / "x.nwb")

    @pytest.mark.parametrize(
        ("n_more", "said"), [(0, "was replaced while it was being read: its ETag"), (5, "bytes, but")]
    )
    def test_a_file_that_changes_during_the_conversion(
        self, private_store, home, quick, session_path, tmp_path, n_more, said, monkeypatch
    ):
        read = RangeReader.read

        def read_and_change(reader, offset, n_bytes):
            data = read(reader, offset, n_bytes)
            path = stored(private_store)
            if offset == 0:
                path.write_bytes(path.read_bytes()[:-1] + b"x" + bytes(n_more))
            return data

        monkeypatch.setattr(RangeReader, "read", read_and_change)
        monkeypatch.setattr(RangeReader, "announce", lambda *arguments: None)
        with AlyxServer(private_store) as server, pytest.raises(DatasetInconsistentError, match=said):
            convert(session_path, server, tmp_path / "x.nwb", jobs=1)
        assert not (tmp_path / "x.nwb").exists()

    @pytest.mark.parametrize("n_bytes", [1000, -1000])
    def test_a_file_that_is_not_that_of_the_ch_file(self, private_store, home, quick, session_path, tmp_path, n_bytes):
        path = stored(private_store)
        path.write_bytes(path.read_bytes() + bytes(n_bytes) if n_bytes > 0 else path.read_bytes()[:n_bytes])
        with (
            AlyxServer(private_store) as server,
            pytest.raises(DatasetInconsistentError, match=r"expected by the \.ch"),
        ):
            convert(session_path, server, tmp_path / "x.nwb")

    def test_resume_fetches_only_what_is_missing(self, file_server, session_path, complete_session, tmp_path):
        offsets = compression_of(session_path)["chunk_offsets"]
        file_server.play("broken", ".cbin", after=6)  # one byte and five blocks arrive, the first four make two rows
        with pytest.raises(NetworkError, match="--resume"):
            convert(session_path, file_server, tmp_path / "x.nwb", jobs=1, resume=True)
        assert not (tmp_path / "x.nwb").exists()
        file_server.faults.clear()
        file_server.ranges.clear()
        path = convert(session_path, file_server, tmp_path / "x.nwb", jobs=1, resume=True)
        # The second row is complete, but on a busy machine the failure may be noticed before it is written.
        assert sorted(starts(file_server.ranges)) in ([0, *offsets[4:7]], [0, *offsets[2:7]])
        assert file_server.ranges.count("bytes=0-0") == 1
        assert_array_equal(read_samples(path), samples_of(complete_session)[:, :-1])

    def test_resume_refuses_a_file_that_was_replaced(self, private_store, home, quick, session_path, tmp_path):
        with AlyxServer(private_store) as server:
            server.play("broken", ".cbin", after=6)
            with pytest.raises(NetworkError):
                convert(session_path, server, tmp_path / "x.nwb", jobs=1, resume=True)
            server.faults.clear()
            path = stored(private_store)
            path.write_bytes(path.read_bytes()[:-1] + b"x")
            with pytest.raises(UsageError, match="was made with other raw recordings"):
                convert(session_path, server, tmp_path / "x.nwb", resume=True)

    @pytest.fixture
    def private_store(self, store, tmp_path):
        folder = tmp_path / "store"
        shutil.copytree(store, folder)
        return folder


class TestRangeReader:
    def reader(self, server, **options):
        return RangeReader(url_of(server), stored(server.files).stat().st_size, **options)

    def test_announced_parts_are_fetched_once_and_no_more_than_may_wait(self, file_server, monkeypatch):
        content = stored(file_server.files).read_bytes()
        monkeypatch.setattr("ibl_nwb.acquire.ranges.AHEAD_BYTES", 250)
        reader = self.reader(file_server)
        for offset in range(0, 1000, 100):
            reader.announce(offset, 100)
            reader.announce(offset, 100)
        assert [reader.read(offset, 100) for offset in (0, 100)] == [content[:100], content[100:200]]
        assert sorted(starts(file_server.ranges)) == [0, 100]
        assert reader.read(900, 100) == content[900:1000]
        assert len(file_server.ranges) == 3

    def test_what_is_given_up_is_not_waited_for(self, file_server, monkeypatch):
        monkeypatch.setattr("ibl_nwb.acquire.ranges.FIRST_WAIT_S", 60.0)
        file_server.play("status", ".cbin", status=503)
        reader = self.reader(file_server)
        reader.announce(0, 10)
        while not file_server.ranges:
            pass
        waiting = list(reader._announced.values())
        reader.forget()
        with pytest.raises(NetworkError, match="503"):
            waiting[0].result(timeout=20)

    def test_a_server_that_does_not_answer_in_time(self, file_server):
        file_server.play("mute", ".cbin")
        with pytest.raises(NetworkError, match="does not answer, or too slowly"):
            self.reader(file_server, limits=Limits(timeout_s=0.2)).read(0, 100)

    def test_many_threads_read_at_once(self, file_server):
        content = stored(file_server.files).read_bytes()
        reader, found = self.reader(file_server), {}
        threads = [
            threading.Thread(target=lambda offset=offset: found.update({offset: reader.read(offset, 5000)}))
            for offset in range(0, 50_000, 5000)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert b"".join(found[offset] for offset in sorted(found)) == content[:50_000]

    def test_the_login_goes_to_its_own_server_only(self, file_server, store):
        parameters = one_params.default().set("HTTP_DATA_SERVER", f"{file_server.url}/public")
        one_params.setup(client="https://alyx.example.org", silent=True)
        one_params.save(
            parameters.set("HTTP_DATA_SERVER_LOGIN", LOGIN[0]).set("HTTP_DATA_SERVER_PWD", LOGIN[1]),
            "https://alyx.example.org",
        )
        file_server.file_login = LOGIN
        content = stored(store).read_bytes()
        assert self.reader(file_server).read(5, 10) == content[5:15]
        with AlyxServer(store) as other:
            file_server.play("redirect", ".cbin", to=other.url.replace("127.0.0.1", "localhost"))
            assert self.reader(file_server).read(5, 10) == content[5:15]
            assert other.authorizations == [None]
