"""One sorting read from its files: which clusters there are, which spikes they have, and what is known of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .source_folder import SourceFile, SourceFolder, is_pickled, load_array, load_rows, load_table

#: Sorters by preference; the last two are files outside a sorter's folder and any other sorter.
_SORTERS = ("/iblsorter", "/pykilosort", "/kilosort*", "", "/*")
_REQUIRED = ("spikes.times.npy", "spikes.clusters.npy")
_METRICS = ("clusters.metrics.pqt", "clusters.metrics.csv")


@dataclass(frozen=True)
class ClusterValues:
    """One attribute of clusters, with the cluster of each row."""

    dataset: str
    cluster_ids: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Sorting:
    """Files of one sorting of one probe, all of one revision.

    Attributes
    ----------
    probe_name, collection, revision : str
        Which sorting.
    folder : SourceFolder
        The session.
    """

    probe_name: str
    collection: str
    revision: str
    folder: SourceFolder

    def file(self, *names: str) -> SourceFile | None:
        """The first of several files that the sorting has."""
        return self.folder.first(names, self.collection, exactly=self.revision)

    @property
    def path(self) -> str:
        """Folder of the files below the session folder."""
        return f"{self.collection}/#{self.revision}#" if self.revision else self.collection

    @cached_property
    def clusters(self) -> np.ndarray:
        """Cluster of every spike, as stored."""
        file = self.file("spikes.clusters.npy")
        assert file is not None  # it is what makes a sorting
        return load_rows(file)

    @cached_property
    def cluster_ids(self) -> np.ndarray:
        """All clusters, ascending: rows of the attributes (else of the metrics), and whatever else has spikes."""
        listed = next((c.cluster_ids for c in (*self.attributes.values(), *self.metrics.values())), np.zeros(0, int))
        return np.union1d(listed, list(self._spike_counts)).astype(np.int64)

    @cached_property
    def order(self) -> np.ndarray:
        """Spikes cluster by cluster, in the order of the file within each."""
        return np.argsort(self.clusters, kind="stable")

    def counts(self, cluster_ids: np.ndarray) -> np.ndarray:
        """Number of spikes of given clusters."""
        return np.array([self._spike_counts.get(i, 0) for i in cluster_ids.tolist()], dtype=np.int64)

    @cached_property
    def _spike_counts(self) -> dict[int, int]:
        found, counts = np.unique(self.clusters, return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))

    @cached_property
    def attributes(self) -> dict[str, ClusterValues]:
        """Attributes of ``clusters`` by ALF name, UUIDs among them; row i is cluster i."""
        read = {}
        for file in self.folder.find("clusters.*.npy", self.collection, exactly=self.revision):
            if not is_pickled(file):
                values = load_rows(file)
                name = file.name.removeprefix("clusters.").removesuffix(".npy")
                read[name] = ClusterValues(file.relative_path, np.arange(len(values)), _texts(values))
        uuids = self.file("clusters.uuids.csv")
        if uuids is not None:
            texts = load_table(uuids).iloc[:, 0].to_numpy()
            read["uuids"] = ClusterValues(uuids.relative_path, np.arange(len(texts)), _texts(texts))
        return read

    @property
    def pickled(self) -> Iterator[SourceFile]:
        """Attributes that are not converted because they hold Python objects."""
        return filter(is_pickled, self.folder.find("clusters.*.npy", self.collection, exactly=self.revision))

    @cached_property
    def metrics(self) -> dict[str, ClusterValues]:
        """Columns of the metrics by name, joined by ``cluster_id``, or by row without that column."""
        file = self.file(*_METRICS)
        if file is None:
            return {}
        table = load_table(file)
        if table.index.name == "cluster_id":
            table = table.reset_index()
        ids = table["cluster_id"].to_numpy().astype(np.int64) if "cluster_id" in table else np.arange(len(table))
        return {
            str(name): ClusterValues(f"{file.relative_path}:{name}", ids, _column(table[name]))
            for name in table.columns
            if name != "cluster_id" and not str(name).startswith("Unnamed:")
        }

    @cached_property
    def raw_channels(self) -> np.ndarray | None:
        """Column of the raw file of each sorted channel, None if that is not known."""
        file = self.file("channels.rawInd.npy")
        return None if file is None else load_array(file).ravel()

    @cached_property
    def is_curated(self) -> bool:
        """Whether clusters are not the sorter's templates, or that is not known."""
        file = self.file("spikes.templates.npy")
        return file is None or not np.array_equal(load_rows(file), self.clusters)


def find_sortings(folder: SourceFolder, collections: dict[str, str]) -> Iterator[Sorting]:
    """The sorting of every probe that has one.

    Parameters
    ----------
    folder : SourceFolder
        The session.
    collections : dict of str to str
        Collection of the sorting by probe, where that is known. Otherwise it is that of the preferred sorter.
    """
    holding = {file.collection for file in folder.files if file.name in _REQUIRED}
    probes = {named[1] for collection in holding if (named := re.match(r"alf/(probe[^/.]*)", collection))}
    for probe_name in sorted(probes):
        known = collections.get(probe_name)
        patterns = [known] if known else [f"alf/{probe_name}{sorter}" for sorter in _SORTERS]
        complete = (
            Sorting(probe_name, collection, revision, folder)
            for collection in folder.collections(_REQUIRED, patterns)
            for revision in folder.revisions(collection)
        )
        sorting = next((s for s in complete if all(s.file(name) for name in _REQUIRED)), None)
        if sorting is not None:
            yield sorting


def _texts(values: np.ndarray) -> np.ndarray:
    """Texts as objects, numbers as they are."""
    return values.astype(str).astype(object) if values.dtype.kind in "SUOT" else values


def _column(column: Any) -> np.ndarray:
    """Values of a column of a data frame; what is missing is an empty text, or no value of an integer."""
    dtype = getattr(column.dtype, "numpy_dtype", column.dtype)  # of pandas' nullable types
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        texts = ["" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]
        return np.array(texts, dtype=object)
    if column.isna().any() and dtype.kind in "biu":
        column = column.fillna({"b": False, "i": -1, "u": np.iinfo(dtype).max if dtype.kind == "u" else 0}[dtype.kind])
    return column.to_numpy(dtype=dtype)
