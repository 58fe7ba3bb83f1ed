"""The GUI in a browser: the whole way from a session to a file that is looked at, and who else may come near it.

Screenshots of all steps, 1280 and 1920 wide, light and dark, are put into ``gui_screenshots`` in the project's folder
if ``IBL_NWB_SCREENSHOTS`` or ``CI`` is set in the environment.
"""

import json
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("panel", reason="The GUI needs Panel.")
playwright_api = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser.")

from alyx_server import PASSWORD, USERNAME, AlyxServer  # noqa: E402
from gui_browser import CHROMIUM, STEPS, Gui, Window, launch, watch  # noqa: E402
from hdf5_content import read_all  # noqa: E402

from ibl_nwb.cli import main  # noqa: E402
from ibl_nwb.testing import make_example_session  # noqa: E402

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed.")

_PROJECT = Path(__file__).parent.parent

#: Small sessions, quickly made.
SMALL = dict(
    probes=("probe00",), raw_bands=("ap",), cameras=(), audio=False, passive=False, n_clusters=10, spikes_per_probe=2000
)

#: By ONE.
REMOTE = "EX_002/2023-05-18/002"

#: In the folder, with a recording that takes long enough to be cancelled.
LOCAL = "EX_003/2023-05-18/003"

MARKUP = '<img src=x onerror="window.hacked=1">'

LONG_NAME = "subject_with_a_name_that_is_much_longer_than_any_column_would_be_wide_"

#: Families that are left out of what is downloaded.
NOT_DOWNLOADED = ("NIDQ", "ProbeSync", "RawEphys", "Video")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of everything: ``store`` of the file server, ``sessions``, which is also ONE's cache, and ``output``."""
    folder = tmp_path_factory.mktemp("gui_browser")
    make_example_session(
        folder / "store",
        subject="EX_002",
        number=2,
        uuids_in_names=True,
        raw_duration_s=0.4,
        n_channels=16,
        n_trials=20,
        **SMALL,
    )
    lengthen(
        make_example_session(
            folder / "sessions",
            subject="EX_003",
            number=3,
            raw_duration_s=0.4,
            raw_format="bin",
            n_trials=24,
            **SMALL,
        ),
        to_s=120,
    )
    for number in range(300):
        path = folder / f"sessions/crowdedlab/Subjects/{LONG_NAME}{number:03d}/2024-01-01/001/alf"
        path.mkdir(parents=True)
    return folder


def lengthen(session_path, *, to_s):
    """Let a flat recording of 384 channels go on with zeros, which take no space on the disk and seconds to convert."""
    (recording,) = session_path.glob("raw_ephys_data/probe00/*.ap.bin")
    n_bytes = int(to_s * 30_000) * 385 * 2
    os.truncate(recording, n_bytes)
    meta = recording.with_suffix(".meta")
    text = re.sub("fileSizeBytes=.*", f"fileSizeBytes={n_bytes}", meta.read_text())
    meta.write_text(re.sub("fileTimeSecs=.*", f"fileTimeSecs={to_s}", text))


@pytest.fixture(scope="module")
def alyx(folder):
    """An Alyx that knows a session, and one of a subject with a bad name."""
    path = folder / "store/examplelab/Subjects/EX_002/2023-05-18/002"
    with AlyxServer(folder / "store") as server:
        server.add_example(path)
        known = server.rows["sessions"][0]
        eid = "00000000-0000-4000-8000-000000000000"
        server.rows["sessions"].append({**known, "id": eid, "subject": MARKUP, "number": 9})
        yield server


@pytest.fixture(scope="module")
def environment(folder):
    """What keeps a process in folders of its own, with the credentials of the test's Alyx."""
    home = folder / "home"
    home.mkdir()
    own = {name: str(home) for name in ("HOME", "USERPROFILE", "APPDATA")}
    login = {"ALYX_LOGIN": USERNAME, "ALYX_PWD": PASSWORD, "NO_PROXY": "127.0.0.1"}
    return {**own, **login, "IBL_NWB_DATA": str(home / "ibl_nwb_data")}


@pytest.fixture(scope="module")
def gui(folder, alyx, environment):
    """The command, as it is started for a folder of sessions and an Alyx."""
    sessions = folder / "sessions"
    gui = Gui(
        sessions,
        *("-o", folder / "output", "--one-url", alyx.url, "--cache-dir", sessions),
        environment=environment,
    )
    yield gui.start()
    gui.stop()


