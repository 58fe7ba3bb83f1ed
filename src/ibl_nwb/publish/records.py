"""What became of each NWB file on its way to a Dandiset: one JSON file for each, always whole.

They lie beside the records of a batch, in the same hidden folder, and not inside them: a file can go to several places
(first the sandbox, then the archive), and a batch may be at work in the folder meanwhile.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..batch.files import WrittenFile
from ..batch.records import BatchFolder, write_whole
from ..errors import DocumentError

#: "refused": it does not validate, or the batch has not finished it. "planned": what a dry run would upload.
UploadState = Literal["queued", "planned", "uploading", "uploaded", "refused", "failed"]


class UploadedAsset(BaseModel):
    """A file that is on the server, as it was here when it was sent."""

    model_config = ConfigDict(extra="forbid")

    file: WrittenFile
    digest: str = Field(description="dandi-etag, of a Zarr folder dandi-zarr-checksum; equal here and on the server.")
    asset_id: str = Field(description="The asset's id on the server.")


class UploadRecord(BaseModel):
    """What became of one NWB file, with the videos that belong to it.

    ``state`` is "uploaded" only once the server has said that it has the same bytes.
    """

    model_config = ConfigDict(extra="forbid", title="ibl_nwb upload record")

    schema_version: Literal["1"] = "1"
    path: str = Field(description="The NWB file, below the root of the Dandiset.")
    instance: str = Field(description="What dandi calls the instance of the archive.")
    dandiset: str = Field(description="Number of the Dandiset.")
    state: UploadState = "queued"
    error: str | None = Field(default=None, description="Why it is not there.")
    findings: list[str] = Field(default_factory=list, description="What validators found; errors only.")
    attempts: int = Field(default=0, description="How often its upload was begun.")
    begun: list[str] = Field(default_factory=list, description="Paths that were begun, and perhaps not completed.")
    started: str | None = Field(default=None, description="When, ISO 8601.")
    finished: str | None = None
    versions: dict[str, str] = Field(default_factory=dict, description="Packages that validated and uploaded it.")
    assets: list[UploadedAsset] = Field(default_factory=list, description="The videos, then the NWB file.")

    @property
    def size(self) -> int:
        """Bytes on the server."""
        return sum(asset.file.size for asset in self.assets)

    def is_unchanged(self, root: Path) -> bool:
        """Whether it was uploaded, and the files here are still those that were."""
        return self.state == "uploaded" and all(asset.file.agrees(root) for asset in self.assets)


class UploadFolder:
    """The records of the files below one folder that go to one Dandiset.

    Parameters
    ----------
    root : pathlib.Path
        Root of the Dandiset on this machine.
    instance, dandiset : str
        Where the files go.
    """

    def __init__(self, root: Path, instance: str, dandiset: str):
        self.root, self.instance, self.dandiset = root, instance, dandiset
        place = re.sub(r"[^\w.]+", "-", instance)
        self.folder = BatchFolder(root).state / "uploads" / f"{place}-{dandiset}"

    @property
    def lock_path(self) -> Path:
        """The file that a process that uploads has locked."""
        return self.folder / "lock"

    def record_path(self, path: str) -> Path:
        """The record of an NWB file, given by its path below the root."""
        return self.folder / f"{path}.json"

    def write(self, record: UploadRecord) -> None:
        """Write a record, over an older one at once."""
        write_whole(self.record_path(record.path), record.model_dump_json(indent=1) + "\n")

    def read(self, path: str) -> UploadRecord:
        """The record of an NWB file; a new one where there is none.

        Raises
        ------
        DocumentError
            If what is there is not one.
        """
        place = self.record_path(path)
        try:
            return UploadRecord.model_validate_json(place.read_bytes())
        except FileNotFoundError:
            return UploadRecord(path=path, instance=self.instance, dandiset=self.dandiset)
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
            raise DocumentError(
                f"The upload record '{place}' cannot be read: {reason}. Delete it; the server is asked for what it has."
            ) from error


def files_of_batch(root: Path) -> dict[str, tuple[WrittenFile, str | None]]:
    """Files that a batch has written below a folder, by path, and why each is not to be uploaded, None if it is."""
    files: dict[str, tuple[WrittenFile, str | None]] = {}
    for record in BatchFolder(root):
        for file in record.files:
            why = None
            if record.state != "done":
                why = f"The batch has not finished it, its record says '{record.state}'. Run the batch again."
            elif not file.agrees(root):
                why = (
                    "It is not as the batch wrote it. Run the batch again with --overwrite, or, if you changed it "
                    f"yourself, delete '{BatchFolder(root).record_path(record.name)}'."
                )
            files[file.path] = (file, why)
    return files
