"""Variances of the output: what SHELXL and a weighted mean make of them, with known truth."""

import numpy as np
import pytest

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Float
from braggscale.weighting.expected_variance import Expectation, VarianceModel
from braggscale.weighting.output_variance import observed_variance, output_variance

EQUIVALENTS, BACKGROUND, B = 40, 20.0, 0.05


def measured(true: float, n: int = 4000, seed: int = 0) -> Expectation:
    """``n`` reflections of the same true intensity with counting noise and errors proportional to the intensity."""
    rng = np.random.default_rng(seed)
    rows = n * EQUIVALENTS
    counts = rng.poisson(true * (1.0 + B * rng.normal(size=rows)).clip(0.1) + BACKGROUND)
    intensity, variance = counts - BACKGROUND, counts + BACKGROUND
    one, zero = np.ones(1), np.zeros(1)
    model = VarianceModel(
        intensity, variance.astype(np.float64), np.ones(rows), np.zeros(rows, np.int32), one, np.full(1, BACKGROUND),
        one, np.full(1, B**2), zero, zero[:0],
    )  # fmt: skip
    groups, mu = Groups.of_sizes(np.full(n, EQUIVALENTS)), np.full(rows, true)
    return Expectation(model, np.ones(rows), model.at(mu), np.full(n, true), groups, groups)


def shelxl_mean(intensity: Float, variance: Float) -> float:
    """Mean over all groups of the merged intensities of SHELXL."""
    sigma = np.sqrt(variance)
    weight = np.where(intensity > 3.0 * sigma, intensity / variance, 3.0 / sigma)
    rows = (-1, EQUIVALENTS)
    return float(np.mean((weight * intensity).reshape(rows).sum(axis=1) / weight.reshape(rows).sum(axis=1)))


@pytest.mark.parametrize("true", [60.0, 150.0, 500.0])
def test_mean_of_shelxl_needs_variances_at_the_observed_intensity(true):
    given = measured(true)
    none = np.zeros(len(given.scale))
    i, expected, observed = given.variance_model.intensity, output_variance(given, none), observed_variance(given, none)
    sigma = np.sqrt(expected.mean() / EQUIVALENTS)
    assert np.mean(i) == pytest.approx(true, abs=0.05 * sigma)
    at_expected, at_observed = ((shelxl_mean(i, v) - true) / sigma for v in (expected, observed))
    assert at_expected > 0.2 and abs(at_observed) < 0.6 * at_expected


def test_both_are_equal_on_average_and_where_nothing_deviates():
    given = measured(300.0)
    spread = np.full(len(given.scale), 1e-4)
    expected, observed = output_variance(given, spread), observed_variance(given, spread)
    assert np.mean(observed) == pytest.approx(np.mean(expected), rel=0.02)
    assert np.ptp(expected - given.variance_model.intensity**2 * spread) < 1e-6
    order = np.argsort(given.variance_model.intensity)
    assert (np.diff(observed[order]) >= 0).all() and observed[order[-1]] > 1.5 * observed[order[0]]


def test_the_part_of_the_scale_is_that_of_the_observed_intensity():
    given = measured(300.0, n=5)
    none, spread = np.zeros(len(given.scale)), np.full(len(given.scale), 1e-3)
    part = given.variance_model.intensity**2 * spread
    for variance in (output_variance, observed_variance):
        np.testing.assert_allclose(variance(given, spread) - variance(given, none), part, rtol=1e-9)
