"""The JSON document that fixes a conversion, and converting from it."""

import json

import jsonschema
import numpy as np
import pytest
from pynwb import read_nwb

from ibl_nwb import Alyx2NWBConverter, Alyx2NWBMetadata, AlyxRecord, ConversionDocument, convert_document, make_document
from ibl_nwb.conversion import edit_document, resolve_output
from ibl_nwb.errors import DocumentError, MetadataIncompleteError, OutputExistsError, SessionNotFoundError, UsageError
from ibl_nwb.testing import example_alyx_answers, make_example_session


@pytest.fixture(scope="module")
def session_path(tmp_path_factory):
    return make_example_session(
        tmp_path_factory.mktemp("session"), probes=(), raw_bands=(), audio=False, n_trials=12, cameras=("left",)
    )


@pytest.fixture(scope="module")
def record(session_path):
    return AlyxRecord.from_rest(**example_alyx_answers(session_path))


@pytest.fixture
def document(session_path, record):
    return make_document(session_path, alyx=record, include=["Trials", "Wheel", "Pose"])


class TestDocument:
    def test_json_round_trip(self, document, tmp_path):
        document.write_json(tmp_path / "a.json")
        assert ConversionDocument.read_json(tmp_path / "a.json") == document

    def test_fits_its_schema(self, document):
        schema = ConversionDocument.model_json_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(json.loads(document.model_dump_json()), schema)

    def test_holds_what_decides_a_conversion(self, document, session_path, record):
        assert document.session.session_path == str(session_path)
        assert document.session.eid == str(record.session.id)
        assert document.source_data == {"Trials": {"collection": "alf"}, "Wheel": {"collection": "alf"}} | {
            "PoseLeftCamera": {"camera_name": "left"}
        }
        assert document.metadata["Subject"]["subject_id"] == "EX_001"
        assert "source_script" not in document.metadata["NWBFile"]

    def test_blanks_are_there_to_fill_in(self, session_path):
        document = make_document(session_path)
        assert document.metadata["NWBFile"]["session_start_time"] is None
        assert document.metadata["Subject"]["species"] is None

    def test_same_session_same_bytes(self, session_path, record, tmp_path):
        for name in "ab":
            make_document(session_path, alyx=record).write_json(tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (lambda content: content.update(metadat={}), "metadat"),
            (lambda content: content.pop("session"), "session: Field required"),
            (lambda content: content.update(source_data=[]), "source_data"),
            (lambda content: content.update(schema_version="7"), "schema_version"),
        ],
    )
    def test_malformed_document(self, document, tmp_path, edit, message):
        content = json.loads(document.model_dump_json())
        edit(content)
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(DocumentError, match=f"a.json.*{message}"):
            ConversionDocument.read_json(tmp_path / "a.json")

    @pytest.mark.parametrize("content", ["", "{", "[]", "null"])
    def test_not_a_document(self, tmp_path, content):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(DocumentError, match="not a conversion document.*ibl-nwb metadata"):
            ConversionDocument.read_json(tmp_path / "a.json")

    def test_missing_file(self, tmp_path):
        with pytest.raises(DocumentError, match="No such file"):
            ConversionDocument.read_json(tmp_path / "a.json")

    def test_session_that_moved(self, document):
        document.session.session_path = "/nowhere/at/all"
        with pytest.raises(SessionNotFoundError, match="change session.session_path"):
            document.make_converter()

    def test_misspelt_source_data(self, document):
        document.source_data["Wheel"] = {"collecton": "alf"}
        with pytest.raises(DocumentError, match="source_data.*collecton"):
            document.make_converter()


