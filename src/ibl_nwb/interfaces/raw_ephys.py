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

from ..errors import DatasetInconsistentError
from ..probe_clock import AP_SAMPLES_PER_LF_SAMPLE, ProbeClock, aligned_clock, ap_samples_per_sample
from ..recording_iterators import ClockIterator
from ..session import ALFSession, Dataset, load_array
from ..spikeglx import SpikeGLXMeta
from ..spikeglx_recording import SpikeGLXRecording
from ..writing.traces import StreamedTraces
from .base import REGULAR_TOLERANCE_S, STUB_LENGTH, ALFDataset, ALFInterface, series_timing
from .electrodes import SITE_DATASETS, add_probe_electrodes, group_names, probe_metadata, read_probe_sites

_COLLECTIONS = ("raw_ephys_data/{probe_name}", "raw_ephys_data/{probe_name}/*")

#: Side of a site of any Neuropixels probe.
SITE_WIDTH_UM = 12.0

_NOT_ALIGNED = "Times are those of the probe clock, from 0 at the first sample, not aligned to the session."


class RawEphysInterface(ALFInterface, BaseRecordingExtractorInterface):
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
        ALFDataset(
            "data", ("ephysData*.imec*.{band}.cbin", "ephysData*.imec*.{band}.bin"), _COLLECTIONS, required=True
        ),
        ALFDataset("meta", ("ephysData*.imec*.{band}.meta",), _COLLECTIONS, required=True, support=True),
        ALFDataset("compression", ("ephysData*.imec*.{band}.ch",), _COLLECTIONS, support=True),
        ALFDataset("timestamps", ("ephysData*.imec*.timestamps.npy",), _COLLECTIONS, support=True),
        ALFDataset("sync", ("ephysData*.imec*.sync.npy",), _COLLECTIONS, support=True),
        ALFDataset("ap_meta", ("ephysData*.imec*.ap.meta",), _COLLECTIONS, support=True),
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
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, probe_name=probe_name, band=band)
        super().__init__(
            verbose=verbose,
            metadata_key=self.metadata_key,
            session_path=session_path,
            probe_name=probe_name,
            band=band,
            revision=revision,
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
        iterator_options : dict, optional
            How the samples are read and written: buffer_gb, buffer_shape, chunk_mb, chunk_shape, display_progress,
            progress_bar_class, progress_bar_options, as NeuroConv has them. Default: chunks and buffers of whole blocks
            of the compressed file, so that none is inflated twice.
        always_write_timestamps : bool, default: False
            Write the time of every sample even if a starting time and a rate give it to within 1 microsecond.
        """
        probe_name = self.instance["probe_name"]
        recording = self.recording_extractor
        rows = add_probe_electrodes(nwbfile, metadata, self.session, probe_name)
        sites = read_probe_sites(self.session, probe_name).rows_of_names(recording.get_property("channel_name"))
        electrodes = nwbfile.create_electrode_table_region(
            region=rows[sites].tolist(),
            description=f"Recorded sites of {probe_name}, in the order of the data's columns.",
        )
        n_samples = min(recording.get_num_samples(), STUB_LENGTH) if stub_test else recording.get_num_samples()
        entry = self._series_entry(metadata)
        if not self._is_aligned:
            entry["description"] = f"{entry['description']} {_NOT_ALIGNED}"
        nwbfile.add_acquisition(
            ElectricalSeries(
                **entry,
                data=self._iterate_data(n_samples, iterator_options),
                electrodes=electrodes,
                comments=self._comments(),
                **_conversion(recording.get_channel_gains() * 1e-6),
                **self._timing(n_samples, always_write_timestamps),
            )
        )

    def _initialize_extractor(self, interface_kwargs: dict) -> BaseRecording:
        """Called by NeuroConv's constructor; the files were selected before."""
        data = self._one("data")
        self._clock = self._read_clock()
        recording = SpikeGLXRecording(
            data.path,
            self._one("meta").path,
            self._one("compression").path if data.extension == "cbin" else None,
            self._clock,
        )
        self._describe_channels(recording)
        return recording

    def _describe_channels(self, recording: BaseRecording) -> None:
        sites = read_probe_sites(self.session, self.instance["probe_name"])
        # The LF channels are those of the same sites as the AP channels, and are called like them.
        names = np.array([f"AP{number}" for number in SpikeGLXMeta(self._one("meta").path).site_numbers])
        rows = sites.rows_of_names(names)
        positions = np.column_stack((sites.rel_x, sites.rel_y))[rows]
        if np.isfinite(positions).all():
            # Not as properties rel_x and rel_y, which SpikeInterface does not read back as such from an NWB file.
            recording.set_probe(_make_probe(positions, sites.shank[rows]))
        recording.set_property("channel_name", names)
        recording.set_property("group_name", group_names(sites)[rows])

    def _read_clock(self) -> ProbeClock:
        rate_hz = SpikeGLXMeta(self._one("meta").path).sampling_rate_hz
        if self.instance["band"] == "ap":
            ap_rate_hz, ratio = rate_hz, 1.0
        elif self.sources["ap_meta"]:
            ap_rate_hz = SpikeGLXMeta(self._one("ap_meta").path).sampling_rate_hz
            ratio = ap_samples_per_sample(ap_rate_hz, rate_hz)
        else:
            ap_rate_hz, ratio = rate_hz * AP_SAMPLES_PER_LF_SAMPLE, float(AP_SAMPLES_PER_LF_SAMPLE)
        for key, ap_samples_per_unit in (("timestamps", 1.0), ("sync", ap_rate_hz)):
            if self.sources[key]:
                dataset = self._one(key)
                knots = load_array(dataset)
                scale = np.array([ap_samples_per_unit, 1.0]) if knots.ndim == 2 and knots.shape[1] == 2 else 1.0
                return aligned_clock(knots * scale, ap_rate_hz, ratio, path=dataset.path)
        return ProbeClock(ap_rate_hz, ratio)

    def _one(self, key: str) -> Dataset:
        """The file of a kind of which a recording has exactly one."""
        found = self.sources[key]
        if len(found) > 1:
            listed = ", ".join(dataset.relative_path for dataset in found)
            raise DatasetInconsistentError(
                f"'{self.session.path}' holds {len(found)} files where one recording of {self.instance['probe_name']} "
                f"is expected: {listed}. Keep those of one recording, or leave it out with --exclude."
            )
        return found[0]

    def _series_entry(self, metadata: dict | None) -> dict[str, Any]:
        """Name and description of the series: what the caller gave, on top of the defaults."""
        given = (metadata or {}).get("Ecephys", {}).get("ElectricalSeries", {}).get(self.metadata_key, {})
        return {**self._default_metadata()["Ecephys"]["ElectricalSeries"][self.metadata_key], **given}

    @property
    def _is_aligned(self) -> bool:
        """Whether times are those of the session, by the knots or because somebody set them."""
        return self._clock.is_aligned or self.recording_extractor.has_time_vector()

    def _comments(self) -> str:
        knots = next((key for key in ("timestamps", "sync") if self.sources[key]), None)
        source = self._source_comment(*filter(None, ("data", "compression", "meta", knots)))
        return source if self._is_aligned else f"{source}. {_NOT_ALIGNED}"

    def _iterate_data(self, n_samples: int, options: dict[str, Any] | None) -> StreamedTraces:
        """The samples, read while they are written."""
        return StreamedTraces(self.recording_extractor, stop_sample=n_samples, **(options or {}))

    def _timing(self, n_samples: int, always_write_timestamps: bool) -> dict[str, Any]:
        """Timing arguments of the series; the time of every sample is computed while it is written."""
        if self.recording_extractor.has_time_vector():
            timestamps = self.get_timestamps()[:n_samples]
            return {"timestamps": timestamps} if always_write_timestamps else series_timing(timestamps)
        if always_write_timestamps or not self._clock.fits_rate(n_samples, REGULAR_TOLERANCE_S):
            return {"timestamps": ClockIterator(self._clock, n_samples)}
        starting_time, rate = self._clock.start_and_rate(n_samples)
        return {"starting_time": starting_time, "rate": rate}


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
