"""Which raw folder goes with which ALF folder: sessions with several protocols have one of each per task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..session import ALFSession, Dataset

_TASK_NUMBER = re.compile(r"(?:alf/task|raw_task_data)_(\d+)")


def task_number(collection: str) -> str | None:
    """Number of the task in the name of an ALF or raw folder ("alf/task_01", "raw_task_data_01"), else None."""
    match = _TASK_NUMBER.match(collection)
    return match[1] if match else None


def find_of_same_task(
    session: ALFSession, names: Iterable[str], collections: Sequence[str], collection: str
) -> list[Dataset]:
    """The file with the first of several names that the task of a collection has one of, else none.

    Parameters
    ----------
    session : ALFSession
        The session.
    names : iterable of str
        Dataset names, in order of preference.
    collections : sequence of str
        Collections to look in, patterns allowed.
    collection : str
        A collection of the task. Folders have the same task number as it, or none as it has none.
    """
    number = task_number(collection)
    for name in names:
        for dataset in session.find(name, collections=collections):
            if task_number(dataset.collection) == number:
                return [dataset]
    return []
