"""What the GUI edits, without its page: the form, what is wrong with it, edits, undo and autosave."""

import copy
import json
import time

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from nwbinspector import inspect_nwbfile, load_config

from ibl_nwb import AlyxRecord, ConversionDocument, convert_document, make_document
from ibl_nwb.cli import main
from ibl_nwb.document import SessionReference
from ibl_nwb.errors import DocumentError, IBLNWBError, OutputNotWritableError, UsageError
from ibl_nwb.gui.editor import DocumentEditor, set_in_all
from ibl_nwb.gui.form import OF_THE_MAKING, make_form
from ibl_nwb.gui.problems import MetadataRules, find_problems
from ibl_nwb.testing import example_alyx_answers, make_example_session

#: One value of the subject each, the severity that DANDI gives it, and whether the conversion stops at it.
WRONG_SUBJECTS = [
    ("age", "26 weeks", "error", False),
    ("age", "garbage", "error", False),
    ("age", "P", "error", False),
    ("age", "P90", "error", False),
    ("age", "12", "error", False),
    ("age", "P12W/P10W", "error", False),
    ("sex", "female", "error", True),
    ("sex", "XX", "error", False),
    ("species", "mouse", "error", True),
    ("species", "Laboratory mouse (M. musculus)", "error", False),
    ("subject_id", "a/b", "error", False),
    ("weight", "25", "error", False),
    ("date_of_birth", "last spring", "error", True),
    ("date_of_birth", "2023-02-31", "error", True),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gui")


@pytest.fixture(scope="module")
def session_path(folder):
    return make_example_session(folder, probes=("probe00",), raw_bands=(), audio=False, n_trials=12, cameras=("left",))


@pytest.fixture(scope="module")
def alyx_path(folder, session_path):
    path = folder / "alyx.json"
    AlyxRecord.from_rest(**example_alyx_answers(session_path)).write_json(path)
    return path


@pytest.fixture(scope="module")
def document(session_path, alyx_path):
    return make_document(session_path, alyx=alyx_path)


@pytest.fixture(scope="module")
def document_path(folder, session_path, alyx_path):
    """The document as the command line writes it."""
    path = folder / "document.json"
    result = CliRunner().invoke(main, ["metadata", str(session_path), "--alyx", str(alyx_path), "-o", str(path)])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def rules(document):
    return MetadataRules(document)


@pytest.fixture(scope="module")
def fields(document, rules):
    form = make_form(rules.schema, document.metadata, rules.defaults)
    return {field.path: field for section in form for field in section.all_fields()}


@pytest.fixture
def editor(document):
    return DocumentEditor(document)


def with_metadata(document, **blocks):
    """A copy of a document with other values."""
    metadata = copy.deepcopy(document.metadata)
    for block, values in blocks.items():
        metadata.setdefault(block, {}).update(values)
    return document.model_copy(update={"metadata": metadata})


def schema_leaves(node, path=()):
    """Paths of what a schema declares below objects, found without the form."""
    properties = node.get("properties", {})
    if not properties:
        yield path
    for key, child in properties.items():
        yield from schema_leaves(child, (*path, key))


def value_leaves(content, path=()):
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from value_leaves(value, (*path, key))
    elif isinstance(content, list) and content and isinstance(content[0], dict):
        for index, value in enumerate(content):
            yield from value_leaves(value, (*path, index))
    else:
        yield path, content


def problems_at(problems, *path):
    return [problem for problem in problems if problem.path == path]


class TestForm:
    def test_every_leaf_of_the_schema_is_in_it(self, fields, rules):
        leaves = set(schema_leaves(rules.schema)) - set(OF_THE_MAKING)
        assert leaves - set(fields) == {  # maps and lists, which the schema does not look into
            ("Devices",),
            ("DeviceModels",),
            ("Ecephys", "ElectrodeGroups"),
            ("Ecephys", "Electrodes"),
        }
        assert len(leaves) > 200

    def test_every_value_of_the_document_is_in_it(self, fields, document):
        leaves = dict(value_leaves(document.metadata))
        assert leaves.keys() <= fields.keys()
        assert {path: fields[path].value for path in leaves} == leaves

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            (("NWBFile", "session_start_time"), "datetime"),
            (("NWBFile", "session_description"), "long text"),
            (("NWBFile", "lab"), "text"),
            (("NWBFile", "experimenter"), "list of text"),
            (("Subject", "sex"), "choice"),
            (("Subject", "date_of_birth"), "datetime"),
            (("Ecephys", "ElectrodeGroups", "probe00", "device_metadata_key"), "choice"),
            (("Pose", "Skeletons", "pose_left_camera", "nodes"), "list of text"),
            (("Pose", "Skeletons", "pose_left_camera", "edges"), "json"),
        ],
    )
    def test_kinds(self, fields, path, kind):
        assert fields[path].kind == kind

    def test_a_value_of_the_wrong_kind_is_shown_as_it_is(self, rules):
        form = make_form(rules.schema, {"Subject": {"weight": 25, "sex": ["F"]}, "NWBFile": {"keywords": "mouse"}})
        fields = {field.path: field for section in form for field in section.all_fields()}
        for path, value in [("Subject", "weight"), 25], [("Subject", "sex"), ["F"]], [("NWBFile", "keywords"), "mouse"]:
            assert (fields[path].kind, fields[path].value) == ("json", value)

    def test_what_is_asked_for_is_marked(self, fields):
        assert [path for path, field in fields.items() if field.required and path[0] == "NWBFile"] == [
            ("NWBFile", "session_start_time")
        ]
        subject = {path[1] for path, field in fields.items() if field.recommended and path[0] == "Subject"}
        assert subject == {"subject_id", "species", "sex", "age"}

    def test_fields_refer_to_registries(self, fields, document):
        field = fields[("Ecephys", "ElectrodeGroups", "probe00", "device_metadata_key")]
        assert set(field.choices) == set(document.metadata["Devices"])

    def test_help_is_the_schemas(self, fields, rules):
        schema = rules.schema["properties"]["NWBFile"]["properties"]
        assert fields["NWBFile", "pharmacology"].help == schema["pharmacology"]["description"]

    def test_blanks_know_what_the_session_says(self, document, rules):
        form = make_form(rules.schema, with_metadata(document, Subject={"age": None}).metadata, rules.defaults)
        fields = {field.path: field for section in form for field in section.all_fields()}
        assert (fields["Subject", "age"].value, fields["Subject", "age"].default) == (None, "P142D")


