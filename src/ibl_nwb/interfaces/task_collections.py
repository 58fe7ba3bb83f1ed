"""Which raw folder goes with which ALF folder: sessions with several protocols have one of each per task."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..session import Dataset

_TASK_NUMBER = re.compile(r"(?:alf/task|raw_task_data)_(\d+)")


def task_number(collection: str) -> str | None:
    """Number of the task in the name of an ALF or raw folder ("alf/task_01", "raw_task_data_01"), else None."""
    match = _TASK_NUMBER.match(collection)
    return match[1] if match else None


def of_same_task(datasets: Iterable[Dataset], collection: str) -> list[Dataset]:
    """The datasets whose folder has the same task number as a collection, or none as it has none."""
    number = task_number(collection)
    return [dataset for dataset in datasets if task_number(dataset.collection) == number]
