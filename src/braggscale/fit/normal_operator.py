"""The normal matrix N = J'J + sum lambda S as an operator: products, solutions and traces without its n^2 elements.

A product N v takes two passes over the observations. Only a part M of N is formed: the blocks along the diagonal, one
for each data set, and the columns of components that data sets share (an arrow, block_matrix.py). M is the
preconditioner of the conjugate gradients. It leaves out the coupling of crystals through their common intensities.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from braggscale.fit.data_set_pairs import Pairs
from braggscale.fit.jacobian import Linear
from braggscale.fit.least_squares import Target
from braggscale.fit.penalty import Penalty, fix
from braggscale.models.gauge import as_rows
from braggscale.models.joint_model import JointModel, Placed
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.block_matrix import Arrow, BlockMatrix
from braggscale.numerics.conjugate_gradients import conjugate_gradients
from braggscale.numerics.partitions import results_in_order

log = logging.getLogger(__name__)

LARGEST_BLOCK = 1500  # a block with more parameters is split
# Relative increase of the diagonal of a block, which makes it invertible.
NEARLY_SINGULAR = 1e-9
# Of a component with more parameters only level and trend are among the directions in which all data sets change alike.
MOST_ALIKE = 32
# A direction with less than this share of the largest curvature is left out as a combination of the others.
ALIKE = 1e-10
# Tolerance of the solutions for the conditions of the gauge, each of which takes about one effective parameter.
GAUGE_TOLERANCE = 5e-2


@dataclass(frozen=True, slots=True)
class Layout:
    """Division of theta into blocks.

    ``starts``: first parameter of each block, and the end, (n_blocks + 1,); blocks are data sets and shared components.
    ``shared``: the parameters of the latter, in order, (n_shared,).
    ``together``: directions in which the parameters of all data sets change alike, (n, k).
    """

    starts: Int
    shared: Int
    together: Float

    @classmethod
    def of(cls, model: JointModel, largest: int = LARGEST_BLOCK) -> Layout:
        """One block for each data set.

        A block of more than ``largest`` parameters is split component by component, then parameter by parameter.
        """
        cuts = {0, model.n_parameters}
        common: set[tuple[int, int]] = set()
        for d, data_set in enumerate(model.data_sets):
            shared = data_set.configuration.get("shared", ()) if len(model.data_sets) > 1 else ()
            firsts = []
            for c, component in enumerate(data_set.components):
                where = model.where(d, c)
                if component.name in shared:
                    common.add((where.start, where.stop))
                else:
                    firsts.append(where.start)
            cuts |= {min(firsts)} if firsts else set()
        for begin, end in common:
            cuts |= {begin, end}
        finer: tuple[set[int], ...] = ({where.start for _, _, where in model.parts()}, set(range(model.n_parameters)))
        for inside in finer:
            large = [(a, b) for a, b in pairwise(sorted(cuts)) if b - a > largest]
            cuts |= {start for start in inside if any(a < start < b for a, b in large)}
        starts = np.array(sorted(cuts), np.int64)
        places = [np.arange(begin, end) for begin, end in sorted(common) if end - begin <= largest]
        return cls(starts, np.concatenate([np.zeros(0, np.int64), *places]), _together(model, common))


def _together(model: JointModel, common: Set[tuple[int, int]]) -> Float:
    """Directions in which the parameters of all data sets change alike, so that the common intensities follow: (n, k).

    A component with the same number of parameters in all data sets has one direction for each parameter, another one
    has a direction for its level and one for its trend.  ``common``: first parameter, and end, of components that data
    sets share; these have none.
    """
    places: dict[str, list[slice]] = {}
    for _, component, where in model.parts():
        if (where.start, where.stop) not in common:
            places.setdefault(component.name, []).append(where)
    columns = [np.zeros((model.n_parameters, 0))]
    for ranges in places.values():
        if len(ranges) < 2:
            continue
        widths = {where.stop - where.start for where in ranges}
        alike = len(widths) == 1 and max(widths) <= MOST_ALIKE
        column = np.zeros((model.n_parameters, max(widths) if alike else 2))
        for where in ranges:
            width = where.stop - where.start
            column[where] = np.eye(width) if alike else np.stack((np.ones(width), np.linspace(-1.0, 1.0, width)), 1)
        columns.append(column)
    return np.hstack(columns)


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of J'J that are formed: diagonal ``blocks``, and the columns of shared parameters, (n, n_shared).

    ``together``: J'J times ``Layout.together``, (n, k).
    """

    blocks: BlockMatrix
    cross: Float
    together: Float


