"""The dataclasses mirror the PHIL text; model names decide what short names mean; models are settled by rules."""

import dataclasses
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from option_samples import SWEEP, options, read, request

from braggscale.errors import CommandError
from braggscale.models.choice import resolve_model
from braggscale.models.physical import INTERVALS
from braggscale.models.settings import SweepFacts, settings_table
from braggscale.options.assignments import settle, unused_model_options
from braggscale.options.definitions import definitions
from braggscale.options.export_files import EXPORT_FILES
from braggscale.options.model_options import MODEL_OPTIONS
from braggscale.options.phil import read_argument, read_file
from braggscale.options.schema import ExportPaths, ModelValues, Options, option_paths


def problems(*arguments: str) -> str:
    return "\n".join(read(*arguments)[1])


def field_types(kind: type = Options, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            found |= field_types(hint, f"{prefix}{name}.")
        elif hint == ModelValues:
            for model, one in MODEL_OPTIONS.items():
                found |= field_types(one.values, f"{model}.")
        elif hint == ExportPaths:
            found |= {prefix + option: str | None for option in EXPORT_FILES}
        elif name not in ("explicit", "as_dials"):
            found[prefix + name] = hint
    return found


def test_fields_are_the_phil_paths():
    assert option_paths() == list(definitions().options)
    assert list(field_types()) == option_paths()


def test_field_types_are_the_phil_types():
    plain = {"bool": bool, "int": int, "float": float, "str": str}
    for path, hint in field_types().items():
        option = definitions().options[path]
        members = get_args(hint) if get_origin(hint) not in (None, tuple, Literal) else (hint,)
        assert (type(None) in members) == (not option.multiple and (option.none or option.auto)), path
        rest = [member for member in members if member is not type(None)]
        assert len(rest) == 1, path
        if path == "model":
            assert option.choices == ("auto", *MODEL_OPTIONS)
        elif option.kind == "choice":
            assert get_args(rest[0]) == option.choices, path
        elif option.kind in plain:
            kind = plain[option.kind]
            assert rest[0] == (tuple[kind, ...] if option.multiple else kind), path
        else:
            assert get_origin(rest[0]) is tuple, path
            if option.size[0] and not option.multiple:
                assert len(get_args(rest[0])) == option.size[0], path


def test_everything_is_frozen():
    found = options()
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.model = "KB"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        found.cut_data.other = 1  # type: ignore[attr-defined]


def test_defaults():
    found = options()
    assert found.model == "auto" and found.nproc is None
    assert found.reflection_selection.method == "auto"
    assert found.reflection_selection.E2_range == (0.8, 5.0)
    assert found.reflection_selection.Isigma_range == (-5.0, 0.0)
    assert found.reflection_selection.min_partiality == 0.95
    assert found.cut_data.partiality_cutoff is None
    assert found.scaling_options.full_matrix is None
    assert found.scaling_options.outlier_rejection == "standard" and found.scaling_options.outlier_zmax is None
    assert found.models["array"].modulation_correction is False
    assert (found.output.experiments, found.output.reflections) == ("scaled.expt", "scaled.refl")
    assert read()[0].modified == "" and not read()[0].options.explicit


def test_values_arrive_where_they_belong():
    found = options(
        "d_range=2,0.5",
        "use_datasets=0,2",
        "exclude_images=0:1:2,1:3:4",
        "exclude_images=2:5:6",
        "exclude_batches=7001,7200",
        "exclude_batches=5201,5400",
        "error_model_group=1,2",
        "grouping=grouped",
        "error_model_group=3",
        "a=1.1",
        "Imid=0,100",
        "merging.nbins=10",
        "output.json=None",
    )
    assert found.reflection_selection.d_range == (0.5, 2.0)
    assert found.dataset_selection.use_datasets == ("0", "2")
    assert found.exclude_images == ("0:1:2", "1:3:4", "2:5:6")
    assert found.exclude_batches == ((7001, 7200), (5201, 5400))
    assert found.weighting.error_model.error_model_group == ((1, 2), (3,))
    assert found.weighting.error_model.basic.a == 1.1
    assert found.reflection_selection.combine.Imid == (0.0, 100.0)
    assert found.output.merging.nbins == 10
    assert found.output.json is None


def test_later_assignments_win():
    assert options("d_min=2", "d_min=1").cut_data.d_min == 1.0
    assert options("decay_interval=5", "physical.decay_interval=7").models["physical"].decay_interval == 7.0
    assert options("physical.decay_interval=7", "decay_interval=5").models["physical"].decay_interval == 5.0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("E2_range=5,0.8", "E2_range=5,0.8: the first number must be the smaller one"),
        ("E2_range=1,1", "E2_range=1,1: the first number must be the smaller one"),
        ("Isigma_range=5,1", "Isigma_range=5,1: the first number must be the smaller one, or the second 0"),
        ("d_range=2,2", "d_range=2,2: the two limits are equal"),
        ("d_range=-1,2", "d_range=-1,2: -1 is below 0, the smallest value allowed"),
        ("d_min=3 d_max=2", "d_min=3 d_max=2: d_min must be smaller than d_max; nothing would be left"),
        ("best_unit_cell=1,2,3,90,90,180", "best_unit_cell: lengths must be above 0, angles between 0 and 180"),
        ("absorption_level=low absorption_term=False", "contradicts physical.absorption_correction=False"),
        ("model=array decay_term=False absorption_term=False", "needs decay_correction or absorption_correction"),
        ("error_model_group=1,2", "error_model_group is used only with grouping=grouped"),
        ("correction.fix=decoy", "correction.fix=decoy: the components are scale, decay, absorption, modulation"),
        ("model=KB fix=absorption", "correction.fix=absorption: the components are scale, decay"),
        ("output.log=''", "output.log: the name is empty"),
        ("outlier_zmax=2", "outlier_zmax=2: 2 is below 3, the smallest value allowed"),
        ("model=dose_decay fix=modulation", "correction.fix=modulation: the components are scale, decay, relative_B"),
        ("minimisation=regression", "dials.scale has regression, scale has not"),
        ("optimise_errors=maybe", "optimise_errors=maybe: 'maybe' is not one of basic, None"),
        ("joint_analysis=False", "joint_analysis=False: this is an option of dials.scale that scale does not have"),
        ("d_mim=2", "d_mim=2: unknown option; did you mean d_min?"),
    ],
)
def test_contradictions(arguments, line):
    assert line in problems(*arguments.split())


