"""Where the real IBL files are, when they are there: they cannot be part of the project."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL = SHARED / "data" / "real"
CHIMERA = REAL / "chimera/mainenlab/Subjects/CHIMERA_01/2019-07-01/001"

needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="the real IBL files (../shared/data/real) are not here")

#: Every folder of real files that can be converted, with the families that are in it.
CONVERTIBLE = {
    "chimera/mainenlab/Subjects/CHIMERA_01/2019-07-01/001": {
        "RawEphysAPProbe00",
        "RawEphysLFProbe00",
        "SortedSpikesProbe00",
        "SortingTemplatesProbe00",
        "Trials",
        "Wheel",
        "PoseLeftCamera",
        "PoseRightCamera",
        "AudioSpectrogram",
        "Licks",
        "MotionEnergyLeftCamera",
        "MotionEnergyRightCamera",
        "VideoBodyCamera",
        "Sync",
        "Passive",
        "AmbientSensors",
        "RawTaskData",
        "TaskSettings",
        "TaskSettingsRawPassiveData",
        "ExperimentDescription",
    },
    "ibllib/sessions/mainenlab/Subjects/_iblrig_test_mouse/2019-07-01/001": {
        "Trials",
        "Wheel",
        "AudioSpectrogram",
        "AmbientSensors",
        "RawTaskData",
        "TaskSettings",
    },
    "ibllib/sessions/wittenlab/Subjects/ibl_witten_01/2018-12-17/003": {
        "Trials",
        "Wheel",
        "RawTaskData",
        "TaskSettings",
    },
    "ibllib_history/sessions/mainenlab/Subjects/_iblrig_test_mouse/2019-06-24/002": {
        "Trials",
        "AmbientSensors",
        "RawTaskData",
        "TaskSettings",
    },
    "iblrig_history/test_mouse/2018-10-02/001": {"Trials", "Wheel", "AmbientSensors", "RawTaskData", "TaskSettings"},
    "passive/session": {"Passive", "TaskSettings"},
    "ibl-photometry/wittenlab/Subjects/fip_40/2023-05-18/001": {"Trials"},
    "ibl-photometry/version_5": {"Trials"},
    "eks/3f859b5c-e73a-4044-b49e-34bb81e96715": {"PoseLeftCamera", "PoseRightCamera"},
    "bombcell_ks2": {"SortedSpikesProbe00", "SortingTemplatesProbe00"},
    "ibllib/ephys_test": {"SortedSpikesProbe00"},
    "ibllib/wheel_test_1": {"Wheel"},
}
