"""From lattice points to what reaches the detector: the true partiality and the true scale of every row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.numerics.array_types import Float, Int32
from simulation.design import (
    Options,
    Plan,
    Rows,
    Stream,
    choose_lattice,
    geometry_of,
    in_images,
    misorientation,
    stream,
)
from simulation.geometry import Geometry, excitation, still_partiality, turn
from simulation.instrument import FlatField, decay, make_flat_field, rocking_average
from simulation.lattice import Lattice, Truth, sphere, wilson


@dataclass(frozen=True, slots=True)
class World:
    """What all data sets have in common.  ``points``: Miller indices in the sphere, (n, 3)."""

    options: Options
    geometry: Geometry
    lattice: Lattice
    points: Int32
    truth: Truth
    flat_field: FlatField


def make_world(options: Options) -> World:
    """The lattice, its true intensities and the detector."""
    geometry = geometry_of(options)
    lattice = choose_lattice(options, geometry)
    points = sphere(lattice, options.d_min)
    truth = wilson(
        lattice,
        points,
        stream(options.seed, Stream.TRUTH),
        options.mean_counts,
        options.b_factor,
        options.anomalous,
    )
    flat_field = make_flat_field(stream(options.seed, Stream.FLAT_FIELD), geometry.pixels, options.flat_field)
    return World(options, geometry, lattice, points, truth, flat_field)


@dataclass(frozen=True, slots=True)
class Passage:
    """How reflections pass through the instrument; all (n,) unless stated.

    ``d``: Angstrom.  ``s1``: (n, 3), 1/Angstrom.  ``x``, ``y``: mm.
    ``z``: mean recorded position, images.  ``partiality``: as written; ``true_partiality``: as it is.
    ``inverse_variance``: variance of 1/p, 0 for scans.  ``g``: true inverse scale factor.
    """

    d: Float
    s1: Float
    x: Float
    y: Float
    z: Float
    partiality: Float
    true_partiality: Float
    inverse_variance: Float
    g: Float


def pass_through(world: World, plan: Plan, rows: Rows) -> Passage:
    """Geometry, partiality and true scale of a block of rows of one data set."""
    options, geometry = world.options, world.geometry
    hkl = world.points[rows.point]
    d = world.lattice.d(hkl)
    q = hkl @ (plan.fixed @ plan.reciprocal).T
    s1 = geometry.s0 + (q if plan.still else turn(q, rows.phi))
    if plan.still:
        p = still_partiality(geometry, q)
        true_p = still_partiality(geometry, hkl @ plan.true_reciprocal.T)
        variance = _inverse_partiality_variance(options, geometry, q, s1, p)
        s1 = s1 / (np.linalg.norm(s1, axis=1, keepdims=True) * geometry.wavelength)
        z, g = np.full(len(p), 0.5), np.ones(len(p))
    else:
        centre, sigma = in_images(geometry, plan, rows.phi, s1)
        g, p, z = rocking_average(plan.beam, centre, sigma, rows.first, rows.last)
        true_p, variance = p, np.zeros(len(p))
        g = g * np.interp(z, np.arange(plan.n_images + 1), plan.lit)
        dose = plan.dose[0] + (plan.dose[1] - plan.dose[0]) * z / plan.n_images
        g *= decay(dose, d, options.decay_b, options.loss)
        if plan.sample is not None and options.absorption > 0:
            g *= plan.sample.transmission(plan.fixed, np.radians(plan.start + plan.width * z), s1)
    x, y = geometry.position(s1)
    g = g * plan.scale * np.exp(-plan.b / (2 * d * d)) * world.flat_field(x, y)
    return Passage(d, s1, x, y, z, p, true_p, variance, g)


def _inverse_partiality_variance(options: Options, geometry: Geometry, q: Float, s1: Float, p: Float) -> Float:
    """Variance of 1/p from the error of the orientation: d ln p = -(e/sigma^2) de, de = tilt . (q x s1/|s1|)."""
    lever = np.linalg.norm(np.cross(q, s1), axis=1) / np.linalg.norm(s1, axis=1)
    slope = excitation(geometry, q) / geometry.still_sigma(q) ** 2
    out: Float = (slope * lever * misorientation(options) / p) ** 2
    return out
