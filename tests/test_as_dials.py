"""In the place of dials.scale: the command line of xia2, and its results as xia2 and other callers read them."""

import json
import os
import re
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import gemmi
import pytest

from braggscale.cli import main
from braggscale.dials_name import install
from braggscale.errors import CommandError

EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE = [str(EXAMPLES / f"simulated.{kind}") for kind in ("expt", "refl")]
# Every option that xia2 puts on the command line of dials.scale for a rotation experiment without filtering.
XIA2 = [
    "nproc=2",
    "anomalous=True",
    "intensity_choice=profile",
    "model=physical",
    "physical.decay_correction=True",
    "physical.absorption_correction=True",
    "physical.decay_interval=10",
    "physical.lmax=4",
    "absorption_level=low",
    "physical.scale_interval=10",
    "physical.surface_weight=500000.0",
    "share.absorption=True",
    "full_matrix=True",
    "error_model=basic",
    "error_model.grouping=grouped",
    "error_model_group=0",
    "error_model_group=1",
    "outlier_rejection=standard",
    "min_partiality=0.95",
    "partiality_cutoff=0.4",
    "reflection_selection.Isigma_range=-5.000000,0.000000",
    "reflection_selection.method=quasi_random",
    "cut_data.d_min=2.2",
    "cut_data.d_max=30",
    "max_iterations=50",
    "outlier_zmax=6.0",
    "n_resolution_bins=8",
    "n_absorption_bins=3",
    "best_unit_cell=40.0,50.0,60.0,90.0,90.0,90.0",
    "overwrite_existing_models=True",
    "output.unmerged_mtz=3_scaled_unmerged.mtz",
    "output.merged_mtz=3_scaled.mtz",
    "output.html=3_dials.scale.html",
    "output.crystal_name=DEFAULT",
    "output.project_name=AUTOMATIC",
    "output.experiments=3_scaled.expt",
    "output.reflections=3_scaled.refl",
]


@pytest.fixture(scope="module")
def cell_option():
    document = json.loads(Path(EXAMPLE[0]).read_text())
    vectors = [document["crystal"][0][f"real_space_{axis}"] for axis in "abc"]
    lengths = [sum(x * x for x in vector) ** 0.5 for vector in vectors]
    return "best_unit_cell=" + ",".join(f"{length:.4f}" for length in lengths) + ",90,90,90"


@pytest.fixture(scope="module")
def xia2_run(tmp_path_factory, cell_option):
    """Folder, status and log of the run; what is on standard output is in the log, too."""
    folder = tmp_path_factory.mktemp("xia2")
    options = [cell_option if option.startswith("best_unit_cell") else option for option in XIA2]
    with chdir(folder):
        status = main(["--as-dials", "-q", *EXAMPLE, *options, "output.merge_json=dials.merge.json"])
    return folder, status


def test_the_files_that_xia2_goes_on_with(xia2_run):
    folder, status = xia2_run
    assert status == 0
    assert {
        "3_scaled.expt", "3_scaled.refl", "3_scaled_unmerged.mtz", "3_scaled.mtz", "3_dials.scale.html",
        "dials.scale.log", "dials.merge.json",
    } == {path.name for path in folder.iterdir()}  # fmt: skip


def test_transmission_from_the_scaling_models(xia2_run):
    """As xia2 finds T_min: the absorption component of every model, by its name and parameters."""
    models = json.loads((xia2_run[0] / "3_scaled.expt").read_text())["scaling_model"]
    assert [model["__id__"] for model in models] == ["physical", "physical"]
    for model in models:
        assert {"scale", "decay", "absorption"} <= set(model["configuration_parameters"]["corrections"])
        assert len(model["absorption"]["parameters"]) == 24, "lmax is 4"


def test_the_unmerged_file(xia2_run):
    mtz = gemmi.read_mtz_file(str(xia2_run[0] / "3_scaled_unmerged.mtz"))
    assert {"H", "K", "L", "M/ISYM", "BATCH", "I", "SIGI", "SCALEUSED"} <= set(mtz.column_labels())
    assert [data_set.crystal_name for data_set in mtz.datasets][-1] == "DEFAULT"
    assert [data_set.project_name for data_set in mtz.datasets][-1] == "AUTOMATIC"
    assert len(mtz.batches) > 400


