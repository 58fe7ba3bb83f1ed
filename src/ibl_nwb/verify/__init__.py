"""Proof that a written NWB file equals its source: it is read back and compared, value by value.

The source is read along another path than the one the conversion takes: files are chosen by their names alone
(:mod:`.source_folder`) and read by plain NumPy, pandas and mtscomp; the file is read by h5py or zarr. No interface, and
nothing that interfaces use to read, takes part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .report import Comparison, Difference, VerificationReport

if TYPE_CHECKING:
    from ..alyx import AlyxRecord
    from ..document import ConversionDocument
    from .nwb_reading import NWBReader
    from .registry import Check
    from .verification import Verification

__all__ = ["Comparison", "Difference", "VerificationReport", "verify"]

#: How the table of sources names its session.
_SESSION_IN_DESCRIPTION = re.compile(r"Files of session (\S+)/(\S+)/(\S+) that")

#: In how many folders above a file its session is looked for.
_LEVELS_ABOVE = 4


def verify(
    nwbfile_path: str | Path,
    session_path: str | Path | None = None,
    *,
    alyx: AlyxRecord | str | Path | None = None,
    revision: str | None = None,
    sample: float | None = None,
    seed: int = 0,
    progress_bar_class: Callable[..., Any] | None = None,
) -> VerificationReport:
    """Compare a written NWB file with the session that it was made from, exactly.

    Parameters
    ----------
    nwbfile_path : path-like
        The file (HDF5) or folder (Zarr).
    session_path : path-like, optional
        The session folder, or the JSON document that was converted: that also tells revisions, options and the Alyx
        record. Default: the session that the file names, if it lies in the folder of the file or one above.
    alyx : AlyxRecord or path-like, optional
        The record that was converted with, to compare that in the file with. Default: the document's.
    revision : str, optional
        Revision that was converted: the last one not after this; "" for files without a revision. Default: the newest.
    sample : float, optional
        Compare only this fraction (0 to 1) of the blocks of each raw recording, chosen at random. Default: all.
        Everything else is always compared in full.
    seed : int, default: 0
        Seed of that choice; the same seed chooses the same blocks.
    progress_bar_class : callable, optional
        Makes a progress bar of the kinds of data: ``tqdm.tqdm`` or something with its arguments and methods.

    Returns
    -------
    VerificationReport
        One row for each dataset; ``report.ok`` is True if nothing is different or missing.

    Raises
    ------
    DatasetUnreadableError
        If the file, or a source, cannot be read.
    SessionNotFoundError
        If the session is not there, or it is not the one that the file is of.
    UsageError
        If ``sample`` is no fraction, or ``revision`` is given with a document.
    """
    from ..errors import UsageError
    from .nwb_reading import NWBReader
    from .registry import load_checks
    from .sources import check_sources
    from .unspoken import find_unspoken

    if sample is not None and not 0 < sample <= 1:
        raise UsageError(f"The fraction to sample was {sample}; it must be more than 0 and at most 1.")
    nwbfile_path = Path(nwbfile_path)
    with NWBReader(nwbfile_path) as nwb:
        verification = _prepare(nwb, session_path, alyx, revision, sample, seed)
        rows: list[Comparison] = []
        checks = list(load_checks())
        bar = progress_bar_class(checks, desc="Verifying", unit="kind") if progress_bar_class else checks
        for check in bar:
            _run(check, verification, rows)
        rows += check_sources(verification, tuple(rows))
        rows += find_unspoken(nwb, tuple(rows))
    return VerificationReport(nwbfile_path, verification.folder.path, rows)


def _run(check: Check, verification: Verification, rows: list[Comparison]) -> None:
    """Add what a check finds; an object of the file that cannot be read ends the check with a row of its own."""
    from .nwb_reading import DamagedObjectError

    try:
        for row in check(verification):
            rows.append(row)
    except DamagedObjectError as error:
        rows.append(Comparison("", error.object_path, "different", str(error)))


def _prepare(
    nwb: NWBReader,
    session_path: str | Path | None,
    alyx: AlyxRecord | str | Path | None,
    revision: str | None,
    sample: float | None,
    seed: int,
) -> Verification:
    """Find the session and check that it is the file's."""
    from ..errors import UsageError
    from .source_folder import SourceFolder
    from .sources import read_listed, urls_of_absent
    from .verification import Verification

    document = _read_document(session_path)
    if document is not None and revision is not None:
        raise UsageError(f"A revision cannot be given with a document; it is fixed in '{session_path}'.")
    folder_path = Path(document.session.session_path) if document is not None else _session_folder(nwb, session_path)
    folder = SourceFolder(_checked(folder_path), revision if document is None else _revision_of(document))
    listed = read_listed(nwb)
    absent = urls_of_absent(listed or (), document)
    # All of a recording is not fetched a second time: a server is asked for a part that was asked for only.
    folder = folder.with_absent(absent if sample is not None else dict.fromkeys(absent))
    verification = Verification(nwb, folder, listed, document, _read_record(alyx, document), sample, seed)
    _check_is_the_session(verification)
    return verification


