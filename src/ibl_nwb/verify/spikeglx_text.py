"""What a SpikeGLX ``.meta`` file says, read as the text that it is: by the SpikeGLX guide, without probeinterface."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np

from .source_folder import SourceFile

#: Probe types (imDatPrb_type) of Neuropixels 2.0 by layout of the imro table, and their sites per row.
_ONE_SHANK, _FOUR_SHANKS, _QUAD_BASE = {"21", "2003"}, {"24", "2013"}, {"2020"}
_NP2 = _ONE_SHANK | _FOUR_SHANKS | _QUAD_BASE

#: Gain of Neuropixels 2.0 by type, and of every other one.
_NP2_GAINS = {"21": 80.0, "24": 80.0}
_NP2_OTHER_GAIN = 100.0

#: Lateral positions of the four columns of Neuropixels 1.0 and of the two of 2.0, and between shanks, in um.
_NP1_X, _NP2_X, _SHANK_PITCH = (43.0, 11.0, 59.0, 27.0), (27.0, 59.0), 250.0


class SpikeGLXText:
    """Fields of a ``.meta`` file.

    Parameters
    ----------
    file : SourceFile
        The file.
    """

    def __init__(self, file: SourceFile):
        lines = file.path.read_text(encoding="utf-8", errors="replace").splitlines()
        pairs = (line.partition("=") for line in lines if "=" in line)
        self.fields = {key.strip().lstrip("~"): value.strip() for key, _, value in pairs}

    @property
    def rate_hz(self) -> float:
        """Samples per second as calibrated."""
        return float(self.fields["imSampRate"])

    @property
    def n_columns(self) -> int:
        """Columns of the raw file, sync words included."""
        return int(self.fields["nSavedChans"])

    @property
    def n_sites(self) -> int:
        """Columns that are voltages."""
        return self.n_columns - int(self.fields["snsApLfSy"].split(",")[2])

    @property
    def probe_type(self) -> str:
        """Number of the type, "0" for Neuropixels 1.0 and 3A."""
        return self.fields.get("imDatPrb_type") or "0"

    @cached_property
    def channels(self) -> list[int]:
        """The probe's channel in each column that is a voltage."""
        saved = self.fields.get("snsSaveChanSubset_orig") or self.fields["snsSaveChanSubset"]
        if saved == "all":
            return list(range(self.n_sites))
        numbers: list[int] = []
        for piece in saved.split(","):
            first, _, last = piece.partition(":")
            numbers += range(int(first), int(last or first) + 1)
        n_ap, n_lf, _ = (int(n) for n in self.fields["snsApLfSy"].split(","))
        first_channel = int(self.fields["acqApLfSy"].split(",")[0]) if n_lf and not n_ap else 0
        return [number - first_channel for number in numbers[: self.n_sites]]

    @property
    def volts_per_count(self) -> np.ndarray:
        """``(n_sites,)`` volts: range / steps / gain."""
        if self.probe_type in _NP2:
            stated = self.fields.get("imChan0apGain")
            gain = float(stated) if stated else _NP2_GAINS.get(self.probe_type, _NP2_OTHER_GAIN)
            gains = [gain] * self.n_sites
        else:
            n_ap, n_lf, _ = (int(n) for n in self.fields["snsApLfSy"].split(","))
            place = 4 if n_lf and not n_ap else 3
            gains = [float(self._wiring[channel][place]) for channel in self.channels]
        steps = float(self.fields.get("imMaxInt") or 512)
        return float(self.fields["imAiRangeMax"]) / steps / np.array(gains)

    def positions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Lateral and axial position (um, IBL's grid) and shank of every site; None for a type not known here."""
        entries = [self._wiring[channel] for channel in self.channels]
        if self.probe_type in _FOUR_SHANKS | _QUAD_BASE:  # channel, shank, bank, reference, site
            shank, site = np.array([[entry[1], entry[4]] for entry in entries]).T
        elif self.probe_type in _ONE_SHANK:  # channel, banks, reference, site
            site = np.array([entry[3] for entry in entries])
            shank = np.zeros_like(site)
        elif self.probe_type == "0":  # channel, bank, ...
            site = np.array([entry[1] * self._channels_per_bank + entry[0] for entry in entries])
            return np.take(_NP1_X, site % 4), 20.0 + 20.0 * (site // 2), np.zeros_like(site)
        else:
            return None
        return np.take(_NP2_X, site % 2) + _SHANK_PITCH * shank, 20.0 + 15.0 * (site // 2), shank

    @cached_property
    def _wiring(self) -> dict[int, list[int]]:
        """Entries of the imro table by channel."""
        entries = [[int(n) for n in text.split()] for text in re.findall(r"\(([\d ]+)\)", self.fields["imroTbl"])]
        return {entry[0]: entry for entry in entries}

    @property
    def _channels_per_bank(self) -> int:
        return int(self.fields["imroTbl"].partition(")")[0].rpartition(",")[2])