class TestProblems:
    def test_the_example_has_none(self, document, rules):
        assert find_problems(document, rules) == []

    @pytest.mark.parametrize(("name", "value", "severity", "stops"), WRONG_SUBJECTS)
    def test_wrong_values_of_the_subject(self, document, rules, name, value, severity, stops):
        (problem,) = find_problems(with_metadata(document, Subject={name: value}), rules)
        assert (problem.path, problem.severity, problem.stops_conversion) == (("Subject", name), severity, stops)
        assert problem.message.endswith(".") and problem.advice

    @pytest.mark.parametrize("age", ["P90D", "P12W", "P10W/P12W", "P1Y2M", "P90Y/"])
    def test_right_ages(self, document, rules, age):
        assert find_problems(with_metadata(document, Subject={"age": age}), rules) == []

    def test_what_is_missing_for_dandi(self, session_path):
        document = make_document(session_path, timezone="Europe/Lisbon", include=["Licks"])
        found = find_problems(document, MetadataRules(document))
        assert {problem.path for problem in found if problem.severity == "error"} == {
            ("Subject", "age"),
            ("Subject", "sex"),
            ("Subject", "species"),
        }
        assert not any(problem.stops_conversion for problem in found)
        born = with_metadata(document, Subject={"date_of_birth": "2023-01-31"})
        assert ("Subject", "age") not in {problem.path for problem in find_problems(born, MetadataRules(born))}

    def test_start_without_zone_is_told_with_the_clock_time(self, session_path):
        document = make_document(session_path, include=["Licks"])
        (problem,) = problems_at(find_problems(document, MetadataRules(document)), "NWBFile", "session_start_time")
        assert "2023-05-18T11:19:49" in problem.message and problem.stops_conversion

    @pytest.mark.parametrize(
        "blocks",
        [
            {},
            {"NWBFile": {"session_start_time": "2023-05-18T14:30:00+01:00"}},
            {"NWBFile": {"session_start_time": "2023-05-18T14:30:00"}},
            {"NWBFile": {"session_start_time": "yesterday"}},
            {"NWBFile": {"session_start_time": 5}},
            {"NWBFile": {"keywords": "mouse"}},
            {"NWBFile": {"keywords": ["mouse", 5]}},
            {"NWBFile": {"agee": "x"}},
            {"Subject": {"sex": "female"}},
            {"Subject": {"age": 5}},
            {"Subject": {"age": "26 weeks"}},
            {"Subject": {"species": "mouse"}},
            {"Devices": {"lens": {"name": "Lens"}}},
            {"Devices": {"lens": {"description": "no name"}}},
            {"Devices": {"lens": {"name": "a/b"}}},
            {"Devices": {"lens": "Lens"}},
            {"Wheel": {"wheel": {"WheelPosition": {"descripton": "x"}}}},
            {"Wheel": {"wheel": {"WheelPosition": {"description": 5}}}},
            {"Whel": {"wheel": {}}},
            {"Ecephys": {"ElectrodeGroups": {"probe07": {"name": "probe07"}}}},
        ],
        ids=json.dumps,
    )
    def test_agrees_with_the_converter(self, document, rules, blocks):
        edited = with_metadata(document, **blocks)
        converter = edited.make_converter()
        try:
            converter.validate_metadata(converter.merge_metadata(edited.metadata))
            is_refused = False
        except IBLNWBError:
            is_refused = True
        assert any(problem.stops_conversion for problem in find_problems(edited, rules)) == is_refused

    def test_two_devices_of_one_name(self, document, rules):
        edited = with_metadata(document, Devices={"lens": {"name": "LeftCamera"}})
        assert [problem.path for problem in find_problems(edited, rules)] == [("Devices", "lens", "name")]

    def test_all_are_found_at_once(self, document, rules):
        edited = with_metadata(
            document,
            Subject={"age": "x", "sex": "female", "colour": "brown"},
            NWBFile={"session_start_time": "2023-05-18T14:30:00", "experimenter": ["Ada Example"]},
            Nothing={"reads": "this"},
        )
        found = find_problems(edited, rules)
        assert {problem.path for problem in found} == {
            ("Subject", "age"),
            ("Subject", "sex"),
            ("Subject", "colour"),
            ("NWBFile", "session_start_time"),
            ("NWBFile", "experimenter"),
            ("Nothing",),
        }
        severities = [problem.severity for problem in found]
        assert severities == sorted(severities), "errors come first"

    def test_says_what_the_inspector_says_of_the_file(self, document, tmp_path):
        wrong = {"age": "26 weeks", "subject_id": "a/b", "weight": "25"}
        general = {"session_id": "a/b", "experimenter": ["Ada Example"], "related_publications": ["a book"]}
        edited = with_metadata(document, Subject=wrong, NWBFile=general)
        edited = edited.model_copy(update={"source_data": {"Licks": document.source_data["Licks"]}})
        path = tmp_path / "x.nwb"
        convert_document(edited, path)
        messages = list(inspect_nwbfile(nwbfile_path=path, skip_validate=True, config=load_config("dandi")))
        of_metadata = {m.message for m in messages if m.object_type in ("Subject", "NWBFile") and m.location == "/"}
        of_metadata |= {m.message for m in messages if m.object_type == "Subject"}
        graded = {m.message: m.importance.name == "CRITICAL" for m in messages if m.message in of_metadata}
        found = find_problems(edited, MetadataRules(edited))
        assert len(found) == len(graded) == 6
        for message, is_critical in graded.items():
            (same,) = [problem for problem in found if message.startswith(problem.message)]
            assert (same.severity == "error") == is_critical

    def test_of_a_session_that_is_gone(self, document):
        gone = document.model_copy(update={"session": SessionReference(session_path="/not/there")})
        (problem,) = find_problems(gone, MetadataRules(gone))
        assert problem.path == () and "/not/there" in problem.message and problem.stops_conversion

    def test_of_nothing_left_to_convert(self, document):
        nothing = document.model_copy(update={"source_data": {}})
        (problem,) = find_problems(nothing, MetadataRules(nothing))
        assert problem.path == () and problem.stops_conversion

    def test_wrong_options_of_the_conversion(self, document, rules):
        wrong = document.model_copy(update={"conversion_options": {"Licks": {"stub": True}}})
        (problem,) = find_problems(wrong, rules)
        assert problem.path == () and "stub" in problem.message

    def test_keeps_up_with_typing(self, document, rules):
        edited = with_metadata(document, Subject={"age": "26 weeks"})

        def seconds():
            begun = time.perf_counter()
            find_problems(edited, rules)
            return time.perf_counter() - begun

        assert min(seconds() for _ in range(10)) < 0.05

    def test_does_not_change_what_it_looks_at(self, document, rules):
        defaults, schema, metadata = map(copy.deepcopy, (rules.defaults, rules.schema, document.metadata))
        find_problems(with_metadata(document, Subject={"age": 5}, Devices={"a": {}}), rules)
        assert (rules.defaults, rules.schema, document.metadata) == (defaults, schema, metadata)


