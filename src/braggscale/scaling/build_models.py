"""Builds the model of each data set from plan and data, and one vector of parameters for all of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from braggscale.data.data_set_names import MOST_LOGGED
from braggscale.data.experiment import Still, Sweep
from braggscale.data.geometry import crystal_frame_axis, largest_scattering_angle, rocking_width
from braggscale.data.observations import GeometryView, rows_by_data_set
from braggscale.data.sorting import SortedObservations, UsedDataSet
from braggscale.log_detail import MANY_DATA_SETS
from braggscale.models import MODELS, build
from braggscale.models.choice import ModelRequest, repeated_model, resolve_model
from braggscale.models.data_set_model import DataSetModel, Extent
from braggscale.models.detector_modules import Edges, enough_for_modules
from braggscale.models.joint_model import JointModel
from braggscale.models.settings import ModelSettings, SweepFacts
from braggscale.models.stored_model import keep_stored, start_parameters
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.options.assignments import unused_model_options
from braggscale.run_warnings import Code, warn
from braggscale.scaling.dose import images_before
from braggscale.wording import some_of

log = logging.getLogger(__name__)


def build_models(
    data_sets: Sequence[UsedDataSet], data: SortedObservations, request: ModelRequest, quiet: bool = False
) -> tuple[list[ModelSettings], JointModel, Float, list[list[str]]]:
    """Settings and model of each data set, start values, (n_parameters,), and the components that were taken over.

    ``quiet``: nothing is logged.
    """
    all_settings: list[ModelSettings] = []
    models: list[DataSetModel] = []
    values: list[list[Float]] = []
    taken: list[list[str]] = []
    said: dict[str, list[str]] = {}
    before = images_before([member.experiment for member in data_sets], request.same_crystal)[0]
    extents, all_facts = _extents(data_sets, data)
    for member, whole, facts in zip(data_sets, extents, all_facts, strict=True):
        extent = replace(whole, dose_before=before)
        stored = member.experiment.scaling_model if request.use_stored else None
        settings, sentences = _settings(request, facts, stored)
        for sentence in sentences:
            said.setdefault(sentence, []).append(member.identifier)
        model = build(settings, extent, member.identifier)
        start, copied = start_parameters(model, stored)
        all_settings.append(settings)
        models.append(model)
        values.append(start)
        taken.append(copied)
    for sentence, identifiers in said.items() if not quiet else ():
        every = len(identifiers) == len(data_sets)
        log.info(("all data sets: " if every else f"data set {', '.join(identifiers)}: ") + sentence)
    joint = JointModel.of(models)
    if not quiet:
        in_use = {model.kind for model in models}
        for sentence in unused_model_options(request.explicit, in_use, request.kind != "auto"):
            warn(log, Code.OPTION_WITHOUT_EFFECT, sentence)
        _log_models(models, [member.identifier for member in data_sets], joint.n_parameters)
    theta = joint.null()
    known: set[tuple[int, int]] = set()
    for d, start in enumerate(values):
        for c, part in enumerate(start):
            name, where = models[d].components[c].name, joint.where(d, c)
            if name in taken[d]:
                theta[where] = part
                known.add((where.start, where.stop))
            elif (where.start, where.stop) in known:  # stored with an earlier data set
                taken[d].append(name)
    return all_settings, joint, theta, taken


def _extents(data_sets: Sequence[UsedDataSet], data: SortedObservations) -> tuple[list[Extent], list[SweepFacts]]:
    """The ranges that each data set covers, and the facts about it that the choice of its model needs."""
    extents, facts = [], []
    on_modules: Counter[Edges | None] = Counter()
    places = rows_by_data_set(data.rows.data_set, len(data_sets))
    for member, rows_of_set in zip(data_sets, places, strict=True):
        rows = GeometryView.of(data.rows, rows_of_set)
        kind, panels = member.experiment.kind, member.experiment.panels
        axis, mosaicity, angle = _rocking(member, data.rows.row[rows_of_set])
        extent = Extent.of(rows, kind.scan if isinstance(kind, Sweep) else None, panels, axis, mosaicity)
        extents.append(extent)
        facts.append(SweepFacts(
            member.identifier, member.experiment.is_still, extent.degrees, angle, len(panels) == 1,
            abs(extent.width), mosaicity, len(rows_of_set),
        ))  # fmt: skip
        on_modules[extent.modules] += len(rows_of_set)
    return [
        e if enough_for_modules(e.modules, on_modules[e.modules]) else replace(e, modules=None) for e in extents
    ], facts


def _rocking(member: UsedDataSet, rows: Int) -> tuple[tuple[float, float, float], float, float | None]:
    """Rotation axis in the frame of Observations.s1c, sd of the rocking curve and largest scattering angle, degrees.

    ``rows``: usable rows of the table, (n,).  For a still, and if the table does not have the columns, 0 and None.
    """
    kind, table = member.experiment.kind, member.usable.table
    if isinstance(kind, Still):
        return (0.0, 0.0, 1.0), 0.0, None
    x, y, z = crystal_frame_axis(kind.goniometer).tolist()
    if "s1" not in table:
        return (x, y, z), 0.0, None
    s0 = member.experiment.beam.s0
    angle = largest_scattering_angle(s0, table["s1"][rows])
    if "bbox" not in table:
        return (x, y, z), 0.0, angle
    few = table.select(np.sort(rows)[:: max(1, len(rows) // 5000)])
    return (x, y, z), rocking_width(kind, s0, few["s1"], few["bbox"][:, 5] - few["bbox"][:, 4]), angle


def _settings(
    request: ModelRequest, facts: SweepFacts, stored: Mapping[str, Any] | None
) -> tuple[ModelSettings, list[str]]:
    """Settings of one data set: from the options, or those stored with its model and changed by what the user set."""
    again = repeated_model(request, stored)
    if again is not None:
        settings = resolve_model(replace(request, kind=again["__id__"]), facts)[0]
        return keep_stored(settings, again, request.explicit, request.restraints_are_explicit)
    settings, sentences = resolve_model(request, facts)
    if stored is None:
        return settings, sentences
    why = "as asked for" if stored.get("__id__") in MODELS else "starting from its scales"
    return settings, [*sentences, f"stored model {stored.get('__id__')} is replaced by {settings.model}, {why}"]


def fixed_parameters(model: JointModel, settings: Sequence[ModelSettings]) -> Bool:
    """Parameters of the components that correction.fix names, (n_parameters,)."""
    fixed = np.zeros(model.n_parameters, bool)
    for d, component, where in model.parts():
        if component.name in settings[d].fixed:
            fixed[where] = True
    return fixed


def _log_models(models: Sequence[DataSetModel], identifiers: Sequence[str], n_parameters: int) -> None:
    """Components and their parameters, equal models on one line."""
    by_text: dict[str, list[str]] = {}
    for model, identifier in zip(models, identifiers, strict=True):
        parts = ", ".join(f"{component.name} {component.n_parameters}" for component in model.components)
        by_text.setdefault(f"model {model.kind}, parameters: {parts}", []).append(identifier)
    most = MOST_LOGGED if len(models) <= MANY_DATA_SETS else 3
    for text, members in by_text.items():
        who = "all data sets" if len(members) == len(models) > 1 else f"data set {some_of(members, most)}"
        log.info(f"{who}: {text}")
    log.info(f"{n_parameters} parameters in all")
