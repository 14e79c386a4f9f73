"""The solver for many data sets with estimated strengths, whose normal matrix is formed but not often inverted.

One factorisation of the normal matrix is reused for many steps. A Fellner-Schall step is exact at the strengths for
which N = J'J + sum lambda S has been inverted; a surrogate of N (block_surrogate.py) predicts the steps that
follow. The inverse root R, R'R = N^-1, is used for these steps, for the minimum of the quadratic, as the metric of
L-BFGS, and for the covariance. R is valid as long as J'J is the same, in several rounds, and every round begins
with the exact step at the strengths for which N was inverted last.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from braggscale.fit.block_surrogate import BlockSurrogate
from braggscale.fit.factored import Factored
from braggscale.fit.least_squares import Quadratic
from braggscale.fit.restraint_strengths import update
from braggscale.fit.solver import SINGULAR, Ending, FitSettings, State, descend, expanded, settled
from braggscale.models.gauge import as_rows
from braggscale.models.joint_model import Placed
from braggscale.numerics import cholesky
from braggscale.numerics.array_types import Float
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.minimisers import Fit, Stop, lbfgs

log = logging.getLogger(__name__)

MOST_EXACT = 8
# In a round, skip the second inversion if the surrogate has changed the effective parameters by less than this for
# each parameter of the model; the remaining change is about a hundredth of it.
ENOUGH = 0.06
# Use the surrogate only while each exact step is smaller than this share of the previous one.
LEADS = 0.7
# 1 - p C p' of a gauge condition that only its own restraint determines.
NOTHING_HELD = 1e-9
# Steps of the full matrix end at this share of the tolerance. They take little time compared with an inversion, and
# strengths that are computed before the minimum is reached oscillate.
CLOSE = 1e-2


@dataclass(frozen=True, slots=True)
class FewInversions:
    """See the module; ``Solver`` describes the phases."""

    def round(self, state: State, settings: FitSettings) -> State:
        """Strengths, then L-BFGS in the metric of N; an old J'J is computed anew if the strengths change."""
        target, theta, memory = state.target, state.theta, state.memory
        fresh, matrix = memory.matrix is None, memory.matrix
        if matrix is None:
            matrix = target.quadratic(theta).matrix
        known, metric = memory.factored, None
        if settings.estimate:
            enough = ENOUGH * len(target.base)
            quadratic = target.quadratic(theta, matrix)
            strengths, moved, known = settle(quadratic, known, enough, fresh)
            if moved > enough and not fresh:
                quadratic = target.quadratic(theta)
                strengths, _, known = settle(quadratic, known, enough)
            matrix, target = quadratic.matrix, target.at(strengths)
            metric = known.metric if known else None
        rough = descend(target, theta, matrix, metric, settings)
        fits = (*state.fits, ("L-BFGS", rough))
        memory = replace(memory, matrix=matrix, factored=known)
        return replace(state, target=target, theta=rough.theta, fits=fits, memory=memory)

    def solve(self, state: State, settings: FitSettings) -> State:
        """Steps in the metric of N and strengths until neither changes anything, and N^-1 at the end.

        J'J belongs to the last point from which a step lowered the rms residual by more than the tolerance. The
        last step is made with the strengths that are returned. If N has no inverse, nothing is done.
        """
        limit, tolerance = settings.full_matrix_max_iterations or 100, settings.tolerance
        target, theta, earlier = state.target, state.theta, state.memory.factored
        history: list[float] = []
        stop, moving, known, last = Stop.MAX_ITERATIONS, True, None, np.inf
        quadratic = target.quadratic(theta)
        surrogate, strengths = foreseen(quadratic, earlier.surrogate.step_ratio if earlier else {})
        for turn in count():  # with damaged data strengths may oscillate for ever
            quadratic = quadratic.at(strengths)
            if known is None or known.strengths != strengths or known.matrix is not quadratic.matrix:
                known = None  # frees its memory for the next one
                known = Factored.of(quadratic, surrogate)
                if known is None:
                    stop, history = Stop.SINGULAR, [quadratic.cost]
                    break
            if stop is Stop.NO_DESCENT or len(history) > limit or turn > limit:
                break
            wanted, moved, there = exact_step(quadratic, known)
            if not moving and moved < settled(target):
                stop = Stop.CONVERGED
                break
            if moved >= settled(target):
                # a surrogate that leads nowhere is left for the plain step
                strengths = surrogate.follow(strengths, wanted, there) if moved <= LEADS * last else wanted
            last = moved
            target = target.at(strengths)
            function, close = target.value_and_gradient, CLOSE * tolerance
            steps = lbfgs(function, theta, known.metric, max_iterations=limit, tolerance=close)
            theta = steps.theta
            history += steps.history if not history else steps.history[1:]
            if steps.stop is Stop.NO_DESCENT:
                stop = steps.stop
            moving = steps.history[0] - steps.cost > 2.0 * tolerance * steps.cost
            if moving:
                quadratic = target.quadratic(theta)
                surrogate = _surrogate(quadratic, surrogate.step_ratio)
            else:
                quadratic = target.quadratic(theta, quadratic.matrix)
        fits = (*state.fits, ("full matrix", Fit(theta, history[-1], stop, tuple(history))))
        memory = replace(state.memory, matrix=None, factored=known)
        target = target.at(strengths)
        return replace(state, target=target, theta=theta, before=state.theta, fits=fits, memory=memory)

    def finish(self, state: State) -> Ending:
        """The covariance from N^-1, in the gauge of the scales."""
        target, known = state.target, state.memory.factored
        if known is None:
            return Ending(state.before, None, None, np.diag(target.quadratic(state.theta).matrix), SINGULAR)
        constraints = state.problem.constraints(target.full(state.theta))
        part = covariance(known, target.restraints.gauge, constraints)
        information = np.diag(known.matrix)
        if part is None:
            return Ending(state.before, None, None, information, SINGULAR)
        whole = expanded(part, target.free, len(target.base))
        effective_dof = np.einsum("ij,ij->i", whole, known.matrix)
        return Ending(state.theta, BlockMatrix.whole(whole), effective_dof, information)