class TestSameAsCommandLine:
    def test_without_edits(self, document_path, tmp_path):
        DocumentEditor.load(document_path).save(tmp_path / "saved.json")
        assert (tmp_path / "saved.json").read_bytes() == document_path.read_bytes()

    def test_after_edits_that_were_undone(self, document_path, tmp_path):
        editor = DocumentEditor.load(document_path)
        editor.set(("Subject", "age"), "P26W")
        editor.add(("Devices",), "lens")
        editor.set_included("Wheel", False)
        for _ in range(3):
            editor.undo()
        editor.save(tmp_path / "saved.json")
        assert (tmp_path / "saved.json").read_bytes() == document_path.read_bytes()

    def test_an_interface_that_came_back(self, document_path, tmp_path):
        editor = DocumentEditor.load(document_path)
        for included in (False, True):
            for name in ("Wheel", "Trials"):
                editor.set_included(name, included)
        editor.save(tmp_path / "saved.json")
        assert (tmp_path / "saved.json").read_bytes() == document_path.read_bytes()

    def test_the_same_edit(self, session_path, alyx_path, document_path, tmp_path):
        patch = {"Subject": {"age": "P26W"}, "Devices": {"lens": {"name": "Lens"}}, "NWBFile": {"keywords": ["a", "b"]}}
        (tmp_path / "patch.json").write_text(json.dumps(patch))
        command = ["metadata", str(session_path), "--alyx", str(alyx_path), "-o", str(tmp_path / "cli.json")]
        result = CliRunner().invoke(main, [*command, "--metadata", str(tmp_path / "patch.json")])
        assert result.exit_code == 0, result.output
        editor = DocumentEditor.load(document_path)
        editor.set(("Subject", "age"), "P26W")
        editor.set(("Devices", "lens", "name"), "Lens")
        editor.set(("NWBFile", "keywords"), ["a", "b"])
        editor.save(tmp_path / "gui.json")
        assert json.loads((tmp_path / "gui.json").read_text()) == json.loads((tmp_path / "cli.json").read_text())


