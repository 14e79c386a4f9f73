"""The solver without the normal matrix: Gauss-Newton steps, strengths and uncertainties for thousands of crystals.

N = J'J + sum lambda S has n^2 elements and takes n^3 operations to invert; a product N v takes two passes over the
observations (normal_operator.py). So with more parameters than problem.MOST_DENSE

    steps       N x = -gradient/2 is solved by conjugate gradients. The preconditioner is M, the diagonal blocks of N
                and the columns of shared parameters, corrected where all data sets move alike;
    traces      tr(C S), C = N^-1, of estimated strengths: exactly for M^-1, and from random probes for the ratio of
                effective parameters by C and by M^-1. One solution C z serves all strengths, and the next solution
                starts from it. The ratio changes slowly, so few of the steps need new solutions;
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
from braggscale.fit.normal_operator import Layout, NormalOperator, Parts, parts_of_normal
from braggscale.fit.penalty import Penalty
from braggscale.fit.restraint_strengths import at_least, update
from braggscale.fit.restraints import Restraints
from braggscale.fit.solver import Ending, FitSettings, Memory, State, descend, settled
from braggscale.numerics.anderson import Mixing
from braggscale.numerics.array_types import Float
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.compiled.jacobian_products import COLUMNS
from braggscale.numerics.minimisers import Fit, Stop

log = logging.getLogger(__name__)

# Number of probes times number of parameters, and limits for the number of probes. The relative noise of a trace
# decreases with both numbers.
PROBED, FEWEST_PROBES, MOST_PROBES = 50_000, 8, 24
# If the fit changes by less than this share of its parameters, the solutions for the probes are not computed again.
PROBE_AGAIN = 5e-3
# A correction whose standard error is this share of the effective parameters has the weight 1/2; the largest ratio.
SURE, MOST_RATIO = 0.3, 4.0
# Tolerance of steps in rounds and in the last fit, and of the solutions for the probes. With 1e-2 for the latter the
# strength of a map that data sets share would be wrong by half.
STEP_TOLERANCE, LAST_STEP_TOLERANCE, PROBE_TOLERANCE = 1e-3, 1e-4, 3e-3
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
        probing = _Probing.of(state)
        point = probing.point(target.full(state.theta), None)
        strengths, known = target.restraints.strengths, probing.known(point, state.memory)
        precise = LAST_STEP_TOLERANCE if settings.esds else STEP_TOLERANCE
        if settings.esds:  # the last fit
            known = replace(known, ratio=None)
        history: list[float] = []
        stop, mixing = Stop.MAX_ITERATIONS, Mixing()
        for _ in range(limit if settings.esds else min(limit, ROUGH_STEPS)):
            moved, near = 0.0, None
            if strengths:
                strengths, moved, known, near = probing.strengths(point, strengths, known, mixing)
            cost, slope = probing.cost_gradient(point.theta, point.linear, strengths)
            history = history or [cost]
            normal = probing.normal(point, strengths, known)
            step = normal.solve(-0.5 * slope[:, None], precise, near, NEGLIGIBLE * cost)[:, 0]
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
        memory = replace(state.memory, solutions=known.solutions, ratio=known.ratio, parts=point.parts)
        target = target.at(strengths)
        return replace(state, target=target, theta=theta, before=state.theta, fits=fits, memory=memory)

    def finish(self, state: State) -> Ending:
        """Blocks of M^-1 for the covariance; probes for the effective parameters."""
        target, probing = state.target, _Probing.of(state)
        restraints, point = target.restraints, probing.point(target.full(state.theta), state.memory.parts)
        known = probing.known(point, state.memory)
        normal = probing.normal(point, restraints.strengths, known)
        solutions = normal.solve(probing.signs, PROBE_TOLERANCE, known.solutions)
        model = Penalty(restraints.model, len(target.base), probing.layout.starts)
        effective_dof = normal.effective_dof(probing.signs, solutions, model, restraints.gauge)
        covariance = probing.covariance(point, restraints)
        information = point.parts.blocks.diagonal()
        if (covariance.diagonal()[target.free] > 0).all() and np.isfinite(covariance.store).all():
            return Ending(state.theta, covariance, effective_dof, information)
        message = f"full matrix: {Stop.SINGULAR.value}; the scales are kept, without esds"
        return Ending(state.theta, None, effective_dof, information, message)


@dataclass(frozen=True, slots=True)
class _Point:
    """``theta``: all parameters, (n,).  ``linear``: J there.  ``parts``: blocks and columns of J'J, there or nearby."""

    theta: Float
    linear: Linear
    parts: Parts


