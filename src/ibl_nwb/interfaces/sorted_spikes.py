"""Sorted spikes: the units of one probe, with their spikes, waveforms, attributes and quality metrics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from neuroconv.datainterfaces.ecephys.basesortingextractorinterface import BaseSortingExtractorInterface
from neuroconv.utils import DeepDict
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile

from ..errors import DatasetInconsistentError
from .base import STUB_LENGTH, ALFDataset, load_metadata_file
from .clusters import ClusterColumn, is_pickled, read_clusters, read_waveforms
from .electrodes import probe_metadata
from .passing_spikes import find_passing_clusters, unshared_columns
from .sorting_family import CHANNEL_DATASETS, SortingFamily
from .spike_column import OrderedAttribute, SpikeColumn
from .spike_trains import ALFSorting, SpikeIndex, Spikes
from .units_table import UnitColumn, add_units

#: Units that ``stub_test`` keeps: a tenth of them, but no fewer than this.
STUB_UNITS = 10

#: Attributes of spikes, and the columns that those besides times and clusters become.
_SPIKE_ATTRIBUTES = ("times", "clusters", "amps", "depths", "samples", "templates")
_SPIKE_COLUMNS = {
    "amps": "spike_amplitudes",
    "depths": "spike_depths",
    "samples": "spike_samples",
    "templates": "spike_templates",
}

#: Columns that are made here, whatever attributes the clusters have.
_OWN_COLUMNS = (
    *("unit_name", "cluster_id", "probe_name", "sorting_path", "electrodes"),
    *("in_passing_spikes", "waveform_mean", "waveform_channels", "spike_times", *_SPIKE_COLUMNS.values()),
)


class SortedSpikesInterface(SortingFamily, BaseSortingExtractorInterface):
    """The sorted spikes of one probe, in the one ``units`` table of the file.

    Every cluster becomes a unit: all rows of ALF ``clusters`` and whatever other ids occur in ``spikes.clusters``. Ids
    may have gaps, and metrics may be in another order or lack clusters; everything is joined by id. Spike times are
    ALF's own seconds on the session clock, exactly as stored, even when a recording is registered.

    A further probe extends the table. So does a probe after another sorting interface; the other way round NeuroConv
    refuses, since it knows no value that its rows could have in the integer columns of ours.

    Revisions of a sorting are different sortings whose cluster ids do not correspond. Hence all files are of the same
    one: the newest that holds both spike times and clusters.
    """

    display_name = "IBL sorted spikes"
    keywords = ("extracellular electrophysiology", "spike sorting", "Neuropixels", "Kilosort")
    associated_suffixes = (".npy", ".pqt", ".csv")
    info = "Interface for the sorted spikes of one probe of an IBL session."

    family = "SortedSpikes"
    datasets = (
        ALFDataset("times", ("spikes.times.npy",), required=True),
        ALFDataset("clusters", ("spikes.clusters.npy",), required=True),
        ALFDataset("amps", ("spikes.amps.npy",)),
        ALFDataset("depths", ("spikes.depths.npy",)),
        ALFDataset("samples", ("spikes.samples.npy",)),
        ALFDataset("templates", ("spikes.templates.npy",)),
        ALFDataset("cluster_attributes", ("clusters.*.npy",)),
        ALFDataset("cluster_uuids", ("clusters.uuids.csv",)),
        ALFDataset("metrics", ("clusters.metrics.pqt", "clusters.metrics.csv")),
        ALFDataset("passing_spikes", ("passingSpikes.table.pqt",)),
        ALFDataset("waveforms", ("clusters.waveforms.npy", "templates.waveforms.npy")),
        ALFDataset("waveform_channels", ("clusters.waveformsChannels.npy", "templates.waveformsChannels.npy")),
        *CHANNEL_DATASETS,
    )

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        probe_name: str,
        collection: str | None = None,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open the sorting of a probe.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        probe_name : str
            ALF name of the probe, e.g. "probe00".
        collection : str, optional
            Collection of the sorting, e.g. "alf/probe00/pykilosort". Default: that of iblsorter, else of pykilosort,
            else of Kilosort, else the one outside any sorter's folder.
        revision : str, optional
            Revision of the sorting. Default: the newest; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, probe_name=probe_name, collection=collection)
        self._leave_out_pickled()
        self._clusters = read_clusters(*(self.sources[k] for k in ("cluster_attributes", "cluster_uuids", "metrics")))
        spike_datasets = {attribute: d for attribute in _SPIKE_ATTRIBUTES for d in self.sources[attribute]}
        self._spikes = Spikes(spike_datasets, self._clusters.listed_ids)
        super().__init__(
            verbose=verbose,
            session_path=session_path,
            probe_name=probe_name,
            collection=collection,
            revision=revision,
        )

    @classmethod
    def get_extractor_class(cls) -> type[ALFSorting]:
        """SpikeInterface's view of an IBL sorting."""
        return ALFSorting

    def get_metadata(self) -> DeepDict:
        """Metadata with descriptions of the table and its columns in the block "Units", and with the probe."""
        metadata = super().get_metadata()
        if self.sources["raw_channels"]:
            metadata.deep_update(probe_metadata(self.session, self.instance["probe_name"]))
        return metadata

    def add_to_nwbfile(
        self,
        nwbfile: NWBFile,
        metadata: dict | None = None,
        *,
        stub_test: bool = False,
        silent_clusters: Literal["keep", "drop"] = "keep",
        write_waveforms: bool = True,
        write_spike_samples: bool = False,
        write_spike_templates: bool = False,
        write_in_passing_spikes: bool = True,
    ) -> None:
        """
        Add the units to the table "units" of an NWB file, and the electrodes of the probe if they are not there.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Descriptions of the table and its columns in the block "Units", the probe in the blocks of NeuroConv.
            Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first tenth of the units (10 at least), and the first 100 spikes of each.
        silent_clusters : {"keep", "drop"}, default: "keep"
            Whether clusters without spikes become units.
        write_waveforms : bool, default: True
            Write the sorter's waveforms ("waveform_mean") and the channels they belong to ("waveform_channels").
        write_spike_samples : bool, default: False
            Write the sample of the AP band at which each spike is, as a ragged column.
        write_spike_templates : bool, default: False
            Write the sorter's template of each spike, as a ragged column.
        write_in_passing_spikes : bool, default: True
            Check that ``passingSpikes.table`` repeats the spikes of some units, and write which ones
            ("in_passing_spikes").

        Raises
        ------
        DatasetInconsistentError
            If the files contradict one another or hold no unit.
        UsageError
            If the units table of the file cannot take these units.
        """
        self._spikes.check()
        index = self._select_units(silent_clusters, stub_test)
        wanted = {"samples": write_spike_samples, "templates": write_spike_templates}
        spike_attributes = [a for a in _SPIKE_COLUMNS if self.sources[a] and wanted.get(a, True)]
        self._note_left_out([a for a in wanted if self.sources[a] and a not in spike_attributes])
        self._note_passing_spikes(write_in_passing_spikes)
        electrode_rows = self._electrode_rows(nwbfile, metadata)
        texts = self._units_texts(metadata)
        columns = [
            *self._identity_columns(index.cluster_ids),
            *self._electrode_columns(index.cluster_ids, electrode_rows),
            *(UnitColumn(name, column.of(index.cluster_ids)) for name, column in self._cluster_columns.items()),
            *(self._passing_column(index.cluster_ids) if write_in_passing_spikes else ()),
            *(self._waveform_columns(index.cluster_ids, electrode_rows) if write_waveforms else ()),
            self._spike_times(index),
            *(self._spike_column(attribute, index) for attribute in spike_attributes),
        ]
        add_units(
            nwbfile,
            columns,
            description=texts["description"],
            column_descriptions=texts["columns"],
            resolution_s=1 / self.sampling_rate_hz,
            waveform_rate_hz=self.sampling_rate_hz,
        )

    def _initialize_extractor(self, interface_kwargs: dict) -> ALFSorting:
        sorting = ALFSorting(self._spikes, self.sampling_rate_hz)
        sorting.set_property("unit_name", self._unit_names(self._spikes.cluster_ids).astype(str))
        return sorting

    def _leave_out_pickled(self) -> None:
        pickled = [dataset for dataset in self.sources["cluster_attributes"] if is_pickled(dataset)]
        self.sources["cluster_attributes"] = [d for d in self.sources["cluster_attributes"] if d not in pickled]
        self.notes += [f"{d.relative_path} left out: reading pickled objects could run any code." for d in pickled]

    def _note_left_out(self, attributes: list[str]) -> None:
        self._note([f"spikes.{a} left out: the option write_spike_{a} is off." for a in attributes])

    def _note_passing_spikes(self, is_written: bool) -> None:
        for table in self.sources["passing_spikes"]:
            if not is_written:
                self._note([f"{table.relative_path} left out: the option write_in_passing_spikes is off."])
            elif columns := unshared_columns(table, self._spikes):
                self._note([f"{table.relative_path} without {', '.join(columns)}: spikes have no such attribute here."])

    def _note(self, notes: list[str]) -> None:
        self.notes += [note for note in notes if note not in self.notes]

    def _select_units(self, silent_clusters: str, stub_test: bool) -> SpikeIndex:
        index = self._spikes.index
        if silent_clusters == "drop":
            index = index.without_silent()
        if stub_test:
            index = index.head(max(STUB_UNITS, len(index.cluster_ids) // 10), STUB_LENGTH)
        if not len(index.cluster_ids):
            raise DatasetInconsistentError(
                f"The sorting in '{self.session.path / self._sorting_path}' has no unit to convert. Leave it out with "
                f"--exclude {self.family}{self.label}."
            )
        return index

    def _identity_columns(self, cluster_ids: np.ndarray) -> Iterator[UnitColumn]:
        """What tells a unit from all others; ids in the type of ``spikes.clusters``."""
        id_type = self._spikes.load("clusters").dtype
        fits = cluster_ids[-1] <= np.iinfo(id_type).max
        yield UnitColumn("unit_name", self._unit_names(cluster_ids))
        yield UnitColumn("cluster_id", cluster_ids.astype(id_type if fits else np.int64))
        yield UnitColumn("probe_name", np.full(len(cluster_ids), self.instance["probe_name"], dtype=object))
        yield UnitColumn("sorting_path", np.full(len(cluster_ids), self._sorting_path, dtype=object))

    def _electrode_columns(self, cluster_ids: np.ndarray, electrode_rows: np.ndarray | None) -> Iterator[UnitColumn]:
        channels = self._clusters.attributes.get("channels")
        if electrode_rows is not None and channels is not None:
            rows = channels.replaced_by(electrode_rows).of(cluster_ids)
            yield UnitColumn("electrodes", rows[rows >= 0], np.cumsum(rows >= 0), is_region=True)

    def _passing_column(self, cluster_ids: np.ndarray) -> Iterator[UnitColumn]:
        """Whether the spikes of each unit are in ``passingSpikes.table``, which repeats those of good units."""
        for table in self.sources["passing_spikes"]:
            passing = find_passing_clusters(table, self._spikes)
            yield UnitColumn("in_passing_spikes", np.isin(cluster_ids, passing))

    def _waveform_columns(self, cluster_ids: np.ndarray, electrode_rows: np.ndarray | None) -> Iterator[UnitColumn]:
        """Waveforms as stored, and the electrodes of their last axis: as many for every unit that has a waveform."""
        if self._waveforms is None:
            return
        waveforms, channels = self._waveforms
        yield UnitColumn("waveform_mean", waveforms.of(cluster_ids))
        if electrode_rows is not None and channels is not None:
            rows = channels.replaced_by(electrode_rows).of(cluster_ids)
            has_waveform = rows[:, 0] >= 0
            yield UnitColumn(
                "waveform_channels", rows[has_waveform].ravel(), np.cumsum(has_waveform * rows.shape[1]), is_region=True
            )

    def _spike_times(self, index: SpikeIndex) -> UnitColumn:
        segment = self.sorting_extractor.segments[0]
        shift_s = (segment._t_start or 0.0) - (segment._native_t_start or 0.0)  # set_aligned_starting_time
        times = OrderedAttribute(self._spikes.datasets["times"], index.order, dtype=np.float64, offset=shift_s)
        return UnitColumn("spike_times", SpikeColumn.of(times), index.stops)

    def _spike_column(self, attribute: str, index: SpikeIndex) -> UnitColumn:
        values = OrderedAttribute(self._spikes.datasets[attribute], index.order)
        return UnitColumn(_SPIKE_COLUMNS[attribute], SpikeColumn.of(values), index.stops)

    def _unit_names(self, cluster_ids: np.ndarray) -> np.ndarray:
        return np.char.add(f"{self.instance['probe_name']}_", cluster_ids.astype(str)).astype(object)

    @property
    def _sorting_path(self) -> str:
        return str(PurePosixPath(self.sources["times"][0].relative_path).parent)

    @cached_property
    def _cluster_columns(self) -> dict[str, ClusterColumn]:
        """Attributes and metrics by column name, without what becomes one of our own columns."""
        own = ["waveforms"]
        if self.sources["raw_channels"]:
            own += ["channels", *(["waveformsChannels"] if self._waveforms else [])]
        return self._clusters.named(taken=_OWN_COLUMNS, without=own)

    @cached_property
    def _waveforms(self) -> tuple[ClusterColumn, ClusterColumn | None] | None:
        """Waveforms and their channels; those of templates only where templates and clusters are the same."""
        found = [dataset for key in ("waveforms", "waveform_channels") for dataset in self.sources[key]]
        if not self.sources["waveforms"]:
            return None
        if found[0].object == "templates" and not self._spikes.is_uncurated():
            self.notes.append(f"{found[0].relative_path} left out: clusters were curated, templates are not theirs.")
            return None
        return read_waveforms(found)

    def _default_metadata(self) -> dict[str, Any]:
        texts = load_metadata_file(self.family)
        own = {name: texts["columns"][name] for name in self._own_columns()}
        described = {
            name: texts["columns"].get(name, texts["undescribed"].format(source=column.source))
            for name, column in self._cluster_columns.items()
        }
        return {"Units": {"description": texts["description"], "columns": {**own, **described}}}

    def _own_columns(self) -> Iterator[str]:
        """Names of the columns that this instance can write besides attributes and metrics."""
        yield from ("unit_name", "cluster_id", "probe_name", "sorting_path", "spike_times")
        yield from (name for attribute, name in _SPIKE_COLUMNS.items() if self.sources[attribute])
        if self.sources["passing_spikes"]:
            yield "in_passing_spikes"
        has_electrodes = bool(self.sources["raw_channels"])
        if has_electrodes and "channels" in self._clusters.attributes:
            yield "electrodes"
        if self._waveforms:
            yield "waveform_mean"
            if has_electrodes and self._waveforms[1]:
                yield "waveform_channels"

    def _units_texts(self, metadata: dict | None) -> dict[str, Any]:
        """Descriptions of the table and its columns: what the caller gave, on top of the defaults."""
        defaults, given = self._default_metadata()["Units"], (metadata or {}).get("Units", {})
        return {**defaults, **given, "columns": {**defaults["columns"], **given.get("columns", {})}}
