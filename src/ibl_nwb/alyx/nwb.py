"""Where the facts of an Alyx record go in NWB: one table, and the function that walks it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import MetadataIncompleteError
from .vocabulary import (
    BLANK_TEXTS,
    SERVICE_ACCOUNTS,
    SEXES,
    SPECIES_BINOMIALS,
    SURGERY_OUTCOMES,
    ZYGOSITY_WORDS,
    is_uuid,
)

if TYPE_CHECKING:
    from .record import AlyxRecord
    from .rows import Surgery, Zygosity

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FieldRule:
    """How one NWB field is made.

    Attributes
    ----------
    nwb_field : str
        Block and field of the metadata, such as ``"NWBFile.lab"``.
    alyx_fields : tuple of str
        The fields it is made from, as kind of row and REST field, such as ``"session.lab"``.
    value : callable
        Takes a record whose times have been placed and returns the value, or None where Alyx does not tell.
    sentence : str
        What happens on the way, for the documentation.
    """

    nwb_field: str
    alyx_fields: tuple[str, ...]
    value: Callable[[PlacedRecord], Any]
    sentence: str


@dataclass(frozen=True)
class PlacedRecord:
    """A record whose local times have been placed in a time zone.

    Attributes
    ----------
    record : AlyxRecord
        The record.
    zone : datetime.tzinfo or None
        Zone of the laboratory; None when the record holds nothing that needs one.
    start_time : datetime.datetime or None
        Start of the session, with its zone.
    """

    record: AlyxRecord
    zone: tzinfo | None
    start_time: datetime | None


def to_nwb_metadata(record: AlyxRecord, *, timezone: str | None = None) -> dict[str, dict[str, Any]]:
    """Translate a record to NeuroConv metadata.

    Parameters
    ----------
    record : AlyxRecord
        What Alyx says about the session.
    timezone : str, optional
        Zone of the laboratory's clock, a name of the IANA database. Default: the zone in the lab's row.

    Returns
    -------
    dict of str to dict
        Blocks ``"NWBFile"`` and ``"Subject"`` with the fields that Alyx tells, and no others. Times are ISO 8601
        strings with offset. A wall clock time that occurs twice, when clocks go back, is taken as the first.

    Raises
    ------
    MetadataIncompleteError
        If a local time has no zone, the zone does not exist, or the subject was born after the session.
    """
    placed = _place(record, timezone)
    metadata: dict[str, dict[str, Any]] = {}
    for rule in NWB_FIELD_RULES:
        value = rule.value(placed)
        if value:
            block, field = rule.nwb_field.split(".")
            metadata.setdefault(block, {})[field] = value
    return metadata


def _place(record: AlyxRecord, timezone: str | None) -> PlacedRecord:
    written = record.session.start_time
    start_time = datetime.fromisoformat(written) if written else None
    zone_name = timezone if timezone is not None else (record.lab.timezone if record.lab else None)
    if zone_name:
        zone: tzinfo | None = _load_zone(zone_name, record)
    else:
        zone = start_time.tzinfo if start_time else None
    birth_date = record.subject.birth_date if record.subject else None
    if zone is None and (written or birth_date):
        raise MetadataIncompleteError(
            f"The time zone of {_describe_lab(record)} is not known, so local times cannot be placed (session "
            f"{record.session.id}, start {written}, birth of the subject {birth_date}). Name the zone with --timezone "
            "(timezone=...), e.g. --timezone Europe/London, or fill in 'timezone' of the lab in Alyx or in the record "
            "JSON."
        )
    if start_time is not None and zone is not None:
        start_time = _with_zone(start_time, zone)
    return PlacedRecord(record=record, zone=zone, start_time=start_time)


def _load_zone(name: str, record: AlyxRecord) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name of a folder, such as "America"
        raise MetadataIncompleteError(
            f"'{name}' was given as the time zone of {_describe_lab(record)}, and the IANA database has no such zone. "
            "Name the zone with --timezone (timezone=...), e.g. --timezone Europe/London, or correct it in Alyx or in "
            "the record JSON."
        ) from error


def _describe_lab(record: AlyxRecord) -> str:
    name = record.lab.name if record.lab else record.session.lab
    return f"lab '{name}'" if name else "the lab"


def _with_zone(moment: datetime, zone: tzinfo) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _text(value: str | None) -> str | None:
    stripped = (value or "").strip()
    return None if stripped in BLANK_TEXTS else stripped


def _identifier(placed: PlacedRecord) -> str:
    return placed.record.session.id


def _session_start_time(placed: PlacedRecord) -> str | None:
    return placed.start_time.isoformat() if placed.start_time else None


def _session_description(placed: PlacedRecord) -> str | None:
    session = placed.record.session
    clauses = []
    if protocol := _text(session.task_protocol):
        clauses.append(f"running task protocol {protocol}")
    if session.procedures:
        clauses.append(f"with {_enumerated(session.procedures)}")
    if session.projects:
        clauses.append(f"for {'project' if len(session.projects) == 1 else 'projects'} {_enumerated(session.projects)}")
    return f"Session {', '.join(clauses)}." if clauses else None


def _experiment_description(placed: PlacedRecord) -> str | None:
    descriptions = {project.name: _text(project.description) for project in placed.record.projects}
    return "\n".join(
        f"Project {name}: {descriptions[name]}" if descriptions.get(name) else f"Project {name}"
        for name in placed.record.session.projects
    )


def _keywords(placed: PlacedRecord) -> list[str]:
    return [*placed.record.session.projects, *placed.record.session.procedures]


def _experimenter(placed: PlacedRecord) -> list[str]:
    return _person_names(placed.record.session.users)


def _lab(placed: PlacedRecord) -> str | None:
    lab = placed.record.lab
    return _text(placed.record.session.lab or (lab.name if lab else None))


def _institution(placed: PlacedRecord) -> str | None:
    lab = placed.record.lab
    return _text(lab.institution) if lab else None


def _protocol(placed: PlacedRecord) -> str | None:
    return _text(placed.record.session.task_protocol)


def _notes(placed: PlacedRecord) -> str | None:
    return _text(placed.record.session.narrative)


def _surgery(placed: PlacedRecord) -> str:
    known_then = [surgery for surgery in placed.record.surgeries if not _is_after(surgery.start_time, placed)]
    return "\n".join(filter(None, (_surgery_line(surgery) for surgery in known_then)))


def _is_after(written: str | None, placed: PlacedRecord) -> bool:
    """Whether something happened on a later day than the session: a later fetch must not change the file."""
    if written is None or placed.start_time is None:
        return False
    return datetime.fromisoformat(written).date() > placed.start_time.date()


def _surgery_line(surgery: Surgery) -> str:
    """``2022-04-20: Headplate implant; by Doe, Jane; implant of 1.3 g; outcome: recovery; narrative``."""
    procedures = [procedure for procedure in surgery.procedures if not is_uuid(procedure)]
    people = _person_names(user for user in surgery.users if not is_uuid(user))
    facts = [
        _text(surgery.name),
        _enumerated(procedures),
        f"by {' and '.join(people)}" if people else None,
        f"implant of {surgery.implant_weight:g} g" if surgery.implant_weight else None,
        f"outcome: {SURGERY_OUTCOMES[surgery.outcome_type]}" if surgery.outcome_type in SURGERY_OUTCOMES else None,
        " ".join((_text(surgery.narrative) or "").split()),
    ]
    told = "; ".join(fact for fact in facts if fact)
    day = datetime.fromisoformat(surgery.start_time).date().isoformat() if surgery.start_time else None
    return ": ".join(filter(None, (day, told)))


def _subject_id(placed: PlacedRecord) -> str | None:
    subject = placed.record.subject
    return subject.nickname if subject else placed.record.session.subject


def _sex(placed: PlacedRecord) -> str | None:
    subject = placed.record.subject
    return subject.sex if subject and subject.sex in SEXES else None


def _species(placed: PlacedRecord) -> str | None:
    subject = placed.record.subject
    nickname = _text(subject.species) if subject else None
    if nickname and nickname not in SPECIES_BINOMIALS:
        logger.warning(
            "Alyx calls the species of subject %s '%s', for which no binomial is known: Subject.species is left out. "
            "Give it in your metadata, e.g. 'Mus musculus'.",
            _subject_id(placed),
            nickname,
        )
    return SPECIES_BINOMIALS.get(nickname or "")


def _strain(placed: PlacedRecord) -> str | None:
    subject = placed.record.subject
    return _text(subject.strain) if subject else None


def _genotype(placed: PlacedRecord) -> str | None:
    subject = placed.record.subject
    return "; ".join(filter(None, map(_allele_in_words, subject.genotype))) if subject else None


def _allele_in_words(allele: Zygosity | str) -> str:
    if isinstance(allele, str):
        return allele
    if not allele.allele:
        return ""
    return allele.allele if allele.zygosity is None else f"{allele.allele} {ZYGOSITY_WORDS[allele.zygosity]}"


def _birth_date(placed: PlacedRecord) -> date | None:
    subject = placed.record.subject
    return date.fromisoformat(subject.birth_date) if subject and subject.birth_date else None


def _date_of_birth(placed: PlacedRecord) -> str | None:
    birth_date = _birth_date(placed)
    return datetime.combine(birth_date, time.min, tzinfo=placed.zone).isoformat() if birth_date else None


def _age(placed: PlacedRecord) -> str | None:
    birth_date, start_time = _birth_date(placed), placed.start_time
    if birth_date is None or start_time is None:
        return None
    age_days = (start_time.astimezone(placed.zone).date() - birth_date).days
    if age_days < 0:
        raise MetadataIncompleteError(
            f"Subject '{_subject_id(placed)}' was born on {birth_date}, after session {placed.record.session.id} of "
            f"{start_time.date()}. Correct 'birth_date' in Alyx or in the record JSON, or make it null there."
        )
    return f"P{age_days}D"


def _weight(placed: PlacedRecord) -> str | None:
    """Weight at the last weighing not after the start, in kg.

    Compared in whole seconds: weighing and session are often saved in one go, one of them without its fraction.
    """
    start_time, zone = placed.start_time, placed.zone
    if start_time is None or zone is None:
        return None
    weights_g = [
        (_with_zone(datetime.fromisoformat(weighing.date_time), zone), weighing.weight)
        for weighing in placed.record.weighings
        if weighing.date_time and weighing.weight and weighing.weight > 0
    ]
    until_start = [entry for entry in weights_g if entry[0].replace(microsecond=0) <= start_time]
    if not until_start:
        return None
    _, weight_g = max(until_start)
    return f"{Decimal(str(weight_g)).scaleb(-3).normalize():f} kg"


def _description(placed: PlacedRecord) -> str | None:
    subject = placed.record.subject
    return _text(subject.description) if subject else None


def _person_names(user_names: Iterable[str]) -> list[str]:
    return [_person_name(name) for name in user_names if name.lower() not in SERVICE_ACCOUNTS]


def _person_name(user_name: str) -> str:
    """``"jane.doe"`` as ``"Doe, Jane"``, the form DANDI asks for; any other user name as it is.

    REST gives no first and last names, and only this form of user name says which part is which. Initials are no names.
    """
    parts = user_name.split(".")
    if len(parts) != 2 or not all(len(part) > 1 and part.replace("-", "").isalpha() for part in parts):
        return user_name
    first, last = (part.title() for part in parts)
    return f"{last}, {first}"


def _enumerated(names: list[str]) -> str:
    """``"a"``, ``"a and b"``, ``"a, b and c"``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


