"""Verification and provenance: written files pass, every damage is found, and the file names its sources."""

import hashlib
import json
import re
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from nwbinspector import Importance, inspect_nwbfile, load_config
from pynwb import validate
from real_data import CHIMERA, needs_real_data

from ibl_nwb import AlyxRecord, IBLConverter, convert_document, inspect_session, make_document, provenance
from ibl_nwb.errors import DatasetUnreadableError, DocumentError, SessionNotFoundError, UsageError
from ibl_nwb.provenance import add_source_datasets
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import example_alyx_answers, make_example_session
from ibl_nwb.verify import verify
from ibl_nwb.verify.raw_ephys import choose_blocks

SMALL = dict(n_channels=8, raw_duration_s=0.2, spikes_per_probe=1500, n_clusters=12, n_trials=20, cameras=("left",))

VARIANTS = {
    "mixed": dict(trials_layout="mixed", audio_session_times=False, extra_camera_times=3, raw_format="bin"),
    "uuids": dict(uuids_in_names=True, cameras=("right", "body"), probes=("probe01",)),
}

SESSION = "EX_001/2023-05-18/001"
UNITS, ELECTRODES = "units", "general/extracellular_ephys/electrodes"
MD5 = "analysis/SourceDatasets/md5"
AP, LF = "acquisition/ElectricalSeriesAPProbe00", "acquisition/ElectricalSeriesLFProbe00"
POSITION, POINT = "processing/wheel/WheelPosition", "processing/behavior/PoseEstimationLeftCamera/NoseTip"

#: Coordinates of sites in the atlas, compared to a tolerance like those of the electrodes.
LOCALIZATION = re.compile(r"general/localization/\w+/[xyz]$")

#: Arrays by which a check knows which row is whose. A change of one of them is tested by itself.
KEYS = {f"{UNITS}/sorting_path", f"{ELECTRODES}/group_name", f"{ELECTRODES}/group", f"{ELECTRODES}/channel"}


def convert(folder, session_path, backend="hdf5", exclude=(), **arguments):
    """Document and file of a session, with the Alyx record."""
    record = AlyxRecord.from_rest(**example_alyx_answers(session_path))
    document = make_document(session_path, alyx=record, exclude=exclude, **arguments)
    document.write_json(folder / "document.json")
    suffix = {"hdf5": "nwb", "zarr": "nwb.zarr"}[backend]
    return convert_document(document, folder / f"file.{suffix}", backend=backend).nwbfile_path


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """Folder with a session, its document, and its file in both formats; not to be changed."""
    folder = tmp_path_factory.mktemp("example")
    session_path = make_example_session(folder, **SMALL)
    for backend in ("hdf5", "zarr"):
        convert(folder, session_path, backend)
    return folder


@pytest.fixture
def damaged(example, tmp_path):
    """Function that makes a change to a copy of the file and gives the report about it."""

    def damage(change, **arguments):
        shutil.copy(example / "file.nwb", tmp_path / "damaged.nwb")
        with h5py.File(tmp_path / "damaged.nwb", "r+") as file:
            change(file)
        return verify(tmp_path / "damaged.nwb", example / "document.json", **arguments)

    return damage


def objects(report, status):
    return {row.object for row in report if row.status == status}


def told(report):
    """Every row that is not equal, for messages of tests."""
    return [(row.status, row.dataset, row.object, row.reason) for row in report if row.status != "equal"]


def replace(file, path, values, **attributes):
    """Write other values under a name, of whatever shape and type."""
    kept = dict(file[path].attrs)
    del file[path]
    file.create_dataset(path, data=values).attrs.update(kept | attributes)


# Files as they were written


