"""Products, blocks and restraints without the matrix, against those from the matrix; test_solvers.py has the fits."""

from dataclasses import replace

import numpy as np
import pytest
import synthetic
from fit_samples import MODELS, problem

from braggscale.fit.data_set_pairs import Pairs
from braggscale.fit.fit_scales import fit
from braggscale.fit.matrix_free import MatrixFree
from braggscale.fit.normal_operator import Layout, NormalOperator, parts_of_normal
from braggscale.fit.penalty import Penalty
from braggscale.fit.problem import Problem
from braggscale.fit.restraints import Restraints
from braggscale.fit.solver import FitSettings
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.gauge import as_restraints, gauge
from braggscale.models.joint_model import JointModel
from braggscale.models.restraints import level, ridge
from braggscale.models.smooth import Smooth, axis_over
from braggscale.numerics.block_matrix import Arrow, BlockMatrix
from braggscale.numerics.conjugate_gradients import conjugate_gradients
from braggscale.numerics.minimisers import Stop


def levelled(data_sets=6):
    """Data sets of two sizes whose scales and B are restrained to each other, and B also to a value."""
    models = []
    for d in range(data_sets):
        n = 1 + 3 * (d % 2)
        axes = (axis_over("image", 2.0 / 900, 0.0, 900.0, n),) if n > 1 else ()
        k = Smooth("scale", axes, restraints=(level("scale", n, 4.0, relative=True),))
        b = Smooth("decay", axes, True, (level("decay", n, 0.04), ridge(n, 1e-3, 0.5)))
        models.append(DataSetModel("KB", (k, b), {}))
    return JointModel.of(models)


def test_restraints_by_parts_are_those_of_the_matrix():
    """A penalty on means over many blocks, without its matrix: the same products, blocks, gradient and cost."""
    rng = np.random.default_rng(2)
    model = levelled()
    n = model.n_parameters
    rows, _ = synthetic.observations(rng, n_groups=40, n_data_sets=6, size=(3, 12))
    theta = synthetic.perturbed(rng, model, 0.1)
    own = model.restraints(theta)
    gauge_restraints = as_restraints(gauge(model, rows, np.zeros(n, bool)), model, 50.0)
    strengths = {"scale level": 3.0, "decay level": 0.7}
    layout = Layout.of(model)
    penalty = Penalty([*own, *gauge_restraints], n, layout.starts)
    matrix, pull = np.zeros((n, n)), np.zeros(n)
    restraints = Restraints(own, gauge_restraints)
    for where, restraint in restraints.at(strengths).placed:
        index = np.arange(n)[where]
        matrix[np.ix_(index, index)] += restraint.strength * restraint.dense()
        pull[index] += restraint.strength * restraint.dense() @ np.full(len(index), restraint.target)
    x = rng.normal(size=(n, 3))
    assert penalty.times(x, strengths) == pytest.approx(matrix @ x, abs=1e-9)
    assert penalty.pull == pytest.approx(pull, abs=1e-9)
    cost, gradient = penalty.cost_gradient(theta, strengths)
    shift = [(theta[w] - r.target, r) for w, r in restraints.at(strengths).placed]
    assert cost == pytest.approx(sum(r.strength * s @ r.dense() @ s for s, r in shift), rel=1e-9)
    assert gradient == pytest.approx(2.0 * (matrix @ theta - pull), abs=1e-9)
    blocks = penalty.add_blocks(BlockMatrix.zeros(layout.starts), strengths).blocks()
    for begin, end, block in zip(layout.starts[:-1], layout.starts[1:], blocks, strict=True):
        assert block == pytest.approx(matrix[begin:end, begin:end], abs=1e-9)
    most = int((np.diff(layout.starts) ** 2).sum())
    assert all(found.sparse.nnz <= most < n * n / 4 for found in penalty.by_kind.values())


