"""Variances of the observations that are written out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.numerics.array_types import Float, Int
from braggscale.weighting.error_model import ErrorModel, variances
from braggscale.weighting.expected_variance import Expectation
from braggscale.weighting.intensity_choice import Intensities


def output_variance(expected: Expectation, scale_variance: Float) -> Float:
    """V' + (I/g)^2 var(g), counts^2, (n,): g^2 times the variance V'/g^2 + I^2 var(g)/g^4 of I/g.

    V' is the expected one, so that means weighted with it are not pulled down by what came out low.
    ``scale_variance``: var(g), (n,).
    """
    return expected.variance + _of_scale(expected, scale_variance)


def observed_variance(
    expected: Expectation, scale_variance: Float, values: Intensities, models: Sequence[ErrorModel], of_data_set: Int
) -> Float:
    """As ``output_variance``, with V' from the observed counting variance; the part of the partiality is the expected.

    For scales with fixed restraints.  ``models``, ``of_data_set``: as in ``error_model.variances``.
    """
    mu, observed = expected.mu, values.counting()
    if len(values.relative):
        observed = observed + values.relative * mu**2
    result = variances(models, of_data_set, expected.variance_model.data_set, observed, mu)
    return result + _of_scale(expected, scale_variance)


def _of_scale(expected: Expectation, scale_variance: Float) -> Float:
    """(I/g)^2 var(g), counts^2, (n,)."""
    safe = np.where(expected.scale > 0, expected.scale, 1.0)
    return np.asarray((expected.variance_model.intensity / safe) ** 2 * scale_variance)
