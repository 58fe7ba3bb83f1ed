"""One file or two for a session, and the names that DANDI wants for them."""

import string

import h5py
import numpy as np
import pytest
from pynwb import NWBHDF5IO

from ibl_nwb import convert_document, make_document
from ibl_nwb.interfaces import interface_list
from ibl_nwb.products import RAW_FAMILIES, choose_instances, dandi_label, dandi_path, make_product, modalities_of
from ibl_nwb.testing import make_example_session

METADATA = {"Subject": {"subject_id": "CSH_ZAD_011"}, "NWBFile": {"session_id": "a1b2-c3"}}


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("session"),
        probes=("probe00",),
        n_channels=16,
        raw_duration_s=0.1,
        n_trials=4,
        n_clusters=6,
        spikes_per_probe=200,
        cameras=("left",),
        video=True,
        audio=False,
    )


@pytest.fixture(scope="module")
def document(session_path):
    return make_document(session_path, timezone="Europe/Lisbon")


@pytest.fixture(scope="module")
def written(document, tmp_path_factory):
    """The three products as files, by name of the product."""
    folder, files = tmp_path_factory.mktemp("written"), {}
    for product in ("whole", "raw", "processed"):
        files[product] = folder / f"{product}.nwb"
        convert_document(make_product(document, product), files[product])
    return files


class TestNames:
    @pytest.mark.parametrize(
        ("product", "modalities", "backend", "expected"),
        [
            ("whole", ["behavior"], "hdf5", "sub-CSH-ZAD-011/sub-CSH-ZAD-011_ses-a1b2-c3_behavior.nwb"),
            (
                "raw",
                ["image", "ecephys"],
                "hdf5",
                "sub-CSH-ZAD-011/sub-CSH-ZAD-011_ses-a1b2-c3_desc-raw_ecephys+image.nwb",
            ),
            ("processed", [], "zarr", "sub-CSH-ZAD-011/sub-CSH-ZAD-011_ses-a1b2-c3_desc-processed.nwb.zarr"),
        ],
    )
    def test_place_in_a_dandiset(self, product, modalities, backend, expected):
        assert dandi_path(METADATA, product, modalities, backend).as_posix() == expected

    def test_reference_where_there_is_no_eid(self, document):
        assert dandi_path(document.metadata).name == "sub-EX-001_ses-EX-001-2023-05-18-001.nwb"

    def test_each_forbidden_character_is_replaced_by_one(self):
        allowed = set(string.ascii_letters + string.digits + "-+=()[]{}#!$&^~`")
        text = string.printable
        assert dandi_label(text) == "".join(c if c in allowed else "-" for c in text)

    def test_as_dandi_sanitizes(self):
        organize = pytest.importorskip("dandi.organize")
        for text in ("CSH_ZAD_011", "a__b", "a/b c.d", "x:y|z", "EX_001_2023-05-18_001"):
            assert dandi_label(text) == organize._sanitize_value(text, "session_id")


class TestModalities:
    def test_are_deduced_from_what_is_in_the_file(self, written):
        assert modalities_of(written["raw"]) == ["ecephys", "image"]
        assert {"behavior", "ecephys"} <= set(modalities_of(written["processed"]))
        assert modalities_of(written["whole"]) == sorted(
            {*modalities_of(written["raw"]), *modalities_of(written["processed"])}
        )

    def test_of_a_zarr_folder(self, document, written, tmp_path):
        path = tmp_path / "a.nwb.zarr"
        convert_document(make_product(document, "raw"), path, backend="zarr")
        assert modalities_of(path) == modalities_of(written["raw"])

    def test_as_dandi_deduces_them(self, written):
        pynwb_utils = pytest.importorskip("dandi.pynwb_utils")
        organize = pytest.importorskip("dandi.organize")
        for path in written.values():
            rows = [{"nd_types": pynwb_utils.get_neurodata_types(path)}]
            organize._populate_modalities(rows)
            assert tuple(modalities_of(path)) == rows[0]["modalities"]


class TestSplit:
    def test_families_are_those_that_exist(self):
        assert {interface.family for interface in interface_list} >= RAW_FAMILIES

    def test_every_instance_is_in_one_product(self, document):
        raw, processed = (choose_instances(document.source_data, product) for product in ("raw", "processed"))
        assert sorted(raw + processed) == sorted(document.source_data)
        assert {"RawEphysAPProbe00", "RawEphysLFProbe00", "VideoLeftCamera"} <= set(raw)
        assert {"SortedSpikesProbe00", "Trials", "Wheel", "PoseLeftCamera"} <= set(processed)

    def test_what_is_written_where(self, written):
        objects = {}
        for product, path in written.items():
            with h5py.File(path) as file:
                objects[product] = {
                    f"{group}/{name}" for group in ("acquisition", "processing") for name in file[group]
                }
                objects[product] |= {"units"} & set(file)
        assert "acquisition/ElectricalSeriesAPProbe00" in objects["raw"] - objects["processed"]
        assert "units" in objects["processed"] - objects["raw"]
        assert objects["whole"] == objects["raw"] | objects["processed"]

    def test_both_have_the_same_electrodes_in_the_same_rows(self, written):
        tables = {}
        for product, path in written.items():
            with NWBHDF5IO(path, "r") as io:
                table = io.read().electrodes
                tables[product] = table.to_dataframe().drop(columns=["group"])
                groups = [group.name for group in table["group"].data[:]]
                tables[product]["group_name_of_object"] = groups
        assert len(tables["whole"]) == 16
        for product in ("raw", "processed"):
            shared = [name for name in tables["raw"].columns if name in tables["processed"].columns]
            assert {"rel_x", "rel_y", "location", "group_name"} <= set(shared)
            left, right = tables[product][shared], tables["whole"][shared]
            for name in shared:
                np.testing.assert_array_equal(left[name].to_numpy(), right[name].to_numpy(), err_msg=name)

    def test_identifiers_tell_them_apart(self, written):
        identifiers = []
        for path in written.values():
            with h5py.File(path) as file:
                identifiers.append(file["identifier"][()].decode())
        assert identifiers == [f"EX_001_2023-05-18_001{suffix}" for suffix in ("", "_desc-raw", "_desc-processed")]

    def test_nothing_raw(self, document):
        behaviour = document.model_copy(update={"source_data": {"Wheel": {}}})
        assert make_product(behaviour, "raw") is None
        assert list(make_product(behaviour, "processed").source_data) == ["Wheel"]