class TestStartTime:
    def test_of_the_command_line_wins(self, session_path, record):
        given = {"NWBFile": {"session_start_time": "2000-01-01T00:00:00+00:00"}}
        document = make_document(
            session_path, alyx=record, metadata=given, session_start_time="2023-05-18T10:00:00+02:00"
        )
        assert document.metadata["NWBFile"]["session_start_time"] == "2023-05-18T10:00:00+02:00"

    def test_without_offset_is_in_the_time_zone(self, session_path):
        document = make_document(session_path, session_start_time="2023-01-18T10:00:00", timezone="America/New_York")
        assert document.metadata["NWBFile"]["session_start_time"] == "2023-01-18T10:00:00-05:00"

    def test_without_offset_is_in_the_zone_of_the_lab(self, session_path, record):
        document = make_document(session_path, session_start_time="2023-05-18T10:00:00", alyx=record)
        assert document.metadata["NWBFile"]["session_start_time"] == "2023-05-18T10:00:00+01:00"

    def test_zone_can_be_given_for_a_document(self, session_path, tmp_path):
        document = make_document(session_path, session_start_time="2023-05-18T10:00:00")
        with pytest.raises(MetadataIncompleteError, match="no time zone"):
            convert_document(document, tmp_path)
        edited = edit_document(document, timezone="Europe/Lisbon")
        assert edited.metadata["NWBFile"]["session_start_time"] == "2023-05-18T10:00:00+01:00"

    def test_nonsense(self, session_path):
        with pytest.raises(UsageError, match="'noon' is not a time"):
            make_document(session_path, session_start_time="noon")


class TestUserMetadata:
    @pytest.mark.parametrize("text", ['{"Subject": {"sex": "F"}}', "Subject:\n  sex: F\n"])
    def test_json_or_yaml(self, session_path, tmp_path, text):
        (tmp_path / "metadata.txt").write_text(text)
        assert make_document(session_path, metadata=tmp_path / "metadata.txt").metadata["Subject"]["sex"] == "F"

    def test_yaml_dates_are_text(self, session_path, tmp_path):
        (tmp_path / "m.yaml").write_text("Subject:\n  date_of_birth: 2023-01-02\n")
        assert (
            make_document(session_path, metadata=tmp_path / "m.yaml").metadata["Subject"]["date_of_birth"]
            == "2023-01-02"
        )

    @pytest.mark.parametrize(("text", "message"), [("{", "neither JSON nor YAML"), ("[1]", "no blocks")])
    def test_malformed(self, session_path, tmp_path, text, message):
        (tmp_path / "m.yaml").write_text(text)
        with pytest.raises(DocumentError, match=message):
            make_document(session_path, metadata=tmp_path / "m.yaml")


