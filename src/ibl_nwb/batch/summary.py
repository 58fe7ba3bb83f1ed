"""What became of a batch: as an object, as JSON, and as a page to read."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.filesize import decimal

from .records import BatchRecord, State, now, write_whole

SUMMARY_NAME = "batch_summary"

_COLUMNS = ("Session", "Product", "State", "Size", "Time", "Verified", "File, or why not", "Notes")

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>ibl-nwb batch</title>
<style>
body {{ font-family: sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid #ccc; padding: 0.3em 0.6em; text-align: left; vertical-align: top; }}
.done {{ background: #e3f4e3; }} .failed {{ background: #f9dede; }} .queued, .running {{ background: #fdf6d8; }}
</style>
<h1>{title}</h1>
<p>{counts}, written {written}.</p>
{notes}
<table>
<tr>{header}</tr>
{rows}
</table>
</html>
"""


@dataclass
class BatchSummary:
    """What became of the sessions of a batch.

    Attributes
    ----------
    folder : pathlib.Path
        The output folder.
    records : list of BatchRecord
        One for each product of each session, in the order in which they were named.
    notes : list of str
        What a user should know about the batch as a whole.
    seconds : float
        How long it ran.
    """

    folder: Path
    records: list[BatchRecord]
    notes: list[str]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every product is done, or has nothing to be made of."""
        return all(record.state in ("done", "empty") for record in self.records)

    @property
    def counts(self) -> dict[State, int]:
        """Number of records by state."""
        return {state: sum(record.state == state for record in self.records) for state in get_args(State)}

    @property
    def failed(self) -> list[BatchRecord]:
        """The records that say why there is no file."""
        return [record for record in self.records if record.state == "failed"]

    def describe(self) -> str:
        """One line: how many of each state there are, and how much was written."""
        counted = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        return f"{len(self.records)} products: {counted}; {decimal(sum(record.size for record in self.records))}"

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {
            "folder": str(self.folder),
            "written": now(),
            "ok": self.ok,
            "counts": dict(self.counts),
            "seconds": self.seconds,
            "notes": self.notes,
            "records": [record.model_dump(mode="json") for record in self.records],
        }

    def to_html(self) -> str:
        """The summary as a page that needs nothing but a browser."""
        return _PAGE.format(
            title=html.escape(f"Sessions in {self.folder}"),
            counts=html.escape(self.describe()),
            written=now(),
            notes="".join(f"<p>{html.escape(note)}</p>\n" for note in self.notes),
            header="".join(f"<th>{column}</th>" for column in _COLUMNS),
            rows="\n".join(map(_html_row, self.records)),
        )

    def write(self, folder: Path) -> None:
        """Write ``batch_summary.json`` and ``batch_summary.html`` to a folder."""
        write_whole(folder / f"{SUMMARY_NAME}.json", json.dumps(self.to_dict(), indent=1) + "\n")
        write_whole(folder / f"{SUMMARY_NAME}.html", self.to_html())


def _html_row(record: BatchRecord) -> str:
    files = "<br>".join(
        f'<a href="{html.escape(file.path, quote=True)}">{html.escape(file.path)}</a>' for file in record.files
    )
    compared = record.verification or {}
    cells = (
        html.escape(record.session or record.source) + (f"<br>{record.eid}" if record.eid else ""),
        record.product,
        record.state,
        decimal(record.size) if record.files else "",
        "" if record.seconds is None else f"{record.seconds:.1f} s",
        html.escape(", ".join(f"{count} {outcome}" for outcome, count in compared.items() if count)),
        files or html.escape(record.error or ""),
        "<br>".join(map(html.escape, record.notes)),
    )
    return f'<tr class="{record.state}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
