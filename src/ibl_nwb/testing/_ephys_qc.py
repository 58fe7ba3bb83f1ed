"""Raw-data quality control of one invented probe."""

import numpy as np

from ._files import Datasets

N_FREQUENCIES = 513

#: Length of the windows of the root mean square in seconds, and its size in volts, by band.
WINDOWS_S = {"AP": 2.0, "LF": 3.28}
RMS_V = {"AP": 1.1e-5, "LF": 9e-5}

#: How much less the AP band holds after destriping.
DESTRIPED = 0.7


def ephys_qc_datasets(
    probe_name: str,
    *,
    n_channels: int,
    ap_rate_hz: float,
    duration_s: float,
    is_current_era: bool,
    generator: np.random.Generator,
) -> Datasets:
    """
    Invent the quality control of one probe.

    Parameters
    ----------
    probe_name : str
        Such as ``"probe00"``.
    n_channels : int
        Recorded sites; the tables of the LF band have a column more, for the sync word.
    ap_rate_hz : float
        Rate of the AP band; the spectra reach to half of it.
    duration_s : float
        Length of the recording.
    is_current_era : bool
        Whether the tables are those of today's software, with channel labels and saturated stretches, or those of
        earlier years, where the AP spectrum has the sync word too.
    generator : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    dict
        The datasets ``_iblqc_ephys*``. Times are seconds of the probe.
    """
    n_columns = {"AP": n_channels, "LF": n_channels + 1}
    folder = f"raw_ephys_data/{probe_name}"
    datasets: Datasets = {}
    for band, window_s in WINDOWS_S.items():
        times = np.arange(window_s / 2, duration_s, window_s)
        rms = RMS_V[band] * generator.uniform(0.8, 1.2, (len(times), n_columns[band]))
        is_double = band == "AP" and is_current_era
        n_spectra = n_columns[band] if is_double else n_channels + 1
        rate_hz = ap_rate_hz / (1 if band == "AP" else 12)
        power = RMS_V[band] ** 2 / generator.uniform(1, 50, (N_FREQUENCIES, n_spectra))
        number = np.float64 if is_double else np.float32
        datasets |= {
            f"{folder}/_iblqc_ephysTimeRms{band}.rms.npy": rms.astype(np.float32),
            f"{folder}/_iblqc_ephysTimeRms{band}.timestamps.npy": times.astype(np.float32),
            f"{folder}/_iblqc_ephysSpectralDensity{band}.power.npy": power.astype(number),
            f"{folder}/_iblqc_ephysSpectralDensity{band}.freqs.npy": np.linspace(0, rate_hz / 2, N_FREQUENCIES).astype(
                number
            ),
        }
    if is_current_era:
        ap_rms = RMS_V["AP"] * generator.uniform(0.9, 1.1, n_channels)
        starts = np.sort(generator.integers(0, int(duration_s * ap_rate_hz), 4))
        datasets |= {
            f"{folder}/_iblqc_ephysChannels.apRMS.npy": np.stack([ap_rms, DESTRIPED * ap_rms]),
            f"{folder}/_iblqc_ephysChannels.rawSpikeRates.npy": generator.gamma(2.0, 8.0, n_channels),
            f"{folder}/_iblqc_ephysChannels.labels.npy": generator.choice(
                [0.0, 1.0, 2.0, 3.0], n_channels, p=[0.9, 0.04, 0.02, 0.04]
            ),
            f"{folder}/_iblqc_ephysSaturation.samples.pqt": {
                "start_sample": starts,
                "stop_sample": starts + generator.integers(40, 400, len(starts)),
            },
        }
    return datasets
