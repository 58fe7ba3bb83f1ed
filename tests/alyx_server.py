"""A server on this machine that answers as Alyx does, with the files beside it, and faults to play.

Its rows are those of example sessions, or recorded ones. A real ONE client talks to it; see ``tests/test_acquire.py``.
"""

import base64
import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import one

from ibl_nwb.testing import example_alyx_answers

USERNAME, PASSWORD = "ada.example", "only-for-tests"

#: Hosts in the answers of example and recorded sessions, which become the address of this server.
HOSTS = ("https://alyx.example.org", "https://data.example.org", "http://127.0.0.1:8013", "http://127.0.0.1:8014")

SCHEMA_PATH = Path(one.__file__).parent / "tests/fixtures/rest_responses/openapiv3.json"

#: Fields of a session in a list; all others are told of one session only.
SESSION_LIST_FIELDS = ("id", "subject", "start_time", "number", "lab", "projects", "url", "task_protocol")

#: The field that a row is read by, where it is not the id.
NAMES = {"subjects": "nickname", "labs": "name", "users": "username", "projects": "name", "data-repository": "name"}

PROVENANCES = ("Planned", "Micro-manipulator", "Histology track", "Ephys aligned histology track")

Row = dict[str, Any]


Filter = Callable[[Row, str], bool]


def same(field: str) -> Filter:
    return lambda row, value: str(row.get(field)).casefold() == value.casefold()


def holds_all(field: str) -> Filter:
    return lambda row, value: set(value.split(",")) <= {d[field] for d in row["data_dataset_session_related"]}


#: What a list can be filtered by; any other parameter is ignored, as Alyx does.
FILTERS: dict[str, dict[str, Filter]] = {
    "sessions": {
        "subject": same("subject"),
        "lab": same("lab"),
        "number": same("number"),
        "id": same("id"),
        "date_range": lambda row, value: value.split(",")[0] <= row["start_time"][:10] <= value.split(",")[1],
        "task_protocol": lambda row, value: value.casefold() in row["task_protocol"].casefold(),
        "projects": lambda row, value: any(value.casefold() in name.casefold() for name in row["projects"]),
        "users": lambda row, value: set(value.split(",")) <= set(row["users"]),
        "datasets": holds_all("name"),
        "dataset_types": holds_all("dataset_type"),
    },
    "insertions": {"session": same("session")},
    "trajectories": {"probe_insertion": same("probe_insertion"), "provenance": same("provenance")},
    "channels": {"trajectory_estimate": same("trajectory_estimate")},
    "datasets": {"session": lambda row, value: row["session"].endswith(value)},
    "surgeries": {"subject": same("subject")},
}


@dataclass
class Fault:
    """Something that goes wrong: what, in requests whose path contains what, how many times, after how many of them."""

    kind: str
    where: str
    times: float = float("inf")
    options: dict[str, Any] = field(default_factory=dict)
    after: int = 0


class AlyxServer:
    """The server; use it in a ``with`` statement.

    Parameters
    ----------
    files : path-like
        Folder with ``lab/Subjects/...``, whose file names hold UUIDs.
    page_size : int
        Most rows in a page, whatever the client asks for.
    """

    def __init__(self, files: Path | None = None, page_size: int = 250):
        self.files = files
        self.page_size = page_size
        self.rows: dict[str, list[Row]] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.authorizations: list[str | None] = []
        #: User name and password of the file server, which asks for none by default.
        self.file_login: tuple[str, str] | None = None
        self.tokens = {"first-token"}
        self.order = random.Random(0)
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.alyx = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "AlyxServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def add_example(self, session_path: Path, **options: Any) -> Row:
        """Know an example session; returns the session's row, to look at or to change."""
        return self.add_answers(example_alyx_answers(session_path, **options))

    def add_answers(self, answers: dict[str, Any]) -> Row:
        """Know a session by the arguments of ``AlyxRecord.from_rest``."""
        text = json.dumps(answers)
        for host in HOSTS:
            text = text.replace(host, self.url)
        local = json.loads(text)
        for name, endpoint in {"session": "sessions", "subject": "subjects", "lab": "labs"}.items():
            self.rows.setdefault(endpoint, []).append(local.pop(name))
        projects = [{"name": name, "description": "", "users": []} for name in self.rows["sessions"][-1]["projects"]]
        for endpoint, rows in {"projects": projects, **local}.items():
            known = self.rows.setdefault(endpoint, [])
            known += [row for row in rows if row not in known]
        return self.rows["sessions"][-1]

    def play(self, kind: str, where: str, times: float = float("inf"), *, after: int = 0, **options: Any) -> None:
        """Let something go wrong from now on; see the methods ``_play_...`` of the handler."""
        self.faults.append(Fault(kind, where, times, options, after))

    def requested(self, part: str) -> list[str]:
        """Requests so far whose path or query contains a text."""
        return [request for request in self.requests if part in request]


