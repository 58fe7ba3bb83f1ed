"""Positions and regions of electrodes from Alyx's channels: the best provenance, and only where the folder has none."""

import random

import numpy as np
import pytest
from iblatlas.regions import BrainRegions
from pynwb import read_nwb

from ibl_nwb import AlyxRecord, IBLConverter, convert_document, make_document
from ibl_nwb.acquire import connect, fetch_record
from ibl_nwb.testing import example_alyx_answers, make_example_session

pytest_plugins = ["acquire_fixtures"]

SMALL = dict(
    n_channels=16, raw_duration_s=0.1, raw_bands=("ap",), spikes_per_probe=300, n_trials=6, cameras=(), audio=False
)


@pytest.fixture(scope="module")
def without_histology(tmp_path_factory):
    return make_example_session(tmp_path_factory.mktemp("without"), histology=False, **SMALL)


def channels_of(answers, probe, provenance):
    """Independent look-up: what Alyx says about each site of a probe by one trajectory, by position on the probe."""
    (trajectory,) = (
        t["id"] for t in answers["trajectories"] if (t["probe_name"], t["provenance"]) == (probe, provenance)
    )
    rows = [row for row in answers["channels"] if row["trajectory_estimate"] == trajectory]
    return {(row["lateral"], row["axial"]): row for row in rows}


def convert(session_path, record, path):
    summary = convert_document(make_document(session_path, alyx=record, include=["SortedSpikes", "RawEphys"]), path)
    nwbfile = read_nwb(path)
    electrodes, groups = (
        nwbfile.electrodes.to_dataframe(),
        {g.name: g.location for g in nwbfile.electrode_groups.values()},
    )
    nwbfile.read_io.close()
    return electrodes, groups, summary


def test_probes_without_histology_in_the_folder_are_placed_by_the_aligned_trajectory(without_histology, tmp_path):
    answers = example_alyx_answers(without_histology, channels=True)
    electrodes, groups, summary = convert(without_histology, AlyxRecord.from_rest(**answers), tmp_path / "a.nwb")
    regions = BrainRegions()
    assert len(electrodes) == 32
    for _, electrode in electrodes.iterrows():
        at = channels_of(answers, electrode["group_name"], "Ephys aligned histology track")
        channel = at[electrode["rel_x"], electrode["rel_y"]]
        assert (electrode["ml"], electrode["ap"], electrode["dv"]) == (channel["x"], channel["y"], channel["z"])
        assert (electrode["x"], electrode["y"]) == (5400 - channel["y"], 332 - channel["z"])
        assert electrode["z"] == 5739 + channel["x"]
        assert electrode["allen_id"] == channel["brain_region"]
        assert electrode["location"] == regions.id2acronym(channel["brain_region"])[0]
    assert "unknown" not in groups.values()
    assert summary.notes == [
        f"16 of 16 electrodes of probe0{probe} placed by Alyx (Ephys aligned histology track)." for probe in (0, 1)
    ]


def test_histology_in_the_folder_wins(tmp_path):
    session_path = make_example_session(tmp_path / "with", **SMALL)
    answers = example_alyx_answers(session_path, channels=True)
    for channel in answers["channels"]:
        channel.update(x=1.0, y=2.0, z=3.0, brain_region=997)
    electrodes, _, summary = convert(session_path, AlyxRecord.from_rest(**answers), tmp_path / "a.nwb")
    sites = np.load(session_path / "alf/probe00/electrodeSites.mlapdv.npy")
    of_first = electrodes[electrodes["group_name"] == "probe00"]
    np.testing.assert_array_equal(of_first[["ml", "ap", "dv"]].to_numpy(), sites)
    assert summary.notes == []


def test_without_channels_the_regions_stay_unknown(without_histology, tmp_path):
    record = AlyxRecord.from_rest(**example_alyx_answers(without_histology))
    electrodes, groups, _ = convert(without_histology, record, tmp_path / "a.nwb")
    assert set(electrodes["location"]) == set(groups.values()) == {"unknown"}
    assert electrodes["ml"].isna().all()


class TestRecord:
    def test_holds_the_channels_of_the_best_provenance_in_a_stable_order(self, without_histology):
        answers = example_alyx_answers(without_histology, channels=True)
        record = AlyxRecord.from_rest(**answers)
        provenance_of = {t["id"]: t["provenance"] for t in answers["trajectories"]}
        assert {provenance_of[c.trajectory_estimate] for c in record.channels} == {"Ephys aligned histology track"}
        assert len(record.channels) == len(answers["channels"]) / 2
        positions = [(c.trajectory_estimate, c.axial, c.lateral) for c in record.channels]
        assert positions == sorted(positions)
        random.Random(1).shuffle(answers["channels"])
        assert AlyxRecord.from_rest(**answers).to_json() == record.to_json()

    def test_takes_the_traced_track_where_nothing_is_aligned(self, without_histology):
        answers = example_alyx_answers(without_histology, channels=True)
        aligned = {t["id"] for t in answers["trajectories"] if t["provenance"].startswith("Ephys aligned")}
        answers["channels"] = [c for c in answers["channels"] if c["trajectory_estimate"] not in aligned]
        assert len(AlyxRecord.from_rest(**answers).channels) == len(answers["channels"])

    def test_is_fetched_with_channels(self, private_server, without_histology, tmp_path):
        private_server.rows.clear()
        answers = example_alyx_answers(without_histology, channels=True)
        answers["channels"] = [c for c in answers["channels"] if c["axial"] <= 60]
        private_server.add_answers(answers)
        one = connect(base_url=private_server.url, cache_dir=tmp_path / "cache")
        record = fetch_record(one, answers["session"]["id"])
        assert record.channels == AlyxRecord.from_rest(**answers).channels
        assert len(record.channels) == 12

    def test_nulls_are_no_position(self, without_histology, tmp_path):
        answers = example_alyx_answers(without_histology, channels=True)
        for channel in answers["channels"]:
            channel.update(x=None, y=None, z=None, brain_region=None, axial=channel["axial"])
        converter = IBLConverter.from_session(
            without_histology, alyx=AlyxRecord.from_rest(**answers), include=["SortedSpikes"]
        )
        converter.run_conversion(tmp_path / "a.nwb")
        nwbfile = read_nwb(tmp_path / "a.nwb")
        assert set(nwbfile.electrodes["location"][:]) == {"unknown"}
        nwbfile.read_io.close()
