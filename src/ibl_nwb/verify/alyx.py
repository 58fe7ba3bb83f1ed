"""The Alyx record: the rows of the file put together to one document again, against the record itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from .comparing import compare_arrays
from .nwb_reading import NWBReader
from .report import Comparison, Difference
from .verification import Verification

_RECORD, _INSERTIONS, _TRAJECTORIES = "analysis/AlyxRecord", "analysis/ProbeInsertions", "analysis/ProbeTrajectories"

#: Column and field of the record, for texts.
_INSERTION_FIELDS = {"probe_name": "name", "pid": "id", "probe_model": "model", "serial_number": "serial"}

#: Column and field of the record, for numbers.
_TRAJECTORY_FIELDS = {
    **{"entry_ml": "x", "entry_ap": "y", "entry_dv": "z"},
    **{"depth": "depth", "theta": "theta", "phi": "phi", "roll": "roll"},
}


def check_alyx(verification: Verification) -> Iterator[Comparison]:
    """Compare the record with the one that was given, and the tables of probes with the record."""
    nwb = verification.nwb
    if _RECORD not in nwb:
        if verification.alyx is not None:
            yield Comparison("Alyx record", _RECORD, "missing", "it is not in the file")
        return
    written = read_record(nwb)
    if verification.alyx is None:
        yield Comparison("Alyx record", _RECORD, "not verified", "no record to compare it with was given")
    else:
        yield _compare_documents(written, verification.alyx)
    record = written if verification.alyx is None else verification.alyx
    yield from _check_insertions(nwb, record)
    yield from _check_trajectories(nwb, record)


def read_record(nwb: NWBReader) -> dict[str, Any]:
    """The record in a file, from its rows of JSON Pointer and JSON text."""
    fields, values = nwb.read(f"{_RECORD}/field"), nwb.read(f"{_RECORD}/value")
    record: Any = {}
    for pointer, text in zip(fields, values, strict=True):
        place = record
        *folders, name = [part.replace("~1", "/").replace("~0", "~") for part in str(pointer).split("/")[1:]]
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = json.loads(text)
    return record


def _compare_documents(written: dict[str, Any], given: dict[str, Any]) -> Comparison:
    difference = _first_difference(written, given, "")
    if difference is None:
        return Comparison("Alyx record", _RECORD, "equal")
    pointer, expected, found = difference
    reason = f"differs at {pointer or 'the top level'}"
    return Comparison(
        "Alyx record", _RECORD, "different", reason, Difference((), json.dumps(expected), json.dumps(found))
    )


def _first_difference(written: Any, given: Any, pointer: str) -> tuple[str, Any, Any] | None:
    """Pointer and values of the first difference; ``written`` has objects in place of lists."""
    if isinstance(given, list) and given:
        given = {str(index): value for index, value in enumerate(given)}
    if not (isinstance(given, dict) and given and isinstance(written, dict)):
        same = written == given and isinstance(written, bool) == isinstance(given, bool)
        return None if same else (pointer, given, written)
    for key in [*given, *(key for key in written if key not in given)]:
        if key not in given or key not in written:
            return f"{pointer}/{key}", given.get(key), written.get(key)
        found = _first_difference(written[key], given[key], f"{pointer}/{key}")
        if found is not None:
            return found
    return None


def _check_insertions(nwb: NWBReader, record: dict[str, Any]) -> Iterator[Comparison]:
    rows = record_rows(record, "insertions")
    for column, field in _INSERTION_FIELDS.items() if rows else ():
        yield _compare_column(nwb, _INSERTIONS, column, f"insertions/*/{field}", [row.get(field) or "" for row in rows])


def _check_trajectories(nwb: NWBReader, record: dict[str, Any]) -> Iterator[Comparison]:
    rows = record_rows(record, "trajectories")
    if not rows:
        return
    names = {row.get("id"): row.get("name") for row in record_rows(record, "insertions")}
    probes = [row.get("probe_name") or names.get(row.get("probe_insertion")) or "" for row in rows]
    yield _compare_column(nwb, _TRAJECTORIES, "probe_name", "trajectories/*/probe_name", probes)
    for field in ("provenance", "coordinate_system"):
        texts = [row.get(field) or "" for row in rows]
        yield _compare_column(nwb, _TRAJECTORIES, field, f"trajectories/*/{field}", texts)
    for column, field in _TRAJECTORY_FIELDS.items():
        numbers = [np.nan if row.get(field) is None else float(row[field]) for row in rows]
        yield _compare_column(nwb, _TRAJECTORIES, column, f"trajectories/*/{field}", numbers)


def _compare_column(nwb: NWBReader, table: str, column: str, dataset: str, values: list[Any]) -> Comparison:
    found = nwb.read_column(table, column)
    if found is None:
        return Comparison(f"Alyx record: {dataset}", f"{table}/{column}", "missing", "it is not in the file")
    expected = np.array(values, dtype=object if isinstance(values[0], str) else np.float64)
    return compare_arrays(f"Alyx record: {dataset}", f"{table}/{column}", found, expected)


def record_rows(record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Rows of a list of the record, which is an object with numbered keys where it was read from a file."""
    content = record.get(name)
    return list(content.values()) if isinstance(content, dict) else list(content or [])
