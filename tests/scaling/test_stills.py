"""Stills from the command to the files, against the truth: partialities by their errors, one map of the detector."""

import json
import sys
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import accuracy
import simulate
from braggscale.cli import main
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.detector_map import detector_map
from braggscale.models.joint_model import JointModel
from braggscale.models.smooth import Smooth
from simulation.design import Options

FILES = ("simulated.expt", "simulated.refl")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 stills on a detector that is uneven by 6 %."""
    folder = tmp_path_factory.mktemp("stills")
    options = Options(kind="stills", count=240, reflections=24_000, d_min=2.0, flat_field=0.06, seed=4, outliers=0.005)
    simulate.simulate(options, folder)
    return folder


def scale(folder: Path, *words: object) -> tuple[accuracy.Accuracy, list[dict]]:
    """Figures of a run in ``folder``, and the models that it stored."""
    folder.mkdir()
    with chdir(folder), redirect_stdout(StringIO()) as shown:
        assert main([*map(str, words), "output.html=None", "output.json=None", "nproc=1"]) == 0
    (folder / "terminal.txt").write_text(shown.getvalue())
    models = json.loads((folder / "scaled.expt").read_text())["scaling_model"]
    source = next(Path(str(word)).parent for word in words if str(word).endswith(".refl"))
    while not (source / "truth.npz").exists():
        source = source.parent
    return accuracy.scaled(folder / "scaled.refl", folder.name, accuracy.load_truth(source))[0], models


@pytest.fixture(scope="module")
def runs(data: Path) -> dict[str, tuple[accuracy.Accuracy, list[dict]]]:
    files = [data / name for name in FILES]
    return {
        "fixed": scale(data / "fixed", *files, "restraints=fixed"),
        "plain": scale(data / "plain", *files, "modulation_correction=False"),
        "map": scale(data / "map", *files),
        "fixed map": scale(data / "fixed map", *files, "restraints=fixed", "KB.modulation_correction=True"),
    }


def test_estimated_restraints_come_near_the_limit(data, runs):
    limit = accuracy.oracle(data, accuracy.load_truth(data), 0.05)
    # a part of the detector's response that depends on resolution alone cannot be found
    assert runs["map"][0].r < 1.25 * limit.r < 0.8 * runs["fixed"][0].r
    assert 0.85 < runs["map"][0].chi2 < 1.2
    assert runs["map"][0].lost < 0.001


def test_a_map_of_the_detector_is_found_and_helps(runs):
    assert runs["map"][0].rms_ln_g < 0.75 * runs["plain"][0].rms_ln_g
    assert runs["map"][0].r < runs["plain"][0].r
    assert runs["fixed map"][0].rms_ln_g < runs["fixed"][0].rms_ln_g


def test_the_map_is_stored_once(runs):
    models = runs["map"][1]
    assert len(models) == 240 and all(model["__id__"] == "KB" for model in models)
    assert ["modulation" in model for model in models] == [True] + 239 * [False]
    assert all(model["configuration_parameters"]["corrections"] == ["scale", "decay"] for model in models)
    assert np.mean(models[0]["modulation"]["parameters"]) == pytest.approx(1.0, abs=0.15)
    for name in ("fixed", "plain"):
        assert not any("modulation" in model for model in runs[name][1])


def test_many_data_sets_fill_one_screen_and_the_log_file_has_the_rest(data, runs):
    shown, log = ((data / "map" / name).read_text() for name in ("terminal.txt", "scale.log"))
    assert len(shown.splitlines()) <= 75 < len(log.splitlines())
    assert "240 data sets: 0, 1, 2 to 239" in shown and "The log file also has" in " ".join(shown.split())
    for only_in_file in ("Dataset unique identifiers", "Round 1:", "Merging statistics by resolution", "papers of the"):
        assert only_in_file in log and only_in_file not in shown
    assert [line for line in shown.splitlines() if line not in log.splitlines()] == []


def test_scaling_again_takes_the_map_over_for_all(data, runs):
    files = [data / "map" / name for name in ("scaled.expt", "scaled.refl")]
    again, models = scale(data / "map" / "again", *files)
    assert again.r == pytest.approx(runs["map"][0].r, rel=0.01)
    before, after = (np.array(m[0]["modulation"]["parameters"]) for m in (runs["map"][1], models))
    assert after == pytest.approx(before, abs=0.01)
    log = " ".join((data / "map" / "again" / "scale.log").read_text().split())
    assert "Taken over from the input as a start, all data sets: scale, decay, modulation" in log


def test_detectors_of_two_sizes_have_two_maps():
    def still(size):
        return DataSetModel("KB", (Smooth("scale", ()), detector_map(size, 4, True)), {"shared": ["modulation"]})

    model = JointModel.of([still((100, 80)), still((60, 60)), still((100, 80)), still((60, 60))])
    n = still((60, 60)).components[1].n_parameters
    assert model.n_parameters == 4 + 2 * n
    places = [model.where(d, 1) for d in range(4)]
    assert places[0] == places[2] != places[1] == places[3]
    assert len([r for _, r in model.restraints() if r.kind == "modulation"]) == 2
