"""The table of datasets that are left out on purpose: it speaks of files that exist, and gives each a reason."""

import pytest

from ibl_nwb.not_converted import LEFT_OUT, reason_left_out
from ibl_nwb.session import ALFSession

LISTED = {
    "raw_task_data_01/_iblrig_taskData.raw.pqt": "protocol of its own",
    "raw_behavior_data/_iblrig_codeFiles.raw.zip": "program code",
    "raw_video_data/_iblrig_videoCodeFiles.raw.zip": "program code",
    "raw_ephys_data/_spikeglx_ephysData_g0_t0.nidq.meta": "sync board",
    "raw_sync_data/_timeline_DAQdata.raw.npy": "other than a NIDQ",
    "raw_passive_data/_iblrig_RFMapStim.raw.bin": "without their times",
    "raw_ephys_data/probe00/_iblqc_ephysTimeRmsAP.timestamps.npy": "times or frequencies",
}


@pytest.fixture(scope="module")
def reasons(tmp_path_factory):
    path = tmp_path_factory.mktemp("session")
    for name in [*LISTED, "alf/_ibl_wheel.position.npy", "alf/probe00/spikes.times.npy"]:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return {dataset.relative_path: reason_left_out(dataset) for dataset in ALFSession(path).datasets}


@pytest.mark.parametrize("name", LISTED)
def test_reason_of_a_dataset_that_pipelines_write(reasons, name):
    assert LISTED[name] in reasons[name]


def test_datasets_that_interfaces_read_are_not_in_it(reasons):
    assert reasons["alf/_ibl_wheel.position.npy"] is None
    assert reasons["alf/probe00/spikes.times.npy"] is None


def test_reasons_complete_the_sentence():
    for entry in LEFT_OUT:
        assert entry.reason.startswith("it ")
        assert not entry.reason.endswith(".")
