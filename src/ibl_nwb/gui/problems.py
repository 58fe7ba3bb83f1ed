"""What is wrong with the metadata of a conversion document, all of it at once and by place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Literal

from jsonschema import Draft7Validator
from jsonschema import ValidationError as SchemaError

from ..converter import IBLConverter
from ..document import ConversionDocument
from ..errors import IBLNWBError, UsageError
from ..json_values import to_json
from ..metadata_keys import describe_unknown
from ..session import ALFSession

#: Keys, and positions in lists, that lead from the top of the metadata to a value; empty for the whole document.
MetadataPath = tuple[str | int, ...]

_START_TIME: MetadataPath = ("NWBFile", "session_start_time")

_START_TIME_ADVICE = "Write date, time and offset from UTC, e.g. 2023-05-18T14:30:00+01:00."

#: Checks of the NWB Inspector that look at the metadata alone: where the value is, and what to do.
_INSPECTOR_CHECKS: dict[str, tuple[MetadataPath, str]] = {
    "check_subject_exists": (("Subject",), "Fill in the subject."),
    "check_subject_id_exists": (("Subject", "subject_id"), "Give the nickname that Alyx has, e.g. KS014."),
    "check_subject_id_no_slashes": (("Subject", "subject_id"), "Write a hyphen in place of the slash."),
    "check_subject_sex": (("Subject", "sex"), "Choose M, F, O (other) or U (unknown)."),
    "check_subject_species_exists": (("Subject", "species"), "Give the Latin name, e.g. Mus musculus."),
    "check_subject_species_form": (("Subject", "species"), "Give the Latin name, e.g. Mus musculus."),
    "check_subject_age": (("Subject", "age"), "Write P90D for 90 days, P12W for 12 weeks, or give the date of birth."),
    "check_subject_proper_age_range": (("Subject", "age"), "Write the lower age first, e.g. P90D/P100D."),
    "check_subject_weight": (("Subject", "weight"), "Write number, space and unit, e.g. 0.023 kg."),
    "check_session_id_no_slashes": (("NWBFile", "session_id"), "Write a hyphen in place of the slash."),
    "check_session_start_time_future_date": (_START_TIME, "Correct the date."),
    "check_session_start_time_old_date": (_START_TIME, "Correct the date."),
    "check_experimenter_exists": (("NWBFile", "experimenter"), "Add who did the experiment, e.g. Doe, Jane."),
    "check_experimenter_form": (("NWBFile", "experimenter"), "Write the last name first, e.g. Doe, Jane."),
    "check_experiment_description": (("NWBFile", "experiment_description"), "Say what the experiment is about."),
    "check_institution": (("NWBFile", "institution"), "Give the institution's name."),
    "check_keywords": (("NWBFile", "keywords"), "Add words to search by."),
    "check_doi_publications": (("NWBFile", "related_publications"), "Write it as doi:10.1016/j.neuron.2021.04.001."),
}

#: What takes the place of a regular expression in a message.
_PATTERN_ADVICE: dict[MetadataPath, str] = {
    ("Subject", "species"): "Give the Latin name, e.g. Mus musculus.",
    ("Subject", "age"): "Write P90D for 90 days, P12W for 12 weeks.",
}

_TYPE_WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a group of fields",
    "null": "blank",
}


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the metadata.

    Attributes
    ----------
    path : tuple of str or int
        Keys that lead to the value; empty for what concerns the document as a whole.
    severity : {"error", "warning"}
        An error stops the conversion or makes DANDI refuse the file, a warning does neither.
    message : str
        What is wrong.
    advice : str
        What to do; may be empty.
    stops_conversion : bool
        Whether the session cannot be converted before this is mended.
    """

    path: MetadataPath
    severity: Literal["error", "warning"]
    message: str
    advice: str = ""
    stops_conversion: bool = False