def check_equal(folder, session_path, nwbfile_path):
    """Everything that was converted is equal, but for what is left out by default or by ALF's own rules."""
    report = verify(nwbfile_path, folder / "document.json")
    assert report.ok, told(report)
    reasons = {row.reason.split(":")[0] for row in report if row.status == "not verified"}
    assert reasons <= {"left out", "not converted"}
    spoken_of = {row.dataset.partition(":")[0] for row in report if row.object != MD5}
    covered = {row.relative_path: row for row in inspect_session(ALFSession(session_path))}
    sources = {row.relative_path: row.role for row in list_sources(nwbfile_path)}
    assert len(sources) > 10
    for relative_path, role in sources.items():
        assert role == "support" or covered[relative_path].status == "converted"
        assert role == "support" or relative_path in spoken_of


@pytest.mark.parametrize(("variant", "backend"), [("mixed", "zarr"), ("uuids", "hdf5")])
def test_variant_of_the_example_session_is_equal_to_its_file(tmp_path, variant, backend):
    session_path = make_example_session(tmp_path, **SMALL | VARIANTS[variant])
    check_equal(tmp_path, session_path, convert(tmp_path, session_path, backend))


@pytest.mark.parametrize("name", ["file.nwb", "file.nwb.zarr"])
def test_session_of_two_probes_with_revisions_is_equal_to_its_file(example, name):
    check_equal(example, next(example.glob("*/Subjects/*/*/*")), example / name)


@needs_real_data
def test_real_session_is_equal_to_its_zarr_file(tmp_path):
    document = make_document(CHIMERA, timezone="UTC", session_start_time="2019-07-01T12:00:00")
    report = verify(convert_document(document, tmp_path / "a.nwb.zarr", backend="zarr").nwbfile_path, CHIMERA)
    assert report.ok, told(report)
    reasons = {row.reason.split(":")[0] for row in report if row.status == "not verified"}
    assert reasons <= {"left out", "not converted"}


@pytest.mark.parametrize(
    "options",
    [
        {"write_spike_samples": True, "write_spike_templates": True},
        {"silent_clusters": "drop", "write_waveforms": False},
    ],
)
def test_conversion_options_of_the_document_are_heeded(tmp_path, options):
    session_path = make_example_session(tmp_path, **SMALL | dict(raw_bands=(), cameras=(), audio=False))
    document = make_document(session_path, timezone="UTC")
    names = [name for name in document.source_data if name.startswith("SortedSpikes")]
    document.conversion_options = dict.fromkeys(names, options)
    document.write_json(tmp_path / "document.json")
    path = convert_document(document, tmp_path / "a.nwb").nwbfile_path
    report = verify(path, tmp_path / "document.json")
    assert report.ok, told(report)
    assert ("units/spike_samples" in objects(report, "equal")) == ("write_spike_samples" in options)


def test_revision_that_was_converted_has_to_be_named(tmp_path):
    session_path = make_example_session(tmp_path, **SMALL | dict(raw_bands=(), audio=False))
    path = convert(tmp_path, session_path, revision="")
    assert verify(path, session_path, revision="").ok
    assert verify(path, tmp_path / "document.json").ok
    report = verify(path, session_path)
    assert not report.ok
    reasons = {row.dataset: row.reason for row in report.differences if "relative_path" in row.object}
    assert "names alf/_ibl_wheel.position.npy" in reasons["alf/#2025-03-03#/_ibl_wheel.position.npy"]


def test_interface_that_was_left_out_is_not_missing(tmp_path):
    session_path = make_example_session(tmp_path, **SMALL | dict(raw_bands=()))
    path = convert(tmp_path, session_path, exclude=["Wheel", "SortedSpikesProbe01"])
    report = verify(path, session_path)
    assert report.ok, told(report)
    assert {POSITION, "units (probe01)"} <= objects(report, "not verified")


def test_session_is_found_beside_the_file(example):
    report = verify(example / "file.nwb")
    assert report.ok
    assert str(report.session_path).endswith(SESSION)


def test_report_is_json_with_counts(example):
    report = verify(example / "file.nwb", example / "document.json")
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["ok"] is True
    assert content["counts"] == dict(report.counts)
    assert sum(content["counts"].values()) == len(content["rows"]) > 100
    assert content["rows"][0] == {
        "dataset": "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.cbin",
        "object": f"{AP}/data",
        "status": "equal",
        "reason": "",
        "first_difference": None,
    }


