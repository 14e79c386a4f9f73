"""Other ways to index the same lattice: operators that are symmetries of the lattice but not of the space group.

Where the lattice is more symmetric than the crystal, in fact or within a tolerance, each crystal can be indexed in
several ways that look alike until intensities are compared (merohedral and pseudo-merohedral ambiguity). An operator
takes an index, a row h, to h M. The crystal is the same crystal if its real-space basis changes with it: rows a, b, c
of the basis become M^T times these rows, so that the reciprocal-lattice vector of every reflection stays.

Lattice symmetry is found by gemmi (Wojdyr, JOSS 7 (2022) 4200) with the obliquity criterion of Le Page, J. Appl. Cryst.
15 (1982) 255.
"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import product

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.errors import CommandError
from braggscale.numerics.array_types import Array, Float, Int32

# Tolerance for twofold axes of the lattice, degrees (obliquity); approximate symmetry also leads to mixed indexing.
TOLERANCE = 2.5
IDENTITY = "h,k,l"
AUTO = "auto"  # in place of an operator: the one with which the intensities agree best


def matrix_of(operator: str) -> Float:
    """M of an operator such as ``k,h,-l``, (3, 3): index h, a row, becomes h M.

    Fractions are written as 1/2*h; they take indices of a centred lattice to whole numbers.
    Raises CommandError for text that is no operator, that changes volumes, or that changes the hand of the axes.
    """
    import gemmi

    words = operator.replace(" ", "").lower()
    problem = f"reindex={operator[:60]}: expected an operator on indices; write it as k,h,-l or h+k,-k,-l"
    if not re.fullmatch(r"[hkl0-9+\-*/,]+", words):
        raise CommandError(problem)
    try:
        op = gemmi.Op(words)
    except (RuntimeError, ValueError):
        raise CommandError(problem) from None
    matrix = np.array(op.rot, np.float64) / gemmi.Op.DEN  # a row h times it is the new index, as gemmi writes it
    if any(op.tran) or abs(abs(float(np.linalg.det(matrix))) - 1.0) > 1e-6:
        raise CommandError(problem)
    if np.linalg.det(matrix) < 0:
        other = text_of(-matrix)
        raise CommandError(f"{problem}: this one changes the hand of the axes; {other} does not")
    return matrix


def inverse_of(operator: str) -> Float:
    """M^-1 of an operator, (3, 3), which takes its new indices to the old ones.

    Raises CommandError for text that is no operator.
    """
    result: Float = np.linalg.inv(matrix_of(operator)).astype(np.float64)
    return result


def text_of(matrix: Float) -> str:
    """The text of a reindexing operator, such as ``k,h,-l`` or ``1/2*h+1/2*k,...``.  ``matrix``: M, (3, 3)."""
    columns = []
    for column in matrix.T.tolist():
        text = ""
        for value, letter in zip(column, "hkl", strict=True):
            factor = Fraction(value).limit_denominator(12)
            if factor:
                size = "" if abs(factor) == 1 else f"{abs(factor)}{'*' if factor.denominator > 1 else ''}"
                text += ("-" if factor < 0 else "+" if text else "") + size + letter
        columns.append(text or "0")
    return ",".join(columns)


def reindexed(hkl: Array, matrix: Float) -> Int32:
    """h M of each row, (n, 3); 0 0 0 where that is no whole number.  ``hkl``: (n, 3) whole, ``matrix``: M, (3, 3)."""
    moved = np.asarray(hkl, np.float64) @ matrix
    whole = np.rint(moved)
    if not np.array_equal(matrix, np.rint(matrix)):
        whole[np.abs(moved - whole).max(axis=1) > 1e-6] = 0.0
    result: Int32 = whole.astype(np.int32)
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
    operators = [IDENTITY]
    for op in gemmi.find_twin_laws(gemmi.UnitCell(*cell), group, tolerance, False):
        operators.append(text_of(np.array(op.rot, np.float64) / gemmi.Op.DEN))
    return tuple(operators)


def lattice_rotations(cell: UnitCell, symmetry: Symmetry, tolerance: float = TOLERANCE) -> tuple[Float, ...]:
    """Rotations of the lattice on indices, the identity left out, (3, 3) each.

    ``symmetry``: of the data, used for its centring.  ``tolerance``: degrees of obliquity.
    """
    import gemmi

    group = gemmi.symops_from_hall(symmetry.hall)
    lattice = gemmi.find_lattice_symmetry(gemmi.UnitCell(*cell), group.find_centering(), tolerance)
    matrices = [np.array(op.rot, np.float64) / gemmi.Op.DEN for op in lattice.sym_ops]
    return tuple(m for m in matrices if not np.array_equal(m, np.eye(3)))


def same_rotations(symmetry: Symmetry) -> tuple[Symmetry, ...]:
    """Space groups with the rotations and the centring of this one, in its setting: they differ in absences.

    A group about several origins is listed once: as ``symmetry`` if it is the same group, else with a centre of
    symmetry at the origin if there is one, as SHELX demands.
    """
    import gemmi

    ours = {tuple(np.rint(m).astype(int).ravel()) for m in symmetry.rotations}
    centring = gemmi.symops_from_hall(symmetry.hall).find_centering()
    few = list(product(range(5), repeat=3))
    groups: dict[tuple[int, tuple[bool, ...]], str] = {}
    for group in gemmi.spacegroup_table():
        ops = group.operations()
        if len(ops.sym_ops) != len(ours) or ops.find_centering() != centring:
            continue
        theirs = {tuple((np.array(op.rot) // gemmi.Op.DEN).ravel()) for op in ops.sym_ops}
        if theirs == ours:
            absent = tuple(ops.is_systematically_absent(hkl) for hkl in few)
            known = groups.get((group.number, absent), "")
            if known != symmetry.hall and (not known or group.hall == symmetry.hall or group.hall.startswith("-")):
                groups[group.number, absent] = group.hall
    return tuple(Symmetry.from_hall(hall) for hall in groups.values())
