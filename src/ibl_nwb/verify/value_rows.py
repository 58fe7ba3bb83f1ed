"""Task settings and experiment description: every value of the document against its row, in the order of the source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import DatasetUnreadableError
from .columns import find_surplus
from .comparing import compare, compare_arrays
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, load_json
from .verification import Verification, instance_label, left_out, metadata_key

_SETTINGS = "taskSettings.raw.json"
_SETTINGS_COLLECTIONS = ("raw_behavior_data", "raw_task_data_*", "raw_passive_data")


def check_task_settings(verification: Verification) -> Iterator[Comparison]:
    """Compare the settings of every protocol."""
    collections = verification.folder.collections(_SETTINGS, _SETTINGS_COLLECTIONS)
    for collection in collections:
        instance = f"TaskSettings{instance_label(collections, collection)}"
        file = verification.folder_of(instance).first(_SETTINGS, collection)
        if file is not None:
            yield from _check(verification, "TaskSettings", instance, file)


def check_experiment_description(verification: Verification) -> Iterator[Comparison]:
    """Compare the description of the session."""
    instance = "ExperimentDescription"
    file = verification.folder_of(instance).first("experiment.description*.yaml", "")
    if file is not None:
        yield from _check(verification, instance, instance, file)


def _check(verification: Verification, family: str, instance: str, file: SourceFile) -> Iterator[Comparison]:
    nwb = verification.nwb
    table = f"analysis/{verification.stated(instance, family, metadata_key(instance), 'name')}"
    if table not in nwb and verification.was_left_out(instance, [file]):
        yield left_out(file, table)
        return
    yield from compare_document(nwb, file, table)


def compare_document(nwb: NWBReader, file: SourceFile, table: str) -> Iterator[Comparison]:
    """Compare every value of a JSON or YAML file with the rows of a table.

    Parameters
    ----------
    nwb : NWBReader
        The file.
    file : SourceFile
        The document.
    table : str
        The table, with the columns ``field`` and ``value``.
    """
    rows = _flatten(load_json(file) if file.name.endswith(".json") else _load_yaml(file))
    fields = np.array([pointer for pointer, _ in rows], dtype=object)
    yield compare(nwb, f"{file.relative_path}:fields", f"{table}/field", fields)
    yield _compare_values(nwb, f"{file.relative_path}:values", f"{table}/value", [value for _, value in rows])
    yield from find_surplus(nwb, table, {"field": file, "value": file})


def _compare_values(nwb: NWBReader, dataset: str, path: str, expected: list[Any]) -> Comparison:
    """Compare JSON texts by what they mean."""
    if not nwb.is_array(path):
        return Comparison(dataset, path, "missing", "it is not in the file")
    try:
        found = [_canonical(json.loads(text)) for text in nwb.read(path)]
    except (ValueError, TypeError) as error:
        return Comparison(dataset, path, "different", f"a value is not JSON: {error}")
    texts = [_canonical(value) for value in expected]
    return compare_arrays(dataset, path, np.array(found, dtype=object), np.array(texts, dtype=object))


def _canonical(value: Any) -> str:
    """A value as JSON; dates, which YAML has and JSON has not, as ISO 8601 texts."""
    return json.dumps(value, default=str, sort_keys=True)


def _flatten(content: Any) -> list[tuple[str, Any]]:
    """JSON Pointer (RFC 6901) of every value that is not a filled object or list, and the value."""
    found: list[tuple[str, Any]] = []
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        pointer, value = waiting.pop()
        if value and isinstance(value, (dict, list)):
            items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
            names = [str(name).replace("~", "~0").replace("/", "~1") for name, _ in items]
            inside = [(f"{pointer}/{name}", item) for name, (_, item) in zip(names, items, strict=True)]
            waiting += reversed(inside)
        else:
            found.append((pointer, value))
    return found


def _load_yaml(file: SourceFile) -> Any:
    import yaml

    try:
        return yaml.safe_load(file.path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DatasetUnreadableError(
            f"The source '{file.path}' cannot be read: {reason}. Nothing can be compared with it; get it again."
        ) from error
