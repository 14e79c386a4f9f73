"""The relation between variances and counts: gain and smallest variance of each data set, from the data themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.observations import rows_by_data_set
from braggscale.numerics.array_types import Bool, Float, Int, Int32
from braggscale.numerics.normal import MEDIAN_ABSOLUTE
from braggscale.weighting.intensity_choice import Intensities

FEWEST_ROWS = 500  # data sets with fewer rows are pooled
MOST_ROWS = 20_000  # if there are more, every k-th row is used: 40 medians of 500 rows determine the line to 0.1 %
_GAIN_BINS = 40
_SHELLS = 5  # of resolution, each with a background of its own; _GAIN_BINS is a multiple
_MISFIT = 0.5  # if the median relative distance of the bins from the line is larger, there is no line

_ITERATIONS, _SETTLED = 20, 1e-6  # of the line: largest number, and the relative change of the slope that ends them
_PARALLEL = 2e-12
_FLOOR_QUANTILE, _LOW_QUANTILE = 0.05, 0.25


@dataclass(frozen=True, slots=True)
class CountingGain:
    """Observed variances as counting statistics: V_raw = background + ``k`` I_raw, one entry per data set.

    ``k``: variance per unit of intensity, counts, 0 if no line describes the variances; ``floor``: smallest
    variance, counts^2; ``n``: number of rows from which they come; ``pooled``: from all small data sets together;
    (n_sets,) each.
    ``reasons``: why k is 0, by data set.
    """

    k: Float
    floor: Float
    n: Int
    pooled: Bool
    reasons: dict[int, str]


def counting_gain(values: Intensities, data_set: Int | Int32, n_sets: int, d: Float | None = None) -> CountingGain:
    """Gain k and least variance of each data set from its observed variances.

    V_raw, as integration writes it, against |I_raw|: medians in up to 40 ranges of equal population, then lines
    through them with relative weights and Huber's (Ann. Math. Statist. 35 (1964) 73) bound, iterated. In five shells of
    resolution the lines have one slope k, and each a background of its own. Both intensity and background fall with
    resolution, and in weak data a single line would describe this as a slope. k is about 1 for photon counting and
    summation, less for profile fitting. floor: 5th percentile of the background V_raw - k |I_raw| among the weakest
    quarter, at least the variance of one photon, k^2, and at most the 5th percentile of their V_raw. Data sets with
    fewer than 500 rows share one line. k = 0 (use the observed variance) where the slope is not positive by three
    times its uncertainty, or the line misses half of the ranges by more than 50 %.
    ``data_set``: position of the data set, (n,).  ``d``: Angstrom, (n,); None where all have the same.
    """
    d = np.zeros(len(data_set)) if d is None else d
    raw = values.intensity / values.raw_factor
    raw_variance = values.counting() / values.raw_factor**2
    counts = np.bincount(data_set, minlength=n_sets)
    k, floor = np.zeros(n_sets), np.zeros(n_sets)
    pooled = counts < FEWEST_ROWS
    reasons: dict[int, str] = {}
    by_data_set = rows_by_data_set(data_set, n_sets)
    lines = [_Ranges.of(raw, raw_variance, d, by_data_set[s]) for s in np.flatnonzero(~pooled)]
    owners = [np.array([s]) for s in np.flatnonzero(~pooled)]
    if pooled.any():
        lines.append(_Ranges.of(raw, raw_variance, d, np.flatnonzero(pooled[data_set])))
        owners.append(np.flatnonzero(pooled))
    for mine, found in zip(owners, _lines(lines), strict=True):
        k[mine], floor[mine], why = found
        if why:
            reasons.update({int(s): why for s in mine})
    return CountingGain(k, floor, counts.astype(np.int64), pooled, reasons)


def counting_line(raw: Float, variance: Float, d: Float) -> tuple[float, float, str]:
    """Slope, floor, and why the slope is 0.

    ``raw``, ``variance``: raw intensities and their variances, counts, counts^2, ``d``: Angstrom, (n,).
    """
    return _lines([_Ranges.of(raw, variance, d, np.arange(len(raw)))])[0]


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Medians of |I_raw| and V_raw in ranges of equal population, (n_shells, n_ranges), empty if there are too few
    rows.

    ``weak``, ``of_weak``: |I_raw| and V_raw of the weakest quarter of rows, (k,).  ``n``: usable rows.
    """

    x: Float
    y: Float
    weak: Float
    of_weak: Float
    n: int

    @classmethod
    def of(cls, raw: Float, variance: Float, d: Float, rows: Int) -> _Ranges:
        """Of every k-th of the given ``rows``, (k,), if there are many.  ``raw``, ``variance``, ``d``: of all, (n,)."""
        rows = rows[:: max(1, -(-len(rows) // MOST_ROWS))]
        raw, variance, d = raw[rows], variance[rows], d[rows]
        good = np.isfinite(raw) & np.isfinite(variance) & (variance > 0)
        if np.count_nonzero(good) < _GAIN_BINS:
            none = np.zeros(0)
            return cls(none, none, none, none, int(np.count_nonzero(good)))
        if not good.all():
            raw, variance, d = raw[good], variance[good], d[good]
        n_ranges = min(_GAIN_BINS, len(raw) // 10)
        n_shells = _SHELLS if n_ranges == _GAIN_BINS else 1
        weak = raw <= np.quantile(raw, _LOW_QUANTILE)
        edges = np.quantile(d, np.arange(1, n_shells) / n_shells)
        order = np.lexsort((raw, np.searchsorted(edges, d)))
        # all ranges together are sorted by shell, so a range may contain a few rows of the next shell
        x, y = (range_medians(v[order], n_ranges).reshape(n_shells, -1) for v in (np.abs(raw), variance))
        return cls(x, y, np.abs(raw[weak]), variance[weak], len(raw))

    def floor(self, slope: float) -> float:
        """The least variance, counts^2, see ``counting_gain``.  ``slope``: k, counts."""
        # subtract the part of the intensity, because the weakest quarter of strong data is not weak
        background = float(np.quantile(self.of_weak - slope * self.weak, _FLOOR_QUANTILE))
        return min(max(background, slope**2), float(np.quantile(self.of_weak, _FLOOR_QUANTILE)))


def _lines(ranges: Sequence[_Ranges]) -> list[tuple[float, float, str]]:
    """Slope and floor of each data set, and why the slope is 0; equal numbers of ranges are fitted at once."""
    found = [(0.0, 0.0, f"{one.n} observations are too few for the counting gain") for one in ranges]
    for shape in sorted({one.x.shape for one in ranges if len(one.x)}):
        mine = [k for k, one in enumerate(ranges) if one.x.shape == shape]
        lines = _robust_lines(np.stack([ranges[k].x for k in mine]), np.stack([ranges[k].y for k in mine]))
        for k, slope, esd, misfit in zip(mine, *(line.tolist() for line in lines), strict=True):
            if not (np.isfinite(slope) and slope > 3.0 * esd and slope > 0):
                why = "variances do not grow with intensity: observed variances are used as they are"
                found[k] = 0.0, 0.0, why
            elif misfit > _MISFIT:
                why = "variances are not linear in intensity: observed variances are used as they are"
                found[k] = 0.0, 0.0, why
            else:
                found[k] = slope, ranges[k].floor(slope), ""
    return found


def range_medians(values: Float, n_bins: int) -> Float:
    """Medians of ``n_bins`` runs of equal numbers of neighbours, as ``np.array_split`` makes them, (n_bins,).

    ``values``: any unit, (n,), n at least ``n_bins``.
    """
    size, more = divmod(len(values), n_bins)
    cut = more * (size + 1)  # the first ranges have one more
    parts = [values[:cut].reshape(more, size + 1), values[cut:].reshape(n_bins - more, size)]
    return np.concatenate([np.median(part, axis=1) for part in parts if len(part)])


def _robust_lines(x: Float, y: Float) -> tuple[Float, Float, Float]:
    """Slope of y = b + k x with b of each shell, its uncertainty, and the median of |relative residual|.

    Residuals are relative to the lines.  ``x``, ``y``: (n_lines, n_shells, n).  Returns three arrays, (n_lines,);
    slopes are NaN where one line is as good as another.
    """
    n = len(x)
    slope, esd, misfit = np.zeros(n), np.zeros(n), np.full(n, np.inf)
    value, huber = y.copy(), np.ones(y.shape)
    tiny = 1e-3 * np.median(y, axis=(1, 2))
    moving = np.arange(n)
    for _ in range(_ITERATIONS):
        here, there = x[moving], y[moving]
        weight = huber[moving] / value[moving] ** 2
        s1, sx, sy = (np.maximum((weight * v).sum(axis=2), 1e-300) for v in (np.ones_like(here), here, there))
        sxx, sxy = (weight * here**2).sum(axis=2), (weight * here * there).sum(axis=2)
        # the slope is undetermined: all intensities are 0, or the two columns are almost proportional
        known = (sxx.sum(axis=1) > 0) & np.isfinite(sxx).all(axis=1)
        own = np.maximum(sxx - sx**2 / s1, 0.0).sum(axis=1)
        known &= own > 2.0 * _PARALLEL * sxx.sum(axis=1)
        slope[moving[~known]] = np.nan
        own = np.where(known, own, 1.0)
        new = (sxy - sx * sy / s1).sum(axis=1) / own
        base = (sy - new[:, None] * sx) / s1
        line = np.maximum(base[:, :, None] + new[:, None, None] * here, tiny[moving, None, None])
        relative = np.abs(there - line) / line
        middle = np.median(relative, axis=(1, 2))
        spread = np.maximum(middle / MEDIAN_ABSOLUTE, 1e-6)
        value[moving] = line
        huber[moving] = np.minimum(1.0, 1.345 * spread[:, None, None] / np.maximum(relative, 1e-12))
        of = moving[known]
        going = np.abs(new[known] - slope[of]) >= _SETTLED * np.abs(new[known])
        slope[of], misfit[of] = new[known], middle[known]
        esd[of] = (spread / np.sqrt(own))[known]
        moving = of[going]
        if not len(moving):
            break
    return slope, esd, misfit
