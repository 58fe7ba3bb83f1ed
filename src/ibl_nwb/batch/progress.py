"""How far a session is, in a small file that others may read."""

from __future__ import annotations

import json
import os
import socket
import time
from io import StringIO
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import processes

#: How often the file is written while a step goes on.
_WRITE_EVERY_S = 0.5


class ProgressFile:
    """Step and fraction of what a process is doing, and which process it is; the file is removed at the end.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    """

    def __init__(self, path: Path):
        import psutil

        self.path = path
        self._process = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "created": psutil.Process().create_time(),
            "is_for_one_call": processes.is_for_one_call,
        }
        self._product, self._written = "", 0.0

    def __enter__(self) -> ProgressFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.begin("", "starting")
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def begin(self, product: str, step: str) -> None:
        """Note that a step begins."""
        self._product = product
        self._write(step, 0.0)

    def report(self, step: str, fraction: float) -> None:
        """Note how far a step is, at most twice a second."""
        if time.monotonic() - self._written > _WRITE_EVERY_S:
            self._write(step, fraction)

    def bar(self, *args: Any, **kwargs: Any) -> tqdm:
        """Make a progress bar, as ``tqdm.tqdm`` does, that is shown in the file."""
        bar = _Bar(*args, **{**kwargs, "file": StringIO()})
        bar.progress = self
        return bar

    def _write(self, step: str, fraction: float) -> None:
        self._written = time.monotonic()
        content = {**self._process, "product": self._product, "step": step, "fraction": fraction}
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(self.path)


class _Bar(tqdm):
    """A progress bar that shows itself in a :class:`ProgressFile`."""

    progress: ProgressFile | None = None

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if self.progress is not None and self.total:
            self.progress.report(self.desc.removesuffix(": "), self.n / self.total)
        return True


def read_progress(path: Path) -> dict[str, Any] | None:
    """What a file says, None where it is not there."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError):  # a process that was killed while it made it
        return None
