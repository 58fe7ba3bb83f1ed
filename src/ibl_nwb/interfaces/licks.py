"""Licks: when a camera saw the tongue move."""

from __future__ import annotations

import numpy as np
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile
from pynwb.event import EventsTable, TimestampVectorData

from ..errors import DatasetInconsistentError
from ..session import load_array
from .base import STUB_LENGTH, ALFDataset, ALFInterface, check_times


class LicksInterface(ALFInterface, BaseTemporalAlignmentInterface):
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

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        collection: str | None = None,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open the licks of a session.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        collection : str, optional
            Collection of the dataset, e.g. "alf". Default: the first that has it.
        revision : str, optional
            Revision of the dataset. Default: the newest; "" for a file without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, collection=collection)
        super().__init__(verbose=verbose, session_path=session_path, collection=collection, revision=revision)
        self._timestamps: np.ndarray | None = None

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

    def get_timestamps(self) -> np.ndarray:
        """Times of the entries, aligned if they were set, ``(n,)`` seconds."""
        return self.get_original_timestamps() if self._timestamps is None else self._timestamps

    def set_aligned_timestamps(self, aligned_timestamps: np.ndarray) -> None:
        """Replace the times of the entries (s)."""
        self._timestamps = aligned_timestamps

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
