"""Statistics of every run of images and every data set: scale, R, I/sigma, completeness, CC1/2 without it."""

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
from braggscale.statistics.influence import SHELLS, Segments, influence

# Observations that a cell of a map needs.
FEWEST_IN_CELL = 5


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
        unit_cell=grid(np.array([one.experiment.crystal.unit_cell for one in result.used]), 5),
    )


def _map(by_shell: PartsTable, values: Float, n: int) -> Matrix:
    """A row for each of n data sets; None where there are so few observations that the map would show only noise."""
    return grid(np.where(by_shell.observations >= FEWEST_IN_CELL, values, np.nan).reshape(n, -1))


def _mean_b(result: Result) -> Array:
    """Mean of the parameters of the B factor of each data set, Angstrom^2; NaN without one."""
    found = np.full(len(result.kept), np.nan)
    for d, component, where in result.model.parts():
        if component.gauge_role == "b":
            found[d] = float(result.scaled.outcome.theta[where].mean())
    return found
