"""``scale delta-cc-half`` on scaled files."""

from types import SimpleNamespace

import numpy as np
import pytest

from braggscale.cli import main
from braggscale.data.symmetry import Symmetry
from braggscale.filter_files import influence_of


def test_the_influence_of_images_is_listed(example_run, capsys):
    files = [str(example_run / name) for name in ("scaled.expt", "scaled.refl")]
    assert main(["delta-cc-half", *files, "mode=image_group", "group_size=20"]) == 0
    text = capsys.readouterr().out
    assert "groups of 20 images" in text and "delta CC1/2" in text and "exclude_images=1:221:240" in text


def test_nothing_to_do_and_nothing_to_read(tmp_path, capsys):
    assert main(["delta-cc-half"]) == 2
    assert "give scaled.expt and scaled.refl" in capsys.readouterr().err
    assert main(["delta-cc-half", str(tmp_path / "none.refl")]) == 2
    assert main(["delta-cc-half", "x", "lmax=4"]) == 2
    assert "scale delta-cc-half has no use for it" in capsys.readouterr().err


@pytest.mark.parametrize("bad", [3, 7])
def test_a_part_that_disagrees_has_the_lowest_value_and_the_largest_deviations(bad):
    rng = np.random.default_rng(0)
    hkl = np.repeat(rng.integers(1, 9, (200, 3)), 8, axis=0).astype(np.int32)
    truth = np.repeat(rng.exponential(100, 200), 8)
    part = np.tile(np.arange(8), 200)
    x = np.where(part == bad, rng.exponential(100, 1600), truth + rng.normal(0, 5, 1600))
    rows = SimpleNamespace(hkl=hkl, intensity=x, sigma=np.full(1600, 5.0), outlier=np.zeros(1600, bool))
    data = SimpleNamespace(rows=rows, symmetry=Symmetry.from_hall("P 1"), cell=(20.0, 21.0, 22.0, 80.0, 85.0, 95.0))
    delta, z2, n, cc = influence_of(data, part, 8)
    assert delta.argmin() == bad and z2.argmax() == bad and delta[bad] < 0
    assert n.tolist() == [200] * 8 and 0 < cc < 1
