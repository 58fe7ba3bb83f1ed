"""Nothing that a test does touches the user's own folders."""

import pytest

#: Modules that take longest. They come first, so that not one of them is left over at the end for one processor.
SLOW = (
    "test_batch_faults",
    "test_whole_sessions",
    "test_batch_dask",
    "test_verify",
    "test_streaming",
    "test_notebooks",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in SLOW)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IBL_NWB_DATA", str(tmp_path_factory.mktemp("ibl_nwb_data")))
        for name in ("ALYX_URL", "ALYX_LOGIN", "ALYX_PWD", "ALYX_TOKEN", "ONE_CACHE_DIR"):
            patch.delenv(name, raising=False)
        yield
