"""One session of a batch: converted, verified, hashed, and only then put where it belongs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DatasetMissingError, IBLNWBError, OutputExistsError, OutputNotWritableError, VerificationError
from ..products import Product, dandi_path, make_product, modalities_of
from ..writing.atomic import clear_disk_errors
from .files import WrittenFile, flush_to_disk, remove
from .options import ConversionTask
from .progress import ProgressFile
from .records import BatchFolder, BatchRecord, SourceFile, now, write_whole

if TYPE_CHECKING:
    from ..document import ConversionDocument

_logger = logging.getLogger(__name__)

#: How many of the differences that a verification found are told in a record.
_DIFFERENCES_TOLD = 3

#: How long to wait for a process that is just ending and was at work on the same session.
_LOCK_WAIT_S = 30.0


def convert_one(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Convert one session in this process.

    It needs nothing but the task, the session's files and the output folder, so that it can be sent to any
    ``concurrent.futures.Executor``, on another machine too if both see these folders. What becomes of each product is
    in its record at any moment; a product that fails does not keep the other from being made.

    Parameters
    ----------
    task : dict
        A :class:`~ibl_nwb.batch.options.ConversionTask` as JSON values.

    Returns
    -------
    list of dict
        The records of the products, :class:`~ibl_nwb.batch.records.BatchRecord` as JSON values.
    """
    checked = ConversionTask.model_validate(task)
    folder = BatchFolder(checked.folder)
    with (
        _alone(folder, checked.key),
        _log_to(folder.log_path(checked.key)),
        ProgressFile(folder.progress_path(checked.key)) as progress,
    ):
        records = [_convert_product(checked, folder, product, progress) for product in checked.products]
    return [record.model_dump(mode="json") for record in records]


def _convert_product(
    task: ConversionTask, folder: BatchFolder, product: Product, progress: ProgressFile
) -> BatchRecord:
    record = folder.read(f"{task.key}.{product}")
    if record is None:
        raise OutputNotWritableError(f"'{folder.record_path(f'{task.key}.{product}')}' is not there any more.")
    record.settle(folder.folder)  # if it says that a process is at work on it, that process is gone
    if record.state != "queued":
        return record
    record.state, record.error, record.started, record.attempts = "running", None, now(), record.attempts + 1
    folder.write(record)
    started = time.perf_counter()
    work = folder.work_path(record.name)
    try:
        remove(work)
        with clear_disk_errors(folder.folder):
            _make(task, folder, record, work, progress)
        record.finished, record.seconds = now(), time.perf_counter() - started
    except MemoryError:
        _logger.exception("%s", record.name)
        record.fail("There was not enough memory. Try fewer --workers, or less --memory.")
    except IBLNWBError as error:
        _logger.exception("%s", record.name)
        record.fail(str(error))
    except Exception as error:  # noqa: BLE001 - a defect costs this product, not the others; the log has the traceback
        _logger.exception("%s", record.name)
        record.fail(f"{type(error).__name__}: {error} (traceback in '{folder.log_path(task.key)}')")
    finally:
        remove(work)
    folder.write(record)
    return record


def _make(task: ConversionTask, folder: BatchFolder, record: BatchRecord, work: Path, progress: ProgressFile) -> None:
    """Make a product in a folder of its own, and move it to its place when nothing can be wrong with it any more."""
    from ..conversion import convert_document
    from ..verify import verify
    from ..writing.fingerprint import versions
    from ..writing.videos import place_videos

    progress.begin(record.product, "reading metadata")
    whole = _document_of(task)
    record.eid = whole.session.eid or record.eid
    record.versions = versions()
    document = make_product(whole, record.product)
    if document is None:
        record.state, record.notes = "empty", [f"The session has nothing for the {record.product} file."]
        record.remove_replaced(folder.folder)
        return
    write_whole(folder.document_path(record.name), document.model_dump_json(indent=2) + "\n")
    suffix = ".nwb.zarr" if task.options.backend == "zarr" else ".nwb"
    written = work / f"session{suffix}"
    jobs, memory_mb = task.resources()
    summary = convert_document(
        document,
        written,
        backend=task.options.backend,
        jobs=jobs,
        memory_mb=memory_mb,
        progress_bar_class=progress.bar,
    )
    record.notes = summary.notes + [f"{row.name}: {note}" for row in summary.interfaces for note in row.notes]
    record.notes += [f"DANDI will ask for {', '.join(summary.missing_for_dandi)}."] if summary.missing_for_dandi else []

    target = dandi_path(document.metadata, record.product, modalities_of(written), task.options.backend)
    written = written.rename(work / target.name)
    progress.begin(record.product, "placing videos")
    place_videos(written, task.options.videos)
    if task.verify:
        progress.begin(record.product, "verifying")
        _verify(verify, task, folder, record, written)
    progress.begin(record.product, "hashing")
    record.sources = _sources_of(written)
    _publish(task, folder, record, work, target.parent.name, written)


