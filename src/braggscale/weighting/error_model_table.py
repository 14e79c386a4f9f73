"""Mean z^2 in ranges of expected intensity, before and after the error model."""

from __future__ import annotations

import numpy as np

from braggscale.weighting.error_model import ErrorModel, IntensityRange
from braggscale.weighting.residual_data import Residuals


def ranges_of(core: Residuals, model: ErrorModel, n_bins: int) -> tuple[IntensityRange, ...]:
    """Mean z^2 in up to ``n_bins`` ranges of expected intensity, strongest first.

    Ranges are equal in the logarithm of the intensity; neighbours with few rows are joined. Both means are over the
    same rows, weighted with 1 - h.  ``core``: residuals within 4 sigma of the fitted ``model``.
    """
    if not len(core.mu):
        return ()
    mu, freedom, square = np.abs(core.mu), core.freedom, core.square
    n = len(mu)
    high = float(mu.max())
    if not high > 0:
        return ()
    positive = mu[mu > 0]
    low = max(float(np.quantile(positive, 0.01)), 1e-6 * high)
    edges = np.geomspace(high, min(low, 0.999 * high), n_bins + 1)
    least = max(1, min(250, n // (3 * n_bins)))
    where = np.clip(np.searchsorted(-edges, -mu, side="right") - 1, 0, n_bins - 1)
    counts = np.bincount(where, minlength=n_bins)
    label = np.zeros(n_bins, np.int64)
    filled = 0
    for k in range(1, n_bins):
        filled += int(counts[k - 1])
        label[k] = label[k - 1]
        if filled >= least and int(counts[k:].sum()) >= least:
            label[k] += 1
            filled = 0
    bins = label[where]
    m = int(label[-1]) + 1
    weight = np.bincount(bins, weights=freedom, minlength=m)
    plain = np.bincount(bins, weights=freedom * square / core.expected, minlength=m) / weight
    fitted = np.bincount(bins, weights=freedom * square / core.variance(model), minlength=m) / weight
    members = np.bincount(bins, minlength=m)
    upper = [float(edges[int(np.flatnonzero(label == k)[0])]) for k in range(m)]
    lower = [*upper[1:], 0.0]
    return tuple(
        IntensityRange(lower[k], upper[k], int(members[k]), float(plain[k]), float(fitted[k])) for k in range(m)
    )
