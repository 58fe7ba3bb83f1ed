"""Nested documents (JSON, YAML) as tables of one row per value, the form in which the Alyx record is kept too."""

from __future__ import annotations

from typing import Any

from hdmf.common import DynamicTable
from pynwb.core import VectorData

from ..json_values import json_values


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
