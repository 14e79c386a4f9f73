"""The unique reflections that any rank has measured, numbered alike in all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.symmetry import Symmetry
from braggscale.errors import DataError
from braggscale.numerics.array_types import Bool, Float, Int, Int32
from braggscale.ranks.communicator import Communicator
from braggscale.ranks.packing import unpacked

# Most places of a box that holds all indices: a bit for each travels between ranks.
MOST_PLACES = 1 << 31
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Reflections:
    """``hkl``: indices in the asymmetric unit, ascending, (n, 3).  ``index``: the same packed, without sign, (n,).

    ``epsilon``: (n,).  ``counts``: rows of all ranks by number, I+ at 2 h and I- at 2 h + 1, (2 n,).
    """

    hkl: Int32
    index: Int
    epsilon: Float
    counts: Int

    def __len__(self) -> int:
        return len(self.hkl)

    def counts_by_place(self, apart: Bool) -> Int:
        """Rows by place, (2 n,), see ``places``.  ``apart``: whether Friedel mates are two groups, (n,)."""
        found = self.counts.reshape(-1, 2).copy()
        found[~apart, 0] = found[~apart].sum(axis=1)
        found[~apart, 1] = 0
        return found.reshape(-1)

    def numbers(self, index: Int) -> Int32:
        """Numbers, 2 h or 2 h + 1, (k,).  ``index``: packed, with sign, (k,)."""
        found: Int32 = (2 * np.searchsorted(self.index, index >> 1) + (index & 1)).astype(np.int32)
        return found


def places(number: Int32 | Int, apart: Bool) -> Int:
    """Where the group of each row stands among 2 n_reflections, (k,): 2 h, and 2 h + 1 for an I- that is apart.

    ``number``: of each row, (k,).  ``apart``: whether Friedel mates are two groups, (n_reflections,).
    """
    found: Int = np.where(apart[number >> 1], number, number & ~1).astype(np.int64)
    return found


def reflections_of(ranks: Communicator, index: Int, symmetry: Symmetry) -> Reflections:
    """Reflections of all ranks.  ``index``: packed, with sign, of the rows of this rank, (n_rows,).

    Raises DataError on all ranks if indices span more than can be numbered, or there is none.
    """
    largest = np.zeros(3, np.int64)
    for first in range(0, len(index), _CHUNK):
        largest = np.maximum(largest, np.abs(unpacked(index[first : first + _CHUNK])).max(axis=0, initial=0))
    largest = ranks.allreduce(largest, "max")
    sides = 2 * largest + 1
    size = int(sides[0]) * int(sides[1]) * int(sides[2])
    if size > MOST_PLACES:
        raise DataError(f"indices up to {', '.join(map(str, largest.tolist()))} are too many; set d_min=")
    seen = np.zeros(size, np.bool_)
    for first in range(0, len(index), _CHUNK):
        hkl = unpacked(index[first : first + _CHUNK]).astype(np.int64) + largest
        seen[(hkl[:, 0] * sides[1] + hkl[:, 1]) * sides[2] + hkl[:, 2]] = True
    places = np.flatnonzero(np.unpackbits(ranks.allreduce(np.packbits(seen), "or"), count=size))
    if len(places) == 0:
        raise DataError("no usable reflections")
    rest, l = np.divmod(places, sides[2])
    h, k = np.divmod(rest, sides[1])
    hkl = np.stack((h, k, l), axis=1) - largest
    wide = hkl + (1 << 19)
    table = (wide[:, 0] << 40) | (wide[:, 1] << 20) | wide[:, 2]
    hkl = hkl.astype(np.int32)
    epsilon = symmetry.epsilon(hkl).astype(np.float64)
    counts = np.zeros(2 * len(hkl), np.int64)
    found = Reflections(hkl, table, epsilon, counts)
    for first in range(0, len(index), _CHUNK):
        counts += np.bincount(found.numbers(index[first : first + _CHUNK]), minlength=len(counts))
    return Reflections(hkl, table, epsilon, ranks.allreduce(counts))
