"""nwbwidgets on a file of this package: every view can be built, and those of nwbwidgets itself stay as they are."""

import sys
from importlib.util import find_spec

import pytest
from pynwb import get_type_map, read_nwb

from ibl_nwb import convert_document, make_document
from ibl_nwb.errors import UsageError
from ibl_nwb.testing import make_example_session

pytest.importorskip("matplotlib", reason="matplotlib is not installed (ibl-nwb[view])")

from ibl_nwb.view import nwb2widget
from ibl_nwb.view.widgets import import_nwbwidgets, make_vis_spec

needs_nwbwidgets = pytest.mark.skipif(
    find_spec("nwbwidgets") is None, reason="nwbwidgets is not installed (ibl-nwb[widgets])"
)


@pytest.fixture(scope="module")
def nwbfile(tmp_path_factory):
    session_path = make_example_session(
        tmp_path_factory.mktemp("widgets"),
        n_channels=16,
        raw_duration_s=0.3,
        raw_format="bin",
        cameras=("left",),
        video=True,
        n_trials=20,
        n_clusters=5,
        spikes_per_probe=500,
    )
    document = make_document(session_path, timezone="UTC")
    opened = read_nwb(convert_document(document, tmp_path_factory.mktemp("written") / "x.nwb").nwbfile_path)
    yield opened
    opened.get_read_io().close()


def open_all(widget, path=""):
    """Open every tab and every fold, as a person would who clicks on all of them; give the paths of what is there."""
    from ipywidgets import Accordion, Output, Tab

    found = [path]
    if isinstance(widget, Output):
        assert not [output for output in widget.outputs if output["output_type"] == "error"], path
    for place in range(len(getattr(widget, "children", ()))):
        title = ""
        if isinstance(widget, Tab | Accordion):
            title = f"/{(widget.get_title(place) or '').split(':')[0]}"
            try:
                widget.selected_index = place
            except Exception as error:
                raise AssertionError(f"{path}{title} cannot be built") from error
        found += open_all(widget.children[place], path + title)
    return found


def test_without_nwbwidgets_the_way_to_get_it_is_said(monkeypatch, nwbfile):
    monkeypatch.setattr("ibl_nwb.view.widgets.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install \"ibl-nwb\[widgets\]\""):
        nwb2widget(nwbfile)


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        nwb2widget(tmp_path / "none.nwb")


@needs_nwbwidgets
class TestWidgets:
    @pytest.fixture(scope="class")
    def paths(self, nwbfile):
        return open_all(nwb2widget(nwbfile))

    def test_every_view_is_built(self, paths):
        assert len(paths) > 300

    @pytest.mark.parametrize(
        "view",
        [
            "/Units by depth",
            "/Around the stimulus",
            "/Psychometric curve",
            "/PoseEstimationLeftCamera/Points and traces",
            "/AudioSpectrogram/Spectrogram",
            "/ElectricalSeriesAPProbe00/Snippet",
            "/ElectricalSeriesLFProbe01/Spectrum by depth",
        ],
    )
    def test_views_of_our_own_are_among_them(self, paths, view):
        assert any(view in path for path in paths)

    def test_another_unit_can_be_chosen(self, nwbfile):
        tabs = nwb2widget(nwbfile.units)
        tabs.selected_index = tabs.titles.index("Around the stimulus")
        menu, first = tabs.children[tabs.selected_index].children
        menu.value = next(row for _, row in menu.options if row != menu.value)
        second = tabs.children[tabs.selected_index].children[1]
        pictures = [bytes(image.value) for image in (first, second)]
        assert all(picture.startswith(b"\x89PNG") for picture in pictures)
        assert pictures[0] != pictures[1]

    def test_views_of_nwbwidgets_itself_stay(self):
        theirs = import_nwbwidgets().default_neurodata_vis_spec
        before = {kind: dict(views) if isinstance(views, dict) else views for kind, views in theirs.items()}
        ours = make_vis_spec()
        after = {kind: dict(views) if isinstance(views, dict) else views for kind, views in theirs.items()}
        assert before == after
        assert ours is not theirs

    def test_views_of_the_caller_win(self, nwbfile):
        from ipywidgets import HTML

        widget = nwb2widget(nwbfile.units, {type(nwbfile.units): lambda node, **_: HTML("mine")})
        assert widget.value == "mine"

    def test_nothing_of_the_stand_in_is_left_behind(self):
        import_nwbwidgets()
        assert "ndx_icephys_meta" not in sys.modules
        assert "ndx-icephys-meta" not in get_type_map().namespace_catalog.namespaces
