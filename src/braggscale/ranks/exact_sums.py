"""Sums over rows of all ranks that are the same to the bit however rows and ranks are divided.

Numbers with a floating point cannot be added in any order: each addition rounds. Whole numbers can. So each term t is
added as the whole number rint(t 2^p), and the sum is divided by 2^p in the end. p is chosen for each sum by itself:
with |t| < 2^e and n terms

    p = 62 - e - bits(n)

keeps the sum within 64 bits. For 1000 terms a term is then rounded to 2^-52 of the largest one, as a double is; for
a million terms to 2^-42. Fixed-point sums of this kind: Demmel & Nguyen, IEEE Trans. Comput. 64 (2015) 2060.

e has to be known before anything is added. It is taken from the last sum of the same kind, one bit larger; where that
turns out to be too small or far too large, and for the first sum of a kind, the terms are gone over once more. Nothing
of this depends on which rank has which rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from braggscale.numerics.array_types import Array, Float, Int
from braggscale.ranks.communicator import Communicator, Operation

Sums = tuple[Float, Int, Float]  # up = 2^p, total, largest |t|, (n, m) each: as the kernels take them
_NO_TERM = -2000  # exponent of a sum without terms
_BITS = 62
_HEADROOM = 1
_LOOSEST = 16  # bits that terms may be smaller than was expected


@dataclass(slots=True)
class ExactSums:
    """Adds up over the rows of all ranks.  ``exponents``: e of the last sums of each kind, (n, m)."""

    ranks: Communicator
    exponents: dict[str, Array] = field(default_factory=dict)
    exchanged: int = 0  # bytes that this rank has given to others

    def collect(self, kind: str, counts: Int, m: int, add: Callable[[Sums], None]) -> Float:
        """``m`` sums for each of n reflections, (n, m), the same in all ranks.

        ``kind``: name of the sums; those of one name have about the same size from one time to the next.
        ``counts``: at least as many as the terms of each sum in all ranks together, (n,).
        ``add``: goes over the rows of this rank and adds their terms; may be called more than once.
        """
        shape, bits = (len(counts), m), _bits(counts)[:, None]
        there = np.flatnonzero(counts)
        expected = self.exponents.get(kind)
        if expected is None or expected.shape != shape:
            _, expected = self._pass(np.zeros(shape), there, add)
            expected = expected + np.int16(_HEADROOM)
        while True:
            up = _power(_BITS - bits - expected)
            total, found = self._pass(up, there, add)
            wrong = (found > expected) | ((found < expected - np.int16(_LOOSEST)) & (found > _NO_TERM))
            if not wrong.any():
                break
            expected = np.where(wrong, found + np.int16(_HEADROOM), expected)
        self.exponents[kind] = np.where(found > _NO_TERM, found + np.int16(_HEADROOM), expected)
        result: Float = self._over_ranks(total, there) / up
        return result

    def _pass(self, up: Float, there: Int, add: Callable[[Sums], None]) -> tuple[Int, Array]:
        """Sums of this rank, and the exponents e with |t| < 2^e of all ranks, int16, (n, m) each.

        ``there``: sums that have terms at all, (k,).
        """
        total, largest = np.zeros(up.shape, np.int64), np.zeros(up.shape)
        add((up, total, largest))
        exponents = np.where(largest > 0, np.frexp(largest)[1], _NO_TERM).astype(np.int16)
        return total, self._over_ranks(exponents, there, "max")

    def _over_ranks(self, values: Array, there: Int, operation: Operation = "sum") -> Array:
        """``values``, (n, m), of all ranks; only those of ``there``, (k,), travel: the others are equal everywhere."""
        found = values.copy()
        some = values[there]
        self.exchanged += some.nbytes
        found[there] = self.ranks.allreduce(some, operation)
        return found

    def over_crystals(self, values: Float, n: int) -> Float:
        """The sums of the columns over the crystals of all ranks, (m,).

        ``values``: of the crystals of this rank, (n_crystals, m), finite.  ``n``: how many crystals there are in all
        ranks.
        """
        largest = np.abs(values).max(axis=0, initial=0.0)
        exponents = np.where(largest > 0, np.frexp(largest)[1], _NO_TERM).astype(np.int16)
        exponents = self.ranks.allreduce(exponents, "max")
        up = _power(_BITS - _bits(np.array([n])) - exponents)
        total = self.ranks.allreduce(np.rint(values * up).astype(np.int64).sum(axis=0))
        found: Float = total / up
        return found


def _bits(counts: Int) -> Array:
    """Bits that ``counts`` terms can add to one, (n,), int16."""
    return np.frexp(np.maximum(counts, 1).astype(np.float64))[1].astype(np.int16)


def _power(exponents: Array) -> Float:
    """2^p where there is a term; p is held where doubles are normal numbers."""
    return np.ldexp(1.0, np.clip(exponents, -1000, 1000).astype(np.int32))
