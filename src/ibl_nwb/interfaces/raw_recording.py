"""What interfaces of raw recordings share: the writer for large files, and conversion of a part in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pynwb import NWBFile

from ..errors import UsageError
from ..session import Dataset
from ..snippets import Snippet, find_snippet
from ..writing import atomic_output, write_part
from .base import STUB_LENGTH


class RawRecordingMixin:
    """Mixin for interfaces of raw recordings, before the other base classes.

    New files are written by :func:`ibl_nwb.writing.write_nwbfile`. Subclasses say when a sample was taken.
    """

    sources: dict[str, list[Dataset]]
    notes: list[str]

    def run_conversion(
        self,
        nwbfile_path: str | Path,
        nwbfile: NWBFile | None = None,
        metadata: dict | None = None,
        overwrite: bool = False,
        backend: Literal["hdf5", "zarr"] | None = None,
        backend_configuration: Any = None,
        append_on_disk_nwbfile: bool = False,
        **conversion_options: Any,
    ) -> None:
        """Convert as any NeuroConv interface does, with several threads, and a file that is complete or not there.

        Parameters
        ----------
        nwbfile_path, nwbfile, metadata, overwrite, backend, backend_configuration
            As in :meth:`neuroconv.BaseDataInterface.run_conversion`.
        append_on_disk_nwbfile : bool, default: False
            As there; NeuroConv's own writer changes the file in place then.
        **conversion_options
            Options of ``add_to_nwbfile``.

        Raises
        ------
        OutputExistsError, OutputNotWritableError
            If the file exists and ``overwrite`` is False, or cannot be written.
        UsageError
            If a ``backend_configuration`` is given with an ``nwbfile`` to which data are only now added.
        """
        if append_on_disk_nwbfile:
            super().run_conversion(  # type: ignore[misc]
                nwbfile_path=nwbfile_path,
                nwbfile=nwbfile,
                metadata=metadata,
                overwrite=overwrite,
                backend=backend,
                backend_configuration=backend_configuration,
                append_on_disk_nwbfile=True,
                **conversion_options,
            )
            return
        if nwbfile is not None and backend_configuration is not None:
            raise UsageError(
                "A backend_configuration cannot be given with an nwbfile, to which this conversion only now adds its "
                "data. Give backend, or use add_to_nwbfile and then ibl_nwb.writing.write_nwbfile."
            )
        metadata = self.get_metadata() if metadata is None else metadata  # type: ignore[attr-defined]
        self.validate_metadata(metadata=metadata)  # type: ignore[attr-defined]
        with atomic_output(Path(nwbfile_path), overwrite=overwrite) as part:
            if nwbfile is None:
                nwbfile = self.create_nwbfile(metadata=metadata, **conversion_options)  # type: ignore[attr-defined]
            else:
                self.add_to_nwbfile(nwbfile, metadata=metadata, **conversion_options)  # type: ignore[attr-defined]
            write_part(nwbfile, part, backend=backend, backend_configuration=backend_configuration)

    def _time_of(self, sample: int) -> float:
        """Session time of a sample, in seconds."""
        raise NotImplementedError

    def _choose_snippet(self, n_recorded: int, start_s: float | None, stop_s: float | None, stub_test: bool) -> Snippet:
        """The samples to convert, which are noted if they are not all."""
        path = self.sources["data"][0].path
        max_samples = STUB_LENGTH if stub_test else None
        snippet = find_snippet(self._time_of, n_recorded, start_s, stop_s, path=path, max_samples=max_samples)
        self.notes = [snippet.statement] if snippet.statement else []
        return snippet
