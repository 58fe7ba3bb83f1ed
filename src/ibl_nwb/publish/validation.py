"""NWB Inspector, pynwb's validator and dandi's own checks, together and without network."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import DatasetUnreadableError, UsageError
from .files import dandiset_root, find_external_files, find_nwb_files, resolve_external
from .findings import Finding, Level, ValidationReport

#: Grades of the NWB Inspector and severities of dandi.
_LEVELS: dict[str, Level] = {
    "ERROR": "error",
    "PYNWB_VALIDATION": "error",
    "CRITICAL": "error",
    "BEST_PRACTICE_VIOLATION": "violation",
    "WARNING": "violation",
    "BEST_PRACTICE_SUGGESTION": "suggestion",
    "HINT": "suggestion",
    "INFO": "suggestion",
}

_NO_DANDISET = (
    "Names and folders were not checked for {count} outside any Dandiset: there is neither a dandiset.yaml above nor a "
    "folder sub-X around. 'dandi validate' calls that NO_DANDISET_FOUND; 'ibl-nwb batch' makes such folders."
)


def validate_files(paths: Iterable[str | Path], *, progress_bar_class: Any = None) -> ValidationReport:
    """Validate NWB files as DANDI will, and list what is against best practice.

    Three validators look at each file: the NWB Inspector as DANDI configures it, pynwb's validator against the schemas
    in the file, and what ``dandi validate`` checks besides (name and folder, metadata against DANDI's schema). A video
    that the file refers to must be there, inside the Dandiset. No network is used.

    Parameters
    ----------
    paths : iterable of path-like
        NWB files, HDF5 or Zarr, and folders to search.
    progress_bar_class : type of tqdm.tqdm, optional
        Shows which file is being validated.

    Returns
    -------
    ValidationReport

    Raises
    ------
    UsageError
        If a path is not there, there is no NWB file, or dandi is not installed.
    """
    check_dandi_is_installed()
    files = find_nwb_files(paths)
    findings: list[Finding] = []
    bar = progress_bar_class(files, desc="Validating", unit="file") if progress_bar_class else files
    for path in bar:
        findings += validate_file(path, dandiset_root(path))
    n_outside = sum(dandiset_root(path) is None for path in files)
    count = f"{n_outside} file{'s' * (n_outside > 1)}"
    return ValidationReport(files, findings, [_NO_DANDISET.format(count=count)] if n_outside else [])


def validate_file(path: Path, root: Path | None) -> list[Finding]:
    """Validate one NWB file.

    Parameters
    ----------
    path : pathlib.Path
        HDF5 file or Zarr folder.
    root : pathlib.Path or None
        Root of the Dandiset; None leaves out what depends on it.
    """
    try:
        videos = find_external_files(path)
    except DatasetUnreadableError as error:
        return [Finding(path, "error", "IBL.UNREADABLE", "ibl_nwb", str(error))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what readers warn of is found by the checks, as findings
        return [
            *_ask_dandi(path, root),
            *(_ask_pynwb(path) if path.is_dir() else ()),
            *_ask_inspector(path),
            *_check_videos(path, root, videos),
        ]


def check_dandi_is_installed() -> None:
    """Raise a UsageError that says how to install dandi if it is not."""
    from importlib.util import find_spec

    if find_spec("dandi") is None or find_spec("nwbinspector") is None:
        raise UsageError('This needs dandi, which is not installed. Install it: pip install "ibl-nwb[dandi]"')


def _ask_dandi(path: Path, root: Path | None) -> Iterator[Finding]:
    """Name, folder and metadata; for HDF5, dandi runs pynwb's validator too."""
    from dandi.exceptions import UnknownAssetError
    from dandi.files import dandi_file
    from dandi.organize import validate_organized_path
    from dandischema.models import get_schema_version

    try:
        asset = dandi_file(path, root)
    except UnknownAssetError as error:
        yield Finding(path, "error", "IBL.NOT_A_ZARR_NAME", "ibl_nwb", f"{error}.")
        return
    # With a schema version the metadata are checked, which an upload needs; without it dandi would run the Inspector.
    results = asset.get_validation_errors(schema_version=get_schema_version())
    if path.is_dir() and root is not None:  # dandi checks the names of HDF5 files only
        results += validate_organized_path(asset.path.removesuffix(".zarr"), path, root)
    for result in results:
        if result.severity is None:
            continue
        places = "; ".join(map(str, (result.within_asset_paths or {}).values()))
        check = "pynwb.validate" if result.id.startswith("pynwb.") and places else result.id
        yield Finding(path, _LEVELS[result.severity.name], check, result.origin.validator.value, _text(result), places)


def _text(result: Any) -> str:
    message = " ".join(str(result.message or result.id).split())
    if result.path_regex and "layout" in str(result.origin.standard).lower():
        message += f" ({result.path_regex})"
    return message


def _ask_pynwb(path: Path) -> Iterator[Finding]:
    """The schemas in a Zarr folder, which ``pynwb.validate(path=...)`` cannot open."""
    from hdmf.validate import ValidatorMap
    from hdmf_zarr import NWBZarrIO
    from pynwb.validation import get_cached_namespaces_to_validate

    try:
        with NWBZarrIO(str(path), mode="r") as io:
            catalog = io.manager.namespace_catalog
            names, _, _ = get_cached_namespaces_to_validate(io=io)
            namespaces = [catalog.get_namespace(name) for name in names]
            # A namespace that was loaded before in this process may know no more than its own types.
            whole = [namespace for namespace in namespaces if "NWBFile" in namespace.get_registered_types()]
            content = io.read_builder()
            errors = [
                e for one in whole or [catalog.get_namespace("core")] for e in ValidatorMap(one).validate(content)
            ]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the file is what was asked for
        yield Finding(path, "error", "pynwb.GENERIC", "pynwb", f"{type(error).__name__}: {error}")
        return
    for found in errors:
        yield Finding(path, "error", "pynwb.validate", "pynwb", f"Failed to validate. {found.reason}", found.location)


def _ask_inspector(path: Path) -> Iterator[Finding]:
    from nwbinspector import inspect_nwbfile, load_config

    for message in inspect_nwbfile(nwbfile_path=path, skip_validate=True, config=load_config("dandi")):
        if message is None:
            continue
        if message.importance.name == "ERROR":
            yield _describe_failure(path, message)
            continue
        name = " ".join(filter(None, (message.object_type, message.object_name)))
        place = message.location or name
        level = _LEVELS[message.importance.name]
        yield Finding(path, level, message.check_function_name, "nwbinspector", message.message, place)


def _describe_failure(path: Path, message: Any) -> Finding:
    """A check that broke, or a file that cannot be read; the text of the message is a traceback."""
    from nwbinspector import available_checks

    reason = message.message.strip().split("\n")[-1]
    broken = re.match(r"During evaluation of '(\w+)'", message.check_function_name)
    if broken is None:
        return Finding(path, "error", "IBL.UNREADABLE", "nwbinspector", reason)
    (importance,) = {check.importance.name for check in available_checks if check.__name__ == broken[1]}
    # DANDI does not run the checks whose findings would be suggestions.
    level = _LEVELS[importance if importance == "BEST_PRACTICE_SUGGESTION" else "ERROR"]
    return Finding(path, level, broken[1], "nwbinspector", f"The check itself failed: {reason}")


def _check_videos(path: Path, root: Path | None, videos: list[str]) -> Iterator[Finding]:
    for external in videos:
        video = resolve_external(path, external)
        is_inside = root is None or (not Path(external).is_absolute() and root in video.parents)
        if video.is_file() and not is_inside:
            message = f"The video '{external}' is not in the folder '{root}', and cannot be uploaded with the file."
            yield Finding(path, "error", "IBL.VIDEO_ELSEWHERE", "ibl_nwb", message)
        elif Path(external).is_absolute() and not video.is_file():  # of relative paths, the Inspector says so
            yield Finding(path, "error", "IBL.VIDEO_MISSING", "ibl_nwb", f"The video '{external}' is not there.")
