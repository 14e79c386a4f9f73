"""Minimisers on problems with known answers, and the covariance on a constrained surface."""

import naive
import numpy as np
import pytest
import synthetic
from scipy import optimize

from braggscale.fit.least_squares import Target
from braggscale.fit.restraints import Restraints
from braggscale.models.gauge import as_constraints, as_restraints, gauge
from braggscale.models.joint_model import JointModel
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.minimisers import Stop, constrained_covariance, lbfgs


def quadratic(rng, n=8, spread=1e6):
    """(x - c)' A (x - c) with widely spread curvatures."""
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    root = np.sqrt(np.geomspace(1.0, spread, n))
    a = root[:, None] * (np.eye(n) + 0.2 * (q + q.T)) * root
    centre = rng.normal(size=n)

    def first(x):
        return float((x - centre) @ a @ (x - centre)) + 1.0, 2 * a @ (x - centre)

    def second(x):
        return float((x - centre) @ a @ (x - centre)) + 1.0, 2 * a @ (x - centre), a

    return first, second, centre


def rosenbrock(x):
    r = np.array([1 - x[0], 10 * (x[1] - x[0] ** 2)])
    j = np.array([[-1.0, 0.0], [-20 * x[0], 10.0]])
    return float(r @ r) + 1.0, 2 * j.T @ r, j.T @ j


@pytest.mark.parametrize("whole", [False, True])
def test_lbfgs_finds_the_minimum_of_a_badly_scaled_quadratic(whole):
    first, second, centre = quadratic(np.random.default_rng(0))
    normal = second(centre)[2]
    fit = lbfgs(first, np.zeros(8), normal if whole else np.diag(normal), tolerance=1e-14, max_iterations=200)
    assert fit.stop in (Stop.CONVERGED, Stop.NO_DESCENT)
    if whole:  # in the metric of the Hessian the first step is Newton's
        assert len(fit.history) <= 5
    assert fit.theta == pytest.approx(centre, abs=1e-4)
    assert list(fit.history) == sorted(fit.history, reverse=True)


def test_rosenbrocks_valley_is_followed():
    start = np.array([-1.2, 1.0])
    fit = lbfgs(lambda x: rosenbrock(x)[:2], start, rosenbrock(start)[2], tolerance=1e-12, max_iterations=300)
    assert fit.theta == pytest.approx([1, 1], abs=1e-3)
    assert naive.gauss_newton(rosenbrock, start)[0] == pytest.approx([1, 1], abs=1e-5)


def test_an_undetermined_parameter_stays_and_the_others_are_solved():
    def function(x):
        return float((x[0] - 3) ** 2) + 1.0, np.array([2 * (x[0] - 3), 0.0])

    normal = np.diag([1.0, 0.0])
    fit = lbfgs(function, np.zeros(2), normal)
    assert fit.theta == pytest.approx([3, 0], abs=1e-4)
    assert constrained_covariance(normal, np.empty((0, 2))) is None


def test_iteration_limit_and_nothing_free():
    assert lbfgs(quadratic(np.random.default_rng(2))[0], np.zeros(8), np.ones(8), max_iterations=1).stop in (
        Stop.MAX_ITERATIONS,
        Stop.CONVERGED,
    )
    fit = lbfgs(lambda x: rosenbrock(x)[:2], np.array([-1.2, 1.0]), np.ones(2), max_iterations=1)
    assert fit.stop is Stop.MAX_ITERATIONS and "max_iterations" in fit.stop.value
    empty = lbfgs(lambda x: (2.0, x), np.empty(0), np.empty(0))
    assert empty.stop is Stop.NOTHING_TO_REFINE and empty.cost == 2.0


