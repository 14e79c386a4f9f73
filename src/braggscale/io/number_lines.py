"""Fast reading of tables of numbers in text files; errors name the line and the number that is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.errors import InputError
from braggscale.numerics.array_types import Array
from braggscale.numerics.compiled import text_numbers


def read_number_lines(
    path: str, data: memoryview, start: int, stop: int, slots: Sequence[int], names: Sequence[str], comment: str = "!"
) -> Array:
    """Numbers of all lines in ``data[start:stop]``, (n_columns, n_rows), double precision.

    ``slots``: for each item of a line the column in which it is stored, -1 for none.  ``names``: of the items, for
    messages.
    Raises InputError for a line with fewer items, with a word in place of a number, or with numbers run together.
    """
    text = np.frombuffer(data, np.uint8)
    n_columns = max(slots) + 1
    table = np.empty((n_columns, text_numbers.count_lines(text, start, stop)))
    n, why, at, item = text_numbers.read_rows(text, start, stop, ord(comment), np.array(slots, np.int32), table)
    _complain(path, data, text, why, at, item, names)
    return table if n == table.shape[1] else np.ascontiguousarray(table[:, :n])


def read_fixed_lines(
    path: str,
    data: memoryview,
    start: int,
    stop: int,
    widths: Sequence[int],
    names: Sequence[str],
    ends_with_zeros: bool = False,
) -> Array:
    """Numbers in columns of fixed width, (n_columns, n_rows); a blank line ends them; blank fields are NaN.

    ``ends_with_zeros``: a row whose first three numbers are 0 ends them, too.

    Raises InputError for a field that is no number.
    """
    text = np.frombuffer(data, np.uint8)
    table = np.empty((len(widths), text_numbers.count_lines(text, start, stop)))
    n, why, at, item = text_numbers.read_fixed(text, start, stop, ends_with_zeros, np.array(widths, np.int32), table)
    _complain(path, data, text, why, at, item, names)
    return np.ascontiguousarray(table[:, :n])


def _complain(path: str, data: memoryview, text: Array, why: int, at: int, item: int, names: Sequence[str]) -> None:
    """Raises InputError if reading stopped before the end of the data."""
    if why in (text_numbers.END, text_numbers.FULL):
        return
    line = text_numbers.count_lines(text, 0, at) + 1
    shown = bytes(data[at : at + 200]).split(b"\n", 1)[0].decode("ascii", "replace").strip()[:70]
    name = names[item] if item < len(names) else f"item {item + 1}"
    if why == text_numbers.TOO_FEW:
        raise InputError(
            f"{path}: line {line} has {item} items, {len(names)} are expected ({name} is missing): {shown!r}; "
            "the file is cut short or damaged"
        )
    if why == text_numbers.RUN_TOGETHER:
        raise InputError(f"{path}: line {line}: numbers run together at {name}: {shown!r}")
    raise InputError(f"{path}: line {line}: {name} is not a number: {shown!r}")
