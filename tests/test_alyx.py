"""What an Alyx record holds, how it is read and written, and where its facts go in NWB.

Expected values come from an independent reading of answers recorded from Alyx servers, or are written out by hand.
"""

from __future__ import annotations

import copy
import csv
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ibl_nwb.alyx import (
    LEFT_OUT,
    MOVED,
    NWB_FIELD_RULES,
    SCHEMA_VERSION,
    AlyxRecord,
    alyx_field_destinations,
    to_nwb_metadata,
)
from ibl_nwb.errors import DocumentError, MetadataIncompleteError, OutputNotWritableError

SHARED = Path(__file__).resolve().parents[2] / "shared"
ANSWERS = SHARED / "data" / "alyx_responses"
PUBLIC = SHARED / "data" / "real" / "alyx"

needs_answers = pytest.mark.skipif(not ANSWERS.is_dir(), reason="answers recorded from an Alyx server are not here")
needs_public = pytest.mark.skipif(not PUBLIC.is_dir(), reason="answers of the public Alyx are not here")

EID = "ed6a98ef-b4e9-4bb8-9241-8f96ddee2563"


def answer(name: str):
    return json.loads((ANSWERS / f"{name}.json").read_text())


def all_answers() -> dict:
    """Everything recorded about the session with probes."""
    return {
        "session": answer("sessions_read"),
        "subject": answer("subjects_read"),
        "lab": answer("labs_read"),
        "users": answer("users_list"),
        "projects": answer("projects_list"),
        "procedures": answer("procedures_list"),
        "insertions": [answer("insertions_read"), answer("insertions_read_nohistology")],
        "trajectories": answer("trajectories_list"),
        "datasets": answer("datasets_list"),
        "surgeries": answer("surgeries_list"),
        "notes": answer("notes_list"),
    }


@pytest.fixture(scope="module")
def record() -> AlyxRecord:
    if not ANSWERS.is_dir():
        pytest.skip("answers recorded from an Alyx server are not here")
    return AlyxRecord.from_rest(**all_answers())


def small_record(*, session=(), subject=(), lab=(), weighings=(), **lists) -> AlyxRecord:
    """A record made by hand: a session in London of a mouse that is told of by ``subject``."""
    return AlyxRecord.from_rest(
        session={"id": EID, "subject": "M1", "start_time": "2022-06-30T13:05:43", **dict(session)},
        subject={"nickname": "M1", "weighings": list(weighings), **dict(subject)},
        lab={"name": "lab1", "timezone": "Europe/London", **dict(lab)},
        **lists,
    )


def nwb_field(record: AlyxRecord, field: str, **options):
    block, name = field.split(".")
    return to_nwb_metadata(record, **options).get(block, {}).get(name)


def content(record: AlyxRecord) -> dict:
    return json.loads(record.to_json())


def json_text(value) -> str:
    return json.dumps(value, sort_keys=True)


def shuffled(value, source: random.Random, *, free: bool = False):
    """The same answer with lists and keys in another order, but for lists inside free JSON, where order is content."""
    if isinstance(value, dict):
        names = source.sample([*value], len(value))
        return {name: shuffled(value[name], source, free=free or name in ("json", "extended_qc")) for name in names}
    if isinstance(value, list) and not free:
        return source.sample([shuffled(entry, source) for entry in value], len(value))
    return value


class LazyPages(Mapping):
    """Looks like ONE's paged answer: a Mapping that is indexed by number and iterates over rows."""

    def __init__(self, rows: list[dict]):
        self.rows = rows

    def __getitem__(self, index):
        return self.rows[index]

    def __iter__(self) -> Iterator[dict]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


# ----------------------------------------------------------------------------------------------- from answers to record


def test_import_needs_neither_neuroconv_nor_one():
    heavy = ["neuroconv", "pynwb", "spikeinterface", "one", "numpy", "pandas"]
    code = f"import sys, ibl_nwb.alyx; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@needs_answers
@pytest.mark.parametrize(
    ("kind", "place", "name"),
    [
        ("session", "session", "sessions_read"),
        ("session", "session", "sessions_read_training"),
        ("subject", "subject", "subjects_read"),
        ("subject", "subject", "subjects_read_bare"),
        ("lab", "lab", "labs_read"),
    ],
)
def test_every_value_of_an_answer_is_in_the_record_unless_declared_left_out_or_moved(kind, place, name):
    given_answer = answer(name)
    session = given_answer if kind == "session" else {"id": EID}
    record = content(AlyxRecord.from_rest(**{"session": session, place: given_answer}))
    kept = {field: value for field, value in given_answer.items() if field not in LEFT_OUT.get(kind, {})}
    kept = {field: value for field, value in kept.items() if f"{kind}.{field}" not in MOVED}
    assert record[place].keys() == kept.keys()
    for field, value in kept.items():
        if isinstance(value, list):
            assert sorted(map(json_text, record[place][field])) == sorted(map(json_text, value))
        else:
            assert record[place][field] == value


