"""Writing NWB files so that a file under its final name is always a complete one, and large recordings fast.

:func:`write_nwbfile` and :class:`StreamedTraces` work with any NeuroConv converter and any SpikeInterface recording.
"""

from typing import TYPE_CHECKING

from .atomic import atomic_output, check_output

if TYPE_CHECKING:
    from .streaming import write_nwbfile, write_part
    from .traces import StreamedTraces

__all__ = ["StreamedTraces", "atomic_output", "check_output", "write_nwbfile", "write_part"]


def __getattr__(name: str) -> object:
    """Import what needs SpikeInterface only where it is asked for."""
    if name in ("write_nwbfile", "write_part"):
        from . import streaming

        return getattr(streaming, name)
    if name == "StreamedTraces":
        from .traces import StreamedTraces

        return StreamedTraces
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
