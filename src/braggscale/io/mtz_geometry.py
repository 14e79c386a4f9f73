"""Geometry from MTZ batch headers: sweeps, orientations, beams, directions of the diffracted beams.

In the Cambridge frame, z along the rotation axis and x roughly along the beam, the reciprocal lattice vector of h at
scan angle phi is

    r = E R(e, phi) F M U B h

U and B from the header (B upper triangular, a* along x: Busing & Levy, Acta Cryst. 22 (1967) 457), M the missetting
angles, M = Rz Ry Rx, and E, F the other axes of the goniometer at their datum angles. The diffracted beam is
s1 = s0 + r. Checked on MOSFLM's and POINTLESS' files: |s1| is 1/lambda to 1e-7 and 2e-4.

All vectors are transformed to the frame of this program, x along the axis, z towards the source: (x, y, z) -> (z,
y, -x).

Sources: CCP4, mtzlib, "orientation block"; POINTLESS (Evans, Acta Cryst. D62 (2006) 72) for the rules by which
batches are divided into sweeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from braggscale.data.geometry import rotation, unit
from braggscale.io.mtz_file import MtzBatch
from braggscale.numerics.array_types import Array

_TURN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
# A new sweep begins where the crystal has moved by more than this between neighbouring images, degrees, ...
_SLIP = 3.0
# ... where the wavelength changes by more than this share, ...
_OTHER_WAVELENGTH = 1e-4
# ... or images do not follow each other by more than this share of their width.
_GAP = 0.1
# Beams whose length is off by more than this share do not belong to the headers.
_OTHER_LENGTH = 0.1


@dataclass(frozen=True, slots=True)
class Image:
    """The contents of one batch header, in this program's frame.

    ``start``, ``end``: scan angle, degrees.  ``axis``, ``to_source``: (3,), zeros where the header has none.
    ``orientation``: A = E F M U B, (3, 3), 1/Angstrom, zeros where the header has none.  ``cell``: of the header.
    ``wavelength``: Angstrom, 0 where it is not given.  ``distance``: mm.  ``detector``: limits x, x, y, y.
    ``mosaicity``: degrees.
    """

    batch: int
    data_set: int
    start: float
    end: float
    axis: Array
    to_source: Array
    orientation: Array
    cell: tuple[float, ...]
    wavelength: float
    distance: float
    detector: tuple[float, float, float, float]
    mosaicity: float

    @property
    def width(self) -> float:
        """Rotation during the image, degrees."""
        return self.end - self.start

    @property
    def is_oriented(self) -> bool:
        """Whether directions can be calculated."""
        return bool(self.orientation.any() and self.to_source.any() and self.axis.any())


def images_of(batches: Sequence[MtzBatch]) -> list[Image]:
    """The batch headers as images, by batch number."""
    return sorted((_image(batch) for batch in batches), key=lambda image: image.batch)


def _image(batch: MtzBatch) -> Image:
    with np.errstate(invalid="ignore"):
        real = np.nan_to_num(batch.real.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    whole = batch.whole
    outer, axis, inner = _goniometer(whole, real)
    cell = tuple(real[:6].tolist())
    u = real[6:15].reshape(3, 3).T
    orientation = np.zeros((3, 3))
    if abs(abs(np.linalg.det(u)) - 1.0) < 0.01 and min(cell[:3]) > 0 and min(cell[3:]) > 0 and max(cell[3:]) < 180:
        orientation = _TURN @ outer @ inner @ _missetting(whole[10], real) @ u @ busing_levy(cell)
    source = real[83:86] if real[83:86].any() else real[80:83]
    return Image(
        batch=batch.number,
        data_set=int(whole[20]),
        start=float(real[36]),
        end=float(real[37]),
        axis=_TURN @ outer @ axis,
        to_source=_TURN @ source,
        orientation=orientation,
        cell=cell,
        wavelength=float(real[86]),
        distance=float(real[111]),
        detector=(float(real[113]), float(real[114]), float(real[115]), float(real[116])),
        mosaicity=float(real[21]),
    )


def _goniometer(whole: Array, real: Array) -> tuple[Array, Array, Array]:
    """E, e and F: rotations outside the scan axis, the axis, and rotations inside it."""
    n_axes, scan = int(whole[17]), int(whole[15]) - 1
    axes = [real[59 + 3 * k : 62 + 3 * k] for k in range(3)]
    if not (1 <= n_axes <= 3 and 0 <= scan < n_axes and axes[scan].any()):
        axis = real[38:41] if real[38:41].any() else axes[0]
        return np.eye(3), axis if axis.any() else np.array([0.0, 0.0, 1.0]), np.eye(3)
    outer, inner = np.eye(3), np.eye(3)
    for k in range(n_axes):
        if k < scan and axes[k].any():
            outer = outer @ rotation(unit(axes[k]), real[33 + k])
        elif k > scan and axes[k].any():
            inner = inner @ rotation(unit(axes[k]), real[33 + k])
    return outer, axes[scan], inner


def _missetting(kind: int, real: Array) -> Array:
    """M at the middle of the image; the header has angles at its beginning, or at both ends (``kind`` 1, 2)."""
    if kind == 0:
        return np.eye(3)
    angles = real[15:18] if kind == 1 else 0.5 * (real[15:18] + real[18:21])
    x, y, z = np.eye(3)
    return rotation(z, angles[2]) @ rotation(y, angles[1]) @ rotation(x, angles[0])


@lru_cache(16)  # thousands of images have one cell
def busing_levy(cell: tuple[float, ...]) -> Array:
    """B, upper triangular with a* along x, (3, 3), 1/Angstrom, from a b c alpha beta gamma."""
    a, b, c, alpha, beta, gamma = cell
    ca, cb, cg = (0.0 if angle == 90 else float(np.cos(np.deg2rad(angle))) for angle in (alpha, beta, gamma))
    metric = np.array(
        [[a * a, a * b * cg, a * c * cb], [a * b * cg, b * b, b * c * ca], [a * c * cb, b * c * ca, c * c]]
    )
    try:
        # the upper triangular root of the reciprocal metric
        result: Array = np.linalg.cholesky(np.linalg.inv(metric)).T
    except np.linalg.LinAlgError:
        return np.zeros((3, 3))
    return result


def sweeps(images: Sequence[Image]) -> list[list[Image]]:
    """Cuts images, sorted by batch number, into sweeps.

    Images belong to one sweep if their batch numbers and scan angles follow each other (images may be missing if
    the angles agree with the numbers), and if data set, wavelength, width, beam and orientation do not change.
    """
    result: list[list[Image]] = []
    for image in images:
        if result and _continues(result[-1][-1], image):
            result[-1].append(image)
        else:
            result.append([image])
    return result


def _continues(before: Image, image: Image) -> bool:
    width = before.width
    expected = before.end + (image.batch - before.batch - 1) * width
    off = (image.start - expected + 180.0) % 360.0 - 180.0
    return (
        image.data_set == before.data_set
        and width != 0
        and abs(image.width - width) <= _GAP * abs(width)
        and abs(off) <= _GAP * abs(width)
        and (image.batch == before.batch + 1 or abs(image.start - expected) <= _GAP * abs(width))
        and abs(image.wavelength - before.wavelength) <= _OTHER_WAVELENGTH * max(image.wavelength, 1e-3)
        and _apart(image.axis, before.axis) <= 1e-3
        and _apart(image.to_source, before.to_source) <= 1e-2
        and image.is_oriented == before.is_oriented
        and (not image.is_oriented or _turned(before.orientation, image.orientation) < _SLIP)
    )


def _apart(one: Array, other: Array) -> float:
    """Largest difference of two vectors in any direction."""
    return float(np.abs(one - other).max())


def _turned(before: Array, after: Array) -> float:
    """Angle between two orientations, degrees; 180 if the lattices differ."""
    if np.array_equal(before, after):
        return 0.0
    between = after @ np.linalg.inv(before)
    if np.abs(between @ between.T - np.eye(3)).max() > 0.05:
        return 180.0
    return float(np.rad2deg(np.arccos(np.clip((np.trace(between) - 1) / 2, -1.0, 1.0))))


def orientations_at_boundaries(images: Sequence[Image], numbers: tuple[int, int]) -> Array | None:
    """A at the beginning of each image and at the end of the last, (n + 1, 3, 3), linear between the images' middles.

    ``numbers``: first and last batch.  None where all images have the same A.
    """
    own = np.array([image.orientation for image in images])
    if np.abs(own - own[0]).max() <= 1e-6 * np.abs(own[0]).max():
        return None
    middles = np.array([image.batch + 0.5 for image in images])
    boundaries = np.arange(numbers[0], numbers[1] + 2, dtype=np.float64)
    flat = own.reshape(len(own), 9)
    return np.stack([np.interp(boundaries, middles, flat[:, k]) for k in range(9)], axis=1).reshape(-1, 3, 3)


def unwrapped_angles(angle: Array, batch: Array, images: Sequence[Image]) -> Array:
    """Scan angles, degrees, (n,), moved by whole turns so that each is nearest to the middle of its image.

    ``angle``, ``batch``: (n,), batch numbers among those of ``images``.
    """
    first = images[0].batch
    middle = np.zeros(images[-1].batch - first + 1)
    start, width = images[0].start, images[0].width
    middle[:] = start + (np.arange(len(middle)) + 0.5) * width
    expected = middle[batch - first]
    result: Array = angle - 360.0 * np.rint((angle - expected) / 360.0)
    return result


def diffracted_beams(hkl: Array, angle: Array, batch: Array, images: Sequence[Image], wavelength: float) -> Array:
    """s1 = s0 + R(e, phi) A h in units of 1/Angstrom, scaled to length 1/lambda, (n, 3).

    If s1 differs from 1/lambda by more than a tenth, the row does not fit the headers, and its s1 is set to zeros.
    ``hkl``: as measured, (n, 3).  ``angle``: degrees, ``batch``: number, (n,).
    """
    from braggscale.numerics.compiled import beams  # only files of other programs need these kernels

    first = images[0].batch
    orientation = np.zeros((images[-1].batch - first + 1, 3, 3))
    for image in images:
        orientation[image.batch - first] = image.orientation
    axis = images[0].axis / np.linalg.norm(images[0].axis)
    s0 = -images[0].to_source / np.linalg.norm(images[0].to_source) / wavelength
    s1 = np.empty((len(hkl), 3))
    beams.diffracted(
        np.ascontiguousarray(hkl, np.int64), np.deg2rad(angle), np.asarray(batch - first, np.int64), orientation, axis,
        s0, _OTHER_LENGTH, s1,
    )  # fmt: skip
    return s1
