"""Datasets to files: the one place where the example session's small datasets are written."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._random import dataset_uuid

#: An array becomes npy, columns become parquet (or npz, by the name) and text is written as it is.
Content = NDArray[Any] | Mapping[str, NDArray[Any]] | str

#: Path below the session folder to content.
Datasets = dict[str, Content]


def write_datasets(session_path: Path, datasets: Datasets) -> None:
    """Write each dataset below the session folder."""
    for relative_path, content in datasets.items():
        path = session_path / relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8", newline="\n")
        elif isinstance(content, Mapping) and path.suffix == ".npz":
            np.savez(path, **content)  # type: ignore[arg-type]
        elif isinstance(content, Mapping):
            _write_parquet(path, content)
        else:
            np.save(path, content, allow_pickle=False)


def in_revision(datasets: Datasets, revision: str) -> Datasets:
    """Move datasets into the folder of a revision, ``alf/x.y.npy`` to ``alf/#2024-05-06#/x.y.npy``."""
    return {
        str(PurePosixPath(path).parent / f"#{revision}#" / PurePosixPath(path).name): content
        for path, content in datasets.items()
    }


def add_uuids_to_names(session_path: Path, seed: int) -> None:
    """Rename every file as storage copies are named, ``spikes.times.<uuid>.npy``."""
    for path in sorted(path for path in session_path.rglob("*") if path.is_file()):
        identifier = dataset_uuid(seed, path.relative_to(session_path).as_posix())
        path.rename(path.with_name(f"{path.stem}.{identifier}{path.suffix}"))


def _write_parquet(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    import pandas as pd

    pd.DataFrame(dict(columns)).to_parquet(path)
