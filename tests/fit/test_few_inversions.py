"""Many data sets: reuse of the inverse from step to step, the surrogate, the covariance in another gauge."""

from dataclasses import replace

import numpy as np
import pytest
from fit_samples import problem, sweeps

from braggscale.fit.block_surrogate import BlockSurrogate
from braggscale.fit.data_set_pairs import Owners, Pairs
from braggscale.fit.factored import Factored
from braggscale.fit.few_inversions import FewInversions, covariance, exact_step
from braggscale.fit.fit_scales import fit
from braggscale.fit.problem import Problem
from braggscale.fit.restraint_strengths import Inverse, traces
from braggscale.fit.restraints import Restraints
from braggscale.fit.solver import FitSettings
from braggscale.models.gauge import gauge, on_gauge
from braggscale.models.restraints import MeanPenalty, Restraint
from braggscale.numerics.anderson import Mixing
from braggscale.numerics.minimisers import constrained_covariance
from braggscale.numerics.partitions import threads


def problem_of_pairs(model, rows, groups):
    """The problem with pairs, even if another way is faster, because the solver needs them."""
    whole = Problem.of(model, rows, groups, np.zeros(model.n_parameters, bool))
    return replace(whole, pairs=Pairs.of(model, rows.data_set, groups))


def test_rounds_reuse_the_inverse_and_threads_do_not_change_a_bit():
    rows, groups, model, _, target = problem(sweeps(6), n_groups=400)
    whole = problem_of_pairs(model, rows, groups)
    rough = FitSettings(True, False, None, None, 1e-6, estimate=True, esds=False)
    null, values, solver = model.null(), target.intensity, FewInversions()
    first = fit(whole, null, values, target.weight, rough, solver=solver)
    assert first.memory.factored is not None and first.memory.factored.matrix is first.memory.matrix
    weight = target.weight * np.random.default_rng(0).uniform(0.98, 1.02, len(target.weight))
    second = fit(whole, first.theta, values, weight, rough, first.strengths, first, solver)
    assert second.memory.factored is first.memory.factored and second.memory.matrix is first.memory.matrix
    with threads(2):
        two = fit(whole, null, values, target.weight, rough, solver=solver)
    assert np.array_equal(two.theta, first.theta) and two.strengths == first.strengths


def test_traces_and_steps_are_those_of_the_inverse():
    *_, model, theta, target = problem(sweeps(3), n_groups=80)
    free = np.delete(np.arange(len(theta)), [2, 9])
    for some in (target, replace(target, free=free)):
        some = replace(some, restraints=Restraints(model.restraints(theta)))
        own, strengths = some.restraints.model, some.restraints.strengths
        normal = some.restrained_matrix(some.quadratic(theta).matrix)
        normal[np.diag_indices(len(normal))] += 1.0  # the gauge is not determined
        inverse = Inverse.of(normal.copy(), some.free, len(theta))
        whole = np.zeros((len(theta), len(theta)))
        whole[np.ix_(some.free, some.free)] = np.linalg.inv(normal)
        x = np.arange(len(normal), dtype=float)
        assert inverse.times(x) == pytest.approx(np.linalg.solve(normal, x))
        for where in (slice(0, 8), slice(8, 13), np.array([1, 9, 14, 30])):
            block = (where, where) if isinstance(where, slice) else np.ix_(where, where)
            assert inverse.part(where) == pytest.approx(whole[block], abs=1e-12 * np.abs(whole).max())
        found = traces(own, inverse)
        for kind in strengths:
            wanted = 0.0
            for where, restraint in own:
                block = (where, where) if isinstance(where, slice) else np.ix_(where, where)
                wanted += np.sum(whole[block] * restraint.dense()) if restraint.kind == kind else 0.0
            assert found[kind] == pytest.approx(wanted)


