"""Parameter files of dials.scale: complete lists are read, and parameters that change nothing are accepted."""

import shutil
import subprocess

import pytest

from braggscale.options.assignments import settle
from braggscale.options.other_names import CHANGES_NOTHING, DIALS_ONLY, INPUT_FILES
from braggscale.options.phil import read_argument, read_file

# What dials.scale prints of its parameters: those that this program does not have, at their values in 3.12, and the
# ways to write choices of which none is chosen.
LIST = """\
Showing configuration parameters with:
  attributes_level = 0
  expert_level = 3

model = KB array dose_decay physical
dose_decay {
  scale_interval = 2.0
  share.decay = True
  resolution_dependence = *quadratic linear
}
physical {
  scale_interval = auto
  absorption_level = low medium high
  fix_initial = True
}
output.delete_integration_shoeboxes = True
reflection_selection.combine.joint_analysis = True
weighting {
  weighting_scheme = *invvar
  error_model {
    error_model = *basic None
    basic.minimisation = *individual regression None
    error_model_group = None
  }
}
scaling_options {
  check_consistent_indexing = False
  target_cycle = True
  only_target = False
  only_save_targeted = True
  target_mtz = None
  reference = None
  use_free_set = False
  free_set_percentage = 10.0
  full_matrix = auto
}
cut_data.small_scale_cutoff = auto
cross_validation {
  cross_validation_mode = multi single
  nfolds = 1
}
scaling_refinery {
  engine = *SimpleLBFGS GaussNewton LevMar
  refinement_order = *concurrent consecutive
}
filtering {
  method = None deltacchalf
  deltacchalf.mode = *dataset image_group
}
"""


def settled(path):
    settings, problems = settle([(made, False) for made in read_file(str(path)) if made.name not in INPUT_FILES])
    assert not problems, problems
    return settings


def test_a_whole_list_of_parameters_is_read(tmp_path):
    path = tmp_path / "dials.phil"
    path.write_text(LIST + "cut_data.d_min = 2\n")
    settings = settled(path)
    assert settings.modified == "cut_data.d_min = 2.0\n"
    (note,) = [note for note in settings.notes if "change nothing" in note]
    assert note.startswith("Options of dials.scale that change nothing here: ") and "physical.fix_initial" in note


@pytest.mark.skipif(shutil.which("dials.scale") is None, reason="no DIALS")
@pytest.mark.parametrize("attributes", ["0", "3"])
def test_the_list_that_dials_prints_is_read(tmp_path, attributes):
    path = tmp_path / "dials.phil"
    with path.open("w") as out:
        subprocess.run(["dials.scale", "-c", "-e3", "-a" + attributes], stdout=out, check=True, timeout=120)
    settings = settled(path)
    assert settings.options.output.log == "dials.scale.log" and settings.options.model == "auto"


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("weighting_scheme=huber", "it is accepted with Invvar, which changes nothing"),
        ("output.delete_integration_shoeboxes=False", "it is accepted with True, which changes nothing"),
        ("joint_analysis=False", "it is accepted with True, which changes nothing"),
    ],
)
def test_what_would_change_something_is_refused(argument, problem):
    _, (found,) = settle([(read_argument(argument), True)])
    assert found.startswith(argument) and problem in found


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("engine=LevMar", "the size of the problem decides on the minimiser"),
        ("refinement_order=consecutive", "all corrections are fitted together"),
        ("target_cycle=False", "scaled data sets are a start of the others anyway"),
        ("dose_decay.fix_initial=False", "the mean over all data sets sets the scale"),
        ("verbosity=3", "-v makes the log longer, -q shorter"),
        ("output.delete_integration_shoeboxes=yes", "shoeboxes are never written"),
    ],
)
def test_what_changes_nothing_is_said(argument, why):
    settings, problems = settle([(read_argument(argument), True)])
    assert not problems
    assert settings.notes == (f"{argument}: accepted, but changes nothing: {why}",)


def test_every_foreign_option_is_accepted_at_some_value():
    plain = [path for path in DIALS_ONLY if not path.endswith(".*")]
    assert [path for path in plain if path not in CHANGES_NOTHING] == []


@pytest.mark.parametrize("argument", ["cross_validation_mode='multi single'", "filtering.method='None deltacchalf'"])
def test_choices_of_which_none_is_chosen_are_none(argument):
    settings, problems = settle([(read_argument(argument), True)])
    assert not problems
    assert settings.options.cross_validation.cross_validation_mode is None and settings.options.filtering.method is None
