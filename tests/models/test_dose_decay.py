"""The model dose_decay: its derivative, the dose it counts, and the rate of decay that a fit finds again."""

import json
import sys
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic
from option_samples import options

from braggscale.cli import main
from braggscale.data.observations import GeometryView
from braggscale.fit.fit_scales import fit
from braggscale.fit.problem import Problem
from braggscale.fit.solver import FitSettings
from braggscale.models import build
from braggscale.models.choice import resolve_model
from braggscale.models.curves import curve
from braggscale.models.data_set_model import Extent
from braggscale.models.joint_model import JointModel
from braggscale.models.settings import SweepFacts
from braggscale.models.stored_model import keep_stored, start_parameters
from braggscale.scaling.plan import model_request

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import simulate
from simulation.design import Options

IMAGES = 900
FACTS = SweepFacts("0", False, 90.0, 30.0, n_rows=5000)
BEFORE = (0.0, 900.0, 1800.0)  # images of the crystal before each of three sweeps


def sweeps(*words, before=BEFORE):
    """Models of three sweeps of 90 degrees, and the settings that they share."""
    settings, _ = resolve_model(model_request(options("model=dose_decay", "restraints=fixed", *words)), FACTS)
    image = (0.0, float(IMAGES))
    extent = Extent(image, (0.0, 100.0), (0.0, 100.0), (0.04, 1.2), (1, IMAGES), 0.0, 0.1, dose_before=before)
    return [build(settings, extent, str(k)) for k in range(len(before))], settings


@pytest.mark.parametrize("dependence", ["quadratic", "linear"])
def test_the_decay_grows_with_the_dose_of_all_sweeps(dependence):
    models, _ = sweeps("relative_B_correction=False", f"resolution_dependence={dependence}")
    joint = JointModel.of(models)
    rows, _ = synthetic.observations(np.random.default_rng(1), n_data_sets=3)
    theta = joint.null()
    theta[joint.where(0, 1)] = -1e-5
    g = joint.evaluate(rows, theta)[0]
    dose = rows.xyz[:, 2] + np.array(BEFORE)[rows.data_set]
    expected = np.exp(-1e-5 * dose / rows.d ** (2 if dependence == "quadratic" else 1))
    np.testing.assert_allclose(g, expected, rtol=1e-12)


def test_with_a_b_of_each_sweep_the_dose_is_that_of_dials():
    joint = JointModel.of(sweeps()[0])
    rows, _ = synthetic.observations(np.random.default_rng(1), n_data_sets=3)
    theta = joint.null()
    theta[joint.where(2, 1)] = -1e-5
    np.testing.assert_allclose(joint.evaluate(rows, theta)[0], np.exp(-1e-5 * rows.xyz[:, 2] / rows.d**2), rtol=1e-12)


@pytest.mark.parametrize("share", [True, False])
def test_a_rate_is_shared_if_asked_for(share):
    models, _ = sweeps(f"dose_decay.share.decay={share}")
    joint = JointModel.of(models)
    assert len({joint.where(d, 1).start for d in range(3)}) == (1 if share else 3)
    assert models[0].configuration.get("shared") == (["decay"] if share else None)


def test_the_derivative_is_that_of_finite_differences():
    joint = JointModel.of(sweeps("absorption_correction=True")[0])
    rng = np.random.default_rng(3)
    rows, _ = synthetic.observations(rng, n_data_sets=3)
    theta = joint.null()
    theta[joint.where(0, 1)] = -2e-4
    row = joint.design(rows).log_derivative(theta, np.ones(len(rows)))
    where, step = joint.where(0, 1).start, 1e-8
    above, below = theta.copy(), theta.copy()
    above[where] += step
    below[where] -= step
    change = np.log(joint.evaluate(rows, above)[0]).sum() - np.log(joint.evaluate(rows, below)[0]).sum()
    assert row[where] == pytest.approx(change / (2 * step), rel=1e-5)


