"""Statistics of resolution shells from sums over the observations of each unique reflection.

The sums may be computed from rows in memory (merging_statistics.py), or by several processes that have the rows
(braggscale.ranks); the statistics of a shell are the same function of them. Formulas: merging_statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.partitions import run_in_threads
from braggscale.statistics.half_sets import (
    Division,
    cc_half_of_scatter,
    count,
    critical_correlation,
    mean_correlation,
    ratio,
)

# Slope of the anomalous normal probability plot: over this part of it (as cctbx).
_CENTRAL = 0.9


@dataclass(frozen=True, slots=True)
class Shell:
    """Statistics of one resolution range; catalogue.py defines each of them. A value that cannot be computed is NaN.

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
        """Plain numbers for JSON, None for unknown values."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class GroupSums:
    """Sums over the observations of each unique reflection, (n_groups,) each.

    ``sizes``: their number.  ``mean``: weighted mean of x = I/g, ``sigma``: its standard deviation, as it is shown;
    ``sigma_internal``: the same, but at least as large as the scatter of the equivalents implies.  ``total``: sum
    x.
    ``deviation``: sum |x - mean|.
    """

    sizes: Int
    mean: Float
    sigma: Float
    sigma_internal: Float
    total: Float
    deviation: Float


@dataclass(frozen=True, slots=True)
class ReflectionSums:
    """Sums over the observations of each reflection, with Friedel mates merged and split.

    ``s``: 1/d^2, 1/Angstrom^2, ``counted``: not systematically absent, ``scatter``: sum of (x - plain mean)^2,
    (n_merged,).  ``parent``: number of the merged group of each split group, (n_split,).
    ``plus``, ``minus``: numbers of the split groups of the two mates of each pair, (n_pairs,).
    ``halves``: divisions of the merged groups, weighted means.  ``differences``: divisions of the pairs, plain means.
    """

    s: Float
    counted: Bool
    merged: GroupSums
    split: GroupSums
    scatter: Float
    parent: Int
    plus: Int
    minus: Int
    halves: Iterable[Division]
    differences: Iterable[Division]


def describe(
    data: ReflectionSums,
    shell: Int,
    limits: Float,
    possible: Int,
    possible_acentric: Int,
    centrosymmetric: bool,
) -> tuple[Shell, ...]:
    """Statistics of n shells and, last, of all.

    ``shell``: number of the shell of each merged group, (n_groups,).  ``limits``: of the shells in 1/d^2, (n + 1,).
    ``possible``, ``possible_acentric``: number of reflections that the space group allows in each shell, (n,).
    """
    n = len(limits) - 1
    parts = (
        lambda: _friedel_merged(data, shell, n, possible),
        lambda: _anomalous(data, shell, n, possible_acentric, centrosymmetric),
    )
    columns: dict[str, Any] = {
        # The limits of the whole range are those of the data; the shells extend a millionth beyond them.
        "d_max": np.append(limits[:-1], data.s.min()) ** -0.5,
        "d_min": np.append(limits[1:], data.s.max()) ** -0.5,
    }
    for found in run_in_threads(lambda k: parts[k](), len(parts)):
        columns |= found
    return tuple(
        Shell(**{name: values[i].item() for name, values in columns.items()})  # plain numbers
        for i in range(n + 1)
    )


def _friedel_merged(data: ReflectionSums, shell: Int, n: int, possible: Int) -> dict[str, Any]:
    """The statistics with Friedel mates merged, by name, (n + 1,) each: n shells and all.

    ``shell``: as in ``_describe``.  ``possible``: number of possible reflections in each shell, (n,).
    """
    sums = data.merged
    n_obs, n_unique = count(shell, n, sums.sizes), count(shell, n)
    cc, pairs = mean_correlation(data.halves, shell, n)
    return {
        "n_obs": n_obs.astype(np.int64),
        "n_unique": n_unique.astype(np.int64),
        "multiplicity": ratio(n_obs, n_unique),
        # The space group's absences are not possible reflections, so they must not count as measured ones.
        "completeness": np.minimum(ratio(count(shell, n, data.counted), _with_total(possible)), 1.0),
        "mean_intensity": ratio(count(shell, n, sums.mean), n_unique),
        "mean_i_over_sigma": ratio(count(shell, n, sums.mean / sums.sigma), n_unique),
        "cc_half": cc,
        "cc_half_pairs": pairs,
        "cc_half_significant": cc > critical_correlation(pairs),
        "cc_half_analytic": cc_half_of_scatter(
            sums.sizes, sums.total / np.maximum(sums.sizes, 1), data.scatter, shell, n
        ),
    } | _r_factors(sums, shell, n, "")


def _r_factors(sums: GroupSums, shell: Int, n: int, suffix: str) -> dict[str, Float]:
    """R_merge, R_meas and R_pim of n shells and of all, (n + 1,) each, by name with ``suffix``.

    ``shell``: number of the shell, (n_groups,).
    """
    sizes = sums.sizes
    several = sizes > 1
    deviation = sums.deviation[several]
    within, freedom, size = shell[several], (sizes - 1.0)[several], sizes[several]
    total = count(within, n, sums.total[several])
    factors = {"r_merge": np.ones(len(size)), "r_meas": np.sqrt(size / freedom), "r_pim": np.sqrt(1 / freedom)}
    added = {name: count(within, n, factor * deviation) for name, factor in factors.items()}
    # A sum of noisy intensities may be negative; the R factor is undefined only for a sum of 0.
    return {
        name + suffix: np.divide(value, total, out=np.full(n + 1, np.nan), where=total != 0)
        for name, value in added.items()
    }


def _anomalous(data: ReflectionSums, shell: Int, n: int, possible: Int, centrosymmetric: bool) -> dict[str, Any]:
    """The statistics with Friedel mates split, and those of anomalous differences, by name, (n + 1,) each.

    ``shell``: as in ``_describe``.  ``possible``: number of possible acentric reflections in each shell, (n,).
    """
    apart_shell = shell[data.parent]
    mean, sigma = data.split.mean, data.split.sigma
    result: dict[str, Any] = _r_factors(data.split, apart_shell, n, "_apart")
    result["anomalous_multiplicity"] = ratio(count(apart_shell, n, data.split.sizes), count(apart_shell, n))
    if centrosymmetric:
        unknown = np.full(n + 1, np.nan)
        names = ("r_anom", "cc_anom", "anomalous_completeness", "anomalous_slope", "df_f", "di_over_sigma")
        result |= dict.fromkeys((*names, "anomalous_multiplicity"), unknown)
        return result | {"cc_anom_pairs": np.zeros(n + 1, np.int64), "cc_anom_significant": np.zeros(n + 1, bool)}
    within = apart_shell[data.plus]
    plus, minus = mean[data.plus], mean[data.minus]
    difference, error = plus - minus, np.hypot(sigma[data.plus], sigma[data.minus])
    deviation = difference / error
    average = _average_of_mates(data)
    pairs = count(within, n)
    absolute = count(within, n, np.abs(difference))
    counted = data.counted[data.parent[data.plus]]
    positive = (plus > 0) & (minus > 0)
    f_plus, f_minus = np.sqrt(plus[positive]), np.sqrt(minus[positive])
    f_difference = count(within[positive], n, (f_plus - f_minus) ** 2)
    f_total = count(within[positive], n, f_plus**2 + f_minus**2)
    cc, cc_pairs = mean_correlation(data.differences, within, n)
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


def _average_of_mates(data: ReflectionSums) -> Float:
    """Mean of I+ and I- of each pair, weighted with their inverse variances, (n_pairs,)."""
    mean, sigma = data.split.mean, data.split.sigma_internal
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
