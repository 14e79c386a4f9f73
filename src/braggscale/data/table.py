"""Tables: columns of equal length from a reflection file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.data.geometry import d_spacings
from braggscale.numerics.array_types import Array, Int


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file: ``tag`` is the type as the file names it, ``load`` gives all rows of the file.

    ``load`` returns a read-only array, (n_file,) or (n_file, k); it may be a view on a mapped file.
    ``pick`` gives some rows, for columns for which this is cheaper than loading all of them. ``forget`` returns the
    memory of a mapped file to the system until the column is loaded again.
    """

    tag: str
    load: Callable[[], Array]
    pick: Callable[[Int], Array] | None = None
    forget: Callable[[], None] | None = None

    def rows(self, rows: Int) -> Array:
        """The rows of the file with the numbers ``rows``, (k,): an array, (k,) or (k, m)."""
        return np.take(self.load(), rows, axis=0) if self.pick is None else self.pick(rows)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one data set in one file.  ``rows``: their row numbers in the file, (n,), None for all of them."""

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
        """The same table with only the given ``rows``, (k,), numbers within this table."""
        return replace(self, rows=rows.astype(np.int64) if self.rows is None else self.rows[rows])


def forget(tables: Iterable[Table]) -> None:
    """Returns the memory of mapped files to the system; a column that is loaded later is read again."""
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


def smallest_d(data_sets: Sequence[DataSet]) -> float:
    """The highest resolution of any row, Angstrom."""
    smallest = float("inf")
    for one in data_sets:
        if "d" in one.table:
            d = np.asarray(one.table["d"])
        else:
            d = d_spacings(one.experiment.crystal.unit_cell, np.asarray(one.table["miller_index"]))
        good = np.isfinite(d) & (d > 0)
        smallest = min(smallest, float(d[good].min(initial=np.inf)))
    return smallest
