"""Values as JSON: one row for each value of a nested document, and the values of NumPy and dates that JSON lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np


def json_values(content: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a document that is not itself a filled object or list.

    Parameters
    ----------
    content : object
        JSON values: dicts, lists, texts, numbers, booleans and None; and what :func:`to_json` knows.
    pointer : str
        Where ``content`` is in the document.

    Yields
    ------
    pointer : str
        JSON Pointer (RFC 6901) of the value.
    value : str
        The value as JSON text.
    """
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from json_values(value, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(content, list) and content:
        for index, value in enumerate(content):
            yield from json_values(value, f"{pointer}/{index}")
    else:
        yield pointer, json.dumps(content, ensure_ascii=False, default=to_json)


def to_json(value: Any) -> Any:
    """What stands in JSON for a value it has no type for (``default`` of :func:`json.dumps`).

    NumPy's numbers and arrays become numbers and lists, all else, such as paths and the dates of YAML, its text.
    """
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
