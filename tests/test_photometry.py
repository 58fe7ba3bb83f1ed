"""PhotometryInterface: every frame of every light as stored, and which fiber it is from."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from family_checks import check_valid, convert
from hdmf_zarr import NWBZarrIO
from hypothesis import given
from hypothesis import strategies as st
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.testing.mock.file import mock_NWBFile
from real_data import REAL, needs_real_data

from ibl_nwb import AlyxRecord, IBLConverter, convert_document, inspect_session, make_document
from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError, UsageError
from ibl_nwb.interfaces.photometry import PhotometryInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing import example_alyx_answers, make_example_session
from ibl_nwb.verify import verify

FIP = REAL / "ibl-photometry/wittenlab/Subjects/fip_40/2023-05-18/001"
SIGNAL, LOCATIONS = "photometry.signal.pqt", "photometryROI.locations.pqt"

#: What IBL calls the light of each of Neurophotometrics' states: name, color, wavelength.
ISOSBESTIC, GCAMP, RCAMP = ("Isosbestic", "Violet", 415.0), ("GCaMP", "Blue", 470.0), ("RCaMP", "Green", 560.0)
BOTH, DARK = ("GCaMP+RCaMP", "Blue+Green", np.nan), ("None", "None", 0.0)


def make_signal(lights, rois=("Region0G", "Region1G"), seed=0, start_s=3.0):
    """A table of frames with the lights that are given, in that order; one value is NaN."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(0.03, 0.001, (len(lights), len(rois))), columns=list(rois))
    table.iloc[len(lights) // 2, 0] = np.nan
    table["times"] = start_s + np.cumsum(rng.uniform(0.01, 0.02, len(lights)))
    table["wavelength"] = [wavelength for _, _, wavelength in lights]
    table["name"] = [name for name, _, _ in lights]
    table["color"] = [color for _, color, _ in lights]
    table["include"] = rng.random(len(lights)) < 0.7
    return table


def make_locations(rois=("Region0G", "Region1G")):
    index = pd.Index(list(rois), name="ROI")
    fibers, regions = ("fiber01", "fiber00", "fiber02"), ("DLS", "DMS", "NAcc")
    return pd.DataFrame({"fiber": fibers[: len(rois)], "brain_region": regions[: len(rois)]}, index=index)


def save(folder, signal, locations=None, collection="alf/photometry"):
    (folder / collection).mkdir(parents=True, exist_ok=True)
    signal.to_parquet(folder / collection / SIGNAL)
    if locations is not None:
        locations.to_parquet(folder / collection / LOCATIONS)
    return folder


def make_session(folder, collection="alf/photometry", seed=0):
    lights = [BOTH, *([ISOSBESTIC, GCAMP, RCAMP] * 60), DARK]
    return save(folder, make_signal(lights, seed=seed), make_locations(), collection)


def add(folder, metadata=None, **options):
    interface, nwbfile = PhotometryInterface(folder), mock_NWBFile()
    interface.add_to_nwbfile(nwbfile, metadata, **options)
    return interface, nwbfile


def check_light(nwbfile, stored, name, label="", rois=("Region0G", "Region1G"), regions=("DLS", "DMS")):
    """Values, times and links of one light against the parquet file."""
    frames = stored[stored["name"] == name]
    series = nwbfile.acquisition[f"FiberPhotometry{name}{label}"]
    assert_array_equal(series.data[:], frames[list(rois)].to_numpy())
    assert_array_equal(series.timestamps[:], frames["times"].to_numpy())
    region = series.fiber_photometry_table_region
    table, rows = region.table, region.data[:]
    assert [table["location"][row] for row in rows] == list(regions)
    assert {table["excitation_wavelength_in_nm"][row] for row in rows} == set(frames["wavelength"])
    if not isinstance(nwbfile.read_io, NWBZarrIO):  # references in Zarr are pickled, which numcodecs refuses to read
        fibers = [table["optical_fiber"][row].name for row in rows]
        assert fibers == ["fiber01", "fiber00", "fiber02"][: len(rois)]


class TestPhotometryWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = PhotometryInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = make_session(tmp_path_factory.mktemp("photometry"))
        cls.interface_kwargs = {"session_path": str(cls.folder)}

    def check_read_nwb(self, nwbfile_path):
        stored = pd.read_parquet(self.folder / "alf/photometry" / SIGNAL)
        nwbfile = read_nwb(nwbfile_path)
        for name in ("Isosbestic", "GCaMP", "RCaMP"):
            check_light(nwbfile, stored, name)
        frames = nwbfile.acquisition["FiberPhotometryFrames"]
        assert_array_equal(frames["timestamp"][:], stored["times"])
        assert_array_equal(frames["wavelength"][:], stored["wavelength"])
        assert_array_equal(frames["include"][:], stored["include"])
        assert list(frames["light_name"][:]) == list(stored["name"])
        assert list(frames["light_color"][:]) == list(stored["color"])
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_recordings_beside_a_foreign_interface(tmp_path, backend):
    session_path = make_session(make_session(tmp_path / "session"), "alf", seed=1)
    session = ALFSession(session_path)
    instances = {
        PhotometryInterface.get_instance_name(session, instance): (
            PhotometryInterface,
            {"session_path": str(session_path), **instance},
        )
        for instance in PhotometryInterface.get_instances(session)
    }
    assert list(instances) == ["Photometry", "PhotometryAlf"]
    path = tmp_path / "x.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    for collection, label in (("alf/photometry", ""), ("alf", "Alf")):
        for name in ("Isosbestic", "GCaMP", "RCaMP"):
            check_light(nwbfile, pd.read_parquet(session_path / collection / SIGNAL), name, label)
    assert len(nwbfile.lab_meta_data["fiber_photometry"].fiber_photometry_table) == 12
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


class TestWritten:
    def test_frames_too_few_for_a_series_are_in_a_table(self, tmp_path):
        stored = pd.read_parquet(make_session(tmp_path) / "alf/photometry" / SIGNAL)
        _, nwbfile = add(tmp_path)
        others = nwbfile.acquisition["FiberPhotometryOtherFrames"]
        rows = [0, len(stored) - 1]
        assert_array_equal(others["frame"].data, rows)
        assert_array_equal(others["timestamp"].data, stored["times"].iloc[rows])
        assert_array_equal(others["Region1G"].data, stored["Region1G"].iloc[rows])
        assert not {"FiberPhotometryNone", "FiberPhotometryGCaMPRCaMP"} & set(nwbfile.acquisition)

    def test_lights_on_together_and_dark_frames_are_series_without_a_wavelength(self, tmp_path):
        stored = make_signal([BOTH, DARK] * 20)
        _, nwbfile = add(save(tmp_path, stored, make_locations()))
        for name, series in (("GCaMP+RCaMP", "FiberPhotometryGCaMPRCaMP"), ("None", "FiberPhotometryNone")):
            written = nwbfile.acquisition[series]
            assert_array_equal(written.data, stored.loc[stored["name"] == name, ["Region0G", "Region1G"]])
            assert written.fiber_photometry_table_region is None
        assert not nwbfile.lab_meta_data

    def test_every_value_is_in_the_file_once(self, tmp_path):
        stored = pd.read_parquet(make_session(tmp_path) / "alf/photometry" / SIGNAL)
        _, nwbfile = add(tmp_path)
        written = [n.data for name, n in nwbfile.acquisition.items() if hasattr(n, "fiber_photometry_table_region")]
        others = nwbfile.acquisition["FiberPhotometryOtherFrames"]
        written.append(np.column_stack([others["Region0G"].data, others["Region1G"].data]))
        values = stored[["Region0G", "Region1G"]].to_numpy()
        assert_array_equal(np.sort(np.concatenate(written).ravel()), np.sort(values.ravel()))
        assert np.isnan(values).sum() == 1

    def test_one_name_at_two_wavelengths_is_two_series(self, tmp_path):
        other = ("GCaMP", "Blue", 490.0)
        stored = make_signal([GCAMP, other] * 20)
        _, nwbfile = add(save(tmp_path, stored))
        for wavelength in (470, 490):
            written = nwbfile.acquisition[f"FiberPhotometryGCaMP{wavelength}nm"]
            assert_array_equal(written.timestamps, stored.loc[stored["wavelength"] == wavelength, "times"])

    @pytest.mark.parametrize("missing", [["name", "color"], ["wavelength"], ["name", "color", "wavelength", "include"]])
    def test_columns_that_are_not_there(self, tmp_path, missing):
        stored = make_signal([ISOSBESTIC, GCAMP] * 20)
        _, nwbfile = add(save(tmp_path, stored.drop(columns=missing), make_locations()))
        series = [n for n in nwbfile.acquisition.values() if hasattr(n, "fiber_photometry_table_region")]
        names = {
            1: ["FiberPhotometryGCaMP", "FiberPhotometryIsosbestic"],
            2: ["FiberPhotometry415nm", "FiberPhotometry470nm"],
            4: ["FiberPhotometry"],
        }
        assert sorted(n.name for n in series) == names[len(missing)]
        assert sum(len(n.data) for n in series) == 40

    def test_column_that_nobody_described_is_in_the_table_of_frames(self, tmp_path):
        stored = make_signal([ISOSBESTIC, GCAMP] * 20).assign(frameCounter=np.arange(40, dtype=np.int32))
        _, nwbfile = add(save(tmp_path, stored))
        column = nwbfile.acquisition["FiberPhotometryFrames"]["frame_counter"]
        assert_array_equal(column.data, stored["frameCounter"])
        assert column.data.dtype == np.int32
        assert "photometry.signal, frameCounter" in column.description

    def test_names_of_regions_of_interest_of_other_rigs(self, tmp_path):
        rois = ("G0", "R1", "Region3")
        _, nwbfile = add(save(tmp_path, make_signal([ISOSBESTIC, GCAMP] * 20, rois)))
        assert nwbfile.acquisition["FiberPhotometryGCaMP"].data.shape == (20, 3)
        indicators = nwbfile.lab_meta_data["fiber_photometry"].fiber_photometry_indicators.indicators
        halves = {"PhotometryIndicatorGreen", "PhotometryIndicatorRed", "PhotometryIndicator"}
        assert set(indicators) == halves

    def test_without_locations_fiber_and_region_are_unknown(self, tmp_path):
        _, nwbfile = add(save(tmp_path, make_signal([GCAMP] * 9)))
        rois = nwbfile.acquisition["FiberPhotometryROIs"].to_dataframe()
        assert rois.to_numpy().tolist() == [
            ["Region0G", "unknown", "unknown", 0],
            ["Region1G", "unknown", "unknown", 1],
        ]
        assert "fiber_of_Region1G" in nwbfile.devices

    def test_locations_and_signal_with_other_regions_of_interest(self, tmp_path):
        locations = make_locations(("Fiber A", "Region1G"))
        locations["hemisphere"] = ["left", None]
        _, nwbfile = add(save(tmp_path, make_signal([GCAMP] * 9), locations))
        rois = nwbfile.acquisition["FiberPhotometryROIs"].to_dataframe()
        assert list(rois.columns) == ["roi", "fiber", "brain_region", "hemisphere", "series_column"]
        assert rois.to_numpy().tolist() == [
            ["Fiber A", "fiber01", "DLS", "left", -1],
            ["Region1G", "fiber00", "DMS", "", 1],
            ["Region0G", "unknown", "unknown", "", 0],
        ]

    def test_what_is_not_known_is_not_invented(self, tmp_path):
        _, nwbfile = add(make_session(tmp_path))
        described = nwbfile.lab_meta_data["fiber_photometry"]
        assert np.isnan(described.fiber_photometry_table["emission_wavelength_in_nm"].data).all()
        assert {i.label for i in described.fiber_photometry_indicators.indicators.values()} == {"unknown"}
        assert not nwbfile.device_models

    def test_what_the_user_knows(self, tmp_path):
        metadata = {
            "NWBFile": {"session_start_time": "2023-05-18T10:00:00+01:00"},
            "Devices": {
                "photometry_fiber01": {"fiber_insertion": {"depth_in_mm": 3.5}, "device_model_metadata_key": "cannula"}
            },
            "DeviceModels": {
                "cannula": {
                    "type": "OpticalFiberModel",
                    "name": "Cannula",
                    "manufacturer": "Doric",
                    "numerical_aperture": 0.39,
                }
            },
            "FiberPhotometry": {
                "FiberPhotometryIndicators": {"photometry_indicator_green": {"label": "GCaMP6f"}},
                "FiberPhotometryTable": {"rows": {"photometry_gcamp_region0g": {"emission_wavelength_in_nm": 525.0}}},
                "photometry_gcamp": {"name": "CalciumSignal"},
            },
        }
        converter = IBLConverter(source_data={"Photometry": {"session_path": str(make_session(tmp_path))}})
        merged = converter.merge_metadata(metadata)
        converter.validate_metadata(merged)
        nwbfile = converter.create_nwbfile(merged)
        described = nwbfile.lab_meta_data["fiber_photometry"]
        (indicator,) = described.fiber_photometry_indicators.indicators.values()
        assert indicator.label == "GCaMP6f"
        rows = described.fiber_photometry_table.to_dataframe()
        known = rows[rows["notes"].str.contains("Region0G") & rows["notes"].str.contains("GCaMP, 470")]
        assert known["emission_wavelength_in_nm"].tolist() == [525.0]
        assert rows["emission_wavelength_in_nm"].isna().sum() == len(rows) - 1
        fiber = nwbfile.devices["fiber01"]
        assert (fiber.fiber_insertion.depth_in_mm, fiber.model.numerical_aperture) == (3.5, 0.39)
        assert "CalciumSignal" in nwbfile.acquisition

    def test_stub(self, tmp_path):
        _, nwbfile = add(save(tmp_path, make_signal([ISOSBESTIC, GCAMP] * 150)), stub_test=True)
        assert len(nwbfile.acquisition["FiberPhotometryGCaMP"].data) == 100
        assert len(nwbfile.acquisition["FiberPhotometryFrames"]) == 100

    def test_aligned_times_are_those_of_frames_and_series(self, tmp_path):
        interface = PhotometryInterface(make_session(tmp_path))
        interface.set_aligned_timestamps(interface.get_original_timestamps() + 5)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        stored = pd.read_parquet(tmp_path / "alf/photometry" / SIGNAL)
        assert_array_equal(nwbfile.acquisition["FiberPhotometryFrames"]["timestamp"].data, stored["times"] + 5)
        times = stored.loc[stored["name"] == "RCaMP", "times"] + 5
        assert_array_equal(nwbfile.acquisition["FiberPhotometryRCaMP"].timestamps, times)

    def test_sources_are_named(self, tmp_path):
        _, nwbfile = add(make_session(tmp_path))
        assert f"alf/photometry/{SIGNAL}" in nwbfile.acquisition["FiberPhotometryGCaMP"].comments
        assert f"alf/photometry/{LOCATIONS}" in nwbfile.acquisition["FiberPhotometryROIs"].description


LIGHTS = st.lists(st.sampled_from([ISOSBESTIC, GCAMP, RCAMP, BOTH, DARK]), min_size=1, max_size=40)


@given(LIGHTS, st.integers(1, 3))
def test_any_order_of_lights_gives_every_frame_back(tmp_path_factory, lights, n_rois):
    rois = ["Region0G", "Region1R", "Region2G"][:n_rois]
    stored = make_signal(lights, rois)
    _, nwbfile = add(save(tmp_path_factory.mktemp("lights"), stored))
    table = nwbfile.acquisition["FiberPhotometryFrames"].to_dataframe()
    rebuilt = np.full((len(lights), n_rois), -1.0)
    for name in {name for name, _, _ in lights}:
        series = nwbfile.acquisition.get(f"FiberPhotometry{name.replace('+', '')}")
        if series is not None:
            rebuilt[table["light_name"] == name] = np.asarray(series.data).reshape(-1, n_rois)
    others = nwbfile.acquisition.get("FiberPhotometryOtherFrames")
    if others is not None:
        rebuilt[others["frame"].data] = np.column_stack([others[roi].data for roi in rois])
    assert_array_equal(rebuilt, stored[rois].to_numpy())


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda table: table.drop(columns="times"), "lacks the column times"),
            (lambda table: table[:0], "has no rows"),
            (lambda table: table.drop(columns=["Region0G", "Region1G"]), "no column of a region of interest"),
            (lambda table: table.assign(times=table["times"].where(table.index != 4)), "nan as the time of row 4"),
            (lambda table: table.assign(times=table["times"].to_numpy()[::-1]), "go backwards"),
        ],
    )
    def test_signal_that_cannot_be(self, tmp_path, change, message):
        save(tmp_path, change(make_signal([ISOSBESTIC, GCAMP] * 9)))
        with pytest.raises(DatasetInconsistentError, match=message) as error:
            add(tmp_path)
        assert str(tmp_path / "alf/photometry" / SIGNAL) in str(error.value)

    def test_region_of_interest_twice(self, tmp_path):
        save(tmp_path, make_signal([GCAMP] * 9), make_locations(("Region0G", "Region0G")))
        with pytest.raises(DatasetInconsistentError, match="more than once: Region0G, Region0G"):
            add(tmp_path)

    @pytest.mark.parametrize("name", [SIGNAL, LOCATIONS])
    def test_damaged_file(self, tmp_path, name):
        path = make_session(tmp_path) / "alf/photometry" / name
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DatasetUnreadableError, match=name):
            add(tmp_path)

    def test_locations_alone(self, tmp_path):
        (make_session(tmp_path) / "alf/photometry" / SIGNAL).unlink()
        with pytest.raises(DatasetMissingError, match="nothing for PhotometryInterface"):
            PhotometryInterface(tmp_path)
        (row,) = inspect_session(ALFSession(tmp_path))
        assert row.reason == f"Photometry reads it only beside {SIGNAL}"

    def test_table_of_other_photometry_is_there(self, tmp_path):
        _, nwbfile = add(save(tmp_path / "first", make_signal([GCAMP] * 9)))
        with pytest.raises(UsageError, match="with 2 rows"):
            PhotometryInterface(make_session(tmp_path / "second")).add_to_nwbfile(nwbfile)


