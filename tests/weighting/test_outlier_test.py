"""Outliers: against a slow twin, on simulated data with labels, and what must not matter."""

from __future__ import annotations

import math
from dataclasses import replace

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.weighting.expected_variance import VarianceModel
from braggscale.weighting.leave_one_out import judge, leave_one_out
from braggscale.weighting.outlier_test import Rejection, settle

QUICK = settings(max_examples=50, deadline=None)


def grouped(sizes: Int | list[int]) -> Groups:
    return Groups(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))


def simulate(
    seed: int, n_groups: int, multiplicity: float, bad: float
) -> tuple[Float, Float, Float, Groups, Bool, Float]:
    """I, V', g, groups, outlier label, size of the injected deviation in sigma."""
    rng = np.random.default_rng(seed)
    groups = grouped(1 + rng.poisson(multiplicity - 1, n_groups))
    n = groups.n_rows
    scale = np.exp(rng.normal(0, 0.3, n))
    mu = scale * groups.spread(rng.exponential(500, n_groups))
    variance = mu + 40 + (0.02 * mu) ** 2
    intensity = mu + np.sqrt(variance) * rng.normal(size=n)
    label = rng.random(n) < bad
    size = rng.uniform(5, 30, n)
    thrown = mu + size * rng.choice([-1, 1], n) * np.sqrt(variance)
    return np.where(label, thrown, intensity), variance, scale, groups, label, size


def reject(
    i: Float,
    v: Float,
    g: Float,
    groups: Groups,
    zmax: float = 6.0,
    previous: Bool | None = None,
    method: str = "standard",
) -> Rejection:
    """Outliers with variances that do not depend on the verdicts."""
    return settle(VarianceModel.constant(i, v), g, groups, zmax, previous, method)


