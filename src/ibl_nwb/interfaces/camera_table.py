"""A parquet file with one row per video frame, stored as one series per column: what pupil and paw states share."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile
from pynwb.core import MultiContainerInterface

from ..errors import DatasetInconsistentError
from ..session import load_table
from .base import STUB_LENGTH, camel_case, load_metadata_file, substitute
from .camera_times import BEHAVIOR_DESCRIPTION, CameraInterface, make_frame_series

if TYPE_CHECKING:
    import pandas


class CameraTableInterface(CameraInterface):
    """Base of the interfaces of such a file.

    Every column becomes a series of its own, of the type it was stored with, NaN kept, whether or not anyone described
    it. The YAML file of the family holds ``metadata`` and, in ``columns``, a description and a unit for each column.
    """

    #: Type of the container of the series.
    container_class: ClassVar[type[MultiContainerInterface]]

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None, *, stub_test: bool = False) -> None:
        """
        Add the series, in a container of the processing module "behavior", to an NWB file.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names, descriptions and units in the block of the family. Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 frames only.

        Raises
        ------
        DatasetInconsistentError
            If there are fewer times than frames, or the file has no columns.
        """
        entry = self._get_entry(metadata, self.family)
        timestamps = self.get_timestamps()
        self.notes = self._surplus_notes()
        stop = STUB_LENGTH if stub_test else None
        series = make_frame_series(
            entry["series"],
            {str(name): self._table[name].to_numpy()[:stop] for name in self._table.columns},
            timestamps[:stop],
            comments=" ".join([self._source_comment(self.frames_key, "times") + ".", *self.notes]),
        )
        module = get_module(nwbfile, name="behavior", description=BEHAVIOR_DESCRIPTION)
        module.add(self.container_class(name=entry["name"], time_series=series))

    def _count_frames(self) -> int:
        return len(self._table)

    @cached_property
    def _table(self) -> pandas.DataFrame:
        """The file, one row per frame."""
        (dataset,) = self.sources[self.frames_key]
        table = load_table(dataset)
        if table.columns.empty:
            raise DatasetInconsistentError(f"'{dataset.path}' has no columns. Get the file again.")
        return table

    def _default_metadata(self) -> dict[str, Any]:
        words = load_metadata_file(self.family)
        metadata = substitute(
            words["metadata"], {"label": self.label, "metadata_key": self.metadata_key, **self.instance}
        )
        metadata[self.family][self.metadata_key]["series"] = {
            str(column): {"name": camel_case(str(column)), **self._describe_column(str(column), words)}
            for column in self._table.columns
        }
        return metadata

    def _describe_column(self, column: str, words: dict[str, Any]) -> dict[str, str]:
        """Description and unit of a column."""
        entry = words["columns"].get(column, words["columns"]["other"])
        return substitute(entry, {"column": column, **self.instance})
