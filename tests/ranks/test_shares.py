"""Input files in units, and who reads what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggscale.errors import CommandError
from braggscale.ranks.shares import shares, units_of


def make(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"x" * 10)
    return [str(folder / name) for name in names]


def test_pairs_are_units_in_the_order_of_their_first_file(tmp_path):
    files = make(tmp_path, "b.refl", "a.expt", "c.stream", "a.refl", "b.expt")
    units = units_of(files)
    assert [[name.rsplit("/", 1)[1] for name in unit.files] for unit in units] == [
        ["b.expt", "b.refl"], ["a.expt", "a.refl"], ["c.stream"],
    ]  # fmt: skip
    assert [unit.number for unit in units] == [0, 1, 2] and [unit.size for unit in units] == [20, 20, 10]


def test_half_a_pair_is_refused_by_name(tmp_path):
    with pytest.raises(CommandError, match=r"a\.expt: no reflections .* of the same name"):
        units_of(make(tmp_path, "a.expt"))
    with pytest.raises(CommandError, match=r"b\.refl: no experiments"):
        units_of(make(tmp_path, "b.refl"))
    with pytest.raises(CommandError, match="give it once"):
        units_of(2 * make(tmp_path, "c.stream"))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40), st.integers(1, 50))
def test_shares_are_runs_and_nearly_even(sizes, n_ranks):
    of = shares(sizes, n_ranks)
    assert len(of) == len(sizes) and of.min() >= 0 and of.max() < n_ranks
    assert (np.diff(of) >= 0).all()
    size = np.maximum(sizes, 1)
    assert np.bincount(of, size, n_ranks).max() <= size.sum() / n_ranks + size.max() + 1e-9
