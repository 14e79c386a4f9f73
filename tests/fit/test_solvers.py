"""The three solvers agree in scales, uncertainties, strengths and effective parameters, on random models."""

from dataclasses import replace

import numpy as np
import pytest
import synthetic
from fit_samples import problem, sweeps
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from braggscale.fit import fit_scales
from braggscale.fit.data_set_pairs import Owners, Pairs
from braggscale.fit.dense import Dense
from braggscale.fit.few_inversions import FewInversions
from braggscale.fit.fit_scales import choose_solver, fit
from braggscale.fit.matrix_free import MatrixFree
from braggscale.fit.problem import Problem
from braggscale.fit.solver import FitSettings
from braggscale.models.joint_model import JointModel
from braggscale.numerics.minimisers import Stop

SETTINGS = FitSettings(True, True, None, 1000, 1e-6)
# Beyond this strength a correction has nearly vanished, and the data do not determine the strength any more.
ENDLESS = 3e3


def random_problem(n_sets, estimated, shared, n_fixed, seed):
    """Sweeps with random corrections and intensities; the last parameters keep their values."""
    models = sweeps(n_sets, shared) if estimated else [synthetic.physical(weight=5.0) for _ in range(n_sets)]
    rows, groups, model, _, target = problem(models, seed=seed, n_groups=400)
    fixed = np.zeros(model.n_parameters, bool)
    fixed[model.n_parameters - n_fixed :] = True
    whole = Problem.of(model, rows, groups, fixed)
    return replace(whole, pairs=Pairs.of(model, rows.data_set, groups)), target


def assert_same_scales(one, other, design, part, esds):
    """Scales to a ``part`` of their error (rms), errors between factors of ``esds``."""
    (g, variance), (h, also) = (design.scales(o.theta, o.covariance) for o in (one, other))
    error = np.sqrt(variance) / g
    assert np.sqrt(np.mean((np.log(h / g) / error) ** 2)) < part
    assert esds[0] < np.median(np.sqrt(also) / h / error) < esds[1]


def test_uncertainties_of_many_crystals_are_those_of_the_whole_matrix():
    models = [synthetic.kb() for _ in range(60)]
    rows, groups, model, _, target = problem(models, seed=4, n_groups=600)
    whole = Problem.of(model, rows, groups, np.zeros(model.n_parameters, bool))
    dense, free = (
        fit(whole, model.null(), target.intensity, target.weight, SETTINGS, solver=solver)
        for solver in (Dense(), MatrixFree())
    )
    assert_same_scales(dense, free, target.design, 0.1, (0.9, 1.02))


@settings(max_examples=6, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@given(
    n_sets=st.integers(4, 7), estimated=st.booleans(), shared=st.sampled_from([(), ("absorption",)]),
    n_fixed=st.integers(0, 5), seed=st.integers(0, 99),
)  # fmt: skip
# a trend that has vanished; the probes' estimate of its trace is mostly noise
@example(n_sets=5, estimated=True, shared=("absorption",), n_fixed=1, seed=79)
# a whole curve is fixed
@example(n_sets=6, estimated=True, shared=("absorption",), n_fixed=5, seed=55)
def test_the_three_solvers_agree(n_sets, estimated, shared, n_fixed, seed):
    whole, target = random_problem(n_sets, estimated, shared, n_fixed, seed)
    null, fixed = whole.model.null(), whole.fixed
    dense, few, free = (
        fit(whole, null, target.intensity, target.weight, SETTINGS, solver=solver)
        for solver in (Dense(), FewInversions(), MatrixFree())
    )
    assert [found.fits[-1][0] for found in (dense, few, free)] == ["full matrix", "full matrix", "conjugate gradients"]
    for found in (dense, few, free):
        assert found.fits[-1][1].stop is Stop.CONVERGED
        assert np.array_equal(found.theta[fixed], null[fixed]) and not found.effective_dof[fixed].any()
        assert not found.covariance.diagonal()[fixed].any()
        assert found.strengths.keys() == dense.strengths.keys()
    assert_same_scales(dense, few, target.design, 0.2, (0.97, 1.03))
    # each data set's esds are conditional on the others: smaller, with so few of them
    assert_same_scales(dense, free, target.design, 0.3, (0.4, 1.1))
    assert few.effective_dof.sum() == pytest.approx(dense.effective_dof.sum(), abs=0.5)
    # 24 probes estimate the trace over some dozens of parameters with an error of about 1.5
    assert free.effective_dof.sum() == pytest.approx(dense.effective_dof.sum(), abs=3.0)
    for kind, strength in dense.strengths.items():
        if strength < ENDLESS:
            # strengths converge to 0.05 effective parameters; levels and trends have hardly more
            rough = "trend" in kind or "level" in kind
            assert abs(np.log(few.strengths[kind] / strength)) < (0.5 if rough else 0.1), kind
            assert abs(np.log(free.strengths[kind] / strength)) < (0.7 if rough else 0.2), kind


def test_the_solver_is_chosen_by_the_number_of_parameters():
    rows, groups, model, theta, target = problem(sweeps(3), n_groups=80)
    few = Problem.of(model, rows, groups, np.zeros(model.n_parameters, bool))
    owners = Owners.of(model)

    def chosen(problem, n, n_free=None, restraints=target.restraints):
        """With n parameters, of which n_free are not fixed."""
        free = np.arange(n if n_free is None else n_free)
        of_size = replace(target, base=np.zeros(n), free=free, restraints=restraints, owners=owners)
        return type(choose_solver(problem, of_size))

    assert chosen(few, 50) is Dense and chosen(few, 1500) is FewInversions
    assert chosen(few, fit_scales.MOST_DENSE) is FewInversions and chosen(few, fit_scales.MOST_DENSE + 1) is MatrixFree
    assert chosen(few, fit_scales.MOST_DENSE + 1, 50) is FewInversions  # fixed parameters do not count
    assert chosen(few, 1500, restraints=replace(target.restraints, model=())) is Dense
    stills = replace(few, model=JointModel.of([synthetic.kb() for _ in range(1000)]))
    assert chosen(stills, 2000) is MatrixFree and chosen(stills, 1200) is FewInversions
