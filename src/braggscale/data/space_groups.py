"""Converts names of space groups and index operators to Hall symbols and matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.errors import InputError
from braggscale.numerics.array_types import Float


def hall_symbol(name: str) -> str | None:
    """The Hall symbol of a space group given by name (Hermann-Mauguin, any spacing) or number; None if unknown."""
    import gemmi

    text = name.strip()
    try:
        if text.isdecimal():
            group = gemmi.find_spacegroup_by_number(int(text)) if 1 <= int(text) <= 230 else None
        else:
            group = gemmi.find_spacegroup_by_name(text) if text else None
    except (RuntimeError, ValueError):
        return None
    return None if group is None else str(group.hall)


def hall_symbol_of(triplets: Sequence[str]) -> str | None:
    """The Hall symbol of the space group with these operators, x,y,z each; None for one that no table lists.

    The list may be incomplete if products of its operators generate the group.
    """
    import gemmi

    try:
        operators = [gemmi.Op(text) for text in triplets]
        group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operators)) if operators else None
        if group is None and operators:
            made = gemmi.GroupOps(operators)
            made.add_missing_elements()
            group = gemmi.find_spacegroup_by_ops(made)
    except (RuntimeError, ValueError):
        return None
    return None if group is None else str(group.hall)


def rotation_of(triplet: str) -> Float:
    """R of the operator x,y,z -> R (x, y, z) + t, (3, 3).  Raises InputError for an invalid text."""
    import gemmi

    try:
        matrix = np.array(gemmi.Op(triplet).rot, np.float64) / gemmi.Op.DEN
    except (RuntimeError, ValueError):
        raise InputError(f"{triplet[:40]!r} is not a symmetry operation") from None
    if abs(abs(float(np.linalg.det(matrix))) - 1.0) > 1e-6:
        raise InputError(f"{triplet[:40]!r} is not a symmetry operation")
    return matrix


def same_group_in_another_basis(hall: str, turn: Float) -> str | None:
    """The Hall symbol of a group after indices have been changed, h' = M h; None for a setting that no table lists.

    ``turn``: M, (3, 3).  Rotations act on indices as columns through R^-T, so they become M R^-T M^-1 there.
    """
    import gemmi

    change = gemmi.Op()
    # x' = M^-T x, so that h'.x' = h.x
    matrix = np.rint(np.linalg.inv(turn).T * gemmi.Op.DEN).astype(int)
    change.rot = matrix.tolist()
    try:
        group = gemmi.symops_from_hall(hall)
        group.change_basis_forward(change)
        listed = gemmi.find_spacegroup_by_ops(group)
    except (RuntimeError, ValueError):
        return None
    return None if listed is None else str(listed.hall)
