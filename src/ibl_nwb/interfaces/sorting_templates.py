"""Templates of a spike sorting: what the sorter took spikes for, whatever a curator made of the clusters."""

from __future__ import annotations

import numpy as np
from hdmf.common import DynamicTable, VectorData
from neuroconv import BaseDataInterface
from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile

from ..session import check_equal_lengths, load_array
from .base import STUB_LENGTH, ALFDataset
from .clusters import read_waveforms
from .sorting_family import CHANNEL_DATASETS, SortingExtraFamily, electrodes_columns


class SortingTemplatesInterface(SortingExtraFamily, BaseDataInterface):
    """The templates of one sorting of one probe: ALF ``templates``, one row for each.

    ``spikes.templates`` counts these rows. Without curation clusters and templates are the same thing, and then the
    units have the same waveforms; after it they are not.
    """

    display_name = "IBL spike sorting templates"
    keywords = ("extracellular electrophysiology", "spike sorting", "waveforms", "Neuropixels")
    associated_suffixes = (".npy",)
    info = "Interface for the templates of the spike sorting of one probe of an IBL session."

    family = "SortingTemplates"
    datasets = (
        ALFDataset("waveforms", ("templates.waveforms.npy",), required=True),
        ALFDataset("waveform_channels", ("templates.waveformsChannels.npy",)),
        ALFDataset("amps", ("templates.amps.npy",)),
        *SortingExtraFamily.SPIKES,
        *CHANNEL_DATASETS,
    )

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the templates to an NWB file, as a table in the processing module "ecephys".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "SortingTemplates". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 templates only.

        Raises
        ------
        DatasetInconsistentError
            If the files have different numbers of templates, or name channels that do not exist.
        """
        texts = self._get_entry(metadata, "SortingTemplates")
        stop = STUB_LENGTH if stub_test else None
        waveforms, channels = read_waveforms([*self.sources["waveforms"], *self.sources["waveform_channels"]])
        values: dict[str, np.ndarray] = {"waveform": waveforms.values}
        if channels is not None:
            values["channels"] = channels.values
        for dataset in self.sources["amps"]:
            values["amplitude"] = load_array(dataset).reshape(-1)
        check_equal_lengths("templates", {name: len(column) for name, column in values.items()})
        described = texts["columns"]
        columns = [
            VectorData(name=name, description=described[name], data=np.array(column[:stop]))
            for name, column in values.items()
        ]
        electrode_rows = self._electrode_rows(nwbfile, metadata)
        if channels is not None and electrode_rows is not None:
            rows = channels.replaced_by(electrode_rows).values[:stop]
            columns += electrodes_columns(nwbfile, rows, described["electrodes"])
        source = self._source_comment("waveforms", "waveform_channels", "amps")
        rate = f"Sampled at {self.sampling_rate_hz:.12g} Hz."
        description = f"{texts['description']} {rate} {source}."
        table = DynamicTable(name=texts["name"], description=description, columns=columns)
        get_module(nwbfile, name="ecephys", description="processed ecephys data").add(table)
