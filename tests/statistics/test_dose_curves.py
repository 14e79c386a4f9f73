"""Curves of intensity with dose: against the same sums written out, and what is left if an observation is wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.unique_reflections import Groups
from braggscale.statistics.dose_law import Sample, most_probable
from braggscale.statistics.dose_lines import Curves, CurveSums, Slopes, basis, log_wilson, response
from braggscale.statistics.dose_outliers import Observed, averaged, judged, log_probability

SLOPES = Slopes(gamma=0.2, of_intensity=0.05, of_level=0.02, curvature=0.1, rate=1.0)


def one_reflection(seed, n):
    rng = np.random.default_rng(seed)
    dose, sigma = rng.uniform(0, 1, n), rng.uniform(5, 50, n)
    x = 800 - 300 * dose + sigma * rng.normal(size=n)
    return x, sigma**-2.0, basis(dose, SLOPES.rate)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 9))
def test_a_curve_is_the_solution_of_all_equations_at_once(seed, n):
    """Observations and expectations of slope and curvature as rows of one least-squares problem; the evidence is the
    normal density of the observations with the curve integrated out."""
    x, w, phi = one_reflection(seed, n)
    level, p = 1000.0, 4e4
    groups = Groups.of_sizes(np.array([n]))
    sums = CurveSums.of(groups, x, w, phi)
    found = Curves.of(sums, SLOPES, 1.0, np.array([p]), np.array([level]))
    rows = np.vstack((phi * np.sqrt(w)[:, None], [[SLOPES.gamma / p**0.5, p**-0.5, 0], [0, 0, (0.1 * p) ** -0.5]]))
    right = np.append(x * np.sqrt(w), [SLOPES.gamma * level / p**0.5, 0.0])
    solution, *_ = np.linalg.lstsq(rows, right, rcond=None)
    np.testing.assert_allclose(found.values[0] + [sums.mean[0], 0, 0], solution, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.inverse[0], np.linalg.inv(rows.T @ rows), rtol=1e-6, atol=1e-9)
    square = float(np.sum((right - rows @ solution) ** 2))
    evidence = -0.5 * (np.log(p) + np.log(0.1 * p) + np.linalg.slogdet(rows.T @ rows)[1] + square)
    assert found.evidence[0] == pytest.approx(evidence, rel=1e-6, abs=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 7))
def test_the_mean_over_hypotheses_is_that_of_all_fits_done_apart(seed, n):
    x, w, phi = one_reflection(seed, n)
    x[0] += 12 / np.sqrt(w[0])
    share = 0.05
    shares = np.array(SLOPES.shares)
    groups, level, p = Groups.of_sizes(np.array([n])), np.array([1000.0]), np.array([4e4])
    found = averaged(Observed(groups, x, w, phi, level, p), np.ones(n, bool), SLOPES, share)
    weights, values, variances, wrong = [], [], [], []
    for width, part in zip([0.0, 1 / 16, 1 / 4, 1.0, 4.0, 16.0, 64.0, 256.0], shares, strict=True):
        for out in [None, *range(n)]:
            kept = np.arange(n) != (-1 if out is None else out)
            sums = CurveSums.of(groups, x, np.where(kept, w, 0.0), phi)
            curve = Curves.of(sums, SLOPES, width, p, level)
            intensity = curve.values[0, 0] + sums.mean[0]
            # the density of the observations that are kept, with the factors that all hypotheses share left out
            log = curve.evidence[0] + 0.5 * np.log(w[kept] / (2 * np.pi)).sum() + np.log(part)
            log += log_wilson(np.array([intensity]), curve.inverse[:1, 0, 0], level)[0]
            if out is not None:
                away = x[out] - phi[out] @ (curve.values[0] + [sums.mean[0], 0, 0])
                near = 4.0 / np.sqrt(w[out])
                log += np.log(share / (1 - share)) - np.log(2 * np.log(100.0 / 4.0) * max(abs(away), near))
            weights.append(log)
            values.append(intensity)
            variances.append(curve.inverse[0, 0, 0])
            wrong.append(out)
    weight = np.exp(np.array(weights) - np.max(weights))
    weight /= weight.sum()
    values, variances = np.array(values), np.array(variances)
    mean = weight @ values
    assert found.intensity[0] == pytest.approx(mean, rel=1e-5)
    assert found.sigma[0] == pytest.approx((weight @ (variances + (values - mean) ** 2)) ** 0.5, rel=1e-4)
    each = [weight[[other == k for other in wrong]].sum() for k in range(n)]
    np.testing.assert_allclose(found.wrong, each, rtol=1e-4, atol=1e-8)


def test_two_observations_that_disagree_leave_a_large_sigma():
    """Nobody knows which of the two is wrong; of several reflections without doubt the sigma stays small."""
    dose, w = np.array([0.1, 0.9, 0.1, 0.9]), np.full(4, 0.01)
    x = np.array([1000.0, 3000.0, 1000.0, 1005.0])
    groups = Groups.of_sizes(np.array([2, 2]))
    slopes = Slopes(of_intensity=0.002, of_level=0.001)
    seen = Observed(groups, x, w, basis(dose, 0.0), np.full(2, 1000.0), slopes.variance(np.full(2, 1000.0), 1000.0))
    found = averaged(seen, np.ones(4, bool), slopes, 0.01)
    assert found.sigma[0] > 200 > 5 * found.sigma[1]
    assert found.wrong[1] > found.wrong[0] > 0.02  # Wilson: 3000 is less probable


def test_outliers_are_found_among_reflections_that_change():
    rng = np.random.default_rng(3)
    groups = Groups.of_sizes(rng.integers(4, 12, 500))
    dose, index = rng.uniform(0, 1, groups.n_rows), groups.index()
    truth = rng.exponential(1000.0, 500)
    sigma = 10 + 0.02 * truth[index]
    x = truth[index] * (1 + 0.2 * rng.normal(size=500)[index] * dose) + sigma * rng.normal(size=len(dose))
    gross = rng.random(len(x)) < 0.02
    x += np.where(gross, 20 * sigma, 0.0)
    slopes = Slopes(of_intensity=0.04)
    level = np.full(500, 1000.0)
    seen = Observed(groups, x, sigma**-2.0, basis(dose, 0.0), level, slopes.variance(truth, level))
    kept, share = judged(seen, np.ones(len(x), bool), slopes, 0.01)
    assert np.mean(kept[gross]) < 0.05 and np.mean(~kept[~gross]) < 0.005
    assert share == pytest.approx(0.02, rel=0.3)


def test_two_outliers_on_a_steep_curve_are_recognised_if_scaling_knew_them():
    """From all observations alone the search leaves out three that agree."""
    dose = np.array([0.77, 0.34, 0.60, 0.01, 0.76, 0.26, 0.10])
    x = np.array([2245.0, 2337, 2290, 5273, 2162, 4503, 2384])
    sigma = np.array([59.8, 92.1, 60.4, 110.3, 48.5, 97.5, 105.1])
    slopes = Slopes(gamma=0.38, of_intensity=0.027, of_level=0.276)
    groups, level = Groups.of_sizes(np.array([7])), np.array([1389.0])
    seen = Observed(groups, x, sigma**-2.0, basis(dose, 0.0), level, slopes.variance(np.array([2400.0]), level))
    wrong = np.array([False, False, False, True, False, True, False])
    right, all_but_three = ~wrong, np.array([True, False, False, True, True, True, False])
    assert np.array_equal(judged(seen, right, slopes, 0.015)[0], right)
    values = [log_probability(seen, kept, slopes, 0.015)[0] for kept in (right, all_but_three)]
    assert values[0] > values[1] + 5


def test_the_probability_of_a_choice_is_that_of_the_mean_over_hypotheses():
    """The odds of leaving one observation out are those with which it is wrong."""
    x, w, phi = one_reflection(4, 5)
    x[2] += 4.5 / w[2] ** 0.5
    groups, level = Groups.of_sizes(np.array([5])), np.array([700.0])
    seen = Observed(groups, x, w, phi, level, SLOPES.variance(np.array([800.0]), level))
    everything, others = np.ones(5, bool), np.arange(5) != 2
    found = averaged(seen, everything, SLOPES, 0.02)
    ratio = [log_probability(seen, kept, SLOPES, 0.02)[0] for kept in (others, everything)]
    none = 1.0 - found.wrong.sum()
    assert ratio[0] - ratio[1] == pytest.approx(np.log(found.wrong[2] / none), abs=1e-6)


@pytest.mark.parametrize("rate", [0.0, 2.5])
def test_the_course_of_the_damage_is_found(rate):
    rng = np.random.default_rng(4)
    groups = Groups.of_sizes(np.full(1500, 10))
    dose, index = rng.uniform(0, 1, groups.n_rows), groups.index()
    truth, level = rng.exponential(1000.0, 1500), np.full(1500, 1000.0)
    slope = 0.3 * np.sqrt(truth * 1000.0) * rng.normal(size=1500)
    sigma = np.sqrt(truth[index]) + 10
    x = truth[index] + slope[index] * response(dose, rate) + sigma * rng.normal(size=len(dose))
    found = most_probable(Sample(groups, x, sigma**-2.0, dose, truth, level), curved=True)
    assert found.rate == pytest.approx(rate, abs=0.3)
    assert found.of_intensity * (np.array(found.shares) @ [0, 1 / 16, 1 / 4, 1, 4, 16, 64, 256]) == pytest.approx(
        0.09, rel=0.25
    )
    assert (
        most_probable(Sample(groups, x - slope[index] * response(dose, rate), sigma**-2.0, dose, truth, level), True)
        is None
    )


@settings(max_examples=20)
@given(st.floats(-4, 16))
def test_the_course_begins_at_0_ends_at_1_and_never_turns_back(rate):
    f = response(np.linspace(0, 1, 50), rate)
    assert f[0] == 0 and f[-1] == pytest.approx(1.0) and (np.diff(f) > 0).all()


def test_wilsons_distribution_over_a_normal_one_is_its_integral():
    i = np.linspace(0, 30_000, 600_001)
    for mean, sigma in ((500.0, 300.0), (-200.0, 100.0), (2000.0, 10.0)):
        normal = np.exp(-0.5 * ((i - mean) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        whole = np.sum(normal * np.exp(-i / 1000) / 1000) * (i[1] - i[0])
        found = log_wilson(np.array([mean]), np.array([sigma**2]), np.array([1000.0]))[0]
        assert found == pytest.approx(np.log(whole), abs=1e-3)
