"""From whatever names a session to a conversion document, and from the document to an NWB file.

The calls behind the command line and scripts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from neuroconv.utils import dict_deep_update

from .alyx import AlyxRecord
from .converter import IBLConverter
from .document import ConversionDocument, blanks_for_dandi
from .errors import DocumentError
from .folder_facts import in_zone, parse_time
from .json_values import to_json
from .metadata_keys import without_blanks
from .products import dandi_path
from .writing import check_output
from .writing.videos import VideoPlacement

Backend = Literal["hdf5", "zarr"]


@dataclass
class InterfaceSummary:
    """What one interface did: the files it read, their size in bytes, and what a user should know about them."""

    name: str
    n_datasets: int
    n_bytes: int
    notes: list[str] = field(default_factory=list)


@dataclass
class ConversionSummary:
    """What a conversion did.

    Attributes
    ----------
    nwbfile_path : pathlib.Path
        The file that was written.
    interfaces : list of InterfaceSummary
        In the order in which they ran.
    seconds : float
        Wall time.
    size : int
        Size of the written file in bytes.
    missing_for_dandi : list of str
        Metadata that DANDI will ask for.
    notes : list of str
        What a user should know about the session as a whole.
    """

    nwbfile_path: Path
    interfaces: list[InterfaceSummary]
    seconds: float
    size: int
    missing_for_dandi: list[str]
    notes: list[str]


def make_document(
    source: str | Path,
    *,
    one: Any | None = None,
    metadata: dict | str | Path | None = None,
    alyx: AlyxRecord | str | Path | None = None,
    include: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    revision: str | None = None,
    session_start_time: str | None = None,
    timezone: str | None = None,
    stream_raw: bool = False,
    data_urls: Iterable[str] = (),
    progress_bar_class: Callable[..., Any] | None = None,
) -> ConversionDocument:
    """Collect everything about a session into one document, downloading its files where they are not at hand.

    Parameters
    ----------
    source : path-like
        The session folder; or its eid, or ``subject/date/number``, of which the files that the interfaces read are
        downloaded or looked up in ONE's cache (see :func:`ibl_nwb.acquire.open_source`).
    one : one.api.OneAlyx or one.api.One, optional
        From :func:`ibl_nwb.acquire.connect`, or any other. Default: none for a folder, else ONE's default database.
    metadata : dict or path-like, optional
        The user's metadata, or the JSON or YAML file that holds them.
    alyx : AlyxRecord or path-like, optional
        What Alyx says about the session, or the JSON file that holds it. Default: what the server says, or the record
        that was kept when the session was downloaded or searched for.
    include, exclude : iterable of str, optional
        Interfaces to run only, or to leave out.
    revision : str, optional
        Revision of the datasets, see :class:`ibl_nwb.session.ALFSession`.
    session_start_time : str, optional
        ISO 8601 time; wins over every other source of it. Without an offset it is in ``timezone``.
    timezone : str, optional
        IANA name of the zone of the rig's clock.
    stream_raw : bool, default: False
        Do not download compressed raw recordings that are not in ONE's cache yet: the document gets their addresses,
        and a conversion reads them from the server, block by block.
    data_urls : iterable of str, optional
        Addresses of raw recordings that a folder lacks, as :func:`ibl_nwb.acquire.stream_source` gives them.
    progress_bar_class : callable, optional
        Makes the progress bar of a download: ``tqdm.tqdm`` or something with its arguments and methods.
    """
    session_path, record, found_urls = _open_source(
        source, one, include, exclude, revision, progress_bar_class, stream_raw=stream_raw
    )
    alyx = record if alyx is None else alyx
    converter = IBLConverter.from_session(
        session_path,
        alyx=alyx,
        include=include,
        exclude=exclude,
        revision=revision,
        timezone=timezone,
        data_urls=[*data_urls, *found_urls],
    )
    zone = timezone or (converter.alyx.lab.timezone if converter.alyx and converter.alyx.lab else None)
    user_metadata = _with_start_time(read_metadata(metadata), session_start_time, zone)
    return ConversionDocument.from_converter(converter, metadata=user_metadata)


def _open_source(
    source: str | Path,
    one: Any | None,
    include: Iterable[str] | None,
    exclude: Iterable[str] | None,
    revision: str | None,
    progress_bar_class: Callable[..., Any] | None,
    *,
    stream_raw: bool,
) -> tuple[Path, AlyxRecord | None, list[str]]:
    """Folder, record, and what stays on a server; a path that is not there is left to the session's own error."""
    path = Path(str(source)).expanduser()
    if path.is_absolute() and not path.is_dir():
        return path, None, []
    from .acquire import open_source, stream_source

    options: dict[str, Any] = {
        "one": one,
        "interfaces": include or None,
        "exclude": exclude or None,
        "revision": revision,
        "progress_bar_class": progress_bar_class,
    }
    return stream_source(str(source), **options) if stream_raw else (*open_source(str(source), **options), [])


def edit_document(
    document: ConversionDocument,
    *,
    metadata: dict | str | Path | None = None,
    session_start_time: str | None = None,
    timezone: str | None = None,
) -> ConversionDocument:
    """A copy of a document with a user's metadata on top; parameters as in :func:`make_document`."""
    zone = timezone or (document.alyx.lab.timezone if document.alyx and document.alyx.lab else None)
    written = document.metadata.get("NWBFile", {}).get("session_start_time")
    user_metadata = _with_start_time(read_metadata(metadata), session_start_time or written, zone)
    merged = dict_deep_update(document.metadata, user_metadata, append_list=False, remove_repeats=False)
    return document.model_copy(update={"metadata": merged})


