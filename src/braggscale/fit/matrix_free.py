"""The solver without the normal matrix: Gauss-Newton steps, strengths and uncertainties for thousands of crystals.

N = J'J + sum lambda S has n^2 elements and takes n^3 operations to invert; a product N v takes two passes over the
observations (normal_operator.py). So with more parameters than problem.MOST_DENSE

    steps       N x = -gradient/2 is solved by conjugate gradients; the preconditioner M consists of the diagonal
                blocks of N and the columns of shared parameters;
    traces      tr(C S), C = N^-1, of estimated strengths: exactly for M^-1, and from random probes for the difference.
                One solution C z serves all strengths, and the next solution starts from it;
    effective   parameters: diag(C J'J) = 1 - diag(C sum lambda S), in the same way;
    covariance  of a data set: its block of M^-1. If there are many crystals, each contributes little to the intensities
                with which it is compared, and the neglected part is small. If a data set has more than one block, its
                esds are too small.

The results agree with those of the other solvers within the noise of the probes (tests/fit/test_solvers.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from braggscale.fit.jacobian import Linear
from braggscale.fit.least_squares import Target
from braggscale.fit.normal_operator import FINAL_TOLERANCE, Layout, NormalOperator, Parts, parts_of_normal
from braggscale.fit.penalty import Penalty
from braggscale.fit.restraint_strengths import at_least, update
from braggscale.fit.solver import Ending, FitSettings, State, descend, settled
from braggscale.numerics.anderson import Mixing
from braggscale.numerics.array_types import Float
from braggscale.numerics.minimisers import Fit, Stop

log = logging.getLogger(__name__)

PROBES = 24
# With a tolerance of 1e-2 for the probes, the strength of a nearly vanishing correction would drift from round to
# round. Its few effective parameters are a small difference: with 1e-3 in the last fit its steps would oscillate.
STEP_TOLERANCE, PROBE_TOLERANCE = 1e-4, 1e-3
NEGLIGIBLE = 3e-8  # a solution may miss this share of the cost: 0.01 of a chi^2 of half a million
STRENGTH_STEPS = 2  # between two evaluations of gradient and blocks
ROUGH_STEPS = 1  # Gauss-Newton steps of a fit that needs no uncertainties; the next round continues
CLOSE = 0.2  # steps at one point end below this share of the change that counts as converged
HALVINGS = 12


@dataclass(frozen=True, slots=True)
class MatrixFree:
    """See the module; ``Solver`` describes the phases."""

    def round(self, state: State, settings: FitSettings) -> State:
        """L-BFGS in the metric of a diagonal; nothing if strengths are estimated, because that needs ``solve``."""
        if settings.estimate and state.target.restraints.strengths:
            return state
        rough = descend(state.target, state.theta, None, None, settings)
        return replace(state, theta=rough.theta, fits=(*state.fits, ("L-BFGS", rough)))

    def solve(self, state: State, settings: FitSettings) -> State:
        """Gauss-Newton steps, with an update of estimated strengths before each."""
        limit, target = settings.full_matrix_max_iterations or 100, state.target
        probing = _Probing.of(state, FINAL_TOLERANCE if settings.esds else PROBE_TOLERANCE)
        point = probing.point(target.full(state.theta))
        strengths, solutions = target.restraints.strengths, state.memory.solutions
        if solutions is None:
            solutions = np.zeros_like(probing.signs)
        history: list[float] = []
        stop, mixing = Stop.MAX_ITERATIONS, Mixing()
        for _ in range(limit if settings.esds else min(limit, ROUGH_STEPS)):
            moved, near = 0.0, None
            if strengths:
                strengths, moved, solutions, near = probing.strengths(point, strengths, solutions, mixing)
            cost, slope = probing.cost_gradient(point.theta, point.linear, strengths)
            history = history or [cost]
            normal = probing.normal(point, strengths, solutions)
            step = normal.solve(-0.5 * slope[:, None], STEP_TOLERANCE, near, NEGLIGIBLE * cost)[:, 0]
            expected, tolerance = -float(slope @ step) / 2.0, settings.tolerance
            if 0.0 <= expected <= 2.0 * tolerance * tolerance * cost and moved < settled(target):
                stop = Stop.CONVERGED
                break
            better = probing.shortened(point, step, cost, strengths)
            if better is None:
                stop = Stop.NO_DESCENT
                break
            point, value = better
            history.append(value)
            if cost - value <= 2.0 * tolerance * cost and moved < settled(target):
                stop = Stop.CONVERGED
                break
        theta = point.theta[target.free]
        fits = (*state.fits, ("conjugate gradients", Fit(theta, history[-1], stop, tuple(history))))
        memory = replace(state.memory, solutions=solutions)
        target = target.at(strengths)
        return replace(state, target=target, theta=theta, before=state.theta, fits=fits, memory=memory)

    def finish(self, state: State) -> Ending:
        """Blocks of M^-1 for the covariance; probes for the effective parameters."""
        target, probing = state.target, _Probing.of(state, FINAL_TOLERANCE)
        restraints, solutions = target.restraints, state.memory.solutions
        if solutions is None:
            solutions = np.zeros_like(probing.signs)
        point = probing.point(target.full(state.theta))
        normal = probing.normal(point, restraints.strengths, solutions)
        solutions = normal.solve(probing.signs, FINAL_TOLERANCE, solutions)
        model = Penalty(restraints.model, len(target.base), probing.layout.starts)
        effective_dof = normal.effective_dof(probing.signs, solutions, model, restraints.gauge)
        covariance, information = normal.inverse, point.parts.blocks.diagonal()
        if (covariance.diagonal()[target.free] > 0).all() and np.isfinite(covariance.store).all():
            return Ending(state.theta, covariance, effective_dof, information)
        message = f"full matrix: {Stop.SINGULAR.value}; the scales stand, without esds"
        return Ending(state.theta, None, effective_dof, information, message)


@dataclass(frozen=True, slots=True)
class _Point:
    """``theta``: all parameters, (n,).  ``linear``: J there.  ``parts``: blocks and columns of J'J, there or nearby."""

    theta: Float
    linear: Linear
    parts: Parts


