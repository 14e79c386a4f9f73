"""Outliers where Friedel mates differ, and effects of single images."""

import naive
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import observations

from braggscale.data.normalised_intensities import Shells
from braggscale.data.unique_reflections import Groups, weighted_mean
from braggscale.models.image_effects import Images
from braggscale.weighting.expected_variance import Expectation, VarianceModel
from braggscale.weighting.friedel_test import (
    Mates,
    anomalous_share,
    first_mates,
    groups_of_agreeing_mates,
    separate,
    squares,
)
from braggscale.weighting.outlier_test import OutlierOptions
from braggscale.weighting.pair_test import disputed, likely_wrong, log_odds
from braggscale.weighting.rejection import OutlierInputs, verdicts


def pairs(rng, n=3000, size=4, share=0.06):
    """Intensities of I+ and I- with differences of rms ``share``: i, v, g, groups, plus."""
    mean = 100.0 * rng.exponential(1.0, n) + 5.0
    delta = 0.5 * share * np.sqrt(100.0 * mean) * rng.normal(size=n)
    plus = np.tile(np.repeat([True, False], size // 2), n)
    groups = Groups(np.arange(0, size * n + 1, size))
    truth = groups.spread(mean) + np.where(plus, 1.0, -1.0) * groups.spread(delta)
    g = rng.uniform(0.5, 2.0, len(plus))
    v = (0.03 * g * groups.spread(mean)) ** 2 + 1.0
    return g * truth + np.sqrt(v) * rng.normal(size=len(g)), v, g, groups, plus


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.01, 4.0, 1e4]))
@settings(max_examples=40, deadline=None)
def test_squares_are_those_of_the_linear_model(seed, difference):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    i, v, g = rng.normal(10.0, 3.0, n), rng.uniform(0.5, 2.0, n), rng.uniform(0.5, 2.0, n)
    plus, out = rng.random(n) < 0.5, rng.random(n) < 0.2
    found = squares(i, v, g, Groups(np.array([0, n])), Mates(plus, np.full(n, difference)), out)
    np.testing.assert_allclose(found, naive.mates_squares(i, v, g, plus, difference, out), rtol=1e-5, atol=1e-7)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 50.0]))
@settings(max_examples=30, deadline=None)
def test_the_search_is_that_of_its_slow_twin(seed, difference):
    rng = np.random.default_rng(seed)
    groups = Groups.of_sizes(rng.integers(1, 8, 12))
    n = groups.n_rows
    i, v, g = 20.0 + 6.0 * rng.standard_t(2, n), rng.uniform(0.5, 2.0, n), rng.uniform(0.5, 2.0, n)
    plus, before = rng.random(n) < 0.5, rng.random(n) < 0.3
    size = groups.spread(difference * (rng.random(len(groups)) < 0.7))
    found = separate(i, v, g, groups, Mates(plus, size), (4.0, 3.6), before)
    np.testing.assert_array_equal(found, naive.mates_outliers(i, v, g, groups, plus, size, 4.0, before))


def test_the_size_of_differences_comes_back():
    rng = np.random.default_rng(4)
    i, v, g, groups, plus = pairs(rng)
    q = anomalous_share(i, v, g, groups, plus, np.full(len(i), 100.0))
    assert abs(np.sqrt(q) / 0.06 - 1) < 0.05
    i, v, g, groups, plus = pairs(rng, share=0.0)
    assert np.sqrt(anomalous_share(i, v, g, groups, plus, np.full(len(i), 100.0))) < 0.015


def test_differences_are_no_outliers_and_outliers_are_found():
    rng = np.random.default_rng(5)
    i, v, g, groups, plus = pairs(rng, size=8, share=0.3)
    bad = rng.random(len(i)) < 0.01
    i = i + 12.0 * np.sqrt(v) * bad
    nothing = np.zeros(len(i), bool)
    limits = (4.5, 4.05)
    mates = Mates(plus, 0.3**2 * 100.0 * groups.spread(groups.sum(i / g) / groups.sizes()))
    found = separate(i, v, g, groups, mates, limits, nothing)
    friedel_merged = separate(i, v, g, groups, Mates(plus, np.zeros(len(i))), limits, nothing)
    assert found[bad].mean() > 0.97
    assert found[~bad].mean() < 5e-4 < friedel_merged[~bad].mean()
    assert np.array_equal(separate(i, v, g, groups, mates, limits, found), found)


