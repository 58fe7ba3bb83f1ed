"""What every interface of ``ibl_nwb`` shares: a declaration of ALF datasets and the code that walks it.

An interface class mixes :class:`ALFInterface` into the NeuroConv base class of its kind. It declares ``datasets``; from
that one declaration follow which sessions it applies to, how many instances it has there, what has to be downloaded for
it and what the coverage report says. Names and descriptions of what it writes come from the YAML file of the same name
in ``metadata/``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from neuroconv.utils import DeepDict
from pydantic import DirectoryPath, validate_call

from ..errors import DatasetInconsistentError, DatasetMissingError, UsageError
from ..session import ALFSession, Dataset

#: Rows, frames or samples that ``stub_test`` keeps; NeuroConv's own stub of a recording has as many.
STUB_LENGTH = 100

#: How far a timestamp may be from a regular grid for the series to be stored as start and rate, in seconds.
REGULAR_TOLERANCE_S = 1e-6

#: What the placeholders of a declaration stand for, as regular expressions.
_HANDLE_PATTERNS = {
    "probe_name": r"probe[^/.]*",
    "camera_name": r"[a-z]+",
    "band": r"ap|lf",
    "fov_name": r"FOV_\d+",
    "collection": r".*",
}


@dataclass(frozen=True)
class ALFDataset:
    """Declaration of one dataset that an interface reads, under all the names it has had.

    Attributes
    ----------
    key : str
        What the interface calls it.
    names : tuple of str
        Dataset names without namespace, in order of preference: the current name first, then alternatives and legacy
        names. Unix-style patterns and placeholders of handles (``{camera_name}``) are allowed.
    collections : tuple of str
        Where it may be, with the same patterns and placeholders. Default: the collection of the instance.
    required : bool
        Whether the interface can do nothing without it.
    support : bool
        Whether it only helps to interpret other datasets and is not stored itself.
    streamable : bool
        Whether a compressed file of it may stay on a server, to be read from there while it is converted (argument
        ``data_url`` of the interface).
    """

    key: str
    names: tuple[str, ...]
    collections: tuple[str, ...] = ("{collection}",)
    required: bool = False
    support: bool = False
    streamable: bool = False

    def fits(self, dataset: Dataset, instance: dict[str, str]) -> bool:
        """Whether a file is one that this declaration of an instance speaks of, in whatever revision."""
        return any(fnmatchcase(dataset.name, name.format_map(instance)) for name in self.names) and any(
            fnmatchcase(dataset.collection, collection.format_map(instance)) for collection in self.collections
        )


class ALFInterface:
    """Mixin that makes a NeuroConv interface from a declaration of ALF datasets.

    Subclasses put it before their NeuroConv base class and set the class attributes below. Their constructor takes
    JSON values only, calls :meth:`_open_session`, then the constructor of the base class.
    """

    #: Name of the family, and of its only instance in a converter.
    family: ClassVar[str]
    #: Every dataset it reads, in order of importance.
    datasets: ClassVar[tuple[ALFDataset, ...]]
    #: Constructor arguments that tell instances within one session apart.
    handles: ClassVar[tuple[str, ...]] = ("collection",)
    #: Collections an instance may live in (what ``{collection}`` stands for), preferred ones first.
    collections: ClassVar[tuple[str, ...]] = ("alf", "alf/task_*", "")
    #: Whether a conversion of a whole session runs it without being asked to.
    by_default: ClassVar[bool] = True
    #: Whether all datasets in ``{collection}`` must be of the same revision because revisions are different analyses.
    same_revision: ClassVar[bool] = False

    session: ALFSession
    instance: dict[str, str]
    sources: dict[str, list[Dataset]]
    #: Sentences about the data that a user should know; a conversion shows them in its summary.
    notes: list[str]
    label: str
    metadata_key: str

    @classmethod
    def get_instances(cls, session: ALFSession) -> list[dict[str, str]]:
        """Every instance that the session holds all required datasets of.

        Parameters
        ----------
        session : ALFSession
            The session to look at.

        Returns
        -------
        list of dict
            One dict of handles (constructor arguments) per instance, the main one first. What lies at the session's
            root counts only where no folder holds the same: it is what was there before the folder.
        """
        complete = cls._complete_candidates(session)
        in_folders = [{**instance, "collection": ""} for instance in complete if instance.get("collection")]
        return [instance for instance in complete if instance not in in_folders]

    @classmethod
    def is_available(cls, session: ALFSession) -> bool:
        """Whether the session holds at least one instance."""
        return bool(cls.get_instances(session))

    @classmethod
    def get_incomplete_instances(cls, session: ALFSession) -> dict[str, tuple[dict[str, str], tuple[str, ...]]]:
        """Instances of which some required datasets are there and others are not: name, handles, what is missing."""
        return {
            cls.get_instance_name(session, instance): (instance, missing)
            for instance in cls._candidates(session)
            if (missing := cls.get_missing_datasets(session, instance))
        }

    @classmethod
    def get_missing_datasets(cls, session: ALFSession, instance: dict[str, str]) -> tuple[str, ...]:
        """Names of the required datasets that an instance lacks."""
        found = cls.select_datasets(session, instance)
        return tuple(
            " or ".join(name.format_map(instance) for name in declared.names)
            for declared in cls.datasets
            if declared.required and not found[declared.key]
        )

    @classmethod
    def get_declarations(cls, dataset: Dataset) -> tuple[ALFDataset, ...]:
        """Declarations that speak of a file, whatever else is in its session."""
        return tuple(
            declared
            for declared in cls.datasets
            if _fits_any(dataset.name, declared.names)
            and _fits_any(
                dataset.collection, cls.collections if "{collection}" in declared.collections else declared.collections
            )
        )

    @classmethod
    def get_companions(cls, dataset: Dataset) -> tuple[str, ...]:
        """Names of the required datasets without which the interface does not read a file that it knows, else none."""
        fitting = cls.get_declarations(dataset)
        required = (" or ".join(d.names) for d in cls.datasets if d.required and d not in fitting)
        return tuple(re.sub(r"\{\w+\}", "*", names) for names in required) if fitting else ()

    @classmethod
    def select_datasets(cls, session: ALFSession, instance: dict[str, str]) -> dict[str, list[Dataset]]:
        """The files that one instance reads.

        Returns
        -------
        dict of str to list of Dataset
            Keyed by :attr:`ALFDataset.key`; an empty list where the session has no such dataset.
        """
        exact_revision = cls._common_revision(session, instance) if cls.same_revision else None
        return {
            declared.key: _find(
                session, declared, instance, exact_revision if "{collection}" in declared.collections else None
            )
            for declared in cls.datasets
        }

    @classmethod
    def get_data_url(cls, session: ALFSession, instance: dict[str, str]) -> str | None:
        """Address of the instance's recording, None if that is in the folder."""
        found = cls.select_datasets(session, instance)
        urls = (dataset.url for declared in cls.datasets if declared.streamable for dataset in found[declared.key])
        return next((url for url in urls if url is not None), None)

    @classmethod
    def get_instance_name(cls, session: ALFSession, instance: dict[str, str]) -> str:
        """Name of an instance in a converter: the family and what tells the instance from others."""
        return cls.family + cls._label(session, instance)

    def get_metadata(self) -> DeepDict:
        """The base class's metadata and the names and descriptions of what this interface writes."""
        # NeuroConv's bases may put plain dicts inside, below which a DeepDict cannot be updated.
        metadata = DeepDict(super().get_metadata())  # type: ignore[misc]
        metadata.deep_update(deepcopy(self._defaults))
        return metadata

    def get_metadata_schema(self) -> dict:
        """JSON schema of the metadata, the interface's own block included."""
        schema = super().get_metadata_schema()  # type: ignore[misc]
        for block, content in self._defaults.items():
            schema["properties"].setdefault(block, schema_of(content))
        return schema

    def _open_session(
        self, session_path: Path | str, revision: str | None, *, data_url: str | None = None, **given: str | None
    ) -> None:
        """Open the session, choose the instance that is meant and select its files."""
        self.session = ALFSession(session_path, revision=revision, data_urls=[] if data_url is None else [data_url])
        self.instance = self._choose_instance(given)
        self.sources = self.select_datasets(self.session, self.instance)
        self._check_data_url()
        self.notes = []
        self.label = self._label(self.session, self.instance)
        self.metadata_key = snake_case(self.family + self.label)

    def _check_data_url(self) -> None:
        """Refuse an address of a file that is not what this instance reads."""
        streamable = [declared.key for declared in self.datasets if declared.streamable]
        read = [dataset.alf_path for key in streamable for dataset in self.sources[key]]
        for path in self.session.data_urls.keys() - set(read):
            raise UsageError(
                f"The data_url of {', '.join(self.instance.values())} of '{self.session.path}' is that of {path} in "
                f"place of {', '.join(read)}."
            )

    def _choose_instance(self, given: dict[str, str | None]) -> dict[str, str]:
        wanted = {name: value for name, value in given.items() if value is not None}
        instances = self._complete_candidates(self.session)
        for instance in instances:
            if wanted.items() <= instance.items():
                return instance
        asked = ", ".join(f"{name} {value!r}" for name, value in wanted.items())
        for candidate in self._candidates(self.session):
            missing = self.get_missing_datasets(self.session, candidate)
            if wanted.items() <= candidate.items() and missing:
                raise DatasetMissingError(
                    f"{type(self).__name__} cannot convert {asked or self.family} of '{self.session.path}': "
                    f"{', '.join(missing)} is missing. Add it, or leave this interface out."
                )
        if instances:
            listed = "; ".join(", ".join(f"{k} {v!r}" for k, v in sorted(i.items())) for i in instances)
            raise UsageError(f"'{self.session.path}' has no {asked} for {type(self).__name__}. It has: {listed}.")
        required = "; ".join(" or ".join(declared.names) for declared in self.datasets if declared.required)
        at_revision = "" if self.session.revision is None else f" at revision {self.session.revision!r}"
        raise DatasetMissingError(
            f"'{self.session.path}' has nothing for {type(self).__name__}{at_revision}: it needs {required}."
        )

    @classmethod
    def _complete_candidates(cls, session: ALFSession) -> list[dict[str, str]]:
        """Instances that can be opened, those included that :meth:`get_instances` of a subclass leaves out."""
        return [i for i in cls._candidates(session) if not cls.get_missing_datasets(session, i)]

    @classmethod
    def _candidates(cls, session: ALFSession) -> list[dict[str, str]]:
        """Instances of which the session holds at least one required dataset, the preferred collections first."""
        found: dict[tuple[int, tuple[str, ...]], dict[str, str]] = {}
        for declared in cls.datasets:
            if declared.required and not declared.support:
                for preference, instance in _match_handles(session, declared, cls.collections):
                    instance = {handle: instance[handle] for handle in cls.handles}
                    found.setdefault((preference, tuple(instance.values())), instance)
        distinct = []
        for _, instance in sorted(found.items(), key=lambda item: item[0]):
            if instance not in distinct:
                distinct.append(instance)
        return distinct

    @classmethod
    def _common_revision(cls, session: ALFSession, instance: dict[str, str]) -> str | None:
        """The newest revision (not after the session's) that holds all required datasets of the instance, else any."""
        required = [declared for declared in cls.datasets if declared.required]
        revisions = {
            dataset.revision
            for dataset in session.datasets
            if dataset.collection == instance["collection"]
            and (session.revision is None or dataset.revision <= session.revision)
        }
        for revision in sorted(revisions, reverse=True):
            if all(_find(session, declared, instance, revision) for declared in required):
                return revision
        # None would mean that any revision will do, that is a mixture.
        incomplete = (r for r in revisions if any(_find(session, declared, instance, r) for declared in required))
        return max(incomplete, default=None)

    @classmethod
    def _label(cls, session: ALFSession, instance: dict[str, str]) -> str:
        """CamelCase name of the instance within its family, empty for the main one of a family without handles."""
        label = "".join(camel_case(instance[handle]) for handle in cls.handles if handle != "collection")
        if label or instance == cls._candidates(session)[0]:
            return label
        return camel_case(instance["collection"].removeprefix("alf/").replace("/", "_"))

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """The default metadata, made once: some follow from files, and a conversion asks for them many times."""
        return self._default_metadata()

    def _default_metadata(self) -> dict[str, Any]:
        substitutions = {"label": self.label, "metadata_key": self.metadata_key, **self.instance}
        return substitute(load_metadata_file(self.family), substitutions)

    def _get_entry(self, metadata: dict | None, block: str) -> dict[str, Any]:
        """This instance's entry of a metadata block: what the caller gave, on top of the defaults."""
        defaults = self._defaults[block][self.metadata_key]
        given = (metadata or {}).get(block, {}).get(self.metadata_key, {})
        return _merge(deepcopy(defaults), given)

    def _source_comment(self, *keys: str) -> str:
        """Sentence naming the files that an object was made from."""
        listed = ", ".join(dataset.alf_path for key in keys for dataset in self.sources[key])
        return f"Source: {listed}"


