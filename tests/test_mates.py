"""Outliers where Friedel mates differ, and effects of single images."""

import naive
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import observations

from braggscale.groups import Groups
from braggscale.mates import Mates, anomalous_share, separate, sides, squares
from braggscale.models.images import Images


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
    together = separate(i, v, g, groups, Mates(plus, np.zeros(len(i))), limits, nothing)
    assert found[bad].mean() > 0.97
    assert found[~bad].mean() < 5e-4 < together[~bad].mean()
    assert np.array_equal(separate(i, v, g, groups, mates, limits, found), found)


def test_sides():
    together, apart = Groups(np.array([0, 3, 5, 9])), Groups(np.array([0, 2, 3, 5, 6, 9]))
    assert sides(together, apart).tolist() == [True, True, False, True, True, True, False, False, False]


def test_image_effects_are_means_over_the_rocking_curve():
    rng = np.random.default_rng(6)
    rows, _ = observations(rng, n_groups=40)
    component = Images("image", 90, 0.0, 10.0, 8.0, (0.0, 0.0, 1.0))
    start, values = component.basis(rows)
    np.testing.assert_allclose(values.sum(axis=1), 1.0)
    assert start.min() >= 0 and start.max() + component.slots <= 90
    k = int(np.flatnonzero((rows.xyz[:, 2] > 200) & (rows.xyz[:, 2] < 700))[0])
    cross = np.cross(rows.s1c[k], rows.s0c[k])
    zeta = max(abs(cross[2]) / np.linalg.norm(cross), 0.05)
    sample = rows.xyz[k, 2] + 8.0 / zeta * rng.normal(size=400_000)
    inside = np.floor(sample / 10.0).astype(int) - start[k]
    share = np.bincount(inside[(inside >= 0) & (inside < component.slots)], minlength=component.slots)
    np.testing.assert_allclose(values[k], share / share.sum(), atol=5e-3)
