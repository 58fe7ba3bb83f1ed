"""The table of the spikes of good units: told by one column, after every row of it was compared with the spikes."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from acquire_example import SESSION, SMALL, files_below
from alyx_server import AlyxServer
from family_checks import check_valid, convert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pynwb.testing.mock.file import mock_NWBFile

from ibl_nwb import convert_document, inspect_session, make_document
from ibl_nwb import session as session_module
from ibl_nwb.acquire import connect, download
from ibl_nwb.errors import DatasetInconsistentError, DatasetUnreadableError
from ibl_nwb.interfaces import passing_spikes
from ibl_nwb.interfaces.sorted_spikes import SortedSpikesInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session
from ibl_nwb.verify import verify

pytest_plugins = ["acquire_fixtures"]

FOLDERS = {"probe00": "alf/probe00/pykilosort/#2024-05-06#", "probe01": "alf/probe01/pykilosort"}
TABLE = "passingSpikes.table.pqt"
COLUMN = "in_passing_spikes"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    path = make_example_session(
        tmp_path_factory.mktemp("passing"),
        n_channels=24,
        raw_bands=(),
        cameras=(),
        audio=False,
        passive=False,
        n_trials=4,
        n_clusters=12,
        spikes_per_probe=600,
        waveforms=True,
    )
    types = {np.load(path / folder / "spikes.clusters.npy").dtype.name for folder in FOLDERS.values()}
    assert types == {"uint16", "int32"}
    return path


@pytest.fixture
def session_path(example, tmp_path):
    return shutil.copytree(example, tmp_path / "session")


def add(session_path, probe="probe00", nwbfile=None, **options):
    nwbfile = nwbfile or mock_NWBFile()
    interface = SortedSpikesInterface(session_path, probe_name=probe)
    interface.add_to_nwbfile(nwbfile, **options)
    return nwbfile.units, interface.notes


def good_clusters(folder):
    """By the metrics, which the table was not read for."""
    metrics = pd.read_parquet(folder / "clusters.metrics.pqt")
    return set(metrics["cluster_id"][metrics["bitwise_fail"] == 0])


def check_units(units, session_path, probe):
    """The marked units are the good ones, and their spikes are the table, in its order and, rounded, its types."""
    folder = session_path / FOLDERS[probe]
    rows = np.flatnonzero(np.asarray(units["probe_name"].data[:]) == probe)
    ids, marks = np.asarray(units["cluster_id"].data[:])[rows], np.asarray(units[COLUMN].data[:])[rows]
    assert marks.dtype == bool
    assert 0 < marks.sum() < len(marks)
    assert set(ids[marks].tolist()) == good_clusters(folder)
    frames = [
        pd.DataFrame(
            {
                "times": units["spike_times"][row],
                "amps": np.asarray(units["spike_amplitudes"][row], dtype=np.float32),
                "depths": np.asarray(units["spike_depths"][row], dtype=np.float32),
                "samples": units["spike_samples"][row],
                "clusters": np.uint16(ids[rows == row][0]),
            }
        )
        for row in rows[marks]
    ]
    spikes = pd.concat(frames).sort_values(["samples", "clusters"], ignore_index=True)
    table = pd.read_parquet(folder / TABLE).sort_values(["samples", "clusters"], ignore_index=True)
    assert len(table) > 20
    for name in spikes:
        assert_array_equal(spikes[name].to_numpy(), table[name].to_numpy(), strict=name != "samples", err_msg=name)


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_units_of_two_probes_are_told(example, tmp_path, backend):
    instances = {
        f"SortedSpikes{probe.capitalize()}": (
            SortedSpikesInterface,
            {"session_path": str(example), "probe_name": probe},
        )
        for probe in FOLDERS
    }
    options = {name: {"write_spike_samples": True} for name in instances}
    path = tmp_path / f"x.{backend}.nwb"
    nwbfile = convert(instances, path, options=options, backend=backend)
    for probe in FOLDERS:
        check_units(nwbfile.units, example, probe)
    assert "passingSpikes.table" in nwbfile.units[COLUMN].description
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


def test_units_of_a_probe_without_the_table_are_not_marked(session_path):
    (session_path / FOLDERS["probe01"] / TABLE).unlink()
    units, _ = add(session_path, "probe01")
    assert COLUMN not in units.colnames
    nwbfile = mock_NWBFile()
    for probe in ("probe01", "probe00"):
        units, _ = add(session_path, probe, nwbfile)
    marks = pd.Series(units[COLUMN].data[:]).groupby(list(units["probe_name"].data[:])).sum()
    assert marks["probe00"] > 0
    assert marks["probe01"] == 0


def test_table_of_another_revision_than_the_spikes_is_not_taken(session_path):
    """The older sorting has other numbers, of which a table would be wrong."""
    (session_path / FOLDERS["probe00"] / TABLE).rename(session_path / "alf/probe00/pykilosort" / TABLE)
    units, _ = add(session_path)
    assert COLUMN not in units.colnames


def test_stub_has_the_marks_of_its_units(example):
    units, _ = add(example, stub_test=True)
    marked = np.asarray(units["cluster_id"].data[:])[units[COLUMN].data[:]]
    assert set(marked.tolist()) == good_clusters(example / FOLDERS["probe00"]) & set(units["cluster_id"].data[:])


def test_table_may_have_fewer_or_more_columns_than_spikes(session_path):
    folder = session_path / FOLDERS["probe00"]
    expected, _ = add(session_path)
    table = pd.read_parquet(folder / TABLE)
    table[["times", "clusters"]].assign(phase=0.5).to_parquet(folder / TABLE)
    (folder / "spikes.depths.npy").unlink()
    units, notes = add(session_path)
    assert_array_equal(units[COLUMN].data[:], expected[COLUMN].data[:])
    assert [note for note in notes if TABLE in note] == [
        f"{FOLDERS['probe00']}/{TABLE} without phase: spikes have no such attribute here."
    ]


def test_table_without_spikes_is_that_of_a_probe_without_good_units(session_path):
    folder = session_path / FOLDERS["probe00"]
    pd.read_parquet(folder / TABLE).iloc[:0].to_parquet(folder / TABLE)
    assert not any(add(session_path)[0][COLUMN].data[:])


def test_every_file_is_accounted_for(example, session_path):
    status = {row.relative_path: row for row in inspect_session(ALFSession(example))}
    for probe, folder in FOLDERS.items():
        row = status[f"{folder}/{TABLE}"]
        assert (row.status, row.interfaces) == ("converted", (f"SortedSpikes{probe.capitalize()}",))
    (session_path / FOLDERS["probe01"] / "spikes.times.npy").unlink()
    (row,) = (
        r for r in inspect_session(ALFSession(session_path)) if r.relative_path == f"{FOLDERS['probe01']}/{TABLE}"
    )
    assert row.status == "not converted"
    assert "spikes.times.npy" in row.reason


def test_table_is_downloaded(home, tmp_path):
    make_example_session(tmp_path / "store", uuids_in_names=True, waveforms=True, **SMALL)
    with AlyxServer(tmp_path / "store", page_size=50) as server:
        server.add_example(tmp_path / "store" / SESSION)
        one = connect(base_url=server.url, cache_dir=tmp_path / "cache")
        session_path = download(one, server.rows["sessions"][0]["id"], interfaces=["SortedSpikes"])
    assert f"{FOLDERS['probe00']}/{TABLE}" in files_below(session_path)
    assert COLUMN in add(session_path)[0].colnames


# Any sorting


@st.composite
def sortings(draw):
    n_clusters = draw(st.integers(1, 6))
    n_spikes = draw(st.integers(1, 40))
    clusters = np.array(draw(st.lists(st.integers(0, n_clusters - 1), min_size=n_spikes, max_size=n_spikes)))
    passing = draw(st.sets(st.integers(0, n_clusters - 1)))
    cluster_type = draw(st.sampled_from(["uint16", "int32", "int64"]))
    return clusters.astype(cluster_type), passing, draw(st.integers(1, 12)), draw(st.integers(1, 12))


def write_sorting(path, clusters, passing, seed=0):
    rng = np.random.default_rng(seed)
    spikes = {
        "times": np.sort(rng.uniform(0, 100, len(clusters))),
        "samples": np.arange(len(clusters), dtype=np.uint64) * 7,
        "clusters": clusters,
        "templates": clusters,
        "amps": rng.uniform(0, 1e-4, len(clusters)),
        "depths": np.where(rng.random(len(clusters)) < 0.2, np.nan, rng.uniform(0, 3840, len(clusters))),
    }
    folder = path / "alf/probe00/pykilosort"
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in spikes.items():
        np.save(folder / f"spikes.{name}.npy", values)
    table = pd.DataFrame(spikes).astype({"clusters": "u2", "templates": "u2", "amps": "f4", "depths": "f4"})
    return folder, table[np.isin(clusters, list(passing))].reset_index(drop=True)


def find(path, rows_at_a_time=10, block_length=10):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_module, "TABLE_BATCH_LENGTH", rows_at_a_time)
        patch.setattr(passing_spikes, "BLOCK_LENGTH", block_length)
        interface = SortedSpikesInterface(path, probe_name="probe00")
        return passing_spikes.find_passing_clusters(interface.sources["passing_spikes"][0], interface._spikes)


#: One session folder serves all examples of hypothesis, which write the same files anew.
_ANEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_ANEW
@given(sortings())
def test_clusters_are_found_whatever_the_lengths_of_batches_and_blocks(tmp_path, sorting):
    clusters, passing, rows_at_a_time, block_length = sorting
    folder, table = write_sorting(tmp_path, clusters, passing)
    table.to_parquet(folder / TABLE, row_group_size=5)
    assert find(tmp_path, rows_at_a_time, block_length).tolist() == sorted(passing & set(clusters.tolist()))


@_ANEW
@given(sortings(), st.data())
def test_any_other_value_is_found_with_its_row(tmp_path, sorting, data):
    clusters, passing, rows_at_a_time, block_length = sorting
    folder, table = write_sorting(tmp_path, clusters, passing | {int(clusters[0])})
    row = data.draw(st.integers(0, len(table) - 1))
    name = data.draw(st.sampled_from(["times", "samples", "templates", "amps", "depths"]))
    value = table[name].iloc[row]
    other = value + 1 if table[name].dtype.kind == "u" else np.nextafter(np.nan_to_num(value), value.dtype.type(1e9))
    table.loc[row, name] = other
    table.to_parquet(folder / TABLE)
    with pytest.raises(DatasetInconsistentError, match=rf"from row {row} on they differ; {name} is"):
        find(tmp_path, rows_at_a_time, block_length)


# Tables that do not fit


def without_a_spike(table):
    return table.drop(index=3)


def swapped(table):
    return table.iloc[[0, 2, 1, *range(3, len(table))]]


def of_other_clusters(table):
    return table.assign(clusters=table["clusters"] + 1)


CHANGES = {
    "a spike is missing": (without_a_spike, "from row 3 on"),
    "the last spike is missing": (lambda t: t.iloc[:-1], r"from row \d+ on they differ; it has \d+ rows"),
    "a spike too many at the end": (lambda t: pd.concat([t, t.iloc[-1:]]), r"differ; it has \d+ rows"),
    "a spike twice": (lambda t: t.iloc[[0, 0, *range(1, len(t))]], "from row 1 on"),
    "another order": (swapped, "from row 1 on"),
    "numbers of another sorting": (of_other_clusters, "from row 0 on"),
    "clusters that do not exist": (lambda t: t.assign(clusters=np.uint16(60_000)), "from row 0 on"),
    "a missing cluster": (
        lambda t: t.assign(clusters=t["clusters"].astype("UInt16").where(t.index != 2)),
        "from row 2 on they differ; clusters is nan",
    ),
    "times on another clock": (lambda t: t.assign(times=t["times"] - 0.02), "from row 0 on they differ; times is"),
    "texts": (lambda t: t.assign(amps="x"), "from row 0 on they differ; amps is x"),
    "texts for clusters": (lambda t: t.assign(clusters="x"), "holds object values; cluster ids are integers"),
    "no clusters": (lambda t: t.drop(columns="clusters"), "has no column clusters"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("probe", FOLDERS)
def test_table_that_is_not_the_spikes_of_clusters(session_path, probe, change):
    """Both files are named, the first row, and how to go on; what is said to do does it."""
    path = session_path / FOLDERS[probe] / TABLE
    change, message = CHANGES[change]
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    with pytest.raises(DatasetInconsistentError, match=message) as error:
        add(session_path, probe)
    assert str(path) in str(error.value)
    assert str(path.with_name("spikes.")) in str(error.value)
    units, notes = add(session_path, probe, write_in_passing_spikes=False)
    assert COLUMN not in units.colnames
    assert f"{FOLDERS[probe]}/{TABLE} left out: the option write_in_passing_spikes is off." in notes


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"no table"])
def test_damaged_table(session_path, damage):
    path = session_path / FOLDERS["probe00"] / TABLE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetUnreadableError, match=r"passingSpikes\.table\.pqt"):
        add(session_path)


def test_table_that_is_damaged_inside(session_path):
    path = session_path / FOLDERS["probe00"] / TABLE
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(content)
    with pytest.raises(DatasetUnreadableError, match=r"passingSpikes\.table\.pqt"):
        add(session_path)


# Verification


@pytest.fixture(scope="module")
def document(example):
    return make_document(example, timezone="UTC", include=["SortedSpikes"])


@pytest.fixture(scope="module")
def written(document, tmp_path_factory):
    return convert_document(document, tmp_path_factory.mktemp("written") / "x.nwb").nwbfile_path


def statuses(report):
    of_units = [row for row in report if "passingSpikes" in row.dataset and row.object.startswith("units/")]
    return {(row.dataset.rpartition("/")[2], row.status) for row in of_units}


def test_written_file_is_equal_to_the_table(written, example):
    report = verify(written, example)
    assert report.ok
    assert statuses(report) == {(f"{TABLE}{part}", "equal") for part in ("", ":times", ":amps", ":depths")}


def test_the_table_is_among_the_sources(written):
    with h5py.File(written) as file:
        paths = file["analysis/SourceDatasets/relative_path"].asstr()[:]
    assert {f"{folder}/{TABLE}" for folder in FOLDERS.values()} <= set(paths)


def test_option_that_is_off_is_told(document, example, tmp_path):
    off = {name: {"write_in_passing_spikes": False} for name in document.source_data}
    changed = document.model_copy(update={"conversion_options": off})
    changed.write_json(tmp_path / "document.json")
    path = convert_document(changed, tmp_path / "x.nwb").nwbfile_path
    assert statuses(verify(path, tmp_path / "document.json")) == {(TABLE, "not verified")}
    assert statuses(verify(path, example)) == {(TABLE, "missing")}


def set_mark(value):
    def change(file):
        marks = file[f"units/{COLUMN}"][:].astype(bool)
        row = np.flatnonzero(marks != value)[0]
        file[f"units/{COLUMN}"][row] = value

    return change


def move_mark(file):
    marks = file[f"units/{COLUMN}"][:].astype(bool)
    file[f"units/{COLUMN}"][...] = np.roll(marks, 1)


def drop_column(file):
    del file[f"units/{COLUMN}"]
    names = [name for name in file["units"].attrs["colnames"] if name != COLUMN]
    file["units"].attrs["colnames"] = names


DAMAGES = {
    "a mark missing": set_mark(True),
    "a mark too many": set_mark(False),
    "marks of the units beside": move_mark,
    "no column": drop_column,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(written, example, tmp_path, damage):
    shutil.copy(written, tmp_path / "x.nwb")
    with h5py.File(tmp_path / "x.nwb", "r+") as file:
        DAMAGES[damage](file)
    report = verify(tmp_path / "x.nwb", example)
    assert not report.ok
    assert {row.object for row in report if row.status in ("different", "missing")} == {f"units/{COLUMN}"}


def test_spikes_that_are_not_those_of_the_table_are_found(written, example, tmp_path):
    """The table is compared with the spikes in the file, not with the files that those were written from."""
    session_path = shutil.copytree(example, tmp_path / "session")
    path = session_path / FOLDERS["probe01"] / TABLE
    table = pd.read_parquet(path)
    table.loc[5, "times"] += 1e-9
    table.to_parquet(path)
    wrong = [
        row for row in verify(written, session_path) if row.status == "different" and row.object.startswith("units")
    ]
    assert [(row.dataset, row.object) for row in wrong] == [
        (f"{FOLDERS['probe01']}/{TABLE}:times", "units/spike_times")
    ]
    assert wrong[0].first_difference.expected == table["times"][5]


def test_marks_of_a_probe_that_has_no_table_are_found(written, example, tmp_path):
    session_path = shutil.copytree(example, tmp_path / "session")
    (session_path / FOLDERS["probe01"] / TABLE).unlink()
    wrong = {row.object for row in verify(written, session_path) if row.status == "different"}
    assert f"units/{COLUMN}" in wrong
