"""AudioSpectrogramInterface: power, frequencies and both clocks as stored, and the microphone's clock told apart."""

from datetime import UTC, datetime

import numpy as np
import pynwb
import pytest
from jsonschema import Draft7Validator
from neuroconv import NWBConverter
from neuroconv.tools.testing import MockEventsInterface, MockTimeSeriesInterface
from neuroconv.tools.testing.data_interface_mixins import DataInterfaceTestMixin, TemporalAlignmentMixin
from numpy.testing import assert_array_equal
from nwbinspector import Importance, inspect_nwbfile, load_config
from pynwb import read_nwb
from pynwb.event import EventsTable, TimestampVectorData
from pynwb.testing.mock.file import mock_NWBFile
from real_data import CHIMERA, REAL, needs_real_data

from ibl_nwb.errors import DatasetInconsistentError, DatasetMissingError, DatasetUnreadableError
from ibl_nwb.interfaces.audio_spectrogram import AudioSpectrogramInterface
from ibl_nwb.session import ALFSession

LEAD_S = 1.7234


def make_audio(folder, *, collection="raw_behavior_data", n_windows=160, without=(), seed=0, **replaced):
    """The files of one microphone, in the shapes and types of a rig's; fewer windows than frequencies."""
    rng = np.random.default_rng(seed)
    times_mic = (0.6827 * np.arange(1, n_windows + 1, dtype="float32"))[:, None]
    arrays = {
        "audioSpectrogram.power": rng.gamma(2.0, 1e-2, (n_windows, 257)).astype("float32"),
        "audioSpectrogram.frequencies": (375 * np.arange(257, dtype="float32"))[None, :],
        "audioSpectrogram.times_mic": times_mic,
        "audioSpectrogram.times": times_mic - np.float32(LEAD_S),
        "audioOnsetGoCue.times_mic": np.cumsum(rng.uniform(2, 8, 150)),
    }
    arrays |= {name.replace("__", "."): values for name, values in replaced.items()}
    (folder / collection).mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        if name not in without:
            np.save(folder / collection / f"_iblmic_{name}.npy", values)
    return folder


def load(folder, name, collection="raw_behavior_data"):
    return np.load(folder / collection / f"_iblmic_{name}.npy")


def add(folder, metadata=None, *, collection=None, **options):
    nwbfile = mock_NWBFile()
    AudioSpectrogramInterface(folder, collection=collection).add_to_nwbfile(nwbfile, metadata, **options)
    return nwbfile.processing["audio"]


def assert_holds(audio, folder):
    """Every value of the files is in the module, bit for bit; power and frequencies of the same type."""
    spectrogram, power = audio["AudioSpectrogram"], load(folder, "audioSpectrogram.power")
    assert list(spectrogram.colnames) == ["timestamp", "time_mic", "power"]
    assert_array_equal(spectrogram["power"][:], power)
    assert spectrogram["power"].data.dtype == power.dtype == "float32"
    for column, name in (("timestamp", "times"), ("time_mic", "times_mic")):
        stored = load(folder, f"audioSpectrogram.{name}")
        assert_array_equal(spectrogram[column][:], stored[:, 0])
        assert spectrogram[column].data.dtype == "float64"
    frequency = audio["AudioSpectrogramFrequencies"]["frequency"]
    assert_array_equal(frequency[:], load(folder, "audioSpectrogram.frequencies")[0])
    assert frequency.data.dtype == "float32"
    onsets = audio["AudioOnsetGoCueMicrophoneClock"]
    assert isinstance(onsets, EventsTable)
    assert_array_equal(onsets["timestamp"][:], load(folder, "audioOnsetGoCue.times_mic"))


@pytest.fixture(scope="class")
def audio_session(tmp_path_factory):
    return make_audio(tmp_path_factory.mktemp("audio"))


class TestAudioWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = AudioSpectrogramInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, audio_session):
        cls.interface_kwargs = {"session_path": str(audio_session)}
        cls.folder = audio_session

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        assert_holds(nwbfile.processing["audio"], self.folder)
        nwbfile.read_io.close()


class TestMicrophoneClockWithNeuroConvsMixins(DataInterfaceTestMixin, TemporalAlignmentMixin):
    data_interface_cls = AudioSpectrogramInterface

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def setup_session(cls, tmp_path_factory):
        cls.folder = make_audio(tmp_path_factory.mktemp("audio"), without=("audioSpectrogram.times",))
        cls.interface_kwargs = {"session_path": str(cls.folder)}

    def check_read_nwb(self, nwbfile_path):
        nwbfile = read_nwb(nwbfile_path)
        spectrogram = nwbfile.processing["audio"]["AudioSpectrogramMicrophoneClock"]
        assert_array_equal(spectrogram["time_mic"][:], load(self.folder, "audioSpectrogram.times_mic")[:, 0])
        assert_array_equal(spectrogram["power"][:], load(self.folder, "audioSpectrogram.power"))
        nwbfile.read_io.close()


