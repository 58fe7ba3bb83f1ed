"""Recording of the sync board of an invented session: a digital word, one analog line, metadata and wiring."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._clocks import SYNC_CHANNELS
from ._files import Datasets
from ._raw_ephys import _compress, _write_blocks
from ._trials import Trials

NIDQ_STEM = "_spikeglx_ephysData_g0_t0.nidq"
NIDQ_RATE_HZ = 30_003.0003
NIDQ_RANGE_V = 5.0
NIDQ_MAX_INTEGER = 32_768

#: Length of the Bpod's pulse at the start of a trial, and its voltage.
TRIAL_START_PULSE_S = 0.0001
BPOD_V = 3.3
NOISE_V = 0.002

#: Lines of the default wiring that no front of the invented session uses.
UNUSED_LINES = {"rotary_encoder_0": 5, "rotary_encoder_1": 6}

#: Analog inputs in the wiring file, of which only the first was acquired, as at real rigs.
ANALOG_LINES = ("bpod", "laser", "laser_ttl")


def write_nidq(
    session_path: Path,
    fronts: Datasets,
    trials: Trials,
    *,
    raw_format: str,
    duration_s: float,
    created: str,
    generator: np.random.Generator,
) -> None:
    """
    Write the recording of the sync board: binary (`.cbin` and `.ch`, or `.bin`), `.meta` and `.wiring.json`.

    Parameters
    ----------
    session_path : Path
    fronts : dict
        The sync fronts of the session; the bits of the digital word follow them.
    trials : dict of str to numpy.ndarray
        Trials whose starts gave pulses on the analog line.
    raw_format : {"cbin", "bin"}
        Compressed with mtscomp, or flat.
    duration_s : float
        Seconds to write, from the start of the session on.
    created : str
        ISO 8601, naive local time.
    generator : numpy.random.Generator
        Source of random numbers.
    """
    folder = session_path / "raw_ephys_data"
    folder.mkdir(parents=True, exist_ok=True)
    seconds = np.arange(round(duration_s * NIDQ_RATE_HZ)) / NIDQ_RATE_HZ
    columns = np.column_stack([_analog_line(seconds, trials, generator), _digital_word(seconds, fronts)])
    binary = folder / f"{NIDQ_STEM}.bin"
    sha1 = _write_blocks(binary, iter([columns]))
    binary.with_suffix(".meta").write_text(_nidq_meta(len(columns), sha1, created), encoding="utf-8", newline="\n")
    wiring = json.dumps(_wiring(), indent=4) + "\n"
    binary.with_suffix(".wiring.json").write_text(wiring, encoding="utf-8", newline="\n")
    if raw_format == "cbin":
        _compress(binary, NIDQ_RATE_HZ, columns.shape[1])


def _analog_line(seconds: NDArray[np.float64], trials: Trials, generator: np.random.Generator) -> NDArray[np.int16]:
    """Give the Bpod's voltage: noise, and a pulse at every start of a trial."""
    volts = NOISE_V * generator.standard_normal(len(seconds))
    for start in trials["intervals"][:, 0]:
        volts[(seconds >= start) & (seconds < start + TRIAL_START_PULSE_S)] += BPOD_V
    return np.rint(volts / NIDQ_RANGE_V * NIDQ_MAX_INTEGER).astype(np.int16)


def _digital_word(seconds: NDArray[np.float64], fronts: Datasets) -> NDArray[np.int16]:
    """Give the word whose bits are high from every rising front to the falling front after it."""
    arrays = {path.split(".")[-2]: np.asarray(values) for path, values in fronts.items()}
    word = np.zeros(len(seconds), dtype=np.int16)
    for channel in np.unique(arrays["channels"]):
        on_line = arrays["channels"] == channel
        n_fronts = np.searchsorted(arrays["times"][on_line], seconds, side="right")
        is_high = np.concatenate([[-1.0], arrays["polarities"][on_line]])[n_fronts] > 0
        word |= np.where(is_high, 1 << int(channel), 0).astype(np.int16)
    return word


def _wiring() -> dict[str, object]:
    digital = {**SYNC_CHANNELS, **UNUSED_LINES}
    return {
        "SYSTEM": "3B",
        "SYNC_WIRING_DIGITAL": {f"P0.{bit}": line for line, bit in sorted(digital.items(), key=lambda item: item[1])},
        "SYNC_WIRING_ANALOG": {f"AI{number}": line for number, line in enumerate(ANALOG_LINES)},
    }


def _nidq_meta(n_samples: int, sha1: str, created: str) -> str:
    fields = {
        "acqMnMaXaDw": "0,0,1,1",
        "appVersion": "20190327",
        "fileCreateTime": created[:19],
        "fileName": f"D:/{NIDQ_STEM}.bin",
        "fileSHA1": sha1.upper(),
        "fileSizeBytes": n_samples * 4,
        "fileTimeSecs": n_samples / NIDQ_RATE_HZ,
        "firstSample": 2_541_870,
        "nSavedChans": 2,
        "niAiRangeMax": NIDQ_RANGE_V,
        "niAiRangeMin": -NIDQ_RANGE_V,
        "niDev1": "PXI1Slot2",
        "niDev1ProductName": "PXIe-6341",
        "niMAChans1": "",
        "niMAGain": 1,
        "niMNChans1": "",
        "niMNGain": 200,
        "niSampRate": NIDQ_RATE_HZ,
        "niXAChans1": 0,
        "niXDBytes1": 1,
        "niXDChans1": "0:7",
        "snsMnMaXaDw": "0,0,1,1",
        "snsSaveChanSubset": "all",
        "syncNiChan": SYNC_CHANNELS["imec_sync"],
        "typeThis": "nidq",
        "~snsChanMap": "(0,0,1,1,1)(XA0;0:0)(XD0;1:1)",
    }
    return "".join(f"{key}={value}\n" for key, value in fields.items())
