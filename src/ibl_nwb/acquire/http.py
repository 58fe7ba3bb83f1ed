"""HTTP that never hangs: every wait has an end, and every failure is a sentence with the address in it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import urllib3

from ..errors import NetworkError

_logger = logging.getLogger(__name__)

#: Answers that ask for patience: too many requests, and a server that is overloaded or restarting.
_ASKS_TO_WAIT = (429, 503)

#: Wait when the server does not say how long, in seconds; doubled each time.
_FIRST_WAIT_S = 1.0

#: Below this a connection counts as dead: bytes that trickle in would otherwise keep it open for ever.
_SLOWEST_BYTES_PER_S = 100

_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Limits:
    """How long to wait for a server.

    Attributes
    ----------
    timeout_s : float
        Longest silence, when connecting as well as between two pieces of an answer.
    longest_wait_s : float
        How long to wait in all, per request, when the server says that it has too much to do.
    """

    timeout_s: float = 30.0
    longest_wait_s: float = 300.0


class UnreachableError(NetworkError):
    """A server does not answer, or no longer."""


class Interrupted(Exception):
    """The connection broke while an answer was on its way."""


def open_response(session: requests.Session, url: str, limits: Limits, **options: Any) -> requests.Response:
    """Send a GET request and wait for the head of the answer, patiently where the server asks for it.

    Parameters
    ----------
    session : requests.Session
        The connection to use.
    url : str
        The address.
    limits : Limits
        How long to wait.
    **options
        Further arguments of :meth:`requests.Session.get`.

    Returns
    -------
    requests.Response
        The answer, whatever its status except "wait"; its body is not read yet. Close it.

    Raises
    ------
    NetworkError
        If the server cannot be reached, stays silent, or asks for a longer wait than is allowed.
    """
    waited_s, wait_s = 0.0, _FIRST_WAIT_S
    while True:
        response = send(session, "GET", url, limits, **options)
        if response.status_code not in _ASKS_TO_WAIT:
            return response
        asked_s = seconds_to_wait(response.headers)
        response.close()
        wait_s = wait_s if asked_s is None else asked_s
        if waited_s + wait_s > limits.longest_wait_s:
            raise NetworkError(
                f"{without_query(url)} answers '{response.status_code} {response.reason}' and asks to wait "
                f"{wait_s:.0f} s more after {waited_s:.0f} s; at most {limits.longest_wait_s:.0f} s are allowed. Try "
                "again later."
            )
        _logger.warning(
            "%s answers '%d %s': waiting %.1f s.", without_query(url), response.status_code, response.reason, wait_s
        )
        time.sleep(wait_s)
        waited_s += wait_s
        wait_s = max(2 * wait_s, _FIRST_WAIT_S)


def send(session: requests.Session, method: str, url: str, limits: Limits, **options: Any) -> requests.Response:
    """Send one request with a timeout; parameters as in :func:`open_response`."""
    try:
        return session.request(method, url, stream=True, timeout=limits.timeout_s, **options)
    except requests.exceptions.Timeout as error:
        raise _mute(url, limits) from error
    except requests.exceptions.RequestException as error:
        raise UnreachableError(
            f"{without_query(url)} cannot be reached: {_reason(error)}. Check the address and the network; what was "
            "downloaded before can be used offline (--offline)."
        ) from error


def read_body(response: requests.Response, limits: Limits) -> Iterator[bytes]:
    """The body of an answer, piece by piece as it arrives.

    Raises
    ------
    NetworkError
        If nothing, or next to nothing, arrives for the time that is allowed.
    Interrupted
        If the connection breaks, or ends before the announced length.
    """
    url = response.url
    window_start, window_bytes = time.monotonic(), 0
    while True:
        try:
            # Not iter_content: it waits for a full chunk, for as long as single bytes keep trickling in.
            piece = response.raw.read1(_CHUNK_BYTES, decode_content=True)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise _mute(url, limits) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Interrupted(_reason(error)) from error
        if not piece:
            return
        yield piece
        window_bytes += len(piece)
        elapsed_s = time.monotonic() - window_start
        if elapsed_s > limits.timeout_s:
            if window_bytes < _SLOWEST_BYTES_PER_S * elapsed_s:
                raise UnreachableError(
                    f"{without_query(url)} sent only {window_bytes} bytes in {elapsed_s:.0f} s. Try again later."
                )
            window_start, window_bytes = time.monotonic(), 0


def read_text(response: requests.Response, limits: Limits) -> str:
    """The whole body of an answer as text."""
    try:
        return b"".join(read_body(response, limits)).decode("utf-8", errors="replace")
    except Interrupted as error:
        raise UnreachableError(f"{without_query(response.url)} broke off its answer: {error}. Try again.") from error
    finally:
        response.close()


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait: a number or a date, None where it does not say."""
    text = headers.get("Retry-After", "")
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # absent, not a date, or a date without zone
        return None


def _mute(url: str, limits: Limits) -> UnreachableError:
    return UnreachableError(
        f"{without_query(url)} did not answer within {limits.timeout_s:g} s. Check the address and the network, or "
        "try again later."
    )


def _reason(error: BaseException) -> str:
    """The innermost cause of an error of requests or urllib3, in few words."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error).strip().split("\n")[0] or type(error).__name__


def without_query(url: str) -> str:
    """The address for messages: what follows the question mark may be a signature."""
    return url.split("?", 1)[0]
