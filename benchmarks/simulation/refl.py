"""The reflection container, written and read with nothing but numpy and msgpack headers.

Independent of the package on purpose: what the simulator writes is a test of the package's own reader.
Layout: ["dials::af::reflection_table", 1, {"identifiers": {id: name}, "nrows": n, "data": {column: [type, [n, raw]]}}].
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from braggscale.numerics.array_types import Array

MAGIC = "dials::af::reflection_table"

_ARRAY_2, _ARRAY_3, _MAP_3 = b"\x92", b"\x93", b"\x83"

# type name in the file: (numpy type, values per row)
TYPES: dict[str, tuple[str, int]] = {
    "bool": ("u1", 1),
    "int": ("<i4", 1),
    "std::size_t": ("<u8", 1),
    "double": ("<f8", 1),
    "vec2<double>": ("<f8", 2),
    "vec3<double>": ("<f8", 3),
    "mat3<double>": ("<f8", 9),
    "int6": ("<i4", 6),
    "cctbx::miller::index<>": ("<i4", 3),
}


def create(path: Path, identifiers: Mapping[int, str], n: int, columns: Mapping[str, str]) -> dict[str, Array]:
    """Make a table of ``n`` rows and return writable views of its columns on the mapped file.

    ``columns``: type name of each column. Only what is being filled has to be in memory.
    """
    pack: Any = msgpack.packb
    head = _ARRAY_3 + pack(MAGIC) + pack(1) + _MAP_3 + pack("identifiers") + pack(dict(identifiers))
    head += pack("nrows") + pack(n) + pack("data") + b"\xde" + len(columns).to_bytes(2, "big")
    place: dict[str, int] = {}
    with path.open("wb") as file:
        file.write(head)
        for name in sorted(columns):
            kind, width = TYPES[columns[name]]
            size = n * width * np.dtype(kind).itemsize
            file.write(pack(name) + _ARRAY_2 + pack(columns[name]) + _ARRAY_2 + pack(n) + _binary_header(size))
            place[name] = file.tell()
            file.seek(size, 1)
        file.truncate(file.tell())
    views: dict[str, Array] = {}
    for name, offset in place.items():
        kind, width = TYPES[columns[name]]
        shape = (n,) if width == 1 else (n, width)
        views[name] = np.memmap(path, dtype=kind, mode="r+", offset=offset, shape=shape)
    return views


def _binary_header(size: int) -> bytes:
    """The smallest msgpack header of a byte string."""
    for code, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4)):
        if size < 1 << (8 * width):
            return bytes([code]) + size.to_bytes(width, "big")
    raise ValueError(f"a column of {size} bytes does not fit into the format; ask for fewer reflections")


def read(path: Path, names: tuple[str, ...] | None = None) -> dict[str, Array]:
    """The named columns, all of them if not named, as copies; columns of unknown type are passed over."""
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    walker = _Walker(mapped)
    document = walker.item()
    if not isinstance(document, list) or len(document) != 3 or document[0] != MAGIC:
        raise ValueError(f"{path}: not a reflection table")
    columns: dict[str, Array] = {}
    for name, (kind, (n, raw)) in document[2]["data"].items():
        if kind not in TYPES or (names is not None and name not in names):
            continue
        dtype, width = TYPES[kind]
        start, size = raw
        if size != n * width * np.dtype(dtype).itemsize:
            raise ValueError(f"{path}: column {name} has {size} bytes for {n} rows")
        values = np.frombuffer(mapped, np.uint8, size, start).copy().view(dtype)
        columns[name] = values if width == 1 else values.reshape(n, width)
    return columns


def change(path: Path, name: str, values: Array) -> None:
    """Write other values, (n,) or (n, width), of the type of the file, into a column that the table has."""
    mapped = np.memmap(path, dtype=np.uint8, mode="r+")
    document = _Walker(mapped).item()
    kind, (n, (start, size)) = document[2]["data"][name]
    dtype, _ = TYPES[kind]
    if len(values) != n:
        raise ValueError(f"{path}: {len(values)} values for {n} rows of {name}")
    mapped[start : start + size] = np.ascontiguousarray(values, dtype).view(np.uint8).reshape(-1)
    mapped.flush()


class _Walker:
    """Walks msgpack items; byte strings come back as (start, size) and are not touched."""

    def __init__(self, data: Array) -> None:
        self.data, self.at = data, 0

    def _take(self, n: int) -> bytes:
        if self.at + n > len(self.data):
            raise ValueError("reflection table ends too early")
        self.at += n
        return bytes(self.data[self.at - n : self.at])

    def _number(self, n: int) -> int:
        return int.from_bytes(self._take(n), "big")

    def item(self) -> Any:
        code = self._number(1)
        if code < 0x80:
            return code
        if code < 0x90:
            return self._map(code & 0x0F)
        if code < 0xA0:
            return self._list(code & 0x0F)
        if code < 0xC0:
            return self._take(code & 0x1F).decode()
        if 0xC4 <= code <= 0xC6:
            return self._skip(self._number(1 << (code - 0xC4)))
        if 0xCC <= code <= 0xCF:
            return self._number(1 << (code - 0xCC))
        if 0xD9 <= code <= 0xDB:
            return self._take(self._number(1 << (code - 0xD9))).decode()
        if code in (0xDC, 0xDD):
            return self._list(self._number(2 if code == 0xDC else 4))
        if code in (0xDE, 0xDF):
            return self._map(self._number(2 if code == 0xDE else 4))
        raise ValueError(f"unexpected msgpack code {code:#x} at byte {self.at - 1}")

    def _skip(self, size: int) -> tuple[int, int]:
        start = self.at
        if start + size > len(self.data):
            raise ValueError("reflection table ends too early")
        self.at += size
        return start, size

    def _list(self, n: int) -> list[Any]:
        return [self.item() for _ in range(n)]

    def _map(self, n: int) -> dict[Any, Any]:
        return {self.item(): self.item() for _ in range(n)}