class TestConverting:
    def test_document_alone_gives_what_the_session_gives(self, document, tmp_path):
        document.write_json(tmp_path / "a.json")
        convert_document(document, tmp_path / "direct.nwb")
        convert_document(ConversionDocument.read_json(tmp_path / "a.json"), tmp_path / "read.nwb")
        direct, read = (read_nwb(tmp_path / f"{name}.nwb") for name in ("direct", "read"))
        assert direct.identifier == read.identifier
        assert direct.session_start_time == read.session_start_time
        assert direct.trials.to_dataframe().equals(read.trials.to_dataframe())
        for nwbfile in (direct, read):
            nwbfile.read_io.close()

    def test_edits_reach_the_file(self, document, tmp_path):
        document.metadata["NWBFile"]["experimenter"] = ["Doe, Jane"]
        document.metadata["Wheel"]["wheel"]["WheelPosition"]["description"] = "Mine."
        document.conversion_options["Wheel"] = {"write_velocity": True}
        del document.source_data["Trials"]
        nwbfile = read_nwb(convert_document(document, tmp_path).nwbfile_path)
        assert nwbfile.experimenter == ("Doe, Jane",)
        assert nwbfile.processing["wheel"]["WheelPosition"].description == "Mine."
        assert "WheelVelocity" in nwbfile.processing["wheel"].data_interfaces
        assert nwbfile.trials is None
        nwbfile.read_io.close()

    def test_summary(self, document, session_path, tmp_path):
        summary = convert_document(document, tmp_path)
        assert [row.name for row in summary.interfaces] == ["Trials", "Wheel", "PoseLeftCamera"]
        wheel = {p.name: p.stat().st_size for p in (session_path / "alf").rglob("*wheel*") if "position" not in p.name}
        assert summary.interfaces[1].n_datasets == 4
        assert summary.interfaces[1].n_bytes > sum(size for name, size in wheel.items() if "timestamps" in name)
        assert summary.size == summary.nwbfile_path.stat().st_size
        assert summary.missing_for_dandi == []

    def test_what_dandi_will_ask_for_does_not_stop_a_conversion(self, session_path, tmp_path):
        document = make_document(session_path, timezone="Europe/Lisbon")
        assert convert_document(document, tmp_path).missing_for_dandi == [
            "Subject.species",
            "Subject.sex",
            "Subject.age",
        ]

    def test_existing_output_is_found_before_any_work(self, document, tmp_path):
        (tmp_path / "a.nwb").touch()
        with pytest.raises(OutputExistsError):
            convert_document(document, tmp_path / "a.nwb")

    def test_stub_is_smaller(self, document, tmp_path):
        whole = convert_document(document, tmp_path / "whole.nwb")
        stub = convert_document(document, tmp_path / "stub.nwb", stub_test=True)
        assert stub.size < whole.size

    def test_one_progress_bar_per_interface(self, document, tmp_path):
        bars = {}

        class Bar:
            def __init__(self, total, desc, **options):
                self.desc, self.total, bars[desc] = desc, total, 0

            def update(self, amount):
                bars[self.desc] += amount / self.total

            def __enter__(self):
                return self

            def __exit__(self, *error):
                pass

        convert_document(document, tmp_path, progress_bar_class=Bar)
        assert bars == {"Trials": 1, "Wheel": 1, "PoseLeftCamera": 1}

    @pytest.mark.parametrize(
        ("output", "backend", "expected"),
        [
            ("a.nwb", "hdf5", "a.nwb"),
            ("a.nwb.zarr", "zarr", "a.nwb.zarr"),
            ("folder", "hdf5", "folder/sub-EX-001_ses-a-b.nwb"),
            ("folder", "zarr", "folder/sub-EX-001_ses-a-b.nwb.zarr"),
        ],
    )
    def test_name_of_the_output(self, tmp_path, output, backend, expected):
        metadata = {"Subject": {"subject_id": "EX_001"}, "NWBFile": {"session_id": "a/b"}}
        assert resolve_output(tmp_path / output, metadata, backend) == tmp_path / expected


class TestNamesOfTheFirstConverter:
    def test_metadata_file_then_conversion(self, session_path, record, tmp_path):
        Alyx2NWBMetadata(session_path, alyx=record).write_metadata(tmp_path / "metadata.json")
        converter = Alyx2NWBConverter(nwb_metadata_file=tmp_path / "metadata.json", saveloc=tmp_path / "a.nwb")
        nwbfile = read_nwb(converter.run_conversion())
        assert len(nwbfile.trials) == 12
        nwbfile.read_io.close()

    def test_metadata_object(self, session_path, record, tmp_path):
        metadata = Alyx2NWBMetadata(session_path=session_path, alyx=record)
        assert metadata.complete_metadata["metadata"]["Subject"]["species"] == "Mus musculus"
        assert Alyx2NWBConverter(metadata_obj=metadata, saveloc=tmp_path).run_conversion().is_file()

    @pytest.mark.parametrize("sources", [{}, {"nwb_metadata_file": "a.json", "metadata_obj": object()}])
    def test_just_one_source_of_metadata(self, tmp_path, sources):
        with pytest.raises(UsageError, match="either"):
            Alyx2NWBConverter(saveloc=tmp_path, **sources)

    def test_other_suffix_is_refused(self, session_path, tmp_path):
        with pytest.raises(UsageError, match=".json"):
            Alyx2NWBMetadata(session_path).write_metadata(tmp_path / "metadata.yaml")


def test_numpy_values_of_users_metadata_become_json(session_path):
    given = {"Wheel": {"wheel": {"wheel_position": {"conversion": np.float64(0.5), "resolution": np.int64(3)}}}}
    document = make_document(session_path, metadata=given)
    dumped = json.loads(json.dumps(document.model_dump(mode="json")))
    entry = dumped["metadata"]["Wheel"]["wheel"]["wheel_position"]
    assert (entry["conversion"], entry["resolution"]) == (0.5, 3)