def apart_of(groups, plus):
    return Groups.from_keys(np.column_stack((groups.index(), plus)))


def test_mates_are_apart_in_the_fit_where_they_differ_by_more_than_their_errors():
    rng = np.random.default_rng(6)
    _, v, g, groups, plus = pairs(rng, n=50)
    friedel_split = apart_of(groups, plus)
    precision = g * g / v
    precision[:4] = 0.0  # no row of the first counts, and no I- of the second
    precision[6:8] = 0.0
    none = groups_of_agreeing_mates(groups, friedel_split, precision, Mates(plus, np.zeros(len(g))))
    every = groups_of_agreeing_mates(groups, friedel_split, precision, Mates(plus, np.full(len(g), 1e30)))
    assert np.array_equal(none.offsets, groups.offsets)
    assert np.array_equal(every.offsets, np.setdiff1d(friedel_split.offsets, [2, 6]))
    s1, s2 = groups.sum(precision * plus), groups.sum(precision * ~plus)
    size = np.median(1 / s1[2:] + 1 / s2[2:])
    some = groups_of_agreeing_mates(groups, friedel_split, precision, Mates(plus, np.full(len(g), size)))
    expected = sorted({*groups.offsets, *(4 * h + 2 for h in range(2, 50) if size > 1 / s1[h] + 1 / s2[h])})
    assert some.offsets.tolist() == expected


def slope_error(rng, groups_of):
    """Error of theta in I = g (1 + theta x) I_h by least squares in the linear model; mates differ by 4 %."""
    i, v, g, groups, plus = pairs(rng, n=400, share=0.04)
    x = rng.normal(size=len(i))
    mean_intensity, total = weighted_mean(groups, 1 / v, g, i)
    mates = Mates(plus, 0.04**2 * 100.0 * groups.spread(mean_intensity))
    found = groups_of(groups, apart_of(groups, plus), g * g / v, mates)
    mean_intensity, total = weighted_mean(found, 1 / v, g, i)
    y = x * g * found.spread(mean_intensity)
    y = y - g * found.spread(found.sum(g * y / v) / total)
    return np.sum(y * i / v) / np.sum(y * y / v)


def test_a_fit_with_some_mates_apart_errs_less_than_with_all_or_none():
    def error(groups_of):
        rng = np.random.default_rng(7)
        draws = [slope_error(rng, groups_of) for _ in range(150)]
        return np.sqrt(np.mean(np.square(draws)))

    mixed = error(groups_of_agreeing_mates)
    assert mixed < 0.97 * error(lambda groups, friedel_split, w, mates: groups)
    assert mixed < 0.97 * error(lambda groups, friedel_split, w, mates: friedel_split)


def disagreement(rng, n, high=0.8):
    """Pairs one of which is an outlier of 6 to 30 sigma, upwards in a share ``high`` of them: x, wrong, mean."""
    truth = rng.exponential(100.0, n)
    sigma = np.hypot(3.0, 0.03 * truth)
    x = truth[:, None] + sigma[:, None] * rng.normal(size=(n, 2))
    which = rng.integers(0, 2, n)
    step = np.where(rng.random(n) < high, 1, -1) * rng.uniform(6, 30, n) * sigma
    x[np.arange(n), which] += step
    wrong = np.zeros((n, 2), bool)
    wrong[np.arange(n), which] = True
    possible = x.min(axis=1) > -3 * sigma  # true intensities are not negative
    return x[possible].ravel(), wrong[possible].ravel(), np.full(2 * possible.sum(), 100.0)