# One change to every array that was compared


def compared_arrays(report, group):
    """Arrays of the file that some row speaks of, but for those by which rows are found."""
    paths = {row.object for row in report if row.status == "equal" and row.object not in KEYS}
    return sorted(path for path in paths if path in group and hasattr(group[path], "shape"))


def change_one_value(array, generator):
    """Put another value of the same type at a random place."""
    if array.shape in ((), (1,)) and array.dtype.kind == "f":  # a starting time
        array[...] = array[...] + 0.01
        return
    index = tuple(int(generator.integers(n)) for n in array.shape)
    value = array[index]
    if isinstance(value, (str, bytes)):
        array[index] = "changed"
    elif isinstance(value, np.bool_):
        array[index] = not value
    elif value.dtype.kind == "f":
        array[index] = 1.0 if not np.isfinite(value) else np.nextafter(value, value.dtype.type(np.inf))
    else:
        array[index] = value - 1 if value > 0 else value + 1


@pytest.mark.parametrize(("backend", "seed"), [("hdf5", 0), ("zarr", 1)])
def test_one_changed_value_in_every_array_is_found(example, tmp_path, backend, seed):
    generator = np.random.default_rng(seed)
    name = {"hdf5": "file.nwb", "zarr": "file.nwb.zarr"}[backend]
    (shutil.copy if backend == "hdf5" else shutil.copytree)(example / name, tmp_path / name)
    untouched = verify(tmp_path / name, example / "document.json")
    file = h5py.File(tmp_path / name, "r+") if backend == "hdf5" else zarr.open(str(tmp_path / name), "r+")
    paths = compared_arrays(untouched, file)
    # Positions on the probe and times on a grid are compared to a tolerance, which the next number is within
    with_tolerance = {f"{ELECTRODES}/{column}" for column in ("rel_x", "rel_y", "x", "y", "z")}
    paths = [path for path in paths if path not in with_tolerance and not LOCALIZATION.match(path)]
    for path in paths:
        change_one_value(file[path], generator)
    if backend == "hdf5":
        file.close()
    report = verify(tmp_path / name, example / "document.json")
    found = {row.object.removesuffix("_index") for row in report.differences}
    assert {path.removesuffix("_index") for path in paths} - found == set()
    assert len(paths) > 150


def test_every_array_that_is_gone_is_missing(damaged, example):
    untouched = verify(example / "file.nwb", example / "document.json")
    gone = []

    def remove(file):
        keys = {f"{UNITS}/probe_name", f"{UNITS}/cluster_id", "analysis/AlyxRecord"}
        gone.extend(p for p in compared_arrays(untouched, file) if p not in keys and not p.startswith("analysis"))
        for path in gone:
            if path in file:
                del file[path]

    report = damaged(remove)
    told_with_another = {path for path in gone if path.endswith(("_index", "/starting_time", "Probe00/electrodes"))}
    told_with_another |= {path.replace("00", "01") for path in told_with_another} | {f"{UNITS}/waveform_channels"}
    assert set(gone) - told_with_another - objects(report, "missing") == set()


def test_every_array_of_another_type_is_found(damaged, example):
    untouched = verify(example / "file.nwb", example / "document.json")
    other = {"float64": "float32", "float32": "float64", "int16": "int32", "uint8": "int64", "bool": "uint8"}
    changed = []

    def convert_types(file):
        for path in compared_arrays(untouched, file):
            if file[path].dtype.name in other and file[path].shape and "index" not in path:
                changed.append(path)
                replace(file, path, file[path][:].astype(other[file[path].dtype.name]))

    report = damaged(convert_types)
    reasons = {row.object: row.reason for row in report.differences}
    assert set(changed) - set(reasons) == set()
    linked = {path for path in changed if path.endswith("/timestamps")}  # their type is that of the first series
    assert [path for path in changed if path not in linked and " instead of " not in reasons[path]] == []


# Damages that matter


