"""Which space group the systematic absences point to.

All space groups with the rotations and the centring of the data are compared. They differ in the reflections that
screw axes and glide planes forbid. Reflections that none or all of them forbid give no information. For the others
the likelihood of each intensity is calculated for the cases "absent" and "present":

    present   J of Wilson's distribution about its local mean S, measured with the error sigma
    absent    J = 0, measured with the error sigma; in one of eight cases a small intensity is added (a multiple
              reflection, a harmonic of the beam, a tail of a neighbour), and in one of fifty the intensity is that of
              a reflection that is present (a wrong index)

Space groups that forbid the same reflections are one *pattern*: enantiomorphs such as P 41 and P 43 cannot be told
apart. The probability of a pattern is its likelihood divided by the sum of the likelihoods of all patterns; the
prior probabilities of all patterns are equal. Compare Evans, Acta Cryst. D67 (2011) 282, section 3, who tests each
axis separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.normalised_intensities import Shells
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Array, Bool, Float

IMPOSTOR = 0.02  # share of absent reflections whose intensity is that of another reflection
LEAKING, LEAKAGE = 0.125, 0.02  # share of absent reflections with a small intensity; its size / local mean
FEWEST = 3  # least number of reflections that distinguish a pattern from the one without absences
_NODES = 48


@dataclass(frozen=True, slots=True)
class Pattern:
    """``groups``: space groups with the same absences, as Hermann-Mauguin symbols.  ``probability``: of all of them.

    ``n``: observed unique reflections that they forbid and some other group allows.  ``i_over_sigma``: mean I/sigma
    of these, ``others``: mean I/sigma of the reflections that they allow and some other group forbids; NaN where
    there are none.
    """

    groups: tuple[str, ...]
    probability: float
    n: int
    i_over_sigma: float
    others: float


def judge_absences(
    hkl: Array, intensity: Float, sigma: Float, d: Float, symmetry: Symmetry, candidates: Sequence[Symmetry]
) -> list[Pattern]:
    """Patterns of absences, the most probable first; empty if no reflection of the data distinguishes between them.

    ``hkl``: unique reflections, Friedel mates merged, (n, 3); ``intensity``, ``sigma``: merged, any scale; ``d``:
    Angstrom, (n,).  ``symmetry``: of the data, used for its rotations.  ``candidates``: space groups with the same
    rotations and centring, in the same setting.
    """
    good = np.isfinite(intensity) & np.isfinite(sigma) & (sigma > 0)
    hkl, intensity, sigma, d = hkl[good], intensity[good], sigma[good], d[good]
    if len(hkl) == 0 or len(candidates) < 2:
        return []
    epsilon = symmetry.epsilon(hkl)
    # a reflection that a screw axis or glide plane forbids is invariant under its rotation part; centring is common
    # to all
    special = np.flatnonzero(epsilon > 1)
    absent = np.zeros((len(candidates), len(hkl)), bool)
    for k, group in enumerate(candidates):
        absent[k, special] = group.is_absent(hkl[special])
    tells = absent.any(axis=0) & ~absent.all(axis=0)
    if np.count_nonzero(tells) < FEWEST:
        return []
    general: Bool = np.logical_not(absent.any(axis=0))
    local = _local_mean(intensity, d, epsilon, general)
    ratio = _log_ratio(intensity[tells], sigma[tells], local[tells] * epsilon[tells], symmetry.is_centric(hkl[tells]))
    patterns, inverse = np.unique(absent[:, tells], axis=0, return_inverse=True)
    score = patterns @ ratio
    probability = np.exp(score - score.max())
    probability /= probability.sum()
    strength = intensity[tells] / sigma[tells]
    judged = []
    for k in np.argsort(-probability, kind="stable").tolist():
        names = tuple(str(candidates[i]) for i in np.flatnonzero(inverse.ravel() == k).tolist())
        n = int(np.count_nonzero(patterns[k]))
        judged.append(
            Pattern(names, float(probability[k]), n, _mean(strength[patterns[k]]), _mean(strength[~patterns[k]]))
        )
    return judged


def _mean(values: Float) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _local_mean(intensity: Float, d: Float, epsilon: Array, general: Bool) -> Float:
    """Mean of I/epsilon of the general reflections at the resolution of each, (n,)."""
    if np.count_nonzero(general) < 50:
        general = np.ones(len(intensity), bool)
    shells = Shells.of(d)
    n = len(shells.members)
    total = np.bincount(shells.shell[general], np.maximum(intensity / epsilon, 0.0)[general], n)
    count = np.bincount(shells.shell[general], minlength=n)
    overall = max(float(total.sum() / max(count.sum(), 1)), 1e-300)
    mean = np.where(count >= 10, total / np.maximum(count, 1), overall)
    result: Float = np.maximum(mean, 1e-3 * overall)[shells.shell]
    return result


def _log_ratio(intensity: Float, sigma: Float, mean: Float, centric: Bool) -> Float:
    """ln p(I | absent) - ln p(I | present), (n,).  ``mean``: expected J where present."""
    present = np.exp(_log_present(intensity, sigma, mean, centric))
    nothing = _normal(intensity, sigma)
    little = _normal(intensity, np.sqrt(sigma**2 + (LEAKAGE * mean) ** 2))
    absent = (1.0 - LEAKING - IMPOSTOR) * nothing + LEAKING * little + IMPOSTOR * present
    result: Float = np.log(np.maximum(absent, 1e-300)) - np.log(np.maximum(present, 1e-300))
    return result


def _normal(x: Float, sigma: Float) -> Float:
    result: Float = np.exp(-0.5 * (x / sigma) ** 2) / (np.sqrt(2.0 * np.pi) * sigma)
    return result


def _log_present(intensity: Float, sigma: Float, mean: Float, centric: Bool) -> Float:
    """ln of Wilson's distribution convolved with the error, (n,).

    With J = y^2 the integral of p(J) N(I; J, sigma^2) over y is smooth; Gauss-Legendre over the range that matters.
    """
    low = np.sqrt(np.maximum(intensity - 6.0 * sigma, 0.0))
    high = np.sqrt(np.maximum(intensity, 0.0) + 6.0 * sigma)
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    y = low[:, None] + 0.5 * (high - low)[:, None] * (node + 1.0)
    j = y * y
    s = mean[:, None]
    prior = np.where(
        centric[:, None],
        np.exp(-j / (2.0 * s)) / np.sqrt(2.0 * np.pi * s) * 2.0,  # p(J) dJ/dy = 2 y / sqrt(2 pi J S)
        np.exp(-j / s) / s * 2.0 * y,
    )
    error = np.exp(-0.5 * ((intensity[:, None] - j) / sigma[:, None]) ** 2) / (np.sqrt(2 * np.pi) * sigma[:, None])
    total = 0.5 * (high - low) * ((prior * error) @ weight)
    result: Float = np.log(np.maximum(total, 1e-300))
    return result
