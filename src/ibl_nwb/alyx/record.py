"""The Alyx record: everything Alyx says about one session, as one JSON document with a published schema.

Its rows are in :mod:`ibl_nwb.alyx.rows`; how answers of a server become rows (what is left out, sorted, renamed) is in
:mod:`ibl_nwb.alyx.rest`; where facts go in NWB is in :mod:`ibl_nwb.alyx.nwb`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self
from uuid import uuid4

from pydantic import ConfigDict, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from ..errors import DocumentError, OutputNotWritableError
from .nwb import to_nwb_metadata
from .rest import Answer, record_from_answers
from .rows import (
    AlyxModel,
    Channel,
    DatasetRecord,
    Insertion,
    Lab,
    Note,
    Project,
    Session,
    Subject,
    Surgery,
    Trajectory,
    User,
    WaterAdministration,
    Weighing,
)

#: Version of the document's layout; raised when a reader of the old layout would misread the new one.
SCHEMA_VERSION = "1.0"

_MOST_FAULTS_TOLD = 5


class _TypedJsonSchema(GenerateJsonSchema):
    """Writes a nullable text as ``"type": ["string", "null"]``: NeuroConv's schema tools ask properties for a type."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if isinstance(inner.get("type"), str):
            return {**inner, "type": [inner["type"], "null"]}
        return super().nullable_schema(schema)