def flip_one_sample(file):
    file[f"{AP}/data"][1234, 5] ^= 1


def shift_trials(file):
    for name, column in file["intervals/trials"].items():
        if name != "id" and isinstance(column, h5py.Dataset):
            column[5:] = column[4:-1]


def drop_one_spike(file):
    units = file[UNITS]
    stops = units["spike_times_index"][:]
    replace(file, f"{UNITS}/spike_times", np.delete(units["spike_times"][:], int(stops[3]) - 1))
    stops[3:] -= 1
    units["spike_times_index"][:] = stops


def swap(file, first, second):
    file.move(first, "swapped")
    file.move(second, first)
    file.move("swapped", second)


def swap_raw_probes(file):
    swap(file, AP, AP.replace("00", "01"))


def swap_unit_probes(file):
    names = file[f"{UNITS}/probe_name"]
    names[:] = [{b"probe00": "probe01", b"probe01": "probe00"}[name] for name in names[:]]


def swap_electrode_groups(file):
    groups = file[f"{ELECTRODES}/group"]
    groups[:] = groups[:][::-1]


def wrong_gain(file):
    file[f"{LF}/data"].attrs["conversion"] *= 2


def nan_to_zero(file):
    column = file["intervals/trials/contrast_left"]
    column[:] = np.nan_to_num(column[:])


def nan_of_unit_to_zero(file):
    column = file[f"{UNITS}/max_confidence"]
    column[:] = np.nan_to_num(column[:])


def swap_pose_axes(file):
    file[f"{POINT}/data"][:] = file[f"{POINT}/data"][:][:, ::-1]


def swap_points(file):
    swap(file, POINT, POINT.replace("NoseTip", "TubeTop"))


def swap_positions_of_points(file):
    swap(file, f"{POINT}/data", f"{POINT.replace('NoseTip', 'TubeTop')}/data")


def shift_metrics(file):
    column = file[f"{UNITS}/firing_rate"]
    column[:] = np.roll(column[:], 1)


def metrics_by_row_and_not_by_id(file):
    probe01 = np.flatnonzero(file[f"{UNITS}/probe_name"][:] == b"probe01")
    column = file[f"{UNITS}/firing_rate"]
    values = column[:]
    values[probe01] = values[probe01][::-1]
    column[:] = values


def wrong_region(file):
    file[f"{ELECTRODES}/location"][3] = "CA1"


def mirrored_coordinates(file):
    file[f"{ELECTRODES}/ml"][:] *= -1


def shifted_start(file):
    file[f"{AP}/starting_time"][...] += 0.001


def wrong_rate(file):
    file[f"{AP}/starting_time"].attrs["rate"] *= 1 + 1e-4


def other_revision_of_the_wheel(file):
    file[f"{POSITION}/data"][:] *= -1


def edited_unit_id(file):
    file[f"{UNITS}/cluster_id"][4] += 100


def renamed_unit(file):
    file[f"{UNITS}/unit_name"][4] = "probe00_999"


def other_revision_of_the_sorting(file):
    file[f"{UNITS}/sorting_path"][0] = "alf/probe00/pykilosort"


def remove_wheel(file):
    del file["processing/wheel"]


def remove_unit(file):
    n = len(file[f"{UNITS}/id"])
    for name, column in list(file[UNITS].items()):
        if len(column) == n:
            replace(file, f"{UNITS}/{name}", column[:-1])


def remove_last_trial(file):
    for name, column in list(file["intervals/trials"].items()):
        if isinstance(column, h5py.Dataset):
            replace(file, f"intervals/trials/{name}", column[:-1])


def swap_electrode_of_unit(file):
    column = file[f"{UNITS}/electrodes"]
    column[0] = (column[0] + 1) % 8


def swap_channels_of_series(file):
    file[f"{AP}/electrodes"][:] = file[f"{AP}/electrodes"][:][::-1]


def centimetres_for_radians(file):
    file[f"{POSITION}/data"].attrs["unit"] = "meters"


