"""All interfaces together: which of them a session needs, and the metadata of the whole file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from jsonschema import ValidationError
from neuroconv import BaseDataInterface, NWBConverter
from neuroconv.utils import DeepDict, dict_deep_update, unroot_schema
from pynwb import NWBFile

from .alyx import AlyxRecord
from .alyx_anatomy import add_alyx_anatomy, alyx_group_locations
from .alyx_tables import add_alyx_tables
from .errors import DocumentError, MetadataIncompleteError, UsageError
from .folder_facts import read_folder_facts
from .instances import find_instances, find_source_data
from .interfaces import interface_list
from .interfaces.base import ALFInterface
from .interfaces.raw_recording import RawRecordingMixin
from .known_faults import find_known_faults
from .metadata_keys import describe_unknown, drop_keys, find_unread_keys, without_blanks
from .provenance import add_source_datasets
from .session import ALFSession, shared_listings
from .snippets import check_bounds
from .writing import atomic_output, write_part
from .writing.videos import VideoPlacement, place_videos

#: Look of the progress bars, in tqdm's terms.
_BAR_OPTIONS = {"bar_format": "{desc:<28} {bar:30} {percentage:3.0f}% {elapsed}"}

#: Packages that a written file names as its makers.
_MAKERS = ("ibl-nwb", "neuroconv", "pynwb", "ONE-api", "spikeinterface")


class IBLConverter(NWBConverter):
    """Converter of a whole IBL session.

    ``source_data`` is keyed by instance names: a family (``"Wheel"``), or a family and what tells its instances apart
    (``"SortedSpikesProbe00"``, ``"PoseLeftCamera"``). A subclass may add other interfaces to
    ``data_interface_classes``, as with any NWBConverter.

    Parameters
    ----------
    source_data : dict of str to dict
        Constructor arguments of each interface, by instance name.
    alyx : AlyxRecord or path-like, optional
        What Alyx says about the session, or the JSON file that holds it.
    timezone : str, optional
        IANA name of the zone of the rig's clock, e.g. "Europe/Lisbon". Default: the zone of the lab in Alyx.
    verbose : bool, default: False
        Passed on to NeuroConv.

    Raises
    ------
    UsageError
        If a name belongs to no interface.
    """

    display_name = "IBL session"
    keywords = ("International Brain Laboratory", "ALF", "Alyx")
    info = "Converter for a session of the International Brain Laboratory: Alyx metadata and ALF files."

    data_interface_classes = {interface.family: interface for interface in interface_list}

    def __init__(
        self,
        source_data: dict[str, dict],
        *,
        alyx: AlyxRecord | str | Path | None = None,
        timezone: str | None = None,
        verbose: bool = False,
    ):
        classes = {name: self._interface_class(name) for name in source_data}
        order = list(self.data_interface_classes.values())
        # An instance attribute: NeuroConv makes the interfaces this dict names, in its order.
        self.data_interface_classes = dict(sorted(classes.items(), key=lambda item: order.index(item[1])))
        with shared_listings():
            super().__init__(source_data=source_data, verbose=verbose)
        self.alyx = alyx if alyx is None or isinstance(alyx, AlyxRecord) else AlyxRecord.read_json(alyx)
        self.timezone = timezone
        #: Sentences about the session as a whole that a user should know.
        self.notes: list[str] = []
        self.progress_bar_class: Callable[..., Any] | None = None
        self._bars: list[Any] = []

    @classmethod
    def from_session(
        cls,
        session_path: str | Path,
        *,
        alyx: AlyxRecord | str | Path | None = None,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        revision: str | None = None,
        timezone: str | None = None,
        data_urls: Iterable[str] = (),
        verbose: bool = False,
    ) -> IBLConverter:
        """Make a converter of everything that a session folder holds.

        Parameters
        ----------
        session_path : path-like
            The session folder.
        alyx : AlyxRecord or path-like, optional
            What Alyx says about the session, or the JSON file that holds it.
        include, exclude : iterable of str, optional
            Families or instances to convert only, or to leave out.
        revision : str, optional
            Revision of the datasets, see :class:`ALFSession`.
        timezone : str, optional
            IANA name of the zone of the rig's clock. Default: the zone of the lab in Alyx.
        data_urls : iterable of str, optional
            Addresses of compressed raw recordings of this session, to be read from the server where the folder does not
            hold them.
        verbose : bool, default: False
            Passed on to NeuroConv.

        Raises
        ------
        UsageError
            If a name in ``include`` or ``exclude`` is no interface.
        DatasetMissingError
            If there is nothing to convert, something included is not there, or a family lacks required datasets.
        """
        with shared_listings():
            session = ALFSession(session_path, revision=revision, data_urls=data_urls)
            source_data = find_source_data(session, include=include, exclude=exclude)
            return cls(source_data=source_data, alyx=alyx, timezone=timezone, verbose=verbose)

    @classmethod
    def get_source_schema(cls) -> dict:
        """JSON schema of the source data; any instance name of a family is accepted."""
        schema = super().get_source_schema()
        schema["patternProperties"] = {
            f"^{family}([A-Z].*)?$": unroot_schema(interface.get_source_schema())
            for family, interface in cls.data_interface_classes.items()
        }
        return schema

    @property
    def session(self) -> ALFSession | None:
        """The session of the first IBL interface, None when there is no IBL interface."""
        return next((i.session for i in self.data_interface_objects.values() if isinstance(i, ALFInterface)), None)

    def get_metadata(self, **kwargs: Any) -> DeepDict:
        """Metadata of the whole file: interfaces, then facts in the folder, then Alyx, each over the one before."""
        metadata = super().get_metadata(**kwargs)
        if self.session is not None:
            metadata = _merge(metadata, read_folder_facts(self.session, timezone=self.timezone))
        if self.alyx is not None:
            metadata = _merge(metadata, self.alyx.to_nwb_metadata(timezone=self.timezone))
            metadata = _merge(metadata, _probe_serials(self.alyx, metadata.get("Devices", {})))
            groups = metadata.get("Ecephys", {}).get("ElectrodeGroups", {})
            metadata = _merge(metadata, alyx_group_locations(self.alyx, groups))
        return metadata

    def merge_metadata(self, user_metadata: dict | None) -> DeepDict:
        """The converter's metadata with a user's on top: dicts merge, lists and values are replaced.

        A null in the user's metadata stands for a blank that was not filled in and changes nothing, and so do entries
        of interfaces that the session has but this converter leaves out.
        """
        return _merge(self.get_metadata(), self._drop_left_out(without_blanks(user_metadata or {})))

    def validate_metadata(self, metadata: dict[str, dict], append_mode: bool = False) -> None:
        """Check metadata against the schema, and that IBL's blocks hold no key that nothing reads.

        Raises
        ------
        MetadataIncompleteError
            If there is no start time of the session, or it has no zone.
        DocumentError
            If a value is not what the schema says or a key is unknown; the message names the place.
        """
        if not append_mode:
            self._check_start_time(metadata)
        birth = (metadata.get("Subject") or {}).get("date_of_birth")
        _parse_iso(birth, "Subject.date_of_birth", "date such as 2023-02-17")
        unread = next(self._unread_keys(metadata), None)
        if unread is not None:
            raise DocumentError(unread[1])
        try:
            super().validate_metadata(metadata, append_mode=append_mode)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.absolute_path) or "the top level"
            raise DocumentError(f"Metadata at {place}: {error.message}.") from error

    def validate_conversion_options(self, conversion_options: dict[str, dict] | None) -> None:
        """Check conversion options against the interfaces' schemas.

        Raises
        ------
        DocumentError
            If an option is unknown or of the wrong type.
        """
        try:
            super().validate_conversion_options(conversion_options)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.absolute_path) or "the top level"
            raise DocumentError(f"Conversion options at {place}: {error.message}.") from error

    def create_nwbfile(self, metadata: dict | None = None, conversion_options: dict | None = None) -> NWBFile:
        """The NWB file in memory, naming the packages that made it."""
        nwbfile = super().create_nwbfile(metadata=metadata, conversion_options=conversion_options)
        nwbfile.was_generated_by = [[package, version(package)] for package in _MAKERS]
        return nwbfile

    def add_to_nwbfile(
        self, nwbfile: NWBFile, metadata: dict | None = None, conversion_options: dict | None = None
    ) -> None:
        """Add every interface's data, then the Alyx record as it is."""
        metadata = metadata or self.get_metadata()
        for name, interface in self.data_interface_objects.items():
            options = (conversion_options or {}).get(name, {})
            if isinstance(interface, NWBConverter):
                interface.add_to_nwbfile(nwbfile, metadata=metadata, conversion_options=options)
                continue
            with self._progress_bar(name, interface, options) as options_with_bar:
                interface.add_to_nwbfile(nwbfile, metadata=metadata, **options_with_bar)
        self._tell_of_known_faults(nwbfile)
        add_source_datasets(nwbfile, self.data_interface_objects, record=self.alyx)
        if self.alyx is not None:
            add_alyx_tables(nwbfile, self.alyx)
            self.notes += add_alyx_anatomy(nwbfile, self.alyx, metadata.get("Ecephys", {}).get("ElectrodeGroups", {}))

    def _tell_of_known_faults(self, nwbfile: NWBFile) -> None:
        """Note what is known to be wrong with the data, and write it into the file (``/general/data_collection``)."""
        instances: dict[str, list[str]] = {}
        for name, interface in self.data_interface_objects.items():
            if isinstance(interface, ALFInterface):
                instances.setdefault(interface.session.name, []).append(name)
        faults = [fault for session, names in instances.items() for fault in find_known_faults(session, names)]
        self.notes += faults
        if faults:
            nwbfile.data_collection = " ".join(filter(None, (nwbfile.data_collection, *faults)))

    @contextmanager
    def _progress_bar(self, name: str, interface: BaseDataInterface, options: dict) -> Iterator[dict]:
        """Show one bar for an interface: at once for what is small, while the file is written for what is streamed."""
        if self.progress_bar_class is None:
            yield options
        elif "iterator_options" in interface.get_conversion_options_schema()["properties"]:
            bar = dict(
                display_progress=True,
                progress_bar_class=self._open_bar,
                progress_bar_options={"desc": name, **_BAR_OPTIONS},
            )
            yield {**options, "iterator_options": {**bar, **(options.get("iterator_options") or {})}}
        else:
            with self.progress_bar_class(total=1, desc=name, **_BAR_OPTIONS) as bar:
                yield options
                bar.update(1)

    def _open_bar(self, *args: Any, **kwargs: Any) -> Any:
        """Make a bar that is closed when the file is written; hdmf's iterators leave theirs open."""
        assert self.progress_bar_class is not None
        self._bars.append(self.progress_bar_class(*args, **kwargs))
        return self._bars[-1]

    def run_conversion(
        self,
        nwbfile_path: str | Path,
        nwbfile: NWBFile | None = None,
        metadata: dict | None = None,
        overwrite: bool = False,
        backend: Literal["hdf5", "zarr"] | None = None,
        backend_configuration: Any = None,
        conversion_options: dict | None = None,
        append_on_disk_nwbfile: bool = False,
        *,
        videos: VideoPlacement = "leave",
        jobs: int | None = None,
        memory_mb: float | None = None,
        resume: bool = False,
        start_s: float | None = None,
        stop_s: float | None = None,
    ) -> None:
        """Convert as any NWBConverter does, but so that a file under the final name is always complete.

        Raw recordings are compressed by several threads, see :func:`ibl_nwb.writing.write_nwbfile`, those of other
        NeuroConv interfaces too. An append changes the file in place, by NeuroConv's own writer.

        Parameters
        ----------
        nwbfile_path, nwbfile, metadata, overwrite, backend, backend_configuration, conversion_options
            As in :meth:`neuroconv.NWBConverter.run_conversion`.
        append_on_disk_nwbfile : bool, default: False
            As there. ``jobs``, ``memory_mb``, ``resume`` and ``videos`` do nothing then.
        videos : {"copy", "link", "leave"}, default: "leave"
            Whether video files are copied beside the NWB file, linked there, or left where they are; the NWB file
            refers to them by relative paths in each case.
        jobs : int, optional
            Threads that compress raw recordings. Default: one for each processor.
        memory_mb : float, optional
            Most memory in MB for samples of raw recordings on their way. Default: a quarter of what is free.
        resume : bool, default: False
            Go on where an earlier conversion of the same inputs was killed or failed, if one was; and keep what is
            written if this one fails.
        start_s, stop_s : float, optional
            Of raw recordings of probes and sync boards, write only the samples from ``start_s`` on and before
            ``stop_s``, in seconds of the session; wins over options of the same name. All else is written whole.

        Raises
        ------
        OutputExistsError, OutputNotWritableError
            If the file exists and ``overwrite`` is False, or cannot be written.
        MetadataIncompleteError, DocumentError
            If the metadata are incomplete or wrong.
        UsageError
            If what is to be resumed was made of other inputs, there is not enough memory, or a raw recording has no
            sample between ``start_s`` and ``stop_s``.
        """
        conversion_options = self._with_snippet(conversion_options or {}, start_s, stop_s)
        if append_on_disk_nwbfile:
            super().run_conversion(
                nwbfile_path=nwbfile_path,
                nwbfile=nwbfile,
                metadata=metadata,
                backend=backend,
                backend_configuration=backend_configuration,
                conversion_options=conversion_options,
                append_on_disk_nwbfile=True,
            )
            return
        if nwbfile is not None and backend_configuration is not None:
            raise UsageError(
                "A backend_configuration cannot be given with an nwbfile, to which this conversion only now adds its "
                "data. Give backend, or use add_to_nwbfile and then ibl_nwb.writing.write_nwbfile."
            )
        metadata = self.get_metadata() if metadata is None else metadata
        self.validate_metadata(metadata)
        self.validate_conversion_options(conversion_options)
        self.temporally_align_data_interfaces(metadata=metadata, conversion_options=conversion_options)
        with atomic_output(Path(nwbfile_path), overwrite=overwrite, resume=resume) as part_path:
            if nwbfile is None:
                nwbfile = self.create_nwbfile(metadata, conversion_options)
            else:
                self.add_to_nwbfile(nwbfile, metadata, conversion_options)
            write_part(
                nwbfile,
                part_path,
                backend=backend,
                backend_configuration=backend_configuration,
                jobs=jobs,
                memory_mb=memory_mb,
                resume=resume,
            )
            while self._bars:
                self._bars.pop().close()
            place_videos(Path(nwbfile_path), videos, written_path=part_path, overwrite=overwrite)

    def _with_snippet(
        self, options: dict[str, dict[str, Any]], start_s: float | None, stop_s: float | None
    ) -> dict[str, dict[str, Any]]:
        """Options by which the raw recordings are cut, all of them alike."""
        check_bounds(start_s, stop_s)
        bounds = {name: value for name, value in (("start_s", start_s), ("stop_s", stop_s)) if value is not None}
        if not bounds:
            return options
        cut = [name for name, one in self.data_interface_objects.items() if isinstance(one, RawRecordingMixin)]
        if not cut:
            raise UsageError(
                "There is no raw recording to cut: of a session, start and stop apply to RawEphys, NIDQ and ProbeSync "
                "only. Include one of these, or leave start and stop out."
            )
        return {**options, **{name: {**options.get(name, {}), **bounds} for name in cut}}

    @classmethod
    def _interface_class(cls, name: str) -> type:
        if name in cls.data_interface_classes:
            return cls.data_interface_classes[name]
        families = [f for f in cls.data_interface_classes if re.fullmatch(f"{re.escape(f)}[A-Z].*", name)]
        if not families:
            raise UsageError(describe_unknown(name, cls.data_interface_classes))
        return cls.data_interface_classes[max(families, key=len)]

    def _check_start_time(self, metadata: dict) -> None:
        start_time = metadata.get("NWBFile", {}).get("session_start_time")
        if start_time is None:
            known = self.session.task_start_time() if self.session is not None else None
            if known is None:
                raise MetadataIncompleteError(
                    "Nothing says when the session started. Give --session-start-time, e.g. 2023-05-18T14:30:00+01:00, "
                    "NWBFile.session_start_time in --metadata, or the Alyx record with --alyx."
                )
            raise MetadataIncompleteError(
                f"The session started at {known.isoformat()} by the rig's clock, but nothing says in which time zone. "
                "Give --timezone, e.g. Europe/Lisbon, or the Alyx record with --alyx."
            )
        start_time = _parse_iso(start_time, "NWBFile.session_start_time", "time such as 2023-05-18T14:30:00+01:00")
        if isinstance(start_time, datetime) and start_time.tzinfo is None:
            raise MetadataIncompleteError(
                f"The start time {start_time.isoformat()} has no time zone. Write it as {start_time.isoformat()}+01:00 "
                "or give --timezone, e.g. Europe/Lisbon."
            )

    def _unread_keys(self, metadata: dict) -> Iterator[tuple[tuple[str, ...], str]]:
        """Keys of the metadata that no interface reads, and sentences about them."""
        return find_unread_keys(metadata, self.get_metadata(), self.get_metadata_schema(), self._own_blocks())

    def _own_blocks(self) -> set[str]:
        """Blocks of the metadata that IBL's interfaces read."""
        return {
            block
            for interface in self.data_interface_objects.values()
            if isinstance(interface, ALFInterface)
            for block in interface.get_metadata()
            if block not in ("NWBFile", "Subject")  # closed by NeuroConv's own schema
        }

    def _drop_left_out(self, metadata: dict) -> dict:
        """The metadata without what belongs to interfaces of the session that are left out, as edited documents have.

        The interfaces that are left out are only opened if there is a key that those in use do not know.
        """
        if self.session is None or next(self._unread_keys(metadata), None) is None:
            return metadata
        return drop_keys(metadata, self.get_metadata(), self._metadata_left_out(self.session))

    def _metadata_left_out(self, session: ALFSession) -> dict[str, Any]:
        """Metadata of the session's interfaces that are not in use."""
        left_out: dict[str, Any] = {}
        for name, source in find_instances(_with_recordings_elsewhere(session)).available.items():
            if name not in self.data_interface_objects:
                interface = self._interface_class(name)(**source)
                left_out = dict_deep_update(left_out, interface.get_metadata(), append_list=False, remove_repeats=False)
        return left_out


