"""Have the disk write what was handed to it while there is still work to do, so that nobody waits for it at the end."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

#: How much may be on its way to the disk before it is pressed for it.
_BYTES_ON_THE_WAY = 32_000_000


class BackgroundFlush:
    """A thread that flushes a file to the disk each time enough was written to it.

    Parameters
    ----------
    path : pathlib.Path
        The file. A folder is left to the system.
    """

    def __init__(self, path: Path):
        self._path = path
        self._n_bytes = 0
        self._wake = threading.Event()
        self._is_done = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> BackgroundFlush:
        if self._path.is_file():
            self._thread = threading.Thread(target=self._run, name="ibl_nwb-flush", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_done = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def wrote(self, n_bytes: int) -> None:
        """So many bytes were written.

        Raises
        ------
        OSError
            If the disk did not take what was written before.
        """
        if self._error is not None:
            raise self._error
        self._n_bytes += n_bytes
        if self._n_bytes >= _BYTES_ON_THE_WAY:
            self._n_bytes = 0
            self._wake.set()

    def _run(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                if self._is_done:
                    return
                os.fsync(descriptor)
        except OSError as error:
            self._error = error
        finally:
            os.close(descriptor)
