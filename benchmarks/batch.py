"""How many sessions a batch converts, and what it costs beside calling the converter: ``python benchmarks/batch.py``.

Example sessions of two sizes, behaviour only and with one probe, are made in a temporary folder. Each is converted and
compared with its source three times over: by calling the library in a loop in one process, and by a batch with one and
with two workers. Every run is a process of its own, and imports count, as they do for a user. What a batch adds to a
session is the time that remains when what it costs to begin, a batch of one session less one session, is taken off.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = {
    "behaviour": dict(probes=(), cameras=(), audio=False, passive=False, revisions=False, n_trials=60),
    "one probe": dict(probes=("probe00",), n_channels=384, raw_duration_s=10.0, n_trials=60, cameras=("left",)),
}
TIMEZONE = "Europe/Lisbon"


def main() -> None:
    """Run the benchmark, or, with ``--direct`` or ``--batch``, one run of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=12, help="sessions of each kind")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--folder", type=Path, help="where to put the files; default: a temporary folder")
    parser.add_argument("--direct", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.direct:
        print(json.dumps(convert_directly(find_sessions(arguments.direct)[: arguments.first], arguments.output)))
    elif arguments.batch:
        sessions = find_sessions(arguments.batch)[: arguments.first]
        print(json.dumps(convert_as_batch(sessions, arguments.output, arguments.workers)))
    else:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            for kind in arguments.kinds:
                print_table(kind, arguments.sessions, measure(Path(folder), kind, arguments.sessions))


def measure(folder: Path, kind: str, n_sessions: int) -> dict[str, dict]:
    """Wall time of every run, by name."""
    from ibl_nwb.testing import make_example_session

    root = folder / kind.replace(" ", "_")
    for i in range(n_sessions):
        make_example_session(root, subject=f"EX_{i:03d}", seed=i, **KINDS[kind])
    runs: dict[str, tuple] = {
        "direct, 1 session": ("--direct", root, "--first", 1),
        "direct": ("--direct", root),
        "batch, 1 session": ("--batch", root, "--first", 1),
        "batch, 1 worker": ("--batch", root),
        "batch, 2 workers": ("--batch", root, "--workers", 2),
    }
    return {
        name: run(*run_arguments, "--output", folder / f"out {kind} {name}") for name, run_arguments in runs.items()
    }


def run(*arguments: object) -> dict:
    started = time.perf_counter()
    command = [sys.executable, __file__, *map(str, arguments)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {"seconds": time.perf_counter() - started, **json.loads(printed.splitlines()[-1])}


def find_sessions(root: Path) -> list[Path]:
    return sorted(root.glob("*/Subjects/*/*/*"))


def convert_directly(sessions: list[Path], output: Path) -> dict:
    """What a batch does for each session, by the calls of the library."""
    from ibl_nwb import convert_document, make_document
    from ibl_nwb.verify import verify

    output.mkdir(parents=True)
    for i, session_path in enumerate(sessions):
        document = make_document(session_path, timezone=TIMEZONE)
        document.write_json(output / f"{i}.json")
        summary = convert_document(document, output / f"{i}.nwb", videos="copy")
        assert verify(summary.nwbfile_path, output / f"{i}.json").ok
        with summary.nwbfile_path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    return {"n_bytes": sum(path.stat().st_size for path in output.glob("*.nwb"))}


def convert_as_batch(sessions: list[Path], output: Path, workers: int) -> dict:
    from ibl_nwb.batch import convert_sessions

    summary = convert_sessions(sessions, output, timezone=TIMEZONE, workers=workers)
    assert summary.ok, summary.failed[0].error
    return {"n_bytes": sum(record.size for record in summary.records)}


def print_table(kind: str, n_sessions: int, runs: dict[str, dict]) -> None:
    """Throughput of each run of all sessions, and what the batch adds."""
    print(f"\n{kind}, {n_sessions} sessions\n{'':<20}{'time':>9}{'per hour':>10}{'of direct':>11}")
    for name in ("direct", "batch, 1 worker", "batch, 2 workers"):
        seconds = runs[name]["seconds"]
        share = runs["direct"]["seconds"] / seconds
        print(f"{name:<20}{seconds:>7.1f} s{n_sessions / seconds * 3600:>10.0f}{share:>10.2f}x")
    begin = runs["batch, 1 session"]["seconds"] - runs["direct, 1 session"]["seconds"]
    added = runs["batch, 1 worker"]["seconds"] - runs["direct"]["seconds"] - begin
    print(
        f"A batch takes {begin:.2f} s more to begin, and {added / max(1, n_sessions - 1):.2f} s more for each session."
    )


if __name__ == "__main__":
    main()
