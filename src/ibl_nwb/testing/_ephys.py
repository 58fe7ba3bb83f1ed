"""Everything that one probe leaves in an invented session: time map, sorting, electrode sites and raw files."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ._clocks import ProbeClock, make_probe_clock
from ._files import Datasets, in_revision
from ._probe import probe_track, site_coordinates, site_locations
from ._random import random_generator
from ._raw_ephys import raw_file_stem, write_raw_band
from ._sorting import (
    CURRENT_ERA,
    EARLIER_ERA,
    SORTING_REVISION,
    coarser_sorting,
    sorted_channels,
    sorting_datasets,
)
from ._units import Units, make_units


class Probe(NamedTuple):
    """One probe of the session: its name, its position among the probes, its clock and the units near it."""

    name: str
    position: int
    n_channels: int
    clock: ProbeClock
    units: Units


def make_probe(
    name: str, position: int, *, n_channels: int, n_clusters: int, n_spikes: int, session_end_s: float, seed: int
) -> Probe:
    """
    Invent a probe.

    Parameters
    ----------
    name : str
        Such as ``"probe00"``.
    position : int
        Position among the probes of the session. Odd ones leave out the reference sites when sorting.
    n_channels : int
        Recorded sites.
    n_clusters, n_spikes : int
        Size of the sorting.
    session_end_s : float
        End of the recording on the session clock.
    seed : int
        Seed of the whole session.
    """
    clock = make_probe_clock(position, session_end_s, random_generator(seed, name, "clock"))
    raw_channels = sorted_channels(n_channels, skips_references=position % 2 == 1)
    units = make_units(n_clusters, n_spikes, raw_channels, clock, session_end_s, random_generator(seed, name, "units"))
    return Probe(name, position, n_channels, clock, units)


def probe_datasets(probe: Probe, sorter: str, *, histology: bool, revisions: bool, seed: int) -> Datasets:
    """
    Give the small datasets of a probe: knots of the time map, sorting(s) and electrode sites.

    Parameters
    ----------
    probe : Probe
    sorter : str
        Folder of the sorting, such as ``"pykilosort"``.
    histology : bool
        Whether channels and electrode sites have coordinates and regions.
    revisions : bool
        Whether the first probe was sorted twice.
    seed : int
        Seed of the whole session.
    """
    track = probe_track(probe.position) if histology else None
    collection = str(PurePosixPath("alf", probe.name, sorter))
    era = CURRENT_ERA if probe.position % 2 == 0 else EARLIER_ERA
    sorting = sorting_datasets(
        probe.units,
        collection,
        probe.clock,
        era,
        random_generator(seed, probe.name, "sorting"),
        track=track,
        with_labels=True,
    )
    if revisions and probe.position == 0:
        generator = random_generator(seed, probe.name, "older sorting")
        older = coarser_sorting(probe.units, generator)
        sorting = in_revision(sorting, SORTING_REVISION) | sorting_datasets(
            older, collection, probe.clock, era, generator, track=track, with_labels=False
        )
    datasets = sorting | _time_map_files(probe)
    if track is not None:
        coordinates = site_coordinates(probe.n_channels)
        sites = {"localCoordinates": coordinates, **site_locations(coordinates, track)}
        datasets |= {f"alf/{probe.name}/electrodeSites.{name}.npy": values for name, values in sites.items()}
    return datasets


def write_raw_probe(
    session_path: Path, probe: Probe, bands: Sequence[str], raw_format: str, duration_s: float, created: str, seed: int
) -> None:
    """
    Write the raw files of a probe.

    Parameters
    ----------
    session_path : Path
    probe : Probe
    bands : sequence of {"ap", "lf"}
    raw_format : {"cbin", "bin"}
    duration_s : float
        Seconds to write, from the first sample on.
    created : str
        ISO 8601, naive local time, for the metadata.
    seed : int
        Seed of the whole session.
    """
    for band in bands:
        write_raw_band(
            session_path / "raw_ephys_data" / probe.name,
            band,
            raw_format=raw_format,
            probe_index=probe.position,
            units=probe.units,
            clock=probe.clock,
            n_channels=probe.n_channels,
            duration_s=duration_s,
            created=created,
            generator=random_generator(seed, probe.name, band),
        )


def _time_map_files(probe: Probe) -> Datasets:
    stem = f"raw_ephys_data/{probe.name}/{raw_file_stem(probe.position)}"
    return {
        f"{stem}.sync.npy": np.ascontiguousarray(probe.clock.sync),
        f"{stem}.timestamps.npy": np.ascontiguousarray(probe.clock.timestamps),
    }