@needs_answers
def test_every_field_of_every_recorded_answer_has_a_destination():
    answers = {
        "session": [answer("sessions_read"), answer("sessions_read_training"), *answer("sessions_list")["results"]],
        "subject": [answer("subjects_read"), answer("subjects_read_bare"), *answer("subjects_list")["results"]],
        "lab": answer("labs_list")["results"],
        "user": answer("users_list")["results"],
        "project": answer("projects_list")["results"],
        "insertion": [answer("insertions_read"), *answer("insertions_list")["results"]],
        "trajectory": answer("trajectories_list")["results"],
        "dataset": [
            *answer("datasets_list")["results"],
            *answer("sessions_read")["data_dataset_session_related"],
            *answer("insertions_read")["datasets"],
        ],
        "weighing": answer("weighings_list")["results"],
        "water_administration": answer("water_administrations_list")["results"],
        "surgery": answer("surgeries_list")["results"],
        "note": answer("notes_list")["results"],
    }
    destinations = alyx_field_destinations()
    sent = {f"{kind}.{field}" for kind, rows in answers.items() for row in rows for field in row}
    assert sent - destinations.keys() == set()
    assert destinations["session.lab"] == "NWBFile.lab"
    assert destinations["subject.litter"] == "kept in the record JSON"
    assert destinations["subject.age_weeks"].startswith("left out: ")
    assert destinations["session.probe_insertion"] == "moved to insertions in the record JSON"


def test_every_field_a_rule_is_made_from_is_a_field_of_the_record():
    known = alyx_field_destinations().keys()
    assert {field for rule in NWB_FIELD_RULES for field in rule.alyx_fields} <= known


def test_unknown_fields_are_kept():
    record = small_record(session={"added_in_alyx_4": [3, 1, {"a": None}]}, subject={"ear_mark": "TL"})
    assert content(record)["session"]["added_in_alyx_4"] == [3, 1, {"a": None}]
    assert record.subject.ear_mark == "TL"


@needs_answers
def test_a_subject_read_on_another_day_gives_the_same_record():
    """The two recorded answers differ in what depends on the day, and in the date of death, a fact, levelled here."""
    later, alive = answer("subjects_read"), answer("subjects_read_alive")
    assert later["age_weeks"] != alive["age_weeks"]
    alive["death_date"] = later["death_date"]
    session = answer("sessions_read")
    assert AlyxRecord.from_rest(session=session, subject=later) == AlyxRecord.from_rest(session=session, subject=alive)


@needs_answers
def test_the_address_of_the_server_has_no_influence():
    elsewhere = json.loads(json.dumps(all_answers()).replace("http://127.0.0.1:8013", "https://alyx.example.org"))
    record = AlyxRecord.from_rest(**elsewhere)
    assert record == AlyxRecord.from_rest(**all_answers())
    assert "alyx.example.org" not in record.to_json()


@needs_answers
@given(seed=st.integers(min_value=0))
@settings(max_examples=15, deadline=None)
def test_the_order_of_lists_has_no_influence(seed):
    in_any_order = shuffled(all_answers(), random.Random(seed))
    assert AlyxRecord.from_rest(**in_any_order) == AlyxRecord.from_rest(**all_answers())
    assert AlyxRecord.from_rest(**in_any_order).to_json() == AlyxRecord.from_rest(**all_answers()).to_json()


@needs_answers
def test_the_answers_are_not_changed_and_not_shared():
    answers = all_answers()
    before = copy.deepcopy(answers)
    record = AlyxRecord.from_rest(**answers)
    assert answers == before
    text = record.to_json()
    answers["session"]["json"]["POOP_COUNT"] = 99
    answers["session"]["extended_qc"].clear()
    assert record.to_json() == text


@needs_answers
def test_weighings_and_water_come_from_the_subject_in_order_of_time(record):
    subject = answer("subjects_read")
    assert [weighing.weight for weighing in record.weighings] == [
        row["weight"] for row in sorted(subject["weighings"], key=lambda row: row["date_time"])
    ]
    assert {weighing.id for weighing in record.weighings} == {row["url"][-36:] for row in subject["weighings"]}
    assert [water.water_administered for water in record.water_administrations] == [0.84, 0.31]


@needs_answers
def test_datasets_have_names_of_revisions_sizes_hashes_and_boolean_flags(record):
    nested = {row["id"]: row for row in answer("sessions_read")["data_dataset_session_related"]}
    names = {row["id"]: row["name"] for row in answer("revisions_list")["results"]}
    assert {dataset.id for dataset in record.datasets} == nested.keys()
    for dataset in record.datasets:
        row = nested[dataset.id]
        assert dataset.revision == names.get(row["revision"], "")
        assert dataset.default_revision is (row["default_revision"] == "True")
        assert (dataset.file_size, dataset.hash, dataset.qc) == (row["file_size"], row["hash"], row["qc"])
        assert row["data_url"].split("/003/")[1].replace(f".{dataset.id}", "") == dataset.relative_path


@needs_answers
def test_a_row_of_datasets_list_adds_to_the_row_inside_the_session(record):
    row = answer("datasets_list")["results"][1]
    (dataset,) = [dataset for dataset in record.datasets if dataset.id == row["url"][-36:]]
    assert (dataset.revision, dataset.default_revision) == ("2025-03-03", True)
    assert (dataset.tags, dataset.created_by, dataset.data_format) == (row["tags"], row["created_by"], "parquet")


@needs_answers
def test_datasets_of_an_insertion_alone_have_revisions_and_levels_by_name():
    insertion = answer("insertions_read")
    record = AlyxRecord.from_rest(session={"id": EID}, insertions=insertion)
    assert record.insertions[0].datasets == sorted(row["id"] for row in insertion["datasets"])
    revised = {row["id"] for row in insertion["datasets"] if "/#2024-05-06#/" in row["data_url"]}
    assert {dataset.id for dataset in record.datasets if dataset.revision == "2024-05-06"} == revised != set()
    assert {dataset.revision for dataset in record.datasets} == {"", "2024-05-06"}
    names = {0: "NOT_SET", 10: "PASS", 30: "WARNING", 40: "FAIL", 50: "CRITICAL"}
    assert {d.id: d.qc for d in record.datasets} == {row["id"]: names[row["qc"]] for row in insertion["datasets"]}


