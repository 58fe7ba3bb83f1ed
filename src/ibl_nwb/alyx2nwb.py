"""The two classes of the first AlyxToNWB converter, as thin faces over documents and conversions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .conversion import Backend, convert_document, make_document
from .document import ConversionDocument
from .errors import UsageError


class Alyx2NWBMetadata:
    """Metadata of a session, collected for editing.

    Parameters
    ----------
    session_path : path-like
        The session folder.
    **options
        Options of :func:`ibl_nwb.conversion.make_document`, such as ``alyx`` and ``timezone``.
    """

    def __init__(self, session_path: str | Path, **options: Any):
        self.document = make_document(session_path, **options)

    @property
    def complete_metadata(self) -> dict[str, Any]:
        """The whole document as JSON values."""
        return self.document.model_dump(mode="json")

    def write_metadata(self, fileloc: str | Path) -> Path:
        """Write the document as JSON and return its path.

        Parameters
        ----------
        fileloc : path-like
            The file to write; its suffix is ``.json``.
        """
        path = Path(fileloc)
        if path.suffix != ".json":
            raise UsageError(f"Metadata are written as JSON; give a name that ends in .json, not '{path.name}'.")
        self.document.write_json(path)
        return path


class Alyx2NWBConverter:
    """Conversion of a session from its collected metadata.

    Parameters
    ----------
    saveloc : path-like
        The NWB file to write, or the folder to write it to.
    nwb_metadata_file : path-like, optional
        JSON file that :meth:`Alyx2NWBMetadata.write_metadata` wrote.
    metadata_obj : Alyx2NWBMetadata, optional
        The metadata themselves. Give either of the two.
    overwrite : bool, default: False
        Replace a file that is there.
    backend : {"hdf5", "zarr"}, default: "hdf5"
        Format of the file.

    Raises
    ------
    UsageError
        If neither or both sources of metadata are given.
    """

    def __init__(
        self,
        saveloc: str | Path,
        *,
        nwb_metadata_file: str | Path | None = None,
        metadata_obj: Alyx2NWBMetadata | None = None,
        overwrite: bool = False,
        backend: Backend = "hdf5",
    ):
        if (nwb_metadata_file is None) == (metadata_obj is None):
            raise UsageError("Give either nwb_metadata_file or metadata_obj.")
        self.document = (
            metadata_obj.document if metadata_obj is not None else ConversionDocument.read_json(str(nwb_metadata_file))
        )
        self.saveloc = Path(saveloc)
        self.overwrite = overwrite
        self.backend: Backend = backend

    def run_conversion(self) -> Path:
        """Write the NWB file and return its path."""
        return convert_document(
            self.document, self.saveloc, overwrite=self.overwrite, backend=self.backend
        ).nwbfile_path
