"""The variance of an observation as a function of its expected intensity, and expected intensities that agree with it.

    V'(mu) = a^2 (V_e + c max(mu, 0) + (b mu)^2),     V_e = max(V - r I^2 + k f (mu - |I|), f^2 floor) + r mu^2

f = I/I_raw, r the relative variance of the partiality; where k = 0 the first part of V_e is V - r I^2. I_h is weighted
with 1/V', and V' is taken at mu = g I_h: the two are found together, see ``variance.expect``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.unique_reflections import Groups, in_blocks
from braggscale.numerics.array_types import Array, Bool, Float, Int, Int32
from braggscale.numerics.compiled import variance as kernels


@dataclass(frozen=True, slots=True)
class Law:
    """V'(mu) of every row.

    ``intensity``: I, counts, ``variance``: observed V, counts^2, ``factor``: f, (n,).  ``data_set``: (n,).
    ``relative``: r, (n,), or empty where all are 0.
    ``gain``: k, counts, ``floor``: counts^2, ``a2``: a^2, ``b2``: b^2, ``linear``: c, counts, (n_sets,).
    """

    intensity: Float
    variance: Float
    factor: Float
    data_set: Int32
    gain: Float
    floor: Float
    a2: Float
    b2: Float
    linear: Float
    relative: Float

    @classmethod
    def constant(cls, intensity: Float, variance: Float) -> Law:
        """V' = V, whatever mu is."""
        one, zero = np.ones(1), np.zeros(1)
        return cls(
            intensity, variance, variance, np.zeros(len(intensity), np.int32), zero, zero, one, zero, zero, zero[:0]
        )

    def take(self, rows: Int | Bool) -> Law:
        """The given rows, in the given order."""
        return replace(
            self,
            intensity=self.intensity[rows],
            variance=self.variance[rows],
            factor=self.factor[rows],
            data_set=self.data_set[rows],
            relative=self.relative[rows] if len(self.relative) else self.relative,
        )

    def arguments(self, scale: Float) -> tuple[Array, ...]:
        """In the order in which the kernels take them.  ``scale``: g, (n,)."""
        return (
            self.intensity,
            self.variance,
            scale,
            self.factor,
            self.data_set,
            self.gain,
            self.floor,
            self.a2,
            self.b2,
            self.linear,
            self.relative,
        )


def expect(law: Law, scale: Float, out: Bool, groups: Groups) -> tuple[Float, Float]:
    """I_h, (n_groups,), and V' at g I_h, counts^2, (n,).

    Two passes, I_h from the rows that are not ``out`` and have g > 0 with weights 1/V, then 1/V', settle both to well
    below the noise.  ``scale``: g, ``out``: (n,).
    """
    best, variance = np.empty(len(groups)), np.empty(groups.n_rows)

    def block(first: int, last: int) -> None:
        kernels.expect(first, last, groups.offsets, *law.arguments(scale), out, best, variance)

    in_blocks(groups, block)
    return best, variance


@dataclass(frozen=True, slots=True)
class Robust:
    """Weights of observations that may be outliers.  c = ``knee``:

        flat         w = (1 + (z/c)^4)^(-1/2)/V'                 for normal errors with outliers among them
        not flat     w = (1 + 1/c^2)/(1 + (z/c)^2)/V'            for heavy tails: Student's t, nu = c^2

    The curvature of the cost is smaller than J'WJ, for normal errors 0.93 (c = 2.75) or 0.75 times (c = 2) that.
    Rows that are out fade, from w at z = zmax to 0 at ``faded`` zmax.
    """

    flat: bool
    knee: float
    zmax: float
    faded: float

    def weights(
        self,
        intensity: Float,
        variance: Float,
        scale: Float,
        best: Float,
        out: Bool,
        groups: Groups,
        unit: float = 1.0,
    ) -> tuple[Float, Float]:
        """w, 1/counts^2, and z^2, (n,).

        z is the deviation from the members that are not ``out``, for these with their leverage; z^2 counts in units of
        ``unit``, but is returned without it.
        ``intensity``: I, ``variance``: V', ``scale``: g, (n,).  ``best``: I_h, (n_groups,).
        """
        weight, z2 = np.empty(groups.n_rows), np.empty(groups.n_rows)

        def block(first: int, last: int) -> None:
            kernels.robust_weights(
                first, last, groups.offsets, intensity, variance, scale, best, out,
                unit, self.flat, self.knee, self.zmax, self.faded, weight, z2,
            )  # fmt: skip

        in_blocks(groups, block)
        return weight, z2
