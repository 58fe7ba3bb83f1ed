"""Which check there is for which family. The table below is the one place a new check is added to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from .report import Comparison
from .verification import Verification

Check = Callable[[Verification], Iterator[Comparison]]

#: Module and function of each family's check, in the order of the report. A check finds the family's files in
#: ``verification.folder`` by name, reads them with plain NumPy or pandas, and yields one comparison for each dataset
#: (see :mod:`.wheel` for an example). It uses nothing of the interface that wrote the family.
CHECKS = {
    "RawEphys": ("raw_ephys", "check_raw_ephys"),
    "Electrodes": ("electrodes", "check_electrodes"),
    "Localization": ("localization", "check_localization"),
    "SortedSpikes": ("units", "check_units"),
    "SortingTemplates": ("sorting_extras", "check_sorting_templates"),
    "SpikeWaveforms": ("sorting_extras", "check_spike_waveforms"),
    "SpikeWaveformTraces": ("sorting_extras", "check_spike_waveform_traces"),
    "Drift": ("sorting_extras", "check_drift"),
    "ProbeDescriptions": ("probe_descriptions", "check_probe_descriptions"),
    "Trials": ("trials", "check_trials"),
    "Wheel": ("wheel", "check_wheel"),
    "Video": ("video", "check_video"),
    "Pose": ("pose", "check_pose"),
    "Pupil": ("camera_features", "check_pupil"),
    "MotionEnergy": ("camera_features", "check_motion_energy"),
    "PawStates": ("camera_features", "check_paw_states"),
    "Licks": ("licks", "check_licks"),
    "ExtraRewards": ("extra_rewards", "check_extra_rewards"),
    "AudioSpectrogram": ("audio", "check_audio"),
    "Optogenetics": ("optogenetics", "check_optogenetics"),
    "Photometry": ("photometry", "check_photometry"),
    "Mesoscope": ("mesoscope", "check_mesoscope"),
    "Widefield": ("widefield", "check_widefield"),
    "RawTaskData": ("raw_task_data", "check_raw_task_data"),
    "Sync": ("sync", "check_sync"),
    "NIDQ": ("raw_columns", "check_nidq"),
    "ProbeSync": ("raw_columns", "check_probe_sync"),
    "Passive": ("passive", "check_passive"),
    "EphysQC": ("ephys_qc", "check_ephys_qc"),
    "AmbientSensors": ("ambient_sensors", "check_ambient_sensors"),
    "TaskSettings": ("value_rows", "check_task_settings"),
    "ExperimentDescription": ("value_rows", "check_experiment_description"),
    "Alyx": ("alyx", "check_alyx"),
}


def load_checks() -> Iterator[Check]:
    """Every check, its module imported when it is its turn."""
    for module, function in CHECKS.values():
        yield getattr(import_module(f".{module}", __package__), function)