def swap_clocks_of_audio(file):
    swap(file, "processing/audio/AudioSpectrogram/timestamp", "processing/audio/AudioSpectrogram/time_mic")


def first_frames_instead_of_last(file):
    times = file[f"{POINT}/timestamps"]
    times[1:] = times[:-1]


def swap_trial_columns(file):
    swap(file, "intervals/trials/contrast_left", "intervals/trials/contrast_right")


def edited_record(file):
    file["analysis/AlyxRecord/value"][2] = '"another subject"'


def edited_insertion(file):
    column = file["analysis/ProbeInsertions/pid"]
    column[:] = column[:][::-1]


def zero_with_a_sign(file):
    column = file["intervals/trials/reward_volume"]
    column[np.flatnonzero(column[:] == 0)[0]] = -0.0


def damage_bytes(file):
    replace(file, f"{UNITS}/amps", file[f"{UNITS}/amps"][:])
    values = file[f"{UNITS}/amps"][:]
    del file[f"{UNITS}/amps"]
    array = file.create_dataset(f"{UNITS}/amps", data=values, chunks=values.shape, compression="gzip")
    array.id.write_direct_chunk((0,), b"these are not the bytes of gzip")


DAMAGES = {
    flip_one_sample: f"{AP}/data",
    shift_trials: "intervals/trials/stim_on_time",
    drop_one_spike: "units/spike_times_index",
    swap_raw_probes: f"{AP}/data",
    swap_unit_probes: "units/spike_times_index",
    swap_electrode_groups: f"{ELECTRODES}/group",
    wrong_gain: f"{LF}/data@conversion",
    nan_to_zero: "intervals/trials/contrast_left",
    nan_of_unit_to_zero: "units/max_confidence",
    swap_pose_axes: f"{POINT}/data",
    swap_points: f"{POINT}/data",
    swap_positions_of_points: f"{POINT}/data",
    shift_metrics: "units/firing_rate",
    metrics_by_row_and_not_by_id: "units/firing_rate",
    wrong_region: f"{ELECTRODES}/location",
    mirrored_coordinates: f"{ELECTRODES}/ml",
    shifted_start: f"{AP}/starting_time",
    wrong_rate: f"{AP}/starting_time",
    other_revision_of_the_wheel: f"{POSITION}/data",
    edited_unit_id: "units/cluster_id",
    renamed_unit: "units/unit_name",
    other_revision_of_the_sorting: "units/sorting_path",
    remove_wheel: f"{POSITION}/data",
    remove_unit: "units/cluster_id",
    remove_last_trial: "intervals/trials/choice",
    swap_electrode_of_unit: "units/electrodes",
    swap_channels_of_series: f"{AP}/electrodes",
    centimetres_for_radians: f"{POSITION}/data@unit",
    swap_clocks_of_audio: "processing/audio/AudioSpectrogram/timestamp",
    first_frames_instead_of_last: f"{POINT}/timestamps",
    swap_trial_columns: "intervals/trials/contrast_left",
    edited_record: "analysis/AlyxRecord",
    edited_insertion: "analysis/ProbeInsertions/pid",
    zero_with_a_sign: "intervals/trials/reward_volume",
    damage_bytes: "units/amps",
}


@pytest.mark.parametrize("change", DAMAGES, ids=lambda change: change.__name__)
def test_damage_is_found(damaged, change):
    report = damaged(change)
    assert not report.ok
    assert DAMAGES[change] in {row.object for row in report.differences}, told(report)


def test_first_difference_says_where_and_what(damaged, example):
    with h5py.File(example / "file.nwb") as file:
        sample = int(file[f"{AP}/data"][1234, 5])
        stops = file[f"{UNITS}/spike_depths_index"][:]
        depth = float(file[f"{UNITS}/spike_depths"][int(stops[6]) + 2])

    def change(file):
        flip_one_sample(file)
        file[f"{UNITS}/spike_depths"][int(stops[6]) + 2] = np.nan

    report = damaged(change)
    first = {row.object: row.first_difference for row in report.differences}
    assert set(first) == {f"{AP}/data", f"{UNITS}/spike_depths"}
    assert (first[f"{AP}/data"].index, first[f"{AP}/data"].expected) == ((1234, 5), sample)
    assert first[f"{AP}/data"].found == sample ^ 1
    assert first[f"{UNITS}/spike_depths"].index == (7, 2)
    assert first[f"{UNITS}/spike_depths"].expected == depth
    assert first[f"{UNITS}/spike_depths"].to_dict()["found"] == "nan"


