"""One NeuroConv interface per ALF object family. The table below is the one place a new family is added to.

Modules are imported when a name is first used, so that one interface costs no more than its own dependencies.
"""

from importlib import import_module
from typing import Any

#: Module of each interface, in the order in which a converter runs them: what others link to comes first.
_MODULES = {
    "RawEphysInterface": "raw_ephys",
    "SortedSpikesInterface": "sorted_spikes",
    "SortingTemplatesInterface": "sorting_templates",
    "SpikeWaveformsInterface": "spike_waveforms",
    "SpikeWaveformTracesInterface": "spike_waveform_traces",
    "DriftInterface": "drift",
    "ProbeDescriptionsInterface": "probe_descriptions",
    "TrialsInterface": "trials",
    "WheelInterface": "wheel",
    "VideoInterface": "video",
    "PoseInterface": "pose",
    "PupilInterface": "pupil",
    "MotionEnergyInterface": "motion_energy",
    "PawStatesInterface": "paw_states",
    "LicksInterface": "licks",
    "ExtraRewardsInterface": "extra_rewards",
    "AudioSpectrogramInterface": "audio_spectrogram",
    "SyncInterface": "sync",
    "NIDQInterface": "nidq",
    "ProbeSyncInterface": "probe_sync",
    "PassiveInterface": "passive",
    "OptogeneticsInterface": "optogenetics",
    "PhotometryInterface": "photometry",
    "MesoscopeInterface": "mesoscope",
    "WidefieldInterface": "widefield",
    "EphysQCInterface": "ephys_qc",
    "AmbientSensorsInterface": "ambient_sensors",
    "RawTaskDataInterface": "raw_task_data",
    "TaskSettingsInterface": "task_settings",
    "ExperimentDescriptionInterface": "experiment_description",
}

#: Names of all interface classes.
interface_names = tuple(_MODULES)

__all__ = ["ALFDataset", "ALFInterface", "interface_list", "interface_names", *_MODULES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    if name in ("ALFDataset", "ALFInterface"):
        return getattr(import_module(".base", __name__), name)
    if name == "interface_list":
        return [__getattr__(interface) for interface in _MODULES]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
