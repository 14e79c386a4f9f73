"""The column types of a reflection table, and a table as one file holds it."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from braggscale.data.reflection_columns import OBSERVED_VARIANCE
from braggscale.data.table import Column
from braggscale.errors import InputError
from braggscale.numerics.array_types import Array, Int

SHOEBOX = "Shoebox<>"
STRING = "std::string"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """How one row of a column is stored: ``parts`` numbers of ``dtype``, little-endian.

    ``class_name``: the name of the array class in pickled tables.
    """

    dtype: np.dtype[np.generic]
    parts: int
    class_name: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * self.parts

    def shape(self, n: int) -> tuple[int, ...]:
        """Shape of a column of n rows: (n,) for single numbers, (n, parts) otherwise."""
        return (n,) if self.parts == 1 else (n, self.parts)


TYPES: dict[str, ColumnType] = {
    "bool": ColumnType(np.dtype(np.bool_), 1, "bool"),
    "int": ColumnType(np.dtype("<i4"), 1, "int"),
    "std::size_t": ColumnType(np.dtype("<u8"), 1, "size_t"),
    "double": ColumnType(np.dtype("<f8"), 1, "double"),
    "vec2<double>": ColumnType(np.dtype("<f8"), 2, "vec2_double"),
    "vec3<double>": ColumnType(np.dtype("<f8"), 3, "vec3_double"),
    "mat3<double>": ColumnType(np.dtype("<f8"), 9, "mat3_double"),
    "int6": ColumnType(np.dtype("<i4"), 6, "int6"),
    "cctbx::miller::index<>": ColumnType(np.dtype("<i4"), 3, "miller_index"),
}


# Columns that scaling reads: how many numbers a row has, and whether they are whole numbers.
_USED: dict[str, tuple[int, bool]] = {
    "miller_index": (3, True),
    **dict.fromkeys(("id", "flags", "partial_id", "panel", "imageset_id", "rejection"), (1, True)),
    **dict.fromkeys(("s1", "xyzobs.px.value", "xyzcal.px"), (3, False)),
    **dict.fromkeys(
        (f"intensity.{kind}.{what}" for kind in ("sum", "prf") for what in ("value", "variance")), (1, False)
    ),
    **dict.fromkeys(("lp", "qe", "dqe", "d", "partiality", "partiality.inv.variance"), (1, False)),
    **dict.fromkeys(("inverse_scale_factor", "intensity.scale.value", "intensity.scale.variance"), (1, False)),
    OBSERVED_VARIANCE: (1, False),
    **dict.fromkeys(("inverse_scale_factor_variance", "profile.correlation"), (1, False)),
    **dict.fromkeys(("background.sum.value", "background.sum.variance"), (1, False)),
    "bbox": (6, True),
    "scaling_fate": (1, True),
    "scaling_run": (1, True),
}
# Bits need more than a number of rows and parts.
_EXACT = {"flags": "std::size_t"}


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """Gives one column out of a buffer, for ``Column.load``.  ``offset``: byte where the column starts.

    A column whose type is not in ``TYPES`` is given as its bytes, uint8, (n, ``row_bytes``).
    """

    buffer: memoryview
    offset: int
    n: int
    tag: str
    row_bytes: int

    def raw(self) -> Array:
        """The column as it is stored, (n,) or (n, k), without a copy: read-only, perhaps unaligned, bool as uint8."""
        kind = TYPES.get(self.tag)
        if kind is None:
            values = np.frombuffer(self.buffer, np.uint8, self.n * self.row_bytes, self.offset)
            return values.reshape(self.n, self.row_bytes)
        dtype = np.dtype(np.uint8) if kind.dtype == np.bool_ else kind.dtype
        values = np.frombuffer(self.buffer, dtype, self.n * kind.parts, self.offset)
        return values.reshape(kind.shape(self.n))

    def __call__(self) -> Array:
        """The column, aligned (compiled loops need that), read-only; any non-zero byte is true."""
        values = self.raw()
        if self.tag == "bool":
            values = values != 0
        elif not values.flags.aligned:
            values = values.copy()
        values.flags.writeable = False
        return values

    def pick(self, rows: Int) -> Array:
        """The rows with the numbers ``rows``, (m,): an array, (m,) or (m, k).

        Only the stretch of the file that holds them is read. A data set of many is often one stretch.
        """
        if len(rows) == 0:
            return self()[:0]
        first, last = int(rows.min()), int(rows.max()) + 1
        values = self.raw()[first:last]
        values = values != 0 if self.tag == "bool" else values.copy()
        in_a_run = last - first == len(rows) and bool((rows[1:] > rows[:-1]).all())
        return values if in_a_run else np.take(values, rows - first, axis=0)

    def forget(self) -> None:
        """Returns the column's memory to the system; only of a mapped file, from which it can be read again."""
        owner = self.buffer.obj
        if not isinstance(owner, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
            return
        first = -(-self.offset // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (self.offset + self.n * self.row_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            owner.madvise(mmap.MADV_DONTNEED, first, last - first)

    def column(self) -> Column:
        """For a table."""
        return Column(self.tag, self, self.pick, self.forget)


@dataclass(frozen=True, slots=True)
class HeldColumn:
    """Gives one column that is already in memory, ``values``, (n,) or (n, k), for ``Column.load``."""

    values: Array

    def __call__(self) -> Array:
        return self.values


@dataclass(frozen=True, slots=True)
class FileTable:
    """One reflection table as the file holds it, all its data sets together.

    ``path``: the file, with the group inside it where a file holds several tables.
    ``identifiers``: from number in the ``id`` column to identifier; empty where the file has none.
    ``notes``: sentences about the file for the log.
    """

    path: str
    n_rows: int
    columns: Mapping[str, Column]
    identifiers: Mapping[int, str]
    notes: tuple[str, ...] = ()


def check_types(table: FileTable) -> None:
    """Raises InputError if a column that scaling reads does not have the type that belongs to its name."""
    for name, (parts, whole) in _USED.items():
        column = table.columns.get(name)
        if column is None:
            continue
        kind = TYPES.get(column.tag)
        wanted = f"{parts} {'whole' if whole else 'real'} number{'s' if parts > 1 else ''} per row"
        if name in _EXACT and column.tag != _EXACT[name]:
            raise InputError(f"{table.path}: column {name!r} is {column.tag} instead of {_EXACT[name]}")
        if kind is None or kind.parts != parts or kind.dtype.kind not in ("iu" if whole else "f"):
            raise InputError(f"{table.path}: column {name!r} is {column.tag} instead of {wanted}")


def column_in_memory(tag: str, values: Array) -> Column:
    """A column from an array in memory, ``values``, (n,) or (n, k); it is made read-only."""
    values.flags.writeable = False
    return Column(tag, HeldColumn(values))


def raw_values(column: Column) -> Array:
    """All rows of the column, (n,) or (n, k), for copying into another file, as a view where the column has one."""
    load = column.load
    return load.raw() if isinstance(load, StoredColumn) else load()


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A column on its way into a file.

    ``blocks``: gives its values in order, as contiguous arrays of ``dtype`` with the shape
    (rows, *row_shape), none of them empty; truth values as uint8. Can be called again.
    """

    name: str
    tag: str
    dtype: np.dtype[np.generic]
    row_shape: tuple[int, ...]
    blocks: Callable[[], Iterator[Array]]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(self.dtype.itemsize * np.prod(self.row_shape, dtype=np.int64))
