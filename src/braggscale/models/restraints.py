"""Restraints: quadratic penalties on the parameters of a component, of fixed or estimated strength."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.numerics.array_types import Float, Int


@dataclass(frozen=True, slots=True)
class MeanPenalty:
    """A penalty on means (levels) l_d = m_d . theta_d of the parameters of many data sets, stored with 2 n numbers.

    theta'S theta = within sum_d l_d^2 + across (sum_d l_d)^2, so S = within sum_d m_d m_d' + across v v' with v all
    m_d side by side.
    ``row``: v, (n,).  ``starts``: first element of each m_d in it, and its end, (n_levels + 1,), none empty.
    """

    row: Float
    starts: Int
    within: float
    across: float

    @classmethod
    def one(cls, row: Float) -> MeanPenalty:
        """The square of a single level.  ``row``: m of the level m . theta, (k,)."""
        return cls(row, np.array([0, len(row)]), 0.0, 1.0)

    @classmethod
    def about_mean(cls, rows: Sequence[Float]) -> MeanPenalty:
        """sum_d (l_d - mean)^2, of rank n_levels - 1.  ``rows``: m of each level, (k,) of each data set."""
        starts = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
        return cls(np.concatenate(rows), starts, 1.0, -1.0 / len(rows))

    def __len__(self) -> int:
        return len(self.row)

    def __matmul__(self, x: Float) -> Float:
        """S x.  ``x``: (n,) or (n, m)."""
        row = self.row if x.ndim == 1 else self.row[:, None]
        level = np.add.reduceat(row * x, self.starts[:-1], axis=0)
        pull = self.within * level + self.across * level.sum(axis=0)
        return np.asarray(row * np.repeat(pull, np.diff(self.starts), axis=0))

    def __mul__(self, factor: float) -> MeanPenalty:
        return replace(self, within=factor * self.within, across=factor * self.across)

    def diagonal(self) -> Float:
        """The diagonal of S, (n,)."""
        return (self.within + self.across) * self.row**2

    def dense(self) -> Float:
        """S, (n, n)."""
        level = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        within: Float = np.outer(self.row, self.row) * (self.within * (level[:, None] == level) + self.across)
        return within


@dataclass(frozen=True, slots=True)
class Restraint:
    """Adds strength (theta - target)' penalty (theta - target) to the cost, theta the n parameters of a component.

    ``penalty``: (n, n), or a penalty on means.  ``strength``: inverse of the expected variance of the correction, in
    units of the penalty.  ``target``: value of all parameters at which the penalty is 0.
    ``kind``: empty for a fixed strength. Otherwise the strength is estimated (restraint_strengths.py): all restraints
    of one kind have the same strength in all data sets, and ``strength`` is its starting value.
    ``relative``: parameters are measured in units of their mean, so that the restraint is the same for weak and strong
    crystals.
    ``couples_data_sets``: it acts on the differences between data sets, not on each data set separately; ``penalty`` is
    then the row m of the level m . theta, (n,).  ``rank``: of the penalty, if there is a kind.
    ``least``: an estimated strength does not fall below it, because larger corrections are not plausible.
    """

    penalty: Float | MeanPenalty
    strength: float
    target: float = 0.0
    kind: str = ""
    relative: bool = False
    couples_data_sets: bool = False
    rank: int = 0
    least: float = 0.0

    def diagonal(self) -> Float:
        """Of the penalty, (n,)."""
        diagonal: Float = self.penalty.diagonal()
        return diagonal

    def root(self) -> Float:
        """m of a penalty (m . theta)^2 on one level, (n,).  Raises TypeError for any other penalty."""
        if not isinstance(self.penalty, MeanPenalty) or self.penalty.within != 0.0:
            raise TypeError("a restraint that is not on one level has no row")
        row: Float = np.sqrt(self.penalty.across) * self.penalty.row
        return row

    def dense(self) -> Float:
        """The penalty as a matrix, (n, n)."""
        return self.penalty.dense() if isinstance(self.penalty, MeanPenalty) else self.penalty


def smoothness(name: str, n: int, spacing: float, curvature: float, trend: float, relative: bool) -> list[Restraint]:
    """Estimated restraints of a curve with ``n`` parameters: on its curvature, and on its linear trend.

    Curvature: sum (second difference)^2 (10/spacing)^3, which approaches the integral of the squared second derivative
    and so has the same meaning for curves with different ``spacing``, degrees. Trend: (change from end to end)^2.
    Second differences alone would not restrain the trend, even in a sweep whose data hardly determine it.
    ``curvature``, ``trend``: starting strengths; estimates do not fall below LEAST_SHARE of them.
    """
    restraints = []
    if n > 2:
        bends = np.diff(np.eye(n), n=2, axis=0) * (10.0 / spacing) ** 1.5
        restraints.append(_estimated(f"{name} curvature", bends.T @ bends, curvature, n - 2, LEAST_SHARE, relative))
    if n > 1:
        along = np.arange(n) - 0.5 * (n - 1)
        along *= (n - 1) / float(along @ along)
        restraints.append(_estimated(f"{name} trend", np.outer(along, along), trend, 1, LEAST_SHARE, relative))
    return restraints


def level(name: str, n: int, strength: float, relative: bool = False) -> Restraint:
    """Estimated restraint of the mean parameter to those of the other data sets."""
    row = np.full(n, 1.0 / n)
    least = LEAST_SHARE * strength
    return Restraint(row, strength, kind=f"{name} level", relative=relative, couples_data_sets=True, least=least)


def bending(name: str, lmax: int, strength: float) -> Restraint:
    """Estimated restraint of a surface in spherical harmonics: sum (l (l + 1))^2 P_lm^2.

    The integral of the squared Laplacian over the sphere (Wahba, SIAM J. Sci. Stat. Comput. 2 (1981) 5).
    """
    order = np.repeat(np.arange(1, lmax + 1), 2 * np.arange(1, lmax + 1) + 1)
    return _estimated(name, np.diag((order * (order + 1.0)) ** 2), strength, len(order), LEAST_OF_SURFACE)


def unevenness(name: str, shape: tuple[int, int], strength: float) -> Restraint:
    """Estimated restraint of a map: second differences along both axes, and a little of its scatter about the mean.

    Without the last part (Marra & Wood, Comput. Stat. Data Anal. 55 (2011) 2372) planes would not be restrained;
    with it the map can vanish. The mean of the map is not restrained, because another component contains it.
    """
    bends = roughness(shape, 1.0).dense()
    n = len(bends)
    return _estimated(name, bends + SCATTER * (np.eye(n) - 1.0 / n), strength, n - 1, LEAST_OF_MAP)


def grid_unevenness(name: str, shape: tuple[int, ...], strength: float) -> Restraint:
    """Estimated restraint of a grid of factors in units of their mean: first differences along every axis."""
    return _estimated(name, roughness(shape, 1.0, order=1).dense(), strength, math.prod(shape) - 1, LEAST_OF_MAP, True)


def effects(name: str, n: int, strength: float) -> Restraint:
    """Estimated restraint of n effects that do not depend on each other: sum theta^2."""
    return _estimated(name, np.eye(n), strength, n, LEAST_SHARE)


def _estimated(
    kind: str, penalty: Float, strength: float, rank: int, least: float, relative: bool = False
) -> Restraint:
    """``least``: smallest strength, as a share of the starting one."""
    return Restraint(penalty, strength, kind=kind, relative=relative, rank=rank, least=least * strength)


# Smallest estimated strength, as a share of the starting one: corrections 30 times as large as usual (curves), 3
# times (maps) and 7 times (absorption surface) are not plausible. Without this limit a map follows errors that are
# no response of the detector, and two corrections that can replace each other may grow in opposite directions.
LEAST_SHARE, LEAST_OF_MAP, LEAST_OF_SURFACE = 1e-3, 0.1, 0.02
# Share of the scatter in the penalty of a map: the penalty of a plane is that of second differences of a thirtieth
# of its height.
SCATTER = 1e-3


def ridge(n: int, strength: float, target: float = 0.0) -> Restraint:
    """strength * sum (theta - target)^2."""
    return Restraint(np.eye(n), strength, target)


def roughness(shape: tuple[int, ...], strength: float, order: int = 2) -> Restraint:
    """strength * sum of squared differences of neighbouring parameters along every axis (first axis fastest).

    ``order`` 2 does not restrain straight lines; an axis with too few parameters for it has order 1.
    """
    n = math.prod(shape)
    penalty = np.zeros((n, n))
    before = 1
    for size in shape:
        after = n // (before * size)
        difference = np.diff(np.eye(size), n=min(order, size - 1), axis=0)
        along = difference.T @ difference
        penalty += np.kron(np.eye(after), np.kron(along, np.eye(before)))
        before *= size
    return Restraint(penalty, strength)
