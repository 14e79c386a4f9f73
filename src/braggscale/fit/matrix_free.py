"""The full matrix without the matrix: Gauss-Newton steps, strengths and uncertainties for thousands of crystals.

N = J'J + sum lambda S has n^2 numbers and takes n^3 operations to invert; a product N v takes two passes over the
observations. So beyond fit_scales.MOST_DENSE parameters

    steps       N x = -gradient/2 by conjugate gradients. The preconditioner M is what can be formed of N: the blocks
                along the diagonal, one per data set, and the columns of components that data sets share (an arrow,
                block_matrix.py). What it leaves out is how crystals hold each other through the intensities;
    traces      tr(C S) = E[z' S C z], C = N^-1, over random signs z: Hutchinson, Commun. Stat. Simul. Comput. 19 (1990)
                433. One solution C z serves all strengths, and is where the next solution starts. The share of M^-1
                is known exactly; the probes only tell what it leaves out;
    effective   parameters: diag(C J'J) = 1 - diag(C sum lambda S), in the same way;
    covariance  of a data set: its block of M^-1. With many crystals, each of which contributes little to the
                intensities that it is compared with, what they add is small. Where a data set is more than one
                block, its esds are too small.

The same answers as from the matrix, within the noise of the probes (tests/test_implicit.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from braggscale.fit.jacobian import Linear
from braggscale.fit.least_squares import Target
from braggscale.fit.penalty import Penalty, hold
from braggscale.fit.restraint_strengths import update
from braggscale.models.gauge import as_rows
from braggscale.models.joint_model import JointModel, Placed
from braggscale.numerics.anderson import Mixing
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.block_matrix import Arrow, BlockMatrix
from braggscale.numerics.compiled import jacobian_products
from braggscale.numerics.conjugate_gradients import conjugate_gradients
from braggscale.numerics.minimisers import Fit, Stop
from braggscale.numerics.partitions import run_lanes

log = logging.getLogger(__name__)

PROBES = 24
# Probes to 1e-2 would let the strength of a correction that is nearly nothing wander from round to round. Few effective
# parameters are what is left of many: at the end, with probes good to 1e-3, steps of such a one go to and fro.
STEP_TOLERANCE, PROBE_TOLERANCE, FINAL_TOLERANCE = 1e-4, 1e-3, 1e-4
NEGLIGIBLE = 3e-8  # share of the cost that a solution need not gain: 0.01 in chi^2 where it is half a million
STRENGTH_STEPS = 2  # between two looks at gradient and blocks
LARGEST_BLOCK = 1500  # a block with more parameters is split
HALVINGS = 12


@dataclass(frozen=True, slots=True)
class Implicit:
    """What came out; see fit_scales.Outcome.  ``covariance``: None where a block cannot be inverted.

    ``solutions``: of the probes, to start the next fit of the same problem with, (n, PROBES).
    ``information``: the diagonal of J'J, (n,), zeros without esds.
    """

    fit: Fit
    strengths: dict[str, float]
    covariance: BlockMatrix | None
    influence: Float
    solutions: Float
    information: Float


@dataclass(frozen=True, slots=True)
class Layout:
    """``starts``: of the blocks in theta, and its end: data sets, and components that several share.

    ``shared``: the parameters of the latter, in order.
    """

    starts: Int
    shared: Int

    @classmethod
    def of(cls, model: JointModel) -> Layout:
        """Data sets as blocks; where one would be too large component by component, then parameter by parameter."""
        cuts = {0, model.n_parameters}
        common: set[tuple[int, int]] = set()
        for d, data_set in enumerate(model.data_sets):
            shared = data_set.configuration.get("shared", ()) if len(model.data_sets) > 1 else ()
            mine = []
            for c, component in enumerate(data_set.components):
                where = model.where(d, c)
                if component.name in shared:
                    common.add((where.start, where.stop))
                else:
                    mine.append(where.start)
            cuts |= {min(mine)} if mine else set()
        for begin, end in common:
            cuts |= {begin, end}
        finer: tuple[set[int], ...] = ({where.start for _, _, where in model.parts()}, set(range(model.n_parameters)))
        for inside in finer:
            large = [(a, b) for a, b in pairwise(sorted(cuts)) if b - a > LARGEST_BLOCK]
            cuts |= {start for start in inside if any(a < start < b for a, b in large)}
        starts = np.array(sorted(cuts), np.int64)
        places = [np.arange(begin, end) for begin, end in sorted(common) if end - begin <= LARGEST_BLOCK]
        return cls(starts, np.concatenate([np.zeros(0, np.int64), *places]))


@dataclass(frozen=True, slots=True)
class Parts:
    """What is formed of J'J: ``blocks`` along the diagonal and the columns of shared parameters, (n, n_shared)."""

    blocks: BlockMatrix
    cross: Float