@pytest.mark.parametrize("zmax", [2.0, 4.5, 6.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_standard_equals_slow_twin(seed: int, zmax: float) -> None:
    i, v, g, groups, label, _ = simulate(seed, 150, 5, 0.1)
    v = v * np.exp(np.random.default_rng(seed).normal(0, 2, len(v)))  # so that caps and the way back are used
    for previous in (np.zeros(len(i), np.bool_), label, ~label):
        expected = naive.outliers(i, v, g, groups, zmax, previous)
        np.testing.assert_array_equal(reject(i, v, g, groups, zmax, previous).mask, expected)


def test_deviation_equals_slow_twin() -> None:
    i, v, g, groups, _, _ = simulate(3, 60, 3, 0.05)
    z = leave_one_out(i, v, g, groups)
    for first, last in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
        for k in range(first, last):
            others = [j for j in range(first, last) if j != k]
            if others:
                assert z[k] == pytest.approx(naive.deviation(i, v, g, k, others), rel=1e-9)
            else:
                assert np.isnan(z[k])


def test_deviations_of_good_data_are_standard_normal() -> None:
    i, v, g, groups, _, _ = simulate(4, 20_000, 4, 0.0)
    z = leave_one_out(i, v, g, groups)
    z = z[np.isfinite(z)]
    assert np.mean(z) == pytest.approx(0, abs=0.015)
    assert np.var(z) == pytest.approx(1, abs=0.02)


def test_finds_what_was_put_in_and_loses_little() -> None:
    """At 4.5 sigma with right errors nearly all outliers are found, at the price of a few rows in a million."""
    i, v, g, groups, label, size = simulate(5, 40_000, 6, 0.01)
    result = reject(i, v, g, groups, 4.5)
    tested = groups.spread(groups.sizes() > 2)
    assert result.mask[label & tested & (size < 10)].mean() > 0.9
    assert result.mask[label & tested & (size >= 10)].mean() > 0.99
    assert result.mask[~label].mean() < 1e-4
    assert result.count == result.new == sum(row.rejected for row in result.by_multiplicity)
    assert sum(row.rows for row in result.by_multiplicity) == len(i)


def test_worst_goes_first_and_saves_the_others() -> None:
    """One member far off drags the mean away from all; after it has gone the rest agrees."""
    i = np.array([100.0, 101.0, 99.0, 100.0, 10_000.0])
    result = reject(i, np.full(5, 100.0), np.ones(5), grouped([5]), 6.0)
    np.testing.assert_array_equal(result.mask, [0, 0, 0, 0, 1])
    assert result.rounds == 1


def test_groups_of_two_are_left_alone() -> None:
    for method in ("standard", "simple"):
        result = reject(np.array([0.0, 1e6, 5.0]), np.ones(3), np.ones(3), grouped([2, 1]), 6.0, method=method)
        assert result.count == 0


def test_rejected_row_returns_only_when_well_inside() -> None:
    """Between 0.9 zmax and zmax the earlier verdict stands."""
    groups, v, g = grouped([5]), np.full(5, 1.0), np.ones(5)
    before = np.array([False, False, False, False, True])
    spread = math.sqrt(1.25)  # of a row against four others
    for method in ("standard", "simple"):
        for z, rejected, judged_before in ((6.1, 1, False), (5.9, 0, False), (5.9, 1, True), (5.3, 0, True)):
            i = np.array([10.0, 10.0, 10.0, 10.0, 10.0 + z * spread])
            result = reject(i, v, g, groups, 6.0, before if judged_before else None, method)
            assert result.count == rejected, (method, z)
            assert result.returned == (judged_before and not rejected)


def test_one_absurd_error_does_not_outvote_the_group() -> None:
    i = np.array([100.0, 101.0, 99.0, 100.5, 150.0])
    v = np.array([4.0, 4.0, 4.0, 4.0, 1e-8])
    np.testing.assert_array_equal(reject(i, v, np.ones(5), grouped([5]), 6.0).mask, [0, 0, 0, 0, 1])


@pytest.mark.parametrize("n", [4, 5])
def test_cap_is_ten_medians_in_scaled_units(n: int) -> None:
    """The one with the tiny error weighs as 10 others and is the one that goes; units of a data set do not cap."""
    i, v = np.array([100.0] * (n - 1) + [120.0]), np.array([1.0] * (n - 1) + [1e-6])
    mask = reject(i, v, np.ones(n), grouped([n]), 6.0).mask
    np.testing.assert_array_equal(mask, [False] * (n - 1) + [True])
    # a cap of ten: sigma of the last one is sqrt(0.1), that of the mean of the others 1/sqrt(n - 1)
    z = 20.0 / math.sqrt(0.1 + 1 / (n - 1))
    assert not reject(i, v, np.ones(n), grouped([n]), 1.001 * z).mask.any()
    assert reject(i, v, np.ones(n), grouped([n]), 0.999 * z).mask.any()
    units = np.array([100.0] + [1.0] * (n - 1))  # one data set in other units: nothing to cap
    same = reject(i * units, v * units**2, units, grouped([n]), 0.999 * z).mask
    np.testing.assert_array_equal(same, reject(i, v, np.ones(n), grouped([n]), 0.999 * z).mask)


def test_order_of_ties_does_not_matter() -> None:
    i = np.array([0.0, 100.0, 200.0])
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        mask = reject(i[order], np.ones(3), np.ones(3), grouped([3]), 6.0).mask
        np.testing.assert_array_equal(i[order][mask], [200.0])


@st.composite
def tables(draw: st.DrawFn) -> tuple[Float, Float, Float, Groups, Bool]:
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = grouped(sizes)
    n = groups.n_rows
    tail = draw(st.sampled_from([1.0, 5.0, 50.0]))
    i = 100 + tail * rng.standard_t(1.5, n)
    return i, np.exp(rng.normal(0, 1.5, n)), np.exp(rng.normal(0, 0.5, n)), groups, rng.random(n) < 0.3


@QUICK
@given(tables(), st.floats(0.5, 8), st.sampled_from(["standard", "simple"]))
def test_properties(table: tuple[Float, Float, Float, Groups, Bool], zmax: float, method: str) -> None:
    i, v, g, groups, previous = table
    result = reject(i, v, g, groups, zmax, previous, method)
    left = groups.sum(~result.mask)
    assert np.all(left >= np.minimum(groups.sizes(), 2))
    # given back, it is a fixed point
    again = reject(i, v, g, groups, zmax, result.mask, method)
    np.testing.assert_array_equal(again.mask, result.mask)
    assert again.new == again.returned == 0
    # units of intensity; units of the data set
    np.testing.assert_array_equal(reject(2 * i, 4 * v, g, groups, zmax, previous, method).mask, result.mask)
    np.testing.assert_array_equal(reject(i, v, 4 * g, groups, zmax, previous, method).mask, result.mask)
    unit = np.where(np.arange(len(i)) % 2, 0.125, 1.0)
    other = reject(unit * i, unit**2 * v, unit * g, groups, zmax, previous, method)
    np.testing.assert_array_equal(other.mask, result.mask)
    # order of rows within a group
    order = np.lexsort((np.random.default_rng(0).random(len(i)), groups.index()))
    shuffled = reject(i[order], v[order], g[order], groups, zmax, previous[order], method)
    np.testing.assert_array_equal(shuffled.mask, result.mask[order])


@QUICK
@given(tables(), st.floats(0.5, 8))
def test_every_end_is_stable(table: tuple[Float, Float, Float, Groups, Bool], zmax: float) -> None:
    """Nobody inside is beyond zmax (in groups of three or more), nobody outside is within 0.9 zmax."""
    i, v, g, groups, previous = table
    out, _, _ = judge(VarianceModel.constant(i, v), g, groups, (zmax, 0.9 * zmax), previous, trim=True)
    for first, last in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
        inside = [j for j in range(first, last) if not out[j]]
        for j in range(first, last):
            z = abs(naive.deviation(i, v, g, j, [k for k in inside if k != j]))
            if out[j]:
                assert z >= 0.9 * zmax * (1 - 1e-6)
            elif len(inside) > 2:
                assert z <= zmax * (1 + 1e-6)


def test_verdicts_and_variances_settle_together() -> None:
    """A group of three in which the verdict changes the variance and the variance the verdict: no cycle."""
    groups, g = grouped([3]), np.ones(3)
    i = np.array([444.1, 448.7, 141.8])

    # V = 462 + 2.3 mu + (0.035 mu)^2 - 0.7 I
    law = replace(
        VarianceModel.constant(i, np.full(3, 462.0)),
        factor=g,
        gain=np.array([0.7]),
        linear=np.array([1.6]),
        b2=np.array([0.035**2]),
    )
    mask = np.zeros(3, np.bool_)
    seen = []
    for _ in range(4):
        mask = settle(law, g, groups, 5.3, mask).mask
        seen.append(mask.copy())
    for later in seen[1:]:
        np.testing.assert_array_equal(later, seen[0])


@QUICK
@given(tables(), st.floats(2, 8), st.floats(0, 0.2), st.sampled_from(["standard", "simple"]))
def test_settled_is_a_fixed_point(
    table: tuple[Float, Float, Float, Groups, Bool], zmax: float, b: float, method: str
) -> None:
    i, v, g, groups, previous = table

    law = replace(VarianceModel.constant(i, v), b2=np.array([b**2]))
    first = settle(law, g, groups, zmax, previous, method)
    assert np.all(groups.sum(~first.mask) >= np.minimum(groups.sizes(), 2))
    again = settle(law, g, groups, zmax, first.mask, method)
    np.testing.assert_array_equal(again.mask, first.mask)
    if b == 0:
        out, _, _ = judge(law, g, groups, (zmax, 0.9 * zmax), previous, simple=method == "simple")
        np.testing.assert_array_equal(first.mask, out)


def test_simple_is_one_pass() -> None:
    """Two bad members spoil the mean for a third one; ``standard`` judges it again, ``simple`` does not."""
    i = np.array([100.0] * 6 + [160.0, 2000.0])
    v = np.full(8, 25.0)
    standard = reject(i, v, np.ones(8), grouped([8]), 6.0)
    simple = reject(i, v, np.ones(8), grouped([8]), 6.0, method="simple")
    np.testing.assert_array_equal(np.flatnonzero(standard.mask), [6, 7])
    assert simple.mask[7]
    assert np.count_nonzero(~simple.mask) == 2


def test_no_rows() -> None:
    nothing = np.zeros(0)
    for method in ("standard", "simple"):
        result = reject(nothing, nothing, nothing, grouped([]), method=method)
        assert result.count == 0 and result.by_multiplicity == ()


def test_refuses_nonsense() -> None:
    one = np.ones(3)
    with pytest.raises(ValueError, match="unknown method .*'best'; one of standard, simple"):
        reject(one, one, one, grouped([3]), method="best")
    with pytest.raises(ValueError, match="zmax must be positive"):
        reject(one, one, one, grouped([3]), zmax=0)
    with pytest.raises(ValueError, match="variances must be positive"):
        reject(one, 0 * one, one, grouped([3]))
