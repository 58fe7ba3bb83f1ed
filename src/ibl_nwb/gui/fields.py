"""Widgets for the fields and sections of the metadata form; a section's are made when it is opened first."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo, available_timezones

import panel as pn

from .form import Field, Section
from .problems import MetadataPath, Problem, parse_iso
from .text import Text

#: Marks beside labels: what the schema needs, and what DANDI asks for.
REQUIRED_MARK, RECOMMENDED_MARK = "*", "◆"

_BLANK = "(blank)"

#: What stands for a blank among the values of a selection, which shows nothing for None.
_NOTHING = ""

#: Characters of a line, roughly, and most rows of a text area.
_LINE, _MOST_ROWS = 70, 12

_TYPED = ("text", "long text", "datetime", "date", "list of text")

#: Fields in which no two sessions are alike.
_OF_ONE_SESSION = tuple(("NWBFile", name) for name in ("identifier", "session_id", "session_start_time"))

_SEXES = {"M": "M, male", "F": "F, female", "U": "U, unknown", "O": "O, other"}


class Host(Protocol):
    """What fields and sections ask of the pane that they are in."""

    @property
    def n_sessions(self) -> int:
        """Chosen sessions that can be edited."""

    def edit(self, path: MetadataPath, value: Any, *, typing: bool = False) -> None:
        """Give a field another value."""

    def edit_all(self, path: MetadataPath) -> None:
        """Give a field of all chosen sessions the value that it has here."""

    def add(self, path: MetadataPath, key: str) -> None:
        """Add an entry or a field."""

    def rename(self, path: MetadataPath, key: str) -> None:
        """Give an entry another key."""

    def remove(self, path: MetadataPath) -> None:
        """Take an entry or a field away."""

    def problems_at(self, path: MetadataPath) -> list[Problem]:
        """Problems of exactly this place."""

    def problems_below(self, path: MetadataPath) -> list[Problem]:
        """Problems of this place and those inside it."""

    def start_by_rig_clock(self) -> datetime | None:
        """Start of the session by the rig's clock, if it is known."""


class FieldEditor:
    """The widget of one field, with what is wrong with it below.

    Parameters
    ----------
    field : Field
        What is edited.
    host : Host
        Takes the edits.
    with_path : bool, default: False
        Whether the label says where the field is, as it stands alone.
    """

    def __init__(self, field: Field, host: Host, *, with_path: bool = False):
        self.field, self._host = field, host
        self._with_path, self._is_typing, self._is_showing = with_path, False, False
        self.widget = _make_widget(field)
        self.message = Text("", css_classes=["field-message"], visible=False, sizing_mode="stretch_width")
        self.tools: dict[str, pn.widgets.Button] = {}
        self.widget.param.watch(self._on_value, "value")
        if field.kind in _TYPED:
            self.widget.param.watch(self._on_typing, "value_input")
        beside = [self._make_zone()] if field.path[-1] == "session_start_time" else []
        self._row = pn.Row(self.widget, *beside, sizing_mode="stretch_width")
        self.view = pn.Column(self._row, self.message, sizing_mode="stretch_width", css_classes=["field"])
        self.show(field)

    def show(self, field: Field) -> None:
        """Show the field as it is now, unless it is being typed in."""
        self.field = field
        self._show_tool(
            "Apply to all",
            "Give this field the same value in all chosen sessions.",
            self._host.edit_all,
            self._host.n_sessions > 1 and field.path not in _OF_ONE_SESSION,
        )
        self._show_tool("Remove", "Take this field away.", self._host.remove, field.can_remove)
        shown: dict[str, Any] = {"name": self._label()}
        if field.kind in ("choice", "boolean"):
            shown["options"] = _options(field)
        if hasattr(self.widget, "placeholder"):
            shown["placeholder"] = "" if field.value is not None else _as_text(field.default)
        if not self._is_typing:
            shown["value"] = _to_widget(field)
        changed = {name: value for name, value in shown.items() if getattr(self.widget, name) != value}
        if changed:
            self._is_showing = True
            self.widget.param.update(**changed)
            self._is_showing = False
        found = self._host.problems_at(field.path)
        self._tell([f"{one.message} {one.advice}".strip() for one in found], found[0].severity if found else "error")

    def _show_tool(self, name: str, help: str, act: Callable[[MetadataPath], None], is_shown: bool) -> None:
        """Show a button, which is made when it is needed first, or hide it."""
        if is_shown and name not in self.tools:
            button = pn.widgets.Button(name=name, description=help, align="end", css_classes=["small"])
            button.on_click(lambda _: act(self.field.path))
            self.tools[name] = button
            self._row.append(button)
        elif name in self.tools:
            self.tools[name].visible = is_shown

    def _label(self) -> str:
        marks = {REQUIRED_MARK: self.field.required, RECOMMENDED_MARK: self.field.recommended}
        where = " › ".join(map(str, self.field.path[:-1])) + " › " if self._with_path else ""
        return " ".join([where + self.field.label, *(mark for mark, is_so in marks.items() if is_so)])

    def _tell(self, sentences: list[str], severity: str) -> None:
        self.message.param.update(
            object="\n".join(sentences), visible=bool(sentences), css_classes=["field-message", severity]
        )
        self.view.css_classes = ["field", "has-problem", severity] if sentences else ["field"]

    def _on_typing(self, event: Any) -> None:
        if self._is_showing or (event.new == self.widget.value and not self._is_typing):
            return
        self._is_typing = event.new != self.widget.value
        self._host.edit(self.field.path, _from_text(self.field, event.new), typing=True)

    def _on_value(self, event: Any) -> None:
        if self._is_showing:
            return
        self._is_typing = False
        if self.field.kind == "json":
            try:
                value = json.loads(event.new) if event.new.strip() else None
            except json.JSONDecodeError as error:
                sentence = f"This is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
                self._tell([f"{sentence} The value stays as it was."], "error")
                return
        elif self.field.kind in _TYPED:
            value = _from_text(self.field, event.new)
        else:
            value = None if event.new == _NOTHING else event.new
        self._host.edit(self.field.path, value)

    def _make_zone(self) -> pn.widgets.AutocompleteInput:
        zone = pn.widgets.AutocompleteInput(
            name="Time zone of that clock time",
            options=_zones(),
            placeholder="Europe/Lisbon",
            case_sensitive=False,
            min_characters=1,
            search_strategy="includes",
            width=220,
        )
        zone.param.watch(self._on_zone, "value")
        return zone

    def _on_zone(self, event: Any) -> None:
        """Take the clock time as that of a zone."""
        time = parse_iso(self.field.value) or self._host.start_by_rig_clock()
        if event.new and time is not None:
            self._host.edit(self.field.path, time.replace(tzinfo=ZoneInfo(event.new)).isoformat())