def test_nothing_else_is_said_to_differ(damaged):
    report = damaged(wrong_region)
    assert {row.object for row in report.differences} == {f"{ELECTRODES}/location"}


def test_source_that_changed_after_the_conversion_is_found(tmp_path):
    session_path = make_example_session(tmp_path, **SMALL | dict(probes=(), cameras=(), audio=False))
    path = convert(tmp_path, session_path)
    (stored,) = session_path.rglob("_ibl_wheel.timestamps.npy")
    np.save(stored, np.load(stored) + 1e-9)
    report = verify(path, session_path)
    assert objects(report, "different") == {f"{POSITION}/timestamps", MD5}


def test_converted_file_that_no_check_speaks_of_is_told(damaged):
    def name_another_source(file):
        table = file["analysis/SourceDatasets"]
        for name, column in list(table.items()):
            added = {"id": [999], "relative_path": [b"alf/invented.times.npy"], "role": [b"converted"]}
            more = added.get(name, column[-1:])
            replace(file, f"{table.name}/{name}", np.concatenate([column[:], more]))

    report = damaged(name_another_source)
    rows = [row for row in report if row.dataset == "alf/invented.times.npy"]
    assert any(row.status == "not verified" and "no check" in row.reason for row in rows), rows


# Samples of raw recordings


def test_sample_finds_a_damage_as_often_as_its_fraction_says(tmp_path):
    lf_only = dict(probes=("probe00",), raw_bands=("lf",), raw_format="bin", raw_duration_s=20.0, n_channels=4)
    rest = dict(cameras=(), audio=False, spikes_per_probe=100, n_clusters=3, n_trials=5)
    session_path = make_example_session(tmp_path, **lf_only, **rest)
    path = convert(tmp_path, session_path, exclude=["SortedSpikes", "Trials", "Wheel"])
    with h5py.File(path, "r+") as file:
        assert len(file[f"{LF}/data"]) == 50_000
        file[f"{LF}/data"][31_000, 2] += 1
    assert not verify(path, session_path).ok
    found = [not verify(path, session_path, sample=0.25, seed=seed).ok for seed in range(60)]
    assert 0.25 * 60 - 12 < sum(found) < 0.25 * 60 + 12  # 3.6 standard deviations
    again = [not verify(path, session_path, sample=0.25, seed=seed).ok for seed in range(10)]
    assert again == found[:10]


@pytest.mark.parametrize(("sample", "n_chosen"), [(None, 40), (1.0, 40), (0.1, 4), (0.01, 1)])
def test_blocks_are_chosen_evenly(sample, n_chosen):
    chosen = [choose_blocks(40, sample, seed, "a") for seed in range(400)]
    assert {len(np.unique(blocks)) for blocks in chosen} == {n_chosen}
    counts = np.bincount(np.concatenate(chosen), minlength=40)
    assert (np.abs(counts - 400 * n_chosen / 40) < 5 * np.sqrt(400 * n_chosen / 40) + 1).all()


def test_report_says_how_much_was_sampled(example):
    report = verify(example / "file.nwb", example / "document.json", sample=0.5)
    assert report.ok
    (row,) = (row for row in report if row.object == f"{AP}/data")
    assert row.reason == "1 of 1 blocks compared (random choice)"


# Wrong requests


def test_another_session_is_refused(example, tmp_path):
    other = make_example_session(tmp_path, subject="EX_002", **SMALL | dict(raw_bands=()))
    with pytest.raises(SessionNotFoundError, match=f"is of the session {SESSION}, not of '.*EX_002"):
        verify(example / "file.nwb", other)


