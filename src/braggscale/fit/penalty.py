"""sum lambda S of all restraints without an n x n matrix: products, traces, and the blocks along the diagonal.

Sparse parts are stored as a sparse matrix. Restraints on means over many data sets, which are not sparse, are
stored as vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braggscale.models.joint_model import Placed
from braggscale.models.restraints import MeanPenalty
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.block_matrix import BlockMatrix


@dataclass(frozen=True, slots=True)
class _Kind:
    """S of one kind, D + sum c v v' with means v over many blocks; for restraints without a kind lambda S.

    ``sparse``: D, (n, n).  ``levels``: v in columns, (n, k), and c, (k,).  ``place``, ``value``: elements of S
    within the blocks, with their positions in the store.
    """

    sparse: Any
    levels: Float
    share: Float
    place: Int
    value: Float

    def trace(self, blocks: BlockMatrix) -> float:
        """tr(B S) of a matrix B of blocks, where fixed parameters have zeros."""
        return float(self.value @ blocks.store[self.place])

    def times(self, x: Float) -> Float:
        """S x, (n, m)."""
        found: Float = self.sparse @ x
        if len(self.share):
            found += self.levels @ (self.share[:, None] * (self.levels.T @ x))
        return found


class Penalty:
    """sum lambda S of all restraints, by kind: a sparse matrix, and vectors for levels of many data sets."""

    def __init__(self, restraints: Sequence[Placed], n: int, blocks: Int) -> None:
        """``blocks``: first parameter of each diagonal block, and the end."""
        kinds = {restraint.kind for _, restraint in restraints}
        self.by_kind = {kind: _gathered(restraints, kind, n, blocks) for kind in sorted(kinds)}
        self.pull = np.zeros(n)
        self.constant = 0.0
        for where, restraint in restraints:
            if restraint.target:
                ones = np.ones(len(restraint.diagonal()))
                toward = restraint.strength * restraint.target * (restraint.penalty @ ones)
                self.pull[where] += toward
                self.constant += restraint.target * float(toward.sum())

    def times(self, x: Float, strengths: Mapping[str, float]) -> Float:
        """sum lambda S x, (n, m)."""
        total = np.zeros_like(x)
        for kind, found in self.by_kind.items():
            total += (strengths[kind] if kind else 1.0) * found.times(x)
        return total

    def cost_gradient(self, theta: Float, strengths: Mapping[str, float]) -> tuple[float, Float]:
        """sum lambda (theta - t)'S(theta - t) and its gradient, (n,).  ``theta``: (n,)."""
        product = self.times(theta[:, None], strengths)[:, 0]
        cost = float(theta @ product - 2.0 * theta @ self.pull) + self.constant
        return cost, 2.0 * (product - self.pull)

    def add_blocks(self, blocks: BlockMatrix, strengths: Mapping[str, float]) -> BlockMatrix:
        """``blocks`` plus the blocks of sum lambda S."""
        store = blocks.store.copy()
        for kind, of_kind in self.by_kind.items():
            np.add.at(store, of_kind.place, (strengths[kind] if kind else 1.0) * of_kind.value)
        return BlockMatrix(blocks.starts, store)


def _gathered(restraints: Sequence[Placed], kind: str, n: int, blocks: Int) -> _Kind:
    """All restraints of one kind."""
    from scipy.sparse import csr_array

    rows, columns, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    levels: list[Float] = []
    share: list[float] = []
    for where, restraint in restraints:
        if restraint.kind != kind:
            continue
        index = np.arange(where.start, where.stop) if isinstance(where, slice) else where
        strength, penalty = 1.0 if kind else restraint.strength, restraint.penalty
        first, last = np.searchsorted(blocks, index[[0, -1]], side="right")
        if isinstance(penalty, MeanPenalty) and first < last:
            i, j = _pairs(penalty.starts if penalty.within else np.zeros(1, np.int64))
            product = penalty.within * penalty.row[i] * penalty.row[j]
            levels.append(np.zeros(n))
            levels[-1][index] = penalty.row
            share.append(strength * penalty.across)
        else:
            matrix = restraint.dense()
            i, j = np.nonzero(matrix)
            product = matrix[i, j]
        rows.append(index[i])
        columns.append(index[j])
        values.append(strength * product)
    i, j, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
    sparse: Any = csr_array((value, (i, j)), shape=(n, n))  # type: ignore[no-untyped-call]
    frame = BlockMatrix(blocks, np.zeros(0))
    inside, place = frame.places(i, j)
    places, within = [place], [value[inside]]
    for v, c in zip(levels, share, strict=True):
        there = np.flatnonzero(v)
        i, j = (there[k] for k in _pairs(np.unique(np.searchsorted(there, blocks))))
        places.append(frame.places(i, j)[1])
        within.append(c * v[i] * v[j])
    beside: Float = np.column_stack(levels) if levels else np.zeros((n, 0))
    return _Kind(sparse, beside, np.array(share), np.concatenate(places), np.concatenate(within))


def _pairs(starts: Int) -> tuple[Int, Int]:
    """All pairs of numbers within each run from ``starts[k]`` to ``starts[k + 1]`` - 1."""
    sizes = np.diff(starts)
    first = np.repeat(np.arange(int(starts[-1])), np.repeat(sizes, sizes))
    run = np.repeat(starts[:-1], sizes**2)
    before = np.repeat(np.cumsum(sizes**2) - sizes**2, sizes**2)
    second = run + (np.arange(len(run)) - before) % np.repeat(sizes, sizes**2)
    return first, second


def fix(blocks: BlockMatrix, fixed: Bool, value: float) -> None:
    """Write rows and columns of fixed parameters: ``value`` on the diagonal, 0 beside it.  ``fixed``: (n,)."""
    if not fixed.any():
        return
    for first, block in zip(blocks.starts.tolist(), blocks.blocks(), strict=False):
        here = np.flatnonzero(fixed[first : first + len(block)])
        block[here] = 0.0
        block[:, here] = 0.0
        block[here, here] = value