def test_all_problems_are_found_at_once():
    found = problems("d_mim=2", "model=foo", "E2_range=5,0.8", "lmax=1").splitlines()
    assert [line.split(":")[0] for line in found] == ["d_mim=2", "model=foo", "lmax=1", "E2_range=5,0.8"]


def test_a_short_name_goes_to_the_model_that_was_named():
    found, _ = read("decay_interval=10", "model=array")
    assert (
        found.options.models["array"].decay_interval == 10 and found.options.models["physical"].decay_interval is None
    )
    assert found.options.explicit == {"model", "array.decay_interval"} and found.notes == ()
    # the model that is named last counts, wherever it stands
    found, _ = read("model=physical", "decay_interval=10", "model=array")
    assert (
        found.options.models["array"].decay_interval == 10 and found.options.models["physical"].decay_interval is None
    )


def test_a_short_name_goes_to_all_models_when_automatic():
    for model in ([], ["model=auto"], ["model=None"]):
        found, _ = read("decay_interval=10", *model)
        assert found.options.models["array"].decay_interval == 10 == found.options.models["physical"].decay_interval
        assert found.notes == ("decay_interval=10: set for the models physical, array",)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("model=KB lmax=6", "lmax=6: model=KB has no lmax; physical and dose_decay have it"),
        ("model=KB decay_interval=6", "decay_interval=6: model=KB has no decay_interval; physical and array have it"),
        ("model=array scale_term=False", "model=array has no scale_term; physical and KB and dose_decay have it"),
        ("model=physical n_absorption_bins=4", "model=physical has no n_absorption_bins; array has it"),
    ],
)
def test_a_parameter_that_the_named_model_lacks_is_an_error(arguments, line):
    assert line in problems(*arguments.split())


def unused(models: set[str], *arguments: str) -> list[str]:
    found, wrong = read(*arguments)
    assert not wrong
    return unused_model_options(found.options.explicit, models, found.options.model != "auto")


def test_parameters_of_models_that_no_data_set_has_are_reported():
    assert unused({"physical"}, "decay_interval=10") == []
    assert unused({"KB"}, "decay_correction=True") == []
    assert unused({"KB", "physical"}, "lmax=6", "physical.decay_restraint=0.2") == []
    (line,) = unused({"KB"}, "decay_interval=10")
    assert line == "decay_interval has no effect: the models in use are KB; physical and array would use it"
    assert unused({"physical"}, "modulation_term=True") == []
    (line,) = unused({"physical"}, "n_modulation_bins=9")
    assert line == "array.n_modulation_bins has no effect: the models in use are physical; array would use it"
    with pytest.raises(CommandError, match="physical.lmax has no effect: the models in use are KB"):
        unused({"KB"}, "model=KB", "physical.lmax=6")
    # a data set may keep the model that is stored with it
    assert unused({"KB", "physical"}, "model=KB", "physical.lmax=6") == []


