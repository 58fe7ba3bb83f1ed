"""Searching for sessions, on a server or in a cache, with the same terms and as far as can be the same answers."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .connection import cache_dir_of, is_remote
from .http import Limits
from .local import find_folder, has_tables, local_sessions
from .records import RecordStore
from .references import SessionKey
from .rest import AlyxReader, Row
from .summary import SessionSummary


@dataclass(frozen=True)
class SearchTerm:
    """One term to search by.

    Attributes
    ----------
    parameter : str
        What Alyx calls it.
    matches : callable or None
        Whether a session has one of the values, for a search without a server; None where only a server can tell.
    """

    parameter: str
    matches: Callable[[SessionSummary, str], bool] | None = None


def _whole(field: str) -> Callable[[SessionSummary, str], bool]:
    return lambda summary, value: getattr(summary, field).casefold() == value.casefold()


#: What can be searched by. Alyx compares subject and lab as whole names and finds parts of protocols and projects, all
#: in whatever case. ONE's own search of tables takes each of them as a regular expression that matches anywhere.
SEARCH_TERMS: dict[str, SearchTerm] = {
    "subject": SearchTerm("subject", _whole("subject")),
    "lab": SearchTerm("lab", _whole("lab")),
    "date_range": SearchTerm("date_range"),
    "number": SearchTerm("number", lambda summary, value: summary.number == int(value)),
    "task_protocol": SearchTerm(
        "task_protocol", lambda summary, value: value.casefold() in summary.task_protocol.casefold()
    ),
    "projects": SearchTerm(
        "projects", lambda summary, value: any(value.casefold() in name.casefold() for name in summary.projects)
    ),
    "datasets": SearchTerm("datasets"),
    "dataset_types": SearchTerm("dataset_types"),
    "dataset_qc_lte": SearchTerm("dataset_qc_lte"),
    "users": SearchTerm("users"),
    "location": SearchTerm("location"),
    "tag": SearchTerm("tag"),
    "performance_gte": SearchTerm("performance_gte"),
    "performance_lte": SearchTerm("performance_lte"),
    "django": SearchTerm("django"),
}

#: Other spellings, ONE's and those of its first version.
_SPELLINGS = {
    "laboratory": "lab",
    "date": "date_range",
    "project": "projects",
    "protocol": "task_protocol",
    "dataset": "datasets",
    "dataset_type": "dataset_types",
}

#: Terms of which a session must have all values; of the others, one.
_ALL_OF = ("datasets", "dataset_types", "users")


#: Where a range of dates is open.
_FIRST_DAY, _LAST_DAY = "1900-01-01", "2999-12-31"


def find_sessions(
    one: Any, *, records_dir: str | Path | None = None, limits: Limits | None = None, **terms: Any
) -> list[SessionSummary]:
    """Search for sessions.

    Parameters
    ----------
    one : one.api.OneAlyx or one.api.One
        From :func:`ibl_nwb.acquire.connect`, or any other.
    records_dir : path-like, optional
        Folder of kept records, which add what a cache does not know.
    limits : Limits, optional
        How long to wait for the server.
    **terms
        Terms of ONE: ``subject``, ``lab``, ``date_range`` (a day or two, either None), ``number``, ``task_protocol``,
        ``projects``, ``datasets`` (file names such as ``_ibl_trials.table.pqt``), ``dataset_types`` (such as
        ``spikes.times``; a file name is taken too), and for a server the others of :data:`SEARCH_TERMS`. A list means
        any of its values, for datasets and users all. Null values are ignored.

    Returns
    -------
    list of SessionSummary
        Sorted by subject, date, number and lab.

    Raises
    ------
    UsageError
        If a term or a value is unknown, or cannot be looked up without a server.
    NetworkError
        If the server does not answer.
    """
    wanted = _normalised(terms)
    if is_remote(one):
        with AlyxReader(one, limits or Limits()) as reader:
            rows = [row for query in _queries(wanted) for row in reader.list_rows("sessions", **query)]
        found = {row["id"]: _summarise(row) for row in rows}
        summaries: Iterable[SessionSummary] = found.values()
    else:
        summaries = _search_cache(one, wanted, RecordStore(records_dir))
    return sorted(summaries, key=lambda s: (s.subject, s.date, s.number, s.lab, s.eid or ""))


def _normalised(terms: dict[str, Any]) -> dict[str, list[str]]:
    """Terms under their own names, values as lists of text; dates as two ISO dates."""
    wanted: dict[str, list[str]] = {}
    for given, value in terms.items():
        name = _SPELLINGS.get(given, given)
        if name not in SEARCH_TERMS:
            close = difflib.get_close_matches(given, [*SEARCH_TERMS, *_SPELLINGS], n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise UsageError(f"There is no search term '{given}'.{hint} Known: {', '.join(sorted(SEARCH_TERMS))}.")
        if value is None:
            continue
        values = _date_range(value) if name == "date_range" else _texts(value)
        if name == "number" and not all(text.isdecimal() for text in values):
            raise UsageError(f"The number of a session is a whole number such as 1, not {value!r}.")
        if name == "dataset_types":
            files = [text for text in values if re.search(r"\.(npy|pqt|csv|json|cbin|bin|meta|ch|mp4|ssv|tsv)$", text)]
            wanted["datasets"] = wanted.get("datasets", []) + files
            values = [text for text in values if text not in files]
        wanted[name] = wanted.get(name, []) + values
    return {name: values for name, values in wanted.items() if values}


def _texts(value: Any) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, (list, tuple, set, frozenset)) else [str(value)]


def _date_range(value: Any) -> list[str]:
    """First and last day, as Alyx wants them, of a day or of two, either None."""
    bounds = list(value) if isinstance(value, (list, tuple)) else [value, value]
    try:
        first, last = [_day(bound) for bound in bounds]
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{value!r} is no range of dates. Give a day such as '2023-05-18', or two, of which one may be None."
        ) from error
    return [first or _FIRST_DAY, last or _LAST_DAY]


def _day(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, date):  # a datetime and a pandas Timestamp are dates too
        return value.strftime("%Y-%m-%d")
    return datetime.fromisoformat(value).date().isoformat()


def _queries(wanted: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Parameters of every request: Alyx takes one value of most terms."""
    joined = {
        SEARCH_TERMS[name].parameter: ",".join(values)
        for name, values in wanted.items()
        if name in _ALL_OF or name == "date_range"
    }
    alternatives = {name: values for name, values in wanted.items() if SEARCH_TERMS[name].parameter not in joined}
    for choice in itertools.product(*alternatives.values()):
        yield {
            **joined,
            **{SEARCH_TERMS[name].parameter: value for name, value in zip(alternatives, choice, strict=True)},
        }


