"""Profile and summation: the mixture, its expected variance, and the choice."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.observations import Observations
from braggscale.data.unique_reflections import Groups, weighted_mean
from braggscale.numerics.array_types import Float
from braggscale.weighting.counting_gain import counting_gain
from braggscale.weighting.expected_variance import VarianceModel
from braggscale.weighting.intensity_choice import (
    PROFILE,
    SUMMATION,
    Choice,
    Intensities,
    candidates,
    choose,
    combined,
    initial,
)

QUICK = settings(max_examples=30, deadline=None)


def expected_variance(
    i: Float, v: Float, mu: Float, factor: Float, k: float, floor: float, r: float | Float = 0.0
) -> Float:
    """V_e of rows of one data set."""
    model = VarianceModel.constant(i, v)
    model = dataclasses.replace(model, factor=factor, gain=np.array([k]), floor=np.array([floor]))
    return dataclasses.replace(model, relative=np.broadcast_to(r, len(i)).astype(np.float64)).at(mu)


def observations(n: int, **columns: Float) -> Observations:
    """Rows with everything plain but the columns given."""
    ones, triples = np.ones(n), np.zeros((n, 3))
    plain: dict[str, Any] = {
        "row": np.arange(n),
        "data_set": np.zeros(n, np.int32),
        "hkl": np.zeros((n, 3), np.int32),
        "d": ones,
        "xyz": triples,
        "s0c": triples,
        "s1c": triples,
        "partiality": ones,
        "correction": ones,
        "i_sum": ones,
        "v_sum": ones,
        "i_prf": ones,
        "v_prf": ones,
        "has_sum": np.ones(n, np.bool_),
        "has_prf": np.ones(n, np.bool_),
    }
    return Observations(**(plain | columns))


def experiment(
    seed: int, n: int, background: float, gain: float = 1.0, multiplicity: int = 5, profile_error: float = 0.0
) -> tuple[Observations, Groups, Float]:
    """Counts of a photon detector on a large background: S noisy for weak rows, P better, with a proportional error."""
    rng = np.random.default_rng(seed)
    groups = Groups(np.arange(0, n + 1, multiplicity))
    correction = rng.uniform(0.2, 1.0, n)
    true = groups.spread(rng.exponential(2000, len(groups)) * np.exp(rng.normal(0, 1, len(groups))))
    raw = true / correction
    level = background * np.exp(rng.normal(0, 0.1, n))
    inner = rng.poisson(raw + 0.3 * level)  # what profile fitting looks at
    counts = inner + rng.poisson(0.7 * level)
    p = inner - 0.3 * level + profile_error * raw * rng.normal(size=n)
    v_prf = np.maximum(inner, 1.0)
    v_sum = np.maximum(counts, 1.0)
    c = correction * gain
    obs = observations(
        n,
        correction=correction,
        i_sum=c * (counts - level),
        v_sum=c**2 * v_sum,
        i_prf=c * p,
        v_prf=c**2 * v_prf,
    )
    return obs, groups, gain * true


def test_profile_and_sum_by_row() -> None:
    obs = observations(
        4,
        i_sum=np.array([1.0, 2.0, np.nan, 4.0]),
        v_sum=np.array([10.0, 20.0, np.nan, 40.0]),
        i_prf=np.array([5.0, np.nan, 7.0, 8.0]),
        v_prf=np.array([50.0, np.nan, 70.0, 80.0]),
        has_sum=np.array([True, True, False, True]),
        has_prf=np.array([True, False, True, True]),
        partiality=np.array([1.0, 0.5, 0.5, 0.8]),
        correction=np.array([1.0, 2.0, 2.0, 2.0]),
    )
    for choice in ("profile", "combine"):
        values = initial(obs, choice)
        np.testing.assert_array_equal(values.intensity, [5, 2, 7, 8])
        np.testing.assert_array_equal(values.variance, [50, 20, 70, 80])
        # of a sum only the recorded part was counted
        np.testing.assert_allclose(values.raw_factor, [1, 4, 2, 2])
    values = initial(obs, "sum")
    np.testing.assert_array_equal(values.intensity, [1, 2, 7, 4])
    np.testing.assert_allclose(values.raw_factor, [1, 4, 2, 2.5])


def test_mixture() -> None:
    """u = 1/(1 + (S/m)^3) with S in raw counts; half and half at the midpoint, profile for S <= 0."""
    c = np.array([1.0, 0.5, 2.0, 1.0])
    obs = observations(
        4,
        correction=c,
        i_sum=c * np.array([100.0, 100.0, 200.0, -50.0]),
        v_sum=np.full(4, 9.0),
        i_prf=np.full(4, 60.0),
        v_prf=np.full(4, 4.0),
    )
    values = combined(obs, 100.0)
    u = np.array([0.5, 0.5, 1 / 9, 1.0])
    np.testing.assert_allclose(values.intensity, u * 60 + (1 - u) * obs.i_sum)
    np.testing.assert_allclose(values.variance, u * 4 + (1 - u) * 9)
    by_row = combined(obs, np.array([100.0, SUMMATION, PROFILE, 100.0]))
    np.testing.assert_allclose(by_row.intensity[1:], [50.0, 60.0, 60.0])


def test_unavailable_choice_warns(caplog: pytest.LogCaptureFixture) -> None:
    obs = observations(2, has_prf=np.zeros(2, np.bool_), i_sum=np.array([3.0, 4.0]))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(initial(obs, "profile").intensity, [3, 4])
    assert "no reflection has a profile-fitted intensity" in caplog.text
    with pytest.raises(ValueError, match="unknown intensity_choice 'scale'"):
        initial(obs, "scale")


@pytest.mark.parametrize("gain", [1.0, 0.3, 50.0])
def test_gain_of_a_photon_counter(gain: float) -> None:
    """k = 1 for counts, and follows the units of intensity."""
    obs, _, _ = experiment(1, 20_000, 100.0, gain)
    result = counting_gain(initial(obs, "sum"), obs.data_set, 1)
    assert result.reasons == {} and not result.pooled[0]
    assert result.k[0] == pytest.approx(gain, rel=0.02)
    assert 60 < result.floor[0] / gain**2 < 130


def test_gain_by_data_set_and_pooled() -> None:
    parts = [experiment(k, n, 50.0, gain)[0] for k, (n, gain) in enumerate([(5000, 1.0), (5000, 4.0), (200, 1.0)])]
    parts = [dataclasses.replace(p, data_set=np.full(len(p), k, np.int32)) for k, p in enumerate(parts)]
    obs = Observations.concatenate(parts)
    mixed = np.random.default_rng(1).permutation(len(obs))
    obs = obs.take(mixed)
    result = counting_gain(initial(obs, "sum"), obs.data_set, 4)
    np.testing.assert_allclose(result.k[:2], [1, 4], rtol=0.03)
    assert result.k[2] == result.k[3] == pytest.approx(1, rel=0.3)
    np.testing.assert_array_equal(result.pooled, [False, False, True, True])
    np.testing.assert_array_equal(result.n, [5000, 5000, 200, 0])


@pytest.mark.parametrize("kind", ["constant", "squared", "few"])
def test_gain_that_makes_no_sense_is_not_used(kind: str) -> None:
    rng = np.random.default_rng(2)
    n = 20 if kind == "few" else 5000
    i = rng.exponential(1000, n) * np.exp(rng.normal(0, 2, n))
    v = {"constant": np.exp(rng.normal(0, 0.5, n)), "squared": (0.1 * i) ** 2, "few": i + 1}[kind]
    values = Intensities(i, v, np.ones(n))
    result = counting_gain(values, np.zeros(n, np.int64), 1)
    assert result.k[0] == 0 and 0 in result.reasons
    np.testing.assert_array_equal(expected_variance(i, v, 2 * i, np.ones(n), result.k[0], result.floor[0]), v)


def test_gain_survives_damaged_rows() -> None:
    obs, _, _ = experiment(3, 10_000, 100.0)
    i, v = obs.i_sum.copy(), obs.v_sum.copy()
    v[::50] *= 1000
    i[::77] *= 1000
    result = counting_gain(Intensities(i, v, obs.correction), obs.data_set, 1)
    assert result.k[0] == pytest.approx(1, rel=0.1)


def test_variance_of_weak_reflections_among_strong_ones() -> None:
    """Where the weakest quarter of all rows is not weak, the least variance is that of the background all the same."""
    rng = np.random.default_rng(5)
    n, background = 200_000, 6.0
    true = np.where(rng.random(n) < 0.01, 0.5, rng.exponential(4000.0, n) + 100.0)
    under = rng.poisson(background, n)
    i = (rng.poisson(true) + under - background).astype(np.float64)
    values = Intensities(i, np.abs(i) + background, np.ones(n))
    gain = counting_gain(values, np.zeros(n, np.int64), 1)
    got = expected_variance(i, values.variance, true, values.raw_factor, gain.k[0], gain.floor[0])
    weak = true < 1.0
    assert np.mean((i - true)[weak] ** 2 / got[weak]) == pytest.approx(1.0, abs=0.1)
    # without any background it is that of one photon
    bare = rng.poisson(true).astype(np.float64)
    assert counting_gain(Intensities(bare, bare + 0.01, np.ones(n)), np.zeros(n, np.int64), 1).floor[0] <= 1.01


def test_expected_variance_forgets_the_fluctuation() -> None:
    """Weights from it do not pull means down, weights from observed variances do."""
    obs, groups, true = experiment(4, 100_000, 5.0)
    values = initial(obs, "sum")
    gain = counting_gain(values, obs.data_set, 1)
    args = (values.intensity, values.variance, true, values.raw_factor, gain.k[0], gain.floor[0])
    expected = expected_variance(*args)
    ones = np.ones(len(obs))
    honest, total = weighted_mean(groups, 1 / expected, ones, values.intensity)
    biased, _ = weighted_mean(groups, 1 / values.variance, ones, values.intensity)
    truth = true[groups.offsets[:-1]]
    weak = (truth > 20) & (truth < 100)
    assert np.average((honest / truth)[weak]) == pytest.approx(1, abs=0.004)
    assert np.average((biased / truth)[weak]) < 0.995
    z = (honest - truth) * np.sqrt(total)
    assert np.var(z) == pytest.approx(1, abs=0.04)


def test_what_came_out_negative_counts_as_much_as_what_came_out_positive() -> None:
    """Integration writes |I| + B: with |I| gone, weights of absent reflections do not depend on the sign."""
    rng = np.random.default_rng(8)
    n, background = 200_000, 20.0
    raw = rng.poisson(background, n) - background
    i, v = raw.astype(np.float64), np.abs(raw) + background
    ones = np.ones(n)
    groups = Groups(np.arange(0, n + 1, 5))
    z = {}
    for name, w in (("expected", 1 / expected_variance(i, v, np.zeros(n), ones, 1.0, 4.0)), ("observed", 1 / v)):
        mean, total = weighted_mean(groups, w, ones, i)
        z[name] = mean * np.sqrt(total)
    assert np.mean(z["expected"]) == pytest.approx(0.0, abs=0.015)
    assert np.var(z["expected"]) == pytest.approx(1.0, abs=0.02) and np.var(z["observed"]) < 0.8


@QUICK
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_expected_variance_properties(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    n = 30
    raw, background = rng.normal(20, 50, n), rng.uniform(5, 30, n)
    c, k, floor = np.exp(rng.normal(0, 0.5, n)), 0.8, 4.0
    i, v = c * raw, c**2 * (background + k * np.abs(raw))
    np.testing.assert_allclose(expected_variance(i, v, np.abs(i), c, k, floor), np.maximum(v, c**2 * floor))
    mu = c * rng.uniform(0, 100, n)
    got = expected_variance(i, v, mu, c, k, floor)
    assert np.all(got >= c**2 * floor * (1 - 1e-12))
    # another unit of intensity: k goes with it, variances with its square
    other = expected_variance(unit * i, unit**2 * v, unit * mu, c, unit * k, unit**2 * floor)
    np.testing.assert_allclose(other, unit**2 * got)
    # another correction: I, mu with it
    np.testing.assert_allclose(
        expected_variance(unit * i, unit**2 * v, unit * mu, unit * c, k, floor), unit**2 * got, rtol=1e-9
    )


@QUICK
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.8]))
def test_expected_variance_of_a_partiality(seed: int, k: float) -> None:
    """r I^2 leaves with the observed intensity and comes back with the expected one; the rest does not notice."""
    rng = np.random.default_rng(seed)
    n, c, floor = 30, 0.7, 2.0
    i, r = c * rng.normal(20, 50, n), np.exp(rng.uniform(-6, 3, n))
    v, mu = c**2 * (rng.uniform(5, 30, n) + np.abs(i / c)), c * rng.uniform(0, 100, n)
    plain = expected_variance(i, v, mu, np.full(n, c), k, floor)
    got = expected_variance(i, v + r * i**2, mu, np.full(n, c), k, floor, r)
    np.testing.assert_allclose(got, plain + r * mu**2, rtol=1e-9)


def test_partiality_of_mixtures() -> None:
    """What the mixture's variance holds of r S^2 is what ``relative`` says, and all counting is the rest."""
    i_sum = np.array([5.0, 40.0, 4000.0, -3.0])
    r = np.array([0.5, 0.2, 0.1, 0.3])
    obs = observations(
        4, i_sum=i_sum, i_prf=1.1 * i_sum, v_sum=np.abs(i_sum) + 9 + r * i_sum**2, v_prf=np.abs(i_sum) + 4
    )
    bare = dataclasses.replace(obs, v_sum=np.abs(i_sum) + 9)
    obs = dataclasses.replace(obs, relative=r)
    for midpoint in (0.0, 1.0, 60.0):
        with_r, without = combined(obs, midpoint), combined(bare, midpoint)
        np.testing.assert_allclose(with_r.counting(), without.variance, rtol=1e-12)
        assert len(without.relative) == 0
    np.testing.assert_array_equal(combined(obs, 0.0).relative, 0.0)
    np.testing.assert_array_equal(combined(obs, 1.0).relative, r)


