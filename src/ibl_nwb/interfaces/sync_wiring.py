"""What each channel of a sync recording is wired to: by the wiring file of the session, else by IBL's default maps.

Channel numbers are those of ``_spikeglx_sync.channels``: bits of the digital word from 0, analog inputs from 16.
Timeline counts the columns of its recording, from 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import DatasetInconsistentError
from ..session import ALFSession, Dataset, load_json
from .base import camel_case

#: Number of the first analog input among the sync channels of SpikeGLX; the ones below are bits of the digital word.
FIRST_ANALOG_CHANNEL = 16

_BEHAVIOR_RIG = {
    0: "left_camera",
    1: "right_camera",
    2: "body_camera",
    4: "frame2ttl",
    5: "rotary_encoder_0",
    6: "rotary_encoder_1",
    7: "audio",
    16: "bpod",
}

#: IBL's wiring of each kind of recording where no file tells (ibllib.io.extractors.default_channel_maps).
DEFAULT_LINES: dict[str, dict[int, str]] = {
    "3B nidq": {**_BEHAVIOR_RIG, 3: "imec_sync", 17: "laser", 18: "laser_ttl"},
    "nidq": {**_BEHAVIOR_RIG, 3: "frame_trigger"},
    "3B probe": {6: "imec_sync"},
    "3A probe": {
        2: "left_camera",
        3: "right_camera",
        4: "body_camera",
        7: "bpod",
        12: "frame2ttl",
        13: "rotary_encoder_0",
        14: "rotary_encoder_1",
        15: "audio",
    },
    "timeline": {
        0: "left_camera",
        1: "right_camera",
        2: "belly_camera",
        3: "frame2ttl",
        4: "audio",
        5: "bpod",
        6: "rotary_encoder",
        7: "neural_frames",
        8: "volume_counter",
    },
}

#: Pins of the 3A connector in the order of their bits; the others are ground (neuropixel.SYNC_PIN_OUT).
_PINS_3A = (1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19)

#: Spellings of an input in a wiring file: port and bit of a DAQ, pin of a 3A probe, analog input.
_DIGITAL_INPUT = re.compile(r"P0\.(\d+)", re.IGNORECASE)
_PIN_3A = re.compile(r"pin(\d+)", re.IGNORECASE)
_ANALOG_INPUT = re.compile(r"AI(\d+)", re.IGNORECASE)


def read_lines(wiring: list[Dataset], kind: str) -> dict[int, str]:
    """Name of the line on each sync channel.

    Parameters
    ----------
    wiring : list of Dataset
        The wiring file (``*.wiring.json``) and the metadata of another board than a NIDQ (``DAQdata.meta.json``), of
        which Timeline's name the lines; as far as there are any.
    kind : str
        Kind of the recording, a key of :data:`DEFAULT_LINES`: what is taken without a file.

    Returns
    -------
    dict of int to str
        IBL's names, e.g. "left_camera", by channel number.

    Raises
    ------
    DatasetUnreadableError, DatasetInconsistentError
        If the file is not JSON, or not that of a wiring.
    """
    lines: dict[int, str] = {}
    for dataset in wiring:
        content = load_json(dataset)
        if not isinstance(content, dict):
            raise DatasetInconsistentError(
                f"'{dataset.path}' does not describe a wiring: it holds {type(content).__name__} instead of an object. "
                "Get the file again, or remove it to have IBL's default wiring."
            )
        lines |= _timeline_lines(content) if "inputs" in content else _wired_lines(content)
    return lines or dict(DEFAULT_LINES[kind])


def recording_kind(session: ALFSession, namespace: str, *, is_probe: bool) -> str:
    """Kind of a sync recording, a key of :data:`DEFAULT_LINES`.

    Parameters
    ----------
    session : ALFSession
        The session.
    namespace : str
        ALF namespace of the sync datasets, e.g. "spikeglx".
    is_probe : bool
        Whether it is the sync word of a probe and not the sync board.
    """
    if is_probe:
        # Only Phase 3A has no number in the names of its files.
        return "3A probe" if session.find("ephysData*.imec.*", collections="raw_ephys_data*") else "3B probe"
    if namespace == "timeline":
        return "timeline"
    is_widefield = any(d.collection in ("raw_widefield_data", "alf/widefield") for d in session.datasets)
    return "nidq" if is_widefield else "3B nidq"


def line_name(channel: int, lines: Mapping[int, str], namespace: str = "spikeglx") -> str:
    """Name of a channel's line in snake case; one that nobody named is called after what it is and its number."""
    if channel in lines:
        return lines[channel]
    if namespace != "spikeglx":
        return f"channel_{channel}"
    if channel < FIRST_ANALOG_CHANNEL:
        return f"digital_line_{channel}"
    return f"analog_input_{channel - FIRST_ANALOG_CHANNEL}"


def distinct_names(channels: list[int], lines: Mapping[int, str], namespace: str = "spikeglx") -> dict[int, str]:
    """Names of channels in snake case, with the number where two of them would have the same object name."""
    names = {channel: line_name(channel, lines, namespace) for channel in channels}
    objects = [camel_case(name) for name in names.values()]
    return {
        channel: name if objects.count(camel_case(name)) == 1 else f"{name}_channel_{channel}"
        for channel, name in names.items()
    }


def describe_bits(lines: Mapping[int, str]) -> str:
    """Which line is on which bit of a digital word, as a sentence."""
    listed = ", ".join(f"{bit} {name}" for bit, name in sorted(lines.items()) if bit < FIRST_ANALOG_CHANNEL)
    return f"Bits, counted from 0: {listed}." if listed else "No line is named."


def _wired_lines(content: dict[str, Any]) -> dict[int, str]:
    lines: dict[int, str] = {}
    if content.get("SYSTEM") == "timeline":  # keyed by the inputs of the board, which are not the channels
        return lines
    inputs = {**_section(content, "SYNC_WIRING_DIGITAL"), **_section(content, "SYNC_WIRING_ANALOG")}
    for input_name, line in inputs.items():
        channel = _channel_number(input_name)
        if channel is not None and isinstance(line, str) and line:
            lines[channel] = line
    return lines


def _section(content: dict[str, Any], key: str) -> dict[str, Any]:
    section = content.get(key)
    return section if isinstance(section, dict) else {}


def _channel_number(input_name: str) -> int | None:
    """Sync channel of an input, None for ground pins and spellings that are not IBL's."""
    if match := _DIGITAL_INPUT.fullmatch(input_name):
        return int(match[1])
    if match := _ANALOG_INPUT.fullmatch(input_name):
        return FIRST_ANALOG_CHANNEL + int(match[1])
    match = _PIN_3A.fullmatch(input_name)
    return _PINS_3A.index(int(match[1])) if match and int(match[1]) in _PINS_3A else None


def _timeline_lines(content: dict[str, Any]) -> dict[int, str]:
    return {int(line["arrayColumn"]): str(line["name"]) for line in content["inputs"]}
