"""Anatomical coordinates of electrodes in ndx-anatomical-localization's tables, and labels by the raw voltage."""

import shutil

import h5py
import numpy as np
import pytest
from family_checks import check_valid, convert
from iblatlas.regions import BrainRegions
from numpy.testing import assert_array_equal
from pynwb import NWBHDF5IO, read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, needs_real_data

from ibl_nwb import AlyxRecord, convert_document, make_document
from ibl_nwb.interfaces.electrodes import add_probe_electrodes
from ibl_nwb.interfaces.raw_ephys import RawEphysInterface
from ibl_nwb.interfaces.sorted_spikes import SortedSpikesInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import example_alyx_answers, make_example_session
from ibl_nwb.verify import verify

N_SITES = 40
SMALL = dict(
    n_channels=N_SITES,
    raw_duration_s=0.05,
    cameras=(),
    audio=False,
    passive=False,
    n_trials=4,
    n_clusters=4,
    spikes_per_probe=100,
    revisions=False,
    ephys_qc=True,
)
BREGMA = np.array([5400, 332, 5739])  # AP, DV, ML of bregma in the CCF, whose axes point back, down and right
LOCALIZATION = "general/localization"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return make_example_session(tmp_path_factory.mktemp("with"), **SMALL)


@pytest.fixture
def session_path(example, tmp_path):
    return shutil.copytree(example, tmp_path / "session")


@pytest.fixture(scope="module")
def written(example, tmp_path_factory):
    document = make_document(example, timezone="UTC", include=["RawEphys", "SortedSpikes", "EphysQC"])
    return convert_document(document, tmp_path_factory.mktemp("written") / "x.nwb").nwbfile_path


def tables(session_path, probes=("probe00",)):
    nwbfile = mock_NWBFile()
    for probe in probes:
        add_probe_electrodes(nwbfile, None, ALFSession(session_path), probe)
    container = nwbfile.lab_meta_data.get("localization")
    return {} if container is None else dict(container.anatomical_coordinates_tables), nwbfile


def coordinates(table):
    return np.column_stack([table[axis].data for axis in "xyz"])


def check_probe(found, mlapdv, allen_ids, probe, electrodes, is_placed=slice(None)):
    """Both tables of a probe, by hand: ML, AP, DV from bregma to back, down and right of the CCF's origin."""
    mlapdv, allen_ids = mlapdv[is_placed], allen_ids[is_placed]
    ccf, bregma = found[f"AnatomicalCoordinatesCCF{probe}"], found[f"AnatomicalCoordinatesBregma{probe}"]
    assert_array_equal(coordinates(bregma), mlapdv)
    assert_array_equal(coordinates(ccf), BREGMA + mlapdv[:, [1, 2, 0]] * [-1, -1, 1])
    for table in (ccf, bregma):
        assert list(table["brain_region"].data) == BrainRegions().id2acronym(allen_ids).tolist()
        rows = np.asarray(table["localized_entity"].data)
        assert_array_equal(np.asarray(electrodes["channel"].data)[rows], np.arange(N_SITES)[is_placed])
        assert set(np.asarray(electrodes["group_name"][:])[rows]) == {probe.lower()}


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_probes_by_whichever_interface_comes_first(example, tmp_path, backend):
    instances = {
        f"{family.family}{i}": (family, {"session_path": str(example), **instance})
        for family in (RawEphysInterface, SortedSpikesInterface)
        for i, instance in enumerate(family.get_instances(ALFSession(example)))
    }
    path = tmp_path / f"x.{backend}.nwb"
    nwbfile = convert(instances, path, backend=backend)
    found = nwbfile.lab_meta_data["localization"].anatomical_coordinates_tables
    assert len(found) == 4 and len(nwbfile.lab_meta_data["localization"].spaces) == 2
    for probe in ("probe00", "probe01"):
        sites = example / "alf" / probe
        mlapdv = np.load(sites / "electrodeSites.mlapdv.npy")
        ids = np.load(sites / "electrodeSites.brainLocationIds_ccf_2017.npy")
        check_probe(found, mlapdv, ids, probe.capitalize(), nwbfile.electrodes)
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


