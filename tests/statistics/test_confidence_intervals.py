"""Confidence intervals: simulated repeated experiments, invariances, a slow twin of the drawing."""

import math
from dataclasses import fields

import numpy as np
import pytest

from braggscale.data.unique_reflections import Groups
from braggscale.statistics import confidence_intervals
from braggscale.statistics.confidence_intervals import INTERVALS_OF, Blocks, Intervals, blocks_of, intervals
from braggscale.statistics.half_sets import cc_anomalous, cc_half


class Experiment:
    """A crystal measured again and again: the same reflections, multiplicities and images, new errors."""

    def __init__(self, multiplicity=6.0, noise=20.0, image_scale=0.0, image_noise=0.0, anomalous=0.03, n_blocks=80):
        rng = np.random.default_rng(42)
        truth = rng.exponential(1000.0, 300)
        difference = rng.normal(size=300) * anomalous * truth
        counts = rng.poisson(multiplicity / 2, (300, 2))
        self.h = np.repeat(np.arange(300), counts.sum(axis=1))
        self.minus = np.concatenate([np.arange(a + b) >= a for a, b in counts])
        self.true = truth[self.h] + np.where(self.minus, -0.5, 0.5) * difference[self.h]
        n = len(self.h)
        self.sigma = np.hypot(noise * np.exp(0.3 * rng.normal(size=n)), 0.03 * self.true)
        self.block = rng.integers(0, n_blocks, n)
        self.n_blocks, self.image_scale, self.image_noise = n_blocks, image_scale, image_noise
        self.friedel_merged = Groups.from_keys(self.h)
        self.friedel_split = Groups.from_keys(np.column_stack((self.h, self.minus)))

    def measure(self, seed):
        """x, sigma."""
        rng = np.random.default_rng(seed)
        common = 1 + self.image_scale * rng.normal(size=self.n_blocks)[self.block]
        size = np.exp(self.image_noise * rng.normal(size=self.n_blocks))[self.block]
        x = self.true * common + self.sigma * size * rng.normal(size=len(self.h))
        return x, np.hypot(self.sigma, self.image_scale * self.true)

    def statistics(self, x, sigma):
        found = {}
        weight = sigma**-2.0
        for groups, suffix in ((self.friedel_merged, ""), (self.friedel_split, "_apart")):
            several = groups.sizes() > 1
            n = groups.sizes()[several]
            mean = groups.sum(weight * x) / groups.sum(weight)
            deviation = groups.sum(np.abs(x - groups.spread(mean)))[several]
            total = groups.sum(x)[several].sum()
            found["r_meas" + suffix] = (np.sqrt(n / (n - 1)) * deviation).sum() / total
            found["r_pim" + suffix] = (np.sqrt(1 / (n - 1)) * deviation).sum() / total
        found["cc_half"] = cc_half(self.friedel_merged, weight, x, np.zeros(len(self.friedel_merged), int), 1)[0][-1]
        parent = self.h[self.friedel_split.offsets[:-1]]
        plus = np.flatnonzero(parent[1:] == parent[:-1])
        found["cc_anom"] = cc_anomalous(self.friedel_split, plus, plus + 1, x, np.zeros(len(plus), int), 1)[0][-1]
        return found

    def intervals(self, x, sigma):
        blocks = Blocks(self.block, self.n_blocks, "images")
        return intervals(self.friedel_merged, self.friedel_split, x, sigma, blocks, self.statistics(x, sigma))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"multiplicity": 2.5},
        {"multiplicity": 12.0},
        {"noise": 600.0},
        {"noise": 3000.0},
        {"image_scale": 0.03},
        {"image_noise": 0.4},
        {"n_blocks": 15},
    ],
    ids=str,
)
def test_repeated_experiments(options):
    """95 % intervals hold the expectation in most repetitions, and are about as wide as the results scatter.

    Of 60 repetitions at a true coverage of 0.95 fewer than 48 hold in one of 10^4 cases; the limit leaves room for the
    few per cent that are missing where few strong reflections and few images decide. With intervals half as wide only
    0.67 would hold.
    """
    experiment = Experiment(**options)
    data = [experiment.measure(seed) for seed in range(60)]
    values = [experiment.statistics(*each) for each in data]
    found = [experiment.intervals(*each) for each in data]
    for name in INTERVALS_OF:
        result = np.array([value[name] for value in values])
        limits = np.array([getattr(each, name) for each in found])
        held = np.mean((limits[:, 0] <= result.mean()) & (result.mean() <= limits[:, 1]))
        assert held >= 0.8, name
        width = (limits[:, 1] - limits[:, 0]).mean() / (2 * 1.96)
        assert 0.7 < width / result.std() < 1.4, name


@pytest.fixture(scope="module")
def measured():
    experiment = Experiment(image_scale=0.02)
    x, sigma = experiment.measure(1)
    return experiment, x, sigma, experiment.intervals(x, sigma)


