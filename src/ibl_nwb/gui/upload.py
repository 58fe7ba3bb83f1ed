"""Step seven: a folder of NWB files is uploaded to a Dandiset."""

from __future__ import annotations

from typing import Any

import pandas as pd
import panel as pn

from ..errors import IBLNWBError, UsageError
from .bars import TaskView, look_after
from .conversion_queue import ConversionQueue
from .notices import in_thread, notify
from .state import GuiState
from .tasks import Task
from .text import Text
from .work import run_upload

_LEAD = "Upload the NWB files of a folder, and their videos, to the draft of a Dandiset. Each is validated first."

_OTHER = "another, by its address"

#: Instances that are offered by name.
_INSTANCES = ["dandi", "dandi-sandbox", "linc", "ember-dandi", _OTHER]


class UploadPane:
    """The upload of a folder.

    The API key is dandi's own, from an environment variable or the keyring: it never comes into the page.

    Parameters
    ----------
    state : GuiState
        What the window shows.
    queue : ConversionQueue
        Keeps the upload, which outlives the window.
    """

    def __init__(self, state: GuiState, queue: ConversionQueue):
        self.state, self.queue = state, queue
        self._shown: Task | None = None
        self.folder = pn.widgets.TextInput(name="Folder", value=str(state.workspace.output_folder), width=460)
        self.dandiset = pn.widgets.TextInput(name="Number of the Dandiset", placeholder="000409", width=200)
        self.instance = pn.widgets.Select(name="Archive", options=_INSTANCES, width=220)
        self.address = pn.widgets.TextInput(name="Its address", placeholder="https://", width=300, visible=False)
        self.overwrite = pn.widgets.Checkbox(name="Replace what is there and different, though it is not older")
        self.key = Text("", css_classes=["message"])
        self.look_for_key = pn.widgets.Button(name="Is there an API key?")
        self.look_for_key.on_click(lambda _: self.find_key())
        self.dry_run = pn.widgets.Button(name="See what would be uploaded")
        self.dry_run.on_click(lambda _: self.start(dry_run=True))
        self.send = pn.widgets.Button(name="Upload", button_type="primary")
        self.send.on_click(lambda _: self.start(dry_run=False))
        self.work = TaskView("Upload")
        self.results = pn.Column(sizing_mode="stretch_width")
        self.view = pn.Column(
            Text(_LEAD, css_classes=["lead"]),
            pn.Row(self.folder, css_classes=["bar"]),
            pn.Row(self.dandiset, self.instance, self.address, self.look_for_key, css_classes=["bar"]),
            self.key,
            self.overwrite,
            pn.Row(self.dry_run, self.send, css_classes=["bar"]),
            self.work.view,
            self.results,
            sizing_mode="stretch_width",
        )
        self.instance.param.watch(lambda _: self._instance_changed(), "value")
        self.refresh()
        look_after(self.refresh)

    def find_key(self) -> None:
        """Say whether there is a key for the archive; no request is sent."""
        if self.instance.value == _OTHER:
            self.key.object = "For an address, the key is looked for when the upload begins."
            return
        from ..publish import find_api_key

        name = self.instance.value
        in_thread(lambda: find_api_key(name), lambda place: self._tell_of_key(name, place))

    def start(self, *, dry_run: bool) -> None:
        """Begin the upload, or only look at what it would do."""
        try:
            folder = self.state.workspace.writable(self.folder.value or "")
            dandiset = (self.dandiset.value or "").strip()
            if not dandiset:
                raise UsageError("Which Dandiset? Give its number, e.g. 000409.")
            instance = (self.address.value or "").strip() if self.instance.value == _OTHER else self.instance.value
            if not instance:
                raise UsageError("Which archive? Give its address, e.g. https://dandiarchive.org.")
        except IBLNWBError as error:
            notify(str(error), "error")
            self.key.object = str(error)
            return
        options: dict[str, Any] = {"instance": instance, "overwrite": self.overwrite.value, "dry_run": dry_run}
        task = Task(
            run_upload,
            folder,
            dandiset,
            options,
            name="upload",
            folder=self.state.workspace.state_folder / "upload",
        )
        self.queue.tasks["upload"] = task
        task.start()
        self.key.object = ""
        self.refresh()

    def refresh(self) -> None:
        """Show the upload as it is now."""
        task = self.queue.tasks.get("upload")
        self.work.task = task
        self.work.refresh()
        self.send.disabled = self.dry_run.disabled = self.work.is_running
        done = task if task is not None and task.state == "done" else None
        if done is self._shown:
            return
        self._shown = done
        self.results.objects = [] if done is None else _show_report(done.result)

    def _instance_changed(self) -> None:
        self.address.visible = self.instance.value == _OTHER
        self.key.object = ""

    def _tell_of_key(self, name: str, place: str | None) -> None:
        if name != self.instance.value:
            return
        if place is not None:
            self.key.object = f"The API key for {name} is in {place}."
        else:
            self.key.object = (
                f"There is no API key for {name}. Copy it from your profile at the archive into its environment "
                "variable, such as DANDI_API_KEY, before this program is started, or have dandi keep it in the keyring."
            )


def _show_report(report: Any) -> list[Any]:
    verdict = Text(f"{report.describe()}.", css_classes=["verdict", "good" if report.ok else "bad"])
    rows = [(record.state, record.path, record.error or "") for record in report.records]
    table = pn.widgets.Tabulator(
        pd.DataFrame(rows, columns=["State", "File", "Why"]),
        pagination="local",
        page_size=15,
        show_index=False,
        disabled=True,
        layout="fit_columns",
        sizing_mode="stretch_width",
        formatters={"Why": {"type": "textarea"}},
    )
    return [verdict, table]
