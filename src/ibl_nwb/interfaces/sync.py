"""Sync fronts: the rising and falling edges of every TTL line that the sync board, or a probe, recorded."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from hdmf.common import DynamicTable
from neuroconv import BaseDataInterface
from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile
from pynwb.core import VectorData
from pynwb.event import EventsTable, TimestampVectorData

from ..errors import DatasetInconsistentError
from ..session import ALFSession, check_equal_lengths, load_array
from .base import STUB_LENGTH, ALFDataset, CollectionInterface, camel_case, load_metadata_file, substitute
from .meanings import make_meanings
from .sync_wiring import distinct_names, read_lines, recording_kind

#: Attributes of the ALF object.
_ATTRIBUTES = ("times", "channels", "polarities")


class SyncInterface(CollectionInterface, BaseDataInterface):
    """The edges of all TTL lines of one recording: ``_spikeglx_sync.{times,channels,polarities}``.

    Each line that has edges becomes a table: its times, polarities (+1 rising, -1 falling) and channel number, in the
    types and the order they are stored in. Lines are called after the wiring file of the session, or after IBL's
    default wiring where there is none; a line that neither names is called after its number. Analog inputs are channels
    16 and up; their edges were found at a threshold.

    Edges of the sync board, which defines the session clock, are events tables in ``/events``. Edges that were read
    from a probe's file (``.probe00`` in the name) are on that probe's clock: their tables say so by name, have no
    column of NWB's type for session times, and are in ``processing/ecephys``, since readers merge all tables of
    ``/events`` by time.
    """

    display_name = "IBL sync fronts"
    keywords = ("synchronization", "TTL", "events", "NIDQ")
    associated_suffixes = (".npy", ".json")
    info = "Interface for the edges of the sync lines of an IBL session."

    family = "Sync"
    datasets = (
        *(
            ALFDataset(attribute, (f"sync.{attribute}.npy", f"sync.{attribute}.probe*.npy"), required=True)
            for attribute in _ATTRIBUTES
        ),
        ALFDataset(
            "wiring",
            ("ephysData*.nidq.wiring.json", "ephysData*.imec*.wiring.json", "DAQdata.wiring.json"),
            support=True,
        ),
        ALFDataset("board_meta", ("DAQdata.meta.json",), support=True),
    )
    collections = ("raw_ephys_data", "raw_sync_data", "raw_ephys_data/probe*")

    @property
    def is_on_session_clock(self) -> bool:
        """Whether times are the session's, and not those of the probe whose file the fronts were read from."""
        return "/" not in self.instance["collection"]

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add one table per line to an NWB file, in ``/events``; on the clock of a probe, in ``processing/ecephys``.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "Sync". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 fronts of each line only.

        Raises
        ------
        DatasetInconsistentError
            If a time is not finite, or times, channels and polarities are not as many.
        """
        entry = self._get_entry(metadata, "Sync")
        self._check_times()
        stop = STUB_LENGTH if stub_test else None
        tables = [
            self._make_table(entry["lines"][line], entry, np.flatnonzero(self._channel_numbers == channel)[:stop])
            for channel, line in self._lines.items()
        ]
        if self.is_on_session_clock:
            nwbfile.add_events_table(tables)
        elif tables:
            description = "Extracellular electrophysiology: what was derived from the recordings of the probes."
            get_module(nwbfile, name="ecephys", description=description).add(tables)

    @cached_property
    def _fronts(self) -> dict[str, np.ndarray]:
        """The attributes as stored, ``(e,)`` each."""
        fronts = {attribute: load_array(self.sources[attribute][0]) for attribute in _ATTRIBUTES}
        lengths = {self.sources[attribute][0].relative_path: len(fronts[attribute]) for attribute in _ATTRIBUTES}
        check_equal_lengths("sync", lengths)
        return {attribute: values.reshape(len(values)) for attribute, values in fronts.items()}

    @cached_property
    def _channel_numbers(self) -> np.ndarray:
        """``(e,)`` int64: channels, which pipelines store as floats too."""
        stored = self._fronts["channels"]
        if not np.array_equal(stored, np.trunc(stored)):  # also unequal for NaN
            raise DatasetInconsistentError(
                f"'{self.sources['channels'][0].path}' holds channel numbers that are not whole. Get the file again, "
                "or leave the sync fronts out with --exclude."
            )
        return stored.astype(np.int64)

    @cached_property
    def _lines(self) -> dict[int, str]:
        """Name of every line that has fronts, by channel number."""
        namespace = self.sources["times"][0].namespace
        kind = recording_kind(self.session, namespace, is_probe=not self.is_on_session_clock)
        wired = read_lines(self.sources["wiring"] + self.sources["board_meta"], kind)
        return distinct_names(np.unique(self._channel_numbers).tolist(), wired, namespace)

    @classmethod
    def _label(cls, session: ALFSession, instance: dict[str, str]) -> str:
        """A probe is always named, whether or not there is a sync board."""
        folder = instance["collection"].rpartition("/")[2]
        return camel_case(folder) if folder != instance["collection"] else super()._label(session, instance)

    def _default_metadata(self) -> dict[str, Any]:
        texts = load_metadata_file(self.family)
        template = texts["Session" if self.is_on_session_clock else "ProbeClock"]
        lines = {
            line: substitute(
                {key: template[key] for key in ("name", "description")},
                {"line": line, "Line": camel_case(line), "channel": str(channel), "label": self.label},
            )
            for channel, line in self._lines.items()
        }
        shared = {key: texts[key] for key in ("source_description", "meanings")}
        return {"Sync": {self.metadata_key: {"lines": lines, "columns": template["columns"], **shared}}}

    def _check_times(self) -> None:
        times, dataset = self._fronts["times"], self.sources["times"][0]
        if not np.isfinite(times).all():
            row = int(np.flatnonzero(~np.isfinite(times))[0])
            raise DatasetInconsistentError(
                f"'{dataset.path}' holds {times[row]} as the time of row {row}. Get the file again, or leave the sync "
                "fronts out with --exclude."
            )
        if (np.diff(times) < 0).any():
            self.notes.append(
                f"The times in '{dataset.relative_path}' go backwards in places; they are kept as stored."
            )

    def _make_table(self, texts: dict[str, str], entry: dict[str, Any], rows: np.ndarray) -> DynamicTable:
        """Table of the fronts of one line."""
        times, channels, polarities = (self._fronts[attribute][rows] for attribute in _ATTRIBUTES)
        # NWB's times are float64, which hold a float32 of the source exactly.
        columns = {"timestamp": times.astype(np.float64)} if self.is_on_session_clock else {"time_probe": times}
        columns |= {"polarity": polarities, "channel": channels}
        vectors = {
            name: (TimestampVectorData if name == "timestamp" else VectorData)(
                name=name, description=entry["columns"][name], data=values
            )
            for name, values in columns.items()
        }
        arguments: dict[str, Any] = {
            "name": texts["name"],
            "description": f"{texts['description']} {self._source_comment(*_ATTRIBUTES, 'wiring', 'board_meta')}.",
            "columns": list(vectors.values()),
        }
        if self.is_on_session_clock:
            table = EventsTable(**arguments, source_description=entry["source_description"])
        else:
            table = DynamicTable(**arguments)
        table.add_meanings_table(make_meanings(vectors["polarity"], entry["meanings"]))
        return table
