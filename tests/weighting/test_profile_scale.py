"""Profiles on the scale of the sums, and the mixture of both with the least expected error."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.observations import Observations
from braggscale.data.unique_reflections import Groups, mean_of_others, weighted_mean
from braggscale.numerics.array_types import Float, Int32
from braggscale.weighting.profile_mixture import Profiles
from braggscale.weighting.profile_ratio import Difference, Term
from braggscale.weighting.profile_summary import profile_findings

MULTIPLICITY = 6


def recorded(
    seed: int, n: int = 12_000, mean: float = 400.0, background: float = 60.0, error: float = 0.02
) -> Observations:
    """Photon counts in groups of six, brighter at low resolution: sums, and profiles that let 0.4 of the background in.

    ``error``: of the profile, a share of the intensity.
    """
    rng = np.random.default_rng(seed)
    groups = n // MULTIPLICITY
    s2 = np.repeat(rng.uniform(0.05, 1.5, groups), MULTIPLICITY)
    true = np.repeat(rng.exponential(1.0, groups), MULTIPLICITY) * mean * np.exp(-2.0 * s2)
    p = np.where(rng.random(n) < 0.1, rng.uniform(0.4, 0.95, n), 1.0)
    signal = rng.poisson(true * p)
    inner, outer = rng.poisson(0.4 * background, n), rng.poisson(0.6 * background, n)
    summed = signal + inner + outer - background
    profile = signal + inner - 0.4 * background + error * true * p * rng.standard_normal(n)
    one = np.ones(n, np.bool_)
    return Observations(
        row=np.arange(n),
        data_set=np.zeros(n, np.int32),
        hkl=np.zeros((n, 3), np.int32),
        d=1.0 / np.sqrt(s2),
        xyz=rng.uniform(0.0, [1000.0, 1200.0, 300.0], (n, 3)),
        s0c=np.zeros((n, 3)),
        s1c=np.zeros((n, 3)),
        partiality=p,
        correction=np.ones(n),
        i_sum=summed / p,
        v_sum=(np.abs(summed) + background) / p**2,
        i_prf=profile / p,
        v_prf=(np.abs(profile) + 0.4 * background) / p**2,
        has_sum=one,
        has_prf=one,
    )


def grouped(rows: Observations) -> Groups:
    return Groups(np.arange(0, len(rows) + 1, MULTIPLICITY))


def expected(rows: Observations, intensity: Float, variance: Float) -> tuple[Float, Float]:
    return mean_of_others(grouped(rows), 1.0 / variance, np.ones(len(rows)), intensity)


def found(rows: Observations, of: Int32 | None = None, n_sets: int = 1) -> Profiles:
    """As in a run: from the sums, then from the mixture.  ``of``: data set of each row, (n,)."""
    rows = rows if of is None else dataclasses.replace(rows, data_set=of)
    profiles = Profiles.of(rows, expected(rows, rows.i_sum, rows.v_sum), n_sets)
    assert profiles is not None
    everything = np.ones(len(rows), np.bool_)
    for _ in range(3):
        _, values = profiles.intensities(rows, expected(rows, rows.i_sum, rows.v_sum)[0])
        profiles = profiles.again(rows, expected(rows, values.intensity, values.variance), everything)
    return profiles


def merged(rows: Observations, profiles: Profiles) -> tuple[Float, Float]:
    """Means and their standard deviations; expected variances, so that weights do not follow fluctuations."""
    groups, one = grouped(rows), np.ones(len(rows))
    t = expected(rows, rows.i_sum, rows.v_sum)[0]
    for _ in range(2):
        profiles, values = profiles.intensities(rows, t)
        smooth = groups.spread(groups.sum(values.variance) / MULTIPLICITY)
        mean, total = weighted_mean(groups, 1.0 / smooth, one, values.intensity)
        t = groups.spread(mean)
    return mean, 1.0 / np.sqrt(total)


def bent(rows: Observations, ratio: Float) -> Observations:
    return dataclasses.replace(rows, i_prf=rows.i_prf * ratio, v_prf=rows.v_prf * ratio**2)


def a_ratio(rows: Observations, amplitude: float, power: float) -> Float:
    s2, (x, y, z) = 1.0 / rows.d**2, rows.xyz.T
    smooth = 0.5 * s2 - np.sin(s2) + 0.4 * np.sin(x / 300.0) * np.cos(y / 400.0) + 0.3 * np.cos(z / 60.0)
    return np.exp(amplitude * smooth + power * np.log(rows.partiality))


@pytest.mark.parametrize("mean", [10.0, 40.0, 2000.0])
def test_ratio_is_found_however_weak(mean: float) -> None:
    """Counts of 0.5 to 10, 2 to 40, and 100 to 2000: no row is chosen by its own intensity, so nothing is bent."""
    rows = recorded(1, n=48_000, mean=mean)
    ratio = a_ratio(rows, 0.15, 0.5)
    scale = found(bent(rows, ratio))
    weight = np.minimum(np.exp(-2.0 / rows.d**2), 0.5)  # where intensities are strong enough to merge
    off = np.log(scale.ratio / ratio)
    assert np.average(off, weights=weight) == pytest.approx(0.0, abs=0.05 if mean < 40 else 0.005)
    assert np.sqrt(np.average(off**2, weights=weight)) < {10.0: 0.08, 40.0: 0.03, 2000.0: 0.01}[mean]
    assert scale.scale.ratios[0].power == pytest.approx(0.5, abs=5 * scale.scale.ratios[0].power_esd + 0.01)


def test_equal_scales_stay_equal() -> None:
    rows = recorded(2)
    scale = found(rows)
    assert np.abs(np.log(scale.ratio)).max() < 0.02
    assert np.abs(np.mean(np.log(scale.ratio))) < 0.002


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(-0.3, 0.3), st.floats(-0.2, 1.0), st.sampled_from([20.0, 400.0]))
def test_smooth_factors_on_profiles_change_nothing(seed: int, amplitude: float, power: float, mean: float) -> None:
    """Profiles times any smooth function of d, p, x, y and the image: merged intensities stay within 0.1 sigma."""
    rows = recorded(seed, n=6_000, mean=mean)
    right, sigma = merged(rows, found(rows))
    other = bent(rows, a_ratio(rows, amplitude, power))
    again, _ = merged(other, found(other))
    moved = np.abs(again - right) / sigma
    assert np.sqrt(np.mean(moved**2)) < 0.1
    assert np.quantile(moved, 0.9) < 0.15  # of normal moves with rms 0.1 it would be 0.164


@pytest.mark.parametrize(("mean", "error"), [(3.0, 0.0), (40.0, 0.05), (400.0, 0.05), (4000.0, 0.1), (4000.0, 0.0)])
def test_mixture_is_as_good_as_the_better_of_both(mean: float, error: float) -> None:
    """Mean square error of single observations, in units of the sum's variance, and no bias."""
    rows = recorded(3, n=24_000, mean=mean, error=error)
    groups = grouped(rows)
    rng = np.random.default_rng(3)
    s2 = 1.0 / rows.d**2
    rng.uniform(0.05, 1.5, len(groups))
    true = np.repeat(rng.exponential(1.0, len(groups)), MULTIPLICITY) * mean * np.exp(-2.0 * s2)
    _, values = found(rows).intensities(rows, expected(rows, rows.i_sum, rows.v_sum)[0])
    scale = true + 60.0
    error_of = {
        name: float(np.mean((i - true) ** 2 / scale))
        for name, i in (("sum", rows.i_sum), ("profile", rows.i_prf), ("mixture", values.intensity))
    }
    assert error_of["mixture"] < 1.02 * min(error_of["sum"], error_of["profile"])
    # counts at the expected intensity: what came out high has no larger error
    variance = values.variance + values.raw_factor * (true - np.abs(values.intensity))
    z2 = (values.intensity - true) ** 2 / variance
    assert np.mean(np.minimum(z2, 16.0)) == pytest.approx(1.0, abs=0.1 if mean > 10 else 0.3)
    assert np.mean((values.intensity - true) / np.sqrt(scale)) == pytest.approx(0.0, abs=0.02)


