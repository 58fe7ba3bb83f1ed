"""Snippets: the part of a raw recording between two seconds of the session."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import UsageError


@dataclass(frozen=True)
class Snippet:
    """Which samples of a recording are converted.

    Attributes
    ----------
    first_sample, stop_sample : int
        The first sample, and the one after the last.
    n_recorded : int
        Samples of the whole recording.
    first_s, last_s : float
        Times of the first and the last sample, in seconds.
    """

    first_sample: int
    stop_sample: int
    n_recorded: int
    first_s: float
    last_s: float

    @property
    def n_samples(self) -> int:
        """Samples that are converted."""
        return self.stop_sample - self.first_sample

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole recording."""
        return self.n_samples == self.n_recorded

    @property
    def statement(self) -> str:
        """Sentence that says which part of the recording this is; empty if it is all of it."""
        if self.is_whole:
            return ""
        return (
            f"Snippet: samples {self.first_sample} to {self.stop_sample - 1}, counted from 0, of the "
            f"{self.n_recorded} of the recording; {self.first_s:.6f} s to {self.last_s:.6f} s."
        )


def check_bounds(start_s: float | None, stop_s: float | None) -> None:
    """Check that there can be something between two times.

    Raises
    ------
    UsageError
        If the first is not before the second, or one is not a number.
    """
    start = float("-inf") if start_s is None else start_s
    stop = float("inf") if stop_s is None else stop_s
    if not start < stop:  # NaN, too
        raise UsageError(
            f"A snippet from {start:g} s to {stop:g} s has no samples. Give a start that is before the stop, in "
            "seconds of the session."
        )


def find_snippet(
    time_of: Callable[[int], float],
    n_recorded: int,
    start_s: float | None,
    stop_s: float | None,
    *,
    path: Path,
    max_samples: int | None = None,
) -> Snippet:
    """The samples whose times are not before one second and before another one.

    Parameters
    ----------
    time_of : callable
        Gives the time of a sample in seconds, rising with the samples.
    n_recorded : int
        Samples of the recording.
    start_s, stop_s : float or None
        The two times. Default: the begin and the end of the recording.
    path : pathlib.Path
        The recording, for messages.
    max_samples : int, optional
        Take only the first so many of them.

    Raises
    ------
    UsageError
        If no sample is between the times.
    """
    check_bounds(start_s, stop_s)
    samples = range(n_recorded)
    first = 0 if start_s is None else bisect_left(samples, start_s, key=time_of)
    stop = n_recorded if stop_s is None else bisect_left(samples, stop_s, key=time_of)
    if first >= stop:
        asked = " and ".join(
            f"{word} {seconds:g} s" for word, seconds in (("from", start_s), ("before", stop_s)) if seconds is not None
        )
        raise UsageError(
            f"'{path}' has no sample {asked}: its {n_recorded} samples are from {time_of(0):.6f} s to "
            f"{time_of(n_recorded - 1):.6f} s. Choose a start and stop within, or leave the recording out with "
            "--exclude."
        )
    if max_samples is not None:
        stop = min(stop, first + max_samples)
    return Snippet(first, stop, n_recorded, time_of(first), time_of(stop - 1))