def test_gain_of_partial_reflections() -> None:
    """The counting line is found beneath what the partiality adds."""
    rng = np.random.default_rng(5)
    n = 20_000
    raw, p = rng.exponential(200, n), rng.uniform(0.05, 1, n)
    r = (0.3 * (1 - p)) ** 2
    i = (raw + np.sqrt(raw + 10) * rng.standard_normal(n)) / p
    v = (np.abs(i * p) + 10) / p**2
    one = np.zeros(n, np.int64)
    found = counting_gain(Intensities(i, v + r * i**2, 1 / p, r), one, 1)
    wanted = counting_gain(Intensities(i, v, 1 / p), one, 1)
    assert found.k[0] == pytest.approx(wanted.k[0], rel=1e-9) and found.k[0] == pytest.approx(1, rel=0.03)


def test_candidates() -> None:
    s = np.array([0.0, 100.0, 200.0, 50_000.0])
    obs = observations(4, i_sum=0.5 * s, v_sum=0.25 * (s + 1), correction=np.full(4, 0.5))
    tried = candidates(obs, np.array([True, True, True, True]))
    assert tried == [0, 1, 12575.0, 5000.0]
    assert candidates(obs, np.zeros(4, np.bool_)) == [0, 1]
    s = np.append(np.full(99, 10.0), 50_000.0)
    obs = observations(100, i_sum=s, v_sum=s)
    np.testing.assert_allclose(candidates(obs, np.ones(100, np.bool_)), [0, 1, 509.9, 5000, 500])


