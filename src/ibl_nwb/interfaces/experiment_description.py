"""Experiment description: the devices, tasks and projects of the session as the acquisition computer described them."""

from __future__ import annotations

from typing import Any

from neuroconv import BaseDataInterface
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile

from ..errors import DatasetUnreadableError
from ..session import Dataset
from .base import ALFDataset, ALFInterface
from .value_rows import make_value_table


class ExperimentDescriptionInterface(ALFInterface, BaseDataInterface):
    """The file ``_ibl_experiment.description.yaml`` at the root of the session.

    It becomes a table in ``/analysis``, beside the Alyx record and in its form: one row per value, its place as a JSON
    Pointer and the value as JSON text.
    """

    display_name = "IBL experiment description"
    keywords = ("devices", "synchronization", "tasks")
    associated_suffixes = (".yaml",)
    info = "Interface for the experiment description of an IBL session."

    family = "ExperimentDescription"
    handles = ()
    datasets = (ALFDataset("description", ("experiment.description*.yaml",), ("",), required=True),)

    @validate_call
    def __init__(self, session_path: DirectoryPath, *, revision: str | None = None, verbose: bool = False):
        """
        Open the description of a session.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        revision : str, optional
            Revision of the datasets. Default: the newest of each; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision)
        super().__init__(verbose=verbose, session_path=session_path, revision=revision)

    def add_to_nwbfile(self, nwbfile: NWBFile, metadata: dict | None = None) -> None:
        """
        Add the description to an NWB file, as a table in ``/analysis``.

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Name and descriptions in the block "ExperimentDescription". Default: those of :meth:`get_metadata`.

        Raises
        ------
        DatasetUnreadableError
            If the file is not YAML.
        """
        entry = self._get_entry(metadata, "ExperimentDescription")
        content = _load_yaml(self.sources["description"][0])
        nwbfile.add_analysis(make_value_table(entry, content, self._source_comment("description")))


def _load_yaml(dataset: Dataset) -> Any:
    import yaml

    try:
        content = yaml.safe_load(dataset.path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise DatasetUnreadableError(
            f"'{dataset.path}' cannot be read as YAML: {reason}. The file is damaged or incomplete; get it again."
        ) from error
    if content is None:
        raise DatasetUnreadableError(f"'{dataset.path}' is empty. The file is damaged or incomplete; get it again.")
    return content
