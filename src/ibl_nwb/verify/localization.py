"""Anatomical coordinates of electrodes: the tables in the Allen CCF and from bregma, and whose each row is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .comparing import compare, compare_value
from .electrodes import Sites, sites_of_probes
from .report import Comparison
from .source_folder import camel_case
from .verification import Verification

_CONTAINER = "general/localization"

#: Columns of the electrodes that x, y and z of a table should be, by what the table is called, and its space.
_AXES = {"CCF": ("x", "y", "z"), "Bregma": ("ml", "ap", "dv")}
_SPACES = {
    "CCF": {"space_name": "AllenCCFv3", "units": "um", "orientation": "PIR"},
    "Bregma": {"space_name": "IBL-Allen", "units": "um", "orientation": "RAS"},
}


def check_localization(verification: Verification) -> Iterator[Comparison]:
    """Compare the tables of every probe that has electrodes in the file."""
    expected = set()
    for sites, rows in sites_of_probes(verification):
        columns = sites.columns()
        source, ml = columns["ml"]
        known = np.isfinite(ml) & np.isfinite(columns["ap"][1]) & np.isfinite(columns["dv"][1])
        if known.any() and len(rows) == len(known):
            for frame in _AXES:
                name = f"AnatomicalCoordinates{frame}{camel_case(sites.probe_name)}"
                expected.add(name)
                yield from _check_table(verification, sites, f"{_CONTAINER}/{name}", frame, source, rows, known)
    for name in verification.nwb.names(_CONTAINER):
        if name not in expected and name.startswith(("AnatomicalCoordinatesCCF", "AnatomicalCoordinatesBregma")):
            yield Comparison("", f"{_CONTAINER}/{name}", "different", "no source tells of these positions")


def _check_table(
    verification: Verification,
    sites: Sites,
    path: str,
    frame: str,
    source: str,
    rows: np.ndarray,
    known: np.ndarray,
) -> Iterator[Comparison]:
    nwb, columns = verification.nwb, sites.columns()
    for axis, column in zip("xyz", _AXES[frame], strict=True):
        yield compare(nwb, source, f"{path}/{axis}", columns[column][1][known].astype(np.float64))
    id_source, location = columns["location"]
    yield compare(nwb, id_source, f"{path}/brain_region", location[known])
    yield compare(nwb, source, f"{path}/localized_entity", rows[known])
    space = nwb.attributes(f"{path}/space")
    for name, value in _SPACES[frame].items():
        yield compare_value(source, f"{path}/space/{name}", space.get(name), value)
