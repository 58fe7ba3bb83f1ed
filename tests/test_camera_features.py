"""Pupil, motion energy and paw states of the example session: what real ones are like, and convertible as they are."""

import numpy as np
import pandas as pd
import pytest
from camera_session import LABELS
from numpy.testing import assert_array_equal
from pynwb.testing.mock.file import mock_NWBFile

from ibl_nwb.interfaces.licks import LicksInterface
from ibl_nwb.interfaces.motion_energy import MotionEnergyInterface
from ibl_nwb.interfaces.paw_states import PawStatesInterface
from ibl_nwb.interfaces.pupil import PupilInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return make_example_session(tmp_path_factory.mktemp("features"), probes=(), n_trials=5, extra_camera_times=2)


def n_frames(session, camera):
    return len(np.load(session / f"alf/_ibl_{camera}Camera.times.npy")) - 2


def test_body_camera_sees_neither_eye_nor_paws(session):
    for interface in (PupilInterface, PawStatesInterface):
        cameras = [instance["camera_name"] for instance in interface.get_instances(ALFSession(session))]
        assert cameras == ["left", "right"]


@pytest.mark.parametrize("camera", ["left", "right"])
def test_pupil_is_nan_in_blinks_only(session, camera):
    features = pd.read_parquet(session / f"alf/_ibl_{camera}Camera.features.pqt")
    assert list(features) == ["pupilDiameter_raw", "pupilDiameter_smooth"]
    assert len(features) == n_frames(session, camera)
    assert features.isna().any().all()
    assert features.isna().mean().max() < 0.2
    assert features.min().min() > 10


@pytest.mark.parametrize("camera", ["left", "right"])
def test_probabilities_of_the_states_of_a_paw_add_up_to_one(session, camera):
    states = pd.read_parquet(session / f"alf/lightningaction/_ibl_{camera}Camera.pawstates.pqt")
    assert states.shape == (n_frames(session, camera), 20)
    assert states.iloc[-7:].isna().all(axis=None)
    for paw in ("paw_r", "paw_l"):
        probabilities = states[[name for name in states if name.startswith(paw) and not name.endswith("_ens_var")]]
        assert probabilities.shape[1] == 5
        np.testing.assert_allclose(probabilities.iloc[:-7].sum(axis=1), 1)


@pytest.mark.parametrize("camera", LABELS)
def test_motion_energy_repeats_the_last_value_and_its_region_is_within_the_frame(session, camera):
    motion_energy = np.load(session / f"alf/{camera}Camera.ROIMotionEnergy.npy")
    assert motion_energy.shape == (n_frames(session, camera),)
    assert motion_energy[-1] == motion_energy[-2]
    width, height, x, y = np.load(session / f"alf/{camera}ROIMotionEnergy.position.npy")
    assert x + width <= (1280 if camera == "left" else 640)
    assert y + height <= (1024 if camera == "left" else 512)


def test_everything_is_converted(session):
    nwbfile = mock_NWBFile()
    for interface in (LicksInterface, PupilInterface, MotionEnergyInterface, PawStatesInterface):
        for instance in interface.get_instances(ALFSession(session)):
            interface(session, **instance).add_to_nwbfile(nwbfile)
    assert set(nwbfile.processing["behavior"].data_interfaces) == {
        *(f"PupilTracking{label}" for label in ("LeftCamera", "RightCamera")),
        *(f"PawStates{label}" for label in ("LeftCamera", "RightCamera")),
        *(f"MotionEnergy{label}" for label in LABELS.values()),
        *(f"MotionEnergyRegion{label}" for label in LABELS.values()),
    }
    licks = nwbfile.events["Licks"]["timestamp"].data
    assert_array_equal(licks, np.load(session / "alf/licks.times.npy"))
