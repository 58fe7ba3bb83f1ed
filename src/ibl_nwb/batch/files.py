"""Whether a file that was written is still the one that was written."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class WrittenFile(BaseModel):
    """A file, a folder of Zarr, or a link to a video, as it was when it was written."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(description="Path below the output folder, with forward slashes.")
    size: int = Field(description="Size in bytes; of a folder, of all files in it; of a link, of its text.")
    sha256: str = Field(description="SHA-256; of a folder, that of the sorted list of its files with theirs.")
    modified_ns: int = Field(description="Time of the last change in ns since 1970; of a folder, the latest.")

    @classmethod
    def of(cls, written: Path, path: str) -> WrittenFile:
        """Read a file, and describe it under the path that it has or is to have.

        Parameters
        ----------
        written : pathlib.Path
            Where it is.
        path : str
            Path below the output folder.
        """
        return cls(path=path, size=_size(written), sha256=_sha256(written), modified_ns=_modified_ns(written))

    def agrees(self, folder: Path) -> bool:
        """Whether the file is below a folder as it was written.

        As Git does, a file whose size and time of change are the same is taken for unchanged; one that only has
        another time is read and hashed.

        Parameters
        ----------
        folder : pathlib.Path
            The output folder.
        """
        path = folder / self.path
        if not os.path.lexists(path) or _size(path) != self.size:
            return False
        return _modified_ns(path) == self.modified_ns or _sha256(path) == self.sha256


def flush_to_disk(path: Path) -> None:
    """Have the disk hold a file, or all files of a folder, before a name or a record says so."""
    for file in [] if path.is_symlink() else _files_of(path):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; neither need be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_empty_folders(folder: Path, *, up_to: Path) -> None:
    """Remove a folder if nothing is in it, and those above it likewise, as far as ``up_to``, which stays."""
    while folder != up_to and up_to in folder.parents and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _files_of(path: Path) -> Iterator[Path]:
    yield from (
        [path] if path.is_symlink() or path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    )


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in _files_of(path))


def _modified_ns(path: Path) -> int:
    return max((file.lstat().st_mtime_ns for file in _files_of(path)), default=0)


def _sha256(path: Path) -> str:
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    if path.is_dir():
        listed = "".join(f"{_sha256(file)} {file.relative_to(path).as_posix()}\n" for file in _files_of(path))
        return hashlib.sha256(listed.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