class TestEditor:
    def test_edits_and_the_version_rises(self, editor, document):
        seen = []
        editor.param.watch(lambda event: seen.append(event.new), "version")
        before = document.model_dump_json()
        editor.set(("Subject", "age"), "P26W")
        editor.set(("NWBFile", "lab"), "another")
        assert editor.get(("Subject", "age")) == "P26W" and editor.document.metadata["NWBFile"]["lab"] == "another"
        assert seen == [1, 2] and document.model_dump_json() == before

    def test_the_same_value_is_no_edit(self, editor):
        editor.set(("Subject", "subject_id"), "EX_001")
        assert not editor.can_undo and editor.version == 0

    def test_what_is_typed_is_one_step(self, editor):
        for text in ("P", "P2", "P26", "P26W"):
            editor.set(("Subject", "age"), text, typing=True)
        editor.set(("Subject", "age"), "P26W")
        editor.set(("Subject", "age"), "P27W")
        editor.undo()
        assert editor.get(("Subject", "age")) == "P26W"
        editor.undo()
        assert editor.get(("Subject", "age")) == "P142D" and not editor.can_undo

    def test_values_are_copied(self, editor):
        keywords = ["a"]
        editor.set(("NWBFile", "keywords"), keywords)
        keywords.append("b")
        assert editor.get(("NWBFile", "keywords")) == ["a"]

    @pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
    def test_refuses_what_is_no_json(self, editor, value):
        with pytest.raises(DocumentError, match="no value of JSON"):
            editor.set(("Subject", "weight"), value)

    def test_refuses_a_path_through_a_value(self, editor):
        with pytest.raises(DocumentError, match=r"Subject\.age holds no group with a field 'weeks'"):
            editor.set(("Subject", "age", "weeks"), 3)

    def test_entries_of_lists(self, editor, document):
        columns = document.metadata["Ecephys"]["Electrodes"]
        editor.set(("Ecephys", "Electrodes", 1, "description"), "Another text.")
        edited = editor.get(("Ecephys", "Electrodes"))
        assert edited[1] == {**columns[1], "description": "Another text."}
        assert edited[:1] + edited[2:] == columns[:1] + columns[2:]

    def test_add_rename_remove(self, editor):
        editor.add(("DeviceModels",), "model")
        editor.add(("Devices",), "lens")
        editor.add(("Devices", "lens"), "serial_number")
        editor.set(("Devices", "lens", "device_model_metadata_key"), "model")
        editor.rename(("DeviceModels", "model"), "better")
        expected = {"name": "lens", "serial_number": "", "device_model_metadata_key": "better"}
        assert editor.get(("Devices", "lens")) == expected
        assert editor.problems == []
        editor.remove(("Devices", "lens"))
        assert "lens" not in editor.get(("Devices",))
        editor.undo()
        assert editor.get(("Devices", "lens")) == expected

    def test_a_renamed_entry_stays_at_its_place(self, editor):
        for key in "abc":
            editor.add(("Devices",), key)
        editor.rename(("Devices", "b"), "x")
        assert list(editor.get(("Devices",)))[-3:] == ["a", "x", "c"]

    @pytest.mark.parametrize("action", ["remove", "rename"])
    def test_what_would_come_back_stays(self, editor, action):
        arguments = [("Devices", "left_camera"), *(["other"] if action == "rename" else [])]
        with pytest.raises(UsageError, match="would come back"):
            getattr(editor, action)(*arguments)

    @pytest.mark.parametrize(
        ("path", "key", "words"),
        [
            (("Wheel",), "x", "Nothing can be added"),
            ((), "x", "Nothing can be added"),
            (("Devices",), "left_camera", "already"),
            (("Devices",), "  ", "Give a name"),
            (("Devices",), "a/b", "Give a name"),
        ],
    )
    def test_refuses_entries(self, editor, path, key, words):
        with pytest.raises(UsageError, match=words):
            editor.add(path, key)

    def test_left_out_is_not_in_the_form_and_no_problem(self, editor):
        editor.set(("Wheel", "wheel", "WheelPosition", "description"), "Mine.")
        editor.set_included("Wheel", False)
        assert "Wheel" not in editor.document.source_data
        assert "Wheel" not in [section.title for section in editor.form] and editor.problems == []
        assert editor.left_out == ("Wheel",) and editor.interfaces["Wheel"] is False
        editor.set_included("Wheel", True)
        assert editor.get(("Wheel", "wheel", "WheelPosition", "description")) == "Mine."
        assert "Wheel" in [section.title for section in editor.form]

    def test_comes_back_with_arguments_and_options(self, document):
        options = {"Wheel": {"stub_test": True}}
        editor = DocumentEditor(document.model_copy(update={"conversion_options": options}))
        sources = editor.document.source_data
        editor.set_included("Wheel", False)
        assert editor.document.conversion_options == {}
        editor.set_included("Wheel", True)
        assert editor.document.conversion_options == options and editor.document.source_data == sources
        assert list(editor.document.source_data) == list(sources)

    def test_refuses_an_unknown_interface(self, editor):
        with pytest.raises(UsageError, match="Did you mean 'Wheel'"):
            editor.set_included("Whel", False)

    def test_one_field_of_many_sessions(self, document):
        editors = [DocumentEditor(document) for _ in range(3)]
        editors[1].set(("NWBFile", "lab"), "mine")
        set_in_all(editors, ("Subject", "species"), "Rattus norvegicus")
        assert [editor.get(("Subject", "species")) for editor in editors] == ["Rattus norvegicus"] * 3
        editors[1].undo()
        assert editors[1].get(("Subject", "species")) == "Mus musculus" and editors[1].get(("NWBFile", "lab")) == "mine"
        assert editors[0].get(("Subject", "species")) == "Rattus norvegicus"


