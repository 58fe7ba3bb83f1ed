"""The server of the GUI: whoever has no token, comes from elsewhere or calls the machine by another name is refused."""

import asyncio
import html
import logging
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

pn = pytest.importorskip("panel")

from bokeh.util.token import generate_session_id  # noqa: E402
from tornado.httpclient import HTTPClientError, HTTPRequest  # noqa: E402
from tornado.websocket import websocket_connect  # noqa: E402

from ibl_nwb.acquire import SessionSummary  # noqa: E402
from ibl_nwb.errors import UsageError  # noqa: E402
from ibl_nwb.gui.app import make_page  # noqa: E402
from ibl_nwb.gui.contents import ContentsPane  # noqa: E402
from ibl_nwb.gui.find import FindPane  # noqa: E402
from ibl_nwb.gui.server import GuiServer  # noqa: E402
from ibl_nwb.gui.services import GuiServices  # noqa: E402
from ibl_nwb.gui.state import ChosenSession, GuiState  # noqa: E402
from ibl_nwb.gui.workspace import Workspace  # noqa: E402

MARKUP = "<img src=x onerror=alert(1)>"

PATHS = (
    "/",
    "/static/js/bokeh.min.js",
    "/static/extensions/panel/panel.min.js",
    "/favicon.ico",
    "/autoload.js?bokeh-autoload-element=1",
    "/metadata",
    "/nothing/at/all",
)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gui")
    (folder / "sessions").mkdir()
    return GuiServices(Workspace(folder / "sessions", folder / "output"), one_options={"offline": True})


@pytest.fixture(scope="module")
def server(services):
    gui = GuiServer(lambda: make_page(services), on_stop=services.shutdown).start()
    yield gui
    gui.stop()


@pytest.fixture(scope="module")
def base(server):
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def visitor(server):
    """A browser that opened the address with the token."""
    session = requests.Session()
    assert session.get(server.url).status_code == 200
    return session


def open_websocket(base, headers):
    async def connect():
        address = base.replace("http", "ws", 1) + "/ws"
        connection = await websocket_connect(
            HTTPRequest(address, headers=headers, request_timeout=5), subprotocols=["bokeh", generate_session_id()]
        )
        connection.close()
        return 101

    try:
        return asyncio.run(connect())
    except HTTPClientError as error:
        return error.code


class TestToken:
    @pytest.mark.parametrize("path", PATHS)
    def test_nothing_is_there_without_it(self, base, path):
        answer = requests.get(base + path)
        assert answer.status_code == 403
        assert answer.text == "The token is missing or wrong. Open the address that the terminal shows.\n"

    @pytest.mark.parametrize("token", ["", "wrong", "é", "a" * 43])
    def test_a_wrong_one_is_refused(self, base, token):
        answer = requests.get(base, params={"token": token})
        assert answer.status_code == 403
        assert not answer.cookies

    def test_part_of_the_right_one_is_refused(self, base, server):
        assert requests.get(base, params={"token": server.token[:-1]}).status_code == 403

    def test_it_opens_the_page_and_no_other_address(self, base, server):
        assert requests.get(f"{base}/static/js/bokeh.min.js", params={"token": server.token}).status_code == 403
        assert requests.get(server.url).status_code == 200

    def test_the_cookie_brings_page_and_static_files(self, base, visitor):
        page = visitor.get(base)
        assert page.status_code == 200
        assert "IBL to NWB" in page.text
        assert visitor.get(base + "/static/js/bokeh.min.js").status_code == 200

    def test_the_cookie_is_for_the_server_alone(self, server):
        header = requests.get(server.url).headers["Set-Cookie"]
        assert "HttpOnly" in header
        assert "SameSite=Strict" in header
        assert server.token not in header

    def test_the_page_holds_neither_token_nor_cookie(self, base, server, visitor):
        from bokeh.util.token import get_token_payload

        page = visitor.get(base).text
        payload = get_token_payload(page.split('"token":"')[1].split('"')[0])
        assert not payload["cookies"]
        assert not payload["headers"]
        for secret in (server.token, *visitor.cookies.values()):
            assert secret not in page

    def test_every_method_is_refused_without_it(self, base):
        for method in ("post", "put", "delete", "options"):
            assert requests.request(method, base).status_code == 403


