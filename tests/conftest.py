"""Nothing that a test does touches the user's own folders."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IBL_NWB_DATA", str(tmp_path_factory.mktemp("ibl_nwb_data")))
        for name in ("ALYX_URL", "ALYX_LOGIN", "ALYX_PWD", "ALYX_TOKEN", "ONE_CACHE_DIR"):
            patch.delenv(name, raising=False)
        yield
