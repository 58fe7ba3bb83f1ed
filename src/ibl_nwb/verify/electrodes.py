"""Electrodes: which sites were recorded, and where they are on the probe and in the brain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from .alyx import read_record, record_rows
from .comparing import FORCED_TYPES, compare_arrays
from .report import Comparison
from .source_folder import SourceFile, SourceFolder, load_array
from .spikeglx_text import SpikeGLXText
from .verification import Verification

_TABLE = "general/extracellular_ephys/electrodes"

#: Columns that the table has only if some probe has values.
_OPTIONAL = ("raw_channel_label",)

#: Where the channels of a sorting are, by preference.
_SORTERS = ("/iblsorter", "/pykilosort", "/kilosort*", "")

#: Bregma in the Allen CCF, in um along ML, AP and DV.
_BREGMA_ML, _BREGMA_AP, _BREGMA_DV = 5739.0, 5400.0, 332.0

#: How far positions may be off, in um: rounding of float64.
_POSITION_TOLERANCE = 1e-6


def check_electrodes(verification: Verification) -> Iterator[Comparison]:
    """Compare the electrodes of every probe that the file has some of."""
    names = _probe_of_electrodes(verification)
    sites_of = {name: _sites(verification, name) for name in _probe_names(verification.folder)}
    for probe_name in sorted(set(names) | _probes_of_data(verification, set(sites_of))):
        rows = _rows_of(names, probe_name)
        sites = sites_of.get(probe_name)
        if sites is None or not sites.n_sites:
            yield Comparison("", f"{_TABLE} ({probe_name})", "not verified", "the session has no such probe")
        elif not len(rows):
            yield Comparison(sites.source.relative_path, _TABLE, "missing", f"it has no electrode of {probe_name}")
        else:
            yield from _check_probe(verification, sites, rows)


def sites_of_probes(verification: Verification) -> Iterator[tuple[Sites, np.ndarray]]:
    """Recorded sites of every probe that has electrodes in the file, and the rows of these."""
    names = _probe_of_electrodes(verification)
    for probe_name in _probe_names(verification.folder):
        if probe_name in names:
            yield _sites(verification, probe_name), _rows_of(names, probe_name)


def _probe_of_electrodes(verification: Verification) -> list[str]:
    groups = verification.nwb.read_column(_TABLE, "group_name")
    return [] if groups is None else [str(name).split("_shank")[0] for name in groups]


def _rows_of(names: list[str], probe_name: str) -> np.ndarray:
    return np.array([row for row, name in enumerate(names) if name == probe_name], dtype=np.int64)


def _sites(verification: Verification, probe_name: str) -> Sites:
    return Sites(verification.folder, probe_name, _alyx_channels(verification, probe_name))


def _alyx_channels(verification: Verification, probe_name: str) -> list[dict[str, Any]]:
    """Channels that Alyx has of a probe: by the record that was given, else the one in the file."""
    record = verification.alyx
    if record is None and "analysis/AlyxRecord" in verification.nwb:
        record = read_record(verification.nwb)
    record = record or {}
    pids = {row["id"] for row in record_rows(record, "insertions") if row.get("name") == probe_name}
    trajectories = {
        row["id"]
        for row in record_rows(record, "trajectories")
        if (row.get("probe_name") or probe_name) == probe_name
        and (row.get("probe_name") or row.get("probe_insertion") in pids)
    }
    return [row for row in record_rows(record, "channels") if row.get("trajectory_estimate") in trajectories]


def _probe_names(folder: SourceFolder) -> list[str]:
    matches = (re.match(r"(?:alf|raw_ephys_data)/(probe[^/.]*)", file.collection) for file in folder.files)
    return sorted({match[1] for match in matches if match})


def _probes_of_data(verification: Verification, probes: set[str]) -> set[str]:
    """Probes whose raw recordings the file has, which must have electrodes."""
    series = verification.nwb.names("acquisition")
    return {probe for probe in probes for band in ("AP", "LF") if f"ElectricalSeries{band}P{probe[1:]}" in series}


def _check_probe(verification: Verification, sites: Sites, rows: np.ndarray) -> Iterator[Comparison]:
    nwb = verification.nwb
    references = nwb.references(f"{_TABLE}/group") if f"{_TABLE}/group" in nwb else None
    if references is not None:
        names = np.array([path.rpartition("/")[2] for path in references], dtype=object)
        written = nwb.read(f"{_TABLE}/group_name")
        yield compare_arrays(sites.source.relative_path, f"{_TABLE}/group", names[rows], written[rows])
    for column, (dataset, values) in sites.columns().items():
        found = nwb.read_column(_TABLE, column)
        path = f"{_TABLE}/{column}"
        if found is None and column in _OPTIONAL and np.isnan(values).all():
            continue
        if found is None:
            yield Comparison(dataset, path, "missing", "the table has no such column")
            continue
        expected = values if values.dtype.kind == "O" else values.astype(FORCED_TYPES["electrodes"])
        tolerance = _POSITION_TOLERANCE if column in ("rel_x", "rel_y", "x", "y", "z") else 0.0
        row = compare_arrays(dataset, path, found[rows], expected, tolerance=tolerance)
        yield row


@dataclass(frozen=True)
class Sites:
    """The recorded sites of one probe.

    Attributes
    ----------
    folder : SourceFolder
        The session.
    probe_name : str
        ALF name of the probe.
    alyx_channels : list of dict
        Where Alyx has its sites in the brain, which counts if no file has them there.
    """

    folder: SourceFolder
    probe_name: str
    alyx_channels: list[dict[str, Any]]

    @cached_property
    def meta_file(self) -> SourceFile | None:
        """Metadata of the raw recording, AP rather than LF."""
        collections = [f"raw_ephys_data/{self.probe_name}{below}" for below in ("", "/*")]
        found = (
            file for band in ("ap", "lf") for file in self.folder.find(f"ephysData*.imec*.{band}.meta", collections)
        )
        return next(found, None)

    @cached_property
    def meta(self) -> SpikeGLXText | None:
        """The same, read."""
        return None if self.meta_file is None else SpikeGLXText(self.meta_file)

    @cached_property
    def channels(self) -> dict[str, SourceFile]:
        """Files of the channels of the preferred sorting, by attribute."""
        for sorter in _SORTERS:
            files = _files(self.folder, "channels", f"alf/{self.probe_name}{sorter}")
            if files:
                return files
        return {}

    @cached_property
    def electrode_sites(self) -> dict[str, SourceFile]:
        """Files of the sites, by attribute."""
        return _files(self.folder, "electrodeSites", f"alf/{self.probe_name}")

    @cached_property
    def sorted_columns(self) -> np.ndarray:
        """Column of the raw file of each sorted channel."""
        if "rawInd" in self.channels:
            return load_array(self.channels["rawInd"]).ravel().astype(np.int64)
        return np.arange(_length(self.channels))

    @cached_property
    def raw_columns(self) -> np.ndarray:
        """Column of the raw file of each site."""
        if self.meta is not None:
            return np.arange(self.meta.n_sites)
        if self.electrode_sites:
            return np.arange(_length(self.electrode_sites))
        return np.unique(self.sorted_columns)

    @property
    def n_sites(self) -> int:
        """Number of recorded sites."""
        return len(self.raw_columns)

    @property
    def source(self) -> SourceFile:
        """The file that tells how many sites there are."""
        if self.meta_file is not None:
            return self.meta_file
        files = self.electrode_sites or self.channels
        return files.get("rawInd") or next(iter(files.values()))

    def columns(self) -> dict[str, tuple[str, np.ndarray]]:
        """Source and values of every column of the electrodes."""
        own = self.source.relative_path
        numbers = self.raw_columns if self.meta is None else self.meta.channels
        columns = {
            "channel": (own, self.raw_columns),
            "channel_name": (own, np.array([f"AP{number}" for number in numbers], dtype=object)),
        }
        columns |= self._positions()
        mlapdv_source, (ml, ap, dv) = self._values("mlapdv", 3)
        id_source, (allen_id,) = self._values("brainLocationIds_ccf_2017", 1)
        if np.isnan(ml).all() and self.alyx_channels:
            mlapdv_source = id_source = "Alyx record: channels"
            (ml, ap, dv), allen_id = self._by_alyx(columns["rel_x"][1], columns["rel_y"][1], allen_id)
        coordinates = {"ml": ml, "ap": ap, "dv": dv}
        coordinates |= {"x": _BREGMA_AP - ap, "y": _BREGMA_DV - dv, "z": _BREGMA_ML + ml}
        columns |= {name: (mlapdv_source, values) for name, values in coordinates.items()}
        columns["allen_id"] = (id_source, allen_id)
        for column, target in (("location", "Allen"), ("beryl", "Beryl"), ("cosmos", "Cosmos")):
            columns[column] = (id_source, _acronyms(allen_id, target))
        label_source, (labels,) = self._values("labels", 1)
        columns["channel_label"] = (label_source, labels)
        columns["raw_channel_label"] = self._raw_labels()
        return columns

    def _by_alyx(
        self, rel_x: np.ndarray, rel_y: np.ndarray, allen_id: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
        """Position from bregma and Allen id of each site, from the channel of Alyx at its place on the probe."""
        number_of = {(c["lateral"], c["axial"]): c for c in self.alyx_channels}
        found = [number_of.get(place, {}) for place in zip(rel_x.tolist(), rel_y.tolist(), strict=True)]
        values = {
            field: np.array([np.nan if c.get(field) is None else float(c[field]) for c in found])
            for field in ("x", "y", "z", "brain_region")
        }
        has_channel = np.array([bool(channel) for channel in found])
        return (values["x"], values["y"], values["z"]), np.where(has_channel, values["brain_region"], allen_id)

    def _raw_labels(self) -> tuple[str, np.ndarray]:
        """Labels by the raw voltage, if there is one for each site."""
        for file in self.folder.find("ephysChannels.labels.npy", f"raw_ephys_data/{self.probe_name}"):
            labels = load_array(file).ravel()
            if len(labels) == self.n_sites:
                return file.relative_path, labels.astype(np.float64)
        return self.source.relative_path, np.full(self.n_sites, np.nan)

    def _positions(self) -> dict[str, tuple[str, np.ndarray]]:
        """Position on the probe, from the files, else from the wiring in the metadata; and the shank."""
        source, (rel_x, rel_y) = self._values("localCoordinates", 2)
        wired = None if self.meta is None else self.meta.positions()
        letter = re.fullmatch(r"probe\d+([a-d])", self.probe_name)
        if wired is not None:
            rel_x, rel_y = np.where(np.isnan(rel_x), wired[0], rel_x), np.where(np.isnan(rel_y), wired[1], rel_y)
            shank = wired[2]
        elif letter:
            shank = np.full(self.n_sites, "abcd".index(letter[1]))
        else:
            shank = np.nan_to_num(rel_x // 200.0)
        own = self.source.relative_path
        return {"rel_x": (source or own, rel_x), "rel_y": (source or own, rel_y), "shank": (own, shank)}

    def _values(self, attribute: str, n_columns: int) -> tuple[str, np.ndarray]:
        """Source, and ``(n_columns, n_sites)`` float64: of the sites if there are all, else of the sorted channels."""
        if attribute in self.electrode_sites and _length(self.electrode_sites) == self.n_sites:
            file = self.electrode_sites[attribute]
            return file.relative_path, load_array(file).astype(np.float64).reshape(self.n_sites, n_columns).T
        values = np.full((n_columns, self.n_sites), np.nan)
        if attribute not in self.channels:
            return self.source.relative_path, values
        file = self.channels[attribute]
        place = np.searchsorted(self.raw_columns, self.sorted_columns)
        values[:, place] = load_array(file).reshape(len(place), n_columns).T
        return file.relative_path, values


def _files(folder: SourceFolder, object_name: str, collection: str) -> dict[str, SourceFile]:
    """Attributes of the sites that are wanted here, from the first collection that has any."""
    wanted = ("rawInd", "localCoordinates", "mlapdv", "brainLocationIds_ccf_2017", "labels")
    found = [(name, file) for name in wanted for file in folder.find(f"{object_name}.{name}.npy", collection)]
    first = min((file.collection for _, file in found), default="")
    return {name: file for name, file in found if file.collection == first}


def _length(files: dict[str, SourceFile]) -> int:
    return len(load_array(next(iter(files.values())), memory_map=True)) if files else 0


def _acronyms(allen_id: np.ndarray, parcellation: str) -> np.ndarray:
    """Acronyms by the tables of iblatlas, "unknown" for an id that is not known or not in them."""
    acronyms = np.full(len(allen_id), "unknown", dtype=object)
    regions = _brain_regions()
    known = np.isin(allen_id, regions.id)
    if known.any():
        ids = allen_id[known].astype(np.int64)
        mapped = ids if parcellation == "Allen" else regions.remap(ids, source_map="Allen", target_map=parcellation)
        acronyms[known] = regions.get(mapped).acronym.astype(object)
    return acronyms


@cache
def _brain_regions() -> Any:
    from iblatlas.regions import BrainRegions

    return BrainRegions()
