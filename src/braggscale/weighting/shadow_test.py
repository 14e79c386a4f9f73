"""Shadows on the detector: places where most reflections are far weaker than their equivalents.

The arm of the beam stop, a nozzle or the edge of an opening hides a part of the detector, often unknown to the
integration program. A smooth correction cannot follow the edge of a shadow; its factor may become 0 or negative
there. Strong reflections in a shadow are recognised as outliers one by one. Weak ones are not, and make their means
too low.

So the detector is divided into cells. If more than half of the reflections of a cell that are strong enough to be
judged are below LEAST_RESPONSE times their expected intensity, no observation in the cell is used. The same holds
for a neighbouring cell if more than half are below PENUMBRA. If a similar share of the reflections outside is as
weak, there is no shadow, because then the observations disagree everywhere. The expected intensity does not contain
the map of the detector, because a map that follows a shadow would hide it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.observations import ObservationGeometry
from braggscale.data.unique_reflections import mean_of_others
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.weighting.expected_variance import Expectation

LEAST_RESPONSE = 0.4  # a missing correction for polarisation leaves 0.6 of the intensity, absorption 0.5
PENUMBRA = 0.75
JUDGED_FROM = 6.0  # expected I/sigma: then LEAST_RESPONSE is 3.6 sigma away
PER_CELL = 12.0  # reflections of a cell that can be judged, on average
FEWEST_IN_CELL = 6
# If there are more observations that are too strong by the same factor than this number times those that are too
# weak, in a cell and its neighbours, there is no shadow but there are outliers: next to an outlier, the other
# member of a pair seems too weak.
MOST_BRIGHT = 1.0 / 3.0
# Largest share of the reflections outside shadows that may be as weak as those inside. If more are, the observations do
# not agree anywhere: with half of the crystals indexed the other way, many cells would be taken for shadows.
MOST_WEAK_OUTSIDE = 0.1
MOST_CELLS = 64  # along each side
ENOUGH = 1000  # least number of reflections that can be judged for a map of a single data set


def shadowed(rows: ObservationGeometry, expected: Expectation, out: Bool, response: Float | None = None) -> Bool:
    """Observations in a shadow, (n,).

    ``expected``: of the same rows.  ``out``: outliers, which do not count for the means of their groups, (n,). If
    they are not known, one strong outlier makes all other members of its group seem too weak. ``response``: value
    of the detector's map, a part of the scales in ``expected``, of each row, (n,); None if it is not low anywhere.
    """
    mu, intensity = _from_others(expected, out), expected.variance_model.intensity
    if response is not None:
        mu = mu / np.minimum(response, 1.0)
    judged = mu > JUDGED_FROM * np.sqrt(expected.variance)
    low, half = (judged & (intensity < share * mu) for share in (LEAST_RESPONSE, PENUMBRA))
    shadow = np.zeros(len(mu), np.bool_)
    if not low.any():
        return shadow
    bright = (LEAST_RESPONSE * intensity > mu) & (intensity > JUDGED_FROM * np.sqrt(expected.variance)) & (mu != 0.0)
    counts = np.bincount(rows.data_set[judged])
    suspect = np.bincount(rows.data_set[low], minlength=len(counts)) >= FEWEST_IN_CELL
    own = [np.flatnonzero(rows.data_set == d) for d in np.flatnonzero(suspect & (counts >= ENOUGH))]
    small = np.zeros(int(rows.data_set.max()) + 1, np.bool_)
    small[: len(counts)] = counts < ENOUGH
    for part in [*own, np.flatnonzero(small[rows.data_set])]:
        if np.count_nonzero(low[part]) >= FEWEST_IN_CELL:
            cells = _Cells.of(rows.xyz[part], int(np.count_nonzero(judged[part])))
            counted = [cells.count(rows.xyz[part[of[part]]]) for of in (judged, low, half, bright)]
            places = _dark(*counted)
            if not places.any():
                continue
            dark = places.ravel()[cells.numbers(rows.xyz[part])]
            outside = np.count_nonzero(judged[part] & ~dark)
            if np.count_nonzero(low[part] & ~dark) < MOST_WEAK_OUTSIDE * outside:
                shadow[part] = dark
    return shadow


def _from_others(expected: Expectation, out: Bool) -> Float:
    """Expected intensity g T of each row from the other members of its group, counts, (n,); 0 where there are none."""
    scale = expected.scale
    weight = (~out & (scale > 0)) / expected.variance
    mean = mean_of_others(expected.groups, weight, scale, expected.variance_model.intensity)[0]
    return np.where(scale > 0, mean, 0.0)


def _dark(n_judged: Int, n_low: Int, n_half: Int, n_bright: Int) -> Bool:
    """Cells in a shadow, (side, side).

    Numbers of reflections in each cell, (side, side): ``n_judged`` that can be judged, ``n_low`` and ``n_half`` that
    are below LEAST_RESPONSE and PENUMBRA, ``n_bright`` that are above their expected intensity by the same factor.
    """
    enough = n_judged >= FEWEST_IN_CELL
    core: Bool = enough & (n_low > 0.5 * n_judged) & (_around(n_bright) < MOST_BRIGHT * _around(n_low))
    near = _around(core.astype(np.int64)) > 0
    return core | (near & (n_half > 0.5 * n_judged))


def _around(count: Int) -> Int:
    """Sum over each cell and its neighbours, (side, side)."""
    wide = np.pad(count, 1)
    side = len(count)
    total = np.zeros_like(count)
    for down in range(3):
        for across in range(3):
            total += wide[down : down + side, across : across + side]
    return total


@dataclass(frozen=True, slots=True)
class _Cells:
    """Equal cells.  ``low``: corner of the detector, ``width``: of a cell, pixels, (2,).  ``side``: cells along it."""

    low: Float
    width: Float
    side: int

    @classmethod
    def of(cls, xyz: Float, n_judged: int) -> _Cells:
        """``xyz``: x and y in pixels first, (n, 3).  ``n_judged``: rows that can be judged."""
        side = int(np.clip(np.sqrt(n_judged / PER_CELL), 1, MOST_CELLS))
        low, high = xyz[:, :2].min(axis=0), xyz[:, :2].max(axis=0)
        return cls(low, np.maximum(high - low, 1.0) / side, side)

    def numbers(self, xyz: Float) -> Int:
        """Number of the cell of each row, (n,)."""
        place = np.minimum(((xyz[:, :2] - self.low) / self.width).astype(np.int64), self.side - 1)
        return np.asarray(place[:, 0] + self.side * place[:, 1])

    def count(self, xyz: Float) -> Int:
        """Rows in each cell, (side, side)."""
        return np.bincount(self.numbers(xyz), minlength=self.side**2).reshape(self.side, self.side)
