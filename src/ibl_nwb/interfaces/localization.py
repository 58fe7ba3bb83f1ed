"""Where electrodes are in the brain, in the tables of ndx-anatomical-localization: in the Allen CCF and from bregma."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hdmf.common import DynamicTableRegion, VectorData
from ndx_anatomical_localization import AllenCCFv3Space, AnatomicalCoordinatesTable, Localization, Space
from pynwb import NWBFile

from ..allen_ccf import bregma_to_ccf
from .base import camel_case, load_metadata_file, substitute

#: Name that the extension fixes for its container in /general.
_CONTAINER = "localization"


def add_localization(
    nwbfile: NWBFile, probe_name: str, rows: Sequence[int] | np.ndarray, positions: Mapping[str, Any], method: str
) -> None:
    """Add the coordinates of electrodes of a probe, once in the space of the Allen CCF and once from bregma.

    Tables that the file has already are left as they are, and nothing is added for electrodes without a position.

    Parameters
    ----------
    nwbfile : NWBFile
        The file, with the electrodes.
    probe_name : str
        ALF name of the probe, e.g. "probe00".
    rows : sequence of int
        ``(n,)`` rows of the electrodes table.
    positions : mapping
        ``ml``, ``ap`` and ``dv``, ``(n,)`` float64 µm from bregma (right, front and up positive; NaN if not known), and
        ``location``, ``(n,)`` acronyms of Allen structures.
    method : str
        How the positions were found, and where they are from.
    """
    ml, ap, dv = (np.asarray(positions[name], dtype=np.float64) for name in ("ml", "ap", "dv"))
    known = np.isfinite(ml) & np.isfinite(ap) & np.isfinite(dv)
    if not known.any():
        return
    texts = substitute(
        load_metadata_file("electrodes")["Localization"], {"label": camel_case(probe_name), "probe_name": probe_name}
    )
    coordinates = {"CCF": bregma_to_ccf(ml, ap, dv), "Bregma": (ml, ap, dv)}
    for frame, axes in coordinates.items():
        container = _get_container(nwbfile)
        if texts[frame]["name"] in container.anatomical_coordinates_tables:
            continue
        columns: list[VectorData] = [
            VectorData(name=name, description=texts[frame][name], data=values[known])
            for name, values in zip("xyz", axes, strict=True)
        ]
        regions = np.asarray(positions["location"], dtype=object)[known].tolist()
        columns.append(VectorData(name="brain_region", description=texts["brain_region"], data=regions))
        columns.append(
            DynamicTableRegion(
                name="localized_entity",
                description=texts["localized_entity"],
                data=np.asarray(rows)[known],
                table=nwbfile.electrodes,
            )
        )
        table = AnatomicalCoordinatesTable(
            name=texts[frame]["name"],
            description=texts[frame]["description"],
            method=method,
            space=_get_space(container, frame, texts["BregmaSpace"]),
            columns=columns,
        )
        container.add_anatomical_coordinates_tables([table])


def _get_container(nwbfile: NWBFile) -> Localization:
    if _CONTAINER not in nwbfile.lab_meta_data:
        nwbfile.add_lab_meta_data(Localization())
    return nwbfile.lab_meta_data[_CONTAINER]


def _get_space(container: Localization, frame: str, texts: dict[str, str]) -> Space:
    """The Allen CCF, or IBL's space with bregma as its origin; added where it is not there."""
    space = AllenCCFv3Space() if frame == "CCF" else Space(**texts, units="um", orientation="RAS")
    if space.name not in container.spaces:
        container.add_spaces([space])
    return container.spaces[space.name]
