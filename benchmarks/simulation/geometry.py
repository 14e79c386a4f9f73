"""Where and when each reflection is recorded.

Laboratory frame as in DIALS: the beam travels along -z, the rotation axis is x, the detector is flat and normal to
the beam. A reciprocal lattice point q (at zero rotation) diffracts where |s0 + R(phi) q| = |s0|. With
q = q_e e + cos, sin of the part normal to the axis e this is

    A cos phi + B sin phi = C,   A = s0.q - q_e (s0.e),   B = s0.(e x q),   C = -q^2/2 - q_e (s0.e),

so phi = atan2(B, A) +- acos(C / sqrt(A^2 + B^2)).
The rocking curve is a Gaussian of width sigma_m/|zeta| in phi (Kabsch, Acta Cryst. D66 (2010) 133).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int32

AXIS = np.array([1.0, 0.0, 0.0])
TO_SOURCE = np.array([0.0, 0.0, 1.0])
POLARIZATION_NORMAL = np.array([0.0, 1.0, 0.0])
POLARIZATION_FRACTION = 0.999
MIN_ZETA = 0.05  # reflections nearer to the rotation axis are not integrated (DIALS' limit)
N_SIGMA = 3.0
PIXEL = 0.172  # mm
HALF_SIZE = 217.0  # mm, half the width of the detector
MODULES = (5, 12)  # of the detector, along the fast and the slow axis
GAPS = (7, 17)  # pixels between them
SENSOR_MU, SENSOR_THICKNESS = 1.4, 0.45  # 1/mm and mm: silicon at about 1 Angstrom


@dataclass(frozen=True, slots=True)
class Geometry:
    """``wavelength``, ``d_min``: Angstrom.  ``sigma_m``: mosaic spread, radian.

    ``still_width``, ``still_mosaic``: thickness of a reciprocal lattice point for stills,
    sigma^2 = still_width^2 + (still_mosaic |q|)^2, 1/Angstrom and radian.
    """

    wavelength: float
    d_min: float
    sigma_m: float
    still_width: float = 4e-4
    still_mosaic: float = 1e-3

    @property
    def s0(self) -> Float:
        """Incident beam vector, (3,), 1/Angstrom."""
        return -TO_SOURCE / self.wavelength

    @property
    def distance(self) -> float:
        """Detector distance at which d_min falls just within the detector's edge, mm."""
        sine = self.wavelength / (2 * self.d_min)
        if sine > 0.6:
            raise ValueError(f"d_min {self.d_min} A needs scattering angles above 74 degrees at {self.wavelength} A")
        return float((HALF_SIZE - 2) / np.tan(2 * np.arcsin(sine)))

    @property
    def pixels(self) -> int:
        """Pixels along each edge of the detector."""
        return int(round(2 * HALF_SIZE / PIXEL))

    @property
    def gaps(self) -> list[tuple[int, int, int, int]]:
        """Strips between modules, x0, y0, x1, y1, pixels, ends exclusive."""
        n = self.pixels
        found: list[tuple[int, int, int, int]] = []
        for axis, (count, width) in enumerate(zip(MODULES, GAPS, strict=True)):
            for k in range(1, count):
                begin = round(k * n / count - width / 2)
                strip = begin, begin + width
                found.append((strip[0], 0, strip[1], n) if axis == 0 else (0, strip[0], n, strip[1]))
        return found

    def on_module(self, x: Float, y: Float) -> Bool:
        """Whether places on the detector are in none of the gaps, (n,).  ``x``, ``y``: mm."""
        seen = np.ones(len(x), np.bool_)
        for x0, y0, x1, y1 in self.gaps:
            seen &= ~((x >= x0 * PIXEL) & (x < x1 * PIXEL) & (y >= y0 * PIXEL) & (y < y1 * PIXEL))
        return seen

    def position(self, s1: Float) -> tuple[Float, Float]:
        """Where the diffracted beam meets the detector, x and y, (n,), mm."""
        t = self.distance / -s1[:, 2]
        return HALF_SIZE + t * s1[:, 0], HALF_SIZE - t * s1[:, 1]

    def lp(self, s1: Float, still: bool) -> Float:
        """L/P, the factor that takes a recorded to an ideal intensity, (n,)."""
        u = s1 * self.wavelength
        along = u @ -TO_SOURCE
        fraction = POLARIZATION_FRACTION
        p = (1 - 2 * fraction) * (1 - (u @ POLARIZATION_NORMAL) ** 2) + fraction * (1 + along**2)
        lorentz = 1.0 if still else np.abs(u @ np.cross(AXIS, -TO_SOURCE))
        out: Float = lorentz / p
        return out

    def qe(self, s1: Float) -> Float:
        """Share of the photons that the sensor absorbs, 1 - exp(-mu t / cos), (n,)."""
        out: Float = 1 - np.exp(-SENSOR_MU * SENSOR_THICKNESS / np.abs(s1[:, 2] * self.wavelength))
        return out

    def still_sigma(self, q: Float) -> Float:
        """Standard deviation of a point's thickness across the Ewald sphere, (n,), 1/Angstrom."""
        out: Float = np.sqrt(self.still_width**2 + self.still_mosaic**2 * np.einsum("ij,ij->i", q, q))
        return out


