"""Reference intensities, of another measurement or of a structure model, in the symmetry and indexing of the data.

A reference is a list of indices with intensities. Its space group may differ from that of the data if both describe
the same lattice: its reflections are expanded by its own rotations and merged again by those of the data. If its
axes are only named in another order, and exactly one order fits, it is reindexed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from braggscale.data.geometry import UnitCell, d_spacings
from braggscale.data.index_order import unique_indices
from braggscale.data.reindexing import reindexed
from braggscale.data.symmetry import Symmetry
from braggscale.errors import InputError
from braggscale.numerics.array_types import Array, Bool, Float, Int32

# A reference belongs to the same crystal form if edges and angles differ by less than this.
LENGTHS, ANGLES = 0.05, 3.0


@dataclass(frozen=True, slots=True)
class Reference:
    """Intensities on a scale of their own.

    ``hkl``: indices, (n, 3).  ``intensity``, ``sigma``: (n,); sigma is 0 where nothing is known of the error.
    ``apart``: whether h and -h have different values.  ``cell``: None if the file does not contain it.
    ``hall``: space group, None if the file does not contain it.
    ``source``: name of the file, ``what``: the data taken from it, for the log.  ``calculated``: from a model.
    """

    hkl: Int32
    intensity: Float
    sigma: Float
    apart: bool
    cell: UnitCell | None
    hall: str | None
    source: str
    what: str
    calculated: bool

    def __len__(self) -> int:
        return len(self.hkl)


@dataclass(frozen=True, slots=True)
class Placed:
    """A reference in the asymmetric unit of the data, one row for each unique reflection (and hand, if ``apart``).

    ``asu``: (n, 3).  ``minus``: True for I-, (n,).  ``intensity``, ``sigma``: (n,).  ``d``: Angstrom, (n,).
    ``notes``: on the changes of its symmetry and axes.
    """

    asu: Array
    minus: Bool
    intensity: Float
    sigma: Float
    d: Float
    apart: bool
    notes: tuple[str, ...]


def place_reference(reference: Reference, symmetry: Symmetry, cell: UnitCell) -> Placed:
    """The reference in the symmetry of the data.

    ``symmetry``, ``cell``: of the data.  Raises InputError for a reference of another lattice.
    """
    notes: list[str] = []
    reference = _in_the_cell(reference, cell, notes)
    hkl, intensity, sigma = reference.hkl, reference.intensity, reference.sigma
    if reference.hall is not None:
        own = Symmetry.from_hall(reference.hall)
        if {r.tobytes() for r in own.rotations} - {r.tobytes() for r in symmetry.rotations}:
            # a reference of higher or other symmetry than the data: expand it to all reflections that its symmetry
            # makes equal
            turns = np.array(own.rotations)
            notes.append(f"its symmetry {own} is expanded and reduced again with {symmetry}")
            hkl = np.concatenate([np.rint(hkl @ turn).astype(np.int32) for turn in turns])
            intensity, sigma = np.tile(intensity, len(turns)), np.tile(sigma, len(turns))
    good = np.isfinite(intensity) & np.isfinite(sigma) & (sigma >= 0) & (hkl != 0).any(axis=1)
    good &= ~symmetry.is_absent(hkl)
    hkl, intensity, sigma = hkl[good], intensity[good], sigma[good]
    asu, minus = symmetry.asu(hkl)
    if not reference.apart:
        minus = np.zeros(len(minus), bool)
    unique, number = unique_indices(np.column_stack((asu, minus.astype(np.int32)))[:, :3] * 2 + minus[:, None])
    weight = np.where(sigma > 0, 1.0 / np.maximum(sigma, 1e-150) ** 2, 1.0)
    known = np.bincount(number, sigma > 0, len(unique)) > 0
    weight = np.where(known[number] & (sigma <= 0), 0.0, weight)
    total = np.bincount(number, weight, len(unique))
    mean = np.bincount(number, weight * intensity, len(unique)) / total
    first = np.zeros(len(unique), np.int64)
    first[number[::-1]] = np.arange(len(number))[::-1]
    error = np.where(known, 1.0 / np.sqrt(total), 0.0)
    return Placed(asu[first], minus[first], mean, error, d_spacings(cell, asu[first]), reference.apart, tuple(notes))


def turned(reference: Reference, matrix: Float) -> Reference:
    """The reference with indices h M, in the same space group.  ``matrix``: M, (3, 3)."""
    return replace(reference, hkl=reindexed(reference.hkl, matrix))


def _in_the_cell(reference: Reference, cell: UnitCell, notes: list[str]) -> Reference:
    """The reference with the axes of the data; raises InputError if no order of the axes fits."""
    if reference.cell is None or similar_cells(reference.cell, cell):
        return reference
    own = reference.cell
    fitting = [order for order in permutations(range(3)) if similar_cells(_reordered(own, order), cell)]
    shown = " ".join(f"{x:.2f}" for x in own)
    if len(fitting) != 1:
        raise InputError(
            f"{reference.source}: its cell {shown} is not that of the data, "
            f"{' '.join(f'{x:.2f}' for x in cell)}; give a reference of the same crystal form"
        )
    order = fitting[0]
    notes.append("its axes are reordered, " + ",".join("hkl"[k] for k in order))
    # another order of the axes is another setting of the group, of which only the Laue group is used
    return replace(reference, hkl=reference.hkl[:, order], cell=_reordered(own, order), hall=None)


def _reordered(cell: UnitCell, order: Sequence[int]) -> UnitCell:
    """The cell with its axes in another order.  ``order``: places of the new axes among the old."""
    a, b, c = (cell[k] for k in order)
    alpha, beta, gamma = (cell[3 + k] for k in order)
    return a, b, c, alpha, beta, gamma


def similar_cells(one: UnitCell, other: UnitCell) -> bool:
    """Whether two cells differ by less than LENGTHS in their edges and ANGLES degrees in their angles."""
    ratio = np.abs(np.array(one[:3]) / np.array(other[:3]) - 1.0).max()
    return bool(ratio < LENGTHS and np.abs(np.array(one[3:]) - np.array(other[3:])).max() < ANGLES)
