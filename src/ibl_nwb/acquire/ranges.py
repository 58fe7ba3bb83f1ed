"""Parts of a file on a server by HTTP range requests: what is needed of a large file is fetched, never all of it."""

from __future__ import annotations

import base64
import importlib.util
import logging
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

from ..errors import DatasetInconsistentError, DatasetMissingError, NetworkError, UsageError
from .credentials import stored_file_server_login
from .files import quoted
from .http import Limits, seconds_to_wait, without_query

_logger = logging.getLogger(__name__)

#: How often a part is asked for before it is given up.
ATTEMPTS = 5

#: Wait before the second attempt, in seconds; doubled each time.
FIRST_WAIT_S = 1.0

#: Parts that are fetched ahead at a time, and how much of what was fetched may wait to be read.
_THREADS = 8
AHEAD_BYTES = 100_000_000

#: Below this a connection counts as dead, though bytes keep trickling in.
_SLOWEST_BYTES_PER_S = 10_000

#: Answers besides 5xx after which it is worth asking again: timeout, too early, too many requests.
_PASSING = (408, 425, 429)

_WAY_OUT = "Download the recording instead: convert without --stream-raw."


class RangeReader:
    """Bytes of a file on a server, for several threads at once.

    Nothing is sent before the first call. Every answer is checked: it must be the part that was asked for, of a file of
    the expected size, and the file must still be the same (ETag and date of change) as at the first answer. Failures
    that may pass are waited out. The login is the one that ONE has for its file server.

    Parameters
    ----------
    url : str
        Address of the file, http or https.
    size : int
        Bytes that the file must have.
    limits : Limits, optional
        How long to wait for the server.

    """

    def __init__(self, url: str, size: int, *, limits: Limits | None = None):
        #: The address without a query, for messages.
        self.url = without_query(url)
        self.size = size
        self._address = quoted(url)
        self._limits = limits or Limits()
        self._version: dict[str, str] | None = None
        self._lock = threading.Lock()
        self._announced: dict[tuple[int, int], Future[bytes]] = {}
        self._is_given_up = threading.Event()

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Bytes from an offset on, fetched now unless they were announced.

        Raises
        ------
        NetworkError
            If the server cannot be reached, refuses, or does not know ranges; or if every attempt failed.
        DatasetMissingError
            If the server does not have the file.
        DatasetInconsistentError
            If the file has another size than expected, or has changed.
        UsageError
            If fsspec or aiohttp is not installed.
        """
        with self._lock:
            announced = self._announced.pop((offset, n_bytes), None)
        return self._fetch(offset, n_bytes) if announced is None else announced.result()

    def announce(self, offset: int, n_bytes: int) -> None:
        """Begin to fetch what will be read soon, unless that much is waiting already."""
        with self._lock:
            waiting = sum(length for _, length in self._announced)
            if (offset, n_bytes) not in self._announced and waiting + n_bytes <= AHEAD_BYTES:
                self._announced[offset, n_bytes] = self._pool.submit(self._fetch, offset, n_bytes)

    def forget(self) -> None:
        """Give up what was announced and not read."""
        with self._lock:
            for future in self._announced.values():
                future.cancel()
            self._announced.clear()
            self._is_given_up.set()
            self._is_given_up = threading.Event()

    def identity(self) -> dict[str, Any]:
        """Address, size, and what the server says about the version; errors as in :meth:`read`."""
        if self._version is None:
            self._fetch(0, 1)
        return {"url": self.url, "size": self.size, **(self._version or {})}

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="ibl_nwb_fetch")

    @cached_property
    def _filesystem(self) -> Any:
        check_can_stream()
        import aiohttp
        from fsspec.implementations.http import HTTPFileSystem

        silence_s = self._limits.timeout_s
        return HTTPFileSystem(
            encoded=True,
            headers={"Accept-Encoding": "identity"},  # the offsets are those of the file as it is
            client_kwargs={
                "middlewares": (self._send,),
                "timeout": aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s),
                "trust_env": True,
            },
            skip_instance_cache=True,
        )

    @cached_property
    def _authorization(self) -> dict[str, str]:
        """Header for the server itself; one that it redirects to does not get it."""
        login = stored_file_server_login(self._address)
        if login is None:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"}

    def _fetch(self, offset: int, n_bytes: int) -> bytes:
        """Ask until the part is there, or there is no hope."""
        filesystem, is_given_up = self._filesystem, self._is_given_up
        from aiohttp import ClientError

        total_s = self._limits.timeout_s + n_bytes / _SLOWEST_BYTES_PER_S
        for attempt in range(ATTEMPTS):
            failure: Exception
            try:
                data = filesystem.cat_file(self._address, start=offset, end=offset + n_bytes, timeout=total_s)
            except (OSError, ClientError) as error:
                failure = error
            else:
                if len(data) == n_bytes:
                    return data
                failure = OSError(f"it sent {len(data)} bytes in place of the {n_bytes} from byte {offset} on")
            wait_s = max(FIRST_WAIT_S * 2**attempt, getattr(failure, "wait_s", 0.0))
            if attempt == ATTEMPTS - 1 or wait_s > self._limits.longest_wait_s or is_given_up.is_set():
                break
            _logger.info("%s: %s; waiting %.1f s.", self.url, _in_words(failure), wait_s)
            is_given_up.wait(wait_s)
        raise NetworkError(
            f"{self.url} cannot be read: {_in_words(failure)} (asked {attempt + 1} times). Check the network and try "
            "again; with --resume, what has been written is kept and only the rest is fetched."
        ) from failure

    async def _send(self, request: Any, send: Any) -> Any:
        """Middleware of aiohttp: send a request and judge the head of the answer before any of its body is read."""
        from yarl import URL

        if request.url.origin() == URL(self._address, encoded=True).origin():
            request.headers.update(self._authorization)
        response = await send(request)
        try:
            self._check(request.headers["Range"], response)
        except BaseException:
            response.close()
            raise
        return response

    def _check(self, asked: str, response: Any) -> None:
        status, answers = response.status, f"{self.url} answers {response.status} {response.reason}"
        if 300 <= status < 400:  # aiohttp follows
            return
        if status in (401, 403):
            raise NetworkError(
                f"{answers} to the request for a part of it. Set HTTP_DATA_SERVER_LOGIN and HTTP_DATA_SERVER_PWD of "
                "ONE (ONE.setup), or convert without the raw recording (--exclude)."
            )
        if status in (404, 410):
            raise DatasetMissingError(
                f"{answers}: it is not, or no longer, on that server. Collect the metadata anew to have the present "
                "address, or leave the raw recording out with --exclude."
            )
        if status in _PASSING or status >= 500:
            raise _PassingError(f"it answers {status} {response.reason}", seconds_to_wait(response.headers))
        whole = f"bytes=0-{self.size - 1}"
        stated = re.fullmatch(r"bytes (\d+-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if stated and stated[2] not in ("*", str(self.size)):
            raise DatasetInconsistentError(
                f"{self.url} has {stated[2]} bytes, but {self.size} are expected by the .ch file: it is another "
                "recording, or was replaced. Get the .ch file again, or leave the raw recording out with --exclude."
            )
        if status == 206 and stated and f"bytes={stated[1]}" == asked or status == 200 and asked == whole:
            self._check_version(response.headers)
            return
        if status in (200, 206):
            raise NetworkError(
                f"{answers} ({response.headers.get('Content-Type', 'no type')}) to the request for a part of it, and "
                f"not with that part: the server does not know ranges, or this is not the file. {_WAY_OUT}"
            )
        raise NetworkError(f"{answers} to the request for a part of it. {_WAY_OUT}")

    def _check_version(self, headers: Any) -> None:
        """Refuse a file that is not the one that the first answer was from."""
        version = {name: headers[name] for name in ("ETag", "Last-Modified") if name in headers}
        with self._lock:
            if self._version is None:
                self._version = version
            known = self._version
        for name in known.keys() & version.keys():
            if known[name] != version[name]:
                raise DatasetInconsistentError(
                    f"{self.url} was replaced while it was being read: its {name} was {known[name]} and is "
                    f"{version[name]}. Convert again, without --resume."
                )


class _PassingError(OSError):
    """An answer that may be another one later, perhaps after a wait that the server asks for."""

    def __init__(self, message: str, wait_s: float | None):
        super().__init__(message)
        self.wait_s = wait_s or 0.0


def check_can_stream() -> None:
    """Check that the packages of the extra ``remote`` are there.

    Raises
    ------
    UsageError
        If they are not.
    """
    if any(importlib.util.find_spec(package) is None for package in ("fsspec", "aiohttp")):
        raise UsageError(
            "To read recordings from a server, fsspec and aiohttp are needed: pip install 'ibl-nwb[remote]'"
        )


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer, or too slowly"
    return str(error).strip().split("\n")[0] or type(error).__name__
