"""Editing a conversion document: every edit can be undone, and is kept on disk as soon as it is made."""

from __future__ import annotations

import json
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import param
from pydantic import BaseModel, ConfigDict, ValidationError

from ..batch.records import write_whole
from ..document import ConversionDocument
from ..errors import DocumentError, UsageError
from ..metadata_keys import OPEN_REGISTRIES, describe_unknown
from .form import REFERENCES, Section, make_form
from .problems import MetadataPath, MetadataRules, Problem, find_problems

#: Edits that can be undone; older ones are forgotten.
UNDO_LIMIT = 500


#: Sessions that are kept open: each takes some MB, and hundreds may be chosen.
_MOST_OPEN = 16

_opened: deque[weakref.ref[DocumentEditor]] = deque()


class _LeftOut(BaseModel):
    """An interface that is not to run: what it comes back with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arguments: dict[str, Any]
    options: dict[str, Any] | None = None


class _Saved(BaseModel):
    """One state of an editor, as it is on disk."""

    model_config = ConfigDict(extra="forbid")

    document: ConversionDocument
    left_out: dict[str, _LeftOut]
    order: list[str]


class _AutosaveFile(BaseModel):
    """What an editor keeps on disk: where it is, and where one undo leads."""

    model_config = ConfigDict(extra="forbid")

    current: _Saved
    before: _Saved | None = None


@dataclass(frozen=True)
class _State:
    """One state of an editor. Nothing in it is ever changed, so that states may share their parts.

    Attributes
    ----------
    document : ConversionDocument
    left_out : dict of str to _LeftOut
        Interfaces that were left out, by name.
    order : tuple of str
        All interfaces, so that one that comes back does so at its place.
    """

    document: ConversionDocument
    left_out: dict[str, _LeftOut]
    order: tuple[str, ...]

    def to_saved(self) -> _Saved:
        return _Saved(document=self.document, left_out=self.left_out, order=list(self.order))

    @classmethod
    def from_saved(cls, saved: _Saved) -> _State:
        return cls(saved.document, saved.left_out, tuple(saved.order))


class DocumentEditor(param.Parameterized):
    """A conversion document that is being edited.

    Paths lead from the top of ``document.metadata`` to a value: keys, and positions in lists.

    Parameters
    ----------
    document : ConversionDocument
        The document; it is not changed itself.
    autosave_path : path-like, optional
        JSON file that is written after each edit, for :meth:`restore`. Default: none.

    Attributes
    ----------
    version : int
        Rises with each edit, undo and redo; to be watched.
    """

    version = param.Integer(0, doc="Rises with each edit, undo and redo.")

    def __init__(self, document: ConversionDocument, autosave_path: str | Path | None = None):
        super().__init__()
        self._state = _State(document, {}, tuple(document.source_data))
        self._undo: list[_State] = []
        self._redo: list[_State] = []
        self._typing_at: MetadataPath | None = None
        self._autosave_path = Path(autosave_path) if autosave_path is not None else None
        self._lock = threading.RLock()
        self._rules: tuple[str, MetadataRules] | None = None
        self._form: tuple[_State, list[Section]] | None = None
        self._problems: tuple[_State, list[Problem]] | None = None

    @classmethod
    def load(cls, path: str | Path, autosave_path: str | Path | None = None) -> DocumentEditor:
        """Open the document in a file; raises a DocumentError if there is none in it."""
        return cls(ConversionDocument.read_json(path), autosave_path)

    @classmethod
    def restore(cls, autosave_path: str | Path) -> DocumentEditor:
        """Go on where an editor was when its process ended: with its document, what was left out, and one undo.

        Raises
        ------
        DocumentError
            If the file cannot be read. One that holds something else is put aside under another name, which the
            message tells.
        """
        path = Path(autosave_path)
        try:
            saved = _AutosaveFile.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DocumentError(f"Cannot read the saved edits '{path}': {error.strerror}.") from error
        except ValidationError as error:
            aside = path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}.damaged")
            path.replace(aside)
            raise DocumentError(
                f"The saved edits '{path.name}' are damaged. They are kept as '{aside}'; begin again from the session "
                f"or from a document that you saved. {_describe(error)}"
            ) from error
        editor = cls(saved.current.document, path)
        editor._state = _State.from_saved(saved.current)
        editor._undo = [_State.from_saved(saved.before)] if saved.before is not None else []
        return editor

    @property
    def document(self) -> ConversionDocument:
        """The document as it is now. It is a new one after each edit; do not change it."""
        return self._state.document

    @property
    def interfaces(self) -> dict[str, bool]:
        """Whether each interface is included, in the order in which they run."""
        return {name: name not in self._state.left_out for name in self._state.order}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Interfaces that do not run, and may be included again."""
        return tuple(self._state.left_out)

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit that was undone."""
        return bool(self._redo)

    @property
    def rules(self) -> MetadataRules:
        """What the document's converter expects. It takes a second when the interfaces have changed."""
        with self._lock:
            known, key = self._rules, self._rules_key()
            if known is None or known[0] != key:
                self._rules = known = (key, MetadataRules(self.document))
                self._forget_oldest()
            return known[1]

    @property
    def is_ready(self) -> bool:
        """Whether ``rules``, ``form`` and ``problems`` are there at once, as the session has been opened."""
        known = self._rules
        return known is not None and known[0] == self._rules_key()

    @property
    def form(self) -> list[Section]:
        """The form of the document, without what belongs to interfaces that are left out."""
        with self._lock:
            if self._form is None or self._form[0] is not self._state:
                rules = self.rules
                form = make_form(rules.schema, rules.in_use(self.document.metadata), rules.defaults)
                self._form = (self._state, form)
            return self._form[1]

    @property
    def problems(self) -> list[Problem]:
        """Everything that is wrong with the document."""
        with self._lock:
            if self._problems is None or self._problems[0] is not self._state:
                self._problems = (self._state, find_problems(self.document, self.rules))
            return self._problems[1]

    def get(self, path: MetadataPath) -> Any:
        """The value at a path; None if there is none, or a blank."""
        content: Any = self.document.metadata
        for key in path:
            content = _child(content, key)
        return content

    def set(self, path: MetadataPath, value: Any, *, typing: bool = False) -> None:
        """Give the value at a path; groups on the way to it that are not there are made.

        Parameters
        ----------
        path : tuple of str or int
            Where it is.
        value : object
            A JSON value; None makes a blank.
        typing : bool, default: False
            Whether the user is still at it: what was typed into the same field before is undone together with it.

        Raises
        ------
        DocumentError
            If the path leads through a value that is no group, or the value is not JSON's.
        """
        with self._lock:
            metadata = self._with_value(self.document.metadata, path, _json_copy(value))
            goes_on = self._typing_at == path
            if metadata != self.document.metadata:
                self._change(metadata=metadata, goes_on=goes_on)
            self._typing_at = path if typing else None

    def add(self, path: MetadataPath, key: str) -> None:
        """Add an entry to a registry, or a field to an entry of one.

        Raises
        ------
        UsageError
            If nothing reads entries there, the key is no name, or it is taken.
        """
        if not path or path[0] not in OPEN_REGISTRIES or len(path) > 2:
            raise UsageError(f"Nothing can be added to {'.'.join(map(str, path)) or 'the top level'}.")
        with self._lock:
            key = self._check_new_key(path, key)
            self.set((*path, key), {"name": key} if len(path) == 1 else "")

    def rename(self, path: MetadataPath, new_key: str) -> None:
        """Give an entry another key; what refers to it by its key does so by the new one.

        Raises
        ------
        UsageError
            If it is not there, the session itself has it, or the new key is no name or taken.
        """
        with self._lock:
            *parent, key = self._check_own(path)
            if new_key.strip() == key:
                return
            new_key = self._check_new_key(tuple(parent), new_key)
            entries = {new_key if name == key else name: entry for name, entry in self.get(tuple(parent)).items()}
            metadata = self._with_value(self.document.metadata, tuple(parent), entries)
            referring = [name for name, registry in REFERENCES.items() if registry == tuple(parent)]
            self._change(metadata=_with_references(metadata, referring, key, new_key))

    def remove(self, path: MetadataPath) -> None:
        """Remove an entry that was added, or a field of it.

        Raises
        ------
        UsageError
            If it is not there, or the session itself has it: it would come back at the conversion.
        """
        with self._lock:
            *parent, key = self._check_own(path)
            entries = {name: entry for name, entry in self.get(tuple(parent)).items() if name != key}
            self._change(metadata=self._with_value(self.document.metadata, tuple(parent), entries))

    def set_included(self, interface_name: str, included: bool) -> None:
        """Leave an interface out, or take it in again with the arguments and options that it had.

        Raises
        ------
        UsageError
            If the document has no such interface.
        """
        with self._lock:
            state = self._state
            if interface_name not in state.order:
                raise UsageError(describe_unknown(interface_name, state.order))
            if included == (interface_name not in state.left_out):
                return
            sources, options = dict(self.document.source_data), dict(self.document.conversion_options)
            left_out = dict(state.left_out)
            if included:
                back = left_out.pop(interface_name)
                sources[interface_name] = back.arguments
                if back.options is not None:
                    options[interface_name] = back.options
            else:
                arguments = sources.pop(interface_name)
                left_out[interface_name] = _LeftOut(arguments=arguments, options=options.pop(interface_name, None))
            ordered = {name: sources[name] for name in state.order if name in sources}
            self._change(left_out=left_out, source_data=ordered, conversion_options=options)

    def undo(self) -> None:
        """Take back the last edit, if there is one."""
        self._step(self._undo, self._redo)

    def redo(self) -> None:
        """Make the edit again that was undone last, if there is one."""
        self._step(self._redo, self._undo)

    def to_json(self) -> str:
        """The document as JSON for reading and editing: metadata first, without what Alyx says, which is long."""
        content = self.document.model_dump(mode="json", exclude={"alyx"})
        return json.dumps({"metadata": content.pop("metadata"), **content}, indent=2, ensure_ascii=False) + "\n"

    def replace_json(self, text: str, check: Callable[[ConversionDocument], None] | None = None) -> None:
        """Take another document in place of this one, as one edit.

        Parameters
        ----------
        text : str
            JSON of a conversion document. Without ``alyx`` what Alyx says stays.
        check : callable, optional
            Is called with the new document before it is taken, and may raise.

        Raises
        ------
        DocumentError
            If it is not such a document; the message names the place, and the document stays as it is.
        """
        try:
            content = json.loads(text, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise DocumentError(f"Line {error.lineno}, column {error.colno}: {error.msg}.") from error
        if not isinstance(content, dict):
            raise DocumentError("At the top level: there is no group of fields in braces.")
        with self._lock:
            try:
                document = ConversionDocument.model_validate_json(text)
            except ValidationError as error:
                raise DocumentError(_describe(error)) from error
            if "alyx" not in content or document.alyx == self.document.alyx:
                document.alyx = self.document.alyx
            if check is not None:
                check(document)
            if document == self.document and list(document.source_data) == list(self.document.source_data):
                return
            self._push(self._with_document(document))

    def save(self, path: str | Path) -> None:
        """Write the document as ``ibl-nwb metadata`` writes it; a file that is there is replaced."""
        self.document.write_json(path)

    def _forget_oldest(self) -> None:
        """Have the editors that were looked at longest ago open their sessions again when they are needed."""
        _opened.append(weakref.ref(self))
        while len(_opened) > _MOST_OPEN:
            editor = _opened.popleft()()
            if editor is not None and all(one() is not editor for one in list(_opened)):
                editor._rules = editor._form = None

    def _rules_key(self) -> str:
        document = self.document
        return json.dumps([document.session.model_dump(), document.source_data, id(document.alyx)])

    def _with_document(self, document: ConversionDocument) -> _State:
        """A state with another document; interfaces that it no longer has are left out and may come back."""
        before = self._state
        left_out = {name: one for name, one in before.left_out.items() if name not in document.source_data}
        for name in self.document.source_data.keys() - document.source_data.keys():
            options = self.document.conversion_options.get(name)
            left_out[name] = _LeftOut(arguments=self.document.source_data[name], options=options)
        if document.session.session_path != before.document.session.session_path:
            left_out = {}  # those of another session
        order = [*document.source_data, *(name for name in before.order if name in left_out)]
        return _State(document, left_out, tuple(order))

    def _change(self, *, left_out: dict[str, _LeftOut] | None = None, goes_on: bool = False, **changes: Any) -> None:
        document = self.document.model_copy(update=changes)
        left_out = self._state.left_out if left_out is None else left_out
        self._push(replace(self._state, document=document, left_out=left_out), goes_on=goes_on)

    def _push(self, state: _State, *, goes_on: bool = False) -> None:
        if not goes_on:
            self._undo = [*self._undo[-UNDO_LIMIT + 1 :], self._state]
        self._redo = []
        self._take(state)

    def _step(self, source: list[_State], target: list[_State]) -> None:
        with self._lock:
            if not source:
                return
            target.append(self._state)
            self._take(source.pop())

    def _take(self, state: _State) -> None:
        self._state = state
        self._typing_at = None
        try:
            self._autosave()
        finally:
            self.version += 1

    def _autosave(self) -> None:
        """Write the autosave file; a crash leaves the one before or the new one, never a part of it."""
        path = self._autosave_path
        if path is None:
            return
        before = self._undo[-1].to_saved() if self._undo else None
        content = _AutosaveFile.model_construct(current=self._state.to_saved(), before=before).model_dump_json()
        write_whole(path, content)

    def _check_own(self, path: MetadataPath) -> MetadataPath:
        entries = self.get(path[:-1])
        if not path or not isinstance(entries, dict) or path[-1] not in entries:
            raise UsageError(f"There is no {'.'.join(map(str, path))}.")
        default: Any = self.rules.defaults
        for part in path:
            default = _child(default, part)
        if default is not None:
            raise UsageError(
                f"{'.'.join(map(str, path))} belongs to the session and would come back at the conversion. Edit what "
                "is in it, or leave out the interfaces that need it."
            )
        return path

    def _check_new_key(self, path: MetadataPath, key: str) -> str:
        key = key.strip()
        if not key or "/" in key:
            raise UsageError("Give a name without a slash.")
        if key in (self.get(path) or {}):
            raise UsageError(f"There is a '{key}' already.")
        return key

    def _with_value(self, content: Any, path: MetadataPath, value: Any, done: MetadataPath = ()) -> Any:
        """Copy of nested groups with another value at a path; what does not change is shared."""
        if not path:
            return value
        key = path[0]
        if content is None and isinstance(key, int):  # a list is replaced as a whole, so it begins as what it is now
            content = self.rules.defaults
            for part in done:
                content = _child(content, part)
        content = {} if content is None else content
        child = self._with_value(_child(content, key), path[1:], value, (*done, key))
        if isinstance(content, dict) and isinstance(key, str):
            return {**content, key: child}
        if isinstance(content, list) and isinstance(key, int) and 0 <= key < len(content):
            return [*content[:key], child, *content[key + 1 :]]
        raise DocumentError(f"{'.'.join(map(str, done)) or 'The top level'} holds no group with a field '{key}'.")


def set_in_all(editors: Iterable[DocumentEditor], path: MetadataPath, value: Any) -> None:
    """Give one field the same value in many documents, as one edit of each."""
    for editor in editors:
        editor.set(path, value)


def _refuse_constant(name: str) -> None:
    raise DocumentError(f"{name} is no value of JSON. Write null for a number that is not known.")


def _json_copy(value: Any) -> Any:
    """A copy that nobody else can change."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DocumentError(f"{value!r} is no value of JSON.") from error


def _child(content: Any, key: str | int) -> Any:
    if isinstance(content, dict):
        return content.get(key)
    if isinstance(content, list) and isinstance(key, int) and 0 <= key < len(content):
        return content[key]
    return None


def _with_references(content: Any, names: list[str], key: str | int, new_key: str) -> Any:
    """Copy of nested groups in which fields of these names that hold the key hold the new one."""
    if isinstance(content, list):
        return [_with_references(entry, names, key, new_key) for entry in content]
    if not isinstance(content, dict):
        return content
    return {
        name: new_key if name in names and value == key else _with_references(value, names, key, new_key)
        for name, value in content.items()
    }


def _describe(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the top level"
    return f"At {place}: {first['msg']}."