def _document_of(task: ConversionTask) -> ConversionDocument:
    from ..conversion import edit_document, make_document
    from ..document import ConversionDocument

    options = task.options
    if task.document is not None:
        document = ConversionDocument.read_json(task.document)
        return edit_document(document, metadata=options.metadata, timezone=options.timezone)
    if task.session_path is None:
        raise DatasetMissingError("The task names neither a session folder nor a document.")
    return make_document(
        task.session_path,
        metadata=options.metadata,
        alyx=task.alyx,
        data_urls=task.data_urls,
        include=options.include,
        exclude=options.exclude,
        revision=options.revision,
        timezone=options.timezone,
    )


def _verify(verify: Any, task: ConversionTask, folder: BatchFolder, record: BatchRecord, written: Path) -> None:
    report = verify(written, folder.document_path(record.name), sample=task.sample)
    write_whole(folder.report_path(record.name), json.dumps(report.to_dict(), indent=1) + "\n")
    record.verification = dict(report.counts)
    if not report.ok:
        told = [f"{row.dataset} ({row.object}): {row.reason}" for row in report.differences[:_DIFFERENCES_TOLD]]
        raise VerificationError(
            f"The written file differs from its source and was not kept: {report.summary()}. "
            f"{'; '.join(told)}. All of it is in '{folder.report_path(record.name)}'."
        )


def _sources_of(written: Path) -> list[SourceFile]:
    """The files that were read, from the written file's own table."""
    from ..provenance import TABLE_NAME
    from ..verify.nwb_reading import NWBReader

    with NWBReader(written) as nwb:
        columns = [
            nwb.read_column(f"analysis/{TABLE_NAME}", name) for name in ("relative_path", "revision", "size", "md5")
        ]
    if any(column is None for column in columns):
        return []
    rows = zip(*columns, strict=True)
    return [SourceFile(path=str(p), revision=str(r), size=int(s), md5=str(m)) for p, r, s, m in rows]


def _publish(
    task: ConversionTask, folder: BatchFolder, record: BatchRecord, work: Path, subject_folder: str, written: Path
) -> None:
    """Move a file and the folder of its videos into place, the record saying so before and after."""
    videos = written.with_name(written.name.removesuffix(".zarr").removesuffix(".nwb"))
    moved = [*sorted(videos.glob("*")), written]
    places = {path: f"{subject_folder}/{path.relative_to(work).as_posix()}" for path in moved}
    replaceable = {file.path for file in record.replaced}
    for place in places.values():
        if (folder.folder / place).exists() and place not in replaceable and not task.overwrite:
            raise OutputExistsError(
                f"'{folder.folder / place}' is there already, and not from this session of this batch. Move it away, "
                "or give --overwrite (overwrite=True)."
            )
    for path in moved:
        flush_to_disk(path)
    described = [WrittenFile.of(path, places[path]) for path in moved]
    record.files = described[-1:] + described[:-1]
    folder.write(record)
    for path in moved:  # the NWB file last: what it refers to is there before it
        _move(path, folder.folder / places[path], aside=work / "replaced")
    record.state = "done"
    record.remove_replaced(folder.folder)


def _move(path: Path, place: Path, *, aside: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():  # a folder cannot be replaced in one step
        place.rename(aside)
        path.rename(place)
        remove(aside)
    else:
        path.replace(place)


@contextmanager
def _alone(folder: BatchFolder, key: str) -> Iterator[None]:
    """Keep two processes from one session: the first may be on another machine, and only look lost."""
    from fasteners import InterProcessLock

    path = folder.progress_path(key).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = InterProcessLock(path)
    if not lock.acquire(timeout=_LOCK_WAIT_S):
        raise OutputExistsError(f"Another process is converting '{key}' to '{folder.folder}'. Wait until it is done.")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Have what is logged and warned of go to a file, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.captureWarnings(True)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        logging.captureWarnings(False)
        handler.close()
