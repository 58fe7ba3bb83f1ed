"""Objects of the file that say which source they are from and that no check has compared with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .nwb_reading import NWBReader
from .report import Comparison

#: Where interfaces write to, and how deep in there their objects may be.
_PLACES = ("acquisition", "analysis", "events", "intervals", "processing", "stimulus")
_DEPTH = 3

#: How an object names its source, in its comments or its description.
_NAMES_A_SOURCE = "Source: "


def find_unspoken(nwb: NWBReader, compared: Sequence[Comparison]) -> Iterator[Comparison]:
    """A row for each object with a source that no other row speaks of.

    Parameters
    ----------
    nwb : NWBReader
        The file.
    compared : sequence of Comparison
        What the checks found.
    """
    spoken_of = {row.object for row in compared}
    for place in _PLACES:
        for path in _objects(nwb, place, _DEPTH):
            if not any(known == path or known.startswith((f"{path}/", f"{path}@")) for known in spoken_of):
                yield Comparison("", path, "not verified", "no check has compared it with its source")


def _objects(nwb: NWBReader, group: str, depth: int) -> Iterator[str]:
    """Paths of the objects in a group that name a source."""
    for name in nwb.names(group):
        path = f"{group}/{name}"
        if nwb.is_array(path):
            continue
        attributes = nwb.attributes(path)
        if any(_NAMES_A_SOURCE in str(attributes.get(key, "")) for key in ("comments", "description")):
            yield path
        elif depth > 1:
            yield from _objects(nwb, path, depth - 1)