class CollectionInterface(ALFInterface):
    """An :class:`ALFInterface` with the constructor of all whose instances differ by their collection only."""

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        collection: str | None = None,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open the datasets of the family in one collection.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        collection : str, optional
            Collection of the datasets, e.g. "alf/task_00". Default: the first that has them.
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, collection=collection)
        super().__init__(  # type: ignore[call-arg]
            verbose=verbose, session_path=session_path, collection=collection, revision=revision
        )


class AlignableTimes:
    """Mixin for a ``BaseTemporalAlignmentInterface`` that reads its times from disk until others are set."""

    _timestamps: np.ndarray | None = None

    def get_timestamps(self) -> np.ndarray:
        """Times of the samples, aligned if they were set, ``(n,)`` seconds."""
        return self.get_original_timestamps() if self._timestamps is None else self._timestamps  # type: ignore[attr-defined]

    def set_aligned_timestamps(self, aligned_timestamps: np.ndarray) -> None:
        """Replace the times of the samples, ``(n,)`` seconds. The files stay as they are."""
        self._timestamps = aligned_timestamps


def series_timing(timestamps: np.ndarray) -> dict[str, Any]:
    """Timing arguments of a TimeSeries: start and rate when every timestamp fits them, the timestamps otherwise.

    Parameters
    ----------
    timestamps : numpy.ndarray
        ``(n,)`` seconds on the session clock.

    Returns
    -------
    dict
        ``starting_time`` (s) and ``rate`` (Hz), or ``timestamps`` as given.
    """
    if len(timestamps) > 2 and timestamps[-1] > timestamps[0]:
        start = float(timestamps[0])
        rate = float((len(timestamps) - 1) / (timestamps[-1] - start))
        if np.abs(timestamps - (start + np.arange(len(timestamps)) / rate)).max() <= REGULAR_TOLERANCE_S:
            return {"starting_time": start, "rate": rate}
    return {"timestamps": timestamps}


