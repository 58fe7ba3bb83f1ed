"""The file's own table of its sources: whether they are what was compared, and unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .comparing import compare_value
from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFolder, is_address_of, revision_of, without_revision
from .verification import ListedSource, Verification

if TYPE_CHECKING:
    from ..document import ConversionDocument

_TABLE = "analysis/SourceDatasets"
_COLUMNS = ("relative_path", "size", "md5", "role", "interfaces", "revision", "read_from")

#: Files whose bytes are hashed again even if only a sample of the raw data is compared.
SMALL_FILE_BYTES = 1_000_000_000


def read_listed(nwb: NWBReader) -> tuple[ListedSource, ...] | None:
    """Rows of the table of sources, None if the file has none."""
    columns = [nwb.read_column(_TABLE, name) for name in _COLUMNS]
    if any(column is None for column in columns):
        return None
    # Columns of different lengths are told by check_sources
    rows = zip(*(np.asarray(column).tolist() for column in columns), strict=False)
    return tuple(
        ListedSource(path, int(size), md5, role, tuple(by.split(",")), revision, read_from)
        for path, size, md5, role, by, revision, read_from in rows
    )


def urls_of_absent(listed: tuple[ListedSource, ...], document: ConversionDocument | None) -> dict[str, str | None]:
    """Files that were read from a server, by relative path, with their addresses as far as a document tells."""
    urls = document.data_urls if document is not None else []
    return {
        row.relative_path: next((url for url in urls if is_address_of(url, row.relative_path)), None)
        for row in listed
        if row.read_from == "server"
    }


def check_sources(verification: Verification, compared: Sequence[Comparison]) -> Iterator[Comparison]:
    """Compare the files that are listed with those in the folder, and with those that values were compared with.

    Parameters
    ----------
    verification : Verification
        The file and its source.
    compared : sequence of Comparison
        What the checks of the families found.
    """
    if verification.listed is None:
        yield Comparison("", _TABLE, "not verified", "the file does not list its sources")
        return
    lengths = {name: verification.nwb.shape(f"{_TABLE}/{name}")[0] for name in _COLUMNS}
    if len(set(lengths.values())) > 1:
        listed_lengths = ", ".join(f"{name} {length}" for name, length in lengths.items())
        yield Comparison("", _TABLE, "different", f"its columns have different numbers of rows: {listed_lengths}")
    for listed in verification.listed:
        yield _check_listed(verification, listed)
    known = {file.relative_path for file in verification.folder.files}
    used = {row.dataset.partition(":")[0] for row in compared if row.status != "not verified"} & known
    mentioned = used | {row.dataset.partition(":")[0] for row in compared}
    paths = {row.relative_path for row in verification.listed}
    others = {without_revision(path): path for path in paths}
    for path in sorted(used - paths):
        other = others.get(without_revision(path))
        reason = f"values were compared with it, but the file names {other or 'no such file'} as its source"
        yield Comparison(path, f"{_TABLE}/relative_path", "different", reason)
    for listed in verification.listed:
        if listed.role == "converted" and listed.relative_path not in mentioned:
            reason = "no check knows this kind of dataset, or has compared it with anything"
            yield Comparison(listed.relative_path, "", "not verified", reason)


def _check_listed(verification: Verification, listed: ListedSource) -> Comparison:
    """Whether a file is there as it was when it was converted."""
    path = verification.folder.path / listed.relative_path
    if not path.is_file() and listed.read_from == "server":
        reason = "not on this disk: it was read from a server"
        return Comparison(listed.relative_path, f"{_TABLE}/md5", "not verified", reason)
    if not path.is_file():
        return Comparison(listed.relative_path, f"{_TABLE}/relative_path", "missing", "the session has no such file")
    revision = revision_of(listed.relative_path)
    if revision != listed.revision:
        return compare_value(listed.relative_path, f"{_TABLE}/revision", listed.revision, revision)
    size = path.stat().st_size
    if size != listed.size:
        return compare_value(listed.relative_path, f"{_TABLE}/size", listed.size, size)
    if not listed.md5:
        reason = "equal in size; its MD5 was not recorded"
        return Comparison(listed.relative_path, f"{_TABLE}/md5", "not verified", reason)
    if verification.sample is not None and size > SMALL_FILE_BYTES:
        reason = "equal in size; a file of this size is not hashed when only a sample is compared"
        return Comparison(listed.relative_path, f"{_TABLE}/md5", "not verified", reason)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    return compare_value(listed.relative_path, f"{_TABLE}/md5", listed.md5, digest)


def is_of_another_session(folder: SourceFolder, listed: tuple[ListedSource, ...]) -> bool:
    """Whether a folder holds none of the files that are listed, by name and size."""
    return not any(
        (path := folder.path / row.relative_path).is_file() and path.stat().st_size == row.size for row in listed
    )
