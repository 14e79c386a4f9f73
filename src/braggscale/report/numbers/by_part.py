"""Statistics of every run of images and every data set: scale, R, I/sigma, completeness, CC1/2 without it.

delta CC1/2 of a part = CC1/2 of all data - CC1/2 without the part, with the analytic CC1/2 of each resolution shell

    CC = (s_y^2 - e)/(s_y^2 + e),   s_y^2 = variance of the means of reflections with two or more observations,
                                    e = mean of their variances of the mean, sum (x - <x>)^2/(n (n - 1)),

averaged over the shells with the numbers of reflections as weights (Assmann, Brehm & Diederichs, J. Appl. Cryst. 49
(2016) 1021). A part with a negative value makes the data worse. Leaving out a part changes n, sum x and sum x^2
only for the reflections that it measured, so one pass over the observations is enough for all parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.report.numbers.image_bins import ImageBins
from braggscale.report.numbers.json_numbers import column, counts, grid, numbers, share, total
from braggscale.report.numbers.scaled_observations import Observed
from braggscale.report.summary_sections import ByDataSet, ByImage
from braggscale.report.summary_values import Matrix
from braggscale.scaling.result import Result
from braggscale.statistics.half_sets import cc_of_variances

# Number of shells of delta CC1/2 (as in DIALS), and of the map of data sets.
SHELLS = 10
# A correlation is calculated only if a part has so many reflections in common with the rest.
FEWEST_COMMON = 10
# Observations that a cell of a map needs.
FEWEST_IN_CELL = 5


@dataclass(frozen=True, slots=True)
class Segments:
    """Rows sorted into segments; a segment is the observations of one reflection in one part.  ``order``: rows, (n,).

    ``offsets``: beginning of each segment in ``order``, and the end, (n_segments + 1,).  ``group``, ``part``: of each
    segment, (n_segments,).
    """

    order: Int
    offsets: Int
    group: Int
    part: Int

    @classmethod
    def of(cls, groups: Groups, part: Int, n_parts: int) -> Segments:
        """``part``: of each row, (n_rows,)."""
        key = groups.index() * n_parts + part
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        first = ordered[starts]
        return cls(order, np.append(starts, len(key)), first // n_parts, first % n_parts)

    def sizes(self) -> Int:
        """Number of rows of each segment, (n_segments,)."""
        return np.diff(self.offsets)

    def sum(self, values: Float) -> Float:
        """Sum over each segment, (n_segments,).  ``values``: (n_rows,)."""
        result: Float = np.add.reduceat(values[self.order], self.offsets[:-1])
        return result


@dataclass(frozen=True, slots=True)
class Influence:
    """Effect of leaving out each part, (n_parts,); NaN where it is not known.

    ``delta``: delta CC1/2.  ``cc_rest``: correlation of the means of the part with those of all others.
    ``cc``: CC1/2 of all data, mean over shells.
    """

    delta: Float
    cc_rest: Float
    cc: float


def influence(x: Float, groups: Groups, segments: Segments, n_parts: int, s: Float) -> Influence:
    """delta CC1/2 and correlation with the rest of each part.

    ``x``: scaled intensities, (n_rows,).  ``s``: 1/d^2 of each group, (n_groups,); shells are of equal width in it.
    """
    low, high = float(s.min()), float(s.max())
    shell = np.minimum((s - low) * (SHELLS / max(high - low, 1e-12)), SHELLS - 1).astype(np.int64)
    # in units of the shell's mean, so that no shell dominates the correlation with the rest
    level = share(total(shell, SHELLS, groups.sum(np.abs(x))), total(shell, SHELLS, groups.sizes()))
    unit = np.where(level > 0, level, 1.0)[shell]
    n, sums, squares = groups.sizes().astype(np.float64), groups.sum(x) / unit, groups.sum(x * x) / unit**2
    at = segments.group
    n_part, scale = segments.sizes().astype(np.float64), unit[at]
    sum_part, square_part = segments.sum(x) / scale, segments.sum(x * x) / scale**2
    everything = [total(shell, SHELLS, v) for v in _moments(n, sums, squares)]
    old = _moments(n[at], sums[at], squares[at])
    rest = n[at] - n_part, sums[at] - sum_part, squares[at] - square_part
    new = _moments(*rest)
    where = segments.part * SHELLS + shell[at]
    without = [
        every + total(where, n_parts * SHELLS, after - before).reshape(n_parts, SHELLS)
        for every, after, before in zip(everything, new, old, strict=True)
    ]
    cc = float(_mean_cc(*(every[None] for every in everything))[0])
    return Influence(cc - _mean_cc(*without), _with_the_rest(segments, n_part, sum_part, rest, n_parts), cc)


def _moments(n: Float, sums: Float, squares: Float) -> tuple[Float, Float, Float, Float]:
    """A reflection's number (1), variance of the mean, mean and mean^2; zeros for fewer than two observations."""
    several = n > 1.5
    mean = np.where(several, sums / np.maximum(n, 1.0), 0.0)
    scatter = np.maximum(squares - sums * mean, 0.0)
    variance = np.divide(scatter, n * (n - 1.0), out=np.zeros(len(n)), where=several)
    return several.astype(np.float64), variance, mean, mean * mean


