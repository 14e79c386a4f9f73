"""Fits of many data sets with estimated strengths, whose normal matrix is formed but not often inverted.

A Fellner-Schall step with N = J'J + sum lambda S inverted at some strengths is exact there; a likeness of N
(likeness.py) tells where the steps lead that begin with it. The inverse root R, R'R = N^-1, serves for that, for the
minimum of the quadratic, as the metric of L-BFGS, and for the covariance. While J'J stays the same, as from round to
round, so does R, and every round begins with the exact step at the strengths where N was inverted last.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.arrays import Bool, Float
from braggscale.likeness import Likeness
from braggscale.minimise import Fit, Scaling, Stop, lbfgs
from braggscale.models.joint import Placed
from braggscale.strengths import Inverse, traces, update, with_strengths
from braggscale.target import Target

log = logging.getLogger(__name__)

MOST_EXACT = 8
# A rough answer need not be looked at once more where the likeness has led over less than this, in effective
# parameters, for each parameter that there is: what is left is about a hundredth of it.
ENOUGH = 0.06
# Of what an exact step asks for after the likeness has led there, relative to the exact step before.
LEADS = 0.7
# Steps of the full matrix end at this part of the tolerance. They cost little beside an inversion, and strengths asked
# of a point that is not the minimum lead to and fro.
CLOSE = 1e-2
# After a change of more than this times what counts as none, strengths are asked with the J'J of the new point.
RENEWED = 3.0


@dataclass(frozen=True, slots=True)
class Factored:
    """N^-1 at ``strengths``.  ``matrix``: J'J, (n_parameters, n_parameters).  ``traces``: tr(C S) of every kind."""

    matrix: Float
    inverse: Inverse
    strengths: dict[str, float]
    traces: dict[str, float]
    likeness: Likeness

    @property
    def metric(self) -> Scaling:
        """Of L-BFGS."""
        return Scaling(self.inverse.root)


def held_places(target: Target) -> Bool:
    """Parameters that are held, (n_parameters,)."""
    held = np.ones(len(target.base), bool)
    held[target.free] = False
    return held


def factored(
    target: Target, own: Sequence[Placed], pins: Sequence[Placed], strengths: dict[str, float], matrix: Float,
    likeness: Likeness | None,
) -> Factored | None:  # fmt: skip
    """None where N is not positive definite.  ``likeness``: for the same ``matrix``, if there is one."""
    restrained = replace(target, restraints=[*with_strengths(own, strengths), *pins])
    inverse = Inverse.of(restrained.restrained_matrix(matrix), target.free, len(target.base), target.n_threads)
    if inverse is None:
        return None
    if likeness is None and target.pairs is not None:
        likeness = Likeness(matrix, own, pins, target.pairs.owners, held_places(target))
    assert likeness is not None
    return Factored(matrix, inverse, strengths, traces(own, inverse), likeness)


def settle(
    target: Target, theta: Float, data: tuple[float, Float, Float], own: Sequence[Placed], pins: Sequence[Placed],
    strengths: dict[str, float], near: Factored | None, enough: float, fresh: bool = True,
) -> tuple[dict[str, float], float, Factored | None]:  # fmt: skip
    """Strengths at the minimum of the quadratic that touches the cost at ``theta``, how far they moved, N^-1 nearby.

    ``data``: cost, gradient and J'J of the observations.  ``near``: N^-1 of an earlier fit, of use if it has this J'J.
    ``enough``: change in effective parameters of an exact step after which none is needed.  ``fresh``: whether J'J is
    that at ``theta``; another one only tells how far strengths would move.
    """
    known = near if near is not None and near.matrix is data[2] else None
    first = last = 0.0
    for number in range(MOST_EXACT):
        if known is None or number > 0:
            found = factored(target, own, pins, strengths, data[2], known.likeness if known else None)
            if found is None:
                break
            known = found
        at = known.strengths
        restrained = replace(target, restraints=[*with_strengths(own, at), *pins])
        slope = restrained.with_restraints(theta, data[0], data[1].copy())[1]
        there = target.full(theta - 0.5 * known.inverse.times(slope))
        wanted, moved = update(own, at, there, known.traces, held_places(target))
        log.debug(f"strengths {wanted} move by {moved:.3f} effective parameters")
        first = first or moved
        if not fresh:
            break
        # a likeness that leads nowhere is left for the plain step
        strengths = wanted if number > 1 and moved > LEADS * last else known.likeness.follow(at, wanted, there)
        if moved <= enough:
            break
        last = moved
    return strengths, first, known


def full_matrix(
    target: Target, theta: Float, own: Sequence[Placed], pins: Sequence[Placed], strengths: dict[str, float],
    *, max_iterations: int, tolerance: float, settled: float,
) -> tuple[Fit, dict[str, float], Factored | None]:  # fmt: skip
    """Steps in the metric of N and strengths until neither changes anything, and N^-1 near the end.

    J'J is that of the last point from which a step went that lowered the rms residual by more than ``tolerance``.
    The last step is made with the strengths that are returned. Without N^-1 nothing is done.
    """
    history: list[float] = []
    stop, moving, known = Stop.MAX_ITERATIONS, True, None
    data = target.data_equations(theta)
    while len(history) <= max_iterations:
        new, moved, known = settle(target, theta, data, own, pins, strengths, known, settled)
        if known is None:
            return Fit(theta, data[0], Stop.SINGULAR, (data[0],)), strengths, None
        if not moving and moved < settled:
            stop = Stop.CONVERGED
            break
        strengths = new
        target = replace(target, restraints=[*with_strengths(own, strengths), *pins])
        steps = lbfgs(
            target.value_and_gradient, theta, known.metric, max_iterations=max_iterations, tolerance=CLOSE * tolerance
        )
        theta = steps.theta
        history += steps.history if not history else steps.history[1:]
        if steps.stop is Stop.NO_DESCENT:
            stop = steps.stop
            break
        moving = steps.history[0] - steps.cost > 2.0 * tolerance * steps.cost
        # the old J'J only sees that nothing is left to do; where something is, it would lead to and fro
        data = (
            target.data_equations(theta)
            if moving or moved > RENEWED * settled
            else (*target.data_gradient(theta), data[2])
        )
    return Fit(theta, history[-1], stop, tuple(history)), strengths, known
