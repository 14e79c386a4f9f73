"""Columns of a reflection table: the kinds of intensity that it has, and access that reads each column only once."""

from __future__ import annotations

import logging

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.data.flags import Flag
from braggscale.data.table import Table
from braggscale.data.unique_reflections import BLOCK
from braggscale.errors import InputError
from braggscale.numerics.array_types import Array, Int
from braggscale.numerics.partitions import run_in_threads
from braggscale.run_warnings import Code, warn

log = logging.getLogger(__name__)

# Kind of intensity: columns of value and variance, and the flag of rows that have it.
KINDS = {
    "sum": ("intensity.sum.value", "intensity.sum.variance", Flag.INTEGRATED_SUM),
    "profile": ("intensity.prf.value", "intensity.prf.variance", Flag.INTEGRATED_PRF),
}
_INTENSITIES = tuple(name for names in KINDS.values() for name in names[:2])
_WHOLE = ("xyzobs.px.value", "s1", "miller_index", "flags", "d", "lp", "qe", "partiality", *_INTENSITIES)
SCALED_COLUMNS = ("intensity.scale.value", "intensity.scale.variance")
# Variance at the observed intensity, which HKLF 4 needs; only this program writes it.
OBSERVED_VARIANCE = "scaling_observed_variance"


class ReflectionColumns:
    """The columns of a table after partials have been summed; each is read at its first use."""

    def __init__(self, table: Table, changed: dict[str, Array]) -> None:
        self.table, self.changed = table, changed
        self._read: dict[str, Array] = dict(changed)

    def __contains__(self, name: str) -> bool:
        return name in self.table

    def __getitem__(self, name: str) -> Array:
        if name not in self._read:
            self._read[name] = self.table[name]
        return self._read[name]

    def fetch(self) -> None:
        """Read all columns that most tables have and that are needed as a whole, on threads."""
        names = [name for name in _WHOLE if name in self.table and name not in self._read]
        if len(self.table) <= BLOCK:  # for a small table starting threads takes longer than reading
            self._read |= {name: self.table[name] for name in names}
            return
        self._read |= zip(names, run_in_threads(lambda k: self.table[names[k]], len(names)), strict=True)

    def rows(self, name: str, rows: Int) -> Array:
        """The ``rows``, (k,), of a column that is not needed as a whole: (k,) or (k, m)."""
        if len(rows) == len(self.table):
            return self[name]
        if name in self._read:
            return np.take(self._read[name], rows, axis=0)
        return self.table.select(rows)[name]


def efficiency_column(columns: ReflectionColumns) -> str | None:
    """The name of the column with the detector efficiency, None if there is none."""
    return next((name for name in ("qe", "dqe") if name in columns), None)


def position_column(columns: ReflectionColumns) -> str:
    """The name of the column with positions, observed before calculated ones.  Raises InputError without either."""
    for name in ("xyzobs.px.value", "xyzcal.px"):
        if name in columns:
            return name
    raise InputError(f"{columns.table.source}: the table has neither xyzobs.px.value nor xyzcal.px")


def kinds_measured(table: Table) -> tuple[str, ...]:
    """The kinds of intensity in the table.  Raises InputError if there is none."""
    there = tuple(k for k, names in KINDS.items() if all(name in table for name in names[:2]))
    if not there:
        raise InputError(f"{table.source}: the table has neither intensity.sum nor intensity.prf columns")
    if "profile" in there:
        fitted = (table["flags"] & np.uint64(Flag.INTEGRATED_PRF)) != 0
        if not np.any(fitted & (table[KINDS["profile"][1]] > 0)):
            there = tuple(k for k in there if k != "profile")
    return there


def without_empty_kinds(table: Table, there: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The kinds of intensity without those that are 0 in every measured row, because these were never determined.

    If all of them are 0, all are returned; the error is then reported for the data set.
    """
    held = tuple(kind for kind in there if np.any(_measured_values(table, kind)))
    if held and len(held) < len(there):
        empty = ", ".join(kind for kind in there if kind not in held)
        warn(log, Code.INTENSITIES_MISSING, f"{name}: every {empty} intensity is 0, using {held[0]} instead")
    return held or there


def _measured_values(table: Table, kind: str) -> Array:
    value, _, flag = KINDS[kind]
    values: Array = table[value][(table["flags"] & np.uint64(flag)) != 0]
    return values


def kinds_wanted(there: tuple[str, ...], choice: str, source: str) -> tuple[str, ...]:
    """The kinds that ``choice`` names, or those that the table has."""
    if choice == "combine" or choice in there:
        return there if choice == "combine" else (choice,)
    if there:
        warn(log, Code.INTENSITIES_MISSING, f"{source}: no {choice} intensities, using {there[0]} instead.")
    return there


def say_what_is_missing(table: Table, experiment: Experiment, name: str) -> None:
    """Warns of missing columns that change results, and says what is used instead."""
    place = "s1" in table or bool(experiment.panels)
    if "lp" not in table:
        instead = "is computed from the geometry" if place else "is unknown and taken as 1, which R values do not show"
        warn(
            log,
            Code.COLUMN_MISSING,
            f"{name}: the table has no column lp; the Lorentz-polarisation factor {instead}",
            experiment.identifier,
        )
    if "s1" not in table and not experiment.is_still:
        instead = "are computed from positions on the detector" if place else "are unknown: no absorption is corrected"
        warn(
            log,
            Code.COLUMN_MISSING,
            f"{name}: the table has no column s1; diffracted beams {instead}",
            experiment.identifier,
        )
    if "partiality" not in table:
        warn(
            log,
            Code.COLUMN_MISSING,
            f"{name}: the table has no column partiality; every reflection counts as wholly recorded",
            experiment.identifier,
        )
