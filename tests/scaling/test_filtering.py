"""Filtering: the rule on numbers, and crystals and images that are known to be bad through whole runs."""

import json
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import simulate
from braggscale.cli import main
from braggscale.scaling.filtering import FEWEST_PARTS, stands_out
from simulation.design import Options


def influences(n_good: int, n_bad: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = rng.uniform(500, 4000, n_good + n_bad)
    delta = 1e-7 * n + 1e-6 * np.sqrt(n) * rng.normal(size=len(n))
    delta[n_good:] -= 20e-6 * np.sqrt(n[n_good:])
    return delta, n


@pytest.mark.parametrize("n_bad", [0, 1, 10, 30])
def test_bad_parts_do_not_hide_each_other(n_bad):
    delta, n = influences(100 - n_bad, n_bad)
    out = stands_out(delta, n, 4.0)[0]
    assert out[100 - n_bad :].all() and not out[: 100 - n_bad].any()


@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_unit_and_order_do_not_matter(factor, seed):
    delta, n = influences(30, 3, seed)
    order = np.random.default_rng(seed).permutation(33)
    one, other = stands_out(delta, n, 4.0), stands_out(factor * delta[order], n[order], 4.0)
    np.testing.assert_array_equal(one[0][order], other[0])
    np.testing.assert_allclose(one[1][order], other[1], rtol=1e-9)


def test_what_does_not_hurt_is_not_left_out():
    delta, n = influences(40, 0)
    delta = delta + 1.0  # everything helps, one part less than the others
    delta[3] = 0.5
    assert not stands_out(delta, n, 4.0)[0].any()


def test_few_parts_are_not_judged():
    delta, n = influences(FEWEST_PARTS - 1, 0)
    assert not stands_out(delta, n, 0.0)[0].any()
    assert not stands_out(np.full(10, np.nan), np.ones(10), 4.0)[0].any()


@pytest.fixture(scope="module")
def crystals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 crystals of which the last three have another cell, damage, and wrong indices."""
    folder = tmp_path_factory.mktemp("bad")
    options = Options(
        kind="crystals",
        count=24,
        reflections=14_000,
        degrees=4.0,
        d_min=2.5,
        space_group="P4",
        bad=3,
        lean=True,
        seed=2,
    )
    simulate.simulate(options, folder)
    words = [
        "filtering.method=deviations",
        "max_percent_removed=20",
        "model=KB",
        "output.html=None",
        "restraints=fixed",
    ]
    with chdir(folder):
        assert main(["-q", "simulated.expt", "simulated.refl", *words]) == 0
    return folder


def test_bad_crystals_are_left_out_and_named(crystals):
    summary = json.loads((crystals / "scale.json").read_text())
    found = summary["filtering"]
    removed = {part["data_set"] for cycle in found["cycles"] for part in cycle["removed"]}
    assert removed == {"21", "22", "23"} and found["reason"] == "no_more_removed"
    dropped = {entry["identifier"]: entry["dropped"] for entry in summary["data_sets"] if entry["dropped"]}
    assert set(dropped) == removed and all(reason.startswith("filtered: mean z^2") for reason in dropped.values())
    for name in removed:
        assert set(summary["ledger"]["data_sets"][name]) == {"data_set_excluded"}
    assert len(json.loads((crystals / "scaled.expt").read_text())["experiment"]) == 21
    text = " ".join((crystals / "scale.log").read_text().split())
    assert "left out:" in text and "Filtering ends: nothing more stands out" in text


def test_influence_finds_the_same_crystals(crystals, tmp_path):
    files = [str(crystals / name) for name in ("simulated.expt", "simulated.refl")]
    words = ["filtering.method=deltacchalf", "max_percent_removed=20", "model=KB", "output.html=None"]
    with chdir(tmp_path):
        assert main(["-q", *files, *words, "restraints=fixed"]) == 0
    found = json.loads((tmp_path / "scale.json").read_text())["filtering"]
    removed = {part["data_set"] for cycle in found["cycles"] for part in cycle["removed"]}
    assert removed == {"21", "22", "23"} and found["reason"] == "no_more_removed"


def test_what_is_unusual_is_named_before_anything_is_left_out(crystals, tmp_path):
    files = [str(crystals / name) for name in ("simulated.expt", "simulated.refl")]
    with chdir(tmp_path):
        assert main(["-q", *files, "model=KB", "output.html=None", "restraints=fixed"]) == 0
    found = json.loads((tmp_path / "scale.json").read_text())["outlying"]
    assert {one["data_set"] for one in found if one["what"] == "mean z^2"} >= {"21", "23"}
    assert [one["data_set"] for one in found if one["what"].startswith("cell edge")] == ["21"]
    assert "data sets differ from the others" in (tmp_path / "scale.log").read_text()


def test_the_file_has_the_form_that_pipelines_read(crystals):
    found = json.loads((crystals / "scale_and_filter_results.json").read_text())
    assert found["termination_reason"] == "no_more_removed"
    assert len(found["initial_expids_and_image_ranges"]) == 24 and len(found["expids_and_image_ranges"]) == 21
    assert found["expids_and_image_ranges"][0] == ["0", [1, 40]]
    first = found["cycle_results"]["1"]
    assert first["delta_cc_half_values"] == sorted(first["delta_cc_half_values"])
    assert set(first["removed_datasets"]) <= {"21", "22", "23"} and set(first["removed_ids"]) <= {21, 22, 23}
    stats = found["final_stats"]
    assert len(stats["ccs"]) == len(stats["rmerge"]) == len(stats["rpim"]) == len(stats["d_min"])
    assert stats["overall"]["cc_one_half"] > first["merging_stats"]["overall"]["cc_one_half"]
    assert 50 < stats["overall"]["completeness"] <= 100


def test_limits_hold(crystals, tmp_path):
    files = [str(crystals / name) for name in ("simulated.expt", "simulated.refl")]
    words = [
        "filtering.method=deltacchalf",
        "max_percent_removed=5",
        "model=KB",
        "output.html=None",
        "full_matrix=False",
    ]
    with chdir(tmp_path):
        assert main(["-q", *files, *words]) == 0
    found = json.loads((tmp_path / "scale.json").read_text())["filtering"]
    assert found["reason"] == "max_percent_removed"
    assert 0 < found["cycles"][-1]["percent_removed"] <= 5


def test_bad_images_are_left_out_and_can_come_back(tmp_path):
    simulate.simulate(
        Options(reflections=9_000, degrees=90.0, width=0.5, d_min=2.6, bad_last=0.1, lean=True, seed=1), tmp_path
    )
    with chdir(tmp_path):
        words = [
            "filtering.method=deltacchalf",
            "mode=image_group",
            "group_size=6",
            "max_percent_removed=20",
            "restraints=fixed",
        ]
        assert main(["-q", "simulated.expt", "simulated.refl", "output.html=None", *words]) == 0
        summary = json.loads(Path("scale.json").read_text())
        assert summary["data_sets"][0]["images_in_use"] == [[1, 162]]
        ranges = json.loads(Path("scale_and_filter_results.json").read_text())["cycle_results"]
        removed = sorted(images for cycle in ranges.values() for images, _ in cycle["image_ranges_removed"])
        assert removed == [[163, 168], [169, 174], [175, 180]]
        assert main(["-q", "scaled.expt", "scaled.refl", "output.html=None", "reset_exclusions=True"]) == 0
        assert json.loads(Path("scale.json").read_text())["data_sets"][0]["images_in_use"] == [[1, 180]]