def parts_of_normal(target: Target, linear: Linear, theta: Float, layout: Layout) -> Parts:
    """Parts of J'J at ``theta``, all parameters, (n,), where ``linear`` is J."""
    pairs = target.pairs
    by_sets = pairs is not None and len(pairs.owners.shared) == len(layout.shared)
    blocks, cross = _from_sets(pairs, linear, layout) if pairs and by_sets else _from_rows(target, theta, layout)
    return Parts(blocks, cross, linear.product(layout.together))


def _from_sets(pairs: Pairs, linear: Linear, layout: Layout) -> tuple[BlockMatrix, Float]:
    """Blocks and shared columns of J'J, data set by data set."""
    owners, result = pairs.owners, BlockMatrix.zeros(layout.starts)
    own, across, corner = pairs.arrow(linear)
    for first, block in zip(layout.starts.tolist(), result.blocks(), strict=False):
        places = owners.place[first : first + len(block)]
        block[...] = (own[owners.owner[first]] if owners.owner[first] >= 0 else corner)[np.ix_(places, places)]
    cross = np.empty((len(result), len(layout.shared)))
    cross[owners.members] = np.concatenate((across, corner))
    return result, cross


def _from_rows(target: Target, theta: Float, layout: Layout) -> tuple[BlockMatrix, Float]:
    """Blocks and shared columns of J'J by loops over pairs of nonzeros.  ``theta``: all parameters, (n,)."""
    from braggscale.numerics.compiled import jacobian_products

    cuts = target.lane_cuts(4)
    n, n_shared = len(theta), len(layout.shared)
    column = np.full(n, -1, np.int32)
    column[layout.shared] = np.arange(n_shared)

    def lane(k: int) -> tuple[Float, Float]:
        """The blocks of the data sets, and those with the shared parameters, from lane k."""
        part, cross = BlockMatrix.zeros(layout.starts), np.zeros((n, n_shared))
        where = cuts[k], cuts[k + 1]
        jacobian_products.block_matrices(*where, *target.arguments(), theta, *part.arguments(), column, cross)
        return part.store, cross

    results = results_in_order(lane, len(cuts) - 1)
    store, cross = next(results)
    for more, beside in results:
        store += more
        cross += beside
    result = BlockMatrix(layout.starts, store)
    for block in result.blocks():
        diagonal = np.diag(block).copy()
        block += block.T.copy()
        block[np.diag_indices(len(block))] -= diagonal
    return result, cross