def parts_of_normal(target: Target, theta: Float, layout: Layout) -> Parts:
    """Blocks and shared columns of J'J at ``theta``."""
    cuts = target.lane_cuts(4)
    n, n_shared = len(theta), len(layout.shared)
    column = np.full(n, -1, np.int32)
    column[layout.shared] = np.arange(n_shared)

    def lane(k: int) -> tuple[Float, Float]:
        part, cross = BlockMatrix.zeros(layout.starts), np.zeros((n, n_shared))
        where = cuts[k], cuts[k + 1]
        jacobian_products.block_matrices(*where, *target.arguments(), theta, *part.arguments(), column, cross)
        return part.store, cross

    results = run_lanes(lane, len(cuts) - 1)
    store, cross = results[0]
    for more, beside in results[1:]:
        store += more
        cross += beside
    result = BlockMatrix(layout.starts, store)
    for block in result.blocks():
        diagonal = np.diag(block).copy()
        block += block.T.copy()
        block[np.diag_indices(len(block))] -= diagonal
    return Parts(result, cross)


def minimise(
    target: Target, own: Sequence[Placed], pins: Sequence[Placed], strengths: dict[str, float], layout: Layout,
    start: Float, *, max_iterations: int, tolerance: float, esds: bool, settled: float,
    solutions: Float | None = None,
) -> Implicit:  # fmt: skip
    """Gauss-Newton steps from ``start`` (free parameters); before each the strengths that are estimated.

    ``own``, ``pins``: restraints of the model and of the gauge.
    ``settled``: change in effective parameters that counts as none.  ``solutions``: of the probes in an earlier fit.
    """
    n = len(target.base)
    penalty = Penalty([*own, *pins], n, layout.starts)
    held = target.held
    signs = np.where(np.random.default_rng(0).random((n, PROBES)) < 0.5, -1.0, 1.0)
    signs[held] = 0.0
    theta = target.full(start)
    parts = parts_of_normal(target, theta, layout)
    linear = target.linearise(theta)
    if solutions is None:
        solutions = np.zeros_like(signs)
    history: list[float] = []
    stop = Stop.MAX_ITERATIONS
    mixing = Mixing()
    probe = FINAL_TOLERANCE if esds else PROBE_TOLERANCE
    for _ in range(max_iterations):
        moved, near = 0.0, None
        if strengths:
            strengths, moved, solutions, near = _strengths(
                penalty, linear, parts, layout, theta, held, own, strengths, signs, solutions, settled, mixing, probe
            )
        cost, slope = penalty.cost_gradient(theta, strengths)
        cost, slope = cost + linear.cost, slope + linear.gradient
        history = history or [cost]
        normal = _Normal(linear, parts, layout, penalty, strengths, held)
        if solutions.any():
            normal.deflate(solutions)
        step = normal.solve(-0.5 * slope[:, None], STEP_TOLERANCE, near, NEGLIGIBLE * cost)[:, 0]
        expected = -float(slope @ step) / 2.0
        if 0.0 <= expected <= 2.0 * tolerance * tolerance * cost and moved < settled:
            stop = Stop.CONVERGED
            break
        length, better = 1.0, None
        for _ in range(HALVINGS):
            better = target.linearise(theta + length * step)
            value = better.cost + penalty.cost_gradient(theta + length * step, strengths)[0]
            if np.isfinite(value) and value <= cost:
                break
            length, better = 0.5 * length, None
        if better is None:
            stop = Stop.NO_DESCENT
            break
        theta, linear = theta + length * step, better
        history.append(value)
        if cost - value <= 2.0 * tolerance * cost and moved < settled:
            stop = Stop.CONVERGED
            break
    fit = Fit(theta[target.free], history[-1], stop, tuple(history))
    if not esds:
        return Implicit(fit, strengths, None, np.zeros(n), solutions, np.zeros(n))
    parts = parts_of_normal(target, theta, layout)
    normal = _Normal(linear, parts, layout, penalty, strengths, held)
    if solutions.any():
        normal.deflate(solutions)
    solutions = normal.solve(signs, FINAL_TOLERANCE, solutions)
    influence = normal.influence(signs, solutions, Penalty(own, n, layout.starts), pins)
    covariance = normal.inverse
    determined = (covariance.diagonal()[target.free] > 0).all() and np.isfinite(covariance.store).all()
    information = parts.blocks.diagonal()
    return Implicit(fit, strengths, covariance if determined else None, influence, solutions, information)


