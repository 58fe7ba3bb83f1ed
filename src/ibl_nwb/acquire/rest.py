"""Reading from Alyx: rows by id and whole lists, with the token that ONE keeps.

The address and the token are ONE's. Requests are sent from here and not by ONE, because ONE sends them without a
timeout, deletes a token that the server no longer takes, waits for up to 40 minutes when the server is busy, and takes
answers of another database from its cache (its key holds no address).
"""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import requests

from ..errors import NetworkError
from .credentials import log_in, log_in_again
from .http import Limits, open_response, read_text

_logger = logging.getLogger(__name__)

Row = dict[str, Any]

#: Rows per page to ask for: the most that Alyx gives.
_PAGE_SIZE = 1000

#: How often to read a list whose rows change places while its pages are read.
_LIST_ATTEMPTS = 3


class RefusedError(NetworkError):
    """Alyx answered with an error.

    Attributes
    ----------
    status : int
        HTTP status.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class AlyxReader:
    """Reads rows of one Alyx database.

    Parameters
    ----------
    one : one.api.OneAlyx
        A ONE object in remote mode.
    limits : Limits
        How long to wait for the server.
    """

    def __init__(self, one: Any, limits: Limits):
        self.alyx = one.alyx
        self.limits = limits
        self.base_url: str = str(one.alyx.base_url).rstrip("/")
        self._session = requests.Session()

    def __enter__(self) -> AlyxReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def read_row(self, endpoint: str, identifier: str) -> Row:
        """One row, e.g. ``read_row("subjects", "KS014")``.

        Raises
        ------
        RefusedError
            If Alyx answers with an error; its status is 404 where there is no such row.
        NetworkError
            If Alyx does not answer.
        """
        answer = self._get(f"/{endpoint}/{quote(str(identifier), safe='')}", {})
        if not isinstance(answer, dict):
            raise NetworkError(f"{self.base_url}/{endpoint} gave {type(answer).__name__} in place of a row.")
        return answer

    def list_rows(self, endpoint: str, **filters: str | int) -> list[Row]:
        """All rows of a list, every page, each row once.

        Raises
        ------
        RefusedError, NetworkError
            As in :meth:`read_row`, or if the list changes all the time.
        """
        for _ in range(_LIST_ATTEMPTS):
            rows, count = self._read_pages(f"/{endpoint}", {**filters, "limit": _PAGE_SIZE})
            unique = {_identity(row): row for row in rows}
            # The order of a list is unspecified: between two pages a row may move, and be missed or come twice.
            if len(unique) == count:
                return [*unique.values()]
            _logger.info("%s/%s changed while it was read; reading it again.", self.base_url, endpoint)
        raise NetworkError(
            f"{self.base_url}/{endpoint} says that it has {count} rows for {filters}, but its pages held "
            f"{len(unique)} different ones, {_LIST_ATTEMPTS} times over. Try again later."
        )

    def _read_pages(self, path: str, parameters: dict[str, Any]) -> tuple[list[Row], int]:
        rows: list[Row] = []
        count = 0
        page_parameters: dict[str, Any] | None = parameters
        while page_parameters is not None:
            page = self._get(path, page_parameters)
            if isinstance(page, list):  # an endpoint without pages
                return page, len(page)
            if not isinstance(page, dict) or not {"results", "count", "next"} <= page.keys():
                raise NetworkError(f"{self.base_url}{path} did not give a page of a list. Is it an Alyx database?")
            rows += page["results"]
            count = page["count"]
            # The query only: behind a proxy the address in "next" may be one that nobody else can reach.
            page_parameters = dict(parse_qsl(urlsplit(page["next"]).query)) if page["next"] else None
            if page_parameters is not None and (not page["results"] or len(rows) > count):
                break
        return rows, count

    def _get(self, path: str, parameters: dict[str, Any]) -> Any:
        log_in(self.alyx, self._session, self.limits)
        status, text = self._request(path, parameters)
        if _is_token_refused(status, text):
            log_in_again(self.alyx, self._session, self.limits)
            status, text = self._request(path, parameters)
        if status != 200:
            raise RefusedError(
                f"{self.base_url}{path} answers {status}: {_detail(text)}{_way_out(status)}", status=status
            )
        try:
            return json.loads(text)
        except ValueError as error:
            raise NetworkError(
                f"{self.base_url}{path} did not answer with JSON but with '{text[:60]}'. Is it an Alyx database?"
            ) from error

    def _request(self, path: str, parameters: dict[str, Any]) -> tuple[int, str]:
        # ONE has no public way to its token; these are the headers that its own requests carry.
        headers = {**self.alyx._headers, "Accept": "application/json"}
        response = open_response(self._session, self.base_url + path, self.limits, params=parameters, headers=headers)
        return response.status_code, read_text(response, self.limits)


def _identity(row: Row) -> str:
    """What tells rows of a list apart: the id, or where there is none the address or the name."""
    for field in ("id", "url", "name", "username"):
        if row.get(field):
            return str(row[field])
    return json.dumps(row, sort_keys=True, default=str)


def _is_token_refused(status: int, text: str) -> bool:
    return status == 401 or (status == 403 and "token" in _detail(text).lower())


def _detail(text: str) -> str:
    """What the body of an error says, which Alyx gives as ``{"detail": ..., "status_code": ...}``."""
    try:
        body = json.loads(text)
    except ValueError:
        return text.strip()[:200] or "no reason given."
    return str(body.get("detail") or body) if isinstance(body, dict) else str(body)


def _way_out(status: int) -> str:
    if status == 403:
        return " Ask the database's administrator for access."
    return " The fault is on the server's side; try again later." if status >= 500 else ""
