"""How running work looks: a bar for each step, and its log."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Iterable
from contextlib import suppress

import panel as pn

from ..cli import format_size
from .progress import Step
from .tasks import Task
from .text import Html, Text

#: How often a page looks after running work.
_LOOK_EVERY_MS = 500


def look_after(look: Callable[[], None]) -> None:
    """Call a function twice a second for as long as this window is open; never where there is no event loop."""
    if pn.state.curdoc is None:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            pn.state.add_periodic_callback(look, period=_LOOK_EVERY_MS)
        return
    pn.state.add_periodic_callback(look, period=_LOOK_EVERY_MS)


def draw_steps(steps: Iterable[Step]) -> str:
    """HTML of a bar for each step; names are escaped."""
    rows = []
    for step in steps:
        name = html.escape(step.name)
        rows.append(
            f'<div class="work-step"><span class="work-name" title="{name}">{name}</span>'
            f'<progress value="{step.fraction:.4f}" max="1" aria-label="{name}"></progress>'
            f'<span class="work-told">{html.escape(describe_step(step))}</span></div>'
        )
    return "".join(rows)


def describe_step(step: Step) -> str:
    """How far a step is, in words: how much of how much, at which rate, and how long it will take."""
    if not step.total:
        return "waiting"
    is_done = step.done >= step.total
    if step.unit != "B":
        counted = f"{step.done:.0f} of {step.total:.0f}" if step.total > 1 else ""
        return "done" if is_done else f"{counted}{_ahead(step)}".removeprefix(", ") or "at work"
    if is_done:
        return f"{format_size(step.total)}, done"
    rate = f", {format_size(step.rate)}/s" if step.rate else ""
    return f"{format_size(step.done)} of {format_size(step.total)}{rate}{_ahead(step)}"


def describe_seconds(seconds: float) -> str:
    """A time as people say it: "12 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class TaskView:
    """Bars, log and a button to cancel, of one task that may not be there yet.

    Parameters
    ----------
    what : str
        What it does, as in "Verifying".
    """

    def __init__(self, what: str):
        self.what = what
        self.task: Task | None = None
        self.message = Text("", css_classes=["message"])
        self.bars = Html("", sizing_mode="stretch_width", css_classes=["work"])
        self.cancel = pn.widgets.Button(name="Cancel", width=100, visible=False)
        self.cancel.on_click(lambda _: self.task.cancel() if self.task is not None else None)
        self.log = LogView()
        self.view = pn.Column(self.message, self.bars, self.cancel, self.log.view, sizing_mode="stretch_width")
        self.view.visible = False

    @property
    def is_running(self) -> bool:
        """Whether there is a task, and it has not ended."""
        return self.task is not None and not self.task.is_settled

    def refresh(self) -> None:
        """Show the task as it is now."""
        task = self.task
        self.view.visible = task is not None
        if task is None:
            return
        is_running = not task.is_settled
        self.cancel.visible, self.cancel.disabled = is_running, task.is_cancelling
        self.bars.visible = is_running
        if is_running:
            doing = "being cancelled" if task.is_cancelling else "at work"
            self.message.object = f"{self.what}: {doing}, {describe_seconds(task.seconds)}."
            self.bars.object = draw_steps(task.steps)
        else:
            told = {"done": "done", "cancelled": "cancelled"}.get(task.state, task.error)
            self.message.object = f"{self.what}: {told}" + ("." if task.state != "failed" else "")
        self.log.show(task.read_log())


class LogView:
    """A log that can be opened, and scrolls by itself."""

    def __init__(self) -> None:
        self.text = Text("", css_classes=["log"], sizing_mode="stretch_width")
        self._scroll = pn.Column(self.text, scroll=True, max_height=260, sizing_mode="stretch_width")
        self._scroll.view_latest = True
        self._scroll.auto_scroll_limit = 60
        self.view = pn.Card(
            self._scroll, title="Log", collapsed=True, sizing_mode="stretch_width", margin=10, visible=False
        )

    def show(self, text: str) -> None:
        """Show a text; nothing if it is empty."""
        self.view.visible = bool(text)
        if self.text.object != text:
            self.text.object = text


def _ahead(step: Step) -> str:
    return f", {describe_seconds(step.eta_s)} to go" if step.eta_s is not None else ""
