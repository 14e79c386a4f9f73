"""The common trend of corrections with resolution, which equivalents cannot determine.

Equivalents have the same resolution. So a factor f(d) that all data share changes the merged intensities but no
residual. The map of the detector, its modules, effects of images and the grids of the array model may each drift by
such a factor, and two of them in opposite directions. Therefore the product v of these corrections is divided by
its own trend.

Three corrections keep their trends: scale and B of the data sets, whose mean B is 0 (gauge.py), and the absorption
surface. Absorption by the crystal does depend on resolution, and a surface that is smooth in directions extends
this from the directions that the data compare. Without this trend merged intensities are farther from the truth of
simulated crystals and from the structure of a real one. With a level a of each data set,

    v_i = a_data set f(1/d_i^2),    f continuous and piecewise linear between knots of equal numbers of rows,

is fitted by least squares to v itself, not to its logarithm, because the merged intensities of a shell are
multiplied by the mean of v and not by that of ln v. For example, an uncorrected polarisation has a mean of 1 in
every shell, but its logarithm does not have a mean of 0.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.observations import GeometryView, ObservationGeometry
from braggscale.models.component import shapes_resolution
from braggscale.models.joint_model import JointModel
from braggscale.numerics.array_types import Bool, Float

MOST_INTERVALS, LEAST_IN_INTERVAL = 10, 100
MOST_ROWS = 200_000  # from which the trend is found
TURNS, SAME = 20, 1e-6  # of levels and trend


def resolution_trend(model: JointModel, rows: ObservationGeometry, theta: Float, use: Bool) -> Float | None:
    """f of every row, (n,), with mean 1 over the rows in ``use``, (n,); None where no correction has a trend.

    ``theta``: (n_parameters,).
    """
    if not any(map(shapes_resolution, (component for _, component, _ in model.parts()))):
        return None
    chosen = np.flatnonzero(use)
    chosen = chosen[:: max(1, -(-len(chosen) // MOST_ROWS))]
    n = min(MOST_INTERVALS, len(chosen) // LEAST_IN_INTERVAL)
    if n < 2:
        return None
    some = GeometryView.of(rows, chosen)
    value = model.product(some, theta, shapes_resolution)
    s = 1.0 / some.d**2
    knots = np.unique(np.quantile(s, np.linspace(0.0, 1.0, n + 1)))
    if len(knots) < 3 or not (value > 0.0).all():
        return None
    trend = _fitted(s, knots, value, some.data_set)
    result: Float = np.interp(1.0 / rows.d**2, knots, trend)
    return result if (trend > 0.0).all() else None


def _fitted(s: Float, knots: Float, value: Float, data_set: np.ndarray) -> Float:
    """f at the knots.  ``s``: 1/d^2, ``value``: v, ``data_set``: of each row, (n,)."""
    interval = np.clip(np.searchsorted(knots, s, side="right") - 1, 0, len(knots) - 2)
    share = np.clip((s - knots[interval]) / (knots[interval + 1] - knots[interval]), 0.0, 1.0)
    hats = np.zeros((len(knots), len(knots)))
    np.add.at(hats, (interval, interval), (1.0 - share) ** 2)
    np.add.at(hats, (interval, interval + 1), (1.0 - share) * share)
    np.add.at(hats, (interval + 1, interval), (1.0 - share) * share)
    np.add.at(hats, (interval + 1, interval + 1), share**2)
    trend: Float = np.ones(len(knots))
    count = np.maximum(np.bincount(data_set), 1)
    for _ in range(TURNS):
        before, there = trend, np.interp(s, knots, trend)
        level = np.bincount(data_set, value / there) / count
        relative = value / level[data_set]
        parts = ((interval, 1.0 - share), (interval + 1, share))
        right = sum(np.bincount(knot, w * relative, len(knots)) for knot, w in parts)
        trend = np.asarray(np.linalg.lstsq(hats, right, rcond=1e-9)[0], np.float64)
        trend = trend / np.mean(np.interp(s, knots, trend))
        if np.abs(trend - before).max() < SAME or not (trend > 0.0).all():
            break
    return trend
