"""EphysQCInterface: the tables of the raw-data quality control as stored, on the clocks of the probes."""

import numpy as np
import pandas as pd
import pytest
from family_checks import check_valid, convert
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin
from numpy.testing import assert_array_equal
from pynwb import read_nwb
from pynwb.event import TimestampVectorData
from pynwb.testing.mock.file import mock_NWBFile
from real_data import REAL, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError
from ibl_nwb.interfaces.ephys_qc import EphysQCInterface
from ibl_nwb.session import ALFSession
from ibl_nwb.testing._ephys_qc import ephys_qc_datasets
from ibl_nwb.testing._files import write_datasets

N_CHANNELS = 12


def make_qc(path, probes=("probe00", "probe01")):
    for number, probe in enumerate(probes):
        datasets = ephys_qc_datasets(
            probe,
            n_channels=N_CHANNELS,
            ap_rate_hz=30_000.0,
            duration_s=600.0,
            is_current_era=number == 0,
            generator=np.random.default_rng(number),
        )
        write_datasets(path, datasets)
    return path


def qc_file(path, name, probe="probe00"):
    return path / f"raw_ephys_data/{probe}/_iblqc_{name}"


def add(path, metadata=None, probe_name="probe00", **options):
    nwbfile = mock_NWBFile()
    EphysQCInterface(path, probe_name=probe_name).add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile.processing["ecephys_qc"].data_interfaces


def equal(column, expected):
    assert_array_equal(column.data[:], expected)
    assert column.data.dtype == expected.dtype


def check_probe(tables, path, probe):
    """Every dataset of a probe, read by plain NumPy and pandas."""
    label = probe.capitalize()
    for band in ("AP", "LF"):
        for table, columns in (
            ("EphysTimeRms", {"time_probe": "timestamps", "rms": "rms"}),
            ("EphysSpectralDensity", {"frequency": "freqs", "power": "power"}),
        ):
            for column, attribute in columns.items():
                stored = np.load(qc_file(path, f"e{table[1:]}{band}.{attribute}.npy", probe))
                equal(tables[f"{table}{band}{label}"][column], stored)
    if not qc_file(path, "ephysChannels.labels.npy", probe).is_file():
        return
    channels = tables[f"EphysChannels{label}"]
    raw, destriped = np.load(qc_file(path, "ephysChannels.apRMS.npy", probe))
    equal(channels["ap_rms_raw"], raw)
    equal(channels["ap_rms_destriped"], destriped)
    equal(channels["raw_spike_rate"], np.load(qc_file(path, "ephysChannels.rawSpikeRates.npy", probe)))
    equal(channels["label"], np.load(qc_file(path, "ephysChannels.labels.npy", probe)))
    saturated = pd.read_parquet(qc_file(path, "ephysSaturation.samples.pqt", probe))
    for column in saturated:
        equal(tables[f"EphysSaturation{label}"][column], saturated[column].to_numpy())


class TestEphysQCWithNeuroConvsMixins(DataInterfaceTestMixin):
    data_interface_cls = EphysQCInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = make_qc(tmp_path_factory.mktemp("qc"))
        cls.interface_kwargs = {"session_path": str(cls.folder), "probe_name": "probe00"}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        check_probe(nwbfile.processing["ecephys_qc"], self.folder, "probe00")
        nwbfile.read_io.close()


@pytest.mark.parametrize("backend", ["hdf5", "zarr"])
def test_two_probes_beside_a_foreign_interface(tmp_path, backend):
    session_path = make_qc(tmp_path / "session")
    session = ALFSession(session_path)
    instances = {
        EphysQCInterface.get_instance_name(session, instance): (
            EphysQCInterface,
            {"session_path": str(session_path), **instance},
        )
        for instance in EphysQCInterface.get_instances(session)
    }
    assert list(instances) == ["EphysQCProbe00", "EphysQCProbe01"]
    path = tmp_path / "x.nwb"
    nwbfile = convert(instances, path, backend=backend, runs=2)
    for probe in ("probe00", "probe01"):
        check_probe(nwbfile.processing["ecephys_qc"], session_path, probe)
    nwbfile.read_io.close()
    if backend == "hdf5":
        check_valid(path)


