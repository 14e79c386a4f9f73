"""Simulated damage follows its law, and data sets that are spoiled for the benchmark of filtering are these alone."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import filtering
import simulate
from simulation import refl
from simulation.design import Options
from simulation.passage import make_world
from simulation.trouble import damaged_intensity, seen_intensity

SMALL = Options(kind="crystals", count=8, degrees=4.0, width=1.0, reflections=2100, d_min=3.0, lean=True, seed=3)


@pytest.mark.parametrize("law", ["linear", "exponential", "saturating", "sites"])
def test_damage_begins_at_nothing_and_keeps_the_mean(law):
    truth = make_world(replace(SMALL, reflections=20_000)).truth
    unique = np.arange(2 * len(truth.d))
    at = [damaged_intensity(truth, 0.5, law, unique, np.full(len(unique), dose)) for dose in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(at[0], truth.intensity, rtol=1e-9)
    assert all(i.min() >= 0 and i.mean() == pytest.approx(at[0].mean(), rel=0.06) for i in at[1:])
    change = [np.abs(i - at[0]).mean() for i in at[1:]]
    assert 0 < change[0] < change[1]
    if law != "sites":
        np.testing.assert_allclose(at[2], seen_intensity(truth, 0.5), rtol=1e-9)
    assert (change[0] / change[1] > 0.55) == (law in ("exponential", "saturating"))


def test_only_the_chosen_data_sets_are_spoiled(tmp_path):
    simulate.simulate(SMALL, tmp_path)
    before = refl.read(tmp_path / "simulated.refl")
    kinds = [*filtering.KINDS, "", ""]
    filtering.spoil(tmp_path, SMALL, kinds)
    after = refl.read(tmp_path / "simulated.refl")
    assert all(np.array_equal(before[name], after[name]) for name in before if not name.endswith(".value"))
    document = json.loads((tmp_path / "simulated.expt").read_text())
    ratio = [document["beam"][one["beam"]]["wavelength"] / SMALL.wavelength for one in document["experiment"]]
    np.testing.assert_allclose(ratio, [filtering.WRONG_WAVELENGTH if k == "wavelength" else 1.0 for k in kinds])
    value = "intensity.sum.value"
    for k, kind in enumerate(kinds):
        rows = before["id"] == k
        share = np.mean(before[value][rows] != after[value][rows])
        shares = {"": (0.0, 0.0), "wavelength": (0.0, 0.0), "half": (0.3, 0.7), "blank": (0.2, 0.6)}
        low, high = shares.get(kind, (0.85, 1.0))
        assert low <= share <= high, kind


def test_bad_data_sets_are_spread_among_the_others():
    kinds = filtering.kinds_of(40, 6)
    assert sorted(kind for kind in kinds if kind) == sorted(filtering.KINDS)
    assert max(np.diff(np.flatnonzero([bool(kind) for kind in kinds]))) < 10
    assert not any(filtering.kinds_of(10, 0))
