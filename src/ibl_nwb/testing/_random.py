"""Seeded random numbers: one independent stream per named part of a session.

Because every part draws from its own stream, leaving one part out (a camera, a band) does not change the others.
"""

import hashlib
import uuid

import numpy as np


def random_generator(seed: int, *labels: str) -> np.random.Generator:
    """
    Give the random generator of one part of a session.

    Parameters
    ----------
    seed : int
        The seed of the whole session.
    *labels : str
        What the numbers are for, such as ``"probe00", "spikes"``.
    """
    digest = hashlib.sha256("/".join((str(seed), *labels)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def random_uuid(generator: np.random.Generator) -> str:
    """Draw a version 4 UUID, the kind that Alyx gives to every record."""
    return str(uuid.UUID(bytes=generator.bytes(16), version=4))


def dataset_uuid(seed: int, relative_path: str) -> str:
    """
    Give the Alyx id of a dataset.

    Parameters
    ----------
    seed : int
        The seed of the whole session.
    relative_path : str
        Path of the dataset below the session folder, without UUID, with forward slashes.
    """
    return random_uuid(random_generator(seed, "dataset", relative_path))
