"""Whether the space group of a run fits its intensities: screw axes by absences, and each rotation of the lattice.

A part of the data is enough for both: for absences all reflections that some space group could forbid, for
rotations the reflections at low resolution, where intensities are strongest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.geometry import UnitCell, inverse_d_squared
from braggscale.data.index_order import unique_indices
from braggscale.data.reindexing import lattice_rotations, same_rotations
from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Bool, Float
from braggscale.statistics.absences import Pattern, judge_absences
from braggscale.statistics.symmetry_elements import Element, symmetry_elements

MOST_ROWS = 60_000  # observations in the comparison of rotations
MOST_GENERAL = 20_000  # reflections from which the local mean intensity is calculated
SURE = 0.95  # smallest probability with which a pattern of absences is accepted
DENIED, HOLDS = 0.1, 0.9  # probabilities of elements that do not hold, and of those that do
UNDECIDED = 0.4, 0.6  # probabilities between which the intensities do not decide


@dataclass(frozen=True, slots=True)
class SymmetryCheck:
    """``patterns``: space groups by absences, the most probable first.  ``elements``: rotations of the lattice."""

    patterns: tuple[Pattern, ...] = ()
    elements: tuple[Element, ...] = ()

    @property
    def likely(self) -> Pattern | None:
        """The pattern of absences that is probable enough to be accepted; None if there is none."""
        return self.patterns[0] if self.patterns and self.patterns[0].probability >= SURE else None

    @property
    def denied(self) -> tuple[Element, ...]:
        """Elements of the space group that the intensities do not have."""
        return tuple(e for e in self.elements if e.used and e.probability < DENIED)

    def undecided(self, element: Element) -> bool:
        """Whether the intensities do not decide if the crystal has an element."""
        p = element.probability
        unlike = p < UNDECIDED[1] if element.used else p > UNDECIDED[0]
        return not np.isfinite(p) or (unlike and element not in self.denied and element not in self.missing)

    @property
    def missing(self) -> tuple[Element, ...]:
        """Elements of the lattice that the intensities have and the space group has not."""
        return tuple(e for e in self.elements if not e.used and e.probability > HOLDS)


@dataclass(frozen=True, slots=True)
class ScaledRows:
    """Scaled observations that are merged, in the order of ``groups``, unique reflections with Friedel mates together.

    ``hkl``: as measured, ``asu``: in the asymmetric unit, (n, 3).  ``x``: intensity, ``variance``: its variance, (n,).
    """

    groups: Groups
    hkl: Array
    asu: Array
    x: Float
    variance: Float

    def of_groups(self, use: Bool) -> ScaledRows:
        """The rows of some groups.  ``use``: (n_groups,)."""
        rows = np.flatnonzero(self.groups.spread(use))
        return ScaledRows(self.groups.choose(use), self.hkl[rows], self.asu[rows], self.x[rows], self.variance[rows])


def check_symmetry(rows: ScaledRows, symmetry: Symmetry, cell: UnitCell) -> SymmetryCheck:
    """Absences and rotations of the lattice.  ``cell``: Angstrom and degrees."""
    if len(rows.groups) == 0:
        return SymmetryCheck()
    asu = rows.asu[rows.groups.offsets[:-1]]
    s = inverse_d_squared(asu, cell)
    return SymmetryCheck(_absences(rows, asu, s, symmetry), _elements(rows, s, symmetry, cell))


def likely_group(
    hkl: Array, intensity: Float, sigma: Float, symmetry: Symmetry, cell: UnitCell
) -> tuple[Symmetry, Pattern] | None:
    """The space group with the observed absences, if it is probable enough and not already that of the data.

    Of groups that forbid the same reflections, such as P 41 and P 43, the first.  ``hkl``: unique reflections with
    Friedel mates merged, (n, 3); ``intensity``, ``sigma``: merged, (n,); ``cell``: Angstrom and degrees.
    """
    candidates = same_rotations(symmetry)
    d = inverse_d_squared(hkl, cell) ** -0.5
    patterns = judge_absences(hkl, intensity, sigma, d, symmetry, candidates)
    best = SymmetryCheck(tuple(patterns)).likely
    if best is None or str(symmetry) in best.groups:
        return None
    return next(group for group in candidates if str(group) == best.groups[0]), best


def _absences(rows: ScaledRows, asu: Array, s: Float, symmetry: Symmetry) -> tuple[Pattern, ...]:
    candidates = same_rotations(symmetry)
    if len(candidates) < 2:
        return ()
    use = symmetry.epsilon(asu) > 1  # reflections that a screw axis or glide plane can forbid lie on its axis or plane
    if not use.any():
        return ()
    use[:: max(len(use) // MOST_GENERAL, 1)] = True
    some = rows.of_groups(use)
    weight = 1.0 / some.variance
    total = some.groups.sum(weight)
    mean = some.groups.sum(weight * some.x) / total
    return tuple(judge_absences(asu[use], mean, 1.0 / np.sqrt(total), s[use] ** -0.5, symmetry, candidates))


def _elements(rows: ScaledRows, s: Float, symmetry: Symmetry, cell: UnitCell) -> tuple[Element, ...]:
    rotations = lattice_rotations(cell, symmetry)
    if not rotations:
        return ()
    order = np.argsort(s, kind="stable")
    enough = int(np.searchsorted(np.cumsum(rows.groups.sizes()[order]), MOST_ROWS)) + 1
    use = np.zeros(len(s), bool)
    use[order[:enough]] = True
    hkl, mean, sigma, d = _without_symmetry(rows.of_groups(use), cell)
    ours = {tuple(np.rint(r).astype(int).ravel()) for r in symmetry.rotations}
    ours |= {tuple(np.rint(-r).astype(int).ravel()) for r in symmetry.rotations}
    used = [tuple(np.rint(r).astype(int).ravel()) in ours for r in rotations]
    return tuple(symmetry_elements(hkl, mean, sigma, d, rotations, used, _expected(mean, sigma)))


def _without_symmetry(rows: ScaledRows, cell: UnitCell) -> tuple[Array, Float, Float, Float]:
    """The data merged as if the crystal had no symmetry but Friedel's law: index, intensity, its error, d."""
    hkl = np.asarray(rows.hkl, np.int32)
    first = np.where(hkl[:, 0] != 0, hkl[:, 0], np.where(hkl[:, 1] != 0, hkl[:, 1], hkl[:, 2]))
    unique, number = unique_indices(np.where(first[:, None] < 0, -hkl, hkl))
    weight = 1.0 / rows.variance
    total: Float = np.bincount(number, weight, len(unique)).astype(np.float64)
    mean = np.bincount(number, weight * rows.x, len(unique)) / total
    return unique, mean, 1.0 / np.sqrt(total), inverse_d_squared(unique, cell) ** -0.5


def _expected(intensity: Float, sigma: Float) -> float:
    """The correlation expected for a true symmetry: the share of the variance that does not come from errors."""
    variance = float(np.var(intensity))
    if not variance > 0.0:
        return 0.5
    return float(np.clip(1.0 - float(np.mean(sigma**2)) / variance, 0.2, 1.0))
