"""A report of a session: every figure that its file has data for, as a page, a PDF or an image."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_pdf import PdfPages
from PIL import Image
from pynwb import NWBFile

from ..errors import UsageError
from ..writing.atomic import atomic_output
from .anatomy import plot_probe_track
from .audio import plot_audio_spectrogram
from .contents import find_in_processing, find_raw, read_trials
from .drawing import PALETTES, SessionFigure, Theme, describe_session, open_to_read
from .ephys import plot_lfp_spectrum, plot_raw_ephys
from .mesoscope import fields_of_view, plot_mesoscope
from .passive import has_passive_period, plot_passive
from .photometry import plot_photometry, tables_of_photometry
from .pose import cameras_with_pose, plot_pose
from .session import plot_session
from .units import best_unit, plot_psth, plot_units, probes_with_units
from .widefield import has_widefield, plot_widefield

_FORMATS = (".html", ".pdf", ".png")

# What the page may load: its own images and styles, and nothing from anywhere else.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em auto; max-width: 1150px; padding: 0 1em; }}
html {{ color: {ink}; background: {paper}; }}
th, td {{ text-align: left; vertical-align: top; padding: 0.15em 1.2em 0.15em 0; overflow-wrap: anywhere; }}
th {{ font-weight: normal; color: {faint}; white-space: nowrap; }}
img {{ max-width: 100%; height: auto; display: block; margin: 1.5em 0; }}
a {{ color: inherit; }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
{facts}
</table>
{missing}
<ul>
{contents}
</ul>
{figures}
</body>
</html>
"""


@dataclass(frozen=True)
class Report:
    """What is in a report.

    Attributes
    ----------
    path : pathlib.Path
        Where it was written.
    figures : list of str
        Names of its figures.
    missing : list of str
        What the file has no data for, in sentences.
    """

    path: Path
    figures: list[str]
    missing: list[str]


@dataclass(frozen=True)
class PlannedFigure:
    """A figure that can be drawn.

    Attributes
    ----------
    name : str
        What it shows.
    plot : callable
        Draws it: takes an open file, or the path of one, and ``theme``.
    has_data : bool
        Whether the file has something for it. If not, it is a sentence that says so.
    """

    name: str
    plot: Callable[..., Any]
    has_data: bool