@dataclass(frozen=True, slots=True)
class _Known:
    """Results of earlier probes.  ``solutions``: N^-1 z, (n, n_probes), zero before the first.

    ``products``: J'J ``solutions`` at a point nearby, (n, n_probes).
    ``ratio``: effective parameters by N^-1 over those by M^-1, of every kind, None before the first; it changes slowly.
    """

    solutions: Float
    products: Float
    ratio: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class _Probing:
    """Data of all steps of one fit.  ``signs``: the probes, zero for fixed parameters, (n, n_probes).

    ``rank``: of the penalties, by kind.
    """

    target: Target
    layout: Layout
    penalty: Penalty
    signs: Float
    rank: Mapping[str, float]

    @classmethod
    def of(cls, state: State) -> _Probing:
        """For the model and the restraints of a fit."""
        target, layout = state.target, Layout.of(state.problem.model)
        n = len(target.base)
        probes = int(np.clip(PROBED // n // COLUMNS * COLUMNS, FEWEST_PROBES, MOST_PROBES))
        signs = np.where(np.random.default_rng(0).random((n, probes)) < 0.5, -1.0, 1.0)
        signs[target.fixed] = 0.0
        rank = dict.fromkeys(target.restraints.strengths, 0.0)
        for where, restraint in target.restraints.model:
            if restraint.kind and not target.fixed[where].all():
                rank[restraint.kind] += restraint.rank
        return cls(target, layout, Penalty(target.restraints.placed, n, layout.starts), signs, rank)

    def known(self, point: _Point, memory: Memory) -> _Known:
        """Results of the probes in the memory, for a new point."""
        if memory.solutions is None:
            return _Known(np.zeros_like(self.signs), np.zeros_like(self.signs), memory.ratio)
        return _Known(memory.solutions, point.linear.product(memory.solutions), memory.ratio)

    def point(self, theta: Float, parts: Parts | None) -> _Point:
        """J at ``theta``, all parameters, (n,).  ``parts``: of J'J at a point nearby; None: they are computed."""
        linear = self.target.linearise(theta)
        return _Point(theta, linear, parts or parts_of_normal(self.target, linear, theta, self.layout))

    def normal(self, point: _Point, strengths: Mapping[str, float], known: _Known) -> NormalOperator:
        """N with earlier solutions for the probes in its preconditioner."""
        fixed = self.target.fixed
        normal = NormalOperator(point.linear, point.parts, self.layout, self.penalty, strengths, fixed)
        normal.deflate(known.solutions, known.products)
        return normal

    def covariance(self, point: _Point, restraints: Restraints) -> BlockMatrix:
        """Blocks of M^-1 without the conditions on means over data sets.

        Such a condition couples all data sets. Of P'P only the squares stand in the blocks, and there it would count as
        if it held each data set by itself: of 2000 stills var(g) came out a fifth too small.
        """
        layout, places = self.layout, np.arange(len(self.target.base))
        block = np.searchsorted(layout.starts, places, side="right")
        kept = [(where, restraint) for where, restraint in restraints.gauge if np.ptp(block[where]) == 0]
        penalty = Penalty([*restraints.model, *kept], len(places), layout.starts)
        normal = NormalOperator(point.linear, point.parts, layout, penalty, restraints.strengths, self.target.fixed)
        return normal.inverse

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
        self, point: _Point, strengths: dict[str, float], known: _Known, mixing: Mixing
    ) -> tuple[dict[str, float], float, _Known, Float | None]:
        """Strengths at the minimum of the quadratic that touches the cost at a point; as dense.strengths_nearby.

        Returns the strengths, the change of the fit in effective parameters, the results of the probes, and the step to
        the minimum. New solutions for the probes are computed if there are none yet, and if the fit would otherwise
        change by more than PROBE_AGAIN.
        """
        first = 0.0
        step: Float | None = None
        for _ in range(STRENGTH_STEPS):
            normal = self.normal(point, strengths, known)
            slope = point.linear.gradient + self.penalty.cost_gradient(point.theta, strengths)[1]
            step = normal.solve(-0.5 * slope[:, None], STEP_TOLERANCE, step, NEGLIGIBLE * point.linear.cost)
            there = point.theta + step[:, 0]
            new = known.ratio is None
            if new:
                known = self.probed(point, normal, known)
            wanted, moved = self.update(normal, strengths, there, known)
            if not new and moved > PROBE_AGAIN * len(point.theta):
                known = self.probed(point, normal, known)
                wanted, moved = self.update(normal, strengths, there, known)
            log.debug(f"strengths {wanted} move by {moved:.3f} effective parameters")
            first = first or moved
            strengths = at_least(mixing.next(strengths, wanted), self.target.restraints.least)
            if moved < CLOSE * settled(self.target):
                break
        return strengths, first, known, step

    def probed(self, point: _Point, normal: NormalOperator, known: _Known) -> _Known:
        """Solutions for the probes, and ratios of effective parameters from them.

        For a correction that has nearly vanished M^-1 is nearly exact, and the noise of the probes is larger than its
        effective parameters. So a ratio is moved towards 1, and the more so the larger its error is.
        """
        solutions = normal.solve(self.signs, PROBE_TOLERANCE, known.solutions)
        traces, rank, ratio = normal.traces(), self.rank, {}
        for kind, (rest, error) in normal.probed(self.signs, solutions).items():
            alone = max(rank[kind] - traces[kind], 1e-9)
            sure = 1.0 / (1.0 + (error / (SURE * alone)) ** 2)
            ratio[kind] = float(np.clip(1.0 - sure * rest / alone, 1.0 / MOST_RATIO, MOST_RATIO))
        return _Known(solutions, point.linear.product(solutions), ratio)

    def update(
        self, normal: NormalOperator, strengths: Mapping[str, float], there: Float, known: _Known
    ) -> tuple[dict[str, float], float]:
        """Fellner-Schall step from traces of M^-1 and the ratio of the probes; see restraint_strengths.update."""
        ratio, rank, restraints = known.ratio or {}, self.rank, self.target.restraints
        traces = normal.traces()
        whole = {
            kind: (rank[kind] - ratio[kind] * (rank[kind] - trace)) / strengths[kind] for kind, trace in traces.items()
        }
        alone = {kind: trace / strengths[kind] for kind, trace in traces.items()}
        return update(restraints.model, strengths, there, whole, self.target.fixed, alone, restraints.most_effective)
