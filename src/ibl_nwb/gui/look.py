"""Step six: figures of what was written, drawn from the file, and a report of them to keep."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn

from ..errors import IBLNWBError, UsageError
from .notices import describe, in_thread
from .state import GuiState
from .text import Image, Text

if TYPE_CHECKING:
    from ..view.drawing import Theme
    from ..view.report import PlannedFigure

_SUFFIXES = (".nwb", ".nwb.zarr")


class LookPane:
    """Figures of an NWB file.

    Parameters
    ----------
    state : GuiState
        What the window shows.
    theme : {"light", "dark"}
        Background of the figures.
    """

    def __init__(self, state: GuiState, *, theme: Theme = "light"):
        self.state, self.theme = state, theme
        self._plots: dict[str, PlannedFigure] = {}
        self._images: dict[str, bytes | str] = {}
        self._file: Path | None = None
        self._drawing = threading.Lock()
        self._watched: tuple[Any, Any] | None = None
        self._is_shown = False
        self._wanted: Path | None = None
        self._make_widgets()
        self.view = pn.Column(
            self.lead,
            pn.Row(self.file, self.refresh, css_classes=["bar"]),
            self._body,
            sizing_mode="stretch_width",
        )
        state.param.watch(lambda _: self._follow(), "current")
        self._follow()

    def _make_widgets(self) -> None:
        self.lead = Text("", css_classes=["lead"])
        self.file = pn.widgets.Select(name="NWB file", options={}, width=620)
        self.file.param.watch(lambda _: self.open(), "value")
        self.refresh = pn.widgets.Button(name="Look for files again")
        self.refresh.on_click(lambda _: self.list_files())
        self.figure = pn.widgets.Select(name="Figure", options=[], width=420)
        self.figure.param.watch(lambda _: self.draw(), "value")
        self.message = Text("", css_classes=["message"])
        self.image = Image(None, sizing_mode="scale_width", max_width=1210)
        self.report = pn.widgets.TextInput(name="Report, .html, .pdf or .png, in the output folder", width=420)
        self.overwrite = pn.widgets.Checkbox(name="Replace it if it exists")
        self.save = pn.widgets.Button(name="Save the report")
        self.save.on_click(lambda _: self.save_report())
        self.saved = Text("", css_classes=["message"])
        self._body = pn.Column(
            self.figure,
            self.message,
            self.image,
            Text("A report of all figures", css_classes=["heading"]),
            pn.Row(self.report, self.save, css_classes=["bar"]),
            self.overwrite,
            self.saved,
            visible=False,
            sizing_mode="stretch_width",
        )

    def show(self) -> None:
        """Called when somebody looks at this step for the first time: nothing is read before."""
        if not self._is_shown:
            self._is_shown = True
            self.list_files()

    def select(self, path: Path) -> None:
        """Show another file of the output folder."""
        self._wanted = path
        self._is_shown = True
        self.list_files()

    def _follow(self) -> None:
        """Watch the current session, and no other."""
        if self._watched is not None:
            self._watched[0].param.unwatch(self._watched[1])
        current = self.state.current
        self._watched = None
        if current is not None:
            self._watched = (current, current.param.watch(lambda _: self._file_changed(), "nwbfile_path"))
        self._file_changed()

    def _file_changed(self) -> None:
        current = self.state.current
        self._wanted = Path(current.nwbfile_path) if current is not None and current.nwbfile_path else None
        if self._is_shown:
            self.list_files()
        else:
            self.lead.object = _NOTHING

    def list_files(self) -> None:
        """List the NWB files of the output folder, the one that was asked for or written last first."""
        written = self._wanted
        output, state_folder = self.state.workspace.output_folder, self.state.workspace.state_folder

        def done(paths: list[Path]) -> None:
            if written is not None:
                paths = [written, *(path for path in paths if path != written)]
            self.lead.object = "What was written, drawn from the NWB file." if paths else _NOTHING
            options = {_name_below(path, output): str(path) for path in paths}
            value = str(written) if written is not None else self.file.value
            if value not in options.values():
                value = next(iter(options.values()), None)
            self.file.param.update(options=options, value=value)
            if value is None:
                self._body.visible = False

        in_thread(lambda: find_files(output, state_folder), done)

    def open(self) -> None:
        """Find out what there is to draw in the file that is selected."""
        if self.file.value is None:
            return
        path = self.state.workspace.readable(self.file.value)
        self._file, self._images, self._plots = path, {}, {}
        self._body.visible = True
        self.report.value, self.saved.object = f"{path.name.split('.nwb')[0]}.html", ""
        self.image.object = None
        self.message.object = "Opening the file ..."

        def done(planned: list[PlannedFigure]) -> None:
            if path != self._file:
                return  # another one was selected meanwhile
            self._plots = {figure.name: figure for figure in planned if figure.has_data}
            self.message.object = "" if self._plots else "This file has nothing that can be drawn."
            names = list(self._plots)
            self.figure.param.update(options=names, value=names[0] if names else None)
            self.draw()

        in_thread(lambda: plan(path), done, self._say, is_cut_off=False)

    def draw(self) -> None:
        """Draw the figure that is selected, once."""
        name, path = self.figure.value, self._file
        if name is None or name not in self._plots or path is None:
            return
        if name in self._images:
            self._show(self._images[name])
            return
        self.image.object = None
        self.message.object = "Drawing ..."
        plot, images = self._plots[name].plot, self._images

        def work() -> bytes | str:
            with self._drawing:  # one after another
                figure = plot(path, theme=self.theme)
                return figure.message or figure.to_png()

        def done(result: bytes | str) -> None:
            images[name] = result
            if (path, name) == (self._file, self.figure.value):
                self._show(result)

        in_thread(work, done, self._say, is_cut_off=False)

    def _show(self, result: bytes | str) -> None:
        is_sentence = isinstance(result, str)
        self.message.object = result if is_sentence else ""
        self.image.object = None if is_sentence else result

    def save_report(self) -> None:
        """Write a report of the file into the output folder."""
        path, typed = self._file, self.report.value_input or self.report.value or ""
        try:
            if path is None:
                raise UsageError("There is no file to make a report of.")
            target = self.state.workspace.writable(typed.strip())
        except IBLNWBError as error:
            self.saved.object = describe(error)
            return
        overwrite = self.overwrite.value
        self.save.loading = True
        self.saved.object = "Drawing all figures ..."

        def work() -> str:
            from ..view import save_report

            report = save_report(path, target, theme=self.theme, overwrite=overwrite)
            return f"Wrote {report.path}: {len(report.figures)} figures."

        in_thread(work, self._end_saving, self._end_saving, is_cut_off=False)

    def _end_saving(self, sentence: str) -> None:
        self.save.loading = False
        self.saved.object = sentence

    def _say(self, sentence: str) -> None:
        self.message.object = sentence


_NOTHING = "There is no NWB file yet. Convert a session, then look at it here."


def find_files(folder: Path, without: Path) -> list[Path]:
    """NWB files below a folder, HDF5 and Zarr, but for those below ``without``; the newest first."""
    found = [path for path in folder.rglob("*.nwb*") if path.name.endswith(_SUFFIXES) and not path.name.startswith(".")]
    found = [path for path in found if not path.is_relative_to(without)]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def plan(path: Path) -> list[PlannedFigure]:
    """The figures that can be drawn of a file."""
    from ..view.drawing import open_to_read
    from ..view.report import plan_figures

    with open_to_read(path) as opened:
        return plan_figures(opened)


def _name_below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
