"""What is known of each cluster of a sorting, by id: attributes of ALF ``clusters`` and columns of its metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pynwb.misc import Units

from ..errors import DatasetInconsistentError
from ..session import Dataset, check_equal_lengths, load_array, load_table
from .base import snake_case
from .units_table import take_rows

#: Attributes whose column is called otherwise than the naming rule says.
_COLUMN_NAMES = {"uuids": "cluster_uuid"}


@dataclass(frozen=True)
class ClusterColumn:
    """One attribute of clusters.

    Attributes
    ----------
    source : str
        What it is in ALF, e.g. "clusters.peakToTrough".
    cluster_ids : numpy.ndarray
        ``(n,)`` integers: the cluster of each row, none twice.
    values : numpy.ndarray
        ``(n, ...)`` as stored; text as objects.
    """

    source: str
    cluster_ids: np.ndarray
    values: np.ndarray

    def of(self, cluster_ids: np.ndarray) -> np.ndarray:
        """Values of given clusters, without a value (see :mod:`.units_table`) for those that have no row."""
        by_id = np.argsort(self.cluster_ids)
        positions = np.searchsorted(self.cluster_ids, cluster_ids, sorter=by_id)
        found = positions < len(by_id)
        rows = np.full(len(cluster_ids), -1)
        rows[found] = by_id[positions[found]]
        rows[found] = np.where(self.cluster_ids[rows[found]] == cluster_ids[found], rows[found], -1)
        return take_rows(self.values, rows)

    def replaced_by(self, rows: np.ndarray) -> ClusterColumn:
        """The column with channels, rows of ALF ``channels``, replaced by what ``rows`` has for them.

        Parameters
        ----------
        rows : numpy.ndarray
            ``(n_channels,)`` int64.

        Raises
        ------
        DatasetInconsistentError
            If a value is no channel.
        """
        if self.values.dtype.kind not in "iu":
            raise DatasetInconsistentError(f"{self.source} holds {self.values.dtype} values; channels are integers.")
        if self.values.size and not 0 <= self.values.min() <= self.values.max() < len(rows):
            raise DatasetInconsistentError(
                f"{self.source} refers to channels {self.values.min()} to {self.values.max()}, but there are the "
                f"{len(rows)} channels of channels.rawInd, counted from 0. Get files of one sorting."
            )
        return ClusterColumn(self.source, self.cluster_ids, rows[self.values])


@dataclass(frozen=True)
class Clusters:
    """The ALF object ``clusters`` of one sorting.

    Attributes
    ----------
    attributes : dict of str to ClusterColumn
        Attributes of which row i is cluster i, by ALF name; ``uuids`` among them.
    metrics : dict of str to ClusterColumn
        Columns of the metrics table by name, without ``cluster_id``.
    """

    attributes: dict[str, ClusterColumn]
    metrics: dict[str, ClusterColumn]

    @property
    def listed_ids(self) -> np.ndarray:
        """Ids that exist whether or not they have spikes: all rows of the attributes, else those of the metrics."""
        for columns in (self.attributes, self.metrics):
            if columns:
                return next(iter(columns.values())).cluster_ids
        return np.zeros(0, dtype=np.int64)

    def named(self, taken: Iterable[str], without: Iterable[str] = ()) -> dict[str, ClusterColumn]:
        """Columns by their name in the units table: snake case; a metric whose name is taken is called ``metrics_...``.

        Parameters
        ----------
        taken : iterable of str
            Names that are in use.
        without : iterable of str
            ALF attributes to leave out.
        """
        named = {
            _COLUMN_NAMES.get(attribute, _free_name(attribute, taken, "clusters")): column
            for attribute, column in self.attributes.items()
            if attribute not in set(without)
        }
        for name, column in self.metrics.items():
            named[_free_name(name, {*taken, *named}, "metrics")] = column
        return named


def read_clusters(attributes: list[Dataset], uuids: list[Dataset], metrics: list[Dataset]) -> Clusters:
    """Read what is known of the clusters.

    Parameters
    ----------
    attributes : list of Dataset
        npy files with one row per cluster.
    uuids : list of Dataset
        The csv file of UUIDs, or nothing.
    metrics : list of Dataset
        The table of metrics, or nothing. It is joined by its ``cluster_id``; only without that column by row, and then
        it must have as many rows as the attributes.

    Raises
    ------
    DatasetInconsistentError
        If attributes have different lengths, or the metrics name a cluster twice or one that does not exist, or cannot
        be joined.
    DatasetUnreadableError
        If a file is damaged.
    """
    values = {_attribute(dataset): _tidy(load_array(dataset, memory_map=True)) for dataset in attributes}
    for dataset in uuids:
        values["uuids"] = _tidy(load_table(dataset).iloc[:, 0].to_numpy())
    sources = dict(zip(values, [*attributes, *uuids], strict=True))
    check_equal_lengths("clusters", {sources[name].relative_path: len(values[name]) for name in values})
    ids = np.arange(len(next(iter(values.values()))) if values else 0)
    columns = {name: ClusterColumn(f"clusters.{name}", ids, values[name]) for name in values}
    return Clusters(columns, _read_metrics(metrics[0], ids if values else None) if metrics else {})


def read_waveforms(datasets: list[Dataset]) -> tuple[ClusterColumn, ClusterColumn | None]:
    """Map waveforms, and the channels they belong to, into memory.

    Parameters
    ----------
    datasets : list of Dataset
        The waveforms, ``(n, n_samples, n_kept)``, and the channels, ``(n, n_kept)``, if there are any. Channels of
        another object than the waveforms' do not count.

    Raises
    ------
    DatasetInconsistentError
        If the shapes are not those.
    """
    columns = []
    for dataset in datasets:
        values = load_array(dataset, memory_map=True)
        columns.append(ClusterColumn(f"'{dataset.path}'", np.arange(len(values)), values))
    has_channels = len(datasets) > 1 and datasets[0].object == datasets[1].object
    waveforms, channels = columns[0], columns[1] if has_channels else None
    shape = waveforms.values.shape
    if len(shape) != 3 or (channels is not None and channels.values.shape != (shape[0], shape[2])):
        found = " and ".join(f"{column.source} {column.values.shape}" for column in columns)
        raise DatasetInconsistentError(
            f"The shapes of {found} do not fit: (clusters, samples, channels) and (clusters, channels) were expected."
        )
    return waveforms, channels


def is_pickled(dataset: Dataset) -> bool:
    """Whether an npy file holds Python objects, as its header tells."""
    with dataset.path.open("rb") as file:
        return re.search(rb"'descr': '\|O'", file.read(256)) is not None


def _read_metrics(dataset: Dataset, listed_ids: np.ndarray | None) -> dict[str, ClusterColumn]:
    table = load_table(dataset)
    if table.index.name == "cluster_id":
        table = table.reset_index()
    if "cluster_id" in table.columns:
        ids = _check_ids(table["cluster_id"].to_numpy(), listed_ids, dataset)
    elif listed_ids is not None and len(table) == len(listed_ids):
        ids = listed_ids
    else:
        raise DatasetInconsistentError(
            f"The {len(table)} rows of '{dataset.path}' cannot be joined to the "
            f"{0 if listed_ids is None else len(listed_ids)} clusters without a column 'cluster_id'. Add it, or remove "
            "the file."
        )
    return {
        str(name): ClusterColumn(f"clusters.metrics, column {name}", ids, _column_values(table[name]))
        for name in table.columns
        if name != "cluster_id" and not str(name).startswith("Unnamed:")  # the row numbers of a csv file
    }


def _check_ids(ids: np.ndarray, listed_ids: np.ndarray | None, dataset: Dataset) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a missing id is NaN, which no integer equals
        is_integer = ids.dtype.kind in "iuf" and np.array_equal(ids, ids.astype(np.int64))
    if not is_integer:
        raise DatasetInconsistentError(
            f"The column 'cluster_id' of '{dataset.path}' holds something else than integers."
        )
    ids = ids.astype(np.int64)
    unique, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise DatasetInconsistentError(
            f"'{dataset.path}' has {counts.max()} rows for cluster {unique[counts.argmax()]}; one is allowed. "
            "Get the file again."
        )
    if listed_ids is not None and len(unknown := np.setdiff1d(ids, listed_ids)):
        raise DatasetInconsistentError(
            f"'{dataset.path}' tells of {len(unknown)} clusters that do not exist, such as {unknown[0]}: there are "
            f"{len(listed_ids)}. It belongs to another sorting; get it again in the same revision, or remove it."
        )
    return ids


def _column_values(column: Any) -> np.ndarray:
    """A column of a data frame in its stored type; missing texts are empty, missing integers have no value."""
    from pandas.api import types

    if types.is_bool_dtype(column.dtype) or types.is_numeric_dtype(column.dtype):
        dtype = getattr(column.dtype, "numpy_dtype", column.dtype)  # of pandas' nullable types
        values = column.to_numpy()
        missing = column.isna().to_numpy()
        if values.dtype != dtype:
            return take_rows(column[~missing].to_numpy(dtype=dtype), np.where(missing, -1, np.cumsum(~missing) - 1))
        return values
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=object)


def _tidy(values: np.ndarray) -> np.ndarray:
    """Values of one row per cluster: ``(n, 1)`` as ``(n,)``, text as objects."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return values.astype(str).astype(object) if values.dtype.kind in "SUO" else values


def _attribute(dataset: Dataset) -> str:
    return "_".join(filter(None, (dataset.attribute, dataset.timescale)))


def _free_name(alf_name: str, taken: Iterable[str], prefix: str) -> str:
    """Snake case of an ALF name, with a prefix if that is taken or means something else on a units table."""
    name = re.sub(r"_times$", "_time", snake_case(re.sub(r"\W+", "_", alf_name.replace("dB", "db"))))
    return f"{prefix}_{name}" if name in set(taken) or hasattr(Units, name) else name
