"""The Allen atlas of the mouse brain (CCF 2017): its axes and the names of its structures."""

from __future__ import annotations

from functools import cache

import numpy as np

#: Bregma in the Allen CCF (µm along ML, AP, DV; the reference point of the atlas that IBL works in, iblatlas).
BREGMA_CCF_UM = (5739.0, 5400.0, 332.0)

#: What stands for a region that is not known.
UNKNOWN = "unknown"


def bregma_to_ccf(ml: np.ndarray, ap: np.ndarray, dv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From IBL's coordinates to NWB's.

    Parameters
    ----------
    ml, ap, dv : numpy.ndarray
        ``(n,)`` µm from bregma, positive to the right, to the front and upwards.

    Returns
    -------
    x, y, z : numpy.ndarray
        ``(n,)`` µm in the Allen CCF, positive to the back, downwards and to the right.
    """
    ml_bregma, ap_bregma, dv_bregma = BREGMA_CCF_UM
    return ap_bregma - ap, dv_bregma - dv, ml_bregma + ml


def region_acronyms(allen_id: np.ndarray, parcellation: str) -> np.ndarray:
    """Acronyms of Allen structures.

    Parameters
    ----------
    allen_id : numpy.ndarray
        ``(n,)`` Allen structure ids, NaN where not known. Ids that the atlas of iblatlas lacks count as not known.
    parcellation : {"Allen", "Beryl", "Cosmos"}
        "Allen" for the structure itself, or the coarser one that it is in.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` str, "unknown" where the id is not known.
    """
    known = np.isfinite(allen_id)
    acronym_of = _acronyms(parcellation) if known.any() else {}
    acronyms = [acronym_of.get(int(i), UNKNOWN) if ok else UNKNOWN for i, ok in zip(allen_id, known, strict=True)]
    return np.array(acronyms, dtype=str)


@cache
def _acronyms(parcellation: str) -> dict[int, str]:
    from iblatlas.regions import BrainRegions

    regions = BrainRegions()
    acronyms = regions.acronym[regions.mappings[parcellation]]
    return dict(zip(regions.id.tolist(), acronyms.tolist(), strict=True))
