"""Data of two wavelengths on one scale."""

import json
import sys
from contextlib import chdir
from pathlib import Path

import gemmi
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import simulate
from braggscale.cli import main
from braggscale.scaling.by_wavelength import FEWEST, _difference
from simulation.design import Options

PEAK, REMOTE = 0.97950, 0.97800


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six crystals, every second of them at another wavelength."""
    found = tmp_path_factory.mktemp("wavelengths")
    simulate.simulate(
        Options(kind="crystals", count=6, reflections=5000, degrees=10.0, d_min=3.0, lean=True, anomalous=0.08), found
    )
    document = json.loads((found / "simulated.expt").read_text())
    document["beam"].append(document["beam"][0] | {"wavelength": REMOTE})
    for k, experiment in enumerate(document["experiment"]):
        experiment["beam"] = k % 2
    (found / "simulated.expt").write_text(json.dumps(document))
    with chdir(found):
        words = ["output.html=None", "merged_mtz=m.mtz", "anomalous=True", "model=KB", "restraints=fixed"]
        assert main(["-q", "simulated.expt", "simulated.refl", *words]) == 0
    return found


def test_statistics_of_each_wavelength(folder):
    summary = json.loads((folder / "scale.json").read_text())
    found = summary["wavelengths"]
    assert [one["wavelength"] for one in found["each"]] == pytest.approx([PEAK, REMOTE])
    assert [one["data_sets"] for one in found["each"]] == [["0", "2", "4"], ["1", "3", "5"]]
    n = [one["statistics"]["overall"]["n_obs"] for one in found["each"]]
    assert sum(n) == summary["statistics"]["overall"]["n_obs"] and min(n) > 0.3 * sum(n)
    assert all(one["statistics"]["suggested_reason"] is not None for one in found["each"])
    text = (folder / "scale.log").read_text()
    assert "2 wavelengths on one scale" in text and "0.97950 - 0.97800" in text


def test_crystals_that_are_equal_do_not_differ(folder):
    (pair,) = json.loads((folder / "scale.json").read_text())["wavelengths"]["differences"]
    assert pair["unique"] > 200 and pair["cc"] > 0.97 and 0.7 < pair["di_over_sigma"] < 3 and pair["df_f"] < 0.1


def test_merged_columns_of_each_wavelength(folder):
    labels = gemmi.read_mtz_file(str(folder / "m.mtz")).column_labels()
    for name in ("IMEAN", "I(+)", "DANO", "F"):
        assert f"{name}_WAVE1" in labels and f"{name}_WAVE2" in labels


def test_a_known_difference_is_measured():
    rng = np.random.default_rng(0)
    truth = rng.exponential(1000, 4000) + 100
    sigma = 0.01 * truth
    other = truth * (1 + 0.04 * rng.choice([-1, 1], 4000))
    measured = [(x + sigma * rng.normal(size=4000), sigma**2) for x in (truth, other)]
    found = _difference(0, 1, *measured)
    assert found.n == 4000 and found.df_f == pytest.approx(0.02, rel=0.1)
    assert found.di_over_sigma == pytest.approx(np.sqrt(1 + (0.04 / 0.01) ** 2 / 2), rel=0.05)


def test_few_common_reflections_say_nothing():
    few = np.full(FEWEST - 1, 5.0), np.ones(FEWEST - 1)
    assert np.isnan(_difference(0, 1, few, few).cc)


def test_one_wavelength_is_no_matter(example_run):
    assert json.loads((example_run / "scale.json").read_text())["wavelengths"] is None
