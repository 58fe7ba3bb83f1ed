"""What a user of ``ibl_nwb`` can act on, as one family of exceptions.

Every message is a sentence or two that name the file, the values that were seen and the way out. The command line
prints the message without a traceback and exits with ``exit_code``: 1 when the session or its data are at fault, 2 when
the request itself was wrong.
"""


class IBLNWBError(Exception):
    """Base of every error that a user can act on."""

    exit_code = 1


class SessionNotFoundError(IBLNWBError):
    """The folder does not exist, holds no ALF datasets, or is not the root of one session."""


class DatasetMissingError(IBLNWBError):
    """A dataset that was asked for, or that an interface cannot do without, is not in the session."""


class DatasetUnreadableError(IBLNWBError):
    """A dataset is on disk but cannot be read: truncated, empty, corrupt or pickled."""


class DatasetInconsistentError(IBLNWBError):
    """Datasets contradict one another or the format's rules, such as attributes of unequal length."""


class MetadataIncompleteError(IBLNWBError):
    """A fact that a valid NWB file cannot do without is nowhere to be found."""


class DocumentError(IBLNWBError):
    """A JSON or YAML document that was handed to us is malformed or holds a key that nothing reads."""


class UsageError(IBLNWBError):
    """The request names something that does not exist, such as an interface or a probe."""

    exit_code = 2


class OutputExistsError(UsageError):
    """The output is already there and may not be overwritten."""


class OutputNotWritableError(IBLNWBError):
    """The output cannot be written where it was asked for."""


class NetworkError(IBLNWBError):
    """A server cannot be reached, does not answer in time, or refuses what was asked of it."""


class ChecksumError(IBLNWBError):
    """A file has not the size or the MD5 that the database registered for it, even when fetched again."""


class VerificationError(IBLNWBError):
    """A written file differs from the source that it was made from."""


class SchedulerLostError(NetworkError):
    """The Dask scheduler that hands out the sessions of a batch cannot be reached any more."""


class WorkerLostError(IBLNWBError):
    """The process that converted a session was killed or crashed."""


class TimeLimitError(IBLNWBError):
    """A session took longer than it was allowed to."""
