"""Errors of the scales that all observations of one reflection share.

A merged intensity I_h = sum w g I/sum w g^2 depends on all scales at once. With the covariance C of their parameters

    var(I_h) = 1/sum(w g^2) + I_h^2 u C u',   u = sum(p phi),   p = w g^2/sum(w g^2),   phi = d ln g/d theta

(the block of I_h in the inverse of the normal matrix of intensities and parameters together). The variances of
observations have the errors of their own scales, as if these were independent. That is nearly the same if thousands of
observations determine a scale. If each data set has a few rows alone, a strong reflection determines the scales of all
data sets that it is in: then the errors of these scales are one error, which no average makes smaller.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.models.design import Design
from braggscale.numerics.array_types import Float, Int


def inflation(
    design: Design, theta: Float, covariance: Float, groups: Groups, weight: Float, written: Float, mean: Float
) -> Float:
    """Factor of the variances that gives merged intensities their whole errors, (n_groups,), at least 1.

    ``design``: of the n rows.  ``theta``: (n_parameters,).  ``covariance``: of it, (n_parameters, n_parameters).
    ``weight``: g^2/V' of the rows that are merged, 0 for the others, (n,), 1/counts^2.  ``written``: the same with the
    variances that are written out, which include the error of each scale alone, (n,).  ``mean``: I_h, counts,
    (n_groups,).
    """
    total = groups.sum(weight)
    share = weight / np.maximum(groups.spread(total), 1e-300)
    common = np.maximum(_common(design, theta, covariance, groups, share), 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        whole = (1.0 / total + mean**2 * common) * groups.sum(written)
    return np.where(np.isfinite(whole), np.maximum(whole, 1.0), 1.0)


def _common(design: Design, theta: Float, covariance: Float, groups: Groups, share: Float) -> Float:
    """u C u' of each group, (n_groups,).  ``covariance``: C, (n_parameters, n_parameters).  ``share``: p, (n,)."""
    phi, index = _derivatives(design, theta)
    phi *= share[:, None]
    result = np.zeros(len(groups))
    for h, (first, last) in enumerate(pairwise(groups.offsets.tolist())):
        places, where = np.unique(index[first:last], return_inverse=True)
        mean = np.bincount(where.ravel(), phi[first:last].ravel(), len(places))
        result[h] = mean @ covariance[np.ix_(places, places)] @ mean
    return result


def _derivatives(design: Design, theta: Float) -> tuple[Float, Int]:
    """d ln g/d theta of the nonzeros of each row and their places in theta, (n, n_nonzeros); beyond them 0 and 0."""
    phi = np.zeros_like(design.basis)
    index = np.zeros(phi.shape, np.int64)
    for f in range(len(design.component_ptr)):
        rows = np.flatnonzero(design.family == f)
        for c in range(design.start.shape[1]):
            nonzeros = slice(int(design.component_ptr[f, c]), int(design.component_ptr[f, c + 1]))
            if nonzeros.start == nonzeros.stop or not len(rows):
                continue
            factor = np.ones(len(rows))
            if not design.exponential[f, c]:
                value = design.values(theta, c, rows)
                factor = np.divide(1.0, value, out=np.zeros(len(rows)), where=value != 0.0)
            phi[rows, nonzeros] = design.basis[rows, nonzeros] * factor[:, None]
            index[rows, nonzeros] = design.start[rows, c][:, None] + design.columns[f, nonzeros]
    return phi, index
