"""Intensities at dose zero: known slopes, shrinkage, sigmas that are right, and what has no slope."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.unique_reflections import Groups
from braggscale.statistics.dose_lines import response
from braggscale.statistics.zero_dose import zero_dose


def measured(tau, seed=0, n_groups=2000, most=12):
    """Groups, x, weight, dose, 1/d^2, and the true intensities and slopes."""
    rng = np.random.default_rng(seed)
    groups = Groups.of_sizes(rng.integers(1, most, n_groups))
    truth = rng.exponential(1000.0, n_groups)
    slope = tau * np.sqrt(truth * 1000.0 + 250_000.0) * rng.normal(size=n_groups)
    dose = rng.uniform(0, 1, groups.n_rows)
    sigma = np.sqrt(truth + 100.0)[groups.index()] + 20.0
    x = truth[groups.index()] + slope[groups.index()] * dose + sigma * rng.normal(size=groups.n_rows)
    return (groups, x, sigma**-2.0, dose, rng.uniform(0.01, 0.2, n_groups)), truth, slope


@pytest.mark.parametrize("tau", [0.1, 0.2, 0.4])
def test_dose_zero_is_nearer_to_the_truth_and_its_sigmas_are_right(tau):
    data, truth, slope = measured(tau)
    found = zero_dose(*data)
    assert found.tau == pytest.approx(tau, rel=0.15)
    plain, zero = (np.abs(i - truth).sum() / truth.sum() for i in (found.mean, found.intensity))
    assert zero < (0.75 if tau == 0.1 else 0.6) * plain
    assert 0.9 < np.mean((found.intensity - truth) ** 2 / found.sigma**2) < 1.15
    assert 0.85 < np.mean((found.slope - slope) ** 2 / found.slope_sigma**2) < 1.2


def test_without_damage_nothing_is_extrapolated():
    data, truth, _ = measured(0.0)
    found = zero_dose(*data)
    assert found.tau < 0.02
    assert np.abs(found.intensity - truth).sum() < 1.02 * np.abs(found.mean - truth).sum()


def test_what_was_measured_late_is_less_certain():
    groups = Groups.of_sizes(np.full(300, 6))
    rng = np.random.default_rng(1)
    truth = rng.exponential(1000.0, 300) + 50
    dose = np.tile([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 300)
    dose[-12:-6], dose[-6:] = 0.01, 0.99
    change = 0.3 * np.sqrt(truth * 1000) * rng.normal(size=300)
    x = np.repeat(truth, 6) + np.repeat(change, 6) * dose + 10 * rng.normal(size=1800)
    found = zero_dose(groups, x, np.full(1800, 0.01), dose, np.full(300, 0.05))
    assert found.sigma[-1] > 5 * found.sigma[-2]
    assert set(found.most_changed(5)) <= set(np.argsort(-np.abs(change))[:60])


@settings(max_examples=4)
@given(st.floats(1e-3, 1e3))
def test_units_do_not_matter(factor):
    (groups, x, weight, dose, s), _, _ = measured(0.2, n_groups=200)
    one, other = zero_dose(groups, x, weight, dose, s), zero_dose(groups, factor * x, weight / factor**2, dose, s)
    np.testing.assert_allclose(other.intensity, factor * one.intensity, rtol=1e-5, atol=1e-6 * factor)
    assert other.tau == pytest.approx(one.tau, rel=1e-4)


def test_observations_without_weight_do_not_count():
    (groups, x, weight, dose, s), _, _ = measured(0.2, n_groups=300, most=4)
    weight[groups.index() == 5] = 0.0
    found = zero_dose(groups, np.where(groups.index() == 5, 1e9, x), weight, dose, s)
    assert np.isnan(found.intensity[5]) and found.n[5] == 0
    assert np.isfinite(np.delete(found.intensity, 5)).all()


def test_few_slopes_say_nothing():
    (groups, x, weight, dose, s), _, _ = measured(0.5, n_groups=20)
    found = zero_dose(groups, x, weight, dose, s)
    assert found.tau == 0.0
    np.testing.assert_array_equal(found.intensity, found.mean)


def changed(kind, part, seed=0, n_groups=3000):
    """As ``measured``, with damage that does not follow the assumed law, on the scale that keeps the mean intensity.

    ``mixture``: intensities of another structure come in, ``exponential``, ``saturating``: the same, ever more slowly.
    ``amplitudes``: F grows by a complex random part.
    """
    rng = np.random.default_rng(seed)
    groups = Groups.of_sizes(rng.integers(1, 16, n_groups))
    f = rng.normal(size=(2, n_groups)) * np.sqrt(500.0)
    other = rng.normal(size=(2, n_groups)) * np.sqrt(500.0)
    truth = (f**2).sum(axis=0)
    index, dose = groups.index(), rng.uniform(0, 1, groups.n_rows)
    rates = {"mixture": 0.0, "exponential": 1.5, "saturating": 5.0}
    if kind in rates:
        q = part * response(dose, rates[kind])
        seen = (1 - q) * truth[index] + q * (other**2).sum(axis=0)[index]
    else:
        seen = ((f[:, index] + part * dose * other[:, index]) ** 2).sum(axis=0) / (1 + (part * dose) ** 2)
    sigma = np.sqrt(seen + 100.0) + 0.02 * seen + 10.0
    x = seen + sigma * rng.normal(size=groups.n_rows)
    return (groups, x, sigma**-2.0, dose, rng.uniform(0.01, 0.2, n_groups)), truth


@pytest.mark.parametrize(
    ("kind", "part", "closer"),
    [("mixture", 0.1, 0.7), ("mixture", 0.25, 0.5), ("amplitudes", 0.1, 0.7), ("amplitudes", 0.2, 0.5),
     ("exponential", 0.25, 0.5), ("saturating", 0.25, 0.5), ("mixture", 0.5, 0.5)],
)  # fmt: skip
def test_damage_of_other_kinds_is_described_too(kind, part, closer):
    data, truth = changed(kind, part)
    found = zero_dose(*data)
    plain, zero = (np.abs(i - truth).sum() / truth.sum() for i in (found.mean, found.intensity))
    assert zero < closer * plain
    assert 0.9 < np.mean((found.intensity - truth) ** 2 / found.sigma**2) < 1.15


def test_what_was_rejected_for_its_change_comes_back():
    (groups, x, weight, dose, s), truth = changed("mixture", 0.25, seed=5)
    mean = groups.spread(groups.sum(weight * x) / groups.sum(weight))
    doubtful = weight * (x - mean) ** 2 > 16.0
    gross = np.random.default_rng(6).random(len(x)) < 0.01
    x = np.where(gross, x + 20.0 / np.sqrt(weight), x)
    with_all = zero_dose(groups, x, weight, dose, s, doubtful | gross)
    without = zero_dose(groups, x, np.where(doubtful | gross, 0.0, weight), dose, s)
    errors = [np.nanmean(np.abs(found.intensity - truth)) for found in (with_all, without)]
    assert errors[0] < 0.97 * errors[1]
    many = groups.sizes() > 4  # of fewer observations nobody knows which one is wrong
    assert 0.9 < np.nanmean(((with_all.intensity - truth) ** 2 / with_all.sigma**2)[many]) < 1.15
    kept = with_all.n.sum()
    assert 0.985 < kept / (len(x) - gross.sum()) < 1.005


def test_outliers_that_nobody_can_recognise_are_in_the_sigmas():
    """Reflections with two or three observations, some of them wrong: a change, or an error?"""
    (groups, x, weight, dose, s), truth = changed("mixture", 0.25, seed=8)
    gross = np.random.default_rng(9).random(len(x)) < 0.01
    size = np.exp(np.random.default_rng(10).uniform(np.log(5), np.log(60), len(x)))
    found = zero_dose(groups, np.where(gross, x + size / np.sqrt(weight), x), weight, dose, s, np.zeros(len(x), bool))
    few = groups.sizes() < 4
    for which in (few, ~few):
        assert np.nanmean(((found.intensity - truth) ** 2 / found.sigma**2)[which]) < 1.25


def test_a_common_drift_of_all_intensities_is_not_damage():
    """Scales are those of dose zero up to one factor: a drift with dose that scaling has left changes nothing."""
    (groups, x, weight, dose, s), _ = changed("mixture", 0.25, seed=11)
    drift = 1.0 + 0.06 * dose
    plain, other = zero_dose(groups, x, weight, dose, s), zero_dose(groups, x * drift, weight / drift**2, dose, s)
    factor = np.nansum(plain.intensity * other.intensity) / np.nansum(plain.intensity**2)
    assert np.nanmedian(np.abs(other.intensity / factor - plain.intensity) / plain.sigma) < 0.1
    assert np.nanmean(other.slope) == pytest.approx(np.nanmean(plain.slope), abs=5.0)