def dataset_row(**fields) -> dict:
    return {"id": "9d370a93-f2a7-455b-ad26-4f5fc244c44e", "name": "a.b.npy", "collection": "alf", **fields}


@pytest.mark.parametrize("revision", [None, "", "nan", "#nan#"])
def test_no_revision_in_any_spelling_is_an_empty_text(revision):
    (dataset,) = small_record(datasets=[dataset_row(revision=revision)]).datasets
    assert dataset.revision == ""
    assert dataset.relative_path == "alf/a.b.npy"


def test_a_revision_folder_called_nan_is_no_revision():
    (dataset,) = small_record(datasets=[dataset_row(data_url="http://x/alf/#nan#/a.b.npy")]).datasets
    assert dataset.revision == ""


def test_a_row_that_does_not_tell_its_revision_says_nothing_about_it():
    (dataset,) = small_record(datasets=[dataset_row(data_url=None)]).datasets
    assert dataset.revision is None


def test_a_revision_id_without_a_name_is_an_error_unless_the_list_of_datasets_names_it():
    revision_id = "2db62cf5-369a-4d7b-8eba-9455fde4afc0"
    nested = {"data_dataset_session_related": [dataset_row(revision=revision_id, data_url=None)]}
    with pytest.raises(DocumentError, match=rf"a\.b\.npy.*{revision_id}.*datasets/list"):
        small_record(session=nested)
    (dataset,) = small_record(session=nested, datasets=[dataset_row(revision="2024-05-06")]).datasets
    assert dataset.relative_path == "alf/#2024-05-06#/a.b.npy"


@pytest.mark.parametrize(
    ("level", "name"), [(0, "NOT_SET"), (10, "PASS"), (30, "WARNING"), (40, "FAIL"), (50, "CRITICAL"), ("PASS", "PASS")]
)
def test_quality_levels_are_names(level, name):
    record = small_record(session={"qc": level}, datasets=[dataset_row(qc=level)])
    assert record.session.qc == record.datasets[0].qc == name


def test_an_unknown_quality_level_is_an_error():
    with pytest.raises(DocumentError, match="quality level 20.*10 PASS"):
        small_record(datasets=[dataset_row(qc=20)])


@needs_answers
def test_notes_of_the_session_and_others_are_merged_by_id(record):
    assert [note.id for note in record.notes] == sorted(row["id"] for row in answer("notes_list")["results"])
    (note,) = AlyxRecord.from_rest(session=answer("sessions_read")).notes
    assert note.text == answer("notes_session")["results"][0]["text"]
    assert note.model_dump() == answer("notes_session")["results"][0]


def test_rows_of_one_dataset_complete_each_other_and_the_list_wins():
    record = small_record(
        session={"data_dataset_session_related": [dataset_row(default_revision="False", hash="old", qc="PASS")]},
        datasets=[dataset_row(hash="new", tags=["b", "a"])],
    )
    assert record.datasets[0].model_dump() == dataset_row(
        default_revision=False, hash="new", qc="PASS", tags=["a", "b"]
    )


def test_rows_alike_in_what_they_are_sorted_by_have_one_order_all_the_same():
    weighings = [{"date_time": "2022-06-30T12:00:00", "weight": weight} for weight in (20.0, 21.0)]
    assert small_record(weighings=weighings) == small_record(weighings=weighings[::-1])


@needs_answers
def test_trajectories_are_in_the_order_of_probe_and_provenance(record):
    rows = answer("trajectories_list")["results"]
    assert [t.provenance for t in record.trajectories] == sorted(row["provenance"] for row in rows)
    aligned = record.trajectories[0]
    assert aligned.json_field == answer("trajectories_ephys_aligned")["results"][0]["json"]
    assert (aligned.x, aligned.depth, aligned.coordinate_system) == (-2243.0, 4000.0, "IBL-Allen")


@needs_answers
def test_only_users_that_the_session_names_are_kept_and_without_their_email(record):
    assert [user.username for user in record.users] == sorted(answer("sessions_read")["users"])
    assert "example.org" not in record.to_json()


@needs_answers
def test_ids_of_users_and_procedures_of_a_surgery_become_names():
    surgery = answer("surgeries_list")
    procedures = [{"id": surgery["results"][0]["procedures"][0], "name": "Headplate implant"}]
    record = AlyxRecord.from_rest(
        session=answer("sessions_read"), users=answer("users_list"), procedures=procedures, surgeries=surgery
    )
    assert record.surgeries[0].users == ["noel.rig"]
    assert record.surgeries[0].procedures == ["Headplate implant"]
    without_names = AlyxRecord.from_rest(session=answer("sessions_read"), surgeries=surgery)
    assert without_names.surgeries[0].procedures == surgery["results"][0]["procedures"]


def test_a_parent_session_is_an_eid():
    record = small_record(session={"parent_session": f"http://127.0.0.1/sessions/{EID}"})
    assert record.session.parent_session == EID


@needs_answers
def test_lists_are_taken_as_a_page_as_rows_as_one_row_and_lazily():
    page = answer("trajectories_list")
    records = [
        AlyxRecord.from_rest(session=answer("sessions_read"), trajectories=trajectories)
        for trajectories in (page, page["results"], iter(page["results"]), LazyPages(page["results"]))
    ]
    assert all(record == records[0] for record in records)
    one = AlyxRecord.from_rest(session=answer("sessions_read"), trajectories=answer("trajectories_read"))
    assert [trajectory.provenance for trajectory in one.trajectories] == ["Ephys aligned histology track"]


