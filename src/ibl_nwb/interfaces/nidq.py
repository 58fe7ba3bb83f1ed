"""Sync board: the analog lines and the digital word that a NIDQ device recorded with SpikeGLX."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile, TimeSeries

from ..errors import DatasetInconsistentError
from ..session import ALFSession
from ..snippets import Snippet
from ..spikeglx import SpikeGLXMeta
from ..writing.columns import StreamedColumns
from .base import ALFDataset, ALFInterface, AlignableTimes, camel_case, load_metadata_file, series_timing, substitute
from .raw_recording import RawRecordingMixin
from .sample_columns import add_statement, only_one, open_samples
from .sync_wiring import FIRST_ANALOG_CHANNEL, describe_bits, distinct_names, read_lines, recording_kind

#: Range of the converter where ``niMaxInt`` is absent (16 bits; SpikeGLX metadata guide).
NIDQ_MAX_INT = 32768

#: Kinds of saved columns in the order of the file (``snsMnMaXaDw``), and the field with the gain of each analog kind.
_KINDS = ("MN", "MA", "XA", "DW")
_GAIN_FIELDS = {"MN": "niMNGain", "MA": "niMAGain"}

_WAY_OUT = "Get the file again, or leave the recording out with --exclude."


class AnalogColumn(NamedTuple):
    """One analog column of the file.

    Attributes
    ----------
    column : int
        Its number in the file.
    input : str
        SpikeGLX's kind and number of the input, e.g. "XA0".
    channel : int or None
        Number among the sync channels; multiplexed inputs have none.
    volts_per_count : float
        Volts at the input per step of the converter.
    """

    column: int
    input: str
    channel: int | None
    volts_per_count: float


class NIDQInterface(RawRecordingMixin, ALFInterface, AlignableTimes, BaseTemporalAlignmentInterface):
    """Recording of the sync board: ``_spikeglx_ephysData*.nidq``, compressed with mtscomp or flat.

    Each analog line becomes a series of the integers that were recorded, with the factor to volts at the input; the
    digital word becomes one more. It is kept beside the sync fronts, because IBL patched the fronts of some sessions
    and these differ from what the board recorded. The session clock is that of the board, so time starts at 0 and the
    rate is the calibrated one. How many lines there are is decided by the metadata and not by the wiring file, which
    may list inputs that were not acquired.
    """

    display_name = "IBL sync board"
    keywords = ("synchronization", "TTL", "analog", "NIDQ", "SpikeGLX")
    associated_suffixes = (".cbin", ".ch", ".bin", ".meta", ".json")
    info = "Interface for the analog and digital lines of the NIDQ sync board of an IBL session."

    family = "NIDQ"
    datasets = (
        ALFDataset("data", ("ephysData*.nidq.cbin", "ephysData*.nidq.bin"), required=True, streamable=True),
        ALFDataset("meta", ("ephysData*.nidq.meta",), required=True, support=True),
        ALFDataset("compression", ("ephysData*.nidq.ch",), support=True),
        ALFDataset("wiring", ("ephysData*.nidq.wiring.json",), support=True),
    )
    collections = ("raw_ephys_data", "raw_sync_data")

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        collection: str | None = None,
        revision: str | None = None,
        data_url: str | None = None,
        verbose: bool = False,
    ):
        """
        Open the recording of the sync board.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        collection : str, optional
            Collection of the datasets, e.g. "raw_sync_data". Default: the first that has them.
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        data_url : str, optional
            Address of the ``.cbin`` file on a server, read from there as it is converted if it is not in the folder.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, data_url=data_url, collection=collection)
        super().__init__(
            verbose=verbose, session_path=session_path, collection=collection, revision=revision, data_url=data_url
        )
        self._meta = SpikeGLXMeta(only_one(self.session, self.sources["meta"]).path)
        self._counts = _saved_columns(self._meta)
        self._samples = open_samples(
            only_one(self.session, self.sources["data"]),
            self.sources["compression"],
            self._meta.n_saved_channels,
            self._meta.sampling_rate_hz,
        )

    @classmethod
    def get_missing_datasets(cls, session: ALFSession, instance: dict[str, str]) -> tuple[str, ...]:
        """Names of the required datasets that an instance lacks; a compressed recording also requires its ``.ch``."""
        missing = super().get_missing_datasets(session, instance)
        found = cls.select_datasets(session, instance)
        if any(dataset.extension == "cbin" for dataset in found["data"]) and not found["compression"]:
            missing += ("ephysData*.nidq.ch",)
        return missing

    def get_original_timestamps(self) -> np.ndarray:
        """Session times of all samples, ``(n_samples,)`` seconds from 0, computed when asked for."""
        return np.arange(self._samples.n_samples) / self._meta.sampling_rate_hz

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
        Add the analog lines and the digital word to an NWB file, each as a TimeSeries in acquisition.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "NIDQ". Default: those of :meth:`get_metadata`.
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
        entry = self._get_entry(metadata, "NIDQ")
        snippet = self._choose_snippet(self._samples.n_samples, start_s, stop_s, stub_test)
        sources = self._source_comment("data", "compression", "meta", "wiring")
        shared = {**self._timing(snippet), "comments": add_statement(sources, snippet.statement)}
        part = (snippet.first_sample, snippet.stop_sample)
        options = iterator_options or {}
        for line, analog in self._analog_lines.items():
            data = StreamedColumns(self._samples, [analog.column], *part, **options)
            nwbfile.add_acquisition(
                TimeSeries(**entry[line], data=data, unit="volts", conversion=analog.volts_per_count, **shared)
            )
        words = list(range(self._meta.n_saved_channels - self._counts["DW"], self._meta.n_saved_channels))
        if words:
            data = StreamedColumns(self._samples, words, *part, **options)
            nwbfile.add_acquisition(TimeSeries(**entry["digital_word"], data=data, unit="n.a.", **shared))

    @cached_property
    def _lines(self) -> dict[int, str]:
        return read_lines(self.sources["wiring"], recording_kind(self.session, "spikeglx", is_probe=False))

    @cached_property
    def _analog_lines(self) -> dict[str, AnalogColumn]:
        """The analog columns by name of the line; multiplexed inputs are called after their input."""
        columns = _analog_columns(self._meta, self._counts)
        names = distinct_names([c.channel for c in columns if c.channel is not None], self._lines)
        return {c.input.lower() if c.channel is None else names[c.channel]: c for c in columns}

    def _default_metadata(self) -> dict[str, Any]:
        texts = load_metadata_file(self.family)
        entry = {
            line: substitute(
                texts["analog"],
                {"line": line, "Line": camel_case(line), "input": analog.input, "label": self.label},
            )
            for line, analog in self._analog_lines.items()
        }
        if self._counts["DW"]:
            entry["digital_word"] = substitute(texts["digital"], {"label": self.label})
            entry["digital_word"]["description"] += f" {describe_bits(self._lines)}"
        return {"NIDQ": {self.metadata_key: entry}}

    def _time_of(self, sample: int) -> float:
        return sample / self._meta.sampling_rate_hz if self._timestamps is None else float(self._timestamps[sample])

    def _timing(self, snippet: Snippet) -> dict[str, Any]:
        if self._timestamps is None:
            return {"starting_time": snippet.first_s, "rate": self._meta.sampling_rate_hz}
        return series_timing(self._timestamps[snippet.first_sample : snippet.stop_sample])


