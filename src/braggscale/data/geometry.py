"""Angles and directions of a diffraction experiment.

The laboratory frame is fixed; the crystal frame turns with the crystal. At scan angle phi a vector v that is fixed to
the crystal has the direction R(phi) v in the laboratory, with

    R(phi) = S . Rot(e, phi) . F

where e is the goniometer's datum axis, F the rotation between crystal and axis, and S that between axis and laboratory.
The reciprocal lattice vector of hkl is q = R(phi) A h; A, the orientation matrix, is the inverse of the matrix
whose rows are a, b, c.

The absorption surface is a function in the crystal frame. There the direction to the source is R^T d, where d is
this direction in the laboratory, and that of the diffracted beam is R^T s1/|s1|. For the harmonics the axes are
exchanged so that the laboratory x axis, the rotation axis of most instruments, becomes the pole: (x, y, z) -> (-z,
y, x). This is the same for every sweep, so that sweeps can share a surface. (DIALS behaviour.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.data.experiment import Crystal, Experiment, Goniometer, Scan, Still, Sweep
from braggscale.numerics.array_types import Array, Float
from braggscale.numerics.partitions import run_in_threads

UnitCell = tuple[float, float, float, float, float, float]

# Rows that are treated together, so that temporary arrays fit into the cache.
_BLOCK = 1 << 15

# Rows are the new axes: (x, y, z) -> (-z, y, x).
_POLE_ALONG_X = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def unit(vector: Float) -> Float:
    """The vector divided by its length, (3,)."""
    result: Float = vector / np.linalg.norm(vector)
    return result


def rotation(axis: Float, degrees: float) -> Float:
    """Right-handed rotation matrix about a unit axis, (3, 3).  Rodrigues' formula.

    ``axis``: (3,).
    """
    angle = np.deg2rad(degrees)
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    outer = np.outer(axis, axis)
    result: Float = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * outer
    return result


def several_axes(axes: Float, degrees: Sequence[float], scan_axis: int) -> Goniometer:
    """A goniometer of several axes as one that turns about ``scan_axis``.

    Axes are listed from the crystal outwards. The rotations about the axes before the scan axis make the fixed
    rotation, those about the axes after it the setting rotation; later ones multiply from the left. The angle of
    the scan axis itself is not used.
    ``axes``: (n, 3).  ``degrees``: setting of each.
    """
    units = [unit(axis) for axis in axes]
    fixed, setting = np.eye(3), np.eye(3)
    for k, (axis, angle) in enumerate(zip(units, degrees, strict=True)):
        if k < scan_axis:
            fixed = rotation(axis, angle) @ fixed
        elif k > scan_axis:
            setting = rotation(axis, angle) @ setting
    return Goniometer(units[scan_axis], fixed, setting)


def scan_angle(scan: Scan, z: Array) -> Float:
    """Scan angle, degrees, (n,): phi = phi_0 + (z - (i_0 - 1)) width.

    ``z``: image number as array index (0 is the start of image 1), (n,).
    """
    start, width = scan.oscillation
    result: Float = start + (np.asarray(z, np.float64) - (scan.image_range[0] - 1)) * width
    return result


def crystal_frame_directions(experiment: Experiment, z: Array, s1: Array) -> tuple[Float, Float]:
    """Unit vectors to the source and along the diffracted beam in the crystal frame, polar axis last.

    s0c = P R(phi)^T d and s1c = P R(phi)^T s1/|s1| with P: (x, y, z) -> (-z, y, x), phi from ``z``.
    Both are zero for stills, and in rows where s1 is zero or s1 or z is not finite.
    ``z``: observed image number as array index, (n,).  ``s1``: diffracted beam vectors, laboratory, (n, 3).
    Returns s0c and s1c, (n, 3).  Source: DIALS behaviour.
    """
    n = len(z)
    s0c, s1c = np.zeros((n, 3)), np.zeros((n, 3))
    kind = experiment.kind
    if isinstance(kind, Still):
        return s0c, s1c
    goniometer, scan = kind.goniometer, kind.scan
    axis = unit(goniometer.axis)
    # An orthonormal frame whose third axis is the rotation axis, so that Rot(-phi) changes the first two
    # coordinates only.
    first = unit(np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))]))
    frame = np.stack([first, np.cross(axis, first), axis], axis=1)
    inward = goniometer.setting @ frame
    outward = frame.T @ goniometer.fixed @ _POLE_ALONG_X.T
    x, y, along = unit(experiment.beam.direction) @ inward

    def block(k: int) -> None:
        """Directions of one block of rows, written into the results."""
        rows = slice(k * _BLOCK, (k + 1) * _BLOCK)
        beam = np.asarray(s1[rows], np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            length = np.sqrt(np.einsum("ij,ij->i", beam, beam))
        phi = np.deg2rad(scan_angle(scan, z[rows]))
        good = np.isfinite(length) & (length > 0) & np.isfinite(phi)
        all_good = bool(good.all())
        if not all_good:
            phi = np.where(good, phi, 0.0)
            beam = np.where(good[:, None], beam, 0.0)
            length = np.where(good, length, 1.0)
        cos, sin = np.cos(phi), np.sin(phi)
        turned = np.empty((len(phi), 3))
        turned[:, 0] = x * cos + y * sin
        turned[:, 1] = y * cos - x * sin
        turned[:, 2] = along
        s0c[rows] = turned @ outward if all_good else (turned @ outward) * good[:, None]
        local = beam @ inward
        local /= length[:, None]
        turned[:, 0] = local[:, 0] * cos + local[:, 1] * sin
        turned[:, 1] = local[:, 1] * cos - local[:, 0] * sin
        turned[:, 2] = local[:, 2]
        s1c[rows] = turned @ outward

    run_in_threads(block, -(-n // _BLOCK))
    return s0c, s1c


def crystal_frame_axis(goniometer: Goniometer) -> Float:
    """The rotation axis in the frame of :func:`crystal_frame_directions`, unit vector, (3,)."""
    result: Float = _POLE_ALONG_X @ goniometer.fixed.T @ unit(goniometer.axis)
    return result


def rocking_width(sweep: Sweep, s0: Float, s1: Array, n_images: Array) -> float:
    """Standard deviation of the rocking curve, degrees, from the boxes of integration; 0 if they are one image wide.

    A box extends by three standard deviations sigma_m/|zeta| to either side of the centre and is rounded outwards
    to whole images, which adds one image on average (DIALS; Kabsch, Acta Cryst. D66 (2010) 133). The median over
    the rows.
    ``s0``: (3,), ``s1``: (n, 3), incident and diffracted beam.  ``n_images``: images in the box, (n,).
    """
    if len(s1) == 0:
        return 0.0
    axis = sweep.goniometer.setting @ unit(sweep.goniometer.axis)
    cross = np.cross(np.asarray(s1, np.float64), s0)
    with np.errstate(invalid="ignore", divide="ignore"):
        zeta = np.abs(cross @ axis) / np.linalg.norm(cross, axis=1)
    images = np.maximum(np.asarray(n_images, np.float64) - 1.0, 0.0)
    known = np.isfinite(zeta)
    if not known.any():
        return 0.0
    return float(np.median((images * zeta)[known])) * abs(sweep.scan.oscillation[1]) / 6.0


def unit_cell(real_space: Float) -> UnitCell:
    """a, b, c, alpha, beta, gamma (Angstrom, degrees) from the axes, the rows of ``real_space``, (3, 3), Angstrom."""
    lengths = np.linalg.norm(real_space, axis=1)
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = [real_space[i] @ real_space[j] / (lengths[i] * lengths[j]) for i, j in pairs]
    alpha, beta, gamma = np.rad2deg(np.arccos(np.clip(cosines, -1.0, 1.0)))
    a, b, c = lengths
    return float(a), float(b), float(c), float(alpha), float(beta), float(gamma)


def relative_volume(cell: UnitCell) -> float:
    """Volume over the product of the edges, 0 for angles that span no cell."""
    ca, cb, cg = (_cosine(angle) for angle in cell[3:])
    return float(np.sqrt(max(1 - ca * ca - cb * cb - cg * cg + 2 * ca * cb * cg, 0.0)))


def orthogonalisation(cell: UnitCell) -> Float:
    """O, whose columns are the axes of the cell with a along x and b in the xy plane, (3, 3), Angstrom.

    The convention of the Protein Data Bank.
    """
    a, b, c = cell[:3]
    ca, cb, cg = (_cosine(angle) for angle in cell[3:])
    sg = np.sqrt(1 - cg * cg)
    height = np.sqrt(max(1 - ca * ca - cb * cb - cg * cg + 2 * ca * cb * cg, 0.0)) / sg
    return np.array([[a, b * cg, c * cb], [0.0, b * sg, c * (ca - cb * cg) / sg], [0.0, 0.0, c * height]])


def orientation_matrix(crystal: Crystal) -> Float:
    """A = U B, from hkl to the reciprocal lattice vector at zero rotation, (3, 3), 1/Angstrom."""
    return np.asarray(np.linalg.inv(crystal.real_space), np.float64)


def reciprocal_matrix(cell: UnitCell) -> Float:
    """B, from hkl to reciprocal space in the crystal's own Cartesian axes, (3, 3): inverse transpose of O."""
    return np.asarray(np.linalg.inv(orthogonalisation(cell)).T, np.float64)


