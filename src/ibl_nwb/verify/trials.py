"""Trials: every attribute of the table, or of the files of older sessions, against its column."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from .comparing import compare
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, load_array, load_table
from .verification import Verification, instance_label, left_out

_COLLECTIONS = ("alf", "alf/task_*", "")
_REQUIRED = ("trials.table.pqt", "trials.intervals.npy")

#: How the description of a column names its attribute.
_ATTRIBUTE_IN_DESCRIPTION = re.compile(r"ALF: trials\.(\w+)\.$")


def check_trials(verification: Verification) -> Iterator[Comparison]:
    """Compare the trials of every task."""
    collections = verification.folder.collections(_REQUIRED, _COLLECTIONS)
    for collection in collections:
        label = instance_label(collections, collection)
        folder = verification.folder_of(f"Trials{label}")
        task = collection.removeprefix("alf/").replace("/", "_")
        table = f"intervals/trials_{task}" if label else "intervals/trials"
        required = folder.first(_REQUIRED, collection)
        if required is None:
            continue
        files = [required, *folder.find("trials.*.npy", collection)]
        if table not in verification.nwb and verification.was_left_out(f"Trials{label}", files):
            yield left_out(required, table)
        else:
            yield from _check_table(verification.nwb, folder, collection, table)


def _check_table(nwb: NWBReader, folder: SourceFolder, collection: str, table: str) -> Iterator[Comparison]:
    described = _columns_by_attribute(nwb, table)
    compared, attributes = set(), _read_attributes(folder, collection)
    for attribute, (dataset, values) in attributes.items():
        parts = zip(("start_time", "stop_time"), values.T, strict=True) if attribute == "intervals" else ()
        name = _column_name(attribute)
        column_name = name if f"{table}/{name}" in nwb else described.get(attribute, name)
        for column, part in parts or ((column_name, values),):
            compared.add(column)
            yield compare(nwb, dataset, f"{table}/{column}", np.asarray(part))
    for file in folder.find("trials.*.npy", collection):
        if _attribute(file) in attributes and attributes[_attribute(file)][0] != file.relative_path:
            reason = f"not converted: {attributes[_attribute(file)][0]} wins over it"
            yield Comparison(file.relative_path, table, "not verified", reason)
    for column in nwb.attributes(table).get("colnames", ()):
        if column not in compared:
            yield Comparison("", f"{table}/{column}", "different", "no attribute of the trials is the source of it")


def _read_attributes(folder: SourceFolder, collection: str) -> dict[str, tuple[str, np.ndarray]]:
    """Source and values of every attribute; a column of the table wins over a file."""
    read = {
        _attribute(file): (file.relative_path, load_array(file)) for file in folder.find("trials.*.npy", collection)
    }
    table_file = folder.first("trials.table.pqt", collection)
    if table_file is not None:
        table = load_table(table_file)
        for name in map(str, table.columns):
            first_of_pair = name.endswith("_0") and f"{name[:-2]}_1" in table.columns
            second_of_pair = name.endswith("_1") and f"{name[:-2]}_0" in table.columns
            if first_of_pair:
                pair = np.stack([table[name].to_numpy(), table[f"{name[:-2]}_1"].to_numpy()], axis=1)
                read[name[:-2]] = (f"{table_file.relative_path}:{name[:-2]}", pair)
            elif not second_of_pair:
                read[name] = (f"{table_file.relative_path}:{name}", table[name].to_numpy())
    return read


def _attribute(file: SourceFile) -> str:
    return file.name.removeprefix("trials.").removesuffix(".npy")


def _columns_by_attribute(nwb: NWBReader, table: str) -> dict[str, str]:
    """Column of each attribute as the descriptions of the columns say, for those that were renamed."""
    columns = {}
    for column in nwb.attributes(table).get("colnames", ()):
        named = _ATTRIBUTE_IN_DESCRIPTION.search(str(nwb.attributes(f"{table}/{column}").get("description", "")))
        if named:
            columns[named[1]] = str(column)
    return columns


def _column_name(attribute: str) -> str:
    """Column of an attribute by the naming rule: words in lower case, times in the singular."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", attribute).lower()
    return words.removesuffix("s") if words.endswith("_times") else words