def _mean_cc(number: Float, variance: Float, mean: Float, square: Float) -> Float:
    """Mean CC1/2 over the shells.  All: (n_parts, SHELLS)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cc = cc_of_variances((square - mean * mean / number) / (number - 1.0), variance / number)
    known = (number > 2.5) & np.isfinite(cc)
    return share(np.where(known, number * cc, 0.0).sum(axis=1), np.where(known, number, 0.0).sum(axis=1))


def _with_the_rest(segments: Segments, n: Float, sums: Float, rest: tuple[Float, Float, Float], n_parts: int) -> Float:
    shared = rest[0] > 0.5
    part = segments.part[shared]
    a, b = (sums / n)[shared], (rest[1][shared] / rest[0][shared])
    number = total(part, n_parts)
    mean_a, mean_b = (share(total(part, n_parts, v), number) for v in (a, b))
    a, b = a - mean_a[part], b - mean_b[part]
    product, left, right = (total(part, n_parts, v) for v in (a * b, a * a, b * b))
    result = share(product, np.sqrt(left * right))
    result[number < FEWEST_COMMON] = np.nan
    return result


@dataclass(frozen=True, slots=True)
class PartsTable:
    """Of each part, (n_parts,): number of observations, mean g, R_merge against the means of all data, mean I/sigma
    of single observations, mean z^2; NaN where there are none."""

    observations: Float
    scale: Float
    r_merge: Float
    i_over_sigma: Float
    mean_z2: Float


def parts_table(seen: Observed, part: Int, n: int) -> PartsTable:
    """Statistics of n parts of the observations.  ``part``: of each observation, (n_obs,)."""
    several = seen.friedel_merged.spread(seen.friedel_merged.sizes() > 1)
    deviation = np.abs(seen.x - seen.friedel_merged.spread(seen.mean))
    known = np.isfinite(seen.z)
    within = part[several]
    number = total(part, n)
    return PartsTable(
        observations=number,
        scale=share(total(part, n, seen.scale), number),
        r_merge=share(total(within, n, deviation[several]), total(within, n, seen.x[several])),
        i_over_sigma=share(total(part, n, seen.x / seen.sigma), number),
        mean_z2=share(total(part[known], n, seen.z[known] ** 2), total(part[known], n)),
    )


def growth(groups: Groups, part: Int, n: int) -> tuple[Int, Float]:
    """Unique reflections seen up to and with each part, and observations of them, (n,) each."""
    first = np.minimum.reduceat(part, groups.offsets[:-1])
    return np.cumsum(np.bincount(first, minlength=n)), np.cumsum(total(part, n))


def by_image(seen: Observed, bins: ImageBins, result: Result, rejected: Bool) -> ByImage:
    """Columns, one entry per run of images over all data sets in order.  ``rejected``: outliers, (n_all,)."""
    n = len(bins)
    part = bins.of(seen.data_set, seen.xyz[:, 2])
    found = parts_table(seen, part, n)
    rows = result.data.rows
    lost = rows.data_set[rejected].astype(np.int64), rows.xyz[rejected, 2]
    outliers = total(bins.of(*lost), n)
    unique, observations = growth(seen.friedel_merged, part, n)
    complete = np.full(n, np.nan)
    if result.statistics is not None:
        complete = unique * (result.statistics.overall.completeness / max(int(unique[-1]), 1))
    influences = influence(seen.x, seen.friedel_merged, Segments.of(seen.friedel_merged, part, n), n, seen.s)
    return ByImage(
        images_per_bin=bins.width,
        data_sets_per_bin=bins.merged,
        cc_half=column([influences.cc])[0],
        data_set=counts(bins.data_set),
        first=counts(bins.first),
        last=counts(bins.last),
        observations=counts(found.observations),
        outliers=counts(outliers),
        scale=column(found.scale),
        r_merge=column(found.r_merge),
        i_over_sigma=column(found.i_over_sigma),
        mean_z2=column(found.mean_z2),
        completeness=column(complete),
        multiplicity=column(share(observations, unique)),
        delta_cc_half=column(np.where(found.observations > 0, influences.delta, np.nan), 3),
    )


def by_data_set(seen: Observed, segments: Segments, result: Result, rejected: Bool) -> ByDataSet:
    """Columns, one entry per data set in the output, and maps of data set by resolution.

    ``rejected``: outliers, (n_all,).
    """
    n = len(result.kept)
    found = parts_table(seen, seen.data_set, n)
    outliers = total(result.data.rows.data_set[rejected].astype(np.int64), n)
    influences = influence(seen.x, seen.friedel_merged, segments, n, seen.s)
    measured = total(segments.part, n)
    possible = np.nan
    if result.statistics is not None and result.statistics.overall.completeness > 0:
        possible = len(seen.friedel_merged) / result.statistics.overall.completeness
    shell = np.searchsorted(limits := seen.limits[:: max(seen.n_shells // SHELLS, 1)], seen.s, side="right") - 1
    n_coarse = len(limits) - 1
    shell = np.clip(shell, 0, n_coarse - 1) if n_coarse > 0 else np.zeros(len(seen.s), np.int64)
    n_coarse = max(n_coarse, 1)
    several = n > 1  # a single data set has no others to compare with
    by_shell = parts_table(seen, seen.data_set * n_coarse + seen.friedel_merged.spread(shell), n * n_coarse)
    return ByDataSet(
        number=[one.number for one in result.used],
        identifier=[one.identifier for one in result.used],
        observations=counts(found.observations),
        unique=counts(measured),
        completeness=column(measured / possible),
        outliers=counts(outliers),
        scale=column(found.scale),
        r_merge=column(found.r_merge),
        i_over_sigma=column(found.i_over_sigma),
        mean_z2=column(found.mean_z2),
        b=column(_mean_b(result)),
        delta_cc_half=column(influences.delta if several else np.full(n, np.nan), 3),
        cc_rest=column(influences.cc_rest),
        shell_limits=numbers(np.append(limits[:n_coarse], seen.limits[-1]) ** -0.5),
        r_merge_by_shell=_map(by_shell, by_shell.r_merge, n),
        i_over_sigma_by_shell=_map(by_shell, by_shell.i_over_sigma, n),
    )


def _map(by_shell: PartsTable, values: Float, n: int) -> Matrix:
    """A row for each of n data sets; None where there are so few observations that the map would show only noise."""
    return grid(np.where(by_shell.observations >= FEWEST_IN_CELL, values, np.nan).reshape(n, -1))


def _mean_b(result: Result) -> Array:
    """Mean of the parameters of the B factor of each data set, Angstrom^2; NaN without one."""
    found = np.full(len(result.kept), np.nan)
    for d, component, where in result.model.parts():
        if component.exponential:
            found[d] = float(result.scaled.outcome.theta[where].mean())
    return found