def decide(obs: Observations, groups: Groups, previous: float | None = None) -> Choice:
    values = combined(obs, PROFILE if previous is None else previous)
    mean, _ = weighted_mean(groups, 1 / values.variance, np.ones(len(obs)), values.intensity)
    mu = groups.spread(mean)
    weight = 1 / (np.maximum(mu, 1) + 50 + (0.02 * mu) ** 2)
    return choose(obs, groups, np.ones(len(obs)), weight, previous=previous)


def test_chooses_what_agrees_best() -> None:
    """Profile where it is better throughout, summation where profiles are poor, a mixture in between."""
    good, groups, _ = experiment(5, 20_000, 2000.0)
    assert decide(good, groups).i_mid == PROFILE
    poor, groups, _ = experiment(6, 20_000, 2.0, profile_error=0.3)
    assert decide(poor, groups).i_mid == SUMMATION
    mixed, groups, _ = experiment(7, 20_000, 2000.0, profile_error=0.02)
    choice = decide(mixed, groups)
    assert choice.i_mid not in (PROFILE, SUMMATION)
    assert choice.name.startswith("mixture, ")
    table = {row.name: row for row in choice.table}
    assert table[choice.name].score < min(table["profile"].score, table["summation"].score) - 0.01
    assert all(0.9 < row.cc_half <= 1 and 0 < row.r_meas < 0.5 for row in choice.table)
    assert choice.n_rows == 20_000


