"""IBLConverter: what it finds in a session, which names it takes, how metadata are merged and checked."""

import json
from datetime import datetime

import h5py
import numpy as np
import pytest
from neuroconv import ConverterPipe, NWBConverter
from neuroconv.tools.testing import MockTimeSeriesInterface
from pynwb import read_nwb

from ibl_nwb import AlyxRecord, IBLConverter, TrialsInterface, WheelInterface
from ibl_nwb.errors import (
    DatasetMissingError,
    DocumentError,
    MetadataIncompleteError,
    OutputExistsError,
    UsageError,
)
from ibl_nwb.testing import example_alyx_answers, make_example_session

SMALL = dict(n_channels=16, raw_duration_s=0.2, spikes_per_probe=2000, n_trials=20)


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_example_session(tmp_path_factory.mktemp("sessions"), **SMALL)


@pytest.fixture(scope="module")
def record(session_path):
    return AlyxRecord.from_rest(**example_alyx_answers(session_path))


@pytest.fixture(scope="module")
def behaviour_path(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("behaviour"), probes=(), raw_bands=(), cameras=(), audio=False, n_trials=10
    )


def start_time_given(converter, **nwbfile_metadata):
    return converter.merge_metadata(
        {"NWBFile": {"session_start_time": "2023-05-18T12:00:00+01:00", **nwbfile_metadata}}
    )


class TestFinding:
    def test_everything_in_the_example_session(self, session_path):
        assert list(IBLConverter.from_session(session_path).data_interface_objects) == [
            "RawEphysAPProbe00",
            "RawEphysAPProbe01",
            "RawEphysLFProbe00",
            "RawEphysLFProbe01",
            "SortedSpikesProbe00",
            "SortedSpikesProbe01",
            "SortingTemplatesProbe00",
            "SortingTemplatesProbe01",
            "Trials",
            "Wheel",
            "PoseBodyCamera",
            "PoseLeftCamera",
            "PoseRightCamera",
            "PupilLeftCamera",
            "PupilRightCamera",
            "MotionEnergyBodyCamera",
            "MotionEnergyLeftCamera",
            "MotionEnergyRightCamera",
            "PawStatesLeftCamera",
            "PawStatesRightCamera",
            "Licks",
            "AudioSpectrogram",
            "Sync",
            "NIDQ",
            "Passive",
            "AmbientSensors",
            "TaskSettings",
            "TaskSettingsRawPassiveData",
            "ExperimentDescription",
        ]

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            (dict(include=["Wheel"]), ["Wheel"]),
            (dict(include=["Pose"], exclude=["PoseLeftCamera"]), ["PoseBodyCamera", "PoseRightCamera"]),
            (dict(include=["SortedSpikesProbe01", "Trials"]), ["SortedSpikesProbe01", "Trials"]),
        ],
    )
    def test_families_and_instances_can_be_chosen(self, session_path, choice, expected):
        assert list(IBLConverter.from_session(session_path, **choice).data_interface_objects) == expected

    def test_what_reads_a_recording_twice_is_converted_only_when_asked_for(self, session_path):
        assert "ProbeSyncProbe00" not in IBLConverter.from_session(session_path).data_interface_objects
        assert (
            "ProbeSyncProbe00" in IBLConverter.from_session(session_path, include=["ProbeSync"]).data_interface_objects
        )

    @pytest.mark.parametrize("choice", ["include", "exclude"])
    def test_unknown_name_is_refused_with_the_nearest(self, session_path, choice):
        with pytest.raises(UsageError, match="no interface 'Weel'. Did you mean 'Wheel'"):
            IBLConverter.from_session(session_path, **{choice: ["Weel"]})

    def test_included_but_not_there(self, behaviour_path):
        with pytest.raises(DatasetMissingError, match="nothing for Pose.*It holds: Trials, Wheel"):
            IBLConverter.from_session(behaviour_path, include=["Pose", "Wheel"])

    def test_family_that_lacks_a_required_dataset_stops_unless_excluded(self, tmp_path):
        path = make_example_session(tmp_path, probes=(), raw_bands=(), cameras=(), audio=False, revisions=False)
        next((path / "alf").glob("_ibl_wheel.timestamps.npy")).unlink()
        with pytest.raises(DatasetMissingError, match="Wheel cannot be converted.*timestamps.*--exclude Wheel"):
            IBLConverter.from_session(path)
        converted = IBLConverter.from_session(path, exclude=["Wheel"]).data_interface_objects
        assert ("Wheel" in converted, "Trials" in converted) == (False, True)

    def test_revision_reaches_every_interface(self, session_path):
        converter = IBLConverter.from_session(session_path, include=["Wheel", "Trials"], revision="")
        for interface in converter.data_interface_objects.values():
            assert {dataset.revision for found in interface.sources.values() for dataset in found} == {""}

    def test_nothing_to_convert(self, tmp_path):
        (tmp_path / "alf").mkdir()
        np.save(tmp_path / "alf/eye.area.npy", [1.0])
        with pytest.raises(DatasetMissingError, match="nothing to convert.*ibl-nwb inspect"):
            IBLConverter.from_session(tmp_path)


