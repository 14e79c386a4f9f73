"""Many data sets: strengths and last fit with few inversions, against a matrix that is inverted for every step."""

from dataclasses import replace

import numpy as np
import pytest
from fit_samples import problem, sweeps

from braggscale.fit.block_surrogate import Likeness
from braggscale.fit.data_set_pairs import Owners, Pairs
from braggscale.fit.few_inversions import Factored, covariance, exact_step, factored, slope
from braggscale.fit.fit_scales import FitSettings, Problem, fit
from braggscale.fit.restraint_strengths import Inverse, starting, traces, with_strengths
from braggscale.models.gauge import gauge, on_gauge
from braggscale.models.restraints import Levels, Restraint
from braggscale.numerics import cholesky
from braggscale.numerics.anderson import Mixing
from braggscale.numerics.minimisers import Stop, constrained_covariance
from braggscale.numerics.partitions import threads


@pytest.fixture
def many(monkeypatch):
    """All problems of several data sets count as such of many."""
    monkeypatch.setattr("braggscale.fit.fit_scales.MANY", 0)
    monkeypatch.setattr("braggscale.fit.data_set_pairs.BY_PAIRS", 0.0)
    monkeypatch.setattr("braggscale.fit.data_set_pairs.PER_PAIR", 0.0)


@pytest.mark.parametrize("shared", [(), ("absorption",)])
@pytest.mark.parametrize("held", [False, True])
def test_the_fit_is_the_same_with_few_inversions(shared, held, many, monkeypatch):
    rows, groups, model, _, target = problem(sweeps(6, shared), n_groups=400)
    fixed = np.zeros(model.n_parameters, bool)
    fixed[-5:] = held
    whole = Problem.of(model, rows, groups, fixed)
    assert whole.pairs is not None
    settings = FitSettings(True, True, None, None, 1e-7)
    few = fit(whole, model.null(), target.intensity, target.weight, settings)
    exact = fit(replace(whole, pairs=None), model.null(), target.intensity, target.weight, settings)
    assert few.fits[-1][1].stop is Stop.CONVERGED and few.fits[-1][0] == "full matrix"
    for kind, strength in exact.strengths.items():
        # what counts as settled is 0.05 effective parameters; levels and trends have hardly more
        if strength < 1e4:  # beyond, nothing is left of the correction
            few_left = "level" in kind or "trend" in kind
            assert abs(np.log(few.strengths[kind] / strength)) < (0.5 if few_left else 0.1), kind
    (g, variance), (h, other) = (target.design.scales(o.theta, o.covariance) for o in (exact, few))
    assert np.abs(np.log(h / g)).max() < 0.2 * np.median(np.sqrt(variance) / g)
    assert np.sqrt(other) / h == pytest.approx(np.sqrt(variance) / g, rel=0.03)
    assert few.influence.sum() == pytest.approx(exact.influence.sum(), abs=0.3)
    assert np.array_equal(few.theta[fixed], model.null()[fixed]) and not few.influence[fixed].any()


def test_rounds_reuse_the_inverse_and_threads_do_not_change_a_bit(many):
    rows, groups, model, _, target = problem(sweeps(6), n_groups=400)
    whole = Problem.of(model, rows, groups, np.zeros(model.n_parameters, bool))
    rough = FitSettings(True, False, None, None, 1e-6, estimate=True, esds=False)
    first = fit(whole, model.null(), target.intensity, target.weight, rough)
    assert first.factored is not None and first.factored.matrix is first.matrix
    weight = target.weight * np.random.default_rng(0).uniform(0.98, 1.02, len(target.weight))
    second = fit(whole, first.theta, target.intensity, weight, rough, first.strengths, first)
    assert second.factored is first.factored and second.matrix is first.matrix
    with threads(2):
        two = fit(whole, model.null(), target.intensity, target.weight, rough)
    assert np.array_equal(two.theta, first.theta) and two.strengths == first.strengths


def restrained(target, model, strengths):
    own = model.restraints(target.base)
    return own, replace(target, restraints=with_strengths(own, strengths))


def test_traces_and_steps_are_those_of_the_inverse():
    *_, model, theta, target = problem(sweeps(3), n_groups=80)
    free = np.delete(np.arange(len(theta)), [2, 9])
    for some in (target, replace(target, free=free)):
        strengths = starting(model.restraints(theta))
        own, some = restrained(some, model, strengths)
        normal = some.restrained_matrix(some.data_equations(theta)[2])
        normal[np.diag_indices(len(normal))] += 1.0  # the gauge is open
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


