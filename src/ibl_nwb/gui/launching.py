"""Starting the page, from the command line or from Python."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from .server import GuiServer
    from .services import GuiServices


def check_panel() -> None:
    """Refuse to go on without Panel, with the way out."""
    if find_spec("panel") is None:
        raise UsageError('This needs Panel, which is not installed. Install it: pip install "ibl-nwb[gui]"')


def open_server(
    services: GuiServices, *, open_browser: bool = True, threaded: bool = False, port: int = 0
) -> GuiServer | None:
    """Serve the page on this machine.

    Parameters
    ----------
    services : GuiServices
        What all windows share. It is shut down when the server has ended.
    open_browser : bool, default: True
        Open it in the browser.
    threaded : bool, default: False
        Go on at once. Default: wait until Ctrl-C.
    port : int, default: 0
        Port; 0 for any that is free.

    Returns
    -------
    GuiServer or None
        If threaded, the server.
    """
    from .app import make_page
    from .server import GuiServer

    def close() -> None:
        running = sum(job.state == "running" for job in services.queue.jobs)
        if running:
            print(f"{running} running conversion{'' if running == 1 else 's'} cancelled; 'Retry' begins again.")
        services.shutdown()
        print("The page is closed. Edits and the queue are kept.")

    server = GuiServer(lambda: make_page(services), port=port, on_stop=services.shutdown if threaded else close)
    if not threaded:
        server.run(on_ready=_tell, open_browser=open_browser)
        return None
    server.start()
    if open_browser:
        import webbrowser

        webbrowser.open(server.url)
    return server


def _tell(url: str) -> None:
    print(f"The page is at {url}")
    print("Only this machine can reach it, with the token in that address. End it with Ctrl-C.", flush=True)
