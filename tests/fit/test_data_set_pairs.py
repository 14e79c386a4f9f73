"""The normal matrix by pairs of data sets is the one from outer products of whole unique reflections."""

from dataclasses import replace

import numpy as np
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import kaufman_normal_matrix

from braggscale.fit.data_set_pairs import Owners, Pairs
from braggscale.fit.least_squares import Target
from braggscale.fit.restraints import Restraints
from braggscale.models.joint_model import JointModel
from braggscale.numerics.partitions import threads


def sharing(models, names):
    return [replace(model, configuration={"shared": list(names)}) for model in models]


KINDS = {
    "physical": lambda n: [synthetic.physical() for _ in range(n)],
    "KB": lambda n: [synthetic.kb() for _ in range(n)],
    "mixed": lambda n: [synthetic.kb() if d % 2 else synthetic.physical() for d in range(n)],
    "shared surface": lambda n: sharing([synthetic.physical() for _ in range(n)], ["absorption"]),
    "two shared": lambda n: sharing([synthetic.physical() for _ in range(n)], ["scale", "absorption"]),
    "all shared": lambda n: sharing([synthetic.kb() for _ in range(n)], ["scale", "decay"]),
    "shared by some": lambda n: [*sharing([synthetic.physical() for _ in range(n)], ["decay"]), synthetic.kb()],
}


def target(models, seed, n_groups, size):
    """A problem without pairs, some of its rows without weight; and its pairs."""
    rng = np.random.default_rng(seed)
    rows, groups = synthetic.observations(rng, n_groups=n_groups, n_data_sets=len(models), size=size)
    model = JointModel.of(models)
    theta = synthetic.perturbed(rng, model, 0.1)
    mu = groups.spread(rng.exponential(100.0, len(groups)) + 20.0) * model.evaluate(rows, theta)[0]
    weight = np.where(rng.random(len(mu)) < 0.1, 0.0, 1.0 / (0.05 * mu) ** 2)
    intensity, free = mu * rng.normal(1.0, 0.05, len(mu)), np.arange(model.n_parameters)
    found = Target(model.design(rows), groups, intensity, weight, Restraints(model.restraints()), theta, free)
    return found, rows, model, Pairs.of(model, rows.data_set, groups)


def data_part(target):
    """Cost, gradient and matrix of the observations."""
    found = target.quadratic(target.base)
    return found.cost, found.gradient, found.matrix


def assert_same(by_pairs, by_groups, problem):
    """Equal within the rounding of J0'J0, because the projection may cancel it completely."""
    rounding = 1e-12 * float(problem.curvature(problem.base).max())
    for one, other in zip(by_pairs, by_groups, strict=True):
        assert one == pytest.approx(other, rel=1e-10, abs=rounding)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)), n=st.integers(1, 7), seed=st.integers(0, 99), n_groups=st.integers(1, 40),
    most=st.integers(1, 12),
)  # fmt: skip
def test_cost_gradient_and_matrix_are_those_of_the_loops(kind, n, seed, n_groups, most):
    without, rows, _, pairs = target(KINDS[kind](n), seed, n_groups, (1, most))
    assert_same(data_part(replace(without, pairs=pairs)), data_part(without), without)


def test_matrix_is_that_of_the_slow_twin():
    without, rows, model, pairs = target(KINDS["shared surface"](3), 4, 12, (2, 6))
    matrix = data_part(replace(without, pairs=pairs))[2]
    offsets = without.groups.offsets
    slow = kaufman_normal_matrix(model, without.base, rows, offsets, without.intensity, without.weight)
    assert matrix == pytest.approx(slow, rel=1e-6, abs=1e-6 * np.abs(slow).max())


def test_reflections_of_one_data_set_each_couple_no_two():
    without, rows, model, _ = target(KINDS["physical"](3), 1, 30, (2, 5))
    alone = np.repeat(np.arange(30) % 3, without.groups.sizes()).astype(np.int32)
    rows = replace(rows, data_set=alone)
    mine = replace(without, design=model.design(rows))
    found = data_part(replace(mine, pairs=Pairs.of(model, alone, mine.groups)))
    assert_same(found, data_part(mine), mine)
    first, second = model.where(0, 0).start, model.where(1, 0).start
    assert not found[2][first:second, second:].any()


def test_runs_of_groups_add_up_and_threads_do_not_change_a_bit(monkeypatch):
    without, rows, model, whole = target(KINDS["shared surface"](5), 2, 60, (2, 9))
    monkeypatch.setattr("braggscale.fit.data_set_pairs.MOST_NUMBERS", 1000)
    parts = Pairs.of(model, rows.data_set, without.groups)
    assert len(whole.runs) == 1 and len(parts.runs) > 2
    one = data_part(replace(without, pairs=parts))
    assert_same(one, data_part(replace(without, pairs=whole)), without)
    with threads(2):
        two = data_part(replace(without, pairs=parts))
    assert one[0] == two[0] and np.array_equal(one[1], two[1]) and np.array_equal(one[2], two[2])


def test_owners_number_the_parameters_of_each_data_set():
    owners = Owners.of(JointModel.of(sharing([synthetic.physical() for _ in range(2)], ["decay"])))
    assert owners.shared.tolist() == [5, 6, 7, 8]
    assert owners.alone(0).tolist() == [0, 1, 2, 3, 4, *range(9, 17)]
    assert owners.alone(1).tolist() == list(range(17, 30)) and owners.widest == 13
    assert owners.owner[[0, 5, 9, 17]].tolist() == [0, -1, 0, 1]
    assert owners.place[[4, 5, 8, 9, 17]].tolist() == [4, 0, 3, 5, 0]


def test_pairs_are_for_many_small_data_sets():
    """For one data set, or few with many parameters each, matrix products over all parameters are faster."""

    def by_pairs(models, n_groups, size):
        without, rows, model, _ = target(models, 0, n_groups, size)
        return Pairs.worth(model, rows.data_set, without.groups, without.design) is not None

    assert by_pairs([synthetic.physical() for _ in range(150)], 100, (15, 20))
    assert not by_pairs([synthetic.physical()], 100, (15, 20))
    assert not by_pairs([synthetic.array() for _ in range(2)], 100, (15, 20))
