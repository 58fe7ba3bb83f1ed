"""What a conversion that did not end well has left behind, and its removal: nothing that was there before."""

from __future__ import annotations

import os
import socket
from glob import escape
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ..batch.files import remove


class BeforeConversion(BaseModel):
    """What was there before a conversion began.

    ``convert_document`` removes what it has begun when it is asked to end. This is for what it could not: it was
    killed, or ended between the last video and the file itself.
    """

    model_config = ConfigDict(extra="forbid")

    nwbfile_path: Path = Field(description="The file that is to be written.")
    is_there: bool = Field(description="Whether there was one.")
    changed: float | None = Field(None, description="When that one was changed last, seconds since 1970.")
    videos: list[str] = Field(description="Names in the folder of its videos.")
    new_folders: list[Path] = Field(description="Folders that were not there, the innermost first.")

    @classmethod
    def of(cls, nwbfile_path: Path) -> BeforeConversion:
        """Look at the place of a file that is to be written."""
        path = Path(os.path.abspath(nwbfile_path))
        videos = _video_folder(path)
        return cls(
            nwbfile_path=path,
            is_there=path.exists(),
            changed=path.stat().st_mtime if path.exists() else None,
            videos=sorted(found.name for found in videos.glob("*")),
            new_folders=[folder for folder in (videos, *path.parents) if not folder.exists()],
        )

    @property
    def is_replaced(self) -> bool:
        """Whether a complete new file has taken the place of the one that was there."""
        path = self.nwbfile_path
        return self.is_there and path.exists() and path.stat().st_mtime != self.changed

    def remove_left_over(self, process: int | None, *, has_answered: bool = False) -> None:
        """Remove what the conversion has left; its process must have ended.

        Parameters
        ----------
        process : int or None
            That process; None if it had not begun.
        has_answered : bool
            Whether it said itself that it failed. A file under the final name is another program's then.
        """
        videos = _video_folder(self.nwbfile_path)
        if process is not None:
            self._put_back_replaced(process)
            for folder in (self.nwbfile_path.parent, videos):
                for part in folder.glob(f".*.{escape(socket.gethostname())}-{process}.*"):
                    remove(part)
        if not self.is_there and not (has_answered and self.nwbfile_path.exists()):
            remove(self.nwbfile_path)
            for video in list(videos.glob("*")):
                if video.name not in self.videos:
                    remove(video)
        for folder in self.new_folders:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _put_back_replaced(self, process: int) -> None:
        """Put a Zarr folder back that was moved aside, if the new one has not taken its place."""
        path = self.nwbfile_path
        replaced = path.with_name(f".{path.stem}.{socket.gethostname()}-{process}.replaced{path.suffix}")
        if replaced.exists() and not path.exists():
            replaced.rename(path)


def _video_folder(nwbfile_path: Path) -> Path:
    return nwbfile_path.with_name(nwbfile_path.name.removesuffix(".zarr").removesuffix(".nwb"))
