"""Numbers and lists as text, the same in logs, messages, tables and the report.

A number has as many digits as its error allows: two digits of the error, where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from itertools import islice

UNKNOWN = "-"
MOST_DECIMALS = 7


def some_of(names: Collection[str], most: int, noun: str = "") -> str:
    """The first ``most`` of some names, and how many there are beyond: ``a, b and 3 more``.

    ``noun``: what is counted, if the sentence needs it: ``a, b and 3 more runs``.
    """
    shown = ", ".join(islice(names, most))
    beyond = len(names) - most
    return f"{shown} and {beyond} more{' ' * bool(noun)}{noun}" if beyond > 0 else shown


def all_of(names: Iterable[str]) -> str:
    """All of some names as in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def decimals(error: float) -> int:
    """Decimals of a number with this error: those of the error's first two digits, 0 to 7; 4 if the error is 0.

    ``error``: a standard deviation or the width of an interval.
    """
    if not (math.isfinite(error) and error > 0):
        return 4
    return min(max(1 - math.floor(math.log10(error)), 0), MOST_DECIMALS)


def show(value: float | None, digits: int, unknown: str = UNKNOWN) -> str:
    """A number with ``digits`` decimals, ``unknown`` for None, NaN and infinities."""
    return unknown if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def show_short(value: float | None, digits: int = 4, unknown: str = UNKNOWN) -> str:
    """A number of unknown size with ``digits`` significant digits; whole numbers as they are."""
    if value is None or not math.isfinite(value):
        return unknown
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}"


def show_with_error(value: float | None, error: float | None, unknown: str = UNKNOWN) -> str:
    """A number and its standard deviation with the same decimals, ``1.234 ± 0.056``; four digits without an error."""
    if value is None or error is None or not math.isfinite(error):
        return show_short(value, 4, unknown)
    n = decimals(error)
    return f"{value:.{n}f} ± {error:.{n}f}"


def show_interval(low: float, high: float, between: str, fewest: int = 2) -> str:
    """Both ends of an interval, with decimals for two digits of its width but at least ``fewest``."""
    n = max(decimals(high - low), fewest)
    return f"{low:.{n}f}{between}{high:.{n}f}"