def _saved_columns(meta: SpikeGLXMeta) -> dict[str, int]:
    """How many columns of each kind the file has."""
    text = meta.fields.get("snsMnMaXaDw", "")
    counts = [int(count) if count.strip().isdigit() else -1 for count in text.split(",")]
    if len(counts) != len(_KINDS) or min(counts) < 0 or sum(counts) != meta.n_saved_channels:
        raise DatasetInconsistentError(
            f"The SpikeGLX metadata '{meta.path}' cannot be used: snsMnMaXaDw is {text!r} instead of four counts that "
            f"add up to the {meta.n_saved_channels} saved channels. {_WAY_OUT}"
        )
    return dict(zip(_KINDS, counts, strict=True))


def _analog_columns(meta: SpikeGLXMeta, counts: dict[str, int]) -> list[AnalogColumn]:
    """Every analog column, ``niAiRangeMax / niMaxInt / gain`` being its volts per count (SpikeGLX metadata guide)."""
    volts_at_gain_1 = _number(meta, "niAiRangeMax") / _number(meta, "niMaxInt", NIDQ_MAX_INT)
    columns: list[AnalogColumn] = []
    for kind in _KINDS[:-1]:
        for number in range(counts[kind]):
            gain = _number(meta, _GAIN_FIELDS[kind]) if kind in _GAIN_FIELDS else 1.0
            channel = FIRST_ANALOG_CHANNEL + number if kind == "XA" else None
            columns.append(AnalogColumn(len(columns), f"{kind}{number}", channel, volts_at_gain_1 / gain))
    return columns


def _number(meta: SpikeGLXMeta, key: str, default: float | None = None) -> float:
    text = meta.fields.get(key) or default
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = 0.0
    if value <= 0:
        raise DatasetInconsistentError(
            f"The SpikeGLX metadata '{meta.path}' cannot be used: {key} is {text!r} instead of a positive "
            f"number. {_WAY_OUT}"
        )
    return value
