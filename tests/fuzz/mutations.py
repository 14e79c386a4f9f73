"""Structured damage to files: values, types and shapes of columns, entries of JSON, words of text, bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import io_samples
import numpy as np

from braggscale.options.definitions import definitions

from .good_files import Columns

Random = np.random.Generator

REALS = (
    0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-300, 1e300, 1e155, 7e277, 1e200, 5e-324, -1.0, 1.0, 2.0,
    0.5, -1e9, 1e9, 1e15, 1e-150, 1e150, 5000.0, 400.0, 1e6, -1e-9, 1e-9, 1e30, 1e-30, 360.0,
)  # fmt: skip
WHOLES = (0, 1, -1, 2, 3, 100, 1000, -1000, 240, 241, 10**6, 2**31 - 1, -(2**31), 2**40, 2**62)
TEXTS = (
    "",
    "x",
    "\x1b[31m",
    "\x00",
    "a\nb",
    "\ud800",
    "1",
    "0",
    "nan",
    "P 1",
    "x" * 4000,
    "../x",
    "%s",
    "é",
    "{}",
    "#",
)
JSON_VALUES: tuple[Any, ...] = (
    None, True, False, [], {}, [1], [[]], {"x": 1}, 10**400, -1, 0, 1e308, float("nan"), float("inf"),
)  # fmt: skip


def pick(random: Random, items: Any) -> Any:
    """One of them."""
    return items[int(random.integers(len(items)))]


# Tables -----------------------------------------------------------------------------------------------------


def odd_values(random: Random, table: Columns, name: str) -> None:
    """One value, some or all values of a column become odd ones."""
    tag, values = table[name]
    values = np.array(values)
    flat = values.reshape(-1)
    how = random.integers(4)
    places = random.integers(len(flat), size=1 if how < 2 else 5) if how < 3 else slice(None)
    if values.dtype.kind == "f":
        flat[places] = pick(random, REALS)
    elif values.dtype.kind == "b":
        flat[places] = ~flat[places]
    else:
        info = np.iinfo(values.dtype)
        flat[places] = min(max(pick(random, WHOLES), int(info.min)), int(info.max))
    table[name] = tag, values


def scaled_values(random: Random, table: Columns, name: str) -> None:
    """A column or one row of it times a number."""
    tag, values = table[name]
    if values.dtype.kind != "f":
        return odd_values(random, table, name)
    values = np.array(values)
    where = slice(None) if random.integers(2) else int(random.integers(len(values)))
    with np.errstate(all="ignore"):
        values[where] *= pick(random, (-1.0, 2.0, 10.0, 1e-6, 1e6, 1e-3, 1e3, 1e100, 1e-100, 0.0))
    table[name] = tag, values
    return None


def without_column(random: Random, table: Columns, name: str) -> None:
    """A column less."""
    del table[name]


def other_type(random: Random, table: Columns, name: str) -> None:
    """The values of a column as another type."""
    tag = pick(random, list(io_samples.TAGS))
    dtype, parts = io_samples.TAGS[tag]
    values = np.asarray(table[name][1])
    with np.errstate(all="ignore"):
        flat = np.nan_to_num(values.reshape(len(values), -1)[:, :1]).clip(-(2**30), 2**30).astype(dtype)
    table[name] = tag, np.repeat(flat, parts, axis=1) if parts > 1 else flat[:, 0]


def exchanged(random: Random, table: Columns, name: str) -> None:
    """Two columns change places."""
    other = pick(random, sorted(table))
    table[name], table[other] = table[other], table[name]


def renamed(random: Random, table: Columns, name: str) -> None:
    """A column under another name."""
    table[pick(random, (*TEXTS, name + "x", "intensity.scale.value", "shoebox"))] = table.pop(name)


def other_rows(random: Random, table: Columns, name: str) -> None:
    """Rows that are fewer, in another order, or repeated."""
    n = len(table[name][1])
    how = random.integers(6)
    rows = (
        random.permutation(n) if how == 0 else
        np.arange(min(n, int(random.integers(4)))) if how == 1 else
        np.flatnonzero(random.random(n) < random.random()) if how == 2 else
        np.repeat(np.arange(n), int(random.integers(2, 9))) if how == 3 else
        random.integers(n, size=n) if how == 4 else
        np.zeros(n, int)
    )  # fmt: skip
    for other, (tag, values) in table.items():
        if not isinstance(values, tuple) and len(values) == n:
            table[other] = tag, values[rows]


def one_row_for_all(random: Random, table: Columns, name: str) -> None:
    """All rows of a column equal."""
    tag, values = table[name]
    table[name] = tag, np.repeat(values[:1], len(values), axis=0)


TABLE: tuple[Callable[[Random, Columns, str], None], ...] = (
    odd_values, odd_values, odd_values, odd_values, scaled_values, scaled_values, without_column, other_type, exchanged,
    renamed, other_rows, one_row_for_all,
)  # fmt: skip


def damaged_table(random: Random, table: Columns) -> tuple[Columns, dict[int, str]]:
    """A table with one to three faults, and identifiers that may have some, too."""
    table = dict(table)
    for _ in range(int(random.integers(1, 4))):
        names = [name for name, (_, values) in table.items() if len(values)]
        if names:
            pick(random, TABLE)(random, table, pick(random, sorted(names)))
    identifiers: dict[int, str] = {0: "0", 1: "1"}
    if random.random() < 0.1:
        identifiers[int(pick(random, (0, 1, 2, 5)))] = pick(random, [text for text in TEXTS if text != "\ud800"])
    return table, identifiers


# JSON -------------------------------------------------------------------------------------------------------


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        item = todo.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        found += [(item, key) for key in keys]
        todo += [item[key] for key in keys]
    return found


def damaged_json(random: Random, good: Any) -> bytes:
    """A JSON text with one to three faults, most of them not deep inside long lists of numbers."""
    value = deepcopy(good)
    for _ in range(int(random.integers(1, 4))):
        everywhere = places(value)
        if not everywhere:
            break
        few = [(box, key) for box, key in everywhere if not (isinstance(box, list) and len(box) > 20 and key > 2)]
        box, key = pick(random, few)
        old = box[key]
        how = random.integers(7)
        if how == 0:
            del box[key]
        elif how == 1 and isinstance(old, int | float) and abs(old) < 1e200:
            box[key] = old * pick(random, (-1, 0, 2, 1000, 1e9, 1e-9, 1e300))
        elif how == 2 and isinstance(old, list) and old:
            box[key] = old[:-1] if random.integers(2) else old + old[:1]
        elif how == 3:
            box[key] = pick(random, TEXTS)
        elif how == 4:
            box[key] = pick(random, REALS)
        elif how == 5:
            box[key] = pick(random, WHOLES)
        else:
            box[key] = deepcopy(pick(random, JSON_VALUES))
    return json.dumps(value).encode()


# Text of options --------------------------------------------------------------------------------------------


# Where files go is the user's choice, and needs no fault to go wrong; the number of threads is the machine's.
_KEPT = ("output.", "nproc", "report.compare")


def damaged_phil(random: Random) -> bytes:
    """Options with odd values, sometimes with broken text around them."""
    options = [name for name in definitions().options if not name.startswith(_KEPT)]
    lines = []
    for _ in range(1 if random.random() < 0.7 else int(random.integers(2, 4))):
        name = pick(random, options)
        choices = definitions().options[name].choices or ()
        values = [str(x) for x in (*REALS, *WHOLES, *TEXTS)] + ["None", "Auto", "True", "1,2", "1 2 3", "0:1:5", "1e-4"]
        lines.append(f"{name} = {pick(random, [*values, *choices])}")
    if random.random() < 0.2:
        lines.insert(0, pick(random, ("{", "}", "physical {", 'a = "', "include file x", "x = $(ls)", "#", "!", "\\")))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


# Bytes ------------------------------------------------------------------------------------------------------


def damaged_bytes(random: Random, good: bytes, most: int = 8, head: int = 0) -> bytes:
    """Bytes that are changed, lost, repeated or new; with ``head`` most of them among the first so many."""
    data = bytearray(good)
    for _ in range(int(random.integers(1, most))):
        end = len(data) if not head or random.random() < 0.3 else min(head, len(data))
        at = int(random.integers(max(end, 1)))
        n = int(random.integers(1, 16))
        how = random.integers(6)
        if how < 2 and data:
            data[at % len(data)] = int(random.integers(256))
        elif how == 2:
            data[at : at + n] = b""
        elif how == 3:
            data[at:at] = data[at : at + n]
        elif how == 4:
            data[at : at + n] = pick(random, (b"\xff" * n, b"\x00" * n, b"99999999", b"-1", b"\x7f\xff\xff\xff"))
        elif random.random() < 0.3:
            del data[at:]
    return bytes(data)


def damaged_mtz(random: Random, good: bytes) -> bytes:
    """An MTZ file with other numbers in its header, other values, or other bytes."""
    how = random.integers(3)
    if how == 0:
        return damaged_bytes(random, good)
    at = good.index(b"VERS MTZ")
    head = good[at:].decode("latin-1")
    if how == 1:
        words = head.split(" ")
        for _ in range(int(random.integers(1, 4))):
            k = int(random.integers(len(words)))
            if words[k].strip():
                number = str(pick(random, (*WHOLES, *REALS, "x", "99999999", "P1")))
                words[k] = number[: len(words[k])].ljust(len(words[k]))
        head = " ".join(words)
        return good[:at] + head.encode("latin-1")
    values = np.frombuffer(good[80:at], "<f4").copy()
    values[random.integers(len(values), size=4)] = pick(random, (np.nan, np.inf, 3e9, -3e9, 1e30, 0.5, -1, 2147483648))
    return good[:80] + values.tobytes() + good[at:]
