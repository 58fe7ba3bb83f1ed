"""What is asked of every session of a batch, as JSON."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..alyx import AlyxRecord
from ..products import Product


class BatchOptions(BaseModel):
    """What decides the files of every session; names and meanings as in :func:`ibl_nwb.make_document`."""

    model_config = ConfigDict(extra="forbid")

    include: list[str] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)
    revision: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    timezone: str | None = None
    backend: Literal["hdf5", "zarr"] = "hdf5"
    videos: Literal["copy", "link", "leave"] = "copy"

    def digest(self, document: Path | None = None) -> str:
        """SHA-256 of the options, and of the document that a session is converted from if it is one."""
        digest = hashlib.sha256(self.model_dump_json().encode())
        if document is not None:
            digest.update(document.read_bytes())
        return digest.hexdigest()


class ConversionTask(BaseModel):
    """One session to convert: all that the process that does it has to know.

    Attributes
    ----------
    folder : str
        The output folder, which has the records of the session's products.
    key : str
        What the batch calls the session.
    products : list of {"whole", "raw", "processed"}
        The products to make.
    document : str or None
        The document to convert; None for a folder.
    session_path : str or None
        The session folder; None for a document.
    alyx : AlyxRecord or None
        What Alyx says.
    data_urls : list of str
        Addresses of raw recordings that the folder lacks.
    options : BatchOptions
        What decides the files.
    overwrite : bool
        Whether a file that the batch has not written may be replaced.
    verify : bool
        Whether each file is compared with its source.
    sample : float or None
        Part of the raw recordings to compare; None for all.
    jobs, memory_mb : int, float or None
        Threads and memory, as in :func:`ibl_nwb.convert_document`. None: a share of what the machine has.
    workers : int
        How many processes share the machine.
    """

    model_config = ConfigDict(extra="forbid")

    folder: str
    key: str
    products: list[Product]
    document: str | None = None
    session_path: str | None = None
    alyx: AlyxRecord | None = None
    data_urls: list[str] = Field(default_factory=list)
    options: BatchOptions = Field(default_factory=BatchOptions)
    overwrite: bool = False
    verify: bool = True
    sample: float | None = None
    jobs: int | None = None
    memory_mb: float | None = None
    workers: int = 1

    def resources(self) -> tuple[int, float]:
        """Threads and memory in MB for raw recordings: what was given, or a worker's share of the machine it is on."""
        import psutil

        from ..writing.pipeline import usable_processors

        free_mb = psutil.virtual_memory().available / 1e6
        jobs = self.jobs or max(1, usable_processors() // self.workers)
        return jobs, free_mb / 4 / self.workers if self.memory_mb is None else self.memory_mb