class TestTables:
    def test_are_in_the_space_of_the_ccf_and_in_that_of_bregma(self, example):
        from ndx_anatomical_localization import AllenCCFv3Space

        found, _ = tables(example)
        ccf = found["AnatomicalCoordinatesCCFProbe00"].space
        bregma = found["AnatomicalCoordinatesBregmaProbe00"].space
        assert isinstance(ccf, AllenCCFv3Space)
        assert (ccf.orientation, ccf.units) == ("PIR", "um")
        assert (bregma.orientation, bregma.units) == ("RAS", "um")
        assert bregma.origin.startswith("Bregma")

    def test_say_how_and_by_which_file_sites_were_placed(self, example, session_path):
        method = tables(example)[0]["AnatomicalCoordinatesCCFProbe00"].method
        assert "resolved" in method and method.endswith("ALF alf/probe00/electrodeSites.mlapdv.npy")
        for path in session_path.glob("alf/probe00/electrodeSites.*"):
            path.unlink()
        method = tables(session_path)[0]["AnatomicalCoordinatesCCFProbe00"].method
        assert "resolved" not in method and method.endswith("ALF alf/probe00/pykilosort/channels.mlapdv.npy")

    def test_hold_only_sites_with_a_position(self, session_path):
        """A sorting on fewer channels than the probe has sites, and no electrodeSites."""
        for path in session_path.glob("alf/probe01/electrodeSites.*"):
            path.unlink()
        folder = session_path / "alf/probe01/pykilosort"
        columns = np.load(folder / "channels.rawInd.npy")
        assert len(columns) < N_SITES
        mlapdv, ids = np.full((N_SITES, 3), -1), np.zeros(N_SITES, dtype=int)
        mlapdv[columns] = np.load(folder / "channels.mlapdv.npy")
        ids[columns] = np.load(folder / "channels.brainLocationIds_ccf_2017.npy")
        found, nwbfile = tables(session_path, ["probe01"])
        check_probe(found, mlapdv, ids, "Probe01", nwbfile.electrodes, columns)

    def test_are_there_with_electrode_sites_and_without_channels(self, session_path):
        shutil.rmtree(session_path / "alf/probe00/pykilosort")
        found, nwbfile = tables(session_path)
        mlapdv = np.load(session_path / "alf/probe00/electrodeSites.mlapdv.npy")
        ids = np.load(session_path / "alf/probe00/electrodeSites.brainLocationIds_ccf_2017.npy")
        check_probe(found, mlapdv, ids, "Probe00", nwbfile.electrodes)

    def test_are_not_there_without_histology(self, session_path):
        for path in session_path.glob("alf/probe00/**/*.mlapdv.npy"):
            path.unlink()
        found, nwbfile = tables(session_path, ["probe00"])
        assert found == {} and "localization" not in nwbfile.lab_meta_data
        found, nwbfile = tables(session_path, ["probe00", "probe01"])
        assert sorted(found) == ["AnatomicalCoordinatesBregmaProbe01", "AnatomicalCoordinatesCCFProbe01"]
        rows = found["AnatomicalCoordinatesCCFProbe01"]["localized_entity"].data
        assert_array_equal(rows, np.arange(N_SITES, 2 * N_SITES))

    def test_of_shanks_in_folders_of_their_own_are_apart(self, session_path):
        for letter in "ab":
            shutil.copytree(session_path / "alf/probe00", session_path / f"alf/probe00{letter}")
        moved = session_path / "alf/probe00b/electrodeSites.mlapdv.npy"
        np.save(moved, np.load(moved) + 250)
        found, _ = tables(session_path, ["probe00a", "probe00b"])
        first, second = (coordinates(found[f"AnatomicalCoordinatesBregmaProbe00{letter}"]) for letter in "ab")
        assert_array_equal(second, first + 250)

    def test_are_made_once_in_a_file_that_is_appended_to(self, example, tmp_path):
        _, nwbfile = tables(example)
        with NWBHDF5IO(tmp_path / "x.nwb", "w") as io:
            io.write(nwbfile)
        with NWBHDF5IO(tmp_path / "x.nwb", "r+") as io:
            on_disk = io.read()
            add_probe_electrodes(on_disk, None, ALFSession(example), "probe00")
            io.write(on_disk)
        nwbfile = read_nwb(tmp_path / "x.nwb")
        assert len(nwbfile.lab_meta_data["localization"].anatomical_coordinates_tables) == 2
        nwbfile.read_io.close()

    @needs_real_data
    def test_of_the_chimera_agree_with_its_files(self):
        found, _ = tables(CHIMERA)
        bregma = coordinates(found["AnatomicalCoordinatesBregmaProbe00"])
        assert_array_equal(bregma, np.load(CHIMERA / "alf/probe00/electrodeSites.mlapdv.npy"))
        # Worked out by hand from ML -771, AP -2765, DV -4420.
        assert coordinates(found["AnatomicalCoordinatesCCFProbe00"])[0].tolist() == [8165, 4752, 4968]


