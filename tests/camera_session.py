"""What the tests of a camera's families share: camera times, a conversion beside a foreign interface, a check."""

from datetime import UTC, datetime

import numpy as np
import pynwb
from neuroconv import NWBConverter
from neuroconv.tools.testing import MockTimeSeriesInterface
from nwbinspector import Importance, inspect_nwbfile, load_config

CAMERAS = ("left", "right", "body")
LABELS = {"left": "LeftCamera", "right": "RightCamera", "body": "BodyCamera"}
SUBJECT = {"subject_id": "M1", "sex": "F", "species": "Mus musculus", "age": "P90D"}


def make_times(n_times, seed=0):
    return 12.0 + np.cumsum(np.random.default_rng(seed).uniform(0.01, 0.02, n_times))


def write_times(folder, camera, n_times):
    (folder / "alf").mkdir(parents=True, exist_ok=True)
    np.save(folder / f"alf/_ibl_{camera}Camera.times.npy", make_times(n_times))


def convert(interface_class, folder, nwbfile_path, *, sources=(), backend="hdf5", foreign=True):
    """Convert instances of one class (one per dict of further arguments), beside an interface of NeuroConv."""

    class Converter(NWBConverter):
        data_interface_classes = {
            **({"Foreign": MockTimeSeriesInterface} if foreign else {}),
            **{f"Ours{index}": interface_class for index in range(len(sources))},
        }

    ours = {f"Ours{index}": {"session_path": str(folder), **source} for index, source in enumerate(sources)}
    converter = Converter({**({"Foreign": {}} if foreign else {}), **ours})
    metadata = converter.get_metadata()
    metadata["NWBFile"]["session_start_time"] = datetime(2023, 5, 18, tzinfo=UTC)
    metadata["Subject"] = SUBJECT
    converter.validate_metadata(metadata)
    converter.run_conversion(nwbfile_path, metadata=metadata, backend=backend, overwrite=True)
    return nwbfile_path


def assert_valid(nwbfile_path):
    """No error of pynwb's validator; no CRITICAL and no BEST_PRACTICE_VIOLATION of the Inspector as DANDI sets it."""
    assert pynwb.validate(path=nwbfile_path) == []
    found = inspect_nwbfile(
        nwbfile_path=nwbfile_path,
        skip_validate=True,
        config=load_config("dandi"),
        importance_threshold=Importance.BEST_PRACTICE_VIOLATION,
    )
    assert [f"{message.object_name}: {message.message}" for message in found] == []
