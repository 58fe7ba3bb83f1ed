"""Quality metrics of sorted units, the columns of `clusters.metrics.pqt`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._clocks import ProbeClock
from ._units import Units

#: Columns of today's tables, in IBL's order.
CURRENT_METRICS = (
    "cluster_id",
    "amp_max",
    "amp_min",
    "amp_median",
    "amp_std_dB",
    "contamination",
    "contamination_alt",
    "drift",
    "missed_spikes_est",
    "noise_cutoff",
    "presence_ratio",
    "presence_ratio_std",
    "slidingRP_viol",
    "spike_count",
    "slidingRP_viol_forced",
    "max_confidence",
    "min_contamination",
    "n_spikes_below2",
    "firing_rate",
    "label",
    "bitwise_fail",
)

#: Columns of tables of earlier years: less about the refractory period, and what Kilosort thought of the unit.
EARLIER_METRICS = (
    *(name for name in CURRENT_METRICS if name not in ("max_confidence", "min_contamination", "n_spikes_below2")),
    "ks2_label",
)

PRESENCE_BIN_S = 10.0

#: Thresholds behind the label: confidence in the refractory period (%), noise cutoff (SD), median amplitude (V).
MIN_CONFIDENCE = 90.0
MAX_NOISE_CUTOFF = 5.0
MIN_AMPLITUDE_V = 50e-6


def unit_metrics(
    units: Units,
    amplitudes_v: NDArray[np.float64],
    clock: ProbeClock,
    generator: np.random.Generator,
    *,
    in_cluster_order: bool,
) -> dict[str, NDArray[Any]]:
    """
    Make the metrics table.

    Parameters
    ----------
    units : Units
        Units and their spikes.
    amplitudes_v : numpy.ndarray
        (S,) amplitude of each spike, volts.
    clock : ProbeClock
        Clock of the probe.
    generator : numpy.random.Generator
        Source of random numbers.
    in_cluster_order : bool
        Whether the rows ascend by ``cluster_id``.

    Returns
    -------
    dict
        Column to values, the columns of every era, one row per unit **with spikes**: fewer rows than there are
        clusters.
    """
    cluster_ids = np.unique(units.spike_units)
    if not in_cluster_order:
        cluster_ids = generator.permutation(cluster_ids)
    seconds = clock.session_times(units.spike_samples)
    rows = [
        _measured(seconds[is_own], amplitudes_v[is_own], units.spike_depths[is_own], seconds[-1])
        for is_own in (units.spike_units == cluster_id for cluster_id in cluster_ids)
    ]
    measured = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {"cluster_id": cluster_ids, **measured, **_estimated(measured["amp_median"], generator)}


def _measured(
    seconds: NDArray[np.float64],
    amplitudes_v: NDArray[np.float64],
    depths_um: NDArray[np.float64],
    duration_s: float,
) -> dict[str, float]:
    """Compute what can be counted on the spikes of one unit."""
    decibels = 20 * np.log10(amplitudes_v)
    spikes_per_bin = np.histogram(seconds, np.arange(0.0, duration_s + PRESENCE_BIN_S, PRESENCE_BIN_S))[0]
    return {
        "amp_max": amplitudes_v.max(),
        "amp_min": amplitudes_v.min(),
        "amp_median": float(10 ** (np.median(decibels) / 20)),
        "amp_std_dB": decibels.std(),
        "drift": float(np.abs(np.diff(depths_um)).sum() / duration_s * 3600),
        "presence_ratio": float((spikes_per_bin > 0).mean()),
        "presence_ratio_std": spikes_per_bin.std(),
        "spike_count": float(len(seconds)),
        "firing_rate": len(seconds) / duration_s,
    }


def _estimated(amp_median_v: NDArray[np.float64], generator: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Draw what would need a long recording, and derive the label from it as IBL does."""
    n_units = len(amp_median_v)
    max_confidence = np.where(generator.random(n_units) < 0.6, generator.uniform(90, 100, n_units), 12.5)
    noise_cutoff = generator.exponential(4.0, n_units)
    fails = np.column_stack(
        [max_confidence < MIN_CONFIDENCE, noise_cutoff >= MAX_NOISE_CUTOFF, amp_median_v <= MIN_AMPLITUDE_V]
    )
    missed_spikes = generator.uniform(0.0, 0.5, n_units)
    missed_spikes[generator.random(n_units) < 0.2] = np.nan
    passes_refractory = (max_confidence >= MIN_CONFIDENCE).astype(np.float64)
    return {
        "contamination": generator.gamma(2.0, 0.3, n_units),
        "contamination_alt": generator.gamma(2.0, 0.2, n_units),
        "missed_spikes_est": missed_spikes,
        "noise_cutoff": noise_cutoff,
        "slidingRP_viol": passes_refractory,
        "slidingRP_viol_forced": passes_refractory * (generator.random(n_units) < 0.1),
        "max_confidence": max_confidence,
        "min_contamination": np.where(passes_refractory > 0, generator.uniform(0.5, 10.0, n_units), np.nan),
        "n_spikes_below2": generator.integers(0, 80, n_units).astype(np.float64),
        "label": (~fails).sum(axis=1) / 3,
        "bitwise_fail": (fails * [1, 2, 4]).sum(axis=1).astype(np.uint8),
        "ks2_label": np.where(fails[:, 0], "mua", "good"),
    }
