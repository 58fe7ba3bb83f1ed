"""Sessions small enough for batches, and what the tests of batches ask about folders."""

import hashlib
import json
from concurrent.futures import Executor, Future
from pathlib import Path

import h5py
import numpy as np

from ibl_nwb.batch import BatchFolder
from ibl_nwb.testing import make_example_session

#: Behaviour of four trials.
TINY = dict(probes=(), cameras=(), audio=False, passive=False, revisions=False, n_trials=4)

#: What every batch is asked for, so that a session takes a fraction of a second.
WHEEL_ONLY = dict(include=["Wheel"], timezone="Europe/Lisbon")


def make_sessions(folder: Path, n: int) -> list[Path]:
    """Sessions of so many subjects, each with a wheel of its own."""
    return [make_example_session(folder, subject=f"EX_{i:03d}", seed=i, **TINY) for i in range(n)]


class HereExecutor(Executor):
    """Runs each call at once in this process."""

    def __init__(self):
        self.tasks = []

    def submit(self, fn, /, *args, **kwargs):
        self.tasks.append(json.loads(json.dumps(args[0])))  # a task is JSON
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def written_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that is not the batch's own, by path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".ibl_nwb_batch" not in path.parts and not path.name.startswith("batch_summary")
    }


def read_states(folder: Path) -> dict[str, str]:
    """State of each record, read as plain JSON."""
    paths = sorted((folder / ".ibl_nwb_batch" / "records").glob("*.json"))
    return {path.stem: json.loads(path.read_text())["state"] for path in paths}


def find_strays(folder: Path) -> list[str]:
    """Whatever is in an output folder that neither a record names nor belongs to the batch itself."""
    named = {file.path for record in BatchFolder(folder) for file in record.files}
    own = {"batch_summary.json", "batch_summary.html"}
    strays = {
        path for path in written_files(folder) if not any(f"{path}/".startswith(f"{name}/") for name in named)
    } - own
    strays |= {path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != ".ibl_nwb_batch"}
    state = folder / ".ibl_nwb_batch"
    strays |= {path.relative_to(folder).as_posix() for path in state.rglob("*.part")}
    strays |= {path.relative_to(folder).as_posix() for path in (state / "running").glob("*.json")}
    return sorted(strays)


def check_wheel_file(path: Path, session_path: Path) -> None:
    """The wheel in a file is the one of the session."""
    (source,) = (session_path / "alf").glob("_ibl_wheel.position.npy")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["processing/wheel/WheelPosition/data"][:], np.load(source))