def save_report(
    nwbfile: NWBFile | str | Path, path: str | Path, *, theme: Theme = "light", overwrite: bool = False
) -> Report:
    """Write a report of a session: facts, and every figure that its file has data for.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile, str or Path
        An open file, or the path of one.
    path : str or Path
        Where to write it, by its suffix: ``.html`` (one file, which loads nothing from elsewhere), ``.pdf`` (a page
        for each figure) or ``.png`` (the figures one below the other).
    theme : {"light", "dark"}
        Background.
    overwrite : bool, default: False
        Whether to replace what is there.

    Returns
    -------
    Report
        What is in it.

    Raises
    ------
    UsageError
        If the suffix is another one.
    OutputExistsError, OutputNotWritableError
        As in :func:`ibl_nwb.writing.atomic.atomic_output`.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"A report cannot be written as '{path.name}'. Give a name that ends in .html, .pdf or .png.")
    if theme not in PALETTES:
        raise UsageError(f"There is no theme '{theme}'. Choose one of {', '.join(PALETTES)}.")
    with open_to_read(nwbfile) as opened, atomic_output(path, overwrite=overwrite) as part:
        figures: dict[str, SessionFigure] = {}
        missing = []
        for planned in plan_figures(opened):
            figure = planned.plot(opened, theme=theme)
            if figure.message is None:
                figures[planned.name] = figure
            else:
                missing.append(figure.message)
        if path.suffix.lower() == ".html":
            page = _make_page(describe_session(opened), read_facts(opened), figures, missing, theme)
            part.write_text(page, encoding="utf-8")
        elif path.suffix.lower() == ".pdf":
            _write_pdf(part, describe_session(opened), list(figures.values()))
        else:
            _write_image(part, list(figures.values()), PALETTES[theme].paper)
    return Report(path, list(figures), missing)


def read_facts(nwbfile: NWBFile) -> dict[str, str]:
    """What the file says about the session, in the order of a report; what it does not say is left out."""
    subject, units, trials = nwbfile.subject, nwbfile.units, read_trials(nwbfile)
    facts: dict[str, Any] = {
        "Subject": subject and subject.subject_id,
        "Species": subject and subject.species,
        "Sex, age": subject and ", ".join(filter(None, (subject.sex, subject.age))),
        "Session": nwbfile.session_id,
        "Start": f"{nwbfile.session_start_time:%Y-%m-%d %H:%M:%S %z}".strip(),
        "Laboratory": ", ".join(filter(None, (nwbfile.lab, nwbfile.institution))),
        "Experimenters": "; ".join(nwbfile.experimenter or ()),
        "Task protocol": nwbfile.protocol,
    }
    if trials is not None:
        minutes = float(np.nanmax(trials["stop_time"]) - np.nanmin(trials["start_time"])) / 60
        facts["Trials"] = f"{len(trials)}, {int((trials['feedback_type'] == 1).sum())} rewarded, in {minutes:.1f} min"
    if units is not None:
        facts["Units"] = str(len(units))
    return {name: str(value) for name, value in facts.items() if value}


def plan_figures(nwbfile: NWBFile) -> list[PlannedFigure]:
    """The figures of a report in its order, none of them drawn yet.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile
        An open file.
    """
    has_sound = bool(find_in_processing(nwbfile, "AudioSpectrogram"))
    planned = [
        PlannedFigure("Session", plot_session, read_trials(nwbfile) is not None),
        PlannedFigure("Probes in the brain", plot_probe_track, nwbfile.electrodes is not None),
    ]
    for probe in _all_or_none(probes_with_units(nwbfile)):
        planned.append(_plan("Units", probe, plot_units, probe_name=probe))
        if probe is not None:
            planned.append(_plan("Responses of a unit of", probe, plot_psth, unit=best_unit(nwbfile, probe)))
    for band, plot in (("AP", plot_raw_ephys), ("LF", plot_lfp_spectrum)):
        planned += [_plan(f"Raw {band} band", raw, plot, probe=raw) for raw in _all_or_none(find_raw(nwbfile, band))]
    planned += [_plan("Pose", name, plot_pose, camera=name) for name in _all_or_none(cameras_with_pose(nwbfile))]
    planned.append(PlannedFigure("Sound", plot_audio_spectrogram, has_sound))
    for table in _all_or_none(tables_of_photometry(nwbfile)):
        planned.append(_plan("Photometry", table, plot_photometry, table=table))
    return [
        *planned,
        PlannedFigure("Two-photon imaging", plot_mesoscope, bool(fields_of_view(nwbfile))),
        PlannedFigure("Widefield imaging", plot_widefield, has_widefield(nwbfile)),
        PlannedFigure("Passive period", plot_passive, has_passive_period(nwbfile)),
    ]


def _plan(what: str, name: str | None, plot: Callable[..., Any], **options: Any) -> PlannedFigure:
    return PlannedFigure(f"{what} {name or ''}".strip(), partial(plot, **options), name is not None)


def _all_or_none(names: Iterable[str]) -> list[str | None]:
    """The names, or a None by which a figure says that there are none."""
    return list(names) or [None]


def _make_page(
    title: str, facts: dict[str, str], figures: dict[str, SessionFigure], missing: list[str], theme: Theme
) -> str:
    images = []
    for number, (name, figure) in enumerate(figures.items()):
        data = base64.b64encode(figure.to_png()).decode()
        images.append(f'<img id="figure{number}" alt="{html.escape(name)}" src="data:image/png;base64,{data}">')
    palette = PALETTES[theme]
    return _PAGE.format(
        title=html.escape(title),
        ink=palette.ink,
        paper=palette.paper,
        faint=palette.faint,
        facts="\n".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts.items()),
        missing=f"<p>{html.escape(' '.join(missing))}</p>" if missing else "",
        contents="\n".join(
            f'<li><a href="#figure{number}">{html.escape(name)}</a></li>' for number, name in enumerate(figures)
        ),
        figures="\n".join(images),
    )


def _write_pdf(path: Path, title: str, figures: list[SessionFigure]) -> None:
    with PdfPages(path, metadata={"Title": title, "Creator": "ibl-nwb"}) as pages:
        for figure in figures:
            pages.savefig(figure, facecolor=figure.get_facecolor(), dpi=150)


def _write_image(path: Path, figures: list[SessionFigure], paper: str) -> None:
    images = [Image.open(io.BytesIO(figure.to_png())).convert("RGB") for figure in figures]
    width = max((image.width for image in images), default=1)
    whole = Image.new("RGB", (width, max(1, sum(image.height for image in images))), paper)
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    whole.save(path, format="PNG")
