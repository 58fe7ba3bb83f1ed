"""What the microphone of an invented session recorded, on the microphone's clock."""

import numpy as np

from ._files import Datasets
from ._task_files import raw_task_collection
from ._trials import Trials

SAMPLING_RATE_HZ = 192_000
SAMPLES_PER_WINDOW = 2**18
WELCH_POINTS = 512
GO_TONE_HZ = 5000.0

#: The microphone starts this much before the session clock, so that its first windows lie before zero.
MICROPHONE_LEAD_S = 1.7234


def audio_datasets(
    trials: Trials,
    session_end_s: float,
    task_collection: str,
    generator: np.random.Generator,
    *,
    session_times: bool,
) -> Datasets:
    """
    Invent the spectrogram of the whole session and the detected go cues.

    Parameters
    ----------
    trials : dict of str to numpy.ndarray
        Trials whose go cues are heard. One of them is missed.
    session_end_s : float
        End of the recording on the session clock.
    task_collection : str
        Task collection such as ``"alf"``; the files go to its raw folder.
    generator : numpy.random.Generator
        Source of random numbers.
    session_times : bool
        Whether the microphone could be aligned, that is whether ``times`` (session clock) exists beside ``times_mic``.

    Returns
    -------
    dict
        ``power`` (w, 257) in (sample unit)^2/Hz, ``frequencies`` (1, 257) in Hz, ``times_mic`` and ``times`` (w, 1) in
        seconds, all float32; onsets (m,) float64 in seconds of the microphone.
    """
    hop = SAMPLES_PER_WINDOW / 2 / SAMPLING_RATE_HZ
    window = SAMPLES_PER_WINDOW / SAMPLING_RATE_HZ
    times_mic = window / 2 + hop * np.arange(int((session_end_s + MICROPHONE_LEAD_S - window) / hop))
    onsets_mic = np.delete(trials["goCue_times"], len(trials["goCue_times"]) // 3) + MICROPHONE_LEAD_S
    frequencies = np.arange(WELCH_POINTS // 2 + 1) * SAMPLING_RATE_HZ / WELCH_POINTS
    power = 2e-9 / (1 + frequencies / 2000) * generator.gamma(20.0, 1 / 20, (len(times_mic), len(frequencies)))
    hears_tone = (np.abs(times_mic[:, None] - onsets_mic[None, :]) < window / 2).any(axis=1)
    power[hears_tone, np.abs(frequencies - GO_TONE_HZ).argmin()] += 4e-6
    spectrogram = {
        "power": power,
        "frequencies": frequencies[None, :],
        "times_mic": times_mic[:, None],
        "times": times_mic[:, None] - MICROPHONE_LEAD_S,
    }
    if not session_times:
        del spectrogram["times"]
    collection = raw_task_collection(task_collection)
    datasets: Datasets = {
        f"{collection}/_iblmic_audioSpectrogram.{attribute}.npy": values.astype(np.float32)
        for attribute, values in spectrogram.items()
    }
    jitter = generator.normal(0.0, 0.002, len(onsets_mic))
    return datasets | {f"{collection}/_iblmic_audioOnsetGoCue.times_mic.npy": onsets_mic + jitter}
