"""Gaps between modules of a detector: found where reflections leave them, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_samples import mtz, mtz_columns, reflections

from braggscale.io.detector_gaps import strips, with_gaps
from braggscale.io.read_mtz import read

MODULE, GAP, N_MODULES = 487, 7, 5
SIZE = N_MODULES * MODULE + (N_MODULES - 1) * GAP
GAPS = [(k * (MODULE + GAP) - GAP, k * (MODULE + GAP)) for k in range(1, N_MODULES)]


def positions(n: int, seed: int, centre: float = 0.0) -> np.ndarray:
    """Positions on the modules, denser towards the centre of the detector."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, SIZE, n)
    if centre:
        x = np.where(rng.random(n) < centre, rng.normal(SIZE / 2, SIZE / 8, n), x)
    return x[(x % (MODULE + GAP)) < MODULE]


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), centre=st.sampled_from([0.0, 0.5]))
def test_gaps_are_found(seed: int, centre: float) -> None:
    found = strips(positions(60_000, seed, centre), SIZE)
    assert len(found) == len(GAPS)
    for got, wanted in zip(found, GAPS, strict=True):
        assert np.abs(np.subtract(got, wanted)).max() <= 2


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), n=st.sampled_from([0, 1, 30, 1000, 60_000]))
def test_a_detector_of_one_piece_has_none(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    assert strips(rng.uniform(-5, SIZE + 5, n), SIZE) == []
    # neither the edge that no reflection reaches nor a shadow across the detector is a gap
    x = rng.uniform(100, SIZE - 60, n)
    assert strips(x[np.abs(x - 700) > 20], SIZE) == []


def test_few_reflections_show_none() -> None:
    assert strips(positions(3000, 1), SIZE) == []


def test_strays_in_a_gap_and_a_gap_that_is_not_seen() -> None:
    x = positions(400_000, 2)
    stray = np.repeat([GAPS[0][0] + 3.5, GAPS[2][0] + 2.5], 2)
    filled = np.random.default_rng(3).uniform(*GAPS[1], 3000)
    found = strips(np.concatenate([x, stray, filled]), SIZE)
    assert [np.mean(gap) for gap in found] == pytest.approx([np.mean(gap) for gap in GAPS], abs=1.5)


def test_files_on_one_detector_are_taken_together() -> None:
    one = read("x.mtz", memoryview(mtz(mtz_columns(), u=reflections()["u"])))
    panel = replace(one.experiments[0].panels[0], image_size=(SIZE, 1000))
    readings = []
    for seed in range(2):
        x = positions(5000, seed)
        xyz = np.column_stack([x, np.random.default_rng(seed).uniform(0, 1000, len(x)), np.ones(len(x))])
        columns = {"id": ("int", np.zeros(len(x), np.int32)), "xyzobs.px.value": ("vec3<double>", xyz)}
        experiments = (replace(one.experiments[0], panels=(panel,)),)
        readings.append(replace(one, experiments=experiments, columns=columns))
    masks = [[panel.mask for panel in reading.experiments[0].panels] for reading in with_gaps(readings)]
    assert masks[0] == masks[1] and len(masks[0][0]) == len(GAPS)
    (alone,) = with_gaps(readings[:1])
    assert alone.experiments[0].panels[0].mask == ()
