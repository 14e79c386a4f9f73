"""Reflection tables as msgpack, the form that DIALS programs exchange.

    array(3) [ "dials::af::reflection_table", version, map {
        "identifiers": map { number: identifier },          may be absent
        "nrows": n,
        "data": map { column name: array(2) [ type, array(2) [ n, bytes ] ] } } ]

Columns are the bytes of little-endian arrays. The reader walks the headers over a mapping of the file and leaves
the columns where they are; every length is compared with the file before it is used. Versions 1 and 2 differ in
the shoebox column only, which is skipped, so version 1 is written: every DIALS reads it.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Mapping, Sequence

from braggscale.data.table import Column
from braggscale.errors import InputError, OutputError
from braggscale.io.column_types import SHOEBOX, STRING, TYPES, FileTable, OutputColumn, StoredColumn
from braggscale.io.file_kind import Source
from braggscale.run_warnings import Code, warn

log = logging.getLogger(__name__)

NAME = "dials::af::reflection_table"
_VERSIONS = (1, 2)
_VERSION_WRITTEN = 1
_LONGEST_TEXT = 1 << 16
_LARGEST_ID = (1 << 31) - 1
_MOST_BYTES = (1 << 32) - 1

_SIZES = {1: ">B", 2: ">H", 4: ">I", 8: ">Q"}


class _Walker:
    """Reads msgpack headers one after the other; knows where it is, for the error messages."""

    def __init__(self, path: str, data: memoryview) -> None:
        self.path = path
        self.data = data
        self.position = 0

    def damaged(self, what: str, at: int | None = None) -> InputError:
        place = self.position if at is None else at
        return InputError(f"{self.path}: damaged reflection table, byte {place}: {what}")

    def take(self, n: int, what: str) -> memoryview:
        left = len(self.data) - self.position
        if n > left:
            raise self.damaged(f"{what} needs {n} bytes, but only {left} are left; the file is cut short")
        self.position += n
        return self.data[self.position - n : self.position]

    def _size(self, width: int, what: str) -> int:
        return int(struct.unpack(_SIZES[width], self.take(width, what))[0])

    def _head(self, what: str) -> int:
        return self.take(1, what)[0]

    def array(self, what: str) -> int:
        """Number of items of an array."""
        at, head = self.position, self._head(what)
        if head >> 4 == 0x9:
            return head & 0x0F
        if head in (0xDC, 0xDD):
            return self._size(2 if head == 0xDC else 4, what)
        raise self.damaged(f"{what}: expected a list, found {head:#04x}", at)

    def map(self, what: str) -> int:
        """Number of pairs of a map; each takes at least two bytes."""
        at, head = self.position, self._head(what)
        if head >> 4 == 0x8:
            n = head & 0x0F
        elif head in (0xDE, 0xDF):
            n = self._size(2 if head == 0xDE else 4, what)
        else:
            raise self.damaged(f"{what}: expected a dictionary, found {head:#04x}", at)
        if 2 * n > len(self.data) - self.position:
            raise self.damaged(f"{what} claims {n} entries, more than the file can hold", at)
        return n

    def count(self, what: str) -> int:
        """A whole number, not negative."""
        at, head = self.position, self._head(what)
        if head < 0x80:
            return head
        if 0xCC <= head <= 0xCF:
            return self._size(1 << (head - 0xCC), what)
        raise self.damaged(f"{what}: expected a number from 0 upwards, found {head:#04x}", at)

    def blob(self, what: str) -> memoryview:
        """Bytes."""
        at, head = self.position, self._head(what)
        if 0xC4 <= head <= 0xC6:
            return self.take(self._size(1 << (head - 0xC4), what), what)
        raise self.damaged(f"{what}: expected bytes, found {head:#04x}", at)

    def text(self, what: str) -> str:
        """A short text, stored as text or as bytes."""
        at, head = self.position, self._head(what)
        if head >> 5 == 0b101:
            n = head & 0x1F
        elif 0xD9 <= head <= 0xDB:
            n = self._size(1 << (head - 0xD9), what)
        elif 0xC4 <= head <= 0xC6:
            n = self._size(1 << (head - 0xC4), what)
        else:
            raise self.damaged(f"{what}: expected a text, found {head:#04x}", at)
        if n > _LONGEST_TEXT:
            raise self.damaged(f"{what} is {n} bytes long, more than {_LONGEST_TEXT}", at)
        try:
            return str(self.take(n, what), "utf-8")
        except UnicodeDecodeError:
            raise self.damaged(f"{what} is not UTF-8", at) from None


def read_table(source: Source) -> FileTable:
    """A table from a msgpack file. Columns stay in the file until they are asked for.

    The shoebox column is left out; columns of ``std::string``, which hold memory addresses instead of text, are
    left out with a warning. Columns of a type that is not known are kept as bytes.
    Raises InputError with the byte position if anything is not as it must be.
    """
    walker = _Walker(source.path, source.data)
    if (n := walker.array("the table")) != 3:
        raise walker.damaged(f"the outermost list has {n} items instead of 3", 0)
    if (name := walker.text("the name of the format")) != NAME:
        raise walker.damaged(f"the format is called {name[:60]!r} instead of {NAME!r}", 1)
    if (version := walker.count("the version")) not in _VERSIONS:
        raise walker.damaged(f"version {version}; this program reads versions 1 and 2")
    identifiers: dict[int, str] = {}
    columns: dict[str, Column] | None = None
    n_rows: int | None = None
    lengths: dict[str, int] = {}
    seen: set[str] = set()
    for _ in range(walker.map("the table's header")):
        at = walker.position
        key = walker.text("a name in the header")
        if key in seen:
            raise walker.damaged(f"{key!r} occurs twice", at)
        seen.add(key)
        if key == "identifiers":
            identifiers = _identifiers(walker)
        elif key == "nrows":
            n_rows = walker.count("the number of rows")
        elif key == "data":
            columns, lengths = _columns(walker)
        else:
            raise walker.damaged(f"{key[:60]!r} is no part of a reflection table", at)
    if n_rows is None or columns is None:
        raise walker.damaged(f"{'nrows' if n_rows is None else 'data'!r} is missing")
    for name, n in lengths.items():
        if n != n_rows:
            raise InputError(
                f"{source.path}: damaged reflection table: column {name!r} has {n} rows, the table {n_rows}"
            )
    notes: tuple[str, ...] = ()
    if (rest := len(walker.data) - walker.position) > 0:
        notes = (f"{source.path}: {rest} bytes after the end of the table are ignored",)
    return FileTable(source.path, n_rows, columns, identifiers, notes)


def _identifiers(walker: _Walker) -> dict[int, str]:
    """The map from number to identifier."""
    identifiers: dict[int, str] = {}
    for _ in range(walker.map("the identifiers")):
        at = walker.position
        number = walker.count("a data set number")
        if number > _LARGEST_ID:
            raise walker.damaged(f"data set number {number} is too large", at)
        if number in identifiers:
            raise walker.damaged(f"data set number {number} has two identifiers", at)
        identifiers[number] = walker.text("an identifier")
    if len(set(identifiers.values())) != len(identifiers):
        raise walker.damaged("two data sets have the same identifier")
    return identifiers


def _columns(walker: _Walker) -> tuple[dict[str, Column], dict[str, int]]:
    """All columns but those that are left out, and the number of rows of all."""
    columns: dict[str, Column] = {}
    lengths: dict[str, int] = {}
    for _ in range(walker.map("the columns")):
        at = walker.position
        name = walker.text("a column's name")
        if name in lengths:
            raise walker.damaged(f"column {name!r} occurs twice", at)
        column, lengths[name] = _column(walker, name)
        if column is not None:
            columns[name] = column
    return columns, lengths


def _column(walker: _Walker, name: str) -> tuple[Column | None, int]:
    """One column, None if it is of a kind that is left out; and its number of rows."""
    at = walker.position
    if walker.array(f"column {name!r}") != 2:
        raise walker.damaged(f"column {name!r}: expected a type and values", at)
    tag = walker.text(f"the type of column {name!r}")
    at = walker.position
    if walker.array(f"column {name!r}") != 2:
        raise walker.damaged(f"column {name!r}: expected a count and bytes", at)
    n = walker.count(f"the length of column {name!r}")
    raw = walker.blob(f"column {name!r}")
    start = walker.position - len(raw)
    if tag == SHOEBOX:
        return None, n
    if tag == STRING:
        warn(
            log,
            Code.COLUMN_DROPPED,
            f"{walker.path}: column {name} is dropped: texts cannot be recovered from this format",
        )
        return None, n
    if tag in TYPES:
        row_bytes = TYPES[tag].row_bytes
        if n * row_bytes != len(raw):
            raise walker.damaged(f"column {name!r}: {n} rows of type {tag} are not {len(raw)} bytes", start)
    elif n and len(raw) % n == 0 and len(raw) <= n << 16:
        row_bytes = len(raw) // n
    else:
        warn(log, Code.COLUMN_DROPPED, f"{walker.path}: column {name} is dropped: its type {tag} is not known")
        return None, n
    return StoredColumn(walker.data, start, n, tag, row_bytes).column(), n


def write_msgpack(
    write: Callable[[bytes | memoryview], object],
    n_rows: int,
    columns: Sequence[OutputColumn],
    identifiers: Mapping[int, str],
) -> None:
    """Hands a table to ``write``, piece by piece; header keys in the order of DIALS, columns in byte order of names.

    Raises OutputError if a column is larger than the format can hold (4 GiB).
    """
    write(_array_head(3) + _text(NAME) + _count(_VERSION_WRITTEN) + _map_head(3))
    write(_text("identifiers") + _map_head(len(identifiers)))
    for number in sorted(identifiers):
        write(_count(number) + _text(identifiers[number]))
    write(_text("nrows") + _count(n_rows) + _text("data") + _map_head(len(columns)))
    for column in sorted(columns, key=lambda column: column.name.encode()):
        size = n_rows * column.row_bytes
        if size > _MOST_BYTES:
            raise OutputError(
                f"column {column.name!r} would take {size} bytes, more than a .refl file can hold "
                f"({_MOST_BYTES}); give the output a name that ends in .h5"
            )
        write(_text(column.name) + _array_head(2) + _text(column.tag))
        write(_array_head(2) + _count(n_rows) + _sized(size, (0xC4, 0xC5, 0xC6)))
        for block in column.blocks():
            write(block.data.cast("B"))


def _sized(n: int, heads: tuple[int, int, int]) -> bytes:
    """A head byte and a length in one, two or four bytes."""
    if n < 1 << 8:
        return struct.pack(">BB", heads[0], n)
    if n < 1 << 16:
        return struct.pack(">BH", heads[1], n)
    return struct.pack(">BI", heads[2], n)


def _text(text: str) -> bytes:
    raw = text.encode()
    head = bytes([0xA0 | len(raw)]) if len(raw) < 32 else _sized(len(raw), (0xD9, 0xDA, 0xDB))
    return head + raw


def _count(n: int) -> bytes:
    if n < 1 << 7:
        return bytes([n])
    if n < 1 << 32:
        return _sized(n, (0xCC, 0xCD, 0xCE))
    return struct.pack(">BQ", 0xCF, n)


def _array_head(n: int) -> bytes:
    return bytes([0x90 | n])


def _map_head(n: int) -> bytes:
    if n < 1 << 4:
        return bytes([0x80 | n])
    return struct.pack(">BH", 0xDE, n) if n < 1 << 16 else struct.pack(">BI", 0xDF, n)
