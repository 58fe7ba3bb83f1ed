"""One file: is it what the database registered, and if not, fetch it; under its own name it is always complete."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import requests

from ..errors import ChecksumError, DatasetMissingError, NetworkError
from .http import Interrupted, Limits, open_response, read_body
from .selection import RegisteredFile

_logger = logging.getLogger(__name__)

#: Suffix of files on their way. Their names begin with a dot, so that nothing takes them for datasets.
PART_SUFFIX = ".ibl_nwb_part"

#: How often a file is fetched before it is given up.
_ATTEMPTS = 2

_CHUNK_BYTES = 1 << 20

#: Called with the number of bytes that were done; a negative number when they have to be done again.
Report = Callable[[int], object]


def find_fault(path: Path, file: RegisteredFile, report: Report | None = None) -> str | None:
    """What is wrong with a file on disk, in words; None when size and MD5 are as registered.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    file : RegisteredFile
        What it should be. A size or MD5 that is not registered is not checked.
    report : callable, optional
        Called with numbers of bytes that were read.
    """
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size} bytes in place of {file.size}"
    if file.md5 is None:
        return None
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            md5.update(piece)
            if report is not None:
                report(len(piece))
    return None if md5.hexdigest() == file.md5.lower() else f"its MD5 is {md5.hexdigest()} in place of {file.md5}"


def is_verifiable(file: RegisteredFile) -> bool:
    """Whether the database registered anything that tells a complete file from another."""
    return file.size is not None or file.md5 is not None


def fetch_file(
    session: requests.Session,
    url: str,
    file: RegisteredFile,
    target: Path,
    *,
    limits: Limits,
    report: Report,
    auth: tuple[str, str] | None = None,
) -> None:
    """Fetch one file, check it, and only then give it its name; what was there before is replaced.

    Parameters
    ----------
    session : requests.Session
        The connection to use.
    url : str
        Address of the file.
    file : RegisteredFile
        What it should be.
    target : pathlib.Path
        Where to put it.
    limits : Limits
        How long to wait for the server.
    report : callable
        Called with numbers of bytes that arrived.
    auth : tuple of str, optional
        User name and password for the file server.

    Raises
    ------
    DatasetMissingError
        If the server does not have it.
    ChecksumError
        If it is not what was registered, twice.
    NetworkError
        If the server does not answer, or refuses.
    """
    faults = []
    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        part_path = target.with_name(f".{target.name}.{uuid4().hex}{PART_SUFFIX}")
        try:
            fault = _fetch_once(session, url, file, part_path, limits, report, auth)
            if fault is None:
                part_path.replace(target)
                return
        finally:
            part_path.unlink(missing_ok=True)
        faults.append(fault)
        _logger.warning("'%s' did not arrive as it should: %s.", file.relative_path, fault)
    raise ChecksumError(
        f"'{file.relative_path}' (dataset {file.id}) is not what Alyx registered, {_ATTEMPTS} times over: "
        f"{'; then '.join(dict.fromkeys(faults))}. Nothing was kept. It came from {url}; tell those who look after "
        "that server, or leave out the interface that needs it."
    )


def _fetch_once(
    session: requests.Session,
    url: str,
    file: RegisteredFile,
    part_path: Path,
    limits: Limits,
    report: Report,
    auth: tuple[str, str] | None,
) -> str | None:
    """Write the file to ``part_path``; return what is wrong with it, None when nothing is."""
    # Not compressed on the way: the length that the server announces is then the length of the file.
    response = open_response(session, quoted(url), limits, headers={"Accept-Encoding": "identity"}, auth=auth)
    with response:
        _check_status(response, url, file)
        announced = response.headers.get("Content-Length")
        expected = file.size if file.size is not None else (int(announced) if announced else None)
        n_bytes, broken = 0, ""
        with part_path.open("wb") as stream:
            try:
                for piece in read_body(response, limits):
                    stream.write(piece)
                    n_bytes += len(piece)
                    report(len(piece))
            except Interrupted as error:
                broken = f" (the connection broke: {error})"
    fault = find_fault(part_path, file)
    if fault is None and (broken or (expected is not None and n_bytes != expected)):
        fault = f"{n_bytes} bytes came in place of {expected}"
    if fault is not None:
        report(-n_bytes)
        return fault + broken
    return None


def _check_status(response: requests.Response, url: str, file: RegisteredFile) -> None:
    status = response.status_code
    if status == 200:
        return
    if status in (404, 410):
        raise DatasetMissingError(
            f"'{file.relative_path}' (dataset {file.id}) is registered in Alyx, but not on the server: {url} answers "
            f"{status}. Leave out the interface that needs it, or give another revision."
        )
    way_out = (
        "Set HTTP_DATA_SERVER_LOGIN and HTTP_DATA_SERVER_PWD of ONE (ONE.setup)."
        if status in (401, 403)
        else "Try again later."
    )
    raise NetworkError(f"{url} answers {status} {response.reason} to the request for a file. {way_out}")


def quoted(url: str) -> str:
    """The address with characters encoded that have a meaning in addresses: revision folders are named ``#...#``."""
    parts = urlsplit(url, allow_fragments=False)
    return parts._replace(path=quote(parts.path, safe="/%")).geturl()
