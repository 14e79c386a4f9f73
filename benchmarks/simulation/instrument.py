"""The instrument and the crystal as they are: nothing here is a form that a scaling program fits.

Beam drift and flicker per image, the part of the crystal that the beam lights, absorption along straight paths
through an ellipsoidal crystal inside an ellipsoid of solvent, an uneven detector, and decay with dose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import qmc

from braggscale.numerics.array_types import Float, Int32
from simulation.geometry import MODULES, PIXEL, TO_SOURCE, random_orientation, turn

CHUNK = 1 << 16


def beam_series(
    rng: np.random.Generator, n_images: int, width: float, flicker: float, drift: float
) -> tuple[Float, Float]:
    """Intensity of the beam on each image, mean about 1: smooth drift, and flicker independent from image to image.

    ``width``: degrees per image.  ``flicker``: its standard deviation.  ``drift``: standard deviation of the slow
    wander; a seventh of it comes from a faster swing (9 degrees) such as a monochromator's feedback makes.
    Returns drift times flicker, and the drift alone, both (n_images,).
    """
    angle = (np.arange(n_images) + 0.5) * width
    slow = np.zeros(n_images)
    for period in (310.0, 140.0, 63.0, 31.0):
        slow += np.sqrt(period / 140.0) * np.sin(2 * np.pi * (angle / period + rng.random()))
    slow *= drift / np.sqrt(0.5 * (310 + 140 + 63 + 31) / 140)
    fast = drift / 7 * np.sqrt(2) * np.sin(2 * np.pi * (angle / 9.0 + rng.random()))
    smooth = np.exp(slow + fast)
    return smooth * (1 + flicker * np.clip(rng.standard_normal(n_images), -5, 5)), smooth


def rocking_average(
    series: Float, centre: Float, sigma: Float, first: Int32, last: Int32
) -> tuple[Float, Float, Float]:
    """Mean of a per-image quantity over the recorded part of a Gaussian rocking curve.

    With w_k the share of the curve in image k: p = sum w_k, average = sum w_k series_k / p.
    ``series``: (n_images,).  ``centre``, ``sigma``: in images, (n,).  ``first``, ``last``: images of the reflection,
    last exclusive, (n,). Returns average, partiality p and mean recorded position in images, (n,).
    """
    n = len(centre)
    longest_first = np.argsort(first - last, kind="stable")
    lengths = (last - first)[longest_first]
    c, s, z = centre[longest_first], sigma[longest_first], first[longest_first]
    below = ndtr((z - c) / s)
    total, mean, place = np.zeros(n), np.zeros(n), np.zeros(n)
    for step in range(int(lengths[0]) if n else 0):
        m = int(np.searchsorted(-lengths, -step, side="left"))  # rows longer than step
        above = ndtr((z[:m] + (step + 1) - c[:m]) / s[:m])
        share = above - below[:m]
        below[:m] = above
        total[:m] += share
        mean[:m] += share * series[z[:m] + step]
        place[:m] += share * (z[:m] + (step + 0.5))
    safe = np.maximum(total, 1e-300)
    out = np.empty((3, n))
    out[:, longest_first] = mean / safe, total, place / safe
    return out[0], out[1], out[2]


@dataclass(frozen=True, slots=True)
class Sample:
    """A crystal in its loop; the frame is that of the goniometer head (before the scan's rotation), mm.

    ``crystal``, ``solvent``: matrices that map the ellipsoid's surface onto the unit sphere, (3, 3).
    ``solvent_centre``: (3,), relative to the crystal's.  ``offset``: crystal centre off the rotation axis, (3,).
    ``points``: places within the crystal, (n, 3).  ``beam``: standard deviations of the beam's profile, (2,), mm.
    ``mu_crystal``, ``mu_solvent``: absorption, 1/mm.
    """

    crystal: Float
    solvent: Float
    solvent_centre: Float
    offset: Float
    points: Float
    beam: tuple[float, float]
    mu_crystal: float
    mu_solvent: float

    def lit(self, fixed: Float, phi: Float, points: Float) -> Float:
        """Beam intensity at each point and angle, 1 on the beam's axis, (n_phi, n_points)."""
        out = np.empty((len(phi), len(points)))
        for j, point in enumerate((points + self.offset) @ fixed.T):
            x, y, _ = turn(np.broadcast_to(point, (len(phi), 3)), phi).T
            out[:, j] = np.exp(-0.5 * ((x / self.beam[0]) ** 2 + (y / self.beam[1]) ** 2))
        return out

    def volume(self, fixed: Float, phi: Float) -> Float:
        """Illuminated part of the crystal, (n_phi,): mean of the beam's profile over the crystal's volume."""
        inside = _ball(512) @ np.linalg.inv(self.crystal).T
        out: Float = self.lit(fixed, phi, inside).mean(axis=1)
        return out

    def transmission(self, fixed: Float, phi: Float, s1: Float) -> Float:
        """Mean over the lit points of exp(-mu_c L_c - mu_s L_s), paths in and out, (n,), at most 1.

        ``fixed``: fixed rotation of the goniometer, (3, 3).  ``phi``: radian, (n,).  ``s1``: (n, 3), laboratory.
        """
        out = np.empty(len(phi))
        for start in range(0, len(phi), CHUNK):
            part = slice(start, start + CHUNK)
            angle = phi[part]
            outward = turn(s1[part] / np.linalg.norm(s1[part], axis=1, keepdims=True), -angle) @ fixed
            inward = turn(np.broadcast_to(TO_SOURCE, outward.shape), -angle) @ fixed
            weight = self.lit(fixed, angle, self.points)
            passed = np.zeros(len(angle))
            for j, point in enumerate(self.points):
                depth = np.zeros(len(angle))
                for ray in (inward, outward):
                    own = path_length(self.crystal, point, ray)
                    whole = path_length(self.solvent, point - self.solvent_centre, ray)
                    depth += self.mu_crystal * own + self.mu_solvent * np.maximum(whole - own, 0)
                passed += weight[:, j] * np.exp(-depth)
            out[part] = passed / weight.sum(axis=1)
        return out


def path_length(shape: Float, point: Float, ray: Float) -> Float:
    """Way from a point inside an ellipsoid to its surface.

    |y + t v| = 1 with y = M point, v = M ray: t = (-y.v + sqrt((y.v)^2 + (1 - y^2) v^2)) / v^2.
    ``shape``: M, (3, 3).  ``point``: (3,), mm from the centre.  ``ray``: unit vectors, (n, 3). Returns (n,), mm.
    """
    y, v = shape @ point, ray @ shape.T
    yv, vv = v @ y, np.einsum("ij,ij->i", v, v)
    out: Float = (-yv + np.sqrt(np.maximum(yv * yv + (1 - y @ y) * vv, 0))) / vv
    return out


def _ball(n: int) -> Float:
    """Points spread evenly through the unit ball (Halton sequence), (n, 3)."""
    cube = 2 * qmc.Halton(3, scramble=False).random(4 * n + 1)[1:] - 1
    out: Float = cube[np.einsum("ij,ij->i", cube, cube) < 1][:n]
    return out


def make_sample(rng: np.random.Generator, size: float, absorption: float, n_points: int = 7) -> Sample:
    """A crystal of axes about 0.24 x 0.15 x 0.11 mm times ``size``, at a random angle, in a flat drop of solvent.

    ``absorption``: factor on both coefficients, 0 for none.
    """
    axes = size * np.array([0.12, 0.075, 0.055]) * np.exp(0.1 * rng.standard_normal(3))
    crystal = np.diag(1 / axes) @ random_orientation(rng)
    centre = size * np.array([0.03, -0.02, 0.015]) * rng.choice([-1, 1], 3)
    drop = np.diag(1 / (size * np.array([0.42, 0.27, 0.175]))) @ random_orientation(rng)
    points = _ball(n_points) @ np.linalg.inv(crystal).T
    offset = size * 0.015 * rng.standard_normal(3)
    beam = (0.06, 0.04)
    return Sample(crystal, drop, centre, offset, points, beam, 0.8 * absorption, 0.6 * absorption)


@dataclass(frozen=True, slots=True)
class FlatField:
    """Uneven response of the detector: long waves and a constant per module.

    ``waves``: amplitude, two wave numbers, phase, (n, 4).  ``modules``: (n_slow, n_fast).
    """

    size: int
    waves: Float
    modules: Float

    def __call__(self, x: Float, y: Float) -> Float:
        """Response at a place on the detector, mean about 1, (n,).  ``x``, ``y``: mm."""
        u, v = x / (self.size * PIXEL), y / (self.size * PIXEL)
        out = np.ones(len(x))
        for amplitude, kx, ky, phase in self.waves:
            out += amplitude * np.sin(2 * np.pi * (kx * u + ky * v + phase))
        n_slow, n_fast = self.modules.shape
        row = np.clip((v * n_slow).astype(np.intp), 0, n_slow - 1)
        column = np.clip((u * n_fast).astype(np.intp), 0, n_fast - 1)
        out *= self.modules[row, column]
        return out


def make_flat_field(rng: np.random.Generator, size: int, error: float) -> FlatField:
    """Response with standard deviation about ``error``, half of the variance smooth, half per module."""
    n = 4
    waves = np.column_stack((np.full(n, error / np.sqrt(n)), rng.uniform(-1.2, 1.2, (n, 2)), rng.random(n)))
    return FlatField(size, waves, 1 + error / np.sqrt(2) * np.clip(rng.standard_normal(MODULES[::-1]), -3, 3))


def decay(dose: Float, d: Float, b_total: float, loss: float) -> Float:
    """exp(-B(dose)/(2 d^2) - loss dose) with B = b_total dose^1.3, (n,).  ``dose``: 0 to 1 over the experiment."""
    return np.exp(-b_total * dose**1.3 / (2 * d * d) - loss * dose)
