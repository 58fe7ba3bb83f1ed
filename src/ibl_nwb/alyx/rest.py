"""From answers of Alyx's REST interface to the content of a record that is the same whenever one asks.

Alyx answers in no particular order, mixes facts with values computed on the day of the query, and has several forms for
one thing. What is done about each is declared in the tables at the top; all values that no table mentions pass through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ..errors import DocumentError
from .vocabulary import HISTOLOGY_PROVENANCES, NO_REVISION, QC_NAMES, ZYGOSITY_SYMBOLS, is_uuid

Row = dict[str, Any]

#: Rows, a page of rows, or one row. ONE's lazily paged answer is a ``Mapping`` that iterates over rows; therefore only
#: a ``dict`` is taken as a JSON object anywhere in this module.
Answer = Iterable[Any]

_TODAY = "computed by the server for the day of the query"
_SAVED = "when the server last saved the row, for whatever reason"
_ADDRESS = "address of the server at the query; the id in it is kept"
_COPIES = "where copies of the file lie at the query; path, size and MD5 are kept"
_REPEATED = "repeats the session's own fields"
_ACCOUNT = "setting of a person's account today"

#: Fields of each kind of row that a record leaves out, with the reason.
LEFT_OUT: dict[str, dict[str, str]] = {
    "session": {"url": _ADDRESS, "auto_datetime": _SAVED},
    "subject": {
        "url": _ADDRESS,
        "age_weeks": _TODAY,
        "alive": _TODAY,
        "reference_weight": _TODAY,
        "last_water_restriction": "null again once the restriction ends",
        "expected_water": _TODAY,
        "remaining_water": _TODAY,
    },
    "user": {
        "email": "personal, and the record is published with the file",
        "subjects_responsible": _ACCOUNT,
        "allowed_users": _ACCOUNT,
        "is_stock_manager": _ACCOUNT,
    },
    "insertion": {"session_info": _REPEATED, "auto_datetime": _SAVED},
    "trajectory": {"session": _REPEATED, "datetime": _SAVED},
    "dataset": {
        "url": _ADDRESS,
        "data_url": _COPIES,
        "file_records": _COPIES,
        "session": _REPEATED,
        "auto_datetime": _SAVED,
    },
    "weighing": {"url": _ADDRESS},
    "water_administration": {"url": _ADDRESS},
}

#: Fields that a record has in another place or under another name.
MOVED: dict[str, str] = {
    "session.data_dataset_session_related": "datasets",
    "session.probe_insertion": "insertions",
    "session.notes": "notes",
    "subject.weighings": "weighings",
    "subject.water_administrations": "water_administrations",
    "dataset.default_dataset": "dataset.default_revision",
}

#: What the rows of each list are sorted by.
SORT_KEYS: dict[str, tuple[str, ...]] = {
    "users": ("username",),
    "projects": ("name",),
    "insertions": ("name", "id"),
    "trajectories": ("probe_insertion", "provenance", "id"),
    "datasets": ("collection", "revision", "name", "id"),
    "weighings": ("date_time", "id"),
    "water_administrations": ("date_time", "id"),
    "surgeries": ("start_time", "id"),
    "notes": ("date_time", "id"),
    "genotype": ("allele",),
    "wateradmin_session_related": ("id",),
    "field_of_view": ("name", "id"),
    "location": ("id",),
}

#: Fields that hold a set of names or ids where they are a list, in any kind of row; sorted alphabetically.
UNORDERED_NAMES = ("users", "procedures", "projects", "session_projects", "repositories", "lab", "tags", "datasets")

_REVISION_FOLDER = re.compile(r"/#([^#/]+)#/")


def record_from_answers(
    *,
    session: Row,
    subject: Row | None,
    lab: Row | None,
    users: Answer,
    projects: Answer,
    procedures: Answer,
    insertions: Answer,
    trajectories: Answer,
    channels: Answer,
    datasets: Answer,
    surgeries: Answer,
    notes: Answer,
) -> Row:
    """Content of a record, not yet validated; parameters as in :meth:`ibl_nwb.alyx.AlyxRecord.from_rest`."""
    subject_row, lab_row = subject or {}, lab or {}
    insertion_rows = [*_rows("probe_insertion", session.get("probe_insertion")), *_rows("insertions", insertions)]
    trajectory_rows = _rows("trajectories", trajectories)
    listed_datasets = _rows("datasets", datasets)
    surgery_rows = _rows("surgeries", surgeries)
    user_rows = _rows("users", users)

    _check_same("the subject", subject_row.get("nickname"), session.get("subject"))
    _check_same("the lab", lab_row.get("name"), session.get("lab"))
    for row in surgery_rows:
        _check_same("the subject of a surgery", row.get("subject"), session.get("subject"))
    for row in [*insertion_rows, *trajectory_rows, *listed_datasets]:
        _check_same(f"the session of '{row.get('name') or row.get('id')}'", _session_of(row), session.get("id"))

    dataset_rows = [
        *(row for insertion in insertion_rows for row in _list(insertion.get("datasets")) if isinstance(row, dict)),
        *_rows("data_dataset_session_related", session.get("data_dataset_session_related")),
        *listed_datasets,
    ]
    procedure_names = {row.get("id"): row.get("name") for row in _rows("procedures", procedures)}
    user_names = {row.get("id"): row.get("username") for row in user_rows}
    surgery_content = [_surgery(row, user_names, procedure_names) for row in surgery_rows]
    named_users = [name for row in [session, *surgery_content] for name in _list(row.get("users"))]

    content: Row = {
        "session": _session(session),
        "users": [_cleaned("user", row) for row in user_rows if row.get("username") in named_users],
        "projects": [_cleaned("project", row) for row in _rows("projects", projects)],
        "insertions": [_insertion(row) for row in insertion_rows],
        "trajectories": [_cleaned("trajectory", row) for row in trajectory_rows],
        "channels": _best_channels(trajectory_rows, _rows("channels", channels)),
        "datasets": [_dataset(row) for row in dataset_rows],
        "weighings": [_with_id("weighing", row) for row in _rows("weighings", subject_row.get("weighings"))],
        "water_administrations": [
            _with_id("water_administration", row)
            for row in _rows("water_administrations", subject_row.get("water_administrations"))
        ],
        "surgeries": surgery_content,
        "notes": [_cleaned("note", row) for row in [*_rows("notes", session.get("notes")), *_rows("notes", notes)]],
    }
    for name in content.keys() & SORT_KEYS.keys():
        content[name] = _sorted(name, _merged_by_id(content[name]))
    _check_revisions_have_names(content["datasets"])
    if subject is not None:
        content["subject"] = _subject(subject)
    if lab is not None:
        content["lab"] = _cleaned("lab", lab)
    return content


def _best_channels(trajectories: list[Row], channels: list[Row]) -> list[Row]:
    """The channels of the best trajectory of each probe that has any, sorted by trajectory and position.

    Channels of several trajectories come mixed when they are asked for by probe; they are estimates of the same sites.
    """
    with_channels = {row.get("trajectory_estimate") for row in channels}
    best: dict[Any, str] = {}
    for provenance in HISTOLOGY_PROVENANCES:  # the best one last
        for row in trajectories:
            if row.get("provenance") == provenance and row.get("id") in with_channels:
                best[row.get("probe_insertion")] = str(row["id"])
    chosen = [_cleaned("channel", row) for row in channels if row.get("trajectory_estimate") in best.values()]
    order = ("axial", "lateral")
    return sorted(
        _merged_by_id(chosen),
        key=lambda row: (row["trajectory_estimate"], *(row.get(field) or 0.0 for field in order), str(row.get("id"))),
    )


def _session(answer: Row) -> Row:
    session = _cleaned("session", answer)
    for name in ("wateradmin_session_related", "field_of_view"):
        if name in session:
            session[name] = _sorted(name, [_field_of_view(row) for row in _rows(name, session[name])])
    if session.get("parent_session"):
        session["parent_session"] = _uuid_at_end(session["parent_session"]) or session["parent_session"]
    if "qc" in session:
        session["qc"] = _qc_name(session["qc"])
    return session


def _field_of_view(row: Row) -> Row:
    cleaned = _cleaned("field_of_view", row)
    if isinstance(cleaned.get("location"), list):
        cleaned["location"] = _sorted("location", cleaned["location"])
    return cleaned


def _subject(answer: Row) -> Row:
    subject = _cleaned("subject", answer)
    if "genotype" in subject:
        subject["genotype"] = _sorted("genotype", [_zygosity(entry) for entry in _list(subject["genotype"])])
    return subject


def _zygosity(entry: Any) -> Any:
    """``"Ai95 +/+"`` of ``subjects/list`` in the form of ``subjects/read``; anything else as it is."""
    if not isinstance(entry, str):
        return entry
    allele, _, symbol = entry.rpartition(" ")
    if not allele or symbol not in ZYGOSITY_SYMBOLS:
        return entry
    return {"allele": allele, "zygosity": ZYGOSITY_SYMBOLS[symbol]}


def _insertion(row: Row) -> Row:
    """``insertions/read`` has dataset rows where the list has their ids; the rows go to the record's datasets."""
    datasets = [entry.get("id") if isinstance(entry, dict) else entry for entry in _list(row.get("datasets"))]
    return _cleaned("insertion", {**row, "datasets": datasets})


