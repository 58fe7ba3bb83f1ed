"""Panes of the GUI that convert, check and upload, without a browser."""

import html
import json
import time
from pathlib import Path

import h5py
import pandas as pd
import panel as pn
import pytest

from ibl_nwb.alyx import AlyxRecord
from ibl_nwb.conversion import make_document
from ibl_nwb.gui import check, convert, upload
from ibl_nwb.gui.bars import describe_seconds, describe_step, draw_steps
from ibl_nwb.gui.check import CheckPane
from ibl_nwb.gui.conversion_queue import ConversionQueue
from ibl_nwb.gui.convert import ConvertPane
from ibl_nwb.gui.editor import DocumentEditor
from ibl_nwb.gui.progress import ProgressWriter, Step, read_progress
from ibl_nwb.gui.state import ChosenSession, GuiState
from ibl_nwb.gui.upload import UploadPane
from ibl_nwb.gui.workspace import Workspace
from ibl_nwb.products import dandi_path
from ibl_nwb.publish import find_api_key, validate_files
from ibl_nwb.testing import example_alyx_answers, make_example_session
from ibl_nwb.verify import verify

#: How long a process on a busy machine may take.
PATIENCE_S = 100.0


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
def document(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions")
    session = make_example_session(folder, probes=(), cameras=(), audio=False, passive=False, n_trials=6)
    alyx = AlyxRecord.from_rest(**example_alyx_answers(session))
    return make_document(session, alyx=alyx, include=["Wheel", "Trials"])


@pytest.fixture
def state(document, tmp_path):
    """A window with one session chosen, and the folders of its page."""
    sessions = Path(document.session.session_path).parents[4]
    (tmp_path / "out").mkdir()
    chosen = ChosenSession(source=document.session.session_path, label="EX_001/2023-05-18/001")
    chosen.editor = DocumentEditor(document)
    return GuiState(workspace=Workspace(sessions, tmp_path / "out"), chosen=[chosen], current=chosen)


@pytest.fixture
def queue(state):
    queue = ConversionQueue(state.workspace.state_folder)
    yield queue
    queue.shutdown()


@pytest.fixture
def told(monkeypatch):
    """What panes tell at the corner of the page."""
    sentences = []
    for module in (convert, check, upload):
        monkeypatch.setattr(module, "notify", lambda sentence, kind="info": sentences.append(sentence))
    return sentences


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


def texts_of(view):
    return " ".join(str(pane.object) for pane in view.select(pn.pane.Str) if pane.visible)


def tables_of(view):
    return [table.value for table in view.select(pn.widgets.Tabulator)]


def convert_one(state, queue, **options):
    pane = ConvertPane(state, queue)
    for name, value in options.items():
        getattr(pane, name).value = value
    pane.add([state.current]).join()
    assert queue.wait(PATIENCE_S)
    pane.refresh()
    return pane


def test_a_page_without_sessions_says_what_to_do(tmp_path):
    (tmp_path / "out").mkdir()
    state = GuiState(workspace=Workspace(tmp_path, tmp_path / "out"))
    queue = ConversionQueue(tmp_path / "state", workers=0)
    pane = ConvertPane(state, queue)
    assert pane.convert.disabled
    assert "Choose a session in Find" in texts_of(pane.view)
    assert not pane.queue_view.visible
    to_check = CheckPane(state, queue)
    assert to_check.check.disabled
    assert "no NWB file yet" in texts_of(to_check.view)
    assert not UploadPane(state, queue).work.view.visible
    queue.shutdown()


def test_conversion_is_shown_and_its_file_handed_on(state, queue):
    gone_to = []
    pane = ConvertPane(state, queue, on_check=gone_to.append, on_view=gone_to.append)
    pane.convert.param.trigger("clicks")
    wait_until(lambda: queue.jobs, "the job is queued")
    (job,) = queue.jobs
    assert queue.wait(PATIENCE_S)
    pane.refresh()
    assert job.state == "done", job.error
    row = pane.table.value.iloc[0]
    assert (row["Session"], row["State"], row["%"]) == ("EX_001/2023-05-18/001", "done", 100)
    assert job.nwbfile_path.name in row["Result"]
    assert job.nwbfile_path.parent == state.workspace.output_folder
    assert state.current.nwbfile_path == job.nwbfile_path
    assert str(job.nwbfile_path) in pane.told.object
    pane.check.param.trigger("clicks")
    assert gone_to == [job.nwbfile_path]


def test_options_become_those_of_the_conversion(state):
    queue = ConversionQueue(state.workspace.state_folder, workers=0)
    pane = ConvertPane(state, queue)
    pane.output.value = "sub/folder"
    pane.extent.value, pane.videos.value, pane.backend.value = True, "copy", "zarr"
    pane.start_s.value, pane.stop_s.value, pane.threads.value, pane.memory.value = 1.5, 3.0, 2, 500
    pane.overwrite.value = True
    pane.add([state.current]).join()
    (job,) = queue.jobs
    assert job.output == state.workspace.output_folder / "sub/folder"
    assert job.options == {
        "stub_test": True,
        "overwrite": True,
        "backend": "zarr",
        "videos": "copy",
        "start_s": 1.5,
        "stop_s": 3.0,
        "jobs": 2,
        "memory_mb": 500,
    }
    queue.shutdown()


@pytest.mark.parametrize("given", ["../elsewhere", "/tmp", "~/nwb", "link"])
def test_output_outside_the_folder_is_refused(state, queue, told, given):
    (state.workspace.output_folder / "link").symlink_to("/tmp")
    pane = ConvertPane(state, queue)
    pane.output.value = given
    pane.add([state.current]).join()
    assert queue.jobs == []
    assert "outside the folders" in told[0]


def test_bounds_that_are_none_are_refused(state, queue, told):
    pane = ConvertPane(state, queue)
    pane.start_s.value, pane.stop_s.value = 5.0, 1.0
    pane.add([state.current]).join()
    assert queue.jobs == []
    assert len(told) == 1


def test_what_forbids_a_conversion_is_named_before_it_starts(state, queue, told):
    shown = []
    pane = ConvertPane(state, queue, on_show_problem=shown.append)
    editor = state.current.editor
    assert editor.problems is not None  # the session is opened
    editor.set(("NWBFile", "session_start_time"), "not a time")
    assert pane.problems.visible
    assert pane.convert.disabled
    assert "NWBFile › session_start_time" in texts_of(pane.problems)
    (link,) = pane.problems.select(pn.widgets.Button)
    link.param.trigger("clicks")
    assert shown == [("NWBFile", "session_start_time")]
    pane.add([state.current]).join()
    assert queue.jobs == []
    assert "cannot be converted yet" in told[0]

    editor.undo()
    assert not pane.problems.visible
    assert not pane.convert.disabled


def test_retry_takes_the_document_as_it_is_edited_now(state, queue):
    editor = state.current.editor
    start = editor.get(("NWBFile", "session_start_time"))
    editor.set(("NWBFile", "session_start_time"), "2023-05-18T14:30:00")
    job = queue.add(state.current.label, editor.document, state.workspace.output_folder)
    assert queue.wait(PATIENCE_S)
    assert job.state == "failed"
    pane = ConvertPane(state, queue)
    assert "no time zone" in pane.told.object
    editor.set(("NWBFile", "session_start_time"), start)
    pane.retry.param.trigger("clicks")
    assert queue.wait(PATIENCE_S)
    assert job.state == "done", job.error


def test_three_hundred_jobs_are_one_table(state, document, tmp_path):
    queue = ConversionQueue(tmp_path / "state", workers=0)
    for number in range(300):
        queue.add(f"<b>{number}</b>", document, state.workspace.output_folder)
    pane = ConvertPane(state, queue)
    assert len(pane.table.value) == 300
    before = pane.table.value
    queue.cancel(queue.jobs[7])
    pane.refresh()
    assert pane.table.value is before  # only a cell was changed
    assert pane.table.value["State"].tolist().count("cancelled") == 1
    pane.cancel_all.param.trigger("clicks")
    pane.clear.param.trigger("clicks")
    pane.refresh()
    assert queue.jobs == []
    assert not pane.queue_view.visible
    queue.shutdown()


def test_a_good_file_is_said_to_be_good_and_the_report_can_be_saved(state, queue, document, tmp_path):
    convert_one(state, queue)
    pane = CheckPane(state, queue)
    wait_until(lambda: pane.file.value is not None, "the files are listed")
    assert pane.file.value == str(state.current.nwbfile_path)
    pane.start()
    assert pane.verifying.is_running
    wait_until(lambda: not (pane.refresh() or pane.check.disabled), "the checks are done")
    verdicts = [one.object for one in pane.results.select(pn.pane.Str) if "good" in one.css_classes]
    assert len(verdicts) == 2, texts_of(pane.view)
    report = json.loads(pane.report().read())
    document.write_json(tmp_path / "document.json")
    assert report["verification"] == verify(state.current.nwbfile_path, tmp_path / "document.json").to_dict()
    assert report["validation"] == json.loads(json.dumps(validate_files([state.current.nwbfile_path]).to_dict()))
    by_interface = pane.results.select(pn.widgets.Tabulator)[0].value.set_index("Interface")
    assert {"Wheel", "Trials"} <= set(by_interface.index)
    n_equal = sum("_ibl_wheel" in row["dataset"] for row in report["verification"]["rows"])
    assert by_interface.loc["Wheel", "equal"] == n_equal > 0

    again = CheckPane(state, queue)  # a page that is loaded again
    wait_until(lambda: again.file.value is not None, "the files are listed")
    wait_until(lambda: texts_of(again.results) == texts_of(pane.results), "they are the same")


def test_a_file_with_a_wrong_value_is_said_to_be_wrong(state, queue):
    convert_one(state, queue)
    with h5py.File(state.current.nwbfile_path, "r+") as file:
        found = []
        file.visititems(lambda name, node: found.append(name) if "wheel" in name.lower() and "data" in name else None)
        wheel = next(file[name] for name in found if isinstance(file[name], h5py.Dataset) and file[name].ndim == 1)
        wheel[3] += 1.0
        name = wheel.name
        del file["general/subject/species"]
    pane = CheckPane(state, queue)
    wait_until(lambda: pane.file.value is not None, "the files are listed")
    pane.start()
    wait_until(lambda: not (pane.refresh() or pane.check.disabled), "the checks are done")
    verdicts = [one.object for one in pane.results.select(pn.pane.Str) if "bad" in one.css_classes]
    assert len(verdicts) == 2
    counts, rows, findings = tables_of(pane.results)
    assert counts.iloc[0]["Interface"] == "Wheel"  # the worst first
    first = rows.iloc[0]
    assert first["Status"] == "different"
    assert first["Object in the file"].strip("/") in name
    assert "first at [3]" in first["Why"]
    assert findings.iloc[0]["Level"] == "error"
    assert any("species" in name for name in findings["Check"])
    assert all(findings["What to do"][findings["Level"] == "error"])


def test_a_stub_is_validated_and_not_compared(state, queue):
    convert_one(state, queue, extent=True)
    pane = CheckPane(state, queue)
    wait_until(lambda: pane.file.value is not None, "the files are listed")
    pane.start()
    assert "small part" in texts_of(pane.view)
    assert [name.split()[0] for name in queue.tasks] == ["validate"]
    pane.validating.task.cancel()
    assert pane.validating.task.wait(PATIENCE_S)
    pane.refresh()
    assert pane.validating.task.state == "cancelled"
    assert not pane.check.disabled


def test_only_files_of_the_folders_are_checked(state, queue, told, tmp_path):
    pane = CheckPane(state, queue)
    outside = tmp_path / "outside.nwb"
    outside.touch()
    pane.file.options, pane.file.value = {"x": str(outside)}, str(outside)
    pane.start()
    assert queue.tasks == {}
    assert "outside the folders" in told[0]


@pytest.fixture
def server(monkeypatch):
    pytest.importorskip("dandi", reason='dandi is not installed: pip install "ibl-nwb[dandi]"')
    from dandi_server import API_KEY, DandiServer

    with DandiServer() as server:
        monkeypatch.setenv(server.key_variable, API_KEY)
        yield server


def run_upload(pane, queue, *, dry_run):
    pane.start(dry_run=dry_run)
    task = queue.tasks["upload"]
    assert task.wait(PATIENCE_S)
    pane.refresh()
    return task


def test_upload_sends_what_the_dry_run_told(state, queue, document, server, told):
    from dandi_server import API_KEY

    place = dandi_path(document.metadata, "whole", ["behavior"], "hdf5")
    convert_one(state, queue, output=str(place))
    pane = UploadPane(state, queue)
    pane.dandiset.value, pane.instance.value = server.identifier, pane.instance.options[-1]
    pane.address.value = server.url

    planned = run_upload(pane, queue, dry_run=True)
    assert planned.state == "done", planned.error
    assert tables_of(pane.results)[0].to_dict("records") == [{"State": "planned", "File": place.as_posix(), "Why": ""}]
    assert server.assets == {}

    sent = run_upload(pane, queue, dry_run=False)
    assert sent.state == "done", sent.error
    assert tables_of(pane.results)[0]["State"].tolist() == ["uploaded"]
    assert set(server.paths()) == {place.as_posix()}
    assert server.content(place.as_posix()) == (state.workspace.output_folder / place).read_bytes()
    assert any(step.name == place.name and step.unit == "B" and step.fraction == 1 for step in sent.steps)
    assert told == []
    kept = [path for path in state.workspace.state_folder.rglob("*") if path.is_file()]
    assert kept
    assert not any(API_KEY.encode() in path.read_bytes() for path in kept)


def test_upload_without_a_key_is_a_sentence(state, queue, document, server, monkeypatch):
    monkeypatch.delenv(server.key_variable)
    place = dandi_path(document.metadata, "whole", ["behavior"], "hdf5")
    convert_one(state, queue, output=str(place))
    pane = UploadPane(state, queue)
    pane.dandiset.value, pane.instance.value = server.identifier, pane.instance.options[-1]
    pane.address.value = server.url
    assert run_upload(pane, queue, dry_run=True).state == "failed"
    assert "There is no API key" in pane.work.message.object


@pytest.mark.parametrize(
    ("folder", "dandiset", "sentence"),
    [("/", "000409", "outside the folders"), ("..", "000409", "outside the folders"), ("", " ", "Which Dandiset")],
)
def test_upload_of_other_folders_or_without_number_is_refused(state, queue, told, folder, dandiset, sentence):
    pane = UploadPane(state, queue)
    pane.folder.value, pane.dandiset.value = folder, dandiset
    pane.start(dry_run=True)
    assert queue.tasks == {}
    assert sentence in told[0]


def test_the_page_says_where_a_key_is_and_not_what_it_is(state, queue, monkeypatch):
    pane = UploadPane(state, queue)
    pane.find_key()
    wait_until(lambda: pane.key.object, "the key was looked for")
    assert "There is no API key for dandi" in pane.key.object
    monkeypatch.setenv("DANDI_SANDBOX_API_KEY", "secret-1")
    pane.instance.value = "dandi-sandbox"
    assert pane.key.object == ""
    pane.find_key()
    wait_until(lambda: pane.key.object, "the key was looked for")
    assert "the environment variable DANDI_SANDBOX_API_KEY" in pane.key.object
    assert "secret-1" not in pane.key.object
    assert find_api_key("dandi") is None


def test_names_are_shown_as_text():
    drawn = draw_steps([Step('<img src=x onerror="alert(1)">', 1, 2, "B", 0.5, 2)])
    assert "<img" not in drawn
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in drawn


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step("a"), "waiting"),
        (Step("a", 0, 1), "0 of 1"),
        (Step("a", 1, 1), "done"),
        (Step("a", 2, 5, "file", 1.0, 3.0), "2 of 5, 3 s to go"),
        (Step("a", 1.5e9, 3e9, "B", 5e7, 30), "1.5 GB of 3.0 GB, 50.0 MB/s, 30 s to go"),
        (Step("a", 3e9, 3e9, "B", 5e7), "3.0 GB, done"),
    ],
)
def test_a_step_in_words(step, text):
    assert describe_step(step).replace("at work", "0 of 1") == text


