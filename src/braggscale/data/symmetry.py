"""Space-group symmetry of reflections: asymmetric unit, Friedel mates, epsilon, centric and absent reflections.

An operator (R, t) takes x to R x + t and the index h, a row, to h R. Reflections h and h R have equal intensity;
-h R is the Friedel mate. With R over the point group:

    epsilon(h)  number of R with h R = h
    centric     some R has h R = -h; then h is its own Friedel mate and is never called I-
    absent      some (R, t) has h R = h and h.t not a whole number

The asymmetric unit is that of the Laue group in the reference setting of the space group, as in CCP4 and cctbx;
indices of other settings are transformed by the change of basis. Operators and tables come from gemmi (Wojdyr, JOSS
7 (2022) 4200); the Hall symbols are those of Hall, Acta Cryst. A37 (1981) 517.

Few different indices occur many times in the data, so each function computes its result for the different ones and
distributes it to the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from braggscale.data.geometry import UnitCell, reciprocal_matrix
from braggscale.data.index_order import order_of_numbers, sort_order, unique_indices
from braggscale.data.lattice_points import MOST_COUNTED, expected_in_shells, points_looked_at
from braggscale.errors import InputError
from braggscale.numerics.array_types import Array, Bool, Float, Int, Int32

# Relative tolerance, so that a reflection exactly at a resolution limit is included.
_ON_THE_LIMIT = 1e-9
# Most reflections of a plane enumerated at once (80 MB of temporary arrays).
_PLANE = 1 << 21

_Test = Callable[[Float, Float, Float], Array]

# The asymmetric units of the Laue groups, by the sentence that gemmi prints for them (some groups share one, -3m has
# two). The second entry marks those of h, k, l that are never negative in the unit.
_UNITS: dict[str, tuple[_Test, tuple[bool, bool, bool]]] = {
    "l>0 or (l=0 and (h>0 or (h=0 and k>=0)))": (
        lambda h, k, l: (l > 0) | ((l == 0) & ((h > 0) | ((h == 0) & (k >= 0)))),
        (False, False, True),
    ),
    "k>=0 and (l>0 or (l=0 and h>=0))": (
        lambda h, k, l: (k >= 0) & ((l > 0) | ((l == 0) & (h >= 0))),
        (False, True, True),
    ),
    "h>=0 and k>=0 and l>=0": (lambda h, k, l: (h >= 0) & (k >= 0) & (l >= 0), (True, True, True)),
    "l>=0 and ((h>=0 and k>0) or (h=0 and k=0))": (
        lambda h, k, l: (l >= 0) & (((h >= 0) & (k > 0)) | ((h == 0) & (k == 0))),
        (True, True, True),
    ),
    "h>=k and k>=0 and l>=0": (lambda h, k, l: (h >= k) & (k >= 0) & (l >= 0), (True, True, True)),
    "(h>=0 and k>0) or (h=0 and k=0 and l>=0)": (
        lambda h, k, l: ((h >= 0) & (k > 0)) | ((h == 0) & (k == 0) & (l >= 0)),
        (True, True, False),
    ),
    "h>=k and k>=0 and (k>0 or l>=0)": (
        lambda h, k, l: (h >= k) & (k >= 0) & ((k > 0) | (l >= 0)),
        (True, True, False),
    ),
    "h>=k and k>=0 and (h>k or l>=0)": (
        lambda h, k, l: (h >= k) & (k >= 0) & ((h > k) | (l >= 0)),
        (True, True, False),
    ),
    "h>=0 and ((l>=h and k>h) or (l=h and k=h))": (
        lambda h, k, l: (h >= 0) & (((l >= h) & (k > h)) | ((l == h) & (k == h))),
        (True, True, True),
    ),
    "k>=l and l>=h and h>=0": (lambda h, k, l: (k >= l) & (l >= h) & (h >= 0), (True, True, True)),
}


@dataclass(frozen=True, slots=True)
class Symmetry:
    """A space group as arrays. Two are equal if they have the same operators.

    ``hall``: the symbol it was made from.  ``triplets``: all operators as x,y,z, centring included, sorted.
    ``name``: extended Hermann-Mauguin symbol, ``number``: in the International Tables; None for settings that no
    table lists (the number is known if the symbol is a listed one with a change of basis).
    ``rotations``: the different R, (n, 3, 3), whole numbers.  ``operators``, ``translations``: R and t of all
    operators, centring included, (m, 3, 3) and (m, 3), t in cell edges.
    ``unit``: key of the asymmetric unit, None where no reference setting is known.  ``to_reference``: an index
    times this matrix is in the reference setting, up to a positive factor, (3, 3).
    """

    triplets: tuple[str, ...]
    hall: str = field(compare=False)
    name: str | None = field(compare=False)
    number: int | None = field(compare=False)
    centrosymmetric: bool = field(compare=False)
    chiral: bool = field(compare=False)
    rotations: Float = field(compare=False, repr=False)
    operators: Float = field(compare=False, repr=False)
    translations: Float = field(compare=False, repr=False)
    unit: str | None = field(compare=False, repr=False)
    to_reference: Float = field(compare=False, repr=False)

    @classmethod
    def from_hall(cls, hall: str) -> Symmetry:
        """The space group of a Hall symbol, with or without a change of basis such as ``C 2y (x-y,x+y,z)``.

        Raises InputError for anything that is not a Hall symbol.
        """
        import gemmi

        try:
            group = gemmi.symops_from_hall(hall)
        except (RuntimeError, ValueError, TypeError) as error:  # TypeError: halves of characters
            raise InputError(f"space group: {hall[:60]!r} is not a Hall symbol ({str(error)[:60]}).") from None
        operators = list(group)
        turns = np.array([op.rot for op in operators], np.float64) / gemmi.Op.DEN
        shifts = np.array([op.tran for op in operators], np.float64) / gemmi.Op.DEN
        rotations = _unique_matrices(gemmi, group)
        if not np.array_equal(rotations, np.rint(rotations)):
            raise InputError(f"space group: the operators of {hall[:60]!r} do not keep a lattice.")
        tabulated = gemmi.find_spacegroup_by_ops(group)
        relative, basis = (tabulated, np.eye(3)) if tabulated else _listed_relative(gemmi, hall, rotations)
        to_reference, unit = np.eye(3), None
        if relative is not None:
            unit = gemmi.ReciprocalAsu(relative).condition_str()
            to_reference = basis @ (np.array(relative.basisop.rot, np.float64) / gemmi.Op.DEN)
        return cls(
            triplets=tuple(sorted(op.triplet() for op in operators)),
            hall=hall,
            name=tabulated.xhm() if tabulated else None,
            number=relative.number if relative else None,
            centrosymmetric=bool((rotations == -np.eye(3)).all(axis=(1, 2)).any()),
            chiral=bool((np.linalg.det(rotations) > 0).all()),
            rotations=rotations,
            operators=turns,
            translations=shifts,
            unit=unit,
            to_reference=to_reference,
        )

    def __str__(self) -> str:
        """The name; for a setting that no table lists, the group and its change of basis: I 2 3 (y+z,x+z,x+y)."""
        if self.name is not None:
            return self.name
        base, bracket, change = self.hall.strip().partition("(")
        import gemmi

        try:
            group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(base))
        except (RuntimeError, ValueError):
            group = None
        return f"{group.xhm()} {bracket}{change}" if group and bracket else self.hall.strip()

    def asu(self, hkl: Array) -> tuple[Int32, Bool]:
        """The reflection's representative in the asymmetric unit, and whether the observation is an I-.

        ``hkl``: (n, 3), whole numbers.  Returns (n, 3) int32 and (n,). An observation is an I- if only -h R, and no
        h R, is its representative; centric reflections are never I-.
        Raises InputError for indices beyond one million.
        """
        unique, inverse = unique_indices(hkl)
        inside, minus = self._move(unique)
        return inside[inverse], minus[inverse]

    def arrange(self, hkl: Array) -> Arranged:
        """All reflections by their index in the asymmetric unit.  ``hkl``: (n, 3).  Errors as ``asu``.

        Only the different indices are transformed and sorted; the rows are only counted.
        """
        unique, inverse = unique_indices(hkl)
        if len(unique) == 0:
            none = np.zeros(0, np.int64)
            return Arranged(none, unique, np.zeros(0, np.bool_), none, none)
        inside, minus = self._move(unique)
        order = sort_order(inside, minus)
        inside, minus = inside[order], minus[order]
        new = np.ones(len(order), np.bool_)
        new[1:] = (inside[1:] != inside[:-1]).any(axis=1) | (minus[1:] != minus[:-1])
        rank = np.empty(len(order), np.int32)
        rank[order] = np.cumsum(new) - 1
        key = rank[inverse]
        inside, minus = inside[new], minus[new]
        sizes = np.bincount(key, minlength=len(inside))
        return Arranged(order_of_numbers(key, len(inside)), inside, minus, sizes, self._epsilon(inside))

    def _move(self, unique: Int32) -> tuple[Int32, Bool]:
        if self.unit is None:
            return _largest_of_orbit(unique, self.rotations)
        return self._into_unit(unique)

    def _into_unit(self, unique: Int32) -> tuple[Int32, Bool]:
        result, minus = unique.copy(), np.zeros(len(unique), bool)
        todo = np.arange(len(unique))
        pending = _columns(unique)
        for sign in (1.0, -1.0):
            for rotation in self.rotations:
                moved = _times(pending, sign * rotation)
                inside = self._is_in(moved)
                placed, rest = np.flatnonzero(inside), np.flatnonzero(~inside)
                for k in range(3):
                    result[todo[placed], k] = moved[k][placed]
                minus[todo[placed]] = sign < 0
                todo, pending = todo[rest], [column[rest] for column in pending]
                if len(todo) == 0:
                    return result, minus
        raise InputError(f"space group {self}: reflection {tuple(unique[todo[0]])} has no place in the cell.")

    def _is_in(self, columns: Sequence[Float]) -> Bool:
        return np.asarray(_UNITS[str(self.unit)][0](*_times(columns, self.to_reference)), bool)

    def epsilon(self, hkl: Array) -> Int:
        """Number of point-group operations that leave h unchanged, (n,); centring does not count.

        Mean intensities are proportional to epsilon.  ``hkl``: (n, 3).
        """
        unique, inverse = unique_indices(hkl)
        return self._epsilon(unique)[inverse]

    def _epsilon(self, unique: Int32) -> Int:
        columns = _columns(unique)
        count = np.zeros(len(unique), np.int64)
        for rotation in self.rotations:
            count += _equal(_times(columns, rotation), columns)
        return count

    def is_centric(self, hkl: Array) -> Bool:
        """Whether an operation takes h to -h, so that Friedel's law holds by symmetry, (n,).  ``hkl``: (n, 3)."""
        if self.centrosymmetric:
            return np.ones(len(hkl), bool)
        unique, inverse = unique_indices(hkl)
        return self._centric(_columns(unique))[inverse]

    def _centric(self, columns: Sequence[Float]) -> Bool:
        n = len(columns[0])
        if self.centrosymmetric:
            return np.ones(n, bool)
        result = np.zeros(n, bool)
        for rotation in self.rotations:
            if not np.array_equal(rotation, np.eye(3)):
                result |= _equal(_times(columns, -rotation), columns)
        return result

    def is_absent(self, hkl: Array) -> Bool:
        """Whether the space group forbids the reflection by centring, screw axis or glide plane, (n,).

        ``hkl``: (n, 3).
        """
        unique, inverse = unique_indices(hkl)
        return self._absent(_columns(unique))[inverse]

    def _absent(self, columns: Sequence[Float]) -> Bool:
        result = np.zeros(len(columns[0]), bool)
        for rotation, shift in zip(self.operators, self.translations, strict=True):
            if not shift.any():
                continue
            phase = _sum(columns, shift)
            shifted = np.abs(phase - np.rint(phase)) > 1e-3
            if not np.array_equal(rotation, np.eye(3)):
                shifted &= _equal(_times(columns, rotation), columns)
            result |= shifted
        return result

    def possible(self, cell: UnitCell, d_min: float, d_max: float = np.inf) -> tuple[int, int]:
        """Number of unique reflections between the limits, limits included, and how many of them are acentric.

        Friedel mates count once; systematic absences and (0, 0, 0) do not count.
        ``cell``: Angstrom and degrees; ``d_min``, ``d_max``: Angstrom.
        """
        limits = np.array([d_max**-2.0 * (1 - _ON_THE_LIMIT), d_min**-2.0 * (1 + _ON_THE_LIMIT)])
        unique, acentric = self.possible_in_shells(cell, limits)
        return int(unique[0]), int(acentric[0])

    def possible_in_shells(self, cell: UnitCell, limits: Float) -> tuple[Int, Int]:
        """``possible`` for shells: limits[i] <= 1/d^2 < limits[i + 1].

        Where one damaged index or a damaged cell makes them more than can be counted, they are estimated.
        ``limits``: 1/Angstrom^2, ascending, (n + 1,).  Returns unique and acentric reflections, (n,) each.
        """
        limits = np.asarray(limits, np.float64)
        n = len(limits) - 1
        if points_looked_at(cell, float(limits[-1])) > MOST_COUNTED:
            centrings = len(self.operators) // len(self.rotations)
            laue = len(self.rotations) * (1 if self.centrosymmetric else 2)
            about = expected_in_shells(cell, limits, laue * centrings)
            return about, np.zeros_like(about) if self.centrosymmetric else about
        unique, acentric = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for columns, s in self._inside(cell, float(limits[0]), float(limits[-1])):
            shell = np.searchsorted(limits, s, side="right") - 1
            unique += np.bincount(shell, minlength=n)
            acentric += np.bincount(shell[~self._centric(columns)], minlength=n)
        return unique, acentric

    def _inside(self, cell: UnitCell, low: float, high: float) -> Any:
        """Planes of the reflections of the asymmetric unit that are not absent: h, k, l and 1/d^2, (k,) each."""
        # h = q.a, so no index exceeds |a|/d_min.
        largest = [int(edge * np.sqrt(high)) + 1 for edge in cell[:3]]
        aligned = np.array_equal(self.to_reference, np.eye(3)) and self.unit is not None
        positive = _UNITS[str(self.unit)][1] if aligned else (False, False, False)
        ranges = [np.arange(0 if p else -n, n + 1, dtype=np.float64) for n, p in zip(largest, positive, strict=True)]
        metric = reciprocal_matrix(cell).T @ reciprocal_matrix(cell)
        per_block = max(1, _PLANE // len(ranges[2]))
        for h in ranges[0]:
            for start in range(0, len(ranges[1]), per_block):
                k = ranges[1][start : start + per_block, None]
                l = ranges[2][None, :]
                s = metric[1, 1] * k * k + (2 * metric[0, 1] * h) * k + metric[0, 0] * h * h
                s = s + (2 * metric[0, 2] * h + 2 * metric[1, 2] * k + metric[2, 2] * l) * l
                row, column = np.nonzero((s >= low) & (s < high))
                columns = [np.full(len(row), h), k[row, 0], l[0, column]]
                keep = self._represents(columns) & ((columns[0] != 0) | (columns[1] != 0) | (columns[2] != 0))
                keep[keep] = ~self._absent([index[keep] for index in columns])
                yield [index[keep] for index in columns], s[row[keep], column[keep]]

    def _represents(self, columns: Sequence[Float]) -> Bool:
        if self.unit is not None:
            return self._is_in(columns)
        points = np.column_stack(columns)
        same, _ = _largest_of_orbit(points.astype(np.int32), self.rotations)
        return np.asarray((same == points).all(axis=1), bool)


def _columns(hkl: Array) -> list[Float]:
    """h, k and l as arrays of their own, (n,) each: several times faster than a matrix product with three columns."""
    return [hkl[:, k].astype(np.float64) for k in range(3)]


def _times(columns: Sequence[Float], matrix: Float) -> list[Float]:
    """The rows (h, k, l) times a matrix, (3, 3), column by column."""
    return [_sum(columns, matrix[:, k]) for k in range(3)]


def _sum(columns: Sequence[Float], factors: Float) -> Float:
    """Most factors of a symmetry operator are 0, the others 1 or -1."""
    total = None
    for column, factor in zip(columns, factors.tolist(), strict=True):
        if factor != 0:
            part = column if factor == 1 else -column if factor == -1 else factor * column
            total = part if total is None else total + part
    return np.zeros(len(columns[0])) if total is None else total


def _equal(one: Sequence[Float], other: Sequence[Float]) -> Bool:
    result: Bool = (one[0] == other[0]) & (one[1] == other[1]) & (one[2] == other[2])
    return result


@dataclass(frozen=True, slots=True)
class Arranged:
    """Reflections in the order of ``sort_order``.

    ``order``: row numbers, (n,).  ``hkl``: different indices in the asymmetric unit, (m, 3), ``minus``: whether they
    are of I-, (m,), I+ and I- of one index one after the other.  ``sizes``: rows of each, (m,).
    ``epsilon``: see ``Symmetry.epsilon``, (m,).
    """

    order: Int
    hkl: Int32
    minus: Bool
    sizes: Int
    epsilon: Int


def _largest_of_orbit(unique: Int32, rotations: Float) -> tuple[Int32, Bool]:
    """Representatives if no reference setting is known: the largest of all +-h R, by l, then k, then h."""
    points = unique.astype(np.float64)
    best, minus = points.copy(), np.zeros(len(points), bool)
    for sign in (1.0, -1.0):
        for rotation in rotations:
            moved = points @ (sign * rotation)
            first = np.zeros(len(points))
            for column in (2, 1, 0):
                first = np.where(first == 0, np.sign(moved[:, column] - best[:, column]), first)
            better = first > 0
            best[better] = moved[better]
            minus[better] = sign < 0
    return best.astype(np.int32), minus


def _listed_relative(gemmi: Any, hall: str, rotations: Float) -> tuple[Any, Float]:
    """The listed space group of an unlisted ``symbol (change of basis)``, and the change of basis for indices.

    An index times the matrix, (3, 3), is in the listed setting. None and the identity if there is no such group.
    """
    start, bracket, change = hall.partition("(")
    listed = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(start)) if bracket else None
    if listed is None:
        return None, np.eye(3)
    wanted = _unique_matrices(gemmi, listed.operations())
    step = gemmi.Op(change.rstrip(" )")) if "," in change else gemmi.Op("x,y,z")
    # Programs differ in the direction of the change of basis; the operators show which one is meant.
    for op in (step, step.inverse()):
        matrix = np.array(op.rot, np.float64) / gemmi.Op.DEN
        turned = np.unique(np.rint(np.linalg.inv(matrix) @ rotations @ matrix), axis=0)
        if turned.shape == wanted.shape and np.array_equal(turned, wanted):
            return listed, matrix
    return None, np.eye(3)


def _unique_matrices(gemmi: Any, group: Any) -> Float:
    """The different rotation parts of a group, (n, 3, 3)."""
    matrices: Float = np.unique(np.array([op.rot for op in group], np.float64) / gemmi.Op.DEN, axis=0)
    return matrices
