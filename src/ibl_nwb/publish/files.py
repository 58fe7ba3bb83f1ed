"""Which NWB files there are, where the Dandiset begins that they belong to, and which videos go with each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import UsageError
from ..verify.nwb_reading import NWBReader

#: The file by which dandi knows the root of a Dandiset.
DANDISET_FILE = "dandiset.yaml"

#: Groups of an NWB file in which series with external files can be.
_SERIES_GROUPS = ("acquisition", "processing", "stimulus", "analysis")


def find_nwb_files(paths: Iterable[str | Path]) -> list[Path]:
    """NWB files at or below some paths, HDF5 and Zarr; hidden ones are passed over.

    Parameters
    ----------
    paths : iterable of path-like
        Files and folders.

    Returns
    -------
    list of pathlib.Path
        Absolute paths, each once, sorted within each of ``paths``.

    Raises
    ------
    UsageError
        If a path is not there, or there is no NWB file.
    """
    given = [Path(os.path.abspath(Path(path).expanduser())) for path in paths]
    found: dict[Path, None] = {}
    for path in given:
        if not path.exists():
            raise UsageError(f"'{path}' is not there. Give NWB files, or folders with NWB files.")
        if path.is_file() or _is_zarr(path):
            found[path] = None
        else:
            found.update(dict.fromkeys(sorted(_find_below(path))))
    if not found:
        raise UsageError(f"There is no NWB file (.nwb, .nwb.zarr) in {', '.join(map(str, given))}.")
    return list(found)


def dandiset_root(path: Path) -> Path | None:
    """The folder that becomes the root of the Dandiset: that of ``dandiset.yaml``, or the one above ``sub-X``."""
    above = [path, *path.parents] if path.is_dir() else list(path.parents)
    for folder in above:
        if (folder / DANDISET_FILE).is_file():
            return folder
    return next((folder.parent for folder in above if folder.name.startswith("sub-") and not _is_zarr(folder)), None)


def find_external_files(nwbfile_path: Path) -> list[str]:
    """Paths of videos as an NWB file has them, each once; addresses in the web are left out.

    Raises
    ------
    DatasetUnreadableError
        If it is no NWB file, or damaged.
    """
    found: dict[str, None] = {}
    with NWBReader(nwbfile_path) as nwb:
        for group in _SERIES_GROUPS:
            for path in _find_external(nwb, group):
                found[path] = None
    return [path for path in found if "://" not in path]


def resolve_external(nwbfile_path: Path, external: str) -> Path:
    """Where a path in an NWB file leads."""
    return Path(os.path.normpath(nwbfile_path.parent / external))


def _find_below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if _is_zarr(path) or (path.is_file() and path.suffix == ".nwb"):
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _find_below(path)


def _is_zarr(path: Path) -> bool:
    return path.is_dir() and (path.suffix == ".zarr" or (path / ".zgroup").is_file())


def _find_external(nwb: NWBReader, group: str) -> Iterator[str]:
    for name in nwb.names(group):
        path = f"{group}/{name}"
        if not nwb.is_array(path):
            yield from _find_external(nwb, path)
        elif name == "external_file":
            yield from (str(value) for value in nwb.read(path))
