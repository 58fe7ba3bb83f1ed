"""Sessions whose data are known to be faulty, and what is made of them: said in the summary and in the file.

Faults that show in the data themselves (cameras with more times than frames, metadata without tildes) need no entry:
they are met wherever they occur. Here are those of certain sessions. The files of a session are never altered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFault:
    """One fault of one session.

    Attributes
    ----------
    eid : str
        UUID of the session in Alyx.
    session : str
        ``subject/YYYY-MM-DD/NNN``.
    instances : tuple of str
        Beginnings of the names of the interfaces whose data it concerns.
    sentence : str
        What is wrong and what was done about it.
    """

    eid: str
    session: str
    instances: tuple[str, ...]
    sentence: str


_RAW = ("RawEphys", "ProbeSync")
_SPLIT_META = (
    "The metadata of {probe} were written when IBL split a four-shank recording, and describe the whole probe: the "
    "tildes of lists are missing, and the file name is that of the AP band in both bands. They are read with the "
    "channels that were kept, those of one shank; the other shanks are not published."
)

#: As IBL and users of its data report them.
KNOWN_FAULTS = (
    KnownFault(
        "4e560423-5caf-4cda-8511-d1ab4cd2bf7d",
        "NR_0029/2023-08-29/001",
        ("RawEphysAPProbe00a", "RawEphysLFProbe00a", "ProbeSync"),
        _SPLIT_META.format(probe="probe00a"),
    ),
    KnownFault(
        "de905562-31c6-4c31-9ece-3ee87b97eab4",
        "NR_0029/2023-08-31/001",
        ("RawEphysAPProbe00b", "RawEphysLFProbe00b", "ProbeSync"),
        _SPLIT_META.format(probe="probe00b"),
    ),
    KnownFault(
        "d85c454e-8737-4cba-b6ad-b2339429d99b",
        "NR_0029/2023-09-05/001",
        ("RawEphysAPProbe00a", "RawEphysLFProbe00a", "ProbeSync"),
        _SPLIT_META.format(probe="probe00a"),
    ),
    KnownFault(
        "3a3ea015-b5f4-4e8b-b189-9364d1fc7435",
        "NR_0029/2023-09-07/001",
        ("RawEphysAPProbe00a", "RawEphysLFProbe00a", "ProbeSync"),
        _SPLIT_META.format(probe="probe00a"),
    ),
    KnownFault(
        "ebe090af-5922-4fcd-8fc6-17b8ba7bad6d",
        "ibl_witten_13/2019-12-03/001",
        _RAW,
        "The metadata of the recordings lack firstSample, which is taken as 0.",
    ),
    KnownFault(
        "032452e9-1886-449d-9c13-0f192572e19f",
        "SWC_053/2020-11-12/001",
        _RAW,
        "Metadata of the recordings are reported to be corrupt; what they say is used as it is.",
    ),
    KnownFault(
        "f99ac31f-171b-4208-a55d-5644c0ad51c3",
        "UCLA035/2022-02-24/001",
        _RAW,
        "Fields of the converters (ADC) in the metadata of the recordings are reported to be empty; they are not used.",
    ),
    KnownFault(
        "d839491f-55d8-4cbe-a298-7839208ba12b",
        "CSHL049/2020-01-11/001",
        (*_RAW, "SortedSpikes", "Sync", "Trials", "Wheel"),
        "The session is reported to have no recording of the sync board, so that nothing can be compared with it.",
    ),
    KnownFault(
        "72cb5550-43b4-4ef0-add5-e4adfdfb5e02",
        "ZFM-02369/2021-05-19/001",
        _RAW,
        "Trouble with the streams of the recordings is reported; they are converted as they are.",
    ),
    KnownFault(
        "29a6def1-fc5c-4eea-ac48-47e9b053dcb5",
        "NR_0028/2023-03-14/001",
        (*_RAW, "SortedSpikes"),
        "Trouble with the alignment of the probe is reported; times and positions are those that IBL published.",
    ),
    KnownFault(
        "dc21e80d-97d7-44ca-a729-a8e3f9b14305",
        "ibl_witten_26/2021-01-31/001",
        ("PupilRightCamera",),
        "The features of the right camera had a wrong length, which revision 2025-06-04 corrected.",
    ),
    KnownFault(
        "bd456d8f-d36e-434a-8051-ff3997253802",
        "DY_014/2020-07-17/001",
        ("Pose",),
        "Alyx gives wrong sizes of the pose files, so that a download cannot be verified; the files are converted.",
    ),
)


def find_known_faults(session: str, instances: Iterable[str]) -> list[str]:
    """What is known to be wrong with the data of a session that are converted.

    Parameters
    ----------
    session : str
        ``subject/YYYY-MM-DD/NNN``.
    instances : iterable of str
        Names of the interfaces that take part.

    Returns
    -------
    list of str
        Sentences.
    """
    names = tuple(instances)
    return [
        f"Known fault of this session: {fault.sentence}"
        for fault in KNOWN_FAULTS
        if fault.session == session and any(name.startswith(fault.instances) for name in names)
    ]