class TestInConverters:
    def make_converter(self, folder):
        class Converter(NWBConverter):
            data_interface_classes = {
                "Foreign": MockTimeSeriesInterface,
                "ForeignEvents": MockEventsInterface,
                "AudioSpectrogram": AudioSpectrogramInterface,
            }

        return Converter({"Foreign": {}, "ForeignEvents": {}, "AudioSpectrogram": {"session_path": str(folder)}})

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_beside_foreign_interfaces_and_twice_in_a_row(self, tmp_path, backend):
        folder = make_audio(tmp_path / "session")
        converter = self.make_converter(folder)
        Draft7Validator.check_schema(converter.get_metadata_schema())
        metadata = converter.get_metadata()
        metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18, tzinfo=UTC)
        for run in range(2):
            converter.run_conversion(tmp_path / f"{run}.nwb", metadata=metadata, backend=backend)
            nwbfile = read_nwb(tmp_path / f"{run}.nwb")
            assert_holds(nwbfile.processing["audio"], folder)
            assert len(nwbfile.acquisition) == 1
            assert "AudioOnsetGoCueMicrophoneClock" not in nwbfile.events
            nwbfile.read_io.close()

    @pytest.mark.parametrize("options", [{}, {"stub_test": True}])
    def test_nothing_for_the_inspector_and_the_validator_to_find(self, tmp_path, options):
        interface = AudioSpectrogramInterface(make_audio(tmp_path / "session"))
        metadata = interface.get_metadata()
        metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18, tzinfo=UTC)
        metadata["Subject"] = {"subject_id": "M1", "sex": "F", "species": "Mus musculus", "age": "P90D"}
        nwbfile_path = tmp_path / "audio.nwb"
        interface.run_conversion(nwbfile_path, metadata=metadata, **options)
        assert pynwb.validate(path=nwbfile_path) == []
        found = inspect_nwbfile(
            nwbfile_path=nwbfile_path,
            skip_validate=True,
            config=load_config("dandi"),
            importance_threshold=Importance.BEST_PRACTICE_VIOLATION,
        )
        assert [message.message for message in found] == []


