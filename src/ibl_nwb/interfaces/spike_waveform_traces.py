"""Snippets of raw voltage around single spikes, up to 256 for each unit of a sorting."""

from __future__ import annotations

from functools import partial

import numpy as np
from hdmf.common import DynamicTable, VectorData
from neuroconv import BaseDataInterface
from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile

from .base import STUB_LENGTH, ALFDataset, snake_case
from .row_column import RowColumn
from .sorting_family import CHANNEL_DATASETS, SortingExtraFamily, electrodes_columns
from .waveform_files import TROUGH_SAMPLE, electrodes_of, map_snippets, read_waveform_table

#: Columns of ``waveforms.table`` that are called otherwise than the naming rule says.
_COLUMN_NAMES = {"cluster": "cluster_id", "index": "snippet_index"}


class SpikeWaveformTracesInterface(SortingExtraFamily, BaseDataInterface):
    """The snippets of one sorting: ``waveforms.traces``, one row for each, in the order and type that they have there.

    Rows that pad a unit with fewer spikes are kept, as in ``waveforms.table``. The snippets are read while they are
    written, some megabytes at a time.

    A whole conversion does without them: they are 1 to 3 GB of each probe, more than all else that is not raw, their
    medians are converted, and they can be cut out of the raw recording again.
    """

    display_name = "IBL spike waveform snippets"
    keywords = ("extracellular electrophysiology", "spike sorting", "waveforms", "Neuropixels")
    associated_suffixes = (".npy", ".npz", ".pqt")
    info = "Interface for snippets of raw voltage around the spikes of one probe of an IBL session."

    family = "SpikeWaveformTraces"
    by_default = False  # see the class
    datasets = (
        ALFDataset("traces", ("waveforms.traces.npy",), required=True),
        ALFDataset("table", ("waveforms.table.pqt",), required=True),
        ALFDataset("channels", ("waveforms.channels.npz",), required=True),
        *SortingExtraFamily.SPIKES,
        *CHANNEL_DATASETS,
    )

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the snippets to an NWB file, as a table in the processing module "ecephys".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "SpikeWaveformTraces". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 snippets only.

        Raises
        ------
        DatasetInconsistentError
            If the files contradict one another.
        """
        texts = self._get_entry(metadata, "SpikeWaveformTraces")
        stop = STUB_LENGTH if stub_test else None
        (channels_dataset,) = self.sources["channels"]
        table = read_waveform_table(self.sources["table"][0], channels_dataset)
        open_traces = partial(map_snippets, self.sources["traces"][0], *table.channels.shape)
        values: dict[str, np.ndarray | RowColumn] = {
            _COLUMN_NAMES.get(name, snake_case(name)): column[:stop] for name, column in table.columns.items()
        }
        values["channels"] = table.channels[:stop]
        values["waveform"] = RowColumn(open_traces, stop) if len(table.channels) else np.array(open_traces())
        described, undescribed = texts["columns"], texts["undescribed"]
        columns = [
            VectorData(name=name, description=described.get(name, undescribed), data=data)
            for name, data in values.items()
        ]
        electrode_rows = self._electrode_rows(nwbfile, metadata)
        if electrode_rows is not None:
            rows = electrodes_of(table.channels[:stop], electrode_rows, channels_dataset)
            columns += electrodes_columns(nwbfile, rows, described["electrodes"])
        sampling = f"Sampled at {self.sampling_rate_hz:.12g} Hz, the spike at sample {TROUGH_SAMPLE}."
        source = self._source_comment("traces", "table", "channels")
        description = f"{texts['description']} {sampling} {source}."
        get_module(nwbfile, name="ecephys", description="processed ecephys data").add(
            DynamicTable(name=texts["name"], description=description, columns=columns)
        )
