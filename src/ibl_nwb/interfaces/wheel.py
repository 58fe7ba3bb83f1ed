"""Wheel: position, detected movements and, as an option, the velocity and acceleration derived from the position."""

from __future__ import annotations

from typing import Any

import numpy as np
from neuroconv.basetemporalalignmentinterface import BaseTemporalAlignmentInterface
from neuroconv.tools.nwb_helpers import get_module
from pynwb import NWBFile, TimeSeries
from pynwb.behavior import SpatialSeries
from pynwb.core import VectorData
from pynwb.epoch import TimeIntervals

from ..errors import DatasetInconsistentError
from ..session import check_equal_lengths, load_array
from .base import STUB_LENGTH, ALFDataset, AlignableTimes, CollectionInterface, check_times

#: Angle in rad of one step of the encoder (1024 lines) at quadrature x4, x2 and x1, and the same step in cm on a wheel
#: of 3.1 cm radius, the unit that rigs wrote until 2018 (ibllib.io.extractors.training_wheel).
_STEPS_RAD = tuple(2 * np.pi / 1024 / decoding for decoding in (4, 2, 1))
_STEPS_CM = tuple(3.1 * step for step in _STEPS_RAD)

#: How a series of each unit is declared in NWB (what is stored stays as it is), and the unit of its rate of change.
_SERIES_UNITS: dict[str, tuple[dict[str, Any], str]] = {
    "radians": ({"unit": "radians"}, "radians/s"),
    "centimeters": ({"unit": "meters", "conversion": 0.01}, "meters/s"),
}

#: The derivation that IBL publishes (brainbox.behavior.wheel): sampling rate, corner frequency and filter order.
VELOCITY_RATE_HZ = 1000.0
VELOCITY_CORNER_HZ = 20.0
VELOCITY_FILTER_ORDER = 8


class WheelInterface(CollectionInterface, AlignableTimes, BaseTemporalAlignmentInterface):
    """The steering wheel: ``wheel.position`` with its times, and ``wheelMoves``.

    Times are ALF's own seconds on the session clock and stay irregular: the encoder yields a sample only when it turns.
    The position is stored as it is. Sessions before 2019 hold centimetres along the rim instead of radians; the step
    between samples tells which, and the unit is written accordingly. Movements are moved along by interpolation where
    aligned times of the position are set.
    """

    display_name = "IBL wheel"
    keywords = ("behavior", "wheel", "rotary encoder")
    associated_suffixes = (".npy",)
    info = "Interface for the wheel position and wheel movements of an IBL session."

    family = "Wheel"
    datasets = (
        ALFDataset("position", ("wheel.position.npy",), required=True),
        ALFDataset("timestamps", ("wheel.timestamps.npy", "wheel.times.npy"), required=True),
        ALFDataset("velocity", ("wheel.velocity.npy",)),
        ALFDataset("moves_intervals", ("wheelMoves.intervals.npy",)),
        ALFDataset("moves_peak_amplitude", ("wheelMoves.peakAmplitude.npy",)),
    )

    def get_original_timestamps(self) -> np.ndarray:
        """Times of the position samples as stored, ``(n,)`` seconds on the session clock."""
        (dataset,) = self.sources["timestamps"]
        timestamps = load_array(dataset)
        if timestamps.ndim == 2:  # ALF's other form: knots of sample number and seconds
            from one.alf.io import ts2vec

            timestamps = ts2vec(timestamps, len(self._load("position")))
        check_times(timestamps, dataset)
        return timestamps

    def add_to_nwbfile(
        self,
        nwbfile: NWBFile,
        metadata: dict | None = None,
        *,
        stub_test: bool = False,
        write_velocity: bool = False,
        write_acceleration: bool = False,
    ) -> None:
        """
        Add the wheel to an NWB file, in the processing module "wheel".

        Parameters
        ----------
        nwbfile : NWBFile
            The file to add to.
        metadata : dict, optional
            Names and descriptions in the block "Wheel". Default: those of :meth:`get_metadata`.
        stub_test : bool, default: False
            Write the first 100 samples and movements only.
        write_velocity : bool, default: False
            Also write the angular velocity, derived from the position.
        write_acceleration : bool, default: False
            Also write the angular acceleration, derived from the position.
        """
        entry = self._get_entry(metadata, "Wheel")
        position, timestamps = self._load("position"), self.get_timestamps()
        check_equal_lengths("wheel", self._lengths("position", "timestamps", "velocity"))
        self._check_not_counts(position)
        unit = position_unit(position)
        unit_kwargs, per_second = _SERIES_UNITS[unit]
        stop = STUB_LENGTH if stub_test else None
        module = get_module(nwbfile, name="wheel", description="Wheel that the subject turns to answer.")
        series = SpatialSeries(
            **entry["WheelPosition"],
            data=position[:stop],
            timestamps=timestamps[:stop],
            **unit_kwargs,
            comments=self._source_comment("position", "timestamps"),
        )
        module.add(series)
        if self.sources["velocity"]:
            module.add(
                TimeSeries(
                    **entry["WheelVelocityStored"],
                    data=self._load("velocity")[:stop],
                    timestamps=series,
                    **{**unit_kwargs, "unit": per_second},
                    comments=self._source_comment("velocity"),
                )
            )
        if self.sources["moves_intervals"]:
            module.add(self._make_movements(entry["WheelMovementIntervals"], unit, stop))
        if write_velocity or write_acceleration:
            times, velocity, acceleration = derive_velocity(timestamps[:stop], position[:stop])
            derived_kwargs = {
                **unit_kwargs,
                "starting_time": float(times[0]),
                "rate": VELOCITY_RATE_HZ,
                "comments": f"Derived. {self._source_comment('position', 'timestamps')}",
            }
            if write_velocity:
                module.add(
                    TimeSeries(**entry["WheelVelocity"], data=velocity, **{**derived_kwargs, "unit": per_second})
                )
            if write_acceleration:
                per_second_squared = f"{per_second}^2"
                module.add(
                    TimeSeries(
                        **entry["WheelAcceleration"],
                        data=acceleration,
                        **{**derived_kwargs, "unit": per_second_squared},
                    )
                )

    def _check_not_counts(self, position: np.ndarray) -> None:
        """Refuse counts of the encoder: how many make a turn is not in the session."""
        if np.any(np.diff(position)) and (position == np.round(position)).all():
            raise DatasetInconsistentError(
                f"'{self.sources['position'][0].path}' holds whole numbers from {position.min():g} to "
                f"{position.max():g}: counts of the rotary encoder, not radians, and nothing says how many make a "
                "turn. Get the file again, or leave the wheel out with --exclude Wheel."
            )

    def _load(self, key: str) -> np.ndarray:
        (dataset,) = self.sources[key]
        return load_array(dataset)

    def _lengths(self, *keys: str) -> dict[str, int]:
        lengths = {self.sources[key][0].relative_path: len(self._load(key)) for key in keys if self.sources[key]}
        if "timestamps" in keys:
            lengths[self.sources["timestamps"][0].relative_path] = len(self.get_original_timestamps())
        return lengths

    def _make_movements(self, entry: dict[str, Any], unit: str, stop: int | None) -> TimeIntervals:
        check_equal_lengths("wheelMoves", self._lengths("moves_intervals", "moves_peak_amplitude"))
        intervals = self._load("moves_intervals")[:stop]
        if self._timestamps is not None:
            intervals = np.interp(intervals, self.get_original_timestamps(), self._timestamps)
        values = {"start_time": intervals[:, 0], "stop_time": intervals[:, 1]}
        if self.sources["moves_peak_amplitude"]:
            values["peak_amplitude"] = self._load("moves_peak_amplitude")[:stop]
        columns = [
            VectorData(name=name, description=entry["columns"][name].replace("radians", unit), data=data)
            for name, data in values.items()
        ]
        return TimeIntervals(name=entry["name"], description=entry["description"], columns=columns)