def test_r_meas_is_that_of_a_slow_twin() -> None:
    obs, groups, _ = experiment(8, 500, 10.0)
    rng = np.random.default_rng(1)
    g = np.exp(rng.normal(0, 0.2, 500))
    w = np.exp(rng.normal(0, 0.2, 500)) / 1000
    choice = choose(obs, groups, g, w, midpoints=[PROFILE, SUMMATION])
    reference = combined(obs, PROFILE).intensity
    for row in choice.table:
        i = combined(obs, row.i_mid).intensity
        above = below = 0.0
        for first, last in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
            s = slice(first, last)
            n = last - first
            best = np.sum((w * g * reference)[s]) / np.sum((w * g * g)[s])
            if best * np.sqrt(np.sum((w * g * g)[s]) / n) <= 1:
                continue
            x = (i / g)[s]
            mean = np.average(x, weights=(w * g * g)[s])
            above += np.sqrt(n / (n - 1)) * np.abs(x - mean).sum()
            below += x.sum()
        assert row.r_meas == pytest.approx(above / below, rel=1e-12)


def test_smaller_is_not_better() -> None:
    """Profile intensities that are 10 % smaller throughout, with equal relative scatter, gain nothing by it."""
    obs, groups, _ = experiment(9, 20_000, 50.0)
    same = dataclasses.replace(obs, i_prf=0.9 * obs.i_sum, v_prf=0.81 * obs.v_sum)
    table = choose(same, groups, np.ones(20_000), 1 / obs.v_sum, midpoints=[PROFILE, SUMMATION]).table
    assert table[0].score == pytest.approx(table[1].score, rel=1e-4)


