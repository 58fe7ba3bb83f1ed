"""The GUI as people use it: the command in a process of its own, and a browser that is pressed and typed into."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

#: Debian's Chromium, None where there is none.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

#: Nothing that the browser would ask for by itself.
_SILENT = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

#: Widths of screenshots, with a height.
_SCREENS = {1280: 900, 1920: 1080}

STEPS = ("Find", "Contents", "Metadata", "Convert", "Check", "View", "Upload")

#: How long a busy machine may take for something that takes a second or two.
PATIENCE_MS = 60_000


class Gui:
    """``ibl-nwb gui`` in a process of its own.

    Parameters
    ----------
    arguments : sequence of path-like
        Of the command.
    environment : dict of str to str
        Variables of the process, beside those of this one.
    """

    def __init__(self, *arguments, environment):
        self._arguments, self._environment = arguments, environment
        self._process = None

    def start(self):
        """Start it, and return once it has told its address."""
        command = Path(sys.executable).with_name("ibl-nwb")
        self._process = subprocess.Popen(
            [command, "gui", *map(str, self._arguments), "--no-browser"],
            env={**os.environ, **self._environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        told = self._process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", told)
        assert found, f"no address in {told!r}"
        self.url = found[0]
        return self

    def stop(self):
        """End it as Ctrl-C does; returns what it printed after its address."""
        if self._process is None:
            return ""
        self._process.send_signal(signal.SIGINT)
        printed, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        self._process = None
        return printed

    @property
    def origin(self):
        """Address without the token."""
        return f"http://{urlsplit(self.url).netloc}"


class Window:
    """A window of the browser, and everything that went wrong in it.

    Parameters
    ----------
    context : playwright.sync_api.BrowserContext
        The browser's profile.
    shots : pathlib.Path or None
        Folder of screenshots; None for none.

    Attributes
    ----------
    errors : list of str
        Messages of errors in the console, exceptions, and requests that failed.
    asked : list of str
        Addresses of all requests and websockets.
    """

    def __init__(self, context, shots=None):
        self.errors, self.asked, self._shots = [], [], shots
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.page.on("requestfailed", lambda request: self._note_failure(request))

    def open(self, url):
        """Open an address, and wait until the page is there."""
        self.page.goto(url)
        self.wait_for_page()

    def wait_for_page(self):
        """Wait until the steps are there, whichever is shown."""
        self.page.locator(".bk-tab", has_text=STEPS[-1]).wait_for()

    def go_to(self, step):
        """Press a step's tab."""
        self.page.locator(".bk-tab", has_text=step).click()
        self.page.locator(".bk-tab.bk-active", has_text=step).wait_for()

    def press(self, name, *, if_there=False):
        """Press a button that can be seen; with ``if_there`` nothing happens without it."""
        button = self.button(name)
        if button.count() or not if_there:
            button.click()

    def repeat(self, action, there):
        """Do something, again if the page was just being made anew, until a button is there."""
        end = time.monotonic() + PATIENCE_MS / 1000
        while not self.button(there).count():
            assert time.monotonic() < end, f"waited in vain for '{there}'"
            action()
            self.page.wait_for_timeout(2000)

    def button(self, name):
        """The button of this name that can be seen."""
        return self.page.get_by_role("button", name=name, exact=True).locator("visible=true")

    def field(self, label):
        """The field with this label, whatever marks follow it."""
        return self.page.get_by_label(re.compile(rf"^{re.escape(label)}( [*◆]| \?)*\s*$")).locator("visible=true")

    def text(self, text):
        """The text, where it can be seen; a pattern of ``re`` for part of one."""
        return self.page.get_by_text(text).locator("visible=true").first

    def wait_for(self, text):
        """Wait until a text can be seen."""
        self.text(text).wait_for()

    def row(self, text):
        """The row of a table that can be seen and holds a text."""
        return self.page.locator(".tabulator-row", has_text=text).locator("visible=true").first

    def tick(self, text):
        """Tick the row of a table."""
        self.row(text).locator("input[type=checkbox]").check()

    def untick(self, text):
        """Take the tick of a row out."""
        self.row(text).locator("input[type=checkbox]").uncheck()

    def select(self, text):
        """Press the row of a table."""
        self.row(text).click()

    def choose_session(self, label):
        """Make another of the chosen sessions the current one."""
        self.field("Session").select_option(label=label)

    def shoot(self, name):
        """Keep what the window shows in both widths, if screenshots are wanted."""
        if self._shots is None:
            return
        for width, height in _SCREENS.items():
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.wait_for_timeout(300)  # for tables to take their width
            self.page.screenshot(path=self._shots / f"{name}_{width}.png")
        self.page.set_viewport_size({"width": 1280, "height": _SCREENS[1280]})

    def _note_console(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def _note_failure(self, request):
        if request.failure != "net::ERR_ABORTED":  # of a page that is left
            self.errors.append(f"{request.url}: {request.failure}")

    def hosts(self):
        """The machines that were asked for something."""
        return {urlsplit(url).hostname for url in self.asked if urlsplit(url).scheme not in ("blob", "data")}


def launch(playwright):
    """Debian's Chromium, which asks for nothing by itself."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=list(_SILENT))


def watch(read, until):
    """Collect what a function gives, each value once, until a function of what was seen is true."""
    seen, end = [], time.monotonic() + PATIENCE_MS / 1000
    while not until(seen):
        assert time.monotonic() < end, f"waited in vain; seen: {seen}"
        seen += [value for value in read() if value not in seen]
        time.sleep(0.05)
    return seen
