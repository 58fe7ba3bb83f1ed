"""Fixtures of the tests of ``ibl_nwb.acquire``: a session in a store, a server that knows it, a ONE of their own."""

import shutil

import pytest
from acquire_example import SESSION, SMALL
from alyx_server import PASSWORD, USERNAME, AlyxServer

from ibl_nwb.acquire import connect
from ibl_nwb.testing import make_example_session


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A file server's folder with one session, dataset UUIDs in the names."""
    folder = tmp_path_factory.mktemp("store")
    make_example_session(folder, uuids_in_names=True, **SMALL)
    return folder


@pytest.fixture(scope="session")
def bare_session(tmp_path_factory):
    """The same session as somebody may have it on a disk: all files, tidy names."""
    return make_example_session(tmp_path_factory.mktemp("bare"), **SMALL)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of the test's own: ONE's parameters and our records go there, no credentials but the test's."""
    import one.params
    from one.api import ONE

    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "USERPROFILE", "APPDATA"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setattr(one.params, "CACHE_DIR_DEFAULT", str(folder / "ONE"))
    monkeypatch.setenv("IBL_NWB_DATA", str(folder / "ibl_nwb_data"))
    for name in ("ALYX_URL", "ALYX_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALYX_LOGIN", USERNAME)
    monkeypatch.setenv("ALYX_PWD", PASSWORD)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ONE.cache_clear()
    return folder


@pytest.fixture
def server(store, home):
    """A server that knows the session, three rows to a page."""
    with AlyxServer(store, page_size=3) as alyx_server:
        alyx_server.add_example(store / SESSION)
        yield alyx_server


@pytest.fixture
def private_server(store, home, tmp_path):
    """Like ``server``, with files that a test may change."""
    folder = tmp_path / "store"
    shutil.copytree(store, folder)
    with AlyxServer(folder, page_size=50) as alyx_server:
        alyx_server.add_example(folder / SESSION)
        yield alyx_server


@pytest.fixture
def one(server, tmp_path):
    """A real ONE client of the server."""
    return connect(base_url=server.url, cache_dir=tmp_path / "cache")


@pytest.fixture
def eid(server):
    """The session's id."""
    return server.rows["sessions"][0]["id"]
