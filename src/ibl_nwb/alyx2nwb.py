"""The two classes of the first AlyxToNWB converter, as thin faces over searches, documents and conversions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from .conversion import Backend, convert_document, make_document
from .document import ConversionDocument
from .errors import SessionNotFoundError, UsageError

#: Options of make_document; every other argument is a term to search by.
_DOCUMENT_OPTIONS = (
    "metadata",
    "alyx",
    "include",
    "exclude",
    "revision",
    "session_start_time",
    "timezone",
    "stream_raw",
)

#: Families whose files are so large that they are downloaded only when asked for.
_RAW_FAMILIES = ("RawEphys", "NIDQ", "ProbeSync", "Video")


class Alyx2NWBMetadata:
    """Metadata of one or several sessions, collected for editing.

    Parameters
    ----------
    eid : str, UUID or list of these, optional
        The session's id in Alyx, or another way to name it such as ``subject/date/number``.
    one_obj : one.api.OneAlyx or one.api.One, optional
        ONE. Default: ONE's default database, unless a folder is given.
    session_path : path-like, optional
        The session folder, in place of an eid.
    save_raw : bool, default: False
        Also download the raw recordings and videos of sessions that are named by eid or search: tens of GB each. A
        session folder is taken with all it has.
    **options
        Options of :func:`ibl_nwb.conversion.make_document` (``timezone``, ``metadata``, ``include``, ...) and terms of
        ONE to search by: ``subject``, ``date_range``, ``datasets`` (once spelled ``dataset_types``), ...

    Raises
    ------
    UsageError
        If nothing names a session, or a search term is unknown.
    SessionNotFoundError
        If there is no such session.

    Examples
    --------
    >>> metadata = Alyx2NWBMetadata(date_range=["2020-03-23", "2020-03-24"], subject="CSH_ZAD_011")  # doctest: +SKIP
    """

    def __init__(
        self,
        eid: str | UUID | Sequence[str | UUID] | None = None,
        one_obj: Any | None = None,
        *,
        session_path: str | Path | None = None,
        save_raw: bool = False,
        **options: Any,
    ):
        document_options = {name: options.pop(name) for name in _DOCUMENT_OPTIONS if name in options}
        if session_path is not None:
            sources: list[str] = [str(session_path)]
        else:
            sources = find_sources(eid, one_obj, options)
            if not save_raw and not document_options.get("include"):
                document_options["exclude"] = [*(document_options.get("exclude") or ()), *_RAW_FAMILIES]
        self.documents = [make_document(source, one=one_obj, **document_options) for source in sources]

    @property
    def complete_metadata(self) -> dict[str, Any] | list[dict[str, Any]]:
        """The document as JSON values; a list of them for several sessions."""
        contents = [document.model_dump(mode="json") for document in self.documents]
        return contents[0] if len(contents) == 1 else contents

    def write_metadata(self, fileloc: str | Path) -> Path | list[Path]:
        """Write the document as JSON and return its path.

        Parameters
        ----------
        fileloc : path-like
            The file to write; its suffix is ``.json``. For several sessions each file also has subject, date and number
            in its name, and a list of paths is returned.
        """
        path = Path(fileloc)
        if path.suffix != ".json":
            raise UsageError(f"Metadata are written as JSON; give a name that ends in .json, not '{path.name}'.")
        if len(self.documents) == 1:
            self.documents[0].write_json(path)
            return path
        paths = []
        for document in self.documents:
            session = document.session
            paths.append(path.with_stem(f"{path.stem}_{session.subject}_{session.date}_{session.number}"))
            document.write_json(paths[-1])
        return paths


class Alyx2NWBConverter:
    """Conversion of sessions from their collected metadata.

    Parameters
    ----------
    saveloc : path-like
        The NWB file to write, or the folder to write it to; a folder for several sessions.
    nwb_metadata_file : path-like or dict, optional
        JSON file that :meth:`Alyx2NWBMetadata.write_metadata` wrote, or its content.
    metadata_obj : Alyx2NWBMetadata, optional
        The metadata themselves. Give either of the two.
    one_object : object, optional
        Accepted for the sake of old scripts: the document knows where the files are.
    save_raw : bool, optional
        False leaves out the raw recordings and videos. Default: whatever the metadata hold.
    overwrite : bool, default: False
        Replace a file that is there.
    backend : {"hdf5", "zarr"}, default: "hdf5"
        Format of the file.

    Raises
    ------
    UsageError
        If neither or both sources of metadata are given, or raw recordings are asked for that the metadata lack.
    """

    def __init__(
        self,
        saveloc: str | Path,
        *,
        nwb_metadata_file: str | Path | dict[str, Any] | None = None,
        metadata_obj: Alyx2NWBMetadata | None = None,
        one_object: Any | None = None,
        save_raw: bool | None = None,
        overwrite: bool = False,
        backend: Backend = "hdf5",
    ):
        if (nwb_metadata_file is None) == (metadata_obj is None):
            raise UsageError("Give either nwb_metadata_file or metadata_obj.")
        documents = metadata_obj.documents if metadata_obj is not None else [_read_document(nwb_metadata_file or "")]
        self.documents = [_with_raw(document, save_raw) for document in documents]
        self.saveloc = Path(saveloc)
        if len(self.documents) > 1 and self.saveloc.suffix:
            raise UsageError(f"There are {len(self.documents)} sessions: give a folder to write to, not '{saveloc}'.")
        self.overwrite = overwrite
        self.backend: Backend = backend
        self.nwbfile_paths: list[Path] = []

    def run_conversion(self) -> Path | list[Path]:
        """Write the NWB file and return its path; a list of them for several sessions."""
        self.nwbfile_paths = [
            convert_document(document, self.saveloc, overwrite=self.overwrite, backend=self.backend).nwbfile_path
            for document in self.documents
        ]
        return self.nwbfile_paths[0] if len(self.nwbfile_paths) == 1 else self.nwbfile_paths

    def write_nwb(self) -> Path | list[Path]:
        """Read back what :meth:`run_conversion` wrote, converting first if that was not called.

        The first converter built a file in memory and wrote it here, then opened it to see that it could.
        """
        from pynwb import read_nwb

        written = self.nwbfile_paths or self.run_conversion()
        for path in self.nwbfile_paths:
            read_nwb(path).read_io.close()
        return written[0] if isinstance(written, list) and len(written) == 1 else written


def find_sources(eid: Any, one_obj: Any | None, search_terms: dict[str, Any]) -> list[str]:
    """Eids of the sessions that are named, or that a search finds.

    Raises
    ------
    UsageError
        If both are given, or neither.
    SessionNotFoundError
        If nothing is found.
    """
    if eid is not None:
        if search_terms:
            raise UsageError(f"Give either an eid or terms to search by, not both: {', '.join(search_terms)}.")
        named = [eid] if isinstance(eid, (str, UUID, Path)) else list(eid)
        return [str(one_of_them) for one_of_them in named]
    if not search_terms:
        raise UsageError("Name a session by eid or session_path, or give terms to search by, such as subject.")
    from .acquire import connect, find_sessions

    found = find_sessions(one_obj if one_obj is not None else connect(), **search_terms)
    if not found:
        terms = ", ".join(f"{name} {value!r}" for name, value in search_terms.items())
        raise SessionNotFoundError(f"There is no session with {terms}.")
    return [summary.eid or str(summary.path) for summary in found]


def _read_document(source: str | Path | dict[str, Any]) -> ConversionDocument:
    return (
        ConversionDocument.model_validate(source) if isinstance(source, dict) else ConversionDocument.read_json(source)
    )


def _with_raw(document: ConversionDocument, save_raw: bool | None) -> ConversionDocument:
    raw = {name for name in document.source_data if name.startswith(_RAW_FAMILIES)}
    if save_raw and not raw:
        raise UsageError(
            "The metadata hold no raw recording. Collect them with Alyx2NWBMetadata(..., save_raw=True) first."
        )
    if save_raw is not False or not raw:
        return document
    kept = {name: source for name, source in document.source_data.items() if name not in raw}
    return document.model_copy(update={"source_data": kept})
