"""What every family is checked for: written by itself and beside a foreign interface, valid, liked by the Inspector."""

import shutil
from datetime import UTC, datetime

import h5py
from neuroconv import NWBConverter
from neuroconv.tools.testing import MockTimeSeriesInterface
from nwbinspector import Importance, inspect_nwbfile, load_config
from pynwb import read_nwb, validate

from ibl_nwb.verify import verify

START_TIME = datetime(2023, 5, 18, 10, tzinfo=UTC)
SUBJECT = {"subject_id": "EX_001", "sex": "F", "species": "Mus musculus", "age": "P100D"}


def convert(instances, path, *, metadata=None, options=None, backend="hdf5", runs=1):
    """Convert interfaces, given as name to (class, source data), in one converter with a foreign one.

    Returns what is read from the file.
    """

    class Converter(NWBConverter):
        data_interface_classes = {
            "Foreign": MockTimeSeriesInterface,
            **{name: interface for name, (interface, _) in instances.items()},
        }

    converter = Converter({"Foreign": {}, **{name: source for name, (_, source) in instances.items()}})
    complete = converter.get_metadata()
    complete["NWBFile"].update(session_start_time=START_TIME, session_id="1")
    complete["Subject"].update(SUBJECT)
    complete.deep_update(metadata or {})
    for _ in range(runs):
        converter.run_conversion(
            path, metadata=complete, overwrite=True, backend=backend, conversion_options=options or {}
        )
    nwbfile = read_nwb(path)
    assert len([name for name in nwbfile.acquisition if name.startswith("TimeSeries")]) >= 1
    return nwbfile


def check_valid(path, ignore=()):
    """No error of pynwb's validator; nothing that the Inspector, set as DANDI has it, finds worse than a suggestion."""
    assert validate(path=str(path)) == []
    messages = inspect_nwbfile(
        nwbfile_path=path,
        skip_validate=True,
        config=load_config("dandi"),
        importance_threshold=Importance.BEST_PRACTICE_VIOLATION,
        ignore=[*ignore],
    )
    ours = [m for m in messages if m.object_name not in ("TimeSeries",)]  # the foreign interface's own
    assert [f"{m.check_function_name}: {m.object_name}: {m.message}" for m in ours] == []


def differences_after(damage, nwbfile_path, session_path, folder):
    """What verify finds in a copy of a file after a damage, a function that is given the open copy."""
    copy = shutil.copy(nwbfile_path, folder / "damaged.nwb")
    with h5py.File(copy, "r+") as file:
        damage(file)
    return verify(copy, session_path).differences
