"""The scaling problem against its slow twin, and its derivatives against differences."""

import naive
import numpy as np
import pytest
import synthetic

from braggscale.fit.least_squares import Target
from braggscale.fit.restraints import Restraints
from braggscale.models.joint_model import JointModel
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.partitions import threads

MODELS = {
    "physical": lambda: [synthetic.physical(), synthetic.physical(n_scale=3, n_decay=2)],
    "KB": lambda: [synthetic.kb(), synthetic.kb()],
    "array": lambda: [synthetic.array(), synthetic.array()],
    "mixed": lambda: [synthetic.kb(), synthetic.physical()],
}


def problem(name, seed=3):
    rng = np.random.default_rng(seed)
    rows, groups = synthetic.observations(rng)
    model = JointModel.of(MODELS[name]())
    theta = synthetic.perturbed(rng, model)
    truth = groups.spread(rng.exponential(100.0, len(groups)))
    intensity = truth * rng.normal(1.0, 0.1, len(truth))
    weight = 1.0 / rng.uniform(1.0, 30.0, len(truth))
    target = Target(
        model.design(rows),
        groups,
        intensity,
        weight,
        Restraints(model.restraints()),
        theta.copy(),
        np.arange(model.n_parameters),
    )
    return rows, groups, model, theta, target


@pytest.mark.parametrize("name", MODELS)
def test_scales_agree_with_the_formulas(name):
    rows, _, model, theta, target = problem(name)
    g, variance = target.design.scales(theta)
    assert g == pytest.approx([naive.row_scale(model, theta, rows, i) for i in range(len(rows))], rel=1e-12)
    assert not variance.any()
    assert model.evaluate(rows, theta)[0] == pytest.approx(g, rel=1e-14)


@pytest.mark.parametrize("name", MODELS)
def test_cost_and_gradient(name):
    rows, groups, model, theta, target = problem(name)
    args = (rows, groups.offsets, target.intensity, target.weight, model.restraints())
    value, gradient = target.value_and_gradient(theta)
    assert value == pytest.approx(naive.scaling_cost(model, theta, *args), rel=1e-10)
    step = 1e-5
    for p in np.random.default_rng(0).choice(len(theta), min(12, len(theta)), replace=False):
        shift = np.zeros(len(theta))
        shift[p] = step
        plus, minus = naive.scaling_cost(model, theta + shift, *args), naive.scaling_cost(model, theta - shift, *args)
        assert gradient[p] == pytest.approx((plus - minus) / (2 * step), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_normal_matrix_is_kaufmans(name):
    rows, groups, model, theta, target = problem(name)
    cost, gradient, matrix = target.quadratic(theta).equations()
    value, slope = target.value_and_gradient(theta)
    curvature = target.curvature(theta)
    assert cost == pytest.approx(value, rel=1e-12)
    assert gradient == pytest.approx(slope, rel=1e-9, abs=1e-9 * np.abs(slope).max())
    expected = naive.kaufman_normal_matrix(model, theta, rows, groups.offsets, target.intensity, target.weight)
    for where, restraint in model.restraints():
        expected[where, where] += restraint.strength * restraint.dense()
    assert matrix == pytest.approx(expected, abs=1e-6 * np.abs(expected).max())
    assert (curvature >= np.diag(matrix) * (1 - 1e-12)).all()


def test_variance_of_scales_is_the_propagated_covariance():
    rows, _, model, theta, target = problem("mixed")
    rng = np.random.default_rng(1)
    root = rng.normal(size=(len(theta), len(theta)))
    covariance = root @ root.T * 1e-4
    _, variance = target.design.scales(theta, BlockMatrix.whole(covariance))
    step = 1e-6
    for i in range(0, len(rows), 7):
        dg = [
            (naive.row_scale(model, theta + e, rows, i) - naive.row_scale(model, theta - e, rows, i)) / (2 * step)
            for e in step * np.eye(len(theta))
        ]
        assert variance[i] == pytest.approx(np.array(dg) @ covariance @ dg, rel=1e-5)


def test_fixed_parameters_stay_and_the_rest_has_the_same_derivatives():
    _, _, model, theta, target = problem("physical")
    from dataclasses import replace

    free = np.arange(0, model.n_parameters, 3)
    part = replace(target, free=free)
    assert part.value_and_gradient(theta[free])[1] == pytest.approx(target.value_and_gradient(theta)[1][free])
    whole = target.quadratic(theta).equations()[2]
    assert part.quadratic(theta[free]).equations()[2] == pytest.approx(whole[np.ix_(free, free)])


@pytest.mark.parametrize("name", ["physical", "mixed"])
def test_threads_do_not_change_a_bit(name):
    theta, target = problem(name)[3:]

    def everything(n):
        with threads(n):
            return *target.quadratic(theta).equations(), *target.value_and_gradient(theta)

    for a, b in zip(everything(1), everything(2), strict=True):
        assert np.array_equal(a, b)


def test_one_scale_and_one_b_for_all_data_sets_change_nothing_but_restraints():
    rng = np.random.default_rng(5)
    rows, groups = synthetic.observations(rng)
    model = JointModel.of([synthetic.kb(), synthetic.kb()])
    theta = synthetic.perturbed(rng, model)
    intensity = rng.exponential(100.0, len(rows))
    target = Target(model.design(rows), groups, intensity, np.ones(len(rows)), Restraints(()), theta, np.arange(4))
    shifted = theta.copy()
    shifted[[0, 2]] *= 3.0
    shifted[[1, 3]] += 0.7
    assert target.value_and_gradient(shifted)[0] == pytest.approx(target.value_and_gradient(theta)[0])


def test_a_normal_matrix_from_a_part_of_the_rows(monkeypatch):
    """The same up to chance, on threads the same to the bit; cost and gradient are those of all rows."""
    rng = np.random.default_rng(8)
    rows, groups = synthetic.observations(rng, n_groups=3000, size=(3, 6))
    model = JointModel.of([synthetic.physical(), synthetic.physical()])
    theta = synthetic.perturbed(rng, model)
    weight = np.ones(len(rows))
    intensity = groups.spread(rng.exponential(100.0, len(groups))) * rng.normal(1.0, 0.1, len(rows))
    every = np.arange(model.n_parameters)
    target = Target(model.design(rows), groups, intensity, weight, Restraints(model.restraints()), theta.copy(), every)
    whole = target.quadratic(theta)
    assert np.array_equal(target.about(theta).matrix, whole.matrix)  # too few rows for a part
    for name, value in (("ENOUGH_ROWS", 3000), ("ENOUGH_FOR_PARAMETER", 10), ("CHUNK_ROWS", 512)):
        monkeypatch.setattr(f"braggscale.fit.least_squares.{name}", value)
    part = target.about(theta)
    with threads(3):
        assert np.array_equal(target.about(theta).matrix, part.matrix)
    assert not np.array_equal(part.matrix, whole.matrix)
    assert part.cost == pytest.approx(whole.cost) and part.gradient == pytest.approx(whole.gradient)
    unit = 1.0 / np.sqrt(np.diag(whole.matrix))
    apart = (part.matrix - whole.matrix) * unit * unit[:, None]
    assert np.sqrt(np.mean(apart**2)) < 0.05 and np.abs(apart).max() < 0.4