def test_guesses_and_old_names_are_noted():
    found, _ = read("zmax=5", "optimise_errors=False", "D_MIN=2", "model=physical", "scale_term=no")
    assert found.notes == (
        "zmax=5: zmax read as outlier_zmax",
        "optimise_errors=False: optimise_errors read as error_model, its name today",
        "D_MIN=2: D_MIN read as d_min",
        "scale_term=no: scale_term read as scale_correction, its name today",
    )
    assert found.options.weighting.error_model.error_model is None
    assert found.options.models["physical"].scale_correction is False
    assert options("optimise_errors=True").weighting.error_model.error_model == "basic"


def test_the_seed_guides_options_all_work():
    found = options(
        "model=physical",
        "scale_term=True",
        "decay_term=True",
        "absorption_term=True",
        "scale_interval=10",
        "decay_interval=10",
        "lmax=6",
        "decay_restraint=0.1",
        "surface_weight=1e6",
        "full_matrix=False",
        "full_matrix_max_iterations=1",
        "nproc=4",
        "E2_range=0.8,5.0",
        "Isigma_range=-5.0,0.0",
        "d_range=0.5,2.0",
    )
    assert found.models["physical"].absorption_correction is True and found.models["physical"].lmax == 6
    found = options("model=array", "modulation_term=True", "n_resolution_bins=8", "n_absorption_bins=4")
    assert found.models["array"].modulation_correction and found.models["array"].n_resolution_bins == 8
    assert options("model=array", "n_modulation_bins=10").models["array"].n_modulation_bins == 10
    assert options("weighting.error_model=None").weighting.error_model.error_model is None


def test_a_file_of_all_defaults_sets_nothing(tmp_path):
    master = definitions()
    file = tmp_path / "all.phil"
    for level, attributes in ((3, 2), (0, 0)):
        file.write_text(master.report(master.defaults(), level, attributes))
        found, wrong = settle([*((made, False) for made in read_file(str(file))), (read_argument("model=KB"), True)])
        assert not wrong
        assert found.options.explicit == {"model"}
        assert found.options == options("model=KB")


def test_files_may_use_short_names(tmp_path):
    file = tmp_path / "x.phil"
    file.write_text("d_min = 2\nparameterisation { decay_term = False }\n")
    found, wrong = settle([(made, False) for made in read_file(str(file))])
    assert not wrong and found.options.cut_data.d_min == 2 and not found.options.models["KB"].decay_correction
    file.write_text("\nd_mim = 2\n")
    (line,) = settle([(made, False) for made in read_file(str(file))])[1]
    assert line == f"{file}, line 2: d_mim: unknown option; did you mean d_min?"


@settings(max_examples=50, deadline=None)
@given(
    d_min=st.none() | st.floats(0, 10),
    model=st.sampled_from(["auto", *MODEL_OPTIONS]),
    interval=st.floats(1, 360),
    batches=st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 9999)), max_size=3),
    name=st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1).filter(lambda t: "'" not in t),
)
def test_modified_text_gives_the_same_parameters(tmp_path_factory, d_min, model, interval, batches, name):
    arguments = [f"d_min={d_min!r}", f"model={model}", f"physical.scale_interval={interval!r}"]
    arguments += [f"exclude_batches={a},{b}" for a, b in batches] + [f"output.log='{name}'"]
    found, wrong = read(*arguments)
    assert not wrong
    file = tmp_path_factory.getbasetemp() / "again.phil"
    file.write_text(found.modified, encoding="utf-8")
    again, wrong = settle([(made, False) for made in read_file(str(file))])
    assert not wrong
    assert again.options == found.options and again.modified == found.modified


# Models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degrees", "intervals"),
    [
        (1.0, (1.0, 1.5)),
        (4.99, (1.0, 1.5)),
        (5.0, (2.0, 3.0)),
        (10.0, (4.0, 5.0)),
        (25.0, (8.0, 10.0)),
        (89.9, (8.0, 10.0)),
        (90.0, (15.0, 20.0)),
        (3600.0, (15.0, 20.0)),
    ],
)
def test_automatic_intervals(degrees, intervals):
    found, _ = resolve_model(request("restraints=fixed"), SweepFacts("0", False, degrees))
    assert found.model == "physical"
    assert (found.scale_interval, found.decay_interval) == intervals
    given_one, _ = resolve_model(request("restraints=fixed", "scale_interval=3"), SweepFacts("0", False, degrees))
    assert (given_one.scale_interval, given_one.decay_interval) == (3.0, intervals[1])
    estimated, _ = resolve_model(request("restraints=estimated", "decay_interval=7"), SweepFacts("0", False, degrees))
    assert estimated.scale_interval <= min(intervals[0], max(2.5, degrees / 80)) and estimated.decay_interval == 7.0
    assert degrees / estimated.scale_interval >= 4


