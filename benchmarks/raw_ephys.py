"""Benchmark of raw electrophysiology: today's routes from a .cbin file to NWB, and ours.

``python benchmarks/raw_ephys.py`` makes a recording (seeded), converts it by three routes in turn, each in a fresh
process, and prints seconds, memory, sizes and ratios. Other tables: ``--table check``, ``lengths``, ``threads``,
``chunks``, ``stages``, ``times``, or ``all``.

(a) mtscomp decompresses to disk, then NeuroConv's SpikeGLXRecordingInterface with its defaults
(b) NeuroConv's writer with its defaults, directly on SpikeInterface's reader of .cbin files
(c) ibl_nwb
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

RATE_HZ = 30_000
N_COLUMNS = 385
STEM = "_spikeglx_ephysData_g0_t0.imec0.ap"
PROBE = "raw_ephys_data/probe00"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark_data"), help="where recordings and files go")
    parser.add_argument("--table", default="routes", choices=[*TABLES, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="length of the recording")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, in turn; medians are printed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # JSON of a single run, in a process of its own
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_here(**json.loads(arguments.one))))
        return
    for name in TABLES if arguments.table == "all" else [arguments.table]:
        print(f"\n{name}\n")
        TABLES[name](arguments)


# The recording


def make_session(folder: Path, seconds: int, seed: int) -> Path:
    """A session with one probe, whose AP band lasts so many seconds; kept for the next run."""
    session = folder / f"{seconds}s_{seed}"
    if not session.exists():
        from ibl_nwb.testing import make_example_session

        shutil.rmtree(folder / "making", ignore_errors=True)
        made = make_example_session(
            folder / "making", probes=("probe00",), n_channels=N_COLUMNS - 1, raw_duration_s=0.01, cameras=(),
            audio=False, n_trials=3, n_clusters=4, spikes_per_probe=100, revisions=False,
        )  # fmt: skip
        write_recording(made / PROBE, seconds, seed)
        made.rename(session)
    return session


def write_recording(folder: Path, seconds: int, seed: int) -> None:
    import mtscomp

    flat = folder / f"{STEM}.bin"
    with flat.open("wb") as file:
        for second in range(seconds):
            make_second(second, seed).tofile(file)
    for suffix in (".cbin", ".ch"):
        flat.with_suffix(suffix).unlink()
    mtscomp.compress(
        flat, flat.with_suffix(".cbin"), flat.with_suffix(".ch"), sample_rate=float(RATE_HZ), n_channels=N_COLUMNS,
        dtype=np.int16, chunk_duration=1.0, check_after_compress=False, quiet=True,
    )  # fmt: skip
    meta = flat.with_suffix(".meta")
    text = re.sub(r"imSampRate=.*", f"imSampRate={RATE_HZ}", meta.read_text())
    text = re.sub(r"fileTimeSecs=.*", f"fileTimeSecs={seconds}", text)
    meta.write_text(re.sub(r"fileSizeBytes=.*", f"fileSizeBytes={flat.stat().st_size}", text))
    ratio = flat.stat().st_size / flat.with_suffix(".cbin").stat().st_size
    print(f"made {seconds} s, {flat.stat().st_size / 1e6:.0f} MB, mtscomp ratio {ratio:.2f}", flush=True)
    flat.unlink()
    write_knots(folder, regular=True)


def make_second(second: int, seed: int) -> np.ndarray:
    """Noise that neighbours in time and space share, a slow wave, and 4000 spikes over eight sites each."""
    generator = np.random.default_rng([seed, second])
    n_channels = N_COLUMNS - 1
    counts = generator.standard_normal((RATE_HZ, n_channels), dtype=np.float32)
    counts[:, 1:] += 0.5 * counts[:, :-1]
    counts[1:] += 0.4 * counts[:-1]
    counts *= 4.5
    counts += (20 * np.sin(2 * np.pi * 8 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)[:, None]
    samples = np.arange(60)
    waveform = 0.4 * np.exp(-(((samples - 32) / 8) ** 2)) - np.exp(-(((samples - 20) / 4) ** 2))
    shape = (waveform[:, None] * [0.2, 0.4, 0.7, 1, 0.9, 0.6, 0.3, 0.1]).astype(np.float32)
    onsets, sites = generator.integers(0, RATE_HZ - 60, 4000), generator.integers(0, n_channels - 8, 4000)
    for onset, site, size in zip(onsets, sites, generator.lognormal(3.3, 0.5, 4000), strict=True):
        counts[onset : onset + 60, site : site + 8] += np.float32(size) * shape
    sync = ((np.arange(RATE_HZ) + second * RATE_HZ) // 15_000 % 2 * 64).astype(np.int16)
    return np.column_stack([np.clip(np.rint(counts), -512, 511).astype(np.int16), sync])


def write_knots(folder: Path, *, regular: bool) -> None:
    """Matching points of the clocks: a straight line, or one every ten seconds that is off by some microseconds."""
    samples = np.arange(0, 7200, 10) * float(RATE_HZ)
    seconds = samples / RATE_HZ * 1.00001 + 20
    if not regular:
        seconds += np.random.default_rng(0).normal(0, 2e-5, len(seconds))
    for path in folder.glob("*.timestamps.npy"):
        np.save(path, np.column_stack([samples, seconds]))


# The routes, each in a process of its own


def run(arguments: argparse.Namespace, **options) -> dict:
    """Run a route in a fresh process."""
    options["folder"] = str(arguments.folder)
    command = [sys.executable, __file__, "--one", json.dumps(options)]
    os.sync()  # so that nobody waits for what another left to be written to the disk
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


def run_in_turn(arguments: argparse.Namespace, runs: dict[str, dict]) -> dict[str, dict]:
    """Medians of runs that take turns."""
    results: dict[str, list[dict]] = {name: [] for name in runs}
    for _ in range(arguments.repeat):
        for name, options in runs.items():
            results[name].append(run(arguments, **options))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in results.items()
    }


def run_here(route: str, session: str, folder: str, **options) -> dict:
    work = Path(folder) / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    measured = ROUTES[route](Path(session), work, **options)
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    output = work / "x.nwb"
    measured |= {"peak": int(peak[1]) / 1e3, "output": output.stat().st_size / 1e6}
    measured |= read_back(output)
    shutil.rmtree(work)
    return measured


def read_back(path: Path) -> dict:
    """Seconds to read one second of all channels, and a minute of one channel, with plain h5py."""
    import h5py

    def find(name, item):
        return item if name.endswith("/data") and isinstance(item, h5py.Dataset) and item.ndim == 2 else None

    with h5py.File(path) as file:
        data = file["acquisition"].visititems(find)
        began = time.perf_counter()
        data[12_000 : 12_000 + RATE_HZ]  # not where a chunk begins
        second = time.perf_counter() - began
    with h5py.File(path) as file:
        data = file["acquisition"].visititems(find)
        began = time.perf_counter()
        data[: 60 * RATE_HZ, 100]
        minute = time.perf_counter() - began
        stored = data.id.get_storage_size() / data.id.get_num_chunks() / 1e6
    return {"second": second, "minute": minute, "chunk": stored}


class Stopwatch:
    """Wall and CPU seconds (of all threads) of the stages of a route."""

    def __init__(self):
        self.seconds: dict[str, float] = {"open": 0, "decompress": 0, "write": 0, "temporary": 0}
        self._began = self._last = time.perf_counter()
        self._cpu = time.process_time()

    def lap(self, name: str) -> None:
        """A stage has ended."""
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now

    def stop(self) -> dict[str, float]:
        """Seconds of the stages, of all of them, and of the processors."""
        return {**self.seconds, "whole": self._last - self._began, "cpu": time.process_time() - self._cpu}


def metadata_of(interface) -> dict:
    from datetime import UTC, datetime

    metadata = interface.get_metadata()
    metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18, tzinfo=UTC)
    return metadata


def route_a(session: Path, work: Path) -> dict:
    import mtscomp
    from neuroconv.datainterfaces import SpikeGLXRecordingInterface
    from neuroconv.tools.nwb_helpers import configure_and_write_nwbfile

    probe = session / PROBE
    watch = Stopwatch()
    flat = work / "run_g0_imec0" / "run_g0_t0.imec0.ap.bin"
    flat.parent.mkdir()
    shutil.copy(probe / f"{STEM}.meta", flat.with_suffix(".meta"))
    mtscomp.decompress(probe / f"{STEM}.cbin", probe / f"{STEM}.ch", out=flat, check_after_decompress=False, quiet=True)
    watch.lap("decompress")
    watch.seconds["temporary"] = flat.stat().st_size / 1e6
    interface = SpikeGLXRecordingInterface(folder_path=flat.parent, stream_id="imec0.ap")
    watch.lap("open")
    nwbfile = interface.create_nwbfile(metadata=metadata_of(interface))
    watch.lap("build")
    configure_and_write_nwbfile(nwbfile, work / "x.nwb", backend="hdf5")
    watch.lap("write")
    return watch.stop()


def route_b(session: Path, work: Path) -> dict:
    from neuroconv.tools.nwb_helpers import configure_and_write_nwbfile
    from neuroconv.tools.spikeinterface import add_recording_to_nwbfile
    from pynwb.testing.mock.file import mock_NWBFile
    from spikeinterface.extractors import read_cbin_ibl

    watch = Stopwatch()
    # It finds its file by name in a folder that may hold no other.
    probe = work / "probe"
    probe.mkdir()
    for suffix in (".cbin", ".ch", ".meta"):
        (probe / f"{STEM}{suffix}").symlink_to((session / PROBE / f"{STEM}{suffix}").resolve())
    recording = read_cbin_ibl(cbin_file_path=probe / f"{STEM}.cbin")
    watch.lap("open")
    nwbfile = mock_NWBFile()
    add_recording_to_nwbfile(recording, nwbfile)
    watch.lap("build")
    configure_and_write_nwbfile(nwbfile, work / "x.nwb", backend="hdf5")
    watch.lap("write")
    return watch.stop()


def route_c(session: Path, work: Path, jobs: int | None = None, chunk_shape: list[int] | None = None) -> dict:
    from ibl_nwb.interfaces.raw_ephys import RawEphysInterface
    from ibl_nwb.writing import write_nwbfile
    from ibl_nwb.writing.streaming import write_nwbfile  # noqa: F811  (imports are left out of the times)

    load_kernels()
    watch = Stopwatch()
    interface = RawEphysInterface(session, probe_name="probe00")
    watch.lap("open")
    shape = {"chunk_shape": tuple(chunk_shape), "buffer_shape": (chunk_shape[0], 384)} if chunk_shape else {}
    nwbfile = interface.create_nwbfile(metadata=metadata_of(interface), iterator_options=shape)
    watch.lap("build")
    write_nwbfile(nwbfile, work / "x.nwb", jobs=jobs)
    watch.lap("write")
    return watch.stop()


def load_kernels() -> None:
    """What numba imports and loads at the first call of a kernel."""
    from ibl_nwb.writing.codec import zlib_stream
    from ibl_nwb.writing.transform import Tiling, place_differences

    tiling = Tiling((2, 1), (2, 1), 2, np.dtype("int16"))
    tile = np.zeros(tiling.tiles_shape, np.uint8)
    place_differences(np.zeros((1, 2), np.int16), np.arange(1), slice(0, 2), tile, 0, tiling)
    zlib_stream(tile[0, 0], 1, 2)


ROUTES = {"a": route_a, "b": route_b, "c": route_c}

# The tables


def print_routes(arguments: argparse.Namespace) -> None:
    session = str(make_session(arguments.folder, arguments.seconds, arguments.seed))
    rows = run_in_turn(arguments, {name: {"route": name, "session": session} for name in ROUTES})
    ours = rows["c"]
    print(f"{arguments.seconds} s x {N_COLUMNS} channels, medians of {arguments.repeat} runs in turn, imports left out")
    print("route  decompress  write  both      x  whole      x    cpu  x real time  peak MB  output MB  temporary MB")
    for name, row in rows.items():
        both, our_both = row["decompress"] + row["write"], ours["decompress"] + ours["write"]
        print(
            f"({name})   {row['decompress']:>10.2f} {row['write']:>6.2f} {both:>5.2f} {both / our_both:>6.1f} "
            f"{row['whole']:>6.2f} {row['whole'] / ours['whole']:>6.1f} {row['cpu']:>6.1f} "
            f"{arguments.seconds / both:>12.1f} {row['peak']:>8.0f} {row['output']:>10.0f} {row['temporary']:>13.0f}"
        )
    print_reading(rows)


def print_lengths(arguments: argparse.Namespace) -> None:
    sessions = {f"{n} s": str(make_session(arguments.folder, n, arguments.seed)) for n in (30, 60, 120)}
    print_plainly(
        run_in_turn(arguments, {name: {"route": "c", "session": session} for name, session in sessions.items()})
    )


def print_threads(arguments: argparse.Namespace) -> None:
    session = str(make_session(arguments.folder, arguments.seconds, arguments.seed))
    runs = {f"{jobs} threads": {"route": "c", "session": session, "jobs": jobs} for jobs in (1, 2)}
    print_plainly(run_in_turn(arguments, runs))


def print_chunks(arguments: argparse.Namespace) -> None:
    session = str(make_session(arguments.folder, arguments.seconds, arguments.seed))
    shapes = [(30_000, 8), (30_000, 16), (30_000, 32), (30_000, 64), (30_000, 384), (15_000, 32), (60_000, 32)]
    shapes += [(120_000, 8), (7_500, 128)]
    runs = {f"{shape}": {"route": "c", "session": session, "chunk_shape": shape} for shape in shapes}
    rows = run_in_turn(arguments, runs)
    print_plainly(rows)
    print_reading(rows)


def print_times(arguments: argparse.Namespace) -> None:
    session = make_session(arguments.folder, arguments.seconds, arguments.seed)
    rows = {}
    for regular in (True, False):
        write_knots(session / PROBE, regular=regular)
        name = "rate" if regular else "timestamps"
        rows |= run_in_turn(arguments, {name: {"route": "c", "session": str(session)}})
    write_knots(session / PROBE, regular=True)
    print_plainly(rows)
    both = [rows["rate"][key] for key in ("write", "output")], [rows["timestamps"][key] for key in ("write", "output")]
    print(f"the times of all samples cost {both[1][0] / both[0][0] - 1:.1%} of the time, ", end="")
    print(f"{both[1][1] / both[0][1] - 1:.1%} of the size")


def print_plainly(rows: dict[str, dict]) -> None:
    print("                  open  write  whole    cpu  peak MB  output MB")
    for name, row in rows.items():
        print(
            f"{name:<15} {row['open']:>6.2f} {row['write']:>6.2f} {row['whole']:>6.2f} {row['cpu']:>6.1f} "
            f"{row['peak']:>8.0f} {row['output']:>10.1f}"
        )


def print_reading(rows: dict[str, dict]) -> None:
    print("\nreading with h5py     1 s of all channels   1 min of one channel   MB per chunk as stored")
    for name, row in rows.items():
        print(f"{name:<21} {row['second']:>18.3f} s {row['minute']:>20.3f} s {row['chunk']:>24.2f}")


def print_stages(arguments: argparse.Namespace) -> None:
    """Throughput of each stage with one and two threads (one stores), and what follows for all of them together."""
    import h5py

    from ibl_nwb.spikeglx_recording import SpikeGLXRecording
    from ibl_nwb.writing.codec import Inflater, zlib_stream
    from ibl_nwb.writing.traces import StreamedTraces
    from ibl_nwb.writing.transform import place_differences

    folder = make_session(arguments.folder, arguments.seconds, arguments.seed) / PROBE
    recording = SpikeGLXRecording(folder / f"{STEM}.cbin", folder / f"{STEM}.meta")
    tiling = StreamedTraces(recording).tiling((RATE_HZ, 32), is_shuffled=True)
    offsets = recording.samples.compression["chunk_offsets"]
    with (folder / f"{STEM}.cbin").open("rb") as file:
        block = file.read(offsets[1])
    width_bytes = 32 * RATE_HZ * 2
    columns = np.frombuffer(Inflater(block).take(width_bytes), "<i2").reshape(32, RATE_HZ)
    tile = np.zeros((1, 1, tiling.chunk_bytes), np.uint8)
    place_differences(columns, np.arange(32), slice(0, RATE_HZ), tile, 0, tiling)

    def read() -> None:
        with (folder / f"{STEM}.cbin").open("rb") as file:
            file.read(len(block))

    def inflate() -> None:
        inflater = Inflater(block)
        for _ in range(12):
            inflater.take(width_bytes)

    def place() -> None:
        own = np.zeros_like(tile)
        for _ in range(12):
            place_differences(columns, np.arange(32), slice(0, RATE_HZ), own, 0, tiling)

    def deflate() -> None:
        for _ in range(12):
            zlib_stream(tile[0, 0], 1, 2)

    chunk = zlib_stream(tile[0, 0], 1, 2)
    target = h5py.File(arguments.folder / "stored.h5", "w")
    shape = (12 * 10_000 * RATE_HZ, 32)
    dataset = target.create_dataset("x", shape, "i2", chunks=(RATE_HZ, 32), shuffle=True, compression="gzip")
    numbers = itertools.count()

    def store() -> None:
        for _ in range(12):
            dataset.id.write_direct_chunk((next(numbers) * RATE_HZ, 0), chunk)

    megabytes = 12 * width_bytes / 1e6
    together = {1: 0.0, 2: 0.0}
    print("stage      MB/s/core  2 threads")
    for stage in (read, inflate, place, deflate, store):
        one = _median_seconds(stage, 1, arguments.repeat)
        two = 2 * one if stage is store else _median_seconds(stage, 2, arguments.repeat)
        print(f"{stage.__name__:<10} {megabytes / one:>9.0f} {2 * one / two:>10.2f}")
        together[1] += one / megabytes
        together[2] += two / megabytes / 2
    target.close()
    (arguments.folder / "stored.h5").unlink()
    total = recording.get_num_samples() * (N_COLUMNS - 1) * 2 / 1e6
    session = str(folder.parent.parent)
    rows = run_in_turn(arguments, {str(n): {"route": "c", "session": session, "jobs": n} for n in together})
    for n, seconds in together.items():
        written, bound = rows[str(n)]["write"], total * seconds
        print(
            f"{n} threads: the stages bound {arguments.seconds} s of recording at {bound:.2f} s; writing takes "
            f"{written:.2f} s, {written / bound:.2f} of it"
        )


def _median_seconds(stage, n_threads: int, repeat: int) -> float:
    with ThreadPoolExecutor(n_threads) as pool:
        seconds = []
        for _ in range(5 * repeat):
            began = time.perf_counter()
            for future in [pool.submit(stage) for _ in range(n_threads)]:
                future.result()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def print_check(arguments: argparse.Namespace) -> None:
    """Every sample of our file against mtscomp's own decompression, with plain h5py."""
    import h5py
    import mtscomp

    session = make_session(arguments.folder, arguments.seconds, arguments.seed)
    work = arguments.folder / "check"
    work.mkdir(exist_ok=True)
    route_c(session, work)
    reader = mtscomp.decompress(session / PROBE / f"{STEM}.cbin", session / PROBE / f"{STEM}.ch", quiet=True)
    with h5py.File(work / "x.nwb") as file:
        data = file["acquisition/ElectricalSeriesAPProbe00/data"]
        bounds = range(0, len(data), RATE_HZ)
        n_different = sum(int((data[at : at + RATE_HZ] != reader[at : at + RATE_HZ][:, :-1]).sum()) for at in bounds)
        print(f"{n_different} of {data.size} samples differ from mtscomp's")
    shutil.rmtree(work)


TABLES = {
    "routes": print_routes,
    "check": print_check,
    "lengths": print_lengths,
    "threads": print_threads,
    "chunks": print_chunks,
    "times": print_times,
    "stages": print_stages,
}

if __name__ == "__main__":
    main()
