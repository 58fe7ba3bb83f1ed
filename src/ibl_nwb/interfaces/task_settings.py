"""Task settings: the parameters of the task, the rig and the subject that the rig wrote down for each protocol."""

from __future__ import annotations

from neuroconv import BaseDataInterface
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile

from ..session import load_json
from .base import ALFDataset, ALFInterface
from .value_rows import make_value_table


class TaskSettingsInterface(ALFInterface, BaseDataInterface):
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

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        collection: str | None = None,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open the settings of one protocol.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        collection : str, optional
            Collection of the settings, e.g. "raw_passive_data". Default: the first that has them.
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, collection=collection)
        super().__init__(verbose=verbose, session_path=session_path, collection=collection, revision=revision)

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
