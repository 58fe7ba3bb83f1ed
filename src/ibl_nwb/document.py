"""The JSON document that fixes a conversion: which session, which interfaces, what Alyx says, metadata and options.

It is made once, may be edited by hand, and gives the same NWB content whenever and wherever it is converted.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .alyx import AlyxRecord
from .converter import IBLConverter
from .errors import DocumentError, SessionNotFoundError
from .json_values import to_json

#: Fields that DANDI asks for and a conversion does without.
DANDI_SUBJECT_FIELDS = ("subject_id", "species", "sex", "age")

#: Fields of NWBFile that describe the making of a file, not the session.
_OF_THE_MAKING = ("source_script", "source_script_file_name")


class SessionReference(BaseModel):
    """Which session a document is about."""

    model_config = ConfigDict(extra="forbid")

    session_path: str = Field(description="The session folder.")
    subject: str | None = Field(None, description="Subject's nickname, from the path.")
    date: str | None = Field(None, description="Date of the session, YYYY-MM-DD, from the path.")
    number: str | None = Field(None, description="Number of the session on that day, from the path.")
    eid: str | None = Field(None, description="The session's id in Alyx.")


class ConversionDocument(BaseModel):
    """Everything that decides what an NWB file of a session will hold.

    Attributes
    ----------
    session : SessionReference
        The session folder.
    source_data : dict of str to dict
        Interfaces to run with their constructor arguments, except for the session's path. Remove one to leave it out.
    metadata : dict
        NWB metadata of the whole file. A null is a blank to fill in. What is written here wins over everything else.
    conversion_options : dict of str to dict
        Options of each interface.
    alyx : AlyxRecord or None
        What Alyx says about the session; kept in the NWB file as it is.
    """

    model_config = ConfigDict(extra="forbid", title="ibl_nwb conversion document")

    schema_version: Literal["1"] = "1"
    ibl_nwb_version: str = Field(description="Version of ibl_nwb that made the document.")
    session: SessionReference
    source_data: dict[str, dict[str, Any]] = Field(description="Constructor arguments by interface name.")
    metadata: dict[str, Any] = Field(description="NWB metadata; null stands for a blank.")
    conversion_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Options by interface name."
    )
    alyx: AlyxRecord | None = Field(None, description="What Alyx says about the session.")

    @classmethod
    def from_converter(
        cls,
        converter: IBLConverter,
        *,
        metadata: dict | None = None,
        conversion_options: dict[str, dict[str, Any]] | None = None,
    ) -> ConversionDocument:
        """Fix what a converter would do now.

        Parameters
        ----------
        converter : IBLConverter
            A converter of one session.
        metadata : dict, optional
            The user's metadata, on top of the converter's.
        conversion_options : dict, optional
            Options by interface name.
        """
        session = converter.session
        if session is None:
            raise SessionNotFoundError("The converter has no interface of an IBL session.")
        merged = json.loads(json.dumps(converter.merge_metadata(metadata), default=to_json))
        for field in _OF_THE_MAKING:
            merged["NWBFile"].pop(field, None)
        merged["NWBFile"].setdefault("session_start_time", None)
        for field in DANDI_SUBJECT_FIELDS:
            merged.setdefault("Subject", {}).setdefault(field, None)
        return cls(
            ibl_nwb_version=version("ibl-nwb"),
            session=SessionReference(
                session_path=str(session.path),
                subject=session.subject,
                date=session.date,
                number=session.number,
                eid=str(converter.alyx.session.id) if converter.alyx is not None else None,
            ),
            source_data={
                name: json.loads(
                    json.dumps(
                        {k: v for k, v in interface.source_data.items() if k != "session_path" and v is not None}
                    )
                )
                for name, interface in converter.data_interface_objects.items()
            },
            metadata=merged,
            conversion_options=conversion_options or {},
            alyx=converter.alyx,
        )

    @classmethod
    def read_json(cls, path: str | Path) -> ConversionDocument:
        """Read a document.

        Raises
        ------
        DocumentError
            If the file is not there, not JSON, or not such a document; the message names the place.
        """
        path = Path(path)
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DocumentError(f"Cannot read '{path}': {error.strerror}.") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the top level"
            raise DocumentError(
                f"'{path}' is not a conversion document of ibl_nwb: at {place}: {first['msg']}. "
                "Make one with: ibl-nwb metadata SESSION -o FILE.json"
            ) from error

    def write_json(self, path: str | Path) -> None:
        """Write the document, indented for reading and editing; a file that is there is replaced at once."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(path)

    @property
    def data_urls(self) -> list[str]:
        """Addresses of the recordings that are read from a server."""
        given = (arguments.get("data_url") for arguments in self.source_data.values())
        return [str(url) for url in given if url is not None]

    def make_converter(self, *, verbose: bool = False) -> IBLConverter:
        """The converter that the document describes."""
        if not Path(self.session.session_path).is_dir():
            raise SessionNotFoundError(
                f"The session folder '{self.session.session_path}' of this document is not there. If it has moved, "
                "change session.session_path in the document."
            )
        source_data = {
            name: {"session_path": self.session.session_path, **arguments}
            for name, arguments in self.source_data.items()
        }
        try:
            return IBLConverter(source_data=source_data, alyx=self.alyx, verbose=verbose)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise DocumentError(f"source_data of the document: {error.title}: {place}: {first['msg']}.") from error


def blanks_for_dandi(metadata: dict[str, Any]) -> list[str]:
    """Facts about the subject that DANDI will ask for and that the metadata lack, as ``Subject.field``."""
    subject = metadata.get("Subject") or {}
    blanks = [field for field in DANDI_SUBJECT_FIELDS if not subject.get(field)]
    if "age" in blanks and subject.get("date_of_birth"):
        blanks.remove("age")
    return [f"Subject.{field}" for field in blanks]