def test_folder_without_the_files_is_refused(example, tmp_path):
    (tmp_path / "alf").mkdir()
    np.save(tmp_path / "alf" / "_ibl_wheel.position.npy", np.arange(3))
    with pytest.raises(SessionNotFoundError, match="holds none of the .* files"):
        verify(example / "file.nwb", tmp_path)


def test_session_that_is_not_there_is_refused(example, tmp_path):
    with pytest.raises(SessionNotFoundError, match="No session folder at"):
        verify(example / "file.nwb", tmp_path / "nothing")


def test_session_that_cannot_be_found_is_asked_for(example, tmp_path):
    shutil.copy(example / "file.nwb", tmp_path / "file.nwb")
    with pytest.raises(UsageError, match=f"It names {SESSION}"):
        verify(tmp_path / "file.nwb")


def test_revision_beside_a_document_is_refused(example):
    with pytest.raises(UsageError, match="fixed in"):
        verify(example / "file.nwb", example / "document.json", revision="2024-01-01")


def test_json_that_is_no_document_is_refused(example, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DocumentError):
        verify(example / "file.nwb", tmp_path / "other.json")


@pytest.mark.parametrize("sample", [0.0, -0.1, 1.1])
def test_fraction_that_is_none_is_refused(example, sample):
    with pytest.raises(UsageError, match="fraction"):
        verify(example / "file.nwb", sample=sample)


@pytest.mark.parametrize("n_bytes", [0, 100, 200_000])
def test_truncated_file_is_refused(example, tmp_path, n_bytes):
    (tmp_path / "file.nwb").write_bytes((example / "file.nwb").read_bytes()[:n_bytes])
    with pytest.raises(DatasetUnreadableError, match="cannot be read as an NWB file"):
        verify(tmp_path / "file.nwb", example / "document.json")


def test_folder_and_file_that_are_not_nwb_are_refused(example, tmp_path):
    (tmp_path / "folder.nwb.zarr").mkdir()
    h5py.File(tmp_path / "empty.nwb", "w").close()
    for name in ("folder.nwb.zarr", "empty.nwb", "nothing.nwb"):
        with pytest.raises(DatasetUnreadableError, match="cannot be read as an NWB file"):
            verify(tmp_path / name, example / "document.json")


