"""The gain of data sets from their variances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggscale.weighting.counting_gain import counting_gain, range_medians
from braggscale.weighting.intensity_choice import Intensities


@given(st.integers(40, 700), st.integers(1, 40))
def test_medians_of_ranges_are_those_of_array_split(n: int, n_bins: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    wanted = [np.median(part) for part in np.array_split(values, n_bins)]
    np.testing.assert_array_equal(range_medians(values, n_bins), wanted)


@pytest.mark.parametrize("gain", [0.3, 1.0, 2.5])
def test_gain_of_large_and_small_data_sets(gain: float) -> None:
    """Two large data sets with gains of their own, and thirty small ones that share one."""
    rng = np.random.default_rng(5)
    of = np.repeat(np.arange(32), [3000, 5000, *[40] * 30])
    k = np.array([gain, 2.0 * gain, *[0.5 * gain] * 30])
    raw = rng.exponential(300.0, len(of)) - 10.0
    variance = k[of] * np.abs(raw) + 50.0 * rng.uniform(0.8, 1.25, len(of))
    found = counting_gain(Intensities(raw, variance, np.ones(len(of))), of, 32)
    np.testing.assert_allclose(found.k, k, rtol=0.05)
    assert found.pooled.tolist() == [False, False, *[True] * 30] and not found.reasons


def test_variances_that_do_not_grow_have_no_gain() -> None:
    rng = np.random.default_rng(6)
    raw = rng.exponential(300.0, 2000)
    found = counting_gain(Intensities(raw, np.full(2000, 90.0), np.ones(2000)), np.zeros(2000, np.int64), 1)
    assert found.k[0] == 0.0 and "do not grow" in found.reasons[0]


@pytest.mark.parametrize("mean", [10.0, 1000.0])
def test_background_that_falls_with_resolution_is_no_gain(mean):
    """Intensity and background both fall from low to high angles; the slope is that of the counts all the same."""
    rng = np.random.default_rng(3)
    n = 20_000
    d = 1.0 / np.sqrt(rng.uniform(0.05, 0.5, n))
    falls = np.exp(-4.0 / d**2)
    background = 8.0 + 20.0 * falls
    raw = rng.poisson(rng.exponential(mean, n) * falls + background) - background
    values = Intensities(raw, np.abs(raw) + background, np.ones(n))
    found = counting_gain(values, np.zeros(n, np.int64), 1, d)
    assert found.k[0] == pytest.approx(1.0, abs=0.05)
    if mean == 10.0:
        assert counting_gain(values, np.zeros(n, np.int64), 1).k[0] > 1.15
