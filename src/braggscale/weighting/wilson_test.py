"""Finds impossibly strong intensities, without comparison with equivalents.

For acentric reflections the chance of E^2 > x is exp(-x) (Wilson, Acta Cryst. 2 (1949) 318): 100 is never reached.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.normalised_intensities import Shells
from braggscale.numerics.array_types import Bool, Float


def impossible(intensity: Float, scale: Float, epsilon: Float, shells: Shells, emax: float | None) -> Bool:
    """Observations with E^2 > ``emax``^2, (n,); none where ``emax`` is None or 0. DIALS' emax is 10.

    ``intensity``: I, counts, ``scale``: g, ``epsilon``: of the reflection, (n,).  ``shells``: of the same rows.
    Rows with g <= 0 are not tested and do not count for the mean intensity.
    """
    good = scale > 0
    result = np.zeros(len(good), np.bool_)
    if not emax or not good.any():
        return result
    if not good.all():
        intensity, scale, epsilon, shells = intensity[good], scale[good], epsilon[good], Shells.of(shells.d[good])
    result[np.flatnonzero(good)[shells.beyond(intensity / scale, epsilon, emax**2)]] = True
    return result
