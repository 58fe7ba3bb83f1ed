"""Licks: when a camera saw the tongue move."""

from __future__ import annotations

import numpy as np
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from pynwb import NWBFile
from pynwb.event import EventsTable, TimestampVectorData

from ..errors import DatasetInconsistentError
from ..session import load_array
from .base import STUB_LENGTH, ALFDataset, AlignableTimes, CollectionInterface, check_times


class LicksInterface(CollectionInterface, AlignableTimes, BaseTemporalAlignmentInterface):
    """The licks that IBL finds in the tracked tongue: ``licks.times``.

    Times are ALF's own seconds on the session clock. They are the times of frames, of the left and the right camera
    together, in which the tongue moved, and are stored as they are: one lick gives several entries.
    """

    display_name = "IBL licks"
    keywords = ("behavior", "licks", "events")
    associated_suffixes = (".npy",)
    info = "Interface for the licks of an IBL session."

    family = "Licks"
    datasets = (ALFDataset("times", ("licks.times.npy",), required=True),)

    def get_original_timestamps(self) -> np.ndarray:
        """Times of the entries, ``(n,)`` float64 seconds on the session clock, which holds a float32 file exactly.

        Raises
        ------
        DatasetInconsistentError
            If the file does not hold one time per entry, or the times are not finite and rising.
        """
        (dataset,) = self.sources["times"]
        times = load_array(dataset)
        if times.shape[1:] not in ((), (1,)):
            raise DatasetInconsistentError(f"'{dataset.path}' has shape {times.shape}; it must be one time per entry.")
        times = times.reshape(-1).astype(np.float64)
        check_times(times, dataset)
        return times

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the licks to the events of an NWB file; where none were found, a note of the conversion says so.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "Licks". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 entries only.
        """
        entry = self._get_entry(metadata, "Licks")
        times = self.get_timestamps()[: STUB_LENGTH if stub_test else None]
        if not len(times):  # an empty table is against NWB's practice
            self.notes = [f"No licks were found: '{self.sources['times'][0].relative_path}' is empty."]
            return
        self.notes = []
        timestamp = TimestampVectorData(name="timestamp", description=entry["columns"]["timestamp"], data=times)
        description = f"{entry['description']} {self._source_comment('times')}."
        nwbfile.add_events_table(EventsTable(**{**entry, "description": description, "columns": [timestamp]}))
