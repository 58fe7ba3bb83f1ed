"""Tables that say what the codes in a column mean."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from hdmf.common import MeaningsTable
from pynwb.core import VectorData


def make_meanings(column: VectorData, meanings: Mapping[str, str]) -> MeaningsTable:
    """Make the table of what each code of a column means.

    Parameters
    ----------
    column : VectorData
        The column: numbers in an array, or a list of texts.
    meanings : mapping of str to str
        Meaning of each code; codes of a column of numbers are written in the type of the column.

    Returns
    -------
    MeaningsTable
        To be added to the table of the column with ``add_meanings_table``.
    """
    codes: np.ndarray | list[str] = list(meanings)
    if isinstance(column.data, np.ndarray):
        codes = np.array([float(code) for code in meanings]).astype(column.data.dtype)
    return MeaningsTable(
        target=column,
        description=f"What the values of the column '{column.name}' mean.",
        columns=[
            VectorData(name="value", description="Value in the column.", data=codes),
            VectorData(name="meaning", description="What it means.", data=list(meanings.values())),
        ],
    )
