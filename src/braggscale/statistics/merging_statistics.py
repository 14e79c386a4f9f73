"""Merging statistics: how well equivalent observations agree, overall and by resolution.

Scaled intensities x = I/g with standard deviations sigma; n observations of unique reflection h. Means are weighted,
w = 1/sigma^2:

    m_h        = sum w x / sum w                sigma(m_h) = 1 / sqrt(sum w)
    R_merge    = sum_h sum |x - m_h| / sum_h sum x
    R_meas     = sum_h sqrt(n/(n - 1)) sum |x - m_h| / sum_h sum x      Diederichs & Karplus, NSB 4 (1997) 269
    R_pim      = sum_h sqrt(1/(n - 1)) sum |x - m_h| / sum_h sum x      Weiss, J. Appl. Cryst. 34 (2001) 130
    R_anom     = sum |I+ - I-| / sum |<I>|, <I> the mean of the two, each weighted by its scatter

R factors are over reflections with n > 1. Shells hold equal volumes of reciprocal space between the limits of the
data. CC1/2 and CC_anom are in ``half_sets``. All formulas but the random halves are those of DIALS' tables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from braggscale.data.geometry import UnitCell, inverse_d_squared
from braggscale.data.index_order import group_rows
from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int, Int32
from braggscale.numerics.partitions import run_in_threads
from braggscale.run_warnings import Code, warn
from braggscale.statistics.confidence_intervals import Intervals
from braggscale.statistics.half_sets import halves_of_differences, halves_of_groups
from braggscale.statistics.merging import weighted_means
from braggscale.statistics.resolution_limit import ResolutionLimit, suggest_limit
from braggscale.statistics.shell_statistics import GroupSums, ReflectionSums, Shell, describe

log = logging.getLogger(__name__)

# Relative widening of the outermost shell limits, so that no reflection falls on them (as DIALS).
_MARGIN = 1e-6
# Relative tolerance of d_min and d_max, so that a reflection exactly at a limit is included.
_ON_THE_LIMIT = 1e-9
_SMALLEST = 1e-100  # Angstrom; 1/d^2 of a smaller limit is not finite


@dataclass(frozen=True, slots=True)
class Statistics:
    """``overall``, and ``shells`` from low to high resolution.

    ``anomalous``: whether Friedel mates differ in this space group.  ``limit``: the suggested resolution limit;
    ``suggested``: overall statistics of the data within it, ``suggested_low``, ``suggested_high`` their first and last
    shells; None where no limit is suggested.  ``intervals``: confidence intervals of some of ``overall``.
    """

    overall: Shell
    shells: tuple[Shell, ...]
    anomalous: bool
    limit: ResolutionLimit
    suggested: Shell | None = None
    suggested_low: Shell | None = None
    suggested_high: Shell | None = None
    intervals: Intervals | None = None

    def summary(self) -> dict[str, Shell]:
        """Columns of the summary table: Overall, Low, High; with a suggested limit Suggested, Low, High, Overall."""
        if self.suggested is not None and self.suggested_low is not None and self.suggested_high is not None:
            return {
                "Suggested": self.suggested,
                "Low": self.suggested_low,
                "High": self.suggested_high,
                "Overall": self.overall,
            }
        return {"Overall": self.overall, "Low": self.shells[0], "High": self.shells[-1]}

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON, None for unknown values."""
        return {
            "overall": self.overall.to_dict(),
            "shells": [shell.to_dict() for shell in self.shells],
            "anomalous": self.anomalous,
            "suggested_d_min": self.limit.d_min,
            "suggested_reason": self.limit.reason,
            "suggested": None if self.suggested is None else self.suggested.to_dict(),
            "intervals": None if self.intervals is None else self.intervals.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Observations in the order of ``sort_order`` with everything that does not depend on the shells.

    ``x``: I/g, ``weight``: 1/sigma^2, (n_rows,).  ``friedel_merged``, ``friedel_split``: groups of rows, (n_groups,)
    with Friedel mates merged, and split.  ``s``: 1/d^2, 1/Angstrom^2, ``counted``: not systematically absent,
    (n_groups,).  ``parent``: number of the merged group of each split group.  ``plus``, ``minus``: numbers of the split
    groups of the two mates of each pair, (n_pairs,).
    """

    x: Float
    weight: Float
    friedel_merged: Groups
    friedel_split: Groups
    s: Float
    counted: Bool
    parent: Int
    plus: Int
    minus: Int


@dataclass(frozen=True, slots=True)
class Unmerged:
    """Scaled observations, rows in any order, with what decides which of them are equivalent.

    ``asu_hkl``: index in the asymmetric unit, (n, 3), ``minus``: observation of an I-, (n,), both from
    ``Symmetry.asu``.  ``x``: I/g, ``sigma``: of x, any common scale, (n,); rows whose sigma is not positive or not
    finite do not count.  ``cell``: Angstrom and degrees, decides resolution.
    """

    asu_hkl: Int32
    minus: Bool
    x: Float
    sigma: Float
    cell: UnitCell
    symmetry: Symmetry

    def usable(self) -> Unmerged:
        """Only rows that count."""
        good = (self.sigma > 0) & np.isfinite(self.sigma) & np.isfinite(self.x)
        if good.all():
            return self
        return replace(self, asu_hkl=self.asu_hkl[good], minus=self.minus[good], x=self.x[good], sigma=self.sigma[good])


def merging_statistics(
    data: Unmerged,
    *,
    n_bins: int = 20,
    d_min: float | None = None,
    d_max: float | None = None,
    use_internal_variance: bool = False,
) -> Statistics | None:
    """Statistics of scaled observations in ``n_bins`` shells and overall.

    ``d_min``, ``d_max``: limits, Angstrom; without ``d_min`` a limit is suggested where the signal ends.
    ``use_internal_variance``: sigmas of merged intensities are at least as large as the scatter of equivalents implies.
    Returns None, with a warning in the log, if no observation is left.
    """

    def sums(lowest: float | None) -> ReflectionSums | None:
        """Sums of the reflections down to a resolution; None if there are none."""
        rows = _prepare(data, lowest, d_max)
        return None if rows is None else _sums(rows, use_internal_variance)

    return statistics_of_sums(sums, data.symmetry, data.cell, n_bins, d_min)


def statistics_of_sums(
    sums: Callable[[float | None], ReflectionSums | None],
    symmetry: Symmetry,
    cell: UnitCell,
    n_bins: int,
    d_min: float | None,
) -> Statistics | None:
    """``merging_statistics`` from sums over the observations of each reflection.

    ``sums``: those of the reflections down to a resolution, Angstrom, or of all; None where there is none.
    """
    within = _within(sums(d_min), symmetry, cell, n_bins)
    if within is None:
        warn(
            log,
            Code.NO_STATISTICS,
            "merging statistics: no observation with a positive sigma is inside the resolution limits",
        )
        return None
    shells, overall = within
    anomalous = not symmetry.centrosymmetric
    if d_min is not None:
        return Statistics(overall, shells, anomalous, ResolutionLimit(None, "the limit was given"))
    limit = suggest_limit(
        [shell.d_min for shell in shells],
        [shell.cc_half for shell in shells],
        [shell.cc_half_pairs for shell in shells],
    )
    within = None if limit.d_min is None else _within(sums(limit.d_min), symmetry, cell, n_bins)
    if within is None:
        return Statistics(overall, shells, anomalous, limit)
    inner, suggested = within
    return Statistics(overall, shells, anomalous, limit, suggested, inner[0], inner[-1])


def _within(
    sums: ReflectionSums | None, symmetry: Symmetry, cell: UnitCell, n_bins: int
) -> tuple[tuple[Shell, ...], Shell] | None:
    """The statistics of the shells between the limits and of the whole range; None if there is no observation."""
    if sums is None:
        return None
    limits = shell_limits(sums.s, n_bins)
    shell = np.clip(np.searchsorted(limits, sums.s, side="right") - 1, 0, n_bins - 1)
    possible, acentric = symmetry.possible_in_shells(cell, limits)
    *shells, overall = describe(sums, shell, limits, possible, acentric, symmetry.centrosymmetric)
    return tuple(shells), overall


def shell_limits(s: Float, n: int) -> Float:
    """Limits in 1/d^2 of n shells of equal volume that take in all reflections, ascending, (n + 1,), 1/Angstrom^2.

    ``s``: 1/d^2 of the reflections, 1/Angstrom^2, (n_reflections,).
    """
    low, high = float(s.min()), float(s.max())
    margin = _MARGIN * (high - low) or _MARGIN * high
    ends = max(low - margin, 0.5 * low), high + margin  # above zero, so that d stays finite
    limits: Float = np.linspace(ends[0] ** 1.5, ends[1] ** 1.5, n + 1) ** (2 / 3)
    limits[0], limits[-1] = ends
    return limits


def inside_limits(s: Float, d_min: float | None, d_max: float | None) -> Bool:
    """Reflections between the limits, Angstrom, with those on them, (n,).  ``s``: 1/d^2, 1/Angstrom^2, (n,)."""
    low = max(d_max, _SMALLEST) ** -2.0 * (1 - _ON_THE_LIMIT) if d_max else 0.0
    high = max(d_min, _SMALLEST) ** -2.0 * (1 + _ON_THE_LIMIT) if d_min else np.inf
    found: Bool = (s >= low) & (s <= high) & (s > 0)
    return found


def _prepare(data: Unmerged, d_min: float | None, d_max: float | None) -> _Sorted | None:
    """The observations between the limits, sorted; None without any."""
    data = data.usable()
    asu_hkl, x, sigma = data.asu_hkl, data.x, data.sigma
    order, friedel_merged, friedel_split = group_rows(asu_hkl, data.minus)
    # members of a group sorted by intensity, so that random halves do not depend on the order of rows in the file
    order = order[np.lexsort((x[order], friedel_split.index()))]
    hkl = asu_hkl[order[friedel_merged.offsets[:-1]]]
    s = inverse_d_squared(hkl, data.cell)
    inside = inside_limits(s, d_min, d_max)
    if not inside.all():
        rows = friedel_merged.spread(inside)
        order, friedel_split = order[rows], friedel_split.subset(rows)
        hkl, s, friedel_merged = hkl[inside], s[inside], friedel_merged.choose(inside)
    if len(order) == 0:
        return None
    parent = np.searchsorted(friedel_merged.offsets[:-1], friedel_split.offsets[:-1], side="right") - 1
    # The group of I- directly follows that of I+; only acentric reflections have an I-.
    first = np.flatnonzero(parent[1:] == parent[:-1])
    weight = 1.0 / np.square(sigma[order])
    counted = ~data.symmetry.is_absent(hkl)
    return _Sorted(x[order], weight, friedel_merged, friedel_split, s, counted, parent, first, first + 1)


def _sums(data: _Sorted, internal: bool) -> ReflectionSums:
    """The sums for statistics of shells.  ``internal``: sigmas of means also from the scatter of equivalents."""
    merged, split = run_in_threads(
        lambda k: _group_sums((data.friedel_merged, data.friedel_split)[k], data.weight, data.x, internal), 2
    )
    halves = halves_of_groups(data.friedel_merged, data.weight, data.x)
    differences = halves_of_differences(data.friedel_split, data.plus, data.minus, data.x)
    plain = data.friedel_merged.sum(data.x) / np.maximum(merged.sizes, 1)
    scatter = data.friedel_merged.sum((data.x - data.friedel_merged.spread(plain)) ** 2)
    return ReflectionSums(
        data.s, data.counted, merged, split, scatter, data.parent, data.plus, data.minus, halves, differences
    )


def _group_sums(groups: Groups, weight: Float, x: Float, internal: bool) -> GroupSums:
    """``weight``: 1/sigma^2, ``x``: I/g, (n_rows,)."""
    sizes = groups.sizes()
    mean, at_least = weighted_means(groups, weight, x, sizes, True)
    sigma = at_least if internal else weighted_means(groups, weight, x, sizes, False)[1]
    return GroupSums(sizes, mean, sigma, at_least, groups.sum(x), groups.sum(np.abs(x - groups.spread(mean))))