class AlyxRecord(AlyxModel):
    """What Alyx says about one session: a document that can be kept, read, edited, and used without a server.

    Only ``schema_version`` and the session's ``id`` are required, so a laboratory without Alyx can write one by hand.
    Lists are sorted; fields of rows that are not declared are kept.
    """

    model_config = ConfigDict(extra="forbid")  # the layout is ours: a key that nothing reads is a slip of the pen

    schema_version: Literal["1.0"]
    """Version of this document's layout."""
    session: Session
    subject: Subject | None = None
    lab: Lab | None = None
    users: list[User] = []
    """The users that the session or a surgery names, by user name."""
    projects: list[Project] = []
    """The session's projects, by name."""
    insertions: list[Insertion] = []
    """The probes of the session, by name."""
    trajectories: list[Trajectory] = []
    """By probe and provenance."""
    channels: list[Channel] = []
    """Sites of the probes by the best trajectory of each that has them, by trajectory and position."""
    datasets: list[DatasetRecord] = []
    """Every registered dataset, all revisions, by path."""
    weighings: list[Weighing] = []
    """Every weighing of the subject, oldest first."""
    water_administrations: list[WaterAdministration] = []
    """All water given to the subject, oldest first."""
    surgeries: list[Surgery] = []
    """Every surgery of the subject, oldest first."""
    notes: list[Note] = []
    """Oldest first."""

    @classmethod
    def from_rest(
        cls,
        *,
        session: dict[str, Any],
        subject: dict[str, Any] | None = None,
        lab: dict[str, Any] | None = None,
        users: Answer = (),
        projects: Answer = (),
        procedures: Answer = (),
        insertions: Answer = (),
        trajectories: Answer = (),
        channels: Answer = (),
        datasets: Answer = (),
        surgeries: Answer = (),
        notes: Answer = (),
    ) -> Self:
        """Make a record from answers of Alyx's REST interface.

        Equal facts give equal records: the order of lists in the answers has no influence, and what depends on the day
        or the address of the query is left out (:data:`~ibl_nwb.alyx.LEFT_OUT`).

        Parameters
        ----------
        session : dict
            Answer of ``sessions/read``; its datasets, insertions and notes move to the record's lists of those names.
        subject : dict, optional
            Answer of ``subjects/read`` (or a row of ``subjects/list``, which has no weighings).
        lab : dict, optional
            Answer of ``labs/read``.
        users, projects, insertions, trajectories, channels, datasets, surgeries, notes : optional
            Dict or iterable of dict: a list, a page as the server sends it (the only one), or a single row. Insertions,
            datasets and notes are merged by id with those inside ``session``; a row given here wins. Of channels those
            of the best trajectory of each probe are kept.
        procedures : dict or iterable of dict, optional
            Answer of ``procedures/list``; gives the procedures of surgeries, which are ids there, their names.

        Returns
        -------
        AlyxRecord

        Raises
        ------
        DocumentError
            If an answer lacks its id, has a value of the wrong type, belongs to another session, has further pages,
            or names a revision or quality level that cannot be resolved.
        """
        content = record_from_answers(
            session=session,
            subject=subject,
            lab=lab,
            users=users,
            projects=projects,
            procedures=procedures,
            insertions=insertions,
            trajectories=trajectories,
            channels=channels,
            datasets=datasets,
            surgeries=surgeries,
            notes=notes,
        )
        origin = f"The answers of Alyx for session {session.get('id')!r}"
        return cls._validated({"schema_version": SCHEMA_VERSION, **content}, origin=origin)

    @classmethod
    def read_json(cls, path: str | Path) -> Self:
        """Read a record from a JSON file.

        Raises
        ------
        DocumentError
            If the file cannot be read, is not JSON, or has a field of the wrong type. The message names the file, each
            field at fault, what was expected and what was found.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise DocumentError(
                f"'{path}' cannot be read: {error.strerror}. Give the JSON file of an Alyx record."
            ) from error
        except ValueError as error:  # json.JSONDecodeError and UnicodeDecodeError
            raise DocumentError(
                f"'{path}' is not JSON in UTF-8: {error}. Correct the file or fetch the record again."
            ) from error
        return cls._validated(content, origin=f"'{path}'")

    def write_json(self, path: str | Path) -> None:
        """Write the record as JSON, whole or not at all.

        Raises
        ------
        OutputNotWritableError
            If the folder does not exist or cannot be written to.
        """
        path = Path(path)
        unfinished_path = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
        try:
            unfinished_path.write_bytes(self.to_json().encode("utf-8"))
            unfinished_path.replace(path)
        except OSError as error:
            unfinished_path.unlink(missing_ok=True)
            raise OutputNotWritableError(
                f"The Alyx record cannot be written to '{path}': {error.strerror}. Give a file in an existing folder "
                "that you may write to."
            ) from error

    def to_json(self) -> str:
        """The document :meth:`write_json` writes: indented by 2, keys in alphabetical order, newline at the end."""
        return json.dumps(self.model_dump(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON schema (draft 2020-12) of the document, for validation and for editors."""
        return {
            "$schema": GenerateJsonSchema.schema_dialect,
            "$id": "alyx_record.schema.json",
            **cls.model_json_schema(schema_generator=_TypedJsonSchema),
        }

    def to_nwb_metadata(self, *, timezone: str | None = None) -> dict[str, dict[str, Any]]:
        """The record as NeuroConv metadata; see :func:`ibl_nwb.alyx.to_nwb_metadata`."""
        return to_nwb_metadata(self, timezone=timezone)

    @classmethod
    def _validated(cls, content: Any, *, origin: str) -> Self:
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise DocumentError(
                f"{origin} cannot be taken as an Alyx record: {_describe(error)}. Correct these fields; what each must "
                "be is told by AlyxRecord.json_schema()."
            ) from error


def _describe(error: ValidationError) -> str:
    """One clause for each of the first fields at fault: its path, what was expected, what was found."""
    clauses = []
    for fault in error.errors(include_url=False)[:_MOST_FAULTS_TOLD]:
        field_path = ".".join(str(part) for part in fault["loc"]) or "the document"
        found = "" if fault["type"] == "missing" else f" (found {_shortened(repr(fault['input']))})"
        clauses.append(f"{field_path}: {fault['msg']}{found}")
    more = error.error_count() - len(clauses)
    return "; ".join(clauses) + (f"; and {more} more" if more else "")


def _shortened(text: str, *, longest: int = 80) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