@pytest.mark.parametrize("by_sets", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_products_and_blocks_are_those_of_the_matrix(name, by_sets):
    rows, groups, model, theta, target = problem(MODELS[name]())
    target = replace(target, pairs=Pairs.of(model, rows.data_set, groups) if by_sets else None)
    quadratic = target.quadratic(theta)
    cost, gradient, matrix = quadratic.cost, quadratic.gradient, quadratic.matrix
    linear = target.linearise(theta)
    assert linear.cost == pytest.approx(cost, rel=1e-12)
    assert linear.gradient == pytest.approx(gradient, rel=1e-9, abs=1e-9 * np.abs(gradient).max())
    v = np.random.default_rng(1).normal(size=(len(theta), 11))
    assert linear.product(v) == pytest.approx(matrix @ v, abs=1e-9 * np.abs(matrix @ v).max())
    layout = Layout.of(model)
    starts = layout.starts
    parts = parts_of_normal(target, linear, theta, layout)
    assert parts.together == pytest.approx(matrix @ layout.together, abs=1e-9 * np.abs(matrix).max())
    assert parts.cross == pytest.approx(matrix[:, layout.shared], abs=1e-9 * np.abs(matrix).max())
    blocks = parts.blocks
    for begin, end, block in zip(starts[:-1], starts[1:], blocks.blocks(), strict=True):
        assert block == pytest.approx(matrix[begin:end, begin:end], abs=1e-9 * np.abs(matrix).max())
    assert blocks.diagonal() == pytest.approx(np.diag(matrix), abs=1e-9 * np.abs(matrix).max())


def test_threads_do_not_change_a_bit():
    *_, model, theta, one = problem(MODELS["mixed"]())
    two = replace(one)
    v = np.ones((len(theta), 2))
    assert np.array_equal(one.linearise(theta).product(v), two.linearise(theta).product(v))
    one, two = (parts_of_normal(target, target.linearise(theta), theta, Layout.of(model)) for target in (one, two))
    assert np.array_equal(one.blocks.store, two.blocks.store) and np.array_equal(one.cross, two.cross)


def test_a_component_that_data_sets_share_is_a_block():
    models = [replace(synthetic.physical(), configuration={"shared": ["absorption"]}) for _ in range(3)]
    model = JointModel.of(models)
    layout = Layout.of(model)
    # scale and decay of the first, the surface, scale and decay of the others
    assert layout.starts.tolist() == [0, 9, 17, 26, 35] and layout.starts[-1] == model.n_parameters
    assert layout.shared.tolist() == list(range(9, 17))


def test_data_sets_move_alike_in_each_parameter_or_in_level_and_trend():
    layout = Layout.of(levelled())
    # scales and B of 1 or 4 parameters: level and trend of each
    assert layout.together.shape == (layout.starts[-1], 4)
    assert Layout.of(JointModel.of([synthetic.kb() for _ in range(3)])).together.T.tolist() == [[1, 0] * 3, [0, 1] * 3]
    assert Layout.of(JointModel.of([synthetic.kb()])).together.shape == (2, 0)


def test_the_preconditioner_is_exact_in_the_directions_it_is_given():
    """With all data sets moving alike, and two other vectors: P N z = z, and P is symmetric and positive definite."""
    rng = np.random.default_rng(4)
    *_, model, theta, target = problem(MODELS["mixed"]())
    layout, linear = Layout.of(model), target.linearise(theta)
    penalty = Penalty(target.restraints.placed, len(theta), layout.starts)
    parts = parts_of_normal(target, linear, theta, layout)
    normal = NormalOperator(linear, parts, layout, penalty, target.restraints.strengths, target.fixed)
    vectors = rng.normal(size=(len(theta), 2))
    normal.deflate(vectors, linear.product(vectors))
    for z in (layout.together, vectors):
        assert normal.precondition(normal.product(z)) == pytest.approx(z, abs=1e-6 * np.abs(z).max())
    whole = normal.precondition(np.eye(len(theta)))
    assert whole == pytest.approx(whole.T, abs=1e-7 * np.abs(whole).max())
    assert np.linalg.eigvalsh(0.5 * (whole + whole.T)).min() > 0.0


def test_an_arrow_is_inverted_exactly():
    rng = np.random.default_rng(5)
    starts, shared = np.array([0, 3, 5, 7, 12]), np.array([3, 4, 5, 6])
    root = rng.normal(size=(12, 20))
    whole = root @ root.T
    blocks = BlockMatrix.zeros(starts)
    arrow = np.zeros_like(whole)
    for begin, end, block in zip(starts[:-1], starts[1:], blocks.blocks(), strict=True):
        block[...] = arrow[begin:end, begin:end] = whole[begin:end, begin:end]
    arrow[:, shared], arrow[shared] = whole[:, shared], whole[shared]
    arrow += 40.0 * np.eye(12)  # without the other columns it might not be positive definite
    for block in blocks.blocks():
        block += 40.0 * np.eye(len(block))
    cross = whole[:, shared]  # as J'J, to which only the blocks have restraints added
    found, right = Arrow(blocks, cross, shared), rng.normal(size=(12, 3))
    inverse = np.linalg.inv(arrow)
    assert found.solve(right) == pytest.approx(inverse @ right)
    for begin, end, block in zip(starts[:-1], starts[1:], found.inverse.blocks(), strict=True):
        assert block == pytest.approx(inverse[begin:end, begin:end])


def test_large_blocks_are_split_by_component_then_by_parameter():
    model = JointModel.of([synthetic.physical(), synthetic.kb()])
    components = [where.start for _, _, where in model.parts()]
    largest = max(c.n_parameters for _, c, _ in model.parts())
    # the small data set is not split
    assert Layout.of(model, largest).starts.tolist() == [*components[:-1], model.n_parameters]
    assert Layout.of(model, 1).starts.tolist() == list(range(model.n_parameters + 1))


def test_block_matrices_invert_and_multiply_block_by_block():
    rng = np.random.default_rng(0)
    starts = np.array([0, 2, 4, 9, 10])
    blocks = BlockMatrix.zeros(starts)
    for block in blocks.blocks():
        root = rng.normal(size=(len(block), len(block) + 3))
        block[...] = root @ root.T
    whole = np.zeros((10, 10))
    for begin, end, block in zip(starts[:-1], starts[1:], blocks.blocks(), strict=True):
        whole[begin:end, begin:end] = block
    x = rng.normal(size=(10, 2))
    assert blocks.times(x) == pytest.approx(whole @ x)
    assert blocks.inverse().times(x) == pytest.approx(np.linalg.solve(whole, x))
    for where in (slice(5, 8), slice(4, 9), slice(1, 8), slice(2, 10), slice(0, 10)):
        assert blocks.part(where) == pytest.approx(whole[where, where])
    blocks.blocks()[1][...] = [[1.0, 2.0], [2.0, 1.0]]
    assert blocks.inverse() is None


def test_conjugate_gradients_solve_each_column():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(30, 40))
    matrix, right = root @ root.T + np.eye(30), rng.normal(size=(30, 4))
    right[:, 2] = 0.0
    x, steps = conjugate_gradients(lambda v: matrix @ v, lambda v: v, right, tolerance=1e-10)
    assert x == pytest.approx(np.linalg.solve(matrix, right), abs=1e-7)
    again, few = conjugate_gradients(lambda v: matrix @ v, lambda v: v, right, x, tolerance=1e-8)
    assert few == 0 and steps > 5 and np.array_equal(again, x)


def test_without_uncertainties_one_step_is_made_and_the_next_round_goes_on():
    rows, groups, model, _, target = problem(MODELS["KB"]())
    whole = Problem.of(model, rows, groups, np.zeros(model.n_parameters, bool))
    settings = FitSettings(False, True, None, None, 1e-4, esds=False)
    found = fit(whole, model.null(), target.intensity, target.weight, settings, solver=MatrixFree())
    ((name, steps),) = found.fits
    assert name == "conjugate gradients" and steps.stop in (Stop.MAX_ITERATIONS, Stop.CONVERGED)
    assert len(steps.history) <= 2 and steps.history[-1] <= steps.history[0] and found.covariance is None
    assert found.memory.solutions.shape == (model.n_parameters, 24)
