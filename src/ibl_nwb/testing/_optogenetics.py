"""Laser of an invented session with optogenetics: which trials it was on in, and when."""

import numpy as np

from ._files import Datasets
from ._trials import Trials

#: Fraction of the trials with laser.
LASER_PROBABILITY = 0.25

#: The laser follows the command to play the go cue by this much and goes off with the feedback.
LASER_DELAY_S = 0.0012


def optogenetics_datasets(trials: Trials, task_collection: str, generator: np.random.Generator) -> Datasets:
    """
    Invent the laser.

    Parameters
    ----------
    trials : dict of str to numpy.ndarray
        Trials in some of which the laser is on.
    task_collection : str
        Collection of the task, such as ``"alf"``.
    generator : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    dict
        Onset and offset (n, 2) in seconds on the session clock, one row per trial, NaN in trials without laser; whether
        it was on (1, 0, and NaN in the first trial) and how probable that was, (n,). All float64.
    """
    n_trials = len(trials["goCue_times"])
    is_on = generator.random(n_trials) < LASER_PROBABILITY
    is_on[-1] = True  # so that the shortest of sessions has one
    intervals = np.column_stack([trials["goCueTrigger_times"] + LASER_DELAY_S, trials["feedback_times"]])
    intervals[~is_on] = np.nan
    stimulation = is_on.astype(np.float64)
    if not is_on[0]:
        stimulation[0] = np.nan
    return {
        f"{task_collection}/_ibl_laserStimulation.intervals.npy": intervals,
        f"{task_collection}/_ibl_trials.laserStimulation.npy": stimulation,
        f"{task_collection}/_ibl_trials.laserProbability.npy": np.full(n_trials, LASER_PROBABILITY),
    }
