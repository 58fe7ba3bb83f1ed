"""The metadata step of the GUI: its widgets, without a browser."""

import html
import json
import time

import panel as pn
import pytest

from ibl_nwb import AlyxRecord, make_document
from ibl_nwb.gui import metadata, notices
from ibl_nwb.gui.editor import DocumentEditor
from ibl_nwb.gui.fields import SectionCard
from ibl_nwb.gui.metadata import MetadataPane
from ibl_nwb.gui.state import ChosenSession, GuiState
from ibl_nwb.gui.text import Text
from ibl_nwb.gui.workspace import Workspace
from ibl_nwb.testing import example_alyx_answers, make_example_session

AGE = ("Subject", "age")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pane")


@pytest.fixture(scope="module")
def documents(folder):
    """Documents of two sessions."""
    made = []
    for number in (1, 2):
        path = make_example_session(
            folder, number=number, probes=(), raw_bands=(), audio=False, n_trials=12, cameras=("left",)
        )
        record = AlyxRecord.from_rest(**example_alyx_answers(path))
        made.append(make_document(path, alyx=record, include=["Trials", "Wheel", "Pose", "Licks"]))
    return made


@pytest.fixture(scope="module")
def opened(documents):
    """Editors whose sessions have been opened, which the page does in a thread."""
    editors = [DocumentEditor(document) for document in documents]
    assert [editor.problems for editor in editors] == [[], []]
    return editors


@pytest.fixture
def chosen(opened):
    sessions = []
    for one in opened:
        session = one.document.session
        editor = DocumentEditor(one.document)
        editor._rules = one._rules  # opening takes longer than a test
        sessions.append(
            ChosenSession(
                source=session.session_path,
                label=f"{session.subject}/{session.date}/{session.number}",
                editor=editor,
            )
        )
    return sessions


@pytest.fixture
def told(monkeypatch):
    """What was told at the corner of the page."""
    sentences = []
    monkeypatch.setattr(metadata, "notify", lambda sentence, kind="info": sentences.append((kind, sentence)))
    return sentences


@pytest.fixture
def state(folder, chosen, tmp_path):
    return GuiState(workspace=Workspace(folder, tmp_path / "output"), chosen=chosen[:1], current=chosen[0])


@pytest.fixture
def pane(state, told, monkeypatch):
    """The pane with its cards closed: most tests need few of the widgets."""
    monkeypatch.setattr(metadata, "_OPEN", ())
    return MetadataPane(state)


def field(pane, *path):
    """The field editor at a path; its block is opened, cards inside are not."""
    pane.cards[path[0]].view.collapsed = False

    def made(cards):
        for card in cards:
            yield from card.fields
            yield from made(card.cards)

    (found,) = [editor for editor in made(pane.cards.values()) if editor.field.path == path]
    return found


def click(button):
    button.param.trigger("clicks")


def type_text(editor, text):
    """Type as the browser tells it: each text on the way, then the whole one when the field is left."""
    for end in range(1, len(text) + 1):
        editor.widget.value_input = text[:end]
    editor.widget.value = text


def shown(viewable):
    """All texts of a part of the page."""
    return " ".join(str(text.object) for text in viewable.select(Text) if text.visible)