def test_an_interval_holds_its_statistic(measured):
    experiment, x, sigma, found = measured
    values = experiment.statistics(x, sigma)
    for name, value in values.items():
        low, high = getattr(found, name)
        assert low < value < high
    assert (found.level, found.unit, found.n_blocks) == (0.95, "images", 80)
    assert set(values) == set(INTERVALS_OF) < {field.name for field in fields(Intervals)}


def test_what_does_not_matter(measured):
    """Units of intensity, rows of equal reflections in another order, a second call."""
    experiment, x, sigma, found = measured
    assert experiment.intervals(x, sigma) == found
    for name in INTERVALS_OF:
        assert getattr(experiment.intervals(1e3 * x, 1e3 * sigma), name) == pytest.approx(getattr(found, name), 1e-9)
    order = np.lexsort((np.random.default_rng(0).random(len(x)), experiment.minus, experiment.h))
    blocks = Blocks(experiment.block[order], 80, "images")
    values = experiment.statistics(x, sigma)
    again = intervals(experiment.friedel_merged, experiment.friedel_split, x[order], sigma[order], blocks, values)
    for name in INTERVALS_OF:
        assert getattr(again, name) == pytest.approx(getattr(found, name), 1e-9)


def test_r_meas_against_loops(measured):
    """The same, reflection by reflection and draw by draw."""
    experiment, x, sigma, found = measured
    members = [np.flatnonzero(experiment.h == h) for h in np.unique(experiment.h)]
    members = [rows for rows in members if len(rows) > 1]
    sizes, expected, below, kappa = {}, {}, {}, {}
    for rows in members:
        n, w = len(rows), sigma[rows] ** -2.0
        mean = float(w @ x[rows]) / w.sum()
        rho = 1 / (n - 1)
        for i in rows:
            sizes[i] = math.sqrt(n / (n - 1)) * abs(x[i] - mean)
            expected[i] = math.sqrt(n / (n - 1)) * math.sqrt(sigma[i] ** 2 - 1 / w.sum())
            below[i] = (x[i] - mean) * math.sqrt(n / (n - 1))
            kappa[i] = 1 + (n - 1) * (rho * math.asin(rho) + math.sqrt(1 - rho**2) - 1) / (math.pi / 2 - 1)
    k = sum(sizes.values()) / sum(expected.values())
    above, total = sum(sizes.values()), sum(x[i] for i in sizes)
    effect = np.zeros(80)
    for i in sizes:
        effect[experiment.block[i]] += math.sqrt(kappa[i]) * (sizes[i] - k * expected[i]) / above - below[i] / total
    effect -= effect.mean()
    drawn = [sum(effect[block] for block in draw) * math.sqrt(80 / 79) for draw in confidence_intervals.draws_of(80)]
    low, high = np.quantile(above / total * np.exp(drawn), (0.025, 0.975))
    assert found.r_meas == pytest.approx((low, high), rel=1e-9)


def test_draws_are_fair():
    draws = confidence_intervals.draws_of(37)
    assert draws.shape == (1000, 37) and draws.min() == 0 and draws.max() == 36
    counts = np.bincount(draws.ravel())
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(1000)
    np.testing.assert_array_equal(draws, confidence_intervals.draws_of(37))


def test_what_has_no_interval(measured):
    experiment, x, sigma, _ = measured
    values = experiment.statistics(x, sigma)
    few = Blocks(experiment.block % 9, 9, "images")
    assert intervals(experiment.friedel_merged, experiment.friedel_split, x, sigma, few, values) is None
    blocks = Blocks(experiment.block, 80, "images")
    unknown = intervals(
        experiment.friedel_merged, experiment.friedel_split, x, sigma, blocks, dict.fromkeys(values, math.nan)
    )
    assert [getattr(unknown, name) for name in INTERVALS_OF] == [None] * 6
    # nothing measured twice
    alone = Groups(np.arange(len(x) + 1))
    single = intervals(alone, alone, x, sigma, blocks, values)
    assert [getattr(single, name) for name in INTERVALS_OF] == [None] * 6


def test_blocks_of_images_and_data_sets():
    data_set = np.array([0, 0, 0, 0, 1, 1, 1])
    image = np.array([0.2, 4.9, 9.99, 10.0, 0.0, 1.5, 25.0])
    found = blocks_of(data_set, image, [0.1, 2.0])
    assert (found.number.tolist(), found.n, found.unit) == ([0, 0, 0, 1, 2, 3, 4], 5, "images")
    assert blocks_of(data_set, image, [None, None]).unit == "data sets"
    many = blocks_of(np.arange(3000), np.zeros(3000), [None] * 3000)
    assert (many.n, many.unit) == (1000, "data sets")
    assert np.bincount(many.number).tolist() == [3] * 1000
    assert blocks_of(np.arange(20), np.zeros(20), [0.1] * 20).n == 20
    # a sweep that begins at a negative image, and an empty table
    assert blocks_of(np.zeros(2, int), np.array([-3.5, 7.0]), [0.1]).number.tolist() == [0, 1]
    assert blocks_of(np.zeros(0, int), np.zeros(0), [0.1]).n == 0
