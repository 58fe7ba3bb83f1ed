"""The metadata as a form: a tree of sections and fields, generated from the converter's JSON schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from ..document import DANDI_SUBJECT_FIELDS
from ..metadata_keys import OPEN_REGISTRIES
from .problems import MetadataPath

Kind = Literal[
    "text",
    "long text",
    "number",
    "integer",
    "boolean",
    "choice",
    "datetime",
    "date",
    "list of text",
    "json",
]

#: Fields of NWBFile that NeuroConv fills in when it makes a file.
OF_THE_MAKING = (("NWBFile", "source_script"), ("NWBFile", "source_script_file_name"))

#: Fields that the schema does without and that DANDI, or the NWB Inspector as DANDI sets it, asks for.
RECOMMENDED: frozenset[MetadataPath] = frozenset(
    {
        *(("Subject", name) for name in DANDI_SUBJECT_FIELDS),
        *(("NWBFile", name) for name in ("experimenter", "experiment_description", "institution", "keywords")),
    }
)

#: Shown first, in this order, in the blocks that everybody edits.
_FIRST = {
    "NWBFile": (
        "session_start_time",
        "session_description",
        "experiment_description",
        "experimenter",
        "institution",
        "lab",
        "keywords",
        "session_id",
        "identifier",
        "protocol",
    ),
    "Subject": ("subject_id", "species", "sex", "age", "date_of_birth", "weight", "strain", "genotype", "description"),
}

_FIRST_BLOCKS = ("NWBFile", "Subject", "Devices", "DeviceModels", "Ecephys")

_BLOCK_HELP = {
    "NWBFile": "The session as a whole.",
    "Subject": "The animal. DANDI refuses files without its id, species, sex and age or date of birth.",
    "Devices": "Probes, cameras and other devices, by the key that other entries refer to.",
    "DeviceModels": "Models of devices, by the key that the devices refer to.",
    "Ecephys": "Names and descriptions of probes' electrode groups, electrodes and raw recordings.",
}

#: Help for fields of which the schema says nothing.
_HELP = {
    "name": "Name of the object in the NWB file.",
    "description": "What it is; written into the NWB file.",
    "unit": "Unit of the values.",
    "reference_frame": "What zero is, and which direction is positive.",
    "manufacturer": "Who makes it.",
    "model_number": "The manufacturer's number of the model.",
    "serial_number": "Serial number of this device.",
    "location": "Where it is in the brain.",
    "age": "Age at the session: P90D for 90 days, P12W for 12 weeks, P10W/P12W for a range.",
    "species": "Latin name, e.g. Mus musculus, or the address of a term of the NCBI taxonomy.",
    "sex": "M male, F female, O other, U unknown; XX and XO for C. elegans.",
    "weight": "Number, space and unit, e.g. 0.023 kg.",
}

#: Fields that name an entry of a registry by its key.
REFERENCES: dict[str, MetadataPath] = {
    "device_metadata_key": ("Devices",),
    "device_model_metadata_key": ("DeviceModels",),
    "skeleton_metadata_key": ("Pose", "Skeletons"),
}

#: Maps whose keys are names of data, which are shown as they are.
_NAMED_BY_DATA = ("columns", "meanings", "units")

_LONG_TEXTS = (
    "description",
    "experiment_description",
    "notes",
    "data_collection",
    "pharmacology",
    "reference_frame",
    "session_description",
    "slices",
    "stimulus_notes",
    "surgery",
    "virus",
)


@dataclass(frozen=True)
class Field:
    """One value of the metadata.

    Attributes
    ----------
    path : tuple of str or int
        Keys that lead to it.
    label : str
        Its name as shown.
    kind : str
        How it is edited: "text", "long text", "number", "integer", "boolean", "choice", "datetime", "date",
        "list of text", or "json" for anything else.
    required, recommended : bool
        Whether the schema, or else DANDI, asks for it.
    help : str
        What to write.
    choices : tuple
        What to choose from, if it is a choice.
    value : object
        Its JSON value in the document; None for a blank.
    default : object
        What a conversion takes if it is blank; None if there is nothing.
    can_remove : bool
        Whether the user added it, and may take it away.
    """

    path: MetadataPath
    label: str
    kind: Kind
    required: bool = False
    recommended: bool = False
    help: str = ""
    choices: tuple[Any, ...] = ()
    value: Any = None
    default: Any = None
    can_remove: bool = False


@dataclass(frozen=True)
class Section:
    """A group of fields and of other sections: a block, an entry of a registry, or a map.

    Attributes
    ----------
    path : tuple of str or int
        Keys that lead to it.
    title, help : str
        Its name, and what it is about.
    fields : tuple of Field
    sections : tuple of Section
    can_add : {"", "entry", "field"}
        What may be added to it, if anything: an entry with fields of its own, or a text.
    can_rename, can_remove : bool
        Whether the user added it. What is the session's own would come back at the conversion.
    """

    path: MetadataPath
    title: str
    help: str = ""
    fields: tuple[Field, ...] = field(default=())
    sections: tuple[Section, ...] = field(default=())
    can_add: Literal["", "entry", "field"] = ""
    can_rename: bool = False
    can_remove: bool = False

    def all_fields(self) -> Iterator[Field]:
        """The fields of this section and of those inside it."""
        yield from self.fields
        for section in self.sections:
            yield from section.all_fields()


def make_form(
    schema: dict[str, Any], metadata: dict[str, Any], defaults: dict[str, Any] | None = None
) -> list[Section]:
    """Make the form: one section for each block of the metadata.

    Every leaf of the schema and every value of the metadata has a field, but what NeuroConv writes about the making
    of a file.

    Parameters
    ----------
    schema : dict
        JSON schema of the metadata, as :meth:`IBLConverter.get_metadata_schema` gives it.
    metadata : dict
        The metadata of a document, as JSON.
    defaults : dict, optional
        The converter's own metadata, which stand where the document has a blank and cannot be removed.
    """
    maker = _FormMaker(schema, metadata)
    blocks = {**schema.get("properties", {}), **metadata}
    ordered = [*(name for name in _FIRST_BLOCKS if name in blocks), *(b for b in blocks if b not in _FIRST_BLOCKS)]
    known = defaults or {}
    made = [
        maker.make(
            (name,),
            schema.get("properties", {}).get(name, {}),
            metadata.get(name),
            known.get(name),
            declared=name in schema.get("properties", {}),
        )
        for name in ordered
    ]
    return [block if isinstance(block, Section) else Section(block.path, block.label, "", (block,)) for block in made]


class _FormMaker:
    """Walks schema, values and defaults side by side."""

    def __init__(self, schema: dict[str, Any], metadata: dict[str, Any]):
        self._root = schema
        self._metadata = metadata

    def make(
        self,
        path: MetadataPath,
        schema: dict[str, Any],
        value: Any,
        default: Any,
        *,
        required: bool = False,
        declared: bool = True,
    ) -> Section | Field:
        """The section or field of one node; a node without schema takes its kind from what is in it."""
        schema = self._resolve(schema)
        default = schema.get("default") if default is None else default
        shown = default if value is None else value
        is_object = "object" in _types(schema) or (not _types(schema) and isinstance(shown, dict))
        is_own = not declared and value is not None and default is None
        if is_object and isinstance(shown, dict | None):
            return self._make_section(path, schema, value, default, is_own)
        if isinstance(shown, list) and shown and all(isinstance(entry, dict) for entry in shown):
            return self._make_list(path, schema, value, default)
        return self._make_field(path, schema, value, default, required, is_own)

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        reference = schema.get("$ref")
        if reference is None:
            return schema
        target = self._root
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        return target

    def _make_section(
        self, path: MetadataPath, schema: dict[str, Any], value: Any, default: Any, is_own: bool = False
    ) -> Section:
        values, defaults = value or {}, default or {}
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        others = others if isinstance(others, dict) else {}
        keys = list(dict.fromkeys((*properties, *defaults, *values)))
        first = _FIRST.get(str(path[-1]), ("name", "description"))
        keys.sort(key=lambda key: first.index(key) if key in first else len(first))
        made = [
            self.make(
                (*path, key),
                properties.get(key, others),
                values.get(key),
                defaults.get(key),
                required=key in schema.get("required", ()),
                declared=key in properties,
            )
            for key in keys
            if (*path, key) not in OF_THE_MAKING
        ]
        in_registry = path[0] in OPEN_REGISTRIES
        is_entry = in_registry and len(path) == 2
        return Section(
            path=path,
            title=_title(path, values),
            help=schema.get("description", "") or (_BLOCK_HELP.get(str(path[0]), "") if len(path) == 1 else ""),
            fields=tuple(one for one in made if isinstance(one, Field)),
            sections=tuple(one for one in made if isinstance(one, Section)),
            can_add="" if not in_registry else "entry" if len(path) == 1 else "field" if is_entry else "",
            can_rename=is_own and is_entry,
            can_remove=is_own,
        )

    def _make_list(self, path: MetadataPath, schema: dict[str, Any], value: Any, default: Any) -> Section:
        """Entries of a list, such as the columns of the electrodes: a document that has none takes the default."""
        items = self._resolve(schema.get("items", {}))
        entries = value if value is not None else default
        made = tuple(self._make_section((*path, index), items, entry, None) for index, entry in enumerate(entries))
        return Section(path, _title(path, {}), schema.get("description", ""), (), made)

    def _make_field(
        self, path: MetadataPath, schema: dict[str, Any], value: Any, default: Any, required: bool, is_own: bool
    ) -> Field:
        key = str(path[-1])
        choices = self._choices(key, schema, value)
        return Field(
            path=path,
            label=_label(path),
            kind=_kind(key, schema, default if value is None else value, bool(choices)),
            required=required,
            recommended=path in RECOMMENDED,
            help=(_HELP.get(key) if len(path) <= 2 else None) or schema.get("description") or _HELP.get(key, ""),
            choices=choices,
            value=value,
            default=default,
            can_remove=is_own,
        )

    def _choices(self, key: str, schema: dict[str, Any], value: Any) -> tuple[Any, ...]:
        if "enum" in schema:
            return tuple(schema["enum"])
        registry: Any = self._metadata if key in REFERENCES else None
        for part in REFERENCES.get(key, ()):
            registry = registry.get(part) if isinstance(registry, dict) else None
        if not isinstance(registry, dict) or not isinstance(value, str | None):
            return ()
        return tuple(dict.fromkeys((*registry, *((value,) if value is not None else ()))))


def _types(schema: dict[str, Any]) -> tuple[str, ...]:
    given = schema.get("type", ())
    return (given,) if isinstance(given, str) else tuple(given)


def _kind(key: str, schema: dict[str, Any], shown: Any, has_choices: bool) -> Kind:
    """How a value is edited; one that is not what the schema says is edited as JSON, so that it can be seen."""
    types = [name for name in _types(schema) if name != "null"]
    if shown is not None and not _fits(types, shown):
        return "json"
    if has_choices:
        return "choice"
    if schema.get("format") in ("date-time", "date"):
        return "datetime" if schema["format"] == "date-time" else "date"
    kind = types[0] if types else _type_of(shown)
    if kind == "string":
        is_long = key in _LONG_TEXTS or (isinstance(shown, str) and (len(shown) > 60 or "\n" in shown))
        return "long text" if is_long else "text"
    if kind == "array":
        of_text = schema.get("items", {}).get("type") == "string" or (shown and _is_texts(shown))
        return "list of text" if of_text and (shown is None or _is_texts(shown)) else "json"
    return {"number": "number", "integer": "integer", "boolean": "boolean"}.get(kind, "json")  # type: ignore[return-value]


def _fits(types: list[str], value: Any) -> bool:
    kind = _type_of(value)
    return not types or kind in types or (kind == "integer" and "number" in types)


def _type_of(value: Any) -> str:
    names = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))
    return next((name for type_, name in names if isinstance(value, type_)), "string")


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _title(path: MetadataPath, values: Any) -> str:
    if isinstance(path[-1], int):
        name = values.get("name") if isinstance(values, dict) else None
        return str(name or f"No. {path[-1] + 1}")
    return path[-1]


def _label(path: MetadataPath) -> str:
    """The key as words; keys that are names of data, and those with capitals, as they are."""
    key = str(path[-1])
    parent = str(path[-2]) if len(path) > 1 else ""
    if parent in _NAMED_BY_DATA or not re.fullmatch("[a-z0-9_]+", key):
        return key
    return " ".join(filter(None, key.split("_"))).capitalize().replace(" id", " ID")
