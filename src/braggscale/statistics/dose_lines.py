"""Curves of intensity with dose, one for each unique reflection, and their evidence.

With f the dose on the scale of the damage (``response``), every reflection follows

    I_h + s_h f + q_h f (1 - f),     s_h + gamma I_h = gamma <I> +- sqrt(lambda p_h),     q_h = 0 +- sqrt(nu lambda p_h)

in which p_h = t_1 I_h <I> + t_2 <I>^2. Given lambda, all is normal, and I_h has no prior. Then (I_h, s_h, q_h) are
the solution of three linear equations, and the likelihood of the observations with I_h, s_h and q_h integrated out is
known (Gelman et al., Bayesian Data Analysis, chapter 15). lambda is different for each reflection: a mixture of
``WIDTHS``, whose shares are those that make the observations most probable (the EM algorithm: Dempster, Laird & Rubin,
J. R. Statist. Soc. B39 (1977) 1). So the tails of the distribution of slopes are estimated, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Bool, Float, Int

# lambda: variance of a slope over that of most slopes.
WIDTHS = np.array([0.0, 1 / 16, 1 / 4, 1.0, 4.0, 16.0, 64.0, 256.0])
# Shares of the widths before they are known, about those of Student's distribution with 4 degrees of freedom, and the
# number of reflections that they count for.
USUAL_SHARES = np.array([0.02, 0.02, 0.14, 0.51, 0.25, 0.05, 0.008, 0.002])
COUNT_FOR = 50.0
EM_STEPS = 30
# Smallest variance of a slope, of <I>^2, and of a curvature, of that of the slope.
LEAST_PRIOR, LEAST_CURVATURE = 1e-8, 1e-6
# Below this rate of decay f is linear.
LINEAR = 1e-6


def response(dose: Float, rate: float) -> Float:
    """f = (1 - exp(-k D))/(1 - exp(-k)) with rate k; D itself for k = 0, (n,).  ``dose``: D, from 0 to 1, (n,)."""
    if abs(rate) < LINEAR:
        return dose
    result: Float = np.expm1(-rate * dose) / np.expm1(-rate)
    return result


@dataclass(frozen=True, slots=True)
class Slopes:
    """The distribution of slopes: gamma, t_1, t_2, nu, the rate k of ``response``, and ``shares`` of WIDTHS."""

    gamma: float = 0.0
    of_intensity: float = 0.0
    of_level: float = 0.0
    curvature: float = 0.0
    rate: float = 0.0
    shares: tuple[float, ...] = tuple(USUAL_SHARES.tolist())

    def variance(self, intensity: Float, level: Float) -> Float:
        """p of each reflection, (n,).  ``intensity``: at dose zero, ``level``: <I>, (n,)."""
        result: Float = self.of_intensity * intensity * level + self.of_level * level**2
        return result


@dataclass(frozen=True, slots=True)
class CurveSums:
    """Sums over the observations of each group, with the basis functions phi = (1, f, f (1 - f)).

    ``matrix``: of w phi phi^T, (n_groups, 3, 3).  ``right``: of w phi (x - mean), (n_groups, 3).  ``square``: of
    w (x - mean)^2, ``mean``: weighted mean, 0 without observations, ``n``: observations, (n_groups,).
    """

    matrix: Array
    right: Array
    square: Float
    mean: Float
    n: Int

    @classmethod
    def of(cls, groups: Groups, x: Float, weight: Float, phi: Array) -> CurveSums:
        """``x``, ``weight``: (n_rows,), ``phi``: (n_rows, 3)."""
        w = groups.sum(weight)
        mean = np.divide(groups.sum(weight * x), w, out=np.zeros(len(w)), where=w > 0)
        off = np.where(weight > 0, x - groups.spread(mean), 0.0)
        own = weight[:, None] * phi
        matrix = np.empty((len(w), 3, 3))
        for i in range(3):
            for j in range(i, 3):
                matrix[:, i, j] = matrix[:, j, i] = groups.sum(own[:, i] * phi[:, j])
        n = groups.sum(weight > 0).astype(np.int64)
        return cls(matrix, groups.sum(own * off[:, None]), groups.sum(weight * off * off), mean, n)

    def choose(self, keep: Bool | Int) -> CurveSums:
        """The sums of some groups.  ``keep``: (n_groups,) or their numbers."""
        return CurveSums(self.matrix[keep], self.right[keep], self.square[keep], self.mean[keep], self.n[keep])


@dataclass(frozen=True, slots=True)
class Curves:
    """The curve of each group for one width.

    ``inverse``: covariance of (I_h - mean, s_h, q_h), (n_groups, 3, 3).  ``values``: these, (n_groups, 3).
    ``evidence``: logarithm of the likelihood without the part that is the same for all widths, (n_groups,).
    """

    inverse: Array
    values: Array
    evidence: Float

    @classmethod
    def of(cls, sums: CurveSums, slopes: Slopes, width: float | Float, variance: Float, level: Float) -> Curves:
        """``width``: lambda, one or (n_groups,).  ``variance``: p of each group, ``level``: <I>, (n_groups,)."""
        p = np.maximum(width * variance, LEAST_PRIOR * level**2 + np.finfo(float).tiny)
        q = np.maximum(slopes.curvature, LEAST_CURVATURE) * p
        toward = np.array([slopes.gamma, 1.0, 0.0])
        wanted = slopes.gamma * (level - sums.mean)
        there = sums.n > 0
        matrix = sums.matrix + np.outer(toward, toward) / p[:, None, None]
        matrix[:, 2, 2] += 1.0 / q
        matrix[~there] = np.eye(3)
        right = sums.right + toward * (wanted / p)[:, None]
        inverse, determinant = _inverse(matrix)
        values = np.einsum("nij,nj->ni", inverse, right)
        square = sums.square + wanted * wanted / p - np.einsum("ni,ni->n", right, values)
        evidence = -0.5 * (np.log(p) + np.log(q) + np.log(determinant) + square)
        return cls(inverse, values, np.where(there, evidence, 0.0))


def _inverse(m: Array) -> tuple[Array, Float]:
    """Inverses of symmetric positive matrices, (n, 3, 3), and their determinants, (n,).

    Each is scaled to a diagonal of 1 first, because the units of its parts differ by many orders.
    """
    d = 1.0 / np.sqrt(np.maximum(np.einsum("nii->ni", m), np.finfo(float).tiny))
    a = m * d[:, :, None] * d[:, None, :]
    x, y, z = a[:, 0, 1], a[:, 0, 2], a[:, 1, 2]
    c = np.empty_like(a)
    c[:, 0, 0], c[:, 1, 1], c[:, 2, 2] = 1 - z * z, 1 - y * y, 1 - x * x
    c[:, 0, 1] = c[:, 1, 0] = y * z - x
    c[:, 0, 2] = c[:, 2, 0] = x * z - y
    c[:, 1, 2] = c[:, 2, 1] = x * y - z
    determinant = np.maximum(c[:, 0, 0] + x * c[:, 0, 1] + y * c[:, 0, 2], 1e-14)
    inverse = c / determinant[:, None, None] * d[:, :, None] * d[:, None, :]
    return inverse, determinant / np.prod(d * d, axis=1)


def basis(dose: Float, rate: float) -> Array:
    """phi = (1, f, f (1 - f)) of each observation, (n, 3).  ``dose``: D, (n,)."""
    f = response(dose, rate)
    return np.column_stack((np.ones(len(f)), f, f * (1.0 - f)))


def with_shares(sums: CurveSums, slopes: Slopes, variance: Float, level: Float) -> tuple[Slopes, float]:
    """The slopes with the shares of WIDTHS that make the observations most probable, and the logarithm of that.

    ``sums``, ``variance``, ``level``: of the reflections that are used for it, (n_groups,).
    """
    evidence = np.stack([_with_wilson(Curves.of(sums, slopes, float(k), variance, level), sums, level) for k in WIDTHS])
    top = evidence.max(axis=0)
    relative = np.exp(evidence - top)
    shares = USUAL_SHARES.copy()
    for _ in range(EM_STEPS):
        part = shares[:, None] * relative
        part /= part.sum(axis=0)
        shares = (part.sum(axis=1) + COUNT_FOR * USUAL_SHARES) / (part.shape[1] + COUNT_FOR)
    likelihood = float(np.sum(top + np.log(shares @ relative)))
    likelihood += COUNT_FOR * float(USUAL_SHARES @ np.log(shares / USUAL_SHARES))
    return replace(slopes, shares=tuple(shares.tolist())), likelihood


def without_slopes(sums: CurveSums, level: Float) -> float:
    """Logarithm of the likelihood of the same observations without slopes.  ``level``: <I>, (n_groups,)."""
    curves = Curves.of(sums, Slopes(), 0.0, np.zeros(len(level)), level)
    return float(_with_wilson(curves, sums, level).sum())


def _with_wilson(curves: Curves, sums: CurveSums, level: Float) -> Float:
    return curves.evidence + log_wilson(curves.values[:, 0] + sums.mean, curves.inverse[:, 0, 0], level)


def log_wilson(intensity: Float, variance: Float, level: Float) -> Float:
    """Logarithm of the mean of Wilson's distribution exp(-I/<I>)/<I>, I >= 0, over a normal distribution of I, (n,).

    ``intensity``: its mean, ``variance``: its variance, ``level``: <I>, (n,).
    """
    from scipy.special import log_ndtr

    level = np.maximum(level, np.finfo(float).tiny)
    sigma = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
    z, ratio = intensity / sigma, sigma / level
    result: Float = -np.log(level) - z * ratio + 0.5 * ratio**2 + log_ndtr(z - ratio)
    return result