def test_of_two_that_disagree_the_less_likely_one_goes():
    rng = np.random.default_rng(8)
    x, wrong, mean = disagreement(rng, 4000)
    groups = Groups(np.arange(0, len(x) + 1, 2))
    inside = np.ones(len(x), bool)
    out = likely_wrong(x, mean, groups, inside, (800, 200))
    assert groups.sum(out).max() == 1
    assert (out & wrong).sum() / out.sum() > 0.8
    # outliers as often below as above: only intensities tell, and only of few
    unsure = likely_wrong(x, mean, groups, inside, (500, 500))
    assert unsure.sum() < 0.5 * out.sum()
    assert (unsure & wrong).sum() / unsure.sum() > 0.8
    low = likely_wrong(x, mean, groups, inside, (10, 10**6))
    assert (
        np.array_equal(low, x == np.repeat(x.reshape(-1, 2).min(axis=1), 2)) and (log_odds(x, x, mean, 3, 3) == 0).all()
    )


def test_pairs_are_judged_where_errors_can_be_trusted():
    rng = np.random.default_rng(9)
    x, wrong, _ = disagreement(rng, 300)
    sizes = np.full(len(x) // 2, 2)
    # larger groups in which outliers are seen, mostly upwards
    truth = rng.exponential(100.0, 200)
    more = np.repeat(truth, 6) + np.repeat(np.hypot(3.0, 0.03 * truth), 6) * rng.normal(size=1200)
    more[::12] += 60.0
    i = np.concatenate((x, more))
    groups = Groups.of_sizes(np.concatenate((sizes, np.full(200, 6))))
    mean_intensity = groups.sum(i) / groups.sizes()
    variance = np.hypot(3.0, 0.03 * groups.spread(mean_intensity)) ** 2
    one = np.ones(len(i))
    given = Expectation(VarianceModel.constant(i, variance), one, variance, mean_intensity, groups, groups)
    inputs = OutlierInputs(given, one, Shells.of(rng.uniform(1.0, 5.0, len(i))))
    nobody = np.zeros(len(i), bool)
    pairs_out = verdicts(inputs, OutlierOptions("standard", 4.0), nobody, True).mask[: len(x)]
    assert (pairs_out & wrong).sum() / wrong.sum() > 0.5
    assert (pairs_out & wrong).sum() > 4 * (pairs_out & ~wrong).sum()
    for method, calibrated in (("standard", False), ("simple", True)):
        assert not verdicts(inputs, OutlierOptions(method, 4.0), nobody, calibrated).mask[: len(x)].any()


def test_only_two_members_that_are_in_can_disagree():
    groups = Groups(np.array([0, 2, 5, 8]))
    z2 = np.array([20.0, 20.0, 30.0, 30.0, 30.0, 17.0, 17.0, 99.0])
    inside = np.array([1, 1, 1, 1, 1, 1, 1, 0], bool)
    nobody = np.zeros(8, bool)
    assert disputed(z2, groups, inside, nobody, (4.0, 3.6)).tolist() == [True, False, True]
    assert disputed(z2, groups, inside, nobody, (4.3, 3.9)).tolist() == [True, False, False]
    known = np.array([0, 0, 0, 0, 0, 1, 0, 1], bool)
    assert disputed(z2, groups, inside, known, (4.3, 3.9)).tolist() == [True, False, True]


def test_sides():
    friedel_merged, friedel_split = Groups(np.array([0, 3, 5, 9])), Groups(np.array([0, 2, 3, 5, 6, 9]))
    assert first_mates(friedel_merged, friedel_split).tolist() == [
        True,
        True,
        False,
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_image_effects_are_means_over_the_rocking_curve():
    rng = np.random.default_rng(6)
    rows, _ = observations(rng, n_groups=40)
    component = Images("image", 90, 0.0, 10.0, 8.0, (0.0, 0.0, 1.0))
    start, values = component.basis(rows)
    np.testing.assert_allclose(values.sum(axis=1), 1.0)
    assert start.min() >= 0 and start.max() + component.width <= 90
    k = int(np.flatnonzero((rows.xyz[:, 2] > 200) & (rows.xyz[:, 2] < 700))[0])
    cross = np.cross(rows.s1c[k], rows.s0c[k])
    zeta = max(abs(cross[2]) / np.linalg.norm(cross), 0.05)
    sample = rows.xyz[k, 2] + 8.0 / zeta * rng.normal(size=400_000)
    inside = np.floor(sample / 10.0).astype(int) - start[k]
    share = np.bincount(inside[(inside >= 0) & (inside < component.width)], minlength=component.width)
    np.testing.assert_allclose(values[k], share / share.sum(), atol=5e-3)