def test_constrained_covariance_is_the_limit_of_a_stiff_constraint():
    rng = np.random.default_rng(4)
    root = rng.normal(size=(6, 4))
    normal = root @ root.T  # rank 4: two directions that the data do not determine
    constraints = rng.normal(size=(2, 6))
    covariance = constrained_covariance(normal, constraints)
    stiff = np.linalg.inv(normal + 1e7 * constraints.T @ constraints)
    assert covariance == pytest.approx(stiff, abs=1e-4 * np.abs(stiff).max())
    assert constraints @ covariance == pytest.approx(np.zeros((2, 6)), abs=1e-9 * np.abs(covariance).max())
    assert constrained_covariance(normal, constraints[:1]) is None
    full = normal + np.eye(6)
    assert constrained_covariance(full, np.empty((0, 6))) == pytest.approx(np.linalg.inv(full))


def equations(target):
    return lambda theta: target.quadratic(theta).equations()


def scaling_problem():
    rng = np.random.default_rng(7)
    rows, groups = synthetic.observations(rng, n_groups=150, size=(4, 9))
    model = JointModel.of([synthetic.physical(weight=2.0), synthetic.physical(weight=2.0)])
    theta = synthetic.perturbed(rng, model, 0.15)
    g = model.evaluate(rows, theta)[0]
    sigma = 0.02
    truth = groups.spread(rng.exponential(100.0, len(groups)) + 20.0)
    intensity = truth * g * rng.normal(1.0, sigma, len(truth))
    weight = 1.0 / (sigma * truth * g) ** 2
    start = model.null()
    every = np.arange(model.n_parameters)
    choices = gauge(model, rows, np.zeros(model.n_parameters, bool))
    restraints = Restraints(model.restraints(), as_restraints(choices, model, len(rows) / sigma**2))
    target = Target(model.design(rows), groups, intensity, weight, restraints, start, every)
    return target, start, g, rows, choices


def test_lbfgs_agrees_with_scipy_and_gauss_newton_on_a_scaling_problem():
    target, start, truth, rows, choices = scaling_problem()
    own = lbfgs(target.value_and_gradient, start, target.curvature(start), tolerance=1e-10, max_iterations=300)
    peer = optimize.minimize(target.value_and_gradient, start, jac=True, method="BFGS", options={"maxiter": 2000})
    theta, cost, _ = naive.gauss_newton(equations(target), start)
    assert own.cost == pytest.approx(cost, rel=1e-4)
    assert peer.fun == pytest.approx(cost, rel=1e-4)
    # up to one overall scale and B, the true scales come back within the noise
    ratio = np.log(target.design.scales(theta)[0] / truth)
    s = 0.5 / rows.d**2
    common = np.column_stack((np.ones(len(s)), s))
    assert np.std(ratio - common @ np.linalg.lstsq(common, ratio)[0]) < 0.01


def test_the_gauge_is_met_without_changing_a_residual():
    target, start, _, rows, choices = scaling_problem()
    theta, _, normal = naive.gauss_newton(equations(target), start)
    (scale, m_scale), (decay, m_decay) = ((choice.where, choice.row) for choice in choices)
    assert m_scale @ theta[scale] == pytest.approx(1.0, abs=1e-6)
    assert m_decay @ theta[decay] == pytest.approx(0.0, abs=1e-6)
    constraints = as_constraints(choices, len(start))
    covariance = constrained_covariance(normal, constraints)
    assert constraints[0] @ covariance @ constraints[0] == pytest.approx(0.0, abs=1e-12)
    # esds of the scales are of the size of the real errors
    g, variance = target.design.scales(theta, BlockMatrix.whole(covariance))
    assert 0.0005 < np.sqrt(np.median(variance / g**2)) < 0.02


def test_in_the_metric_of_the_normal_matrix_few_steps_are_needed():
    target, start, *_ = scaling_problem()
    rough = lbfgs(target.value_and_gradient, start, target.curvature(start)).theta
    fit = lbfgs(target.value_and_gradient, rough, equations(target)(rough)[2], tolerance=1e-8)
    assert fit.stop is Stop.CONVERGED and len(fit.history) <= 8
    assert fit.cost == pytest.approx(naive.gauss_newton(equations(target), rough)[1], rel=1e-9)