def test_a_fit_finds_rate_and_b_factors_again():
    joint = JointModel.of(sweeps("scale_interval=30")[0])
    rng = np.random.default_rng(4)
    rows, groups = synthetic.observations(rng, n_groups=400, n_data_sets=3, size=(4, 8))
    truth = joint.null()
    truth[joint.where(0, 1)] = -1.5e-3
    for d, b in enumerate((1.0, -0.5, -0.5)):
        truth[joint.where(d, 2)] = b
    g = joint.evaluate(rows, truth)[0]
    intensity = g * groups.spread(rng.exponential(1000.0, len(groups)))
    whole = Problem.of(joint, rows, groups, np.zeros(joint.n_parameters, bool))
    found = fit(whole, joint.null(), intensity, np.full(len(rows), 1.0), FitSettings(True, True, None, 100, 1e-6))
    assert found.theta[joint.where(0, 1)][0] == pytest.approx(-1.5e-3, rel=1e-3)
    b = np.array([found.theta[joint.where(d, 2)][0] for d in range(3)])
    np.testing.assert_allclose(b - b.mean(), [1.0, -0.5, -0.5], atol=2e-3)


def test_the_curve_of_the_report_is_the_b_factor_so_far():
    models, _ = sweeps("relative_B_correction=False")
    decay = models[1].components[1]
    value, _ = curve(decay, np.array([-1e-4]), None, np.array([0.0, 100.0]), data_set=1)
    np.testing.assert_allclose(value, [-2e-4 * 900, -2e-4 * 1000])
    rows, _ = synthetic.observations(np.random.default_rng(1), n_data_sets=3)
    assert decay.basis(GeometryView(rows, slice(0, 5)))[1].shape == (5, 1)


def test_a_stored_model_is_repeated():
    (model, *_), settings = sweeps("resolution_dependence=linear", "scale_interval=10")
    theta = [np.full(component.n_parameters, 0.5) for component in model.components]
    stored = model.to_dict(theta, None, {})
    assert stored["__id__"] == "dose_decay" and stored["configuration_parameters"]["resolution_dependence"] == "linear"
    assert stored["configuration_parameters"]["corrections"] == ["scale", "decay", "relative_B"]
    kept, _ = keep_stored(replace(settings, resolution_dependence="quadratic", scale_interval=2.0), stored, (), True)
    assert (kept.resolution_dependence, kept.scale_interval) == ("linear", 10.0)
    values, taken = start_parameters(model, stored)
    assert taken == ["scale", "decay", "relative_B"] and all((value == 0.5).all() for value in values)


def test_a_run_scales_with_it_and_again(tmp_path):
    """Two sweeps of a crystal that decays: the rate is negative, and a second run starts from the first."""
    simulate.simulate(
        Options(count=2, degrees=40.0, width=1.0, reflections=5_000, d_min=2.4, lean=True, decay_b=8.0, seed=3),
        tmp_path,
    )
    words = ["-q", "output.html=None"]
    with chdir(tmp_path):
        assert main([*words, "simulated.expt", "simulated.refl", "model=dose_decay", "scale_interval=5"]) == 0
        first = json.loads(Path("scale.json").read_text())
        assert main([*words, "scaled.expt", "scaled.refl"]) == 0
        second = json.loads(Path("scale.json").read_text())
        stored = json.loads(Path("scaled.expt").read_text())["scaling_model"]
    assert all(model["__id__"] == "dose_decay" for model in stored)
    (rate,) = stored[0]["decay"]["parameters"]
    assert rate < 0 and rate == stored[1]["decay"]["parameters"][0]
    # B falls by about 8 Angstrom^2 over both sweeps, which are equally long
    assert -16.0 < 2 * rate * 80 < -4.0
    change = [one["statistics"]["overall"]["r_meas"] for one in (first, second)]
    assert change[1] == pytest.approx(change[0], rel=0.02)
