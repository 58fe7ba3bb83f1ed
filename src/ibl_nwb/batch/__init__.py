"""Many sessions: each in a process of its own, verified, under the name that DANDI wants, and never lost or done twice.

::

    from ibl_nwb.batch import convert_sessions

    summary = convert_sessions(["KS014/2019-12-03/001", "/data/cortexlab/Subjects/KS014/2019-12-04/001"], "nwb")

The state of a batch is in the output folder alone: killed, interrupted or begun again on another day, it goes on where
it was. :func:`convert_one` is what is done for one session; it can be sent to any ``concurrent.futures.Executor``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .dask_executor import DaskExecutor
    from .driver import convert_sessions
    from .processes import ProcessExecutor
    from .records import BatchFolder, BatchRecord
    from .sessions import read_session_list
    from .summary import BatchSummary
    from .table import BatchDisplay, LineDisplay, TableDisplay
    from .work import convert_one

_MODULES = {
    "BatchDisplay": "table",
    "BatchFolder": "records",
    "BatchRecord": "records",
    "BatchSummary": "summary",
    "DaskExecutor": "dask_executor",
    "LineDisplay": "table",
    "ProcessExecutor": "processes",
    "TableDisplay": "table",
    "convert_one": "work",
    "convert_sessions": "driver",
    "read_session_list": "sessions",
}

__all__ = [
    "BatchDisplay",
    "BatchFolder",
    "BatchRecord",
    "BatchSummary",
    "DaskExecutor",
    "LineDisplay",
    "ProcessExecutor",
    "TableDisplay",
    "convert_one",
    "convert_sessions",
    "read_session_list",
]


def __getattr__(name: str) -> object:
    """Import what needs NeuroConv only where it is asked for."""
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
