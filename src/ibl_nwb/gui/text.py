"""Text of others on the page, shown as it is."""

from __future__ import annotations

import html
from typing import Any

import panel as pn


class Text(pn.pane.Str):
    """Text that is shown character by character, whatever it holds.

    Panel's own Str puts it into the page as HTML, so that a subject's name could bring markup and scripts along.
    """

    def _transform_object(self, obj: Any) -> dict[str, Any]:
        return super()._transform_object(None if obj is None else html.escape(str(obj)))
