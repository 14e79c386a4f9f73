"""Scaled observations with exact geometry, for the tests of the exports."""

from __future__ import annotations

import numpy as np

from braggscale.data.experiment import Beam, Crystal, Experiment, Goniometer, Panel, Scan
from braggscale.data.geometry import orientation_matrix, orthogonalisation, rotation, unit
from braggscale.data.symmetry import Symmetry
from braggscale.io.export.scaled_observations import Crystals, Unmerged

CELL = (31.0, 43.0, 57.0, 90.0, 90.0, 90.0)


def random_rotation(rng):
    return rotation(unit(rng.normal(size=3)), float(rng.uniform(0, 180)))


def experiment(rng, name="a", hall=" P 2 2", cell=CELL, wavelength=0.9, images=(1, 60), start=10.0, offset=0):
    """A sweep of half-degree images with an oblique axis, mounted and set at random angles."""
    axis = unit(np.array([1.0, 0.2, 0.1]) + rng.normal(size=3) * 0.05)
    real = orthogonalisation(cell).T @ random_rotation(rng).T
    crystal = Crystal(real, hall, cell)
    fast, slow = unit(np.array([1.0, 0.05, 0.02])), None
    slow = unit(np.cross(np.array([0.0, 0.0, -1.0]), fast))
    origin = -fast * 180.0 - slow * 190.0 + np.cross(fast, slow) * 150.0
    panel = Panel(fast, slow, origin, (0.2, 0.2), (1800, 1900))
    beam = Beam(unit(np.array([0.003, -0.002, 1.0])), wavelength)
    gonio = Goniometer(axis, random_rotation(rng), random_rotation(rng))
    return Experiment(name, beam, crystal, gonio, Scan(images, (start, 0.5), offset), (panel,))


def observations(rng, experiments, symmetry, d_min=2.6, keep=0.7):
    """Every reflection of each sweep where it diffracts, with intensities that depend on the unique index."""
    parts = []
    for number, e in enumerate(experiments):
        hkl, phi, s1 = predict(e, d_min)
        hkl, phi, s1 = (v[~symmetry.is_absent(hkl)] for v in (hkl, phi, s1))
        panel = e.panels[0]
        normal = np.cross(panel.fast, panel.slow)
        ray = s1 * ((panel.origin @ normal) / (s1 @ normal))[:, None] - panel.origin
        x, y = ray @ panel.fast / panel.pixel_size[0], ray @ panel.slow / panel.pixel_size[1]
        z = (phi - e.scan.oscillation[0]) / e.scan.oscillation[1] + e.scan.image_range[0] - 1
        hits = (s1 @ normal > 0) & (x > 0) & (x < 1800) & (y > 0) & (y < 1900) & (rng.random(len(x)) < keep)
        parts.append((np.full(hits.sum(), number), hkl[hits], np.column_stack((x, y, z))[hits]))
    number, hkl, xyz = (np.concatenate(column) for column in zip(*parts, strict=True))
    n = len(hkl)
    asu, minus = symmetry.asu(hkl)
    true = 300.0 * (1.0 + np.abs(np.sin(asu @ [0.7, 1.3, 2.9]))) ** 4 + 40.0 * minus
    sigma = 3.0 + 0.02 * true + rng.uniform(0, 3, n)
    return Unmerged(
        data_set=number,
        hkl=hkl.astype(np.int32),
        intensity=true + rng.normal(size=n) * sigma,
        sigma=sigma,
        observed_sigma=1.1 * sigma,
        scale=rng.uniform(0.8, 1.2, n),
        scale_sigma=np.full(n, 0.01),
        xyz=xyz,
        z=xyz[:, 2] + rng.normal(size=n) * 0.2,
        partiality=np.ones(n),
        lp=rng.uniform(0.2, 0.9, n),
        qe=np.ones(n),
        background=np.full(n, 12.0),
        background_sigma=np.full(n, 3.5),
        correlation=rng.uniform(0.5, 1.0, n),
        outlier=np.zeros(n, bool),
    )


def predict(e, d_min):
    """Index, scan angle and diffracted beam vector of every reflection crossing the sphere of reflection in a scan."""
    largest = [int(edge / d_min) for edge in e.crystal.unit_cell[:3]]
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in largest), indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[grid.any(axis=1)]
    g, s0 = e.goniometer, e.beam.s0
    axis = g.setting @ g.axis
    q = grid @ (g.setting @ g.fixed @ orientation_matrix(e.crystal)).T
    inside = (q * q).sum(axis=1) < d_min**-2
    grid, q = grid[inside], q[inside]
    along = (q @ axis)[:, None] * axis
    c, s = 2 * (q - along) @ s0, 2 * np.cross(axis, q) @ s0
    rest = 2 * along @ s0 + (q * q).sum(axis=1)
    ratio = -rest / np.hypot(c, s)
    found = []
    for sign in (1, -1):
        ok = np.abs(ratio) < 1
        phi = np.rad2deg(np.arctan2(s[ok], c[ok]) + sign * np.arccos(ratio[ok]))
        low = e.scan.oscillation[0]
        phi = (phi - low) % 360 + low
        angle = np.deg2rad(phi)[:, None]
        turned = along[ok] + np.cos(angle) * (q[ok] - along[ok]) + np.sin(angle) * np.cross(axis, q[ok])
        here = phi < low + e.scan.width
        found.append((grid[ok][here], phi[here], (s0 + turned)[here]))
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def crystals(seed=0, hall=" P 2 2", cell=CELL, wavelengths=(0.9, 0.9), **options):
    """Two or more sweeps of one crystal form."""
    rng = np.random.default_rng(seed)
    symmetry = Symmetry.from_hall(hall)
    experiments = tuple(
        experiment(rng, f"sweep{k}", hall, cell, w, start=10.0 - 30.0 * k) for k, w in enumerate(wavelengths)
    )
    rows = observations(rng, experiments, symmetry, **options)
    return Crystals(rows, experiments, symmetry, cell, (None,) * len(experiments))
