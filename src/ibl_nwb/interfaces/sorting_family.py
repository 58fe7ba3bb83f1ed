"""What all families of a spike sorting share: which of several sortings is meant, and its channels as electrodes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from hdmf.common import DynamicTableRegion, VectorData, VectorIndex
from pydantic import DirectoryPath, validate_call
from pynwb import NWBFile

from ..probe_sites import read_probe_sites
from ..session import ALFSession, Dataset
from ..spikeglx import SpikeGLXMeta
from .base import ALFDataset, ALFInterface
from .electrodes import SITE_DATASETS, add_probe_electrodes
from .spike_column import load_vector

#: Rate of the AP band where no SpikeGLX metadata state it: that of every Neuropixels probe, calibration (0.01 %) aside.
NOMINAL_RATE_HZ = 30_000.0

#: What is read to interpret a sorting: its channels, the rate of its samples, and the sites of the probe.
CHANNEL_DATASETS = (
    ALFDataset("raw_channels", ("channels.rawInd.npy",), support=True),
    ALFDataset(
        "ap_meta",
        ("ephysData*.imec*.ap.meta",),
        collections=("raw_ephys_data/{probe_name}", "raw_ephys_data/{probe_name}/*"),
        support=True,
    ),
    *SITE_DATASETS,
)


class SortingFamily(ALFInterface):
    """Mixin of an interface that reads one sorting of one probe."""

    handles = ("probe_name", "collection")
    collections = (
        "alf/{probe_name}/iblsorter",
        "alf/{probe_name}/pykilosort",
        "alf/{probe_name}/kilosort*",
        "alf/{probe_name}",
        "alf/{probe_name}/*",
    )
    same_revision = True

    @classmethod
    def get_instances(cls, session: ALFSession) -> list[dict[str, str]]:
        """One instance per probe, with the sorting that is preferred; the others are reached by ``collection``."""
        preferred: dict[str, dict[str, str]] = {}
        for instance in super().get_instances(session):
            preferred.setdefault(instance["probe_name"], instance)
        return [preferred[probe_name] for probe_name in sorted(preferred)]

    @classmethod
    def get_incomplete_instances(cls, session: ALFSession) -> dict[str, tuple[dict[str, str], tuple[str, ...]]]:
        """As for any interface, without sortings of probes that have a complete one."""
        complete = {instance["probe_name"] for instance in cls.get_instances(session)}
        incomplete = super().get_incomplete_instances(session)
        return {name: found for name, found in incomplete.items() if found[0]["probe_name"] not in complete}

    @cached_property
    def sampling_rate_hz(self) -> float:
        """Samples of the AP band per second: as calibrated if there are SpikeGLX metadata, else 30 kHz."""
        metas = self.sources["ap_meta"]
        return SpikeGLXMeta(metas[0].path).sampling_rate_hz if metas else NOMINAL_RATE_HZ

    def _electrode_rows(self, nwbfile: NWBFile, metadata: dict | None) -> np.ndarray | None:
        """Row of the electrodes table of every row of ALF ``channels``, None if the columns of the file are unknown."""
        if not self.sources["raw_channels"]:
            return None
        probe_name = self.instance["probe_name"]
        site_rows = add_probe_electrodes(nwbfile, metadata, self.session, probe_name)
        raw_channels = load_vector(self.sources["raw_channels"][0])
        return site_rows[read_probe_sites(self.session, probe_name).rows_of(raw_channels)]


class _Spikes(SortingFamily):
    """What makes a sorting: spikes with times and clusters."""

    family = "Spikes"
    datasets = (
        ALFDataset("times", ("spikes.times.npy",), required=True),
        ALFDataset("clusters", ("spikes.clusters.npy",), required=True),
    )


class SortingExtraFamily(SortingFamily):
    """Mixin of an interface for what a sorting has beside its spikes.

    By default it takes files of the very sorting, collection and revision, whose spikes are converted: the cluster ids
    of two sortings do not correspond. A subclass adds :attr:`SPIKES` to its datasets.
    """

    SPIKES = (
        ALFDataset("times", ("spikes.times.npy",), required=True, support=True),
        ALFDataset("clusters", ("spikes.clusters.npy",), required=True, support=True),
    )

    @validate_call
    def __init__(
        self,
        session_path: DirectoryPath,
        *,
        probe_name: str,
        collection: str | None = None,
        revision: str | None = None,
        verbose: bool = False,
    ):
        """
        Open what one sorting of a probe has beside its spikes.

        Parameters
        ----------
        session_path : DirectoryPath
            The session folder.
        probe_name : str
            ALF name of the probe, e.g. "probe00".
        collection : str, optional
            Collection of the sorting, e.g. "alf/probe00/pykilosort". Default: that of the preferred sorter.
        revision : str, optional
            Revision of the sorting. Default: the newest; "" for files without a revision only.
        verbose : bool, default: False
            Passed on to NeuroConv.
        """
        self._open_session(session_path, revision, probe_name=probe_name, collection=collection)
        super().__init__(  # type: ignore[call-arg]
            verbose=verbose,
            session_path=session_path,
            probe_name=probe_name,
            collection=collection,
            revision=revision,
        )

    @classmethod
    def get_instances(cls, session: ALFSession) -> list[dict[str, str]]:
        """One instance per probe whose preferred sorting has the datasets."""
        complete = cls._complete_candidates(session)
        return [instance for instance in _Spikes.get_instances(session) if instance in complete]

    @classmethod
    def get_incomplete_instances(cls, session: ALFSession) -> dict[str, tuple[dict[str, str], tuple[str, ...]]]:
        """Instances of which the preferred sorting has some datasets but not all; what others have does not count."""
        chosen = _Spikes.get_instances(session)
        own = [declared.key for declared in cls.datasets if declared.required and not declared.support]
        return {
            name: (instance, missing)
            for name, (instance, missing) in super().get_incomplete_instances(session).items()
            if instance in chosen and any(cls.select_datasets(session, instance)[key] for key in own)
        }

    @classmethod
    def _common_revision(cls, session: ALFSession, instance: dict[str, str]) -> str | None:
        return _Spikes._common_revision(session, instance)

    @property
    def _sorting_path(self) -> str:
        """Folder of the sorting below the session folder, with sorter and revision."""
        times: Dataset = self.sources["times"][0]
        return times.relative_path.rpartition("/")[0]


def electrodes_columns(
    nwbfile: NWBFile, rows: np.ndarray, description: str
) -> Iterator[VectorData | VectorIndex | DynamicTableRegion]:
    """Ragged column "electrodes" of a table: index and values.

    Parameters
    ----------
    nwbfile : NWBFile
        The file, with the electrodes.
    rows : numpy.ndarray
        ``(n, k)`` rows of the electrodes table, -1 where there is none, which is left out.
    description : str
        Description of the column.
    """
    stops = np.cumsum((rows >= 0).sum(axis=1))
    stops = stops.astype(np.min_scalar_type(int(stops.max(initial=0))))
    values = rows[rows >= 0]
    region = DynamicTableRegion(name="electrodes", description=description, data=values, table=nwbfile.electrodes)
    yield VectorIndex(name="electrodes_index", data=stops, target=region)
    yield region
