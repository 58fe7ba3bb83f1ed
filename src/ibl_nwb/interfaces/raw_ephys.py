"""Raw electrophysiology: AP or LF band of one Neuropixels probe, as recorded with SpikeGLX."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from neuroconv.datainterfaces.ecephys.baserecordingextractorinterface import BaseRecordingExtractorInterface
from neuroconv.utils import DeepDict
from probeinterface import Probe
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile
from pynwb.ecephys import ElectricalSeries
from spikeinterface.core import BaseRecording

from ..session import ALFSession
from ..snippets import Snippet
from ..spikeglx import SpikeGLXMeta
from ..spikeglx_recording import SpikeGLXRecording
from ..writing.traces import StreamedTraces
from .base import ALFInterface, series_timing
from .electrodes import SITE_DATASETS, add_probe_electrodes, group_names, probe_metadata, read_probe_sites
from .raw_recording import RawRecordingMixin
from .sample_columns import (
    PROBE_RECORDING_DATASETS,
    add_statement,
    clock_timing,
    only_one,
    open_samples,
    read_probe_clock,
    used_knots,
)

#: Side of a site of any Neuropixels probe.
SITE_WIDTH_UM = 12.0

_NOT_ALIGNED = "Times are those of the probe clock, from 0 at the first sample, not aligned to the session."


class RawEphysInterface(RawRecordingMixin, ALFInterface, BaseRecordingExtractorInterface):
    """One band of one probe: ``_spikeglx_ephysData*.imec*.ap`` or ``.lf``, compressed with mtscomp or flat.

    Samples stay the integers that were recorded; their size in volts is in the conversion factors of the series. The
    sync words are left out. Sample times come from the knots that IBL matched between probe and session clock
    (``*.timestamps.npy``, else ``*.sync.npy``). Without knots they are the probe's own and the series says so.

    AP and LF of a probe, and its sorted units, refer to the same electrodes.
    """

    display_name = "IBL raw electrophysiology"
    keywords = ("extracellular electrophysiology", "voltage", "recording", "Neuropixels", "SpikeGLX")
    associated_suffixes = (".cbin", ".ch", ".bin", ".meta", ".npy")
    info = "Interface for the raw AP or LF band of a Neuropixels probe of an IBL session."

    family = "RawEphys"
    handles = ("band", "probe_name")
    datasets = (
        *PROBE_RECORDING_DATASETS,
        *SITE_DATASETS,
    )

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        probe_name: str,
        band: Literal["ap", "lf"] = "ap",
        revision: str | None = None,
        data_url: str | None = None,
        verbose: bool = False,
    ):
        """
        Open one band of one probe of a session.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        probe_name : str
            ALF name of the probe, e.g. "probe00".
        band : {"ap", "lf"}, default: "ap"
            Which band of the probe.
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
            metadata_key=self.metadata_key,
            session_path=session_path,
            probe_name=probe_name,
            band=band,
            revision=revision,
            data_url=data_url,
        )

    @classmethod
    def get_extractor_class(cls) -> type[BaseRecording]:
        """The SpikeInterface recording that reads the files."""
        return SpikeGLXRecording

    @classmethod
    def get_missing_datasets(cls, session: ALFSession, instance: dict[str, str]) -> tuple[str, ...]:
        """Names of the required datasets that an instance lacks; a compressed recording also requires its ``.ch``."""
        missing = super().get_missing_datasets(session, instance)
        found = cls.select_datasets(session, instance)
        if any(dataset.extension == "cbin" for dataset in found["data"]) and not found["compression"]:
            missing += (f"ephysData*.imec*.{instance['band']}.ch",)
        return missing

    def get_metadata(self) -> DeepDict:
        """Name and description of the series; device, electrode groups and columns of the electrodes of the probe."""
        metadata = super().get_metadata()
        metadata.deep_update(probe_metadata(self.session, self.instance["probe_name"]))
        return metadata

    def get_original_timestamps(self) -> np.ndarray:
        """Session times of all samples by the probe's knots, ``(n_samples,)`` seconds, computed when asked for."""
        return self._clock.times(np.arange(self.recording_extractor.get_num_samples()))

    def get_timestamps(self) -> np.ndarray:
        """Session times of all samples, aligned if they were set, ``(n_samples,)`` seconds."""
        if self.recording_extractor.has_time_vector():
            return super().get_timestamps()
        return self.get_original_timestamps()

    def add_to_nwbfile(
        self,
        nwbfile: NWBFile,
        metadata: dict | None = None,
        *,
        stub_test: bool = False,
        start_s: float | None = None,
        stop_s: float | None = None,
        iterator_options: dict | None = None,
        always_write_timestamps: bool = False,
    ) -> None:
        """
        Add the recording to an NWB file: an ElectricalSeries in acquisition, and the probe's electrodes.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the blocks "Ecephys", "Devices" and "DeviceModels". Default: those of
            :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 samples only.
        start_s : float, optional
            Write only samples from this time on, in seconds of the session. Default: from the first.
        stop_s : float, optional
            Write only samples before this time. Default: to the last.
        iterator_options : dict, optional
            How the samples are read and written: buffer_gb, buffer_shape, chunk_mb, chunk_shape, display_progress,
            progress_bar_class, progress_bar_options, as NeuroConv has them. Default: chunks and buffers of whole blocks
            of the compressed file, so that none is inflated twice.
        always_write_timestamps : bool, default: False
            Write the time of every sample even if a starting time and a rate give it to within 1 microsecond.

        Raises
        ------
        UsageError
            If no sample is between ``start_s`` and ``stop_s``.
        """
        probe_name = self.instance["probe_name"]
        recording = self.recording_extractor
        snippet = self._choose_snippet(recording.get_num_samples(), start_s, stop_s, stub_test)
        rows = add_probe_electrodes(nwbfile, metadata, self.session, probe_name)
        sites = read_probe_sites(self.session, probe_name).rows_of_names(recording.get_property("channel_name"))
        electrodes = nwbfile.create_electrode_table_region(
            region=rows[sites].tolist(),
            description=f"Recorded sites of {probe_name}, in the order of the data's columns.",
        )
        entry = self._series_entry(metadata)
        if not self._is_aligned:
            entry["description"] = f"{entry['description']} {_NOT_ALIGNED}"
        nwbfile.add_acquisition(
            ElectricalSeries(
                **entry,
                data=self._iterate_data(snippet, iterator_options),
                electrodes=electrodes,
                comments=self._comments(snippet),
                **_conversion(recording.get_channel_gains() * 1e-6),
                **self._timing(snippet, always_write_timestamps),
            )
        )

    def _initialize_extractor(self, interface_kwargs: dict) -> BaseRecording:
        """Called by NeuroConv's constructor; the files were selected before."""
        data = only_one(self.session, self.sources["data"])
        meta_path = only_one(self.session, self.sources["meta"]).path
        meta = SpikeGLXMeta(meta_path)
        self._clock = read_probe_clock(self.session, self.sources)
        compression = [only_one(self.session, self.sources["compression"])] if data.extension == "cbin" else []
        samples = None
        if data.url is not None:
            samples = open_samples(data, compression, meta.n_saved_channels, meta.sampling_rate_hz)
        compression_path = compression[0].path if compression else None
        recording = SpikeGLXRecording(data.path, meta_path, compression_path, self._clock, samples=samples)
        self._describe_channels(recording)
        return recording

    def _describe_channels(self, recording: BaseRecording) -> None:
        sites = read_probe_sites(self.session, self.instance["probe_name"])
        # The LF channels are those of the same sites as the AP channels, and are called like them.
        meta = SpikeGLXMeta(only_one(self.session, self.sources["meta"]).path)
        names = np.array([f"AP{number}" for number in meta.site_numbers])
        rows = sites.rows_of_names(names)
        positions = np.column_stack((sites.rel_x, sites.rel_y))[rows]
        if np.isfinite(positions).all():
            # Not as properties rel_x and rel_y, which SpikeInterface does not read back as such from an NWB file.
            recording.set_probe(_make_probe(positions, sites.shank[rows]))
        recording.set_property("channel_name", names)
        recording.set_property("group_name", group_names(sites)[rows])

    def _series_entry(self, metadata: dict | None) -> dict[str, Any]:
        """Name and description of the series: what the caller gave, on top of the defaults."""
        given = (metadata or {}).get("Ecephys", {}).get("ElectricalSeries", {}).get(self.metadata_key, {})
        return {**self._default_metadata()["Ecephys"]["ElectricalSeries"][self.metadata_key], **given}

    @property
    def _is_aligned(self) -> bool:
        """Whether times are those of the session, by the knots or because somebody set them."""
        return self._clock.is_aligned or self.recording_extractor.has_time_vector()

    def _comments(self, snippet: Snippet) -> str:
        source = self._source_comment("data", "compression", "meta", *used_knots(self.sources))
        return add_statement(source, "" if self._is_aligned else _NOT_ALIGNED, snippet.statement)

    def _time_of(self, sample: int) -> float:
        return float(self.recording_extractor.sample_index_to_time(sample))

    def _iterate_data(self, snippet: Snippet, options: dict[str, Any] | None) -> StreamedTraces:
        """The samples, read while they are written."""
        first, stop = snippet.first_sample, snippet.stop_sample
        return StreamedTraces(self.recording_extractor, start_sample=first, stop_sample=stop, **(options or {}))

    def _timing(self, snippet: Snippet, always_write_timestamps: bool) -> dict[str, Any]:
        """Timing arguments of the series."""
        if self.recording_extractor.has_time_vector():
            timestamps = self.get_timestamps()[snippet.first_sample : snippet.stop_sample]
            return {"timestamps": timestamps} if always_write_timestamps else series_timing(timestamps)
        return clock_timing(self._clock, snippet, always_write_timestamps=always_write_timestamps)


def _make_probe(positions: np.ndarray, shank: np.ndarray) -> Probe:
    """Positions (``(n, 2)``, µm) and shanks of the channels, the way SpikeInterface keeps them."""
    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(positions, shapes="square", shape_params={"width": SITE_WIDTH_UM}, shank_ids=shank.astype(str))
    probe.set_device_channel_indices(np.arange(len(positions)))
    return probe


def _conversion(volts_per_count: np.ndarray) -> dict[str, Any]:
    """Conversion arguments of the series, one factor where all channels share it."""
    if len(np.unique(volts_per_count)) == 1:
        return {"conversion": float(volts_per_count[0])}
    return {"channel_conversion": volts_per_count}