class TestForm:
    def test_without_a_session_it_says_what_to_do(self, folder):
        pane = MetadataPane(GuiState(workspace=Workspace(folder, folder)))
        assert "Choose one in Find" in pane.lead.object and not pane._body.visible

    def test_a_session_that_is_not_open_yet(self, state, pane, chosen):
        state.current = ChosenSession(source="eid", label="KS014/2019-12-06/001")
        assert "has to be opened first" in pane.lead.object and not pane._body.visible
        state.current.editor = chosen[1].editor
        assert pane._body.visible

    def test_widgets_are_made_when_a_card_is_opened(self, state, told):
        pane = MetadataPane(state)
        assert len(pane.cards["NWBFile"].fields) == 18 and len(pane.cards["Subject"].fields) == 10
        assert pane.cards["Pose"].fields == [] and pane.cards["Pose"].cards == []
        assert len(pane.view.select(pn.widgets.Widget)) < 250
        pane.cards["Wheel"].view.collapsed = False
        titles = [card.section.path for card in pane.cards["Wheel"].cards]
        assert ("Wheel", "wheel", "WheelPosition") in titles and pane.cards["Wheel"].cards[0].fields == []

    def test_labels_mark_what_is_asked_for(self, pane):
        assert field(pane, "NWBFile", "session_start_time").widget.name == "Session start time *"
        assert field(pane, *AGE).widget.name == "Age ◆"
        assert field(pane, "Subject", "strain").widget.name == "Strain"

    def test_values_and_help(self, pane, documents):
        start = field(pane, "NWBFile", "session_start_time")
        assert start.widget.value == documents[0].metadata["NWBFile"]["session_start_time"]
        assert (
            field(pane, "NWBFile", "keywords").widget.value.split("\n")
            == (documents[0].metadata["NWBFile"]["keywords"])
        )
        assert "90 days" in field(pane, *AGE).widget.description
        assert field(pane, "Subject", "sex").widget.options["F, female"] == "F"

    def test_showing_is_no_edit(self, pane, chosen):
        for card in pane.cards.values():
            card.view.collapsed = False
            for inner in card.cards:
                inner.view.collapsed = False
        assert [one.editor.version for one in chosen] == [0, 0]

    def test_switching_is_quick_and_keeps_edits(self, state, pane, chosen):
        type_text(field(pane, *AGE), "P26W")
        begun = time.perf_counter()
        state.current = chosen[1]
        assert time.perf_counter() - begun < 1
        assert field(pane, *AGE).widget.value == "P142D"
        state.current = chosen[0]
        assert field(pane, *AGE).widget.value == "P26W" and chosen[1].editor.version == 0

    def test_another_window_sees_the_edit(self, state, pane, folder, chosen):
        other = MetadataPane(GuiState(workspace=state.workspace, chosen=chosen, current=chosen[0]))
        type_text(field(pane, *AGE), "P26W")
        assert field(other, *AGE).widget.value == "P26W"

    def test_a_closed_window_watches_nothing(self, state, pane, chosen):
        state.param.update(chosen=[], current=None)
        assert not any(one.editor.param.watchers.get("version", {}).get("value") for one in chosen)


class TestProblems:
    def test_a_wrong_age_is_told_while_it_is_typed(self, pane):
        age = field(pane, *AGE)
        age.widget.value_input = "26 weeks"
        assert "does not follow ISO 8601" in age.message.object and age.message.visible
        assert "has-problem" in age.view.css_classes
        assert pane.count.object == "1 error" and pane.cards["Subject"]._count.object == "1 error"
        assert pane.cards["NWBFile"]._count.object == ""
        age.widget.value_input = "P26W"
        assert not age.message.visible and pane.count.object == "No problems."
        assert age.view.css_classes == ["field"]

    def test_what_is_being_typed_is_left_alone(self, pane):
        age = field(pane, *AGE)
        age.widget.value_input = "26"
        assert age.widget.value == "P142D", "a value from here would come in between the keys"

    def test_typing_is_one_step_of_undo(self, pane, chosen):
        type_text(field(pane, *AGE), "P26W")
        type_text(field(pane, *AGE), "P27W")
        click(pane.undo)
        assert field(pane, *AGE).widget.value == "P26W"
        click(pane.undo)
        assert field(pane, *AGE).widget.value == "P142D" and pane.undo.disabled and not pane.redo.disabled
        click(pane.redo)
        assert chosen[0].editor.get(AGE) == "P26W"

    def test_typing_back_is_seen(self, pane, chosen):
        age = field(pane, *AGE)
        for text in ("P142D!", "P142D"):
            age.widget.value_input = text
        assert chosen[0].editor.get(AGE) == "P142D"
        chosen[0].editor.set(AGE, "P26W")
        assert age.widget.value == "P26W", "it is not taken for being typed in any more"

    def test_jump_to_a_problem(self, pane):
        type_text(field(pane, *AGE), "26 weeks")
        (jump,) = pane.jumps
        assert jump.name == "Error at Subject › age"
        click(jump)
        assert not pane.form.visible and pane.found.visible
        (found,) = pane._found
        assert found.widget.name == "Subject › Age ◆" and "ISO 8601" in found.message.object
        type_text(found, "P26W")
        assert len(pane.jumps) == 0 and not found.message.visible
        click(pane.show_all)
        assert pane.form.visible and field(pane, *AGE).widget.value == "P26W"

    def test_find_a_field(self, pane):
        pane.search.value_input = "wheelpos descr"
        assert pane._found[0].field.path == ("Wheel", "wheel", "WheelPosition", "description")
        assert all("wheelpos" in f"{found.field.path} {found.field.value}".lower() for found in pane._found)
        pane.search.value_input = "there is nothing like it"
        assert "There is no such field." in shown(pane.found)
        pane.search.value_input = "e"
        assert len(pane._found) == metadata._MOST_FOUND and "more" in shown(pane.found)


