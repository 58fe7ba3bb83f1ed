"""The scripts in conversion_scripts/ run as they stand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pynwb import read_nwb

from ibl_nwb.testing import make_example_session

SCRIPTS = Path(__file__).resolve().parents[1] / "conversion_scripts"


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("session"), probes=(), raw_bands=(), cameras=(), audio=False, n_trials=12
    )


def run(script, *arguments):
    subprocess.run([sys.executable, SCRIPTS / script, *map(str, arguments)], check=True, capture_output=True, text=True)


def test_convert_session(session_path, tmp_path):
    run("convert_session.py", session_path, tmp_path, "--timezone", "Europe/Lisbon")
    (path,) = tmp_path.glob("*.nwb")
    nwbfile = read_nwb(path)
    assert len(nwbfile.trials) == 12
    assert "WheelVelocity" in nwbfile.processing["wheel"].data_interfaces
    nwbfile.read_io.close()
    assert path.with_suffix(".json").is_file()


def test_combine_with_neuroconv(session_path, tmp_path):
    pd.DataFrame({"start_time": [0.0, 5.0], "stop_time": [1.0, 6.0]}).to_csv(tmp_path / "lights.csv", index=False)
    names = ["scorer", "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product([["network"], ["nose", "tail"], ["x", "y", "likelihood"]], names=names)
    pd.DataFrame(np.random.default_rng(0).random((20, 6)), columns=columns).to_csv(tmp_path / "topDLC.csv")
    run("combine_with_neuroconv.py", session_path, tmp_path / "lights.csv", tmp_path / "topDLC.csv", tmp_path / "out")
    for name in ("nwbconverter", "converter_pipe"):
        nwbfile = read_nwb(tmp_path / "out" / f"{name}.nwb")
        assert len(nwbfile.trials) == 12
        assert len(nwbfile.intervals["arena_lights"]) == 2
        assert "PoseEstimationDeepLabCut" in nwbfile.processing["behavior"].data_interfaces
        assert nwbfile.processing["wheel"]["WheelPosition"].description.endswith("in this lab's words.")
        nwbfile.read_io.close()
