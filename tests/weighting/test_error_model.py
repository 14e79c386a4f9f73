"""The error model: known truth, robustness, invariances, and too few data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.unique_reflections import Groups
from braggscale.errors import CommandError
from braggscale.numerics.array_types import Float
from braggscale.weighting.counting_gain import CountingGain
from braggscale.weighting.error_model import (
    ErrorModel,
    ErrorModelOptions,
    FitResult,
    IntensityRange,
    StillLimits,
    assign,
    nearly_equal,
    starting_models,
)
from braggscale.weighting.error_model_fit import fit, fit_error_models, within_limits
from braggscale.weighting.error_model_refinement import refine
from braggscale.weighting.error_model_scoring import TWO
from braggscale.weighting.expected_variance import Expectation, VarianceModel
from braggscale.weighting.intensity_choice import Intensities
from braggscale.weighting.leave_one_out import leave_one_out
from braggscale.weighting.residual_data import ResidualData

QUICK = settings(max_examples=25, deadline=None)


def simulate(
    seed: int, n: int, multiplicity: float, a: float = 1.0, b: float = 0.02, bad: float = 0.0, background: float = 40.0
) -> tuple[Float, Float, Float, Groups, Float]:
    """I, expected V, g, groups, g J."""
    rng = np.random.default_rng(seed)
    sizes = 1 + rng.poisson(multiplicity - 1, int(n / multiplicity))
    groups = Groups(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))
    rows = groups.n_rows
    scale = np.exp(rng.normal(0, 0.3, rows))
    mu = scale * groups.spread(rng.exponential(500, len(groups)) * np.exp(rng.normal(0, 1, len(groups))))
    expected = mu + background * np.exp(rng.normal(0, 0.3, rows))
    sigma = a * np.sqrt(expected + (b * mu) ** 2)
    intensity = mu + sigma * rng.normal(size=rows)
    thrown = mu + rng.uniform(5, 30, rows) * rng.choice([-1, 1], rows) * sigma
    return np.where(rng.random(rows) < bad, thrown, intensity), expected, scale, groups, mu


def recovered(result: FitResult, a: float, b: float, sigmas: float = 3.5) -> None:
    assert result.converged and not result.reason
    assert abs(result.model.a - a) < sigmas * result.esd_a, result
    assert abs(result.model.b - b) < sigmas * result.esd_b, result


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.02), (1.5, 0.05), (3.0, 0.02), (0.6, 0.1), (8.0, 0.01)])
@pytest.mark.parametrize("multiplicity", [2.5, 8])
@pytest.mark.parametrize("bad", [0.0, 0.01])
def test_recovers_what_was_put_in(a: float, b: float, multiplicity: float, bad: float) -> None:
    i, v, g, groups, _ = simulate(11, 60_000, multiplicity, a, b, bad)
    result = fit(ResidualData(i, v, g, groups))
    # 1 % of outliers may shift by a part of the tail between 2 and 4 sigma: allow 1 % on top
    assert abs(result.model.a - a) < 3.5 * result.esd_a + 0.01 * a
    assert abs(result.model.b - b) < 3.5 * result.esd_b + 0.01 * b
    assert result.converged and not result.reason


def test_is_unbiased_over_many_sets() -> None:
    """Mean of a and b over 30 small sets of low multiplicity agrees with the truth, and the esds with the scatter."""
    fits = [fit(ResidualData(*simulate(seed, 6_000, 3, 1.0, 0.03, 0.01)[:4])) for seed in range(30)]
    for name, truth in (("a", 1.0), ("b", 0.03)):
        values = np.array([getattr(f.model, name) for f in fits])
        esds = np.array([getattr(f, f"esd_{name}") for f in fits])
        assert values.mean() == pytest.approx(truth, rel=0.01)
        assert values.std() == pytest.approx(esds.mean(), rel=0.4)


def test_no_instability_gives_b_near_zero() -> None:
    i, v, g, groups, _ = simulate(5, 50_000, 5, 1.2, 0.0)
    result = fit(ResidualData(i, v, g, groups))
    assert result.model.b < 0.004
    assert result.model.a == pytest.approx(1.2, rel=0.01)


def test_no_hold_on_a_is_said() -> None:
    """Purely proportional errors: the counting errors cannot be measured."""
    rng = np.random.default_rng(3)
    groups = Groups(np.arange(0, 4001, 4))
    mu = groups.spread(rng.uniform(1e4, 1e6, 1000))
    i = mu * (1 + 0.05 * rng.normal(size=4000))
    result = fit(ResidualData(i, np.full(4000, 1e-4), np.ones(4000), groups))
    assert "a = 1 kept, only b refined" in result.reason
    assert result.model.b == pytest.approx(0.05, rel=0.05)


def test_gross_outliers_move_nothing() -> None:
    i, v, g, groups, mu = simulate(6, 20_000, 5)
    clean = fit(ResidualData(i, v, g, groups)).model
    spoilt = i.copy()
    spoilt[::200] += 1e4 * mu[::200]
    dirty = fit(ResidualData(spoilt, v, g, groups))
    assert dirty.model.a == pytest.approx(clean.a, rel=0.01)
    assert dirty.model.b == pytest.approx(clean.b, rel=0.03)
    assert dirty.n_trimmed >= np.count_nonzero(groups.spread(groups.sizes() > 1)[::200])


def test_stationary_point_of_the_restricted_likelihood() -> None:
    """sum (1 - h)(x/V')(1 - z^2) = 0 for x = V and mu^2, by numerical derivative of the likelihood itself."""
    i, v, g, groups, _ = simulate(7, 1500, 4, 1.3, 0.04)
    model = fit(ResidualData(i, v, g, groups)).model

    def minus_log_likelihood(a: float, b: float) -> float:
        total = 0.0
        for first, last in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
            if last - first < 2:
                continue
            x, e, s, m = i[first:last], v[first:last], g[first:last], mean[first:last]
            variance = a * a * (e + (b * s * m) ** 2)
            w = s * s / variance
            best = np.sum(s * x / variance) / w.sum()
            total += 0.5 * np.sum((x - s * best) ** 2 / variance + np.log(variance)) + 0.5 * math.log(w.sum())
        return total

    # the variances' own I_h, at the solution
    mean = groups.spread(np.zeros(len(groups)))
    for _ in range(5):
        variance = model.variance(v, g * mean)
        mean = groups.spread(groups.sum(g * i / variance) / groups.sum(g * g / variance))
    best = minus_log_likelihood(model.a, model.b)
    for a, b in ((1.01, 1), (0.99, 1), (1, 1.03), (1, 0.97)):
        # the trimming correction is of the order of 1e-3: the minimum may be off by a small part of these steps
        assert minus_log_likelihood(model.a * a, model.b * b) > best


@pytest.mark.parametrize("hold", ["a", "b", "both", "refine"])
def test_held_parameters(hold: str) -> None:
    i, v, g, groups, _ = simulate(8, 20_000, 5, 1.5, 0.05)
    if hold == "a":
        result = fit(ResidualData(i, v, g, groups), ErrorModelOptions(a=1.5))
        assert result.model.a == 1.5
        assert result.model.b == pytest.approx(0.05, rel=0.05)
        assert math.isnan(result.esd_a) and result.esd_b > 0
    elif hold == "b":
        result = fit(ResidualData(i, v, g, groups), ErrorModelOptions(b=0.05))
        assert result.model.b == 0.05
        assert result.model.a == pytest.approx(1.5, rel=0.02)
        assert math.isnan(result.esd_b) and result.esd_a > 0
    elif hold == "both":
        assert fit(ResidualData(i, v, g, groups), ErrorModelOptions(a=2.0, b=0.01)).model == ErrorModel(2.0, 0.01)
    else:
        result = fit(ResidualData(i, v, g, groups), ErrorModelOptions(refine=False), start=ErrorModel(1.5, 0.05))
        assert result.model == ErrorModel(1.5, 0.05)
        assert all(row.corrected == pytest.approx(1, abs=0.2) for row in result.ranges)


def test_few_observations() -> None:
    i, v, g, groups, _ = simulate(9, 200, 5, 2.0, 0.02)
    result = fit(ResidualData(i, v, g, groups))
    assert "only a refined" in result.reason
    assert result.model.b == 0.02
    assert result.model.a == pytest.approx(2.0, rel=0.3)
    i, v, g, groups, _ = simulate(9, 40, 5, 2.0, 0.02)
    result = fit(ResidualData(i, v, g, groups), start=ErrorModel(1.1, 0.03))
    assert "at least 50 needed: not refined" in result.reason
    assert result.model == ErrorModel(1.1, 0.03)
    result = fit(ResidualData(i[:0], v[:0], g[:0], Groups(np.zeros(1, np.int64))))
    assert result.n_used == 0 and result.ranges == () and result.model == ErrorModel()


def test_no_equivalents() -> None:
    ones = np.ones(500)
    result = fit(ResidualData(ones, ones, ones, Groups(np.arange(501))))
    assert result.n_used == 0 and "0 observations" in result.reason


def test_identical_observations_do_not_stop_it() -> None:
    """Zero residuals have no likelihood: the model stays."""
    ones = np.ones(600)
    result = fit(ResidualData(100 * ones, 100 * ones, ones, Groups(np.arange(0, 601, 3))))
    assert "kept" in result.reason
    assert result.model == ErrorModel()


def test_one_intensity_cannot_tell_a_from_b() -> None:
    rng = np.random.default_rng(1)
    i = 100 + 20 * rng.normal(size=3000)
    result = fit(ResidualData(i, np.full(3000, 100.0), np.ones(3000), Groups(np.arange(0, 3001, 1000))))
    assert "all intensities are alike" in result.reason
    assert result.model.a**2 * (100 + (result.model.b * 100) ** 2) == pytest.approx(400, rel=0.08)


def test_minimum_photons_leaves_weak_groups_out() -> None:
    i, v, g, groups, mu = simulate(10, 20_000, 5)
    everything = fit(ResidualData(i, v, g, groups))
    strong = fit(ResidualData(i, v, g, groups, photon=np.full(len(i), 1.0)), ErrorModelOptions(min_photons=25))
    assert strong.n_used < everything.n_used
    assert strong.ranges[-1].low >= 0 and strong.n_used == pytest.approx(np.count_nonzero(mu > 25), rel=0.05)
    doubled = fit(ResidualData(2 * i, 4 * v, g, groups, photon=np.full(len(i), 2.0)), ErrorModelOptions(min_photons=25))
    assert doubled.n_used == strong.n_used
    assert (
        fit(ResidualData(i, v, g, groups), ErrorModelOptions(min_photons=25)).n_used < strong.n_used
    )  # the background counts against them


def test_table() -> None:
    i, v, g, groups, _ = simulate(12, 50_000, 5, 1.5, 0.04)
    result = fit(ResidualData(i, v, g, groups), ErrorModelOptions(n_bins=10))
    assert sum(row.n for row in result.ranges) == result.n_used
    assert 5 <= len(result.ranges) <= 10
    highs = [row.high for row in result.ranges]
    assert highs == sorted(highs, reverse=True)
    for row in result.ranges:
        assert row.corrected == pytest.approx(1, abs=5 * math.sqrt(2 / row.n) + 0.01)
        assert row.uncorrected > 1.5
    assert result.ranges[0].uncorrected > result.ranges[-1].uncorrected


def test_isa() -> None:
    assert ErrorModel(2.0, 0.05).isa == pytest.approx(10.0)
    assert ErrorModel(2.0, 0.0).isa == ErrorModel(2.0, 1e-30).isa == math.inf


def test_z_scores_are_standard_normal_with_the_fitted_model() -> None:
    i, v, g, groups, _ = simulate(13, 50_000, 6, 1.5, 0.05)
    model = fit(ResidualData(i, v, g, groups)).model
    best = groups.sum(g * i / v) / groups.sum(g * g / v)
    z = leave_one_out(i, model.variance(v, g * groups.spread(best)), g, groups)
    assert np.nanvar(z) == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(np.isnan(z), groups.spread(groups.sizes() == 1))


@QUICK
@given(st.integers(0, 1000), st.floats(0.01, 1e4))
def test_units_and_order_do_not_matter(seed: int, unit: float) -> None:
    i, v, g, groups, _ = simulate(seed, 3000, 4, 1.3, 0.03, 0.01)
    one = fit(ResidualData(i, v, g, groups))
    order = np.lexsort((np.random.default_rng(seed).random(len(i)), groups.index()))
    for other in (
        fit(ResidualData(unit * i, unit**2 * v, g, groups)),
        fit(ResidualData(i, v, unit * g, groups)),
        fit(ResidualData(i[order], v[order], g[order], groups)),
    ):
        assert other.model.a == pytest.approx(one.model.a, rel=1e-3)
        assert other.model.a * other.model.b == pytest.approx(one.model.a * one.model.b, abs=1e-4)


def test_start_does_not_matter() -> None:
    i, v, g, groups, _ = simulate(14, 20_000, 5, 2.0, 0.03, 0.01)
    fits = [
        fit(ResidualData(i, v, g, groups), start=s).model
        for s in (ErrorModel(), ErrorModel(0.2, 0.3), ErrorModel(20, 0.001))
    ]
    for other in fits[1:]:
        assert other.a == pytest.approx(fits[0].a, rel=2e-3)
        assert other.b == pytest.approx(fits[0].b, rel=5e-3)


@pytest.mark.parametrize(
    ("grouping", "sweeps", "expected"),
    [
        ("combined", [], [0, 0, 0, 0]),
        ("individual", [], [0, 1, 2, 3]),
        ("grouped", [], [0, 0, 0, 0]),
        ("grouped", [[1, 2], [3, 4]], [0, 0, 1, 1]),
        ("grouped", [[1, 3]], [0, 1, 0, 1]),
        ("grouped", [[0, 3]], [0, 1, 1, 0]),
    ],
)
def test_which_data_set_has_which_model(grouping: str, sweeps: list[list[int]], expected: list[int]) -> None:
    np.testing.assert_array_equal(assign(grouping, 4, sweeps), expected)


def test_wrong_data_set_numbers() -> None:
    with pytest.raises(CommandError, match="no data set 5; they are numbered 1 to 4"):
        assign("grouped", 4, [[1, 5]])
    with pytest.raises(CommandError, match="data set 2 is named in two groups"):
        assign("grouped", 4, [[1, 2], [2, 3]])


def with_linear_term(seed: int, n: int, c: float, background: float = 400.0) -> tuple[Float, Float, Float, Groups]:
    """As ``simulate`` with a = 1.1, b = 0.05, and errors that grow with sqrt(mu) beyond counting."""
    rng = np.random.default_rng(seed)
    _, _, g, groups, mu = simulate(seed, n, 5, background=background)
    expected = 0.2 * mu + background * np.exp(rng.normal(0, 0.3, len(mu)))
    sigma = np.sqrt(ErrorModel(1.1, 0.05, c).variance(expected, mu))
    intensity = mu + sigma * rng.normal(size=len(mu))
    bad = rng.random(len(mu)) < 0.01
    intensity[bad] += 20 * sigma[bad]
    return intensity, expected, g, groups


@pytest.mark.parametrize("seed", range(4))
def test_linear_term_is_found_where_it_is_large(seed: int) -> None:
    i, v, g, groups = with_linear_term(seed, 5000, 10.0)
    result = fit(ResidualData(i, v, g, groups), ErrorModelOptions(min_photons=25.0))
    assert "linear in the intensity" in result.reason and result.linear_gain > 200
    assert result.model.a == pytest.approx(1.1, abs=3.5 * result.esd_a + 0.02)
    assert result.model.b == pytest.approx(0.05, abs=3.5 * result.esd_b)
    assert result.model.c == pytest.approx(10.0, abs=3.5 * result.esd_c + 0.2)
    assert all(row.corrected == pytest.approx(1, abs=5 * math.sqrt(2 / row.n) + 0.02) for row in result.ranges)
    two = fit(ResidualData(i, v, g, groups), ErrorModelOptions(min_photons=25.0, b=0.05))
    assert two.model.c == 0.0 and max(abs(row.corrected - 1) for row in two.ranges) > 0.5


@pytest.mark.parametrize("n", [400, 5000, 100_000])
def test_linear_term_is_not_used_without_need(n: int) -> None:
    """Neither by chance, nor where many observations make a small one significant."""
    for seed in range(12 if n < 10_000 else 2):
        i, v, g, groups, _ = simulate(seed, n, 4, 1.3, 0.03, 0.01)
        assert fit(ResidualData(i, v, g, groups), ErrorModelOptions(min_photons=25.0)).model.c == 0.0
    i, v, g, groups = with_linear_term(1, n, 0.05)
    assert fit(ResidualData(i, v, g, groups)).model.c == 0.0


def test_a_does_not_wander_where_counting_is_all_there_is() -> None:
    """V = mu: a^2 V and c mu are one term; the two-parameter fit stays."""
    i, v, g, groups, mu = simulate(2, 20_000, 5, 1.0, 0.02, background=0.1)
    extra = np.random.default_rng(1).normal(size=len(mu)) * np.sqrt(3 * mu)
    result = fit(ResidualData(i + extra, v, g, groups), ErrorModelOptions(min_photons=25.0))
    assert result.model.c == 0.0
    assert result.model.a == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_errors_of_counting_that_others_hide(seed: int) -> None:
    """Where errors of single reflections exceed those of counting by far a would go to 0; it is held at 1."""
    rng = np.random.default_rng(seed)
    _, _, g, groups, mu = simulate(seed, 5000, 5, background=400.0)
    expected = 1e-2 * np.median(mu) * np.exp(rng.normal(0, 0.3, len(mu)))
    intensity = mu + np.sqrt(0.5 * mu**1.5) * rng.normal(size=len(mu))
    data = ResidualData(intensity, expected, g, groups)
    result = fit(data, ErrorModelOptions(min_photons=25.0))
    assert "linear in the intensity" in result.reason and "a = 1 kept, only b and c refined" in result.reason
    assert result.converged and result.model.a == 1.0 and result.model.c > 0
    two = refine(data.sample(25.0, len(data)), ErrorModel(), TWO, 10, "")

    def misfit(ranges: tuple[IntensityRange, ...]) -> float:
        return sum(row.n * math.log(row.corrected) ** 2 for row in ranges) / sum(row.n for row in ranges)

    assert misfit(result.ranges) < 0.6 * misfit(two.ranges)


def test_linear_term_does_not_depend_on_units_order_and_start() -> None:
    i, v, g, groups = with_linear_term(5, 4000, 10.0)
    one = fit(ResidualData(i, v, g, groups)).model
    order = np.lexsort((np.random.default_rng(0).random(len(i)), groups.index()))
    for unit, other in (
        (30.0, fit(ResidualData(30 * i, 900 * v, g, groups))),
        (1.0, fit(ResidualData(i, v, 30 * g, groups))),
        (1.0, fit(ResidualData(i[order], v[order], g[order], groups))),
        (1.0, fit(ResidualData(i, v, g, groups), start=ErrorModel(0.5, 0.2, 100.0))),
    ):
        assert (other.model.a, other.model.b) == pytest.approx((one.a, one.b), rel=3e-3)
        assert other.model.c == pytest.approx(unit * one.c, rel=3e-3)


def test_linear_term_in_use_stays_longer() -> None:
    """If the gain is between half of the required one and all of it, the model in use is kept."""
    found = []
    for c in np.geomspace(0.5, 10, 12):
        i, v, g, groups = with_linear_term(3, 3000, c)
        found.append([fit(ResidualData(i, v, g, groups), start=ErrorModel(c=s)).model.c > 0 for s in (0.0, c)])
    assert [False, True] in found and [True, False] not in found
    assert found[0] == [False, False] and found[-1] == [True, True]


def test_linear_term_of_the_start_without_refinement() -> None:
    i, v, g, groups = with_linear_term(6, 3000, 10.0)
    model = ErrorModel(1.1, 0.05, 10.0)
    held = fit(ResidualData(i, v, g, groups), ErrorModelOptions(refine=False), start=model)
    assert held.model == model
    assert all(row.corrected == pytest.approx(1, abs=0.25) for row in held.ranges)
    assert fit(ResidualData(i, v, g, groups), ErrorModelOptions(a=1.0), start=model).model.c == 0.0


def test_linear_term_in_the_variance() -> None:
    model = ErrorModel(2.0, 0.1, 3.0)
    np.testing.assert_allclose(model.variance(np.full(3, 5.0), np.array([-10.0, 0.0, 10.0])), [24.0, 20.0, 144.0])
    assert model.isa == pytest.approx(5.0)


def test_what_scales_have_taken_of_residuals_is_no_precision():
    """Stills of 12 reflections, each with its own fitted scale: b is underestimated unless var(g) is known."""
    rng = np.random.default_rng(12)
    n_groups, n_stills, size = 2000, 5000, 12
    truth = rng.exponential(1000.0, n_groups) * np.exp(rng.normal(0, 1, n_groups))
    still, group = np.repeat(np.arange(n_stills), size), rng.integers(0, n_groups, n_stills * size)
    order = np.argsort(group, kind="stable")
    still, group = still[order], group[order]
    variance = truth[group] + 30.0
    spread = variance + (0.03 * truth[group]) ** 2
    intensity = truth[group] + np.sqrt(spread) * rng.normal(size=len(group))
    information = np.bincount(still, truth[group] ** 2 / spread)
    scale = np.bincount(still, truth[group] * intensity / spread) / information
    of_scale = (1.0 / information)[still]
    groups = Groups.from_keys(group)
    plain = fit(ResidualData(intensity, variance, scale[still], groups)).model
    whole = fit(
        ResidualData(intensity, variance, scale[still], groups, scale_variance=of_scale / scale[still] ** 2)
    ).model
    assert plain.b < 0.95 * 0.03
    assert abs(whole.b / 0.03 - 1) < 0.02
    assert abs(whole.a - 1) < 0.02


def observations(seed: int = 21) -> tuple[Expectation, Float]:
    """Two data sets with errors of their own: a = 1 and 2; and who is left out."""
    i, v, g, groups, mu = simulate(seed, 30_000, 5)
    rng = np.random.default_rng(seed)
    data_set = rng.integers(0, 2, len(i)).astype(np.int32)
    i = mu + np.where(data_set == 0, 1.0, 2.0) * (i - mu)
    law = VarianceModel.constant(i, v)
    two = np.ones(2)
    law = replace(law, data_set=data_set, gain=0 * two, floor=0 * two, a2=two, b2=0 * two, linear=0 * two)
    best = groups.sum(g * i / v) / groups.sum(g * g / v)
    return Expectation(law, g, v, best, groups, groups), rng.random(len(i)) < 0.05


def test_each_model_is_fitted_to_the_rows_of_its_data_sets() -> None:
    given, out = observations()
    one, two = fit_error_models(given, out, [ErrorModel()] * 2, np.array([0, 1]), ErrorModelOptions())
    recovered(one, 1.0, 0.02)
    recovered(two, 2.0, 0.02)
    assert one.n_used + one.n_trimmed + two.n_used + two.n_trimmed <= np.count_nonzero(~out)
    (all_together,) = fit_error_models(given, out, [ErrorModel()], np.array([0, 0]), ErrorModelOptions())
    assert one.model.a < all_together.model.a < two.model.a


def test_photons_are_known_with_a_gain_only() -> None:
    given, out = observations()
    assert not len(ResidualData.of(given, np.flatnonzero(~out)).photon)
    law = replace(given.variance_model, gain=np.array([0.5, 0.5]), factor=np.full(len(out), 2.0))
    data = ResidualData.of(replace(given, variance_model=law), np.flatnonzero(~out), np.full(len(out), 0.1))
    np.testing.assert_array_equal(data.photon, 1.0)
    np.testing.assert_allclose(data.scale_variance, 0.1 / given.scale[~out] ** 2)
    np.testing.assert_allclose(
        data.expected, np.maximum(law.variance + given.mu - np.abs(law.intensity), 0.0)[~out], rtol=1e-12
    )


def test_the_variance_model_takes_the_error_model_of_each_data_set() -> None:
    values = Intensities(np.array([9.0, 9.0, 9.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4))
    gain = CountingGain(np.zeros(3), np.zeros(3), np.ones(3, np.int64), np.zeros(3, np.bool_), {})
    models = [ErrorModel(1.0, 0.0), ErrorModel(2.0, 0.1)]
    found = VarianceModel.of(values, gain, np.array([0, 1, 2, 1], np.int32), models, np.array([0, 1, 0]))
    np.testing.assert_allclose(found.at(np.array([0.0, 10.0, 20.0, 30.0])), [1.0, 4 * (2 + 1), 3.0, 4 * (4 + 9)])


def test_where_error_models_start() -> None:
    known = [ErrorModel(1.2, 0.03, 4.0)]
    assert starting_models(2, None, None) == (ErrorModel(1.0, 0.0),) * 2
    assert starting_models(2, None, ErrorModelOptions()) == (ErrorModel(),) * 2
    assert starting_models(1, known, ErrorModelOptions()) == tuple(known)
    assert starting_models(1, known, ErrorModelOptions(b=0.1)) == (ErrorModel(1.2, 0.1, 0.0),)


def test_error_models_that_differ_by_less_than_their_uncertainty_are_nearly_equal() -> None:
    one = ErrorModel(1.0, 0.02, 3.0)
    assert nearly_equal([one], [ErrorModel(1.004, 0.02008, 3.05)])
    for other in (ErrorModel(1.006, 0.02, 3.0), ErrorModel(1.0, 0.0202, 3.0), ErrorModel(1.0, 0.02, 3.1)):
        assert not nearly_equal([one], [other])


def test_limits_for_stills_choose_their_observations_alone() -> None:
    given, out = observations()
    measured = given.variance_model
    limits = StillLimits(3.0, 4)
    still = np.array([True, False])
    keep = within_limits(given, ~out, still, limits)
    of_still = still[measured.data_set]
    assert (keep == ~out)[~of_still].all()
    strong = measured.intensity >= 3.0 * np.sqrt(measured.variance)
    counted = ~out & (~of_still | strong)
    sizes = given.friedel_split.spread(given.friedel_split.sum(counted))
    assert np.array_equal(keep, counted & (~of_still | (sizes >= 4)))
    assert 0 < np.count_nonzero(keep & of_still) < np.count_nonzero(~out & of_still)


def test_limits_for_stills_act_in_the_fit() -> None:
    given, out = observations()
    models, of = [ErrorModel()] * 2, np.array([0, 1])
    plain = fit_error_models(given, out, models, of, ErrorModelOptions())
    limited = ErrorModelOptions(stills=StillLimits(None, 5))
    found = fit_error_models(given, out, models, of, limited, None, np.array([False, True]))
    assert found[0].model == plain[0].model and found[1].n_used < plain[1].n_used
    recovered(found[1], 2.0, 0.02)
    assert fit_error_models(given, out, models, of, limited)[1].n_used == plain[1].n_used
