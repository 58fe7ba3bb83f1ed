"""Which line is on which channel of the sync: from the wiring file, else as IBL's rigs are wired by default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .source_folder import SourceFile, SourceFolder, camel_case, load_json

#: Channel of the first analog input; the ones below are bits of the digital word.
_ANALOG = 16

_RIG = "0 left_camera, 1 right_camera, 2 body_camera, 4 frame2ttl, 5 rotary_encoder_0, 6 rotary_encoder_1, 7 audio"

#: Wiring by default of each kind of recording (ibllib.io.extractors.default_channel_maps).
_DEFAULTS = {
    "board": f"{_RIG}, 3 imec_sync, 16 bpod, 17 laser, 18 laser_ttl",
    "board of a widefield rig": f"{_RIG}, 3 frame_trigger, 16 bpod",
    "probe": "6 imec_sync",
    "probe 3A": "2 left_camera, 3 right_camera, 4 body_camera, 7 bpod, 12 frame2ttl, 13 rotary_encoder_0, "
    "14 rotary_encoder_1, 15 audio",
    "timeline": "0 left_camera, 1 right_camera, 2 belly_camera, 3 frame2ttl, 4 audio, 5 bpod, 6 rotary_encoder, "
    "7 neural_frames, 8 volume_counter",
}

#: Bits of the 3A connector by its pins; the pins left out are ground.
_PINS_3A = {f"pin{pin:02d}": bit for bit, pin in enumerate(pin for pin in range(1, 20) if pin not in (5, 10, 15))}


def read_lines(
    folder: SourceFolder, wiring: Iterable[SourceFile], *, is_probe: bool, namespace: str = "spikeglx"
) -> dict[int, str]:
    """Name of the line on each channel.

    Parameters
    ----------
    folder : SourceFolder
        The session.
    wiring : iterable of SourceFile
        Wiring files and, of a Timeline board, its metadata.
    is_probe : bool
        Whether the recording is a probe's and not the sync board's.
    namespace : str
        ALF namespace of the sync, "timeline" for that board.
    """
    lines: dict[int, str] = {}
    for file in wiring:
        content = load_json(file)
        for entry in content.get("inputs", ()):
            lines[int(entry["arrayColumn"])] = str(entry["name"])
        if content.get("SYSTEM") != "timeline":
            digital, analog = content.get("SYNC_WIRING_DIGITAL"), content.get("SYNC_WIRING_ANALOG")
            for name, line in {**(digital or {}), **(analog or {})}.items():
                channel = _channel(name)
                if channel is not None and line:
                    lines[channel] = line
    return lines or _default_lines(folder, is_probe, namespace)


def name_lines(channels: Iterable[int], lines: dict[int, str], namespace: str = "spikeglx") -> dict[int, str]:
    """Name of each channel, with the number where two of them would be called alike in the file."""
    names = {channel: lines.get(channel, _name_of_unwired(channel, namespace)) for channel in channels}
    counts = Counter(map(camel_case, names.values()))
    return {
        channel: name if counts[camel_case(name)] == 1 else f"{name}_channel_{channel}"
        for channel, name in names.items()
    }


def _channel(name: str) -> int | None:
    """Channel of an input by its name in the wiring file; None for ground."""
    kind, number = name[:3].upper(), name[3:]
    if kind == "P0." and number.isdigit():
        return int(number)
    if kind == "PIN" and number.isdigit():
        return _PINS_3A.get(f"pin{int(number):02d}")
    return _ANALOG + int(name[2:]) if kind[:2] == "AI" and name[2:].isdigit() else None


def _name_of_unwired(channel: int, namespace: str) -> str:
    if namespace != "spikeglx":
        return f"channel_{channel}"
    return f"digital_line_{channel}" if channel < _ANALOG else f"analog_input_{channel - _ANALOG}"


def _default_lines(folder: SourceFolder, is_probe: bool, namespace: str) -> dict[int, str]:
    if is_probe:
        # The names of files of Phase 3A have no number of the probe
        is_3a = any(".imec." in f.name and f.collection.startswith("raw_ephys_data") for f in folder.files)
        kind = "probe 3A" if is_3a else "probe"
    elif namespace == "timeline":
        kind = "timeline"
    else:
        is_widefield = any(f.collection in ("raw_widefield_data", "alf/widefield") for f in folder.files)
        kind = "board of a widefield rig" if is_widefield else "board"
    return {int(channel): line for channel, line in (entry.split() for entry in _DEFAULTS[kind].split(", "))}
