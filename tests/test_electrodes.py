"""Sites of a probe and their rows in the electrodes table: one answer, whatever the datasets and whoever asks."""

import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
from neuroconv.tools.spikeinterface import add_recording_metadata_to_nwbfile
from numpy.testing import assert_allclose, assert_array_equal
from pynwb import NWBHDF5IO, NWBFile, read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, needs_real_data
from spikeinterface import generate_recording

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DocumentError, UsageError
from ibl_nwb.interfaces.electrodes import add_probe_electrodes, probe_metadata, read_probe_sites
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import make_example_session

N_SITES = 16


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("example"),
        n_channels=N_SITES,
        raw_duration_s=0.1,
        cameras=(),
        audio=False,
        n_trials=3,
        n_clusters=4,
        spikes_per_probe=100,
        revisions=False,
    )


@pytest.fixture
def session_path(example, tmp_path):
    return shutil.copytree(example, tmp_path / "session", ignore=shutil.ignore_patterns("spikes.*", "*.cbin"))


def remove(session_path, pattern):
    removed = list(session_path.glob(pattern))
    assert removed
    for path in removed:
        path.unlink()


def read(session_path, probe_name="probe00"):
    return read_probe_sites(ALFSession(session_path), probe_name)


def load(session_path, name, probe_name="probe00"):
    return np.load(session_path / "alf" / probe_name / f"{name}.npy")


def write_channels(folder, raw_columns, **attributes):
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in {"rawInd": np.array(raw_columns), **attributes}.items():
        np.save(folder / f"channels.{name}.npy", values)


