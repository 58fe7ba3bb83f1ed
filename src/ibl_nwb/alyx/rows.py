"""Rows of Alyx's tables as typed models: REST names and values, unknown fields kept, nothing coerced."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)


def _check_datetime(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("must be an ISO 8601 date and time such as 2022-06-30T13:05:43") from error
    return text


def _check_date(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise ValueError("must be a date such as 2022-06-30") from error
    return text


DateTimeText = Annotated[
    str,
    AfterValidator(_check_datetime),
    WithJsonSchema(
        {"type": "string", "description": "ISO 8601 date and time; without an offset it is local wall clock time"}
    ),
]
DateText = Annotated[
    str, AfterValidator(_check_date), WithJsonSchema({"type": "string", "description": "Date as YYYY-MM-DD"})
]
AnyJson = Annotated[JsonValue, WithJsonSchema({"type": ["object", "array", "string", "number", "boolean", "null"]})]
JsonObject = dict[str, AnyJson]


class AlyxModel(BaseModel):
    """What all parts of a record have in common."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )
    __pydantic_extra__: dict[str, AnyJson] = Field(init=False)

    @model_serializer(mode="wrap")
    def _what_was_given(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """No defaults, also as a part of another document: a field Alyx did not send is not written as null."""
        fields = type(self).model_fields
        not_given = {fields[name].alias or name for name in fields.keys() - self.model_fields_set}
        return {name: value for name, value in serialize(self).items() if name not in not_given}


class Session(AlyxModel):
    """``sessions/read``, without what has a place of its own in the record."""

    id: str = Field(min_length=1)
    """The eid."""
    subject: str | None = None
    """Nickname of the subject."""
    users: list[str] = []
    """User names: an unordered set that may hold the account of the machine that registered the files."""
    location: str | None = None
    procedures: list[str] = []
    lab: str | None = None
    projects: list[str] = []
    type: str | None = None
    task_protocol: str | None = None
    number: int | None = None
    start_time: DateTimeText | None = None
    """Wall clock of the rig, without a zone: the zone is the lab's."""
    end_time: DateTimeText | None = None
    """Wall clock of the rig, without a zone."""
    narrative: str | None = None
    parent_session: str | None = None
    """The eid of the session this one is a part of."""
    n_correct_trials: int | None = None
    n_trials: int | None = None
    extended_qc: AnyJson = None
    qc: str | None = None
    """NOT_SET, PASS, WARNING, FAIL or CRITICAL."""
    wateradmin_session_related: list[JsonObject] = []
    field_of_view: list[JsonObject] = []
    json_field: AnyJson = Field(default=None, alias="json")
    """Alyx's free ``json`` field."""


class Zygosity(AlyxModel):
    """One allele of a subject's genotype."""

    allele: str | None = None
    zygosity: Literal[0, 1, 2, 3] | None = None
    """0 absent, 1 heterozygous, 2 homozygous, 3 present."""


class Subject(AlyxModel):
    """``subjects/read``, without what changes from day to day."""

    nickname: str = Field(min_length=1)
    id: str | None = None
    responsible_user: str | None = None
    birth_date: DateText | None = None
    death_date: DateText | None = None
    species: str | None = None
    """Nickname of the species, such as "Laboratory mouse"."""
    sex: str | None = None
    """M, F or U."""
    litter: str | None = None
    strain: str | None = None
    source: str | None = None
    line: str | None = None
    projects: list[str] = []
    session_projects: list[str] = []
    lab: str | None = None
    genotype: list[Zygosity | str] = []
    """Alleles with their zygosity; a text that could not be split stays a text."""
    description: str | None = None
    json_field: AnyJson = Field(default=None, alias="json")
    """Alyx's free ``json`` field."""


class Lab(AlyxModel):
    """``labs/read``."""

    name: str = Field(min_length=1)
    institution: str | None = None
    address: str | None = None
    timezone: str | None = None
    """Name of the zone in the IANA database, possibly an alias such as "GB"."""
    repositories: list[str] = []
    reference_weight_pct: float | None = None
    zscore_weight_pct: float | None = None
    json_field: AnyJson = Field(default=None, alias="json")
    """Alyx's free ``json`` field."""


class User(AlyxModel):
    """``users/read``, without personal data and account settings."""

    username: str = Field(min_length=1)
    id: str | None = None
    lab: list[str] = []


class Project(AlyxModel):
    """``projects/read``."""

    name: str = Field(min_length=1)
    description: str | None = None
    users: list[str] = []


class Insertion(AlyxModel):
    """``insertions/read`` or ``insertions/list``."""

    id: str = Field(min_length=1)
    """The pid."""
    name: str | None = None
    """Name of the probe, such as "probe00"."""
    session: str | None = None
    """The eid."""
    model: str | None = None
    """Model of the probe, such as "3B2"."""
    serial: str | None = None
    chronic_insertion: str | None = None
    datasets: list[str] = []
    """Ids of the datasets whose collection holds the probe's name."""
    json_field: AnyJson = Field(default=None, alias="json")
    """Alyx's free ``json`` field, with ``qc``, ``xyz_picks`` (µm), ``extended_qc``; it may be null or lack any key."""


class Trajectory(AlyxModel):
    """``trajectories/read``: one estimate of where a probe went."""

    id: str = Field(min_length=1)
    probe_insertion: str | None = None
    """The pid."""
    probe_name: str | None = None
    chronic_insertion: str | None = None
    provenance: str | None = None
    """Planned, Micro-manipulator, Histology track or Ephys aligned histology track."""
    coordinate_system: str | None = None
    x: float | None = None
    """Medio-lateral position of the entry point from bregma in µm, right positive."""
    y: float | None = None
    """Antero-posterior position of the entry point from bregma in µm, front positive."""
    z: float | None = None
    """Dorso-ventral position of the entry point from bregma in µm, up positive."""
    depth: float | None = None
    """Depth of the tip along the probe in µm."""
    theta: float | None = None
    """Polar angle in degrees."""
    phi: float | None = None
    """Azimuth in degrees."""
    roll: float | None = None
    """Roll in degrees."""
    json_field: AnyJson = Field(default=None, alias="json")
    """Alyx's free ``json`` field; of an aligned trajectory, the alignments by ``<time>_<user>``."""


class Channel(AlyxModel):
    """``channels/list``: where a recorded site is, by one trajectory."""

    id: str = Field(min_length=1)
    trajectory_estimate: str | None = None
    """Id of the trajectory."""
    axial: float | None = None
    """Position along the probe in µm, on IBL's grid of sites."""
    lateral: float | None = None
    """Position across the probe in µm, on IBL's grid of sites."""
    x: float | None = None
    """Medio-lateral position from bregma in µm, right positive."""
    y: float | None = None
    """Antero-posterior position from bregma in µm, front positive."""
    z: float | None = None
    """Dorso-ventral position from bregma in µm, up positive."""
    brain_region: int | None = None
    """Allen structure id."""
    name: str | None = None
    json_field: AnyJson = Field(default=None, alias="json")


class DatasetRecord(AlyxModel):
    """``datasets/list``, or a dataset inside ``sessions/read`` or ``insertions/read``."""

    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    """Name of the file."""
    collection: str | None = None
    revision: str | None = None
    """Name of the revision, "" for none."""
    default_revision: bool | None = None
    """Whether this is the revision that is loaded when none is asked for (``default_dataset`` of ``datasets/list``)."""
    dataset_type: str | None = None
    data_format: str | None = None
    file_size: int | None = None
    """Size in bytes."""
    hash: str | None = None
    """MD5 of the file."""
    version: str | None = None
    qc: str | None = None
    """NOT_SET, PASS, WARNING, FAIL or CRITICAL."""
    tags: list[str] = []
    experiment_number: int | None = None
    created_by: str | None = None
    created_datetime: DateTimeText | None = None
    """Time of the server's zone, without a zone."""
    protected: AnyJson = None
    """Whether, or by how many tags, the dataset is protected."""
    public: AnyJson = None
    """Whether, or by how many tags, the dataset is public."""
    json_field: AnyJson = Field(default=None, alias="json")
    """Alyx's free ``json`` field."""

    @property
    def relative_path(self) -> str:
        """POSIX path of the file below the session folder, without the dataset UUID."""
        revision_folder = f"#{self.revision}#" if self.revision else ""
        return "/".join(filter(None, (self.collection, revision_folder, self.name)))


class Weighing(AlyxModel):
    """A weighing of the subject, from ``subjects/read``."""

    id: str | None = None
    subject: str | None = None
    date_time: DateTimeText | None = None
    """Local wall clock, without a zone."""
    weight: float | None = None
    """Weight in g, with implant."""
    user: str | None = None


class WaterAdministration(AlyxModel):
    """Water given to the subject, from ``subjects/read``."""

    id: str | None = None
    subject: str | None = None
    date_time: DateTimeText | None = None
    """Local wall clock, without a zone."""
    water_administered: float | None = None
    """Amount in ml."""
    water_type: str | None = None
    user: str | None = None
    session: str | None = None
    """The eid of the session in which the water was the reward."""
    adlib: bool | None = None


class Surgery(AlyxModel):
    """``surgeries/list``, with names for ids where the answers given tell them."""

    id: str | None = None
    subject: str | None = None
    name: str | None = None
    narrative: str | None = None
    start_time: DateTimeText | None = None
    """Local wall clock, without a zone."""
    end_time: DateTimeText | None = None
    """Local wall clock, without a zone."""
    outcome_type: str | None = None
    """a acute, r recovery, n non-recovery."""
    implant_weight: float | None = None
    """Weight in g."""
    lab: str | None = None
    """Id of the lab."""
    location: str | None = None
    users: list[str] = []
    procedures: list[str] = []
    json_field: AnyJson = Field(default=None, alias="json")
    """Alyx's free ``json`` field."""


class Note(AlyxModel):
    """A note on the session, the subject, an insertion or another object."""

    id: str | None = None
    user: str | None = None
    date_time: DateTimeText | None = None
    """Local wall clock, without a zone."""
    content_type: str | None = None
    """What the note is on, such as "actions.session"."""
    object_id: str | None = None
    text: str | None = None
    image: str | None = None
    json_field: AnyJson = Field(default=None, alias="json")
    """Alyx's free ``json`` field."""
