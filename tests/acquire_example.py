"""The session of the tests of ``ibl_nwb.acquire``, and what they ask about folders."""

from pathlib import Path

from ibl_nwb.acquire import Limits

#: Small, but with every family, revisions and a probe.
SMALL = dict(
    probes=("probe00",),
    n_channels=16,
    raw_duration_s=0.1,
    raw_bands=("ap",),
    n_trials=8,
    n_clusters=10,
    spikes_per_probe=300,
    cameras=("left",),
)

#: Short enough for a test that waits for a server that never answers.
SHORT = Limits(timeout_s=1.0, longest_wait_s=2.0)

SESSION = "examplelab/Subjects/EX_001/2023-05-18/001"
WHEEL_FILES = {
    "alf/#2025-03-03#/_ibl_wheel.position.npy",
    "alf/_ibl_wheel.timestamps.npy",
    "alf/_ibl_wheelMoves.intervals.npy",
    "alf/#2025-03-03#/_ibl_wheelMoves.peakAmplitude.npy",
    "raw_behavior_data/_iblrig_taskSettings.raw.json",
}


def files_below(folder: Path) -> set[str]:
    """Every file of a folder, hidden ones too, as relative POSIX paths."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
