"""Made-up crystals with known symmetry: reflections without symmetry but Friedel's law."""

import gemmi
import numpy as np

from braggscale.data.geometry import inverse_d_squared
from braggscale.data.index_order import unique_indices
from braggscale.data.symmetry import Symmetry

ORTHORHOMBIC = (12.0, 16.0, 21.0, 90.0, 90.0, 90.0)
CELLS = {
    "P 21 21 21": ORTHORHOMBIC,
    "P 21 21 2": ORTHORHOMBIC,
    "P 2 2 2": ORTHORHOMBIC,
    "P n m a": ORTHORHOMBIC,
    "C 1 2/c 1": (12.0, 16.0, 21.0, 90.0, 103.0, 90.0),
    "P 41 21 2": (14.0, 14.0, 25.0, 90.0, 90.0, 90.0),
    "P 61": (14.0, 14.0, 25.0, 90.0, 90.0, 120.0),
}


def crystal(group, d_min=1.6, noise=0.05, seed=0):
    """Reflections without symmetry but Friedel's law: index, intensity, sigma, d; absent ones are 0 but for errors."""
    rng = np.random.default_rng(seed)
    symmetry, cell = Symmetry.from_hall(gemmi.SpaceGroup(group).hall), CELLS[group]
    largest = [int(edge / d_min) for edge in cell[:3]]
    hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in largest)), -1).reshape(-1, 3).astype(np.int32)
    s = inverse_d_squared(hkl, cell)
    inside = (s > 0) & (s < d_min**-2)
    hkl, d = hkl[inside], s[inside] ** -0.5
    first = Symmetry.from_hall("P 1").asu(hkl)[0]
    one = (first == hkl).all(axis=1)
    hkl, d = hkl[one], d[one]
    unique, number = unique_indices(symmetry.asu(hkl)[0])
    acentric, centric = rng.exponential(1.0, len(unique)), rng.normal(size=len(unique)) ** 2
    j = np.where(symmetry.is_centric(unique), centric, acentric) * symmetry.epsilon(unique)
    j = np.where(symmetry.is_absent(unique), 0.0, j)[number]
    sigma = np.full(len(hkl), noise)
    return symmetry, cell, hkl, j + sigma * rng.normal(size=len(hkl)), sigma, d
