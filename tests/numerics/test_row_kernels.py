"""Compiled passes over groups of rows against their slow twins, and any number of threads."""

from dataclasses import replace

import naive
import numpy as np
import pytest

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.compiled import agreement
from braggscale.numerics.partitions import threads
from braggscale.weighting.error_model import ErrorModel
from braggscale.weighting.expected_variance import VarianceModel, expect
from braggscale.weighting.leave_one_out import judge
from braggscale.weighting.robust_weights import Robust


def sample(seed=0, n_groups=80, largest=9, partial=False):
    """A law with two data sets, one with a counting gain; g, a few negative; rows left out; groups.

    ``partial``: with variances of the partiality, of some rows, some of them all but everything.
    """
    rng = np.random.default_rng(seed)
    groups = Groups(np.concatenate(([0], np.cumsum(rng.integers(1, largest, n_groups)))).astype(np.int64))
    n = groups.n_rows
    g = np.exp(rng.normal(0, 0.4, n)) * np.where(rng.random(n) < 0.02, -1.0, 1.0)
    mu = g * groups.spread(rng.exponential(300, n_groups))
    v = 20 + np.abs(mu)
    r = np.exp(rng.uniform(-9, 9, n)) * (rng.random(n) < 0.7) if partial else np.zeros(0)
    i = mu + np.sqrt(v) * rng.standard_t(3, n)
    if partial:
        i += np.sqrt(r) * mu * rng.standard_normal(n)
        v = v + r * i * i
    two = np.array([1.3, 0.8]), np.array([0.02, 0.0]) ** 2, np.array([0.0, 0.4])
    data_set = rng.integers(0, 2, n).astype(np.int32)
    law = VarianceModel(i, v, rng.uniform(0.5, 2, n), data_set, np.array([0.9, 0.0]), np.array([5.0, 0.0]), *two, r)
    return law, g, rng.random(n) < 0.1, groups


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_expect(seed, partial):
    law, g, out, groups = sample(seed, partial=partial)
    for found, wanted in zip(expect(law, g, out, groups), naive.expect(law, g, out, groups), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9 if partial else 1e-12)


@pytest.mark.parametrize("partial", [False, True])
def test_variances(partial):
    law, g, _, groups = sample(3, partial=partial)
    mu = np.random.default_rng(1).normal(200.0, 300.0, len(g))
    wanted = [naive.variance_at(law, i, mu[i]) for i in range(len(mu))]
    np.testing.assert_allclose(law.at(mu), wanted, rtol=1e-9 if partial else 1e-12)
    # without error model, and with the observed variance
    bare = replace(law, a2=np.ones(2), b2=np.zeros(2), linear=np.zeros(2))
    np.testing.assert_array_equal(law.of_counting().at(mu), bare.at(mu))
    r = law.relative if partial else 0.0
    error = np.array([naive.error_model_variance(ErrorModel(1.0, 0.02, 0.0), 0.0, m) for m in mu])
    first = law.data_set == 0
    observed = replace(law, a2=np.ones(2)).observed().at(mu)
    counting = np.maximum(law.variance - r * law.intensity**2, 1e-12 * law.variance)
    np.testing.assert_allclose(observed[first], (counting + r * mu**2 + error)[first], rtol=1e-6)


def test_error_model_variances():
    rng = np.random.default_rng(2)
    model, v, mu = ErrorModel(1.2, 0.03, 0.5), rng.uniform(1, 9, 50), rng.normal(5, 9, 50)
    wanted = [naive.error_model_variance(model, *row) for row in zip(v, mu, strict=True)]
    np.testing.assert_allclose(model.variance(v, mu), wanted, rtol=1e-14)


@pytest.mark.parametrize("unit", [1.0, 3.0])
@pytest.mark.parametrize("flat", [True, False])
def test_robust_weights(unit, flat):
    law, g, out, groups = sample(2)
    mean_intensity, variance = expect(law, g, out, groups)
    found = Robust(flat, 1.7, 2.0, 1.25).weights(law.intensity, variance, g, mean_intensity, out, groups, unit)
    wanted = naive.robust_weights(law.intensity, variance, g, mean_intensity, out, groups, unit, flat, 1.7, 2.0, 1.25)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-20)
    zero_weight_at = found[0][out]
    assert (zero_weight_at == 0).any() and (zero_weight_at > 0).any()


