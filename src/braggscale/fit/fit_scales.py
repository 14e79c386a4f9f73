"""One fit of the scales with given weights, outliers and intensities: L-BFGS, the full matrix, or both."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np

from braggscale.fit.least_squares import Target
from braggscale.fit.problem import MOST_DENSE, Problem
from braggscale.fit.solver import FitSettings, Memory, Solver, State, is_many
from braggscale.models.gauge import on_gauge
from braggscale.numerics.array_types import Bool, Float
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.minimisers import Fit

# If data sets have at most the first number of parameters each, the normal matrix is not formed for more parameters
# than the second number, because its blocks are then a good approximation.
SMALL_SET, MOST_OF_SMALL = 10, 1500


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one fit.

    ``theta``: all parameters, (n_parameters,).  ``covariance``: same order, zero for fixed parameters, or None.
    ``fits``: results of the minimisers, by name.  ``undetermined``: parameters on which no observation depends, so that
    only restraints determine them.  ``n_observations``, ``n_groups``: rows and unique reflections in the fit.
    ``message``: for the user, if something went wrong.  ``strengths``: estimated strengths by kind.
    ``effective_dof``: diag(C J'J), (n_parameters,): effective parameters.
    ``memory``: for the next fit of the same problem.
    """

    theta: Float
    covariance: BlockMatrix | None
    fits: tuple[tuple[str, Fit], ...]
    undetermined: tuple[int, ...]
    n_observations: int
    n_groups: int
    message: str | None = None
    strengths: Mapping[str, float] = field(default_factory=dict)
    effective_dof: Float | None = None
    memory: Memory = field(default_factory=Memory)


def choose_solver(problem: Problem, target: Target) -> Solver:
    """The solver for a problem of this size; only this function decides it.

    The modules are imported here, so that a run loads only the kernels of the solver that it uses.
    """
    n = len(target.free)
    small = n <= SMALL_SET * len(problem.model.data_sets)
    if n > (min(MOST_OF_SMALL, MOST_DENSE) if small else MOST_DENSE):
        from braggscale.fit.matrix_free import MatrixFree

        return MatrixFree()
    if target.restraints.strengths and is_many(target):
        from braggscale.fit.few_inversions import FewInversions

        return FewInversions()
    from braggscale.fit.dense import Dense

    return Dense()


def fit(
    problem: Problem,
    theta: Float,
    intensity: Float,
    weight: Float,
    settings: FitSettings,
    strengths: Mapping[str, float] | None = None,
    near: Outcome | None = None,
    solver: Solver | None = None,
) -> Outcome:
    """Minimise the cost from ``theta``, all parameters, (n_parameters,).

    ``intensity``: counts, ``weight``: 1/counts^2, (n,).
    ``strengths``: of the restraints whose strengths are estimated, by kind; None: as the model has them.
    ``near``: an earlier fit with about the same weights, whose memory this fit uses.
    ``solver``: None for the one that ``choose_solver`` names.
    If the full matrix cannot be inverted, the result of L-BFGS is returned, with covariance None and a message.
    """
    theta = on_gauge(theta, problem.choices)
    target = problem.target(theta, intensity, weight, strengths or {})
    solver = choose_solver(problem, target) if solver is None else solver
    memory = Memory() if near is None else replace(near.memory, mixing=copy(near.memory.mixing))
    state = State(problem, target, theta[target.free], theta[target.free], (), memory)
    if settings.first_order:
        state = solver.round(state, settings)
    exactly = settings.full_matrix or (settings.first_order and not state.fits)
    if exactly and len(target.free):
        state = solver.solve(state, settings)
        if settings.esds:
            return _finished(solver, state)
    return _outcome(state, state.theta)


def _outcome(state: State, theta: Float) -> Outcome:
    target = state.target
    return Outcome(
        target.full(theta), None, state.fits, (), int(np.count_nonzero(target.weight)), len(target.groups),
        strengths=target.restraints.strengths, memory=state.memory,
    )  # fmt: skip


def _finished(solver: Solver, state: State) -> Outcome:
    """The outcome with uncertainties.  Matrices are not kept, because no other fit follows."""
    ending = solver.finish(state)
    known = state.problem.fixed | state.target.restraints.estimated_places(len(state.target.base))
    return replace(
        _outcome(state, ending.theta),
        covariance=ending.covariance,
        undetermined=_undetermined(ending.information, known),
        message=ending.message,
        effective_dof=ending.effective_dof,
        memory=Memory(solutions=state.memory.solutions),
    )


def _undetermined(information: Float, known: Bool) -> tuple[int, ...]:
    """Parameters on which no observation depends and that are not determined otherwise.

    ``information``: diagonal of J'J, ``known``: parameters that are determined otherwise, (n_parameters,).
    """
    positive = information[information > 0]
    if len(positive) == 0:
        return tuple(int(p) for p in np.flatnonzero(~known))
    # scales, B and harmonics have different units, but the information on a parameter without data is smaller by
    # far more
    nothing = information <= 1e-12 * float(np.median(positive))
    return tuple(int(p) for p in np.flatnonzero(nothing & ~known))
