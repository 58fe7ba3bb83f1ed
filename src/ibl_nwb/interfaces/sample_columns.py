"""What the families of raw SpikeGLX files share: how a file is opened, and which clock its samples are on."""

from __future__ import annotations

from typing import Any

from ..errors import DatasetInconsistentError
from ..probe_clock import AP_SAMPLES_PER_LF_SAMPLE, ProbeClock, aligned_clock, ap_samples_per_sample
from ..recording_iterators import ClockIterator
from ..session import ALFSession, Dataset, load_array
from ..snippets import Snippet
from ..spikeglx import SpikeGLXMeta
from ..spikeglx_recording import CompressedSamples, FlatSamples, RawSamples
from ..writing.remote import RemoteSamples
from .base import REGULAR_TOLERANCE_S, ALFDataset

#: Where the files of a probe's recording are.
PROBE_COLLECTIONS = ("raw_ephys_data/{probe_name}", "raw_ephys_data/{probe_name}/*")

#: What is read of one band of a probe: its samples, what describes them, and the knots of the probe's clock.
PROBE_RECORDING_DATASETS = (
    ALFDataset(
        "data",
        ("ephysData*.imec*.{band}.cbin", "ephysData*.imec*.{band}.bin"),
        PROBE_COLLECTIONS,
        required=True,
        streamable=True,
    ),
    ALFDataset("meta", ("ephysData*.imec*.{band}.meta",), PROBE_COLLECTIONS, required=True, support=True),
    ALFDataset("compression", ("ephysData*.imec*.{band}.ch",), PROBE_COLLECTIONS, support=True),
    ALFDataset("timestamps", ("ephysData*.imec*.timestamps.npy",), PROBE_COLLECTIONS, support=True),
    ALFDataset("sync", ("ephysData*.imec*.sync.npy",), PROBE_COLLECTIONS, support=True),
    ALFDataset("ap_meta", ("ephysData*.imec*.ap.meta",), PROBE_COLLECTIONS, support=True),
)


def open_samples(data: Dataset, compression: list[Dataset], n_columns: int, rate_hz: float) -> RawSamples:
    """Open a raw file, flat (``.bin``) or compressed (``.cbin`` with its ``.ch``), the latter also on a server.

    Parameters
    ----------
    data : Dataset
        The ``.bin`` or ``.cbin`` file.
    compression : list of Dataset
        The ``.ch`` file of a compressed one.
    n_columns : int
        Columns per sample.
    rate_hz : float
        Samples per second: a flat file is read by the second.
    """
    if data.url is not None:
        return RemoteSamples(data.url, compression[0].path, n_columns)
    if data.extension == "cbin":
        return CompressedSamples(data.path, compression[0].path, n_columns)
    return FlatSamples(data.path, n_columns, round(rate_hz))


def only_one(session: ALFSession, datasets: list[Dataset]) -> Dataset:
    """The file of a kind of which a recording has exactly one.

    Raises
    ------
    DatasetInconsistentError
        If there are several.
    """
    if len(datasets) > 1:
        listed = ", ".join(dataset.relative_path for dataset in datasets)
        raise DatasetInconsistentError(
            f"'{session.path}' holds {len(datasets)} files where one recording is expected: {listed}. Keep those of "
            "one recording, or leave it out with --exclude."
        )
    return datasets[0]


def used_knots(sources: dict[str, list[Dataset]]) -> list[str]:
    """Which kind of knots gives a probe its clock, if there are any: a key of its sources, in a list."""
    return [key for key in ("timestamps", "sync") if sources[key]][:1]


def read_probe_clock(session: ALFSession, sources: dict[str, list[Dataset]]) -> ProbeClock:
    """Clock of one band of a probe, by the best of its knots.

    Parameters
    ----------
    session : ALFSession
        The session.
    sources : dict of str to list of Dataset
        Under "meta" the metadata of the band; under "ap_meta" those of the AP band, in whose samples the knots are, or
        nothing, when its rate follows from that of the band; under "timestamps" ``*.timestamps.npy`` (AP samples,
        seconds) and under "sync" ``*.sync.npy`` (probe seconds, seconds), of which the former is taken first. Without
        any the clock is the probe's own.
    """
    meta = SpikeGLXMeta(only_one(session, sources["meta"]).path)
    rate_hz = meta.sampling_rate_hz
    if meta.band == "ap":
        ap_rate_hz, ratio = rate_hz, 1.0
    elif sources["ap_meta"]:
        ap_rate_hz = SpikeGLXMeta(only_one(session, sources["ap_meta"]).path).sampling_rate_hz
        ratio = ap_samples_per_sample(ap_rate_hz, rate_hz)
    else:
        ap_rate_hz, ratio = rate_hz * AP_SAMPLES_PER_LF_SAMPLE, float(AP_SAMPLES_PER_LF_SAMPLE)
    for key in used_knots(sources):
        dataset = only_one(session, sources[key])
        knots = load_array(dataset)
        if key == "sync" and knots.ndim == 2 and knots.shape[1] == 2:
            knots = knots * [ap_rate_hz, 1.0]
        return aligned_clock(knots, ap_rate_hz, ratio, path=dataset.path)
    return ProbeClock(ap_rate_hz, ratio)


def clock_timing(clock: ProbeClock, snippet: Snippet, *, always_write_timestamps: bool = False) -> dict[str, Any]:
    """Timing arguments of a series of raw samples; the time of every sample is computed while it is written.

    Parameters
    ----------
    clock : ProbeClock
        Clock of the recording.
    snippet : Snippet
        The samples that are converted.
    always_write_timestamps : bool, default: False
        Give timestamps even if a starting time and a rate fit every sample.

    Returns
    -------
    dict
        ``starting_time`` (s) and ``rate`` (Hz), or ``timestamps``.
    """
    first, n_samples = snippet.first_sample, snippet.n_samples
    if always_write_timestamps or not clock.fits_rate(n_samples, REGULAR_TOLERANCE_S, first):
        return {"timestamps": ClockIterator(clock, n_samples, first)}
    starting_time, rate = clock.start_and_rate(n_samples, first)
    return {"starting_time": starting_time, "rate": rate}


def add_statement(comments: str, *statements: str) -> str:
    """Comments of a series with further sentences, as far as they are not empty."""
    sentences = " ".join(filter(None, statements))
    return f"{comments}. {sentences}" if sentences else comments
