"""Audio: the spectrogram, its frequencies, its times on either clock, and the go cues that were heard."""

from __future__ import annotations

from collections.abc import Iterator

from .comparing import compare
from .report import Comparison
from .source_folder import SourceFolder, load_array
from .verification import Verification, instance_label, left_out

_COLLECTIONS = ("raw_behavior_data", "raw_task_data_*")
_POWER, _FREQUENCIES = "audioSpectrogram.power.npy", "audioSpectrogram.frequencies.npy"
_TIMES, _TIMES_MIC = "audioSpectrogram.times.npy", "audioSpectrogram.times_mic.npy"
_ONSETS = "audioOnsetGoCue.times_mic.npy"


def check_audio(verification: Verification) -> Iterator[Comparison]:
    """Compare the spectrogram of every task."""
    names = (_POWER, _FREQUENCIES, _TIMES, _TIMES_MIC)
    collections = verification.folder.collections(names, _COLLECTIONS)
    for collection in collections:
        label = instance_label(collections, collection)
        yield from _check_collection(
            verification, verification.folder_of(f"AudioSpectrogram{label}"), collection, label
        )


def _check_collection(
    verification: Verification, folder: SourceFolder, collection: str, label: str
) -> Iterator[Comparison]:
    nwb, module = verification.nwb, "processing/audio"
    power, frequencies, times, times_mic, onsets = (
        folder.first(name, collection) for name in (_POWER, _FREQUENCIES, _TIMES, _TIMES_MIC, _ONSETS)
    )
    if power is None or frequencies is None or (times is None and times_mic is None):
        return
    table = f"{module}/AudioSpectrogram{'' if times is not None else 'MicrophoneClock'}{label}"
    if table not in nwb and verification.was_left_out(f"AudioSpectrogram{label}", [power]):
        yield left_out(power, table)
        return
    yield compare(nwb, power.relative_path, f"{table}/power", load_array(power))
    path = f"{module}/AudioSpectrogramFrequencies{label}/frequency"
    yield compare(nwb, frequencies.relative_path, path, load_array(frequencies).ravel())
    for file, column in ((times, "timestamp"), (times_mic, "time_mic")):
        if file is not None:
            yield compare(nwb, file.relative_path, f"{table}/{column}", load_array(file).ravel(), forced="times")
    if onsets is not None:
        seconds = load_array(onsets).ravel()
        path = f"{module}/AudioOnsetGoCueMicrophoneClock{label}/timestamp"
        if len(seconds):
            yield compare(nwb, onsets.relative_path, path, seconds, forced="times")
        else:
            yield Comparison(onsets.relative_path, path, "not verified", "it is empty: no go cue was heard")