class TestJson:
    def test_the_own_text_is_no_edit(self, editor):
        editor.replace_json(editor.to_json())
        assert not editor.can_undo

    def test_takes_another_document_and_keeps_alyx(self, editor, document):
        content = json.loads(editor.to_json())
        content["metadata"]["Subject"]["age"] = "P26W"
        del content["source_data"]["Wheel"]
        editor.replace_json(json.dumps(content))
        assert editor.get(("Subject", "age")) == "P26W" and editor.document.alyx == document.alyx
        assert editor.left_out == ("Wheel",)
        editor.undo()
        assert editor.document == document and editor.left_out == ()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "Line 1, column 2"),
            ('{\n "metadata": {\n  "a": 1,\n }\n}', "Line 4"),
            ("[]", "top level"),
            ("{}", "At ibl_nwb_version"),
            ('{"metadata": NaN}', "NaN is no value"),
        ],
    )
    def test_refuses_with_the_place(self, editor, document, text, words):
        with pytest.raises(DocumentError, match=words):
            editor.replace_json(text)
        assert editor.document is document and not editor.can_undo

    def test_refuses_an_unknown_key(self, editor):
        content = json.loads(editor.to_json()) | {"metdata": {}}
        with pytest.raises(DocumentError, match="At metdata"):
            editor.replace_json(json.dumps(content))