_AS_IT_IS = "As it is, without blanks around it."

#: The whole translation. A field for which the rule returns nothing is not in the metadata.
NWB_FIELD_RULES: tuple[FieldRule, ...] = (
    FieldRule("NWBFile.identifier", ("session.id",), _identifier, "The eid, so that it is the same every time."),
    FieldRule("NWBFile.session_id", ("session.id",), _identifier, "The eid."),
    FieldRule(
        "NWBFile.session_start_time",
        ("session.start_time", "lab.timezone"),
        _session_start_time,
        "The rig's wall clock time placed in the zone of the lab; a time that has an offset is kept as it is.",
    ),
    FieldRule(
        "NWBFile.session_description",
        ("session.task_protocol", "session.procedures", "session.projects"),
        _session_description,
        "One sentence made from these.",
    ),
    FieldRule(
        "NWBFile.experiment_description",
        ("session.projects", "project.name", "project.description"),
        _experiment_description,
        "One line for each project, with its description.",
    ),
    FieldRule("NWBFile.keywords", ("session.projects", "session.procedures"), _keywords, "Projects, then procedures."),
    FieldRule(
        "NWBFile.experimenter",
        ("session.users",),
        _experimenter,
        'Without service accounts; "jane.doe" becomes "Doe, Jane", other user names stay.',
    ),
    FieldRule("NWBFile.lab", ("session.lab", "lab.name"), _lab, _AS_IT_IS),
    FieldRule("NWBFile.institution", ("lab.institution",), _institution, _AS_IT_IS),
    FieldRule("NWBFile.protocol", ("session.task_protocol",), _protocol, _AS_IT_IS),
    FieldRule("NWBFile.notes", ("session.narrative",), _notes, _AS_IT_IS),
    FieldRule(
        "NWBFile.surgery",
        (
            "surgery.start_time",
            "surgery.name",
            "surgery.procedures",
            "surgery.users",
            "surgery.implant_weight",
            "surgery.outcome_type",
            "surgery.narrative",
        ),
        _surgery,
        "One line for each surgery of the subject up to the day of the session, oldest first.",
    ),
    FieldRule("Subject.subject_id", ("subject.nickname", "session.subject"), _subject_id, "The nickname."),
    FieldRule("Subject.sex", ("subject.sex",), _sex, "M, F or U (not known), as Alyx says."),
    FieldRule("Subject.species", ("subject.species",), _species, "The binomial for Alyx's nickname of the species."),
    FieldRule("Subject.strain", ("subject.strain",), _strain, _AS_IT_IS),
    FieldRule("Subject.genotype", ("subject.genotype",), _genotype, "Alleles with their zygosity in words."),
    FieldRule(
        "Subject.date_of_birth",
        ("subject.birth_date", "lab.timezone"),
        _date_of_birth,
        "Midnight of that day in the zone of the lab.",
    ),
    FieldRule(
        "Subject.age",
        ("subject.birth_date", "session.start_time"),
        _age,
        "Days from birth to the day of the session, as an ISO 8601 duration.",
    ),
    FieldRule(
        "Subject.weight",
        ("weighing.weight", "weighing.date_time", "session.start_time"),
        _weight,
        "The last weighing that is not after the start of the session (in whole seconds), in kg.",
    ),
    FieldRule("Subject.description", ("subject.description",), _description, _AS_IT_IS),
)