@pytest.fixture(scope="module")
def context():
    """A browser with a profile of its own."""
    with playwright_api.sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
        browser.close()


@pytest.fixture
def window(gui, context):
    """A window with the page in it; at the end nothing may have gone wrong, and nobody else have been asked."""
    window = Window(context, _shots())
    window.open(gui.url)
    yield window
    errors, hosts = window.errors, window.hosts()
    window.page.close()
    assert errors == []
    assert hosts == {"127.0.0.1"}


def _shots():
    if not (os.environ.get("IBL_NWB_SCREENSHOTS") or os.environ.get("CI")):
        return None
    folder = _PROJECT / "gui_screenshots"
    folder.mkdir(exist_ok=True)
    return folder


def test_the_whole_way(window, gui, folder, alyx, environment):
    choose_two_sessions(window)
    leave_out_a_family(window)
    correct_the_age(window)
    saved = save_document(window, folder)
    assert_document_is_that_of_the_command(saved, folder, alyx, environment)
    written = convert(window, folder)
    assert_file_is_that_of_the_command(written, saved, folder)
    cancel_a_conversion(window, folder)
    check(window, written)
    view(window)
    window.go_to("Upload")
    window.shoot("upload")

    window.page.reload()
    window.wait_for_page()
    assert_all_is_there_again(window)
    shoot_dark(window, gui)

    assert gui.stop().endswith("The page is closed. Edits and the queue are kept.\n")
    gui.start()
    window.open(gui.url)
    assert_all_is_there_again(window)


def choose_two_sessions(window):
    """Find: one session by a search with ONE, another one in the folder."""
    window.wait_for("Nothing is chosen yet.")
    window.shoot("find_empty")
    add_by_search(window, "EX_002")
    window.wait_for("Chosen: 1 session")

    window.press("In the sessions folder")
    window.press("Look for sessions")
    window.wait_for("301 sessions found.")
    window.page.locator(".tabulator-header-filter input").locator("visible=true").nth(1).press_sequentially("EX_003")
    window.page.locator(".tabulator-row", has_text=LONG_NAME).first.wait_for(state="detached")
    window.tick("EX_003")
    window.press("Add to the chosen")
    window.wait_for("Chosen: 2 sessions")
    window.shoot("find")


def add_by_search(window, subject):
    window.press("In Alyx, with ONE")
    window.field("Subject").fill(subject)
    window.press("Search")
    window.wait_for("1 session found.")
    window.tick(subject)
    window.press("Add to the chosen")
    window.wait_for(re.compile("^1 session added"))


def leave_out_a_family(window):
    """Contents: download the one session and take a tick out; say the time zone of the other."""
    window.go_to("Contents")
    window.choose_session(LOCAL)
    window.wait_for(re.compile("until the time zone of the rig's clock is"))
    zone = window.field("Time zone of the rig's clock")
    zone.press_sequentially("europe/lis")
    window.wait_for("Europe/Lisbon")
    zone.press("Enter")
    window.press("Use this time zone")
    window.wait_for(re.compile(rf"^{LOCAL}: /"))
    window.choose_session(REMOTE)
    window.press("Download this session")
    window.wait_for("What is converted")
    window.untick("AmbientSensors")
    window.shoot("contents")


def correct_the_age(window):
    """Metadata: what is wrong is told at the field while it is typed, and no more once it is right."""
    window.go_to("Metadata")
    age = window.field("Age")
    age.fill("")
    age.press_sequentially("26 weeks")
    place = window.page.locator(".field.has-problem", has=age)
    place.get_by_text("ISO 8601").wait_for()
    window.shoot("metadata_wrong")
    age.fill("P26W")
    place.wait_for(state="detached")
    age.press("Tab")
    window.wait_for("No problems.")
    window.shoot("metadata")


def save_document(window, folder):
    window.field("File in the output folder").fill("by_gui.json")
    window.press("Save document")
    window.wait_for(re.compile("^Saved "))
    return folder / "output" / "by_gui.json"


