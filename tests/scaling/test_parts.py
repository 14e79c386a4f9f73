"""Data sets that share no reflection: each part is scaled by itself, and nothing runs away."""

from __future__ import annotations

from pathlib import Path

import io_samples
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.cli import main
from braggscale.data.connected_sets import connected_sets
from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import Groups
from braggscale.io import open_inputs


def slow(data_set: list[int], sizes: list[int], n: int) -> list[int]:
    """Parts by walking from data set to data set."""
    groups = np.split(np.array(data_set), np.cumsum(sizes)[:-1])
    part = [-1] * n
    for first in range(n):
        if part[first] < 0:
            number, todo = max(part) + 1, [first]
            while todo:
                one = todo.pop()
                if part[one] < 0:
                    part[one] = number
                    todo += [int(other) for group in groups if one in group for other in group]
    return part


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_parts_as_by_walking(n: int, sizes: list[int], seed: int) -> None:
    data_set = np.random.default_rng(seed).integers(0, n, sum(sizes))
    found = connected_sets(data_set, Groups.of_sizes(np.array(sizes)), n)
    assert found.tolist() == slow(data_set.tolist(), sizes, n)


@pytest.mark.parametrize("n", [2, 50, 400])
def test_a_chain_is_one_part(n: int) -> None:
    data_set = np.repeat(np.arange(n), 2)[1:-1]
    assert not connected_sets(data_set[::-1].copy(), Groups.of_sizes(np.full(n - 1, 2)), n).any()


EXAMPLE = [str(Path(__file__).parents[2] / "examples" / f"simulated.{ending}") for ending in ("expt", "refl")]


def test_parts_in_other_units_are_scaled_each_by_itself(tmp_path, monkeypatch, capsys):
    data = open_inputs(EXAMPLE)
    symmetry = Symmetry.from_hall(data.data_sets[0].experiment.crystal.hall)
    parts: dict[str, tuple[str, list]] = {}
    for k, data_set in enumerate(data.data_sets):
        asu = symmetry.asu(data_set.table["miller_index"])[0]
        rows = np.flatnonzero((asu @ [7, 131, 1009]) % 4 == k)
        for name, column in data_set.table.columns.items():
            values = np.array(data_set.table[name])[rows]
            if k and name.startswith(("intensity", "background")):
                values = values * (1e4 if name.endswith("value") else 1e8)
            parts.setdefault(name, (column.tag, []))[1].append(values)
    table = {name: (tag, np.concatenate(values)) for name, (tag, values) in parts.items()}
    monkeypatch.chdir(tmp_path)
    Path("in.refl").write_bytes(io_samples.refl(table, {0: "0", 1: "1"}))
    assert main(["-q", EXAMPLE[0], "in.refl", "output.html=None", "nproc=1"]) == 0
    text = " ".join(Path("scale.log").read_text().split())
    assert "fall into 2 parts that share no reflection (0; 1)" in text
    merged = []
    for data_set in open_inputs(["scaled.expt", "scaled.refl"]).data_sets:
        good = data_set.table["scaling_fate"] == 0
        assert good.mean() > 0.8
        merged.append(np.mean((data_set.table["intensity.scale.value"] / data_set.table["inverse_scale_factor"])[good]))
    assert merged[0] == pytest.approx(merged[1], rel=0.3)
