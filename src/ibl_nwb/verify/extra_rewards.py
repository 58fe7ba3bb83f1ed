"""Extra rewards: the time of each."""

from __future__ import annotations

from collections.abc import Iterator

from .columns import compare_columns
from .report import Comparison
from .source_folder import load_array
from .verification import Verification, instance_label, left_out, metadata_key

_COLLECTIONS = ("alf", "alf/task_*", "")
_TIMES = "extraRewards.times.npy"


def check_extra_rewards(verification: Verification) -> Iterator[Comparison]:
    """Compare the extra rewards of every collection that has them."""
    collections = verification.folder.collections(_TIMES, _COLLECTIONS)
    for collection in collections:
        instance = f"ExtraRewards{instance_label(collections, collection)}"
        table = f"events/{verification.stated(instance, 'ExtraRewards', metadata_key(instance), 'name')}"
        times = verification.folder_of(instance).first(_TIMES, collection)
        if times is None:
            continue
        seconds = load_array(times).reshape(-1)
        if table not in verification.nwb and verification.was_left_out(instance, [times]):
            yield left_out(times, table)
        elif len(seconds) or table in verification.nwb:
            yield from compare_columns(verification.nwb, table, {"timestamp": (times.relative_path, seconds)})
        else:
            yield Comparison(times.relative_path, table, "not verified", "it is empty: there were no extra rewards")