class TestWritten:
    def test_unit_and_sources_are_said(self, tmp_path):
        audio = add(make_audio(tmp_path))
        description = audio["AudioSpectrogram"].description
        assert "(sample unit)^2/Hz" in description
        assert "not volts" in description
        assert "raw_behavior_data/_iblmic_audioSpectrogram.times.npy" in description
        assert "Hz" in audio["AudioSpectrogramFrequencies"]["frequency"].description

    def test_only_session_times_have_nwbs_type_for_them(self, tmp_path):
        spectrogram = add(make_audio(tmp_path))["AudioSpectrogram"]
        assert isinstance(spectrogram["timestamp"], TimestampVectorData)
        assert not isinstance(spectrogram["time_mic"], TimestampVectorData)

    def test_microphone_clock_is_in_name_and_description(self, tmp_path):
        audio = add(make_audio(tmp_path, without=("audioSpectrogram.times",)))
        spectrogram = audio["AudioSpectrogramMicrophoneClock"]
        assert "AudioSpectrogram" not in audio.data_interfaces
        assert list(spectrogram.colnames) == ["time_mic", "power"]
        assert "on the microphone clock: its times are not aligned" in spectrogram.description
        assert spectrogram.description.count("times_mic.npy") == 1
        assert "on the microphone clock" in audio["AudioOnsetGoCueMicrophoneClock"].description

    def test_session_times_without_microphone_times(self, tmp_path):
        audio = add(make_audio(tmp_path, without=("audioSpectrogram.times_mic",)))
        assert list(audio["AudioSpectrogram"].colnames) == ["timestamp", "power"]

    def test_microphone_times_that_were_aligned_are_session_times(self, tmp_path):
        interface = AudioSpectrogramInterface(make_audio(tmp_path, without=("audioSpectrogram.times",)))
        assert not interface.is_aligned
        interface.set_aligned_starting_time(-LEAD_S)
        nwbfile = mock_NWBFile()
        interface.add_to_nwbfile(nwbfile)
        spectrogram = nwbfile.processing["audio"]["AudioSpectrogram"]
        times_mic = load(tmp_path, "audioSpectrogram.times_mic")[:, 0]
        assert_array_equal(spectrogram["timestamp"].data, times_mic.astype("float64") - LEAD_S)
        assert_array_equal(spectrogram["time_mic"].data, times_mic)

    @pytest.mark.parametrize("onsets", [None, np.empty(0)])
    def test_no_go_cue_heard_no_table(self, tmp_path, onsets):
        left_out = {"without": ("audioOnsetGoCue.times_mic",)} if onsets is None else {}
        make_audio(tmp_path, **left_out, **({} if onsets is None else {"audioOnsetGoCue__times_mic": onsets}))
        assert set(add(tmp_path).data_interfaces) == {"AudioSpectrogram", "AudioSpectrogramFrequencies"}

    def test_flat_times_and_frequencies_are_taken_too(self, tmp_path):
        make_audio(
            tmp_path,
            n_windows=9,
            audioSpectrogram__times=np.arange(9.0),
            audioSpectrogram__frequencies=np.arange(257.0),
        )
        audio = add(tmp_path)
        assert_array_equal(audio["AudioSpectrogram"]["timestamp"].data, np.arange(9.0))
        assert_array_equal(audio["AudioSpectrogramFrequencies"]["frequency"].data, np.arange(257.0))

    def test_stub(self, tmp_path):
        audio = add(make_audio(tmp_path), stub_test=True)
        assert audio["AudioSpectrogram"]["power"].data.shape == (100, 257)
        assert len(audio["AudioSpectrogram"]["timestamp"]) == len(audio["AudioOnsetGoCueMicrophoneClock"]) == 100

    def test_second_task_has_names_of_its_own(self, tmp_path):
        for seed, collection in enumerate(("raw_task_data_00", "raw_task_data_01")):
            make_audio(tmp_path, collection=collection, seed=seed)
        nwbfile = mock_NWBFile()
        for instance in AudioSpectrogramInterface.get_instances(ALFSession(tmp_path)):
            AudioSpectrogramInterface(tmp_path, **instance).add_to_nwbfile(nwbfile)
        for collection, label in (("raw_task_data_00", ""), ("raw_task_data_01", "RawTaskData01")):
            power = nwbfile.processing["audio"][f"AudioSpectrogram{label}"]["power"]
            assert_array_equal(power.data, load(tmp_path, "audioSpectrogram.power", collection))

    def test_users_names_are_written(self, tmp_path):
        names = {"Spectrogram": {"name": "Sound"}, "Frequencies": {"name": "SoundFrequencies"}}
        audio = add(make_audio(tmp_path), {"AudioSpectrogram": {"audio_spectrogram": names}})
        assert {"Sound", "SoundFrequencies"} < set(audio.data_interfaces)


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("audioSpectrogram__times", "power.npy: 160.*times.npy: 159"),
            ("audioSpectrogram__times_mic", "power.npy: 160.*times_mic.npy: 159"),
        ],
    )
    def test_unequal_lengths(self, tmp_path, name, message):
        make_audio(tmp_path, **{name: np.arange(159.0)[:, None]})
        with pytest.raises(DatasetInconsistentError, match=message):
            add(tmp_path)

    @pytest.mark.parametrize("frequencies", [np.zeros((1, 256)), np.zeros((1, 0))])
    def test_other_number_of_frequencies(self, tmp_path, frequencies):
        make_audio(tmp_path, audioSpectrogram__frequencies=frequencies)
        with pytest.raises(DatasetInconsistentError, match=rf"\(160, 257\).*{frequencies.size} frequencies"):
            add(tmp_path)

    def test_failure_leaves_no_module_behind(self, tmp_path):
        make_audio(tmp_path, audioSpectrogram__frequencies=np.zeros((1, 3)))
        nwbfile = mock_NWBFile()
        with pytest.raises(DatasetInconsistentError):
            AudioSpectrogramInterface(tmp_path).add_to_nwbfile(nwbfile)
        assert not nwbfile.processing

    @pytest.mark.parametrize("without", [(), ("audioSpectrogram.times",)])
    def test_times_that_go_backwards(self, tmp_path, without):
        backwards = np.arange(160.0)[::-1, None]
        make_audio(tmp_path, without=without, audioSpectrogram__times=backwards, audioSpectrogram__times_mic=backwards)
        with pytest.raises(DatasetInconsistentError, match="go backwards"):
            add(tmp_path)

    def test_truncated_file(self, tmp_path):
        make_audio(tmp_path)
        path = tmp_path / "raw_behavior_data/_iblmic_audioSpectrogram.power.npy"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DatasetUnreadableError, match=r"audioSpectrogram\.power\.npy"):
            add(tmp_path)

    def test_no_times_at_all(self, tmp_path):
        make_audio(tmp_path, without=("audioSpectrogram.times", "audioSpectrogram.times_mic"))
        with pytest.raises(DatasetMissingError, match="times.npy or audioSpectrogram.times_mic.npy is missing"):
            AudioSpectrogramInterface(tmp_path)


@needs_real_data
@pytest.mark.parametrize(
    "folder", [CHIMERA, REAL / "ibllib/sessions/mainenlab/Subjects/_iblrig_test_mouse/2019-07-01/001"]
)
def test_real_spectrograms(folder):
    assert_holds(add(folder), folder)