def test_the_first_of_several_pages_is_an_error():
    page = {"count": 384, "next": "http://x/notes?offset=250", "previous": None, "results": []}
    with pytest.raises(DocumentError, match="notes.*384.*all pages"):
        small_record(notes=page)


@needs_answers
@pytest.mark.parametrize(
    ("place", "stranger"),
    [
        ("subject", {"nickname": "OTHER_1"}),
        ("lab", {"name": "otherlab"}),
        ("insertions", {"id": "p", "name": "probe00", "session": EID.replace("e", "f")}),
        ("trajectories", {"id": "t", "session": {"id": EID.replace("e", "f")}}),
        ("datasets", dataset_row(session=f"http://x/sessions/{EID.replace('e', 'f')}")),
        ("surgeries", {"subject": "OTHER_1"}),
    ],
)
def test_rows_of_another_session_are_refused(place, stranger):
    with pytest.raises(DocumentError, match="do not belong together"):
        AlyxRecord.from_rest(session=answer("sessions_read"), **{place: stranger})


@pytest.mark.parametrize("notes", [["text"], [None], 5, "text"])
def test_an_answer_without_rows_is_an_error(notes):
    with pytest.raises(DocumentError, match="'notes' must hold rows"):
        small_record(notes=notes)


def test_a_value_of_the_wrong_type_in_an_answer_is_an_error_that_names_it():
    with pytest.raises(DocumentError, match=rf"{EID}.*session\.users.*list.*'noel'"):
        small_record(session={"users": "noel"})


@needs_public
def test_insertions_of_the_public_alyx_become_records():
    for path in sorted((PUBLIC / "insertions").glob("*.json")):
        row = json.loads(path.read_text())
        record = AlyxRecord.from_rest(session={"id": row["session"]}, insertions=row)
        assert record.insertions[0].json_field == row["json"]
        assert record.insertions[0].serial == row["serial"]
        for dataset in row["datasets"]:
            revision = re.search("/#(.+)#/", dataset["data_url"])
            (found,) = [entry for entry in record.datasets if entry.id == dataset["id"]]
            assert found.revision == (revision[1] if revision else "")
            assert (found.hash, found.file_size) == (dataset["hash"], dataset["file_size"])


@needs_public
def test_datasets_of_the_public_alyx_become_records():
    for path in sorted((PUBLIC / "datasets").glob("*.json")):
        rows = json.loads(path.read_text())
        record = AlyxRecord.from_rest(session={"id": path.stem}, datasets=rows)
        expected = {row["url"][-36:]: (row["revision"], row["default_dataset"], sorted(row["tags"])) for row in rows}
        assert {d.id: (d.revision, d.default_revision, d.tags) for d in record.datasets} == expected


