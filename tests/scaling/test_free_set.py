"""Free sets and cross-validation: which reflections are free, what a run says, and tables."""

import json
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from option_samples import options

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import simulate
from braggscale.cli import main
from braggscale.data.unique_reflections import Groups
from braggscale.errors import CommandError
from braggscale.options.assignments import values_to_try, with_option
from braggscale.scaling.free_set import Trial, cross_validate, is_free, table_of
from braggscale.scaling.plan import FreeSetRequest
from simulation.design import Options


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("free")
    simulate.simulate(
        Options(kind="crystals", count=5, reflections=2500, degrees=6.0, d_min=3.0, lean=True, seed=8), found
    )
    return found


WORDS = ("../simulated.expt", "../simulated.refl", "output.html=None", "restraints=fixed", "model=KB")


def test_free_sets_share_nothing_and_cover_everything():
    groups = Groups.of_sizes(np.ones(103, int))
    every = [is_free(groups, FreeSetRequest(10.0, k)) for k in range(10)]
    assert np.sum(every, axis=0).tolist() == [1] * 103
    np.testing.assert_array_equal(is_free(groups, FreeSetRequest(10.0, 13)), every[3])
    assert is_free(groups, FreeSetRequest(50.0, 0)).sum() == 52


def test_a_run_tells_both_sets(folder):
    (folder / "one").mkdir()
    with chdir(folder / "one"):
        assert main(["-q", *WORDS, "use_free_set=True", "free_set_percentage=20", "free_set_offset=2"]) == 0
    found = json.loads((folder / "one" / "scale.json").read_text())
    free = found["free_set"]
    n = found["statistics"]["overall"]["n_unique"]
    assert free["unique_work"] + free["unique_free"] == n and abs(free["unique_free"] - n / 5) < 0.02 * n
    assert 0 < free["r_meas_work"] < 0.3 and 0 < free["r_meas_free"] < 0.3
    assert found["fit"]["observations"] < 0.9 * found["statistics"]["overall"]["n_obs"]
    assert "were left out of the fit" in (folder / "one" / "scale.log").read_text()


def test_cross_validation_writes_the_log_alone(folder):
    (folder / "cv").mkdir()
    words = ["cross_validation_mode=multi", "parameter=KB.decay_correction", "nfolds=2"]
    with chdir(folder / "cv"):
        assert main(["-q", *WORDS, *words]) == 0
        assert [path.name for path in Path().iterdir()] == ["scale.log"]
    text = (folder / "cv" / "scale.log").read_text()
    assert "Cross-validation of KB.decay_correction" in text
    assert text.count("free set 2 of 2") == 2 and "True " in text and "False" in text and "*" in text


def test_the_best_of_each_column_is_marked():
    good = Trial("good", np.array([[0.05, 0.06, 0.01, 0.99, 0.98, 0.01]] * 2))
    bad = Trial("bad", np.array([[0.04, 0.08, 0.04, 0.99, 0.95, 0.04]] * 2))
    rows = table_of([bad, good])
    assert not any("*" in cell for cell in rows[0]) and [cell.endswith("*") for cell in rows[1]] == [
        False, False, True, True, False, True, True,
    ]  # fmt: skip
    assert table_of([good])[0] == (
        "good", "0.0500 (0.0000)", "0.0600 (0.0000)", "0.0100 (0.0000)", "0.9900 (0.0000)", "0.9800 (0.0000)",
        "0.0100 (0.0000)",
    )  # fmt: skip
    assert cross_validate(["a"], 3, lambda name, offset: None)[0].numbers.shape == (0, 6)


def test_values_that_are_tried():
    assert values_to_try("anomalous", None) == ["True", "False"]
    assert values_to_try("d_min", ("1.5", "2")) == ["1.5", "2"]
    with pytest.raises(CommandError, match="give its values as parameter_values="):
        values_to_try("d_min", None)
    with pytest.raises(CommandError, match="cross_validation.parameter=d_mni"):
        values_to_try("d_mni", None)
    with pytest.raises(CommandError, match="write the full name"):
        values_to_try("decay_correction", None)


def test_one_option_is_changed_as_if_it_had_been_typed():
    found = with_option(options("anomalous=True"), "d_min", "1.7")
    assert found.cut_data.d_min == 1.7 and found.anomalous and found.is_explicit("cut_data.d_min")
    assert with_option(found, "physical.lmax", "5").models["physical"].lmax == 5
    with pytest.raises(CommandError, match="parameter_values=x: "):
        with_option(found, "d_min", "x")


def test_a_mode_that_needs_a_parameter(folder, tmp_path, capsys):
    with chdir(tmp_path):
        files = [str(folder / name) for name in ("simulated.expt", "simulated.refl")]
        assert main(["-q", *files, "cross_validation_mode=multi"]) == 2
    assert "needs parameter=" in capsys.readouterr().err
