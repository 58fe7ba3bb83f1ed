"""What panes show: text of others as it is, drawings and figures, with style sheets from this machine."""

from __future__ import annotations

import html
from typing import Any

import panel as pn


class _StyledHere:
    """A pane whose style sheets are this server's, also when it changes while its tab is not looked at.

    Panel forgets then which document it is in, and names the style sheets of its makers' site.
    """

    def _get_properties(self, doc: Any) -> dict[str, Any]:
        return super()._get_properties(doc or pn.state.curdoc)  # type: ignore[misc]


class Html(_StyledHere, pn.pane.HTML):
    """HTML of our own, in which text of others is escaped."""


class Image(_StyledHere, pn.pane.PNG):
    """A figure."""


class Text(_StyledHere, pn.pane.Str):
    """Text that is shown character by character, whatever it holds.

    Panel's own Str puts it into the page as HTML, so that a subject's name could bring markup and scripts along.
    """

    def _transform_object(self, obj: Any) -> dict[str, Any]:
        return super()._transform_object(None if obj is None else html.escape(str(obj)))