def _dataset(row: Row) -> Row:
    """One form for the three in which Alyx gives datasets."""
    dataset = _with_id("dataset", row)
    revision = _revision_name(row)
    if revision is not None:
        dataset["revision"] = revision
    default_revision = row.get("default_dataset", row.get("default_revision"))
    if default_revision is not None:
        dataset["default_revision"] = {"True": True, "False": False}.get(default_revision, default_revision)
    if "qc" in dataset:
        dataset["qc"] = _qc_name(dataset["qc"])
    return dataset


def _surgery(row: Row, user_names: dict[Any, Any], procedure_names: dict[Any, Any]) -> Row:
    """``surgeries/list`` has ids where sessions have names; an id that no answer names stays."""
    users = [user_names.get(user, user) for user in _list(row.get("users"))]
    procedures = [procedure_names.get(procedure, procedure) for procedure in _list(row.get("procedures"))]
    return _cleaned("surgery", {**row, "users": users, "procedures": procedures})


def _revision_name(row: Row) -> str | None:
    """Name of a dataset's revision, "" for none, None where the row does not tell, the id where only that is known.

    Inside ``sessions/read`` the revision is an id and inside ``insertions/read`` it is absent: the name is then the
    ``#name#`` folder in the path of the file.
    """
    revision = row.get("revision")
    if "revision" in row and not is_uuid(str(revision)):
        return "" if revision in NO_REVISION else str(revision).strip("#")
    paths = [
        row.get("data_url"),
        *(record.get("relative_path") for record in _rows("file_records", row.get("file_records"))),
    ]
    known_paths = [str(path) for path in paths if path]
    folder = min((folder for path in known_paths for folder in _REVISION_FOLDER.findall(path)), default="")
    if folder and folder not in NO_REVISION:
        return folder
    return revision or ("" if known_paths else None)


