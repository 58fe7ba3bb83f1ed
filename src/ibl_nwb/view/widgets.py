"""nwbwidgets on files of pynwb 4: what it needs to start, and views of its own for IBL's data."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hdmf.common import DynamicTable
from ndx_pose import PoseEstimation, PoseEstimationSeries
from PIL import Image
from pynwb import NWBFile, read_nwb
from pynwb.behavior import SpatialSeries
from pynwb.ecephys import ElectricalSeries
from pynwb.epoch import TimeIntervals
from pynwb.image import ImageSeries
from pynwb.misc import Units

from ..errors import UsageError
from .audio import plot_audio_spectrogram
from .contents import read_columns
from .ephys import plot_lfp_spectrum, plot_raw_ephys
from .pose import plot_pose
from .session import plot_psychometric
from .units import best_unit, first_and_last_spike_s, plot_psth, plot_units, probes_with_units

Views = dict[type, Any]


def nwb2widget(node: Any, neurodata_vis_spec: Views | None = None) -> Any:
    """Show a file, or a part of one, with nwbwidgets in Jupyter.

    Beside nwbwidgets' own views there are pose over a video frame, the spectrogram as an image, spikes around the
    stimulus by contrast and choice, and the psychometric curve. The views of nwbwidgets itself are not altered.

    Parameters
    ----------
    node : pynwb.NWBFile, any object in one, str or Path
        What to show; of a path the file stays open for as long as it is shown.
    neurodata_vis_spec : dict, optional
        Views by type, as nwbwidgets has them; they win over all others.

    Returns
    -------
    ipywidgets.Widget
        What Jupyter shows.

    Raises
    ------
    ImportError
        If nwbwidgets is not installed.
    UsageError
        If there is nothing at the path.
    """
    if isinstance(node, str | Path):
        if not Path(node).exists():
            raise UsageError(f"'{node}' does not exist. Give the path of an NWB file.")
        node = read_nwb(node)
    from_nwbwidgets = import_nwbwidgets()
    return from_nwbwidgets.nwb2widget(node, {**make_vis_spec(), **(neurodata_vis_spec or {})})


def make_vis_spec() -> Views:
    """Views by type: those of nwbwidgets, a copy, with those of this module in place of some.

    Replaced are also views that fail on files of pynwb 4 (electrical and image series), on series that end before the
    last trial (spatial series), or where the last unit has no spikes (session raster).
    """
    theirs = import_nwbwidgets().default_neurodata_vis_spec
    return {
        **theirs,
        Units: {
            **theirs[Units],
            "Session Raster": _show_session_raster,
            "Units by depth": _show_units,
            "Around the stimulus": _show_psth,
        },
        TimeIntervals: _show_intervals,
        DynamicTable: _show_table,
        ElectricalSeries: _show_electrical_series,
        SpatialSeries: _show_spatial_series,
        PoseEstimationSeries: _show_spatial_series,
        PoseEstimation: _show_pose,
        ImageSeries: _show_images,
    }


def import_nwbwidgets() -> ModuleType:
    """The module ``nwbwidgets.view``, with a stand-in for a package that it imports and that cannot be loaded.

    ndx-icephys-meta 0.1.0, its last release, defines types that NWB has had itself since; hdmf 4 and later refuse it,
    and a failed attempt would leave its namespace behind for all files that are written after. nwbwidgets needs one of
    its classes as a key of its views. The package is imported as it is as soon as there is a later one.

    Raises
    ------
    ImportError
        If nwbwidgets is not installed.
    """
    if find_spec("nwbwidgets") is None:
        raise ImportError('nwbwidgets is not installed: pip install "ibl-nwb[widgets]"')
    with _stand_in_for_icephys_meta():
        import nwbwidgets.view
    return nwbwidgets.view


@contextmanager
def _stand_in_for_icephys_meta() -> Any:
    try:
        unusable = version("ndx-icephys-meta") == "0.1.0"
    except PackageNotFoundError:
        unusable = True
    if not unusable or "ndx_icephys_meta" in sys.modules:
        yield
        return
    package, module = ModuleType("ndx_icephys_meta"), ModuleType("ndx_icephys_meta.icephys")
    module.SweepSequences = type("SweepSequences", (), {})  # type: ignore[attr-defined]
    package.icephys = module  # type: ignore[attr-defined]
    stand_ins = {package.__name__: package, module.__name__: module}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _lazy_tabs(views: dict[str, Callable[[Any], Any]], node: Any) -> Any:
    """Tabs of nwbwidgets, each made when it is opened."""
    from nwbwidgets.base import lazy_tabs

    return lazy_tabs(views, node)


def _picture(figure: Any) -> Any:
    from ipywidgets import Image as ImageWidget
    from ipywidgets import Layout

    return ImageWidget(value=figure.to_png(dpi=90), format="png", layout=Layout(max_width="100%", object_fit="contain"))


def _file_of(node: Any) -> NWBFile:
    return node.get_ancestor("NWBFile")


def _chooser(names: list[Any], description: str, value: Any, draw: Callable[[Any], Any]) -> Any:
    """A menu above a picture that follows it."""
    from ipywidgets import Dropdown, VBox

    menu = Dropdown(options=names, value=value, description=description)
    box = VBox([menu, _picture(draw(value))])

    def redraw(change: Any) -> None:
        box.children = (menu, _picture(draw(change.new)))

    menu.observe(redraw, names="value")
    return box


def _show_units(node: Units) -> Any:
    nwbfile = _file_of(node)
    probes = probes_with_units(nwbfile)
    if not probes:
        return _picture(plot_units(nwbfile))
    return _chooser(probes, "Probe", probes[0], lambda probe: plot_units(nwbfile, probe_name=probe))


def _show_session_raster(node: Units) -> Any:
    """The raster of nwbwidgets, told from when to when there are spikes."""
    from ipywidgets import HTML, VBox
    from nwbwidgets.controllers import StartAndDurationController
    from nwbwidgets.misc import RasterWidget

    span = first_and_last_spike_s(node)
    if span is None:
        return HTML("The units have no spikes.")
    seconds = StartAndDurationController(tmin=span[0], tmax=span[1])
    return VBox([seconds, RasterWidget(node, foreign_time_window_controller=seconds)])


def _show_psth(node: Units) -> Any:
    nwbfile = _file_of(node)
    probes = probes_with_units(nwbfile)
    if not probes:
        return _picture(plot_psth(nwbfile))
    names = read_columns(node, ["unit_name"])["unit_name"]
    labels = [(name if isinstance(name, str) else str(row), row) for row, name in enumerate(names)]
    return _chooser(labels, "Unit", best_unit(nwbfile, probes[0]), lambda row: plot_psth(nwbfile, unit=row))


def _their_table_views() -> dict[str, Callable[[Any], Any]]:
    return dict(import_nwbwidgets().default_neurodata_vis_spec[DynamicTable])


def _show_intervals(node: TimeIntervals, **_: Any) -> Any:
    views = _their_table_views()
    if node.name.startswith("trials"):
        psychometric = {
            "Psychometric curve": lambda table: _picture(plot_psychometric(_file_of(table), table=table.name))
        }
        views = {**psychometric, **views}
    return _lazy_tabs(views, node)


def _show_table(node: DynamicTable, **_: Any) -> Any:
    views = _their_table_views()
    if node.name.startswith("AudioSpectrogram") and "power" in node.colnames:
        views = {"Spectrogram": lambda table: _picture(plot_audio_spectrogram(_file_of(table))), **views}
    return _lazy_tabs(views, node)


def _show_pose(node: PoseEstimation, neurodata_vis_spec: Views, **_: Any) -> Any:
    from nwbwidgets.base import show_neurodata_base

    camera = node.name.removeprefix("PoseEstimation")
    views = {
        "Points and traces": lambda pose: _picture(plot_pose(_file_of(pose), camera=camera)),
        "Fields": lambda pose: show_neurodata_base(pose, neurodata_vis_spec),
    }
    return _lazy_tabs(views, node)


def _show_electrical_series(node: ElectricalSeries, **_: Any) -> Any:
    from nwbwidgets.timeseries import show_timeseries

    views: dict[str, Callable[[Any], Any]] = {"Traces": show_timeseries}
    for prefix, title, plot in (
        ("ElectricalSeriesAP", "Snippet", plot_raw_ephys),
        ("ElectricalSeriesLF", "Spectrum by depth", plot_lfp_spectrum),
    ):
        if node.name.startswith(prefix):
            views = {title: partial(_show_recording, plot, node.name.removeprefix(prefix)), **views}
    return _lazy_tabs(views, node)


def _show_recording(plot: Callable[..., Any], probe: str, series: ElectricalSeries) -> Any:
    return _picture(plot(_file_of(series), probe=probe))


def _show_spatial_series(node: SpatialSeries, **_: Any) -> Any:
    from nwbwidgets.behavior import SpatialSeriesTraceWidget2D
    from nwbwidgets.timeseries import SeparateTracesPlotlyWidget, SingleTracePlotlyWidget

    if node.data.ndim == 1 or node.data.shape[1] == 1:
        return SingleTracePlotlyWidget(node)
    return _lazy_tabs({"over time": SeparateTracesPlotlyWidget, "trace": SpatialSeriesTraceWidget2D}, node)


def _show_images(node: ImageSeries, neurodata_vis_spec: Views, **_: Any) -> Any:
    """One image at a time; of a film in a file of its own what the series says about it."""
    from ipywidgets import Image as ImageWidget
    from ipywidgets import IntSlider, VBox
    from nwbwidgets.base import show_fields

    if node.external_file is not None or not len(node.data):
        return show_fields(node)
    slider, image = IntSlider(0, 0, len(node.data) - 1, description="Image"), ImageWidget(format="png", width=400)

    def show(number: int) -> None:
        image.value = _encode(np.asarray(node.data[number]).T)

    slider.observe(lambda change: show(change.new), names="value")
    show(0)
    return VBox([slider, image])


def _encode(pixels: np.ndarray) -> bytes:
    """Grey levels as a PNG image, from the darkest to the brightest."""
    low, high = float(pixels.min()), float(pixels.max())
    scaled = ((pixels - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(scaled).save(buffer, format="PNG")
    return buffer.getvalue()