class NormalOperator:
    """N at one point and one set of strengths.  Fixed parameters have neither row nor column.

    ``inverse``: the blocks of M^-1, zero for fixed parameters.
    """

    def __init__(
        self,
        linear: Linear,
        parts: Parts,
        layout: Layout,
        penalty: Penalty,
        strengths: Mapping[str, float],
        fixed: Bool,
    ) -> None:
        """``linear``, ``parts``: of J'J at the point.  ``penalty``: S by kind.  ``fixed``: (n,)."""
        self.linear, self.penalty, self.strengths, self.fixed = linear, penalty, strengths, fixed
        self.together = layout.together, parts.together
        whole = penalty.add_blocks(parts.blocks, strengths)
        for block in whole.blocks():  # limits steps in directions without curvature
            diagonal = np.diag(block)
            block[np.diag_indices(len(block))] += np.where(diagonal > 0.0, NEARLY_SINGULAR * diagonal, 1.0)
        fix(whole, fixed, 1.0)
        cross = parts.cross
        if fixed.any():
            cross = np.where(fixed[:, None] | fixed[layout.shared], 0.0, cross)
        self.arrow = Arrow(whole, cross, layout.shared)
        self.inverse = self.arrow.inverse
        fix(self.inverse, fixed, 0.0)
        self.coarse: tuple[Float, Float, Float] | None = None

    def product(self, v: Float) -> Float:
        """N v, (n, m)."""
        result = self.linear.product(v) + self.penalty.times(v, self.strengths)
        result[self.fixed] = 0.0
        return result

    def formed(self, v: Float) -> Float:
        """M^-1 v, (n, m)."""
        result = self.arrow.solve(v)
        result[self.fixed] = 0.0
        return result

    def deflate(self, vectors: Float, products: Float) -> None:
        """Solve exactly in the directions Z in which M and N differ most: the preconditioner becomes

            Q + (1 - Q N) M^-1 (1 - N Q),    Q = Z (Z'N Z)^-1 Z'

        (balancing: Mandel, Commun. Numer. Methods Eng. 9 (1993) 233). Z is ``Layout.together`` and ``vectors``,
        (n, m), solutions of an earlier problem of this kind, which consist mostly of such directions. Columns of zeros
        change nothing.  ``products``: J'J ``vectors``, (n, m); approximate values suffice, because the preconditioner
        stays symmetric and positive definite with them.
        """
        z, along = self.together
        if vectors.any():
            z, along = np.hstack((z, vectors)), np.hstack((along, products))
        free = ~self.fixed[:, None]
        z, along = z * free, (along + self.penalty.times(z, self.strengths)) * free
        size = np.einsum("nk,nk->k", z, along)
        some = size > 0.0
        if not some.any():
            return
        unit = 1.0 / np.sqrt(size[some])
        z, along = z[:, some] * unit, along[:, some] * unit
        values, axes = np.linalg.eigh(z.T @ along)
        kept = values > ALIKE * values[-1]
        self.coarse = z, along, (axes[:, kept] / values[kept]) @ axes[:, kept].T

    def precondition(self, v: Float) -> Float:
        """The preconditioner times v, an approximation of N^-1 v, (n, m)."""
        if self.coarse is None:
            return self.formed(v)
        z, along, inverse = self.coarse
        inside = inverse @ (z.T @ v)
        outside = self.formed(v - along @ inside)
        return np.asarray(outside + z @ (inside - inverse @ (along.T @ outside)))

    def solve(self, right: Float, tolerance: float, start: Float | None = None, floor: float = 0.0) -> Float:
        """N^-1 ``right``, (n, m); ``tolerance``, ``start``, ``floor`` as in conjugate_gradients."""
        right = np.where(self.fixed[:, None], 0.0, right)
        x, steps = conjugate_gradients(self.product, self.precondition, right, start, tolerance=tolerance, floor=floor)
        log.debug(f"conjugate gradients: {steps} steps for {right.shape[1]} right sides")
        return x

    def traces(self) -> dict[str, float]:
        """lambda tr(M^-1 S) of every kind."""
        return {kind: lam * self.penalty.by_kind[kind].trace(self.inverse) for kind, lam in self.strengths.items()}

    def probed(self, signs: Float, solutions: Float) -> dict[str, tuple[float, float]]:
        """lambda tr((N^-1 - M^-1) S) of every kind, from random probes, and its standard error.

        ``signs``: the probes z, 1 or -1 at random, (n, m).  ``solutions``: N^-1 z, (n, m).  E[z' N^-1 S z] = tr(N^-1
        S): Hutchinson, Commun. Stat. Simul. Comput. 19 (1990) 433.
        """
        rest, found = solutions - self.formed(signs), {}
        for kind, strength in self.strengths.items():
            each = strength * np.einsum("nm,nm->m", signs, self.penalty.by_kind[kind].times(rest))
            found[kind] = float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))
        return found

    def effective_dof(
        self, signs: Float, solutions: Float, model: Penalty, gauge_restraints: Sequence[Placed]
    ) -> Float:
        """diag(N^-1 J'J) = 1 - diag(N^-1 sum lambda S), (n,), in the same way.

        ``signs``, ``solutions``: z and N^-1 z, (n, m).  ``model``: the restraints of the model.
        ``gauge_restraints``: squares of levels m theta. Their part, lambda m (N^-1 m), is computed exactly, because
        they couple all data sets and are so strong that they would dominate the noise of the probes.
        """
        rest = solutions - self.formed(signs)
        blocks = model.add_blocks(BlockMatrix.zeros(self.inverse.starts), self.strengths)
        left = np.mean(signs * model.times(rest, self.strengths), axis=1)
        pairs = zip(self.inverse.blocks(), blocks.blocks(), strict=True)
        left += np.concatenate([np.einsum("ij,ji->i", inverse, block) for inverse, block in pairs])
        levels = np.ascontiguousarray(as_rows(gauge_restraints, len(left)).T)
        levels[self.fixed] = 0.0
        if len(gauge_restraints):
            left += np.einsum("nk,nk->n", levels, self.solve(levels, GAUGE_TOLERANCE))
        return np.where(self.fixed, 0.0, 1.0 - left)
