"""A realistic IBL session folder out of nothing but a seed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from ..errors import OutputExistsError, UsageError
from ._audio import audio_datasets
from ._camera_features import camera_feature_files, write_video
from ._clocks import sync_front_files
from ._ephys import make_probe, probe_datasets, write_raw_probe
from ._ephys_qc import ephys_qc_datasets
from ._files import add_uuids_to_names, in_revision, write_datasets
from ._mesoscope import mesoscope_datasets, raw_imaging_files, write_masks
from ._nidq import write_nidq
from ._optogenetics import optogenetics_datasets
from ._passive import passive_datasets, write_passive_frames
from ._photometry import write_photometry
from ._probe import N_SITES
from ._random import random_generator
from ._raw_task_data import raw_task_files
from ._sorting import SORTING_REVISION, passing_spikes_dataset
from ._task_files import (
    ambient_sensor_file,
    experiment_description_file,
    session_start_time,
    task_settings_file,
)
from ._trials import make_trials, trials_datasets
from ._video import frame_time_files, frame_times, licks_file, pose_file
from ._waveforms import drift_datasets, waveform_datasets
from ._wheel import wheel_datasets
from ._widefield import widefield_datasets

#: Time that every device keeps recording after the last trial.
RECORDING_TAIL_S = 5.0

#: What can be asked for, by argument.
CHOICES = {
    "raw_bands": ("ap", "lf"),
    "raw_format": ("cbin", "bin"),
    "trials_layout": ("table", "legacy", "mixed"),
    "wheel_layout": ("current", "legacy"),
    "cameras": ("left", "right", "body"),
    "pose_tracker": ("lightningPose", "dlc"),
}


def make_example_session(
    folder: str | Path,
    *,
    lab: str = "examplelab",
    subject: str = "EX_001",
    date: str = "2023-05-18",
    number: int = 1,
    probes: Sequence[str] = ("probe00", "probe01"),
    n_channels: int = 384,
    raw_duration_s: float = 1.1,
    raw_bands: Sequence[str] = ("ap", "lf"),
    raw_format: Literal["cbin", "bin"] = "cbin",
    n_trials: int = 60,
    trials_layout: Literal["table", "legacy", "mixed"] = "table",
    wheel_layout: Literal["current", "legacy"] = "current",
    cameras: Sequence[str] = ("left", "right", "body"),
    pose_tracker: Literal["lightningPose", "dlc"] = "lightningPose",
    extra_camera_times: int = 0,
    video: bool = False,
    audio: bool = True,
    audio_session_times: bool = True,
    passive: bool = True,
    optogenetics: bool = False,
    photometry: bool = False,
    n_fovs: int = 0,
    widefield: bool = False,
    ephys_qc: bool = False,
    waveforms: bool = False,
    raw_task_data: bool = False,
    histology: bool = True,
    sorter: str = "pykilosort",
    n_clusters: int = 30,
    spikes_per_probe: int = 20_000,
    revisions: bool = True,
    uuids_in_names: bool = False,
    task_collection: str = "alf",
    seed: int = 0,
) -> Path:
    """
    Write an invented session with the names, types, shapes, units and traps of a real one.

    The session is an ephysChoiceWorld session on a Neuropixels 3B rig. Its parts agree with one another: wheel with
    choices, spike times with the probes' clocks, AP traces with the spikes, positions with the tracks that
    `example_alyx_answers` tells of. The same arguments give the same bytes.

    Parameters
    ----------
    folder : str or Path
        Where to put the session; it becomes ``folder/lab/Subjects/subject/date/number``.
    lab, subject, date, number
        Parts of the session path; the date in ISO format.
    probes : sequence of str
        Names of the Neuropixels 1.0 probes, none for a session of behaviour only. The first probe's sorting has the
        integer types and metrics of today's software; the second one's has those of earlier years, leaves out the
        reference sites and has its metrics in another order than its clusters.
    n_channels : int
        Recorded sites per probe, at most 384. Fewer make smaller files, as when only some channels were saved.
    raw_duration_s : float
        Seconds of raw data. The sorting covers the whole session, the raw files only its beginning.
    raw_bands : sequence of {"ap", "lf"}
        Raw files to write, none for sortings without raw data.
    raw_format : {"cbin", "bin"}
        Compressed with mtscomp, or flat.
    n_trials : int
        Number of trials, about five seconds each. From four on, one of them has no response.
    trials_layout : {"table", "legacy", "mixed"}
        A parquet table and companions; one npy per attribute; or a table beside older npy files of some attributes.
    wheel_layout : {"current", "legacy"}
        Position (rad), timestamps and movements; or the files of 2018: position (cm), times and velocity.
    cameras : sequence of {"left", "right", "body"}
        Cameras with frame times, pose and motion energy, the side cameras also with pupil and paw states; four seconds
        each.
    pose_tracker : {"lightningPose", "dlc"}
        Which tracker's columns and file name.
    extra_camera_times : int
        How many more times than frames each camera has.
    video : bool
        Whether there are videos, of a moving square. To encode them takes PyAV (``pip install "ibl-nwb[video]"``).
    audio : bool
        Whether there is a spectrogram of the microphone.
    audio_session_times : bool
        Whether the spectrogram also has times on the session clock.
    passive : bool
        Whether a passive period follows the task; only beside probes.
    optogenetics : bool
        Whether a laser was on in some of the trials.
    photometry : bool
        Whether there is fiber photometry, of three fibers lit by two lights in turn.
    n_fovs : int
        Number of fields of view of two-photon imaging, without raw frames.
    widefield : bool
        Whether there is widefield imaging of 20 s, without raw frames.
    ephys_qc : bool
        Whether there are the noise, spectra and channel labels of each probe's raw data.
    waveforms : bool
        Whether each sorting has snippets of raw voltage around its spikes, four per unit, with their medians, the
        drift, and the spikes of good units in a table of their own. The first probe's snippets are those of today's
        software, the second one's those in production.
    raw_task_data : bool
        Whether there is what the rig wrote of each trial, the rotary encoder and the stimuli; beside ``"alf"`` in the
        layout of rigs before 5.0.0.
    histology : bool
        Whether the probes were found in the brain: coordinates and regions of channels and electrode sites.
    sorter : str
        Folder of the sorting below ``alf/probeNN``.
    n_clusters : int
        Clusters per probe, every tenth of which is without spikes.
    spikes_per_probe : int
        Spikes per probe.
    revisions : bool
        Whether some data were corrected: the first probe's sorting (``#2024-05-06#``; the bare one is coarser and has
        other numbers), wheel position and peak amplitudes (``#2025-03-03#``; the bare ones have the wrong sign) and the
        trials table (``#2024-02-20#``; the bare one has late stimulus onsets). Legacy layouts have no revision.
    uuids_in_names : bool
        Whether every file name holds the UUID of its dataset, as in storage copies.
    task_collection : str
        Collection of trials and wheel: ``"alf"``, or ``"alf/task_00"`` for a numbered task of iblrig 8, whose raw
        folder is ``raw_task_data_00`` in place of ``raw_behavior_data``.
    seed : int
        Seed of all random numbers.

    Returns
    -------
    Path
        The session folder.

    Raises
    ------
    OutputExistsError
        If the session folder exists and is not empty.
    UsageError
        If an argument has a value that is not among those listed, or out of range.
    """
    _check_choices("raw_bands", raw_bands)
    _check_choices("raw_format", [raw_format])
    _check_choices("trials_layout", [trials_layout])
    _check_choices("wheel_layout", [wheel_layout])
    _check_choices("cameras", cameras)
    _check_choices("pose_tracker", [pose_tracker])
    _check_range("n_channels", n_channels, N_SITES)
    _check_range("n_trials", n_trials)
    _check_range("n_clusters", n_clusters)
    session_path = Path(folder) / lab / "Subjects" / subject / date / f"{number:03d}"
    _check_vacant(session_path)

    trials = make_trials(n_trials, random_generator(seed, "trials"))
    session_end_s = float(trials["intervals"][-1, 1]) + RECORDING_TAIL_S
    start_time = session_start_time(date, random_generator(seed, "start time"))

    datasets = task_settings_file(
        lab=lab,
        subject=subject,
        start_time=start_time,
        number=number,
        task_collection=task_collection,
        generator=random_generator(seed, "settings"),
    )
    datasets |= experiment_description_file(probes, cameras, task_collection)
    datasets |= ambient_sensor_file(n_trials, task_collection, random_generator(seed, "ambient"))
    datasets |= trials_datasets(trials, trials_layout, task_collection, revisions=revisions)
    if raw_task_data:
        datasets |= raw_task_files(trials, task_collection, start_time, random_generator(seed, "raw task data"))
    wheel_generator = random_generator(seed, "wheel")
    datasets |= wheel_datasets(trials, wheel_layout, task_collection, wheel_generator, revisions=revisions)
    if optogenetics:
        datasets |= optogenetics_datasets(trials, task_collection, random_generator(seed, "optogenetics"))
    if photometry:
        write_photometry(session_path, trials, random_generator(seed, "photometry"))
    for fov in range(n_fovs):
        generator = random_generator(seed, "mesoscope", str(fov))
        datasets |= mesoscope_datasets(fov, session_end_s, generator)
        write_masks(session_path, fov, generator)
    if n_fovs:
        datasets |= raw_imaging_files(n_fovs, session_end_s)
    if widefield:
        datasets |= widefield_datasets(random_generator(seed, "widefield"))
    if audio:
        audio_generator = random_generator(seed, "audio")
        datasets |= audio_datasets(
            trials, session_end_s, task_collection, audio_generator, session_times=audio_session_times
        )
    camera_times = {
        camera: frame_times(camera, extra_camera_times, random_generator(seed, camera, "times")) for camera in cameras
    }
    datasets |= frame_time_files(camera_times)
    for camera in cameras:
        datasets |= pose_file(camera, pose_tracker, random_generator(seed, camera, "pose"))
        n_frames = len(camera_times[camera]) - extra_camera_times
        datasets |= camera_feature_files(camera, n_frames, random_generator(seed, camera, "features"))
        if video:
            write_video(session_path, camera, n_frames)
    if cameras:
        datasets |= licks_file(trials, random_generator(seed, "licks"))
    if probes:
        fronts = sync_front_files(trials, camera_times, session_end_s)
        datasets |= fronts
        if raw_bands:
            write_nidq(
                session_path,
                fronts,
                trials,
                raw_format=raw_format,
                duration_s=raw_duration_s,
                created=start_time,
                generator=random_generator(seed, "nidq"),
            )
        if passive:
            datasets |= passive_datasets(session_end_s, task_collection, random_generator(seed, "passive"))
            write_passive_frames(session_path, task_collection, random_generator(seed, "passive", "frames"))
    write_datasets(session_path, datasets)

    for index, name in enumerate(probes):
        probe = make_probe(
            name,
            index,
            n_channels=n_channels,
            n_clusters=n_clusters,
            n_spikes=spikes_per_probe,
            session_end_s=session_end_s,
            seed=seed,
        )
        of_probe = probe_datasets(probe, sorter, histology=histology, revisions=revisions, seed=seed)
        write_datasets(session_path, of_probe)
        if waveforms:
            collection = f"alf/{name}/{sorter}".rstrip("/")
            generator = random_generator(seed, name, "waveforms")
            snippets = waveform_datasets(
                probe.units, collection, generator, most_snippets=4, is_padded=index % 2 == 1
            ) | drift_datasets(collection, probe.clock, session_end_s, generator)
            is_revised = revisions and index == 0
            write_datasets(session_path, in_revision(snippets, SORTING_REVISION) if is_revised else snippets)
            folder = f"{collection}/#{SORTING_REVISION}#" if is_revised else collection
            write_datasets(session_path, passing_spikes_dataset(of_probe, folder))
        if ephys_qc:
            quality = ephys_qc_datasets(
                name,
                n_channels=n_channels,
                ap_rate_hz=probe.clock.ap_rate_hz,
                duration_s=session_end_s,
                is_current_era=index % 2 == 0,
                generator=random_generator(seed, name, "quality"),
            )
            write_datasets(session_path, quality)
        write_raw_probe(session_path, probe, raw_bands, raw_format, raw_duration_s, start_time, seed)
    if uuids_in_names:
        add_uuids_to_names(session_path, seed)
    return session_path


def _check_choices(argument: str, values: Iterable[str]) -> None:
    unknown = [value for value in values if value not in CHOICES[argument]]
    if unknown:
        raise UsageError(f"{argument} was {unknown[0]!r}; an example session has {', '.join(CHOICES[argument])}.")


def _check_range(argument: str, value: int, most: int | None = None) -> None:
    if value < 1 or (most is not None and value > most):
        raise UsageError(f"{argument} was {value}; it must be at least 1{f' and at most {most}' if most else ''}.")


def _check_vacant(session_path: Path) -> None:
    if session_path.is_dir() and any(session_path.iterdir()):
        raise OutputExistsError(
            f"The session folder {session_path} exists and is not empty. "
            "Remove it, or make the example session somewhere else."
        )
