"""Files of a project onto DANDI: validated first, uploaded session by session, checked on the server afterwards.

::

    from ibl_nwb.publish import upload_folder, validate_files

    report = validate_files(["nwb"])
    report.ok or print(report.summary())
    upload_folder("nwb", "000409", instance="dandi-sandbox")

Validation needs no network. Both need ``pip install "ibl-nwb[dandi]"``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .archive import check_access, find_api_key
    from .findings import Finding, ValidationReport
    from .records import UploadRecord
    from .upload import UploadReport, upload_folder
    from .validation import validate_files

_MODULES = {
    "Finding": "findings",
    "UploadRecord": "records",
    "UploadReport": "upload",
    "ValidationReport": "findings",
    "check_access": "archive",
    "find_api_key": "archive",
    "upload_folder": "upload",
    "validate_files": "validation",
}

__all__ = [
    "Finding",
    "UploadRecord",
    "UploadReport",
    "ValidationReport",
    "check_access",
    "find_api_key",
    "upload_folder",
    "validate_files",
]


def __getattr__(name: str) -> object:
    """Import what needs NeuroConv and DANDI only where it is asked for."""
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
