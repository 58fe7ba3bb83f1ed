"""The third class of the first AlyxToNWB converter, as a thin face over the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..alyx2nwb import Alyx2NWBMetadata, find_sources
from .launching import check_panel, open_server
from .workspace import Workspace

if TYPE_CHECKING:
    from .services import GuiServices
#: What this process has opened, by output folder.
_open_here: dict[Path, GuiServices] = {}


class Alyx2NWBGui:
    """The browser GUI, opened at a session.

    In a notebook it shows itself inline, as the value of a cell. Elsewhere it opens in the browser, and Python goes on
    when it is ended with Ctrl-C, as it did when the window of the first converter was closed. In a script call it below
    ``if __name__ == "__main__":``, since the processes that convert import the script, too.

    Parameters
    ----------
    eid : str, UUID or list of these, optional
        The session's id in Alyx, or another way to name it such as ``subject/date/number``.
    one_obj : one.api.OneAlyx or one.api.One, optional
        ONE. Default: ONE's default database, once it is needed.
    nwbfile_saveloc : path-like, optional
        The folder to write to, or a file in it. Default: the current folder.
    metadata_fileloc : path-like, optional
        JSON document to open. If it is not there yet it is made of the session first, as
        :meth:`ibl_nwb.Alyx2NWBMetadata.write_metadata` does.
    session_path : path-like, optional
        The session folder, in place of an eid.
    open : bool, optional
        Whether to open it in the browser at once. Default: unless this is a notebook.
    **search_terms
        Terms of ONE to search by: ``subject``, ``date_range``, ``datasets``, ...

    Attributes
    ----------
    services : ibl_nwb.gui.services.GuiServices
        The folders, the chosen sessions and the queue.

    Raises
    ------
    UsageError
        If Panel is not installed, a search term is unknown, or another page is open on the folder.
    SessionNotFoundError
        If there is no such session.

    Examples
    --------
    >>> Alyx2NWBGui(subject="CSH_ZAD_011", date_range="2020-03-23", nwbfile_saveloc="nwb")  # doctest: +SKIP
    """

    def __init__(
        self,
        eid: str | UUID | Sequence[str | UUID] | None = None,
        one_obj: Any | None = None,
        nwbfile_saveloc: str | Path | None = None,
        metadata_fileloc: str | Path | None = None,
        *,
        session_path: str | Path | None = None,
        open: bool | None = None,
        **search_terms: Any,
    ):
        check_panel()
        from .services import GuiServices
        from .state import ChosenSession

        sources = _find_sources(eid, one_obj, metadata_fileloc, session_path, search_terms)
        output = Path(nwbfile_saveloc or Path()).expanduser().absolute()
        output = output.parent if output.suffix in (".nwb", ".zarr") else output
        if output in _open_here:
            _open_here.pop(output).shutdown()  # as when a cell of a notebook is run again
        self.services = GuiServices(Workspace(_sessions_folder(one_obj, session_path), output), one=one_obj)
        _open_here[output] = self.services
        chosen = self.services.add([ChosenSession(source=source, label=_label(source)) for source in sources])
        self.services.current = next(iter(chosen), self.services.current)
        self.services.step = "Contents" if chosen else "Find"
        self._panel: Any = None
        if open or (open is None and not _is_notebook()):
            self.show()

    @property
    def panel(self) -> Any:
        """All steps as one Panel object, for a notebook or a page of your own."""
        if self._panel is None:
            from .app import make_body

            self._panel = make_body(self.services)
        return self._panel

    def show(self, *, open: bool = True, threaded: bool = False, port: int = 0) -> Any:
        """Serve the page on this machine.

        Parameters
        ----------
        open : bool, default: True
            Open it in the browser.
        threaded : bool, default: False
            Go on at once. Default: wait until Ctrl-C.
        port : int, default: 0
            Port; 0 for any that is free.

        Returns
        -------
        ibl_nwb.gui.server.GuiServer or None
            If threaded, the server, with its ``url`` and ``stop()``.
        """
        return open_server(self.services, open_browser=open, threaded=threaded, port=port)

    def close(self) -> None:
        """End all that runs, and leave the folder to others. A server that is stopped does that, too."""
        self.services.shutdown()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.panel._repr_mimebundle_(include, exclude)


def _find_sources(
    eid: Any, one_obj: Any | None, metadata_fileloc: Any, session_path: Any, search_terms: dict[str, Any]
) -> list[str]:
    """What the sessions are named by that are to be chosen; none where nothing was given."""
    is_named = eid is not None or session_path is not None or bool(search_terms)
    if metadata_fileloc is not None:
        path = Path(metadata_fileloc).expanduser().absolute()
        if path.exists() or not is_named:
            return [str(path)]
        written = Alyx2NWBMetadata(eid, one_obj, session_path=session_path, **search_terms).write_metadata(path)
        return [str(one) for one in (written if isinstance(written, list) else [written])]
    if session_path is not None:
        return [str(Path(session_path).expanduser().absolute())]
    return find_sources(eid, one_obj, search_terms) if is_named else []


def _sessions_folder(one_obj: Any | None, session_path: Any) -> Path:
    if session_path is not None:
        return Path(session_path).expanduser().absolute()
    return Path(one_obj.cache_dir) if one_obj is not None else Path.cwd()


def _label(source: str) -> str:
    """How people name a session, as far as what it is named by tells."""
    if source.endswith(".json"):
        return Path(source).name
    return "/".join(Path(source).parts[-3:]) if Path(source).is_absolute() else source


def _is_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None