def test_unreadable_source_is_an_error(example, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(example, folder)
    (position,) = folder.rglob("#2025-03-03#/_ibl_wheel.position.npy")
    position.write_bytes(position.read_bytes()[:200])
    with pytest.raises(DatasetUnreadableError, match="The source .* cannot be read"):
        verify(folder / "file.nwb", next(folder.glob("*/Subjects/*/*/*")))


# Provenance


def list_sources(nwbfile_path):
    """Rows of the table of sources, read without pynwb."""
    file = zarr.open(str(nwbfile_path), "r") if nwbfile_path.is_dir() else h5py.File(nwbfile_path)
    table = file["analysis/SourceDatasets"]
    columns = {name: table[name][:] for name in table.attrs["colnames"]}
    rows = pd.DataFrame(columns).map(lambda value: value.decode() if isinstance(value, bytes) else value)
    if isinstance(file, h5py.File):
        file.close()
    return list(rows.itertuples())


#: Files that are read to interpret others.
SUPPORT = r"\.meta$|\.ch$|\.imec\d\.(timestamps|sync)\.|rawInd|Camera\.times|wiring"


def test_table_names_every_file_that_was_read(tmp_path):
    session_path = make_example_session(tmp_path, uuids_in_names=True, **SMALL | dict(probes=("probe00",), cameras=()))
    path = convert(tmp_path, session_path)
    rows = {row.relative_path: row for row in list_sources(path)}
    covered = {row.relative_path: row for row in inspect_session(ALFSession(session_path))}
    assert list(rows) == sorted(rows)
    for relative_path, row in rows.items():
        content = (session_path / relative_path).read_bytes()
        assert (row.size, row.md5) == (len(content), hashlib.md5(content).hexdigest())
        assert row.md5_origin == "computed"
        assert row.revision == (relative_path.split("#")[1] if "#" in relative_path else "")
        assert row.role == ("support" if re.search(SUPPORT, relative_path) else "converted")
        assert set(row.interfaces.split(",")) <= {*covered[relative_path].interfaces}
        assert row.package.startswith("ibl-nwb ")
    assert "2025-03-03" in {row.revision for row in rows.values()}
    assert "raw_behavior_data" in " ".join(rows)


def test_two_conversions_give_equal_tables(example, tmp_path):
    (session_path,) = example.glob("*/Subjects/*/*/*")
    copied = tmp_path / "elsewhere" / "Subjects" / SESSION
    shutil.copytree(session_path, copied)
    path = convert(tmp_path, copied)
    assert list_sources(path) == list_sources(example / "file.nwb")


def test_large_files_have_the_hash_that_alyx_registered(tmp_path, monkeypatch):
    arguments = dict(probes=("probe00",), cameras=(), audio=False)
    session_path = make_example_session(tmp_path, **SMALL | arguments)
    answers = example_alyx_answers(session_path)
    monkeypatch.setattr(provenance, "SMALL_FILE_BYTES", 1000)
    (truncated,) = session_path.rglob("probe00/*.lf.cbin")
    size = truncated.stat().st_size
    record = AlyxRecord.from_rest(**answers)
    datasets = [
        row.model_copy(update={"file_size": size + 1}) if row.name == truncated.name else row for row in record.datasets
    ]  # as if the file were not the registered one
    record = record.model_copy(update={"datasets": datasets})
    document = make_document(session_path, alyx=record)
    rows = {row.relative_path: row for row in list_sources(convert_document(document, tmp_path / "a.nwb").nwbfile_path)}
    for relative_path, row in rows.items():
        digest = hashlib.md5((session_path / relative_path).read_bytes()).hexdigest()
        if relative_path == truncated.relative_to(session_path).as_posix():
            assert (row.md5, row.md5_origin) == ("", "")
        else:
            assert row.md5 == digest
            assert row.md5_origin == ("Alyx" if row.size > 1000 else "computed")
    assert {row.md5_origin for row in rows.values()} == {"", "Alyx", "computed"}
    report = verify(tmp_path / "a.nwb", session_path)
    assert report.ok
    assert any("MD5 was not recorded" in row.reason for row in report)


def test_hashes_can_be_left_out_and_foreign_interfaces_are_passed_over(tmp_path):
    from neuroconv.tools.testing import MockTimeSeriesInterface
    from pynwb.testing.mock.file import mock_NWBFile

    session_path = make_example_session(tmp_path, **SMALL | dict(probes=(), cameras=(), audio=False))
    converter = IBLConverter.from_session(session_path)
    nwbfile = mock_NWBFile()
    add_source_datasets(nwbfile, converter.data_interface_objects, md5="none")
    assert set(nwbfile.analysis["SourceDatasets"]["md5"].data) == {""}
    other = mock_NWBFile()
    add_source_datasets(other, {"Mock": MockTimeSeriesInterface()})
    assert not other.analysis


def test_file_with_the_table_is_valid_and_the_inspector_has_nothing_to_say_of_it(example):
    assert validate(path=example / "file.nwb") == []
    messages = inspect_nwbfile(
        nwbfile_path=example / "file.nwb",
        skip_validate=True,
        config=load_config("dandi"),
        importance_threshold=Importance.BEST_PRACTICE_SUGGESTION,
    )
    assert [m for m in messages if "SourceDatasets" in str(m.location) or "SourceDatasets" in m.object_name] == []


def test_session_in_the_place_of_the_file_is_told_to_come_second(example):
    with pytest.raises(DatasetUnreadableError, match="The file comes first: ibl-nwb verify FILE SESSION"):
        verify(next(example.glob("*/Subjects/*/*/*")), example / "file.nwb")
