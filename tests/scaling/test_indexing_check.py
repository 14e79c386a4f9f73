"""Crystals indexed in several ways, through a whole run, against the operators with which they were simulated."""

import json
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import braggscale
import simulate
from braggscale.cli import main
from braggscale.data.geometry import unit_cell
from braggscale.data.reindexing import alternatives, matrix_of
from braggscale.data.symmetry import Symmetry
from braggscale.io import open_inputs
from braggscale.scaling.indexing_check import toward_the_most
from simulation.design import Options

CRYSTALS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wedges of a tetragonal crystal, about half of them indexed the other way."""
    found = tmp_path_factory.mktemp("indexing")
    options = Options(
        kind="crystals", count=CRYSTALS, reflections=12_000, degrees=4.0, d_min=2.5, space_group="P4", misindexed=0.5,
        lean=True, seed=3,
    )  # fmt: skip
    simulate.simulate(options, found)
    return found


def run(folder: Path, name: str, *words: str) -> dict:
    (folder / name).mkdir()
    with chdir(folder / name):
        assert main(["-q", "../simulated.expt", "../simulated.refl", "output.html=None", "model=KB", *words]) == 0
    return json.loads((folder / name / "scale.json").read_text())


@pytest.fixture(scope="module")
def plain(folder: Path) -> dict:
    return run(folder, "plain")


@pytest.fixture(scope="module")
def mended(folder: Path) -> dict:
    return run(folder, "mended", "reindex=auto")


def turned(folder: Path) -> np.ndarray:
    return np.load(folder / "truth.npz")["operator"]


def test_a_run_warns_and_says_what_to_type(folder, plain):
    text = " ".join((folder / "plain" / "scale.log").read_text().split())
    assert "data sets are indexed differently from the others" in text and "scale them with reindex=auto" in text
    found = plain["indexing"]
    assert not found["mended"] and all(found["decided"])
    other = ~(turned(folder) == np.eye(3)).all(axis=(1, 2))
    needs = np.array([operator != "h,k,l" for operator in found["operator"]])
    assert (needs == other).all() or (needs == ~other).all()
    assert needs.sum() <= CRYSTALS / 2  # the most stay as they are
    check = next(check for check in plain["verdict"]["checks"] if check["name"] == "Indexing")
    assert check["state"] == "bad"
    assert any("reindex=auto" in advice["command"] for advice in plain["verdict"]["commands"])


def test_mending_brings_the_crystals_together(folder, plain, mended):
    assert mended["indexing"]["mended"] and mended["indexing"]["operator"] == plain["indexing"]["operator"]
    assert mended["statistics"]["overall"]["r_meas"] < 0.5 * plain["statistics"]["overall"]["r_meas"]


def test_operators_are_in_the_crystal_models_that_are_written(folder, mended):
    before = open_inputs([str(folder / name) for name in ("simulated.expt", "simulated.refl")]).data_sets
    after = open_inputs([str(folder / "mended" / name) for name in ("scaled.expt", "scaled.refl")]).data_sets
    for old, new, operator in zip(before, after, mended["indexing"]["operator"], strict=True):
        turn = matrix_of(operator).T
        np.testing.assert_allclose(new.experiment.crystal.real_space, turn @ old.experiment.crystal.real_space)
        assert new.experiment.crystal.hall == old.experiment.crystal.hall


def test_crystals_that_are_mended_are_alike_ever_after(folder, mended):
    (folder / "again").mkdir()
    with chdir(folder / "again"):
        files = [str(folder / "mended" / name) for name in ("scaled.expt", "scaled.refl")]
        assert main(["-q", *files, "output.html=None", "check_consistent_indexing=True"]) == 0
    found = json.loads((folder / "again" / "scale.json").read_text())["indexing"]
    assert set(found["operator"]) == {"h,k,l"} and not found["mended"]
    assert "data sets are indexed alike" in " ".join((folder / "again" / "scale.log").read_text().split())


def test_from_python_the_option_belongs_to_reading(folder, mended):
    data = braggscale.read(folder / "simulated.expt", folder / "simulated.refl", reindex="auto")
    again = braggscale.scale(data, model="KB")
    assert again.statistics.overall.r_meas == pytest.approx(mended["statistics"]["overall"]["r_meas"], rel=1e-9)


@pytest.mark.parametrize("common", range(4))
def test_most_stay_whatever_all_have_in_common(common):
    symmetry = Symmetry.from_hall("P 3")
    operators = alternatives((60.0, 60.0, 90.0, 90.0, 90.0, 120.0), symmetry)
    new = toward_the_most(np.array([common] * 7 + [0, 1, 2, 3]), np.ones(11, bool), operators, symmetry)
    assert new[common] == 0 and sorted(new) == [0, 1, 2, 3]


def test_a_cell_that_is_turned_keeps_its_symmetry(folder):
    after = open_inputs([str(folder / "mended" / name) for name in ("scaled.expt", "scaled.refl")]).data_sets
    for one in after:
        axes = one.experiment.crystal.real_space
        a, b, _, *angles = unit_cell(axes)
        assert a == pytest.approx(b) and angles == pytest.approx([90, 90, 90])
