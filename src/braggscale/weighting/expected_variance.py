"""The variance of an observation as a function of its expected intensity, and expected intensities that agree with it.

    V'(mu) = a^2 (V_e + c max(mu, 0) + (b mu)^2),     V_e = max(V - r I^2 + k f (mu - |I|), f^2 floor) + r mu^2

f = I/I_raw, r is the relative variance of the partiality; if k = 0 the first part of V_e is V - r I^2. I_h is
weighted with 1/V', and V' is calculated at mu = g I_h; so the two are determined together, see ``variance.expect``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.unique_reflections import BLOCK, Groups, in_blocks
from braggscale.numerics.array_types import Array, Bool, Float, Int, Int32
from braggscale.numerics.compiled import variance as kernels
from braggscale.numerics.partitions import run_in_threads
from braggscale.weighting.counting_gain import CountingGain
from braggscale.weighting.error_model import ErrorModel
from braggscale.weighting.intensity_choice import Intensities


@dataclass(frozen=True, slots=True)
class VarianceModel:
    """The variance V' of every row as a function of its expected intensity mu.

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
    def constant(cls, intensity: Float, variance: Float) -> VarianceModel:
        """V' = V, independent of mu.  ``intensity``: I, counts, ``variance``: V, counts^2, both (n,)."""
        one, zero = np.ones(1), np.zeros(1)
        return cls(
            intensity, variance, variance, np.zeros(len(intensity), np.int32), zero, zero, one, zero, zero, zero[:0]
        )

    @classmethod
    def of(
        cls, values: Intensities, gain: CountingGain, data_set: Int32, models: Sequence[ErrorModel], of_data_set: Int
    ) -> VarianceModel:
        """The variance model of these intensities; the error model of data set d is ``models[of_data_set[d]]``.

        ``data_set``: of each row, (n,).  ``of_data_set``: (n_sets,).
        """
        a2, b2, linear = (
            np.array(of_models)[of_data_set] for of_models in zip(*((m.a**2, m.b**2, m.c) for m in models), strict=True)
        )
        return cls(
            values.intensity, values.variance, values.raw_factor, data_set, gain.k, gain.floor, a2, b2, linear,
            values.relative,
        )  # fmt: skip

    def take(self, rows: Int | Bool) -> VarianceModel:
        """The given rows, in the given order.  ``rows``: their numbers, (k,), or a mark for each row, (n,)."""
        return replace(
            self,
            intensity=self.intensity[rows],
            variance=self.variance[rows],
            factor=self.factor[rows],
            data_set=self.data_set[rows],
            relative=self.relative[rows] if len(self.relative) else self.relative,
        )

    def arrays(self) -> tuple[Array, ...]:
        """The arrays, of rows (n,) and of data sets (n_sets,), in the order in which the kernels take them."""
        return (
            self.intensity,
            self.variance,
            self.factor,
            self.data_set,
            self.gain,
            self.floor,
            self.a2,
            self.b2,
            self.linear,
            self.relative,
        )

    def at(self, mu: Float) -> Float:
        """V' at the expected intensities ``mu``, counts, (n,).  Returns counts^2, (n,)."""
        arrays, result = self.arrays(), np.empty(len(mu))

        def block(part: int) -> None:
            """V' of one block of rows."""
            first, last = part * BLOCK, min((part + 1) * BLOCK, len(mu))
            kernels.variances(first, last, arrays, mu, result)

        run_in_threads(block, -(-len(mu) // BLOCK))
        return result

    def of_counting(self) -> VarianceModel:
        """The model without an error model, a = 1, b = c = 0: V' = V_e."""
        return replace(self, a2=np.ones_like(self.a2), b2=np.zeros_like(self.b2), linear=np.zeros_like(self.linear))

    def observed(self) -> VarianceModel:
        """The model with the observed counting variance instead of the expected one."""
        return replace(self, gain=np.zeros_like(self.gain))


def expect(variance_model: VarianceModel, scale: Float, out: Bool, groups: Groups) -> tuple[Float, Float]:
    """Mean intensities I_h, (n_groups,), and V' at g I_h, counts^2, (n,).

    I_h is the mean of the rows that are not ``out`` and have g > 0, first with weights 1/V, then with 1/V'. Further
    passes would change both by far less than the noise.  ``scale``: g, ``out``: outliers, (n,).
    """
    mean_intensity, variance = np.empty(len(groups)), np.empty(groups.n_rows)
    arrays = variance_model.arrays()

    def block(first: int, last: int) -> None:
        """I_h and V' of the groups from ``first`` to ``last``."""
        kernels.expect(first, last, groups.offsets, arrays, scale, out, mean_intensity, variance)

    in_blocks(groups, block)
    return mean_intensity, variance


@dataclass(frozen=True, slots=True)
class Expectation:
    """Expected intensity and variance of every observation, with the present scales and error model.

    ``variance_model``: V' of each row.  ``scale``: g, ``variance``: V' at g I_h, counts^2, (n,).
    ``mean_intensity``: I_h, (n_groups,).
    ``groups``: of observations that should agree, ``friedel_split``: of the same rows, with Friedel mates apart.
    """

    variance_model: VarianceModel
    scale: Float
    variance: Float
    mean_intensity: Float
    groups: Groups
    friedel_split: Groups

    @property
    def mu(self) -> Float:
        """Expected intensity g I_h of each row, counts, (n,)."""
        result: Float = self.scale * self.groups.spread(self.mean_intensity)
        return result