def _summarise(row: Row) -> SessionSummary:
    return SessionSummary(
        eid=row["id"],
        lab=row.get("lab") or "",
        subject=row.get("subject") or "",
        date=str(row.get("start_time") or "")[:10],
        number=row.get("number") if row.get("number") is not None else 0,  # type: ignore[arg-type]
        task_protocol=row.get("task_protocol") or "",
        projects=tuple(sorted(row.get("projects") or ())),
    )


def _search_cache(one: Any, wanted: dict[str, list[str]], store: RecordStore) -> Iterator[SessionSummary]:
    names = [re.escape(name) for name in wanted.get("datasets", [])]
    patterns = names + [_type_pattern(name) for name in wanted.get("dataset_types", [])]
    for name in wanted:
        if SEARCH_TERMS[name].matches is None and name not in ("date_range", "datasets", "dataset_types"):
            raise UsageError(f"'{name}' can only be looked up by a server; leave it out, or search without --offline.")
    for summary in local_sessions(one, store):
        if all(_matches(summary, name, values) for name, values in wanted.items()) and (
            not patterns or _holds(one, summary, patterns)
        ):
            yield summary


def _matches(summary: SessionSummary, name: str, values: list[str]) -> bool:
    if name == "date_range":
        return values[0] <= summary.date <= values[1]
    matches = SEARCH_TERMS[name].matches
    return matches is None or any(matches(summary, value) for value in values)


def _type_pattern(dataset_type: str) -> str:
    """Regular expression of the file names of a type: ``camera.times`` is a type of ``_ibl_leftCamera.times.npy``."""
    parts = re.fullmatch(r"(?:_[a-z]+_)?(\w+)\.(\w+)", dataset_type)
    if parts is None:
        raise UsageError(
            f"Which files are of type '{dataset_type}' is only known to a server. Give datasets='FILE NAME' offline."
        )
    return rf"(?i:(_\w+_)?\w*{re.escape(parts[1])}\.{re.escape(parts[2])}\..+)"


def _holds(one: Any, summary: SessionSummary, patterns: list[str]) -> bool:
    """Whether a session of a cache has datasets with names of all patterns."""
    key = summary.key
    if has_tables(one):
        paths = one._cache["datasets"].loc[[_eid_in_tables(one, key)]].query("exists")["rel_path"]
        names = {str(path).rsplit("/", 1)[-1] for path in paths}
    else:
        folder = summary.path or find_folder(one, key)
        names = {_tidy_name(path) for path in (folder or cache_dir_of(one)).rglob("*") if path.is_file()}
    return all(any(re.fullmatch(pattern, name) for name in names) for pattern in patterns)


def _eid_in_tables(one: Any, key: SessionKey) -> Any:
    sessions = one._cache["sessions"]
    same = (sessions["subject"] == key.subject) & (sessions["number"] == key.number)
    same &= sessions["date"].astype(str).str[:10] == key.date
    return sessions.index[same][0]


def _tidy_name(path: Path) -> str:
    from one.alf.path import ALFPath

    return str(ALFPath(path).without_uuid().name)
