"""SpikeGLX ``.meta`` files: what the columns of a raw probe recording are, in volts, hertz and micrometres."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import DatasetInconsistentError, DatasetUnreadableError

#: Range of the converter of Neuropixels 1.0 where ``imMaxInt`` is absent (10 bits; SpikeGLX metadata guide).
NP1_MAX_INT = 512

#: ``imDatPrb_type`` to the family that shares grid, gains and columns of the imro table (SpikeGLX metadata guide).
_FAMILIES = {"0": "NP1", "21": "NP2.1", "2003": "NP2.1", "24": "NP2.4", "2013": "NP2.4", "2020": "NP2QB"}

#: Fixed gain of both bands of Neuropixels 2.0 by ``imDatPrb_type``, and that of every type not listed.
_NP2_GAINS = {"21": 80.0, "24": 80.0}
_NP2_DEFAULT_GAIN = 100.0

#: Columns of the imro table of Neuropixels 1.0 (channel, bank, reference, AP gain, LF gain, ...) that hold the gains.
_NP1_GAIN_COLUMN = {"ap": 3, "lf": 4}

#: Part whose grid stands for a type when probeinterface does not know the part number (or there is none, as in 3A).
_CATALOGUE_PARTS = {"3A": "NP1000", "0": "NP1000", "21": "NP2000", "24": "NP2010"}

#: From probeinterface's site positions to IBL's grid (µm): sign and origin of the lateral axis, origin of the other.
_GRIDS = {"NP1": (-1.0, 59.0, 20.0), "NP2": (1.0, 27.0, 20.0)}


class SiteGeometry(NamedTuple):
    """Where the recorded sites are on the probe, one row per neural column of the file.

    Attributes
    ----------
    x, y : numpy.ndarray
        ``(n,)`` float64, µm across and along the probe on IBL's grid, whose lowest row of sites is at y = 20. The
        shanks of a probe with several are 250 µm apart in x.
    shank : numpy.ndarray
        ``(n,)`` int64, counted from 0.
    """

    x: np.ndarray
    y: np.ndarray
    shank: np.ndarray


class SpikeGLXMeta:
    """The text file that goes with a SpikeGLX recording of one band of one probe.

    Read from an explicit path, whatever the name. Files that lost the tildes of their lists are read alike: those that
    IBL writes when it splits a four-shank recording, where ``snsSaveChanSubset_orig`` holds the channels that were
    acquired.

    Parameters
    ----------
    path : str or pathlib.Path
        The ``.meta`` file.

    Raises
    ------
    DatasetUnreadableError
        If the file is not the metadata of a SpikeGLX recording.
    """

    def __init__(self, path: str | Path):
        from probeinterface.neuropixels_tools import parse_spikeglx_meta

        self.path = Path(path)
        try:
            fields = parse_spikeglx_meta(self.path)
        except (OSError, ValueError) as error:
            raise DatasetUnreadableError(f"'{self.path}' cannot be read as SpikeGLX metadata: {error}.") from error
        #: Every field as text, without tildes and surrounding blanks.
        self.fields: dict[str, str] = {key: value.strip() for key, value in fields.items()}
        if "nSavedChans" not in self.fields:
            found = "it is empty" if not self.path.stat().st_size else "it has no field 'nSavedChans'"
            raise DatasetUnreadableError(
                f"'{self.path}' cannot be read as SpikeGLX metadata: {found}. The file is damaged or incomplete; "
                "get it again."
            )

    @property
    def sampling_rate_hz(self) -> float:
        """Rate in Hz as calibrated for the headstage (``imSampRate``), or of the sync board (``niSampRate``)."""
        return self._number("imSampRate" if "imSampRate" in self.fields else "niSampRate")

    @property
    def n_saved_channels(self) -> int:
        """Columns of the recording, sync words included."""
        return int(self._number("nSavedChans"))

    @property
    def n_sync_channels(self) -> int:
        """How many of the last columns are sync words."""
        return self._saved_by_kind[2]

    @property
    def n_neural_channels(self) -> int:
        """How many of the first columns are voltages."""
        return self.n_saved_channels - self.n_sync_channels

    @property
    def band(self) -> str:
        """Which filter the recording went through, "ap" or "lf"; the full band of Neuropixels 2.0 is called "ap"."""
        n_ap, n_lf, _ = self._saved_by_kind
        return "lf" if n_lf and not n_ap else "ap"

    @cached_property
    def site_numbers(self) -> np.ndarray:
        """``(n_neural_channels,)`` int64: the probe's own number of the channel in each neural column."""
        subset = self.fields.get("snsSaveChanSubset_orig") or self._text("snsSaveChanSubset")
        if subset == "all":
            return np.arange(self.n_neural_channels)
        # LF channels are counted on from the AP channels that the probe has, of which a computed LF band has none.
        first = self._integers("acqApLfSy", 3)[0] if self.band == "lf" else 0
        numbers = self._expand_ranges(subset)[: self.n_neural_channels] - first
        if len(numbers) < self.n_neural_channels or (numbers < 0).any():
            raise self._inconsistent(
                f"the saved channels {subset!r} are not the {self.n_neural_channels} that snsApLfSy counts"
            )
        return numbers

    @cached_property
    def volts_per_count(self) -> np.ndarray:
        """``(n_neural_channels,)`` float64: volts at the electrode per step of the converter.

        ``imAiRangeMax / imMaxInt / gain``, the gain from the imro table for Neuropixels 1.0 and fixed for 2.0.
        """
        is_np2 = self.probe_family.startswith("NP2")
        max_int = NP1_MAX_INT if "imMaxInt" not in self.fields and not is_np2 else self._number("imMaxInt")
        gains = self._np2_gains() if is_np2 else self._np1_gains()
        if max_int <= 0 or (gains <= 0).any():
            raise self._inconsistent(f"imMaxInt {max_int:g} and gains {np.unique(gains).tolist()} are not all positive")
        return self._number("imAiRangeMax") / max_int / gains

    @property
    def serial_number(self) -> str | None:
        """Serial number of the probe."""
        return self.fields.get("imDatPrb_sn") or self.fields.get("imProbeSN") or None

    @property
    def part_number(self) -> str | None:
        """Part number of the probe; Phase 3A recordings do not state it."""
        return self.fields.get("imDatPrb_pn") or None

    @property
    def probe_type(self) -> str:
        """``imDatPrb_type`` as text, or "3A"."""
        if "imProbeOpt" in self.fields or "typeEnabled" in self.fields:
            return "3A"
        return self.fields.get("imDatPrb_type") or "0"

    @property
    def probe_family(self) -> str:
        """Kind of probe: "3A", "NP1", "NP2.1" (one shank), "NP2.4" (four shanks), "NP2QB" (quad base), or its type."""
        return _FAMILIES.get(self.probe_type, self.probe_type)

    @property
    def first_sample(self) -> int:
        """Sample of the acquisition at which the file begins; 0 where an old file does not say."""
        return int(self._number("firstSample")) if self.fields.get("firstSample") else 0

    @property
    def is_computed_lf(self) -> bool:
        """Whether the LF band was computed by IBL from the full band, in which case its stated rate is nominal."""
        return self.band == "lf" and self.probe_family.startswith("NP2")

    def site_geometry(self) -> SiteGeometry | None:
        """Where the recorded sites are, or None for a kind of probe that probeinterface does not know.

        Raises
        ------
        DatasetInconsistentError
            If the imro table names a channel or site that is not there.
        """
        contacts = self._catalogue_contacts()
        if contacts is None:
            return None
        sites = [self._contact_id(number) for number in self.site_numbers]
        unknown = sorted({site for site in sites if site not in contacts})
        if unknown:
            raise self._inconsistent(f"the imro table uses the sites {unknown[:3]}, which the probe does not have")
        x, y, shank = np.array([contacts[site] for site in sites]).T
        sign, x_origin, y_origin = _GRIDS["NP2" if self.probe_family.startswith("NP2") else "NP1"]
        return SiteGeometry(x_origin + sign * x, y_origin + y, shank.astype(np.int64))

    def _catalogue_contacts(self) -> dict[str, tuple[float, float, int]] | None:
        """Position (µm) and shank of every site of this kind of probe, by its name in probeinterface."""
        from probeinterface.neuropixels_tools import build_neuropixels_probe

        stand_in = _CATALOGUE_PARTS.get(self.probe_type, f"NP{self.probe_type}")
        for part_number in filter(None, (self.part_number, stand_in)):
            try:
                probe = build_neuropixels_probe(part_number)
            except KeyError:  # how probeinterface says that it does not know the part
                continue
            shanks = [0] * probe.get_contact_count() if probe.shank_ids is None else map(int, probe.shank_ids)
            positions = zip(probe.contact_ids, probe.contact_positions, shanks, strict=True)
            return {str(name): (float(x), float(y), shank) for name, (x, y), shank in positions}
        return None

    def _contact_id(self, number: int) -> str:
        """Name of the site that a channel is wired to, as probeinterface spells it."""
        entry = self._imro_entry(number)
        if self.probe_family == "NP2.1":  # channel, bank mask, reference, site
            return f"e{entry[3]}"
        if self.probe_family.startswith("NP2"):  # channel, shank, bank, reference, site
            return f"s{entry[1]}e{entry[4]}"
        return f"e{entry[1] * self._imro_channel_count + entry[0]}"  # channel, bank, ...

    def _np1_gains(self) -> np.ndarray:
        column = _NP1_GAIN_COLUMN[self.band]
        return np.array([self._imro_entry(number)[column] for number in self.site_numbers], dtype=np.float64)

    def _np2_gains(self) -> np.ndarray:
        stated = self.fields.get("imChan0apGain")
        gain = self._number("imChan0apGain") if stated else _NP2_GAINS.get(self.probe_type, _NP2_DEFAULT_GAIN)
        return np.full(self.n_neural_channels, gain)

    def _imro_entry(self, number: int) -> tuple[int, ...]:
        entry = self._imro_table.get(int(number), ())
        if len(entry) < (4 if self.probe_family == "NP2.1" else 5):
            raise self._inconsistent(f"the imro table has no complete entry for channel {number}")
        return entry

    @cached_property
    def _imro_table(self) -> dict[int, tuple[int, ...]]:
        """Entries of the imro table by channel."""
        try:
            entries = [tuple(map(int, entry.split())) for entry in self._imro_pieces[1:]]
        except ValueError as error:
            raise self._inconsistent(f"the imro table is not one of integers ({error})") from error
        return {entry[0]: entry for entry in entries if entry}

    @property
    def _imro_channel_count(self) -> int:
        """Channels per bank, the last number of the imro table's header: (type, n), or (serial, option, n) in 3A."""
        return int(self._imro_pieces[0].split(",")[-1])

    @cached_property
    def _imro_pieces(self) -> list[str]:
        pieces = re.findall(r"\(([^()]*)\)", self._text("imroTbl"))
        if not pieces or not pieces[0].split(",")[-1].isdigit():
            raise self._inconsistent("the imro table has no header")
        return pieces

    @cached_property
    def _saved_by_kind(self) -> tuple[int, int, int]:
        """Number of saved AP, LF and sync columns."""
        n_ap, n_lf, n_sync = self._integers("snsApLfSy", 3)
        if n_ap + n_lf + n_sync != self.n_saved_channels:
            raise self._inconsistent(
                f"snsApLfSy {self.fields['snsApLfSy']} does not add up to the {self.n_saved_channels} saved channels"
            )
        return n_ap, n_lf, n_sync

    def _expand_ranges(self, text: str) -> np.ndarray:
        """``0:2,768`` to 0, 1, 2, 768."""
        try:
            bounds = [[int(bound) for bound in piece.split(":")] for piece in text.split(",")]
        except ValueError as error:
            raise self._inconsistent(f"{text!r} is not a list of channels such as '0:383,768'") from error
        return np.concatenate([np.arange(piece[0], piece[-1] + 1) for piece in bounds])

    def _integers(self, key: str, length: int) -> list[int]:
        values = self._text(key).split(",")
        if len(values) != length or not all(value.strip().isdigit() for value in values):
            raise self._inconsistent(f"{key} is {self.fields[key]!r} instead of {length} integers")
        return [int(value) for value in values]

    def _number(self, key: str) -> float:
        try:
            return float(self._text(key))
        except ValueError as error:
            raise self._inconsistent(f"{key} is {self.fields[key]!r} instead of a number") from error

    def _text(self, key: str) -> str:
        if not self.fields.get(key):
            raise self._inconsistent(f"it has no {key}")
        return self.fields[key]

    def _inconsistent(self, what: str) -> DatasetInconsistentError:
        return DatasetInconsistentError(
            f"The SpikeGLX metadata '{self.path}' cannot be used: {what}. Get the file again, or leave the raw "
            "recording out with --exclude."
        )
