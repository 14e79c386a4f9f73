"""Numbers in the form of scale.json: rounded to significant digits, None if not known; sums over bins."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from braggscale.numerics.array_types import Array, Float, Int
from braggscale.report.summary_values import Column, CountMatrix, Counts, Matrix, Numbers


def significant(value: float, digits: int = 4) -> float:
    """``value``, which is finite, with ``digits`` significant digits."""
    return float(f"{value:.{digits}g}")


def rounded(value: float, digits: int = 4) -> float | None:
    """``value`` with ``digits`` significant digits; None where it is not finite."""
    return significant(value, digits) if math.isfinite(value) else None


def numbers(values: Iterable[float] | Array, digits: int = 4) -> Numbers:
    """The list of ``values``, (n,), which are finite, with ``digits`` significant digits."""
    form = f"%.{digits}g"
    return [float(form % v) for v in np.asarray(values, np.float64).tolist()]


def column(values: Iterable[float] | Array, digits: int = 4) -> Column:
    """The list of ``values``, (n,), with ``digits`` significant digits, None where one is not finite."""
    form = f"%.{digits}g"
    return [float(form % v) if math.isfinite(v) else None for v in np.asarray(values, np.float64).tolist()]


def counts(values: Array) -> Counts:
    """A list of whole numbers.  ``values``: whole numbers of any type, (n,)."""
    found: Counts = np.asarray(values).astype(np.int64).tolist()
    return found


def grid(values: Array, digits: int = 3) -> Matrix:
    """``column`` of every row of the matrix ``values``, (n, m)."""
    return [column(row, digits) for row in values]


def count_grid(values: Array) -> CountMatrix:
    """``counts`` of every row of the matrix ``values``, (n, m)."""
    return [counts(row) for row in values]


def total(index: Int, n: int, values: Array | None = None) -> Float:
    """Sum of ``values``, or number of entries, in each bin, (n,).  ``index``: bin of each entry, (k,)."""
    return np.bincount(index, values, n).astype(np.float64)


def share(above: Array, below: Array, least: float = 0.0) -> Float:
    """``above`` / ``below``, any shape, NaN where the denominator is not above ``least``."""
    result: Float = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > least)
    return result
