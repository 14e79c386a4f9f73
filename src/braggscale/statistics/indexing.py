"""Whether all data sets are indexed in the same way, and which operator reindexes each of them like the others.

Each data set is compared with a reference, the merged other data sets, under every possible way to index it; the way
with the highest correlation is chosen. The reference begins with one data set. Step by step the data sets whose
indexing is most certain are added to it. When it contains all of them, each data set is compared with all others again
until nothing changes. This takes a few passes over the observations. Correlations of all pairs of data sets (Brehm &
Diederichs, Acta Cryst. D70 (2014) 101) would take a time proportional to the square of their number.

Correlations are weighted. x of an observation is its intensity divided by the mean of its resolution shell, limited on
both sides, so that a few strong reflections do not dominate. The certainty is measured by Fisher's transformation: for
n common reflections, atanh(CC) has the standard deviation 1/sqrt(n - 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.numerics.array_types import Array, Bool, Float, Int

# The operator remains undecided with fewer common reflections, or if z is below DECIDED.
FEWEST_COMMON = 8
DECIDED = 2.5
# Data sets that are tried as the first reference, and rounds of comparing each data set with all others.
SEEDS = 3
CLEAR = 0.9  # if the operators of this share of the data sets are decided, no other first reference is tried
MOST_ROUNDS = 20
LARGEST, SMALLEST = 5.0, -1.0  # limits of x


@dataclass(frozen=True, slots=True)
class Indexed:
    """``operator``: number of each data set's operator, (n_sets,).  ``z``: how far it is ahead of the next best, in
    standard deviations, (n_sets,).  ``cc``: correlation with the others under each operator, NaN where there are too
    few common reflections, (n_sets, n_operators).  ``common``: observations that others have, too, (n_sets,).
    """

    operator: Int
    z: Float
    cc: Float
    common: Int

    @property
    def decided(self) -> Bool:
        """Marks the data sets whose operator is significantly better than all others, (n_sets,)."""
        result: Bool = (self.common >= FEWEST_COMMON) & (self.z >= DECIDED)
        return result


def compressed(e2: Float) -> Float:
    """x of normalised intensities ``e2`` = E^2, (n,): shifted to a mean of 0 and limited on both sides."""
    x: Float = np.clip(np.nan_to_num(e2), SMALLEST, LARGEST) - 1.0
    return x


def find_indexing(unique: Array, data_set: Array, x: Float, weight: Float, n_sets: int) -> Indexed:
    """The operator of each data set.

    ``unique``: number of the unique reflection of every observation under each operator, whole numbers from 0,
    (n_operators, n).  ``data_set``: (n,).  ``x``: see ``compressed``, ``weight``: 1/variance of x, both (n,).
    All of them may still need one more operator in common: the data can show that data sets are indexed alike, but
    not which way is the right one.
    """
    sums = _Sums.of(np.asarray(unique), np.asarray(data_set), x, weight, n_sets)
    best: Indexed | None = None
    score = -np.inf
    for seed in np.argsort(-np.bincount(data_set, minlength=n_sets), kind="stable")[:SEEDS]:
        candidate = _refined(sums, _grown(sums, int(seed)))
        total = float(np.nansum(candidate.cc[np.arange(n_sets), candidate.operator] * candidate.common))
        if total > score:
            best, score = candidate, total
        if candidate.decided.mean() > CLEAR:
            break
    assert best is not None
    return best


@dataclass(frozen=True, slots=True)
class _Sums:
    """The observations, and weighted sums over those that are in the reference.

    ``cell``: number of the pair of data set and unique reflection that every observation belongs to under each
    operator, (n_operators, n). With it the contribution of a data set to the reference is subtracted before the two
    are compared.
    """

    unique: Array
    cell: Array
    data_set: Array
    x: Float
    weight: Float
    n_sets: int
    n_unique: int
    n_cells: int

    @classmethod
    def of(cls, unique: Array, data_set: Array, x: Float, weight: Float, n_sets: int) -> _Sums:
        n = int(unique.max()) + 1 if unique.size else 0
        keys, cell = np.unique(data_set.astype(np.int64) * n + unique, return_inverse=True)
        return cls(unique, cell.reshape(unique.shape), data_set, x, weight, n_sets, n, len(keys))

    def correlations(self, operator: Int, members: Bool) -> tuple[Float, Int]:
        """CC of each data set with the reference of the other members, (n_sets, n_operators); common, (n_sets,)."""
        current = operator[self.data_set], np.arange(len(self.x))
        w = np.where(members[self.data_set], self.weight, 0.0)
        wx = w * self.x
        total_w, total_x = (np.bincount(self.unique[current], of, self.n_unique) for of in (w, wx))
        own_w, own_x = (np.bincount(self.cell[current], of, self.n_cells) for of in (w, wx))
        cc = np.full((self.n_sets, len(self.unique)), np.nan)
        common = np.zeros(self.n_sets, np.int64)
        for o, (where, cell) in enumerate(zip(self.unique, self.cell, strict=True)):
            all_w = total_w[where]
            w_ref = all_w - own_w[cell]
            there = w_ref > 1e-9 * np.maximum(all_w, 1e-300)
            y = np.divide(total_x[where] - own_x[cell], w_ref, out=np.zeros(len(where)), where=there)
            cc[:, o], n = _by_set((self.data_set, self.x, self.weight), y, there, w_ref, self.n_sets)
            common = np.maximum(common, n)
        return cc, common


def _by_set(rows: tuple[Array, Float, Float], y: Float, there: Bool, w_ref: Float, n_sets: int) -> tuple[Float, Int]:
    """CC of each data set with the reference, and common reflections, (n_sets,) each.

    ``rows``: data set, x and weight.  ``y``, ``w_ref``: of the reference, ``there``: whether it is known, (n,).
    """
    d, x = rows[0][there], rows[1][there]
    w = 1.0 / (1.0 / rows[2][there] + 1.0 / w_ref[there])
    y = y[there]

    def total(of: Float) -> Float:
        """Sum of values by data set, (n_sets,)."""
        return np.bincount(d, of, n_sets).astype(np.float64)

    n, sw = np.bincount(d, minlength=n_sets), np.maximum(total(w), 1e-300)
    mx, my = total(w * x) / sw, total(w * y) / sw
    dx, dy = x - mx[d], y - my[d]
    size = np.sqrt(total(w * dx * dx) * total(w * dy * dy))
    cc = np.divide(total(w * dx * dy), size, out=np.full(n_sets, np.nan), where=size > 0)
    return np.where(n >= FEWEST_COMMON, cc, np.nan), n


def reference_of(indexed: Indexed, rows: tuple[Array, Array, Float, Float], n_unique: int) -> tuple[Float, Float]:
    """sum w and sum w x of the data sets whose operator is decided, (n_unique,) each.

    ``rows``: the arguments of ``find_indexing`` from which ``indexed`` came: unique, (n_operators, n), data_set, x and
    weight, (n,).
    """
    unique, data_set, x, weight = rows
    w = np.where(indexed.decided[data_set], weight, 0.0)
    place = unique[indexed.operator[data_set], np.arange(len(x))]
    return np.bincount(place, w, n_unique).astype(np.float64), np.bincount(place, w * x, n_unique).astype(np.float64)


def compare_with(reference: tuple[Float, Float], rows: tuple[Array, Array, Float, Float], n_sets: int) -> Indexed:
    """The operator of data sets that are not part of the reference.

    ``reference``: of ``reference_of``, (n_unique,) each.  ``rows``: as there; -1 in unique, (n_operators, n), is not in
    it.
    """
    unique, data_set, x, weight = rows
    cc = np.full((n_sets, len(unique)), np.nan)
    common = np.zeros(n_sets, np.int64)
    for o, where in enumerate(unique):
        w_ref = np.where(where >= 0, reference[0][where], 0.0)
        there = w_ref > 0
        y = np.divide(reference[1][where], w_ref, out=np.zeros(len(where)), where=there)
        cc[:, o], n = _by_set((data_set, x, weight), y, there, w_ref, n_sets)
        common = np.maximum(common, n)
    best, z = _ahead(cc, common)
    return Indexed(np.where(z > 0, best, 0), z, cc, common)


def _ahead(cc: Float, common: Int) -> tuple[Int, Float]:
    """Best operator of each data set, and its lead over the next one in standard deviations."""
    known = np.nan_to_num(cc, nan=-1.0)
    order = np.argsort(-known, axis=1, kind="stable")
    best = order[:, 0]
    if cc.shape[1] == 1:
        return best, np.full(len(cc), np.inf)
    fisher = np.arctanh(np.clip(known, -0.999, 0.999))
    rows = np.arange(len(cc))
    lead = fisher[rows, best] - fisher[rows, order[:, 1]]
    z = lead * np.sqrt(np.maximum(common - 3, 0) / 2.0)
    return best, np.where(common >= FEWEST_COMMON, z, 0.0)


def _grown(sums: _Sums, seed: int) -> Int:
    """Operators of all data sets from a reference that begins with ``seed`` and doubles at each step."""
    operator = np.zeros(sums.n_sets, np.int64)
    members = np.zeros(sums.n_sets, bool)
    members[seed] = True
    while not members.all():
        cc, common = sums.correlations(operator, members)
        best, z = _ahead(cc, common)
        z = np.where(members, -1.0, z)
        several = min(int(members.sum()), int((~members).sum()))
        new = np.argsort(-z, kind="stable")[:several]
        sure = new[z[new] >= DECIDED]
        if len(sure) == 0:
            sure = new[:1]
            if z[sure[0]] <= 0.0:  # no other data set has enough reflections in common: they keep their indexing
                return operator
        operator[sure] = best[sure]
        members[sure] = True
    return operator


def _refined(sums: _Sums, operator: Int) -> Indexed:
    """Compare each data set with all others until nothing changes; in turn one half of the data sets is updated."""
    everybody = np.ones(sums.n_sets, bool)
    halves = [np.arange(sums.n_sets) % 2 == part for part in range(2)]
    for _ in range(MOST_ROUNDS):
        before = operator.copy()
        for half in halves:
            cc, common = sums.correlations(operator, everybody)
            best, z = _ahead(cc, common)
            operator = np.where(half & (z > 0), best, operator)
        if np.array_equal(before, operator):
            break
    cc, common = sums.correlations(operator, everybody)
    best, z = _ahead(cc, common)
    return Indexed(operator, np.where(best == operator, z, 0.0), cc, common)