def assert_document_is_that_of_the_command(saved, folder, alyx, environment):
    by_command = folder / "by_command.json"
    run = CliRunner(env=environment).invoke(
        main,
        ["metadata", alyx.rows["sessions"][0]["id"], "-o", str(by_command), "--one-url", alyx.url]
        + ["--cache-dir", str(folder / "sessions"), *(word for name in NOT_DOWNLOADED for word in ("--exclude", name))],
    )
    assert run.exit_code == 0, run.output
    expected = json.loads(by_command.read_text("utf-8"))
    assert expected["metadata"]["Subject"]["age"] != "P26W"
    expected["metadata"]["Subject"]["age"] = "P26W"
    del expected["source_data"]["AmbientSensors"]
    assert json.dumps(json.loads(saved.read_text("utf-8"))) == json.dumps(expected)  # in the same order, too


def convert(window, folder):
    """Convert: each interface has its bar, and a file is there."""
    window.go_to("Convert")
    window.press("Convert this session")
    names = window.page.locator(".work-step .work-name")
    seen = watch(names.all_inner_texts, lambda _: window.button("Check it").count())
    assert {"SortedSpikesProbe00", "Trials", "Wheel"} <= set(seen)
    assert "AmbientSensors" not in seen
    window.shoot("convert")
    (path,) = (folder / "output").glob("*.nwb")
    return path


def assert_file_is_that_of_the_command(written, saved, folder):
    run = CliRunner().invoke(main, ["convert", str(saved), "-o", str(folder / "by_command")])
    assert run.exit_code == 0, run.output
    by_command = folder / "by_command" / written.name
    expected = read_all(by_command)
    assert len(expected) > 100
    assert read_all(written) == expected


def cancel_a_conversion(window, folder):
    """Convert: the bar of the recording grows; cancelled while it does, the conversion leaves nothing."""
    before = sorted((folder / "output").rglob("[!.]*.nwb*"))
    window.choose_session(LOCAL)
    window.press("More")
    window.field("Threads for raw recordings").fill("1")
    window.field("Threads for raw recordings").press("Tab")
    window.press("Convert this session")
    bar = window.page.locator(".work-step", has_text="RawEphys").locator("progress")
    values = watch(
        lambda: bar.evaluate_all("bars => bars.map(bar => bar.value)"),
        lambda seen: sum(0 < value < 1 for value in seen) >= 3,
    )
    assert values == sorted(values)
    assert list_parts(folder / "output")
    window.shoot("convert_running")
    window.press("Cancel")
    window.wait_for("Cancelled. No file was left.")
    assert not list_parts(folder / "output")
    assert sorted((folder / "output").rglob("[!.]*.nwb*")) == before


def list_parts(folder):
    """Files that are being written."""
    return list(folder.rglob(".*.part*"))


def check(window, written):
    window.choose_session(REMOTE)
    window.row("cancelled").wait_for()
    window.repeat(lambda: window.select(REMOTE), "Check it")
    window.press("Check it")
    window.press("Check the file")
    window.wait_for(re.compile(r"^All \d+ datasets that were compared equal their source\."))
    window.wait_for(re.compile("^DANDI would take the file"))
    assert window.field("NWB file").input_value() == written.name
    window.shoot("check")


def view(window):
    window.go_to("View")
    image = window.page.locator("img").locator("visible=true").first
    image.wait_for()
    width, height = image.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])")
    assert width > 300
    assert height > 200
    window.shoot("view")


def assert_all_is_there_again(window):
    """Chosen sessions, edits and queue are those that were."""
    window.choose_session(REMOTE)
    window.go_to("Find")
    window.wait_for("Chosen: 2 sessions")
    window.go_to("Contents")
    window.row("AmbientSensors").wait_for()
    assert not window.row("AmbientSensors").locator("input[type=checkbox]").is_checked()
    assert window.row("Wheel").locator("input[type=checkbox]").is_checked()
    window.go_to("Metadata")
    window.wait_for("No problems.")
    assert window.field("Age").input_value() == "P26W"
    window.go_to("Convert")
    assert "done" in window.row(REMOTE).inner_text()
    assert "cancelled" in window.row(LOCAL).inner_text()


def shoot_dark(window, gui):
    """All steps in the dark theme, which is another address of the same page."""
    window.open(f"{gui.origin}/?theme=dark")
    for step in STEPS:
        window.go_to(step)
        window.page.locator(".lead").locator("visible=true").first.wait_for()
        if step == "View":
            window.page.locator("img").locator("visible=true").first.wait_for()
        window.shoot(f"{step.lower()}_dark")
    window.open(f"{gui.origin}/")


