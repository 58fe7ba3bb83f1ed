"""Trials of an invented ephysChoiceWorld session, in the layouts of three eras."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._files import Datasets, in_revision

TRIALS_REVISION = "2024-02-20"

#: Columns of `_ibl_trials.table.pqt`, in IBL's order.
TABLE_COLUMNS = (
    "intervals_0",
    "intervals_1",
    "goCue_times",
    "response_times",
    "choice",
    "stimOn_times",
    "contrastLeft",
    "contrastRight",
    "feedback_times",
    "feedbackType",
    "rewardVolume",
    "probabilityLeft",
    "firstMovement_times",
)

#: Attributes that are files of their own beside the table.
EXTRA_ATTRIBUTES = (
    "goCueTrigger_times",
    "stimOnTrigger_times",
    "stimOffTrigger_times",
    "stimOff_times",
    "quiescencePeriod",
    "included",
    "intervals_bpod",
)

#: Attributes that also exist as files in the mixed layout. They are older than the table, which takes precedence.
MIXED_ATTRIBUTES = ("intervals", "choice", "stimOn_times", "contrastLeft", "contrastRight")

FIRST_TRIAL_START_S = 10.5
RESPONSE_WINDOW_S = 60.0
REWARD_UL = 1.5

#: Contrast (fraction) to the fraction of correct answers.
PERFORMANCE = {0.0: 0.55, 0.0625: 0.7, 0.125: 0.85, 0.25: 0.93, 1.0: 0.97}

#: The photodiode times of the older extraction are late by one frame of the 60 Hz screen.
OLD_STIM_ON_DELAY_S = 1 / 60

Trials = dict[str, NDArray[Any]]


def make_trials(n_trials: int, generator: np.random.Generator) -> Trials:
    """
    Invent trials whose attributes agree with one another.

    Parameters
    ----------
    n_trials : int
        Number of trials. From four on, one of them has no response.
    generator : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    dict of str to numpy.ndarray
        Every attribute that some layout holds, `n_trials` rows each: times in seconds on the session clock
        (``intervals_bpod`` in Bpod seconds), contrasts as fractions, ``choice`` and ``feedbackType`` as float64, the
        way extraction from a DAQ gives them.
    """
    trials = _stimuli_and_choices(n_trials, generator)
    durations = _times_within_trial(trials, generator)
    pauses = generator.uniform(0.03, 0.1, n_trials)
    starts = FIRST_TRIAL_START_S + np.concatenate([[0.0], np.cumsum(durations + pauses)[:-1]])
    for name in [name for name in trials if name.endswith("_times")]:
        trials[name] = trials[name] + starts
    trials["intervals"] = np.column_stack([starts, starts + durations])
    # Bpod counts from the start of the first trial and its crystal runs 3 ppm fast.
    trials["intervals_bpod"] = (trials["intervals"] - starts[0]) * (1 + 3e-6)
    trials["itiDuration"] = trials["intervals"][:, 1] - trials["stimOff_times"]
    trials["included"] = np.arange(n_trials) < n_trials - n_trials // 20
    _mark_missing_stimulus_onsets(trials)
    return trials


def trials_datasets(trials: Trials, layout: str, collection: str, *, revisions: bool) -> Datasets:
    """
    Lay trials out as the files of an era.

    Parameters
    ----------
    trials : dict of str to numpy.ndarray
        What `make_trials` gave.
    layout : {"table", "legacy", "mixed"}
        ``"table"``: the parquet table and its companions. ``"legacy"``: one npy per attribute. ``"mixed"``: the table
        beside older npy files of some of the same attributes, whose stimulus onsets are one screen frame late.
    collection : str
        Where the files go, such as ``"alf"``.
    revisions : bool
        Whether a corrected table exists in a revision; the bare table then holds the late stimulus onsets.
    """
    older = {**trials, "stimOn_times": trials["stimOn_times"] + OLD_STIM_ON_DELAY_S}
    if layout == "legacy":
        return _attribute_files(_with_integer_outcomes(trials), tuple(trials), collection)
    datasets = _attribute_files(trials, EXTRA_ATTRIBUTES, collection)
    if layout == "mixed":
        datasets |= _attribute_files(_with_integer_outcomes(older), MIXED_ATTRIBUTES, collection)
    if revisions:
        datasets |= in_revision(_table_file(trials, collection), TRIALS_REVISION)
    return datasets | _table_file(older if revisions else trials, collection)


def _stimuli_and_choices(n_trials: int, generator: np.random.Generator) -> Trials:
    probability_left = _block_probabilities(n_trials)
    is_left = generator.random(n_trials) < probability_left
    contrast = generator.choice(list(PERFORMANCE), n_trials)
    is_correct = generator.random(n_trials) < np.array([PERFORMANCE[value] for value in contrast])
    # A clockwise turn (+1) answers a stimulus on the left, a counter-clockwise one (-1) a stimulus on the right.
    choice = np.where(is_left == is_correct, 1.0, -1.0)
    if n_trials >= 4:
        choice[n_trials // 2] = 0.0
        is_correct[n_trials // 2] = False
    return {
        "choice": choice,
        "contrastLeft": np.where(is_left, contrast, np.nan),
        "contrastRight": np.where(is_left, np.nan, contrast),
        "feedbackType": np.where(is_correct, 1.0, -1.0),
        "rewardVolume": np.where(is_correct, REWARD_UL, 0.0),
        "probabilityLeft": probability_left,
        "quiescencePeriod": generator.uniform(0.4, 0.7, n_trials),
        "repNum": np.zeros(n_trials, dtype=np.int64),
    }


def _block_probabilities(n_trials: int) -> NDArray[np.float64]:
    """Give an unbiased third and then short biased blocks, so that a small session has blocks of every kind."""
    block_length = max(n_trials // 6, 1)
    n_unbiased = n_trials // 3
    block = np.maximum(np.arange(n_trials) - n_unbiased, 0) // block_length
    return np.where(np.arange(n_trials) < n_unbiased, 0.5, np.where(block % 2 == 0, 0.2, 0.8))


def _times_within_trial(trials: Trials, generator: np.random.Generator) -> NDArray[np.float64]:
    """Add the event times, in seconds from the start of the trial, and return the trial durations in seconds."""
    n_trials = len(trials["choice"])
    is_no_go = trials["choice"] == 0
    stim_on_trigger = 0.1 + trials["quiescencePeriod"]
    stim_on = stim_on_trigger + generator.uniform(0.02, 0.05, n_trials)
    go_cue_trigger = stim_on + generator.uniform(0.0005, 0.002, n_trials)
    go_cue = go_cue_trigger + generator.uniform(0.0001, 0.0015, n_trials)
    first_movement = go_cue + 0.08 + generator.gamma(2.0, 0.08, n_trials)
    first_movement[is_no_go] = np.nan
    response = np.where(is_no_go, go_cue + RESPONSE_WINDOW_S, first_movement + generator.uniform(0.25, 0.9, n_trials))
    feedback = response + generator.uniform(0.0001, 0.0008, n_trials)
    stim_off_trigger = feedback + np.where(trials["feedbackType"] > 0, 1.0, 2.0)
    stim_off = stim_off_trigger + generator.uniform(0.02, 0.04, n_trials)
    trials |= {
        "stimOnTrigger_times": stim_on_trigger,
        "stimOn_times": stim_on,
        "goCueTrigger_times": go_cue_trigger,
        "goCue_times": go_cue,
        "firstMovement_times": first_movement,
        "response_times": response,
        "feedback_times": feedback,
        "stimOffTrigger_times": stim_off_trigger,
        "stimOff_times": stim_off,
    }
    return stim_off + 0.5


def _mark_missing_stimulus_onsets(trials: Trials) -> None:
    """Blank two photodiode times, as when the flip was not seen."""
    n_trials = len(trials["choice"])
    missing = [row for row in {1, n_trials - 2} if 0 < row < n_trials]
    trials["stimOn_times"][missing] = np.nan


def _table_file(trials: Trials, collection: str) -> Datasets:
    columns = trials | {"intervals_0": trials["intervals"][:, 0], "intervals_1": trials["intervals"][:, 1]}
    return {f"{collection}/_ibl_trials.table.pqt": {name: columns[name] for name in TABLE_COLUMNS}}


def _attribute_files(trials: Trials, names: tuple[str, ...], collection: str) -> Datasets:
    return {f"{collection}/_ibl_trials.{name}.npy": trials[name] for name in names}


def _with_integer_outcomes(trials: Trials) -> Trials:
    """Give choice and feedback as int64, the way files outside a table hold them."""
    return trials | {name: trials[name].astype(np.int64) for name in ("choice", "feedbackType")}