class TestKinds:
    def test_text_that_is_emptied_does_not_come_back(self, pane, chosen):
        type_text(field(pane, "NWBFile", "notes"), "")
        assert chosen[0].editor.get(("NWBFile", "notes")) == ""
        type_text(field(pane, "NWBFile", "pharmacology"), "Isoflurane")
        type_text(field(pane, "NWBFile", "pharmacology"), "")
        assert chosen[0].editor.get(("NWBFile", "pharmacology")) is None

    def test_lists_are_one_per_line(self, pane, chosen):
        type_text(field(pane, "NWBFile", "experimenter"), "Doe, Jane\n\n Roe, Richard \n")
        assert chosen[0].editor.get(("NWBFile", "experimenter")) == ["Doe, Jane", "Roe, Richard"]

    def test_choice(self, pane, chosen):
        sex = field(pane, "Subject", "sex").widget
        for shown_value, value in [("M", "M"), (sex.options["(blank: F)"], None), ("F", "F")]:
            sex.value = shown_value
            assert chosen[0].editor.get(("Subject", "sex")) == value
        reference = field(pane, "Subject", "age__reference").widget
        assert reference.value == reference.options["(blank: birth)"], "what a blank stands for is shown"

    def test_a_zone_for_the_clock_time(self, pane, chosen):
        start = field(pane, "NWBFile", "session_start_time")
        type_text(start, "2023-05-18T14:30:00")
        assert start.message.visible
        (zone,) = start.view.select(pn.widgets.AutocompleteInput)
        zone.value = "America/New_York"
        assert chosen[0].editor.get(("NWBFile", "session_start_time")) == "2023-05-18T14:30:00-04:00"
        assert not start.message.visible

    def test_the_zone_alone_completes_the_rigs_clock(self, state, pane, documents):
        path = documents[0].session.session_path
        editor = DocumentEditor(make_document(path, include=["Licks"]))
        assert editor.problems[0].path == ("NWBFile", "session_start_time")
        state.current = ChosenSession(source=path, label="a/2023-05-18/001", editor=editor)
        (zone,) = field(pane, "NWBFile", "session_start_time").view.select(pn.widgets.AutocompleteInput)
        zone.value = "Europe/Lisbon"
        assert editor.get(("NWBFile", "session_start_time")) == "2023-05-18T11:19:49.483998+01:00"

    def test_json_fields(self, pane, chosen):
        pane.cards["Pose"].view.collapsed = False
        card = next(c for c in pane.cards["Pose"].cards if "Skeletons" in c.section.path)
        card.view.collapsed = False
        path = ("Pose", "Skeletons", "pose_left_camera", "edges")
        edges = field(pane, *path)
        edges.widget.value = "[[0, 1]"
        assert "This is not JSON: line 1" in edges.message.object and chosen[0].editor.version == 0
        edges.widget.value = "[[0, 1]]"
        assert chosen[0].editor.get(path) == [[0, 1]]

    def test_entries_are_added_renamed_and_removed(self, pane, chosen, told):
        devices = pane.cards["Devices"]
        devices.view.collapsed = False
        name, add = tools(devices)
        name.value = "lens"
        click(add)
        card = devices.cards[-1]
        assert card.section.path == ("Devices", "lens")
        card.view.collapsed = False
        key, add_field, new_key, rename, remove = tools(card)
        key.value = "serial_number"
        click(add_field)
        type_text(field(pane, "Devices", "lens", "serial_number"), "12")
        *_, new_key, rename, remove = tools(card)
        new_key.value = "objective"
        click(rename)
        assert chosen[0].editor.get(("Devices", "objective")) == {"name": "lens", "serial_number": "12"}
        card = devices.cards[-1]
        card.view.collapsed = False
        click(tools(card)[-1])
        assert "objective" not in chosen[0].editor.get(("Devices",)) and told == []
        name, add = tools(devices)
        name.value = "left_camera"
        click(add)
        assert told == [("error", "There is a 'left_camera' already.")]

    def test_the_sessions_own_entries_have_no_remove(self, pane):
        pane.cards["Devices"].view.collapsed = False
        (card,) = pane.cards["Devices"].cards
        card.view.collapsed = False
        assert [tool.name for tool in tools(card) if isinstance(tool, pn.widgets.Button)] == ["Add field"]

    def test_one_field_in_all_sessions(self, state, pane, chosen, told):
        species = field(pane, "Subject", "species")
        assert species.tools == {}, "alone there is nothing to apply it to"
        state.chosen = chosen
        type_text(species, "Rattus norvegicus")
        click(species.tools["Apply to all"])
        assert [one.editor.get(("Subject", "species")) for one in chosen] == ["Rattus norvegicus"] * 2
        chosen[1].editor.undo()
        assert chosen[1].editor.get(("Subject", "species")) == "Mus musculus"
        assert told[-1][0] == "success" and ": 2." in told[-1][1]

    def test_what_is_of_one_session_only(self, state, pane, chosen, told):
        state.chosen = chosen
        assert "Apply to all" in field(pane, "NWBFile", "lab").tools
        assert field(pane, "NWBFile", "identifier").tools == {}
        chosen[0].editor.add(("Devices",), "lens")
        pane.edit_all(("Devices", "lens", "name"))
        assert ": 1." in told[-1][1] and "lens" not in chosen[1].editor.get(("Devices",))

        state.chosen = chosen[:1]
        assert not field(pane, "NWBFile", "lab").tools["Apply to all"].visible


