"""What the panes of the GUI do, without a browser: find, collect, contents, look, and ``Alyx2NWBGui``."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
from acquire_example import WHEEL_FILES
from click.testing import CliRunner

pytest.importorskip("panel")

from acquire_fixtures import bare_session, eid, home, one, server, store  # noqa: E402, F401

from ibl_nwb import Alyx2NWBGui, AlyxRecord, convert_document, make_document  # noqa: E402
from ibl_nwb.acquire import find_sessions  # noqa: E402
from ibl_nwb.cli import main  # noqa: E402
from ibl_nwb.errors import SessionNotFoundError, UsageError  # noqa: E402
from ibl_nwb.gui.app import make_body  # noqa: E402
from ibl_nwb.gui.collecting import Collector  # noqa: E402
from ibl_nwb.gui.contents import ContentsPane  # noqa: E402
from ibl_nwb.gui.find import FindPane, find_in_folder, read_terms  # noqa: E402
from ibl_nwb.gui.look import LookPane  # noqa: E402
from ibl_nwb.gui.services import GuiServices  # noqa: E402
from ibl_nwb.gui.state import ChosenSession, GuiState  # noqa: E402
from ibl_nwb.gui.workspace import Workspace  # noqa: E402
from ibl_nwb.testing import example_alyx_answers  # noqa: E402

START_TIME = ("NWBFile", "session_start_time")


def wait_until(is_true, what):
    end = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def wait_for(chosen):
    """A session, once it is opened or cannot be."""
    wait_until(lambda: chosen.doing is None and (chosen.editor is not None or chosen.error is not None), "collecting")
    return chosen


@pytest.fixture
def services(bare_session, tmp_path):  # noqa: F811
    shared = GuiServices(Workspace(bare_session.parents[4], tmp_path / "output"), one_options={"offline": True})
    yield shared
    shared.shutdown()


@pytest.fixture
def online(one, tmp_path):  # noqa: F811
    shared = GuiServices(Workspace(Path(one.cache_dir), tmp_path / "output"), one=one)
    yield shared
    shared.shutdown()


@pytest.fixture
def chosen(services, bare_session):  # noqa: F811
    """The example session, opened."""
    [session] = services.add([ChosenSession(source=str(bare_session), label="EX_001/2023-05-18/001")])
    services.collect_at_hand()
    return wait_for(session)


def state_of(services, current=None):
    """The state of a window, as the app makes it."""
    state = GuiState(workspace=services.workspace, one=services.one, chosen=list(services.chosen), current=current)
    services.param.watch(lambda event: setattr(state, "chosen", list(event.new)), "chosen")
    return state


class TestFind:
    def test_finds_hundreds_of_sessions_in_a_folder(self, tmp_path):
        expected = []
        for number in range(300):
            day = pd.Timestamp("2020-01-01") + pd.Timedelta(days=number)
            parts = ("lab", "Subjects", f"S{number % 7}", f"{day:%Y-%m-%d}", "001")
            tmp_path.joinpath(*parts, "alf").mkdir(parents=True)
            expected.append(parts[2:])
        started = time.monotonic()
        found = find_in_folder(tmp_path)
        assert time.monotonic() - started < 3
        assert [(s.subject, s.date, f"{s.number:03d}") for s in found] == sorted(expected)
        assert {s.lab for s in found} == {"lab"}

    def test_a_session_folder_is_its_only_session(self, bare_session):  # noqa: F811
        assert [summary.path for summary in find_in_folder(bare_session)] == [bare_session]

    def test_adds_what_is_ticked_once(self, services, bare_session):  # noqa: F811
        state = state_of(services)
        pane = FindPane(state, services)
        pane.search_folder()
        wait_until(lambda: pane.table.visible, "the search")
        assert pane.message.object == "1 session found."
        for _ in range(2):
            pane.table.selection = [0]
            pane.choose_selected()
        assert [session.source for session in state.chosen] == [str(bare_session)]
        assert state.current is state.chosen[0]
        assert pane.chosen_table.value["Session"].tolist() == ["EX_001/2023-05-18/001"]
        wait_for(state.current)
        pane.chosen_table.selection = [0]
        pane.remove_selected()
        assert not services.chosen

    def test_says_what_to_do_when_nothing_is_ticked_or_found(self, services, tmp_path):
        services.workspace = Workspace(tmp_path / "empty", tmp_path / "output")
        services.workspace.sessions_folder.mkdir()
        pane = FindPane(state_of(services), services)
        pane.choose_selected()
        assert pane.message.object == "Tick the sessions to add at the left of the table."
        pane.search_folder()
        wait_until(lambda: "There is no session" in pane.message.object, "the search")
        assert not pane.table.visible

    def test_searches_with_one(self, online):
        pane = FindPane(state_of(online), online)
        pane.search_one()
        assert "Fill in one of the fields" in pane.message.object
        pane.terms["subject"].value = "ex_001"
        pane.search_one()
        wait_until(lambda: pane.table.visible, "the search")
        expected = find_sessions(online.one, subject="EX_001")
        assert pane.found == expected
        assert pane.table.value["Task protocol"].tolist() == [summary.task_protocol for summary in expected]
        assert pane.raw.visible

    def test_tells_why_a_search_failed(self, services):
        services.one_options = {"offline": True, "cache_dir": "/no/such/cache"}
        pane = FindPane(state_of(services), services)
        pane.terms["subject"].value = "KS014"
        pane.search_one()
        wait_until(lambda: "no cache folder '/no/such/cache'" in pane.message.object, "the search")
        assert not pane.search.loading

    def test_opens_a_document_below_the_folders_only(self, services, bare_session, tmp_path):  # noqa: F811
        make_document(bare_session).write_json(services.workspace.output_folder / "mine.json")
        (tmp_path / "secret.json").write_text("{}")
        state = state_of(services)
        pane = FindPane(state, services)
        for path in (str(tmp_path / "secret.json"), "../secret.json"):
            pane.choose_document(path)
            assert "outside the folders" in pane.message.object
        pane.choose_document("none.json")
        assert "is no JSON file" in pane.message.object
        assert not state.chosen
        pane.choose_document("mine.json")
        assert wait_for(state.current).editor.document == make_document(bare_session)

    def test_reads_terms_as_typed(self):
        given = {"subject": " KS014 ", "lab": "", "number": "1", "first_day": "2019-12-03", "last_day": ""}
        assert read_terms({**given, "datasets": "spikes.times.npy, wheel.position.npy,"}) == {
            "subject": "KS014",
            "number": 1,
            "date_range": ["2019-12-03", None],
            "datasets": ["spikes.times.npy", "wheel.position.npy"],
        }
        with pytest.raises(UsageError, match="'one' is no number"):
            read_terms({"number": "one"})


class TestCollecting:
    def test_the_document_is_the_command_lines(self, chosen, bare_session, tmp_path):  # noqa: F811
        CliRunner().invoke(main, ["metadata", str(bare_session), "-o", str(tmp_path / "cli.json")])
        chosen.editor.save(tmp_path / "gui.json")
        assert (tmp_path / "gui.json").read_bytes() == (tmp_path / "cli.json").read_bytes()

    def test_edits_are_there_again_after_a_restart(self, services, chosen):
        chosen.editor.set(("Subject", "age"), "P90D")
        chosen.editor.set_included("Wheel", False)
        services.shutdown()
        again = GuiServices(services.workspace, one_options={"offline": True})
        try:
            [restored] = again.chosen
            assert (restored.source, restored.label, restored.raw) == (chosen.source, chosen.label, chosen.raw)
            again.collect_at_hand()
            assert wait_for(restored).editor.document == chosen.editor.document
            again.collector.collect(restored, afresh=True).result(20)
            assert restored.editor.document == make_document(chosen.source)
        finally:
            again.shutdown()

    def test_the_time_zone_is_asked_for_and_used(self, services, chosen, bare_session):  # noqa: F811
        assert chosen.needs_timezone
        assert chosen.editor.get(START_TIME) is None
        chosen.editor.set(("Subject", "age"), "P90D")
        pane = ContentsPane(state_of(services, chosen), services)
        assert pane.zone.visible
        pane.zone.value = "Europe/Lisbon"
        pane._use_zone()
        wait_for(chosen)
        expected = make_document(bare_session, timezone="Europe/Lisbon").metadata["NWBFile"]["session_start_time"]
        assert chosen.editor.get(START_TIME) == expected
        assert chosen.editor.get(("Subject", "age")) == "P90D"
        assert not chosen.needs_timezone

    def test_an_error_is_told_and_can_be_tried_again(self, services, tmp_path):
        [absent] = services.add([ChosenSession(source=str(tmp_path / "S1/2020-01-01/001"), label="S1")])
        pane = ContentsPane(state_of(services, absent), services)
        services.collect_at_hand()
        wait_for(absent)
        assert "S1/2020-01-01/001" in absent.error
        assert pane.lead.object == absent.error
        assert pane.again.visible

    def test_damaged_edits_are_told_and_put_aside(self, services, chosen):
        path = services.collector.autosave_path(chosen)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{ half a fi")
        chosen.editor = None
        services.collector.collect(chosen).result(20)
        assert "damaged" in chosen.error
        assert [aside.read_text() for aside in path.parent.glob("*.damaged")] == ["{ half a fi"]
        services.collector.collect(chosen).result(20)
        assert chosen.error is None
        assert chosen.editor is not None

    def test_a_download_is_asked_for_and_then_the_command_lines(self, online, eid, tmp_path):  # noqa: F811
        [session] = online.add([ChosenSession(source=eid, label="EX_001/2023-05-18/001")])
        online.collect_at_hand()
        pane = ContentsPane(state_of(online, session), online)
        assert session.editor is None
        assert session.doing is None
        assert pane.fetch.visible
        assert pane._question.visible
        seen = []
        session.param.watch(lambda event: seen.append(event.new), "doing")
        pane._fetch([session])
        wait_for(session)
        assert session.error is None
        assert any(doing and doing.startswith("Downloading") for doing in seen)
        large = ("NIDQ", "ProbeSync", "RawEphys", "Video")
        assert session.editor.document == make_document(eid, one=online.one, exclude=large)
        assert not [name for name in session.editor.interfaces if name.startswith(large)]
        assert not list(Path(online.one.cache_dir).rglob("*.cbin"))

    def test_raw_recordings_are_downloaded_when_asked_for(self, online, eid):  # noqa: F811
        [session] = online.add([ChosenSession(source=eid, label="EX_001/2023-05-18/001", raw="download")])
        online.collector.collect(session).result(30)
        assert session.editor.document == make_document(eid, one=online.one)
        assert any(name.startswith("RawEphys") for name in session.editor.interfaces)

    def test_a_download_can_be_cancelled(self, online, eid):  # noqa: F811
        [session] = online.add([ChosenSession(source=eid, label="EX_001/2023-05-18/001", raw="download")])
        downloading = threading.Event()

        def follow(event):
            if event.new and event.new.startswith("Downloading"):
                downloading.set()
                online.collector.cancel(session)

        session.param.watch(follow, "doing")
        online.collector.collect(session).result(30)
        assert downloading.is_set()
        assert (session.editor, session.error, session.doing) == (None, None, None)
        assert not [path for path in Path(online.one.cache_dir).rglob("*") if path.suffix == ".part"]

    def test_what_waits_can_be_cancelled(self, bare_session, tmp_path):  # noqa: F811
        collector = Collector(tmp_path, lambda: None, workers=1)
        release = threading.Event()
        collector._threads.submit(release.wait)
        session = ChosenSession(source=str(bare_session), label="EX_001")
        future = collector.collect(session)
        assert session.doing == "Waiting"
        collector.cancel(session)
        release.set()
        assert future.cancelled()
        assert session.doing is None
        collector.shutdown()


class TestContents:
    @pytest.fixture
    def pane(self, services, chosen):
        return ContentsPane(state_of(services, chosen), services)

    def test_says_what_to_do_without_a_session(self, services):
        pane = ContentsPane(state_of(services), services)
        assert pane.lead.object == "No session is chosen yet. Choose one in Find."
        assert not pane._body.visible

    def test_accounts_for_every_file(self, pane, bare_session):  # noqa: F811
        files = {path for path in bare_session.rglob("*") if path.is_file()}
        assert set(pane.files.value["Dataset"]) == {path.relative_to(bare_session).as_posix() for path in files}
        size = sum(path.stat().st_size for path in files)
        assert pane.totals.object.startswith(f"{len(files)} files, {size / 1e3:.1f} kB: ")
        rows = json.loads(CliRunner().invoke(main, ["inspect", str(bare_session), "--json"]).stdout)
        pane.status.value = "Not converted"
        expected = {row["relative_path"]: row["reason"] for row in rows if row["status"] == "not converted"}
        shown = pane.files.value
        assert dict(zip(shown["Dataset"], shown["By, or why not"], strict=True)) == expected

    def test_sizes_of_a_family_are_those_of_its_files(self, pane, bare_session):  # noqa: F811
        wheel = [bare_session / path for path in WHEEL_FILES if "wheel" in path]
        row = pane.families.value.set_index("Interface").loc["Wheel"]
        assert row["Files"] == len(wheel)
        assert row["Size"] == f"{sum(path.stat().st_size for path in wheel) / 1e3:.1f} kB"

    def test_ticks_are_what_the_document_converts(self, pane, chosen):
        names = pane.families.value["Interface"].tolist()
        assert names == list(chosen.editor.document.source_data)
        assert pane.families.selection == list(range(len(names)))
        pane.families.selection = [row for row, name in enumerate(names) if name != "Wheel"]
        assert "Wheel" not in chosen.editor.document.source_data
        chosen.editor.undo()
        assert pane.families.selection == list(range(len(names)))

    def test_the_last_tick_stays(self, pane, chosen):
        before = chosen.editor.document
        pane.families.selection = []
        assert chosen.editor.document == before
        assert pane.families.selection


class TestLook:
    @pytest.fixture(scope="class")
    def nwbfile_path(self, bare_session, tmp_path_factory):  # noqa: F811
        record = AlyxRecord.from_rest(**example_alyx_answers(bare_session))
        document = make_document(bare_session, alyx=record, include=["Trials", "Wheel", "Licks"])
        return convert_document(document, tmp_path_factory.mktemp("written") / "session.nwb").nwbfile_path

    @pytest.fixture
    def pane(self, nwbfile_path, bare_session):  # noqa: F811
        output = nwbfile_path.parent
        (output / ".ibl_nwb_gui").mkdir(exist_ok=True)
        (output / ".ibl_nwb_gui/not_this.nwb").touch()
        return LookPane(GuiState(workspace=Workspace(bare_session, output)), theme="dark")

    def test_reads_nothing_before_somebody_looks(self, pane):
        assert pane.file.options == {}
        assert "Convert a session" in pane.lead.object

    def test_draws_what_the_file_has_in_the_theme_of_the_page(self, pane):
        pane.show()
        wait_until(lambda: pane.image.object is not None, "the figure")
        assert list(pane.file.options) == ["session.nwb"]
        assert list(pane.figure.options) == ["Session"]
        from io import BytesIO

        from PIL import Image

        pixels = np.asarray(Image.open(BytesIO(pane.image.object)).convert("RGB"))
        assert pixels[0, -1].tolist() == [0x16, 0x18, 0x1C]

    def test_saves_a_report_below_the_output_folder_only(self, pane, nwbfile_path):
        pane.show()
        wait_until(lambda: pane.figure.value is not None, "the file")
        pane.report.value = "/tmp/elsewhere.html"
        pane.save_report()
        assert "outside the folders" in pane.saved.object
        pane.report.value = "report.html"
        for expected in ("Wrote ", "exists"):
            pane.save_report()
            wait_until(lambda: not pane.save.loading, "the report")
            assert expected in pane.saved.object
        assert (nwbfile_path.parent / "report.html").read_text().startswith("<!DOCTYPE html>")

    def test_tells_what_is_wrong_with_a_file(self, pane, nwbfile_path):
        broken = nwbfile_path.with_name("broken.nwb")
        broken.write_bytes(b"nothing")
        try:
            pane.select(broken)
            wait_until(lambda: "cannot be read as an NWB file" in pane.message.object, "the file")
        finally:
            broken.unlink()


class TestAlyx2NWBGui:
    def test_opens_at_a_session_folder(self, bare_session, tmp_path):  # noqa: F811
        gui = Alyx2NWBGui(session_path=bare_session, nwbfile_saveloc=tmp_path / "out/file.nwb", open=False)
        server = gui.show(open=False, threaded=True)  # noqa: F811
        try:
            assert gui.services.workspace.output_folder == tmp_path / "out"
            assert gui.services.current.label == "EX_001/2023-05-18/001"
            assert gui.services.step == "Contents"
            session = requests.Session()
            assert session.get(server.url).status_code == 200
            assert "IBL to NWB" in session.get(f"http://127.0.0.1:{server.port}/").text
            wait_for(gui.services.current)
        finally:
            server.stop()

    def test_opens_what_a_search_finds(self, one, eid, tmp_path):  # noqa: F811
        gui = Alyx2NWBGui(one_obj=one, subject="EX_001", nwbfile_saveloc=tmp_path, open=False)
        assert [session.source for session in gui.services.chosen] == [eid]
        gui.close()
        with pytest.raises(SessionNotFoundError, match="no session with subject 'nobody'"):
            Alyx2NWBGui(one_obj=one, subject="nobody", nwbfile_saveloc=tmp_path, open=False)

    def test_makes_the_document_that_is_not_there_yet(self, bare_session, tmp_path):  # noqa: F811
        path = tmp_path / "session.json"
        for _ in range(2):
            gui = Alyx2NWBGui(
                session_path=bare_session, metadata_fileloc=path, nwbfile_saveloc=tmp_path / "out", open=False
            )
            gui.close()
            assert gui.services.current.source == str(path)
        make_document(bare_session).write_json(tmp_path / "expected.json")
        assert path.read_bytes() == (tmp_path / "expected.json").read_bytes()

    def test_a_notebook_shows_all_steps(self, bare_session, tmp_path):  # noqa: F811
        gui = Alyx2NWBGui(session_path=bare_session, nwbfile_saveloc=tmp_path, open=False)
        tabs = gui.panel[1]
        assert [name for name, _ in zip(tabs._names, tabs, strict=True)] == [
            "Find",
            "Contents",
            "Metadata",
            "Convert",
            "Check",
            "View",
            "Upload",
        ]
        assert tabs.active == 1
        wait_for(gui.services.current)
        gui.close()


class TestWindows:
    def test_a_page_that_is_loaded_again_finds_everything(self, services, chosen):
        services.current, services.step = chosen, "Metadata"
        selector, tabs = make_body(services)
        assert selector[0].value is chosen
        assert list(selector[0].options) == [chosen.label]
        assert tabs.active == 2

    def test_the_session_and_the_step_of_a_window_are_kept(self, services, chosen):
        [other] = services.add([ChosenSession(source="/nowhere/S2/2020-01-01/001", label=chosen.label)])
        selector, tabs = make_body(services)
        assert len(selector[0].options) == 2
        selector[0].value = other
        tabs.active = 1
        assert services.current is other
        assert services.step == "Contents"
        wait_for(other)


class TestCommand:
    def test_refuses_a_folder_that_is_not_there(self):
        result = CliRunner().invoke(main, ["gui", "/no/such/folder", "--no-browser"])
        assert result.exit_code == 2
        assert "There is no folder '/no/such/folder'" in result.output

    def test_says_how_to_install_it(self, monkeypatch):
        monkeypatch.setattr("ibl_nwb.gui.launching.find_spec", lambda name: None)
        result = CliRunner().invoke(main, ["gui", "--no-browser"])
        assert result.exit_code == 2
        assert 'pip install "ibl-nwb[gui]"' in result.output