@needs_real_data
def test_fibers_of_a_real_session(tmp_path):
    stored = pd.read_parquet(FIP / "alf/photometry" / LOCATIONS)
    signal = make_signal([ISOSBESTIC, GCAMP] * 50, rois=tuple(stored.index))
    shutil.copytree(FIP, tmp_path / "session")
    save(tmp_path / "session", signal)
    document = make_document(tmp_path / "session", timezone="UTC", session_start_time="2023-05-18T10:00:00")
    path = convert_document(document, tmp_path / "a.nwb").nwbfile_path
    nwbfile = read_nwb(path)
    check_light(nwbfile, signal, "GCaMP", rois=stored.index, regions=stored["brain_region"])
    table = nwbfile.acquisition["FiberPhotometryROIs"].to_dataframe().set_index("roi")
    assert table.loc["Region1G", ["fiber", "brain_region"]].tolist() == ["fiber00", "DMS"]
    assert_array_equal(table["fiber"], stored["fiber"])
    nwbfile.read_io.close()
    assert verify(path, tmp_path / "session").ok


# Raw data and verification

RAW = {
    "_neurophotometrics_fpData.raw.pqt": "on the clock of the photometry system",
    "_neurophotometrics_fpData.digitalInputs.pqt": "pulses",
    "_neurophotometrics_fpData.digitalIntputs.pqt": "pulses",
    "_neurophotometrics_fpData.channels.csv": "decodes the state of the lights",
    "_mcc_DAQdata.raw.tdms": "a board other than a NIDQ",
}