class TestSourceData:
    def test_plain_call_of_an_nwbconverter(self, behaviour_path):
        converter = IBLConverter(source_data={"Wheel": {"session_path": str(behaviour_path)}})
        assert isinstance(converter.data_interface_objects["Wheel"], WheelInterface)

    @pytest.mark.parametrize("name", ["Weel", "wheel", "Wheelchair", ""])
    def test_unknown_name_is_refused(self, behaviour_path, name):
        with pytest.raises(UsageError, match="no interface"):
            IBLConverter(source_data={name: {"session_path": str(behaviour_path)}})

    def test_callers_source_data_are_not_changed(self, behaviour_path):
        source_data = {"Wheel": {"session_path": str(behaviour_path)}}
        IBLConverter(source_data=source_data)
        assert source_data == {"Wheel": {"session_path": str(behaviour_path)}}

    def test_source_data_fit_the_schema(self, session_path):
        import jsonschema

        from ibl_nwb.instances import find_source_data
        from ibl_nwb.session import ALFSession

        schema = IBLConverter.get_source_schema()
        source_data = find_source_data(ALFSession(session_path))
        jsonschema.validate(source_data, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"Nonsense": {}}, schema)

    def test_subclass_with_a_foreign_interface(self, behaviour_path, tmp_path):
        class MyConverter(IBLConverter):
            data_interface_classes = {**IBLConverter.data_interface_classes, "Mine": MockTimeSeriesInterface}

        converter = MyConverter({"Mine": {}, "Wheel": {"session_path": str(behaviour_path)}})
        converter.run_conversion(tmp_path / "a.nwb", metadata=start_time_given(converter))
        nwbfile = read_nwb(tmp_path / "a.nwb")
        assert len(nwbfile.acquisition) == 1
        assert "wheel" in nwbfile.processing
        nwbfile.read_io.close()

    def test_inside_a_pipe_and_a_converter(self, behaviour_path, tmp_path):
        ours = IBLConverter.from_session(behaviour_path)
        pipe = ConverterPipe({"IBL": ours, "Mine": MockTimeSeriesInterface()})
        metadata = pipe.get_metadata()
        metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18).astimezone()
        pipe.run_conversion(tmp_path / "a.nwb", metadata=metadata)
        nwbfile = read_nwb(tmp_path / "a.nwb")
        assert len(nwbfile.trials) == 10
        nwbfile.read_io.close()

        class Outer(NWBConverter):
            data_interface_classes = {"Trials": TrialsInterface, "Wheel": WheelInterface}

        outer = Outer({name: {"session_path": str(behaviour_path)} for name in ("Trials", "Wheel")})
        assert {"Trials", "Wheel"} <= set(outer.get_metadata_schema()["properties"])


