"""Passes over rows crystal by crystal, against the functions that have all rows of a reflection side by side."""

import numpy as np
import pytest
from rank_threads import run_on

from braggscale.data.normalised_intensities import Shells
from braggscale.data.unique_reflections import Groups, weighted_mean
from braggscale.ranks.communicator import Alone
from braggscale.ranks.crystal_rows import CrystalRows, CrystalScales
from braggscale.ranks.exact_sums import ExactSums
from braggscale.ranks.means import RankData, expected
from braggscale.ranks.outliers import PER_CHANGE, judge, mates_apart
from braggscale.ranks.reflections import Reflections
from braggscale.ranks.rounds import _weights
from braggscale.ranks.sample import quantile_of_histogram, sample_of
from braggscale.ranks.scales import FINAL_CHANGE, Strengths, _blocks, _fit_sums, fit, starting_scales
from braggscale.weighting.error_model import ErrorModel
from braggscale.weighting.expected_variance import Expectation, VarianceModel, expect
from braggscale.weighting.outlier_test import OutlierOptions, settle
from braggscale.weighting.rejection import OutlierInputs, fit_groups, verdicts
from braggscale.weighting.robust_weights import Robust

N_CRYSTALS, N_REFLECTIONS, OF_CRYSTAL = 60, 80, 40
ERRORS = ErrorModel(1.2, 0.03)


class Simulated:
    """Crystals with known scales."""

    def __init__(self, seed: int, outliers: float = 0.0, difference: float = 0.0, n: int = N_REFLECTIONS) -> None:
        self.n = n
        rng = np.random.default_rng(seed)
        self.k = np.exp(0.4 * rng.normal(size=N_CRYSTALS))
        self.b = 2.0 * rng.normal(size=N_CRYSTALS)
        self.s = rng.uniform(0.01, 0.12, self.n)
        self.truth = rng.exponential(1000.0, self.n) + 50.0
        self.h = np.concatenate(
            [rng.choice(self.n, OF_CRYSTAL, replace=self.n < OF_CRYSTAL) for _ in range(N_CRYSTALS)]
        )
        self.crystal = np.repeat(np.arange(N_CRYSTALS), OF_CRYSTAL)
        g = self.k[self.crystal] * np.exp(self.b[self.crystal] * self.s[self.h])
        beside = np.random.default_rng(seed + 1000)
        self.minus = (beside.random(len(g)) < 0.5) & (difference > 0)
        away = difference * self.truth * beside.normal(size=self.n)
        mu = g * (self.truth[self.h] + np.where(self.minus, -away[self.h], away[self.h]))
        self.variance = mu + 20.0
        sigma = np.sqrt(ERRORS.a**2 * (self.variance + (ERRORS.b * mu) ** 2))
        self.square = sigma**2
        self.intensity = mu + sigma * rng.normal(size=len(mu))
        wild = rng.random(len(mu)) < outliers
        self.intensity[wild] += 12.0 * sigma[wild]
        self.wild = wild

    def data(self, ranks, gain: float = 0.0) -> tuple[RankData, CrystalScales]:
        """The share of a rank: crystals in runs."""
        cuts = np.linspace(0, N_CRYSTALS, ranks.size + 1).astype(int)
        first, last = cuts[ranks.rank], cuts[ranks.rank + 1]
        part = slice(first * OF_CRYSTAL, last * OF_CRYSTAL)
        n = last - first
        none, size = np.zeros(0, np.float32), n * OF_CRYSTAL
        number = (2 * self.h[part] + self.minus[part]).astype(np.int32)
        rows = CrystalRows(
            np.arange(n + 1) * OF_CRYSTAL, number, self.intensity[part].copy(),
            self.variance[part].copy(), self.s[self.h[part]], np.ones(size, np.float32), none, np.zeros(size, bool),
            np.zeros(size, bool), np.zeros(size, np.float32), np.zeros(n), np.arange(first, last).astype(np.uint64),
            np.zeros(n, bool), False,
        )  # fmt: skip
        counts = np.zeros(2 * self.n, np.int64)
        counts[:] = np.bincount(2 * self.h + self.minus, minlength=2 * self.n)
        hkl = np.stack((np.arange(self.n), *2 * (np.ones(self.n, int),)), axis=1).astype(np.int32)
        reflections = Reflections(hkl, np.arange(self.n), np.ones(self.n), counts)
        sample = sample_of(ranks, rows, reflections)
        apart = np.zeros(self.n, bool)
        data = RankData(ranks, ExactSums(ranks), rows, reflections, N_CRYSTALS, apart, self.s, sample)
        k, b = self.k[first:last], self.b[first:last]
        return data, CrystalScales(k, b, np.full(n, gain), np.full(n, 1.0))

    def sorted(self, gain: float = 0.0) -> tuple[VarianceModel, np.ndarray, Groups, np.ndarray]:
        """Variance model, g and groups of rows in the order of reflections, and that order."""
        order = np.argsort(2 * self.h + self.minus, kind="stable")
        n = len(order)
        a2, b2, linear = (np.full(1, x) for x in ERRORS.terms)
        model = VarianceModel(
            self.intensity[order], self.variance[order], np.ones(n), np.zeros(n, np.int32), np.full(1, gain),
            np.ones(1), a2, b2, linear, np.zeros(0),
        )  # fmt: skip
        g = (self.k[self.crystal] * np.exp(self.b[self.crystal] * self.s[self.h]))[order]
        return model, g, Groups.from_keys(self.h[order]), order


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_expected_intensities_are_those_of_groups(gain):
    made = Simulated(1)
    data, crystals = made.data(Alone(), gain)
    model, g, groups, _ = made.sorted(gain)
    theirs = expect(model, g, np.zeros(len(g), bool), groups)[0]
    assert expected(data, crystals, ERRORS)[0][0::2] == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("flat", [True, False])
