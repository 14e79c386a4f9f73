"""Deviations of observations from their equivalents, and scores that do not depend on their distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int, Int32

STRATA = 10  # classes of I/sigma in which ranks are taken
QUANTILES = 1000  # points at which the distribution of z^2 in a class is known
CLEARLY = 1.3  # mean squared difference of mates over its variance above which they differ


@dataclass(frozen=True, slots=True)
class Deviations:
    """Deviations of the merged observations from their equivalents, rows in the order of ``groups``.

    ``groups``: unique reflections, Friedel mates as they are merged.  ``data_set``, ``image``: whole numbers, images
    from 0 within their data set; stills are one image each.  ``x``: scaled intensity, ``variance``: its variance,
    ``z2``: squared deviation from the equivalents over its expected value, NaN for rows without equivalents.
    ``merged``: rows that are merged; the others are outliers, which only help to find bad images. All (n,).
    ``predicting``: groups within ``groups`` whose members predict each other, None for ``groups`` themselves: where
    Friedel mates differ, a mate predicts nothing.
    """

    groups: Groups
    data_set: Int | Int32
    image: Int
    x: Float
    variance: Float
    z2: Float
    merged: Bool
    predicting: Groups | None = None


def scores(data: Deviations) -> tuple[Float, Bool]:
    """q of every observation, (n,), and which have one: those with equivalents."""
    known: Bool = np.isfinite(data.z2)
    score = np.zeros(len(data.z2))
    rows = np.flatnonzero(known)
    if len(rows) == 0:
        return score, known
    stratum = stratum_of(data.x[rows] / np.sqrt(data.variance[rows]))
    for k in range(STRATA):
        in_stratum = rows[stratum == k]
        if len(in_stratum):
            score[in_stratum] = score_among(data.z2[in_stratum], data.z2[in_stratum])
    return score, known


def stratum_of(strength: Float) -> Int:
    """Class of each observation, (n,), STRATA classes of equal size.  ``strength``: I/sigma, (n,)."""
    rank = np.argsort(np.argsort(strength, kind="stable"), kind="stable")
    return np.asarray(rank * STRATA // max(len(strength), 1))


def score_among(z2: Float, others: Float) -> Float:
    """q: what z^2 - 1 would be at the same rank among other values if deviations were normal, (n,).

    The rank is taken by linear interpolation in the distribution of the others, which is smooth.  ``z2``: squared
    deviations, (n,).  ``others``: those among which they are ranked, (m,).
    """
    from scipy.special import ndtri

    ordered = np.sort(others)
    n = len(ordered)
    level = (np.arange(QUANTILES) + 0.5) / QUANTILES
    at = np.arange(n) if n <= 4 * QUANTILES else np.minimum((level * n).astype(np.int64), n - 1)
    q = ndtri(0.5 + 0.5 * (at + 0.5) / n) ** 2 - 1.0
    return np.asarray(np.interp(z2, ordered[at], q))


def mates_differ(merged: Groups, split: Groups, x: Float, variance: Float) -> bool:
    """Whether Friedel mates differ by clearly more than their errors.

    ``merged``, ``split``: groups of the same rows with mates together and apart.  ``x``, ``variance``: intensities and
    their variances, infinite for rows that do not count, (n,).
    """
    weight = split.sum(1.0 / variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = split.sum(np.where(np.isfinite(variance), x / variance, 0.0)) / weight
        parent = np.repeat(np.arange(len(merged)), merged.sizes())[split.offsets[:-1]]
        z2 = np.diff(mean) ** 2 / (1.0 / weight[1:] + 1.0 / weight[:-1])
    pairs = z2[(np.diff(parent) == 0) & np.isfinite(z2)]
    if len(pairs) == 0:
        return False
    usual = float(np.minimum(pairs, 25.0).mean())
    return usual > max(CLEARLY, 1.0 + 4.0 * float(np.sqrt(2.0 / len(pairs))))
