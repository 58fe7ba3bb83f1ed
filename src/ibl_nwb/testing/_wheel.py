"""Wheel of an invented session: encoder steps that agree with the choices, and the movements in them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._files import Datasets, in_revision
from ._trials import Trials

WHEEL_REVISION = "2025-03-03"

ENCODER_LINES = 1024
WHEEL_RADIUS_CM = 3.1
DAQ_STEP_RAD = 2 * np.pi / (4 * ENCODER_LINES)
LEGACY_STEP_RAD = 2 * np.pi / ENCODER_LINES

#: Turn that brings the stimulus to the centre of the screen, radians.
RESPONSE_TURN_RAD = 0.30

#: Rate at which the turn is followed to find encoder steps; high enough that no two steps fall together.
FOLLOWING_RATE_HZ = 5000.0


class WheelMove(NamedTuple):
    """One movement: onset and offset on the session clock, signed peak excursion in radians."""

    start_s: float
    stop_s: float
    amplitude_rad: float


def wheel_datasets(
    trials: Trials, layout: str, collection: str, generator: np.random.Generator, *, revisions: bool
) -> Datasets:
    """
    Invent the wheel and lay it out as files.

    Parameters
    ----------
    trials : dict of str to numpy.ndarray
        Trials whose choices the wheel follows: a choice of +1 lowers the position, -1 raises it.
    layout : {"current", "legacy"}
        ``"current"``: position (radians) and timestamps at every encoder step, and the detected movements.
        ``"legacy"``: the 2018 files, position in **centimetres** along the rim, times and velocity; no movements.
    collection : str
        Where the files go, such as ``"alf"``.
    generator : numpy.random.Generator
        Source of random numbers.
    revisions : bool
        Whether position and peak amplitude were corrected in a revision, the bare ones having the wrong sign. The
        timestamps and the intervals were right and have no revision.
    """
    moves = _moves(trials, generator)
    if layout == "legacy":
        times, position = _encoder_steps(moves, LEGACY_STEP_RAD)
        return _legacy_files(times, position * WHEEL_RADIUS_CM, collection)
    times, position = _encoder_steps(moves, DAQ_STEP_RAD)
    unsigned: Datasets = {
        f"{collection}/_ibl_wheel.timestamps.npy": times,
        f"{collection}/_ibl_wheelMoves.intervals.npy": np.array([(move.start_s, move.stop_s) for move in moves]),
    }
    amplitudes = np.array([move.amplitude_rad for move in moves])
    signed = _signed_files(position, amplitudes, collection)
    if revisions:
        signed = in_revision(signed, WHEEL_REVISION) | _signed_files(-position, -amplitudes, collection)
    return unsigned | signed


def _moves(trials: Trials, generator: np.random.Generator) -> list[WheelMove]:
    """Turn for every response, and now and then while the animal waits for the next trial."""
    moves = []
    columns = ("choice", "firstMovement_times", "response_times", "feedback_times")
    for choice, first_movement, response, feedback in zip(*(trials[name] for name in columns), strict=True):
        if choice != 0:
            amplitude = -choice * RESPONSE_TURN_RAD * generator.uniform(1.0, 1.3)
            moves.append(WheelMove(first_movement, response + 0.1, _whole_steps(amplitude)))
        if generator.random() < 0.4:
            start = feedback + generator.uniform(0.4, 0.5)
            amplitude = generator.choice([-1, 1]) * generator.uniform(0.05, 0.2)
            moves.append(WheelMove(start, start + generator.uniform(0.2, 0.4), _whole_steps(amplitude)))
    return moves


def _whole_steps(amplitude_rad: float) -> float:
    return float(np.rint(amplitude_rad / DAQ_STEP_RAD) * DAQ_STEP_RAD)


def _encoder_steps(moves: list[WheelMove], step_rad: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the time (s) and the position (rad) at every encoder change of all movements."""
    times, positions = [], []
    rest = 0
    for move in moves:
        time = np.arange(move.start_s, move.stop_s, 1 / FOLLOWING_RATE_HZ)
        turn = move.amplitude_rad * _turn_shape((time - move.start_s) / (move.stop_s - move.start_s))
        steps = rest + np.rint(turn / step_rad).astype(np.int64)
        changed = np.diff(steps, prepend=rest) != 0
        times.append(time[changed])
        positions.append(steps[changed])
        rest = steps[-1]
    return np.concatenate(times), np.concatenate(positions) * step_rad


def _turn_shape(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Go smoothly from 0 to the peak of 1 and then back by a tenth, as a hand does at the end of a turn."""
    return _smooth_step(phase / 0.8) - 0.1 * _smooth_step((phase - 0.8) / 0.2)


def _smooth_step(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = np.clip(phase, 0.0, 1.0)
    return phase**3 * (10 - 15 * phase + 6 * phase**2)


def _signed_files(position_rad: NDArray[np.float64], amplitudes_rad: NDArray[np.float64], collection: str) -> Datasets:
    return {
        f"{collection}/_ibl_wheel.position.npy": position_rad,
        f"{collection}/_ibl_wheelMoves.peakAmplitude.npy": amplitudes_rad,
    }


def _legacy_files(times: NDArray[np.float64], position_cm: NDArray[np.float64], collection: str) -> Datasets:
    velocity = np.concatenate([[0.0], np.diff(position_cm) / np.diff(times)])
    return {
        f"{collection}/_ibl_wheel.position.npy": position_cm,
        f"{collection}/_ibl_wheel.times.npy": times,
        f"{collection}/_ibl_wheel.velocity.npy": velocity,
    }
