"""Logging in to Alyx without prompts, without losing a token, and without a credential in any message.

Credentials come from ONE's own store, or from environment variables with the names that ONE gives these parameters:

===============  =============================================
``ALYX_URL``     address of the database
``ALYX_LOGIN``   user name
``ALYX_PWD``     password
``ALYX_TOKEN``   token, for accounts that have no password
===============  =============================================

A token that ONE has is used as long as the server takes it. A new one is asked for here, not by ONE, which deletes the
old token before it asks and asks without a timeout; it is then handed to ONE to keep.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import urlsplit

import requests

from ..errors import NetworkError, UsageError
from .http import Limits, read_text, send


def log_in(alyx: Any, session: requests.Session, limits: Limits) -> None:
    """Make an Alyx client ready to send requests, if it is not yet.

    Parameters
    ----------
    alyx : one.webclient.AlyxClient
        The client.
    session : requests.Session
        The connection to use.
    limits : Limits
        How long to wait.

    Raises
    ------
    UsageError
        If there is neither a token nor anything to get one with.
    NetworkError
        If the server does not answer or refuses the credentials.
    """
    if alyx.is_logged_in:
        return
    username = _username(alyx)
    if username in (getattr(alyx._par, "TOKEN", None) or {}):
        alyx.authenticate(username=username)  # with the token that ONE has; no request is sent
    else:
        _get_token(alyx, username, session, limits)


def log_in_again(alyx: Any, session: requests.Session, limits: Limits) -> None:
    """Get a new token for the one that the server no longer takes, which stays in ONE's store until then.

    Raises
    ------
    NetworkError
        If there is nothing to get a new one with, or the server refuses that too.
    """
    username = alyx.user or _username(alyx)
    given_token = os.environ.get("ALYX_TOKEN")
    is_new_token = given_token is not None and given_token not in str(alyx._headers.get("Authorization"))
    if not is_new_token and _password(alyx) is None:
        raise NetworkError(
            f"{alyx.base_url} no longer takes the token of user '{username}' that ONE has. Log in again: set ALYX_PWD "
            f"or ALYX_TOKEN in the environment, or run ONE(base_url='{alyx.base_url}', username='{username}', "
            "password=...) once in Python."
        )
    _get_token(alyx, username, session, limits)


def file_server_login(parameters: Any, url: str) -> tuple[str, str] | None:
    """User name and password of the file server in ONE's parameters, for no other server than that.

    Parameters
    ----------
    parameters : iblutil.io.params.IBLParams
        What ONE keeps of a database.
    url : str
        Address of a file.
    """
    server, login, password = (getattr(parameters, f"HTTP_DATA_SERVER{part}", None) for part in ("", "_LOGIN", "_PWD"))
    if not server or not login or not password or urlsplit(server)[:2] != urlsplit(url)[:2]:
        return None
    return login, password


def stored_file_server_login(url: str) -> tuple[str, str] | None:
    """Like :func:`file_server_login`, from the first of the databases in ONE's store that has one for this server."""
    from iblutil.io import params

    known = params.as_dict(params.read("one/caches", {})) or {}
    logins = (file_server_login(params.read(f"one/{key}", {}), url) for key in known.get("CLIENT_MAP", {}))
    return next((login for login in logins if login is not None), None)


def _get_token(alyx: Any, username: str | None, session: requests.Session, limits: Limits) -> None:
    token, password = os.environ.get("ALYX_TOKEN"), _password(alyx)
    if password is not None and username:
        token = _exchange(alyx.base_url, username, password, session, limits)
    if not token or not username:
        raise UsageError(
            f"There is no token for {alyx.base_url}{f' and user {username!r}' if username else ''} in ONE's store. Set "
            "ALYX_LOGIN and ALYX_PWD (or ALYX_TOKEN) in the environment, or run "
            f"ONE(base_url='{alyx.base_url}', username=..., password=...) once in Python."
        )
    try:
        alyx.authenticate(username=username, token=token)  # ONE keeps it; a database that has /me is asked whose it is
    except requests.exceptions.HTTPError as error:
        raise NetworkError(
            f"{alyx.base_url} refuses the token in ALYX_TOKEN for user '{username}'. Give a valid one, or unset it."
        ) from error


def _exchange(base_url: str, username: str, password: str, session: requests.Session, limits: Limits) -> str:
    """A token for a password."""
    response = send(
        session, "POST", f"{base_url}/auth-token", limits, data={"username": username, "password": password}
    )
    text = read_text(response, limits)
    if response.status_code in (400, 401, 403):
        raise NetworkError(f"{base_url} refuses user '{username}' with the password in ALYX_PWD. Correct the two.")
    if response.status_code != 200:
        raise NetworkError(f"{base_url} answers {response.status_code} to the log-in of '{username}'. Try again later.")
    try:
        return str(json.loads(text)["token"])
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkError(f"{base_url}/auth-token gave no token. Is it an Alyx database?") from error


def _username(alyx: Any) -> str | None:
    return os.environ.get("ALYX_LOGIN") or getattr(alyx._par, "ALYX_LOGIN", None) or alyx.user or None


def _password(alyx: Any) -> str | None:
    """From the environment, or from ONE's store, where a user may have written it by hand."""
    return os.environ.get("ALYX_PWD") or getattr(alyx._par, "ALYX_PWD", None) or None
