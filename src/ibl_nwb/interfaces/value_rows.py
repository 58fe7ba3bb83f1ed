"""Nested documents (JSON, YAML) as tables of one row per value, the form in which the Alyx record is kept too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hdmf.common import DynamicTable
from pynwb.core import VectorData


def make_value_table(texts: dict[str, Any], content: Any, source: str) -> DynamicTable:
    """Table of every value of a document, by its place in the document.

    Parameters
    ----------
    texts : dict
        Name and description of the table, and the descriptions of its "columns" ``field`` and ``value``.
    content : object
        JSON values: dicts, lists, texts, numbers, booleans and None.
    source : str
        Sentence that names the file.

    Returns
    -------
    DynamicTable
        ``field`` is a JSON Pointer (RFC 6901), ``value`` JSON text.
    """
    values = dict(json_values(content))
    columns = {"field": list(values), "value": list(values.values())}
    return DynamicTable(
        name=texts["name"],
        description=f"{texts['description']} {source}.",
        columns=[
            VectorData(name=name, description=texts["columns"][name], data=data) for name, data in columns.items()
        ],
    )


def json_values(content: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """JSON Pointer and JSON text of every value that is not itself a filled object or list."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from json_values(value, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(content, list) and content:
        for index, value in enumerate(content):
            yield from json_values(value, f"{pointer}/{index}")
    else:
        # Dates, which YAML knows and JSON does not, as ISO 8601 text.
        yield pointer, json.dumps(content, ensure_ascii=False, default=str)
