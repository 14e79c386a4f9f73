"""Crystals that make the result worse are left out, over ranks: the rules of scaling/filtering.py, from sums.

The influence of a crystal on CC1/2 follows from the sums of 1, x, x^2 and |x| over all observations of a reflection and
from its own observations. Sums of all ranks travel, 40 bytes for each reflection; each rank then judges its crystals.
What a crystal is compared with, the influences of all others, are three numbers for each crystal, which all ranks get.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.geometry import UnitCell, inverse_d_squared
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import crystal_passes as kernels
from braggscale.ranks.agreement import log_of_all
from braggscale.ranks.exact_sums import Sums
from braggscale.ranks.means import RankData, mean_sums, ratio
from braggscale.ranks.merging import least_scales
from braggscale.ranks.reflections import places
from braggscale.ranks.rounds import RanksScaled
from braggscale.scaling.filter_cycles import CYCLES, NO_MORE, PERCENT, STOP_TEXT
from braggscale.scaling.filtering import DELTA_CC, LARGEST, deviation_as_influence, stands_out, substantially
from braggscale.scaling.plan import FilterSettings
from braggscale.statistics.half_sets import ratio as shares
from braggscale.statistics.influence import GroupMoments
from braggscale.weighting.expected_variance import VarianceModel

log = logging.getLogger(__name__)

_CHUNK = 1 << 19  # rows of the crystals that are judged at once


@dataclass(frozen=True, slots=True)
class Filtered:
    """What was left out.

    ``n_removed``: crystals of all ranks, ``percent``: of the observations.  ``cycles``: CC1/2 before each cycle, and
    how many crystals it left out.  ``reason``: why there is no other cycle, as in scaling/filter_cycles.py.
    """

    n_removed: int = 0
    percent: float = 0.0
    cycles: tuple[tuple[float, int], ...] = ()
    reason: str = NO_MORE


@dataclass(frozen=True, slots=True)
class _Influence:
    """Of each crystal of this rank, (n_crystals,): influence on CC1/2, mean z^2, observations; and CC1/2 of all."""

    delta: Float
    z2: Float
    n: Float
    cc: float


def scale_filtered(
    data: RankData, cell: UnitCell, cutoff: float, settings: FilterSettings | None, names: list[str],
    scale: Callable[[], RanksScaled],
) -> tuple[RanksScaled, Filtered]:  # fmt: skip
    """Scale, and leave crystals out and scale the rest again until none stands out.

    ``cutoff``: smallest share of a crystal's median scale that counts.  ``names``: of the crystals of this rank.
    ``scale``: scales those that are not lost.
    """
    scaled, found = scale(), Filtered()
    if settings is None:
        return scaled, found
    s = inverse_d_squared(data.reflections.hkl, cell)
    n_initial = -1.0
    while True:
        gone = np.zeros(data.rows.n_crystals, np.bool_)
        while True:
            seen = _influence(data, scaled, cutoff, gone, s)
            if n_initial < 0:
                n_initial = float(data.over_crystals(seen.n[:, None])[0])
            out, lost, reason = _worst(data, seen, settings, found, n_initial)
            gone |= out
            n_out = int(data.ranks.allreduce(np.array([np.count_nonzero(out)], np.int64))[0])
            percent = found.percent + 100.0 * lost / max(n_initial, 1.0)
            cycles = (*found.cycles, (seen.cc, n_out))
            found = replace(
                found, n_removed=found.n_removed + n_out, percent=percent, cycles=cycles, reason=reason or NO_MORE
            )
            _log(data, seen, out, names, len(cycles))
            if reason or not n_out:
                break
        if not data.ranks.allreduce(np.array([gone.any()], np.int64), "max")[0]:
            log.info(f"Filtering ends: {STOP_TEXT[found.reason]}; {found.percent:.2f} % of the observations left out")
            return scaled, found
        data.rows.lost[:] |= gone
        data.rows.leave_out_lost()
        log.info("The remaining data are scaled again")
        scaled = scale()
        if found.reason != NO_MORE:
            return scaled, found


def _worst(
    data: RankData, seen: _Influence, settings: FilterSettings, found: Filtered, n_initial: float
) -> tuple[Bool, float, str]:
    """Crystals of this rank that are left out, (n_crystals,), observations in those of all ranks, and why to stop."""
    table = np.stack((seen.delta, seen.z2, seen.n, data.rows.key.view(np.float64)), axis=1)
    parts = data.ranks.allgather(table)
    every = np.concatenate(parts)
    # in an order that does not depend on the ranks
    order = np.argsort(every[:, 3].copy().view(np.uint64), kind="stable")
    delta, z2, n = (np.ascontiguousarray(every[order, k]) for k in range(3))
    value = delta if settings.method == DELTA_CC else deviation_as_influence(z2, n)
    out, z, _ = stands_out(np.where(n >= settings.min_reflections, value, np.nan), n, settings.stdcutoff)
    out &= substantially(z2)
    worst = np.flatnonzero(out)[np.argsort(z[out], kind="stable")]
    room = 0.01 * (settings.max_percent_removed - found.percent) * n_initial
    within = worst[np.cumsum(n[worst]) <= room]
    reason = "" if len(worst) == len(within) else PERCENT
    if len(worst) and len(found.cycles) >= settings.max_cycles:
        within, reason = worst[:0], CYCLES
    chosen = np.zeros(len(every), np.bool_)
    chosen[order[within]] = True
    first = sum(len(part) for part in parts[: data.ranks.rank])
    return chosen[first : first + len(table)], float(n[within].sum()), reason


def _influence(data: RankData, scaled: RanksScaled, cutoff: float, gone: Bool, s: Float) -> _Influence:
    """Influence and deviations of the crystals that are not ``gone``, (n_crystals,); NaN of the others.

    ``s``: 1/d^2, 1/Angstrom^2, (n_reflections,).
    """
    rows, least = data.rows, least_scales(data, scaled, cutoff)
    crystals = scaled.crystals.with_scales(np.where(gone | rows.lost, 0.0, scaled.crystals.k), scaled.crystals.b)
    by_reflection = data.reflections.counts.reshape(-1, 2).sum(axis=1)

    def add(sums: Sums) -> None:
        """Add the moments of the rows of this rank."""
        kernels.moment_sums(0, rows.n_crystals, rows.arrays(), crystals.arrays(), least, sums)

    sums = data.sums.collect("moments", by_reflection, 4, add)
    measured = np.flatnonzero(sums[:, 0] > 0)
    place = np.full(len(sums), -1)
    place[measured] = np.arange(len(measured))
    n, x, squares, sizes = (np.ascontiguousarray(sums[measured, k]) for k in range(4))
    moments = GroupMoments.of(n, x, squares, sizes, s[measured])
    means = mean_sums(data, crystals, scaled.model, kernels.EXPECTED, scaled.mean, data.apart, "expected")
    scaled = replace(scaled, crystals=crystals)
    found = np.full((rows.n_crystals, 3), np.nan)
    for first, last in _chunks(rows.starts):
        found[first:last] = _of_crystals(data, scaled, least, (moments, place), means, (first, last))
    return _Influence(found[:, 0], found[:, 1], np.nan_to_num(found[:, 2]), moments.cc)


def _chunks(starts: Int) -> list[tuple[int, int]]:
    """Runs of crystals with about ``_CHUNK`` rows.  ``starts``: rows of each crystal, (n_crystals + 1,)."""
    cuts = np.unique(np.searchsorted(starts, np.arange(0, int(starts[-1]) + _CHUNK, _CHUNK)))
    cuts = np.unique(np.append(cuts.clip(0, len(starts) - 1), len(starts) - 1)).tolist()
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def _of_crystals(
    data: RankData, scaled: RanksScaled, least: Float, moments: tuple[GroupMoments, Int], means: Float,
    crystals: tuple[int, int],
) -> Float:  # fmt: skip
    """Influence, mean z^2 and observations of crystals ``first`` to ``last`` - 1, (last - first, 3).

    ``least``: smallest g of each crystal that counts.  ``moments``: and the place of each reflection in them.
    ``means``: sum w g I, sum w g^2 by place.
    """
    rows, of, (first, last) = data.rows, scaled.crystals, crystals
    part, n_parts = slice(int(rows.starts[first]), int(rows.starts[last])), last - first
    c = np.repeat(np.arange(n_parts), np.diff(rows.starts[first : last + 1]))
    k, number = of.k[first:last][c], rows.number[part]
    g = k * np.exp(of.b[first:last][c] * rows.s[part])
    use = (k > 0) & ~rows.out[part] & (g >= least[first:last][c])
    x = np.divide(rows.intensity[part], g, out=np.zeros(len(g)), where=k > 0)[use]
    key, inverse = np.unique(c[use] * len(moments[1]) + (number[use] >> 1), return_inverse=True)
    sums = tuple(np.bincount(inverse, weights, len(key)).astype(np.float64) for weights in (None, x, x * x))
    at = moments[1][key % len(moments[1])]
    delta = moments[0].delta(at, key // len(moments[1]), (sums[0], sums[1], sums[2]), n_parts)
    n = np.bincount(c[use], minlength=n_parts).astype(np.float64)
    h = places(number, data.apart)
    mean = ratio(means)[h]
    v = _variance(data, scaled, first, c, part).at(g * mean)
    below = means[h, 1]
    share = np.divide(g * g / v, below, out=np.zeros(len(g)), where=below > 0)
    freedom = np.where(rows.out[part], 1.0 + share, 1.0 - share)
    seen = (k > 0) & ~rows.impossible[part] & (below > 0) & (freedom > 1e-9)
    z2 = np.minimum((rows.intensity[part] - g * mean)[seen] ** 2 / (v * freedom)[seen], LARGEST)
    total = np.bincount(c[seen], z2, n_parts), np.bincount(c[seen], minlength=n_parts).astype(np.float64)
    return np.stack((np.where(n > 0, delta, np.nan), shares(*total), n), axis=1)


def _variance(data: RankData, scaled: RanksScaled, first: int, crystal: Int, part: slice) -> VarianceModel:
    """V' of the rows of ``part``.  ``crystal``: of each row, counted from ``first``, (n,)."""
    rows, of = data.rows, scaled.crystals
    last = first + (int(crystal[-1]) + 1 if len(crystal) else 0)
    n = last - first
    a2, b2, linear = (np.full(n, term) for term in scaled.model.terms)
    a2 = a2 * of.factors[first:last]
    relative = rows.relative[part].astype(np.float64) if len(rows.relative) else np.zeros(0)
    return VarianceModel(
        rows.intensity[part], rows.variance[part], rows.factor[part].astype(np.float64), crystal.astype(np.int32),
        of.gain[first:last], of.floor[first:last], a2, b2, linear, relative,
    )  # fmt: skip


def _log(data: RankData, seen: _Influence, out: Bool, names: list[str], cycle: int) -> None:
    log.info(f"Filtering, cycle {cycle}: CC1/2 {seen.cc:.4f} with all that is left")
    lines = [
        f"data set {names[c]} is left out: delta CC1/2 {seen.delta[c]:.6f}, mean z^2 {seen.z2[c]:.2f}, "
        f"{int(seen.n[c])} observations"
        for c in np.flatnonzero(out).tolist()
    ]
    log_of_all(data.ranks, logging.INFO, lines)