def test_a_time_in_words():
    assert [describe_seconds(s) for s in (0.4, 59.6, 200, 7500)] == ["0 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]


def test_bars_of_one_name_are_one_step(tmp_path):
    writer = ProgressWriter(tmp_path / "progress.json")
    writer.expect({"RawEphys": 3.0, "Wheel": 1.0})
    with (
        writer.bar(total=100, desc="RawEphys", unit="B") as data,
        writer.bar(total=50, desc="RawEphys", unit="B") as times,
    ):
        data.update(60)
        times.update(50)
        raw, wheel = read_progress(tmp_path / "progress.json").steps
        assert (raw.done, raw.total, raw.unit) == (110, 150, "B")
        assert raw.eta_s is not None
        assert (wheel.done, wheel.total, wheel.fraction) == (0, 0, 0)
        data.update(40)
    for _ in writer.bar([1, 2, 3], desc="Checks"):
        pass
    progress = read_progress(tmp_path / "progress.json")
    steps = progress.steps
    assert progress.fraction == (3 + 0 + 1) / 5
    assert [(step.name, step.fraction) for step in steps] == [("RawEphys", 1), ("Wheel", 0), ("Checks", 1)]
    assert pd.isna(steps[1].rate) or steps[1].rate is None


def test_an_error_with_markup_is_shown_as_text(state, queue):
    job = queue.add("<b>name</b>", state.current.editor.document, state.workspace.output_folder)
    queue.cancel(job)
    assert queue.wait(PATIENCE_S)
    job.state, job.error = "failed", "<script>alert(1)</script>"
    pane = ConvertPane(state, queue)
    title, told = (html.unescape(text.get_root().text) for text in (pane.title, pane.told))  # Panel's own escapes
    assert title == "<pre>&lt;b&gt;name&lt;/b&gt;</pre>"
    assert told == "<pre>&lt;script&gt;alert(1)&lt;/script&gt;</pre>"