@needs_public
def test_trajectories_of_the_public_alyx_become_records():
    with (PUBLIC / "trajectories.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = ("x", "y", "z", "depth", "theta", "phi", "roll")
    trajectories = [
        {**row, **{name: float(row[name]) if row[name] else None for name in numbers}, "json": None, "id": str(number)}
        for number, row in enumerate(rows)
    ]
    record = AlyxRecord.from_rest(session={"id": EID}, trajectories=trajectories)
    assert {t.id: t.x for t in record.trajectories} == {row["id"]: row["x"] for row in trajectories}


# ------------------------------------------------------------------------------------------------------ JSON document


@needs_answers
def test_a_record_survives_the_way_through_its_file(record, tmp_path):
    record.write_json(tmp_path / "alyx.json")
    assert AlyxRecord.read_json(tmp_path / "alyx.json") == record
    assert AlyxRecord.read_json(tmp_path / "alyx.json").to_json() == record.to_json()
    assert [path.name for path in tmp_path.iterdir()] == ["alyx.json"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(free=json_values, extra=json_values, narrative=st.text())
@settings(max_examples=50, deadline=None)
def test_any_free_json_and_any_text_survive_the_file(tmp_path_factory, free, extra, narrative):
    path = tmp_path_factory.mktemp("record") / "alyx.json"
    small_record(session={"json": free, "extra": extra, "narrative": narrative}).write_json(path)
    session = AlyxRecord.read_json(path).session
    assert (session.json_field, session.extra, session.narrative) == (free, extra, narrative)


@needs_answers
def test_a_record_survives_as_a_part_of_another_document(record):
    class Document(BaseModel):
        alyx: AlyxRecord

    text = Document(alyx=record).model_dump_json(indent=2)
    again = Document.model_validate_json(text).alyx
    assert again == record
    assert again.to_json() == record.to_json()
    assert json.loads(text)["alyx"] == content(record)


@needs_answers
def test_the_document_fits_the_published_schema(record):
    import jsonschema

    schema = AlyxRecord.json_schema()
    assert (schema["$schema"], schema["title"]) == ("https://json-schema.org/draft/2020-12/schema", "AlyxRecord")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(content(record))
    wrong = content(record)
    wrong["session"]["number"] = "three"
    assert not jsonschema.Draft202012Validator(schema).is_valid(wrong)


def test_every_property_of_the_published_schema_has_a_type():
    schema = AlyxRecord.json_schema()
    for model in [schema, *schema["$defs"].values()]:
        for name, declaration in model["properties"].items():
            references = [entry["$ref"] for entry in [declaration, *declaration.get("anyOf", [])] if "$ref" in entry]
            targets = [schema["$defs"][reference.rpartition("/")[2]] for reference in references]
            assert "type" in declaration or (targets and all("type" in target for target in targets)), name


def test_a_record_can_be_written_by_hand(tmp_path):
    path = tmp_path / "alyx.json"
    path.write_text('{"schema_version": "1.0", "session": {"id": "2024-05-01_mouse"}}')
    record = AlyxRecord.read_json(path)
    assert record.to_nwb_metadata() == {"NWBFile": {"identifier": "2024-05-01_mouse", "session_id": "2024-05-01_mouse"}}


def edited(*edits: tuple[str, object]) -> str:
    document = content(small_record(weighings=[{"weight": 20.0}], datasets=[dataset_row(qc="PASS")]))
    for field_path, value in edits:
        *parents, last = field_path.split(".")
        place = document
        for name in parents:
            place = place[int(name) if name.isdigit() else name]
        place[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"session": ', "not JSON"),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1"), "not JSON in UTF-8"),
        ("[]", "the document: .*AlyxRecord"),
        ("{}", "schema_version: Field required; session: Field required"),
        (edited(("schema_version", "0.1")), r"schema_version: Input should be '1\.0' \(found '0\.1'\)"),
        (edited(("session.id", "")), r"session\.id: .*at least 1 character"),
        (edited(("session.number", "3")), r"session\.number: .*integer \(found '3'\)"),
        (
            edited(("session.start_time", "yesterday")),
            r"session\.start_time: .*2022-06-30T13:05:43 \(found 'yesterday'\)",
        ),
        (edited(("session.start_time", 3)), r"session\.start_time: .*string \(found 3\)"),
        (edited(("subject.birth_date", "14.2.2022")), r"subject\.birth_date: .*2022-06-30 \(found '14\.2\.2022'\)"),
        (edited(("weighings.0.weight", "20 g")), r"weighings\.0\.weight: .*number \(found '20 g'\)"),
        (edited(("datasets.0.default_revision", "True")), r"datasets\.0\.default_revision: .*boolean"),
        (edited(("lab", ["lab1"])), r"lab: .*\(found \['lab1'\]\)"),
        (edited(("weighing", [])), r"weighing: Extra inputs are not permitted"),
        (edited(("session.json", float("nan"))), r"session\.json.*finite"),
        (edited(("session.added", float("inf"))), r"session\.added.*finite"),
    ],
)
def test_a_malformed_document_is_one_error_naming_file_field_and_expectation(tmp_path, text, told):
    path = tmp_path / "alyx.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DocumentError, match=told) as caught:
        AlyxRecord.read_json(path)
    assert str(path) in str(caught.value)


def test_many_faults_are_one_short_message(tmp_path):
    path = tmp_path / "alyx.json"
    path.write_text(edited(("notes", [{"id": 5}] * 100)))
    with pytest.raises(DocumentError, match="and 95 more") as caught:
        AlyxRecord.read_json(path)
    assert len(str(caught.value)) < 1500


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DocumentError, match=r"nowhere\.json"):
        AlyxRecord.read_json(tmp_path / "nowhere.json")


def test_a_record_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "alyx.json"
    small_record().write_json(path)
    before = path.read_bytes()

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputNotWritableError, match=r"alyx\.json.*No space left"):
        small_record(session={"number": 2}).write_json(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_cannot_be_written_to_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputNotWritableError, match="existing folder"):
        small_record().write_json(tmp_path / "nowhere" / "alyx.json")


# ------------------------------------------------------------------------------------------------------- NWB metadata


@needs_answers
def test_the_recorded_session_field_by_field(record):
    session, subject, lab = answer("sessions_read"), answer("subjects_read"), answer("labs_read")
    zone = ZoneInfo(lab["timezone"])
    start = datetime.fromisoformat(session["start_time"]).replace(tzinfo=zone)
    birth = date.fromisoformat(subject["birth_date"])
    assert to_nwb_metadata(record) == record.to_nwb_metadata()
    assert record.to_nwb_metadata() == {
        "NWBFile": {
            "identifier": session["id"],
            "session_id": session["id"],
            "session_start_time": start.isoformat(),
            "session_description": (
                "Session running task protocol _iblrig_tasks_ephysChoiceWorld6.6.1, with Behavior training/tasks and "
                "Ephys recording with acute probe(s), for project ibl_neuropixel_brainwide_01."
            ),
            "experiment_description": "Project ibl_neuropixel_brainwide_01: Brain wide map (rig copy)",
            "keywords": [
                "ibl_neuropixel_brainwide_01",
                "Behavior training/tasks",
                "Ephys recording with acute probe(s)",
            ],
            "experimenter": ["Rig, Karo", "Rig, Noel"],
            "lab": session["lab"],
            "institution": lab["institution"],
            "protocol": session["task_protocol"],
            "notes": session["narrative"],
            "surgery": (
                "2022-04-20: by Rig, Noel; implant of 1.3 g; outcome: recovery; Headplate implant, right handed."
            ),
        },
        "Subject": {
            "subject_id": subject["nickname"],
            "sex": subject["sex"],
            "species": "Mus musculus",
            "strain": subject["strain"],
            "genotype": "Ai95 homozygous; VGlut1-Cre heterozygous",
            "date_of_birth": datetime(birth.year, birth.month, birth.day, tzinfo=zone).isoformat(),
            "age": f"P{(start.date() - birth).days}D",
            "weight": "0.02105 kg",
            "description": subject["description"],
        },
    }
    assert record.to_nwb_metadata()["NWBFile"]["session_start_time"] == "2022-06-30T13:05:43.125678-07:00"
    assert record.to_nwb_metadata()["Subject"]["date_of_birth"] == "2022-02-14T00:00:00-08:00"
    assert record.to_nwb_metadata()["Subject"]["age"] == "P136D"


