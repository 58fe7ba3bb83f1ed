"""Paw states: what each paw is doing in every frame of one camera, with the probability of each state."""

from __future__ import annotations

from typing import Any

from pynwb.behavior import BehavioralTimeSeries

from .base import ALFDataset, substitute
from .camera_table import CameraTableInterface
from .camera_times import CAMERA_TIMES


class PawStatesInterface(CameraTableInterface):
    """The states of the paws that Lightning Action sees in one camera's video: probabilities and their variances.

    Each is the mean, or the variance, over an ensemble of networks. Frames at the end of a recording may be NaN, where
    they did not fill a batch. ``paw_r`` is the paw near to the camera and ``paw_l`` the far one, in the left and in the
    right view. The times are those in ``alf``, by the rule in :class:`CameraTimes`.
    """

    display_name = "IBL paw states"
    keywords = ("behavior", "action segmentation", "video", "Lightning Action")
    associated_suffixes = (".pqt", ".npy")
    info = "Interface for the states of the paws in the video of one camera of an IBL session."

    family = "PawStates"
    datasets = (
        ALFDataset("states", ("{camera_name}Camera.pawstates.pqt",), ("alf/lightningaction", "alf"), required=True),
        CAMERA_TIMES,
    )
    frames_key = "states"
    container_class = BehavioralTimeSeries

    def _describe_column(self, column: str, words: dict[str, Any]) -> dict[str, str]:
        """Words for ``{paw}_{state}`` and ``{paw}_{state}_ens_var``, made from those for its parts."""
        quantity = "variance" if column.endswith("_ens_var") else "probability"
        for paw, paw_words in words["paws"].items():
            state = column.removesuffix("_ens_var").removeprefix(f"{paw}_")
            if column.startswith(f"{paw}_") and state in words["states"]:
                parts = {"paw": paw_words, "state": words["states"][state], "column": column, **self.instance}
                return substitute(words["quantities"][quantity], parts)
        return super()._describe_column(column, words)
