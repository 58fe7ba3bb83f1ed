"""The invented Neuropixels 1.0 probes: part, serial number, site grid and track through the brain."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

N_SITES = 384
PART_NUMBER = "PRB_1_4_0480_1"
SITE_COLUMNS_UM = (43.0, 11.0, 59.0, 27.0)
ROW_PITCH_UM = 20.0

#: The grid's origin lies this far above the physical tip.
TIP_TO_ORIGIN_UM = 200.0

#: Depth below the brain surface (um) from which on a region is met, and its Allen id.
REGIONS_ON_TRACK = (
    (0.0, 593),
    (130.0, 821),
    (340.0, 721),
    (480.0, 778),
    (760.0, 33),
    (1050.0, 1009),
    (1220.0, 382),
    (1640.0, 10703),
    (1900.0, 632),
    (2010.0, 10704),
    (2250.0, 218),
    (3050.0, 1020),
)
OUTSIDE_BRAIN_ID = 0


class Track(NamedTuple):
    """
    A straight insertion, as Alyx stores it.

    Attributes
    ----------
    x, y, z : float
        Entry point, micrometres from bregma: right, anterior and up are positive.
    depth : float
        Length of the insertion in micrometres.
    theta, phi, roll : float
        Polar angle from the vertical, azimuth and roll, in degrees.
    """

    x: float
    y: float
    z: float
    depth: float
    theta: float
    phi: float
    roll: float

    def point(self, distance_um: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Give ML, AP, DV (um) at distances along the track, counted from the entry point downwards."""
        theta, phi = np.deg2rad(self.theta), np.deg2rad(self.phi)
        upwards = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
        return np.array([self.x, self.y, self.z]) - np.multiply.outer(distance_um, upwards)


def probe_track(probe_index: int) -> Track:
    """Give the track of a probe: the first one enters the left hemisphere, the second one the right, and so on."""
    side = -1 if probe_index % 2 == 0 else 1
    return Track(
        x=side * (2240.0 + 50.0 * (probe_index // 2)),
        y=-2010.0 - 35.0 * probe_index,
        z=-210.0,
        depth=4150.0,
        theta=15.0,
        phi=180.0 if side < 0 else 0.0,
        roll=0.0,
    )


def serial_number(probe_index: int) -> str:
    """Give the serial number that the probe's metadata and Alyx agree on."""
    return str(19_051_016_242 + 1_713 * probe_index)


def site_coordinates(n_sites: int) -> NDArray[np.float32]:
    """
    Give the positions of the first sites of the probe, from the tip upwards.

    Returns
    -------
    numpy.ndarray
        (n_sites, 2) float32: lateral and along the shank, micrometres, IBL's origin.
    """
    site = np.arange(n_sites)
    lateral = np.array(SITE_COLUMNS_UM)[site % len(SITE_COLUMNS_UM)]
    along = ROW_PITCH_UM * (1 + site // 2)
    return np.column_stack([lateral, along]).astype(np.float32)


def site_locations(coordinates: NDArray[np.float32], track: Track) -> dict[str, NDArray[Any]]:
    """
    Place sites in the brain.

    Parameters
    ----------
    coordinates : numpy.ndarray
        (n, 2) lateral and along the shank, micrometres.
    track : Track

    Returns
    -------
    dict
        ``mlapdv`` (n, 3) int32, micrometres from bregma; ``brainLocationIds_ccf_2017`` (n,) int64, positive in both
        hemispheres and 0 above the brain.
    """
    distance_um = track.depth - TIP_TO_ORIGIN_UM - coordinates[:, 1].astype(np.float64)
    starts = np.array([start for start, _ in REGIONS_ON_TRACK])
    identifiers = np.array([OUTSIDE_BRAIN_ID, *(identifier for _, identifier in REGIONS_ON_TRACK)], dtype=np.int64)
    return {
        "mlapdv": np.rint(track.point(distance_um)).astype(np.int32),
        "brainLocationIds_ccf_2017": identifiers[np.searchsorted(starts, distance_um, side="right")],
    }