@needs_answers
@pytest.mark.parametrize("session_name", ["sessions_read", "sessions_read_training", "sessions_list"])
@pytest.mark.parametrize(
    "subject_name", ["subjects_read", "subjects_read_alive", "subjects_read_bare", "subjects_list"]
)
def test_metadata_of_every_recorded_answer_pass_the_schema_of_neuroconv(session_name, subject_name):
    import neuroconv
    from neuroconv.utils.json_schema import validate_metadata

    schema = json.loads((Path(neuroconv.__file__).parent / "schemas" / "base_metadata_schema.json").read_text())
    sessions, subjects = answer(session_name), answer(subject_name)
    for session in sessions.get("results", [sessions]):
        for subject in subjects.get("results", [subjects]):
            record = AlyxRecord.from_rest(
                session={**session, "subject": subject["nickname"], "lab": "cortexlab"},
                subject=subject,
                lab=answer("labs_list")["results"][0],
            )
            metadata = record.to_nwb_metadata()
            validate_metadata(metadata, schema)
            assert all(value for block in metadata.values() for value in block.values())


@needs_answers
def test_pynwb_takes_the_metadata(record):
    from neuroconv.tools.nwb_helpers import make_nwbfile_from_metadata

    nwbfile = make_nwbfile_from_metadata(record.to_nwb_metadata())
    assert nwbfile.session_start_time == datetime(2022, 6, 30, 13, 5, 43, 125678, ZoneInfo("America/Los_Angeles"))
    assert nwbfile.subject.date_of_birth == datetime(2022, 2, 14, tzinfo=ZoneInfo("America/Los_Angeles"))
    assert nwbfile.subject.weight == "0.02105 kg"


@needs_answers
def test_a_subject_of_nulls_simply_yields_fewer_fields():
    record = AlyxRecord.from_rest(session={"id": EID}, subject=answer("subjects_read_bare"))
    assert record.to_nwb_metadata() == {
        "NWBFile": {"identifier": EID, "session_id": EID},
        "Subject": {"subject_id": "RIG_bare", "sex": "U"},
    }


@needs_answers
def test_nulls_everywhere_yield_the_identifiers_only():
    def emptied(row: dict, *kept: str) -> dict:
        blank = {list: [], str: ""}
        return {name: row[name] if name in kept else blank.get(type(row[name])) for name in row}

    record = AlyxRecord.from_rest(
        session=emptied(answer("sessions_read"), "id") | {"start_time": None, "end_time": None},
        subject=emptied(answer("subjects_read"), "nickname") | {"birth_date": None, "death_date": None},
        lab=emptied(answer("labs_read"), "name") | {"name": "lab1"},
        surgeries=[emptied(answer("surgeries_list")["results"][0]) | {"start_time": None, "end_time": None}],
    )
    assert record.to_nwb_metadata() == {
        "NWBFile": {"identifier": EID, "session_id": EID, "lab": "lab1"},
        "Subject": {"subject_id": "RIG_0021"},
    }


@needs_public
def test_subjects_of_the_public_alyx_give_species_sex_and_strain_as_recorded():
    species = {"Laboratory mouse": "Mus musculus", "Human": "Homo sapiens", None: None}
    for subject in json.loads((PUBLIC / "subjects.json").read_text()):
        record = AlyxRecord.from_rest(session={"id": EID, "subject": subject["nickname"]}, subject=subject)
        found = record.to_nwb_metadata(timezone="Europe/Lisbon")["Subject"]
        assert found.get("species") == species[subject["species"]]
        assert found.get("strain") == subject["strain"]
        assert found["sex"] == subject["sex"]
        assert ("date_of_birth" in found) is (subject["birth_date"] is not None)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2022-06-30T13:05:43.125678", "2022-06-30T13:05:43.125678+01:00"),
        ("2022-06-30T13:05:12", "2022-06-30T13:05:12+01:00"),
        ("2022-06-30T13:05:12.500000", "2022-06-30T13:05:12.500000+01:00"),
        ("2022-12-30T13:05:12", "2022-12-30T13:05:12+00:00"),
        ("2022-06-30T11:00:00-07:00", "2022-06-30T11:00:00-07:00"),
        ("2022-06-30T18:00:00Z", "2022-06-30T18:00:00+00:00"),
        ("2022-10-30T01:30:00", "2022-10-30T01:30:00+01:00"),  # clocks go back: occurs twice, the first is taken
    ],
)
@pytest.mark.parametrize("alias", ["Europe/London", "GB"])
def test_naive_times_get_the_zone_of_the_lab_and_aware_times_stay(written, expected, alias):
    record = small_record(session={"start_time": written}, lab={"timezone": alias})
    assert nwb_field(record, "NWBFile.session_start_time") == expected


def test_the_zone_given_overrides_the_zone_of_the_lab():
    record = small_record(subject={"birth_date": "2022-02-14"})
    metadata = to_nwb_metadata(record, timezone="Asia/Tokyo")
    assert metadata["NWBFile"]["session_start_time"] == "2022-06-30T13:05:43+09:00"
    assert metadata["Subject"]["date_of_birth"] == "2022-02-14T00:00:00+09:00"


@pytest.mark.parametrize("zone", [None, ""])
def test_a_missing_zone_is_an_error_with_a_way_out(zone):
    record = small_record(lab={"timezone": zone})
    with pytest.raises(MetadataIncompleteError, match=r"'lab1'.*2022-06-30T13:05:43.*--timezone"):
        to_nwb_metadata(record)
    assert nwb_field(record, "NWBFile.session_start_time", timezone="GB") == "2022-06-30T13:05:43+01:00"


