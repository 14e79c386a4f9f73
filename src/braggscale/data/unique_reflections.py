"""Unique reflections as ranges of consecutive rows.

Observations are sorted once so that the members of a unique reflection follow each other, I+ before I-. Groups, with
Friedel mates together or apart, are then given by offsets, and a sum over a group is a sum over a range of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.numerics.partitions import run_in_threads

Partial = TypeVar("Partial")

# Rows of a block: few enough that its arrays stay in the cache, and that there are enough blocks for all threads.
BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Groups:
    """Group k holds rows ``offsets[k]`` to ``offsets[k + 1]`` - 1.  ``offsets``: (n_groups + 1,), no group empty."""

    offsets: Int

    @classmethod
    def from_keys(cls, keys: Array) -> Groups:
        """Runs of equal keys, (n,) or (n, k); rows must already be sorted."""
        if len(keys) == 0:
            return cls(np.zeros(1, np.int64))
        step = keys[1:] != keys[:-1]
        if step.ndim > 1:
            step = step.any(axis=1)
        starts = np.flatnonzero(step) + 1
        return cls(np.concatenate(([0], starts, [len(keys)])).astype(np.int64))

    @classmethod
    def of_sizes(cls, sizes: Int) -> Groups:
        """Runs of the lengths ``sizes``, (n_groups,), none of them 0."""
        return cls(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_rows(self) -> int:
        """Number of rows in all groups."""
        return int(self.offsets[-1])

    def sizes(self) -> Int:
        """Number of members, (n_groups,)."""
        return np.diff(self.offsets)

    def index(self) -> Int:
        """Group number of each row, (n_rows,)."""
        return np.repeat(np.arange(len(self)), self.sizes())

    def sum(self, values: Array) -> Float:
        """Sum over each group.  ``values``: (n_rows,) or (n_rows, k).  Returns (n_groups,) or (n_groups, k)."""
        if len(self) == 0:
            return np.zeros((0, *values.shape[1:]))
        return np.add.reduceat(values, self.offsets[:-1], axis=0, dtype=np.float64)

    def spread(self, values: Array) -> Array:
        """A value of each group to its rows.  ``values``: (n_groups, ...).  Returns (n_rows, ...)."""
        return np.repeat(values, self.sizes(), axis=0)

    def subset(self, keep: Bool) -> Groups:
        """Groups of the rows that are kept; groups without any of them disappear.  ``keep``: (n_rows,)."""
        counts = self.sum(keep).astype(np.int64)
        return Groups.of_sizes(counts[counts > 0])

    def choose(self, keep: Bool) -> Groups:
        """The groups that are kept, over their rows alone.  ``keep``: (n_groups,)."""
        return Groups.of_sizes(self.sizes()[keep])

    def blocks(self, rows: int = 16384) -> Int:
        """Group numbers at which blocks begin, so that each has whole groups and about ``rows`` rows.

        Returns (n_blocks + 1,). Depends on the data alone, never on the number of threads.
        """
        n = max(1, -(-self.n_rows // rows))
        targets = np.linspace(0, self.n_rows, n + 1)
        return np.unique(np.searchsorted(self.offsets, targets))


def weighted_mean(groups: Groups, weight: Float, scale: Float, intensity: Float) -> tuple[Float, Float]:
    """Best intensity of each unique reflection and its weight.

    I_h = sum w g I / sum w g^2, the minimiser of sum w (I - g I_h)^2
    (Hamilton, Rollett & Sparks, Acta Cryst. 18 (1965) 129).
    ``weight``: 1/counts^2, ``scale``: g, ``intensity``: counts, all (n_rows,).
    Returns I_h and sum w g^2, (n_groups,); I_h is 0 where the weights add up to 0.
    """
    wg = weight * scale
    total = groups.sum(wg * scale)
    return np.divide(groups.sum(wg * intensity), total, out=np.zeros(len(groups)), where=total > 0), total


def mean_of_others(groups: Groups, weight: Float, scale: Float, intensity: Float) -> tuple[Float, Float]:
    """Expected intensity of each row, g I_h, from the other rows of its group alone, and its variance, (n_rows,).

    Both are 0 where no other row counts.  ``weight``: 1/variance, ``scale``: g, ``intensity``: counts, all (n_rows,).
    """
    own = weight * scale
    total, above = groups.sum(own * scale), groups.sum(own * intensity)
    left = groups.spread(total) - own * scale
    some = left > 1e-9 * groups.spread(total)
    mean = np.divide(groups.spread(above) - own * intensity, left, out=np.zeros(len(own)), where=some)
    return scale * mean, np.divide(scale**2, left, out=np.zeros(len(own)), where=some)


def in_blocks(groups: Groups, block: Callable[[int, int], Partial]) -> Sequence[Partial]:
    """``block(first, last)`` for runs of whole groups first <= h < last of about 65,536 rows, on threads; in order."""
    cuts = groups.blocks(BLOCK).tolist()
    return run_in_threads(lambda k: block(cuts[k], cuts[k + 1]), len(cuts) - 1)
