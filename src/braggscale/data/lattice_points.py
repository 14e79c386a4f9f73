"""Estimates the number of points of the reciprocal lattice within a sphere without counting them.

There is one point in each volume 1/V of reciprocal space, where V is the volume of the cell. So there are about
4/3 pi r^3 V points with |h| <= r; the error is of the order of the surface. For hundreds of millions of points it is
below one in a thousand.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.geometry import UnitCell, orthogonalisation
from braggscale.numerics.array_types import Float, Int

# Up to this number of points they are counted, which takes some seconds; crystals of the largest viruses have fewer.
MOST_COUNTED = 4e8


def points_looked_at(cell: UnitCell, s: float) -> float:
    """Number of points in the box of indices, |h| <= a sqrt(s) and so on, that contains all points with 1/d^2 <= s.

    ``cell``: Angstrom and degrees, ``s``: 1/Angstrom^2.
    """
    return float(np.prod([2.0 * (edge * np.sqrt(s) + 1.0) for edge in cell[:3]]))


def points_within(cell: UnitCell, s: float) -> float:
    """About how many points of the lattice have 1/d^2 <= s.  ``cell``: Angstrom and degrees, ``s``: 1/Angstrom^2."""
    volume = abs(float(np.linalg.det(orthogonalisation(cell))))
    return float(4.0 / 3.0 * np.pi * volume * s**1.5)


def expected_in_shells(cell: UnitCell, limits: Float, order: int) -> Int:
    """About how many unique reflections have limits[i] <= 1/d^2 < limits[i + 1], (n,).

    ``limits``: 1/Angstrom^2, ascending, (n + 1,).  ``order``: how many points of the lattice belong to one
    reflection on average: operators of the Laue group times points of the centring.
    """
    points = np.array([points_within(cell, float(s)) for s in limits])
    expected = np.minimum(np.diff(points) / order, float(np.iinfo(np.int64).max // 4096))
    return np.rint(expected).astype(np.int64)
