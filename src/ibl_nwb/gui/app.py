"""The page: all steps as tabs, the current session above them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import panel as pn
import param
from panel.io.resources import LOCAL_DIST

from .check import CheckPane
from .contents import ContentsPane
from .convert import ConvertPane
from .find import FindPane
from .look import LookPane
from .metadata import MetadataPane
from .notices import deliverer
from .problems import MetadataPath
from .services import GuiServices
from .state import ChosenSession, GuiState
from .text import Text
from .theme import PAGE_STYLE, CalmDesign, load_extension
from .upload import UploadPane

if TYPE_CHECKING:
    from ..view.drawing import Theme

__all__ = ["GuiServices", "make_body", "make_page"]

#: The address of the same page in the other theme.
_SWITCH = "location.search = location.search.includes('theme=dark') ? '?theme=default' : '?theme=dark'"


def make_page(services: GuiServices) -> pn.template.BootstrapTemplate:
    """The page of one window, with a title and a switch of the theme.

    Parameters
    ----------
    services : GuiServices
        What all windows of the server share.
    """
    load_extension()
    if pn.state.curdoc is not None:
        # Without it Panel has what changes after the page was loaded styled by a server on the web.
        pn.state.curdoc.template_variables["dist_url"] = LOCAL_DIST
    is_dark = pn.config.theme == "dark"
    page = pn.template.BootstrapTemplate(
        title="IBL to NWB",
        design=CalmDesign,
        theme=pn.config.theme,
        header_background="#24425c",
        raw_css=[PAGE_STYLE],
        busy_indicator=None,  # each look at the queue would make those of all windows flicker
    )
    switch = pn.widgets.Button(name="Light" if is_dark else "Dark", width=70, align="center")
    switch.js_on_click(code=_SWITCH)
    header, main = cast(list, page.header), cast(list, page.main)
    header.append(pn.Row(pn.layout.HSpacer(), switch, sizing_mode="stretch_width"))
    main.append(make_body(services, theme="dark" if is_dark else "light"))
    return page


def make_body(services: GuiServices, *, theme: Theme = "light") -> pn.Column:
    """All steps as tabs, the current session above them; for a page or a notebook.

    Parameters
    ----------
    services : GuiServices
        What all windows of the server share.
    theme : {"light", "dark"}
        Background of figures.
    """
    load_extension()
    state = _make_state(services)
    tabs = pn.Tabs(dynamic=True, sizing_mode="stretch_width")

    def go_to(name: str) -> None:
        tabs.active = list(steps).index(name)

    def view(path: Path) -> None:
        look.select(path)
        go_to("View")

    def check(path: Path) -> None:
        checks.select(path)
        go_to("Check")

    def show_problem(path: MetadataPath) -> None:
        metadata.show_field(path)
        go_to("Metadata")

    look, checks, metadata = LookPane(state, theme=theme), CheckPane(state, services.queue), MetadataPane(state)
    steps: dict[str, Any] = {
        "Find": FindPane(state, services),
        "Contents": ContentsPane(state, services),
        "Metadata": metadata,
        "Convert": ConvertPane(state, services.queue, on_show_problem=show_problem, on_check=check, on_view=view),
        "Check": checks,
        "View": look,
        "Upload": UploadPane(state, services.queue),
    }
    names = list(steps)
    for (name, pane), following in zip_longest(steps.items(), names[1:]):
        onward = [] if following is None else [_onward_button(following, go_to)]
        tabs.append((name, pn.Column(pane.view, *onward, sizing_mode="stretch_width")))

    def arrive(*_: object) -> None:
        services.step = names[tabs.active]
        if services.step == "View":
            look.show()
        elif services.step == "Check":
            checks.show()

    tabs.active = names.index(services.step)
    tabs.param.watch(arrive, "active")
    arrive()
    services.collect_at_hand(deliver=deliverer())
    return pn.Column(_make_selector(state), tabs, sizing_mode="stretch_width")


def _onward_button(name: str, go_to: Callable[[str], None]) -> pn.Row:
    button = pn.widgets.Button(name=f"Go on to {name} →", button_style="outline")
    button.on_click(lambda _: go_to(name))
    return pn.Row(button, css_classes=["bar"])


def _make_state(services: GuiServices) -> GuiState:
    """The state of a window, which follows what all windows share for as long as it is open."""
    state = GuiState(
        workspace=services.workspace, one=services.one, chosen=list(services.chosen), current=services.current
    )
    deliver = deliverer()

    def follow() -> None:
        state.one, state.chosen = services.one, list(services.chosen)
        if state.current not in state.chosen:
            state.current = next(iter(state.chosen), None)

    services_watcher = services.param.watch(lambda *_: deliver(follow), ["chosen", "one"])
    state_watcher = state.param.watch(lambda event: services.param.update(current=event.new), "current")

    def leave(_: object) -> None:
        services.param.unwatch(services_watcher)
        state.param.unwatch(state_watcher)
        state.chosen, state.current = [], None  # the panes of a closed window watch no session any more

    if pn.state.curdoc is not None and pn.state.curdoc.session_context is not None:
        pn.state.on_session_destroyed(leave)
    return state


def _make_selector(state: GuiState) -> pn.Row:
    """Selection of the current session among the chosen ones."""
    select = pn.widgets.Select(name="Session", options={}, width=420)
    none = Text("No session is chosen.", css_classes=["message"])

    is_showing = False

    def show(*_: object) -> None:
        nonlocal is_showing
        if is_showing:
            return
        is_showing = True  # the widget chooses for itself when its options change
        try:
            select.param.update(options=_labelled(state.chosen), value=state.current)
        finally:
            is_showing = False
        select.visible, none.visible = bool(state.chosen), not state.chosen

    def choose(event: param.parameterized.Event) -> None:
        if not is_showing and event.new is not state.current:  # param takes the same session for a change, too
            state.current = event.new

    select.param.watch(choose, "value")
    state.param.watch(show, ["chosen", "current"])
    show()
    return pn.Row(select, none, css_classes=["bar", "selector"])


def _labelled(chosen: list[ChosenSession]) -> dict[str, ChosenSession]:
    """Sessions by label; where several have the same, with what tells them apart."""
    labels = [one.label for one in chosen]
    return {one.label if labels.count(one.label) == 1 else f"{one.label} ({one.source})": one for one in chosen}