class SectionCard:
    """A section that opens and closes; its fields are made when it is opened first.

    Parameters
    ----------
    section : Section
        What it holds.
    host : Host
        Takes the edits.
    title : str
        What it is called.
    is_open : bool, default: False
        Whether it begins opened.
    """

    def __init__(self, section: Section, host: Host, title: str, *, is_open: bool = False):
        self.section, self._host = section, host
        self.fields: list[FieldEditor] = []
        self.cards: list[SectionCard] = []
        self._shape: Any = None
        self._message = Text("", css_classes=["field-message"], visible=False)
        self._count = Text("", css_classes=["count"], margin=(5, 10))
        self.view = pn.Card(
            header=pn.Row(Text(title, css_classes=["card-name"], margin=(5, 0)), self._count),
            collapsed=not is_open,
            sizing_mode="stretch_width",
            css_classes=["card", "section"],
            margin=(4, 10),
        )
        self.view.param.watch(lambda _: self.show(self.section), "collapsed")
        self.show(section)

    def show(self, section: Section) -> None:
        """Show the section as it is now; what was never opened only counts its problems."""
        self.section = section
        below = self._host.problems_below(section.path)
        self._count.object = count_problems(below)
        self._count.css_classes = count_classes(below)
        if self.view.collapsed and self._shape is None:
            return
        sentences = [f"{one.message} {one.advice}".strip() for one in self._host.problems_at(section.path)]
        self._message.param.update(object="\n".join(sentences), visible=bool(sentences))
        shape = shape_of(section)
        if shape != self._shape:
            self._shape = shape
            self._build()
            return
        for editor, field in zip(self.fields, section.fields, strict=True):
            editor.show(field)
        for card, (_, child) in zip(self.cards, _children(section), strict=True):
            card.show(child)

    def _build(self) -> None:
        section, host = self.section, self._host
        opened = {card.section.path for card in self.cards if not card.view.collapsed}
        children = list(_children(section))
        is_alone = len(children) == 1 and not section.fields
        self.fields = [FieldEditor(field, host) for field in section.fields]
        self.cards = [
            SectionCard(child, host, title, is_open=is_alone or child.path in opened) for title, child in children
        ]
        lead = [Text(section.help, css_classes=["help"])] if section.help else []
        self.view.objects = [
            *lead,
            self._message,
            *(editor.view for editor in self.fields),
            *(card.view for card in self.cards),
            *self._make_tools(),
        ]

    def _make_tools(self) -> Iterator[pn.Row]:
        """What adds to the section, renames it or takes it away."""
        section, host = self.section, self._host
        if section.can_add:
            key = pn.widgets.TextInput(placeholder=f"Name of the new {section.can_add}", width=240)
            add = pn.widgets.Button(name=f"Add {section.can_add}")
            add.on_click(lambda _: host.add(self.section.path, key.value_input or key.value or ""))
            yield pn.Row(key, add, css_classes=["bar"])
        if section.can_rename:
            new_key = pn.widgets.TextInput(value=str(section.path[-1]), width=240)
            rename = pn.widgets.Button(name="Rename")
            rename.on_click(lambda _: host.rename(self.section.path, new_key.value_input or new_key.value or ""))
            yield pn.Row(new_key, rename, css_classes=["bar"])
        if section.can_remove:
            remove = pn.widgets.Button(name=f"Remove {section.path[-1]}")
            remove.on_click(lambda _: host.remove(self.section.path))
            yield pn.Row(remove, css_classes=["bar"])


