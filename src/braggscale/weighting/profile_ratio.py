"""The ratio of profile-fitted to summed intensities as a smooth function, and the variance of their difference.

    E P = R E S,    ln R = level + alpha ln p + f(1/d^2) + f(x, y) + f(image)

P is the profile intensity, S the sum divided by the partiality, p the partiality, E the expectation. The functions are
cubic B-splines with squared second differences as penalty (Eilers & Marx, Stat. Sci. 11 (1996) 89).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from braggscale.data.observations import Observations
from braggscale.numerics.array_types import Float, Int, Int32

RESOLUTION, DETECTOR, ROTATION = 8, 5, 18  # most intervals in 1/d^2, along x and along y, over the images
ROWS_FOR_PARAMETER = 20
FEWEST_IMAGES = 10.0  # with fewer images there is no function of the image
NULL = 1e-3  # multiple of the unit matrix that is added to each penalty, so that straight lines are restrained, too
MOST_LOG = 50.0  # limit of the part alpha ln p of ln R, so that the ratio and its square stay finite
PLAUSIBLE = 1.5  # limit of ln R without the partiality; intensities that differ more do not belong to one reflection
LEAST_COUNTING = 0.01  # of Difference, so that equal intensities do not have infinite weight
_ITERATIONS, _SETTLED = 25, 1e-3


@dataclass(frozen=True, slots=True)
class Difference:
    """Variance of P/R - S, D = counting E + linear c T + square T^2, counts^2.

    T is the expected intensity, c = I/I_raw, and E = V_S - V_P, by which the variance of a profile fit is smaller
    than that of a sum. The error of an efficient estimate is not correlated with its difference from another one,
    so D = E if the variances are right. ``linear``: counts, and ``square``: terms beyond counting statistics.
    """

    counting: float = 1.0
    linear: float = 0.0
    square: float = 9e-4

    def parts(self, saved: Float, factor: Float, expected: Float) -> Float:
        """The three terms of D, (3, n).  ``saved``: E, ``factor``: c, ``expected``: T, all (n,)."""
        return np.stack((self.counting * saved, self.linear * factor * expected, self.square * expected**2))

    def excess(self, factor: Float, expected: Float) -> Float:
        """The part that is not counting statistics, counts^2, (n,).

        ``factor``: c, ``expected``: T, at least 0, (n,).
        """
        found: Float = (self.linear * factor + self.square * expected) * expected
        return found

    def variance(self, saved: Float, factor: Float, expected: Float) -> Float:
        """D of each row, counts^2, (n,).  ``saved``: E, above 0, ``factor``: c, ``expected``: T, all (n,)."""
        return self.counting * saved + self.excess(factor, expected)

    def fitted(self, square: Float, saved: Float, factor: Float, expected: Float) -> Difference:
        """Robust maximum of a quasi-likelihood of the squared differences, starting from ``self``; no coefficient
        below 0.

        ``square``: (P/R - S)^2, counts^2, ``saved``: E, ``factor``: c, ``expected``: T, all (n,); without a row the
        coefficients stay.
        """
        start = np.array([[self.counting, self.linear, self.square]])
        columns = np.stack((saved, factor * expected, expected**2))
        return Difference(*fitted_differences(start, square, columns, np.array([0, len(square)]))[0].tolist())


def fitted_differences(start: Float, square: Float, columns: Float, offsets: Int) -> Float:
    """The coefficients of ``Difference`` of several families at once, (n_families, 3); see ``Difference.fitted``.

    ``start``: coefficients to begin with, (n_families, 3).  ``square``: (P/R - S)^2, counts^2, (n,), the rows of family
    k from ``offsets[k]`` to ``offsets[k + 1]``, ``offsets``: (n_families + 1,).  ``columns``: E, c T and T^2, (3, n).
    A family without rows keeps what it has.
    """
    coefficients, sizes = start.copy(), np.diff(offsets)
    settled = sizes == 0
    for _ in range(_ITERATIONS):
        moving = np.flatnonzero(~settled)
        if not len(moving):
            break
        if len(moving) < len(sizes):  # only the rows of families that have not converged
            mine = np.concatenate([np.arange(offsets[k], offsets[k + 1]) for k in moving.tolist()])
            here_square, here_columns = square[mine], columns[:, mine]
        else:
            here_square, here_columns = square, columns
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes[moving])))
        model = _variances(coefficients[moving], here_columns, ends)
        z2 = here_square / model
        # leave out rows beyond 4 sigma, or beyond 7 times the usual deviation as long as this is larger
        bound = np.maximum(16.0, 50.0 * _medians(z2, ends))
        weight = (z2 < np.repeat(bound, np.diff(ends))) / model**2
        new = _not_negative(here_columns, here_square, weight, ends)
        new[:, 0] = np.maximum(new[:, 0], LEAST_COUNTING)
        change = np.abs(np.log(_variances(new, here_columns, ends) / model))
        coefficients[moving] = new
        settled[moving] = _medians(change, ends) < _SETTLED
    return coefficients


def _variances(coefficients: Float, columns: Float, offsets: Int) -> Float:
    """D of each row, (n,)."""
    sizes = np.diff(offsets)
    variances = np.zeros(columns.shape[1])
    for column, mine in zip(columns, coefficients.T, strict=True):
        variances += np.repeat(mine, sizes) * column
    return variances


def _medians(values: Float, offsets: Int) -> Float:
    """The upper median of each run of rows, none empty, (n_families,)."""
    edges = offsets.tolist()
    middle = [(a, b, (b - a) // 2) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return np.array([np.partition(values[a:b], half)[half] for a, b, half in middle])


def _not_negative(columns: Float, y: Float, weight: Float, offsets: Int) -> Float:
    """Least squares y = sum_k x_k columns_k with x_k >= 0 in each run of rows: the best of all subsets.

    ``columns``: (k, n).  Returns (n_families, k).
    """
    n, begin = len(columns), offsets[:-1]
    weighted = columns * weight
    normal = np.empty((len(begin), n, n))
    for a in range(n):
        for b in range(a, n):
            normal[:, a, b] = normal[:, b, a] = np.add.reduceat(weighted[a] * columns[b], begin)
    right = np.stack([np.add.reduceat(row * y, begin) for row in weighted], axis=1)
    scale = np.sqrt(normal[:, np.arange(n), np.arange(n)])
    scale = np.where(scale > 0, scale, 1.0)  # a column of zeros gets x = 0
    normal /= scale[:, :, None] * scale[:, None, :]
    right /= scale
    best, result = np.full(len(begin), np.inf), np.zeros((len(begin), n))
    left = np.arange(len(begin))
    for size in range(n, 0, -1):
        for mine in combinations(range(n), size):
            where = np.array(mine)
            part = normal[left[:, None, None], where[:, None], where]
            value = right[left[:, None], where]
            x = (np.linalg.pinv(part, rcond=1e-10, hermitian=True) @ value[..., None])[..., 0]
            cost = np.einsum("fi,fij,fj->f", x, part, x) - 2.0 * np.einsum("fi,fi->f", x, value)
            better = (x >= 0).all(axis=1) & (cost < best[left])
            best[left[better]] = cost[better]
            result[left[better]] = 0.0
            result[left[better][:, None], where] = x[better]
        if size == n:  # the minimum without bounds has no negative coefficient, so no subset can be better
            left = left[~(result[left] > 0).any(axis=1)]
            if not len(left):
                break
    return result / scale


@dataclass(frozen=True, slots=True)
class Sites:
    """The quantities that the ratio of observations depends on, and the data set of each.

    ``data_set``: position in the run, (n,), ``d``: resolution, Angstrom, (n,), ``xyz``: position on the detector, px,
    px, and image number, (n, 3), ``partiality``: recorded fraction, (n,).
    """

    data_set: Int32
    d: Float
    xyz: Float
    partiality: Float

    @classmethod
    def of(cls, rows: Observations) -> Sites:
        """Those of all ``rows``, not copied."""
        return cls(rows.data_set, rows.d, rows.xyz, rows.partiality)

    def __len__(self) -> int:
        return len(self.d)

    def take(self, chosen: Int | slice) -> Sites:
        """Those of the rows with the numbers ``chosen``, (k,)."""
        return Sites(self.data_set[chosen], self.d[chosen], self.xyz[chosen], self.partiality[chosen])


@dataclass(frozen=True, slots=True)
class Term:
    """One function of ln R, of one or two coordinates.

    ``kind``: resolution, position or rotation.  ``low``, ``high``: ends of each coordinate.  ``intervals``: of each.
    """

    kind: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    intervals: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Parameters along each coordinate."""
        return tuple(n + 3 for n in self.intervals)

    @property
    def n(self) -> int:
        """Number of parameters."""
        return int(np.prod(self.shape))

    def basis(self, coordinates: Sequence[Float]) -> tuple[Int, Float]:
        """Numbers of the parameters on which each row depends, and their coefficients, (n, 4) or (n, 16).

        Cubic B-splines on equal intervals; beyond an end as at the end.  ``coordinates``: (n,) each.
        """
        n = len(coordinates[0])
        index, value = np.zeros((n, 1), np.int64), np.ones((n, 1))
        stride = 1
        for x, low, high, intervals in zip(coordinates, self.low, self.high, self.intervals, strict=True):
            u = np.clip((x - low) * (intervals / (high - low)), 0.0, intervals)
            first = np.minimum(u.astype(np.int64), intervals - 1)
            t = u - first
            s = 1.0 - t
            spline = np.stack((s**3, (3 * t - 6) * t**2 + 4, (3 * s - 6) * s**2 + 4, t**3), axis=1) / 6.0
            place = stride * (first[:, None] + np.arange(4))
            index = (index[:, :, None] + place[:, None, :]).reshape(n, -1)
            value = (value[:, :, None] * spline[:, None, :]).reshape(n, -1)
            stride *= intervals + 3
        return index, value

    def penalty(self) -> Float:
        """Squared second differences along every coordinate, and a small multiple of the unit matrix, (n, n)."""
        matrix = NULL * np.eye(self.n)
        before = 1
        for size in self.shape:
            bends = np.diff(np.eye(size), n=2, axis=0)
            matrix += np.kron(np.eye(self.n // (before * size)), np.kron(bends.T @ bends, np.eye(before)))
            before *= size
        return matrix


@dataclass(frozen=True, slots=True)
class Ratio:
    """ln R of the data sets in ``data_sets`` (increasing), which share everything but a level.

    ``theta``: common level, alpha, then the parameters of ``terms``, (2 + n_parameters,).  ``levels``: added for
    each of ``data_sets``, (n_sets,).  ``n_rows``: number of observations in the fit.  ``power_esd``: uncertainty of
    alpha. ``alone``: sums or profiles if only one of them is used, and ``why``; empty if both are combined.
    """

    data_sets: Int
    terms: tuple[Term, ...]
    theta: Float
    levels: Float
    difference: Difference = field(default_factory=Difference)
    n_rows: int = 0
    power_esd: float = np.inf
    alone: str = ""
    why: str = ""

    @property
    def power(self) -> float:
        """Alpha: 0 where profiles are of the whole reflection, 1 where they are of the part that was recorded."""
        return float(self.theta[1])

    def places(self) -> list[slice]:
        """Position of each term in theta."""
        ends = np.cumsum([2, *(term.n for term in self.terms)]).tolist()
        return [slice(first, last) for first, last in zip(ends[:-1], ends[1:], strict=True)]

    def design(self, rows: Sites) -> Float:
        """X, ln R = X theta + levels, (n, n_parameters)."""
        x = np.zeros((len(rows), len(self.theta)))
        x[:, 0], x[:, 1] = 1.0, log_partiality(rows)
        for term, where in zip(self.terms, self.places(), strict=True):
            index, value = term.basis(coordinates(term.kind, rows))
            x[np.arange(len(rows))[:, None], where.start + index] = value
        return x

    def log(self, rows: Sites) -> Float:
        """ln R of each row, (n,).  ``rows``: of these data sets alone."""
        eta = self.theta[0] + self.levels[np.searchsorted(self.data_sets, rows.data_set)]
        for term, where in zip(self.terms, self.places(), strict=True):
            index, value = term.basis(coordinates(term.kind, rows))
            eta += (self.theta[where][index] * value).sum(axis=1)
        of_partiality = np.clip(self.theta[1] * log_partiality(rows), -MOST_LOG, MOST_LOG)
        return np.asarray(np.clip(eta, -PLAUSIBLE, PLAUSIBLE) + of_partiality)


def log_partiality(rows: Sites) -> Float:
    """ln p, (n,)."""
    return np.log(np.clip(rows.partiality, 1e-3, 1.0))


def coordinates(kind: str, rows: Sites) -> tuple[Float, ...]:
    """The variables of a term of this kind: 1/d^2, x and y, or the image number, (n,) each."""
    if kind == "resolution":
        return (1.0 / rows.d**2,)
    if kind == "position":
        return rows.xyz[:, 0], rows.xyz[:, 1]
    return (rows.xyz[:, 2],)


def terms_of(rows: Sites, alone: bool) -> tuple[Term, ...]:
    """The functions that the rows can determine: of resolution, position, and, for one sweep ``alone``, rotation."""
    terms: list[Term] = []
    for kind, most in (("resolution", RESOLUTION), ("position", DETECTOR), ("rotation", ROTATION)):
        along = coordinates(kind, rows)
        low, high = (tuple(float(end(x)) for x in along) for end in (np.min, np.max))
        if not all(np.isfinite((*low, *high))) or not all(b > a for a, b in zip(low, high, strict=True)):
            continue
        if kind == "rotation" and (not alone or high[0] - low[0] < FEWEST_IMAGES):
            continue
        intervals = int(np.clip((len(rows) / ROWS_FOR_PARAMETER) ** (1 / len(low)) - 3, 1, most))
        terms.append(Term(kind, low, high, (intervals,) * len(low)))
    return tuple(terms)