def _with_start_time(metadata: dict[str, Any], session_start_time: str | None, zone: str | None) -> dict[str, Any]:
    nwbfile_metadata = metadata.get("NWBFile", {})
    start_time = session_start_time or nwbfile_metadata.get("session_start_time")
    if start_time is None:
        return metadata
    parsed = parse_time(start_time)
    with_offset = in_zone(parsed, zone) or parsed.isoformat()
    return {**metadata, "NWBFile": {**nwbfile_metadata, "session_start_time": with_offset}}


def convert_document(
    document: ConversionDocument,
    output: str | Path | None = None,
    *,
    stub_test: bool = False,
    overwrite: bool = False,
    backend: Backend = "hdf5",
    videos: VideoPlacement = "leave",
    jobs: int | None = None,
    memory_mb: float | None = None,
    resume: bool = False,
    start_s: float | None = None,
    stop_s: float | None = None,
    progress_bar_class: Callable[..., Any] | None = None,
) -> ConversionSummary:
    """Write the NWB file that a document describes.

    Parameters
    ----------
    document : ConversionDocument
        The document.
    output : path-like, optional
        The file to write, or a folder to write it to under a name made from subject and session. Default: the current
        folder.
    stub_test : bool, default: False
        Write a small part of everything, to try a conversion.
    overwrite : bool, default: False
        Replace a file that is there.
    backend : {"hdf5", "zarr"}, default: "hdf5"
        Format of the file.
    videos : {"copy", "link", "leave"}, default: "leave"
        Whether video files are copied beside the NWB file, linked there, or left where they are.
    jobs : int, optional
        Threads that compress raw recordings. Default: one for each processor.
    memory_mb : float, optional
        Most memory in MB for samples of raw recordings on their way. Default: a quarter of what is free.
    resume : bool, default: False
        Go on where an earlier conversion of the same inputs was killed or failed, if one was; and keep what is written
        if this one fails.
    start_s, stop_s : float, optional
        Of raw recordings of probes and sync boards, write only the samples from ``start_s`` on and before ``stop_s``,
        in seconds of the session. All else is written whole.
    progress_bar_class : callable, optional
        Makes the progress bars, one for each interface: ``tqdm.tqdm`` or something with its arguments and methods.

    Returns
    -------
    ConversionSummary

    Raises
    ------
    IBLNWBError
        Whatever is wrong; nothing is left under the final name.
    """
    started = time.perf_counter()
    nwbfile_path = resolve_output(output, document.metadata, backend)
    check_output(nwbfile_path, overwrite=overwrite)
    converter = document.make_converter()
    metadata = converter.merge_metadata(document.metadata)
    options = _with_stub(converter, document.conversion_options) if stub_test else document.conversion_options
    converter.progress_bar_class = progress_bar_class
    converter.run_conversion(
        nwbfile_path,
        metadata=metadata,
        overwrite=overwrite,
        backend=backend,
        conversion_options=options,
        videos=videos,
        jobs=jobs,
        memory_mb=memory_mb,
        resume=resume,
        start_s=start_s,
        stop_s=stop_s,
    )
    return ConversionSummary(
        nwbfile_path=nwbfile_path,
        interfaces=_summarise(converter),
        seconds=time.perf_counter() - started,
        size=_size(nwbfile_path),
        missing_for_dandi=blanks_for_dandi(metadata),
        notes=converter.notes,
    )


def read_metadata(metadata: dict | str | Path | None) -> dict[str, Any]:
    """The user's metadata, from the JSON or YAML file that holds them if it is not a dict already.

    Raises
    ------
    DocumentError
        If the file cannot be read or does not hold a mapping.
    """
    if metadata is None:
        return {}
    if isinstance(metadata, dict):
        return without_blanks(metadata)
    import yaml

    path = Path(metadata)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML too
    except OSError as error:
        raise DocumentError(f"Cannot read the metadata '{path}': {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise DocumentError(f"The metadata '{path}' are neither JSON nor YAML: {error}.") from error
    if not isinstance(content, dict):
        raise DocumentError(f"The metadata '{path}' hold no blocks such as NWBFile or Subject.")
    return without_blanks(json.loads(json.dumps(content, default=to_json)))


def resolve_output(output: str | Path | None, metadata: dict[str, Any], backend: Backend) -> Path:
    """The file to write: what was given, or a name after DANDI's rule in the folder that was given.

    Parameters
    ----------
    output : path-like or None
        A file (its suffix is .nwb or .zarr) or a folder.
    metadata : dict
        Where subject and session are taken from.
    backend : {"hdf5", "zarr"}
        Decides the suffix.
    """
    path = Path(output) if output is not None else Path.cwd()
    if path.suffix in (".nwb", ".zarr") and not (path.is_dir() and path.suffix != ".zarr"):
        return path
    return path / dandi_path(metadata, backend=backend).name


def _with_stub(converter: IBLConverter, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {**options.get(name, {}), "stub_test": True} for name in converter.data_interface_objects}


def _summarise(converter: IBLConverter) -> list[InterfaceSummary]:
    summaries = []
    for name, interface in converter.data_interface_objects.items():
        datasets = {dataset.path: dataset.size for found in interface.sources.values() for dataset in found}
        summaries.append(InterfaceSummary(name, len(datasets), sum(datasets.values()), list(interface.notes)))
    return summaries


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
