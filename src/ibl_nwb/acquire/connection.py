"""The ONE object to search and download with: one call, no questions asked."""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from ..errors import OutputNotWritableError, UsageError
from .credentials import log_in
from .http import Limits

_logger = logging.getLogger(__name__)


def connect(
    *,
    base_url: str | None = None,
    cache_dir: str | Path | None = None,
    offline: bool = False,
    limits: Limits | None = None,
) -> Any:
    """Open a ONE object, without prompts.

    Parameters
    ----------
    base_url : str, optional
        Address of the Alyx database. Default: the environment variable ``ALYX_URL``, then ONE's default database.
    cache_dir : path-like, optional
        Folder that files are downloaded to. Default: the one that ONE has for this database.
    offline : bool, default: False
        Use what is in ``cache_dir``, with or without tables, and never send a request.
    limits : Limits, optional
        How long to wait for the server.

    Returns
    -------
    one.api.OneAlyx or one.api.One
        ONE as always, logged in; a ``One`` in local mode when offline.

    Raises
    ------
    UsageError
        If the address is none, there are no credentials (see :mod:`ibl_nwb.acquire.credentials`), or ``cache_dir`` is
        needed or does not exist.
    NetworkError
        If the log-in fails.
    """
    address = _checked_address(base_url or os.environ.get("ALYX_URL"))
    try:
        if offline:
            return _open_local(_local_cache_dir(address, cache_dir))
        one = _open_remote(address, cache_dir)
    except json.JSONDecodeError as error:
        raise UsageError(f"ONE's parameters cannot be read: {error.args[0]}. Correct or delete that file.") from error
    except OSError as error:
        raise OutputNotWritableError(
            f"ONE cannot write '{error.filename}': {error.strerror}. It keeps parameters in the home folder and files "
            "in its cache; make these writable or give --cache-dir."
        ) from error
    with requests.Session() as session:
        log_in(one.alyx, session, limits or Limits())
    return one


def is_remote(one: Any) -> bool:
    """Whether a ONE object may send requests."""
    return not one.offline


def cache_dir_of(one: Any) -> Path:
    """The folder that a ONE object keeps files in, as an absolute path."""
    return Path(os.path.abspath(Path(one.cache_dir).expanduser()))


def _open_remote(address: str | None, cache_dir: str | Path | None) -> Any:
    from one import params
    from one.api import OneAlyx

    given = None if cache_dir is None else _absolute(cache_dir)
    address = address or params.get_default_client() or params.default().ALYX_URL
    if not _is_registered(address):
        # Otherwise ONE makes up a cache folder in the home folder, whatever folder it is given.
        params.setup(client=address, silent=True, cache_dir=given)
    # The REST cache is off: its key has no address, so that databases that share a folder read each other's answers.
    return OneAlyx(base_url=address, cache_dir=given, mode="remote", silent=True, cache_rest=None)


def _open_local(cache_dir: Path) -> Any:
    from one.api import One

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No cache tables found")  # then the folders themselves are searched
        return One(cache_dir=cache_dir, mode="local")


def _local_cache_dir(address: str | None, cache_dir: str | Path | None) -> Path:
    from one import params

    if cache_dir is None:
        address = address or params.get_default_client()
        if address is None or not _is_registered(address):
            raise UsageError(
                f"ONE has no cache folder{f' for {address}' if address else ''} yet. Give --cache-dir, or connect once."
            )
        return Path(params.get_cache_dir(address))
    folder = _absolute(cache_dir)
    if not folder.is_dir():
        raise UsageError(f"There is no cache folder '{folder}'. Give the one that was downloaded to.")
    return folder


def _is_registered(address: str) -> bool:
    from iblutil.io import params as parameter_files
    from one import params

    known = parameter_files.as_dict(parameter_files.read("one/caches", {})) or {}
    return params._key_from_url(address) in known.get("CLIENT_MAP", {})


def _checked_address(address: str | None) -> str | None:
    if address is None:
        return None
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(
            f"'{address}' is no address of a database, such as https://openalyx.internationalbrainlab.org."
        )
    if parts.username or parts.password:
        raise UsageError("Credentials do not belong in the address of a database; set ALYX_LOGIN and ALYX_PWD.")
    return address.rstrip("/")


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))
