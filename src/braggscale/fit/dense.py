"""The solver that forms the normal matrix and inverts it at every step: for up to about a thousand parameters.

A round is L-BFGS in the metric of a normal matrix that several rounds share. The last fit computes the matrix anew,
estimates the strengths with the quadratic at that point and goes on with L-BFGS in the new metric, which is a step of
Gauss and Newton that corrects itself: a step takes a gradient, the matrix the time of about twenty.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from braggscale.fit.least_squares import Quadratic
from braggscale.fit.restraint_strengths import at_least, traces, update
from braggscale.fit.solver import SINGULAR, Ending, FitSettings, State, descend, expanded, settled
from braggscale.numerics.anderson import Mixing
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.minimisers import constrained_covariance, lbfgs

log = logging.getLogger(__name__)

# How often a round alternates between strengths and L-BFGS; the next round continues.
ROUGH_TURNS = 2
MOST_STRENGTH_STEPS = 40
# Limit of steps times n^3 between two passes over the observations, which corresponds to a few seconds.
STRENGTH_WORK = 3e11
# Largest change, in effective parameters, that is accepted from a normal matrix computed at another point.
TRUSTED = 1.0
# Strengths at one point are updated until a step is below this multiple of the negligible change: first for the
# last fit, then for rounds, because the next round continues with other weights.
CLOSE, CLOSE_IN_ROUNDS = 0.2, 10.0
# Steps of the last fit end at this share of the tolerance, and the fit at the latest after this number of turns of
# strengths and steps.
CLOSE_STEPS, MOST_TURNS = 1e-2, 20


@dataclass(frozen=True, slots=True)
class Dense:
    """See the module; ``Solver`` describes the phases."""

    def round(self, state: State, settings: FitSettings) -> State:
        """Alternate a few times between estimated strengths (if they are estimated) and L-BFGS.

        J'J of any nearby point is good enough as a metric, and to show that the strengths have converged. If they have
        not, J'J is computed anew: in directions in which the old matrix has no curvature, although the data have, it
        would lead to unlimited corrections.
        """
        target, theta, matrix = state.target, state.theta, state.memory.matrix
        fresh = matrix is None
        if matrix is None:
            # the normal matrix takes the time of a few evaluations and saves four fifths of the steps
            matrix = target.about(theta).matrix
        history: list[float] = []
        enough = CLOSE_IN_ROUNDS * settled(target)
        for _ in range(ROUGH_TURNS):
            moved = 0.0
            if settings.estimate and target.restraints.strengths:
                quadratic = target.quadratic(theta, matrix)
                trusted = np.inf if fresh else TRUSTED
                nearby, moved = strengths_nearby(quadratic, state.memory.mixing, enough, trusted)
                if moved > trusted:
                    quadratic = target.about(theta)
                    nearby, moved = strengths_nearby(quadratic, state.memory.mixing, enough)
                target, matrix = target.at(nearby), quadratic.matrix
            rough = descend(target, theta, matrix, None, settings)
            history += rough.history if not history else rough.history[1:]
            theta, fresh = rough.theta, False
            if moved < settled(target):
                break
        fits = (*state.fits, ("L-BFGS", replace(rough, history=tuple(history))))
        return replace(state, target=target, theta=theta, fits=fits, memory=replace(state.memory, matrix=matrix))

    def solve(self, state: State, settings: FitSettings) -> State:
        """Strengths at the minimum of the quadratic, then L-BFGS in the metric of N, until neither changes anything.

        J'J belongs to the last point from which a step lowered the rms residual by more than the tolerance. The last
        steps are made with the strengths that are returned.
        """
        limit, tolerance = settings.full_matrix_max_iterations or 100, settings.tolerance
        target, theta = state.target, state.theta
        estimated = bool(target.restraints.strengths)
        history: list[float] = []
        quadratic = target.quadratic(theta)
        for _ in range(MOST_TURNS):  # with damaged data strengths may oscillate for ever
            moved = 0.0
            if estimated:
                enough = CLOSE * settled(target)
                nearby, moved = strengths_nearby(quadratic, state.memory.mixing, enough)
                target = target.at(nearby)
            function, metric = target.value_and_gradient, target.restrained_matrix(quadratic.matrix)
            steps = lbfgs(function, theta, metric, max_iterations=limit, tolerance=CLOSE_STEPS * tolerance)
            history += steps.history if not history else steps.history[1:]
            theta = steps.theta
            moving = bool(steps.history) and steps.history[0] - steps.cost > 2.0 * tolerance * steps.cost
            if not (moving or moved >= settled(target)) or len(history) > limit:
                break
            quadratic = target.quadratic(theta, None if moving else quadratic.matrix)
        fits = (*state.fits, ("full matrix", replace(steps, history=tuple(history))))
        memory = replace(state.memory, matrix=quadratic.matrix if settings.esds else None)
        return replace(state, target=target, theta=theta, before=state.theta, fits=fits, memory=memory)

    def finish(self, state: State) -> Ending:
        """The covariance is the inverse in the gauge of the scales.

        The restraints of the gauge are left out. Their conditions differ from the constraints, so two directions
        would be removed instead of one.
        """
        target, matrix, n = state.target, state.memory.matrix, len(state.target.base)
        if matrix is None:
            matrix = target.quadratic(state.theta).matrix
        constraints = state.problem.constraints(target.full(state.theta))
        normal = replace(target, restraints=target.restraints.without_gauge()).restrained_matrix(matrix)
        part = constrained_covariance(normal, constraints[:, target.free])
        information = np.diag(matrix)
        if part is None:
            return Ending(state.before, None, None, information, SINGULAR)
        covariance = expanded(part, target.free, n)
        effective_dof = np.einsum("ij,ij->i", covariance, matrix)
        return Ending(state.theta, BlockMatrix.whole(covariance), effective_dof, information)


def strengths_nearby(
    quadratic: Quadratic, mixing: Mixing, enough: float, trusted: float = np.inf
) -> tuple[dict[str, float], float]:
    """Strengths at the minimum of a quadratic, and their change.

    No pass over the observations is needed: with given J'J and gradient each step is a small linear problem.
    The returned change of the fit, in effective parameters, is that of the first step alone; if it is above
    ``trusted``, no other step follows.  ``enough``: the steps end after one that changes the fit by less than this.
    ``mixing``: earlier steps; the new ones are added.
    """
    target, n = quadratic.target, len(quadratic.target.base)
    strengths, first = target.restraints.strengths, 0.0
    mixing.begin()
    for _ in range(max(2, min(MOST_STRENGTH_STEPS, int(STRENGTH_WORK / max(n, 1) ** 3)))):
        now = quadratic.at(strengths)
        inverse = now.inverse()
        if inverse is None:
            break
        there = now.minimum(inverse)
        model = target.restraints.model
        most = target.restraints.most_effective
        wanted, moved = update(model, strengths, there, traces(model, inverse), target.fixed, most_effective=most)
        log.debug(f"strengths {wanted} move by {moved:.3f} effective parameters")
        first = first or moved
        if moved > trusted:
            break
        strengths = at_least(mixing.next(strengths, wanted), target.restraints.least)
        if moved < enough:
            break
    return strengths, first
