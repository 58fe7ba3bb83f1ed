"""International Brain Laboratory sessions (Alyx + ALF) to NWB, as NeuroConv interfaces.

Names are imported when first used, so that ``import ibl_nwb`` costs next to nothing.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "ALFSession": "session",
    "Alyx2NWBConverter": "alyx2nwb",
    "Alyx2NWBMetadata": "alyx2nwb",
    "AlyxRecord": "alyx",
    "AudioSpectrogramInterface": "interfaces",
    "ConversionDocument": "document",
    "IBLConverter": "converter",
    "IBLNWBError": "errors",
    "PoseInterface": "interfaces",
    "RawEphysInterface": "interfaces",
    "SortedSpikesInterface": "interfaces",
    "TrialsInterface": "interfaces",
    "WheelInterface": "interfaces",
    "convert_document": "conversion",
    "inspect_session": "coverage",
    "make_document": "conversion",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ibl-nwb")
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
