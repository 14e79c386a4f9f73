"""Indices packed into one number: 20 bits for each of h, k, l, and one for I-."""

from __future__ import annotations

import numpy as np

from braggscale.errors import DataError
from braggscale.numerics.array_types import Bool, Int, Int32

LARGEST_INDEX = (1 << 19) - 1


def packed(asu: Int32, minus: Bool) -> Int:
    """One number for each index and sign, in the order of h, k, l and I+ before I-, (n,).

    ``asu``: (n, 3), ``minus``: (n,).  Raises DataError for indices beyond half a million.
    """
    if np.abs(asu).max(initial=0) > LARGEST_INDEX:
        raise DataError(f"Miller index {int(np.abs(asu).max())} is out of range; the file is damaged")
    wide = asu.astype(np.int64) + (LARGEST_INDEX + 1)
    found: Int = (wide[:, 0] << 41) | (wide[:, 1] << 21) | (wide[:, 2] << 1) | minus
    return found


def unpacked(index: Int) -> Int32:
    """The indices of ``packed``, (n, 3).  ``index``: (n,)."""
    mask = (1 << 20) - 1
    columns = [(index >> shift) & mask for shift in (41, 21, 1)]
    return (np.stack(columns, axis=1) - (LARGEST_INDEX + 1)).astype(np.int32)
