"""Weights of observations in the fit of the scales: 1/V' times a factor that limits the influence of outliers.

With fixed restraints the factor is (nu + 1)/(nu + z^2), nu = 4, the weight function of Student's t (Lange, Little &
Taylor, J. Am. Stat. Assoc. 84 (1989) 881). It decreases from z = 0 on, so that J'WJ overestimates the information
in the data by a third. Estimated restraints would be too strong with it; for these the factor is (1 +
(z/2.75)^4)^(-1/2), which is near 1 for normal errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups, in_blocks
from braggscale.numerics.array_types import Bool, Float
from braggscale.numerics.compiled import variance as kernels
from braggscale.weighting.expected_variance import Expectation, expect

# The soft limit of z with estimated restraints, and with fixed ones, which leave systematic differences.
FLAT, HEAVY = 2.75, 2.0
# Beyond this multiple of zmax the weight in the fit is 0.
ZERO_WEIGHT_AT = 1.25
_MEDIAN_SQUARE = 0.455  # median of chi^2 with one degree of freedom


@dataclass(frozen=True, slots=True)
class Robust:
    """Weights of observations that may be outliers.  c = ``soft_limit``:

        flat         w = (1 + (z/c)^4)^(-1/2)/V'                 for normal errors with outliers among them
        not flat     w = (1 + 1/c^2)/(1 + (z/c)^2)/V'            for heavy tails: Student's t, nu = c^2

    The curvature of the cost is smaller than J'WJ, for normal errors 0.93 (c = 2.75) or 0.75 times (c = 2) that.
    Weights of outliers fall linearly from w at z = ``zmax`` to 0 at ``zero_weight_at`` zmax. With a step at zmax an
    observation at the border would have two stable states, in the fit or out of it, and the path of the run would
    decide.
    """

    flat: bool
    soft_limit: float
    zmax: float
    zero_weight_at: float = ZERO_WEIGHT_AT

    @classmethod
    def of_fit(cls, estimated: bool, zmax: float) -> Robust:
        """The weights of a fit: flat where restraints are ``estimated``, for heavy tails where they are fixed."""
        return cls(True, FLAT, zmax) if estimated else cls(False, HEAVY, zmax)

    def weights(
        self,
        intensity: Float,
        variance: Float,
        scale: Float,
        mean_intensity: Float,
        out: Bool,
        groups: Groups,
        unit: float = 1.0,
    ) -> tuple[Float, Float]:
        """w, 1/counts^2, and z^2, (n,).

        z is the deviation from the members that are not ``out``, for these with their leverage; z^2 counts in units of
        ``unit``, but is returned without it.
        ``intensity``: I, ``variance``: V', ``scale``: g, ``out``: outliers, (n,).  ``mean_intensity``: I_h,
        (n_groups,).
        """
        weight, z2 = np.empty(groups.n_rows), np.empty(groups.n_rows)

        def block(first: int, last: int) -> None:
            """Robust weights of the groups from ``first`` to ``last``."""
            kernels.robust_weights(
                first, last, groups.offsets, intensity, variance, scale, mean_intensity, out,
                unit, (self.flat, self.soft_limit, self.zmax, self.zero_weight_at), weight, z2,
            )  # fmt: skip

        in_blocks(groups, block)
        return weight, z2


def fit_weights(expected: Expectation, out: Bool, groups: Groups, robust: Robust, first: bool = False) -> Float:
    """Weights of all rows in the fit of the scales, 1/counts^2, (n,).

    ``out``: outliers, (n,).  ``groups``: of equivalent observations in the fit; may be finer than those of
    ``expected``.  ``first``: before the first fit scales and errors are not known yet, so z is divided by its
    typical size, taken from the median of z^2.
    """
    mean_intensity, variance = expected.mean_intensity, expected.variance
    if groups is not expected.groups:
        mean_intensity, variance = expect(expected.variance_model, expected.scale, out, groups)
    rows = expected.variance_model.intensity, variance, expected.scale, mean_intensity, out, groups
    weight, z2 = robust.weights(*rows)
    if first:
        several = groups.spread(groups.sizes() > 1)
        if several.any():
            weight, _ = robust.weights(*rows, max(float(np.median(z2[several])) / _MEDIAN_SQUARE, 1.0))
    return weight
