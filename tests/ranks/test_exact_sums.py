"""Sums that do not depend on how rows and ranks are divided."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_threads import run_on

from braggscale.ranks.communicator import Alone
from braggscale.ranks.exact_sums import ExactSums


def adder(number, terms):
    def add(sums):
        up, total, largest = sums
        for h, row in zip(number, terms, strict=True):
            for k, t in enumerate(row):
                largest[h, k] = max(largest[h, k], abs(t))
                units = float(t) * float(up[h, k])
                if abs(units) < 4e18:
                    total[h, k] += np.int64(np.rint(units))

    return add


def data(seed, n, n_groups, orders):
    rng = np.random.default_rng(seed)
    number = rng.integers(0, n_groups, n)
    terms = rng.normal(size=(n, 2)) * 10.0 ** rng.uniform(-orders, orders, (n, 2))
    return number, terms


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 60), st.floats(0, 20))
def test_any_division_gives_the_same_bits(seed, size, n, orders):
    number, terms = data(seed, n, 5, orders)
    counts = np.bincount(number, minlength=5)
    whole = ExactSums(Alone()).collect("x", counts, 2, adder(number, terms))
    of_rank = np.random.default_rng(seed + 1).integers(0, size, n)

    def work(ranks):
        mine = np.flatnonzero(of_rank == ranks.rank)[::-1]
        return ExactSums(ranks).collect("x", counts, 2, adder(number[mine], terms[mine]))

    for found in run_on(size, work):
        assert found.tobytes() == whole.tobytes()
    for h in range(5):
        for k in range(2):
            exact = float(sum((Fraction(t) for t in terms[number == h, k]), Fraction(0)))
            largest = np.abs(terms[number == h, k]).max(initial=0.0)
            assert abs(whole[h, k] - exact) <= largest * max(counts[h], 1) * 2.0**-50


def test_terms_that_grow_from_one_sum_to_the_next_are_gone_over_again():
    sums, counts = ExactSums(Alone()), np.array([3, 3])
    number, ones = np.array([0, 0, 0, 1, 1, 1]), np.ones((6, 1))
    for factor in (1.0, 3e9, 1e-12, 0.0, 1e100, 5.0):
        found = sums.collect("x", counts, 1, adder(number, factor * ones))
        assert found == pytest.approx(3.0 * factor * np.ones((2, 1)), rel=1e-14)


@pytest.mark.parametrize("size", [1, 3])
def test_sums_over_crystals(size):
    rng = np.random.default_rng(3)
    values = rng.normal(size=(50, 3)) * [1.0, 1e8, 0.0]

    def work(ranks):
        return ExactSums(ranks).over_crystals(values[ranks.rank :: size], 50)

    for found in run_on(size, work):
        assert found == pytest.approx([math.fsum(column) for column in values.T], rel=1e-12, abs=1e-12)
        assert found.tobytes() == ExactSums(Alone()).over_crystals(values[::-1], 50).tobytes()


def test_sums_of_numbers_with_a_point_are_refused():
    with pytest.raises(TypeError, match="only whole numbers"):
        Alone().allreduce(np.ones(2))
