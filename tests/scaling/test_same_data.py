"""The same data under two names are refused, with the data sets to use instead."""

import shutil
from pathlib import Path

import pytest

import braggscale as bs
from braggscale.errors import DataError

EXAMPLE = Path(__file__).parents[2] / "examples"


def test_a_copy_under_another_name_is_refused(tmp_path):
    names = [EXAMPLE / f"simulated.{kind}" for kind in ("expt", "refl")]
    copies = [shutil.copy(name, tmp_path / f"copy{name.suffix}") for name in names]
    said = "data sets 0 and 2 are the same data, 4450 rows agree .* scale with use_datasets=0,1$"
    with pytest.raises(DataError, match=said):
        bs.scale(bs.read(*names, *copies))
