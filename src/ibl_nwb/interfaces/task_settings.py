"""Task settings: the parameters of the task, the rig and the subject that the rig wrote down for each protocol."""

from __future__ import annotations

from neuroconv import BaseDataInterface
from pynwb import NWBFile

from ..session import load_json
from .base import ALFDataset, CollectionInterface
from .value_rows import make_value_table


class TaskSettingsInterface(CollectionInterface, BaseDataInterface):
    """The settings of one protocol: ``_iblrig_taskSettings.raw.json``.

    They become a table in ``/analysis``, beside the Alyx record and in its form: one row per value, its place as a JSON
    Pointer and the value as JSON text, so that any viewer can search them and nothing is lost.
    """

    display_name = "IBL task settings"
    keywords = ("task", "settings", "rig")
    associated_suffixes = (".json",)
    info = "Interface for the task settings of an IBL session."

    family = "TaskSettings"
    datasets = (ALFDataset("settings", ("taskSettings.raw.json",), required=True),)
    collections = ("raw_behavior_data", "raw_task_data_*", "raw_passive_data")

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None) -> None:
        """
        Add the settings to an NWB file, as a table in ``/analysis``.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Name and descriptions in the block "TaskSettings". Default: those of :meth:`get_metadata`.

        Raises
        ------
        DatasetUnreadableError
            If the file is not JSON.
        """
        entry = self._get_entry(metadata, "TaskSettings")
        content = load_json(self.sources["settings"][0])
        nwbfile.add_analysis(make_value_table(entry, content, self._source_comment("settings")))
