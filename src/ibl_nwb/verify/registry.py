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
    "SortedSpikes": ("units", "check_units"),
    "Trials": ("trials", "check_trials"),
    "Wheel": ("wheel", "check_wheel"),
    "Pose": ("pose", "check_pose"),
    "AudioSpectrogram": ("audio", "check_audio"),
    "Alyx": ("alyx", "check_alyx"),
}


def load_checks() -> Iterator[Check]:
    """Every check, its module imported when it is its turn."""
    for module, function in CHECKS.values():
        yield getattr(import_module(f".{module}", __package__), function)