def test_markup_in_names_is_text(window, gui):
    window.go_to("Find")
    add_by_search(window, "EX_002")
    window.go_to("Contents")
    window.wait_for(re.compile("is not on this machine yet|^What is converted"))
    window.press("Download this session", if_there=True)
    window.wait_for("What is converted")
    window.go_to("Find")
    add_by_search(window, MARKUP)
    label = f"{MARKUP}/2023-05-18/009"
    watch(lambda: [], lambda _: window.field("Session").locator("option:checked").inner_text() == label)
    window.row(label).wait_for()
    window.go_to("Contents")
    window.wait_for(re.compile(f"^{re.escape(label)} is not on this machine yet"))
    window.repeat(lambda: window.press("Download this session", if_there=True), "Try again")  # it cannot be opened
    window.choose_session(REMOTE)

    window.go_to("Metadata")
    before = window.field("Subject ID").input_value()
    window.field("Subject ID").fill(f"/{MARKUP}")
    window.field("Subject ID").press("Tab")
    window.wait_for(re.compile("Error at Subject › subject_id|Warning at Subject › subject_id"))
    window.field("Lab").fill(MARKUP)
    window.field("Lab").press("Tab")
    window.page.locator(".ace_line", has_text="onerror").wait_for()
    window.field("Find a field").press_sequentially("onerror")
    window.page.locator(".field").locator("visible=true").first.wait_for()
    window.press("Show all fields")
    window.press("Undo")
    window.press("Undo")
    watch(lambda: [], lambda _: window.field("Subject ID").input_value() == before)
    for step in STEPS:
        window.go_to(step)
        assert window.page.locator("img[src=x]").count() == 0
    assert window.page.evaluate("window.hacked") is None


FOREIGN_PAGE = """async (origin) => {
    const read = async (options) => {
        try { return await (await fetch(origin + "/", options)).text(); } catch (error) { return "refused"; }
    };
    const open = () => new Promise((done) => {
        const socket = new WebSocket(origin.replace("http", "ws") + "/ws", ["bokeh", "anything"]);
        socket.onopen = () => done("open");
        socket.onerror = () => done("refused");
    });
    const load = (tag, address) => new Promise((done) => {
        const element = document.createElement(tag);
        element.onload = () => done("loaded");
        element.onerror = () => done("refused");
        element.src = origin + address;
        document.body.append(element);
    });
    return {
        plain: await read({}),
        withCookies: await read({credentials: "include"}),
        opaque: await read({mode: "no-cors", credentials: "include"}),
        socket: await open(),
        script: await load("script", "/static/js/bokeh.min.js"),
    };
}"""


def test_a_page_from_elsewhere_gets_nothing(window, gui, context):
    with ThreadingHTTPServer(("127.0.0.1", 0), _ForeignHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        foreign, cookies = context.new_page(), []
        foreign.on("request", lambda request: cookies.append(request.all_headers().get("cookie", "")))
        foreign.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        found = foreign.evaluate(FOREIGN_PAGE, gui.origin)
        foreign.close()
        server.shutdown()
    assert context.cookies(gui.origin), "the browser has the cookie that it could have sent"
    assert found.pop("opaque") in ("", "refused")
    assert set(found.values()) == {"refused"}
    own = "async (address) => (await fetch(address)).status"
    assert window.page.evaluate(own, "/static/js/bokeh.min.js") == 200


class _ForeignHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>Elsewhere</title><body></body>")

    def log_message(self, *_):
        pass


def test_hundreds_of_sessions(window):
    window.go_to("Find")
    window.press("In the sessions folder")
    begun = time.monotonic()
    window.press("Look for sessions")
    window.wait_for(re.compile(r"^30\d sessions found\."))
    window.row(LONG_NAME).wait_for()
    assert time.monotonic() - begun < 10  # one or two, if nothing else runs
    window.page.get_by_role("button", name="Last Page").locator("visible=true").first.click()
    cell = window.row(f"{LONG_NAME}299").locator("[tabulator-field=Subject]")
    cell.wait_for()
    is_cut = "text => text.scrollWidth > text.clientWidth && getComputedStyle(text).textOverflow == 'ellipsis'"
    watch(lambda: [], lambda _: cell.locator("div").evaluate(is_cut))
    assert window.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    window.shoot("find_hundreds")
