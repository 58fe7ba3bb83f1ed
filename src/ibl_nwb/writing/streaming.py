"""Write an NWB file whose large recordings are compressed by several threads, straight into their chunks.

The file is written with those datasets declared but empty. Then their chunks are filled in: each unit, a row of chunks,
is read, inflated, cut, shuffled and compressed in a thread and stored as it is (``H5Dwrite_chunk``), in order. Nothing
else in the file, and no filter of it, is out of the ordinary: any HDF5 reader opens it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Literal

from hdmf.data_utils import DataIO
from neuroconv.tools.nwb_helpers import BACKEND_NWB_IO, configure_backend, get_default_backend_configuration
from neuroconv.tools.spikeinterface.spikeinterfacerecordingdatachunkiterator import (
    SpikeInterfaceRecordingDataChunkIterator,
)
from pynwb import NWBFile, TimeSeries

from .atomic import atomic_output, clear_disk_errors, journal_path
from .filling import Settings, fill_datasets
from .fingerprint import describe_nwbfile, versions
from .journal import Journal
from .streamed import StreamedData
from .traces import StreamedTraces

Backend = Literal["hdf5", "zarr"]
Compression = Literal["gzip", "blosc", "zstd", "none"]

#: NeuroConv's names of the filters of streamed data, and their options.
_FILTERS: dict[tuple[str, str], tuple[list[str] | None, list[dict[str, Any] | None] | None]] = {
    ("hdf5", "gzip"): (["shuffle", "gzip"], [None, {"level": 1}]),
    ("zarr", "gzip"): (["shuffle", "gzip"], [None, {"level": 1}]),
    ("hdf5", "blosc"): (["Blosc"], [{"cname": "zstd", "clevel": 1, "shuffle": 2}]),
    ("zarr", "blosc"): (["blosc"], [{"cname": "zstd", "clevel": 1, "shuffle": 2}]),
    ("hdf5", "zstd"): (["shuffle", "Zstd"], [None, {"clevel": 1}]),
    ("zarr", "zstd"): (["shuffle", "zstd"], [None, {"level": 1}]),
    ("hdf5", "none"): (None, None),
    ("zarr", "none"): (None, None),
}


def write_nwbfile(
    nwbfile: NWBFile,
    path: str | Path,
    *,
    backend: Backend | None = None,
    backend_configuration: Any = None,
    overwrite: bool = False,
    jobs: int | None = None,
    memory_mb: float | None = None,
    compression: Compression = "gzip",
    progress_bar_class: Callable[..., Any] | None = None,
    resume: bool = False,
    inputs: Any = None,
) -> None:
    """Write an NWB file: recordings with several threads, all else as NeuroConv does.

    Recordings are series whose data are :class:`StreamedTraces` or
    :class:`~ibl_nwb.writing.columns.StreamedColumns`, or NeuroConv's iterator over a SpikeInterface recording, which is
    what its interfaces make. A file appears under its name only when it is complete.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile
        The file in memory.
    path : path-like
        The file to write, or the folder for Zarr.
    backend : {"hdf5", "zarr"}, optional
        Format. Default: that of ``backend_configuration``, else "hdf5".
    backend_configuration : HDF5BackendConfiguration or ZarrBackendConfiguration, optional
        Chunks and filters of every dataset, as NeuroConv has them. Streamed data with filters that only HDF5 or Zarr
        itself can apply are written by one thread. Default: NeuroConv's, with ``compression`` for streamed data.
    overwrite : bool, default: False
        Replace a file that is there.
    jobs : int, optional
        Threads. Default: one for each processor.
    memory_mb : float, optional
        Most memory for samples on their way, see :func:`ibl_nwb.writing.pipeline.plan_resources`.
    compression : {"gzip", "blosc", "zstd", "none"}, default: "gzip"
        Compression of streamed data where there is no ``backend_configuration``. Any reader has gzip; in HDF5 blosc and
        zstd need the plugins of ``hdf5plugin``.
    progress_bar_class : callable, optional
        ``tqdm.tqdm`` or something with its arguments and methods: a bar for each of the streamed data that does not
        bring its own.
    resume : bool, default: False
        Go on with what an earlier call, killed or failed, left unfinished of this very file; if it left nothing, begin.
        If this call fails, what it wrote is kept for the next.
    inputs : any JSON values, optional
        What else tells this conversion from others, such as sizes and dates of files whose data are not in memory.

    Raises
    ------
    OutputExistsError, OutputNotWritableError
        If the file exists and ``overwrite`` is False, or cannot be written, e.g. because the disk is full.
    DatasetUnreadableError
        If a source is damaged.
    UsageError
        If the unfinished file is of other inputs or versions, or there is not enough memory for one row of chunks.
    """
    with atomic_output(Path(path), overwrite=overwrite, resume=resume) as part:
        write_part(
            nwbfile,
            part,
            backend=backend,
            backend_configuration=backend_configuration,
            jobs=jobs,
            memory_mb=memory_mb,
            compression=compression,
            progress_bar_class=progress_bar_class,
            resume=resume,
            inputs=inputs,
        )


def write_part(
    nwbfile: NWBFile,
    part: Path,
    *,
    backend: Backend | None = None,
    backend_configuration: Any = None,
    jobs: int | None = None,
    memory_mb: float | None = None,
    compression: Compression = "gzip",
    progress_bar_class: Callable[..., Any] | None = None,
    resume: bool = False,
    inputs: Any = None,
) -> None:
    """Do what :func:`write_nwbfile` does within a block of :func:`~ibl_nwb.writing.atomic_output`.

    Parameters
    ----------
    nwbfile : pynwb.NWBFile
        The file in memory.
    part : pathlib.Path
        Where to write, as the block gives it.
    backend, backend_configuration, jobs, memory_mb, compression, progress_bar_class, resume, inputs
        As in :func:`write_nwbfile`; ``resume`` as given to the block.
    """
    backend = backend or (backend_configuration.backend if backend_configuration is not None else "hdf5")
    series = _streamed_series(nwbfile)
    streams = [_data(one) for one in series]
    settings = Settings(jobs, memory_mb, progress_bar_class)
    for data in streams:  # refuse before anything is written
        tiling = data.tiling(data.chunk_shape, is_shuffled=True)
        settings.resources(tiling, data.blocks.held_bytes(tiling))
    journal = Journal(journal_path(part))
    options = {"compression": compression, "configuration": repr(backend_configuration), "backend": backend}
    made_of = _made_of(nwbfile, streams, options, inputs) if streams else {}
    with clear_disk_errors(part.parent):
        if resume and part.exists() and journal.is_usable:
            journal.check(made_of)
            journal.go_on()
        else:
            _remove_part(part)
            configuration = backend_configuration or _default_configuration(nwbfile, backend, compression)
            locations = _write_declared(nwbfile, part, configuration, series)
            if not series:
                return
            journal.begin(made_of, locations)
        with closing(journal):
            fill_datasets(part, backend, list(zip(journal.locations, streams, strict=True)), journal, settings)


def _streamed_series(nwbfile: NWBFile) -> list[TimeSeries]:
    """Series of a file whose data are streamed, NeuroConv's iterators over recordings among them, traces first.

    While traces are read, the sync word beside them is kept for its own series.
    """
    series = [child for child in nwbfile.all_children() if isinstance(child, TimeSeries)]
    for one in series:
        if type(_data(one)) is SpikeInterfaceRecordingDataChunkIterator:
            one.fields["data"] = StreamedTraces.from_iterator(_data(one))
    streamed = [one for one in series if isinstance(_data(one), StreamedData)]
    return sorted(streamed, key=lambda one: not isinstance(_data(one), StreamedTraces))


def _data(series: TimeSeries) -> Any:
    data = series.fields.get("data")
    return data.data if isinstance(data, DataIO) else data


def _made_of(nwbfile: NWBFile, streams: list[StreamedData], options: Any, inputs: Any) -> dict[str, Any]:
    """Everything that decides what is in the file."""
    return {
        "raw recordings": [[data.blocks.identity(), data.chunk_shape] for data in streams],
        "data or metadata": describe_nwbfile(nwbfile),
        "versions of packages": versions(),
        "options": options,
        "inputs": inputs,
    }


def _default_configuration(nwbfile: NWBFile, backend: Backend, compression: Compression) -> Any:
    """NeuroConv's configuration of all datasets, with our filters for streamed data."""
    configuration = get_default_backend_configuration(nwbfile, backend=backend)
    streamed = {series.object_id for series in _streamed_series(nwbfile)}
    for dataset in configuration.dataset_configurations.values():
        if dataset.object_id in streamed and dataset.dataset_name == "data":
            dataset.compressors, dataset.compressor_options = None, None  # checked against one another at each step
            dataset.compressors, dataset.compressor_options = _FILTERS[backend, compression]
    return configuration


def _write_declared(nwbfile: NWBFile, part: Path, configuration: Any, series: list[TimeSeries]) -> list[str]:
    """Write the file with nothing in its streamed datasets, and give their paths in it."""
    streams = [_data(one) for one in series]
    configure_backend(nwbfile, configuration)
    with ExitStack() as stack:
        for data in streams:
            stack.enter_context(data.declared_only())
        with BACKEND_NWB_IO[configuration.backend](str(part), mode="w") as io:
            io.write(nwbfile)
            builders = [io.manager.get_builder(one) for one in series]
    if part.is_file():
        _flush(part)  # the journal, which comes next, says that all of it is there
    return ["/".join((*builder.path.split("/")[1:], "data")) for builder in builders]


def _remove_part(part: Path) -> None:
    """Remove what an earlier process left that did not get far, or was ended while it closed the file."""
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
