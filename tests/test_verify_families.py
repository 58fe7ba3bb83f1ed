"""Verification of the families of behaviour, sync, passive period, quality and settings: every damage is found."""

import json
import re
import shutil
from dataclasses import dataclass
from functools import cache, partial

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb import convert_document, make_document
from ibl_nwb.errors import DatasetUnreadableError
from ibl_nwb.interfaces import interface_list, sync_wiring
from ibl_nwb.json_values import json_values
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import sync_lines, verify
from ibl_nwb.verify.registry import CHECKS
from ibl_nwb.verify.source_folder import SourceFile, SourceFolder
from ibl_nwb.verify.value_rows import _flatten
from ibl_nwb.verify.video_header import read_video_facts

SESSION = dict(
    n_channels=4, raw_duration_s=1.1, spikes_per_probe=100, n_clusters=4, n_trials=6, audio=False, ephys_qc=True
)
FAMILIES = [
    *("Wheel", "Video", "Pupil", "MotionEnergy", "PawStates", "Licks", "Sync", "NIDQ", "ProbeSync"),
    *("Passive", "EphysQC", "AmbientSensors", "TaskSettings", "ExperimentDescription"),
]
DERIVED_WHEEL = {"Wheel": {"write_velocity": True, "write_acceleration": True}}

BEHAVIOR, QUALITY = "processing/behavior", "processing/ecephys_qc"
VIDEO, OTHER_VIDEO = "acquisition/VideoLeftCamera", "acquisition/VideoRightCamera"
SOURCES = "analysis/SourceDatasets"


def convert(session_path, path, include=FAMILIES, options=None, metadata=None, **arguments):
    """Document and file of a session, of those families that it has."""
    session, chosen = ALFSession(session_path), {name: re.split(r"(?=Probe\d)", name)[0] for name in include}
    available = {interface.family for interface in interface_list if interface.is_available(session)}
    include = [name for name, family in chosen.items() if family in available]
    document = make_document(
        session_path, session_start_time="2019-07-01T12:00:00", timezone="UTC", include=include, metadata=metadata
    )
    document.conversion_options = options or {}
    document.write_json(path.with_name("document.json"))
    return convert_document(document, path, **arguments).nwbfile_path


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """Folder with a session, and files of its families in both formats with copies of the videos; not to be changed."""
    pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("example")
    session_path = make_example_session(folder, cameras=("left", "right"), video=True, **SESSION)
    for backend, name in (("hdf5", "file.nwb"), ("zarr", "file.nwb.zarr")):
        (folder / backend).mkdir()
        convert(session_path, folder / backend / name, options=DERIVED_WHEEL, backend=backend, videos="copy")
    return folder


def damage_copy(example, folder, change, **arguments):
    """Report about a copy of the file to which a change was made."""
    shutil.copytree(example / "hdf5", folder / "copy")
    with h5py.File(folder / "copy/file.nwb", "r+") as file:
        change(file)
    return verify(folder / "copy/file.nwb", example / "hdf5/document.json", **arguments)


@pytest.fixture
def damaged(example, tmp_path):
    """Function that makes a change to a copy of the file and gives the report about it."""
    return partial(damage_copy, example, tmp_path)


@pytest.fixture(scope="module")
def report_of(example, tmp_path_factory):
    """Function that gives the report about a file in which one damage was done to every target that it applies to.

    Each array of the table of sources is damaged in a file of its own, since one row is told for each source.
    """

    @cache
    def report(damage, name):
        targets = [TARGETS[other] for other in TARGETS if applies(damage, other) and not other.startswith("Source")]

        def change(file):
            for target in [TARGETS[name]] if name else targets:
                damage(file, target)

        return damage_copy(example, tmp_path_factory.mktemp("damaged"), change)

    return lambda damage, name: report(damage, name if name.startswith("Source") else "")


def told(report):
    return [(row.status, row.dataset, row.object, row.reason) for row in report if row.status != "equal"]


def objects(report, status):
    return {row.object for row in report if row.status == status}


def check_equal(report):
    """Nothing differs, and whatever was not verified is said to have been left out."""
    assert report.ok, told(report)
    reasons = {row.reason for row in report if row.status == "not verified"}
    allowed = r"left out|not converted|it was not converted|it is empty"
    assert [reason for reason in reasons if not re.match(allowed, reason)] == []


# Files as they were written


def test_every_family_has_a_check():
    assert set(FAMILIES) <= set(CHECKS)
    assert {interface.family for interface in interface_list} <= set(CHECKS)


@pytest.mark.parametrize("name", ["hdf5/file.nwb", "zarr/file.nwb.zarr"])
def test_example_session_is_equal_to_its_file(example, name):
    report = verify(example / name, example / "hdf5/document.json")
    check_equal(report)
    compared = objects(report, "equal")
    for part in ("Video", "Pupil", "MotionEnergy", "PawStates", "Licks", "Sync", "NIDQ", "Passive", "Ephys", "Ambient"):
        assert any(part in path for path in compared), part
    written = {row.relative_path for row in read_sources(example) if row.role == "converted"}
    spoken_of = {row.dataset.partition(":")[0] for row in report if row.status == "equal" and SOURCES not in row.object}
    assert written - spoken_of == set()


