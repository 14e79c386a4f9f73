"""Real data of which corrections once ran away: small, with shadows on the detector, with grids of few reflections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import braggscale as bs
from braggscale.api.run import Run
from braggscale.data.observations import GeometryView
from braggscale.numerics.array_types import Float


def factors(run: Run, name: str) -> Float:
    """The factor of one component of the observations that are not rejected, (n,)."""
    result = run._result
    rows, theta = result.data.rows, result.scaled.outcome.theta
    use = np.flatnonzero(~result.scaled.state.rejected)
    return result.model.product(GeometryView(rows, use), theta, lambda component: component.name == name)


def scales(run: Run) -> Float:
    """g of the observations that are not rejected, (n,)."""
    state = run._result.scaled.state
    return np.asarray(state.scale[~state.rejected])


@pytest.fixture(scope="module")
def small_molecule(shared_data: Path) -> dict[str, Run]:
    data = bs.read(shared_data / "bitbx_xds" / "INTEGRATE.HKL")
    constant = {"model": "KB", "KB.modulation_correction": False}
    return {
        "default": bs.scale(data, **{"physical.image_correction": False}),
        "constant": bs.scale(data, **constant),
    }


def test_absorption_and_map_do_not_run_away(small_molecule: dict[str, Run]) -> None:
    run = small_molecule["default"]
    assert np.count_nonzero(run._result.scaled.state.shadowed) > 1000
    absorption, modulation = factors(run, "absorption"), factors(run, "modulation")
    assert absorption.min() > 0.8 and absorption.max() < 1.25
    assert modulation.min() > 0.6 and modulation.max() < 1.5


def test_all_corrections_together_have_no_trend_with_resolution(small_molecule: dict[str, Run]) -> None:
    run = small_molecule["default"]
    state, rows = run._result.scaled.state, run._result.data.rows
    use = np.flatnonzero(~state.rejected)
    order = use[np.argsort(rows.d[use], kind="stable")]
    shells = np.array_split(order, 10)
    mean = np.array([np.log(state.scale[part].mean()) for part in shells])
    s = np.array([np.mean(0.5 / rows.d[part] ** 2) for part in shells])
    line = np.polyfit(s, mean, 1)
    assert np.abs(mean - np.polyval(line, s)).max() < 0.02


def test_equivalents_agree_better_than_with_a_constant(small_molecule: dict[str, Run]) -> None:
    default, constant = (small_molecule[name].statistics for name in ("default", "constant"))
    assert default is not None and constant is not None
    assert default.overall.r_meas < 0.3 * constant.overall.r_meas


@pytest.mark.parametrize("model", ["array", "auto"])
def test_few_reflections_do_not_let_scales_vanish(shared_data: Path, model: str) -> None:
    folder = shared_data / "quartz_ed"
    run = bs.scale(bs.read(folder / "integrated.expt", folder / "integrated.refl"), model=model)
    g = scales(run)
    assert g.min() > 0.2 * np.median(g)
    assert run.statistics is not None and run.statistics.overall.r_meas < 0.2
