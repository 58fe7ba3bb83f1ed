"""What a check needs to know: the written file, the source, and which of the source was converted how."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .nwb_reading import NWBReader
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, camel_case, without_revision

if TYPE_CHECKING:
    from ..document import ConversionDocument


#: The family that converts one column of a file whose other columns are another family's.
_ONE_COLUMN_FAMILY = "ProbeSync"


@dataclass(frozen=True)
class ListedSource:
    """One row of the table ``SourceDatasets`` of the file."""

    relative_path: str
    size: int
    md5: str
    role: str
    interfaces: tuple[str, ...]
    revision: str
    read_from: str = "disk"


@dataclass(frozen=True)
class Verification:
    """One written file, its source, and how to compare them.

    Attributes
    ----------
    nwb : NWBReader
        The file, open.
    folder : SourceFolder
        The session in the revision that is asked for.
    listed : tuple of ListedSource or None
        What the file names as its sources, None if it has no such table.
    document : ConversionDocument or None
        The document that the file was made from, if that was given.
    alyx : dict or None
        The Alyx record as JSON, if one was given.
    sample : float or None
        Fraction of the blocks of raw recordings to compare; None for all.
    seed : int
        Seed of the choice of blocks.
    """

    nwb: NWBReader
    folder: SourceFolder
    listed: tuple[ListedSource, ...] | None = None
    document: ConversionDocument | None = None
    alyx: dict[str, Any] | None = None
    sample: float | None = None
    seed: int = 0

    def folder_of(self, instance: str) -> SourceFolder:
        """The session in the revision that one interface was asked for."""
        return self.folder.at(self.argument(instance, "revision", self.folder.revision))

    def argument(self, instance: str, name: str, default: Any) -> Any:
        """Constructor argument of an interface, as the document has it."""
        return default if self.document is None else self.document.source_data.get(instance, {}).get(name, default)

    def option(self, instance: str, name: str, default: Any) -> Any:
        """Conversion option of an interface, as the document has it."""
        if self.document is None:
            return default
        return self.document.conversion_options.get(instance, {}).get(name, default)

    def stated(self, default: Any, *place: str) -> Any:
        """A name, unit or the like as the document's metadata have it, at a place in them; else the default."""
        content: Any = None if self.document is None else self.document.metadata
        for key in place:
            content = content.get(key) if isinstance(content, dict) else None
        return default if content is None else content

    def was_left_out(self, instance: str, files: Iterable[SourceFile]) -> bool:
        """Whether an interface did not take part in the conversion, as far as file and document tell.

        Parameters
        ----------
        instance : str
            Name of the interface in the converter.
        files : iterable of SourceFile
            Files that it would have converted, in whatever revision.
        """
        if self.listed is not None:
            converted = {
                without_revision(row.relative_path)
                for row in self.listed
                if row.role == "converted" and not all(name.startswith(_ONE_COLUMN_FAMILY) for name in row.interfaces)
            }
            return not any(file.key in converted for file in files)
        return self.document is not None and instance not in self.document.source_data

    def took_part(self, instance: str) -> bool:
        """Whether an interface is named by the table of sources or, without one, by the document."""
        if self.listed is not None:
            return any(instance in row.interfaces for row in self.listed)
        return self.document is not None and instance in self.document.source_data


def metadata_key(instance: str) -> str:
    """Snake case of a name, as keys of metadata and columns have it: ``EphysQCProbe00`` to ``ephys_qc_probe00``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", instance).lower()


def left_out(file: SourceFile, object_path: str) -> Comparison:
    """The row of a dataset that was not converted."""
    reason = "it was not converted: the file does not name it as a source"
    return Comparison(file.relative_path, object_path, "not verified", reason)


def instance_label(collections: list[str], collection: str) -> str:
    """What tells an instance in a collection from that in the first one: empty, ``Task01``."""
    return "" if collection == collections[0] else camel_case(collection.removeprefix("alf/"))