def _surrogate(quadratic: Quadratic, step_ratio: Mapping[str, float]) -> BlockSurrogate:
    target = quadratic.target
    assert target.owners is not None
    return BlockSurrogate(quadratic.matrix, target.restraints, target.owners, target.fixed, step_ratio)


def foreseen(quadratic: Quadratic, step_ratio: Mapping[str, float]) -> tuple[BlockSurrogate, dict[str, float]]:
    """A surrogate of N, and the strengths it predicts before N is inverted.  ``step_ratio``: that of an earlier one."""
    target = quadratic.target
    surrogate = _surrogate(quadratic, step_ratio)
    downhill = np.zeros(len(target.base))
    downhill[target.free] = quadratic.slope()
    return surrogate, surrogate.follow(target.restraints.strengths, None, target.full(quadratic.theta), downhill)


def exact_step(quadratic: Quadratic, known: Factored) -> tuple[dict[str, float], float, Float]:
    """Fellner-Schall step from ``known.strengths``.

    Returns the new strengths, by kind; the change of the fit in effective parameters; and the minimum at which the
    step is made, (n_parameters,).
    """
    target = quadratic.target
    there = quadratic.at(known.strengths).minimum(known.inverse)
    most = target.restraints.most_effective
    wanted, moved = update(
        target.restraints.model, known.strengths, there, known.traces, target.fixed, most_effective=most
    )
    log.debug(f"strengths {wanted} move by {moved:.3f} effective parameters")
    return wanted, moved, there


def settle(
    quadratic: Quadratic, near: Factored | None, enough: float, fresh: bool = True
) -> tuple[dict[str, float], float, Factored | None]:
    """Strengths at the minimum of a quadratic, their change in effective parameters, and N^-1 nearby.

    ``near``: N^-1 of an earlier fit, which is used if it has this J'J.  ``enough``: the steps end after an exact one
    that changes the effective parameters by less than this.  ``fresh``: whether J'J belongs to the point of the
    quadratic; if not, it is only used to see by how much the strengths would change.
    """
    known = near if near is not None and near.matrix is quadratic.matrix else None
    strengths = quadratic.target.restraints.strengths
    if known is None:
        surrogate, strengths = foreseen(quadratic, near.surrogate.step_ratio if near is not None else {})
    else:
        surrogate = known.surrogate
    first = last = 0.0
    for number in range(MOST_EXACT):
        if known is None or number > 0:
            inverted = Factored.of(quadratic.at(strengths), surrogate)
            if inverted is None:
                break
            known = inverted
        wanted, moved, there = exact_step(quadratic, known)
        first = first or moved
        if not fresh:
            break
        # a surrogate that leads nowhere is left for the plain step
        leads = number < 2 or moved <= LEADS * last
        strengths = surrogate.follow(known.strengths, wanted, there) if leads else wanted
        if moved <= enough:
            break
        last = moved
    return strengths, first, known


def covariance(known: Factored, gauge_restraints: Sequence[Placed], constraints: Float) -> Float | None:
    """Covariance of the free parameters in another gauge than that of the restraints in N, (n_free, n_free).

    With N + P'P inverted, C, the inverse of N on the surface A theta = const is

        C_A + C_A P' (1 - P C_A P')^-1 P C_A,    C_A = C - C A' (A C A')^-1 A C.

    ``gauge_restraints``: P.  ``constraints``: A, (k, n_parameters).  None where N is singular there.
    """
    free = known.inverse.free
    rows, constraints = as_rows(gauge_restraints, known.inverse.n)[:, free], constraints[:, free]
    matrix = cholesky.square(known.inverse.root)
    across = matrix @ constraints.T
    if not (np.diag(constraints @ across) > 0.0).all():
        return None
    matrix -= across @ np.linalg.solve(constraints @ across, across.T)
    along = matrix @ rows.T
    left = np.eye(len(rows)) - rows @ along
    if np.linalg.eigvalsh(left).min(initial=1.0) < NOTHING_HELD:
        return None
    matrix += along @ np.linalg.solve(left, along.T)
    return matrix
