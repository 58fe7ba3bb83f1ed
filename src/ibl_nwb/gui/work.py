"""What runs in processes of its own: the calls behind the command line, with progress."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .progress import ProgressWriter

if TYPE_CHECKING:
    from ..conversion import ConversionSummary
    from ..publish import UploadRecord, UploadReport, ValidationReport
    from ..verify import VerificationReport

_logger = logging.getLogger(__name__)

#: How much longer a raw recording takes than another interface, roughly.
_RAW_WEIGHT = 100.0


@dataclass
class CheckedSource:
    """A verification, and which interfaces read each source.

    Attributes
    ----------
    report : VerificationReport
        What was found.
    interfaces : dict of str to str
        Names of interfaces, separated by commas, by path below the session folder.
    """

    report: VerificationReport
    interfaces: dict[str, str]


def run_conversion(
    document_path: Path, output: Path, options: dict[str, Any], *, progress: ProgressWriter
) -> ConversionSummary:
    """Convert a document; arguments as of :func:`ibl_nwb.conversion.convert_document`."""
    from ..conversion import convert_document
    from ..document import ConversionDocument

    document = ConversionDocument.read_json(document_path)
    progress.expect({name: _RAW_WEIGHT if _is_raw(name) else 1.0 for name in document.source_data})
    _logger.info("Converting '%s' to '%s'.", document.session.session_path, output)
    summary = convert_document(document, output, progress_bar_class=progress.bar, **options)
    _logger.info("Wrote '%s' (%d bytes) in %.1f s.", summary.nwbfile_path, summary.size, summary.seconds)
    return summary


def _is_raw(name: str) -> bool:
    """Whether an interface, given by its instance name, is of a raw recording."""
    from ..interfaces import interface_list
    from ..interfaces.raw_recording import RawRecordingMixin

    families = [interface for interface in interface_list if name.startswith(interface.family)]
    return bool(families) and issubclass(max(families, key=lambda found: len(found.family)), RawRecordingMixin)


def run_verification(
    nwbfile_path: Path, session: Path | None, sample: float | None = None, *, progress: ProgressWriter
) -> CheckedSource:
    """Compare a file with its session, a folder or a document; arguments as of :func:`ibl_nwb.verify.verify`."""
    from ..provenance import TABLE_NAME
    from ..verify import verify
    from ..verify.nwb_reading import NWBReader

    report = verify(nwbfile_path, session, sample=sample, progress_bar_class=progress.bar)
    with NWBReader(nwbfile_path) as nwb:
        paths = nwb.read_column(f"analysis/{TABLE_NAME}", "relative_path")
        readers = nwb.read_column(f"analysis/{TABLE_NAME}", "interfaces")
    listed = {} if paths is None or readers is None else dict(zip(map(str, paths), map(str, readers), strict=True))
    return CheckedSource(report, listed)


def run_validation(nwbfile_path: Path, *, progress: ProgressWriter) -> ValidationReport:
    """Validate a file; see :func:`ibl_nwb.publish.validate_files`."""
    from ..publish import validate_files

    return validate_files([nwbfile_path], progress_bar_class=progress.bar)


def run_upload(folder: Path, dandiset: str, options: dict[str, Any], *, progress: ProgressWriter) -> UploadReport:
    """Upload a folder; arguments as of :func:`ibl_nwb.publish.upload_folder`."""
    from ..publish import upload_folder
    from ..publish.files import find_nwb_files

    def tell(record: UploadRecord) -> None:
        _logger.info("%s: %s%s", record.state, record.path, f": {record.error}" if record.error else "")
        settled.update(1)

    settled = progress.bar(total=len(find_nwb_files([folder])), desc="Files settled", unit="file")
    with settled:
        return upload_folder(folder, dandiset, progress_bar_class=progress.bar, on_record=tell, **options)
