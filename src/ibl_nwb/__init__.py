"""International Brain Laboratory sessions (Alyx + ALF) to NWB, as NeuroConv interfaces.

Names are imported when first used, so that ``import ibl_nwb`` costs next to nothing.
"""

from importlib import import_module
from typing import Any

from .interfaces import interface_names

_MODULES = {
    "ALFSession": "session",
    "Alyx2NWBConverter": "alyx2nwb",
    "Alyx2NWBGui": "gui.alyx2nwb_gui",
    "Alyx2NWBMetadata": "alyx2nwb",
    "AlyxRecord": "alyx",
    "ConversionDocument": "document",
    "convert_document": "conversion",
    "convert_sessions": "batch.driver",
    "IBLConverter": "converter",
    "IBLNWBError": "errors",
    "inspect_session": "coverage",
    "make_document": "conversion",
    **dict.fromkeys(interface_names, "interfaces"),
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
