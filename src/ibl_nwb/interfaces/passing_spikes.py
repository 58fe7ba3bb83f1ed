"""The table of the spikes of good units: the same spikes once more, hence told by the clusters that they are of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from ..errors import DatasetInconsistentError
from ..session import Dataset, iter_table, table_columns
from .spike_column import BLOCK_LENGTH
from .spike_trains import Spikes

_WAY_OUT = (
    "Get both again in one revision, or leave the table out with the option write_in_passing_spikes=False; its spikes "
    "are converted with all others."
)


def find_passing_clusters(table: Dataset, spikes: Spikes) -> np.ndarray:
    """Clusters whose spikes make up ``passingSpikes.table``.

    IBL's pipeline (ibllib, ``CellQCMixin.compute_cell_qc``) copies all spikes of the clusters with ``bitwise_fail`` 0
    into the table, in the order of the recording, with clusters and templates as uint16, amplitudes and depths as
    float32. Such a table says no more than which clusters these are. That it is one is checked here in every row and
    every column that the two share: integers must be equal, and floats equal once those of ``spikes`` are rounded to
    the type of the table. No more than some blocks of either are in memory.

    A table that is anything else is an error and not a note: files of one revision then contradict each other, and
    which of them is wrong, the spikes themselves perhaps, only the user can find out. The option
    ``write_in_passing_spikes`` converts the spikes all the same.

    Parameters
    ----------
    table : Dataset
        The table, parquet.
    spikes : Spikes
        The spikes of the same sorting.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64, ascending.

    Raises
    ------
    DatasetInconsistentError
        If the table is not all spikes of some clusters in their order, or has no integer column ``clusters``.
    DatasetUnreadableError
        If the table is damaged.
    """
    columns = table_columns(table)
    if "clusters" not in columns:
        raise DatasetInconsistentError(
            f"'{table.path}' has no column clusters, by which its spikes are those of units of "
            f"'{spikes.datasets['clusters'].path}'. {_WAY_OUT}"
        )
    cluster_ids = _read_cluster_ids(table, spikes)
    _check_rows(table, [name for name in spikes.datasets if name in columns], spikes, cluster_ids)
    return cluster_ids


def unshared_columns(table: Dataset, spikes: Spikes) -> list[str]:
    """Columns of ``passingSpikes.table`` that cannot be compared since ``spikes`` has no such attribute."""
    return [name for name in table_columns(table) if name not in spikes.datasets]


def _read_cluster_ids(table: Dataset, spikes: Spikes) -> np.ndarray:
    """Clusters that the table names, as far as they exist: where it names others, its rows will differ."""
    named = np.zeros(0, dtype=np.int64)
    for batch in iter_table(table, ["clusters"]):
        values = batch["clusters"]
        if values.dtype.kind not in "iuf":
            raise DatasetInconsistentError(
                f"The column clusters of '{table.path}' holds {values.dtype} values; cluster ids are integers, as in "
                f"'{spikes.datasets['clusters'].path}'. {_WAY_OUT}"
            )
        named = np.union1d(named, values[np.isin(values, spikes.cluster_ids)].astype(np.int64))
    return named


def _check_rows(table: Dataset, attributes: list[str], spikes: Spikes, cluster_ids: np.ndarray) -> None:
    """Check that the table has the spikes of the clusters, all of them, in their order and with their values."""
    blocks = _rows_of(cluster_ids, spikes)
    pending = np.zeros(0, dtype=np.int64)
    n_rows = 0
    for batch in iter_table(table, attributes):
        length = len(batch["clusters"])
        while len(pending) < length and (block := next(blocks, None)) is not None:
            pending = np.concatenate([pending, block])
        rows, pending = pending[:length], pending[length:]
        _check_batch(table, batch, n_rows, spikes, rows)
        n_rows += length
    n_spikes = int(spikes.index.counts[np.isin(spikes.cluster_ids, cluster_ids)].sum())
    if n_rows != n_spikes:
        reason = f"it has {n_rows} rows, and its clusters have {n_spikes} spikes"
        _refuse(table, spikes.datasets["clusters"], min(n_rows, n_spikes), reason)


def _rows_of(cluster_ids: np.ndarray, spikes: Spikes) -> Iterator[np.ndarray]:
    """Rows of ``spikes.*`` that are of some clusters, ascending, block by block."""
    is_wanted = np.zeros(spikes.cluster_ids.max(initial=-1) + 1, dtype=bool)
    is_wanted[cluster_ids] = True
    for start in range(0, len(spikes), BLOCK_LENGTH):
        yield start + np.flatnonzero(is_wanted[spikes.load("clusters")[start : start + BLOCK_LENGTH]])


def _check_batch(table: Dataset, batch: dict[str, np.ndarray], start: int, spikes: Spikes, rows: np.ndarray) -> None:
    """Compare rows of the table, from ``start`` on, with the spikes that they should be; surplus ones are not."""
    differing = {
        attribute: _differs(values[: len(rows)], spikes.load(attribute)[rows]) for attribute, values in batch.items()
    }
    wrong = {attribute: int(where.argmax()) for attribute, where in differing.items() if where.any()}
    if wrong:
        attribute = min(wrong, key=lambda name: wrong[name])
        row = wrong[attribute]
        expected = spikes.load(attribute)[rows[row]]
        reason = f"{attribute} is {batch[attribute][row]} instead of {expected} (row {rows[row]} of spikes)"
        _refuse(table, spikes.datasets[attribute], start + row, reason)


def _differs(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Where values of the table are not those of the spikes, ``(n,)`` booleans; NaN is equal to NaN."""
    if found.dtype.kind not in "iuf":
        return np.ones(len(found), dtype=bool)
    if found.dtype.kind == "f":
        with np.errstate(over="ignore"):
            expected = expected.astype(found.dtype)
        return (found != expected) & ~(np.isnan(found) & np.isnan(expected))
    return found != expected


def _refuse(table: Dataset, other: Dataset, row: int, reason: str) -> NoReturn:
    raise DatasetInconsistentError(
        f"'{table.path}' does not repeat the spikes of some clusters, as it must beside '{other.path}': from row {row} "
        f"on they differ; {reason}. {_WAY_OUT}"
    )
