"""Times of a series in the file, whether they are timestamps or a start and a rate."""

from __future__ import annotations

import numpy as np

from .comparing import REGULAR_TOLERANCE_S, compare, compare_arrays
from .nwb_reading import NWBReader
from .report import Comparison


def compare_times(
    nwb: NWBReader, dataset: str, series_path: str, expected: np.ndarray, *, tolerance: float = 0.0
) -> Comparison:
    """Compare the times of a series with those of its source.

    Timestamps must be equal. A start and a rate must give every time to within 1 µs, the rule of regular sampling.

    Parameters
    ----------
    nwb, dataset, tolerance
        As for :func:`~.comparing.compare`; the tolerance is that of timestamps.
    series_path : str
        The series in the file.
    expected : numpy.ndarray
        ``(n,)`` seconds.
    """
    start_path = f"{series_path}/starting_time"
    if f"{series_path}/timestamps" in nwb or start_path not in nwb:
        path = f"{series_path}/timestamps"
        return compare(nwb, dataset, path, expected, forced="times", tolerance=tolerance)
    start, rate_hz = float(nwb.read(start_path).ravel()[0]), nwb.attributes(start_path).get("rate", np.nan)
    found = start + np.arange(len(expected)) / float(rate_hz)
    expected = expected.astype(np.float64)
    row = compare_arrays(dataset, start_path, found, expected, tolerance=REGULAR_TOLERANCE_S + 1e-12)
    if row.status != "equal":
        return row
    return Comparison(dataset, start_path, "equal", f"start and rate, to within {REGULAR_TOLERANCE_S:g} s")
