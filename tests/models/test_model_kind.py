"""A kind of model from outside the package: options and record are enough to scale with it, and to scale again."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

import pytest
from option_samples import options

from braggscale.io import open_inputs
from braggscale.models import MODELS
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.kind import ModelKind, StoredSetting
from braggscale.models.restraints import ridge
from braggscale.models.settings import ModelSettings, settings_table
from braggscale.models.smooth import Smooth, axis_over
from braggscale.options.definitions import definitions
from braggscale.options.model_options import MODEL_OPTIONS
from braggscale.options.model_options.record import Correction, ModelOptions
from braggscale.scaling.pipeline import run
from braggscale.scaling.plan import make_plan

EXAMPLE = [str(Path(__file__).parents[2] / "examples" / f"simulated.{ending}") for ending in ("expt", "refl")]


@dataclass(frozen=True, slots=True)
class StepOptions:
    scale_correction: bool
    decay_correction: bool
    n_intervals: int
    correction: Correction


OPTIONS = ModelOptions(
    "steps",
    StepOptions,
    """
steps
  .help = "A few scales along the images."
{
  scale_correction = True
    .type = bool
    .help = "Scale along the images."
  decay_correction = True
    .type = bool
    .help = "One B factor."
  n_intervals = 4
    .type = int(value_min=1, value_max=100)
    .help = "Intervals along the images."
  correction.fix = None
    .type = strings
    .help = "Components that keep their stored values."
}
""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings(ModelSettings):
    model: ClassVar[str] = "steps"

    scale: bool
    decay: bool
    n_intervals: int


def settle(wanted, facts, estimate):
    found = StepSettings(scale=wanted.scale_correction, decay=wanted.decay_correction, n_intervals=wanted.n_intervals)
    return found, [f"steps of {facts.oscillation_range / wanted.n_intervals:g} degrees"]


def build(settings: StepSettings, extent: Extent) -> DataSetModel:
    """A scale with a few parameters along the images, and one B factor."""
    n = settings.n_intervals + 2
    axis = axis_over("image", settings.n_intervals / (extent.image[1] - extent.image[0]), *extent.image, n)
    parts = []
    if settings.scale:
        parts.append(Smooth("scale", (axis,), restraints=(ridge(n, 1e-3, 1.0),)))
    if settings.decay:
        parts.append(Smooth("decay", (), b_factor=True, restraints=(ridge(1, 0.04),)))
    return DataSetModel("steps", tuple(parts), {"n_intervals": settings.n_intervals})


STEPS = ModelKind(
    options=StepOptions,
    settings=StepSettings,
    settle=settle,
    build=build,
    estimates=False,
    stored=(StoredSetting("n_intervals", "n_intervals", 1, 100),),
)


@pytest.fixture
def registered(monkeypatch):
    """The program with one kind of model more: one entry in the registry of models, one in that of their options."""
    monkeypatch.setitem(MODELS, "steps", STEPS)
    monkeypatch.setitem(MODEL_OPTIONS, "steps", OPTIONS)
    definitions.cache_clear()
    yield
    definitions.cache_clear()


def test_scales_with_a_model_from_outside(registered, caplog):
    caplog.set_level("INFO")
    data = open_inputs(EXAMPLE)
    plan = make_plan(options("restraints=fixed", "model=steps", "n_intervals=6"), data.data_sets)
    first = run(data.data_sets, data.not_indexed, plan)
    assert {model.kind for model in first.model.data_sets} == {"steps"}
    assert "all data sets: steps of" in caplog.text
    assert first.models[0]["__id__"] == "steps" and len(first.models[0]["scale"]["parameters"]) == 8
    constant = make_plan(options("restraints=fixed", "model=KB"), data.data_sets)
    plain = run(data.data_sets, data.not_indexed, constant)
    assert first.statistics.overall.r_meas < plain.statistics.overall.r_meas
    # and again from the stored model: the intervals are the stored ones and not the options' default
    models = iter(first.models)
    stored = [replace(d, experiment=replace(d.experiment, scaling_model=next(models))) for d in data.data_sets]
    again = run(stored, data.not_indexed, make_plan(options("restraints=fixed"), stored))
    assert [settings.n_intervals for settings in again.settings] == [6] * len(stored)
    assert again.statistics.overall.r_meas == pytest.approx(first.statistics.overall.r_meas, rel=0.02)


def test_a_record_says_what_its_options_switch(registered):
    assert STEPS.name == "steps" and STEPS.corrections == ("scale", "decay")
    assert STEPS.explicit({"steps.n_intervals", "KB.scale_correction"}) == {"n_intervals"}
    assert MODELS["physical"].explicit({"physical.absorption_level"}) == {
        "absorption_level", "absorption_correction", "lmax", "surface_weight",
    }  # fmt: skip


@pytest.mark.parametrize("kind", MODELS.values(), ids=lambda kind: kind.name)
def test_records_agree_with_their_classes(kind):
    names = {one.name for one in fields(kind.settings)}
    assert set(kind.corrections) <= names
    assert {one.setting for one in kind.stored} <= names
    assert {one.component for one in kind.stored} <= {"", *kind.corrections}
    assert set(kind.at_least_one_of) <= set(kind.corrections)
    option_names = {one.name for one in fields(kind.options)}
    assert {one.setting for one in kind.stored} <= option_names
    assert all({level, *implied} <= option_names for level, implied in kind.implied.items())
    assert names <= set(settings_table(ModelSettings()))
