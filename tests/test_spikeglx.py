"""SpikeGLXMeta: columns, volts and site positions from the metadata of a raw recording."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetUnreadableError
from ibl_nwb.spikeglx import SpikeGLXMeta

NP1 = {
    "acqApLfSy": "384,384,1",
    "imAiRangeMax": "0.6",
    "imDatPrb_pn": "PRB_1_4_0480_1",
    "imDatPrb_sn": "18005116811",
    "imDatPrb_type": "0",
    "imSampRate": "30000.390639481",
    "nSavedChans": "5",
    "snsApLfSy": "4,0,1",
    "snsSaveChanSubset": "0:3,768",
    "~imroTbl": "(0,384)" + "".join(f"({channel} 0 0 500 250 1)" for channel in range(384)),
}
#: The way IBL writes it for the second shank of a probe whose 16 channels alternate between two shanks.
SPLIT = {
    "acqApLfSy": "8,0,1",
    "imAiRangeMax": "0.5",
    "imDatPrb_pn": "NP2010",
    "imDatPrb_type": "24",
    "imMaxInt": "8192",
    "imSampRate": "29999.757983",
    "nSavedChans": "9",
    "snsApLfSy": "8,0,1",
    "snsSaveChanSubset": "0:8",
    "snsSaveChanSubset_orig": "4:7,12:15,384",
    "NP2.4_shank": "1",
    "original_meta": "False",
    "imroTbl": "(24,384)"
    + "".join(f"({channel} {channel // 4 % 2} 0 0 {channel % 4 + 4 * (channel // 8)})" for channel in range(16)),
}


def write_meta(folder, fields=NP1, **changes):
    path = folder / "_spikeglx_ephysData_g0_t0.imec0.ap.5c1bb1a6-0b2d-4b1d-9a49-2f4b1ce4a0cd.meta"
    lines = [f"{key}={value}\n" for key, value in {**fields, **changes}.items() if value is not None]
    path.write_text("".join(lines))
    return path


def test_columns_are_split_into_voltages_and_sync_words(tmp_path):
    meta = SpikeGLXMeta(write_meta(tmp_path))
    assert (meta.n_saved_channels, meta.n_neural_channels, meta.n_sync_channels) == (5, 4, 1)
    assert meta.band == "ap"
    assert_array_equal(meta.site_numbers, [0, 1, 2, 3])


def test_lf_channels_have_the_numbers_of_their_sites(tmp_path):
    meta = SpikeGLXMeta(write_meta(tmp_path, snsApLfSy="0,4,1", snsSaveChanSubset="384,386:387,390,768"))
    assert meta.band == "lf"
    assert_array_equal(meta.site_numbers, [0, 2, 3, 6])


def test_all_saved_channels_may_be_called_all(tmp_path):
    meta = SpikeGLXMeta(write_meta(tmp_path, snsSaveChanSubset="all"))
    assert_array_equal(meta.site_numbers, [0, 1, 2, 3])


def test_rate_serial_part_and_first_sample_are_read(tmp_path):
    meta = SpikeGLXMeta(write_meta(tmp_path, firstSample="1738008", imDatPrb_pn="PRB_1_4_0480_1\t"))
    assert meta.sampling_rate_hz == 30000.390639481
    assert meta.serial_number == "18005116811"
    assert meta.part_number == "PRB_1_4_0480_1"
    assert meta.first_sample == 1738008
    assert SpikeGLXMeta(write_meta(tmp_path)).first_sample == 0


@pytest.mark.parametrize(
    ("changes", "microvolts"),
    [
        ({}, 2.34375),
        ({"imMaxInt": "512"}, 2.34375),
        ({"snsApLfSy": "0,4,1", "snsSaveChanSubset": "384:387,768"}, 4.6875),
    ],
)
def test_counts_of_neuropixels_1_are_worth_the_gain_in_the_imro_table(tmp_path, changes, microvolts):
    assert_allclose(SpikeGLXMeta(write_meta(tmp_path, **changes)).volts_per_count * 1e6, microvolts, rtol=1e-12)


def test_every_channel_has_its_own_gain(tmp_path):
    imro_table = "(0,384)(0 0 0 500 250 1)(2 0 0 1000 250 1)(1 0 0 250 250 1)(3 0 0 500 125 1)"
    meta = SpikeGLXMeta(write_meta(tmp_path, **{"~imroTbl": imro_table}))
    assert_allclose(meta.volts_per_count * 1e6, [2.34375, 4.6875, 1.171875, 2.34375], rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "microvolts"),
    [
        ({}, 0.5 / 8192 / 80 * 1e6),
        ({"imDatPrb_type": "2013", "imDatPrb_pn": "NP2013", "imMaxInt": "2048", "imAiRangeMax": "0.62"}, 3.02734375),
        ({"imChan0apGain": "160"}, 0.5 / 8192 / 160 * 1e6),
    ],
)
def test_counts_of_neuropixels_2_are_worth_a_fixed_gain(tmp_path, changes, microvolts):
    assert_allclose(SpikeGLXMeta(write_meta(tmp_path, SPLIT, **changes)).volts_per_count * 1e6, microvolts, rtol=1e-12)


def test_a_split_four_shank_recording_keeps_its_sites(tmp_path):
    meta = SpikeGLXMeta(write_meta(tmp_path, SPLIT))
    assert_array_equal(meta.site_numbers, [4, 5, 6, 7, 12, 13, 14, 15])
    geometry = meta.site_geometry()
    assert_array_equal(geometry.shank, 1)
    assert_allclose(geometry.x, 250 + np.array([27, 59] * 4))
    assert_allclose(geometry.y, np.repeat([20, 35, 50, 65], 2))


def test_a_computed_lf_band_is_numbered_like_the_ap_band(tmp_path):
    meta = SpikeGLXMeta(write_meta(tmp_path, SPLIT, acqApLfSy="0,8,1", snsApLfSy="0,8,1", imSampRate="2500"))
    assert meta.band == "lf"
    assert_array_equal(meta.site_numbers, [4, 5, 6, 7, 12, 13, 14, 15])
    assert_allclose(meta.volts_per_count * 1e6, 0.762939453125)


def test_a_site_of_another_bank_is_further_up(tmp_path):
    meta = SpikeGLXMeta(write_meta(tmp_path, **{"~imroTbl": NP1["~imroTbl"].replace("(2 0 ", "(2 1 ")}))
    geometry = meta.site_geometry()
    assert_allclose(geometry.x, [43, 11, 59, 27])
    assert_allclose(geometry.y, [20, 20, 40 + 3840, 40])


def test_a_kind_of_probe_that_nobody_knows_has_no_geometry(tmp_path):
    meta = SpikeGLXMeta(write_meta(tmp_path, imDatPrb_type="9999", imDatPrb_pn="XX1"))
    assert meta.site_geometry() is None
    assert meta.probe_family == "9999"


@pytest.mark.parametrize("content", [b"", b"not metadata", b"\xff\xfe\x00=1\n", b"fileName=x\n"])
def test_a_file_that_is_no_metadata_is_unreadable(tmp_path, content):
    path = tmp_path / "x.imec0.ap.meta"
    path.write_bytes(content)
    with pytest.raises(DatasetUnreadableError, match=re.escape(str(path))):
        SpikeGLXMeta(path)


@pytest.mark.parametrize(
    ("changes", "attribute", "named"),
    [
        ({"imSampRate": None, "niSampRate": None}, "sampling_rate_hz", "niSampRate"),
        ({"imSampRate": "fast"}, "sampling_rate_hz", "'fast'"),
        ({"snsApLfSy": "384,0,1"}, "n_neural_channels", "384,0,1"),
        ({"snsApLfSy": "4,,1"}, "n_neural_channels", "4,,1"),
        ({"snsSaveChanSubset": "0:2,768", "snsApLfSy": "4,0,1", "nSavedChans": "5"}, "volts_per_count", "channel 768"),
        ({"snsSaveChanSubset": "0:1,768"}, "site_numbers", "0:1,768"),
        ({"snsSaveChanSubset": "some"}, "site_numbers", "some"),
        ({"snsSaveChanSubset": None}, "site_numbers", "snsSaveChanSubset"),
        ({"~imroTbl": None}, "volts_per_count", "imroTbl"),
        ({"~imroTbl": "nothing"}, "volts_per_count", "no header"),
        ({"~imroTbl": "(0,384)(0 0 0)"}, "volts_per_count", "channel 0"),
        ({"~imroTbl": "(0,384)(0 0 0 x 250 1)"}, "volts_per_count", "integers"),
        ({"~imroTbl": NP1["~imroTbl"].replace("500", "0")}, "volts_per_count", "positive"),
        ({"imAiRangeMax": None}, "volts_per_count", "imAiRangeMax"),
        ({"imDatPrb_type": "24"}, "volts_per_count", "imMaxInt"),
    ],
)
def test_contradictions_name_file_and_value(tmp_path, changes, attribute, named):
    path = write_meta(tmp_path, **changes)
    with pytest.raises(DatasetInconsistentError) as raised:
        getattr(SpikeGLXMeta(path), attribute)
    assert str(path) in str(raised.value)
    assert named in str(raised.value)


def test_an_imro_table_with_sites_that_the_probe_lacks_is_refused(tmp_path):
    imro_table = NP1["~imroTbl"].replace("(2 0 ", "(2 7 ")
    with pytest.raises(DatasetInconsistentError, match="e2690"):
        SpikeGLXMeta(write_meta(tmp_path, **{"~imroTbl": imro_table})).site_geometry()


REAL_METAS = sorted(REAL.glob("spikeglx_meta*/*.meta")) + sorted(CHIMERA.glob("raw_ephys_data/probe*/*.meta"))
PROBE_METAS = [path for path in REAL_METAS if "nidq" not in path.name]


@needs_real_data
@pytest.mark.parametrize("path", PROBE_METAS, ids=lambda path: path.name)
class TestRealMetadata:
    def test_everything_can_be_read(self, path):
        meta = SpikeGLXMeta(path)
        n_channels = 151 if "subset" in path.name else 384
        assert meta.n_neural_channels == len(meta.site_numbers) == len(meta.volts_per_count) == n_channels
        assert meta.serial_number
        assert 2499 < meta.sampling_rate_hz < 30_001
        assert meta.band == ("lf" if ".lf." in path.name else "ap")

    def test_gains_are_neos(self, path):
        from neo.rawio.spikeglxrawio import extract_stream_info, read_meta_file

        if not any(line.startswith("~imroTbl") for line in path.read_text().splitlines()):
            pytest.skip("neo does not read metadata without tildes")
        text = read_meta_file(path)
        text["imDatPrb_pn"] = text["imDatPrb_pn"].strip() if "imDatPrb_pn" in text else "NP1000"
        expected = extract_stream_info(path, text)["channel_gains"]
        meta = SpikeGLXMeta(path)
        assert_allclose(meta.volts_per_count * 1e6, expected[: meta.n_neural_channels], rtol=1e-12)

    def test_sites_are_where_the_shank_map_has_them(self, path):
        meta = SpikeGLXMeta(path)
        entries = re.findall(r"\((\d+):(\d+):(\d+):\d+\)", meta.fields.get("snsShankMap", ""))
        if not entries:
            pytest.skip("LF metadata have no shank map")
        shank, column, row = np.array(entries, dtype=int)[meta.site_numbers].T
        geometry = meta.site_geometry()
        assert_array_equal(geometry.shank, shank)
        if meta.probe_family.startswith("NP2"):
            assert_allclose(geometry.x, 27 + 32 * column + 250 * shank)
            assert_allclose(geometry.y, 20 + 15 * row)
        else:
            assert_allclose(geometry.x, 43 - 32 * column + 16 * (row % 2))
            assert_allclose(geometry.y, 20 + 20 * row)


@needs_real_data
def test_the_grid_is_that_of_real_electrode_sites():
    geometry = SpikeGLXMeta(next(CHIMERA.glob("raw_ephys_data/probe00/*.ap.meta"))).site_geometry()
    expected = np.load(CHIMERA / "alf/probe00/electrodeSites.localCoordinates.npy")
    assert_array_equal(np.column_stack((geometry.x, geometry.y)), expected)


@needs_real_data
def test_metadata_of_the_sync_board_can_be_opened():
    meta = SpikeGLXMeta(next(REAL.glob("spikeglx_meta/*nidq.meta")))
    assert meta.sampling_rate_hz == 30_003.0003
    assert meta.n_saved_channels == 2
