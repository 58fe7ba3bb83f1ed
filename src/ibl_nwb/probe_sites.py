"""The recorded sites of a probe: where they are on it and in the brain, whichever dataset says so.

One answer for everybody who asks, so that AP, LF and units of a probe refer to the same sites in the same order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields

import numpy as np

from .allen_ccf import bregma_to_ccf, region_acronyms
from .errors import DatasetInconsistentError, DatasetMissingError
from .session import ALFSession, load_array
from .spikeglx import SpikeGLXMeta

#: Where the channels of a sorting may be, the preferred sorter first.
_SORTING_COLLECTIONS = ("iblsorter", "pykilosort", "kilosort*", "")

#: The sorter moves the sites of the n-th shank by this much (µm) to the side.
_SORTER_SHANK_PITCH_UM = 200.0

#: What is read of ``electrodeSites`` and ``channels``.
_ATTRIBUTES = ("rawInd", "localCoordinates", "mlapdv", "brainLocationIds_ccf_2017", "labels")


@dataclass(frozen=True)
class ProbeSites:
    """The sites that were recorded, one row each, in the order of the raw file's columns.

    All attributes but the first and the last five are arrays of ``(n_sites,)``.

    Attributes
    ----------
    probe_name : str
        ALF name of the probe, e.g. "probe00".
    channel : numpy.ndarray
        int64, column of the site in the raw file (what ``channels.rawInd`` refers to).
    channel_name : numpy.ndarray
        str, "AP" and SpikeGLX's number of the channel.
    rel_x, rel_y : numpy.ndarray
        float64, µm across and along the probe on IBL's grid, whose lowest row of sites is at y = 20; NaN if unknown.
    shank : numpy.ndarray
        int64, counted from 0.
    ml, ap, dv : numpy.ndarray
        float64, µm from bregma, right, anterior and up positive; NaN without histology.
    x, y, z : numpy.ndarray
        float64, the same in the Allen CCF with NWB's axes (µm; posterior, down and right positive); NaN likewise.
    allen_id : numpy.ndarray
        float64, Allen structure id, positive in both hemispheres, 0 outside the labels; NaN without histology.
    location, beryl, cosmos : numpy.ndarray
        str, acronym of the structure in the Allen, Beryl and Cosmos parcellations, or "unknown".
    channel_label : numpy.ndarray
        float64, ``channels.labels``: 0 good, 1 dead, 2 noisy, 3 outside the brain; NaN where there is none.
    raw_channel_label : numpy.ndarray or None
        float64, ``ephysChannels.labels``, the same codes found in the raw voltage; None where there is no such file.
    serial_number, part_number, probe_family : str or None
        What the SpikeGLX metadata say about the probe, see :class:`~ibl_nwb.spikeglx.SpikeGLXMeta`.
    sources : tuple of str
        Relative paths of the datasets that were used.
    """

    probe_name: str
    channel: np.ndarray
    channel_name: np.ndarray
    rel_x: np.ndarray
    rel_y: np.ndarray
    shank: np.ndarray
    ml: np.ndarray
    ap: np.ndarray
    dv: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    allen_id: np.ndarray
    location: np.ndarray
    beryl: np.ndarray
    cosmos: np.ndarray
    channel_label: np.ndarray
    raw_channel_label: np.ndarray | None = None
    serial_number: str | None = None
    part_number: str | None = None
    probe_family: str | None = None
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.channel)

    def rows_of(self, channels: np.ndarray) -> np.ndarray:
        """Rows of the sites in given columns of the raw file, such as ``channels.rawInd``.

        Parameters
        ----------
        channels : numpy.ndarray
            Integers of any shape.

        Returns
        -------
        numpy.ndarray
            int64 of the same shape, indices into the attributes.

        Raises
        ------
        DatasetInconsistentError
            If a column is none of the recorded sites'.
        """
        return self._match(np.asarray(channels), self.channel)

    def rows_of_names(self, channel_names: np.ndarray) -> np.ndarray:
        """Rows of the sites with given names, as :meth:`rows_of`."""
        return self._match(np.asarray(channel_names), self.channel_name)

    def array_columns(self) -> dict[str, np.ndarray]:
        """The per-site arrays by name, in the order of the attributes."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def _match(self, wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
        row_of = {value: row for row, value in enumerate(known.tolist())}
        unknown = sorted({value for value in wanted.ravel().tolist() if value not in row_of})
        if unknown:
            raise DatasetInconsistentError(
                f"Channels {unknown[:3]} of {self.probe_name} are not among the {len(self)} recorded sites that "
                f"{', '.join(self.sources)} tell of. These files do not belong together; get them again."
            )
        return np.array([row_of[value] for value in wanted.ravel().tolist()], dtype=np.int64).reshape(wanted.shape)