class _Normal:
    """N = J'J + sum lambda S at one point: products, solutions, traces. Held parameters have neither row nor column."""

    def __init__(
        self, linear: Linear, parts: Parts, layout: Layout, penalty: Penalty, strengths: dict[str, float], held: Bool
    ) -> None:
        self.linear, self.penalty, self.strengths, self.held = linear, penalty, strengths, held
        whole = penalty.add_blocks(parts.blocks, strengths)
        for block in whole.blocks():  # directions of which nothing is known must not run away
            diagonal = np.diag(block)
            block[np.diag_indices(len(block))] += 1e-9 * max(float(diagonal.max()), 1.0) + 1e-9 * diagonal
        hold(whole, held, 1.0)
        cross = parts.cross
        if held.any():
            cross = np.where(held[:, None] | held[layout.shared], 0.0, cross)
        self.arrow = Arrow(whole, cross, layout.shared)
        self.inverse = self.arrow.inverse
        hold(self.inverse, held, 0.0)
        self.coarse: tuple[Float, Float] | None = None

    def product(self, v: Float) -> Float:
        """N v, (n, m)."""
        found = self.linear.product(v) + self.penalty.times(v, self.strengths)
        found[self.held] = 0.0
        return found

    def formed(self, v: Float) -> Float:
        """M^-1 v, M what is formed of N."""
        found = self.arrow.solve(v)
        found[self.held] = 0.0
        return found

    def deflate(self, vectors: Float) -> None:
        """Take directions in which N is much softer than M into the preconditioner: M^-1 + Z (Z'N Z)^-1 Z'.

        ``vectors``: Z, solutions of an earlier problem of this kind, (n, m): N^-1 of anything consists mostly of them.
        """
        z = np.linalg.qr(vectors)[0]
        coarse = z.T @ self.product(z)
        self.coarse = z, np.linalg.inv(0.5 * (coarse + coarse.T) + 1e-12 * np.trace(coarse) * np.eye(len(coarse)))

    def precondition(self, v: Float) -> Float:
        """Of the conjugate gradients."""
        found = self.formed(v)
        if self.coarse is not None:
            z, inverse = self.coarse
            found += z @ (inverse @ (z.T @ v))
        return found

    def solve(self, right: Float, tolerance: float, start: Float | None = None, floor: float = 0.0) -> Float:
        """N^-1 ``right``, (n, m); ``tolerance``, ``start``, ``floor`` as in conjugate_gradients."""
        right = np.where(self.held[:, None], 0.0, right)
        x, steps = conjugate_gradients(self.product, self.precondition, right, start, tolerance=tolerance, floor=floor)
        log.debug(f"conjugate gradients: {steps} steps for {right.shape[1]} right sides")
        return x

    def traces(self, signs: Float, solutions: Float) -> dict[str, float]:
        """tr(C S) of every kind: exactly for the blocks by themselves, by the probes for what they leave out."""
        rest = solutions - self.formed(signs)
        found = {}
        for kind in self.strengths:
            penalty = self.penalty.by_kind[kind]
            found[kind] = penalty.trace(self.inverse) + float(
                np.mean(np.einsum("nm,nm->m", signs, penalty.times(rest)))
            )
        return found

    def influence(self, signs: Float, solutions: Float, own: Penalty, pins: Sequence[Placed]) -> Float:
        """diag(C J'J) = 1 - diag(C sum lambda S), (n,), in the same way.

        ``own``: the restraints of the model.  ``pins``: of the gauge, squares of levels m theta, whose share is exact,
        lambda m (C m): they couple all data sets, and are so strong that probes would see little else.
        """
        rest = solutions - self.formed(signs)
        blocks = own.add_blocks(BlockMatrix.zeros(self.inverse.starts), self.strengths)
        left = np.mean(signs * own.times(rest, self.strengths), axis=1)
        left += np.concatenate(
            [
                np.einsum("ij,ji->i", mine, into)
                for mine, into in zip(self.inverse.blocks(), blocks.blocks(), strict=True)
            ]
        )
        levels = np.ascontiguousarray(as_rows(pins, len(left)).T)
        levels[self.held] = 0.0
        if len(pins):
            left += np.einsum("nk,nk->n", levels, self.solve(levels, FINAL_TOLERANCE))
        return np.where(self.held, 0.0, 1.0 - left)


def _strengths(
    penalty: Penalty, linear: Linear, parts: Parts, layout: Layout, theta: Float, held: Bool, own: Sequence[Placed],
    strengths: dict[str, float], signs: Float, solutions: Float, settled: float, mixing: Mixing,
    probe: float,
) -> tuple[dict[str, float], float, Float, Float | None]:  # fmt: skip
    """Strengths at the minimum of the quadratic that touches the cost at ``theta``; as fit_scales._strengths_nearby.

    Also returns the solutions of the probes, to within ``probe``, and the step there.
    """
    first = 0.0
    step: Float | None = None
    for _ in range(STRENGTH_STEPS):
        normal = _Normal(linear, parts, layout, penalty, strengths, held)
        if solutions.any():
            normal.deflate(solutions)
        solutions = normal.solve(signs, probe, solutions)
        slope = linear.gradient + penalty.cost_gradient(theta, strengths)[1]
        step = normal.solve(-0.5 * slope[:, None], PROBE_TOLERANCE, step, NEGLIGIBLE * linear.cost)
        there = theta + step[:, 0]
        wanted, moved = update(own, strengths, there, normal.traces(signs, solutions), held)
        log.debug(f"strengths {wanted} move by {moved:.3f} effective parameters")
        first = first or moved
        strengths = mixing.next(strengths, wanted)
        if moved < 0.2 * settled:
            break
    return strengths, first, solutions, step