def _basic(username: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer takes 40 ms

    @property
    def alyx(self) -> AlyxServer:
        return self.server.alyx  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.alyx.requests.append(self.path)
        if self._plays_fault():
            return
        if (form.get("username"), form.get("password")) != ([USERNAME], [PASSWORD]):
            self._answer({"non_field_errors": ["Unable to log in with provided credentials."]}, 400)
            return
        token = f"token-{random.getrandbits(64):x}"
        self.alyx.tokens.add(token)
        self._answer({"token": token})

    def do_GET(self) -> None:
        self.alyx.requests.append(unquote(self.path))
        self.alyx.ranges += [self.headers["Range"]] if "Range" in self.headers else []
        self.alyx.authorizations.append(self.headers.get("Authorization"))
        if self._plays_fault():
            return
        address = urlsplit(self.path)
        if address.path.startswith("/public/"):
            if self.alyx.file_login and self.headers.get("Authorization") != _basic(*self.alyx.file_login):
                self._send(401, b"<html>401 Unauthorized</html>", {"WWW-Authenticate": 'Basic realm="files"'})
                return
            content = self._file_content()
            self._send_file(content) if content is not None else self._play_missing()
        elif self._is_allowed():
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            self._answer_rest([unquote(part) for part in address.path.strip("/").split("/")], query)

    def _is_allowed(self) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Token ")
        if token in self.alyx.tokens:
            return True
        reason = "Invalid token." if token else "Authentication credentials were not provided."
        self._refuse(403, reason)
        return False

    def _answer_rest(self, parts: list[str], query: dict[str, str]) -> None:
        endpoint, *identifier = parts
        if parts == ["api", "schema"]:
            self._send(200, SCHEMA_PATH.read_bytes())
        elif endpoint not in self.alyx.rows and endpoint not in FILTERS:
            self._send(404, b"<h1>Not Found</h1>")
        elif identifier:
            rows = self.alyx.rows.get(endpoint, [])
            found = [row for row in rows if row.get(NAMES.get(endpoint, "id")) == identifier[0]]
            kind = endpoint.rstrip("s").capitalize()
            self._answer(found[0]) if found else self._refuse(404, f"No {kind} matches the given query.")
        elif query.get("provenance", PROVENANCES[0]) not in PROVENANCES:
            self._refuse(500, f"'{query['provenance']}' is not a valid choice.")
        else:
            self._answer(self._page(endpoint, query))

    def _page(self, endpoint: str, query: dict[str, str]) -> Row:
        filters = FILTERS.get(endpoint, {})
        rows = [
            row
            for row in self.alyx.rows.get(endpoint, [])
            if all(filters[name](row, value) for name, value in query.items() if name in filters)
        ]
        if self._fault("shuffled", endpoint):
            self.alyx.order.shuffle(rows)
        if endpoint == "sessions":
            rows = [{name: row[name] for name in SESSION_LIST_FIELDS} for row in rows]
        size = min(int(query.get("limit", self.alyx.page_size)), self.alyx.page_size)
        start = int(query.get("offset", 0))
        following = urlencode({**query, "limit": size, "offset": start + size})
        # Behind a proxy Alyx gives an address that the client cannot reach.
        following_url = f"http://alyx.invalid/{endpoint}?{following}" if start + size < len(rows) else None
        return {"count": len(rows), "next": following_url, "previous": None, "results": rows[start : start + size]}

    def _file_content(self) -> bytes | None:
        path = Path(str(self.alyx.files), unquote(urlsplit(self.path).path).removeprefix("/public/"))
        return path.read_bytes() if path.is_file() else None

    def _send_file(self, content: bytes, *, change: Callable[[bytes], bytes] = bytes, is_broken: bool = False) -> None:
        """A file, or the part of it that is asked for, with the heads that Apache and nginx send."""
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{hashlib.md5(content).hexdigest()}"'}
        first, last = (int(part[1]), min(int(part[2]), len(content) - 1)) if part else (0, len(content) - 1)
        if first > last:
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        if part:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        body = change(content[first : last + 1])
        sent = body[: len(body) // 2] if is_broken else body
        self._send(206 if part else 200, sent, headers, announced=len(body))

    def _answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), headers)

    def _refuse(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        self._answer({"detail": detail, "status_code": status}, status, headers)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, announced: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _fault(self, kind: str | None, path: str) -> Fault | None:
        """The first fault that applies, counted."""
        for fault in self.alyx.faults:
            if (kind is None) != (fault.kind == "shuffled") and fault.where in unquote(path) and fault.times > 0:
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _plays_fault(self) -> bool:
        fault = self._fault(None, self.path)
        if fault is not None:
            getattr(self, f"_play_{fault.kind}")(**fault.options)
        return fault is not None

    def _play_mute(self) -> None:
        self.alyx.released.wait(60)
        self.close_connection = True

    def _play_slow(self, pause_s: float = 0.05) -> None:
        """An answer whose bytes come one by one."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.close_connection = True
        while not self.alyx.released.wait(pause_s):
            try:
                self.wfile.write(b" ")
            except OSError:
                return

    def _play_status(self, status: int, detail: str = "", headers: dict[str, str] | None = None) -> None:
        self._refuse(status, detail, headers)

    def _play_busy(self, wait_s: float) -> None:
        detail = f"Request was throttled. Expected available in {wait_s} seconds."
        self._refuse(429, detail, {"Retry-After": str(wait_s)})

    def _play_missing(self) -> None:
        self._send(404, b"<html>404 Not Found</html>")

    def _play_web_page(self) -> None:
        self._send(200, b"<html>Welcome</html>")

    def _play_corrupt(self) -> None:
        """As many bytes as there should be, but others."""
        self._send_file(self._file_content() or b"", change=lambda part: bytes(255 - byte for byte in part))

    def _play_truncated(self) -> None:
        """Half of what is asked for, as if that were all."""
        self._send_file(self._file_content() or b"", change=lambda part: part[: len(part) // 2])

    def _play_broken(self) -> None:
        """Half of what is asked for, then the end of the connection."""
        self._send_file(self._file_content() or b"", is_broken=True)
        self.close_connection = True

    def _play_no_ranges(self) -> None:
        """All of the file, whatever part is asked for."""
        self._send(200, self._file_content() or b"")

    def _play_redirect(self, to: str) -> None:
        """The same file, on another server."""
        self._send(302, b"", {"Location": to + self.path})

    def _play_delayed(self, pause_s: float) -> None:
        """The file, late."""
        time.sleep(pause_s)
        self._send_file(self._file_content() or b"")
