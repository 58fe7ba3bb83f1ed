"""A written NWB file as groups, arrays and attributes, alike for HDF5 and Zarr and without pynwb."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ..errors import DatasetUnreadableError

#: How HDF5 and the codecs of Zarr say that bytes are damaged.
_DAMAGE = (OSError, EOFError, RuntimeError, ValueError, zlib.error)

_WAY_OUT = "It is damaged, incomplete or no NWB file; convert the session again."


class DamagedObjectError(DatasetUnreadableError):
    """One object of a file that can be opened is not there or cannot be read."""

    def __init__(self, path: Path, object_path: str, error: Exception | str):
        self.object_path = object_path
        super().__init__(f"{object_path} of '{path}' cannot be read: {error}.")


class NWBReader:
    """An NWB file that is open for reading; use it in a ``with`` statement.

    Parameters
    ----------
    path : pathlib.Path
        A file (HDF5) or a folder (Zarr).

    Raises
    ------
    DatasetUnreadableError
        If it is no NWB file, or truncated.
    """

    def __init__(self, path: Path):
        self.path = path
        self._found: dict[str, Any] = {}
        if not path.exists():
            raise DatasetUnreadableError(f"'{path}' cannot be read as an NWB file: nothing is there.")
        self._root: Any = _open_zarr(path) if path.is_dir() else _open_hdf5(path)
        if "nwb_version" not in self._root.attrs:
            self.close()
            raise DatasetUnreadableError(f"'{path}' cannot be read as an NWB file: it has no nwb_version. {_WAY_OUT}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if hasattr(self._root, "close"):
            self._root.close()

    def __contains__(self, object_path: str) -> bool:
        return self._find(object_path) is not None

    def names(self, group_path: str) -> list[str]:
        """Names of what is in a group, links included; empty if there is no such group."""
        group = self._find(group_path)
        if group is None or _is_array(group):
            return []
        return sorted({*group, *_zarr_links(group)})

    def is_array(self, object_path: str) -> bool:
        """Whether there is an array at a path."""
        found = self._find(object_path)
        return found is not None and _is_array(found)

    def attributes(self, object_path: str) -> dict[str, Any]:
        """Attributes of a group or an array; empty if it is not there."""
        found = self._find(object_path)
        return {} if found is None else dict(found.attrs.items())

    def shape(self, object_path: str) -> tuple[int, ...]:
        """Shape of an array that is there."""
        return tuple(self._get(object_path).shape)

    def dtype(self, object_path: str) -> np.dtype:
        """Type of the values of an array that is there; object for text."""
        return np.dtype(self._get(object_path).dtype)

    def read(self, object_path: str, start: int | None = None, stop: int | None = None) -> np.ndarray:
        """Rows of an array that is there, as stored; text as objects.

        Raises
        ------
        DamagedObjectError
            If it is not there, or its bytes are damaged.
        """
        array = self._get(object_path)
        try:
            if array.shape == ():
                return np.asarray(array.asstr()[()] if array.dtype.kind == "O" else array[()])
            values = array[start:stop]
        except _DAMAGE as error:
            raise DamagedObjectError(self.path, object_path, error) from error
        return _with_texts(np.asarray(values))

    def read_column(self, table_path: str, name: str) -> np.ndarray | None:
        """All values of a column of a table, None if it has no such column."""
        path = f"{table_path}/{name}"
        return self.read(path) if self.is_array(path) else None

    def references(self, object_path: str) -> list[str] | None:
        """Paths that an array of references points to; None in Zarr, where they are stored as pickled objects."""
        import h5py

        if not isinstance(self._root, h5py.File):
            return None
        return [self._root[reference].name for reference in self._get(object_path)[:]]

    def _get(self, object_path: str) -> Any:
        """The group or array at a path, links followed."""
        found = self._find(object_path)
        if found is None:
            raise DamagedObjectError(self.path, object_path, "it is not there")
        return found

    def _find(self, object_path: str) -> Any:
        """The group or array at a path, links followed; None if there is none."""
        if object_path not in self._found:
            group_path, _, name = object_path.strip("/").rpartition("/")
            group = self._find(group_path) if group_path else self._root
            self._found[object_path] = None if group is None or _is_array(group) else self._member(group, name)
        return self._found[object_path]

    def _member(self, group: Any, name: str) -> Any:
        """What a group has under a name; None if there is nothing, or a link that leads nowhere."""
        try:
            return group[name]
        except KeyError:
            target = _zarr_links(group).get(name)
            return None if target is None else self._find(target)
        except RuntimeError:  # how HDF5 says that links lead to one another
            return None


def _open_hdf5(path: Path) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DatasetUnreadableError(f"'{path}' cannot be read as an NWB file: {error}. {_WAY_OUT}") from error


def _open_zarr(path: Path) -> Any:
    import zarr

    try:
        return zarr.open_group(str(path), mode="r")
    except (OSError, ValueError, KeyError) as error:  # zarr's GroupNotFoundError is a ValueError
        if not (path / ".zgroup").exists():
            raise DatasetUnreadableError(
                f"'{path}' cannot be read as an NWB file: it is another folder. The file comes first: "
                "ibl-nwb verify FILE SESSION"
            ) from error
        raise DatasetUnreadableError(f"'{path}' cannot be read as an NWB file: {error}. {_WAY_OUT}") from error


def _is_array(node: Any) -> bool:
    return hasattr(node, "dtype")


def _zarr_links(group: Any) -> dict[str, str]:
    """Links of a group as hdmf-zarr writes them; links of HDF5 need no help."""
    links = group.attrs.get("zarr_link", ())
    return {link["name"]: link["path"] for link in links if link.get("source", ".") == "."}


def _with_texts(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "O":
        return values
    flat = [value.decode() if isinstance(value, bytes) else value for value in values.ravel()]
    decoded = np.empty(len(flat), dtype=object)
    decoded[:] = flat
    return decoded.reshape(values.shape)