def rotation(axis: Float, angle: Float) -> Float:
    """Rotation matrices about a unit vector, (n, 3, 3).  ``angle``: radian, (n,)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.atleast_1d(angle)[:, None, None]
    out: Float = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return out


def turn(vectors: Float, angle: Float) -> Float:
    """Each vector turned about the rotation axis (x) by its own angle, (n, 3).  ``angle``: radian, (n,)."""
    c, s = np.cos(angle), np.sin(angle)
    x, y, z = vectors.T
    return np.column_stack((x, c * y - s * z, s * y + c * z))


def random_orientation(rng: np.random.Generator) -> Float:
    """A uniformly distributed rotation matrix, (3, 3)."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    out: Float = q * np.linalg.det(q)
    return out


def zeta(geometry: Geometry, s1: Float) -> Float:
    """Cosine between the rotation axis and the normal to both beams, (n,)."""
    normal = np.cross(s1, geometry.s0)
    out: Float = (normal @ AXIS) / np.linalg.norm(normal, axis=1)
    return out


@dataclass(frozen=True, slots=True)
class Crossings:
    """Reflections that meet the Ewald sphere; all (n,).

    ``point``: row in the list of lattice points.  ``phi``: scan angle, radian.
    """

    point: Int32
    phi: Float


def crossings(geometry: Geometry, q: Float, start: float, end: float) -> Crossings:
    """All solutions of the rotation Laue condition in a scan, and just beyond its ends.

    ``q``: lattice points at zero rotation, (n, 3), 1/Angstrom.  ``start``, ``end``: scan angles, radian. A crossing
    whose rocking curve reaches into the scan (3 sigma) counts; one nearer to the axis than MIN_ZETA does not.
    """
    s0 = geometry.s0
    along = q @ AXIS
    a, b = q @ s0 - along * (s0 @ AXIS), q @ np.cross(s0, AXIS)
    c = -0.5 * np.einsum("ij,ij->i", q, q) - along * (s0 @ AXIS)
    length = np.hypot(a, b)
    point = np.flatnonzero(np.abs(c) < length)
    centre = np.arctan2(b[point], a[point])
    half = np.arccos(c[point] / length[point])
    margin = N_SIGMA * geometry.sigma_m / MIN_ZETA
    points, phis = [], []
    for first in (centre - half, centre + half):
        first = start - margin + np.mod(first - start + margin, 2 * np.pi)
        for turns in range(int((end - start + 2 * margin) // (2 * np.pi)) + 1):
            phi = first + 2 * np.pi * turns
            inside = phi <= end + margin
            points.append(point[inside])
            phis.append(phi[inside])
    point, phi = np.concatenate(points), np.concatenate(phis)
    cosine = np.abs(zeta(geometry, s0 + turn(q[point], phi)))
    width = N_SIGMA * geometry.sigma_m / np.maximum(cosine, MIN_ZETA)
    keep = (cosine > MIN_ZETA) & (phi > start - width) & (phi < end + width)
    return Crossings(point[keep].astype(np.int32), phi[keep])


def excitation(geometry: Geometry, q: Float) -> Float:
    """Distance of lattice points from the Ewald sphere, |s0 + q| - |s0|, (n,), 1/Angstrom."""
    out: Float = np.linalg.norm(geometry.s0 + q, axis=1) - 1.0 / geometry.wavelength
    return out


def still_partiality(geometry: Geometry, q: Float) -> Float:
    """exp(-e^2 / (2 sigma^2)) with the excitation error e: 1 for a point on the sphere, (n,)."""
    return np.exp(-0.5 * (excitation(geometry, q) / geometry.still_sigma(q)) ** 2)


def on_still(geometry: Geometry, q: Float, lowest: float = 0.02) -> Bool:
    """Which lattice points are recorded on a still with at least the given partiality, (n,)."""
    near = np.abs(excitation(geometry, q)) < 4 * geometry.still_sigma(q)
    near[near] = still_partiality(geometry, q[near]) >= lowest
    return near
