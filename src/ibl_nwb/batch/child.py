"""``python -m ibl_nwb.batch.child``: one call in a process that any other can start; JSON comes in, and JSON goes out.

A worker of Dask is a daemon process, which may not have children of ``multiprocessing``. The process ends when its
standard input is closed, hence with the worker, however that comes about.
"""

from __future__ import annotations

import json
import os
import sys
from pkgutil import resolve_name
from typing import Any

from .. import errors
from .processes import begin_call


def main() -> None:
    """Read one line, ``{"function": "module:name", "argument": ..., "output": FILE}``, and print what comes of it."""
    call = json.loads(sys.stdin.buffer.readline())
    answer_to = os.dup(sys.stdout.fileno())
    begin_call(call["output"], lambda: os.read(0, 1))
    with os.fdopen(answer_to, "w", encoding="utf-8") as stream:
        stream.write(f"{json.dumps(_answer(call))}\n")  # the end of the line tells that it is whole


def read_answer(text: str) -> Any:
    """What the function returned.

    Raises
    ------
    IBLNWBError
        As the function has; what is no error of ours comes as WorkerLostError.
    """
    answer = json.loads(text)
    if "error" not in answer:
        return answer["result"]
    error = getattr(errors, answer["type"], None)
    if isinstance(error, type) and issubclass(error, errors.IBLNWBError):
        raise error(answer["error"])
    raise errors.WorkerLostError(f"{answer['type']}: {answer['error']}")


def _answer(call: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": resolve_name(call["function"])(call["argument"])}
    except Exception as error:  # noqa: BLE001 - it is raised again on the other side
        return {"type": type(error).__name__, "error": str(error)}


if __name__ == "__main__":
    main()
