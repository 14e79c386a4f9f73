"""Checks of the errors: deviations from equivalents by size, intensity, resolution and position on the detector.

z is the leave-one-out deviation divided by its standard deviation. It is calculated for scaled observations with
equivalents, Friedel mates apart, without outliers. If the errors are right, z has variance 1 everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from braggscale.data.experiment import Panel
from braggscale.data.observations import rows_by_data_set
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.report.numbers.json_numbers import (
    column,
    count_grid,
    counts,
    grid,
    numbers,
    rounded,
    share,
    significant,
    total,
)
from braggscale.report.numbers.scaled_observations import Observed
from braggscale.report.summary_sections import (
    BeforeAfter,
    DetectorMaps,
    DeviationsByShell,
    DeviationsOfModel,
    Histogram,
    NormalPlot,
    SignalMap,
)
from braggscale.report.summary_values import Column
from braggscale.scaling.result import Result
from braggscale.weighting.leave_one_out import leave_one_out

# z is counted in steps of a hundredth up to this size.
_WIDEST, _PER_UNIT = 12.0, 100
# Points of the normal probability plot, in standard deviations, and bins of the histogram.
_QUANTILES = np.linspace(-4.0, 4.0, 81)
_HISTOGRAM = 0.25
_HISTOGRAM_TO = 6.0
# Bins of the map I/sigma against I, and along the longer edge of the detector.
CELLS = 40
DETECTOR = 24
FEWEST = 8  # observations that a cell of the detector needs


def error_models(seen: Observed) -> list[DeviationsOfModel]:
    """Of each error model: normal probability plot, histogram, coverage, I/sigma against I."""
    # z with the errors of integration alone, for the same rows
    plain = leave_one_out(seen.intensity, seen.before, seen.scale, seen.friedel_split)
    n = int(seen.error_model.max()) + 1
    return [_one(seen, plain, seen.error_model == k if n > 1 else np.ones(len(seen.x), np.bool_)) for k in range(n)]


def _one(seen: Observed, plain: Float, mine: Bool) -> DeviationsOfModel:
    known = mine & np.isfinite(seen.z)
    before, after = _fine(plain[known]), _fine(seen.z[known])
    n = int(np.count_nonzero(known))
    return DeviationsOfModel(
        deviations=n,
        within=BeforeAfter(before=_within(before), after=_within(after)),
        normal=_normal_plot(before, after) if n else None,
        histogram=_histogram(before, after) if n else None,
        i_over_sigma=_i_over_sigma(seen.x[mine], seen.sigma[mine]),
    )


def _fine(z: Float) -> Int:
    half = int(_WIDEST * _PER_UNIT)
    place = np.clip(np.floor(z[~np.isnan(z)] * _PER_UNIT) + half, 0, 2 * half - 1).astype(np.int64)
    return np.bincount(place, minlength=2 * half)


def _normal_plot(before: Int, after: Int) -> NormalPlot:
    """z at the quantiles of a normal deviate, as far out as there are observations.

    ``before``, ``after``: counts of z with the errors of integration and with the error model (``_fine``).
    """
    from scipy.special import ndtr

    n = int(after.sum())
    inside = np.abs(_QUANTILES) <= abs(_last_quantile(n))
    levels = ndtr(_QUANTILES[inside]) * n
    edges = np.linspace(-_WIDEST, _WIDEST, len(after) + 1)
    z = [np.interp(levels, np.append(0, np.cumsum(fine)), edges) for fine in (before, after)]
    return NormalPlot(expected=numbers(_QUANTILES[inside]), before=numbers(z[0], 3), after=numbers(z[1], 3))


def _last_quantile(n: int) -> float:
    from scipy.special import ndtri

    return float(ndtri(min(0.5 / max(n, 1), 0.25)))


def _histogram(before: Int, after: Int) -> Histogram:
    """Numbers of z in wider bins.  ``before``, ``after``: as for ``_normal_plot``."""
    edges = np.arange(-_HISTOGRAM_TO, _HISTOGRAM_TO + 1e-9, _HISTOGRAM)
    n = len(edges) - 1
    return Histogram(
        middle=numbers(0.5 * (edges[1:] + edges[:-1])),
        before=counts(_in_bins(before, n)),
        after=counts(_in_bins(after, n)),
    )


def _in_bins(fine: Int, n: int) -> Int:
    """Counts in n bins, (n,); values beyond are counted in the outermost bins."""
    skip = int((_WIDEST - _HISTOGRAM_TO) * _PER_UNIT)
    inner = fine[skip : len(fine) - skip].reshape(n, -1).sum(axis=1)
    inner[0] += fine[:skip].sum()
    inner[-1] += fine[len(fine) - skip :].sum()
    return np.asarray(inner)


def _within(fine: Int) -> Column:
    """Shares of |z| below 1, 2 and 3 (normal: 0.683, 0.954, 0.997)."""
    n, half = int(fine.sum()), len(fine) // 2
    return [
        rounded(float(fine[half - k * _PER_UNIT : half + k * _PER_UNIT].sum()) / n) if n else None for k in (1, 2, 3)
    ]


def _i_over_sigma(x: Float, sigma: Float) -> SignalMap | None:
    """Numbers of observations by log10 of scaled intensity and of I/sigma."""
    # where the model is nearly zero, for example on blank images, the scaled intensity may not be finite
    positive = (x > 0) & (sigma > 0) & np.isfinite(x) & np.isfinite(sigma)
    if np.count_nonzero(positive) < 2:
        return None
    a = np.log10(x[positive])
    b = a - np.log10(sigma[positive])
    # without the faintest hundredth
    low_a, low_b = float(np.quantile(a, 0.01)), max(float(b.min()), -1.0)
    high_a, high_b = float(a.max()), max(float(b.max()), low_b + 0.1)
    high_a = max(high_a, low_a + 0.1)
    i = np.clip((a - low_a) * (CELLS / (high_a - low_a)), 0, CELLS - 1).astype(np.int64)
    j = np.clip((b - low_b) * (CELLS / (high_b - low_b)), 0, CELLS - 1).astype(np.int64)
    inside = (a >= low_a) & (b >= low_b)
    return SignalMap(
        log10_intensity=(significant(low_a), significant(high_a)),
        log10_i_over_sigma=(significant(low_b), significant(high_b)),
        counts=count_grid(total((j * CELLS + i)[inside], CELLS * CELLS).reshape(CELLS, CELLS)),
    )


def by_shell(seen: Observed, outlier_shell: Int) -> DeviationsByShell:
    """Columns by resolution shell: observations, outliers, mean z^2.  ``outlier_shell``: of each outlier, (k,)."""
    n, shell = seen.n_shells, seen.row_shell()
    known = np.isfinite(seen.z)
    return DeviationsByShell(
        d_max=numbers(seen.limits[:-1] ** -0.5),
        d_min=numbers(seen.limits[1:] ** -0.5),
        observations=counts(total(shell, n)),
        outliers=counts(total(outlier_shell, n)),
        mean_z2=column(share(total(shell[known], n, seen.z[known] ** 2), total(shell[known], n))),
    )


def detector_map(seen: Observed, result: Result, rejected: Bool) -> DetectorMaps | None:
    """Deviations and outliers by place on the detector, all images together.

    Cells of equal size in pixels of the only panel, or in mm along the axes of the first of several panels. Of each:
    observations, outliers, mean z and sum (I - g m)/sum g m, m the mean of the equivalents without the observation.
    ``rejected``: outliers, (n_all,).
    """
    panels = [one.experiment.panels for one in result.used]
    one = all(len(p) == 1 for p in panels) and len({p[0].image_size for p in panels}) == 1
    rows = result.data.rows
    unit: Literal["px", "mm"]
    if one:
        unit, x, y = "px", rows.xyz[:, 0], rows.xyz[:, 1]
        size = [float(v) for v in panels[0][0].image_size]
        limits = (0.0, size[0]), (0.0, size[1])
    else:
        placed = _in_laboratory(result, panels)
        if placed is None:
            return None
        unit, (x, y) = "mm", placed
        limits = (float(x.min()), float(x.max())), (float(y.min()), float(y.max()))
    (left, right), (bottom, top) = limits
    if not (right > left and top > bottom):
        return None
    longer = max(right - left, top - bottom)
    n_x, n_y = (max(1, round(DETECTOR * length / longer)) for length in (right - left, top - bottom))
    i = np.clip((x - left) * (n_x / (right - left)), 0, n_x - 1).astype(np.int64)
    j = np.clip((y - bottom) * (n_y / (top - bottom)), 0, n_y - 1).astype(np.int64)
    cell = j * n_x + i
    n = n_x * n_y
    mine = cell[seen.rows]
    known = np.isfinite(seen.z)
    expected = _expected(seen)
    number = total(mine[known], n)
    enough = number >= FEWEST
    mean_z = np.where(enough, share(total(mine[known], n, seen.z[known]), number), np.nan)
    above = total(mine[known], n, (seen.intensity - expected)[known])
    excess = np.where(enough, share(above, total(mine[known], n, expected[known])), np.nan)

    shape = n_y, n_x
    return DetectorMaps(
        unit=unit,
        x=(significant(left), significant(right)),
        y=(significant(bottom), significant(top)),
        observations=count_grid(total(mine, n).reshape(shape)),
        compared=count_grid(number.reshape(shape)),
        outliers=count_grid(total(cell[rejected], n).reshape(shape)),
        mean_z=grid(mean_z.reshape(shape)),
        excess=grid(excess.reshape(shape)),
    )


def _expected(seen: Observed) -> Float:
    """g m, m the weighted mean of the equivalents without the observation, counts; NaN where there are none."""
    own = seen.scale * seen.scale / seen.after
    sums = seen.friedel_split.sum(own), seen.friedel_split.sum(own * seen.x)
    others = seen.friedel_split.spread(sums[0]) - own
    mean = share(seen.friedel_split.spread(sums[1]) - own * seen.x, np.where(np.isfinite(seen.z), others, 0.0))
    return seen.scale * mean


def _in_laboratory(result: Result, panels: Sequence[Sequence[Panel]]) -> tuple[Float, Float] | None:
    """Millimetres along the fast and slow axis of the first panel, (n_all,) each; None without panels."""
    rows = result.data.rows
    if not all(panels):
        return None
    position = np.zeros((len(rows), 3))
    places = rows_by_data_set(rows.data_set, len(panels))
    for one, mine, at in zip(result.used, panels, places, strict=True):
        table = one.usable.table
        number = np.zeros(len(at), np.int64)
        if len(mine) > 1 and "panel" in table:
            number = np.clip(table["panel"][rows.row[at]].astype(np.int64), 0, len(mine) - 1)
        origin, fast, slow = (np.array([getattr(p, name) for p in mine]) for name in ("origin", "fast", "slow"))
        pixel = np.array([p.pixel_size for p in mine])
        xy = rows.xyz[at, :2] * pixel[number]
        position[at] = origin[number] + xy[:, :1] * fast[number] + xy[:, 1:] * slow[number]
    first = panels[0][0]
    return position @ first.fast, position @ first.slow
