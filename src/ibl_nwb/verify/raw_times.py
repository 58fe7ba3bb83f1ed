"""Times of the samples of a raw recording, against the knots that IBL matched between probe and session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .comparing import FORCED_TYPES, REGULAR_TOLERANCE_S, ROUNDING_S, differs, first_difference, type_name
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, load_array
from .spikeglx_text import SpikeGLXText

#: AP samples per LF sample, where no AP metadata are beside those of the LF band.
_LF_DIVISOR = 12

#: How far the quotient of two rates may be from the whole number that it stands for.
_QUOTIENT_TOLERANCE = 0.01

#: Samples whose times are compared at a time.
_BLOCK_LENGTH = 2**22


@dataclass(frozen=True)
class Clock:
    """What gives a sample its time.

    Attributes
    ----------
    dataset : str
        The file that tells: the knots, or the metadata where there are none.
    knots : numpy.ndarray
        ``(k, 2)`` AP samples and seconds on the session clock; empty for the probe's own clock.
    ap_rate_hz, ap_samples_per_sample : float
        Rate of the AP band, and how many of its samples there are per sample of the recording.
    """

    dataset: str
    knots: np.ndarray
    ap_rate_hz: float
    ap_samples_per_sample: float

    def seconds(self, samples: np.ndarray) -> np.ndarray:
        """Times of samples: a line through each pair of neighbouring knots, the outer lines going on."""
        ap_samples = samples * self.ap_samples_per_sample
        if len(self.knots) < 2:
            first_sample, first_second = self.knots[0] if len(self.knots) else (0.0, 0.0)
            return first_second + (ap_samples - first_sample) / self.ap_rate_hz
        segment = np.searchsorted(self.knots[:, 0], ap_samples, side="right") - 1
        segment = np.clip(segment, 0, len(self.knots) - 2)
        slopes = np.diff(self.knots[:, 1]) / np.diff(self.knots[:, 0])
        return self.knots[segment, 1] + (ap_samples - self.knots[segment, 0]) * slopes[segment]


def read_clock(folder: SourceFolder, collections: tuple[str, ...], band: str, meta_file: SourceFile) -> Clock:
    """Read the knots of a probe, and the rates.

    Parameters
    ----------
    folder : SourceFolder
        The session.
    collections : tuple of str
        Where the files of the probe are, patterns allowed.
    band : {"ap", "lf"}
        Its band.
    meta_file : SourceFile
        Its metadata.
    """
    rate_hz = SpikeGLXText(meta_file).rate_hz
    ap_rate_hz, quotient = rate_hz, 1.0
    if band == "lf":
        ap_meta = folder.first("ephysData*.imec*.ap.meta", collections)
        ap_rate_hz = rate_hz * _LF_DIVISOR if ap_meta is None else SpikeGLXText(ap_meta).rate_hz
        quotient = ap_rate_hz / rate_hz
        quotient = float(round(quotient)) if abs(quotient - round(quotient)) < _QUOTIENT_TOLERANCE else quotient
    for name, ap_samples_per_unit in (("timestamps", 1.0), ("sync", ap_rate_hz)):
        file = folder.first(f"ephysData*.imec*.{name}.npy", collections)
        if file is not None:
            return Clock(file.relative_path, load_array(file) * [ap_samples_per_unit, 1.0], ap_rate_hz, quotient)
    return Clock(meta_file.relative_path, np.empty((0, 2)), ap_rate_hz, quotient)


def compare_sample_times(nwb: NWBReader, clock: Clock, series_path: str, part: range) -> Comparison:
    """Compare the time of every sample, in blocks: timestamps to rounding, a start and a rate to 1 µs.

    Parameters
    ----------
    nwb : NWBReader
        The file.
    clock : Clock
        Clock of the recording.
    series_path : str
        The series.
    part : range
        The samples of the recording that the series holds.
    """
    path, start_path = f"{series_path}/timestamps", f"{series_path}/starting_time"
    has_timestamps = path in nwb
    if not has_timestamps and start_path not in nwb:
        return Comparison(clock.dataset, start_path, "missing", "the series has neither timestamps nor a starting time")
    if has_timestamps:
        tolerance = ROUNDING_S
        found_type, forced_type = type_name(nwb.dtype(path)), type_name(FORCED_TYPES["times"])
        if found_type != forced_type or nwb.shape(path) != (len(part),):
            reason = f"{found_type} {nwb.shape(path)} instead of {forced_type} {(len(part),)}"
            return Comparison(clock.dataset, path, "different", reason)
    else:
        path, tolerance = start_path, REGULAR_TOLERANCE_S + ROUNDING_S
        start_s, rate_hz = float(nwb.read(path).ravel()[0]), float(nwb.attributes(path).get("rate", np.nan))
    for start in range(0, len(part), _BLOCK_LENGTH):
        samples = np.arange(start, min(start + _BLOCK_LENGTH, len(part)))
        expected = clock.seconds(part.start + samples)
        found = nwb.read(path, start, start + len(samples)) if has_timestamps else start_s + samples / rate_hz
        differing = differs(found, expected, tolerance)
        if differing.any():
            first = first_difference(found, expected, differing, (start,))
            return Comparison(clock.dataset, path, "different", f"off by more than {tolerance:g} s", first)
    reason = "" if has_timestamps else f"start and rate, to within {REGULAR_TOLERANCE_S:g} s"
    return Comparison(clock.dataset, path, "equal", reason)
