"""What is simulated: the options, and the plan of every data set that follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from braggscale.numerics.array_types import Float, Int, Int32
from simulation.geometry import (
    MIN_ZETA,
    N_SIGMA,
    Crossings,
    Geometry,
    crossings,
    on_still,
    random_orientation,
    rotation,
    turn,
    zeta,
)
from simulation.instrument import Sample, beam_series, make_sample
from simulation.lattice import CHUNK, Lattice, lattice_of_volume

LOWEST_PARTIALITY = 0.001


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that decides the data; the command line's help explains each."""

    kind: str = "sweeps"
    count: int = 1
    degrees: float = 180.0
    width: float = 0.1
    reflections: int = 100_000
    seed: int = 1
    space_group: str = "P212121"
    wavelength: float = 0.9795
    d_min: float = 1.5
    mosaicity: float = 0.08
    mean_counts: float = 4000.0
    b_factor: float = 20.0
    anomalous: float = 0.03
    background: float = 2.0
    instability: float = 0.02
    outliers: float = 0.01
    failed: float = 0.002
    split: float = 0.002
    flicker: float = 0.008
    drift: float = 0.04
    absorption: float = 1.0
    volume: bool = True
    flat_field: float = 0.015
    decay_b: float = 2.0
    loss: float = 0.05
    scale_spread: float = 0.4
    b_spread: float = 2.0
    partiality_error: float = 0.05
    profile_loss: float = 0.0
    recorded_profiles: bool = False
    pixels: bool = False
    bad_last: float = 0.0
    noisy_from: int = 0
    noisy_to: int = 0
    noisier: float = 2.0
    misindexed: float = 0.0
    bad: int = 0
    cell_shape: str = ""
    specific_damage: float = 0.0
    damage_law: str = "linear"
    lean: bool = False
    identifier: str = ""


class Stream(IntEnum):
    """Independent streams of random numbers, so that changing one part leaves the others as they were."""

    TRUTH = 0
    SAMPLE = 1
    BEAM = 2
    ORIENTATION = 3
    ROWS = 4
    FLAT_FIELD = 5
    VOLUME = 6
    RECORDING = 7
    BAD_IMAGES = 8
    TROUBLE = 9


def stream(seed: int, which: Stream, *numbers: int) -> np.random.Generator:
    """The generator of one part of one data set (and block)."""
    return np.random.default_rng([seed, int(which), *numbers])


