"""Which NWB files a session becomes, and what DANDI calls them: the layout of ``dandi organize``, written directly."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .document import ConversionDocument

#: One file of all there is; or IBL's two on DANDI, ``desc-raw`` and ``desc-processed``.
Product = Literal["whole", "raw", "processed"]

#: Families that hold what was acquired, as it was acquired. All others are in the processed file.
RAW_FAMILIES = frozenset({"RawEphys", "NIDQ", "ProbeSync", "Sync", "Video", "RawTaskData"})

#: Modules of pynwb that DANDI does not take for a modality.
_NO_MODALITIES = ("base", "device", "file", "misc")

_SUFFIXES = {"hdf5": ".nwb", "zarr": ".nwb.zarr"}


def products_of(split: bool) -> tuple[Product, ...]:
    """The products that a session is converted to."""
    return ("raw", "processed") if split else ("whole",)


def choose_instances(names: Iterable[str], product: Product) -> list[str]:
    """Those of a session's interface instances that belong to a product.

    Parameters
    ----------
    names : iterable of str
        Names of instances, such as "RawEphysAPProbe00" or "Wheel".
    product : {"whole", "raw", "processed"}
        The product.
    """
    if product == "whole":
        return list(names)
    return [name for name in names if (_family_of(name) in RAW_FAMILIES) == (product == "raw")]


def make_product(document: ConversionDocument, product: Product) -> ConversionDocument | None:
    """The part of a document that is one product, None where the session has nothing for it.

    Both products of a session describe the same electrodes in the same rows. The identifier of each says which it is,
    since NWB wants no two files with the same.

    Parameters
    ----------
    document : ConversionDocument
        A document of the whole session.
    product : {"whole", "raw", "processed"}
        The product.
    """
    if product == "whole":
        return document
    names = choose_instances(document.source_data, product)
    if not names:
        return None
    nwbfile = document.metadata["NWBFile"]
    return document.model_copy(
        update={
            "source_data": {name: document.source_data[name] for name in names},
            "conversion_options": {k: v for k, v in document.conversion_options.items() if k in names},
            "metadata": {
                **document.metadata,
                "NWBFile": {**nwbfile, "identifier": f"{nwbfile['identifier']}_desc-{product}"},
            },
        }
    )


def dandi_path(
    metadata: dict[str, Any],
    product: Product = "whole",
    modalities: Iterable[str] = (),
    backend: Literal["hdf5", "zarr"] = "hdf5",
) -> PurePosixPath:
    """Where a file belongs in a Dandiset: ``sub-X/sub-X_ses-Y[_desc-raw][_ecephys+image].nwb``.

    Parameters
    ----------
    metadata : dict
        Where subject and session are taken from. The session is its eid where Alyx knows it, else subject, date and
        number.
    product : {"whole", "raw", "processed"}, default: "whole"
        Only the latter two have a description in the name.
    modalities : iterable of str, optional
        As from :func:`modalities_of`.
    backend : {"hdf5", "zarr"}, default: "hdf5"
        Decides the suffix.
    """
    subject = dandi_label(metadata.get("Subject", {}).get("subject_id") or "unknown")
    session = dandi_label(metadata["NWBFile"].get("session_id") or metadata["NWBFile"]["identifier"])
    parts = [f"sub-{subject}", f"ses-{session}"]
    parts += [f"desc-{product}"] if product != "whole" else []
    parts += ["+".join(sorted(modalities))] if modalities else []
    return PurePosixPath(f"sub-{subject}") / ("_".join(parts) + _SUFFIXES[backend])


def dandi_label(text: str) -> str:
    """Text with each character replaced that DANDI's file names cannot hold (``dandi.organize._sanitize_value``)."""
    return re.sub(r"[_*\\/<>:|\"'?%@;,.\s]", "-", text)


def modalities_of(nwbfile_path: str | Path) -> list[str]:
    """Modalities of a written file as DANDI deduces them: modules of pynwb that define the types in it, sorted.

    Parameters
    ----------
    nwbfile_path : path-like
        HDF5 file or Zarr folder.

    Returns
    -------
    list of str
        Such as ``["behavior", "ecephys", "image"]``.
    """
    modality_of = _modalities_of_types()
    path = Path(nwbfile_path)
    if path.is_dir():
        import zarr

        types = set(_types_below(zarr.open_group(str(path), mode="r"), zarr.Group))
    else:
        import h5py

        with h5py.File(path, "r") as file:
            types = set(_types_below(file, h5py.Group))
    return sorted({modality_of[name] for name in types if name in modality_of})


def _family_of(name: str) -> str:
    from .converter import IBLConverter

    interface: Any = IBLConverter._interface_class(name)
    return str(interface.family)


def _types_below(group: Any, group_class: type) -> Iterator[str]:
    if "neurodata_type" in group.attrs:
        yield group.attrs["neurodata_type"]
    for name in group:
        # h5py cannot tell what is at the end of a broken link, which holds no type in any case.
        child = group.get(name)
        if isinstance(child, group_class):
            yield from _types_below(child, group_class)


def _modalities_of_types() -> dict[str, str]:
    """Module of each type that pynwb itself defines (``dandi.pynwb_utils.get_neurodata_types_to_modalities_map``)."""
    import pynwb

    return {
        name: module.__name__.removeprefix("pynwb.")
        for module in vars(pynwb).values()
        if isinstance(module, ModuleType) and re.fullmatch(r"pynwb\.\w+", module.__name__)
        if module.__name__.removeprefix("pynwb.") not in _NO_MODALITIES
        for name, member in vars(module).items()
        if inspect.isclass(member) and issubclass(member, pynwb.core.NWBMixin) and member.__module__ == module.__name__
    }
