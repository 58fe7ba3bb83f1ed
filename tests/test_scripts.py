"""The scripts in conversion_scripts/ run as they stand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pynwb import read_nwb

from ibl_nwb.testing import make_example_session

pytest_plugins = ["acquire_fixtures"]

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


def test_convert_project_as_for_the_brain_wide_map(server, eid, tmp_path, monkeypatch):
    """The configuration of the release, for a database, an archive and interfaces of the test."""
    pytest.importorskip("dandi")
    from dandi_server import API_KEY, DandiServer

    configuration = yaml.safe_load((SCRIPTS / "brain_wide_map.yml").read_text())
    configuration["one_url"] = server.url
    configuration["batch"]["include"] = ["Wheel", "Trials"]
    with DandiServer() as archive:
        monkeypatch.setenv(archive.key_variable, API_KEY)
        configuration["upload"] = {"dandiset": archive.identifier, "instance": archive.url}
        (tmp_path / "project.yml").write_text(yaml.safe_dump(configuration))
        arguments = (tmp_path / "project.yml", tmp_path / "out", "--cache-dir", tmp_path / "cache")
        run("convert_project.py", *arguments, "--dry-run")
        assert not (tmp_path / "out").exists()
        run("convert_project.py", *arguments)
        (path,) = (tmp_path / "out").glob("sub-*/*.nwb")
        assert path.name.startswith(f"sub-EX-001_ses-{eid}_desc-processed_")
        assert archive.content(path.relative_to(tmp_path / "out").as_posix()) == path.read_bytes()
    assert any("tag=2025_Q3_IBL_et_al_BWM" in request for request in server.requests)
    nwbfile = read_nwb(path)
    assert list(nwbfile.related_publications) == configuration["batch"]["metadata"]["NWBFile"]["related_publications"]
    nwbfile.read_io.close()