def read_probe_sites(session: ALFSession, probe_name: str) -> ProbeSites:
    """Read where the recorded sites of a probe are.

    The number and the order of the sites are those of the raw recording: from the SpikeGLX metadata (AP, else LF), else
    from ``electrodeSites``, else from ``channels``. Each other value is from the best dataset that has it:

    - on the probe: ``electrodeSites.localCoordinates``, else ``channels.localCoordinates``, and from the metadata for
      sites that neither has;
    - in the brain: ``electrodeSites.mlapdv`` and ``.brainLocationIds_ccf_2017``, else those of ``channels``.

    ``electrodeSites`` are used only if there are as many as sites were recorded; ``channels`` go to the sites that
    ``channels.rawInd`` names, and the others stay unknown. Of several sortings the channels of iblsorter are preferred,
    then pykilosort, Kilosort, and those outside any sorter's folder.

    Parameters
    ----------
    session : ALFSession
        The session.
    probe_name : str
        ALF name of the probe, e.g. "probe00" (or "probe00a", one shank of four).

    Returns
    -------
    ProbeSites
        One row per recorded site.

    Raises
    ------
    DatasetMissingError
        If no dataset tells of the probe's sites.
    DatasetInconsistentError, DatasetUnreadableError
        If datasets contradict one another or cannot be read.
    """
    meta, meta_path = _read_meta(session, probe_name)
    electrode_sites = _load(session, "electrodeSites", f"alf/{probe_name}")
    channels = _load_channels(session, probe_name)
    columns = _site_columns(meta, electrode_sites, channels)
    if columns is None:
        raise DatasetMissingError(
            f"'{session.path}' does not tell where the sites of {probe_name} are: there is no SpikeGLX metadata in "
            f"'raw_ephys_data/{probe_name}' and there are no 'electrodeSites' or 'channels' in 'alf/{probe_name}'. Add "
            "one of them, or leave the probe out with --exclude."
        )
    values = _SiteValues(columns, electrode_sites, channels)
    rel_x, rel_y, shank = _positions(probe_name, meta, values)
    ml, ap, dv = values.take("mlapdv", n_columns=3).T
    x, y, z = bregma_to_ccf(ml, ap, dv)
    allen_id = values.take("brainLocationIds_ccf_2017")
    channel_label = values.take("labels")
    raw_channel_label, label_path = _read_raw_labels(session, probe_name, len(columns))
    return ProbeSites(
        probe_name=probe_name,
        channel=columns,
        channel_name=np.array([f"AP{number}" for number in (columns if meta is None else meta.site_numbers)]),
        rel_x=rel_x,
        rel_y=rel_y,
        shank=shank,
        ml=ml,
        ap=ap,
        dv=dv,
        x=x,
        y=y,
        z=z,
        allen_id=allen_id,
        location=region_acronyms(allen_id, "Allen"),
        beryl=region_acronyms(allen_id, "Beryl"),
        cosmos=region_acronyms(allen_id, "Cosmos"),
        channel_label=channel_label,
        raw_channel_label=raw_channel_label,
        serial_number=meta.serial_number if meta else None,
        part_number=meta.part_number if meta else None,
        probe_family=meta.probe_family if meta else None,
        sources=(*meta_path, *values.sources, *label_path),
    )


@dataclass(frozen=True)
class _Attributes:
    """Attributes of one ALF object, each ``(n, ...)``, and the relative path of each."""

    values: dict[str, np.ndarray] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), ()))

    @property
    def raw_columns(self) -> np.ndarray:
        """Column of the raw file of each row, ``(n,)`` int64."""
        return self.values["rawInd"].astype(np.int64) if "rawInd" in self.values else np.arange(len(self))


class _SiteValues:
    """Values of the recorded sites from ``electrodeSites``, else from ``channels``, with a record of what was used."""

    def __init__(self, columns: np.ndarray, electrode_sites: _Attributes, channels: _Attributes):
        self._n_sites = len(columns)
        self._electrode_sites, self._channels = electrode_sites, channels
        self._rows = _rows_of_channels(channels, columns)
        self.sources: list[str] = []

    def take(self, attribute: str, *, n_columns: int | None = None) -> np.ndarray:
        """Values of an attribute, ``(n_sites,)`` or ``(n_sites, n_columns)`` float64, NaN where there are none.

        Parameters
        ----------
        attribute : str
            Which one.
        n_columns : int, optional
            For attributes with several values per site.
        """
        if attribute in self._electrode_sites.values and len(self._electrode_sites) == self._n_sites:
            self._note(self._electrode_sites, attribute)
            return self._electrode_sites.values[attribute].astype(np.float64)
        taken = np.full((self._n_sites,) if n_columns is None else (self._n_sites, n_columns), np.nan)
        if attribute in self._channels.values:
            self._note(self._channels, "rawInd")
            self._note(self._channels, attribute)
            taken[self._rows] = self._channels.values[attribute]
        return taken

    def _note(self, attributes: _Attributes, attribute: str) -> None:
        path = attributes.paths.get(attribute)
        if path is not None and path not in self.sources:
            self.sources.append(path)