class TestSites:
    def test_there_is_one_per_recorded_channel_in_the_order_of_the_file(self, session_path):
        sites = read(session_path)
        assert len(sites) == N_SITES
        assert_array_equal(sites.channel, np.arange(N_SITES))
        assert sites.channel_name.tolist() == [f"AP{number}" for number in range(N_SITES)]
        assert_array_equal(sites.shank, 0)

    def test_are_where_electrode_sites_have_them(self, session_path):
        sites = read(session_path)
        coordinates = load(session_path, "electrodeSites.localCoordinates")
        assert_array_equal(np.column_stack((sites.rel_x, sites.rel_y)), coordinates)
        mlapdv = load(session_path, "electrodeSites.mlapdv")
        assert_array_equal(np.column_stack((sites.ml, sites.ap, sites.dv)), mlapdv)
        assert_array_equal(sites.allen_id, load(session_path, "electrodeSites.brainLocationIds_ccf_2017"))

    def test_say_which_datasets_were_used(self, session_path):
        sources = read(session_path).sources
        assert sources[0] == "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.meta"
        assert "alf/probe00/electrodeSites.mlapdv.npy" in sources
        assert not any("channels.mlapdv" in source for source in sources)

    def test_have_the_geometry_of_the_metadata_without_electrode_sites(self, session_path):
        expected = load(session_path, "electrodeSites.localCoordinates")
        remove(session_path, "alf/probe00/electrodeSites.localCoordinates.npy")
        sites = read(session_path)
        assert_array_equal(np.column_stack((sites.rel_x, sites.rel_y)), expected)

    @pytest.mark.parametrize("pattern", ["*.ap.meta", "*.lf.meta"])
    def test_are_the_same_whichever_band_is_there(self, session_path, pattern):
        expected = read(session_path)
        remove(session_path, f"raw_ephys_data/probe00/{pattern}")
        for name, values in read(session_path).array_columns().items():
            assert_array_equal(values, expected.array_columns()[name])

    def test_come_from_electrode_sites_without_metadata(self, session_path):
        expected = read(session_path)
        remove(session_path, "raw_ephys_data/probe00/*.meta")
        sites = read(session_path)
        for name, values in sites.array_columns().items():
            assert_array_equal(values, expected.array_columns()[name])
        assert sites.serial_number is sites.part_number is sites.probe_family is None

    def test_come_from_the_channels_if_there_is_nothing_else(self, session_path):
        remove(session_path, "raw_ephys_data/probe00/*.meta")
        remove(session_path, "alf/probe00/electrodeSites.*")
        shutil.rmtree(session_path / "alf/probe00/pykilosort")
        coordinates = np.array([[59, 40], [43, 20], [211, 20]], dtype=np.float32)
        write_channels(session_path / "alf/probe00/pykilosort", [5, 2, 9], localCoordinates=coordinates)
        sites = read(session_path)
        assert_array_equal(sites.channel, [2, 5, 9])
        assert_array_equal(sites.rel_x, [43, 59, 211])
        assert_array_equal(sites.shank, [0, 0, 1])
        assert_array_equal(sites.rows_of(np.array([9, 2])), [2, 0])

    def test_without_a_row_in_the_channels_stay_unknown(self, session_path):
        remove(session_path, "alf/probe00/electrodeSites.*")
        write_channels(
            session_path / "alf/probe00/pykilosort",
            [3, 1],
            localCoordinates=np.array([[11.5, 41.5], [11.25, 21.25]]),
            mlapdv=np.array([[30, 31, 32], [10, 11, 12]], dtype=np.int32),
            brainLocationIds_ccf_2017=np.array([128, 0]),
            labels=np.array([2, 1], dtype=np.int8),
        )
        sites = read(session_path)
        assert_array_equal(sites.ml[[1, 3]], [10, 30])
        assert sites.location[[1, 3]].tolist() == ["void", "MRN"]
        assert_array_equal(sites.channel_label[[1, 3]], [1, 2])
        others = np.delete(np.arange(N_SITES), [1, 3])
        for values in (sites.ml, sites.ap, sites.dv, sites.x, sites.y, sites.z, sites.allen_id, sites.channel_label):
            assert np.isnan(values[others]).all()
        assert set(sites.location[others]) == set(sites.beryl[others]) == set(sites.cosmos[others]) == {"unknown"}
        # Positions are ALF's where it has them, and those of the probe's grid elsewhere.
        assert_array_equal(sites.rel_y[:4], [20, 21.25, 40, 41.5])

    def test_do_not_take_electrode_sites_of_another_number(self, session_path):
        for path in session_path.glob("alf/probe00/electrodeSites.*"):
            np.save(path, np.load(path)[:-1])
        sites = read(session_path)
        channels = load(session_path, "pykilosort/channels.mlapdv")
        assert_array_equal(sites.ml[load(session_path, "pykilosort/channels.rawInd")], channels[:, 0])
        assert not any("electrodeSites" in source for source in sites.sources)

    def test_have_no_place_in_the_brain_without_histology(self, tmp_path):
        folder = make_example_session(
            tmp_path, n_channels=4, raw_duration_s=0.02, cameras=(), audio=False, n_trials=3, n_clusters=2,
            spikes_per_probe=20, histology=False, probes=("probe00",),
        )  # fmt: skip
        sites = read(folder)
        for values in (sites.ml, sites.ap, sites.dv, sites.x, sites.y, sites.z, sites.allen_id):
            assert np.isnan(values).all()
        assert set(sites.location) == {"unknown"}
        assert np.isfinite(sites.rel_y).all()

    @pytest.mark.parametrize(
        ("present", "preferred"),
        [
            (("", "kilosort2.5", "pykilosort", "iblsorter"), "iblsorter"),
            (("", "kilosort2.5", "pykilosort"), "pykilosort"),
            (("", "kilosort2.5"), "kilosort2.5"),
            (("",), ""),
        ],
    )
    def test_take_the_channels_of_the_preferred_sorter(self, session_path, present, preferred):
        shutil.rmtree(session_path / "alf/probe00/pykilosort")
        for number, sorter in enumerate(present):
            labels = np.full(N_SITES, number)
            write_channels(session_path / "alf/probe00" / sorter, np.arange(N_SITES), labels=labels)
        assert set(read(session_path).channel_label) == {present.index(preferred)}

    @pytest.mark.parametrize("raw_columns", [[0, N_SITES], [-1, 0], [1, 1]])
    def test_are_not_made_up_for_channels_that_were_not_recorded(self, session_path, raw_columns):
        shutil.rmtree(session_path / "alf/probe00/pykilosort")
        write_channels(session_path / "alf/probe00/pykilosort", raw_columns, labels=np.zeros(2))
        with pytest.raises(DatasetInconsistentError, match="channels.rawInd.npy"):
            read(session_path)

    def test_of_an_unknown_probe_are_missing(self, session_path):
        with pytest.raises(DatasetMissingError, match="probe07.*raw_ephys_data/probe07"):
            read(session_path, "probe07")

    def test_can_be_looked_up_by_column_in_any_shape(self, session_path):
        sites = read(session_path)
        assert_array_equal(sites.rows_of(np.array([[3, 1], [0, 15]])), [[3, 1], [0, 15]])
        with pytest.raises(DatasetInconsistentError, match=r"\[99\]"):
            sites.rows_of(np.array([0, 99]))

    def test_have_the_regions_of_iblatlas(self, session_path):
        from iblatlas.regions import BrainRegions

        regions = BrainRegions()
        sites = read(session_path)
        for values, mapping in ((sites.location, "Allen"), (sites.beryl, "Beryl"), (sites.cosmos, "Cosmos")):
            expected = [str(regions.id2acronym(int(i), mapping=mapping)[0]) for i in sites.allen_id]
            assert values.tolist() == expected

    def test_with_an_id_that_the_atlas_lacks_are_in_an_unknown_region(self, session_path):
        np.save(session_path / "alf/probe00/electrodeSites.brainLocationIds_ccf_2017.npy", np.full(N_SITES, 123456789))
        sites = read(session_path)
        assert set(sites.location) == {"unknown"}
        assert_array_equal(sites.allen_id, 123456789)

    @needs_real_data
    def test_of_the_chimera_agree_with_its_files(self):
        sites = read(CHIMERA)
        assert len(sites) == 384
        raw_columns = load(CHIMERA, "pykilosort/channels.rawInd")
        assert np.isfinite(sites.channel_label[raw_columns]).all()
        assert np.isnan(sites.channel_label).sum() == 384 - 356
        # Worked out by hand from ML -771, AP -2765, DV -4420: bregma is at ML 5739, AP 5400, DV 332 of the CCF.
        assert (sites.x[0], sites.y[0], sites.z[0]) == (8165, 4752, 4968)
        assert (sites.location[0], sites.beryl[-1], sites.cosmos[-1]) == ("MRN", "VISa", "Isocortex")


