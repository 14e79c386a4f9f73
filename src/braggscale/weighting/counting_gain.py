"""The relation between variances and counts: gain and smallest variance of each data set, from the data themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.observations import rows_by_data_set
from braggscale.numerics.array_types import Bool, Float, Int, Int32
from braggscale.weighting.intensity_choice import Intensities

FEWEST_ROWS = 500  # a data set with fewer is pooled with the other small ones
_GAIN_BINS = 40
_MISFIT = 0.5  # if the median relative distance of the bins from the line is larger, there is no line

_ITERATIONS, _SETTLED = 20, 1e-6  # of the line: most, and the relative change of the slope that counts as none
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


def counting_gain(values: Intensities, data_set: Int | Int32, n_sets: int) -> CountingGain:
    """Gain k and least variance of each data set from its observed variances.

    V_raw, as integration writes it, against |I_raw|: medians in up to 40 ranges of equal population, then a line
    through them with relative weights and Huber's (Ann. Math. Statist. 35 (1964) 73) bound, iterated. k is about 1 for
    photon counting and summation, less for profile fitting. floor: 5th percentile of the background V_raw - k |I_raw|
    among the weakest quarter, at least the variance of one photon, k^2, and at most the 5th percentile of their V_raw.
    Data sets with fewer than 500 rows share one line. k = 0 (use the observed variance) where the slope is not
    positive by three times its uncertainty, or the line misses half of the ranges by more than 50 %.
    ``data_set``: position of the data set, (n,).
    """
    raw = values.intensity / values.raw_factor
    raw_variance = values.counting() / values.raw_factor**2
    counts = np.bincount(data_set, minlength=n_sets)
    k, floor = np.zeros(n_sets), np.zeros(n_sets)
    pooled = counts < FEWEST_ROWS
    reasons: dict[int, str] = {}
    by_data_set = rows_by_data_set(data_set, n_sets)
    for s in np.flatnonzero(~pooled):
        rows = by_data_set[s]
        k[s], floor[s], why = counting_line(raw[rows], raw_variance[rows])
        if why:
            reasons[int(s)] = why
    if pooled.any():
        rows = np.flatnonzero(pooled[data_set])
        k[pooled], floor[pooled], why = counting_line(raw[rows], raw_variance[rows])
        if why:
            reasons.update({int(s): why for s in np.flatnonzero(pooled)})
    return CountingGain(k, floor, counts.astype(np.int64), pooled, reasons)


def counting_line(raw: Float, variance: Float) -> tuple[float, float, str]:
    """Slope, floor, and why the slope is 0.  ``raw``, ``variance``: raw intensities and their variances, (n,)."""
    good = np.isfinite(raw) & np.isfinite(variance) & (variance > 0)
    raw, variance = raw[good], variance[good]
    if len(raw) < _GAIN_BINS:
        return 0.0, 0.0, f"{len(raw)} observations are too few for the counting gain"
    order = np.argsort(raw)
    weak = order[: max(1, int(_LOW_QUANTILE * len(order)))]
    floor = float(np.quantile(variance[weak], _FLOOR_QUANTILE))
    n_bins = min(_GAIN_BINS, len(order) // 10)
    x, y = range_medians(np.abs(raw[order]), n_bins), range_medians(variance[order], n_bins)
    slope, esd, misfit = _robust_line(x, y)
    if not (np.isfinite(slope) and slope > 3.0 * esd and slope > 0):
        return 0.0, 0.0, "variances do not grow with intensity: observed variances are used as they are"
    if misfit > _MISFIT:
        return 0.0, 0.0, "variances are not linear in intensity: observed variances are used as they are"
    # without the part of the intensity: the weakest quarter of strong data is not weak
    background = float(np.quantile(variance[weak] - slope * np.abs(raw[weak]), _FLOOR_QUANTILE))
    return slope, min(max(background, slope**2), floor), ""


def range_medians(values: Float, n_bins: int) -> Float:
    """Medians of ``n_bins`` runs of equal numbers of neighbours, as ``np.array_split`` makes them, (n_bins,).

    ``values``: any unit, (n,), n at least ``n_bins``.
    """
    size, more = divmod(len(values), n_bins)
    cut = more * (size + 1)  # the first ranges have one more
    parts = [values[:cut].reshape(more, size + 1), values[cut:].reshape(n_bins - more, size)]
    return np.concatenate([np.median(part, axis=1) for part in parts if len(part)])


def _robust_line(x: Float, y: Float) -> tuple[float, float, float]:
    """Slope of y = b + k x, its uncertainty, and the median of |relative residual|; residuals relative to the line."""
    value = y.copy()
    design = np.column_stack((np.ones_like(x), x))
    slope = esd = 0.0
    relative = np.zeros(len(x))
    tiny = 1e-3 * float(np.median(y))
    huber = np.ones(len(x))
    for _ in range(_ITERATIONS):
        before, weight = slope, huber / value**2
        normal = design.T @ (design * weight[:, None])
        if not normal.diagonal().min() > 0:  # all intensities are 0
            return np.nan, np.nan, np.inf
        size = np.sqrt(normal.diagonal())
        # the cosine between the two columns: this near to 1 one line is as good as another
        if 1.0 - abs(float(normal[0, 1] / size[0] / size[1])) < _PARALLEL:
            return np.nan, np.nan, np.inf
        inverse = np.linalg.inv(normal)
        base, slope = inverse @ (design.T @ (weight * y))
        value = np.maximum(base + slope * x, tiny)
        relative = np.abs(y - value) / value
        spread = max(float(np.median(relative)) / 0.6745, 1e-6)
        huber = np.minimum(1.0, 1.345 * spread / np.maximum(relative, 1e-12))
        esd = spread * float(np.sqrt(inverse[1, 1]))
        if abs(slope - before) < _SETTLED * abs(slope):
            break
    return float(slope), esd, float(np.median(relative))