def shape_of(section: Section) -> Any:
    """What decides which widgets a section needs, whatever the values are."""
    return (
        section.path,
        section.can_add,
        section.can_remove,
        tuple((field.path, field.kind) for field in section.fields),
        tuple(map(shape_of, section.sections)),
    )


def count_problems(problems: list[Problem]) -> str:
    """How many errors and warnings there are, in words."""
    counts = {kind: sum(one.severity == kind for one in problems) for kind in ("error", "warning")}
    return ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items() if count)


def count_classes(problems: list[Problem]) -> list[str]:
    """Style of that count."""
    if not problems:
        return ["help"]
    return ["count", "error"] if any(one.severity == "error" for one in problems) else ["count"]


def _children(section: Section, prefix: str = "") -> Iterator[tuple[str, Section]]:
    """Sections inside, with titles; one that only holds others gives way to these."""
    for child in section.sections:
        title = f"{prefix}{child.title}"
        if child.fields or not child.sections or child.can_add:
            yield title, child
        else:
            yield from _children(child, f"{title} › ")


@cache
def _zones() -> list[str]:
    return sorted(available_timezones())  # it searches the disk


def _make_widget(field: Field) -> pn.widgets.Widget:
    # Panel takes a description for Markdown.
    common: dict[str, Any] = {"description": html.escape(field.help) or None, "sizing_mode": "stretch_width"}
    if field.kind == "text":
        return pn.widgets.TextInput(**common)
    if field.kind in ("datetime", "date"):
        return pn.widgets.TextInput(**common)
    if field.kind == "number":
        return pn.widgets.FloatInput(value=None, **common)
    if field.kind == "integer":
        return pn.widgets.IntInput(value=None, **common)
    if field.kind in ("choice", "boolean"):
        return pn.widgets.Select(options=_options(field), **common)
    if field.kind == "list of text":
        common["description"] = f"{common['description'] or ''} One per line.".strip()
    lines = sum(1 + len(line) // _LINE for line in _as_text(field.value).split("\n"))
    rows = min(max(2, lines), _MOST_ROWS)
    return pn.widgets.TextAreaInput(auto_grow=True, rows=rows, max_rows=_MOST_ROWS, max_length=1_000_000, **common)


def _options(field: Field) -> dict[str, Any]:
    blank = _BLANK if field.default is None else f"(blank: {field.default})"
    if field.kind == "boolean":
        return {blank: _NOTHING, "Yes": True, "No": False}
    return {blank: _NOTHING, **{_SEXES.get(one, str(one)): one for one in field.choices}}


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return "\n".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _to_widget(field: Field) -> Any:
    if field.kind == "json":
        return "" if field.value is None else json.dumps(field.value, indent=1, ensure_ascii=False)
    if field.kind in ("choice", "boolean"):
        return _NOTHING if field.value is None else field.value
    return _as_text(field.value) if field.kind in _TYPED else field.value


def _from_text(field: Field, text: str) -> Any:
    """JSON value of what was typed.

    A blank stands for what the session says, if it says something. Who empties a text or a list wants none of that, so
    that an empty one is written; a date cannot be empty.
    """
    if field.kind == "list of text":
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        return lines or (None if field.default is None else [])
    if field.kind in ("datetime", "date"):
        return text.strip() or None
    return text or (None if field.default is None else "")