def test_a_missing_lab_is_an_error_with_a_way_out():
    record = AlyxRecord.from_rest(session={"id": EID, "start_time": "2022-06-30T13:05:43"})
    with pytest.raises(MetadataIncompleteError, match="--timezone"):
        to_nwb_metadata(record)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "America", "/etc/passwd", "../UTC", "London time"])
def test_an_invalid_zone_is_an_error_with_a_way_out(zone):
    with pytest.raises(MetadataIncompleteError, match=f"'{re.escape(zone)}'.*--timezone"):
        to_nwb_metadata(small_record(lab={"timezone": zone}))
    with pytest.raises(MetadataIncompleteError, match=f"'{re.escape(zone)}'.*--timezone"):
        to_nwb_metadata(small_record(), timezone=zone)


def test_an_aware_start_without_a_lab_places_the_birth_in_its_own_offset():
    record = AlyxRecord.from_rest(
        session={"id": EID, "start_time": "2022-06-30T11:00:00-07:00"},
        subject={"nickname": "M1", "birth_date": "2022-02-14"},
    )
    assert record.to_nwb_metadata()["Subject"] == {
        "subject_id": "M1",
        "date_of_birth": "2022-02-14T00:00:00-07:00",
        "age": "P136D",
    }


@given(
    start=st.datetimes(min_value=datetime(2015, 1, 1), max_value=datetime(2030, 1, 1)),
    days=st.integers(min_value=0, max_value=2000),
    zone=st.sampled_from(["GB", "America/Los_Angeles", "Asia/Tokyo", "UTC"]),
)
@settings(max_examples=50, deadline=None)
def test_age_is_counted_in_days_of_the_local_calendar(start, days, zone):
    birth = (start - timedelta(days=days)).date()
    record = small_record(
        session={"start_time": start.isoformat()}, subject={"birth_date": birth.isoformat()}, lab={"timezone": zone}
    )
    assert nwb_field(record, "Subject.age") == f"P{days}D"
    assert nwb_field(record, "NWBFile.session_start_time") == start.replace(tzinfo=ZoneInfo(zone)).isoformat()


def test_age_of_an_aware_start_is_counted_where_the_lab_is():
    """Half past midnight UTC is still the day before in Los Angeles."""
    record = small_record(
        session={"start_time": "2022-06-30T00:30:00+00:00"},
        subject={"birth_date": "2022-06-28"},
        lab={"timezone": "America/Los_Angeles"},
    )
    assert nwb_field(record, "Subject.age") == "P1D"


def test_a_birth_after_the_session_is_an_error():
    with pytest.raises(MetadataIncompleteError, match="2023-01-01.*2022-06-30.*birth_date"):
        to_nwb_metadata(small_record(subject={"birth_date": "2023-01-01"}))


@given(
    minutes=st.lists(st.integers(min_value=-3000, max_value=3000), unique=True, max_size=8),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=50, deadline=None)
def test_weight_is_that_of_the_last_weighing_not_after_the_start(minutes, order):
    start = datetime(2022, 6, 30, 13, 5, 43)
    weighings = [
        {"date_time": (start + timedelta(minutes=minute)).isoformat(), "weight": 20 + number / 10}
        for number, minute in enumerate(minutes)
    ]
    expected = None
    for weighing in sorted(weighings, key=lambda weighing: weighing["date_time"]):
        if weighing["date_time"] <= start.isoformat():
            expected = weighing["weight"]
    order.shuffle(weighings)
    found = nwb_field(small_record(weighings=weighings), "Subject.weight")
    if expected is None:
        assert found is None
    else:
        assert float(found.removesuffix(" kg")) == pytest.approx(expected / 1000)


def test_a_weighing_in_the_second_of_the_start_counts():
    """As public sessions have it: the session starts at 12:58:00, its weighing was saved at 12:58:00.410375."""
    weighings = [
        {"date_time": "2020-03-22T12:00:00", "weight": 19.5},
        {"date_time": "2020-03-23T12:58:00.410375", "weight": 19.11},
        {"date_time": "2020-03-23T12:58:01", "weight": 25.0},
    ]
    record = small_record(session={"start_time": "2020-03-23T12:58:00"}, weighings=weighings)
    assert nwb_field(record, "Subject.weight") == "0.01911 kg"


@pytest.mark.parametrize(
    ("grams", "text"),
    [(21.4, "0.0214 kg"), (21.1, "0.0211 kg"), (20, "0.02 kg"), (20.099999999999998, "0.020099999999999998 kg"),
     (21000.0, "21 kg"), (0.0, None), (None, None)],
)  # fmt: skip
def test_weight_is_text_in_kg_without_rounding(grams, text):
    record = small_record(weighings=[{"date_time": "2022-06-30T12:00:00", "weight": grams}])
    assert nwb_field(record, "Subject.weight") == text


def test_weighings_without_a_time_are_passed_over():
    assert nwb_field(small_record(weighings=[{"date_time": None, "weight": 20.0}]), "Subject.weight") is None


@pytest.mark.parametrize("account", ["root", "admin", "Admin", "service", "intbrainlab"])
def test_service_accounts_are_no_experimenters_but_stay_in_the_record(account):
    record = small_record(session={"users": [account, "noel.rig"]})
    assert nwb_field(record, "NWBFile.experimenter") == ["Rig, Noel"]
    assert account in record.session.users
    assert nwb_field(small_record(session={"users": [account]}), "NWBFile.experimenter") is None