@pytest.mark.parametrize("known", [False, True])
def test_error_residuals_and_scoring_sums(known):
    law, g, out, groups = sample(3)
    fitted = np.random.default_rng(7).uniform(0, 1e-3, len(g)) if known else np.zeros(0)
    model = ErrorModel(1.2, 0.03, 0.5)
    found = np.empty((3, len(g)))
    agreement.residuals(
        0, len(groups), groups.offsets, law.intensity, law.variance, g, fitted, out, model.terms, *found
    )
    wanted = naive.error_residuals(law.intensity, law.variance, g, groups, model, out, fitted)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    square, freedom, mu = found
    assert (freedom[out] == 0).all()
    sums = np.zeros(11)
    agreement.scoring_sums(0, len(g), square, freedom, law.variance, mu, model.terms, 16.0, sums)
    np.testing.assert_allclose(sums, naive.scoring_sums(square, freedom, law.variance, mu, model, 16.0), rtol=1e-11)


@pytest.mark.parametrize("midpoint", [0.0, 1.0, 150.0])
def test_compare(midpoint):
    rng = np.random.default_rng(4)
    groups = Groups(np.concatenate(([0], np.cumsum(rng.integers(2, 9, 60)))).astype(np.int64))
    n = groups.n_rows
    summed, profile, raw, w, g = (rng.uniform(1, 300, n) for _ in range(5))
    mean_intensity, strong = rng.uniform(10, 100, 60), rng.random(60) < 0.7
    residual, plain, scatter, sums = np.empty(n), np.zeros(60), np.zeros(60), np.zeros(4)
    agreement.compare(
        0,
        60,
        groups.offsets,
        summed,
        profile,
        raw,
        midpoint,
        w,
        g,
        mean_intensity,
        strong,
        residual,
        plain,
        scatter,
        sums,
    )
    u = 1 / (1 + (raw / midpoint) ** 3) if midpoint not in (0, 1) else np.full(n, 1 - midpoint)
    wanted = naive.compare(u * profile + (1 - u) * summed, w, g, groups, mean_intensity, strong)
    for a, b in zip((residual, plain, scatter, sums), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-9)


def test_halve():
    rng = np.random.default_rng(6)
    groups = Groups.of_sizes(rng.integers(2, 40, 50))
    n, pairs = groups.n_rows, np.append(0, np.cumsum((groups.sizes() + 1) // 2))
    words, coins = rng.integers(0, 1 << 63, n).astype(np.uint64), rng.random((3, pairs[-1])) < 0.5
    w, x = rng.uniform(1, 3, (2, n))
    one, other = np.empty((2, 3, 50))
    agreement.halve(0, 50, groups.offsets, words, pairs, coins, w, x, one, other)
    for found, wanted in zip((one, other), naive.halve(words, coins, w, x, groups), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_variances_of_verdicts_are_those_of_the_members():
    """A member is rejected if it is beyond zmax with V' at the mean of the others, and stays if V' is larger."""
    i, v, g = np.array([100.0, 101.0, 99.0, 140.0]), np.full(4, 4.0), np.ones(4)
    groups = Groups(np.array([0, 4]))
    out, changed, moves = judge(VarianceModel.constant(i, v), g, groups, (6.0, 5.4), np.zeros(4, bool))
    np.testing.assert_array_equal(out, [False, False, False, True])
    assert changed.all() and moves == 1
    law = VarianceModel.constant(i, v)
    wide = VarianceModel(
        *(getattr(law, name) for name in law.__slots__[:7]), np.array([0.2**2]), law.linear, law.relative
    )
    assert not judge(wide, g, groups, (6.0, 5.4), np.zeros(4, bool))[0].any()


def test_no_partiality_is_partiality_without_error():
    law, g, out, groups = sample(7)
    zero = replace(law, relative=np.zeros(len(g)))
    for found, wanted in zip(expect(zero, g, out, groups), expect(law, g, out, groups), strict=True):
        np.testing.assert_array_equal(found, wanted)
    for found, wanted in zip(
        judge(zero, np.abs(g), groups, (4.0, 3.6), out), judge(law, np.abs(g), groups, (4.0, 3.6), out), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_verdicts_take_the_partiality_at_the_expected_intensity():
    """An intensity that is too low because of an uncertain partiality is not an outlier."""
    i, r, g = np.array([100.0, 101.0, 99.0, 20.0]), np.array([0.0, 0.0, 0.0, 0.2]), np.ones(4)
    groups = Groups(np.array([0, 4]))
    law = VarianceModel.constant(i, 4.0 + r * i**2)
    assert judge(law, g, groups, (6.0, 5.4), np.zeros(4, bool))[0][3]
    assert not judge(replace(law, relative=r), g, groups, (6.0, 5.4), np.zeros(4, bool))[0].any()


def test_any_number_of_threads():
    law, g, out, groups = sample(5, 30_000)
    assert groups.n_rows > 100_000

    def everything(n):
        with threads(n):
            return *expect(law, g, out, groups), judge(law, np.abs(g), groups, (4.0, 3.6), out)[0]

    for a, b in zip(everything(1), everything(3), strict=True):
        np.testing.assert_array_equal(a, b)