def tools(card: SectionCard):
    """Widgets of a card that add, rename and remove."""
    rows = [row for row in card.view.objects if "bar" in (row.css_classes or [])]
    return [widget for row in rows for widget in row]


class TestJson:
    def test_follows_the_form(self, pane, chosen):
        assert pane.json.value == chosen[0].editor.to_json() and "alyx" not in json.loads(pane.json.value)
        type_text(field(pane, *AGE), "P26W")
        assert json.loads(pane.json.value)["metadata"]["Subject"]["age"] == "P26W"

    def test_is_used_when_asked(self, pane, chosen, documents):
        text = pane.json.value.replace('"P142D"', '"P26W"')
        pane.json.value = text
        assert chosen[0].editor.get(AGE) == "P142D" and pane.json_message.object == "Not used yet."
        click(pane.use_json)
        assert field(pane, *AGE).widget.value == "P26W" and chosen[0].editor.document.alyx == documents[0].alyx
        assert pane.use_json.disabled and pane.json.value == text

    def test_bad_json_is_refused_with_the_place(self, pane, chosen):
        pane.json.value = "{\n x"
        click(pane.use_json)
        assert pane.json_message.object.startswith("Line 2, column 2")
        assert chosen[0].editor.version == 0
        type_text(field(pane, *AGE), "P26W")
        assert pane.json.value == "{\n x", "what somebody writes is not overwritten"
        click(pane.discard_json)
        assert json.loads(pane.json.value)["metadata"]["Subject"]["age"] == "P26W" and pane.discard_json.disabled

    @pytest.mark.parametrize("place", ["session_path", "source_data"])
    def test_paths_outside_the_folders_are_refused(self, pane, chosen, place):
        content = json.loads(pane.json.value)
        if place == "session_path":
            content["session"]["session_path"] = "/etc"
        else:
            content["source_data"]["Wheel"]["session_path"] = "/etc"
        pane.json.value = json.dumps(content)
        click(pane.use_json)
        assert "outside the folders" in pane.json_message.object and chosen[0].editor.version == 0


