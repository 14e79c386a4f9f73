"""Options as callers of dials.scale give them: data sets and groups by number, its names of files."""

import pytest

from braggscale.options.assignments import settle
from braggscale.options.dials_callers import words_of_caller
from braggscale.options.phil import read_argument


def settled(*arguments):
    settings, problems = settle([(read_argument(one), True) for one in arguments], as_dials=True)
    assert not problems, problems
    return settings


@pytest.mark.parametrize(
    ("path", "text", "meant"),
    [
        ("dataset_selection.exclude_datasets", "0,2", "#0,#2"),
        ("dataset_selection.use_datasets", "0 12", "#0 #12"),
        ("dataset_selection.use_datasets", "abc1,2", "abc1,#2"),
        ("exclude_images", "0:1:20", "#0:1:20"),
        ("exclude_images", "0:1:20,3:5:6", "#0:1:20,#3:5:6"),
        ("exclude_images", "1:20", "1:20"),
        ("weighting.error_model.error_model_group", "0,1", "1,2"),
        ("weighting.error_model.error_model_group", "9", "10"),
        ("cut_data.d_min", "2", "2"),
    ],
)
def test_numbers(path, text, meant):
    assert words_of_caller(path, ((text, False),)) == ((meant, False),)


def test_defaults_of_files_and_what_the_caller_says():
    output = settled().options.output
    assert (output.log, output.html, output.json) == ("dials.scale.log", "dials.scale.html", None)
    assert (output.experiments, output.reflections, output.project_name) == ("scaled.expt", "scaled.refl", "DIALS")
    output = settled("output.log=my.log", "output.json=dials.scale.json").options.output
    assert (output.log, output.json) == ("my.log", "dials.scale.json")


def test_options_of_models_that_are_not_in_use_are_no_mistake():
    settings = settled("model=KB", "absorption_level=medium", "n_resolution_bins=7", "physical.lmax=4")
    assert settings.options.model == "KB"
    assert not [path for path in settings.options.explicit if path.startswith(("physical.", "array."))]
    assert any("model=KB has no n_resolution_bins" in note for note in settings.notes)
    assert settle([(read_argument(one), True) for one in ("model=KB", "n_resolution_bins=7")])[1], "but here it is"


def test_the_meaning_of_names_does_not_change():
    plain, problems = settle([(read_argument("exclude_datasets=0"), True)])
    assert not problems and plain.options.dataset_selection.exclude_datasets == ("0",)
    assert settled("exclude_datasets=0").options.dataset_selection.exclude_datasets == ("#0",)
    assert not plain.options.as_dials and settled().options.as_dials
