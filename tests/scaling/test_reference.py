"""Scaling beside a reference with known errors: it sets the scale, helps where it is good, and does no harm."""

import json
import sys
from contextlib import chdir
from pathlib import Path

import gemmi
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import accuracy
import simulate
from braggscale.cli import main
from braggscale.io import open_inputs
from simulation.design import Options


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few stills, and references with and without errors, one of them indexed in another way."""
    found = tmp_path_factory.mktemp("reference")
    options = Options(
        kind="stills", count=60, reflections=3600, d_min=3.0, space_group="P4", seed=5, lean=True, flat_field=0.0
    )
    simulate.simulate(options, found)
    truth = np.load(found / "truth.npz")
    crystal = json.loads((found / "simulated.expt").read_text())["crystal"][0]
    a, _, c = (float(np.linalg.norm(crystal[f"real_space_{name}"])) for name in "abc")
    mean = 0.5 * (truth["plus"] + truth["minus"])
    rng = np.random.default_rng(0)
    for name, error, hkl in (
        ("good", 0.0, truth["hkl"]),
        ("rough", 0.3, truth["hkl"]),
        ("other", 0.0, truth["hkl"] * [-1, 1, -1]),
    ):
        mtz = gemmi.Mtz(with_base=True)
        mtz.spacegroup = gemmi.SpaceGroup("P 4")
        mtz.set_cell_for_all(gemmi.UnitCell(a, a, c, 90, 90, 90))
        mtz.add_dataset("x")
        mtz.add_column("I", "J")
        mtz.add_column("SIGI", "Q")
        value = 7.0 * mean * np.abs(1 + error * rng.normal(size=len(mean)))
        mtz.set_data(np.column_stack([hkl, value, 0.01 * value + 1]).astype("f4"))
        mtz.write_to_file(str(found / f"{name}.mtz"))
    return found


def run(folder: Path, name: str, *words: str) -> tuple[accuracy.Accuracy, dict]:
    place = folder / "-".join([name, *(w.split("=")[1] for w in words)])
    place.mkdir()
    words = (*words, f"reference=../{name}.mtz") if name != "none" else words
    with chdir(place):
        files = ["../simulated.expt", "../simulated.refl"]
        assert main(["-q", *files, "output.html=None", "KB.modulation_correction=False", *words]) == 0
    figures = accuracy.scaled(place / "scaled.refl", name, accuracy.load_truth(folder))[0]
    return figures, json.loads((place / "scale.json").read_text())


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, tuple[accuracy.Accuracy, dict]]:
    return {name: run(folder, name) for name in ("none", "good", "rough")}


def test_a_good_reference_helps_and_a_rough_one_does_no_harm(runs):
    assert runs["good"][0].r < 0.97 * runs["none"][0].r
    assert runs["rough"][0].r < 1.02 * runs["none"][0].r


def test_errors_of_the_reference_are_found(runs):
    exact, rough = (np.median(runs[name][1]["reference"]["unexplained"]) for name in ("good", "rough"))
    assert exact < 0.004 < 0.008 < rough < 0.06
    assert runs["good"][1]["reference"]["overall_cc"] > 0.99 > runs["rough"][1]["reference"]["overall_cc"] > 0.8


def test_the_reference_sets_the_scale_and_is_not_in_the_output(folder, runs):
    assert runs["good"][0].k == pytest.approx(1 / 7, rel=0.01)
    assert runs["good"][0].b == pytest.approx(0.0, abs=0.5)
    assert runs["rough"][0].k == pytest.approx(1 / 7, rel=0.1)
    summary = runs["good"][1]
    assert len(summary["data_sets"]) == len(summary["by_data_set"]["number"]) == 60
    assert len(json.loads((folder / "good" / "scaled.expt").read_text())["experiment"]) == 60
    text = " ".join((folder / "good" / "scale.log").read_text().split())
    assert "Reference ../good.mtz: " in text and "column I;" in text and "unexplained" in text


def test_fixed_intensities(folder, runs):
    figures, summary = run(folder, "good", "reference_mode=fixed")
    assert figures.r < 0.97 * runs["none"][0].r
    assert summary["reference"]["mode"] == "fixed" and max(summary["reference"]["unexplained"]) == 0


def test_a_reference_that_is_indexed_otherwise(folder, runs):
    figures, summary = run(folder, "other")
    assert figures.r == pytest.approx(runs["good"][0].r, rel=0.02)
    assert "the reference is reindexed" in (folder / "other" / "scale.log").read_text()
    assert set(summary["indexing"]["operator"]) == {"h,k,l"}


def test_data_follow_the_reference_where_that_is_asked_for(folder, runs):
    _, summary = run(folder, "other", "reindex=auto")
    assert summary["indexing"]["mended"] and set(summary["indexing"]["operator"]) == {"-h,k,-l"}


def test_a_reference_of_another_crystal_is_refused(folder, tmp_path, capsys):
    mtz = gemmi.read_mtz_file(str(folder / "good.mtz"))
    mtz.set_cell_for_all(gemmi.UnitCell(91, 91, 40, 90, 90, 90))
    mtz.write_to_file(str(tmp_path / "other.mtz"))
    with chdir(tmp_path):
        files = [str(folder / name) for name in ("simulated.expt", "simulated.refl")]
        assert main(["-q", *files, "reference=other.mtz"]) == 1
    assert "is not that of the data" in capsys.readouterr().err


def test_each_by_itself_is_the_same_in_batches(folder, runs):
    figures, _ = run(folder, "good", "scaling_options.only_target=True")
    assert figures.r < runs["none"][0].r and 0.7 < figures.chi2 < 1.3
    run(folder, "good", "scaling_options.only_target=True", "use_datasets=3,17,40")
    every, some = (
        json.loads((folder / name / "scaled.expt").read_text())["scaling_model"]
        for name in ("good-True", "good-True-3,17,40")
    )
    for one, other in zip([every[k] for k in (3, 17, 40)], some, strict=True):
        for name in ("scale", "decay"):
            assert one[name]["parameters"] == pytest.approx(other[name]["parameters"], rel=1e-9, abs=1e-9)


def test_only_target_needs_something_to_scale_against(folder, tmp_path, capsys):
    with chdir(tmp_path):
        files = [str(folder / name) for name in ("simulated.expt", "simulated.refl")]
        assert main(["-q", *files, "only_target=True"]) == 2
    assert "give a reference=, or scaled data sets to scale against" in capsys.readouterr().err


def test_the_data_sets_that_were_the_reference_can_be_written_again(example_run, tmp_path):
    document = json.loads((example_run / "scaled.expt").read_text())
    del document["experiment"][1]["scaling_model"]  # the second data set is new
    (tmp_path / "mixed.expt").write_text(json.dumps(document))
    words = ["only_target=True", "only_save_targeted=False", "output.html=None"]
    with chdir(tmp_path):
        assert main(["-q", "mixed.expt", str(example_run / "scaled.refl"), *words]) == 0
        assert main(["export", "-q", "scaled.expt", "scaled.refl", "merged_mtz=m.mtz"]) == 0
    before, after = (
        {
            one.identifier: one
            for one in open_inputs([str(folder / "scaled.expt"), str(folder / "scaled.refl")]).data_sets
        }
        for folder in (example_run, tmp_path)
    )
    assert list(after) == ["1", "0"]
    for name in ("intensity.scale.value", "inverse_scale_factor", "flags", "scaling_fate", "miller_index"):
        np.testing.assert_array_equal(after["0"].table[name], before["0"].table[name])
    assert after["0"].experiment.scaling_model["scale"] == before["0"].experiment.scaling_model["scale"]
    assert not np.array_equal(after["1"].table["inverse_scale_factor"], before["1"].table["inverse_scale_factor"])
    assert gemmi.read_mtz_file(str(tmp_path / "m.mtz")).nreflections > 1000
