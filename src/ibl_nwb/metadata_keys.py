"""Keys of metadata: which are known, which nothing would read, and which belong to what was left out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

#: Registries to which a user may add entries of their own, since other entries refer to them by key.
OPEN_REGISTRIES = ("Devices", "DeviceModels", "FiberPhotometry")


def find_unread_keys(
    metadata: dict[str, Any], defaults: dict[str, Any], schema: dict[str, Any], own_blocks: Iterable[str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys that nothing reads: unknown blocks, and unknown keys anywhere in the blocks that are ours.

    Entries of open registries that are no mappings count as such.

    Parameters
    ----------
    metadata : dict
        The metadata to look at.
    defaults : dict
        The metadata by default, whose keys are known.
    schema : dict
        JSON schema of the metadata, whose properties are known too.
    own_blocks : iterable of str
        Blocks of IBL's interfaces. Other blocks may hold what their interfaces know.

    Yields
    ------
    path : tuple of str
        Keys that lead to the unread one, itself included.
    sentence : str
        What is wrong with it.
    """
    properties = schema["properties"]
    known_blocks = {*properties, *defaults}
    closed = set(own_blocks) - set(OPEN_REGISTRIES)
    for block, content in metadata.items():
        if block not in known_blocks:
            yield (block,), f"Metadata: {describe_unknown(block, known_blocks, 'block')}"
        elif block in closed:
            yield from _compare(content, defaults.get(block), properties.get(block, {}), (block,))
        elif block in OPEN_REGISTRIES:
            yield from _check_entries(content, block)


def drop_keys(content: Any, known: Any, droppable: Any) -> Any:
    """Copy of nested metadata without keys that are not known but droppable; others stay, known or not.

    Parameters
    ----------
    content, known, droppable : dict
        The metadata, and nested dicts with the keys that are known and those that may be dropped.
    """
    if not isinstance(content, dict) or not isinstance(droppable, dict):
        return content
    known = known if isinstance(known, dict) else {}
    return {
        key: drop_keys(value, known.get(key), droppable.get(key))
        for key, value in content.items()
        if key in known or key not in droppable
    }


def without_blanks(content: Any) -> Any:
    """Copy of nested dicts without the keys whose value is None."""
    if not isinstance(content, dict):
        return content
    return {key: without_blanks(value) for key, value in content.items() if value is not None}


def describe_unknown(name: str, known: Iterable[str], kind: str = "interface") -> str:
    """Sentence that says that there is no such name, with the nearest one and all others that there are."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"There is no {kind} '{name}'.{hint} Known: {', '.join(sorted(known))}."


def _check_entries(content: Any, block: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """What NeuroConv, which comes before any schema here, would stumble over."""
    entries = content.items() if isinstance(content, dict) else [("key", content)]
    for key, entry in entries:
        if not isinstance(entry, dict):
            yield (
                (block, key),
                f"Metadata at {block}.{key}: {entry!r} is not an entry of a registry, such as "
                '{"name": "Lens", "description": "What it is."}.',
            )


def _compare(
    content: Any, defaults: Any, schema: dict[str, Any], place: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    if not isinstance(content, dict):
        return
    defaults = defaults if isinstance(defaults, dict) else {}
    properties = schema.get("properties", {})
    known = {*defaults, *properties}
    for key, value in content.items():
        if key in known:
            yield from _compare(value, defaults.get(key), properties.get(key, {}), (*place, key))
        else:
            yield (*place, key), f"Metadata at {'.'.join(place)}: {describe_unknown(key, known, 'key')}"
