"""Sums partials: the parts of a reflection that was recorded on several images and has one row for each.

MOSFLM integrates every image separately. The parts of a reflection are in consecutive batches, with the calculated
fraction of each; I, its variance and the fraction of the whole are their sums (Evans, Acta Cryst. D62 (2006) 72).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.numerics.array_types import Array

# Parts of one reflection have nearly the same calculated angle: it differs by refinement of the orientation only.
_SAME_ANGLE = 1.0  # image widths


@dataclass(frozen=True, slots=True)
class Parts:
    """``rows``: all rows, sorted by reflection and batch, (n,).  ``starts``: first row of each reflection, (m,).

    ``largest``: the row with the largest fraction of each reflection, (m,).
    """

    rows: Array
    starts: Array
    largest: Array

    def sum(self, values: Array) -> Array:
        """Sum over the parts of each reflection, (m,).  ``values``: of all rows, (n,)."""
        result: Array = np.add.reduceat(np.asarray(values, np.float64)[self.rows], self.starts)
        return result

    def maximum(self, values: Array) -> Array:
        """Largest value of each reflection's parts, (m,).  ``values``: of each part, (n,)."""
        result: Array = np.maximum.reduceat(values[self.rows], self.starts)
        return result

    def either(self, bits: Array) -> Array:
        """Bits that any part has, (m,).  ``bits``: whole numbers, of each part, (n,)."""
        result: Array = np.bitwise_or.reduceat(bits[self.rows], self.starts)
        return result

    def counts(self) -> Array:
        """Number of parts of each reflection, (m,)."""
        result: Array = np.diff(np.append(self.starts, len(self.rows)))
        return result


def find_parts(key: Array, batch: Array, is_part: Array, fraction: Array, angle: Array | None, width: float) -> Parts:
    """Parts of one reflection: rows with equal keys that are marked as parts, in consecutive batches, at nearly one
    angle.

    ``key``: one number for each index as measured, (n,).  ``batch``: (n,).  ``is_part``: whether the row is a part,
    (n,). ``fraction``: (n,).  ``angle``: calculated, degrees, (n,), None where it is not known.  ``width``: of an
    image, degrees.
    """
    rows = np.lexsort((batch, key))
    new = np.ones(len(rows), np.bool_)
    if len(rows):
        k, b, part = key[rows], batch[rows], is_part[rows]
        new[1:] = (k[1:] != k[:-1]) | (b[1:] != b[:-1] + 1) | ~part[1:] | ~part[:-1]
        if angle is not None and width > 0:
            a = np.where(np.isfinite(angle[rows]), angle[rows], np.nan)  # an angle that is not known separates nothing
            new[1:] |= np.abs(a[1:] - a[:-1]) > _SAME_ANGLE * width
    starts = np.flatnonzero(new)
    number = np.cumsum(new) - 1
    # the row with the largest fraction comes last within its reflection
    by_fraction = np.lexsort((fraction[rows], number))
    ends = np.append(starts[1:], len(rows)) - 1
    return Parts(rows, starts, rows[by_fraction[ends]] if len(rows) else rows)
