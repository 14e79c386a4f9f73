"""The linear term of the error model from a real measurement with dynamical scattering into the files and back."""

import json

from braggscale.cli import main


def run(folder, *arguments):
    names = {
        "experiments": "scaled.expt",
        "reflections": "scaled.refl",
        "log": "scale.log",
        "json": "scale.json",
        "html": "scale.html",
    }
    assert main([*map(str, arguments), *(f"output.{k}={folder / v}" for k, v in names.items()), "-q"]) == 0
    models = [m["configuration_parameters"] for m in json.loads((folder / "scaled.expt").read_text())["scaling_model"]]
    return models, json.loads((folder / "scale.json").read_text()), (folder / "scale.log").read_text()


def test_errors_of_dynamical_scattering(shared_data, tmp_path):
    """Two parameters leave z^2 between 0.15 and 1.75 here; three leave at most a half too much or too little."""
    quartz = shared_data / "quartz_ed"
    models, summary, text = run(tmp_path, quartz / "integrated.expt", quartz / "integrated.refl")
    found = summary["error_models"][0]
    assert 0.8 < found["model"]["a"] < 1.2  # the counting errors themselves are right
    assert found["model"]["c"] > 10 * found["esd_c"] / 3
    assert all(0.5 < row["corrected"] < 1.5 for row in found["ranges"])
    assert "c I" in text and "linear in the intensity" in text
    assert models[0]["error_model_parameters"] == [found["model"]["a"], found["model"]["b"]]
    assert models[0]["error_model_linear_term"] == found["model"]["c"]
    again = tmp_path / "again"
    again.mkdir()
    models, _, _ = run(again, tmp_path / "scaled.expt", tmp_path / "scaled.refl", "error_model.basic.minimisation=None")
    assert models[0]["error_model_linear_term"] == found["model"]["c"]
    models, _, _ = run(again, tmp_path / "scaled.expt", tmp_path / "scaled.refl", "error_model.basic.b=0.1")
    assert "error_model_linear_term" not in models[0]
