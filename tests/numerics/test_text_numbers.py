"""Numbers out of text against Python's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggscale.errors import InputError
from braggscale.io.number_lines import read_fixed_lines, read_number_lines


def number(text: str) -> float:
    return float(read_number_lines("x", memoryview(text.encode() + b"\n"), 0, len(text) + 1, [0], ["a"])[0, 0])


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 15), st.integers(-7, 7))
def test_up_to_15_digits_are_exact(digits: int, point: int, exponent: int) -> None:
    text = f"{abs(digits):016d}"
    text = ("-" if digits < 0 else "") + text[: 16 - point] + "." + text[16 - point :] + f"E{exponent:+d}"
    assert number(text) == float(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_longer_ones_to_the_last_places(value: float) -> None:
    text = repr(value)
    assert math.isclose(number(text), value, rel_tol=1e-14, abs_tol=1e-300)


@pytest.mark.parametrize(
    ("text", "value"), [("1.5D+02", 150.0), ("1.5d2", 150.0), ("+3", 3.0), (".5", 0.5), ("7.", 7.0), ("-0", -0.0)]
)
def test_forms_of_fortran(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["****", "NaN", "-nan"])
def test_what_is_no_value(text: str) -> None:
    assert math.isnan(number(text))


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=20), st.data())
def test_lines_with_blanks_and_comments(rows: Any, draw: Any) -> None:
    text = "! comment 1 2 3\n\n"
    for row in rows:
        blanks = draw.draw(st.sampled_from([" ", "   ", "\t"]))
        text += blanks + blanks.join(f"{x:.4f}" for x in row) + draw.draw(st.sampled_from(["\n", "  \r\n", " more\n"]))
    data = memoryview(text.encode())
    found = read_number_lines("x", data, 0, len(data), [1, -1, 0], ["a", "b", "c"])
    np.testing.assert_array_equal(found.T, [[float(f"{r[2]:.4f}"), float(f"{r[0]:.4f}")] for r in rows])


def test_fixed_columns_may_touch() -> None:
    text = b"-100-200-300-9999.99-1234.56   1\n   1   2   3    4.00    0.50\n\n junk"
    found = read_fixed_lines("x", memoryview(text), 0, len(text), [4, 4, 4, 8, 8, 4], list("abcdef"))
    np.testing.assert_array_equal(found[:5].T, [[-100, -200, -300, -9999.99, -1234.56], [1, 2, 3, 4, 0.5]])
    assert found[5, 0] == 1
    assert math.isnan(found[5, 1])


def test_errors_name_line_and_item() -> None:
    with pytest.raises(InputError, match=r"x: line 2 has 1 items, 2 are expected \(b is missing\): '3'"):
        read_number_lines("x", memoryview(b"1 2\n3\n"), 0, 6, [0, 1], ["a", "b"])
    with pytest.raises(InputError, match="x: line 1: numbers run together at a: '1-2 3'"):
        read_number_lines("x", memoryview(b"1-2 3\n"), 0, 6, [0, 1], ["a", "b"])
    with pytest.raises(InputError, match="x: line 1: b is not a number: '1   x'"):
        read_fixed_lines("x", memoryview(b"   1   x\n"), 0, 9, [4, 4], ["a", "b"])
