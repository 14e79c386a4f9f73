"""Unit cell, unique reflections and their true intensities.

Wilson statistics: an acentric intensity is epsilon S times a unit exponential, a centric one epsilon S times the
square of a unit normal, with S = mean exp(-B / (2 d^2)) (Wilson, Acta Cryst. 2 (1949) 318). Friedel mates of an
acentric reflection differ by a fixed amount: F+ - F- is normal with standard deviation proportional to the mean F
at that resolution, so that mean|F+ - F-| is the asked share of mean F.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int, Int32

CHUNK = 1 << 20
_RANGE = 1024  # Miller indices lie between -1024 and 1023


@dataclass(frozen=True, slots=True)
class Lattice:
    """``cell``: a b c alpha beta gamma, Angstrom and degrees.  ``orth``: columns a, b, c, (3, 3), Angstrom.

    ``rotations``: point group operators acting on row indices, h' = h R, (n, 3, 3).
    """

    space_group: str
    cell: tuple[float, float, float, float, float, float]
    orth: Float
    rotations: Int

    @property
    def reciprocal(self) -> Float:
        """B = transpose of the inverse of ``orth``: q = B h, (3, 3), 1/Angstrom."""
        out: Float = np.linalg.inv(self.orth).T.astype(np.float64)
        return out

    @property
    def hall(self) -> str:
        """Hall symbol, with the leading blank that cctbx writes for groups without a centre."""
        symbol = gemmi.SpaceGroup(self.space_group).hall
        return symbol if symbol.startswith("-") else f" {symbol.strip()}"

    def d(self, hkl: Int32) -> Float:
        """Resolution 1/|B h|, (n,), Angstrom."""
        out: Float = 1.0 / np.linalg.norm(hkl @ self.reciprocal.T, axis=1)
        return out


def lattice_of_volume(space_group: str, volume: float, proportions: str = "") -> Lattice:
    """A cell whose primitive part has this volume, Angstrom^3.

    ``proportions``: a,b,c,alpha,beta,gamma; empty for usual ones.
    """
    group = gemmi.SpaceGroup(space_group)
    volume = volume * len(group.operations().cen_ops)
    ratio: dict[str, tuple[float, float, float, float, float, float]] = {
        "triclinic": (1.0, 1.21, 1.45, 81.0, 95.0, 104.0),
        "monoclinic": (1.0, 1.21, 1.45, 90.0, 101.0, 90.0),
        "orthorhombic": (1.0, 1.23, 1.54, 90.0, 90.0, 90.0),
        "tetragonal": (1.0, 1.0, 1.9, 90.0, 90.0, 90.0),
        "trigonal": (1.0, 1.0, 1.7, 90.0, 90.0, 120.0),
        "hexagonal": (1.0, 1.0, 1.7, 90.0, 90.0, 120.0),
        "cubic": (1.0, 1.0, 1.0, 90.0, 90.0, 90.0),
    }
    shape = ratio[group.crystal_system_str()]
    if proportions:
        shape = shape_of(proportions)
    size = float(np.cbrt(volume / gemmi.UnitCell(*shape).volume))
    a, b, c = (round(size * x, 4) for x in shape[:3])
    cell = (a, b, c, *shape[3:])
    orth = np.array(gemmi.UnitCell(*cell).orth.mat.tolist())
    rotations = [np.array(op.rot) // gemmi.Op.DEN for op in group.operations().sym_ops]
    return Lattice(space_group, cell, orth, np.array(rotations, np.int64))


def shape_of(text: str) -> tuple[float, float, float, float, float, float]:
    """Proportions of a cell from a text, a,b,c,alpha,beta,gamma.  Raises ValueError where it is none."""
    numbers = [float(word) for word in text.split(",")]
    if len(numbers) != 6 or gemmi.UnitCell(*numbers).volume <= 0:
        raise ValueError(f"cell shape {text}: six numbers are needed, a,b,c,alpha,beta,gamma")
    a, b, c, alpha, beta, gamma = numbers
    return a, b, c, alpha, beta, gamma


def pack(hkl: Int | Int32) -> Int:
    """One sortable number per Miller index, (n,)."""
    h, k, l = (hkl[:, i].astype(np.int64) + _RANGE for i in range(3))
    return (h * (2 * _RANGE) + k) * (2 * _RANGE) + l


def laue_keys(lattice: Lattice, hkl: Int32) -> tuple[Int, Bool, Bool]:
    """The unique reflection of each index, Friedel mates together.

    Returns its key, (n,), whether the index is of the plus hand, (n,), and whether it is centric, (n,).
    """
    key, plus = np.empty(len(hkl), np.int64), np.empty(len(hkl), np.bool_)
    centric = np.empty(len(hkl), np.bool_)
    for start in range(0, len(hkl), CHUNK):
        part = slice(start, start + CHUNK)
        same, mate = np.full(len(hkl[part]), -1), np.full(len(hkl[part]), -1)
        for rotation in lattice.rotations:
            image = hkl[part].astype(np.int64) @ rotation
            np.maximum(same, pack(image), out=same)
            np.maximum(mate, pack(-image), out=mate)
        key[part], plus[part], centric[part] = np.maximum(same, mate), same >= mate, same == mate
    return key, plus, centric


def sphere(lattice: Lattice, d_min: float) -> Int32:
    """All indices with d >= d_min that the space group does not extinguish, without 000, (n, 3)."""
    limits = [int(np.linalg.norm(lattice.orth[:, i]) / d_min) for i in range(3)]
    if max(limits) >= _RANGE:
        raise ValueError(f"Miller indices up to {max(limits)} are too large; ask for fewer reflections")
    h, k, l = (np.arange(-n, n + 1, dtype=np.int32) for n in limits)
    kl = np.stack(np.meshgrid(k, l, indexing="ij"), axis=-1).reshape(-1, 2)
    operations = gemmi.SpaceGroup(lattice.space_group).operations()
    b = lattice.reciprocal
    found = []
    for value in h:
        plane = np.column_stack((np.full(len(kl), value, np.int32), kl))
        length = np.linalg.norm(plane @ b.T, axis=1)
        plane = plane[(length <= 1.0 / d_min) & (length > 0)]
        if len(plane):
            found.append(plane[~np.asarray(operations.systematic_absences(plane))])
    return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class Truth:
    """True intensities of the unique reflections, ordered by ``key``; all arrays (n,).

    ``key``: as from laue_keys.  ``hkl``: the index with that key, (n, 3).  ``d``: Angstrom.
    ``plus``, ``minus``: intensities of the two Friedel hands, counts of a full reflection at g = 1.
    """

    key: Int
    hkl: Int32
    d: Float
    centric: Bool
    plus: Float
    minus: Float

    def index(self, key: Int, plus: Bool) -> Int:
        """2 k for I+ and 2 k + 1 for I- of unique reflection k, (n,)."""
        return 2 * np.searchsorted(self.key, key) + ~plus

    @property
    def intensity(self) -> Float:
        """Intensities in the order of ``index``, (2 n,)."""
        return np.column_stack((self.plus, self.minus)).reshape(-1)


def wilson(
    lattice: Lattice,
    indices: Int32,
    rng: np.random.Generator,
    mean: float = 2000.0,
    b_factor: float = 20.0,
    anomalous: float = 0.03,
) -> Truth:
    """True intensities of all unique reflections in ``indices``.

    ``mean``: mean intensity at zero angle, counts.  ``b_factor``: overall B, Angstrom^2.
    ``anomalous``: mean|F+ - F-| / mean F of acentric reflections.
    """
    representative = np.zeros(len(indices), np.bool_)
    centric_all = np.zeros(len(indices), np.bool_)
    for start in range(0, len(indices), CHUNK):
        part = slice(start, start + CHUNK)
        key, _, centric_all[part] = laue_keys(lattice, indices[part])
        representative[part] = pack(indices[part]) == key
    hkl, centric = indices[representative], centric_all[representative]
    order = np.argsort(pack(hkl))
    hkl, centric = hkl[order], centric[order]
    d = lattice.d(hkl)
    operations = gemmi.SpaceGroup(lattice.space_group).operations()
    epsilon = np.asarray(operations.epsilon_factor_without_centering_array(hkl), np.float64)
    level = epsilon * mean * np.exp(-b_factor / (2 * d * d))
    chance = np.where(centric, rng.standard_normal(len(hkl)) ** 2, rng.standard_exponential(len(hkl)))
    amplitude = np.sqrt(level * chance)
    # mean F of an acentric reflection is sqrt(pi S)/2; a normal difference has mean |x| = 0.7979 sd
    spread = anomalous * np.sqrt(np.pi * level) / 2 / 0.7979 / 2
    half = np.where(centric, 0.0, spread * rng.standard_normal(len(hkl)))
    return Truth(pack(hkl), hkl, d, centric, (amplitude + half) ** 2, (amplitude - half) ** 2)
