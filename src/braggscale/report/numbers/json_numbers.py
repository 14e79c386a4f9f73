"""Numbers as scale.json keeps them: rounded to what they mean, null where nothing is known; sums over bins."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from braggscale.numerics.array_types import Array, Float, Int

Number = float | int | None


def rounded(value: float, digits: int = 4) -> float | None:
    """``value`` with so many significant digits; None where it is not finite."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def column(values: Iterable[float] | Array, digits: int = 4) -> list[Number]:
    """A list of plain numbers: whole ones as they are, others with ``digits`` significant digits, None for NaN."""
    array = np.asarray(values)
    if array.dtype.kind in "biu":
        return [int(v) for v in array.tolist()]
    form = f"%.{digits}g"
    return [float(form % v) if math.isfinite(v) else None for v in array.tolist()]


def grid(values: Array, digits: int = 3) -> list[list[Number]]:
    """``column`` of every row of a matrix."""
    return [column(row, digits) for row in values]


def total(index: Int, n: int, values: Array | None = None) -> Float:
    """Sum of ``values``, or number of entries, in each bin, (n,).  ``index``: bin of each entry."""
    return np.bincount(index, values, n).astype(np.float64)


def share(above: Array, below: Array, least: float = 0.0) -> Float:
    """above / below, NaN where the denominator is not above ``least``."""
    result: Float = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > least)
    return result
