"""Videos beside an NWB file: copied or linked there, or left where they are, and referred to by relative paths."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import DatasetMissingError, OutputNotWritableError
from .atomic import atomic_output

VideoPlacement = Literal["copy", "link", "leave"]


class _Reference(NamedTuple):
    """One row of the ``external_file`` of a series: the video that is meant and where it is to be."""

    series: str
    row: int
    source: Path
    target: Path


def place_videos(
    nwbfile_path: str | Path,
    placement: VideoPlacement = "leave",
    *,
    written_path: str | Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Put the videos that a written NWB file refers to where they belong, and have it refer to them by relative paths.

    Copies and links go into a folder beside the NWB file that has its name without the suffix, which is DANDI's layout
    (dandi.organize), and are called after the series: ``sub-A_ses-1/VideoLeftCamera.mp4`` for ``sub-A_ses-1.nwb``. They
    appear there complete or not at all. Addresses on the web are left alone. Calling it again changes nothing.

    Parameters
    ----------
    nwbfile_path : path-like
        The NWB file, HDF5 or Zarr, under its final name; relative paths start from its folder.
    placement : {"copy", "link", "leave"}, default: "leave"
        Copy the videos, make symbolic links to them, or leave them where they are.
    written_path : path-like, optional
        Where the NWB file is now, if it does not have its final name yet. It must be in the same folder.
    overwrite : bool, default: False
        Whether a video that is there already may be replaced.

    Returns
    -------
    list of Path
        The videos as the NWB file refers to them from now on, one per reference, absolute.

    Raises
    ------
    DatasetMissingError
        If a video is not where the NWB file says.
    OutputExistsError, OutputNotWritableError
        If a copy or link exists and may not be replaced, or cannot be made. The NWB file is as it was then.
    """
    folder = Path(os.path.realpath(Path(nwbfile_path).parent))  # "..", as the system takes it, is of the real folder
    nwbfile_path = folder / Path(nwbfile_path).name
    current_path = Path(written_path or nwbfile_path)
    with _open(current_path, "r") as file:
        references = list(_find_references(file, nwbfile_path, placement))
    with ExitStack() as outputs:
        for reference in references:
            if reference.target != reference.source:
                part = outputs.enter_context(atomic_output(reference.target, overwrite=overwrite))
                _put(reference.source, part, placement)
    with _open(current_path, "r+") as file:
        for reference in references:
            path = _relative(reference.target, folder)
            file["acquisition"][reference.series]["external_file"][reference.row] = path
    return [reference.target for reference in references]


def _find_references(file: Any, nwbfile_path: Path, placement: VideoPlacement) -> Iterator[_Reference]:
    """References to videos on disk, in the acquisition of an open file."""
    folder = nwbfile_path.with_name(nwbfile_path.name.removesuffix(".zarr").removesuffix(".nwb"))
    for name, series in sorted(file["acquisition"].items()):
        written = series["external_file"][:] if "external_file" in series else ()
        for row, path in enumerate(path.decode() if isinstance(path, bytes) else path for path in written):
            if "://" in path:
                continue
            source = nwbfile_path.parent / path
            source = Path(os.path.realpath(source.parent)) / source.name
            if not source.is_file():
                raise DatasetMissingError(
                    f"The video '{source}', to which {name} in '{nwbfile_path}' refers, is not there. Put it back, or "
                    "leave videos out of the conversion with --exclude Video."
                )
            stem = f"{name}_{row}" if len(written) > 1 else name
            yield _Reference(name, row, source, source if placement == "leave" else folder / f"{stem}{source.suffix}")


def _put(source: Path, target: Path, placement: VideoPlacement) -> None:
    try:
        if placement == "link":
            target.symlink_to(source)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        raise OutputNotWritableError(
            f"Cannot {placement} '{source}' to the folder '{target.parent}': {error.strerror}. Choose another way to "
            "place the videos: copy, link or leave."
        ) from error


def _relative(path: Path, folder: Path) -> str:
    """Path from a folder, with forward slashes; absolute where there is no such path, on another drive of Windows."""
    if path.drive != folder.drive:
        return path.as_posix()
    return Path(os.path.relpath(path, folder)).as_posix()


def _open(path: Path, mode: Literal["r", "r+"]) -> Any:
    """The file as HDF5 or Zarr groups, in a context manager."""
    if path.is_dir():
        import zarr

        return zarr.open_group(str(path), mode=mode)
    import h5py

    return h5py.File(path, mode)
