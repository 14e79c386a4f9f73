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
    variance = expected.variance_model.observed().at(expected.mu) if observed else expected.variance
    return np.asarray(variance + _of_scale(expected, scale_variance))


def observed_variance(expected: Expectation, scale_variance: Float) -> Float:
    """V' at the observed intensity, with the observed counting variance, + (I/g)^2 var(g), counts^2, (n,).

    SHELXL gives an observation with I > 3 sigma the weight I/sigma^2. This is the same for all equivalents, and their
    mean is not biased, if the variance grows with the observed intensity.  ``scale_variance``: var(g), (n,).
    """
    model = expected.variance_model
    return np.asarray(model.observed().at(model.intensity) + _of_scale(expected, scale_variance))


def _of_scale(expected: Expectation, scale_variance: Float) -> Float:
    """(I/g)^2 var(g), the part of the variance that comes from the scale, counts^2, (n,)."""
    safe = np.where(expected.scale > 0, expected.scale, 1.0)
    return np.asarray((expected.variance_model.intensity / safe) ** 2 * scale_variance)
