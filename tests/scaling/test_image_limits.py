"""Images that are left out for their scale or R_merge, and the statistics that additional_stats adds to a run."""

import json
import sys
from contextlib import chdir
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import simulate
from braggscale.cli import main
from simulation.design import Options


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep whose last tenth of images went wrong."""
    folder = tmp_path_factory.mktemp("limits")
    options = Options(
        reflections=6_000, degrees=60.0, width=1.0, d_min=2.6, bad_last=0.1, lean=True, absorption=0.0, seed=1
    )
    simulate.simulate(options, folder)
    return folder


def scaled(folder, out, *words):
    files = [str(folder / name) for name in ("simulated.expt", "simulated.refl")]
    with chdir(out):
        assert main(["-q", *files, "restraints=fixed", "output.html=None", *words]) == 0
    return json.loads((out / "scale.json").read_text())


def test_images_with_a_large_r_merge_are_left_out(sweep, tmp_path):
    found = scaled(sweep, tmp_path, "exclude_on_batch_rmerge=0.15", "additional_stats=True")
    ((first, last),) = found["data_sets"][0]["images_in_use"]
    assert first == 1 and last == 54
    text = (tmp_path / "scale.log").read_text()
    assert "output.exclude_on_batch_rmerge=0.15" in text and "the rest is scaled again" in text
    halves = found["half_sets"]
    assert len(halves["r_split"]) == 21 and 0 < halves["r_split"][-1] < 0.2 and halves["cc_half_weighted"][-1] > 0.9
    assert "Half data sets by resolution" in text


def test_images_with_a_small_scale_are_left_out(sweep, tmp_path):
    everything = scaled(sweep, tmp_path)
    (curve,) = (one for one in everything["models"][0]["components"] if one["name"] == "scale")
    low, high = min(curve["value"]), max(curve["value"])
    found = scaled(sweep, tmp_path, f"exclude_on_image_scale={low + 0.2 * (high - low)}")
    lost = everything["statistics"]["overall"]["n_obs"] - found["statistics"]["overall"]["n_obs"]
    assert lost > 0
    assert found["ledger"]["total"]["image_excluded"] > 0


def test_a_limit_beyond_everything_is_an_error(sweep, tmp_path, capsys):
    files = [str(sweep / name) for name in ("simulated.expt", "simulated.refl")]
    with chdir(tmp_path):
        assert main(["-q", *files, "restraints=fixed", "output.html=None", "exclude_on_image_scale=1000"]) == 1
    text = " ".join(capsys.readouterr().err.split())
    assert "output.exclude_on_image_scale=1000: no image would be left; choose another limit" in text
    assert not (tmp_path / "scaled.refl").exists()
