"""Compiled loops over reflections of a sweep against plain matrices."""

from __future__ import annotations

import numpy as np
import pytest
from program_samples import rotation

from braggscale.numerics.compiled import beams


def slow_beams(hkl, angle, image, orientation, axis, s0, tolerance):
    """One matrix for each reflection."""
    result = np.zeros((len(hkl), 3))
    for i, (h, phi, k) in enumerate(zip(hkl, angle, image, strict=True)):
        s1 = s0 + rotation(axis, np.rad2deg(phi)) @ orientation[k] @ h
        length = np.linalg.norm(s1) / np.linalg.norm(s0)
        if abs(length - 1) < tolerance:
            result[i] = s1 / length
    return result


def slow_boxes(xyz, s1, s0, axis, reach, most):
    """From the definition of zeta."""
    box = np.zeros((len(xyz), 6))
    for i, ((x, y, z), beam) in enumerate(zip(xyz, s1, strict=True)):
        cross = np.cross(beam, s0)
        zeta = abs(cross @ axis) / np.linalg.norm(cross) if np.linalg.norm(cross) > 0 else np.nan
        half = 0.5 if np.isnan(zeta) else min(reach / zeta, most)
        box[i] = int(x) - 2, int(x) + 3, int(y) - 2, int(y) + 3, np.floor(z - half), np.ceil(z + half)
    return box


def test_directions() -> None:
    rng = np.random.default_rng(1)
    hkl = rng.integers(-9, 10, (300, 3))
    angle, image = rng.uniform(-4, 4, 300), rng.integers(0, 5, 300)
    orientation = rng.normal(size=(5, 3, 3)) * 0.05
    axis, s0 = np.array([0.6, 0.0, 0.8]), np.array([0.1, -0.2, -1.0])
    found = np.empty((300, 3))
    beams.diffracted(hkl, angle, image, orientation, axis, s0, 0.1, found)
    expected = slow_beams(hkl, angle, image, orientation, axis, s0, 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-13)
    assert 0 < np.count_nonzero(found.any(axis=1)) < 300


def test_boxes() -> None:
    rng = np.random.default_rng(2)
    xyz, s1 = rng.uniform(0, 900, (300, 3)), rng.normal(size=(300, 3))
    s1[0] = 0.0
    axis, s0 = np.array([0.6, 0.0, 0.8]), np.array([0.0, 0.0, -1.0])
    found = np.empty((300, 6), np.int32)
    beams.boxes(xyz, s1, s0, np.cross(s0, axis), 0.7, 100.0, 1e9, found)
    np.testing.assert_array_equal(found, slow_boxes(xyz, s1, s0, axis, 0.7, 100.0))


@pytest.mark.parametrize("absurd", [np.nan, np.inf, -np.inf, 1e300])
def test_absurd_positions_stay_within_their_type(absurd: float) -> None:
    xyz = np.full((3, 3), absurd)
    found = np.empty((3, 6), np.int32)
    beams.boxes(xyz, np.ones((3, 3)), np.array([0.0, 0, 1]), np.array([1.0, 0, 0]), 0.7, 100.0, 1e9, found)
    assert np.abs(found.astype(np.int64)).max() <= 1_000_000_200
