"""Alyx's coded values and what they mean."""

import re

#: Quality-control levels. ``sessions`` and ``datasets`` give the name, datasets inside ``insertions/read`` the integer.
QC_NAMES = {0: "NOT_SET", 10: "PASS", 30: "WARNING", 40: "FAIL", 50: "CRITICAL"}

#: ``subjects/read`` gives the integer, ``subjects/list`` the symbol behind the allele's name (``"Ai95 +/+"``).
ZYGOSITY_SYMBOLS = {"-/-": 0, "+/-": 1, "+/+": 2, "+": 3, "?": None}
ZYGOSITY_WORDS = {0: "absent", 1: "heterozygous", 2: "homozygous", 3: "present"}

#: Alyx gives a species by its nickname; a laboratory may have used the binomial as nickname.
SPECIES_BINOMIALS = {
    "Laboratory mouse": "Mus musculus",
    "House mouse": "Mus musculus",
    "Mouse": "Mus musculus",
    "Mus musculus": "Mus musculus",
    "Laboratory rat": "Rattus norvegicus",
    "Lab rat": "Rattus norvegicus",
    "Brown rat": "Rattus norvegicus",
    "Rat": "Rattus norvegicus",
    "Rattus norvegicus": "Rattus norvegicus",
    "Human": "Homo sapiens",
    "Homo sapiens": "Homo sapiens",
}

#: The sexes Alyx knows, which are NWB's codes too.
SEXES = ("M", "F", "U")

SURGERY_OUTCOMES = {"a": "acute", "r": "recovery", "n": "non-recovery"}

#: Accounts of machines. Registering a file adds the account that did it to the session's users; it is no experimenter.
SERVICE_ACCOUNTS = frozenset({"admin", "alyx", "intbrainlab", "root", "service"})

#: How "no revision" is spelled: Alyx today, Alyx of 2021, and the paths of cache tables made under pandas 3.
NO_REVISION = (None, "", "nan", "#nan#")

#: What people type into a text field that they have nothing to say in.
BLANK_TEXTS = ("", "-")

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

#: Provenances of trajectories that come from histology, the best one last.
HISTOLOGY_PROVENANCES = ("Histology track", "Ephys aligned histology track")


def is_uuid(text: str) -> bool:
    """Whether the whole text is a UUID."""
    return _UUID.fullmatch(text) is not None