@dataclass(frozen=True, slots=True)
class Plan:
    """One data set.

    ``reciprocal``: A = U B at zero rotation, before the fixed rotation, (3, 3), as the files have it;
    ``true_reciprocal``: as it is (they differ for stills with misorientation).  ``start``, ``width``: degrees.
    ``dose``: at start and end.
    ``scale``, ``b``: factor scale exp(-b/(2 d^2)).  ``beam``, ``drift``: beam intensity per image with and without
    flicker, (n_images,).  ``lit``: illuminated volume at the edges of the images, mean about 1, (n_images + 1,).
    ``disturbed``: factor on images that went wrong, 1 for good ones, (n_images,).
    """

    number: int
    identifier: str
    still: bool
    reciprocal: Float
    true_reciprocal: Float
    fixed: Float
    start: float
    width: float
    n_images: int
    dose: tuple[float, float]
    scale: float
    b: float
    beam: Float
    drift: Float
    lit: Float
    disturbed: Float
    sample: Sample | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one data set before they are recorded; all (n,).

    ``point``: row in the list of lattice points.  ``phi``: radian.  ``first``, ``last``: images, last exclusive.
    ``partial_id``: equal for the pieces of one reflection.  ``partner``: row of the other piece, or -1.
    """

    point: Int32
    phi: Float
    first: Int32
    last: Int32
    partial_id: Int
    partner: Int

    def __len__(self) -> int:
        return len(self.point)


def geometry_of(options: Options) -> Geometry:
    """The beam and the mosaic spread."""
    return Geometry(options.wavelength, options.d_min, float(np.radians(options.mosaicity)))


def choose_lattice(options: Options, geometry: Geometry) -> Lattice:
    """A cell whose volume gives the requested number of rows.

    The number of rows per lattice point is measured on points spread evenly through the sphere of radius 1/d_min, of
    which a primitive cell of volume V has 4 pi V / (3 d_min^3).
    """
    rng = stream(options.seed, Stream.VOLUME)
    n = 1_000_000 if options.kind == "stills" else 200_000
    direction = rng.standard_normal((n, 3))
    radius = np.cbrt(rng.random(n)) / options.d_min
    q = direction * (radius / np.linalg.norm(direction, axis=1))[:, None]
    if options.kind == "stills":
        share = float(np.mean(on_still(geometry, q)))
    else:
        share = len(crossings(geometry, q, 0.0, float(np.radians(options.degrees))).point) / n * (1 + options.split)
    if share == 0:
        raise ValueError("no reflection is recorded at all: use wider sweeps or a larger d_min")
    points = options.reflections / (share * options.count)
    return lattice_of_volume(options.space_group, points * 3 * options.d_min**3 / (4 * np.pi), options.cell_shape)


def make_plans(options: Options, lattice: Lattice, numbers: Iterable[int] | None = None) -> list[Plan]:
    """Sweeps share one crystal, turned on the goniometer head between them; crystals and stills have their own.

    ``numbers``: of the data sets that are wanted, None for all.
    """
    maker = {"sweeps": _sweep, "crystals": _crystal, "stills": _still}[options.kind]
    return [maker(options, lattice, i) for i in (range(options.count) if numbers is None else numbers)]


def _scan(
    options: Options,
    lattice: Lattice,
    i: int,
    which: int,
    fixed: Float,
    dose: tuple[float, float],
    k: float,
    b: float,
) -> Plan:
    """A data set on a rotating crystal; ``which`` is the crystal's number."""
    n_images = max(1, round(options.degrees / options.width))
    orientation = random_orientation(stream(options.seed, Stream.ORIENTATION, which))
    beam, drift = beam_series(
        stream(options.seed, Stream.BEAM, i), n_images, options.width, options.flicker, options.drift
    )
    size = 1.0 if options.kind == "sweeps" else float(np.cbrt(k))
    sample = make_sample(stream(options.seed, Stream.SAMPLE, which), size, options.absorption)
    start = 0.0 if options.kind == "sweeps" else 5.0 * (i % 36)
    lit = np.ones(n_images + 1)
    if options.volume:
        edges = np.radians(start + options.width * np.arange(n_images + 1))
        whole = sample.volume(np.eye(3), np.radians(np.arange(0.0, 360.0, 5.0))).mean()
        lit = sample.volume(fixed, edges) / whole
    disturbed = np.ones(n_images)
    if options.bad_last > 0 and i == options.count - 1:
        bad = int(round(n_images * (1 - options.bad_last)))
        rng = stream(options.seed, Stream.BAD_IMAGES, i)
        disturbed[bad:] = np.exp(0.35 * rng.standard_normal(n_images - bad) - 0.3)
    a = orientation @ lattice.reciprocal
    return Plan(
        i, f"{options.identifier}{i}", False, a, a, fixed, start, options.width, n_images,
        dose, k, b, beam, drift, lit, disturbed, sample,
    )  # fmt: skip


def _sweep(options: Options, lattice: Lattice, i: int) -> Plan:
    tilt = rotation(np.array([0.0, 1.0, 0.0]), np.array([np.radians(35.0 * i)]))[0]
    fixed = tilt @ rotation(np.array([1.0, 0.0, 0.0]), np.array([np.radians(20.0 * i)]))[0]
    return _scan(options, lattice, i, 0, fixed, (i / options.count, (i + 1) / options.count), 1.0, 0.0)


def _crystal(options: Options, lattice: Lattice, i: int) -> Plan:
    rng = stream(options.seed, Stream.SAMPLE, i, 1)
    k = float(np.exp(options.scale_spread * rng.standard_normal()))
    b = float(options.b_spread * rng.standard_normal())
    return _scan(options, lattice, i, i, np.eye(3), (0.0, float(rng.uniform(0.5, 1.5))), k, b)