class TestMetadata:
    def test_name_device_model_and_group(self, session_path):
        metadata = probe_metadata(ALFSession(session_path), "probe00")
        device = metadata["Devices"]["neuropixels_probe00"]
        assert device["name"] == "NeuropixelsProbe00"
        assert device["serial_number"] == "19051016242"
        model = metadata["DeviceModels"][device["device_model_metadata_key"]]
        assert (model["name"], model["model_number"], model["manufacturer"]) == (*["PRB_1_4_0480_1"] * 2, "imec")
        group = metadata["Ecephys"]["ElectrodeGroups"]["probe00"]
        assert (group["name"], group["device_metadata_key"]) == ("probe00", "neuropixels_probe00")
        assert group["location"] == ", ".join(dict.fromkeys(read(session_path).beryl))

    def test_do_not_invent_serial_number_and_model(self, session_path):
        remove(session_path, "raw_ephys_data/probe00/*.meta")
        metadata = probe_metadata(ALFSession(session_path), "probe00")
        assert set(metadata["Devices"]["neuropixels_probe00"]) == {"name", "description"}
        assert "DeviceModels" not in metadata

    def test_the_shanks_of_a_split_probe_share_the_device(self, session_path):
        for letter in "ab":
            shutil.copytree(session_path / "alf/probe00", session_path / f"alf/probe00{letter}")
        session = ALFSession(session_path)
        first, second = (probe_metadata(session, f"probe00{letter}") for letter in "ab")
        assert first["Devices"] == second["Devices"]
        assert list(second["Ecephys"]["ElectrodeGroups"]) == ["probe00b"]
        assert set(read(session_path, "probe00b").shank) == {1}

    @needs_real_data
    def test_several_shanks_in_one_file_are_one_group_each(self, tmp_path):
        folder = tmp_path / "raw_ephys_data/probe00"
        folder.mkdir(parents=True)
        meta = next(CHIMERA.parents[5].glob("spikeglx_meta/sampleNP2.4_4shanks*.meta"))
        shutil.copy(meta, folder / "_spikeglx_ephysData_g0_t0.imec0.ap.meta")
        nwbfile = mock_NWBFile()
        rows = add_probe_electrodes(nwbfile, None, ALFSession(tmp_path), "probe00")
        assert sorted(nwbfile.electrode_groups) == [f"probe00_shank{shank}" for shank in range(4)]
        assert_array_equal(rows, np.arange(384))
        shanks = nwbfile.electrodes["shank"].data
        assert [f"probe00_shank{shank:.0f}" for shank in shanks] == list(nwbfile.electrodes["group_name"].data)
        assert len(nwbfile.devices) == 1


