"""Predict updates of estimated strengths from the block diagonal of the normal matrix, which is cheap to invert.

A Fellner-Schall step G (restraint_strengths.py) needs the minimum theta and the traces tr(C S), C = N^-1, which
take n^3 operations. The dependence of G on the strengths can be predicted well enough from the block diagonal M of
N: one block for each data set, and one for shared parameters. If an exact step has been made at lambda_0, where
theta_0 is the minimum,

    ln G(lambda) = ln G_M(lambda) + ln G(lambda_0)/G_M(lambda_0)    of every kind,
    M(lambda) theta = M(lambda_0) theta_0.

The fixed point of this approximation takes no n^3 operations, and from there few exact steps lead to the fixed
point of G. The surrogate changes the path but not the fixed point, at which an exact step changes nothing. If M
also had the columns of shared parameters (an arrow, block_matrix.py), it would be nearer to N, but might not be
positive definite.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from braggscale.fit.data_set_pairs import Owners
from braggscale.fit.penalty import Penalty, fix
from braggscale.fit.restraint_strengths import at_least, update
from braggscale.fit.restraints import Restraints
from braggscale.numerics.anderson import MOST_CHANGE, Mixing
from braggscale.numerics.array_types import Bool, Float
from braggscale.numerics.block_matrix import BlockMatrix

# Most steps with the surrogate between two exact ones, and the relative change at which they end.
MOST_STEPS, NO_CHANGE = 15, 3e-3


class BlockSurrogate:
    """M at any strengths, for one J'J.  ``step_ratio``: G/G_M of every kind at the last exact step."""

    def __init__(
        self, matrix: Float, restraints: Restraints, owners: Owners, fixed: Bool, step_ratio: Mapping[str, float]
    ) -> None:
        """``matrix``: J'J of all n parameters, (n, n).  ``owners``: the data set of each parameter.

        ``fixed``: parameters that keep their values, (n,).  ``step_ratio``: of an earlier surrogate; it is 1 for kinds
        that are not named.
        """
        self.step_ratio = dict(step_ratio)
        cuts = np.flatnonzero(np.diff(owners.owner)) + 1
        starts = np.concatenate(([0], cuts, [len(matrix)])).astype(np.int64)
        self.restraints, self.fixed = restraints, fixed
        self.data = BlockMatrix.zeros(starts)
        for first, block in zip(starts.tolist(), self.data.blocks(), strict=False):
            block[...] = matrix[first : first + len(block), first : first + len(block)]
        self.penalty = Penalty(restraints.placed, len(matrix), starts)

    def blocks(self, strengths: Mapping[str, float]) -> BlockMatrix:
        """M; for fixed parameters the identity."""
        result = self.penalty.add_blocks(self.data, strengths)
        fix(result, self.fixed, 1.0)
        return result

    def _step(self, strengths: Mapping[str, float], inverse: BlockMatrix, theta: Float) -> dict[str, float]:
        """G_M.  ``inverse``: M^-1, whose fixed parameters are zeroed.  ``theta``: the minimum, (n,)."""
        fix(inverse, self.fixed, 0.0)
        traces = {kind: self.penalty.by_kind[kind].trace(inverse) for kind in strengths}
        most = self.restraints.most_effective
        return update(self.restraints.model, strengths, theta, traces, self.fixed, most_effective=most)[0]

    def follow(
        self, strengths: dict[str, float], exact: Mapping[str, float] | None, theta: Float, slope: Float | None = None
    ) -> dict[str, float]:
        """The fixed point of steps with the surrogate that begin at ``strengths``.

        The strengths change by at most a factor MOST_CHANGE.
        ``exact``: the result of an exact step; None if it is not known: then the last step ratio is used.
        ``theta``: the minimum with ``strengths``, (n,); or any other point, with ``slope``, the gradient of the cost
        there, (n,).
        """
        blocks = self.blocks(strengths)
        right, inverse = blocks.times(theta[:, None]), blocks.inverse()
        if inverse is None:
            return dict(exact or strengths)
        if slope is not None:
            right -= 0.5 * slope[:, None]
            theta = inverse.times(right)[:, 0]
        surrogate = self._step(strengths, inverse, theta)
        if exact is not None:
            self.step_ratio = {kind: exact[kind] / value for kind, value in surrogate.items()}
        at, image, mixing = strengths, self._corrected(surrogate), Mixing()
        for _ in range(MOST_STEPS):
            new = {
                kind: float(np.clip(value, strengths[kind] / MOST_CHANGE, strengths[kind] * MOST_CHANGE))
                for kind, value in mixing.next(at, image).items()
            }
            new = at_least(new, self.restraints.least)
            inverse = self.blocks(new).inverse()
            if inverse is None:
                break
            at = new
            there = inverse.times(right)[:, 0]
            image = self._corrected(self._step(at, inverse, there))
            if all(abs(np.log(image[kind] / at[kind])) < NO_CHANGE for kind in at):
                break
        return at

    def _corrected(self, step: Mapping[str, float]) -> dict[str, float]:
        found = {kind: self.step_ratio.get(kind, 1.0) * value for kind, value in step.items()}
        return at_least(found, self.restraints.least)