@pytest.mark.parametrize(
    ("user", "experimenter"),
    [
        ("jane.doe", "Doe, Jane"),
        ("anne-marie.doe", "Doe, Anne-Marie"),
        ("chrisk", "chrisk"),
        ("c331cf27", "c331cf27"),
        ("j.doe", "j.doe"),
        ("jane.van.doe", "jane.van.doe"),
        ("rig2.test1", "rig2.test1"),
        ("jane.", "jane."),
    ],
)
def test_only_user_names_of_the_form_first_dot_last_become_last_comma_first(user, experimenter):
    assert nwb_field(small_record(session={"users": [user]}), "NWBFile.experimenter") == [experimenter]


@pytest.mark.parametrize(
    ("session", "sentence"),
    [
        ({"task_protocol": "habituation"}, "Session running task protocol habituation."),
        ({"procedures": ["A", "C", "B"]}, "Session with A, B and C."),
        ({"projects": ["p2", "p1"]}, "Session for projects p1 and p2."),
        ({"task_protocol": "", "procedures": [], "projects": []}, None),
    ],
)
def test_session_description_tells_what_there_is(session, sentence):
    assert nwb_field(small_record(session=session), "NWBFile.session_description") == sentence


def test_experiment_description_has_a_line_for_each_project_of_the_session():
    projects = [{"name": "p1", "description": "Map of the brain"}, {"name": "p9", "description": "Not of this session"}]
    record = small_record(session={"projects": ["p2", "p1"]}, projects=projects)
    assert nwb_field(record, "NWBFile.experiment_description") == "Project p1: Map of the brain\nProject p2"


@pytest.mark.parametrize(
    ("genotype", "words"),
    [
        ([{"allele": "B", "zygosity": 2}, {"allele": "A-Cre", "zygosity": 1}], "A-Cre heterozygous; B homozygous"),
        ([{"allele": "Ai95", "zygosity": 0}, {"allele": "Ai9", "zygosity": 3}], "Ai9 present; Ai95 absent"),
        (["VGlut1-Cre +/-", "Ai95 +/+", "X -/-", "Camk2a-tTa +"],
         "Ai95 homozygous; Camk2a-tTa present; VGlut1-Cre heterozygous; X absent"),
        (["Ai95 ?", "wild type"], "wild type; Ai95"),
        ([], None),
    ],
)  # fmt: skip
def test_genotype_in_words(genotype, words):
    assert nwb_field(small_record(subject={"genotype": genotype}), "Subject.genotype") == words


@needs_answers
def test_genotype_is_the_same_from_read_and_list():
    listed, read = answer("subjects_list")["results"][0], answer("subjects_read")
    assert listed["genotype"] != read["genotype"]
    session = {"id": EID, "subject": read["nickname"]}
    from_list, from_read = (AlyxRecord.from_rest(session=session, subject=subject) for subject in (listed, read))
    assert from_list.subject == from_read.subject


@pytest.mark.parametrize(
    ("nickname", "binomial"),
    [
        ("Laboratory mouse", "Mus musculus"),
        ("House mouse", "Mus musculus"),
        ("Brown rat", "Rattus norvegicus"),
        ("Lab rat", "Rattus norvegicus"),
        ("Human", "Homo sapiens"),
        ("Mus musculus", "Mus musculus"),
        ("", None),
        (None, None),
    ],
)
def test_species_is_a_binomial(nickname, binomial):
    assert nwb_field(small_record(subject={"species": nickname}), "Subject.species") == binomial


def test_an_unknown_species_is_left_out_with_a_warning(caplog):
    assert nwb_field(small_record(subject={"species": "Martian"}), "Subject.species") is None
    assert "'Martian'" in caplog.text


@pytest.mark.parametrize("blank", ["", "  ", "-", None])
def test_blank_texts_give_no_field(blank):
    record = small_record(
        session={"narrative": blank, "task_protocol": blank},
        subject={"description": blank, "strain": blank, "sex": blank},
        lab={"institution": blank},
    )
    assert record.to_nwb_metadata()["Subject"] == {"subject_id": "M1"}
    assert record.to_nwb_metadata()["NWBFile"].keys() == {"identifier", "session_id", "session_start_time", "lab"}


def test_surgeries_are_one_readable_line_each_oldest_first():
    surgeries = [
        {
            "id": "s2",
            "start_time": "2022-05-01T10:00:00",
            "procedures": ["u1", "u2"],
            "users": [],
            "narrative": "a\r\nb ",
        },
        {
            "id": "s1",
            "start_time": "2022-04-01T10:00:00.5",
            "users": ["u3"],
            "outcome_type": "n",
            "implant_weight": 0.0,
        },
        {"id": "s3", "start_time": None, "name": "Perfusion", "procedures": ["7df34087-64a2-4846-a6ff-0a8390b3c0a4"]},
    ]
    record = small_record(
        users=[{"id": "u3", "username": "jane.doe"}],
        procedures=[{"id": "u1", "name": "Headplate implant"}, {"id": "u2", "name": "Craniotomy"}],
        surgeries=surgeries,
    )
    assert nwb_field(record, "NWBFile.surgery").split("\n") == [
        "Perfusion",
        "2022-04-01: by Doe, Jane; outcome: non-recovery",
        "2022-05-01: Craniotomy and Headplate implant; a b",
    ]


def test_metadata_are_plain_json():
    metadata = small_record(subject={"birth_date": "2022-02-14"}).to_nwb_metadata()
    assert json.loads(json.dumps(metadata)) == metadata


def test_schema_version_is_the_one_the_model_asks_for():
    assert AlyxRecord.json_schema()["properties"]["schema_version"]["const"] == SCHEMA_VERSION