def position_unit(position: np.ndarray) -> str:
    """Unit of a stored wheel position, told from the size of the encoder's smallest step.

    Parameters
    ----------
    position : numpy.ndarray
        ``(n,)`` unwrapped wheel position.

    Returns
    -------
    str
        "radians", or "centimeters" for the linear positions of 2018.

    Notes
    -----
    IBL infers the unit the same way, from the median step (ibllib.io.extractors.training_wheel.infer_wheel_units).
    """
    steps = np.abs(np.diff(position))
    steps = steps[steps > 0]
    if not len(steps):
        return "radians"
    step = float(np.median(steps))
    distance_rad, distance_cm = (min(abs(step - known) for known in table) for table in (_STEPS_RAD, _STEPS_CM))
    return "radians" if distance_rad <= distance_cm else "centimeters"


def derive_velocity(timestamps: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Velocity and acceleration of the wheel by IBL's published recipe.

    The position is interpolated linearly at 1 kHz, low-passed at 20 Hz by an 8th-order Butterworth filter run forwards
    and backwards, and differentiated; the first value of either derivative is 0 (brainbox.behavior.wheel:
    ``interpolate_position`` and ``velocity_filtered``).

    Parameters
    ----------
    timestamps : numpy.ndarray
        ``(n,)`` seconds, rising.
    position : numpy.ndarray
        ``(n,)`` radians.

    Returns
    -------
    times, velocity, acceleration : numpy.ndarray
        ``(m,)`` float64 each: seconds at 1 kHz from the first timestamp, rad/s and rad/s².
    """
    from scipy.signal import butter, sosfiltfilt

    times = np.arange(timestamps[0], timestamps[-1], 1 / VELOCITY_RATE_HZ)
    regular_position = np.interp(times, timestamps, position)
    filter_sections = butter(
        N=VELOCITY_FILTER_ORDER, Wn=VELOCITY_CORNER_HZ / VELOCITY_RATE_HZ * 2, btype="lowpass", output="sos"
    )
    smooth_position = sosfiltfilt(filter_sections, regular_position)
    velocity = np.diff(smooth_position, prepend=smooth_position[0]) * VELOCITY_RATE_HZ
    acceleration = np.diff(velocity, prepend=velocity[0]) * VELOCITY_RATE_HZ
    return times, velocity, acceleration