texts = st.text(max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
edits = st.one_of(
    st.tuples(st.just("set"), st.sampled_from([("A", "a"), ("A", "b"), ("B", "c"), ("D",)]), json_values),
    st.tuples(st.just("include"), st.sampled_from("XYZ"), st.booleans()),
    st.just(("undo",)),
    st.just(("redo",)),
)


def bare_document():
    return ConversionDocument(
        ibl_nwb_version="0",
        session=SessionReference(session_path="/not/there"),
        source_data={"X": {}, "Y": {"probe_name": "probe00"}, "Z": {}},
        metadata={"NWBFile": {"lab": "l"}},
        conversion_options={"Y": {"stub_test": True}},
    )


def apply(editor, edit):
    """Make an edit; one that leads through a value is refused and changes nothing."""
    try:
        if edit[0] == "set":
            editor.set(edit[1], edit[2])
        elif edit[0] == "include":
            editor.set_included(edit[1], edit[2])
        else:
            getattr(editor, edit[0])()
    except DocumentError:
        pass


def seen(editor):
    return editor.document.model_dump_json(), editor.interfaces


class TestHistory:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(edits, max_size=12))
    def test_undo_and_redo_go_through_all_states(self, steps):
        editor = DocumentEditor(bare_document())
        states, place = [seen(editor)], 0
        for step in steps:
            before = seen(editor)
            apply(editor, step)
            if step[0] == "undo":
                place = max(place - 1, 0)
            elif step[0] == "redo":
                place = min(place + 1, len(states) - 1)
            elif seen(editor) != before:
                states, place = [*states[: place + 1], seen(editor)], place + 1
            assert seen(editor) == states[place]
            assert (editor.can_undo, editor.can_redo) == (place > 0, place < len(states) - 1)

    @settings(max_examples=30, deadline=None)
    @given(steps=st.lists(edits, min_size=1, max_size=8))
    def test_autosave_gives_back_exactly_that(self, steps, tmp_path_factory):
        path = tmp_path_factory.mktemp("autosave") / "edits.json"
        editor = DocumentEditor(bare_document(), path)
        for step in steps:
            apply(editor, step)
        if editor.version == 0:
            assert not path.exists()
            return
        restored = DocumentEditor.restore(path)
        assert seen(restored) == seen(editor)
        assert restored.can_undo == editor.can_undo
        restored.undo()
        editor.undo()
        assert seen(restored) == seen(editor)


