"""How the chunks of a dataset are compressed, read from the dataset itself: its HDF5 filters or its Zarr codecs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .codec import gzip_stream, zlib_stream

if TYPE_CHECKING:
    import h5py
    import zarr

#: Registered numbers of HDF5 filters (portal.hdfgroup.org, "Registered Filter Plugins").
_DEFLATE, _SHUFFLE, _BLOSC, _ZSTD = 1, 2, 32001, 32015

#: Compressors of Blosc by the number that the HDF5 filter stores (blosc.h).
_BLOSC_COMPRESSORS = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")


@dataclass(frozen=True)
class Encoder:
    """From the bytes of a chunk to those in the file.

    Attributes
    ----------
    encode : callable
        From the uint8 array of a chunk to bytes. Called in threads.
    is_shuffled : bool
        Whether it takes the bytes of values shuffled.
    """

    encode: Callable[[np.ndarray], bytes]
    is_shuffled: bool


def hdf5_encoder(dataset: h5py.Dataset) -> Encoder | None:
    """Encoder of a dataset's filters, or None if only HDF5 itself can apply them."""
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(place)[::2][:2] for place in range(properties.get_nfilters())]
    is_shuffled = bool(filters) and filters[0][0] == _SHUFFLE
    rest = filters[1:] if is_shuffled else filters
    encode = _hdf5_encode(rest, dataset.dtype, is_shuffled)
    return None if encode is None else Encoder(encode, is_shuffled)


def _hdf5_encode(
    filters: list[tuple[int, tuple[int, ...]]], dtype: np.dtype, is_shuffled: bool
) -> Callable[[np.ndarray], bytes] | None:
    if not filters:
        return np.ndarray.tobytes
    if len(filters) > 1:
        return None
    ((number, values),) = filters
    if number == _DEFLATE:
        level, itemsize = values[0], dtype.itemsize if is_shuffled else 1
        return lambda tile: zlib_stream(tile, level, itemsize)
    if number == _BLOSC and len(values) >= 7:
        compressor = _BLOSC_COMPRESSORS[values[6]]
        return _codec_encode({"id": "blosc", "cname": compressor, "clevel": values[4], "shuffle": values[5]}, dtype)
    if number == _ZSTD:
        return _codec_encode({"id": "zstd", "level": values[0] if values else 3}, dtype)
    return None


def zarr_encoder(array: zarr.Array) -> Encoder | None:
    """Encoder of an array's codecs, or None if only Zarr itself can apply them."""
    filters = [codec.get_config() for codec in array.filters or []]
    itemsize = array.dtype.itemsize
    is_shuffled = filters == [{"id": "shuffle", "elementsize": itemsize}]
    if (filters and not is_shuffled) or array.order != "C":
        return None
    if array.compressor is None:
        return Encoder(np.ndarray.tobytes, is_shuffled)
    config = array.compressor.get_config()
    if config["id"] in ("gzip", "zlib"):
        stream, level = (gzip_stream if config["id"] == "gzip" else zlib_stream), config["level"]
        plane_size = itemsize if is_shuffled else 1
        return Encoder(lambda tile: stream(tile, level, plane_size), is_shuffled)
    if config["id"] in ("blosc", "zstd", "lz4"):
        return Encoder(_codec_encode(config, np.dtype("uint8") if is_shuffled else array.dtype), is_shuffled)
    return None


def _codec_encode(config: dict[str, Any], dtype: np.dtype) -> Callable[[np.ndarray], bytes]:
    """Encode with a codec of numcodecs, which lets other threads go on."""
    import numcodecs

    codec = numcodecs.get_codec(config)
    return lambda tile: bytes(codec.encode(tile.view(dtype)))
