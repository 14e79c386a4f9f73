"""Numbers and lists as text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggscale.wording import all_of, decimals, show, show_interval, show_short, show_with_error, some_of


def test_lists():
    assert some_of(["a"], 2) == "a"
    assert some_of(["a", "b"], 2) == "a, b"
    assert some_of(["a", "b", "c", "d", "e"], 2) == "a, b and 3 more"
    assert some_of({"a": 1, "b": 2, "c": 3}, 1, "runs") == "a and 2 more runs"
    assert all_of(["a"]) == "a"
    assert all_of(["a", "b"]) == "a and b"
    assert all_of(name for name in "abc") == "a, b and c"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, 0.0123, "1.235 ± 0.012"),
        (123.456, 12.3, "123 ± 12"),
        (0.001, 1e-12, "0.0010000 ± 0.0000000"),
        (1.23456, None, "1.235"),
        (1.23456, math.nan, "1.235"),
        (None, 0.1, "-"),
        (2.0, 0.0, "2.0000 ± 0.0000"),
    ],
)
def test_digits_by_the_error(value, error, text):
    assert show_with_error(value, error) == text


@given(st.floats(1e-6, 1e6))
def test_two_digits_of_the_error_are_shown(error):
    """The rounding error is less than a tenth of the standard deviation."""
    assert 0.5 * 10.0 ** -decimals(error) <= 0.051 * max(error, 1e-6) or error > 10


def test_what_is_not_known():
    assert show(None, 2) == show(math.nan, 2) == show_short(math.inf) == "-"
    assert show_short(None, unknown="–") == "–"
    assert show(1.005, 1) == "1.0" and show_short(12345.678) == "1.235e+04" and show_short(12345) == "12345"


def test_intervals():
    assert show_interval(0.03491, 0.03642, "-") == "0.0349-0.0364"
    assert show_interval(-0.084, 0.22, " to ") == "-0.08 to 0.22"