def read_sources(example):
    with h5py.File(example / "hdf5/file.nwb") as file:
        table = file[SOURCES]
        rows = pd.DataFrame({name: table[name][:] for name in ("relative_path", "role")})
    return list(rows.map(bytes.decode).itertuples())


VARIANTS = {
    "flat files": dict(raw_format="bin"),
    "more times than frames": dict(extra_camera_times=3),
    "numbered tasks": dict(task_collection="alf/task_00"),
    "UUIDs in names": dict(uuids_in_names=True),
    "old wheel": dict(wheel_layout="legacy", trials_layout="legacy", revisions=False),
    "no raw data": dict(raw_bands=()),
    "no passive period": dict(passive=False),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_is_equal_to_its_file(tmp_path, variant):
    arguments = SESSION | dict(cameras=("body",), probes=("probe00",)) | VARIANTS[variant]
    session_path = make_example_session(tmp_path, **arguments)
    check_equal(verify(convert(session_path, tmp_path / "a.nwb", options=DERIVED_WHEEL), tmp_path / "document.json"))


RENAMED = {
    "Pupil": {"pupil_left_camera": {"name": "Eye", "series": {"pupilDiameter_raw": {"name": "Raw", "unit": "px"}}}},
    "PawStates": {"paw_states_left_camera": {"name": "Paws"}},
    "MotionEnergy": {"motion_energy_left_camera": {"MotionEnergy": {"name": "Motion"}, "Region": {"name": "Area"}}},
    "Licks": {"licks": {"name": "Tongue"}},
    "Sync": {"sync": {"lines": {"left_camera": {"name": "Frames"}}}},
    "NIDQ": {"nidq": {"bpod": {"name": "Bpod"}, "digital_word": {"name": "Word"}}},
    "ProbeSync": {"probe_sync_probe00": {"name": "SyncWord"}},
    "Passive": {"passive": {"Gabor": {"name": "Patches"}, "Replay": {"tone": {"name": "Beeps"}}}},
    "EphysQC": {"ephys_qc_probe00": {"Channels": {"name": "Sites"}}},
    "AmbientSensors": {"ambient_sensors": {"series": {"Temperature_C": {"name": "Warmth"}}}},
    "TaskSettings": {"task_settings": {"name": "Settings"}},
}


def test_names_that_the_document_gives_are_looked_for(tmp_path):
    arguments = SESSION | dict(cameras=("left",), probes=("probe00",))
    session_path = make_example_session(tmp_path, **arguments)
    path = convert(session_path, tmp_path / "a.nwb", metadata=RENAMED)
    report = verify(path, tmp_path / "document.json")
    check_equal(report)
    names = {part for path in objects(report, "equal") for part in re.split("[/@]", path)}
    new_names = re.findall(r"'name': '(\w+)'", str(RENAMED))
    assert len(new_names) > 12
    assert set(new_names) <= names


def test_only_some_families_are_converted(tmp_path):
    session_path = make_example_session(tmp_path, cameras=("left",), **SESSION)
    path = convert(session_path, tmp_path / "a.nwb", include=["ProbeSyncProbe01"])
    report = verify(path, tmp_path / "document.json")
    check_equal(report)
    assert "acquisition/TimeSeriesSyncProbe01/data" in objects(report, "equal")
    assert "acquisition/TimeSeriesSyncProbe00" in objects(report, "not verified")


@pytest.mark.parametrize("sample", [None, 0.5])
def test_sample_of_the_sync_board_is_said_to_be_one(example, sample):
    report = verify(example / "hdf5/file.nwb", example / "hdf5/document.json", sample=sample)
    (row,) = (row for row in report if row.object == "acquisition/NIDQBpod/data")
    assert (row.status, row.reason) == ("equal", "" if sample is None else "1 of 2 blocks compared (random choice)")


# The same damages to every family


@dataclass(frozen=True)
class Target:
    """Where a family can be damaged.

    Attributes
    ----------
    values : str
        Array with one row per sample, event or frame.
    times : str or None
        Array of times, or the starting time.
    nans : str or None
        Array of floats in which a NaN may be.
    other : str or None
        What the parent of ``values`` may be taken for.
    """

    values: str
    times: str | None = None
    nans: str | None = None
    other: str | None = None

    @property
    def parent(self):
        return self.values.rpartition("/")[0]


TARGETS = {
    "WheelVelocity": Target(
        "processing/wheel/WheelVelocity/data",
        "processing/wheel/WheelVelocity/starting_time",
        "processing/wheel/WheelVelocity/data",
        "processing/wheel/WheelAcceleration",
    ),
    "WheelMoves": Target("processing/wheel/WheelMovementIntervals/peak_amplitude"),
    "Video": Target(f"{VIDEO}/timestamps", f"{VIDEO}/timestamps", f"{VIDEO}/timestamps", OTHER_VIDEO),
    "Pupil": Target(
        f"{BEHAVIOR}/PupilTrackingLeftCamera/PupilDiameterRaw/data",
        f"{BEHAVIOR}/PupilTrackingLeftCamera/PupilDiameterRaw/timestamps",
        f"{BEHAVIOR}/PupilTrackingLeftCamera/PupilDiameterRaw/data",
        f"{BEHAVIOR}/PupilTrackingRightCamera/PupilDiameterRaw",
    ),
    "MotionEnergy": Target(
        f"{BEHAVIOR}/MotionEnergyLeftCamera/data",
        f"{BEHAVIOR}/MotionEnergyLeftCamera/timestamps",
        f"{BEHAVIOR}/MotionEnergyLeftCamera/data",
        f"{BEHAVIOR}/MotionEnergyRightCamera",
    ),
    "MotionEnergyRegion": Target(
        f"{BEHAVIOR}/MotionEnergyRegionLeftCamera/x", other=f"{BEHAVIOR}/MotionEnergyRegionRightCamera"
    ),
    "PawStates": Target(
        f"{BEHAVIOR}/PawStatesLeftCamera/PawLGroom/data",
        f"{BEHAVIOR}/PawStatesLeftCamera/PawRBackground/timestamps",
        f"{BEHAVIOR}/PawStatesLeftCamera/PawLGroom/data",
        f"{BEHAVIOR}/PawStatesRightCamera/PawLGroom",
    ),
    "Licks": Target("events/Licks/timestamp", "events/Licks/timestamp", "events/Licks/timestamp"),
    "Sync": Target(
        "events/SyncLeftCamera/polarity",
        "events/SyncLeftCamera/timestamp",
        "events/SyncLeftCamera/polarity",
        "events/SyncRightCamera",
    ),
    "SyncChannel": Target("events/SyncLeftCamera/channel"),
    "NIDQ": Target(
        "acquisition/NIDQBpod/data", "acquisition/NIDQBpod/starting_time", other="acquisition/NIDQDigitalWord"
    ),
    "NIDQWord": Target("acquisition/NIDQDigitalWord/data", "acquisition/NIDQDigitalWord/starting_time"),
    "ProbeSync": Target(
        "acquisition/TimeSeriesSyncProbe00/data",
        "acquisition/TimeSeriesSyncProbe00/starting_time",
        other="acquisition/TimeSeriesSyncProbe01",
    ),
    "PassivePeriods": Target("intervals/epochs/period", "intervals/epochs/start_time", "intervals/epochs/stop_time"),
    "PassiveReplay": Target(
        "intervals/PassiveReplayValve/stop_time",
        "intervals/PassiveReplayValve/start_time",
        "intervals/PassiveReplayValve/stop_time",
        "intervals/PassiveReplayTone",
    ),
    "PassiveGabor": Target(
        "intervals/PassiveGabor/contrast", "intervals/PassiveGabor/start_time", "intervals/PassiveGabor/phase"
    ),
    "PassiveFrames": Target(
        "stimulus/presentation/PassiveReceptiveFieldStimulus/data",
        "stimulus/presentation/PassiveReceptiveFieldStimulus/timestamps",
    ),
    "EphysQCNoise": Target(
        f"{QUALITY}/EphysTimeRmsAPProbe00/rms",
        f"{QUALITY}/EphysTimeRmsAPProbe00/time_probe",
        f"{QUALITY}/EphysTimeRmsAPProbe00/rms",
        f"{QUALITY}/EphysTimeRmsAPProbe01",
    ),
    "EphysQCSpectrum": Target(
        f"{QUALITY}/EphysSpectralDensityLFProbe00/power",
        f"{QUALITY}/EphysSpectralDensityLFProbe00/frequency",
        f"{QUALITY}/EphysSpectralDensityLFProbe00/power",
        f"{QUALITY}/EphysSpectralDensityAPProbe00",
    ),
    "EphysQCChannels": Target(
        f"{QUALITY}/EphysChannelsProbe00/ap_rms_raw", nans=f"{QUALITY}/EphysChannelsProbe00/label"
    ),
    "EphysQCSaturation": Target(
        f"{QUALITY}/EphysSaturationProbe00/stop_sample", f"{QUALITY}/EphysSaturationProbe00/start_sample"
    ),
    "AmbientSensors": Target(
        f"{BEHAVIOR}/AmbientTemperature/data",
        f"{BEHAVIOR}/AmbientTemperature/timestamps",
        f"{BEHAVIOR}/AmbientTemperature/data",
        f"{BEHAVIOR}/AmbientRelativeHumidity",
    ),
    "TaskSettings": Target("analysis/TaskSettings/value", other="analysis/TaskSettingsRawPassiveData"),
    "TaskSettingsFields": Target("analysis/TaskSettings/field"),
    "ExperimentDescription": Target("analysis/ExperimentDescription/value"),
    "SourceDatasets": Target(f"{SOURCES}/md5"),
    "SourceDatasetsSize": Target(f"{SOURCES}/size"),
    "SourceDatasetsRevision": Target(f"{SOURCES}/revision"),
}


def replace(file, path, values):
    """Write other values under a name, of whatever shape and type."""
    kept = dict(file[path].attrs)
    del file[path]
    file.create_dataset(path, data=values).attrs.update(kept)


def flip_one_value(file, target):
    """Another value in the middle."""
    array = file[target.values]
    index = tuple(n // 2 for n in array.shape)
    value = array[index]
    if isinstance(value, bytes):
        array[index] = "true" if value != b"true" else "false"
    elif np.issubdtype(array.dtype, np.floating):
        array[index] = 1.0 if np.isnan(value) else 1.001 * value + 1e-3
    else:
        array[index] = value ^ 1


def shift_one_row(file, target):
    """All rows one place further."""
    values = file[target.values][:]
    file[target.values][...] = np.roll(values, 1, axis=0) if len(values) > 1 else values + 1


def drop_one_row(file, target):
    """The row in the middle is gone."""
    values = file[target.values][:]
    replace(file, target.values, np.delete(values, len(values) // 2, axis=0))


def move_one_nan(file, target):
    """A NaN in place of the number beside it; one where there was none."""
    values = file[target.nans][:]
    is_nan = np.isnan(values.reshape(len(values), -1)).any(axis=1)
    borders = np.flatnonzero(np.diff(is_nan))
    if len(borders):
        row = borders[0]
        values[[row, row + 1]] = values[[row + 1, row]]
    else:
        values[0] = np.nan
    file[target.nans][...] = values


def swap_instances(file, target):
    """Two objects under one another's name."""
    file.move(target.parent, "swapped")
    file.move(target.other, target.parent)
    file.move("swapped", target.other)


def double_the_factor(file, target):
    file[target.values].attrs["conversion"] *= 2


def add_an_offset(file, target):
    file[target.values].attrs["offset"] = 1.0


def other_unit(file, target):
    file[target.values].attrs["unit"] = "furlongs"


def delay_by_a_millisecond(file, target):
    array = file[target.times]
    array[...] = array[...] + np.array(0.001 if array.dtype.kind == "f" else 30).astype(array.dtype)


def remove_the_values(file, target):
    del file[target.values]


def other_type(file, target):
    values = file[target.values][:]
    if values.dtype.kind == "O":
        replace(file, target.values, np.arange(len(values)))
    else:
        replace(file, target.values, values.astype({"f": "float16", "i": "int32", "u": "int16"}[values.dtype.kind]))


def applies(damage, name):
    target = TARGETS[name]
    is_series = target.values.endswith("/data")
    needs = {
        move_one_nan: target.nans is not None,
        swap_instances: target.other is not None,
        delay_by_a_millisecond: target.times is not None,
        double_the_factor: is_series,
        add_an_offset: is_series,
        other_unit: is_series,
        # All fronts of a line have the same channel
        shift_one_row: name != "SyncChannel",
        # The table of sources is read as a whole, and sizes of files are Python's integers
        other_type: not name.startswith("SourceDatasets"),
        remove_the_values: not name.startswith("SourceDatasets"),
    }
    return needs.get(damage, True)


DAMAGES = (
    *(flip_one_value, shift_one_row, drop_one_row, move_one_nan, swap_instances, double_the_factor, add_an_offset),
    *(other_unit, delay_by_a_millisecond, remove_the_values, other_type),
)


def is_told_of(damage, target, path):
    """Whether a row about an object of the file tells of a damage to a target."""
    attributes = {double_the_factor: "conversion", add_an_offset: "offset", other_unit: "unit"}
    if damage in attributes:
        return path == f"{target.values}@{attributes[damage]}"
    if damage is swap_instances:
        return path.startswith((f"{target.parent}/", f"{target.other}/"))
    if target.parent == SOURCES:
        return path.startswith(SOURCES)
    return path == {move_one_nan: target.nans, delay_by_a_millisecond: target.times}.get(damage, target.values)


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in TARGETS for damage in DAMAGES if applies(damage, name)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_damage_is_found(report_of, name, damage):
    report = report_of(damage, name)
    assert any(is_told_of(damage, TARGETS[name], row.object) for row in report.differences), told(report)


@pytest.mark.parametrize("name", [name for name in TARGETS if not name.startswith("Source")])
def test_first_difference_says_where_and_what(report_of, example, name):
    path = TARGETS[name].values
    with h5py.File(example / "hdf5/file.nwb") as file:
        index = tuple(n // 2 for n in file[path].shape)
        expected = file[path][index]
    (row,) = (row for row in report_of(flip_one_value, name).differences if row.object == path)
    assert row.first_difference.index == index
    if isinstance(expected, bytes):
        is_json = path.endswith("/value")
        expected = json.dumps(json.loads(expected)) if is_json else expected.decode()
    if name == "WheelVelocity":  # derived again, to rounding
        expected = pytest.approx(expected, rel=1e-6)
    assert row.first_difference.expected == expected


# Damages of one family


def other_camera(file):
    file[f"{VIDEO}/external_file"][0] = "file/VideoRightCamera.mp4"


def no_such_film(file):
    file[f"{VIDEO}/external_file"][0] = "file/Video.mp4"


def two_films(file):
    references = file[f"{VIDEO}/external_file"][:]
    replace(file, f"{VIDEO}/external_file", np.concatenate([references, references]))


def later_first_frame(file):
    file[f"{VIDEO}/external_file"].attrs["starting_frame"] = [1]


def turned_picture(file):
    file[f"{VIDEO}/dimension"][:] = file[f"{VIDEO}/dimension"][:][::-1]


def other_format(file):
    file[f"{VIDEO}/format"][...] = "raw"


def films_of_two_cameras_swapped(file):
    paths = [f"{VIDEO}/external_file", f"{OTHER_VIDEO}/external_file"]
    first, second = (file[path][0] for path in paths)
    file[paths[0]][0], file[paths[1]][0] = second, first


def first_times_instead_of_last(file):
    times = file[f"{VIDEO}/timestamps"]
    times[1:] = times[:-1]


def raw_for_smooth(file):
    container = f"{BEHAVIOR}/PupilTrackingLeftCamera"
    swap_instances(file, Target(f"{container}/PupilDiameterRaw/data", other=f"{container}/PupilDiameterSmooth"))


def near_for_far_paw(file):
    container = f"{BEHAVIOR}/PawStatesLeftCamera"
    swap_instances(file, Target(f"{container}/PawRMove/data", other=f"{container}/PawLMove"))


def series_of_no_column(file):
    file.copy(f"{BEHAVIOR}/PupilTrackingLeftCamera/PupilDiameterRaw", f"{BEHAVIOR}/PupilTrackingLeftCamera/Extra")


def fronts_of_no_line(file):
    file.copy("events/SyncLeftCamera", "events/SyncLaser")


def falling_for_rising(file):
    file["events/SyncAudio/polarity"][:] *= -1


def line_removed(file):
    del file["events/SyncFrame2ttl"]


def one_bit_of_the_word(file):
    file["acquisition/NIDQDigitalWord/data"][77] ^= 1 << 4


def other_rate(file):
    file["acquisition/TimeSeriesSyncProbe00/starting_time"].attrs["rate"] += 1


def gabors_one_row_late(file):
    for name in ("position", "contrast", "phase"):
        column = file[f"intervals/PassiveGabor/{name}"]
        column[1:] = column[:-1]


def column_of_no_source(file):
    table = file["intervals/PassiveGabor"]
    table.copy("contrast", "noise")
    table.attrs["colnames"] = [*table.attrs["colnames"], "noise"]


def turned_frames(file):
    frames = file["stimulus/presentation/PassiveReceptiveFieldStimulus/data"]
    frames[...] = frames[...].transpose(0, 2, 1)


def kinds_of_noise_swapped(file):
    table = f"{QUALITY}/EphysChannelsProbe00"
    raw, destriped = file[f"{table}/ap_rms_raw"][:], file[f"{table}/ap_rms_destriped"][:]
    file[f"{table}/ap_rms_raw"][:], file[f"{table}/ap_rms_destriped"][:] = destriped, raw


def pascals_without_factor(file):
    file[f"{BEHAVIOR}/AmbientAirPressure/data"].attrs["conversion"] = 1.0


def number_as_text(file):
    values = file["analysis/TaskSettings/value"]
    row = next(row for row, text in enumerate(values[:]) if text.isdigit())
    values[row] = json.dumps(values[row].decode())


def no_json(file):
    file["analysis/ExperimentDescription/value"][3] = "{"


def acceleration_is_velocity(file):
    replace(file, "processing/wheel/WheelAcceleration/data", file["processing/wheel/WheelVelocity/data"][:])


def wrong_filter(file):
    velocity = file["processing/wheel/WheelVelocity/data"]
    velocity[:] = np.convolve(velocity[:], np.ones(5) / 5, "same")


def source_removed(file):
    columns = file[SOURCES]
    row = list(columns["relative_path"][:]).index(b"alf/licks.times.npy")
    for name in [*columns.attrs["colnames"], "id"]:
        replace(file, f"{SOURCES}/{name}", np.delete(columns[name][:], row))


def other_revision_of_a_source(file):
    paths = file[f"{SOURCES}/relative_path"]
    row = next(row for row, path in enumerate(paths[:]) if b"#2025-03-03#" in path and b"position" in path)
    paths[row] = paths[row].replace(b"#2025-03-03#/", b"")


SPECIFIC_DAMAGES = {
    other_camera: f"{VIDEO}/external_file (size)",
    no_such_film: f"{VIDEO}/external_file",
    two_films: f"{VIDEO}/external_file",
    later_first_frame: f"{VIDEO}/external_file@starting_frame",
    turned_picture: f"{VIDEO}/dimension",
    other_format: f"{VIDEO}/format",
    films_of_two_cameras_swapped: f"{VIDEO}/external_file (size)",
    first_times_instead_of_last: f"{VIDEO}/timestamps",
    raw_for_smooth: f"{BEHAVIOR}/PupilTrackingLeftCamera/PupilDiameterRaw/data",
    near_for_far_paw: f"{BEHAVIOR}/PawStatesLeftCamera/PawRMove/data",
    series_of_no_column: f"{BEHAVIOR}/PupilTrackingLeftCamera/Extra",
    fronts_of_no_line: "events/SyncLaser",
    falling_for_rising: "events/SyncAudio/polarity",
    line_removed: "events/SyncFrame2ttl/timestamp",
    one_bit_of_the_word: "acquisition/NIDQDigitalWord/data",
    other_rate: "acquisition/TimeSeriesSyncProbe00/starting_time",
    gabors_one_row_late: "intervals/PassiveGabor/phase",
    column_of_no_source: "intervals/PassiveGabor/noise",
    turned_frames: "stimulus/presentation/PassiveReceptiveFieldStimulus/data",
    kinds_of_noise_swapped: f"{QUALITY}/EphysChannelsProbe00/ap_rms_destriped",
    pascals_without_factor: f"{BEHAVIOR}/AmbientAirPressure/data@conversion",
    number_as_text: "analysis/TaskSettings/value",
    no_json: "analysis/ExperimentDescription/value",
    acceleration_is_velocity: "processing/wheel/WheelAcceleration/data",
    wrong_filter: "processing/wheel/WheelVelocity/data",
    source_removed: f"{SOURCES}/relative_path",
    other_revision_of_a_source: f"{SOURCES}/relative_path",
}


@pytest.mark.parametrize("change", SPECIFIC_DAMAGES, ids=lambda change: change.__name__)
def test_damage_of_one_family_is_found(damaged, change):
    report = damaged(change)
    assert SPECIFIC_DAMAGES[change] in {row.object for row in report.differences}, told(report)


@pytest.mark.parametrize("change", [turned_picture, one_bit_of_the_word, falling_for_rising, pascals_without_factor])
def test_nothing_else_is_said_to_differ(damaged, change):
    assert {row.object for row in damaged(change).differences} == {SPECIFIC_DAMAGES[change]}


def test_copied_video_with_another_byte_is_found(example, tmp_path):
    shutil.copytree(example / "hdf5", tmp_path / "copy")
    film = tmp_path / "copy/file/VideoLeftCamera.mp4"
    content = bytearray(film.read_bytes())
    content[-1] ^= 1
    film.write_bytes(content)
    report = verify(tmp_path / "copy/file.nwb", example / "hdf5/document.json")
    assert {row.object for row in report.differences} == {f"{VIDEO}/external_file"}


def test_video_on_the_web_is_not_verified(damaged):
    def refer(file):
        file[f"{VIDEO}/external_file"][0] = "https://example.org/left.mp4"

    assert f"{VIDEO}/external_file" in objects(damaged(refer), "not verified")


def test_object_that_no_check_speaks_of_is_told(damaged):
    def add(file):
        file.copy("acquisition/NIDQBpod", "acquisition/Invented")

    report = damaged(add)
    (row,) = (row for row in report if row.object == "acquisition/Invented")
    assert (row.status, row.reason) == ("not verified", "no check has compared it with its source")


CHANGED_SOURCES = {
    "alf/licks.times.npy": "events/Licks/timestamp",
    "alf/leftCamera.ROIMotionEnergy.npy": f"{BEHAVIOR}/MotionEnergyLeftCamera/data",
    "alf/_ibl_passiveRFM.times.npy": "stimulus/presentation/PassiveReceptiveFieldStimulus/timestamps",
    "raw_ephys_data/_spikeglx_sync.times.npy": "events/SyncLeftCamera/timestamp",
    "raw_ephys_data/probe00/_iblqc_ephysTimeRmsAP.timestamps.npy": f"{QUALITY}/EphysTimeRmsAPProbe00/time_probe",
}


@pytest.mark.parametrize("relative_path", CHANGED_SOURCES)
def test_source_that_changed_after_the_conversion_is_found(example, tmp_path, relative_path):
    shutil.copytree(example, tmp_path / "copy")
    (session_path,) = (tmp_path / "copy").glob("*/Subjects/*/*/*")
    path = session_path / relative_path
    np.save(path, np.nextafter(np.load(path), np.inf))
    report = verify(tmp_path / "copy/hdf5/file.nwb", session_path)
    found = {row.object for row in report.differences}
    assert {CHANGED_SOURCES[relative_path], f"{SOURCES}/md5"} <= found


def test_other_revision_of_the_pupil_is_found(tmp_path):
    session_path = make_example_session(tmp_path, cameras=("left",), **SESSION | dict(probes=()))
    first = session_path / "alf/_ibl_leftCamera.features.pqt"
    path = convert(session_path, tmp_path / "a.nwb", include=["Pupil"])
    (session_path / "alf/#2025-06-04#").mkdir()
    (pd.read_parquet(first) * 1.01).to_parquet(session_path / "alf/#2025-06-04#" / first.name)
    check_equal(verify(path, session_path, revision=""))
    report = verify(path, session_path)
    assert {f"{SOURCES}/relative_path", f"{BEHAVIOR}/PupilTrackingLeftCamera/PupilDiameterRaw/data"} <= {
        row.object for row in report.differences
    }


# Sources in other forms


def save_fronts(folder, channels, suffix="", namespace="spikeglx", n_fronts=200):
    rng = np.random.default_rng(len(suffix))
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "times": np.sort(rng.uniform(0, 100, n_fronts)),
        "channels": rng.choice(channels, n_fronts).astype(np.int16),
        "polarities": rng.choice([-1, 1], n_fronts).astype(np.int8),
    }
    for attribute, values in columns.items():
        np.save(folder / f"_{namespace}_sync.{attribute}{suffix}.npy", values)


def make_board_and_probes(path):
    save_fronts(path / "raw_ephys_data", [0, 3, 7, 11, 16, 17, 20])
    for probe in ("probe00", "probe01"):
        save_fronts(path / f"raw_ephys_data/{probe}", [6, 9], f".{probe}")


def make_3a(path):
    save_fronts(path / "raw_ephys_data/probe00", [2, 7, 9, 12, 15], ".probe00")
    (path / "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec.ap.meta").write_text("")


def make_timeline(path):
    save_fronts(path / "raw_sync_data", [1, 2, 5, 30], namespace="timeline")
    inputs = [{"arrayColumn": 1, "name": "bpod"}, {"arrayColumn": 2, "name": "bpod"}]
    (path / "raw_sync_data/_timeline_DAQdata.meta.json").write_text(json.dumps({"inputs": inputs}))


def make_wired(path):
    save_fronts(path / "raw_ephys_data", [0, 1, 2, 17])
    wiring = {"SYNC_WIRING_DIGITAL": {"P0.0": "audio", "P0.1": "audio"}, "SYNC_WIRING_ANALOG": {"AI1": "lamp"}}
    (path / "raw_ephys_data/_spikeglx_ephysData_g0_t0.nidq.wiring.json").write_text(json.dumps(wiring))


def make_widefield(path):
    save_fronts(path / "raw_ephys_data", [0, 3])
    (path / "raw_widefield_data").mkdir()
    (path / "raw_widefield_data/imaging.frames.mov").write_bytes(b"")


@pytest.mark.parametrize("make", [make_board_and_probes, make_3a, make_timeline, make_wired, make_widefield])
def test_sync_of_other_rigs_is_equal_to_its_file(tmp_path, make):
    make(tmp_path / "session")
    path = convert(tmp_path / "session", tmp_path / "a.nwb", include=["Sync"])
    report = verify(path, tmp_path / "session")
    check_equal(report)
    assert report.counts["not verified"] == 0 or make is make_3a
    with h5py.File(path, "r+") as file:
        where = "events" if "events" in file else "processing/ecephys"
        names = sorted(name for name in file[where] if name.startswith("Sync"))
        swap_instances(file, Target(f"{where}/{names[0]}/x", other=f"{where}/{names[1]}"))
    assert {row.object.split("/")[-2] for row in verify(path, tmp_path / "session").differences} >= set(names[:2])


@needs_real_data
@pytest.mark.parametrize(
    ("wiring", "is_probe"),
    [
        (CHIMERA / "raw_ephys_data/_spikeglx_ephysData_g0_t0.nidq.wiring.json", False),
        (REAL / "spikeglx_meta/sample3A_g0_t0.imec.wiring.json", True),
    ],
)
def test_real_wiring_is_read_alike_on_both_paths(tmp_path, wiring, is_probe):
    folder = tmp_path / "raw_ephys_data"
    folder.mkdir()
    shutil.copy(wiring, folder / "_spikeglx_ephysData_g0_t0.nidq.wiring.json")
    (dataset,) = ALFSession(tmp_path).datasets
    source_folder = SourceFolder(tmp_path)
    ours = sync_lines.read_lines(source_folder, source_folder.files, is_probe=is_probe)
    assert len(ours) > 4
    assert ours == sync_wiring.read_lines([dataset], "3A probe" if is_probe else "3B nidq")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_documents_are_flattened_alike_on_both_paths(content):
    assert [(field, json.dumps(value, ensure_ascii=False)) for field, value in _flatten(content)] == list(
        json_values(content)
    )


def test_passive_tables_in_other_forms_are_equal_to_their_file(tmp_path):
    alf = tmp_path / "session/alf"
    alf.mkdir(parents=True)
    stimuli = {"valveOn": [1.0, 2.0, np.nan], "valveOff": [1.1, np.nan, np.nan], "noiseOn": np.nan, "noiseOff": np.nan}
    pd.DataFrame(stimuli, index=range(3)).to_parquet(alf / "_ibl_passiveStims.table.pqt")
    gabors = {"start": [0.1, 0.2], "stop": [0.3, 0.4], "contrast": [1, 0], "kind": ["a", "b"], "nextPhase": [0.5, None]}
    pd.DataFrame(gabors).to_csv(alf / "_ibl_passiveGabor.table.csv")
    np.save(alf / "_ibl_passiveRFM.times.npy", np.arange(50) / 60)
    np.save(alf / "spontaneous.intervals.npy", np.array([[3.0, 4.0], [5.0, 6.0]]))
    periods = ",passiveProtocol,RFM,taskReplay\nstart,0.5,,0.25\nstop,9.5,,3.25\n"
    (alf / "_ibl_passivePeriods.intervalsTable.csv").write_text(periods)
    report = verify(convert(tmp_path / "session", tmp_path / "a.nwb", include=["Passive"]), tmp_path / "session")
    check_equal(report)
    assert "intervals/PassiveGabor/next_phase" in objects(report, "equal")
    assert objects(report, "not verified") == {"intervals/PassiveReplayNoise"}


def test_column_of_the_replay_that_is_not_converted_is_told(tmp_path):
    alf = tmp_path / "session/alf"
    alf.mkdir(parents=True)
    (alf / "_ibl_passiveStims.table.csv").write_text(",toneOn,toneOff,loudness\n0,1.0,2.0,70\n")
    report = verify(convert(tmp_path / "session", tmp_path / "a.nwb", include=["Passive"]), tmp_path / "session")
    (row,) = (row for row in report if row.dataset.endswith(":loudness"))
    assert row.status == "not verified"


@pytest.mark.parametrize("lines", ['{"Temperature_C": [20.5]}\n{"Temperature_C": [2\n', '{"Temperature_C": [21.0]}\n'])
def test_sensors_without_times_are_equal_to_their_file(tmp_path, lines):
    folder = tmp_path / "session/raw_behavior_data"
    folder.mkdir(parents=True)
    (folder / "_iblrig_ambientSensorData.raw.jsonable").write_text(lines)
    path = convert(tmp_path / "session", tmp_path / "a.nwb", include=["AmbientSensors"])
    report = verify(path, tmp_path / "session")
    check_equal(report)
    assert f"{BEHAVIOR}/AmbientSensors/temperature" in objects(report, "equal")


def test_empty_sources_are_said_to_be_empty(tmp_path):
    folder = tmp_path / "session/raw_ephys_data/probe00"
    folder.mkdir(parents=True)
    (tmp_path / "session/alf").mkdir()
    np.save(tmp_path / "session/alf/licks.times.npy", np.empty(0))
    np.save(folder / "_iblqc_ephysSaturation.samples.npy", np.empty((0, 2), dtype=np.int64))
    path = convert(tmp_path / "session", tmp_path / "a.nwb", include=["Licks", "EphysQC"])
    report = verify(path, tmp_path / "session")
    assert {row.reason for row in report if row.status == "not verified"} == {
        "it is empty: no licks were found",
        "it is empty: no stretch was saturated",
    }


def test_sample_of_the_sync_board_finds_a_damage_as_often_as_its_fraction_says(tmp_path):
    arguments = SESSION | dict(probes=("probe00",), raw_bands=("lf",), raw_duration_s=20.0, raw_format="bin")
    session_path = make_example_session(tmp_path, cameras=(), **arguments)
    path = convert(session_path, tmp_path / "a.nwb", include=["NIDQ"])
    with h5py.File(path, "r+") as file:
        file["acquisition/NIDQBpod/data"][400_000] += 1
    assert not verify(path, session_path).ok
    found = [not verify(path, session_path, sample=0.25, seed=seed).ok for seed in range(40)]
    assert 0.25 * 40 - 9 < sum(found) < 0.25 * 40 + 9  # 3.3 standard deviations


@pytest.fixture(scope="module")
def snippet(example, tmp_path_factory):
    """File of a part of the sync board's recording and of a probe's."""
    (session_path,) = example.glob("*/Subjects/*/*/*")
    options = dict.fromkeys(["NIDQ", "ProbeSyncProbe00"], {"start_s": 0.31, "stop_s": 1.05})
    path = tmp_path_factory.mktemp("snippet") / "a.nwb"
    return convert(session_path, path, include=["NIDQ", "ProbeSync"], options=options)


def test_snippet_is_equal_to_its_part_of_the_source(snippet):
    report = verify(snippet, snippet.with_name("document.json"))
    assert report.ok, told(report)
    assert any("a snippet was converted" in row.reason for row in report)


@pytest.mark.parametrize("damage", [flip_one_value, drop_one_row, delay_by_a_millisecond])
@pytest.mark.parametrize("name", ["NIDQ", "NIDQWord", "ProbeSync"])
def test_damage_of_a_snippet_is_found(snippet, tmp_path, name, damage):
    shutil.copy(snippet, tmp_path / "a.nwb")
    with h5py.File(tmp_path / "a.nwb", "r+") as file:
        damage(file, TARGETS[name])
    report = verify(tmp_path / "a.nwb", snippet.with_name("document.json"))
    assert any(is_told_of(damage, TARGETS[name], row.object) for row in report.differences), told(report)


# Headers of videos


def source_file(path):
    return SourceFile(path, path.name, "", "", "iblrig", path.name)


def write_film(path, codec, n_frames, width, height):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for grey in range(n_frames):
            picture = np.full((height, width, 3), 5 * grey, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mpeg4"), ("a.avi", "mpeg4")])
def test_frames_and_size_are_read_from_the_header(tmp_path, name, codec):
    write_film(tmp_path / name, codec, 17, 64, 48)
    assert read_video_facts(source_file(tmp_path / name)) == (17, 64, 48)


@needs_real_data
def test_header_of_a_real_video_has_as_many_frames_as_there_are_times():
    facts = read_video_facts(source_file(next((CHIMERA / "raw_video_data").glob("*bodyCamera.raw*.mp4"))))
    assert facts.n_frames == len(np.load(next((CHIMERA / "alf").glob("_ibl_bodyCamera.times*.npy"))))


@pytest.mark.parametrize("n_bytes", [0, 30, 700])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_damaged_video_is_an_error(tmp_path, name, n_bytes):
    write_film(tmp_path / name, "mpeg4", 17, 64, 48)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:n_bytes])
    if name == "a.avi" and n_bytes == 700:
        return  # the header is complete
    with pytest.raises(DatasetUnreadableError, match="The source .* cannot be read"):
        read_video_facts(source_file(tmp_path / name))
