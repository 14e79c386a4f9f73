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
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from braggscale.data.geometry import UnitCell, inverse_d_squared
from braggscale.data.index_order import group_rows
from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int, Int32
from braggscale.numerics.partitions import run_lanes
from braggscale.statistics.confidence_intervals import Intervals
from braggscale.statistics.half_sets import (
    cc_anomalous,
    cc_half,
    cc_half_analytic,
    count,
    critical_correlation,
    ratio,
)
from braggscale.statistics.merging import weighted_means
from braggscale.statistics.resolution_limit import ResolutionLimit, suggest_limit

log = logging.getLogger(__name__)

# Relative widening of the outermost shell limits, so that no reflection falls on them (as DIALS).
_MARGIN = 1e-6
# Relative width that takes in a reflection exactly on a limit that was asked for.
_ON_THE_LIMIT = 1e-9
# Slope of the anomalous normal probability plot: over this part of it (as cctbx).
_CENTRAL = 0.9


@dataclass(frozen=True, slots=True)
class Shell:
    """Statistics of one resolution range; catalogue.py defines each of them. What cannot be computed is NaN.

    ``d_max``, ``d_min``: Angstrom.  ``completeness``, ``anomalous_completeness``: 0 to 1.  ``*_apart``: with I+ and I-
    as different reflections.  ``cc_half_pairs``, ``cc_anom_pairs``: number of reflections correlated;
    ``*_significant``: above zero at the level 0.01.  ``cc_half_analytic``: CC1/2 without random halves.
    ``anomalous_multiplicity``: observations per member, I+ or I-.  ``anomalous_slope``: of the normal probability plot
    of (I+ - I-)/sigma, above 1 where differences exceed their errors.  ``df_f``: rms(F+ - F-)/rms F, acentric.
    ``di_over_sigma``: mean |I+ - I-| / mean sigma of it.  Anomalous entries are NaN for centrosymmetric groups.
    """

    d_max: float
    d_min: float
    n_obs: int
    n_unique: int
    multiplicity: float
    completeness: float
    mean_intensity: float
    mean_i_over_sigma: float
    r_merge: float
    r_meas: float
    r_pim: float
    r_merge_apart: float
    r_meas_apart: float
    r_pim_apart: float
    r_anom: float
    cc_half: float
    cc_half_pairs: int
    cc_half_significant: bool
    cc_half_analytic: float
    cc_anom: float
    cc_anom_pairs: int
    cc_anom_significant: bool
    anomalous_completeness: float
    anomalous_multiplicity: float
    anomalous_slope: float
    df_f: float
    di_over_sigma: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON, None for what is not known."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


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
        """Plain numbers for JSON, None for what is not known."""
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
    ``use_internal_variance``: sigmas of merged intensities at least as large as the scatter of the equivalents tells.
    Returns None, with a warning in the log, if no observation is left.
    """
    found = _within(data, n_bins, d_min, d_max, use_internal_variance)
    if found is None:
        log.warning("merging statistics: no observation with a positive sigma is inside the resolution limits")
        return None
    shells, overall = found
    anomalous = not data.symmetry.centrosymmetric
    if d_min is not None:
        return Statistics(overall, shells, anomalous, ResolutionLimit(None, "the limit was given"))
    limit = suggest_limit(
        [shell.d_min for shell in shells],
        [shell.cc_half for shell in shells],
        [shell.cc_half_pairs for shell in shells],
    )
    found = None if limit.d_min is None else _within(data, n_bins, limit.d_min, d_max, use_internal_variance)
    if found is None:
        return Statistics(overall, shells, anomalous, limit)
    inner, suggested = found
    return Statistics(overall, shells, anomalous, limit, suggested, inner[0], inner[-1])


def _within(
    data: Unmerged, n_bins: int, d_min: float | None, d_max: float | None, internal: bool
) -> tuple[tuple[Shell, ...], Shell] | None:
    """The shells between the limits, and all of it; None without an observation there."""
    rows = _prepare(data, d_min, d_max)
    if rows is None:
        return None
    limits = shell_limits(rows.s, n_bins)
    shell = np.clip(np.searchsorted(limits, rows.s, side="right") - 1, 0, n_bins - 1)
    possible, acentric = data.symmetry.possible_in_shells(data.cell, limits)
    centric = data.symmetry.centrosymmetric
    *shells, overall = _describe(rows, shell, limits, possible, acentric, centric, internal)
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


def _prepare(data: Unmerged, d_min: float | None, d_max: float | None) -> _Sorted | None:
    """The observations between the limits, sorted; None without any."""
    data = data.usable()
    asu_hkl, x, sigma = data.asu_hkl, data.x, data.sigma
    order, friedel_merged, friedel_split = group_rows(asu_hkl, data.minus)
    # members by their intensity: random halves must not depend on the order in which a file has its rows
    order = order[np.lexsort((x[order], friedel_split.index()))]
    hkl = asu_hkl[order[friedel_merged.offsets[:-1]]]
    s = inverse_d_squared(hkl, data.cell)
    low = d_max**-2.0 * (1 - _ON_THE_LIMIT) if d_max else 0.0
    high = d_min**-2.0 * (1 + _ON_THE_LIMIT) if d_min else np.inf
    inside = (s >= low) & (s <= high) & (s > 0)
    if not inside.all():
        rows = friedel_merged.spread(inside)
        order, friedel_split = order[rows], friedel_split.subset(rows)
        hkl, s, friedel_merged = hkl[inside], s[inside], friedel_merged.choose(inside)
    if len(order) == 0:
        return None
    parent = np.searchsorted(friedel_merged.offsets[:-1], friedel_split.offsets[:-1], side="right") - 1
    # The I- of a pair stands right after its I+; only acentric reflections have an I-.
    first = np.flatnonzero(parent[1:] == parent[:-1])
    weight = 1.0 / np.square(sigma[order])
    counted = ~data.symmetry.is_absent(hkl)
    return _Sorted(x[order], weight, friedel_merged, friedel_split, s, counted, parent, first, first + 1)


def _describe(
    data: _Sorted,
    shell: Int,
    limits: Float,
    possible: Int,
    possible_acentric: Int,
    centrosymmetric: bool,
    internal: bool,
) -> tuple[Shell, ...]:
    """Statistics of n shells and, last, of all.

    ``shell``: number of the shell of each merged group, (n_groups,).  ``limits``: of the shells in 1/d^2, (n + 1,).
    ``possible``, ``possible_acentric``: number of reflections that the space group allows in each shell, (n,).
    """
    n = len(limits) - 1
    parts = (
        lambda: _friedel_merged(data, shell, n, possible, internal),
        lambda: _anomalous(data, shell, n, possible_acentric, centrosymmetric, internal),
    )
    columns: dict[str, Any] = {
        # The limits shown for all are those of the data, which the shells exceed by a millionth.
        "d_max": np.append(limits[:-1], data.s.min()) ** -0.5,
        "d_min": np.append(limits[1:], data.s.max()) ** -0.5,
    }
    for found in run_lanes(lambda k: parts[k](), len(parts)):
        columns |= found
    return tuple(
        Shell(**{name: values[i].item() for name, values in columns.items()})  # plain numbers
        for i in range(n + 1)
    )


def _friedel_merged(data: _Sorted, shell: Int, n: int, possible: Int, internal: bool) -> dict[str, Any]:
    """The statistics with Friedel mates merged, by name, (n + 1,) each: n shells and all.

    ``shell``: as in ``_describe``.  ``possible``: number of possible reflections in each shell, (n,).
    """
    mean, sigma = weighted_means(data.friedel_merged, data.weight, data.x, data.friedel_merged.sizes(), internal)
    n_obs, n_unique = count(shell, n, data.friedel_merged.sizes()), count(shell, n)
    cc, pairs = cc_half(data.friedel_merged, data.weight, data.x, shell, n)
    return {
        "n_obs": n_obs.astype(np.int64),
        "n_unique": n_unique.astype(np.int64),
        "multiplicity": ratio(n_obs, n_unique),
        # The space group's absences are not possible reflections, so they must not count as measured ones.
        "completeness": np.minimum(ratio(count(shell, n, data.counted), _with_total(possible)), 1.0),
        "mean_intensity": ratio(count(shell, n, mean), n_unique),
        "mean_i_over_sigma": ratio(count(shell, n, mean / sigma), n_unique),
        "cc_half": cc,
        "cc_half_pairs": pairs,
        "cc_half_significant": cc > critical_correlation(pairs),
        "cc_half_analytic": cc_half_analytic(data.friedel_merged, data.x, shell, n),
    } | _r_factors(data.friedel_merged, data.x, mean, shell, n, "")


def _r_factors(groups: Groups, x: Float, mean: Float, shell: Int, n: int, suffix: str) -> dict[str, Float]:
    """R_merge, R_meas and R_pim of n shells and of all, (n + 1,) each, by name with ``suffix``.

    ``x``: I/g, (n_rows,).  ``mean``: I_h, ``shell``: number of the shell, (n_groups,).
    """
    sizes = groups.sizes()
    several = sizes > 1
    deviation = groups.sum(np.abs(x - groups.spread(mean)))[several]
    within, freedom, size = shell[several], (sizes - 1.0)[several], sizes[several]
    total = count(within, n, groups.sum(x)[several])
    factors = {"r_merge": np.ones(len(size)), "r_meas": np.sqrt(size / freedom), "r_pim": np.sqrt(1 / freedom)}
    sums = {name: count(within, n, factor * deviation) for name, factor in factors.items()}
    # A sum of intensities may be negative in noise; zero is the only value that says nothing.
    return {
        name + suffix: np.divide(value, total, out=np.full(n + 1, np.nan), where=total != 0)
        for name, value in sums.items()
    }


def _anomalous(
    data: _Sorted, shell: Int, n: int, possible: Int, centrosymmetric: bool, internal: bool
) -> dict[str, Any]:
    """The statistics with Friedel mates split, and those of anomalous differences, by name, (n + 1,) each.

    ``shell``: as in ``_describe``.  ``possible``: number of possible acentric reflections in each shell, (n,).
    """
    apart_shell = shell[data.parent]
    mean, sigma = weighted_means(data.friedel_split, data.weight, data.x, data.friedel_split.sizes(), internal)
    result: dict[str, Any] = _r_factors(data.friedel_split, data.x, mean, apart_shell, n, "_apart")
    result["anomalous_multiplicity"] = ratio(count(apart_shell, n, data.friedel_split.sizes()), count(apart_shell, n))
    if centrosymmetric:
        unknown = np.full(n + 1, np.nan)
        names = ("r_anom", "cc_anom", "anomalous_completeness", "anomalous_slope", "df_f", "di_over_sigma")
        result |= dict.fromkeys((*names, "anomalous_multiplicity"), unknown)
        return result | {"cc_anom_pairs": np.zeros(n + 1, np.int64), "cc_anom_significant": np.zeros(n + 1, bool)}
    within = apart_shell[data.plus]
    plus, minus = mean[data.plus], mean[data.minus]
    difference, error = plus - minus, np.hypot(sigma[data.plus], sigma[data.minus])
    deviation = difference / error
    average = _average_of_mates(data, internal=True)
    pairs = count(within, n)
    absolute = count(within, n, np.abs(difference))
    counted = data.counted[data.parent[data.plus]]
    positive = (plus > 0) & (minus > 0)
    f_plus, f_minus = np.sqrt(plus[positive]), np.sqrt(minus[positive])
    f_difference = count(within[positive], n, (f_plus - f_minus) ** 2)
    f_total = count(within[positive], n, f_plus**2 + f_minus**2)
    cc, cc_pairs = cc_anomalous(data.friedel_split, data.plus, data.minus, data.x, within, n)
    return result | {
        "r_anom": ratio(absolute, count(within, n, np.abs(average))),
        "cc_anom": cc,
        "cc_anom_pairs": cc_pairs,
        "cc_anom_significant": cc > critical_correlation(cc_pairs),
        "anomalous_completeness": np.minimum(ratio(count(within, n, counted), _with_total(possible)), 1.0),
        "anomalous_slope": np.array([_slope(deviation[within == i]) for i in range(n)] + [_slope(deviation)]),
        "df_f": np.sqrt(2 * ratio(f_difference, f_total)),
        "di_over_sigma": ratio(ratio(absolute, pairs), ratio(count(within, n, error), pairs)),
    }


def _average_of_mates(data: _Sorted, internal: bool) -> Float:
    """Mean of I+ and I- of each pair, weighted with their inverse variances, (n_pairs,)."""
    mean, sigma = weighted_means(data.friedel_split, data.weight, data.x, data.friedel_split.sizes(), internal)
    plus, minus = sigma[data.plus] ** -2, sigma[data.minus] ** -2
    average: Float = (plus * mean[data.plus] + minus * mean[data.minus]) / (plus + minus)
    return average


def _slope(ratio: Float) -> float:
    """Slope of the central part of the normal probability plot; NaN for too few values.

    ``ratio``: anomalous differences over their standard deviations, (n,).
    """
    from scipy.special import ndtri

    n = len(ratio)
    expected = ndtri((np.arange(n) + 0.5) / max(n, 1))
    central = np.abs(expected) < _CENTRAL
    if central.sum() < 2:
        return math.nan
    x, y = expected[central], np.sort(ratio)[central]
    dx = x - x.mean()
    return float(dx @ (y - y.mean()) / (dx @ dx))


def _with_total(numbers: Int) -> Int:
    """Numbers of n shells and, last, their sum, (n + 1,)."""
    return np.append(numbers, numbers.sum())
