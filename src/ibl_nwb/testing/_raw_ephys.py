"""Raw AP and LF files of one invented probe, compressed with mtscomp the way IBL does."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._clocks import ProbeClock, sync_word
from ._spikeglx_meta import BANDS, spikeglx_meta, volts_per_bit
from ._units import TROUGH_SAMPLE, WAVEFORM_SAMPLES, Units

AP_NOISE_V = 5e-6
LF_NOISE_V = 9e-6
THETA_V = 120e-6
THETA_HZ = 7.0

#: How far apart, in sites, the theta rhythm is in phase.
THETA_SITES = 300.0


def raw_file_stem(probe_index: int) -> str:
    """Give the start of the names of a probe's raw files."""
    return f"_spikeglx_ephysData_g0_t0.imec{probe_index}"


def write_raw_band(
    folder: Path,
    band: str,
    *,
    raw_format: str,
    probe_index: int,
    units: Units,
    clock: ProbeClock,
    n_channels: int,
    duration_s: float,
    created: str,
    generator: np.random.Generator,
) -> None:
    """
    Write one band of one probe: binary (`.cbin` and `.ch`, or `.bin`) and `.meta`.

    Parameters
    ----------
    folder : Path
        Such as ``raw_ephys_data/probe00`` below the session; made when it is missing.
    band : {"ap", "lf"}
    raw_format : {"cbin", "bin"}
        Compressed with mtscomp, or flat.
    probe_index : int
        Position of the probe among those of the session.
    units : Units
        Units whose spikes are in the AP band.
    clock : ProbeClock
        Clock of the probe; also decides where the edges of the sync word are.
    n_channels : int
        Number of saved sites; the sync word follows them as last column.
    duration_s : float
        Seconds to write, from the first sample on.
    created : str
        ISO 8601, naive local time.
    generator : numpy.random.Generator
        Source of random numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    divisor = BANDS[band].divisor
    rate_hz = clock.ap_rate_hz / divisor
    n_samples = round(duration_s * clock.ap_rate_hz) // divisor
    blocks = (
        np.column_stack(
            [
                _ap_block(start, stop, n_channels, units, generator)
                if band == "ap"
                else _lf_block(start, stop, n_channels, rate_hz, generator),
                sync_word(clock.session_times(np.arange(start, stop) * divisor)),
            ]
        )
        for start, stop in _block_bounds(n_samples, rate_hz)
    )
    binary = folder / f"{raw_file_stem(probe_index)}.{band}.bin"
    sha1 = _write_blocks(binary, blocks)
    binary.with_suffix(".meta").write_text(
        spikeglx_meta(
            band,
            probe_index=probe_index,
            n_channels=n_channels,
            n_samples=n_samples,
            sampling_rate_hz=rate_hz,
            sha1=sha1,
            binary_name=binary.name,
            created=created,
        ),
        encoding="utf-8",
        newline="\n",
    )
    if raw_format == "cbin":
        _compress(binary, rate_hz, n_channels + 1)


def _block_bounds(n_samples: int, rate_hz: float) -> Iterator[tuple[int, int]]:
    """Go through the recording by one second, so that a long one needs no more memory than a short one."""
    step = round(rate_hz)
    for start in range(0, n_samples, step):
        yield start, min(start + step, n_samples)


def _ap_block(
    start: int, stop: int, n_channels: int, units: Units, generator: np.random.Generator
) -> NDArray[np.int16]:
    """Give noise and the spikes that reach into samples `start` to `stop`."""
    volts = AP_NOISE_V * generator.standard_normal((stop - start, n_channels), dtype=np.float32)
    onsets = units.spike_samples - TROUGH_SAMPLE
    for spike in np.flatnonzero((onsets > start - WAVEFORM_SAMPLES) & (onsets < stop)):
        unit, onset = units.spike_units[spike], onsets[spike]
        first, last = max(onset, start), min(onset + WAVEFORM_SAMPLES, stop)
        columns = units.raw_channels[units.waveform_channels[unit]]
        snippet = units.waveforms[unit, first - onset : last - onset] * units.spike_scales[spike]
        volts[first - start : last - start, columns] += snippet.astype(np.float32)
    return _to_integers(volts, "ap")


def _lf_block(
    start: int, stop: int, n_channels: int, rate_hz: float, generator: np.random.Generator
) -> NDArray[np.int16]:
    """Give a theta rhythm whose phase changes along the probe, and noise."""
    seconds = np.arange(start, stop)[:, None] / rate_hz
    phase = THETA_HZ * seconds + np.arange(n_channels)[None, :] / THETA_SITES
    noise = LF_NOISE_V * generator.standard_normal((stop - start, n_channels), dtype=np.float32)
    return _to_integers(THETA_V * np.sin(2 * np.pi * phase) + noise, "lf")


def _to_integers(volts: NDArray[np.floating[Any]], band: str) -> NDArray[np.int16]:
    return np.clip(np.rint(volts / volts_per_bit(band)), -512, 511).astype(np.int16)


def _write_blocks(path: Path, blocks: Iterator[NDArray[np.int16]]) -> str:
    """Append blocks of (samples, channels) to a flat file and return its SHA1."""
    sha1 = hashlib.sha1(usedforsecurity=False)
    with path.open("wb") as file:
        for block in blocks:
            data = block.tobytes()
            sha1.update(data)
            file.write(data)
    return sha1.hexdigest()


def _compress(binary: Path, rate_hz: float, n_columns: int) -> None:
    """Replace a flat file by its `.cbin` and `.ch`. All settings are given: mtscomp also reads a user's file."""
    import mtscomp

    mtscomp.compress(
        binary,
        out=binary.with_suffix(".cbin"),
        outmeta=binary.with_suffix(".ch"),
        sample_rate=rate_hz,
        n_channels=n_columns,
        dtype=np.int16,
        algorithm="zlib",
        comp_level=-1,
        chunk_duration=1.0,
        chunk_order="F",
        do_time_diff=True,
        do_spatial_diff=False,
        n_threads=2,
        check_after_compress=False,
        quiet=True,
    )
    binary.unlink()
