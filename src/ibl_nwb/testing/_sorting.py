"""Spike sorting of one probe as ALF datasets: spikes, clusters, templates, channels."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._clocks import ProbeClock
from ._files import Datasets
from ._probe import Track, site_locations
from ._random import random_uuid
from ._unit_metrics import CURRENT_METRICS, EARLIER_METRICS, unit_metrics
from ._units import Units, peak_to_peak

SORTING_REVISION = "2024-05-06"


class SorterEra(NamedTuple):
    """
    What depends on the software that wrote a sorting.

    Attributes
    ----------
    sample_type, cluster_type : type
        Integer types of the sample and of the cluster and template numbers.
    metrics_columns : tuple of str
        Columns of the metrics table.
    metrics_in_cluster_order : bool
        Whether the rows of the metrics table ascend by cluster.
    """

    sample_type: type[np.integer]
    cluster_type: type[np.integer]
    metrics_columns: tuple[str, ...]
    metrics_in_cluster_order: bool


CURRENT_ERA = SorterEra(np.uint64, np.uint16, CURRENT_METRICS, metrics_in_cluster_order=True)
EARLIER_ERA = SorterEra(np.int64, np.int32, EARLIER_METRICS, metrics_in_cluster_order=False)


def sorted_channels(n_channels: int, *, skips_references: bool) -> NDArray[np.int64]:
    """
    Give the columns of the raw file that are sorted.

    Parameters
    ----------
    n_channels : int
        Number of recorded sites.
    skips_references : bool
        Whether reference sites, ten of 384, are left out, so that the numbers have gaps.
    """
    channels = np.arange(n_channels)
    n_references = max(n_channels // 38, 1)
    if not skips_references or n_channels <= n_references:
        return channels
    references = np.linspace(0, n_channels, n_references + 2)[1:-1].astype(np.int64)
    return np.delete(channels, references)


def coarser_sorting(units: Units, generator: np.random.Generator) -> Units:
    """Find two thirds of the units, in another order, and four fifths of their spikes, as an older sorter might."""
    n_units = len(units.peak_channels)
    found = generator.permutation(n_units)[: max(2 * n_units // 3, 1)]
    new_number = np.full(n_units, -1)
    new_number[found] = np.arange(len(found))
    spike_units = new_number[units.spike_units]
    kept = (spike_units >= 0) & (generator.random(len(spike_units)) < 0.8)
    return units._replace(
        peak_channels=units.peak_channels[found],
        waveforms=units.waveforms[found],
        waveform_channels=units.waveform_channels[found],
        spike_samples=units.spike_samples[kept],
        spike_units=spike_units[kept],
        spike_scales=units.spike_scales[kept],
        spike_depths=units.spike_depths[kept],
    )


def sorting_datasets(
    units: Units,
    collection: str,
    clock: ProbeClock,
    era: SorterEra,
    generator: np.random.Generator,
    *,
    track: Track | None,
    with_labels: bool,
) -> Datasets:
    """
    Lay a sorting out as ALF datasets.

    Parameters
    ----------
    units : Units
        What the sorter found; unit numbers become cluster numbers.
    collection : str
        Such as ``"alf/probe00/pykilosort"``.
    clock : ProbeClock
        Maps ``spikes.samples`` to ``spikes.times``.
    era : SorterEra
        Types and metrics of the software that wrote the sorting.
    generator : numpy.random.Generator
        Source of random numbers.
    track : Track or None
        Where the probe is in the brain, None without histology.
    with_labels : bool
        Whether the state of each channel (``channels.labels``) was determined.
    """
    amplitudes_v = units.spike_scales * peak_to_peak(units.waveforms)[units.spike_units]
    attributes: dict[str, Any] = {
        "spikes.times.npy": clock.session_times(units.spike_samples),
        "spikes.samples.npy": units.spike_samples.astype(era.sample_type),
        "spikes.clusters.npy": units.spike_units.astype(era.cluster_type),
        "spikes.templates.npy": units.spike_units.astype(era.cluster_type),
        "spikes.amps.npy": amplitudes_v,
        "spikes.depths.npy": units.spike_depths,
    }
    attributes |= _cluster_attributes(units, amplitudes_v, clock.ap_rate_hz, generator)
    attributes |= _channel_attributes(units, track, with_labels=with_labels)
    metrics = unit_metrics(units, amplitudes_v, clock, generator, in_cluster_order=era.metrics_in_cluster_order)
    attributes["clusters.metrics.pqt"] = {name: metrics[name] for name in era.metrics_columns}
    return {f"{collection}/{name}": content for name, content in attributes.items()}


def passing_spikes_dataset(datasets: Datasets, folder: str) -> Datasets:
    """
    Repeat the spikes of the units that pass all criteria, in the types of IBL's table of them.

    Parameters
    ----------
    datasets : dict
        Datasets of the probe.
    folder : str
        Folder of the sorting, with its revision.
    """
    metrics: Any = datasets[f"{folder}/clusters.metrics.pqt"]
    good = metrics["cluster_id"][metrics["bitwise_fail"] == 0]
    spikes: dict[str, Any] = {
        name: datasets[f"{folder}/spikes.{name}.npy"]
        for name in ("amps", "clusters", "depths", "samples", "templates", "times")
    }
    is_good = np.isin(spikes["clusters"], good)
    narrow = {"clusters": np.uint16, "templates": np.uint16, "amps": np.float32, "depths": np.float32}
    table = {name: values[is_good].astype(narrow.get(name, values.dtype)) for name, values in spikes.items()}
    return {f"{folder}/passingSpikes.table.pqt": table}


def _cluster_attributes(
    units: Units, amplitudes_v: NDArray[np.float64], ap_rate_hz: float, generator: np.random.Generator
) -> dict[str, Any]:
    n_clusters = len(units.peak_channels)
    n_spikes = np.bincount(units.spike_units, minlength=n_clusters)
    has_spikes = n_spikes > 0
    mean_amplitudes_v = np.full(n_clusters, np.nan)
    sums = np.bincount(units.spike_units, weights=amplitudes_v, minlength=n_clusters)
    mean_amplitudes_v[has_spikes] = sums[has_spikes] / n_spikes[has_spikes]
    largest = units.waveforms[:, :, 0]
    trough_to_peak_ms = (largest.argmax(axis=1) - largest.argmin(axis=1)) / ap_rate_hz * 1e3
    depths_um = units.coordinates[units.peak_channels, 1]
    uuids = [random_uuid(generator) for _ in range(n_clusters)]
    return {
        "clusters.channels.npy": units.peak_channels,
        "clusters.depths.npy": np.where(has_spikes, depths_um, np.nan).astype(np.float32),
        "clusters.amps.npy": mean_amplitudes_v,
        "clusters.peakToTrough.npy": np.where(has_spikes, trough_to_peak_ms, np.nan),
        "clusters.uuids.csv": "\n".join(["uuids", *uuids]) + "\n",
        "clusters.waveforms.npy": units.waveforms,
        "clusters.waveformsChannels.npy": units.waveform_channels,
        "templates.waveforms.npy": units.waveforms,
        "templates.waveformsChannels.npy": units.waveform_channels,
        "templates.amps.npy": peak_to_peak(units.waveforms),
    }


def _channel_attributes(units: Units, track: Track | None, *, with_labels: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "channels.localCoordinates.npy": units.coordinates,
        "channels.rawInd.npy": units.raw_channels,
    }
    if with_labels:
        attributes["channels.labels.npy"] = _channel_labels(len(units.raw_channels))
    if track is not None:
        locations = site_locations(units.coordinates, track)
        attributes |= {f"channels.{name}.npy": values for name, values in locations.items()}
    return attributes


def _channel_labels(n_channels: int) -> NDArray[np.int8]:
    """Give the state of channels: 0 good, 1 dead, 2 noisy, 3 outside the brain (the uppermost ones)."""
    labels = np.zeros(n_channels, dtype=np.int8)
    labels[n_channels // 3 :: 97] = 1
    labels[n_channels // 2 :: 131] = 2
    labels[n_channels - n_channels // 60 :] = 3
    return labels
