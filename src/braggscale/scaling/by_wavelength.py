"""Data of several wavelengths on one scale: statistics of each, and how they differ from each other.

Scales are found with all data at once. Bijvoet and dispersive differences are small, and the tests of outliers and the
groups of the fit allow for mates that differ (weighting/friedel_test.py). What is merged is merged by wavelength.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.data.geometry import UnitCell
from braggscale.data.sorting import SortedObservations
from braggscale.data.symmetry import Symmetry
from braggscale.data.wavelengths import wavelength_groups
from braggscale.numerics.array_types import Bool, Float
from braggscale.scaling.conclusion import statistics_of
from braggscale.scaling.plan import StatisticsRequest
from braggscale.scaling.state import Scaled
from braggscale.statistics.merging_statistics import Statistics

# With fewer common reflections no difference between wavelengths is calculated.
FEWEST = 20


@dataclass(frozen=True, slots=True)
class OneWavelength:
    """``wavelength``: Angstrom.  ``data_sets``: positions of the data sets in use.  ``statistics``: None without
    data.
    """

    wavelength: float
    data_sets: tuple[int, ...]
    statistics: Statistics | None


@dataclass(frozen=True, slots=True)
class Dispersive:
    """Differences of merged intensities between two wavelengths, Friedel mates together.

    ``first``, ``second``: numbers of the wavelengths.  ``n``: common unique reflections.
    ``df_f``: mean |F1 - F2| over mean F.  ``di_over_sigma``: root mean square of (I1 - I2)/sigma; 1 where there is no
    difference.  ``cc``: correlation of the intensities.
    """

    first: int
    second: int
    n: int
    df_f: float
    di_over_sigma: float
    cc: float


@dataclass(frozen=True, slots=True)
class Wavelengths:
    """Statistics of each wavelength, and the differences between each two of them."""

    each: tuple[OneWavelength, ...]
    differences: tuple[Dispersive, ...]


def by_wavelength(
    data: SortedObservations,
    scaled: Scaled,
    good: Bool,
    experiments: Sequence[Experiment],
    about: tuple[UnitCell, Symmetry, StatisticsRequest],
) -> Wavelengths | None:
    """Statistics by wavelength; None if there is only one wavelength.

    ``good``: rows that are merged, (n,).  ``experiments``: of the data sets in use.  ``about``: cell, symmetry, and
    the request of the plan for statistics.
    """
    values, number = wavelength_groups(experiments)
    if len(values) < 2:
        return None
    cell, symmetry, wanted = about
    of_row = number[data.rows.data_set]
    each = []
    for k, wavelength in enumerate(values):
        chosen = good & (of_row == k)
        statistics = statistics_of(data, scaled, chosen, cell, symmetry, wanted) if chosen.any() else None
        each.append(OneWavelength(wavelength, tuple(np.flatnonzero(number == k).tolist()), statistics))
    means = [_merged(data, scaled, good & (of_row == k)) for k in range(len(values))]
    pairs = combinations(range(len(values)), 2)
    return Wavelengths(tuple(each), tuple(_difference(a, b, means[a], means[b]) for a, b in pairs))


def _merged(data: SortedObservations, scaled: Scaled, chosen: Bool) -> tuple[Float, Float]:
    """Merged intensity of each unique reflection, Friedel mates together, and its variance; NaN where there is none."""
    groups = data.friedel_merged
    weight = np.where(chosen, scaled.state.scale**2 / scaled.variance, 0.0)
    x = np.divide(scaled.state.values.intensity, scaled.state.scale, out=np.zeros(len(chosen)), where=chosen)
    total = groups.sum(weight)
    nothing = np.full(len(groups), np.nan)
    mean = np.divide(groups.sum(weight * x), total, out=nothing.copy(), where=total > 0)
    return mean, np.divide(1.0, total, out=nothing, where=total > 0)


def _difference(a: int, b: int, first: tuple[Float, Float], second: tuple[Float, Float]) -> Dispersive:
    both = np.isfinite(first[0]) & np.isfinite(second[0])
    n = int(np.count_nonzero(both))
    if n < FEWEST:
        return Dispersive(a, b, n, float("nan"), float("nan"), float("nan"))
    x, y, variance = first[0][both], second[0][both], first[1][both] + second[1][both]
    strong = (x > 3 * np.sqrt(first[1][both])) & (y > 3 * np.sqrt(second[1][both]))
    f, g = np.sqrt(np.maximum(x, 0)), np.sqrt(np.maximum(y, 0))
    df_f = float(np.abs(f - g)[strong].sum() / (0.5 * (f + g)[strong].sum())) if strong.any() else float("nan")
    rms = float(np.sqrt(np.mean((x - y) ** 2 / variance)))
    return Dispersive(a, b, n, df_f, rms, float(np.corrcoef(x, y)[0, 1]))