def _with_recordings_elsewhere(session: ALFSession) -> ALFSession:
    """The session with recordings of which only the ``.ch`` file is here: what they are called is known from that."""
    name = session.name if session.subject else "subject/2000-01-01/001"
    paths = (d.alf_path.removesuffix("ch") + "cbin" for d in session.datasets if d.extension == "ch")
    urls = [f"https://elsewhere.invalid/{name}/{quote(path)}" for path in paths]
    return ALFSession(session.path, revision=session.revision, data_urls=urls)


def _parse_iso(value: Any, place: str, what: str) -> Any:
    """A text as a time; anything else as it is, for the schema to judge."""
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise DocumentError(f"Metadata at {place}: '{value}' is not an ISO 8601 {what}.") from error


def _merge(lower: dict, higher: dict) -> DeepDict:
    return DeepDict(dict_deep_update(lower, higher, append_list=False, remove_repeats=False))


def _probe_serials(record: AlyxRecord, devices: dict[str, Any]) -> dict[str, Any]:
    """Serial numbers that Alyx knows of the probes that are among the devices."""
    serials = {f"neuropixels_{insertion.name}": insertion.serial for insertion in record.insertions if insertion.serial}
    return {"Devices": {key: {"serial_number": serial} for key, serial in serials.items() if key in devices}}
