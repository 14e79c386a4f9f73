"""Interval of the difference of a statistic between two runs over the same data, by paired bootstrap.

Two runs with different options share their errors: a bad image is bad in both. So the difference is much more
certain than their intervals suggest. Here the same blocks are drawn for both. The effect of a block on a statistic
is known from each run (``confidence_intervals``: the effect on ln R, or on ln q of a correlation (1 - q)/(1 + q));
a block that one of the runs left out has no effect there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.statistics.confidence_intervals import FEWEST_BLOCKS, LEVEL, Limits, draws_of

Key = tuple[str, int]  # a block: data set, and its place in it
# No interval is given if a logarithm changes by more than this; its exponential would soon be infinite.
LARGEST_MOVE = 100.0


@dataclass(frozen=True, slots=True)
class Measured:
    """``value``: of the statistic.  ``effects``: of each block, on the logarithm."""

    value: float
    effects: Mapping[Key, float]


def difference(name: str, here: Measured, there: Measured) -> Limits | None:
    """Central interval of the difference ``here`` - ``there``; None for fewer than ten blocks or too large effects.

    ``name``: of a field of ``confidence_intervals.Intervals``.
    """
    keys = sorted({*here.effects, *there.effects})
    n = len(keys)
    if n < FEWEST_BLOCKS:
        return None
    draws = draws_of(n)
    # the variance of n blocks about their own mean is too small by the factor (n - 1)/n
    correction = np.sqrt(n / (n - 1.0))
    drawn = []
    for run in (here, there):
        effects = np.array([run.effects.get(key, 0.0) for key in keys])
        with np.errstate(over="ignore", invalid="ignore"):
            moved = (effects - effects.mean())[draws].sum(axis=1) * correction
        if not (np.abs(moved) < LARGEST_MOVE).all():
            return None
        drawn.append(_moved(name, run.value, moved))
    low, high = np.quantile(drawn[0] - drawn[1], (0.5 * (1.0 - LEVEL), 0.5 * (1.0 + LEVEL)))
    return float(low), float(high)


def _moved(name: str, value: float, moved: Float) -> Float:
    """The statistic after its logarithm, or that of q, has changed by ``moved``, (n_draws,)."""
    if not name.startswith("cc_"):
        return value * np.exp(moved)
    q = (1.0 - value) / (1.0 + value) * np.exp(moved)
    result: Float = (1.0 - q) / (1.0 + q)
    return result
