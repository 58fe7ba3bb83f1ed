"""Masks of ROIs: sparse ALF files read by NumPy alone, and compared with the pixel masks of the file."""

from __future__ import annotations

import zipfile

import numpy as np

from ..errors import DatasetUnreadableError
from .comparing import compare, compare_arrays
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, load_array

_FIELDS = ("x", "y", "weight")


def compare_masks(nwb: NWBReader, file: SourceFile, table: str) -> list[Comparison]:
    """Compare the pixels of every ROI, and where each ROI's pixels end.

    Parameters
    ----------
    nwb : NWBReader
        The file.
    file : SourceFile
        ``(rois, rows, columns)``, sparse or dense.
    table : str
        The PlaneSegmentation.
    """
    shape, indices, weight = _load(file)
    roi, row, column = np.unravel_index(indices, shape)
    ends = np.searchsorted(roi, np.arange(shape[0]), side="right")
    path = f"{table}/pixel_mask"
    if not nwb.is_array(path) or not nwb.is_array(f"{path}_index"):
        return [Comparison(file.relative_path, path, "missing", "it is not in the file")]
    found = nwb.read(path)
    rows = [
        compare_arrays(
            file.relative_path, f"{path}_index", nwb.read(f"{path}_index").astype(np.int64), ends.astype(np.int64)
        )
    ]
    pixels: tuple[np.ndarray, ...] = (column, row, weight.astype(np.float32))
    for name, expected in zip(_FIELDS, pixels, strict=True):
        values = np.asarray(found[name])
        rows.append(compare_arrays(file.relative_path, f"{path}.{name}", values, expected.astype(values.dtype)))
    if weight.dtype.kind == "f" and (weight.astype(np.float32) != weight).any():
        rows.append(compare(nwb, file.relative_path, f"{path}_weight", weight))
    return rows


def _load(file: SourceFile) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Shape, and position in the array laid out flat and value of every element that is stored, in order."""
    if file.name.endswith(".npy"):
        dense = load_array(file)
        indices = np.flatnonzero(dense)
        return dense.shape, indices, dense.ravel()[indices]
    try:
        with np.load(file.path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DatasetUnreadableError(
            f"The source '{file.path}' cannot be read: {error}. Nothing can be compared with it; get it again."
        ) from error
    shape = tuple(int(n) for n in arrays["shape"])
    if "coords" in arrays:
        coordinates = tuple(arrays["coords"])
    else:  # rows and columns of a matrix that the axes were folded into, the compressed ones first
        compressed = [int(axis) for axis in arrays["compressed_axes"]]
        axes = compressed + [axis for axis in range(len(shape)) if axis not in compressed]
        lines = np.repeat(np.arange(len(arrays["indptr"]) - 1), np.diff(arrays["indptr"]))
        width = int(np.prod([shape[axis] for axis in axes[len(compressed) :]]))
        folded = np.unravel_index(lines * width + arrays["indices"], [shape[axis] for axis in axes])
        coordinates = tuple(folded[axes.index(axis)] for axis in range(len(shape)))
    indices = np.ravel_multi_index(coordinates, shape)
    order = np.argsort(indices, kind="stable")
    return shape, indices[order], arrays["data"][order]
