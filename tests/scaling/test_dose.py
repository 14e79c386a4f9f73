"""Dose zero through a whole run: simulated damage with known truth."""

import json
import sys
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import gemmi
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import simulate
from braggscale.cli import main
from braggscale.data.experiment import Beam, Crystal, Experiment, Goniometer, Scan
from braggscale.scaling.dose import doses
from crystals import against_truth
from simulation.design import Options


def test_a_run_comes_nearer_to_the_undamaged_crystal(tmp_path):
    simulate.simulate(
        Options(
            count=3, degrees=60.0, width=1.0, reflections=9_000, d_min=2.6, lean=True, specific_damage=0.4,
            absorption=0.0, flat_field=0.0, outliers=0.0, seed=2,
        ),
        tmp_path,
    )  # fmt: skip
    with chdir(tmp_path):
        words = ["zero_dose=True", "merged_mtz=m.mtz", "restraints=fixed", "output.html=None"]
        assert main(["-q", "simulated.expt", "simulated.refl", *words]) == 0
    truth = np.load(tmp_path / "truth.npz")
    mean = 0.5 * (truth["plus"] + truth["minus"])
    wanted = {tuple(h): (i, d) for h, i, d in zip(truth["hkl"].tolist(), mean, truth["d"], strict=True)}
    r = []
    for name in ("m.mtz", "zero_dose.mtz"):
        mtz = gemmi.read_mtz_file(str(tmp_path / name))
        hkl = np.array(mtz.make_miller_array())
        values = (np.array(mtz.column_with_label(label)) for label in ("IMEAN", "SIGIMEAN"))
        measured = {tuple(h): (i, s) for h, i, s in zip(hkl.tolist(), *values, strict=True)}
        r.append(against_truth(measured, wanted, mtz.spacegroup))
    assert r[1][0] < 0.6 * r[0][0]
    assert r[1][1] < 0.1 * r[0][1]
    entry = json.loads((tmp_path / "scale.json").read_text())["zero_dose"]
    assert entry["tau"] > 0.1 and entry["slopes"] > 200 and len(entry["most_changed"]) == 10
    text = (tmp_path / "scale.log").read_text()
    assert "scales are fitted again" in text
    assert "Reflections that change most" in text and "zero_dose.mtz" in text


@pytest.mark.parametrize(("same", "expected"), [(True, [0.0, 0.5, 0.5, 1.0]), (False, [0.0, 1.0, 0.0, 1.0])])
def test_dose_goes_on_from_sweep_to_sweep_of_one_crystal(same, expected):
    crystal = Crystal(10 * np.eye(3), "P 1", (10.0, 10.0, 10.0, 90.0, 90.0, 90.0))
    beam = Beam(np.array([0, 0, 1.0]), 1.0)
    goniometer = Goniometer(np.array([1.0, 0, 0]), np.eye(3), np.eye(3))
    experiments = [
        Experiment("x", beam, crystal, goniometer, Scan((first, first + 9), (0.0, 1.0))) for first in (1, 101)
    ]
    xyz = np.array([[0, 0, 0.0], [0, 0, 10], [0, 0, 100], [0, 0, 110]])
    rows = SimpleNamespace(data_set=np.array([0, 0, 1, 1]), xyz=xyz)
    np.testing.assert_allclose(doses(SimpleNamespace(rows=rows), experiments, same), expected)
