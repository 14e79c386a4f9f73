"""Numbers as text in columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from braggscale.numerics.array_types import Array, Float


def lines(template: str, columns: Sequence[Array | list[str]]) -> str:
    """One line for each row: ``template`` filled with the row's values; a line end is added.

    ``columns``: arrays, (n,), or lists of n words.
    """
    values = [column.tolist() if isinstance(column, np.ndarray) else column for column in columns]
    return "".join(map((template + "\n").__mod__, zip(*values, strict=True)))


def or_unknown(values: Array, template: str) -> list[str]:
    """Each of the numbers ``values``, (n,), as text, ``?`` for NaN."""
    return [template % value if value == value else "?" for value in values.tolist()]


def fields_of_8(values: Float) -> list[str]:
    """Numbers from -9999 to 99999 in fields of 8 characters, a blank first, with as many decimals as fit, 1 to 5.

    ``values``: (n,).
    Programs that read a format such as F8.2 accept a decimal point at any place, so weak reflections can keep more
    digits.
    """
    values = values + 0.0  # turns -0.0 into 0.0
    size = np.maximum(np.floor(np.log10(np.maximum(np.abs(values), 1.0))), 0.0)
    places = np.clip(5 - size - (values < 0), 0, 5).astype(np.int64)
    # rounding may add a digit before the decimal point
    over = np.abs(values) + 0.5 * 10.0**-places >= 10.0 ** (size + 1)
    places = np.clip(places - over, 1, 5)
    return [f"{value:8.{n}f}" for value, n in zip(values.tolist(), places.tolist(), strict=True)]


def with_esd(value: float, esd: float) -> str:
    """A number with its standard deviation in the last digits, 2 to 19 of them, as CIF has it: 5.4815(5)."""
    if not esd > 1e-6:
        return f"{value:.4f}"
    places = max(-math.floor(math.log10(esd / 1.95)), 0)
    return f"{value:.{places}f}({esd * 10**places:.0f})"


def scale_to_fit(largest: float, smallest: float, top: float, bottom: float) -> float:
    """The power of ten, at most 1, that brings all numbers between ``bottom`` (negative) and ``top``."""
    need = max(largest / top, smallest / bottom, 1.0)
    return 1.0 if need == 1.0 else 10.0 ** -np.ceil(np.log10(need))
