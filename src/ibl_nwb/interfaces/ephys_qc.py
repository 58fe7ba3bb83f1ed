"""Quality of the raw electrophysiology of a probe as IBL measured it: noise, spectra, channels, saturation."""

from __future__ import annotations

from typing import Any

import numpy as np
from hdmf.common import DynamicTable
from neuroconv import BaseDataInterface
from neuroconv.tools.nwb_helpers import get_module
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile
from pynwb.core import VectorData

from ..errors import DatasetInconsistentError
from ..session import check_equal_lengths, load_array, load_table, unpack_table
from .base import STUB_LENGTH, ALFDataset, ALFInterface, load_metadata_file, snake_case, substitute
from .meanings import make_meanings

_COLLECTIONS = ("raw_ephys_data/{probe_name}",)
_BANDS = ("AP", "LF")

#: Columns of the table of channels that are rows of ``ephysChannels.apRMS``.
_AP_RMS_COLUMNS = ("ap_rms_raw", "ap_rms_destriped")


def _band_datasets(band: str) -> tuple[ALFDataset, ...]:
    spectrum = f"ephysSpectralDensity{band}"
    return (
        ALFDataset(f"rms_{band}", (f"ephysTimeRms{band}.rms.npy",), _COLLECTIONS),
        ALFDataset(f"rms_times_{band}", (f"ephysTimeRms{band}.timestamps.npy",), _COLLECTIONS),
        ALFDataset(f"power_{band}", (f"{spectrum}.power.npy", f"{spectrum}.amps.npy"), _COLLECTIONS),
        ALFDataset(f"frequencies_{band}", (f"{spectrum}.freqs.npy",), _COLLECTIONS),
    )