def _read_meta(session: ALFSession, probe_name: str) -> tuple[SpikeGLXMeta | None, tuple[str, ...]]:
    """The metadata of the raw recording, AP rather than LF, and their relative path."""
    collections = (f"raw_ephys_data/{probe_name}", f"raw_ephys_data/{probe_name}/*")
    for band in ("ap", "lf"):
        found = session.find(f"ephysData*.imec*.{band}.meta", collections=collections)
        if found:
            return SpikeGLXMeta(found[0].path), (found[0].alf_path,)
    return None, ()


def _read_raw_labels(session: ALFSession, probe_name: str, n_sites: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels of the recorded sites by their raw voltage, and their relative path; None unless there is one per site."""
    for dataset in session.find("ephysChannels.labels.npy", collections=f"raw_ephys_data/{probe_name}"):
        labels = load_array(dataset).reshape(-1)
        if len(labels) == n_sites:
            return labels.astype(np.float64), (dataset.alf_path,)
    return None, ()


def _load_channels(session: ALFSession, probe_name: str) -> _Attributes:
    """The channels of the preferred sorting."""
    for sorter in _SORTING_COLLECTIONS:
        attributes = _load(session, "channels", f"alf/{probe_name}/{sorter}".rstrip("/"))
        if attributes.values:
            return attributes
    return _Attributes()


def _load(session: ALFSession, object_name: str, collections: str) -> _Attributes:
    """The attributes of an object that are wanted here, from the first collection in which there are any."""
    names = [f"{object_name}.{attribute}.npy" for attribute in _ATTRIBUTES]
    datasets = [dataset for name in names for dataset in session.find(name, collections=collections)]
    if not datasets:
        return _Attributes()
    collection = min(dataset.collection for dataset in datasets)
    values = session.load_object(object_name, collection=collection, attributes=_ATTRIBUTES)
    paths = {d.name.split(".")[1]: d.alf_path for d in datasets if d.collection == collection}
    return _Attributes(values, paths)


def _site_columns(meta: SpikeGLXMeta | None, electrode_sites: _Attributes, channels: _Attributes) -> np.ndarray | None:
    """Raw-file column of every recorded site, rising, or None if nothing tells."""
    if meta is not None:
        return np.arange(meta.n_neural_channels)
    if electrode_sites.values:
        return np.arange(len(electrode_sites))
    return np.unique(channels.raw_columns) if channels.values else None


def _rows_of_channels(channels: _Attributes, columns: np.ndarray) -> np.ndarray:
    """Row among the recorded sites of every sorted channel."""
    raw_columns = channels.raw_columns
    if len(np.unique(raw_columns)) < len(raw_columns) or not np.isin(raw_columns, columns).all():
        raise DatasetInconsistentError(
            f"The {len(raw_columns)} channels in '{channels.paths.get('rawInd', ', '.join(channels.paths.values()))}' "
            f"refer to columns {raw_columns.min()} to {raw_columns.max()} of the raw file, some of them twice or not "
            f"among the {len(columns)} recorded sites. Get the file again, or leave the probe out with --exclude."
        )
    return np.searchsorted(columns, raw_columns)


def _positions(
    probe_name: str, meta: SpikeGLXMeta | None, values: _SiteValues
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lateral and axial position (µm) and shank of every site."""
    rel_x, rel_y = values.take("localCoordinates", n_columns=2).T
    geometry = meta.site_geometry() if meta else None
    if geometry is not None:
        unknown = np.isnan(rel_x)
        return np.where(unknown, geometry.x, rel_x), np.where(unknown, geometry.y, rel_y), geometry.shank
    letter = re.fullmatch(r"probe\d+([a-d])", probe_name)
    if letter:
        return rel_x, rel_y, np.full(len(rel_x), ord(letter[1]) - ord("a"))
    return rel_x, rel_y, np.nan_to_num(rel_x // _SORTER_SHANK_PITCH_UM).astype(np.int64)