def inverse_d_squared(hkl: Array, cell: UnitCell) -> Float:
    """1/d^2 = |B h|^2, 1/Angstrom^2, (n,).  ``hkl``: Miller indices, (n, 3).  ``cell``: Angstrom and degrees."""
    q = np.asarray(hkl, np.float64) @ reciprocal_matrix(cell).T
    squared: Float = np.einsum("ij,ij->i", q, q)
    return squared


def d_spacings(cell: UnitCell, hkl: Array) -> Float:
    """Resolution of reflections, Angstrom, (n,): d = 1/|B h|; 0 for (0, 0, 0), as tables hold it.

    ``hkl``: Miller indices, (n, 3).  ``cell``: Angstrom and degrees.
    """
    length = np.sqrt(inverse_d_squared(hkl, cell))
    result: Float = np.divide(1.0, length, out=np.zeros(len(length)), where=length > 0)
    return result


def indexing_residual(experiment: Experiment, z: Array, s1: Array, hkl: Array) -> float:
    """Deviation of reflections from the lattice of the experiment: median of |q - A h| / |A h|.

    q = s1 - s0, rotated back into the crystal frame for scans. The value is a few per cent if the reflections belong to
    the experiment (the crystal moves during the scan), and of order 1 if they do not; nan without usable rows.
    ``z``: image number as array index, (n,).  ``s1``: (n, 3).  ``hkl``: (n, 3).
    """
    expected = np.asarray(hkl, np.float64) @ orientation_matrix(experiment.crystal).T
    beam = np.asarray(s1, np.float64)
    if experiment.is_still:
        scattering = beam - experiment.beam.s0
        usable = (beam != 0).any(axis=1)
    else:
        s0c, s1c = crystal_frame_directions(experiment, z, beam)
        scattering = ((s0c + s1c) / experiment.beam.wavelength) @ _POLE_ALONG_X
        usable = (s1c != 0).any(axis=1)
    length = np.sqrt(np.einsum("ij,ij->i", expected, expected))
    usable &= np.isfinite(scattering).all(axis=1) & (length > 0)
    if not usable.any():
        return float("nan")
    difference = np.linalg.norm(scattering[usable] - expected[usable], axis=1)
    return float(np.median(difference / length[usable]))