class TestWritten:
    def test_sync_word_of_the_lf_band_is_kept(self, tmp_path):
        tables = add(make_qc(tmp_path))
        assert tables["EphysTimeRmsLFProbe00"]["rms"].data.shape[1] == N_CHANNELS + 1
        assert tables["EphysSpectralDensityLFProbe00"]["power"].data.shape == (513, N_CHANNELS + 1)

    def test_no_column_has_nwbs_type_for_session_times(self, tmp_path):
        tables = add(make_qc(tmp_path))
        assert not any(isinstance(column, TimestampVectorData) for table in tables.values() for column in table.columns)
        assert "not of the session" in tables["EphysTimeRmsAPProbe00"].description

    def test_labels_have_meanings(self, tmp_path):
        meanings = add(make_qc(tmp_path))["EphysChannelsProbe00"].meanings_tables["label_meanings"]
        assert meanings["value"].data.tolist() == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("kept", "table"),
        [
            ("ephysTimeRmsAP.rms", "EphysTimeRmsAPProbe00"),
            ("ephysSpectralDensityLF.power", "EphysSpectralDensityLFProbe00"),
            ("ephysChannels.labels", "EphysChannelsProbe00"),
            ("ephysSaturation.samples", "EphysSaturationProbe00"),
        ],
    )
    def test_any_dataset_may_be_the_only_one(self, tmp_path, kept, table):
        make_qc(tmp_path, probes=("probe00",))
        for path in (tmp_path / "raw_ephys_data/probe00").iterdir():
            if kept not in path.name:
                path.unlink()
        assert set(add(tmp_path)) == {table}

    def test_legacy_name_of_the_power(self, tmp_path):
        path = qc_file(make_qc(tmp_path), "ephysSpectralDensityAP.power.npy")
        stored = np.load(path)
        path.rename(qc_file(tmp_path, "ephysSpectralDensityAP.amps.npy"))
        equal(add(tmp_path)["EphysSpectralDensityAPProbe00"]["power"], stored)

    def test_saturation_as_npy(self, tmp_path):
        qc_file(make_qc(tmp_path), "ephysSaturation.samples.pqt").unlink()
        samples = np.array([[5, 9], [80, 95]])
        np.save(qc_file(tmp_path, "ephysSaturation.samples.npy"), samples)
        table = add(tmp_path)["EphysSaturationProbe00"]
        equal(table["start_sample"], samples[:, 0])
        equal(table["stop_sample"], samples[:, 1])

    def test_nothing_saturated_no_table(self, tmp_path):
        path = qc_file(make_qc(tmp_path), "ephysSaturation.samples.pqt")
        pd.read_parquet(path).iloc[:0].to_parquet(path)
        interface = EphysQCInterface(tmp_path, probe_name="probe00")
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        assert "EphysSaturationProbe00" not in nwbfile.processing["ecephys_qc"].data_interfaces
        assert "no saturated stretch" in interface.notes[0]

    def test_stub_has_all_frequencies(self, tmp_path):
        tables = add(make_qc(tmp_path), stub_test=True)
        assert len(tables["EphysTimeRmsAPProbe00"]["rms"].data) == 100
        assert len(tables["EphysSpectralDensityAPProbe00"]["power"].data) == 513

    def test_users_names_are_written(self, tmp_path):
        metadata = {"EphysQC": {"ephys_qc_probe00": {"TimeRmsAP": {"name": "Noise"}}}}
        assert "Noise" in add(make_qc(tmp_path), metadata)


class TestBadInput:
    def test_unequal_lengths(self, tmp_path):
        np.save(qc_file(make_qc(tmp_path), "ephysTimeRmsAP.timestamps.npy"), np.zeros(7))
        with pytest.raises(DatasetInconsistentError, match="timestamps.npy: 7.*rms.npy: 300"):
            add(tmp_path)

    def test_channels_of_another_probe(self, tmp_path):
        np.save(qc_file(make_qc(tmp_path), "ephysChannels.labels.npy"), np.zeros(7))
        with pytest.raises(DatasetInconsistentError, match="label: 7"):
            add(tmp_path)

    @pytest.mark.parametrize("name", ["ephysChannels.apRMS.npy", "ephysSaturation.samples.npy"])
    def test_other_shape(self, tmp_path, name):
        qc_file(make_qc(tmp_path), "ephysSaturation.samples.pqt").unlink()
        np.save(qc_file(tmp_path, name), np.zeros((3, 3)))
        with pytest.raises(DatasetInconsistentError, match=r"shape \(3, 3\)"):
            add(tmp_path)

    def test_truncated_file(self, tmp_path):
        path = qc_file(make_qc(tmp_path), "ephysTimeRmsLF.rms.npy")
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DatasetUnreadableError, match="ephysTimeRmsLF.rms"):
            add(tmp_path)

    def test_nothing_there(self, tmp_path):
        (tmp_path / "alf").mkdir()
        np.save(tmp_path / "alf/licks.times.npy", [1.0])
        with pytest.raises(DatasetMissingError, match="nothing for EphysQCInterface"):
            EphysQCInterface(tmp_path, probe_name="probe00")


@needs_real_data
def test_real_noise_of_384_channels(tmp_path):
    """The numbers are real, the file is made of them."""
    table = pd.read_parquet(REAL / "paper-reproducible-ephys/ap_rms_per_channel.pqt")
    columns = [name for name in table.select_dtypes("number") if "rms" in name.lower()][:2]
    rms = table[columns].to_numpy()[:384].T
    qc_file(tmp_path, "ephysChannels.apRMS.npy").parent.mkdir(parents=True)
    np.save(qc_file(tmp_path, "ephysChannels.apRMS.npy"), rms)
    written = add(tmp_path)["EphysChannelsProbe00"]
    equal(written["ap_rms_raw"], rms[0])
    equal(written["ap_rms_destriped"], rms[1])
