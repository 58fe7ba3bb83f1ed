"""Probes as the rig described them: each JSON list as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from .comparing import compare
from .report import Comparison
from .source_folder import load_json
from .verification import Verification, left_out

_FAMILY = "ProbeDescriptions"
_TABLES = {"probes.trajectory.json": "ProbesTrajectory", "probes.description.json": "ProbesDescription"}


def check_probe_descriptions(verification: Verification) -> Iterator[Comparison]:
    """Compare both tables, column by column."""
    folder, nwb = verification.folder_of(_FAMILY), verification.nwb
    collection = verification.argument(_FAMILY, "collection", None)
    collections = [collection] if collection else folder.collections(list(_TABLES), ["alf", ""])[:1]
    for name, table in _TABLES.items():
        for file in folder.find(name, collections):
            block = {"ProbesTrajectory": "Trajectories", "ProbesDescription": "Descriptions"}[table]
            table = verification.stated(table, _FAMILY, "probe_descriptions", block, "name")
            path = f"analysis/{table}"
            if path not in nwb and verification.was_left_out(_FAMILY, [file]):
                yield left_out(file, path)
                continue
            rows = load_json(file)
            for key in dict.fromkeys(key for row in rows for key in row):
                values = [row.get(key) for row in rows]
                column = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
                yield compare(nwb, file.relative_path, f"{path}/{column}", _expected(values))


def _expected(values: list) -> np.ndarray:
    if {type(value) for value in values} <= {int, float, type(None)}:
        return np.array([np.nan if value is None else float(value) for value in values])
    return np.array(["" if value is None else str(value) for value in values], dtype=object)
