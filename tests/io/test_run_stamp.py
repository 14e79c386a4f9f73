"""Files of two runs are not taken for a pair."""

from __future__ import annotations

import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from braggscale.cli import main
from braggscale.errors import InputError
from braggscale.io import open_inputs
from braggscale.io.run_stamp import stamp_of

EXAMPLE = [str(Path(__file__).parents[2] / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]
QUICK = ["-q", "model=KB", "restraints=fixed", "output.html=None", "nproc=1"]


def test_new_reflections_beside_old_experiments(tmp_path: Path) -> None:
    with chdir(tmp_path):
        assert main([*QUICK, *EXAMPLE]) == 0
        shutil.copy("scaled.expt", "old.expt")
        assert len(open_inputs(["old.expt", "scaled.refl"]).data_sets) == 2
        assert main([*QUICK, *EXAMPLE, "d_min=2"]) == 0
        assert len(open_inputs(["scaled.expt", "scaled.refl"]).data_sets) == 2
        with pytest.raises(InputError, match=r"old.expt and scaled.refl: data set 0 comes from different runs"):
            open_inputs(["old.expt", "scaled.refl"])


def test_the_same_models_have_the_same_number() -> None:
    one = {"__id__": "KB", "scale": {"parameters": [1.0, 2.0]}}
    assert stamp_of([one]) == stamp_of([dict(reversed(list(one.items())))])
    assert stamp_of([one]) != stamp_of([one, one]) and 0 < stamp_of([]) < 1 << 31
