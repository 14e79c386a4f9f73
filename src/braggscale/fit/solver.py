"""The protocol of the solvers of the least-squares problem, and their common parts.

There are three solvers, and they give the same result (tests/fit/test_solvers.py):

    dense.py            forms the normal matrix and inverts it at every step
    few_inversions.py   several data sets: one inverse serves many steps
    matrix_free.py      thousands of crystals: only products with the normal matrix

``fit_scales.choose_solver`` decides which one runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from braggscale.fit.factored import Factored
from braggscale.fit.least_squares import Target
from braggscale.fit.normal_operator import Parts
from braggscale.fit.problem import Problem
from braggscale.numerics.anderson import Mixing
from braggscale.numerics.array_types import Float
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.minimisers import Fit, Scaling, Stop, lbfgs

# Steps of L-BFGS in the metric of one normal matrix; a new matrix takes about the time of twenty steps.
STEPS_NEARBY = 20
# Strengths have converged if a step changes the effective parameters by less than the first number, or by less than
# the second for each parameter of the model.
SETTLED = 0.05
SETTLED_SHARE, SETTLED_SHARE_OF_MANY = 1e-4, 5e-4
# If several data sets have more parameters together, the matrix is not inverted for every step of the strengths
# (few_inversions.py): four sweeps with 970 parameters need 6 inversions instead of 25.
MANY = 600


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Extent and accuracy of a fit.

    ``first_order``: whether L-BFGS runs, ``full_matrix``: whether second-order steps follow.
    ``max_iterations``, ``full_matrix_max_iterations``: their limits, None for 100.
    ``tolerance``: relative decrease of the rms residual that counts as converged.
    ``estimate``: whether estimated strengths are updated with L-BFGS; with the full matrix they always are.
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
    """Results of one fit that the next fit of the same problem, with about the same weights, can use.

    ``matrix``: J'J, (n_parameters, n_parameters), None if it was not formed.  ``factored``: its inverse, if there are
    many parameters.
    ``solutions``: of the equations of matrix_free.py for its probes, (n_parameters, number of probes).
    ``ratio``: correction of the effective parameters of estimated restraints that these gave, by kind.
    ``parts``: of J'J where the last fit began.
    ``mixing``: history of the estimated strengths.
    """

    matrix: Float | None = None
    factored: Factored | None = None
    solutions: Float | None = None
    ratio: Mapping[str, float] | None = None
    parts: Parts | None = None
    mixing: Mixing = field(default_factory=Mixing)


@dataclass(frozen=True, slots=True)
class State:
    """The present state of a fit.

    ``target``: the cost, with the restraints at their present strengths.  ``theta``: free parameters, (n_free,).
    ``before``: parameters before the last second-order steps, (n_free,).
    ``fits``: results of the minimisers, by name.  ``memory``: for the next phase or fit.
    """

    problem: Problem
    target: Target
    theta: Float
    before: Float
    fits: tuple[tuple[str, Fit], ...] = ()
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True, slots=True)
class Ending:
    """Final results of a fit.

    ``theta``: final free parameters, (n_free,).  ``covariance``: of all parameters, zero for fixed ones; None if it
    cannot be computed.  ``effective_dof``: diag(C J'J), (n_parameters,), None if it is not known.
    ``information``: the diagonal of J'J, (n_parameters,).  ``message``: for the user, if something went wrong.
    """

    theta: Float
    covariance: BlockMatrix | None
    effective_dof: Float | None
    information: Float
    message: str | None = None


class Solver(Protocol):
    """The phases of a fit, each from state to state."""

    def round(self, state: State, settings: FitSettings) -> State:
        """A round of scaling: L-BFGS, and an update of estimated strengths if that takes little time.

        A state without a fit means that this solver has no faster method than ``solve``.
        """
        ...

    def solve(self, state: State, settings: FitSettings) -> State:
        """Second-order steps and strengths until neither changes anything."""
        ...

    def finish(self, state: State) -> Ending:
        """Covariance and effective parameters at the point where ``solve`` ended."""
        ...


def is_many(target: Target) -> bool:
    """Whether several data sets have too many parameters for an inversion at every step of the strengths."""
    return target.owners is not None and len(target.base) > MANY


def settled(target: Target) -> float:
    """Change of the fit, in effective parameters, that counts as converged."""
    share = SETTLED_SHARE_OF_MANY if is_many(target) else SETTLED_SHARE
    return max(SETTLED, share * len(target.base))


def descend(
    target: Target, theta: Float, matrix: Float | None, metric: Scaling | Float | None, settings: FitSettings
) -> Fit:
    """L-BFGS in a ``metric``; None: in that of ``matrix`` or, if that is None, too, of a diagonal.

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
    f"full matrix: {Stop.SINGULAR.value}; the result of L-BFGS is kept, without esds. Fewer parameters "
    "(a larger scale_interval, decay_correction=False) or splitting the sweep at the gap removes this"
)
