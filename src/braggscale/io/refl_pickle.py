"""Reflection tables from before 2019: pickled arrays. Read only, and never unpickled.

A small interpreter executes the few opcodes of such files. It builds texts, numbers, tuples, dictionaries and
passive records that hold the name of a class, its arguments and its state; it imports nothing and calls nothing.
The result must have exactly the structure of a table:

    reflection_table(), state (1, n_rows, n_columns, {name: array})                     2013-2018
                              (2, {number: identifier}, n_rows, n_columns, {name: array})
    array(), state (grid((0,), (n,), True) with state (n,), buffer)

A buffer is a count and then the elements, numbers in base 256. A whole number is a byte H and H - 1 bytes of
magnitude, least significant first, H + 128 for negative numbers; zero is the byte 0. A real number is H and H - 1
digits of f, most significant first (value sum d_i/256^i, 1/2 <= f < 1), and a whole number e: f 2^e; zero is the
byte 0 alone. (Format: scitbx serialisation.)

The length of an element follows from its first bytes. Let next(i) be the position after an element that would start
at i; the positions of all elements are 0, next(0), next(next(0)), ... They are found by doubling: next is computed
for all i at once, then next applied twice, four times, and so on. After a few doublings every 16th position is
found by a short loop, and the positions between them are filled in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from braggscale.data.table import Column
from braggscale.errors import InputError
from braggscale.io.column_types import SHOEBOX, STRING, TYPES, FileTable, column_in_memory
from braggscale.io.file_kind import Source
from braggscale.numerics.array_types import Array, Int
from braggscale.run_warnings import Code, warn

log = logging.getLogger(__name__)

_FLEX, _DIALS, _CCTBX = "scitbx_array_family_flex_ext", "dials_array_family_flex_ext", "cctbx_array_family_flex_ext"
_TABLE = (_DIALS, "reflection_table")
_GRID = (_FLEX, "grid")
_ENCODE = ("_codecs", "encode")
_MODULES = {"miller_index": _CCTBX, "int6": _DIALS, "shoebox": _DIALS}
# From the array class to the type of the column.
_CLASSES: dict[tuple[str, str], str] = {
    (_MODULES.get(name, _FLEX), name): tag
    for tag, name in [
        *((tag, kind.class_name) for tag, kind in TYPES.items()),
        (SHOEBOX, "shoebox"),
        (STRING, "std_string"),
    ]
}
_ALLOWED = {_TABLE, _GRID, _ENCODE, *_CLASSES}

_MOST_OBJECTS = 100_000
# Doublings before the walk: the stride is 2^4 elements.
_DOUBLINGS = 4


@dataclass(frozen=True, slots=True)
class _Global:
    """The name of a class or function; nothing is imported for it."""

    name: tuple[str, str]


@dataclass(slots=True, eq=False)
class _Record:
    """Record of a call that is not executed: its function, arguments and state."""

    name: tuple[str, str]
    arguments: tuple[Any, ...]
    state: list[Any] = field(default_factory=list)


class _Mark:
    """Where a list of items on the stack starts."""


class _Interpreter:
    """Follows the opcodes of one file."""

    def __init__(self, path: str, data: memoryview) -> None:
        self.path = path
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def damaged(self, what: str) -> InputError:
        return InputError(f"{self.path}: damaged or foreign pickled table, byte {self.position}: {what}")

    def take(self, n: int) -> memoryview:
        if n > len(self.data) - self.position:
            raise self.damaged(f"{n} bytes expected, but the file ends")
        self.position += n
        return self.data[self.position - n : self.position]

    def number(self, n_bytes: int) -> int:
        return int.from_bytes(self.take(n_bytes), "little")

    def line(self) -> str:
        end = bytes(self.data[self.position : self.position + 256]).find(b"\n")
        if end < 0:
            raise self.damaged("a name is longer than 255 bytes")
        text = bytes(self.take(end + 1)[:-1])
        if not text.isascii():
            raise self.damaged("a name is not ASCII")
        return text.decode("ascii")

    def push(self, value: Any) -> None:
        if len(self.stack) >= _MOST_OBJECTS:
            raise self.damaged("too many objects")
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise self.damaged("an instruction has nothing to work on")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        for k in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[k], _Mark):
                items = self.stack[k + 1 :]
                del self.stack[k:]
                return items
        raise self.damaged("an instruction has nothing to work on")

    def run(self) -> Any:
        """The object that the file describes. Raises InputError for an opcode that a table does not need."""
        while True:
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                return self.pop()
            action = _ACTIONS.get(code)
            if action is None:
                raise self.damaged(f"instruction {code:#04x} has no place in a reflection table; nothing was run")
            action(self)

    def find(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in _ALLOWED:
            raise self.damaged(
                f"the file wants to use {str(module)[:60]}.{str(name)[:60]}, which is no part of a reflection table; "
                "nothing was run"
            )
        self.push(_Global((module, name)))

    def remember(self, key: int) -> None:
        if not self.stack or len(self.memo) >= _MOST_OBJECTS:
            raise self.damaged("too many objects" if self.stack else "an instruction has nothing to work on")
        self.memo[key] = self.stack[-1]

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise self.damaged(f"object {key} is used before it is made")
        self.push(self.memo[key])

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise self.damaged("a call of something that cannot be called")
        if function.name == _ENCODE:
            # How Python 3 writes bytes into pickles of protocol 2.
            if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] not in ("latin1", "latin-1"):
                raise self.damaged("an encoding other than latin1")
            try:
                self.push(memoryview(arguments[0].encode("latin1")))
            except UnicodeEncodeError:
                raise self.damaged("a text that is not latin1") from None
            return
        self.push(_Record(function.name, arguments))

    def build(self) -> None:
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, _Record) or target.state:
            raise self.damaged("a state for something that takes none")
        target.state.append(state)

    def tuple_of(self, n: int) -> None:
        items = [self.pop() for _ in range(n)]
        self.push(tuple(reversed(items)))

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, dict) or len(items) % 2:
            raise self.damaged("entries for something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            name = _name(key)
            if name is None or name in target:
                raise self.damaged("a dictionary with a repeated or strange key")
            target[name] = value

    def text(self, n_bytes: int) -> None:
        try:
            self.push(str(self.take(self.number(n_bytes)), "utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise self.damaged("a text that is not UTF-8") from None

    def protocol(self) -> None:
        version = self.number(1)
        if not 2 <= version <= 5:
            raise self.damaged(f"protocol {version}; 2 to 5 are known")


def _name(key: Any) -> str | int | None:
    """A dictionary key as number or text."""
    if isinstance(key, (int, str)) and not isinstance(key, bool):
        return key
    if isinstance(key, memoryview) and len(key) <= 1 << 16:
        raw = bytes(key)
        return raw.decode("ascii") if raw.isascii() else None
    return None


_Action = Callable[[_Interpreter], object]
_ACTIONS: dict[int, _Action] = {
    0x80: _Interpreter.protocol,  # PROTO
    0x95: lambda i: i.take(8),  # FRAME, only a hint for reading ahead
    0x63: lambda i: i.find(i.line(), i.line()),  # GLOBAL
    0x93: lambda i: i.find(*reversed((i.pop(), i.pop()))),  # STACK_GLOBAL
    0x71: lambda i: i.remember(i.number(1)),  # BINPUT
    0x72: lambda i: i.remember(i.number(4)),  # LONG_BINPUT
    0x94: lambda i: i.remember(len(i.memo)),  # MEMOIZE
    0x68: lambda i: i.recall(i.number(1)),  # BINGET
    0x6A: lambda i: i.recall(i.number(4)),  # LONG_BINGET
    0x28: lambda i: i.push(_Mark()),  # MARK
    0x29: lambda i: i.push(()),  # EMPTY_TUPLE
    0x74: lambda i: i.push(tuple(i.pop_to_mark())),  # TUPLE
    0x85: lambda i: i.tuple_of(1),  # TUPLE1
    0x86: lambda i: i.tuple_of(2),  # TUPLE2
    0x87: lambda i: i.tuple_of(3),  # TUPLE3
    0x7D: lambda i: i.push({}),  # EMPTY_DICT
    0x73: lambda i: i.set_items(list(reversed((i.pop(), i.pop())))),  # SETITEM
    0x75: lambda i: i.set_items(i.pop_to_mark()),  # SETITEMS
    0x4B: lambda i: i.push(i.number(1)),  # BININT1
    0x4D: lambda i: i.push(i.number(2)),  # BININT2
    0x4A: lambda i: i.push(int.from_bytes(i.take(4), "little", signed=True)),  # BININT
    0x88: lambda i: i.push(True),  # NEWTRUE
    0x55: lambda i: i.push(i.take(i.number(1))),  # SHORT_BINSTRING
    0x54: lambda i: i.push(i.take(i.number(4))),  # BINSTRING
    0x43: lambda i: i.push(i.take(i.number(1))),  # SHORT_BINBYTES
    0x42: lambda i: i.push(i.take(i.number(4))),  # BINBYTES
    0x8E: lambda i: i.push(i.take(i.number(8))),  # BINBYTES8
    0x8C: lambda i: i.text(1),  # SHORT_BINUNICODE
    0x58: lambda i: i.text(4),  # BINUNICODE
    0x52: _Interpreter.call,  # REDUCE
    0x62: _Interpreter.build,  # BUILD
}


def read_table(source: Source) -> FileTable:
    """A table from a pickled one; all columns but shoeboxes are decoded at once.

    Raises InputError if the file needs anything but a table of arrays, or if an array is damaged.
    """
    path = source.path
    interpreter = _Interpreter(path, source.data)
    table = interpreter.run()
    if not isinstance(table, _Record) or table.name != _TABLE or table.arguments or len(table.state) != 1:
        raise interpreter.damaged("this is not a reflection table")
    state = table.state[0]
    if not isinstance(state, tuple) or len(state) not in (4, 5) or state[0] != len(state) - 3:
        raise interpreter.damaged("the table has an unknown layout")
    identifiers = _identifiers(interpreter, state[1]) if len(state) == 5 else {}
    n_rows, n_columns, arrays = state[-3:]
    if type(n_rows) is not int or type(n_columns) is not int or not isinstance(arrays, dict) or n_rows < 0:
        raise interpreter.damaged("the table has an unknown layout")
    if len(arrays) != n_columns:
        raise interpreter.damaged(f"{n_columns} columns are announced, {len(arrays)} are there")
    columns: dict[str, Column] = {}
    for name, record in arrays.items():
        tag, buffer = _array(interpreter, name, record, n_rows)
        if tag == SHOEBOX:
            continue
        if tag == STRING:
            warn(log, Code.COLUMN_DROPPED, f"{path}: column {name} is dropped: texts have no place in today's tables")
            continue
        try:
            columns[name] = column_in_memory(tag, decode(buffer, tag, n_rows))
        except InputError as error:
            raise InputError(f"{path}: damaged column {name!r}: {error}") from None
    notes: tuple[str, ...] = ()
    if (rest := len(source.data) - interpreter.position) > 0:
        notes = (f"{path}: {rest} bytes after the end of the table are ignored",)
    return FileTable(path, n_rows, columns, identifiers, notes)


def _identifiers(interpreter: _Interpreter, entries: Any) -> dict[int, str]:
    """The map from number to identifier."""
    result: dict[int, str] = {}
    for number, text in entries.items() if isinstance(entries, dict) else [(None, None)]:
        name = _name(text)
        if not isinstance(number, int) or number < 0 or not isinstance(name, str):
            raise interpreter.damaged("the identifiers are no map from number to text")
        result[number] = name
    if len(set(result.values())) != len(result):
        raise interpreter.damaged("two data sets have the same identifier")
    return result


def _array(interpreter: _Interpreter, name: Any, record: Any, n_rows: int) -> tuple[str, memoryview]:
    """Type and buffer of one column."""
    tag = _CLASSES.get(record.name) if isinstance(record, _Record) else None
    state = record.state[0] if tag is not None and len(record.state) == 1 else None
    if tag is None or not isinstance(name, str) or not isinstance(state, tuple) or len(state) != 2:
        raise interpreter.damaged(f"column {str(name)[:60]!r} is not an array")
    grid, buffer = state
    if (
        not isinstance(grid, _Record)
        or grid.name != _GRID
        or grid.arguments != ((0,), (n_rows,), True)
        or grid.state not in ([(n_rows,)], [])
    ):
        raise interpreter.damaged(f"column {name!r} does not have {n_rows} rows")
    if isinstance(buffer, str):
        try:
            buffer = memoryview(buffer.encode("latin1"))
        except UnicodeEncodeError:
            buffer = None
    if not isinstance(buffer, memoryview):
        raise interpreter.damaged(f"column {name!r} has no values")
    return tag, buffer


def decode(buffer: memoryview | bytes, tag: str, n_rows: int) -> Array:
    """The values in a base-256 buffer, (n_rows,) or (n_rows, k).

    Raises InputError if the buffer is not exactly ``n_rows`` elements long, or a value does not fit the type.
    """
    kind = TYPES[tag]
    raw = np.frombuffer(buffer, np.uint8)
    start = max(1, int(raw[0]) & 127) if len(raw) else 1
    if start > len(raw) or start > 9 or (len(raw) and raw[0] > 127):
        raise InputError("the count of elements is damaged")
    count = int.from_bytes(raw[1:start].tobytes(), "little")
    if count != n_rows:
        raise InputError(f"{count} elements instead of {n_rows}")
    raw = raw[start:]
    n = n_rows * kind.parts
    if n > len(raw):
        raise InputError(f"{n} numbers cannot stand in {len(raw)} bytes")
    if kind.dtype == np.bool_:
        if len(raw) != n or not ((raw == 0x30) | (raw == 0x31)).all():
            raise InputError("truth values other than 0 and 1")
        truth: Array = raw == 0x31
        return truth
    values = _reals(raw, n) if kind.dtype.kind == "f" else _integers(raw, n, kind.dtype)
    result: Array = values.reshape(kind.shape(n_rows))
    return result


def _orbit(step: Int, n: int) -> Int:
    """Positions 0, next(0), next(next(0)), ... of n elements, (n,).

    ``step``: next(i) for each i, (n_bytes + 2,); its last two entries catch the exact end and everything beyond it.
    """
    end = len(step) - 2
    doubled = [step]
    for _ in range(_DOUBLINGS if n > 1 << _DOUBLINGS else 0):
        doubled.append(doubled[-1][doubled[-1]])
    long_step, stride = doubled[-1], 1 << (len(doubled) - 1)
    walk = []
    position = 0
    for _ in range(-(-n // stride)):
        walk.append(position)
        position = int(long_step[position])
    orbit = np.array(walk, step.dtype)
    for half in reversed(doubled[:-1]):
        orbit = np.stack([orbit, half[orbit]], axis=1).ravel()
    orbit = orbit[:n]
    # The last number must start before the end and stop at it; next(end) is the end itself.
    if n and int(orbit[-1]) >= end or (int(step[orbit[-1]]) if n else 0) != end:
        raise InputError(f"{n} numbers do not fill its {end} bytes exactly")
    return orbit


def _next(raw: Array) -> Int:
    """Position after a whole number that would start at each byte, (n_bytes + 2,)."""
    end = len(raw)
    step: Array = np.arange(end + 2, dtype=np.int32 if end < 1 << 30 else np.int64)
    step[:end] += np.maximum(raw & 127, 1)
    step[step > end] = end + 1
    return step


def _digits(raw: Array, positions: Int) -> Array:
    """The up to eight bytes after each header, zeros beyond, (n, 8).  ``raw``: with nine bytes to spare at its end."""
    n_digits = np.maximum(raw[positions] & 127, 1) - 1
    if len(n_digits) and n_digits.max() > 8:
        raise InputError("a number of more than eight bytes")
    places = np.arange(8)
    digits: Array = raw[positions[:, None] + 1 + places]
    digits[places >= n_digits[:, None]] = 0
    return digits


def _integers(raw: Array, n: int, dtype: np.dtype[Any]) -> Array:
    """n whole numbers."""
    positions = _orbit(_next(raw), n)
    padded = np.concatenate([raw, np.zeros(9, np.uint8)])
    magnitude = _digits(padded, positions).view("<u8")[:, 0]
    negative = raw[positions] > 127
    if dtype.kind == "u":
        if negative.any():
            raise InputError("a negative number where none can be")
        return magnitude.astype(dtype)
    if (magnitude > np.uint64(0x7FFFFFFF) + negative.astype(np.uint64)).any():
        raise InputError("a number too large for its type")
    signed = magnitude.astype(np.int64)
    return np.where(negative, -signed, signed).astype(dtype)


def _reals(raw: Array, n: int) -> Array:
    """n real numbers: mantissa and exponent, or a single zero byte."""
    after = _next(raw)
    end = len(raw)
    step = after.copy()
    step[:end] = np.where(raw == 0, after[:end], after[after[:end]])
    # A mantissa at the very end has no exponent.
    step[:end][(raw != 0) & (after[:end] >= end)] = end + 1
    positions = _orbit(step, n)
    padded = np.concatenate([raw, np.zeros(10, np.uint8)])
    mantissa = _digits(padded, positions).view(">u8")[:, 0].astype(np.float64)
    mantissa[raw[positions] > 127] *= -1.0
    zero = raw[positions] == 0
    # For zeros any position is valid; their own byte is 0 and gives the exponent 0.
    places = np.where(zero, positions, after[positions])
    exponent = _digits(padded, places).view("<u8")[:, 0]
    if (exponent > 1 << 20).any():
        raise InputError("an exponent out of range")
    signed = np.where(padded[places] > 127, -exponent.astype(np.int64), exponent.astype(np.int64))
    # ldexp and not a product with 2^e: old files hold denormal numbers, for which 2^e alone is 0.
    with np.errstate(over="ignore"):
        return np.ldexp(mantissa, (signed - 64).astype(np.int32))