def test_profile_that_is_no_multiple_of_the_sum_is_not_used() -> None:
    """A profile that saturates: what is left of the ratio depends on the intensity. Sums alone, and it is said."""
    rows = recorded(4, n=24_000, mean=4000.0, error=0.0)
    rows = dataclasses.replace(rows, i_prf=rows.i_prf / (1.0 + np.maximum(rows.i_prf, 0.0) / 8000.0))
    profiles, values = found(rows).intensities(rows, expected(rows, rows.i_sum, rows.v_sum)[0])
    np.testing.assert_array_equal(values.intensity, rows.i_sum)
    told = profile_findings(profiles, rows, rows.i_sum)[0]
    assert "sums are used alone" in told.sentence(["0"]) and told.why


@pytest.mark.parametrize("times", [4.0, 16.0])
@pytest.mark.parametrize("mean", [40.0, 400.0])
def test_sums_that_scatter_more_than_they_say_are_no_reference(times: float, mean: float) -> None:
    """The variance of the background of sums is ``times`` what they say; profiles with that error are another case."""
    rows = recorded(5, n=6_000, mean=mean)
    extra = np.sqrt((times - 1.0) * 36.0) * np.random.default_rng(5).standard_normal(len(rows))
    wrong_sums = dataclasses.replace(rows, i_sum=rows.i_sum + extra)
    profiles = found(wrong_sums)
    assert [ratio.alone for ratio in profiles.scale.ratios] == ["profiles"]
    assert "sums scatter" in profiles.scale.ratios[0].why
    wrong_profiles = dataclasses.replace(rows, i_prf=rows.i_prf + extra)
    assert [ratio.alone for ratio in found(wrong_profiles).scale.ratios] == [""]


