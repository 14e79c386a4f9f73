"""Fisher scoring of the error model: one step, the standard uncertainties, and the distance of two models.

With A = a^2, B = a^2 b^2, C = a^2 c the variance V' = A V + B mu^2 + C mu+ is linear in A, B and C, and a scoring step
is the linear least-squares fit of r^2/(1 - h) to it with weights (1 - h)/V'^2 (see error_model_fit.py).
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.weighting.error_model import ErrorModel

KEPT_VARIANCE = 0.998930  # mean z^2 of a normal deviate within 4 sigma
_COLLINEAR = 1e-3  # if 1 - correlation^2 of two terms is smaller, the data cannot separate them

Fitted = tuple[bool, bool, bool]  # whether a, b, c are
TWO, ALL, ONE, NONE = (True, True, False), (True, True, True), (True, False, False), (False, False, False)
WITHOUT_A: Fitted = (False, True, True)


def distance(one: ErrorModel, other: ErrorModel, unit: float) -> float:
    """Distance of two models: the sum of the relative changes of sigma where each of the three terms dominates.

    a b below 0.001 counts as 0.  ``unit``: a typical V/mu, counts; a^2 c below a thousandth of it counts as 0.
    """
    slope, old = max(one.a * one.b, 1e-3), max(other.a * other.b, 1e-3)
    least = 1e-3 * unit
    linear = math.log(max(one.a**2 * one.c, least) / max(other.a**2 * other.c, least))
    return abs(math.log(one.a / other.a)) + abs(math.log(slope / old)) + 0.5 * abs(linear)


def scoring_step(sums: Float, model: ErrorModel, free: Fitted) -> tuple[ErrorModel, str]:
    """The model after one scoring step, and why no step is possible (empty if one is).

    ``sums``: (11,), see ``agreement.scoring_sums``.  ``free``: which of a, b, c are fitted.
    """
    size = model.a**2 * np.array([1.0, model.b**2, model.c])  # A, B, C
    if free == ONE:
        size *= float(sums[9]) / KEPT_VARIANCE / max(float(sums[10]), 1e-300)
    else:
        fitted = np.array(free)
        every = _matrix(sums)
        unit = np.sqrt(every.diagonal()[fitted])
        if not (unit > 0).all():
            return model, "all intensities are alike"
        right = (sums[6:9] / KEPT_VARIANCE - every[:, ~fitted] @ size[~fitted])[fitted] / unit
        normal = every[fitted][:, fitted] / np.outer(unit, unit)
        if len(unit) > 1 and not _independent(normal):
            return model, "all intensities are alike"
        # if a variance changes by more than a factor of 10, the trimmed rows must be determined again first
        low = np.where(fitted, np.array([0.1, 0.0, 0.0]) * size, 0.0)[fitted] * unit
        size[fitted] = _least_squares(normal, right, low) / unit
    if not np.isfinite(size).all() or size[0] < 1e-12:
        return model, "the residuals are zero or not finite"
    big_a = min(max(size[0], 0.1 * model.a**2), 10.0 * model.a**2)
    b = math.sqrt(size[1] / big_a) if free[1] else model.b
    return ErrorModel(math.sqrt(big_a), b, float(size[2] / big_a) if free[2] else model.c), ""


def _independent(correlation: Float) -> bool:
    """Whether no term is a combination of the others, 1 - R^2 > _COLLINEAR.  ``correlation``: of the terms, (m, m)."""
    if not np.linalg.det(correlation) > 1e-9:
        return False
    return bool(1.0 / np.linalg.inv(correlation).diagonal().max() > _COLLINEAR)


def _least_squares(normal: Float, right: Float, low: Float) -> Float:
    """The x >= ``low``, (m,), that minimises x.N.x/2 - right.x.

    There are at most three unknowns, so every combination of bounds is tried.
    """
    best, least = low, math.inf
    for bound in product((False, True), repeat=len(low)):
        at, within = np.array(bound), ~np.array(bound)
        x = low.copy()
        x[within] = np.linalg.solve(normal[within][:, within], right[within] - normal[within][:, at] @ low[at])
        value = float(0.5 * x @ normal @ x - right @ x)
        if (x >= low).all() and value < least:
            best, least = x, value
    return best


def uncertainties(sums: Float, model: ErrorModel, free: Fitted) -> tuple[float, float, float]:
    """Standard uncertainties of a, b and c; NaN for parameters that were not fitted or not determined.

    They follow from the Fisher information 1/2 sum (1 - h) (dlnV'/dp)(dlnV'/dq).

    ``sums``: (11,), see ``agreement.scoring_sums``; V' and its derivatives are linear in V, mu^2 and mu+.
    """
    a, b, c = model.a, model.b, model.c
    slopes = np.array([[2 * a, 2 * a * b * b, 2 * a * c], [0.0, 2 * a * a * b, 0.0], [0.0, 0.0, a * a]])
    information = 0.5 * slopes @ _matrix(sums) @ slopes.T
    known = np.array(free) & (information.diagonal() > 0)
    esd = np.full(3, math.nan)
    if known.any():
        unit = np.sqrt(information.diagonal()[known])
        correlation = information[known][:, known] / np.outer(unit, unit)
        if not np.linalg.det(correlation) > 1e-9:  # proportional terms: only the first
            known &= np.arange(3) == np.flatnonzero(known)[0]
            unit, correlation = unit[:1], correlation[:1, :1]
        esd[known] = np.sqrt(np.linalg.inv(correlation).diagonal()) / unit
    return float(esd[0]), float(esd[1]), float(esd[2])


def _matrix(sums: Float) -> Float:
    """sum w x x' of V, mu^2 and mu+, (3, 3)."""
    return sums[[0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(3, 3)
