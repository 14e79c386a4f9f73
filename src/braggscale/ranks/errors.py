"""The error model, fitted to a sample of rows that every rank has; every rank finds the same numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.ranks.crystal_rows import CrystalScales
from braggscale.ranks.means import RankData
from braggscale.ranks.reflections import places
from braggscale.weighting.error_model import ErrorModel, ErrorModelOptions, FitResult
from braggscale.weighting.error_model_fit import fit_error_models
from braggscale.weighting.expected_variance import Expectation, VarianceModel


@dataclass(frozen=True, slots=True)
class _OfRows:
    """What changes from round to round of the rows of the sample, (n,)."""

    scale: Float
    out: Float
    gain: Float
    floor: Float
    scale_variance: Float


def fit_errors(
    data: RankData,
    crystals: CrystalScales,
    mean: Float,
    start: ErrorModel,
    options: ErrorModelOptions,
    covariance: Float | None = None,
) -> FitResult:
    """The error model of all data.

    ``mean``: I_h, by place, (2 n_reflections,).
    ``start``: the model in use.  ``covariance``: of k and b of each crystal of this
    rank, (n_crystals, 3), if what the scales have taken of the residuals is to count.
    """
    sample = data.sample
    rows = _gathered(data, crystals, covariance)
    n = len(sample.number)
    a2, b2, linear = start.terms
    model = VarianceModel(
        sample.intensity, sample.variance, sample.factor, np.arange(n, dtype=np.int32), rows.gain, rows.floor,
        np.full(n, a2), np.full(n, b2), np.full(n, linear), sample.relative,
    )  # fmt: skip
    groups = sample.apart if data.apart.all() else sample.groups
    mean_intensity = mean[places(sample.number[groups.offsets[:-1]], data.apart)]
    variance = model.at(rows.scale * groups.spread(mean_intensity))
    given = Expectation(model, rows.scale, variance, mean_intensity, groups, sample.apart)
    taken = None if covariance is None else rows.scale_variance
    out = rows.out > 0
    return fit_error_models(given, out, (start,), np.zeros(n, np.int64), options, taken)[0]


def _gathered(data: RankData, crystals: CrystalScales, covariance: Float | None) -> _OfRows:
    """Scales, outliers and gains of the sample's rows, in all ranks."""
    sample, rows = data.sample, data.rows
    c, i = sample.crystal, sample.row
    s = rows.s[i]
    scale = crystals.k[c] * np.exp(crystals.b[c] * s)
    of_scale = np.zeros(len(i))
    if covariance is not None:
        of_scale = scale_variance(scale, s, crystals.k[c], covariance[c])
    columns = np.stack((scale, rows.out[i].astype(np.float64), crystals.gain[c], crystals.floor[c], of_scale), axis=1)
    found = sample.gather(data.ranks, columns)
    return _OfRows(*(np.ascontiguousarray(found[:, k]) for k in range(5)))


def scale_variance(scale: Float, s: Float, k: Float, covariance: Float) -> Float:
    """var(g) of rows, (n,).  ``scale``: g, ``s``, ``k``: of each row, (n,).  ``covariance``: kk, kb, bb, (n, 3)."""
    by_k, by_b = scale / k, scale * s
    found: Float = covariance[:, 0] * by_k**2 + 2.0 * covariance[:, 1] * by_k * by_b + covariance[:, 2] * by_b**2
    return found
