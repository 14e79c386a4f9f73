"""Few repeated reflections: corrections keep constant values, or those of an earlier run."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path

import numpy as np

from braggscale.cli import main
from braggscale.io import open_inputs

EXAMPLE = [str(Path(__file__).parents[2] / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]
FEW = ["-q", "nproc=1", "output.html=None", "d_min=7"]


def scales() -> np.ndarray:
    data = open_inputs(["scaled.expt", "scaled.refl"])
    return np.concatenate(
        [np.log(d.table["inverse_scale_factor"][d.table["scaling_fate"] == 0]) for d in data.data_sets]
    )


def test_few_repeats_are_not_fitted(tmp_path, capsys):
    with chdir(tmp_path):
        assert main([*FEW, *EXAMPLE]) == 0
        assert "nothing is fitted but one constant" in " ".join(capsys.readouterr().err.split())
        (entry,) = json.loads(Path("scaled.expt").read_text())["scaling_model"][:1]
        a = entry["configuration_parameters"]["error_model_parameters"][0]
        assert a > 0.5, "errors must not fall with the fit"


def test_a_stored_model_is_not_thrown_away_where_data_are_few(tmp_path, capsys):
    with chdir(tmp_path):
        assert main(["-q", "nproc=1", "output.html=None", "model=KB", *EXAMPLE]) == 0
        capsys.readouterr()
        before = scales()
        assert main([*FEW, "scaled.expt", "scaled.refl"]) == 0
        assert "held at constants" not in " ".join(capsys.readouterr().out.split())
        assert 0 < len(scales()) < len(before)
