"""A folder of NWB files onto a Dandiset, session by session; stopped or killed, it goes on where it was."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from ..batch.files import WrittenFile
from ..batch.records import now
from ..errors import IBLNWBError, OutputExistsError, UsageError
from .archive import Archive, RefusedError, UnreachableError, connect, try_again
from .files import DANDISET_FILE, dandiset_root, find_external_files, find_nwb_files, resolve_external
from .records import UploadedAsset, UploadFolder, UploadRecord, UploadState, files_of_batch
from .validation import check_dandi_is_installed, validate_file

_PACKAGES = ("ibl-nwb", "dandi", "dandischema", "nwbinspector", "pynwb")

#: dandi tells the server the time of a file's last change in microseconds, rounded.
_TIME_RESOLUTION_S = 0.001


@dataclass
class UploadReport:
    """What became of the files of a folder.

    Attributes
    ----------
    root : pathlib.Path
        Root of the Dandiset on this machine.
    instance, dandiset : str
        Where they went.
    records : list of UploadRecord
        One for each NWB file, in the order of their paths.
    n_sent : int
        Number of files, videos included, that were not there already and were sent now; in a dry run, would be.
    """

    root: Path
    instance: str
    dandiset: str
    records: list[UploadRecord] = field(default_factory=list)
    n_sent: int = 0

    @property
    def ok(self) -> bool:
        """Whether every file is on the server, or would be."""
        return all(record.state in ("uploaded", "planned") for record in self.records)

    @property
    def counts(self) -> dict[UploadState, int]:
        """Number of NWB files by state."""
        counted = Counter(record.state for record in self.records)
        return {state: counted[state] for state in get_args(UploadState)}

    def describe(self) -> str:
        """One line: how many files of each state there are."""
        counted = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        place = f"{self.instance}:{self.dandiset}"
        done = "to send" if self.counts["planned"] else "sent"
        return f"NWB files for {place}: {counted}; files {done}, with videos: {self.n_sent}"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "root": str(self.root),
            "instance": self.instance,
            "dandiset": self.dandiset,
            "ok": self.ok,
            "counts": dict(self.counts),
            "n_sent": self.n_sent,
            "records": [record.model_dump(mode="json") for record in self.records],
        }


def upload_folder(
    folder: str | Path,
    dandiset: str,
    *,
    instance: str = "dandi",
    overwrite: bool = False,
    dry_run: bool = False,
    jobs: int | None = None,
    attempts: int = 3,
    progress_bar_class: Any = None,
    on_record: Callable[[UploadRecord], None] | None = None,
) -> UploadReport:
    """Upload the NWB files of a folder, and the videos they refer to, to the draft of a Dandiset.

    Each file is validated first; one that DANDI would refuse is not uploaded, and the others are. What is on the server
    already, by size and checksum, is not sent again. After each upload the server is asked for its checksum. Videos go
    before the file that refers to them.

    Parameters
    ----------
    folder : path-like
        The folder that corresponds to the Dandiset, as 'ibl-nwb batch' writes it, or a part of it.
    dandiset : str
        Number of the Dandiset, such as "000409".
    instance : str, default: "dandi"
        Name of an instance that dandi knows, such as "dandi-sandbox", or the address of another.
    overwrite : bool, default: False
        Whether a different file on the server is replaced though it is not older than the one here.
    dry_run : bool, default: False
        Validate, and compare with what is on the server; send nothing and write no record.
    jobs : int, optional
        Parts of a file that are sent at a time; dandi's own default is 5.
    attempts : int, default: 3
        How often a file is tried, with longer and longer waits between, when the network or the server fails. dandi
        itself tries each request twelve times.
    progress_bar_class : type of tqdm.tqdm, optional
        Shows the bytes of each file that are sent.
    on_record : callable, optional
        Called with each record when its file is settled.

    Returns
    -------
    UploadReport

    Raises
    ------
    UsageError
        If there is nothing to upload, no such Dandiset, no API key, or dandi is not installed.
    NetworkError
        If the archive refuses the user, or cannot be reached any longer. What was uploaded is recorded.
    OutputExistsError
        If another process is uploading the folder to this Dandiset.
    """
    check_dandi_is_installed()
    if attempts < 1:
        raise UsageError(f"attempts is {attempts}; it has to be at least 1.")
    files = find_nwb_files([folder])
    given = Path(os.path.abspath(Path(folder).expanduser()))
    root = dandiset_root(given) or (given if given.is_dir() else given.parent)
    with connect(dandiset, instance) as archive:
        _check_identifier(root, archive)
        report = UploadReport(root, archive.instance, archive.identifier)
        records = UploadFolder(root, archive.instance, archive.identifier)
        with _alone(records, dry_run):
            known = files_of_batch(root)
            upload = _Upload(archive, records, report, known, overwrite, dry_run, jobs, attempts, progress_bar_class)
            for path in files:
                record = records.read(path.relative_to(root).as_posix())
                report.records.append(record)
                upload.bring(path, record)
                if on_record is not None:
                    on_record(record)
    return report


@dataclass
class _Upload:
    """One call of :func:`upload_folder`."""

    archive: Archive
    records: UploadFolder
    report: UploadReport
    known: dict[str, tuple[WrittenFile, str | None]]
    overwrite: bool
    dry_run: bool
    jobs: int | None
    attempts: int
    progress_bar_class: Any

    def bring(self, path: Path, record: UploadRecord) -> None:
        """Settle one NWB file: there, refused or failed, with the reason in its record."""
        if record.is_unchanged(self.records.root) and self._try(lambda: self._is_there(record), record.path):
            return
        record.state, record.error, record.finished = "queued", None, None
        record.versions = {name: version(name) for name in _PACKAGES}
        if self._refuse(path, record):
            return
        try:
            self._send_all(path, record)
        except IBLNWBError as error:
            record.state, record.error, record.finished = "failed", str(error), now()
            self._write(record)
            if isinstance(error, RefusedError | UnreachableError):  # the next file would fare no better
                raise

    def _refuse(self, path: Path, record: UploadRecord) -> bool:
        """Note why a file is not to be uploaded, if there is a reason."""
        _, record.error = self.known.get(record.path, (None, None))
        record.findings = []
        if record.error is None:
            errors = [f for f in validate_file(path, self.records.root) if f.level == "error"]
            record.findings = [f"{f.check}: {f.message}" + (f" Do: {f.advice}." if f.advice else "") for f in errors]
            record.error = f"It does not validate: {' '.join(record.findings)}" if errors else None
        if record.error is None:
            return False
        record.state = "refused"
        self._write(record)
        return True

    def _is_there(self, record: UploadRecord) -> bool:
        for asset in record.assets:
            remote = self.archive.find(asset.file.path)
            if remote is None or not self.archive.holds(remote, asset.file.size, asset.digest, _sha256(asset.file)):
                return False
        return True

    def _send_all(self, path: Path, record: UploadRecord) -> None:
        record.state, record.started, record.finished, record.assets = "uploading", now(), None, []
        record.attempts += 1
        videos = [resolve_external(path, external) for external in find_external_files(path)]
        files = [*dict.fromkeys(videos), path]
        for file in files:
            asset = self._send(file, record)
            if asset is not None:
                record.assets.append(asset)
        is_there = len(record.assets) == len(files)
        record.state, record.finished, record.begun = "uploaded" if is_there else "planned", now(), []
        self._write(record)

    def _send(self, file: Path, record: UploadRecord) -> UploadedAsset | None:
        """Bring one file there, unless it is; None if it only would be."""
        from dandi.files import dandi_file

        local: Any = dandi_file(file, self.records.root)
        written = self.known[local.path][0] if local.path in self.known else WrittenFile.of(file, local.path)
        digest = local.get_digest()

        def look() -> Any:
            remote = self.archive.find(local.path)
            if remote is None:
                return None, False
            return remote, self.archive.holds(remote, local.size, digest.value, _sha256(written))

        remote, is_there = self._try(look, local.path)
        if is_there:
            return UploadedAsset(file=written, digest=digest.value, asset_id=remote.identifier)
        if remote is not None:
            self._check_may_replace(remote, written, record)
        if self.dry_run:
            self.report.n_sent += 1
            return None
        record.begun = [*dict.fromkeys([*record.begun, local.path])]
        self._write(record)
        sha256 = _sha256(written)
        metadata = local.get_metadata(digest=digest, ignore_errors=False).model_dump(mode="json", exclude_none=True)
        asset = self._try(lambda: self._send_bytes(local, metadata, digest.value), local.path)
        self._try(lambda: self.archive.check(asset.identifier, local.size, digest.value, sha256), local.path)
        self.report.n_sent += 1
        return UploadedAsset(file=written, digest=digest.value, asset_id=asset.identifier)

    def _send_bytes(self, local: Any, metadata: dict[str, Any], digest: str) -> Any:
        """Send a file through dandi; returns the asset that it becomes."""
        replacing = self.archive.find(local.path)  # as it is now: an attempt before this one may have got so far
        with self._bar(local) as show:
            for status in local.iter_upload(self.archive.dandiset, metadata, jobs=self.jobs, replacing=replacing):
                if "current" in status:
                    show(status["current"])
                if "asset" not in status:
                    continue
                asset = status["asset"]
                # dandi passes over a Zarr whose files are all there, though an upload that was killed after the last
                # of them has not had the server compute its checksum. Removing nothing has it do so.
                if status["status"] == "skipped" and not self.archive.holds(asset, local.size, digest):
                    asset.rmfiles([], reingest=True)
                return asset
        raise RuntimeError(f"dandi ended the upload of '{local.path}' without an asset")

    def _check_may_replace(self, remote: Any, written: WrittenFile, record: UploadRecord) -> None:
        """Refuse to replace what is on the server, unless it is older, or a try of ours that was not completed."""
        metadata = self._try(lambda: self.archive.client.get(remote.api_path), written.path)
        modified = metadata.get("blobDateModified")
        local_s = written.modified_ns / 1e9 - _TIME_RESOLUTION_S
        is_older = modified is not None and datetime.fromisoformat(modified).timestamp() < local_s
        if not (self.overwrite or is_older or written.path in record.begun):
            raise OutputExistsError(
                f"The archive has another '{written.path}', of {remote.size} bytes and not older than the one here. "
                "Give --overwrite (overwrite=True) to replace it."
            )

    def _try(self, work: Callable[[], Any], what: str) -> Any:
        return try_again(work, self.attempts, what)

    def _write(self, record: UploadRecord) -> None:
        if not self.dry_run:
            self.records.write(record)

    @contextmanager
    def _bar(self, local: Any) -> Iterator[Callable[[int], None]]:
        if self.progress_bar_class is None:
            yield lambda current: None
            return
        with self.progress_bar_class(total=local.size, desc=Path(local.path).name, unit="B", unit_scale=True) as bar:
            yield lambda current: bar.update(current - bar.n)


def _sha256(file: WrittenFile) -> str | None:
    """SHA-256 to compare with the server's, which has none of a Zarr."""
    return None if file.path.endswith(".zarr") else file.sha256


def _check_identifier(root: Path, archive: Archive) -> None:
    """Refuse a folder that says that it is another Dandiset."""
    from dandi.dandiset import Dandiset

    if not (root / DANDISET_FILE).is_file():
        return
    known = Dandiset(root)
    identifier = Dandiset._get_identifier(known.metadata or {})
    if identifier not in (None, archive.identifier):
        raise UsageError(
            f"'{root / DANDISET_FILE}' says that this is Dandiset {identifier}, not {archive.identifier}. Give the "
            "right number, or move that file away."
        )


@contextmanager
def _alone(records: UploadFolder, dry_run: bool) -> Iterator[None]:
    """Keep two processes from uploading the same folder to the same place."""
    if dry_run:
        yield
        return
    from fasteners import InterProcessLock

    records.folder.mkdir(parents=True, exist_ok=True)
    lock = InterProcessLock(records.lock_path)
    if not lock.acquire(blocking=False):
        raise OutputExistsError(
            f"Another process is uploading '{records.root}' to {records.instance}:{records.dandiset}. Wait until it is "
            "done."
        )
    try:
        yield
    finally:
        lock.release()
