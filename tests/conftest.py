"""What holds for all tests: the user's own folders are not touched, and the same recording is compressed once."""

import hashlib
import shutil

import pytest

from ibl_nwb.testing import _raw_ephys

#: Modules that take longest; a process that came to one of them last would keep the others waiting.
LONG_MODULES = (
    "test_gui_browser",
    "test_batch_faults",
    "test_whole_sessions",
    "test_streaming",
    "test_batch_dask",
    "test_verify",
    "test_notebooks",
)


def pytest_collection_modifyitems(items):
    """Begin with what takes longest."""
    place = {name: number for number, name in enumerate(LONG_MODULES)}
    items.sort(key=lambda item: place.get(item.module.__name__.split(".")[-1], len(place)))


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IBL_NWB_DATA", str(tmp_path_factory.mktemp("ibl_nwb_data")))
        for name in ("ALYX_URL", "ALYX_LOGIN", "ALYX_PWD", "ALYX_TOKEN", "ONE_CACHE_DIR"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def compress_once(tmp_path_factory):
    """Keep what mtscomp makes of the recordings of example sessions: it takes longer than all else about a session."""
    compress = _raw_ephys._compress
    kept = tmp_path_factory.mktemp("compressed")

    def compress_or_copy(binary, rate_hz, n_columns):
        with binary.open("rb") as file:
            name = f"{hashlib.file_digest(file, 'md5').hexdigest()}_{rate_hz}_{n_columns}"
        suffixes = (".cbin", ".ch")
        if not all((kept / f"{name}{suffix}").exists() for suffix in suffixes):
            compress(binary, rate_hz, n_columns)
            for suffix in suffixes:
                shutil.copyfile(binary.with_suffix(suffix), kept / f"{name}{suffix}")
            return
        for suffix in suffixes:
            shutil.copyfile(kept / f"{name}{suffix}", binary.with_suffix(suffix))
        binary.unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_raw_ephys, "_compress", compress_or_copy)
        yield
