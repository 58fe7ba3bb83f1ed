"""Sync fronts: times, polarities and channels of every line against the table of that line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .columns import compare_columns
from .report import Comparison
from .source_folder import SourceFile, camel_case, load_array
from .sync_lines import name_lines, read_lines
from .verification import Verification, instance_label, left_out, metadata_key

_COLLECTIONS = ("raw_ephys_data", "raw_sync_data", "raw_ephys_data/probe*")
_ATTRIBUTES = ("times", "channels", "polarities")
_WIRING = ("ephysData*.nidq.wiring.json", "ephysData*.imec*.wiring.json", "DAQdata.wiring.json")

#: How the description of a table says that it is one of these.
_OF_THIS_FAMILY = "ALF object sync."


def check_sync(verification: Verification) -> Iterator[Comparison]:
    """Compare the fronts of the sync board, and of every probe that has some."""
    names = [name for attribute in _ATTRIBUTES for name in _names(attribute)]
    collections = verification.folder.collections(names, _COLLECTIONS)
    known: set[str] = set()
    for collection in collections:
        probe_folder = collection.rpartition("/")[2] if "/" in collection else ""
        label = camel_case(probe_folder) or instance_label(collections, collection)
        folder = verification.folder_of(f"Sync{label}")
        files = [folder.first(_names(attribute), collection) for attribute in _ATTRIBUTES]
        times, channels, polarities = files
        if times is None or channels is None or polarities is None:
            continue
        lines = _table_paths(verification, collection, label, times, channels, is_probe=bool(probe_folder))
        known |= set(lines.values())
        is_written = any(table in verification.nwb for table in lines.values())
        if lines and not is_written and verification.was_left_out(f"Sync{label}", [times, channels, polarities]):
            yield left_out(times, next(iter(lines.values())))
        else:
            yield from _check_lines(verification, lines, times, channels, polarities, is_probe=bool(probe_folder))
    yield from _find_surplus(verification, known)


def _names(attribute: str) -> tuple[str, str]:
    return f"sync.{attribute}.npy", f"sync.{attribute}.probe*.npy"


def _table_paths(
    verification: Verification,
    collection: str,
    label: str,
    times: SourceFile,
    channels: SourceFile,
    *,
    is_probe: bool,
) -> dict[int, str]:
    """The table of each channel that has fronts."""
    folder = verification.folder_of(f"Sync{label}")
    found = (folder.find(name, collection) for name in _WIRING)
    wiring = [*next(filter(None, found), []), *folder.find("DAQdata.meta.json", collection)]
    wired = read_lines(folder, wiring, is_probe=is_probe, namespace=times.namespace)
    numbers = np.unique(load_array(channels).reshape(-1)).astype(int).tolist()
    place = ("Sync", metadata_key(f"Sync{label}"), "lines")
    module, ending = ("processing/ecephys", "Clock") if is_probe else ("events", "")
    return {
        channel: f"{module}/{verification.stated(f'Sync{camel_case(line)}{label}{ending}', *place, line, 'name')}"
        for channel, line in name_lines(numbers, wired, times.namespace).items()
    }


def _check_lines(
    verification: Verification,
    lines: dict[int, str],
    times: SourceFile,
    channels: SourceFile,
    polarities: SourceFile,
    *,
    is_probe: bool,
) -> Iterator[Comparison]:
    fronts = {
        "time_probe" if is_probe else "timestamp": times,
        "polarity": polarities,
        "channel": channels,
    }
    values = {name: load_array(file).reshape(-1) for name, file in fronts.items()}
    for channel, table in lines.items():
        of_line = values["channel"] == channel
        columns = {
            name: (f"{file.relative_path}:channel {channel}", values[name][of_line]) for name, file in fronts.items()
        }
        yield from compare_columns(verification.nwb, table, columns)
    if not lines:
        for file in fronts.values():
            yield Comparison(file.relative_path, "", "not verified", "it is empty: no line has fronts")


def _find_surplus(verification: Verification, known: set[str]) -> Iterator[Comparison]:
    """Tables of fronts that no line of the source has."""
    nwb = verification.nwb
    for module in ("events", "processing/ecephys"):
        for name in nwb.names(module):
            path = f"{module}/{name}"
            if path not in known and _OF_THIS_FAMILY in str(nwb.attributes(path).get("description", "")):
                yield Comparison("", path, "different", "no line of the source has these fronts")