@dataclass(frozen=True, slots=True)
class _Probing:
    """Data of all steps of one fit.  ``signs``: the probes, zero for fixed parameters, (n, PROBES)."""

    target: Target
    layout: Layout
    penalty: Penalty
    signs: Float
    tolerance: float

    @classmethod
    def of(cls, state: State, tolerance: float) -> _Probing:
        """``tolerance``: of the solutions for the probes."""
        target, layout = state.target, Layout.of(state.problem.model)
        n = len(target.base)
        signs = np.where(np.random.default_rng(0).random((n, PROBES)) < 0.5, -1.0, 1.0)
        signs[target.fixed] = 0.0
        return cls(target, layout, Penalty(target.restraints.placed, n, layout.starts), signs, tolerance)

    def point(self, theta: Float) -> _Point:
        parts = parts_of_normal(self.target, theta, self.layout)
        return _Point(theta, self.target.linearise(theta), parts)

    def normal(self, point: _Point, strengths: Mapping[str, float], solutions: Float) -> NormalOperator:
        """N with earlier ``solutions`` for the probes in its preconditioner."""
        fixed = self.target.fixed
        normal = NormalOperator(point.linear, point.parts, self.layout, self.penalty, strengths, fixed)
        normal.deflate(solutions)
        return normal

    def cost_gradient(self, theta: Float, linear: Linear, strengths: Mapping[str, float]) -> tuple[float, Float]:
        """F and its gradient, (n,)."""
        cost, slope = self.penalty.cost_gradient(theta, strengths)
        return cost + linear.cost, slope + linear.gradient

    def shortened(
        self, point: _Point, step: Float, cost: float, strengths: Mapping[str, float]
    ) -> tuple[_Point, float] | None:
        """The point after the step, which is halved until it lowers the cost, and its cost; None if no length does."""
        length = 1.0
        for _ in range(HALVINGS):
            theta = point.theta + length * step
            linear = self.target.linearise(theta)
            value = linear.cost + self.penalty.cost_gradient(theta, strengths)[0]
            if np.isfinite(value) and value <= cost:
                return _Point(theta, linear, point.parts), value
            length *= 0.5
        return None

    def strengths(
        self, point: _Point, strengths: dict[str, float], solutions: Float, mixing: Mixing
    ) -> tuple[dict[str, float], float, Float, Float | None]:
        """Strengths at the minimum of the quadratic that touches the cost at a point; as dense.strengths_nearby.

        Returns them, the change of the fit in effective parameters, the solutions for the probes, and the step there.
        """
        first = 0.0
        step: Float | None = None
        for _ in range(STRENGTH_STEPS):
            normal = self.normal(point, strengths, solutions)
            solutions = normal.solve(self.signs, self.tolerance, solutions)
            slope = point.linear.gradient + self.penalty.cost_gradient(point.theta, strengths)[1]
            step = normal.solve(-0.5 * slope[:, None], PROBE_TOLERANCE, step, NEGLIGIBLE * point.linear.cost)
            there = point.theta + step[:, 0]
            whole, alone = normal.traces(self.signs, solutions)
            model = self.target.restraints.model
            most = self.target.restraints.most_effective
            wanted, moved = update(model, strengths, there, whole, self.target.fixed, alone, most)
            log.debug(f"strengths {wanted} move by {moved:.3f} effective parameters")
            first = first or moved
            strengths = at_least(mixing.next(strengths, wanted), self.target.restraints.least)
            if moved < CLOSE * settled(self.target):
                break
        return strengths, first, solutions, step