def _check_revisions_have_names(datasets: Iterable[Row]) -> None:
    for row in datasets:
        if is_uuid(str(row.get("revision"))):
            raise DocumentError(
                f"Dataset '{row.get('name')}' ({row.get('id')}) has revision id {row['revision']}, and no path tells "
                "the name of that revision. Pass the answer of 'datasets/list' too: it holds names."
            )


def _qc_name(value: Any) -> Any:
    if not isinstance(value, int):
        return value
    if value not in QC_NAMES:
        known = ", ".join(f"{number} {name}" for number, name in QC_NAMES.items())
        raise DocumentError(f"Alyx gives the quality level {value}, which is none of {known}. Correct it in Alyx.")
    return QC_NAMES[value]


def _rows(name: str, answer: Any) -> list[Row]:
    """Rows of an answer that is a list, one page with ``results``, or a single row."""
    if answer is None:
        return []
    if isinstance(answer, dict):
        if "results" not in answer:
            return [answer] if answer else []
        if answer.get("next"):
            raise DocumentError(
                f"The answer '{name}' is one page of {answer.get('count')} rows, and the next is at {answer['next']}. "
                "Fetch all pages and pass their rows as one list."
            )
        answer = answer["results"]
    rows = list(answer) if isinstance(answer, Iterable) else [answer]
    for row in rows:
        if not isinstance(row, dict):
            raise DocumentError(f"The answer '{name}' must hold rows (JSON objects), but one of them is {row!r}.")
    return rows


def _list(value: Any) -> list[Any]:
    """The value if it is a list; anything else that a row may hold in its place, such as null, has no entries."""
    return value if isinstance(value, list) else []


def _session_of(row: Row) -> str | None:
    """The eid in a row's ``session``: an id in insertions, an address in datasets, an object in trajectories."""
    session = row.get("session")
    return session.get("id") if isinstance(session, dict) else _uuid_at_end(session)


def _check_same(what: str, found: Any, expected: Any) -> None:
    if found and expected and found != expected:
        raise DocumentError(
            f"The answers of Alyx do not belong together: {what} is '{found}', but the session says '{expected}'. Ask "
            "Alyx for the rows of this session."
        )


def _cleaned(kind: str, row: Row) -> Row:
    """A copy without what is left out and moved, and with names in alphabetical order."""
    cleaned = {
        field: value
        for field, value in row.items()
        if field not in LEFT_OUT.get(kind, ()) and f"{kind}.{field}" not in MOVED
    }
    for field in UNORDERED_NAMES:
        if isinstance(cleaned.get(field), list):
            cleaned[field] = sorted((name for name in cleaned[field] if name is not None), key=str)
    return cleaned


def _with_id(kind: str, row: Row) -> Row:
    """Some rows have no id of their own, but all have it at the end of their address."""
    identifier = row.get("id") or _uuid_at_end(row.get("url"))
    return {**_cleaned(kind, row), **({"id": identifier} if identifier else {})}


def _uuid_at_end(address: Any) -> str | None:
    last_part = str(address or "").rstrip("/")[-36:]
    return last_part if is_uuid(last_part) else None


def _merged_by_id(rows: Iterable[Row]) -> list[Row]:
    """One row for each id, the fields of later rows winning; rows without an id are left to validation."""
    merged: dict[str, Row] = {}
    for position, row in enumerate(rows):
        identifier = str(row.get("id") or position)
        merged[identifier] = {**merged.get(identifier, {}), **row}
    return list(merged.values())


def _sorted(name: str, rows: Iterable[Any]) -> list[Any]:
    """Rows by the declared keys, null first, ties by their whole content: no order of the answer survives."""

    def sort_key(row: Any) -> tuple[str, ...]:
        values = [str(row.get(field) or "") if isinstance(row, dict) else "" for field in SORT_KEYS[name]]
        return (*values, json.dumps(row, sort_keys=True, default=str))

    return sorted(rows, key=sort_key)