def test_weights_are_those_of_groups(flat):
    made = Simulated(2, 0.02)
    data, crystals = made.data(Alone())
    model, g, groups, order = made.sorted()
    out = np.random.default_rng(5).random(len(g)) < 0.1
    data.rows.out[:] = out
    mean, variance = expect(model, g, out[order], groups)
    robust = Robust.of_fit(flat, 4.0)
    theirs = robust.weights(model.intensity, variance, g, mean, out[order], groups)[0]
    _weights(data, crystals, ERRORS, data.apart, robust)
    assert data.rows.weight[order] == pytest.approx(theirs, rel=1e-6)


def test_blocks_are_derivatives():
    made = Simulated(3)
    data, crystals = made.data(Alone())
    data.rows.weight[:] = 1.0 / made.variance
    sums = _fit_sums(data, crystals, data.apart)[0::2]
    order = np.argsort(made.h, kind="stable")
    _, g, groups, _ = made.sorted()
    theirs, total = weighted_mean(groups, data.rows.weight[order].astype(float), g, made.intensity[order])
    assert sums[:, 0] / sums[:, 1] == pytest.approx(theirs, rel=1e-12)
    assert sums[:, 1] == pytest.approx(total, rel=1e-12)
    mean, weights = np.repeat(made.truth, 2), np.ones(2 * made.n)

    def cost(k, b):
        return _blocks(data, crystals.with_scales(k, b), mean, weights, data.apart)[:, 5]

    k, b, e = crystals.k, crystals.b, 1e-5
    blocks = _blocks(data, crystals, mean, weights, data.apart)
    assert -2 * blocks[:, 0] == pytest.approx((cost(k + e, b) - cost(k - e, b)) / (2 * e), rel=1e-5, abs=1e-2)
    assert -2 * blocks[:, 1] == pytest.approx((cost(k, b + e) - cost(k, b - e)) / (2 * e), rel=1e-5, abs=1e-3)


def test_blocks_with_intensities_eliminated_are_those_of_the_whole_matrix():
    made = Simulated(4)
    made.h[1::2] = made.h[0::2]  # each reflection twice in a crystal
    data, crystals = made.data(Alone())
    data.rows.weight[:] = 1.0 / made.variance
    sums = _fit_sums(data, crystals, data.apart)
    mean, s = np.repeat(made.truth, 2), made.s[made.h]
    blocks = _blocks(data, crystals, mean, np.ascontiguousarray(sums[:, 1]), data.apart)
    g, w = crystals.k[made.crystal] * np.exp(crystals.b[made.crystal] * s), data.rows.weight.astype(float)
    jacobian = np.zeros((len(g), 2 * N_CRYSTALS + made.n))
    rows = np.arange(len(g))
    jacobian[rows, made.crystal] = g / crystals.k[made.crystal] * made.truth[made.h]
    jacobian[rows, N_CRYSTALS + made.crystal] = g * s * made.truth[made.h]
    jacobian[rows, 2 * N_CRYSTALS + made.h] = g
    whole = jacobian.T @ (w[:, None] * jacobian)
    scales, intensities = slice(0, 2 * N_CRYSTALS), slice(2 * N_CRYSTALS, None)
    there = np.flatnonzero(np.bincount(made.h, minlength=made.n))
    across = whole[scales, intensities][:, there]
    eliminated = whole[scales, scales] - across / whole[intensities, intensities].diagonal()[there] @ across.T
    c = np.arange(N_CRYSTALS)
    for column, (row, col) in zip((7, 8, 9), ((c, c), (c, N_CRYSTALS + c), (N_CRYSTALS + c,) * 2), strict=True):
        assert blocks[:, column] == pytest.approx(eliminated[row, col], rel=1e-9)
        assert blocks[:, column - 5] == pytest.approx(whole[scales, scales][row, col], rel=1e-9)


