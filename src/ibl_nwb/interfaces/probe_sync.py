"""Sync word of a probe: the digital inputs that SpikeGLX recorded beside the voltages."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile, TimeSeries

from ..probe_clock import ProbeClock
from ..session import ALFSession
from ..snippets import Snippet
from ..spikeglx import SpikeGLXMeta
from ..writing.columns import StreamedColumns
from .base import ALFDataset, ALFInterface, AlignableTimes, camel_case, series_timing
from .raw_recording import RawRecordingMixin
from .sample_columns import (
    PROBE_COLLECTIONS,
    PROBE_RECORDING_DATASETS,
    add_statement,
    clock_timing,
    only_one,
    open_samples,
    read_probe_clock,
    used_knots,
)
from .sync_wiring import describe_bits, read_lines, recording_kind

_NOT_ALIGNED = "Times are those of the probe clock, from 0 at the first sample, not aligned to the session."


class ProbeSyncInterface(RawRecordingMixin, ALFInterface, AlignableTimes, BaseTemporalAlignmentInterface):
    """The sync word of one probe: the last column of ``_spikeglx_ephysData*.imec*.ap``, 16 lines per sample.

    Its integers are stored as they are; which line is on which bit is in the description, from the wiring file or IBL's
    default wiring. Times are those of the samples of the probe, as for the raw voltages. The LF file holds the same
    lines at every twelfth sample: it is used where there is no AP file.

    A compressed file has to be inflated whole to get at the column. Where the voltages of the band go to the same file,
    the word is kept while these are read, and costs nothing.
    """

    display_name = "IBL probe sync word"
    keywords = ("synchronization", "TTL", "Neuropixels", "SpikeGLX")
    associated_suffixes = (".cbin", ".ch", ".bin", ".meta", ".npy", ".json")
    info = "Interface for the sync word of a Neuropixels probe of an IBL session."

    family = "ProbeSync"
    by_default = False  # without the AP band it reads the whole AP recording
    handles = ("band", "probe_name")
    datasets = (
        *PROBE_RECORDING_DATASETS,
        ALFDataset("wiring", ("ephysData*.imec*.wiring.json",), PROBE_COLLECTIONS, support=True),
    )

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        probe_name: str,
        band: Literal["ap", "lf"] | None = None,
        revision: str | None = None,
        data_url: str | None = None,
        verbose: bool = False,
    ):
        """
        Open the sync word of one probe of a session.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        probe_name : str
            ALF name of the probe, e.g. "probe00".
        band : {"ap", "lf"}, optional
            From the file of which band. Default: AP if it is there.
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        data_url : str, optional
            Address of the ``.cbin`` file on a server, read from there as it is converted if it is not in the folder.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, data_url=data_url, probe_name=probe_name, band=band)
        super().__init__(
            verbose=verbose,
            session_path=session_path,
            probe_name=probe_name,
            band=band,
            revision=revision,
            data_url=data_url,
        )
        self._meta = SpikeGLXMeta(only_one(self.session, self.sources["meta"]).path)
        self._samples = open_samples(
            only_one(self.session, self.sources["data"]),
            self.sources["compression"],
            self._meta.n_saved_channels,
            self._meta.sampling_rate_hz,
        )

    @classmethod
    def get_instances(cls, session: ALFSession) -> list[dict[str, str]]:
        """One instance for each probe, from its AP file if that is complete."""
        complete = cls._complete_candidates(session)
        ap_probes = {instance["probe_name"] for instance in complete if instance["band"] == "ap"}
        return [i for i in complete if i["band"] == "ap" or i["probe_name"] not in ap_probes]

    @classmethod
    def get_incomplete_instances(cls, session: ALFSession) -> dict[str, tuple[dict[str, str], tuple[str, ...]]]:
        """Instances that lack required datasets, of the probes that have no complete one."""
        complete = {instance["probe_name"] for instance in cls._complete_candidates(session)}
        incomplete = super().get_incomplete_instances(session)
        return {name: found for name, found in incomplete.items() if found[0]["probe_name"] not in complete}

    @classmethod
    def get_missing_datasets(cls, session: ALFSession, instance: dict[str, str]) -> tuple[str, ...]:
        """Names of the required datasets that an instance lacks; a compressed recording also requires its ``.ch``."""
        missing = super().get_missing_datasets(session, instance)
        found = cls.select_datasets(session, instance)
        if any(dataset.extension == "cbin" for dataset in found["data"]) and not found["compression"]:
            missing += (f"ephysData*.imec*.{instance['band']}.ch",)
        return missing

    def get_original_timestamps(self) -> np.ndarray:
        """Session times of all samples by the probe's knots, ``(n_samples,)`` seconds, computed when asked for."""
        return self._clock.times(np.arange(self._samples.n_samples))

    def add_to_nwbfile(
        self,
        nwbfile: NWBFile,
        metadata: dict | None = None,
        *,
        stub_test: bool = False,
        start_s: float | None = None,
        stop_s: float | None = None,
        iterator_options: dict | None = None,
    ) -> None:
        """
        Add the sync word to an NWB file, as a TimeSeries in acquisition.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Name and description in the block "ProbeSync". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 samples only.
        start_s : float, optional
            Write only samples from this time on, in seconds of the session. Default: from the first.
        stop_s : float, optional
            Write only samples before this time. Default: to the last.
        iterator_options : dict, optional
            How the samples are read and written: buffer_gb, buffer_shape, chunk_mb, chunk_shape, display_progress,
            progress_bar_class, progress_bar_options, as NeuroConv has them.

        Raises
        ------
        UsageError
            If no sample is between ``start_s`` and ``stop_s``.
        """
        if not self._meta.n_sync_channels:
            self.notes.append(f"'{self.sources['data'][0].relative_path}' was saved without its sync word.")
            return
        entry = self._get_entry(metadata, "ProbeSync")
        snippet = self._choose_snippet(self._samples.n_samples, start_s, stop_s, stub_test)
        words = list(range(self._meta.n_neural_channels, self._meta.n_saved_channels))
        sources = self._source_comment("data", "compression", "meta", *used_knots(self.sources), "wiring")
        not_aligned = "" if self._is_aligned else _NOT_ALIGNED
        entry["description"] = " ".join(filter(None, (entry["description"], not_aligned)))
        nwbfile.add_acquisition(
            TimeSeries(
                **entry,
                data=StreamedColumns(
                    self._samples, words, snippet.first_sample, snippet.stop_sample, **(iterator_options or {})
                ),
                unit="n.a.",
                comments=add_statement(sources, not_aligned, snippet.statement),
                **self._timing(snippet),
            )
        )

    @cached_property
    def _clock(self) -> ProbeClock:
        return read_probe_clock(self.session, self.sources)

    @property
    def _is_aligned(self) -> bool:
        return self._clock.is_aligned or self._timestamps is not None

    def _time_of(self, sample: int) -> float:
        return float(self._clock.times(np.array(sample)) if self._timestamps is None else self._timestamps[sample])

    @classmethod
    def _label(cls, session: ALFSession, instance: dict[str, str]) -> str:
        """The probe; the band only where it is not the usual one."""
        band = "LF" if instance["band"] == "lf" else ""
        return band + camel_case(instance["probe_name"])

    def _default_metadata(self) -> dict[str, Any]:
        metadata = super()._default_metadata()
        lines = read_lines(self.sources["wiring"], recording_kind(self.session, "spikeglx", is_probe=True))
        metadata["ProbeSync"][self.metadata_key]["description"] += f" {describe_bits(lines)}"
        return metadata

    def _timing(self, snippet: Snippet) -> dict[str, Any]:
        """Timing arguments of the series."""
        if self._timestamps is not None:
            return series_timing(self._timestamps[snippet.first_sample : snippet.stop_sample])
        return clock_timing(self._clock, snippet)
