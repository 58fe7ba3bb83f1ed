"""Optical physiology in NWB: what mesoscope and widefield share. Metadata are in NeuroConv's registries of "Ophys"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from neuroconv.tools.hdmf import SliceableDataChunkIterator
from neuroconv.tools.nwb_helpers import _add_device_to_nwbfile, get_module
from neuroconv.utils import dict_deep_update
from pynwb import NWBFile, ProcessingModule
from pynwb.base import Images
from pynwb.core import MultiContainerInterface
from pynwb.image import GrayscaleImage
from pynwb.ophys import ImagingPlane, OpticalChannel

from ..allen_ccf import UNKNOWN
from ..errors import DatasetInconsistentError
from ..session import Dataset

Container = TypeVar("Container", bound=MultiContainerInterface)

#: What NWB requires of an imaging plane and of its channel, where neither the session nor the user says it; NeuroConv
#: writes the same.
_NOT_KNOWN_OF_PLANE = {"excitation_lambda": np.nan, "indicator": UNKNOWN, "location": UNKNOWN}
_NOT_KNOWN_OF_CHANNEL = {"description": "Not described in the session.", "emission_lambda": np.nan}

#: Fields of an imaging plane that a user may add, since no IBL file says them, and their JSON types.
_OPTIONAL_FIELDS = {
    "location": "string",
    "indicator": "string",
    "excitation_lambda": "number",
    "imaging_rate": "number",
    "reference_frame": "string",
    "origin_coords": "array",
    "origin_coords_unit": "string",
    "grid_spacing": "array",
    "grid_spacing_unit": "string",
}

#: Most memory for values on their way from the source to the file.
_BUFFER_GB = 0.25

#: As NeuroConv describes the processing module.
_MODULE_DESCRIPTION = "contains optical physiology processed data"

#: As NeuroConv calls the container of mean images.
_SUMMARY_IMAGES = "SegmentationImages"


def open_ophys_registries(schema: dict[str, Any], metadata_key: str) -> dict[str, Any]:
    """Let a JSON schema of metadata take other interfaces' entries of "Ophys", and what a user can add to our plane.

    Parameters
    ----------
    schema : dict
        Schema made of the default metadata.
    metadata_key : str
        Key of our imaging plane.
    """
    ophys = schema["properties"]["Ophys"]
    for registry in (ophys, *ophys["properties"].values()):
        registry["additionalProperties"] = True
    plane = ophys["properties"]["ImagingPlanes"]["properties"][metadata_key]["properties"]
    plane |= {field: {"type": kind} for field, kind in _OPTIONAL_FIELDS.items()}
    return schema


def merge_metadata(defaults: dict[str, Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
    """What the caller gave on top of the defaults; lists are replaced."""
    return dict_deep_update(defaults, metadata or {}, append_list=False, remove_repeats=False)


def get_ophys_module(nwbfile: NWBFile) -> ProcessingModule:
    """The processing module "ophys"."""
    return get_module(nwbfile, name="ophys", description=_MODULE_DESCRIPTION)


def get_container(nwbfile: NWBFile, kind: type[Container]) -> Container:
    """The container of a kind in the module "ophys", called like its type, made if it is not there."""
    module = get_ophys_module(nwbfile)
    if kind.__name__ not in module.data_interfaces:
        module.add(kind(name=kind.__name__))
    return module[kind.__name__]


def add_imaging_plane(nwbfile: NWBFile, metadata: dict[str, Any], metadata_key: str) -> ImagingPlane:
    """Add an imaging plane and its device, or take those of the same name that are there.

    Parameters
    ----------
    nwbfile : NWBFile
        The file to add to.
    metadata : dict
        Complete metadata, with "Devices" and ``Ophys.ImagingPlanes``. What NWB requires and is not there is NaN or
        "unknown" in the file.
    metadata_key : str
        Key of the plane.
    """
    entry = _NOT_KNOWN_OF_PLANE | metadata["Ophys"]["ImagingPlanes"][metadata_key]
    if entry["name"] in nwbfile.imaging_planes:
        return nwbfile.imaging_planes[entry["name"]]
    device = _add_device_to_nwbfile(nwbfile, metadata=metadata, metadata_key=entry.pop("device_metadata_key"))
    channels = [OpticalChannel(**_NOT_KNOWN_OF_CHANNEL | channel) for channel in entry.pop("optical_channel")]
    plane = ImagingPlane(**entry, device=device, optical_channel=channels)
    nwbfile.add_imaging_plane(plane)
    return plane


class MappedArray(SliceableDataChunkIterator):
    """An array that is mapped into memory, read by the buffer while it is written."""

    def __init__(self, data: np.ndarray):
        super().__init__(data=data, buffer_gb=_BUFFER_GB)

    def __len__(self) -> int:
        return self.data.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        # NeuroConv iterates over the columns of tables in search of links, which would use up HDMF's iterators before
        # anything is written. Rows of a mapped array are not read by that; writers call next().
        return iter(self.data)


def read_while_written(values: np.ndarray) -> MappedArray | np.ndarray:
    """A mapped array as what is written by the buffer; an empty one, which cannot be, as it is."""
    return MappedArray(values) if values.size else values


def make_image(entry: dict[str, str], values: np.ndarray, source: str) -> GrayscaleImage:
    """Image of a ``(rows, columns)`` array, in NWB's order (x, y): transposed.

    Parameters
    ----------
    entry : dict
        Name and description.
    values : numpy.ndarray
        ``(rows, columns)``; booleans become uint8, since NWB has no image of booleans.
    source : str
        Sentence that names the file.
    """
    values = values.astype(np.uint8) if values.dtype == bool else values
    return GrayscaleImage(name=entry["name"], description=f"{entry['description']} {source}.", data=values.T)


def add_summary_images(nwbfile: NWBFile, images: list[GrayscaleImage]) -> None:
    """Add images to the container "SegmentationImages" of the module "ophys", where NeuroConv has them."""
    if not images:
        return
    module = get_ophys_module(nwbfile)
    if _SUMMARY_IMAGES not in module.data_interfaces:
        module.add(Images(name=_SUMMARY_IMAGES, description="The summary images of the segmentation."))
    for image in images:
        module[_SUMMARY_IMAGES].add_image(image)


def check_dimensions(dataset: Dataset, values: np.ndarray, *meanings: str) -> None:
    """Check that an array has as many dimensions as it should.

    Parameters
    ----------
    dataset : Dataset
        Where it is from, for the message.
    values : numpy.ndarray
        The array.
    *meanings : str
        What each dimension is.

    Raises
    ------
    DatasetInconsistentError
        If there are more or fewer.
    """
    if values.ndim != len(meanings):
        raise DatasetInconsistentError(
            f"'{dataset.path}' has shape {values.shape} instead of ({', '.join(meanings)}). Get the file again, or "
            "leave the imaging out with --exclude."
        )
