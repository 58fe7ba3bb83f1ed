"""Extra rewards: water that was given outside the trials."""

from __future__ import annotations

import numpy as np
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from pynwb import NWBFile
from pynwb.event import EventsTable, TimestampVectorData

from ..session import load_array
from .base import STUB_LENGTH, ALFDataset, AlignableTimes, CollectionInterface, check_times


class ExtraRewardsInterface(CollectionInterface, AlignableTimes, BaseTemporalAlignmentInterface):
    """The rewards that came beside those of the trials: ``extraRewards.times``, as stored."""

    display_name = "IBL extra rewards"
    keywords = ("behavior", "reward", "events")
    associated_suffixes = (".npy",)
    info = "Interface for the rewards outside the trials of an IBL session."

    family = "ExtraRewards"
    datasets = (ALFDataset("times", ("extraRewards.times.npy",), required=True),)

    def get_original_timestamps(self) -> np.ndarray:
        """Times of the rewards, ``(n,)`` float64 seconds on the session clock.

        Raises
        ------
        DatasetInconsistentError
            If the times are not finite and rising.
        """
        (dataset,) = self.sources["times"]
        times = load_array(dataset).reshape(-1).astype(np.float64)
        check_times(times, dataset)
        return times

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the rewards to the events of an NWB file; where there were none, a note of the conversion says so.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "ExtraRewards". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 rewards only.
        """
        entry = self._get_entry(metadata, "ExtraRewards")
        times = self.get_timestamps()[: STUB_LENGTH if stub_test else None]
        if not len(times):  # an empty table is against NWB's practice
            self.notes = [f"'{self.sources['times'][0].relative_path}' is empty: there were no extra rewards."]
            return
        self.notes = []
        timestamp = TimestampVectorData(name="timestamp", description=entry["columns"]["timestamp"], data=times)
        description = f"{entry['description']} {self._source_comment('times')}."
        nwbfile.add_events_table(EventsTable(**{**entry, "description": description, "columns": [timestamp]}))
