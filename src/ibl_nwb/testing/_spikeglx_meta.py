"""SpikeGLX metadata of an invented Neuropixels 1.0 recording (3B, one probe per headstage)."""

from typing import NamedTuple

from ._probe import N_SITES, PART_NUMBER, serial_number


class Band(NamedTuple):
    """How SpikeGLX numbers and names the channels of a band, and the gain of its amplifier."""

    first_channel: int
    prefix: str
    gain: int
    divisor: int


BANDS = {"ap": Band(0, "AP", 500, 1), "lf": Band(N_SITES, "LF", 250, 12)}
INPUT_RANGE_V = 0.6
MAX_INTEGER = 512
BYTES_PER_VALUE = 2

SYNC_CHANNEL = 2 * N_SITES
REFERENCE_SITE = 191
FIRST_AP_SAMPLE = 2_541_612


def volts_per_bit(band: str) -> float:
    """Give the size of one step of the converter, in volts at the electrode."""
    return INPUT_RANGE_V / MAX_INTEGER / BANDS[band].gain


def spikeglx_meta(
    band: str,
    *,
    probe_index: int,
    n_channels: int,
    n_samples: int,
    sampling_rate_hz: float,
    sha1: str,
    binary_name: str,
    created: str,
) -> str:
    """
    Write the text of a `.meta` file.

    Parameters
    ----------
    band : {"ap", "lf"}
    probe_index : int
        Position of the probe among those of the session.
    n_channels : int
        Number of saved sites, without the sync word; fewer than 384 are the lowest sites of the probe.
    n_samples : int
        Samples per channel.
    sampling_rate_hz : float
        Calibrated rate of this band.
    sha1 : str
        SHA1 of the uncompressed binary, hexadecimal.
    binary_name : str
        Name of the uncompressed binary.
    created : str
        ISO 8601, naive local time.
    """
    first = BANDS[band].first_channel
    # All LF channels and the sync word are neighbours in SpikeGLX's numbering, which merges them in one range.
    is_contiguous = first + n_channels == SYNC_CHANNEL
    subset = f"{first}:{SYNC_CHANNEL}" if is_contiguous else f"{first}:{first + n_channels - 1},{SYNC_CHANNEL}"
    fields = {
        "acqApLfSy": f"{N_SITES},{N_SITES},1",
        "appVersion": "20190327",
        "fileCreateTime": created[:19],
        "fileName": f"D:/{binary_name}",
        "fileSHA1": sha1.upper(),
        "fileSizeBytes": n_samples * (n_channels + 1) * BYTES_PER_VALUE,
        "fileTimeSecs": n_samples / sampling_rate_hz,
        "firstSample": FIRST_AP_SAMPLE // BANDS[band].divisor,
        "gateMode": "Immediate",
        "imAiRangeMax": INPUT_RANGE_V,
        "imAiRangeMin": -INPUT_RANGE_V,
        "imCalibrated": "true",
        "imDatApi": "1.15",
        "imDatHs_pn": "NP2_HS_30",
        "imDatHs_sn": 410 + probe_index,
        "imDatPrb_pn": PART_NUMBER,
        "imDatPrb_port": 1 + probe_index,
        "imDatPrb_slot": 2,
        "imDatPrb_sn": serial_number(probe_index),
        "imDatPrb_type": 0,
        "imLEDEnable": "false",
        "imSampRate": sampling_rate_hz,
        "imTrgRising": "true",
        "imTrgSource": 0,
        "nSavedChans": n_channels + 1,
        "snsApLfSy": f"{n_channels},0,1" if band == "ap" else f"0,{n_channels},1",
        "snsSaveChanSubset": subset,
        "syncImInputSlot": 2,
        "syncSourceIdx": 3,
        "syncSourcePeriod": 1,
        "trigMode": "Immediate",
        "typeImEnabled": 2,
        "typeNiEnabled": 1,
        "typeThis": "imec",
        "userNotes": "",
        "~imroTbl": _imro_table(),
        "~snsChanMap": _channel_map(band, n_channels),
        "~snsShankMap": _shank_map(n_channels),
    }
    return "".join(f"{key}={value}\n" for key, value in fields.items())


def _imro_table() -> str:
    """Give channel, bank, reference, AP gain, LF gain and AP filter of every channel, saved or not."""
    gains = f"{BANDS['ap'].gain} {BANDS['lf'].gain}"
    return f"(0,{N_SITES})" + "".join(f"({channel} 0 0 {gains} 1)" for channel in range(N_SITES))


def _channel_map(band: str, n_channels: int) -> str:
    first, prefix = BANDS[band].first_channel, BANDS[band].prefix
    saved = "".join(f"({prefix}{site};{first + site}:{first + site})" for site in range(n_channels))
    return f"({N_SITES},{N_SITES},1){saved}(SY0;{SYNC_CHANNEL}:{SYNC_CHANNEL})"


def _shank_map(n_channels: int) -> str:
    """Give shank, column, row and use of every saved site; the reference site is not used."""
    sites = "".join(f"(0:{site % 2}:{site // 2}:{int(site != REFERENCE_SITE)})" for site in range(n_channels))
    return f"(1,2,480){sites}"
