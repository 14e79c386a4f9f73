"""The ratio of profile-fitted to summed intensities as a smooth function: its parts, and how the two differ.

    E P = R E S,    ln R = level + alpha ln p + f(1/d^2) + f(x, y) + f(image)

P the profile intensity, S the sum (of a reflection recorded in part both brought to the whole), p the partiality. The
functions are cubic B-splines with squared second differences as penalty (Eilers & Marx, Stat. Sci. 11 (1996) 89).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from braggscale.data.observations import Observations
from braggscale.numerics.array_types import Float, Int

RESOLUTION, DETECTOR, ROTATION = 8, 5, 18  # most intervals in 1/d^2, along x and along y, over the images
ROWS_FOR_PARAMETER = 20
FEWEST_IMAGES = 10.0  # fewer have no function of the image
NULL = 1e-3  # share of a ridge in each penalty, so that straight lines can vanish, too
MOST_LOG = 50.0  # bound of its part by the partiality, so that the ratio and its square stay finite
PLAUSIBLE = 1.5  # bound of ln R beside the partiality: intensities that differ more are no two views of one reflection
LEAST_COUNTING = 0.01  # of Difference, so that equal intensities do not have infinite weight
_ITERATIONS, _SETTLED = 25, 1e-3


@dataclass(frozen=True, slots=True)
class Difference:
    """Variance of P/R - S, D = counting E + linear c T + square T^2, counts^2.

    T is the expected intensity, c = I/I_raw, E = V_S - V_P what a profile fit saves of the variance of a sum. The error
    of an efficient estimate is not correlated with what the other has more of, so D = E where the variances are right.
    ``linear``: counts, and ``square``: what there is beside counting statistics.
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
        """Robust maximum of a quasi-likelihood of the squared differences, beginning here; no coefficient below 0.

        ``square``: (P/R - S)^2, counts^2, ``saved``: E, ``factor``: c, ``expected``: T, all (n,); without a row the
        coefficients stay.
        """
        found = self
        if not len(square):
            return found
        columns = np.stack((saved, factor * expected, expected**2))
        for _ in range(_ITERATIONS):
            model = found.variance(saved, factor, expected)
            z2 = square / model
            # a row beyond 4 sigma (7 of what is usual, if all is far off yet) does not count
            inside = z2 < max(16.0, 50.0 * float(np.median(z2)))
            counting, linear, quadratic = _not_negative(columns, square, inside / model**2)
            found = replace(self, counting=max(counting, LEAST_COUNTING), linear=linear, square=quadratic)
            if float(np.median(np.abs(np.log(found.variance(saved, factor, expected) / model)))) < _SETTLED:
                break
        return found


def _not_negative(columns: Float, y: Float, weight: Float) -> list[float]:
    """Least squares y = sum_k x_k columns_k with x_k >= 0: the best of all subsets.  ``columns``: (k, n)."""
    n = len(columns)
    normal, right = (columns * weight) @ columns.T, (columns * weight) @ y
    scale = np.sqrt(normal.diagonal())
    best, result = np.inf, [0.0] * n
    usable = np.flatnonzero(scale > 0).tolist()
    for size in range(1, n + 1):
        for mine in combinations(usable, size):
            where = np.array(mine)
            a = normal[np.ix_(where, where)] / np.outer(scale[where], scale[where])
            x = np.linalg.lstsq(a, right[where] / scale[where], rcond=1e-10)[0] / scale[where]
            cost = float(x @ normal[np.ix_(where, where)] @ x - 2.0 * x @ right[where])
            if (x >= 0).all() and cost < best:
                best, result = cost, [0.0] * n
                for k, value in zip(mine, x.tolist(), strict=True):
                    result[k] = value
    return result


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
        """Numbers of the parameters that act on each row, and their shares, (n, 4) or (n, 16).

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
        """Squared second differences along every coordinate, and a little of a ridge, (n, n)."""
        found = NULL * np.eye(self.n)
        before = 1
        for size in self.shape:
            bends = np.diff(np.eye(size), n=2, axis=0)
            found += np.kron(np.eye(self.n // (before * size)), np.kron(bends.T @ bends, np.eye(before)))
            before *= size
        return found


@dataclass(frozen=True, slots=True)
class Ratio:
    """ln R of the data sets in ``data_sets`` (increasing), which share everything but a level.

    ``theta``: common level, alpha, then the parameters of ``terms``, (2 + n_parameters,).  ``levels``: what is added in
    each of ``data_sets``, (n_sets,).  ``n_rows``: observations behind it.  ``power_esd``: uncertainty of alpha.
    ``alone``: sums or profiles, where one is used without the other, and ``why``; empty where both are combined.
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
        """Where in theta each term stands."""
        ends = np.cumsum([2, *(term.n for term in self.terms)]).tolist()
        return [slice(first, last) for first, last in zip(ends[:-1], ends[1:], strict=True)]

    def design(self, rows: Observations) -> Float:
        """X, ln R = X theta + levels, (n, n_parameters)."""
        x = np.zeros((len(rows), len(self.theta)))
        x[:, 0], x[:, 1] = 1.0, log_partiality(rows)
        for term, where in zip(self.terms, self.places(), strict=True):
            index, value = term.basis(coordinates(term.kind, rows))
            x[np.arange(len(rows))[:, None], where.start + index] = value
        return x

    def log(self, rows: Observations) -> Float:
        """ln R of each row, (n,).  ``rows``: of these data sets alone."""
        eta = self.theta[0] + self.levels[np.searchsorted(self.data_sets, rows.data_set)]
        for term, where in zip(self.terms, self.places(), strict=True):
            index, value = term.basis(coordinates(term.kind, rows))
            eta += (self.theta[where][index] * value).sum(axis=1)
        of_partiality = np.clip(self.theta[1] * log_partiality(rows), -MOST_LOG, MOST_LOG)
        return np.asarray(np.clip(eta, -PLAUSIBLE, PLAUSIBLE) + of_partiality)


def log_partiality(rows: Observations) -> Float:
    """ln p, (n,)."""
    return np.log(np.clip(rows.partiality, 1e-3, 1.0))


def coordinates(kind: str, rows: Observations) -> tuple[Float, ...]:
    """What a term of this kind is a function of: 1/d^2, x and y, or the image number, (n,) each."""
    if kind == "resolution":
        return (1.0 / rows.d**2,)
    if kind == "position":
        return rows.xyz[:, 0], rows.xyz[:, 1]
    return (rows.xyz[:, 2],)


def terms_of(rows: Observations, alone: bool) -> tuple[Term, ...]:
    """The functions that the rows can have: of resolution, of position, and of a sweep ``alone`` its rotation."""
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
