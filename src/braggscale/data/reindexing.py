"""Other ways to index the same lattice: operators that are symmetries of the lattice but not of the space group.

If the lattice has higher symmetry than the crystal, exactly or within a tolerance, each crystal can be indexed in
several ways that differ only in the intensities (merohedral and pseudo-merohedral ambiguity). An operator transforms an
index, a row h, to h M. The real-space basis changes with it: the rows a, b, c become M^-1 times these rows, so that the
reciprocal-lattice vector of every reflection stays the same.

Lattice symmetry is found by gemmi (Wojdyr, JOSS 7 (2022) 4200) with the obliquity criterion of Le Page, J. Appl. Cryst.
15 (1982) 255.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.errors import CommandError
from braggscale.numerics.array_types import Array, Float, Int32

# Tolerance for twofold axes of the lattice, degrees (obliquity); approximate symmetry also leads to mixed indexing.
TOLERANCE = 2.5
IDENTITY = "h,k,l"


def matrix_of(operator: str) -> Float:
    """M of an operator such as ``k,h,-l``, (3, 3): index h becomes h M.

    Raises CommandError if the text is not such an operator, or if it does not keep indices whole numbers.
    """
    import gemmi

    message = f"reindex={operator[:40]}: this is no operator on indices; write it as k,h,-l or h+k,-k,-l"
    try:
        op = gemmi.Op(operator)
    except (RuntimeError, ValueError):
        raise CommandError(message) from None
    rows = np.array(op.rot, np.float64) / gemmi.Op.DEN
    if any(op.tran) or not np.array_equal(rows, np.rint(rows)) or abs(abs(float(np.linalg.det(rows))) - 1.0) > 1e-6:
        raise CommandError(message)
    if not any(letter in operator.lower() for letter in "hkl"):
        raise CommandError(message)
    return rows  # gemmi's convention for operators on indices: the row h times the matrix is the new index


def text_of(matrix: Float) -> str:
    """The text of a reindexing operator, such as ``k,h,-l``.  ``matrix``: M, (3, 3)."""
    columns = []
    for column in np.rint(matrix).astype(int).T.tolist():
        text = ""
        for factor, letter in zip(column, "hkl", strict=True):
            if factor:
                size = "" if abs(factor) == 1 else str(abs(factor))
                text += ("-" if factor < 0 else "+" if text else "") + size + letter
        columns.append(text or "0")
    return ",".join(columns)


def reindexed(hkl: Array, matrix: Float) -> Int32:
    """h M of each row, (n, 3).  ``hkl``: (n, 3) whole numbers, ``matrix``: M, (3, 3)."""
    result: Int32 = np.rint(np.asarray(hkl, np.float64) @ matrix).astype(np.int32)
    return result


def alternatives(cell: UnitCell, symmetry: Symmetry, tolerance: float = TOLERANCE) -> tuple[str, ...]:
    """Operators to the other possible ways of indexing, the identity first; only the identity without an ambiguity.

    There is one operator for each set of operators that are equivalent by the space group.  ``cell``: Angstrom and
    degrees.
    ``tolerance``: degrees of obliquity.
    """
    import gemmi

    group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(symmetry.hall)) if symmetry.name else None
    if group is None:
        return (IDENTITY,)
    found = [IDENTITY]
    for op in gemmi.find_twin_laws(gemmi.UnitCell(*cell), group, tolerance, False):
        found.append(text_of(np.array(op.rot, np.float64) / gemmi.Op.DEN))
    return tuple(found)


def lattice_rotations(cell: UnitCell, symmetry: Symmetry, tolerance: float = TOLERANCE) -> tuple[Float, ...]:
    """Rotations of the lattice on indices, the identity left out, (3, 3) each.

    ``symmetry``: of the data, used for its centring.  ``tolerance``: degrees of obliquity.
    """
    import gemmi

    group = gemmi.symops_from_hall(symmetry.hall)
    found = gemmi.find_lattice_symmetry(gemmi.UnitCell(*cell), group.find_centering(), tolerance)
    matrices = [np.array(op.rot, np.float64) / gemmi.Op.DEN for op in found.sym_ops]
    return tuple(m for m in matrices if not np.array_equal(m, np.eye(3)))


def same_rotations(symmetry: Symmetry) -> tuple[Symmetry, ...]:
    """Space groups with the rotations and the centring of this one, in its setting: they differ in absences."""
    import gemmi

    ours = {tuple(np.rint(m).astype(int).ravel()) for m in symmetry.rotations}
    centring = gemmi.symops_from_hall(symmetry.hall).find_centering()
    found = []
    for group in gemmi.spacegroup_table():
        ops = group.operations()
        if len(ops.sym_ops) != len(ours) or ops.find_centering() != centring:
            continue
        theirs = {tuple((np.array(op.rot) // gemmi.Op.DEN).ravel()) for op in ops.sym_ops}
        if theirs == ours:
            found.append(Symmetry.from_hall(group.hall))
    return tuple(found)