def test_a_row_with_one_intensity_uses_that() -> None:
    rows = recorded(5)
    has_sum, has_prf = np.ones((2, len(rows)), np.bool_)
    has_sum[::7], has_prf[1::7] = False, False
    rows = dataclasses.replace(rows, has_sum=has_sum, has_prf=has_prf, i_prf=0.9 * rows.i_prf, v_prf=0.81 * rows.v_prf)
    profiles = found(rows)
    _, values = profiles.intensities(rows, expected(rows, rows.i_sum, rows.v_sum)[0])
    np.testing.assert_allclose(values.intensity[::7], (rows.i_prf / profiles.ratio)[::7])
    np.testing.assert_array_equal(values.intensity[1::7], rows.i_sum[1::7])
    assert np.median(profiles.ratio) == pytest.approx(0.9, abs=0.005)


def test_few_rows_say_nothing() -> None:
    rows = recorded(6, n=48)
    assert Profiles.of(rows, (rows.i_sum, rows.v_sum), 1) is None


def test_small_data_sets_share_functions_and_keep_levels() -> None:
    """200 data sets of 60 rows whose profiles differ by 10 % from one to the next."""
    rows = recorded(7, mean=4000.0)
    of = np.random.default_rng(8).permutation(np.repeat(np.arange(200), 60)).astype(np.int32)
    level = np.random.default_rng(9).normal(0.0, 0.1, 200)
    rows = dataclasses.replace(bent(rows, np.exp(level[of] + 0.1 / rows.d**2)), data_set=of)
    profiles = Profiles.of(rows, expected(rows, rows.i_sum, rows.v_sum), 200)
    assert profiles is not None and len(profiles.scale.ratios) == 1
    off = np.log(profiles.ratio) - level[of] - 0.1 / rows.d**2
    assert np.sqrt(np.mean(off**2)) < 0.02


@pytest.mark.parametrize("truth", [(1.0, 0.0, 0.0), (0.2, 0.0, 0.0), (1.0, 0.5, 1e-3), (3.0, 0.0, 4e-4)])
def test_variance_of_differences(truth: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(10)
    n = 40_000
    saved, expected = rng.uniform(20.0, 60.0, n), np.exp(rng.uniform(0.0, 9.0, n))
    one = np.ones(n)
    wanted = Difference(*truth).variance(saved, one, expected)
    square = wanted * rng.standard_normal(n) ** 2
    square[::100] *= 1e4
    fitted = Difference().fitted(square, saved, one, expected).variance(saved, one, expected)
    assert np.median(np.abs(np.log(fitted / wanted))) < 0.06


def test_splines_sum_to_one_and_do_not_charge_for_straight_lines() -> None:
    term = Term("position", (0.0, -3.0), (2.0, 5.0), (3, 4))
    x, y = np.linspace(-1.0, 3.0, 50), np.linspace(-4.0, 6.0, 50)
    index, value = term.basis((x, y))
    np.testing.assert_allclose(value.sum(axis=1), 1.0)
    assert index.min() >= 0 and index.max() == term.n - 1
    plane = (np.arange(6)[None, :] + 10.0 * np.arange(7)[:, None]).ravel()
    assert plane @ term.penalty() @ plane == pytest.approx(1e-3 * plane @ plane)