class TestMetadata:
    def test_folder_alone(self, behaviour_path):
        metadata = IBLConverter.from_session(behaviour_path, timezone="Europe/Lisbon").get_metadata()
        settings = json.loads((behaviour_path / "raw_behavior_data/_iblrig_taskSettings.raw.json").read_text())
        assert metadata["NWBFile"]["session_start_time"] == settings["SESSION_DATETIME"] + "+01:00"
        assert metadata["NWBFile"]["lab"] == "examplelab"
        assert metadata["NWBFile"]["identifier"] == "EX_001_2023-05-18_001"
        assert metadata["Subject"]["subject_id"] == "EX_001"
        assert float(metadata["Subject"]["weight"].removesuffix(" kg")) * 1000 == pytest.approx(
            settings["SUBJECT_WEIGHT"]
        )

    def test_alyx_wins_over_the_folder(self, session_path, record):
        metadata = IBLConverter.from_session(session_path, alyx=record).get_metadata()
        assert metadata["NWBFile"]["identifier"] == metadata["NWBFile"]["session_id"] == str(record.session.id)
        assert metadata["Subject"]["species"] == "Mus musculus"

    def test_record_can_be_a_path(self, session_path, record, tmp_path):
        record.write_json(tmp_path / "record.json")
        converter = IBLConverter.from_session(session_path, alyx=tmp_path / "record.json")
        assert converter.alyx == record

    def test_users_lists_and_values_replace(self, session_path, record):
        converter = IBLConverter.from_session(session_path, alyx=record, include=["Wheel"])
        given = {"NWBFile": {"experimenter": ["Doe, Jane"], "keywords": ["a", "a"]}, "Subject": {"sex": "U"}}
        metadata = converter.merge_metadata(given)
        assert metadata["NWBFile"]["experimenter"] == ["Doe, Jane"]
        assert metadata["NWBFile"]["keywords"] == ["a", "a"]
        assert metadata["Subject"]["sex"] == "U"
        assert metadata["Subject"]["species"] == "Mus musculus"

    def test_blank_changes_nothing(self, session_path, record):
        converter = IBLConverter.from_session(session_path, alyx=record, include=["Wheel"])
        assert converter.merge_metadata({"Subject": {"species": None}})["Subject"]["species"] == "Mus musculus"

    def test_schema_is_valid_and_takes_the_metadata(self, session_path, record):
        from jsonschema import Draft7Validator

        converter = IBLConverter.from_session(session_path, alyx=record)
        Draft7Validator.check_schema(converter.get_metadata_schema())
        converter.validate_metadata(converter.get_metadata())

    @pytest.mark.parametrize(
        ("given", "place"),
        [
            ({"Weel": {}}, "block 'Weel'. Did you mean 'Wheel'"),
            ({"Wheel": {"weel": {}}}, "Wheel: There is no key 'weel'. Did you mean 'wheel'"),
            ({"Wheel": {"wheel": {"WheelPosition": {"nam": "a"}}}}, "WheelPosition: There is no key 'nam'"),
            ({"NWBFile": {"experimentr": ["a"]}}, "NWBFile.*experimentr"),
            ({"Subject": {"Sex": "M"}}, "Subject.*Sex"),
            ({"Subject": {"sex": "female"}}, "Subject.sex.*female"),
            ({"Ecephys": {"ElectricalSeries": {"raw_ephys_ap_probe09": {}}}}, "no key 'raw_ephys_ap_probe09'"),
            ({"Pose": {"PoseEstimations": {"pose_left": {}}}}, "no key 'pose_left'"),
            ({"Trials": {"trials": {"columns": {"choise": {}}}}}, "Did you mean 'choice'"),
        ],
    )
    def test_misspelt_key_is_refused_and_nothing_written(self, session_path, record, tmp_path, given, place):
        converter = IBLConverter.from_session(session_path, alyx=record)
        with pytest.raises(DocumentError, match=place):
            converter.run_conversion(tmp_path / "a.nwb", metadata=converter.merge_metadata(given))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "left_out",
        [["RawEphys"], ["SortedSpikesProbe01", "RawEphysAPProbe01", "RawEphysLFProbe01"], ["Trials", "Pose"]],
    )
    def test_metadata_of_what_is_left_out_are_no_mistake(self, session_path, record, left_out):
        everything = IBLConverter.from_session(session_path, alyx=record).get_metadata()
        converter = IBLConverter.from_session(session_path, alyx=record, exclude=left_out)
        converter.validate_metadata(converter.merge_metadata(everything))
        with pytest.raises(DocumentError, match="misspelt"):
            converter.validate_metadata(converter.merge_metadata({**everything, "misspelt": {}}))

    def test_own_device_may_be_added(self, session_path, record):
        converter = IBLConverter.from_session(session_path, alyx=record, include=["PoseLeftCamera"])
        merged = converter.merge_metadata({"Devices": {"my_lens": {"name": "Lens"}}})
        converter.validate_metadata(merged)
        assert merged["Devices"]["my_lens"] == {"name": "Lens"}
        assert len(merged["Devices"]) == 1 + len(converter.get_metadata()["Devices"])
        with pytest.raises(DocumentError, match="Devices.my_lens"):
            converter.validate_metadata(converter.merge_metadata({"Devices": {"my_lens": "Lens"}}))

    def test_start_time_without_zone_asks_for_the_zone(self, behaviour_path):
        converter = IBLConverter.from_session(behaviour_path)
        with pytest.raises(MetadataIncompleteError, match="2023-05-18T.*--timezone"):
            converter.validate_metadata(converter.get_metadata())

    def test_no_start_time_asks_for_it(self, tmp_path):
        (tmp_path / "alf").mkdir()
        for name in ("position", "timestamps"):
            np.save(tmp_path / f"alf/_ibl_wheel.{name}.npy", np.arange(3.0))
        converter = IBLConverter.from_session(tmp_path)
        with pytest.raises(MetadataIncompleteError, match="--session-start-time.*--metadata.*--alyx"):
            converter.validate_metadata(converter.get_metadata())

    @pytest.mark.parametrize(
        ("start_time", "error", "message"),
        [
            ("2023-05-18T12:00:00", MetadataIncompleteError, "has no time zone"),
            ("last Tuesday", DocumentError, "not an ISO 8601 time"),
        ],
    )
    def test_start_time_that_will_not_do(self, behaviour_path, start_time, error, message):
        converter = IBLConverter.from_session(behaviour_path)
        with pytest.raises(error, match=message):
            converter.validate_metadata(converter.merge_metadata({"NWBFile": {"session_start_time": start_time}}))

    def test_date_of_birth_that_is_no_date_is_refused(self, behaviour_path, tmp_path):
        converter = IBLConverter.from_session(behaviour_path, timezone="Europe/Lisbon", include=["Wheel"])
        metadata = converter.merge_metadata({"Subject": {"date_of_birth": "yesterday"}})
        with pytest.raises(DocumentError, match="Subject.date_of_birth: 'yesterday' is not an ISO 8601 date"):
            converter.run_conversion(tmp_path / "a.nwb", metadata=metadata)
        assert list(tmp_path.iterdir()) == []

    def test_unknown_time_zone(self, behaviour_path):
        with pytest.raises(UsageError, match="no time zone 'Lisbon'"):
            IBLConverter.from_session(behaviour_path, timezone="Lisbon").get_metadata()

    def test_unknown_conversion_option(self, behaviour_path, tmp_path):
        converter = IBLConverter.from_session(behaviour_path)
        with pytest.raises(DocumentError, match="Wheel.*write_velocty"):
            converter.run_conversion(
                tmp_path / "a.nwb",
                metadata=start_time_given(converter),
                conversion_options={"Wheel": {"write_velocty": True}},
            )


