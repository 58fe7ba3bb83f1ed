"""Audio: the spectrogram of the microphone and the go cues detected in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile
from pynwb.core import DynamicTable, VectorData
from pynwb.event import EventsTable, TimestampVectorData

from ..errors import DatasetInconsistentError
from ..session import check_equal_lengths, load_array
from .base import STUB_LENGTH, ALFDataset, AlignableTimes, CollectionInterface, check_times

#: Datasets with one row per window of the spectrogram.
_ROW_DATASETS = ("power", "times", "times_mic")


class AudioSpectrogramInterface(CollectionInterface, AlignableTimes, BaseTemporalAlignmentInterface):
    """The spectrogram of the microphone, which most rigs keep in place of the sound itself.

    It becomes two tables in ``processing/audio``: one row per window with its times and its power over frequency, and
    the frequencies. Values and types are those of the files; power is in (sample unit)²/Hz, not volts.

    A table was chosen over the two kinds of time series that could hold it. ``DecompositionSeries`` needs a channel
    axis, band limits and a source that do not exist here, and pynwb warns when the source is missing. In either kind
    of series the NWB Inspector takes a recording with fewer windows than frequencies (less than three minutes, and
    every stub) for a transposed one. A table also has room for both clocks, so no dataset is lost.

    ``audioSpectrogram.times`` is on the session clock. It exists only where the go cues that were heard could be
    matched to the trials; otherwise the times are the microphone's own, which the name and the description of the
    table say, and no column has NWB's type for session times. The onsets of the go cues have microphone times only;
    they are an events table inside ``processing/audio`` and not in ``/events``, where readers merge all tables by time.
    """

    display_name = "IBL audio spectrogram"
    keywords = ("behavior", "audio", "spectrogram", "microphone")
    associated_suffixes = (".npy",)
    info = "Interface for the audio spectrogram of an IBL session."

    family = "AudioSpectrogram"
    datasets = (
        ALFDataset("power", ("audioSpectrogram.power.npy",), required=True),
        ALFDataset("frequencies", ("audioSpectrogram.frequencies.npy",), required=True),
        ALFDataset("times", ("audioSpectrogram.times.npy", "audioSpectrogram.times_mic.npy"), required=True),
        ALFDataset("times_mic", ("audioSpectrogram.times_mic.npy",)),
        ALFDataset("go_cue_onsets", ("audioOnsetGoCue.times_mic.npy",)),
    )
    collections = ("raw_behavior_data", "raw_task_data_*")

    def get_original_timestamps(self) -> np.ndarray:
        """Centres of the windows, ``(w,)`` float64 seconds: session clock if stored so, else the microphone's."""
        times = self._load_times("times")
        check_times(times, self.sources["times"][0])
        return times

    @property
    def is_aligned(self) -> bool:
        """Whether the times are on the session clock: stored so, or set by :meth:`set_aligned_timestamps`."""
        return self._timestamps is not None or self.sources["times"][0].timescale != "mic"

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the spectrogram and the go cue onsets to an NWB file, in the processing module "audio".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "AudioSpectrogram". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 windows and onsets only.

        Raises
        ------
        DatasetInconsistentError
            If power does not have one row per time and one column per frequency.
        """
        entry = self._get_entry(metadata, "AudioSpectrogram")
        stop = STUB_LENGTH if stub_test else None
        spectrogram = self._make_spectrogram(entry, stop)
        module = get_module(nwbfile, name="audio", description="Sound at the rig, heard by the microphone.")
        module.add(spectrogram)
        frequencies = {"frequency": self._load_frequencies()}
        source = self._source_comment("frequencies")
        module.add(_make_table(DynamicTable, entry["Frequencies"], frequencies, source))
        onsets = self._load_times("go_cue_onsets")[:stop]
        if len(onsets):  # where no go cue was heard the file is empty, and an empty table is against NWB's practice
            source = self._source_comment("go_cue_onsets")
            module.add(_make_table(EventsTable, entry["GoCueOnsets"], {"timestamp": onsets}, source))

    def _make_spectrogram(self, entry: dict[str, Any], stop: int | None) -> DynamicTable:
        """Check that the datasets fit one another and make the table of them."""
        (power_dataset,), (frequencies_dataset,) = self.sources["power"], self.sources["frequencies"]
        power, frequencies = load_array(power_dataset), self._load_frequencies()
        stored = ("power", "times_mic") if self.sources["times"] == self.sources["times_mic"] else _ROW_DATASETS
        check_equal_lengths("audioSpectrogram", self._lengths(stored))
        if power.shape[1:] != frequencies.shape:
            raise DatasetInconsistentError(
                f"'{power_dataset.path}' has shape {power.shape}, but '{frequencies_dataset.path}' holds "
                f"{len(frequencies)} frequencies. Get both files again, or leave the family out with --exclude."
            )
        timestamps = self.get_timestamps()
        columns = {"timestamp": timestamps} if self.is_aligned else {}
        if self.sources["times_mic"]:
            columns["time_mic"] = self._load_times("times_mic")
        columns["power"] = power
        texts = entry["Spectrogram"] | ({} if self.is_aligned else entry["SpectrogramMicrophoneClock"])
        columns = {name: values[:stop] for name, values in columns.items()}
        return _make_table(DynamicTable, texts, columns, self._source_comment(*stored))

    def _lengths(self, keys: tuple[str, ...]) -> dict[str, int]:
        """Number of rows of every dataset there is, by path."""
        datasets = [dataset for key in keys for dataset in self.sources[key]]
        return {dataset.relative_path: len(load_array(dataset)) for dataset in datasets}

    def _load_frequencies(self) -> np.ndarray:
        """Frequencies as stored but for the row axis, ``(f,)`` Hz."""
        return load_array(self.sources["frequencies"][0]).reshape(-1)

    def _load_times(self, key: str) -> np.ndarray:
        """Times as ``(n,)`` float64 seconds, which hold the files' ``(n, 1)`` float32 exactly; none without a file."""
        for dataset in self.sources[key]:
            return load_array(dataset).reshape(-1).astype(np.float64)
        return np.empty(0)


def _make_table(table_class: type, texts: dict[str, Any], columns: dict[str, np.ndarray], source: str) -> DynamicTable:
    """Table of some columns; a column named ``timestamp`` gets NWB's type for times from the start of the session."""
    vectors = [
        (TimestampVectorData if name == "timestamp" else VectorData)(
            name=name, description=texts["columns"][name], data=values
        )
        for name, values in columns.items()
    ]
    return table_class(**{**texts, "description": f"{texts['description']} {source}.", "columns": vectors})
