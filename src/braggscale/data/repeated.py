"""Finds rows and data sets that were given twice, so that each measurement is used only once.

Two rows are the same measurement if index, position and intensities agree to the last bit, which never happens for two
different measurements.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.observations import Observations
from braggscale.numerics.array_types import Array, Bool, UInt

# Odd numbers without a pattern; each column is spread over all bits by one of them.
_FACTORS = (
    0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63,
    0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3,
)  # fmt: skip


def row_keys(rows: Observations) -> UInt:
    """A number for each row, uint64, (n,): equal for equal rows; for different ones with a probability of 1 in 2^64."""
    columns = [*rows.hkl.T, *rows.xyz.T, rows.i_sum, rows.i_prf, rows.v_sum, rows.v_prf]
    key = np.zeros(len(rows), np.uint64)
    for column, factor in zip(columns, _FACTORS, strict=True):
        key ^= _bits(column) * np.uint64(factor)
        key ^= key >> np.uint64(29)
        key *= np.uint64(_FACTORS[0])
    return key


def _bits(values: Array) -> UInt:
    wide = np.ascontiguousarray(values, np.float64) + 0.0  # turns -0.0 into 0.0
    return wide.view(np.uint64)


def repeats(keys: UInt) -> Bool:
    """Rows that repeat an earlier one, (n,).  ``keys``: of each row, (n,)."""
    repeated = np.zeros(len(keys), np.bool_)
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return repeated
    _, first = np.unique(keys, return_index=True)
    repeated[:] = True
    repeated[first] = False
    return repeated


def shared_rows(keys: UInt, others: UInt) -> int:
    """How many rows two data sets have in common.  ``keys``, ``others``: of their rows, (n,) and (m,)."""
    return len(np.intersect1d(keys, others))