@pytest.mark.parametrize("size", [1, 4])
def test_scales_are_found(size):
    made = Simulated(4)

    def work(ranks):
        data, crystals = made.data(ranks)
        start = crystals.with_scales(np.ones(len(crystals.k)), np.zeros(len(crystals.k)))
        found = starting_scales(data, start)
        first = int(data.rows.key[0]) * OF_CRYSTAL
        data.rows.weight[:] = 1.0 / made.square[first : first + len(data.rows)]
        found = fit(data, found, Strengths.first(True, found.k), data.apart, True, FINAL_CHANGE)
        return found.crystals.k, found.crystals.b, found.covariance, found.turns

    found = run_on(size, work)
    k, b, covariance = (np.concatenate([one[j] for one in found]) for j in range(3))
    away = np.log(k / made.k)
    assert np.std(away) < 0.03 and np.std(b - made.b) < 0.4
    z = (b - b.mean() - made.b + made.b.mean()) / np.sqrt(covariance[:, 2])
    assert 0.7 < np.std(z) < 1.4
    assert found[0][3] < 30
    assert k.mean() == pytest.approx(1.0) and b.mean() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("method", ["standard", "simple"])
def test_outliers_are_those_of_groups(method):
    made = Simulated(6, 0.01)
    data, crystals = made.data(Alone())
    model, g, groups, order = made.sorted()
    none = np.zeros(len(g), bool)
    theirs = settle(model, g, groups, 4.0, none, method).mask
    found = judge(data, crystals, ERRORS, OutlierOptions(method, 4.0, None), True, True, False)
    ours = data.rows.out[order]
    assert found.n_out == ours.sum() == found.n_changed
    assert np.array_equal(ours, theirs)
    assert ours[made.wild[order]].mean() > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_of_thousands_of_observations_few_outliers_differ(seed):
    made = Simulated(seed, 0.02, n=2)
    data, crystals = made.data(Alone())
    model, g, groups, order = made.sorted()
    theirs = settle(model, g, groups, 4.0, np.zeros(len(g), bool), "standard").mask
    judge(data, crystals, ERRORS, OutlierOptions("standard", 4.0, None), True, True, True)
    ours = data.rows.out[order]
    assert (groups.sum(ours != theirs) <= groups.sizes() // PER_CHANGE).all()
    assert (groups.sizes() > PER_CHANGE).all() and ours[made.wild[order]].mean() > 0.9


@pytest.mark.parametrize("difference", [0.0, 0.15])
@pytest.mark.parametrize("few", [False, True])
def test_tests_of_mates_and_of_pairs_are_those_of_groups(difference, few):
    # few: about three observations of each reflection
    made = Simulated(8, 0.03, difference, 10 * N_REFLECTIONS if few else N_REFLECTIONS)
    data, crystals = made.data(Alone())
    model, g, groups, order = made.sorted()
    split = Groups.from_keys((2 * made.h + made.minus)[order])
    none, d = np.zeros(len(g), bool), np.sqrt(0.5 / made.s[made.h[order]])
    mean, variance = expect(model, g, none, groups)
    inputs = OutlierInputs(Expectation(model, g, variance, mean, groups, split), np.ones(len(g)), Shells.of(d))
    theirs = verdicts(inputs, OutlierOptions("standard", 4.0, None), none, True).mask
    judge(data, crystals, ERRORS, OutlierOptions("standard", 4.0, None), True, True, True)
    assert np.array_equal(data.rows.out[order], theirs) and theirs.any()
    theirs = fit_groups(inputs, none)
    data.rows.out[:] = False
    ours = mates_apart(data, crystals, ERRORS)
    assert len(theirs) == len(groups) + ours.sum() and ours.any() == (difference > 0)


def test_outliers_do_not_depend_on_the_ranks():
    made = Simulated(7, 0.02)

    def work(ranks):
        data, crystals = made.data(ranks)
        judge(data, crystals, ERRORS, OutlierOptions("standard", 4.0, 10.0), True, True, True)
        return data.rows.out

    whole = run_on(1, work)[0]
    assert np.array_equal(np.concatenate(run_on(3, work)), whole) and whole.any()


def test_median_from_a_histogram():
    counts = np.array([0, 2, 4, 2, 0])
    assert quantile_of_histogram(counts, 0.5) == pytest.approx(2.5)
    assert quantile_of_histogram(counts, 0.0) == pytest.approx(0.0)
