"""One intensity for each unique reflection, and how well equivalents agree, from sums over the rows of all ranks.

Half data sets are halves of the crystals, not of the observations, as is usual for serial data: each crystal's key says
in which half it is. Whatever is common to the observations of one crystal then stays in one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.geometry import UnitCell, inverse_d_squared
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Bool, Float, Int, UInt
from braggscale.numerics.compiled import crystal_passes as kernels
from braggscale.ranks.exact_sums import Sums
from braggscale.ranks.means import RankData
from braggscale.ranks.reflections import Reflections
from braggscale.ranks.rounds import RanksScaled
from braggscale.statistics.half_sets import Division, r_split
from braggscale.statistics.merging import Merged
from braggscale.statistics.merging_statistics import Statistics, inside_limits, shell_limits, statistics_of_sums
from braggscale.statistics.shell_statistics import GroupSums, ReflectionSums

# Divisions into halves: over so many CC1/2 is averaged; each pass over the rows adds up some of them.
DIVISIONS, IN_A_PASS = 4, 2
_WX, _W, _X, _N, _W2 = range(5)


@dataclass(frozen=True, slots=True)
class MergedSums:
    """Sums by number: I+ at 2 h, I- at 2 h + 1.

    ``plain``: w x, w, x, 1, w^2, (2 n, 5).  ``scatter``: see ``crystal_passes.scatter_sums``, (2 n, 5).
    ``halves``: w x, w, x, 1 of the first half of each division, (n_divisions, 2 n, 4).
    """

    plain: Float
    scatter: Float
    halves: Float


def least_scales(data: RankData, scaled: RanksScaled, cutoff: float) -> Float:
    """The smallest g of each crystal that counts: ``cutoff`` times its median, (n_crystals,)."""
    return np.asarray(cutoff * scaled.crystals.k * np.exp(scaled.crystals.b * data.rows.median_s))


def merged_sums(data: RankData, scaled: RanksScaled, cutoff: float, observed: bool) -> MergedSums:
    """Two kinds of passes over the rows: sums, then deviations from the means that follow from them.

    ``observed``: variances are those that were observed, as is usual with fixed restraints.
    """
    rows, crystals = data.rows.arrays(), scaled.crystals.arrays()
    n, least, counts = data.rows.n_crystals, least_scales(data, scaled, cutoff), data.reflections.counts
    mean, covariance, terms = scaled.mean, scaled.covariance, scaled.model.terms
    plain, halves = np.zeros((len(counts), 5)), []
    for first in range(0, DIVISIONS, IN_A_PASS):
        keys = data.rows.key >> np.uint64(first)

        def add(sums: Sums, keys: UInt = keys) -> None:
            """Add the sums of the rows of this rank."""
            kernels.merge_sums(
                0, n, rows, crystals, terms, data.apart, mean, covariance, observed, least, keys, IN_A_PASS, sums
            )

        found = data.sums.collect("merged", counts, 5 + 4 * IN_A_PASS, add)
        plain = np.ascontiguousarray(found[:, :5])
        halves += [np.ascontiguousarray(found[:, 5 + 4 * j : 9 + 4 * j]) for j in range(IN_A_PASS)]
    together = plain.reshape(-1, 2, 5).sum(axis=1)
    centres = np.stack(
        (
            np.repeat(_over(together[:, _WX], together[:, _W]), 2),
            _over(plain[:, _WX], plain[:, _W]),
            np.repeat(_over(together[:, _X], together[:, _N]), 2),
        ),
        axis=1,
    )

    def add_scatter(sums: Sums) -> None:
        """Add the deviations of the rows of this rank."""
        kernels.scatter_sums(0, n, rows, crystals, terms, data.apart, mean, covariance, observed, least, centres, sums)

    return MergedSums(plain, data.sums.collect("scatter", counts, 5, add_scatter), np.stack(halves))


def _over(above: Float, below: Float) -> Float:
    """The ratio, 0 where nothing is below."""
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)


def _sigma(plain: Float, scatter: Float, internal: bool) -> Float:
    """Standard deviations of weighted means, as ``merging.weighted_means``; NaN without observations, (n,).

    ``plain``: w x, w, x, 1, w^2, (n, 5).  ``scatter``: sum w (x - mean)^2, (n,).
    """
    w, n = plain[:, _W], plain[:, _N]
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(w > 0, 1.0 / w, np.nan)
    if internal:
        below = w * w - plain[:, _W2]
        several = (n > 1) & (below > 1e-12 * w * w)
        sample = np.divide(w * scatter, below, out=np.zeros(len(w)), where=several)
        variance = np.maximum(variance, np.divide(sample, n, out=np.zeros(len(w)), where=several))
    return np.asarray(np.sqrt(variance))


def _means(sums: Float, scatter: Float | None, internal: bool, use: Bool | None = None) -> tuple[Int, Float, Float]:
    """Number of observations of each reflection, their weighted mean and its standard deviation, (n,) each.

    ``sums``: w x, w, x, 1, (n, 4 or more).  ``scatter``: squared deviations, (n,), None without.  ``use``: reflections
    that have a mean, (n,), None for all with observations.
    """
    there = sums[:, _N] > 0 if use is None else use
    mean = np.where(there, _over(sums[:, _WX], sums[:, _W]), np.nan)
    sigma = _sigma(sums, np.zeros(len(sums)) if scatter is None else scatter, internal and scatter is not None)
    return np.where(there, sums[:, _N], 0).astype(np.int64), mean, np.where(there, sigma, np.nan)


def merged_data(sums: MergedSums, reflections: Reflections, symmetry: Symmetry, internal: bool) -> Merged:
    """The merged reflections as exports need them; halves are those of the first division."""
    plain, half = sums.plain, sums.halves[0]
    together, other = plain.reshape(-1, 2, 5).sum(axis=1), plain[:, :4] - half
    first, second = (part.reshape(-1, 2, 4).sum(axis=1) for part in (half, other))
    second[first[:, _N] == together[:, _N]] = 0.0
    both = (first[:, _N] > 0) & (second[:, _N] > 0)
    scatter = sums.scatter.reshape(-1, 2, 5).sum(axis=1)
    mean = _means(together, scatter[:, 1], internal)
    plus, minus = (_means(plain[k::2], sums.scatter[k::2, 3], internal) for k in (0, 1))
    half1, half2 = (_means(part, None, False, both) for part in (first, second))
    hkl = reflections.hkl
    everything = Merged(
        hkl, symmetry.is_centric(hkl), symmetry.is_absent(hkl), reflections.epsilon,
        *mean, *plus, *minus, *half1, *half2,
    )  # fmt: skip
    return everything.take(together[:, _N] > 0)


def statistics_of(
    sums: MergedSums, reflections: Reflections, symmetry: Symmetry, cell: UnitCell, n_bins: int, d_min: float | None,
    internal: bool,
) -> Statistics | None:  # fmt: skip
    """Merging statistics, in shells and overall."""
    s = inverse_d_squared(reflections.hkl, cell)
    absent = symmetry.is_absent(reflections.hkl)

    def within(lowest: float | None) -> ReflectionSums | None:
        """Sums of the reflections down to a resolution; None if there are none."""
        inside = inside_limits(s, lowest, None) & (sums.plain.reshape(-1, 2, 5)[:, :, _N].sum(axis=1) > 0)
        return _reflection_sums(sums, s, absent, inside, internal) if inside.any() else None

    return statistics_of_sums(within, symmetry, cell, n_bins, d_min)


def r_split_by_shell(
    sums: MergedSums, reflections: Reflections, cell: UnitCell, n_bins: int, d_min: float | None
) -> Float:
    """R_split of the shells of ``statistics_of``, and, last, of all, (n_bins + 1,)."""
    s = inverse_d_squared(reflections.hkl, cell)
    inside = inside_limits(s, d_min, None) & (sums.plain.reshape(-1, 2, 5)[:, :, _N].sum(axis=1) > 0)
    limits = shell_limits(s[inside], n_bins)
    shell = np.clip(np.searchsorted(limits, s[inside], side="right") - 1, 0, n_bins - 1)
    return r_split(_divisions(sums, inside)[0], shell, n_bins)


def _reflection_sums(sums: MergedSums, s: Float, absent: Bool, inside: Bool, internal: bool) -> ReflectionSums:
    plain, scatter = (part.reshape(-1, 2, 5)[inside] for part in (sums.plain, sums.scatter))
    together, spread = plain.sum(axis=1), scatter.sum(axis=1)
    there = plain[:, :, _N] > 0
    flat, apart = plain.reshape(-1, 5)[there.reshape(-1)], scatter.reshape(-1, 5)[there.reshape(-1)]
    parent = np.repeat(np.arange(len(plain)), there.sum(axis=1))
    first = np.flatnonzero(parent[1:] == parent[:-1])
    pairs = np.flatnonzero(there.all(axis=1))
    return ReflectionSums(
        s[inside],
        ~absent[inside],
        _group_sums(together, spread[:, 0], spread[:, 1], internal),
        _group_sums(flat, apart[:, 2], apart[:, 3], internal),
        spread[:, 4],
        parent,
        first,
        first + 1,
        _divisions(sums, inside),
        _differences(sums, inside, pairs),
    )


def _group_sums(plain: Float, deviation: Float, scatter: Float, internal: bool) -> GroupSums:
    at_least = _sigma(plain, scatter, True)
    sigma = at_least if internal else _sigma(plain, scatter, False)
    sizes = plain[:, _N].astype(np.int64)
    return GroupSums(sizes, _over(plain[:, _WX], plain[:, _W]), sigma, at_least, plain[:, _X], deviation)


def _divisions(sums: MergedSums, inside: Bool) -> Sequence[Division]:
    """Weighted means of halves of the reflections that are ``inside``, (n,)."""
    found = []
    whole = sums.plain[:, :4].reshape(-1, 2, 4).sum(axis=1)[inside]
    for half in sums.halves:
        one = half.reshape(-1, 2, 4).sum(axis=1)[inside]
        other = whole - one
        which = np.flatnonzero((one[:, _N] > 0) & (other[:, _N] > 0))
        first, second = (_over(part[which, _WX], part[which, _W]) for part in (one, other))
        found.append(Division(which, first, second))
    return found


def _differences(sums: MergedSums, inside: Bool, pairs: Int) -> Sequence[Division]:
    """I+ - I- of halves, plain means, of the reflections ``pairs``, (n_pairs,), among those that are inside."""
    found = []
    whole = sums.plain[:, :4].reshape(-1, 2, 4)[inside][pairs]
    for half in sums.halves:
        one = half.reshape(-1, 2, 4)[inside][pairs]
        other = whole - one
        which = np.flatnonzero((one[:, :, _N] > 0).all(axis=1) & (other[:, :, _N] > 0).all(axis=1))
        means = [_over(part[which][:, :, _X], part[which][:, :, _N]) for part in (one, other)]
        found.append(Division(which, *(mean[:, 0] - mean[:, 1] for mean in means)))
    return found
