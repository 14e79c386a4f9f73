"""The outer loop on data whose scales, errors and outliers are known."""

from dataclasses import replace

import numpy as np
import pytest
import synthetic
from round_samples import FIT, SETTINGS, first_run

from braggscale.data.unique_reflections import Groups
from braggscale.models.joint_model import JointModel
from braggscale.numerics.partitions import threads
from braggscale.scaling.rounds import MOST_ROUNDS, scale_data
from braggscale.scaling.starting_scales import starting_scales
from braggscale.scaling.state import ScalingProblem, Start

A, B = 1.3, 0.03


def data(seed=1, models=None, outliers=0.01, factor=1.0):
    """Work, true scales and the outliers' mask; ``factor`` multiplies intensities."""
    rng = np.random.default_rng(seed)
    models = models or [synthetic.physical(weight=20.0), synthetic.physical(weight=20.0)]
    rows, groups = synthetic.observations(rng, n_groups=400, n_data_sets=len(models), size=(3, 9))
    model = JointModel.of(models)
    theta = synthetic.perturbed(rng, model, 0.15)
    g = model.evaluate(rows, theta)[0]
    mean = groups.spread(rng.exponential(2000.0, len(groups)) + 5.0)
    background = 30.0
    sigma = A * np.sqrt(g * mean + background + (B * g * mean) ** 2)
    intensity = g * mean + sigma * rng.normal(size=len(g))
    bad = rng.random(len(g)) < outliers
    intensity[bad] += 30.0 * sigma[bad] * rng.choice([-1, 1], bad.sum())
    variance = np.maximum(g * mean + background, 1.0)
    rows = replace(
        rows,
        i_sum=factor * intensity,
        v_sum=factor**2 * variance,
        i_prf=factor * intensity,
        v_prf=factor**2 * variance,
    )
    n = model.n_parameters
    every = np.ones(len(g), bool)
    of = np.zeros(len(models), np.int64)
    work = ScalingProblem(rows, groups, groups, np.ones(len(g)), model, every, np.zeros(n, bool), of)
    return work, g, bad


def difference(work, found, truth):
    """rms of ln(found/truth) after one factor and one B."""
    ratio = np.log(found / truth)
    common = np.column_stack((np.ones(len(ratio)), 0.5 / work.rows.d**2))
    return float(np.std(ratio - common @ np.linalg.lstsq(common, ratio)[0]))


def test_scales_errors_and_outliers_come_back():
    work, truth, bad = data()
    result = scale_data(work, first_run(work), SETTINGS)
    assert result.converged and len(result.rounds) < MOST_ROUNDS
    assert difference(work, result.state.scale, truth) < 0.02
    error = result.state.errors[0]
    assert (error.a, error.b) == pytest.approx((A, B), rel=0.15)
    found = result.state.rejected
    assert found[bad].mean() > 0.9
    assert found[~bad].mean() < 0.003
    spread = result.scale_variance / result.state.scale**2
    assert 0.001 < np.sqrt(np.median(spread)) < 0.02


def test_more_rounds_move_no_merged_intensity(monkeypatch):
    """Rounds end when nothing changes that the result shows; going on to the last round changes no more."""
    work, _, _ = data()
    result = scale_data(work, first_run(work), SETTINGS)
    monkeypatch.setattr("braggscale.scaling.rounds.SAME_VERDICTS", -1.0)
    longer = scale_data(work, first_run(work), SETTINGS)
    assert not longer.converged and len(longer.rounds) == MOST_ROUNDS > len(result.rounds)
    weight = np.where(result.state.rejected, 0.0, result.state.scale**2 / result.state.variance)
    z = (longer.state.mean_intensity - result.state.mean_intensity) * np.sqrt(work.groups.sum(weight))
    assert np.sqrt(np.mean(z**2)) < 0.02
    assert np.count_nonzero(longer.state.rejected != result.state.rejected) == 0


