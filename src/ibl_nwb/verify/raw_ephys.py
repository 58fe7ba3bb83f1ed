"""Raw AP and LF: every sample, or a random choice of them, the gains, the electrodes, and the times."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

import numpy as np

from .comparing import compare_arrays, compare_value, differs, first_difference, type_name
from .nwb_reading import DamagedObjectError
from .raw_times import compare_sample_times, read_clock
from .report import Comparison
from .snippets import cut_blocks, report_rest, stated_part
from .source_folder import SourceFile, SourceFolder, camel_case, load_json
from .spikeglx_text import SpikeGLXText
from .verification import Verification, left_out

_PROBE_FOLDER = re.compile(r"raw_ephys_data/(probe[^/.]*)")
_RAW_FILE = re.compile(r"ephysData.*\.imec\d*\.(ap|lf)\.c?bin")

#: How far a factor may be off, as a fraction: rounding of float64.
_ROUNDING = 1e-9


class NotOnDiskError(Exception):
    """The samples of a recording are on a server, and are not to be fetched."""


@dataclass(frozen=True)
class _Recording:
    """Files of one band of one probe."""

    band: str
    probe_name: str
    data: SourceFile
    meta: SourceFile
    compression: SourceFile | None
    folder: SourceFolder

    @property
    def collections(self) -> tuple[str, ...]:
        return f"raw_ephys_data/{self.probe_name}", f"raw_ephys_data/{self.probe_name}/*"

    @property
    def series(self) -> str:
        return f"acquisition/ElectricalSeries{self.band.upper()}{camel_case(self.probe_name)}"

    @property
    def instance(self) -> str:
        return f"RawEphys{self.band.upper()}{camel_case(self.probe_name)}"


def check_raw_ephys(verification: Verification) -> Iterator[Comparison]:
    """Compare every band of every probe."""
    for recording in _find_recordings(verification):
        if recording.series not in verification.nwb and verification.was_left_out(recording.instance, [recording.data]):
            yield left_out(recording.data, recording.series)
        elif f"{recording.series}/data" not in verification.nwb:
            path = f"{recording.series}/data"
            yield Comparison(recording.data.relative_path, path, "missing", "it is not in the file")
        else:
            yield from _check_recording(verification, recording)


def _find_recordings(verification: Verification) -> Iterator[_Recording]:
    matches = (_PROBE_FOLDER.match(f.collection) for f in verification.folder.files if _RAW_FILE.fullmatch(f.name))
    for probe_name in sorted({match[1] for match in matches if match}):
        collections = (f"raw_ephys_data/{probe_name}", f"raw_ephys_data/{probe_name}/*")
        for band in ("ap", "lf"):
            folder = verification.folder_of(f"RawEphys{band.upper()}{camel_case(probe_name)}")
            names = [f"ephysData*.imec*.{band}.{extension}" for extension in ("cbin", "bin")]
            data = folder.first(names, collections)
            meta = folder.first(f"ephysData*.imec*.{band}.meta", collections)
            compression = folder.first(f"ephysData*.imec*.{band}.ch", collections)
            if data and meta and (compression or data.name.endswith(".bin")):
                yield _Recording(band, probe_name, data, meta, compression, folder)


def _check_recording(verification: Verification, recording: _Recording) -> Iterator[Comparison]:
    nwb, series, meta = verification.nwb, recording.series, SpikeGLXText(recording.meta)
    with open_blocks(recording.data, recording.compression, meta.n_columns, meta.rate_hz) as (block_bounds, read):
        n_recorded = int(block_bounds[-1])
        part = stated_part(nwb, series, n_recorded)
        block_bounds, read = cut_blocks(block_bounds, read, part)
        yield _check_samples(verification, recording, (len(part), meta.n_sites), block_bounds, read)
    yield from report_rest(recording.data.relative_path, series, part, n_recorded)
    factors = np.full(meta.n_sites, nwb.attributes(f"{series}/data").get("conversion", np.nan), dtype=np.float64)
    if f"{series}/channel_conversion" in nwb:
        factors = factors * nwb.read(f"{series}/channel_conversion")
    volts, dataset = meta.volts_per_count, recording.meta.relative_path
    path, tolerance = f"{series}/data@conversion", _ROUNDING * float(volts.min())
    yield compare_arrays(dataset, path, factors, volts, tolerance=tolerance)
    offset = nwb.attributes(f"{series}/data").get("offset", 0.0)
    yield compare_value(dataset, f"{series}/data@offset", offset, 0.0)
    yield from _check_electrodes(verification, recording, meta)
    clock = read_clock(recording.folder, recording.collections, recording.band, recording.meta)
    yield compare_sample_times(nwb, clock, series, part)


def _check_samples(
    verification: Verification,
    recording: _Recording,
    shape: tuple[int, int],
    bounds: np.ndarray,
    read: Callable[[int], np.ndarray],
) -> Comparison:
    """Compare the samples block by block, all blocks or a random choice of them."""
    nwb, path, dataset = verification.nwb, f"{recording.series}/data", recording.data.relative_path
    if nwb.shape(path) != shape:
        return Comparison(dataset, path, "different", f"shape {nwb.shape(path)} instead of {shape}")
    if type_name(nwb.dtype(path)) != "int16":
        return Comparison(dataset, path, "different", f"type {type_name(nwb.dtype(path))} instead of int16")
    blocks = choose_blocks(len(bounds) - 1, verification.sample, verification.seed, path)
    n_differing, first = 0, None
    for block in blocks:
        start, stop = int(bounds[block]), int(bounds[block + 1])
        try:
            found = nwb.read(path, start, stop)
        except DamagedObjectError as error:
            return Comparison(dataset, path, "different", str(error))
        try:
            expected = read(block)[:, : shape[1]]
        except NotOnDiskError as error:
            return Comparison(dataset, path, "not verified", str(error))
        differing = differs(found, expected)
        if differing.any():
            first = first or first_difference(found, expected, differing, (start,))
            n_differing += int(differing.sum())
    compared = f"{len(blocks)} of {len(bounds) - 1} blocks compared"
    if first is not None:
        return Comparison(dataset, path, "different", f"{n_differing} values differ, {compared}", first)
    return Comparison(dataset, path, "equal", "" if verification.sample is None else f"{compared} (random choice)")


def choose_blocks(n_blocks: int, sample: float | None, seed: int, path: str) -> np.ndarray:
    """Which blocks of a recording to compare: all, or a choice that depends on nothing but the arguments.

    Parameters
    ----------
    n_blocks : int
        Blocks there are.
    sample : float or None
        Fraction of them to compare, one at least; None for all.
    seed : int
        Seed of the choice.
    path : str
        The object in the file; every recording gets a choice of its own.
    """
    if sample is None:
        return np.arange(n_blocks)
    generator = np.random.default_rng([seed, zlib.crc32(path.encode())])
    n_chosen = min(n_blocks, max(1, ceil(sample * n_blocks)))
    return np.sort(generator.choice(n_blocks, n_chosen, replace=False))


@contextmanager
def open_blocks(
    data: SourceFile, compression: SourceFile | None, n_columns: int, rate_hz: float
) -> Iterator[tuple[np.ndarray, Callable[[int], np.ndarray]]]:
    """Bounds of the blocks of a raw file, and a function that reads all columns of one block.

    Parameters
    ----------
    data, compression : SourceFile
        The samples, and the ``.ch`` file if they are compressed.
    n_columns : int
        Columns of the file.
    rate_hz : float
        Samples per second: a flat file is read by the second.

    Raises
    ------
    NotOnDiskError
        From the function, if the file is on a server and no block of it is to be fetched.
    """
    if compression is not None and not data.path.is_file():
        yield _open_on_server(data, compression, n_columns)
        return
    if compression is not None and data.path.suffix == ".cbin":
        import mtscomp

        reader = mtscomp.Reader(n_threads=1, quiet=True)
        reader.open(str(data.path), str(compression.path))
        bounds = np.array(reader.chunk_bounds)
        try:
            yield bounds, lambda block: reader[int(bounds[block]) : int(bounds[block + 1])]
        finally:
            reader.close()
        return
    samples = np.memmap(data.path, dtype="<i2", mode="r").reshape(-1, n_columns)
    bounds = np.append(np.arange(0, len(samples), max(1, round(rate_hz))), len(samples))
    yield bounds, lambda block: samples[bounds[block] : bounds[block + 1]]


def _open_on_server(
    data: SourceFile, compression: SourceFile, n_columns: int
) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
    """Like :func:`open_blocks`, of a file that is not on disk; mtscomp itself reads only from disks."""
    header = load_json(compression)
    offsets = header["chunk_offsets"]
    reader = None
    if data.url is not None:
        from ..acquire.ranges import RangeReader

        reader = RangeReader(data.url, offsets[-1])

    def read(block: int) -> np.ndarray:
        if reader is None:
            raise NotOnDiskError(
                "not on this disk: it was read from a server. With the document that was converted and --sample, a "
                "part is compared with what the server has"
            )
        content = zlib.decompress(reader.read(offsets[block], offsets[block + 1] - offsets[block]))
        differences = np.frombuffer(content, "<i2").reshape(n_columns, -1)
        return np.cumsum(differences, axis=1, dtype=np.int16).T

    return np.array(header["chunk_bounds"]), read


def _check_electrodes(verification: Verification, recording: _Recording, meta: SpikeGLXText) -> Iterator[Comparison]:
    """The electrodes that the series refers to: one per column, of this probe, in the order of the file."""
    nwb, table, path = verification.nwb, "general/extracellular_ephys/electrodes", f"{recording.series}/electrodes"
    groups, channels = nwb.read_column(table, "group_name"), nwb.read_column(table, "channel")
    dataset = recording.meta.relative_path
    if path not in nwb or groups is None or channels is None:
        yield Comparison(dataset, path, "missing", "the series or the table of electrodes is incomplete")
        return
    rows = nwb.read(path)
    if rows.size and not 0 <= rows.min() <= rows.max() < len(groups):
        yield Comparison(dataset, path, "different", f"it refers to rows {rows.min()} to {rows.max()} of {len(groups)}")
        return
    yield compare_arrays(f"{dataset}:channel", path, channels[rows], np.arange(meta.n_sites, dtype=channels.dtype))
    probes = np.array([str(name).split("_shank")[0] for name in groups[rows]], dtype=object)
    expected = np.full(meta.n_sites, recording.probe_name, dtype=object)
    yield compare_arrays(f"{dataset}:probe", path, probes, expected)