class TestAutosave:
    def test_brings_back_what_was_left_out(self, document, tmp_path):
        path = tmp_path / "folder" / "edits.json"
        editor = DocumentEditor(document, path)
        editor.set(("Subject", "age"), "P26W")
        editor.set_included("Wheel", False)
        restored = DocumentEditor.restore(path)
        assert restored.document == editor.document and restored.left_out == ("Wheel",)
        restored.set_included("Wheel", True)
        restored.set(("Subject", "age"), "P142D")
        restored.save(tmp_path / "a.json")
        DocumentEditor(document).save(tmp_path / "b.json")
        assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
        assert [found.name for found in path.parent.iterdir()] == ["edits.json"]

    @pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: b"", lambda text: b"{}"])
    def test_a_damaged_file_is_put_aside(self, document, tmp_path, damage):
        path = tmp_path / "edits.json"
        DocumentEditor(document, path).set(("Subject", "age"), "P26W")
        content = damage(path.read_bytes())
        path.write_bytes(content)
        with pytest.raises(DocumentError, match="damaged"):
            DocumentEditor.restore(path)
        (aside,) = tmp_path.iterdir()
        assert aside.name.startswith("edits.json.") and aside.read_bytes() == content
        DocumentEditor(document, path).set(("Subject", "age"), "P27W")
        assert DocumentEditor.restore(path).get(("Subject", "age")) == "P27W"

    def test_none_to_restore(self, tmp_path):
        with pytest.raises(DocumentError, match="Cannot read"):
            DocumentEditor.restore(tmp_path / "none.json")

    def test_an_edit_that_cannot_be_kept_is_told_and_not_lost(self, document, tmp_path):
        (tmp_path / "edits.json").mkdir()
        editor = DocumentEditor(document, tmp_path / "edits.json")
        with pytest.raises(OutputNotWritableError):
            editor.set(("Subject", "age"), "P26W")
        assert editor.get(("Subject", "age")) == "P26W" and editor.version == 1
