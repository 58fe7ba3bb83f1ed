"""The looks of the page: Panel's Bootstrap design, calmer, with text in the font of the page."""

from __future__ import annotations

from pathlib import Path

import panel as pn
from panel.theme.base import Inherit
from panel.theme.bootstrap import Bootstrap
from panel.viewable import Viewable

_FOLDER = Path(__file__).parent

#: Style of the page around the components.
PAGE_STYLE = (_FOLDER / "page.css").read_text("utf-8")


class CalmDesign(Bootstrap):
    """Bootstrap with our style sheet in each component; they are closed to that of the page."""

    modifiers = {Viewable: {"stylesheets": [Inherit, (_FOLDER / "style.css").read_text("utf-8")]}}


def load_extension() -> None:
    """Have Panel bring what the page needs, from this machine."""
    pn.extension("tabulator", "codeeditor", design=CalmDesign, notifications=True)
    pn.config.design = CalmDesign
