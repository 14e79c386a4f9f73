"""Writes a reflection table that consists of pieces of other tables and new columns, without loading it completely."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import IO

import numpy as np

from braggscale.data.table import Table
from braggscale.errors import InputError
from braggscale.io.atomic_files import write_beside
from braggscale.io.column_types import TYPES, OutputColumn, raw_values
from braggscale.io.refl_msgpack import write_msgpack
from braggscale.numerics.array_types import Array
from braggscale.run_warnings import Code, warn

log = logging.getLogger(__name__)

# Rows that are gathered and written in one go; 65536 rows of the widest column are 5 MB.
_CHUNK = 1 << 16


def write_table(
    path: str,
    pieces: Sequence[Table],
    replaced: Mapping[str, tuple[str, Sequence[Array]]],
    identifiers: Mapping[int, str],
    drop: Collection[str] = (),
) -> str:
    """Writes the rows of all pieces, one after the other, to a file beside ``path``; returns that file's path.

    Columns that any piece has are copied, rows of pieces without it are filled with zeros.
    ``replaced``: columns that are new or have new values: the type, and one array per piece, (n,) or
    (n, k), n the rows of the piece.  ``drop``: columns to leave out.  ``identifiers``: from number in the ``id`` column
    to identifier. A name ending in .h5 gives HDF5, one ending in .gz gzip, everything else msgpack. Raises InputError
    if two pieces have a column of the same name that cannot be joined, OutputError if writing fails, ValueError for a
    new column of a wrong type or shape.
    """
    n_rows = sum(len(piece) for piece in pieces)
    columns = [column for column in _copied(_joined(pieces), {*drop, *replaced}) if column is not None]
    columns += [_new(name, tag, arrays, pieces) for name, (tag, arrays) in replaced.items() if name not in drop]

    def write(file: IO[bytes]) -> None:
        """Write the table in the format that its name asks for."""
        if path.endswith((".h5", ".hdf5")):
            from braggscale.io.refl_hdf5 import write_hdf5

            write_hdf5(file, n_rows, columns, identifiers)
        elif path.endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
                write_msgpack(packed.write, n_rows, columns, identifiers)
        else:
            write_msgpack(file.write, n_rows, columns, identifiers)

    return write_beside(path, write)


def _joined(pieces: Sequence[Table]) -> list[Table]:
    """The same rows in fewer pieces: neighbouring pieces of one file become one (there may be thousands)."""
    result = []
    for _, same_file in groupby(pieces, key=lambda piece: id(piece.columns)):
        one, *more = same_file
        if more:
            rows = [np.arange(piece.n_file) if piece.rows is None else piece.rows for piece in (one, *more)]
            one = replace(one, rows=np.concatenate(rows))
        result.append(one)
    return result


def _copied(pieces: Sequence[Table], left_out: Collection[str]) -> Iterator[OutputColumn | None]:
    """The columns that are copied from the pieces unchanged."""
    rows = [_rows(piece) for piece in pieces]
    for name in sorted({name for piece in pieces for name in piece.columns}):
        if name not in left_out:
            yield _copy(name, pieces, rows)


def _copy(name: str, pieces: Sequence[Table], rows: Sequence[Array | slice]) -> OutputColumn | None:
    """One column; None, with a warning, if its type is not known and differs between pieces."""
    owners = [piece for piece in pieces if name in piece]
    tag = owners[0].columns[name].tag
    first = raw_values(owners[0].columns[name])
    dtype, row_shape = _stored(first.dtype), first.shape[1:]
    for piece in owners[1:]:
        column = piece.columns[name]
        if column.tag == tag and (tag in TYPES or raw_values(column).shape[1:] == row_shape):
            continue
        if tag not in TYPES or column.tag not in TYPES:
            warn(log, Code.COLUMN_DROPPED, f"column {name} is dropped: its type is not known and differs between files")
            return None
        if TYPES[tag].parts != TYPES[column.tag].parts:
            raise InputError(
                f"column {name!r} is {tag} in {owners[0].source} but {column.tag} in {piece.source}; "
                "scale these files separately or process them alike"
            )

    def blocks() -> Iterator[Array]:
        """The rows of all pieces in blocks, zeros where a piece lacks the column."""
        for piece, chosen in zip(pieces, rows, strict=True):
            values = raw_values(piece.columns[name]) if name in piece else None
            for start in range(0, len(piece), _CHUNK):
                stop = min(start + _CHUNK, len(piece))
                if values is None:
                    yield np.zeros((stop - start, *row_shape), dtype)
                    continue
                if isinstance(chosen, slice):
                    block = values[chosen.start + start : chosen.start + stop]
                else:
                    block = values[chosen[start:stop]]
                yield _cast(block, dtype, name, piece.source)
        for column in {id(piece.columns): piece.columns[name] for piece in owners}.values():
            if column.forget is not None:
                column.forget()

    return OutputColumn(name, tag, dtype, row_shape, blocks)


def _new(name: str, tag: str, arrays: Sequence[Array], pieces: Sequence[Table]) -> OutputColumn:
    """A column with new values."""
    if tag not in TYPES:
        raise ValueError(f"column {name!r}: no such type: {tag!r}")
    kind = TYPES[tag]
    for array, piece in zip(arrays, pieces, strict=True):
        if array.shape != kind.shape(len(piece)):
            raise ValueError(f"column {name!r}: shape {array.shape} instead of {kind.shape(len(piece))}")
    dtype = _stored(kind.dtype)

    def blocks() -> Iterator[Array]:
        """The new values in blocks of the type of the file."""
        few = [np.concatenate(arrays)] if len(arrays) * _CHUNK > sum(map(len, arrays)) else arrays
        for array in few:
            for start in range(0, len(array), _CHUNK):
                yield _cast(array[start : start + _CHUNK], dtype, name, "the result")

    return OutputColumn(name, tag, dtype, kind.shape(0)[1:], blocks)


def _stored(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """The type in the file: truth values are bytes."""
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype


def _cast(block: Array, dtype: np.dtype[np.generic], name: str, source: str) -> Array:
    """The values as contiguous ``dtype``; raises InputError if that would change any."""
    if block.dtype == dtype or block.dtype == np.bool_:
        return np.ascontiguousarray(block, dtype)
    with np.errstate(invalid="ignore"):
        cast = np.ascontiguousarray(block, dtype)
    if not np.array_equal(cast, block, equal_nan=dtype.kind == "f"):
        raise InputError(f"column {name!r} of {source} has values that do not fit its type, {dtype.name}")
    return cast


def _rows(piece: Table) -> Array | slice:
    """The rows of a piece, as a range if they are consecutive."""
    rows = piece.rows
    if rows is None:
        return slice(0, piece.n_file)
    if len(rows) and int(rows[-1]) - int(rows[0]) == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
