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
        ("taskData.raw.pqt",),
        "it is the task data of a protocol of its own, whose columns are not documented",
        _RAW_TASK,
    ),
    LeftOut(
        ("micData.raw.flac", "micData.raw.wav"),
        "it is a recording of sound without times on the session clock, which NWB has no type for",
        _RAW_TASK,
    ),
    LeftOut(
        ("codeFiles.raw.zip", "videoCodeFiles.raw.zip"),
        "it is the program code of the rig and holds no measurement",
    ),
    LeftOut(("*.log", "log.*", "*.log.*"), "it is a log of the software and holds no measurement"),
    LeftOut(("trials.modelPredictions.*",), "it is what a model of the behavior predicts, and no measurement"),
    LeftOut(("wheelMoves.type.*",), "it is of the pipelines of 2019, and what its texts mean is not documented"),
    # Cameras
    LeftOut(
        (
            "*Camera.timestamps.ssv",
            "*Camera.frameData.bin",
            "*Camera.GPIO.bin",
            "*Camera.frame_counter.bin",
            "*Camera.raw.camlog",
        ),
        "it is what the camera wrote of its frames, on clocks of its own; camera.times holds their times",
        ("raw_video_data", "raw_video_data_*", "raw_task_data_*"),
    ),
    LeftOut(("eye.*",), "it is eye tracking of 2018, whose units are not documented"),
    LeftOut(("lickPiezo.*",), "it is the signal of a lick sensor of 2018, whose units are not documented"),
    # Sortings before there were folders of probes
    LeftOut(
        ("spikes.*", "clusters.*", "channels.*", "templates.*"),
        "it is of a sorting of 2018 or 2019 that merges all probes, whose layout is not documented",
        ("", "alf", "alf/ks2"),
    ),
    LeftOut(
        ("probes.*",),
        "it repeats what the metadata of the recordings and the insertions in Alyx say of the probes",
        ("",),
    ),
    LeftOut(("*iblsorter_parameters.yaml",), "it holds the parameters of the spike sorter and no measurement"),
    # Spike sorting
    LeftOut(
        ("spikes_subset.*",),
        "it holds snippets of voltage that the program phy shows, up to 500 for each unit and gigabytes for each "
        "probe, all of which are in the raw recording",
    ),
    LeftOut(
        ("whitening.matrix.*",),
        "it is the matrix by which the sorter whitens voltages for itself; no voltage in the file is whitened",
    ),
    LeftOut(("raw.output.*",), "it is an archive of the sorter's own files, which the ALF files are made from"),
    LeftOut(
        ("clusters.*.tsv", "clusters.*.csv"),
        "it is a list of labels by a curator, whose layout is not documented",
        ("alf/probe*",),
    ),
    LeftOut(
        ("channels.*",),
        "it describes the channels of an older sorting; channels.rawInd and channels.localCoordinates replaced it",
        ("alf/probe*",),
    ),
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
    LeftOut(
        ("sync.times.*", "sync.channels.*", "sync.polarities.*"),
        "it holds edges of the sync word of one recording, in a folder below its probe's; ProbeSync converts the word",
        ("raw_ephys_data/probe*/*",),
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
    # Fiber photometry
    LeftOut(
        ("fpData.raw.*",),
        "it is on the clock of the photometry system; photometry.signal holds its fluorescence on the session clock",
        ("raw_photometry_data",),
    ),
    LeftOut(
        ("fpData.digitalInputs.*", "fpData.digitalIntputs.*"),  # the misspelling is that of IBL's pipeline
        "it holds the pulses by which photometry.signal was put on the session clock, on the clock of the photometry "
        "system",
        ("raw_photometry_data",),
    ),
    LeftOut(
        ("fpData.channels.*",),
        "it only decodes the state of the lights in the raw photometry data; photometry.signal has it decoded",
        ("raw_photometry_data",),
    ),
    LeftOut(
        ("photometry.signal.npy", "photometry.times.npy", "photometry.photometryLightSource.npy"),
        "it is of the photometry layout of 2021, which photometry.signal.pqt replaced",
    ),
    LeftOut(
        ("photometryLightSource.properties.*",),
        "it is of the photometry layout of 2021, which photometry.signal.pqt replaced",
    ),
    LeftOut(
        ("photometry.ROIs.*", "photometryFibers.brainLocationAcronyms_ccf_2017.*"),
        "it is in an order of fibers that is not documented; photometryROI.locations names fiber and brain region",
    ),
    # Mesoscope and widefield
    LeftOut(
        ("imaging.frames.*", "imaging.frames_motionRegistered.*"),
        "it holds frames of all fields of view in an archive or without a header, to which NWB cannot refer; the ROIs "
        "that were found in them, with their activity and masks, are converted",
        ("raw_imaging_data*", "raw_bin_files*", "suite2p*"),
    ),
    LeftOut(
        ("rawImagingData.times_scanImage.*",),
        "it is on the clock of the microscope; mpci.times holds the frames of each field of view on the session clock",
    ),
    LeftOut(
        ("referenceImage.*",),
        "it is an overview of the window by which fields of view were found in the brain; where each pixel and ROI "
        "lies is in mpciMeanImage and mpciROIs",
    ),
    LeftOut(
        ("ROIData.raw.zip",),
        "it is the archive of suite2p's own output; what IBL's pipeline made of it is in the ALF datasets beside it",
    ),
    LeftOut(
        ("mpci.componentsActivity.*", "mpciComponents.images.*"),
        "it is of a decomposition of two-photon films whose layout is not documented; IBL's pipeline does not write it",
    ),
    LeftOut(
        ("imaging.frames.*", "widefield.raw.*"),
        "it is a film without a header, or describes one, whose layout cannot be told; the lossless film that IBL's "
        "pipeline makes of it (imaging.frames.mov) is referred to where its times are in the session",
        ("raw_widefield_data*",),
    ),
    LeftOut(
        ("widefieldEvents.raw.*",),
        "it is the log of the camera on its own clock; imaging.times and imaging.imagingLightSource are made from it",
    ),
    LeftOut(
        ("widefieldChannels.wiring.*",),
        "it only tells which line drives which light; imagingLightSource.properties has the lights",
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
