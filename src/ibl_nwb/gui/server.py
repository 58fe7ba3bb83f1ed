"""The server of the page: for this machine and for whoever has the token, and nobody else.

Every request passes one gate before anything else looks at it, whatever it asks for: page, static file or websocket.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import signal
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.routing import Matcher, Rule
from tornado.web import OutputTransform, RequestHandler

from ..errors import UsageError

_ADDRESS = "127.0.0.1"

#: What a browser may call this machine; another name that leads here is somebody's attempt to rebind DNS.
_HOST_NAMES = (_ADDRESS, "localhost")

_LANDING_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>IBL to NWB</title></head><body>
<script>location.replace(matchMedia("(prefers-color-scheme: dark)").matches ? "/?theme=dark" : "/")</script>
<p><a href="/">Open the page</a></p></body></html>
"""


class Gate:
    """Who may come in: requests to this machine by its own name, from its own page, that know the token.

    Parameters
    ----------
    token : str
        What the address that is printed holds.
    port : int
        Port of the server.
    """

    def __init__(self, token: str, port: int):
        self.token = token
        self.hosts = tuple(f"{name}:{port}" for name in _HOST_NAMES)
        # Cookies know no ports: two servers on one machine must not take each other's away.
        self.cookie_name = f"ibl_nwb_gui_{port}"
        # Not the token itself: other servers of this machine are sent the cookie, too.
        self.cookie_value = secrets.token_urlsafe(32)

    def refuse(self, request: HTTPServerRequest) -> str | None:
        """Why a request is refused, None if it may come in."""
        if request.headers.get("Host", "").lower() not in self.hosts:
            return "This page is only there under the address that the terminal shows."
        origin = request.headers.get("Origin")
        is_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
        if (origin is not None or is_websocket) and not self._is_own(origin or ""):
            return "A page from elsewhere may not ask for anything here."
        if self.brings_token(request) or self._brings_cookie(request):
            return None
        return "The token is missing or wrong. Open the address that the terminal shows."

    def brings_token(self, request: HTTPServerRequest) -> bool:
        """Whether a request for the page itself has the token in its address."""
        given = request.query_arguments.get("token", [b""])[-1]
        return request.path == "/" and hmac.compare_digest(given, self.token.encode())

    def _brings_cookie(self, request: HTTPServerRequest) -> bool:
        cookie = request.cookies.get(self.cookie_name)
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.cookie_value.encode())

    def _is_own(self, origin: str) -> bool:
        parts = urlsplit(origin)
        return parts.scheme == "http" and parts.netloc.lower() in self.hosts


class _When(Matcher):
    """Requests of which something is true."""

    def __init__(self, is_true: Callable[[HTTPServerRequest], bool]):
        self.is_true = is_true

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return {} if self.is_true(request) else None


class _RefusalHandler(RequestHandler):
    def initialize(self, gate: Gate) -> None:
        self.gate = gate

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{self.gate.refuse(self.request)}\n")


class _LandingHandler(RequestHandler):
    """Exchanges the token for a cookie, and leads on to an address without the token, in the system's theme.

    By a page and not by a redirection: a browser that follows a link from elsewhere would not send a strict cookie.
    """

    def initialize(self, gate: Gate) -> None:
        self.gate = gate

    def get(self) -> None:
        self.set_cookie(self.gate.cookie_name, self.gate.cookie_value, httponly=True, samesite="Strict", path="/")
        self.finish(_LANDING_PAGE)