def test_intervals_cover_every_width():
    assert [row[0] for row in INTERVALS] == sorted(row[0] for row in INTERVALS)
    assert INTERVALS[-1][0] == float("inf")


@pytest.mark.parametrize(
    ("facts", "model", "sentence"),
    [
        (SweepFacts("0", True, 0.0), "KB", "model KB, because there is no rotation"),
        (SweepFacts("0", False, 0.99), "KB", "model KB, because a sweep of 0.99 degrees is shorter than 1"),
        (SweepFacts("0", False, 1.0), "physical", "for a sweep of only 1 degrees model=KB may be the better"),
        (SweepFacts("0", False, 2.99), "physical", "model=KB may be the better choice"),
        (SweepFacts("0", False, 3.0), "physical", "absorption correction off"),
    ],
)
def test_automatic_model(facts, model, sentence):
    found, sentences = resolve_model(request("restraints=fixed"), facts)
    assert found.model == model
    assert sentence in sentences[0]


def test_a_still_gets_kb_whatever_was_named():
    for name in ("physical", "array"):
        found, sentences = resolve_model(request(f"model={name}"), SweepFacts("0", True, 0.0))
        assert found.model == "KB"
        assert sentences == [f"model KB instead of {name}, which needs a rotation"]
    assert resolve_model(request("model=KB"), SweepFacts("0", True, 0.0))[1] == []
    assert resolve_model(request("model=KB"), SWEEP)[0].model == "KB"


@pytest.mark.parametrize(
    ("arguments", "degrees", "angle", "on", "why"),
    [
        ("", 60.0, 40.0, False, "absorption correction off: the sweep covers 60 degrees, not more than 60"),
        ("", 60.1, 40.0, True, ""),
        ("", 180.0, None, True, ""),
        ("", 180.0, 2.5, False, "absorption correction off: the sweep's scattering angles reach only 2.50 degrees"),
        ("absorption_term=True", 10.0, 1.0, True, ""),
        ("absorption_term=False", 180.0, 40.0, False, ""),
        ("absorption_level=low", 10.0, 1.0, True, ""),
        ("lmax=6", 30.0, 40.0, False, "; lmax, surface_weight and share.absorption have no effect"),
    ],
)
def test_automatic_absorption(arguments, degrees, angle, on, why):
    facts = SweepFacts("0", False, degrees, angle)
    found, sentences = resolve_model(request("restraints=fixed", *arguments.split()), facts)
    assert found.absorption is on
    assert why in " ".join(sentences) and bool(why) == bool(sentences)


@pytest.mark.parametrize(
    ("arguments", "lmax", "weight"),
    [
        ("", 4, 5e5),
        ("lmax=6", 6, 5e5),
        ("surface_weight=10", 4, 10.0),
        ("absorption_level=low", 4, 5e5),
        ("absorption_level=medium", 6, 5e4),
        ("absorption_level=high", 6, 5e3),
    ],
)
def test_absorption_levels(arguments, lmax, weight):
    found, sentences = resolve_model(request("restraints=fixed", *arguments.split()), SWEEP)
    assert (found.lmax, found.surface_weight, sentences) == (lmax, weight, [])
    estimated = resolve_model(request("restraints=estimated", *arguments.split()), SWEEP)[0].estimated
    assert ("absorption" in estimated) is (not arguments)


def test_a_level_overrides_loudly():
    found, sentences = resolve_model(request("absorption_level=high", "lmax=4"), SWEEP)
    assert found.lmax == 6
    assert sentences == ["absorption_level=high overrides lmax: lmax 6, surface_weight 5000"]


def test_switches_and_bins():
    found, _ = resolve_model(request("model=physical", "decay_term=False", "share.absorption=True"), SWEEP)
    assert (found.scale, found.decay, found.absorption, found.modulation) == (True, False, True, False)
    assert found.share_absorption
    found, _ = resolve_model(request("model=array", "modulation_term=True", "n_modulation_bins=7"), SWEEP)
    table = settings_table(found)
    assert [table[name] for name in ("scale", "decay", "absorption", "modulation")] == [False, True, True, True]
    assert (found.decay_interval, found.n_resolution_bins, found.n_absorption_bins) == (20.0, 10, 3)
    assert found.n_modulation_bins == 7
    found, _ = resolve_model(request("model=KB", "decay_term=False"), SWEEP)
    assert (found.scale, found.decay) == (True, False) and not settings_table(found)["absorption"]