class TestElectrodesTable:
    def test_has_one_row_per_site_with_described_columns(self, session_path):
        nwbfile = mock_NWBFile()
        rows = add_probe_electrodes(nwbfile, None, ALFSession(session_path), "probe01")
        assert_array_equal(rows, np.arange(N_SITES))
        table, sites = nwbfile.electrodes, read(session_path, "probe01")
        for name, values in sites.array_columns().items():
            assert_array_equal(table[name].data, values)
        assert set(table["group_name"].data) == {"probe01"}
        assert all(column.description and column.description != "no description" for column in table.columns)
        assert_allclose(nwbfile.electrode_groups["probe01"].position[0].tolist(), [sites.x[0], sites.y[0], sites.z[0]])

    def test_is_filled_once_however_many_ask(self, session_path):
        nwbfile, session = mock_NWBFile(), ALFSession(session_path)
        first, again = (add_probe_electrodes(nwbfile, None, session, "probe00") for _ in range(2))
        assert_array_equal(first, again)
        assert len(nwbfile.electrodes) == N_SITES

    def test_two_probes_never_share_rows(self, session_path):
        nwbfile, session = mock_NWBFile(), ALFSession(session_path)
        rows = [add_probe_electrodes(nwbfile, None, session, name) for name in ("probe01", "probe00", "probe01")]
        assert_array_equal(rows[1], rows[0] + N_SITES)
        assert_array_equal(rows[2], rows[0])
        assert len(nwbfile.devices) == len(nwbfile.electrode_groups) == 2
        assert len(nwbfile.device_models) == 1

    def test_takes_names_and_descriptions_from_the_metadata(self, session_path):
        nwbfile, session = mock_NWBFile(), ALFSession(session_path)
        metadata = {
            "Devices": {"neuropixels_probe00": {"name": "Mine"}},
            "Ecephys": {
                "ElectrodeGroups": {"probe00": {"name": "left", "description": "The left one", "location": "CA1"}},
                "Electrodes": [{"name": "rel_y", "description": "upwards"}],
            },
        }
        rows = add_probe_electrodes(nwbfile, metadata, session, "probe00")
        group = nwbfile.electrode_groups["left"]
        assert (group.description, group.location, group.device.name) == ("The left one", "CA1", "Mine")
        assert set(nwbfile.electrodes["group_name"].data) == {"left"}
        assert nwbfile.electrodes["rel_y"].description == "upwards"
        assert_array_equal(add_probe_electrodes(nwbfile, metadata, session, "probe00"), rows)

    def test_a_group_may_be_on_another_device_of_the_metadata(self, session_path):
        nwbfile, session = mock_NWBFile(), ALFSession(session_path)
        metadata = {
            "Devices": {"other": {"name": "Other"}},
            "Ecephys": {"ElectrodeGroups": {"probe00": {"device_metadata_key": "other"}}},
        }
        add_probe_electrodes(nwbfile, metadata, session, "probe00")
        assert nwbfile.electrode_groups["probe00"].device.name == "Other"
        metadata["Devices"] = {}
        with pytest.raises(DocumentError, match="'other'"):
            add_probe_electrodes(mock_NWBFile(), metadata, session, "probe00")

    def test_groups_of_one_name_are_refused(self, session_path):
        session = ALFSession(session_path)
        same = {"Ecephys": {"ElectrodeGroups": {name: {"name": "same"} for name in ("probe00", "probe01")}}}
        with pytest.raises(DocumentError, match="'same'"):
            add_probe_electrodes(mock_NWBFile(), same, session, "probe00")
        nwbfile = mock_NWBFile()
        add_probe_electrodes(nwbfile, None, session, "probe00")
        with pytest.raises(DocumentError, match="'probe00'"):
            add_probe_electrodes(
                nwbfile, {"Ecephys": {"ElectrodeGroups": {"probe01": {"name": "probe00"}}}}, session, "probe01"
            )

    @pytest.mark.parametrize("ours_first", [True, False])
    def test_keeps_the_electrodes_of_neuroconv(self, session_path, ours_first):
        nwbfile, session = mock_NWBFile(), ALFSession(session_path)
        foreign = generate_recording(num_channels=3, durations=[0.1], set_probe=False)
        foreign.set_property("wiring", np.array([7.0, 8.0, 9.0]))
        foreign.set_property("colour", np.array(["red", "green", "blue"]))
        metadata = probe_metadata(session, "probe00")

        def add_foreign():
            add_recording_metadata_to_nwbfile(foreign, nwbfile, metadata=metadata)

        def add_ours():
            return add_probe_electrodes(nwbfile, metadata, session, "probe00")

        if ours_first:
            rows = add_ours()
            add_foreign()
        else:
            add_foreign()
            rows = add_ours()
        assert_array_equal(add_ours(), rows)
        table = nwbfile.electrodes.to_dataframe()
        assert len(table) == N_SITES + 3
        assert_array_equal(table["channel"].iloc[rows], np.arange(N_SITES))
        theirs = table.drop(index=table.index[rows])
        assert theirs["wiring"].tolist() == [7, 8, 9]
        assert theirs["colour"].tolist() == ["red", "green", "blue"]
        assert theirs[["rel_y", "allen_id"]].isna().all(axis=None)
        assert table["wiring"].iloc[rows].isna().all()
        assert set(table["colour"].iloc[rows]) == {""}

    def test_fits_columns_of_any_kind_that_are_there(self, session_path):
        nwbfile, session = mock_NWBFile(), ALFSession(session_path)
        device = nwbfile.create_device("d")
        group = nwbfile.create_electrode_group("g", description="", location="", device=device)
        for name, data in {"count": [], "good": [], "place": []}.items():
            nwbfile.add_electrode_column(name, name, data=data)
        nwbfile.add_electrode_column("ragged", "ragged", index=True)
        nwbfile.add_electrode(
            group=group, location="here", count=4, good=True, place=np.array([1.0, 2.0]), ragged=[1.0, 2.0]
        )
        rows = add_probe_electrodes(nwbfile, None, session, "probe00")
        assert_array_equal(rows, np.arange(1, N_SITES + 1))
        row = nwbfile.electrodes[1]
        assert (row["count"].item(), bool(row["good"].item()), list(row["ragged"].item())) == (-1, False, [])
        assert np.isnan(row["place"].item()).all()

    def test_is_found_again_in_a_file_on_disk(self, session_path, tmp_path):
        session, path = ALFSession(session_path), tmp_path / "x.nwb"
        nwbfile = NWBFile("test", "id", datetime(2020, 1, 1, tzinfo=UTC))
        rows = add_probe_electrodes(nwbfile, None, session, "probe00")
        with NWBHDF5IO(path, "w") as io:
            io.write(nwbfile)
        with NWBHDF5IO(path, "r+") as io:
            on_disk = io.read()
            assert_array_equal(add_probe_electrodes(on_disk, None, session, "probe00"), rows)
            with pytest.raises(UsageError, match="all probes of the session at once"):
                add_probe_electrodes(on_disk, None, session, "probe01")
        table = read_nwb(path).electrodes.to_dataframe()
        assert table["group_name"].tolist() == ["probe00"] * N_SITES
        assert_array_equal(table["ml"], read(session_path).ml)
