"""Fiber photometry of an invented session: a camera that sees three fibers, lit by two lights in turn."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._trials import Trials

FRAME_RATE_HZ = 60.0

#: The photometry system runs this long before the first trial and after the last; frames are valid up to 2 s from them.
LEAD_S = 5.0
VALID_MARGIN_S = 2.0

#: Region of interest to fiber, brain region and level of the signal.
ROIS = {
    "Region0G": ("fiber01", "DLS", 0.021),
    "Region1G": ("fiber00", "DMS", 0.034),
    "Region2G": ("fiber02", "NAcc", 0.027),
}

#: Name, color and wavelength (nm) of each light, as IBL's extraction calls those of Neurophotometrics' FP3002.
LIGHTS = (("Isosbestic", "Violet", 415.0), ("GCaMP", "Blue", 470.0))

#: Frames of the ends of a recording in which all lights are on, or none.
ALL_LIGHTS = ("Isosbestic+GCaMP+RCaMP", "Violet+Blue+Green", np.nan)
NO_LIGHT = ("None", "None", 0.0)


def write_photometry(session_path: Path, trials: Trials, generator: np.random.Generator) -> None:
    """
    Invent the fluorescence of every frame and write it with the table of the fibers.

    Parameters
    ----------
    session_path : Path
        The session folder; both files go to ``alf/photometry``.
    trials : dict of str to numpy.ndarray
        Trials whose feedback makes the fluorescence under the second light rise.
    generator : numpy.random.Generator
        Source of random numbers.
    """
    import pandas as pd

    first, last = trials["intervals"][0, 0], trials["intervals"][-1, 1]
    grid = np.arange(first - LEAD_S, last + LEAD_S, 1 / FRAME_RATE_HZ)
    times = grid + generator.normal(0, 2e-5, len(grid))
    light = np.arange(len(times)) % len(LIGHTS)
    names, colors, wavelengths = (np.array(column, dtype=object)[light] for column in zip(*LIGHTS, strict=True))
    for row, at_the_end in ((0, ALL_LIGHTS), (-1, NO_LIGHT)):
        names[row], colors[row], wavelengths[row] = at_the_end
    columns: dict[str, Any] = {
        roi: _fluorescence(times, light == 1, trials["feedback_times"], level, generator)
        for roi, (_, _, level) in ROIS.items()
    }
    columns |= {"times": times, "wavelength": wavelengths.astype(np.float64), "name": names, "color": colors}
    columns["valid"] = (times >= first - VALID_MARGIN_S) & (times <= last + VALID_MARGIN_S)
    locations = {"fiber": [fiber for fiber, _, _ in ROIS.values()], "brain_region": [r for _, r, _ in ROIS.values()]}
    folder = session_path / "alf/photometry"
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(folder / "photometry.signal.pqt")
    index = pd.Index(list(ROIS), name="ROI")
    pd.DataFrame(locations, index=index).to_parquet(folder / "photometryROI.locations.pqt")


def _fluorescence(
    times: NDArray[np.float64],
    is_calcium_dependent: NDArray[np.bool_],
    events: NDArray[np.float64],
    level: float,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Give values of a camera that bleach over the session and rise for a while after events."""
    bleaching = level * (0.8 + 0.2 * np.exp(-(times - times[0]) / 600))
    last_event = events[np.clip(np.searchsorted(events, times) - 1, 0, None)]
    since_event = np.clip(times - last_event, 0, None)
    response = since_event * np.exp(-since_event / 0.5) * is_calcium_dependent
    return bleaching * (1 + 0.1 * response) + generator.normal(0, level * 0.005, len(times))
