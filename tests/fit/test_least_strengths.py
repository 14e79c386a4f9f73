"""Bounds of estimated strengths: corrections that are plausible, and no more of them than the data can support."""

from __future__ import annotations

import numpy as np
import pytest

from braggscale.fit.restraint_strengths import update
from braggscale.fit.restraints import Restraints
from braggscale.models.restraints import Restraint, effects, level

N = 40
NOTHING_FIXED = np.zeros(N, np.bool_)


def held(kind: str = "image", least: float = 0.0) -> Restraint:
    return Restraint(np.eye(N), 100.0, kind=kind, rank=N, least=least)


def step(
    restraint: Restraint, strength: float, size: float, effective: float, most: float = np.inf
) -> tuple[float, float]:
    """One step from ``strength``, for theta'S theta = ``size`` and ``effective`` parameters."""
    placed = [(slice(0, N), restraint)]
    theta = np.full(N, np.sqrt(size / N))
    traces = {restraint.kind: (N - effective) / strength}
    found, moved = update(placed, {restraint.kind: strength}, theta, traces, NOTHING_FIXED, most_effective=most)
    return found[restraint.kind], moved


def test_strengths_do_not_fall_below_the_least() -> None:
    assert step(held(), 100.0, 1.0, 20.0)[0] == pytest.approx(20.0)
    assert step(held(least=50.0), 100.0, 1.0, 20.0)[0] == 50.0
    # and there they have settled
    assert step(held(least=50.0), 50.0, 1.0, 20.0) == (50.0, 0.0)


def test_the_least_holds_whatever_is_asked_for() -> None:
    restraint = effects("image", N, 1e4)
    assert 0.0 < restraint.least < 1e4
    asked = Restraints([(slice(0, N), restraint)]).at({"image": 1e-9})
    assert asked.strengths["image"] == restraint.least
    assert asked.least == {"image": restraint.least}


@pytest.mark.parametrize(("effective", "falls"), [(4.0, True), (7.5, True), (10.0, False)])
def test_near_the_limit_strengths_fall_more_slowly(effective: float, falls: bool) -> None:
    free, _ = step(held(), 100.0, 1.0, effective)
    found, moved = step(held(), 100.0, 1.0, effective, most=10.0)
    assert free <= found * (1.0 + 1e-12) and found <= 100.0 * (1.0 + 1e-12)
    assert (moved > 1e-9) == falls


def test_beyond_the_limit_they_rise() -> None:
    found, _ = step(held(), 100.0, 1.0, 20.0, most=10.0)
    assert found == pytest.approx(200.0)


def test_differences_between_data_sets_are_not_counted() -> None:
    one = level("scale", 1, 4.0, relative=True)
    assert one.couples_data_sets
    coupled = Restraint(np.eye(N), 100.0, kind="scale level", rank=N, couples_data_sets=True)
    assert step(coupled, 100.0, 1.0, 20.0, most=10.0) == step(coupled, 100.0, 1.0, 20.0)
