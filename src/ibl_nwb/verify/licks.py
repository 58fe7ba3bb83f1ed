"""Licks: the times of every frame in which the tongue moved."""

from __future__ import annotations

from collections.abc import Iterator

from .columns import compare_columns
from .report import Comparison
from .source_folder import load_array
from .verification import Verification, instance_label, left_out, metadata_key

_COLLECTIONS = ("alf", "alf/task_*", "")
_TIMES = "licks.times.npy"


def check_licks(verification: Verification) -> Iterator[Comparison]:
    """Compare the licks of every collection that has them."""
    nwb = verification.nwb
    collections = verification.folder.collections(_TIMES, _COLLECTIONS)
    for collection in collections:
        instance = f"Licks{instance_label(collections, collection)}"
        table = f"events/{verification.stated(instance, 'Licks', metadata_key(instance), 'name')}"
        times = verification.folder_of(instance).first(_TIMES, collection)
        if times is None:
            continue
        seconds = load_array(times).reshape(-1)
        if table not in nwb and verification.was_left_out(instance, [times]):
            yield left_out(times, table)
        elif len(seconds) or table in nwb:
            yield from compare_columns(nwb, table, {"timestamp": (times.relative_path, seconds)})
        else:
            yield Comparison(times.relative_path, table, "not verified", "it is empty: no licks were found")