def test_statistics_for_databases(xia2_run):
    (entry,) = json.loads((xia2_run[0] / "dials.merge.json").read_text()).values()
    inner, outer = (entry["merging_stats"]["cc_one_half"][k] for k in (0, -1))
    assert 0 < outer <= inner <= 1
    assert entry["merging_stats"]["overall"]["r_meas"] > 0
    assert entry["merging_stats_anom"]["overall"]["anom_completeness"] > 0


def test_sentences_that_callers_look_for(xia2_run):
    """As scipion cuts its summary out of the log: from one sentence to the next."""
    log = (xia2_run[0] / "dials.scale.log").read_text()
    places = [
        log.index(sentence)
        for sentence in (
            "Space group being used during scaling is P 21 21 21",
            "Scaling models have been initialised for all experiments",
            "Merging statistics by resolution",
            "Writing html report to: 3_dials.scale.html",
        )
    ]
    assert places == sorted(places)
    assert "model=physical has no n_resolution_bins" in " ".join(log.split())


def test_groups_are_counted_from_0(xia2_run):
    log = (xia2_run[0] / "dials.scale.log").read_text()
    assert re.search(r"error_model_group = 1\n.*error_model_group = 2\n", log), "1 and 2 is what they are called here"


@pytest.mark.parametrize(
    "wrong", [["d_mim=2"], ["no.expt"], ["-Q"], ["filtering.method=guess"], ["exclude_datasets=9"]], ids=str
)
def test_every_failure_has_status_1(tmp_path, capsys, wrong):
    with chdir(tmp_path):
        assert main(["--as-dials", *EXAMPLE, *wrong]) == 1
    assert "error: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "dials.scale.log"])


def test_data_sets_and_images_by_number(tmp_path, capsys):
    """Names of data sets are other ones than their numbers: only the number finds them."""
    with chdir(tmp_path):
        assert main(["--assign-identifiers", "left right", *EXAMPLE, "-q"]) == 0
        pair = ["identified.expt", "identified.refl"]
        quick = ["restraints=fixed", "output.html=None", "full_matrix=False", "d_min=2.5"]
        assert main(["--as-dials", *pair, *quick, "exclude_datasets=0", "exclude_images=1:205:240"]) == 0
        said = capsys.readouterr().out
        assert "right" in said and re.search(r"205", said)
        assert [one["identifier"] for one in json.loads(Path("scaled.expt").read_text())["experiment"]] == ["right"]
        assert main([*pair, *quick, "exclude_datasets=0"]) == 2, "but not in our own way of calling"


def test_help_and_nothing_to_do(capsys):
    assert main(["--as-dials"]) == 0
    assert "usage: scale" in capsys.readouterr().out


def test_the_name_in_a_folder(tmp_path):
    path = Path(install(str(tmp_path)))
    assert path.name == "dials.scale" and os.access(path, os.X_OK)
    done = subprocess.run([path, "d_mim=2"], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 1 and "did you mean d_min?" in done.stderr
    assert install(str(tmp_path)) == str(path), "our own one is replaced"
    path.write_text("#!/bin/sh\necho DIALS\n")
    with pytest.raises(CommandError, match="is another program"):
        install(str(tmp_path))
    with pytest.raises(CommandError, match="no such folder"):
        install(str(tmp_path / "no"))


def test_called_by_that_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/opt/bin/dials.scale", "d_mim=2"])
    assert main() == 1
    monkeypatch.setattr(sys, "argv", ["/opt/bin/scale", "d_mim=2"])
    assert main() == 2


def test_installing_by_the_command(tmp_path, capsys):
    assert main(["install-dials-name", str(tmp_path)]) == 0
    assert f"export PATH={tmp_path}:$PATH" in capsys.readouterr().out
    assert main(["install-dials-name"]) == 2