class TestRawChannelLabels:
    LABELS = "raw_ephys_data/probe00/_iblqc_ephysChannels.labels.npy"

    def test_are_a_column_of_the_electrodes_of_their_probe(self, example):
        _, nwbfile = tables(example, ["probe00", "probe01"])
        column = np.asarray(nwbfile.electrodes["raw_channel_label"].data)
        labels = np.load(example / self.LABELS)
        assert_array_equal(column[:N_SITES], labels)
        assert np.isnan(column[N_SITES:]).all()  # the tables of the other probe are of earlier years
        assert not np.array_equal(labels, np.asarray(nwbfile.electrodes["channel_label"].data)[:N_SITES])

    def test_are_no_column_where_no_probe_has_any(self, example):
        _, nwbfile = tables(example, ["probe01"])
        assert "raw_channel_label" not in nwbfile.electrodes.colnames

    def test_of_another_number_than_sites_are_not_taken(self, session_path):
        np.save(session_path / self.LABELS, np.zeros(N_SITES + 1))
        _, nwbfile = tables(session_path)
        assert "raw_channel_label" not in nwbfile.electrodes.colnames


# Alyx


@pytest.fixture(scope="module")
def placed_by_alyx(tmp_path_factory):
    """Document and file of a session whose histology is in Alyx only."""
    folder = tmp_path_factory.mktemp("alyx")
    session_path = make_example_session(folder, histology=False, **SMALL)
    answers = example_alyx_answers(session_path, channels=True)
    # Positions on the probe that no channel has stay without a place in the brain.
    answers["channels"] = [row for row in answers["channels"] if row["axial"] > 40]
    document = make_document(session_path, alyx=AlyxRecord.from_rest(**answers), include=["RawEphys", "SortedSpikes"])
    document.write_json(folder / "document.json")
    convert_document(document, folder / "x.nwb")
    return folder, answers


def test_electrodes_placed_by_alyx_are_in_the_tables_with_their_trajectory(placed_by_alyx):
    folder, answers = placed_by_alyx
    nwbfile = read_nwb(folder / "x.nwb")
    found = nwbfile.lab_meta_data["localization"].anatomical_coordinates_tables
    for probe in ("probe00", "probe01"):
        (trajectory,) = (
            t["id"]
            for t in answers["trajectories"]
            if t["probe_name"] == probe and t["provenance"] == "Ephys aligned histology track"
        )
        at = {(c["lateral"], c["axial"]): c for c in answers["channels"] if c["trajectory_estimate"] == trajectory}
        table = found[f"AnatomicalCoordinatesBregma{probe.capitalize()}"]
        assert "Ephys aligned histology track" in table.method and trajectory in table.method
        electrodes = nwbfile.electrodes.to_dataframe().iloc[table["localized_entity"].data[:]]
        assert set(electrodes["group_name"]) == {probe}
        assert len(electrodes) == N_SITES - 4
        channels = [at[place] for place in zip(electrodes["rel_x"], electrodes["rel_y"], strict=True)]
        assert_array_equal(coordinates(table), [[c["x"], c["y"], c["z"]] for c in channels])
    nwbfile.read_io.close()


def test_electrodes_placed_by_alyx_are_equal_to_the_record(placed_by_alyx):
    folder, _ = placed_by_alyx
    for source in (folder / "document.json", next(folder.glob("*/Subjects/*/*/*"))):
        report = verify(folder / "x.nwb", source)
        assert report.ok, [(r.object, r.reason) for r in report.differences]
        equal = {row.object for row in report if row.dataset == "Alyx record: channels" and row.status == "equal"}
        assert {
            "general/extracellular_ephys/electrodes/ml",
            f"{LOCALIZATION}/AnatomicalCoordinatesCCFProbe01/z",
        } <= equal


