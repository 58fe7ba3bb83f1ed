"""Drift of the brain along a probe, as the spike sorter estimated it."""

from __future__ import annotations

import numpy as np
from hdmf.common import DynamicTable, VectorData
from neuroconv import BaseDataInterface
from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile

from ..errors import DatasetInconsistentError
from ..session import check_equal_lengths, load_array
from .base import STUB_LENGTH, ALFDataset
from .sorting_family import SortingExtraFamily


class DriftInterface(SortingExtraFamily, BaseDataInterface):
    """The drift of one sorting: ALF ``drift`` and ``drift_depths``.

    The times are seconds of the probe, which IBL never maps to the session. Hence drift becomes a table, without a
    column of NWB's type for session times. The depths of the blocks are a table of their own, one row per column of the
    drift.
    """

    display_name = "IBL probe drift"
    keywords = ("extracellular electrophysiology", "spike sorting", "drift", "Neuropixels")
    associated_suffixes = (".npy",)
    info = "Interface for the drift along one probe of an IBL session."

    family = "Drift"
    datasets = (
        ALFDataset("drift", ("drift.um.npy",), required=True),
        ALFDataset("drift_times", ("drift.times.npy",), required=True),
        ALFDataset("depths", ("drift_depths.um.npy",)),
        *SortingExtraFamily.SPIKES,
    )

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the drift to an NWB file, as tables in the processing module "ecephys".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "Drift". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 batches only.

        Raises
        ------
        DatasetInconsistentError
            If there are not as many times as rows, or depths as columns.
        """
        texts = self._get_entry(metadata, "Drift")
        stop = STUB_LENGTH if stub_test else None
        (drift_dataset,), (times_dataset,) = self.sources["drift"], self.sources["drift_times"]
        drift, times = load_array(drift_dataset), load_array(times_dataset).reshape(-1)
        check_equal_lengths("drift", {drift_dataset.relative_path: len(drift), times_dataset.relative_path: len(times)})
        columns = {"time_probe": times[:stop], "drift": drift[:stop]}
        tables = [_make_table(texts["Batches"], columns, self._source_comment("drift", "drift_times"))]
        for dataset in self.sources["depths"]:
            depths = load_array(dataset).reshape(-1)
            n_blocks = 1 if drift.ndim == 1 else drift.shape[1]
            if len(depths) != n_blocks:
                raise DatasetInconsistentError(
                    f"'{dataset.path}' has {len(depths)} depths for the {n_blocks} blocks of '{drift_dataset.path}'. "
                    f"Get files of one sorting, or leave the drift out with --exclude {self.family}{self.label}."
                )
            tables.append(_make_table(texts["Blocks"], {"depth": depths}, self._source_comment("depths")))
        get_module(nwbfile, name="ecephys", description="processed ecephys data").add(tables)


def _make_table(texts: dict, columns: dict[str, np.ndarray], source: str) -> DynamicTable:
    vectors = [VectorData(name=name, description=texts["columns"][name], data=data) for name, data in columns.items()]
    return DynamicTable(name=texts["name"], description=f"{texts['description']} {source}.", columns=vectors)