def test_change_needs_a_gain() -> None:
    """Where both are as good the choice in use stays; where one is much worse it goes."""
    obs, groups, _ = experiment(10, 20_000, 50.0)
    rng = np.random.default_rng(3)
    twin = dataclasses.replace(obs, i_prf=obs.i_sum + 0.02 * np.sqrt(obs.v_sum) * rng.normal(size=20_000))
    for previous in (PROFILE, SUMMATION):
        choice = decide(twin, groups, previous)
        assert choice.i_mid == previous
    poor, groups, _ = experiment(11, 20_000, 2.0, profile_error=0.3)
    assert decide(poor, groups, PROFILE).i_mid == SUMMATION


def test_choice_given_back_stays() -> None:
    obs, groups, _ = experiment(12, 20_000, 2000.0, profile_error=0.02)
    first = decide(obs, groups)
    again = decide(obs, groups, first.i_mid)
    assert again.i_mid == first.i_mid
    nearly = decide(obs, groups, first.i_mid * 1.001)
    assert nearly.i_mid == first.i_mid * 1.001
    assert len(nearly.table) == len(first.table)


def test_units_do_not_matter() -> None:
    """Intensities times 2, variances times 4: the same scores, midpoints twice as large."""
    obs, groups, _ = experiment(13, 10_000, 2000.0, profile_error=0.02)
    ones, w = np.ones(10_000), 1 / obs.v_sum
    double = dataclasses.replace(
        obs, i_sum=2 * obs.i_sum, v_sum=4 * obs.v_sum, i_prf=2 * obs.i_prf, v_prf=4 * obs.v_prf
    )
    one, two = choose(obs, groups, ones, w), choose(double, groups, ones, w / 4)
    assert two.i_mid == 2 * one.i_mid
    np.testing.assert_allclose([r.score for r in two.table], [r.score for r in one.table])


def test_gross_outliers_do_not_decide() -> None:
    obs, groups, _ = experiment(14, 20_000, 2000.0)
    spoilt = obs.i_prf.copy()
    spoilt[::500] += 1e6
    assert decide(dataclasses.replace(obs, i_prf=spoilt), groups).i_mid == PROFILE
    rejected = np.zeros(20_000, np.bool_)
    rejected[::500] = True
    choice = choose(obs, groups, np.ones(20_000), 1 / obs.v_prf, rejected)
    assert choice.n_rows == 20_000 - 40


@pytest.mark.parametrize("what", ["no profile", "no sum", "few", "none"])
def test_nothing_to_compare(what: str) -> None:
    obs, groups, _ = experiment(15, 50, 10.0)
    no = np.zeros(50, np.bool_)
    if what == "no profile":
        choice = decide(dataclasses.replace(obs, has_prf=no), groups)
        assert (choice.i_mid, choice.reason) == (SUMMATION, "there are no profile-fitted intensities")
    elif what == "no sum":
        choice = decide(dataclasses.replace(obs, has_sum=no), groups)
        assert (choice.i_mid, choice.reason) == (PROFILE, "there are no summation intensities")
    elif what == "few":
        choice = decide(obs, groups, 77.0)
        assert choice.i_mid == 77.0 and "too few to compare" in choice.reason
    else:
        empty = obs.take(np.zeros(0, np.int64))
        choice = choose(empty, Groups(np.zeros(1, np.int64)), np.zeros(0), np.zeros(0))
        assert choice.table == ()