def test_every_trajectory_of_the_record_is_in_the_file(placed_by_alyx):
    folder, answers = placed_by_alyx
    nwbfile = read_nwb(folder / "x.nwb")
    written = nwbfile.analysis["ProbeTrajectories"].to_dataframe()
    columns = ["entry_ml", "entry_ap", "entry_dv", "depth", "theta", "phi", "roll"]
    found = {(row["probe_name"], row["provenance"]): row for _, row in written.iterrows()}
    assert len(found) == len(answers["trajectories"]) == 8
    for trajectory in answers["trajectories"]:
        row = found[trajectory["probe_name"], trajectory["provenance"]]
        expected = [trajectory[name] for name in ("x", "y", "z", "depth", "theta", "phi", "roll")]
        assert row[columns].tolist() == expected
        assert row["coordinate_system"] == trajectory["coordinate_system"]
    nwbfile.read_io.close()


# Verification


def change_one(path, difference=1):
    def change(file):
        array = file[f"{LOCALIZATION}/{path}"]
        array[3] = b"CA1" if array.dtype.kind == "O" else array[3] + difference

    return change


def swap_probes(file):
    group = file[LOCALIZATION]
    group.move("AnatomicalCoordinatesCCFProbe00", "kept")
    group.move("AnatomicalCoordinatesCCFProbe01", "AnatomicalCoordinatesCCFProbe00")
    group.move("kept", "AnatomicalCoordinatesCCFProbe01")


def drop_row(file):
    for name in ("x", "y", "z", "brain_region", "localized_entity", "id"):
        path = f"{LOCALIZATION}/AnatomicalCoordinatesBregmaProbe00/{name}"
        values, attributes = file[path][1:], dict(file[path].attrs)
        del file[path]
        file.create_dataset(path, data=values, dtype=values.dtype if name != "brain_region" else h5py.string_dtype())
        file[path].attrs.update(attributes)


def change_space(file):
    del file[f"{LOCALIZATION}/AnatomicalCoordinatesCCFProbe00/space"]
    file[f"{LOCALIZATION}/AnatomicalCoordinatesCCFProbe00/space"] = h5py.SoftLink(f"/{LOCALIZATION}/IBLBregma")


def turn_around(file):
    array = file[f"{LOCALIZATION}/AnatomicalCoordinatesBregmaProbe01/localized_entity"]
    array[...] = array[...][::-1]


def shift_labels(file):
    array = file["general/extracellular_ephys/electrodes/raw_channel_label"]
    array[...] = np.roll(array[...], 1)


DAMAGES = {
    "one x": change_one("AnatomicalCoordinatesCCFProbe00/x", 0.001),
    "one z": change_one("AnatomicalCoordinatesBregmaProbe01/z"),
    "one region": change_one("AnatomicalCoordinatesCCFProbe01/brain_region"),
    "one electrode": change_one("AnatomicalCoordinatesCCFProbe01/localized_entity"),
    "two probes swapped": swap_probes,
    "one row dropped": drop_row,
    "the other space": change_space,
    "order of the electrodes": turn_around,
    "labels moved by one channel": shift_labels,
    "one table gone": lambda file: file[LOCALIZATION].__delitem__("AnatomicalCoordinatesBregmaProbe00"),
}


def test_written_file_is_equal_to_its_sources(written, example):
    report = verify(written, example)
    assert report.ok, [(r.object, r.reason) for r in report.differences]
    equal = {row.object for row in report if row.status == "equal"}
    assert f"{LOCALIZATION}/AnatomicalCoordinatesBregmaProbe01/brain_region" in equal
    assert "general/extracellular_ephys/electrodes/raw_channel_label" in equal


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(written, example, tmp_path, damage):
    shutil.copy(written, tmp_path / "x.nwb")
    with h5py.File(tmp_path / "x.nwb", "r+") as file:
        DAMAGES[damage](file)
    assert not verify(tmp_path / "x.nwb", example).ok
