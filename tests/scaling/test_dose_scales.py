"""Scales and curves with dose in one fit: derivative, convergence to the joint minimum, and the known scales."""

from types import SimpleNamespace

import numpy as np
import pytest
import synthetic
from fit_samples import problem

from braggscale.fit.fit_scales import fit
from braggscale.fit.problem import Problem
from braggscale.fit.solver import FitSettings
from braggscale.scaling.dose_scales import JointFit
from braggscale.statistics.zero_dose import FittedCurves

SETTINGS = FitSettings(True, True, None, 1000, 1e-6)
# Variances of slope and curvature.
PRIOR = np.diag([0.0, 4e-6, 4e-4])


def curves_of(groups, x, weight, dose):
    """The curve of every group, one after the other."""
    phi = np.column_stack((np.ones(len(dose)), dose, dose * (1 - dose)))
    expected, covariance = np.empty(len(x)), []
    for first, last in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
        rows = slice(first, last)
        inverse = np.linalg.inv((phi[rows].T * weight[rows]) @ phi[rows] + PRIOR)
        expected[rows] = phi[rows] @ inverse @ (phi[rows].T @ (weight[rows] * x[rows]))
        covariance.append(inverse)
    return FittedCurves(expected, x - expected, weight, phi, np.array(covariance))


@pytest.fixture(scope="module")
def damaged():
    """Two sweeps with scales that differ from 1, and intensities that change with dose."""
    models = [synthetic.physical(weight=5.0) for _ in range(2)]
    rows, groups, model, _, _ = problem(models, seed=3, n_groups=400)
    rng = np.random.default_rng(8)
    dose = 0.5 * (rows.data_set + rows.xyz[:, 2] / rows.xyz[:, 2].max())
    whole = Problem.of(model, rows, groups, np.zeros(model.n_parameters, bool))
    truth = model.null() + 0.05 * rng.standard_normal(model.n_parameters)
    g = model.evaluate(rows, truth)[0]
    intensity = rng.exponential(1000.0, len(groups))
    change = 0.5 * intensity * rng.standard_normal(len(groups))
    x = groups.spread(intensity) + groups.spread(change) * dose
    counts = g * x + 5.0 * rng.standard_normal(len(x))
    return SimpleNamespace(rows=rows, groups=groups, model=model, whole=whole, g=g, counts=counts, dose=dose)


def test_the_change_of_ln_g_is_that_of_a_small_step(damaged):
    theta = damaged.model.null() + 0.1
    step = np.random.default_rng(1).standard_normal(len(theta))
    change = damaged.model.design(damaged.rows).log_change(theta, step)
    above, below = (np.log(damaged.model.evaluate(damaged.rows, theta + k * 1e-6 * step)[0]) for k in (1, -1))
    np.testing.assert_allclose(change, (above - below) / 2e-6, rtol=1e-6, atol=1e-6)


def test_steps_lead_to_the_common_minimum(damaged):
    weight = np.full(len(damaged.rows), 1.0 / 25.0)
    outcome = fit(damaged.whole, damaged.model.null(), damaged.counts, weight, SETTINGS)
    start = damaged.model.evaluate(damaged.rows, outcome.theta)[0]
    scaled = SimpleNamespace(outcome=outcome, state=SimpleNamespace(theta=outcome.theta, scale=start / 2.0))
    run = SimpleNamespace(model=damaged.model, rows=damaged.rows)
    joint = JointFit.of(run, damaged.groups, scaled)
    theta, g = outcome.theta, start / 2.0

    def spread(g):
        return np.std(np.log(g / damaged.g))

    moved = []
    for _ in range(5):
        before = g
        theta, g = joint.after_step(theta, curves_of(damaged.groups, damaged.counts / g, weight * g**2, damaged.dose))
        moved.append(np.std(np.log(g / before)))
    assert moved[-1] < 1e-3 * moved[0]
    assert spread(g) < 0.3 * spread(start)


def test_without_a_covariance_there_is_no_joint_fit(damaged):
    scaled = SimpleNamespace(
        outcome=SimpleNamespace(covariance=None), state=SimpleNamespace(theta=damaged.model.null())
    )
    assert JointFit.of(SimpleNamespace(), damaged.groups, scaled) is None
