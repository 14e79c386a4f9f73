"""How well each rotation of the lattice holds for the intensities: a check of the symmetry that was used.

Scaled observations are merged as if the crystal had no symmetry but Friedel's law. For each rotation R of the lattice,
pairs of reflections h and h R are compared: the correlation of their normalised intensities and R_meas. If R is a
symmetry of the crystal, only errors make the correlation smaller than 1. Otherwise it may have any smaller value,
which depends on the pseudo-symmetry of the crystal. The probability of the element follows Evans, Acta Cryst. D67
(2011) 282, equations 2 to 4: a Lorentzian about the expected correlation, against one about mu, averaged over mu
with the density (1 - mu^2)^(1/2) from 0 to 1.

If the error model was fitted with a false element, the errors are too large, and the expected correlation would be
near 0. So the expected correlation is never smaller than the largest one that any element has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.index_order import unique_indices
from braggscale.data.normalised_intensities import normalised_intensities
from braggscale.data.reindexing import reindexed, text_of
from braggscale.numerics.array_types import Array, Float

FEWEST_PAIRS = 10
ENOUGH_PAIRS = 50  # with fewer pairs a correlation does not raise the expected one
NARROWEST = 0.1  # least width of the distribution of a correlation (Evans)
FROM_PAIRS = 3.5  # its width times the square root of the number of pairs (Evans)
LARGEST = 5.0  # of a normalised intensity, so that a few strong pairs do not decide


@dataclass(frozen=True, slots=True)
class Element:
    """``operator``: on indices, such as ``-h,-k,l``.  ``fold``: 2, 3, 4 or 6.  ``used``: whether the space group of the
    run has it.  ``cc``, ``r_meas``: of ``pairs`` pairs of reflections, NaN where there are too few.  ``probability``:
    that the crystal has it; NaN where there are too few pairs.
    """

    operator: str
    fold: int
    used: bool
    pairs: int
    cc: float
    r_meas: float
    probability: float


def symmetry_elements(
    hkl: Array, intensity: Float, sigma: Float, d: Float, rotations: Sequence[Float], used: Sequence[bool],
    expected_cc: float,
) -> list[Element]:  # fmt: skip
    """One element for each of ``rotations``, in their order.

    ``hkl``: unique reflections without symmetry, one of each Friedel pair, (n, 3); ``intensity``, ``sigma``: merged;
    ``d``: Angstrom, (n,).  ``rotations``: M with h -> h M, (3, 3) each, the identity left out.  ``used``: whether the
    space group has it.  ``expected_cc``: correlation that is expected, by the errors, if the element is a symmetry.
    """
    e2 = np.minimum(normalised_intensities(intensity, d, np.ones(len(d))), LARGEST)
    weight = 1.0 / ((sigma / np.maximum(np.abs(intensity), 1e-30) * e2) ** 2 + 0.1)
    elements = [
        _element(matrix, is_used, hkl, intensity, e2, weight) for matrix, is_used in zip(rotations, used, strict=True)
    ]
    expected = max([expected_cc, *(e.cc for e in elements if e.pairs >= ENOUGH_PAIRS and np.isfinite(e.cc))])
    return [replace(e, probability=_probability(e.cc, e.pairs, expected)) if np.isfinite(e.cc) else e for e in elements]


def _element(matrix: Float, used: bool, hkl: Array, intensity: Float, e2: Float, weight: Float) -> Element:
    """An element without its probability."""
    first, second = _pairs(hkl, matrix)
    fold = _fold(matrix)
    n = len(first)
    if n < FEWEST_PAIRS:
        return Element(text_of(matrix), fold, used, n, float("nan"), float("nan"), float("nan"))
    w = 1.0 / (1.0 / weight[first] + 1.0 / weight[second])
    cc = _correlation(e2[first], e2[second], w)
    a, b = intensity[first], intensity[second]
    r = float(np.sqrt(2.0) * np.abs(a - b).sum() / max(np.abs(a + b).sum(), 1e-300))
    return Element(text_of(matrix), fold, used, n, cc, r, float("nan"))


def _pairs(hkl: Array, matrix: Float) -> tuple[Array, Array]:
    """Positions of reflections h and +-h M that are both there and not the same, each pair once."""
    n = len(hkl)
    moved = reindexed(hkl, matrix)
    _, number = unique_indices(np.concatenate([hkl, -np.asarray(hkl), moved]))
    where = np.full(int(number.max(initial=-1)) + 1, -1, np.int64)
    where[number[n : 2 * n]] = np.arange(n)
    where[number[:n]] = np.arange(n)
    partner = where[number[2 * n :]]
    first = np.flatnonzero(partner >= 0)
    second = partner[first]
    key = np.minimum(first, second) * n + np.maximum(first, second)
    once = np.unique(np.where(first == second, -1, key), return_index=True)[1]
    once = once[first[once] != second[once]]
    return first[once], second[once]


def _fold(matrix: Float) -> int:
    power, m = 1, np.asarray(matrix)
    while not np.array_equal(np.rint(m), np.eye(3)) and power < 6:
        m, power = m @ matrix, power + 1
    return power


def _correlation(x: Float, y: Float, w: Float) -> float:
    total = w.sum()
    dx, dy = x - (w @ (x + y)) / (2 * total), y - (w @ (x + y)) / (2 * total)  # about their common mean
    size = 0.5 * float(w @ (dx * dx + dy * dy))
    return float(w @ (dx * dy)) / size if size > 0 else float("nan")


def _probability(cc: float, pairs: int, expected: float) -> float:
    width = max(NARROWEST, FROM_PAIRS / np.sqrt(pairs))
    mu = np.linspace(0.0, 1.0, 201)
    prior = np.sqrt(1.0 - mu * mu)

    def density(centre: Float) -> Float:
        """Probability density of the correlation about ``centre``."""
        # a Lorentzian, normalised where a correlation can be: from -1 to 1
        whole = np.arctan((1.0 - centre) / width) - np.arctan((-1.0 - centre) / width)
        result: Float = 1.0 / (width * (1.0 + ((cc - centre) / width) ** 2) * whole)
        return result

    yes = float(density(np.array([expected]))[0])
    no = float((density(mu) * prior).sum() / prior.sum())
    return yes / (yes + no)
