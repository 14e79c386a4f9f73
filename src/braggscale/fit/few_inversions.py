"""Fits of many data sets with estimated strengths, whose normal matrix is formed but not often inverted.

A Fellner-Schall step with N = J'J + sum lambda S inverted at some strengths is exact there; a likeness of N
(block_surrogate.py) tells where the steps lead that begin with it. The inverse root R, R'R = N^-1, serves for that, for
the minimum of the quadratic, as the metric of L-BFGS, and for the covariance. While J'J stays the same, as from round
to round, so does R, and every round begins with the exact step at the strengths where N was inverted last.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.fit.block_surrogate import Likeness
from braggscale.fit.least_squares import Target
from braggscale.fit.restraint_strengths import Inverse, traces, update
from braggscale.models.gauge import as_rows
from braggscale.models.joint_model import Placed
from braggscale.numerics import cholesky
from braggscale.numerics.array_types import Float
from braggscale.numerics.minimisers import Fit, Scaling, Stop, lbfgs

log = logging.getLogger(__name__)

MOST_EXACT = 8
# A rough answer need not be looked at once more where the likeness has led over less than this, in effective
# parameters, for each parameter that there is: what is left is about a hundredth of it.
ENOUGH = 0.06
# Of what an exact step asks for after the likeness has led there, relative to the exact step before.
LEADS = 0.7
# What is left of 1 for a gauge that nothing else holds.
SINGULAR = 1e-9
# Steps of the full matrix end at this part of the tolerance. They cost little beside an inversion, and strengths asked
# of a point that is not the minimum lead to and fro.
CLOSE = 1e-2


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


def factored(
    target: Target, own: Sequence[Placed], pins: Sequence[Placed], strengths: dict[str, float], matrix: Float,
    likeness: Likeness,
) -> Factored | None:  # fmt: skip
    """None where N is not positive definite.  ``likeness``: for the same ``matrix``."""
    restrained = target.at_strengths(own, pins, strengths)
    inverse = Inverse.of(restrained.restrained_matrix(matrix), target.free, len(target.base))
    return None if inverse is None else Factored(matrix, inverse, strengths, traces(own, inverse), likeness)


def foreseen(
    target: Target, theta: Float, data: tuple[float, Float, Float], own: Sequence[Placed], pins: Sequence[Placed],
    strengths: dict[str, float], share: Mapping[str, float],
) -> tuple[Likeness, dict[str, float]]:  # fmt: skip
    """A likeness of N, and where it leads from ``strengths`` before N is inverted.  ``share``: as an earlier one's."""
    likeness = _likeness(target, data[2], own, pins, share)
    downhill = np.zeros(len(target.base))
    downhill[target.free] = slope(target, theta, data, own, pins, strengths)
    return likeness, likeness.follow(strengths, None, target.full(theta), downhill)


def _likeness(
    target: Target, matrix: Float, own: Sequence[Placed], pins: Sequence[Placed], share: Mapping[str, float]
) -> Likeness:
    assert target.pairs is not None
    return Likeness(matrix, own, pins, target.pairs.owners, target.held, share)


def slope(
    target: Target, theta: Float, data: tuple[float, Float, Float], own: Sequence[Placed], pins: Sequence[Placed],
    strengths: dict[str, float],
) -> Float:  # fmt: skip
    """Gradient of the cost, (n_free,)."""
    restrained = target.at_strengths(own, pins, strengths)
    return restrained.with_restraints(theta, data[0], data[1].copy())[1]


