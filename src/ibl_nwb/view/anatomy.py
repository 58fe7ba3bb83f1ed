"""Where the probes went in the brain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pynwb import NWBFile

from .contents import read_columns
from .drawing import Theme, drawing, shorten
from .regions import region_colors

_RESOLUTION_UM = 25

#: Across and up the page, the axis that is looked along, and how iblatlas draws a slice there.
_VIEWS = {
    "Coronal": ("ml", "dv", "ap", "plot_cslice"),
    "Sagittal": ("ap", "dv", "ml", "plot_sslice"),
    "Horizontal": ("ml", "ap", "dv", "plot_hslice"),
}

_LABELS = {
    "ml": "Mediolateral (µm from bregma, right +)",
    "ap": "Anteroposterior (µm from bregma, front +)",
    "dv": "Dorsoventral (µm from bregma, up +)",
}


def plot_probe_track(nwbfile: NWBFile | str | Path, *, atlas: Any = None, theme: Theme = "light") -> Figure:
    """Sites of all probes from three sides, in the colours of their regions, over slices of the Allen CCF.

    The slices go through the middle of the sites. Nothing is downloaded: without an atlas there are no slices.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    atlas : iblatlas.atlas.BrainAtlas, optional
        Default the Allen atlas of 25 µm, if ONE's cache has it.
    theme : {"light", "dark"}
        Background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; without positions of the electrodes it says so.
    """
    with drawing(nwbfile, theme) as page:
        title = "Probes in the brain"
        if page.nwbfile.electrodes is None or not len(page.nwbfile.electrodes):
            return page.empty(title, "This file has no electrodes.")
        sites = read_columns(page.nwbfile.electrodes, ("ml", "ap", "dv", "location", "group_name")).dropna(
            subset=["ml", "ap", "dv"]
        )
        if not len(sites):
            return page.empty(title, "The electrodes of this file have no positions in the brain (no histology).")
        atlas = find_atlas() if atlas is None else atlas
        figure = page.figure(title, 12, 5)
        for axes, (view, (across, up, along, plot_slice)) in zip(figure.subplots(1, 3), _VIEWS.items(), strict=True):
            if atlas is not None:
                getattr(atlas, plot_slice)(float(sites[along].median()) * 1e-6, ax=axes, cmap="gray")
            _draw_sites(axes, sites, across, up)
            axes.set_title(view if atlas is not None else f"{view} (atlas not at hand)")
        return figure


def find_atlas() -> Any:
    """The Allen atlas of 25 µm as iblatlas reads it, if its files are in ONE's cache; else None."""
    import one.params
    from iblatlas.atlas import AllenAtlas

    folder = Path(one.params.get(silent=True).CACHE_DIR) / AllenAtlas.atlas_rel_path
    template = folder / f"average_template_{_RESOLUTION_UM}.nrrd"
    if not (template.is_file() and (folder / f"annotation_{_RESOLUTION_UM}.nrrd").is_file()):
        return None
    return AllenAtlas(_RESOLUTION_UM, hist_path=folder)


def _draw_sites(axes: Axes, sites: pd.DataFrame, across: str, up: str) -> None:
    for name, of_probe in sites.groupby("group_name"):
        axes.scatter(of_probe[across], of_probe[up], s=5, c=region_colors(of_probe["location"]), linewidths=0)
        if across == "ml":  # from the side, probes often hide one another and so would their names
            top = of_probe.loc[of_probe["dv"].idxmax()]
            place = (top[across], top[up])
            axes.annotate(
                shorten(str(name), 16), place, (3, 5), textcoords="offset points", fontsize=8, color="#d55e00"
            )
    axes.set(xlabel=_LABELS[across], ylabel=_LABELS[up])
    axes.set_aspect("equal", adjustable="datalim")