def test_raw_photometry_data_are_left_out_with_a_reason(tmp_path):
    (make_session(tmp_path) / "raw_photometry_data").mkdir()
    for name in RAW:
        (tmp_path / "raw_photometry_data" / name).touch()
    rows = {row.relative_path: row for row in inspect_session(ALFSession(tmp_path))}
    for name, reason in RAW.items():
        assert reason in rows[f"raw_photometry_data/{name}"].reason
    assert rows[f"alf/photometry/{SIGNAL}"].interfaces == ("Photometry",)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Path of the file of an example session, and of the session."""
    folder = tmp_path_factory.mktemp("written")
    session_path = make_example_session(
        folder, probes=(), raw_bands=(), cameras=(), audio=False, n_trials=5, photometry=True, optogenetics=True
    )
    record = AlyxRecord.from_rest(**example_alyx_answers(session_path))
    path = convert_document(make_document(session_path, alyx=record), folder / "a.nwb").nwbfile_path
    return path, session_path


def test_example_session_is_valid_and_equal_to_its_file(written):
    path, session_path = written
    check_valid(path)
    report = verify(path, session_path)
    assert report.ok
    converted = {row.object for row in report if row.status == "equal"}
    assert {DATA, "acquisition/FiberPhotometryOtherFrames/Region0G", "acquisition/FiberPhotometryROIs/roi"} < converted


DATA, TIMES = "acquisition/FiberPhotometryGCaMP/data", "acquisition/FiberPhotometryGCaMP/timestamps"
FRAMES, TABLE = "acquisition/FiberPhotometryFrames", "general/fiber_photometry/fiber_photometry_table"
REGION = "acquisition/FiberPhotometryGCaMP/fiber_photometry_table_region"


def damage(written, folder, change):
    path, session_path = written
    copy = folder / "copy.nwb"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        change(file)
    return verify(copy, session_path)


def change_array(path, function):
    def change(file):
        file[path][...] = function(file[path][...])

    return change


@pytest.mark.parametrize(
    ("array", "change"),
    [
        (DATA, lambda values: values[:, ::-1]),
        (DATA, lambda values: np.roll(values, 1, axis=0)),
        (DATA, lambda values: np.float32(values)),
        (TIMES, lambda values: values + 1e-9),
        (f"{FRAMES}/timestamp", lambda values: np.roll(values, 1)),
        (f"{FRAMES}/wavelength", np.nan_to_num),
        (f"{FRAMES}/light_name", lambda values: values[::-1]),
        (f"{FRAMES}/light_color", lambda values: np.roll(values, 1)),
        (f"{FRAMES}/valid", lambda values: ~values),
        ("acquisition/FiberPhotometryOtherFrames/frame", lambda values: values + 1),
        ("acquisition/FiberPhotometryOtherFrames/Region2G", lambda values: values * 1.01),
        ("acquisition/FiberPhotometryROIs/fiber", lambda values: values[::-1]),
        ("acquisition/FiberPhotometryROIs/series_column", lambda values: values[::-1]),
    ],
)
def test_verification_finds_damage(written, tmp_path, array, change):
    report = damage(written, tmp_path, change_array(array, change))
    assert array in {row.object for row in report if row.status == "different"}


@pytest.mark.parametrize(
    ("array", "change", "told"),
    [
        (REGION, lambda values: values[::-1], f"{TABLE}/location"),
        (REGION, lambda values: (values + 3) % 6, f"{TABLE}/excitation_wavelength_in_nm"),
        (f"{TABLE}/location", lambda values: np.roll(values, 1), f"{TABLE}/location"),
    ],
)
def test_verification_finds_wrong_links(written, tmp_path, array, change, told):
    report = damage(written, tmp_path, change_array(array, change))
    assert told in {row.object for row in report if row.status == "different"}


@pytest.mark.parametrize("array", [DATA, TIMES, REGION, f"{FRAMES}/valid", "acquisition/FiberPhotometryROIs/roi"])
def test_verification_finds_what_is_gone(written, tmp_path, array):
    def remove(file):
        del file[array]

    assert array in {row.object for row in damage(written, tmp_path, remove) if row.status == "missing"}