def exact_step(
    target: Target, theta: Float, data: tuple[float, Float, Float], own: Sequence[Placed], pins: Sequence[Placed],
    known: Factored,
) -> tuple[dict[str, float], float, Float]:  # fmt: skip
    """Fellner-Schall step from ``known.strengths``, change in effective parameters, and the minimum it is taken at."""
    downhill = slope(target, theta, data, own, pins, known.strengths)
    there = target.full(theta - 0.5 * known.inverse.times(downhill))
    wanted, moved = update(own, known.strengths, there, known.traces, target.held)
    log.debug(f"strengths {wanted} move by {moved:.3f} effective parameters")
    return wanted, moved, there


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
    if known is None:
        share = near.likeness.share if near is not None else {}
        likeness, strengths = foreseen(target, theta, data, own, pins, strengths, share)
    else:
        likeness = known.likeness
    first = last = 0.0
    for number in range(MOST_EXACT):
        if known is None or number > 0:
            found = factored(target, own, pins, strengths, data[2], likeness)
            if found is None:
                break
            known = found
        wanted, moved, there = exact_step(target, theta, data, own, pins, known)
        first = first or moved
        if not fresh:
            break
        # a likeness that leads nowhere is left for the plain step
        leads = number < 2 or moved <= LEADS * last
        strengths = likeness.follow(known.strengths, wanted, there) if leads else wanted
        if moved <= enough:
            break
        last = moved
    return strengths, first, known


def full_matrix(
    target: Target, theta: Float, own: Sequence[Placed], pins: Sequence[Placed], strengths: dict[str, float],
    share: Mapping[str, float], *, max_iterations: int, tolerance: float, settled: float,
) -> tuple[Fit, dict[str, float], Factored | None]:  # fmt: skip
    """Steps in the metric of N and strengths until neither changes anything, and N^-1 at the end.

    J'J is that of the last point from which a step went that lowered the rms residual by more than ``tolerance``.
    The last step is made with the strengths that are returned. Without N^-1 nothing is done.
    ``share``: of an earlier likeness.
    """
    history: list[float] = []
    stop, moving, known, last = Stop.MAX_ITERATIONS, True, None, np.inf
    data = target.data_equations(theta)
    likeness, strengths = foreseen(target, theta, data, own, pins, strengths, share)
    while True:
        if known is None or known.strengths != strengths or known.matrix is not data[2]:
            known = None  # its memory is that of the next
            known = factored(target, own, pins, strengths, data[2], likeness)
            if known is None:
                return Fit(theta, data[0], Stop.SINGULAR, (data[0],)), strengths, None
        if stop is Stop.NO_DESCENT or len(history) > max_iterations:
            break
        wanted, moved, there = exact_step(target, theta, data, own, pins, known)
        if not moving and moved < settled:
            stop = Stop.CONVERGED
            break
        if moved >= settled:
            # a likeness that leads nowhere is left for the plain step
            strengths = likeness.follow(strengths, wanted, there) if moved <= LEADS * last else wanted
        last = moved
        target = target.at_strengths(own, pins, strengths)
        steps = lbfgs(
            target.value_and_gradient, theta, known.metric, max_iterations=max_iterations, tolerance=CLOSE * tolerance
        )
        theta = steps.theta
        history += steps.history if not history else steps.history[1:]
        if steps.stop is Stop.NO_DESCENT:
            stop = steps.stop
        moving = steps.history[0] - steps.cost > 2.0 * tolerance * steps.cost
        if moving:
            data = target.data_equations(theta)
            likeness = _likeness(target, data[2], own, pins, likeness.share)
        else:
            data = (*target.data_gradient(theta), data[2])
    return Fit(theta, history[-1], stop, tuple(history)), strengths, known


def covariance(known: Factored, pins: Sequence[Placed], constraints: Float) -> Float | None:
    """Covariance of the free parameters in another gauge than that of the ``pins``, (n_free, n_free).

    With N + P'P inverted, C, the inverse of N on the surface A theta = const is

        C_A + C_A P' (1 - P C_A P')^-1 P C_A,    C_A = C - C A' (A C A')^-1 A C.

    ``constraints``: A, (k, n_parameters).  None where N is singular there.
    """
    free = known.inverse.free
    rows, constraints = as_rows(pins, known.inverse.n)[:, free], constraints[:, free]
    found = cholesky.square(known.inverse.root)
    across = found @ constraints.T
    if not (np.diag(constraints @ across) > 0.0).all():
        return None
    found -= across @ np.linalg.solve(constraints @ across, across.T)
    along = found @ rows.T
    left = np.eye(len(rows)) - rows @ along
    if np.linalg.eigvalsh(left).min(initial=1.0) < SINGULAR:
        return None
    found += along @ np.linalg.solve(left, along.T)
    return found
