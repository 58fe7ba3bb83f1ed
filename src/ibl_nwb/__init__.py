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
    "AmbientSensorsInterface": "interfaces",
    "AudioSpectrogramInterface": "interfaces",
    "ConversionDocument": "document",
    "convert_document": "conversion",
    "EphysQCInterface": "interfaces",
    "ExperimentDescriptionInterface": "interfaces",
    "IBLConverter": "converter",
    "IBLNWBError": "errors",
    "inspect_session": "coverage",
    "LicksInterface": "interfaces",
    "make_document": "conversion",
    "MotionEnergyInterface": "interfaces",
    "NIDQInterface": "interfaces",
    "PassiveInterface": "interfaces",
    "PawStatesInterface": "interfaces",
    "PoseInterface": "interfaces",
    "ProbeSyncInterface": "interfaces",
    "PupilInterface": "interfaces",
    "RawEphysInterface": "interfaces",
    "SortedSpikesInterface": "interfaces",
    "SyncInterface": "interfaces",
    "TaskSettingsInterface": "interfaces",
    "TrialsInterface": "interfaces",
    "VideoInterface": "interfaces",
    "WheelInterface": "interfaces",
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
