"""The folders that a GUI may read and write, and the files it keeps for itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

#: Folder of a GUI's own files in the output folder: what is restored at the next start, logs, progress.
STATE_FOLDER = ".ibl_nwb_gui"


@dataclass(frozen=True)
class Workspace:
    """What a GUI was started for; nothing outside these folders is read, listed or written at the browser's request.

    Attributes
    ----------
    sessions_folder : pathlib.Path
        Folder below which sessions are, such as ONE's cache, or one session's own folder.
    output_folder : pathlib.Path
        Where documents and NWB files go.
    """

    sessions_folder: Path
    output_folder: Path

    @property
    def state_folder(self) -> Path:
        """Folder of the GUI's own files."""
        return self.output_folder / STATE_FOLDER

    def readable(self, path: str | Path) -> Path:
        """A path that may be read, in full; a relative one is below the output folder.

        Raises
        ------
        UsageError
            If it is outside both folders, once ``..`` and links are resolved.
        """
        return self._inside(path, self.sessions_folder, self.output_folder)

    def writable(self, path: str | Path) -> Path:
        """A path that may be written, in full; a relative one is below the output folder.

        Raises
        ------
        UsageError
            If it is outside the output folder, once ``..`` and links are resolved.
        """
        return self._inside(path, self.output_folder)

    def _inside(self, path: str | Path, *folders: Path) -> Path:
        resolved = (self.output_folder / Path(path).expanduser()).resolve()
        if any(resolved.is_relative_to(folder.resolve()) for folder in folders):
            return resolved
        chosen = " and ".join(f"'{folder}'" for folder in folders)
        raise UsageError(f"'{path}' is outside the folders that this page was started for: {chosen}.")
