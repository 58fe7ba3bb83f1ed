"""ProbeClock: session times of raw samples from a few knots, without ever computing all of them."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from ibl_nwb.errors import DatasetInconsistentError
from ibl_nwb.probe_clock import ProbeClock, aligned_clock, ap_samples_per_sample

RATE_HZ = 30_000.390639481

steps = st.floats(min_value=1.0, max_value=1e5, allow_nan=False)


@st.composite
def rising_knots(draw, min_size=2):
    """Knots with irregular steps, whose clock runs up to 100 ppm fast or slow."""
    size = draw(st.integers(min_size, 12))
    samples = draw(st.floats(-1e6, 1e6)) + np.cumsum(draw(arrays(np.float64, size, elements=steps)))
    drift = draw(arrays(np.float64, size, elements=st.floats(0.9999, 1.0001)))
    seconds = draw(st.floats(-100, 100)) + np.cumsum(np.diff(samples, prepend=samples[0] - 1) * drift) / RATE_HZ
    return np.column_stack((samples, seconds))


@given(rising_knots(), st.floats(0, 1))
def test_times_between_knots_are_interpolated_linearly(knots, fraction):
    wanted = knots[0, 0] + fraction * (knots[-1, 0] - knots[0, 0])
    assert_array_equal(aligned_clock(knots, RATE_HZ).times(np.array([wanted])), np.interp([wanted], *knots.T))


@given(rising_knots(), st.floats(1, 1e6))
def test_times_outside_the_knots_continue_the_first_and_last_piece(knots, distance):
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = knots[0], knots[1], knots[-2], knots[-1]
    before, after = aligned_clock(knots, RATE_HZ).times(np.array([x0 - distance, x3 + distance]))
    assert_allclose(before, y0 - distance * (y1 - y0) / (x1 - x0), rtol=1e-12, atol=1e-9)
    assert_allclose(after, y3 + distance * (y3 - y2) / (x3 - x2), rtol=1e-12, atol=1e-9)


@given(rising_knots(), arrays(np.float64, 5, elements=st.floats(-1e6, 2e6)))
def test_samples_are_the_inverse_of_times(knots, samples):
    clock = aligned_clock(knots, RATE_HZ, 12.0)
    assert_allclose(clock.samples(clock.times(samples)), samples, atol=1e-3)


@given(rising_knots(min_size=3), st.integers(2, 3000), st.sampled_from([1e-9, 1e-7, 1e-6, 1e-5, 1e-3]))
def test_the_knots_alone_decide_whether_a_rate_fits_every_sample(knots, n_samples, tolerance):
    knots[:, 0] = (knots[:, 0] - knots[0, 0]) / (knots[-1, 0] - knots[0, 0]) * 2500 - 100
    assume((np.diff(knots[:, 0]) > 1e-6).all())
    knots[:, 1] = (knots[:, 1] - knots[0, 1]) / (knots[-1, 1] - knots[0, 1]) * 2500 / RATE_HZ + 7
    clock = aligned_clock(knots, RATE_HZ)
    start, rate = clock.start_and_rate(n_samples)
    indices = np.arange(n_samples)
    worst = np.abs(clock.times(indices) - (start + indices / rate)).max()
    assume(abs(worst - tolerance) > 1e-12)
    assert clock.fits_rate(n_samples, tolerance) == (worst <= tolerance)


def test_a_bend_of_more_than_a_microsecond_does_not_fit_a_rate():
    middle, end = 150_000, 300_000
    straight = np.array([[0, 0], [middle, middle / RATE_HZ], [end, end / RATE_HZ]])
    assert aligned_clock(straight, RATE_HZ).fits_rate(end)
    for bend, fits in ((0.9e-6, True), (1.1e-6, False)):
        assert aligned_clock(straight + [[0, 0], [0, bend], [0, 0]], RATE_HZ).fits_rate(end) is fits


def test_a_bend_beyond_the_end_of_the_recording_does_not_matter():
    knots = np.array([[0, 0], [1000, 1000 / RATE_HZ], [2000, 1.0]])
    assert aligned_clock(knots, RATE_HZ).fits_rate(1000)
    assert not aligned_clock(knots, RATE_HZ).fits_rate(1500)


def test_a_single_knot_shifts_the_clock_which_runs_at_the_stated_rate():
    clock = aligned_clock(np.array([[100.0, 5.0]]), RATE_HZ)
    assert_allclose(clock.times(np.array([0, 100, 30_100])), [5 - 100 / RATE_HZ, 5, 5 + 30_000 / RATE_HZ], rtol=1e-14)
    assert clock.fits_rate(10**9)
    assert clock.start_and_rate(10**9) == (clock.times(np.array(0)), RATE_HZ)


def test_without_knots_it_is_the_probes_own_clock_and_says_so():
    clock = ProbeClock(RATE_HZ)
    assert not clock.is_aligned
    assert_array_equal(clock.times(np.array([0, 1, 300])), np.array([0, 1, 300]) * (1 / RATE_HZ))
    assert clock.start_and_rate(1000) == (0.0, RATE_HZ)


def test_lf_samples_are_counted_in_ap_samples_first():
    knots = np.array([[0.0, 10.0], [6000.5, 10.2], [90_000.0, 13.01]])
    lf_clock = aligned_clock(knots, RATE_HZ, 12.0)
    indices = np.arange(7500)
    assert_array_equal(lf_clock.times(indices), np.interp(indices * 12.0, *knots.T))
    assert lf_clock.rate_hz == RATE_HZ / 12


@pytest.mark.parametrize(
    ("ap_rate_hz", "lf_rate_hz", "ratio"),
    [
        (30_000.390639481, 2500.0325532900833, 12.0),
        (30_000.390639481, 2500, 12.0),  # a computed LF band states its nominal rate
        (30_000, 2500, 12.0),
        (30_000, 4000, 7.5),
    ],
)
def test_ap_samples_per_lf_sample_are_whole_when_the_rates_nearly_are(ap_rate_hz, lf_rate_hz, ratio):
    assert ap_samples_per_sample(ap_rate_hz, lf_rate_hz) == ratio


@pytest.mark.parametrize(
    ("knots", "named"),
    [
        (np.empty((0, 2)), "(0, 2)"),
        (np.arange(4.0), "(4,)"),
        (np.zeros((3, 3)), "(3, 3)"),
        (np.array([[0, 0], [np.nan, 1]]), "nan"),
        (np.array([[0, 0], [1, np.inf]]), "inf"),
        (np.array([[0, 0.0], [30_000, 1.0], [20_000, 2.0]]), "[30000.0, 1.0], to [20000.0, 2.0]"),
        (np.array([[0, 0.0], [30_000, 1.0], [60_000, 0.5]]), "[60000.0, 0.5]"),
        (np.array([[0, 0.0], [0, 1.0]]), "row 0"),
    ],
)
def test_unusable_knots_are_refused_with_file_and_values(knots, named):
    with pytest.raises(DatasetInconsistentError) as raised:
        aligned_clock(knots, RATE_HZ, path="imec0.timestamps.npy")
    assert "imec0.timestamps.npy" in str(raised.value)
    assert named in str(raised.value)
