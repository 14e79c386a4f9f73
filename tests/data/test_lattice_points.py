"""Points of the reciprocal lattice, counted and estimated."""

from __future__ import annotations

import numpy as np
import pytest

from braggscale.data import symmetry as counting
from braggscale.data.lattice_points import expected_in_shells, points_looked_at
from braggscale.data.symmetry import Symmetry


@pytest.mark.parametrize("hall", [" P 1", "-P 1", " P 2ac 2ab", " C 2y", " F 4 2 3", " P 3*"])
def test_an_estimate_is_the_count_but_for_the_surface(hall: str, monkeypatch: pytest.MonkeyPatch) -> None:
    symmetry = Symmetry.from_hall(hall)
    cell = (120.0, 120.0, 120.0, 90.0, 90.0, 90.0)
    limits = np.linspace(0.02**1.5, 0.4**1.5, 6) ** (2 / 3)
    unique, acentric = symmetry.possible_in_shells(cell, limits)
    monkeypatch.setattr(counting, "MOST_COUNTED", 0)
    about, about_acentric = symmetry.possible_in_shells(cell, limits)
    # half of the points on mirror planes belong to a reflection: some percent in a small cell
    np.testing.assert_allclose(about, unique, rtol=0.2)
    assert (about_acentric.any(), acentric.any()) == (not symmetry.centrosymmetric,) * 2


def test_one_absurd_index_takes_no_time() -> None:
    symmetry, cell = Symmetry.from_hall(" P 1"), (300.0, 300.0, 300.0, 90.0, 90.0, 90.0)
    limits = np.array([1e-4, (4000 / 300.0) ** 2])
    assert points_looked_at(cell, limits[-1]) > 1e11
    unique, acentric = symmetry.possible_in_shells(cell, limits)
    assert unique[0] == pytest.approx(2 / 3 * np.pi * 4000.0**3, rel=1e-6) and acentric[0] == unique[0]


def test_numbers_stay_within_their_type() -> None:
    limits = np.array([1e-6, 1e10])
    assert (expected_in_shells((1e5, 1e5, 1e5, 90.0, 90.0, 90.0), limits, 1) > 0).all()