def test_a_second_run_from_the_result_changes_nothing():
    work, _, _ = data()
    first = scale_data(work, first_run(work), SETTINGS)
    start = Start(first.outcome.theta, np.ones(2, bool), first.state.errors, first.state.i_mid)
    again = scale_data(work, start, SETTINGS)
    assert len(again.rounds) <= 4
    sigma = np.sqrt(first.variance) / first.state.scale
    change = again.state.values.intensity / again.state.scale - first.state.values.intensity / first.state.scale
    assert np.abs(change / sigma).max() < 0.1


def test_units_of_intensity_do_not_matter():
    one = scale_data((work := data()[0]), first_run(work), SETTINGS)
    two = scale_data((work := data(factor=8.0)[0]), first_run(work), SETTINGS)
    assert two.state.scale == pytest.approx(one.state.scale, rel=1e-6)
    assert np.array_equal(one.state.rejected, two.state.rejected)


def test_threads_do_not_change_a_bit():
    work = data()[0]
    one = scale_data(work, first_run(work), SETTINGS)
    with threads(2):
        two = scale_data(work, first_run(work), SETTINGS)
    assert np.array_equal(one.state.scale, two.state.scale)
    assert np.array_equal(one.variance, two.variance)


def test_without_full_matrix_there_are_scales_but_no_esds():
    work, truth, _ = data()
    result = scale_data(work, first_run(work), replace(SETTINGS, fit=replace(FIT, full_matrix=False)))
    assert result.outcome.covariance is None
    assert not result.scale_variance.any()
    assert difference(work, result.state.scale, truth) < 0.03


def test_a_gap_in_the_images_leaves_finite_scales_and_names_the_parameters():
    work, _, _ = data(models=[synthetic.physical(n_scale=14, weight=20.0), synthetic.physical(weight=20.0)])
    image = work.rows.xyz[:, 2]
    hole = (work.rows.data_set == 0) & (image > 150) & (image < 780)
    rows = work.rows.take(~hole)
    groups = work.groups.subset(~hole)
    keep = groups.spread(groups.sizes() > 1)
    part = replace(work, rows=rows, groups=groups, friedel_split=groups, epsilon=np.ones(len(rows)), selected=keep)
    result = scale_data(part, first_run(part), SETTINGS)
    assert len(result.outcome.undetermined) > 0
    assert result.outcome.covariance is not None
    assert np.isfinite(result.state.scale).all() and (result.state.scale > 0).all()


def test_held_parameters_do_not_move():
    work, _, _ = data()
    where = work.model.where(0, 1)
    fixed = work.fixed.copy()
    fixed[where] = True
    result = scale_data(replace(work, fixed=fixed), first_run(work), SETTINGS)
    assert not result.outcome.theta[where].any()


def test_starting_scales_bridge_orders_of_magnitude():
    rng = np.random.default_rng(3)
    rows, groups = synthetic.observations(rng, n_groups=500, n_data_sets=3, size=(4, 8))
    true = np.array([1.0, 250.0, 0.004])
    mean = groups.spread(rng.exponential(100.0, len(groups)) + 10)
    intensity = true[rows.data_set] * mean * rng.normal(1, 0.05, len(mean))
    found = starting_scales(rows, groups, intensity, 1 / (0.05 * intensity) ** 2, 3)
    assert found / found[0] == pytest.approx(true, rel=0.05)
    # the same factors for another order of the data sets
    backwards = replace(rows, data_set=2 - rows.data_set)
    found_backwards = starting_scales(backwards, groups, intensity, 1 / (0.05 * intensity) ** 2, 3)
    assert found_backwards[::-1] == pytest.approx(found, rel=1e-9)


def test_starting_scales_without_common_reflections_come_from_mean_intensities():
    rng = np.random.default_rng(4)
    rows, _ = synthetic.observations(rng, n_groups=3000, n_data_sets=2, size=(1, 1))
    true = np.array([1.0, 40.0])
    intensity = true[rows.data_set] * rng.exponential(100.0, len(rows))
    groups = Groups(np.arange(len(rows) + 1))
    found = starting_scales(rows, groups, intensity, np.ones(len(rows)), 2)
    assert found / found[0] == pytest.approx(true, rel=0.15)
