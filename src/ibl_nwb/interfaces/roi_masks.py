"""Masks of regions of interest: sparse ALF arrays (``.sparse_npz``), and the pixel masks of NWB."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass

import numpy as np
from pynwb.core import VectorData, VectorIndex

from ..errors import DatasetInconsistentError, DatasetUnreadableError
from ..session import Dataset, load_array

#: A pixel as NWB stores it: column, row and weight.
_PIXEL = np.dtype([("x", np.uint32), ("y", np.uint32), ("weight", np.float32)])


@dataclass(frozen=True)
class ROIMasks:
    """Masks of all ROIs of a field of view, as their pixels in the order of ROI, row and column.

    Attributes
    ----------
    shape : tuple of int
        ROIs, rows, columns.
    roi, row, column : numpy.ndarray
        ``(n_pixels,)`` each.
    weight : numpy.ndarray
        ``(n_pixels,)``, type as stored.
    """

    shape: tuple[int, int, int]
    roi: np.ndarray
    row: np.ndarray
    column: np.ndarray
    weight: np.ndarray

    @property
    def n_rois(self) -> int:
        """Number of ROIs, those without a pixel among them."""
        return self.shape[0]

    def make_columns(self, texts: dict[str, str]) -> list[VectorData]:
        """Columns of a PlaneSegmentation.

        Parameters
        ----------
        texts : dict
            Descriptions of ``pixel_mask`` and ``pixel_mask_weight``.

        Returns
        -------
        list of VectorData
            ``pixel_mask`` and its index. NWB gives a weight four bytes; where these do not hold the weights exactly,
            also ``pixel_mask_weight`` and its index, with the weights as stored.
        """
        pixels = np.empty(len(self.roi), dtype=_PIXEL)
        pixels["x"], pixels["y"], pixels["weight"] = self.column, self.row, self.weight
        ends = np.cumsum(np.bincount(self.roi, minlength=self.n_rois))
        columns = _ragged("pixel_mask", texts["pixel_mask"], pixels, ends)
        if not np.array_equal(pixels["weight"], self.weight, equal_nan=self.weight.dtype.kind == "f"):
            columns += _ragged("pixel_mask_weight", texts["pixel_mask_weight"], self.weight, ends)
        return columns


def make_no_masks(n_rois: int) -> list[VectorData]:
    """Columns of a PlaneSegmentation whose masks are not known: pynwb wants masks, hence each ROI has no pixel."""
    description = "No pixel: the masks are not in the session."
    return _ragged("pixel_mask", description, np.empty(0, dtype=_PIXEL), np.zeros(n_rois, dtype=np.int64))


def load_masks(dataset: Dataset) -> ROIMasks:
    """Read the masks of ROIs.

    Parameters
    ----------
    dataset : Dataset
        ``(rois, rows, columns)``, sparse (``.sparse_npz``, as the package sparse writes it) or dense (``.npy``).

    Raises
    ------
    DatasetUnreadableError
        If the file is damaged.
    DatasetInconsistentError
        If it has not three dimensions.
    """
    if dataset.extension == "sparse_npz":
        shape, coordinates, weight = _load_sparse(dataset)
    else:
        dense = load_array(dataset, memory_map=True)
        coordinates = np.stack(np.nonzero(dense))
        shape, weight = dense.shape, np.asarray(dense[tuple(coordinates)])
    if len(shape) != 3:
        raise DatasetInconsistentError(
            f"'{dataset.path}' has shape {shape} instead of (ROIs, rows, columns): masks of several planes in one "
            "field of view are not known. Get the file again, or leave the field of view out with --exclude."
        )
    roi, row, column = coordinates
    return ROIMasks((shape[0], shape[1], shape[2]), roi, row, column, weight)


def _load_sparse(dataset: Dataset) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    import sparse

    try:
        array = sparse.load_npz(dataset.path).asformat("coo")
    except (ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise DatasetUnreadableError(
            f"'{dataset.path}' cannot be read as a sparse array: {error}. The file is damaged or incomplete; get it "
            "again."
        ) from error
    order = np.lexsort(array.coords[::-1])
    return tuple(int(n) for n in array.shape), array.coords[:, order], array.data[order]


def _ragged(name: str, description: str, values: np.ndarray, ends: np.ndarray) -> list[VectorData]:
    column = VectorData(name=name, description=description, data=values)
    return [column, VectorIndex(name=f"{name}_index", target=column, data=ends)]
