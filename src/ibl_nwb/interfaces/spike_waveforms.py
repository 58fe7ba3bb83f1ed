"""Waveforms of units in the raw voltage: the medians of the snippets that IBL cuts out around spikes."""

from __future__ import annotations

import numpy as np
from hdmf.common import DynamicTable, VectorData
from neuroconv import BaseDataInterface
from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile

from ..errors import DatasetInconsistentError
from ..session import load_array
from .base import STUB_LENGTH, ALFDataset
from .sorting_family import CHANNEL_DATASETS, SortingExtraFamily, electrodes_columns
from .waveform_files import TROUGH_SAMPLE, electrodes_of, read_waveform_table


class SpikeWaveformsInterface(SortingExtraFamily, BaseDataInterface):
    """The median waveform of every unit of one sorting: ``waveforms.templates``, one row for each.

    Row i is the unit with the i-th id of ``waveforms.table``, which also tells the channels. The snippets themselves,
    some gigabytes of a probe, are converted by an interface of their own.
    """

    display_name = "IBL spike waveforms"
    keywords = ("extracellular electrophysiology", "spike sorting", "waveforms", "Neuropixels")
    associated_suffixes = (".npy", ".npz", ".pqt")
    info = "Interface for the median waveforms of the units of one probe of an IBL session."

    family = "SpikeWaveforms"
    datasets = (
        ALFDataset("templates", ("waveforms.templates.npy",), required=True),
        ALFDataset("table", ("waveforms.table.pqt",), required=True, support=True),
        ALFDataset("channels", ("waveforms.channels.npz",), required=True, support=True),
        *SortingExtraFamily.SPIKES,
        *CHANNEL_DATASETS,
    )

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the median waveforms to an NWB file, as a table in the processing module "ecephys".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "SpikeWaveforms". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 units only.

        Raises
        ------
        DatasetInconsistentError
            If the files contradict one another.
        """
        texts = self._get_entry(metadata, "SpikeWaveforms")
        stop = STUB_LENGTH if stub_test else None
        (templates_dataset,), (channels_dataset,) = self.sources["templates"], self.sources["channels"]
        table = read_waveform_table(self.sources["table"][0], channels_dataset)
        templates, ids, channels = load_array(templates_dataset), table.cluster_ids, table.unit_channels
        if templates.ndim != 3 or templates.shape[:2] != channels.shape:
            raise DatasetInconsistentError(
                f"'{templates_dataset.path}' has the shape {templates.shape} for the {len(ids)} units in "
                f"'{self.sources['table'][0].path}' with {channels.shape[1]} channels, so that nothing tells whose its "
                f"waveforms are. Leave them out with --exclude {self.family}{self.label}."
            )
        probe_name = self.instance["probe_name"]
        values = {
            "unit_name": [f"{probe_name}_{cluster_id}" for cluster_id in ids[:stop].tolist()],
            "cluster_id": ids[:stop],
            "waveform_median": templates[:stop],
            "channels": channels[:stop],
        }
        described = texts["columns"]
        columns = [VectorData(name=name, description=described[name], data=data) for name, data in values.items()]
        electrode_rows = self._electrode_rows(nwbfile, metadata)
        if electrode_rows is not None:
            rows = electrodes_of(np.asarray(values["channels"]), electrode_rows, channels_dataset)
            columns += electrodes_columns(nwbfile, rows, described["electrodes"])
        sampling = f"Sampled at {self.sampling_rate_hz:.12g} Hz, the spike at sample {TROUGH_SAMPLE}."
        source = self._source_comment("templates", "table", "channels")
        description = f"{texts['description']} {sampling} {source}."
        get_module(nwbfile, name="ecephys", description="processed ecephys data").add(
            DynamicTable(name=texts["name"], description=description, columns=columns)
        )
