"""Anderson's acceleration of a fixed-point iteration for positive numbers, in their logarithms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from braggscale.numerics.array_types import Float

MOST_CHANGE = 30.0  # factor by which a number changes at most in one step
# Limits of the length of an accelerated step, in units of the plain one.
SHORTEST, LONGEST = 0.3, 8.0


class Mixing:
    """Anderson's acceleration of the fixed-point iteration x = G(x) for numbers x = ln lambda that have names.

    Each plain step x -> G(x) covers a constant fraction of the remaining distance. The linear combination of the last
    steps f_j = G(x_j) - x_j that has the smallest norm predicts the fixed point (Walker & Ni, SIAM J. Numer. Anal. 49
    (2011) 1715, algorithm AA). Only differences of consecutive steps are used, so those of an earlier, similar problem
    remain valid.
    ``memory``: how many differences are kept.
    """

    def __init__(self, memory: int = 3) -> None:
        self.memory = memory
        self.last: tuple[Float, Float] | None = None
        self.differences: list[tuple[Float, Float]] = []

    def begin(self) -> None:
        """Forget the last iterate: its difference from the next one must not enter the history."""
        self.last = None

    def next(self, at: Mapping[str, float], image: Mapping[str, float]) -> dict[str, float]:
        """The next lambda to try after a plain step from ``at`` to ``image``, within a factor MOST_CHANGE of ``at``."""
        kinds = sorted(at)
        x, g = (np.log([values[kind] for kind in kinds]) for values in (at, image))
        if self.last is not None:
            new = x - self.last[0], g - self.last[1]
            self.differences = [*self.differences[-self.memory + 1 :], new]
        self.last = x, g
        if self.differences:
            moves, images = (np.array(of).T for of in zip(*self.differences, strict=True))
            share = np.linalg.lstsq(images - moves, g - x, rcond=1e-6)[0]
            # in the direction of the step itself, so that a number that grows without limit never moves back
            step = g - x
            times = np.divide(step - images @ share, step, out=np.ones(len(x)), where=step != 0.0)
            g = x + np.clip(times, SHORTEST, LONGEST) * step
        limit = np.log(MOST_CHANGE)
        return dict(zip(kinds, np.exp(np.clip(g, x - limit, x + limit)).tolist(), strict=True))