def test_fixed_components():
    found, _ = resolve_model(request("fix=decay,absorption"), SWEEP)
    assert found.fixed == ("decay", "absorption")
    found, _ = resolve_model(request("fix=decay,absorption"), SweepFacts("0", True, 0.0))
    assert found.fixed == ("decay",)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ("model=KB scale_term=False decay_term=False", SWEEP),
        ("scale_term=False decay_term=False", SweepFacts("0", True, 0.0)),
        ("restraints=fixed scale_term=False decay_term=False", SweepFacts("0", False, 30.0)),
        ("scale_term=False decay_term=False absorption_term=False", SweepFacts("0", False, 30.0)),
        (
            "array.decay_correction=False array.absorption_correction=False model=KB scale_term=False decay_term=0",
            SWEEP,
        ),
    ],
)
def test_a_model_without_components_is_an_error(arguments, facts):
    with pytest.raises(CommandError, match="data set 0: the model .* has no component left; switch on at least one"):
        resolve_model(request(*arguments.split()), facts)


@settings(max_examples=50, deadline=None)
@given(
    model=st.sampled_from(["auto", *MODEL_OPTIONS]),
    still=st.booleans(),
    degrees=st.floats(1e-3, 3600),  # a sweep turns
    angle=st.none() | st.floats(0, 180),
)
def test_every_auto_is_settled(model, still, degrees, angle):
    found, sentences = resolve_model(request(f"model={model}"), SweepFacts("0", still, degrees, angle))
    assert all(getattr(found, field.name) is not None for field in dataclasses.fields(found))
    assert all(sentence == sentence.strip() and sentence for sentence in sentences)
    if found.model == "physical":
        assert 0 < found.scale_interval <= 15 and found.lmax >= 2 and found.surface_weight > 0


def test_models_are_the_registered_ones():
    from braggscale.models import MODELS as REGISTERED

    assert list(REGISTERED) == list(MODEL_OPTIONS)
    assert definitions().options["model"].choices == ("auto", *MODEL_OPTIONS)


WIDE = replace(SWEEP, image_width=0.5, mosaicity=0.08, n_rows=60_000)  # 167 reflections per image, curves of 0.19


@pytest.mark.parametrize(
    ("facts", "words", "image", "interval"),
    [
        (WIDE, ["restraints=estimated"], True, 0.5),
        (WIDE, [], True, 0.5),  # the default
        (WIDE, ["restraints=fixed"], False, 0.5),
        (WIDE, ["restraints=estimated", "image_correction=False"], False, 0.5),
        (WIDE, ["image_correction=True"], True, 0.5),
        (WIDE, ["restraints=estimated", "image_interval=2"], True, 2.0),
        (WIDE, ["restraints=estimated", "image_interval=0.1"], False, 0.1),  # 33 reflections for each
        (replace(WIDE, n_rows=12_000), ["restraints=estimated"], True, 1.0),  # 33 per image: two images share one
        (replace(WIDE, n_rows=6_000), ["restraints=estimated"], False, 1.0),
        (replace(WIDE, image_width=1.5), ["restraints=estimated"], True, 1.5),
        (replace(WIDE, image_width=0.15), ["restraints=estimated"], False, 1.0),  # narrower than rocking curves
        (replace(WIDE, mosaicity=0.0), ["restraints=estimated"], False, 1.0),  # of unknown width
        (replace(WIDE, image_width=0.15), ["image_correction=True"], True, 1.0),
    ],
)
def test_image_effects_are_on_where_images_are_wide_and_full(facts, words, image, interval):
    found, sentences = resolve_model(request(*words), facts)
    assert (found.image, found.image_interval) == (image, pytest.approx(interval))
    said = any("image effects on, one for every" in sentence for sentence in sentences)
    assert said == (image and not any("image_correction" in word for word in words))


def test_terms_are_old_names_of_corrections():
    found = options("image_term=True", "modulation_term=False")
    assert found.models["physical"].image_correction is True and found.models["physical"].modulation_correction is False
    assert options("image_term=auto").models["physical"].image_correction is None


@pytest.mark.parametrize("width", [0.1, 1.0, 40.0, 360.0])
def test_no_more_parameters_than_images(width):
    """Whatever angles an experiment list claims, memory is bounded by the data."""
    facts = replace(WIDE, image_width=width, oscillation_range=240 * width)
    found, _ = resolve_model(request("restraints=estimated"), facts)
    assert found.scale_interval >= width and found.decay_interval >= width
