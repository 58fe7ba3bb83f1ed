"""What all windows of a server share: folders, ONE, the chosen sessions with their edits, the queue of conversions."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import param

from ..batch.records import write_whole
from .collecting import Collector, Deliver, is_on_server
from .conversion_queue import ConversionQueue
from .state import ChosenSession
from .workspace import Workspace

_logger = logging.getLogger(__name__)


class GuiServices(param.Parameterized):
    """What all windows of a server share.

    A page that is loaded again, in this server or after its restart, finds the chosen sessions, their edits and the
    queue again.

    Parameters
    ----------
    workspace : Workspace
        The folders.
    one : one.api.OneAlyx or one.api.One, optional
        ONE. Default: connected with ``one_options`` when it is first needed.
    one_options : dict, optional
        Arguments of :func:`ibl_nwb.acquire.connect`.

    Raises
    ------
    UsageError
        If another server has the output folder.
    """

    one = param.Parameter(None, doc="ONE, once connected.")
    chosen = param.List([], item_type=ChosenSession, doc="Sessions to convert, in order.")
    current = param.ClassSelector(class_=ChosenSession, allow_None=True, default=None, doc="Looked at last.")
    step = param.String("Find", doc="Name of the step that was looked at last.")

    def __init__(self, workspace: Workspace, *, one: Any | None = None, one_options: dict[str, Any] | None = None):
        super().__init__(one=one)
        self.workspace, self.one_options = workspace, dict(one_options or {})
        self._lock, self._is_shut_down = threading.Lock(), False
        self.queue = ConversionQueue(workspace.state_folder)
        self.collector = Collector(workspace.state_folder / "documents", self.connect)
        self.param.update(chosen=self._restore())
        self.current = next(iter(self.chosen), None)
        self.param.watch(lambda _: self._keep(), "chosen")

    @property
    def is_offline(self) -> bool:
        """Whether no request may be sent."""
        return bool(self.one.offline) if self.one is not None else bool(self.one_options.get("offline"))

    def connect(self) -> Any:
        """ONE, connected the first time that it is needed.

        Raises
        ------
        IBLNWBError
            As in :func:`ibl_nwb.acquire.connect`.
        """
        from ..acquire import connect

        with self._lock:
            if self.one is None:
                self.one = connect(**self.one_options)
            return self.one

    def add(self, sessions: list[ChosenSession]) -> list[ChosenSession]:
        """Add sessions to the chosen ones, each once, and give them as they are there."""
        by_source = {chosen.source: chosen for chosen in self.chosen}
        self.chosen = [*self.chosen, *(one for one in sessions if one.source not in by_source)]
        return [by_source.get(one.source, one) for one in sessions]

    def collect(self, sessions: Iterable[ChosenSession], *, deliver: Deliver | None = None) -> None:
        """Begin to open sessions."""
        for chosen in sessions:
            self.collector.collect(chosen, deliver=deliver)

    def collect_at_hand(self, *, deliver: Deliver | None = None) -> None:
        """Begin to open the chosen sessions for which nothing has to be downloaded and nobody to be asked."""
        waiting = [one for one in self.chosen if one.editor is None and one.doing is None and one.error is None]
        self.collect((one for one in waiting if self._is_at_hand(one)), deliver=deliver)

    def _is_at_hand(self, chosen: ChosenSession) -> bool:
        has_been_opened = self.collector.autosave_path(chosen).exists()
        return self.is_offline or has_been_opened or not is_on_server(chosen)

    def remove(self, sessions: list[ChosenSession]) -> None:
        """Take sessions from the chosen ones; their edits stay, for when they are chosen again."""
        for chosen in sessions:
            self.collector.cancel(chosen)
        self.chosen = [chosen for chosen in self.chosen if chosen not in sessions]

    def shutdown(self) -> None:
        """End all that runs; what was edited is kept."""
        with self._lock:
            if self._is_shut_down:
                return
            self._is_shut_down = True
        self.collector.shutdown()
        self.queue.shutdown()

    @property
    def _path(self) -> Path:
        return self.workspace.state_folder / "chosen.json"

    def _keep(self) -> None:
        rows = [{"source": one.source, "label": one.label, "raw": one.raw} for one in self.chosen]
        write_whole(self._path, json.dumps(rows, indent=1))

    def _restore(self) -> list[ChosenSession]:
        try:
            return [ChosenSession(**row) for row in json.loads(self._path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:  # it was written by another version, or damaged
            _logger.warning("'%s' cannot be read (%s): no session is chosen.", self._path, error)
            return []