def _read_document(session_path: str | Path | None) -> ConversionDocument | None:
    from ..document import ConversionDocument

    is_document = session_path is not None and Path(session_path).suffix == ".json"
    return ConversionDocument.read_json(str(session_path)) if is_document else None


def _revision_of(document: ConversionDocument) -> str | None:
    """The revision that all interfaces of a document have in common, else the newest."""
    revisions = {arguments.get("revision") for arguments in document.source_data.values()}
    return revisions.pop() if len(revisions) == 1 else None


def _read_record(alyx: AlyxRecord | str | Path | None, document: ConversionDocument | None) -> dict[str, Any] | None:
    from ..alyx import AlyxRecord

    if alyx is None:
        record = None if document is None else document.alyx
    else:
        record = alyx if isinstance(alyx, AlyxRecord) else AlyxRecord.read_json(alyx)
    return None if record is None else record.model_dump(mode="json")


def _session_folder(nwb: NWBReader, session_path: str | Path | None) -> Path:
    """The folder that was given, or the session that the file names, near the file."""
    from ..errors import UsageError

    if session_path is not None:
        return Path(session_path).expanduser()
    named = _session_of(nwb)
    if named is not None:
        for folder in nwb.path.absolute().parents[:_LEVELS_ABOVE]:
            for pattern in (named, f"Subjects/{named}", f"*/Subjects/{named}"):
                for found in sorted(folder.glob(pattern)):
                    return found
    raise UsageError(
        f"Which session is '{nwb.path}' of? It names {named or 'none'}, and no folder near it is that. Give the "
        "session folder or the conversion document."
    )


def _checked(path: Path) -> Path:
    from ..errors import SessionNotFoundError

    if not path.is_dir():
        raise SessionNotFoundError(f"No session folder at '{path}'. Give the folder that holds 'alf'.")
    return path.absolute()


def _session_of(nwb: NWBReader) -> str | None:
    """``subject/date/number`` that the table of sources names."""
    description = str(nwb.attributes("analysis/SourceDatasets").get("description", ""))
    named = _SESSION_IN_DESCRIPTION.search(description)
    return None if named is None else "/".join(named.groups())


def _check_is_the_session(verification: Verification) -> None:
    """Refuse to compare a file with a session that it cannot be of."""
    from ..errors import SessionNotFoundError
    from .sources import is_of_another_session

    nwb, folder = verification.nwb, verification.folder
    named = _session_of(nwb)
    parts = folder.path.parts[-3:]
    looks_like_a_session = len(parts) == 3 and re.fullmatch(r"\d{4}-\d\d-\d\d", parts[1]) is not None
    if named is not None and looks_like_a_session and "/".join(parts) != named:
        raise SessionNotFoundError(f"'{nwb.path}' is of the session {named}, not of '{folder.path}'. Give that one.")
    if verification.listed and is_of_another_session(folder, verification.listed):
        raise SessionNotFoundError(
            f"'{folder.path}' holds none of the {len(verification.listed)} files that '{nwb.path}' was made from, such "
            f"as {verification.listed[0].relative_path}. Give the session that was converted."
        )
