"""Colours of brain regions: those of the Allen atlas, by way of iblatlas."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

#: For what is no structure of the atlas, such as "unknown".
UNKNOWN_COLOR = "#9a9a9a"


def region_colors(acronyms: Iterable[str]) -> list[str]:
    """Colour of each region in the Allen atlas.

    Parameters
    ----------
    acronyms : iterable of str
        Allen acronyms, as in the column ``location`` of the electrodes.

    Returns
    -------
    list of str
        Colours such as ``#70ff70``; grey for what the atlas does not have, and for its black "void".
    """
    known = _colors()
    return [known.get(acronym, UNKNOWN_COLOR) for acronym in acronyms]


@cache
def _colors() -> dict[str, str]:
    from iblatlas.regions import BrainRegions

    regions = BrainRegions()
    colors = (f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in regions.rgb.tolist())
    found = dict(zip(regions.acronym.tolist(), colors, strict=True))
    return {name: color for name, color in found.items() if name not in ("void", "root")}