def median_unit_cell(cells: Sequence[UnitCell]) -> UnitCell:
    """The median of each cell parameter over the data sets (DIALS behaviour)."""
    a, b, c, alpha, beta, gamma = (float(value) for value in np.median(np.array(cells), axis=0))
    return a, b, c, alpha, beta, gamma


def largest_scattering_angle(s0: Float, s1: Array) -> float:
    """Largest angle between the incident and a diffracted beam, 2 theta, degrees; 0 without usable rows.

    ``s0``: (3,).  ``s1``: (n, 3); rows that are zero or not finite do not count.
    """
    direction = unit(s0)
    smallest = 1.0
    for start in range(0, len(s1), _BLOCK):
        beam = np.asarray(s1[start : start + _BLOCK], np.float64)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            cosine = (beam @ direction) / np.sqrt(np.einsum("ij,ij->i", beam, beam))
        cosine = cosine[np.isfinite(cosine)]
        if len(cosine):
            smallest = min(smallest, float(cosine.min()))
    return float(np.rad2deg(np.arccos(max(smallest, -1.0))))


def _cosine(degrees: float) -> float:
    """Cosine, exactly 0 for a right angle, so that axes are orthogonal to the last bit."""
    return 0.0 if degrees == 90 else float(np.cos(np.deg2rad(degrees)))