def check_times(times: np.ndarray, dataset: Dataset) -> None:
    """Check that times are finite and never go backwards.

    Parameters
    ----------
    times : numpy.ndarray
        ``(n,)`` seconds.
    dataset : Dataset
        Where they are from, for the message.

    Raises
    ------
    DatasetInconsistentError
        If a time is NaN or infinite, or smaller than the one before.
    """
    if not np.isfinite(times).all():
        row = int(np.flatnonzero(~np.isfinite(times))[0])
        raise DatasetInconsistentError(f"'{dataset.path}' holds {times[row]} as the time of row {row}.")
    backwards = np.flatnonzero(np.diff(times) < 0)
    if len(backwards):
        row = int(backwards[0])
        raise DatasetInconsistentError(
            f"The times in '{dataset.path}' go backwards from {times[row]} s to {times[row + 1]} s at row {row + 1}; "
            "they must rise. Get the file again or leave the family out with --exclude."
        )


def camel_case(name: str) -> str:
    """``left`` to ``Left``, ``task_01`` to ``Task01``, ``ap`` to ``AP``."""
    if name in ("ap", "lf"):
        return name.upper()
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[_\W]+", name))


def snake_case(name: str) -> str:
    """``goCueTrigger_times`` to ``go_cue_trigger_times``, ``RawEphysAPProbe00`` to ``raw_ephys_ap_probe00``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def schema_of(content: Any) -> dict[str, Any]:
    """JSON schema that accepts the keys of a nested metadata dict, and no others, with values of the same types."""
    if isinstance(content, dict):
        properties = {key: schema_of(value) for key, value in content.items()}
        return {"type": "object", "additionalProperties": False, "required": [], "properties": properties}
    if isinstance(content, list):
        return {"type": "array"}
    if isinstance(content, bool):
        return {"type": "boolean"}
    return {"type": "number"} if isinstance(content, (int, float)) else {"type": "string"}


@cache
def load_metadata_file(family: str) -> dict[str, Any]:
    """Names and descriptions of a family, as they are in its YAML file in ``metadata/``."""
    import yaml

    path = Path(__file__).parent / "metadata" / f"{snake_case(family)}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def substitute(content: Any, substitutions: dict[str, str]) -> Any:
    """Copy of nested metadata with the placeholders (``{label}``) in its keys and texts filled in."""
    if isinstance(content, dict):
        return {key.format_map(substitutions): substitute(value, substitutions) for key, value in content.items()}
    return content.format_map(substitutions) if isinstance(content, str) else content


def _merge(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in given.items():
        merged[key] = _merge(merged[key], value) if isinstance(merged.get(key), dict) else value
    return merged


def _find(
    session: ALFSession, declared: ALFDataset, instance: dict[str, str], exact_revision: str | None
) -> list[Dataset]:
    names = [name.format_map(instance) for name in declared.names]
    for collection in declared.collections:
        found = session.find(names, collections=collection.format_map(instance), exact_revision=exact_revision)
        if found:
            return found
    return []


def _fits_any(text: str, templates: tuple[str, ...]) -> bool:
    return any(re.fullmatch(_regex(template), text) for template in templates)


def _match_handles(
    session: ALFSession, declared: ALFDataset, preferred_collections: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Handles of every dataset that fits a declaration, each with the rank of its collection."""
    patterns = [
        (rank, re.compile(_regex(collection)), re.compile(_regex(name)))
        for rank, collection in enumerate(
            preferred_collections if declared.collections == ("{collection}",) else declared.collections
        )
        for name in declared.names
    ]
    for collection, datasets in session.by_collection.items():
        for rank, collection_pattern, name_pattern in patterns:
            in_collection = collection_pattern.fullmatch(collection)
            if in_collection is None:
                continue
            for dataset in datasets:
                in_name = name_pattern.fullmatch(dataset.name)
                if in_name:
                    yield rank, {"collection": collection, **in_collection.groupdict(), **in_name.groupdict()}


@cache
def _regex(template: str) -> str:
    pieces = []
    for piece in re.split(r"(\{\w+\}|\*)", template):
        if piece == "*":
            pieces.append(".*")
        elif piece.startswith("{"):
            pieces.append(f"(?P<{piece[1:-1]}>{_HANDLE_PATTERNS[piece[1:-1]]})")
        else:
            pieces.append(re.escape(piece))
    return "".join(pieces)
