"""Step three: the metadata of the current session as a form, beside the JSON document."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import panel as pn

from ..document import ConversionDocument
from ..errors import DocumentError, IBLNWBError, UsageError
from .editor import DocumentEditor, set_in_all
from .fields import RECOMMENDED_MARK, REQUIRED_MARK, FieldEditor, SectionCard, count_classes, count_problems
from .form import Field, Section
from .notices import deliverer, in_thread, notify
from .problems import MetadataPath, Problem
from .state import ChosenSession, GuiState
from .text import Text
from .workspace import Workspace

#: Blocks that are open at first.
_OPEN = ("NWBFile", "Subject")

#: Fields that are shown at a time of those that were searched for, and problems that are listed.
_MOST_FOUND, _MOST_LISTED = 20, 12


class MetadataPane:
    """Form and JSON of the current session's document.

    Parameters
    ----------
    state : GuiState
        What the window shows.
    """

    def __init__(self, state: GuiState):
        self.state, self.workspace = state, cast(Workspace, state.workspace)
        self.cards: dict[str, SectionCard] = {}
        self._editor: DocumentEditor | None = None
        self._watched: list[tuple[Any, Any]] = []
        self._found: list[FieldEditor] = []
        self._only_path: MetadataPath | None = None
        self._saved: set[Path] = set()
        self._json_shown = ""
        self._deliver = deliverer()
        self._make_widgets()
        self.view = pn.Column(self.lead, self._body, sizing_mode="stretch_width", css_classes=["metadata"])
        state.param.watch(lambda *_: self._follow(), ["current", "chosen"])
        self._follow()

    def _make_widgets(self) -> None:
        self.lead = Text("", css_classes=["lead"])
        self.undo = _button("Undo", lambda: self._with_editor(DocumentEditor.undo), align="end")
        self.redo = _button("Redo", lambda: self._with_editor(DocumentEditor.redo), align="end")
        self.file_name = pn.widgets.TextInput(name="File in the output folder", width=240, align="end")
        self.replace = pn.widgets.Checkbox(name="Replace it if it is there", align="end", margin=(5, 10, 14, 10))
        self.save = _button("Save document", self._save, button_type="primary", align="end")
        self.download = pn.widgets.FileDownload(
            callback=self._download, filename="document.json", label="Download", align="end", width=170
        )
        self.upload = pn.widgets.FileInput(accept=".json", multiple=False)
        self.upload.param.watch(lambda _: self._load(), "value")
        self.search = pn.widgets.TextInput(
            name="Find a field", placeholder="Part of a name, a value or a description", sizing_mode="stretch_width"
        )
        self.search.param.watch(lambda _: self._look_for(None), "value_input")
        self.show_all = _button("Show all fields", self._show_everything, align="end", visible=False)
        self.count = Text("", css_classes=["count"])
        self.jumps = pn.Column(sizing_mode="stretch_width", css_classes=["jumps"])
        self.found = pn.Column(visible=False, sizing_mode="stretch_width")
        self.form = pn.Column(sizing_mode="stretch_width")
        self.json = pn.widgets.CodeEditor(
            language="json", indent=2, soft_tabs=True, sizing_mode="stretch_width", height=720
        )
        self.json.param.watch(lambda _: self._check_json(), "value")
        self.json_message = Text("", css_classes=["field-message"], sizing_mode="stretch_width")
        self.use_json = _button("Use this JSON", self._use_json, disabled=True)
        self.discard_json = _button("Discard", self._discard_json, disabled=True)
        legend = f"{REQUIRED_MARK} needed    {RECOMMENDED_MARK} DANDI asks for it"
        left = pn.Column(
            pn.Row(self.search, self.show_all, sizing_mode="stretch_width"),
            pn.Row(self.count, pn.layout.HSpacer(), Text(legend, css_classes=["help"])),
            self.jumps,
            self.found,
            self.form,
            sizing_mode="stretch_width",
            min_width=520,
        )
        right = pn.Column(
            Text("The same as JSON, but for what Alyx says", css_classes=["heading"]),
            self.json,
            self.json_message,
            pn.Row(self.use_json, self.discard_json, css_classes=["bar"]),
            sizing_mode="stretch_width",
            min_width=380,
            css_classes=["beside"],
        )
        bar = pn.Row(
            self.undo,
            self.redo,
            self.file_name,
            self.replace,
            self.save,
            self.download,
            pn.Column(Text("Load a document", margin=(0, 10)), self.upload, align="end"),
            css_classes=["bar"],
            sizing_mode="stretch_width",
        )
        self._body = pn.Column(bar, pn.Row(left, right, sizing_mode="stretch_width"), sizing_mode="stretch_width")

    # What fields and sections ask for

    @property
    def n_sessions(self) -> int:
        """Chosen sessions that can be edited."""
        return sum(chosen.editor is not None for chosen in self.state.chosen)

    def edit(self, path: MetadataPath, value: Any, *, typing: bool = False) -> None:
        """Give a field another value."""
        self._with_editor(lambda editor: editor.set(path, value, typing=typing))

    def edit_all(self, path: MetadataPath) -> None:
        """Give a field of all chosen sessions that have it the value that it has here."""
        if self._editor is None:
            return
        opened = [chosen.editor for chosen in self.state.chosen if chosen.editor is not None]
        editors = [editor for editor in opened if editor.get(path[:-1]) is not None]
        value, place = self._editor.get(path), ".".join(map(str, path))

        def apply() -> None:
            set_in_all(editors, path, value)
            notify(
                f"{place} now is the same in all sessions that have it: {len(editors)}. Each can undo it.", "success"
            )

        self._try(apply)

    def add(self, path: MetadataPath, key: str) -> None:
        """Add an entry or a field."""
        self._with_editor(lambda editor: editor.add(path, key))

    def rename(self, path: MetadataPath, key: str) -> None:
        """Give an entry another key."""
        self._with_editor(lambda editor: editor.rename(path, key))

    def remove(self, path: MetadataPath) -> None:
        """Take an entry or a field away."""
        self._with_editor(lambda editor: editor.remove(path))

    def problems_at(self, path: MetadataPath) -> list[Problem]:
        """Problems of exactly this place."""
        return [problem for problem in self._problems if problem.path == path]

    def problems_below(self, path: MetadataPath) -> list[Problem]:
        """Problems of this place and those inside it."""
        return [problem for problem in self._problems if problem.path[: len(path)] == path]

    def start_by_rig_clock(self) -> datetime | None:
        """Start of the session by the rig's clock, if it is known."""
        return self._editor.rules.start_by_rig_clock if self._editor is not None else None

    @property
    def _problems(self) -> list[Problem]:
        return self._editor.problems if self._editor is not None else []

    # Following the session

    def _follow(self) -> None:
        """Watch the current session and its editor, and no other."""
        for watched, watcher in self._watched:
            watched.param.unwatch(watcher)
        self._watched = []
        current: ChosenSession | None = self.state.current
        if current is not None:
            self._watch(current, self._follow, ["editor", "error"])
        editor = current.editor if current is not None else None
        is_other = editor is not self._editor
        self._editor = editor
        if editor is not None:
            self._watch(editor, self._show, ["version"])
        self.lead.object = _sentence(current)
        self._body.visible = editor is not None
        if is_other:
            self._start_session(current)
        self._show()

    def _watch(self, watched: Any, react: Callable[[], None], names: list[str]) -> None:
        # Another window or a thread may be what changed it.
        self._watched.append((watched, watched.param.watch(lambda *_: self._deliver(react), names)))

    def _start_session(self, current: ChosenSession | None) -> None:
        self._json_shown = self.json.value = ""
        self._only_path = None
        self.search.value = self.search.value_input = ""
        if current is not None:
            self.file_name.value = f"{current.label.replace('/', '_')}.json"

    def _show(self) -> None:
        """Show the document as it is now; if its session has to be opened first, once that is done."""
        editor = self._editor
        if editor is None:
            return
        if not editor.is_ready:
            self.lead.object = "The session's files are being looked at ..."
            in_thread(
                lambda: (editor.form, editor.problems), lambda _: self._show() if editor is self._editor else None
            )
            return
        self.lead.object = _sentence(self.state.current)
        self._show_form(editor.form)
        self._show_problems(editor.problems)
        self._show_found()
        self._show_json()
        self.undo.disabled, self.redo.disabled = not editor.can_undo, not editor.can_redo

    def _show_form(self, form: list[Section]) -> None:
        names = [section.title for section in form]
        for section in form:
            if section.title in self.cards:
                self.cards[section.title].show(section)
            else:
                self.cards[section.title] = SectionCard(section, self, section.title, is_open=section.title in _OPEN)
        views = [self.cards[name].view for name in names]
        if views != list(self.form.objects):
            self.cards = {name: self.cards[name] for name in names}
            self.form.objects = views

    def _show_problems(self, problems: list[Problem]) -> None:
        self.count.object = count_problems(problems) or "No problems."
        self.count.css_classes = count_classes(problems)
        jumps: list[Any] = [self._make_jump(problem) for problem in problems[:_MOST_LISTED]]
        if len(problems) > _MOST_LISTED:
            jumps.append(Text(f"and {len(problems) - _MOST_LISTED} more"))
        self.jumps.objects = jumps

    def _make_jump(self, problem: Problem) -> pn.viewable.Viewable:
        if not problem.path:
            return Text(f"{problem.message} {problem.advice}".strip(), css_classes=["field-message"])
        place = " › ".join(map(str, problem.path))
        mark = "Error" if problem.severity == "error" else "Warning"
        button = _button(f"{mark} at {place}", lambda: self._look_for(problem.path))
        button.css_classes = ["jump", problem.severity]
        return button

    # Finding fields

    def show_field(self, path: MetadataPath) -> None:
        """Show the fields at a path, such as that of a problem that another step tells of."""
        self._look_for(path)

    def _look_for(self, path: MetadataPath | None) -> None:
        """Show the fields at a path, or those that the words in the search box describe."""
        self._only_path = path
        if path is not None:
            self.search.value = self.search.value_input = ""
        self._found = []
        self._show_found()

    def _show_everything(self) -> None:
        self.search.value = self.search.value_input = ""
        self._look_for(None)

    def _show_found(self) -> None:
        words = (self.search.value_input or "").lower().split()
        is_on = bool(words) or self._only_path is not None
        self.found.visible, self.form.visible, self.show_all.visible = is_on, not is_on, is_on
        if not is_on or self._editor is None or not self._editor.is_ready:
            self.found.objects = []
            return
        fields = [field for section in self._editor.form for field in section.all_fields()]
        path = self._only_path
        matching = [f for f in fields if _is_at(f, path)] if path is not None else _with_words(fields, words)
        shown = matching[:_MOST_FOUND]
        if [(e.field.path, e.field.kind) for e in self._found] == [(f.path, f.kind) for f in shown] and self._found:
            for editor, field in zip(self._found, shown, strict=True):
                editor.show(field)
            return
        self._found = [FieldEditor(field, self, with_path=True) for field in shown]
        rest = len(matching) - len(shown)
        more = [Text(f"and {rest} more: write more of the name", css_classes=["help"])] if rest else []
        none = [] if matching else [Text("There is no such field.", css_classes=["help"])]
        self.found.objects = [*none, *(editor.view for editor in self._found), *more]

    # The JSON

    def _show_json(self) -> None:
        """Show the JSON, unless somebody is writing in it."""
        if self._editor is None or self.json.value != self._json_shown:
            return
        text = self._editor.to_json()
        if text != self._json_shown:
            self._json_shown = text
            self.json.value = text

    def _check_json(self) -> None:
        is_changed = self.json.value != self._json_shown
        self.use_json.disabled = self.discard_json.disabled = not is_changed
        self.json_message.object = "Not used yet." if is_changed else ""

    def _use_json(self) -> None:
        editor, text = self._editor, self.json.value
        if editor is None:
            return
        try:
            editor.replace_json(text, lambda document: self._check_document(document))
        except IBLNWBError as error:
            self.json_message.object = f"{error} The document stays as it was."
            return
        self._json_shown = text
        self._check_json()
        self._show()

    def _discard_json(self) -> None:
        self.json.value = self._json_shown
        self._show_json()

    # Files

    def _save(self) -> None:
        self._try(self._save_document)

    def _save_document(self) -> None:
        if self._editor is None:
            return
        name = (self.file_name.value or "").strip()
        path = self.workspace.writable(name if name.endswith(".json") else f"{name}.json")
        if path.exists() and path not in self._saved and not self.replace.value:
            raise UsageError(f"'{path.name}' is there already. Tick '{self.replace.name}', or choose another name.")
        self._editor.save(path)
        self._saved.add(path)
        notify(f"Saved {path}", "success")

    def _download(self) -> io.BytesIO:
        if self._editor is None:
            return io.BytesIO()
        self.download.filename = self.file_name.value or "document.json"
        return io.BytesIO((self._editor.document.model_dump_json(indent=2) + "\n").encode())

    def _load(self) -> None:
        content, editor = self.upload.value, self._editor
        if not content or editor is None:
            return
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            notify(f"'{self.upload.filename}' is not a text file.", "error")
            return
        self._try(lambda: editor.replace_json(text, self._check_document))

    def _check_document(self, document: ConversionDocument) -> None:
        """Refuse a document of another session, and one that reads what this page was not started for."""
        if self._editor is None:
            return
        own = self._editor.document.session
        check_paths(document, self.workspace, Path(own.session_path))
        for name in ("subject", "date", "number"):
            if getattr(document.session, name) != getattr(own, name):
                raise DocumentError(
                    f"This is the document of {document.session.subject}/{document.session.date}/"
                    f"{document.session.number}, not of the current session. Choose that session in Find."
                )

    def _with_editor(self, action: Callable[[DocumentEditor], None]) -> None:
        editor = self._editor
        if editor is not None:
            self._try(lambda: action(editor))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except IBLNWBError as error:
            notify(str(error), "error")