class MetadataRules:
    """What the converter of a document expects of its metadata.

    It opens the session once, which takes a second or so; after that nothing is read from disk.

    Parameters
    ----------
    document : ConversionDocument
        Its session and its interfaces count, not its metadata.

    Attributes
    ----------
    error : str or None
        Why the session cannot be opened. The schema is NeuroConv's own then.
    """

    def __init__(self, document: ConversionDocument):
        self.error: str | None = None
        try:
            if not document.source_data:
                raise UsageError("Nothing is left to convert: every interface is left out.")
            converter = document.make_converter()
        except IBLNWBError as error:
            self.error = str(error)
            converter = IBLConverter(source_data={})
        converter.__class__ = _StillConverter
        self._converter = converter

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the metadata, with the converter's values as defaults."""
        return json.loads(json.dumps(self._converter.get_metadata_schema(), default=to_json))

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Metadata that the converter takes where the document says nothing: from the session's files and Alyx."""
        if self.error is not None:
            return {}
        return json.loads(json.dumps(self._converter.get_metadata(), default=to_json))

    @cached_property
    def validator(self) -> Draft7Validator:
        """Validator of the schema."""
        return Draft7Validator(self.schema)

    @property
    def start_by_rig_clock(self) -> datetime | None:
        """Start of the session by the rig's clock, without zone, if its files say it."""
        session = self._converter.session
        return session.task_start_time() if session is not None else None

    def in_use(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """The metadata without entries of interfaces that are left out; blanks are kept."""
        return metadata if self.error is not None else self._converter._drop_left_out(metadata)

    def merge(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """The metadata that a conversion takes, as JSON: the converter's with the document's on top."""
        merged = self._converter.merge_metadata(metadata)
        return json.loads(json.dumps(merged, default=to_json))

    def unread_keys(self, metadata: dict[str, Any]) -> Iterator[tuple[MetadataPath, str]]:
        """Keys of merged metadata that nothing reads, and what to say about each."""
        return iter(()) if self.error is not None else self._converter._unread_keys(metadata)

    def check_options(self, options: dict[str, dict[str, Any]]) -> None:
        """Raise a DocumentError if an option of the conversion is unknown or of the wrong type."""
        if options and self.error is None:
            self._converter.validate_conversion_options(options)


class _StillConverter(IBLConverter):
    """A converter whose session does not change while it is used, so that metadata are computed once."""

    def get_metadata(self, **kwargs: Any) -> Any:
        return self._still_metadata

    def get_metadata_schema(self) -> dict:
        return self._still_schema

    def _own_blocks(self) -> set[str]:
        return self._still_own_blocks

    def _metadata_left_out(self, session: ALFSession) -> dict[str, Any]:
        return self._still_left_out

    @cached_property
    def _still_metadata(self) -> Any:
        return super().get_metadata()

    @cached_property
    def _still_schema(self) -> dict:
        return super().get_metadata_schema()

    @cached_property
    def _still_own_blocks(self) -> set[str]:
        return super()._own_blocks()

    @cached_property
    def _still_left_out(self) -> dict[str, Any]:
        assert self.session is not None
        return super()._metadata_left_out(self.session)


def find_problems(document: ConversionDocument, rules: MetadataRules) -> list[Problem]:
    """Everything that is wrong with the metadata of a document, errors before warnings.

    What the JSON schema says, what :meth:`IBLConverter.validate_metadata` says besides, and what the NWB Inspector says
    of session and subject, graded as DANDI configures it.

    Parameters
    ----------
    document : ConversionDocument
        The document.
    rules : MetadataRules
        What is expected, from the same document or one that differs from it only in its metadata.
    """
    metadata = rules.merge(document.metadata)
    stopping = [
        *_find_document_problems(document, rules),
        *_find_start_time_problems(metadata, rules),
        *(Problem(path, "error", sentence, "", True) for path, sentence in rules.unread_keys(metadata)),
        *_find_schema_problems(metadata, rules),
        *_find_date_problems(metadata),
        *_find_shared_names(metadata),
    ]
    found = _one_for_each_path(stopping)
    taken = {problem.path for problem in found}
    found += [problem for problem in _ask_inspector(metadata) if problem.path not in taken]
    return sorted(found, key=lambda problem: problem.severity != "error")


def _one_for_each_path(problems: Iterable[Problem]) -> list[Problem]:
    """The first problem of each path: several checks say the same in different words."""
    first: dict[MetadataPath, Problem] = {}
    for problem in problems:
        first.setdefault(problem.path, problem)
    return list(first.values())


def _find_document_problems(document: ConversionDocument, rules: MetadataRules) -> Iterator[Problem]:
    if rules.error is not None:
        yield Problem((), "error", rules.error, "Until then only the general fields can be edited.", True)
    try:
        rules.check_options(document.conversion_options)
    except IBLNWBError as error:
        yield Problem((), "error", str(error), "Correct conversion_options in the JSON.", True)


def _find_start_time_problems(metadata: dict[str, Any], rules: MetadataRules) -> Iterator[Problem]:
    given = _block(metadata, "NWBFile").get("session_start_time")
    known = rules.start_by_rig_clock
    if given is None and known is not None:
        message = f"The session started at {known.isoformat()} by the rig's clock; nothing says in which time zone."
        yield Problem(_START_TIME, "error", message, "Choose the zone.", True)
    elif given is None:
        yield Problem(_START_TIME, "error", "Nothing says when the session started.", _START_TIME_ADVICE, True)
    elif isinstance(given, str):
        start = parse_iso(given)
        if start is None:
            yield Problem(_START_TIME, "error", f"'{given}' is not a date and time.", _START_TIME_ADVICE, True)
        elif start.tzinfo is None:
            yield Problem(_START_TIME, "error", "The time has no time zone.", _START_TIME_ADVICE, True)


def _find_schema_problems(metadata: dict[str, Any], rules: MetadataRules) -> Iterator[Problem]:
    for error in rules.validator.iter_errors(metadata):
        path = tuple(error.absolute_path)
        if error.validator == "required":
            for key in error.validator_value:
                if key not in error.instance:
                    yield Problem((*path, key), "error", "This is missing.", "Fill it in.", True)
        elif error.validator == "additionalProperties":
            known = error.schema.get("properties", {})
            for key in error.instance.keys() - known.keys():
                yield Problem((*path, key), "error", describe_unknown(key, known, "field"), "", True)
        else:
            message, advice = _describe(error)
            yield Problem(path, "error", message, advice, True)


def _describe(error: SchemaError) -> tuple[str, str]:
    """Message and advice in plain words."""
    shown = json.dumps(error.instance, ensure_ascii=False)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    if error.validator == "type":
        types = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        return f"{shown} is not {' or '.join(_TYPE_WORDS[name] for name in types)}.", ""
    if error.validator == "enum":
        return f"{shown} cannot be chosen.", f"Choose one of {', '.join(map(str, error.validator_value))}."
    if error.validator == "pattern":
        pattern = f"It has to match {error.validator_value}."
        if error.validator_value == "^[^/]*$":
            pattern = "Leave out the slash."
        return f"{shown} is not of the right form.", _PATTERN_ADVICE.get(tuple(error.absolute_path), pattern)
    return f"{error.message}.", ""


def _find_date_problems(metadata: dict[str, Any]) -> Iterator[Problem]:
    """NeuroConv's schema calls the date of birth a date, but only making the file shows whether it is one."""
    given = _block(metadata, "Subject").get("date_of_birth")
    if isinstance(given, str) and parse_iso(given) is None:
        message = f"'{given}' is not a date."
        yield Problem(("Subject", "date_of_birth"), "error", message, "Write year-month-day, e.g. 2023-01-31.", True)


def _find_shared_names(metadata: dict[str, Any]) -> Iterator[Problem]:
    """NeuroConv wants one entry for each device and each device model."""
    for registry in ("Devices", "DeviceModels"):
        first: dict[str, str] = {}
        for key, entry in _block(metadata, registry).items():
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                continue
            if name in first:
                message = f"'{first[name]}' has this name already."
                yield Problem((registry, key, "name"), "error", message, "Give each a name of its own.", True)
            first.setdefault(name, key)


def _ask_inspector(metadata: dict[str, Any]) -> Iterator[Problem]:
    """What the NWB Inspector says of the session and the subject that a conversion would write."""
    nwbfile = _make_nwbfile(metadata)
    for check, severity in _inspector_checks():
        subject = nwbfile if check.neurodata_type.__name__ == "NWBFile" else nwbfile.subject
        if subject is None:
            continue
        path, advice = _INSPECTOR_CHECKS[check.__name__]
        answer = check(subject)
        messages = [] if answer is None else answer if isinstance(answer, Iterable) else [answer]
        for message in messages:
            first_sentence = re.split(r"(?<=\.)\s+(?=[A-Z])", message.message.strip())[0]
            yield Problem(path, severity, first_sentence, advice)


@lru_cache(maxsize=1)
def _inspector_checks() -> list[tuple[Any, Literal["error", "warning"]]]:
    """The checks, and how DANDI takes what they find."""
    from nwbinspector import Importance, available_checks, configure_checks, load_config

    checks = [check for check in available_checks if check.__name__ in _INSPECTOR_CHECKS]
    configured = configure_checks(checks=checks, config=load_config("dandi"))
    return [(check, "error" if check.importance == Importance.CRITICAL else "warning") for check in configured]


def _make_nwbfile(metadata: dict[str, Any]) -> Any:
    """An NWB file in memory with what the checks look at; a value of the wrong type is left to the schema."""
    from pynwb import NWBFile
    from pynwb.file import Subject

    general, about = _block(metadata, "NWBFile"), _block(metadata, "Subject")
    texts = ("session_id", "experiment_description", "institution")
    lists = ("experimenter", "keywords", "related_publications")
    given = {name: general[name] for name in texts if isinstance(general.get(name), str)}
    for name in lists:
        values = general.get(name)
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            given[name] = values
    start = parse_iso(general.get("session_start_time"))
    nwbfile = NWBFile(
        session_description="to be checked",
        identifier="to be checked",
        session_start_time=_with_zone(start) or datetime(2000, 1, 1, tzinfo=UTC),
        **given,
    )
    if isinstance(metadata.get("Subject"), dict):
        fields = ("age", "sex", "species", "subject_id", "weight")
        known = {name: about[name] for name in fields if isinstance(about.get(name), str)}
        if about.get("date_of_birth"):  # one that is no date is reported as such, not as missing
            birth = _with_zone(parse_iso(about["date_of_birth"]))
            known["date_of_birth"] = birth or datetime(2000, 1, 1, tzinfo=UTC)
        nwbfile.subject = Subject(**known)
    return nwbfile


def _block(metadata: dict[str, Any], name: str) -> dict[str, Any]:
    block = metadata.get(name)
    return block if isinstance(block, dict) else {}


def parse_iso(text: Any) -> datetime | None:
    """An ISO 8601 date and time; None for anything else."""
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _with_zone(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)
