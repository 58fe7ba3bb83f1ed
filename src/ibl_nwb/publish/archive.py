"""A Dandiset on an instance of the DANDI archive: connecting, what is there, and bringing a file there."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

import requests

from ..acquire.http import UnreachableError, without_query
from ..errors import ChecksumError, NetworkError, UsageError
from .validation import check_dandi_is_installed

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Longest silence of a server in seconds. Joining the parts of a large file takes the storage minutes.
_TIMEOUT_S = 600.0

#: Wait before a file is tried for the second time, in seconds; four times as long before each further one. Single
#: requests are tried again by dandi itself, twelve times within a minute.
FIRST_WAIT_S = 15.0

_REFUSED = (401, 403)

#: What dandi calls the checksums of an asset: the first of files, the second of Zarr.
_DIGESTS = ("dandi:dandi-etag", "dandi:dandi-zarr-checksum")


class RefusedError(NetworkError):
    """The archive does not let this user do this."""


class Archive:
    """The draft of a Dandiset, with dandi's own client.

    Parameters
    ----------
    client : dandi.dandiapi.DandiAPIClient
        The client, logged in.
    dandiset : dandi.dandiapi.RemoteDandiset
        The draft.

    Attributes
    ----------
    instance : str
        What dandi calls the instance, such as "dandi" or "dandi-sandbox".
    identifier : str
        Number of the Dandiset, six digits.
    """

    def __init__(self, client: Any, dandiset: Any):
        self.client = client
        self.dandiset = dandiset
        self.instance: str = client.dandi_instance.name
        self.identifier: str = dandiset.identifier

    def find(self, path: str) -> Any | None:
        """The asset at a path, None where there is none."""
        from dandi.exceptions import NotFoundError

        try:
            return self.dandiset.get_asset_by_path(path)
        except NotFoundError:
            return None

    def holds(self, asset: Any, size: int, digest: str, sha256: str | None = None) -> bool:
        """Whether an asset on the server has the size and the checksums of a local file.

        Parameters
        ----------
        asset : dandi.dandiapi.RemoteAsset
            The asset; what the server says of it is asked for now.
        size : int
            In bytes.
        digest : str
            dandi-etag of a file, dandi-zarr-checksum of a Zarr.
        sha256 : str, optional
            SHA-256 of a file. The server computes its own some time after an upload; only then it is compared.
        """
        digests = self._digests(asset)
        theirs = next((digests[name] for name in _DIGESTS if name in digests), None)
        same_hash = sha256 is None or digests.get("dandi:sha2-256", sha256) == sha256
        return asset.size == size and theirs == digest and same_hash

    def check(self, asset_id: str, size: int, digest: str, sha256: str | None) -> None:
        """Check that what the server has under an id is what was sent; parameters as of :meth:`holds`.

        Raises
        ------
        ChecksumError
            If it is not.
        """
        asset = self.dandiset.get_asset(asset_id)
        if not self.holds(asset, size, digest, sha256):
            raise ChecksumError(
                f"The archive has not what was sent for '{asset.path}': {asset.size} bytes with checksums "
                f"{self._digests(asset)}, instead of {size} bytes with {digest}. Upload again; it will be replaced."
            )

    def _digests(self, asset: Any) -> dict[str, str]:
        return dict(self.client.get(asset.api_path).get("digest", {}))


@contextmanager
def connect(dandiset: str, instance: str) -> Iterator[Archive]:
    """Log in to an instance of the archive, and close the connection at the end.

    The API key is taken from dandi's own environment variable (``DANDI_API_KEY``, ``DANDI_SANDBOX_API_KEY``, ...) or
    from the keyring where dandi keeps it.

    Parameters
    ----------
    dandiset : str
        Number of the Dandiset, such as "000409".
    instance : str
        Name of an instance that dandi knows, or its address.

    Raises
    ------
    UsageError
        If there is no such instance or Dandiset, or no API key.
    NetworkError
        If the archive cannot be reached, refuses the key, or does not speak with this version of dandi.
    """
    from dandi.dandiapi import RESTFullAPIClient
    from dandi.exceptions import NotFoundError

    send = RESTFullAPIClient.request

    def send_with_timeout(self: Any, *args: Any, **options: Any) -> Any:
        return send(self, *args, **{"timeout": _TIMEOUT_S, **options})

    number = _dandiset_number(dandiset)
    # dandi waits for ever for a server that has fallen silent, and offers no other place to say how long.
    with (
        patch.object(RESTFullAPIClient, "request", send_with_timeout),
        _plain_log(),
        _open_client(instance) as client,
    ):
        try:
            draft = client.get_dandiset(number, "draft", lazy=False)
        except NotFoundError as error:
            raise UsageError(
                f"{client.dandi_instance.name} has no Dandiset {number}, or none that this key may see. Look at "
                f"{client.dandi_instance.gui or client.api_url}."
            ) from error
        except requests.RequestException as error:
            raise explain(error) from error
        yield Archive(client, draft)


def check_access(dandiset: str, instance: str = "dandi") -> None:
    """Log in and look for a Dandiset, before work is done for it; arguments and errors as of :func:`connect`."""
    check_dandi_is_installed()
    with connect(dandiset, instance):
        pass


def find_api_key(instance: str) -> str | None:
    """Where the API key for an instance is: in an environment variable or the keyring. No request is sent.

    Parameters
    ----------
    instance : str
        Name of an instance that dandi knows, such as "dandi-sandbox".

    Returns
    -------
    str or None
        For a sentence, such as "the environment variable DANDI_API_KEY"; None if there is no key.

    Raises
    ------
    UsageError
        If dandi knows no such instance, or is not installed.
    """
    check_dandi_is_installed()
    from dandi.consts import known_instances
    from dandi.dandiapi import DandiAPIClient

    if instance not in known_instances:
        raise UsageError(f"dandi knows no instance '{instance}'. It knows {', '.join(known_instances)}.")
    client = DandiAPIClient(dandi_instance=known_instances[instance])
    return _find_key(client.dandi_instance.name, client.api_key_env_var)[1]


def try_again(work: Callable[[], _T], attempts: int, what: str) -> _T:
    """Do something that a network or a server can spoil, again if it is spoilt, with longer and longer waits.

    Parameters
    ----------
    work : callable
        What to do.
    attempts : int
        How often at most.
    what : str
        What it is about, for messages.

    Raises
    ------
    NetworkError
        If it did not succeed; :class:`RefusedError` and :class:`UnreachableError` say that nothing else would either.
    ChecksumError
        If client and server did not agree on what was sent.
    """
    from dandi.exceptions import UploadError

    for attempt in range(attempts):
        try:
            return work()
        except (requests.RequestException, UploadError, RuntimeError) as error:
            told = explain(error)
            if attempt + 1 == attempts or not _may_pass(error):
                raise told from error
        wait_s = FIRST_WAIT_S * 4**attempt
        _logger.warning("%s: %s Trying again in %.0f s.", what, told, wait_s)
        time.sleep(wait_s)
    raise AssertionError("attempts is at least 1")


def explain(error: Exception) -> NetworkError | ChecksumError:
    """What went wrong, as a sentence without signatures of addresses."""
    text = hide_queries(" ".join(str(error).split()))
    response = getattr(error, "response", None)
    if response is not None:
        if response.status_code in _REFUSED and not _is_of_storage(response):
            return RefusedError(
                f"The archive refuses that ({text}). The user of the API key has to be an owner of the Dandiset."
            )
        return NetworkError(f"The archive could not do that: {text}.")
    if isinstance(error, requests.RequestException):
        return UnreachableError(
            f"The archive cannot be reached, or no longer: {text}. Check the network; give the same command to go on."
        )
    if "disagree" in text or "etag changed" in text or "checksum" in text:
        return ChecksumError(f"{text}. The file was not taken; give the same command to try again.")
    return NetworkError(f"The upload failed: {text}.")


def hide_queries(text: str) -> str:
    """Text whose addresses have lost what follows the question mark, which may be a signature."""
    return re.sub(r"https?://\S+", lambda found: without_query(found[0]), text)


def _may_pass(error: Exception) -> bool:
    """Whether trying again may help."""
    response = getattr(error, "response", None)
    if response is None:
        return "etag changed" not in str(error)
    has_expired = response.status_code == 403 and _is_of_storage(response)  # a new address is asked for
    return response.status_code >= 500 or response.status_code == 429 or has_expired


def _is_of_storage(response: requests.Response) -> bool:
    """Whether an answer is not of the archive but of its storage, which is sent no key but a signed address."""
    return "Authorization" not in response.request.headers


def _open_client(instance: str) -> Any:
    from dandi.consts import known_instances
    from dandi.dandiapi import DandiAPIClient
    from dandi.exceptions import SchemaVersionError

    if not instance.startswith(("http://", "https://")) and instance not in known_instances:
        raise UsageError(
            f"dandi knows no instance '{instance}'. It knows {', '.join(known_instances)}; of others give the address, "
            "https://..."
        )
    try:
        client = DandiAPIClient.for_dandi_instance(instance)
        client.check_schema_version()
    except (RuntimeError, ValueError, SchemaVersionError) as error:  # its texts tell what to do
        raise NetworkError(f"The archive '{instance}' cannot be used: {error}.") from error
    except requests.RequestException as error:
        raise explain(error) from error
    _authenticate(client)
    return client


def _authenticate(client: Any) -> None:
    name = client.dandi_instance.name
    variable = client.api_key_env_var
    gui = client.dandi_instance.gui or client.api_url
    key, source = _find_key(name, variable)
    if not key:
        raise UsageError(
            f"There is no API key for {name}. Copy it from your profile at {gui} into the environment variable "
            f"{variable}, or have dandi put it into the keyring."
        )
    if not re.fullmatch(r"[!-~]+", key.strip()):  # else it would be in the message of an error
        raise UsageError(f"The API key in {source} has characters that no key has. Copy it again from {gui}.")
    try:
        client.authenticate(key.strip())
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code not in _REFUSED:
            raise explain(error) from error
        raise RefusedError(
            f"{name} refuses the API key in {source}. Copy a new one from your profile at {gui}; each instance has its "
            "own keys."
        ) from None
    except requests.RequestException as error:
        raise explain(error) from error


def _find_key(name: str, variable: str) -> tuple[str | None, str | None]:
    """The key for an instance, and where it was found."""
    key = os.environ.get(variable)
    if key:
        return key, f"the environment variable {variable}"
    key = _key_of_keyring(name)
    return (key, "the keyring") if key else (None, None)


def _key_of_keyring(name: str) -> str | None:
    """The key that dandi has kept, None where there is none or no keyring that can be opened."""
    import click
    from dandi.keyring_utils import keyring_lookup
    from keyring.errors import KeyringError

    try:
        return keyring_lookup(f"dandi-api-{name}", "key")[1]
    except (KeyringError, click.Abort):  # it cannot be opened here, or the user would not
        return None


def _dandiset_number(text: str) -> str:
    number = text.strip().upper().removeprefix("DANDI:")
    if not re.fullmatch(r"\d{1,6}", number):
        raise UsageError(f"'{text}' is no number of a Dandiset. Give one such as 000409.")
    return number.zfill(6)


@contextmanager
def _plain_log() -> Iterator[None]:
    """Have dandi log neither tracebacks of what is told as a sentence here, nor signatures of addresses."""

    def plain(record: logging.LogRecord) -> bool:
        record.msg, record.args, record.exc_info = hide_queries(record.getMessage()), None, None
        return True

    logger = logging.getLogger("dandi")
    logger.addFilter(plain)
    try:
        yield
    finally:
        logger.removeFilter(plain)
