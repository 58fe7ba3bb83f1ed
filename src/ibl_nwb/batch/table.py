"""How far a batch is, on a terminal or line by line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from .progress import read_progress
from .records import BatchFolder, BatchRecord

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {"done": "green", "failed": "red", "running": "cyan", "queued": "yellow", "empty": "dim"}

#: How many of the sessions that are settled are shown above those that are at work.
_LAST_SHOWN = 5

_BAR_WIDTH = 20


class BatchDisplay:
    """Shows nothing; the base of what does."""

    @contextmanager
    def show(self, folder: BatchFolder, records: dict[str, BatchRecord], started: float) -> Iterator[None]:
        """Show the records of a batch while the block lasts.

        Parameters
        ----------
        folder : BatchFolder
            The output folder.
        records : dict of str to BatchRecord
            The records by name; their states change while they are shown.
        started : float
            When the batch began, in seconds since 1970.
        """
        yield

    def refresh(self) -> None:
        """Show what has changed."""


class LineDisplay(BatchDisplay):
    """One line for each product as it is settled, for logs and pipes."""

    def __init__(self, stream: IO[str] | None = None):
        self._stream = stream or sys.stdout

    @contextmanager
    def show(self, folder: BatchFolder, records: dict[str, BatchRecord], started: float) -> Iterator[None]:
        """Print a line for each product that is settled."""
        self._records, self._started = records, started
        self._told = {name for name, record in records.items() if _is_settled(record)}
        self._n_before = len(self._told)
        try:
            yield
        finally:
            self.refresh()

    def refresh(self) -> None:
        """Print what was settled since the last time."""
        for name, record in list(self._records.items()):
            if _is_settled(record) and name not in self._told:
                self._told.add(name)
                counted = f"[{len(self._told)}/{len(self._records)}]"
                ahead = describe_rate(self._records, self._n_before, time.time() - self._started)
                print(f"{counted} {describe_record(record)}; {ahead}", file=self._stream, flush=True)


class TableDisplay(BatchDisplay):
    """A live table of the sessions that are at work and the last that were settled, with rate and time to go."""

    def __init__(self, console: Any | None = None):
        self._console = console

    @contextmanager
    def show(self, folder: BatchFolder, records: dict[str, BatchRecord], started: float) -> Iterator[None]:
        """Show the table."""
        from rich.live import Live

        self._folder, self._records, self._started = folder, records, started
        self._settled = [name for name, record in records.items() if _is_settled(record)]
        self._n_before = len(self._settled)
        with Live(self._table(), console=self._console, auto_refresh=False, redirect_stderr=False) as self._live:
            try:
                yield
            finally:
                self.refresh()

    def refresh(self) -> None:
        """Draw the table again."""
        known = set(self._settled)
        self._settled += [name for name, r in list(self._records.items()) if _is_settled(r) and name not in known]
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        ahead = describe_rate(self._records, self._n_before, time.time() - self._started)
        table = Table(header_style="bold", caption=ahead, caption_justify="left", expand=True)
        for column in ("Session", "Product", "State"):
            table.add_column(column, no_wrap=True)
        table.add_column("Progress", overflow="fold", ratio=1)
        for name in self._settled[self._n_before :][-_LAST_SHOWN:]:
            record = self._records.get(name)
            if record is not None:
                what = record.files[0].path if record.files else record.error or " ".join(record.notes)
                style = _STYLES[record.state]
                table.add_row(escape(_title(record)), record.product, f"[{style}]{record.state}[/]", escape(what))
        for path in sorted(self._folder.progress_path("any").parent.glob("*.json")):
            said = read_progress(path)
            record = next((r for r in self._records.values() if r.key == path.stem), None)
            if said is not None and record is not None:
                state = "running" if said["product"] else "fetching"
                bar = draw_bar(said["fraction"])
                table.add_row(
                    escape(_title(record)), said["product"], f"[cyan]{state}[/]", f"{bar} {escape(said['step'])}"
                )
        return table


def describe_record(record: BatchRecord) -> str:
    """One line about a product that is settled."""
    what = record.files[0].path if record.files else record.error or " ".join(record.notes)
    product = "" if record.product == "whole" else f" ({record.product})"
    return f"{record.state}: {_title(record)}{product}: {what}"


def describe_rate(records: dict[str, BatchRecord], n_before: int, seconds: float) -> str:
    """How many products are in which state, how many are settled in an hour, and how long the others will take.

    Parameters
    ----------
    records : dict of str to BatchRecord
        The records by name.
    n_before : int
        Those that were settled when the batch began.
    seconds : float
        How long ago that was.
    """
    states = [record.state for record in records.values()]
    counted = ", ".join(f"{states.count(state)} {state}" for state in _STYLES if state in states)
    n_settled = sum(map(_is_settled, records.values()))
    n_now = n_settled - n_before
    if not n_now or seconds < 1:  # a rate of less than a second says nothing
        return counted
    ahead = timedelta(seconds=round((len(records) - n_settled) * seconds / n_now))
    return f"{counted}; {n_now / seconds * 3600:.0f} per hour, {ahead} to go"


def draw_bar(fraction: float) -> str:
    """A bar of text, and the percentage."""
    n_full = round(min(max(fraction, 0.0), 1.0) * _BAR_WIDTH)
    return f"{'█' * n_full}{'░' * (_BAR_WIDTH - n_full)} {fraction:4.0%}"


def _is_settled(record: BatchRecord) -> bool:
    return record.state in ("done", "empty", "failed")


def _title(record: BatchRecord) -> str:
    return record.session or record.source