class TestFiles:
    def test_save_is_the_document(self, pane, state, documents, tmp_path, told):
        documents[0].write_json(tmp_path / "expected.json")
        click(pane.save)
        saved = state.workspace.output_folder / "EX_001_2023-05-18_001.json"
        assert saved.read_bytes() == (tmp_path / "expected.json").read_bytes()
        assert pane._download().read() == saved.read_bytes()
        assert told == [("success", f"Saved {saved}")]

    def test_a_file_of_somebody_else_is_not_replaced_unasked(self, pane, state, told):
        path = state.workspace.output_folder / "mine.json"
        path.parent.mkdir()
        path.write_text("mine")
        pane.file_name.value = "mine"
        click(pane.save)
        assert path.read_text() == "mine" and "is there already" in told[-1][1]
        pane.replace.value = True
        click(pane.save)
        assert json.loads(path.read_text())["schema_version"] == "1"

    @pytest.mark.parametrize("name", ["../outside.json", "/tmp/outside.json"])
    def test_nothing_is_saved_outside(self, pane, state, name, told):
        pane.file_name.value = name
        click(pane.save)
        assert told[-1][0] == "error" and "outside the folders" in told[-1][1]
        assert not (state.workspace.output_folder / name).exists()

    def test_load(self, pane, chosen, documents, told):
        edited = DocumentEditor(documents[0])
        edited.set(AGE, "P26W")
        pane.upload.param.update(filename="a.json", value=edited.document.model_dump_json().encode())
        assert chosen[0].editor.document == edited.document and field(pane, *AGE).widget.value == "P26W"
        click(pane.undo)
        assert chosen[0].editor.document == documents[0] and told == []

    @pytest.mark.parametrize(
        ("content", "words"), [(b"\xff\xfe", "not a text file"), (b"{", "Line 1"), (None, "not of the current session")]
    )
    def test_what_cannot_be_loaded(self, pane, chosen, documents, told, content, words):
        other = documents[1].model_dump_json().encode()
        pane.upload.param.update(filename="a.json", value=content or other)
        assert words in told[-1][1] and chosen[0].editor.version == 0


class TestText:
    markup = "<img src=x onerror=alert(1)>"

    def test_markup_is_shown_as_text(self):
        model = Text(self.markup).get_root()
        assert self.markup not in html.unescape(model.text)
        assert html.escape(self.markup) in html.unescape(model.text)

    def test_of_a_document_too(self, pane, chosen):
        chosen[0].editor.set(("Devices", self.markup), {"name": self.markup})
        pane.cards["Devices"].view.collapsed = False
        roots = pane.view.get_root().select({"type": pn.models.HTML})
        assert any(html.escape(self.markup) in html.unescape(model.text) for model in roots)
        assert not any(self.markup in html.unescape(model.text) for model in roots)

    def test_of_a_notification(self, monkeypatch):
        class Area:
            def error(self, text, duration):
                self.text = text

        area = Area()
        monkeypatch.setattr(notices.pn.state.__class__, "notifications", property(lambda _: area))
        notices.notify(self.markup, "error")
        assert area.text == html.escape(self.markup)
