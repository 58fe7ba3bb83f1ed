"""Datasets that are left out on purpose, and why: what coverage says of a file that no interface reads."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from .session import Dataset


@dataclass(frozen=True)
class LeftOut:
    """Datasets that are not converted for one reason.

    Attributes
    ----------
    names : tuple of str
        Dataset names without namespace and UUID, with Unix-style patterns.
    reason : str
        Why, as the end of the sentence "It is not converted, because ...".
    collections : tuple of str
        Where they are, with the same patterns. Default: anywhere.
    """

    names: tuple[str, ...]
    reason: str
    collections: tuple[str, ...] = ("*",)

    def fits(self, dataset: Dataset) -> bool:
        """Whether a file is one of these datasets."""
        return any(fnmatchcase(dataset.name, name) for name in self.names) and any(
            fnmatchcase(dataset.collection, collection) for collection in self.collections
        )


_RAW_TASK = ("raw_behavior_data", "raw_task_data_*", "raw_passive_data")

#: The first entry that fits a dataset gives the reason.
LEFT_OUT: tuple[LeftOut, ...] = (
    # Raw task data
    LeftOut(
        ("taskData.raw.jsonable", "taskData.raw.pqt"),
        "it holds states and events of the Bpod in seconds from the start of each trial, on another clock than the "
        "session; what was measured is in the trials, on the session clock",
        _RAW_TASK,
    ),
    LeftOut(
        ("encoderPositions.raw.ssv", "encoderEvents.raw.ssv"),
        "it is on the clock of the rotary encoder, which wraps and is reset at each trial; wheel.position and "
        "wheel.timestamps are made from it on the session clock",
        _RAW_TASK,
    ),
    LeftOut(
        ("encoderTrialInfo.raw.ssv", "stimPositionScreen.raw.csv", "syncSquareUpdate.raw.csv"),
        "it holds commands to the screen by the clock of the stimulus computer; the stimuli as they were shown are in "
        "the trials and the sync fronts",
        _RAW_TASK,
    ),
    LeftOut(
        ("codeFiles.raw.zip", "videoCodeFiles.raw.zip"),
        "it is the program code of the rig and holds no measurement",
    ),
    LeftOut(("*.log", "log.*", "*.log.*"), "it is a log of the software and holds no measurement"),
    # Sync board
    LeftOut(
        ("DAQdata.raw.*", "DAQdata.timestamps.npy"),
        "it is the recording of a board other than a NIDQ, in a format of its own; its edges are in the sync fronts",
        ("raw_sync_data", "raw_photometry_data"),
    ),
    LeftOut(("DAQdata.meta.json", "DAQdata.wiring.json"), "it only describes the recording of the board beside it"),
    LeftOut(
        ("softwareEvents.log.htsv",),
        "it lists actions of the acquisition software by its own clock and holds no measurement",
    ),
    LeftOut(
        ("ephysData*.nidq.meta", "ephysData*.nidq.wiring.json", "ephysData*.nidq.ch"),
        "it only describes the recording of the sync board, which is not in the session",
    ),
    LeftOut(
        ("ephysData*.imec*.wiring.json",),
        "it only describes the sync word of the probe, which is not in the session",
    ),
    # Passive period
    LeftOut(
        ("RFMapStim.raw.bin",),
        "it holds frames without their times (passiveRFM.times of the same task), which are not in the session",
    ),
    LeftOut(
        ("passiveBeeps.*", "passiveWhiteNoise.*", "passiveValveClicks.*", "passiveTrials.*", "passiveNoise.*"),
        "it is of the passive protocol of 2018 and 2019, whose layout is not documented",
    ),
    LeftOut(("sparseNoise.*",), "it is of the passive protocol of 2018 and 2019, whose layout is not documented"),
    LeftOut(
        ("video.raw*", "video.times*"),
        "it is a film shown in the passive period of some projects, whose layout is not documented",
        ("raw_passive_data", "raw_task_data_*", "alf", "alf/task_*", ""),
    ),
    # Raw-data quality control
    LeftOut(
        ("ephysTimeRms*.timestamps.npy", "ephysSpectralDensity*.freqs.npy"),
        "it gives times or frequencies of values that are not in the session",
    ),
)


def reason_left_out(dataset: Dataset) -> str | None:
    """Why a dataset that no interface reads is not converted, or None where that was not decided.

    Parameters
    ----------
    dataset : Dataset
        A file of a session.

    Returns
    -------
    str or None
        The end of the sentence "It is not converted, because ...".
    """
    return next((entry.reason for entry in LEFT_OUT if entry.fits(dataset)), None)