def test_the_likeness_is_exact_for_data_sets_that_share_no_reflection():
    rows, groups, model, theta, target = problem(sweeps(3), n_groups=90)
    alone = np.repeat(np.arange(90) % 3, groups.sizes()).astype(np.int32)
    rows = replace(rows, data_set=alone)
    target = replace(target, design=model.design(rows), pairs=Pairs.of(model, alone, groups))
    own = [(where, r) for where, r in model.restraints(theta) if not r.common]
    strengths = {kind: value for kind, value in starting(own).items()}
    data = target.data_equations(theta)
    # what each data set leaves open by itself
    pins = [(slice(0, len(theta)), replace(own[0][1], penalty=np.eye(len(theta)), strength=1.0, kind=""))]
    likeness = Likeness(data[2], own, pins, Owners.of(model), np.zeros(len(theta), bool), {})
    first = factored(target, own, pins, strengths, data[2], likeness)
    wanted, _, there = exact_step(target, theta, data, own, pins, first)
    foreseen = likeness.follow(strengths, None, theta, slope(target, theta, data, own, pins, strengths))
    led = likeness.follow(strengths, wanted, there)
    assert likeness.share == pytest.approx(dict.fromkeys(strengths, 1.0)) and foreseen == pytest.approx(led, rel=1e-6)
    again = factored(target, own, pins, led, data[2], likeness)
    image = exact_step(target, theta, data, own, pins, again)[0]
    for kind, value in led.items():
        if 0.05 < value / strengths[kind] < 20.0:  # the likeness goes no further than 30 at once
            assert image[kind] == pytest.approx(value, rel=0.01), kind


def test_the_covariance_in_another_gauge_is_that_of_the_surface():
    *_, model, theta, target = problem(sweeps(3), n_groups=80)
    rng = np.random.default_rng(3)
    own = with_strengths(model.restraints(theta), {})
    matrix = target.data_equations(theta)[2]
    null = np.linalg.svd(replace(target, restraints=own).restrained_matrix(matrix))[2][-2:]
    levels = [Levels.one(rng.normal(size=len(theta)) + 30.0 * row) for row in null]
    pins = [(slice(0, len(theta)), Restraint(level, 1e3)) for level in levels]
    constraints = null + 0.1 * rng.normal(size=null.shape)
    for free in (np.arange(len(theta)), np.delete(np.arange(len(theta)), [2, 9])):
        some = replace(target, free=free, restraints=own)
        inverse = Inverse.of(replace(some, restraints=[*own, *pins]).restrained_matrix(matrix), free, len(theta))
        found = covariance(Factored(matrix, inverse, {}, {}, None), pins, constraints)
        wanted = constrained_covariance(some.restrained_matrix(matrix), constraints[:, free])
        scale = np.sqrt(np.outer(*(2 * [np.diag(wanted)])))
        assert found.shape == (len(free), len(free))
        assert found / scale == pytest.approx(wanted / scale, abs=1e-7)
    normal = replace(target, restraints=[*own, *pins]).restrained_matrix(matrix)
    known = Factored(matrix, Inverse.of(normal, np.arange(len(theta)), len(theta)), {}, {}, None)
    assert covariance(known, pins, 0.0 * constraints) is None
    across = constraints - np.outer(constraints @ null[1], null[1])  # does not settle what the data leave open
    assert covariance(known, pins, across) is None


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


def test_a_matrix_and_its_transpose_are_added_up_in_tiles(monkeypatch):
    monkeypatch.setattr("braggscale.numerics.cholesky.BLOCK", 16)
    matrix = np.random.default_rng(1).normal(size=(50, 50))
    both = matrix + matrix.T
    with threads(2):
        cholesky.add_transposed(matrix)
    assert np.array_equal(matrix, both)


def test_roots_of_large_and_small_matrices(monkeypatch):
    rng = np.random.default_rng(4)
    root = rng.normal(size=(50, 70))
    normal = root @ root.T * np.outer(scale := 10.0 ** rng.uniform(-2, 2, 50), scale)
    before = normal.copy()
    for small, large, n in ((400, 1000, 1), (10, 1000, 1), (10, 20, 1), (10, 20, 2)):
        for name, value in (("SMALL", small), ("LARGE", large), ("BLOCK", 16)):
            monkeypatch.setattr(f"braggscale.numerics.cholesky.{name}", value)
        with threads(n):
            found = cholesky.inverse_root(normal)
        assert found.T @ found == pytest.approx(np.linalg.inv(normal), rel=1e-8)
        assert not np.triu(found, 1).any() or np.abs(np.triu(found, 1)).max() < 1e-12 * np.abs(found).max()
        factor = cholesky.cholesky(normal)
        assert cholesky.inverse(factor) == pytest.approx(np.linalg.inv(normal), rel=1e-8)
        assert np.array_equal(normal, before)
        assert cholesky.inverse_root(normal - 2.0 * np.diag(np.diag(normal))) is None
        assert cholesky.inverse_root(normal - 1e3 * np.eye(50)) is None
