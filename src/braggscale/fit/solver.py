"""What every solver of the least-squares problem answers, and what the solvers share.

There are three, and they give the same answer (tests/fit/test_solvers.py):

    dense.py            forms the normal matrix and inverts it as often as it likes
    few_inversions.py   many data sets: one inverse serves many steps
    matrix_free.py      thousands of crystals: only products with the normal matrix

``fit_scales.choose_solver`` says which one runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from braggscale.fit.factored import Factored
from braggscale.fit.least_squares import Target
from braggscale.fit.problem import Problem
from braggscale.numerics.anderson import Mixing
from braggscale.numerics.array_types import Float
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.minimisers import Fit, Scaling, Stop, lbfgs

# Steps of L-BFGS in the metric of one normal matrix; another one costs about as much as twenty.
STEPS_NEARBY = 20
# Strengths have settled when a step changes the fit by less than this many effective parameters, or this many for each
# parameter that there is.
SETTLED = 0.05
SETTLED_SHARE, SETTLED_SHARE_OF_MANY = 1e-4, 3e-4
# With more parameters of many data sets the matrix is not inverted for every step of the strengths (few_inversions.py).
MANY = 1000


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How far a fit goes.

    ``first_order``: whether L-BFGS runs, ``full_matrix``: whether second-order steps follow.
    ``max_iterations``, ``full_matrix_max_iterations``: their limits, None for 100.
    ``tolerance``: relative decrease of the rms residual that counts as converged.
    ``estimate``: whether L-BFGS brings estimated strengths up to date; the steps of the full matrix always do.
    ``esds``: whether a full matrix ends with covariance and effective parameters.
    """

    first_order: bool
    full_matrix: bool
    max_iterations: int | None
    full_matrix_max_iterations: int | None
    tolerance: float
    estimate: bool = False
    esds: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """What one fit leaves to the next fit of the same problem, with about the same weights.

    ``matrix``: J'J, (n_parameters, n_parameters), None where it was not formed.  ``factored``: of many parameters its
    inverse.  ``solutions``: of the equations of matrix_free.py for its probes, (n_parameters, number of probes).
    ``mixing``: how estimated strengths moved.
    """

    matrix: Float | None = None
    factored: Factored | None = None
    solutions: Float | None = None
    mixing: Mixing = field(default_factory=Mixing)


@dataclass(frozen=True, slots=True)
class State:
    """Where a fit stands.

    ``target``: the cost, with the restraints at their present strengths.  ``theta``: free parameters, (n_free,).
    ``before``: the same where the last second-order steps began, (n_free,).
    ``fits``: what each minimiser did, by its name.  ``memory``: what the solver knows, for its next phase or fit.
    """

    problem: Problem
    target: Target
    theta: Float
    before: Float
    fits: tuple[tuple[str, Fit], ...] = ()
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known at the end of a fit.

    ``theta``: the free parameters that stand, (n_free,).  ``covariance``: of all parameters, zero for fixed ones; None
    where it cannot be had.  ``effective_dof``: diag(C J'J), (n_parameters,), None where it is not known.
    ``information``: the diagonal of J'J, (n_parameters,).  ``message``: for the user, where something went wrong.
    """

    theta: Float
    covariance: BlockMatrix | None
    effective_dof: Float | None
    information: Float
    message: str | None = None


class Solver(Protocol):
    """The phases of a fit, each from state to state."""

    def round(self, state: State, settings: FitSettings) -> State:
        """A round of scaling: L-BFGS, and estimated strengths as far as that costs little.

        A state without a fit means that this solver has nothing cheaper than ``solve``.
        """
        ...

    def solve(self, state: State, settings: FitSettings) -> State:
        """Second-order steps and strengths until neither changes anything."""
        ...

    def finish(self, state: State) -> Ending:
        """Covariance and effective parameters at the point where ``solve`` ended."""
        ...


def is_many(target: Target) -> bool:
    """Whether there are so many parameters, of many data sets, that an inverse should serve many steps."""
    return target.pairs is not None and len(target.base) > MANY


def settled(target: Target) -> float:
    """Change of the fit, in effective parameters, that counts as none."""
    share = SETTLED_SHARE_OF_MANY if is_many(target) else SETTLED_SHARE
    return max(SETTLED, share * len(target.base))


def descend(
    target: Target, theta: Float, matrix: Float | None, metric: Scaling | Float | None, settings: FitSettings
) -> Fit:
    """L-BFGS in a ``metric``; None: in that of ``matrix`` or, where that is None, too, of a diagonal.

    ``theta``: (n_free,).  ``matrix``: J'J of a point nearby, (n_parameters, n_parameters).
    ``metric``: curvatures, (n_free,), or a scaling made before.
    """
    limit = settings.max_iterations or 100
    function, tolerance, history = target.value_and_gradient, settings.tolerance, list[float]()
    while True:
        if metric is None:
            metric = target.curvature(theta) if matrix is None else target.restrained_matrix(matrix)
        steps = limit + 1 - max(len(history), 1)
        if matrix is not None:
            steps = min(steps, STEPS_NEARBY)
        rough = lbfgs(function, theta, metric, max_iterations=steps, tolerance=tolerance)
        history += rough.history if not history else rough.history[1:]
        theta = rough.theta
        if rough.stop is not Stop.MAX_ITERATIONS or len(history) > limit:
            return replace(rough, history=tuple(history))
        matrix, metric = target.quadratic(theta).matrix, None


def expanded(part: Float, free: np.ndarray, n: int) -> Float:
    """A matrix of all n parameters, (n, n), zero for fixed ones.

    ``part``: that of the ``free`` ones, (n_free, n_free).
    """
    if len(free) == n:
        return part
    whole = np.zeros((n, n))
    whole[np.ix_(free, free)] = part
    return whole


SINGULAR = (
    f"full matrix: {Stop.SINGULAR.value}; the L-BFGS answer stands, without esds. Fewer parameters "
    "(a larger scale_interval, decay_correction=False) or splitting the sweep at the gap removes this"
)
