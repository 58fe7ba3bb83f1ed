"""Looking at a file: figures of what is in it, a report, and nwbwidgets in Jupyter."""

from importlib.util import find_spec

if find_spec("matplotlib") is None:
    raise ImportError('ibl_nwb.view draws with matplotlib, which is not installed: pip install "ibl-nwb[view]"')

from .anatomy import plot_probe_track
from .audio import plot_audio_spectrogram
from .ephys import plot_lfp_spectrum, plot_raw_ephys
from .mesoscope import plot_mesoscope
from .passive import plot_passive
from .photometry import plot_photometry
from .pose import plot_pose
from .report import Report, save_report
from .session import plot_psychometric, plot_session
from .units import plot_psth, plot_units
from .widefield import plot_widefield
from .widgets import nwb2widget

__all__ = [
    "Report",
    "nwb2widget",
    "plot_audio_spectrogram",
    "plot_lfp_spectrum",
    "plot_mesoscope",
    "plot_passive",
    "plot_photometry",
    "plot_pose",
    "plot_probe_track",
    "plot_psth",
    "plot_psychometric",
    "plot_raw_ephys",
    "plot_session",
    "plot_units",
    "plot_widefield",
    "save_report",
]
