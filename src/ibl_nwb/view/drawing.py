"""What all figures share: an open file, a theme, titles and panels without data."""

from __future__ import annotations

import io
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pynwb import NWBFile, read_nwb

from ..errors import DatasetUnreadableError, UsageError

Theme = Literal["light", "dark"]

#: Matplotlib's settings are those of the process; two threads must not draw in two themes.
_LOCK = threading.RLock()

_TITLE_WIDTH = 90


@dataclass(frozen=True)
class Palette:
    """Colours of a theme, told apart by readers with any colour vision (Okabe and Ito, https://jfly.uni-koeln.de/color)."""

    ink: str
    paper: str
    faint: str
    clockwise: str
    counter_clockwise: str
    neutral: str
    blocks: tuple[str, str, str]


PALETTES: dict[str, Palette] = {
    "light": Palette(
        "#1a1a1a", "#ffffff", "#767676", "#0072b2", "#d55e00", "#767676", ("#0072b2", "#595959", "#d55e00")
    ),
    "dark": Palette(
        "#e8e8e8", "#16181c", "#a0a0a0", "#56b4e9", "#e69f00", "#a0a0a0", ("#56b4e9", "#c0c0c0", "#e69f00")
    ),
}


class SessionFigure(Figure):
    """A matplotlib figure that notebooks show without pyplot.

    Attributes
    ----------
    message : str or None
        What the file lacks, if that is all that the figure says.
    """

    message: str | None = None

    def _repr_png_(self) -> bytes:
        return self.to_png()

    def to_png(self, dpi: float = 110) -> bytes:
        """The figure as a PNG image.

        Parameters
        ----------
        dpi : float, default: 110
            Pixels per inch.
        """
        buffer = io.BytesIO()
        with _LOCK:
            self.savefig(buffer, format="png", dpi=dpi, facecolor=self.get_facecolor())
        return buffer.getvalue()


@dataclass(frozen=True)
class Drawing:
    """An open file and the colours to draw it in."""

    nwbfile: NWBFile
    palette: Palette

    def figure(self, title: str, width_in: float, height_in: float) -> SessionFigure:
        """A new figure, whose first line says what it shows and of which session."""
        figure = SessionFigure(figsize=(width_in, height_in), layout="constrained")
        session = textwrap.shorten(describe_session(self.nwbfile), _TITLE_WIDTH, placeholder=" …")
        figure.suptitle(f"{title}\n{session}", x=0.01, ha="left", fontsize=11)
        return figure

    def empty(self, title: str, message: str) -> SessionFigure:
        """A figure that says what the file lacks."""
        figure = self.figure(title, 8, 2)
        say_empty(figure.add_subplot(), message)
        figure.message = message
        return figure


def describe_session(nwbfile: NWBFile) -> str:
    """Subject, date, lab and id of a session, as far as the file tells them."""
    subject = nwbfile.subject.subject_id if nwbfile.subject is not None else None
    date = f"{nwbfile.session_start_time:%Y-%m-%d}"
    return " · ".join(filter(None, (subject, date, nwbfile.lab, nwbfile.session_id)))


@contextmanager
def open_to_read(nwbfile: NWBFile | str | Path) -> Iterator[NWBFile]:
    """An NWB file to read: the one given, left open, or that of a path, closed in the end.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one (HDF5 or Zarr).

    Raises
    ------
    UsageError
        If there is nothing at the path.
    DatasetUnreadableError
        If what is there is no NWB file.
    """
    if isinstance(nwbfile, NWBFile):
        yield nwbfile
        return
    path = Path(nwbfile)
    if not path.exists():
        raise UsageError(f"'{path}' does not exist. Give the path of an NWB file.")
    try:
        opened = read_nwb(path)
    except Exception as error:  # h5py, hdmf, hdmf-zarr and pynwb each have their own; all mean the same here
        raise DatasetUnreadableError(f"'{path}' cannot be read as an NWB file: {error}") from error
    try:
        yield opened
    finally:
        opened.get_read_io().close()


@contextmanager
def drawing(nwbfile: NWBFile | str | Path, theme: Theme) -> Iterator[Drawing]:
    """An open file and matplotlib set to a theme, for as long as a figure is made."""
    if theme not in PALETTES:
        raise UsageError(f"There is no theme '{theme}'. Choose one of {', '.join(PALETTES)}.")
    palette = PALETTES[theme]
    with _LOCK, open_to_read(nwbfile) as opened, matplotlib.rc_context(_settings(palette)):
        yield Drawing(opened, palette)


def say_empty(axes: Axes, message: str) -> None:
    """Turn a panel into a sentence that says what is missing."""
    axes.axis("off")
    axes.text(0.5, 0.5, message, ha="center", va="center", wrap=True, transform=axes.transAxes)


def shorten(name: str, width: int = 28) -> str:
    """A name that fits beside an axis; the middle of a long one is left out."""
    if len(name) <= width:
        return name
    half = (width - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _settings(palette: Palette) -> dict[Any, Any]:
    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(ink, palette.ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), palette.paper),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "font.size": 9,
        "text.parse_math": False,  # a dollar sign in a name is a dollar sign
        "image.interpolation": "nearest",
    }