def _headers_class(hosts: tuple[str, ...]) -> type[OutputTransform]:
    """What adds the security headers to every answer of a server with these hosts."""
    sockets = " ".join(f"ws://{host}" for host in hosts)
    # Bokeh's page has a script of its own; its callbacks, and Panel's modules, are compiled in the browser.
    policy = (
        "default-src 'none'; script-src 'self' blob: 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' {sockets}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    class SecurityHeaders(OutputTransform):
        def transform_first_chunk(
            self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
        ) -> tuple[int, HTTPHeaders, bytes]:
            headers["Content-Security-Policy"] = policy
            headers["Referrer-Policy"] = "no-referrer"
            headers["X-Frame-Options"] = "DENY"
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Cross-Origin-Opener-Policy"] = "same-origin"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
            if headers.get("Content-Type", "").startswith("text/html"):
                headers["Cache-Control"] = "no-store"
            return status_code, headers, chunk

    return SecurityHeaders


class GuiServer:
    """A server of one page, listening on this machine only.

    Parameters
    ----------
    make_page : callable
        Gives the page of a window, a Panel viewable or template; called for each window.
    port : int, default: 0
        Port; 0 for any that is free.
    on_stop : callable, optional
        Called once when the server has ended.

    Attributes
    ----------
    url : str
        Address with the token in it.
    """

    def __init__(self, make_page: Callable[[], Any], *, port: int = 0, on_stop: Callable[[], None] | None = None):
        self.token = secrets.token_urlsafe(32)
        self._make_page, self._wanted_port, self._on_stop = make_page, port, on_stop
        self._loop: IOLoop | None = None
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Port that the server listens on, once it does."""
        return int(self._server.port)

    @property
    def url(self) -> str:
        """Address to open, token included."""
        return f"http://{_ADDRESS}:{self.port}/?token={self.token}"

    def start(self) -> GuiServer:
        """Listen in a thread of its own, and return once it does; for notebooks and tests."""
        listens, failures = threading.Event(), []

        def run() -> None:
            try:
                self._listen()
            except BaseException as error:  # it is raised again by start()
                failures.append(error)
                return
            finally:
                listens.set()
            self._serve()

        self._thread = threading.Thread(target=run, name="ibl_nwb.gui", daemon=True)
        self._thread.start()
        listens.wait()
        if failures:
            raise failures[0]
        return self

    def run(self, *, on_ready: Callable[[str], None], open_browser: bool = True) -> None:
        """Listen until Ctrl-C or the end of the process is asked for.

        Parameters
        ----------
        on_ready : callable
            Called with the address once the server listens.
        open_browser : bool, default: True
            Open the address in the browser.
        """
        self._listen()
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, lambda *_: self._ask_to_stop())
        on_ready(self.url)
        if open_browser:
            webbrowser.open(self.url)
        self._serve()

    def stop(self) -> None:
        """End the server that :meth:`start` began, and wait until it has ended."""
        self._ask_to_stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def wait(self) -> None:
        """Wait until the server of :meth:`start` has ended."""
        if self._thread is not None:
            self._thread.join()

    def _ask_to_stop(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: it has ended
                self._loop.add_callback(self._loop.stop)

    def _listen(self) -> None:
        from panel.io.server import get_server

        asyncio.set_event_loop(asyncio.new_event_loop())
        self._loop = IOLoop.current()
        try:
            self._server = get_server(
                {"/": self._make_page},
                port=self._wanted_port,
                address=_ADDRESS,
                loop=self._loop,
                # What these hold would be in the page, where its scripts could read it.
                include_cookies=[],
                include_headers=[],
                title="IBL to NWB",
            )
        except OSError as error:
            raise UsageError(
                f"Port {self._wanted_port} cannot be listened on: {error.strerror}. Leave out --port for any free one."
            ) from error
        gate = Gate(self.token, self.port)
        application = self._server._tornado
        application.websocket_origins.update(gate.hosts)  # bokeh's own check, which knows localhost only
        application.transforms.append(_headers_class(gate.hosts))
        application.default_router.rules[:0] = [
            Rule(_When(lambda request: gate.refuse(request) is not None), _RefusalHandler, {"gate": gate}),
            Rule(_When(gate.brings_token), _LandingHandler, {"gate": gate}),
        ]
        self._server.start()

    def _serve(self) -> None:
        assert self._loop is not None
        try:
            self._loop.start()
        finally:
            with suppress(AssertionError):  # bokeh's, of a server that ended while it started
                self._server.stop(wait=False)
            if self._on_stop is not None:
                self._on_stop()
            self._loop.close(all_fds=True)
