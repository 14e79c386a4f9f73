"""Columns of equal length: what a reflection file holds, and what takes part in scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from braggscale.arrays import Array, Bool, Float, Int, Int32
from braggscale.experiments import Experiment
from braggscale.parallel import run_lanes


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file: ``tag`` is the type as the file names it, ``load`` gives all rows of the file.

    ``load`` returns a read-only array, (n_file,) or (n_file, k); it may be a view on a mapped file.
    ``pick`` gives some rows of it, for columns of which that is cheaper than taking them from the whole.
    ``forget`` gives back the memory behind a mapped file until the column is loaded again.
    """

    tag: str
    load: Callable[[], Array]
    pick: Callable[[Int], Array] | None = None
    forget: Callable[[], None] | None = None

    def rows(self, rows: Int) -> Array:
        """The given rows of the file."""
        return np.take(self.load(), rows, axis=0) if self.pick is None else self.pick(rows)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one data set in one file. ``rows``: their row numbers in the file, None for all of them."""

    source: str
    n_file: int
    columns: Mapping[str, Column]
    rows: Int | None = None

    def __len__(self) -> int:
        return self.n_file if self.rows is None else len(self.rows)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Array:
        """The column's rows of this data set; do not write into it."""
        column = self.columns[name]
        return column.load() if self.rows is None else column.rows(self.rows)

    def select(self, rows: Int) -> Table:
        """The same table with only the given rows (numbers within this table)."""
        return replace(self, rows=rows.astype(np.int64) if self.rows is None else self.rows[rows])


def forget(tables: Iterable[Table]) -> None:
    """Gives back the memory of mapped files; whoever loads a column again reads it again."""
    for columns in {id(table.columns): table.columns for table in tables}.values():
        for column in columns.values():
            if column.forget is not None:
                column.forget()


@dataclass(frozen=True, slots=True)
class DataSet:
    """One experiment with its reflections. ``id``: the number in the table's ``id`` column on output."""

    id: int
    identifier: str
    experiment: Experiment
    table: Table


class Places(Protocol):
    """Where and when observations were made: what a scaling model needs to know.  Fields as in Observations."""

    @property
    def data_set(self) -> Int32: ...
    @property
    def d(self) -> Float: ...
    @property
    def xyz(self) -> Float: ...
    @property
    def s0c(self) -> Float: ...
    @property
    def s1c(self) -> Float: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Located:
    """Places in arrays of their own."""

    data_set: Int32
    d: Float
    xyz: Float
    s0c: Float
    s1c: Float

    def __len__(self) -> int:
        return len(self.d)

    @classmethod
    def of(cls, rows: Places, chosen: Int) -> Located:
        """A copy of the chosen rows."""
        return cls(*(getattr(rows, f.name)[chosen] for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class Part:
    """The chosen rows of ``rows``; what is looked at is taken when it is looked at, for a slice without a copy."""

    rows: Places
    chosen: Int | slice

    def __len__(self) -> int:
        return len(self.d)

    @property
    def data_set(self) -> Int32:
        """As in Observations."""
        return self.rows.data_set[self.chosen]

    @property
    def d(self) -> Float:
        """As in Observations."""
        return self.rows.d[self.chosen]

    @property
    def xyz(self) -> Float:
        """As in Observations."""
        return self.rows.xyz[self.chosen]

    @property
    def s0c(self) -> Float:
        """As in Observations."""
        return self.rows.s0c[self.chosen]

    @property
    def s1c(self) -> Float:
        """As in Observations."""
        return self.rows.s1c[self.chosen]


@dataclass(frozen=True, slots=True)
class Observations:
    """Usable reflections of all data sets, one per row; all arrays have the same length n.

    ``row``: row in the output table, (n,).  ``data_set``: position of the data set in the run, (n,).
    ``hkl``: Miller index as in the file, (n, 3).  ``d``: resolution, Angstrom, (n,).
    ``xyz``: position on the detector, px, px, and image number (array index), (n, 3).
    ``s0c``, ``s1c``: unit vectors crystal frame, to the source and along the diffracted beam, polar axis last
    (see geometry.py), (n, 3), float64; zero for stills and rows without a diffracted beam vector.
    ``partiality``: recorded fraction, (n,).
    ``correction``: c = lp/qe, Lorentz, polarisation and detector efficiency, dimensionless, (n,).
    ``i_sum``, ``v_sum``: summation intensity c I/p and its variance c^2 V/p^2, counts, counts^2, (n,).
    ``i_prf``, ``v_prf``: profile intensity c I and variance c^2 V, (n,).
    ``has_sum``, ``has_prf``: which of the two were measured, (n,); at least one is True, with positive variance.
    ``relative``: r = p^2 V(1/p), share of I^2 in ``v_sum`` that comes of the partiality, (n,); None where it is 0.
    """

    row: Int
    data_set: Int32
    hkl: Int32
    d: Float
    xyz: Float
    s0c: Float
    s1c: Float
    partiality: Float
    correction: Float
    i_sum: Float
    v_sum: Float
    i_prf: Float
    v_prf: Float
    has_sum: Bool
    has_prf: Bool
    relative: Float | None = None

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: Int | Bool, n_threads: int = 1) -> Observations:
        """The given rows, in the given order."""
        places = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        columns = self._columns()
        # take is several times faster than an index where a row holds three numbers
        return Observations(*run_lanes(lambda k: np.take(columns[k], places, axis=0), len(columns), n_threads))

    @staticmethod
    def concatenate(parts: list[Observations]) -> Observations:
        """All parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        if any(p.relative is not None for p in parts):
            parts = [replace(p, relative=np.zeros(len(p))) if p.relative is None else p for p in parts]
        return Observations(*map(np.concatenate, zip(*(p._columns() for p in parts), strict=True)))

    def _columns(self) -> list[Array]:
        return [column for f in fields(self) if (column := getattr(self, f.name)) is not None]