class EphysQCInterface(ALFInterface, BaseDataInterface):
    """Raw-data quality control of one probe: the datasets ``_iblqc_ephys*``.

    Everything becomes tables in ``processing/ecephys_qc`` with the values and types that are stored, the column of the
    sync word included where there is one. Their times are seconds of the probe, and their saturated stretches samples
    of its AP file: no table has a column of NWB's type for session times. Any of the datasets may be missing.
    """

    display_name = "IBL raw electrophysiology quality control"
    keywords = ("extracellular electrophysiology", "quality control", "noise", "power spectral density", "Neuropixels")
    associated_suffixes = (".npy", ".pqt")
    info = "Interface for the raw-data quality control of a Neuropixels probe of an IBL session."

    family = "EphysQC"
    handles = ("probe_name",)
    datasets = (
        # Any one of them will do.
        ALFDataset(
            "any",
            (
                "ephysTimeRms*.rms.npy",
                "ephysSpectralDensity*.power.npy",
                "ephysSpectralDensity*.amps.npy",
                "ephysChannels.*.npy",
                "ephysSaturation*.samples.*",
            ),
            _COLLECTIONS,
            required=True,
        ),
        *_band_datasets("AP"),
        *_band_datasets("LF"),
        ALFDataset("ap_rms", ("ephysChannels.apRMS.npy",), _COLLECTIONS),
        ALFDataset("raw_spike_rates", ("ephysChannels.rawSpikeRates.npy",), _COLLECTIONS),
        ALFDataset("labels", ("ephysChannels.labels.npy",), _COLLECTIONS),
        ALFDataset(
            "saturation",
            ("ephysSaturationAP.samples.pqt", "ephysSaturation.samples.pqt", "ephysSaturation.samples.npy"),
            _COLLECTIONS,
        ),
    )

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        probe_name: str,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open the quality control of one probe of a session.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        probe_name : str
            ALF name of the probe, e.g. "probe00".
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, probe_name=probe_name)
        super().__init__(verbose=verbose, session_path=session_path, probe_name=probe_name, revision=revision)

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the tables to an NWB file, in the processing module "ecephys_qc".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "EphysQC". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 windows and stretches only.

        Raises
        ------
        DatasetInconsistentError
            If the datasets of a table do not have the same number of rows, or not the shape that they should.
        """
        entry = self._get_entry(metadata, "EphysQC")
        stop = STUB_LENGTH if stub_test else None
        tables = []
        for band in _BANDS:
            tables += self._make_pair(
                entry[f"TimeRms{band}"], {"time_probe": f"rms_times_{band}", "rms": f"rms_{band}"}, stop
            )
            spectrum = {"frequency": f"frequencies_{band}", "power": f"power_{band}"}
            tables += self._make_pair(entry[f"SpectralDensity{band}"], spectrum, None)
        tables += self._make_channels(entry["Channels"])
        tables += self._make_saturation(entry["Saturation"], stop)
        if tables:
            description = "Quality of the raw electrophysiology, measured by IBL, on the clocks of the probes."
            get_module(nwbfile, name="ecephys_qc", description=description).add(tables)

    def _make_pair(self, texts: dict[str, Any], keys: dict[str, str], stop: int | None) -> list[DynamicTable]:
        """Table of values by time or frequency; the values alone where these are missing."""
        row_key, values_key = keys.values()
        if not self.sources[values_key]:
            return []
        values = {name: load_array(self.sources[key][0]) for name, key in keys.items() if self.sources[key]}
        for name in list(values)[:-1]:
            values[name] = values[name].reshape(-1)
        lengths = {
            self.sources[key][0].relative_path: len(values[name]) for name, key in keys.items() if name in values
        }
        check_equal_lengths(self.sources[values_key][0].object, lengths)
        columns = {name: column[:stop] for name, column in values.items()}
        return [_make_table(texts, columns, self._source_comment(row_key, values_key))]

    def _make_channels(self, texts: dict[str, Any]) -> list[DynamicTable]:
        columns: dict[str, np.ndarray] = {}
        for dataset in self.sources["ap_rms"]:
            rms = load_array(dataset)
            if rms.ndim != 2 or len(rms) != len(_AP_RMS_COLUMNS):
                raise DatasetInconsistentError(
                    f"'{dataset.path}' has shape {rms.shape} instead of (2, channels): raw and destriped. Get the file "
                    "again, or leave the quality control out with --exclude."
                )
            columns |= dict(zip(_AP_RMS_COLUMNS, rms, strict=True))
        for key, name in (("raw_spike_rates", "raw_spike_rate"), ("labels", "label")):
            for dataset in self.sources[key]:
                columns[name] = load_array(dataset).reshape(-1)
        if not columns:
            return []
        check_equal_lengths("ephysChannels", {name: len(values) for name, values in columns.items()})
        table = _make_table(texts, columns, self._source_comment("ap_rms", "raw_spike_rates", "labels"))
        if "label" in columns:
            table.add_meanings_table(make_meanings(table["label"], texts["meanings"]))
        return [table]

    def _make_saturation(self, texts: dict[str, Any], stop: int | None) -> list[DynamicTable]:
        for dataset in self.sources["saturation"]:
            if dataset.extension == "npy":
                samples = load_array(dataset)
                if samples.ndim != 2 or samples.shape[1] != 2:
                    raise DatasetInconsistentError(
                        f"'{dataset.path}' has shape {samples.shape} instead of (n, 2): first and last sample. Get the "
                        "file again, or leave the quality control out with --exclude."
                    )
                columns = {"start_sample": samples[:, 0], "stop_sample": samples[:, 1]}
            else:
                columns = {snake_case(name): values for name, values in unpack_table(load_table(dataset)).items()}
            if not len(next(iter(columns.values()), ())):
                self.notes.append(f"'{dataset.relative_path}' lists no saturated stretch.")
                continue
            columns = {name: values[:stop] for name, values in columns.items()}
            return [_make_table(texts, columns, self._source_comment("saturation"))]
        return []

    def _default_metadata(self) -> dict[str, Any]:
        texts = load_metadata_file(self.family)
        names = {"label": self.label, "probe_name": self.instance["probe_name"]}
        entry = {name: substitute(texts[name], names) for name in ("Channels", "Saturation")}
        for band in _BANDS:
            for name in ("TimeRms", "SpectralDensity"):
                entry[f"{name}{band}"] = substitute(texts[name], {**names, "BAND": band})
        return {"EphysQC": {self.metadata_key: entry}}


def _make_table(texts: dict[str, Any], columns: dict[str, np.ndarray], source: str) -> DynamicTable:
    vectors = [
        VectorData(
            name=name,
            description=texts["columns"].get(name, "Not described by IBL's documentation."),
            data=values,
        )
        for name, values in columns.items()
    ]
    return DynamicTable(name=texts["name"], description=f"{texts['description']} {source}.", columns=vectors)
