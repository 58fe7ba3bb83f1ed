"""Sync board and sync words of probes: single columns of raw recordings, every sample or a random choice of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .columns import compare_unit
from .comparing import differs, first_difference, type_name
from .nwb_reading import DamagedObjectError, NWBReader
from .raw_ephys import NotOnDiskError, choose_blocks, open_blocks
from .raw_times import Clock, compare_sample_times, read_clock
from .report import Comparison, Difference
from .snippets import cut_blocks, report_rest, stated_part
from .source_folder import SourceFile, SourceFolder, camel_case
from .spikeglx_text import SpikeGLXText
from .sync_lines import name_lines, read_lines
from .verification import Verification, instance_label, left_out, metadata_key

_BOARD_COLLECTIONS = ("raw_ephys_data", "raw_sync_data")
_PROBE_FOLDER = re.compile(r"raw_ephys_data/(probe[^/.]*)")
_BANDS = {"": "ap", "LF": "lf"}

#: Kinds of columns of the sync board in the order of the file (``snsMnMaXaDw``), and the field with their gain.
_KINDS = {"MN": "niMNGain", "MA": "niMAGain", "XA": "", "DW": ""}

#: Range of the converter of the sync board where ``niMaxInt`` is absent (SpikeGLX metadata guide).
_BOARD_STEPS = 32768.0

#: Channel of the first analog input in the wiring.
_FIRST_ANALOG = 16


@dataclass(frozen=True)
class _Files:
    """One raw file and what goes with it."""

    data: SourceFile
    meta: SourceFile
    compression: SourceFile | None


@dataclass(frozen=True)
class _Series:
    """One series of the file, the columns of the source that it holds, and its factor to a unit."""

    path: str
    columns: slice
    unit: str
    conversion: float


def check_nidq(verification: Verification) -> Iterator[Comparison]:
    """Compare the analog lines and the digital word of every sync board."""
    collections = verification.folder.collections(_names("nidq.", ("cbin", "bin", "meta")), _BOARD_COLLECTIONS)
    for collection in collections:
        label = instance_label(collections, collection)
        folder = verification.folder_of(f"NIDQ{label}")
        files = _find(folder, "nidq", collection)
        if files is None:
            continue
        meta = SpikeGLXText(files.meta)
        series = _board_series(verification, folder, collection, label, meta)
        if verification.was_left_out(f"NIDQ{label}", [files.data]) and not _any_written(verification.nwb, series):
            yield left_out(files.data, series[0].path)
            continue
        rate_hz = float(meta.fields["niSampRate"])
        clock = Clock(files.meta.relative_path, np.empty((0, 2)), rate_hz, 1.0)
        yield from _check_series(verification, files, series, meta.n_columns, rate_hz, clock)


def check_probe_sync(verification: Verification) -> Iterator[Comparison]:
    """Compare the sync word of every probe, which is in the file only if it was asked for."""
    nwb = verification.nwb
    names = _names("imec*.ap.", ("cbin", "bin")) + _names("imec*.lf.", ("cbin", "bin"))
    collections = verification.folder.collections(names, ("raw_ephys_data/probe*",))
    for probe_name in sorted({found[1] for c in collections if (found := _PROBE_FOLDER.match(c))}):
        places = (f"raw_ephys_data/{probe_name}", f"raw_ephys_data/{probe_name}/*")
        for prefix, band in _BANDS.items():
            instance = f"ProbeSync{prefix}{camel_case(probe_name)}"
            folder = verification.folder_of(instance)
            files = _find(folder, f"imec*.{band}", *places)
            if files is None:
                continue
            default = f"TimeSeriesSync{prefix}{camel_case(probe_name)}"
            path = f"acquisition/{verification.stated(default, 'ProbeSync', metadata_key(instance), 'name')}"
            meta = SpikeGLXText(files.meta)
            if path not in nwb and (meta.n_sites == meta.n_columns or not verification.took_part(instance)):
                if band == "ap" or _find(folder, "imec*.ap", *places) is None:
                    yield _without_word(files.data, path, meta)
                continue
            clock = read_clock(folder, places, band, files.meta)
            series = [_Series(path, slice(meta.n_sites, meta.n_columns), "n.a.", 1.0)]
            yield from _check_series(verification, files, series, meta.n_columns, meta.rate_hz, clock)


def _without_word(data: SourceFile, path: str, meta: SpikeGLXText) -> Comparison:
    reason = "left out: the sync words of probes are converted only when they are asked for"
    if meta.n_sites == meta.n_columns:
        reason = "not converted: it was saved without its sync word"
    return Comparison(f"{data.relative_path}:sync word", path, "not verified", reason)


def _names(kind: str, extensions: tuple[str, ...]) -> list[str]:
    return [f"ephysData*.{kind}{extension}" for extension in extensions]


def _find(folder: SourceFolder, kind: str, *collections: str) -> _Files | None:
    """Files of a recording, None if it is incomplete."""
    data = folder.first(_names(f"{kind}.", ("cbin", "bin")), collections)
    meta = folder.first(f"ephysData*.{kind}.meta", collections)
    compression = folder.first(f"ephysData*.{kind}.ch", collections)
    if data is None or meta is None or (compression is None and data.name.endswith(".cbin")):
        return None
    return _Files(data, meta, compression)


def _any_written(nwb: NWBReader, series: list[_Series]) -> bool:
    return any(one.path in nwb for one in series)


def _board_series(
    verification: Verification, folder: SourceFolder, collection: str, label: str, meta: SpikeGLXText
) -> list[_Series]:
    """What the file has of a sync board: one series per analog column, and one for the digital words."""
    counts = [int(count) for count in meta.fields["snsMnMaXaDw"].split(",")]
    kinds = [f"{kind}{number}" for kind, count in zip(_KINDS, counts, strict=True) for number in range(count)]
    analog = [kind for kind in kinds if not kind.startswith("DW")]
    wired = read_lines(folder, folder.find("ephysData*.nidq.wiring.json", collection), is_probe=False)
    lines = name_lines([_FIRST_ANALOG + number for number in range(counts[2])], wired)
    volts = float(meta.fields["niAiRangeMax"]) / float(meta.fields.get("niMaxInt") or _BOARD_STEPS)
    place = ("NIDQ", metadata_key(f"NIDQ{label}"))
    series = []
    for column, kind in enumerate(analog):
        gain_field = _KINDS[kind[:2]]
        factor = volts / float(meta.fields[gain_field]) if gain_field else volts
        line = kind.lower() if gain_field else lines[_FIRST_ANALOG + int(kind[2:])]
        name = verification.stated(f"NIDQ{camel_case(line)}{label}", *place, line, "name")
        series.append(_Series(f"acquisition/{name}", slice(column, column + 1), "volts", factor))
    if len(kinds) > len(analog):
        name = verification.stated(f"NIDQDigitalWord{label}", *place, "digital_word", "name")
        series.append(_Series(f"acquisition/{name}", slice(len(analog), len(kinds)), "n.a.", 1.0))
    return series


def _check_series(
    verification: Verification,
    files: _Files,
    all_series: list[_Series],
    n_columns: int,
    rate_hz: float,
    clock: Clock,
) -> Iterator[Comparison]:
    """Compare several series with one reading of the raw file."""
    nwb, dataset = verification.nwb, files.data.relative_path
    written = [series for series in all_series if series.path in nwb]
    with open_blocks(files.data, files.compression, n_columns, rate_hz) as (bounds, read):
        n_recorded = int(bounds[-1])
        part = stated_part(nwb, written[0].path, n_recorded) if written else range(n_recorded)
        bounds, read = cut_blocks(bounds, read, part)
        unfit = {series.path: _find_unfit(nwb, dataset, series, len(part)) for series in all_series}
        comparisons = {s.path: _SampleComparison(nwb, s) for s in all_series if unfit[s.path] is None}
        blocks = choose_blocks(len(bounds) - 1, verification.sample, verification.seed, dataset)
        for block in blocks if comparisons else ():
            try:
                expected = read(block)
            except NotOnDiskError as error:
                absent = [Comparison(dataset, f"{path}/data", "not verified", str(error)) for path in comparisons]
                unfit.update(zip(comparisons, absent, strict=True))
                break
            for comparison in comparisons.values():
                comparison.add(expected, int(bounds[block]))
    compared = f"{len(blocks)} of {len(bounds) - 1} blocks compared"
    for path, row in unfit.items():
        yield row or comparisons[path].row(dataset, compared, verification.sample is not None)
    for series in written:
        yield from report_rest(dataset, series.path, part, n_recorded)
        meta = files.meta.relative_path
        yield from compare_unit(nwb, meta, f"{series.path}/data", series.unit, series.conversion)
        yield compare_sample_times(nwb, clock, series.path, part)


def _find_unfit(nwb: NWBReader, dataset: str, series: _Series, n_samples: int) -> Comparison | None:
    """Why the samples of a series cannot be compared one by one, if so."""
    path, n_columns = f"{series.path}/data", series.columns.stop - series.columns.start
    if not nwb.is_array(path):
        return Comparison(dataset, path, "missing", "it is not in the file")
    shape = (n_samples,) if n_columns == 1 else (n_samples, n_columns)
    if nwb.shape(path) != shape:
        return Comparison(dataset, path, "different", f"shape {nwb.shape(path)} instead of {shape}")
    if type_name(nwb.dtype(path)) != "int16":
        return Comparison(dataset, path, "different", f"type {type_name(nwb.dtype(path))} instead of int16")
    return None


class _SampleComparison:
    """Comparison of one series, block by block."""

    def __init__(self, nwb: NWBReader, series: _Series):
        self._nwb, self._path, self._columns = nwb, f"{series.path}/data", series.columns
        self._n_differing = 0
        self._first: Difference | None = None
        self._damage = ""

    def add(self, block: np.ndarray, start: int) -> None:
        """Compare a block of all columns of the raw file, which begins at a sample."""
        try:
            found = self._nwb.read(self._path, start, start + len(block))
        except DamagedObjectError as error:
            self._damage = str(error)
            return
        expected = block[:, self._columns].reshape(found.shape)
        differing = differs(found, expected)
        if differing.any():
            self._first = self._first or first_difference(found, expected, differing, (start,))
            self._n_differing += int(differing.sum())

    def row(self, dataset: str, compared: str, is_sample: bool) -> Comparison:
        """What came of it."""
        if self._damage:
            return Comparison(dataset, self._path, "different", self._damage)
        if self._first is not None:
            reason = f"{self._n_differing} values differ, {compared}"
            return Comparison(dataset, self._path, "different", reason, self._first)
        return Comparison(dataset, self._path, "equal", f"{compared} (random choice)" if is_sample else "")
