"""Variances of the observations that are written out."""

from __future__ import annotations

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.weighting.expected_variance import Expectation


def output_variance(expected: Expectation, scale_variance: Float, observed: bool = False) -> Float:
    """V' + (I/g)^2 var(g), counts^2, (n,): g^2 times the variance V'/g^2 + I^2 var(g)/g^4 of I/g.

    V' is the expected variance, so that means weighted with it are not biased by observations with a negative
    error. ``scale_variance``: var(g), (n,).  ``observed``: V' has the observed counting variance instead, as with
    fixed restraints; the part of the partiality is always the expected one.
    """
    safe = np.where(expected.scale > 0, expected.scale, 1.0)
    of_scale = (expected.variance_model.intensity / safe) ** 2 * scale_variance
    variance = expected.variance_model.observed().at(expected.mu) if observed else expected.variance
    return np.asarray(variance + of_scale)