def check_paths(document: ConversionDocument, workspace: Workspace, opened: Path) -> None:
    """Refuse a document that reads files outside the folders of a workspace and of a session.

    Parameters
    ----------
    document : ConversionDocument
        The document.
    workspace : Workspace
        The folders.
    opened : pathlib.Path
        Folder of the session that is open; one that was downloaded is in ONE's cache, wherever that is.

    Raises
    ------
    UsageError
        If the session folder, or a path among the arguments of an interface, is outside.
    """
    paths = [document.session.session_path]
    for arguments in document.source_data.values():
        for name, value in arguments.items():
            if name.endswith(("path", "folder", "file")) and isinstance(value, str):
                paths.append(value)
    for path in paths:
        if not Path(path).resolve().is_relative_to(opened.resolve()):
            workspace.readable(path)


def _sentence(current: ChosenSession | None) -> str:
    if current is None:
        return "No session is chosen yet. Choose one in Find."
    if current.editor is None:
        return current.error or f"{current.label} has to be opened first, in Contents."
    return (
        f"{current.label}: check what will be written into the file, and correct it. Edits are kept as you make them."
    )


def _is_at(field: Field, path: MetadataPath) -> bool:
    return field.path[: len(path)] == path or path[: len(field.path)] == field.path


def _with_words(fields: list[Field], words: list[str]) -> list[Field]:
    """Fields with all the words, those first that have them in their names."""
    named: list[Field] = []
    others: list[Field] = []
    for field in fields:
        name = " ".join(map(str, (*field.path, field.label))).lower()
        text = f"{name} {field.value} {field.help}".lower()
        if all(word in text for word in words):
            (named if all(word in name for word in words) else others).append(field)
    return named + others


def _button(name: str, react: Callable[[], None], **options: Any) -> pn.widgets.Button:
    button = pn.widgets.Button(name=name, **options)
    button.on_click(lambda _: react())
    return button
