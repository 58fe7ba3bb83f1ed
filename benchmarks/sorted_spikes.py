"""How long sorted spikes take and how much memory they need: ``python benchmarks/sorted_spikes.py``.

Seeded sortings of 1, 10 and 30 million spikes are made in a temporary folder, and each is converted in a process of its
own. Memory is the peak of the process above what it held after the imports. Time is compared with that of h5py for
writing the same numbers, already in the right order, with the same chunks and compression.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROBE = "probe00"
SORTING = f"alf/{PROBE}/pykilosort"
RATE_HZ = 30_000
UNITS_BY_MILLIONS = {1: 600, 10: 1300}


def main() -> None:
    """Run the benchmark, or, with ``--convert``, one conversion of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 10, 30], help="millions of spikes")
    parser.add_argument("--backend", choices=["hdf5", "zarr"], default="hdf5")
    parser.add_argument("--folder", type=Path, help="where to put the files; default: a temporary folder")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--convert", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make_sorting(arguments.make, arguments.millions[0])
        return
    if arguments.convert:
        print(json.dumps(convert(arguments.convert, arguments.backend)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print_table([measure(Path(folder), millions, arguments.backend) for millions in arguments.millions])


def measure(folder: Path, millions: int, backend: str) -> dict:
    """Make and convert a sorting in processes of their own: the peak of a process counts what its parent held."""
    session_path = folder / f"session_{millions}"
    run("--make", session_path, "--millions", millions)
    measured = json.loads(run("--convert", session_path, "--backend", backend).splitlines()[-1])
    return {"millions": millions, "n_units": number_of_units(millions), **measured}


def run(*arguments: object) -> str:
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def number_of_units(millions: int) -> int:
    return UNITS_BY_MILLIONS.get(millions, 2000)


def make_sorting(session_path: Path, millions: int) -> None:
    """A sorting with the types of production files of 2021-24; one unit in twenty is silent."""
    n_spikes, n_units = millions * 1_000_000, number_of_units(millions)
    rng = np.random.default_rng(n_spikes)
    folder = session_path / SORTING
    folder.mkdir(parents=True)
    channels = np.sort(rng.integers(0, 384, n_units))
    silent = rng.random(n_units) < 0.05
    shares = rng.lognormal(0, 1, n_units) * ~silent
    clusters = rng.choice(n_units, n_spikes, p=shares / shares.sum()).astype(np.int32)
    samples = np.cumsum(rng.integers(1, 2 * RATE_HZ * 4500 // n_spikes, n_spikes))
    arrays = {
        "spikes.times": samples / RATE_HZ,
        "spikes.samples": samples,
        "spikes.clusters": clusters,
        "spikes.templates": clusters,
        "spikes.amps": rng.lognormal(np.log(9e-5), 0.3, n_spikes),
        "spikes.depths": rng.normal(channels[clusters] * 10.0, 20.0),
        "clusters.channels": channels,
        "clusters.depths": (channels * 10).astype(np.float32),
        "clusters.amps": rng.lognormal(np.log(9e-5), 0.3, n_units),
        "clusters.waveforms": rng.normal(0, 1e-5, (n_units, 82, 32)).astype(np.float32),
        "clusters.waveformsChannels": np.minimum(channels[:, None] // 2 + np.arange(32), 383).astype(np.int32),
        "channels.rawInd": np.arange(384),
        "channels.localCoordinates": np.column_stack((np.tile([43, 11, 59, 27], 96), np.arange(384) // 2 * 20 + 20.0)),
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)


def convert(session_path: Path, backend: str) -> dict:
    """Convert a sorting, in a process that has done nothing else; seconds and bytes."""
    import resource
    from datetime import UTC, datetime

    import psutil
    from neuroconv.tools.nwb_helpers import get_default_backend_configuration

    from ibl_nwb.interfaces.sorted_spikes import SortedSpikesInterface

    baseline = psutil.Process().memory_info().rss
    start = time.perf_counter()
    interface = SortedSpikesInterface(session_path, probe_name=PROBE)
    metadata = interface.get_metadata()
    metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18, tzinfo=UTC)
    interface.run_conversion(session_path / "units.nwb", metadata=metadata, backend=backend)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - baseline

    nwbfile = interface.create_nwbfile(metadata)
    start = time.perf_counter()
    get_default_backend_configuration(nwbfile, backend=backend)
    return {
        "seconds": seconds,
        "peak": peak,
        "configuration_seconds": time.perf_counter() - start,
        "plain_seconds": write_plainly(session_path, interface),
    }


def write_plainly(session_path: Path, interface) -> float:
    """Seconds that h5py takes for the same numbers, ordered beforehand."""
    import h5py

    from ibl_nwb.interfaces.spike_column import CHUNK_LENGTH

    order = interface._spikes.index.order
    columns = [np.load(session_path / SORTING / f"spikes.{name}.npy")[order] for name in ("times", "amps", "depths")]
    waveforms = np.load(session_path / SORTING / "clusters.waveforms.npy")
    start = time.perf_counter()
    with h5py.File(session_path / "plain.h5", "w") as file:
        for name, values in enumerate(columns):
            file.create_dataset(str(name), data=values, chunks=(CHUNK_LENGTH,), compression="gzip")
        file.create_dataset("waveforms", data=waveforms, chunks=True, compression="gzip")
    return time.perf_counter() - start


def print_table(rows: list[dict]) -> None:
    print("   spikes  units     time  x h5py  configuration      peak  per spike      growth")
    previous = None
    for row in rows:
        growth = "" if previous is None else f"{slope(previous, row):7.1f} B/sp"
        print(
            f"{row['millions']:>7} M {row['n_units']:>6} {row['seconds']:>6.1f} s "
            f"{row['seconds'] / row['plain_seconds']:>7.2f} {row['configuration_seconds']:>12.2f} s "
            f"{row['peak'] / 1e6:>6.0f} MB {row['peak'] / row['millions'] / 1e6:>7.1f} B {growth:>11}"
        )
        previous = row


def slope(fewer: dict, more: dict) -> float:
    """Bytes of peak memory per additional spike."""
    return (more["peak"] - fewer["peak"]) / (more["millions"] - fewer["millions"]) / 1e6


if __name__ == "__main__":
    main()