def _still(options: Options, lattice: Lattice, i: int) -> Plan:
    rng = stream(options.seed, Stream.SAMPLE, i, 1)
    k = float(np.exp(options.scale_spread * rng.standard_normal()))
    b = float(options.b_spread * rng.standard_normal())
    orientation = random_orientation(stream(options.seed, Stream.ORIENTATION, i))
    tilt = misorientation(options) * rng.standard_normal(3)
    angle = float(np.linalg.norm(tilt))
    true = orientation if angle == 0 else rotation(tilt / angle, np.array([angle]))[0] @ orientation
    one = np.ones(1)
    return Plan(
        i, f"{options.identifier}{i}", True, orientation @ lattice.reciprocal, true @ lattice.reciprocal, np.eye(3),
        0.0, 0.0, 1, (0.0, 0.0), k, b, one, one, np.ones(2), one, None,
    )  # fmt: skip


def misorientation(options: Options) -> float:
    """Standard deviation of each component of a still's orientation error, radian."""
    return options.partiality_error * Geometry(1.0, 1.0, 0.0).still_mosaic


def predict(options: Options, geometry: Geometry, plan: Plan, points: Int32) -> Rows:
    """All rows of one data set in the order of the scan, reflections cut in two where integration did so."""
    found, phis = [], []
    a = plan.fixed @ plan.reciprocal
    start, end = np.radians(plan.start), np.radians(plan.start + plan.n_images * plan.width)
    for begin in range(0, len(points), CHUNK):
        q = points[begin : begin + CHUNK] @ a.T
        if plan.still:
            recorded = np.flatnonzero(on_still(geometry, q))
            hit = Crossings(recorded.astype(np.int32), np.zeros(len(recorded)))
        else:
            hit = crossings(geometry, q, float(start), float(end))
        found.append(hit.point + np.int32(begin))
        phis.append(hit.phi)
    point, phi = np.concatenate(found), np.concatenate(phis)
    order = np.argsort(phi, kind="stable")
    point, phi = point[order], phi[order]
    n = len(point)
    if plan.still:
        zero = np.zeros(n, np.int32)
        return Rows(point, phi, zero, zero + 1, np.arange(n), np.full(n, -1))
    centre, sigma = in_images(geometry, plan, phi, geometry.s0 + turn(points[point] @ a.T, phi))
    first = np.clip(np.floor(centre - N_SIGMA * sigma), 0, plan.n_images - 1).astype(np.int32)
    last = np.clip(np.ceil(centre + N_SIGMA * sigma), 1, plan.n_images).astype(np.int32)
    return _split(options, plan, Rows(point, phi, first, last, np.arange(n), np.full(n, -1)), centre)


def in_images(geometry: Geometry, plan: Plan, phi: Float, s1: Float) -> tuple[Float, Float]:
    """Centre and standard deviation of the rocking curve in images from the start of the scan, (n,)."""
    centre = (np.degrees(phi) - plan.start) / plan.width
    cosine = np.maximum(np.abs(zeta(geometry, s1)), MIN_ZETA)
    return centre, np.degrees(geometry.sigma_m) / cosine / plan.width


def _split(options: Options, plan: Plan, rows: Rows, centre: Float) -> Rows:
    """Cut a random share of the reflections in two at the image boundary next to the centre."""
    rng = stream(options.seed, Stream.ROWS, plan.number)
    cut = np.rint(centre).astype(np.int32)
    can = (cut - rows.first >= 2) & (rows.last - cut >= 2)
    pieces = 1 + (can & (rng.random(len(rows)) < options.split))
    source = np.repeat(np.arange(len(rows)), pieces)
    begin = np.cumsum(pieces) - pieces
    second = np.flatnonzero(np.arange(len(source)) > begin[source])
    first, last, partner = rows.first[source], rows.last[source], rows.partner[source]
    last[second - 1], first[second] = cut[source[second]], cut[source[second]]
    partner[second], partner[second - 1] = second - 1, second
    return Rows(rows.point[source], rows.phi[source], first, last, rows.partial_id[source], partner)
