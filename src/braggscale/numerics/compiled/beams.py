"""Compiled loops over reflections of a sweep: directions of diffracted beams, and how far boxes reach."""

from typing import Any

import numpy as np

from braggscale.numerics.compiled.cache import njit

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}


@njit(
    "void(int64[:, ::1], float64[::1], int64[::1], float64[:, :, ::1], float64[::1], float64[::1], float64, "
    "float64[:, ::1])",
    **_JIT,
)
def diffracted(hkl, angle, image, orientation, axis, s0, tolerance, s1):
    """Fill ``s1``, (n, 3), with s0 + R(axis, angle) A h, brought to the length of s0.

    Zeros where the length is off by more than ``tolerance``, a share of it.
    ``hkl``: (n, 3).  ``angle``: radians, (n,).  ``image``: place of A in ``orientation``, (n,), (m, 3, 3).
    ``axis``: of length 1, (3,).  ``s0``: (3,).
    """
    wanted = np.sqrt(s0[0] * s0[0] + s0[1] * s0[1] + s0[2] * s0[2])
    for i in range(len(angle)):
        a = orientation[image[i]]
        h, k, l = float(hkl[i, 0]), float(hkl[i, 1]), float(hkl[i, 2])
        x = a[0, 0] * h + a[0, 1] * k + a[0, 2] * l
        y = a[1, 0] * h + a[1, 1] * k + a[1, 2] * l
        z = a[2, 0] * h + a[2, 1] * k + a[2, 2] * l
        cos, sin = np.cos(angle[i]), np.sin(angle[i])
        along = (x * axis[0] + y * axis[1] + z * axis[2]) * (1.0 - cos)
        bx = s0[0] + x * cos + (axis[1] * z - axis[2] * y) * sin + along * axis[0]
        by = s0[1] + y * cos + (axis[2] * x - axis[0] * z) * sin + along * axis[1]
        bz = s0[2] + z * cos + (axis[0] * y - axis[1] * x) * sin + along * axis[2]
        length = np.sqrt(bx * bx + by * by + bz * bz)
        factor = wanted / length
        if not abs(length - wanted) < tolerance * wanted:
            bx = by = bz = 0.0
            factor = 1.0
        s1[i, 0], s1[i, 1], s1[i, 2] = bx * factor, by * factor, bz * factor


@njit(
    "void(float64[:, ::1], float64[:, ::1], float64[::1], float64[::1], float64, float64, float64, int32[:, ::1])",
    **_JIT,
)
def boxes(xyz, s1, s0, across, reach, most, farthest, box):
    """Fill ``box``, (n, 6), with limits in x, y and z: two pixels to either side, and reach/zeta images.

    zeta = (s1 x s0).axis/|s1 x s0|.  ``xyz``: pixels and image number, (n, 3).  ``s1``: (n, 3).  ``s0``: of length 1,
    ``across``: s0 x axis, (3,).  ``most``: images that a reflection reaches at most; half an image where zeta is not
    known.  ``farthest``: bound of positions.
    """
    for i in range(len(xyz)):
        for k in range(2):
            place = xyz[i, k]
            if not abs(place) <= farthest:
                place = farthest if place > 0 else -farthest if place < 0 else 0.0
            box[i, 2 * k] = np.int32(place) - 2
            box[i, 2 * k + 1] = np.int32(place) + 3
        x, y, z = s1[i, 0], s1[i, 1], s1[i, 2]
        along = x * s0[0] + y * s0[1] + z * s0[2]
        square = x * x + y * y + z * z - along * along
        part = abs(x * across[0] + y * across[1] + z * across[2])
        half = reach * np.sqrt(square) / part if square >= 0.0 else np.nan
        half = 0.5 if np.isnan(half) else min(half, most)
        place = xyz[i, 2]
        if not abs(place) <= farthest:
            place = farthest if place > 0 else -farthest if place < 0 else 0.0
        box[i, 4], box[i, 5] = np.int32(np.floor(place - half)), np.int32(np.ceil(place + half))
