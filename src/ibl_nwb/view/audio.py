"""Spectrogram of the microphone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from pynwb import NWBFile

from .contents import find_in_processing
from .drawing import Theme, drawing

#: Windows that are read and drawn at most; more than the page has pixels would not be seen.
_MAX_WINDOWS = 2000


def plot_audio_spectrogram(nwbfile: NWBFile | str | Path, *, theme: Theme = "light") -> Figure:
    """Spectrogram of a session's sound. Of a long one every n-th window is read.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without a spectrogram it says so.
    """
    with drawing(nwbfile, theme) as page:
        found = find_in_processing(page.nwbfile, "AudioSpectrogram")
        frequencies = found.pop("AudioSpectrogramFrequencies", None)
        if not found or frequencies is None:
            return page.empty("Sound", "This file has no audio spectrogram.")
        name, table = next(iter(found.items()))
        step = max(1, -(-len(table) // _MAX_WINDOWS))
        power = np.asarray(table["power"].data[::step], dtype=float)
        times = np.asarray(table["timestamp" if "timestamp" in table.colnames else "time_mic"].data[::step])
        kilohertz = np.asarray(frequencies["frequency"].data[:], dtype=float) / 1000
        decibels = 10 * np.log10(np.maximum(power, np.finfo(float).tiny))
        low, high = np.percentile(decibels, [1, 99.8])
        figure = page.figure("Sound", 11, 4.5)
        axes = figure.add_subplot()
        mesh = axes.pcolormesh(
            times / 60, kilohertz, decibels.T, cmap="magma", vmin=low, vmax=high, shading="nearest", rasterized=True
        )
        clock = "the microphone's own clock" if name.endswith("MicrophoneClock") else "the session"
        axes.set(xlabel=f"Time of {clock} (min)", ylabel="Frequency (kHz)")
        axes.set_title("Spectrogram" if step == 1 else f"Spectrogram, one window in {step}")
        figure.colorbar(mesh, ax=axes, pad=0.01, aspect=30).set_label("Power density (dB re 1 sample unit²/Hz)")
        return figure