def test_the_surrogate_is_exact_for_data_sets_that_share_no_reflection():
    rows, groups, model, theta, target = problem(sweeps(3), n_groups=90)
    alone = np.repeat(np.arange(90) % 3, groups.sizes()).astype(np.int32)
    rows = replace(rows, data_set=alone)
    own = [(where, r) for where, r in model.restraints(theta) if not r.couples_data_sets]
    # directions that each data set alone does not determine
    beside = [(slice(0, len(theta)), replace(own[0][1], penalty=np.eye(len(theta)), strength=1.0, kind=""))]
    pairs, restraints = Pairs.of(model, alone, groups), Restraints(own, beside)
    quadratic = replace(target, design=model.design(rows), pairs=pairs, restraints=restraints).quadratic(theta)
    strengths = restraints.strengths
    surrogate = BlockSurrogate(quadratic.matrix, restraints, Owners.of(model), np.zeros(len(theta), bool), {})
    first = Factored.of(quadratic, surrogate)
    wanted, _, there = exact_step(quadratic, first)
    foreseen = surrogate.follow(strengths, None, theta, quadratic.slope())
    led = surrogate.follow(strengths, wanted, there)
    assert surrogate.step_ratio == pytest.approx(dict.fromkeys(strengths, 1.0))
    assert foreseen == pytest.approx(led, rel=1e-6)
    image = exact_step(quadratic, Factored.of(quadratic.at(led), surrogate))[0]
    for kind, value in led.items():
        if 0.05 < value / strengths[kind] < 20.0:  # the surrogate changes strengths by a factor of 30 at most
            assert image[kind] == pytest.approx(value, rel=0.01), kind


def test_the_covariance_in_another_gauge_is_that_of_the_surface():
    *_, model, theta, target = problem(sweeps(3), n_groups=80)
    rng = np.random.default_rng(3)
    own = model.restraints(theta)
    matrix = target.quadratic(theta).matrix
    null = np.linalg.svd(replace(target, restraints=Restraints(own)).restrained_matrix(matrix))[2][-2:]
    levels = [MeanPenalty.one(rng.normal(size=len(theta)) + 30.0 * row) for row in null]
    gauge_restraints = [(slice(0, len(theta)), Restraint(level, 1e3)) for level in levels]
    constraints = null + 0.1 * rng.normal(size=null.shape)
    for free in (np.arange(len(theta)), np.delete(np.arange(len(theta)), [2, 9])):
        some = replace(target, free=free, restraints=Restraints(own))
        both = replace(some, restraints=Restraints(own, gauge_restraints))
        inverse = Inverse.of(both.restrained_matrix(matrix), free, len(theta))
        found = covariance(Factored(matrix, inverse, {}, {}, None), gauge_restraints, constraints)
        wanted = constrained_covariance(some.restrained_matrix(matrix), constraints[:, free])
        scale = np.sqrt(np.outer(*(2 * [np.diag(wanted)])))
        assert found.shape == (len(free), len(free))
        assert found / scale == pytest.approx(wanted / scale, abs=1e-7)
    normal = replace(target, restraints=Restraints(own, gauge_restraints)).restrained_matrix(matrix)
    known = Factored(matrix, Inverse.of(normal, np.arange(len(theta)), len(theta)), {}, {}, None)
    assert covariance(known, gauge_restraints, 0.0 * constraints) is None
    across = constraints - np.outer(constraints @ null[1], null[1])  # does not fix the undetermined direction
    assert covariance(known, gauge_restraints, across) is None


def test_a_start_on_the_gauge_changes_no_residual():
    rows, groups, model, _, target = problem(sweeps(3), n_groups=80)
    choices = gauge(model, rows, np.zeros(model.n_parameters, bool))
    theta = model.null()
    theta[choices[0].where] *= 3.0
    there = on_gauge(theta, choices)
    where, m = choices[0].where, choices[0].row
    assert m @ there[where] == pytest.approx(1.0) and np.allclose(theta[where], 3.0 * there[where])
    assert target.data_gradient(there)[0] == pytest.approx(target.data_gradient(theta)[0], rel=1e-12)
    assert on_gauge(theta, choices[1:]) is theta


def test_steps_of_an_earlier_problem_lead_to_the_fixed_point_of_the_next():
    slow = np.array([[0.6, 0.1], [0.0, 0.8]])

    def steps(mixing, end):
        mixing.begin()
        x = dict.fromkeys("ab", 1.0)
        for number in range(40):
            log_x = np.log([x["a"], x["b"]])
            image = end + slow @ (log_x - end)
            if np.abs(image - log_x).max() < 1e-8:
                return number
            x = mixing.next(x, dict(zip("ab", np.exp(image).tolist(), strict=True)))
        return 40

    mixing = Mixing()
    first = steps(mixing, np.array([1.0, -2.0]))
    again = steps(mixing, np.array([1.1, -1.8]))
    assert again < first < 40 and again < steps(Mixing(), np.array([1.1, -1.8]))