class TestWriting:
    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_whole_session(self, session_path, record, tmp_path, backend):
        converter = IBLConverter.from_session(session_path, alyx=record)
        converter.run_conversion(tmp_path / "a.nwb", backend=backend)
        nwbfile = read_nwb(tmp_path / "a.nwb")
        series = {f"ElectricalSeries{band}Probe0{probe}" for band in ("AP", "LF") for probe in (0, 1)}
        assert set(nwbfile.acquisition) == series | {"NIDQBpod", "NIDQDigitalWord"}
        assert set(nwbfile.units["probe_name"][:]) == {"probe00", "probe01"}
        assert len(nwbfile.electrodes) == 32
        assert dict(nwbfile.was_generated_by)["ibl-nwb"] == "0.1.0.dev0"
        nwbfile.read_io.close()

    def test_alyx_record_is_in_the_file_as_it_is_and_read_without_this_package(self, session_path, record, tmp_path):
        IBLConverter.from_session(session_path, alyx=record, include=["Wheel"]).run_conversion(tmp_path / "a.nwb")
        with h5py.File(tmp_path / "a.nwb") as file:
            table = file["analysis/AlyxRecord"]
            fields, values = table["field"].asstr()[:], [json.loads(text) for text in table["value"].asstr()[:]]

        def flatten(content, pointer):
            """Pointers and values as RFC 6901 defines them, none of whose special characters are in this record."""
            items = content.items() if isinstance(content, dict) else enumerate(content)
            for key, value in items:
                if isinstance(value, (dict, list)) and value:
                    yield from flatten(value, f"{pointer}/{key}")
                else:
                    yield f"{pointer}/{key}", value

        expected = dict(flatten(json.loads(record.to_json()), ""))
        assert len(expected) > 500
        assert dict(zip(fields, values, strict=True)) == expected

    def test_insertions_and_trajectories_are_tables(self, session_path, record, tmp_path):
        IBLConverter.from_session(session_path, alyx=record, include=["SortedSpikes"]).run_conversion(
            tmp_path / "a.nwb"
        )
        answers = example_alyx_answers(session_path)
        nwbfile = read_nwb(tmp_path / "a.nwb")
        insertions = nwbfile.analysis["ProbeInsertions"].to_dataframe().set_index("probe_name")
        assert {p["name"]: (p["id"], p["serial"]) for p in answers["insertions"]} == {
            name: (row["pid"], row["serial_number"]) for name, row in insertions.iterrows()
        }
        trajectories = nwbfile.analysis["ProbeTrajectories"].to_dataframe().set_index(["probe_name", "provenance"])
        assert len(trajectories) == len(answers["trajectories"])
        for expected in answers["trajectories"]:
            row = trajectories.loc[(expected["probe_name"], expected["provenance"])]
            written = [row[name] for name in ("entry_ml", "entry_ap", "entry_dv", "depth", "theta", "phi", "roll")]
            assert written == [expected[name] for name in ("x", "y", "z", "depth", "theta", "phi", "roll")]
        serials = {p["name"]: p["serial"] for p in answers["insertions"]}
        for name, group in nwbfile.electrode_groups.items():
            assert group.device.serial_number == serials[name]
        nwbfile.read_io.close()

    def test_record_with_nulls_everywhere(self, session_path, tmp_path):
        answers = example_alyx_answers(session_path)
        for trajectory in answers["trajectories"]:
            trajectory.update(x=None, theta=None, coordinate_system=None, json=None)
        for insertion in answers["insertions"]:
            insertion.update(model=None, serial="", json=None)
        record = AlyxRecord.from_rest(**answers)
        IBLConverter.from_session(session_path, alyx=record, include=["Wheel"]).run_conversion(tmp_path / "a.nwb")
        nwbfile = read_nwb(tmp_path / "a.nwb")
        assert np.isnan(nwbfile.analysis["ProbeTrajectories"]["entry_ml"][:]).all()
        assert set(nwbfile.analysis["ProbeInsertions"]["serial_number"][:]) == {""}
        nwbfile.read_io.close()

    def test_two_conversions_have_the_same_content(self, behaviour_path, tmp_path):
        def content(path):
            values = {}

            def visit(name, item):
                if isinstance(item, h5py.Dataset):
                    values[name] = item[()]

            with h5py.File(path) as file:
                file.visititems(visit)
            del values["file_create_date"]
            return {name: value for name, value in values.items() if not name.startswith("specifications")}

        for run in range(2):
            converter = IBLConverter.from_session(behaviour_path)
            converter.run_conversion(tmp_path / f"{run}.nwb", metadata=start_time_given(converter))
        first, second = content(tmp_path / "0.nwb"), content(tmp_path / "1.nwb")
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)

    def test_existing_file_is_kept_unless_overwritten(self, behaviour_path, tmp_path):
        converter = IBLConverter.from_session(behaviour_path)
        (tmp_path / "a.nwb").write_text("mine")
        with pytest.raises(OutputExistsError):
            converter.run_conversion(tmp_path / "a.nwb", metadata=start_time_given(converter))
        assert (tmp_path / "a.nwb").read_text() == "mine"
        converter.run_conversion(tmp_path / "a.nwb", metadata=start_time_given(converter), overwrite=True)
        assert h5py.is_hdf5(tmp_path / "a.nwb")

    @pytest.mark.parametrize("backend", ["hdf5", "zarr"])
    def test_failure_while_writing_leaves_nothing(self, behaviour_path, tmp_path, backend):
        from hdmf.data_utils import GenericDataChunkIterator

        class FailingIterator(GenericDataChunkIterator):
            def _get_data(self, selection):
                if selection[0].start > 0:
                    raise RuntimeError("the disk is on fire")
                return np.zeros(10)

            def _get_maxshape(self):
                return (100,)

            def _get_dtype(self):
                return np.dtype("float64")

        class FailingInterface(WheelInterface):
            def add_to_nwbfile(self, nwbfile, metadata=None, **options):
                from pynwb import TimeSeries

                data = FailingIterator(buffer_shape=(10,), chunk_shape=(10,))
                nwbfile.add_acquisition(TimeSeries(name="a", data=data, unit="V", rate=1.0))

        class FailingConverter(IBLConverter):
            data_interface_classes = {"Wheel": FailingInterface}

        converter = FailingConverter({"Wheel": {"session_path": str(behaviour_path)}})
        with pytest.raises(RuntimeError, match="on fire"):
            converter.run_conversion(tmp_path / "a.nwb", metadata=start_time_given(converter), backend=backend)
        assert list(tmp_path.iterdir()) == []

    def test_append_to_a_file_on_disk(self, behaviour_path, tmp_path):
        first = IBLConverter.from_session(behaviour_path, include=["Trials"])
        first.run_conversion(tmp_path / "a.nwb", metadata=start_time_given(first))
        second = IBLConverter.from_session(behaviour_path, include=["Wheel"])
        second.run_conversion(tmp_path / "a.nwb", append_on_disk_nwbfile=True, metadata=start_time_given(second))
        nwbfile = read_nwb(tmp_path / "a.nwb")
        assert len(nwbfile.trials) == 10
        assert "wheel" in nwbfile.processing
        nwbfile.read_io.close()

    def test_append_keeps_the_alyx_record_of_the_file(self, session_path, record, tmp_path):
        IBLConverter.from_session(session_path, alyx=record, include=["Trials"]).run_conversion(tmp_path / "a.nwb")
        second = IBLConverter.from_session(session_path, alyx=record, include=["Wheel"])
        second.run_conversion(tmp_path / "a.nwb", append_on_disk_nwbfile=True)
        nwbfile = read_nwb(tmp_path / "a.nwb")
        assert {"AlyxRecord", "ProbeTrajectories"} <= set(nwbfile.analysis)
        sources = list(nwbfile.analysis["SourceDatasets"]["relative_path"][:])
        assert len(sources) == len(set(sources))
        assert any("trials" in path for path in sources)
        assert any("wheel" in path for path in sources)
        assert "wheel" in nwbfile.processing
        nwbfile.read_io.close()
