"""The use of the absorption surface: directions of measured reflections and sizes of applied corrections."""

from __future__ import annotations

import numpy as np

from braggscale.data.observations import GeometryCopy, rows_by_data_set
from braggscale.numerics.array_types import Float, Int
from braggscale.report.numbers.json_numbers import count_grid, counts, significant, total
from braggscale.report.numbers.scaled_observations import Observed
from braggscale.report.summary_sections import AbsorptionUse
from braggscale.scaling.result import Result

POLAR, AZIMUTH = 18, 36  # cells of ten degrees
MOST_ROWS = 40_000  # if there are more, every k-th observation is used
BINS = 40


def absorption_use(seen: Observed, result: Result) -> AbsorptionUse | None:
    """Counts by direction in the crystal's frame (polar angle down, azimuth across), histogram of applied factors.

    Over a sample of the scaled observations of data sets with an absorption surface; None if there are none.
    """
    surfaces = [
        (d, component, where) for d, component, where in result.model.parts() if component.describe().form == "surface"
    ]
    if not surfaces:
        return None
    has = np.zeros(len(result.kept), np.bool_)
    has[[d for d, *_ in surfaces]] = True
    rows = seen.rows[has[seen.data_set]]
    rows = rows[:: -(-len(rows) // MOST_ROWS) or 1]
    places = GeometryCopy.of(result.data.rows, rows)
    known = places.s0c.any(axis=1) & places.s1c.any(axis=1)
    if not known.any():
        return None
    theta = result.scaled.outcome.theta
    factor = np.ones(len(rows))
    by_data_set = rows_by_data_set(places.data_set, len(result.kept))
    for d, component, where in surfaces:
        mine = by_data_set[d]
        if len(mine):
            factor[mine] = component.offset + component.basis(GeometryCopy.of(places, mine))[1] @ theta[where]
    factor = factor[known]
    low, high = float(factor.min()), float(factor.max())
    span = max(high - low, 1e-6)
    place = np.clip((factor - low) * (BINS / span), 0, BINS - 1).astype(np.int64)
    return AbsorptionUse(
        sampled=int(np.count_nonzero(known)),
        factor=(significant(low, 6), significant(low + span, 6)),
        counts=counts(total(place, BINS)),
        incoming=count_grid(_directions(places.s0c[known])),
        diffracted=count_grid(_directions(places.s1c[known])),
    )


def _directions(direction: Float) -> Int:
    """Numbers of unit vectors, (n, 3), in cells of polar angle and azimuth."""
    x, y, z = direction.T
    i = np.clip(np.arccos(np.clip(z, -1, 1)) * (POLAR / np.pi), 0, POLAR - 1).astype(np.int64)
    j = np.clip((np.arctan2(y, x) % (2 * np.pi)) * (AZIMUTH / (2 * np.pi)), 0, AZIMUTH - 1).astype(np.int64)
    return total(i * AZIMUTH + j, POLAR * AZIMUTH).astype(np.int64).reshape(POLAR, AZIMUTH)
