"""R_split and weighted correlations of halves: against their slow twins, and against known truth."""

import gemmi
import numpy as np
import pytest

from braggscale.data.symmetry import Symmetry
from braggscale.statistics.half_set_statistics import half_set_statistics
from braggscale.statistics.merging import merge

CELL = (40.0, 50.0, 60.0, 90.0, 90.0, 90.0)
P222 = Symmetry.from_hall("P 2 2")


def observed(seed=0, n_unique=600, times=8, noise=0.1, anomalous=0.0, constant=0.0):
    """Observations of random reflections: hkl as measured, x, sigma."""
    rng = np.random.default_rng(seed)
    unique = np.unique(rng.integers(1, 12, (n_unique, 3)), axis=0)
    truth = rng.exponential(100.0, len(unique)) + 20.0
    difference = anomalous * truth * rng.normal(size=len(unique))
    which = np.repeat(np.arange(len(unique)), times)
    sign = np.where(rng.random(len(which)) < 0.5, 1, -1)
    sigma = noise * truth[which] + constant
    x = truth[which] + 0.5 * sign * difference[which] + sigma * rng.normal(size=len(which))
    return unique[which] * sign[:, None], x, sigma


def shells(n):
    """Ends of n shells that take in all reflections, Angstrom."""
    cell = gemmi.UnitCell(*CELL)
    s = np.linspace(cell.calculate_1_d2([1, 1, 1]), cell.calculate_1_d2([11, 11, 11]), n + 1)[1:]
    return s**-0.5


def test_the_formulas_are_those_of_their_slow_twins():
    hkl, x, sigma = observed()
    found = half_set_statistics(hkl, x, sigma, P222, CELL, shells(1))
    merged = merge(hkl, x, sigma, P222)
    a, b = merged.half1, merged.half2
    variance = merged.sigma_half1**2 + merged.sigma_half2**2
    w = 1 / (variance + 0.01 * np.median(variance))
    assert found.pairs.tolist() == [len(a), len(a)]
    assert found.r_split[1] == pytest.approx(np.abs(a - b).sum() / (2**0.5 * 0.5 * (a + b).sum()))
    assert found.r_split_weighted[1] == pytest.approx((w * np.abs(a - b)).sum() / (2**0.5 * 0.5 * (w * (a + b)).sum()))
    mean_a, mean_b = np.average(a, weights=w), np.average(b, weights=w)
    above = np.sum(w * (a - mean_a) * (b - mean_b))
    below = np.sqrt(np.sum(w * (a - mean_a) ** 2) * np.sum(w * (b - mean_b) ** 2))
    assert found.cc[1] == pytest.approx(above / below) and found.cc[0] == pytest.approx(found.cc[1])
    assert found.n_eff[1] == pytest.approx(w.sum() ** 2 / (w**2).sum())


def test_r_split_is_the_error_of_half_of_the_data():
    """For errors of a share q of I and n observations: means of n/2 of them are off by 2 q/sqrt(pi n) on average."""
    hkl, x, sigma = observed(seed=3, times=16, noise=0.2)
    found = half_set_statistics(hkl, x, sigma, P222, CELL, shells(4))
    assert found.r_split[-1] == pytest.approx(2 * 0.2 / np.sqrt(np.pi * 16), rel=0.1)
    assert (found.pairs[:-1] > 0).all() and found.pairs[:-1].sum() == found.pairs[-1]


def test_mates_correlate_where_they_differ():
    same, apart = (
        half_set_statistics(*observed(seed=1, n_unique=900, times=16, noise=0.05, anomalous=q), P222, CELL, shells(1))
        for q in (0.0, 0.2)
    )
    assert abs(same.cc_anom[-1]) < 0.2 and apart.cc_anom[-1] > 0.9
    assert 1 < apart.n_eff_anom[-1] < apart.pairs[-1]


def test_a_centrosymmetric_group_has_no_mates_and_an_empty_shell_nothing():
    hkl, x, sigma = observed(n_unique=50)
    found = half_set_statistics(hkl, x, sigma, Symmetry.from_hall("-P 2 2"), CELL, np.array([50.0, 2.0]))
    assert np.isnan(found.cc_anom).all() and found.pairs[0] == 0 and np.isnan(found.r_split[0])
    assert found.r_split[1] > 0
