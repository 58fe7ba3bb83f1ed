"""Comparison of arrays: shape, type, every value, and where values are not a number."""

from __future__ import annotations

from typing import Any

import numpy as np

from .nwb_reading import DamagedObjectError, NWBReader
from .report import Comparison, Difference

#: Where the file has another type than the source, and which. All of these hold the source's values exactly.
FORCED_TYPES: dict[str, np.dtype] = {
    # NWB: TimeSeries.timestamps, TimestampVectorData and Units.spike_times are float64
    "times": np.dtype(np.float64),
    # Rows of other interfaces' electrodes have no value in our columns, for which only floats have a sign
    "electrodes": np.dtype(np.float64),
}

#: How far a time may be off that NWB gives as a start and a rate, in seconds: the tolerance of regular sampling.
REGULAR_TOLERANCE_S = 1e-6

#: How far a time may be off that is interpolated between knots, in seconds: rounding of float64.
ROUNDING_S = 1e-9


def compare(
    nwb: NWBReader,
    dataset: str,
    object_path: str,
    expected: np.ndarray,
    *,
    forced: str | None = None,
    tolerance: float = 0.0,
) -> Comparison:
    """Compare one array of the file with what its source says.

    Parameters
    ----------
    nwb : NWBReader
        The file.
    dataset : str
        The source, for the report.
    object_path : str
        The array in the file.
    expected : numpy.ndarray
        Values and type of the source.
    forced : str, optional
        Key of :data:`FORCED_TYPES` if the file has another type than the source.
    tolerance : float, default: 0.0
        How far numbers may be off.

    Returns
    -------
    Comparison
    """
    if not nwb.is_array(object_path):
        return Comparison(dataset, object_path, "missing", "it is not in the file")
    if forced is not None:
        expected = expected.astype(FORCED_TYPES[forced])
    try:
        found = nwb.read(object_path)
    except DamagedObjectError as error:
        return Comparison(dataset, object_path, "different", str(error))
    return compare_arrays(dataset, object_path, found, expected, tolerance=tolerance)


def compare_arrays(
    dataset: str, object_path: str, found: np.ndarray, expected: np.ndarray, *, tolerance: float = 0.0
) -> Comparison:
    """Compare two arrays; parameters as in :func:`compare`."""
    if type_name(found.dtype) != type_name(expected.dtype):
        reason = f"type {type_name(found.dtype)} instead of {type_name(expected.dtype)}"
        return Comparison(dataset, object_path, "different", reason)
    if found.shape != expected.shape:
        reason = f"shape {found.shape} instead of {expected.shape}"
        return Comparison(dataset, object_path, "different", reason, _first_in_common(found, expected, tolerance))
    differing = differs(found, expected, tolerance)
    if not differing.any():
        return Comparison(dataset, object_path, "equal")
    reason = f"{int(differing.sum())} of {differing.size} values differ"
    return Comparison(dataset, object_path, "different", reason, first_difference(found, expected, differing))


def compare_value(dataset: str, object_path: str, found: Any, expected: Any, *, tolerance: float = 0.0) -> Comparison:
    """Compare two single values, such as an attribute; ``tolerance`` is relative."""
    equal = found == expected
    if tolerance and found is not None:
        equal = bool(np.isclose(found, expected, rtol=tolerance, atol=0))
    if equal:
        return Comparison(dataset, object_path, "equal")
    difference = Difference((), _python_value(expected), _python_value(found))
    return Comparison(dataset, object_path, "different" if found is not None else "missing", "", difference)


def differs(found: np.ndarray, expected: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """Where two arrays of one shape and type differ, as booleans; without tolerance a zero has its sign."""
    if found.dtype.kind not in "fc":
        return np.asarray(found != expected)
    both_nan = np.isnan(found) & np.isnan(expected)
    with np.errstate(invalid="ignore"):
        if tolerance:
            return ~both_nan & ~((found == expected) | (np.abs(found - expected) <= tolerance))
        return ~both_nan & ((found != expected) | (np.signbit(found) != np.signbit(expected)))


def first_difference(
    found: np.ndarray, expected: np.ndarray, differing: np.ndarray, offset: tuple[int, ...] = ()
) -> Difference:
    """The first of the differences; ``offset`` is where the arrays begin in the object."""
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(differing)), differing.shape))
    shifted = tuple(i + (offset[axis] if axis < len(offset) else 0) for axis, i in enumerate(index))
    return Difference(shifted, _python_value(expected[index]), _python_value(found[index]))


def type_name(dtype: np.dtype) -> str:
    """Name of a type, the same for texts of any kind and for any order of bytes."""
    return "text" if dtype.kind in "OUST" else dtype.newbyteorder("=").name


def _first_in_common(found: np.ndarray, expected: np.ndarray, tolerance: float) -> Difference | None:
    """The first difference in the rows that both have, None if there is none."""
    if found.shape[1:] != expected.shape[1:] or not found.ndim:
        return None
    n_common = min(len(found), len(expected))
    differing = differs(found[:n_common], expected[:n_common], tolerance)
    return first_difference(found, expected, differing) if differing.any() else None


def _python_value(value: Any) -> Any:
    return value.item() if isinstance(value, (np.generic, np.ndarray)) and np.size(value) == 1 else value