class TestOtherSites:
    @pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""])
    def test_another_name_of_the_machine_is_refused(self, base, server, visitor, host):
        answer = visitor.get(base, headers={"Host": host.format(port=server.port)})
        assert answer.status_code == 403
        assert "token" not in answer.text

    def test_localhost_is_the_same_machine(self, server):
        answer = requests.get(server.url, headers={"Host": f"localhost:{server.port}"})
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"]
    )
    def test_another_origin_is_refused(self, base, server, visitor, origin):
        headers = {"Origin": origin.format(port=server.port)}
        assert visitor.get(base, headers=headers).status_code == 403
        cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        assert open_websocket(base, {**headers, "Cookie": cookies}) == 403

    def test_the_websocket_is_for_the_page_alone(self, base, visitor):
        cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        assert open_websocket(base, {"Origin": base}) == 403
        assert open_websocket(base, {"Cookie": cookies}) == 403
        assert open_websocket(base, {"Cookie": cookies, "Origin": base}) == 101

    def test_only_this_machine_is_listened_on(self, server):
        sockets = server._server._http._sockets.values()
        assert {one.getsockname()[0] for one in sockets} == {"127.0.0.1"}

    @pytest.mark.parametrize("path", ["/", "/static/js/bokeh.min.js"])
    def test_headers_let_the_page_load_itself_only(self, base, visitor, path):
        headers = visitor.get(base + path).headers
        policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        sources = {source for rule in policy.values() for source in rule.split() if "://" in source}
        assert {urlsplit(source).hostname for source in sources} == {"127.0.0.1", "localhost"}
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Frame-Options"] == "DENY"

    def test_the_page_names_no_other_server(self, base, visitor):
        page = visitor.get(base).text
        addresses = [part.split('"')[0] for mark in ('src="', 'href="') for part in page.split(mark)[1:]]
        assert addresses
        assert not [address for address in addresses if "//" in address]


class TestFiles:
    @pytest.mark.parametrize("path", ["/etc/passwd", "../../secret.json", "/tmp", "~/.ssh/id_rsa"])
    def test_a_path_outside_the_folders_is_refused(self, services, path):
        with pytest.raises(UsageError, match="outside the folders"):
            services.workspace.readable(path)
        with pytest.raises(UsageError, match="outside the folders"):
            services.workspace.writable(path)

    def test_a_link_out_of_the_folders_is_refused(self, services, tmp_path):
        (tmp_path / "secret.json").write_text("{}")
        link = services.workspace.output_folder / "link.json"
        link.symlink_to(tmp_path / "secret.json")
        with pytest.raises(UsageError, match="outside the folders"):
            services.workspace.readable("link.json")

    @pytest.mark.parametrize(
        "path", ["/static/../../../../../../etc/passwd", "/static/extensions/panel/..%2f..%2f..%2f..%2fetc/passwd"]
    )
    def test_static_files_end_at_their_folder(self, base, visitor, path):
        request = requests.Request("GET", base + path, cookies=visitor.cookies).prepare()
        request.url = base + path
        assert visitor.send(request).status_code in (403, 404)


def test_html_in_names_is_text(tmp_path):
    """Of what the page shows as HTML nothing is markup that came with the data."""
    services = GuiServices(Workspace(tmp_path, tmp_path / "output"), one_options={"offline": True})
    found = [SessionSummary(None, MARKUP, MARKUP, "2023-05-18", 1, MARKUP, (MARKUP,), Path(f"/nowhere/{MARKUP}"))]
    [chosen] = services.add([ChosenSession(source=f"/nowhere/{MARKUP}", label=MARKUP, error=f"No {MARKUP}")])
    services.current = chosen
    try:
        state = GuiState(workspace=services.workspace, chosen=[chosen], current=chosen)
        find, contents = FindPane(state, services), ContentsPane(state, services)
        find.show_found(found)
        find._say(MARKUP)
        models = [model for pane in (find, contents) for model in pane.view.get_root().references()]
    finally:
        services.shutdown()
    texts = [model.text for model in models if hasattr(model, "text")]  # panel.models.HTML: unescaped in the browser
    assert [text for text in texts if "onerror" in html.unescape(text)]
    assert not [text for text in texts if "<img" in html.unescape(text)]
    tables = [model for model in models if type(model).__name__ == "DataTabulator"]
    assert tables
    formatters = {type(column.formatter).__name__ for table in tables for column in table.columns}
    assert formatters <= {"StringFormatter", "NumberFormatter"}  # an HTMLTemplateFormatter would make markup of it


def test_errors_are_shown_as_text(monkeypatch):
    from ibl_nwb.gui import notices

    shown = []

    class Notifications:
        def error(self, text, duration):
            shown.append(text)

    monkeypatch.setattr(type(pn.state), "notifications", property(lambda _: Notifications()))
    notices.notify(f"No subject {MARKUP}", "error")
    assert shown == ["No subject &lt;img src=x onerror=alert(1)&gt;"]


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="Leave out --port"):
            GuiServer(lambda: pn.Column(), port=taken.getsockname()[1]).start()


def test_it_ends_and_tells(caplog):
    ended = []
    gui = GuiServer(lambda: pn.Column(), on_stop=lambda: ended.append(True)).start()
    port = gui.port
    gui.stop()
    assert ended == [True]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
