"""How far a piece of work is, in a small file that its process writes and a page reads."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from tqdm import tqdm

#: How often the file is written while a step goes on.
_WRITE_EVERY_S = 0.1


@dataclass(frozen=True)
class Step:
    """One bar: an interface, a file.

    Attributes
    ----------
    name : str
        What the step is called.
    done, total : float
        How much is done, of how much, in ``unit``; a total of 0 says that the step has not begun.
    unit : str
        What is counted: "B" for bytes, else the name of one piece.
    rate : float or None
        Units per second; None where that is not known.
    eta_s : float or None
        Seconds to go.
    weight : float
        How much of the whole it is, compared with other steps.
    """

    name: str
    done: float = 0.0
    total: float = 0.0
    unit: str = "it"
    rate: float | None = None
    eta_s: float | None = None
    weight: float = 1.0

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


@dataclass(frozen=True)
class Progress:
    """What a progress file says.

    Attributes
    ----------
    host : str
        Machine of the process.
    pid : int
        The process.
    created : float
        When it was started, seconds since 1970; together with ``pid`` it is no other process.
    steps : list of Step
        In the order in which they were announced or begun.
    """

    host: str
    pid: int
    created: float
    steps: list[Step] = field(default_factory=list)

    @property
    def fraction(self) -> float:
        """How much of all steps is done, 0 to 1."""
        whole = sum(step.weight for step in self.steps)
        return sum(step.weight * step.fraction for step in self.steps) / whole if whole else 0.0


class ProgressWriter:
    """Writes the file, in the process that does the work.

    Parameters
    ----------
    path : pathlib.Path
        The file; its folder is there.
    """

    def __init__(self, path: Path):
        import psutil

        self.path = path
        self._process = Progress(socket.gethostname(), os.getpid(), psutil.Process().create_time())
        self._bars: dict[str, dict[int, Step]] = {}
        self._weights: dict[str, float] = {}
        self._lock, self._written = threading.RLock(), 0.0
        self._write()

    def expect(self, weights: Mapping[str, float]) -> None:
        """Announce steps that will come, in their order, and how much of the whole each is."""
        with self._lock:
            self._weights.update(weights)
            self._bars.update({name: {} for name in weights if name not in self._bars})
            self._write()

    def bar(self, *args: Any, **kwargs: Any) -> tqdm:
        """Make a progress bar, as ``tqdm.tqdm`` does, that is shown in the file; those of one name are one step."""
        bar = _Bar(*args, **{**kwargs, "file": StringIO()})
        bar.show = self._show
        self._show(bar)
        return bar

    def _show(self, bar: tqdm) -> None:
        said = bar.format_dict
        elapsed = said["elapsed"]
        rate = said["rate"] or (bar.n / elapsed if elapsed > 0 and bar.n else None)
        name = bar.desc.removesuffix(": ")
        is_whole = bar.total is not None and bar.n >= bar.total
        with self._lock:
            known = self._bars.setdefault(name, {})
            is_new = id(bar) not in known
            known[id(bar)] = Step(name, bar.n, bar.total or 0.0, bar.unit, rate)
            if is_new or is_whole or time.monotonic() - self._written > _WRITE_EVERY_S:
                self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        steps = [_joined(name, list(bars.values()), self._weights.get(name, 1.0)) for name, bars in self._bars.items()]
        content = {**asdict(self._process), "steps": [asdict(step) for step in steps]}
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(self.path)


class _Bar(tqdm):
    """A progress bar that shows itself by a function, which it gets once it is made."""

    show: Callable[[tqdm], None] | None = None

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        self.display()  # tqdm leaves most of the calls out
        return shown

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if self.show is not None:
            self.show(self)
        return True


def _joined(name: str, bars: list[Step], weight: float) -> Step:
    """One step of bars of one name, such as the samples of a recording and their times."""
    if not bars:
        return Step(name, weight=weight)
    done, total = sum(bar.done for bar in bars), sum(bar.total for bar in bars)
    at_work = [bar.rate for bar in bars if bar.done < bar.total and bar.rate]
    rate = sum(at_work) if at_work else max((bar.rate or 0.0 for bar in bars), default=0.0) or None
    eta_s = (total - done) / rate if rate and done < total else None
    return Step(name, done, total, bars[0].unit, rate, eta_s, weight)


def read_progress(path: Path) -> Progress | None:
    """What a file says; None where it is not there, or was being made when its process was killed."""
    with suppress(FileNotFoundError, json.JSONDecodeError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return Progress(**{**content, "steps": [Step(**step) for step in content["steps"]]})
    return None
