"""A server on this machine that answers as the DANDI archive and its storage do, with faults to play.

It speaks what dandi-cli asks of an archive when it uploads, nothing else, and takes nobody's word: it computes every
checksum from the bytes that arrived. A real dandi client talks to it; see ``tests/test_publish.py``.
"""

import base64
import hashlib
import json
import re
import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dandischema.digests.dandietag import PartGenerator
from dandischema.models import get_schema_version
from zarr_checksum.tree import ZarrChecksumTree

API_KEY = "only-for-tests-7d0a"

#: Signature of the addresses of the storage, which must not be seen anywhere.
SIGNATURE = "X-Amz-Signature=5ec2e7"

Row = dict[str, Any]


@dataclass
class Fault:
    """What goes wrong in requests that match, how many times.

    A status is answered; "hold" is silence until released, "garble" a bit of the body that flips.
    """

    kind: int | str
    where: str
    times: int


@dataclass
class Upload:
    """A blob on its way."""

    size: int
    etag: str
    parts: dict[int, bytes] = field(default_factory=dict)
    joined: bytes | None = None


@dataclass
class Zarr:
    """A Zarr: its files, and the checksum that was computed last."""

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    status: str = "Pending"
    checksum: str | None = None


class DandiServer:
    """The server with one Dandiset; use it in a ``with`` statement."""

    def __init__(self, identifier: str = "000777"):
        self.identifier = identifier
        self.keys = {API_KEY}
        self.owners = {API_KEY}
        self.uploads: dict[str, Upload] = {}
        self.blobs: dict[str, bytes] = {}
        self.zarrs: dict[str, Zarr] = {}
        self.assets: dict[str, Row] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        #: Paths of assets whose checksum the server gets wrong.
        self.corrupt: set[str] = set()
        self.has_sha256 = False
        self.held = threading.Event()
        self.released = threading.Event()
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.dandi = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        #: dandi names an instance that it does not know after its address.
        self.key_variable = f"127.0.0.1:{self._server.server_address[1]}_API_KEY"

    def __enter__(self) -> "DandiServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take no more connections."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def play(self, kind: int | str, where: str, times: int = 1) -> None:
        """Have requests that match a regular expression go wrong."""
        self.faults.append(Fault(kind, where, times))

    def count(self, where: str) -> int:
        """How many requests matched a regular expression."""
        return sum(bool(re.search(where, request)) for request in self.requests)

    def writes(self) -> list[str]:
        """Requests that change something, or would."""
        return [request for request in self.requests if not request.startswith("GET")]

    def content(self, path: str) -> bytes:
        """Bytes of the one asset at a path."""
        (asset,) = (row for row in self.assets.values() if row["metadata"]["path"] == path)
        return self.blobs[asset["blob"]]

    def paths(self) -> Counter:
        """Paths of all assets, and how often there is each."""
        return Counter(row["metadata"]["path"] for row in self.assets.values())

    def fault(self, request: str) -> Fault | None:
        """The fault that a request is to meet."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.where, request):
                    fault.times -= 1
                    return fault
        return None

    def dandiset(self) -> Row:
        """The Dandiset as the archive tells of it."""
        return {
            "identifier": self.identifier,
            "created": "2023-05-18T10:00:00Z",
            "modified": "2023-05-18T10:00:00Z",
            "contact_person": "Example, Ada",
            "embargo_status": "OPEN",
            "most_recent_published_version": None,
            "draft_version": {
                "version": "draft",
                "name": "Example",
                "asset_count": len(self.assets),
                "size": 0,
                "created": "2023-05-18T10:00:00Z",
                "modified": "2023-05-18T10:00:00Z",
                "status": "Valid",
            },
        }

    def listed(self, asset_id: str) -> Row:
        """An asset as it is in a list."""
        row = self.assets[asset_id]
        zarr = self.zarrs.get(row["zarr"])
        data = sum(map(len, zarr.files.values())) if zarr else len(self.blobs[row["blob"]])
        times = {"created": row["modified"], "modified": row["modified"]}
        return {"asset_id": asset_id, **{k: row[k] for k in ("blob", "zarr")}, "path": row["metadata"]["path"]} | {
            "size": data,
            **times,
        }

    def told(self, asset_id: str) -> Row:
        """Metadata of an asset: what was sent, with what the server itself knows."""
        row = self.assets[asset_id]
        path = row["metadata"]["path"]
        if row["zarr"]:
            digest = {"dandi:dandi-zarr-checksum": self.zarrs[row["zarr"]].checksum}
        else:
            blob = self.blobs[row["blob"]]
            digest = {"dandi:dandi-etag": dandi_etag(blob)}
            if self.has_sha256:
                digest["dandi:sha2-256"] = hashlib.sha256(blob).hexdigest()
        if path in self.corrupt:
            digest = dict.fromkeys(digest, "0" * 32 + "-1")
        return {
            **row["metadata"],
            "id": f"dandiasset:{asset_id}",
            "identifier": asset_id,
            "digest": digest,
            "contentSize": self.listed(asset_id)["size"],
            "contentUrl": [f"{self.url}/api/assets/{asset_id}/download/"],
        }


def dandi_etag(content: bytes) -> str:
    """ETag that S3 gives to an object that was sent in the parts that DANDI has it sent in."""
    parts = [content[part.offset : part.offset + part.size] for part in PartGenerator.for_file_size(len(content))]
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f"{hashlib.md5(digests).hexdigest()}-{len(parts)}"


class _Refusal(Exception):
    def __init__(self, status: int, answer: Any, **headers: str):
        self.status, self.answer, self.headers = status, answer, headers


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        server: DandiServer = self.server.dandi  # type: ignore[attr-defined]
        split = urlsplit(self.path)
        request = f"{self.command} {split.path}"
        server.requests.append(request)
        fault = server.fault(request)
        if fault is not None and fault.kind == "hold":
            self.rfile.read(1)  # the upload has begun, and gets no further
            server.held.set()
            server.released.wait(60)
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault is not None and fault.kind == "garble":
            body = bytes([body[0] ^ 1]) + body[1:]
        elif fault is not None:
            self._send(int(fault.kind), {"detail": "a fault that is played"})
            return
        is_storage = split.path.startswith("/storage/")
        try:
            given = json.loads(body) if body and not is_storage else body
            answer, headers = self._route(server, split.path, parse_qs(split.query), given)
        except _Refusal as refusal:
            self._send(refusal.status, refusal.answer, **refusal.headers)
            return
        except AssertionError as error:  # the client has not said what an archive wants to hear
            self._send(400, {"detail": f"{request}: {error!r}"})
            return
        self._send(200, answer, **headers)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def _send(self, status: int, answer: Any, **headers: str) -> None:
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _route(self, server: DandiServer, path: str, query: dict[str, list[str]], given: Any) -> tuple[Any, Row]:
        for method, pattern, function in _ROUTES:
            found = re.fullmatch(pattern, path)
            if method == self.command and found:
                if path.startswith("/api/"):
                    self._check_key(server, path)
                with server.lock:
                    answer = function(server, self, query, given, *found.groups())
                return answer if isinstance(answer, tuple) else (answer, {})
        raise _Refusal(404, {"detail": "Not found."})

    def _check_key(self, server: DandiServer, path: str) -> None:
        key = (self.headers.get("Authorization") or "").removeprefix("token ")
        if key and key not in server.keys:
            raise _Refusal(401, {"detail": "Invalid token."})
        if not key and (self.command != "GET" or path == "/api/auth/token"):
            raise _Refusal(401, {"detail": "Authentication credentials were not provided."})
        if self.command != "GET" and key not in server.owners:
            raise _Refusal(403, {"detail": "You do not have permission to perform this action."})


def _info(server, *_):
    return {
        "schema_version": get_schema_version(),
        "schema_url": "https://example.org/schema.json",
        "allowed_schema_versions": [get_schema_version()],
        "version": "0.14.0",
        "services": {"api": {"url": f"{server.url}/api"}, "webui": {"url": server.url}},
        "cli-minimal-version": "0.60.0",
        "cli-bad-versions": [],
    }


def _page(rows):
    return {"count": len(rows), "next": None, "previous": None, "results": rows}


def _dandiset(server, handler, query, given, identifier):
    if identifier != server.identifier:
        raise _Refusal(404, {"detail": "Not found."})
    return server.dandiset()


def _list_assets(server, handler, query, given, identifier):
    (prefix,) = query.get("path", [""])
    return _page([r for r in map(server.listed, server.assets) if r["path"].startswith(prefix)])


def _check_asset(server, given, replaced=None):
    metadata = given["metadata"]
    assert metadata["schemaKey"] == "Asset" and metadata["schemaVersion"] == get_schema_version()
    assert metadata["digest"] and metadata["contentSize"] > 0 and metadata["encodingFormat"]
    others = [id for id, row in server.assets.items() if row["metadata"]["path"] == metadata["path"]]
    if others not in ([], [replaced]):
        raise _Refusal(409, "An asset with that path already exists")
    blob, zarr = given.get("blob_id"), given.get("zarr_id")
    assert (blob in server.blobs) != (zarr in server.zarrs)
    return {"blob": blob, "zarr": zarr, "metadata": metadata, "modified": datetime.now(UTC).isoformat()}


def _make_asset(server, handler, query, given, identifier):
    row = _check_asset(server, given)
    asset_id = str(uuid.uuid4())
    server.assets[asset_id] = row
    return server.listed(asset_id) | {"metadata": server.told(asset_id)}


def _replace_asset(server, handler, query, given, identifier, asset_id):
    row = _check_asset(server, given, replaced=asset_id)
    new_id = str(uuid.uuid4())
    del server.assets[asset_id]
    server.assets[new_id] = row
    return server.listed(new_id) | {"metadata": server.told(new_id)}


def _asset(server, handler, query, given, identifier, asset_id, info):
    if asset_id not in server.assets:
        raise _Refusal(404, {"detail": "Not found."})
    told = server.told(asset_id)
    return server.listed(asset_id) | {"metadata": told} if info else told


def _begin_upload(server, handler, query, given):
    assert given["dandiset"] == server.identifier and given["digest"]["algorithm"] == "dandi:dandi-etag"
    for blob_id, blob in server.blobs.items():
        if dandi_etag(blob) == given["digest"]["value"] and len(blob) == given["contentSize"]:
            raise _Refusal(409, "Blob already exists.", Location=blob_id)
    upload_id = str(uuid.uuid4())
    server.uploads[upload_id] = Upload(given["contentSize"], given["digest"]["value"])
    parts = [
        {
            "part_number": part.number,
            "size": part.size,
            "upload_url": f"{server.url}/storage/{upload_id}/{part.number}?{SIGNATURE}",
        }
        for part in PartGenerator.for_file_size(given["contentSize"])
    ]
    return {"upload_id": upload_id, "parts": parts}


def _put_part(server, handler, query, given, upload_id, number):
    assert "Authorization" not in handler.headers, "the key is not for the storage"
    server.uploads[upload_id].parts[int(number)] = given
    return "", {"ETag": f'"{hashlib.md5(given).hexdigest()}"'}


def _end_upload(server, handler, query, given, upload_id):
    parts = server.uploads[upload_id].parts
    assert {p["part_number"]: p["etag"] for p in given["parts"]} == {
        number: hashlib.md5(part).hexdigest() for number, part in parts.items()
    }
    return {"complete_url": f"{server.url}/storage/{upload_id}/complete?{SIGNATURE}", "body": "<Complete/>"}


def _join_parts(server, handler, query, given, upload_id):
    upload = server.uploads[upload_id]
    upload.joined = b"".join(upload.parts[number] for number in sorted(upload.parts))
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return (
        f'<CompleteMultipartUploadResult xmlns="{namespace}"><ETag>"{dandi_etag(upload.joined)}"</ETag>'
        "</CompleteMultipartUploadResult>"
    )


def _make_blob(server, handler, query, given, upload_id):
    upload = server.uploads.pop(upload_id)
    if upload.joined is None or (len(upload.joined), dandi_etag(upload.joined)) != (upload.size, upload.etag):
        raise _Refusal(400, "ETag does not match.")
    blob_id = str(uuid.uuid4())
    server.blobs[blob_id] = upload.joined
    return {"blob_id": blob_id, "etag": upload.etag, "sha256": None, "size": upload.size}


def _make_zarr(server, handler, query, given):
    if any(zarr.name == given["name"] for zarr in server.zarrs.values()):
        raise _Refusal(400, '["Zarr already exists"]')
    zarr_id = str(uuid.uuid4())
    server.zarrs[zarr_id] = Zarr(given["name"])
    return _zarr(server, handler, query, given, zarr_id)


def _zarr(server, handler, query, given, zarr_id):
    zarr = server.zarrs[zarr_id]
    return {"zarr_id": zarr_id, "name": zarr.name, "status": zarr.status, "checksum": zarr.checksum}


def _find_zarr(server, handler, query, given):
    return _page([_zarr(server, handler, {}, None, id) for id, z in server.zarrs.items() if [z.name] == query["name"]])


def _zarr_files(server, handler, query, given, zarr_id):
    files = server.zarrs[zarr_id].files
    made = datetime.now(UTC).isoformat()
    return _page(
        [
            {"Key": name, "LastModified": made, "ETag": hashlib.md5(content).hexdigest(), "Size": len(content)}
            for name, content in files.items()
        ]
    )


def _sign_zarr_files(server, handler, query, given, zarr_id):
    server.zarrs[zarr_id].status = "Pending"
    server.zarrs[zarr_id].checksum = None
    return [f"{server.url}/storage/zarr/{zarr_id}/{row['path']}?{SIGNATURE}" for row in given]


def _put_zarr_file(server, handler, query, given, zarr_id, name):
    assert base64.b64decode(handler.headers["Content-MD5"]) == hashlib.md5(given).digest()
    server.zarrs[zarr_id].files[name] = given
    return ""


def _remove_zarr_files(server, handler, query, given, zarr_id):
    for row in given:
        del server.zarrs[zarr_id].files[row["path"]]
    return ""


def _finalize_zarr(server, handler, query, given, zarr_id):
    zarr = server.zarrs[zarr_id]
    if zarr.status != "Pending":
        raise _Refusal(400, "Zarr archive not in pending state.")
    tree = ZarrChecksumTree()
    for name, content in zarr.files.items():
        tree.add_leaf(Path(name), len(content), hashlib.md5(content).hexdigest())
    zarr.status, zarr.checksum = "Complete", str(tree.process())
    return ""


_DANDISET = r"/api/dandisets/(\w+)/"
_ASSETS = rf"{_DANDISET}versions/draft/assets/"
_ID = r"([\w-]+)"

_ROUTES = [
    ("GET", r"/api/info/", _info),
    ("GET", r"/api/auth/token", lambda *_: {"token": "of no use"}),
    ("GET", _DANDISET, _dandiset),
    ("GET", _ASSETS, _list_assets),
    ("POST", _ASSETS, _make_asset),
    ("PUT", rf"{_ASSETS}{_ID}/", _replace_asset),
    ("GET", rf"{_ASSETS}{_ID}/(info/)?", _asset),
    ("POST", r"/api/uploads/initialize/", _begin_upload),
    ("PUT", rf"/storage/{_ID}/(\d+)", _put_part),
    ("POST", rf"/api/uploads/{_ID}/complete/", _end_upload),
    ("POST", rf"/storage/{_ID}/complete", _join_parts),
    ("POST", rf"/api/uploads/{_ID}/validate/", _make_blob),
    ("POST", r"/api/zarr/", _make_zarr),
    ("GET", r"/api/zarr/", _find_zarr),
    ("GET", rf"/api/zarr/{_ID}/", _zarr),
    ("GET", rf"/api/zarr/{_ID}/files/?", _zarr_files),
    ("POST", rf"/api/zarr/{_ID}/files/", _sign_zarr_files),
    ("DELETE", rf"/api/zarr/{_ID}/files/", _remove_zarr_files),
    ("PUT", rf"/storage/zarr/{_ID}/(.+)", _put_zarr_file),
    ("POST", rf"/api/zarr/{_ID}/finalize/", _finalize_zarr),
]
