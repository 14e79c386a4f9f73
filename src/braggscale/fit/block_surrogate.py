"""How estimated strengths move, from a likeness of the normal matrix that is inverted at little cost.

A Fellner-Schall step G (restraint_strengths.py) needs the minimum theta and the traces tr(C S), C = N^-1: n^3
operations. How G depends on the strengths is known well enough from M, the blocks of N along its diagonal: one for each
data set, and what data sets share. With an exact step at lambda_0, and theta_0 the minimum there,

    ln G(lambda) = ln G_M(lambda) + ln G(lambda_0)/G_M(lambda_0)    of every kind,
    M(lambda) theta = M(lambda_0) theta_0.

The fixed point of that costs no n^3, and few exact steps lead from there to that of G. It has no say in where they end:
that is where the exact step asks for no change. With the columns of shared parameters in it (an arrow, block_matrix.py)
M would be nearer to N, but need not be positive definite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from braggscale.fit.data_set_pairs import Owners
from braggscale.fit.penalty import Penalty, hold
from braggscale.fit.restraint_strengths import update
from braggscale.models.joint_model import Placed
from braggscale.numerics.anderson import MOST_CHANGE, Mixing
from braggscale.numerics.array_types import Bool, Float
from braggscale.numerics.block_matrix import BlockMatrix

# Steps between two exact ones, and the relative change that ends them.
MOST_STEPS, ALIKE = 15, 3e-3


class Likeness:
    """M at any strengths, for one J'J.  ``share``: G/G_M of every kind at the last exact step."""

    def __init__(
        self, matrix: Float, own: Sequence[Placed], pins: Sequence[Placed], owners: Owners, held: Bool,
        share: Mapping[str, float],
    ) -> None:  # fmt: skip
        """``matrix``: J'J, (n, n).  ``own``, ``pins``: restraints of the model and of the gauge.  ``held``: (n,)."""
        self.share = dict(share)
        cuts = np.flatnonzero(np.diff(owners.owner)) + 1
        starts = np.concatenate(([0], cuts, [len(matrix)])).astype(np.int64)
        self.own, self.held = own, held
        self.data = BlockMatrix.zeros(starts)
        for first, block in zip(starts.tolist(), self.data.blocks(), strict=False):
            block[...] = matrix[first : first + len(block), first : first + len(block)]
        self.penalty = Penalty([*own, *pins], len(matrix), starts)

    def blocks(self, strengths: Mapping[str, float]) -> BlockMatrix:
        """M; of held parameters the identity."""
        result = self.penalty.add_blocks(self.data, strengths)
        hold(result, self.held, 1.0)
        return result

    def _step(self, strengths: Mapping[str, float], inverse: BlockMatrix, theta: Float) -> dict[str, float]:
        """G_M.  ``inverse``: M^-1, whose held parameters are zeroed.  ``theta``: the minimum."""
        hold(inverse, self.held, 0.0)
        traces = {kind: self.penalty.by_kind[kind].trace(inverse) for kind in strengths}
        return update(self.own, strengths, theta, traces, self.held)[0]

    def follow(
        self, strengths: dict[str, float], exact: Mapping[str, float] | None, theta: Float, slope: Float | None = None
    ) -> dict[str, float]:
        """Where steps lead that begin with the ``exact`` one from ``strengths``, at most MOST_CHANGE from there.

        ``exact``: None where it is not known: then with the last known share of G in G_M, or that of one.
        ``theta``: the minimum with ``strengths``, (n,), or where the cost has the gradient ``slope``, (n,).
        """
        blocks = self.blocks(strengths)
        right, inverse = blocks.times(theta[:, None]), blocks.inverse()
        if inverse is None:
            return dict(exact or strengths)
        if slope is not None:
            right -= 0.5 * slope[:, None]
            theta = inverse.times(right)[:, 0]
        alike = self._step(strengths, inverse, theta)
        if exact is not None:
            self.share = {kind: exact[kind] / value for kind, value in alike.items()}
        at, image, mixing = strengths, self._shared(alike), Mixing()
        for _ in range(MOST_STEPS):
            new = {
                kind: float(np.clip(value, strengths[kind] / MOST_CHANGE, strengths[kind] * MOST_CHANGE))
                for kind, value in mixing.next(at, image).items()
            }
            inverse = self.blocks(new).inverse()
            if inverse is None:
                break
            at = new
            there = inverse.times(right)[:, 0]
            image = self._shared(self._step(at, inverse, there))
            if all(abs(np.log(image[kind] / at[kind])) < ALIKE for kind in at):
                break
        return at

    def _shared(self, alike: Mapping[str, float]) -> dict[str, float]:
        return {kind: self.share.get(kind, 1.0) * value for kind, value in alike.items()}
